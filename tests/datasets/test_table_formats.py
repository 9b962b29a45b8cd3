"""Formats, encodings, compression, folders and streams: a table that is right, or a message."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import ipc

from hokusai.datasets.memory_tables import as_table
from hokusai.datasets.read_settings import ReadLimits, ReadSettings
from hokusai.datasets.tables import open_table, read_table
from hokusai.errors import (
    DataError,
    SchemaMismatchError,
    TableLimitError,
    UnreadableTableError,
    ValueMismatchError,
)

if TYPE_CHECKING:
    from pathlib import Path

TABLE = pa.table({"n": [1, None, 3], "s": ["ä", "", "x,y"], "f": [0.5, 1.0, None], "b": [True, False, None]})
CSV = 'n,s,f,b\n1,ä,0.5,true\n,"",1.0,false\n3,"x,y",,\n'


def read(folder: Path, name: str, content: bytes, **arguments: Any) -> pa.Table:
    path = folder / name
    path.write_bytes(content)
    return read_table(path, **arguments).table


def parquet_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def arrow_bytes(table: pa.Table, *, is_stream: bool = False, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    new = ipc.new_stream if is_stream else ipc.new_file
    with new(sink, table.schema, options=ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write(table)
    return sink.getvalue()


def contents() -> dict[str, bytes]:
    rows = TABLE.to_pylist()
    return {
        ".csv": CSV.encode(),
        ".json": json.dumps(rows).encode(),
        ".jsonl": "\n".join(map(json.dumps, rows)).encode(),
        ".parquet": parquet_bytes(TABLE),
        ".arrow": arrow_bytes(TABLE),
        ".feather": arrow_bytes(TABLE, compression="lz4"),
        ".ipc": arrow_bytes(TABLE, is_stream=True, compression="zstd"),
    }


PACKED = {".gz": gzip.compress, ".zst": lambda content: pa.compress(content, codec="zstd", asbytes=True)}


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("suffix", list(contents()))
def test_every_format_gives_the_same_table_packed_or_not(tmp_path: Path, suffix: str, packing: str) -> None:
    content = contents()[suffix]
    content = PACKED[packing](content) if packing else content
    path = tmp_path / f"a{suffix}{packing}"
    path.write_bytes(content)
    got = read_table(path)
    assert got.table.equals(TABLE)
    assert (got.file_sha256, got.size, got.rows) == (hashlib.sha256(content).hexdigest(), len(content), 3)


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_packed_files_that_are_cut_off_too_large_or_misnamed_are_refused(
    tmp_path: Path, suffix: str, packing: str
) -> None:
    packed = PACKED[packing](contents()[suffix])
    with pytest.raises(UnreadableTableError, match="cut off"):
        read(tmp_path, f"a{suffix}{packing}", packed[:-3])
    small = ReadSettings(limits=ReadLimits(max_decoded_bytes=20))
    with pytest.raises(TableLimitError, match=r"data\.limits\.max_decoded_bytes"):
        read(tmp_path, f"a{suffix}{packing}", packed, settings=small)
    with pytest.raises(UnreadableTableError, match=rf"add \{packing} to its name"):
        read(tmp_path, f"b{suffix}", packed)
    with pytest.raises(UnreadableTableError, match=rf"take \{packing} from its name"):
        read(tmp_path, f"c{suffix}{packing}", contents()[suffix])


def test_a_bomb_is_refused_at_the_limit(tmp_path: Path) -> None:
    bomb = gzip.compress(b"a,b\n" + b"0,0\n" * (8 << 20))
    limits = ReadLimits(max_decoded_bytes=1 << 20)
    with pytest.raises(TableLimitError) as caught:
        read(tmp_path, "a.csv.gz", bomb, settings=ReadSettings(limits=limits))
    assert caught.value.limit == "data.limits.max_decoded_bytes"


def test_all_members_of_a_gzip_file_are_read_and_garbage_after_them_is_refused(tmp_path: Path) -> None:
    content = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")
    assert read(tmp_path, "a.csv.gz", content + b"\0" * 9).to_pydict() == {"a": [1, 3], "b": [2, 4]}
    with pytest.raises(UnreadableTableError, match="gzip file is damaged"):
        read(tmp_path, "a.csv.gz", content + b"5,6\n")


# --- encodings, delimiters, line ends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8-sig", ""),
        ("utf-16", ""),
        ("utf-16-le", ""),
        ("utf-16-be", ""),
        ("cp1252", "cp1252"),
        ("latin-1", "latin-1"),
        ("utf-16-be", "utf-16-be"),
    ],
)
def test_text_is_read_in_its_own_encoding(tmp_path: Path, encoding: str, declared: str) -> None:
    settings = ReadSettings(encoding=declared)
    assert read(tmp_path, "a.csv", CSV.encode(encoding), settings=settings).equals(TABLE)


@pytest.mark.parametrize(
    ("content", "declared", "reason"),
    [
        (CSV.encode("utf-8-sig"), "latin-1", "mark of UTF-8"),
        (CSV.encode("utf-16"), "cp1252", "mark of UTF-16"),
        (b"a,b\n1,\x81\n", "cp1252", "byte 0x81 is not cp1252"),
        (CSV.encode("utf-16")[:-1], "", "is not utf-16-le"),
        ("a,b\n1,\0\n".encode("utf-16"), "", "NUL"),
    ],
)
def test_bytes_that_are_not_in_the_encoding_are_refused(
    tmp_path: Path, content: bytes, declared: str, reason: str
) -> None:
    with pytest.raises(UnreadableTableError, match=reason):
        read(tmp_path, "a.csv", content, settings=ReadSettings(encoding=declared))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a;b\n1;2\n", {"a": [1], "b": [2]}),
        ("a\tb\n1\t2\n", {"a": [1], "b": [2]}),
        ("a|b\n1|x,y\n", {"a": [1], "b": ["x,y"]}),
        ('a,b\n"x;y",2\n', {"a": ["x;y"], "b": [2]}),
        ("a;b\nx;y,z\n", {"a": ["x"], "b": ["y,z"]}),
        ("a\nx;y\n", {"a": ["x;y"]}),
        ("a,b;c\n1,2\n3,4\n", {"a": [1, 3], "b;c": [2, 4]}),
    ],
)
def test_the_delimiter_is_found_when_none_is_declared(
    tmp_path: Path, content: str, expected: dict[str, list[object]]
) -> None:
    assert read(tmp_path, "a.csv", content.encode()).to_pydict() == expected


def test_wanted_columns_settle_a_delimiter_that_the_rows_leave_open(tmp_path: Path) -> None:
    content = b"a;b,c\n1;2,3\n"
    with pytest.raises(UnreadableTableError, match=r"Set data\.delimiter"):
        read(tmp_path, "a.csv", content)
    assert read(tmp_path, "a.csv", content, columns=["c"]).to_pydict() == {"c": [3]}


def test_a_decimal_comma_is_refused_and_never_a_column_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ValueMismatchError, match="with a point"):
        read(tmp_path, "a.csv", b"a;b\n1,5;2,5\n")
    with pytest.raises(UnreadableTableError, match="data row 1 has 2 fields, expected 1"):
        read(tmp_path, "a.csv", b"a\n1,5\n")


def test_carriage_returns_end_lines_where_there_are_no_line_feeds(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", b"a,b\r1,2\r3,4").to_pydict() == {"a": [1, 3], "b": [2, 4]}


# --- declared types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "text", "value"),
    [
        ("date", "2024-02-29", "2024-02-29"),
        ("timestamp", "2024-02-29 23:59:59.123456", "2024-02-29 23:59:59.123456"),
        ("timestamp", "2024-02-29T23:59", "2024-02-29 23:59:00.000000"),
        ("timestamp_utc", "2024-02-29T23:59:59+01:30", "2024-02-29 22:29:59.000000Z"),
        ("timestamp_utc", "0001-01-01T00:00:00Z", "0001-01-01 00:00:00.000000Z"),
        ("decimal(2)", "-12.5", "-12.50"),
        ("decimal(0)", "9" * 38, "9" * 38),
    ],
)
def test_dates_times_and_decimals_are_read_exactly_from_text_and_json(
    tmp_path: Path, word: str, text: str, value: str
) -> None:
    settings = ReadSettings(types={"x": word})
    json_bytes = json.dumps([{"x": text}, {"x": None}]).encode()
    lines = f'{{"x": "{text}"}}\n{{"x": null}}\n'.encode()
    for name, content in (("a.csv", f"x,y\n{text},\n,\n".encode()), ("a.json", json_bytes), ("a.jsonl", lines)):
        column = read(tmp_path, name, content, settings=settings, columns=["x"]).column("x")
        assert column.cast(pa.string()).to_pylist() == [value, None]


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("date", "2023-02-29"),
        ("date", "29.02.2024"),
        ("date", "0000-01-01"),
        ("date", "2024-02-29T00:00:00"),
        ("timestamp", "2024-02-29"),
        ("timestamp", "2024-02-29T23:59:59Z"),
        ("timestamp", "2024-02-29T23:59:59.1234567"),
        ("timestamp", "2024-02-29T23:59:60"),
        ("timestamp_utc", "2024-02-29T23:59:59"),
        ("timestamp_utc", "2024-02-29T23:59:59+25:00"),
        ("decimal(2)", "1.255"),
        ("decimal(2)", "007"),
        ("decimal(0)", "9" * 39),
        ("int", "1.0"),
        ("int", "0x1F"),
        ("float", "1e999"),
    ],
)
def test_a_text_that_is_not_exactly_of_its_declared_type_is_refused_with_row_and_value(
    tmp_path: Path, word: str, text: str
) -> None:
    settings = ReadSettings(types={"x": word})
    with pytest.raises(ValueMismatchError) as caught:
        read(tmp_path, "a.csv", f"x,y\n,\n{text},\n".encode(), settings=settings)
    assert (caught.value.column, caught.value.row, caught.value.value) == ("x", 2, text)


# --- JSON Lines by Arrow ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", "int", "float"])
@pytest.mark.parametrize(
    "last", ["1.5", "1152921504606846977", "1e2", "NaN", '"1"', "true", "[1]", "9223372036854775808", "1, " + '"x": 2']
)
def test_json_lines_say_the_same_by_the_fast_way_and_as_an_array(tmp_path: Path, word: str, last: str) -> None:
    settings = ReadSettings(types={"x": word} if word else {})
    rows = ['{"x": 1}'] * 2_000 + [f'{{"x": {last}}}']
    outcomes = []
    for name, text in (("a.json", f"[{','.join(rows)}]"), ("a.jsonl", "\n".join(rows) + "\n")):
        try:
            table = read(tmp_path, name, text.encode(), settings=settings, columns=["x"])
        except DataError as error:
            outcomes.append((type(error), getattr(error, "row", 0)))
        else:
            outcomes.append((table.schema, table.column("x").to_pylist()[-1]))
    assert outcomes[0] == outcomes[1]


def test_a_column_that_no_line_names_is_missing_and_one_of_nulls_is_not(tmp_path: Path) -> None:
    settings = ReadSettings(types={"x": "int", "y": "string"})
    lines = b'{"x": 1, "y": null}\n' * 3
    got = read(tmp_path, "a.jsonl", lines, settings=settings, columns=["y", "x"])
    assert got.to_pydict() == {"y": [None] * 3, "x": [1] * 3}
    with pytest.raises(SchemaMismatchError) as caught:
        read(tmp_path, "a.jsonl", b'{"x": 1, "z": null}\n' * 3, settings=settings, columns=["y", "x"])
    assert caught.value.missing == ("y",)


# --- streams, folders, patterns --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".arrow"])
def test_a_stream_gives_small_batches_of_the_final_schema_and_the_table_that_is_read_whole(
    tmp_path: Path, suffix: str
) -> None:
    rows = 1_300_000 if suffix == ".csv" else 150_000
    table = pa.table({"n": np.arange(rows), "s": pa.array(["a,b", 'c"d\n', "é"] * rows).slice(0, rows)})
    path = tmp_path / f"a{suffix}"
    if suffix == ".csv":
        text = "".join(f'{n},"a,b"\n{n + 1},"c""d\n"\n{n + 2},é\n' for n in range(0, rows, 3))
        lines = text.encode()
        path.write_bytes(b"n,s\n" + lines)
        table = pa.table({"n": np.arange((rows + 2) // 3 * 3), "s": ["a,b", 'c"d\n', "é"] * ((rows + 2) // 3)})
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    else:
        path.write_bytes(parquet_bytes(table) if suffix == ".parquet" else arrow_bytes(table))
    settings = ReadSettings(types={"n": "int", "s": "string"})
    with open_table(path, settings=settings, columns=["s", "n"]) as stream:
        assert list(stream.files) == []
        batches = list(stream)
    assert max(batch.num_rows for batch in batches) <= 65_536
    assert {batch.schema for batch in batches} == {stream.schema}
    assert pa.Table.from_batches(batches).equals(table.select(["s", "n"]))
    assert [file.rows for file in stream.files] == [table.num_rows]
    assert stream.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_row_of_a_late_misfit_is_counted_through_all_pieces(tmp_path: Path) -> None:
    content = b"n,s\n" + b"1,abcdefghijklmnopqrst\n" * 900_000 + b"x,y\n"
    with pytest.raises(ValueMismatchError) as caught:
        read(tmp_path, "a.csv", content, settings=ReadSettings(types={"n": "int", "s": "string"}))
    assert caught.value.row == 900_001


def test_a_folder_and_a_pattern_are_one_table_in_the_order_of_the_names(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("s,n\n10001,2.5\n")
    (tmp_path / "a.csv").write_text("n,s\n1,00501\n")
    (tmp_path / ".hidden").write_text("no table")
    for path in (tmp_path, tmp_path / "*.csv"):
        got = read_table(path)
        assert got.table.to_pydict() == {"n": [1.0, 2.5], "s": ["00501", "10001"]}
        assert [file.path for file in got.files] == [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
        digests = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.csv", "b.csv")]
        lines = sorted(f"{digest}  {name}\n" for digest, name in zip(digests, ("a.csv", "b.csv"), strict=True))
        assert got.file_sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_files_that_do_not_make_one_table_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no files"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="no file matches"):
        read_table(tmp_path / "*.csv")
    (tmp_path / "a.csv").write_text("n,s\n1,x\n")
    (tmp_path / "b.csv").write_text("n,t\n1,x\n")
    with pytest.raises(UnreadableTableError, match=r"b\.csv: the columns 's', 't'"):
        read_table(tmp_path)
    (tmp_path / "b.csv").write_text("n,s\nx,y\n")
    with pytest.raises(ValueMismatchError, match=r"b\.csv: column 'n', data row 1: got 'x'"):
        read_table(tmp_path, settings=ReadSettings(types={"n": "int"}))
    with pytest.raises(TableLimitError, match=r"data\.limits\.max_files"):
        read_table(tmp_path, settings=ReadSettings(limits=ReadLimits(max_files=1)))
    with pytest.raises(TableLimitError, match=r"data\.limits\.max_rows"):
        read_table(tmp_path, settings=ReadSettings(limits=ReadLimits(max_rows=1)))
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(UnreadableTableError, match=r"c\.json: it is json, but a\.csv is csv"):
        read_table(tmp_path)


def test_a_value_beyond_the_limit_is_refused_by_row(tmp_path: Path) -> None:
    settings = ReadSettings(limits=ReadLimits(max_field_bytes=10))
    for name, content in (
        ("a.csv", b"a,b\n1,x\n2," + b"x" * 11),
        ("a.jsonl", b'{"b": "x"}\n{"b": "xxxxxxxxxxx"}\n'),
        ("a.parquet", parquet_bytes(pa.table({"b": ["x", "x" * 11]}))),
    ):
        with pytest.raises(TableLimitError, match="column 'b', data row 2"):
            read(tmp_path, name, content, settings=settings)


def test_arrow_files_of_the_first_version_cut_off_or_with_bytes_after_the_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableTableError, match="Feather version 1"):
        read(tmp_path, "a.feather", b"FEA1" + b"\0" * 20)
    for is_stream in (False, True):
        content = arrow_bytes(TABLE, is_stream=is_stream)
        for kept in (3, 9, 200, len(content) - 200):
            with pytest.raises(UnreadableTableError):
                read(tmp_path, "a.arrow", content[:kept])
    with pytest.raises(UnreadableTableError, match="bytes follow"):
        read(tmp_path, "a.arrow", arrow_bytes(TABLE, is_stream=True) + b"more")


# --- tables in memory ------------------------------------------------------------------------------------------------


def test_tables_of_python_libraries_become_the_same_canonical_table() -> None:
    polars = pl.DataFrame({"n": [1, None], "s": ["a", None], "f": [0.5, math.nan]})
    frame = pd.DataFrame({"n": pd.array([1, None], "Int64"), "s": pd.Categorical(["a", None]), "f": [0.5, math.nan]})
    expected = pa.table({"n": [1, None], "s": ["a", None], "f": [0.5, None]})
    batch = expected.to_batches()[0]
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
    for data in (polars, frame, expected, batch, reader):
        assert as_table(data, name="offered").equals(expected)


@pytest.mark.parametrize(
    ("values", "row"),
    [([1, "x"], 2), ([2**53 + 1, 0.5], 1), ([True, 1], 2), ([0.5, math.inf], 2), ([1, 2**64], 2), (["x", b"y"], 2)],
)
def test_objects_in_pandas_that_do_not_agree_are_refused_by_row(values: list[object], row: int) -> None:
    with pytest.raises(ValueMismatchError) as caught:
        as_table(pd.DataFrame({"x": pd.Series(values, dtype=object)}), name="offered")
    assert (caught.value.source, caught.value.column, caught.value.row) == ("offered", "x", row)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns"),
        (pd.DataFrame([[1]], columns=[0]), "expected a text"),
        (pd.DataFrame({"a": [1]}).rename_axis("k"), r"reset_index\(\)"),
        (pd.DataFrame({"a": [[1]]}), "an array"),
        (pl.DataFrame({"a": [[1]]}), "column 'a' is "),
        (pl.DataFrame({"a": [object()]}), "Python objects"),
        (pl.LazyFrame({"a": [1]}), r"collect\(\)"),
        ({"a": [1]}, "got a dict"),
    ],
)
def test_what_is_no_flat_table_is_refused_with_what_to_do(data: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        as_table(data, name="offered")
