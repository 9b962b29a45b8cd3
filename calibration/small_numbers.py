"""Benchmarks with little of what counts: few positives, or few rows that only one of the two models has right."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from calibration.cells import SmallNumbersCell
from calibration.coverage import Population, Sample, generator, known_differences, scores_of
from calibration.latent_fits import accuracy_of
from calibration.populations import predict_binary

from hokusai.analysis.metrics import BenchmarkTruth
from hokusai.analysis.paired_proportions import discordant_rows, tango
from hokusai.analysis.statistics import paired_interval, summarise_fits
from hokusai.steps.delta_settings import DeltaSettings

if TYPE_CHECKING:
    from calibration.coverage import Effort, Known

    from hokusai.records import MetricScores

__all__ = ["measure_small_numbers"]

_REPLICATES = 2_000
_ROWS = 2_000
_POSITIVES = (10, 25, 50, 100, 200)
_METRICS = ("balanced_accuracy", "precision", "recall", "f1", "roc_auc", "average_precision")
# Rows, and how many of them are expected to be right in one model alone.
_DISCORDANT = ((119, 24), (1_000, 5), (1_000, 10), (1_000, 25), (1_000, 50), (1_000, 100))
_CANDIDATE_SHARE = 0.6
_FLOOR_OF_POSITIVES = DeltaSettings().minimum_positives
_FLOOR_OF_DISCORDANT = DeltaSettings().minimum_discordant_rows


@dataclass(slots=True)
class _Counts:
    """Intervals, and those of benchmarks at or above a floor; see `SmallNumbersCell`."""

    undefined: int = 0
    covered: int = 0
    decided: int = 0
    covered_decided: int = 0

    def add(
        self, control: MetricScores | None, candidate: MetricScores | None, *, known: float, is_enough: bool
    ) -> None:
        """Count the interval of one replicate; None where the metric has no value."""
        interval = None
        if control is not None and candidate is not None:
            interval = paired_interval(control, candidate, random_trainer=False)
        if interval is None or interval.degenerate:
            self.undefined += 1
            return
        is_covered = interval.lower <= known <= interval.upper
        self.covered += is_covered
        self.decided += is_enough
        self.covered_decided += is_covered and is_enough


def measure_small_numbers(effort: Effort) -> list[SmallNumbersCell]:
    """Count coverage by the expected number of positives, and for accuracy by that of discordant rows."""
    cells: list[SmallNumbersCell] = []
    for expected in _POSITIVES:
        population = Population(
            name=f"{expected} positives", metrics=_METRICS, draw=partial(_few_positives, share=expected / _ROWS)
        )
        known = known_differences(population, size=200_000, samples=max(2, effort.truth_rows // 200_000))
        cells += _over_positives(population, known, expected=expected, replicates=effort.of(_REPLICATES))
    cells += [_few_discordant(rows, expected, replicates=effort.of(_REPLICATES)) for rows, expected in _DISCORDANT]
    return cells


def _few_positives(rows: int, rng: np.random.Generator, *, share: float) -> Sample:
    positive = rng.random(rows) < share
    shared = rng.normal(size=rows)
    control = 2.5 * positive + shared + 0.4 * rng.normal(size=rows) - 2
    candidate = 2.7 * positive + shared + 0.4 * rng.normal(size=rows) - 2
    return Sample(
        truth=BenchmarkTruth(actual=positive.astype(np.intp), classes=("no", "yes"), positive=1),
        control=(predict_binary(control),),
        candidate=(predict_binary(candidate),),
    )


def _over_positives(
    population: Population, known: dict[str, Known], *, expected: int, replicates: int
) -> list[SmallNumbersCell]:
    rng = generator(population.name)
    counts = {name: _Counts() for name in _METRICS}
    for _ in range(replicates):
        sample = population.draw(_ROWS, rng)
        is_enough = int(np.count_nonzero(sample.truth.actual)) >= _FLOOR_OF_POSITIVES
        control = scores_of(_METRICS, sample.truth, sample.control)
        candidate = scores_of(_METRICS, sample.truth, sample.candidate)
        for name in _METRICS:
            counts[name].add(control[name], candidate[name], known=known[name].difference, is_enough=is_enough)
    return [
        SmallNumbersCell(
            metric=name,
            rows=_ROWS,
            expected=expected,
            floor=_FLOOR_OF_POSITIVES,
            replicates=replicates,
            **dataclasses.asdict(counts[name]),
        )
        for name in _METRICS
    ]


def _few_discordant(rows: int, expected: int, *, replicates: int) -> SmallNumbersCell:
    """Count for accuracy, where the truth follows from the shares that the rows are drawn by."""
    rng = generator("discordant", rows, expected)
    discordant = expected / rows
    shares = (0.7 - discordant / 2, discordant * (1 - _CANDIDATE_SHARE), discordant * _CANDIDATE_SHARE)
    difference = shares[2] - shares[1]
    counts, covered_tango = _Counts(), 0
    for _ in range(replicates):
        both, control_only, candidate_only, _ = rng.multinomial(rows, (*shares, 1 - sum(shares)))
        row = np.arange(rows)
        control = row < both + control_only
        candidate = (row < both) | ((row >= both + control_only) & (row < both + control_only + candidate_only))
        found = discordant_rows(control, candidate)
        counts.add(
            *(summarise_fits([accuracy_of(right)]) for right in (control, candidate)),
            known=difference,
            is_enough=found.total >= _FLOOR_OF_DISCORDANT,
        )
        score_interval = tango(found, n=rows)
        covered_tango += score_interval.lower <= difference <= score_interval.upper
    return SmallNumbersCell(
        metric="accuracy",
        rows=rows,
        expected=expected,
        floor=_FLOOR_OF_DISCORDANT,
        replicates=replicates,
        covered_tango=covered_tango,
        **dataclasses.asdict(counts),
    )
