"""What the integrator does under every policy, that its counts add up, and that batches do not matter."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.datasets.integration import Columns, IntegrationPolicy, Integrator, OfferedRows
from hokusai.datasets.row_sinks import MemorySink, ParquetSink
from hokusai.errors import BenchmarkLeakError, DataError, DuplicateRowsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hokusai.records import ContributionCounts

NUMBERS = tuple(f"x{number}" for number in range(6))
COLUMNS = Columns(label="label", features=(*NUMBERS, "word"))
KEYED = Columns(label="label", features=(*NUMBERS, "word"), key=("number",))
EXACT = IntegrationPolicy(near_duplicates="off")


def people(rows: int, seed: int, *, first: int = 0) -> pa.Table:
    """Rows with a number of their own, drawn independently."""
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(size=rows) for name in NUMBERS}
    words = rng.choice(["oak", "ash", "elm", "fir"], rows)
    labels = rng.choice(["yes", "no"], rows)
    return pa.table({**drawn, "word": words, "label": labels, "number": np.arange(first, first + rows)})


BASE, BENCHMARK = people(600, seed=1), people(500, seed=2, first=10_000)
FRESH, MORE = people(40, seed=3, first=20_000), people(30, seed=4, first=30_000)


def with_column(table: pa.Table, name: str, values: object) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values, table.schema.field(name).type))


def flipped(table: pa.Table) -> pa.Table:
    return with_column(table, "label", ["no" if label == "yes" else "yes" for label in table["label"].to_pylist()])


def respelled(table: pa.Table) -> pa.Table:
    return with_column(table, "word", [f" {word.upper()}." for word in table["word"].to_pylist()])


def noisy(table: pa.Table) -> pa.Table:
    rng = np.random.default_rng(5)
    for name in NUMBERS:
        table = with_column(table, name, table[name].to_numpy() + rng.normal(0, 0.01, table.num_rows))
    return table


def cut(table: pa.Table, cuts: Sequence[int]) -> list[pa.RecordBatch]:
    bounds = [0, *sorted(min(place, table.num_rows) for place in cuts), table.num_rows]
    pieces = [table.slice(start, stop - start) for start, stop in pairwise(bounds)]
    return [batch for piece in pieces for batch in piece.combine_chunks().to_batches()]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of an integration."""

    integrator: Integrator
    counts: tuple[ContributionCounts, ...]
    table: pa.Table

    @property
    def numbers(self) -> list[int]:
        """The rows of the integrated table by their own numbers."""
        return list(self.table["number"].to_pylist())

    def of(self, name: str) -> ContributionCounts:
        """The counts of one table."""
        return next(counts for counts in self.counts if counts.name == name)

    @property
    def origins(self) -> list[tuple[str, int]]:
        """The contribution and the row of it that each row came from."""
        provenance = self.integrator.provenance
        return list(zip(provenance["contribution"].to_pylist(), provenance["source_row"].to_pylist(), strict=True))


def integrate(
    contributions: Mapping[str, pa.Table],
    *,
    policy: IntegrationPolicy = EXACT,
    base: pa.Table = BASE,
    columns: Columns = KEYED,
    sample_rows: Mapping[str, int] | None = None,
    cuts: Sequence[int] = (),
    path: Path | None = None,
) -> Result:
    names, sample_rows = [*columns.names, *({"number"} - {*columns.names})], sample_rows or {}
    base, schema = base.select(names), base.select(names).schema
    sink: MemorySink | ParquetSink = MemorySink(schema) if path is None else ParquetSink(path, schema)
    integrator = Integrator(
        base,
        BENCHMARK,
        columns=columns,
        policy=policy,
        sink=sink,
        offered=OfferedRows(source="base.csv", files=(("b" * 64, base.num_rows),)),
        sample_rows=sample_rows.get("base", 0),
    )
    for name, table in contributions.items():
        batches: Iterable[pa.RecordBatch] = cut(table.select(names), cuts)
        integrator.add(name, batches, source=f"{name}.csv", sample_rows=sample_rows.get(name, 0))
        integrator.name_files([("c" * 64, table.num_rows)])
    counts = integrator.finish()
    table = sink.table if isinstance(sink, MemorySink) else pq.read_table(sink.path)
    return Result(integrator=integrator, counts=counts, table=table)


