"""From the journal to MLflow, exactly once.

:class:`JournalShipper` takes one journal to one store: it reads what is new, sends it in batches, and notes in
``shipping.json`` beside the journal how far it has come. The note only saves time. Without it everything is sent
again and nothing is there twice: runs, models and versions are found by tag before they are made, parameters, tags and
metric points are the same facts to MLflow when they are equal, artifacts replace themselves.

A call of :func:`ship` is one such pass for a journal at rest. While an evaluation works, the passes run in a process
of their own (:mod:`hokusai.tracking.shipping_process`), so that MLflow is imported beside the work and a dead server
cannot hold it up.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hokusai.digests import sha256
from hokusai.errors import JournalError, TrackingServerError
from hokusai.tracking import artifacts, naming
from hokusai.tracking.journal import (
    ENTRIES_PER_READ,
    JOURNAL_FILE,
    Entry,
    JournalReader,
    is_being_written,
    recover,
    staged_path,
)
from hokusai.tracking.mlflow_config import sqlite_path
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
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hokusai.records import BenchmarkAnswer, BenchmarkQuestion
    from hokusai.tracking.mlflow_client import MetricPoint, MlflowStore
    from hokusai.tracking.operations import Operation

__all__ = [
    "SHIPPING_FILE",
    "DirectShipping",
    "JournalShipper",
    "LaterShipping",
    "Shipping",
    "ShippingState",
    "find_lost_store",
    "find_missing_lines",
    "read_destination",
    "read_shipping_state",
    "ship",
]

SHIPPING_FILE = "shipping.json"
# As many as fit into a few of MLflow's requests; more would only take memory.
_POINTS_PER_BATCH = 5000


@dataclass(slots=True, kw_only=True)
class ShippingState:
    """How far a journal has come on its way to one store.

    Attributes:
        store: The store's URI, without credentials.
        confirmed: Sequence number of the last entry that the store has confirmed.
        complete: Whether that was the journal's last.
        experiment_id: MLflow's id of the experiment.
        run_ids: MLflow's run ids by run key.
        model_ids: MLflow's logged model ids by model name.
    """

    store: str = ""
    confirmed: int = 0
    complete: bool = False
    experiment_id: str | None = None
    run_ids: dict[str, str] = field(default_factory=dict)
    model_ids: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    """What is waiting to be sent for one run."""

    metrics: list[MetricPoint] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    datasets: list[LogDataset] = field(default_factory=list)


@dataclass(slots=True)
class _RunContents:
    """What a run has, for its manifest."""

    artifacts: dict[str, tuple[str, int]] = field(default_factory=dict)
    models: list[tuple[str, str, str, int]] = field(default_factory=list)
    infinite_metrics: set[str] = field(default_factory=set)


class Shipping(Protocol):
    """Who takes journals to MLflow while evaluations work. Neither call raises for a store that fails."""

    def follow(self, folder: Path) -> None:
        """Ship the journal in ``folder``, now or later."""

    def wait(self, folder: Path) -> tuple[ShippingState | None, str]:
        """Return how far a closed journal has come, and why no further: empty when it is complete."""

    def ask(self, question: BenchmarkQuestion) -> None:
        """Ask the store about a benchmark, now or later."""

    def answer(self, question: BenchmarkQuestion) -> BenchmarkAnswer | None:
        """Return what the store said; None when it does not answer soon."""


class DirectShipping:
    """Ships each journal from this process when its evaluation has ended: for tests, where a process costs seconds.

    Args:
        store: Where everything goes.

    Attributes:
        states: What :func:`ship` returned, by journal folder, in the order of shipping.
    """

    def __init__(self, store: MlflowStore) -> None:
        self.states: dict[Path, ShippingState] = {}
        self._store = store

    def follow(self, folder: Path) -> None:
        """Do nothing yet."""

    def wait(self, folder: Path) -> tuple[ShippingState | None, str]:
        """Ship now."""
        try:
            self.states[folder] = ship(folder, self._store)
        except TrackingServerError as error:
            return read_shipping_state(folder), str(error)
        return self.states[folder], ""

    def ask(self, question: BenchmarkQuestion) -> None:
        """Do nothing yet."""

    def answer(self, question: BenchmarkQuestion) -> BenchmarkAnswer | None:
        """Ask now."""
        from hokusai.tracking.benchmark_questions import answer_question
        from hokusai.tracking.mlflow_ledger import BenchmarkLedger

        try:
            return answer_question(BenchmarkLedger(self._store.uri), question)
        except TrackingServerError:
            return None


class LaterShipping:
    """Leaves every journal to a later sync, and asks nobody: for tests of what comes before and after shipping."""

    def follow(self, folder: Path) -> None:
        """Do nothing."""

    def wait(self, folder: Path) -> tuple[ShippingState | None, str]:
        """Say so."""
        return None, f"{folder.name} is shipped later."

    def ask(self, question: BenchmarkQuestion) -> None:
        """Do nothing."""

    def answer(self, question: BenchmarkQuestion) -> BenchmarkAnswer | None:
        """Say nothing."""


class JournalShipper:
    """Takes one journal to one store, pass by pass, while the journal may still grow.

    Not safe for several threads; two processes that ship the same journal at once may make a run twice, hence the
    lock in :func:`ship`.
    """

    def __init__(self, folder: Path, store: MlflowStore, *, on_progress: Callable[[], None] | None = None) -> None:
        """Continue where an earlier shipper stopped, if it sent to the same store.

        Args:
            folder: The journal's folder.
            store: Where it goes.
            on_progress: Called whenever the store has taken something; default None.
        """
        self.folder = folder
        self._store = store
        self._on_progress = on_progress
        self._reader = JournalReader(folder)
        self._pending: deque[Entry] = deque()
        self._executor: ThreadPoolExecutor | None = None
        self._ahead: Future[list[Entry]] | None = None
        self._last = Entry(0, 0, CloseJournal())
        self._batches: dict[str, _Batch] = {}
        self._contents: dict[str, _RunContents] = {}
        self._header: OpenJournal | None = None
        self._resumed, self._part = "", ""
        self._looked_for_runs = False
        state = read_shipping_state(folder)
        self.state = state if state and state.store == store.uri else ShippingState(store=store.uri)

    def advance(self) -> bool:
        """Send what is new in the journal; say whether there was anything.

        Raises:
            JournalError: The journal is damaged.
            TrackingServerError: The store did not take it; call again to go on with what it did not take.
        """
        if not self._pending:
            self._pending.extend(self._read_ahead())
        if not self._pending and self._last.sequence <= self.state.confirmed:
            return False
        try:
            while self._pending:
                self._take(self._pending[0])
                self._last = self._pending.popleft()
                self._flush_when_full(self._last.operation)
            for run in list(self._batches):
                self._flush(run)
        except BaseException:
            # Its answer may have been lost: look again before making anything.
            self._looked_for_runs = False
            raise
        self.state.confirmed = max(self.state.confirmed, self._last.sequence)
        self.state.complete = self.state.complete or isinstance(self._last.operation, CloseJournal)
        _write_shipping_state(self.folder, self.state)
        return True

    def _read_ahead(self) -> list[Entry]:
        """Return the next entries of the journal; read those after them while the store works on these."""
        entries = self._ahead.result() if self._ahead else self._reader.read_new()
        self._ahead = None
        if len(entries) == ENTRIES_PER_READ:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hokusai-journal-reader")
            self._ahead = self._executor.submit(self._reader.read_new)
        elif self._executor is not None:
            self._executor.shutdown()
            self._executor = None
        return entries

    def _take(self, entry: Entry) -> None:
        self._observe(entry)
        if entry.sequence > self.state.confirmed:
            self._send(entry)
            if self._on_progress and not self._batches:
                self._on_progress()

    def _observe(self, entry: Entry) -> None:
        """Take note of what later entries depend on; entries that were confirmed earlier are seen again as well."""
        match entry.operation:
            case OpenJournal() as header:
                self._header = header
            case ResumeRun(run=run, part=part):
                self._resumed, self._part = run, part
            case LogArtifact(run=run, path=path, sha256=digest, size=size):
                self._contents.setdefault(run, _RunContents()).artifacts[path] = (digest, size)
            case LogModel(run=run) as model:
                known = self._contents.setdefault(run, _RunContents()).models
                if (found := (model.name, model.file, model.sha256, model.size)) not in known:
                    known.append(found)
            case LogMetrics(run=run, metrics=metrics):
                self._note_infinities(run, [name for name, value in metrics.items() if math.isinf(value)])
            case LogSeries(run=run, name=name, values=values):
                self._note_infinities(run, [name] if any(map(math.isinf, values)) else [])

    def _note_infinities(self, run: str, names: list[str]) -> None:
        if names:
            self._contents.setdefault(run, _RunContents()).infinite_metrics.update(names)

    def _send(self, entry: Entry) -> None:
        operation = entry.operation
        match operation:
            case StartRun():
                self._start_run(operation, entry.time)
            case ResumeRun():
                self._find_run(operation)
            case EndRun():
                self._end_run(operation, entry.time)
            case CloseJournal():
                self._note_head(entry)
            case LogArtifact():
                file = staged_path(self.folder, operation.sha256)
                self._store.log_artifact(self._run_id(operation.run), self._require(file), operation.path)
            case LogModel():
                self._log_model(operation, entry.time)
            case RegisterModel():
                self._register_model(operation)
            case OpenJournal():
                pass
            case LogParameters() | LogMetrics() | LogSeries() | SetTags() | LogDataset():
                self._collect(operation, entry.time)

    def _look_for_runs(self, experiment_id: str) -> None:
        if not self._looked_for_runs:
            found = self._store.find_run_ids(experiment_id, self._require_header().evaluation)
            self.state.run_ids |= found
            self._looked_for_runs = True

    def _find_run(self, operation: ResumeRun) -> None:
        self._look_for_runs(self._experiment_id())
        if operation.run not in self.state.run_ids:
            # The journal that has its start may come later: look again then.
            self._looked_for_runs = False
            problem = f"the run {operation.run}, which this journal goes on with, is not there yet."
            advice = "Ship the journal that began it, then run `hokusai sync`."
            raise TrackingServerError(self._store.uri, problem, is_outage=True, advice=advice)

    def _start_run(self, operation: StartRun, started_at: int) -> None:
        experiment_id = self._experiment_id()
        self._look_for_runs(experiment_id)
        if operation.run not in self.state.run_ids:
            self.state.run_ids[operation.run] = self._store.create_run(
                experiment_id,
                name=operation.name,
                started_at=started_at,
                parent_id=self._run_id(operation.parent) if operation.parent else None,
                tags=operation.tags,
            )

    def _end_run(self, operation: EndRun, ended_at: int) -> None:
        run_id = self._run_id(operation.run)
        contents = self._contents.get(operation.run, _RunContents())
        # The children that a resumed journal begins are its own; the run that it goes on with is shared.
        part = self._part if operation.run == self._resumed else ""
        tags = self._batch(operation.run).tags
        if contents.artifacts or contents.models:
            document = artifacts.manifest(operation.run, artifacts=contents.artifacts, models=contents.models)
            self._store.log_bytes(run_id, document, artifacts.of_part(artifacts.MANIFEST_FILE, part))
            tags[artifacts.of_part(naming.MANIFEST_DIGEST_TAG, part)] = sha256(document)
        if contents.infinite_metrics:
            tags[artifacts.of_part(naming.INFINITE_METRICS_TAG, part)] = json.dumps(sorted(contents.infinite_metrics))
        self._flush(operation.run)
        self._store.end_run(run_id, status=operation.status, ended_at=operation.ended_at or ended_at)

    def _note_head(self, entry: Entry) -> None:
        """Leave the journal's last link with the store, so that no line of it, the last included, changes unseen."""
        parent = self._require_header().evaluation
        if parent in self.state.run_ids:
            self._batch(parent).tags[artifacts.of_part(naming.JOURNAL_HEAD_TAG, self._part)] = (
                f"{entry.sequence}:{entry.link}"
            )

    def _log_model(self, operation: LogModel, logged_at: int) -> None:
        key = f"{self._require_header().evaluation}:{operation.name}"
        file = self._require(staged_path(self.folder, operation.sha256))
        self.state.model_ids[operation.name] = self._store.log_model(
            self._experiment_id(),
            self._run_id(operation.run),
            key=key,
            model=operation,
            file=file,
            logged_at=logged_at,
        )

    def _register_model(self, operation: RegisterModel) -> None:
        key = f"{self._require_header().evaluation}:{operation.model}"
        model_id = self.state.model_ids.get(operation.model)
        if model_id is None:
            msg = f"{self.folder}: the journal registers the model {operation.model!r} without having logged it."
            raise JournalError(msg)
        run_id = self._run_id(operation.run)
        version = self._store.register_model(
            model_id, run_id=run_id, name=operation.registered_name, key=key, tags=operation.tags
        )
        self._batch(operation.run).tags[naming.MODEL_VERSION_TAG] = f"{operation.registered_name}/{version}"

    def _collect(self, operation: Operation, moment: int) -> None:
        from hokusai.tracking.mlflow_client import MetricPoint

        match operation:
            case LogParameters():
                self._batch(operation.run).parameters.update(operation.parameters)
            case SetTags():
                self._batch(operation.run).tags.update(operation.tags)
            case LogDataset():
                self._batch(operation.run).datasets.append(operation)
            case LogMetrics():
                self._batch(operation.run).metrics += [
                    MetricPoint(name, value, moment, operation.step) for name, value in operation.metrics.items()
                ]
            case LogSeries(name=name, values=values, first_step=first):
                self._batch(operation.run).metrics += [
                    MetricPoint(name, value, moment, step) for step, value in enumerate(values, start=first)
                ]

    def _batch(self, run: str) -> _Batch:
        return self._batches.setdefault(run, _Batch())

    def _flush(self, run: str) -> None:
        batch = self._batches.get(run)
        if batch is None:
            return
        run_id = self._run_id(run)
        self._store.log_batch(
            run_id,
            metrics=batch.metrics,
            parameters=batch.parameters,
            tags=batch.tags,
            on_progress=self._on_progress,
        )
        if batch.datasets:
            self._store.log_datasets(run_id, batch.datasets)
        # Only now: what could not be sent is sent again.
        del self._batches[run]

    def _flush_when_full(self, operation: Operation) -> None:
        """Keep memory bounded: one entry of a series may hold a thousand points."""
        if isinstance(operation, LogMetrics | LogSeries):
            batch = self._batches.get(operation.run)
            if batch and len(batch.metrics) >= _POINTS_PER_BATCH:
                self._flush(operation.run)

    def _experiment_id(self) -> str:
        if self.state.experiment_id is None:
            header = self._require_header()
            self.state.experiment_id = self._store.ensure_experiment(
                header.experiment, tags=header.experiment_tags, artifact_location=header.artifact_location
            )
        return self.state.experiment_id

    def _run_id(self, key: str) -> str:
        try:
            return self.state.run_ids[key]
        except KeyError:
            msg = f"{self.folder}: the journal records facts of the run {key!r} but not its start; it is damaged."
            raise JournalError(msg) from None

    def _require_header(self) -> OpenJournal:
        if self._header is None:
            msg = f"{self.folder}: the journal does not begin with its header; it is damaged."
            raise JournalError(msg)
        return self._header

    def _require(self, file: Path) -> Path:
        if not file.exists():
            msg = f"{file}: a staged file of the journal is missing; restore it from a copy of the folder."
            raise JournalError(msg)
        return file


