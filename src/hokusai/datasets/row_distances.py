"""Rows compared for true: squared differences, the largest few of them apart, and how many numbers are identical."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hokusai.datasets.grid_index import Candidates
    from hokusai.datasets.mixed_columns import Values

__all__ = ["MISMATCH", "Distances", "distances"]

MISMATCH = 1e30  # the squared difference of what cannot be subtracted


@dataclass(frozen=True, slots=True)
class Distances:
    """Pairs of rows and how far apart they are; each array has shape (pairs,).

    Attributes:
        rows: Positions of the candidates.
        references: Positions in the reference.
        sums: Squared distances, in squared standard deviations, without the 0, 1, … largest differences.
        farthest: The column of the largest difference, one past the last where nothing differs.
        is_identical: Whether at least half of the known numbers are the same to the last digit.
    """

    rows: NDArray[np.int64]
    references: NDArray[np.int64]
    sums: Sequence[NDArray[np.float32]]
    farthest: NDArray[np.int64]
    is_identical: NDArray[np.bool_]


def distances(values: Values, reference: Values, candidates: Candidates, *, replaced: int, limit: float) -> Distances:
    """Compare pairs of rows.

    Args:
        values: What the candidates are rows of.
        reference: What the reference rows are rows of.
        candidates: The pairs.
        replaced: How many of the largest differences to set apart.
        limit: Pairs are dropped when the other differences sum up to more.
    """
    rows, references = candidates.rows, candidates.references
    rest = np.zeros(len(rows), dtype=np.float32)
    largest = [rest.copy() for _ in range(replaced)]
    for position, at in enumerate(candidates.order):
        difference = _squared_differences(values.columns[at][rows], reference.columns[at][references])
        for place in range(replaced):
            smaller = np.minimum(largest[place], difference)
            np.maximum(largest[place], difference, out=largest[place])
            difference = smaller
        rest += difference
        if position < replaced:
            continue
        alive = np.flatnonzero(rest <= limit)
        if len(alive) < 0.8 * len(rows) or position == len(candidates.order) - 1:
            rows, references, rest = rows[alive], references[alive], rest[alive]
            largest = [kept[alive] for kept in largest]
    sums = [rest]
    for place in reversed(range(replaced)):
        sums.append(sums[-1] + largest[place])
    return Distances(rows, references, sums[::-1], *_where_apart(values, reference, rows, references))


def _where_apart(
    values: Values, reference: Values, rows: NDArray[np.int64], references: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The column of the largest difference, and whether most of the known numbers are identical."""
    farthest = np.full(len(rows), len(values.columns))
    largest = np.zeros(len(rows), dtype=np.float32)
    balance = np.zeros(len(rows), dtype=np.int64)
    for at, (column, others) in enumerate(zip(values.columns, reference.columns, strict=True)):
        own = column[rows]
        difference = _squared_differences(own, others[references])
        farthest[difference > largest] = at
        np.maximum(largest, difference, out=largest)
        if column.dtype == np.float32:
            balance += np.where(difference == 0, ~np.isnan(own), np.where(difference < MISMATCH, -1, 0))
    return farthest, balance >= 0


def _squared_differences(values: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float32]:
    """Of numbers the squared differences; two missing values agree, and categories agree or do not."""
    if values.dtype != np.float32:
        return np.where(values != others, np.float32(MISMATCH), np.float32(0))
    difference: NDArray[np.float32] = values - others
    difference *= difference
    unknown = np.flatnonzero(np.isnan(difference))
    if len(unknown):
        both = np.isnan(values[unknown]) & np.isnan(others[unknown])
        difference[unknown] = np.where(both, 0, MISMATCH)
    return difference
