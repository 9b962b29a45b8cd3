"""Where the rows of the integrated table go: into memory, or into a Parquet file that may be larger than memory."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MemorySink", "ParquetSink", "RowSink"]

_GROUP_ROWS = 1 << 18
_BATCH_ROWS = 1 << 16


class RowSink(Protocol):
    """Takes the batches of one table, of one schema, and then is told which of the rows stay."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""

    def finish(self, keep: NDArray[np.bool_] | None) -> None:
        """Finish the table.

        Args:
            keep: Shape (rows written,): which of them stay; None for all.
        """


class MemorySink:
    """Keeps the rows in memory.

    Attributes:
        table: The table, once it is finished.
    """

    def __init__(self, schema: pa.Schema) -> None:
        """Start with no rows."""
        self._batches: list[pa.RecordBatch] = []
        self.table = schema.empty_table()

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._batches.append(batch)

    def finish(self, keep: NDArray[np.bool_] | None) -> None:
        """Finish the table; see :class:`RowSink`."""
        table = pa.Table.from_batches(self._batches, schema=self.table.schema)
        self._batches.clear()
        self.table = table if keep is None else table.filter(pa.array(keep))


class ParquetSink:
    """Writes the rows to a Parquet file: whole or not at all, zstd, with page checksums.

    Rows are written by a thread of its own, while the caller works on the next ones: what hinders that may be raised by
    a later call. A context manager: what is left unfinished at its end is removed, and the file that was there before
    is untouched.

    Args:
        path: The file; replaced when the table is finished.
        schema: Its columns.

    Raises:
        DataError: The file cannot be written.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Open a temporary file beside the path."""
        self.path = path
        self._schema = schema
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._written: Future[None] | None = None
        self._temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            self._writer = self._open(self._temporary)
        except OSError as error:
            raise _unwritable(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        # A writer that is closed early writes a footer; its file goes away all the same.
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        if self._pending_rows >= _GROUP_ROWS:
            self._flush()

    def finish(self, keep: NDArray[np.bool_] | None) -> None:
        """Finish the file; rows that do not stay cost a second pass over it."""
        try:
            self._flush()
            self._wait()
            self._thread.shutdown()
            self._writer.close()
            if keep is not None and not keep.all():
                self._rewrite(keep)
            with self._temporary.open("rb") as file:
                os.fsync(file.fileno())
            self._temporary.replace(self.path)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _flush(self) -> None:
        self._wait()
        if self._pending:
            table = pa.Table.from_batches(self._pending, schema=self._schema)
            self._written = self._thread.submit(self._writer.write_table, table, row_group_size=_GROUP_ROWS)
            self._pending = []
            self._pending_rows = 0

    def _wait(self) -> None:
        """Wait until the rows are written that were handed to the thread, or raise what hindered it."""
        written, self._written = self._written, None
        if written is not None:
            try:
                written.result()
            except OSError as error:
                raise _unwritable(self.path, error) from error

    def _rewrite(self, keep: NDArray[np.bool_]) -> None:
        second = self._temporary.with_name(f"{self._temporary.name}.kept")
        try:
            with self._open(second) as writer:
                for batch in _filtered(self._temporary, keep):
                    writer.write_table(batch, row_group_size=_GROUP_ROWS)
            second.replace(self._temporary)
        finally:
            second.unlink(missing_ok=True)

    def _open(self, path: Path) -> pq.ParquetWriter:
        # Numbers seldom repeat enough for a dictionary: without one they are written faster, and the file is smaller.
        texts = [field.name for field in self._schema if _is_text(field.type)]
        return pq.ParquetWriter(path, self._schema, compression="zstd", use_dictionary=texts, write_page_checksum=True)


def _is_text(data_type: pa.DataType) -> bool:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    return any(is_kind(data_type) for is_kind in kinds)


def _filtered(path: Path, keep: NDArray[np.bool_]) -> Iterator[pa.Table]:
    """The rows that stay, about as many at once as a group has."""
    start, pending, rows = 0, [], 0
    with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            kept = batch.filter(pa.array(keep[start : start + batch.num_rows]))
            start += batch.num_rows
            pending.append(kept)
            rows += kept.num_rows
            if rows >= _GROUP_ROWS:
                yield pa.Table.from_batches(pending)
                pending, rows = [], 0
        if pending:
            yield pa.Table.from_batches(pending)


def _unwritable(path: Path, error: OSError) -> DataError:
    # Arrow's own words name the temporary file.
    reason = os.strerror(error.errno) if error.errno else str(error)
    return DataError(str(path), f"it cannot be written: {reason}. Check the folder and its free space.")