def ship(folder: Path, store: MlflowStore, *, again: bool = False) -> ShippingState:
    """Take a journal whose writer has ended, or has died, to the store, whole.

    Args:
        folder: The journal's folder.
        store: Where it goes.
        again: Whether to send what the store has confirmed before as well; default False. What is there already stays
            as it is, and what was lost there comes back.

    Raises:
        JournalError: The journal is damaged, is being written, or is being shipped by another process.
        TrackingServerError: The store did not take it all.
    """
    from filelock import FileLock, Timeout  # not needed to show --help

    if is_being_written(folder):
        msg = f"{folder}: the evaluation is still running; its own shipper takes care of it."
        raise JournalError(msg)
    try:
        with FileLock(folder / "shipping.lock", timeout=10):
            if again:
                _forget_shipping(folder, store.uri)
            recover(folder)
            shipper = JournalShipper(folder, store)
            while shipper.advance():
                pass
            return shipper.state
    except Timeout as error:
        msg = f"{folder}: another process has been shipping this journal for 10 seconds; try again when it has ended."
        raise JournalError(msg) from error


def find_lost_store(state: ShippingState | None) -> TrackingServerError | None:
    """Return what to say of a journal that was shipped to a SQLite file which is gone; None when that is not so."""
    path = sqlite_path(state.store) if state and state.confirmed else None
    if state is None or path is None or path.exists():
        return None
    advice = "Restore the file, or send everything again: `hokusai sync --all`."
    return TrackingServerError(state.store, "there is no such file any more.", is_outage=False, advice=advice)


