"""Metrics agree with scikit-learn, and their influence functions with the derivative by the rows' weights."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.preprocessing import label_binarize

from hokusai.analysis.benchmark_truth import AVERAGES, Average
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
from hokusai.analysis.probability_influence import CALIBRATION_BINS
from hokusai.analysis.score_ranks import RankedRows, roc_auc
from hokusai.errors import ConfigurationError
from hokusai.records import Predictions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CLASS_NAMES = ("ant", "bee", "cat", "dog")
CLASSIFICATION = tuple(metric.name for metric in metrics_for("classification"))
REGRESSION = tuple(metric.name for metric in metrics_for("regression"))
NEEDS_PROBABILITIES = ("roc_auc", "average_precision", "log_loss", "brier_score", "expected_calibration_error")
# Their values move in steps, or have kinks, so that no derivative is their influence.
NOT_SMOOTH = ("median_absolute_error",)

Case = tuple[BenchmarkTruth, Predictions]


def drawn_weights(rng: np.random.Generator, rows: int, kind: str) -> NDArray[np.float64] | None:
    """Return weights of a kind; quarters make sums of weights exact, and zeros are rows that do not count."""
    if kind == "none":
        return None
    weights = rng.integers(0 if kind == "some zero" else 1, 9, rows) / 4
    weights[0] = 1.0
    return weights


weight_kinds = st.sampled_from(["none", "positive", "some zero"])


@st.composite
def classified(draw: st.DrawFn, *, classes: int, positive: int | None) -> Case:
    """Draw a benchmark and a model's answers, with ties in the scores and classes missing on either side."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.integers(2, 40))
    most = draw(st.integers(1, classes))
    # A coarse grid makes ties common; a weight above zero makes every row a distribution.
    scores = rng.integers(0, 7, (rows, classes)) + draw(st.sampled_from([0.5, 1e-3]))
    truth = BenchmarkTruth(
        actual=rng.integers(0, most, rows).astype(draw(st.sampled_from([np.int8, np.int64]))),
        classes=CLASS_NAMES[:classes],
        positive=positive,
        average=draw(st.sampled_from(AVERAGES)),
        weights=drawn_weights(rng, rows, draw(weight_kinds)),
    )
    predicted = rng.integers(0, draw(st.integers(1, classes)), rows)
    return truth, Predictions(predicted=predicted, probabilities=scores / scores.sum(axis=1, keepdims=True))


