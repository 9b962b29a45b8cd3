"""How near is near enough for numbers and categories: the widest rules that mark next to no honest row.

A large base is counted. A small one cannot show one row in a thousand; there the distances of its rows, and of
benchmark rows among each other, to their nearest benchmark rows are extrapolated: the share of rows below a small
distance falls with a power of it, which Hill's estimator reads from the nearest ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from hokusai.datasets.grid_index import PAIRS_AT_ONCE, Candidates, GridIndex, column_groups
from hokusai.datasets.mixed_columns import Values, spread
from hokusai.datasets.near_rules import MOST_REPLACED, RADII, Rule, noise_limit, telling_rows, widest
from hokusai.datasets.nearness import ALLOWED_FALSE_ALARMS
from hokusai.datasets.row_distances import MISMATCH, distances

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hokusai.datasets.row_distances import Distances

__all__ = ["Calibrated", "calibrated", "index_for"]

_FEWEST_COLUMNS = 5  # whatever the base says: fewer are too easily alike in data that the base does not resemble
_FEWEST_TELLING = 0.5  # of the reference rows
_ENOUGH_TO_COUNT = 3_000  # base rows: three false alarms among them are the allowed share
_PAIRS_TO_TRY = 20_000_000
_HOPELESS = 0.02  # share of the first base rows, beyond which the others need not be compared
_ALLOWED = ALLOWED_FALSE_ALARMS / 4  # of the base rows, by one rule
_TAIL = 0.1  # of the rows are near enough to tell how the share falls
_FEWEST_IN_TAIL = 8  # rows
_ANY = np.ones(1, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The rules chosen.

    Attributes:
        rules: From the widest radius down; empty where nearness is no evidence.
        share: Of the base rows that the rules mark; without a rule, of those that the widest one would mark; None where
            there is nothing to measure it on.
        indexes: The indexes that the calibration made, by radius; making one is most of its work.
    """

    rules: tuple[Rule, ...]
    share: float | None
    indexes: Mapping[float, GridIndex] = field(default_factory=dict)


def calibrated(reference: Values, base: Values, *, numbers: int) -> Calibrated:
    """Choose for no, one and two replaced columns the rules with the widest radius that mark next to no base row.

    Args:
        reference: The benchmark.
        base: Base rows that are no exact copies of benchmark rows.
        numbers: How many of the columns are numbers.
    """
    if not len(base) or not base.columns or not len(reference):
        return Calibrated((), None)
    choose = _chosen_by_counting if len(base) >= _ENOUGH_TO_COUNT else _chosen_by_extrapolation
    chosen = choose(reference, base, numbers) if len(base.columns) >= _FEWEST_COLUMNS else None
    return chosen or Calibrated((), _share_of_the_widest(reference, base, numbers))


def index_for(
    reference: Values, *, rules: Sequence[Rule], groups: list[list[int]], made: GridIndex | None = None
) -> GridIndex:
    """File the reference rows that rules of one radius search for.

    Args:
        reference: The benchmark.
        rules: The rules.
        groups: The columns of each key, for this radius.
        made: An index of this radius that there is already; it is taken if it is the same.
    """
    rows = np.flatnonzero(np.logical_or.reduce([rule.is_telling for rule in rules]))
    groups = groups[: max(rule.replaced for rule in rules) + 1]
    if made is not None and made.groups == groups and np.array_equal(made.rows, rows):
        return made
    return GridIndex(reference, rows=rows, groups=groups, radius=rules[0].radius)


def _possible(reference: Values, base: Values, radius: float, groups: list[list[int]]) -> Iterator[Rule]:
    """The rules of one radius for which most reference rows are rare enough."""
    every = np.ones(len(reference.columns) + 1, dtype=np.bool_)
    for replaced, is_telling in enumerate(telling_rows(reference, base, radius=radius)[: len(groups)]):
        if is_telling.mean() >= _FEWEST_TELLING:
            for for_identical in (False, True):
                yield Rule(
                    replaced=replaced,
                    radius=radius,
                    for_identical=for_identical,
                    farthest=every,
                    is_telling=is_telling,
                )


