"""Metrics of rankings are means over queries, and their influence belongs to queries."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from hokusai.analysis.metrics import (
    METRICS,
    BenchmarkTruth,
    MetricEvaluation,
    UndefinedEvaluation,
    evaluate,
    evaluate_all,
    find_metric,
    metrics_for,
)
from hokusai.records import Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

RANKING = (METRICS["ndcg"], METRICS["mrr"])


def evaluation_of(name: str, truth: BenchmarkTruth, predictions: Predictions) -> MetricEvaluation:
    """Return a metric that must be defined."""
    evaluation = evaluate(METRICS[name], truth, predictions)
    assert isinstance(evaluation, MetricEvaluation), evaluation
    return evaluation


def reason_of(name: str, truth: BenchmarkTruth, predictions: Predictions) -> str:
    """Return the reason of a metric that must be undefined."""
    evaluation = evaluate(METRICS[name], truth, predictions)
    assert isinstance(evaluation, UndefinedEvaluation), evaluation
    return evaluation.reason


@st.composite
def ranked_numbers(draw: st.DrawFn) -> tuple[BenchmarkTruth, Predictions]:
    """Draw queries of two rows or more in any order, with ties among labels and scores, one of them with relevance."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = rng.integers(2, 7, draw(st.integers(1, 8)))
    queries = rng.permutation(np.repeat(rng.permutation(100)[: sizes.size], sizes))
    actual = rng.integers(0, draw(st.integers(2, 5)), queries.size).astype(np.float64)
    actual[0] = 1.0
    truth = BenchmarkTruth(actual=actual, queries=queries)
    return truth, Predictions(predicted=rng.integers(0, 4, queries.size) / 4)


def ndcg_of_scikit_learn(truth: BenchmarkTruth, predictions: Predictions) -> dict[int, float]:
    """Return scikit-learn's value for every query that has a relevant row."""
    assert truth.queries is not None
    found = {}
    for query in np.unique(truth.queries):
        rows = truth.queries == query
        if np.any(truth.actual[rows]):
            found[int(query)] = float(ndcg_score([truth.actual[rows]], [predictions.predicted[rows]]))
    return found


def slow_reciprocal_ranks(truth: BenchmarkTruth, predictions: Predictions) -> dict[int, float]:
    """Return 1 / rank of the first relevant row in the worst order of tied rows."""
    assert truth.queries is not None
    found = {}
    for query in np.unique(truth.queries):
        rows = np.flatnonzero(truth.queries == query)
        # False sorts before True: among equal scores the irrelevant rows come first.
        order = sorted(rows, key=lambda row: (-float(predictions.predicted[row]), bool(truth.actual[row])))
        ranks = [rank for rank, row in enumerate(order, 1) if truth.actual[row]]
        if ranks:
            found[int(query)] = 1 / ranks[0]
    return found


SLOW = {"ndcg": ndcg_of_scikit_learn, "mrr": slow_reciprocal_ranks}


