"""The integrated table as a file: the same rows as step 2 makes, in bounded memory, whole or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hokusai.datasets.reader_process import TableReader
from hokusai.errors import BenchmarkLeakError, ContractViolationError, DataError, PersonalDataError, ValueMismatchError
from hokusai.integrated_file import write_integrated
from hokusai.steps.data_integration import integrate_contributed_data
from hokusai.steps.data_settings import ContributionSettings, DataSettings
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hokusai.records import IntegratedData

TABLES = {
    "base": "id,a,note,y\n1,0.5,x,0\n2,1.5,y,1\n3,2.5,x,1\n",
    "benchmark": "id,a,note,y\n90,8.5,x,0\n91,9.5,y,1\n",
    "north": "id,a,note,y\n4,0.5,x,0\n5,3.5,z,0\n2,4.5,z,1\n6,9.5,y,1\n",
    "south": "id,a,note,y\n7,3.5,z,0\n5,5.5,x,1\n8,6.5,x,0\n",
}


@pytest.fixture(scope="module")
def reader() -> Iterator[TableReader]:
    """One reading process for all tests of this module."""
    with TableReader() as own:
        yield own


def settings(folder: Path, *, tables: dict[str, str] | None = None, **arguments: Any) -> DataSettings:
    for name, text in (TABLES | (tables or {})).items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    defaults: dict[str, Any] = {
        "base": folder / "base.csv",
        "benchmark": folder / "benchmark.csv",
        "label": "y",
        "contributions": tuple(ContributionSettings(path=folder / f"{name}.csv") for name in ("north", "south")),
    }
    return DataSettings(**defaults | arguments)


def by_step(data: DataSettings, reader: TableReader) -> IntegratedData:
    with Tracker(MemoryJournal(), evaluation="e", run_name="r").start() as run:
        return integrate_contributed_data(data, run=run, reader=reader, now=datetime(2030, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    "arguments",
    [
        {"exclude": ("id",)},
        {"key": ("id",), "merge": "update"},
        {"key": ("id",), "merge": "update", "winner": "first", "duplicates": "keep"},
        {"exclude": ("id",), "merge": "replace"},
        {"exclude": ("id",), "sample_rows": 2},
        {"exclude": ("id",), "personal_data": {"email": "mask"}},
    ],
)
def test_the_file_holds_the_table_that_an_evaluation_trains_on(
    arguments: dict[str, Any], tmp_path: Path, reader: TableReader
) -> None:
    note = {"north": TABLES["north"].replace("z", "ask anna@example.org")} if "personal_data" in arguments else None
    data = settings(tmp_path, tables=note, **arguments)
    written = write_integrated(data, tmp_path / "out.parquet", reader=reader)
    expected = by_step(data, reader)
    assert pq.read_table(written.path) == expected.integrated
    assert pq.read_table(written.provenance).to_pylist() == expected.provenance.to_pylist()
    assert written.counts == expected.counts
    assert written.notes == expected.notes


@pytest.mark.parametrize(
    ("arguments", "tables", "error"),
    [
        ({"benchmark_overlap": "refuse", "exclude": ("id",)}, {}, BenchmarkLeakError),
        ({}, {"south": "id,a,note,y\n7,3.5,anna@example.org,0\n"}, PersonalDataError),
        ({}, {"south": "id,a,note,y\n7.5,3.5,x,0\n"}, ValueMismatchError),
        ({}, {"south": "id,a,note,y\n7,3.5,x,\n"}, DataError),
        ({}, {"south": "id,a,note,y\n7,3.5,x,0\n1,2\n"}, DataError),
    ],
)
def test_a_refused_contribution_leaves_the_file_that_was_there(
    arguments: dict[str, Any], tables: dict[str, str], error: type[DataError], tmp_path: Path, reader: TableReader
) -> None:
    data = settings(tmp_path, tables=tables, **arguments)
    (tmp_path / "out.parquet").write_text("before", encoding="utf-8")
    files = sorted(tmp_path.iterdir())
    with pytest.raises(error):
        write_integrated(data, tmp_path / "out.parquet", reader=reader)
    assert (tmp_path / "out.parquet").read_text(encoding="utf-8") == "before"
    assert sorted(tmp_path.iterdir()) == files


def test_a_broken_contract_is_refused_at_the_end_of_its_table(tmp_path: Path, reader: TableReader) -> None:
    columns = {"id": "int", "a": "float", "note": "string", "y": "int"}
    text = 'format = "hokusai-contract/1"\nlabel = "y"\n' + "".join(
        f'[columns.{name}]\ntype = "{kind}"\nnullable = false\n' + ("maximum = 6\n" if name == "a" else "")
        for name, kind in columns.items()
    )
    (tmp_path / "contract.toml").write_text(text, encoding="utf-8")
    data = settings(tmp_path, tables={"benchmark": "id,a,note,y\n90,5.25,x,0\n"}, contract=tmp_path / "contract.toml")
    with pytest.raises(ContractViolationError, match=r"north\.csv"):
        write_integrated(data, tmp_path / "out.parquet", reader=reader)


def test_contributions_stream_through_in_batches_whatever_their_size(tmp_path: Path, reader: TableReader) -> None:
    rows = 200_000
    table = pa.table(
        {"id": range(rows), "a": [number / 8 for number in range(rows)], "note": ["x"] * rows, "y": [0] * rows}
    )
    pq.write_table(table, tmp_path / "many.parquet")
    data = settings(
        tmp_path, contributions=(ContributionSettings(path=tmp_path / "many.parquet"),), near_duplicates="off"
    )
    written = write_integrated(data, tmp_path / "out.parquet", reader=reader)
    assert written.counts[1].offered == rows
    assert pq.read_table(written.path, columns=["id"])["id"].to_pylist()[3:] == table["id"].to_pylist()
