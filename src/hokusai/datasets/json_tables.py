"""Read JSON (an array of flat objects) and JSON Lines (one flat object a line) into columns whose types are certain.

Python's decoder judges every text that is in doubt. Arrow, which is many times faster, reads what is plain: lines that
begin and end with a brace, under a schema that is given, with nothing that Arrow rounds or forgives. Whatever Arrow
refuses, or might read otherwise than Python, goes to Python, which takes it or says what is wrong.

Sources: RFC 8259 (JSON), https://jsonlines.org.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from hokusai.datasets.column_types import (
    LARGEST_EXACT_INTEGER,
    ColumnPlace,
    ColumnTarget,
    ColumnTargets,
    fit_column,
    require_column_names,
    require_columns,
    require_field_sizes,
)
from hokusai.datasets.python_columns import column_of
from hokusai.datasets.read_settings import require_shape
from hokusai.datasets.table_parts import BATCH_ROWS, TablePart, part_of, translated
from hokusai.datasets.text_columns import TextColumn
from hokusai.errors import SchemaMismatchError, TableLimitError, UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hokusai.datasets.read_settings import ReadLimits, ReadSettings

__all__ = ["read_json", "read_json_lines"]

_ARROW_BLOCK_BYTES = 1 << 20
_HEAD_LINES = 1_000
_MOST_OPENINGS = 256  # of brackets in a line: more may be nested more deeply than a parser's stack reaches
_OBJECT_START, _OBJECT_END, _LINE_FEED, _CARRIAGE_RETURN = b"{"[0], b"}"[0], b"\n"[0], b"\r"[0]
_ARROW_KINDS = (pa.int64(), pa.float64(), pa.bool_(), pa.string())

_Row = dict[str, Any]


def read_json(
    blocks: Iterator[bytes],
    *,
    source: str,
    settings: ReadSettings,
    targets: ColumnTargets,
    columns: Sequence[str] | None = None,
) -> TablePart:
    """Read an array of objects; a key that a row lacks is a missing value. The whole text is in memory at once.

    Raises:
        UnreadableTableError: The text is no such array, or is beyond a limit.
        SchemaMismatchError: A column is missing.
        ValueMismatchError: A value does not fit its column.
    """
    rows = _decoded(str(b"".join(blocks), "utf-8"), source=source, first_line=None)
    if not isinstance(rows, list):
        raise UnreadableTableError(source, f"got {_kind(rows)}, expected an array of objects, one for each row")
    require_shape(source, rows=len(rows), columns=0, limits=settings.limits)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UnreadableTableError(source, f"data row {number}: got {_kind(row)}, expected an object")
    return part_of(_table_of_rows(rows, source=source, settings=settings, targets=targets, columns=columns))


def read_json_lines(
    blocks: Iterator[bytes],
    *,
    source: str,
    settings: ReadSettings,
    targets: ColumnTargets,
    columns: Sequence[str] | None = None,
) -> TablePart:
    """Read one object a line; a key that a row lacks is a missing value, and blank lines are no rows.

    Raises:
        UnreadableTableError: A line is no object, or the text is beyond a limit.
        SchemaMismatchError: A column is missing.
        ValueMismatchError: A value does not fit its column.
    """
    pieces = _line_pieces(blocks, source=source, limits=settings.limits)
    if columns is not None and targets.are_certain(columns):
        names = tuple(dict.fromkeys(columns))
        schema = pa.schema([(name, targets.of(name).type) for name in names])
        reader = _LineReader(source=source, settings=settings, targets=targets, schema=schema)
        return TablePart(schema=schema, batches=reader.batches(pieces))
    held = list(pieces)
    table = _guessed(held, source=source, settings=settings, targets=targets, columns=columns)
    if table is None:
        rows = [row for piece in held for row in _rows_of(piece, source=source)]
        require_shape(source, rows=len(rows), columns=0, limits=settings.limits)
        table = _table_of_rows(rows, source=source, settings=settings, targets=targets, columns=columns)
    return part_of(table)


# --- lines -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _LinePiece:
    """Whole lines, and the line of the file in which they begin, counted from 1."""

    body: bytes
    first_line: int


def _line_pieces(blocks: Iterator[bytes], *, source: str, limits: ReadLimits) -> Iterator[_LinePiece]:
    rest, line, is_last = b"", 1, False
    while not is_last:
        block = next(blocks, None)
        is_last = block is None
        if block:
            rest = rest + block if rest else block
        body = rest if is_last else rest[: rest.rfind(b"\n") + 1]
        _require_row_bytes(body, len(rest) - len(body), line, source=source, limits=limits)
        if body:
            yield _LinePiece(body=body, first_line=line)
        rest, line = rest[len(body) :], line + body.count(b"\n")


def _require_row_bytes(body: bytes, tail: int, first_line: int, *, source: str, limits: ReadLimits) -> None:
    allowed = limits.max_row_bytes
    if max(len(body), tail) <= allowed:
        return
    ends = np.flatnonzero(np.frombuffer(body, dtype=np.uint8) == _LINE_FEED)
    lengths = np.diff(ends, prepend=-1, append=max(len(body) - 1, int(ends[-1]) if ends.size else -1))
    lengths = np.append(lengths, tail)
    if int(lengths.max()) > allowed:
        line = first_line + int(np.argmax(lengths > allowed))
        got, limit = f"line {line}: a row of {int(lengths.max()):,} bytes or more", "data.limits.max_row_bytes"
        advice = "Shorten it"
        raise TableLimitError(source, limit=limit, got=got, allowed=allowed, unit="bytes", advice=advice)


def _rows_of(piece: _LinePiece, *, source: str, first_row: int = 0) -> list[_Row]:
    """The objects of the lines, decoded by Python."""
    rows: list[_Row] = []
    for line, text in enumerate(piece.body.split(b"\n"), start=piece.first_line):
        if text.strip():
            row = _decoded(str(text, "utf-8"), source=source, first_line=line)
            if not isinstance(row, dict):
                number = first_row + len(rows) + 1
                raise UnreadableTableError(source, f"data row {number}: got {_kind(row)}, expected an object")
            rows.append(row)
    return rows


# --- Python's decoder ------------------------------------------------------------------------------------------------


def _decoded(text: str, *, source: str, first_line: int | None) -> object:
    """Decode one JSON text: a line of a file, or the whole file if ``first_line`` is None."""
    where = "" if first_line is None else f"line {first_line}: "
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise UnreadableTableError(source, f"{where}values are nested too deeply, expected flat objects") from error
    except json.JSONDecodeError as error:
        line = error.lineno if first_line is None else first_line
        is_misnamed = first_line is None and error.msg == "Extra data"
        hint = " If every line is an object of its own, name the file .jsonl." if is_misnamed else ""
        problem = f"line {line}, character {error.colno}: no valid JSON: {error.msg}.{hint}"
        raise UnreadableTableError(source, problem) from error
    except _RefusedJsonError as error:
        raise UnreadableTableError(source, f"{where}{error}") from error
    except ValueError as error:  # Python refuses to read integers of thousands of digits.
        raise UnreadableTableError(source, f"{where}an integer of more than 64 bits, expected at most 64") from error


class _RefusedJsonError(ValueError):
    """What valid JSON may hold, or Python's decoder accepts, and a table may not."""