def find_missing_lines(folder: Path, sequence: int) -> str:
    """Return what to say of a journal that ends before what was shipped of it; empty when that is not so.

    Args:
        folder: The journal's folder.
        sequence: Number of the last line that the journal has.
    """
    state = read_shipping_state(folder)
    if state is None or state.confirmed <= sequence:
        return ""
    return (
        f"{folder / JOURNAL_FILE}: it ends with line {sequence}, but {SHIPPING_FILE} says that "
        f"{state.confirmed} lines were shipped; restore the folder from a copy."
    )


def _forget_shipping(folder: Path, store: str) -> None:
    """Note that nothing was shipped: an interruption from here on is made good by the next sync."""
    reader = JournalReader(folder)
    for _ in reader:
        pass
    # Only the note knows of lines that are missing at the end.
    if missing := find_missing_lines(folder, reader.sequence):
        raise JournalError(missing)
    _write_shipping_state(folder, ShippingState(store=store))


def read_shipping_state(folder: Path) -> ShippingState | None:
    """Return the note of how far the journal has been shipped, or None when there is none that can be read."""
    try:
        return ShippingState(**json.loads((folder / SHIPPING_FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def read_destination(folder: Path) -> OpenJournal:
    """Return the journal's header, which says where the journal is meant to go.

    Raises:
        JournalError: The journal is empty or damaged.
    """
    entries: Sequence[Entry] = JournalReader(folder).read_new(at_most=1)
    if not entries or not isinstance(entries[0].operation, OpenJournal):
        msg = f"{folder}: the journal does not begin with its header; nothing was recorded in it."
        raise JournalError(msg)
    return entries[0].operation


def _write_shipping_state(folder: Path, state: ShippingState) -> None:
    text = json.dumps({name: getattr(state, name) for name in ShippingState.__slots__})
    partial = folder / f"{SHIPPING_FILE}.{os.getpid()}.partial"
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / SHIPPING_FILE)
    except OSError as error:
        msg = (
            f"{folder}: what was shipped cannot be noted ({error.strerror}). Free some space, then run `hokusai sync`."
        )
        raise JournalError(msg) from error
