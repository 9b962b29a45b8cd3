"""Read a table file into an Arrow table whose column types are certain, or refuse it with one clear message.

The only module that opens data files. A file is read once, and its SHA-256 is that of the very bytes that are parsed.
Nothing is coerced silently: a column has one canonical type (null, bool, int64, float64, string and, from Parquet
alone, date32, timestamp and decimal), the only change of a value's type is from an integer to the float that equals
it, and NaN in Parquet, which is how pandas writes "no value", becomes null.

Sources: RFC 4180 (CSV), RFC 8259 (JSON), https://jsonlines.org, https://parquet.apache.org/docs/file-format.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hokusai.datasets.text_columns import LARGEST_EXACT_INTEGER, ColumnTarget, ColumnType, first_true, type_word
from hokusai.datasets.text_tables import (
    ReadSettings,
    column_target,
    read_delimited,
    require_column_names,
    require_columns,
    require_size,
    text_body,
)
from hokusai.errors import DataError, UnreadableTableError, ValueMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["ColumnType", "ReadSettings", "TableFile", "read_table"]

_DELIMITED, _JSON_LINES = (".csv", ".tsv"), (".jsonl", ".ndjson")
_SUFFIXES = (*_DELIMITED, ".json", *_JSON_LINES, ".parquet")

_PARQUET_MAGIC = b"PAR1"
_ENCRYPTED_MAGIC = b"PARE"
_FOOTER_BYTES = 8
_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """A table with the identity of the file that it was read from.

    Attributes:
        table: The table; its columns are nullable and carry no metadata.
        file_sha256: SHA-256 of the file's bytes, 64 hexadecimal digits.
        size: The file's size in bytes.
    """

    table: pa.Table
    file_sha256: str
    size: int


def read_table(
    path: Path,
    *,
    settings: ReadSettings | None = None,
    expected: pa.Schema | None = None,
    columns: Sequence[str] | None = None,
) -> TableFile:
    """Read a .csv, .tsv, .json, .jsonl, .ndjson or .parquet file; the suffix decides the format.

    JSON is an array of flat objects, JSON Lines one flat object a line; a key that a row lacks is a missing value.
    A column takes the type declared in ``settings``, else the type of its namesake in ``expected``, else the type that
    all of its values agree on. A column expected as int64 that holds floats comes back as float64.

    Args:
        path: The file.
        settings: Delimiter, missing values, declared types and limits; the defaults of ReadSettings if None.
        expected: The schema of the table that this one will be joined to; columns that it lacks are inferred, and
            columns that only it has are not asked for.
        columns: The columns to return, in this order; the others need not have a readable type. None for all.

    Returns:
        The table, and the file's digest and size.

    Raises:
        DataError: The file is missing, or cannot be opened or read.
        UnreadableTableError: Its bytes are not a table in the format of its suffix, or are beyond a limit.
        SchemaMismatchError: A column of ``columns`` is not there.
        ValueMismatchError: A value does not fit its column, or the type of a column is in doubt.
    """
    settings = settings or ReadSettings()
    source, suffix = str(path), path.suffix.lower()
    if suffix not in _SUFFIXES:
        problem = f"got the suffix {suffix!r}, expected one of {', '.join(_SUFFIXES)}. Convert or rename the file."
        raise UnreadableTableError(source, problem)
    if expected is not None:
        expected = pa.schema([(each.name, _canonical_type(each.type) or each.type) for each in expected])
    content = _read_bytes(path, source=source, settings=settings)
    with _vendor_errors(source):
        if suffix in _DELIMITED:
            table = read_delimited(
                content,
                source=source,
                delimiter="\t" if suffix == ".tsv" else settings.delimiter,
                settings=settings,
                expected=expected,
                columns=columns,
            )
        elif suffix == ".parquet":
            table = _read_parquet(content, source=source, settings=settings, expected=expected, columns=columns)
        else:
            rows = _parse_json(content, source=source, is_lines=suffix in _JSON_LINES, settings=settings)
            table = _json_table(rows, source=source, settings=settings, expected=expected, columns=columns)
    return TableFile(table=table, file_sha256=hashlib.sha256(content).hexdigest(), size=len(content))


@contextmanager
def _vendor_errors(source: str) -> Iterator[None]:
    """Turn what Arrow raises on damaged or too large input into our own error."""
    try:
        yield
    except MemoryError as error:  # Arrow's own memory error is one of these as well.
        raise UnreadableTableError(source, "the table does not fit into memory. Split the file.") from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        detail = str(error).partition("\n")[0]
        raise UnreadableTableError(
            source, f"the file is damaged or not in the format of its suffix: {detail}"
        ) from error


def _read_bytes(path: Path, *, source: str, settings: ReadSettings) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
            raise DataError(source, f"it is {kind}, expected a file")
        if status.st_size > settings.max_bytes:
            problem = f"{status.st_size:,} bytes, expected at most {settings.max_bytes:,}. "
            raise UnreadableTableError(source, f"{problem}Split the file, or raise data.max_bytes.")
        with path.open("rb") as file:
            content = file.read(status.st_size + 1)
    except FileNotFoundError as error:
        raise DataError(source, "no such file. Check the path; it is relative to the working directory.") from error
    except (OSError, ValueError) as error:  # A path that holds a NUL byte is a ValueError.
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(source, f"it cannot be read: {reason}. Check the path and its permissions.") from error
    except MemoryError as error:
        raise DataError(source, "it does not fit into memory. Split the file.") from error
    if len(content) != status.st_size:
        raise DataError(source, "it changed while it was being read. Read it again when its writer is done.")
    return content


def _parse_json(content: bytes, *, source: str, is_lines: bool, settings: ReadSettings) -> list[dict[str, Any]]:
    """The rows of a JSON or JSON Lines file, each certain to be an object without doubled keys."""
    body = text_body(content, source=source)
    rows: object
    if is_lines:
        objects: list[object] = []
        for line, text in enumerate(io.BytesIO(body), start=1):
            if len(text) > settings.max_row_bytes:
                problem = f"line {line} has {len(text):,} bytes, expected at most {settings.max_row_bytes:,}. "
                raise UnreadableTableError(source, f"{problem}Raise data.max_row_bytes if that is right.")
            if text.strip():
                objects.append(_decode_json(str(text, "utf-8"), source=source, first_line=line))
                require_size(source, rows=len(objects), columns=0, settings=settings)
        rows = objects
    else:
        rows = _decode_json(str(body, "utf-8"), source=source, first_line=None)
    if not isinstance(rows, list):
        raise UnreadableTableError(source, f"got {_json_text(rows)}, expected an array of objects, one for each row")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UnreadableTableError(source, f"data row {number}: got {_json_text(row)}, expected an object")
    return rows


def _decode_json(text: str, *, source: str, first_line: int | None) -> object:
    """Decode one JSON text: a line of a file, or the whole file if ``first_line`` is None."""
    where = "" if first_line is None else f"line {first_line}: "
    try:
        return _JSON_DECODER.decode(text)
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


def _object_without_doubled_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
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


_JSON_DECODER = json.JSONDecoder(object_pairs_hook=_object_without_doubled_keys, parse_constant=_refuse_constant)


def _json_text(value: object) -> str:
    """A value as JSON writes it, short enough for a message."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, int) and abs(value) >= 2**64:
        return "an integer of more than 64 bits"
    return json.dumps(value)[:80]


