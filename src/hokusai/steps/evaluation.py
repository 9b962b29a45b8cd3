"""Step 4: every fitted model scored on the benchmark, row by row."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.errors import ConfigurationError, DataError
from hokusai.records import BenchmarkScores, MetricScores, UndefinedMetric
from hokusai.tracking.parameters import EvaluateOnBenchmarkParameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hokusai.analysis.metrics import BenchmarkTruth
    from hokusai.records import (
        Arm,
        BaselineModel,
        FittedModel,
        IntegratedData,
        Metric,
        Predictions,
        Task,
        TrainedModels,
    )
    from hokusai.tracking.run import Run

__all__ = ["EvaluationSettings", "chosen_metrics", "evaluate_on_benchmark"]

ROW_SCORES = "row_scores.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """Settings under ``[evaluation]``.

    Attributes:
        metrics: Metrics to compute; empty means all that fit the task.
        positive_class: With two classes, the one that precision, recall, F1 and AUROC are about; empty means the
            greater of the two (1 of 0 and 1, true of false, the later in the alphabet).
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    metrics: tuple[str, ...] = ()
    positive_class: str = ""


def chosen_metrics(settings: EvaluationSettings, *, task: Task, deciding: str) -> tuple[Metric, ...]:
    """Return the metrics to compute, with the one that decides among them.

    Raises:
        ConfigurationError: There is no such metric for this task.
    """
    from hokusai.analysis.metrics import find_metric, metrics_for

    decides = find_metric(deciding, task)
    if not settings.metrics:
        return metrics_for(task)
    return tuple(dict.fromkeys([*(find_metric(name, task) for name in settings.metrics), decides]))


def evaluate_on_benchmark(
    settings: EvaluationSettings,
    *,
    metrics: Sequence[Metric],
    baseline: BaselineModel,
    models: TrainedModels,
    data: IntegratedData,
    run: Run,
) -> BenchmarkScores:
    """Score the control, the candidate and a given baseline model, every fit on every benchmark row.

    What each fit says about each row is kept as the artifact ``row_scores.parquet``: the source from which every
    number of the evaluation can be computed again.

    Raises:
        DataError: The benchmark is too small.
        ConfigurationError: The positive class is not one of the two.
        ModelError: A model cannot score the benchmark.
    """
    arms = _arms(baseline, models)
    classes = _all_classes(models, baseline)
    truth = _truth(settings, data, classes=classes, task=models.task)
    run.log_parameters(
        EvaluateOnBenchmarkParameters(
            metrics=tuple(metric.name for metric in metrics),
            classes=classes,
            positive_class=None if truth.positive is None else classes[truth.positive],
            benchmark_rows=data.benchmark.num_rows,
        )
    )
    for version in data.versions:
        if version.context == "benchmark":
            run.log_dataset(version)
    predictions: dict[Arm, list[Predictions]] = {}
    for arm, fitted in arms.items():
        began = time.perf_counter()
        predictions[arm] = [model.predict(data.benchmark, classes=classes) for model in fitted]
        seconds = max(time.perf_counter() - began, 1e-9)
        run.log_metrics({f"{arm}.rows_per_second": data.benchmark.num_rows * len(fitted) / seconds})
    run.log_artifact(ROW_SCORES, _row_scores(data, arms, predictions, classes=classes))
    scores, undefined = _score(metrics, truth, predictions)
    for arm, by_metric in scores.items():
        for name, values in by_metric.items():
            run.log_metrics({f"{arm}.{name}": float(values.values.mean())})
            for seed, value in enumerate(values.values):
                run.log_metrics({f"{arm}.{name}.per_seed": float(value)}, step=seed)
    return BenchmarkScores(
        metrics=tuple(metrics),
        scores=scores,
        undefined=undefined,
        is_random=models.is_random,
        rows=data.benchmark.num_rows,
    )


