"""The decoy test: honest contributions raise no alarm, contributors who saw the benchmark do."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hokusai.datasets.decoys import ALARM_LEVEL, SealedPool, decoy_test, leak_note
from hokusai.errors import DataError

NUMBERS = tuple(f"x{number}" for number in range(8))
FEATURES = (*NUMBERS, "word")


def people(rows: int, seed: int, *, shift: float = 0.0, digits: int = 12) -> pa.Table:
    """Rows drawn independently, whose label follows from the first number but for some noise."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(shift, 1, size=(len(NUMBERS), rows)).round(digits)
    labels = np.where(numbers[0] + rng.normal(size=rows) > 0, "yes", "no")
    words = rng.choice(["oak", "ash", "elm", "fir"], rows)
    return pa.table({**dict(zip(NUMBERS, numbers, strict=True)), "word": words, "label": labels})


def noisy(table: pa.Table, noise: float) -> pa.Table:
    rng = np.random.default_rng(5)
    for place, name in enumerate(NUMBERS):
        table = table.set_column(place, name, pa.array(table[name].to_numpy() + rng.normal(0, noise, table.num_rows)))
    return table


def flipped(table: pa.Table) -> pa.Table:
    labels = ["no" if label == "yes" else "yes" for label in table["label"].to_pylist()]
    return table.set_column(table.column_names.index("label"), "label", pa.array(labels))


def respelled(table: pa.Table) -> pa.Table:
    words = [f" {word.upper()}." for word in table["word"].to_pylist()]
    return table.set_column(table.column_names.index("word"), "word", pa.array(words))


BASE, BENCHMARK, DECOY = people(4_000, 1), people(900, 2), people(1_000, 3)
HONEST = people(2_000, 4)


def pool(
    benchmark: pa.Table = BENCHMARK, decoy: pa.Table = DECOY, *, base: pa.Table = BASE, near: bool = True
) -> SealedPool:
    return SealedPool(benchmark, decoy, base=base, label="label", features=FEATURES, near=near, source="decoy.csv")


@pytest.fixture(scope="module")
def sealed() -> SealedPool:
    return pool()


def test_rows_of_the_benchmark_without_rows_of_the_decoy_are_a_leak(sealed: SealedPool) -> None:
    test = sealed.test("gift", [HONEST, BENCHMARK.slice(0, 12)], source="gift.csv")
    assert (test.contribution, test.benchmark_hits, test.decoy_hits, test.alarm) == ("gift", 12, 0, True)
    assert test.p_value == pytest.approx((900 / 1900) ** 12)
    assert leak_note(test) == (
        "gift holds more rows of the benchmark than of the decoy (12 to 0): benchmark rows have leaked, p = 0.00013."
    )


def test_as_many_rows_of_both_are_no_leak(sealed: SealedPool) -> None:
    test = sealed.test("gift", [HONEST, BENCHMARK.slice(0, 12), DECOY.slice(0, 12)], source="gift.csv")
    assert (test.benchmark_hits, test.decoy_hits, test.alarm) == (12, 12, False)
    assert test.p_value > 0.3


def test_rows_of_the_decoy_alone_raise_no_alarm(sealed: SealedPool) -> None:
    test = sealed.test("gift", [DECOY], source="gift.csv")
    assert (test.benchmark_hits, test.decoy_hits, test.p_value, test.alarm) == (0, 1_000, 1, False)


def test_a_contribution_that_meets_nothing_raises_no_alarm(sealed: SealedPool) -> None:
    test = sealed.test("gift", [people(300, 9)], source="gift.csv")
    assert (test.benchmark_hits, test.decoy_hits, test.p_value, test.alarm) == (0, 0, 1, False)


@pytest.mark.parametrize("change", [flipped, respelled, lambda table: noisy(table, 0.01)])
def test_changed_copies_are_found_in_both_halves_alike(sealed: SealedPool, change: object) -> None:
    assert callable(change)
    test = sealed.test("gift", [change(BENCHMARK.slice(0, 300)), change(DECOY.slice(0, 300))], source="gift.csv")
    assert min(test.benchmark_hits, test.decoy_hits) >= 290
    assert abs(test.benchmark_hits - test.decoy_hits) <= 10


def test_near_rows_count_only_where_nearness_is_searched_for(sealed: SealedPool) -> None:
    offered = noisy(BENCHMARK.slice(0, 40), 0.01)
    assert sealed.test("gift", [offered], source="gift.csv").benchmark_hits == 40
    assert pool(near=False).test("gift", [offered], source="gift.csv").benchmark_hits == 0


def test_a_row_that_is_offered_many_times_is_met_once(sealed: SealedPool) -> None:
    test = sealed.test("gift", [BENCHMARK.slice(3, 1)] * 50, source="gift.csv")
    assert (test.benchmark_hits, test.alarm) == (1, False)


