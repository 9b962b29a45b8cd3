"""Areas under curves with their influence functions: ``roc_auc`` and ``average_precision``, both from one sort.

Tied scores stay tied: they are one step of the curve. Without weights all counts are whole numbers, which 64-bit floats
hold exactly up to 9e15, so that the area under the ROC curve is one division of exact sums. The sources stand in
`hokusai.analysis.probability_influence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hokusai.analysis.benchmark_truth import codes_as_indices
from hokusai.analysis.influence import MetricEvaluation, UndefinedEvaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from hokusai.analysis.benchmark_truth import BenchmarkTruth

__all__ = ["RANK_METRICS", "RankedRows", "average_precision", "evaluate_ranks", "roc_auc"]

RANK_METRICS = ("roc_auc", "average_precision")
"""The metrics that this module computes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankedRows:
    """The rows in the order of their scores, lowest first, and how many positives and negatives share a score.

    Attributes:
        order: Shape (rows,): the position of the row at each rank.
        is_positive: Shape (rows,): which of them are positive, in that order.
        tied: Shape (different scores,): the number of rows with the score; None where no two rows share one.
        positives: Shape (different scores,): the number or weight of positive rows with each score.
        negatives: Shape (different scores,): that of the other rows.
        weights: Shape (rows,), in the rows' own order, or None where every row weighs the same.
    """

    order: NDArray[np.intp]
    is_positive: NDArray[np.bool_]
    tied: NDArray[np.intp] | None
    positives: NDArray[np.float64]
    negatives: NDArray[np.float64]
    weights: NDArray[np.float64] | None

    @classmethod
    def of(
        cls, positive: NDArray[np.bool_], scores: NDArray[np.float64], weights: NDArray[np.float64] | None = None
    ) -> RankedRows:
        """Sort the rows once.

        Args:
            positive: Shape (rows,): which rows are of the positive class.
            scores: Shape (rows,): higher means more likely positive.
            weights: Shape (rows,), or None where every row weighs the same.
        """
        order = np.argsort(scores)
        ordered = scores[order]
        is_first = np.empty(order.size, dtype=np.bool_)
        is_first[0] = True
        np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
        is_positive = positive[order]
        positives, negatives = is_positive.astype(np.float64), (~is_positive).astype(np.float64)
        if weights is not None:
            positives *= weights[order]
            negatives *= weights[order]
        tied = None
        if not is_first.all():
            starts = np.flatnonzero(is_first)
            tied = np.diff(starts, append=order.size)
            positives, negatives = np.add.reduceat(positives, starts), np.add.reduceat(negatives, starts)
        return cls(
            order=order,
            is_positive=is_positive,
            tied=tied,
            positives=positives,
            negatives=negatives,
            weights=weights,
        )

    def influence(self, of_positives: NDArray[np.float64], of_negatives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return rows times weight times what a positive or another row of each score has, in the rows' own order.

        Args:
            of_positives: Shape (different scores,): the derivative by the weight of a positive row.
            of_negatives: Shape (different scores,): that by the weight of another row.
        """
        if self.tied is not None:
            of_positives, of_negatives = np.repeat(of_positives, self.tied), np.repeat(of_negatives, self.tied)
        influence = np.empty(self.order.size)
        influence[self.order] = np.where(self.is_positive, of_positives, of_negatives)
        influence *= self.order.size
        if self.weights is not None:
            influence *= self.weights
        return influence


def evaluate_ranks(
    names: Sequence[str], truth: BenchmarkTruth, probabilities: NDArray[np.float64]
) -> dict[str, MetricEvaluation | UndefinedEvaluation]:
    """Return metrics of how the probabilities rank the rows, by name.

    Without a positive class each class that occurs is held against the rest: the metrics are averaged over them, or,
    with the micro average, every pair of a row and a class is one decision.

    Args:
        names: Names in `RANK_METRICS`.
        truth: The benchmark's labels, of classes.
        probabilities: Shape (rows, classes).
    """
    actual = codes_as_indices(truth.actual, classes=len(truth.classes), name="actual")
    counts = np.bincount(actual, truth.weights, minlength=len(truth.classes))
    present = np.flatnonzero(counts)
    reasons = {name: _why_not(name, truth, present) for name in names}
    defined = {name: _METRICS[name] for name in names if reasons[name] is None}
    evaluations: dict[str, MetricEvaluation] = {}
    if not defined:
        pass
    elif truth.positive is not None:
        ranked = RankedRows.of(actual == truth.positive, probabilities[:, truth.positive], truth.weights)
        evaluations = {name: metric(ranked) for name, metric in defined.items()}
    elif truth.average == "micro":
        evaluations = _pooled(defined, actual, probabilities[:, present], present, truth.weights)
    else:
        shares = counts[present] if truth.average == "weighted" else np.ones(present.size)
        evaluations = _one_against_rest(defined, actual, probabilities, present, shares=shares, truth=truth)
    return {
        name: UndefinedEvaluation(reason=reason) if reason is not None else evaluations[name]
        for name, reason in reasons.items()
    }


def roc_auc(ranked: RankedRows) -> MetricEvaluation:
    """Return the area under the ROC curve with DeLong's structural components.

    The area is the probability that a positive row outscores a negative one, ties counted half. The influence of a
    positive row is (its share of outscored negatives - area) / share of positives, and likewise for a negative row.

    Args:
        ranked: The rows by their scores; both kinds must occur.
    """
    positives, negatives = ranked.positives.sum(), ranked.negatives.sum()
    # Ties count half, so everything is counted in halves, which are whole numbers.
    halves_below = 2 * np.cumsum(ranked.negatives)
    halves_below -= ranked.negatives
    halves_above = np.cumsum(ranked.positives)
    np.subtract(positives, halves_above, out=halves_above)
    halves_above *= 2
    halves_above += ranked.positives
    area = float((ranked.positives @ halves_below) / (2 * positives * negatives))
    of_positives = halves_below / (2 * negatives)
    of_positives -= area
    of_positives /= positives
    of_negatives = halves_above / (2 * positives)
    of_negatives -= area
    of_negatives /= negatives
    return MetricEvaluation(value=min(area, 1.0), influence=ranked.influence(of_positives, of_negatives))


def average_precision(ranked: RankedRows) -> MetricEvaluation:
    """Return the mean, over the positive rows, of the precision among the rows that score as high or higher.

    With P(s) the weight of positives that score s or higher, N(s) that of all rows, and sums over the positive rows i
    that score no higher than row j, the derivative by the weight of row j is
    (P(s_j) / N(s_j) - value + sum w_i / N(s_i)) / P for a positive row, less sum w_i P(s_i) / N(s_i)^2 / P for any row.

    Args:
        ranked: The rows by their scores; a positive one must occur.
    """
    positives = ranked.positives.sum()
    at_least_positives = np.cumsum(ranked.positives[::-1])[::-1]
    at_least_rows = np.cumsum(ranked.negatives[::-1])[::-1] + at_least_positives
    # The highest scores may be those of rows that weigh nothing.
    inverse = np.divide(1.0, at_least_rows, out=np.zeros(at_least_rows.size), where=at_least_rows > 0)
    precision = at_least_positives * inverse
    steps = ranked.positives * inverse
    value = float((ranked.positives @ precision) / positives)
    of_negatives = np.cumsum(steps * precision)
    np.negative(of_negatives, out=of_negatives)
    of_positives = np.cumsum(steps, out=steps)
    of_positives += of_negatives
    of_positives += precision
    of_positives -= value
    of_positives /= positives
    of_negatives /= positives
    return MetricEvaluation(value=min(value, 1.0), influence=ranked.influence(of_positives, of_negatives))


_METRICS: dict[str, Callable[[RankedRows], MetricEvaluation]] = {
    "roc_auc": roc_auc,
    "average_precision": average_precision,
}


def _pooled(
    metrics: dict[str, Callable[[RankedRows], MetricEvaluation]],
    actual: NDArray[np.intp],
    probabilities: NDArray[np.float64],
    present: NDArray[np.intp],
    weights: NDArray[np.float64] | None,
) -> dict[str, MetricEvaluation]:
    """Rank all pairs of a row and a class that occurs together; a row's influence is the mean over its pairs."""
    repeated = None if weights is None else np.repeat(weights, present.size)
    ranked = RankedRows.of((actual[:, None] == present[None, :]).ravel(), probabilities.ravel(), repeated)
    evaluations = {}
    for name, metric in metrics.items():
        pairs = metric(ranked)
        influence = pairs.influence.reshape(actual.size, present.size).mean(axis=1)
        evaluations[name] = MetricEvaluation(value=pairs.value, influence=influence)
    return evaluations


def _one_against_rest(
    metrics: dict[str, Callable[[RankedRows], MetricEvaluation]],
    actual: NDArray[np.intp],
    probabilities: NDArray[np.float64],
    present: Iterable[np.intp],
    *,
    shares: NDArray[np.generic],
    truth: BenchmarkTruth,
) -> dict[str, MetricEvaluation]:
    """Average the metrics of each class against the rest, every class with its share."""
    sums = dict.fromkeys(metrics, 0.0)
    influences = {name: np.zeros(actual.size) for name in metrics}
    rates = {name: np.zeros(len(truth.classes)) for name in metrics}
    for code, share in zip(present, shares.astype(np.float64).tolist(), strict=True):
        ranked = RankedRows.of(actual == code, probabilities[:, code], truth.weights)
        for name, metric in metrics.items():
            one = metric(ranked)
            sums[name] += share * one.value
            rates[name][code] = one.value
            influences[name] += share * one.influence
    total = float(shares.sum())
    evaluations = {}
    for name in metrics:
        value = sums[name] / total
        influence = influences[name] / total
        if truth.average == "weighted":
            # A row of a class also moves the share of that class.
            moved = (rates[name] - value)[actual] * (actual.size / total)
            influence += moved if truth.weights is None else moved * truth.weights
        evaluations[name] = MetricEvaluation(value=min(value, 1.0), influence=influence)
    return evaluations


def _why_not(name: str, truth: BenchmarkTruth, present: NDArray[np.intp]) -> str | None:
    """Return why the classes that occur leave the metric without a value, or None."""
    if name == "roc_auc" and present.size < 2:
        return f"every benchmark row is of the class {truth.classes[present[0]]!r}, and roc_auc compares classes"
    if truth.positive is not None and truth.positive not in present:
        positive = truth.classes[truth.positive]
        return f"no benchmark row is of the positive class {positive!r}, and {name} is about such rows"
    return None
