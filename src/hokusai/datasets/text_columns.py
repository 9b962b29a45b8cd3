"""Find the type of a column of texts, and cast it, or refuse the column with the first text that is in doubt.

A text file has no types: a column is cast only when every text passes the grammar of one type. What no grammar knows
stays text, unless it looks like a damaged column of numbers or booleans, which is refused: nothing is guessed.

Sources: RFC 8259 section 6 (numbers), ISO 8601 and RFC 3339 (dates and times).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from hokusai.datasets.column_types import (
    LARGEST_EXACT_INTEGER,
    ColumnPlace,
    ColumnTarget,
    arrow_type,
    first_refused,
    first_true,
    type_word,
)
from hokusai.errors import UnreadableTableError, ValueMismatchError

__all__ = ["TextColumn"]

_INTEGER = r"\A-?(?:0|[1-9][0-9]*)\z"
_NUMBER = r"\A-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\z"
_BOOLEAN = r"\A(?i:true|false)\z"
_YEAR = r"(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"  # There is no year 0000.
_DATE = rf"{_YEAR}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
_ZONE = r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_GRAMMARS = {
    pa.int64(): _INTEGER,
    pa.float64(): _NUMBER,
    pa.bool_(): _BOOLEAN,
    arrow_type("date"): rf"\A{_DATE}\z",
    arrow_type("timestamp"): rf"\A{_DATE}[T ]{_TIME}\z",
    arrow_type("timestamp_utc"): rf"\A{_DATE}[T ]{_TIME}{_ZONE}\z",
}
_PLAIN_NUMBERS = "Write finite numbers with a point and without blanks, or declare string under data.types."
_EXAMPLES = {
    pa.bool_(): "Write it as true or false, or declare string under data.types.",
    arrow_type("date"): "Write it as 2024-12-31.",
    arrow_type("timestamp"): "Write it as 2024-12-31T23:59:59, with at most 6 digits of a second and no zone.",
    arrow_type("timestamp_utc"): "Write it as 2024-12-31T23:59:59Z or with an offset such as +01:00.",
}
_LARGEST_SCALE = 18

_MARKERS = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "none", "-", "?", "#N/A")
_MARKER = "|".join(marker.replace("?", r"\?") for marker in _MARKERS if marker)
_BOOLEAN_OR_MARKER = rf"\A(?:(?i:true|false)|{_MARKER})?\z"
# Numbers as other programs write them: padded, with a decimal comma, without a digit beside the point, or infinite.
_LOOSE = r"\s*(?:-?(?:(?:0|[1-9][0-9]*)(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?i:inf(?:inity)?))\s*"
_LOOSE_NUMBER = rf"\A(?:{_LOOSE})\z"
_LOOSE_NUMBER_OR_MARKER = rf"\A(?:{_LOOSE}|{_MARKER})?\z"
_MOSTLY = 0.9
_HEAD_ROWS = 1_000


def _parsed_type(wanted: pa.DataType) -> pa.DataType | None:
    """The type of our words in which a text is read before it becomes the wanted one; None if there is none."""
    if pa.types.is_timestamp(wanted):
        return arrow_type("timestamp" if wanted.tz is None else "timestamp_utc")
    if pa.types.is_decimal128(wanted) and 0 <= wanted.scale <= _LARGEST_SCALE:
        return arrow_type(f"decimal({wanted.scale})")
    return wanted if wanted in _GRAMMARS else None


def _grammar(data_type: pa.DataType) -> str:
    if pa.types.is_decimal(data_type):
        fraction = rf"(?:\.[0-9]{{1,{data_type.scale}}})?" if data_type.scale else ""
        # Arrow takes texts of more digits than there is room for, and makes another number of them.
        return rf"\A-?(?:0|[1-9][0-9]{{0,{data_type.precision - data_type.scale - 1}}}){fraction}\z"
    return _GRAMMARS[data_type]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextColumn:
    """A column, or a piece of one, as the texts of the file, to be parsed or refused.

    Attributes:
        place: Where it stands, for messages.
        texts: The texts; null where there is no value.
        missing_values: Texts that mean "no value".
    """

    place: ColumnPlace
    texts: pa.ChunkedArray
    missing_values: tuple[str, ...]

    def parse(self, target: ColumnTarget) -> pa.ChunkedArray:
        """The column in its target type, or in the type that all of its values agree on.

        Raises:
            ValueMismatchError: A value does not fit, or the type of the column is in doubt.
            UnreadableTableError: No text can be of the target type.
        """
        wanted = target.type
        if wanted is None:
            return self.infer()
        if pa.types.is_string(wanted) or pa.types.is_large_string(wanted):
            return self.texts
        data_type = _parsed_type(wanted)
        if data_type is None:
            problem = f"column {self.place.name!r} is expected as {wanted}, which a text file cannot carry. "
            raise UnreadableTableError(self.place.source, f"{problem}Give the table as Parquet.")
        column = self.parse_strictly(data_type, may_widen=target.may_widen)
        if data_type == wanted or column.type != data_type:
            return column
        try:
            return pc.cast(column, wanted)
        except pa.ArrowInvalid as error:
            raise self._mismatch(first_refused(column, wanted), expected=type_word(wanted)) from error

    def parse_strictly(self, data_type: pa.DataType, *, may_widen: bool) -> pa.ChunkedArray:
        """The column in this type; integers may come back as floats if they may be widened and some are floats."""
        misfit = self._misfit(_grammar(data_type))
        if first_true(misfit) < 0:
            return self._cast(data_type)
        cleared = self._without_quoted_markers(misfit)
        if cleared.texts.null_count > self.texts.null_count:
            return cleared.parse_strictly(data_type, may_widen=may_widen)
        if may_widen and pa.types.is_integer(data_type):
            misfit = self._misfit(_NUMBER)
            if first_true(misfit) < 0:
                return self._cast(pa.float64())
        row = first_true(misfit)
        text = self.texts[row].as_py()
        hint = self._missing_hint(text) if text in _MARKERS else _EXAMPLES.get(data_type, "")
        if not hint and pc.and_not(self._fit(_LOOSE_NUMBER), self._fit(_NUMBER))[row].as_py():
            hint = _PLAIN_NUMBERS
        raise self._mismatch(row, expected=type_word(data_type), hint=hint)

    def infer(self) -> pa.ChunkedArray:
        """The column in the first of integers, floats and booleans that all texts fit, else as text."""
        if self.texts.null_count == len(self.texts):
            return pa.chunked_array([pa.nulls(len(self.texts))])
        for data_type in (pa.int64(), pa.float64(), pa.bool_()):
            if self._every(_GRAMMARS[data_type]):
                return self._cast(data_type)
        cleared = self._without_quoted_markers(None)
        if self.texts.null_count < cleared.texts.null_count < len(self.texts):
            column = cleared.infer()
            return self.texts if pa.types.is_string(column.type) else column
        self._require_certain_text()
        return self.texts

    def _require_certain_text(self) -> None:
        """Refuse text that is most likely a damaged column of numbers or booleans."""
        if self._every(_BOOLEAN_OR_MARKER) and first_true(self._fit(_BOOLEAN)) >= 0:
            row = first_true(self._misfit(_BOOLEAN))
            raise self._mismatch(
                row, expected="bool like the other values", hint=self._missing_hint(self.texts[row].as_py())
            )
        is_number = self._fit(_NUMBER)
        numbers = pc.sum(is_number).as_py() or 0
        if numbers:
            is_marker = pc.is_in(self.texts, value_set=pa.array(_MARKERS))
            is_other = pc.invert(pc.or_(is_number, is_marker))
            others = pc.sum(is_other).as_py() or 0
            if not others:
                row = first_true(is_marker)
                hint = self._missing_hint(self.texts[row].as_py())
                raise self._mismatch(row, expected="a number like the other values", hint=hint)
            if numbers >= _MOSTLY * (numbers + others):
                hint = "Mend the value, or declare the column under data.types, as string if it is meant to be text."
                expected = f"a number like {numbers:,} of {numbers + others:,} values"
                raise self._mismatch(first_true(is_other), expected=expected, hint=hint)
        if self._every(_LOOSE_NUMBER_OR_MARKER):
            row = first_true(pc.and_not(self._fit(_LOOSE_NUMBER), is_number))
            if row >= 0:
                raise self._mismatch(row, expected="a number such as 1.5", hint=_PLAIN_NUMBERS)

    def _cast(self, data_type: pa.DataType) -> pa.ChunkedArray:
        """Cast texts that all fit the type's grammar; a value may still be too large, or a day not in the calendar."""
        if pa.types.is_boolean(data_type):
            return pc.equal(pc.utf8_lower(self.texts), "true")
        if pa.types.is_floating(data_type):
            self._require_exact_integers()
            numbers = pc.cast(self.texts, pa.float64())
            row = first_true(pc.is_inf(numbers))
            if row >= 0:
                raise self._mismatch(row, expected="a number that a float can hold")
            return numbers
        try:
            return pc.cast(self.texts, data_type)
        except pa.ArrowInvalid as error:
            row = first_refused(self.texts, data_type)
            if pa.types.is_integer(data_type):
                hint = "Declare the column as string under data.types if it is an identifier."
                raise self._mismatch(row, expected="an int of at most 64 bits", hint=hint) from error
            hint = _EXAMPLES.get(data_type, "Write at most 38 digits.")
            raise self._mismatch(row, expected=type_word(data_type), hint=hint) from error

    def _require_exact_integers(self) -> None:
        """Refuse an integer among floats that may not be a float."""
        limit = str(LARGEST_EXACT_INTEGER)
        is_long = pc.greater_equal(pc.binary_length(self.texts), len(limit))
        if first_true(is_long) < 0:
            return
        texts = pc.if_else(is_long, self.texts, pa.scalar(None, pa.string()))
        digits = pc.utf8_ltrim(texts, "-")
        length = pc.binary_length(digits)
        is_beyond = pc.or_(
            pc.greater(length, len(limit)), pc.and_(pc.equal(length, len(limit)), pc.greater(digits, limit))
        )
        row = first_true(pc.and_(is_beyond, pc.match_substring_regex(texts, _INTEGER)))
        if row >= 0:
            hint = "Declare the column as string under data.types, or write the number with a point or an exponent."
            raise self._mismatch(row, expected="an integer that a float holds exactly, at most 2^53", hint=hint)

    def _without_quoted_markers(self, misfit: pa.ChunkedArray | None) -> TextColumn:
        """The column without its quoted markers, or without those of them that do not fit."""
        is_marker = pc.is_in(self.texts, value_set=pa.array(self.missing_values, pa.string()))
        if misfit is not None:
            is_marker = pc.and_kleene(is_marker, misfit)
        if first_true(is_marker) < 0:
            return self
        return replace(self, texts=pc.if_else(is_marker, pa.scalar(None, pa.string()), self.texts))

    def _fit(self, grammar: str) -> pa.ChunkedArray:
        return pc.match_substring_regex(self.texts, grammar)

    def _misfit(self, grammar: str) -> pa.ChunkedArray:
        return pc.invert(self._fit(grammar))

    def _every(self, grammar: str) -> bool:
        """Whether all texts fit; most columns that do not show it in their first rows."""
        head = pc.invert(pc.match_substring_regex(self.texts.slice(0, _HEAD_ROWS), grammar))
        return first_true(head) < 0 and first_true(self._misfit(grammar)) < 0

    def _missing_hint(self, marker: str) -> str:
        values = ", ".join(f'"{value}"' for value in dict.fromkeys((*self.missing_values, marker)))
        return f"If it means that there is no value, set data.missing_values = [{values}]."

    def _mismatch(self, row: int, *, expected: str, hint: str = "") -> ValueMismatchError:
        """The refusal of a text, which is shown as it is in the file."""
        place, value = self.place, self.texts[row].as_py()
        number = place.first_row + row + 1
        return ValueMismatchError(
            place.source, column=place.name, row=number, value=value, expected=expected, hint=hint
        )
