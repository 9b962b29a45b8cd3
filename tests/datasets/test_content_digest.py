"""The content digest: its published vectors, an independent slow reading of its specification, and its laws."""

from __future__ import annotations

import hashlib
import io
import struct
from decimal import Context, Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet, types

from hokusai.datasets.content_digest import ContentDigester, DigestState, content_digest, digest_batches
from hokusai.datasets.multiset_digester import MultisetDigester
from hokusai.datasets.row_digests import contained_in, first_occurrences, multiset_digest, row_digests
from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).parents[2] / "docs" / "formats" / "content-digest.md"
CHUNK = 65_536
EXACT = Context(prec=99)
INT = pa.int64()
NESTED = pa.struct([("b", INT), ("a", pa.string())])

VECTORS = {
    "V0": (pa.table({}), "87fa148cdd437211a0efe988aecccb84c861658f49885bcd6f245dfd225ae38d"),
    "V1": (pa.table({"a": [1]}), "ec569f2252c3331547cd4b550e66ac5ec6bf43cd21bf6363a5b93ce2a64f915a"),
    "V2": (pa.table({"a": [1, None, -5]}), "a6d2686c4a3b9b37d8d341d40ce019f9be60e0ba17f5a2d2117c57d4153014b6"),
    "V3": (pa.table({"s": ["", None, "é", "ab"]}), "65ee3ac5f6bf9a065c34913efbfc2c9eb542c4768a7b99adff97b48178e5b2c9"),
    "V4": (
        pa.table({"x": [0.0, -0.0, float("nan"), None, 1.5]}),
        "fab2bd99bf933a793912f1ae6a9316d79a5c0ada341c47cdbc42daed6bc8314f",
    ),
    "V6": (
        pa.table({"l": pa.array([[1, 2], [], None, [None]], pa.list_(INT))}),
        "a966ed3d0249b85a0f571622bb79f9361d574ea2f8070fe58befe8ae800e664c",
    ),
    "V7": (
        pa.table({"s": pa.array([{"b": 1, "a": "x"}, None], NESTED)}),
        "e8d2293179c9430ea6d8ee4c63eac1f3177bef95b0e1bc5e4646418a7f4e1341",
    ),
    "V8": (pa.table({"a": range(65_537)}), "a900641d3daf7926f33a789e01e96d656ab102727a4fe3ef1264db1249f5035f"),
    "V9": (pa.table({"b": [2], "a": [1]}), "4df8bda0f26ed16509b5261a109c5645777022879ef629543abd9cd8f22eae57"),
    "V10": (
        pa.table({"t": pa.array([1_000_000_001], pa.timestamp("ns"))}),
        "123ef517fac29cb96951403385022ed8a30626b04c34df273ae8b9c6fa003677",
    ),
}
V9_IN_TABLE_ORDER = "bc055e27383ae1b3cb297d9831f5ce0c7ed9fefce026ba52dd6cc65a7fd8543e"
M1 = pa.table({"a": [1, 1, 2], "s": ["x", "x", None]})
M1_DIGEST = "018173b0243fb25f132b3bf1a5bf08cdfd1328edb7a57373f1a705f6c7c5de8e"
M1_ROWS = ["0001000000000000000100000078", "0001000000000000000100000078", "02020000000000000000000000"]
M1_ROW_DIGESTS = ["724be8dbafbc82d9", "724be8dbafbc82d9", "5a9788b73b754cce"]


# --- the specification once more, slowly: one Python value at a time -------------------------------------------------


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def named(name: str) -> bytes:
    return u32(len(name.encode())) + name.encode()


