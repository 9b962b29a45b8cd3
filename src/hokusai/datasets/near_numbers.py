"""Rows of the benchmark with noise on their numbers, or with a column or two replaced.

Candidates come from keys of grid cells: each key is made of a group of columns, and the groups share none, so that a
copy with fewer replaced columns than there are groups has the right cells in one of them. A reference row is filed
under every cell that a copy of it may fall into. What has the same key is then compared for true.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from hokusai.datasets.mixed_columns import MixedColumns, Values
from hokusai.datasets.nearness import ALLOWED_FALSE_ALARMS, Near, Nearness, joined, percent
from hokusai.datasets.word_hashes import mixed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["NearNumbers"]

_RADII = (0.035, 0.0175, 0.00875)  # standard deviations of the noise on every column
_FEWEST_COLUMNS = 5  # whatever the base says: fewer are too easily alike in data that the base does not resemble
_FOUND = 0.999  # of the copies with noise of one radius
_REACH = 3.5  # radii: how far a value may move and still be in a cell that the reference row is filed under
_CELL = 2.5  # reaches: the width of a cell
_MOST_REPLACED = 2  # columns
_MOST_NUMBERS_PER_KEY = 5  # each doubles the cells that a reference row may be filed under
_LONGEST_BUCKET = 512  # reference rows compared with a candidate, per key
_WINDOW = 3.0  # radii: how near a value must be to count as one that agrees by chance
_ENOUGH_TO_COUNT = 3_000  # base rows: three false alarms among them are the allowed share
_PAIRS_TO_TRY = 20_000_000
_PAIRS_AT_ONCE = 1 << 21
_HOPELESS = 0.02  # share of the first base rows, beyond which the others need not be compared
_FEWEST_TELLING = 0.5  # of the reference rows
_CANDIDATE_BITS = 7  # binary logarithm of the reference rows that may have a candidate's key on average
_POOL, _SAMPLE = 20_000, 8_192  # rows from which the spread of values is estimated
_MISMATCH = 1e30
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """A candidate is near when all but ``replaced`` columns agree within the noise of ``radius``.

    Attributes:
        replaced: How many columns may hold anything.
        radius: In standard deviations.
        is_telling: Which reference rows are rare enough in the columns that remain; shape (reference rows,).
    """

    replaced: int
    radius: float
    is_telling: NDArray[np.bool_]


class NearNumbers:
    """The columns that are no longer texts, ready to be searched for rows near the reference's.

    Attributes:
        verdict: What nearness is worth here.
    """

    def __init__(self, reference: pa.Table, *, base: pa.Table, columns: Sequence[str]) -> None:
        """Index the reference and choose the rules by which next to no base row is near it.

        Args:
            reference: The benchmark.
            base: Rows of the base data that are no exact copies of benchmark rows.
            columns: The columns to compare.
        """
        self._columns = MixedColumns(reference, names=columns)
        self._reference = self._columns.encode(reference)
        self._base = self._columns.encode(base)
        self._rules, share = self._calibrated()
        self._searches = [
            (rules, self._index_for(radius, self._groups(radius)[: rules[-1].replaced + 1], rules))
            for radius in _RADII
            if (rules := [rule for rule in self._rules if rule.radius == radius])
        ]
        self.verdict = self._verdict(share)
        del self._base

    def near(self, table: pa.Table, *, source: str = "table") -> Near:
        """Every pair of a row and a reference row near it; none where nearness is no evidence."""
        values = self._columns.encode(table, source=source)
        found = [
            _apply(pairs, rules, self._unit)
            for rules, index in self._searches
            for pairs in self._compared(values, index, rules)
        ]
        return joined(found)

    def _calibrated(self) -> tuple[tuple[_Rule, ...], float | None]:
        """For no, one and more replaced columns the rule with the widest radius that marks next to no base row.

        Returns:
            The rules, and the share of base rows that they mark; without a rule, the share that the widest one for a
            replaced column would mark; None where there is nothing to measure it on.
        """
        if not len(self._base) or not len(self._columns) or not len(self._reference):
            return (), None
        chosen: dict[int, _Rule] = {}
        shares = 0.0
        for radius in _RADII if len(self._columns) >= _FEWEST_COLUMNS else ():
            groups = self._groups(radius)
            rules = [self._rule(replaced, radius) for replaced in range(len(groups)) if replaced not in chosen]
            rules = [rule for rule in rules if rule.is_telling.mean() >= _FEWEST_TELLING]
            for rule, share in zip(rules, self._shares(rules, radius, groups), strict=True):
                if share < ALLOWED_FALSE_ALARMS / (_MOST_REPLACED + 1):
                    chosen[rule.replaced] = rule
                    shares += share
            if 1 in chosen:
                break
        if chosen:
            return tuple(chosen[replaced] for replaced in sorted(chosen)), shares
        every = np.ones(len(self._reference), dtype=np.bool_)
        return (), self._tried([_Rule(replaced=min(1, len(self._columns) - 1), radius=_RADII[0], is_telling=every)])[0]

    def _rule(self, replaced: int, radius: float) -> _Rule:
        """A reference row tells something when chance, with the columns independent, repeats it rarely enough."""
        bits = np.sort(self._rarity(radius), axis=1)
        remaining = bits[:, : bits.shape[1] - replaced].sum(axis=1)
        ways = comb(len(self._columns), replaced)
        needed = np.log2(len(self._reference) * ways / ALLOWED_FALSE_ALARMS)
        return _Rule(replaced=replaced, radius=radius, is_telling=remaining >= needed)

    def _rarity(self, radius: float) -> NDArray[np.float64]:
        """How many bits it tells that a value agrees with that of a reference row; shape (reference rows, columns)."""
        bits = np.empty((len(self._reference), len(self._columns)))
        for at, (own, base) in enumerate(zip(self._reference.columns, self._base.columns, strict=True)):
            pool = np.concatenate((_spread(own, _POOL), _spread(base, _POOL)))
            bits[:, at] = -np.log2(_shares_near(own, pool, window=_WINDOW * radius))
        return bits

    def _groups(self, radius: float) -> list[list[int]]:
        """Columns for as many keys as give few enough candidates each; every column is in one key at most."""
        sample = [_spread(column, _SAMPLE) for column in self._reference.columns]
        width = (_CELL + 2) * _REACH * radius
        cells = [mixed(_cells(column, width=width)) for column in sample]
        is_number = [column.dtype == np.float32 for column in sample]
        alone = [_telling_bits(cell) for cell in cells]
        order = sorted(range(len(cells)), key=lambda at: -alone[at])
        for count in range(min(_MOST_REPLACED + 1, len(cells)), 0, -1):
            groups: list[list[int]] = [[] for _ in range(count)]
            joint = [np.zeros(len(cells[0]), dtype=np.uint64) for _ in range(count)]
            bits = [0.0] * count
            for at in order:
                place = min(range(count), key=bits.__getitem__)
                full = sum(is_number[other] for other in groups[place]) >= _MOST_NUMBERS_PER_KEY
                if bits[place] >= np.log2(len(self._reference)) + 3 or (full and is_number[at]):
                    continue
                together = mixed(joint[place] * _PRIME + cells[at])
                gained = _telling_bits(together)
                if gained > bits[place] + 0.3:
                    groups[place], joint[place], bits[place] = [*groups[place], at], together, gained
            if count == 1 or min(bits) >= np.log2(len(self._reference)) - _CANDIDATE_BITS:
                return groups
        return []

    def _index_for(self, radius: float, groups: list[list[int]], rules: Sequence[_Rule]) -> _GridIndex:
        is_telling = np.logical_or.reduce([rule.is_telling for rule in rules])
        return _GridIndex(self._reference, rows=np.flatnonzero(is_telling), groups=groups, radius=radius)

    def _shares(self, rules: Sequence[_Rule], radius: float, groups: list[list[int]]) -> list[float]:
        """The share of base rows that each rule marks."""
        shares = self._tried(rules)
        if not rules or len(self._base) < _ENOUGH_TO_COUNT or min(shares) > _HOPELESS:
            return shares
        index = self._index_for(radius, groups, rules)
        marked = np.zeros((len(rules), len(self._base)), dtype=np.bool_)
        for pairs in self._compared(self._base, index, rules):
            for at, rule in enumerate(rules):
                marked[at, _apply(pairs, [rule], self._unit).rows] = True
        return [float(share) for share in marked.mean(axis=1)]

    def _tried(self, rules: Sequence[_Rule]) -> list[float]:
        """The same on so many base rows as can be compared with every reference row.

        Too few rows to show a small share by counting are counted with a wider radius instead: chance neighbours
        become at least eight times as many when the radius doubles, in tables that are not too narrow.
        """
        rows = min(len(self._base), max(1, _PAIRS_TO_TRY // len(self._reference)))
        wider = max(1.0, (_ENOUGH_TO_COUNT / rows) ** 0.5) if len(self._base) < _ENOUGH_TO_COUNT else 1.0
        base = Values(tuple(_spread(column, rows) for column in self._base.columns), rows)
        rules = [
            _Rule(replaced=rule.replaced, radius=rule.radius * wider, is_telling=rule.is_telling) for rule in rules
        ]
        marked = np.zeros((len(rules), rows), dtype=np.bool_)
        at_once = max(1, _PAIRS_AT_ONCE // len(self._reference))
        for start in range(0, rows if rules else 0, at_once):
            some = np.arange(start, min(start + at_once, rows))
            every = np.arange(len(self._reference))
            candidates = _Candidates(np.repeat(some, len(every)), np.tile(every, len(some)), range(len(self._columns)))
            pairs = self._compare(base, candidates, rules)
            for at, rule in enumerate(rules):
                marked[at, _apply(pairs, [rule], self._unit).rows] = True
        return [float(share) for share in marked.mean(axis=1)]

    @property
    def _unit(self) -> float:
        """The sum of squared differences, in squared radii, that hardly any copy with noise exceeds."""
        from scipy.special import chdtri

        return float(chdtri(self._columns.numbers, 1 - _FOUND)) if self._columns.numbers else 1.0

    def _compared(self, values: Values, index: _GridIndex, rules: Sequence[_Rule]) -> Iterator[_Compared]:
        for candidates in index.candidates(values):
            yield self._compare(values, candidates, rules)

    def _compare(self, values: Values, candidates: _Candidates, rules: Sequence[_Rule]) -> _Compared:
        """Sum up squared differences, the largest few apart; pairs beyond every rule are dropped on the way."""
        limit = max(rule.radius for rule in rules) ** 2 * self._unit
        most = max(rule.replaced for rule in rules)
        rows, references = candidates.rows, candidates.references
        rest = np.zeros(len(rows), dtype=np.float32)
        largest = [rest.copy() for _ in range(most)]
        for position, at in enumerate(candidates.order):
            difference = _squared_differences(values.columns[at][rows], self._reference.columns[at][references])
            for place in range(most):
                smaller = np.minimum(largest[place], difference)
                np.maximum(largest[place], difference, out=largest[place])
                difference = smaller
            rest += difference
            if position < most:
                continue
            alive = np.flatnonzero(rest <= limit)
            if len(alive) < 0.8 * len(rows):
                rows, references, rest = rows[alive], references[alive], rest[alive]
                largest = [values_[alive] for values_ in largest]
        sums = [rest]
        for place in reversed(range(most)):
            sums.append(sums[-1] + largest[place])
        return _Compared(rows, references, sums[::-1])

    def _verdict(self, share: float | None) -> Nearness:
        names = self._columns.names
        measured = "" if share is None else f"{percent(share)} of base rows"
        if not names:
            reason = "no column to compare: none but longer texts varies in the benchmark"
        elif share is None:
            reason = "no base row to calibrate on, so nothing is marked"
        elif self._rules:
            most = self._rules[-1]
            also = f", or with {most.replaced} of {len(names)} columns replaced" if most.replaced else ""
            reason = (
                f"copies with noise up to {self._rules[0].radius:.2g} standard deviations{also} are found; {measured} "
                "are as near to a benchmark row"
            )
        else:
            reason = (
                f"too narrow: {len(names)} columns that vary tell too little; {measured} are near a benchmark row by "
                "chance, so nothing is marked"
            )
        return Nearness(
            kind="numbers",
            columns=names,
            is_evidence=bool(self._rules),
            reason=reason,
            expected_false_alarms=share,
            radius=self._rules[0].radius if self._rules else None,
            replaced=self._rules[-1].replaced if self._rules else None,
        )


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Pairs to compare, each array of shape (pairs,), and the order in which their columns decide soonest."""

    rows: NDArray[np.int64]
    references: NDArray[np.int64]
    order: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Compared:
    """Pairs with their squared distances, in squared standard deviations, without the 0, 1, … largest differences."""

    rows: NDArray[np.int64]
    references: NDArray[np.int64]
    sums: Sequence[NDArray[np.float32]]


