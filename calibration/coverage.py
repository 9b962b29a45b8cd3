"""Intervals of the product on benchmarks of a known population, counted against the truth; and how much is counted."""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from calibration.cells import CoverageCell
from scipy import special

from hokusai.analysis.metrics import METRICS, MetricEvaluation, evaluate_all
from hokusai.analysis.statistics import decide, paired_interval, summarise_fits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hokusai.analysis.metrics import BenchmarkTruth
    from hokusai.analysis.statistics import PairedInterval, RowGroups
    from hokusai.records import MetricScores, Predictions

__all__ = [
    "FULL",
    "QUICK",
    "SEED",
    "Effort",
    "Known",
    "Population",
    "Sample",
    "accepts",
    "cover",
    "generator",
    "known_differences",
    "scores_of",
]

SEED = 20_260_401
"""Every cell has a generator of its own, made of this and the cell's name: each can be repeated alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """The size of a campaign.

    Attributes:
        share: The share of the full number of replicates and sequences.
        most_rows: Larger benchmarks are left out.
        truth_rows: Rows, clusters or queries of the very large samples that a true difference is taken from.
        pool_fits: Fits of each arm of a real trainer, of which every replicate draws some.
        cache: A folder for predictions of real trainers; None fits them anew.
    """

    share: float
    most_rows: int
    truth_rows: int
    pool_fits: int
    cache: Path | None = None

    def of(self, full: int) -> int:
        """Return what is left of a number of the full campaign; at least two."""
        return max(2, round(full * self.share))

    def sizes(self, *sizes: int) -> tuple[int, ...]:
        """Return the sizes that are not left out."""
        return tuple(size for size in sizes if size <= self.most_rows)


FULL = Effort(share=1.0, most_rows=100_000, truth_rows=10_000_000, pool_fits=50)
QUICK = Effort(share=0.03, most_rows=1_000, truth_rows=1_000_000, pool_fits=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A benchmark that was drawn, and what the fits of both arms say about it."""

    truth: BenchmarkTruth
    control: tuple[Predictions, ...]
    candidate: tuple[Predictions, ...]
    groups: RowGroups | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Where benchmarks come from.

    Attributes:
        name: What the page calls it.
        metrics: Names of the metrics that are counted.
        draw: Returns a benchmark of that many rows, clusters or queries.
        random_trainer: Whether the fits of an arm differ by their seeds.
    """

    name: str
    metrics: tuple[str, ...]
    draw: Callable[[int, np.random.Generator], Sample]
    random_trainer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A true difference, candidate minus control, and its Monte-Carlo standard error."""

    difference: float
    error: float = 0.0


@dataclass(slots=True)
class _Tally:
    """Differences and intervals of one metric over the replicates, and those that others use beside them."""

    undefined: int = 0
    deltas: list[float] = field(default_factory=list)
    bounds: list[tuple[float, float]] = field(default_factory=list)
    bounds_beside: list[tuple[float, float]] = field(default_factory=list)

    def add(self, interval: PairedInterval | None, beside: tuple[float, float]) -> None:
        """Count one replicate; None where the metric has no value."""
        if interval is None or interval.degenerate:
            self.undefined += 1
            return
        self.deltas.append(interval.delta)
        self.bounds.append((interval.lower, interval.upper))
        self.bounds_beside.append(beside)

    def cell(self, *, population: str, metric: str, size: int, known: Known) -> CoverageCell:
        """Return the counts."""
        better = METRICS[metric].higher_is_better
        return CoverageCell(
            population=population,
            metric=metric,
            size=size,
            truth=known.difference,
            truth_error=known.error,
            replicates=len(self.deltas) + self.undefined,
            undefined=self.undefined,
            covered=_count_covered(self.bounds, known.difference),
            covered_beside=_count_covered(self.bounds_beside, known.difference),
            found=sum(accepts(*each, higher_is_better=better) for each in self.bounds),
            found_beside=sum(accepts(*each, higher_is_better=better) for each in self.bounds_beside),
            standard_deviation=float(np.std(self.deltas or [0.0])),
        )


def generator(*names: object) -> np.random.Generator:
    """Return the generator of a cell, the same on every machine and in every order of cells."""
    return np.random.default_rng([SEED, zlib.crc32("/".join(map(str, names)).encode())])


