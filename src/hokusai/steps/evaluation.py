"""Step 4: every fitted model scored on the benchmark, row by row."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from hokusai.digests import sha256
from hokusai.errors import ModelError
from hokusai.records import (
    ROW_SCORES_FILE,
    BenchmarkScores,
    BenchmarkSubset,
    RightAnswers,
    SubsetScores,
    UndefinedMetric,
)
from hokusai.steps.answer_rounding import rounded
from hokusai.tracking.parameters import EvaluateOnBenchmarkParameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from hokusai.analysis.metrics import BenchmarkTruth
    from hokusai.records import (
        Arm,
        BaselineModel,
        FittedModel,
        IntegratedData,
        Metric,
        Predictions,
        TrainedModels,
    )
    from hokusai.steps.benchmark_rows import BenchmarkRows, RowSet
    from hokusai.steps.evaluation_settings import EvaluationSettings
    from hokusai.tracking.run import Run

__all__ = ["evaluate_on_benchmark", "predict", "score_fits"]

_TIMED_CALLS = 5


def evaluate_on_benchmark(
    settings: EvaluationSettings,
    *,
    metrics: Sequence[Metric],
    rows: BenchmarkRows,
    baseline: BaselineModel,
    models: TrainedModels,
    data: IntegratedData,
    run: Run,
) -> BenchmarkScores:
    """Score the control, the candidate and a given baseline model, every fit on every benchmark row.

    What each fit says about each row is kept as the artifact ``row_scores.parquet``: the source from which every
    number of the evaluation can be computed again.

    Args:
        settings: How rows are scored.
        metrics: What is computed.
        rows: The labels of the benchmark's rows, and the sets of them.
        baseline: What step 1 loaded.
        models: What step 3 trained.
        data: What step 2 integrated.
        run: The step's run.

    Raises:
        ModelError: A model cannot score the benchmark.
    """
    from hokusai.steps.row_scores import RowScores

    arms = _arms(baseline, models)
    classes, positive = rows.truth.classes, rows.truth.positive
    run.log_parameters(
        EvaluateOnBenchmarkParameters(
            metrics=tuple(metric.name for metric in metrics),
            classes=classes,
            positive_class=None if positive is None else classes[positive],
            threshold=settings.threshold,
            average=settings.average,
            sample_weight=settings.sample_weight,
            group=settings.group,
            query=settings.query,
            slices=settings.slices,
            benchmark_rows=data.benchmark.num_rows,
        )
    )
    for version in data.versions:
        if version.context == "benchmark":
            run.log_dataset(version)
    predictions = {
        arm: _predict_all(arm, fitted, data, truth=rows.truth, threshold=settings.threshold, run=run)
        for arm, fitted in arms.items()
    }
    began = time.perf_counter()
    kept = RowScores(
        labels=data.benchmark[data.label],
        rows=rows,
        predictions={
            arm: {model.seed: fit for model, fit in zip(arms[arm], fits, strict=True)}
            for arm, fits in predictions.items()
        },
    ).to_bytes()
    run.log_artifact(ROW_SCORES_FILE, kept)
    run.log_metrics({"output.row_scores.bytes": len(kept), "output.row_scores.seconds": time.perf_counter() - began})
    scores = BenchmarkScores(
        metrics=tuple(metrics),
        subsets=score_fits(metrics, rows, predictions),
        is_random=models.is_random,
        positive_class="" if positive is None else classes[positive],
        row_scores_sha256=sha256(kept),
    )
    _record(scores, seeds={arm: [model.seed for model in fitted] for arm, fitted in arms.items()}, run=run)
    return scores


def score_fits(
    metrics: Sequence[Metric], rows: BenchmarkRows, predictions: Mapping[Arm, Sequence[Predictions]]
) -> tuple[SubsetScores, ...]:
    """Score every fit on every set of rows; sets that hold the same rows are scored once.

    Args:
        metrics: What is computed.
        rows: The labels, and the sets; those with less than two rows, or groups of rows, are left out.
        predictions: What the fits of every arm say about all rows.
    """
    found: list[SubsetScores] = []
    scored: list[RowSet] = []
    for rowset in rows.sets:
        if rows.units_of(rowset) < 2:
            continue
        twin = next((place for place, other in enumerate(scored) if _same_rows(other, rowset)), None)
        if twin is None:
            found.append(_score_set(metrics, rows, rowset, predictions))
        else:
            subset = dataclasses.replace(found[twin].subset, name=rowset.name, kind=rowset.kind)
            found.append(dataclasses.replace(found[twin], subset=subset))
        scored.append(rowset)
    return tuple(found)


def _same_rows(one: RowSet, other: RowSet) -> bool:
    return one.rows.size == other.rows.size and bool((one.rows == other.rows).all())


def _score_set(
    metrics: Sequence[Metric],
    rows: BenchmarkRows,
    rowset: RowSet,
    predictions: Mapping[Arm, Sequence[Predictions]],
) -> SubsetScores:
    import numpy as np

    from hokusai.analysis.metrics import UndefinedEvaluation, evaluate_all
    from hokusai.analysis.statistics import FitsSummary

    is_whole = rowset.rows.size == rows.truth.actual.size
    truth = rows.truth if is_whole else rows.truth.take(rowset.rows)
    groups = rows.groups if is_whole else rows.groups_of(rowset.rows)
    # A row that weighs nothing is no evidence, and no floor of evidence may count it.
    counted = np.ones(truth.actual.size, dtype=np.bool_) if truth.weights is None else truth.weights > 0
    scores, undefined, right = {}, [], {}
    for arm, fits in predictions.items():
        summaries = {metric.name: FitsSummary(groups) for metric in metrics}
        reasons: dict[str, str] = {}
        correct: list[NDArray[np.bool_]] = []
        for fit in fits:
            said = fit if is_whole else _take(fit, rowset.rows)
            for name, evaluation in evaluate_all(metrics, truth, said).items():
                if isinstance(evaluation, UndefinedEvaluation):
                    reasons.setdefault(name, evaluation.reason)
                elif name not in reasons:
                    summaries[name].add(evaluation)
            if truth.classes:
                correct.append((said.predicted == truth.actual)[counted])
        scores[arm] = {name: each.scores() for name, each in summaries.items() if name not in reasons}
        undefined += [UndefinedMetric(name=name, arm=arm, reason=reason) for name, reason in reasons.items()]
        if truth.classes:
            right[arm] = RightAnswers(share=np.mean(correct, axis=0), first=correct[0])
    return SubsetScores(
        subset=BenchmarkSubset(
            name=rowset.name,
            kind=rowset.kind,
            rows=rowset.rows.size,
            units=rowset.rows.size if groups is None else groups.count,
            is_weighted=truth.weights is not None,
        ),
        scores=scores,
        undefined=tuple(undefined),
        class_rows=rows.class_rows(rowset),
        right=right,
    )


def _take(fit: Predictions, rows: NDArray[np.intp]) -> Predictions:
    probabilities = None if fit.probabilities is None else fit.probabilities[rows]
    return dataclasses.replace(fit, predicted=fit.predicted[rows], probabilities=probabilities)


def _arms(baseline: BaselineModel, models: TrainedModels) -> dict[Arm, tuple[FittedModel, ...]]:
    arms: dict[Arm, tuple[FittedModel, ...]] = {"control": models.controls, "candidate": models.candidates}
    if baseline.model is not None:
        arms["baseline"] = (baseline.model,)
    return arms | dict(models.negative_controls)


def predict(model: FittedModel, data: IntegratedData, *, truth: BenchmarkTruth, threshold: float) -> Predictions:
    """Return what a model says about every benchmark row, with the threshold applied where there is one.

    Args:
        model: The model.
        data: The benchmark.
        truth: Its labels.
        threshold: Probability from which on a row counts as of the positive class; 0 for the model's own prediction.

    Raises:
        ModelError: The model cannot score the benchmark, or gives no probabilities and the threshold needs them.
    """
    found = model.predict(data.benchmark, classes=truth.classes)
    if not threshold or truth.positive is None:
        return found
    return _with_threshold(found, threshold, positive=truth.positive)


def _predict_all(
    arm: Arm,
    fitted: Sequence[FittedModel],
    data: IntegratedData,
    *,
    truth: BenchmarkTruth,
    threshold: float,
    run: Run,
) -> list[Predictions]:
    """Ask every fit of an arm about every row, and say how fast they answer."""
    began = time.perf_counter()
    found = [predict(model, data, truth=truth, threshold=threshold) for model in fitted]
    seconds = max(time.perf_counter() - began, 1e-9)
    run.log_metrics({f"{arm}.rows_per_second": data.benchmark.num_rows * len(fitted) / seconds})
    if arm in ("candidate", "baseline"):
        run.log_metrics({f"{arm}.latency_seconds": _latency(fitted[0], data, classes=truth.classes)})
    return found


def _latency(model: FittedModel, data: IntegratedData, *, classes: tuple[str, ...]) -> float:
    """Return the median time of a call that asks about one row, in seconds."""
    row, seconds = data.benchmark.slice(0, 1), []
    for _ in range(_TIMED_CALLS):
        began = time.perf_counter()
        model.predict(row, classes=classes)
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)[_TIMED_CALLS // 2]


def _with_threshold(fit: Predictions, threshold: float, *, positive: int) -> Predictions:
    """Let a row count as of the positive class from a probability on.

    Raises:
        ModelError: The model gives no probabilities.
    """
    import numpy as np

    if fit.probabilities is None:
        msg = "a model gives no probabilities, which evaluation.threshold needs; leave the threshold out."
        raise ModelError(msg)
    codes = np.where(fit.probabilities[:, positive] >= threshold, positive, 1 - positive)
    return dataclasses.replace(fit, predicted=codes.astype(np.intp))


def _record(scores: BenchmarkScores, *, seeds: Mapping[Arm, Sequence[int]], run: Run) -> None:
    """Log the scores that are shown; those of a feedback half are rounded."""
    by_seed: dict[int, dict[str, float]] = {}
    means: dict[str, float] = {}
    metrics = {metric.name: metric for metric in scores.metrics}
    for arm, by_metric in scores.shown.scores.items():
        for name, found in by_metric.items():
            mean = float(found.values.mean())
            if scores.is_sealed:
                # Nothing seed by seed: rounded values of many seeds would average to what rounding hides.
                means[f"{arm}.{name}"] = float(rounded(mean, metrics[name]))
                continue
            means[f"{arm}.{name}"] = mean
            for seed, value in zip(seeds[arm], found.values, strict=True):
                by_seed.setdefault(seed, {})[f"{arm}.{name}.per_seed"] = float(value)
    run.log_metrics(means)
    for seed, values_of_seed in by_seed.items():
        run.log_metrics(values_of_seed, step=seed)
