"""Texts that differ in spelling alone, and numbers to compare them by.

Texts are equal after NFKC, casefold and collapsed white space, without invisible characters, quotes around them and
punctuation at their end. Most texts need little of that, and what they need is done to the bytes of all of them at
once: ASCII and the small letters of Latin-1, apart from odd white space. The others are normalised one by one, each
distinct one once.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hokusai.datasets.value_hashes import PlacedTexts, mixed_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hokusai.datasets.value_hashes import ValueHasher

__all__ = ["TextNumbers", "normalised_text"]

# Characters of the categories Cf and Cc that are not white space, and the others that Unicode calls default-ignorable.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160"
    "\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_PLAIN_SIGNS = {
    **dict.fromkeys((0x2018, 0x2019, 0x201A, 0x201B, 0x2039, 0x203A), "'"),
    **dict.fromkeys((0x201C, 0x201D, 0x201E, 0x201F, 0xAB, 0xBB), '"'),
    **dict.fromkeys((*range(0x2010, 0x2016), 0x2212), "-"),
}
_QUOTES, _QUOTES_AND_STOPS = " \"'`", " \"'`.,;:!?"
_IS_QUOTE, _IS_QUOTE_OR_STOP = (
    np.isin(np.arange(256), np.frombuffer(signs.encode(), dtype=np.uint8)) for signs in (_QUOTES, _QUOTES_AND_STOPS)
)
_MOST_TRIMMED = 4
_TEXTS_REMEMBERED = 1 << 17
_BYTES_AT_ONCE = 1 << 17  # what stays in the processor's own memory is searched in less than half the time
_SMALL_BIT = np.uint8(0x20)


def normalised_text(text: str) -> str:
    """What is left of a text when spelling does not count; two texts are equal if this is."""
    if text.isascii():
        return _trimmed(_INVISIBLE.sub("", text).lower())
    before = ""
    while text != before:  # casefold and composition can each make work for the other
        before = text
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold().translate(_PLAIN_SIGNS)
        text = _trimmed(unicodedata.normalize("NFKC", text))
    return text


def _trimmed(text: str) -> str:
    text = " ".join(text.split())
    return text.lstrip(_QUOTES).rstrip(_QUOTES_AND_STOPS) or text


class TextNumbers:
    """Numbers of the texts of one column: of 64 bits, and the same when texts are equal after normalisation.

    Args:
        hasher: Hashes the column's texts.
    """

    def __init__(self, hasher: ValueHasher) -> None:
        self._hasher = hasher
        self._seeds = [np.uint64(secrets.randbits(64)) for _ in range(2)]
        self._spellings: dict[int, int] = {}

    def numbers(
        self, array: pa.Array, placed: PlacedTexts, hashes: NDArray[np.uint64], *, is_binary: bool
    ) -> NDArray[np.uint64]:
        """The number of each value, 0 where it is missing or empty.

        Args:
            array: The values.
            placed: Their bytes, one after the other.
            hashes: Their hashes.
            is_binary: They are no texts, and only equal to themselves.
        """
        if is_binary:
            return self._numbers(hashes, placed.lengths)
        plain, is_other = _plainly_normalised(placed)
        numbers = self._numbers(hashes if plain is placed else self._hasher.text_hashes(plain), plain.lengths)
        others = np.flatnonzero(is_other)
        if len(others):
            own = self._numbers(hashes[:, others], placed.lengths[others])
            numbers[others] = self._one_by_one(array, others, own)
        return numbers

    def _numbers(self, hashes: NDArray[np.uint64], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
        numbers = mixed_numbers(hashes[0], self._seeds[0])
        numbers += mixed_numbers(hashes[1], self._seeds[1])
        numbers *= lengths > 0
        return numbers

    def _one_by_one(self, array: pa.Array, rows: NDArray[np.intp], own: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The numbers of the texts of these rows, found by the numbers that they have as they are."""
        distinct, first, places = np.unique(own, return_index=True, return_inverse=True)
        found = [self._spellings.get(number, -1) for number in distinct.tolist()]
        unknown = [place for place, number in enumerate(found) if number < 0]
        if unknown:
            texts = array.take(pa.array(rows[first[unknown]])).to_pylist()
            placed = PlacedTexts.of(pa.array([normalised_text(text) for text in texts], pa.large_string()))
            numbers = self._numbers(self._hasher.text_hashes(placed), placed.lengths).tolist()
            if len(self._spellings) + len(unknown) > _TEXTS_REMEMBERED:
                self._spellings.clear()
            for place, number in zip(unknown, numbers, strict=True):
                found[place] = number
                self._spellings[int(distinct[place])] = number
        return np.array(found, dtype=np.uint64)[places]


def _plainly_normalised(placed: PlacedTexts) -> tuple[PlacedTexts, NDArray[np.bool_]]:
    """Texts in small letters and without quotes and punctuation around them, and which of them need more than that."""
    data, is_odd = _small_letters(placed.data[: int(placed.lengths.sum())], placed.data)
    others = np.zeros(len(placed.lengths), dtype=np.bool_)
    if is_odd.any():
        filled = np.flatnonzero(placed.lengths)
        others[filled] = np.logical_or.reduceat(is_odd, placed.starts[filled])
    starts, lengths = placed.starts, placed.lengths
    for _ in range(_MOST_TRIMMED):
        leading = _IS_QUOTE[data[starts]] & (lengths > 0)
        trailing = _IS_QUOTE_OR_STOP[data[starts + lengths - 1]] & (lengths > leading)
        if not (leading.any() or trailing.any()):
            break
        starts, lengths = starts + leading, lengths - leading - trailing
    else:
        others |= (_IS_QUOTE[data[starts]] | _IS_QUOTE_OR_STOP[data[starts + lengths - 1]]) & (lengths > 0)
    # A text of nothing but quotes and stops is what it is.
    others |= (lengths == 0) & (placed.lengths > 0)
    if data is placed.data and lengths is placed.lengths:
        return placed, others
    return PlacedTexts(data, starts, lengths), others


def _small_letters(texts: NDArray[np.uint8], padded: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The padded bytes with small letters for ASCII's capitals, and which bytes of the texts are not plain."""
    is_odd = np.empty(len(texts), dtype=np.bool_)
    small = padded
    for start in range(0, len(texts), _BYTES_AT_ONCE):
        stop = min(start + _BYTES_AT_ONCE, len(texts))
        # One byte more on both sides, to see pairs.
        begin, end = max(start - 1, 0), min(stop + 1, len(texts))
        piece = texts[begin:end]
        is_odd[start:stop] = _odd_bytes(piece)[start - begin : stop - begin]
        is_capital = piece[start - begin : stop - begin] - np.uint8(ord("A")) < 26
        if is_capital.any():
            if small is padded:
                small = padded.copy()
            small[start:stop] |= is_capital * _SMALL_BIT
    return small, is_odd


def _odd_bytes(piece: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which bytes are not plain: no small letter of Latin-1, no visible ASCII, and no single blank."""
    is_odd: NDArray[np.bool_] = (piece < 0x20) | (piece == 0x7F)
    is_blank = piece == 0x20
    is_odd[1:] |= is_blank[1:] & is_blank[:-1]
    is_high = piece >= 0x80
    if is_high.any():
        # C3 A0 to C3 BF: letters that NFKC and casefold leave as they are, if no mark follows, which would be odd.
        is_letter = (piece[:-1] == 0xC3) & (piece[1:] & 0xE0 == 0xA0)
        is_high[:-1] &= ~is_letter
        is_high[1:] &= ~is_letter
        is_odd |= is_high
    return is_odd
