"""Metrics of predicted numbers with their influence functions.

Every value is scikit-learn's to 1e-12. The influence functions are exact derivatives by the rows' weights, but for the
median, which moves in steps: there the density of the errors at the median stands in for the derivative.

Sources:
    M. M. Siddiqui (1960), "Distribution of quantiles in samples from a bivariate population", Journal of Research of
    the National Bureau of Standards 64B, 145-150 (the density at a quantile from the distance of two others).
    P. Hall, S. J. Sheather (1988), "On the distribution of a Studentized quantile", Journal of the Royal Statistical
    Society B 50, 381-391 (how far those two should lie apart).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hokusai.analysis.influence import MetricEvaluation, UndefinedEvaluation, average_of_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from hokusai.analysis.benchmark_truth import BenchmarkTruth
    from hokusai.records import Predictions

__all__ = [
    "NUMBER_METRICS",
    "evaluate_numbers",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "median_absolute_error",
    "r2",
    "root_mean_squared_error",
]

# Hall and Sheather's distance for a median and a 95 % interval, times the cube root of the number of rows: with the
# normal density and quantiles, 1.96 ** (2 / 3) * (1.5 / (2 * pi)) ** (1 / 3).
_MEDIAN_DISTANCE = 1.959963984540054 ** (2 / 3) * (1.5 / (2 * math.pi)) ** (1 / 3)


def root_mean_squared_error(
    actual: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> MetricEvaluation:
    """Return the root of the mean squared error, in the label's unit; its influence is zero where the value is.

    Args:
        actual: Shape (rows,).
        predicted: Shape (rows,).
        weights: Shape (rows,); None where every row weighs the same.
    """
    squares = average_of_rows((actual - predicted) ** 2, weights)
    value = math.sqrt(squares.value)
    influence = squares.influence / (2 * value) if value else np.zeros(actual.size)
    return MetricEvaluation(value=value, influence=influence)


def mean_absolute_error(
    actual: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> MetricEvaluation:
    """Return the mean size of the errors, in the label's unit.

    Args:
        actual: Shape (rows,).
        predicted: Shape (rows,).
        weights: Shape (rows,); None where every row weighs the same.
    """
    return average_of_rows(np.abs(actual - predicted), weights)


def median_absolute_error(
    actual: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> MetricEvaluation:
    """Return the median size of the errors, in the label's unit.

    A row on one side of the median pulls it by the reciprocal of the density there, which is taken from two quantiles
    around it (Siddiqui 1960) at the distance of Hall and Sheather (1988). Where these two are equal, because so many
    errors have one size, other rows would give the same median, and the influence is zero.

    Args:
        actual: Shape (rows,).
        predicted: Shape (rows,).
        weights: Shape (rows,); None where every row weighs the same.
    """
    errors = np.abs(actual - predicted)
    effective = float(errors.size)
    if weights is not None:
        effective = float(weights.sum()) ** 2 / float(weights @ weights)
    # With a handful of rows the distance would leave the unit interval.
    distance = min(_MEDIAN_DISTANCE * effective ** (-1 / 3), 0.4)
    low, median, high = _quantiles(errors, weights, (0.5 - distance, 0.5, 0.5 + distance))
    reciprocal_density = (high - low) / (2 * distance)
    sides = (np.sign(errors - median) + 1) / 2
    influence = average_of_rows(sides, weights).influence * reciprocal_density
    return MetricEvaluation(value=median, influence=influence)


def mean_absolute_percentage_error(
    actual: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> MetricEvaluation:
    """Return the mean size of the errors as fractions of the labels' sizes: 0.1 is ten percent.

    Args:
        actual: Shape (rows,): no label is zero.
        predicted: Shape (rows,).
        weights: Shape (rows,); None where every row weighs the same.
    """
    return average_of_rows(np.abs(actual - predicted) / np.abs(actual), weights)


def r2(
    actual: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> MetricEvaluation:
    """Return the share of the labels' variance that is explained, with the delta method for a ratio of two means.

    The label's mean moves with every row as well, but the variance around it is flat there, so that drops out.

    Args:
        actual: Shape (rows,): at least two different values.
        predicted: Shape (rows,).
        weights: Shape (rows,); None where every row weighs the same.
    """
    errors = average_of_rows((actual - predicted) ** 2, weights)
    spread = average_of_rows((actual - average_of_rows(actual, weights).value) ** 2, weights)
    unexplained = errors.value / spread.value
    influence = (unexplained * spread.influence - errors.influence) / spread.value
    return MetricEvaluation(value=1 - unexplained, influence=influence)


_METRICS = {
    "rmse": root_mean_squared_error,
    "mae": mean_absolute_error,
    "median_absolute_error": median_absolute_error,
    "r2": r2,
    "mape": mean_absolute_percentage_error,
}

NUMBER_METRICS = tuple(_METRICS)
"""The metrics that this module computes."""


def evaluate_numbers(
    names: Iterable[str], truth: BenchmarkTruth, predictions: Predictions
) -> dict[str, MetricEvaluation | UndefinedEvaluation]:
    """Return metrics of the predicted numbers, by name.

    Args:
        names: Names in `NUMBER_METRICS`.
        truth: The benchmark's labels, of numbers.
        predictions: What the model says about the same rows.
    """
    actual = truth.actual.astype(np.float64, copy=False)
    predicted = predictions.predicted.astype(np.float64, copy=False)
    finite = np.isfinite(predicted)
    if not finite.all():
        reason = f"the prediction for benchmark row {int(np.argmin(finite)) + 1} is not a finite number"
        return dict.fromkeys(names, UndefinedEvaluation(reason=reason))
    return {name: _evaluate(name, actual, predicted, truth.weights) for name in names}


def _evaluate(
    name: str, actual: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.float64] | None
) -> MetricEvaluation | UndefinedEvaluation:
    """Return one metric, or why it has no value."""
    if name == "r2":
        counted = actual if weights is None else actual[weights > 0]
        if counted.min() == counted.max():
            return UndefinedEvaluation(
                reason="every benchmark label has the same value, so r2 has no variance to explain"
            )
    if name == "mape":
        # scikit-learn divides by no less than this, and so hides a division by zero in a huge number.
        zeros = np.abs(actual) < np.finfo(np.float64).eps
        if zeros.any():
            return UndefinedEvaluation(
                reason=f"the label of benchmark row {int(np.argmax(zeros)) + 1} is zero, and mape divides by the labels"
            )
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        evaluation = _METRICS[name](actual, predicted, weights)
    if not (np.isfinite(evaluation.value) and np.isfinite(evaluation.influence).all()):
        return UndefinedEvaluation(reason=f"labels or errors are too large or too small for {name} in 64-bit numbers")
    return evaluation


def _quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64] | None, levels: tuple[float, ...]
) -> tuple[float, ...]:
    """Return quantiles, each the mean of the two values where the weight below and above is even."""
    # What ought to meet a level exactly misses it by rounding; a running sum by more, the more there is to sum.
    wanted, tolerance = np.array(levels), (8 if weights is None else 8 + values.size) * np.finfo(np.float64).eps
    edges = np.array([wanted - tolerance, wanted + tolerance])
    if weights is None:
        places = np.minimum(np.floor(edges * values.size).astype(np.intp), values.size - 1)
        ordered = np.partition(values, np.unique(places))
    else:
        order = np.argsort(values)
        ordered, below = values[order], np.cumsum(weights[order])
        places = np.minimum(np.searchsorted(below, edges * below[-1], side="right"), values.size - 1)
    return tuple(float(each) for each in ordered[places].sum(axis=0) / 2)
