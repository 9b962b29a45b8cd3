"""Metrics of how rows are ranked within queries, with their influence functions.

A metric is the mean of one value per query, over the queries that have a relevant row; a query without one has no best
ranking and does not count. A query weighs the mean of its rows' weights. The influence of a query is spread evenly over
its rows, so that summing the rows' influence by query gives that of the query; intervals are only right for such sums.

Sources:
    K. Järvelin, J. Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques", ACM Transactions on
    Information Systems 20, 422-446.
    F. McSherry, M. Najork (2008), "Computing information retrieval performance measures efficiently in the presence of
    tied scores", Advances in Information Retrieval (ECIR), LNCS 4956, 414-421.
    E. M. Voorhees (1999), "The TREC-8 question answering track report", Proceedings of TREC-8, 77-82.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hokusai.analysis.influence import MetricEvaluation, UndefinedEvaluation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from hokusai.analysis.benchmark_truth import BenchmarkTruth
    from hokusai.records import Predictions

__all__ = ["RANKING_METRICS", "QueryRows", "evaluate_rankings", "ndcg_by_query", "reciprocal_rank_by_query"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QueryRows:
    """The rows of a benchmark sorted by query and, within a query, by score, highest first.

    Attributes:
        order: Shape (rows,): the position of each row in the benchmark.
        starts: Shape (queries,): where each query begins in that order.
        sizes: Shape (queries,): the number of its rows.
        scores: Shape (rows,): the scores, in that order.
        relevance: Shape (rows,): how relevant each row is, at least 0, in that order.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]
    scores: NDArray[np.float64]
    relevance: NDArray[np.float64]

    @classmethod
    def of(cls, queries: NDArray[np.integer], scores: NDArray[np.float64], relevance: NDArray[np.float64]) -> QueryRows:
        """Sort the rows.

        Args:
            queries: Shape (rows,): integer codes.
            scores: Shape (rows,): finite; higher ranks first.
            relevance: Shape (rows,): finite, at least 0.
        """
        order = np.lexsort((-scores, queries))
        codes = queries[order]
        starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
        return cls(
            order=order,
            starts=starts,
            sizes=np.diff(starts, append=codes.size),
            scores=scores[order],
            relevance=relevance[order],
        )

    @property
    def ranks(self) -> NDArray[np.intp]:
        """Shape (rows,): the rank of each row in its query, from 1, in this order."""
        return np.arange(1, self.order.size + 1) - np.repeat(self.starts, self.sizes)


def ndcg_by_query(rows: QueryRows) -> NDArray[np.float64]:
    """Return every query's discounted cumulated gain as a share of that of the best ranking.

    The gain of a row is its relevance, discounted by log2(1 + rank), over all ranks: scikit-learn's ``ndcg_score``.
    Rows with the same score share the mean of their discounts, as if they were ranked in every order (McSherry and
    Najork 2008). NaN for a query without a relevant row.

    Args:
        rows: The rows by query and score.
    """
    discounts = 1 / np.log2(rows.ranks + 1.0)
    is_first = np.concatenate(([True], rows.scores[1:] != rows.scores[:-1]))
    is_first[rows.starts] = True
    ties = np.flatnonzero(is_first)
    tied = np.diff(ties, append=rows.order.size)
    gains = np.add.reduceat(rows.relevance, ties) / tied * np.add.reduceat(discounts, ties)
    reached = np.add.reduceat(gains, np.searchsorted(ties, rows.starts))
    query = np.repeat(np.arange(rows.sizes.size), rows.sizes)
    best = np.add.reduceat(rows.relevance[np.lexsort((-rows.relevance, query))] * discounts, rows.starts)
    values: NDArray[np.float64] = np.divide(reached, best, out=np.full(best.size, np.nan), where=best > 0)
    # Rounding must not lift a perfect ranking above 1.
    np.minimum(values, 1.0, out=values)
    return values


