"""When two rows are the same but for their spelling: what normalisation keeps of a value, and keys to find it by.

Texts are equal after NFKC, casefold and collapsed white space, without invisible characters, quotes around them and
punctuation at their end; an empty text is a missing value. Floats are equal when they differ by less than rounding to
six significant digits changes (5e-6 of the value; above 1.1e-5 they are never equal). Timestamps are equal in whole
seconds. Integers, decimals, dates, times and booleans are what they are, and a text is never a number.

Equality of floats is no equivalence, so it cannot be hashed. Each float is put into a wide cell, and the few that
stand near the edge of theirs are looked up in the neighbouring one too; levels then tell whether two rows of one cell
are near enough. Keys hold for one process: they are made with numbers that it draws.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hokusai.datasets.arrow_values import fixed_width, joined, moments, validity
from hokusai.datasets.logical_types import MOMENTS, TEXT, TypeCode
from hokusai.datasets.text_normalisation import TextNumbers
from hokusai.datasets.value_hashes import HASHES, PlacedTexts, ValueHasher, mixed_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from hokusai.datasets.logical_types import Field

__all__ = ["FeatureNormaliser", "RowFeatures"]

_MAGNITUDE = np.int64(2**63 - 1)
_LEVEL_SHIFT = 31  # a level is a float's exponent and 21 bits of its mantissa
_TOLERANCE = 22  # levels: 5e-6 of the value is at most 21 of them, and one more for what the shift cut off
_MARGIN = (_TOLERANCE + 1) << _LEVEL_SHIFT
_MOST_LEVELS = 8
_MOST_NEIGHBOURS = 4  # a row near this many edges at once has 15 further keys


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFeatures:
    """What a FeatureIndex needs to know of some rows.

    Attributes:
        keys: Shape (rows,), dtype uint64: equal rows have equal keys, but for floats near the edge of a cell.
        levels: Shape (rows, levels), dtype uint32: equal rows have levels that are near each other.
        neighbour_rows: Shape (neighbours,): the rows that have floats near an edge, each once for every further key.
        neighbour_keys: Shape (neighbours,), dtype uint64: the keys that equal rows may have instead.
        hashes: Shape (HASHES, rows), dtype uint64: rows that are the very same have the same ones, and no others do.
    """

    keys: NDArray[np.uint64]
    levels: NDArray[np.uint32]
    neighbour_rows: NDArray[np.int64]
    neighbour_keys: NDArray[np.uint64]
    hashes: NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """One column of floats: what it adds to keys and levels, and in the rows near an edge, how the key would change."""

    added: NDArray[np.uint64]
    levels: NDArray[np.uint32]
    near: NDArray[np.intp]
    changes: NDArray[np.uint64]


class FeatureNormaliser:
    """Makes the keys of tables of one schema.

    Args:
        fields: The columns to compare.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = tuple(fields)
        self._seeds = [np.uint64(secrets.randbits(64)) for _ in fields]
        self._hashers = [ValueHasher(field) for field in fields]
        self._text_numbers = [TextNumbers(hasher) for hasher in self._hashers]
        floats = sum(field.code is TypeCode.FLOAT for field in fields)
        self._groups = min(floats, _MOST_LEVELS)
        # The more floats, the wider the cells: about 1 row in 20 has a neighbour, however many columns there are.
        self._shift = 41 + min(floats, 1023).bit_length()
        members = np.bincount(np.arange(floats) % max(self._groups, 1), minlength=self._groups)
        self.tolerances = (members[: self._groups] * _TOLERANCE).astype(np.uint32)

    def features(self, table: pa.Table) -> RowFeatures:
        """The keys and levels of each row; the table is at most 65,536 rows long."""
        keys = np.zeros(table.num_rows, dtype=np.uint64)
        levels = np.zeros((self._groups, table.num_rows), dtype=np.uint32)
        hashes = np.zeros((HASHES, table.num_rows), dtype=np.uint64)
        near: list[_Cells] = []
        floats = 0
        if table.num_rows:
            for place, (field, seed) in enumerate(zip(self._fields, self._seeds, strict=True)):
                array = joined([table.column(field.position)], field)
                placed = PlacedTexts.of(array) if field.code in TEXT else None
                own = self._hashers[place].hashes(array, placed)
                hashes += own
                if placed is not None:
                    find = self._text_numbers[place].numbers
                    keys += mixed_numbers(find(array, placed, own, is_binary=field.code is TypeCode.BINARY), seed)
                elif field.children or field.code is TypeCode.STRUCT:
                    keys += mixed_numbers(own[0], seed)
                elif field.code is TypeCode.FLOAT:
                    cells = self._cells(array, field, seed, number=floats)
                    keys += cells.added
                    levels[floats % self._groups] += cells.levels
                    near.append(cells)
                    floats += 1
                else:
                    keys += self._exact(array, field, seed)
        rows, neighbours = _neighbours(keys, near)
        return RowFeatures(
            keys=keys,
            levels=np.ascontiguousarray(levels.T),
            neighbour_rows=rows,
            neighbour_keys=neighbours,
            hashes=hashes,
        )

    def _exact(self, array: pa.Array, field: Field, seed: np.uint64) -> NDArray[np.uint64]:
        """What values that have no tolerance add to the keys of their rows."""
        if field.code is TypeCode.NULL:
            return np.zeros(len(array), dtype=np.uint64)
        if field.code in MOMENTS:
            numbers: NDArray[Any] = moments(array, field)[0] // 1_000_000
        else:
            numbers = fixed_width(array, field, fold_negative_zero=True)
            if field.code is TypeCode.DECIMAL:
                low, high = np.ascontiguousarray(numbers).view("<u8").reshape(-1, 2).T
                numbers = low + mixed_numbers(high, seed)
        added = mixed_numbers(numbers.astype(np.int64, copy=False).view(np.uint64), seed)
        valid = validity(array)
        if valid is not None:
            added[~valid] = 0
        return added

    def _cells(self, array: pa.Array, field: Field, seed: np.uint64, *, number: int) -> _Cells:
        """Put each value of a column of floats, the one of this number, into its cell."""
        values = fixed_width(array, field, fold_negative_zero=True)
        bits = np.ascontiguousarray(values).view(np.int64)
        # Short numbers have many zero bits at their end: the edges are put where those do not stand, and elsewhere in
        # every column, as equal values in many columns would else be near an edge together.
        offset = (2 * (number * 11 % 32) + 1) << (self._shift - 6)
        shifted = (bits & _MAGNITUDE) + np.int64(offset)
        cells = shifted >> self._shift
        signs = bits >> 63
        added = mixed_numbers((cells ^ signs).view(np.uint64), seed)
        missing = np.isnan(values)
        valid = validity(array)
        if valid is not None:
            missing |= ~valid
        added[missing] = 0
        levels = ((bits >> _LEVEL_SHIFT) & np.int64(2**32 - 1) ^ signs).astype(np.uint32)
        levels[missing] = 0
        inside = (shifted & np.int64((1 << self._shift) - 1)) - _MARGIN
        rows = np.flatnonzero((inside.view(np.uint64) >= np.uint64((1 << self._shift) - 2 * _MARGIN)) & ~missing)
        side = np.where(inside[rows] < 0, -1, 1)
        others = ((cells[rows] + side) ^ signs[rows]).view(np.uint64)
        return _Cells(added=added, levels=levels, near=rows, changes=mixed_numbers(others, seed) - added[rows])


def _neighbours(keys: NDArray[np.uint64], near: Sequence[_Cells]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Every further key of each row: all ways to put the floats that stand near an edge on its other side."""
    counts = np.zeros(len(keys), dtype=np.int64)
    changes = np.zeros(len(keys), dtype=np.uint64)
    rows = np.zeros(0, dtype=np.int64)
    further = np.zeros(0, dtype=np.uint64)
    for column in near:
        at = column.near[counts[column.near] < _MOST_NEIGHBOURS]
        counts[at] += 1
        changes[column.near] = column.changes
        marked = np.zeros(len(keys), dtype=np.bool_)
        marked[at] = True
        again = marked[rows]
        more = further[again] + changes[rows[again]]
        rows, further = np.concatenate((rows, at, rows[again])), np.concatenate((further, keys[at] + changes[at], more))
    return rows, further