def _arms(baseline: BaselineModel, models: TrainedModels) -> dict[Arm, tuple[FittedModel, ...]]:
    arms: dict[Arm, tuple[FittedModel, ...]] = {"control": models.controls, "candidate": models.candidates}
    if baseline.model is not None:
        arms["baseline"] = (baseline.model,)
    return arms


def _all_classes(models: TrainedModels, baseline: BaselineModel) -> tuple[str, ...]:
    known = baseline.model.classes if baseline.model is not None else ()
    return (*models.classes, *(text for text in known if text not in models.classes))


def _truth(
    settings: EvaluationSettings, data: IntegratedData, *, classes: tuple[str, ...], task: Task
) -> BenchmarkTruth:
    import numpy as np

    from hokusai.analysis.metrics import BenchmarkTruth
    from hokusai.models.labels import label_texts, label_values

    if data.benchmark.num_rows < 2:
        raise DataError(
            "benchmark", "has one row, expected at least two: without them nothing says how sure a score is."
        )
    values = label_values(data.benchmark[data.label])
    if task == "regression":
        return BenchmarkTruth(actual=values.astype(np.float64))
    positions = {text: code for code, text in enumerate(classes)}
    distinct, inverse = np.unique(values, return_inverse=True)
    actual = np.array([positions[text] for text in label_texts(distinct)])[inverse]
    positive = None
    if settings.positive_class and (len(classes) != 2 or settings.positive_class not in classes):
        problem = f"got {settings.positive_class!r}, expected one of two classes; the classes are {', '.join(classes)}."
        raise ConfigurationError(problem, key="evaluation.positive_class")
    if len(classes) == 2:
        positive = positions[settings.positive_class] if settings.positive_class else 1
    return BenchmarkTruth(actual=actual, classes=classes, positive=positive)


def _score(
    metrics: Sequence[Metric], truth: BenchmarkTruth, predictions: Mapping[Arm, Sequence[Predictions]]
) -> tuple[dict[Arm, dict[str, MetricScores]], tuple[UndefinedMetric, ...]]:
    import numpy as np

    from hokusai.analysis.metrics import UndefinedEvaluation, evaluate

    scores: dict[Arm, dict[str, MetricScores]] = {}
    undefined = []
    for arm, fits in predictions.items():
        scores[arm] = {}
        for metric in metrics:
            evaluations = [evaluate(metric, truth, fit) for fit in fits]
            reasons = [item.reason for item in evaluations if isinstance(item, UndefinedEvaluation)]
            if reasons:
                undefined.append(UndefinedMetric(name=metric.name, arm=arm, reason=reasons[0]))
                continue
            defined = [item for item in evaluations if not isinstance(item, UndefinedEvaluation)]
            scores[arm][metric.name] = MetricScores(
                values=np.array([item.value for item in defined]),
                influence=np.stack([item.influence for item in defined]),
            )
    return scores, tuple(undefined)


def _row_scores(
    data: IntegratedData,
    arms: Mapping[Arm, Sequence[FittedModel]],
    predictions: Mapping[Arm, Sequence[Predictions]],
    *,
    classes: tuple[str, ...],
) -> bytes:
    """Return one row per benchmark row: its number from 0, its label, and what every fit says about it."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "row": pa.array(np.arange(data.benchmark.num_rows)),
        "label": data.benchmark[data.label],
    }
    for arm, fits in predictions.items():
        for model, fit in zip(arms[arm], fits, strict=True):
            name = f"{arm}.{model.seed}"
            if not classes:
                columns[f"{name}.predicted"] = pa.array(fit.predicted)
                continue
            indices = pa.array(fit.predicted.astype(np.int32))
            columns[f"{name}.predicted"] = pa.DictionaryArray.from_arrays(indices, pa.array(classes))
            if fit.probabilities is not None:
                for code, text in enumerate(classes):
                    columns[f"{name}.probability.{text}"] = pa.array(fit.probabilities[:, code])
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()
