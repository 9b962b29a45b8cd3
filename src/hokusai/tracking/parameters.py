"""The standard parameter schema of each step: one typed value per step, one dotted name per concept.

A step builds its value before it works, so a missing or mistyped parameter stops it there. The same concept has the
same name in every step. :data:`SCHEMA_VERSION` changes when a name, type or meaning does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from hokusai.digests import JsonValue

__all__ = [
    "SCHEMA_VERSION",
    "CompareAndOutputDeltaParameters",
    "EvaluateOnBenchmarkParameters",
    "EvaluationParameters",
    "IntegrateContributedDataParameters",
    "LoadBaselineModelParameters",
    "StepParameters",
    "TrainNewModelParameters",
    "as_texts",
    "as_values",
]

SCHEMA_VERSION = "1"


def _named(name: str, description: str) -> Any:  # noqa: ANN401  (as dataclasses.field, it stands for the field's value)
    return field(metadata={"name": name, "description": description})


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationParameters:
    """What the parent run shows: the question that the evaluation answers."""

    project: str = _named("project", "The project that the evaluation belongs to.")
    contributions: tuple[str, ...] = _named("data.contributions", "Names of the contributions, in order.")
    label: str = _named("data.label", "The column to predict.")
    estimator: str = _named("training.estimator", "The scikit-learn class that is trained.")
    metric: str = _named("delta.metric", "The metric that decides.")
    minimum_gain: float = _named("delta.minimum_gain", "The gain to clear, in the metric's unit.")
    confidence: float = _named("delta.confidence", "Confidence level of the interval, between 0 and 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBaselineModelParameters:
    """Parameters of step 1."""

    source: str = _named("baseline.source", "Address of the baseline model; 'control' when none was given.")
    kind: str = _named("baseline.kind", "'model' when one was given, otherwise 'control'.")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrateContributedDataParameters:
    """Parameters of step 2."""

    base: str = _named("data.base", "File of the base data.")
    benchmark: str = _named("data.benchmark", "File of the benchmark.")
    contributions: tuple[str, ...] = _named("data.contributions", "Names of the contributions, in order.")
    label: str = _named("data.label", "The column to predict.")
    features: tuple[str, ...] = _named("data.features", "The columns to predict from.")
    benchmark_overlap: str = _named(
        "data.benchmark_overlap", "What happens to training rows that stand in the benchmark: remove or refuse."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainNewModelParameters:
    """Parameters of step 3."""

    estimator: str = _named("training.estimator", "The scikit-learn class that is trained.")
    estimator_parameters: Mapping[str, JsonValue] = _named(
        "training.parameters", "Arguments of the estimator that differ from scikit-learn's defaults."
    )
    task: str = _named("training.task", "classification or regression.")
    seeds: tuple[int, ...] = _named("training.seeds", "Seeds of the fits of each arm.")
    is_random: bool = _named("training.is_random", "Whether the estimator's result depends on its seed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOnBenchmarkParameters:
    """Parameters of step 4."""

    metrics: tuple[str, ...] = _named("evaluation.metrics", "Metrics that are computed.")
    classes: tuple[str, ...] = _named(
        "evaluation.classes", "Classes in the order of their codes; empty for regression."
    )
    positive_class: str | None = _named(
        "evaluation.positive_class", "The positive one of two classes, if there are two."
    )
    benchmark_rows: int = _named("evaluation.benchmark_rows", "Number of benchmark rows.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareAndOutputDeltaParameters:
    """Parameters of step 5."""

    metric: str = _named("delta.metric", "The metric that decides.")
    minimum_gain: float = _named("delta.minimum_gain", "The gain to clear, in the metric's unit.")
    confidence: float = _named("delta.confidence", "Confidence level of the interval, between 0 and 1.")


StepParameters = (
    EvaluationParameters
    | LoadBaselineModelParameters
    | IntegrateContributedDataParameters
    | TrainNewModelParameters
    | EvaluateOnBenchmarkParameters
    | CompareAndOutputDeltaParameters
)


def as_values(parameters: StepParameters) -> dict[str, JsonValue]:
    """Return the parameters by their dotted names, as JSON values."""
    values: dict[str, JsonValue] = {}
    for item in fields(parameters):
        value = getattr(parameters, item.name)
        values[item.metadata["name"]] = list(value) if isinstance(value, tuple) else value
    return values


def as_texts(parameters: StepParameters) -> dict[str, str]:
    """Return the parameters by their dotted names, as the texts that MLflow shows; numbers round-trip exactly."""
    import json  # only where parameters are recorded

    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in as_values(parameters).items()
    }
