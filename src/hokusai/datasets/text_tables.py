"""Turn the bytes of a delimited text file into columns whose types are certain.

The bytes are checked first (encoding, quotes, line ends, size), because every CSV reader forgives some damage silently;
then Arrow splits them into texts, and :mod:`hokusai.datasets.text_columns` finds the types. Nothing here opens a file.

Sources: RFC 4180 (quotes), RFC 3629 (UTF-8).
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, get_args

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from hokusai.datasets.text_columns import ARROW_TYPES, ColumnTarget, ColumnType, TextColumn
from hokusai.errors import ConfigurationError, SchemaMismatchError, UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "ReadSettings",
    "column_target",
    "read_delimited",
    "require_column_names",
    "require_columns",
    "require_size",
    "text_body",
]

_LINE_FEED, _CARRIAGE_RETURN, _QUOTE = b"\n"[0], b"\r"[0], b'"'[0]
_SCAN_BYTES = 1 << 24
_OTHER_DELIMITERS = (";", "\t", "|", ",")
_SIGNATURES = {
    b"PAR1": "a Parquet file: name it .parquet",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save it as CSV",
    b"\xff\xfe\x00\x00": "UTF-32: convert it to UTF-8",
    b"\x00\x00\xfe\xff": "UTF-32: convert it to UTF-8",
    b"\xff\xfe": "UTF-16: convert it to UTF-8",
    b"\xfe\xff": "UTF-16: convert it to UTF-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSettings:
    """How a table file is read, and how large it may be. The settings stand under ``data`` in the configuration.

    Attributes:
        delimiter: The character between the fields of a .csv file; a .tsv file always has tabs.
        missing_values: Texts of a CSV file that mean "no value". A quoted one is text in a string column, and no value
            in a column of numbers or booleans.
        types: Declared types by column name. A declared type wins over the expected one and is never widened.
        max_bytes: The largest file.
        max_decoded_bytes: The largest table in memory, for Parquet, whose files can be far smaller than their tables.
        max_row_bytes: The longest row of a text file.
        max_columns: The most columns.
        max_rows: The most rows.
        max_cells: The largest product of rows and columns.

    Raises:
        ConfigurationError: The delimiter is not one ASCII character, a type is unknown, or a limit is below 1.
    """

    delimiter: str = ","
    missing_values: tuple[str, ...] = ("",)
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    max_bytes: int = 8 << 30
    max_decoded_bytes: int = 32 << 30
    max_row_bytes: int = 64 << 20
    max_columns: int = 10_000
    max_rows: int = 200_000_000
    max_cells: int = 2_000_000_000

    def __post_init__(self) -> None:
        """Refuse settings that no file could be read with."""
        if len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '"\r\n\0':
            problem = f"got {self.delimiter!r}, expected one ASCII character other than a quote or a line break"
            raise ConfigurationError(problem, key="data.delimiter")
        for name, kind in self.types.items():
            if kind not in ARROW_TYPES:
                problem = f"got {kind!r}, expected one of {', '.join(get_args(ColumnType))}"
                raise ConfigurationError(problem, key=f"data.types.{name}")
        for name in ("max_bytes", "max_decoded_bytes", "max_row_bytes", "max_columns", "max_rows", "max_cells"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"got {getattr(self, name)}, expected 1 or more", key=f"data.{name}")


def column_target(name: str, *, settings: ReadSettings, expected: pa.Schema | None) -> ColumnTarget:
    """The type that a column must get: the declared one, else the expected one, else none."""
    if name in settings.types:
        return ColumnTarget(type=ARROW_TYPES[settings.types[name]], may_widen=False)
    index = -1 if expected is None else expected.get_field_index(name)
    if expected is None or index < 0 or pa.types.is_null(expected.field(index).type):
        return ColumnTarget(type=None, may_widen=True)
    return ColumnTarget(type=expected.field(index).type, may_widen=True)


def require_size(source: str, *, rows: int, columns: int, settings: ReadSettings) -> None:
    """Refuse a table beyond the limits.

    Raises:
        UnreadableTableError: It has too many columns, rows or cells; the message names the setting.
    """
    for got, limit, name in (
        (columns, settings.max_columns, "columns"),
        (rows, settings.max_rows, "rows"),
        (rows * columns, settings.max_cells, "cells"),
    ):
        if got > limit:
            problem = f"{got:,} {name}, expected at most {limit:,}. Split the file, or raise data.max_{name}."
            raise UnreadableTableError(source, problem)


def require_column_names(names: Sequence[str], *, source: str) -> None:
    """Refuse column names that are blank, doubled, or no Unicode text.

    Raises:
        UnreadableTableError: There is such a name, or there are no columns.
    """
    if not names:
        raise UnreadableTableError(source, "it has no columns, expected at least one")
    for position, name in enumerate(names, start=1):
        if not name.strip():
            problem = f"column {position} of {len(names)} has a blank name. Name it, or delete the column."
            raise UnreadableTableError(source, problem)
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise UnreadableTableError(source, f"the column name {name!r} holds half of a surrogate pair. Rename it.")
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        names_of = ", ".join(map(repr, doubled))
        raise UnreadableTableError(source, f"several columns are named {names_of}. Give each its own name.")


def require_columns(
    found: Sequence[str], *, wanted: Sequence[str] | None, source: str, hint: str = ""
) -> tuple[str, ...]:
    """The columns to read, in the order to return them: the wanted ones, or all.

    Raises:
        SchemaMismatchError: A wanted column is not there.
    """
    if wanted is None:
        return tuple(found)
    missing = set(wanted) - set(found)
    if missing:
        raise SchemaMismatchError(source, missing=missing, found=found, hint=hint)
    return tuple(dict.fromkeys(wanted))


def text_body(content: bytes, *, source: str) -> memoryview:
    """The bytes of a text file after its byte order mark, certain to be UTF-8 without NUL bytes.

    Raises:
        UnreadableTableError: The file is empty, is another kind of file, or has another encoding.
    """
    for signature, kind in _SIGNATURES.items():
        if content.startswith(signature):
            raise UnreadableTableError(source, f"expected text in UTF-8, but the file looks like {kind}.")
    body = memoryview(content)[len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0 :]
    if not len(body):
        raise UnreadableTableError(source, "the file is empty, expected a table")
    offset = content.find(0)
    if offset >= 0:
        sample = content[:4096]
        wide = max(sample[::2].count(0), sample[1::2].count(0)) * 4 > len(sample)
        kind = "UTF-16 without a byte order mark: convert it to UTF-8" if wide else "a binary or a damaged file"
        problem = f"a NUL byte at offset {offset}, expected text in UTF-8. The file looks like {kind}."
        raise UnreadableTableError(source, problem)
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _SCAN_BYTES):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(body[start : start + _SCAN_BYTES], final=start + _SCAN_BYTES >= len(body))
        except UnicodeDecodeError as error:
            _refuse_encoding(body, start - pending + error.start, source=source)
    return body


def _refuse_encoding(body: memoryview, offset: int, *, source: str) -> NoReturn:
    high = [byte for byte in body[offset : offset + 4096] if byte >= 0x80]
    guess = "Windows-1252 (CP1252)" if any(byte < 0xA0 for byte in high) else "Latin-1 (ISO-8859-1)"
    raise UnreadableTableError(
        source,
        f"line {_line(body, offset)}: byte 0x{body[offset]:02X} is not UTF-8; the file looks like {guess}. "
        "Convert it to UTF-8, for example with iconv.",
    )


def _line(body: memoryview, offset: int) -> int:
    """The line of an offset, counted from 1."""
    return bytes(body[:offset]).count(b"\n") + 1


def read_delimited(
    content: bytes,
    *,
    source: str,
    delimiter: str,
    settings: ReadSettings,
    expected: pa.Schema | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Read a delimited text file with a header: RFC 4180, line ends LF or CRLF, UTF-8.

    Blank lines between rows are no rows, except in a file of one column, where they are refused.

    Args:
        content: The bytes of the file.
        source: What messages call the file.
        delimiter: The character between fields.
        settings: Missing values, declared types and limits.
        expected: The types that columns of these names must have.
        columns: The columns to return, in this order; None for all.

    Returns:
        A table of null, int64, float64, string and bool columns.

    Raises:
        UnreadableTableError: The bytes are not such a file, or are beyond a limit.
        SchemaMismatchError: A column is missing.
        ValueMismatchError: A value does not fit its column, or the type of a column is in doubt.
    """
    body = text_body(content, source=source)
    layout = _scan_layout(body, source=source, delimiter=delimiter, settings=settings)
    header = str(body[: layout.header_end], "utf-8").rstrip("\r\n")
    names = _header_names(header, source=source, delimiter=delimiter)
    require_size(source, rows=layout.rows, columns=len(names), settings=settings)
    hint = "" if columns is None else _delimiter_hint(header, delimiter=delimiter, missing=set(columns) - set(names))
    wanted = require_columns(names, wanted=columns, source=source, hint=hint)
    if len(names) == 1 and layout.blank_line:
        problem = "a blank line in a file of one column may be a missing value or nothing. "
        advice = "Delete it, or write a marker such as NA and list it under data.missing_values."
        raise UnreadableTableError(source, f"line {layout.blank_line}: {problem}{advice}")
    texts = _read_texts(body, layout, source=source, delimiter=delimiter, names=names, wanted=wanted, settings=settings)
    parsed = [
        TextColumn(source=source, name=name, texts=texts.column(name), missing_values=settings.missing_values).parse(
            column_target(name, settings=settings, expected=expected)
        )
        for name in wanted
    ]
    return pa.table(parsed, names=list(wanted))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where the rows of a delimited file are.

    Attributes:
        header_end: The offset of the first byte after the header's line.
        rows: An upper bound of the number of data rows; exact when there are no blank lines.
        longest_row: Bytes of the longest row with its line end.
        blank_line: The line of the first blank line after the header, counted from 1, or 0.
        has_broken_values: Whether a quoted value holds a line break.
    """

    header_end: int
    rows: int
    longest_row: int
    blank_line: int
    has_broken_values: bool


def _scan_layout(body: memoryview, *, source: str, delimiter: str, settings: ReadSettings) -> _Layout:
    """Check quotes and line ends, and find the rows, piece by piece so that memory stays small."""
    data = np.frombuffer(body, dtype=np.uint8)
    is_inside, has_broken_values, row_start, header_end, rows, longest, blank_line = False, False, 0, -1, 0, 0, 0
    for start in range(0, data.size, _SCAN_BYTES):
        piece = data[start : start + _SCAN_BYTES]
        quotes = np.flatnonzero(piece == _QUOTE) + start
        _require_quotes(data, quotes, is_inside=is_inside, delimiter=ord(delimiter), source=source)
        feeds, feeds_inside = _split_by_quotes(np.flatnonzero(piece == _LINE_FEED) + start, quotes, is_inside=is_inside)
        returns, returns_inside = _split_by_quotes(
            np.flatnonzero(piece == _CARRIAGE_RETURN) + start, quotes, is_inside=is_inside
        )
        lone = returns[data[np.minimum(returns + 1, data.size - 1)] != _LINE_FEED]
        if lone.size:
            problem = f"line {_line(body, int(lone[0]))}: a carriage return without a line feed. "
            raise UnreadableTableError(source, f"{problem}Save the file with LF or CRLF line ends.")
        has_broken_values |= bool(feeds_inside.size or returns_inside.size)
        is_inside ^= bool(quotes.size % 2)
        if feeds.size:
            lengths = np.diff(feeds, prepend=row_start - 1)
            blank = feeds[(lengths == 1) | ((lengths == 2) & (data[feeds - 1] == _CARRIAGE_RETURN))]
            if blank.size and not blank_line:
                blank_line = _line(body, int(blank[0]))
            header_end = int(feeds[0]) + 1 if header_end < 0 else header_end
            rows, longest, row_start = rows + feeds.size, max(longest, int(lengths.max())), int(feeds[-1]) + 1
        longest = max(longest, min(start + _SCAN_BYTES, data.size) - row_start)
        if longest > settings.max_row_bytes:
            problem = f"a row of {longest:,} bytes or more, expected at most {settings.max_row_bytes:,}. "
            advice = "Look for a quote that is never closed, or raise data.max_row_bytes."
            raise UnreadableTableError(source, problem + advice)
    if is_inside:
        opened = int(np.flatnonzero(data == _QUOTE)[-1])
        raise UnreadableTableError(source, f"line {_line(body, opened)}: a quote is opened and never closed. Close it.")
    return _Layout(
        header_end=header_end if header_end >= 0 else data.size,
        rows=max(0, rows + (row_start < data.size) - 1),
        longest_row=longest,
        blank_line=blank_line,
        has_broken_values=has_broken_values,
    )


def _split_by_quotes(
    positions: NDArray[np.int64], quotes: NDArray[np.int64], *, is_inside: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions outside quoted values, and those inside."""
    inside = (np.searchsorted(quotes, positions) + is_inside) % 2 == 1
    return positions[~inside], positions[inside]