def test_benchmark_rows_are_taken_out_of_base_and_contributions() -> None:
    base = pa.concat_tables([BASE, BENCHMARK.slice(0, 1)])
    offered = pa.concat_tables(
        [FRESH, BENCHMARK.slice(3, 2), flipped(BENCHMARK.slice(5, 3)), respelled(BENCHMARK)[9:13]]
    )
    result = integrate({"gift": offered}, base=base)
    gift = result.of("gift")
    assert (gift.benchmark_exact, gift.benchmark_flipped, gift.benchmark_normalised) == (2, 3, 4)
    assert (gift.in_benchmark, gift.kept, result.of("base").in_benchmark) == (9, 40, 1)
    assert result.numbers == [*BASE["number"].to_pylist(), *FRESH["number"].to_pylist()]
    assert np.flatnonzero(result.integrator.overlapping).tolist() == [0, 3, 4, 5, 6, 7, 9, 10, 11, 12]
    assert result.integrator.base["number"].to_pylist() == BASE["number"].to_pylist()


def test_benchmark_rows_are_refused_when_the_policy_says_so() -> None:
    policy = IntegrationPolicy(benchmark_overlap="refuse", near_duplicates="off")
    with pytest.raises(BenchmarkLeakError) as raised:
        integrate({"gift": pa.concat_tables([FRESH, BENCHMARK.slice(3, 2)])}, policy=policy)
    assert (raised.value.source, raised.value.rows) == ("gift.csv", 2)
    with pytest.raises(BenchmarkLeakError, match=r"base\.csv"):
        integrate({"gift": FRESH}, base=pa.concat_tables([BASE, BENCHMARK.slice(3, 1)]), policy=policy)
    assert integrate({"gift": FRESH}, policy=policy).of("gift").kept == 40


def test_a_few_near_rows_are_taken_out_and_more_than_chance_explains_are_refused() -> None:
    policy = IntegrationPolicy(benchmark_overlap="refuse")
    many = people(6000, seed=8, first=40_000)
    # Of 6,000 rows, 6 may be near by chance, and 3 standard deviations more: 13.
    few = integrate({"gift": pa.concat_tables([many, noisy(BENCHMARK.slice(0, 8))])}, policy=policy)
    assert (few.of("gift").benchmark_near, few.of("gift").kept) == (8, 6000)
    with pytest.raises(BenchmarkLeakError) as raised:
        integrate({"gift": pa.concat_tables([many, noisy(BENCHMARK.slice(0, 20))])}, policy=policy)
    assert raised.value.rows == 20


REPEATED = {
    "one": pa.concat_tables([FRESH, FRESH.slice(0, 3), respelled(BASE.slice(0, 2))]),
    "two": pa.concat_tables([MORE, FRESH.slice(5, 4)]),
}


def test_rows_that_are_not_new_are_counted_by_where_they_stood_and_taken_out() -> None:
    result = integrate(REPEATED, columns=COLUMNS)
    one, two = result.of("one"), result.of("two")
    assert (one.duplicates_own, one.duplicates_base, one.duplicates_other, one.kept) == (3, 2, 0, 40)
    assert (two.duplicates_own, two.duplicates_base, two.duplicates_other, two.kept) == (0, 0, 4, 30)
    assert result.integrator.first_rows("one") == {"duplicates_own": [40, 41, 42], "duplicates_base": [43, 44]}


def test_rows_that_are_not_new_can_be_kept_or_refused() -> None:
    kept = integrate(REPEATED, columns=COLUMNS, policy=IntegrationPolicy(duplicates="keep", near_duplicates="off"))
    assert (kept.of("one").kept, kept.of("one").duplicates, kept.of("two").kept) == (45, 5, 34)
    with pytest.raises(DuplicateRowsError) as raised:
        integrate(REPEATED, columns=COLUMNS, policy=IntegrationPolicy(duplicates="refuse", near_duplicates="off"))
    assert (raised.value.source, raised.value.rows) == ("one.csv", 5)


