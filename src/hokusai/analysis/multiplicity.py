"""Several metrics in one evaluation: p-values, their correction, and what a guard metric may not lose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hokusai.analysis.statistics import PairedInterval

__all__ = ["NonInferiority", "check_non_inferiority", "holm", "p_value"]

NonInferiority = Literal["kept", "worse", "unclear"]


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values adjusted for their number, in the order they came in, by Holm's step-down procedure.

    An adjusted value at or below a level is a rejection at that level such that the probability of any false rejection
    is at most the level, whatever the dependence between the metrics. Source: S. Holm (1979), "A simple sequentially
    rejective multiple test procedure", Scandinavian Journal of Statistics 6, 65-70.

    Args:
        p_values: One for each metric, from 0 to 1.

    Raises:
        ValueError: A value is not from 0 to 1.
    """
    for value in p_values:
        if not 0 <= value <= 1:
            raise ValueError(f"found a p-value of {value}, expected numbers from 0 to 1")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = largest
    return tuple(adjusted)


def p_value(interval: PairedInterval, *, null: float = 0.0) -> float:
    """Return the two-sided p-value of a difference by the t distribution of its interval.

    It is below 1 - confidence exactly when the interval of that confidence does not hold ``null``. Where nothing varies
    there is no evidence, and the value is 1.

    Args:
        interval: The difference.
        null: The difference under the hypothesis, in the metric's unit and raw direction.
    """
    if not interval.standard_error > 0:
        return 1.0
    statistic = abs(interval.delta - null) / interval.standard_error
    return min(1.0, 2 * float(special.stdtr(interval.degrees_of_freedom, -statistic)))


def check_non_inferiority(*, gain_lower: float, gain_upper: float, margin: float) -> NonInferiority:
    """Return what an interval of a gain (above zero is better) says about a metric that must not get worse.

    Kept when the whole interval is at or above minus the margin, worse when the whole interval is below it. In between,
    and for anything that is not a number, it is unclear. Source: G. Piaggio et al. (2012), "Reporting of noninferiority
    and equivalence randomized trials", JAMA 308, 2594-2604.

    Args:
        gain_lower: Lower end of the interval, in the metric's unit, towards better.
        gain_upper: Upper end.
        margin: The loss that is put up with, in the same unit, zero or above, fixed before the data were seen.

    Raises:
        ValueError: The lower end is above the upper end, or the margin is below zero.
    """
    if gain_lower > gain_upper:
        raise ValueError(f"gain_lower {gain_lower} is above gain_upper {gain_upper}; was the sign of the gain turned?")
    if margin < 0:
        raise ValueError(f"margin is {margin}, expected the size of the loss that is put up with, zero or above")
    if math.isnan(gain_lower) or math.isnan(gain_upper) or math.isnan(margin):
        return "unclear"
    if gain_lower >= -margin:
        return "kept"
    return "worse" if gain_upper < -margin else "unclear"
