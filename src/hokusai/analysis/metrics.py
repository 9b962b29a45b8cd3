"""The metrics that a model can be scored by, and their values with one influence per benchmark row.

`METRICS` is the whole catalogue: a metric that is not in it cannot be asked for. `evaluate` never raises for what a
model says: where a metric has no honest value it returns an `UndefinedEvaluation` with the reason, so that the other
metrics still stand and a decision on this one fails closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from hokusai.analysis import influence
from hokusai.analysis.influence import MetricEvaluation
from hokusai.errors import ConfigurationError
from hokusai.records import Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hokusai.records import Predictions, Task

__all__ = [
    "METRICS",
    "BenchmarkTruth",
    "MetricEvaluation",
    "UndefinedEvaluation",
    "evaluate",
    "find_metric",
    "metrics_for",
]

# The square root of float32's machine epsilon: what a model that computes in single precision may be off by.
PROBABILITY_SUM_TOLERANCE = 3.5e-4


def _share(name: str) -> Metric:
    return Metric(name=name, task="classification", higher_is_better=True, unit="fraction", lower=0.0, upper=1.0)


def _error(name: str) -> Metric:
    return Metric(name=name, task="regression", higher_is_better=False, unit="label unit", lower=0.0)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            _share("accuracy"),
            _share("precision"),
            _share("recall"),
            _share("f1"),
            _share("roc_auc"),
            Metric(name="log_loss", task="classification", higher_is_better=False, unit="nats", lower=0.0),
            _error("rmse"),
            _error("mae"),
            Metric(name="r2", task="regression", higher_is_better=True, unit="none", upper=1.0),
        )
    }
)
"""Every metric by its name, in the order in which they are reported."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BenchmarkTruth:
    """The benchmark's labels.

    Attributes:
        actual: Shape (rows,): class codes (positions in ``classes``) or, for regression, finite numbers.
        classes: The names of the classes; empty for regression.
        positive: The code of the positive class of two. None averages over the classes that occur in ``actual``.

    Raises:
        ValueError: There are no rows, a code is not a position in ``classes``, or a positive class is given and there
            are not two classes.
    """

    actual: NDArray[np.generic]
    classes: tuple[str, ...] = ()
    positive: int | None = None

    def __post_init__(self) -> None:
        """Refuse labels that no metric could be computed on."""
        if self.actual.ndim != 1 or self.actual.size == 0:
            raise ValueError(f"actual has shape {self.actual.shape}, expected (rows,) with at least one row")
        if self.classes:
            _class_codes(self.actual, classes=len(self.classes), name="actual")
        if self.positive is not None and (len(self.classes) != 2 or self.positive not in {0, 1}):
            raise ValueError(f"positive is {self.positive} of {len(self.classes)} classes, expected 0 or 1 of 2")

    @property
    def task(self) -> Task:
        """The kind of problem: classification when there are classes."""
        return "classification" if self.classes else "regression"


@dataclass(frozen=True, slots=True, kw_only=True)
class UndefinedEvaluation:
    """A metric that has no honest value for a model on a benchmark.

    Attributes:
        reason: Why, as a clause without a full stop.
    """

    reason: str


def metrics_for(task: Task) -> tuple[Metric, ...]:
    """Return the metrics of a kind of problem, in the catalogue's order."""
    return tuple(metric for metric in METRICS.values() if metric.task == task)


def find_metric(name: str, task: Task) -> Metric:
    """Return the metric of that name.

    Args:
        name: A name in `METRICS`.
        task: The kind of problem it must belong to.

    Raises:
        ConfigurationError: No metric of this kind of problem has that name; the message lists those that there are.
    """
    metric = METRICS.get(name)
    if metric is None or metric.task != task:
        known = ", ".join(each.name for each in metrics_for(task))
        raise ConfigurationError(f"no {task} metric {name!r}, expected one of: {known}", key="delta.metric")
    return metric


def evaluate(metric: Metric, truth: BenchmarkTruth, predictions: Predictions) -> MetricEvaluation | UndefinedEvaluation:
    """Return a metric of one fitted model, with the influence of every benchmark row, or why it has none.

    The values are scikit-learn's. Precision, recall and F1 are those of the positive class or, without one, the mean
    over the classes that occur in the benchmark, where a class that is never predicted counts as 0; ``roc_auc``
    without a positive class is the mean of the one-vs-rest areas over the same classes.

    Args:
        metric: One of `METRICS`.
        truth: The benchmark's labels.
        predictions: What the model says about the same rows, in the same order.

    Raises:
        ConfigurationError: The metric belongs to another kind of problem than the labels.
        ValueError: The predictions do not have the labels' rows or classes.
    """
    find_metric(metric.name, truth.task)
    rows = truth.actual.shape[0]
    if predictions.predicted.shape != (rows,):
        raise ValueError(f"predicted has shape {predictions.predicted.shape}, expected ({rows},)")
    if truth.task == "regression":
        evaluation = _evaluate_numbers(metric.name, truth, predictions)
    elif metric.name in {"roc_auc", "log_loss"}:
        evaluation = _evaluate_probabilities(metric.name, truth, predictions)
    else:
        evaluation = _evaluate_classes(metric.name, truth, predictions)
    return evaluation


