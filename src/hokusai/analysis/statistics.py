"""How sure a difference between two arms is, and what follows from it.

An arm is a set of fits of one trainer on the same data with different seeds. A difference between two arms on one
benchmark is uncertain for two reasons: other benchmark rows could have been drawn, and other seeds. Both are counted.
Whatever cannot be told fails closed: a bound that is not a number decides nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hokusai.records import Outcome

__all__ = [
    "DiscordantRows",
    "McNemarResult",
    "PairedInterval",
    "decide",
    "discordant_rows",
    "mcnemar",
    "no_difference_bound",
    "paired_interval",
]

# Rows that are looked at together: the temporaries of 20 fits then take 10 MB, not 20 times the benchmark.
BLOCK_ROWS = 65_536

# Spread below this share of the numbers it comes from is rounding, not evidence.
ROUNDING = 16 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedInterval:
    """A difference between two arms with its confidence interval, in the metric's unit and raw direction.

    Attributes:
        delta: Mean of the candidate's values minus mean of the control's.
        standard_error: Square root of the sum of the three variances.
        degrees_of_freedom: Satterthwaite's, for the t quantile; NaN when nothing varies.
        lower: Lower end of the two-sided interval; NaN when nothing varies, because then nothing says how sure it is.
        upper: Upper end; NaN with ``lower``.
        row_variance: The part that other benchmark rows could have changed.
        control_seed_variance: The part that other seeds of the control could have changed.
        candidate_seed_variance: The part that other seeds of the candidate could have changed.
    """

    delta: float
    standard_error: float
    degrees_of_freedom: float
    lower: float
    upper: float
    row_variance: float
    control_seed_variance: float
    candidate_seed_variance: float

    @property
    def degenerate(self) -> bool:
        """Whether nothing varies, over rows or seeds, so that there is no interval.

        For accuracy with a delta of zero no row differs between any two fits, and `no_difference_bound` helps out.
        """
        return self.standard_error == 0


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ArmSummary:
    """One arm, averaged over its fits.

    Attributes:
        fits: Number of fits.
        value: Mean value.
        influence: Shape (rows,): mean influence.
        mean_square: Mean square of the influence, over rows and fits: the scale that rounding errors have.
        seed_mean_square: Variance of the values over seeds, divided by the fits.
        interaction: The part of it that is there because seeds act differently on different rows.
    """

    fits: int
    value: float
    influence: NDArray[np.float64]
    mean_square: float
    seed_mean_square: float
    interaction: float

    @property
    def seed_variance(self) -> float:
        """Variance of the mean value over seeds, as it would be on a benchmark without end."""
        return max(0.0, self.seed_mean_square - self.interaction)


def paired_interval(
    control_values: NDArray[np.float64],
    candidate_values: NDArray[np.float64],
    control_influence: NDArray[np.float64],
    candidate_influence: NDArray[np.float64],
    *,
    confidence: float = 0.95,
    random_trainer: bool,
) -> PairedInterval:
    """Return the difference candidate minus control with a confidence interval over rows and seeds.

    The variance is var(d) / n, with d the row's mean influence in the candidate's fits minus that in the control's,
    plus for each arm the variance of its values over seeds, divided by its number of fits. The values of single fits
    also vary because seeds act differently on different rows; that part is in d already and is taken out of the seed
    variance (the mean over rows of the influence's variance over seeds, divided by n and the fits; never below 0).

    The degrees of freedom are Satterthwaite's for a sum of mean squares (F. E. Satterthwaite, 1946, "An approximate
    distribution of estimates of variance components", Biometrics Bulletin 2, 110-114). What is taken out of a seed
    variance is known well and stays in its mean square there: an estimate is no surer for having become smaller.

    Args:
        control_values: Shape (control fits,): the metric of each fit.
        candidate_values: Shape (candidate fits,).
        control_influence: Shape (control fits, rows): the influence function of each fit at each row.
        candidate_influence: Shape (candidate fits, rows), the same rows in the same order.
        confidence: Two-sided confidence level, between 0 and 1.
        random_trainer: Whether another seed can give another model. Then each arm needs two fits or more, without
            which seed noise would pass for a difference.

    Raises:
        ValueError: The shapes do not fit, there are fewer than two rows, the confidence is not between 0 and 1, or a
            random trainer comes with a single fit in an arm.
    """
    _require_confidence(confidence)
    control = _summarise_arm("control", control_values, control_influence, random_trainer=random_trainer)
    candidate = _summarise_arm("candidate", candidate_values, candidate_influence, random_trainer=random_trainer)
    rows = control.influence.size
    if candidate.influence.size != rows:
        raise ValueError(f"the control has {rows} rows and the candidate {candidate.influence.size}, expected the same")

    variance_of_rows = float(np.var(candidate.influence - control.influence, ddof=1))
    if variance_of_rows > ROUNDING**2 * (control.mean_square + candidate.mean_square):
        row_variance = variance_of_rows / rows
    else:
        # Averages can agree on every row while single fits do not: what seeds do to rows is then the only evidence.
        row_variance = control.interaction + candidate.interaction
    variance = row_variance + control.seed_variance + candidate.seed_variance
    delta = candidate.value - control.value
    standard_error = math.sqrt(variance)
    degrees_of_freedom = half_width = math.nan
    if variance > 0:
        mean_squares = (
            (row_variance, rows - 1),
            (control.seed_mean_square, control.fits - 1),
            (candidate.seed_mean_square, candidate.fits - 1),
        )
        degrees_of_freedom = 1 / math.fsum((part / variance) ** 2 / free for part, free in mean_squares if part > 0)
        half_width = standard_error * float(special.stdtrit(degrees_of_freedom, (1 + confidence) / 2))
    return PairedInterval(
        delta=delta,
        standard_error=standard_error,
        degrees_of_freedom=degrees_of_freedom,
        lower=delta - half_width,
        upper=delta + half_width,
        row_variance=row_variance,
        control_seed_variance=control.seed_variance,
        candidate_seed_variance=candidate.seed_variance,
    )


def no_difference_bound(n: int, confidence: float = 0.95) -> float:
    """Return how large a share of rows could still differ between two models when none of n rows did.

    This is the exact (Clopper-Pearson) upper bound of a share of which 0 of n were seen, with half of 1 - confidence
    on this side: 1 - ((1 - confidence) / 2) ** (1 / n), about 3.7 / n at 95 %. For accuracy, plus and minus this
    bound is an honest interval where `paired_interval` has none. Source: J. A. Hanley, A. Lippman-Hand (1983), "If
    nothing goes wrong, is everything all right?", JAMA 249, 1743-1745.

    Args:
        n: Number of benchmark rows, at least 1.
        confidence: Two-sided confidence level, between 0 and 1.

    Raises:
        ValueError: There are no rows, or the confidence is not between 0 and 1.
    """
    _require_confidence(confidence)
    if n < 1:
        raise ValueError(f"n is {n}, expected at least one row")
    return -math.expm1(math.log((1 - confidence) / 2) / n)


def decide(*, gain_lower: float, gain_upper: float, minimum_gain: float) -> Outcome:
    """Return what an interval of a gain (above zero is better) says about a bar.

    Accept when the whole interval is at or above the bar and above zero. Reject when the whole interval is below the
    bar, or at or below zero. In between, and for anything that is not a number, there is not enough evidence. A bar of
    zero or below asks for a gain above zero: no contribution is accepted for doing nothing.

    Args:
        gain_lower: Lower end of the interval, in the metric's unit, towards better.
        gain_upper: Upper end.
        minimum_gain: The bar, in the same unit, fixed before the data were seen.

    Raises:
        ValueError: The lower end is above the upper end.
    """
    if gain_lower > gain_upper:
        raise ValueError(f"gain_lower {gain_lower} is above gain_upper {gain_upper}; was the sign of the gain turned?")
    if math.isnan(gain_lower) or math.isnan(gain_upper) or math.isnan(minimum_gain):
        return "not enough evidence"
    if gain_lower >= minimum_gain and gain_lower > 0:
        return "accept"
    if gain_upper < minimum_gain or gain_upper <= 0:
        return "reject"
    return "not enough evidence"


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


def _require_confidence(confidence: float) -> None:
    """Refuse a confidence level that is none."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected a number between 0 and 1, such as 0.95")