def _chosen_by_counting(reference: Values, base: Values, numbers: int) -> Calibrated | None:
    """From the widest radius down; the columns that a wider rule could not be chosen for are left to the next."""
    chosen: list[tuple[Rule, NDArray[np.int64]]] = []
    missing: dict[tuple[int, bool], NDArray[np.bool_]] = {}
    indexes: dict[float, GridIndex] = {}
    for radius in RADII:
        groups = column_groups(reference, radius=radius, most=MOST_REPLACED + 1)
        possible = [
            replace(rule, farthest=missing.get((rule.replaced, rule.for_identical), rule.farthest))
            for rule in _possible(reference, base, radius, groups)
        ]
        for rule, marks in _counted(possible, reference, base, groups, numbers, indexes=indexes):
            narrowed = _narrowed(rule, marks, len(base), _ALLOWED)
            key = rule.replaced, rule.for_identical
            missing[key] = missing.get(key, np.ones_like(narrowed.farthest)) & ~narrowed.farthest
            if narrowed.farthest.any():
                chosen.append((narrowed, marks[1, narrowed.farthest[marks[0]]]))
        if not any(rule.radius == radius for rule, _ in chosen):
            indexes.pop(radius, None)
        if not any(
            missing.get((replaced, identical), _ANY).any() for replaced in (0, 1) for identical in (False, True)
        ):
            break  # Two replaced columns alone are not worth another search.
    return _within_the_allowed(chosen, len(base), indexes)


