"""Comparing right and wrong answers on the same rows gives what is published."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from hokusai.analysis.paired_proportions import DiscordantRows, discordant_rows, mcnemar, no_difference_bound, tango


@given(pairs=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_discordant_rows_are_those_that_one_model_has_right(pairs: list[tuple[bool, bool]]) -> None:
    control, candidate = np.array(pairs).T
    found = discordant_rows(control, candidate)
    assert found == DiscordantRows(control_only=pairs.count((True, False)), candidate_only=pairs.count((False, True)))
    assert found.total == int((control != candidate).sum())
    assert discordant_rows(control.astype(np.float64), candidate.astype(np.int8)) == found


def test_discordant_rows_refuses_what_is_not_right_or_wrong() -> None:
    with pytest.raises(ValueError, match="other than 0 and 1"):
        discordant_rows(np.array([0.5, 1.0]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="expected \\(rows,\\) twice"):
        discordant_rows(np.array([True]), np.array([True, False]))


@pytest.mark.parametrize(
    ("b", "c", "exact", "mid"),
    [
        # Bentur et al. (2009), 21 children, as analysed by Fagerland, Lydersen and Laake (2013).
        (1, 7, 0.070, 0.039),
        # Cavo et al. (2012), 161 patients, likewise.
        (6, 16, 0.052, 0.035),
    ],
)
def test_mcnemar_reproduces_the_published_examples(b: int, c: int, exact: float, mid: float) -> None:
    found = mcnemar(b, c)
    assert (round(found.exact_p, 3), round(found.mid_p, 3)) == (exact, mid)


@settings(deadline=None)
@given(b=st.integers(0, 60), c=st.integers(0, 60))
def test_mcnemar_is_the_binomial_test_of_the_discordant_rows(b: int, c: int) -> None:
    found = mcnemar(b, c)
    assert found == mcnemar(c, b)
    assert 0 <= found.mid_p <= found.exact_p <= 1
    if b + c == 0:
        assert found.mid_p == 1
        return
    assert found.exact_p == pytest.approx(stats.binomtest(b, b + c).pvalue)
    observed = math.comb(b + c, b) / 2 ** (b + c)
    assert found.mid_p == pytest.approx(1 - observed / 2 if b == c else found.exact_p - observed)


def test_mcnemar_stays_exact_for_a_million_discordant_rows() -> None:
    found = mcnemar(500_000, 498_000)
    score = (2000 - 1) / math.sqrt(998_000)
    assert found.exact_p == pytest.approx(2 * special.ndtr(-score), rel=1e-4)
    assert mcnemar(0, 1_000_000).mid_p == 0
    with pytest.raises(ValueError, match="below zero"):
        mcnemar(-1, 3)


@given(n=st.integers(1, 10**7), confidence=st.floats(0.5, 0.999))
def test_the_bound_on_unseen_differences_is_the_exact_binomial_one(n: int, confidence: float) -> None:
    bound = no_difference_bound(n, confidence)
    assert 0 < bound < 1
    # With that share of differing rows, seeing none of them has just the promised probability.
    assert n * math.log1p(-bound) == pytest.approx(math.log((1 - confidence) / 2), rel=1e-9)


def test_the_bound_on_unseen_differences_is_the_rule_of_three_at_one_sided_95_percent() -> None:
    assert no_difference_bound(1000, confidence=0.90) == pytest.approx(3 / 1000, rel=0.01)
    assert no_difference_bound(100) == pytest.approx(stats.beta.ppf(0.975, 1, 100))
    with pytest.raises(ValueError, match="at least one row"):
        no_difference_bound(0)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_a_confidence_outside_of_zero_to_one_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        no_difference_bound(10, confidence)
    with pytest.raises(ValueError, match="between 0 and 1"):
        tango(DiscordantRows(control_only=1, candidate_only=2), n=10, confidence=confidence)


@pytest.mark.parametrize(
    ("candidate_only", "control_only", "n", "lower", "upper"),
    [
        # Bentur et al. (2009) as analysed by Fagerland, Lydersen and Laake (2014), "Recommended tests and confidence
        # intervals for paired binomial proportions", Statistics in Medicine 33, 2850-2875.
        (1, 7, 21, -0.517, -0.026),
        # Crossover trial in A. Agresti and Y. Min (2005), Statistics in Medicine 24, 729-740.
        (16, 8, 86, -0.020, 0.207),
    ],
)
def test_tango_reproduces_the_published_examples(
    candidate_only: int, control_only: int, n: int, lower: float, upper: float
) -> None:
    found = tango(DiscordantRows(control_only=control_only, candidate_only=candidate_only), n=n)
    assert (round(found.lower, 3), round(found.upper, 3)) == (lower, upper)
    assert found.delta == pytest.approx((candidate_only - control_only) / n)


@given(control_only=st.integers(0, 30), candidate_only=st.integers(0, 30), agreed=st.integers(1, 300))
def test_tango_turns_its_sign_with_the_arms_and_refuses_zero_as_mcnemar_does(
    control_only: int, candidate_only: int, agreed: int
) -> None:
    forth = DiscordantRows(control_only=control_only, candidate_only=candidate_only)
    back = DiscordantRows(control_only=candidate_only, candidate_only=control_only)
    found, turned = tango(forth, n=forth.total + agreed), tango(back, n=forth.total + agreed)
    assert (turned.lower, turned.upper) == pytest.approx((-found.upper, -found.lower), abs=1e-12)
    assert -1 <= found.lower <= found.delta <= found.upper <= 1
    # At a difference of zero the score test is McNemar's without a continuity correction.
    statistic = (candidate_only - control_only) / math.sqrt(max(1, forth.total))
    if abs(abs(statistic) - 1.959963984540054) > 1e-9:
        assert (found.lower > 0 or found.upper < 0) == (abs(statistic) > 1.959963984540054)


def test_tango_without_discordant_rows_is_symmetric_and_has_a_closed_form() -> None:
    found = tango(DiscordantRows(control_only=0, candidate_only=0), n=100)
    square = stats.norm.ppf(0.975) ** 2
    assert (found.lower, found.upper) == pytest.approx((-square / (100 + square), square / (100 + square)))


def test_tango_ends_at_one_when_every_row_was_gained() -> None:
    assert tango(DiscordantRows(control_only=0, candidate_only=5), n=5).upper == 1
    assert tango(DiscordantRows(control_only=5, candidate_only=0), n=5).lower == -1


def test_tango_refuses_more_discordant_rows_than_rows() -> None:
    with pytest.raises(ValueError, match="6 discordant of 5 rows"):
        tango(DiscordantRows(control_only=3, candidate_only=3), n=5)
    with pytest.raises(ValueError, match="at least one row"):
        tango(DiscordantRows(control_only=0, candidate_only=0), n=0)
