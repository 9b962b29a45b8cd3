"""Arms that should gain nothing: what a contribution would look like if it taught nothing new.

Both have the size of the integrated table and its base rows. In ``shuffled_labels`` the contributed rows have each
other's labels; in ``base_resample`` rows of the base, drawn with replacement, stand in their places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from hokusai.records import Arm, IntegratedData

__all__ = ["contributed_rows", "negative_control_tables"]

_CONSTANT = 20_261_123  # any number would do: it keeps these draws apart from others that start from the same digest


def contributed_rows(data: IntegratedData) -> NDArray[np.bool_]:
    """Return which rows of the integrated table were contributed; shape (integrated rows,)."""
    import numpy as np

    contributed: NDArray[np.bool_] = np.arange(data.integrated.num_rows) >= data.base_rows
    return contributed


def negative_control_tables(data: IntegratedData) -> tuple[dict[Arm, pa.Table], tuple[str, ...]]:
    """Return the training table of each negative control, and why one is missing, one sentence each.

    All chance comes from the integrated table's digest: equal tables give equal negative controls.

    Args:
        data: The tables. Where contributed rows took the place of base rows (``data.merge``), these stay away here
            as they do in the integrated table: after ``replace``, ``base_resample`` is a resample of the base alone.
    """
    import numpy as np
    import pyarrow.compute as pc

    from hokusai.datasets.content_digest import content_digest

    rows = np.flatnonzero(contributed_rows(data))
    if not len(rows):
        return {}, ("There are no negative controls: no contributed row is left.",)
    seed = int(content_digest(data.integrated, source="integrated data"), 16)
    rng = np.random.default_rng([_CONSTANT, seed])
    tables: dict[Arm, pa.Table] = {}
    notes: tuple[str, ...] = ()
    order = np.arange(data.integrated.num_rows)
    order[rows] = rng.permutation(rows)
    drawn = rng.integers(data.base.num_rows, size=len(rows))
    if pc.count_distinct(data.integrated[data.label].take(rows)).as_py() > 1:
        tables["shuffled_labels"] = _with_labels(data, order)
    else:
        notes = (f"There is no arm of shuffled labels: all contributed rows have the same {data.label!r}.",)
    tables["base_resample"] = _resampled(data, drawn)
    return tables, notes


def _with_labels(data: IntegratedData, order: NDArray[np.intp]) -> pa.Table:
    place = data.integrated.schema.get_field_index(data.label)
    field = data.integrated.schema.field(place)
    return data.integrated.set_column(place, field, data.integrated[data.label].take(order))


def _resampled(data: IntegratedData, drawn: NDArray[np.int64]) -> pa.Table:
    import pyarrow as pa

    kept = data.integrated.slice(0, data.integrated.num_rows - len(drawn))
    resample = data.base.select(data.integrated.column_names).take(drawn)
    return pa.concat_tables([kept, resample.cast(data.integrated.schema)])