def bitmap(bits: Sequence[bool]) -> bytes:
    number = sum(1 << at for at, bit in enumerate(bits) if bit)
    return number.to_bytes((len(bits) + 7) // 8, "little")


def members(kind: pa.DataType) -> list[pa.Field]:
    return sorted(kind, key=lambda field: field.name.encode())


def encoding(kind: pa.DataType) -> bytes:
    if types.is_timestamp(kind):
        return b"\x08" if kind.tz is None else b"\x09"
    if types.is_decimal(kind):
        return b"\x0b" + struct.pack("<b", kind.scale)
    if types.is_map(kind):
        return b"\x0e" + encoding(kind.key_type) + encoding(kind.item_type)
    if types.is_list(kind):
        return b"\x0c" + encoding(kind.value_type)
    if types.is_struct(kind):
        return b"\x0d" + u32(len(kind)) + b"".join(named(f.name) + encoding(f.type) for f in members(kind))
    tests = [
        types.is_null,
        types.is_boolean,
        types.is_integer,
        types.is_floating,
        types.is_string,
        lambda t: types.is_binary(t) or types.is_fixed_size_binary(t),
        types.is_date,
        types.is_time,
    ]
    return bytes([next((code for code, test in enumerate(tests) if test(kind)), 10)])


def moment(kind: pa.DataType, value: int) -> tuple[int, int]:
    nanoseconds = value * {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[kind.unit]
    return divmod(nanoseconds, 1000)


def is_moment(kind: pa.DataType) -> bool:
    return bool(types.is_timestamp(kind) or types.is_duration(kind))


def is_text(kind: pa.DataType) -> bool:
    return encoding(kind) in (b"\x04", b"\x05")


def is_nested(kind: pa.DataType) -> bool:
    return encoding(kind)[0] >= 12


def scalar(kind: pa.DataType, value: Any) -> bytes:
    if types.is_integer(kind):
        return struct.pack("<q", value or 0)
    if types.is_floating(kind):
        value = 0.0 if value is None else value
        return struct.pack("<d", value) if value == value else bytes.fromhex("000000000000f87f")  # noqa: PLR0124
    if types.is_date32(kind):
        return struct.pack("<i", value or 0)
    if types.is_date64(kind):
        return struct.pack("<i", (value or 0) // 86_400_000)
    if types.is_time(kind):
        return struct.pack("<q", (value or 0) * {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[kind.unit])
    assert types.is_decimal(kind)
    return int((value or Decimal(0)).scaleb(kind.scale, EXACT)).to_bytes(16, "little", signed=True)


def raw(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else (value or b"")


def body(kind: pa.DataType, values: Sequence[Any]) -> bytes:  # noqa: PLR0911 -- one return per type reads best
    has_nulls = any(value is None for value in values)
    moments = [moment(kind, value or 0) for value in values] if is_moment(kind) else []
    has_nanoseconds = any(rest for _, rest in moments)
    out = bytes([has_nulls + 2 * has_nanoseconds])
    if has_nulls:
        out += bitmap([value is not None for value in values])
    if types.is_null(kind):
        return out
    if types.is_boolean(kind):
        return out + bitmap([bool(value) for value in values])
    if moments:
        out += b"".join(struct.pack("<q", whole) for whole, _ in moments)
        return out + b"".join(struct.pack("<H", rest) for _, rest in moments if has_nanoseconds)
    if is_text(kind):
        return out + b"".join(u32(len(raw(v))) for v in values) + b"".join(map(raw, values))
    if types.is_struct(kind):
        return out + b"".join(
            body(field.type, [None if value is None else value[field.name] for value in values])
            for field in members(kind)
        )
    if types.is_list(kind) or types.is_map(kind):
        entries = [entry for value in values if value is not None for entry in value]
        out += b"".join(u32(len(value or ())) for value in values)
        if types.is_map(kind):
            out += body(kind.key_type, [key for key, _ in entries])
            return out + body(kind.item_type, [item for _, item in entries])
        return out + body(kind.value_type, entries)
    return out + b"".join(scalar(kind, value) for value in values)


def tree(chunks: list[bytes]) -> bytes:
    if not chunks:
        return sha(b"")
    if len(chunks) == 1:
        return chunks[0]
    split = 1
    while split * 2 < len(chunks):
        split *= 2
    return sha(b"\x01" + tree(chunks[:split]) + tree(chunks[split:]))


Columns = list[tuple[str, pa.DataType, list[Any]]]


def encoded_schema(columns: Columns) -> bytes:
    return u32(len(columns)) + b"".join(named(name) + encoding(kind) for name, kind, _ in columns)


def slow_digest(columns: Columns) -> str:
    columns = sorted(columns, key=lambda column: column[0].encode())
    rows = len(columns[0][2])
    chunks = []
    for start in range(0, rows, CHUNK):
        size = min(CHUNK, rows - start)
        leaves = b"".join(
            sha(b"\x00" + encoding(kind) + u32(size) + body(kind, values[start : start + size]))
            for _, kind, values in columns
        )
        chunks.append(sha(b"\x02" + u32(size) + leaves))
    schema = encoded_schema(columns)
    header = b"TABHASH1" + bytes([1, 0, 16]) + struct.pack("<QI", rows, len(schema)) + schema
    return sha(header + tree(chunks)).hex()


def slow_row(kinds: Sequence[pa.DataType], row: Sequence[Any]) -> bytes:
    fixed, after = bitmap([value is None for value in row]), b""
    for kind, value in zip(kinds, row, strict=True):
        if types.is_null(kind):
            continue
        if types.is_boolean(kind):
            fixed += bytes([bool(value)])
        elif is_moment(kind):
            fixed += struct.pack("<qH", *moment(kind, value or 0))
        elif is_text(kind) or is_nested(kind):
            data = raw(value) if is_text(kind) else b"" if value is None else body(kind, [value])
            fixed, after = fixed + u32(len(data)), after + data
        else:
            fixed += scalar(kind, value)
    return fixed + after


def slow_rows(columns: Columns) -> list[bytes]:
    columns = sorted(columns, key=lambda column: column[0].encode())
    kinds = [kind for _, kind, _ in columns]
    return [sha(slow_row(kinds, row)) for row in zip(*(values for _, _, values in columns), strict=True)]


def slow_multiset(columns: Columns) -> str:
    columns = sorted(columns, key=lambda column: column[0].encode())
    schema, rows = encoded_schema(columns), slow_rows(columns)
    header = b"TABHASHM" + bytes([1, 0, 0]) + struct.pack("<QI", len(rows), len(schema)) + schema
    return sha(header + sha(b"".join(sorted(rows)))).hex()


# --- tables to try ----------------------------------------------------------------------------------------------------


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
I64 = st.integers(-(2**63), 2**63 - 1)
SMALL = st.integers(-(2**40), 2**40)
UNITS = ["s", "ms", "us", "ns"]
DAYS = st.integers(-10_000, 50_000)
DECIMALS = st.integers(-(10**9) + 1, 10**9 - 1).map(lambda unscaled: Decimal(unscaled).scaleb(-3))
SCALARS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint32(), st.integers(0, 2**32 - 1)),
    (pa.int64(), I64),
    (pa.uint64(), st.integers(0, 2**63 - 1)),
    (pa.float16(), st.floats(width=16).map(np.float16)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=9)),
    (pa.binary(), st.binary(max_size=9)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.date32(), DAYS),
    (pa.date64(), DAYS.map(lambda days: days * 86_400_000)),
    (pa.time32("s"), st.integers(0, 86_399)),
    (pa.time32("ms"), st.integers(0, 86_399_999)),
    (pa.time64("us"), st.integers(0, 86_399_999_999)),
    (pa.time64("ns"), st.integers(0, 86_399_999_999_999)),
    *((pa.timestamp(unit), SMALL) for unit in UNITS),
    *((pa.timestamp(unit, "Asia/Tokyo"), SMALL) for unit in UNITS),
    *((pa.duration(unit), SMALL) for unit in UNITS),
    (pa.decimal128(9, 3), DECIMALS),
    (pa.decimal256(50, 3), DECIMALS),
    (pa.decimal128(38, 0), st.integers(-(10**37), 10**37).map(Decimal)),
]


def nullable(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, values, st.none())


@st.composite
def kinds_with_values(draw: st.DrawFn, depth: int = 2) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    shape = draw(st.sampled_from(["scalar", "scalar", "list", "struct", "map"])) if depth else "scalar"
    if shape == "scalar":
        kind, values = draw(st.sampled_from(SCALARS))
        return kind, values
    inner_kind, inner = draw(kinds_with_values(depth - 1))
    if shape == "list":
        return pa.list_(inner_kind), st.lists(nullable(inner), max_size=3)
    if shape == "map":
        return pa.map_(pa.string(), inner_kind), st.lists(
            st.tuples(st.text("ab", max_size=2), nullable(inner)), max_size=3
        )
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    parts = [(name, *draw(kinds_with_values(depth - 1))) for name in names]
    members_of = st.fixed_dictionaries({name: nullable(part) for name, _, part in parts})
    return pa.struct([(name, kind) for name, kind, _ in parts]), members_of


@st.composite
def tables(draw: st.DrawFn, *, depth: int = 2, min_rows: int = 0) -> tuple[pa.Table, Columns]:
    rows = draw(st.integers(min_rows, 12))
    names = draw(st.lists(NAMES, unique=True, min_size=1, max_size=4))
    columns: Columns = []
    for name in names:
        kind, values = draw(kinds_with_values(depth))
        columns.append((name, kind, draw(st.lists(nullable(values), min_size=rows, max_size=rows))))
    arrays = [pa.array(values, kind) for _, kind, values in columns]
    return pa.Table.from_arrays(arrays, names=names), columns


@cache
def big_table(rows: int = 150_000) -> pa.Table:
    rng = np.random.default_rng(7)
    missing = rng.random(rows) < 0.1
    return pa.table(
        {
            "integer": pa.array(rng.integers(-9, 9, rows), mask=missing),
            "number": pa.array(rng.normal(size=rows), mask=missing),
            "text": pa.array(rng.integers(0, 999, rows).astype(str).astype(object), pa.string(), mask=missing),
            "flag": pa.array(rng.random(rows) < 0.5, mask=missing),
            "when": pa.array(rng.integers(0, 10**18, rows), pa.timestamp("ns"), mask=missing),
            "amount": pc.cast(pa.array(rng.integers(-99, 99, rows)), pa.decimal128(21, 2)),
            "list": pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * 2, pa.int32()), pa.array(range(2 * rows))),
        }
    )


