"""The standard parameter schema of each step: one typed value per step, one dotted name per concept.

A step builds its value before it works, and recording it checks every type, so a missing or malformed parameter stops
it there. The same concept has the same name in every step. :data:`SCHEMA_VERSION` changes when a name, type or meaning
does. A pipeline of one's own declares its schema in the same way, as a dataclass whose fields are made by
:func:`parameter`.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, time
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from hokusai.errors import InvalidFactError
from hokusai.tracking.mlflow_names import storable
from hokusai.tracking.operations import finite_or_text

if TYPE_CHECKING:
    from hokusai.digests import JsonValue

__all__ = [
    "SCHEMA_VERSION",
    "STEP_PARAMETERS",
    "CompareAndOutputDeltaParameters",
    "EvaluateOnBenchmarkParameters",
    "EvaluationParameters",
    "IntegrateContributedDataParameters",
    "LoadBaselineModelParameters",
    "StepParameters",
    "TrainNewModelParameters",
    "as_texts",
    "as_values",
    "json_schema",
    "parameter",
    "require_types",
]

SCHEMA_VERSION = "1"
_EXACT_INTEGERS = 2**53 - 1


def parameter(name: str, description: str, *, unit: str = "", default: object = dataclasses.MISSING) -> Any:  # noqa: ANN401  (as dataclasses.field, it stands for the field's value)
    """Declare a field of a parameter schema.

    Args:
        name: The parameter's name, dotted by concern, such as ``training.seeds``.
        description: What it means, in one sentence.
        unit: What a number counts; default none.
        default: Value when none is given; by default the parameter is required.
    """
    return field(default=default, metadata={"name": name, "description": description, "unit": unit})


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationParameters:
    """What the parent run shows: the question that the evaluation answers."""

    project: str = parameter("project", "The project that the evaluation belongs to.")
    contributions: tuple[str, ...] = parameter("data.contributions", "Names of the contributions, in order.")
    label: str = parameter("data.label", "The column to predict.")
    estimator: str = parameter("training.estimator", "The trainer's name, such as a class of scikit-learn.")
    metric: str = parameter("delta.metric", "The metric that decides.")
    minimum_gain: float = parameter(
        "delta.minimum_gain", "The gain to clear, in the metric's unit.", unit="the metric's"
    )
    confidence: float = parameter("delta.confidence", "Confidence level of the interval, between 0 and 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBaselineModelParameters:
    """Parameters of step 1."""

    source: str = parameter("baseline.source", "Address of the baseline model; 'control' when none was given.")
    kind: str = parameter("baseline.kind", "'model' when one was given, otherwise 'control'.")
    trusted_sha256: str = parameter(
        "baseline.trusted_sha256", "SHA-256 of a model that may run code because it is trusted; empty for none."
    )
    classes: tuple[str, ...] = parameter(
        "baseline.classes", "Names of the model's classes in the order of its codes; empty where it carries them."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrateContributedDataParameters:
    """Parameters of step 2."""

    base: str = parameter("data.base", "File of the base data.")
    benchmark: str = parameter("data.benchmark", "File of the benchmark.")
    more_benchmarks: Mapping[str, str] = parameter("data.more_benchmarks", "Files of the further benchmarks, by name.")
    decoy: str = parameter("data.decoy", "Content digest of the decoy, which is not recorded; empty without one.")
    contributions: tuple[str, ...] = parameter("data.contributions", "Names of the contributions, in order.")
    label: str = parameter("data.label", "The column to predict.")
    features: tuple[str, ...] = parameter("data.features", "The columns to predict from.")
    benchmark_overlap: str = parameter(
        "data.benchmark_overlap", "What happens to training rows that stand in the benchmark: remove or refuse."
    )
    duplicates: str = parameter(
        "data.duplicates", "What happens to contributed rows that are not new: remove, refuse or keep."
    )
    near_duplicates: str = parameter(
        "data.near_duplicates", "What happens to contributed rows that nearly equal a base row: report, remove or off."
    )
    merge: str = parameter("data.merge", "How rows come together: append, update or replace.")
    winner: str = parameter("data.winner", "Which of two rows with one key counts: first or last.")
    key: tuple[str, ...] = parameter("data.key", "The columns by which rows are merged; empty unless they are.")
    sample_weight: str | None = parameter("data.sample_weight", "The column of training weights; null without one.")
    contract: str = parameter("data.contract", "SHA-256 of the data contract's file; empty without one.")
    types: Mapping[str, str] = parameter("data.types", "Declared column types, the contract's included.")
    personal_data: Mapping[str, str] = parameter(
        "data.personal_data", "What happens to personal data, by kind, as far as it is not the default."
    )
    sample_rows: Mapping[str, int] = parameter(
        "data.sample_rows", "The most rows used of each table that is sampled, by its name.", unit="rows"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainNewModelParameters:
    """Parameters of step 3."""

    estimator: str = parameter("training.estimator", "The trainer's name, such as a class of scikit-learn.")
    estimator_parameters: Mapping[str, Any] = parameter(
        "training.parameters", "Parameters of the estimator that differ from its defaults."
    )
    task: str = parameter("training.task", "classification or regression.")
    seeds: tuple[int, ...] = parameter("training.seeds", "Seeds of the candidate's fits.")
    control_seeds: tuple[int, ...] = parameter("training.control_seeds", "Seeds of the control's fits.")
    looks: tuple[int, ...] = parameter(
        "training.sequential.looks",
        "Numbers of fits at which it is looked whether more are needed; empty for none.",
        unit="fits",
    )
    negative_controls: bool = parameter(
        "training.negative_controls", "Whether arms that should gain nothing are trained as well."
    )
    is_random: bool = parameter("training.is_random", "Whether the estimator's result depends on its seed.")
    threads: int = parameter("training.threads", "Threads of every fit.", unit="threads")
    column_kinds: Mapping[str, str] = parameter(
        "training.column_kinds", "What each feature is to the preparation, decided from the base data."
    )
    tuning_trials: int = parameter(
        "training.tuning.trials", "Sets of hyperparameters tried for each arm; 0 without a search.", unit="trials"
    )
    tuning_folds: int = parameter("training.tuning.folds", "Parts of the base data that each set is scored on in turn.")
    tuning_space: Mapping[str, Any] = parameter("training.tuning.space", "The values that are tried, by parameter.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOnBenchmarkParameters:
    """Parameters of step 4."""

    metrics: tuple[str, ...] = parameter("evaluation.metrics", "Metrics that are computed.")
    classes: tuple[str, ...] = parameter(
        "evaluation.classes", "Classes in the order of their codes; empty for regression."
    )
    positive_class: str | None = parameter(
        "evaluation.positive_class", "The positive one of two classes, if there are two."
    )
    threshold: float = parameter(
        "evaluation.threshold",
        "Probability from which on a row counts as of the positive class; 0 for the model's own prediction.",
    )
    average: str = parameter(
        "evaluation.average", "How metrics of single classes become one: macro, micro or weighted."
    )
    sample_weight: str = parameter("evaluation.sample_weight", "The benchmark's column of weights; empty without one.")
    group: str = parameter(
        "evaluation.group", "The benchmark's column that says which rows belong together; empty without one."
    )
    query: str = parameter("evaluation.query", "The benchmark's column of queries; empty without one.")
    slices: tuple[str, ...] = parameter("evaluation.slices", "The columns whose values are scored one by one.")
    benchmark_rows: int = parameter(
        "evaluation.benchmark_rows", "Number of rows of all benchmarks together.", unit="rows"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareAndOutputDeltaParameters:
    """Parameters of step 5."""

    metric: str = parameter("delta.metric", "The metric that decides.")
    minimum_gain: float = parameter(
        "delta.minimum_gain", "The gain to clear, in the metric's unit.", unit="the metric's"
    )
    confidence: float = parameter("delta.confidence", "Confidence level of the interval, between 0 and 1.")
    guards: Mapping[str, float] = parameter(
        "delta.guards", "By how much each guarded metric may get worse, in its own unit."
    )
    minimum_positives: int = parameter(
        "delta.minimum_positives", "The fewest benchmark rows of each class that the metric is about.", unit="rows"
    )
    minimum_discordant_rows: int = parameter(
        "delta.minimum_discordant_rows",
        "The fewest rows that only one arm has right, for metrics of predicted classes.",
        unit="rows",
    )
    rule_sha256: str = parameter(
        "delta.rule_sha256", "SHA-256 of the decision rule, as it was recorded before the candidate was trained."
    )


StepParameters = (
    EvaluationParameters
    | LoadBaselineModelParameters
    | IntegrateContributedDataParameters
    | TrainNewModelParameters
    | EvaluateOnBenchmarkParameters
    | CompareAndOutputDeltaParameters
)


STEP_PARAMETERS: Mapping[str, type[StepParameters]] = {
    "evaluation": EvaluationParameters,
    "load_baseline_model": LoadBaselineModelParameters,
    "integrate_contributed_data": IntegrateContributedDataParameters,
    "train_new_model": TrainNewModelParameters,
    "evaluate_on_benchmark": EvaluateOnBenchmarkParameters,
    "compare_and_output_delta": CompareAndOutputDeltaParameters,
}
"""The schema of every step by its name; ``evaluation`` is the parent run's."""


