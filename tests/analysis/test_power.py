"""What a benchmark is said to see is what it sees."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hokusai.analysis.influence import MetricEvaluation
from hokusai.analysis.power import Needed, evidence_needed, minimum_detectable_effect, project_precision
from hokusai.analysis.statistics import PairedInterval, decide, paired_interval, summarise_fits


def fixed_models(*, rows: int, spread: float) -> PairedInterval:
    """Return the interval of two models without seeds whose difference has this standard deviation over the rows."""
    scores = np.random.default_rng(1).normal(size=rows)
    scores = spread * (scores - scores.mean()) / scores.std(ddof=1)
    arms = [summarise_fits([MetricEvaluation(value=0.0, influence=values)]) for values in (np.zeros(rows), scores)]
    return paired_interval(arms[0], arms[1], random_trainer=False)


def simulated(
    rng: np.random.Generator, *, rows: int, fits: tuple[int, int], gain: float, seed_effect: float, confidence: float
) -> PairedInterval:
    """Return the interval of two arms whose scores vary with rows, seeds and both."""
    arms = []
    ease = rng.normal(size=rows)
    for count, level in zip(fits, (ease, ease + gain + 0.5 * rng.normal(size=rows)), strict=True):
        scores = level + seed_effect * rng.normal(size=(count, 1)) + 0.3 * rng.normal(size=(count, rows))
        arms.append(
            summarise_fits(MetricEvaluation(value=float(each.mean()), influence=each - each.mean()) for each in scores)
        )
    return paired_interval(arms[0], arms[1], confidence=confidence, random_trainer=True)


def test_the_detectable_effect_has_the_asked_power_by_the_noncentral_t_distribution() -> None:
    for rows in (3, 12, 400):
        interval = fixed_models(rows=rows, spread=2.0)
        effect = minimum_detectable_effect(interval, power=0.9)
        noncentrality = effect / (2.0 / math.sqrt(rows))
        assert stats.nct.sf(stats.t.ppf(0.975, rows - 1), rows - 1, noncentrality) == pytest.approx(0.9, abs=1e-5)


def test_on_a_large_benchmark_the_detectable_effect_is_two_normal_quantiles_of_standard_errors() -> None:
    interval = fixed_models(rows=100_000, spread=1.0)
    expected = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * interval.standard_error
    assert minimum_detectable_effect(interval) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("effect", "power", "rows"), [(0.5, 0.8, 34), (0.2, 0.8, 199), (0.8, 0.95, 23)])
def test_the_rows_needed_are_those_of_the_tables_of_the_paired_t_test(effect: float, power: float, rows: int) -> None:
    found = evidence_needed(
        fixed_models(rows=100, spread=1.0), rows=100, gain=effect, minimum_gain=0.0, confidence=0.95, power=power
    )
    assert found == Needed(rows=rows, seeds=None)


def test_a_point_of_accuracy_at_five_percent_disagreement_needs_four_thousand_paired_rows() -> None:
    # 3 % of the rows are gained and 2 % lost: the difference has a variance of 0.05 - 0.01 ** 2.
    interval = fixed_models(rows=1000, spread=math.sqrt(0.05 - 0.01**2))
    found = evidence_needed(interval, rows=1000, gain=0.01, minimum_gain=0.0, confidence=0.95)
    assert found.rows == pytest.approx(3916, rel=0.002)


def test_with_the_numbers_that_there_are_the_precision_is_the_intervals() -> None:
    interval = simulated(np.random.default_rng(2), rows=300, fits=(6, 4), gain=0.1, seed_effect=0.1, confidence=0.95)
    found = project_precision(interval)
    assert found.standard_error == pytest.approx(interval.standard_error)
    assert found.degrees_of_freedom == pytest.approx(interval.degrees_of_freedom)


def test_the_gain_that_is_just_detectable_needs_just_the_rows_and_seeds_that_there_are() -> None:
    interval = simulated(np.random.default_rng(3), rows=500, fits=(5, 5), gain=0.1, seed_effect=0.1, confidence=0.95)
    effect = minimum_detectable_effect(interval)
    for gain in (0.02 + effect * (1 + 1e-9), 0.02 - effect * (1 + 1e-9)):
        found = evidence_needed(interval, rows=500, gain=gain, minimum_gain=0.02, confidence=0.95)
        assert found == Needed(rows=500, seeds=5)


def test_where_more_than_there_are_is_asked_for_no_number_is_as_small_though_fewer_rows_have_more_degrees() -> None:
    pilot = simulated(np.random.default_rng(3), rows=400, fits=(3, 3), gain=0.1, seed_effect=0.1, confidence=0.95)
    # Seeds of one arm are nearly all that varies, so that rows bring their degrees of freedom only where they are few.
    interval = replace(
        pilot,
        row_variance=0.02,
        control_seed_variance=0.0,
        control_mean_square=0.0,
        candidate_seed_variance=1.0,
        candidate_mean_square=1.0,
        standard_error=math.sqrt(1.02),
    )
    fewest = evidence_needed(interval, rows=400, gain=6.0, minimum_gain=0.0, confidence=0.95)
    more = evidence_needed(interval, rows=400, gain=6.0, minimum_gain=0.0, confidence=0.95, is_more=True)
    assert (fewest.rows, fewest.seeds) == (5, 3)
    assert (more.rows, more.seeds) == (401, 4)


def test_what_seeds_or_rows_alone_cannot_settle_has_no_number() -> None:
    by_rows = simulated(np.random.default_rng(4), rows=50, fits=(20, 20), gain=0.1, seed_effect=0.01, confidence=0.95)
    found = evidence_needed(by_rows, rows=50, gain=0.05, minimum_gain=0.0, confidence=0.95)
    assert found.seeds is None
    assert found.rows is not None
    by_seeds = simulated(np.random.default_rng(5), rows=9000, fits=(3, 3), gain=0.1, seed_effect=0.2, confidence=0.95)
    found = evidence_needed(by_seeds, rows=9000, gain=0.05, minimum_gain=0.0, confidence=0.95)
    assert found.rows is None
    assert found.seeds is not None


def test_a_gain_at_the_bar_is_never_settled_and_a_bar_below_zero_is_zero() -> None:
    interval = fixed_models(rows=100, spread=1.0)
    assert evidence_needed(interval, rows=100, gain=0.3, minimum_gain=0.3, confidence=0.95).rows is None
    below = evidence_needed(interval, rows=100, gain=0.3, minimum_gain=-0.2, confidence=0.95)
    assert below == evidence_needed(interval, rows=100, gain=0.3, minimum_gain=0.0, confidence=0.95)


def test_nothing_can_be_said_where_nothing_varies() -> None:
    interval = fixed_models(rows=100, spread=0.0)
    assert math.isnan(minimum_detectable_effect(interval))
    assert evidence_needed(interval, rows=100, gain=0.3, minimum_gain=0.0, confidence=0.95) == Needed(
        rows=None, seeds=None
    )


@settings(deadline=None, max_examples=30)
@given(gain=st.floats(0.01, 1), powers=st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)))
def test_more_power_never_needs_fewer_rows_nor_a_larger_gain_more(gain: float, powers: tuple[float, float]) -> None:
    interval = fixed_models(rows=100, spread=1.0)
    low, high = sorted(powers)
    needed = [
        evidence_needed(interval, rows=100, gain=each, minimum_gain=0.0, confidence=0.95, power=power).rows or 0
        for each, power in ((gain, low), (gain, high), (2 * gain, high))
    ]
    assert needed[0] <= needed[1] >= needed[2]


def test_groups_count_rows_by_their_average_size() -> None:
    interval = fixed_models(rows=100, spread=1.0)
    rows = evidence_needed(interval, rows=100, gain=0.1, minimum_gain=0.0, confidence=0.95).rows
    tenfold = evidence_needed(interval, rows=1000, gain=0.1, minimum_gain=0.0, confidence=0.95).rows
    assert rows is not None
    assert tenfold == pytest.approx(10 * rows, abs=10)
    with pytest.raises(ValueError, match="at least one row in each"):
        evidence_needed(interval, rows=99, gain=0.1, minimum_gain=0.0, confidence=0.95)


@pytest.mark.parametrize("power", [0.0, 1.0, 80.0, math.nan])
def test_a_power_outside_of_zero_to_one_is_refused(power: float) -> None:
    interval = fixed_models(rows=100, spread=1.0)
    with pytest.raises(ValueError, match="power is"):
        minimum_detectable_effect(interval, power=power)
    with pytest.raises(ValueError, match="power is"):
        evidence_needed(interval, rows=100, gain=0.1, minimum_gain=0.0, confidence=0.95, power=power)


@pytest.mark.slow
@pytest.mark.parametrize("seed_effect", [0.0, 0.05])
def test_the_detectable_effect_is_accepted_four_times_out_of_five(seed_effect: float) -> None:
    rng = np.random.default_rng(2030)
    bar, rows, fits = 0.02, 300, (5, 5)
    pilots = [
        simulated(rng, rows=rows, fits=fits, gain=0.0, seed_effect=seed_effect, confidence=0.95) for _ in range(300)
    ]
    effect = float(np.mean([minimum_detectable_effect(pilot) for pilot in pilots]))
    accepted = 0
    for _ in range(3000):
        found = simulated(rng, rows=rows, fits=fits, gain=bar + effect, seed_effect=seed_effect, confidence=0.95)
        accepted += decide(gain_lower=found.lower, gain_upper=found.upper, minimum_gain=bar) == "accept"
    assert accepted / 3000 == pytest.approx(0.8, abs=0.04)


@pytest.mark.slow
def test_the_rows_and_the_seeds_that_are_said_to_settle_a_gain_settle_it() -> None:
    rng = np.random.default_rng(2031)
    rows, fits, gain = 250, (4, 4), 0.1
    pilots = [simulated(rng, rows=rows, fits=fits, gain=gain, seed_effect=0.04, confidence=0.95) for _ in range(600)]
    names = (
        "row_variance",
        "control_seed_variance",
        "candidate_seed_variance",
        "control_mean_square",
        "candidate_mean_square",
    )
    # The variances of a single pilot are too uncertain to test a formula by; their averages are the true ones.
    row, control_seed, candidate_seed, control_square, candidate_square = np.mean(
        [[getattr(pilot, name) for name in names] for pilot in pilots], axis=0
    ).tolist()
    pilot = replace(
        pilots[0],
        row_variance=row,
        control_seed_variance=control_seed,
        candidate_seed_variance=candidate_seed,
        control_mean_square=control_square,
        candidate_mean_square=candidate_square,
        standard_error=math.sqrt(row + control_seed + candidate_seed),
    )
    needed = evidence_needed(pilot, rows=rows, gain=gain, minimum_gain=0.0, confidence=0.95, power=0.7)
    assert needed.rows is not None
    assert needed.seeds is not None
    assert needed.rows > rows
    assert needed.seeds > fits[0]
    for more_rows, more_fits in ((needed.rows, fits), (rows, (needed.seeds, needed.seeds))):
        accepted = sum(
            simulated(rng, rows=more_rows, fits=more_fits, gain=gain, seed_effect=0.04, confidence=0.95).lower > 0
            for _ in range(2000)
        )
        assert accepted / 2000 == pytest.approx(0.7, abs=0.06)
