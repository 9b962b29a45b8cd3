"""Which training rows stand in the benchmark, and which contributed rows are not new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hokusai.datasets.row_digests import contained_in, first_occurrences, row_digests

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Screening", "screen_tables"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """What was found in one training table; each array has shape (rows,).

    Attributes:
        in_benchmark: The row stands in the benchmark.
        duplicate: An equal row stands before it, and it is not in the benchmark.
    """

    in_benchmark: NDArray[np.bool_]
    duplicate: NDArray[np.bool_]

    @property
    def keep(self) -> NDArray[np.bool_]:
        """The rows that go into training."""
        return ~(self.in_benchmark | self.duplicate)


def screen_tables(tables: Sequence[pa.Table], *, benchmark: pa.Table) -> list[Screening]:
    """Compare every row of the training tables with the benchmark and with the rows before it.

    Rows are equal when every column is, by value; 0.0 and -0.0 are one value. The first table is the base data, whose
    repeated rows are its owner's business: only the later ones are searched for duplicates.

    Args:
        tables: Base data first, then the contributions in order; all of one schema.
        benchmark: The benchmark, of the same schema.
    """
    benchmark_rows = row_digests(benchmark, fold_negative_zero=True)
    known = row_digests(tables[0], fold_negative_zero=True)
    none = np.zeros(len(known), dtype=np.bool_)
    screenings = [Screening(in_benchmark=contained_in(known, benchmark_rows), duplicate=none)]
    for table in tables[1:]:
        rows = row_digests(table, fold_negative_zero=True)
        leaked = contained_in(rows, benchmark_rows)
        repeated = ~first_occurrences(rows) | contained_in(rows, known)
        screenings.append(Screening(in_benchmark=leaked, duplicate=repeated & ~leaked))
        known = np.concatenate([known, rows])
    return screenings
