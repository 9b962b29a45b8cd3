"""Read tables in a process of its own, so that a hostile or damaged file can end that process and nothing else.

The parent sees a table, or one of our errors: never a crash, never a hang, never more than the limits. A reader process
runs ``hokusai.datasets.tables.open_table`` and sends Arrow batches over a pipe; it holds no credentials, since it gets
none of the environment but what Python and Arrow need. The parent keeps the clock, and checks every batch.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from hokusai.datasets.read_settings import ReadSettings
from hokusai.datasets.reader_frames import (
    FrameKind,
    TableRequest,
    decode_error,
    memory_refusal,
)
from hokusai.datasets.reader_handle import ReaderHandle, ending
from hokusai.datasets.tables import SourceFile, TableFile
from hokusai.errors import DataError, HokusaiError, TableLimitError, UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from hokusai.datasets.read_settings import ReadLimits

__all__ = ["ReceivedTable", "TableReader"]

_FRAME_SLACK_BYTES = 1 << 26
_MEMORY_SIGNS = ("bad_alloc", "MemoryError", "Resource temporarily unavailable", "Cannot allocate memory")


class ReceivedTable:
    """A table that a reader process sends, batch by batch, within the ``with`` block that opened it.

    Attributes:
        schema: The final types.
        files: The files that the table came from; empty until every batch has been taken.
    """

    def __init__(self, child: ReaderHandle, *, source: str, limits: ReadLimits) -> None:
        self._child, self._source, self._limits = child, source, limits
        self._seconds = float(limits.max_seconds)
        self._is_complete = False
        self._refusal: HokusaiError | None = None
        self.files: tuple[SourceFile, ...] = ()
        self.schema: pa.Schema = self._schema()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches that were not taken yet, each checked in full.

        Raises:
            HokusaiError: As ``TableReader.open``; also when the table has been closed before its end.
        """
        while not self._is_complete:
            if self._refusal is not None:
                raise self._refusal
            kind, content = self._next_frame()
            if kind is FrameKind.FILES:
                with self._nonsense_refused():
                    self.files = tuple(SourceFile(**file) for file in json.loads(content.to_pybytes()))
                self._is_complete = True
                return
            with self._nonsense_refused():
                batch = pa.ipc.read_record_batch(content, self.schema)
                batch.validate(full=True)
            yield batch

    def close(self) -> None:
        """Take no more batches."""
        if not self._is_complete and self._refusal is None:
            self._refusal = DataError(self._source, "the table was closed before its last row. Read it anew.")

    def _schema(self) -> pa.Schema:
        _, content = self._next_frame()
        with self._nonsense_refused():
            return pa.ipc.read_schema(content)

    def _next_frame(self) -> tuple[FrameKind, pa.Buffer]:
        try:
            return self._received_frame()
        except HokusaiError as error:
            self._refusal = error
            raise

    def _received_frame(self) -> tuple[FrameKind, pa.Buffer]:
        # Only waiting counts: how long the caller works on a batch is not the file's fault.
        started = time.monotonic()
        most = self._limits.max_decoded_bytes + _FRAME_SLACK_BYTES
        try:
            kind, content = self._child.receive(seconds=self._seconds, most=most)
        except TimeoutError as error:
            raise self._too_slow() from error
        except EOFError as error:
            raise self._death() from error
        except ValueError as error:
            raise self._nonsense(error) from error
        self._seconds -= time.monotonic() - started
        if kind is not FrameKind.ERROR:
            return kind, content
        with self._nonsense_refused():
            told = decode_error(content.to_pybytes())
        raise told

    @contextlib.contextmanager
    def _nonsense_refused(self) -> Iterator[None]:
        """Refuse what only a process sends whose memory the file has spoiled."""
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, TypeError) as error:
            raise self._nonsense(error) from error

    def _nonsense(self, error: Exception) -> HokusaiError:
        problem = f"the process that read it sent no table ({str(error)[:200]}). "
        advice = "The file is most likely damaged: get a sound copy, or write it anew."
        return UnreadableTableError(self._source, problem + advice)

    def _too_slow(self) -> HokusaiError:
        return TableLimitError(
            self._source,
            limit="data.limits.max_seconds",
            got="reading it takes longer",
            allowed=self._limits.max_seconds,
            unit="seconds",
        )

    def _death(self) -> HokusaiError:
        """What became of the file, told from how the process ended."""
        code, words = self._child.last_words()
        if code == -signal.SIGXCPU:
            return self._too_slow()
        if any(sign in words for sign in _MEMORY_SIGNS):
            return memory_refusal(self._source, self._limits)
        if code == -signal.SIGKILL:
            problem = "the process that read it was killed from outside, as systems do that run out of memory. "
            return UnreadableTableError(self._source, f"{problem}Free some memory, or split the file.")
        quoted = f" ({words})" if words else ""
        advice = "The file is most likely damaged, or made to do harm: get a sound copy, or write it anew."
        return UnreadableTableError(self._source, f"the process that read it {ending(code)}{quoted}. {advice}")


