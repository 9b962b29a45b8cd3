"""Can evaluations be tracked from here? One check after another, each with what was tried, what came back, what to do.

:func:`check_connection` never raises for a store that fails: what is wrong is in the report. A server is first asked
over plain HTTP, because MLflow's client tells neither a wrong address from a wrong password nor a login page from an
answer, and because a server that is down should be named before MLflow has even been imported. After a check that shows
that nothing behind it can work, the others are skipped.

Nothing grows with the number of calls: all checks of a store share one experiment, one run in it and few file names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import socket
import sqlite3
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.metadata import requires, version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from hokusai.errors import HokusaiError, JournalError, TrackingError, TrackingServerError
from hokusai.tracking.journal import JournalReader, find_journals, is_being_written
from hokusai.tracking.mlflow_config import default_store_uri, redact_credentials, shipper_environment, sqlite_path
from hokusai.tracking.server_probe import (
    REQUEST_SECONDS,
    CheckStatus,
    ProbeFinding,
    Server,
    explain_failure,
    failure,
    no_answer,
    probe_server,
    within,
)
from hokusai.tracking.shipper import find_lost_store, read_destination, read_shipping_state, ship

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packaging.specifiers import SpecifierSet

    from hokusai.tracking.mlflow_client import MlflowStore
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.operations import OpenJournal
    from hokusai.tracking.stored_values import RunningRun, ScratchRun

__all__ = ["LOST_AFTER_HOURS", "Check", "CheckStatus", "ConnectionReport", "check_connection"]


LOST_AFTER_HOURS = 24.0
"""After so long without a sign of life, a run that no journal here belongs to counts as lost."""

_EXPERIMENT = "hokusai-doctor"
_TAGS = {"hokusai.purpose": "made and reused by `hokusai doctor`, which tries here whether tracking works"}
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONTACT_SECONDS = 7.0
_ARTIFACT_SECONDS = 5.0
_LOCK_SECONDS = 2.0
_CLOCK_SECONDS = 30.0
_ROUND_TRIPS = 64
_ATTEMPTS = 3
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was tried.

    Attributes:
        name: ``store``, ``version``, ``clock``, ``experiments``, ``artifacts``, ``registry``, ``journals`` or ``runs``.
        tried: What was done.
        found: What came back.
        advice: What to do; empty when there is nothing to do.
        seconds: How long it took.
    """

    name: str
    tried: str
    found: str
    advice: str = ""
    status: CheckStatus
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionReport:
    """Whether evaluations can be tracked from here, with reasons.

    Attributes:
        store: The tracking URI that was checked, without credentials.
        checks: Every check, in the order in which they were made.
    """

    store: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed; warnings and skipped checks are no failures."""
        return all(check.status != "failed" for check in self.checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leftover:
    """A journal that has not been shipped whole.

    Attributes:
        started_at: Time of its first entry, in milliseconds since 1970; None when it has none.
        problem: Why it cannot be read; empty when it can.
    """

    folder: Path
    destination: str
    is_written: bool
    started_at: int | None
    problem: str = ""


def check_connection(
    settings: TrackingSettings, *, repair: bool = False, lost_after_hours: float = LOST_AFTER_HOURS
) -> ConnectionReport:
    """Find out whether evaluations can be tracked with these settings, and what has been left behind here.

    A store that does not answer is reported within 10 seconds. MLflow's environment variables for credentials are used.

    Args:
        settings: Where the store and the journals are.
        repair: Ship the journals that dead processes left for this store, and close runs that nobody can close any
            more: as KILLED, at the last time at which they gave a sign of life.
        lost_after_hours: How long a run without a journal here must have been silent to count as lost.
    """
    examination = _Examination(settings, repair=repair, lost_after_hours=lost_after_hours)
    with _environment(settings, request_seconds=min(settings.request_seconds, REQUEST_SECONDS)):
        examination.contact()
        examination.use()
    with _environment(settings, request_seconds=settings.request_seconds):
        examination.look_for_leftovers()
    return ConnectionReport(store=examination.name, checks=tuple(examination.checks))


class _Examination:
    """The checks of one store, one after another, and what later ones need from earlier ones."""

    def __init__(self, settings: TrackingSettings, *, repair: bool, lost_after_hours: float) -> None:
        self.uri = settings.uri or default_store_uri(Path.cwd())
        self.registry_uri = settings.registry_uri or self.uri
        self.name = redact_credentials(self.uri)
        self.checks: list[Check] = []
        self._journal = settings.journal
        self._repair = repair
        self._lost_after_hours = lost_after_hours
        self._blocked = ""
        self._server: Server | None = None
        self._store: MlflowStore | None = None
        self._scratch: ScratchRun | None = None

    def contact(self) -> None:
        """Reach the store, see what it is, and compare clocks."""
        path, scheme = sqlite_path(self.uri), self.uri.partition(":")[0].partition("+")[0]
        if scheme in {"http", "https"}:
            self._run("store", f"ask {self.name} for /health, /version and an experiment", self._ask_server)
            self._run("version", "compare the server's version with ours", self._compare_versions)
            self._run("clock", "compare the server's clock with ours", self._compare_clocks)
            return
        if path is not None:
            self._run("store", f"open {path}", lambda: _open_file(path))
            self._run("version", "compare the file's tables with those of the installed MLflow", self._compare_tables)
        elif scheme in _PORTS:
            self._run("store", f"connect to the database {self.name}", lambda: self._open_database(_PORTS[scheme]))
            self._run("version", "look at the installed MLflow", _installed_version)
        else:
            self._run("store", f"read the address {self.name!r}", lambda: _refuse_address(self.name))
            self._run("version", "ask the store", _nothing)
        here = ProbeFinding(status="skipped", found="the store is used from this machine; there is no other clock")
        self._run("clock", "compare clocks", lambda: here)

    def use(self) -> None:
        """Do what an evaluation does, in an experiment that exists for it."""
        self._run("experiments", f"make, or find, and search the experiment {_EXPERIMENT!r}", self._use_experiment)
        try:
            self._run("artifacts", "upload 256 bytes, fetch them and compare", self._round_trip)
        finally:
            if self._store is not None and self._scratch is not None:
                with contextlib.suppress(TrackingServerError):  # archived or not, it is the same experiment
                    self._store.close_scratch_run(self._scratch)
        registry = redact_credentials(self.registry_uri)
        self._run("registry", f"search the registered models of {registry}", self._search_registry)

    def look_for_leftovers(self) -> None:
        """Look for journals that were not shipped and for runs that nobody will end."""
        self._run("journals", f"read the journals in {self._journal}", self._examine_journals, needs_store=False)
        self._run("runs", "search the runs that are RUNNING", self._examine_runs)

    def _run(self, name: str, tried: str, work: Callable[[], ProbeFinding], *, needs_store: bool = True) -> None:
        started = time.monotonic()
        if needs_store and self._blocked:
            finding = ProbeFinding(status="skipped", found=self._blocked)
        else:
            try:
                finding = work()
            except TrackingServerError as error:
                finding = _refused(error)
            except TrackingError as error:
                finding = ProbeFinding(
                    status="failed", found=str(error), advice="Mend that, then run `hokusai doctor`."
                )
        self._blocked = self._blocked or finding.blocks
        seconds = time.monotonic() - started
        found = finding.found.replace(self.uri, self.name)
        self.checks.append(
            Check(name=name, tried=tried, found=found, advice=finding.advice, status=finding.status, seconds=seconds)
        )

    def _ask_server(self) -> ProbeFinding:
        started = time.monotonic()
        answer = within(_CONTACT_SECONDS, partial(probe_server, self.uri))
        if answer is None:
            answer = no_answer(f"no complete answer within {_CONTACT_SECONDS:g} seconds")
        if isinstance(answer, ProbeFinding):
            return answer
        self._server = answer
        return ProbeFinding(
            found=f"an MLflow server answers, in {(time.monotonic() - started) / 3 * 1000:.0f} ms a request"
        )

    def _compare_versions(self) -> ProbeFinding:
        from packaging.version import InvalidVersion, Version

        found = self._server.version if self._server else ""
        try:
            server = Version(found)
        except InvalidVersion:
            return ProbeFinding(status="warning", found=f"MLflow {found}", advice="Its version cannot be compared.")
        supported = _supported_mlflow()
        if supported.contains(server, prereleases=True):
            return ProbeFinding(found=f"MLflow {found}; supported is {supported}")
        word = "older" if server < Version(version("mlflow")) else "newer"
        return ProbeFinding(
            status="warning",
            found=f"MLflow {found}, which is {word} than what is supported ({supported})",
            advice=f"It may work. Install a supported MLflow on the server{', or update Hokusai' * (word == 'newer')}.",
        )

    def _compare_clocks(self) -> ProbeFinding:
        difference = self._server.clock_difference if self._server else None
        if difference is None:
            return ProbeFinding(status="skipped", found="the server sends no Date header")
        if abs(difference) <= _CLOCK_SECONDS:
            return ProbeFinding(found=f"they differ by {abs(difference):.0f} s; a Date header knows whole seconds")
        return ProbeFinding(
            status="warning",
            found=f"the server's clock is {abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} ours",
            advice="Set both clocks by NTP: MLflow sorts runs by the times of the machines that they ran on.",
        )

    def _compare_tables(self) -> ProbeFinding:
        path = sqlite_path(self.uri)
        revision = _revision(path) if path else ""
        if not revision:
            return ProbeFinding(found=f"an empty file; MLflow {version('mlflow')} makes its tables in it")
        from hokusai.tracking.mlflow_client import schema_revisions

        newest, *older = schema_revisions()
        if revision == newest:
            return ProbeFinding(found=f"tables of MLflow {version('mlflow')} (revision {revision})")
        if revision in older:
            return ProbeFinding(
                status="warning",
                found=f"tables of an older MLflow (revision {revision}; MLflow {version('mlflow')} has {newest})",
                advice=f"The next use would migrate the file unasked, and the older MLflow could not open it any "
                f"more. Copy {path} first; then migrate it with `mlflow db upgrade {self.name}`.",
                blocks="looking further would migrate the file",
            )
        return ProbeFinding(
            status="failed",
            found=f"tables that MLflow {version('mlflow')} does not know (revision {revision}): of a newer MLflow",
            advice="Use the MLflow that made the file, or name another file under tracking.uri.",
            blocks="the installed MLflow cannot open the file",
        )

    def _open_database(self, usual_port: int) -> ProbeFinding:
        parts = urlsplit(self.uri)
        if parts.hostname:
            address = (parts.hostname, parts.port or usual_port)
            problem = within(REQUEST_SECONDS, lambda: _connect(address))
            if problem is None:
                problem = no_answer(f"{address[0]} does not answer within {REQUEST_SECONDS:g} seconds")
            if problem.status != "ok":
                return problem
        from hokusai.tracking.mlflow_client import MlflowStore

        opened = within(_ARTIFACT_SECONDS, lambda: MlflowStore(self.uri))
        if opened is None:
            return no_answer(f"the database does not answer within {_ARTIFACT_SECONDS:g} seconds")
        return ProbeFinding(found="the database answers")

    def _open(self) -> MlflowStore:
        from hokusai.tracking.mlflow_client import MlflowStore

        self._store = self._store or MlflowStore(self.uri, registry_uri=self.registry_uri)
        return self._store

    def _use_experiment(self) -> ProbeFinding:
        self._scratch = self._open().open_scratch_run(_EXPERIMENT, tags=_TAGS)
        return ProbeFinding(found="found by search; a run of it can be written")

    def _round_trip(self) -> ProbeFinding:
        if self._scratch is None:
            return ProbeFinding(status="skipped", found="there is no run to upload to")
        store, run_id = self._open(), self._scratch.run_id
        finding: ProbeFinding | None = None
        for _ in range(_ATTEMPTS):
            # Several doctors may be at work at once, hence a name by chance; of a few, so that what an artifact store
            # does not let us remove stays little.
            path = f"round-trip/{secrets.randbelow(_ROUND_TRIPS):02}.bin"
            finding = within(_ARTIFACT_SECONDS, partial(_round_trip, store, run_id, path))
            if finding is None or finding.status == "ok":
                break
        return finding or ProbeFinding(
            status="failed",
            found=f"the artifact store does not answer within {_ARTIFACT_SECONDS:g} seconds",
            advice="Start the artifact store, or correct its address and credentials (S3: AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, MLFLOW_S3_ENDPOINT_URL). A server with --serve-artifacts needs none here.",
        )

    def _search_registry(self) -> ProbeFinding:
        if self.registry_uri != self.uri and self.registry_uri.startswith(("http://", "https://")):
            answer = within(_CONTACT_SECONDS, partial(probe_server, self.registry_uri))
            if answer is None:
                return no_answer(f"no complete answer within {_CONTACT_SECONDS:g} seconds")
            if isinstance(answer, ProbeFinding):
                return dataclasses.replace(answer, blocks="")
        self._open().require_registry()
        return ProbeFinding(found="the model registry answers")

    def _examine_journals(self) -> ProbeFinding:
        problem = _unwritable(self._journal)
        if problem:
            advice = "Make the folder writable, or name another one under tracking.journal."
            return ProbeFinding(status="failed", found=problem, advice=advice)
        folders = find_journals(self._journal)
        left = [leftover for folder in folders if (leftover := _leftover(folder))]
        shipped, failures = [], []
        for leftover in left if self._repair and not self._blocked else ():
            if self._is_ours(leftover):
                try:
                    ship(leftover.folder, self._open())
                    shipped.append(leftover)
                except HokusaiError as error:
                    failures.append(str(error))
        left = [leftover for leftover in left if leftover not in shipped]
        lost = [gone.store for folder in folders if (gone := find_lost_store(read_shipping_state(folder)))]
        return _journal_finding(len(folders), left, len(shipped), failures, lost, is_repair=self._repair)

    def _is_ours(self, leftover: _Leftover) -> bool:
        is_at_rest = not (leftover.is_written or leftover.problem) and leftover.started_at is not None
        return is_at_rest and leftover.destination in {self.name, ""}

    def _examine_runs(self) -> ProbeFinding:
        store = self._open()
        journals = {_evaluation(folder): folder for folder in find_journals(self._journal)}
        dead: list[RunningRun] = []
        lost: list[RunningRun] = []
        alive = distant = 0
        oldest = time.time() * 1000 - self._lost_after_hours * 3_600_000
        for run in store.unfinished_runs():
            folder = journals.get(run.evaluation)
            if folder is not None:
                if is_being_written(folder):
                    alive += 1
                else:
                    dead.append(run)
            elif run.last_sign < oldest:
                lost.append(run)
            else:
                distant += 1
        if self._repair:
            for run in lost:
                store.end_run(run.run_id, status="KILLED", ended_at=run.last_sign)
        return _run_finding(alive, dead, lost, distant, is_repair=self._repair, lost_after_hours=self._lost_after_hours)


# A file, a database, or no store at all.


def _open_file(path: Path) -> ProbeFinding:
    """See whether a SQLite file can be written, without writing."""
    if str(path) in {".", ":memory:"}:
        advice = "Name a file: sqlite:////absolute/path/mlflow.db."
        return failure("a database in memory: what is tracked there is lost at once", advice)
    problem = "that is a folder" if path.is_dir() else _unwritable(path.parent)
    if problem:
        return failure(problem, "Make the folder writable, or name another file under tracking.uri.")
    if not path.exists():
        return ProbeFinding(
            found="there is no file yet; the first evaluation makes it", blocks="there is no store yet to try it on"
        )
    try:
        with contextlib.closing(_connect_file(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError as error:
        return _explain_file(path, error)
    if not tables or {"alembic_version", "experiments"} <= tables:
        return ProbeFinding(found="the file can be read and written")
    return failure("a SQLite database, but not of MLflow: it has other tables", "Name another file under tracking.uri.")


def _explain_file(path: Path, error: sqlite3.DatabaseError) -> ProbeFinding:
    text = str(error)
    if "locked" in text:
        return failure(
            f"the database is locked: another process has been writing for {_LOCK_SECONDS:g} seconds",
            f"End the process that holds it (`fuser {path}` names it), then try again.",
        )
    if "readonly" in text or "unable to open" in text:
        return failure(f"the file cannot be written ({text})", "Make it writable for this user.")
    if "not a database" in text:
        return failure("the file is not a database", "Name another file under tracking.uri, or move this one away.")
    return failure(f"the database cannot be used ({text})", "Restore it from a copy.")


def _connect_file(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(path))}?mode=rw"
    return sqlite3.connect(address, uri=True, timeout=_LOCK_SECONDS, isolation_level=None)


def _revision(path: Path) -> str:
    """Return the revision of MLflow's tables in a file; empty when it has none."""
    try:
        with contextlib.closing(_connect_file(path)) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.OperationalError:
        return ""
    return str(rows[0][0]) if rows else ""


