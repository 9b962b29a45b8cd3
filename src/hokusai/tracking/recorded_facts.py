"""What the journals recorded of an evaluation, as MLflow should hold it: one side of the audit.

The shipper is not asked how a fact is sent: what MLflow should hold is derived here once more, from the journals' lines
and MLflow's limits. Several journals may go on with one run, and any of them may have been the last to say something;
so everything that can be said twice is kept by the journal's number.
"""

from __future__ import annotations

import json
import math
import struct
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from hokusai.digests import sha256
from hokusai.errors import JournalError
from hokusai.tracking import artifacts, naming
from hokusai.tracking.journal import JournalReader
from hokusai.tracking.mlflow_names import kept_value, storable, to_mlflow_name
from hokusai.tracking.operations import (
    CloseJournal,
    EndRun,
    LogArtifact,
    LogDataset,
    LogMetrics,
    LogModel,
    LogParameters,
    LogSeries,
    OpenJournal,
    RegisterModel,
    ResumeRun,
    SetTags,
    StartRun,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from hokusai.digests import JsonValue
    from hokusai.tracking.journal import Entry
    from hokusai.tracking.operations import Operation

__all__ = [
    "EXAMPLE_FILE",
    "MODEL_FILES",
    "SERVING_EXAMPLE_FILE",
    "JournalFacts",
    "MetricPoints",
    "Point",
    "Record",
    "Recorded",
    "RunFacts",
    "Texts",
    "dataset_fields",
    "dataset_place",
    "example_documents",
    "model_file_fields",
    "model_files",
    "put_all",
]

T = TypeVar("T")

MODEL_FILES = ("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt")
"""The files that stand beside a model's own in its folder, whatever the model is."""
EXAMPLE_FILE = "input_example.json"
"""A typical row as MLflow keeps it, ..."""
SERVING_EXAMPLE_FILE = "serving_input_example.json"
"""... and as the body of a request to a server of the model."""

_MLMODEL_FIELDS = {
    "flavors",
    "is_signature_from_type_hint",
    "mlflow_version",
    "model_id",
    "model_size_bytes",
    "model_uuid",
    "prompts",
    "run_id",
    "saved_input_example_info",
    "signature",
    "type_hint_from_example",
    "utc_time_created",
}
_COLUMN_TYPES = {"int64": "long", "double": "double", "bool": "boolean"}
_DATASET_DIGEST_LENGTH = 36


class Point(NamedTuple):
    """A point of a metric; ``bits`` are those of its value, so that NaN equals NaN."""

    step: int
    time: int
    bits: int

    @classmethod
    def of(cls, value: float, *, time: int, step: int) -> Point:
        """Return the point of a value; stores keep no sign of a zero, and no more than one NaN."""
        plain = math.nan if math.isnan(value) else value + 0.0
        return cls(step, time, int(struct.unpack("<q", struct.pack("<d", plain))[0]))

    def __str__(self) -> str:
        """Show the value as it is, and the time in milliseconds."""
        value = struct.unpack("<d", struct.pack("<q", self.bits))[0]
        return f"{value!r} at step {self.step}, time {self.time}"


@dataclass(slots=True)
class MetricPoints:
    """The points of one metric, 24 bytes each; the three columns have one length."""

    values: array[float] = field(default_factory=lambda: array("d"))
    times: array[int] = field(default_factory=lambda: array("q"))
    steps: array[int] = field(default_factory=lambda: array("q"))

    def add(self, value: float, *, time: int, step: int) -> None:
        """Append one point; ``time`` in milliseconds since 1970."""
        self.values.append(value)
        self.times.append(time)
        self.steps.append(step)

    def distinct(self) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """Return the different points, a row each as in :class:`Point`, and last the one that MLflow shows as last."""
        import numpy as np  # slow to import, and MLflow has been by now

        values = np.frombuffer(self.values, dtype=np.float64) + 0.0
        is_nan = np.isnan(values)
        values[is_nan] = np.nan
        times, steps = np.frombuffer(self.times, dtype=np.int64), np.frombuffer(self.steps, dtype=np.int64)
        bits = values.view(np.int64)
        rows = np.stack([steps, times, bits], axis=1)[np.lexsort((bits, np.where(is_nan, 0.0, values), times, steps))]
        if len(rows) > 1:
            rows = rows[np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])]
        return rows


@dataclass(frozen=True, slots=True)
class Recorded(Generic[T]):
    """A value as one journal recorded it last, and whether MLflow has confirmed that line."""

    value: T
    is_shipped: bool


