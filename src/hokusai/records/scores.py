"""What models score on a benchmark: metrics, sets of its rows, and values with their influence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from hokusai.records.models import Arm

__all__ = [
    "BenchmarkScores",
    "BenchmarkSubset",
    "Metric",
    "MetricScores",
    "MetricTask",
    "RightAnswers",
    "SubsetKind",
    "SubsetScores",
    "UndefinedMetric",
]

MetricTask = Literal["classification", "regression", "ranking"]
SubsetKind = Literal["benchmark", "slice", "without overlap", "feedback", "decision"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One way to score a model, and which way is better.

    Attributes:
        name: The name it is logged under, scikit-learn's where there is one.
        task: The kind of problem it belongs to; ``ranking`` goes with both others where rows belong to queries.
        higher_is_better: Whether a larger value is a better one.
        unit: What the value counts: ``fraction``, ``nats``, ``label unit`` or ``none``.
        lower: The smallest possible value, or None.
        upper: The largest possible value, or None.
    """

    name: str
    task: MetricTask
    higher_is_better: bool
    unit: str
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricScores:
    """One metric of one arm over its fits, on one set of benchmark rows.

    Attributes:
        values: Shape (fits,): the metric of each fit.
        influence: Shape (units,): the mean over the fits of every unit's influence; a unit is a benchmark row or, where
            rows belong together, a group of them.
        mean_square: Mean square of the influence over units and fits: the scale that rounding errors have.
        interaction: The variance of the mean value over seeds that is there because seeds act differently on different
            units.
    """

    values: NDArray[np.float64]
    influence: NDArray[np.float64]
    mean_square: float
    interaction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UndefinedMetric:
    """A metric that has no value here.

    Attributes:
        name: The metric's name.
        arm: The arm for which it has none.
        reason: One sentence.
    """

    name: str
    arm: Arm
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSubset:
    """A set of benchmark rows on which models are scored.

    Attributes:
        name: The benchmark's name, ``COLUMN=VALUE`` for a slice, else the same as the kind.
        kind: ``benchmark``: all rows of one benchmark. ``slice``: those with one value of a column.
            ``without overlap``: those that no offered row equals or nearly equals. ``feedback`` and ``decision``: the
            halves of a benchmark that is split by a key.
        rows: Number of rows.
        units: Number of groups of rows that belong together; of rows where none do.
        is_weighted: Whether some rows count more than others.
    """

    name: str
    kind: SubsetKind
    rows: int
    units: int
    is_weighted: bool = False

    @property
    def has_equal_rows(self) -> bool:
        """Whether every row stands alone and counts the same, as exact methods for counts of rows need it."""
        return self.units == self.rows and not self.is_weighted


@dataclass(frozen=True, slots=True, kw_only=True)
class RightAnswers:
    """Which rows an arm's classifiers have right; rows that weigh nothing are left out.

    Attributes:
        share: Shape (rows,): the share of the arm's fits that have the row right.
        first: Shape (rows,): whether the fit of the first seed has.
    """

    share: NDArray[np.float64]
    first: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetScores:
    """Scores of every arm on one set of benchmark rows.

    Attributes:
        subset: Which rows.
        scores: By arm and metric name; a pair that is undefined is not there.
        undefined: Every pair that has no value, with the reason.
        class_rows: Pairs of class and number of its rows that weigh anything, for the classes that occur; empty for
            regression.
        right: By arm; empty for regression.
    """

    subset: BenchmarkSubset
    scores: Mapping[Arm, Mapping[str, MetricScores]]
    undefined: tuple[UndefinedMetric, ...]
    class_rows: tuple[tuple[str, int], ...] = ()
    right: Mapping[Arm, RightAnswers] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkScores:
    """Scores of every arm on the benchmark and on parts of it.

    Attributes:
        metrics: The metrics that were asked for.
        subsets: The rows that decide first, then every other set of rows.
        is_random: Whether the trainer's result depends on its seed.
        positive_class: The positive one of two classes; empty where there are not two.
        row_scores_sha256: SHA-256 of ``row_scores.parquet``, from which all of them can be computed again; empty where
            it was not written.
    """

    metrics: tuple[Metric, ...]
    subsets: tuple[SubsetScores, ...]
    is_random: bool
    positive_class: str = ""
    row_scores_sha256: str = ""

    @property
    def deciding(self) -> SubsetScores:
        """The scores on the rows that decide."""
        return self.subsets[0]

    @property
    def is_sealed(self) -> bool:
        """Whether the rows that decide give no other answer than the decision."""
        return self.deciding.subset.kind == "decision"

    @property
    def shown(self) -> SubsetScores:
        """The scores that are reported: those that decide, or those of the feedback half where these are sealed."""
        return self.subsets[1] if self.is_sealed else self.subsets[0]
