"""Is what MLflow holds what the journal recorded?

:func:`audit_run` reads both sides and compares them field by field. It writes nothing, and it does not ask the shipper
how a fact is sent: what MLflow should hold is derived here once more, from the journal's lines and MLflow's limits. Of
the project's own code it shares pure functions alone: names and values as MLflow takes them, the manifest, the texts
of parameters.

Whatever cannot be vouched for is a difference: a fact that has not been shipped, a journal that is damaged, and a run
without a journal, unless the caller has said that there is none.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

from hokusai.digests import file_sha256, sha256
from hokusai.errors import JournalError, RunNotFoundError, TrackingError
from hokusai.tracking import artifacts, naming
from hokusai.tracking.journal import JOURNAL_FILE, JournalReader, find_journals, staged_path
from hokusai.tracking.mlflow_config import redact_credentials, resolve_store, sqlite_path
from hokusai.tracking.mlflow_names import LONGEST_PARAMETER, LONGEST_TAG, kept_value, to_mlflow_name
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
from hokusai.tracking.parameters import as_texts
from hokusai.tracking.shipper import read_shipping_state

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from hokusai.digests import JsonValue
    from hokusai.tracking.journal import Entry
    from hokusai.tracking.mlflow_client import MetricPoint
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.mlflow_reader import (
        FoundDataset,
        FoundModel,
        FoundRun,
        FoundVersion,
        MetricPoints,
        MlflowReader,
    )
    from hokusai.tracking.operations import Operation

__all__ = ["AuditReport", "Difference", "Kind", "Reason", "audit_run"]

Kind = Literal[
    "journal",
    "staged file",
    "run",
    "name",
    "experiment",
    "parent",
    "status",
    "start time",
    "end time",
    "parameter",
    "metric",
    "tag",
    "dataset",
    "artifact",
    "model",
    "model version",
]
Reason = Literal["missing", "deleted", "added", "doubled", "changed", "not shipped", "damaged"]

T = TypeVar("T")

_POINTS_NAMED = 10
_COLUMN_TYPES = {"int64": "long", "double": "double", "bool": "boolean"}
_MODEL_FILES = ("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt")
_MLFLOW_TAGS = "mlflow."
_DATASET_DIGEST_LENGTH = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that MLflow, or the journal, does not hold as it was recorded.

    Attributes:
        run: The run's name, as recorded where that is known.
        key: The run's key; empty when it has none.
        kind: What differs.
        name: Which one: the parameter's name, the artifact's path, and so on; empty where a run has but one.
        reason: In which way it differs.
        recorded: What the journal has; empty for what was added.
        found: What is there now; empty for what is missing.
    """

    run: str
    key: str
    kind: Kind
    name: str
    reason: Reason
    recorded: str = ""
    found: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What an audit looked at, and what it found.

    Attributes:
        run: Name, id or key of the run, as it was asked for.
        store: The tracking store, without credentials.
        journal: The journal's folder, or None when the audit had none; of several that go on with one evaluation the
            one that began it, or the first that was there.
        journals: All of them.
        checked: How many facts of each kind were compared.
        differences: What is not as it was recorded, the journal's own first, then run by run.
    """

    run: str
    store: str
    journal: Path | None
    journals: tuple[Path, ...]
    checked: Mapping[str, int]
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        """Whether MLflow holds everything that was recorded, as it was recorded, and nothing else."""
        return not self.differences

    @property
    def edits(self) -> tuple[Difference, ...]:
        """The differences without the facts that only have not been shipped yet."""
        return tuple(item for item in self.differences if item.reason != "not shipped")


def audit_run(
    settings: TrackingSettings, run: str, *, journal: Path | None = None, without_journal: bool = False
) -> AuditReport:
    """Compare what MLflow holds of a run, and of every run recorded below it, with what the journal recorded.

    Args:
        settings: Where MLflow is, and where the journals are.
        run: A run id, its first characters, a run name or a run key; deleted runs are found as well.
        journal: The journal's folder; default None: the evaluation's journals below ``settings.journal``.
        without_journal: Look for no journal; check MLflow's own record against the digests that it keeps.

    Raises:
        RunNotFoundError: Neither MLflow nor a journal knows the run.
        TrackingServerError: The store does not answer.
        TrackingError: There is no such store.
        JournalError: The given folder holds no journal.
    """
    uri = resolve_store(settings)
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        msg = f"{path}: there is no tracking store here. Name another with --tracking-uri."
        raise TrackingError(msg)
    if journal is not None and not (journal / JOURNAL_FILE).is_file():
        msg = f"{journal}: no journal here, expected a folder with {JOURNAL_FILE}."
        raise JournalError(msg)
    from hokusai.tracking.mlflow_reader import MlflowReader  # imports MLflow

    store = MlflowReader(uri, registry_uri=settings.registry_uri)
    known = () if without_journal else find_journals(settings.journal) if journal is None else (journal,)
    place = _locate(store, run, known, given=journal)
    folders = tuple(folder for folder in known if folder == journal or _evaluation_of(folder) == place.evaluation)
    audit = _Audit(store, place, folders)
    audit.compare(needs_journal=not without_journal, where=settings.journal)
    return AuditReport(
        run=run,
        store=redact_credentials(uri),
        journal=folders[0] if folders else None,
        journals=folders,
        checked=dict(audit.checked),
        differences=tuple(audit.differences),
    )


# --- which run, which journals ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Which run is meant: its evaluation, its key, and its id in MLflow; what is unknown is empty."""

    evaluation: str
    key: str
    run_id: str


