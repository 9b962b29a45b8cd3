"""The word sequences (shingles) of reference texts, and which texts hold each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hokusai.datasets.word_hashes import mixed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hokusai.datasets.word_hashes import Words
    from hokusai.datasets.word_slices import Texts

__all__ = ["FEWEST_SHARED", "ReferenceShingles", "shingles_of"]

FEWEST_SHARED = 3  # shingles: two may be a turn of phrase
_FACTOR = 0xD1342543DE82EF95


class ReferenceShingles:
    """The shingles of the reference's different texts, and which texts hold each.

    Attributes:
        texts: How many different texts there are.
        sizes: How many different shingles each text has, boilerplate aside, at least one; shape (reference rows,).
    """

    def __init__(self, reference: Texts, *, length: int, longest: int | None) -> None:
        """Collect the shingles of so many words.

        Args:
            reference: The texts.
            length: The words of a shingle.
            longest: The words of the longest text to index; None for any.
        """
        is_first = reference.is_first(longest=longest)
        rows, values = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
        for numbers, words in reference.slices(longest=longest):
            found, shingles = shingles_of(words, length=length)
            found = numbers[found]
            kept = is_first[found]
            rows.append(found[kept])
            values.append(shingles[kept])
        row, value = np.concatenate(rows), np.concatenate(values)
        self.texts = int(is_first.sum())
        order = np.lexsort((row, value))
        row, value = row[order], value[order]
        different = np.ones(len(row), dtype=np.bool_)
        different[1:] = (row[1:] != row[:-1]) | (value[1:] != value[:-1])
        row, value = row[different], value[different]
        self._values, starts = np.unique(value, return_index=True)
        self._starts = np.append(starts, len(row)).astype(np.int64)
        self._holders = row
        self._holding = np.diff(self._starts)  # texts with the shingle, those of the base included
        self._boilerplate = np.zeros(len(self._values), dtype=np.bool_)
        self.sizes = np.ones(len(reference.counts), dtype=np.int64)
        self._filter_shift, self._filter = _bloom_filter(self._values)

    @property
    def searchable(self) -> int:
        """How many texts have enough shingles to be found by."""
        return int((self.sizes >= FEWEST_SHARED).sum())

    def look_up(
        self, rows: NDArray[np.int64], shingles: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keep the shingles that stand in the reference: their rows, and their places in this index."""
        if not len(self._values):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        bits = shingles >> self._filter_shift
        byte = self._filter[(bits >> np.uint64(3)).view(np.int64)]
        maybe = np.flatnonzero((byte >> (bits & np.uint64(7)).astype(np.uint8)) & np.uint8(1))
        wanted = shingles[maybe]
        places = np.minimum(np.searchsorted(self._values, wanted), len(self._values) - 1)
        known = self._values[places] == wanted
        return rows[maybe[known]], places[known]

    def add_texts(self, places: NDArray[np.int64]) -> None:
        """Count one more text for each of these shingles."""
        self._holding = self._holding + np.bincount(places, minlength=len(self._values))

    def leave_out_boilerplate(self, limit: int) -> None:
        """Take the shingles of more than ``limit`` different texts for boilerplate."""
        self._boilerplate = self._holding > limit
        own = self._holders[np.repeat(~self._boilerplate, np.diff(self._starts))]
        self.sizes = np.maximum(np.bincount(own, minlength=len(self.sizes)), 1)

    def is_boilerplate(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these shingles are boilerplate."""
        return self._boilerplate[places]

    def texts_with(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Every pair of a position in ``places`` and a reference row that holds its shingle."""
        starts = self._starts[places]
        counts = self._starts[places + 1] - starts
        positions = np.repeat(np.arange(len(places)), counts)
        ends = np.cumsum(counts)
        return positions, self._holders[np.arange(len(positions)) + np.repeat(starts - (ends - counts), counts)]


def _bloom_filter(values: NDArray[np.uint64]) -> tuple[np.uint64, NDArray[np.uint8]]:
    """A bit for each possible beginning of a hash: one that is not set spares a search."""
    width = max(10, min(28, (16 * max(len(values), 1)).bit_length()))
    shift = np.uint64(64 - width)
    bits = np.zeros(1 << width, dtype=np.bool_)
    bits[values >> shift] = True
    return shift, np.packbits(bits, bitorder="little")


def shingles_of(words: Words, *, length: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The text that each shingle of so many words stands in, and its hash; both of shape (shingles,)."""
    counts = np.maximum(words.counts - (length - 1), 0)
    rows = np.repeat(np.arange(len(counts)), counts)
    total = len(words.hashes) - (length - 1)
    if total <= 0:
        return rows, np.zeros(0, dtype=np.uint64)
    values = np.zeros(total, dtype=np.uint64)
    for offset in range(length):
        values += words.hashes[offset : offset + total] * np.uint64(pow(_FACTOR, offset, 1 << 64))
    is_within = np.ones(len(words.hashes), dtype=np.bool_)
    ends = np.cumsum(words.counts)
    for back in range(1, length):
        is_within[(ends - back)[words.counts >= back]] = False
    return rows, mixed(values[is_within[:total]])
