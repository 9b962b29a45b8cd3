"""Step 2: several benchmarks, the columns that only benchmarks have, and the decoy."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai.analysis.metrics import METRICS
from hokusai.benchmark_reuse import read_benchmark, split_benchmark
from hokusai.config import PipelineConfig
from hokusai.contribution_check import check_contribution
from hokusai.datasets.benchmark_key import read_benchmark_key
from hokusai.datasets.benchmark_split import split_rows
from hokusai.datasets.content_digest import content_digest
from hokusai.datasets.reader_process import TableReader
from hokusai.errors import (
    BenchmarkLeakError,
    DataError,
    HokusaiError,
    PersonalDataError,
    SchemaMismatchError,
    ValueMismatchError,
)
from hokusai.integrated_file import write_integrated
from hokusai.steps.benchmark_use import BenchmarkUse
from hokusai.steps.data_integration import integrate_contributed_data
from hokusai.steps.data_settings import BenchmarkSettings, ContributionSettings, DataSettings
from hokusai.steps.data_tables import distinct_after_masking
from hokusai.steps.delta_settings import DeltaSettings
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.operations import LogArtifact, LogDataset, LogMetrics, LogParameters, SetTags
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hokusai.records import IntegratedData
    from hokusai.testing.plugin import MlflowAddress

READER = TableReader()
NOW = datetime(2030, 1, 2, tzinfo=UTC)
TABLES = {
    "base": "a,b,y\n1,x,0\n2,y,1\n3,x,1\n",
    "more": "a,b,y\n4,x,0\n5,z,1\n",
    "benchmark": "a,b,y\n8,x,0\n9,y,1\n",
    "north": "a,b,y\n20,x,0\n21,y,1\n22,x,1\n",
    "south": "a,b,y\n30,x,0\n31,y,1\n",
}


@pytest.fixture(autouse=True, scope="module")
def _reader_ends() -> Iterator[None]:
    """One reading process for all tests of this module."""
    yield
    READER.close()


def integrate(
    folder: Path,
    *,
    benchmarks: tuple[str, ...] = (),
    columns: tuple[str, ...] = (),
    tables: dict[str, object] | None = None,
    files: dict[str, str] | None = None,
    **arguments: Any,
) -> tuple[IntegratedData, MemoryJournal]:
    """Integrate CSV files, and further benchmarks of them; ``files`` take the place of those above."""
    for name, text in (TABLES | (files or {})).items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    defaults: dict[str, Any] = {
        "base": folder / "base.csv",
        "benchmark": folder / "benchmark.csv",
        "label": "y",
        "contributions": (ContributionSettings(path=folder / "more.csv"),),
        "more_benchmarks": tuple(BenchmarkSettings(path=folder / f"{name}.csv") for name in benchmarks),
    }
    journal = MemoryJournal()
    with Tracker(journal, evaluation="e", run_name="r").start() as run:
        data = integrate_contributed_data(
            DataSettings(**defaults | arguments),
            run=run,
            reader=READER,
            now=NOW,
            tables=tables,
            benchmark_columns=columns,
        )
    return data, journal


def metrics_of(journal: MemoryJournal) -> dict[str, float]:
    return dict(next(each.metrics for each in journal.operations if isinstance(each, LogMetrics)))


def parameters_of(journal: MemoryJournal) -> dict[str, str]:
    return dict(next(each.parameters for each in journal.operations if isinstance(each, LogParameters)))


def stored_table(journal: MemoryJournal, path: str) -> pa.Table:
    (found,) = [each for each in journal.operations if isinstance(each, LogArtifact) and each.path == path]
    return pq.read_table(pa.BufferReader(journal.staged[found.sha256]))


def test_the_rows_of_several_benchmarks_follow_one_another_and_are_told_apart(tmp_path: Path) -> None:
    data, journal = integrate(tmp_path, benchmarks=("north", "south"))
    assert data.benchmark_parts == (("benchmark", 2), ("north", 3), ("south", 2))
    assert data.benchmark["a"].to_pylist() == [8, 9, 20, 21, 22, 30, 31]
    metrics = metrics_of(journal)
    assert metrics["data.benchmark.rows"] == 2
    assert metrics["data.more_benchmarks.north.rows"] == 3
    assert json.loads(parameters_of(journal)["data.more_benchmarks"]) == {
        "north": str(tmp_path / "north.csv"),
        "south": str(tmp_path / "south.csv"),
    }


def test_rows_of_any_benchmark_are_taken_out_of_training_and_named(tmp_path: Path) -> None:
    leaking = TABLES["base"] + "31,y,1\n"
    offered = TABLES["more"] + "8,x,0\n21,y,1\n22,x,0\n"
    data, journal = integrate(tmp_path, benchmarks=("north", "south"), files={"base": leaking, "more": offered})
    assert data.base["a"].to_pylist() == [1, 2, 3]
    assert data.integrated["a"].to_pylist() == [1, 2, 3, 4, 5]
    assert data.overlapping.tolist() == [True, False, False, True, True, False, True]
    assert (data.counts[0].in_benchmark, data.counts[1].in_benchmark) == (1, 3)
    met = stored_table(journal, "datasets/overlapping_benchmark_rows.parquet").to_pylist()
    assert [(row["benchmark"], row["benchmark_row"]) for row in met] == [
        ("benchmark", 1),
        ("north", 2),
        ("north", 3),
        ("south", 2),
    ]
    metrics = metrics_of(journal)
    assert metrics["data.benchmark.rows_overlapping"] == 1
    assert metrics["data.more_benchmarks.north.rows_overlapping"] == 2
    assert metrics["data.more_benchmarks.south.rows_overlapping"] == 1


def test_a_row_of_a_further_benchmark_is_refused_by_policy(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkLeakError) as caught:
        integrate(
            tmp_path,
            benchmarks=("north",),
            files={"more": TABLES["more"] + "21,y,1\n"},
            benchmark_overlap="refuse",
        )
    assert caught.value.rows == 1


def test_a_row_that_stands_in_two_benchmarks_is_met_in_both(tmp_path: Path) -> None:
    north = TABLES["north"] + "8,x,0\n"
    data, _ = integrate(tmp_path, benchmarks=("north",), files={"north": north, "more": TABLES["more"] + "8,x,0\n"})
    assert data.overlapping.tolist() == [True, False, False, False, False, True]


NUMBERS = tuple(f"x{number}" for number in range(8))


def people(rows: int, seed: int) -> pa.Table:
    """Rows of many numbers, of which near ones are copies."""
    rng = np.random.default_rng(seed)
    return pa.table({**dict(zip(NUMBERS, rng.normal(size=(8, rows)), strict=True)), "y": rng.integers(0, 2, rows)})


def nearly(table: pa.Table) -> pa.Table:
    return pa.table({**{name: table[name].to_numpy() + 1e-3 for name in NUMBERS}, "y": table["y"]})


def test_a_row_that_is_nearly_met_is_met_in_every_benchmark_that_has_it(tmp_path: Path) -> None:
    benchmark = people(200, 1)
    tables = {
        "base": people(600, 0),
        "benchmark": benchmark,
        "north": pa.concat_tables([people(100, 2), benchmark.slice(7, 1)]),
        "more": pa.concat_tables([people(50, 3), nearly(benchmark.slice(7, 1))]),
    }
    data, _ = integrate(tmp_path, benchmarks=("north",), tables=dict(tables))
    assert np.flatnonzero(data.overlapping).tolist() == [7, 300]


@pytest.mark.parametrize(("near_duplicates", "met"), [("report", 20), ("off", 0)])
def test_near_rows_are_evidence_of_a_leak_unless_none_are_searched_for(
    near_duplicates: str, met: int, tmp_path: Path
) -> None:
    benchmark = people(200, 1)
    tables = {
        "base": people(600, 0),
        "benchmark": benchmark,
        "decoy": people(200, 2),
        "more": pa.concat_tables([people(50, 3), nearly(benchmark.slice(0, 20))]),
    }
    data, _ = integrate(tmp_path, tables=dict(tables), decoy=tmp_path / "decoy.csv", near_duplicates=near_duplicates)
    assert (data.decoy_tests[0].benchmark_hits, data.decoy_tests[0].decoy_hits) == (met, 0)


def test_a_benchmark_that_shares_its_rows_with_another_one_is_not_narrow_for_that(tmp_path: Path) -> None:
    flipped = TABLES["more"] + "8,x,1\n"
    data, _ = integrate(tmp_path, benchmarks=("north",), files={"north": TABLES["benchmark"], "more": flipped})
    assert data.counts[1].benchmark_flipped == 1
    assert not any("features" in note for note in data.notes)


def test_each_benchmark_is_recorded_with_its_own_digest_and_manifest(tmp_path: Path) -> None:
    data, journal = integrate(tmp_path, benchmarks=("north",))
    recorded = [each for each in journal.operations if isinstance(each, LogDataset)]
    assert [(each.name, each.context) for each in recorded] == [
        ("base", "base"),
        ("benchmark", "benchmark"),
        ("north", "benchmark"),
        ("more", "contribution"),
        ("integrated", "integrated"),
    ]
    alone, _ = integrate(tmp_path, benchmark=tmp_path / "north.csv")
    assert data.versions[2].digest == alone.versions[1].digest
    # What was trained on has no benchmark among its parents.
    assert set(data.versions[-1].parents) == {data.versions[0].digest, data.versions[3].digest}
    tags: dict[str, str] = {}
    for each in journal.operations:
        tags |= each.tags if isinstance(each, SetTags) else {}
    assert tags["hokusai.dataset.benchmark"] == data.versions[1].digest
    assert tags["hokusai.dataset.benchmark.north"] == data.versions[2].digest
    paths = [each.path for each in journal.operations if isinstance(each, LogArtifact)]
    assert {"datasets/benchmark.croissant.json", "datasets/benchmark.north.croissant.json"} <= set(paths)
    assert all(f"datasets/{version.digest}.parquet" in paths for version in data.versions)


def test_benchmarks_may_be_given_in_memory_by_their_names(tmp_path: Path) -> None:
    from_files, _ = integrate(tmp_path, benchmarks=("north",))
    north = pa.table({"a": [20, 21, 22], "b": ["x", "y", "x"], "y": [0, 1, 1]})
    nowhere = (BenchmarkSettings(path=tmp_path / "nowhere.csv", name="north"),)
    data, _ = integrate(tmp_path, tables={"north": north}, more_benchmarks=nowhere)
    assert data.benchmark == from_files.benchmark
    assert data.versions[2].digest == from_files.versions[2].digest
    assert data.versions[2].source == "north (a table in memory)"


@pytest.mark.parametrize("name", ["benchmark", "base", "decoy", "south"])
def test_a_benchmarks_name_that_is_taken_is_refused(name: str, tmp_path: Path) -> None:
    two = (BenchmarkSettings(path=tmp_path / "south.csv"), BenchmarkSettings(path=tmp_path / "n.csv", name=name))
    with pytest.raises(DataError, match=rf"n\.csv: the name '{name}' is taken; give the benchmark another one"):
        integrate(tmp_path, more_benchmarks=two)


def test_a_contribution_of_a_further_benchmarks_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"more\.csv: the name 'more' is taken; give the contribution another one"):
        integrate(tmp_path, more_benchmarks=(BenchmarkSettings(path=tmp_path / "north.csv", name="more"),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,y\n", r"north\.csv: the table has no rows"),
        ("a,b,y\n1,x,\n", r"north\.csv: 1 rows have no 'y', first data row 1"),
        ("a,y\n1,0\n", r"north\.csv: missing columns 'b'; found 'a', 'y'"),
        ("a,b,y\nfour,x,0\n", r"north\.csv: column 'a', data row 1"),
    ],
)
def test_a_further_benchmark_that_cannot_be_used_is_refused_by_its_file(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        integrate(tmp_path, benchmarks=("north",), files={"north": text})


def leaking(folder: Path) -> PipelineConfig:
    """An evaluation of three benchmarks, whose contribution holds a row of the last one."""
    files = TABLES | {"more": TABLES["more"] + "31,y,1\n"}
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    data = DataSettings(
        base=folder / "base.csv",
        benchmark=folder / "benchmark.csv",
        label="y",
        contributions=(ContributionSettings(path=folder / "more.csv"),),
        more_benchmarks=tuple(BenchmarkSettings(path=folder / f"{name}.csv") for name in ("north", "south")),
    )
    return PipelineConfig(project="birds", data=data)


def test_the_file_of_integrated_rows_is_free_of_all_benchmarks(tmp_path: Path) -> None:
    written = write_integrated(leaking(tmp_path).data, tmp_path / "out.parquet", reader=READER)
    assert pq.read_table(written.path)["a"].to_pylist() == [1, 2, 3, 4, 5]
    assert written.counts[1].benchmark_exact == 1


def test_the_check_before_a_hand_over_finds_rows_of_all_benchmarks(tmp_path: Path) -> None:
    report = check_contribution(tmp_path / "more.csv", leaking(tmp_path))
    (finding,) = [each for each in report.findings if each.check == "benchmark_exact"]
    assert (finding.rows, finding.first_rows) == (1, (3,))


SCORED = {
    "benchmark": "a,b,y,patient,weight,when\n8,x,0,p1,0.5,2024-01-02\n9,y,1,p2,2,2024-01-03\n",
    "north": "a,b,y,patient,weight,when\n20,x,0,p1,1,2024-02-02\n",
}
CONTRACT = """
format = "hokusai-contract/1"
label = "y"
[columns.a]
type = "int"
[columns.b]
type = "string"
[columns.y]
type = "int"
nullable = false
"""


def test_benchmark_columns_come_row_by_row_in_the_order_asked_for_and_are_no_features(tmp_path: Path) -> None:
    data, _ = integrate(tmp_path, benchmarks=("north",), columns=("weight", "b", "patient"), files=SCORED)
    assert data.benchmark_columns is not None
    assert data.benchmark_columns.to_pydict() == {
        "weight": [0.5, 2, 1],
        "b": ["x", "y", "x"],
        "patient": ["p1", "p2", "p1"],
    }
    assert data.features == ("a", "b")
    assert data.benchmark.column_names == data.integrated.column_names == ["a", "b", "y"]


def test_there_are_no_benchmark_columns_unless_they_are_asked_for(tmp_path: Path) -> None:
    data, _ = integrate(tmp_path, files=SCORED)
    assert data.benchmark_columns is None


def test_benchmark_columns_are_of_the_declared_type(tmp_path: Path) -> None:
    data, _ = integrate(tmp_path, columns=("when",), files=SCORED, types={"when": "date"})
    assert data.benchmark_columns is not None
    assert data.benchmark_columns.schema.field("when").type == pa.date32()


def test_whole_numbers_of_benchmark_columns_become_floats_when_another_benchmark_needs_it(tmp_path: Path) -> None:
    files = {"benchmark": "a,b,y,w\n8,x,0,1\n", "north": "a,b,y,w\n20,x,0,0.5\n"}
    data, _ = integrate(tmp_path, benchmarks=("north",), columns=("w",), files=files)
    assert data.benchmark_columns is not None
    assert data.benchmark_columns["w"].to_pylist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("first", "further", "message"),
    [
        ("7", "north", r"north\.csv: column 'g', data row 1: got .*north.*, expected int, but the column is string"),
        ("true", "5", r"north\.csv: column 'g', data row 1: got '5', expected bool, but the column is int"),
        (
            "9007199254740993",
            "0.5",
            r"benchmark\.csv: column 'g', data row 1: got '9007199254740993', expected .* 2\^53",
        ),
    ],
)
def test_a_benchmark_column_of_two_types_is_refused_by_its_place(
    first: str, further: str, message: str, tmp_path: Path
) -> None:
    files = {"benchmark": f"a,b,y,g\n8,x,0,{first}\n", "north": f"a,b,y,g\n20,x,0,{further}\n"}
    with pytest.raises(ValueMismatchError, match=message):
        integrate(tmp_path, benchmarks=("north",), columns=("g",), files=files)


@pytest.mark.parametrize("table", ["base", "benchmark"])
def test_an_integer_that_no_float_holds_is_refused_when_a_contribution_has_fractions(
    table: str, tmp_path: Path
) -> None:
    files = {table: TABLES[table] + "9007199254740993,x,0\n"}
    with pytest.raises(ValueMismatchError, match=rf"{table}\.csv: column 'a', data row .*got '9007199254740993'"):
        integrate(tmp_path, files={**files, "more": "a,b,y\n4.5,x,0\n"})


def test_a_change_in_a_benchmark_column_is_a_change_of_the_benchmark_and_of_nothing_else(tmp_path: Path) -> None:
    first, journal = integrate(tmp_path, columns=("patient",), files=SCORED)
    changed = {"benchmark": SCORED["benchmark"].replace("p2", "p3")}
    other, _ = integrate(tmp_path, columns=("patient",), files=changed)
    plain, _ = integrate(tmp_path, files=SCORED)
    digests = [[version.digest for version in each.versions] for each in (first, other, plain)]
    assert len({each[1] for each in digests}) == 3
    assert digests[0][0] == digests[1][0] == digests[2][0]
    assert digests[0][2:] == digests[1][2:] == digests[2][2:]
    assert dict(first.versions[1].columns)["patient"] == "string"
    stored = stored_table(journal, f"datasets/{first.versions[1].digest}.parquet")
    assert stored["patient"].to_pylist() == ["p1", "p2"]


def test_rows_are_not_compared_by_benchmark_columns(tmp_path: Path) -> None:
    offered = "a,b,y,patient\n8,x,0,p7\n4,x,0,p1\n"
    data, _ = integrate(tmp_path, columns=("patient",), files={**SCORED, "more": offered})
    assert data.counts[1].benchmark_exact == 1
    assert data.integrated["a"].to_pylist() == [1, 2, 3, 4]


def test_a_benchmark_column_may_be_left_out_of_the_features_of_a_base_that_has_it(tmp_path: Path) -> None:
    base = "a,b,y,patient\n1,x,0,p5\n2,y,1,p6\n"
    data, _ = integrate(tmp_path, columns=("patient",), files={**SCORED, "base": base}, exclude=("patient",))
    assert data.features == ("a", "b")
    assert data.benchmark_columns is not None
    assert data.benchmark_columns["patient"].to_pylist() == ["p1", "p2"]


def test_the_weight_of_training_may_be_that_of_scores(tmp_path: Path) -> None:
    files = {"base": "a,w,y\n1,1,0\n2,1,1\n", "more": "a,w,y\n3,1,0\n", "benchmark": "a,w,y\n8,2,0\n9,1,1\n"}
    data, _ = integrate(tmp_path, columns=("w",), files=files, sample_weight="w")
    assert data.benchmark_columns is not None
    assert data.benchmark_columns["w"].to_pylist() == [2, 1]
    assert (data.features, data.benchmark.column_names) == (("a",), ["a", "y", "w"])


def test_benchmark_columns_need_not_stand_in_the_contract(tmp_path: Path) -> None:
    (tmp_path / "contract.toml").write_text(CONTRACT, encoding="utf-8")
    data, _ = integrate(tmp_path, columns=("patient",), files=SCORED, contract=tmp_path / "contract.toml")
    assert data.benchmark_columns is not None
    assert data.benchmark_columns["patient"].to_pylist() == ["p1", "p2"]


def test_benchmark_columns_may_stand_in_a_table_in_memory(tmp_path: Path) -> None:
    from_files, _ = integrate(tmp_path, columns=("patient",), files=SCORED)
    table = pa.table({"a": [8, 9], "b": ["x", "y"], "y": [0, 1], "patient": ["p1", "p2"]})
    data, _ = integrate(tmp_path, columns=("patient",), tables={"benchmark": table})
    assert data.benchmark_columns == from_files.benchmark_columns
    assert data.versions[1].digest == from_files.versions[1].digest


@pytest.mark.parametrize("given", ["a file", "a table in memory"])
def test_a_benchmark_column_that_is_not_there_is_refused_with_the_settings_that_name_it(
    given: str, tmp_path: Path
) -> None:
    table = pa.table({"a": [8], "b": ["x"], "y": [0]})
    tables: dict[str, object] = {"benchmark": table} if given == "a table in memory" else {}
    message = r"benchmark.*missing columns 'patient'; found 'a', 'b', 'y'\. The evaluation settings name them: "
    with pytest.raises(SchemaMismatchError, match=message) as caught:
        integrate(tmp_path, columns=("patient",), tables=tables)
    assert caught.value.missing == ("patient",)


def test_a_further_benchmark_must_have_the_benchmark_columns_too(tmp_path: Path) -> None:
    files = {"benchmark": SCORED["benchmark"]}
    with pytest.raises(SchemaMismatchError, match=r"north\.csv: missing columns 'patient'.*evaluation settings"):
        integrate(tmp_path, benchmarks=("north",), columns=("patient",), files=files)


def test_a_feature_that_is_not_there_is_told_as_one(tmp_path: Path) -> None:
    files = {"benchmark": "a,y,patient\n8,0,p1\n"}
    with pytest.raises(SchemaMismatchError, match=r"missing columns 'b'.*data\.features") as caught:
        integrate(tmp_path, columns=("patient", "b"), files=files)
    assert caught.value.missing == ("b",)


FRACTIONS = {"more": "a,b,y\n4.5,x,0\n8,x,0\n"}


@pytest.mark.parametrize("columns", [(), ("a",)])
def test_a_contribution_has_no_say_in_the_digests_of_base_and_benchmarks(
    columns: tuple[str, ...], tmp_path: Path
) -> None:
    plain, _ = integrate(tmp_path, benchmarks=("north",), columns=columns)
    data, journal = integrate(tmp_path, benchmarks=("north",), columns=columns, files=FRACTIONS)
    assert [version.digest for version in data.versions[:3]] == [version.digest for version in plain.versions[:3]]
    assert data.benchmark.schema.field("a").type == data.integrated.schema.field("a").type == pa.float64()
    assert data.benchmark_types == plain.benchmark_types == plain.benchmark.schema
    assert data.benchmark_columns == plain.benchmark_columns
    for version in data.versions:
        assert content_digest(stored_table(journal, f"datasets/{version.digest}.parquet")) == version.digest
    assert data.overlapping.tolist() == [True, False, False, False, False]


def test_a_contribution_has_no_say_in_how_a_benchmark_is_split(tmp_path: Path, mlflow_store: MlflowAddress) -> None:
    benchmark = "a,b,y\n" + "".join(f"{number},x,{number % 2}\n" for number in range(100, 160))
    data, _ = integrate(tmp_path, files={**FRACTIONS, "benchmark": benchmark})
    settings = DataSettings(
        base=tmp_path / "base.csv",
        benchmark=tmp_path / "benchmark.csv",
        label="y",
        contributions=(ContributionSettings(path=tmp_path / "more.csv"),),
    )
    config = PipelineConfig(project="birds", data=settings, tracking=TrackingSettings(uri=mlflow_store.uri))
    key_file = tmp_path / "benchmark.key"
    split_benchmark(config, key_file=key_file, decisions=5)
    expected = split_rows(read_benchmark(config, reader=READER).rows, key=read_benchmark_key(key_file))
    use = BenchmarkUse(DeltaSettings(benchmark_key_file=key_file), uri=mlflow_store.uri)
    decides = use.open(data, metric=METRICS["accuracy"], group="", evaluation="e")
    assert decides is not None
    assert decides.tolist() == expected.tolist()


MAILS = {
    "benchmark": "a,b,y,mail\n8,x,0,anna@example.org\n9,y,1,bert@example.org\n7,y,1,anna@example.org\n6,y,1,unknown\n"
}


def test_personal_data_in_a_benchmark_column_are_refused_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(PersonalDataError, match=r"benchmark\.csv.*email in column 'mail'") as caught:
        integrate(tmp_path, columns=("mail",), files=MAILS)
    assert "anna" not in str(caught.value)


@pytest.mark.parametrize("treatment", ["mask", "hash"])
def test_treated_values_are_the_same_where_they_were_and_nowhere_else(treatment: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 40, encoding="utf-8")
    data, journal = integrate(
        tmp_path,
        columns=("mail",),
        files=MAILS,
        personal_data={"email": treatment},
        hash_key_file=tmp_path / "key",
    )
    assert data.benchmark_columns is not None
    anna, bert, again, unknown = data.benchmark_columns["mail"].to_pylist()
    assert anna == again
    assert len({anna, bert, unknown}) == 3
    assert unknown == "unknown"
    stored = stored_table(journal, f"datasets/{data.versions[1].digest}.parquet")
    assert stored["mail"].to_pylist() == [anna, bert, again, unknown]
    assert content_digest(stored) == data.versions[1].digest
    assert not any("@" in str(value) or "anna" in str(value) for value in stored["mail"].to_pylist())


def test_masked_values_are_numbered_over_all_benchmarks(tmp_path: Path) -> None:
    north = "a,b,y,mail\n20,x,0,bert@example.org\n21,x,0,carl@example.org\n"
    data, _ = integrate(
        tmp_path,
        benchmarks=("north",),
        columns=("mail",),
        files={**MAILS, "north": north},
        personal_data={"email": "mask"},
    )
    assert data.benchmark_columns is not None
    values = data.benchmark_columns["mail"].to_pylist()
    assert values == ["[email] 1", "[email] 2", "[email] 1", "unknown", "[email] 2", "[email] 4"]


def test_a_feature_is_masked_plainly_and_numbered_only_where_it_groups(tmp_path: Path) -> None:
    files = {
        "base": "a,mail,y\n1,x,0\n2,dora@example.org,1\n",
        "more": "a,mail,y\n4,x,0\n",
        "benchmark": "a,mail,y\n8,anna@example.org,0\n9,bert@example.org,1\n",
    }
    data, _ = integrate(tmp_path, columns=("mail",), files=files, personal_data={"email": "mask"})
    assert data.benchmark["mail"].to_pylist() == ["[email]", "[email]"]
    assert data.benchmark_columns is not None
    assert data.benchmark_columns["mail"].to_pylist() == ["[email] 1", "[email] 2"]


@given(
    before=st.lists(st.none() | st.integers(0, 6), min_size=1, max_size=12),
    is_number=st.booleans(),
    personal=st.sets(st.integers(0, 6)),
)
def test_rows_have_one_value_afterwards_exactly_when_they_had_one_before(
    *, before: list[int | None], is_number: bool, personal: set[int]
) -> None:
    kind, masked = (pa.int64(), None) if is_number else (pa.string(), "[person]")
    values = before if is_number else [None if value is None else f"name {value}" for value in before]
    left = [masked if old in personal else new for old, new in zip(before, values, strict=True)]
    old, new = (pa.chunked_array([each[:3], each[3:]], kind) for each in (values, left))
    found = distinct_after_masking(old, new).to_pylist()
    assert [value is None for value in found] == [value is None for value in before]
    assert len(set(zip(found, before, strict=True))) == len(set(found)) == len(set(before))
    assert not any(str(value) == str(was) for value, was, a in zip(found, values, before, strict=True) if a in personal)


def test_a_column_that_is_needed_is_not_dropped(tmp_path: Path) -> None:
    with pytest.raises(PersonalDataError, match=r"benchmark\.csv.*'mail'"):
        integrate(tmp_path, columns=("mail",), files=MAILS, personal_data={"email": "drop"})


def csv(rows: range) -> str:
    """Rows whose label follows from the first number, which no other row has."""
    return "a,b,y\n" + "".join(f"{number},{'xyz'[number % 3]},{number % 2}\n" for number in rows)


POOL = {"base": csv(range(100)), "benchmark": csv(range(200, 300)), "decoy": csv(range(300, 400))}


def test_a_contribution_that_saw_the_benchmark_is_told_by_a_note_and_metrics(tmp_path: Path) -> None:
    (tmp_path / "honest.csv").write_text(csv(range(500, 520)), encoding="utf-8")
    contributions = tuple(ContributionSettings(path=tmp_path / f"{name}.csv") for name in ("more", "honest"))
    data, journal = integrate(
        tmp_path,
        files={**POOL, "more": csv(range(290, 301))},
        decoy=tmp_path / "decoy.csv",
        contributions=contributions,
    )
    leaked, honest = data.decoy_tests
    assert (leaked.contribution, leaked.benchmark_hits, leaked.decoy_hits, leaked.alarm) == ("more", 10, 1, True)
    assert leaked.p_value == pytest.approx(12 / 2**11)
    assert (honest.contribution, honest.benchmark_hits, honest.decoy_hits, honest.alarm) == ("honest", 0, 0, False)
    (note,) = [note for note in data.notes if "decoy" in note]
    assert note.startswith("more holds more rows of the benchmark than of the decoy (10 to 1)")
    metrics = metrics_of(journal)
    assert metrics["data.contribution.more.decoy_hits"] == 1
    assert metrics["data.contribution.more.decoy_p_value"] == leaked.p_value
    assert metrics["data.contribution.honest.decoy_p_value"] == 1


def test_rows_that_are_removed_before_training_are_evidence_of_a_leak_all_the_same(tmp_path: Path) -> None:
    offered = csv(range(290, 300)) + csv(range(600, 610)).partition("\n")[2]
    data, _ = integrate(tmp_path, files={**POOL, "more": offered}, decoy=tmp_path / "decoy.csv")
    assert data.counts[1].kept == 10
    assert data.decoy_tests[0].alarm


def test_rows_of_the_decoy_may_be_trained_on(tmp_path: Path) -> None:
    data, _ = integrate(tmp_path, files={**POOL, "more": csv(range(300, 320))}, decoy=tmp_path / "decoy.csv")
    assert data.counts[1].kept == 20
    assert (data.decoy_tests[0].decoy_hits, data.decoy_tests[0].alarm) == (20, False)


def test_rows_of_further_benchmarks_are_no_evidence_of_a_leak(tmp_path: Path) -> None:
    files = {**POOL, "more": csv(range(700, 720)), "north": csv(range(700, 740))}
    data, _ = integrate(tmp_path, benchmarks=("north",), files=files, decoy=tmp_path / "decoy.csv")
    assert (data.decoy_tests[0].benchmark_hits, data.decoy_tests[0].decoy_hits) == (0, 0)
    assert data.overlapping.sum() == 20


def test_nothing_of_the_decoy_is_recorded_but_its_digest(tmp_path: Path) -> None:
    data, journal = integrate(tmp_path, files=POOL, decoy=tmp_path / "decoy.csv")
    plain, other = integrate(tmp_path, files=POOL)
    decoy = pyarrow.csv.read_csv(tmp_path / "decoy.csv")
    assert parameters_of(journal)["data.decoy"] == content_digest(decoy)
    assert parameters_of(other)["data.decoy"] == ""
    assert [version.digest for version in data.versions] == [version.digest for version in plain.versions]
    stored, others = (
        {each.path: each.sha256 for each in made.operations if isinstance(each, LogArtifact)}
        for made in (journal, other)
    )
    assert {path for path in stored if stored[path] != others.get(path)} == {"parameters.json"}
    assert plain.decoy_tests == ()


def test_a_decoy_needs_no_benchmark_columns(tmp_path: Path) -> None:
    files = {**POOL, "benchmark": "a,b,y,patient\n200,x,0,p1\n201,y,1,p2\n"}
    data, _ = integrate(tmp_path, columns=("patient",), files=files, decoy=tmp_path / "decoy.csv")
    assert len(data.decoy_tests) == 1


def test_a_decoy_may_be_given_in_memory(tmp_path: Path) -> None:
    decoy = pa.table({"a": [300, 301], "b": ["x", "y"], "y": [0, 1]})
    data, _ = integrate(
        tmp_path,
        files={**POOL, "more": csv(range(300, 302))},
        tables={"decoy": decoy},
        decoy=tmp_path / "nowhere.csv",
    )
    assert data.decoy_tests[0].decoy_hits == 2


def test_a_decoy_that_holds_the_benchmark_is_refused(tmp_path: Path) -> None:
    files = {**POOL, "decoy": POOL["benchmark"]}
    with pytest.raises(DataError, match=r"decoy\.csv: 100 of its 100 rows stand in the benchmark, expected none"):
        integrate(tmp_path, files=files, decoy=tmp_path / "decoy.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,y\n", r"decoy\.csv: the table has no rows"),
        ("a,y\n1,0\n", r"decoy\.csv: missing columns 'b'"),
        ("a,b,y\n1,x,\n", r"decoy\.csv: 1 rows have no 'y'"),
        ("a,b,y\n1,anna@example.org,0\n", r"decoy\.csv.*email in column 'b'"),
    ],
)
def test_a_decoy_that_cannot_be_used_is_refused_by_its_file(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(HokusaiError, match=message):
        integrate(tmp_path, files={**POOL, "decoy": text}, decoy=tmp_path / "decoy.csv")


def test_a_contribution_must_not_be_called_decoy_beside_one(tmp_path: Path) -> None:
    contributions = (ContributionSettings(path=tmp_path / "more.csv", name="decoy"),)
    with pytest.raises(DataError, match="the name 'decoy' is taken; give the contribution another one"):
        integrate(tmp_path, files=POOL, decoy=tmp_path / "decoy.csv", contributions=contributions)
