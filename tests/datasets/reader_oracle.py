"""What the bytes of a table file mean, by slow and strict rules of its own, to judge the reader by.

Nothing here is shared with the package: texts are split character by character, numbers are Python's. ``meaning`` says
what a text file holds, or raises Refusal where the standards leave no certain meaning; then the reader may not return
a table either. The reader may refuse more than that.

Sources: RFC 4180, RFC 8259, RFC 8878 (Zstandard), RFC 1952 (gzip).
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NoReturn

import pyarrow as pa

__all__ = ["Cell", "Meaning", "Refusal", "disagreement", "meaning", "unpacked"]

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_MOST_DIGITS = 1_000  # beyond, Python itself refuses
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<clock>[0-9]{2}:[0-9]{2}(:[0-9]{2})?)(\.(?P<fraction>[0-9]{1,9}))?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


class Refusal(Exception):  # noqa: N818 - a verdict, no failure
    """The bytes have no certain meaning."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value as the file spells it.

    Attributes:
        kind: ``field`` and ``quoted field`` of CSV; ``string``, ``integer``, ``float``, ``bool``, ``null``, ``nested``
            of JSON.
        text: How it is spelled, without quotes and escapes.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """A table as the file spells it: the columns in order, and one cell per column in every row."""

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def meaning(name: str, content: bytes, *, delimiter: str) -> Meaning:
    """What a text file means whose name ends in its format, and maybe in .gz or .zst after that.

    Raises:
        Refusal: Nothing certain.
    """
    content = unpacked(name, content)
    ending = name.removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
    if ending in {"csv", "tsv"}:
        return _delimited(_decoded(content), delimiter="\t" if ending == "tsv" else delimiter)
    if ending == "json":
        return _objects(_json(_decoded(content)))
    lines = [line for line in _decoded(content).split("\n") if line.strip(" \t\r")]
    return _objects([_json(line) for line in lines])


def unpacked(name: str, content: bytes) -> bytes:
    """What a compressed file holds, or the bytes of any other.

    Raises:
        Refusal: It is damaged.
    """
    if name.endswith(".gz"):
        return _gunzipped(content)
    return _unpacked_zstd(content) if name.endswith(".zst") else content