def _locate(store: MlflowReader, run: str, folders: Sequence[Path], *, given: Path | None) -> _Place:
    found = store.find_anywhere(run) if run else None
    own = "" if given is None else _evaluation_in(given)
    # A journal's note of where its runs went says more than tags, which somebody may have edited.
    for folder in folders:
        state = read_shipping_state(folder)
        for key, run_id in (state.run_ids if state and state.store == store.uri else {}).items():
            if run_id == found.run_id if found else run and run_id.startswith(run):
                return _Place(evaluation=own or _evaluation_of(folder), key=key, run_id=run_id)
    if found is not None:
        key = found.tags.get(naming.RUN_KEY_TAG, "")
        evaluation = own or found.tags.get(naming.EVALUATION_TAG, "") or key.partition(":")[0]
        return _Place(evaluation=evaluation, key=key, run_id=found.run_id)
    evaluation = run.partition(":")[0]
    if run and evaluation in {own, *map(_evaluation_of, folders)}:
        return _Place(evaluation=evaluation, key=run, run_id="")
    raise RunNotFoundError(run, store=store.uri)


def _evaluation_of(folder: Path) -> str:
    """Return the evaluation that a folder below the folder of journals belongs to, by its name."""
    return folder.name.partition(".")[0]


def _evaluation_in(folder: Path) -> str:
    """Return the evaluation that a journal names, wherever its folder has been copied to."""
    try:
        entries = JournalReader(folder).read_new()
    except JournalError:
        return _evaluation_of(folder)
    first = entries[0].operation if entries else None
    return first.evaluation if isinstance(first, OpenJournal) else _evaluation_of(folder)


# --- what was recorded -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Recorded(Generic[T]):
    """A value as one journal recorded it last, and whether MLflow has confirmed that line."""

    value: T
    is_shipped: bool


_Texts = dict[str, dict[int, _Recorded[str]]]
"""By name, and by the journal's number: several journals may go on with one run, and any of them may be the last."""


@dataclass(slots=True)
class _RunFacts:
    """Everything that the journals recorded of one run; names are those that MLflow uses."""

    key: str
    name: str = ""
    parent: str | None = None
    started_at: int | None = None
    is_shipped: bool = False
    ends: dict[int, _Recorded[tuple[str, int]]] = field(default_factory=dict)
    parameters: _Texts = field(default_factory=dict)
    tags: _Texts = field(default_factory=dict)
    shipped_points: dict[str, MetricPoints] = field(default_factory=dict)
    pending_points: dict[str, MetricPoints] = field(default_factory=dict)
    infinite: dict[int, set[str]] = field(default_factory=dict)
    datasets: dict[tuple[str, str], dict[int, _Recorded[LogDataset]]] = field(default_factory=dict)
    artifacts: dict[str, dict[int, _Recorded[tuple[str, int]]]] = field(default_factory=dict)
    contents: dict[int, dict[str, tuple[str, int]]] = field(default_factory=dict)
    models: dict[str, _Recorded[LogModel]] = field(default_factory=dict)
    logged: dict[int, list[tuple[str, str, str, int]]] = field(default_factory=dict)
    registrations: dict[tuple[str, str], _Recorded[RegisterModel]] = field(default_factory=dict)


@dataclass(slots=True)
class _JournalFacts:
    """What one journal says about itself."""

    folder: Path
    number: int
    confirmed: float
    head_tag: str = naming.JOURNAL_HEAD_TAG
    experiment: str = ""
    last: Entry | None = None
    damage: str = ""
    staged: dict[str, int] = field(default_factory=dict)


