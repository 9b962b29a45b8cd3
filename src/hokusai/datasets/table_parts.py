"""What every format's reader hands on: the final schema, and batches that come as they are read."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from hokusai.errors import UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BATCH_ROWS", "TablePart", "part_of", "translated"]

BATCH_ROWS = 65_536
"""The most rows of one batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePart:
    """The table of one file.

    Attributes:
        schema: The final types.
        batches: The rows, in order; can be iterated once.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def part_of(table: pa.Table) -> TablePart:
    """A table that is in memory already."""
    return TablePart(schema=table.schema, batches=iter(table.to_batches(max_chunksize=BATCH_ROWS)))


@contextmanager
def translated(source: str) -> Iterator[None]:
    """Turn what Arrow raises on damaged or too large input into our own error.

    Raises:
        UnreadableTableError: Arrow refused the input.
    """
    try:
        yield
    except MemoryError as error:  # Arrow's own memory error is one of these as well.
        raise UnreadableTableError(source, "the table does not fit into memory. Split the file.") from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        detail = str(error).partition("\n")[0]
        if "thrift" in detail:
            detail = "its description of itself cannot be read"
        problem = f"the file is damaged or not in the format of its suffix: {detail}"
        raise UnreadableTableError(source, problem) from error
