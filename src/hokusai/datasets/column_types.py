"""Which types a column may have, and what becomes of one that arrives in another.

A column has one canonical type: null, bool, int64, float64, string, date32, timestamp or decimal. The only change of a
value's type is from an integer to the float that equals it; NaN, which is how pandas writes "no value", becomes null.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hokusai.errors import SchemaMismatchError, TableLimitError, UnreadableTableError, ValueMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hokusai.datasets.read_settings import ReadLimits

__all__ = [
    "LARGEST_EXACT_INTEGER",
    "ColumnPlace",
    "ColumnTarget",
    "ColumnTargets",
    "arrow_type",
    "canonical_column",
    "canonical_type",
    "first_refused",
    "first_true",
    "fit_column",
    "require_column_names",
    "require_columns",
    "require_field_sizes",
    "require_flat_type",
    "type_word",
]

LARGEST_EXACT_INTEGER = 2**53
"""Up to here, every integer is a float64; beyond it, some would silently become a neighbour."""

_ARROW_TYPES: dict[str, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamp_utc": pa.timestamp("us", tz="UTC"),
}
_DECIMAL_DIGITS = 38

_MOST_NAME_CHARACTERS = 255


def arrow_type(word: str) -> pa.DataType:
    """The Arrow type of a word of :data:`hokusai.datasets.read_settings.ColumnType`."""
    scale = re.fullmatch(r"decimal\(([0-9]+)\)", word)
    return pa.decimal128(_DECIMAL_DIGITS, int(scale[1])) if scale else _ARROW_TYPES[word]


def type_word(data_type: pa.DataType) -> str:
    """What messages call a type: the word of ``data.types`` where there is one, else Arrow's name."""
    if pa.types.is_decimal128(data_type) and data_type.precision == _DECIMAL_DIGITS:
        return f"decimal({data_type.scale})"
    return next((word for word, known in _ARROW_TYPES.items() if known == data_type), str(data_type))


