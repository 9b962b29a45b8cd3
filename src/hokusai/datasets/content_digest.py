"""The digest of a table's content: TABHASH v1, as ``docs/formats/content-digest.md`` lays it down byte by byte.

Two tables have one digest when they have the same columns, of the same logical types, with the same values in the
same order of rows. How the values are stored (batches, slices, dictionaries, wide or narrow integers, what lies
under a null) is not content. Nothing here opens a file, and nothing is approximate.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import numpy as np

from hokusai.datasets.arrow_values import joined
from hokusai.datasets.column_encoding import body
from hokusai.datasets.logical_types import encoded_schema, fields_of
from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from hokusai.datasets.logical_types import ColumnOrder, Field

__all__ = ["ContentDigester", "content_digest", "digest_header"]

_CHUNK_ROWS = 1 << 16
_SHA256 = 1
_ORDER_FLAG: dict[ColumnOrder, int] = {"name": 0, "table": 1}


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
            got, expected = (
                ", ".join(f"{field.name}: {field.type}" for field in schema) for schema in (batch.schema, self._schema)
            )
            raise DataError(self._source, f"a batch has the columns ({got}), expected ({expected}). Cast it first.")
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
                [joined(part, field, copy=True) for part, field in zip(parts, self._fields, strict=True)]
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
            chunk_log2=_CHUNK_ROWS.bit_length() - 1,
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
    digester.update(table)
    return digester.hexdigest()


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
