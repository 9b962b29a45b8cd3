"""Planted copies of every kind are found, clean data are left alone, and batches do not matter."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.datasets.leakage import BENCHMARK_CODES, DUPLICATE_CODES, Code, Screen
from hokusai.errors import DataError
from hokusai.testing.sample_data import penguins_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

LETTERS = list("abcdefghijklmnopqrstuvwxyz")


def customers(rows: int, seed: int) -> pa.Table:
    """Numbers, words, dates, moments and a label, all of them drawn independently; some are missing."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(LETTERS, 6)) for _ in range(200)]
    comments = [f"{' '.join(rng.choice(words, 5))} é" for _ in range(rows)]
    return pa.table(
        {
            "amount": pa.array(rng.lognormal(3, 2, rows), mask=rng.random(rows) < 0.03),
            "balance": rng.normal(0, 1e4, rows),
            "visits": rng.integers(0, 50, rows),
            "word": pa.array(rng.choice(words, rows), mask=rng.random(rows) < 0.03),
            "comment": comments,
            "since": pa.array(rng.integers(0, 20_000, rows).astype("i4")).cast(pa.date32()),
            "seen": pa.array(rng.integers(0, 10**15, rows)).cast(pa.timestamp("us", tz="UTC")),
            "label": rng.random(rows) < 0.5,
        }
    )


def changed(table: pa.Table, name: str, change: Callable[[Any], Any]) -> pa.Table:
    column = table.column(name)
    values = [None if value is None else change(value) for value in column.to_pylist()]
    return table.set_column(table.column_names.index(name), name, pa.array(values, column.type))


def reordered(table: pa.Table) -> pa.Table:
    return table.select(table.column_names[::-1])


def reprinted(digits: int) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        for name in ("amount", "balance"):
            table = changed(table, name, lambda value: float(f"{value:.{digits}g}"))
        return table

    return change


def narrowed(table: pa.Table) -> pa.Table:
    return changed(changed(table, "amount", lambda x: float(np.float32(x))), "balance", lambda x: float(np.float32(x)))


COPIES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "upper case": lambda table: changed(table, "comment", str.upper),
    "white space": lambda table: changed(table, "comment", lambda text: f"  {text.replace(' ', chr(160) + ' ')}\n"),
    "zero width": lambda table: changed(table, "word", "\u200b".join),
    "decomposed": lambda table: changed(table, "comment", lambda text: text.replace("é", "e\u0301")),
    "full width": lambda table: changed(table, "word", lambda text: "".join(chr(ord(x) + 0xFEE0) for x in text)),
    "quoted": lambda table: changed(table, "comment", lambda text: f"“{text}.”"),
    "six digits": reprinted(6),
    "seven digits": reprinted(7),
    "eight digits": reprinted(8),
    "float32": narrowed,
    "whole seconds": lambda table: changed(table, "seen", lambda time: time.replace(microsecond=0)),
    "all at once": lambda table: COPIES["zero width"](COPIES["upper case"](reprinted(7)(reordered(table)))),
}


def flipped(table: pa.Table) -> pa.Table:
    return changed(table, "label", lambda value: not value)


@pytest.fixture(scope="module")
def benchmark() -> pa.Table:
    return customers(2_000, seed=1)


@pytest.fixture(scope="module")
def base() -> pa.Table:
    return customers(3_000, seed=2)


@pytest.fixture
def screen(benchmark: pa.Table, base: pa.Table) -> Screen:
    screen = Screen(benchmark, base=base, label="label")
    screen.next_contribution("one")
    return screen


def codes_of(codes: NDArray[np.uint8]) -> set[Code]:
    return {Code(code) for code in np.unique(codes)}


def test_clean_data_raise_no_alarm(screen: Screen) -> None:
    assert screen.narrowness == ""
    assert codes_of(screen.base.codes) == {Code.NEW}
    assert codes_of(screen.screen(customers(5_000, seed=3)).codes) == {Code.NEW}
    assert not screen.benchmark_hits.any()


@pytest.mark.parametrize("change", [lambda table: table, reordered, lambda table: table.combine_chunks()])
def test_every_exact_copy_of_a_benchmark_row_is_found(
    screen: Screen, benchmark: pa.Table, change: Callable[[pa.Table], pa.Table]
) -> None:
    found = screen.screen(change(benchmark))
    assert codes_of(found.codes) == {Code.BENCHMARK_EXACT}
    assert np.array_equal(found.benchmark_rows, np.arange(benchmark.num_rows))
    assert screen.benchmark_hits.all()


