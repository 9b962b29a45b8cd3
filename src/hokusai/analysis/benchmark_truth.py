"""The benchmark's side of a score: labels, and which rows weigh more or belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hokusai.records import Task

__all__ = ["AVERAGES", "Average", "BenchmarkTruth", "codes_as_indices"]

Average = Literal["macro", "micro", "weighted"]
AVERAGES: tuple[Average, ...] = ("macro", "micro", "weighted")
"""How one number is made of a metric of several classes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BenchmarkTruth:
    """The benchmark's labels, and how its rows are counted.

    Attributes:
        actual: Shape (rows,): class codes (positions in ``classes``) or, for regression, finite numbers.
        classes: The names of the classes; empty for regression.
        positive: The code of the positive class of two. None averages over classes.
        average: Without a positive class, how the metrics of single classes are averaged: ``macro`` counts every class
            that occurs in ``actual`` alike, ``weighted`` by its rows, ``micro`` counts all decisions together.
        weights: Shape (rows,): finite weights of zero or more; None where every row weighs the same.
        queries: Shape (rows,): integer codes of the query that a row belongs to, in any order; None without queries.
        groups: Shape (rows,): integer codes of rows that belong together for another reason than a query, such as one
            patient. Only the jackknife of an own metric asks for them; None where the queries are the groups.

    Raises:
        ValueError: There are no rows, a code is not a position in ``classes``, a positive class is given and there are
            not two classes, or the average, the weights, the queries or the groups are not what is said above.
    """

    actual: NDArray[np.generic]
    classes: tuple[str, ...] = ()
    positive: int | None = None
    average: Average = "macro"
    weights: NDArray[np.float64] | None = None
    queries: NDArray[np.integer] | None = None
    groups: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        """Refuse what no metric could be computed on."""
        if self.actual.ndim != 1 or self.actual.size == 0:
            raise ValueError(f"actual has shape {self.actual.shape}, expected (rows,) with at least one row")
        if self.classes:
            codes_as_indices(self.actual, classes=len(self.classes), name="actual")
        if self.positive is not None and (len(self.classes) != 2 or self.positive not in {0, 1}):
            raise ValueError(f"positive is {self.positive} of {len(self.classes)} classes, expected 0 or 1 of 2")
        if self.average not in AVERAGES:
            raise ValueError(f"average is {self.average!r}, expected one of: {', '.join(AVERAGES)}")
        for name, values, kinds in (
            ("weights", self.weights, "f"),
            ("queries", self.queries, "iu"),
            ("groups", self.groups, "iu"),
        ):
            if values is None:
                continue
            if values.shape != self.actual.shape:
                raise ValueError(f"{name} has shape {values.shape}, expected {self.actual.shape}")
            if values.dtype.kind not in kinds:
                raise ValueError(f"{name} has the type {values.dtype}, which it cannot be counted by")
        if self.weights is not None and not (np.isfinite(self.weights).all() and self.weights.min() >= 0):
            raise ValueError("weights are not all finite and at least 0")

    @property
    def task(self) -> Task:
        """The kind of problem: classification when there are classes."""
        return "classification" if self.classes else "regression"

    def take(self, rows: NDArray[np.intp]) -> BenchmarkTruth:
        """Return the truth of some of the rows.

        Args:
            rows: Shape (rows taken,): positions, in any order; at least one.

        Raises:
            ValueError: No rows are taken.
        """
        return BenchmarkTruth(
            actual=self.actual[rows],
            classes=self.classes,
            positive=self.positive,
            average=self.average,
            weights=None if self.weights is None else self.weights[rows],
            queries=None if self.queries is None else self.queries[rows],
            groups=None if self.groups is None else self.groups[rows],
        )


def codes_as_indices(values: NDArray[np.generic], *, classes: int, name: str) -> NDArray[np.intp]:
    """Return class codes as indices.

    Args:
        values: Shape (rows,): integers.
        classes: Number of classes.
        name: What an error calls them.

    Raises:
        ValueError: They are not integers, or one is not from 0 to below ``classes``.
    """
    if values.dtype.kind not in "iu":
        raise ValueError(f"{name} has the type {values.dtype}, expected integer class codes")
    codes = values.astype(np.intp, copy=False)
    if codes.min() < 0 or codes.max() >= classes:
        raise ValueError(f"{name} has codes from {codes.min()} to {codes.max()}, expected 0 to {classes - 1}")
    return codes
