"""Take over tables from Python: pandas, Polars and whatever offers Arrow data, under the same rules as files."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hokusai.datasets.column_types import (
    ColumnPlace,
    canonical_column,
    require_column_names,
    require_flat_type,
)
from hokusai.datasets.python_columns import column_of
from hokusai.datasets.table_parts import translated
from hokusai.errors import DataError, UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["as_table"]

_PLAIN = (int, float, str, bool)
_SINGLE = (dt.datetime, dt.date, Decimal)


def as_table(data: object, *, name: str) -> pa.Table:
    """A table in memory as an Arrow table of canonical types, under the rules that hold for files.

    Taken are pandas data frames, Polars data frames, and any object of the Arrow PyCapsule interface, such as an Arrow
    table, record batch or record batch reader. NaN is no value. A pandas index without names is ignored, one with a
    name is refused, because it may be data.

    Args:
        data: The table.
        name: What messages call it.

    Raises:
        DataError: It is no such table.
        UnreadableTableError: A column has no name, a name twice, or no canonical type.
        ValueMismatchError: The values of a column are of several types, infinite, or beyond 64 bits.
    """
    kind = type(data)
    if kind.__module__.partition(".")[0] == "pandas" and kind.__name__ == "DataFrame":
        return _pandas_table(data, name=name)  # type: ignore[arg-type]
    if hasattr(data, "collect") and not hasattr(data, "__arrow_c_stream__"):
        raise DataError(name, f"got a {kind.__name__}, expected a table. Call its method collect() first.")
    if not isinstance(data, pa.Table | pa.RecordBatch | pa.RecordBatchReader) and not hasattr(
        data, "__arrow_c_stream__"
    ):
        problem = f"got a {kind.__name__}, expected a data frame of pandas or Polars, or an Arrow table."
        raise DataError(name, problem)
    _require_known_polars_types(data, name=name)
    with translated(name):
        if isinstance(data, pa.RecordBatchReader):
            table = data.read_all()
        elif isinstance(data, pa.RecordBatch):
            table = pa.Table.from_batches([data])
        else:
            table = data if isinstance(data, pa.Table) else pa.table(data)
        table.validate(full=True)
    return _canonical(table.column_names, table.columns, name=name)


def _require_known_polars_types(data: object, *, name: str) -> None:
    """Refuse columns of Python objects: Polars ends with a panic, which is no Exception, when it hands them over."""
    schema = getattr(data, "schema", None)
    if type(data).__module__.partition(".")[0] != "polars" or schema is None:
        return
    for column, kind in schema.items():
        if str(kind) == "Object":
            problem = f"column {column!r} holds Python objects, expected numbers, text, booleans, dates or timestamps."
            raise UnreadableTableError(name, f"{problem} Take the column out, or convert it.")


def _canonical(names: Sequence[str], columns: Sequence[pa.ChunkedArray], *, name: str) -> pa.Table:
    require_column_names(names, source=name)
    read = {}
    for column_name, column in zip(names, columns, strict=True):
        require_flat_type(column.type, source=name, name=column_name)
        with translated(name):
            read[column_name] = canonical_column(column, ColumnPlace(source=name, name=column_name))
    return pa.table(read)


def _pandas_table(frame: pd.DataFrame, *, name: str) -> pa.Table:
    names = list(frame.columns)
    unnamed = [each for each in names if not isinstance(each, str)]
    if unnamed:
        problem = f"the column name {unnamed[0]!r} is a {type(unnamed[0]).__name__}, expected a text. Rename it."
        raise UnreadableTableError(name, problem)
    require_column_names(names, source=name)
    if any(each is not None for each in frame.index.names):
        named = ", ".join(repr(each) for each in frame.index.names if each is not None)
        problem = f"the index has the name {named}, so it may be data; expected an index without names. "
        raise UnreadableTableError(name, f"{problem}Call reset_index(), or reset_index(drop=True) to leave it out.")
    columns = []
    for position, column_name in enumerate(names):
        series = frame.iloc[:, position]
        place = ColumnPlace(source=name, name=column_name)
        if series.dtype == object:
            columns.append(_object_column(series, place))
            continue
        with translated(name):
            column = pa.array(series, from_pandas=True)
        columns.append(column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column]))
    return _canonical(names, columns, name=name)


def _object_column(series: pd.Series[Any], place: ColumnPlace) -> pa.ChunkedArray:
    """A column of Python objects, which pandas lets be of any types."""
    values = [_plain(value) for value in series.tolist()]
    kinds = {type(value) for value in values} - {type(None)}
    odd = next((row for row, value in enumerate(values) if value is not None and type(value) not in _PLAIN), -1)
    if odd < 0 or kinds & {dict, list}:
        return column_of(values, place)
    if len(kinds) > 1 or type(values[odd]) not in _SINGLE:
        expected = "values of one type: numbers, texts, booleans, dates, timestamps or decimals"
        shown = f"a {type(values[odd]).__name__}"
        raise place.mismatch(odd, _Shown(shown), expected=expected)
    with translated(place.source):
        return pa.chunked_array([pa.array(values)])


class _Shown:
    """A description that a message shows without quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def _plain(value: object) -> object:
    """A Python value of its own type; None for what pandas takes for missing."""
    import numpy as np
    import pandas as pd

    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime(warn=False) if not value.nanosecond else value
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):  # noqa: PLR0124
        return None
    return value