def _require_quotes(
    data: NDArray[np.uint8], quotes: NDArray[np.int64], *, is_inside: bool, delimiter: int, source: str
) -> None:
    """Refuse a quote that neither encloses a whole field nor is doubled inside of one.

    Quotes open and close in turn, a doubled one closes and opens again at once: so an opening quote stands after a
    delimiter, a line end or a closing quote, and a closing one before a delimiter, a line end or an opening quote.
    """
    if not quotes.size:
        return
    opening, closing = quotes[int(is_inside) :: 2], quotes[int(not is_inside) :: 2]
    edges = np.zeros(256, dtype=np.bool_)
    edges[[delimiter, _LINE_FEED, _CARRIAGE_RETURN, _QUOTE]] = True
    is_stray_opening = ~edges[data[opening - 1]] & (opening > 0)
    is_stray_closing = ~edges[data[np.minimum(closing + 1, data.size - 1)]] & (closing < data.size - 1)
    stray = np.concatenate([opening[is_stray_opening], closing[is_stray_closing]])
    if stray.size:
        line = _line(data.data, int(stray.min()))
        problem = f'line {line}: a quote inside a field. Enclose the field in quotes and double the quote: "5"" pipe".'
        raise UnreadableTableError(source, problem)


def _header_names(header: str, *, source: str, delimiter: str) -> list[str]:
    try:
        rows = list(csv.reader(io.StringIO(header, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UnreadableTableError(source, f"the header cannot be read: {error}") from error
    names = rows[0] if rows else [""]
    if names == [""]:
        raise UnreadableTableError(source, "the first line is blank, expected the names of the columns")
    if len(names) == 1 and not header.startswith('"'):
        hint = _delimiter_hint(header, delimiter=delimiter, missing=set())
        if hint:
            raise UnreadableTableError(source, f"the header {header[:80]!r} is one column. {hint}")
    require_column_names(names, source=source)
    return names


def _delimiter_hint(header: str, *, delimiter: str, missing: set[str]) -> str:
    """What to say when the header falls apart at another delimiter, into the missing columns if there are any."""
    for other in _OTHER_DELIMITERS:
        parts = {part.strip(' "') for part in header.split(other)}
        if other != delimiter and other in header and (not missing or parts & missing):
            rename = ", and name the file .csv" if delimiter == "\t" else ""
            return f"The file looks {other!r}-separated: set data.delimiter = {other!r}{rename}."
    return ""


def _read_texts(
    body: memoryview,
    layout: _Layout,
    *,
    source: str,
    delimiter: str,
    names: Sequence[str],
    wanted: Sequence[str],
    settings: ReadSettings,
) -> pa.Table:
    """The wanted columns as strings; null where an unquoted field is one of the missing values."""
    rows = body[layout.header_end :]
    if not bytes(rows[:_SCAN_BYTES]).strip(b"\r\n") and len(rows) <= _SCAN_BYTES:
        return pa.table({name: pa.chunked_array([], type=pa.string()) for name in wanted})
    if bytes(rows[:3]) == codecs.BOM_UTF8:  # Arrow would take it for the mark at the start of a file and drop it.
        raise UnreadableTableError(source, "the first data row starts with a byte order mark. Delete it.")
    ragged: list[arrow_csv.InvalidRow] = []

    def note(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    def read(*, use_threads: bool) -> pa.Table:
        return arrow_csv.read_csv(
            pa.BufferReader(pa.py_buffer(rows)),
            read_options=arrow_csv.ReadOptions(
                column_names=list(names),
                use_threads=use_threads,
                block_size=max(1 << 20, layout.longest_row + 2),
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=layout.has_broken_values, invalid_row_handler=note
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=list(wanted),
                null_values=list(settings.missing_values),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                check_utf8=False,
            ),
        )

    try:
        try:
            return read(use_threads=True)
        except pa.ArrowInvalid:
            if not ragged:
                raise
            ragged.clear()
            return read(use_threads=False)  # Only a single thread can number the row.
    except pa.ArrowInvalid as error:
        if not ragged:
            raise UnreadableTableError(source, f"it cannot be read as CSV: {error}") from error
        row = ragged[0]
        problem = f"data row {row.number} has {row.actual_columns} fields, expected {row.expected_columns}"
        advice = "Mend the row, or enclose values that hold the delimiter in quotes."
        raise UnreadableTableError(source, f"{problem}: {row.text[:80]!r}. {advice}") from error