def as_values(parameters: object, *, run: str = "") -> dict[str, JsonValue]:
    """Return parameters by name, as JSON values.

    Args:
        parameters: A dataclass instance (fields made by :func:`parameter` by their names there, others by their own)
            or a mapping. Values: texts, numbers, booleans, None, dates, paths, enumerations' values, NumPy scalars,
            and lists, tuples and mappings of them. Integers beyond 2^53 and numbers that are not finite become texts,
            which JSON numbers cannot hold.
        run: Key of the run, for the message.

    Raises:
        InvalidFactError: A value is of another kind.
    """
    if isinstance(parameters, Mapping):
        items = [(storable(str(name)), value) for name, value in parameters.items()]
    elif dataclasses.is_dataclass(parameters) and not isinstance(parameters, type):
        items = [(_name(item), getattr(parameters, item.name)) for item in fields(parameters)]
    else:
        problem = f"got {type(parameters).__name__}, expected a mapping or an instance of a dataclass."
        raise InvalidFactError(run, "parameters", problem)
    return {name: _json_value(value, name=name, run=run) for name, value in items}


def as_texts(values: Mapping[str, JsonValue]) -> dict[str, str]:
    """Return what :func:`as_values` gave as the texts that MLflow shows; numbers round-trip exactly."""
    import json  # only where parameters are recorded

    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
    }