def scores_of(
    metrics: Sequence[str], truth: BenchmarkTruth, fits: Sequence[Predictions], groups: RowGroups | None = None
) -> dict[str, MetricScores | None]:
    """Return every metric of one arm as the product sums it up; None where a fit leaves it without a value."""
    evaluations = [evaluate_all([METRICS[name] for name in metrics], truth, predictions) for predictions in fits]
    scores: dict[str, MetricScores | None] = {}
    for name in metrics:
        defined = [fit[name] for fit in evaluations]
        of_fits = [each for each in defined if isinstance(each, MetricEvaluation)]
        scores[name] = summarise_fits(of_fits, groups=groups) if len(of_fits) == len(defined) else None
    return scores


def unpaired_bounds(control: MetricScores, candidate: MetricScores) -> tuple[float, float]:
    """Return the 95 % interval of those who take the two models' scores for independent, and look at rows alone."""
    variance = sum(float(np.var(arm.influence, ddof=1)) / arm.influence.size for arm in (control, candidate))
    return _around(float(np.mean(candidate.values) - np.mean(control.values)), variance)


def row_bounds(interval: PairedInterval) -> tuple[float, float]:
    """Return the paired 95 % interval of those who leave out that other seeds give other models."""
    return _around(interval.delta, interval.row_variance)


def cover(
    population: Population,
    size: int,
    *,
    replicates: int,
    known: Mapping[str, Known],
    without_groups: bool = False,
) -> list[CoverageCell]:
    """Draw benchmarks of one size and count the intervals that hold the truth.

    Beside them stand, for single models, the unpaired interval; for random trainers that over rows alone; with
    ``without_groups`` the paired one that takes rows of one group for independent.
    """
    rng = generator(population.name, size)
    tallies: dict[str, _Tally] = defaultdict(_Tally)
    for _ in range(replicates):
        sample = population.draw(size, rng)
        for metric, interval, beside in _intervals(population, sample, without_groups=without_groups):
            tallies[metric].add(interval, beside)
    return [
        tallies[metric].cell(population=population.name, metric=metric, size=size, known=known[metric])
        for metric in population.metrics
    ]


def known_differences(population: Population, *, size: int, samples: int) -> dict[str, Known]:
    """Return the true differences: means over very large samples."""
    rng = generator(population.name, "truth")
    differences: dict[str, list[float]] = defaultdict(list)
    for _ in range(samples):
        sample = population.draw(size, rng)
        control = scores_of(population.metrics, sample.truth, sample.control)
        candidate = scores_of(population.metrics, sample.truth, sample.candidate)
        for name in population.metrics:
            of_control, of_candidate = control[name], candidate[name]
            if of_control is None or of_candidate is None:
                raise ValueError(f"{name} has no value on {size} rows of {population.name}, expected one")
            differences[name].append(float(of_candidate.values[0] - of_control.values[0]))
    return {
        name: Known(difference=float(np.mean(values)), error=float(np.std(values, ddof=1)) / math.sqrt(samples))
        for name, values in differences.items()
    }


def accepts(lower: float, upper: float, *, higher_is_better: bool) -> bool:
    """Return whether the product accepts an interval of a raw difference, with a bar of zero."""
    gain = (lower, upper) if higher_is_better else (-upper, -lower)
    return decide(gain_lower=gain[0], gain_upper=gain[1], minimum_gain=0.0) == "accept"


def _count_covered(bounds: Sequence[tuple[float, float]], truth: float) -> int:
    """Return how many intervals hold a number."""
    return sum(lower <= truth <= upper for lower, upper in bounds)


def _intervals(
    population: Population, sample: Sample, *, without_groups: bool
) -> Iterator[tuple[str, PairedInterval | None, tuple[float, float]]]:
    random_trainer = population.random_trainer
    control = scores_of(population.metrics, sample.truth, sample.control, sample.groups)
    candidate = scores_of(population.metrics, sample.truth, sample.candidate, sample.groups)
    single_control = scores_of(population.metrics, sample.truth, sample.control) if without_groups else {}
    single_candidate = scores_of(population.metrics, sample.truth, sample.candidate) if without_groups else {}
    for name in population.metrics:
        arms = control[name], candidate[name]
        if arms[0] is None or arms[1] is None:
            yield name, None, (math.nan, math.nan)
            continue
        interval = paired_interval(arms[0], arms[1], random_trainer=random_trainer)
        beside = row_bounds(interval) if random_trainer else unpaired_bounds(arms[0], arms[1])
        singles = single_control.get(name), single_candidate.get(name)
        if singles[0] is not None and singles[1] is not None:
            rows = paired_interval(singles[0], singles[1], random_trainer=random_trainer)
            beside = rows.lower, rows.upper
        yield name, interval, beside


def _around(delta: float, variance: float) -> tuple[float, float]:
    half_width = math.sqrt(variance) * float(special.ndtri(0.975))
    return delta - half_width, delta + half_width