def first_true(mask: pa.ChunkedArray | pa.Array) -> int:
    """The position of the first true value, counted from 0, or -1."""
    return int(pc.index(mask, pa.scalar(value=True)).as_py())


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnTarget:
    """The type that a column must get.

    Attributes:
        type: The Arrow type, or None when the column's own values decide.
        may_widen: Whether a column of integers may turn out to be one of floats.
    """

    type: pa.DataType | None
    may_widen: bool

    @property
    def is_certain(self) -> bool:
        """Whether the type is known before the first value has been seen."""
        return self.type is not None and not (self.may_widen and pa.types.is_integer(self.type))


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnTargets:
    """What is known about the types of a table before it is read.

    Attributes:
        declared: Words for types by column name; they win and are never widened.
        expected: The schema of the table that this one will be joined to, or None.
        may_widen: Whether an expected column of integers may turn out to be one of floats.
    """

    declared: Mapping[str, str]
    expected: pa.Schema | None
    may_widen: bool = True

    def of(self, name: str) -> ColumnTarget:
        """The type that a column must get: the declared one, else the expected one, else none."""
        if name in self.declared:
            return ColumnTarget(type=arrow_type(self.declared[name]), may_widen=False)
        index = -1 if self.expected is None else self.expected.get_field_index(name)
        if self.expected is None or index < 0 or pa.types.is_null(self.expected.field(index).type):
            return ColumnTarget(type=None, may_widen=True)
        found = self.expected.field(index).type
        return ColumnTarget(type=canonical_type(found) or found, may_widen=self.may_widen)

    def are_certain(self, names: Iterable[str]) -> bool:
        """Whether the types of all these columns are known before the first row has been seen."""
        return all(self.of(name).is_certain for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnPlace:
    """Where a piece of a column stands, for messages.

    Attributes:
        source: What messages call the file.
        name: The column's name.
        first_row: How many data rows come before the piece.
    """

    source: str
    name: str
    first_row: int = 0

    def mismatch(self, row: int, value: object, *, expected: str, hint: str = "") -> ValueMismatchError:
        """The refusal of a value; ``row`` counts from 0 within the piece."""
        number = self.first_row + row + 1
        text = _value_text(value)
        return ValueMismatchError(self.source, column=self.name, row=number, value=text, expected=expected, hint=hint)


def _value_text(value: object) -> str:
    """A value as JSON writes it where it can, so that a text and a number look different."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, int) and abs(value) >= 2**64:
        return "an integer of more than 64 bits"
    return json.dumps(value)[:80] if isinstance(value, str | int | float) else str(value)


def require_column_names(names: Sequence[str], *, source: str) -> None:
    """Refuse column names that are blank, doubled, too long for a message, or no Unicode text.

    Raises:
        UnreadableTableError: There is such a name, or there are no columns.
    """
    if not names:
        raise UnreadableTableError(source, "it has no columns, expected at least one")
    for position, name in enumerate(names, start=1):
        if not name.strip():
            problem = f"column {position} of {len(names)} has a blank name. Name it, or delete the column."
            raise UnreadableTableError(source, problem)
        if len(name) > _MOST_NAME_CHARACTERS:
            problem = f"column {position} of {len(names)} has a name of {len(name):,} characters, "
            raise UnreadableTableError(source, f"{problem}expected at most {_MOST_NAME_CHARACTERS}. Shorten it.")
        if name.startswith("\ufeff"):
            raise UnreadableTableError(source, f"column {position} is named with a byte order mark. Delete the mark.")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise UnreadableTableError(source, f"the column name {name!r} holds half of a surrogate pair. Rename it.")
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        names_of = ", ".join(map(repr, doubled[:3]))
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


def require_field_sizes(column: pa.ChunkedArray | pa.Array, place: ColumnPlace, *, limits: ReadLimits) -> None:
    """Refuse a text that is longer than the limit.

    Raises:
        TableLimitError: There is one.
    """
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return
    allowed = limits.max_field_bytes
    if column.nbytes <= allowed:
        return
    lengths = pc.binary_length(column)
    row = first_true(pc.greater(lengths, allowed))
    if row >= 0:
        got = f"column {place.name!r}, data row {place.first_row + row + 1}: a value of {lengths[row].as_py():,} bytes"
        advice = "Shorten it"
        limit = "data.limits.max_field_bytes"
        raise TableLimitError(place.source, limit=limit, got=got, allowed=allowed, unit="bytes", advice=advice)


def canonical_type(found: pa.DataType) -> pa.DataType | None:  # noqa: PLR0911
    """The type that a column of this type gets, or None when there is none."""
    types = pa.types
    if types.is_dictionary(found) or types.is_run_end_encoded(found):
        return canonical_type(found.value_type)
    if types.is_integer(found):
        return pa.int64()
    if types.is_floating(found):
        return pa.float64()
    if types.is_string(found) or types.is_large_string(found) or found == pa.string_view():
        return pa.string()
    if types.is_date(found):
        return pa.date32()
    if types.is_decimal(found) and found.bit_width < pa.decimal128(1).bit_width:
        return pa.decimal128(found.precision, found.scale)
    if types.is_null(found) or types.is_boolean(found) or types.is_timestamp(found) or types.is_decimal(found):
        return found
    return None


def require_flat_type(found: pa.DataType, *, source: str, name: str) -> None:
    """Refuse a type that has no canonical one.

    Raises:
        UnreadableTableError: It is nested, binary, a time of day, a duration, or an extension.
    """
    if canonical_type(found) is None:
        problem = f"column {name!r} is {found}, expected numbers, text, booleans, dates or timestamps. "
        raise UnreadableTableError(source, f"{problem}Take the column out, or convert it.")


def canonical_column(column: pa.ChunkedArray, place: ColumnPlace) -> pa.ChunkedArray:
    """A column in its canonical type, without a change of any value but NaN, which becomes null.

    Raises:
        ValueMismatchError: A value has no equal in the canonical type, or is infinite.
    """
    canonical = canonical_type(column.type)
    if pa.types.is_run_end_encoded(column.type):
        column = pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], column.type.value_type)
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if column.type == pa.uint64():
        row = first_true(pc.greater(column, pa.scalar(2**63 - 1, pa.uint64())))
        if row >= 0:
            hint = "Write the column as text or as decimal if it holds identifiers."
            value = column[row].as_py()
            raise place.mismatch(row, value, expected="an int of at most 2^63 - 1", hint=hint)
    if pa.types.is_date64(column.type):
        return _whole_days(column, place)
    if column.type != canonical:
        column = pc.cast(column, canonical)
    return _finite(column, place)


def _whole_days(column: pa.ChunkedArray, place: ColumnPlace) -> pa.ChunkedArray:
    days = pc.cast(column, pa.date32(), safe=False)
    row = first_true(pc.not_equal(pc.cast(pc.cast(days, pa.date64()), pa.int64()), pc.cast(column, pa.int64())))
    if row >= 0:
        value = pc.cast(column.slice(row, 1), pa.timestamp("ms"), safe=False).cast(pa.string())[0]
        raise place.mismatch(row, value, expected="a date without a time", hint="Write the column as timestamp.")
    return days


def _finite(column: pa.ChunkedArray, place: ColumnPlace) -> pa.ChunkedArray:
    """Refuse infinity, and read NaN as "no value"."""
    if not pa.types.is_floating(column.type):
        return column
    row = first_true(pc.is_inf(column))
    if row >= 0:
        hint = "Mend the value, or leave it empty."
        raise place.mismatch(row, column[row].as_py(), expected="a finite float", hint=hint)
    is_nan = pc.is_nan(column)
    if first_true(is_nan) < 0:
        return column
    return pc.if_else(is_nan, pa.scalar(None, column.type), column)


def fit_column(column: pa.ChunkedArray, place: ColumnPlace, *, target: ColumnTarget) -> pa.ChunkedArray:
    """A canonical column in its target type: no value changes but an integer that becomes the float equal to it.

    Raises:
        ValueMismatchError: A value does not fit the target.
    """
    wanted = target.type
    if wanted is None or column.type == wanted:
        return column
    if pa.types.is_floating(column.type) and pa.types.is_integer(wanted) and target.may_widen:
        return column
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), wanted)])
    if pa.types.is_integer(column.type) and pa.types.is_floating(wanted):
        limit = LARGEST_EXACT_INTEGER
        row = first_true(pc.or_(pc.greater(column, limit), pc.less(column, -limit)))
        if row >= 0:
            expected = "an integer that a float holds exactly, at most 2^53"
            raise place.mismatch(row, column[row].as_py(), expected=expected)
        return pc.cast(column, wanted)
    if _differs_in_unit(column.type, wanted):
        try:
            return pc.cast(column, wanted)
        except pa.ArrowInvalid as error:
            row = first_refused(column, wanted)
            value = column.slice(row, 1).cast(pa.string())[0]
            hint = f"Write the column as {wanted}."
            raise place.mismatch(row, value, expected=type_word(wanted), hint=hint) from error
    row = first_true(pc.is_valid(column))
    expected = f"{type_word(wanted)}, but the column is {type_word(column.type)}"
    hint = "Write the column in the expected type, or declare its type under data.types for every table."
    is_temporal = pa.types.is_temporal(column.type)  # whose values Python may not be able to hold
    value = column.slice(row, 1).cast(pa.string())[0] if is_temporal else column[row].as_py()
    raise place.mismatch(row, value, expected=expected, hint=hint)


def first_refused(column: pa.ChunkedArray, wanted: pa.DataType) -> int:
    """The position of the first value that Arrow does not cast; there must be one."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            pc.cast(column.slice(low, middle - low), wanted)
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    return low


def _differs_in_unit(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether two types differ in a time unit, a zone's name, or a decimal's precision and scale alone."""
    if pa.types.is_timestamp(found) and pa.types.is_timestamp(wanted):
        return (found.tz is None) == (wanted.tz is None)
    return bool(pa.types.is_decimal(found) and pa.types.is_decimal(wanted))