def _json_table(
    rows: list[dict[str, Any]],
    *,
    source: str,
    settings: ReadSettings,
    expected: pa.Schema | None,
    columns: Sequence[str] | None,
) -> pa.Table:
    if not rows:
        raise UnreadableTableError(source, "it holds no rows, so its columns are unknown, expected at least one row")
    names: dict[str, None] = {}
    for row in rows:
        if row.keys() - names.keys():
            names.update(dict.fromkeys(row))
            require_size(source, rows=len(rows), columns=len(names), settings=settings)
    require_size(source, rows=len(rows), columns=len(names), settings=settings)
    require_column_names(tuple(names), source=source)
    wanted = require_columns(tuple(names), wanted=columns, source=source)
    read = {}
    for name in wanted:
        values = [row.get(name) for row in rows]
        target = column_target(name, settings=settings, expected=expected)
        read[name] = _fit_column(_json_column(values, source=source, name=name), source, name=name, target=target)
    return pa.table(read)


def _json_column(values: list[Any], *, source: str, name: str) -> pa.ChunkedArray:
    """A column of JSON values in the one type that they agree on; integers among floats become floats."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds & {dict, list}:
        row = next(number for number, value in enumerate(values, start=1) if isinstance(value, dict | list))
        problem = f"column {name!r}, data row {row}: {_json_text(values[row - 1])}, expected a flat value"
        raise UnreadableTableError(source, f"{problem}. Take the column out, or spread it over columns.")
    if len(kinds) > 1 and kinds != {int, float}:
        first = next(value for value in values if value is not None)
        alike = {int, float} if type(first) in {int, float} else {type(first)}
        row = next(row for row, value in enumerate(values) if value is not None and type(value) not in alike)
        expected = {str: "string", bool: "bool"}.get(type(first), "a number")
        raise _mismatch(source, name, row, values[row], expected=f"{expected} like the values before")
    try:
        if kinds == {int, float}:
            return _exact_floats(values, source=source, name=name)
        kind = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
        column = pa.chunked_array([pa.array(values, type=kind[kinds.pop()] if kinds else pa.null())])
    except UnicodeEncodeError as error:
        row = next(row for row, value in enumerate(values) if value == error.object)
        expected = "Unicode text without half of a surrogate pair"
        raise _mismatch(source, name, row, values[row], expected=expected) from error
    except (OverflowError, pa.ArrowInvalid) as error:
        row = next((row for row, value in enumerate(values) if _is_beyond_64_bits(value)), -1)
        if row < 0:
            raise
        hint = "Write it as a string if it is an identifier."
        raise _mismatch(source, name, row, values[row], expected="an int of at most 64 bits", hint=hint) from error
    return _finite(column, source=source, name=name)


def _is_beyond_64_bits(value: object) -> bool:
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _exact_floats(values: list[Any], *, source: str, name: str) -> pa.ChunkedArray:
    for row, value in enumerate(values):
        if isinstance(value, int) and abs(value) > LARGEST_EXACT_INTEGER:
            expected = "an integer that a float holds exactly, at most 2^53"
            raise _mismatch(source, name, row, value, expected=expected, hint="Write it as a string or with a point.")
    column = pa.array([None if value is None else float(value) for value in values], type=pa.float64())
    return _finite(pa.chunked_array([column]), source=source, name=name)


def _finite(column: pa.ChunkedArray, *, source: str, name: str) -> pa.ChunkedArray:
    """Refuse infinity, and read NaN as "no value"."""
    if not pa.types.is_floating(column.type):
        return column
    row = first_true(pc.is_inf(column))
    if row >= 0:
        hint = "Mend the value, or leave it empty."
        raise _mismatch(source, name, row, column[row].as_py(), expected="a finite float", hint=hint)
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def _fit_column(column: pa.ChunkedArray, source: str, *, name: str, target: ColumnTarget) -> pa.ChunkedArray:
    """A typed column in its target type: no value changes but an integer that becomes the float equal to it."""
    if target.type is None:
        return column
    wanted = target.type
    if column.type == wanted:
        return column
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), wanted)])
    if pa.types.is_integer(column.type) and pa.types.is_floating(wanted):
        limit = LARGEST_EXACT_INTEGER
        row = first_true(pc.or_(pc.greater(column, limit), pc.less(column, -limit)))
        if row >= 0:
            expected = "an integer that a float holds exactly, at most 2^53"
            raise _mismatch(source, name, row, column[row].as_py(), expected=expected)
        return pc.cast(column, wanted)
    if pa.types.is_floating(column.type) and pa.types.is_integer(wanted) and target.may_widen:
        return column
    if _differs_in_unit(column.type, wanted):
        try:
            return pc.cast(column, wanted)
        except pa.ArrowInvalid as error:
            problem = f"column {name!r}: its {column.type} values do not all fit {wanted}"
            raise UnreadableTableError(source, f"{problem}: {error}. Write the column as {wanted}.") from error
    row = first_true(pc.is_valid(column))
    expected = f"{type_word(wanted)}, but the column is {type_word(column.type)}"
    hint = "Write the column in the expected type, or declare its type under data.types for every table."
    raise _mismatch(source, name, row, column[row].as_py(), expected=expected, hint=hint)


def _differs_in_unit(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether two types differ in a time unit, a zone's name, or a decimal's precision and scale alone."""
    if pa.types.is_timestamp(found) and pa.types.is_timestamp(wanted):
        return (found.tz is None) == (wanted.tz is None)
    return bool(pa.types.is_decimal(found) and pa.types.is_decimal(wanted))


