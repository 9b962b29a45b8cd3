"""One made-up row that is typical of a table, for whoever wants to try a model; it copies no row of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hokusai.digests import JsonValue
    from hokusai.models.column_kinds import ColumnKind

__all__ = ["typical_row"]

# The most frequent of many categories may be the name of a person, and stand there once.
_MOST_CATEGORIES = 50
_EXACT_INTEGERS = 2**53


def typical_row(table: pa.Table, features: Sequence[str], kinds: Mapping[str, ColumnKind]) -> Mapping[str, JsonValue]:
    """Return the median of each column of numbers and dates and the most frequent category of the others.

    Texts, and columns of more than 50 categories, are the word ``text``; a column without values is None. Dates and
    timestamps are written as ISO 8601 texts.
    """
    return {name: _typical(table[name], kinds[name]) for name in features}


def _typical(column: pa.ChunkedArray, kind: ColumnKind) -> JsonValue:
    import pyarrow.compute as pc

    present = pc.drop_null(column)
    if kind == "text":
        return "text"
    if not len(present):
        return None
    return _median(present, kind) if kind in ("number", "date", "timestamp") else _most_frequent(present)


def _median(present: pa.ChunkedArray, kind: ColumnKind) -> JsonValue:
    import numpy as np
    import pyarrow as pa

    if kind != "number":
        zone = present.type.tz if kind == "timestamp" else None
        moments = present.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64()).to_numpy()
        median = np.datetime64(round(float(np.median(moments))), "us")
        return str(median.astype("datetime64[D]" if kind == "date" else "datetime64[s]"))
    numbers = present.cast(pa.float64(), safe=False).to_numpy()
    value = float(np.median(numbers))
    if not np.isfinite(value):
        return None
    return round(value) if pa.types.is_integer(present.type) and abs(value) < _EXACT_INTEGERS else value


def _most_frequent(present: pa.ChunkedArray) -> JsonValue:
    import pyarrow.compute as pc

    counted = pc.value_counts(present)
    if len(counted) > _MOST_CATEGORIES:
        return "text"
    # The first in the alphabet among equals, so that the order of the rows does not matter.
    ranked = sorted((-each["counts"].as_py(), each["values"].as_py()) for each in counted)
    value: bool | str = ranked[0][1]
    return value
