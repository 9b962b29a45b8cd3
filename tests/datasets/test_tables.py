"""Reading table files: what is accepted is exact, what is doubtful is refused with a reason."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from hokusai.datasets.read_settings import ReadLimits, ReadSettings
from hokusai.datasets.tables import TableFile, read_table
from hokusai.errors import (
    ConfigurationError,
    DataError,
    HokusaiError,
    SchemaMismatchError,
    UnreadableTableError,
    ValueMismatchError,
)

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
LAW = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def read(folder: Path, name: str, content: bytes, **arguments: Any) -> pa.Table:
    path = folder / name
    path.write_bytes(content)
    return read_table(path, **arguments).table


def types(table: pa.Table) -> list[str]:
    return [str(each.type) for each in table.schema]


# --- the file itself -------------------------------------------------------------------------------------------------


def test_the_digest_and_size_are_those_of_the_bytes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n1,x\r\n")
    got = read_table(path)
    assert isinstance(got, TableFile)
    assert got.file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert got.size == 13
    assert got.table.to_pydict() == {"a": [1], "b": ["x"]}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_file_a_folder_and_an_empty_file_are_refused_as_data_errors(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / f"nothing{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(DataError, match="folder"):
        read_table(tmp_path / f"folder{suffix}")
    with pytest.raises(UnreadableTableError, match="empty"):
        read(tmp_path, f"empty{suffix}", b"")


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="pipe"):
        read_table(tmp_path / "pipe.csv")


def test_a_path_with_a_nul_byte_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "a\0.csv")


def test_an_unknown_suffix_is_refused_with_the_list_of_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnreadableTableError, match=r"'\.xlsx', expected one of \.csv, \.tsv, \.json"):
        read(tmp_path, "a.xlsx", b"PK\x03\x04")


def test_the_suffix_is_read_without_regard_to_case(tmp_path: Path) -> None:
    assert read(tmp_path, "A.CSV", b"a,b\n1,2\n").num_rows == 1


@pytest.mark.parametrize(
    ("name", "content", "limit"),
    [
        ("a.csv", b"a,b\n1,2\n1,2\n", "max_bytes"),
        ("a.csv", b"a,b\n1,2\n1,2\n", "max_columns"),
        ("a.csv", b"a,b\n1,2\n1,2\n", "max_rows"),
        ("a.csv", b"a,b\n1,2\n1,2\n", "max_cells"),
        ("a.csv", b"a,b\n1,2\n1,2\n", "max_row_bytes"),
        ("a.jsonl", b'{"a":1,"b":2}\n{"a":1}\n', "max_columns"),
        ("a.jsonl", b'{"a":1,"b":2}\n{"a":1}\n', "max_rows"),
        ("a.jsonl", b'{"a":1,"b":2}\n{"a":1}\n', "max_cells"),
        ("a.jsonl", b'{"a":1,"b":2}\n{"a":1}\n', "max_row_bytes"),
        ("a.json", b'[{"a":1,"b":2},{"a":1}]', "max_rows"),
    ],
)
def test_every_limit_names_the_setting_that_raises_it(tmp_path: Path, name: str, content: bytes, limit: str) -> None:
    limits: dict[str, Any] = {limit: 1}
    with pytest.raises(UnreadableTableError, match=rf"data\.limits\.{limit}"):
        read(tmp_path, name, content, settings=ReadSettings(limits=ReadLimits(**limits)))


@pytest.mark.parametrize("limit", ["max_bytes", "max_columns", "max_rows", "max_cells", "max_decoded_bytes"])
def test_every_limit_holds_for_parquet_as_well(tmp_path: Path, limit: str) -> None:
    content = parquet_bytes(pa.table({"a": [1, 2], "b": [1, 2]}))
    limits: dict[str, Any] = {limit: 1}
    with pytest.raises(UnreadableTableError, match=rf"data\.limits\.{limit}"):
        read(tmp_path, "a.parquet", content, settings=ReadSettings(limits=ReadLimits(**limits)))


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"delimiter": ";;"}, "data.delimiter"),
        ({"delimiter": '"'}, "data.delimiter"),
        ({"delimiter": "é"}, "data.delimiter"),
        ({"types": {"a": "day"}}, "data.types.a"),
        ({"types": {"a": "decimal(19)"}}, "data.types.a"),
        ({"encoding": "utf-7"}, "data.encoding"),
        ({"encoding": "hex"}, "data.encoding"),
        ({"encoding": "unknown"}, "data.encoding"),
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ReadSettings(**wrong)
    assert caught.value.key == key


# --- CSV: bytes and shape --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a,b\n1,2\n".encode("utf-32"), "UTF-32"),
        ("a,b\n1,é\n".encode("latin-1"), r"line 2: byte 0xE9 is not UTF-8.*Latin-1"),
        ("a,b\n1,€\n".encode("cp1252"), r"line 2: byte 0x80 is not UTF-8.*Windows-1252"),
        ("a,b\n1,é".encode()[:-1], r"line 2: byte 0xC3 is not UTF-8"),
        (b"a,b\n1,x\0y\n" + b"1,2\n" * 9, "NUL byte at offset 7"),
        (b"PAR1abc", "Parquet"),
        (b"\x1f\x8b\x08abc", "gzip"),
        (b"PK\x03\x04abc", "Excel"),
        (b"a,b\r1,2\n", "line 1: a carriage return without a line feed"),
        (b'a,b\r1,"2\r3"\r', "line break inside quotes"),
        (b"\x28\xb5\x2f\xfdabc", r"packed with zstd: add \.zst to its name"),
        (b"a,b;c\n1,2;3\n", r"separated by ',' and ';'. Set data\.delimiter"),
        (b"a,b\n1,2\r3,4\n", "line 2: a carriage return"),
        (b"a,a\n1,2\n", "'a'"),
        (b"a,,c\n1,2,3\n", "column 2 of 3 has a blank name"),
        (b"a, \n1,2\n", "column 2 of 2 has a blank name"),
        (b"\n\na,b\n1,2\n", "first line is blank"),
        (b"\n", "first line is blank"),
        (b"a,b\n1,2\n3\n", r"data row 2 has 1 fields, expected 2"),
        (b"a,b\n1,2\n\n3,4\n5,6,7\n", r"data row 3 has 3 fields, expected 2"),
        (b"a,b\n1,2,\n1,2,\n", r"data row 1 has 3 fields, expected 2"),
        (b'a,b\n1,"2\n3,4\n', "line 2: a quote is opened and never closed"),
        (b'a,b\n1,5" pipe\n', "line 2: a quote inside a field"),
        (b'a,b\n1,"x"y\n', "line 2: a quote inside a field"),
        (b'a,b\n1, "x"\n', "line 2: a quote inside a field"),
        (b"a\n1\n\n2\n", "line 3: a blank line"),
        (b"a,b\n\xef\xbb\xbf1,2\n", "byte order mark"),
    ],
)
def test_damaged_csv_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableTableError, match=reason) as caught:
        read(tmp_path, "a.csv", content)
    assert caught.value.source.endswith("a.csv")


def test_the_number_of_a_ragged_row_is_right_in_a_file_of_many_blocks(tmp_path: Path) -> None:
    good = b"123456,abcdefghij\n" * 300_000
    with pytest.raises(UnreadableTableError, match="data row 300001 has 3 fields"):
        read(tmp_path, "a.csv", b"a,b\n" + good + b"1,2,3\n" + good)


def test_blank_lines_between_rows_of_several_columns_are_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", b"a,b\r\n1,2\r\n\r\n3,4\r\n\r\n").to_pydict() == {"a": [1, 3], "b": [2, 4]}


def test_a_header_without_rows_is_a_table_of_no_rows(tmp_path: Path) -> None:
    for content in (b"a,b", b"a,b\n", b"a,b\r\n\r\n"):
        table = read(tmp_path, "a.csv", content)
        assert (table.num_rows, table.column_names, types(table)) == (0, ["a", "b"], ["null", "null"])
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    assert read(tmp_path, "a.csv", b"a,b\n", expected=schema).schema == schema


def test_quoted_delimiters_quotes_and_line_breaks_are_part_of_the_value(tmp_path: Path) -> None:
    table = read(tmp_path, "a.csv", b'"a","b\nc"\n"x,""y""","1\r\n2\r3"\n"""",""\n')
    assert table.to_pydict() == {"a": ['x,"y"', '"'], "b\nc": ["1\r\n2\r3", ""]}


def test_a_quoted_value_may_cross_the_pieces_in_which_the_file_is_checked(tmp_path: Path) -> None:
    long = b"x,\n" * (5 << 20)
    table = read(tmp_path, "a.csv", b'a,b\n"' + long + b'",1\ny,2\n')
    assert table.column("b").to_pylist() == [1, 2]
    assert table.column("a")[0].as_py() == long.decode()


def test_a_row_longer_than_a_block_is_read(tmp_path: Path) -> None:
    long = "z" * (3 << 20)
    assert read(tmp_path, "a.csv", f"a,b\n1,2\n3,{long}\n4,5\n".encode()).column("b")[1].as_py() == long


def test_a_tsv_file_has_tabs_and_a_csv_file_the_delimiter_that_is_set(tmp_path: Path) -> None:
    expected = {"a": [1], "b": ["x,y;z"]}
    assert read(tmp_path, "a.tsv", b"a\tb\n1\tx,y;z\n").to_pydict() == expected
    semicolons = ReadSettings(delimiter=";")
    assert read(tmp_path, "a.csv", b'a;b\n1;"x,y;z"\n', settings=semicolons).to_pydict() == expected


def test_only_the_wanted_columns_are_read_in_the_wanted_order(tmp_path: Path) -> None:
    table = read(tmp_path, "a.csv", b"a,b,c\n1,NA,x\n2,3,y\n", columns=["c", "a"])
    assert list(table.to_pydict().items()) == [("c", ["x", "y"]), ("a", [1, 2])]


def test_missing_columns_are_named_with_those_found(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatchError) as caught:
        read(tmp_path, "a.csv", b"b,a\n1,2\n", columns=["a", "y", "x"])
    assert (caught.value.missing, caught.value.found) == (("x", "y"), ("b", "a"))


def test_a_header_that_another_delimiter_would_split_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatchError, match=r"looks ';'-separated: set data\.delimiter"):
        read(tmp_path, "a.csv", b"a;b;c,d\n1;2;3,4\n", columns=["a", "b"], settings=ReadSettings(delimiter=","))


# --- CSV: types ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["1", "-2", "0", "-0", ""], "int64", [1, -2, 0, 0, None]),
        (["9223372036854775807", "-9223372036854775808"], "int64", [2**63 - 1, -(2**63)]),
        (["1", "2.5", "-1e-3", "4E+2"], "double", [1.0, 2.5, -0.001, 400.0]),
        (["9007199254740992", "0.5"], "double", [2.0**53, 0.5]),
        (["0.1", "1.7", "1e308", "5e-324"], "double", [0.1, 1.7, 1e308, 5e-324]),
        (["true", "FALSE", "", "True"], "bool", [True, False, None, True]),
        (["", ""], "null", [None, None]),
        (["007", "010"], "string", ["007", "010"]),
        (["00501", "10001", "02138"], "string", ["00501", "10001", "02138"]),
        (["0x1F", "0x20"], "string", ["0x1F", "0x20"]),
        (["+4912", "+4913"], "string", ["+4912", "+4913"]),
        (["NA", "a"], "string", ["NA", "a"]),
        (["NA", "NA"], "string", ["NA", "NA"]),
        (["1", "a", "b"], "string", ["1", "a", "b"]),
        (["true", "1"], "string", ["true", "1"]),
        ([" ", "a "], "string", [" ", "a "]),
        (["1_000", "a"], "string", ["1_000", "a"]),
        (["\u0661", "\u0662"], "string", ["\u0661", "\u0662"]),
        (["2020-01-01", "2020-01-02"], "string", ["2020-01-01", "2020-01-02"]),
    ],
)
def test_a_column_gets_the_type_that_all_of_its_values_agree_on(
    tmp_path: Path, texts: list[str], kind: str, values: list[object]
) -> None:
    table = read(tmp_path, "a.csv", csv_of(texts))
    assert types(table)[0] == kind
    assert table.column("x").to_pylist() == values


@pytest.mark.parametrize(
    ("texts", "row", "value", "hint"),
    [
        (["1", "NA", "3"], 2, "NA", 'data.missing_values = ["", "NA"]'),
        (["1.5", "", "nan"], 3, "nan", 'data.missing_values = ["", "nan"]'),
        (["-", "1"], 1, "-", 'data.missing_values = ["", "-"]'),
        (["?", "1", "#N/A"], 1, "?", 'data.missing_values = ["", "?"]'),
        (["true", "None", "false"], 2, "None", 'data.missing_values = ["", "None"]'),
        (["1"] * 9 + ["x"], 10, "x", "data.types"),
        (["1"] * 9 + ["NA"] * 5 + ["x"], 15, "x", "data.types"),
        (["12345"] * 20 + ["00501"], 21, "00501", "data.types"),
        (["1"] * 9 + ["0x1F"], 10, "0x1F", "data.types"),
        (["1,5", "2,5"], 1, "1,5", "with a point"),
        (["1", "2,5"], 2, "2,5", "with a point"),
        (["NA", "2,5"], 2, "2,5", "with a point"),
        (["1", " 2"], 2, " 2", "without blanks"),
        ([".5", "1."], 1, ".5", "with a point"),
        (["1", "inf"], 2, "inf", "finite"),
        (["0.5", "1e999"], 2, "1e999", "data.types"),
        (["9223372036854775808"], 1, "9223372036854775808", "identifier"),
        (["0.5", "9007199254740993"], 2, "9007199254740993", "data.types"),
        (["-9007199254740993", "0.5"], 1, "-9007199254740993", "data.types"),
        (["1", "9" * 5000], 2, "9" * 77 + "...", "identifier"),
    ],
)
def test_a_column_whose_type_is_in_doubt_is_refused_with_what_to_do(
    tmp_path: Path, texts: list[str], row: int, value: str, hint: str
) -> None:
    with pytest.raises(ValueMismatchError) as caught:
        read(tmp_path, "a.csv", csv_of(texts))
    assert (caught.value.column, caught.value.row, caught.value.value) == ("x", row, value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "texts", "values"),
    [
        ("string", ["1", "2,5", ""], ["1", "2,5", None]),
        ("string", ["9007199254740993", "0.5"], ["9007199254740993", "0.5"]),
        ("float", ["1", "2"], [1.0, 2.0]),
        ("int", ["1", ""], [1, None]),
        ("bool", ["true", ""], [True, None]),
        ("int", ["", ""], [None, None]),
    ],
)
def test_a_declared_type_wins(tmp_path: Path, kind: Any, texts: list[str], values: list[object]) -> None:
    declared = ReadSettings(types={"x": kind})
    for expected in (None, pa.schema([("x", pa.int64())])):
        table = read(tmp_path, "a.csv", csv_of(texts), settings=declared, expected=expected)
        assert table.column("x").to_pylist() == values
        assert types(table)[0] == {"float": "double", "int": "int64"}.get(kind, kind)


def test_a_column_declared_int_is_never_widened(tmp_path: Path) -> None:
    declared = ReadSettings(types={"x": "int"})
    for name, content in (("a.csv", csv_of(["1", "2.5"])), ("a.json", b'[{"x": 2.5}]')):
        with pytest.raises(ValueMismatchError):
            read(tmp_path, name, content, settings=declared, expected=pa.schema([("x", pa.int64())]))


@pytest.mark.parametrize(
    ("kind", "texts", "kind_read", "values"),
    [
        (pa.int64(), ["1", "", "-2"], "int64", [1, None, -2]),
        (pa.int64(), ["1", "2.5"], "double", [1.0, 2.5]),
        (pa.int32(), ["1"], "int64", [1]),
        (pa.float64(), ["1", "2.5", ""], "double", [1.0, 2.5, None]),
        (pa.string(), ["1", "true", "NA", ""], "string", ["1", "true", "NA", None]),
        (pa.dictionary(pa.int8(), pa.large_string()), ["1"], "string", ["1"]),
        (pa.bool_(), ["true", "FALSE", ""], "bool", [True, False, None]),
        (pa.null(), ["1", "2"], "int64", [1, 2]),
        (pa.float64(), ["", ""], "double", [None, None]),
    ],
)
def test_a_column_is_read_strictly_in_its_expected_type(
    tmp_path: Path, kind: pa.DataType, texts: list[str], kind_read: str, values: list[object]
) -> None:
    table = read(tmp_path, "a.csv", csv_of(texts), expected=pa.schema([("x", kind), ("absent", pa.int64())]))
    assert types(table)[0] == kind_read
    assert table.column("x").to_pylist() == values


@pytest.mark.parametrize(
    ("kind", "texts", "row", "expected"),
    [
        (pa.int64(), ["1", "x", "y"], 2, "int"),
        (pa.int64(), ["1.5", "007"], 2, "int"),
        (pa.int64(), ["1", "9223372036854775808"], 2, "an int of at most 64 bits"),
        (pa.int64(), ["0.5", "9007199254740993"], 2, "an integer that a float holds exactly, at most 2^53"),
        (pa.float64(), ["1", "9007199254740993"], 2, "an integer that a float holds exactly, at most 2^53"),
        (pa.float64(), ["1,5"], 1, "float"),
        (pa.float64(), ["1", "1e999"], 2, "a number that a float can hold"),
        (pa.float64(), ["inf"], 1, "float"),
        (pa.float64(), ["0x1F"], 1, "float"),
        (pa.float64(), ["+1"], 1, "float"),
        (pa.float64(), ["NA"], 1, "float"),
        (pa.float64(), ["1\n"], 1, "float"),
        (pa.bool_(), ["true", "1"], 2, "bool"),
    ],
)
def test_the_first_value_that_does_not_fit_the_expected_type_is_named(
    tmp_path: Path, kind: pa.DataType, texts: list[str], row: int, expected: str
) -> None:
    with pytest.raises(ValueMismatchError) as caught:
        read(tmp_path, "a.csv", csv_of(texts), expected=pa.schema([("x", kind)]))
    assert (caught.value.column, caught.value.row, caught.value.expected) == ("x", row, expected)
    assert caught.value.value == texts[row - 1]


@pytest.mark.parametrize(
    ("kind", "text", "advice"),
    [
        (pa.float64(), "-0,422", "Write finite numbers with a point and without blanks"),
        (pa.int64(), " 1", "Write finite numbers with a point and without blanks"),
        (pa.float64(), "many", "Mend the value, or declare the type"),
        (pa.bool_(), "yes", "Write it as true or false"),
    ],
)
def test_the_advice_about_a_value_fits_it(tmp_path: Path, kind: pa.DataType, text: str, advice: str) -> None:
    texts = ['"1"', f'"{text}"'] if kind != pa.bool_() else ["true", text]
    with pytest.raises(ValueMismatchError, match=advice) as caught:
        read(tmp_path, "a.csv", "\n".join(["x", *texts, ""]).encode(), expected=pa.schema([("x", kind)]))
    assert caught.value.row == 2


def test_a_type_that_text_cannot_carry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableTableError, match="time32"):
        read(tmp_path, "a.csv", csv_of(["10:00:00"]), expected=pa.schema([("x", pa.time32("s"))]))


def test_missing_values_are_those_that_are_set_and_a_quoted_one_is_text_in_a_text_column(tmp_path: Path) -> None:
    marked = ReadSettings(missing_values=("", "NA"))
    table = read(tmp_path, "a.csv", b'n,s,f\n1,NA,x\n"NA","NA",y\n"","",""\n', settings=marked)
    assert table.to_pydict() == {"n": [1, None, None], "s": [None, "NA", ""], "f": ["x", "y", ""]}
    assert read(tmp_path, "a.csv", b'n,s\n,""\n', settings=ReadSettings(missing_values=())).to_pydict() == {
        "n": [""],
        "s": [""],
    }


def test_the_hint_of_an_expected_number_says_how_to_declare_a_missing_value(tmp_path: Path) -> None:
    with pytest.raises(ValueMismatchError, match=r'set data.missing_values = \["", "NA"\]'):
        read(tmp_path, "a.csv", csv_of(["1", "NA"]), expected=pa.schema([("x", pa.int64())]))


# --- JSON and JSON Lines ---------------------------------------------------------------------------------------------


def test_json_and_json_lines_give_the_same_table(tmp_path: Path) -> None:
    rows = ['{"a": 1, "s": "x"}', '{"b": 1.5, "a": 2}', '{"b": 2, "s": null, "t": true, "n": null}']
    expected = {
        "a": [1, 2, None],
        "s": ["x", None, None],
        "b": [None, 1.5, 2.0],
        "t": [None, None, True],
        "n": [None] * 3,
    }
    array = read(tmp_path, "a.json", f"\ufeff[{','.join(rows)}]".encode())
    lines = read(tmp_path, "a.jsonl", ("\r\n\n".join(rows) + "\n \n").encode())
    assert array.equals(lines)
    assert array.to_pydict() == expected
    assert types(array) == ["int64", "string", "double", "bool", "null"]
    assert read(tmp_path, "a.ndjson", "\n".join(rows).encode(), columns=["b", "a"]).column_names == ["b", "a"]


def test_a_line_separator_inside_a_string_does_not_end_a_row(tmp_path: Path) -> None:
    assert read(tmp_path, "a.jsonl", '{"a": "x\u2028y\x85z"}\n'.encode()).to_pydict() == {"a": ["x\u2028y\x85z"]}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", b'{"a": [1, 2]}', "expected an array of objects"),
        ("a.json", b"5", "got 5, expected an array"),
        ("a.json", b"[]", "no rows"),
        ("a.json", b"[{}]", "no columns"),
        ("a.json", b"[1]", "data row 1: got 1, expected an object"),
        ("a.json", b'[{"a": 1}, [2]]', "data row 2: got an array, expected an object"),
        ("a.json", b'[{"a": 1,}]', "line 1, character"),
        ("a.json", b'[{"a": 1}', "no valid JSON"),
        ("a.json", b'{"a": 1}\n{"a": 2}\n', r"name the file \.jsonl"),
        ("a.json", b'[{"a": NaN}]', "NaN is no JSON value. Write null"),
        ("a.json", b'[{"a": -Infinity}]', "-Infinity is no JSON value"),
        ("a.json", b'[{"a": 1, "a": 2}]', "the key 'a' occurs twice"),
        ("a.json", b'[{"": 1}]', "blank name"),
        ("a.json", b'[{"\\ud800": 1}]', "surrogate"),
        ("a.json", b'[{"a": 1}, {"a": {"b": 2}}]', "column 'a', data row 2: an object, expected a flat value"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.json", b'[{"a": ' * 100_000, "nested too deeply"),
        ("a.json", b'[{"a": ' + b"9" * 5000 + b"}]", "more than 64 bits"),
        ("a.json", '[{"a": "é"}]'.encode("latin-1"), "Latin-1"),
        ("a.jsonl", b'{"a": 1}\n{"a": 1, "a": 2}\n', "line 2: the key 'a' occurs twice"),
        ("a.jsonl", b'{"a": 1}\n\n{"a": [2]}\n', "column 'a', data row 2: an array"),
        ("a.jsonl", b'{"a": 1}\n\n{"a": }\n', "line 3, character"),
        ("a.jsonl", b'{"a": 1}\n' + b"[" * 100_000, "line 2: values are nested too deeply"),
        ("a.jsonl", b"\n \n", "no rows"),
    ],
)
def test_damaged_json_is_refused_with_its_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableTableError, match=reason):
        read(tmp_path, name, content)


@pytest.mark.parametrize(
    ("values", "row", "value"),
    [
        ('[1, "5"]', 2, '"5"'),
        ('["a", null, 1]', 3, "1"),
        ("[1, true]", 2, "true"),
        ("[true, 0]", 2, "0"),
        ("[1, 9223372036854775808]", 2, "9223372036854775808"),
        ("[0.5, 9007199254740993]", 2, "9007199254740993"),
        ("[0.5, 1e999]", 2, "Infinity"),
        ('["a", "\\ud800"]', 2, '"\\ud800"'),
    ],
)
def test_json_values_that_do_not_agree_are_refused_by_row(tmp_path: Path, values: str, row: int, value: str) -> None:
    content = "[" + ",".join(f'{{"x": {each}}}' for each in values[1:-1].split(", ")) + "]"
    with pytest.raises(ValueMismatchError) as caught:
        read(tmp_path, "a.json", content.encode())
    assert (caught.value.column, caught.value.row, caught.value.value) == ("x", row, value)


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        (pa.int64(), 5, True),
        (pa.int64(), 5.5, True),
        (pa.float64(), 5, True),
        (pa.float64(), 2**53, True),
        (pa.float64(), 2**53 + 1, False),
        (pa.float64(), "5", False),
        (pa.int64(), "5", False),
        (pa.int64(), True, False),
        (pa.string(), 5, False),
        (pa.string(), "5", True),
        (pa.bool_(), True, True),
        (pa.bool_(), 1, False),
        (pa.date32(), "2020-02-30", False),
        (pa.date32(), None, True),
        (pa.int64(), None, True),
    ],
)
def test_json_and_parquet_values_keep_their_kind_under_an_expected_schema(
    tmp_path: Path, kind: pa.DataType, value: object, *, fits: bool
) -> None:
    expected = pa.schema([("x", kind)])
    json_bytes = json.dumps([{"x": None}, {"x": value}]).encode()
    for name, content in (
        ("a.json", json_bytes),
        ("a.parquet", parquet_bytes(pa.table({"x": [None, value]}))),
    ):
        if fits:
            assert read(tmp_path, name, content, expected=expected).column("x").to_pylist() == [None, value]
        else:
            with pytest.raises(ValueMismatchError) as caught:
                read(tmp_path, name, content, expected=expected)
            assert (caught.value.column, caught.value.row) == ("x", 2)


def test_a_nested_or_mixed_column_that_is_not_wanted_does_no_harm(tmp_path: Path) -> None:
    content = b'[{"a": 1, "b": {"c": 2}, "d": 1}, {"a": 2, "b": 3, "d": "x"}]'
    assert read(tmp_path, "a.json", content, columns=["a"]).to_pydict() == {"a": [1, 2]}


# --- Parquet ---------------------------------------------------------------------------------------------------------


def test_physical_parquet_types_become_canonical_ones(tmp_path: Path) -> None:
    table = pa.table(
        {
            "i8": pa.array([1, None], pa.int8()),
            "u64": pa.array([2**63 - 1, 0], pa.uint64()),
            "f32": pa.array([0.5, math.nan], pa.float32()),
            "f16": pa.array([np.float16(0.5), None], pa.float16()),
            "large": pa.array(["a", None], pa.large_string()),
            "category": pa.array(["a", "a"]).dictionary_encode(),
            "date": pa.array([0, 1], pa.date32()),
            "instant": pa.array([0, 1], pa.timestamp("us", "UTC")),
            "price": pa.array([1, 2], pa.decimal128(9, 2)),
            "flag": [True, None],
            "nothing": pa.nulls(2),
        }
    )
    got = read(tmp_path, "a.parquet", parquet_bytes(table))
    assert types(got) == [
        *("int64", "int64", "double", "double", "string", "string"),
        *("date32[day]", "timestamp[us, tz=UTC]", "decimal128(9, 2)", "bool", "null"),
    ]
    assert got.column("f32").to_pylist() == [0.5, None]
    assert got.column("category").to_pylist() == ["a", "a"]
    assert got.schema.metadata is None


def test_a_pandas_table_is_read_without_its_metadata(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": [1.5, None], "s": pd.Categorical(["a", None])})
    frame.to_parquet(tmp_path / "a.parquet")
    got = read_table(tmp_path / "a.parquet").table
    assert got.to_pydict() == {"x": [1.5, None], "s": ["a", None]}
    assert got.schema.metadata is None


@pytest.mark.parametrize(
    ("column", "row"),
    [
        (pa.array([1, 2**63], pa.uint64()), 2),
        (pa.array([0.5, math.inf]), 2),
        (pa.array([-math.inf], pa.float32()), 1),
    ],
)
def test_parquet_numbers_that_have_no_canonical_value_are_refused_by_row(
    tmp_path: Path, column: pa.Array, row: int
) -> None:
    with pytest.raises(ValueMismatchError) as caught:
        read(tmp_path, "a.parquet", parquet_bytes(pa.table({"x": column})))
    assert (caught.value.column, caught.value.row) == ("x", row)


@pytest.mark.parametrize(
    "column", [pa.array([[1]]), pa.array([{"a": 1}]), pa.array([b"x"]), pa.array([0], pa.time32("s"))]
)
def test_a_parquet_column_without_a_canonical_type_is_refused_by_name_unless_it_is_not_wanted(
    tmp_path: Path, column: pa.Array
) -> None:
    content = parquet_bytes(pa.table({"a": [1], "x": column}))
    with pytest.raises(UnreadableTableError, match="column 'x' is "):
        read(tmp_path, "a.parquet", content)
    assert read(tmp_path, "a.parquet", content, columns=["a"]).to_pydict() == {"a": [1]}


def test_parquet_columns_come_in_the_wanted_order_and_missing_ones_are_named(tmp_path: Path) -> None:
    content = parquet_bytes(pa.table({"a": [1], "a.b": [2], "b": [3]}))
    assert read(tmp_path, "a.parquet", content, columns=["b", "a"]).to_pydict() == {"b": [3], "a": [1]}
    with pytest.raises(SchemaMismatchError):
        read(tmp_path, "a.parquet", content, columns=["c"])


def test_doubled_and_blank_parquet_columns_are_refused(tmp_path: Path) -> None:
    for names, reason in ((["a", "a"], "several columns"), (["a", " "], "blank name")):
        table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=names)
        with pytest.raises(UnreadableTableError, match=reason):
            read(tmp_path, "a.parquet", parquet_bytes(table))


def test_time_units_are_converted_only_without_loss(tmp_path: Path) -> None:
    expected = pa.schema([("x", pa.timestamp("ms"))])
    fine = parquet_bytes(pa.table({"x": pa.array([2_000_000], pa.timestamp("ns"))}))
    assert types(read(tmp_path, "a.parquet", fine, expected=expected)) == ["timestamp[ms]"]
    lossy = parquet_bytes(pa.table({"x": pa.array([2_000_001], pa.timestamp("ns"))}))
    with pytest.raises(ValueMismatchError, match=r"column 'x', data row 1: got '1970-01-01 00:00:00\.002000001'"):
        read(tmp_path, "a.parquet", lossy, expected=expected)


@pytest.mark.parametrize("kept", [0, 3, 4, 11, 12, 200, -1, -4, -8])
def test_a_parquet_file_that_is_cut_off_is_refused(tmp_path: Path, kept: int) -> None:
    content = parquet_bytes(pa.table({"a": list(range(100)), "s": ["x"] * 100}))
    with pytest.raises(UnreadableTableError):
        read(tmp_path, "a.parquet", content[:kept])


def test_a_parquet_file_with_checksums_and_one_flipped_bit_in_a_page_is_refused(tmp_path: Path) -> None:
    table = pa.table({"a": list(range(1000))})
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=True, compression="none", use_dictionary=False)
    damaged = bytearray(sink.getvalue())
    damaged[4000] ^= 1
    with pytest.raises(UnreadableTableError):
        read(tmp_path, "a.parquet", bytes(damaged))


def test_flipped_bits_in_parquet_give_a_table_or_a_refusal_and_nothing_else(tmp_path: Path) -> None:
    content = parquet_bytes(
        pa.table(
            {
                "i": pa.array([1, None, 3] * 40, pa.int64()),
                "s": ["ä", "b", None] * 40,
                "d": pa.array(["u", "v", "w"] * 40).dictionary_encode(),
                "f": [0.5, 1.5, None] * 40,
                "l": [[1], [], None] * 40,
            }
        )
    )
    for seed in range(1500):
        rng = random.Random(seed)  # noqa: S311
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 2, 8])):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        try:
            read(tmp_path, "a.parquet", bytes(damaged), columns=rng.choice([None, ["i", "s", "d", "f"]]))
        except HokusaiError:
            continue


# --- laws ------------------------------------------------------------------------------------------------------------

_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_names = st.text(_characters, min_size=1, max_size=6).filter(lambda name: bool(name.strip()))
_values: dict[pa.DataType, st.SearchStrategy[object]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False, allow_infinity=False),
    pa.string(): st.text(_characters, max_size=8) | st.sampled_from(["NA", "", "1", "true", '"', "a\r\nb"]),
    pa.bool_(): st.booleans(),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 8))
    names = draw(st.lists(_names, min_size=1, max_size=4, unique=True))
    columns = []
    for _ in names:
        kind = draw(st.sampled_from(list(_values)))
        cells = draw(st.lists(st.none() | _values[kind], min_size=rows, max_size=rows))
        columns.append(pa.array(cells, kind))
    return pa.table(columns, names=names)


def parquet_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def csv_of(texts: list[str]) -> bytes:
    """A file of two columns whose first one holds the texts, unquoted where that is possible."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerows([("x", "y"), *((text, "y") for text in texts)])
    return sink.getvalue().encode()