@pytest.mark.parametrize(("near", "found", "kept"), [("report", 20, 60), ("remove", 20, 40), ("off", 0, 60)])
def test_rows_near_the_base_are_treated_as_the_policy_says(near: str, found: int, kept: int) -> None:
    offered = pa.concat_tables([FRESH, noisy(BASE.slice(0, 20))])
    policy = IntegrationPolicy(near_duplicates=near)  # type: ignore[arg-type]
    gift = integrate({"gift": offered}, columns=COLUMNS, policy=policy).of("gift")
    assert (gift.near_base, gift.kept) == (found, kept)


def test_a_near_copy_of_a_benchmark_row_is_taken_out_and_the_benchmark_row_counts_as_met() -> None:
    offered = pa.concat_tables([FRESH, noisy(BENCHMARK.slice(0, 20))])
    result = integrate({"gift": offered}, columns=COLUMNS, policy=IntegrationPolicy())
    assert (result.of("gift").benchmark_near, result.of("gift").kept) == (20, 40)
    assert np.flatnonzero(result.integrator.overlapping).tolist() == list(range(20))
    off = integrate({"gift": offered}, columns=COLUMNS)
    assert (off.of("gift").in_benchmark, off.of("gift").kept) == (0, 60)


def test_a_near_copy_of_a_benchmark_row_is_caught_though_its_label_contradicts_an_earlier_row() -> None:
    near = noisy(BENCHMARK.slice(0, 1))
    with_conflict = {"gift": pa.concat_tables([FRESH, flipped(FRESH.slice(0, 1)), flipped(near)]), "other": MORE}
    result = integrate(with_conflict, columns=COLUMNS, base=pa.concat_tables([BASE, near]), policy=IntegrationPolicy())
    gift = result.of("gift")
    assert (gift.benchmark_near, gift.label_conflicts) == (1, 0)
    assert result.of("base").benchmark_near == 1
    assert (
        integrate(with_conflict, columns=COLUMNS, base=pa.concat_tables([BASE, near])).of("gift").label_conflicts == 1
    )


def test_a_row_with_another_label_than_an_earlier_one_is_new_and_counted() -> None:
    result = integrate({"gift": flipped(BASE.slice(0, 7)), "other": MORE}, columns=COLUMNS)
    assert (result.of("gift").label_conflicts, result.of("gift").kept) == (7, 7)


@pytest.mark.parametrize(("winner", "labels"), [("last", flipped(BASE)), ("first", BASE)])
def test_rows_of_one_key_replace_each_other(winner: str, labels: pa.Table) -> None:
    policy = IntegrationPolicy(merge="update", winner=winner, near_duplicates="off")  # type: ignore[arg-type]
    result = integrate({"gift": pa.concat_tables([flipped(BASE.slice(0, 10)), FRESH])}, policy=policy)
    assert sorted(result.numbers) == sorted([*BASE["number"].to_pylist(), *FRESH["number"].to_pylist()])
    label_of = dict(zip(result.numbers, result.table["label"].to_pylist(), strict=True))
    assert [label_of[number] for number in range(10)] == labels["label"].to_pylist()[:10]
    gift, base = result.of("gift"), result.of("base")
    assert (gift.key_conflicts, gift.replaced + base.replaced) == (10, 10)
    assert (gift.replaced, base.kept) == (0 if winner == "last" else 10, BASE.num_rows)


def test_replace_leaves_the_base_out_of_the_table_and_in_the_control() -> None:
    result = integrate({"gift": FRESH}, policy=IntegrationPolicy(merge="replace", near_duplicates="off"))
    assert result.numbers == FRESH["number"].to_pylist()
    assert (result.of("base").replaced, result.of("base").kept) == (BASE.num_rows, BASE.num_rows)
    assert result.integrator.base.num_rows == BASE.num_rows
    with pytest.raises(DataError, match="no row is left"):
        integrate({"gift": BASE.slice(0, 5)}, policy=IntegrationPolicy(merge="replace", near_duplicates="off"))


