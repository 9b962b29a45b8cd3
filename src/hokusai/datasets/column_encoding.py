"""The body of a run of values, as TABHASH v1 hashes it: flags, bitmap of what is present, value bytes.

A chunk of a column is encoded as one segment. A nested value inside a row is a segment of its own, and all rows are
encoded at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hokusai.datasets.arrow_values import fixed_width, items, moments, plain, texts, validity
from hokusai.datasets.logical_types import MOMENTS, TEXT, TypeCode

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from hokusai.datasets.logical_types import Field

__all__ = ["Piece", "body", "bytes_of", "kept", "lengths_as_u32"]

_HAS_NULLS, _HAS_NANOSECONDS = 1, 2
_LARGEST_U32 = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes of several segments, one segment after the other.

    Attributes:
        data: Shape (bytes,).
        sizes: Shape (segments,): how many of the bytes belong to each segment.
    """

    data: NDArray[np.uint8]
    sizes: NDArray[np.int64]


def bytes_of(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The memory of the values, one after the other, shape (bytes,)."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1)


def lengths_as_u32(lengths: NDArray[np.int64], field: Field) -> NDArray[np.uint32]:
    """Lengths as they are written; one that does not fit is refused."""
    if len(lengths) and int(lengths.max()) > _LARGEST_U32:
        raise field.error(f"one value has length {int(lengths.max())}, expected at most {_LARGEST_U32}. Split it.")
    return lengths.astype("<u4")


def _summed(lengths: NDArray[np.int64], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Running totals of the lengths at the bounds of the segments, shape (segments + 1,)."""
    if len(bounds) == 2:
        return np.array([0, lengths.sum()], dtype=np.int64)
    totals = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    return totals[bounds]


def _counted(marks: NDArray[np.bool_], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many marks stand in each segment, shape (segments,)."""
    if len(bounds) == 2:
        return np.array([np.count_nonzero(marks)], dtype=np.int64)
    return np.diff(_summed(marks.astype(np.int64), bounds))


def _bitmaps(bits: NDArray[np.bool_], bounds: NDArray[np.int64]) -> Piece:
    """One bitmap per segment, each padded to whole bytes."""
    counts = np.diff(bounds)
    sizes = (counts + 7) // 8
    if len(counts) == 1:
        return Piece(data=np.packbits(bits, bitorder="little"), sizes=sizes)
    padding_before = np.cumsum(sizes * 8) - sizes * 8 - bounds[:-1]
    spread = np.zeros(int(sizes.sum()) * 8, dtype=np.bool_)
    spread[np.arange(len(bits)) + np.repeat(padding_before, counts)] = bits
    return Piece(data=np.packbits(spread, bitorder="little"), sizes=sizes)


def kept(piece: Piece, segments: NDArray[np.bool_]) -> Piece:
    """The piece with the bytes of these segments only."""
    if segments.all():
        return piece
    return Piece(data=piece.data[np.repeat(segments, piece.sizes)], sizes=piece.sizes * segments)


def body(array: pa.Array, field: Field, bounds: NDArray[np.int64], *, fold_negative_zero: bool = False) -> list[Piece]:
    """The body of every segment of a column, in pieces.

    A chunk is hashed as one segment. In a row, the nested value of each row is a segment of its own.

    Args:
        array: The values.
        field: Their logical type.
        bounds: Shape (segments + 1,), from 0 to the number of values: where each segment begins and the last one ends.
        fold_negative_zero: Whether -0.0 is written as 0.0.

    Returns:
        The pieces; a segment's body is its bytes of the first piece, then its bytes of the second, and so on.
    """
    array = plain(array)
    counts = np.diff(bounds)
    flags = np.zeros(len(counts), dtype=np.uint8)
    pieces = [Piece(data=flags, sizes=np.ones(len(counts), dtype=np.int64))]
    valid = validity(array)
    if valid is not None:
        with_nulls = _counted(~valid, bounds) > 0
        flags |= with_nulls.astype(np.uint8) * np.uint8(_HAS_NULLS)
        pieces.append(kept(_bitmaps(valid, bounds), with_nulls))
    if field.code is TypeCode.NULL:
        return pieces
    if field.code in MOMENTS:
        microseconds, nanoseconds = moments(array, field)
        pieces.append(Piece(data=bytes_of(microseconds), sizes=counts * 8))
        if nanoseconds.any():
            with_nanoseconds = _counted(nanoseconds != 0, bounds) > 0
            flags |= with_nanoseconds.astype(np.uint8) * np.uint8(_HAS_NANOSECONDS)
            pieces.append(kept(Piece(data=bytes_of(nanoseconds), sizes=counts * 2), with_nanoseconds))
    elif field.code in TEXT:
        lengths, data = texts(array)
        pieces.append(Piece(data=bytes_of(lengths_as_u32(lengths, field)), sizes=counts * 4))
        is_one = len(counts) == 1
        pieces.append(Piece(data=data, sizes=np.array([len(data)]) if is_one else np.diff(_summed(lengths, bounds))))
    elif field.children or field.code is TypeCode.STRUCT:
        pieces += _nested_pieces(array, field, bounds, fold_negative_zero=fold_negative_zero)
    else:
        values = fixed_width(array, field, fold_negative_zero=fold_negative_zero)
        if field.code is TypeCode.BOOL:
            pieces.append(_bitmaps(values, bounds))
        else:
            pieces.append(Piece(data=bytes_of(values), sizes=counts * values.dtype.itemsize))
    return pieces


def _nested_pieces(
    array: pa.Array, field: Field, bounds: NDArray[np.int64], *, fold_negative_zero: bool
) -> list[Piece]:
    pieces = []
    if field.code is TypeCode.STRUCT:
        members = array.flatten()
        entries = [members[child.position] for child in field.children]
    else:
        lengths, entries = items(array, field)
        pieces.append(Piece(data=bytes_of(lengths_as_u32(lengths, field)), sizes=np.diff(bounds) * 4))
        bounds = _summed(lengths, bounds)
    for child, values in zip(field.children, entries, strict=True):
        pieces += body(values, child, bounds, fold_negative_zero=fold_negative_zero)
    return pieces
