"""When a compared pair of rows is near, and which reference rows are rare enough for that to say something."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from hokusai.datasets.mixed_columns import spread
from hokusai.datasets.nearness import ALLOWED_FALSE_ALARMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hokusai.datasets.mixed_columns import Values
    from hokusai.datasets.row_distances import Distances

__all__ = ["MOST_REPLACED", "RADII", "Rule", "noise_limit", "telling_rows", "widest"]

RADII = (0.035, 0.0175, 0.00875, 1e-4)  # standard deviations of the noise on every column; the last is for rounding
MOST_REPLACED = 2  # columns
_FOUND = 0.999  # of the copies with noise of one radius
_WINDOW = 3.0  # radii: how near a value must be to count as one that agrees by chance
_POOL = 20_000  # rows from which the frequency of values is estimated


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A pair is near when all but ``replaced`` columns agree within the noise of ``radius``.

    Pairs in which most numbers are identical have rules of their own: the weather of one hour is the same for all its
    flights to the last digit, which noise would change.

    Attributes:
        replaced: How many columns may hold anything.
        radius: In standard deviations.
        for_identical: Whether it is for pairs of which most numbers are identical, or for the others.
        farthest: Which columns may be the one with the largest difference, and last whether none may differ at all;
            shape (columns + 1,).
        is_telling: Which reference rows are rare enough in the columns that remain; shape (reference rows,).
    """

    replaced: int
    radius: float
    for_identical: bool
    farthest: NDArray[np.bool_]
    is_telling: NDArray[np.bool_]

    def holds(self, pairs: Distances, *, numbers: int) -> NDArray[np.bool_]:
        """Which pairs are near; shape (pairs,)."""
        holds: NDArray[np.bool_] = pairs.sums[self.replaced] <= noise_limit(self.radius, numbers=numbers)
        holds &= pairs.is_identical == self.for_identical
        return holds & self.farthest[pairs.farthest] & self.is_telling[pairs.references]


def noise_limit(radius: float, *, numbers: int) -> float:
    """The squared distance that hardly any copy with noise of this radius on so many numbers exceeds."""
    from scipy.special import chdtri

    return radius**2 * (float(chdtri(numbers, 1 - _FOUND)) if numbers else 1.0)


def widest(rules: Sequence[Rule], *, numbers: int) -> tuple[float, int]:
    """The squared distance, and the number of replaced columns, within which the pairs of all rules are."""
    limit = noise_limit(max(rule.radius for rule in rules), numbers=numbers)
    return limit, max(rule.replaced for rule in rules)


def telling_rows(reference: Values, base: Values, *, radius: float) -> list[NDArray[np.bool_]]:
    """Which reference rows chance, with the columns independent, repeats rarely enough.

    Returns:
        For no, one and more replaced columns an array of shape (reference rows,); there may be too few columns for all.
    """
    columns = len(reference.columns)
    bits = np.empty((len(reference), columns))
    for at, (own, others) in enumerate(zip(reference.columns, base.columns, strict=True)):
        pool = np.concatenate((spread(own, _POOL), spread(others, _POOL)))
        bits[:, at] = -np.log2(_shares_near(own, pool, window=_WINDOW * radius))
    bits.sort(axis=1)
    telling = []
    for replaced in range(min(MOST_REPLACED, columns - 1) + 1):
        needed = np.log2(len(reference) * comb(columns, replaced) / ALLOWED_FALSE_ALARMS)
        telling.append(bits[:, : columns - replaced].sum(axis=1) >= needed)
    return telling


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
