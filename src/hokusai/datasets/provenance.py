"""Where every row of the integrated table comes from: which contribution, which file, which row of it.

A table of its own beside the data, row by row, so that the data's digest does not depend on who gave them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["PROVENANCE", "provenance_of"]

PROVENANCE = pa.schema(
    [
        pa.field("contribution", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("source_sha256", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
    ]
)
"""The columns: the contribution's name or ``base``, SHA-256 of the source file's bytes, data row from 1."""


def provenance_of(rows: NDArray[np.int64], *, contribution: str, files: Sequence[tuple[str, int]]) -> pa.Table:
    """The provenance of rows of one contribution.

    Args:
        rows: Shape (rows,): places of the rows in the contribution, from 0, over all of its files.
        contribution: Its name, or ``base``.
        files: SHA-256 and number of rows of each of its files, in their order. A table that was given in memory has
            one with its content digest.

    Returns:
        A table of the schema :data:`PROVENANCE`, one row for each.
    """
    sizes = np.array([size for _, size in files], dtype=np.int64)
    ends = np.cumsum(sizes)
    file = np.searchsorted(ends, rows, side="right")
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), dtype=np.int32)), pa.array([contribution])),
        pa.DictionaryArray.from_arrays(
            pa.array(file.astype(np.int32)), pa.array([digest for digest, _ in files], pa.string())
        ),
        pa.array(rows - (ends - sizes)[file] + 1 if len(rows) else rows),
    ]
    return pa.Table.from_arrays(columns, schema=PROVENANCE)
