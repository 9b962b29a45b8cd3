"""The frozen values that the steps hand to one another, and the report that comes out at the end.

Values only: nothing here opens a file, asks a clock or knows a vendor. A relative change is a fraction everywhere,
a time is in seconds unless its name says otherwise, and a gain is always towards better.
"""

from __future__ import annotations

from hokusai.records.benchmarks import LEDGER_OF_TAG, BenchmarkAnswer, BenchmarkHistory, BenchmarkQuestion
from hokusai.records.datasets import (
    SEVERITIES,
    CheckReport,
    ContributionCounts,
    DatasetContext,
    DatasetFile,
    DatasetVersion,
    DecoyTest,
    Finding,
    IntegratedData,
    Severity,
)
from hokusai.records.decisions import Decision, DecisionRule, Guard, GuardVerdict, MetricRole, Outcome
from hokusai.records.deltas import CrossCheck, MetricDelta, NegativeControl, SubsetDeltas
from hokusai.records.models import (
    MODEL_MANIFEST_FILE,
    MODEL_MANIFEST_TAG,
    MODEL_SHA256_TAG,
    Arm,
    BaselineModel,
    FailedFit,
    FittedModel,
    ModelFile,
    ModelVersion,
    Predictions,
    Task,
    TrainedModel,
    TrainedModels,
)
from hokusai.records.reports import DeltaReport, EvaluationIdentity, RunReference, TrackingSummary
from hokusai.records.scores import (
    BenchmarkScores,
    BenchmarkSubset,
    Metric,
    MetricScores,
    MetricTask,
    RightAnswers,
    SubsetKind,
    SubsetScores,
    UndefinedMetric,
)

__all__ = [
    "LEDGER_OF_TAG",
    "MODEL_MANIFEST_FILE",
    "MODEL_MANIFEST_TAG",
    "MODEL_SHA256_TAG",
    "SEVERITIES",
    "Arm",
    "BaselineModel",
    "BenchmarkAnswer",
    "BenchmarkHistory",
    "BenchmarkQuestion",
    "BenchmarkScores",
    "BenchmarkSubset",
    "CheckReport",
    "ContributionCounts",
    "CrossCheck",
    "DatasetContext",
    "DatasetFile",
    "DatasetVersion",
    "Decision",
    "DecisionRule",
    "DecoyTest",
    "DeltaReport",
    "EvaluationIdentity",
    "FailedFit",
    "Finding",
    "FittedModel",
    "Guard",
    "GuardVerdict",
    "IntegratedData",
    "Metric",
    "MetricDelta",
    "MetricRole",
    "MetricScores",
    "MetricTask",
    "ModelFile",
    "ModelVersion",
    "NegativeControl",
    "Outcome",
    "Predictions",
    "RightAnswers",
    "RunReference",
    "Severity",
    "SubsetDeltas",
    "SubsetKind",
    "SubsetScores",
    "Task",
    "TrackingSummary",
    "TrainedModel",
    "TrainedModels",
    "UndefinedMetric",
]
