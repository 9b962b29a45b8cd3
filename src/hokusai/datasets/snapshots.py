"""Snapshots: a table kept as one Parquet file that is named after its content.

Small tables are stored and large ones referred to. The same table gives the same bytes with the same version of Arrow,
whatever batches it came in; a snapshot is believed only after its content has been digested again.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from annotated_types import Ge

from hokusai.datasets.content_digest import ContentDigester
from hokusai.digests import file_sha256
from hokusai.errors import DataError, UnreadableTableError
from hokusai.records import DatasetFile

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Snapshot", "SnapshotPolicy", "SnapshotWriter", "read_snapshot", "snapshot_path", "store_snapshot"]

_GROUP_ROWS = 1 << 17
_BATCH_ROWS = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPolicy:
    """Which tables are stored.

    Attributes:
        mode: ``auto`` stores what is small enough, ``always`` and ``never`` say it themselves.
        max_bytes: The largest file that ``auto`` stores.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    mode: Literal["auto", "always", "never"] = "auto"
    max_bytes: Annotated[int, Ge(0)] = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A stored table.

    Attributes:
        digest: TABHASH v1 digest of its content.
        path: The file.
        file: Name, SHA-256, size and rows of the file.
    """

    digest: str
    path: Path
    file: DatasetFile

    @property
    def artifact_path(self) -> str:
        """Where a run keeps it among its artifacts."""
        return snapshot_path(self.digest)


def snapshot_path(digest: str) -> str:
    """Return where a run keeps the snapshot of a content among its artifacts."""
    return f"datasets/{digest}.parquet"


class SnapshotWriter:
    """Writes a table that arrives in batches, for the length of a ``with`` block; gives up when it grows too large.

    Args:
        schema: The columns; every batch must have exactly these names and types.
        folder: Where snapshots are kept; made when it is not there.
        policy: Which tables are stored.
        source: What error messages call the table.
    """

    def __init__(self, schema: pa.Schema, folder: Path, *, policy: SnapshotPolicy, source: str = "table") -> None:
        self._schema = pa.schema([(field.name, field.type) for field in schema])
        self._folder = folder
        self._policy = policy
        self._source = source
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._rows = 0
        self._partial: Path | None = None
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        """Open a file, unless the policy is to store nothing."""
        if self._policy.mode != "never":
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                handle, name = tempfile.mkstemp(prefix="snapshot-", suffix=".partial", dir=self._folder)
                os.close(handle)
            except OSError as error:
                raise self._unwritable(error) from error
            self._partial = Path(name)
            try:
                self._writer = pq.ParquetWriter(
                    name, self._schema, compression="zstd", write_page_checksum=True, version="2.6"
                )
            except (pa.ArrowException, OSError) as error:
                self._give_up()
                raise self._unwritable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not finished."""
        self._give_up()

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append the rows of a batch; after the writer has given up this does nothing.

        Raises:
            DataError: The batch has other columns, or a column's type cannot be kept in Parquet.
        """
        if self._writer is None:
            return
        if batch.schema.names != self._schema.names or batch.schema.types != self._schema.types:
            raise DataError(self._source, "a batch has other columns than the snapshot. Cast it first.")
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        table = pa.Table.from_arrays(table.columns, schema=self._schema)
        start = 0
        # Row groups are cut by the table's rows and not by its batches, so that the bytes do not depend on them.
        while start < table.num_rows and self._writer is not None:
            rows = min(_GROUP_ROWS - self._pending_rows, table.num_rows - start)
            self._pending.append(table.slice(start, rows))
            self._pending_rows += rows
            start += rows
            if self._pending_rows == _GROUP_ROWS:
                self._write_group()

    def finish(self, digest: str) -> Snapshot | None:
        """Put the file in its place and return it, or None when the table is not to be stored.

        Args:
            digest: The content digest of the rows.

        Raises:
            DataError: The file cannot be written.
        """
        if self._pending_rows:
            self._write_group()
        if self._writer is None or self._partial is None:
            return None
        try:
            self._writer.close()
        except (pa.ArrowException, OSError) as error:
            raise self._unwritable(error) from error
        self._writer = None
        size = self._partial.stat().st_size
        if self._policy.mode == "auto" and size > self._policy.max_bytes:
            self._give_up()
            return None
        path = self._folder / f"{digest}.parquet"
        sha256 = file_sha256(self._partial)
        try:
            # What stands there already is not believed: it may be damaged.
            self._partial.replace(path)
        except OSError as error:
            raise self._unwritable(error) from error
        self._partial = None
        file = DatasetFile(name=path.name, sha256=sha256, size=size, rows=self._rows)
        return Snapshot(digest=digest, path=path, file=file)

    def _write_group(self) -> None:
        if self._writer is None or self._partial is None:
            return
        group = pa.concat_tables(self._pending).combine_chunks()
        self._pending, self._pending_rows = [], 0
        try:
            self._writer.write_table(group, row_group_size=_GROUP_ROWS)
        except (pa.ArrowException, OSError) as error:
            raise self._unwritable(error) from error
        self._rows += group.num_rows
        if self._policy.mode == "auto" and self._partial.stat().st_size > self._policy.max_bytes:
            self._give_up()

    def _give_up(self) -> None:
        writer, partial = self._writer, self._partial
        self._writer = self._partial = None
        self._pending, self._pending_rows = [], 0
        try:
            if writer is not None:
                writer.close()
        except (pa.ArrowException, OSError) as error:
            raise self._unwritable(error) from error
        finally:
            if partial is not None:
                partial.unlink(missing_ok=True)

    def _unwritable(self, error: Exception) -> DataError:
        detail = str(error).partition("\n")[0]
        problem = f"no snapshot can be written in {self._folder}: {detail}. Set the snapshots' mode to never."
        return DataError(self._source, problem)


def store_snapshot(
    table: pa.Table, folder: Path, *, digest: str, policy: SnapshotPolicy | None = None, source: str = "table"
) -> Snapshot | None:
    """Keep a table as ``<digest>.parquet`` in a folder, if the policy is to store it.

    Args:
        table: The table.
        folder: Where snapshots are kept; the same content is there once.
        digest: The content digest of the table.
        policy: Which tables are stored; the defaults of SnapshotPolicy if None.
        source: What error messages call the table.

    Returns:
        What was stored, or None.

    Raises:
        DataError: The file cannot be written, or a column's type cannot be kept in Parquet.
    """
    with SnapshotWriter(table.schema, folder, policy=policy or SnapshotPolicy(), source=source) as writer:
        writer.update(table)
        return writer.finish(digest)


def read_snapshot(path: Path, *, digest: str | None = None) -> pa.Table:
    """Return the table of a snapshot after its content has been digested again.

    Args:
        path: The file.
        digest: The content digest that is expected; None for the one in the file's name.

    Raises:
        UnreadableTableError: The file is damaged, or holds another content.
        DataError: There is no such file.
    """
    expected = path.stem if digest is None else digest
    try:
        with pq.ParquetFile(
            path, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True, memory_map=False
        ) as file:
            schema = file.schema_arrow
            batches = list(file.iter_batches(batch_size=_BATCH_ROWS))
            table = pa.Table.from_batches(batches, schema=schema)
            table.validate(full=True)
    except FileNotFoundError as error:
        raise DataError(str(path), "no such file, expected a snapshot.") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        detail = str(error).partition("\n")[0]
        raise UnreadableTableError(str(path), f"the snapshot is damaged: {detail}. Fetch it again.") from error
    digester = ContentDigester(table.schema, source=str(path))
    digester.update(table)
    if digester.hexdigest() != expected:
        problem = f"its content has the digest {digester.hexdigest()}, expected {expected}. Fetch it again."
        raise UnreadableTableError(str(path), problem)
    return table
