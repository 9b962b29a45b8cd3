"""Read Parquet and Arrow IPC (Feather version 2) batch by batch, after a look at what the file says about itself.

Sources: https://parquet.apache.org/docs/file-format, https://arrow.apache.org/docs/format/Columnar.html (IPC).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from hokusai.datasets.column_types import (
    ColumnPlace,
    ColumnTargets,
    canonical_column,
    canonical_type,
    fit_column,
    require_column_names,
    require_columns,
    require_field_sizes,
    require_flat_type,
)
from hokusai.datasets.read_settings import require_shape
from hokusai.datasets.table_parts import BATCH_ROWS, TablePart, translated
from hokusai.errors import TableLimitError, UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hokusai.datasets.read_settings import ReadLimits, ReadSettings

__all__ = ["read_arrow", "read_parquet", "typed_batches"]

_PARQUET_MAGIC, _ENCRYPTED_MAGIC = b"PAR1", b"PARE"
_ARROW_MAGIC, _FEATHER_1_MAGIC, _STREAM_MAGIC = b"ARROW1", b"FEA1", b"\xff\xff\xff\xff"
_FOOTER_BYTES = 8
_BUFFER_BYTES = 1 << 20
_LARGEST_RATIO = 1_000
_UNSUSPICIOUS_BYTES = 256 << 20
_MOST_FOOTER_BYTES = 256 << 20


def read_parquet(
    file: BinaryIO,
    *,
    source: str,
    settings: ReadSettings,
    targets: ColumnTargets,
    columns: Sequence[str] | None = None,
) -> TablePart:
    """Read a Parquet file; page checksums are verified where there are any.

    Raises:
        UnreadableTableError: It is no Parquet file, is damaged, or is beyond a limit.
        SchemaMismatchError: A column is missing.
        ValueMismatchError: A value does not fit its column.
    """
    size = _require_parquet_frame(file, source=source)
    with translated(source):
        reader = pq.ParquetFile(
            pa.PythonFile(file, mode="r"),
            pre_buffer=False,
            buffer_size=_BUFFER_BYTES,
            page_checksum_verification=True,
        )
        found, footer = reader.schema_arrow, reader.metadata
    require_shape(source, rows=footer.num_rows, columns=len(found.names), limits=settings.limits)
    _require_sizes(footer, size, source=source, limits=settings.limits)
    wanted, schema = _schema(found, source=source, targets=targets, columns=columns)

    def batches() -> Iterator[pa.RecordBatch]:
        rows = 0
        for batch in reader.iter_batches(batch_size=BATCH_ROWS, columns=list(wanted), use_threads=True):
            rows += batch.num_rows
            yield batch
        if rows != footer.num_rows:
            raise UnreadableTableError(source, f"{rows:,} rows, expected {footer.num_rows:,} as its footer says")

    typed = typed_batches(batches(), wanted, source=source, limits=settings.limits, targets=targets, schema=schema)
    return TablePart(schema=schema, batches=typed)


def _require_parquet_frame(file: BinaryIO, *, source: str) -> int:
    """Refuse a file that does not begin and end as Parquet does, or whose footer is too long; return its size."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    first = file.read(len(_PARQUET_MAGIC))
    if not size:
        raise UnreadableTableError(source, "the file is empty, expected a table")
    if first == _ENCRYPTED_MAGIC:
        raise UnreadableTableError(source, "the Parquet file is encrypted. Decrypt it first.")
    if first != _PARQUET_MAGIC:
        raise UnreadableTableError(source, f"got the first bytes {first!r}, expected {_PARQUET_MAGIC!r} of Parquet")
    room = size - len(_PARQUET_MAGIC) - _FOOTER_BYTES
    file.seek(max(0, size - _FOOTER_BYTES))
    last = file.read(_FOOTER_BYTES)
    file.seek(0)
    if room < 0 or not last.endswith(_PARQUET_MAGIC):
        raise UnreadableTableError(source, "the Parquet file is cut off: its footer is missing. Copy it again.")
    footer = int.from_bytes(last[: -len(_PARQUET_MAGIC)], "little")
    if footer > min(room, _MOST_FOOTER_BYTES):
        problem = f"a footer of {footer:,} bytes, expected at most {min(room, _MOST_FOOTER_BYTES):,}"
        raise UnreadableTableError(source, f"the Parquet file is damaged or cut off: {problem}. Copy it again.")
    return size


def _require_sizes(footer: pq.FileMetaData, size: int, *, source: str, limits: ReadLimits) -> None:
    """Refuse a footer that announces more than the limit, or a bomb: row groups far larger than their bytes.

    What the footer says about single column chunks is not asked for: Arrow ends the process where that is damaged.
    """
    decoded = 0
    for number in range(footer.num_row_groups):
        group = footer.row_group(number).total_byte_size
        decoded += group
        if group < 0 or group > max(_UNSUSPICIOUS_BYTES, _LARGEST_RATIO * size):
            problem = f"row group {number} claims to unpack to {group:,} bytes, in a file of {size:,} bytes. "
            raise UnreadableTableError(source, f"{problem}Write it in smaller row groups if that is right.")
    _require_decoded_size(decoded, source=source, limits=limits)


