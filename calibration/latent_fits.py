"""Classifiers whose true accuracy is known exactly: right on a row when a normal number is above zero.

The number is a sum: how easy the row is, what the arm's training data do to the row, what the seed does to the row,
and what the seed does to the whole fit. Over rows it is normal, so an arm's true accuracy is a normal probability, the
same for every arm without a gain; single benchmarks and seeds differ from it as real ones do.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from hokusai.analysis.metrics import METRICS, BenchmarkTruth, MetricEvaluation, evaluate
from hokusai.analysis.statistics import summarise_fits
from hokusai.records import Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hokusai.records import MetricScores

__all__ = [
    "ACCURACY",
    "NO_SEEDS",
    "ROWS_MORE",
    "SEEDS_MORE",
    "SPREADS",
    "LatentBenchmark",
    "accuracy_of",
    "accuracy_scores",
]

ACCURACY = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Standard deviations beside that of how easy a row is, which is 1.

    Attributes:
        data: What the arm's data do to single rows.
        row: What a seed does to single rows.
        seed: What a seed does to all rows of its fit alike.
    """

    data: float = 0.12
    row: float = 0.2
    seed: float = 0.015

    @property
    def total(self) -> float:
        """Of everything together."""
        return math.sqrt(1 + self.data**2 + self.row**2 + self.seed**2)


ROWS_MORE, SEEDS_MORE, NO_SEEDS = "rows vary more", "seeds vary more", "a trainer without seeds"
SPREADS = {ROWS_MORE: Spread(), SEEDS_MORE: Spread(seed=0.05), NO_SEEDS: Spread(row=0.0, seed=0.0)}
"""At 2,000 rows, with 20 fits of the control and 5 of the candidate, seeds make a third of the variance of a
difference, five sixths, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentArm:
    """What all fits of one arm have in common: shape (rows,)."""

    benchmark: LatentBenchmark
    location: NDArray[np.float32]

    def right(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return the rows that one more fit has right."""
        spread = self.benchmark.spread
        noise = rng.standard_normal(self.location.size, dtype=np.float32)
        noise *= np.float32(spread.row)
        noise += self.location
        return noise > -spread.seed * rng.standard_normal()

    def evaluations(self, fits: int, rng: np.random.Generator) -> list[MetricEvaluation]:
        """Return the accuracy of some more fits."""
        return [accuracy_of(self.right(rng)) for _ in range(fits)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentBenchmark:
    """Benchmark rows of a population in which fits are right with probability `ACCURACY`, or a gain more."""

    ease: NDArray[np.float32]
    spread: Spread

    @classmethod
    def draw(cls, rows: int, spread: Spread, rng: np.random.Generator) -> LatentBenchmark:
        """Draw a benchmark."""
        return cls(ease=rng.standard_normal(rows, dtype=np.float32), spread=spread)

    def arm(self, rng: np.random.Generator, *, gain: float = 0.0) -> LatentArm:
        """Return an arm with training data of its own.

        Args:
            rng: The generator.
            gain: How much more than `ACCURACY` it has in truth, as a fraction.
        """
        typical = self.spread.total * float(special.ndtri(ACCURACY + gain))
        own = rng.standard_normal(self.ease.size, dtype=np.float32) * np.float32(self.spread.data)
        return LatentArm(benchmark=self, location=self.ease + own + np.float32(typical))


def accuracy_of(right: NDArray[np.bool_]) -> MetricEvaluation:
    """Return the accuracy of a fit that has these rows right, as the product scores it."""
    evaluation = evaluate(METRICS["accuracy"], _truth(right.size), Predictions(predicted=(~right).astype(np.intp)))
    if not isinstance(evaluation, MetricEvaluation):
        raise TypeError(evaluation.reason)
    return evaluation


def accuracy_scores(arm: LatentArm, fits: int, rng: np.random.Generator) -> MetricScores:
    """Return the accuracy of an arm over some fits, as the product sums it up."""
    return summarise_fits(arm.evaluations(fits, rng))


@functools.cache
def _truth(rows: int) -> BenchmarkTruth:
    return BenchmarkTruth(actual=np.zeros(rows, dtype=np.intp), classes=("right", "wrong"))