Texts = dict[str, dict[int, Recorded[str]]]
"""Parameters or tags by name, and by the journal's number."""


@dataclass(slots=True)
class RunFacts:
    """Everything that the journals recorded of one run; names are those that MLflow uses."""

    key: str
    name: str = ""
    parent: str | None = None
    started_at: int | None = None
    is_shipped: bool = False
    ends: dict[int, Recorded[tuple[str, int]]] = field(default_factory=dict)
    parameters: Texts = field(default_factory=dict)
    tags: Texts = field(default_factory=dict)
    shipped_points: dict[str, MetricPoints] = field(default_factory=dict)
    pending_points: dict[str, MetricPoints] = field(default_factory=dict)
    datasets: dict[tuple[str, str], dict[int, Recorded[LogDataset]]] = field(default_factory=dict)
    artifacts: dict[str, dict[int, Recorded[tuple[str, int]]]] = field(default_factory=dict)
    models: dict[str, Recorded[LogModel]] = field(default_factory=dict)
    registrations: dict[tuple[str, str], Recorded[RegisterModel]] = field(default_factory=dict)


@dataclass(slots=True)
class _Contents:
    """What one journal says that a run has, for its manifest."""

    artifacts: dict[str, tuple[str, int]] = field(default_factory=dict)
    models: dict[tuple[str, str, str, int], None] = field(default_factory=dict)
    infinite_metrics: set[str] = field(default_factory=set)


@dataclass(slots=True)
class JournalFacts:
    """What one journal says about itself.

    Attributes:
        confirmed: Number of the last line that MLflow has; infinity when it has them all.
        resumed: The run that it goes on with, if another journal began it.
        part: What its own files and tags of that run are told apart by.
        damage: Why it could not be read to its end; empty when it could.
        staged: Sizes of the staged files by SHA-256.
    """

    folder: Path
    number: int
    confirmed: float
    experiment: str = ""
    resumed: str = ""
    part: str = ""
    last: Entry | None = None
    damage: str = ""
    staged: dict[str, int] = field(default_factory=dict)
    contents: dict[str, _Contents] = field(default_factory=dict)

    @property
    def head_tag(self) -> str:
        """The tag of the parent run in which the shipper leaves the last line's digest."""
        return artifacts.of_part(naming.JOURNAL_HEAD_TAG, self.part)


