"""Hashes of values and rows that nobody can foresee, to tell whether two rows are the very same in one process.

A value is a series of 32-bit numbers, two to a word. A hash is the sum of (key + first) * (key + second) over its
words, modulo 2^64, with two random keys of 64 bits for every word (Multilinear-HM: Lemire and Kaser, "Strongly
universal string hashing is fast", The Computer Journal 57, 2014). The keys never leave the process, so whoever makes
two different rows makes their hashes equal with a probability of 2^-33 at most; a row has three such hashes: 2^-99.
The sum of its values' hashes is as good a hash of a row. Words of zeros at the end of a value change nothing.

Row digests (:mod:`hokusai.datasets.row_digests`) are the same in other processes, and cost twice as much.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import numpy as np

from hokusai.datasets.arrow_values import fixed_width, moments, texts, validity
from hokusai.datasets.logical_types import MOMENTS, TypeCode
from hokusai.datasets.row_digests import nested_cells

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa
    from numpy.typing import NDArray

    from hokusai.datasets.logical_types import Field

__all__ = ["HASHES", "PlacedTexts", "ValueHasher", "as_rows", "mixed_numbers"]

HASHES = 3
"""How many hashes a row has."""

_WORD_BYTES = 8
_MOST_WORDS = 64  # longer texts are hashed by BLAKE2b first
_LOW, _HALF = np.uint64(2**32 - 1), np.uint64(32)
_WITHIN, _BITS, _TOP, _ONE = np.uint64(7), np.uint64(8), np.uint64(63), np.uint64(1)
_FIRST_BYTES = np.array([2 ** (8 * count) - 1 for count in range(_WORD_BYTES + 1)], dtype=np.uint64)
_FIRST_FACTOR, _SECOND_FACTOR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


class PlacedTexts:
    """Texts by where they stand in one run of bytes.

    Attributes:
        data: The bytes; their number is a multiple of eight, and at least eight stand after the last text.
        starts: Shape (texts,): where each begins.
        lengths: Shape (texts,): how many bytes each has.
    """

    __slots__ = ("data", "lengths", "starts")

    def __init__(self, data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        self.data, self.starts, self.lengths = data, starts, lengths

    @classmethod
    def joined(cls, data: NDArray[np.uint8], lengths: NDArray[np.int64]) -> PlacedTexts:
        """Texts that stand one after the other."""
        padded = np.empty((len(data) // _WORD_BYTES + 3) * _WORD_BYTES, dtype=np.uint8)
        padded[: len(data)] = data
        padded[len(data) :] = 0
        return cls(padded, np.cumsum(lengths) - lengths, lengths)

    @classmethod
    def of(cls, array: pa.Array) -> PlacedTexts:
        """The values of a column of strings or binaries; a null has no bytes."""
        lengths, data = texts(array)
        return cls.joined(data, lengths)


class ValueHasher:
    """Hashes the values of one column.

    Args:
        field: The column.
    """

    def __init__(self, field: Field) -> None:
        self._field = field
        drawn = np.frombuffer(secrets.token_bytes((_MOST_WORDS + 2) * HASHES * 16), dtype=np.uint64)
        self._keys = drawn.reshape(-1, HASHES, 2)
        self._blanks = self._keys[..., 0] * self._keys[..., 1]  # what a word of zeros would add, and must not
        self._long_key = secrets.token_bytes(32)

    def hashes(self, array: pa.Array, placed: PlacedTexts | None = None) -> NDArray[np.uint64]:
        """The hashes of each value, equal for equal values (-0.0 equals 0.0); shape (HASHES, rows).

        Args:
            array: The values.
            placed: Their bytes, if they are texts or binaries.
        """
        field = self._field
        if field.code is TypeCode.NULL:
            return np.zeros((HASHES, len(array)), dtype=np.uint64)
        if placed is not None:
            sums = self.text_hashes(placed)
        elif field.children or field.code is TypeCode.STRUCT:
            with field.translated():
                cells = nested_cells(array, field, fold_negative_zero=True)
            sums = self.text_hashes(PlacedTexts.joined(cells.data, cells.sizes))
        else:
            sums = self._sums(_fixed_words(array, field), rows=len(array))
        valid = validity(array)
        if valid is not None:
            sums[:, ~valid] += self._keys[-1, :, :1]
        return sums

    def text_hashes(self, placed: PlacedTexts) -> NDArray[np.uint64]:
        """The hashes of texts, shape (HASHES, texts)."""
        starts, lengths = placed.starts, placed.lengths
        sums = self._sums([lengths.view(np.uint64)], rows=len(starts))
        longest = int(lengths.max(initial=0))
        if longest > _MOST_WORDS * _WORD_BYTES:
            long = lengths > _MOST_WORDS * _WORD_BYTES
            words = self._digests(placed, np.flatnonzero(long)).view(np.uint64).reshape(-1, 4).T
            sums[:, long] += self._sums(words, rows=words.shape[1], first=1)
            lengths = np.where(long, 0, lengths)
            longest = int(lengths.max())
        self._add_words(sums, PlacedTexts(placed.data, starts, lengths), first=0)
        return sums

    def _add_words(self, sums: NDArray[np.uint64], placed: PlacedTexts, *, first: int) -> None:
        """Add the bytes of texts from this word of theirs on; the longest ones go on alone."""
        aligned, places = placed.data.view("<u8"), (placed.starts >> 3) + first
        shifts = (placed.starts.view(np.uint64) & _WITHIN) * _BITS
        back = _TOP - shifts
        held = aligned.take(places)
        longest = -(-int(placed.lengths.max(initial=0)) // _WORD_BYTES)
        for number in range(first, longest):
            left = placed.lengths - number * _WORD_BYTES
            reached = left > 0
            if 2 * np.count_nonzero(reached) < len(left):
                rows = np.flatnonzero(reached)
                part = np.zeros((HASHES, len(rows)), dtype=np.uint64)
                rest = PlacedTexts(placed.data, placed.starts[rows], placed.lengths[rows])
                self._add_words(part, rest, first=number)
                sums[:, rows] += part
                return
            places += reached
            following = aligned.take(places)
            words = held >> shifts
            words |= (following << _ONE) << back
            held = following
            if number + 1 == longest or int(left.min()) < _WORD_BYTES:
                words &= _FIRST_BYTES.take(np.clip(left, 0, _WORD_BYTES))
            self._add(sums, words, number + 1)

    def _digests(self, placed: PlacedTexts, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        content, digests = placed.data.tobytes(), []
        for start, length in zip(placed.starts[rows].tolist(), placed.lengths[rows].tolist(), strict=True):
            text = content[start : start + length]
            digests.append(hashlib.blake2b(text, digest_size=32, key=self._long_key).digest())
        return np.frombuffer(b"".join(digests), dtype=np.uint8)

    def _sums(self, words: Iterable[NDArray[np.uint64]], *, rows: int, first: int = 0) -> NDArray[np.uint64]:
        sums = np.zeros((HASHES, rows), dtype=np.uint64)
        for number, word in enumerate(words, first):
            self._add(sums, word, number)
        return sums

    def _add(self, sums: NDArray[np.uint64], words: NDArray[np.uint64], number: int) -> None:
        low, high = words & _LOW, words >> _HALF
        one, other = np.empty_like(low), np.empty_like(low)
        for own, (key, next_key), blank in zip(sums, self._keys[number], self._blanks[number], strict=True):
            np.add(low, key, out=one)
            np.add(high, next_key, out=other)
            one *= other
            one -= blank
            np.add(own, one, out=own)


def _fixed_words(array: pa.Array, field: Field) -> list[NDArray[np.uint64]]:
    if field.code in MOMENTS:
        microseconds, nanoseconds = moments(array, field)
        words = [np.ascontiguousarray(microseconds).view(np.uint64)]
        return [*words, nanoseconds.astype(np.uint64)] if nanoseconds.any() else words
    values: NDArray[Any] = fixed_width(array, field, fold_negative_zero=True)
    if field.code is TypeCode.DECIMAL:
        return list(np.ascontiguousarray(values).view(np.uint64).reshape(-1, 2).T)
    if field.code is not TypeCode.FLOAT:
        values = values.astype(np.int64, copy=False)
    return [np.ascontiguousarray(values).view(np.uint64)]


def as_rows(sums: NDArray[np.uint64]) -> NDArray[np.void]:
    """Hashes of shape (HASHES, rows) as one value for each row."""
    return np.ascontiguousarray(sums.T).view(f"V{8 * HASHES}").reshape(-1)


def mixed_numbers(numbers: NDArray[np.uint64], seed: np.uint64) -> NDArray[np.uint64]:
    """Spread numbers over 64 bits, so that sums of them are as good as keys."""
    mixed = numbers ^ seed
    mixed *= _FIRST_FACTOR
    mixed ^= mixed >> np.uint64(32)
    mixed += seed
    mixed *= _SECOND_FACTOR
    mixed ^= mixed >> np.uint64(29)
    return mixed