def _summarise_arm(
    arm: str, values: NDArray[np.float64], influence: NDArray[np.float64], *, random_trainer: bool
) -> _ArmSummary:
    """Average an arm over its fits and separate what its seeds vary from what its rows vary."""
    fits = values.size
    if values.ndim != 1 or influence.ndim != 2 or influence.shape[0] != fits:
        raise ValueError(f"{arm}: values {values.shape} and influence {influence.shape}, expected (R,) and (R, rows)")
    if fits < 1 or influence.shape[1] < 2:
        raise ValueError(f"{arm}: influence {influence.shape}, expected at least one fit and two rows")
    if random_trainer and fits < 2:
        raise ValueError(f"{arm}: one fit of a random trainer, expected at least two (five are better)")
    rows = influence.shape[1]
    average, over_seeds, squares = np.empty(rows), 0.0, 0.0
    for start in range(0, rows, BLOCK_ROWS):
        block = influence[:, start : start + BLOCK_ROWS]
        average[start : start + BLOCK_ROWS] = centre = _shifted_mean(block)
        over_seeds += float(np.sum((block - centre) ** 2))
        squares += float(np.sum(block**2))
    if over_seeds <= ROUNDING**2 * squares:
        over_seeds = 0.0
    value = float(_shifted_mean(values))
    spread = float(np.sum((values - value) ** 2))
    if spread <= (ROUNDING * float(np.max(np.abs(values)))) ** 2:
        spread = 0.0
    pairs = fits * max(fits - 1, 1)
    return _ArmSummary(
        fits=fits,
        value=value,
        influence=average,
        mean_square=squares / (rows * fits),
        seed_mean_square=spread / pairs,
        interaction=over_seeds / rows / rows / pairs,
    )


def _shifted_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over the first axis so that equal fits give exactly their common value, without rounding."""
    mean: NDArray[np.float64] = values[0] + np.mean(values - values[0], axis=0)
    return mean