def digest_of_batches(batches: Sequence[pa.RecordBatch | pa.Table], schema: pa.Schema) -> str:
    digester = ContentDigester(schema)
    for batch in batches:
        digester.update(batch)
    return digester.hexdigest()


# --- published vectors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_table_has_its_published_digest(name: str) -> None:
    table, digest = VECTORS[name]
    assert content_digest(table) == digest


def test_the_order_of_columns_counts_only_when_asked_for() -> None:
    table = VECTORS["V9"][0]
    assert content_digest(table, column_order="table") == V9_IN_TABLE_ORDER
    assert content_digest(table.select(["a", "b"])) == content_digest(table)
    assert content_digest(table.select(["a", "b"]), column_order="table") != V9_IN_TABLE_ORDER


def test_the_worked_example_can_be_followed_by_hand() -> None:
    leaf = sha(bytes.fromhex("00 02 03000000 01 05 0100000000000000 0000000000000000 fbffffffffffffff"))
    assert leaf.hex() == "6bcc31d1f5e3853117b849d1f85bcff400d2797a5c9b649a763c5173909435ca"
    chunk = sha(bytes.fromhex("02 03000000") + leaf)
    assert chunk.hex() == "810e32c29c27771da30f8dc9d1e2543bc2abeb47cb515f28f2261ad76f640cd0"
    header = b"TABHASH1" + bytes.fromhex("01 00 10 0300000000000000 0a000000 01000000 01000000 61 02")
    assert sha(header + chunk).hex() == content_digest(VECTORS["V2"][0])


def test_published_rows_have_their_published_digests() -> None:
    digests = row_digests(M1)
    assert [digest.tobytes() for digest in digests] == [sha(bytes.fromhex(row)) for row in M1_ROWS]
    assert [digest.tobytes().hex()[:16] for digest in digests] == M1_ROW_DIGESTS
    assert multiset_digest(M1) == M1_DIGEST


def further_vectors() -> dict[str, Columns]:
    return {
        "X1": [
            ("b", pa.bool_(), [True, None, False]),
            ("d", pa.date32(), [0, None, -1]),
            ("m", pa.decimal128(5, 2), [Decimal("1.25"), None, Decimal("-1.25")]),
            ("t", pa.timestamp("us", "UTC"), [0, None, -1]),
        ],
        "X2": [("n", pa.null(), [None, None])],
        "X3": [("c", pa.time32("s"), [1]), ("d", pa.duration("ns"), [-1])],
        "X4": [("m", pa.map_(pa.string(), INT), [[("b", 1), ("a", None)], None, []])],
        "X5": [
            ("l", pa.list_(INT), [[1, None], None, []]),
            ("s", NESTED, [{"b": 1, "a": "x"}, None, {"b": 2, "a": ""}]),
        ],
    }


def table_of(columns: Columns) -> pa.Table:
    return pa.Table.from_arrays([pa.array(values, kind) for _, kind, values in columns], names=[c[0] for c in columns])


def test_the_page_gives_every_vector() -> None:
    page = PAGE.read_text(encoding="utf-8")
    digests = [*(digest for _, digest in VECTORS.values()), V9_IN_TABLE_ORDER, M1_DIGEST, *M1_ROWS, *M1_ROW_DIGESTS]
    for columns in further_vectors().values():
        digests += [content_digest(table_of(columns)), multiset_digest(table_of(columns))]
    assert [digest for digest in digests if digest not in page] == []


@pytest.mark.parametrize("name", further_vectors())
def test_a_further_vector_agrees_with_the_slow_reading(name: str) -> None:
    columns = further_vectors()[name]
    assert content_digest(table_of(columns)) == slow_digest(columns)
    assert multiset_digest(table_of(columns)) == slow_multiset(columns)