@pytest.mark.parametrize("name", COPIES)
def test_every_copy_in_another_spelling_is_found(
    screen: Screen, benchmark: pa.Table, base: pa.Table, name: str
) -> None:
    found = screen.screen(COPIES[name](benchmark))
    assert codes_of(found.codes) <= {Code.BENCHMARK_NORMALISED, Code.BENCHMARK_EXACT}
    assert found.count(Code.BENCHMARK_NORMALISED) > 1_900
    assert np.array_equal(found.benchmark_rows, np.arange(benchmark.num_rows))
    assert not found.label_differs.any()
    of_base = screen.screen(COPIES[name](base))
    assert codes_of(of_base.codes) == {Code.DUPLICATE_BASE}
    assert of_base.normalised.mean() > 0.9


def test_copies_with_another_label_are_told_apart(screen: Screen, benchmark: pa.Table, base: pa.Table) -> None:
    very = screen.screen(flipped(benchmark))
    assert codes_of(very.codes) == {Code.BENCHMARK_FLIPPED}
    assert np.array_equal(very.benchmark_rows, np.arange(benchmark.num_rows))
    respelled = screen.screen(flipped(COPIES["all at once"](benchmark)))
    assert codes_of(respelled.codes) == {Code.BENCHMARK_NORMALISED}
    assert very.label_differs.all()
    assert respelled.label_differs.all()
    conflicts = screen.screen(flipped(base))
    assert codes_of(conflicts.codes) == {Code.CONFLICT}
    assert conflicts.keep.all()


def test_a_label_spelled_in_another_way_is_not_another_label() -> None:
    benchmark = pa.table({"x": [1.25, 7.5], "label": ["Yes", "No"]})
    screen = Screen(benchmark, base=pa.table({"x": [9.0], "label": ["No"]}), label="label")
    found = screen.screen(pa.table({"x": [1.25, 7.5], "label": ["yes ", "maybe"]}))
    assert found.codes.tolist() == [Code.BENCHMARK_NORMALISED, Code.BENCHMARK_FLIPPED]
    assert found.label_differs.tolist() == [False, True]


def test_a_label_that_is_a_number_may_be_printed_anew() -> None:
    benchmark = pa.table({"x": [1.25, 7.5], "label": [1 / 3, -2 / 3]})
    screen = Screen(benchmark, base=pa.table({"x": [9.0], "label": [0.5]}), label="label")
    found = screen.screen(pa.table({"x": [1.25, 7.5], "label": [0.333333, 2 / 3]}))
    assert found.codes.tolist() == [Code.BENCHMARK_NORMALISED, Code.BENCHMARK_FLIPPED]


def test_a_row_is_named_by_where_it_stood_first(screen: Screen, base: pa.Table, benchmark: pa.Table) -> None:
    fresh = customers(30, seed=4)
    once = screen.screen(pa.concat_tables([fresh, fresh.slice(0, 10), base.slice(0, 10), base.slice(0, 10)]))
    assert once.codes.tolist() == [Code.NEW] * 30 + [Code.DUPLICATE_OWN] * 10 + [Code.DUPLICATE_BASE] * 20
    assert screen.screen(fresh).count(Code.DUPLICATE_OWN) == 30
    screen.next_contribution("two")
    again = screen.screen(
        pa.concat_tables(
            [fresh, benchmark.slice(5, 1), COPIES["all at once"](fresh).select(fresh.column_names), flipped(fresh)]
        )
    )
    assert again.codes.tolist() == [
        *[Code.DUPLICATE_OTHER] * 30,
        Code.BENCHMARK_EXACT,
        *[Code.DUPLICATE_OTHER] * 30,
        *[Code.CONFLICT] * 30,
    ]
    assert again.normalised.tolist() == [False] * 31 + [True] * 30 + [False] * 30
    assert (again.keep == (again.codes == Code.CONFLICT)).all()


def test_the_same_features_with_two_labels_in_one_contribution_are_new(screen: Screen) -> None:
    fresh = customers(30, seed=4)
    assert codes_of(screen.screen(pa.concat_tables([fresh, flipped(fresh)])).codes) == {Code.NEW}


def test_base_rows_of_the_benchmark_are_found_and_its_own_repetitions_are_not(benchmark: pa.Table) -> None:
    fresh = customers(900, seed=5)
    base = pa.concat_tables([fresh, fresh, benchmark.slice(7, 1), COPIES["six digits"](benchmark.slice(9, 1))])
    screen = Screen(benchmark, base=[base.slice(0, 700), base.slice(700)], label="label")
    assert screen.base.codes.tolist() == [Code.NEW] * 1800 + [Code.BENCHMARK_EXACT, Code.BENCHMARK_NORMALISED]
    assert np.flatnonzero(screen.benchmark_hits).tolist() == [7, 9]


def test_all_repetitions_of_a_benchmark_row_count_as_hit(benchmark: pa.Table, base: pa.Table) -> None:
    repeated = pa.concat_tables([benchmark, benchmark.slice(3, 1), COPIES["six digits"](benchmark.slice(4, 1))])
    screen = Screen(repeated, base=base, label="label")
    screen.screen(benchmark.slice(3, 2))
    assert np.flatnonzero(screen.benchmark_hits).tolist() == [3, 4, 2_000, 2_001]


