"""Looking early errs no more often than looking once."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from hokusai.analysis.group_sequential import LOOKS, boundaries, futile
from hokusai.analysis.influence import MetricEvaluation
from hokusai.analysis.statistics import PairedInterval, paired_interval, summarise_fits
from hokusai.records import MetricScores


def z_values(looks: tuple[int, ...], alpha: float) -> list[float]:
    """Return the boundaries as normal quantiles."""
    return [-float(special.ndtri(level)) for level in boundaries(looks, alpha=alpha)]


@pytest.mark.parametrize(
    "published",
    [
        # gsDesign, sfLDOF, one-sided 0.025, equally spaced looks.
        (2.963, 1.969),
        (3.710, 2.511, 1.993),
        (4.333, 2.963, 2.359, 2.014),
        (4.877, 3.357, 2.680, 2.290, 2.031),
    ],
)
def test_the_boundaries_are_the_published_ones_to_their_printed_digits(published: tuple[float, ...]) -> None:
    looks = tuple(range(1, len(published) + 1))
    assert [round(value, 3) for value in z_values(looks, 0.025)] == list(published)


def test_the_boundary_of_two_looks_is_that_of_the_bivariate_normal_distribution() -> None:
    first, last = z_values((3, 10), 0.05)
    assert first == pytest.approx(stats.norm.isf(2 * stats.norm.sf(stats.norm.isf(0.025) / math.sqrt(0.3))))
    correlation = math.sqrt(0.3)
    crossed_last_alone = integrate.quad(
        lambda x: stats.norm.pdf(x) * stats.norm.sf((last - correlation * x) / math.sqrt(1 - 0.3)), -10, first
    )[0]
    assert crossed_last_alone + stats.norm.sf(first) == pytest.approx(0.05, abs=1e-9)


def test_a_single_look_has_the_whole_level() -> None:
    assert boundaries((7,), alpha=0.025) == pytest.approx((0.025,))


def test_by_default_five_looks_are_planned() -> None:
    assert boundaries(alpha=0.025) == boundaries((3, 5, 8, 12, 20), alpha=0.025)
    assert len(LOOKS) == 5


@settings(deadline=None, max_examples=25)
@given(
    looks=st.lists(st.integers(1, 30), min_size=1, max_size=6, unique=True),
    alpha=st.floats(1e-6, 0.2),
)
def test_levels_are_below_the_whole_and_their_sum_is_not(looks: list[int], alpha: float) -> None:
    levels = boundaries(tuple(sorted(looks)), alpha=alpha)
    assert all(0 < level <= alpha * (1 + 1e-6) for level in levels)
    # The union of the errors is the whole level; their sum is at least that.
    assert sum(levels) >= alpha * (1 - 1e-6)


def test_a_level_too_small_for_a_confidence_below_one_is_raised_to_the_smallest() -> None:
    levels = boundaries(alpha=0.05 / 1000)
    assert levels[0] == 1e-15
    assert 1 - 2 * levels[0] < 1
    assert levels[-1] == pytest.approx(5e-5, rel=0.01)


@pytest.mark.parametrize("looks", [(), (0, 3), (3, 3), (5, 3)])
def test_looks_that_do_not_increase_are_refused(looks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected increasing numbers"):
        boundaries(looks, alpha=0.025)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, math.nan])
def test_a_level_that_is_none_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha is"):
        boundaries(alpha=alpha)
    with pytest.raises(ValueError, match="final_alpha is"):
        futile(arms_at(5), gain=0.0, most_fits=20, final_alpha=alpha, minimum_gain=0.0)


def arms_at(
    fits: int, *, control_fits: int | None = None, seed_deviation: float = 0.01, row_deviation: float = 0.1
) -> PairedInterval:
    """Return an interval on 400 rows with exactly these deviations over rows and over the seeds of either arm."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=400)
    rows = row_deviation * (rows - rows.mean()) / rows.std(ddof=1)

    def arm(count: int, influence: np.ndarray[tuple[int], np.dtype[np.float64]]) -> MetricScores:
        values = np.linspace(-1, 1, count)
        values *= seed_deviation / values.std(ddof=1)
        return MetricScores(values=values, influence=influence, mean_square=row_deviation**2, interaction=0.0)

    return paired_interval(arm(control_fits or fits, np.zeros(400)), arm(fits, rows), random_trainer=True)


def test_conditional_power_is_the_formula_by_hand() -> None:
    interval = arms_at(5)
    row_variance, seed_variance = 0.1**2 / 400, 0.01**2
    error = math.sqrt(row_variance + 2 * seed_variance / 20)
    freedom = error**4 / (row_variance**2 / 399 + 2 * (seed_variance / 20) ** 2 / 19)
    tau = math.sqrt(2 * (seed_variance / 5) * 5 * 15 / 20**2)
    threshold = 0.004 + stats.t.isf(0.024, freedom) * error + stats.norm.ppf(0.1) * tau
    is_futile = partial(futile, interval, most_fits=20, final_alpha=0.024, minimum_gain=0.004)
    assert is_futile(gain=threshold - 1e-9)
    assert not is_futile(gain=threshold + 1e-9)