class _Record:
    """The union of the facts of all journals of one evaluation."""

    def __init__(self) -> None:
        self.runs: dict[str, _RunFacts] = {}
        self.journals: list[_JournalFacts] = []

    def read(self, folder: Path, *, confirmed: float) -> None:
        """Take everything from one journal; lines after a damaged one are left out."""
        journal = _JournalFacts(folder, len(self.journals), confirmed)
        self.journals.append(journal)
        try:
            for entry in JournalReader(folder):
                journal.last = entry
                self._take(entry, journal)
        except JournalError as error:
            journal.damage = str(error)

    def below(self, key: str) -> list[_RunFacts]:
        """Return a run and every run recorded below it, in the order of their start."""
        keys, found = {key}, []
        for run in self.runs.values():
            if run.key in keys or run.parent in keys:
                keys.add(run.key)
                found.append(run)
        return found

    def _take(self, entry: Entry, journal: _JournalFacts) -> None:
        is_shipped, number = entry.sequence <= journal.confirmed, journal.number
        match entry.operation:
            case OpenJournal(experiment=experiment):
                journal.experiment = experiment
            case CloseJournal():
                pass
            case StartRun(run=key, name=name, parent=parent, tags=tags):
                run = self._run(key)
                run.name, run.parent, run.started_at, run.is_shipped = name, parent, entry.time, is_shipped
                _put_all(run.tags, tags, number, is_shipped=is_shipped)
            case ResumeRun(run=key):
                journal.head_tag = f"{naming.JOURNAL_HEAD_TAG}.{entry.link[:8]}"
                run = self._run(key)
                run.is_shipped = run.is_shipped or is_shipped
            case EndRun(run=key, status=status, ended_at=ended_at):
                self._end(self._run(key), number, _Recorded((status, ended_at or entry.time), is_shipped))
            case LogParameters() | SetTags() | LogMetrics() | LogSeries():
                self._take_values(entry, number, is_shipped=is_shipped)
            case LogArtifact() | LogDataset() | LogModel() | RegisterModel():
                self._take_thing(entry.operation, journal, is_shipped=is_shipped)

    def _take_values(self, entry: Entry, number: int, *, is_shipped: bool) -> None:
        match entry.operation:
            case LogParameters(run=key, parameters=parameters):
                _put_all(self._run(key).parameters, parameters, number, is_shipped=is_shipped)
            case SetTags(run=key, tags=tags):
                _put_all(self._run(key).tags, tags, number, is_shipped=is_shipped)
            case LogMetrics(run=key, metrics=metrics, step=step):
                for name, value in metrics.items():
                    self._add_points(self._run(key), number, name, (value,), (entry.time, step), is_shipped=is_shipped)
            case LogSeries(run=key, name=name, values=values, first_step=first):
                self._add_points(self._run(key), number, name, values, (entry.time, first), is_shipped=is_shipped)

    def _take_thing(self, operation: Operation, journal: _JournalFacts, *, is_shipped: bool) -> None:
        number = journal.number
        match operation:
            case LogDataset() as dataset:
                place = (_storable(dataset.name), dataset.digest[:_DATASET_DIGEST_LENGTH])
                # MLflow keeps the first input of a dataset and drops the same one under a second context.
                kept = self._run(dataset.run).datasets.setdefault(place, {})
                kept.setdefault(number, _Recorded(dataset, is_shipped))
            case LogArtifact(run=key, path=path, sha256=digest, size=size):
                path = _storable(path)
                self._run(key).artifacts.setdefault(path, {})[number] = _Recorded((digest, size), is_shipped)
                self._run(key).contents.setdefault(number, {})[path] = (digest, size)
                journal.staged[digest] = size
            case LogModel() as model:
                run = self._run(model.run)
                run.models[model.name] = _Recorded(model, is_shipped)
                logged = run.logged.setdefault(number, [])
                if (line := (model.name, model.file, model.sha256, model.size)) not in logged:
                    logged.append(line)
                journal.staged[model.sha256] = model.size
            case RegisterModel() as registration:
                kind = (registration.registered_name, registration.model)
                registrations = self._run(registration.run).registrations
                # Last in order of recording: the tag names the last one.
                registrations.pop(kind, None)
                registrations[kind] = _Recorded(registration, is_shipped)

    def _run(self, key: str) -> _RunFacts:
        return self.runs.setdefault(key, _RunFacts(key))

    @staticmethod
    def _end(run: _RunFacts, number: int, end: _Recorded[tuple[str, int]]) -> None:
        """Note an end, and what the shipper adds there: the manifest, its digest, the names of infinite metrics."""
        run.ends[number] = end
        files, models = run.contents.get(number, {}), run.logged.get(number, [])
        if files or models:
            document = artifacts.manifest(run.key, artifacts=files, models=models)
            fact = (sha256(document), len(document))
            run.artifacts.setdefault(artifacts.MANIFEST_FILE, {})[number] = _Recorded(fact, end.is_shipped)
            _put_all(run.tags, {naming.MANIFEST_DIGEST_TAG: fact[0]}, number, is_shipped=end.is_shipped)
        if names := run.infinite.get(number):
            text = json.dumps(sorted(names))
            _put_all(run.tags, {naming.INFINITE_METRICS_TAG: text}, number, is_shipped=end.is_shipped)

    @staticmethod
    def _add_points(
        run: _RunFacts, number: int, name: str, values: Sequence[float], start: tuple[int, int], *, is_shipped: bool
    ) -> None:
        time, first = start
        known = run.shipped_points if is_shipped else run.pending_points
        points = known.get(to_mlflow_name(name))
        if points is None:
            from hokusai.tracking.mlflow_reader import MetricPoints

            points = known[to_mlflow_name(name)] = MetricPoints()
        for step, value in enumerate(values, start=first):
            if math.isinf(value):
                run.infinite.setdefault(number, set()).add(name)
            points.add(kept_value(value), time=time, step=step)


def _put_all(texts: _Texts, values: Mapping[str, str], number: int, *, is_shipped: bool) -> None:
    for name, value in values.items():
        texts.setdefault(to_mlflow_name(name), {})[number] = _Recorded(_storable(value), is_shipped)