def csv_bytes(table: pa.Table, *, missing: str, line_end: str, delimiter: str) -> bytes:
    def field(value: object) -> str:
        if value is None:
            return missing
        return '"' + value.replace('"', '""') + '"' if isinstance(value, str) else repr(value)

    rows = [table.column_names, *(list(row.values()) for row in table.to_pylist())]
    return "".join(delimiter.join(map(field, row)) + line_end for row in rows).encode()


@LAW
@given(
    table=tables(),
    missing=st.sampled_from(["", "NA", "\\N"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    delimiter=st.sampled_from([",", ";", "|", " "]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_a_table_written_to_csv_comes_back_the_same_under_its_own_schema(
    folder: Path, table: pa.Table, missing: str, line_end: str, delimiter: str, mark: bytes
) -> None:
    assume(missing or table.num_columns > 1)
    content = mark + csv_bytes(table, missing=missing, line_end=line_end, delimiter=delimiter)
    options = ReadSettings(delimiter=delimiter, missing_values=(missing,))
    got = read(folder, "a.csv", content, settings=options, expected=table.schema)
    assert got.equals(table)


@LAW
@given(table=tables())
def test_a_table_written_to_json_or_json_lines_comes_back_the_same_under_its_own_schema(
    folder: Path, table: pa.Table
) -> None:
    assume(table.num_rows)
    rows = table.to_pylist()
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert read(folder, "a.jsonl", lines.encode(), expected=table.schema).equals(table)
    assert read(folder, "a.json", json.dumps(rows).encode(), expected=table.schema).equals(table)


@LAW
@given(table=tables())
def test_a_table_written_to_parquet_comes_back_the_same(folder: Path, table: pa.Table) -> None:
    content = parquet_bytes(table)
    assert read(folder, "a.parquet", content).equals(table)
    assert read(folder, "a.parquet", content, expected=table.schema).equals(table)


@LAW
@given(texts=st.text(alphabet='ab1,"\n\r;', max_size=24), delimiter=st.sampled_from([",", ";"]))
@example(texts='a,b\n"1","\n"\n', delimiter=",")
def test_a_csv_file_that_is_accepted_says_what_the_standard_library_reads(
    folder: Path, texts: str, delimiter: str
) -> None:
    content = ("a;b\n" if delimiter == ";" else "a,b\n") + texts
    words = ReadSettings(delimiter=delimiter, missing_values=(), types={"a": "string", "b": "string"})
    try:
        got = read(folder, "a.csv", content.encode(), settings=words)
    except UnreadableTableError:
        return
    rows = [row for row in csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True) if row]
    assert [got.column_names, *map(list, zip(*got.to_pydict().values(), strict=True))] == rows


@LAW
@given(
    content=st.binary(max_size=64)
    | st.text(max_size=64).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.text(alphabet='ab1.,;:"\n\r\\{}[] -eNAtrue', max_size=64).map(str.encode)
    | st.binary(max_size=64).map(lambda body: b"PAR1" + body + len(body).to_bytes(4, "little") + b"PAR1"),
    suffix=st.sampled_from(SUFFIXES),
)
def test_arbitrary_bytes_give_a_table_or_a_refusal_and_nothing_else(folder: Path, content: bytes, suffix: str) -> None:
    try:
        read(folder, f"a{suffix}", content)
    except HokusaiError:
        return


@LAW
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=3), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_arbitrary_json_gives_a_table_or_a_refusal_and_nothing_else(folder: Path, value: object) -> None:
    for content in (json.dumps(value), json.dumps([value]), json.dumps([{"a": value}, {"a": 1}])):
        try:
            read(folder, "a.json", content.encode())
        except HokusaiError:
            continue


@LAW
@given(texts=st.lists(st.text(alphabet="0123456789.,-+eE NAinfx", max_size=22), min_size=1, max_size=12))
def test_a_column_that_is_read_as_numbers_holds_what_python_reads(folder: Path, texts: list[str]) -> None:
    try:
        column = read(folder, "a.csv", csv_of(texts)).column("x")
    except ValueMismatchError:
        return
    for text, value in zip(texts, column.to_pylist(), strict=True):
        if value is None or isinstance(value, str):
            assert (value or "") == text
        else:
            assert value == (int(text) if isinstance(value, int) else float(text))
