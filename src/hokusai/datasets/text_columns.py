"""Find the type of a column of texts, and cast it, or refuse the column with the first text that is in doubt.

A text file has no types: a column is cast only when every text passes the grammar of one type. What no grammar knows
stays text, unless it looks like a damaged column of numbers or booleans, which is refused: nothing is guessed.

Sources: RFC 8259 section 6 (numbers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from hokusai.errors import UnreadableTableError, ValueMismatchError

__all__ = [
    "ARROW_TYPES",
    "LARGEST_EXACT_INTEGER",
    "ColumnTarget",
    "ColumnType",
    "TextColumn",
    "first_true",
    "type_word",
]

ColumnType = Literal["int", "float", "string", "bool"]

LARGEST_EXACT_INTEGER = 2**53
"""Up to here, every integer is a float64; beyond it, some would silently become a neighbour."""

ARROW_TYPES: dict[str, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
}
"""The Arrow type of each word that ``data.types`` may use."""

_INTEGER = r"\A-?(?:0|[1-9][0-9]*)\z"
_NUMBER = r"\A-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\z"
_BOOLEAN = r"\A(?i:true|false)\z"
_GRAMMARS = {pa.int64(): _INTEGER, pa.float64(): _NUMBER, pa.bool_(): _BOOLEAN}

_MARKERS = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "none", "-", "?", "#N/A")
_MARKER = "|".join(marker.replace("?", r"\?") for marker in _MARKERS if marker)
_BOOLEAN_OR_MARKER = rf"\A(?:(?i:true|false)|{_MARKER})?\z"
# Numbers as other programs write them: padded, with a decimal comma, without a digit beside the point, or infinite.
_LOOSE = r"\s*(?:-?(?:(?:0|[1-9][0-9]*)(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?i:inf(?:inity)?))\s*"
_LOOSE_NUMBER = rf"\A(?:{_LOOSE})\z"
_LOOSE_NUMBER_OR_MARKER = rf"\A(?:{_LOOSE}|{_MARKER})?\z"
_MOSTLY = 0.9
_HEAD_ROWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnTarget:
    """The type that a column must get.

    Attributes:
        type: The Arrow type, or None when the column's own values decide.
        may_widen: Whether a column of integers may turn out to be one of floats.
    """

    type: pa.DataType | None
    may_widen: bool


def type_word(data_type: pa.DataType) -> str:
    """What messages call a type: the word of ``data.types`` where there is one, else Arrow's name."""
    return next((word for word, known in ARROW_TYPES.items() if known == data_type), str(data_type))


def first_true(mask: pa.ChunkedArray | pa.Array) -> int:
    """The position of the first true value, counted from 0, or -1."""
    return int(pc.index(mask, pa.scalar(value=True)).as_py())


@dataclass(frozen=True, slots=True, kw_only=True)
class TextColumn:
    """A column as the texts of the file, to be parsed or refused.

    Attributes:
        source: What messages call the file.
        name: The column's name.
        texts: The texts; null where there is no value.
        missing_values: Texts that mean "no value".
    """

    source: str
    name: str
    texts: pa.ChunkedArray
    missing_values: tuple[str, ...]

    def parse(self, target: ColumnTarget) -> pa.ChunkedArray:
        """The column in its target type, or in the type that all of its values agree on."""
        if target.type is None:
            return self.infer()
        if pa.types.is_string(target.type) or pa.types.is_large_string(target.type):
            return self.texts
        if target.type not in _GRAMMARS:
            problem = f"column {self.name!r} is expected as {target.type}, which a text file cannot carry. "
            raise UnreadableTableError(self.source, f"{problem}Give the table as Parquet.")
        return self.parse_strictly(target.type, may_widen=target.may_widen)

    def parse_strictly(self, data_type: pa.DataType, *, may_widen: bool) -> pa.ChunkedArray:
        """The column in this type; integers may come back as floats if they may be widened and some are floats."""
        misfit = self._misfit(_GRAMMARS[data_type])
        if first_true(misfit) < 0:
            return self._cast(data_type)
        cleared = self._without_quoted_markers()
        if cleared.texts.null_count > self.texts.null_count:
            return cleared.parse_strictly(data_type, may_widen=may_widen)
        if may_widen and pa.types.is_integer(data_type):
            misfit = self._misfit(_NUMBER)
            if first_true(misfit) < 0:
                return self._cast(pa.float64())
        marker = self.texts[first_true(misfit)].as_py()
        hint = self._missing_hint(marker) if marker in _MARKERS else ""
        raise self._mismatch(first_true(misfit), expected=type_word(data_type), hint=hint)

    def infer(self) -> pa.ChunkedArray:
        """The column in the first of integers, floats and booleans that all texts fit, else as text."""
        if self.texts.null_count == len(self.texts):
            return pa.chunked_array([pa.nulls(len(self.texts))])
        for data_type in (pa.int64(), pa.float64(), pa.bool_()):
            if self._every(_GRAMMARS[data_type]):
                return self._cast(data_type)
        cleared = self._without_quoted_markers()
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
                hint = "Write finite numbers with a point and without blanks, or declare string under data.types."
                raise self._mismatch(row, expected="a number such as 1.5", hint=hint)

    def _cast(self, data_type: pa.DataType) -> pa.ChunkedArray:
        """Cast texts that all fit the type's grammar; integers may still be too large, floats infinite."""
        if pa.types.is_boolean(data_type):
            return pc.equal(pc.utf8_lower(self.texts), "true")
        if pa.types.is_integer(data_type):
            try:
                return pc.cast(self.texts, pa.int64())
            except pa.ArrowInvalid:
                self._refuse_large_integer()
                raise
        self._require_exact_integers()
        numbers = pc.cast(self.texts, pa.float64())
        row = first_true(pc.is_inf(numbers))
        if row >= 0:
            raise self._mismatch(row, expected="a number that a float can hold")
        return numbers

    def _refuse_large_integer(self) -> None:
        digits = len(str(2**63))
        for row, text in enumerate(self.texts.to_pylist()):
            if text is not None and (len(text) > digits + 1 or not -(2**63) <= int(text) < 2**63):
                hint = "Declare the column as string under data.types if it is an identifier."
                raise self._mismatch(row, expected="an int of at most 64 bits", hint=hint)

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

    def _without_quoted_markers(self) -> TextColumn:
        is_marker = pc.is_in(self.texts, value_set=pa.array(self.missing_values, pa.string()))
        if first_true(is_marker) < 0:
            return self
        texts = pc.if_else(is_marker, pa.scalar(None, pa.string()), self.texts)
        return TextColumn(source=self.source, name=self.name, texts=texts, missing_values=self.missing_values)

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
        value = self.texts[row].as_py()
        return ValueMismatchError(self.source, column=self.name, row=row + 1, value=value, expected=expected, hint=hint)
