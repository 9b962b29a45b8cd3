"""Resampling agrees with the intervals where both must."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from hokusai.analysis.bootstrap import (
    ClassificationMetric,
    bootstrap_cells,
    bootstrap_difference,
    bootstrap_influence,
    count_cells,
)
from hokusai.analysis.influence import MetricEvaluation
from hokusai.analysis.metrics import METRICS, BenchmarkTruth, evaluate
from hokusai.analysis.statistics import PairedInterval, RowGroups, paired_interval, summarise_fits
from hokusai.records import MetricScores, Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRIC_NAMES: tuple[ClassificationMetric, ...] = ("accuracy", "precision", "recall", "f1")


def mean_arm(scores: NDArray[np.float64], groups: RowGroups | None = None) -> MetricScores:
    """Return an arm of one fit whose metric is the mean of a score per row."""
    value = float(scores.mean())
    return summarise_fits([MetricEvaluation(value=value, influence=scores - value)], groups=groups)


def sample_models(rows: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Return labels and two models' scores from 0 to 1, of which the second is better."""
    rng = np.random.default_rng(seed)
    actual = rng.random(rows) < 0.4
    shared = rng.normal(size=rows)
    scores = [
        stats.norm.cdf(strength * (actual - 0.5) + 0.6 * shared + 0.6 * rng.normal(size=rows))
        for strength in (1.0, 1.5)
    ]
    return actual, scores[0], scores[1]


def by_influence(metric: str, actual: NDArray[np.bool_], *models: NDArray[np.float64]) -> PairedInterval:
    """Return the paired interval of two models' scores, cut in the middle for classes."""
    truth = BenchmarkTruth(actual=actual.astype(np.int64), classes=("no", "yes"), positive=1)
    arms = []
    for scores in models:
        predictions = Predictions(
            predicted=(scores > 0.5).astype(np.int64), probabilities=np.column_stack([1 - scores, scores])
        )
        evaluation = evaluate(METRICS[metric], truth, predictions)
        assert isinstance(evaluation, MetricEvaluation)
        arms.append(summarise_fits([evaluation]))
    return paired_interval(arms[0], arms[1], random_trainer=False)


def test_resampled_means_agree_with_scipys_bootstrap() -> None:
    rng = np.random.default_rng(1)
    control = rng.exponential(size=80)
    candidate = control + rng.exponential(size=80) - 0.5
    found = bootstrap_influence(mean_arm(control), mean_arm(candidate), replicates=20_000, rng=rng)
    expected = stats.bootstrap(
        (candidate - control,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    )
    width = found.upper - found.lower
    assert (found.lower, found.upper) == pytest.approx(tuple(expected.confidence_interval), abs=0.03 * width)
    assert found.standard_error == pytest.approx(expected.standard_error, rel=0.03)
    assert found.replicates == 20_000


@pytest.mark.parametrize("distinct", [True, False])
def test_resampled_influences_agree_with_the_interval_on_a_large_benchmark(*, distinct: bool) -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(2, 10_000)) if distinct else (rng.random((2, 10_000)) < 0.8).astype(np.float64)
    control, candidate = mean_arm(scores[0]), mean_arm(scores[1])
    interval = paired_interval(control, candidate, random_trainer=False)
    found = bootstrap_influence(control, candidate, replicates=2000, rng=rng)
    width = interval.upper - interval.lower
    assert found.delta == pytest.approx(interval.delta)
    assert (found.lower, found.upper) == pytest.approx((interval.lower, interval.upper), abs=0.06 * width)