@st.composite
def regressed(draw: st.DrawFn) -> Case:
    """Draw numbers and predicted numbers of different sizes, with ties among the errors."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, scale = draw(st.integers(2, 40)), draw(st.sampled_from([1e-6, 1.0, 1e6]))
    actual = rng.integers(draw(st.sampled_from([-5, 1])), 9, rows)
    predicted = actual + rng.normal(size=rows).round(draw(st.integers(0, 3)))
    truth = BenchmarkTruth(actual=scale * actual, weights=drawn_weights(rng, rows, draw(weight_kinds)))
    return truth, Predictions(predicted=scale * predicted)


any_case = st.one_of(
    classified(classes=2, positive=0),
    classified(classes=2, positive=1),
    classified(classes=2, positive=None),
    classified(classes=4, positive=None),
    regressed(),
)


def value_of(name: str, truth: BenchmarkTruth, predictions: Predictions) -> float:
    """Return the value of a metric that must be defined."""
    evaluation = evaluate(METRICS[name], truth, predictions)
    assert isinstance(evaluation, MetricEvaluation), evaluation
    return evaluation.value


def influence_of(name: str, truth: BenchmarkTruth, predictions: Predictions) -> NDArray[np.float64]:
    """Return the influence function of a metric that must be defined."""
    evaluation = evaluate(METRICS[name], truth, predictions)
    assert isinstance(evaluation, MetricEvaluation), evaluation
    return evaluation.influence


def take(rows: NDArray[np.intp], truth: BenchmarkTruth, predictions: Predictions) -> Case:
    """Return the same benchmark and answers with other rows."""
    probabilities = None if predictions.probabilities is None else predictions.probabilities[rows]
    return truth.take(rows), Predictions(predicted=predictions.predicted[rows], probabilities=probabilities)


def sample_binary(rows: int, seed: int) -> Case:
    """Return a benchmark of two classes and a model of middling quality, from a seed."""
    rng = np.random.default_rng(seed)
    actual = (rng.random(rows) < 0.4).astype(np.int64)
    positive = 1 / (1 + np.exp(-(1.5 * actual - 0.7 + rng.normal(size=rows))))
    probabilities = np.column_stack([1 - positive, positive])
    truth = BenchmarkTruth(actual=actual, classes=("no", "yes"), positive=1)
    return truth, Predictions(predicted=(positive > 0.5).astype(np.int64), probabilities=probabilities)


def sample_multiclass(rows: int, seed: int) -> Case:
    """Return a benchmark of three classes and a model of middling quality, from a seed."""
    rng = np.random.default_rng(seed)
    actual = rng.integers(0, 3, rows)
    weights = np.exp(rng.normal(size=(rows, 3)) + 1.2 * np.eye(3)[actual])
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    truth = BenchmarkTruth(actual=actual, classes=CLASS_NAMES[:3])
    return truth, Predictions(predicted=probabilities.argmax(axis=1), probabilities=probabilities)


def sample_regression(rows: int, seed: int) -> Case:
    """Return labels and predictions that explain about half of them, from a seed."""
    rng = np.random.default_rng(seed)
    actual = 10 + rng.normal(size=rows)
    return BenchmarkTruth(actual=actual), Predictions(predicted=actual + 0.7 * rng.normal(size=rows))


SAMPLES: dict[str, Callable[[int, int], Case]] = {
    "binary": sample_binary,
    "multiclass": sample_multiclass,
    "regression": sample_regression,
}
EVERY_SAMPLE = [
    *((kind, name) for kind in ("binary", "multiclass") for name in CLASSIFICATION),
    *(("regression", name) for name in REGRESSION),
]


def reference_value(name: str, truth: BenchmarkTruth, predictions: Predictions) -> float:
    """Return what scikit-learn says."""
    weights = truth.weights
    if truth.task == "regression":
        function = {
            "rmse": reference.root_mean_squared_error,
            "mae": reference.mean_absolute_error,
            "median_absolute_error": reference.median_absolute_error,
            "r2": reference.r2_score,
            "mape": reference.mean_absolute_percentage_error,
        }[name]
        return float(function(truth.actual, predictions.predicted, sample_weight=weights))
    if name in NEEDS_PROBABILITIES:
        return reference_of_probabilities(name, truth, predictions)
    actual, predicted = truth.actual, predictions.predicted
    if name == "accuracy":
        return float(reference.accuracy_score(actual, predicted, sample_weight=weights))
    if name == "balanced_accuracy":
        return float(reference.balanced_accuracy_score(actual, predicted, sample_weight=weights))
    function = {
        "precision": reference.precision_score,
        "recall": reference.recall_score,
        "f1": reference.f1_score,
    }[name]
    if truth.positive is not None:
        options = {"pos_label": truth.positive, "average": "binary"}
    else:
        # A class that does not occur is no class to average over; for "micro" every decision counts.
        occurring = np.unique(actual if weights is None else actual[weights > 0])
        options = {"labels": None if truth.average == "micro" else occurring, "average": truth.average}
    return float(function(actual, predicted, sample_weight=weights, zero_division=0, **options))


def reference_of_probabilities(name: str, truth: BenchmarkTruth, predictions: Predictions) -> float:
    """Return what scikit-learn says of probabilities; for calibration, which it has not, what the definition says."""
    actual, weights, probabilities = truth.actual.astype(np.int64), truth.weights, predictions.probabilities
    assert probabilities is not None
    codes = range(len(truth.classes))
    if name == "log_loss":
        return float(reference.log_loss(actual, probabilities, labels=codes, sample_weight=weights))
    if name == "brier_score":
        if truth.positive is not None:
            hits, scores = actual == truth.positive, probabilities[:, truth.positive]
            return float(reference.brier_score_loss(hits, scores, sample_weight=weights))
        return float(reference.brier_score_loss(actual, probabilities, labels=codes, sample_weight=weights))
    if name == "expected_calibration_error":
        return slow_calibration_error(actual, predictions.predicted.astype(np.int64), probabilities, weights)
    function = {"roc_auc": reference.roc_auc_score, "average_precision": reference.average_precision_score}[name]
    if truth.positive is not None:
        return float(function(actual == truth.positive, probabilities[:, truth.positive], sample_weight=weights))
    occurring = np.unique(actual if weights is None else actual[weights > 0])
    indicators = label_binarize(actual, classes=codes) if len(codes) > 2 else np.column_stack([actual == 0, actual])
    return float(
        function(indicators[:, occurring], probabilities[:, occurring], average=truth.average, sample_weight=weights)
    )


def slow_calibration_error(
    actual: NDArray[np.int64],
    predicted: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
) -> float:
    """Return the expected calibration error bin by bin, as Guo et al. (2017) define it."""
    weights = np.ones(actual.size) if weights is None else weights
    confidence = probabilities[np.arange(actual.size), predicted]
    total = 0.0
    for place in range(CALIBRATION_BINS):
        # The same product as in the package decides on which side of an edge a number falls.
        inside = (confidence * CALIBRATION_BINS > place) & (confidence * CALIBRATION_BINS <= place + 1)
        if weights[inside].sum() > 0:
            hits = np.average(actual[inside] == predicted[inside], weights=weights[inside])
            distance = abs(hits - np.average(confidence[inside], weights=weights[inside]))
            total += weights[inside].sum() / weights.sum() * distance
    return total


@settings(max_examples=200, deadline=None)
@given(case=any_case)
def test_every_defined_value_is_that_of_scikit_learn(case: Case) -> None:
    truth, predictions = case
    for name, evaluation in evaluate_all(metrics_for(truth.task), truth, predictions).items():
        if isinstance(evaluation, UndefinedEvaluation):
            continue
        with warnings.catch_warnings():
            # scikit-learn warns when positive and predicted labels do not overlap in tiny samples.
            warnings.simplefilter("ignore")
            expected = reference_value(name, truth, predictions)
        assert evaluation.value == pytest.approx(expected, rel=1e-12, abs=1e-12), name


@settings(max_examples=60, deadline=None)
@given(case=classified(classes=4, positive=None))
def test_multiclass_areas_are_scikit_learns_one_vs_rest_when_every_class_occurs(case: Case) -> None:
    truth, predictions = case
    rows = np.concatenate([np.arange(4), truth.actual])[: truth.actual.size + 4]
    assert predictions.probabilities is not None
    probabilities = np.concatenate([np.full((4, 4), 0.25), predictions.probabilities])
    weights = None if truth.weights is None else np.concatenate([np.ones(4), truth.weights])
    truth = BenchmarkTruth(actual=rows, classes=CLASS_NAMES, average=truth.average, weights=weights)
    predictions = Predictions(predicted=rows, probabilities=probabilities)
    expected = reference.roc_auc_score(
        rows, probabilities, multi_class="ovr", average=truth.average, sample_weight=weights
    )
    assert value_of("roc_auc", truth, predictions) == pytest.approx(float(expected), abs=1e-12)
    expected = reference.average_precision_score(rows, probabilities, average=truth.average, sample_weight=weights)
    assert value_of("average_precision", truth, predictions) == pytest.approx(float(expected), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(case=any_case)
def test_a_defined_metric_lies_in_its_range_and_its_influence_averages_to_zero(case: Case) -> None:
    truth, predictions = case
    for metric in metrics_for(truth.task):
        evaluation = evaluate(metric, truth, predictions)
        if isinstance(evaluation, UndefinedEvaluation):
            continue
        assert metric.lower is None or evaluation.value >= metric.lower
        assert metric.upper is None or evaluation.value <= metric.upper
        assert evaluation.influence.shape == truth.actual.shape
        assert evaluation.influence.dtype == np.float64
        scale = max(1.0, float(np.abs(evaluation.influence).max()))
        assert abs(float(evaluation.influence.mean())) <= 1e-12 * scale, metric.name
        if truth.weights is not None:
            assert np.abs(evaluation.influence[truth.weights == 0]).max(initial=0) == 0, metric.name


@settings(max_examples=100, deadline=None)
@given(case=any_case)
def test_metrics_that_share_their_work_are_those_computed_alone(case: Case) -> None:
    truth, predictions = case
    metrics = metrics_for(truth.task)[::-1]
    together = evaluate_all(metrics, truth, predictions)
    assert list(together) == [metric.name for metric in metrics]
    for metric in metrics:
        alone, shared = evaluate(metric, truth, predictions), together[metric.name]
        if isinstance(alone, UndefinedEvaluation) or isinstance(shared, UndefinedEvaluation):
            assert alone == shared
            continue
        assert shared.value == alone.value
        np.testing.assert_array_equal(shared.influence, alone.influence)


@settings(max_examples=100, deadline=None)
@given(case=any_case)
@example(case=(BenchmarkTruth(actual=np.arange(1.0, 11.0)), Predictions(predicted=np.zeros(10))))
def test_whole_weights_count_like_repeated_rows_and_equal_weights_like_none(case: Case) -> None:
    truth, predictions = case
    counts = np.random.default_rng(truth.actual.size).integers(1, 4, truth.actual.size)
    weighted = replace(truth, weights=counts.astype(np.float64))
    repeated = take(np.repeat(np.arange(counts.size), counts), replace(truth, weights=None), predictions)
    equal, plain = replace(truth, weights=np.full(counts.size, 0.5)), replace(truth, weights=None)
    for metric in metrics_for(truth.task):
        one, other = evaluate(metric, weighted, predictions), evaluate(metric, *repeated)
        assert type(one) is type(other)
        if isinstance(one, MetricEvaluation) and isinstance(other, MetricEvaluation):
            assert one.value == pytest.approx(other.value, rel=1e-12, abs=1e-12), metric.name
        one, other = evaluate(metric, equal, predictions), evaluate(metric, plain, predictions)
        assert type(one) is type(other)
        if isinstance(one, MetricEvaluation) and isinstance(other, MetricEvaluation):
            assert one.value == pytest.approx(other.value, rel=1e-12, abs=1e-12), metric.name
            np.testing.assert_allclose(one.influence, other.influence, rtol=1e-9, atol=1e-9, err_msg=metric.name)


@settings(max_examples=100, deadline=None)
@given(case=classified(classes=2, positive=1))
def test_exchanging_the_names_of_two_classes_changes_nothing(case: Case) -> None:
    truth, predictions = case
    assert predictions.probabilities is not None
    swapped_truth = replace(truth, actual=1 - truth.actual, positive=0)
    swapped = Predictions(predicted=1 - predictions.predicted, probabilities=predictions.probabilities[:, ::-1])
    for metric in metrics_for("classification"):
        one, other = evaluate(metric, truth, predictions), evaluate(metric, swapped_truth, swapped)
        assert type(one) is type(other)
        if isinstance(one, MetricEvaluation) and isinstance(other, MetricEvaluation):
            assert other.value == pytest.approx(one.value, abs=1e-12), metric.name
            np.testing.assert_allclose(other.influence, one.influence, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(case=classified(classes=2, positive=1))
def test_the_area_of_reversed_scores_is_one_less_the_area(case: Case) -> None:
    truth, predictions = case
    assert predictions.probabilities is not None
    reversed_scores = Predictions(predicted=predictions.predicted, probabilities=predictions.probabilities[:, ::-1])
    one = evaluate(METRICS["roc_auc"], truth, predictions)
    other = evaluate(METRICS["roc_auc"], truth, reversed_scores)
    if isinstance(one, MetricEvaluation) and isinstance(other, MetricEvaluation):
        assert other.value == pytest.approx(1 - one.value, abs=1e-12)
        np.testing.assert_allclose(other.influence, -one.influence, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(case=any_case, data=st.data())
def test_the_order_of_the_rows_does_not_matter(case: Case, data: st.DataObject) -> None:
    truth, predictions = case
    order = np.array(data.draw(st.permutations(range(truth.actual.size))), dtype=np.intp)
    shuffled_truth, shuffled_predictions = take(order, truth, predictions)
    for metric in metrics_for(truth.task):
        evaluation = evaluate(metric, truth, predictions)
        shuffled = evaluate(metric, shuffled_truth, shuffled_predictions)
        if isinstance(evaluation, UndefinedEvaluation) or isinstance(shuffled, UndefinedEvaluation):
            assert type(evaluation) is type(shuffled)
            continue
        assert shuffled.value == pytest.approx(evaluation.value, rel=1e-12, abs=1e-12)
        np.testing.assert_allclose(shuffled.influence, evaluation.influence[order], rtol=1e-7, atol=1e-9)


def weighted_sample(kind: str, average: Average) -> Case:
    """Return a small sample with weights, and with tied scores."""
    truth, predictions = SAMPLES[kind](24, 11)
    probabilities = predictions.probabilities
    if probabilities is not None:
        probabilities = probabilities.round(1) + 1e-3
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    weights = np.random.default_rng(3).uniform(0.5, 2.0, 24)
    return replace(truth, weights=weights, average=average), replace(predictions, probabilities=probabilities)


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize(("kind", "name"), EVERY_SAMPLE)
def test_the_influence_is_the_derivative_of_scikit_learns_value_by_a_rows_weight(
    kind: str, name: str, average: Average
) -> None:
    if name in NOT_SMOOTH:
        return
    truth, predictions = weighted_sample(kind, average)
    rows, step = truth.actual.size, 1e-5
    assert truth.weights is not None
    derivative = np.empty(rows)
    for row in range(rows):
        sides = []
        for change in (step, -step):
            weights = truth.weights.copy()
            weights[row] += change
            sides.append(reference_value(name, replace(truth, weights=weights), predictions))
        derivative[row] = (sides[0] - sides[1]) / (2 * step)
    expected = rows * truth.weights * derivative
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(influence_of(name, truth, predictions), expected, atol=1e-7)


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_influence_predicts_how_much_a_metric_varies_over_benchmarks(kind: str) -> None:
    rows, benchmarks = 400, 600
    values: dict[str, list[float]] = {}
    predicted_variance: dict[str, list[float]] = {}
    for seed in range(benchmarks):
        truth, predictions = SAMPLES[kind](rows, seed)
        for name, evaluation in evaluate_all(metrics_for(truth.task), truth, predictions).items():
            assert isinstance(evaluation, MetricEvaluation)
            values.setdefault(name, []).append(evaluation.value)
            predicted_variance.setdefault(name, []).append(float(evaluation.influence.var()) / rows)
    for name, found in values.items():
        if name == "expected_calibration_error":
            # The models are nearly calibrated: chance moves the bins' distances less than it would without a kink.
            assert np.mean(predicted_variance[name]) > np.var(found)
            continue
        # The variance of 600 values is known to about 6 %; density estimates add to that of the median.
        assert np.mean(predicted_variance[name]) == pytest.approx(np.var(found), rel=0.2), name


def test_the_influence_of_the_calibration_error_predicts_its_variance_where_no_bin_is_calibrated() -> None:
    values, predicted_variance = [], []
    for seed in range(600):
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.55, 0.95, 400)
        actual = (rng.random(400) < confidence - 0.4).astype(np.int64)
        predictions = Predictions(
            predicted=np.ones(400, dtype=np.int64), probabilities=np.column_stack([1 - confidence, confidence])
        )
        truth = BenchmarkTruth(actual=actual, classes=("no", "yes"), positive=1)
        values.append(value_of("expected_calibration_error", truth, predictions))
        influence = influence_of("expected_calibration_error", truth, predictions)
        predicted_variance.append(influence.var() / 400)
    assert np.mean(values) == pytest.approx(0.4, abs=0.01)
    assert np.mean(predicted_variance) == pytest.approx(np.var(values), rel=0.2)


def area_of(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> MetricEvaluation:
    """Return the area under the ROC curve of scores that need be no probabilities."""
    return roc_auc(RankedRows.of(positive, scores))


def slow_delong(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return DeLong's structural components by comparing every positive with every negative row."""
    above = scores[positive][:, None] > scores[~positive][None, :]
    tied = scores[positive][:, None] == scores[~positive][None, :]
    wins = above + 0.5 * tied
    return wins.mean(axis=1), wins.mean(axis=0)