def _object_without_doubled_keys(pairs: list[tuple[str, Any]]) -> _Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for key in keys if keys.count(key) > 1)
        message = f"the key {doubled!r} occurs twice in one object. Keep one of the two."
        raise _RefusedJsonError(message)
    return row


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is no JSON value. Write null for a missing value."
    raise _RefusedJsonError(message)


_DECODER = json.JSONDecoder(object_pairs_hook=_object_without_doubled_keys, parse_constant=_refuse_constant)


def _kind(value: object) -> str:
    """A value that is no row, short enough for a message."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, int) and abs(value) >= 2**64:
        return "an integer of more than 64 bits"
    return json.dumps(value)[:80]


def _table_of_rows(
    rows: list[_Row],
    *,
    source: str,
    settings: ReadSettings,
    targets: ColumnTargets,
    columns: Sequence[str] | None,
) -> pa.Table:
    if not rows:
        raise UnreadableTableError(source, "it holds no rows, so its columns are unknown, expected at least one row")
    names: dict[str, None] = {}
    for row in rows:
        if row.keys() - names.keys():
            names.update(dict.fromkeys(row))
            require_shape(source, rows=len(rows), columns=len(names), limits=settings.limits)
    require_shape(source, rows=len(rows), columns=len(names), limits=settings.limits)
    require_column_names(tuple(names), source=source)
    wanted = require_columns(tuple(names), wanted=columns, source=source)
    read = {}
    for name in wanted:
        place = ColumnPlace(source=source, name=name)
        column = _fitted(column_of([row.get(name) for row in rows], place), place, target=targets.of(name))
        require_field_sizes(column, place, limits=settings.limits)
        read[name] = column
    return pa.table(read)


def _fitted(column: pa.ChunkedArray, place: ColumnPlace, *, target: ColumnTarget) -> pa.ChunkedArray:
    """A column in its target type; JSON writes dates, times and decimals as texts."""
    if target.type is None or not pa.types.is_temporal(target.type) | pa.types.is_decimal(target.type):
        return fit_column(column, place, target=target)
    if pa.types.is_string(column.type):
        return TextColumn(place=place, texts=column, missing_values=()).parse(target)
    if pa.types.is_integer(column.type) and pa.types.is_decimal(target.type):
        texts = pc.cast(column, pa.string())
        return TextColumn(place=place, texts=texts, missing_values=()).parse(target)
    return fit_column(column, place, target=target)


# --- Arrow's reader --------------------------------------------------------------------------------------------------


def _raw_type(data_type: pa.DataType) -> pa.DataType:
    """The type that Arrow is asked for: dates, times and decimals are texts in JSON."""
    return data_type if data_type in _ARROW_KINDS else pa.string()


def _read_plain(piece: _LinePiece, raw: pa.Schema, *, are_all: bool) -> pa.Table | None:
    """The lines as Arrow reads them, or None when that might differ from what Python reads.

    Args:
        piece: The lines.
        raw: The columns, of the types that Arrow may be asked for.
        are_all: Whether there may be no other columns.
    """
    body = piece.body
    lines = body.count(b"\n") + (not body.endswith(b"\n"))
    if not _is_plain(body, lines):
        return None
    try:
        table = arrow_json.read_json(
            pa.BufferReader(body),
            read_options=arrow_json.ReadOptions(block_size=max(_ARROW_BLOCK_BYTES, _longest_line(body) + 2)),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=raw, unexpected_field_behavior="error" if are_all else "ignore"
            ),
        )
    except (pa.ArrowException, ValueError, OverflowError):
        return None
    if table.num_rows != lines or table.column_names != raw.names or table.schema.types != raw.types:
        return None
    return table if all(_is_exact(column) for column in table.columns) else None


def _is_plain(body: bytes, lines: int) -> bool:
    """Whether every line begins and ends with a brace, and none nests deeply."""
    data = np.frombuffer(body, dtype=np.uint8)
    ends = np.flatnonzero(data == _LINE_FEED)
    if not body.endswith(b"\n"):
        ends = np.append(ends, len(body))
    starts = np.concatenate([[0], ends[:-1] + 1])
    last = ends - 1
    last = last - (data[last] == _CARRIAGE_RETURN)
    if (last <= starts).any() or (data[starts] != _OBJECT_START).any() or (data[last] != _OBJECT_END).any():
        return False
    if body.count(b"{") + body.count(b"[") <= lines + _MOST_OPENINGS:
        return True
    openings = np.flatnonzero((data == _OBJECT_START) | (data == b"["[0]))
    return int(np.bincount(np.searchsorted(ends, openings)).max()) <= _MOST_OPENINGS


def _longest_line(body: bytes) -> int:
    ends = np.flatnonzero(np.frombuffer(body, dtype=np.uint8) == _LINE_FEED)
    return int(np.diff(ends, prepend=-1, append=len(body)).max())


def _is_exact(column: pa.ChunkedArray) -> bool:
    """Whether no number can have been rounded: Arrow takes any integer for a float, and NaN as well."""
    if not pa.types.is_floating(column.type):
        return True
    for chunk in column.chunks:
        values = chunk.fill_null(1.0).to_numpy(zero_copy_only=False)
        is_zero = values == 0
        if not (np.abs(values) < LARGEST_EXACT_INTEGER).all() or np.signbit(values[is_zero]).any():
            return False
    return True


def _guessed(
    pieces: list[_LinePiece],
    *,
    source: str,
    settings: ReadSettings,
    targets: ColumnTargets,
    columns: Sequence[str] | None,
) -> pa.Table | None:
    """The table by Arrow under the types of the first lines; None when not all lines have them, or are plain."""
    if not pieces:
        return None
    head = b"\n".join(pieces[0].body.split(b"\n", _HEAD_LINES)[:_HEAD_LINES])
    rows = _rows_of(_LinePiece(body=head, first_line=1), source=source)
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    if columns is not None:
        names = tuple(name for name in dict.fromkeys(columns) if name in names)
        if len(names) < len(set(columns)):
            return None
    if not names:
        return None
    require_column_names(names, source=source)
    require_shape(source, rows=len(rows), columns=len(names), limits=settings.limits)
    types = {name: _arrow_kind({type(row.get(name)) for row in rows} - {type(None)}) for name in names}
    if None in types.values():
        return None
    raw = pa.schema(list(types.items()))
    table = _read_all_plain(pieces, raw, are_all=columns is None, source=source, limits=settings.limits)
    if table is None:
        return None
    read = {}
    for name in names:
        place = ColumnPlace(source=source, name=name)
        require_field_sizes(table.column(name), place, limits=settings.limits)
        read[name] = _fitted(table.column(name), place, target=targets.of(name))
    return pa.table(read)


def _read_all_plain(
    pieces: list[_LinePiece], raw: pa.Schema, *, are_all: bool, source: str, limits: ReadLimits
) -> pa.Table | None:
    tables, found = [], 0
    for piece in pieces:
        table = _read_plain(piece, raw, are_all=are_all)
        if table is None:
            return None
        found += table.num_rows
        require_shape(source, rows=found, columns=len(raw.names), limits=limits)
        tables.append(table)
    return pa.concat_tables(tables)


def _arrow_kind(kinds: set[type]) -> pa.DataType | None:
    if kinds == {int, float}:
        return pa.float64()
    known = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    return known.get(next(iter(kinds))) if len(kinds) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _LineReader:
    """Reads the lines of one file piece by piece, under a schema that is certain."""

    source: str
    settings: ReadSettings
    targets: ColumnTargets
    schema: pa.Schema

    def batches(self, pieces: Iterator[_LinePiece]) -> Iterator[pa.RecordBatch]:
        raw = pa.schema([(field.name, _raw_type(field.type)) for field in self.schema])
        rows, unseen, others = 0, dict.fromkeys(self.schema.names), dict[str, None]()
        limits = self.settings.limits
        for piece in pieces:
            with translated(self.source):
                table = _read_plain(piece, raw, are_all=False)
                if table is None:
                    decoded = _rows_of(piece, source=self.source, first_row=rows)
                    table = self._of_rows(decoded, rows)
                    keys = list(dict.fromkeys(key for row in decoded for key in row))
                else:
                    keys = self._seen(table, piece, unseen)
                    table = self._typed(table, rows)
            for name in keys:
                unseen.pop(name, None)
                others[name] = None
            rows += table.num_rows
            require_shape(self.source, rows=rows, columns=max(len(others), len(raw.names)), limits=limits)
            yield from table.to_batches(max_chunksize=BATCH_ROWS)
        if not rows:
            problem = "it holds no rows, so its columns are unknown, expected at least one row"
            raise UnreadableTableError(self.source, problem)
        if unseen:
            raise SchemaMismatchError(self.source, missing=unseen, found=tuple(others))

    def _seen(self, table: pa.Table, piece: _LinePiece, unseen: dict[str, None]) -> list[str]:
        """Which of the columns that have not been seen yet the lines name: nulls alone may mean that there is none."""
        seen = [name for name in unseen if table.column(name).null_count < table.num_rows]
        for name in unseen.keys() - set(seen):
            if json.dumps(name).encode() in piece.body or name.encode() in piece.body or b"\\u" in piece.body:
                rows = _rows_of(piece, source=self.source)
                seen += [each for each in unseen if each not in seen and any(each in row for row in rows)]
                break
        return seen

    def _typed(self, table: pa.Table, first_row: int) -> pa.Table:
        columns = []
        for name in self.schema.names:
            place = ColumnPlace(source=self.source, name=name, first_row=first_row)
            require_field_sizes(table.column(name), place, limits=self.settings.limits)
            columns.append(_fitted(table.column(name), place, target=self.targets.of(name)))
        return pa.table(columns, schema=self.schema)

    def _of_rows(self, rows: list[_Row], first_row: int) -> pa.Table:
        columns = []
        for name in self.schema.names:
            place = ColumnPlace(source=self.source, name=name, first_row=first_row)
            column = _fitted(column_of([row.get(name) for row in rows], place), place, target=self.targets.of(name))
            require_field_sizes(column, place, limits=self.settings.limits)
            columns.append(column)
        return pa.table(columns, schema=self.schema)