class _GridIndex:
    """Reference rows by the cells that they, and noisy copies of them, fall into."""

    def __init__(self, reference: Values, *, rows: NDArray[np.int64], groups: list[list[int]], radius: float) -> None:
        self._width = _CELL * _REACH * radius
        self._tables = []
        for group in groups:
            others = [at for at in range(len(reference.columns)) if at not in group]
            self._tables.append(_KeyTable(reference, rows=rows, group=group, others=others, width=self._width))

    def candidates(self, values: Values) -> Iterator[_Candidates]:
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
        filed = rows
        for at in group:
            own = reference.columns[at][filed]
            low = _cells(own, width=width, offset=-width / _CELL)
            high = _cells(own, width=width, offset=width / _CELL)
            both = np.flatnonzero(low != high)
            keys = np.concatenate((mixed(keys * _PRIME + low), mixed(keys[both] * _PRIME + high[both])))
            filed = np.concatenate((filed, filed[both]))
        order = np.lexsort((filed, keys))
        self._keys, self._filed = keys[order], filed[order]
        bits = max(8, len(keys).bit_length())
        self._shift = np.uint64(64 - bits)
        counts = np.bincount((self._keys >> self._shift).view(np.int64), minlength=1 << bits)
        self._starts = np.concatenate(([0], np.cumsum(counts)))

    def candidates(self, values: Values) -> Iterator[_Candidates]:
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
            last = max(first + 1, int(np.searchsorted(ends, before + _PAIRS_AT_ONCE, side="right")))
            some = counts[first:last]
            rows = np.repeat(np.arange(first, last), some)
            places = np.arange(before, before + len(rows)) + np.repeat(
                starts[first:last] - ends[first:last] + some, some
            )
            same = np.flatnonzero(self._keys[places] == keys[rows])
            yield _Candidates(rows[same], self._filed[places[same]], self._order)
            first = last


