"""What scoring a model gives: a metric with its influence function, or the reason why there is none.

The influence of a row is how fast the metric moves when that row gets more weight. Averaged over the benchmark it is
zero, and its variance over the rows, divided by their number, estimates the variance of the metric (the infinitesimal
jackknife). The difference of two models' influence on the same row is what makes a paired interval possible.

Written with sample weights w over n rows, the influence of row i is n w_i times the derivative of the metric by w_i;
for a mean of single scores x_i that is n w_i / sum(w) times (x_i - mean).

Sources:
    F. R. Hampel (1974), "The influence curve and its role in robust estimation", JASA 69, 383-393.
    L. A. Jaeckel (1972), "The infinitesimal jackknife", Bell Laboratories Memorandum MM 72-1215-11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MetricEvaluation", "UndefinedEvaluation", "average_of_rows"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricEvaluation:
    """A metric of one fitted model on the benchmark, and what each row has to do with it.

    Attributes:
        value: The metric, in its own unit.
        influence: Shape (rows,): the influence function at every row, in the metric's unit, with mean zero.
    """

    value: float
    influence: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class UndefinedEvaluation:
    """A metric that has no honest value for a model on a benchmark.

    Attributes:
        reason: Why, as a clause without a full stop.
    """

    reason: str


def average_of_rows(scores: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> MetricEvaluation:
    """Return the weighted mean of one score per row.

    Args:
        scores: Shape (rows,), in the metric's unit.
        weights: Shape (rows,): weights that are not all zero; None where every row weighs the same.
    """
    if weights is None:
        value = float(np.mean(scores))
        return MetricEvaluation(value=value, influence=scores - value)
    total = weights.sum()
    # Sums of the same form, so that scores that are all alike have exactly that value.
    value = float((weights * scores).sum() / total)
    influence = scores - value
    influence *= weights
    influence *= scores.size / total
    return MetricEvaluation(value=value, influence=influence)
