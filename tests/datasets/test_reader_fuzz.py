"""Damaged and hostile files: always a table that is right, or a message; and sound files of every writer read back.

The campaign of 10,000 files is slow and runs on request; a few hundred of the same files run every time. A file is
named by its number: ``judge`` one to see what became of it.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import csv as arrow_csv

from hokusai.datasets.read_settings import ReadSettings
from hokusai.datasets.reader_process import TableReader
from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from tests.datasets.reader_mutations import FuzzedFile

LAW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
JARGON = re.compile(
    r"traceback|\.cc:|\.cpp:|thrift|0x7f[0-9a-f]{6}|<[a-z_]+ object|[a-z]::[a-z]|errno|\bCheck failed", re.IGNORECASE
)
DELIMITERS = ",;\t|"


def _beside(name: str) -> ModuleType:
    """A module of this folder; the tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


oracle, mutations = _beside("reader_oracle"), _beside("reader_mutations")


@pytest.fixture(scope="module")
def reader() -> Iterator[TableReader]:
    with TableReader() as reader:
        yield reader


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a file.

    Attributes:
        outcome: ``table``, or the class of the refusal; ``death`` if the process died of it.
        fault: What is wrong with that; empty when nothing is.
    """

    outcome: str
    fault: str = ""


def judge(number: int, *, reader: TableReader, folder: Path) -> Verdict:
    """Read the file of this number, and compare what comes back with what the file means."""
    file: FuzzedFile = mutations.fuzzed_file(number)
    path = folder / file.name
    path.write_bytes(file.content)
    is_found = number % 2 == 0
    reading = ReadSettings(delimiter="" if is_found else file.delimiter, types=file.types)
    try:
        table = reader.read(path, settings=reading).table
    except DataError as error:
        return Verdict(_kind(error), _fault_of_message(str(error)))
    finally:
        path.unlink()
    table.validate(full=True)
    if file.table is not None:
        return Verdict("table", _fault_of_binary(file, table))
    return Verdict("table", _fault_of_text(file, table, is_found=is_found))


def _kind(error: DataError) -> str:
    return "death" if "the process that read it" in str(error) else type(error).__name__


def _fault_of_message(message: str) -> str:
    if "ended with code" in message or "sent no table" in message:
        return f"an error that is not ours: {message}"
    if "\n" in message or len(message) > 1_000 or JARGON.search(message):
        return f"no message for a person: {message[:1_500]}"
    return ""


def _fault_of_text(file: FuzzedFile, table: pa.Table, *, is_found: bool) -> str:
    told = {}
    for delimiter in DELIMITERS if is_found and ".csv" in file.name else file.delimiter:
        try:
            told[delimiter] = oracle.meaning(file.name, file.content, delimiter=delimiter)
        except oracle.Refusal as refusal:
            reason = str(refusal)
    if not told:
        return f"a table from a file without a certain meaning: {reason}"
    differences: list[str] = [oracle.disagreement(table, meaning) for meaning in told.values()]
    if all(differences):
        return min(differences, key=len)
    if table.num_columns == 1 and any(len(meaning.names) > 1 for meaning in told.values()):
        return "read as one column, but it falls apart into several"
    return ""


def _fault_of_binary(file: FuzzedFile, table: pa.Table) -> str:
    """What no checksum covers cannot be judged: the footer of Parquet, and all of Arrow's formats but their shape."""
    assert file.table is not None
    try:
        content = oracle.unpacked(file.name, file.content)
    except oracle.Refusal as refusal:
        return f"a table from a damaged archive: {refusal}"
    if content == file.sound:
        return "" if table.equals(file.table) else "not the table that was written"
    if ".parquet" in file.name:
        footer = int.from_bytes(file.sound[-8:-4], "little") + 8
        if content[-footer:] == file.sound[-footer:]:
            return "" if table.equals(file.table) else "not the table that was written, though the footer is whole"
        rows = pq.read_metadata(io.BytesIO(content)).num_rows
        return "" if rows == table.num_rows else f"{table.num_rows} rows, the footer says {rows}"
    return ""


