"""Rows that are nearly benchmark rows: numbers with noise, columns replaced, texts edited, cut or put into others.

How near is near enough is calibrated on the base data, whose rows are taken for honest: the widest limits are chosen
by which less than one honest row in a thousand looks copied. Where no limits do that, the verdict says so and nothing
is marked. Exact copies, and texts of a few words, are for the comparison of whole rows. The label is never looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hokusai.datasets.mixed_columns import is_text, one_array
from hokusai.datasets.near_numbers import NearNumbers
from hokusai.datasets.near_text import NearText
from hokusai.datasets.nearness import Nearness, best_of_each_row
from hokusai.datasets.row_digests import contained_in, row_digests
from hokusai.datasets.word_hashes import words_of
from hokusai.datasets.word_slices import SHORTEST_TEXT
from hokusai.errors import SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["NearDuplicates", "Nearness"]

_ROWS_AT_ONCE = 1 << 16
_BASE_ROWS = 100_000  # enough to measure a share of one in a thousand
_TEXTS_TO_JUDGE = 10_000
_LONG_TEXTS = 0.1  # of the column's texts make it a column of longer texts


class NearDuplicates:
    """The benchmark, ready to be searched for rows that are nearly the same.

    What is found for a row depends on that row alone: not on the others, their order, or how they come in batches.
    """

    def __init__(self, reference: pa.Table, *, base: pa.Table, features: Sequence[str]) -> None:
        """Index the reference and calibrate on the base.

        Args:
            reference: The benchmark. Memory grows with it, and with nothing else.
            base: The base data; 100,000 of its rows, evenly spread, are looked at.
            features: The columns to compare, without the label. Both tables have them, with the same types.

        Raises:
            SchemaMismatchError: A table lacks one of the columns.
        """
        self._features = tuple(features)
        reference = self._selected(reference, "benchmark")
        base = _without_copies(_evenly_spread(self._selected(base, "base data")), reference)
        texts = [name for name in self._features if _holds_longer_texts(reference, name)]
        others = [name for name in self._features if name not in texts]
        self._numbers = NearNumbers(reference, base=base, columns=others) if others else None
        self._texts = {
            name: NearText(one_array(reference, name), base=one_array(base, name), column=name) for name in texts
        }
        of_numbers = [self._numbers.verdict] if self._numbers else []
        self._verdicts = (*of_numbers, *(search.verdict for search in self._texts.values()))

    @property
    def verdicts(self) -> tuple[Nearness, ...]:
        """What nearness is worth here: of the numbers and categories together, and of each column of longer texts."""
        return self._verdicts

    def find(self, batch: pa.RecordBatch | pa.Table, *, source: str = "table") -> NDArray[np.int64]:
        """Search for benchmark rows near the rows of a batch.

        Args:
            batch: Rows with all the features, of the benchmark's types; other columns are not looked at.
            source: What error messages call it.

        Returns:
            Shape (rows,): the position of the nearest benchmark row, by numbers before text; -1 where none is near.

        Raises:
            SchemaMismatchError: A column is missing.
            DataError: A column is of another kind than the benchmark's.
        """
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        table = self._selected(table, source)
        found = [np.zeros(0, dtype=np.int64)]
        found += [
            self._find(table.slice(start, _ROWS_AT_ONCE), source) for start in range(0, table.num_rows, _ROWS_AT_ONCE)
        ]
        return np.concatenate(found)

    def _find(self, table: pa.Table, source: str) -> NDArray[np.int64]:
        rows = table.num_rows
        found = np.full(rows, -1, dtype=np.int64)
        if self._numbers:
            found = best_of_each_row(self._numbers.near(table, source=source), rows=rows)
        for name, search in self._texts.items():
            by_text = best_of_each_row(search.near(one_array(table, name), source=source), rows=rows)
            found = np.where(found < 0, by_text, found)
        return found

    def _selected(self, table: pa.Table, source: str) -> pa.Table:
        missing = [name for name in self._features if name not in table.column_names]
        if missing:
            raise SchemaMismatchError(source, missing=missing, found=table.column_names)
        return table.select(list(self._features))


def _evenly_spread(table: pa.Table) -> pa.Table:
    if table.num_rows <= _BASE_ROWS:
        return table
    return table.take(pa.array(np.arange(_BASE_ROWS) * table.num_rows // _BASE_ROWS))


def _without_copies(base: pa.Table, reference: pa.Table) -> pa.Table:
    copies = contained_in(row_digests(base, fold_negative_zero=True), row_digests(reference, fold_negative_zero=True))
    return base.filter(pa.array(~copies))


def _holds_longer_texts(reference: pa.Table, name: str) -> bool:
    texts = one_array(reference.slice(0, _TEXTS_TO_JUDGE), name)
    return is_text(texts.type) and float((words_of(texts).counts >= SHORTEST_TEXT).mean()) > _LONG_TEXTS
