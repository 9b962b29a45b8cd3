"""Metrics of predicted probabilities with their influence functions.

Every value is scikit-learn's to 1e-12, where scikit-learn has the metric. What ranks the rows is computed from one sort
per class. The influence functions of ``roc_auc``, ``average_precision``, ``log_loss`` and ``brier_score`` are exact
derivatives by the rows' weights, with tied scores kept tied.

Sources:
    E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson (1988), "Comparing the areas under two or more correlated
    receiver operating characteristic curves: a nonparametric approach", Biometrics 44, 837-845.
    X. Sun, W. Xu (2014), "Fast implementation of DeLong's algorithm for comparing the areas under correlated
    receiver operating characteristic curves", IEEE Signal Processing Letters 21, 1389-1393.
    G. W. Brier (1950), "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1-3.
    M. P. Naeini, G. F. Cooper, M. Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian binning",
    Proceedings of the AAAI Conference on Artificial Intelligence 29, 2901-2907.
    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), "On calibration of modern neural networks", Proceedings of the
    34th International Conference on Machine Learning, 1321-1330.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hokusai.analysis.benchmark_truth import codes_as_indices
from hokusai.analysis.influence import MetricEvaluation, UndefinedEvaluation, average_of_rows
from hokusai.analysis.score_ranks import RANK_METRICS, evaluate_ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from hokusai.analysis.benchmark_truth import BenchmarkTruth
    from hokusai.records import Predictions

__all__ = [
    "CALIBRATION_BINS",
    "PROBABILITY_METRICS",
    "brier_score",
    "evaluate_probabilities",
    "expected_calibration_error",
    "log_loss",
]

PROBABILITY_METRICS = (*RANK_METRICS, "log_loss", "brier_score", "expected_calibration_error")
"""The metrics that this module computes."""

CALIBRATION_BINS = 15
"""Bins of equal width that ``expected_calibration_error`` sorts confidences into, as Guo et al. (2017) do."""

# The square root of float32's machine epsilon: what a model that computes in single precision may be off by.
PROBABILITY_SUM_TOLERANCE = 3.5e-4


def evaluate_probabilities(
    names: Iterable[str], truth: BenchmarkTruth, predictions: Predictions
) -> dict[str, MetricEvaluation | UndefinedEvaluation]:
    """Return metrics of the predicted probabilities, by name; the probabilities are looked through once for all.

    Args:
        names: Names in `PROBABILITY_METRICS`.
        truth: The benchmark's labels, of classes.
        predictions: What the model says about the same rows.

    Raises:
        ValueError: A prediction is not the code of a class.
    """
    wanted = tuple(names)
    if predictions.probabilities is None:
        return {
            name: UndefinedEvaluation(reason=f"the model gives no probabilities, and {name} needs them")
            for name in wanted
        }
    probabilities = np.asarray(predictions.probabilities, dtype=np.float64)
    reason = _why_not_probabilities(probabilities)
    if reason:
        return dict.fromkeys(wanted, UndefinedEvaluation(reason=reason))
    ranks = [name for name in wanted if name in RANK_METRICS]
    ranked = evaluate_ranks(ranks, truth, probabilities) if ranks else {}
    actual = codes_as_indices(truth.actual, classes=len(truth.classes), name="actual")

    def calibration_error() -> MetricEvaluation:
        predicted = codes_as_indices(predictions.predicted, classes=len(truth.classes), name="predicted")
        return expected_calibration_error(actual, predicted, probabilities, truth.weights)

    others: dict[str, Callable[[], MetricEvaluation | UndefinedEvaluation]] = {
        "log_loss": lambda: _log_loss(truth, predictions, actual, probabilities),
        "brier_score": lambda: brier_score(actual, probabilities, positive=truth.positive, weights=truth.weights),
        "expected_calibration_error": calibration_error,
    }
    return {name: ranked[name] if name in ranked else others[name]() for name in wanted}


def log_loss(
    actual: NDArray[np.intp], probabilities: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> MetricEvaluation:
    """Return the mean surprise, in nats, at the actual classes.

    Probabilities are clipped to [eps, 1 - eps] with eps = 2.2e-16, as scikit-learn does.

    Args:
        actual: Shape (rows,): class codes.
        probabilities: Shape (rows, classes).
        weights: Shape (rows,); None where every row weighs the same.
    """
    eps = np.finfo(np.float64).eps
    surprise = _of_class(actual, probabilities)
    np.clip(surprise, eps, 1 - eps, out=surprise)
    np.log(surprise, out=surprise)
    np.negative(surprise, out=surprise)
    return average_of_rows(surprise, weights)


def brier_score(
    actual: NDArray[np.intp],
    probabilities: NDArray[np.float64],
    *,
    positive: int | None = None,
    weights: NDArray[np.float64] | None = None,
) -> MetricEvaluation:
    """Return the mean squared distance between the probabilities and the actual class.

    With a positive class this is the squared error of its probability, from 0 to 1. Without one it is the sum of the
    squared errors of all classes, from 0 to 2 with three classes or more, and half of it with two: scikit-learn's scale
    (``scale_by_half="auto"``).

    Args:
        actual: Shape (rows,): class codes.
        probabilities: Shape (rows, classes).
        positive: The code of the positive class, or None.
        weights: Shape (rows,); None where every row weighs the same.
    """
    if positive is not None:
        errors = probabilities[:, positive] - (actual == positive)
        np.multiply(errors, errors, out=errors)
        return average_of_rows(errors, weights)
    distances = probabilities.copy()
    distances[np.arange(actual.size), actual] -= 1.0
    squares = np.einsum("ij,ij->i", distances, distances)
    if probabilities.shape[1] == 2:
        squares *= 0.5
    return average_of_rows(squares, weights)


def expected_calibration_error(
    actual: NDArray[np.intp],
    predicted: NDArray[np.intp],
    probabilities: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> MetricEvaluation:
    """Return how far the confidence in the predicted class is from the share of hits, on average over bins.

    Confidences are sorted into `CALIBRATION_BINS` bins of equal width, ((b - 1) / 15, b / 15]; the metric is the mean
    over the rows of their bin's distance between mean confidence and share of hits (Guo et al. 2017). The bins do not
    depend on the data, so a row adds only to its own bin. Where a bin is better calibrated than its few rows can show,
    the distance is a kink and chance counts as miscalibration: the value is too high by up to the bin's standard error.
    An interval from this influence therefore covers the binned error as a benchmark of this size shows it, not the
    error of an endless one; in a difference of two models of similar calibration the excess cancels.

    Args:
        actual: Shape (rows,): class codes.
        predicted: Shape (rows,): class codes.
        probabilities: Shape (rows, classes).
        weights: Shape (rows,); None where every row weighs the same.
    """
    confidence = _of_class(predicted, probabilities)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.intp) - 1, 0, CALIBRATION_BINS - 1)
    np.subtract(actual == predicted, confidence, out=confidence)
    excess = confidence if weights is None else confidence * weights
    confidence *= np.sign(np.bincount(bins, excess, minlength=CALIBRATION_BINS))[bins]
    return average_of_rows(confidence, weights)


def _of_class(codes: NDArray[np.intp], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each row's probability of one class, as a new array."""
    if probabilities.shape[1] == 2:
        # Quicker than looking two numbers up row by row.
        return np.where(codes == 1, probabilities[:, 1], probabilities[:, 0])
    chosen: NDArray[np.float64] = np.take_along_axis(probabilities, codes[:, None], axis=1)[:, 0]
    return chosen


