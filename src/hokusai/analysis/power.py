"""What a benchmark and a number of seeds can see, and what more of either would.

The variance of a difference has three parts (`hokusai.analysis.statistics.paired_interval`). More rows make all of them
smaller but what seeds do on a benchmark without end; more seeds leave the rows' part as it is. The true difference is
taken as given and the estimated standard error as random, so the power is that of the noncentral t distribution.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from hokusai.analysis.statistics import satterthwaite, tail_probability

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hokusai.analysis.statistics import PairedInterval

__all__ = ["Needed", "Precision", "evidence_needed", "minimum_detectable_effect", "project_precision"]

# More than anybody has; a search that gets here has found that no number would do.
MOST_ROWS = 10**12
MOST_SEEDS = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How sure a difference would be with other numbers of rows and fits.

    Attributes:
        standard_error: In the metric's unit.
        degrees_of_freedom: Satterthwaite's; NaN when nothing varies.
    """

    standard_error: float
    degrees_of_freedom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What would settle a gain against a bar.

    Attributes:
        rows: Number of benchmark rows with the same seeds; None where no number would do.
        seeds: Number of seeds on the same rows, in each arm, where an arm that has more keeps them; None where no
            number would do.
    """

    rows: int | None
    seeds: int | None


def project_precision(
    interval: PairedInterval,
    *,
    units: float | None = None,
    control_fits: int | None = None,
    candidate_fits: int | None = None,
) -> Precision:
    """Return how sure the difference would be with other numbers, by default with those that it has.

    With more units n, the row variance and the interaction of seeds and rows shrink as 1 / n; with more fits of an
    arm, its part shrinks as 1 / fits. The row variance holds a share of the interaction, which would shrink with more
    fits too; it is not known here and left in, so that seeds promise a little less than they give.

    Args:
        interval: The interval that was found.
        units: Number of benchmark rows or, where rows belong together, of groups; two or more.
        control_fits: Number of fits of the control.
        candidate_fits: Number of fits of the candidate.
    """
    units = interval.units if units is None else units
    share = interval.units / units
    row_variance = interval.row_variance * share
    variance = row_variance
    mean_squares: list[tuple[float, float]] = [(row_variance, units - 1)]
    for fits, projected, seed_variance, mean_square in (
        (interval.control_fits, control_fits, interval.control_seed_variance, interval.control_mean_square),
        (interval.candidate_fits, candidate_fits, interval.candidate_seed_variance, interval.candidate_mean_square),
    ):
        projected = fits if projected is None else projected  # noqa: PLW2901
        variance += seed_variance * fits / projected
        # What of it is interaction is smaller on more rows.
        shrunken = (seed_variance + (mean_square - seed_variance) * share) * fits / projected
        mean_squares.append((shrunken, projected - 1))
    return Precision(
        standard_error=math.sqrt(variance),
        degrees_of_freedom=satterthwaite(variance, *mean_squares) if variance > 0 else math.nan,
    )


def minimum_detectable_effect(interval: PairedInterval, *, power: float = 0.8) -> float:
    """Return the smallest true gain above the bar that this benchmark and number of seeds would find.

    That is the standard error times the noncentrality at which a t variable with the interval's degrees of freedom
    exceeds its critical value, the interval's own, with the asked probability; about (t of the level + t of the power)
    standard errors.
    Source: J. Cohen (1988), "Statistical power analysis for the behavioral sciences", 2nd edition, chapter 2.

    Args:
        interval: The interval that was found, with the confidence of the decision.
        power: Probability with which the lower end must clear the bar, between 0 and 1.

    Returns:
        The gain in the metric's unit, above zero; NaN when nothing varies.

    Raises:
        ValueError: The power is not between 0 and 1.
    """
    power = _require_power(power)
    if not interval.standard_error > 0:
        return math.nan
    critical = (interval.upper - interval.lower) / 2 / interval.standard_error
    return interval.standard_error * _noncentrality(interval.degrees_of_freedom, critical=critical, power=power)


def evidence_needed(
    interval: PairedInterval,
    *,
    rows: int,
    gain: float,
    minimum_gain: float,
    confidence: float,
    power: float = 0.8,
    is_more: bool = False,
) -> Needed:
    """Return how many rows, or how many seeds, would settle this gain against the bar if it were the true one.

    A gain above the bar is settled when the lower end of a new interval clears the bar with the asked probability, one
    below it when the upper end does not. A bar below zero counts as zero, as it does in the decision.

    Args:
        interval: The interval that was found.
        rows: Number of benchmark rows behind it; where they belong together, groups are taken to stay as large.
        gain: The gain, in the metric's unit, towards better.
        minimum_gain: The bar, in the same unit.
        confidence: Two-sided confidence level of the decision, between 0 and 1.
        power: Probability with which it would be settled, between 0 and 1.
        is_more: Whether only more than there are will do, as where these settled nothing: the degrees of freedom are
            approximate, and by them fewer rows may seem to do.

    Raises:
        ValueError: The confidence or the power is not between 0 and 1, or there are fewer rows than units.
    """
    tail, power = tail_probability(confidence), _require_power(power)
    if rows < interval.units:
        raise ValueError(f"{rows} rows of {interval.units} units, expected at least one row in each")
    distance = abs(gain - max(minimum_gain, 0.0))
    if not (distance > 0 and interval.standard_error > 0):
        return Needed(rows=None, seeds=None)

    def is_settled(precision: Precision) -> bool:
        noncentrality = distance / precision.standard_error
        critical = -float(special.stdtrit(precision.degrees_of_freedom, tail))
        return _power(noncentrality, precision.degrees_of_freedom, critical=critical) >= power

    per_unit = rows / interval.units
    fewest_rows = rows + 1 if is_more else math.ceil(2 * per_unit)
    fewest_seeds = min(interval.control_fits, interval.candidate_fits) + 1 if is_more else 2
    return Needed(
        rows=_fewest(
            lambda number: is_settled(project_precision(interval, units=number / per_unit)), fewest_rows, MOST_ROWS
        ),
        seeds=_fewest(
            lambda number: is_settled(
                project_precision(
                    interval,
                    control_fits=max(number, interval.control_fits),
                    candidate_fits=max(number, interval.candidate_fits) if is_more else number,
                )
            ),
            fewest_seeds,
            MOST_SEEDS,
        )
        if interval.control_mean_square + interval.candidate_mean_square > 0
        else None,
    )


def _require_power(power: float) -> float:
    """Refuse a probability that is none."""
    if not 0 < power < 1:
        raise ValueError(f"power is {power}, expected a number between 0 and 1, such as 0.8")
    return power


def _fewest(is_enough: Callable[[int], bool], start: int, most: int) -> int | None:
    """Return the smallest number from ``start`` on that is enough, by doubling and halving; None beyond ``most``."""
    low, high = start - 1, start
    while not is_enough(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _power(noncentrality: float, degrees_of_freedom: float, *, critical: float) -> float:
    """Return the probability that a noncentral t variable exceeds a critical value.

    The variable is (normal + noncentrality) / S with S ** 2 chi-squared over its degrees of freedom: the probability is
    averaged over S. SciPy's own function does not return for some arguments that occur here.
    """
    probabilities, weights = _quantile_nodes()
    spread = np.sqrt(special.gammaincinv(degrees_of_freedom / 2, probabilities) * 2 / degrees_of_freedom)
    return float(weights @ special.ndtr(noncentrality - critical * spread))


@functools.cache
def _quantile_nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return probabilities and weights that average a smooth function of a variable over its quantiles."""
    points, weights = np.polynomial.legendre.leggauss(200)
    return (points + 1) / 2, weights / 2


def _noncentrality(degrees_of_freedom: float, *, critical: float, power: float) -> float:
    """Return the noncentrality at which that probability is ``power``."""
    low, high = 0.0, 1.0
    if _power(low, degrees_of_freedom, critical=critical) >= power:
        return low
    while _power(high, degrees_of_freedom, critical=critical) < power:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _power(middle, degrees_of_freedom, critical=critical) < power else (low, middle)
    return high