# --- against the slow reading -----------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(drawn=tables())
def test_any_table_has_the_digests_of_the_slow_reading(drawn: tuple[pa.Table, Columns]) -> None:
    table, columns = drawn
    assert content_digest(table) == slow_digest(columns)
    assert [digest.tobytes() for digest in row_digests(table)] == slow_rows(columns)
    assert multiset_digest(table) == slow_multiset(columns)


@pytest.mark.parametrize("rows", [65_535, 65_536, 65_537, 131_072, 262_145])
def test_tables_around_whole_chunks_agree_with_the_slow_reading(rows: int) -> None:
    values = [None if row % 7 == 0 else row % 2 == 0 for row in range(rows)]
    columns: Columns = [("flag", pa.bool_(), values)]
    assert content_digest(table_of(columns)) == slow_digest(columns)


# --- what is not content ----------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(drawn=tables(), cuts=st.lists(st.integers(0, 12), max_size=5))
def test_batches_are_not_content(drawn: tuple[pa.Table, Columns], cuts: list[int]) -> None:
    table, _ = drawn
    edges = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    parts = [table.slice(start, stop - start) for start, stop in pairwise(edges)]
    assert digest_of_batches(parts, table.schema) == content_digest(table)
    glued = pa.concat_tables(parts)
    assert content_digest(glued) == content_digest(table)
    assert row_digests(glued).tobytes() == row_digests(table).tobytes()


@settings(max_examples=40, deadline=None)
@given(drawn=tables(), data=st.data())
def test_where_a_slice_was_cut_from_is_not_content(drawn: tuple[pa.Table, Columns], data: st.DataObject) -> None:
    table, columns = drawn
    start = data.draw(st.integers(0, table.num_rows))
    stop = data.draw(st.integers(start, table.num_rows))
    cut: Columns = [(name, kind, values[start:stop]) for name, kind, values in columns]
    sliced = table.slice(start, stop - start)
    assert content_digest(sliced) == slow_digest(cut)
    assert [digest.tobytes() for digest in row_digests(sliced)] == slow_rows(cut)


@pytest.mark.parametrize("size", [999, 65_536, 100_000])
def test_batches_across_chunks_are_not_content(size: int) -> None:
    table = big_table()
    batches = table.to_batches(max_chunksize=size)
    assert digest_of_batches(batches, table.schema) == content_digest(table)
    glued = pa.Table.from_batches(batches)
    assert row_digests(glued).tobytes() == row_digests(table).tobytes()


def test_a_digest_can_be_read_between_batches() -> None:
    table = big_table(70_000)
    digester = ContentDigester(table.schema)
    for start in range(0, 70_000, 35_000):
        digester.update(table.slice(start, 35_000))
        assert digester.hexdigest() == content_digest(table.slice(0, start + 35_000))


# Arrow has them from its release 19 on.
NARROW_DECIMALS = [pa.decimal32(6, 2), pa.decimal64(17, 2)] if hasattr(pa, "decimal32") else []
TEXTS = ["", None, "é", "a longer text that no view keeps inside itself", "b", "b"]
TEXT_KINDS = [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
BINARY_KINDS = [pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())]


@pytest.mark.parametrize("kind", TEXT_KINDS + BINARY_KINDS, ids=str)
def test_the_encoding_of_text_is_not_content(kind: pa.DataType) -> None:
    plain_kind = pa.binary() if kind in BINARY_KINDS else pa.string()
    values = [None if text is None else text.encode() if kind in BINARY_KINDS else text for text in TEXTS]
    plain, other = pa.table({"x": pa.array(values, plain_kind)}), pa.table({"x": pa.array(values, kind)})
    for shift in range(3):
        assert content_digest(other.slice(shift)) == content_digest(plain.slice(shift))
        assert row_digests(other.slice(shift)).tobytes() == row_digests(plain.slice(shift)).tobytes()


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (pa.int64(), pa.int8()),
        (pa.int64(), pa.uint64()),
        (pa.int64(), pa.dictionary(pa.int16(), pa.int32())),
        (pa.int64(), pa.run_end_encoded(pa.int32(), pa.int64())),
        (pa.float64(), pa.float32()),
        (pa.timestamp("s"), pa.timestamp("ns")),
        (pa.timestamp("s", "UTC"), pa.timestamp("us", "Europe/Oslo")),
        (pa.duration("s"), pa.duration("ns")),
        (pa.time32("s"), pa.time64("ns")),
        (pa.decimal128(5, 2), pa.decimal256(60, 2)),
        *((pa.decimal128(5, 2), kind) for kind in NARROW_DECIMALS),
    ],
    ids=str,
)
def test_the_width_and_unit_of_a_type_are_not_content(kind: pa.DataType, other: pa.DataType) -> None:
    values: list[Any] = [3, None, 3, 0, 77]
    if types.is_decimal(kind):
        values = [None if value is None else Decimal(value) for value in values]
    plain = pa.table({"x": pa.array(values, kind)})
    if types.is_run_end_encoded(other):
        cast = pc.run_end_encode(plain["x"])
    elif types.is_dictionary(other):
        cast = pa.array(values, other.value_type).dictionary_encode()
    else:
        cast = plain["x"].cast(other)
    same = pa.table({"x": cast})
    assert content_digest(same.slice(1)) == content_digest(plain.slice(1))
    assert row_digests(same.slice(1)).tobytes() == row_digests(plain.slice(1)).tobytes()


@pytest.mark.parametrize(
    "kind", [pa.large_list(INT), pa.list_(INT, 2), pa.list_view(INT), pa.large_list_view(INT)], ids=str
)
def test_the_encoding_of_lists_is_not_content(kind: pa.DataType) -> None:
    values = [[1, 2], None, [3, None], [4, 5]]
    plain, other = (pa.table({"x": pa.array(values, each)}) for each in (pa.list_(INT), kind))
    for shift in range(3):
        assert content_digest(other.slice(shift)) == content_digest(plain.slice(shift))
        assert row_digests(other.slice(shift)).tobytes() == row_digests(plain.slice(shift)).tobytes()


