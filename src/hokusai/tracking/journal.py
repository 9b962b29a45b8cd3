"""The durable local log of recorded operations.

One folder per evaluation: ``journal.jsonl``, one operation per line; ``artifacts/``, the staged files by SHA-256;
``lock``, held by the one writer. Each line carries a sequence number, the time of the fact and the SHA-256 of the
line before it, so an edited, missing or reordered line shows. A torn last line (the writer died inside a write) is
expected: readers leave it out and :func:`recover` cuts it off.

Invariants: when :meth:`FileJournal.append` returns, the operation survives the death of this process, because it is in
the operating system's hands; it survives the loss of power after at most one second, or at once after
:meth:`FileJournal.sync`.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hokusai.digests import sha256
from hokusai.errors import JournalError
from hokusai.tracking.operations import CloseJournal, EndRun, Operation, ResumeRun, StartRun, encode, from_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filelock import FileLock

__all__ = [
    "ENTRIES_PER_READ",
    "JOURNAL_FILE",
    "JOURNAL_FORMAT",
    "Entry",
    "FileJournal",
    "Journal",
    "JournalReader",
    "MemoryJournal",
    "StagedFile",
    "find_journals",
    "is_being_written",
    "recover",
    "staged_path",
]

JOURNAL_FORMAT = "hokusai-journal/1"
JOURNAL_FILE = "journal.jsonl"
FIRST_LINK = "0" * 64
_SYNC_SECONDS = 1.0
_CHUNK_BYTES = 1 << 20
ENTRIES_PER_READ = 5000


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal.

    Attributes:
        sequence: Position in the journal, counted from 1 without a gap.
        time: Milliseconds since 1970 when the fact was recorded.
        operation: What was recorded.
        link: SHA-256 of the line, which the next line repeats.
    """

    sequence: int
    time: int
    operation: Operation
    link: str = ""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """Bytes that the journal keeps beside itself until they are shipped."""

    sha256: str
    size: int


class _End(NamedTuple):
    """Where a journal ends: the size of its file, and sequence number and SHA-256 of its last whole line."""

    size: int
    sequence: int
    link: str


class Journal(Protocol):
    """Where a run's operations go.

    Safe to call from several threads of one process; operations keep the order of the calls. A call that cannot
    record raises JournalError and leaves what was recorded before unharmed.
    """

    def append(self, operation: Operation) -> None:
        """Record one operation, durably."""

    def stage(self, content: bytes | Path) -> StagedFile:
        """Keep bytes, or a copy of a file, beside the journal."""

    def head(self) -> str | None:
        """Return the SHA-256 of the last line; None where there are no lines."""

    def sync(self) -> None:
        """Return when everything recorded so far would survive a loss of power."""

    def close(self) -> None:
        """Record that nothing more will come, and let go of the journal."""


class MemoryJournal:
    """A journal that is kept in memory and goes nowhere: for rehearsals and for measuring what tracking costs."""

    def __init__(self) -> None:
        """Start empty."""
        self.operations: list[Operation] = []
        self.staged: dict[str, bytes] = {}

    def append(self, operation: Operation) -> None:
        """Keep the operation in memory."""
        self.operations.append(operation)

    def stage(self, content: bytes | Path) -> StagedFile:
        """Keep the bytes in memory."""
        data = content.read_bytes() if isinstance(content, Path) else content
        staged = StagedFile(sha256(data), len(data))
        self.staged[staged.sha256] = data
        return staged

    def head(self) -> str | None:
        """Return None: memory has no lines."""
        return None

    def sync(self) -> None:
        """Do nothing: memory has nothing to sync."""

    def close(self) -> None:
        """Record the end."""
        self.append(CloseJournal())