def _faults(numbers: range, *, reader: TableReader, folder: Path) -> tuple[list[str], Counter[str]]:
    faults, outcomes = [], Counter[str]()
    for number in numbers:
        verdict = judge(number, reader=reader, folder=folder)
        outcomes[verdict.outcome] += 1
        if verdict.fault:
            file = mutations.fuzzed_file(number)
            faults.append(f"{number} ({file.name}, {', '.join(file.done) or 'sound'}): {verdict.fault}")
    return faults, outcomes


def test_some_hundred_damaged_files_are_read_right_or_refused_in_words(reader: TableReader, folder: Path) -> None:
    faults, outcomes = _faults(range(300), reader=reader, folder=folder)
    assert faults == []
    assert outcomes["table"] > 30
    assert outcomes["UnreadableTableError"] > 30
    assert outcomes["ValueMismatchError"] > 3


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_damaged_files_are_read_right_or_refused_in_words(
    reader: TableReader, folder: Path, part: int
) -> None:
    faults, outcomes = _faults(range(1_000 * part, 1_000 * (part + 1)), reader=reader, folder=folder)
    sys.stdout.write(f"\nfiles {1_000 * part} and after: {dict(outcomes)}\n")
    assert faults == []
    assert outcomes["table"] > 100


# --- sound files of every writer -------------------------------------------------------------------------------------

SCHEMA = pa.schema([("n", pa.int64()), ("w", pa.float64()), ("t", pa.string()), ("b", pa.bool_())])
TYPES = {"n": "int", "w": "float", "t": "string", "b": "bool"}
# An empty text and a missing value are one in CSV; a lone carriage return is one for Polars, which does not quote it.
TEXT = st.text(st.sampled_from("ab0-. ,;|\t\"'\\\né日🙂\u2028\xa0"), min_size=1, max_size=12)
VALUES = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | TEXT,
    st.none() | st.booleans(),
)
ROWS = st.lists(VALUES.map(lambda values: dict(zip(SCHEMA.names, values, strict=True))), min_size=1, max_size=20)


def _read_back(content: bytes, name: str, *, reader: TableReader, folder: Path, **settings: Any) -> pa.Table:
    path = folder / name
    path.write_bytes(content)
    return reader.read(path, settings=ReadSettings(**settings)).table


def _assert_same(got: pa.Table, rows: list[dict[str, Any]]) -> None:
    assert got.schema.equals(SCHEMA)
    assert got.to_pylist() == rows
    signs = [math.copysign(1, row["w"]) for row in rows if row["w"] is not None]
    assert [math.copysign(1, value) for value in got["w"].to_pylist() if value is not None] == signs


@LAW
@given(rows=ROWS, delimiter=st.sampled_from(",;|"), end=st.sampled_from(["\n", "\r\n"]), is_quoted=st.booleans())
def test_what_pythons_csv_writes_is_read_back(
    reader: TableReader, folder: Path, rows: list[dict[str, Any]], delimiter: str, end: str, *, is_quoted: bool
) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(
        file,
        delimiter=delimiter,
        lineterminator=end,
        quoting=csv.QUOTE_NONNUMERIC if is_quoted else csv.QUOTE_MINIMAL,
    )
    writer.writerow(SCHEMA.names)
    writer.writerows(list(row.values()) for row in rows)
    content = file.getvalue().encode()
    # Python quotes a missing value like a text when it quotes all texts.
    expected = [{**row, "t": row["t"] or ""} for row in rows] if is_quoted else rows
    _assert_same(_read_back(content, "p.csv", reader=reader, folder=folder, types=TYPES, delimiter=delimiter), expected)


@LAW
@given(rows=ROWS)
def test_without_declared_types_a_csv_file_is_still_what_it_spells_or_refused(
    reader: TableReader, folder: Path, rows: list[dict[str, Any]]
) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(SCHEMA.names)
    writer.writerows(list(row.values()) for row in rows)
    content = file.getvalue().encode()
    try:
        table = _read_back(content, "u.csv", reader=reader, folder=folder, delimiter=",")
    except DataError:
        return
    assert oracle.disagreement(table, oracle.meaning("u.csv", content, delimiter=",")) == ""