def test_a_dictionary_may_change_from_chunk_to_chunk_and_inside_lists() -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    flat = pa.chunked_array([pa.array(["a", "b"], kind), pa.array(["c", None, "a"], kind)])
    assert content_digest(pa.table({"x": flat})) == content_digest(pa.table({"x": ["a", "b", "c", None, "a"]}))
    inside = pa.chunked_array([pa.array([["a"]], pa.list_(kind)), pa.array([["c", "a"]], pa.list_(kind))])
    assert content_digest(pa.table({"x": inside})) == content_digest(pa.table({"x": [["a"], ["c", "a"]]}))


def test_encodings_inside_nested_values_are_not_content() -> None:
    odd = pa.struct(
        [
            ("view", pa.string_view()),
            ("code", pa.dictionary(pa.int8(), pa.string())),
            ("views", pa.list_view(pa.binary_view())),
            ("pair", pa.list_(pa.string_view(), 1)),
            ("codes", pa.large_list(pa.dictionary(pa.int8(), pa.string()))),
            ("map", pa.map_(pa.string(), pa.string_view())),
        ]
    )
    text, texts, blobs = pa.string(), pa.list_(pa.string()), pa.list_(pa.binary())
    kinds = [text, text, blobs, texts, texts, pa.map_(text, text)]
    plain = pa.struct(list(zip((field.name for field in odd), kinds, strict=True)))
    first = {"view": "x" * 30, "code": "q", "views": [b"k" * 30, None], "pair": ["z"], "codes": ["a", None], "map": []}
    last = {"view": None, "code": "r", "views": None, "pair": [None], "codes": [], "map": [("k", None)]}
    whole = pa.array([first, first, last, dict.fromkeys(first)], odd)
    covered = pa.StructArray.from_arrays(
        [whole.field(at) for at in range(len(odd))], fields=list(odd), mask=pa.array([False, True, False, False])
    )
    values = [first, None, last, dict.fromkeys(first)]
    for shift in range(3):
        table, columns = pa.table({"x": covered}).slice(shift), [("x", plain, values[shift:])]
        assert content_digest(table) == slow_digest(columns)
        assert [digest.tobytes() for digest in row_digests(table)] == slow_rows(columns)
        one_by_one = [table.slice(row, 1) for row in range(table.num_rows)]
        assert digest_of_batches(one_by_one, table.schema) == slow_digest(columns)


def test_maps_of_maps_of_nothing_keep_all_their_entries() -> None:
    kind = pa.map_(pa.string(), pa.map_(pa.string(), pa.null()))
    columns: Columns = [("x", kind, [[], [("", [("", None), ("", None)])], None])]
    assert content_digest(table_of(columns)) == slow_digest(columns)
    assert [digest.tobytes() for digest in row_digests(table_of(columns))] == slow_rows(columns)


@pytest.mark.parametrize("kind", [pa.list_(INT), NESTED, pa.map_(pa.string(), INT), pa.string(), pa.null()], ids=str)
def test_a_column_of_nothing_but_nulls_has_its_digest(kind: pa.DataType) -> None:
    columns: Columns = [("x", kind, [None] * 9)]
    assert content_digest(table_of(columns)) == slow_digest(columns)
    assert [digest.tobytes() for digest in row_digests(table_of(columns))] == slow_rows(columns)


def test_what_lies_under_a_null_is_not_content() -> None:
    present = pa.py_buffer(b"\x05")
    nan = struct.pack("<Q", 0x7FF4DEADBEEF0000)
    offsets = pa.py_buffer(struct.pack("<4i", 0, 1, 3, 4))
    dirty = {
        "int": (INT, [None, pa.py_buffer(struct.pack("<3q", 1, 99, 3))], []),
        "u64": (pa.uint64(), [None, pa.py_buffer(struct.pack("<3Q", 1, 2**64 - 1, 3))], []),
        "float": (pa.float64(), [None, pa.py_buffer(struct.pack("<d", 1) + nan + struct.pack("<d", 3))], []),
        "bool": (pa.bool_(), [None, pa.py_buffer(b"\xff")], []),
        "date": (pa.date64(), [None, pa.py_buffer(struct.pack("<3q", 0, 5, 0))], []),
        "when": (pa.timestamp("s"), [None, pa.py_buffer(struct.pack("<3q", 1, 2**62, 3))], []),
        "text": (pa.string(), [None, offsets, pa.py_buffer(b"axxb")], []),
        "fixed": (pa.binary(1), [None, pa.py_buffer(b"axb")], []),
        "list": (pa.list_(INT), [None, offsets], [pa.array([1, 98, 99, 3])]),
        "pair": (pa.list_(INT, 1), [None], [pa.array([1, 99, 3])]),
        "struct": (pa.struct([("i", INT)]), [None], [pa.array([1, 99, 3])]),
        "amount": (
            pa.decimal256(50, 0),
            [None, pa.py_buffer(b"\1" + bytes(31) + b"\x7f" * 32 + b"\3" + bytes(31))],
            [],
        ),
    }
    arrays = {
        name: pa.Array.from_buffers(kind, 3, [present, *buffers[1:]], children=children)
        for name, (kind, buffers, children) in dirty.items()
    }
    clean = {
        name: pa.array([None if value is None else value for value in array.to_pylist()], array.type)
        for name, array in arrays.items()
    }
    for name, array in arrays.items():
        for shift in range(3):
            left, right = pa.table({name: array}).slice(shift), pa.table({name: clean[name]}).slice(shift)
            assert content_digest(left) == content_digest(right), name
            assert row_digests(left).tobytes() == row_digests(right).tobytes(), name


