"""Metrics agree with scikit-learn, and their influence functions with leaving rows out one at a time."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from hokusai.analysis.influence import roc_auc
from hokusai.analysis.metrics import (
    METRICS,
    BenchmarkTruth,
    MetricEvaluation,
    UndefinedEvaluation,
    evaluate,
    find_metric,
    metrics_for,
)
from hokusai.errors import ConfigurationError
from hokusai.records import Predictions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CLASS_NAMES = ("ant", "bee", "cat", "dog")
CLASSIFICATION = tuple(metric.name for metric in metrics_for("classification"))
REGRESSION = tuple(metric.name for metric in metrics_for("regression"))

Case = tuple[BenchmarkTruth, Predictions]


@st.composite
def classified(draw: st.DrawFn, *, classes: int, positive: int | None) -> Case:
    """Draw a benchmark and a model's answers, with ties in the scores and classes missing on either side."""
    rows = draw(st.integers(2, 40))
    codes = st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)
    # A coarse grid makes ties common; a weight above zero makes every row a distribution.
    grid = st.lists(st.integers(0, 6), min_size=rows * classes, max_size=rows * classes)
    weights = np.array(draw(grid), dtype=np.float64).reshape(rows, classes) + draw(st.sampled_from([0.5, 1e-3]))
    truth = BenchmarkTruth(
        actual=np.array(draw(codes), dtype=draw(st.sampled_from([np.int8, np.int64]))),
        classes=CLASS_NAMES[:classes],
        positive=positive,
    )
    predicted = np.array(draw(codes), dtype=np.int64)
    return truth, Predictions(predicted=predicted, probabilities=weights / weights.sum(axis=1, keepdims=True))


@st.composite
def regressed(draw: st.DrawFn) -> Case:
    """Draw numbers and predicted numbers of very different sizes."""
    rows = draw(st.integers(2, 40))
    numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=rows, max_size=rows)
    return BenchmarkTruth(actual=np.array(draw(numbers))), Predictions(predicted=np.array(draw(numbers)))


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
    return (
        BenchmarkTruth(actual=truth.actual[rows], classes=truth.classes, positive=truth.positive),
        Predictions(predicted=predictions.predicted[rows], probabilities=probabilities),
    )


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
    actual, predicted, probabilities = truth.actual, predictions.predicted, predictions.probabilities
    if truth.task == "regression":
        function = {
            "rmse": reference.root_mean_squared_error,
            "mae": reference.mean_absolute_error,
            "r2": reference.r2_score,
        }[name]
        return float(function(actual, predicted))
    if name == "accuracy":
        return float(reference.accuracy_score(actual, predicted))
    if name == "log_loss":
        return float(reference.log_loss(actual, probabilities, labels=range(len(truth.classes))))
    if name == "roc_auc":
        assert probabilities is not None
        codes = np.unique(actual) if truth.positive is None else [truth.positive]
        return float(np.mean([reference.roc_auc_score(actual == code, probabilities[:, code]) for code in codes]))
    function = {
        "precision": reference.precision_score,
        "recall": reference.recall_score,
        "f1": reference.f1_score,
    }[name]
    if truth.positive is None:
        return float(function(actual, predicted, labels=np.unique(actual), average="macro", zero_division=0))
    return float(function(actual, predicted, pos_label=truth.positive, average="binary", zero_division=0))


@settings(max_examples=300, deadline=None)
@given(case=any_case)
def test_every_defined_value_is_that_of_scikit_learn(case: Case) -> None:
    truth, predictions = case
    for metric in metrics_for(truth.task):
        evaluation = evaluate(metric, truth, predictions)
        if isinstance(evaluation, UndefinedEvaluation):
            continue
        with warnings.catch_warnings():
            # scikit-learn warns when positive and predicted labels do not overlap in tiny samples.
            warnings.simplefilter("ignore")
            expected = reference_value(metric.name, truth, predictions)
        assert evaluation.value == pytest.approx(expected, rel=1e-12, abs=1e-12), metric.name


@settings(max_examples=60, deadline=None)
@given(case=classified(classes=4, positive=None))
def test_multiclass_roc_auc_is_scikit_learns_one_vs_rest_when_every_class_occurs(case: Case) -> None:
    truth, predictions = case
    assume(len(np.unique(truth.actual)) == 4)
    expected = reference.roc_auc_score(truth.actual, predictions.probabilities, multi_class="ovr", average="macro")
    assert value_of("roc_auc", truth, predictions) == pytest.approx(float(expected), abs=1e-12)


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


