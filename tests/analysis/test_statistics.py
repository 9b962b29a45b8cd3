"""Intervals cover what they promise, and decisions fail closed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from hokusai.analysis.influence import MetricEvaluation
from hokusai.analysis.metrics import METRICS, BenchmarkTruth, evaluate
from hokusai.analysis.statistics import (
    DiscordantRows,
    PairedInterval,
    decide,
    discordant_rows,
    mcnemar,
    no_difference_bound,
    paired_interval,
)
from hokusai.records import Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arm = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def mean_arm(scores: NDArray[np.float64]) -> Arm:
    """Return an arm whose metric is the mean of a score per row; ``scores`` has shape (fits, rows)."""
    values = scores.mean(axis=1)
    return values, scores - values[:, None]


def interval(control: Arm, candidate: Arm, *, confidence: float = 0.95, random_trainer: bool = False) -> PairedInterval:
    """Return the paired interval of two arms."""
    return paired_interval(
        control[0], candidate[0], control[1], candidate[1], confidence=confidence, random_trainer=random_trainer
    )


@st.composite
def random_arms(draw: st.DrawFn) -> tuple[Arm, Arm]:
    """Draw two arms of random fits on the same rows, from a drawn seed and drawn sizes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, scale = draw(st.integers(2, 50)), draw(st.sampled_from([1e-6, 1.0, 1e6]))
    difficulty = rng.normal(size=rows)
    control = difficulty + rng.normal(size=(draw(st.integers(2, 6)), rows))
    candidate = difficulty + 0.1 + rng.normal(size=(draw(st.integers(2, 6)), rows))
    return mean_arm(scale * control), mean_arm(scale * candidate)


@given(arms=random_arms())
def test_exchanging_the_arms_turns_the_sign(arms: tuple[Arm, Arm]) -> None:
    forth, back = interval(*arms, random_trainer=True), interval(*arms[::-1], random_trainer=True)
    assert back.delta == -forth.delta
    assert back.standard_error == pytest.approx(forth.standard_error)
    assert (back.lower, back.upper) == pytest.approx((-forth.upper, -forth.lower))
    assert (back.control_seed_variance, back.candidate_seed_variance) == pytest.approx(
        (forth.candidate_seed_variance, forth.control_seed_variance)
    )


@given(arms=random_arms(), data=st.data())
def test_the_order_of_rows_and_of_fits_does_not_matter(arms: tuple[Arm, Arm], data: st.DataObject) -> None:
    (control, control_influence), (candidate, candidate_influence) = arms
    rows = data.draw(st.permutations(range(control_influence.shape[1])))
    fits = data.draw(st.permutations(range(control.size)))
    plain = interval(*arms, random_trainer=True)
    shuffled = interval(
        (control[fits], control_influence[fits][:, rows]),
        (candidate, candidate_influence[:, rows]),
        random_trainer=True,
    )
    assert (shuffled.lower, shuffled.delta, shuffled.upper) == pytest.approx((plain.lower, plain.delta, plain.upper))


@given(arms=random_arms(), levels=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)))
def test_more_confidence_never_makes_the_interval_narrower(arms: tuple[Arm, Arm], levels: tuple[float, float]) -> None:
    narrow, wide = (interval(*arms, confidence=level, random_trainer=True) for level in sorted(levels))
    assert wide.lower <= narrow.lower <= narrow.delta <= narrow.upper <= wide.upper


@given(arms=random_arms())
def test_the_parts_add_up_to_the_standard_error_and_are_never_negative(arms: tuple[Arm, Arm]) -> None:
    found = interval(*arms, random_trainer=True)
    parts = (found.row_variance, found.control_seed_variance, found.candidate_seed_variance)
    assert min(parts) >= 0
    assert found.standard_error**2 == pytest.approx(sum(parts))
    rows = arms[0][1].shape[1]
    assert 0 < found.degrees_of_freedom <= rows - 1 + arms[0][0].size - 1 + arms[1][0].size - 1


