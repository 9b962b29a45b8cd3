"""Step 2: which columns and rows go into training, and what is recorded about them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hokusai.datasets.reader_process import TableReader
from hokusai.digests import file_sha256
from hokusai.errors import (
    BenchmarkLeakError,
    ContractViolationError,
    DataError,
    HokusaiError,
    PersonalDataError,
    SchemaMismatchError,
    ValueMismatchError,
)
from hokusai.steps.data_integration import integrate_contributed_data
from hokusai.steps.data_settings import ContributionSettings, DataSettings
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.operations import LogArtifact, LogDataset, LogMetrics, LogParameters, SetTags
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hokusai.records import IntegratedData

READER = TableReader()
NOW = datetime(2030, 1, 2, tzinfo=UTC)
BASE = "a,b,y\n1,x,0\n2,y,1\n3,x,1\n"
MORE = "a,b,y\n4,x,0\n5,z,1\n"
BENCHMARK = "a,b,y\n8,x,0\n9,y,1\n"


@pytest.fixture(autouse=True, scope="module")
def _reader_ends() -> Iterator[None]:
    """One reading process for all tests of this module."""
    yield
    READER.close()


def integrate(
    folder: Path,
    *contributions: str,
    base: str = BASE,
    benchmark: str = BENCHMARK,
    tables: dict[str, object] | None = None,
    **arguments: Any,
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
    with Tracker(journal, evaluation="e", run_name="r").start() as run:
        return integrate_contributed_data(data, run=run, reader=READER, now=NOW, tables=tables), journal


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
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        integrate(tmp_path, MORE, **arguments)


def test_an_empty_contribution_is_refused_by_its_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c1\.csv: the table has no rows"):
        integrate(tmp_path, MORE, "a,b,y\n")


WEIGHED_BASE, WEIGHED_MORE = "a,w,y\n1,1,0\n2,0.5,1\n", "a,w,y\n4,2,0\n1,9,0\n"
WEIGHED_BENCHMARK = "a,w,y\n8,1,0\n9,1,1\n"


def test_weights_are_no_feature_and_rows_are_not_compared_by_them(tmp_path: Path) -> None:
    data, journal = integrate(tmp_path, WEIGHED_MORE, base=WEIGHED_BASE, benchmark=WEIGHED_BENCHMARK, sample_weight="w")
    assert (data.features, data.sample_weight) == (("a",), "w")
    assert data.integrated["w"].to_pylist() == [1, 0.5, 2]
    assert data.counts[1].duplicates_base == 1
    recorded = next(each for each in journal.operations if isinstance(each, LogParameters))
    assert recorded.parameters["data.sample_weight"] == "w"


@pytest.mark.parametrize(
    ("table", "value", "message"),
    [
        ("base", "", r"base\.csv: column 'w', data row 3: got no value, expected finite numbers, zero or more"),
        ("benchmark", "-1", r"benchmark\.csv: column 'w', data row 3: got -1\.0"),
        ("contribution", "-0.5", r"c0\.csv: column 'w', data row 3: got -0\.5"),
        ("contribution", "", r"c0\.csv: column 'w', data row 3: got no value"),
    ],
)
def test_a_weight_that_is_none_is_refused_by_its_place(table: str, value: str, message: str, tmp_path: Path) -> None:
    tables = {"base": WEIGHED_BASE, "contribution": WEIGHED_MORE, "benchmark": WEIGHED_BENCHMARK}
    tables[table] += f"7,{value},1\n"
    with pytest.raises(DataError, match=message):
        integrate(
            tmp_path,
            tables["contribution"],
            base=tables["base"],
            benchmark=tables["benchmark"],
            sample_weight="w",
            types={"w": "float"},
        )


@pytest.mark.parametrize(
    ("weight", "message"),
    [("y", "'y' is the label, a key or a feature"), ("v", "no column 'v' to weigh rows by")],
)
def test_a_column_that_cannot_be_a_weight_is_refused(weight: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(HokusaiError, match=message):
        integrate(tmp_path, MORE, sample_weight=weight)


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


# The label follows from the features: a row whose features alone stand in the benchmark is another test's matter.
FEATURES = st.tuples(st.integers(0, 3), st.sampled_from("xy"))
ROWS = st.lists(FEATURES.map(lambda row: (*row, (row[0] + (row[1] == "y")) % 2)), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offered=ROWS.filter(bool), more=ROWS.filter(bool), benchmark=ROWS.filter(bool))
def test_what_is_kept_is_what_is_new_and_no_benchmark_row(
    tmp_path: Path, offered: list[Any], more: list[Any], benchmark: list[Any]
) -> None:
    def csv(lines: list[Any]) -> str:
        return "a,b,y\n" + "".join(f"{a},{b},{y}\n" for a, b, y in lines)

    base = [(7, "x", 1), (0, "x", 0), (7, "y", 0)]
    data, _ = integrate(tmp_path, csv(offered), csv(more), base=csv(base), benchmark=csv(benchmark))
    new = [each for each in dict.fromkeys([*base, *offered, *more]) if each not in benchmark]
    assert rows(data.integrated) == new
    for count in data.counts:
        assert count.offered == count.duplicates + count.in_benchmark + count.kept
    assert sum(count.kept for count in data.counts) == len(new)


def test_every_row_of_the_integrated_table_knows_its_file_and_place(tmp_path: Path) -> None:
    data, journal = integrate(tmp_path, "a,b,y\n1,x,0\n4,x,0\n8,x,0\n5,z,1\n", "a,b,y\n6,x,0\n")
    versions = {version.name: version for version in data.versions}
    assert [tuple(row.values()) for row in data.provenance.to_pylist()] == [
        *(("base", versions["base"].file_sha256, row) for row in (1, 2, 3)),
        *(("c0", versions["c0"].file_sha256, row) for row in (2, 4)),
        ("c1", versions["c1"].file_sha256, 1),
    ]
    (recorded,) = [
        each
        for each in journal.operations
        if isinstance(each, LogArtifact) and each.path == "datasets/provenance.parquet"
    ]
    table = pq.read_table(pa.BufferReader(journal.staged[recorded.sha256]))
    assert table.to_pylist() == data.provenance.to_pylist()


def test_a_folder_of_files_is_one_contribution_whose_rows_know_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "1.csv").write_text("a,b,y\n4,x,0\n5,x,0\n", encoding="utf-8")
    (folder / "2.csv").write_text("a,b,y\n6,x,0\n", encoding="utf-8")
    data, _ = integrate(tmp_path, contributions=(ContributionSettings(path=folder),))
    first, second = (file_sha256(folder / name) for name in ("1.csv", "2.csv"))
    places = [(row["source_sha256"], row["source_row"]) for row in data.provenance.to_pylist()[3:]]
    assert places == [(first, 1), (first, 2), (second, 1)]
    assert data.versions[2].name == "parts"
    assert [file.name for file in data.versions[2].files] == ["1.csv", "2.csv"]


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_tables_in_memory_take_the_place_of_files(kind: str, tmp_path: Path) -> None:
    arrow = pa.table({"a": [4, 5], "b": ["x", "z"], "y": [0, 1], "more": [1, 2]})
    make: dict[str, Any] = {"pandas": arrow.to_pandas, "polars": lambda: pl.from_arrow(arrow), "arrow": lambda: arrow}
    from_files, _ = integrate(tmp_path, MORE)
    missing = (ContributionSettings(path=tmp_path / "nowhere.csv", name="given"),)
    data, _ = integrate(tmp_path, tables={"given": make[kind]()}, contributions=missing)
    assert data.integrated == from_files.integrated
    assert data.versions[2].digest == from_files.versions[2].digest
    assert data.versions[2].source == "given (a table in memory)"
    assert data.provenance.to_pylist()[3]["source_sha256"] == data.versions[2].digest


def test_a_table_in_memory_is_held_to_the_bases_types(tmp_path: Path) -> None:
    frame = pa.table({"a": ["four"], "b": ["x"], "y": [0]})
    missing = (ContributionSettings(path=tmp_path / "nowhere.csv", name="given"),)
    with pytest.raises(ValueMismatchError, match=r"given .a table in memory.: column 'a', data row 1"):
        integrate(tmp_path, tables={"given": frame}, contributions=missing)


KEYED = "id,a,b,y\n10,1,x,0\n11,2,y,1\n12,3,x,1\n"


@pytest.mark.parametrize(("winner", "kept"), [("last", (5, "z", 1)), ("first", (2, "y", 1))])
def test_rows_of_one_key_replace_each_other_and_conflicts_are_counted(
    winner: str, kept: tuple[Any, ...], tmp_path: Path
) -> None:
    more = "id,a,b,y\n11,5,z,1\n13,6,z,0\n"
    data, _ = integrate(
        tmp_path, more, base=KEYED, benchmark="id,a,b,y\n1,8,x,0\n", merge="update", winner=winner, key=("id",)
    )
    assert data.features == ("a", "b")
    by_key = {row["id"]: (row["a"], row["b"], row["y"]) for row in data.integrated.to_pylist()}
    assert by_key == {10: (1, "x", 0), 11: kept, 12: (3, "x", 1), 13: (6, "z", 0)}
    assert data.counts[1].key_conflicts == 1
    assert (data.counts[0].replaced, data.counts[1].replaced) == ((1, 0) if winner == "last" else (0, 1))
    # The control is trained on the base as it was.
    assert data.base.num_rows == 3


def test_the_base_may_be_replaced_for_the_candidate_alone(tmp_path: Path) -> None:
    data, _ = integrate(tmp_path, MORE, merge="replace")
    assert rows(data.base) == [(1, "x", 0), (2, "y", 1), (3, "x", 1)]
    assert rows(data.integrated) == [(4, "x", 0), (5, "z", 1)]
    assert data.counts[0].replaced == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"merge": "update"}, "data.key: is empty"),
        ({"merge": "update", "key": ("nothing",)}, "no column 'nothing' to tell rows apart"),
        ({"merge": "update", "key": ("b",)}, "data row 3 has the key of a row before it"),
        ({"personal_data": {"email": "hash"}}, "at least 32 bytes, got none"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(HokusaiError, match=message):
        integrate(tmp_path, MORE, **arguments)


def test_a_sample_keeps_every_class_and_is_the_same_again(tmp_path: Path) -> None:
    many = "a,b,y\n" + "".join(f"{number},x,{int(number % 5 == 0)}\n" for number in range(100, 200))
    contributions = (ContributionSettings(path=tmp_path / "c0.csv", sample_rows=20),)
    data, _ = integrate(tmp_path, many, contributions=contributions, sample_rows=2)
    again, _ = integrate(tmp_path, many, contributions=contributions, sample_rows=2)
    assert data.integrated == again.integrated
    assert data.base.num_rows == 2
    assert set(data.base["y"].to_pylist()) == {0, 1}
    assert data.integrated["y"].to_pylist()[2:].count(1) == 4
    assert (data.counts[1].sampled_out, data.counts[1].kept) == (80, 20)
    assert data.provenance.num_rows == data.integrated.num_rows == 22


PEOPLE = "a,note,y\n1,call anna.berg@example.org today,0\n2,nothing,1\n3,nothing,1\n"


def test_certain_personal_data_are_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(PersonalDataError, match="email in column 'note'") as caught:
        integrate(
            tmp_path,
            "a,note,y\n4,anna.berg@example.org,0\n",
            base=PEOPLE.replace("anna.berg@example.org", "him"),
            benchmark="a,note,y\n8,none,0\n",
        )
    assert "anna" not in str(caught.value)


@pytest.mark.parametrize(
    ("treatment", "expected"), [("mask", "call [email] today"), ("keep", "call anna.berg@example.org today")]
)
def test_personal_data_are_treated_in_every_table_and_counted(treatment: str, expected: str, tmp_path: Path) -> None:
    more = "a,note,y\n4,bob@example.org,0\n5,fine,1\n"
    data, journal = integrate(
        tmp_path, more, base=PEOPLE, benchmark="a,note,y\n8,none,0\n", personal_data={"email": treatment}
    )
    assert data.base["note"][0].as_py() == expected
    metrics = next(each.metrics for each in journal.operations if isinstance(each, LogMetrics))
    assert metrics["data.personal_data.email.rows"] == 2


def test_a_column_with_personal_data_is_dropped_from_every_table(tmp_path: Path) -> None:
    more = "a,note,y\n4,nothing,0\n5,fine,1\n"
    data, _ = integrate(tmp_path, more, base=PEOPLE, benchmark="a,note,y\n8,none,0\n", personal_data={"email": "drop"})
    assert data.features == ("a",)
    assert data.integrated.column_names == data.benchmark.column_names == ["a", "y"]


def test_one_key_gives_one_hash_in_every_table(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 40, encoding="utf-8")
    more = "a,note,y\n4,call Anna.Berg@example.org today,0\n"
    arguments: dict[str, Any] = {"personal_data": {"email": "hash"}, "hash_key_file": tmp_path / "key"}
    data, _ = integrate(tmp_path, more, base=PEOPLE, benchmark="a,note,y\n8,none,0\n", **arguments)
    hashed = [row["note"] for row in data.integrated.to_pylist() if row["note"].startswith("call")]
    assert len(hashed) == 2
    assert hashed[0] == hashed[1]
    assert "anna" not in hashed[0].lower()


CONTRACT = """
format = "hokusai-contract/1"
label = "y"
[columns.a]
type = "int"
minimum = 0
maximum = 9
[columns.b]
type = "string"
[columns.y]
type = "int"
nullable = false
"""


def test_every_table_must_keep_the_contract(tmp_path: Path) -> None:
    (tmp_path / "contract.toml").write_text(CONTRACT, encoding="utf-8")
    data, _ = integrate(tmp_path, MORE, contract=tmp_path / "contract.toml")
    assert data.integrated.num_rows == 5
    with pytest.raises(ContractViolationError, match=r"c0\.csv: breaks the contract .*'a'.*data row 2"):
        integrate(tmp_path, "a,b,y\n4,x,0\n10,x,0\n", contract=tmp_path / "contract.toml")
    with pytest.raises(ValueMismatchError, match=r"column 'a', data row 1: got '4.5', expected int"):
        integrate(tmp_path, "a,b,y\n4.5,x,0\n", contract=tmp_path / "contract.toml")


def test_the_delta_can_be_told_without_the_benchmark_rows_that_were_met(tmp_path: Path) -> None:
    data, journal = integrate(tmp_path, MORE + "9,y,1\n")
    assert data.overlapping.tolist() == [False, True]
    metrics = next(each.metrics for each in journal.operations if isinstance(each, LogMetrics))
    assert metrics["data.benchmark.rows_overlapping"] == 1


def test_small_tables_are_stored_once_by_their_content_and_described(tmp_path: Path) -> None:
    data, journal = integrate(tmp_path, MORE, MORE.replace("4", "6"))
    artifacts = [each for each in journal.operations if isinstance(each, LogArtifact)]
    snapshots = [each.path for each in artifacts if each.path.endswith(".parquet") and len(each.path) > 60]
    assert snapshots == [f"datasets/{version.digest}.parquet" for version in data.versions]
    manifests = [each.path for each in artifacts if each.path.endswith(".croissant.json")]
    names = ("base", "benchmark", "contribution.c0", "contribution.c1", "integrated")
    assert manifests == [f"datasets/{name}.croissant.json" for name in names]
    assert set(data.versions[-1].parents) == {data.versions[each].digest for each in (0, 2, 3)}
    _, journal = integrate(tmp_path, MORE, snapshots="never")
    assert not [each for each in journal.operations if isinstance(each, LogArtifact) and len(each.path) > 60]
