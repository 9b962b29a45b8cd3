"""Texts of the benchmark inside contributed texts, edited or not, by the sequences of five words that they share.

A reference text is near when enough of its five-word sequences (shingles) stand in the candidate, or enough of the
candidate's in it. Shingles that many different texts of the reference and the base share are boilerplate: they count
for nothing, on either side. The work for a candidate grows with its length alone, whatever its words are: a shingle
that is not boilerplate stands in a few reference texts at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from pyarrow import types

from hokusai.datasets.mixed_columns import is_text
from hokusai.datasets.nearness import ALLOWED_FALSE_ALARMS, Near, Nearness, best_penalties, joined, percent
from hokusai.datasets.word_hashes import mixed, words_of
from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    from hokusai.datasets.word_hashes import Words

__all__ = ["SHORTEST_TEXT", "NearText"]

SHORTEST_TEXT = 8  # words
_SHINGLE = 5  # words
_FEWEST_SHARED = 3  # shingles: two may be a turn of phrase
_THRESHOLDS = (0.3, 0.45, 0.6, 0.8)
_BOILERPLATE_SHARE = 0.0005  # of all different texts
_FEWEST_FOR_BOILERPLATE, _MOST_BEFORE_BOILERPLATE = 3, 32  # different texts
_CHARACTERS_AT_ONCE = 1 << 20
_WEIGHTS = tuple(np.uint64(pow(0xD1342543DE82EF95, power, 1 << 64)) for power in range(_SHINGLE))


class NearText:
    """One column of longer texts, ready to be searched for texts near the reference's.

    Attributes:
        verdict: What nearness is worth here.
    """

    def __init__(self, reference: pa.Array, *, base: pa.Array, column: str) -> None:
        """Index the reference's texts and count what they share with the base.

        Args:
            reference: The benchmark's texts.
            base: Texts of the base data that are no exact copies of benchmark rows.
            column: What the verdict calls them.
        """
        self._rows = len(reference)
        self._shingles = _ReferenceShingles(reference)
        is_first, base_texts = _first_of_equal_texts(base)
        self._count_base(base, is_first)
        share = _BOILERPLATE_SHARE * (self._shingles.texts + int(is_first.sum()))
        most = int(min(max(share, _FEWEST_FOR_BOILERPLATE), _MOST_BEFORE_BOILERPLATE))
        self._threshold = 1.0
        limits = sorted({most, _FEWEST_FOR_BOILERPLATE}, reverse=True)
        self.verdict = self._calibrated(base, column, texts=base_texts, limits=limits)

    def near(self, texts: pa.Array, *, source: str = "table") -> Near:
        """Every pair of a text and a reference text near it; none where nearness is no evidence."""
        if not is_text(texts.type):
            if not types.is_null(texts.type):
                problem = f"column {self.verdict.columns[0]!r} is of type {texts.type}, expected texts."
                raise DataError(source, problem)
            return joined(())
        if not self.verdict.is_evidence:
            return joined(())
        pairs = self._pairs(texts)
        keep = pairs.penalties <= -self._threshold
        return Near(pairs.rows[keep], pairs.references[keep], pairs.penalties[keep])

    def _count_base(self, base: pa.Array, is_first: NDArray[np.bool_]) -> None:
        """Count the different base texts that hold each shingle of the reference."""
        for start, words in _in_slices(base):
            rows, shingles = _shingles_of(words)
            counted = is_first[start + rows]
            rows, found = self._shingles.look_up(rows[counted], shingles[counted])
            keys = np.unique((rows << np.int64(32)) | found)
            self._shingles.add_texts(keys & np.int64(0xFFFFFFFF))

    def _calibrated(self, base: pa.Array, column: str, *, texts: int, limits: list[int]) -> Nearness:
        """Choose the lowest threshold that marks next to no base text, with more and more taken for boilerplate."""
        share = None
        for limit in limits if texts else ():
            self._shingles.leave_out_boilerplate(limit)
            best = best_penalties(self._pairs(base), rows=len(base))
            for threshold in _THRESHOLDS:
                share = float((best <= -threshold).sum() / texts)
                if share < ALLOWED_FALSE_ALARMS:
                    self._threshold = threshold
                    return self._verdict(column, share=share, texts=texts)
        return self._verdict(column, share=share, texts=texts)

    def _verdict(self, column: str, *, share: float | None, texts: int) -> Nearness:
        searchable = self._shingles.searchable
        short = f"texts under {SHORTEST_TEXT} words are compared as wholes only"
        if share is None:
            reason = f"the base holds no text of {SHORTEST_TEXT} words or more to calibrate on, so nothing is marked"
        elif not searchable:
            reason = "the benchmark's texts hold little but boilerplate, so nothing is marked"
        elif share >= ALLOWED_FALSE_ALARMS:
            reason = (
                f"too alike: {percent(share)} of {texts:,} base texts share {_THRESHOLDS[-1]:.0%} of their word "
                "sequences with a benchmark text, so nothing is marked"
            )
        else:
            reason = (
                f"at least {self._threshold:.0%} of the five-word sequences shared, boilerplate aside, which "
                f"{percent(share)} of {texts:,} base texts do; {short}"
            )
        is_evidence = share is not None and share < ALLOWED_FALSE_ALARMS and searchable > 0
        return Nearness(
            kind="text",
            columns=(column,),
            is_evidence=is_evidence,
            reason=reason,
            expected_false_alarms=share,
            threshold=self._threshold if is_evidence else None,
        )

    def _pairs(self, texts: pa.Array) -> Near:
        """Every pair of texts that shares enough shingles to be looked at; the penalty is minus the score."""
        parts = [(start, self._pairs_of(words)) for start, words in _in_slices(texts)]
        return joined([Near(part.rows + start, part.references, part.penalties) for start, part in parts])

    def _pairs_of(self, words: Words) -> Near:
        index = self._shingles
        rows, found = index.look_up(*_shingles_of(words))
        boilerplate = index.is_boilerplate(found)
        in_candidate = np.maximum(words.counts - (_SHINGLE - 1), 1) - np.bincount(
            rows[boilerplate], minlength=len(words.counts)
        )
        # One entry per different shingle of a text, with how often it stands there.
        keys, times = np.unique(
            (rows[~boilerplate] << np.int64(32)) | found[~boilerplate].astype(np.int64), return_counts=True
        )
        rows, found = keys >> np.int64(32), keys & np.int64(0xFFFFFFFF)
        positions, references = index.texts_with(found)
        pairs, group = np.unique(rows[positions] * np.int64(self._rows) + references, return_inverse=True)
        shared = np.bincount(group, minlength=len(pairs))
        occurrences = np.bincount(group, weights=times[positions], minlength=len(pairs))
        rows, references = np.divmod(pairs, max(self._rows, 1))
        score = np.maximum(shared / index.sizes[references], occurrences / np.maximum(in_candidate[rows], 1))
        # A candidate that is boilerplate but for a few words says little by those.
        keep = (shared >= _FEWEST_SHARED) & (words.counts[rows] >= SHORTEST_TEXT) & (score >= _THRESHOLDS[0])
        return Near(rows[keep], references[keep], -score[keep])


class _ReferenceShingles:
    """The shingles of the reference's different texts, and which texts hold each.

    Attributes:
        texts: How many different texts there are.
        sizes: How many different shingles each text has, boilerplate aside, at least one; shape (reference rows,).
    """

    def __init__(self, reference: pa.Array) -> None:
        is_first, _ = _first_of_equal_texts(reference)
        rows, values = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
        for start, words in _in_slices(reference):
            found, shingles = _shingles_of(words)
            kept = is_first[start + found]
            rows.append(found[kept] + start)
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
        self.sizes = np.ones(len(reference), dtype=np.int64)
        self._filter_shift, self._filter = _bloom_filter(self._values)

    @property
    def searchable(self) -> int:
        """How many texts have enough shingles to be found by."""
        return int((self.sizes >= _FEWEST_SHARED).sum())

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


def _shingles_of(words: Words) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The text that each shingle stands in, and its hash; both of shape (shingles,)."""
    counts = np.maximum(words.counts - (_SHINGLE - 1), 0)
    rows = np.repeat(np.arange(len(counts)), counts)
    total = len(words.hashes) - (_SHINGLE - 1)
    if total <= 0:
        return rows, np.zeros(0, dtype=np.uint64)
    values = np.zeros(total, dtype=np.uint64)
    for offset, weight in enumerate(_WEIGHTS):
        values += words.hashes[offset : offset + total] * weight
    is_within = np.ones(len(words.hashes), dtype=np.bool_)
    ends = np.cumsum(words.counts)
    for back in range(1, _SHINGLE):
        is_within[(ends - back)[words.counts >= back]] = False
    return rows, mixed(values[is_within[:total]])


def _first_of_equal_texts(texts: pa.Array) -> tuple[NDArray[np.bool_], int]:
    """Which texts are long enough and stand in no row before, shape (texts,); and how many are long enough."""
    words = [(words.text_hashes, words.counts) for _, words in _in_slices(texts)]
    is_first = np.zeros(len(texts), dtype=np.bool_)
    if not words:
        return is_first, 0
    is_first[np.unique(np.concatenate([hashes for hashes, _ in words]), return_index=True)[1]] = True
    is_long = np.concatenate([counts for _, counts in words]) >= SHORTEST_TEXT
    return is_first & is_long, int(is_long.sum())


def _in_slices(texts: pa.Array) -> Iterator[tuple[int, Words]]:
    """The words of a few rows at a time, with the position of the first of them."""
    lengths = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths, dtype=np.int64)
    start = 0
    while start < len(texts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _CHARACTERS_AT_ONCE, side="right")))
        yield start, words_of(texts.slice(start, stop - start))
        start = stop
