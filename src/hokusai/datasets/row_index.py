"""Growing sets that find equal rows among ten million: by whole digest, and by features up to rounding.

Open addressing in flat NumPy arrays, probed for a whole batch at once. Keys are scattered by a multiplier that every
process draws anew, so nobody can prepare rows that pile up in one place; what is found does not depend on it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hokusai.datasets.normalisation import RowFeatures

__all__ = ["FeatureIndex", "RowIndex", "with_room"]

_SECRET = np.uint64(secrets.randbits(64) | 1)
_HALF, _TAG_SHIFT = np.uint64(32), np.uint64(40)
_POSITION_MASK = np.uint64((1 << 40) - 1)  # a slot holds a position plus one, and above it 24 bits of the key
_SLOTS_PER_ROW = 1.5
_SLOT_GROWTH, _ROW_GROWTH = 1.5, 1.125  # slots have to be filled again, rows are not even copied
_SMALLEST = 1024
_ROWS_AT_ONCE = 1 << 16


class _Slots:
    """Where rows stand, by a 64-bit key; the owner keeps the rows and says which ones are equal."""

    def __init__(self) -> None:
        self._capacity = 0
        self._slots = np.zeros(0, dtype=np.uint64)

    @property
    def nbytes(self) -> int:
        return self._slots.nbytes

    def is_too_small_for(self, rows: int) -> bool:
        return rows > self._capacity

    def clear(self, rows: int) -> None:
        """Make room for this many rows; all of them have to be put in again."""
        self._capacity = max(_SMALLEST, int(rows * _SLOT_GROWTH))
        self._slots = np.zeros(0, dtype=np.uint64)  # the old ones are let go before the new ones are asked for
        self._slots = np.zeros(int(self._capacity * _SLOTS_PER_ROW), dtype=np.uint64)

    def _start(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        mixed = keys * _SECRET
        mixed ^= mixed >> _HALF
        mixed *= _SECRET
        places = ((mixed >> _HALF) * np.uint64(len(self._slots))) >> _HALF
        return places.view(np.int64), mixed << _TAG_SHIFT

    def place(
        self,
        keys: NDArray[np.uint64],
        first: int,
        is_equal: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]],
    ) -> NDArray[np.int64]:
        """Put rows in that have no equal yet, and return where the first equal of each stands, maybe itself.

        Args:
            keys: Of the rows ``first``, ``first + 1``, and so on, which the owner has stored already.
            first: The position of the first row.
            is_equal: Whether the rows at two arrays of positions are equal.
        """
        found = np.arange(first, first + len(keys), dtype=np.int64)
        if not len(keys):
            return found
        places, tags = self._start(keys)
        codes = tags | (found + 1).view(np.uint64)
        waiting = np.arange(len(keys))
        while len(waiting):
            at = places[waiting]
            held = self._slots[at]
            free = held == 0
            if free.any():
                # Of several rows that want one slot the last assignment stays: it has to be the first row's.
                claims = waiting[free][::-1]
                self._slots[places[claims]] = codes[claims]
                held = self._slots[at]
            mine = held == codes[waiting]
            rivals = np.flatnonzero(~mine)
            left, held = waiting[rivals], held[rivals]
            alike = np.flatnonzero((held ^ tags[left]) <= _POSITION_MASK)
            earlier = (held[alike] & _POSITION_MASK).view(np.int64) - 1
            equal = is_equal(left[alike] + first, earlier)
            found[left[alike[equal]]] = earlier[equal]
            goes_on = np.ones(len(left), dtype=np.bool_)
            goes_on[alike[equal]] = False
            waiting = left[goes_on]
            places[waiting] += 1
            places[waiting[places[waiting] == len(self._slots)]] = 0
        return found

    def find(
        self,
        keys: NDArray[np.uint64],
        is_equal: Callable[[NDArray[np.intp], NDArray[np.int64]], NDArray[np.bool_]],
    ) -> NDArray[np.int64]:
        """Where the first equal of each key stands, or -1.

        Args:
            keys: Shape (keys,).
            is_equal: Whether the keys at these places of the argument equal the rows at these positions.
        """
        found = np.full(len(keys), -1, dtype=np.int64)
        if not len(self._slots) or not len(keys):
            return found
        places, tags = self._start(keys)
        held = self._slots[places]
        waiting = np.flatnonzero(held)
        held = held[waiting]
        while len(waiting):
            alike = np.flatnonzero((held ^ tags[waiting]) <= _POSITION_MASK)
            earlier = (held[alike] & _POSITION_MASK).view(np.int64) - 1
            equal = is_equal(waiting[alike], earlier)
            found[waiting[alike[equal]]] = earlier[equal]
            goes_on = np.ones(len(waiting), dtype=np.bool_)
            goes_on[alike[equal]] = False
            waiting = waiting[goes_on]
            places[waiting] += 1
            places[waiting[places[waiting] == len(self._slots)]] = 0
            held = self._slots[places[waiting]]
            waiting, held = waiting[held != 0], held[held != 0]
        return found


def with_room(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """The array with room for this many rows; large memory is moved by the page table, not copied."""
    if rows > len(array):
        array.resize((max(_SMALLEST, int(rows * _ROW_GROWTH)), *array.shape[1:]), refcheck=False)
    return array


class RowIndex:
    """The rows seen so far, by digest.

    A row's position is how many rows were added before it. Whole digests are compared: whoever makes rows can also
    make two that agree in any few bytes.

    Args:
        words: How many times 8 bytes a digest has.
    """

    def __init__(self, *, words: int = 4) -> None:
        self._digests = np.zeros((0, words), dtype=np.uint64)
        self._slots = _Slots()
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        """The bytes that the index holds, room to grow included."""
        return self._digests.nbytes + self._slots.nbytes

    def add(self, digests: NDArray[np.void]) -> NDArray[np.bool_]:
        """Add rows, and tell which of them show their content for the first time.

        Args:
            digests: Shape (rows,), of as many bytes as the index was made for.

        Returns:
            Shape (rows,); of rows that are equal within the batch only the first is True.
        """
        before = self._rows
        return np.equal(self.add_and_find(digests), np.arange(before, before + len(digests)))

    def add_and_find(self, digests: NDArray[np.void]) -> NDArray[np.int64]:
        """Add rows, and return the position of the first row that equals each: its own if it is new."""
        parts = [self._add(_words(digests[at : at + _ROWS_AT_ONCE])) for at in range(0, len(digests), _ROWS_AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def positions(self, digests: NDArray[np.void]) -> NDArray[np.int64]:
        """The position of the first row that equals each, or -1; shape (digests,)."""
        words = _words(digests)

        def is_equal(asked: NDArray[np.intp], positions: NDArray[np.int64]) -> NDArray[np.bool_]:
            equal: NDArray[np.bool_] = (words[asked] == self._digests[positions]).all(axis=1)
            return equal

        return self._slots.find(words[:, 0], is_equal)

    def contains(self, digests: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of these rows were added, shape (digests,)."""
        return self.positions(digests) >= 0

    def _add(self, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        first, self._rows = self._rows, self._rows + len(words)
        self._digests = with_room(self._digests, self._rows)
        self._digests[first : self._rows] = words
        if self._slots.is_too_small_for(self._rows):
            self._slots.clear(self._rows)
            for start in range(0, first, _ROWS_AT_ONCE):
                self._slots.place(self._digests[start : min(first, start + _ROWS_AT_ONCE), 0], start, self._are_equal)
        return self._slots.place(self._digests[first : self._rows, 0], first, self._are_equal)

    def _are_equal(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        equal: NDArray[np.bool_] = (self._digests[one] == self._digests[other]).all(axis=1)
        return equal


def _words(digests: NDArray[np.void]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(digests).view(np.uint64).reshape(-1, digests.dtype.itemsize // 8)


class FeatureIndex:
    """The rows seen so far, by features that are equal up to rounding.

    Rows of one key stand in a chain, in the order in which they came, one for each distinct set of levels. Chains
    have an end, so that nobody can make the search slow; a row that comes after it is not remembered.

    Args:
        tolerances: Shape (levels,), dtype uint32: how far each level of two equal rows may be apart.
        longest_chain: How many rows of one key and distinct levels follow the first.
    """

    def __init__(self, tolerances: NDArray[np.uint32], *, longest_chain: int = 32) -> None:
        self._tolerances, self._longest_chain = tolerances, longest_chain
        self._keys = np.zeros(0, dtype=np.uint64)
        self._levels = np.zeros((0, len(tolerances)), dtype=np.uint32)
        self._next = np.zeros(0, dtype=np.int32)  # the next of the chain; 0, which is no row's next, ends it
        self._slots = _Slots()
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        """The bytes that the index holds, room to grow included."""
        return self._keys.nbytes + self._levels.nbytes + self._next.nbytes + self._slots.nbytes

    def add_and_find(self, features: RowFeatures) -> NDArray[np.int64]:
        """Add rows, at most 65,536, and return the position of the first equal row before each, or -1."""
        first, self._rows = self._rows, self._rows + len(features.keys)
        self._keys = with_room(self._keys, self._rows)
        self._levels = with_room(self._levels, self._rows)
        self._next = with_room(self._next, self._rows)
        self._keys[first : self._rows] = features.keys
        self._levels[first : self._rows] = features.levels
        if self._slots.is_too_small_for(self._rows):
            self._slots.clear(self._rows)
            for start in range(0, first, _ROWS_AT_ONCE):
                self._slots.place(self._keys[start : min(first, start + _ROWS_AT_ONCE)], start, self._share_key)
        own = np.arange(first, self._rows, dtype=np.int64)
        heads = self._slots.place(features.keys, first, self._share_key)
        followers = np.flatnonzero(heads != own)
        self._link(own[followers], heads[followers])
        found = np.full(len(own), -1, dtype=np.int64)
        found[followers] = self._first_equal(features.levels[followers], heads[followers], before=own[followers])
        return self._with_neighbours(found, features, before=own)

    def find(self, features: RowFeatures) -> NDArray[np.int64]:
        """The position of the first row that equals each, or -1; shape (rows,)."""
        heads = self._heads(features.keys)
        found = np.full(len(heads), -1, dtype=np.int64)
        hit = np.flatnonzero(heads >= 0)
        limits = np.full(len(heads), self._rows, dtype=np.int64)
        found[hit] = self._first_equal(features.levels[hit], heads[hit], before=limits[hit])
        return self._with_neighbours(found, features, before=limits)

    def _with_neighbours(
        self, found: NDArray[np.int64], features: RowFeatures, *, before: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        heads = self._heads(features.neighbour_keys)
        hit = np.flatnonzero(heads >= 0)
        rows = features.neighbour_rows[hit]
        others = self._first_equal(features.levels[rows], heads[hit], before=before[rows])
        best = np.where(found < 0, np.iinfo(np.int64).max, found)
        np.minimum.at(best, rows[others >= 0], others[others >= 0])
        return np.where(best == np.iinfo(np.int64).max, -1, best)

    def _heads(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        def is_equal(asked: NDArray[np.intp], positions: NDArray[np.int64]) -> NDArray[np.bool_]:
            return np.equal(keys[asked], self._keys[positions])

        return self._slots.find(keys, is_equal)

    def _share_key(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.equal(self._keys[one], self._keys[other])

    def _link(self, rows: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        """Append rows to the chains that begin at these heads, unless their levels stand there already."""
        for _ in range(self._longest_chain):
            if not len(rows):
                return
            new = (self._levels[rows] != self._levels[at]).any(axis=1)
            rows, at = rows[new], at[new]
            ends = self._next[at] == 0
            # Of several rows that want one place the last assignment stays: it has to be the first row's.
            self._next[at[ends][::-1]] = rows[ends][::-1]
            at = self._next[at].astype(np.int64)
            rows, at = rows[at != rows], at[at != rows]

    def _first_equal(
        self, levels: NDArray[np.uint32], at: NDArray[np.int64], *, before: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Follow the chain from each head to the first row whose levels are near enough."""
        found = np.full(len(at), -1, dtype=np.int64)
        waiting = np.flatnonzero(at < before)
        at = at[waiting]
        while len(waiting):
            apart = levels[waiting] - self._levels[at]
            near = (apart + self._tolerances <= self._tolerances + self._tolerances).all(axis=1)
            found[waiting[near]] = at[near]
            waiting, at = waiting[~near], self._next[at[~near]].astype(np.int64)
            goes_on = (at != 0) & (at < before[waiting])
            waiting, at = waiting[goes_on], at[goes_on]
        return found
