"""Intervals of a difference between two models cover the truth, for every metric whose influence is no rough guess."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hokusai.analysis.metrics import BenchmarkTruth, MetricEvaluation, evaluate_all, metrics_for
from hokusai.records import Predictions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Pair = tuple[BenchmarkTruth, Predictions, Predictions]
NORMAL_QUANTILE = 1.959963984540054
ROWS_PER_QUERY = 5


def classified(rows: int, rng: np.random.Generator, *, classes: int) -> Pair:
    """Return a benchmark of classes and two models that err alike on many rows."""
    actual = np.minimum(rng.geometric(0.5, rows) - 1, classes - 1)
    common = rng.normal(size=(rows, classes)) + 1.2 * np.eye(classes)[actual]
    models = []
    for noise in (0.6, 0.4):
        scores = np.exp(common + noise * rng.normal(size=(rows, classes)))
        probabilities = scores / scores.sum(axis=1, keepdims=True)
        models.append(Predictions(predicted=probabilities.argmax(axis=1), probabilities=probabilities))
    names = ("ant", "bee", "cat", "dog")[:classes]
    truth = BenchmarkTruth(actual=actual, classes=names, positive=1 if classes == 2 else None)
    return truth, models[0], models[1]


def regressed(rows: int, rng: np.random.Generator) -> Pair:
    """Return labels, skewed and away from zero, and two models that err alike on many rows."""
    actual = 2 + rng.gamma(2.0, size=rows)
    common = actual + 0.6 * rng.standard_t(5, size=rows)
    predicted = [common + noise * rng.normal(size=rows) for noise in (0.5, 0.3)]
    return BenchmarkTruth(actual=actual), Predictions(predicted=predicted[0]), Predictions(predicted=predicted[1])


def ranked(rows: int, rng: np.random.Generator) -> Pair:
    """Return graded relevance within as many queries, of five rows each, and two models."""
    queries = np.repeat(np.arange(rows), ROWS_PER_QUERY)
    actual = np.maximum(rng.integers(-5, 4, queries.size), 0).astype(np.float64)
    common = actual + rng.normal(size=queries.size) + rng.normal(size=rows)[queries]
    predicted = [common + noise * rng.normal(size=queries.size) for noise in (1.0, 0.7)]
    truth = BenchmarkTruth(actual=actual, queries=queries)
    return truth, Predictions(predicted=predicted[0]), Predictions(predicted=predicted[1])


SAMPLES: dict[str, Callable[[int, np.random.Generator], Pair]] = {
    "binary": lambda rows, rng: classified(rows, rng, classes=2),
    "multiclass": lambda rows, rng: classified(rows, rng, classes=4),
    "regression": regressed,
    "ranking": ranked,
}


def differences(pair: Pair) -> dict[str, tuple[float, NDArray[np.float64]]]:
    """Return by metric the difference of two models and that of their influences, summed by query where there are."""
    truth, *models = pair
    metrics = [
        metric
        for metric in metrics_for(truth.task, has_queries=truth.queries is not None)
        if metric.name != "expected_calibration_error" and (truth.queries is None or metric.task == "ranking")
    ]
    control, candidate = (evaluate_all(metrics, truth, model) for model in models)
    found = {}
    for metric in metrics:
        one, two = control[metric.name], candidate[metric.name]
        assert isinstance(one, MetricEvaluation)
        assert isinstance(two, MetricEvaluation)
        influence = two.influence - one.influence
        if truth.queries is not None:
            influence = influence.reshape(-1, ROWS_PER_QUERY).mean(axis=1)
        found[metric.name] = (two.value - one.value, influence)
    return found


@cache
def true_differences(kind: str) -> dict[str, float]:
    """Return what a million rows, or queries, say."""
    pair = SAMPLES[kind](1_000_000, np.random.default_rng(9))
    return {name: value for name, (value, _) in differences(pair).items()}


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "repetitions"), [(200, 1000), (1_000, 1000), (10_000, 400)])
@pytest.mark.parametrize("kind", SAMPLES)
def test_intervals_of_a_difference_cover_the_truth(kind: str, rows: int, repetitions: int) -> None:
    covered = dict.fromkeys(true_differences(kind), 0)
    for seed in range(repetitions):
        for name, (value, influence) in differences(SAMPLES[kind](rows, np.random.default_rng(seed))).items():
            half = NORMAL_QUANTILE * float(influence.std(ddof=1)) / influence.size**0.5
            covered[name] += abs(value - true_differences(kind)[name]) <= half
    # 95 % of 400 repetitions is known to about 1 %; at 200 rows the density at a median is a rough estimate.
    least, most = (0.92, 0.99) if rows == 200 else (0.93, 0.98)
    for name, count in covered.items():
        assert least <= count / repetitions <= most, (name, count / repetitions)
