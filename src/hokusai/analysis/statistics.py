"""How sure a difference between two arms is, and what follows from it.

An arm is a set of fits of one trainer on the same data with different seeds. A difference between two arms on one
benchmark is uncertain for two reasons: other benchmark rows could have been drawn, and other seeds. Both are counted.
Rows that belong together count as one unit. Whatever cannot be told fails closed: a bound that is not a number decides
nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from hokusai.records import MetricScores

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from hokusai.analysis.influence import MetricEvaluation
    from hokusai.records import Outcome

__all__ = [
    "Combination",
    "FitsSummary",
    "PairedInterval",
    "RowGroups",
    "decide",
    "paired_interval",
    "satterthwaite",
    "summarise_fits",
    "tail_probability",
]

Combination = Literal["satterthwaite", "howe"]
# Spread below this share of the numbers it comes from is rounding, not evidence.
ROUNDING = 16 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowGroups:
    """Which benchmark rows belong together, such as those of one patient or one query.

    Attributes:
        codes: Shape (rows,): the group of each row, counted from 0.
        count: Number of groups; every one of them has a row.

    Raises:
        ValueError: A code is not below ``count`` and at least 0, or a group has no row.
    """

    codes: NDArray[np.intp]
    count: int

    def __post_init__(self) -> None:
        """Refuse codes that name no group, and groups without rows, which would pass for evidence."""
        if self.codes.ndim != 1 or self.codes.size == 0:
            raise ValueError(f"codes have shape {self.codes.shape}, expected (rows,) with at least one row")
        if self.codes.min() < 0 or self.codes.max() >= self.count:
            raise ValueError(f"codes from {self.codes.min()} to {self.codes.max()}, expected 0 to {self.count - 1}")
        empty = np.flatnonzero(np.bincount(self.codes, minlength=self.count) == 0)
        if empty.size:
            raise ValueError(f"group {empty[0]} has no row, expected one or more in each of {self.count}")

    @classmethod
    def of(cls, values: NDArray[np.generic]) -> RowGroups:
        """Return the groups of rows that have the same value; they are numbered as they first appear.

        Args:
            values: Shape (rows,): numbers, texts or other objects that can be compared.

        Raises:
            ValueError: There are no rows, or a value is missing, which does not say where its row belongs.
        """
        listed = values.tolist()
        missing = next((row for row, value in enumerate(listed) if value is None or value != value), None)  # noqa: PLR0124
        if missing is not None:
            raise ValueError(f"row {missing + 1} has no group, expected a value in every row")
        numbers: dict[object, int] = {}
        codes = np.array([numbers.setdefault(value, len(numbers)) for value in listed], dtype=np.intp)
        return cls(codes=codes, count=len(numbers))


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
        control_mean_square: Variance of the control's values over seeds, divided by its fits: the seed variance with
            the interaction of seeds and rows, which the row variance counts.
        candidate_mean_square: The same of the candidate.
        units: Number of benchmark rows or, where rows belong together, of groups.
        control_fits: Number of fits of the control.
        candidate_fits: Number of fits of the candidate.
    """

    delta: float
    standard_error: float
    degrees_of_freedom: float
    lower: float
    upper: float
    row_variance: float
    control_seed_variance: float
    candidate_seed_variance: float
    control_mean_square: float
    candidate_mean_square: float
    units: int
    control_fits: int
    candidate_fits: int

    @property
    def degenerate(self) -> bool:
        """Whether nothing varies, over rows or seeds, so that there is no interval.

        For accuracy with a delta of zero no row differs between any two fits; then
        `hokusai.analysis.paired_proportions.no_difference_bound` helps out.
        """
        return self.standard_error == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _SeedSpread:
    """What the seeds of one arm do to its values.

    Attributes:
        value: Mean value over the fits.
        mean_square: Variance of the values over seeds, divided by the fits.
        variance: The part of it that would be left on a benchmark without end.
    """

    value: float
    mean_square: float
    variance: float


