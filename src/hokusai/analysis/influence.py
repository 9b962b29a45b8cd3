"""A metric and its influence function, computed together: arrays in, one value and one number per row out.

The influence of a row is how fast the metric moves when that row gets more weight. Averaged over the benchmark it is
zero, and its variance over the rows, divided by their number, estimates the variance of the metric (the infinitesimal
jackknife). The difference of two models' influence on the same row is what makes a paired interval possible.

Everything here is NumPy: the values come out of the same counts, or the same sort, as the influences, so scikit-learn
is not needed and not imported. The values agree with scikit-learn's to 1e-12.

Sources:
    F. R. Hampel (1974), "The influence curve and its role in robust estimation", JASA 69, 383-393.
    E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson (1988), "Comparing the areas under two or more correlated
    receiver operating characteristic curves: a nonparametric approach", Biometrics 44, 837-845.
    X. Sun, W. Xu (2014), "Fast implementation of DeLong's algorithm for comparing the areas under correlated
    receiver operating characteristic curves", IEEE Signal Processing Letters 21, 1389-1393.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "MetricEvaluation",
    "accuracy",
    "f1",
    "log_loss",
    "macro_roc_auc",
    "mean_absolute_error",
    "precision",
    "r2",
    "recall",
    "roc_auc",
    "root_mean_squared_error",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricEvaluation:
    """A metric of one fitted model on the benchmark, and what each row has to do with it.

    Attributes:
        value: The metric, in its own unit.
        influence: Shape (rows,): the influence function at every row, in the metric's unit, with mean zero.
    """

    value: float
    influence: NDArray[np.float64]


def accuracy(actual: NDArray[np.intp], predicted: NDArray[np.intp]) -> MetricEvaluation:
    """Return the share of rows whose class is predicted.

    Args:
        actual: Shape (rows,): class codes.
        predicted: Shape (rows,): class codes.
    """
    return _mean_over_rows((actual == predicted).astype(np.float64))


def precision(actual: NDArray[np.intp], predicted: NDArray[np.intp], scored: NDArray[np.bool_]) -> MetricEvaluation:
    """Return the share of the rows predicted as a class that are of it, averaged over the scored classes.

    A class that is never predicted counts as 0 and has no influence (scikit-learn's ``zero_division=0``).

    Args:
        actual: Shape (rows,): class codes.
        predicted: Shape (rows,): class codes.
        scored: Shape (classes,): the classes to average over; the positive class alone for binary precision.
    """
    counts = _count_classes(actual, predicted, classes=scored.size)
    rates = _ratio(counts.hits, counts.predicted)
    weights = _ratio(np.full(scored.size, actual.size), counts.predicted)
    return _class_average(
        actual, predicted, scored, rates=rates, on_hit=weights, on_labelled=None, on_predicted=-weights * rates
    )


def recall(actual: NDArray[np.intp], predicted: NDArray[np.intp], scored: NDArray[np.bool_]) -> MetricEvaluation:
    """Return the share of the rows of a class that are predicted as it, averaged over the scored classes.

    A class without rows counts as 0 and has no influence.

    Args:
        actual: Shape (rows,): class codes.
        predicted: Shape (rows,): class codes.
        scored: Shape (classes,): the classes to average over; the positive class alone for binary recall.
    """
    counts = _count_classes(actual, predicted, classes=scored.size)
    rates = _ratio(counts.hits, counts.labelled)
    weights = _ratio(np.full(scored.size, actual.size), counts.labelled)
    return _class_average(
        actual, predicted, scored, rates=rates, on_hit=weights, on_labelled=-weights * rates, on_predicted=None
    )


def f1(actual: NDArray[np.intp], predicted: NDArray[np.intp], scored: NDArray[np.bool_]) -> MetricEvaluation:
    """Return the harmonic mean of precision and recall, averaged over the scored classes.

    A class that is neither labelled nor predicted counts as 0 and has no influence.

    Args:
        actual: Shape (rows,): class codes.
        predicted: Shape (rows,): class codes.
        scored: Shape (classes,): the classes to average over; the positive class alone for binary F1.
    """
    counts = _count_classes(actual, predicted, classes=scored.size)
    occurrences = counts.labelled + counts.predicted
    rates = _ratio(2 * counts.hits, occurrences)
    weights = _ratio(np.full(scored.size, actual.size), occurrences)
    on_either = -weights * rates
    return _class_average(
        actual, predicted, scored, rates=rates, on_hit=2 * weights, on_labelled=on_either, on_predicted=on_either
    )


def roc_auc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> MetricEvaluation:
    """Return the area under the ROC curve with DeLong's structural components, from one sort.

    The area is the probability that a positive row outscores a negative one, ties counted half. The influence of a
    positive row is (its share of outscored negatives - area) / share of positives, and likewise for a negative row.

    Args:
        positive: Shape (rows,): which rows are of the positive class; both kinds must occur.
        scores: Shape (rows,): higher means more likely positive.
    """
    order = np.argsort(scores)
    ordered_scores, ordered_positive = scores[order], positive[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered_scores[1:] != ordered_scores[:-1])))
    tied = np.diff(np.append(starts, scores.size))
    tied_positives = np.add.reduceat(ordered_positive, starts, dtype=np.int64)
    tied_negatives = tied - tied_positives
    positives, negatives = int(tied_positives.sum()), int(tied_negatives.sum())

    # Ties count half, so everything is counted in halves: the area is then one exact integer division.
    halves_below = 2 * (np.cumsum(tied_negatives) - tied_negatives) + tied_negatives
    halves_above = 2 * (positives - np.cumsum(tied_positives)) + tied_positives
    area = int(np.sum(tied_positives * halves_below)) / (2 * positives * negatives)

    of_positives = (halves_below / (2 * negatives) - area) * (scores.size / positives)
    of_negatives = (halves_above / (2 * positives) - area) * (scores.size / negatives)
    influence = np.empty(scores.size)
    influence[order] = np.where(ordered_positive, np.repeat(of_positives, tied), np.repeat(of_negatives, tied))
    return MetricEvaluation(value=area, influence=influence)


def macro_roc_auc(
    actual: NDArray[np.intp], probabilities: NDArray[np.float64], present: Sequence[int]
) -> MetricEvaluation:
    """Return the mean over the present classes of the area under each class's one-vs-rest ROC curve.

    Args:
        actual: Shape (rows,): class codes.
        probabilities: Shape (rows, classes).
        present: The codes that occur in ``actual``, at least two.
    """
    areas, influence = [], np.zeros(actual.size)
    for code in present:
        one = roc_auc(actual == code, probabilities[:, code])
        areas.append(one.value)
        influence += one.influence
    influence /= len(areas)
    return MetricEvaluation(value=float(np.mean(areas)), influence=influence)


def log_loss(actual: NDArray[np.intp], probabilities: NDArray[np.float64]) -> MetricEvaluation:
    """Return the mean surprise, in nats, at the actual classes.

    Probabilities are clipped to [eps, 1 - eps] with eps = 2.2e-16, as scikit-learn does.

    Args:
        actual: Shape (rows,): class codes.
        probabilities: Shape (rows, classes).
    """
    eps = np.finfo(np.float64).eps
    of_actual = np.take_along_axis(probabilities, actual[:, None], axis=1)[:, 0]
    return _mean_over_rows(-np.log(np.clip(of_actual, eps, 1 - eps)))


def mean_absolute_error(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> MetricEvaluation:
    """Return the mean size of the errors, in the label's unit.

    Args:
        actual: Shape (rows,).
        predicted: Shape (rows,).
    """
    return _mean_over_rows(np.abs(actual - predicted))


def root_mean_squared_error(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> MetricEvaluation:
    """Return the root of the mean squared error, in the label's unit; its influence is zero where the value is.

    Args:
        actual: Shape (rows,).
        predicted: Shape (rows,).
    """
    squares = _mean_over_rows((actual - predicted) ** 2)
    value = float(np.sqrt(squares.value))
    influence = squares.influence / (2 * value) if value else np.zeros(actual.size)
    return MetricEvaluation(value=value, influence=influence)


def r2(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> MetricEvaluation:
    """Return the share of the labels' variance that is explained, with the delta method for a ratio of two means.

    The label's mean moves with every row as well, but the variance around it is flat there, so that drops out.

    Args:
        actual: Shape (rows,): at least two different values.
        predicted: Shape (rows,).
    """
    errors = _mean_over_rows((actual - predicted) ** 2)
    spread = _mean_over_rows((actual - actual.mean()) ** 2)
    unexplained = errors.value / spread.value
    influence = (unexplained * spread.influence - errors.influence) / spread.value
    return MetricEvaluation(value=1 - unexplained, influence=influence)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ClassCounts:
    """Rows per class, each of shape (classes,): labelled as it, predicted as it, and both."""

    labelled: NDArray[np.int64]
    predicted: NDArray[np.int64]
    hits: NDArray[np.int64]


def _count_classes(actual: NDArray[np.intp], predicted: NDArray[np.intp], *, classes: int) -> _ClassCounts:
    """Count the rows of each class."""
    return _ClassCounts(
        labelled=np.bincount(actual, minlength=classes),
        predicted=np.bincount(predicted, minlength=classes),
        hits=np.bincount(actual[actual == predicted], minlength=classes),
    )


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide, and return 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(denominator.size), where=denominator > 0)


def _class_average(
    actual: NDArray[np.intp],
    predicted: NDArray[np.intp],
    scored: NDArray[np.bool_],
    *,
    rates: NDArray[np.float64],
    on_hit: NDArray[np.float64],
    on_labelled: NDArray[np.float64] | None,
    on_predicted: NDArray[np.float64] | None,
) -> MetricEvaluation:
    """Average a per-class rate over the scored classes.

    A row adds to the influence by being labelled as a class, by being predicted as one, and by a hit. Three look-ups
    per row do it, whatever the number of classes; a table of all pairs of classes would not fit for many classes.
    """
    weights = scored / np.count_nonzero(scored)
    influence = (weights * on_hit)[actual]
    influence[actual != predicted] = 0.0
    if on_labelled is not None:
        influence += (weights * on_labelled)[actual]
    if on_predicted is not None:
        influence += (weights * on_predicted)[predicted]
    return MetricEvaluation(value=float(np.mean(rates[scored])), influence=influence)


def _mean_over_rows(scores: NDArray[np.float64]) -> MetricEvaluation:
    """Average a score of single rows; a row's influence is its distance from the mean."""
    value = float(np.mean(scores))
    return MetricEvaluation(value=value, influence=scores - value)
