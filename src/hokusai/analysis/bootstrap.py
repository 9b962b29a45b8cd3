"""Paired percentile bootstrap: an independent check of the part of an interval that comes from the rows.

Rows are drawn anew, with both arms' values of a row staying together. Seeds are not: with a handful of fits a bootstrap
over them would understate what they vary. Compare with `hokusai.analysis.statistics.PairedInterval.row_variance`.
Source: B. Efron, R. J. Tibshirani (1993), "An introduction to the bootstrap", chapters 13 and 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from hokusai.analysis.statistics import tail_probability

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hokusai.analysis.statistics import RowGroups
    from hokusai.records import MetricScores

__all__ = [
    "BootstrapInterval",
    "ClassificationMetric",
    "bootstrap_cells",
    "bootstrap_difference",
    "bootstrap_influence",
    "count_cells",
]

ClassificationMetric = Literal["accuracy", "f1", "precision", "recall"]

# Beyond this number of rows, evaluating a metric hundreds of times takes longer than anybody waits for a check.
MOST_ROWS = 20_000

# A table of so many different values is drawn faster as a whole than row by row.
MOST_DISTINCT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapInterval:
    """A difference between two arms with a percentile interval over rows, in the metric's unit and raw direction.

    Attributes:
        delta: The candidate's value minus the control's, on the rows as they are.
        lower: Lower end of the two-sided interval.
        upper: Upper end.
        standard_error: Standard deviation of the replicates.
        replicates: Number of replicates that had a value.
        undefined: Number of replicates without one, which are left out.
    """

    delta: float
    lower: float
    upper: float
    standard_error: float
    replicates: int
    undefined: int = 0


def bootstrap_influence(
    control: MetricScores,
    candidate: MetricScores,
    *,
    confidence: float = 0.95,
    replicates: int = 1000,
    rng: np.random.Generator,
) -> BootstrapInterval:
    """Resample the linearised difference of two arms: its mean over units drawn with replacement, added to the delta.

    This checks the normal and t approximation (skewness, few units, outliers), not the linearisation, which it shares
    with the paired interval: for a mean over rows, such as accuracy or log loss, it is the bootstrap itself; for
    others `bootstrap_cells` and `bootstrap_difference` evaluate the metric anew. One replicate of a million different
    units takes about 10 ms; where the differences take few values, as for accuracy, all replicates take milliseconds.

    Args:
        control: The metric of the control's fits.
        candidate: The metric of the candidate's fits, on the same units in the same order.
        confidence: Two-sided confidence level, between 0 and 1.
        replicates: Number of replicates, two or more.
        rng: Where chance comes from.

    Raises:
        ValueError: The units differ, there are fewer than two replicates, or the confidence is not between 0 and 1.
    """
    if control.influence.shape != candidate.influence.shape:
        raise ValueError(f"{control.influence.size} and {candidate.influence.size} units, expected the same")
    delta = float(candidate.values.mean() - control.values.mean())
    difference = candidate.influence - control.influence
    values, counts = np.unique(difference, return_counts=True)
    units = difference.size
    if values.size <= MOST_DISTINCT:
        means = rng.multinomial(units, counts / units, size=replicates) @ values / units
    else:
        means = np.array([difference[rng.integers(0, units, units)].mean() for _ in range(replicates)])
    return _percentiles(delta, delta + means, confidence=confidence)


def count_cells(
    actual: NDArray[np.bool_], control: NDArray[np.bool_], candidate: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Count the rows of two classes by what they are and what two models predict.

    Args:
        actual: Shape (rows,): whether each row is of the positive class.
        control: Shape (rows,): whether the control predicts it.
        candidate: Shape (rows,): whether the candidate predicts it.

    Returns:
        Shape (2, 2, 2): rows by actual, control's and candidate's class, each 0 for negative and 1 for positive.

    Raises:
        ValueError: The shapes differ.
    """
    if actual.ndim != 1 or not actual.shape == control.shape == candidate.shape:
        raise ValueError(f"shapes {actual.shape}, {control.shape}, {candidate.shape}, expected (rows,) three times")
    cells = 4 * actual.astype(np.int64) + 2 * control.astype(np.int64) + candidate.astype(np.int64)
    return np.bincount(cells, minlength=8).reshape(2, 2, 2).astype(np.int64, copy=False)