def _storable(text: str) -> str:
    """Return a text as a store holds it: lone surrogates, which names of files may have, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


# --- the comparison --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pair:
    """A recorded run and the run in MLflow that is it."""

    facts: _RunFacts
    found: FoundRun


class _Audit:
    """One comparison, and what it has found so far."""

    def __init__(self, store: MlflowReader, place: _Place, folders: Sequence[Path]) -> None:
        self.checked: Counter[str] = Counter()
        self.differences: list[Difference] = []
        self._store = store
        self._place = place
        self._folders = folders
        self._record = _Record()

    def compare(self, *, needs_journal: bool, where: Path) -> None:
        """Find every difference."""
        noted: dict[str, str] = {}
        for folder in self._folders:
            state = read_shipping_state(folder)
            if state and state.store == self._store.uri:
                noted |= state.run_ids
        known = {*noted.values(), *filter(None, [self._place.run_id])}
        runs = self._store.runs_of(self._place.evaluation, known_ids=known)
        for folder in self._folders:
            self._record.read(folder, confirmed=self._confirmed(folder, runs))
        if not self._folders or any(journal.damage for journal in self._record.journals):
            if not self._folders and needs_journal:
                self._differ("", "", "journal", "", "missing", recorded="", found=f"no journal of it in {where}")
            self._check_journals(runs)
            self._compare_with_own_record(runs)
            return
        self._check_journals(runs)
        self._compare_runs(runs, noted)

    def _differ(
        self, run: str, key: str, kind: Kind, name: str, reason: Reason, *, recorded: object = "", found: object = ""
    ) -> None:
        self.differences.append(
            Difference(run=run, key=key, kind=kind, name=name, reason=reason, recorded=str(recorded), found=str(found))
        )

    # The journals themselves.

    def _confirmed(self, folder: Path, runs: Iterable[FoundRun]) -> float:
        """Return the number of the last line that MLflow has, as the note beside the journal or MLflow itself says."""
        state = read_shipping_state(folder)
        is_noted = state is not None and state.store == self._store.uri
        if state is not None and is_noted and state.complete:
            return math.inf
        try:
            entries = JournalReader(folder).read_new()
        except JournalError:
            entries = []
        resumed = next((entry.link for entry in entries if isinstance(entry.operation, ResumeRun)), "")
        tag = f"{naming.JOURNAL_HEAD_TAG}.{resumed[:8]}" if resumed else naming.JOURNAL_HEAD_TAG
        # The shipper sets this tag when it has come to the journal's end.
        if any(tag in run.tags for run in runs if run.tags.get(naming.RUN_KEY_TAG) == self._place.evaluation):
            return math.inf
        return state.confirmed if state is not None and is_noted else 0

    def _check_journals(self, runs: Sequence[FoundRun]) -> None:
        for journal in self._record.journals:
            self.checked["journal"] += 1
            name = journal.folder.name
            if journal.damage:
                self._differ(
                    "", "", "journal", name, "damaged", recorded="a whole chain of lines", found=journal.damage
                )
            last = journal.last.sequence if journal.last else 0
            if last > journal.confirmed:
                first = int(journal.confirmed) + 1
                self._differ("", "", "journal", name, "not shipped", recorded=f"lines {first} to {last}")
            state = read_shipping_state(journal.folder)
            if not journal.damage and state and state.confirmed > last:
                recorded, found = f"{state.confirmed} lines that were shipped", f"{last} lines"
                self._differ("", "", "journal", name, "damaged", recorded=recorded, found=found)
            self._check_staged_files(journal)
        parents = [run for run in runs if run.tags.get(naming.RUN_KEY_TAG) == self._place.evaluation]
        if parents and self._place.key != self._place.evaluation:
            # Otherwise the tags of the run itself are compared anyway.
            for name, (recorded, is_shipped) in self._heads().items():
                found = parents[0].tags.get(name, "")
                if is_shipped and found != recorded:
                    self._differ("", "", "journal", name, "changed", recorded=recorded, found=found)

    def _heads(self) -> dict[str, tuple[str, bool]]:
        """Return the tags that hold the last link of every journal, and whether they have been shipped."""
        heads = {}
        for journal in self._record.journals:
            last = journal.last
            if (
                last
                and not journal.damage
                and (isinstance(last.operation, CloseJournal) or journal.confirmed == math.inf)
            ):
                heads[journal.head_tag] = (f"{last.sequence}:{last.link}", last.sequence <= journal.confirmed)
        return heads

    def _check_staged_files(self, journal: _JournalFacts) -> None:
        for digest, size in journal.staged.items():
            self.checked["staged file"] += 1
            file = staged_path(journal.folder, digest)
            recorded = f"{digest}, {size} bytes"
            try:
                found = f"{file_sha256(file)}, {file.stat().st_size} bytes"
            except FileNotFoundError:
                self._differ("", "", "staged file", digest, "missing", recorded=recorded)
                continue
            except OSError as error:
                found = f"cannot be read ({error.strerror})"
            if found != recorded:
                self._differ("", "", "staged file", digest, "changed", recorded=recorded, found=found)

    # Runs, against the journals.

    def _compare_runs(self, runs: Sequence[FoundRun], noted: Mapping[str, str]) -> None:
        wanted = self._record.below(self._place.key)
        if not wanted:
            self._differ("", self._place.key, "run", self._place.key, "added", found=self._place.run_id)
        pairs, others = _match(wanted, self._record.runs, runs, noted)
        ids = {key: run.run_id for key, run in pairs.items()}
        archived: dict[str, tuple[str, bool]] = {}
        for facts in wanted:
            self.checked["run"] += 1
            found = pairs.get(facts.key)
            if found is None:
                reason: Reason = "missing" if facts.is_shipped else "not shipped"
                self._differ(facts.name, facts.key, "run", facts.name, reason, recorded=facts.key)
                continue
            if found.experiment_id not in archived:
                archived[found.experiment_id] = self._store.experiment_state(found.experiment_id)
            experiment, is_archived = archived[found.experiment_id]
            if found.is_deleted and not is_archived:
                self._differ(facts.name, facts.key, "run", facts.name, "deleted", recorded="there", found=found.run_id)
            self._compare_run(_Pair(facts, found), ids, experiment)
        keys = {facts.key for facts in wanted}
        for run in others:
            key = run.tags.get(naming.RUN_KEY_TAG, "")
            is_of_tree = (
                self._place.key == self._place.evaluation
                or key in keys
                or run.parent_id in {ids[known] for known in keys if known in ids}
            )
            if is_of_tree and not run.is_deleted:
                reason = "doubled" if key in self._record.runs else "added"
                recorded = ids.get(key, "") if reason == "doubled" else ""
                self._differ(run.name, key, "run", run.name, reason, recorded=recorded, found=run.run_id)

    def _compare_run(self, pair: _Pair, ids: Mapping[str, str], experiment: str) -> None:
        facts, found = pair.facts, pair.found
        self._compare_value(pair, "name", _storable(facts.name), found.name)
        if (shown := found.tags.get("mlflow.runName", found.name)) != found.name:
            self._differ_of(pair, "name", "mlflow.runName", "changed", recorded=facts.name, found=shown)
        recorded = {journal.experiment for journal in self._record.journals}
        self.checked["experiment"] += 1
        if experiment not in recorded:
            self._differ_of(pair, "experiment", "", "changed", recorded=", ".join(sorted(recorded)), found=experiment)
        parent = ids.get(facts.parent, "") if facts.parent else ""
        if parent or not facts.parent:
            self._compare_value(pair, "parent", parent, found.parent_id)
        if facts.started_at is not None:
            self._compare_value(pair, "start time", str(facts.started_at), str(found.start_time))
        self._compare_end(pair)
        self._compare_texts(pair, "parameter", facts.parameters, found.parameters, longest=LONGEST_PARAMETER)
        self._compare_metrics(pair)
        self._compare_datasets(pair)
        self._compare_artifacts(pair)
        numbers = self._compare_models(pair)
        if facts.key == self._place.evaluation:
            for name, (text, is_shipped) in self._heads().items():
                facts.tags.setdefault(name, {})[0] = _Recorded(text, is_shipped)
        for name, text in numbers.items():
            facts.tags.setdefault(name, {})[0] = _Recorded(text, True)
        tags = {
            name: value for name, value in found.tags.items() if name in facts.tags or not name.startswith(_MLFLOW_TAGS)
        }
        self._compare_texts(pair, "tag", facts.tags, tags, longest=LONGEST_TAG)

    def _differ_of(
        self, pair: _Pair, kind: Kind, name: str, reason: Reason, *, recorded: object = "", found: object = ""
    ) -> None:
        run = pair.facts.name or pair.found.name
        self._differ(run, pair.facts.key, kind, name, reason, recorded=recorded, found=found)

    def _compare_value(self, pair: _Pair, kind: Kind, recorded: str, found: str, name: str = "") -> None:
        self.checked[kind] += 1
        if recorded != found:
            reason: Reason = "missing" if not found else "changed" if recorded else "added"
            self._differ_of(pair, kind, name, reason, recorded=recorded, found=found)

    def _compare_end(self, pair: _Pair) -> None:
        ends = pair.facts.ends.values()
        shipped: list[tuple[str, int | None]] = [end.value for end in ends if end.is_shipped]
        pending: list[tuple[str, int | None]] = [end.value for end in ends if not end.is_shipped]
        found = (pair.found.status, pair.found.end_time)
        self.checked["status"] += 1
        self.checked["end time"] += 1
        if found in (shipped or [("RUNNING", None)]) or found in pending:
            if pending and not shipped and found not in pending:
                status, ended_at = pending[-1]
                self._differ_of(pair, "status", "", "not shipped", recorded=f"{status} at {ended_at}", found=found[0])
            return
        accepted = shipped or pending or [("RUNNING", None)]
        status, time = next((end for end in accepted if found[0] == end[0] or found[1] == end[1]), accepted[-1])
        if found[0] != status:
            self._differ_of(pair, "status", "", "changed", recorded=status, found=found[0])
        if found[1] != time:
            recorded, shown = ("" if value is None else value for value in (time, found[1]))
            self._differ_of(pair, "end time", "", "changed", recorded=recorded, found=shown)

    def _compare_texts(
        self, pair: _Pair, kind: Kind, recorded: _Texts, found: Mapping[str, str], *, longest: int
    ) -> None:
        for name, by_journal in recorded.items():
            self.checked[kind] += 1
            facts = by_journal.values()
            if found.get(name) in [fact.value[:longest] for fact in facts]:
                continue
            value = next(reversed(by_journal.values())).value
            if not all(fact.is_shipped for fact in facts):
                self._differ_of(pair, kind, name, "not shipped", recorded=value, found=found.get(name, ""))
            elif name in found:
                self._differ_of(pair, kind, name, "changed", recorded=value, found=found[name])
            else:
                self._differ_of(pair, kind, name, "missing", recorded=value)
        for name in sorted(found.keys() - recorded.keys()):
            self._differ_of(pair, kind, name, "added", found=found[name])

    # Metrics.

    def _compare_metrics(self, pair: _Pair) -> None:
        from hokusai.tracking.mlflow_reader import MetricPoints

        facts, found = pair.facts, pair.found
        names = {**facts.shipped_points, **facts.pending_points, **found.latest}
        for name in names:
            history = self._store.metric_points(found.run_id, name)
            shipped = _distinct(facts.shipped_points.pop(name, MetricPoints()))
            pending = _distinct(facts.pending_points.pop(name, MetricPoints()))
            there = _distinct(history)
            self.checked["metric"] += len(shipped) + len(pending)
            if not (len(pending) == 0 and there.shape == shipped.shape and (there == shipped).all()):
                self._differ_in_points(pair, name, _points(shipped), _points(pending), _points(there))
            self._compare_latest(pair, name, _points(there[-1:]), found.latest.get(name))

    def _differ_in_points(
        self, pair: _Pair, name: str, shipped: set[_Point], pending: set[_Point], there: set[_Point]
    ) -> None:
        missing, added = sorted(shipped - there), sorted(there - shipped - pending)
        by_place = {(point.step, point.time): point for point in added}
        changed = {point: by_place.pop((point.step, point.time), None) for point in missing}
        lines: list[tuple[_Point | None, _Point | None]] = list(changed.items())
        lines += [(None, point) for point in added if point not in changed.values()]
        for recorded, found in lines[:_POINTS_NAMED]:
            reason: Reason = "added" if recorded is None else "missing" if found is None else "changed"
            step = (recorded or found or _Point(0, 0, 0)).step
            self._differ_of(
                pair, "metric", f"{name} at step {step}", reason, recorded=recorded or "", found=found or ""
            )
        if (more := len(lines) - _POINTS_NAMED) > 0:
            counts = f"{len(missing)} of {len(shipped)} points are not as recorded, {len(added)} were not recorded"
            self._differ_of(pair, "metric", f"{name}: {more} more", "changed", recorded=len(shipped), found=counts)
        if waiting := pending - there:
            self._differ_of(pair, "metric", name, "not shipped", recorded=f"{len(waiting)} points")

    def _compare_latest(self, pair: _Pair, name: str, last: set[_Point], shown: MetricPoint | None) -> None:
        """Compare the value that MLflow shows in its lists, which it keeps apart from the history."""
        expected = next(iter(last), None)
        found = None if shown is None else _Point(shown.step, shown.time, _bits(shown.value))
        if expected is not None and found != expected:
            self._differ_of(pair, "metric", f"{name}: last value", "changed", recorded=expected, found=found or "")
        elif expected is None and found is not None:
            self._differ_of(pair, "metric", f"{name}: last value", "added", found=found)

    # Datasets and artifacts.

    def _compare_datasets(self, pair: _Pair) -> None:
        found = {(dataset.name, dataset.short_digest): dataset for dataset in pair.found.datasets}
        for place, by_journal in pair.facts.datasets.items():
            self.checked["dataset"] += 1
            there, facts = found.pop(place, None), tuple(by_journal.values())
            if there is None:
                reason: Reason = "missing" if all(fact.is_shipped for fact in facts) else "not shipped"
                self._differ_of(pair, "dataset", place[0], reason, recorded=facts[0].value.digest)
                continue
            accepted = [_dataset_fields(fact.value) for fact in facts]
            fields = _found_fields(there)
            if fields in accepted:
                continue
            for name, text in fields.items():
                if text == accepted[0][name]:
                    continue
                # MLflow has one source per dataset and experiment: that of whoever logged it first.
                if name == "source" and self._store.is_dataset_shared(
                    there, experiment_id=pair.found.experiment_id, evaluation=self._place.evaluation
                ):
                    continue
                self._differ_of(
                    pair, "dataset", f"{place[0]}: {name}", "changed", recorded=accepted[0][name], found=text
                )
        for dataset in found.values():
            shown = dataset.digest or dataset.short_digest
            self._differ_of(pair, "dataset", dataset.name, "added", found=shown)

    def _compare_artifacts(self, pair: _Pair) -> None:
        location = pair.found.location
        files = self._store.files_of(location)
        for path, by_journal in pair.facts.artifacts.items():
            self.checked["artifact"] += 1
            facts = tuple(by_journal.values())
            is_shipped = all(fact.is_shipped for fact in facts)
            recorded = _file_text(*facts[-1].value)
            if path not in files:
                self._differ_of(pair, "artifact", path, "missing" if is_shipped else "not shipped", recorded=recorded)
                continue
            found = self._store.digest_of(location, path)
            if found not in [fact.value for fact in facts]:
                reason: Reason = "changed" if is_shipped else "not shipped"
                self._differ_of(pair, "artifact", path, reason, recorded=recorded, found=_file_text(*found))
        for path in sorted(files.keys() - pair.facts.artifacts.keys()):
            found_text = _file_text(*self._store.digest_of(location, path))
            self._differ_of(pair, "artifact", path, "added", found=found_text)

    # Models.

    def _compare_models(self, pair: _Pair) -> dict[str, str]:
        """Compare logged models and versions; return the tag that names the run's last version, if it has one."""
        facts, found = pair.facts, pair.found
        there = list(self._store.models_of(found))
        ids: dict[str, str] = {}
        for name, model in facts.models.items():
            self.checked["model"] += 1
            key = f"{self._place.evaluation}:{name}"
            same = [item for item in there if item.tags.get(naming.MODEL_KEY_TAG) == key]
            same = same or [item for item in there if item.name == name]
            same.sort(key=lambda item: item.model_id not in found.model_ids)
            if not same:
                reason: Reason = "missing" if model.is_shipped else "not shipped"
                self._differ_of(pair, "model", name, reason, recorded=model.value.sha256)
                continue
            ids[name] = same[0].model_id
            there = [item for item in there if item not in same]
            for double in same[1:]:
                self._differ_of(pair, "model", name, "doubled", recorded=same[0].model_id, found=double.model_id)
            self._compare_model(pair, model.value, same[0], key)
        for item in there:
            self._differ_of(pair, "model", item.name, "added", found=item.model_id)
        return self._compare_versions(pair, ids)

    def _compare_model(self, pair: _Pair, model: LogModel, found: FoundModel, key: str) -> None:
        run = pair.found
        for field_name, recorded, there in (
            ("name", model.name, found.name),
            ("status", "READY", found.status),
            ("run", run.run_id, found.run_id),
            ("key", key, found.tags.get(naming.MODEL_KEY_TAG, "")),
            ("output of its run", "yes", "yes" if found.model_id in run.model_ids else ""),
        ):
            self._compare_value(pair, "model", recorded, there, f"{model.name}: {field_name}")
        for tag in sorted(found.tags.keys() - {naming.MODEL_KEY_TAG}):
            if not tag.startswith(_MLFLOW_TAGS):
                self._differ_of(pair, "model", f"{model.name}: tag {tag}", "added", found=found.tags[tag])
        self._compare_model_files(pair, model, found)

    def _compare_model_files(self, pair: _Pair, model: LogModel, found: FoundModel) -> None:
        files = self._store.files_of(found.location)
        for path in (model.file, *_MODEL_FILES):
            self.checked["model"] += 1
            if path not in files:
                self._differ_of(pair, "model", f"{model.name}: {path}", "missing", recorded="there")
        for path in sorted(files.keys() - {model.file, *_MODEL_FILES}):
            text = _file_text(*self._store.digest_of(found.location, path))
            self._differ_of(pair, "model", f"{model.name}: {path}", "added", found=text)
        if model.file in files:
            digest = self._store.digest_of(found.location, model.file)
            if digest != (model.sha256, model.size):
                recorded, there = _file_text(model.sha256, model.size), _file_text(*digest)
                self._differ_of(pair, "model", f"{model.name}: {model.file}", "changed", recorded=recorded, found=there)
        for path in _MODEL_FILES:
            if path in files:
                content = self._store.read_file(found.location, path)
                for field_name, recorded, there in _description_fields(path, content, model, found):
                    self._compare_value(pair, "model", recorded, there, f"{model.name}: {path}: {field_name}")

    def _compare_versions(self, pair: _Pair, model_ids: Mapping[str, str]) -> dict[str, str]:
        facts, found = pair.facts, pair.found
        keys = sorted({(naming.MODEL_KEY_TAG, f"{self._place.evaluation}:{model}") for _, model in facts.registrations})
        there = list(self._store.versions_of(found.run_id, keys=keys))
        shown = ""
        for (name, model), registration in facts.registrations.items():
            key = f"{self._place.evaluation}:{model}"
            same = [item for item in there if item.name == name and item.tags.get(naming.MODEL_KEY_TAG) == key]
            source = f"models:/{model_ids.get(model, '')}"
            same = same or [item for item in there if item.name == name and item.source == source]
            there = [item for item in there if item not in same]
            self.checked["model version"] += 1
            shown = ""
            if not same:
                reason: Reason = "missing" if registration.is_shipped else "not shipped"
                self._differ_of(pair, "model version", name, reason, recorded=model)
                continue
            # The tag of the run says which number the version was given.
            told = found.tags.get(naming.MODEL_VERSION_TAG, "")
            same.sort(key=lambda item: (f"{item.name}/{item.version}" != told, int(item.version)))
            for double in same[1:]:
                texts = (f"{same[0].name}/{same[0].version}", f"{double.name}/{double.version}")
                self._differ_of(pair, "model version", name, "doubled", recorded=texts[0], found=texts[1])
            shown = f"{name}/{same[0].version}" if registration.is_shipped else ""
            tags = {**registration.value.tags, naming.MODEL_KEY_TAG: key}
            self._compare_version(pair, same[0], tags, model_id=model_ids.get(model, ""))
        for item in there:
            self._differ_of(pair, "model version", f"{item.name}/{item.version}", "added", found=item.source)
        if not shown and facts.registrations and naming.MODEL_VERSION_TAG in found.tags:
            # Which number it had cannot be told any more, and the version's absence has been reported.
            shown = found.tags[naming.MODEL_VERSION_TAG]
        return {naming.MODEL_VERSION_TAG: shown} if shown else {}

    def _compare_version(self, pair: _Pair, version: FoundVersion, tags: Mapping[str, str], *, model_id: str) -> None:
        name = f"{version.name}/{version.version}"
        for field_name, recorded, there in (
            ("status", "READY", version.status),
            ("run", pair.found.run_id, version.run_id),
            ("source", f"models:/{model_id}" if model_id else version.source, version.source),
            # Not every store hands this out; the source names the same model.
            ("model", version.model_id and (model_id or version.model_id), version.model_id),
        ):
            self._compare_value(pair, "model version", recorded, there, f"{name}: {field_name}")
        for tag in sorted({*tags, *version.tags}):
            self._compare_value(
                pair, "model version", tags.get(tag, ""), version.tags.get(tag, ""), f"{name}: tag {tag}"
            )

    # Runs, against the digests that MLflow itself keeps.

    def _compare_with_own_record(self, runs: Sequence[FoundRun]) -> None:
        wanted = [run for run in runs if self._place.key == self._place.evaluation or run.run_id == self._place.run_id]
        for run in wanted:
            facts = _RunFacts(run.tags.get(naming.RUN_KEY_TAG, ""), name=run.name)
            pair = _Pair(facts, run)
            self.checked["run"] += 1
            if run.is_deleted and not self._store.experiment_state(run.experiment_id)[1]:
                self._differ_of(pair, "run", run.name, "deleted", recorded="there", found=run.run_id)
            files = self._store.files_of(run.location)
            self._compare_parameters_with_their_file(pair, files)
            self._compare_artifacts_with_manifest(pair, files)

    def _read_signed(self, pair: _Pair, path: str, tag: str, files: Collection[str]) -> dict[str, JsonValue]:
        """Return the JSON object in an artifact whose digest a tag holds; empty when it is not what the tag says."""
        recorded = pair.found.tags.get(tag, "")
        content = self._store.read_file(pair.found.location, path) if path in files else None
        if content is None and not recorded:
            return {}
        self._compare_value(pair, "artifact", recorded, "" if content is None else sha256(content), path)
        try:
            value = json.loads(content or b"{}")
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def _compare_parameters_with_their_file(self, pair: _Pair, files: Collection[str]) -> None:
        values = self._read_signed(pair, artifacts.PARAMETERS_FILE, naming.PARAMETERS_DIGEST_TAG, files)
        texts = {name: _shortened(text) for name, text in as_texts(values).items()}
        for name, value in values.items():
            # Canonical JSON writes 0.0 as 0; the parameter keeps the number as Python writes it.
            shown = pair.found.parameters.get(to_mlflow_name(name), "")
            if isinstance(value, int | float) and _normal_json(shown) in (_json(value), _json(float(value))):
                texts[name] = shown
        recorded: _Texts = {}
        _put_all(recorded, texts, 0, is_shipped=True)
        self._compare_texts(pair, "parameter", recorded, pair.found.parameters, longest=LONGEST_PARAMETER)

    def _compare_artifacts_with_manifest(self, pair: _Pair, files: Collection[str]) -> None:
        document = self._read_signed(pair, artifacts.MANIFEST_FILE, naming.MANIFEST_DIGEST_TAG, files)
        listed = {str(item["path"]): (str(item["sha256"]), item["size"]) for item in _objects(document, "artifacts")}
        if not document and pair.found.end_time is None:
            # The manifest is written when a run ends.
            return
        for path, recorded in listed.items():
            self.checked["artifact"] += 1
            if path not in files:
                self._differ_of(pair, "artifact", path, "missing", recorded=_file_text(*recorded))
            elif (found := self._store.digest_of(pair.found.location, path)) != recorded:
                texts = (_file_text(*recorded), _file_text(*found))
                self._differ_of(pair, "artifact", path, "changed", recorded=texts[0], found=texts[1])
        for path in sorted(set(files) - listed.keys() - {artifacts.MANIFEST_FILE}):
            text = _file_text(*self._store.digest_of(pair.found.location, path))
            self._differ_of(pair, "artifact", path, "added", found=text)
        models = {model.name: model for model in self._store.models_of(pair.found)}
        for item in _objects(document, "models"):
            self.checked["model"] += 1
            name, file = str(item["name"]), str(item["file"])
            recorded = (str(item["sha256"]), item["size"])
            model = models.get(name)
            if model is None or file not in self._store.files_of(model.location):
                self._differ_of(pair, "model", f"{name}: {file}", "missing", recorded=_file_text(*recorded))
            elif (found := self._store.digest_of(model.location, file)) != recorded:
                texts = (_file_text(*recorded), _file_text(*found))
                self._differ_of(pair, "model", f"{name}: {file}", "changed", recorded=texts[0], found=texts[1])


