"""Which row of a table is not what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["changed_row", "changed_stored_row"]


def changed_row(then: pa.Table, now: pa.Table, *, numbers: Iterable[int] | None = None) -> str:
    """Say which row was changed first, and what differs in it.

    Args:
        then: Rows as they were.
        now: The table as it is.
        numbers: Where each of the rows stood in the table, from 1; default one after the other.

    Returns:
        The row and what differs in it; empty when none was changed.
    """
    columns = [name for name in then.column_names if name in now.column_names]
    places = range(1, then.num_rows + 1) if numbers is None else numbers
    for place, number in enumerate(places):
        if number > now.num_rows:
            return f"row {number} is gone"
        for column in columns:
            one, other = then[column][place].as_py(), now[column][number - 1].as_py()
            # Of two that are not equal, both may be NaN.
            if one != other and (one == one or other == other):  # noqa: PLR0124
                return f"row {number}, {column!r}: {one!r} has become {other!r}"
    if numbers is None and now.num_rows > then.num_rows:
        return f"row {then.num_rows + 1} has come to it"
    return ""


def changed_stored_row(file: Path, *, integrated: Path, provenance: Path, name: str) -> str:
    """Say which row of a stored table was changed first, by the integrated table that its rows went into.

    Args:
        file: The stored table, which may hold anything.
        integrated: The integrated table as it was recorded.
        provenance: Where each of its rows came from.
        name: What the provenance calls the table.

    Returns:
        The row and what differs in it; empty when that cannot be told.
    """
    try:
        now, then, origin = (pq.read_table(path) for path in (file, integrated, provenance))
    except (pa.ArrowException, OSError):
        return ""
    is_ours = pc.equal(origin["contribution"].cast(pa.string()), name)
    files = origin["source_sha256"].cast(pa.string()).filter(is_ours)
    # The rows of several files are counted one by one there.
    if len(files.unique()) != 1 or then.num_rows != origin.num_rows:
        return ""
    return changed_row(then.filter(is_ours), now, numbers=origin["source_row"].filter(is_ours).to_pylist())