class FitsSummary:
    """One metric of one arm, summed up fit by fit: the influence of one fit at a time is held; see `summarise_fits`.

    Args:
        groups: The rows that belong together; by default every row stands alone.
    """

    def __init__(self, groups: RowGroups | None = None) -> None:
        """Begin without a fit."""
        self._groups = groups
        self._values: list[float] = []
        self._mean = np.zeros(0)
        self._over_seeds = self._squares = 0.0

    def add(self, evaluation: MetricEvaluation) -> None:
        """Take in the next fit.

        Raises:
            ValueError: It does not have the rows of the fit before, or the groups are of other rows.
        """
        groups = self._groups
        influence = evaluation.influence if groups is None else _sum_groups(evaluation.influence, groups)
        self._values.append(evaluation.value)
        self._squares += float(np.dot(influence, influence))
        fits = len(self._values)
        if fits == 1:
            self._mean = influence.copy()
            return
        if influence.shape != self._mean.shape:
            before = self._mean.size
            raise ValueError(f"fit {fits} has {influence.size} rows and the one before {before}, expected the same")
        # Welford's recurrence: equal fits give exactly their common influence and a spread of exactly zero.
        step = influence - self._mean
        self._over_seeds += float(np.dot(step, step)) * (fits - 1) / fits
        self._mean = self._mean + step / fits

    def scores(self) -> MetricScores:
        """Return what the fits so far add up to.

        Raises:
            ValueError: There is no fit.
        """
        if not self._values:
            raise ValueError("no fits, expected at least one")
        units, fits = self._mean.size, len(self._values)
        over_seeds = self._over_seeds if self._over_seeds > ROUNDING**2 * self._squares else 0.0
        return MetricScores(
            values=np.array(self._values),
            influence=self._mean,
            mean_square=self._squares / (units * fits),
            interaction=over_seeds / units / units / (fits * max(fits - 1, 1)),
        )


def summarise_fits(evaluations: Iterable[MetricEvaluation], *, groups: RowGroups | None = None) -> MetricScores:
    """Return one metric of one arm, summed up over its fits one after the other.

    Where rows belong together, the influence of a group is (groups / rows) times the sum of its rows' influence, and
    groups take the place of rows in everything that follows (the linearised statistic of clusters: D. A. Binder, 1983,
    "On the variances of asymptotically normal estimators from complex surveys", International Statistical Review 51,
    279-292). The influence of one fit at a time is held, whatever the number of fits.

    Args:
        evaluations: The metric of each fit on the same rows; an iterator will do.
        groups: The rows that belong together; by default every row stands alone.

    Raises:
        ValueError: There is no fit, the fits do not have the same rows, or the groups are of other rows.
    """
    summary = FitsSummary(groups)
    for evaluation in evaluations:
        summary.add(evaluation)
    return summary.scores()


def paired_interval(
    control: MetricScores,
    candidate: MetricScores,
    *,
    confidence: float = 0.95,
    random_trainer: bool,
    combination: Combination = "satterthwaite",
) -> PairedInterval:
    """Return the difference candidate minus control with a confidence interval over rows and seeds.

    The variance is var(d) / n, with d the unit's mean influence in the candidate's fits minus that in the control's,
    plus for each arm the variance of its values over seeds, divided by its number of fits. The values of single fits
    also vary because seeds act differently on different rows; that part is in d already and is taken out of the seed
    variance (the mean over units of the influence's variance over seeds, divided by n and the fits; never below 0).

    The degrees of freedom are Satterthwaite's for a sum of mean squares (F. E. Satterthwaite, 1946, "An approximate
    distribution of estimates of variance components", Biometrics Bulletin 2, 110-114): n - 1 for the units, the fits
    less one for each arm. What is taken out of a seed variance is known well and stays in its mean square there: an
    estimate is no surer for having become smaller.

    That approximation is good in the body of the distribution. Far out, at levels of one in ten thousand, a handful of
    seeds that agree by chance makes both the variance and the quantile small. There each part takes the t quantile of
    its own degrees of freedom, and the half width is the root of the sum of their squares, which errs on the safe side
    (W. G. Howe, 1974, "Approximate confidence limits on the mean of X + Y where X and Y are two tabled independent
    random variables", Journal of the American Statistical Association 69, 789-794).

    Args:
        control: The metric of the control's fits.
        candidate: The metric of the candidate's fits, on the same units in the same order.
        confidence: Two-sided confidence level, between 0 and 1. A one-sided test at level alpha takes 1 - 2 * alpha.
        random_trainer: Whether another seed can give another model. Then each arm needs two fits or more, without
            which seed noise would pass for a difference.
        combination: How the parts make one half width: ``satterthwaite``, or ``howe`` for decisions of which there are
            many and each has a small share of the error.

    Raises:
        ValueError: The units differ or are fewer than two, the confidence is not between 0 and 1, or a random trainer
            comes with a single fit in an arm.
    """
    tail = tail_probability(confidence)
    control_spread = _seed_spread("control", control, random_trainer=random_trainer)
    candidate_spread = _seed_spread("candidate", candidate, random_trainer=random_trainer)
    units = control.influence.size
    if candidate.influence.size != units:
        raise ValueError(
            f"the control has {units} rows and the candidate {candidate.influence.size}, expected the same"
        )

    variance_of_units = float(np.var(candidate.influence - control.influence, ddof=1))
    row_variance = variance_of_units / units
    if variance_of_units <= ROUNDING**2 * (control.mean_square + candidate.mean_square):
        # Averages can agree on every row while single fits do not: what seeds do to rows is then the only evidence.
        row_variance = control.interaction + candidate.interaction
    variance = row_variance + control_spread.variance + candidate_spread.variance
    delta = candidate_spread.value - control_spread.value
    standard_error = math.sqrt(variance)
    degrees_of_freedom = half_width = math.nan
    if variance > 0:
        parts = (
            (row_variance, units - 1),
            (control_spread.mean_square, control.values.size - 1),
            (candidate_spread.mean_square, candidate.values.size - 1),
        )
        degrees_of_freedom = satterthwaite(variance, *parts)
        half_width = -standard_error * float(special.stdtrit(degrees_of_freedom, tail))
        if combination == "howe":
            squares = (part * float(special.stdtrit(free, tail)) ** 2 for part, free in parts if part > 0)
            half_width = max(half_width, math.sqrt(math.fsum(squares)))
    return PairedInterval(
        delta=delta,
        standard_error=standard_error,
        degrees_of_freedom=degrees_of_freedom,
        lower=delta - half_width,
        upper=delta + half_width,
        row_variance=row_variance,
        control_seed_variance=control_spread.variance,
        candidate_seed_variance=candidate_spread.variance,
        control_mean_square=control_spread.mean_square,
        candidate_mean_square=candidate_spread.mean_square,
        units=units,
        control_fits=control.values.size,
        candidate_fits=candidate.values.size,
    )


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