def _match(
    wanted: Sequence[_RunFacts], recorded: Mapping[str, _RunFacts], runs: Sequence[FoundRun], noted: Mapping[str, str]
) -> tuple[dict[str, FoundRun], list[FoundRun]]:
    """Return the run in MLflow of every recorded run, and the runs that are left over.

    The journal's note names a run by its id, whatever became of its tags. Without one the oldest run with the key is
    taken, as the shipper keeps that one, and one that is not deleted before one that is; a run whose key was taken
    away is known by its name alone.
    """
    by_id = {run.run_id: run for run in runs}
    order = sorted(runs, key=lambda run: (run.is_deleted, run.start_time, run.run_id))
    pairs: dict[str, FoundRun] = {}
    for key in recorded:
        same = [run for run in order if run.tags.get(naming.RUN_KEY_TAG) == key]
        if (known := by_id.get(noted.get(key, ""))) is not None:
            pairs[key] = known
        elif same:
            pairs[key] = same[0]
    left = [run for run in order if run.run_id not in {pair.run_id for pair in pairs.values()}]
    for facts in wanted:
        named = [run for run in left if run.name == facts.name and naming.RUN_KEY_TAG not in run.tags]
        if facts.key not in pairs and named:
            pairs[facts.key] = named[0]
            left.remove(named[0])
    return pairs, left


