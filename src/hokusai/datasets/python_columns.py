"""Make a column of plain Python values: of one type, or refused with the first value that is not."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa

from hokusai.datasets.column_types import LARGEST_EXACT_INTEGER, ColumnPlace
from hokusai.errors import UnreadableTableError

__all__ = ["column_of"]

_ARROW_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}


def column_of(values: list[Any], place: ColumnPlace) -> pa.ChunkedArray:
    """A column of ints, floats, strings, bools and None in the one type that they agree on.

    Integers among floats become the floats that equal them.

    Raises:
        UnreadableTableError: A value is an object or an array.
        ValueMismatchError: The values are of several types, or one is beyond its type.
    """
    kinds = set(map(type, values)) - {type(None)}
    if kinds & {dict, list}:
        row = next(row for row, value in enumerate(values) if isinstance(value, dict | list))
        kind = "an object" if isinstance(values[row], dict) else "an array"
        where = f"column {place.name!r}, data row {place.first_row + row + 1}"
        problem = f"{where}: {kind}, expected a flat value. Take the column out, or spread it over columns."
        raise UnreadableTableError(place.source, problem)
    if len(kinds) > 1 and kinds != {int, float}:
        first = next(value for value in values if value is not None)
        alike = {int, float} if type(first) in {int, float} else {type(first)}
        row = next(row for row, value in enumerate(values) if value is not None and type(value) not in alike)
        expected = {str: "string", bool: "bool"}.get(type(first), "a number")
        raise place.mismatch(row, values[row], expected=f"{expected} like the values before")
    if float in kinds:
        return _floats(values, place)
    kind = _ARROW_TYPES[kinds.pop()] if kinds else pa.null()
    try:
        return pa.chunked_array([pa.array(values, type=kind)])
    except UnicodeEncodeError as error:
        row = next(row for row, value in enumerate(values) if value == error.object)
        raise place.mismatch(row, values[row], expected="Unicode text without half of a surrogate pair") from error
    except (OverflowError, pa.ArrowInvalid) as error:
        row = next(
            (row for row, each in enumerate(values) if isinstance(each, int) and not -(2**63) <= each < 2**63), -1
        )
        if row < 0:
            raise
        hint = "Write it as a string if it is an identifier."
        raise place.mismatch(row, values[row], expected="an int of at most 64 bits", hint=hint) from error


def _floats(values: list[Any], place: ColumnPlace) -> pa.ChunkedArray:
    for row, value in enumerate(values):
        if isinstance(value, int) and abs(value) > LARGEST_EXACT_INTEGER:
            expected = "an integer that a float holds exactly, at most 2^53"
            raise place.mismatch(row, value, expected=expected, hint="Write it as a string or with a point.")
        if isinstance(value, float) and not math.isfinite(value):
            raise place.mismatch(row, value, expected="a finite float", hint="Mend the value, or leave it empty.")
    return pa.chunked_array([pa.array([None if v is None else float(v) for v in values], type=pa.float64())])
