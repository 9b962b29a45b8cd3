"""The digests of rows, TABHASH v1: which rows repeat, which stand in two tables, what a table is in any order.

Two rows have one digest when every column has the same value, whatever the order of the columns and however the
values are stored. Row digests tell whoever can guess a row that the guess is right: they are not for publication.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hokusai.datasets.arrow_values import fixed_width, joined, moments, texts, validity
from hokusai.datasets.column_encoding import Piece, body, bytes_of, kept, lengths_as_u32
from hokusai.datasets.content_digest import digest_header
from hokusai.datasets.logical_types import MOMENTS, TEXT, TypeCode, encoded_schema, fields_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hokusai.datasets.logical_types import Field

__all__ = ["contained_in", "first_occurrences", "multiset_digest", "nested_cells", "row_digests", "sorted_order"]

_ROWS_AT_ONCE = 1 << 16
_ROW_DTYPES = {
    TypeCode.BOOL: "u1",
    TypeCode.INT: "<i8",
    TypeCode.FLOAT: "<f8",
    TypeCode.DATE: "<i4",
    TypeCode.TIME: "<i8",
    TypeCode.DECIMAL: "V16",
}


def _as_binary(piece: Piece) -> pa.Array:
    offsets = np.concatenate(([0], np.cumsum(piece.sizes, dtype=np.int64)))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(piece.data))]
    return pa.Array.from_buffers(pa.large_binary(), len(piece.sizes), buffers)


def _concatenated(pieces: Sequence[Piece]) -> pa.Array:
    """Each segment's bytes of all the pieces, as one binary value per segment."""
    if len(pieces) == 1:
        return _as_binary(pieces[0])
    nothing_between = pa.scalar(b"", pa.large_binary())
    return pc.binary_join_element_wise(*map(_as_binary, pieces), nothing_between)


def nested_cells(array: pa.Array, field: Field, *, fold_negative_zero: bool) -> Piece:
    """The body of each row's nested value, and no bytes where it is null."""
    pieces = body(array, field, np.arange(len(array) + 1), fold_negative_zero=fold_negative_zero)
    valid = validity(array)
    if valid is not None:
        pieces = [kept(piece, valid) for piece in pieces]
    sizes = np.sum([piece.sizes for piece in pieces], axis=0)
    data = np.frombuffer(_concatenated(pieces).buffers()[-1], dtype=np.uint8, count=int(sizes.sum()))
    return Piece(data=data, sizes=sizes)


def _encoded_rows(columns: Sequence[pa.Array], fields: Sequence[Field], *, fold_negative_zero: bool) -> pa.Array:
    """The row encoding of each row, as binary values."""
    rows = len(columns[0])
    nulls = np.zeros((rows, len(fields)), dtype=np.bool_)
    parts: list[tuple[str, NDArray[Any]]] = []
    after: list[Piece] = []
    for at, (array, field) in enumerate(zip(columns, fields, strict=True)):
        valid = validity(array)
        if valid is not None:
            nulls[:, at] = ~valid
        if field.code is TypeCode.NULL:
            continue
        if field.code in _ROW_DTYPES:
            parts.append((_ROW_DTYPES[field.code], fixed_width(array, field, fold_negative_zero=fold_negative_zero)))
        elif field.code in MOMENTS:
            parts += zip(("<i8", "<u2"), moments(array, field), strict=True)
        else:
            if field.code in TEXT:
                lengths, data = texts(array)
                after.append(Piece(data=data, sizes=lengths))
            else:
                with field.translated():
                    after.append(nested_cells(array, field, fold_negative_zero=fold_negative_zero))
            parts.append(("<u4", lengths_as_u32(after[-1].sizes, field)))
    names = [f"part {at}" for at in range(len(parts))]
    bitmap = np.packbits(nulls, axis=1, bitorder="little")
    block = np.empty(rows, dtype=[("nulls", "u1", bitmap.shape[1:]), *zip(names, (p[0] for p in parts), strict=True)])
    block["nulls"] = bitmap
    for name, (_, values) in zip(names, parts, strict=True):
        block[name] = values
    sizes = np.full(rows, block.dtype.itemsize, dtype=np.int64)
    return _concatenated([Piece(data=bytes_of(block), sizes=sizes), *after])