@settings(max_examples=150, deadline=None)
@given(
    labels=st.lists(st.booleans(), min_size=2, max_size=60).filter(lambda labels: len(set(labels)) == 2),
    data=st.data(),
)
def test_roc_auc_matches_delongs_components_compared_pair_by_pair(labels: list[bool], data: st.DataObject) -> None:
    size = len(labels)
    scores = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size)), dtype=np.float64)
    positive = np.array(labels)
    of_positives, of_negatives = slow_delong(positive, scores)
    area = of_positives.mean()
    evaluation = area_of(positive, scores)
    assert evaluation.value == pytest.approx(area, abs=1e-14)
    np.testing.assert_allclose(evaluation.influence[positive], (of_positives - area) / positive.mean(), atol=1e-12)
    np.testing.assert_allclose(evaluation.influence[~positive], (of_negatives - area) / (~positive).mean(), atol=1e-12)
    variance = of_positives.var() / positive.sum() + of_negatives.var() / (~positive).sum()
    assert np.mean(evaluation.influence**2) / size == pytest.approx(variance, abs=1e-12)


# Albumin, total protein, K-G score, and whether surgery helped: 43 complete patients of DeLong et al. (1988).
OVARIAN_CANCER = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""


def delong_standard_error(influence: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return DeLong's standard error, which divides by one less than each group's size."""
    total = 0.0
    for group in (positive, ~positive):
        size = int(group.sum())
        total += float((influence[group] * group.mean()).var(ddof=1)) / size
    return float(np.sqrt(total))


def test_roc_auc_reproduces_the_comparison_of_three_tests_for_ovarian_cancer() -> None:
    albumin, protein, kg_score, helped = np.array(OVARIAN_CANCER.split(), dtype=np.float64).reshape(-1, 4).T
    positive = helped == 1
    tests = {"albumin": area_of(positive, albumin), "K-G": area_of(positive, 10 - kg_score)}
    tests["protein"] = area_of(positive, protein)
    areas = {name: round(test.value, 4) for name, test in tests.items()}
    errors = {name: round(delong_standard_error(test.influence, positive), 4) for name, test in tests.items()}
    assert areas == {"albumin": 0.7366, "K-G": 0.7258, "protein": 0.6478}
    assert errors == {"albumin": 0.0927, "K-G": 0.1028, "protein": 0.1000}
    for name, difference, error in (("albumin", 0.0108, 0.0953), ("protein", -0.0780, 0.1046)):
        contrast = tests[name].influence - tests["K-G"].influence
        assert round(tests[name].value - tests["K-G"].value, 4) == difference
        assert round(delong_standard_error(contrast, positive), 4) == error


def test_a_tie_between_the_two_classes_counts_half() -> None:
    assert area_of(np.array([True, False]), np.array([0.3, 0.3])).value == 0.5
    assert area_of(np.array([True, False]), np.array([0.0, -0.0])).value == 0.5


def test_a_perfect_regression_has_no_error_and_no_influence() -> None:
    truth = BenchmarkTruth(actual=np.array([1.0, 2.0, 4.0]))
    predictions = Predictions(predicted=np.array([1.0, 2.0, 4.0]))
    best = {"rmse": 0.0, "mae": 0.0, "median_absolute_error": 0.0, "r2": 1.0, "mape": 0.0}
    assert set(best) == set(REGRESSION)
    for name, value in best.items():
        assert value_of(name, truth, predictions) == value
        assert not influence_of(name, truth, predictions).any()


def test_a_perfect_classification_has_the_best_values() -> None:
    truth = BenchmarkTruth(actual=np.array([0, 1, 2, 2]), classes=CLASS_NAMES[:3])
    predictions = Predictions(predicted=truth.actual, probabilities=np.eye(3)[truth.actual])
    for metric in metrics_for("classification"):
        value = value_of(metric.name, truth, predictions)
        assert value == pytest.approx(metric.upper if metric.higher_is_better else 0.0, abs=1e-15), metric.name


def test_many_classes_are_counted_like_few() -> None:
    rng = np.random.default_rng(5)
    actual, predicted = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    weights = rng.uniform(0.5, 2.0, 200)
    names = tuple(f"class {number:03}" for number in range(100))
    for average in AVERAGES:
        few = BenchmarkTruth(actual=actual, classes=CLASS_NAMES, average=average, weights=weights)
        many = BenchmarkTruth(actual=actual * 30, classes=names, average=average, weights=weights)
        for name in ("balanced_accuracy", "precision", "recall", "f1"):
            expected = evaluate(METRICS[name], few, Predictions(predicted=predicted))
            found = evaluate(METRICS[name], many, Predictions(predicted=predicted * 30))
            assert isinstance(expected, MetricEvaluation)
            assert isinstance(found, MetricEvaluation)
            assert found.value == pytest.approx(expected.value, abs=1e-14)
            np.testing.assert_allclose(found.influence, expected.influence, atol=1e-12)


def test_a_brier_score_is_halved_for_two_classes_alone() -> None:
    for classes, expected in ((2, 0.25), (4, 0.75)):
        truth = BenchmarkTruth(actual=np.arange(classes), classes=CLASS_NAMES[:classes])
        even = Predictions(
            predicted=np.zeros(classes, dtype=np.int64), probabilities=np.full((classes,) * 2, 1 / classes)
        )
        assert value_of("brier_score", truth, even) == pytest.approx(expected)


def test_a_certain_mistake_costs_a_finite_number_of_nats() -> None:
    truth = BenchmarkTruth(actual=np.array([0, 1]), classes=("no", "yes"), positive=1)
    predictions = Predictions(predicted=np.array([1, 1]), probabilities=np.array([[0.0, 1.0], [0.0, 1.0]]))
    expected = reference.log_loss(truth.actual, predictions.probabilities)
    assert value_of("log_loss", truth, predictions) == pytest.approx(float(expected), rel=1e-12)


def undefined_reason(name: str, truth: BenchmarkTruth, predictions: Predictions) -> str:
    """Return the reason of a metric that must be undefined."""
    evaluation = evaluate(METRICS[name], truth, predictions)
    assert isinstance(evaluation, UndefinedEvaluation), evaluation
    return evaluation.reason


@pytest.mark.parametrize("name", NEEDS_PROBABILITIES)
def test_without_probabilities_the_metrics_that_need_them_are_undefined(name: str) -> None:
    truth, predictions = sample_binary(20, 0)
    bare = Predictions(predicted=predictions.predicted)
    assert "gives no probabilities" in undefined_reason(name, truth, bare)


@pytest.mark.parametrize("positive", [0, 1, None])
def test_roc_auc_of_a_single_class_is_undefined_and_names_the_class(positive: int | None) -> None:
    _, predictions = sample_binary(20, 0)
    truth = BenchmarkTruth(actual=np.ones(20, dtype=np.int64), classes=("no", "yes"), positive=positive)
    assert "of the class 'yes'" in undefined_reason("roc_auc", truth, predictions)


def test_log_loss_is_undefined_when_the_benchmark_has_a_class_that_the_model_never_saw() -> None:
    truth, predictions = sample_multiclass(30, 0)
    unseen = Predictions(
        predicted=predictions.predicted, probabilities=predictions.probabilities, unseen_classes=("cat",)
    )
    assert "never saw the class 'cat'" in undefined_reason("log_loss", truth, unseen)
    without_cats = take(np.flatnonzero(truth.actual != 2), truth, unseen)
    assert value_of("log_loss", *without_cats) > 0


def test_precision_without_a_positive_prediction_is_undefined_while_recall_and_f1_are_zero() -> None:
    truth, predictions = sample_binary(30, 0)
    never = Predictions(predicted=np.zeros(30, dtype=np.int64), probabilities=predictions.probabilities)
    assert "never predicts the positive class 'yes'" in undefined_reason("precision", truth, never)
    assert value_of("recall", truth, never) == 0
    assert value_of("f1", truth, never) == 0


@pytest.mark.parametrize("name", ["precision", "recall", "f1", "average_precision"])
@pytest.mark.parametrize("weighted", [False, True])
def test_without_a_positive_row_what_is_about_such_rows_is_undefined(name: str, *, weighted: bool) -> None:
    _, predictions = sample_binary(30, 0)
    actual, weights = np.zeros(30, dtype=np.int64), None
    if weighted:
        # A row that weighs nothing is none.
        actual[4], weights = 1, np.ones(30)
        weights[4] = 0.0
    truth = BenchmarkTruth(actual=actual, classes=("no", "yes"), positive=1, weights=weights)
    assert "no benchmark row is of the positive class 'yes'" in undefined_reason(name, truth, predictions)


@pytest.mark.parametrize("positive", [0, 1, None])
def test_balanced_accuracy_of_a_single_class_is_undefined(positive: int | None) -> None:
    _, predictions = sample_binary(20, 0)
    truth = BenchmarkTruth(actual=np.ones(20, dtype=np.int64), classes=("no", "yes"), positive=positive)
    assert "every benchmark row is of the class 'yes'" in undefined_reason("balanced_accuracy", truth, predictions)


@pytest.mark.parametrize("kind", SAMPLES)
def test_weights_that_are_all_zero_leave_every_metric_undefined(kind: str) -> None:
    truth, predictions = SAMPLES[kind](20, 0)
    nothing = replace(truth, weights=np.zeros(20))
    for metric in metrics_for(truth.task):
        assert "weight zero" in undefined_reason(metric.name, nothing, predictions)


@pytest.mark.parametrize("zero", [0.0, -0.0, 1e-17])
def test_mape_is_undefined_where_a_label_is_zero_and_names_the_row(zero: float) -> None:
    truth = BenchmarkTruth(actual=np.array([2.0, zero, 1.0]))
    reason = undefined_reason("mape", truth, Predictions(predicted=np.array([1.0, 1.0, 1.0])))
    assert "benchmark row 2 is zero" in reason


def test_a_median_that_lies_among_equal_errors_is_moved_by_no_row() -> None:
    truth = BenchmarkTruth(actual=np.zeros(100))
    predictions = Predictions(predicted=np.concatenate([np.zeros(3), np.ones(94), [5.0, 6.0, 7.0]]))
    assert value_of("median_absolute_error", truth, predictions) == 1.0
    assert not influence_of("median_absolute_error", truth, predictions).any()


def test_macro_precision_counts_a_class_that_is_never_predicted_as_zero() -> None:
    truth = BenchmarkTruth(actual=np.array([0, 0, 1]), classes=("ant", "bee", "cat"))
    predictions = Predictions(predicted=np.array([0, 0, 0]))
    assert value_of("precision", truth, predictions) == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("weighted", [False, True])
def test_r2_of_labels_that_are_all_equal_is_undefined(*, weighted: bool) -> None:
    actual, weights = np.full(10, 0.1), None
    if weighted:
        actual[0], weights = 7.0, np.ones(10)
        weights[0] = 0.0
    truth = BenchmarkTruth(actual=actual, weights=weights)
    assert "no variance" in undefined_reason("r2", truth, Predictions(predicted=np.arange(10.0)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", REGRESSION)
def test_a_prediction_that_is_not_finite_leaves_the_metric_undefined_and_names_the_row(name: str, bad: float) -> None:
    truth = BenchmarkTruth(actual=np.arange(5.0))
    predictions = Predictions(predicted=np.array([0.0, 1.0, bad, 3.0, 4.0]))
    assert "benchmark row 3 is not a finite number" in undefined_reason(name, truth, predictions)


def test_errors_that_overflow_leave_the_metric_undefined() -> None:
    truth = BenchmarkTruth(actual=np.array([0.0, 1.0]))
    predictions = Predictions(predicted=np.array([1e200, 0.0]))
    assert "too large" in undefined_reason("rmse", truth, predictions)


@pytest.mark.parametrize("name", NEEDS_PROBABILITIES)
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([1.0, 1.0], "benchmark row 2 sum to 2"),
        ([np.nan, 0.5], "benchmark row 2 sum to nan"),
        ([-0.5, 1.5], "benchmark row 2 is below 0"),
    ],
)
def test_numbers_that_are_no_probabilities_cannot_win(name: str, row: list[float], reason: str) -> None:
    truth = BenchmarkTruth(actual=np.array([0, 1]), classes=("no", "yes"), positive=1)
    probabilities = np.array([[0.5, 0.5], row])
    predictions = Predictions(predicted=np.array([0, 1]), probabilities=probabilities)
    assert reason in undefined_reason(name, truth, predictions)


def test_the_catalogue_knows_which_way_is_better() -> None:
    lower_is_better = {metric.name for metric in METRICS.values() if not metric.higher_is_better}
    assert lower_is_better == {
        "log_loss",
        "brier_score",
        "expected_calibration_error",
        "rmse",
        "mae",
        "median_absolute_error",
        "mape",
    }
    assert {name: metric.name for name, metric in METRICS.items()} == {name: name for name in METRICS}
    assert CLASSIFICATION == (
        "accuracy",
        "balanced_accuracy",
        "precision",
        "recall",
        "f1",
        "roc_auc",
        "average_precision",
        "log_loss",
        "brier_score",
        "expected_calibration_error",
    )
    assert REGRESSION == ("rmse", "mae", "median_absolute_error", "r2", "mape")


@pytest.mark.parametrize("name", ["auc", "rmse", ""])
def test_an_unknown_metric_or_one_of_another_task_is_refused_with_the_names_there_are(name: str) -> None:
    known = ", ".join((*CLASSIFICATION, "ndcg", "mrr"))
    with pytest.raises(ConfigurationError, match=f"expected one of: {known}$") as caught:
        find_metric(name, "classification")
    assert caught.value.key == "delta.metric"


def test_a_metric_of_another_task_than_the_labels_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no regression metric 'accuracy'"):
        evaluate(METRICS["accuracy"], *sample_regression(5, 0))


@pytest.mark.parametrize(
    ("actual", "classes", "positive", "message"),
    [
        (np.array([], dtype=np.int64), ("a", "b"), None, "at least one row"),
        (np.array([[0, 1]]), ("a", "b"), None, "expected \\(rows,\\)"),
        (np.array([0, 2]), ("a", "b"), None, "expected 0 to 1"),
        (np.array([0, -1]), ("a", "b"), None, "codes from -1"),
        (np.array([0.0, 1.0]), ("a", "b"), None, "expected integer class codes"),
        (np.array([0, 1]), ("a", "b", "c"), 1, "expected 0 or 1 of 2"),
        (np.array([0, 1]), ("a", "b"), 2, "expected 0 or 1 of 2"),
        (np.array([0.5, 1.0]), (), 1, "expected 0 or 1 of 2"),
    ],
)
def test_labels_that_no_metric_could_use_are_refused(
    actual: NDArray[np.generic], classes: tuple[str, ...], positive: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        BenchmarkTruth(actual=actual, classes=classes, positive=positive)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average": "binary"}, "average is 'binary', expected one of: macro, micro, weighted"),
        ({"weights": np.ones(3)}, "weights has shape \\(3,\\)"),
        ({"weights": np.array([1, 1])}, "weights has the type int64"),
        ({"weights": np.array([1.0, -1.0])}, "not all finite and at least 0"),
        ({"weights": np.array([1.0, np.nan])}, "not all finite and at least 0"),
        ({"queries": np.zeros((2, 1), dtype=np.int64)}, "queries has shape"),
        ({"queries": np.zeros(2)}, "queries has the type float64"),
        ({"groups": np.array(["a", "b"])}, "groups has the type"),
    ],
)
def test_a_count_of_rows_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BenchmarkTruth(actual=np.array([0.5, 1.0]), **options)


def test_taking_rows_takes_everything_that_belongs_to_them() -> None:
    truth = BenchmarkTruth(
        actual=np.array([0, 1, 2]),
        classes=CLASS_NAMES,
        average="weighted",
        weights=np.array([1.0, 2.0, 3.0]),
        queries=np.array([7, 8, 9]),
        groups=np.array([4, 5, 6]),
    )
    taken = truth.take(np.array([2, 0]))
    assert (taken.classes, taken.positive, taken.average) == (CLASS_NAMES, None, "weighted")
    assert taken.weights is not None
    assert taken.queries is not None
    assert taken.groups is not None
    together = [taken.actual, taken.weights, taken.queries, taken.groups]
    assert [each.tolist() for each in together] == [[2, 0], [3.0, 1.0], [9, 7], [6, 4]]
    with pytest.raises(ValueError, match="at least one row"):
        truth.take(np.array([], dtype=np.intp))


def test_predictions_for_other_rows_or_classes_are_refused() -> None:
    truth, predictions = sample_binary(10, 0)
    with pytest.raises(ValueError, match="predicted has shape"):
        evaluate(METRICS["accuracy"], truth, Predictions(predicted=predictions.predicted[:9]))
    with pytest.raises(ValueError, match="predicted has codes"):
        evaluate(METRICS["accuracy"], truth, Predictions(predicted=predictions.predicted + 2))
    assert predictions.probabilities is not None
    narrow = Predictions(predicted=predictions.predicted, probabilities=predictions.probabilities[:, :1])
    with pytest.raises(ValueError, match="probabilities have shape"):
        evaluate(METRICS["roc_auc"], truth, narrow)


def test_importing_the_metrics_does_not_import_scikit_learn() -> None:
    code = (
        "import sys, hokusai.analysis.metrics, hokusai.analysis.statistics;"
        "sys.exit(any(name in sys.modules for name in ('sklearn', 'scipy.stats', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
