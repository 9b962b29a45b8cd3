"""Draw a stratified sample of a table, the same one whatever the order of its rows or the number of threads.

Which rows are drawn depends on their content and the seed alone: in every stratum those whose digests, mixed with the
seed, are smallest (a bottom-k sample: Cohen and Kaplan, "Summarizing data using bottom-k sketches", PODC 2007).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["allocation", "strata_of", "stratified_sample"]

_MOST_CLASSES = 100
_BINS = 10
_GOLDEN, _MIX_1, _MIX_2 = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def strata_of(label: pa.ChunkedArray) -> NDArray[np.int64]:
    """The stratum of every row: its class, or for a numeric label with many values its tenth of the rows.

    Args:
        label: Shape (rows,), without missing values.

    Returns:
        Shape (rows,): numbers from 0 on. Rows of equal labels are in one stratum.
    """
    values = label.combine_chunks().dictionary_encode()
    is_number = pa.types.is_integer(label.type) or pa.types.is_floating(label.type)
    if not is_number or len(values.dictionary) <= _MOST_CLASSES:
        # Numbered by the values' own order, so that the order of rows plays no part.
        ranks = np.argsort(pc.array_sort_indices(values.dictionary).to_numpy(zero_copy_only=False))
        codes = values.indices.to_numpy(zero_copy_only=False)
        strata: NDArray[np.int64] = ranks[codes].astype(np.int64)
        return strata
    numbers = label.to_numpy()
    edges = np.quantile(numbers, np.arange(1, _BINS) / _BINS)
    bins: NDArray[np.int64] = np.searchsorted(edges, numbers, side="right").astype(np.int64)
    return bins


def allocation(sizes: NDArray[np.int64], *, rows: int) -> NDArray[np.int64]:
    """How many rows to draw from each stratum: in proportion, by the method of largest remainders.

    Every stratum gives at least one row while there are as many rows to draw as strata.

    Args:
        sizes: Shape (strata,): rows of each stratum.
        rows: Rows to draw in all; no more than there are.

    Returns:
        Shape (strata,), summing to ``rows``, nowhere above ``sizes``.
    """
    floor = ((sizes > 0) & (rows >= np.count_nonzero(sizes))).astype(np.int64)
    rest, room = rows - int(floor.sum()), sizes - floor
    # Whole numbers throughout: the shares are exact at any size.
    whole, remainder = np.divmod(room * rest, max(int(room.sum()), 1))
    left = rest - int(whole.sum())
    by_remainder = np.argsort(-remainder, kind="stable")[:left]
    whole[by_remainder] += 1
    return floor + whole


def stratified_sample(
    strata: NDArray[np.int64], digests: NDArray[np.void], *, rows: int, seed: int = 0
) -> NDArray[np.bool_]:
    """Draw rows so that every stratum keeps its share.

    Args:
        strata: Shape (table rows,): the stratum of every row, from ``strata_of``.
        digests: Shape (table rows,), dtype ``V32``: the rows' digests.
        rows: How many to draw; all of them when there are no more.
        seed: Another seed draws other rows.

    Returns:
        Shape (table rows,): True for the rows that were drawn. Of rows with equal content the earlier ones are drawn.
    """
    if rows >= len(strata):
        return np.ones(len(strata), dtype=np.bool_)
    words = np.ascontiguousarray(digests).view(">u8").reshape(-1, 4)
    order = np.lexsort((*words.T[::-1].astype(np.uint64), _mixed(words[:, 0].astype(np.uint64), seed), strata))
    sizes = np.bincount(strata)
    ends = np.cumsum(sizes)
    rank = np.arange(len(order)) - np.repeat(ends - sizes, sizes)
    drawn = np.empty(len(order), dtype=np.bool_)
    drawn[order] = rank < np.repeat(allocation(sizes, rows=rows), sizes)
    return drawn


def _mixed(words: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """A permutation of 64-bit words for each seed (SplitMix64: Steele, Lea and Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        mixed = words + np.uint64(seed % 2**64) * _GOLDEN + _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
        return np.asarray(mixed ^ (mixed >> np.uint64(31)))