def _gunzipped(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise Refusal(str(error)) from error


def _unpacked_zstd(content: bytes) -> bytes:
    """The frames' content; their structure is walked here, since a decoder may take a cut file for a short one."""
    at = 0
    try:
        while at < len(content):
            at = _end_of_frame(content, at)
    except IndexError as error:
        raise Refusal("cut off") from error
    if at != len(content) or not content:
        raise Refusal("cut off")
    try:
        return bytes(pa.input_stream(pa.BufferReader(content), compression="zstd").read())
    except (pa.ArrowException, OSError) as error:
        raise Refusal(str(error)) from error


def _end_of_frame(content: bytes, at: int) -> int:
    magic = int.from_bytes(content[at : at + 4], "little")
    if 0x184D2A50 <= magic <= 0x184D2A5F:
        return at + 8 + int.from_bytes(content[at + 4 : at + 8], "little")
    if magic != 0xFD2FB528:
        raise Refusal("no frame")
    descriptor = content[at + 4]
    is_single = descriptor >> 5 & 1
    size_bytes = (is_single, 2, 4, 8)[descriptor >> 6]
    at += 5 + (1 - is_single) + (0, 1, 2, 4)[descriptor & 3] + size_bytes
    is_last = False
    while not is_last:
        head = content[at] | content[at + 1] << 8 | content[at + 2] << 16
        is_last = bool(head & 1)
        at += 3 + (1 if head >> 1 & 3 == 1 else head >> 3)
    return at + 4 * (descriptor >> 2 & 1)


def _decoded(content: bytes) -> str:
    """The characters of a text file: UTF-8, or UTF-16 that its mark or its NUL bytes show.

    Every mark at the start is taken off: two programs may each have put one there.
    """
    encoding = "utf-8"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif 0 in content:
        even, odd = content[::2].count(0), content[1::2].count(0)
        encoding = "utf-16-le" if odd > even else "utf-16-be"
    try:
        return content.decode(encoding).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        raise Refusal(str(error)) from error


def _delimited(text: str, *, delimiter: str) -> Meaning:
    records = _records(text, delimiter=delimiter)
    blank = [Cell("field", "")]
    if not records or records[0] == blank:
        raise Refusal("no header")
    names = tuple(cell.text for cell in records[0])
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise Refusal("doubled or blank names")
    if len(names) == 1 and blank in records:
        raise Refusal("a blank line that may be a missing value")
    rows = [tuple(record) for record in records[1:] if record != blank]
    if any(len(row) != len(names) for row in rows):
        raise Refusal("a row of another length")
    return Meaning(names, tuple(rows))


def _records(text: str, *, delimiter: str) -> list[list[Cell]]:
    """RFC 4180 without mercy, except that lines may end in LF, in CRLF, or all in CR."""
    records: list[list[Cell]] = []
    ends = ("\r\n", "\n") if "\n" in text else ("\r",)
    record: list[Cell] = []
    at = 0
    while at < len(text):
        cell, at = _cell(text, at, delimiter=delimiter, ends=ends)
        record.append(cell)
        if at < len(text) and text[at] == delimiter:
            at += 1
            if at < len(text):
                continue
            record.append(Cell("field", ""))
        records.append(record)
        record = []
        at += next((len(end) for end in ends if text.startswith(end, at)), 0)
    return records


def _cell(text: str, at: int, *, delimiter: str, ends: tuple[str, ...]) -> tuple[Cell, int]:
    spelled = []
    if text[at] != '"':
        while at < len(text) and text[at] != delimiter and not text.startswith(ends, at):
            if text[at] in '"\r\0':
                raise Refusal("a quote, a carriage return or a NUL in a bare field")
            spelled.append(text[at])
            at += 1
        return Cell("field", "".join(spelled)), at
    at += 1
    while not (text.startswith('"', at) and not text.startswith('""', at)):
        if at >= len(text):
            raise Refusal("a quote that is never closed")
        if text[at] == "\0":
            raise Refusal("a NUL")
        spelled.append(text[at])
        at += 2 if text[at] == '"' else 1
    at += 1
    if at < len(text) and text[at] != delimiter and not text.startswith(ends, at):
        raise Refusal("something after a closing quote")
    return Cell("quoted field", "".join(spelled)), at


def _json(text: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(items)) < len(items):
            raise Refusal("a doubled key")
        return dict(items)

    def constant(name: str) -> NoReturn:
        raise Refusal(name)

    try:
        return json.loads(
            text.strip(" \t\r\n"),
            object_pairs_hook=pairs,
            parse_constant=constant,
            parse_float=lambda spelled: Cell("float", spelled),
            parse_int=lambda spelled: Cell("integer", spelled),
        )
    except (ValueError, RecursionError) as error:
        raise Refusal(str(error)) from error


def _objects(rows: object) -> Meaning:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refusal("no array of objects")
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    return Meaning(names, tuple(tuple(_json_cell(row.get(name)) for name in names) for row in rows))


def _json_cell(value: object) -> Cell:
    match value:
        case Cell():
            return value
        case None:
            return Cell("null", "")
        case bool():
            return Cell("bool", str(value).lower())
        case str():
            return Cell("string", value)
    return Cell("nested", "")


def disagreement(table: pa.Table, told: Meaning, *, missing_values: tuple[str, ...] = ("",)) -> str:
    """The first difference between a table and what its file means, or nothing."""
    if tuple(table.column_names) != told.names:
        return f"columns {table.column_names}, the file says {list(told.names)}"
    if table.num_rows != len(told.rows):
        return f"{table.num_rows} rows, the file says {len(told.rows)}"
    for position, field in enumerate(table.schema):
        values = _values(table.column(position))
        for row, (value, cells) in enumerate(zip(values, told.rows, strict=True), start=1):
            if not _agrees(field.type, value, cells[position], missing_values=missing_values):
                return f"column {field.name!r} ({field.type}), row {row}: {value!r}, the file says {cells[position]}"
    return ""


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python's values; timestamps and dates as Arrow's integers, which Python's types may not hold."""
    if pa.types.is_timestamp(column.type):
        return list(column.cast(pa.int64()).to_pylist())
    if pa.types.is_date(column.type):
        return list(column.cast(pa.int32()).to_pylist())
    return list(column.to_pylist())


def _agrees(kind: pa.DataType, value: Any, cell: Cell, *, missing_values: tuple[str, ...]) -> bool:
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if cell.kind == "null":
        return value is None
    if cell.kind == "field" and cell.text in missing_values:
        return value is None
    if cell.kind == "quoted field" and cell.text in missing_values and not is_text:
        return value is None
    if value is None or cell.kind == "nested":
        return False
    if is_text:
        return cell.kind in {"field", "quoted field", "string"} and bool(value == cell.text)
    return _agrees_typed(kind, value, cell)


def _agrees_typed(kind: pa.DataType, value: Any, cell: Cell) -> bool:  # noqa: PLR0911
    is_field, text = cell.kind in {"field", "quoted field"}, cell.text
    if pa.types.is_boolean(kind):
        return (is_field or cell.kind == "bool") and text.lower() == str(value).lower()
    if pa.types.is_int64(kind):
        return (is_field or cell.kind == "integer") and _is_integer(text) and bool(int(text) == value)
    if pa.types.is_float64(kind):
        is_exact = not _INTEGER.fullmatch(text) or (_is_integer(text) and abs(int(text)) <= 2**53)
        is_number = is_field or cell.kind in {"integer", "float"}
        return is_number and bool(_NUMBER.fullmatch(text)) and is_exact and bool(float(text) == value)
    if pa.types.is_decimal(kind):
        is_number = is_field or cell.kind in {"integer", "float", "string"}
        return is_number and bool(_DECIMAL.fullmatch(text)) and bool(Decimal(text) == value)
    if not is_field and cell.kind != "string":
        return False
    if pa.types.is_date32(kind):
        return bool(_DATE.fullmatch(text)) and _day(text) == value
    if pa.types.is_timestamp(kind):
        return bool(_moment(text, has_zone=kind.tz is not None, unit=kind.unit) == value)
    return False


def _is_integer(text: str) -> bool:
    return len(text) < _MOST_DIGITS and bool(_INTEGER.fullmatch(text))


def _day(text: str) -> int | None:
    try:
        return (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError:
        return None


def _moment(text: str, *, has_zone: bool, unit: str) -> int | None:
    """An instant in units since 1970, or None if the text is none, or not exactly that many units."""
    found = _TIMESTAMP.fullmatch(text)
    if not found or (found["zone"] is not None) != has_zone:
        return None
    zone = "+00:00" if found["zone"] in (None, "Z", "z") else found["zone"]
    try:
        moment = datetime.fromisoformat(f"{found['day']}T{found['clock']}{zone}")
    except ValueError:
        return None
    whole = moment - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = whole.days * 86_400 + whole.seconds
    nanoseconds = seconds * 10**9 + int((found["fraction"] or "0").ljust(9, "0"))
    units, rest = divmod(nanoseconds, {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit])
    return None if rest else units