def _apply(pairs: _Compared, rules: Sequence[_Rule], unit: float) -> Near:
    """The pairs that a rule takes for near; fewer replaced columns are nearer."""
    penalties = np.full(len(pairs.rows), np.inf)
    for rule in reversed(rules):
        squared = pairs.sums[rule.replaced]
        holds = (squared <= rule.radius**2 * unit) & rule.is_telling[pairs.references]
        penalties[holds] = rule.replaced + squared[holds] / (1 + _RADII[0] ** 2 * unit)
    keep = np.isfinite(penalties)
    return Near(pairs.rows[keep], pairs.references[keep], penalties[keep])


def _squared_differences(values: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float32]:
    """Of numbers the squared differences; two missing values agree, and categories agree or do not."""
    if values.dtype != np.float32:
        return np.where(values != others, np.float32(_MISMATCH), np.float32(0))
    difference: NDArray[np.float32] = values - others
    difference *= difference
    unknown = np.flatnonzero(np.isnan(difference))
    if len(unknown):
        both = np.isnan(values[unknown]) & np.isnan(others[unknown])
        difference[unknown] = np.where(both, 0, _MISMATCH)
    return difference


def _cells(values: NDArray[Any], *, width: float, offset: float = 0.0) -> NDArray[np.uint64]:
    """The grid cell of each number; a category is its own cell, and so is a missing value."""
    if values.dtype != np.float32:
        return values
    with np.errstate(invalid="ignore"):
        cells = np.floor((values.astype(np.float64) + offset) / width)
        return np.where(np.isnan(cells), np.int64(1 << 62), np.nan_to_num(cells).astype(np.int64)).view(np.uint64)


