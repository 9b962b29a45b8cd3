"""The metrics that a model can be scored by, and their values with one influence per benchmark row.

`METRICS` is the whole catalogue; beside it stand the metrics that a user brings (`hokusai.analysis.own_metrics`).
`evaluate` never raises for what a model says: where a metric has no honest value it returns an `UndefinedEvaluation`
with the reason, so that the other metrics still stand and a decision on this one fails closed.

Everything is NumPy: the values come out of the same counts, or the same sort, as the influences, so scikit-learn is not
needed and not imported.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from hokusai.analysis.benchmark_truth import BenchmarkTruth
from hokusai.analysis.class_influence import CLASS_METRICS, evaluate_classes
from hokusai.analysis.influence import MetricEvaluation, UndefinedEvaluation
from hokusai.analysis.number_influence import NUMBER_METRICS, evaluate_numbers
from hokusai.analysis.own_metrics import OwnMetric, evaluate_own_metric
from hokusai.analysis.probability_influence import PROBABILITY_METRICS, evaluate_probabilities
from hokusai.analysis.ranking_influence import RANKING_METRICS, evaluate_rankings
from hokusai.errors import ConfigurationError
from hokusai.records import Metric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hokusai.records import MetricTask, Predictions, Task

__all__ = [
    "METRICS",
    "BenchmarkTruth",
    "MetricEvaluation",
    "UndefinedEvaluation",
    "evaluate",
    "evaluate_all",
    "find_metric",
    "metrics_for",
]


def _share(name: str, task: MetricTask = "classification", *, higher_is_better: bool = True) -> Metric:
    return Metric(name=name, task=task, higher_is_better=higher_is_better, unit="fraction", lower=0.0, upper=1.0)


def _error(name: str, unit: str = "label unit") -> Metric:
    return Metric(name=name, task="regression", higher_is_better=False, unit=unit, lower=0.0)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            _share("accuracy"),
            _share("balanced_accuracy"),
            _share("precision"),
            _share("recall"),
            _share("f1"),
            _share("roc_auc"),
            _share("average_precision"),
            Metric(name="log_loss", task="classification", higher_is_better=False, unit="nats", lower=0.0),
            Metric(
                name="brier_score", task="classification", higher_is_better=False, unit="none", lower=0.0, upper=2.0
            ),
            _share("expected_calibration_error", higher_is_better=False),
            _error("rmse"),
            _error("mae"),
            _error("median_absolute_error"),
            Metric(name="r2", task="regression", higher_is_better=True, unit="none", upper=1.0),
            _error("mape", unit="fraction"),
            _share("ndcg", "ranking"),
            _share("mrr", "ranking"),
        )
    }
)
"""Every metric by its name, in the order in which they are reported."""

_KINDS = (
    (CLASS_METRICS, evaluate_classes),
    (PROBABILITY_METRICS, evaluate_probabilities),
    (NUMBER_METRICS, evaluate_numbers),
    (RANKING_METRICS, evaluate_rankings),
)


def metrics_for(task: Task, *, has_queries: bool = False) -> tuple[Metric, ...]:
    """Return the metrics that are computed by default for a kind of problem, in the catalogue's order.

    Args:
        task: The kind of problem.
        has_queries: Whether benchmark rows belong to queries; then the metrics of rankings are among them.
    """
    tasks = {task, "ranking"} if has_queries else {task}
    return tuple(metric for metric in METRICS.values() if metric.task in tasks)


def find_metric(name: str, task: Task) -> Metric:
    """Return the metric of that name.

    Args:
        name: A name in `METRICS`.
        task: The kind of problem it must fit; metrics of rankings fit both.

    Raises:
        ConfigurationError: No metric that fits has that name; the message lists those that do.
    """
    metric = METRICS.get(name)
    if metric is None or metric.task not in {task, "ranking"}:
        known = ", ".join(each.name for each in metrics_for(task, has_queries=True))
        raise ConfigurationError(f"no {task} metric {name!r}, expected one of: {known}", key="delta.metric")
    return metric


def evaluate(metric: Metric, truth: BenchmarkTruth, predictions: Predictions) -> MetricEvaluation | UndefinedEvaluation:
    """Return a metric of one fitted model, with the influence of every benchmark row, or why it has none.

    Args:
        metric: One of `METRICS`, or an own one.
        truth: The benchmark's labels, and how its rows are counted.
        predictions: What the model says about the same rows, in the same order.

    Raises:
        ConfigurationError: The metric belongs to another kind of problem than the labels.
        ValueError: The predictions do not have the labels' rows or classes.
    """
    return evaluate_all((metric,), truth, predictions)[metric.name]


def evaluate_all(
    metrics: Sequence[Metric], truth: BenchmarkTruth, predictions: Predictions
) -> dict[str, MetricEvaluation | UndefinedEvaluation]:
    """Return several metrics of one fitted model, by name and in the order given; they share counts and sorts.

    Values are scikit-learn's. Where there is a positive class, precision, recall, F1, the two areas and the Brier score
    are about it. Otherwise they are averaged over classes as ``truth.average`` says, over the classes that occur in
    the benchmark: one that is never predicted has precision 0, and the areas are those of one class against the rest.

    Args:
        metrics: Of `METRICS`, or own ones.
        truth: The benchmark's labels, and how its rows are counted.
        predictions: What the model says about the same rows, in the same order.

    Raises:
        ConfigurationError: A metric belongs to another kind of problem than the labels.
        ValueError: The predictions do not have the labels' rows or classes.
    """
    for metric in metrics:
        if not isinstance(metric, OwnMetric):
            find_metric(metric.name, truth.task)
        elif metric.task not in {truth.task, "ranking"}:
            raise ConfigurationError(
                f"the own metric {metric.name!r} is for {metric.task}, and the labels are for {truth.task}",
                key="evaluation.own_metrics",
            )
    _require_same_rows(truth, predictions)
    if truth.weights is not None and not truth.weights.any():
        return {
            metric.name: UndefinedEvaluation(reason="every benchmark row has the weight zero") for metric in metrics
        }
    found = {
        metric.name: evaluate_own_metric(metric, truth, predictions)
        for metric in metrics
        if isinstance(metric, OwnMetric)
    }
    for kind, evaluate_kind in _KINDS:
        names = [metric.name for metric in metrics if metric.name in kind and metric.name not in found]
        if names:
            found |= evaluate_kind(names, truth, predictions)
    return {metric.name: found[metric.name] for metric in metrics}


def _require_same_rows(truth: BenchmarkTruth, predictions: Predictions) -> None:
    """Refuse predictions for other rows or classes than those of the labels."""
    rows = truth.actual.size
    if predictions.predicted.shape != (rows,):
        raise ValueError(f"predicted has shape {predictions.predicted.shape}, expected ({rows},)")
    if truth.classes and predictions.probabilities is not None:
        expected = (rows, len(truth.classes))
        if np.shape(predictions.probabilities) != expected:
            raise ValueError(f"probabilities have shape {np.shape(predictions.probabilities)}, expected {expected}")