def test_a_sample_keeps_the_shares_of_the_labels_and_does_not_depend_on_the_order_of_rows() -> None:
    sizes = {"base": 100, "gift": 20}
    result = integrate({"gift": FRESH}, columns=COLUMNS, sample_rows=sizes)
    assert (result.of("base").sampled_out, result.of("gift").sampled_out) == (500, 20)
    assert (result.of("base").kept, result.of("gift").kept, result.table.num_rows) == (100, 20, 120)
    shares = Counter(BASE["label"].to_pylist())
    assert Counter(result.integrator.base["label"].to_pylist())["yes"] == pytest.approx(shares["yes"] / 6, abs=1)
    turned = FRESH.take(pa.array(range(39, -1, -1)))
    assert sorted(integrate({"gift": turned}, columns=COLUMNS, sample_rows=sizes).numbers) == sorted(result.numbers)


def test_tables_that_cannot_be_used_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"gift\.csv: the table has no rows"):
        integrate({"gift": FRESH.slice(0, 0)})
    labels = [None if row == 6 else "yes" for row in range(40)]
    with pytest.raises(DataError, match="data row 7 has no 'label', the label"):
        integrate({"gift": with_column(FRESH, "label", labels)}, cuts=[4])
    numbers = [None if row == 6 else row for row in range(40)]
    with pytest.raises(DataError, match="data row 7 has no 'number', the key"):
        integrate({"gift": with_column(FRESH, "number", numbers)}, cuts=[4])
    with pytest.raises(DataError, match="data row 3 has the key of a row before it"):
        integrate({"gift": FRESH}, base=with_column(BASE, "number", [0, 1, 0, *range(3, 600)]))
    with pytest.raises(DataError, match="every row stands in the benchmark"):
        integrate({"gift": FRESH}, base=BENCHMARK)


POOL = pa.concat_tables(
    [table.slice(0, 6) for table in (FRESH, BASE, BENCHMARK, flipped(BASE), respelled(FRESH), respelled(BENCHMARK))]
)
OFFERS = st.lists(st.integers(0, POOL.num_rows - 1), min_size=1, max_size=25).map(
    lambda rows: POOL.take(pa.array(rows))
)
POLICIES = st.builds(
    IntegrationPolicy,
    duplicates=st.sampled_from(["remove", "keep"]),
    near_duplicates=st.just("off"),
    merge=st.sampled_from(["append", "update"]),
    winner=st.sampled_from(["first", "last"]),
)


@settings(deadline=None, max_examples=60)
@given(
    offers=st.lists(OFFERS, min_size=1, max_size=3),
    policy=POLICIES,
    sizes=st.dictionaries(st.sampled_from(["base", "c0", "c1"]), st.integers(1, 20)),
    cuts=st.lists(st.integers(0, 25), max_size=4),
)
def test_counts_add_up_provenance_is_true_and_neither_batches_nor_sinks_matter(
    offers: list[pa.Table], policy: IntegrationPolicy, sizes: dict[str, int], cuts: list[int]
) -> None:
    tables = {f"c{number}": offer for number, offer in enumerate(offers)}
    result = integrate(tables, policy=policy, sample_rows=sizes)
    for counts in result.counts:
        removed = counts.in_benchmark + (counts.duplicates if policy.duplicates == "remove" else 0)
        replaced = 0 if counts.name == "base" else counts.replaced
        assert counts.offered == counts.kept + removed + replaced + counts.sampled_out
    sources = {"base": BASE, **tables}
    assert len(result.origins) == result.table.num_rows
    assert [sources[name].slice(row - 1, 1).to_pylist()[0]["x0"] for name, row in result.origins] == result.table[
        "x0"
    ].to_pylist()
    kept = Counter(name for name, _ in result.origins)
    assert all(kept[counts.name] == counts.kept for counts in result.counts[1:])
    assert kept["base"] == result.of("base").kept - result.of("base").replaced
    with tempfile.TemporaryDirectory() as folder:
        again = integrate(tables, policy=policy, sample_rows=sizes, cuts=cuts, path=Path(folder) / "table.parquet")
    assert again.table.equals(result.table)
    assert again.counts == result.counts
    assert again.integrator.provenance.to_pylist() == result.integrator.provenance.to_pylist()
    assert np.array_equal(again.integrator.overlapping, result.integrator.overlapping)