def _spread(values: NDArray[Any], most: int) -> NDArray[Any]:
    """At most so many of the values, evenly spread over the rows."""
    return values if len(values) <= most else values[np.arange(most) * len(values) // most]


def _shares_near(values: NDArray[Any], pool: NDArray[Any], *, window: float) -> NDArray[np.float64]:
    """The share of the pool that agrees with each value, one for a missing value; shape (values,).

    A missing value counts for nothing because it seldom comes alone: chance repeats a row's gaps all at once.
    """
    ordered = np.sort(pool)  # NaN comes last
    if pool.dtype != np.float32:
        counts = np.searchsorted(ordered, values, side="right") - np.searchsorted(ordered, values, side="left")
        return np.where(values == 0, 1.0, np.maximum(counts, 1) / len(pool))
    known = len(pool) - int(np.isnan(pool).sum())
    high = np.searchsorted(ordered[:known], values + np.float32(window), side="right")
    counts = high - np.searchsorted(ordered[:known], values - np.float32(window), side="left")
    return np.where(np.isnan(values), 1.0, np.maximum(counts, 1) / len(pool))


def _telling_bits(cells: NDArray[np.uint64]) -> float:
    """Minus the binary logarithm of the chance that two different rows are in one cell."""
    counts = np.unique(cells, return_counts=True)[1]
    pairs = len(cells) * (len(cells) - 1) / 2
    return float(-np.log2(max((counts * (counts - 1) / 2).sum(), 0.5) / max(pairs, 1)))