def require_types(parameters: object, *, run: str = "") -> None:
    """Check every field of a parameter schema against its type; a mapping has none.

    Raises:
        InvalidFactError: A value is of another type; the message names the parameter.
    """
    if isinstance(parameters, Mapping) or not dataclasses.is_dataclass(parameters):
        return
    from pydantic import ValidationError  # only where parameters are recorded

    kind: type = type(parameters)
    adapters = _adapters(kind)

    for item in fields(parameters):
        if item.name not in adapters:
            continue
        value = getattr(parameters, item.name)
        try:
            adapters[item.name].validate_python(value, strict=True)
        except ValidationError as error:
            problem = f"got {value!r:.80}: {error.errors()[0]['msg'].lower()}."
            raise InvalidFactError(run, f"parameter {_name(item)!r}", problem) from error


def json_schema(kind: type) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the ``parameters.json`` that a parameter schema leads to."""
    adapters = _adapters(kind)
    properties: dict[str, Any] = {}
    required = []
    for item in fields(kind):
        described = {"description": item.metadata.get("description", "")}
        if item.metadata.get("unit"):
            described["unit"] = item.metadata["unit"]
        properties[_name(item)] = described | adapters[item.name].json_schema()
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            required.append(_name(item))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.__name__,
        "description": (kind.__doc__ or "").splitlines()[0],
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _name(item: dataclasses.Field[Any]) -> str:
    return str(item.metadata.get("name", item.name))


@cache
def _adapters(kind: type) -> dict[str, Any]:
    """Return a checker per field; a class whose annotations cannot be resolved here is not checked."""
    from pydantic import PydanticSchemaGenerationError, TypeAdapter

    try:
        hints = typing.get_type_hints(kind)
    except NameError:
        return {}
    adapters = {}
    for item in fields(kind):
        try:
            adapters[item.name] = TypeAdapter(hints[item.name])
        except PydanticSchemaGenerationError:
            # A class of the user's own; _json_value decides whether it can be recorded.
            continue
    return adapters


def _json_value(value: Any, *, name: str, run: str) -> JsonValue:  # noqa: ANN401, C901, PLR0911  (one line per kind)
    match value:
        case None | bool():
            return value
        case str():
            return storable(value)
        case int():
            return value if abs(value) <= _EXACT_INTEGERS else str(value)
        case float():
            return finite_or_text(value)
        case list() | tuple():
            return [_json_value(item, name=name, run=run) for item in value]
        case Mapping():
            return {storable(str(key)): _json_value(item, name=name, run=run) for key, item in value.items()}
        case PurePath():
            return storable(str(value))
        case date() | time():
            return value.isoformat()
    plain = getattr(value, "value", None) if hasattr(type(value), "__members__") else None
    if plain is None and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        plain = value.item()
    if plain is not None and plain is not value:
        return _json_value(plain, name=name, run=run)
    problem = f"a value of type {type(value).__name__} cannot be recorded; give a text, a number, or lists of them."
    raise InvalidFactError(run, f"parameter {name!r}", problem)
