"""Merging by key: one row for each key, and every disagreement counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from hokusai.datasets.merging import merge_by_key
from hokusai.datasets.row_digests import row_digests

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=40)


def _digests(values: list[int]) -> NDArray[np.void]:
    return row_digests(pa.table({"value": pa.array(values, pa.int64())}))


@given(rows=_ROWS)
def test_the_last_row_of_each_key_is_in_force_as_in_a_dictionary(rows: list[tuple[int, int]]) -> None:
    merged = merge_by_key(_digests([key for key, _ in rows]), _digests([v for _, v in rows]), winner="last")
    kept = [row for row, alive in zip(rows, merged.in_force, strict=True) if alive]
    assert dict(kept) == dict(rows)
    assert len(kept) == len(dict(rows))


@given(rows=_ROWS)
def test_the_first_row_of_each_key_is_in_force_when_the_first_one_wins(rows: list[tuple[int, int]]) -> None:
    merged = merge_by_key(_digests([key for key, _ in rows]), _digests([v for _, v in rows]), winner="first")
    expected: dict[int, int] = {}
    for number, (key, _) in enumerate(rows):
        expected.setdefault(key, number)
    assert [number for number, alive in enumerate(merged.in_force) if alive] == sorted(expected.values())


@given(rows=_ROWS)
def test_a_conflict_is_a_row_that_differs_from_the_one_before_it_with_its_key(rows: list[tuple[int, int]]) -> None:
    merged = merge_by_key(_digests([key for key, _ in rows]), _digests([v for _, v in rows]), winner="last")
    before: dict[int, int] = {}
    expected = []
    for key, value in rows:
        expected.append(key in before and before[key] != value)
        before[key] = value
    assert merged.conflict.tolist() == expected
