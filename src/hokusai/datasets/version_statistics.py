"""What is counted of every column of a dataset version: missing and different values, in bounded memory."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from hokusai.datasets.arrow_values import plain

__all__ = ["ColumnCounter"]

_FIRST_ROWS, _MOST_ROWS = 1 << 16, 1 << 19
_MOST_BYTES = 32 << 20


class ColumnCounter:
    """Counts the missing and the different values of one column that arrives in parts.

    Every NaN is one value; -0.0 and 0.0 are two. The different values are counted exactly or not at all.

    Args:
        most_unique: How many different values are counted. A column that has more of them, or whose different values
            take more than 32 MiB, has no count; nor has one of lists, structs or maps.
    """

    def __init__(self, *, most_unique: int) -> None:
        self._most_unique = most_unique
        self._known: pa.Array | None = None
        self._is_countable = True
        self._nulls = 0
        self._rows_at_once = _FIRST_ROWS

    def update(self, column: pa.Array | pa.ChunkedArray) -> None:
        """Count the values of one more part."""
        start = 0
        while start < len(column):
            part = column.slice(start, self._rows_at_once)
            for chunk in part.chunks if isinstance(part, pa.ChunkedArray) else [part]:
                self._update(plain(chunk))
            start += len(part)
            # Few rows at first, because a column of many different values shows at once; then fewer and larger steps.
            self._rows_at_once = min(2 * self._rows_at_once, _MOST_ROWS)

    @property
    def nulls(self) -> int:
        """The number of missing values."""
        return self._nulls

    @property
    def unique(self) -> int | None:
        """The number of different values that are not missing, or None when they were too many to count."""
        if not self._is_countable:
            return None
        return 0 if self._known is None else len(self._known)

    def _update(self, values: pa.Array) -> None:
        if pa.types.is_null(values.type):
            self._nulls += len(values)
            return
        self._nulls += values.null_count
        if not self._is_countable:
            return
        if pa.types.is_nested(values.type):
            self._is_countable = False
            return
        found = pc.drop_null(pc.unique(values))
        if self._known is not None:
            # The known ones stay in front, so that only what is behind them is new memory.
            found = pc.unique(pa.concat_arrays([self._known, found.cast(self._known.type)]))
        if len(found) > self._most_unique or found.nbytes > _MOST_BYTES:
            self._known, self._is_countable = None, False
        else:
            self._known = found
