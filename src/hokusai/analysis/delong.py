"""DeLong's comparison of two areas under the curve in its exact form, as a check of the influence functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DeLongCovariance", "delong_covariance"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeLongCovariance:
    """Two areas under the curve on the same rows, and how they vary with the rows.

    Attributes:
        areas: Shape (2,): the areas.
        covariance: Shape (2, 2): the covariance of the areas.
    """

    areas: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def z(self) -> float:
        """The first area less the second, in standard errors; NaN when their difference does not vary."""
        variance = float(self.covariance[0, 0] + self.covariance[1, 1] - 2 * self.covariance[0, 1])
        return float(self.areas[0] - self.areas[1]) / math.sqrt(variance) if variance > 0 else math.nan


def delong_covariance(
    positive: NDArray[np.bool_], scores_a: NDArray[np.float64], scores_b: NDArray[np.float64]
) -> DeLongCovariance:
    """Return two areas under the curve with DeLong's covariance.

    The covariance is that of the positive rows' components over their number, plus that of the negative rows' over
    theirs, each with its own degrees of freedom. The paired interval divides all rows by their number less one instead,
    which treats the share of positives as drawn as well: at 113 rows its z is 0.6 % larger, at 10,000 the same to four
    digits. Source: E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson (1988), "Comparing the areas under two or more
    correlated receiver operating characteristic curves: a nonparametric approach", Biometrics 44, 837-845.

    Args:
        positive: Shape (rows,): whether each row is of the positive class.
        scores_a: Shape (rows,): scores of the first model; higher is more positive.
        scores_b: Shape (rows,): scores of the second model.

    Raises:
        ValueError: The shapes differ, or there are fewer than two positive or two negative rows.
    """
    if positive.ndim != 1 or not positive.shape == scores_a.shape == scores_b.shape:
        raise ValueError(f"shapes {positive.shape}, {scores_a.shape}, {scores_b.shape}, expected (rows,) three times")
    positives = int(np.count_nonzero(positive))
    if min(positives, positive.size - positives) < 2:
        raise ValueError(f"{positives} of {positive.size} rows are positive, expected two or more of either kind")
    models = (scores_a, scores_b)
    of_positives = np.stack([_placements(scores[positive], scores[~positive]) for scores in models])
    of_negatives = np.stack([_placements(scores[~positive], scores[positive]) for scores in models])
    covariance = np.cov(of_positives) / of_positives.shape[1] + np.cov(of_negatives) / of_negatives.shape[1]
    return DeLongCovariance(areas=of_positives.mean(axis=1), covariance=covariance)


def _placements(scores: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the others that each score is above, where an equal one counts half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    return below.astype(np.float64) / (2 * others.size)