class Record:
    """The union of the facts of all journals of one evaluation."""

    def __init__(self) -> None:
        """Start empty."""
        self.runs: dict[str, RunFacts] = {}
        self.journals: list[JournalFacts] = []

    def read(self, folder: Path, *, confirmed: float) -> None:
        """Take everything from one journal; lines after a damaged one are left out."""
        journal = JournalFacts(folder, len(self.journals), confirmed)
        self.journals.append(journal)
        try:
            for entry in JournalReader(folder):
                journal.last = entry
                self._take(entry, journal, is_shipped=entry.sequence <= confirmed)
        except JournalError as error:
            journal.damage = str(error)

    def below(self, key: str) -> list[RunFacts]:
        """Return a run and every run recorded below it, in the order of their start."""
        keys, found = {key}, []
        for run in self.runs.values():
            if run.key in keys or run.parent in keys:
                keys.add(run.key)
                found.append(run)
        return found

    def sources(self, place: tuple[str, str]) -> set[str]:
        """Return every source that was recorded for a dataset, by any run."""
        facts = (run.datasets.get(place, {}) for run in self.runs.values())
        return {fact.value.source for by_journal in facts for fact in by_journal.values()}

    def _take(self, entry: Entry, journal: JournalFacts, *, is_shipped: bool) -> None:
        number = journal.number
        match entry.operation:
            case OpenJournal(experiment=experiment):
                journal.experiment = experiment
            case CloseJournal():
                pass
            case StartRun(run=key, name=name, parent=parent, tags=tags):
                run = self._run(key)
                run.name, run.parent, run.started_at, run.is_shipped = name, parent, entry.time, is_shipped
                put_all(run.tags, tags, number, is_shipped=is_shipped)
            case ResumeRun(run=key, part=part):
                journal.resumed, journal.part = key, part
                self._run(key)
            case EndRun(run=key, status=status, ended_at=ended_at):
                self._run(key).ends[number] = Recorded((status, ended_at or entry.time), is_shipped)
                self._take_summary(self._run(key), journal, is_shipped=is_shipped)
            case LogParameters() | SetTags() | LogMetrics() | LogSeries():
                self._take_values(entry, journal, is_shipped=is_shipped)
            case LogArtifact() | LogDataset() | LogModel() | RegisterModel():
                self._take_thing(entry.operation, journal, is_shipped=is_shipped)

    def _take_values(self, entry: Entry, journal: JournalFacts, *, is_shipped: bool) -> None:
        number = journal.number
        match entry.operation:
            case LogParameters(run=key, parameters=parameters):
                put_all(self._run(key).parameters, parameters, number, is_shipped=is_shipped)
            case SetTags(run=key, tags=tags):
                put_all(self._run(key).tags, tags, number, is_shipped=is_shipped)
            case LogMetrics(run=key, metrics=metrics, step=step):
                for name, value in metrics.items():
                    self._take_points(key, journal, name, (value,), start=(entry.time, step), is_shipped=is_shipped)
            case LogSeries(run=key, name=name, values=values, first_step=first):
                self._take_points(key, journal, name, values, start=(entry.time, first), is_shipped=is_shipped)

    def _take_thing(self, operation: Operation, journal: JournalFacts, *, is_shipped: bool) -> None:
        match operation:
            case LogDataset() as dataset:
                # MLflow keeps the first input of a dataset and drops the same one under a second context.
                kept = self._run(dataset.run).datasets.setdefault(dataset_place(dataset), {})
                kept.setdefault(journal.number, Recorded(dataset, is_shipped))
            case LogArtifact(run=key, path=path, sha256=digest, size=size):
                by_journal = self._run(key).artifacts.setdefault(storable(path), {})
                by_journal[journal.number] = Recorded((digest, size), is_shipped)
                journal.contents.setdefault(key, _Contents()).artifacts[path] = (digest, size)
                journal.staged[digest] = size
            case LogModel() as model:
                self._run(model.run).models[model.name] = Recorded(model, is_shipped)
                line = (model.name, model.file, model.sha256, model.size)
                journal.contents.setdefault(model.run, _Contents()).models[line] = None
                journal.staged[model.sha256] = model.size
            case RegisterModel() as registration:
                kind = (registration.registered_name, registration.model)
                registrations = self._run(registration.run).registrations
                # Last in order of recording: a tag of the run names the last one.
                registrations.pop(kind, None)
                registrations[kind] = Recorded(registration, is_shipped)

    def _run(self, key: str) -> RunFacts:
        return self.runs.setdefault(key, RunFacts(key))

    @staticmethod
    def _take_summary(run: RunFacts, journal: JournalFacts, *, is_shipped: bool) -> None:
        """Add what the shipper adds when a run ends: its manifest, that one's digest, the names of infinite metrics."""
        contents = journal.contents.get(run.key, _Contents())
        part = journal.part if run.key == journal.resumed else ""
        tags = {}
        if contents.artifacts or contents.models:
            document = artifacts.manifest(run.key, artifacts=contents.artifacts, models=tuple(contents.models))
            path, digest = artifacts.of_part(artifacts.MANIFEST_FILE, part), sha256(document)
            run.artifacts.setdefault(path, {})[journal.number] = Recorded((digest, len(document)), is_shipped)
            tags[artifacts.of_part(naming.MANIFEST_DIGEST_TAG, part)] = digest
        if names := contents.infinite_metrics:
            tags[artifacts.of_part(naming.INFINITE_METRICS_TAG, part)] = json.dumps(sorted(names))
        put_all(run.tags, tags, journal.number, is_shipped=is_shipped)

    def _take_points(
        self,
        key: str,
        journal: JournalFacts,
        name: str,
        values: Sequence[float],
        *,
        start: tuple[int, int],
        is_shipped: bool,
    ) -> None:
        run, (time, first) = self._run(key), start
        known = run.shipped_points if is_shipped else run.pending_points
        points = known.setdefault(to_mlflow_name(name), MetricPoints())
        for step, value in enumerate(values, start=first):
            if math.isinf(value):
                journal.contents.setdefault(key, _Contents()).infinite_metrics.add(name)
            points.add(kept_value(value), time=time, step=step)


def put_all(texts: Texts, values: Mapping[str, str], number: int, *, is_shipped: bool) -> None:
    """Note what one journal says of parameters or tags."""
    for name, value in values.items():
        texts.setdefault(to_mlflow_name(name), {})[number] = Recorded(storable(value), is_shipped)