def _connect(address: tuple[str, int]) -> ProbeFinding:
    try:
        with socket.create_connection(address, timeout=REQUEST_SECONDS):
            return ProbeFinding(found="connected")
    except OSError as error:
        return explain_failure(error, is_tls=False)


def _refuse_address(name: str) -> ProbeFinding:
    scheme = name.partition(":")[0] if ":" in name else ""
    what = f"the scheme {scheme!r} is not supported" if scheme else "that is a path, not an address"
    return failure(
        f"{what}, expected one of http, https, sqlite, {', '.join(_PORTS)}",
        "For a local store write sqlite:////absolute/path/mlflow.db; MLflow has given up its stores in folders (file:, "
        "./mlruns).",
    )


def _installed_version() -> ProbeFinding:
    return ProbeFinding(found=f"MLflow {version('mlflow')} works on the database directly")


def _nothing() -> ProbeFinding:
    return ProbeFinding(status="skipped", found="there is nothing to ask")


def _unwritable(folder: Path) -> str:
    """Say why nothing can be made in a folder, or below it when it is not there yet; empty when it can."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return f"{place} is not a folder"
    return "" if os.access(place, os.W_OK | os.X_OK) else f"the folder {place} cannot be written"


# The store in use.


def _refused(error: TrackingServerError) -> ProbeFinding:
    # The error's own end speaks to somebody whose facts are in a journal.
    problem = str(error).removeprefix(f"{error.store}: ").partition(" What was recorded is safe")[0]
    advice = (
        "Read the server's log, then try again. Evaluations work meanwhile; `hokusai sync` ships them afterwards."
        if error.is_outage
        else "Mend that, or ask the server's owner for the permission; then run `hokusai doctor`."
    )
    blocks = "the store stopped answering" if error.is_outage else ""
    return ProbeFinding(status="failed", found=problem.rstrip("."), advice=advice, blocks=blocks)


def _round_trip(store: MlflowStore, run_id: str, path: str) -> ProbeFinding:
    """Upload random bytes, fetch them, compare, and remove what can be removed."""
    content = secrets.token_bytes(256)
    with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
        source, target = Path(folder) / "sent.bin", Path(folder) / "fetched"
        source.write_bytes(content)
        target.mkdir()
        try:
            store.log_artifact(run_id, source, path)
            is_same = store.download_artifact(run_id, path, target).read_bytes() == content
        except TrackingServerError as error:
            # An artifact store of its own may be down while the server is well.
            return dataclasses.replace(_refused(error), blocks="")
    try:
        store.remove_artifact(run_id, path)
        rest = "and removed"
    except TrackingServerError:
        rest = f"; the store does not let us remove it, so {path} stays"
    if is_same:
        return ProbeFinding(found=f"the same bytes came back {rest}".replace(" ;", ";"))
    return ProbeFinding(
        status="failed",
        found="other bytes came back than were sent",
        advice="Look at the artifact store, and at caches between here and there: nothing in it can be trusted.",
    )


# What was left behind.


def _header(folder: Path) -> OpenJournal | None:
    """Return a journal's first entry, if it can be read."""
    try:
        return read_destination(folder)
    except JournalError:
        return None


