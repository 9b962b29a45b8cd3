"""The texts of a column as words, a few rows at a time, so that a long column takes little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hokusai.datasets.word_hashes import Words, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["LONGEST_SHORT_TEXT", "SHORTEST_TEXT", "Texts", "in_slices", "short_texts"]

SHORTEST_TEXT = 8  # words: shorter ones hold too few sequences of words to be told apart by
LONGEST_SHORT_TEXT = 24  # words
_CHARACTERS_AT_ONCE = 1 << 20


class Texts:
    """A column that is gone through several times.

    Attributes:
        hashes: One per text, the same for texts of the same words; shape (texts,).
        counts: The words of each text, shape (texts,).
    """

    def __init__(self, array: pa.Array) -> None:
        """Go through the texts once, and keep the words of the short ones."""
        self._array = array
        hashes, counts = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
        rows, short = [np.zeros(0, dtype=np.int64)], [Words(hashes[0], counts[0])]
        for start, words in in_slices(array):
            hashes.append(words.text_hashes)
            counts.append(words.counts)
            numbers, some = short_texts(words)
            rows.append(start + numbers)
            short.append(some)
        self.hashes, self.counts = np.concatenate(hashes), np.concatenate(counts)
        self._short = (
            np.concatenate(rows),
            Words(np.concatenate([some.hashes for some in short]), np.concatenate([some.counts for some in short])),
        )

    def is_first(self, *, longest: int | None) -> NDArray[np.bool_]:
        """Which texts are long enough, not too long, and stand in no row before; shape (texts,)."""
        is_first = np.zeros(len(self.hashes), dtype=np.bool_)
        is_first[np.unique(self.hashes, return_index=True)[1]] = True
        return is_first & self.fits(longest=longest)

    def fits(self, *, longest: int | None) -> NDArray[np.bool_]:
        """Which texts are long enough and not too long, shape (texts,)."""
        fits = self.counts >= SHORTEST_TEXT
        return fits if longest is None else fits & (self.counts <= longest)

    def slices(self, *, longest: int | None) -> Iterator[tuple[NDArray[np.int64], Words]]:
        """The words of a few texts at a time, with their rows: of all texts, or of the short ones alone."""
        if longest is not None:
            yield self._short
            return
        for start, words in in_slices(self._array):
            yield np.arange(start, start + len(words.counts)), words

    def without(self, others: Texts) -> Texts:
        """The texts that say other words than any of the others."""
        same = np.isin(self.hashes, others.hashes)
        return Texts(self._array.filter(pa.array(~same))) if same.any() else self


def short_texts(words: Words) -> tuple[NDArray[np.int64], Words]:
    """The rows of the texts that are short but not too short, and their words."""
    fits = (words.counts >= SHORTEST_TEXT) & (words.counts <= LONGEST_SHORT_TEXT)
    return np.flatnonzero(fits), Words(words.hashes[np.repeat(fits, words.counts)], words.counts[fits])


def in_slices(texts: pa.Array) -> Iterator[tuple[int, Words]]:
    """The words of a few rows at a time, with the position of the first of them."""
    lengths = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths, dtype=np.int64)
    start = 0
    while start < len(texts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _CHARACTERS_AT_ONCE, side="right")))
        yield start, words_of(texts.slice(start, stop - start))
        start = stop