@LAW
@given(rows=ROWS, is_ascii=st.booleans())
@pytest.mark.parametrize("name", ["p.json", "p.jsonl"])
def test_what_pythons_json_writes_is_read_back_with_and_without_declared_types(
    reader: TableReader, folder: Path, rows: list[dict[str, Any]], name: str, *, is_ascii: bool
) -> None:
    texts = [json.dumps(row, ensure_ascii=is_ascii) for row in rows]
    content = ("[" + ",\n".join(texts) + "]" if name == "p.json" else "\n".join(texts)).encode()
    _assert_same(_read_back(content, name, reader=reader, folder=folder, types=TYPES), rows)
    found = _read_back(content, name, reader=reader, folder=folder)
    assert oracle.disagreement(found, oracle.meaning(name, content, delimiter=",")) == ""
    assert found.to_pylist() == rows


@LAW
@given(rows=ROWS, codec=st.sampled_from(["none", "snappy", "zstd", "gzip", "lz4"]), dictionary=st.booleans())
def test_what_pyarrow_writes_is_read_back(
    reader: TableReader, folder: Path, rows: list[dict[str, Any]], codec: str, *, dictionary: bool
) -> None:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    parquet, csv_file, stream = pa.BufferOutputStream(), pa.BufferOutputStream(), pa.BufferOutputStream()
    pq.write_table(table, parquet, compression=codec, use_dictionary=dictionary)
    _assert_same(_read_back(parquet.getvalue(), "a.parquet", reader=reader, folder=folder), rows)
    arrow_csv.write_csv(table, csv_file)
    got = _read_back(csv_file.getvalue(), "a.csv", reader=reader, folder=folder, types=TYPES)
    _assert_same(got, rows)
    with pa.ipc.new_stream(stream, SCHEMA) as writer:
        writer.write_table(table, max_chunksize=3)
    _assert_same(_read_back(stream.getvalue(), "a.arrow", reader=reader, folder=folder), rows)


@LAW
@given(rows=ROWS)
def test_what_pandas_writes_is_read_back(reader: TableReader, folder: Path, rows: list[dict[str, Any]]) -> None:
    # Column by column: a frame made of rows turns integers beside a missing value into floats.
    kinds = {"n": "Int64", "w": "Float64", "t": "string", "b": "boolean"}
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in kinds.items()})
    got = _read_back(frame.to_csv(index=False).encode(), "f.csv", reader=reader, folder=folder, types=TYPES)
    _assert_same(got, rows)
    parquet = io.BytesIO()
    frame.to_parquet(parquet, index=False)
    _assert_same(_read_back(parquet.getvalue(), "f.parquet", reader=reader, folder=folder), rows)
    # pandas rounds floats on their way to JSON, the largest one to infinity.
    lines = str(frame.drop(columns="w").to_json(orient="records", lines=True)).encode()
    got = _read_back(lines, "f.jsonl", reader=reader, folder=folder, types=TYPES)
    assert got.to_pylist() == [{name: value for name, value in row.items() if name != "w"} for row in rows]


@LAW
@given(rows=ROWS)
def test_what_polars_writes_is_read_back(reader: TableReader, folder: Path, rows: list[dict[str, Any]]) -> None:
    frame = pl.DataFrame(rows, schema={"n": pl.Int64, "w": pl.Float64, "t": pl.String, "b": pl.Boolean})
    got = _read_back(frame.write_csv().encode(), "o.csv", reader=reader, folder=folder, types=TYPES)
    _assert_same(got, rows)
    lines = frame.write_ndjson().encode()
    _assert_same(_read_back(lines, "o.jsonl", reader=reader, folder=folder, types=TYPES), rows)
    for write, name in ((frame.write_parquet, "o.parquet"), (frame.write_ipc, "o.arrow")):
        file = io.BytesIO()
        write(file)
        _assert_same(_read_back(file.getvalue(), name, reader=reader, folder=folder), rows)
