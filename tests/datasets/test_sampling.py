"""Stratified sampling: the right sizes, and the same rows whatever the order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from hokusai.datasets.row_digests import row_digests
from hokusai.datasets.sampling import allocation, strata_of, stratified_sample

if TYPE_CHECKING:
    import random

_SIZES = st.lists(st.integers(0, 1000), min_size=1, max_size=12)


@given(sizes=_SIZES, share=st.floats(0, 1))
def test_an_allocation_sums_up_and_stays_within_one_row_of_proportion(sizes: list[int], share: float) -> None:
    total = sum(sizes)
    rows = int(share * total)
    drawn = allocation(np.array(sizes, dtype=np.int64), rows=rows)
    assert int(drawn.sum()) == rows
    assert all(0 <= part <= size for part, size in zip(drawn, sizes, strict=True))
    strata = sum(size > 0 for size in sizes)
    if rows >= strata:
        assert all(part >= 1 for part, size in zip(drawn, sizes, strict=True) if size)
        # One row for each stratum first, the rest in proportion: no share is off by more than those rows and one.
        assert all(
            abs(part - rows * size / total) <= strata + 1 for part, size in zip(drawn, sizes, strict=True) if total
        )


@given(values=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**6)), min_size=1, max_size=60), rng=st.randoms())
def test_a_sample_holds_the_same_rows_whatever_their_order(values: list[tuple[int, int]], rng: random.Random) -> None:
    def drawn(rows: list[tuple[int, int]]) -> list[tuple[int, int]]:
        table = pa.table({"label": [label for label, _ in rows], "value": [value for _, value in rows]})
        mask = stratified_sample(strata_of(table["label"]), row_digests(table), rows=len(rows) // 2, seed=7)
        return sorted(row for row, taken in zip(rows, mask, strict=True) if taken)

    shuffled = rng.sample(values, k=len(values))
    assert drawn(values) == drawn(shuffled)
    assert len(drawn(values)) == len(values) // 2


def test_another_seed_draws_other_rows_and_every_row_has_its_chance() -> None:
    table = pa.table({"value": list(range(1000))})
    digests, strata = row_digests(table), np.zeros(1000, dtype=np.int64)
    times = np.sum([stratified_sample(strata, digests, rows=100, seed=seed) for seed in range(200)], axis=0)
    assert times.sum() == 200 * 100
    # Binomial with mean 20 and standard deviation 4.2: five of these on either side.
    assert times.min() > 0
    assert times.max() < 42


def test_a_numeric_label_of_many_values_is_cut_into_tenths_and_classes_are_strata() -> None:
    numbers = pa.chunked_array([np.arange(1000.0)])
    assert np.bincount(strata_of(numbers)).tolist() == [100] * 10
    assert strata_of(pa.chunked_array([["b", "a", "b", "c"]])).tolist() == [1, 0, 1, 2]
    assert strata_of(pa.chunked_array([[True, False, True]])).tolist() == [1, 0, 1]