class _Point(NamedTuple):
    """A point of a metric; ``bits`` are those of its value, so that NaN equals NaN."""

    step: int
    time: int
    bits: int

    def __str__(self) -> str:
        """Show the value as it is, and the time in milliseconds."""
        value = struct.unpack("<d", struct.pack("<q", self.bits))[0]
        return f"{value!r} at step {self.step}, time {self.time}"


def _bits(value: float) -> int:
    # Stores keep no sign of a zero, and no more than one NaN.
    plain = math.nan if math.isnan(value) else value + 0.0
    return int(struct.unpack("<q", struct.pack("<d", plain))[0])


def _distinct(points: MetricPoints) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Return the different points, a row each: step, time, bits; the one that MLflow shows as the last is the last."""
    import numpy as np  # slow to import, and MLflow has been by now

    values = np.frombuffer(points.values, dtype=np.float64) + 0.0
    is_nan = np.isnan(values)
    values[is_nan] = np.nan
    times, steps = np.frombuffer(points.times, dtype=np.int64), np.frombuffer(points.steps, dtype=np.int64)
    bits = values.view(np.int64)
    rows = np.stack([steps, times, bits], axis=1)[np.lexsort((bits, np.where(is_nan, 0.0, values), times, steps))]
    if len(rows) > 1:
        rows = rows[np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])]
    return rows


def _points(rows: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> set[_Point]:
    return {_Point(*row) for row in rows.tolist()}


def _dataset_fields(dataset: LogDataset) -> dict[str, str]:
    columns = [f"{name}: {_column_type(kind)}" for name, kind in dataset.columns.items()]
    return {
        "context": dataset.context,
        "digest": dataset.digest,
        "source": dataset.source,
        "rows": str(dataset.rows),
        "number of columns": str(len(dataset.columns)),
        "columns": ", ".join(columns),
    }


def _found_fields(dataset: FoundDataset) -> dict[str, str]:
    return {
        "context": dataset.context,
        "digest": dataset.digest,
        "source": dataset.source,
        "rows": dataset.rows,
        "number of columns": dataset.column_count,
        "columns": ", ".join(dataset.columns),
    }


def _column_type(kind: str) -> str:
    return "datetime" if kind.startswith(("timestamp", "date")) else _COLUMN_TYPES.get(kind, "string")


def _description_fields(
    path: str, content: bytes, model: LogModel, found: FoundModel
) -> Iterator[tuple[str, str, str]]:
    """Yield name, recorded and found text of everything in a file beside the model's own that the journal fixes."""
    import yaml  # only where a model is audited

    requirements = list(model.requirements)
    if path == "requirements.txt":
        yield "lines", "\n".join(requirements), content.decode("utf-8", "replace").strip("\n")
        return
    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError:
        document = None
    if not isinstance(document, dict):
        yield "content", "a YAML mapping", content.decode("utf-8", "replace")
        return
    if path == "conda.yaml":
        dependencies = [item for item in document.get("dependencies") or () if not str(item).startswith("python=")]
        yield "dependencies", str(["pip", {"pip": requirements}]), str(dependencies)
        yield "channels", str(["conda-forge"]), str(document.get("channels"))
    elif path == "python_env.yaml":
        fixed = (["pip"], ["-r requirements.txt"])
        yield "dependencies", str(fixed), str((document.get("build_dependencies"), document.get("dependencies")))
    else:
        yield from _mlmodel_fields(document, model, found)


