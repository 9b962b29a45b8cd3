"""Texts of the benchmark inside contributed texts, edited or not, by the word sequences (shingles) that they share.

A reference text is near when enough of its five-word sequences stand in the candidate, or enough of the candidate's in
it. In a short text one edit breaks most of them: two short texts are near as well when they share enough three-word
sequences of both. Shingles that many different texts of the reference and the base share are boilerplate: they count
for nothing, on either side. The work for a candidate grows with its length alone, whatever its words are: a shingle
that is not boilerplate stands in a few reference texts at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pyarrow import types

from hokusai.datasets.mixed_columns import is_text
from hokusai.datasets.nearness import ALLOWED_FALSE_ALARMS, Near, Nearness, best_penalties, joined, percent
from hokusai.datasets.shingle_index import FEWEST_SHARED, ReferenceShingles, shingles_of
from hokusai.datasets.word_slices import LONGEST_SHORT_TEXT, SHORTEST_TEXT, Texts, in_slices, short_texts
from hokusai.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from hokusai.datasets.word_hashes import Words

__all__ = ["NearText"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shingling:
    """One way to compare texts.

    Attributes:
        length: Words of a shingle.
        longest: Words of the longest texts, candidates and references, that are compared in this way; None for any.
        thresholds: Shares of the shingles, one of which is to be chosen.
        fewest: Shared shingles that are more than a turn of phrase.
        enough: The share from which FEWEST_SHARED do.
    """

    length: int
    longest: int | None
    thresholds: tuple[float, ...]
    fewest: int
    enough: float


_LONG = _Shingling(length=5, longest=None, thresholds=(0.3, 0.45, 0.6, 0.8), fewest=5, enough=0.8)
_SHORT = _Shingling(length=3, longest=LONGEST_SHORT_TEXT, thresholds=(0.5, 0.6, 0.8), fewest=FEWEST_SHARED, enough=0.0)
_ALLOWED = ALLOWED_FALSE_ALARMS / 2  # of the base texts, in each way
_BOILERPLATE_SHARE = 0.0005  # of all different texts
_FEWEST_FOR_BOILERPLATE, _MOST_BEFORE_BOILERPLATE = 3, 32  # different texts


class NearText:
    """One column of longer texts, ready to be searched for texts near the reference's.

    Attributes:
        verdict: What nearness is worth here.
    """

    def __init__(self, reference: pa.Array, *, base: pa.Array, column: str) -> None:
        """Index the reference's texts and choose the thresholds that next to no base text reaches.

        Args:
            reference: The benchmark's texts.
            base: Texts of the base data that are no exact copies of benchmark rows.
            column: What the verdict calls them.
        """
        self._column = column
        texts = Texts(reference)
        honest = Texts(base).without(texts)  # equal texts are looked for elsewhere
        long = _Search(texts, base=honest, shingling=_LONG)
        short = _Search(texts, base=honest, shingling=_SHORT) if long.threshold is not None else None
        self._searches = [search for search in (long, short) if search is not None and search.threshold is not None]
        self.verdict = _verdict(column, long, short)

    def near(self, texts: pa.Array, *, source: str = "table") -> Near:
        """Every pair of a text and a reference text near it; none where nearness is no evidence."""
        if types.is_null(texts.type):
            return joined(())
        if not is_text(texts.type):
            raise DataError(source, f"column {self._column!r} is of type {texts.type}, expected texts.")
        if not self._searches:
            return joined(())
        return joined(
            [
                Near(part.rows + start, part.references, part.penalties)
                for start, words in in_slices(texts)
                for search in self._searches
                for part in (search.near(words),)
            ]
        )


class _Search:
    """The reference's texts, searched in one way.

    Attributes:
        index: Their shingles.
        texts: How many base texts there are to calibrate on.
        share: Of them that reach the threshold, or the highest one where none is low enough; None without base texts.
        threshold: The share of shingles that a near text shares; None where nearness is no evidence.
    """

    def __init__(self, reference: Texts, *, base: Texts, shingling: _Shingling) -> None:
        self._rows = len(reference.counts)
        self._shingling = shingling
        self.index = ReferenceShingles(reference, length=shingling.length, longest=shingling.longest)
        self.texts = int(base.fits(longest=shingling.longest).sum())
        is_first = base.is_first(longest=shingling.longest)
        self._count_base(base, is_first)
        most = _BOILERPLATE_SHARE * (self.index.texts + int(is_first.sum()))
        most = int(min(max(most, _FEWEST_FOR_BOILERPLATE), _MOST_BEFORE_BOILERPLATE))
        self.share: float | None = None
        self.threshold = self._calibrated(base, limits=sorted({most, _FEWEST_FOR_BOILERPLATE}, reverse=True))

    def near(self, words: Words) -> Near:
        """Every pair of a text and a reference text near it."""
        pairs = self._pairs(words)
        keep = pairs.penalties <= -(self.threshold or np.inf)
        return Near(pairs.rows[keep], pairs.references[keep], pairs.penalties[keep])

    def _count_base(self, base: Texts, is_first: NDArray[np.bool_]) -> None:
        """Count the different base texts that hold each shingle of the reference."""
        for numbers, words in base.slices(longest=self._shingling.longest):
            rows, shingles = shingles_of(words, length=self._shingling.length)
            counted = is_first[numbers[rows]]
            rows, found = self.index.look_up(rows[counted], shingles[counted])
            keys = np.unique((rows << np.int64(32)) | found)
            self.index.add_texts(keys & np.int64(0xFFFFFFFF))

    def _calibrated(self, base: Texts, *, limits: list[int]) -> float | None:
        """Choose the lowest threshold that marks next to no base text, with more and more taken for boilerplate."""
        for limit in limits if self.texts else ():
            self.index.leave_out_boilerplate(limit)
            slices = base.slices(longest=self._shingling.longest)
            parts = [best_penalties(self._pairs(words), rows=len(words.counts)) for _, words in slices]
            best = np.concatenate(parts)
            for threshold in self._shingling.thresholds:
                self.share = float((best <= -threshold).sum() / self.texts)
                if self.share < _ALLOWED and self.index.searchable:
                    return threshold
        return None

    def _pairs(self, words: Words) -> Near:
        """Every pair of texts that shares enough shingles to be looked at; the penalty is minus the score."""
        way = self._shingling
        numbers = np.arange(len(words.counts))
        if way.longest is not None:
            numbers, words = short_texts(words)
        rows, found = self.index.look_up(*shingles_of(words, length=way.length))
        boilerplate = self.index.is_boilerplate(found)
        in_candidate = np.maximum(words.counts - (way.length - 1), 1) - np.bincount(
            rows[boilerplate], minlength=len(words.counts)
        )
        # One entry per different shingle of a text, with how often it stands there.
        keys, times = np.unique(
            (rows[~boilerplate] << np.int64(32)) | found[~boilerplate].astype(np.int64), return_counts=True
        )
        rows, found = keys >> np.int64(32), keys & np.int64(0xFFFFFFFF)
        positions, references = self.index.texts_with(found)
        pairs, group = np.unique(rows[positions] * np.int64(self._rows) + references, return_inverse=True)
        shared = np.bincount(group, minlength=len(pairs))
        occurrences = np.bincount(group, weights=times[positions], minlength=len(pairs))
        rows, references = np.divmod(pairs, max(self._rows, 1))
        of_reference = shared / self.index.sizes[references]
        of_candidate = occurrences / np.maximum(in_candidate[rows], 1)
        combined = np.maximum if way.longest is None else np.minimum
        score = combined(of_reference, of_candidate)
        # A candidate that is boilerplate but for a few words says little by those.
        keep = (shared >= way.fewest) | ((shared >= FEWEST_SHARED) & (score >= way.enough))
        keep &= (words.counts[rows] >= SHORTEST_TEXT) & (score >= way.thresholds[0])
        return Near(numbers[rows[keep]], references[keep], -score[keep])


def _verdict(column: str, long: _Search, short: _Search | None) -> Nearness:
    brief = f"texts under {SHORTEST_TEXT} words are compared as wholes only"
    if long.share is None:
        reason = f"the base holds no text of {SHORTEST_TEXT} words or more to calibrate on, so nothing is marked"
    elif not long.index.searchable:
        reason = "the benchmark's texts hold little but boilerplate, so nothing is marked"
    elif long.threshold is None:
        reason = (
            f"too alike: {percent(long.share)} of {long.texts:,} base texts share {_LONG.thresholds[-1]:.0%} of their "
            "word sequences with a benchmark text, so nothing is marked"
        )
    else:
        also = (
            f", or {short.threshold:.0%} of the three-word sequences of two texts of up to {_SHORT.longest} words"
            if short and short.threshold
            else ""
        )
        reason = (
            f"at least {long.threshold:.0%} of the five-word sequences shared{also}, boilerplate aside, which "
            f"{percent(long.share)} of {long.texts:,} base texts do; {brief}"
        )
    return Nearness(
        kind="text",
        columns=(column,),
        is_evidence=long.threshold is not None,
        reason=reason,
        expected_false_alarms=long.share,
        searchable=long.index.searchable / max(long.index.texts, 1),
        threshold=long.threshold,
        short_threshold=short.threshold if short else None,
    )