def test_one_fit_of_a_fixed_trainer_per_arm_gives_the_paired_t_interval() -> None:
    rng = np.random.default_rng(3)
    control, candidate = rng.normal(size=(1, 40)), rng.normal(size=(1, 40))
    found = interval(mean_arm(control), mean_arm(candidate))
    expected = stats.ttest_rel(candidate[0], control[0]).confidence_interval(0.95)
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))
    assert found.degrees_of_freedom == pytest.approx(39)
    assert found.control_seed_variance == found.candidate_seed_variance == 0


def test_the_seed_part_is_the_spread_of_the_values_less_what_rows_explain() -> None:
    rng = np.random.default_rng(4)
    control = mean_arm(rng.normal(size=(5, 1000)) + rng.normal(size=(5, 1)))
    candidate = mean_arm(rng.normal(size=(4, 1000)) + rng.normal(size=(4, 1)))
    found = interval(control, candidate, random_trainer=True)
    for part, (values, influence) in (
        (found.control_seed_variance, control),
        (found.candidate_seed_variance, candidate),
    ):
        interaction = influence.var(axis=0, ddof=1).mean() / 1000
        assert part == pytest.approx((values.var(ddof=1) - interaction) / values.size)
    difference = candidate[1].mean(axis=0) - control[1].mean(axis=0)
    assert found.row_variance == pytest.approx(difference.var(ddof=1) / 1000)


def test_a_large_benchmark_gives_the_same_as_the_formula_in_one_piece() -> None:
    rng = np.random.default_rng(5)
    rows = 150_001
    control, candidate = mean_arm(rng.normal(size=(3, rows))), mean_arm(rng.normal(size=(2, rows)))
    found = interval(control, candidate, random_trainer=True)
    difference = candidate[1].mean(axis=0) - control[1].mean(axis=0)
    assert found.row_variance == pytest.approx(difference.var(ddof=1) / rows, rel=1e-10)


@pytest.mark.parametrize(("control_fits", "candidate_fits"), [(1, 1), (5, 5), (20, 5)])
def test_equal_models_differ_by_exactly_zero_and_have_no_interval(control_fits: int, candidate_fits: int) -> None:
    scores = np.random.default_rng(6).random(100) / 3
    found = interval(
        mean_arm(np.tile(scores, (control_fits, 1))),
        mean_arm(np.tile(scores, (candidate_fits, 1))),
        random_trainer=control_fits > 1,
    )
    assert found.delta == 0
    assert found.standard_error == 0
    assert found.degenerate
    assert math.isnan(found.lower)
    assert math.isnan(found.upper)
    assert decide(gain_lower=found.lower, gain_upper=found.upper, minimum_gain=0.0) == "not enough evidence"


def test_the_same_shift_on_every_row_is_no_evidence_of_certainty() -> None:
    errors = np.random.default_rng(7).random((1, 200))
    found = interval(mean_arm(errors), mean_arm(errors + 0.1))
    assert found.delta == pytest.approx(0.1)
    assert found.degenerate


def test_arms_that_agree_only_on_average_are_still_uncertain() -> None:
    scores = (np.random.default_rng(8).random((2, 200)) < 0.8).astype(np.float64)
    found = interval(mean_arm(scores), mean_arm(scores[::-1]), random_trainer=True)
    assert found.delta == pytest.approx(0, abs=1e-15)
    assert found.lower < 0 < found.upper
    assert not found.degenerate


def test_a_number_that_is_none_reaches_the_bounds() -> None:
    control, candidate = mean_arm(np.ones((1, 10))), mean_arm(np.zeros((1, 10)))
    candidate[1][0, 3] = np.nan
    found = interval(control, candidate)
    assert math.isnan(found.lower)
    assert not found.degenerate


@pytest.mark.parametrize(("control_fits", "candidate_fits"), [(1, 5), (5, 1)])
def test_a_random_trainer_with_a_single_fit_is_refused(control_fits: int, candidate_fits: int) -> None:
    rng = np.random.default_rng(9)
    arms = mean_arm(rng.random((control_fits, 10))), mean_arm(rng.random((candidate_fits, 10)))
    with pytest.raises(ValueError, match="one fit of a random trainer"):
        interval(*arms, random_trainer=True)