@pytest.mark.parametrize(("kind", "name"), EVERY_SAMPLE)
def test_the_influence_is_what_leaving_a_row_out_changes(kind: str, name: str) -> None:
    rows = 300
    truth, predictions = SAMPLES[kind](rows, 7)
    whole = value_of(name, truth, predictions)
    everything = np.arange(rows)
    without = np.array([value_of(name, *take(np.delete(everything, row), truth, predictions)) for row in everything])
    influence = influence_of(name, truth, predictions)
    # The two differ by terms of the order 1 / rows.
    np.testing.assert_allclose(rows * (whole - without), influence, rtol=0.05, atol=0.05 * influence.std())


@pytest.mark.parametrize(("kind", "name"), EVERY_SAMPLE)
def test_the_influence_predicts_how_much_a_metric_varies_over_benchmarks(kind: str, name: str) -> None:
    rows, benchmarks = 400, 600
    values = np.empty(benchmarks)
    predicted_variance = np.empty(benchmarks)
    for seed in range(benchmarks):
        truth, predictions = SAMPLES[kind](rows, seed)
        values[seed] = value_of(name, truth, predictions)
        predicted_variance[seed] = influence_of(name, truth, predictions).var() / rows
    # The variance of 600 values is known to about 6 %.
    assert predicted_variance.mean() == pytest.approx(values.var(), rel=0.2)


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
    evaluation = roc_auc(positive, scores)
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
    tests = {"albumin": roc_auc(positive, albumin), "K-G": roc_auc(positive, 10 - kg_score)}
    tests["protein"] = roc_auc(positive, protein)
    areas = {name: round(test.value, 4) for name, test in tests.items()}
    errors = {name: round(delong_standard_error(test.influence, positive), 4) for name, test in tests.items()}
    assert areas == {"albumin": 0.7366, "K-G": 0.7258, "protein": 0.6478}
    assert errors == {"albumin": 0.0927, "K-G": 0.1028, "protein": 0.1000}
    for name, difference, error in (("albumin", 0.0108, 0.0953), ("protein", -0.0780, 0.1046)):
        contrast = tests[name].influence - tests["K-G"].influence
        assert round(tests[name].value - tests["K-G"].value, 4) == difference
        assert round(delong_standard_error(contrast, positive), 4) == error


def test_a_tie_between_the_two_classes_counts_half() -> None:
    assert roc_auc(np.array([True, False]), np.array([0.3, 0.3])).value == 0.5
    assert roc_auc(np.array([True, False]), np.array([0.0, -0.0])).value == 0.5


def test_a_perfect_regression_has_no_error_and_no_influence() -> None:
    truth = BenchmarkTruth(actual=np.array([1.0, 2.0, 4.0]))
    predictions = Predictions(predicted=np.array([1.0, 2.0, 4.0]))
    for name, best in (("rmse", 0.0), ("mae", 0.0), ("r2", 1.0)):
        assert value_of(name, truth, predictions) == best
        assert not influence_of(name, truth, predictions).any()


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


@pytest.mark.parametrize("name", ["roc_auc", "log_loss"])
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


def test_recall_without_a_positive_row_is_undefined() -> None:
    _, predictions = sample_binary(30, 0)
    truth = BenchmarkTruth(actual=np.zeros(30, dtype=np.int64), classes=("no", "yes"), positive=1)
    assert "no benchmark row is of the positive class 'yes'" in undefined_reason("recall", truth, predictions)


def test_macro_precision_counts_a_class_that_is_never_predicted_as_zero() -> None:
    truth = BenchmarkTruth(actual=np.array([0, 0, 1]), classes=("ant", "bee", "cat"))
    predictions = Predictions(predicted=np.array([0, 0, 0]))
    assert value_of("precision", truth, predictions) == pytest.approx((2 / 3 + 0) / 2)


def test_r2_of_labels_that_are_all_equal_is_undefined() -> None:
    truth = BenchmarkTruth(actual=np.full(10, 0.1))
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


@pytest.mark.parametrize("name", ["roc_auc", "log_loss"])
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
    assert lower_is_better == {"log_loss", "rmse", "mae"}
    assert {name: metric.name for name, metric in METRICS.items()} == {name: name for name in METRICS}
    assert CLASSIFICATION == ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss")
    assert REGRESSION == ("rmse", "mae", "r2")


@pytest.mark.parametrize("name", ["auc", "rmse", ""])
def test_an_unknown_metric_or_one_of_another_task_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(ConfigurationError, match="accuracy, precision, recall, f1, roc_auc, log_loss") as caught:
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
