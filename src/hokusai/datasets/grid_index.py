"""Candidates for near rows, from keys of grid cells.

Each key is made of a group of columns, and the groups share none, so that a copy with fewer replaced columns than
there are groups has the right cells in one of them. A reference row is filed under every cell that a copy of it may
fall into.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hokusai.datasets.mixed_columns import spread
from hokusai.datasets.word_hashes import mixed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hokusai.datasets.mixed_columns import Values

__all__ = ["PAIRS_AT_ONCE", "Candidates", "GridIndex", "column_groups"]

PAIRS_AT_ONCE = 1 << 21
_REACH = 3.5  # radii: how far a value may move and still be in a cell that the reference row is filed under
_CELL = 2.5  # reaches: the width of a cell
_MOST_NUMBERS_PER_KEY = 5  # each doubles the cells that a reference row may be filed under
_LONGEST_BUCKET = 512  # reference rows compared with a candidate, per key
_CANDIDATE_BITS = 7  # binary logarithm of the reference rows that may have a candidate's key on average
_SAMPLE = 8_192  # rows from which the spread of cells is estimated
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs to compare, each array of shape (pairs,), and the order in which their columns decide soonest."""

    rows: NDArray[np.int64]
    references: NDArray[np.int64]
    order: Sequence[int]


class GridIndex:
    """Reference rows by the cells that they, and noisy copies of them, fall into.

    Attributes:
        rows: The reference rows that are filed.
        groups: The columns of each key.
    """

    def __init__(self, reference: Values, *, rows: NDArray[np.int64], groups: list[list[int]], radius: float) -> None:
        self.rows, self.groups = rows, groups
        self._width = _CELL * _REACH * radius
        self._tables = []
        for group in groups:
            others = [at for at in range(len(reference.columns)) if at not in group]
            self._tables.append(_KeyTable(reference, rows=rows, group=group, others=others, width=self._width))

    def candidates(self, values: Values) -> Iterator[Candidates]:
        """Pairs with the same key, some millions at most at a time."""
        for table in self._tables:
            yield from table.candidates(values)


class _KeyTable:
    """One key: a hash table from cells of a group of columns to reference rows."""

    def __init__(
        self, reference: Values, *, rows: NDArray[np.int64], group: list[int], others: list[int], width: float
    ) -> None:
        self._group, self._width = group, width
        self._order = [*others, *group]
        keys = np.zeros(len(rows), dtype=np.uint64)
        places = np.arange(len(rows), dtype=np.int32)
        for at in group:
            # A row may be filed many times: its cells are found once.
            own = reference.columns[at][rows]
            low = _cells(own, width=width, offset=-width / _CELL)
            high = _cells(own, width=width, offset=width / _CELL)
            both = np.flatnonzero((low != high)[places])
            again = places[both]
            keys *= _PRIME
            keys = np.concatenate((keys + low[places], keys[both] + high[again]))
            places = np.concatenate((places, again))
            keys = mixed(keys)
        filed = rows[places]
        # A sort of plain numbers is much faster than an indirect one: the row takes the place of the key's last bits,
        # without which keys of different cells are still all but surely different.
        self._row_bits = np.uint64(len(reference).bit_length())
        entries = keys >> self._row_bits
        entries <<= self._row_bits
        entries |= filed.view(np.uint64)
        entries.sort()
        self._keys = entries >> self._row_bits
        self._filed = (entries ^ (self._keys << self._row_bits)).view(np.int64)
        bits = max(8, len(keys).bit_length())
        self._shift = np.uint64(64 - bits)
        counts = np.bincount((entries >> self._shift).view(np.int64), minlength=1 << bits)
        self._starts = np.concatenate(([0], np.cumsum(counts)))

    def candidates(self, values: Values) -> Iterator[Candidates]:
        """Pairs with the same key, some millions at most at a time."""
        keys = np.zeros(len(values), dtype=np.uint64)
        for at in self._group:
            keys = mixed(keys * _PRIME + _cells(values.columns[at], width=self._width))
        buckets = (keys >> self._shift).view(np.int64)
        starts = self._starts[buckets]
        counts = np.minimum(self._starts[buckets + 1] - starts, _LONGEST_BUCKET)
        ends = np.cumsum(counts)
        first = 0
        while first < len(keys):
            before = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + PAIRS_AT_ONCE, side="right")))
            some = counts[first:last]
            rows = np.repeat(np.arange(first, last), some)
            places = np.arange(before, before + len(rows)) + np.repeat(
                starts[first:last] - ends[first:last] + some, some
            )
            same = np.flatnonzero(self._keys[places] == keys[rows] >> self._row_bits)
            yield Candidates(rows[same], self._filed[places[same]], self._order)
            first = last


def column_groups(reference: Values, *, radius: float, most: int) -> list[list[int]]:
    """Columns for as many keys as give few enough candidates each; every column is in one key at most.

    Args:
        reference: The rows that will be filed.
        radius: How far a copy's numbers move, in standard deviations.
        most: How many keys are of use.
    """
    sample = [spread(column, _SAMPLE) for column in reference.columns]
    width = (_CELL + 2) * _REACH * radius
    cells = [mixed(_cells(column, width=width)) for column in sample]
    is_number = [column.dtype == np.float32 for column in sample]
    alone = [_telling_bits(cell) for cell in cells]
    order = sorted(range(len(cells)), key=lambda at: -alone[at])
    for count in range(min(most, len(cells)), 0, -1):
        groups: list[list[int]] = [[] for _ in range(count)]
        joint = [np.zeros(len(cells[0]), dtype=np.uint64) for _ in range(count)]
        bits = [0.0] * count
        for at in order:
            place = min(range(count), key=bits.__getitem__)
            full = sum(is_number[other] for other in groups[place]) >= _MOST_NUMBERS_PER_KEY
            if bits[place] >= np.log2(len(reference)) + 3 or (full and is_number[at]):
                continue
            together = mixed(joint[place] * _PRIME + cells[at])
            gained = _telling_bits(together)
            if gained > bits[place] + 0.3:
                groups[place], joint[place], bits[place] = [*groups[place], at], together, gained
        if count == 1 or min(bits) >= np.log2(len(reference)) - _CANDIDATE_BITS:
            return groups
    return []


def _cells(values: NDArray[Any], *, width: float, offset: float = 0.0) -> NDArray[np.uint64]:
    """The grid cell of each number; a category is its own cell, and so is a missing value."""
    if values.dtype != np.float32:
        return values
    with np.errstate(invalid="ignore"):
        cells = np.floor((values.astype(np.float64) + offset) / width)
        return np.where(np.isnan(cells), np.int64(1 << 62), np.nan_to_num(cells).astype(np.int64)).view(np.uint64)


def _telling_bits(cells: NDArray[np.uint64]) -> float:
    """Minus the binary logarithm of the chance that two different rows are in one cell."""
    counts = np.unique(cells, return_counts=True)[1]
    pairs = len(cells) * (len(cells) - 1) / 2
    return float(-np.log2(max((counts * (counts - 1) / 2).sum(), 0.5) / max(pairs, 1)))