def test_arms_that_do_not_fit_together_are_refused() -> None:
    arm = mean_arm(np.random.default_rng(10).random((2, 10)))
    with pytest.raises(ValueError, match="expected the same"):
        interval(arm, (arm[0], arm[1][:, :9]))
    with pytest.raises(ValueError, match=r"expected \(R,\) and \(R, rows\)"):
        interval(arm, (arm[0][:1], arm[1]))
    with pytest.raises(ValueError, match="two rows"):
        interval((arm[0], arm[1][:, :1]), arm)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_a_confidence_outside_of_zero_to_one_is_refused(confidence: float) -> None:
    arm = mean_arm(np.random.default_rng(11).random((2, 10)))
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(arm, arm, confidence=confidence)
    with pytest.raises(ValueError, match="between 0 and 1"):
        no_difference_bound(10, confidence)


def coverage_of(metric: str, *, repetitions: int, rows: int) -> float:
    """Return how often the interval of two fixed models on a random benchmark holds the true difference."""
    rng = np.random.default_rng(2026)
    strengths = (1.0, 1.25)
    # Scores are normal around 0 and around the strength, cut in the middle.
    divisor = {"accuracy": 2.0, "roc_auc": math.sqrt(2)}[metric]
    truth_delta = special.ndtr(strengths[1] / divisor) - special.ndtr(strengths[0] / divisor)
    covered = 0
    for _ in range(repetitions):
        actual = (rng.random(rows) < 0.4).astype(np.int64)
        shared = rng.normal(size=rows)
        truth = BenchmarkTruth(actual=actual, classes=("no", "yes"), positive=1)
        arms = []
        for strength in strengths:
            score = strength * actual + 0.8 * shared + 0.6 * rng.normal(size=rows)
            probability = special.expit(score - strength / 2)
            predictions = Predictions(
                predicted=(probability > 0.5).astype(np.int64),
                probabilities=np.column_stack([1 - probability, probability]),
            )
            evaluation = evaluate(METRICS[metric], truth, predictions)
            assert isinstance(evaluation, MetricEvaluation)
            arms.append((np.array([evaluation.value]), evaluation.influence[None, :]))
        found = interval(arms[0], arms[1])
        covered += int(found.lower <= truth_delta <= found.upper)
    return covered / repetitions


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc"])
def test_a_95_percent_interval_over_rows_covers_the_true_difference_about_95_percent_of_the_time(metric: str) -> None:
    assert 0.92 <= coverage_of(metric, repetitions=1000, rows=500) <= 0.98


@pytest.mark.parametrize("control_fits", [5, 20])
@pytest.mark.parametrize("seed_effect", [0.02, 0.1])
def test_an_interval_over_rows_and_seeds_covers_where_one_over_rows_alone_does_not(
    control_fits: int, seed_effect: float
) -> None:
    rng = np.random.default_rng(2027)
    rows, repetitions, row_effect = 500, 800, 0.3
    strengths, fits = (0.80, 0.85), (control_fits, 5)
    spread = math.sqrt(1 + seed_effect**2 + row_effect**2)
    truth_delta = special.ndtr(strengths[1] / spread) - special.ndtr(strengths[0] / spread)
    covered = covered_by_rows_alone = 0
    for _ in range(repetitions):
        ease = rng.normal(size=rows)
        arms = []
        for strength, count in zip(strengths, fits, strict=True):
            of_seed = seed_effect * rng.normal(size=(count, 1)) + row_effect * rng.normal(size=(count, rows))
            arms.append(mean_arm((ease + strength + of_seed > 0).astype(np.float64)))
        found = interval(arms[0], arms[1], random_trainer=True)
        covered += int(found.lower <= truth_delta <= found.upper)
        rows_alone = interval(*((values[:1], influence[:1]) for values, influence in arms))
        covered_by_rows_alone += int(rows_alone.lower <= truth_delta <= rows_alone.upper)
    assert 0.92 <= covered / repetitions <= 0.99
    if seed_effect == 0.1:
        assert covered_by_rows_alone / repetitions < 0.90


