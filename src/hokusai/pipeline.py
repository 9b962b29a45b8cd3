"""The story: five steps in order, each a child run of one parent run.

:func:`evaluate_contribution` tells it; :func:`run` puts the real journal, shipper and registry around it.
"""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.config import PipelineConfig, ResolvedConfig, config_values, load_config, require_valid
from hokusai.configuration_document import CONFIGURATION_NAME, code_addresses, configuration_bytes
from hokusai.datasets.reader_process import TableReader
from hokusai.errors import ConfigurationError, TrackingServerError
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.models.trainers import make_trainer
from hokusai.process_environment import user_name
from hokusai.provenance.claims import RecordedParameters, StatementOrigin
from hokusai.provenance.environment import EnvironmentCapture
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
from hokusai.steps.delta_settings import deciding_metric, require_reachable_bars
from hokusai.steps.evaluation import evaluate_on_benchmark
from hokusai.steps.hyperparameter_search import require_space
from hokusai.steps.interim_scores import InterimScores
from hokusai.steps.model_training import train_new_model
from hokusai.steps.statement_output import StatementSource, output_paths, read_key
from hokusai.tracking import naming
from hokusai.tracking.mlflow_config import resolve_store
from hokusai.tracking.own_code import OwnCode
from hokusai.tracking.parameters import EvaluationParameters
from hokusai.tracking.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from hokusai.models.trainers import Trainer
    from hokusai.records import DeltaReport, Metric, TrainedModels
    from hokusai.tracking.run import Run, RunListener, Tracker
    from hokusai.tracking.shipper import Shipping

__all__ = ["Repetition", "evaluate_contribution", "run", "run_again"]

_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """What is different when a recorded evaluation is done again. Its candidate is not registered.

    Attributes:
        benchmark: Takes the place of :class:`~hokusai.steps.benchmark_use.BenchmarkUse`, with the same arguments.
        closing_record: Called with the parent run when it ends, after everything else has been recorded.
    """

    benchmark: Callable[..., BenchmarkUse]
    closing_record: Callable[[Run], None]


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
    statement: StatementSource | None = None,
) -> DeltaReport:
    """Measure what the contributed data is worth, one tracked step at a time."""
    trainer, metric, metrics = _resolve_names(config, folder)
    benchmark = benchmark or BenchmarkUse(config.delta)
    with tracker.start(_source_tags()) as parent:
        parent.log_parameters(_parameters(config, trainer=trainer, metric=metric))
        parent.log_artifact(CONFIGURATION_NAME, configuration_bytes(config))
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
                statement=statement,
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


def run_again(
    config: PipelineConfig,
    *,
    folder: Path | None,
    repetition: Repetition,
    listener: RunListener | None = None,
    shipping: Shipping | None = None,
    reader: TableReader | None = None,
) -> DeltaReport:
    """Run an evaluation that is on record once more.

    Args:
        config: The recorded configuration, with its files where they are now.
        folder: Where code of the user's own is; None for none.
        repetition: What is different from the first time.
        listener: As for :func:`run`.
        shipping: As for :func:`run`.
        reader: As for :func:`run`.

    Raises:
        HokusaiError: As for :func:`run`.
    """
    return _run(
        require_valid(config),
        folder=folder,
        tables=None,
        listener=listener,
        shipping=shipping,
        reader=reader,
        repetition=repetition,
    )


def _run(
    config: PipelineConfig,
    *,
    folder: Path | None,
    tables: Mapping[str, object] | None,
    listener: RunListener | None,
    shipping: Shipping | None,
    reader: TableReader | None,
    repetition: Repetition | None = None,
) -> DeltaReport:
    """Put the real journal, shipper and registry around the story; trainers of one's own may stand in ``folder``."""
    _, metric, _ = _resolve_names(config, folder)
    # Before any work: a wrong passphrase costs nothing then.
    key = read_key(config.delta)
    settings, now = config.tracking, datetime.now(UTC)
    environment, own_code = EnvironmentCapture(), OwnCode(_own_modules(config))

    def record_surroundings(parent: Run) -> None:
        environment.record(parent)
        own_code.record(parent)
        if repetition:
            repetition.closing_record(parent)

    with (
        TableReader() if reader is None else nullcontext(reader) as table_reader,
        open_session(
            settings,
            project=config.project,
            experiment_tags={naming.LABEL_TAG: config.data.label, naming.METRIC_TAG: metric.name},
            listener=listener,
            shipping=shipping,
            closing_record=record_surroundings,
        ) as session,
    ):
        identity = EvaluationIdentity(
            project=config.project,
            evaluation=session.evaluation,
            registered_model="" if repetition else settings.registered_model.format(project=config.project),
            delta_file=config.delta.output or session.folder / "delta.json",
        )
        for path in (identity.delta_file, *output_paths(identity)):
            require_writable(path)
        uri = resolve_store(settings)
        registry = ModelRegistry(uri, registry_uri=settings.registry_uri)
        report = evaluate_contribution(
            config,
            identity=identity,
            tracker=session.tracker,
            registry=registry,
            reader=table_reader,
            now=now,
            tables=tables,
            folder=folder,
            benchmark=(repetition.benchmark if repetition else BenchmarkUse)(
                config.delta, shipping=session.shipping, uri=uri, registry_uri=settings.registry_uri
            ),
            statement=StatementSource(
                origin=partial(_origin, session.tracker, environment=environment), now=now, key=key
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
    require_reachable_bars(config.delta, deciding=deciding, metrics=metrics)
    return trainer, next(metric for metric in metrics if metric.name == deciding), metrics


def _own_modules(config: PipelineConfig) -> Sequence[str]:
    """Return the modules that the configuration names, the trainer's first."""
    return [address.partition(":")[0] for address in code_addresses(config_values(config))]


def _origin(tracker: Tracker, *, environment: EnvironmentCapture) -> StatementOrigin:
    """Return where and with what an evaluation runs, as far as it is known while it runs."""
    code = tracker.code_version()
    commit = code.get(naming.CODE_COMMIT_TAG, _UNKNOWN)
    return StatementOrigin(
        hokusai_version=metadata.version("hokusai-pipeline"),
        code_commit=None if commit == _UNKNOWN else commit,
        code_is_dirty={"true": True, "false": False}.get(code.get(naming.CODE_DIRTY_TAG, _UNKNOWN)),
        environment_sha256=environment.sha256(),
        journal_sha256=tracker.journal.head(),
        parameters=tuple(
            # A step's key is the evaluation's with the step's name after it.
            RecordedParameters(step=key.partition(":")[2] or None, sha256=digest)
            for key, digest in tracker.parameter_digests.items()
        ),
    )


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
            naming.DESCRIPTION_TAG: f"**{report.decision.outcome}**: {report.decision.reason}",
        }
    )
    if report.identity.registered_model:
        run.register_model(
            models.model_name,
            registered_name=report.identity.registered_model,
            tags=model_tags(report, models=models),
        )


def _source_tags() -> dict[str, str]:
    """Return MLflow's own tags for who ran what, which its UI shows."""
    return {"mlflow.source.name": "hokusai", "mlflow.source.type": "LOCAL", "mlflow.user": user_name()}
