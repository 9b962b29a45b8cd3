"""The story: five steps in order, each a child run of one parent run.

:func:`evaluate_contribution` tells it; :func:`run` puts the real journal, shipper and registry around it.
"""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.config import PipelineConfig, ResolvedConfig, load_config, require_valid
from hokusai.datasets.reader_process import TableReader
from hokusai.errors import ConfigurationError, TrackingServerError
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.models.trainers import make_trainer
from hokusai.process_environment import user_name
from hokusai.records import EvaluationIdentity
from hokusai.steps.baseline_loader import load_baseline_model
from hokusai.steps.baseline_matching import match_baseline
from hokusai.steps.benchmark_rows import benchmark_rows
from hokusai.steps.benchmark_use import BenchmarkUse
from hokusai.steps.chosen_metrics import chosen_metrics
from hokusai.steps.data_integration import integrate_contributed_data
from hokusai.steps.decision_rule import decision_rule, record_rule
from hokusai.steps.delta_computation import compare_and_output_delta, delta_metrics, model_tags
from hokusai.steps.delta_document import require_writable
from hokusai.steps.delta_settings import deciding_metric
from hokusai.steps.evaluation import evaluate_on_benchmark
from hokusai.steps.hyperparameter_search import require_space
from hokusai.steps.interim_scores import InterimScores
from hokusai.steps.model_training import train_new_model
from hokusai.tracking import naming
from hokusai.tracking.mlflow_config import resolve_store
from hokusai.tracking.parameters import EvaluationParameters
from hokusai.tracking.session import open_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from hokusai.models.trainers import Trainer
    from hokusai.records import DeltaReport, Metric, TrainedModels
    from hokusai.tracking.run import Run, RunListener, Tracker
    from hokusai.tracking.shipper import Shipping

__all__ = ["evaluate_contribution", "run"]


def evaluate_contribution(
    config: PipelineConfig,
    *,
    identity: EvaluationIdentity,
    tracker: Tracker,
    registry: ModelRegistry,
    reader: TableReader,
    now: datetime,
    tables: Mapping[str, object] | None = None,
    folder: Path | None = None,
    benchmark: BenchmarkUse | None = None,
) -> DeltaReport:
    """Measure what the contributed data is worth, one tracked step at a time."""
    trainer, metric, metrics = _resolve_names(config, folder)
    benchmark = benchmark or BenchmarkUse(config.delta)
    with tracker.start(_source_tags()) as parent:
        parent.log_parameters(_parameters(config, trainer=trainer, metric=metric))
        with parent.child("load_baseline_model") as step:
            baseline = load_baseline_model(config.baseline, registry=registry, run=step)
        with parent.child("integrate_contributed_data") as step:
            columns = config.evaluation.benchmark_columns
            data = integrate_contributed_data(
                config.data, reader=reader, tables=tables, benchmark_columns=columns, now=now, run=step
            )
            positive = config.evaluation.positive_class
            baseline = match_baseline(baseline, data=data, task=trainer.task, positive_class=positive, run=step)
            half = benchmark.open(
                data,
                metric=metric,
                group=config.evaluation.group or config.evaluation.query,
                evaluation=identity.evaluation,
            )
            rows = benchmark_rows(config.evaluation, data, task=trainer.task, baseline=baseline, decision_half=half)
        rule = decision_rule(
            config.delta,
            metric=metric,
            evaluation=config.evaluation,
            training=config.training,
            is_random=trainer.is_random,
            data=data,
            truth=rows.truth,
            decisions=benchmark.decisions,
            alpha=benchmark.alpha,
        )
        record_rule(rule, run=parent)
        benchmark.spend(rule, data=data, rows=rows, is_random=trainer.is_random)
        with parent.child("train_new_model") as step:
            models = train_new_model(
                config.training,
                trainer=trainer,
                data=data,
                metric=metric,
                positive_class=positive,
                interim=InterimScores(rule, settings=config.evaluation, metrics=metrics, rows=rows, data=data),
                run=step,
            )
        history = benchmark.history()
        with parent.child("evaluate_on_benchmark") as step:
            scores = evaluate_on_benchmark(
                config.evaluation, metrics=metrics, rows=rows, baseline=baseline, models=models, data=data, run=step
            )
        with parent.child("compare_and_output_delta") as step:
            report = compare_and_output_delta(
                config.delta,
                rule=rule,
                identity=identity,
                baseline=baseline,
                models=models,
                scores=scores,
                data=data,
                number=benchmark.number,
                history=history,
                run=step,
            )
        benchmark.close(report.decision.outcome)
        _log_headline(report, models=models, run=parent)
        return report