def _mismatch(source: str, name: str, row: int, value: object, *, expected: str, hint: str = "") -> ValueMismatchError:
    """The refusal of a value; ``row`` counts from 0."""
    text = _json_text(value) if isinstance(value, str | int | float | dict | list) else str(value)
    return ValueMismatchError(source, column=name, row=row + 1, value=text, expected=expected, hint=hint)


def _read_parquet(
    content: bytes,
    *,
    source: str,
    settings: ReadSettings,
    expected: pa.Schema | None,
    columns: Sequence[str] | None,
) -> pa.Table:
    _require_parquet_frame(content, source=source)
    with pq.ParquetFile(pa.BufferReader(content), pre_buffer=False, page_checksum_verification=True) as file:
        schema, footer = file.schema_arrow, file.metadata
        require_size(source, rows=footer.num_rows, columns=len(schema.names), settings=settings)
        decoded = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
        _require_decoded_size(decoded, source=source, settings=settings)
        require_column_names(schema.names, source=source)
        wanted = require_columns(schema.names, wanted=columns, source=source)
        for name in wanted:
            _require_flat_type(schema.field(name).type, source=source, name=name)
        batches, decoded, rows = [], 0, 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(wanted)):
            batch.validate(full=True)
            batches.append(batch.select(list(wanted)))
            decoded, rows = decoded + batches[-1].nbytes, rows + batch.num_rows
            _require_decoded_size(decoded, source=source, settings=settings)
    if wanted and rows != footer.num_rows:
        raise UnreadableTableError(source, f"{rows:,} rows, expected {footer.num_rows:,} as its footer says")
    names = list(wanted)
    table = pa.Table.from_batches(batches, schema=pa.schema([schema.field(name) for name in names]))
    canonical = [_canonical_column(table.column(name), source=source, name=name) for name in names]
    fitted = [
        _fit_column(column, source, name=name, target=column_target(name, settings=settings, expected=expected))
        for name, column in zip(names, canonical, strict=True)
    ]
    return pa.table(fitted, names=names)