def _evaluation(folder: Path) -> str:
    header = _header(folder)
    return header.evaluation if header else folder.name


def _leftover(folder: Path) -> _Leftover | None:
    """Return what there is to say of a journal, or None when it has been shipped whole."""
    state = read_shipping_state(folder)
    if state is not None and state.complete:
        return None
    header = _header(folder)
    destination = header.tracking_uri if header else ""
    started_at = None
    try:
        is_written = is_being_written(folder)
        # A journal may be large, and one that is being written is its writer's affair.
        for entry in () if is_written else JournalReader(folder):
            started_at = entry.time if started_at is None else started_at
    except JournalError as error:
        return _Leftover(folder=folder, destination=destination, is_written=False, started_at=None, problem=str(error))
    return _Leftover(folder=folder, destination=destination, is_written=is_written, started_at=started_at)


def _journal_finding(
    count: int, left: list[_Leftover], shipped: int, failures: list[str], lost: list[str], *, is_repair: bool
) -> ProbeFinding:
    damaged = [leftover for leftover in left if leftover.problem]
    written = [leftover for leftover in left if leftover.is_written]
    at_rest = [leftover for leftover in left if not (leftover.problem or leftover.is_written)]
    empty = [leftover for leftover in at_rest if leftover.started_at is None]
    waiting = [leftover for leftover in at_rest if leftover.started_at is not None]
    said, advice = ["1 journal" if count == 1 else f"{count} journals"], []
    if shipped:
        said.append(f"{shipped} shipped now")
    if written:
        said.append(f"{len(written)} being written")
    if waiting:
        oldest = min(leftover.started_at or 0 for leftover in waiting)
        said.append(f"{len(waiting)} not shipped whole, the oldest of {_local_time(oldest)}")
        others = sorted({leftover.destination for leftover in waiting})
        why = f" (they are for {', '.join(others)})" if is_repair and not failures else ""
        advice.append(f"Ship them with `hokusai sync`{'' if is_repair else ' or `hokusai doctor --repair`'}{why}.")
    if empty:
        said.append(f"{len(empty)} without an entry: {_names([leftover.folder.name for leftover in empty])}")
        advice.append("Delete the folders without an entry: their processes died before they recorded anything.")
    if damaged:
        said.append(f"{len(damaged)} unreadable: {_names([leftover.problem for leftover in damaged])}")
        advice.append("Restore the unreadable ones from a copy, or run those evaluations again.")
    if failures:
        said.append(f"{len(failures)} could not be shipped: {_names(failures)}")
    if lost:
        said.append(f"{len(lost)} shipped to a file that is gone: {_names(sorted(set(lost)))}")
        advice.append("Restore the file, or send everything again with `hokusai sync --all`.")
    if count == len(written) + shipped or not left:
        said = said if count else ["no journals"]
    status: CheckStatus = "failed" if damaged or failures or lost else "warning" if waiting or empty else "ok"
    return ProbeFinding(status=status, found="; ".join(said), advice=" ".join(advice))