def test_without_base_rows_contributions_are_screened_all_the_same(benchmark: pa.Table, base: pa.Table) -> None:
    screen = Screen(benchmark, base=base.slice(0, 0), label="label")
    assert screen.screen(pa.concat_tables([base, base])).count(Code.DUPLICATE_OWN) == base.num_rows
    assert len(screen.screen(base.slice(0, 0)).codes) == 0


def test_in_a_narrow_table_equal_features_are_no_evidence() -> None:
    rng = np.random.default_rng(0)
    tables = [
        pa.table({name: rng.choice(["A", "B", "C"], rows) for name in ("x", "y", "z", "label")})
        for rows in (300, 400, 500)
    ]
    screen = Screen(tables[0], base=tables[1], label="label")
    assert "too narrow" in screen.narrowness
    assert not screen.base.in_benchmark[screen.base.unproven].any()
    row = {"x": ["a "], "y": ["B"], "z": ["C"], "label": ["A"]}
    respelled = screen.screen(pa.table(row))
    assert (respelled.codes.tolist(), respelled.unproven.tolist()) == ([Code.NEW], [True])
    assert respelled.benchmark_rows.tolist() == [-1]
    assert not (screen.screen(tables[2]).codes == Code.CONFLICT).any()
    exact = screen.screen(tables[0])
    assert codes_of(exact.codes) == {Code.BENCHMARK_EXACT}
    assert not exact.unproven.any()


@pytest.mark.parametrize(
    ("features", "is_narrow"),
    [
        (["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"], False),
        (["body_mass_g"], True),
        (["flipper_length_mm"], True),
    ],
)
def test_four_measurements_of_a_penguin_tell_it_from_others_and_one_does_not(
    features: list[str], *, is_narrow: bool
) -> None:
    names = ("benchmark", "base", "dream", "torgersen")
    frames = [pd.read_csv(penguins_folder() / f"{name}.csv")[[*features, "species"]] for name in names]
    benchmark, base, *others = (pa.Table.from_pandas(frame, preserve_index=False) for frame in frames)
    screen = Screen(benchmark, base=base, label="species")
    assert bool(screen.narrowness) is is_narrow
    found = [screen.base, *map(screen.screen, others)]
    if not is_narrow:
        assert [codes_of(each.codes) for each in found] == [{Code.NEW}] * 3


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_how_the_rows_are_cut_into_batches_changes_nothing(data: st.DataObject) -> None:
    benchmark, fresh = customers(400, seed=6), customers(12, seed=7)
    pool = pa.concat_tables([benchmark.slice(0, 12), fresh])
    pool = pa.concat_tables([pool, COPIES["seven digits"](pool), flipped(pool), COPIES["upper case"](pool)])

    def drawn(table: pa.Table) -> pa.Table:
        picks = data.draw(st.lists(st.integers(0, table.num_rows - 1), max_size=60))
        return table.take(pa.array(picks, pa.int64()))

    # Copies of benchmark rows in the base make the table look narrow; both kinds of table are drawn.
    base, contribution = drawn(data.draw(st.sampled_from([fresh, pool]))), drawn(pool)
    cuts = data.draw(st.lists(st.integers(0, 60), max_size=5).map(sorted))

    def parts(table: pa.Table) -> list[pa.Table]:
        return [table.slice(start, stop - start) for start, stop in pairwise([0, *cuts, max(60, table.num_rows)])]

    whole = Screen(benchmark, base=base, label="label")
    cut = Screen(benchmark, base=parts(base), label="label")
    assert cut.narrowness == whole.narrowness
    found = whole.screen(contribution)
    pieces = [cut.screen(part) for part in parts(contribution)]
    for name in ("codes", "normalised", "label_differs", "unproven", "benchmark_rows"):
        assert np.array_equal(np.concatenate([getattr(piece, name) for piece in pieces]), getattr(found, name))
        assert np.array_equal(getattr(cut.base, name), getattr(whole.base, name))
    assert np.array_equal(cut.benchmark_hits, whole.benchmark_hits)


def test_a_table_of_other_types_is_refused(screen: Screen, benchmark: pa.Table) -> None:
    other = benchmark.set_column(2, "visits", benchmark.column("visits").cast(pa.float64()))
    with pytest.raises(DataError, match="gift: its columns or their types") as raised:
        screen.screen(other, source="gift")
    assert raised.value.source == "gift"
    with pytest.raises(DataError, match="no column 'answer'"):
        Screen(benchmark, base=[], label="answer")


def test_the_codes_of_copies_and_repetitions_outrank_those_that_stay() -> None:
    assert min(BENCHMARK_CODES) > max(DUPLICATE_CODES) > Code.CONFLICT > Code.NEW
    assert set(Code) == {*BENCHMARK_CODES, *DUPLICATE_CODES, Code.CONFLICT, Code.NEW}