def _evaluate_classes(
    name: str, truth: BenchmarkTruth, predictions: Predictions
) -> MetricEvaluation | UndefinedEvaluation:
    """Score predicted classes."""
    actual = _class_codes(truth.actual, classes=len(truth.classes), name="actual")
    predicted = _class_codes(predictions.predicted, classes=len(truth.classes), name="predicted")
    if name == "accuracy":
        return influence.accuracy(actual, predicted)
    if truth.positive is None:
        scored = np.bincount(actual, minlength=len(truth.classes)) > 0
    else:
        scored = np.arange(len(truth.classes)) == truth.positive
        positive = truth.classes[truth.positive]
        if name == "precision" and not np.any(predicted == truth.positive):
            return UndefinedEvaluation(
                reason=f"the model never predicts the positive class {positive!r}, so precision divides by zero"
            )
        if name == "recall" and not np.any(actual == truth.positive):
            return UndefinedEvaluation(
                reason=f"no benchmark row is of the positive class {positive!r}, so recall divides by zero"
            )
    score = {"precision": influence.precision, "recall": influence.recall, "f1": influence.f1}[name]
    return score(actual, predicted, scored)


def _evaluate_probabilities(
    name: str, truth: BenchmarkTruth, predictions: Predictions
) -> MetricEvaluation | UndefinedEvaluation:
    """Score predicted probabilities."""
    if predictions.probabilities is None:
        return UndefinedEvaluation(reason=f"the model gives no probabilities, and {name} needs them")
    actual = _class_codes(truth.actual, classes=len(truth.classes), name="actual")
    probabilities = np.asarray(predictions.probabilities, dtype=np.float64)
    if probabilities.shape != (actual.size, len(truth.classes)):
        expected = (actual.size, len(truth.classes))
        raise ValueError(f"probabilities have shape {probabilities.shape}, expected {expected}")
    present = np.flatnonzero(np.bincount(actual)).tolist()
    reason = _why_not_probabilities(probabilities) or _why_not_classes(name, truth, predictions, present)
    if reason:
        return UndefinedEvaluation(reason=reason)
    if name == "log_loss":
        return influence.log_loss(actual, probabilities)
    if truth.positive is None:
        return influence.macro_roc_auc(actual, probabilities, present)
    return influence.roc_auc(actual == truth.positive, probabilities[:, truth.positive])


def _evaluate_numbers(
    name: str, truth: BenchmarkTruth, predictions: Predictions
) -> MetricEvaluation | UndefinedEvaluation:
    """Score predicted numbers."""
    actual = truth.actual.astype(np.float64, copy=False)
    predicted = predictions.predicted.astype(np.float64, copy=False)
    finite = np.isfinite(predicted)
    if not finite.all():
        return UndefinedEvaluation(
            reason=f"the prediction for benchmark row {int(np.argmin(finite)) + 1} is not a finite number"
        )
    if name == "r2" and actual.min() == actual.max():
        return UndefinedEvaluation(reason="every benchmark label has the same value, so r2 has no variance to explain")
    score = {
        "rmse": influence.root_mean_squared_error,
        "mae": influence.mean_absolute_error,
        "r2": influence.r2,
    }[name]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        evaluation = score(actual, predicted)
    if not (np.isfinite(evaluation.value) and np.isfinite(evaluation.influence).all()):
        return UndefinedEvaluation(reason=f"labels or errors are too large or too small for {name} in 64-bit numbers")
    return evaluation


def _why_not_probabilities(probabilities: NDArray[np.float64]) -> str | None:
    """Return why these are not probabilities, or None; a model must not gain by giving every class certainty."""
    with np.errstate(invalid="ignore"):
        sums = probabilities.sum(axis=1)
    wrong = ~(np.abs(sums - 1) <= PROBABILITY_SUM_TOLERANCE)
    if wrong.any():
        row = int(np.argmax(wrong))
        return f"the probabilities for benchmark row {row + 1} sum to {sums[row]:.6g}, not to 1"
    if probabilities.min() < 0:
        row = int(np.argmin(probabilities.min(axis=1)))
        return f"a probability for benchmark row {row + 1} is below 0"
    return None


def _why_not_classes(name: str, truth: BenchmarkTruth, predictions: Predictions, present: list[int]) -> str | None:
    """Return why the classes that occur in the benchmark leave the metric without a value, or None."""
    unseen = [truth.classes[code] for code in present if truth.classes[code] in predictions.unseen_classes]
    if name == "log_loss" and unseen:
        return (
            f"the model never saw the class {', '.join(map(repr, unseen))} of the benchmark, "
            "so its probability is zero and log_loss infinite"
        )
    if name == "roc_auc" and len(present) < 2:
        return f"every benchmark row is of the class {truth.classes[present[0]]!r}, and roc_auc compares classes"
    return None


def _class_codes(values: NDArray[np.generic], *, classes: int, name: str) -> NDArray[np.intp]:
    """Return class codes as indices, or refuse what cannot be one."""
    if values.dtype.kind not in "iu":
        raise ValueError(f"{name} has the type {values.dtype}, expected integer class codes")
    codes = values.astype(np.intp, copy=False)
    if codes.min() < 0 or codes.max() >= classes:
        raise ValueError(f"{name} has codes from {codes.min()} to {codes.max()}, expected 0 to {classes - 1}")
    return codes