def test_a_worthless_contribution_to_a_random_trainer_is_seldom_accepted() -> None:
    rng = np.random.default_rng(2028)
    rows, repetitions = 500, 800
    accepted = 0
    for _ in range(repetitions):
        ease = rng.normal(size=rows)
        control, candidate = (
            mean_arm((ease + 0.8 + 0.05 * rng.normal(size=(5, 1)) + 0.3 * rng.normal(size=(5, rows)) > 0).astype(float))
            for _ in range(2)
        )
        found = interval(control, candidate, random_trainer=True)
        accepted += decide(gain_lower=found.lower, gain_upper=found.upper, minimum_gain=0.0) == "accept"
    # 2.5 % are promised; the allowance is for the noise of 800 repetitions.
    assert accepted / repetitions <= 0.04


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


@pytest.mark.parametrize(
    ("lower", "upper", "minimum", "outcome"),
    [
        (0.02, 0.04, 0.01, "accept"),
        (0.01, 0.04, 0.01, "accept"),
        (0.01, 0.01, 0.01, "accept"),
        (0.005, 0.04, 0.01, "not enough evidence"),
        (0.005, 0.01, 0.01, "not enough evidence"),
        (0.002, 0.009, 0.01, "reject"),
        (-0.04, -0.02, 0.01, "reject"),
        (0.001, 0.04, 0.0, "accept"),
        (0.0, 0.04, 0.0, "not enough evidence"),
        (0.0, 0.0, 0.0, "reject"),
        (-0.02, 0.0, 0.0, "reject"),
        (-0.02, 0.03, 0.0, "not enough evidence"),
        (-0.005, -0.001, -0.01, "reject"),
        (-0.005, 0.02, -0.01, "not enough evidence"),
        (0.001, 0.02, -0.01, "accept"),
        (-math.inf, math.inf, 0.01, "not enough evidence"),
        (math.nan, math.nan, 0.0, "not enough evidence"),
        (math.nan, -1.0, 0.0, "not enough evidence"),
        (1.0, math.nan, 0.0, "not enough evidence"),
        (1.0, 2.0, math.nan, "not enough evidence"),
    ],
)
def test_a_decision_follows_from_where_the_interval_lies(
    lower: float, upper: float, minimum: float, outcome: str
) -> None:
    assert decide(gain_lower=lower, gain_upper=upper, minimum_gain=minimum) == outcome


@given(bounds=st.tuples(st.floats(-1, 1), st.floats(-1, 1)), minimum=st.floats(0, 0.5), raise_by=st.floats(0, 0.5))
def test_a_higher_bar_never_turns_a_refusal_into_an_acceptance(
    bounds: tuple[float, float], minimum: float, raise_by: float
) -> None:
    order = ("reject", "not enough evidence", "accept")
    lower, upper = sorted(bounds)
    low = decide(gain_lower=lower, gain_upper=upper, minimum_gain=minimum)
    high = decide(gain_lower=lower, gain_upper=upper, minimum_gain=minimum + raise_by)
    assert order.index(high) <= order.index(low)


def test_an_interval_that_is_upside_down_is_refused() -> None:
    with pytest.raises(ValueError, match="is above gain_upper"):
        decide(gain_lower=0.2, gain_upper=0.1, minimum_gain=0.0)


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


def test_mcnemar_reproduces_the_published_example_of_21_children() -> None:
    # Bentur et al. as analysed by Fagerland, Lydersen and Laake (2013): 1 and 7 discordant pairs.
    found = mcnemar(1, 7)
    assert found.exact_p == pytest.approx(18 / 256)
    assert found.mid_p == pytest.approx(10 / 256)
    assert (round(found.exact_p, 3), round(found.mid_p, 3)) == (0.070, 0.039)


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