def _log_loss(
    truth: BenchmarkTruth, predictions: Predictions, actual: NDArray[np.intp], probabilities: NDArray[np.float64]
) -> MetricEvaluation | UndefinedEvaluation:
    """Return the log loss unless a class of the benchmark was never seen."""
    if predictions.unseen_classes:
        present = np.flatnonzero(np.bincount(actual, truth.weights, minlength=len(truth.classes))).tolist()
        unseen = [truth.classes[code] for code in present if truth.classes[code] in predictions.unseen_classes]
        if unseen:
            return UndefinedEvaluation(
                reason=f"the model never saw the class {', '.join(map(repr, unseen))} of the benchmark, "
                "so its probability is zero and log_loss infinite"
            )
    return log_loss(actual, probabilities, truth.weights)


def _why_not_probabilities(probabilities: NDArray[np.float64]) -> str | None:
    """Return why these are not probabilities, or None; a model must not gain by giving every class certainty."""
    with np.errstate(invalid="ignore", over="ignore"):
        sums = probabilities @ np.ones(probabilities.shape[1])
        wrong = ~(np.abs(sums - 1) <= PROBABILITY_SUM_TOLERANCE)
    if wrong.any():
        row = int(np.argmax(wrong))
        return f"the probabilities for benchmark row {row + 1} sum to {sums[row]:.6g}, not to 1"
    if probabilities.min() < 0:
        row = int(np.argmin(probabilities.min(axis=1)))
        return f"a probability for benchmark row {row + 1} is below 0"
    return None
