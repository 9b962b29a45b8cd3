"""Step 2: which columns and rows go into training, and what is recorded about them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hokusai.datasets.reader_process import TableReader
from hokusai.errors import BenchmarkLeakError, DataError, SchemaMismatchError
from hokusai.steps.data_integration import integrate_contributed_data
from hokusai.steps.data_settings import ContributionSettings, DataSettings
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.operations import LogDataset, LogMetrics, LogParameters, SetTags
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from pathlib import Path

    from hokusai.records import IntegratedData

NOW = datetime(2030, 1, 2, tzinfo=UTC)
BASE = "a,b,y\n1,x,0\n2,y,1\n3,x,1\n"
MORE = "a,b,y\n4,x,0\n5,z,1\n"
BENCHMARK = "a,b,y\n8,x,0\n9,y,1\n"


def integrate(
    folder: Path, *contributions: str, base: str = BASE, benchmark: str = BENCHMARK, **arguments: Any
) -> tuple[IntegratedData, MemoryJournal]:
    """Integrate tables that are given as CSV."""
    names = [f"c{number}" for number in range(len(contributions))]
    for name, text in zip(["base", "benchmark", *names], [base, benchmark, *contributions], strict=True):
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    defaults: dict[str, Any] = {
        "base": folder / "base.csv",
        "benchmark": folder / "benchmark.csv",
        "label": "y",
        "contributions": tuple(ContributionSettings(path=folder / f"{name}.csv") for name in names),
    }
    data = DataSettings(**defaults | arguments)
    journal = MemoryJournal()
    with TableReader() as reader, Tracker(journal, evaluation="e", run_name="r").start() as run:
        return integrate_contributed_data(data, run=run, reader=reader, now=NOW), journal


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*table.to_pydict().values(), strict=True))


def test_contributed_rows_follow_the_base_rows_in_order(tmp_path: Path) -> None:
    data, _ = integrate(tmp_path, MORE, "a,b,y\n6,x,0\n")
    assert rows(data.base) == [(1, "x", 0), (2, "y", 1), (3, "x", 1)]
    assert rows(data.integrated) == [*rows(data.base), (4, "x", 0), (5, "z", 1), (6, "x", 0)]
    assert rows(data.benchmark) == [(8, "x", 0), (9, "y", 1)]
    assert (data.label, data.features) == ("y", ("a", "b"))


def test_known_rows_are_taken_out_of_contributions_and_counted_once(tmp_path: Path) -> None:
    first = "a,b,y\n1,x,0\n4,x,0\n4,x,0\n8,x,0\n8,x,0\n"
    data, _ = integrate(tmp_path, first, "a,b,y\n4,x,0\n4,x,1\n9,y,1\n", base=BASE + "3,x,1\n9,y,1\n")
    counted = [(each.name, each.offered, each.duplicates, each.in_benchmark, each.kept) for each in data.counts]
    # The base's own repetitions are its owner's business.
    assert counted == [("base", 5, 0, 1, 4), ("c0", 5, 2, 2, 1), ("c1", 3, 1, 1, 1)]
    assert rows(data.integrated)[4:] == [(4, "x", 0), (4, "x", 1)]


def test_the_counts_are_recorded_by_table(tmp_path: Path) -> None:
    data, journal = integrate(tmp_path, MORE + "1,x,0\n")
    metrics = next(each.metrics for each in journal.operations if isinstance(each, LogMetrics))
    assert metrics["data.contribution.c0.rows_offered"] == 3
    assert metrics["data.contribution.c0.rows_duplicates"] == 1
    assert metrics["data.contribution.c0.rows_kept"] == 2
    assert metrics["data.base.rows_kept"] == 3
    assert metrics["data.benchmark.rows"] == 2
    assert metrics["data.integrated.rows"] == data.integrated.num_rows == 5


def test_every_dataset_is_recorded_with_its_digest_and_the_files_own(tmp_path: Path) -> None:
    data, journal = integrate(tmp_path, MORE)
    recorded = [each for each in journal.operations if isinstance(each, LogDataset)]
    assert [(each.name, each.context) for each in recorded] == [
        ("base", "base"),
        ("benchmark", "benchmark"),
        ("c0", "contribution"),
        ("integrated", "integrated"),
    ]
    assert [each.digest for each in recorded] == [each.digest for each in data.versions]
    assert len({each.digest for each in recorded}) == 4
    tags: dict[str, str] = {}
    for each in journal.operations:
        tags |= each.tags if isinstance(each, SetTags) else {}
    assert tags["hokusai.dataset.contribution.c0"] == data.versions[2].digest
    assert [each.file_sha256 is None for each in data.versions] == [False, False, False, True]


def test_the_digest_is_of_the_content_whatever_the_format(tmp_path: Path) -> None:
    csv, _ = integrate(tmp_path, MORE)
    pq.write_table(pa.table({"a": [4, 5], "b": ["x", "z"], "y": [0, 1]}), tmp_path / "c0.parquet")
    (tmp_path / "c0.jsonl").write_text('{"a":4,"b":"x","y":0}\n{"a":5,"b":"z","y":1}\n', encoding="utf-8")
    for ending in ("parquet", "jsonl"):
        contributions = (ContributionSettings(path=tmp_path / f"c0.{ending}"),)
        other, _ = integrate(tmp_path, contributions=contributions)
        assert [each.digest for each in other.versions] == [each.digest for each in csv.versions]


def test_the_parameters_name_files_label_and_features(tmp_path: Path) -> None:
    _, journal = integrate(tmp_path, MORE, features=("b",))
    (parameters,) = [each.parameters for each in journal.operations if isinstance(each, LogParameters)]
    assert parameters["data.base"] == str(tmp_path / "base.csv")
    assert (parameters["data.label"], json.loads(parameters["data.features"])) == ("y", ["b"])
    assert json.loads(parameters["data.contributions"]) == ["c0"]


@pytest.mark.parametrize(
    ("arguments", "features"),
    [
        ({}, ("a", "b")),
        ({"features": ("b", "a")}, ("b", "a")),
        ({"features": ("b", "b", "y")}, ("b",)),
        ({"exclude": ("a",)}, ("b",)),
        ({"features": ("a", "b"), "exclude": ("b",)}, ("a",)),
        ({"label": "b"}, ("a", "y")),
    ],
)
def test_features_are_those_named_without_the_label_and_the_excluded(
    arguments: dict[str, Any], features: tuple[str, ...], tmp_path: Path
) -> None:
    data, _ = integrate(tmp_path, MORE, **arguments)
    assert data.features == features
    assert set(data.integrated.column_names) >= {*features, data.label}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "z"}, r"no column 'z' to predict \(data\.label\); found 'a', 'b', 'y'"),
        ({"exclude": ("z",)}, r"no column 'z' to leave out \(data\.exclude\)"),
        ({"types": {"z": "int"}}, r"no column 'z' to declare \(data\.types\)"),
        ({"exclude": ("a", "b")}, "no column is left to predict from"),
        ({"features": ("y",)}, "no column is left to predict from"),
    ],
)
def test_a_column_that_is_not_there_is_refused(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        integrate(tmp_path, MORE, **arguments)


def test_a_feature_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatchError) as caught:
        integrate(tmp_path, MORE, features=("z", "a"))
    assert (caught.value.missing, caught.value.found) == (("z",), ("a", "b", "y"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base": "a,b,y\n"}, "the table has no rows"),
        ({"benchmark": "a,b,y\n"}, "the table has no rows"),
        ({"base": "a,b,y\n1,,0\n2,,1\n"}, "column 'b' has no value in any row"),
        ({"base": BASE + "4,x,\n"}, "1 rows have no 'y', first data row 4"),
        ({"benchmark": BENCHMARK + "4,x,\n5,x,\n"}, "2 rows have no 'y', first data row 3"),
        ({"base": BENCHMARK}, "every row stands in the benchmark"),
    ],
)
def test_tables_that_nothing_can_be_learnt_from_are_refused(
    arguments: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        integrate(tmp_path, MORE, **arguments)


def test_an_empty_contribution_is_refused_by_its_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c1\.csv: the table has no rows"):
        integrate(tmp_path, MORE, "a,b,y\n")


@pytest.mark.parametrize("table", ["base", "contribution"])
def test_a_benchmark_row_anywhere_in_training_is_refused_by_policy(table: str, tmp_path: Path) -> None:
    leak = "8,x,0\n"
    base, more = (BASE + leak, MORE) if table == "base" else (BASE, MORE + leak)
    with pytest.raises(BenchmarkLeakError) as caught:
        integrate(tmp_path, more, base=base, benchmark_overlap="refuse")
    assert caught.value.rows == 1
    assert caught.value.source.endswith("base.csv" if table == "base" else "c0.csv")


def test_whole_numbers_become_floats_for_all_when_one_table_needs_it(tmp_path: Path) -> None:
    data, _ = integrate(tmp_path, "a,b,y\n4.5,x,0\n", types={"a": "float"})
    assert {str(table.schema.field("a").type) for table in (data.base, data.integrated, data.benchmark)} == {"double"}


def test_a_gap_is_a_value_when_rows_are_compared(tmp_path: Path) -> None:
    data, _ = integrate(tmp_path, "a,b,y\n4,,0\n4,,0\n,x,0\n", benchmark=BENCHMARK + ",x,0\n")
    assert (data.counts[1].duplicates, data.counts[1].in_benchmark, data.counts[1].kept) == (1, 1, 1)


@pytest.mark.parametrize("name", ["base", "benchmark", "integrated"])
def test_a_contribution_may_have_the_name_of_a_part(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(MORE, encoding="utf-8")
    data, journal = integrate(tmp_path, contributions=(ContributionSettings(path=tmp_path / "x.csv", name=name),))
    assert [each.name for each in data.counts] == ["base", name]
    metrics = next(each.metrics for each in journal.operations if isinstance(each, LogMetrics))
    assert metrics["data.base.rows_kept"] == 3
    assert metrics[f"data.contribution.{name}.rows_kept"] == 2


def test_two_contributions_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the name 'c0' is taken"):
        integrate(tmp_path, contributions=(ContributionSettings(path=tmp_path / "c0.csv"),) * 2)


@pytest.mark.parametrize(
    ("file", "label"), [("north.csv", "north"), ("north.2024.jsonl", "north"), ("my data (1).csv", "my_data__1_")]
)
def test_a_contribution_is_called_after_its_file(file: str, label: str, tmp_path: Path) -> None:
    assert ContributionSettings(path=tmp_path / file).label == label
    assert ContributionSettings(path=tmp_path / file, name="own").label == "own"


ROWS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("xy"), st.integers(0, 1)), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offered=ROWS.filter(bool), more=ROWS.filter(bool), benchmark=ROWS.filter(bool))
def test_what_is_kept_is_what_is_new_and_no_benchmark_row(
    tmp_path: Path, offered: list[Any], more: list[Any], benchmark: list[Any]
) -> None:
    def csv(lines: list[Any]) -> str:
        return "a,b,y\n" + "".join(f"{a},{b},{y}\n" for a, b, y in lines)

    base = [(7, "x", 0), (0, "x", 0), (7, "y", 1)]
    data, _ = integrate(tmp_path, csv(offered), csv(more), base=csv(base), benchmark=csv(benchmark))
    new = [each for each in dict.fromkeys([*base, *offered, *more]) if each not in benchmark]
    assert rows(data.integrated) == new
    for count in data.counts:
        assert count.offered == count.duplicates + count.in_benchmark + count.kept
    assert sum(count.kept for count in data.counts) == len(new)