def test_every_not_a_number_is_one_value() -> None:
    patterns = [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF0000000000001, 0x7FFFFFFFFFFFFFFF]
    tables_of_one = [pa.table({"x": np.array([pattern], dtype="u8").view("f8")}) for pattern in patterns]
    assert len({content_digest(table) for table in tables_of_one}) == 1
    assert len({row_digests(table).tobytes() for table in tables_of_one}) == 1


@settings(max_examples=25, deadline=None)
@given(drawn=tables(depth=1))
def test_a_feather_round_trip_keeps_the_digest(drawn: tuple[pa.Table, Columns]) -> None:
    table, _ = drawn
    file = io.BytesIO()
    feather.write_feather(table, file, compression="zstd")
    assert content_digest(feather.read_table(io.BytesIO(file.getvalue()))) == content_digest(table)


def test_a_parquet_round_trip_keeps_the_digest() -> None:
    table = big_table(100_000)
    for options in ({"row_group_size": 7_000}, {"use_dictionary": False, "compression": "zstd"}, {"version": "2.6"}):
        file = io.BytesIO()
        parquet.write_table(table, file, **options)
        read = parquet.ParquetFile(io.BytesIO(file.getvalue()))
        batches = list(read.iter_batches(batch_size=9_999))
        assert digest_of_batches(batches, batches[0].schema) == content_digest(table)


@settings(max_examples=25, deadline=None)
@given(drawn=tables(depth=0, min_rows=1), order=st.randoms(use_true_random=False))
def test_the_multiset_digest_ignores_the_order_of_rows_and_nothing_else(
    drawn: tuple[pa.Table, Columns], order: Any
) -> None:
    table, _ = drawn
    shuffled = table.take(pa.array(order.sample(range(table.num_rows), table.num_rows)))
    assert multiset_digest(shuffled) == multiset_digest(table)
    assert multiset_digest(pa.concat_tables([table, table.slice(0, 1)])) != multiset_digest(table)


# --- state ------------------------------------------------------------------------------------------------------------


def state_of(table: pa.Table, **options: Any) -> DigestState:
    digester = ContentDigester(table.schema, **options)
    digester.update(table)
    return digester.state()


@settings(max_examples=60, deadline=None)
@given(drawn=tables(), data=st.data())
def test_a_digest_goes_on_from_its_state_wherever_the_rows_were_cut(
    drawn: tuple[pa.Table, Columns], data: st.DataObject
) -> None:
    table, columns = drawn
    # Arrow itself cannot join two pieces of a map to structs of nulls: the joined array is not valid.
    assume(
        not any(pa.types.is_nested(kind) and "null" in str(kind).replace("not null", "") for kind in table.schema.types)
    )
    cut = data.draw(st.integers(0, table.num_rows))
    state = DigestState.from_bytes(state_of(table.slice(0, cut)).to_bytes())
    digester = ContentDigester.resume(state)
    assert digester.hexdigest() == content_digest(table.slice(0, cut))
    digester.update(table.slice(cut))
    assert digester.hexdigest() == slow_digest(columns)
    assert digester.state().rows == table.num_rows


