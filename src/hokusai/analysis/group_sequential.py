"""Looking at the candidate before all of its fits are there, without accepting more often what is worth nothing.

The looks are planned. Each may err with a part of the level, spent by O'Brien and Fleming's function: next to nothing
at first, nearly all of it at the last look. The interval of a look is
``paired_interval(…, confidence=1 - 2 * alpha)`` with the alpha that `boundaries` gives for it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from hokusai.analysis.power import project_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hokusai.analysis.statistics import PairedInterval

__all__ = ["LOOKS", "boundaries", "futile"]

LOOKS = (3, 5, 8, 12, 20)
"""Numbers of candidate fits at which is looked; the last is the most that are fitted."""

# A confidence of 1 - 2 * alpha must stay below 1 in 64-bit numbers; what this adds to the level is as small.
SMALLEST_ALPHA = 1e-15


def boundaries(looks: tuple[int, ...] = LOOKS, *, alpha: float) -> tuple[float, ...]:
    """Return the nominal one-sided level of every look, such that all together err with ``alpha``.

    By look k of K with information fraction t = fits / most fits, 2 - 2 Phi(z / sqrt(t)) is spent, where z is the
    upper alpha / 2 quantile of the normal distribution. The z values of the looks are taken to be those of a Brownian
    motion at t; the density of the paths that have not crossed is carried from look to look by numerical integration.
    Looks at one benchmark share its rows, so they are more alike than that, which makes the error smaller, not larger.

    Sources: K. K. G. Lan, D. L. DeMets (1983), "Discrete sequential boundaries for clinical trials", Biometrika 70,
    659-663; P. C. O'Brien, T. R. Fleming (1979), "A multiple testing procedure for clinical trials", Biometrics 35,
    549-556; P. Armitage, C. K. McPherson, B. C. Rowe (1969), "Repeated significance tests on accumulating data",
    Journal of the Royal Statistical Society A 132, 235-244; C. Jennison, B. W. Turnbull (2000), "Group sequential
    methods with applications to clinical trials", chapters 7, 9 (repeated confidence intervals) and 19.

    Args:
        looks: Numbers of fits at which is looked, increasing.
        alpha: One-sided level of the whole procedure, above 0 and below one half.

    Returns:
        One level for each look; the upper normal quantile of it is the look's z value. A level below 1e-15 is raised
        to that.

    Raises:
        ValueError: There are no looks, they do not increase from at least 1, or the level is not below one half.
    """
    if not looks or looks[0] < 1 or any(later <= earlier for earlier, later in pairwise(looks)):
        raise ValueError(f"looks are {looks}, expected increasing numbers of fits, from at least 1")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha is {alpha}, expected a number above 0 and below 0.5, such as 0.025")
    times = np.array(looks) / looks[-1]
    spent = 2 * special.ndtr(special.ndtri(alpha / 2) / np.sqrt(times))
    steps = np.diff(times, prepend=0.0)
    # So many nodes that two stand within the narrowest step, for then the sums are exact to all digits that matter.
    nodes, weights = np.polynomial.legendre.leggauss(max(200, math.ceil(60 / math.sqrt(steps.min()))))
    levels: list[float] = []
    # The paths start in one point, which is a density of one node.
    position, mass = np.zeros(1), np.ones(1)
    for time, step, target in zip(times, steps, np.diff(spent, prepend=0.0), strict=True):
        limit = _limit(position, mass, step=step, target=target)
        levels.append(max(SMALLEST_ALPHA, float(special.ndtr(-limit / math.sqrt(time)))))
        lowest = -9 * math.sqrt(time)
        half = (limit - lowest) / 2
        reached = lowest + half * (nodes + 1)
        density = np.exp(-0.5 * (reached[:, None] - position) ** 2 / step) @ mass / math.sqrt(2 * math.pi * step)
        position, mass = reached, density * weights * half
    return tuple(levels)


def futile(
    interval: PairedInterval,
    *,
    gain: float,
    most_fits: int,
    final_alpha: float,
    minimum_gain: float,
    power: float = 0.1,
) -> bool:
    """Return whether the last look would hardly accept if things went on as they are.

    The conditional power at the current estimate is Phi((gain - bar - t * SE) / tau). SE is the standard error at the
    last look: the row variance stays, for the benchmark is the same, and an arm's seed variance shrinks by fits / most
    fits; t is the quantile of the last look's level with the degrees of freedom that it will have. tau ** 2 is what
    the estimate can still move by: for each arm with R of M fits, its mean square times R * (M - R) / M ** 2. A bar
    below zero counts as zero.

    Stopping for futility is not binding: going on all the same keeps the level. Source: K. K. G. Lan, R. Simon,
    M. Halperin (1982), "Stochastically curtailed tests in long-term clinical trials", Sequential Analysis 1, 207-219.

    Args:
        interval: The difference at this look; its confidence does not matter.
        gain: Its delta towards better, in the metric's unit.
        most_fits: Fits of the candidate at the last look; a control with fewer is taken to get as many.
        final_alpha: Nominal one-sided level of the last look.
        minimum_gain: The bar, in the metric's unit.
        power: Conditional power below which it is futile.

    Raises:
        ValueError: There are more fits than the most already, or the level is not between 0 and one half.
    """
    if most_fits < interval.candidate_fits:
        raise ValueError(f"most_fits is {most_fits}, expected at least the {interval.candidate_fits} that there are")
    if not 0 < final_alpha < 0.5:
        raise ValueError(f"final_alpha is {final_alpha}, expected a number above 0 and below 0.5")
    if not interval.standard_error > 0:
        return False
    control_fits = max(interval.control_fits, most_fits)
    last = project_precision(interval, control_fits=control_fits, candidate_fits=most_fits)
    if not last.standard_error > 0:
        return False
    quantile = -float(special.stdtrit(last.degrees_of_freedom, final_alpha))
    distance = gain - max(minimum_gain, 0.0) - quantile * last.standard_error
    moves = math.fsum(
        mean_square * fits * (most - fits) / most**2
        for mean_square, fits, most in (
            (interval.control_mean_square, interval.control_fits, control_fits),
            (interval.candidate_mean_square, interval.candidate_fits, most_fits),
        )
    )
    if moves == 0:
        return distance < 0
    return float(special.ndtr(distance / math.sqrt(moves))) < power


def _limit(position: NDArray[np.float64], mass: NDArray[np.float64], *, step: float, target: float) -> float:
    """Return the limit above which a path is after the step with probability ``target``."""
    low, high = -10.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        crossed = float(special.ndtr((position - middle) / math.sqrt(step)) @ mass)
        low, high = (middle, high) if crossed > target else (low, middle)
    return high