def run(
    config: PipelineConfig | ResolvedConfig | str | PathLike[str],
    *,
    tables: Mapping[str, object] | None = None,
    listener: RunListener | None = None,
    shipping: Shipping | None = None,
    reader: TableReader | None = None,
) -> DeltaReport:
    """Run one evaluation, tracked in MLflow.

    Args:
        config: The path of an ``evaluation.toml``, what :func:`~hokusai.config.load_config` made of one, or a
            configuration built in code.
        tables: Tables in memory that take the place of files, by the part they play: ``base``, ``benchmark``, or a
            contribution's name. pandas, Polars or Arrow.
        listener: Told when runs start and end; default None.
        shipping: What ships the journal, to be shared between evaluations of one store; by default a shipping process
            is started and ended.
        reader: What reads the files, to be shared between evaluations; by default a reading process is started and
            ended.

    Returns:
        The report. ``report.tracking`` says where the record is, and what could not be shipped if the tracking store
        did not answer; the report itself does not depend on that.

    Raises:
        HokusaiError: See :mod:`hokusai.errors`; the runs that were open are FAILED then. TrackingServerError is raised
            only when ``tracking.on_outage`` is ``fail``, after everything else has been done.
    """
    if isinstance(config, PipelineConfig):
        config = require_valid(config, in_memory=tables or ())
        return _run(config, folder=None, tables=tables, listener=listener, shipping=shipping, reader=reader)
    resolved = config if isinstance(config, ResolvedConfig) else load_config(Path(config), in_memory=tables or ())
    try:
        return _run(
            require_valid(resolved.config, in_memory=tables or ()),
            folder=resolved.folder,
            tables=tables,
            listener=listener,
            shipping=shipping,
            reader=reader,
        )
    except ConfigurationError as error:
        raise resolved.locate(error) from error


def _run(
    config: PipelineConfig,
    *,
    folder: Path | None,
    tables: Mapping[str, object] | None,
    listener: RunListener | None,
    shipping: Shipping | None,
    reader: TableReader | None,
) -> DeltaReport:
    """Put the real journal, shipper and registry around the story; trainers of one's own may stand in ``folder``."""
    _, metric, _ = _resolve_names(config, folder)
    settings = config.tracking
    with (
        TableReader() if reader is None else nullcontext(reader) as table_reader,
        open_session(
            settings,
            project=config.project,
            experiment_tags={naming.LABEL_TAG: config.data.label, naming.METRIC_TAG: metric.name},
            listener=listener,
            shipping=shipping,
        ) as session,
    ):
        identity = EvaluationIdentity(
            project=config.project,
            evaluation=session.evaluation,
            registered_model=settings.registered_model.format(project=config.project),
            delta_file=config.delta.output or session.folder / "delta.json",
        )
        require_writable(identity.delta_file)
        uri = resolve_store(settings)
        registry = ModelRegistry(uri, registry_uri=settings.registry_uri)
        report = evaluate_contribution(
            config,
            identity=identity,
            tracker=session.tracker,
            registry=registry,
            reader=table_reader,
            now=datetime.now(UTC),
            tables=tables,
            folder=folder,
            benchmark=BenchmarkUse(
                config.delta, shipping=session.shipping, uri=uri, registry_uri=settings.registry_uri
            ),
        )
    summary = session.summary
    if summary is not None and not summary.shipped and settings.on_outage == "fail":
        message = f"{summary.problem} The report is in {identity.delta_file}."
        raise TrackingServerError.repeat(summary.uri, message)
    return dataclasses.replace(report, tracking=summary)


def _resolve_names(config: PipelineConfig, folder: Path | None) -> tuple[Trainer, Metric, Sequence[Metric]]:
    """Find what the configuration names, so that a wrong name is refused before any work."""
    trainer = make_trainer(config.training.estimator, config.training.parameters, folder=folder)
    require_space(config.training.tuning, trainer)
    deciding = deciding_metric(config.delta, task=trainer.task)
    guards = [guard.metric for guard in config.delta.guards]
    metrics = chosen_metrics(config.evaluation, task=trainer.task, deciding=deciding, guards=guards, folder=folder)
    return trainer, next(metric for metric in metrics if metric.name == deciding), metrics


def _parameters(config: PipelineConfig, *, trainer: Trainer, metric: Metric) -> EvaluationParameters:
    return EvaluationParameters(
        project=config.project,
        contributions=tuple(item.label for item in config.data.contributions),
        label=config.data.label,
        estimator=trainer.name,
        metric=metric.name,
        minimum_gain=config.delta.minimum_gain,
        confidence=config.delta.confidence,
    )


def _log_headline(report: DeltaReport, *, models: TrainedModels, run: Run) -> None:
    """Put what people compare between evaluations on the parent run, and the candidate into the registry."""
    for version in report.datasets:
        run.log_dataset(version)
    for delta in report.deltas:
        name = delta.metric.name
        run.log_metrics({f"control.{name}": delta.baseline, f"candidate.{name}": delta.candidate})
        run.log_metrics(delta_metrics(delta))
    run.set_tags(
        {
            naming.DECISION_TAG: report.decision.outcome,
            naming.DECISION_REASON_TAG: report.decision.reason,
            naming.EXPLORATORY_TAG: json.dumps(report.decision.is_exploratory),
            "mlflow.note.content": f"**{report.decision.outcome}**: {report.decision.reason}",
        }
    )
    run.register_model(
        models.model_name,
        registered_name=report.identity.registered_model,
        tags=model_tags(report, models=models),
    )


def _source_tags() -> dict[str, str]:
    """Return MLflow's own tags for who ran what, which its UI shows."""
    return {"mlflow.source.name": "hokusai", "mlflow.source.type": "LOCAL", "mlflow.user": user_name()}