@pytest.mark.parametrize("cut", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 150_000])
def test_a_state_keeps_no_rows_of_whole_chunks_and_goes_on_over_their_bounds(cut: int) -> None:
    table = big_table()
    state = state_of(table.slice(0, cut))
    assert len(state.chunks) == 32 * (cut // CHUNK)
    assert pa.ipc.open_stream(state.tail).read_all().num_rows == cut % CHUNK
    digester = ContentDigester.resume(DigestState.from_bytes(state.to_bytes()))
    digester.update(table.slice(cut))
    assert digester.hexdigest() == content_digest(table)


def test_a_state_of_a_state_is_the_state_of_the_whole() -> None:
    table = big_table()
    digester = ContentDigester(table.schema)
    for start in range(0, table.num_rows, 40_001):
        digester = ContentDigester.resume(digester.state())
        digester.update(table.slice(start, 40_001))
    assert digester.state().chunks == state_of(table).chunks
    assert digester.hexdigest() == content_digest(table)


def test_the_rows_to_come_may_be_stored_in_another_way_but_not_be_other_columns() -> None:
    whole = pa.table({"b": ["x", "y", "x"], "a": [1, 2, 3]})
    first = pa.table({"b": whole["b"].dictionary_encode(), "a": whole["a"].cast(pa.int8())}).slice(0, 1)
    state = DigestState.from_bytes(state_of(first).to_bytes())
    digester = ContentDigester.resume(state, schema=whole.schema)
    digester.update(whole.slice(1))
    assert digester.hexdigest() == content_digest(whole)
    for other in (pa.schema([("a", INT)]), pa.schema([("b", pa.string()), ("a", pa.float64())])):
        with pytest.raises(DataError, match="hash the whole table again") as refused:
            ContentDigester.resume(state, schema=other, source="more.csv")
        assert refused.value.source == "more.csv"


def test_the_order_of_columns_goes_with_the_state() -> None:
    table = pa.table({"b": [2, 3], "a": [1, 0]})
    digester = ContentDigester.resume(state_of(table.slice(0, 1), column_order="table"))
    digester.update(table.slice(1))
    assert digester.hexdigest() == content_digest(table, column_order="table") != content_digest(table)
    with pytest.raises(DataError, match="hash the whole table again"):
        ContentDigester.resume(state_of(table, column_order="table"), schema=table.select(["a", "b"]).schema)


@given(data=st.data())
def test_a_state_with_one_changed_byte_is_refused(data: st.DataObject) -> None:
    kept = bytearray(state_of(pa.table({"x": [1, 2, 3]})).to_bytes())
    kept[data.draw(st.integers(0, len(kept) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DataError, match="digest state"):
        DigestState.from_bytes(bytes(kept), source="base.state")


@pytest.mark.parametrize("size", [0, 1, 8, 30, 60, -1])
def test_a_state_that_was_cut_off_is_refused(size: int) -> None:
    kept = state_of(pa.table({"x": [1, 2, 3]})).to_bytes()
    with pytest.raises(DataError, match="digest state"):
        DigestState.from_bytes(kept[:size])


def test_a_state_of_another_version_is_refused_even_with_a_right_seal() -> None:
    content = bytearray(state_of(pa.table({"x": [1]})).to_bytes()[:-32])
    content[8] = 2
    with pytest.raises(DataError, match="version 2, expected 1"):
        DigestState.from_bytes(bytes(content) + sha(bytes(content)))


def test_a_state_that_does_not_hold_the_rows_that_it_counts_is_refused() -> None:
    state = state_of(pa.table({"x": [1, 2, 3]}))
    for rows, chunks in ((2, b""), (CHUNK + 3, b""), (3, bytes(32))):
        forged = DigestState(rows=rows, column_order="name", schema=state.schema, chunks=chunks, tail=state.tail)
        with pytest.raises(DataError, match="does not hold the rows"):
            ContentDigester.resume(forged)
    with pytest.raises(DataError, match="Arrow cannot keep or read"):
        ContentDigester.resume(DigestState(rows=0, column_order="name", schema=b"", chunks=b"", tail=b""))


def test_the_kept_state_can_still_be_read() -> None:
    kept = Path(__file__).parents[1] / "golden" / "digest-state-1.bin"
    digester = ContentDigester.resume(DigestState.from_bytes(kept.read_bytes()))
    digester.update(pa.table({"b": ["", "é"], "a": pa.array([3, None], INT)}))
    assert digester.hexdigest() == content_digest(
        pa.table({"b": ["x", None, "", "é"], "a": pa.array([1, 2, 3, None], INT)})
    )


def test_batches_have_the_digests_of_their_table() -> None:
    table = big_table()
    for size in (9_999, CHUNK):
        assert digest_batches(table.schema, table.to_batches(max_chunksize=size)) == content_digest(table)
    assert digest_batches(table.schema, []) == content_digest(table.slice(0, 0))


@settings(max_examples=25, deadline=None)
@given(drawn=tables(depth=1), cuts=st.lists(st.integers(0, 12), max_size=3), order=st.randoms(use_true_random=False))
def test_batches_in_any_order_have_the_multiset_digest_of_their_table(
    drawn: tuple[pa.Table, Columns], cuts: list[int], order: Any
) -> None:
    table, columns = drawn
    bounds = sorted({0, table.num_rows, *(cut for cut in cuts if cut < table.num_rows)})
    batches = [table.slice(start, end - start) for start, end in pairwise(bounds)]
    order.shuffle(batches)
    digester = MultisetDigester(table.schema)
    for batch in batches:
        digester.update(batch)
    assert digester.hexdigest() == slow_multiset(columns)


def test_a_batch_of_other_columns_has_no_place_in_a_multiset() -> None:
    digester = MultisetDigester(pa.schema([("x", INT)]))
    with pytest.raises(DataError, match="other columns"):
        digester.update(pa.table({"x": ["1"]}))


# --- what is content --------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(drawn=tables(min_rows=1), data=st.data())
def test_changing_any_one_value_changes_the_digest(drawn: tuple[pa.Table, Columns], data: st.DataObject) -> None:
    table, columns = drawn
    at = data.draw(st.integers(0, len(columns) - 1))
    row = data.draw(st.integers(0, table.num_rows - 1))
    name, kind, values = columns[at]
    was = slow_row([kind], [values[row]])
    others = [value for value in [*values, None] if slow_row([kind], [value]) != was]
    assume(others)
    changed = values.copy()
    changed[row] = data.draw(st.sampled_from(others))
    other = table.set_column(at, pa.field(name, kind), pa.array(changed, kind))
    assert content_digest(other) != content_digest(table)
    differing = np.flatnonzero(row_digests(other) != row_digests(table))
    assert differing.tolist() == [row]
    assert multiset_digest(other) != multiset_digest(table)


@pytest.mark.parametrize("row", [0, 65_535, 65_536, 149_999])
def test_one_value_of_a_big_table_changes_its_digest(row: int) -> None:
    table = big_table()
    flags = table["flag"].to_pylist()
    flags[row] = True if flags[row] is None else None
    other = table.set_column(table.column_names.index("flag"), "flag", pa.array(flags))
    assert content_digest(other) != content_digest(table)


def test_tables_that_look_alike_have_different_digests() -> None:
    look_alikes = [
        pa.table({"a": ["ab", "c"]}),
        pa.table({"a": ["a", "bc"]}),
        pa.table({"a": ["c", "ab"]}),
        pa.table({"a": ["abc", ""]}),
        pa.table({"a": ["abc", None]}),
        pa.table({"a": [b"ab", b"c"]}),
        pa.table({"b": ["ab", "c"]}),
        pa.table({"a": [1, 2]}),
        pa.table({"a": [1.0, 2.0]}),
        pa.table({"a": ["1", "2"]}),
        pa.table({"a": [True, False]}),
        pa.table({"a": [0, None]}),
        pa.table({"a": [0, 0]}),
        pa.table({"a": [0.0, -0.0]}),
        pa.table({"a": [0.0, 0.0]}),
        pa.table({"a": pa.array([0, 0], pa.timestamp("s"))}),
        pa.table({"a": pa.array([0, 0], pa.timestamp("s", "UTC"))}),
        pa.table({"a": pa.array([0, 0], pa.duration("s"))}),
        pa.table({"a": pa.array([0, 0], pa.date32())}),
        pa.table({"a": pa.array([0, 0], pa.time32("s"))}),
        pa.table({"a": pa.array([0, 0], pa.decimal128(5, 0))}),
        pa.table({"a": pa.array([0, 0], pa.decimal128(5, 1))}),
        pa.table({"a": pa.nulls(2)}),
        pa.table({"a": pa.nulls(2, INT)}),
        pa.table({"a": pa.nulls(3, INT)}),
        pa.table({"a": pa.array([], INT)}),
        pa.table({"a": [[], None]}),
        pa.table({"a": pa.array([[1], [2]])}),
        pa.table({"a": pa.array([[1, 2], []])}),
        pa.table({"a": pa.array([[[1, 2]], []])}),
        pa.table({"a": pa.array([[[1], [2]], []])}),
        pa.table({"a": pa.array([{"x": None}, None], pa.struct([("x", INT)]))}),
        pa.table({"a": pa.array([None, {"x": None}], pa.struct([("x", INT)]))}),
    ]
    assert len({content_digest(table) for table in look_alikes}) == len(look_alikes)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_negative_zero_is_folded_only_when_asked_for() -> None:
    table = pa.table({"x": [0.0, -0.0], "l": pa.array([[0.0], [-0.0]])})
    kept, folded = row_digests(table), row_digests(table, fold_negative_zero=True)
    assert kept[0] != kept[1]
    assert folded[0] == folded[1] == kept[0]


def test_a_digest_that_ends_in_zero_bytes_is_kept_whole() -> None:
    table = pa.table({"x": range(5_000)})
    digests = row_digests(table)
    assert digests.dtype == np.dtype("V32")
    assert any(digest.tobytes().endswith(b"\0") for digest in digests)
    assert [digest.tobytes() for digest in digests] == slow_rows([("x", INT, list(range(5_000)))])


@given(
    content=st.lists(st.integers(0, 5), max_size=20),
    others=st.lists(st.integers(0, 5), max_size=20),
    shared=st.sampled_from([0, 8, 31]),
)
def test_repetitions_and_common_rows_are_found_even_when_digests_share_their_first_bytes(
    content: list[int], others: list[int], shared: int
) -> None:
    def digests(numbers: list[int]) -> np.ndarray[Any, np.dtype[np.void]]:
        whole = b"".join(sha(b"same")[:shared] + sha(bytes([number]))[shared:] for number in numbers)
        return np.frombuffer(whole, dtype="V32")

    expected = [number not in content[:at] for at, number in enumerate(content)]
    assert first_occurrences(digests(content)).tolist() == expected
    assert contained_in(digests(content), digests(others)).tolist() == [number in others for number in content]


def test_the_multiset_digest_sorts_rows_as_byte_strings() -> None:
    columns: Columns = [("x", INT, list(range(2_000)))]
    assert multiset_digest(table_of(columns)) == slow_multiset(columns)


def test_a_table_without_columns_still_counts_its_rows() -> None:
    table = pa.table({"x": [1, 2]}).select([])
    assert content_digest(table) != content_digest(table.slice(0, 0))
    assert len(row_digests(table)) == table.num_rows


# --- memory -----------------------------------------------------------------------------------------------------------


def test_the_digester_does_not_keep_the_batches_alive() -> None:
    before = pa.total_allocated_bytes()
    digester = ContentDigester(pa.schema([("x", INT), ("s", pa.string_view())]))
    numbers = pc.add(pa.array(range(1_000_000)), 1)
    texts = pc.cast(pc.cast(numbers, pa.string()), pa.string_view())
    digester.update(pa.record_batch({"x": numbers, "s": texts}))
    del numbers, texts
    assert pa.total_allocated_bytes() - before < CHUNK * 64


# --- refusals ---------------------------------------------------------------------------------------------------------


UNSUPPORTED = [
    pa.month_day_nano_interval(),
    pa.list_(pa.month_day_nano_interval()),
    pa.struct([("inside", pa.month_day_nano_interval())]),
    pa.dense_union([pa.field("a", INT)]),
    pa.uuid(),
]


@pytest.mark.parametrize("kind", UNSUPPORTED, ids=str)
def test_a_type_without_a_digest_is_refused_by_name(kind: pa.DataType) -> None:
    with pytest.raises(DataError) as refused:
        ContentDigester(pa.schema([("odd one", kind)]), source="visits.parquet")
    assert refused.value.source == "visits.parquet"
    assert "'odd one'" in str(refused.value)
    assert "Cast the column" in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (pa.uint64(), 2**63, "decimal or string"),
        (pa.date64(), 1, "whole days"),
        (pa.date64(), 86_400_000 * 2**31, "32 bits"),
        (pa.timestamp("s"), 2**62, "64 bits"),
        (pa.duration("ms"), -(2**62), "64 bits"),
        (pa.time64("us"), 2**60, "64 bits"),
        (pa.decimal256(50, 0), Decimal(10**38), "38 digits"),
        (pa.list_(pa.uint64()), [2**63], "decimal or string"),
    ],
    ids=str,
)
def test_a_value_without_a_digest_is_refused_by_name(kind: pa.DataType, value: Any, words: str) -> None:
    buffers = [None, pa.py_buffer(struct.pack("<q", value))] if isinstance(value, int) and value < 2**63 else None
    array = pa.Array.from_buffers(kind, 1, buffers) if buffers else pa.array([value], kind)
    for digest in (content_digest, row_digests, multiset_digest):
        with pytest.raises(DataError, match=f"'x'.*{words}"):
            digest(pa.table({"x": array}))


def test_columns_that_share_a_name_are_refused() -> None:
    for schema in (
        pa.schema([("x", INT), ("y", INT), ("x", pa.string())]),
        pa.schema([("s", pa.struct([("x", INT), ("x", INT)]))]),
    ):
        with pytest.raises(DataError, match="'x'"):
            ContentDigester(schema)


def test_a_batch_with_other_columns_is_refused() -> None:
    digester = ContentDigester(pa.schema([("x", INT)]))
    for other in (pa.table({"y": [1]}), pa.table({"x": [1.0]}), pa.table({"x": [1], "y": [1]})):
        with pytest.raises(DataError, match="expected"):
            digester.update(other)
    digester.update(pa.table({"x": [1]}))
    assert digester.hexdigest() == content_digest(pa.table({"x": [1]}))


def test_an_unknown_order_of_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="column_order"):
        content_digest(pa.table({"x": [1]}), column_order="size")  # type: ignore[arg-type]
