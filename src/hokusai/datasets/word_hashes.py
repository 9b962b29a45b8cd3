"""Texts as words, and words as 64-bit hashes, without a loop over rows or words.

Two texts have the same words when they differ in case, spacing, punctuation, compatibility forms (NFKC), combining
marks and invisible characters alone. A character of a script that puts no spaces between words (Chinese, Japanese) is
a word. The hashes are the same on every machine and in every process; they are fast, not secure: whoever makes texts
can make two words collide, which can only make two texts more alike.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hokusai.datasets.arrow_values import texts

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Words", "mixed", "words_of"]

_SEPARATOR, _LETTER, _DELETED, _WHOLE_WORD = 0, 1, 2, 3
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_SPACELESS = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
_CLASS_OF_CATEGORY = {
    **dict.fromkeys(("Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Mc"), _LETTER),
    **dict.fromkeys(("Cf", "Mn", "Me"), _DELETED),
    **dict.fromkeys(("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So"), _SEPARATOR),
    **dict.fromkeys(("Zs", "Zl", "Zp", "Cc", "Cs", "Co", "Cn"), _SEPARATOR),
}
_ROW_END = 0  # the character that stands between rows while they are one string


@dataclass(frozen=True, slots=True)
class Words:
    """The words of several texts.

    Attributes:
        hashes: Every word of every text, shape (words,).
        counts: How many of them each text has, shape (texts,).
    """

    hashes: NDArray[np.uint64]
    counts: NDArray[np.int64]

    @property
    def text_hashes(self) -> NDArray[np.uint64]:
        """One hash per text, the same for texts of the same words; shape (texts,)."""
        ends = np.cumsum(self.counts)
        return _span_hashes(self.hashes, ends - self.counts, ends)


def words_of(array: pa.Array) -> Words:
    """Take texts apart; a null has no words.

    Args:
        array: Strings, at most a few million characters at once: every character takes some 40 bytes meanwhile.
    """
    lengths, data = texts(array)
    if not len(data) or data.max() < 0x80:
        return _words(_ASCII_FOLDED[data], _ASCII_CLASSES[data], lengths)
    ends = np.cumsum(lengths)
    beyond = np.concatenate(([0], np.cumsum(data >= 0x80)))
    other = beyond[ends] > beyond[ends - lengths]
    of_byte = np.repeat(other, lengths)
    plain, rest = data[~of_byte], data[of_byte]
    parts = (
        _words(_ASCII_FOLDED[plain], _ASCII_CLASSES[plain], lengths[~other]),
        _unicode_words(rest, lengths[other]),
    )
    counts = np.empty(len(lengths), dtype=np.int64)
    counts[~other], counts[other] = parts[0].counts, parts[1].counts
    hashes = np.empty(int(counts.sum()), dtype=np.uint64)
    of_word = np.repeat(other, counts)
    hashes[~of_word], hashes[of_word] = parts[0].hashes, parts[1].hashes
    return Words(hashes, counts)


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread the information of each value over its 64 bits (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _unicode_words(data: NDArray[np.uint8], lengths: NDArray[np.int64]) -> Words:
    """Normalise all texts as one string, in which a character that stands in none of them ends each."""
    separated = np.full(len(data) + len(lengths), _ROW_END, dtype=np.uint8)
    is_text = np.ones(len(separated), dtype=np.bool_)
    is_text[np.cumsum(lengths + 1) - 1] = False
    separated[is_text] = np.where(data == _ROW_END, ord(" "), data)
    string = separated.tobytes().decode("utf-8", errors="replace")
    string = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", string).casefold())
    codes = np.frombuffer(string.encode("utf-32-le"), dtype="<u4")
    classes = _unicode_classes()[codes]
    kept = (classes != _DELETED) & (codes != _ROW_END)
    lengths = np.diff(np.concatenate(([0], np.cumsum(kept)[codes == _ROW_END])))
    return _words(codes[kept], classes[kept], lengths)


def _words(codes: NDArray[Any], classes: NDArray[np.uint8], lengths: NDArray[np.int64]) -> Words:
    """Find the words in characters that are folded already and of which none is to be deleted."""
    letters = classes != _SEPARATOR
    begins = letters.copy()
    whole = classes == _WHOLE_WORD
    begins[1:] &= ~letters[:-1] | whole[1:] | whole[:-1]
    ends = np.cumsum(lengths)
    firsts = (ends - lengths)[lengths > 0]
    begins[firsts] = letters[firsts]
    stops = letters.copy()
    stops[:-1] &= ~letters[1:] | begins[1:]
    starts = np.flatnonzero(begins)
    words_before = np.concatenate(([0], np.cumsum(begins)))
    counts = words_before[ends] - words_before[ends - lengths]
    return Words(_span_hashes(codes, starts, np.flatnonzero(stops) + 1), counts)


def _span_hashes(values: NDArray[Any], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The hash of each span ``values[start:end]``: a polynomial, by differences of one running sum."""
    powers, inverses = _powers(1 << max(len(values), 1).bit_length())
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values * powers[: len(values)], out=sums[1:])
    return mixed((sums[ends] - sums[starts]) * inverses[starts])


@lru_cache(maxsize=2)
def _powers(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The first powers of the multiplier modulo 2^64, and of its inverse; each of shape (size,)."""
    made = []
    for factor in (_MULTIPLIER, pow(_MULTIPLIER, -1, 1 << 64)):
        values = np.full(size, factor, dtype=np.uint64)
        values[0] = 1
        made.append(np.cumprod(values))
    return made[0], made[1]


def _classes(codes: range) -> NDArray[np.uint8]:
    categories = map(unicodedata.category, map(chr, codes))
    return np.fromiter(map(_CLASS_OF_CATEGORY.__getitem__, categories), dtype=np.uint8, count=len(codes))


@lru_cache(maxsize=1)
def _unicode_classes() -> NDArray[np.uint8]:
    """The class of every code point, shape (0x110000,)."""
    classes = _classes(range(0x110000))
    for first, last in _SPACELESS:
        span = classes[first : last + 1]
        span[span == _LETTER] = _WHOLE_WORD
    return classes


_ASCII_CLASSES = _classes(range(128))
_ASCII_FOLDED = np.frombuffer(bytes(range(128)).lower(), dtype=np.uint8)
