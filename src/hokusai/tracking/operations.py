"""The operations that a journal holds: what a step recorded, as frozen values with one JSON form each.

The names and fields here are the journal's file format, see ``docs/formats/journal.md``.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Literal

from hokusai.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hokusai.digests import JsonValue

__all__ = [
    "OPERATIONS",
    "CloseJournal",
    "EndRun",
    "LogArtifact",
    "LogDataset",
    "LogMetrics",
    "LogModel",
    "LogParameters",
    "LogSeries",
    "OpenJournal",
    "Operation",
    "RegisterModel",
    "ResumeRun",
    "RunStatus",
    "SetTags",
    "StartRun",
    "encode",
    "finite_or_text",
    "from_json",
    "to_json",
]

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenJournal:
    """The first line: what this journal is and where it is meant to go."""

    format: str
    evaluation: str
    experiment: str
    experiment_tags: Mapping[str, str] = field(default_factory=dict)
    tracking_uri: str = ""
    registry_uri: str = ""
    artifact_location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseJournal:
    """The last line: nothing more will be recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """A run began, at the time of the entry."""

    run: str
    name: str
    parent: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRun:
    """A run that another journal began goes on in this one, and ends anew with it.

    ``part`` tells what this journal adds to the run, such as its manifest, from what the others add.
    """

    run: str
    part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRun:
    """A run ended; ``ended_at`` (milliseconds since 1970) is set when it was not the time of the entry."""

    run: str
    status: RunStatus
    ended_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogParameters:
    """Parameters of a run, as the texts that MLflow shows."""

    run: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMetrics:
    """Metric values at one step of a series, at the time of the entry."""

    run: str
    metrics: Mapping[str, float]
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSeries:
    """Values of one metric at consecutive steps from ``first_step`` on, all at the time of the entry."""

    run: str
    name: str
    values: tuple[float, ...]
    first_step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTags:
    """Tags of a run; the last value of a name wins."""

    run: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDataset:
    """A dataset that a run used."""

    run: str
    name: str
    context: str
    digest: str
    source: str
    rows: int
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogArtifact:
    """A file of a run; its bytes are staged under their SHA-256."""

    run: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogModel:
    """A trained model of a run; its file is staged under its SHA-256.

    ``flavor`` names MLflow's module that loads it, ``options`` are that flavour's own fields in the ``MLmodel`` file,
    ``example`` is one typical row by column, or empty.
    """

    run: str
    name: str
    file: str
    sha256: str
    size: int
    flavor: str
    options: Mapping[str, JsonValue]
    inputs: Mapping[str, str]
    output: str
    requirements: tuple[str, ...]
    example: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterModel:
    """A logged model becomes a version of a registered model."""

    run: str
    model: str
    registered_name: str
    tags: Mapping[str, str]


Operation = (
    OpenJournal
    | CloseJournal
    | StartRun
    | ResumeRun
    | EndRun
    | LogParameters
    | LogMetrics
    | LogSeries
    | SetTags
    | LogDataset
    | LogArtifact
    | LogModel
    | RegisterModel
)

OPERATIONS: Mapping[str, type[Operation]] = {
    "open_journal": OpenJournal,
    "close_journal": CloseJournal,
    "start_run": StartRun,
    "resume_run": ResumeRun,
    "end_run": EndRun,
    "log_parameters": LogParameters,
    "log_metrics": LogMetrics,
    "log_series": LogSeries,
    "set_tags": SetTags,
    "log_dataset": LogDataset,
    "log_artifact": LogArtifact,
    "log_model": LogModel,
    "register_model": RegisterModel,
}
_NAMES = {operation: name for name, operation in OPERATIONS.items()}
_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_quoted = lru_cache(maxsize=1024)(encode_basestring_ascii)
_FIELDS = {operation: tuple(field.name for field in fields(operation)) for operation in _NAMES}


def to_json(operation: Operation) -> dict[str, JsonValue]:
    """Return the JSON object of an operation; non-finite metric values become the texts NaN, Infinity, -Infinity."""
    kind = type(operation)
    value: dict[str, JsonValue] = {"operation": _NAMES[kind]}
    for name in _FIELDS[kind]:
        value[name] = getattr(operation, name)
    if isinstance(operation, LogMetrics):
        value["metrics"] = {name: finite_or_text(number) for name, number in operation.metrics.items()}
    elif isinstance(operation, LogSeries):
        value["values"] = [finite_or_text(number) for number in operation.values]
    return value


def encode(operation: Operation) -> str:
    """Return the JSON object of an operation as text, without its opening brace."""
    if type(operation) is LogMetrics:
        # Written out because a training loop calls this a million times: half the time of the general way.
        metrics = ",".join([f"{_quoted(name)}:{_number(value)}" for name, value in operation.metrics.items()])
        run = _quoted(operation.run)
        return f'"operation":"log_metrics","run":{run},"metrics":{{{metrics}}},"step":{operation.step}}}'
    return _JSON.encode(to_json(operation))[1:]


def from_json(value: Mapping[str, JsonValue]) -> Operation:
    """Return the operation that a JSON object describes.

    Raises:
        JournalError: The operation is unknown or lacks a field: the journal is newer than this version, or damaged.
    """
    name = value.get("operation")
    kind = OPERATIONS.get(name) if isinstance(name, str) else None
    if kind is None:
        msg = (
            f"unknown operation {name!r}: the journal was written by a newer version of Hokusai; update and try again."
        )
        raise JournalError(msg)
    arguments = {field: value[field] for field in _FIELDS[kind] if field in value}
    try:
        if kind is LogMetrics:
            metrics = arguments["metrics"]
            arguments["metrics"] = {key: _NON_FINITE.get(number, number) for key, number in metrics.items()}  # type: ignore[union-attr,arg-type]
        if kind is LogSeries:
            arguments["values"] = tuple(_NON_FINITE.get(number, number) for number in arguments["values"])  # type: ignore[union-attr,arg-type]
        if kind is LogModel:
            arguments["requirements"] = tuple(arguments["requirements"])  # type: ignore[arg-type]
        return kind(**arguments)  # type: ignore[arg-type]
    except (AttributeError, KeyError, TypeError) as error:
        msg = f"operation {name!r} lacks a field, or has one of the wrong type ({error}); the journal is damaged."
        raise JournalError(msg) from error


def _number(number: float) -> str:
    return repr(float(number)) if math.isfinite(number) else f'"{finite_or_text(number)}"'


def finite_or_text(number: float) -> JsonValue:
    """Return a number that JSON can hold: NaN, Infinity and -Infinity become these texts."""
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