class TableReader:
    """Reads tables in processes of its own; a context manager that leaves none of them behind.

    A process is started when the first table is opened, and reads one table after another. Tables that are open at the
    same time have one process each. After a death, or when a table is left before its end, the next one gets a new one.
    A reader may be used by several threads.
    """

    def __init__(self) -> None:
        self._idle: list[ReaderHandle] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that wait for work; the reader may be used again afterwards."""
        while self._idle:
            self._idle.pop().end()

    @contextlib.contextmanager
    def open(
        self,
        path: Path,
        *,
        settings: ReadSettings | None = None,
        expected: pa.Schema | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[ReceivedTable]:
        """Stream a table as ``open_table`` does, from another process.

        Args:
            path: A file, a folder of files, or a pattern.
            settings: How to read; the limits of memory and time are kept here alone.
            expected: The schema of the table that this one will be joined to.
            columns: The columns to return, in this order; None for all.

        Raises:
            HokusaiError: What ``open_table`` raises, with the same message and attributes.
            TableLimitError: It takes more memory or time than allowed.
            UnreadableTableError: The file made the process die.
            DataError: No process could be started.
        """
        request = TableRequest(
            path=str(path),
            folder="" if path.is_absolute() else str(Path.cwd()),
            settings=settings or ReadSettings(),
            expected=expected,
            columns=None if columns is None else tuple(columns),
        )
        child = self._asked(request)
        try:
            table = ReceivedTable(child, source=request.path, limits=request.settings.limits)
            try:
                yield table
            finally:
                table.close()
        finally:
            if child.is_at_rest:
                self._idle.append(child)
            else:
                child.end()

    def read(
        self,
        path: Path,
        *,
        settings: ReadSettings | None = None,
        expected: pa.Schema | None = None,
        columns: Sequence[str] | None = None,
    ) -> TableFile:
        """Read a whole table as ``read_table`` does, from another process.

        Args:
            path: A file, a folder of files, or a pattern.
            settings: How to read; the limits of memory and time are kept here alone.
            expected: The schema of the table that this one will be joined to.
            columns: The columns to return, in this order; None for all.

        Raises:
            HokusaiError: As ``open``.
        """
        with self.open(path, settings=settings, expected=expected, columns=columns) as table:
            batches = list(table)
        return TableFile(table=pa.Table.from_batches(batches, schema=table.schema), files=table.files)

    def _asked(self, request: TableRequest) -> ReaderHandle:
        """A process that has been given the request; one that has ended while it waited is let go."""
        while True:
            try:
                child = self._idle.pop()
            except IndexError:
                child = ReaderHandle(request.path)
            try:
                child.ask(request)
            except (BrokenPipeError, EOFError, TimeoutError):
                child.end()
            else:
                return child