def _run_finding(
    alive: int,
    dead: list[RunningRun],
    lost: list[RunningRun],
    distant: int,
    *,
    is_repair: bool,
    lost_after_hours: float,
) -> ProbeFinding:
    said, advice = [], []
    if alive:
        said.append(f"{alive} at work here")
    if distant:
        said.append(f"{distant} without a journal here, which may be alive on another machine")
    if dead:
        said.append(f"{len(dead)} of dead processes, with a journal here: {_named_runs(dead)}")
        advice.append(
            "Their journals could not be shipped: see `journals`."
            if is_repair
            else "End them with `hokusai doctor --repair`, or `hokusai sync`."
        )
    if lost and is_repair:
        said.append(f"{len(lost)} lost, now closed as KILLED at their last sign of life: {_named_runs(lost)}")
    elif lost:
        said.append(
            f"{len(lost)} silent for more than {lost_after_hours:g} h, without a journal here: {_named_runs(lost)}"
        )
        advice.append("If no other machine works on them, close them as KILLED with `hokusai doctor --repair`.")
    status: CheckStatus = "warning" if dead or (lost and not is_repair) else "ok"
    return ProbeFinding(status=status, found="; ".join(said) or "none", advice=" ".join(advice))


def _named_runs(runs: list[RunningRun]) -> str:
    return _names([f"{run.name} ({run.run_id[:8]}, last sign of life {_local_time(run.last_sign)})" for run in runs])


def _names(names: list[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _local_time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


# The machinery.


def _supported_mlflow() -> SpecifierSet:
    from packaging.requirements import Requirement

    needed = map(Requirement, requires("hokusai-pipeline") or ())
    return next(requirement.specifier for requirement in needed if requirement.name == "mlflow")


@contextmanager
def _environment(settings: TrackingSettings, *, request_seconds: float) -> Iterator[None]:
    """Let MLflow's client fail fast, for a moment."""
    variables = shipper_environment(dataclasses.replace(settings, request_seconds=request_seconds))
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
