"""What every fit says about every benchmark row, of two evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hokusai.errors import DataError
from hokusai.steps.row_scores import read_row_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from hokusai.records import Predictions
    from hokusai.reproduction.comparison import Grade
    from hokusai.steps.row_scores import RowScores

__all__ = ["SMALLEST_SCALE", "ArmDifference", "compare_row_scores"]

SMALLEST_SCALE = 1e-3
"""Numbers nearer to zero than this are compared as if they were this large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmDifference:
    """How the fits of an arm differ, row by row.

    Attributes:
        subject: The arm, or what else differs.
        recorded: The first value of the largest difference.
        found: The other one.
        grade: How much that is.
        note: In how many rows, and where.
    """

    subject: str
    recorded: str
    found: str
    grade: Grade
    note: str


def compare_row_scores(
    first: bytes, second: bytes, *, grade: Callable[[float, float], Grade]
) -> Iterator[ArmDifference]:
    """Yield the largest difference of each arm; where there is none and bytes differ, that.

    Args:
        first: A file ``row_scores.parquet``.
        second: Another one.
        grade: Says how much two numbers differ.
    """
    try:
        one, other = read_row_scores(first, source="recorded"), read_row_scores(second, source="reproduced")
    except DataError as error:
        yield ArmDifference(subject="row_scores.parquet", recorded="", found="", grade="different", note=str(error))
        return
    if other_rows := _other_rows(one, other):
        yield ArmDifference(subject="benchmark rows", recorded="", found="", grade="different", note=other_rows)
        return
    is_equal = True
    for arm in dict.fromkeys([*one.predictions, *other.predictions]):
        fits, others = one.predictions.get(arm, {}), other.predictions.get(arm, {})
        if fits.keys() != others.keys():
            seeds = (str(sorted(fits)), str(sorted(others)))
            yield ArmDifference(subject=arm, recorded=seeds[0], found=seeds[1], grade="different", note="other seeds")
            is_equal = False
            continue
        found = [_fit_difference(arm, seed, fits[seed], others[seed], grade=grade) for seed in fits]
        worst = max((each for each in found if each is not None), key=_weight, default=None)
        if worst is not None:
            yield worst[0]
            is_equal = False
    if is_equal:
        yield ArmDifference(
            subject="row_scores.parquet",
            recorded="",
            found="",
            grade="equal within the tolerance",
            note="other bytes that hold the same values",
        )


def _weight(found: tuple[ArmDifference, float]) -> tuple[bool, float]:
    return found[0].grade == "different", found[1]


def _other_rows(one: RowScores, other: RowScores) -> str:
    """Say why two files are not about the same rows; empty when they are."""
    if len(one.labels) != len(other.labels):
        return f"{len(one.labels)} rows against {len(other.labels)}"
    if one.rows.truth.classes != other.rows.truth.classes:
        return f"classes {one.rows.truth.classes} against {other.rows.truth.classes}"
    rows = np.flatnonzero(one.rows.truth.actual != other.rows.truth.actual)
    if rows.size:
        return f"row {rows[0] + 1} has another label"
    first, second = _settings(one), _settings(other)
    return next((f"other {name}" for name in first if not np.array_equal(first[name], second[name])), "")


def _settings(scores: RowScores) -> dict[str, ArrayLike]:
    """Return what the rows are scored with and by, beside their labels, under the names that messages use."""
    truth, sets = scores.rows.truth, scores.rows.sets
    return {
        "positive class": -1 if truth.positive is None else truth.positive,
        "average": truth.average,
        "weights": _array(truth.weights),
        "queries": _array(truth.queries),
        "groups": _array(truth.groups),
        "sets of rows": [(each.name, each.kind) for each in sets],
        "rows in a set": np.concatenate([[len(each.rows), *each.rows] for each in sets]) if sets else [],
    }


def _array(values: NDArray[np.generic] | None) -> NDArray[np.generic]:
    return np.zeros(0) if values is None else values


def _fit_difference(
    arm: str, seed: int, one: Predictions, other: Predictions, *, grade: Callable[[float, float], Grade]
) -> tuple[ArmDifference, float] | None:
    """Return the largest difference of two fits, and how large it is; None for none."""
    if (one.probabilities is None) != (other.probabilities is None):
        note = "only one of the two gives probabilities"
        return ArmDifference(subject=arm, recorded="", found="", grade="different", note=note), np.inf
    is_class = np.issubdtype(one.predicted.dtype, np.integer)
    rows = np.flatnonzero(one.predicted != other.predicted)
    if is_class and rows.size:
        note = f"seed {seed}: {rows.size} of {one.predicted.size} rows are predicted otherwise, first row {rows[0] + 1}"
        values = str(one.predicted[rows[0]]), str(other.predicted[rows[0]])
        found = ArmDifference(
            subject=arm, recorded=f"class {values[0]}", found=f"class {values[1]}", grade="different", note=note
        )
        return found, float(rows.size)
    a, b = (one.predicted, other.predicted) if one.probabilities is None else (one.probabilities, other.probabilities)
    if a is None or b is None or (is_class and one.probabilities is None):
        return None
    distances = _relative_distances(a.astype(np.float64), b.astype(np.float64))
    if not distances.any():
        return None
    place = np.unravel_index(int(np.argmax(distances)), distances.shape)
    recorded, again = float(a[place]), float(b[place])
    what = "prediction" if one.probabilities is None else "probability"
    distance = abs(recorded - again)
    note = f"seed {seed}: the largest difference of a {what}, for its size, is {distance:.3g}, in row {place[0] + 1}"
    found = ArmDifference(
        subject=arm, recorded=repr(recorded), found=repr(again), grade=grade(recorded, again), note=note
    )
    return found, float(distances[place])


def _relative_distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far numbers are apart for their size, as the tolerance counts it; infinity where one is none."""
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), SMALLEST_SCALE)
    distances[np.isnan(distances)] = np.inf
    distances[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return distances