class FileJournal:
    """A journal in a folder, with one writer.

    Args:
        folder: The journal's own folder; made when it is not there.

    Raises:
        JournalError: The folder cannot be written, or another process writes this journal.
    """

    def __init__(self, folder: Path) -> None:
        """Take the writer's lock and continue after the last whole line."""
        self.folder = folder
        self._owner = os.getpid()
        self._mutex = threading.Lock()
        self._sync_mutex = threading.Lock()
        self._unsynced_files: list[Path] = []
        self._stop = threading.Event()
        self._unsynced = False
        self._closed = False
        self._failure: JournalError | None = None
        self._next: tuple[_End, Operation, int] | None = None
        self._open_runs: dict[str, None] = {}
        self._last_time = 0
        try:
            (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._lock = _acquire_lock(folder)
        try:
            reader = JournalReader(folder)
            for entry in reader:
                self._note(entry.operation, entry.time)
            self._file = os.open(folder / JOURNAL_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._file, reader.offset)
        except OSError as error:
            self._lock.release()
            raise _unwritable(folder, error) from error
        except JournalError:
            self._lock.release()
            raise
        self._end = _End(reader.offset, reader.sequence, reader.link)
        for made in (folder, folder.parent):
            # The names of new folders and files must survive a loss of power as what is in them does.
            with suppress(OSError):
                _flush(made)
        self._syncer = threading.Thread(target=self._sync_every_second, name="hokusai-journal-sync", daemon=True)
        self._syncer.start()

    def append(self, operation: Operation) -> None:
        """Write one operation as one line; see the module's invariants for what has been promised on return."""
        body = encode(operation)
        if os.getpid() != self._owner:
            raise self._elsewhere()
        with self._mutex:
            if self._closed:
                msg = f"{self.folder}: the journal is closed, nothing more can be recorded in it."
                raise JournalError(msg)
            if self._next is not None:
                self._settle()
            # The clock may be set back while we work; the order of the entries is the order of the facts.
            now = max(time.time_ns() // 1_000_000, self._last_time)
            size, sequence, previous = self._end
            line = f'{{"sequence":{sequence + 1},"time":{now},"previous":"{previous}",{body}'.encode()
            # An exception from a signal handler may come between any two lines from here on.
            end = _End(size + len(line) + 1, sequence + 1, hashlib.sha256(line).hexdigest())
            self._next = (end, operation, now)
            self._unsynced = True
            self._write(line + b"\n")
            self._note(operation, now)
            self._end = end
            self._next = None

    def stage(self, content: bytes | Path) -> StagedFile:
        """Keep bytes under ``artifacts/`` by their SHA-256; the file appears whole or not at all."""
        if os.getpid() != self._owner:
            raise self._elsewhere()
        partial = self.folder / "artifacts" / f"{os.getpid()}.{threading.get_ident()}.partial"
        digest, size = hashlib.sha256(), 0
        try:
            # The digest is taken from what is written: the file may change while it is copied.
            with partial.open("wb") as target:
                for chunk in _chunks(content):
                    target.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
            staged = staged_path(self.folder, digest.hexdigest())
            partial.replace(staged)
            with self._mutex:
                # Before the entry that names it is written, so that no synced entry lacks its file.
                self._unsynced_files.append(staged)
                self._unsynced = True
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        return StagedFile(digest.hexdigest(), size)

    def head(self) -> str | None:
        """Return the SHA-256 of the last line, which the next one repeats."""
        with self._mutex:
            if self._next is not None:
                self._settle()
            return self._end.link if self._end.sequence else None

    def sync(self) -> None:
        """Flush to the disk."""
        if os.getpid() != self._owner:
            return
        # A mutex of its own: steps go on recording while the disk works.
        with self._sync_mutex:
            if self._failure:
                # The system reports a failed flush once and then forgets what was lost; this journal does not.
                raise self._failure
            with self._mutex:
                if not self._unsynced or self._closed:
                    return
                staged = tuple(self._unsynced_files)
                self._unsynced = False
            try:
                for file in staged:
                    _flush(file)
                if staged:
                    _flush(self.folder / "artifacts")
                os.fsync(self._file)
            except OSError as error:
                self._failure = _unwritable(self.folder, error)
                raise self._failure from error
            except BaseException:
                self._unsynced = True
                raise
            with self._mutex:
                del self._unsynced_files[: len(staged)]

    def close(self) -> None:
        """End what is still open as KILLED, record the end, flush, and release the writer's lock.

        A second call does nothing.
        """
        if self._closed or os.getpid() != self._owner:
            # A forked process leaves the journal, and the lock that it shares, to the one that opened it.
            return
        try:
            self.end_open_runs()
            self.append(CloseJournal())
        finally:
            self.abandon()

    def end_open_runs(self) -> tuple[str, ...]:
        """End every run that has no end as KILLED, at the time of the last entry, and return their keys.

        A run has none when its process died, and when the disk was full, or a signal came, while it was recorded.
        """
        keys, ended_at = tuple(self._open_runs), self._last_time
        for run in reversed(keys):
            self.append(EndRun(run=run, status="KILLED", ended_at=ended_at))
        return keys

    def abandon(self) -> None:
        """Let go without recording an end, as a dying process would; what was recorded stays."""
        if self._closed or os.getpid() != self._owner:
            return
        try:
            self.sync()
        finally:
            with self._sync_mutex, self._mutex:
                self._closed = True
                os.close(self._file)
            self._stop.set()
            self._syncer.join()
            self._lock.release()

    def _elsewhere(self) -> JournalError:
        return JournalError(
            f"{self.folder}: a forked process cannot write the journal of the process that made it. Hand `run.link` to "
            "it, and go on there with `hokusai.resume`."
        )

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def _settle(self) -> None:
        """Find out whether the last line was written whole; an exception may have come in the middle of it."""
        if self._next is None:
            return
        try:
            end, operation, moment = self._next
            if os.fstat(self._file).st_size == end.size:
                self._note(operation, moment)
                self._end = end
            else:
                os.ftruncate(self._file, self._end.size)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        self._next = None

    def _note(self, operation: Operation, moment: int) -> None:
        self._last_time = moment
        if isinstance(operation, StartRun | ResumeRun):
            self._open_runs[operation.run] = None
        elif isinstance(operation, EndRun):
            self._open_runs.pop(operation.run, None)

    def _sync_every_second(self) -> None:
        # Nobody wakes this thread: an exception from a signal handler inside Event.set() would leave the event locked.
        while not self._stop.wait(_SYNC_SECONDS):
            try:
                self.sync()
            except JournalError:
                # The next call of sync() raises it again, where someone hears it.
                return


class JournalReader:
    """Reads a journal from its start, again and again as it grows, and checks every link of its chain.

    Attributes:
        offset: Bytes read so far: the end of the last whole line.
        sequence: Sequence number of the last whole line, 0 before the first.
        link: SHA-256 of the last whole line.
    """

    def __init__(self, folder: Path) -> None:
        """Stand before the first line of the journal in ``folder``."""
        self.folder = folder
        self.offset = 0
        self.sequence = 0
        self.link = FIRST_LINK

    def read_new(self, *, at_most: int = ENTRIES_PER_READ) -> list[Entry]:
        """Return whole lines that came since the last call, at most 5,000; nothing when there are no more.

        Raises:
            JournalError: The next line is not what was written: the message names the line.
        """
        path = self.folder / JOURNAL_FILE
        entries: list[Entry] = []
        try:
            with path.open("rb") as file:
                file.seek(self.offset)
                while len(entries) < at_most and (line := file.readline()).endswith(b"\n"):
                    entries.append(self._check(line[:-1]))
                    self.offset += len(line)
        except FileNotFoundError:
            return []
        except OSError as error:
            msg = f"{path}: the journal cannot be read ({error.strerror}). Make the file readable for this user."
            raise JournalError(msg) from error
        except JournalError:
            # What stands before the damage is sound; the next call meets the damage first.
            if not entries:
                raise
        return entries

    def __iter__(self) -> Iterator[Entry]:
        """Yield every entry that is new, in bounded memory; raises as :meth:`read_new`."""
        while entries := self.read_new():
            yield from entries

    def _check(self, line: bytes) -> Entry:
        number = self.sequence + 1
        try:
            value = json.loads(line)
            sequence, moment, previous = value["sequence"], value["time"], value["previous"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._damaged(number, "is not a journal entry") from error
        if sequence != number:
            raise self._damaged(number, f"has sequence number {sequence}: a line is missing or out of order")
        if previous != self.link:
            raise self._damaged(number, "does not continue the line before it: one of them was edited")
        try:
            entry = Entry(sequence, moment, from_json(value), sha256(line))
        except JournalError as error:
            raise self._damaged(number, f"cannot be used: {error}") from error
        self.sequence, self.link = sequence, entry.link
        return entry

    def _damaged(self, number: int, problem: str) -> JournalError:
        return JournalError(
            f"{self.folder / JOURNAL_FILE}: line {number} {problem}. Nothing of this journal was shipped beyond line "
            f"{self.sequence}; restore the folder from a copy, or run the evaluation again."
        )


def staged_path(folder: Path, digest: str) -> Path:
    """Return where the journal in ``folder`` keeps the bytes with this SHA-256."""
    return folder / "artifacts" / digest


def find_journals(root: Path) -> tuple[Path, ...]:
    """Return the folders below ``root`` that hold a journal, oldest first by name."""
    return tuple(sorted(path.parent for path in root.glob(f"*/{JOURNAL_FILE}")))


def is_being_written(folder: Path) -> bool:
    """Say whether a living process holds the writer's lock.

    Raises:
        JournalError: That cannot be told, because the folder cannot be written.
    """
    lock = _try_lock(folder)
    if lock is None:
        return True
    lock.release()
    return False


def recover(folder: Path) -> tuple[str, ...]:
    """Mend the journal of a dead process: cut off a torn last line and end its open runs as KILLED.

    The end time of such a run is the time of the last thing that was recorded in the journal. A journal that was
    closed is left as it is.

    Returns:
        The keys of the runs that were ended.

    Raises:
        JournalError: The journal is damaged, or its writer is alive.
    """
    last: Entry | None = None
    for last in JournalReader(folder):  # noqa: B007  (the last one is wanted)
        pass
    if last is not None and isinstance(last.operation, CloseJournal):
        return ()
    journal = FileJournal(folder)
    try:
        return journal.end_open_runs()
    finally:
        journal.close()


def _acquire_lock(folder: Path) -> FileLock:
    lock = _try_lock(folder)
    if lock is None:
        msg = f"{folder}: another process is writing this journal; wait until it has ended."
        raise JournalError(msg)
    return lock


def _try_lock(folder: Path) -> FileLock | None:
    from filelock import FileLock, Timeout  # not needed to show --help

    lock = FileLock(folder / "lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    except OSError as error:
        raise _unwritable(folder, error) from error
    return lock


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    try:
        with content.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        msg = f"{content}: the file cannot be read ({error.strerror}), so the journal cannot keep it."
        raise JournalError(msg) from error


def _flush(path: Path) -> None:
    """Write a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(folder: Path, error: OSError) -> JournalError:
    return JournalError(
        f"{folder}: the journal cannot be written ({error.strerror}). Free some space or make the folder writable, "
        "or name another one under tracking.journal."
    )