@settings(deadline=None, max_examples=25)
@given(rows=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_the_cells_hold_what_scikit_learn_needs_for_its_metrics(rows: list[tuple[bool, bool, bool]]) -> None:
    actual, control, candidate = np.array(rows).T
    cells = count_cells(actual, control, candidate)
    assert cells.sum() == len(rows)
    assert cells[1, 0, 1] == sum(row == (True, False, True) for row in rows)
    scores = {"accuracy": accuracy_score}
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        scores[name] = lambda y, p, score=score: score(y, p, zero_division=0)
    for metric in METRIC_NAMES:
        found = bootstrap_cells(metric, cells, replicates=2, rng=np.random.default_rng(0))
        assert found.delta == pytest.approx(scores[metric](actual, candidate) - scores[metric](actual, control))


@pytest.mark.parametrize("metric", METRIC_NAMES)
def test_resampled_cells_agree_with_the_interval_on_a_large_benchmark(metric: ClassificationMetric) -> None:
    actual, control, candidate = sample_models(50_000, 4)
    interval = by_influence(metric, actual, control, candidate)
    cells = count_cells(actual, control > 0.5, candidate > 0.5)
    found = bootstrap_cells(metric, cells, rng=np.random.default_rng(5))
    width = interval.upper - interval.lower
    assert found.delta == pytest.approx(interval.delta)
    assert (found.lower, found.upper) == pytest.approx((interval.lower, interval.upper), abs=0.04 * width)


def test_resampling_cells_is_resampling_rows() -> None:
    actual, control, candidate = sample_models(300, 6)
    labels = [scores > 0.5 for scores in (control, candidate)]

    def difference(weights: NDArray[np.int64]) -> float:
        first, second = (
            2 * weights @ (actual & predicted) / (weights @ actual + weights @ predicted) for predicted in labels
        )
        return float(second - first)

    of_cells = bootstrap_cells("f1", count_cells(actual, *labels), rng=np.random.default_rng(7))
    of_rows = bootstrap_difference(difference, rows=300, replicates=2000, rng=np.random.default_rng(8))
    width = of_cells.upper - of_cells.lower
    assert of_rows.delta == pytest.approx(of_cells.delta)
    assert (of_rows.lower, of_rows.upper) == pytest.approx((of_cells.lower, of_cells.upper), abs=0.12 * width)


def test_the_resampled_area_agrees_with_delongs_interval() -> None:
    actual, control, candidate = sample_models(1500, 9)

    def difference(weights: NDArray[np.int64]) -> float:
        first, second = (roc_auc_score(actual, scores, sample_weight=weights) for scores in (control, candidate))
        return float(second - first)

    interval = by_influence("roc_auc", actual, control, candidate)
    found = bootstrap_difference(difference, rows=1500, replicates=300, rng=np.random.default_rng(10))
    width = interval.upper - interval.lower
    assert (found.lower, found.upper) == pytest.approx((interval.lower, interval.upper), abs=0.15 * width)


def test_groups_are_drawn_whole() -> None:
    rng = np.random.default_rng(11)
    groups = RowGroups.of(np.repeat(np.arange(200), 10))
    scores = rng.normal(size=200)[groups.codes] + 0.3 * rng.normal(size=2000)

    def difference(weights: NDArray[np.int64]) -> float:
        assert all(np.unique(weights[groups.codes == group]).size == 1 for group in (0, 199))
        return float(np.average(scores, weights=weights))

    found = bootstrap_difference(difference, rows=2000, groups=groups, replicates=800, rng=rng)
    interval = paired_interval(mean_arm(np.zeros(2000), groups), mean_arm(scores, groups), random_trainer=False)
    assert found.standard_error == pytest.approx(interval.standard_error, rel=0.1)
    alone = bootstrap_difference(
        lambda weights: float(np.average(scores, weights=weights)), rows=2000, replicates=400, rng=rng
    )
    assert alone.standard_error < found.standard_error / 2


def test_replicates_without_a_value_are_counted_and_left_out() -> None:
    def difference(weights: NDArray[np.int64]) -> float:
        return math.nan if weights[0] == 0 else float(weights[1])

    found = bootstrap_difference(difference, rows=20, replicates=300, rng=np.random.default_rng(12))
    assert found.undefined > 50
    assert found.replicates + found.undefined == 300
    with pytest.raises(ValueError, match="0 of 5 replicates have a value"):
        bootstrap_difference(lambda _: math.nan, rows=20, replicates=5, rng=np.random.default_rng(13))


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_seed_gives_the_same_interval_and_more_confidence_a_wider_one(seed: int) -> None:
    cells = np.random.default_rng(seed).integers(1, 50, (2, 2, 2))
    narrow, again, wide = (
        bootstrap_cells("f1", cells, confidence=level, replicates=200, rng=np.random.default_rng(seed))
        for level in (0.8, 0.8, 0.99)
    )
    assert narrow == again
    assert wide.lower <= narrow.lower <= narrow.upper <= wide.upper


def test_what_cannot_be_resampled_is_refused() -> None:
    rng = np.random.default_rng(14)
    with pytest.raises(ValueError, match="bootstrap_influence takes any number"):
        bootstrap_difference(lambda _: 0.0, rows=20_001, rng=rng)
    with pytest.raises(ValueError, match="groups of 3 rows for 4"):
        bootstrap_difference(lambda _: 0.0, rows=4, groups=RowGroups.of(np.arange(3)), rng=rng)
    with pytest.raises(ValueError, match=r"expected \(2, 2, 2\)"):
        bootstrap_cells("f1", np.zeros((2, 2, 2), dtype=np.int64), rng=rng)
    with pytest.raises(ValueError, match="expected the same"):
        bootstrap_influence(mean_arm(np.arange(3.0)), mean_arm(np.arange(4.0)), rng=rng)
    with pytest.raises(ValueError, match="three times"):
        count_cells(np.array([True]), np.array([True]), np.array([True, False]))
