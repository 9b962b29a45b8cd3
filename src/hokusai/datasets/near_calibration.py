"""How near is near enough for numbers and categories: the widest rules that mark next to no honest row.

A large base is counted. A small one cannot show one row in a thousand; there the distances of its rows, and of benchmark
rows among each other, to their nearest benchmark row are extrapolated: the share below a small distance falls with a
power of it (Hill's estimate of the tail), taken a standard error too low.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hokusai.datasets.grid_index import PAIRS_AT_ONCE, Candidates, GridIndex, column_groups
from hokusai.datasets.mixed_columns import Values, spread
from hokusai.datasets.near_rules import MOST_REPLACED, RADII, Rule, noise_limit, telling_rows
from hokusai.datasets.nearness import ALLOWED_FALSE_ALARMS
from hokusai.datasets.row_distances import MISMATCH, distances

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hokusai.datasets.row_distances import Distances

__all__ = ["Calibrated", "calibrated", "index_for"]

_FEWEST_COLUMNS = 5  # whatever the base says: fewer are too easily alike in data that the base does not resemble
_FEWEST_TELLING = 0.5  # of the reference rows
_ENOUGH_TO_COUNT = 3_000  # base rows: three false alarms among them are the allowed share
_PAIRS_TO_TRY = 20_000_000
_HOPELESS = 0.02  # share of the first base rows, beyond which the others need not be compared
_ALLOWED = ALLOWED_FALSE_ALARMS / (MOST_REPLACED + 1)  # by the rules for one number of replaced columns
_TAIL = 0.1  # of the rows are near enough to tell how the share falls
_FEWEST_IN_TAIL = 8  # rows


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The rules chosen.

    Attributes:
        rules: From the widest radius down; empty where nearness is no evidence.
        share: Of the base rows that the rules mark; without a rule, that those for one replaced column would mark;
            None where there is nothing to measure it on.
    """

    rules: tuple[Rule, ...]
    share: float | None


def calibrated(reference: Values, base: Values, *, numbers: int) -> Calibrated:
    """Choose for no, one and two replaced columns the rules with the widest radius that mark next to no base row.

    Args:
        reference: The benchmark.
        base: Base rows that are no exact copies of benchmark rows.
        numbers: How many of the columns are numbers.
    """
    if not len(base) or not base.columns or not len(reference):
        return Calibrated((), None)
    columns = len(base.columns)
    search = _Calibration(reference, base, numbers)
    if columns >= _FEWEST_COLUMNS:
        rules, share = search.choose()
        if rules:
            return Calibrated(rules, share)
    every = np.ones(len(reference), dtype=np.bool_), np.ones(columns, dtype=np.bool_)
    widest = [
        Rule(
            replaced=min(1, columns - 1), radius=RADII[0], for_identical=identical, is_telling=every[0], farthest=every[1]
        )
        for identical in (False, True)
    ]
    return Calibrated((), search.share_of(widest))


def index_for(reference: Values, *, rules: Sequence[Rule], groups: list[list[int]]) -> GridIndex:
    """File the reference rows that rules of one radius search for."""
    is_telling = np.logical_or.reduce([rule.is_telling for rule in rules])
    most = max(rule.replaced for rule in rules)
    return GridIndex(reference, rows=np.flatnonzero(is_telling), groups=groups[: most + 1], radius=rules[0].radius)


@dataclass(slots=True)
class _Calibration:
    """What has been chosen so far."""

    reference: Values
    base: Values
    numbers: int
    chosen: list[Rule] = field(default_factory=list)
    marked: list[NDArray[np.int64]] = field(default_factory=list)  # base rows, by each rule
    spent: dict[tuple[int, bool], float] = field(default_factory=dict)
    open: dict[tuple[int, bool], NDArray[np.bool_]] = field(default_factory=dict)  # columns without a rule yet

    def choose(self) -> tuple[tuple[Rule, ...], float]:
        """Try every radius from the widest down; what a wider one could not be chosen for is left to the next."""
        if len(self.base) < _ENOUGH_TO_COUNT:
            return self._choose_by_extrapolation()
        for radius in RADII:
            rules = self._possible(radius)
            if rules:
                groups = column_groups(self.reference, radius=radius, most=MOST_REPLACED + 1)
                rules = [rule for rule in rules if rule.replaced < len(groups)]
                for rule, (rows, farthest) in zip(rules, self._marks(rules, groups), strict=True):
                    self._choose(rule, rows, farthest)
        while self.chosen and (share := len(np.unique(np.concatenate(self.marked))) / len(self.base)):
            if share < ALLOWED_FALSE_ALARMS:
                return tuple(self.chosen), share
            most = max(range(len(self.chosen)), key=lambda at: self.chosen[at].replaced)
            del self.chosen[most], self.marked[most]
        return tuple(self.chosen), 0.0

    def share_of(self, rules: Sequence[Rule]) -> float:
        """The share of base rows that any of the rules marks, on as many as can be compared with every benchmark row."""
        return self._tried(rules)[1]