def _counted(
    possible: Sequence[Rule],
    reference: Values,
    base: Values,
    groups: list[list[int]],
    numbers: int,
    *,
    indexes: dict[float, GridIndex],
) -> list[tuple[Rule, NDArray[np.int64]]]:
    """The rules of one radius that may hold, with what they mark of the base; the index is kept."""
    some = _first_rows(base, most=max(1, _PAIRS_TO_TRY // len(reference)))
    first = _marks(possible, _every_pair(some, reference, possible, numbers), numbers)
    rules = [_narrowed(rule, marks, len(some), _HOPELESS) for rule, marks in zip(possible, first, strict=True)]
    rules = [rule for rule in rules if rule.farthest.any()]
    if not rules:
        return []
    index = indexes[rules[0].radius] = index_for(reference, rules=rules, groups=groups)
    limit, most = widest(rules, numbers=numbers)
    pairs = (
        distances(base, reference, candidates, replaced=most, limit=limit) for candidates in index.candidates(base)
    )
    return list(zip(rules, _marks(rules, pairs, numbers), strict=True))


def _within_the_allowed(
    chosen: list[tuple[Rule, NDArray[np.int64]]], rows: int, indexes: Mapping[float, GridIndex]
) -> Calibrated | None:
    """Give up the rules for most replaced columns until all together mark few enough."""
    while chosen:
        share = len(np.unique(np.concatenate([marked for _, marked in chosen]))) / rows
        if share < ALLOWED_FALSE_ALARMS:
            return Calibrated(tuple(rule for rule, _ in chosen), share, indexes)
        most = max(rule.replaced for rule, _ in chosen)
        chosen = [(rule, marked) for rule, marked in chosen if rule.replaced < most]
    return None


def _narrowed(rule: Rule, marks: NDArray[np.int64], rows: int, allowed: float) -> Rule:
    """The rule for as many farthest columns as together mark less than the allowed share of rows.

    Noise on every column makes any of them the farthest, and of two replaced columns one is: there it is all or none.
    """
    counts = np.bincount(marks[0], minlength=len(rule.farthest))
    counts[~rule.farthest] = rows
    if rule.replaced > 1 or (not rule.replaced and not rule.for_identical):
        return rule if counts[rule.farthest].sum() < allowed * rows else replace(rule, farthest=rule.farthest & False)
    order = np.argsort(counts, kind="stable")
    farthest = np.zeros(len(counts), dtype=np.bool_)
    farthest[order] = np.cumsum(counts[order]) < allowed * rows
    return replace(rule, farthest=farthest)


def _marks(rules: Sequence[Rule], pairs: Iterable[Distances], numbers: int) -> list[NDArray[np.int64]]:
    """For each rule the farthest columns and the rows of what it marks, each once; arrays of shape (2, marks)."""
    found: list[list[NDArray[np.int64]]] = [[np.zeros((2, 0), dtype=np.int64)] for _ in rules]
    for some in pairs:
        for marks, rule in zip(found, rules, strict=True):
            holds = rule.holds(some, numbers=numbers)
            marks.append(np.unique(np.stack((some.farthest[holds], some.rows[holds])), axis=1))
    return [np.unique(np.concatenate(marks, axis=1), axis=1) for marks in found]


def _every_pair(values: Values, reference: Values, rules: Sequence[Rule], numbers: int) -> Iterator[Distances]:
    """Every row with every reference row, within the widest rule."""
    if rules:
        limit, most = widest(rules, numbers=numbers)
        yield from _all_distances(values, reference, replaced=most, limit=limit)


def _all_distances(values: Values, reference: Values, *, replaced: int, limit: float) -> Iterator[Distances]:
    """Every row with every reference row, within the limit."""
    order = range(len(reference.columns))
    at_once = max(1, PAIRS_AT_ONCE // len(reference))
    every = np.arange(len(reference))
    for start in range(0, len(values), at_once):
        some = np.arange(start, min(start + at_once, len(values)))
        candidates = Candidates(np.repeat(some, len(every)), np.tile(every, len(some)), order)
        yield distances(values, reference, candidates, replaced=replaced, limit=limit)


def _first_rows(values: Values, *, most: int) -> Values:
    """At most so many of the rows, evenly spread."""
    return Values(tuple(spread(column, most) for column in values.columns), min(most, len(values)))


def _share_of_the_widest(reference: Values, base: Values, numbers: int) -> float:
    """The share of base rows that the widest rules for a replaced column would mark if every row told enough."""
    some = _first_rows(base, most=max(1, _PAIRS_TO_TRY // len(reference)))
    replaced = min(1, len(base.columns) - 1)
    limit = noise_limit(RADII[0], numbers=numbers)
    near = [
        pairs.rows[pairs.sums[replaced] <= limit]
        for pairs in _all_distances(some, reference, replaced=replaced, limit=limit)
    ]
    return len(np.unique(np.concatenate(near))) / len(some)


def _chosen_by_extrapolation(reference: Values, base: Values, numbers: int) -> Calibrated | None:
    """The same where the base is too small to count one row in a thousand."""
    nearest = _nearest(reference, base)
    chosen: dict[tuple[int, bool], Rule] = {}
    total = 0.0
    for radius in RADII:
        groups = column_groups(reference, radius=radius, most=MOST_REPLACED + 1)
        distance = noise_limit(radius, numbers=numbers) ** 0.5
        for rule in _possible(reference, base, radius, groups):
            key = rule.replaced, rule.for_identical
            if key in chosen:
                continue
            for farthest in _columns_to_try(rule, nearest[key], distance):
                share = _share_below(nearest[key][farthest].min(axis=0, initial=np.inf), distance)
                if share < _ALLOWED and total + share < ALLOWED_FALSE_ALARMS:
                    chosen[key] = replace(rule, farthest=farthest)
                    total += share
                    break
    return Calibrated(tuple(chosen.values()), total) if chosen else None


def _columns_to_try(rule: Rule, nearest: NDArray[np.float64], distance: float) -> Iterator[NDArray[np.bool_]]:
    """Which columns may be the farthest: all of them, or else those that never are it in a near pair of honest rows."""
    yield rule.farthest
    never = _count_below(nearest, distance) == 0
    if rule.for_identical and rule.replaced < MOST_REPLACED and never.any():
        yield never


def _nearest(reference: Values, base: Values) -> dict[tuple[int, bool], NDArray[np.float64]]:
    """How far honest rows are from the nearest benchmark row other than themselves and their exact copies.

    Returns:
        By the number of replaced columns and by whether most numbers are identical, for each column that may differ
        most, and for none; shape (columns + 1, honest rows).
    """
    rows = max(2, _PAIRS_TO_TRY // len(reference))
    most = min(MOST_REPLACED, len(reference.columns) - 1)
    keys = [(replaced, identical) for replaced in range(most + 1) for identical in (False, True)]
    found: dict[tuple[int, bool], list[NDArray[np.float64]]] = {key: [] for key in keys}
    for honest in (_first_rows(base, most=rows // 2), _first_rows(reference, most=rows // 2)):
        nearest = {key: np.full((len(reference.columns) + 1, len(honest)), np.inf) for key in keys}
        for pairs in _all_distances(honest, reference, replaced=most, limit=np.inf):
            for (replaced, identical), best in nearest.items():
                kept = (pairs.is_identical == identical) & (pairs.sums[0] > 0)
                squared = pairs.sums[replaced][kept].astype(np.float64)
                np.minimum.at(best, (pairs.farthest[kept], pairs.rows[kept]), squared)
        for key, best in nearest.items():
            found[key].append(np.sqrt(best))
    return {key: np.concatenate(parts, axis=1) for key, parts in found.items()}


def _count_below(nearest: NDArray[np.float64], distance: float) -> NDArray[np.int64]:
    """How many rows have a benchmark row within the distance, or a wider one the fewer they are; by the last axis."""
    wider = max(1.0, (_ENOUGH_TO_COUNT / nearest.shape[-1]) ** 0.5)
    return np.asarray((nearest <= distance * wider).sum(axis=-1))


def _share_below(nearest: NDArray[np.float64], distance: float) -> float:
    """The share of rows that have a benchmark row within a distance at which there may be none among so few."""
    ordered = np.sort(nearest)
    comparable = int(np.searchsorted(ordered, MISMATCH**0.5 / 2))  # others differ in more than numbers
    tail = max(_FEWEST_IN_TAIL, int(_TAIL * len(ordered)))
    if comparable <= tail or ordered[tail] <= distance:
        return float(_count_below(ordered, distance)) / len(ordered)
    with np.errstate(divide="ignore"):
        power = 1 / np.log(ordered[tail] / ordered[:tail]).mean()
    power *= 1 - tail**-0.5  # a standard error less
    return float(tail / len(ordered) * (distance / ordered[tail]) ** power)
