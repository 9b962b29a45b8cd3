"""Find what separates the fields of a delimited text: nothing is guessed that the first rows do not agree on."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from hokusai.errors import UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["delimiter_hint", "found_delimiter", "header_names"]

_CANDIDATES = (",", ";", "\t", "|")
_SAMPLE_ROWS = 100


def _rows(text: str, delimiter: str) -> list[list[str]] | None:
    """The rows of a text, or None where the quotes do not fit the delimiter."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return [row for row in rows if row]


def found_delimiter(sample: str, *, source: str, wanted: Sequence[str] | None) -> str:
    """The delimiter of a text: the one under which its header and first rows have the same number of fields.

    Args:
        sample: Whole rows, the header first.
        source: What messages call the file.
        wanted: Columns that must be among the names, if known; they settle what the rows leave open.

    Returns:
        The delimiter; a comma for a text of one column.

    Raises:
        UnreadableTableError: Several would do, or none, and the header does not tell either.
    """
    readings = {each: rows for each in _CANDIDATES if (rows := _rows(sample, each)) and len(rows[0]) > 1}
    if not readings:
        return ","
    if wanted:
        fitting = [each for each, rows in readings.items() if set(wanted) <= set(rows[0])]
        if len(fitting) == 1:
            return fitting[0]
    even = [each for each, rows in readings.items() if all(len(row) == len(rows[0]) for row in rows[1:_SAMPLE_ROWS])]
    likely = even or list(readings)
    if len(likely) > 1:
        said = " and ".join(repr(each) for each in likely)
        problem = f"the columns may be separated by {said}. Set data.delimiter to the right one."
        raise UnreadableTableError(source, problem)
    return likely[0]


def header_names(header: str, *, source: str, delimiter: str) -> list[str]:
    """The names of the columns.

    Raises:
        UnreadableTableError: There are none, or the header is one column that another delimiter would split.
    """
    try:
        rows = list(csv.reader(io.StringIO(header, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UnreadableTableError(source, f"the header cannot be read: {error}") from error
    names = rows[0] if rows else [""]
    if names == [""]:
        raise UnreadableTableError(source, "the first line is blank, expected the names of the columns")
    if len(names) == 1 and not header.startswith('"'):
        hint = delimiter_hint(header, delimiter=delimiter, missing=set())
        if hint:
            raise UnreadableTableError(source, f"the header {header[:80]!r} is one column. {hint}")
    return names


def delimiter_hint(header: str, *, delimiter: str, missing: set[str]) -> str:
    """What to say when the header falls apart at another delimiter, into the missing columns if there are any."""
    for other in (";", "\t", "|", ","):
        parts = {part.strip(' "') for part in header.split(other)}
        if other != delimiter and other in header and (not missing or parts & missing):
            rename = ", and name the file .csv" if delimiter == "\t" else ""
            return f"The file looks {other!r}-separated: set data.delimiter = {other!r}{rename}."
    return ""
