"""Several metrics together err no more often than one, and a guard is kept only when that is sure."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hokusai.analysis.multiplicity import check_non_inferiority, holm, p_value
from hokusai.analysis.statistics import PairedInterval, paired_interval
from hokusai.records import MetricScores

PROBABILITIES = st.lists(st.floats(0, 1), max_size=12)


def mean_difference(difference: list[float], confidence: float = 0.95) -> PairedInterval:
    """Return the interval of two models whose scores differ by these numbers."""
    scores = np.array(difference)
    still = MetricScores(values=np.zeros(1), influence=np.zeros(scores.size), mean_square=0.0, interaction=0.0)
    moved = MetricScores(
        values=np.array([scores.mean()]),
        influence=scores - scores.mean(),
        mean_square=float(scores.var()),
        interaction=0.0,
    )
    return paired_interval(still, moved, confidence=confidence, random_trainer=False)


def test_holm_gives_what_is_computed_by_hand() -> None:
    # Multiplied by 4, 3, 2, 1 in rising order, and never below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.8, 0.9]) == (1.0, 1.0)
    assert holm([]) == ()


@given(p_values=PROBABILITIES)
def test_holm_lies_between_no_correction_and_bonferronis(p_values: list[float]) -> None:
    for plain, adjusted in zip(p_values, holm(p_values), strict=True):
        assert plain <= adjusted <= min(1.0, len(p_values) * plain) + 1e-15


@given(p_values=PROBABILITIES, data=st.data())
def test_holm_does_not_depend_on_the_order_of_the_metrics(p_values: list[float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(p_values))))
    assert holm([p_values[position] for position in order]) == tuple(holm(p_values)[position] for position in order)


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_rejects_what_the_closed_test_of_bonferroni_rejects(p_values: list[float]) -> None:
    # Closed testing: a hypothesis falls when every set that holds it does; its p-value is the largest of the sets'.
    size = len(p_values)
    expected = [0.0] * size
    for members in range(1, 2**size):
        inside = [position for position in range(size) if members >> position & 1]
        of_set = min(1.0, len(inside) * min(p_values[position] for position in inside))
        for position in inside:
            expected[position] = max(expected[position], of_set)
    assert holm(p_values) == pytest.approx(expected)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm([0.5, value])


@given(seed=st.integers(0, 1000), null=st.floats(-1, 1))
def test_the_p_value_is_that_of_the_paired_t_test(seed: int, null: float) -> None:
    difference = np.random.default_rng(seed).normal(size=12).tolist()
    expected = stats.ttest_1samp(difference, null).pvalue
    assert p_value(mean_difference(difference), null=null) == pytest.approx(expected, rel=1e-9)


@given(seed=st.integers(0, 1000), confidence=st.floats(0.1, 0.999))
def test_the_p_value_is_small_exactly_when_the_interval_leaves_out_zero(seed: int, confidence: float) -> None:
    found = mean_difference((0.4 + np.random.default_rng(seed).normal(size=12)).tolist(), confidence)
    assert (p_value(found) < 1 - confidence) == (not found.lower <= 0 <= found.upper)


def test_no_variation_is_no_evidence() -> None:
    assert p_value(mean_difference([0.5, 0.5, 0.5])) == 1.0


@pytest.mark.parametrize(
    ("lower", "upper", "margin", "verdict"),
    [
        (-0.005, 0.02, 0.01, "kept"),
        (-0.01, 0.0, 0.01, "kept"),
        (-0.02, 0.01, 0.01, "unclear"),
        (-0.03, -0.02, 0.01, "worse"),
        (-0.03, -0.01, 0.01, "unclear"),
        (0.0, 0.0, 0.0, "kept"),
        (-0.001, 0.1, 0.0, "unclear"),
        (math.nan, math.nan, 0.01, "unclear"),
        (-0.03, math.nan, 0.01, "unclear"),
        (0.0, 1.0, math.nan, "unclear"),
    ],
)
def test_a_guard_is_judged_by_where_the_whole_interval_lies(
    lower: float, upper: float, margin: float, verdict: str
) -> None:
    assert check_non_inferiority(gain_lower=lower, gain_upper=upper, margin=margin) == verdict


def test_a_guard_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="zero or above"):
        check_non_inferiority(gain_lower=0.0, gain_upper=0.1, margin=-0.01)
    with pytest.raises(ValueError, match="is above gain_upper"):
        check_non_inferiority(gain_lower=0.2, gain_upper=0.1, margin=0.01)
