"""Populations whose true difference is known: every metric of one pair of models, with weights, queries and clusters.

The two models are alike but not the same. The candidate knows a part of a second feature, so it is truly better, by
about a point of accuracy. Both are overconfident, and share most of their errors, as models of the same trainer do.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from calibration.coverage import Population, Sample, cover, known_differences
from scipy import special

from hokusai.analysis.metrics import METRICS, BenchmarkTruth, metrics_for
from hokusai.analysis.statistics import RowGroups
from hokusai.records import Predictions

if TYPE_CHECKING:
    from calibration.cells import CoverageCell
    from calibration.coverage import Effort
    from numpy.typing import NDArray

    from hokusai.analysis.benchmark_truth import Average

__all__ = [
    "PAIRS",
    "RANKED",
    "measure_clusters",
    "measure_pairs",
    "measure_queries",
    "measure_weights",
    "predict_binary",
]

_BINARY = tuple(metric.name for metric in metrics_for("classification"))
_NUMBERS = tuple(metric.name for metric in metrics_for("regression"))
_RANKINGS = tuple(metric.name for metric in METRICS.values() if metric.task == "ranking")
# What depends on the average, and three that every multiclass problem is scored by.
_AVERAGED = ("precision", "recall", "f1", "roc_auc", "average_precision")
_MULTICLASS = ("accuracy", "balanced_accuracy", *_AVERAGED, "log_loss", "brier_score", "expected_calibration_error")
_REPLICATES = {200: 2_000, 1_000: 2_000, 10_000: 1_000, 100_000: 1_000}
# Averages over four classes take long on large benchmarks, and decisions counted together a sort of rows times classes.
_FEWER = {"four classes, macro": 300, "four classes, weighted": 300, "four classes, micro": 100}
_LARGE_SAMPLE = 100_000
# Rows of a query, and of a cluster on average.
_ROWS_OF_A_UNIT = 10


def predict_binary(scores: NDArray[np.float64]) -> Predictions:
    """Return what a model says whose score is the logit of the second class."""
    probabilities = special.expit(scores)
    return Predictions(
        predicted=(scores > 0).astype(np.intp), probabilities=np.column_stack([1 - probabilities, probabilities])
    )


def _binary_sample(
    rows: int, rng: np.random.Generator, *, intercept: float, weighted: bool = False, clustered: bool = False
) -> Sample:
    """Draw rows of two classes.

    Args:
        rows: Number of rows or, when clustered, of clusters of one to about thirty rows.
        rng: The generator.
        intercept: Logit of the positive class for a typical row.
        weighted: Whether rows have weights, larger where the second feature is.
        clustered: Whether half of the variance of everything is common to a cluster.
    """
    codes = np.repeat(np.arange(rows), rng.geometric(1 / _ROWS_OF_A_UNIT, rows)) if clustered else None
    normal = partial(_normal, rng, rows, codes)
    first, second, noise, shared = normal(), normal(), normal(), normal()
    # A normal latent error keeps the correlation within clusters the same for every part.
    positive = intercept + 1.2 * first + 0.8 * second + 1.5 * noise > 0
    control = intercept + 1.5 * first + 0.8 * shared + 0.5 * normal()
    candidate = intercept + 1.5 * first + 0.35 * second + 0.8 * shared + 0.5 * normal()
    return Sample(
        truth=BenchmarkTruth(
            actual=positive.astype(np.intp),
            classes=("no", "yes"),
            positive=1,
            weights=np.exp(0.4 * second + 0.4 * rng.normal(size=positive.size)) if weighted else None,
        ),
        control=(predict_binary(control),),
        candidate=(predict_binary(candidate),),
        groups=None if codes is None else RowGroups(codes=codes, count=rows),
    )


def _normal(rng: np.random.Generator, rows: int, codes: NDArray[np.intp] | None) -> NDArray[np.float64]:
    """Return standard normal numbers; where there are clusters, correlated by one half within each."""
    if codes is None:
        return rng.normal(size=rows)
    return math.sqrt(0.5) * (rng.normal(size=rows)[codes] + rng.normal(size=codes.size))


def _multiclass_sample(rows: int, rng: np.random.Generator, *, average: Average) -> Sample:
    intercepts = np.array([0.8, 0.3, 0.0, -0.7])
    first, second = rng.normal(size=(rows, 4)), rng.normal(size=(rows, 4))
    shared = rng.normal(size=(rows, 4))
    actual = (intercepts + 1.2 * first + 0.8 * second + rng.gumbel(size=(rows, 4))).argmax(axis=1)

    def predictions(scores: NDArray[np.float64]) -> Predictions:
        return Predictions(predicted=scores.argmax(axis=1), probabilities=special.softmax(scores, axis=1))

    control = intercepts + 1.5 * first + 0.6 * shared + 0.4 * rng.normal(size=(rows, 4))
    candidate = intercepts + 1.5 * first + 0.25 * second + 0.6 * shared + 0.4 * rng.normal(size=(rows, 4))
    return Sample(
        truth=BenchmarkTruth(actual=actual.astype(np.intp), classes=("a", "b", "c", "d"), average=average),
        control=(predictions(control),),
        candidate=(predictions(candidate),),
    )


def _numbers_sample(rows: int, rng: np.random.Generator) -> Sample:
    first, second, shared = rng.normal(size=(3, rows))
    # Positive labels with a long tail, and errors that grow with them.
    actual = np.exp(3 + 0.4 * first + 0.2 * second + 0.15 * rng.standard_t(8, size=rows))
    control = np.exp(3 + 0.4 * first + 0.1 * shared + 0.05 * rng.normal(size=rows))
    candidate = np.exp(3 + 0.4 * first + 0.05 * second + 0.1 * shared + 0.05 * rng.normal(size=rows))
    return Sample(
        truth=BenchmarkTruth(actual=actual),
        control=(Predictions(predicted=control),),
        candidate=(Predictions(predicted=candidate),),
    )


def _queries_sample(queries: int, rng: np.random.Generator) -> Sample:
    rows = queries * _ROWS_OF_A_UNIT
    codes = np.repeat(np.arange(queries), _ROWS_OF_A_UNIT)
    # Queries differ in how many of their rows are relevant; one row in each is, so that each has a rank.
    first, second, shared = rng.normal(size=(3, rows))
    relevance = 0.8 * rng.normal(size=queries)[codes] + 1.2 * first + 0.8 * second + rng.normal(size=rows) > 2
    relevance[np.arange(queries) * _ROWS_OF_A_UNIT] = True
    scores = relevance * 0.3 + 1.2 * first + 0.6 * shared
    return Sample(
        truth=BenchmarkTruth(actual=relevance.astype(np.intp), classes=("no", "yes"), positive=1, queries=codes),
        control=(predict_binary(scores + 0.4 * rng.normal(size=rows) - 2),),
        candidate=(predict_binary(scores + 0.25 * second + 0.4 * rng.normal(size=rows) - 2),),
        groups=RowGroups(codes=codes, count=queries),
    )


PAIRS = (
    Population(name="two classes, 35 % positive", metrics=_BINARY, draw=partial(_binary_sample, intercept=-0.8)),
    Population(name="two classes, 10 % positive", metrics=_BINARY, draw=partial(_binary_sample, intercept=-2.7)),
    Population(name="four classes, macro", metrics=_MULTICLASS, draw=partial(_multiclass_sample, average="macro")),
    Population(name="four classes, weighted", metrics=_AVERAGED, draw=partial(_multiclass_sample, average="weighted")),
    Population(name="four classes, micro", metrics=_AVERAGED, draw=partial(_multiclass_sample, average="micro")),
    Population(name="numbers", metrics=_NUMBERS, draw=_numbers_sample),
)
"""Single pairs of models; the size is the number of rows."""

RANKED = Population(name="queries of ten rows", metrics=_RANKINGS, draw=_queries_sample)
"""The size is the number of queries, which are the groups."""

_WEIGHTED = Population(
    name="two classes, sample weights", metrics=_BINARY, draw=partial(_binary_sample, intercept=-0.8, weighted=True)
)
"""The weights differ by a factor of about ten, and go with a feature."""

_CLUSTERED = Population(
    name="two classes in clusters", metrics=_BINARY, draw=partial(_binary_sample, intercept=-0.8, clustered=True)
)
"""The size is the number of clusters, of ten rows on average."""


def measure_pairs(effort: Effort) -> list[CoverageCell]:
    """Count coverage for every metric of single pairs of models; beside it the unpaired interval."""
    cells: list[CoverageCell] = []
    for population in PAIRS:
        replicates = _REPLICATES | {100_000: _FEWER.get(population.name, _REPLICATES[100_000])}
        truth_rows = effort.truth_rows // (5 if replicates[100_000] < 300 else 1)
        cells += _over_sizes(population, effort, replicates, truth_units=truth_rows, sample=_LARGE_SAMPLE)
    return cells


def measure_queries(effort: Effort) -> list[CoverageCell]:
    """Count coverage for the metrics of rankings; sizes are numbers of queries of ten rows."""
    replicates = {size // _ROWS_OF_A_UNIT: count for size, count in _REPLICATES.items()}
    return _over_sizes(RANKED, effort, replicates, truth_units=effort.truth_rows // _ROWS_OF_A_UNIT)


def measure_weights(effort: Effort) -> list[CoverageCell]:
    """Count coverage for every metric of two classes where rows have weights."""
    replicates = {200: 2_000, 1_000: 2_000, 10_000: 1_000}
    return _over_sizes(_WEIGHTED, effort, replicates, truth_units=effort.truth_rows // 2, sample=_LARGE_SAMPLE)


def measure_clusters(effort: Effort) -> list[CoverageCell]:
    """Count coverage where rows come in clusters; beside it the interval that takes them for independent."""
    replicates = {30: 2_000, 100: 2_000, 300: 2_000, 1_000: 1_000}
    return _over_sizes(
        _CLUSTERED, effort, replicates, truth_units=effort.truth_rows // _ROWS_OF_A_UNIT, without_groups=True
    )


def _over_sizes(
    population: Population,
    effort: Effort,
    replicates: dict[int, int],
    *,
    truth_units: int,
    sample: int = _LARGE_SAMPLE // _ROWS_OF_A_UNIT,
    without_groups: bool = False,
) -> list[CoverageCell]:
    known = known_differences(population, size=sample, samples=truth_units // sample)
    cells: list[CoverageCell] = []
    for size in effort.sizes(*replicates):
        count = effort.of(replicates[size])
        cells += cover(population, size, replicates=count, known=known, without_groups=without_groups)
    return cells
