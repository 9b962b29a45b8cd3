"""Intervals cover what they promise, and decisions fail closed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from hokusai.analysis.influence import MetricEvaluation
from hokusai.analysis.metrics import METRICS, BenchmarkTruth, evaluate
from hokusai.analysis.statistics import FitsSummary, PairedInterval, RowGroups, decide, paired_interval, summarise_fits
from hokusai.records import MetricScores, Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hokusai.analysis.statistics import Combination

Arm = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def mean_arm(scores: NDArray[np.float64]) -> Arm:
    """Return an arm whose metric is the mean of a score per row; ``scores`` has shape (fits, rows)."""
    values = scores.mean(axis=1)
    return values, scores - values[:, None]


def summary(arm: Arm, groups: RowGroups | None = None) -> MetricScores:
    """Return an arm as it is handed on: summed up over its fits."""
    fits = zip(*arm, strict=True)
    return summarise_fits(
        (MetricEvaluation(value=float(value), influence=influence) for value, influence in fits), groups=groups
    )


def interval(
    control: Arm,
    candidate: Arm,
    *,
    confidence: float = 0.95,
    random_trainer: bool = False,
    groups: RowGroups | None = None,
) -> PairedInterval:
    """Return the paired interval of two arms."""
    return paired_interval(
        summary(control, groups), summary(candidate, groups), confidence=confidence, random_trainer=random_trainer
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
    whole, short = summary(arm), summary((arm[0], arm[1][:, :9]))
    with pytest.raises(ValueError, match="10 rows and the candidate 9, expected the same"):
        paired_interval(whole, short, random_trainer=True)
    with pytest.raises(ValueError, match="two rows"):
        interval((arm[0], arm[1][:, :1]), arm)
    stacked = MetricScores(values=arm[0], influence=arm[1], mean_square=1.0, interaction=0.0)
    with pytest.raises(ValueError, match=r"candidate: .* expected \(R,\) and \(rows,\)"):
        paired_interval(whole, stacked, random_trainer=True)
    with pytest.raises(ValueError, match="no fits"):
        summarise_fits([])
    with pytest.raises(ValueError, match="fit 2 has 9 rows and the one before 10"):
        summarise_fits([MetricEvaluation(value=0.0, influence=np.zeros(rows)) for rows in (10, 9)])


def test_fits_are_summed_up_as_if_they_were_stacked() -> None:
    values, influence = mean_arm(np.random.default_rng(12).normal(size=(7, 300)))
    found = summary((values, influence))
    assert found.values == pytest.approx(values)
    assert found.influence == pytest.approx(influence.mean(axis=0))
    assert found.mean_square == pytest.approx(np.mean(influence**2))
    assert found.interaction == pytest.approx(influence.var(axis=0, ddof=1).mean() / 300 / 7)


def test_summing_up_leaves_the_evaluations_as_they_are() -> None:
    values, influence = mean_arm(np.random.default_rng(13).normal(size=(3, 20)))
    before = influence.copy()
    summary((values, influence))
    assert np.array_equal(influence, before)


def test_what_fits_add_up_to_can_be_read_after_every_fit() -> None:
    values, influence = mean_arm(np.random.default_rng(16).normal(size=(4, 30)))
    so_far = FitsSummary()
    with pytest.raises(ValueError, match="no fits"):
        so_far.scores()
    read = []
    for value, each in zip(values, influence, strict=True):
        so_far.add(MetricEvaluation(value=float(value), influence=each))
        read.append(so_far.scores())
    for fits, found in enumerate(read, start=1):
        expected = summary((values[:fits], influence[:fits]))
        assert np.array_equal(found.values, expected.values)
        assert np.array_equal(found.influence, expected.influence)
        assert found.interaction == expected.interaction


@given(arms=random_arms())
def test_groups_of_one_row_change_nothing(arms: tuple[Arm, Arm]) -> None:
    rows = arms[0][1].shape[1]
    alone = RowGroups.of(np.arange(rows)[::-1])
    assert interval(*arms, random_trainer=True, groups=alone).lower == pytest.approx(
        interval(*arms, random_trainer=True).lower
    )


def test_a_row_that_is_repeated_in_its_group_is_no_new_evidence() -> None:
    rng = np.random.default_rng(14)
    control, candidate = rng.normal(size=(3, 40)), rng.normal(size=(3, 40))
    plain = interval(mean_arm(control), mean_arm(candidate), random_trainer=True)
    repeated = [mean_arm(np.repeat(scores, 5, axis=1)) for scores in (control, candidate)]
    groups = RowGroups.of(np.repeat(np.array([f"patient {number}" for number in range(40)]), 5))
    found = interval(*repeated, random_trainer=True, groups=groups)
    assert (found.lower, found.upper) == pytest.approx((plain.lower, plain.upper))
    assert found.units == plain.units == 40
    assert found.degrees_of_freedom == pytest.approx(plain.degrees_of_freedom)
    assert interval(*repeated, random_trainer=True).standard_error < 0.8 * found.standard_error


def test_groups_of_unequal_size_give_the_variance_of_a_ratio_of_sums() -> None:
    rng = np.random.default_rng(15)
    sizes = rng.integers(1, 9, 50)
    codes = np.repeat(np.arange(50), sizes)
    control, candidate = rng.normal(size=(1, codes.size)), rng.normal(size=(1, codes.size))
    found = interval(mean_arm(control), mean_arm(candidate), groups=RowGroups(codes=codes.astype(np.intp), count=50))
    difference = (candidate - control)[0]
    residuals = np.bincount(codes, weights=difference) - difference.mean() * sizes
    assert found.row_variance == pytest.approx(50 / 49 * np.sum(residuals**2) / codes.size**2)
    assert found.degrees_of_freedom == pytest.approx(49)


def test_groups_are_found_by_value_and_numbered_as_they_appear() -> None:
    groups = RowGroups.of(np.array(["b", "a", "b", "c"], dtype=object))
    assert groups.count == 3
    assert groups.codes.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("values", [np.array([1.0, np.nan]), np.array(["a", None], dtype=object)])
def test_a_row_without_a_group_is_refused(values: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match="row 2 has no group"):
        RowGroups.of(values)


def test_groups_that_do_not_fit_the_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="group 1 has no row"):
        RowGroups(codes=np.array([0, 2]), count=3)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        RowGroups(codes=np.array([0, 2]), count=2)
    with pytest.raises(ValueError, match="at least one row"):
        RowGroups.of(np.array([]))
    arm = mean_arm(np.ones((2, 10)))
    with pytest.raises(ValueError, match="groups of 3 rows for 10"):
        summary(arm, RowGroups.of(np.array([1, 1, 2])))


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_a_confidence_outside_of_zero_to_one_is_refused(confidence: float) -> None:
    arm = mean_arm(np.random.default_rng(11).random((2, 10)))
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(arm, arm, confidence=confidence)


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


def coverage_with_groups(count: int, *, repetitions: int) -> tuple[float, float]:
    """Return how often the interval over groups of correlated rows holds the truth, and that over rows alone."""
    rng = np.random.default_rng(2029)
    covered = covered_by_rows = 0
    for _ in range(repetitions):
        sizes = rng.integers(2, 15, count)
        groups = RowGroups(codes=np.repeat(np.arange(count, dtype=np.intp), sizes), count=count)
        rows = groups.codes.size
        # What the candidate does better depends on the group as much as on the row; the true difference is 0.1.
        better = 0.1 + 0.5 * rng.normal(size=count)[groups.codes] + 0.5 * rng.normal(size=rows)
        ease = rng.normal(size=rows)
        arms = [
            mean_arm(level + 0.02 * rng.normal(size=(5, 1)) + 0.2 * rng.normal(size=(5, rows)))
            for level in (ease, ease + better)
        ]
        found = interval(arms[0], arms[1], random_trainer=True, groups=groups)
        by_rows = interval(arms[0], arms[1], random_trainer=True)
        covered += found.lower <= 0.1 <= found.upper
        covered_by_rows += by_rows.lower <= 0.1 <= by_rows.upper
    return covered / repetitions, covered_by_rows / repetitions


@pytest.mark.slow
@pytest.mark.parametrize("count", [10, 30, 100])
def test_an_interval_over_groups_covers_where_one_over_their_rows_does_not(count: int) -> None:
    over_groups, over_rows = coverage_with_groups(count, repetitions=3000)
    assert 0.92 <= over_groups <= 0.98
    assert over_rows < 0.85


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


def test_far_out_a_handful_of_seeds_that_agree_by_chance_does_not_pass_for_precision() -> None:
    # Both arms draw from one distribution, and seeds make most of the variance: every interval above zero is an error.
    rng, rows, draws, tail = np.random.default_rng(3), 200, 8_000, 0.0005
    errors: dict[Combination, int] = {"satterthwaite": 0, "howe": 0}
    influence = np.resize([-0.02, 0.02], rows)
    for _ in range(draws):
        shifts = (0.0, rng.normal(0, 0.04 / math.sqrt(rows)))
        control, candidate = (
            MetricScores(
                values=rng.normal(0.5 + shift, 0.01, 3), influence=sign * influence, mean_square=4e-4, interaction=0.0
            )
            for shift, sign in zip(shifts, (-1, 1), strict=True)
        )
        for combination in errors:
            found = paired_interval(
                control, candidate, confidence=1 - 2 * tail, random_trainer=True, combination=combination
            )
            errors[combination] += found.lower > 0
    assert errors["howe"] <= draws * tail < 2 * draws * tail < errors["satterthwaite"]