def test_contributions_are_judged_one_by_one(sealed: SealedPool) -> None:
    first = sealed.test("one", [BENCHMARK.slice(0, 12)], source="one.csv")
    again = sealed.test("two", [BENCHMARK.slice(6, 12)], source="two.csv")
    assert (first.benchmark_hits, again.benchmark_hits) == (12, 12)


def test_all_rows_of_the_pool_that_repeat_one_are_met_with_it() -> None:
    twice = pa.concat_tables([BENCHMARK, BENCHMARK.slice(0, 5), flipped(BENCHMARK.slice(0, 2))])
    test = pool(twice, pa.concat_tables([DECOY, DECOY.slice(0, 3)])).test(
        "gift", [BENCHMARK.slice(0, 5), DECOY.slice(0, 3)], source="gift.csv"
    )
    assert (test.benchmark_hits, test.decoy_hits) == (12, 6)


def test_exchanging_the_halves_exchanges_the_hits_also_of_rows_that_are_near_one_of_each() -> None:
    both = pa.concat_tables([noisy(BENCHMARK.slice(0, 200), 1e-3), DECOY])
    offered = pa.concat_tables([BENCHMARK.slice(0, 150), noisy(BENCHMARK.slice(0, 200), 5e-4), DECOY.slice(40, 30)])
    one = pool(BENCHMARK, both).test("gift", [offered], source="gift.csv")
    other = pool(both, BENCHMARK).test("gift", [offered], source="gift.csv")
    assert (one.benchmark_hits, one.decoy_hits) == (other.decoy_hits, other.benchmark_hits)
    assert min(one.benchmark_hits, one.decoy_hits) > 0


def test_a_decoy_that_holds_rows_of_the_benchmark_is_refused() -> None:
    mixed = pa.concat_tables([DECOY, BENCHMARK.slice(0, 30)])
    with pytest.raises(DataError, match=r"decoy\.csv: 30 of its 1,030 rows stand in the benchmark, expected none"):
        pool(decoy=mixed)
    with pytest.raises(DataError, match=r"900 of its 900 rows"):
        pool(decoy=BENCHMARK)
    few = pa.concat_tables([DECOY, BENCHMARK.slice(0, 5)])
    test = pool(decoy=few, near=False).test("gift", [few], source="gift.csv")
    assert (test.benchmark_hits, test.decoy_hits) == (5, 1_005)


def test_rows_that_repeat_by_nature_may_stand_in_both_halves() -> None:
    rng = np.random.default_rng(0)
    common = people(300, 6).take(pa.array(rng.integers(0, 300, 2_000)))
    sealed = pool(common.slice(0, 1_000), common.slice(1_000), near=False)
    test = sealed.test("gift", [common.take(pa.array(rng.integers(0, 2_000, 100)))], source="gift.csv")
    assert test.benchmark_hits + test.decoy_hits > 500
    assert not test.alarm


@given(
    hits=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    rows=st.tuples(st.integers(60, 500), st.integers(60, 500)),
)
def test_the_probability_is_that_of_the_binomial_test(hits: tuple[int, int], rows: tuple[int, int]) -> None:
    test = decoy_test("gift", hits=hits, rows=rows)
    if sum(hits):
        expected = stats.binomtest(hits[0], sum(hits), rows[0] / sum(rows), alternative="greater").pvalue
        assert test.p_value == pytest.approx(expected, rel=1e-9)
    else:
        assert test.p_value == 1
    assert test.alarm == (test.p_value < ALARM_LEVEL)
    assert decoy_test("gift", hits=(hits[0] + 1, hits[1]), rows=rows).p_value <= test.p_value
    assert decoy_test("gift", hits=(hits[0], hits[1] + 1), rows=rows).p_value >= test.p_value


@pytest.mark.slow
def test_honest_contributions_alarm_in_at_most_one_of_a_hundred_and_leaks_are_found() -> None:
    honest, exact, near = [], [], []
    for seed in range(10):
        # Two digits make some honest rows nearly equal rows of the pool; half of the contributions are shifted.
        split = people(8_000, 10_000 + seed, digits=2)
        benchmark = split.slice(0, 4_000)
        sealed = pool(benchmark, split.slice(4_000), base=people(8_000, 20_000 + seed, digits=2))
        for number in range(30):
            rng = np.random.default_rng(number)
            offered = people(4_000, 30_000 + 100 * seed + number, shift=0.5 * (number % 2), digits=2)
            # Rows that an honest contributor and the pool's owner both have from elsewhere.
            common = split.take(pa.array(rng.choice(8_000, 40, replace=False)))
            leaked = benchmark.take(pa.array(rng.choice(4_000, 20, replace=False)))
            honest.append(sealed.test("gift", [offered, common], source="gift.csv").alarm)
            exact.append(sealed.test("gift", [offered, leaked], source="gift.csv").alarm)
            if number % 3 == 0:
                near.append(sealed.test("gift", [offered, noisy(leaked, 0.03)], source="gift.csv").alarm)
    # Of 300 honest ones 3 are expected at most; 9 are three and a half standard deviations more.
    assert sum(honest) <= 9
    assert all(exact)
    assert all(near)
