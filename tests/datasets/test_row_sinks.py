"""Sinks: the rows that stay, in their order, in memory or in a file that is there whole or not at all."""

from __future__ import annotations

import resource
import signal
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.datasets.row_sinks import MemorySink, ParquetSink
from hokusai.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.string())])


def batch(start: int, rows: int) -> pa.RecordBatch:
    numbers = list(range(start, start + rows))
    return pa.record_batch([pa.array(numbers), pa.array([f"text {number}" for number in numbers])], schema=SCHEMA)


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 7), max_size=6), data=st.data())
def test_memory_holds_the_rows_that_stay_in_their_order(sizes: list[int], data: st.DataObject) -> None:
    sink = MemorySink(SCHEMA)
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        sink.write(batch(int(start), size))
    keep = data.draw(st.lists(st.booleans(), min_size=sum(sizes), max_size=sum(sizes)))
    sink.finish(np.array(keep, dtype=np.bool_))
    assert sink.table.column("number").to_pylist() == [number for number, stays in enumerate(keep) if stays]
    assert sink.table.schema == SCHEMA


def test_a_file_larger_than_one_group_holds_the_rows_that_stay(tmp_path: Path) -> None:
    path, rows = tmp_path / "table.parquet", 1_200_000
    with ParquetSink(path, SCHEMA) as sink:
        for start in range(0, rows, 100_000):
            sink.write(batch(start, 100_000))
        sink.finish(np.arange(rows) % 3 == 0)
    assert pq.read_table(path).column("number").to_pylist() == list(range(0, rows, 3))
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]


def test_without_a_choice_every_row_stays_and_no_rows_make_a_table_too(tmp_path: Path) -> None:
    for rows in (0, 5):
        with ParquetSink(tmp_path / "table.parquet", SCHEMA) as sink:
            sink.write(batch(0, rows))
            sink.finish(None)
        assert pq.read_table(tmp_path / "table.parquet").num_rows == rows


def test_an_unfinished_file_leaves_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_text("before", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), ParquetSink(path, SCHEMA) as sink:  # noqa: PT012
        sink.write(batch(0, 3))
        _ = 1 / 0
    assert path.read_text(encoding="utf-8") == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]


def test_a_place_that_cannot_be_written_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written: No such file or directory"):
        ParquetSink(tmp_path / "missing" / "table.parquet", SCHEMA)


def write(path: Path, rows: pa.RecordBatch) -> None:
    with ParquetSink(path, SCHEMA) as sink:
        sink.write(rows)
        sink.finish(None)


def test_a_disk_that_is_full_is_said_by_name_and_the_file_that_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_text("before", encoding="utf-8")
    used, allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, allowed))
    try:
        with pytest.raises(DataError, match="cannot be written: File too large"):
            write(path, batch(0, 300_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (used, allowed))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text(encoding="utf-8") == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]
