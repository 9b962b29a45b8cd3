"""Training weights: how much each row counts, in a column of the table itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hokusai.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["are_weights", "require_weights"]

_EXPECTED = "expected finite numbers, zero or more"


def are_weights(column: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
    """Return for every row whether its value can be a weight: a finite number, zero or more."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return np.zeros(len(column), dtype=np.bool_)
    found = pc.fill_null(pc.and_(pc.is_finite(column), pc.greater_equal(column, 0)), fill_value=False)
    return np.asarray(found, dtype=np.bool_)


def require_weights(
    column: pa.ChunkedArray | pa.Array,
    *,
    name: str,
    source: str,
    rows_before: int = 0,
    setting: str = "data.sample_weight",
) -> None:
    """Refuse a column that holds anything but weights.

    Args:
        column: The column, or a part of it.
        name: The column's name.
        source: What messages call the table.
        rows_before: Rows of the table before this part.
        setting: The setting that names the column.

    Raises:
        DataError: A value is missing, no number, negative or not finite.
    """
    is_weight = are_weights(column)
    if is_weight.all():
        return
    first = int(is_weight.argmin())
    value = column[first].as_py()
    what = "no value" if value is None else f"{value!r:.40}"
    place = f"column {name!r}, data row {first + 1 + rows_before}"
    raise DataError(source, f"{place}: got {what}, {_EXPECTED} ({setting}).")