def tail_probability(confidence: float) -> float:
    """Return what a two-sided confidence level leaves on each side: (1 - confidence) / 2.

    Raises:
        ValueError: The confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected a number between 0 and 1, such as 0.95")
    return (1 - confidence) / 2


def satterthwaite(variance: float, *mean_squares: tuple[float, float]) -> float:
    """Return the degrees of freedom of a variance that is a sum of mean squares.

    Args:
        variance: The sum, above zero; what is known without error may have been taken out of it.
        mean_squares: Each part with its own degrees of freedom; a part of zero does not count.
    """
    return 1 / math.fsum((part / variance) ** 2 / free for part, free in mean_squares if part > 0)


def _seed_spread(arm: Literal["control", "candidate"], scores: MetricScores, *, random_trainer: bool) -> _SeedSpread:
    """Separate what the seeds of an arm vary from what its rows vary."""
    values, fits = scores.values, scores.values.size
    if values.ndim != 1 or scores.influence.ndim != 1:
        raise ValueError(f"{arm}: values {values.shape}, influence {scores.influence.shape}, expected (R,) and (rows,)")
    if fits < 1 or scores.influence.size < 2:
        raise ValueError(f"{arm}: {fits} fits, {scores.influence.size} rows, expected at least one fit and two rows")
    if random_trainer and fits < 2:
        raise ValueError(f"{arm}: one fit of a random trainer, expected at least two (five are better)")
    # Shifted by the first, so that equal values give exactly their common value.
    value = float(values[0] + np.mean(values - values[0]))
    spread = float(np.sum((values - value) ** 2))
    if spread <= (ROUNDING * float(np.max(np.abs(values)))) ** 2:
        spread = 0.0
    mean_square = spread / (fits * max(fits - 1, 1))
    return _SeedSpread(value=value, mean_square=mean_square, variance=max(0.0, mean_square - scores.interaction))


def _sum_groups(influence: NDArray[np.float64], groups: RowGroups) -> NDArray[np.float64]:
    """Return the influence of every group; its mean over the groups is that over the rows."""
    if influence.shape != groups.codes.shape:
        raise ValueError(f"groups of {groups.codes.size} rows for {influence.size}, expected as many")
    shares = influence * (groups.count / influence.size)
    return np.bincount(groups.codes, weights=shares, minlength=groups.count).astype(np.float64, copy=False)
