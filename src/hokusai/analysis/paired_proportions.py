"""Right or wrong on the same rows: what two models' accuracies can be compared by, row by row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from hokusai.analysis.statistics import tail_probability

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DiscordantRows",
    "McNemarResult",
    "ScoreInterval",
    "discordant_rows",
    "mcnemar",
    "no_difference_bound",
    "tango",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordantRows:
    """How many benchmark rows one of two models has right and the other wrong.

    Attributes:
        control_only: Rows that only the control has right.
        candidate_only: Rows that only the candidate has right.
    """

    control_only: int
    candidate_only: int

    @property
    def total(self) -> int:
        """All rows on which exactly one of the two is right."""
        return self.control_only + self.candidate_only


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemarResult:
    """Two-sided p-values of the hypothesis that a discordant row is as likely to go either way.

    Attributes:
        exact_p: The exact conditional p-value; never too small, often too large.
        mid_p: The mid-p value, which counts the observed table half; nearly always closer to its nominal level.
    """

    exact_p: float
    mid_p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreInterval:
    """A difference between two accuracies on the same rows, with the interval of values that a test does not refuse.

    Attributes:
        delta: The candidate's accuracy minus the control's.
        lower: Lower end, from -1 to ``delta``.
        upper: Upper end, from ``delta`` to 1.
    """

    delta: float
    lower: float
    upper: float


def discordant_rows(control_correct: NDArray[np.generic], candidate_correct: NDArray[np.generic]) -> DiscordantRows:
    """Count the rows that exactly one of two models has right.

    Args:
        control_correct: Shape (rows,): booleans, or 0 and 1.
        candidate_correct: Shape (rows,), the same rows in the same order.

    Raises:
        ValueError: The shapes differ, or there is a value other than 0 and 1.
    """
    if control_correct.shape != candidate_correct.shape or control_correct.ndim != 1:
        raise ValueError(f"shapes {control_correct.shape} and {candidate_correct.shape}, expected (rows,) twice")
    control, candidate = control_correct.astype(np.bool_), candidate_correct.astype(np.bool_)
    if np.any(control != control_correct) or np.any(candidate != candidate_correct):
        raise ValueError("found a value other than 0 and 1, expected whether each row is right")
    return DiscordantRows(
        control_only=int(np.count_nonzero(control & ~candidate)),
        candidate_only=int(np.count_nonzero(candidate & ~control)),
    )


def mcnemar(b: int, c: int) -> McNemarResult:
    """Return McNemar's exact conditional and mid-p test of paired right-or-wrong answers.

    Under the hypothesis b is binomial over b + c rows with probability one half. Source: M. W. Fagerland, S. Lydersen,
    P. Laake (2013), "The McNemar test for binary matched-pairs data: mid-p and asymptotic are better than exact
    conditional", BMC Medical Research Methodology 13, 91.

    Args:
        b: Rows that only the first model has right.
        c: Rows that only the second model has right.

    Raises:
        ValueError: A count is below zero.
    """
    if b < 0 or c < 0:
        raise ValueError(f"counts {b} and {c}, expected none below zero")
    n, fewer = b + c, min(b, c)
    if n == 0:
        return McNemarResult(exact_p=1.0, mid_p=1.0)
    at_most = float(special.bdtr(fewer, n, 0.5))
    below = float(special.bdtr(fewer - 1, n, 0.5)) if fewer > 0 else 0.0
    if b == c:
        return McNemarResult(exact_p=1.0, mid_p=1 - (at_most - below) / 2)
    return McNemarResult(exact_p=min(1.0, 2 * at_most), mid_p=at_most + below)


def no_difference_bound(n: int, confidence: float = 0.95) -> float:
    """Return how large a share of rows could still differ between two models when none of n rows did.

    This is the exact (Clopper-Pearson) upper bound of a share of which 0 of n were seen, with half of 1 - confidence
    on this side: 1 - ((1 - confidence) / 2) ** (1 / n), about 3.7 / n at 95 %. For accuracy, plus and minus this
    bound is an honest interval where the paired interval has none. Source: J. A. Hanley, A. Lippman-Hand (1983), "If
    nothing goes wrong, is everything all right?", JAMA 249, 1743-1745.

    Args:
        n: Number of benchmark rows, at least 1.
        confidence: Two-sided confidence level, between 0 and 1.

    Raises:
        ValueError: There are no rows, or the confidence is not between 0 and 1.
    """
    tail = tail_probability(confidence)
    if n < 1:
        raise ValueError(f"n is {n}, expected at least one row")
    return -math.expm1(math.log(tail) / n)


def tango(discordant: DiscordantRows, *, n: int, confidence: float = 0.95) -> ScoreInterval:
    """Return Tango's score interval for the difference between two accuracies on the same rows.

    It holds every difference that the score test does not refuse, so it never leaves -1 to 1 and is honest with few or
    no discordant rows. It counts rows alone: it is a check of two single models, not a decision about a random trainer.
    Source: T. Tango (1998), "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17, 891-908.

    Args:
        discordant: Rows that exactly one of the two has right.
        n: Number of benchmark rows, at least 1.
        confidence: Two-sided confidence level, between 0 and 1.

    Raises:
        ValueError: There are no rows, more discordant rows than rows, or the confidence is not between 0 and 1.
    """
    tail = tail_probability(confidence)
    if n < 1 or not 0 <= discordant.total <= n:
        raise ValueError(f"{discordant.total} discordant of {n} rows, expected at least one row and no more discordant")
    delta = (discordant.candidate_only - discordant.control_only) / n
    quantile = -float(special.ndtri(tail))

    def bound(low: float, high: float, threshold: float) -> float:
        # The statistic falls as the difference rises. 60 halvings reach the last digit.
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if _score_statistic(discordant, n, middle) > threshold else (low, middle)
        return (low + high) / 2

    return ScoreInterval(
        delta=delta,
        lower=bound(-1.0, delta, quantile),
        upper=bound(delta, 1.0, -quantile),
    )


def _score_statistic(discordant: DiscordantRows, n: int, difference: float) -> float:
    """Return how far the observed difference is from a hypothetical one, in standard errors under the latter.

    The share of rows that the control alone has right is estimated under that hypothesis; it solves a square equation.
    """
    gained, lost = discordant.candidate_only, discordant.control_only
    linear = (2 * n - gained + lost) * difference - gained - lost
    constant = -lost * difference * (1 - difference)
    share = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    excess = gained - lost - n * difference
    if variance <= 0:
        return math.copysign(math.inf, excess) if excess else 0.0
    return excess / math.sqrt(variance)