def _require_decoded_size(decoded: int, *, source: str, limits: ReadLimits) -> None:
    allowed, limit = limits.max_decoded_bytes, "data.limits.max_decoded_bytes"
    if decoded > allowed:
        got = f"{decoded:,} bytes when decoded"
        raise TableLimitError(source, limit=limit, got=got, allowed=allowed, unit="bytes")


def read_arrow(
    file: BinaryIO,
    *,
    source: str,
    settings: ReadSettings,
    targets: ColumnTargets,
    columns: Sequence[str] | None = None,
) -> TablePart:
    """Read an Arrow IPC file or stream, which Feather version 2 is as well. One of its batches is in memory at once.

    Raises:
        UnreadableTableError: It is no such file, is damaged, or is beyond a limit.
        SchemaMismatchError: A column is missing.
        ValueMismatchError: A value does not fit its column.
    """
    first = file.read(len(_ARROW_MAGIC))
    file.seek(0)
    if first.startswith(_FEATHER_1_MAGIC):
        raise UnreadableTableError(source, "it is Feather version 1, expected version 2. Write it again as .arrow.")
    if not first.startswith((_ARROW_MAGIC, _STREAM_MAGIC)):
        raise UnreadableTableError(source, f"got the first bytes {first!r}, expected those of an Arrow file or stream")
    limits = settings.limits
    with translated(source):
        batches = (_ipc_file if first.startswith(_ARROW_MAGIC) else _ipc_stream)(file, source)
        found = next(batches).schema
    require_shape(source, rows=0, columns=len(found.names), limits=limits)
    wanted, schema = _schema(found, source=source, targets=targets, columns=columns)
    chosen = (batch.select(list(wanted)) for batch in batches)
    typed = typed_batches(chosen, wanted, source=source, limits=limits, targets=targets, schema=schema)
    return TablePart(schema=schema, batches=typed)


def _ipc_file(file: BinaryIO, source: str) -> Iterator[pa.RecordBatch]:
    """The batches of an IPC file, after one without rows that has the schema."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - len(_ARROW_MAGIC)))
    if size < 2 * len(_ARROW_MAGIC) or file.read() != _ARROW_MAGIC:
        raise UnreadableTableError(source, "the Arrow file is cut off: its footer is missing. Copy it again.")
    file.seek(0)
    with ipc.open_file(pa.PythonFile(file, mode="r")) as reader:
        yield pa.RecordBatch.from_pylist([], schema=reader.schema)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _ipc_stream(file: BinaryIO, source: str) -> Iterator[pa.RecordBatch]:
    """The batches of an IPC stream, after one without rows that has the schema."""
    with ipc.open_stream(pa.PythonFile(file, mode="r")) as reader:
        yield pa.RecordBatch.from_pylist([], schema=reader.schema)
        yield from reader
    if file.read(1):
        raise UnreadableTableError(source, "bytes follow the end of the Arrow stream. Copy it again.")


def _schema(
    found: pa.Schema, *, source: str, targets: ColumnTargets, columns: Sequence[str] | None
) -> tuple[tuple[str, ...], pa.Schema]:
    """The wanted columns and their final types."""
    require_column_names(found.names, source=source)
    wanted = require_columns(found.names, wanted=columns, source=source)
    fields = []
    for name in wanted:
        own = found.field(name).type
        require_flat_type(own, source=source, name=name)
        target = targets.of(name)
        canonical = canonical_type(own)
        is_float_for_int = pa.types.is_floating(own) and target.type == pa.int64()
        fields.append(
            pa.field(name, canonical if target.type is None or (target.may_widen and is_float_for_int) else target.type)
        )
    return wanted, pa.schema(fields)


def typed_batches(
    batches: Iterator[pa.RecordBatch],
    wanted: Sequence[str],
    *,
    source: str,
    limits: ReadLimits,
    targets: ColumnTargets,
    schema: pa.Schema,
) -> Iterator[pa.RecordBatch]:
    """Batches of canonical types, validated; every value is the one that was stored.

    Raises:
        UnreadableTableError: The batches are damaged, or beyond a limit.
        ValueMismatchError: A value does not fit its column.
    """
    decoded, rows = 0, 0
    while True:
        with translated(source):
            batch = next(batches, None)
            if batch is None:
                return
            batch.validate(full=True)
            require_shape(source, rows=rows + batch.num_rows, columns=len(batch.schema.names), limits=limits)
            decoded += batch.nbytes
            _require_decoded_size(decoded, source=source, limits=limits)
            columns = []
            for name in wanted:
                place = ColumnPlace(source=source, name=name, first_row=rows)
                column = canonical_column(pa.chunked_array([batch.column(name)]), place)
                column = fit_column(column, place, target=targets.of(name))
                require_field_sizes(column, place, limits=limits)
                columns.append(column)
            rows += batch.num_rows
            table = pa.table(columns, schema=schema)
        yield from table.to_batches(max_chunksize=BATCH_ROWS)