def bootstrap_cells(
    metric: ClassificationMetric,
    cells: NDArray[np.int64],
    *,
    confidence: float = 0.95,
    replicates: int = 10_000,
    rng: np.random.Generator,
) -> BootstrapInterval:
    """Resample two models' right and wrong answers, with the metric evaluated anew in every replicate.

    Rows of one cell are alike, so drawing rows is drawing the eight cells of a multinomial distribution: exact, and as
    quick for a million rows as for a hundred. A ratio that divides by zero counts as 0, as in the metric itself.

    Args:
        metric: ``accuracy``, or that of the positive class: ``precision``, ``recall`` or ``f1``.
        cells: Shape (2, 2, 2): what `count_cells` returns.
        confidence: Two-sided confidence level, between 0 and 1.
        replicates: Number of replicates, two or more.
        rng: Where chance comes from.

    Raises:
        ValueError: The cells do not have this shape or hold no row, there are fewer than two replicates, or the
            confidence is not between 0 and 1.
    """
    rows = int(cells.sum())
    if cells.shape != (2, 2, 2) or rows < 1:
        raise ValueError(f"cells of shape {cells.shape} with {rows} rows, expected (2, 2, 2) with at least one row")
    drawn = rng.multinomial(rows, cells.ravel() / rows, size=replicates).reshape(-1, 2, 2, 2)
    return _percentiles(
        float(_cell_difference(metric, cells[None])[0]), _cell_difference(metric, drawn), confidence=confidence
    )


def bootstrap_difference(
    difference: Callable[[NDArray[np.int64]], float],
    *,
    rows: int,
    groups: RowGroups | None = None,
    confidence: float = 0.95,
    replicates: int = 500,
    rng: np.random.Generator,
) -> BootstrapInterval:
    """Resample rows, or whole groups of them, with any metric evaluated anew in every replicate.

    Args:
        difference: Takes the weights of the rows, shape (rows,): how often each was drawn; returns the candidate's
            value minus the control's, or NaN where a metric is undefined.
        rows: Number of benchmark rows, at most 20,000.
        groups: The rows that belong together; by default every row is drawn for itself.
        confidence: Two-sided confidence level, between 0 and 1.
        replicates: Number of replicates, two or more.
        rng: Where chance comes from.

    Raises:
        ValueError: There are too many rows, the groups are of other rows, fewer than two replicates have a value, or
            the confidence is not between 0 and 1.
    """
    if not 1 <= rows <= MOST_ROWS:
        raise ValueError(f"{rows} rows, expected 1 to {MOST_ROWS}; bootstrap_influence takes any number")
    if groups is not None and groups.codes.size != rows:
        raise ValueError(f"groups of {groups.codes.size} rows for {rows}, expected as many")
    units = rows if groups is None else groups.count
    shares = np.full(units, 1 / units)
    values = np.empty(replicates)
    for replicate in range(replicates):
        weights = rng.multinomial(units, shares)
        values[replicate] = difference(weights if groups is None else weights[groups.codes])
    return _percentiles(difference(np.ones(rows, dtype=np.int64)), values, confidence=confidence)


def _cell_difference(metric: ClassificationMetric, cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return candidate minus control for tables of shape (tables, actual, control, candidate)."""
    control, candidate = cells.sum(axis=3), cells.sum(axis=2)
    return _cell_metric(metric, candidate) - _cell_metric(metric, control)


def _cell_metric(metric: ClassificationMetric, table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a metric of tables of shape (tables, actual, predicted)."""
    hits = table[:, 1, 1].astype(np.float64)
    actual, predicted = table[:, 1, :].sum(axis=1), table[:, :, 1].sum(axis=1)
    numerator, denominator = {
        "accuracy": (hits + table[:, 0, 0], table.sum(axis=(1, 2))),
        "precision": (hits, predicted),
        "recall": (hits, actual),
        "f1": (2 * hits, actual + predicted),
    }[metric]
    ratio: NDArray[np.float64] = np.divide(numerator, denominator, out=np.zeros_like(hits), where=denominator > 0)
    return ratio


def _percentiles(delta: float, values: NDArray[np.float64], *, confidence: float) -> BootstrapInterval:
    """Return the percentile interval of the replicates that have a value."""
    tail = tail_probability(confidence)
    defined = values[~np.isnan(values)]
    if defined.size < 2:
        raise ValueError(f"{defined.size} of {values.size} replicates have a value, expected two or more")
    lower, upper = np.quantile(defined, [tail, 1 - tail])
    return BootstrapInterval(
        delta=delta,
        lower=float(lower),
        upper=float(upper),
        standard_error=float(np.std(defined, ddof=1)),
        replicates=defined.size,
        undefined=values.size - defined.size,
    )
