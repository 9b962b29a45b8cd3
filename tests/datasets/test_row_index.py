"""The row index against a dictionary, and against rows made to collide."""

from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.datasets.normalisation import RowFeatures
from hokusai.datasets.row_index import FeatureIndex, RowIndex

CONTENTS = st.lists(st.lists(st.integers(0, 40), max_size=60), max_size=8)


def digests(numbers: list[int], *, prefix: int = 0) -> np.ndarray:
    """Digests that differ in their last bytes alone."""
    words = np.full((len(numbers), 4), prefix, dtype=np.uint64)
    words[:, 3] = numbers
    return words.view("V32").reshape(-1)


@settings(deadline=None)
@given(batches=CONTENTS)
def test_rows_are_found_where_they_stood_first_however_they_were_batched(batches: list[list[int]]) -> None:
    index, rows = RowIndex(), 0
    seen: dict[int, int] = {}
    for batch in batches:
        first_time = index.add(digests(batch))
        for number, is_first in zip(batch, first_time, strict=True):
            assert is_first == (number not in seen)
            seen.setdefault(number, rows)
            rows += 1
    assert len(index) == rows
    asked = list(range(50))
    assert index.positions(digests(asked)).tolist() == [seen.get(number, -1) for number in asked]
    assert index.contains(digests(asked)).tolist() == [number in seen for number in asked]


def test_an_index_that_grows_many_times_forgets_nothing() -> None:
    rng = np.random.default_rng(0)
    content = np.frombuffer(rng.bytes(32 * 150_000), dtype="V32")
    index = RowIndex()
    for start in range(0, len(content), 9_999):
        assert index.add(content[start : start + 9_999]).all()
    assert np.array_equal(index.positions(content), np.arange(len(content)))
    assert not index.add(content).any()
    assert index.nbytes / len(index) < 60


def test_digests_that_agree_in_eight_bytes_are_different_rows() -> None:
    index = RowIndex()
    crafted = digests(list(range(1_500)), prefix=7)
    assert index.add(crafted).all()
    assert np.array_equal(index.positions(crafted), np.arange(1_500))
    assert index.positions(digests([1_500], prefix=7)).tolist() == [-1]


def features(keys: list[int], levels: list[int], neighbours: dict[int, int] | None = None) -> RowFeatures:
    neighbours = neighbours or {}
    return RowFeatures(
        keys=np.array(keys, dtype=np.uint64),
        levels=np.array(levels, dtype=np.uint32).reshape(-1, 1),
        neighbour_rows=np.array(list(neighbours), dtype=np.int64),
        neighbour_keys=np.array(list(neighbours.values()), dtype=np.uint64),
        hashes=np.zeros((3, len(keys)), dtype=np.uint64),
    )


@settings(deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=60), cut=st.integers(0, 60))
def test_the_first_row_of_the_key_with_near_levels_is_found(rows: list[tuple[int, int]], cut: int) -> None:
    index = FeatureIndex(np.array([2], dtype=np.uint32), longest_chain=100)
    parts = [part for part in (rows[:cut], rows[cut:]) if part]
    found = [index.add_and_find(features([k for k, _ in part], [v for _, v in part])).tolist() for part in parts]
    expected = [
        next((at for at, (k, v) in enumerate(rows[:own]) if k == key and abs(v - level) <= 2), -1)
        for own, (key, level) in enumerate(rows)
    ]
    assert list(chain.from_iterable(found)) == expected


def test_a_neighbouring_key_is_looked_up_among_earlier_rows_only() -> None:
    index = FeatureIndex(np.array([2], dtype=np.uint32))
    first = features([5, 6, 5], [100, 101, 900], neighbours={0: 6, 1: 5, 2: 6})
    assert index.add_and_find(first).tolist() == [-1, 0, -1]
    assert index.find(features([9], [899], neighbours={0: 5})).tolist() == [2]


def test_a_chain_made_to_be_long_has_an_end() -> None:
    index = FeatureIndex(np.array([0], dtype=np.uint32), longest_chain=4)
    index.add_and_find(features([1] * 50, list(range(50))))
    assert index.find(features([1] * 50, list(range(50)))).tolist() == [0, 1, 2, 3, 4] + [-1] * 45
