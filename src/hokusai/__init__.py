"""Hokusai measures, and proves, what contributed data is worth to a model.

One evaluation, from Python::

    import hokusai

    report = hokusai.run("evaluation.toml")
    print(report.decision.outcome, report.delta.gain, report.delta.gain_lower, report.delta.gain_upper)

Steps of one's own, tracked in the same way::

    with hokusai.track("my-project") as run, run.child("clean") as step:
        step.log_metrics({"rows_kept": 3})

An evaluation trains the same model without and with the contributed data, scores both on a benchmark, and says by how
much the model improved, how sure that is, and whether it clears the bar. Every step is on record in MLflow. Importing
this package loads neither MLflow nor scikit-learn nor pandas; the names below are fetched when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hokusai.benchmark_reuse import benchmark_ledger, retire_benchmark, split_benchmark
    from hokusai.config import PipelineConfig, load_config
    from hokusai.contribution_check import check_contribution
    from hokusai.datasets.read_settings import ReadLimits
    from hokusai.errors import HokusaiError
    from hokusai.integrated_file import IntegratedFile, write_integrated
    from hokusai.model_promotion import model_history, promote_model, rollback_model
    from hokusai.models.mlflow_registry import ModelRegistry
    from hokusai.models.model_checks import check_model
    from hokusai.models.model_details import compare_models, describe_model
    from hokusai.models.model_lineage import models_of_dataset, trace_model
    from hokusai.models.retrieval import pull_model
    from hokusai.own_pipeline import resume, track, tracked_step
    from hokusai.pipeline import run
    from hokusai.records import CheckReport, Decision, DeltaReport, Finding, MetricDelta
    from hokusai.steps.baseline_loader import BaselineSettings
    from hokusai.steps.data_settings import BenchmarkSettings, ContributionSettings, DataSettings
    from hokusai.steps.delta_settings import DeltaSettings, GuardSettings
    from hokusai.steps.evaluation_settings import EvaluationSettings, OwnMetricSettings
    from hokusai.steps.hyperparameter_search import TuningSettings
    from hokusai.steps.interim_analysis import SequentialSettings
    from hokusai.steps.model_training import TrainingSettings
    from hokusai.tracking.audit import audit_run
    from hokusai.tracking.connection import check_connection
    from hokusai.tracking.experiments import archive_experiment, list_experiments, restore_experiment
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.parameters import parameter
    from hokusai.tracking.run import Run, RunLink

__all__ = [
    "BaselineSettings",
    "BenchmarkSettings",
    "CheckReport",
    "ContributionSettings",
    "DataSettings",
    "Decision",
    "DeltaReport",
    "DeltaSettings",
    "EvaluationSettings",
    "Finding",
    "GuardSettings",
    "HokusaiError",
    "IntegratedFile",
    "MetricDelta",
    "ModelRegistry",
    "OwnMetricSettings",
    "PipelineConfig",
    "ReadLimits",
    "Run",
    "RunLink",
    "SequentialSettings",
    "TrackingSettings",
    "TrainingSettings",
    "TuningSettings",
    "archive_experiment",
    "audit_run",
    "benchmark_ledger",
    "check_connection",
    "check_contribution",
    "check_model",
    "compare_models",
    "describe_model",
    "list_experiments",
    "load_config",
    "model_history",
    "models_of_dataset",
    "parameter",
    "promote_model",
    "pull_model",
    "restore_experiment",
    "resume",
    "retire_benchmark",
    "rollback_model",
    "run",
    "split_benchmark",
    "trace_model",
    "track",
    "tracked_step",
    "write_integrated",
]

_HOMES = {
    "BaselineSettings": "hokusai.steps.baseline_loader",
    "BenchmarkSettings": "hokusai.steps.data_settings",
    "CheckReport": "hokusai.records.datasets",
    "ContributionSettings": "hokusai.steps.data_settings",
    "DataSettings": "hokusai.steps.data_settings",
    "Decision": "hokusai.records.decisions",
    "DeltaReport": "hokusai.records.reports",
    "DeltaSettings": "hokusai.steps.delta_settings",
    "EvaluationSettings": "hokusai.steps.evaluation_settings",
    "Finding": "hokusai.records.datasets",
    "GuardSettings": "hokusai.steps.delta_settings",
    "HokusaiError": "hokusai.errors",
    "IntegratedFile": "hokusai.integrated_file",
    "MetricDelta": "hokusai.records.deltas",
    "ModelRegistry": "hokusai.models.mlflow_registry",
    "OwnMetricSettings": "hokusai.steps.evaluation_settings",
    "PipelineConfig": "hokusai.config",
    "ReadLimits": "hokusai.datasets.read_settings",
    "Run": "hokusai.tracking.run",
    "RunLink": "hokusai.tracking.run",
    "SequentialSettings": "hokusai.steps.interim_analysis",
    "TrackingSettings": "hokusai.tracking.mlflow_config",
    "TrainingSettings": "hokusai.steps.model_training",
    "TuningSettings": "hokusai.steps.hyperparameter_search",
    "archive_experiment": "hokusai.tracking.experiments",
    "audit_run": "hokusai.tracking.audit",
    "benchmark_ledger": "hokusai.benchmark_reuse",
    "check_connection": "hokusai.tracking.connection",
    "check_contribution": "hokusai.contribution_check",
    "check_model": "hokusai.models.model_checks",
    "compare_models": "hokusai.models.model_details",
    "describe_model": "hokusai.models.model_details",
    "list_experiments": "hokusai.tracking.experiments",
    "load_config": "hokusai.config",
    "model_history": "hokusai.model_promotion",
    "models_of_dataset": "hokusai.models.model_lineage",
    "parameter": "hokusai.tracking.parameters",
    "promote_model": "hokusai.model_promotion",
    "pull_model": "hokusai.models.retrieval",
    "restore_experiment": "hokusai.tracking.experiments",
    "resume": "hokusai.own_pipeline",
    "retire_benchmark": "hokusai.benchmark_reuse",
    "rollback_model": "hokusai.model_promotion",
    "run": "hokusai.pipeline",
    "split_benchmark": "hokusai.benchmark_reuse",
    "trace_model": "hokusai.models.model_lineage",
    "track": "hokusai.own_pipeline",
    "tracked_step": "hokusai.own_pipeline",
    "write_integrated": "hokusai.integrated_file",
}


def __getattr__(name: str) -> object:
    """Fetch a public name from its module on first use."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, fetched or not."""
    return sorted(__all__)