def _mlmodel_fields(
    document: Mapping[str, object], model: LogModel, found: FoundModel
) -> Iterator[tuple[str, str, str]]:
    def part(value: object, name: str) -> object:
        return value.get(name) if isinstance(value, dict) else None

    flavors, signature = document.get("flavors"), document.get("signature")
    yield (
        "flavors",
        str(sorted({model.flavor, "python_function"})),
        str(sorted(flavors or ()) if isinstance(flavors, dict) else flavors),
    )
    options, own = dict(model.options), part(flavors, model.flavor)
    yield model.flavor, _json(options), _json({name: part(own, name) for name in own} if isinstance(own, dict) else own)
    loader = part(flavors, "python_function")
    yield "loader_module", f"mlflow.{model.flavor}", str(part(loader, "loader_module"))
    yield "model_path", model.file, str(part(loader, "model_path"))
    yield "predict_fn", "predict", str(part(loader, "predict_fn"))
    inputs = [{"type": kind, "name": name, "required": True} for name, kind in model.inputs.items()]
    outputs = [{"type": model.output, "required": True}]
    for name, recorded in (("inputs", inputs), ("outputs", outputs)):
        yield f"signature {name}", _json(recorded), _normal_json(part(signature, name))
    yield "run_id", found.run_id, str(document.get("run_id"))
    yield "model_id", found.model_id, str(document.get("model_id"))
    yield "model_size_bytes", str(model.size), str(document.get("model_size_bytes"))


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _normal_json(text: object) -> str:
    try:
        return _json(json.loads(str(text)))
    except ValueError:
        return str(text)


def _shortened(text: str) -> str:
    """Return what a parameter holds for a text that is too long for it: the digest of the artifact that is it."""
    if len(text) <= LONGEST_PARAMETER:
        return text
    return f"sha256:{sha256(text.encode('utf-8', 'backslashreplace'))}"


def _objects(document: Mapping[str, JsonValue], name: str) -> list[dict[str, JsonValue]]:
    value = document.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _file_text(digest: str, size: object) -> str:
    return f"{digest}, {size} bytes"
