"""What every fit says about every benchmark row, of two evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hokusai.errors import DataError
from hokusai.steps.row_scores import read_row_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hokusai.records import Predictions
    from hokusai.reproduction.comparison import Grade
    from hokusai.steps.row_scores import RowScores

__all__ = ["ArmDifference", "compare_row_scores"]


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
    return f"row {rows[0] + 1} has another label" if rows.size else ""


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
    distances = np.abs(a.astype(np.float64) - b.astype(np.float64))
    distances[np.isnan(distances)] = 0.0 if np.array_equal(np.isnan(a), np.isnan(b)) else np.inf
    if not distances.any():
        return None
    place = np.unravel_index(int(np.argmax(distances)), distances.shape)
    recorded, again = float(a[place]), float(b[place])
    what = "prediction" if one.probabilities is None else "probability"
    note = f"seed {seed}: the largest difference of a {what} is {distances[place]:.3g}, in row {int(place[0]) + 1}"
    found = ArmDifference(
        subject=arm, recorded=repr(recorded), found=repr(again), grade=grade(recorded, again), note=note
    )
    return found, float(distances[place])