def test_conditional_power_is_how_often_the_last_look_would_accept() -> None:
    rng = np.random.default_rng(2)
    fits, most, gain, alpha = 5, 20, 0.012, 0.024
    interval = arms_at(fits)
    last = arms_at(most)
    quantile = stats.t.isf(alpha, last.degrees_of_freedom)
    fresh = rng.normal(size=(2, 100_000, most - fits)).mean(axis=2) * 0.01
    estimates = gain + (most - fits) / most * (fresh[0] - fresh[1])
    share = float(np.mean(estimates - quantile * last.standard_error > 0))
    decide = partial(futile, interval, gain=gain, most_fits=most, final_alpha=alpha, minimum_gain=0.0)
    assert 0.1 < share < 0.9
    assert not decide(power=share - 0.01)
    assert decide(power=share + 0.01)


def test_a_control_that_is_complete_cannot_move_the_estimate_any_more() -> None:
    grown, complete = arms_at(5), arms_at(5, control_fits=20)
    is_futile = partial(futile, most_fits=20, final_alpha=0.024, minimum_gain=0.0)
    # Both have the same precision at the end; what is still to come differs.
    gains = np.linspace(0.0, 0.02, 401)
    thresholds = [sum(is_futile(interval, gain=float(gain)) for gain in gains) for interval in (grown, complete)]
    assert thresholds[0] < thresholds[1]


def test_at_the_last_look_only_what_falls_short_is_futile() -> None:
    interval = arms_at(20)
    quantile = stats.t.isf(0.024, interval.degrees_of_freedom)
    is_futile = partial(futile, interval, most_fits=20, final_alpha=0.024, minimum_gain=0.001)
    assert is_futile(gain=0.001 + quantile * interval.standard_error - 1e-9)
    assert not is_futile(gain=0.001 + quantile * interval.standard_error + 1e-9)
    with pytest.raises(ValueError, match="at least the 20"):
        futile(interval, gain=0.0, most_fits=19, final_alpha=0.024, minimum_gain=0.0)


def test_where_nothing_varies_nothing_is_futile() -> None:
    still = arms_at(3, seed_deviation=0.0, row_deviation=0.0)
    assert not futile(still, gain=-1.0, most_fits=20, final_alpha=0.024, minimum_gain=0.0)


def summary(scores: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> MetricScores:
    """Return an arm whose metric is the mean of a score per row."""
    return summarise_fits(MetricEvaluation(value=float(each.mean()), influence=each - each.mean()) for each in scores)


@pytest.mark.slow
def test_all_looks_together_accept_a_worthless_contribution_at_most_at_the_nominal_rate() -> None:
    rng = np.random.default_rng(2032)
    rows, repetitions, alpha = 2000, 1500, 0.025
    levels = boundaries(alpha=alpha)
    accepted = accepted_naively = accepted_unless_futile = fits_unless_futile = 0
    for _ in range(repetitions):
        ease = rng.normal(size=rows) + 0.8
        control, candidate = (
            (ease + 0.1 * rng.normal(size=(LOOKS[-1], 1)) + 0.3 * rng.normal(size=(LOOKS[-1], rows)) > 0).astype(float)
            for _ in range(2)
        )
        outcomes, peeks, stops = [], [], []
        for fits, level in zip(LOOKS, levels, strict=True):
            arms = summary(control[:fits]), summary(candidate[:fits])
            found = paired_interval(*arms, confidence=1 - 2 * level, random_trainer=True)
            outcomes.append(found.lower > 0)
            peeks.append(paired_interval(*arms, confidence=1 - 2 * alpha, random_trainer=True).lower > 0)
            stops.append(futile(found, gain=found.delta, most_fits=LOOKS[-1], final_alpha=levels[-1], minimum_gain=0.0))
        accepted += any(outcomes)
        accepted_naively += any(peeks)
        end = next((look for look in range(len(LOOKS)) if outcomes[look] or stops[look]), len(LOOKS) - 1)
        accepted_unless_futile += outcomes[end]
        fits_unless_futile += LOOKS[end]
    allowance = 3 * math.sqrt(alpha * (1 - alpha) / repetitions)
    assert accepted / repetitions <= alpha + allowance
    assert accepted_unless_futile <= accepted
    assert accepted_naively / repetitions > alpha + allowance
    # Most worthless contributions are given up early.
    assert fits_unless_futile / repetitions < LOOKS[-1] / 2
