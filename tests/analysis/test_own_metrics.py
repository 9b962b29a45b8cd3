"""A user's own metric is called with what it asks for, and its mistakes are reasons, not crashes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn import metrics as reference

from hokusai.analysis.metrics import (
    METRICS,
    BenchmarkTruth,
    MetricEvaluation,
    UndefinedEvaluation,
    evaluate,
    evaluate_all,
)
from hokusai.analysis.own_metrics import JACKKNIFE_BLOCKS, OwnMetric
from hokusai.errors import ConfigurationError
from hokusai.records import Predictions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hokusai.records import MetricTask

Case = tuple[BenchmarkTruth, Predictions]


def own(function: Callable[..., object], task: MetricTask = "regression") -> OwnMetric:
    """Return an own metric of that function."""
    return OwnMetric(name="own", task=task, higher_is_better=True, unit="none", function=function)


def defined(function: Callable[..., object], truth: BenchmarkTruth, predictions: Predictions) -> MetricEvaluation:
    """Return the evaluation of a function that must be defined."""
    evaluation = evaluate(own(function, truth.task), truth, predictions)
    assert isinstance(evaluation, MetricEvaluation), evaluation
    return evaluation


def reason(function: Callable[..., object], truth: BenchmarkTruth, predictions: Predictions) -> str:
    """Return why the value of a function is undefined."""
    evaluation = evaluate(own(function, truth.task), truth, predictions)
    assert isinstance(evaluation, UndefinedEvaluation), evaluation
    return evaluation.reason


def numbers(rows: int, seed: int) -> Case:
    """Return labels and predictions that explain about half of them."""
    rng = np.random.default_rng(seed)
    actual = rng.normal(size=rows)
    return BenchmarkTruth(actual=actual), Predictions(predicted=actual + 0.7 * rng.normal(size=rows))


def classes(rows: int, seed: int) -> Case:
    """Return labels of two classes and a model of middling quality."""
    rng = np.random.default_rng(seed)
    actual = rng.integers(0, 2, rows)
    positive = np.clip(0.5 + 0.3 * (actual - 0.5) + rng.normal(size=rows) * 0.2, 0.01, 0.99)
    predictions = Predictions(
        predicted=(positive > 0.5).astype(np.int64), probabilities=np.column_stack([1 - positive, positive])
    )
    return BenchmarkTruth(actual=actual, classes=("no", "yes"), positive=1), predictions


def test_one_number_per_row_gives_the_exact_mean_and_influence() -> None:
    truth, predictions = numbers(50, 0)
    weights = np.random.default_rng(1).uniform(0, 2, 50)
    for each in (truth, replace(truth, weights=weights)):
        found = defined(lambda actual, predicted: np.abs(actual - predicted), each, predictions)
        expected = evaluate(METRICS["mae"], each, predictions)
        assert isinstance(expected, MetricEvaluation)
        assert found.value == expected.value
        np.testing.assert_array_equal(found.influence, expected.influence)


def test_right_or_wrong_per_row_is_an_accuracy() -> None:
    truth, predictions = classes(50, 0)
    found = defined(lambda actual, predicted: actual == predicted, truth, predictions)
    assert found.value == float(np.mean(truth.actual == predictions.predicted))


def test_classes_come_as_their_names_and_every_parameter_that_is_asked_for_comes_too() -> None:
    seen: dict[str, Any] = {}

    def function(
        actual: NDArray[np.str_],
        predicted: NDArray[np.str_],
        *,
        classes: tuple[str, ...],
        probabilities: NDArray[np.float64],
        sample_weight: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        seen.update(actual=actual, predicted=predicted, classes=classes, weights=sample_weight)
        return probabilities[:, classes.index("yes")]

    truth, predictions = classes(5, 3)
    found = defined(function, truth, predictions)
    assert predictions.probabilities is not None
    assert found.value == pytest.approx(predictions.probabilities[:, 1].mean())
    assert seen["actual"].tolist() == [truth.classes[code] for code in truth.actual]
    assert seen["predicted"].tolist() == [truth.classes[code] for code in predictions.predicted]
    assert seen["classes"] == ("no", "yes")
    assert seen["weights"].tolist() == [1.0] * 5
    weights = np.arange(1.0, 6.0)
    defined(function, replace(truth, weights=weights), predictions)
    assert seen["weights"].tolist() == weights.tolist()


def test_one_number_for_all_rows_is_taken_as_it_is() -> None:
    truth, predictions = classes(60, 1)

    def cohen(actual: NDArray[np.str_], predicted: NDArray[np.str_]) -> float:
        return float(reference.cohen_kappa_score(actual, predicted))

    found = defined(cohen, truth, predictions)
    assert found.value == reference.cohen_kappa_score(truth.actual, predictions.predicted)
    assert found.influence.shape == (60,)
    assert abs(float(found.influence.mean())) < 1e-12
    np.testing.assert_array_equal(found.influence, defined(cohen, truth, predictions).influence)


def test_with_a_block_for_every_row_the_jackknife_finds_the_influence_of_a_mean() -> None:
    truth, predictions = numbers(120, 2)
    found = defined(lambda actual, predicted: float(np.mean(np.abs(actual - predicted))), truth, predictions)
    expected = evaluate(METRICS["mae"], truth, predictions)
    assert isinstance(expected, MetricEvaluation)
    assert np.corrcoef(found.influence, expected.influence)[0, 1] == pytest.approx(1, abs=1e-12)
    assert found.influence.std() == pytest.approx(expected.influence.std(), rel=0.01)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_influence_of_blocks_predicts_how_much_a_value_varies_over_benchmarks(*, weighted: bool) -> None:
    def deviation(
        actual: NDArray[np.float64], predicted: NDArray[np.float64], sample_weight: NDArray[np.float64]
    ) -> float:
        return float(np.sqrt(sample_weight @ (actual - predicted) ** 2 / sample_weight.sum()))

    rows = 3 * JACKKNIFE_BLOCKS + 50
    values, predicted_variance = [], []
    for seed in range(250):
        truth, predictions = numbers(rows, seed)
        if weighted:
            truth = replace(truth, weights=np.random.default_rng(seed).uniform(0.2, 3, rows))
        found = defined(deviation, truth, predictions)
        assert len(np.unique(found.influence.round(12))) <= JACKKNIFE_BLOCKS
        assert abs(float(found.influence.mean())) < 1e-12
        values.append(found.value)
        predicted_variance.append(found.influence.var() / rows)
    # The variance of 250 values is known to about 9 %.
    assert np.mean(predicted_variance) == pytest.approx(np.var(values), rel=0.25)


@pytest.mark.parametrize("field", ["queries", "groups"])
def test_rows_that_belong_together_leave_together_and_their_sums_vary_as_the_value_does(field: str) -> None:
    groups, size = 300, 5
    values, by_group, by_row = [], [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        # Rows of a group err alike: as rows they would seem five times as many as they are.
        errors = np.repeat(rng.normal(size=groups), size) + 0.1 * rng.normal(size=groups * size)
        order = rng.permutation(groups * size)
        codes = np.repeat(np.arange(groups), size)[order]
        truth = BenchmarkTruth(actual=np.zeros(groups * size), **{field: codes})  # type: ignore[arg-type]
        predictions = Predictions(predicted=errors[order])
        found = defined(lambda actual, predicted: float(np.mean((predicted - actual) ** 2)), truth, predictions)
        values.append(found.value)
        summed = np.bincount(codes, found.influence) * groups / truth.actual.size
        by_group.append(summed.var() / groups)
        by_row.append(found.influence.var() / truth.actual.size)
    assert np.mean(by_group) == pytest.approx(np.var(values), rel=0.3)
    assert np.mean(by_row) < 0.5 * np.var(values)


def test_groups_go_before_queries_where_both_are_given() -> None:
    truth, predictions = numbers(40, 0)
    groups = np.arange(40) // 4

    def value(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
        return float(np.median(actual - predicted))

    grouped = defined(value, replace(truth, groups=groups), predictions)
    both = defined(value, replace(truth, groups=groups, queries=np.arange(40)), predictions)
    np.testing.assert_array_equal(both.influence, grouped.influence)
    assert "all rows belong together" in reason(value, replace(truth, groups=np.zeros(40, dtype=np.int64)), predictions)


def test_the_blocks_of_two_models_are_the_same_so_that_what_they_share_cancels() -> None:
    truth, predictions = numbers(1000, 0)
    other = Predictions(predicted=predictions.predicted.astype(np.float64) + 0.01)

    def value(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
        return float(np.sqrt(np.mean((actual - predicted) ** 2)))

    one, two = defined(value, truth, predictions), defined(value, truth, other)
    assert np.var(two.influence - one.influence) < 0.01 * np.var(one.influence)


def test_a_function_that_changes_its_arguments_spoils_nothing() -> None:
    truth, predictions = numbers(30, 0)

    def spoil(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
        actual -= predicted
        return float(np.mean(actual))

    def spare(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
        return float(np.mean(actual - predicted))

    before = truth.actual.astype(np.float64)
    expected = np.mean(before - predictions.predicted.astype(np.float64))
    found, clean = defined(spoil, truth, predictions), defined(spare, truth, predictions)
    assert found.value == pytest.approx(expected)
    np.testing.assert_array_equal(found.influence, clean.influence)
    np.testing.assert_array_equal(truth.actual, before)


def raise_error(*_: object) -> float:
    message = "no such thing"
    raise KeyError(message)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda *_: float("nan"), "returned nan, not a finite number"),
        (lambda *_: -np.inf, "returned -inf, not a finite number"),
        (lambda actual, _: np.where(np.arange(actual.size) == 2, np.inf, 1.0), "returned inf, not a finite number"),
        (lambda *_: np.zeros(7), "the shape \\(7,\\), expected one number or one per row"),
        (lambda actual, _: np.zeros((actual.size, 1)), "the shape \\(20, 1\\)"),
        (lambda *_: "good", "not numbers"),
        (lambda *_: None, "not numbers"),
        (lambda *_: 1j, "complex128, not numbers"),
        (lambda *_: [[1.0], [1.0, 2.0]], "raised ValueError"),
        (lambda _: 1.0, "raised TypeError"),
        (raise_error, "raised KeyError: 'no such thing'"),
    ],
)
def test_what_is_no_score_is_undefined_and_says_why(function: Callable[..., object], expected: str) -> None:
    from re import search

    found = reason(function, *numbers(20, 0))
    assert search(expected, found), found


def test_a_function_that_fails_without_some_rows_has_no_interval_and_so_no_value() -> None:
    truth, predictions = numbers(20, 0)

    def needs_all(actual: NDArray[np.float64], _: NDArray[np.float64]) -> float:
        return 1.0 if actual.size == 20 else float("nan")

    def changes_its_mind(actual: NDArray[np.float64], _: NDArray[np.float64]) -> object:
        return 1.0 if actual.size == 20 else actual

    assert "without one of 20 blocks of rows, the function of own returned nan" in reason(needs_all, truth, predictions)
    assert "one number first and one per row then" in reason(changes_its_mind, truth, predictions)


def test_weights_that_a_function_cannot_take_leave_it_undefined() -> None:
    truth, predictions = numbers(20, 0)
    weighted = replace(truth, weights=np.ones(20))
    assert "takes no sample_weight" in reason(lambda actual, _: float(actual.mean()), weighted, predictions)


def test_a_function_that_needs_probabilities_is_undefined_without_them() -> None:
    truth, predictions = classes(20, 0)
    bare = Predictions(predicted=predictions.predicted)
    found = reason(lambda actual, predicted, probabilities: probabilities[:, 1], truth, bare)  # noqa: ARG005
    assert found == "the model gives no probabilities, and own needs them"


def test_an_own_metric_stands_beside_those_of_the_catalogue() -> None:
    truth, predictions = numbers(20, 0)
    metric = own(lambda actual, predicted: actual - predicted)
    found = evaluate_all((METRICS["mae"], metric, METRICS["rmse"]), truth, predictions)
    assert list(found) == ["mae", "own", "rmse"]
    assert all(isinstance(each, MetricEvaluation) for each in found.values())


def test_an_own_metric_for_another_kind_of_labels_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="for classification, and the labels are for regression") as caught:
        evaluate(own(np.mean, "classification"), *numbers(20, 0))
    assert caught.value.key == "evaluation.own_metrics"
