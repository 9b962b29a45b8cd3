"""Which rows are in force when several tables are merged: by key, the first or the last one wins.

Pure functions over row digests: what a row is told apart by (its key) and what it says (its content). The tables
themselves are not touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from hokusai.datasets.row_digests import sorted_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KeyedMerge", "Merge", "Winner", "merge_by_key"]

Merge = Literal["append", "update", "replace"]
Winner = Literal["first", "last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedMerge:
    """What became of each row; each array has shape (rows,).

    Attributes:
        in_force: The row is the one that counts for its key.
        conflict: An earlier row has the same key and other content. One of the two is not in force.
    """

    in_force: NDArray[np.bool_]
    conflict: NDArray[np.bool_]


def merge_by_key(keys: NDArray[np.void], contents: NDArray[np.void], *, winner: Winner) -> KeyedMerge:
    """Choose one row for every key.

    Args:
        keys: Shape (rows,), dtype ``V32``: digests of the rows' key columns, all tables in their order.
        contents: Shape (rows,), dtype ``V32``: digests of the rows' content.
        winner: ``"first"`` keeps the row that came first, ``"last"`` lets later rows replace it.

    Returns:
        For every key exactly one row is in force. A conflict is found by comparing a row with the one before it that
        has its key: three rows A, B, A of one key are two conflicts.
    """
    order = sorted_order(keys)
    words = np.ascontiguousarray(keys).view(">u8").reshape(-1, 4)[order]
    texts = np.ascontiguousarray(contents).view(">u8").reshape(-1, 4)[order]
    starts = np.ones(len(order), dtype=np.bool_)
    starts[1:] = (words[1:] != words[:-1]).any(axis=1)
    differs = np.zeros(len(order), dtype=np.bool_)
    differs[1:] = ~starts[1:] & (texts[1:] != texts[:-1]).any(axis=1)
    ends = np.roll(starts, -1) if len(starts) else starts
    in_force, conflict = np.empty(len(order), dtype=np.bool_), np.empty(len(order), dtype=np.bool_)
    in_force[order] = starts if winner == "first" else ends
    conflict[order] = differs
    return KeyedMerge(in_force=in_force, conflict=conflict)
