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

import json
import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hokusai.digests import file_sha256, sha256
from hokusai.errors import JournalError
from hokusai.tracking.operations import CloseJournal, EndRun, Operation, StartRun, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from filelock import FileLock

__all__ = [
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


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal.

    Attributes:
        sequence: Position in the journal, counted from 1 without a gap.
        time: Milliseconds since 1970 when the fact was recorded.
        operation: What was recorded.
    """

    sequence: int
    time: int
    operation: Operation


@dataclass(frozen=True, slots=True)
class StagedFile:
    """Bytes that the journal keeps beside itself until they are shipped."""

    sha256: str
    size: int


class Journal(Protocol):
    """Where a run's operations go.

    Safe to call from several threads of one process; operations keep the order of the calls. A call that cannot
    record raises JournalError and leaves what was recorded before unharmed.
    """

    def append(self, operation: Operation) -> None:
        """Record one operation, durably."""

    def stage(self, content: bytes | Path) -> StagedFile:
        """Keep bytes, or a copy of a file, beside the journal."""

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
        self._mutex = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._unsynced = False
        self._closed = False
        try:
            (folder / "artifacts").mkdir(parents=True, exist_ok=True)
            self._lock = _acquire_lock(folder)
            path = folder / JOURNAL_FILE
            reader = JournalReader(folder)
            reader.read_new()
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._file, reader.offset)
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._size, self._sequence, self._link = reader.offset, reader.sequence, reader.link
        self._syncer = threading.Thread(target=self._sync_every_second, name="hokusai-journal-sync", daemon=True)
        self._syncer.start()

    def append(self, operation: Operation) -> None:
        """Write one operation as one line; see the module's invariants for what has been promised on return."""
        body = to_json(operation)
        with self._mutex:
            if self._closed:
                msg = f"{self.folder}: the journal is closed, nothing more can be recorded in it."
                raise JournalError(msg)
            line = _encode(self._sequence + 1, time.time_ns() // 1_000_000, self._link, body)
            self._write(line + b"\n")
            self._sequence += 1
            self._link = sha256(line)
            self._unsynced = True
        self._wake.set()

    def stage(self, content: bytes | Path) -> StagedFile:
        """Keep bytes under ``artifacts/`` by their SHA-256; the file appears whole or not at all."""
        digest = sha256(content) if isinstance(content, bytes) else file_sha256(content)
        target = staged_path(self.folder, digest)
        try:
            if not target.exists():
                partial = target.with_name(f"{digest}.{os.getpid()}.{threading.get_ident()}.partial")
                with partial.open("wb") as file:
                    if isinstance(content, bytes):
                        file.write(content)
                    else:
                        with content.open("rb") as source:
                            shutil.copyfileobj(source, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(target)
            return StagedFile(digest, target.stat().st_size)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def sync(self) -> None:
        """Flush to the disk."""
        with self._mutex:
            if self._unsynced and not self._closed:
                self._unsynced = False
                os.fsync(self._file)

    def close(self) -> None:
        """Record the end, flush, and release the writer's lock. A second call does nothing."""
        if self._closed:
            return
        self.append(CloseJournal())
        self.abandon()

    def abandon(self) -> None:
        """Let go without recording an end, as a dying process would; what was recorded stays."""
        if self._closed:
            return
        self.sync()
        with self._mutex:
            self._closed = True
            os.close(self._file)
        self._stop.set()
        self._wake.set()
        self._syncer.join()
        self._lock.release()

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise _unwritable(self.folder, error) from error
        self._size += len(line)

    def _sync_every_second(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._stop.wait(_SYNC_SECONDS)
            self._wake.clear()
            self.sync()


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

    def read_new(self) -> list[Entry]:
        """Return the whole lines that came since the last call.

        Raises:
            JournalError: A line is not what was written: the message names the line.
        """
        path = self.folder / JOURNAL_FILE
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self.offset)
            content = file.read()
        entries = []
        for line in content.split(b"\n")[:-1]:
            entries.append(self._check(line))
            self.offset += len(line) + 1
        return entries

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
        entry = Entry(sequence, moment, from_json(value))
        self.sequence, self.link = sequence, sha256(line)
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
    """Say whether a living process holds the writer's lock."""
    try:
        _acquire_lock(folder).release()
    except JournalError:
        return True
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
    reader = JournalReader(folder)
    entries = reader.read_new()
    if entries and isinstance(entries[-1].operation, CloseJournal):
        return ()
    journal = FileJournal(folder)
    try:
        open_runs = _open_runs(entry.operation for entry in entries)
        for run in reversed(open_runs):
            journal.append(EndRun(run=run, status="KILLED", ended_at=entries[-1].time))
    finally:
        journal.close()
    return open_runs


def _open_runs(operations: Iterable[Operation]) -> tuple[str, ...]:
    runs: dict[str, None] = {}
    for operation in operations:
        if isinstance(operation, StartRun):
            runs[operation.run] = None
        elif isinstance(operation, EndRun):
            runs.pop(operation.run, None)
    return tuple(runs)


def _acquire_lock(folder: Path) -> FileLock:
    from filelock import FileLock, Timeout  # not needed to show --help

    lock = FileLock(folder / "lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        msg = f"{folder}: another process is writing this journal; wait until it has ended."
        raise JournalError(msg) from error
    return lock


def _encode(sequence: int, moment: int, previous: str, body: object) -> bytes:
    head = {"sequence": sequence, "time": moment, "previous": previous}
    return json.dumps(head | body, separators=(",", ":"), allow_nan=False).encode()  # type: ignore[operator]


def _unwritable(folder: Path, error: OSError) -> JournalError:
    return JournalError(
        f"{folder}: the journal cannot be written ({error.strerror}). Free some space or make the folder writable, "
        "or name another one under tracking.journal."
    )
