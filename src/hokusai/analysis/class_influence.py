"""Metrics of predicted classes with their influence functions, all from one count of rows per class.

Every value is scikit-learn's to 1e-12. The influence functions are exact derivatives: each metric is a ratio of counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hokusai.analysis.benchmark_truth import codes_as_indices
from hokusai.analysis.influence import MetricEvaluation, UndefinedEvaluation, average_of_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from hokusai.analysis.benchmark_truth import BenchmarkTruth
    from hokusai.records import Predictions

__all__ = ["CLASS_METRICS", "ClassCounts", "evaluate_classes"]

CLASS_METRICS = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
"""The metrics that this module computes."""

# A rate of a class is hits * first / (labelled * second + predicted * third).
_RATES = {"precision": (1, 0, 1), "recall": (1, 1, 0), "f1": (2, 1, 1)}

# Up to this many classes a table of all pairs of classes is small beside the rows, and one look-up per row is enough.
_TABLE_CLASSES = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassCounts:
    """How many rows, by weight, are labelled as a class, predicted as it, and both.

    Attributes:
        actual: Shape (rows,): class codes.
        predicted: Shape (rows,): class codes.
        weights: Shape (rows,), or None where every row weighs the same.
        pairs: Shape (rows,): actual * classes + predicted where there are few classes, otherwise None.
        labelled: Shape (classes,): the number or weight of rows of the class.
        guessed: Shape (classes,): that of the rows predicted as the class.
        hits: Shape (classes,): that of the rows for which both are so.
    """

    actual: NDArray[np.intp]
    predicted: NDArray[np.intp]
    weights: NDArray[np.float64] | None
    pairs: NDArray[np.intp] | None
    labelled: NDArray[np.float64]
    guessed: NDArray[np.float64]
    hits: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        actual: NDArray[np.intp],
        predicted: NDArray[np.intp],
        *,
        classes: int,
        weights: NDArray[np.float64] | None = None,
    ) -> ClassCounts:
        """Count once what every metric of classes needs.

        Args:
            actual: Shape (rows,): class codes.
            predicted: Shape (rows,): class codes.
            classes: Number of classes.
            weights: Shape (rows,), or None.
        """
        if classes <= _TABLE_CLASSES:
            pairs = actual * classes
            pairs += predicted
            table = np.bincount(pairs, weights, minlength=classes * classes).reshape(classes, classes)
            labelled, guessed, hits = table.sum(axis=1), table.sum(axis=0), np.diagonal(table)
        else:
            pairs = None
            hit = actual == predicted
            labelled = np.bincount(actual, weights, minlength=classes)
            guessed = np.bincount(predicted, weights, minlength=classes)
            hits = np.bincount(actual[hit], None if weights is None else weights[hit], minlength=classes)
        return cls(
            actual=actual,
            predicted=predicted,
            weights=weights,
            pairs=pairs,
            labelled=labelled.astype(np.float64),
            guessed=guessed.astype(np.float64),
            hits=hits.astype(np.float64),
        )

    @property
    def total(self) -> float:
        """The number of rows, or the sum of their weights."""
        return float(self.actual.size if self.weights is None else self.weights.sum())

    def row_sums(
        self, on_labelled: NDArray[np.float64], on_guessed: NDArray[np.float64], on_hit: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return rows times weight times what a row adds by its class, by the predicted class, and by a hit.

        Args:
            on_labelled: Shape (classes,).
            on_guessed: Shape (classes,).
            on_hit: Shape (classes,).
        """
        rows = self.actual.size
        sums: NDArray[np.float64]
        if self.pairs is not None:
            table = on_labelled[:, None] + on_guessed[None, :] + np.diag(on_hit)
            sums = (rows * table).ravel()[self.pairs]
        else:
            sums = on_hit[self.actual]
            sums[self.actual != self.predicted] = 0.0
            sums += on_labelled[self.actual]
            sums += on_guessed[self.predicted]
            sums *= rows
        if self.weights is not None:
            sums *= self.weights
        return sums


def evaluate_classes(
    names: Iterable[str], truth: BenchmarkTruth, predictions: Predictions
) -> dict[str, MetricEvaluation | UndefinedEvaluation]:
    """Return metrics of the predicted classes, by name.

    Args:
        names: Names in `CLASS_METRICS`.
        truth: The benchmark's labels, of classes.
        predictions: What the model says about the same rows.

    Raises:
        ValueError: A prediction is not the code of a class.
    """
    classes = len(truth.classes)
    counts = ClassCounts.of(
        codes_as_indices(truth.actual, classes=classes, name="actual"),
        codes_as_indices(predictions.predicted, classes=classes, name="predicted"),
        classes=classes,
        weights=truth.weights,
    )
    return {name: _evaluate(name, truth, counts) for name in names}


def _evaluate(name: str, truth: BenchmarkTruth, counts: ClassCounts) -> MetricEvaluation | UndefinedEvaluation:
    """Return one metric, or why it has no value."""
    if name == "accuracy" or (name != "balanced_accuracy" and truth.positive is None and truth.average == "micro"):
        # Every row is labelled once and predicted once, so all rates of all decisions together are the accuracy.
        return average_of_rows((counts.actual == counts.predicted).astype(np.float64), counts.weights)
    if name == "balanced_accuracy":
        present = np.flatnonzero(counts.labelled)
        if present.size < 2:
            only = truth.classes[present[0]]
            return UndefinedEvaluation(
                reason=f"every benchmark row is of the class {only!r}, and balanced_accuracy compares classes"
            )
        return _rate(counts, "recall", positive=None, by_rows=False)
    if truth.positive is not None:
        positive = truth.classes[truth.positive]
        if counts.labelled[truth.positive] == 0:
            return UndefinedEvaluation(
                reason=f"no benchmark row is of the positive class {positive!r}, and {name} is about such rows"
            )
        if name == "precision" and counts.guessed[truth.positive] == 0:
            return UndefinedEvaluation(
                reason=f"the model never predicts the positive class {positive!r}, so precision divides by zero"
            )
    return _rate(counts, name, positive=truth.positive, by_rows=truth.average == "weighted")


def _rate(counts: ClassCounts, name: str, *, positive: int | None, by_rows: bool) -> MetricEvaluation:
    """Return a rate of the positive class or, without one, the mean over the classes that occur.

    A class that is never predicted has precision 0 and no influence on it (scikit-learn's ``zero_division=0``).
    """
    hit_factor, label_factor, guess_factor = _RATES[name]
    below = label_factor * counts.labelled + guess_factor * counts.guessed
    inverse = np.divide(1.0, below, out=np.zeros(below.size), where=below > 0)
    rates = np.divide(hit_factor * counts.hits, below, out=np.zeros(below.size), where=below > 0)
    if positive is not None:
        shares = (np.arange(below.size) == positive).astype(np.float64)
    elif by_rows:
        shares = counts.labelled
    else:
        shares = (counts.labelled > 0).astype(np.float64)
    value = float((shares * rates).sum() / shares.sum())
    slopes = shares * inverse / shares.sum()
    on_labelled = -label_factor * slopes * rates
    if positive is None and by_rows:
        # A row of a class also moves the share of that class.
        on_labelled += (rates - value) / counts.total
    return MetricEvaluation(
        value=value, influence=counts.row_sums(on_labelled, -guess_factor * slopes * rates, hit_factor * slopes)
    )