def _require_parquet_frame(content: bytes, *, source: str) -> None:
    """Refuse a file that does not begin and end as Parquet does, or whose footer is longer than the file."""
    if not content:
        raise UnreadableTableError(source, "the file is empty, expected a table")
    if content.startswith(_ENCRYPTED_MAGIC):
        raise UnreadableTableError(source, "the Parquet file is encrypted. Decrypt it first.")
    if not content.startswith(_PARQUET_MAGIC):
        raise UnreadableTableError(source, f"got the first bytes {content[:4]!r}, expected {_PARQUET_MAGIC!r}")
    room = len(content) - len(_PARQUET_MAGIC) - _FOOTER_BYTES
    if room < 0 or not content.endswith(_PARQUET_MAGIC):
        raise UnreadableTableError(source, "the Parquet file is cut off: its footer is missing. Copy it again.")
    footer = int.from_bytes(content[-_FOOTER_BYTES : -len(_PARQUET_MAGIC)], "little")
    if footer > room:
        problem = f"a footer of {footer:,} bytes, expected at most {room:,}"
        raise UnreadableTableError(source, f"the Parquet file is damaged or cut off: {problem}. Copy it again.")


def _require_decoded_size(decoded: int, *, source: str, settings: ReadSettings) -> None:
    if decoded > settings.max_decoded_bytes:
        problem = f"{decoded:,} bytes when decoded, expected at most {settings.max_decoded_bytes:,}. "
        raise UnreadableTableError(source, f"{problem}Split the file, or raise data.max_decoded_bytes.")


def _canonical_type(found: pa.DataType) -> pa.DataType | None:  # noqa: PLR0911
    """The type that a column of this type gets, or None when there is none."""
    types = pa.types
    if types.is_dictionary(found):
        return _canonical_type(found.value_type)
    if types.is_integer(found):
        return pa.int64()
    if types.is_floating(found):
        return pa.float64()
    if types.is_string(found) or types.is_large_string(found) or found == pa.string_view():
        return pa.string()
    if types.is_date(found):
        return pa.date32()
    if types.is_null(found) or types.is_boolean(found) or types.is_timestamp(found) or types.is_decimal(found):
        return found
    return None


def _require_flat_type(found: pa.DataType, *, source: str, name: str) -> None:
    if _canonical_type(found) is None:
        problem = f"column {name!r} is {found}, expected numbers, text, booleans, dates or timestamps. "
        raise UnreadableTableError(source, f"{problem}Take the column out, or convert it.")


def _canonical_column(column: pa.ChunkedArray, *, source: str, name: str) -> pa.ChunkedArray:
    canonical = _canonical_type(column.type)
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if column.type == pa.uint64():
        row = first_true(pc.greater(column, pa.scalar(2**63 - 1, pa.uint64())))
        if row >= 0:
            hint = "Write the column as text or as decimal if it holds identifiers."
            value = column[row].as_py()
            raise _mismatch(source, name, row, value, expected="an int of at most 2^63 - 1", hint=hint)
    if column.type != canonical:
        column = pc.cast(column, canonical)
    return _finite(column, source=source, name=name)