def dataset_place(dataset: LogDataset) -> tuple[str, str]:
    """Return name and short digest, by which MLflow tells the datasets of an experiment apart."""
    return storable(dataset.name), dataset.digest[:_DATASET_DIGEST_LENGTH]


def dataset_fields(dataset: LogDataset) -> dict[str, str]:
    """Return what MLflow should say about a dataset input."""
    columns = [f"{name}: {_column_type(kind)}" for name, kind in dataset.columns.items()]
    return {
        "context": dataset.context,
        "digest": dataset.digest,
        "source": dataset.source,
        "rows": str(dataset.rows),
        "number of columns": str(len(dataset.columns)),
        "columns": ", ".join(columns),
    }


def example_documents(model: LogModel) -> dict[str, JsonValue]:
    """Return the JSON documents of a model's example by file name; none when it has no example."""
    if not model.example:
        return {}
    table: JsonValue = {"columns": list(model.example), "data": [list(model.example.values())]}
    return {EXAMPLE_FILE: table, SERVING_EXAMPLE_FILE: {"dataframe_split": table}}


def model_files(model: LogModel) -> tuple[str, ...]:
    """Return the files of a model's folder, its manifest aside."""
    return (model.file, *MODEL_FILES, *example_documents(model))


def model_file_fields(
    path: str, content: bytes, model: LogModel, *, run_id: str, model_id: str
) -> Iterator[tuple[str, str, str]]:
    """Yield name, recorded and found text of everything in a file beside a model's own that the journal fixes."""
    import yaml  # only where a model is audited

    requirements = list(model.requirements)
    if path in (EXAMPLE_FILE, SERVING_EXAMPLE_FILE):
        yield "content", json.dumps(example_documents(model)[path]), content.decode("utf-8", "replace")
        return
    if path == "requirements.txt":
        yield "lines", "\n".join(requirements), content.decode("utf-8", "replace").strip("\n")
        return
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError):
        document = None
    if not isinstance(document, dict):
        yield "content", "a YAML mapping", content.decode("utf-8", "replace")
    elif path == "conda.yaml":
        dependencies = [item for item in document.get("dependencies") or () if not str(item).startswith("python=")]
        yield "dependencies", str(["pip", {"pip": requirements}]), str(dependencies)
        yield "channels", str(["conda-forge"]), str(document.get("channels"))
    elif path == "python_env.yaml":
        fixed = (["pip"], ["-r requirements.txt"])
        yield "dependencies", str(fixed), str((document.get("build_dependencies"), document.get("dependencies")))
    else:
        yield from _mlmodel_fields(document, model)
        yield "run_id", run_id, str(document.get("run_id"))
        yield "model_id", model_id, str(document.get("model_id"))


def _mlmodel_fields(document: Mapping[str, object], model: LogModel) -> Iterator[tuple[str, str, str]]:
    flavors, signature = document.get("flavors"), document.get("signature")
    names = sorted(flavors) if isinstance(flavors, dict) else flavors
    yield "flavors", str(sorted({model.flavor, "python_function"})), str(names)
    yield model.flavor, _json(dict(model.options)), _json(_part(flavors, model.flavor))
    # Which Python ships a model is not recorded.
    loader = _part(flavors, "python_function")
    found_loader = (
        {name: loader[name] for name in loader if name != "python_version"} if isinstance(loader, dict) else loader
    )
    recorded_loader = {
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "loader_module": f"mlflow.{model.flavor}",
        "model_path": model.file,
        "predict_fn": "predict",
    }
    yield "python_function", _json(recorded_loader), _json(found_loader)
    inputs = [{"type": kind, "name": name, "required": True} for name, kind in model.inputs.items()]
    outputs = [{"type": model.output, "required": True}]
    for name, recorded in (("inputs", inputs), ("outputs", outputs)):
        found = _part(signature, name)
        with suppress(ValueError):
            found = json.loads(str(found))
        yield f"signature {name}", _json(recorded), _json(found)
    yield "model_size_bytes", str(model.size), str(document.get("model_size_bytes"))
    yield "input example", str(bool(model.example)), str(bool(document.get("saved_input_example_info")))
    yield "other fields", "", ", ".join(sorted(map(str, document.keys() - _MLMODEL_FIELDS)))


def _column_type(kind: str) -> str:
    return "datetime" if kind.startswith(("timestamp", "date")) else _COLUMN_TYPES.get(kind, "string")


def _part(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
