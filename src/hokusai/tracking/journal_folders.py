"""The journals below one folder: listed, checked, and removed when their store has confirmed them.

A journal is removed in an order that any interruption may cut short: its log is renamed first, and from then on it is
no journal to the shipper any more; whatever is left after that is recognised here, and removed by the next call.
``delta.json``, and files that are not the journal's, stay.
"""

from __future__ import annotations

import difflib
import os
import re
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from hokusai.digests import file_sha256
from hokusai.errors import JournalError, TrackingServerError
from hokusai.tracking.journal import JOURNAL_FILE, JournalReader, find_journals, is_being_written, staged_path
from hokusai.tracking.mlflow_config import redact_credentials, resolve_store
from hokusai.tracking.mlflow_names import from_mlflow_name
from hokusai.tracking.naming import RUN_KEY_TAG
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
    StartRun,
)
from hokusai.tracking.shipper import (
    SHIPPING_FILE,
    find_lost_store,
    find_missing_lines,
    read_destination,
    read_shipping_state,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from hokusai.tracking.mlflow_client import MlflowStore
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.operations import Operation
    from hokusai.tracking.shipper import ShippingState
    from hokusai.tracking.stored_values import StoredRun

__all__ = [
    "JournalState",
    "JournalSummary",
    "JournalVerdict",
    "PruningVerdict",
    "check_journal",
    "find_folders",
    "find_journal",
    "list_journals",
    "prune_journals",
]

JournalState = Literal["being written", "empty", "waiting", "partly shipped", "shipped", "damaged", "being pruned"]

PRUNED_FILE = f"{JOURNAL_FILE}.pruned"
# Of a folder that is pruned, what has one of these names is the journal's; everything else is kept.
_LOCKS = ("shipping.lock", "lock")
_OWN_NAMES = re.compile(
    rf"{re.escape(JOURNAL_FILE)}(\.pruned)?|{re.escape(SHIPPING_FILE)}(\..*\.partial)?|shipping\.lock|lock"
)
_STAGED_NAMES = re.compile(r"[0-9a-f]{64}|.*\.partial")
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSummary:
    """What one journal is, and how far it has come.

    Attributes:
        key: The folder's name, which is the evaluation's key.
        experiment: The MLflow experiment that it is meant for; empty when the journal does not say.
        entries: Number of whole lines that can be used.
        shipped: How many of them the store has confirmed.
        size: Bytes on disk, staged artifacts and the report included.
        state: ``waiting`` is for being shipped; ``being pruned`` is left by a pruning that was interrupted.
        store: Where it was shipped, or else is meant to go, without credentials.
        problem: What is damaged, or that the store it was shipped to is gone; empty when nothing is wrong.
    """

    folder: Path
    key: str
    experiment: str
    entries: int
    shipped: int
    size: int
    state: JournalState
    store: str
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalVerdict:
    """Whether a journal is what was written.

    Attributes:
        entries: Number of whole lines that continue the chain.
        files: Number of staged files that were compared.
        damages: What is not as it was written, one sentence each; empty when the journal is whole.
        is_torn: Whether the last line was cut off by the death of its writer, which the next sync mends.
    """

    folder: Path
    entries: int
    files: int
    damages: tuple[str, ...]
    is_torn: bool

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damages


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningVerdict:
    """Whether a journal was removed, or would be, and why not.

    Attributes:
        size: Bytes that were freed, or would be.
        kept: Names of the files that stay in the folder: the report, and what is not the journal's.
        obstacle: Why the journal stays; empty when it goes.
        is_unconfirmed: Whether it was shipped, but its store does not confirm that now.
    """

    folder: Path
    size: int = 0
    kept: tuple[str, ...] = ()
    obstacle: str = ""
    is_unconfirmed: bool = False

    @property
    def is_removable(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.obstacle


@dataclass(slots=True)
class _Facts:
    """What a journal recorded of one run."""

    status: str = ""
    parameters: set[str] = field(default_factory=set)
    metrics: set[str] = field(default_factory=set)
    artifacts: set[str] = field(default_factory=set)
    datasets: set[tuple[str, str]] = field(default_factory=set)
    models: set[str] = field(default_factory=set)


def find_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders of all journals below ``root``, also of those whose pruning was interrupted; oldest first."""
    return tuple(sorted({*find_journals(root), *(path.parent for path in root.glob(f"*/{PRUNED_FILE}"))}))


def find_journal(root: Path, name: str) -> Path:
    """Return the folder of the journal with this path, key, or unique beginning of a key.

    Args:
        root: The folder of the journals.
        name: Which one.

    Raises:
        JournalError: There is none, or more than one.
    """
    if name and _is_journal(Path(name)):
        return Path(name)
    folders = find_folders(root)
    exact = [folder for folder in folders if folder.name == name]
    found = exact or [folder for folder in folders if name and folder.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        keys = ", ".join(folder.name for folder in found[:_NAMES_SHOWN]) + (", …" if len(found) > _NAMES_SHOWN else "")
        msg = f"{name!r} is the beginning of {len(found)} journals in {root}: {keys}. Give more of its key."
        raise JournalError(msg)
    near = difflib.get_close_matches(name, [folder.name for folder in folders], n=2)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    msg = (
        f"no journal {name!r} in {root}, expected a path, a key, or its beginning.{hint} "
        "List what is there with `hokusai journal list`."
    )
    raise JournalError(msg)


def list_journals(root: Path) -> tuple[JournalSummary, ...]:
    """Return what is in the folder of the journals, the oldest first.

    Every line is read and every staged file is looked for; :func:`check_journal` reads those as well.
    """
    return tuple(map(_summary, find_folders(root)))


def check_journal(folder: Path) -> JournalVerdict:
    """Check the chain of a journal's lines, and every staged file's presence, size and SHA-256.

    The note of what was shipped is compared as well: it shows lines that are missing at the end, which the chain
    cannot. Lines after a damaged one, and the files that they name, are not looked at: nothing vouches for them.
    """
    return _check(folder, with_digests=True)


def prune_journals(
    settings: TrackingSettings,
    folders: Sequence[Path] | None = None,
    *,
    now: datetime,
    older_than: timedelta | None = None,
    dry_run: bool = False,
) -> tuple[PruningVerdict, ...]:
    """Remove the journals that were shipped whole and whose store confirms that now.

    The store that the journal's ``shipping.json`` names is asked for every run of the evaluation: that it is there by
    its key, ended as recorded, with every parameter, metric and artifact, and no fewer datasets and models.

    Args:
        settings: Names the folder of the journals, and a store with its credentials.
        folders: The journals that are meant; default None: all below ``settings.journal``.
        now: From when on the age of journals is counted; aware of its time zone.
        older_than: Leaves younger journals alone, by the time of their last entry; default None: they go as well.
        dry_run: Whether to change nothing.

    Returns:
        One verdict per journal. One that stays says why; no single journal's failure is raised.
    """
    stores = _Stores(settings)
    latest = None if older_than is None else now - older_than
    meant = find_folders(settings.journal) if folders is None else folders
    return tuple(_prune(folder, stores, latest=latest, dry_run=dry_run) for folder in meant)


class _Stores:
    """The stores that journals were shipped to, each opened once; one that is out of reach is not asked again."""

    def __init__(self, settings: TrackingSettings) -> None:
        self._settings = settings
        self._opened: dict[str, MlflowStore] = {}
        self._outages: dict[str, TrackingServerError] = {}

    def find_objection(self, state: ShippingState, evaluation: str, recorded: Mapping[str, _Facts]) -> str:
        """Return what the store lacks of a journal that was shipped to it; empty when it has everything."""
        if state.store in self._outages:
            return str(self._outages[state.store])
        if lost := find_lost_store(state):
            return str(lost)
        try:
            return _find_objection(self._open(state.store), state.experiment_id, evaluation, recorded)
        except TrackingServerError as error:
            if error.is_outage:
                self._outages[state.store] = error
            return str(error)

    def _open(self, uri: str) -> MlflowStore:
        if uri not in self._opened:
            from hokusai.tracking.mlflow_client import MlflowStore

            # The note keeps no credentials; the settings of the same store have them.
            known = resolve_store(self._settings)
            self._opened[uri] = MlflowStore(known if redact_credentials(known) == uri else uri)
        return self._opened[uri]


def _is_journal(folder: Path) -> bool:
    return (folder / JOURNAL_FILE).is_file() or (folder / PRUNED_FILE).is_file()


def _summary(folder: Path) -> JournalSummary:
    state = read_shipping_state(folder)
    shipped = state.confirmed if state else 0
    verdict = _check(folder, with_digests=False)
    header = _header(folder)
    return JournalSummary(
        folder=folder,
        key=folder.name,
        experiment=header.experiment,
        entries=verdict.entries,
        shipped=min(shipped, verdict.entries),
        size=_size(folder),
        state=_state(folder, verdict, state),
        store=state.store if state and state.store else header.tracking_uri,
        problem=" ".join(verdict.damages) or str(find_lost_store(state) or ""),
    )


def _header(folder: Path) -> OpenJournal:
    try:
        return read_destination(folder)
    except JournalError:
        return OpenJournal(format="", evaluation=folder.name, experiment="")


def _state(folder: Path, verdict: JournalVerdict, shipping: ShippingState | None) -> JournalState:
    if not (folder / JOURNAL_FILE).exists():
        return "being pruned"
    if verdict.damages:
        return "damaged"
    confirmed = shipping.confirmed if shipping else 0
    if shipping and shipping.complete and confirmed == verdict.entries:
        return "shipped"
    if _has_living_writer(folder):
        return "being written"
    if not verdict.entries:
        return "empty"
    return "partly shipped" if confirmed else "waiting"


def _has_living_writer(folder: Path) -> bool:
    try:
        return is_being_written(folder)
    except JournalError:
        # Nobody can hold a lock in a folder that cannot be written.
        return False


def _check(folder: Path, *, with_digests: bool) -> JournalVerdict:
    reader = JournalReader(folder)
    staged: dict[str, tuple[int, int]] = {}
    damages = []
    try:
        for entry in reader:
            digest, size = getattr(entry.operation, "sha256", None), getattr(entry.operation, "size", None)
            if isinstance(digest, str) and isinstance(size, int):
                staged.setdefault(digest, (entry.sequence, size))
    except JournalError as error:
        damages.append(str(error))
    is_torn = not damages and _log_size(folder) > reader.offset and not _has_living_writer(folder)
    if not damages and (folder / JOURNAL_FILE).exists() and (missing := find_missing_lines(folder, reader.sequence)):
        damages.append(missing)
    for digest, (line, size) in staged.items():
        problem = _staged_problem(staged_path(folder, digest), digest, size, with_digest=with_digests)
        if problem:
            damages.append(f"{staged_path(folder, digest)}: {problem} (line {line} names it); restore it from a copy.")
    return JournalVerdict(
        folder=folder, entries=reader.sequence, files=len(staged), damages=tuple(damages), is_torn=is_torn
    )


def _staged_problem(file: Path, digest: str, size: int, *, with_digest: bool) -> str:
    try:
        found = file.stat().st_size
        if found != size:
            return f"a staged file has {found} bytes, expected {size}"
        if with_digest:
            content = file_sha256(file)
            if content != digest:
                return f"a staged file was edited: its SHA-256 is {content}, expected its name"
    except FileNotFoundError:
        return "a staged file is missing"
    except OSError as error:
        return f"a staged file cannot be read ({error.strerror})"
    return ""


def _log_size(folder: Path) -> int:
    try:
        return (folder / JOURNAL_FILE).stat().st_size
    except FileNotFoundError:
        return 0


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            # Partial files of a writer come and go.
            continue
    return total


def _prune(folder: Path, stores: _Stores, *, latest: datetime | None, dry_run: bool) -> PruningVerdict:
    from filelock import FileLock, Timeout  # not needed to show --help

    if not _is_journal(folder):
        return PruningVerdict(folder=folder, obstacle="there is no journal here")
    try:
        with ExitStack() as stack:
            if not dry_run:
                # In the order of the shipper; held to the end, so that nobody writes or ships what is being removed.
                for name in _LOCKS:
                    stack.enter_context(FileLock(folder / name, timeout=0))
            verdict = _judge(folder, stores, latest=latest)
            if verdict.is_removable and not dry_run:
                _remove(folder)
            return verdict
    except Timeout:
        return PruningVerdict(folder=folder, obstacle="it is being written or shipped")
    except OSError as error:
        return PruningVerdict(folder=folder, obstacle=f"it cannot be removed ({error.strerror})", is_unconfirmed=True)


def _judge(folder: Path, stores: _Stores, *, latest: datetime | None) -> PruningVerdict:
    """Decide whether a journal may go."""
    own = _own_files(folder)
    size = sum(path.stat().st_size for path in own)
    kept = tuple(sorted(path.name for path in folder.iterdir() if path not in own and path.name != "artifacts"))
    if not (folder / JOURNAL_FILE).exists():
        # It was confirmed before its log was renamed.
        return PruningVerdict(folder=folder, size=size, kept=kept)
    state = read_shipping_state(folder)
    obstacle, recorded, evaluation = _find_obstacle(folder, state, latest)
    if obstacle or state is None:
        return PruningVerdict(folder=folder, obstacle=obstacle)
    objection = stores.find_objection(state, evaluation, recorded)
    if objection:
        return PruningVerdict(folder=folder, obstacle=objection, is_unconfirmed=True)
    return PruningVerdict(folder=folder, size=size, kept=kept)


def _find_obstacle(
    folder: Path, state: ShippingState | None, latest: datetime | None
) -> tuple[str, Mapping[str, _Facts], str]:
    """Return why a journal must stay whatever its store says, what it recorded by run, and of which evaluation."""
    recorded: dict[str, _Facts] = {}
    evaluation, last = "", None
    reader = JournalReader(folder)
    try:
        for last in reader:
            if isinstance(last.operation, OpenJournal):
                evaluation = last.operation.evaluation
            else:
                _note(last.operation, recorded)
    except JournalError as error:
        return str(error), recorded, evaluation
    obstacle = ""
    if last is None or not evaluation:
        obstacle = "nothing was recorded in it, so no store can confirm it; remove the folder by hand"
    elif not isinstance(last.operation, CloseJournal):
        obstacle = "it has not been closed: its evaluation is at work, or `hokusai sync` has to mend it"
    elif state is None or not state.complete or state.confirmed != last.sequence:
        done = state.confirmed if state else 0
        obstacle = f"it has not been shipped completely ({done} of {last.sequence} entries); run `hokusai sync`"
    elif latest is not None and last.time > latest.timestamp() * 1000:
        obstacle = "it is younger than that"
    return obstacle, recorded, evaluation


def _note(operation: Operation, recorded: dict[str, _Facts]) -> None:
    run = getattr(operation, "run", None)
    if not isinstance(run, str):
        return
    facts = recorded.setdefault(run, _Facts())
    match operation:
        case StartRun():
            facts.status = "RUNNING"
        case EndRun():
            facts.status = operation.status
        case LogParameters():
            facts.parameters.update(operation.parameters)
        case LogMetrics():
            facts.metrics.update(operation.metrics)
        case LogSeries():
            facts.metrics.add(operation.name)
        case LogArtifact():
            facts.artifacts.add(operation.path)
        case LogDataset():
            # MLflow takes the same dataset in one run once, whatever its context.
            facts.datasets.add((operation.name, operation.digest))
        case LogModel():
            facts.models.add(operation.name)


def _find_objection(
    store: MlflowStore, experiment_id: str | None, evaluation: str, recorded: Mapping[str, _Facts]
) -> str:
    """Return what the store lacks of an evaluation."""
    found: dict[str, StoredRun] = {}
    for run in store.list_runs_of_evaluation(experiment_id, evaluation) if experiment_id else ():
        found.setdefault(run.tags.get(RUN_KEY_TAG, ""), run)
    missing = [key for key in recorded if key not in found]
    if missing:
        return (
            f"{store.uri} has {len(recorded) - len(missing)} of its {len(recorded)} runs; {missing[0]!r} is missing. "
            "It was deleted there, or its experiment is archived (`hokusai experiments list --archived`)"
        )
    for key, facts in recorded.items():
        run = found[key]
        if run.status != facts.status:
            return f"the run {run.run_id} in {store.uri} is {run.status}, expected {facts.status}"
        artifacts = store.list_artifacts(run) if facts.artifacts else ()
        for kind, wanted, present in (
            ("parameter", facts.parameters, {*run.parameters, *map(from_mlflow_name, run.parameters)}),
            ("metric", facts.metrics, {*run.metrics, *map(from_mlflow_name, run.metrics)}),
            ("artifact", {_stored_path(path) for path in facts.artifacts}, set(artifacts)),
        ):
            if absent := sorted(wanted - present):
                return f"the run {run.run_id} in {store.uri} lacks the {kind} {absent[0]!r}"
        for kind, count, got in (
            ("datasets", len(facts.datasets), len(run.datasets)),
            ("models", len(facts.models), len(run.models)),
        ):
            if got < count:
                return f"the run {run.run_id} in {store.uri} has {got} {kind}, expected {count}"
    return ""


def _stored_path(path: str) -> str:
    """Return an artifact's path as a store can hold it: without doubled slashes and lone surrogates."""
    return PurePosixPath(path.encode("utf-8", "backslashreplace").decode()).as_posix()


def _own_files(folder: Path) -> set[Path]:
    """Return the files of a journal that pruning removes, without its locks."""
    staged = folder / "artifacts"
    files = {path for path in staged.iterdir() if _STAGED_NAMES.fullmatch(path.name)} if staged.is_dir() else set()
    return files | {path for path in folder.iterdir() if path.is_file() and _OWN_NAMES.fullmatch(path.name)}


def _remove(folder: Path) -> None:
    log, pruned = folder / JOURNAL_FILE, folder / PRUNED_FILE
    if log.exists():
        log.replace(pruned)
        _sync_folder(folder)
    for path in _own_files(folder) - {pruned}:
        # A lock may be gone already: some versions of filelock remove it when they let go.
        path.unlink(missing_ok=True)
    staged = folder / "artifacts"
    if staged.is_dir() and not any(staged.iterdir()):
        staged.rmdir()
    # The last of all: as long as it is there, an interrupted pruning is found and finished.
    pruned.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _sync_folder(folder: Path) -> None:
    """Make a renaming outlast a loss of power before anything that follows from it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
