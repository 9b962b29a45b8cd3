"""What nearness is worth as evidence, and how often honest rows may look copied before it is worth nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["ALLOWED_FALSE_ALARMS", "Near", "Nearness", "best_of_each_row", "best_penalties", "joined", "percent"]

ALLOWED_FALSE_ALARMS = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearness:
    """What it means, in this benchmark, that a row is near one of its rows.

    Attributes:
        kind: ``numbers`` for all columns but longer texts, ``text`` for one column of longer texts.
        columns: The columns that are compared.
        is_evidence: Whether a near row may be taken for a copy; where it may not, nothing is marked.
        reason: One sentence that a person understands.
        expected_false_alarms: The share of honest rows that would be marked, exact copies aside, counted or estimated
            on the base; None where no row of the base can tell.
        searchable: The share of benchmark rows that are rare enough for a copy of them to be told from honest rows.
        radius: Numbers: the noise, in standard deviations of each column, up to which a copy is found; None where noise
            hides a copy, and for text.
        replaced: Numbers: how many columns of a copy may hold anything; None for text.
        concealing: Numbers: columns of which one alone, replaced, hides a copy among honest rows.
        threshold: Text: the share of one text's five-word sequences that must stand in the other; None for numbers.
        short_threshold: Text: the share of the three-word sequences of both that two short texts must share; None where
            these are compared by five-word sequences alone, and for numbers.
    """

    kind: Literal["numbers", "text"]
    columns: tuple[str, ...]
    is_evidence: bool
    reason: str
    expected_false_alarms: float | None
    searchable: float
    radius: float | None = None
    replaced: int | None = None
    concealing: tuple[str, ...] = ()
    threshold: float | None = None
    short_threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Near:
    """Pairs of a candidate row and a reference row; each array has shape (pairs,).

    Attributes:
        rows: Positions of the candidates.
        references: Positions in the reference.
        penalties: How far apart they are, in a unit of which only the order matters.
    """

    rows: NDArray[np.int64]
    references: NDArray[np.int64]
    penalties: NDArray[np.float64]


def best_of_each_row(pairs: Near, *, rows: int) -> NDArray[np.int64]:
    """The nearest reference row of each candidate, the first of equally near ones, -1 without any; shape (rows,)."""
    found = np.full(rows, -1, dtype=np.int64)
    order = np.lexsort((pairs.references, pairs.penalties, pairs.rows))[::-1]
    found[pairs.rows[order]] = pairs.references[order]  # of repeated positions NumPy keeps the last, here the nearest
    return found


def best_penalties(pairs: Near, *, rows: int) -> NDArray[np.float64]:
    """The penalty of the nearest reference row of each candidate, infinity without any; shape (rows,)."""
    best = np.full(rows, np.inf)
    np.minimum.at(best, pairs.rows, pairs.penalties)
    return best


def joined(parts: Sequence[Near]) -> Near:
    """All pairs of several searches."""
    return Near(
        np.concatenate([np.zeros(0, dtype=np.int64), *(part.rows for part in parts)]),
        np.concatenate([np.zeros(0, dtype=np.int64), *(part.references for part in parts)]),
        np.concatenate([np.zeros(0), *(part.penalties for part in parts)]),
    )


def percent(share: float) -> str:
    """A share for a sentence."""
    return f"{share * 100:.2g} %" if share < 0.1 else f"{share * 100:.0f} %"