@settings(max_examples=150, deadline=None)
@given(case=ranked_numbers())
def test_a_value_is_the_mean_over_the_queries_that_have_a_relevant_row(
    case: tuple[BenchmarkTruth, Predictions],
) -> None:
    for name, slow in SLOW.items():
        by_query = slow(*case)
        assert evaluation_of(name, *case).value == pytest.approx(np.mean(list(by_query.values())), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(case=ranked_numbers())
def test_the_influence_summed_by_query_is_the_distance_of_its_value_from_the_mean(
    case: tuple[BenchmarkTruth, Predictions],
) -> None:
    truth, _ = case
    assert truth.queries is not None
    for name, slow in SLOW.items():
        by_query, evaluation = slow(*case), evaluation_of(name, *case)
        assert abs(float(evaluation.influence.mean())) < 1e-12
        for query in np.unique(truth.queries):
            expected = 0.0
            if query in by_query:
                expected = (by_query[int(query)] - evaluation.value) * truth.actual.size / len(by_query)
            rows = truth.queries == query
            assert float(evaluation.influence[rows].sum()) == pytest.approx(expected, abs=1e-10)
            assert np.ptp(evaluation.influence[rows]) == 0


@settings(max_examples=60, deadline=None)
@given(case=ranked_numbers(), seed=st.integers(0, 1000))
def test_neither_the_order_of_rows_nor_the_names_of_queries_matter(
    case: tuple[BenchmarkTruth, Predictions], seed: int
) -> None:
    truth, predictions = case
    assert truth.queries is not None
    order = np.random.default_rng(seed).permutation(truth.actual.size)
    shuffled = replace(truth.take(order), queries=-3 * truth.queries[order])
    for name in SLOW:
        one = evaluation_of(name, truth, predictions)
        other = evaluation_of(name, shuffled, Predictions(predicted=predictions.predicted[order]))
        assert other.value == pytest.approx(one.value, abs=1e-12)
        np.testing.assert_allclose(other.influence, one.influence[order], atol=1e-12)


def test_tied_rows_share_their_gain_as_if_ranked_in_every_order() -> None:
    relevance = np.array([3.0, 1.0, 0.0])
    discounts = 1 / np.log2(np.arange(2, 5))
    orders = [relevance[list(order)] @ discounts for order in itertools.permutations(range(3))]
    truth = BenchmarkTruth(actual=relevance, queries=np.zeros(3, dtype=np.int64))
    value = evaluation_of("ndcg", truth, Predictions(predicted=np.full(3, 0.5))).value
    assert value == pytest.approx(np.mean(orders) / (relevance @ discounts))


def test_a_model_gains_no_reciprocal_rank_by_scoring_all_rows_alike() -> None:
    truth = BenchmarkTruth(actual=np.array([0.0, 1.0, 0.0, 1.0]), queries=np.zeros(4, dtype=np.int64))
    assert evaluation_of("mrr", truth, Predictions(predicted=np.ones(4))).value == pytest.approx(1 / 3)


def test_the_weight_of_a_query_is_the_mean_of_its_rows_weights() -> None:
    truth = BenchmarkTruth(
        actual=np.array([1.0, 0.0, 1.0, 0.0, 0.0]),
        queries=np.array([0, 0, 1, 1, 1]),
        weights=np.array([3.0, 3.0, 1.0, 0.5, 1.5]),
    )
    predictions = Predictions(predicted=np.array([0.9, 0.1, 0.2, 0.5, 0.1]))
    evaluation = evaluation_of("mrr", truth, predictions)
    assert evaluation.value == pytest.approx((3 * 1.0 + 1 * 0.5) / 4)
    # The derivative of the mean by a query's weight, times that weight and the number of rows.
    assert evaluation.influence[:2].sum() == pytest.approx(5 * 3 * (1.0 - evaluation.value) / 4)
    assert evaluation.influence[2:].sum() == pytest.approx(5 * 1 * (0.5 - evaluation.value) / 4)
    perfect = Predictions(predicted=truth.actual)
    assert [evaluation_of(name, truth, perfect).value for name in SLOW] == [1.0, 1.0]


def test_with_classes_the_positive_one_is_relevant_and_its_probability_ranks() -> None:
    rng = np.random.default_rng(2)
    queries, actual = np.repeat(np.arange(20), 5), rng.integers(0, 2, 100)
    positive = rng.random(100).round(1)
    probabilities = np.column_stack([positive, 1 - positive])
    classified = BenchmarkTruth(actual=actual, classes=("hit", "miss"), positive=0, queries=queries)
    numbers = BenchmarkTruth(actual=(actual == 0).astype(np.float64), queries=queries)
    for name in SLOW:
        one = evaluation_of(name, classified, Predictions(predicted=actual, probabilities=probabilities))
        other = evaluation_of(name, numbers, Predictions(predicted=positive))
        assert one.value == other.value
        np.testing.assert_array_equal(one.influence, other.influence)


@pytest.mark.parametrize("name", SLOW)
def test_a_ranking_that_cannot_be_judged_is_undefined_and_says_why(name: str) -> None:
    queries = np.array([0, 0, 1, 1])
    numbers: NDArray[np.float64] = np.array([1.0, 0.0, 2.0, 0.0])
    truth, predictions = BenchmarkTruth(actual=numbers, queries=queries), Predictions(predicted=numbers)
    assert reason_of(name, replace(truth, queries=None), predictions) == "the benchmark rows belong to no queries"
    negative = replace(truth, actual=np.array([1.0, 0.0, -2.0, 0.0]))
    assert "benchmark row 3 is below 0" in reason_of(name, negative, predictions)
    assert "no query has a relevant row" in reason_of(name, replace(truth, actual=np.zeros(4)), predictions)
    weightless = replace(truth, actual=np.array([1.0, 0, 0, 0]), weights=np.array([0.0, 0, 1, 1]))
    assert "no query has a relevant row" in reason_of(name, weightless, predictions)
    infinite = Predictions(predicted=np.array([1.0, np.inf, 0.0, 0.0]))
    assert "benchmark row 2 is not a finite number" in reason_of(name, truth, infinite)

    codes = np.array([1, 0, 1, 0])
    classes = BenchmarkTruth(actual=codes, classes=("no", "yes"), positive=1, queries=queries)
    assert "gives no probabilities" in reason_of(name, classes, Predictions(predicted=codes))
    assert "no positive class" in reason_of(name, replace(classes, positive=None), Predictions(predicted=codes))
    broken = Predictions(predicted=codes, probabilities=np.array([[0.5, 0.5], [0.5, np.nan], [0.5, 0.5], [0.5, 0.5]]))
    assert "benchmark row 2 is not a finite number" in reason_of(name, classes, broken)


def test_rankings_are_computed_by_default_only_where_there_are_queries() -> None:
    assert not set(RANKING) & {*metrics_for("classification"), *metrics_for("regression")}
    for task in ("classification", "regression"):
        assert metrics_for(task, has_queries=True) == (*metrics_for(task), *RANKING)
        assert [find_metric(metric.name, task) for metric in RANKING] == list(RANKING)
    truth = BenchmarkTruth(actual=np.array([1.0, 0.0]), queries=np.array([0, 0]))
    found = evaluate_all(metrics_for("regression", has_queries=True), truth, Predictions(predicted=np.array([1.0, 0])))
    assert list(found)[-2:] == ["ndcg", "mrr"]