def row_digests(table: pa.Table, *, fold_negative_zero: bool = False, source: str = "table") -> NDArray[np.void]:
    """The SHA-256 of each row's content, to tell whether two rows are the same.

    Rows of two tables can be compared when the tables have the same column names and logical types; the order of the
    columns does not matter. Give the digests to ``first_occurrences`` and ``contained_in``. A digest of a row that
    somebody can guess gives the row away: never publish them.

    Args:
        table: The table.
        fold_negative_zero: Whether -0.0 counts as 0.0, as it should when one looks for leaks.
        source: What error messages call the table.

    Returns:
        Shape (rows,), dtype ``V32``, read-only.

    Raises:
        DataError: Two columns share a name, or a column's type or one of its values has no content digest.
    """
    fields = fields_of(table.schema, column_order="name", source=source)
    sha256 = hashlib.sha256
    if not fields:
        return np.frombuffer(sha256().digest() * table.num_rows, dtype="V32")
    digests: list[bytes] = []
    for start in range(0, table.num_rows, _ROWS_AT_ONCE):
        columns = [joined([table.column(field.position).slice(start, _ROWS_AT_ONCE)], field) for field in fields]
        rows = _encoded_rows(columns, fields, fold_negative_zero=fold_negative_zero)
        # Arrow makes the bytes objects faster than Python could slice them.
        digests.append(b"".join([sha256(row).digest() for row in rows.to_numpy(zero_copy_only=False)]))
    return np.frombuffer(b"".join(digests), dtype="V32")


def sorted_order(digests: NDArray[np.void]) -> NDArray[np.intp]:
    """The order that sorts digests as byte strings; equal ones stay in the order they came in."""
    words = np.ascontiguousarray(digests).view(">u8").reshape(-1, 4)
    first = words[:, 0].astype(np.uint64)
    order = np.argsort(first, kind="stable")
    # Eight bytes nearly always decide, but whoever makes rows can also make two that agree in them.
    ties = np.flatnonzero(first[order[1:]] == first[order[:-1]])
    if (words[order[ties]] != words[order[ties + 1]]).any():
        return np.lexsort(words.T[::-1].astype(np.uint64))
    return order


def _first_of_each(digests: NDArray[np.void]) -> NDArray[np.intp]:
    """For each digest the position of the first one that equals it, shape (digests,)."""
    order = sorted_order(digests)
    ordered = np.ascontiguousarray(digests).view("u8").reshape(-1, 4)[order]
    starts = np.ones(len(order), dtype=np.bool_)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(order), dtype=np.intp)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first


def first_occurrences(digests: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which rows show their content for the first time.

    Args:
        digests: Shape (rows,), dtype ``V32``, from ``row_digests``.

    Returns:
        Shape (rows,): True for the first row of each content, False for its repetitions.
    """
    return np.equal(_first_of_each(digests), np.arange(len(digests)))


def contained_in(digests: NDArray[np.void], others: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which rows also stand in another table.

    Args:
        digests: Shape (rows,), dtype ``V32``, from ``row_digests``.
        others: Shape (other rows,), dtype ``V32``: the other table's, made with the same ``fold_negative_zero``.

    Returns:
        Shape (rows,): True where the row's content occurs among the others.
    """
    first = _first_of_each(np.concatenate((others, digests)))
    return np.less(first[len(others) :], len(others))


def multiset_digest(table: pa.Table, *, source: str = "table") -> str:
    """The digest of a table's content when neither the order of rows nor that of columns matters, only how many.

    Args:
        table: The table.
        source: What error messages call the table.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: Two columns share a name, or a column's type or one of its values has no content digest.
    """
    schema = encoded_schema(fields_of(table.schema, column_order="name", source=source))
    digests = row_digests(table, source=source)
    rows = hashlib.sha256(digests[sorted_order(digests)].tobytes()).digest()
    header = digest_header(b"TABHASHM", flags=0, chunk_log2=0, rows=len(digests), schema=schema)
    return hashlib.sha256(header + rows).hexdigest()