def reciprocal_rank_by_query(rows: QueryRows) -> NDArray[np.float64]:
    """Return every query's 1 / rank of its first relevant row (Voorhees 1999); relevant means above 0.

    Among rows with the same score the irrelevant ones come first: a model that scores all rows alike must not gain by
    it. NaN for a query without a relevant row.

    Args:
        rows: The rows by query and score.
    """
    relevant = rows.relevance > 0
    query = np.repeat(np.arange(rows.sizes.size), rows.sizes)
    best = np.maximum.reduceat(np.where(relevant, rows.scores, -np.inf), rows.starts)
    before = np.add.reduceat(~relevant & (rows.scores >= best[query]), rows.starts, dtype=np.int64)
    return np.where(np.isneginf(best), np.nan, 1 / (1 + before))


_METRICS = {"ndcg": ndcg_by_query, "mrr": reciprocal_rank_by_query}

RANKING_METRICS = tuple(_METRICS)
"""The metrics that this module computes."""


def evaluate_rankings(
    names: Iterable[str], truth: BenchmarkTruth, predictions: Predictions
) -> dict[str, MetricEvaluation | UndefinedEvaluation]:
    """Return metrics of the ranking within queries, by name, all from one sort.

    The relevance of a row is its label or, with classes, 1 for the positive class; rows are ranked by the predicted
    number or the probability of the positive class.

    Args:
        names: Names in `RANKING_METRICS`.
        truth: The benchmark's labels, with queries.
        predictions: What the model says about the same rows.
    """
    wanted = tuple(names)
    scores = _scores(truth, predictions)
    if isinstance(scores, UndefinedEvaluation):
        return dict.fromkeys(wanted, scores)
    if truth.queries is None:
        return dict.fromkeys(wanted, UndefinedEvaluation(reason="the benchmark rows belong to no queries"))
    relevance = (truth.actual == truth.positive if truth.classes else truth.actual).astype(np.float64)
    if relevance.min() < 0:
        row = int(np.argmax(relevance < 0)) + 1
        reason = f"the label of benchmark row {row} is below 0, which is no relevance"
        return dict.fromkeys(wanted, UndefinedEvaluation(reason=reason))
    rows = QueryRows.of(truth.queries, scores, relevance)
    weights = np.ones(rows.starts.size)
    if truth.weights is not None:
        weights = np.add.reduceat(truth.weights[rows.order], rows.starts) / rows.sizes
    weights[np.maximum.reduceat(rows.relevance, rows.starts) <= 0] = 0.0
    if not weights.any():
        return dict.fromkeys(wanted, UndefinedEvaluation(reason="no query has a relevant row of any weight"))
    return {name: _mean_over_queries(_METRICS[name](rows), weights, rows) for name in wanted}


def _scores(truth: BenchmarkTruth, predictions: Predictions) -> NDArray[np.float64] | UndefinedEvaluation:
    """Return what the model ranks rows by, or why there is nothing."""
    if not truth.classes:
        scores = predictions.predicted.astype(np.float64, copy=False)
    elif truth.positive is None:
        return UndefinedEvaluation(reason="there is no positive class, whose rows would be the relevant ones")
    elif predictions.probabilities is None:
        return UndefinedEvaluation(reason="the model gives no probabilities to rank rows by")
    else:
        scores = np.asarray(predictions.probabilities[:, truth.positive], dtype=np.float64)
    finite = np.isfinite(scores)
    if not finite.all():
        return UndefinedEvaluation(
            reason=f"the prediction for benchmark row {int(np.argmin(finite)) + 1} is not a finite number"
        )
    return scores


def _mean_over_queries(values: NDArray[np.float64], weights: NDArray[np.float64], rows: QueryRows) -> MetricEvaluation:
    """Average over the queries that weigh something, and spread each one's influence over its rows."""
    total = weights.sum()
    counted = np.where(weights > 0, values, 0.0)
    value = float((weights * counted).sum() / total)
    of_queries = (counted - value) * weights * (rows.order.size / total)
    influence = np.empty(rows.order.size)
    influence[rows.order] = np.repeat(of_queries / rows.sizes, rows.sizes)
    return MetricEvaluation(value=value, influence=influence)
