"""The digest of a table's content: TABHASH v1, as ``docs/formats/content-digest.md`` lays it down byte by byte.

Two tables have one digest when they have the same columns, of the same logical types, with the same values in the
same order of rows. How the values are stored (batches, slices, dictionaries, wide or narrow integers, what lies
under a null) is not content. Nothing here opens a file, and nothing is approximate.

A table that grows need not be hashed again: the state of a digester goes on where it stopped, here or in another
process.
"""

from __future__ import annotations

import hashlib
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hokusai.datasets.arrow_values import joined, plain
from hokusai.datasets.column_encoding import body
from hokusai.datasets.logical_types import encoded_schema, fields_of
from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hokusai.datasets.logical_types import ColumnOrder, Field

__all__ = ["ContentDigester", "DigestState", "content_digest", "digest_batches", "digest_header"]

_CHUNK_LOG2 = 16
_CHUNK_ROWS = 1 << _CHUNK_LOG2
_DIGEST_BYTES = 32
_SHA256 = 1
_ORDER_FLAG: dict[ColumnOrder, int] = {"name": 0, "table": 1}
_ORDERS: dict[int, ColumnOrder] = {flag: order for order, flag in _ORDER_FLAG.items()}
_STATE_MAGIC = b"TABHASHS"
_STATE_VERSION = 1
_STATE_HEADER = struct.Struct("<8sBBBBQII")


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestState:
    """How far a digester has come: all that is needed to go on, but not the rows of whole chunks.

    The last rows, fewer than 65,536, are kept as they are: a state is as confidential as its table.

    Attributes:
        rows: Rows so far.
        column_order: Whether the order of the columns is content.
        schema: The columns, as Arrow IPC writes a schema.
        chunks: The digests of the whole chunks, 32 bytes each, one after the other.
        tail: The rows after the last whole chunk, as an Arrow IPC stream.
    """

    rows: int
    column_order: ColumnOrder
    schema: bytes
    chunks: bytes
    tail: bytes

    def to_bytes(self) -> bytes:
        """Return the state as ``docs/formats/content-digest.md`` lays it down, with its own SHA-256 at the end."""
        flag = _ORDER_FLAG[self.column_order]
        sizes = (self.rows, len(self.schema), len(self.tail))
        header = _STATE_HEADER.pack(_STATE_MAGIC, _STATE_VERSION, _SHA256, flag, _CHUNK_LOG2, *sizes)
        content = header + self.schema + self.chunks + self.tail
        return content + hashlib.sha256(content).digest()

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str = "digest state") -> DigestState:
        """Return the state that :meth:`to_bytes` wrote.

        Args:
            data: What it wrote.
            source: What error messages call it.

        Raises:
            DataError: It is none, of another version, or damaged.
        """
        content, seal = memoryview(data)[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        if len(content) < _STATE_HEADER.size or not data.startswith(_STATE_MAGIC):
            raise DataError(source, f"it does not begin with {_STATE_MAGIC.decode()}, expected a digest state.")
        version = content[len(_STATE_MAGIC)]
        if version != _STATE_VERSION:
            problem = f"a digest state of version {version}, expected {_STATE_VERSION}. Hash the table again."
            raise DataError(source, problem)
        _, _, algorithm, flag, chunk_log2, rows, schema_size, tail_size = _STATE_HEADER.unpack_from(content)
        chunks_at = _STATE_HEADER.size + schema_size
        tail_at = chunks_at + (rows >> _CHUNK_LOG2) * _DIGEST_BYTES
        is_whole = (
            hashlib.sha256(content).digest() == seal
            and (algorithm, chunk_log2) == (_SHA256, _CHUNK_LOG2)
            and flag in _ORDERS
            and len(content) == tail_at + tail_size
        )
        if not is_whole:
            raise DataError(
                source, "the digest state is damaged: its SHA-256 or sizes are wrong. Hash the table again."
            )
        return cls(
            rows=rows,
            column_order=_ORDERS[flag],
            schema=data[_STATE_HEADER.size : chunks_at],
            chunks=data[chunks_at:tail_at],
            tail=data[tail_at:-_DIGEST_BYTES],
        )


class ContentDigester:
    """Digests a table that arrives in batches, holding at most one chunk of 65,536 rows.

    The digest depends on the rows and their order, never on where one batch ends and the next begins.

    >>> import pyarrow as pa
    >>> digester = ContentDigester(pa.schema([("a", pa.int8())]))
    >>> digester.update(pa.record_batch({"a": pa.array([1], pa.int8())}))
    >>> digester.hexdigest()[:16]
    'ec569f2252c33315'
    """

    def __init__(self, schema: pa.Schema, *, column_order: ColumnOrder = "name", source: str = "table") -> None:
        """Start with no rows.

        Args:
            schema: The columns; every batch must have exactly these names and types, in this order.
            column_order: ``"name"`` when the order of the columns is not content, ``"table"`` when it is.
            source: What error messages call the table.

        Raises:
            DataError: Two columns share a name, or a column's type has no content digest.
            ValueError: ``column_order`` is neither of the two.
        """
        self._fields = fields_of(schema, column_order=column_order, source=source)
        self._flags = _ORDER_FLAG[column_order]
        self._schema = schema
        self._source = source
        self._rows = 0
        self._chunks: list[bytes] = []
        self._pending: list[list[pa.Array]] = []
        self._pending_rows = 0

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append the rows of a batch; after an error the digester is of no further use.

        Args:
            batch: Any number of rows, none included.

        Raises:
            DataError: The batch's columns are not those of the schema, or a value has no content digest.
        """
        if batch.schema.names != self._schema.names or batch.schema.types != self._schema.types:
            got, expected = _columns_text(batch.schema), _columns_text(self._schema)
            raise DataError(self._source, f"a batch has the columns ({got}), expected ({expected}). Cast it first.")
        self._append(batch, copy=True)

    @classmethod
    def resume(cls, state: DigestState, *, schema: pa.Schema | None = None, source: str = "table") -> ContentDigester:
        """Return a digester that goes on where another one stopped.

        Args:
            state: What the other one's :meth:`state` returned.
            schema: The columns of the batches to come, if Arrow keeps them in another way than before; they must be
                the same to the digest. None for the columns as they were.
            source: What error messages call the table.

        Raises:
            DataError: The schema has other columns, or the state is not a whole one.
        """
        with _translated_state(source):
            before = pa.ipc.read_schema(pa.py_buffer(state.schema))
            tail = pa.ipc.open_stream(state.tail).read_all()
        digester = cls(before if schema is None else schema, column_order=state.column_order, source=source)
        columns = encoded_schema(digester._fields)

        def is_same(other: pa.Schema) -> bool:
            return encoded_schema(fields_of(other, column_order=state.column_order, source=source)) == columns

        if schema is not None and not is_same(before):
            raise DataError(
                source,
                f"the columns are ({_columns_text(schema)}), and so far they were ({_columns_text(before)}). "
                "Cast the new rows, or hash the whole table again.",
            )
        chunks, rest = divmod(state.rows, _CHUNK_ROWS)
        is_whole = len(state.chunks) == chunks * _DIGEST_BYTES and tail.num_rows == rest and is_same(tail.schema)
        if not is_whole:
            raise DataError(source, "the digest state does not hold the rows that it counts. Hash the table again.")
        digester._chunks = [state.chunks[at : at + _DIGEST_BYTES] for at in range(0, len(state.chunks), _DIGEST_BYTES)]
        if rest:
            kept = [digester._as_to_come(tail.column(field.column), field) for field in digester._fields]
            digester._pending, digester._pending_rows = [kept], rest
        digester._rows = state.rows
        return digester

    def _as_to_come(self, column: pa.ChunkedArray, field: Field) -> pa.Array:
        """Store kept values as those to come are stored, because a chunk is hashed from values of one type."""
        array = joined([column], field)
        wanted = plain(pa.array([], self._schema.field(field.position).type)).type
        try:
            return array.cast(wanted)
        except pa.ArrowException as error:
            problem = (
                f"the rows so far do not fit the type {wanted} ({error}). Give the new rows the type {array.type}."
            )
            raise field.error(problem) from error

    def state(self) -> DigestState:
        """How far this digester has come; more rows may follow here, and the same or others elsewhere."""
        by_position = sorted(range(len(self._fields)), key=lambda at: self._fields[at].position)
        columns, names = [], []
        for at in by_position:
            field = self._fields[at]
            empty = pa.array([], self._schema.field(field.position).type)
            columns.append(joined([part[at] for part in self._pending], field) if self._pending else empty)
            names.append(field.column)
        tail = pa.table(columns, names=names)
        sink = pa.BufferOutputStream()
        with _translated_state(self._source), pa.ipc.new_stream(sink, tail.schema) as writer:
            writer.write_table(tail)
        schema = pa.schema([(field.name, field.type) for field in self._schema])
        return DigestState(
            rows=self._rows,
            column_order=_ORDERS[self._flags],
            schema=schema.serialize().to_pybytes(),
            chunks=b"".join(self._chunks),
            tail=sink.getvalue().to_pybytes(),
        )

    def _append(self, batch: pa.RecordBatch | pa.Table, *, copy: bool) -> None:
        start = 0
        while start < batch.num_rows:
            rows = min(_CHUNK_ROWS - self._pending_rows, batch.num_rows - start)
            parts = [[batch.column(field.position).slice(start, rows)] for field in self._fields]
            start += rows
            if rows == _CHUNK_ROWS:
                self._chunks.append(self._chunk_digest(parts, rows))
                continue
            # A copy, because a slice would keep the whole batch that it was cut from alive.
            self._pending.append(
                [joined(part, field, copy=copy) for part, field in zip(parts, self._fields, strict=True)]
            )
            self._pending_rows += rows
            if self._pending_rows == _CHUNK_ROWS:
                self._chunks.append(self._pending_digest())
                self._pending, self._pending_rows = [], 0
        self._rows += batch.num_rows

    def hexdigest(self) -> str:
        """The digest of the rows so far, 64 hexadecimal digits; more rows may follow."""
        chunks = [*self._chunks, self._pending_digest()] if self._pending_rows else self._chunks
        header = digest_header(
            b"TABHASH1",
            flags=self._flags,
            chunk_log2=_CHUNK_LOG2,
            rows=self._rows,
            schema=encoded_schema(self._fields),
        )
        return hashlib.sha256(header + _tree_root(chunks)).hexdigest()

    def _pending_digest(self) -> bytes:
        parts = [[columns[at] for columns in self._pending] for at in range(len(self._fields))]
        return self._chunk_digest(parts, self._pending_rows)

    def _chunk_digest(self, parts: Sequence[Sequence[pa.Array | pa.ChunkedArray]], rows: int) -> bytes:
        digest = hashlib.sha256(b"\x02" + struct.pack("<I", rows))
        for field, columns in zip(self._fields, parts, strict=True):
            digest.update(_leaf(joined(columns, field), field))
        return digest.digest()


def content_digest(table: pa.Table, *, column_order: ColumnOrder = "name", source: str = "table") -> str:
    """The digest of a table's content.

    Args:
        table: The table, read under a declared schema: ``1`` as an integer and ``1`` as text are different content.
        column_order: ``"name"`` when the order of the columns is not content, ``"table"`` when it is.
        source: What error messages call the table.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: Two columns share a name, or a column's type or one of its values has no content digest.
        ValueError: ``column_order`` is neither of the two.
    """
    digester = ContentDigester(table.schema, column_order=column_order, source=source)
    digester._append(table, copy=False)  # noqa: SLF001  (the table outlives this call)
    return digester.hexdigest()


def digest_batches(
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch | pa.Table],
    *,
    column_order: ColumnOrder = "name",
    source: str = "table",
) -> str:
    """The digest of a table that comes in batches, such as those of a Parquet file; see :func:`content_digest`.

    Args:
        schema: The columns, which every batch must have.
        batches: The rows in their order. Batches of 65,536 rows spare a copy.
        column_order: ``"name"`` when the order of the columns is not content, ``"table"`` when it is.
        source: What error messages call the table.

    Raises:
        DataError: As :func:`content_digest`, and when a batch has other columns.
        ValueError: ``column_order`` is neither of the two.
    """
    digester = ContentDigester(schema, column_order=column_order, source=source)
    for batch in batches:
        digester.update(batch)
    return digester.hexdigest()


def _columns_text(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


@contextmanager
def _translated_state(source: str) -> Iterator[None]:
    """Turn what Arrow raises about a state that is none into our error."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        problem = f"Arrow cannot keep or read the last rows of the digest state: {error}. Hash the table again."
        raise DataError(source, problem) from error


def _leaf(array: pa.Array, field: Field) -> bytes:
    digest = hashlib.sha256(b"\x00" + field.encoding + struct.pack("<I", len(array)))
    with field.translated():
        pieces = body(array, field, np.array([0, len(array)]))
    for piece in pieces:
        digest.update(piece.data.data)
    return digest.digest()


def _tree_root(chunks: Sequence[bytes]) -> bytes:
    """The root of RFC 6962's tree over chunk digests."""
    if not chunks:
        return hashlib.sha256().digest()
    if len(chunks) == 1:
        return chunks[0]
    split = 1 << ((len(chunks) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + _tree_root(chunks[:split]) + _tree_root(chunks[split:])).digest()


def digest_header(tag: bytes, *, flags: int, chunk_log2: int, rows: int, schema: bytes) -> bytes:
    """What is hashed in front of the rows.

    Args:
        tag: Eight bytes that say which digest it is.
        flags: 1 when the order of the columns is content, else 0.
        chunk_log2: The binary logarithm of the rows in a chunk, 0 without chunks.
        rows: Rows of the table.
        schema: The encoded schema.
    """
    return tag + struct.pack("<BBBQI", _SHA256, flags, chunk_log2, rows, len(schema)) + schema
