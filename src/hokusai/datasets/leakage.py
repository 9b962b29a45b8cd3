"""Which training rows stand in the benchmark, and which contributed rows are not new.

Base and contributions stream through one Screen; what it says of a row depends on the rows before it, never on how
they were cut into batches. Exact equality is that of hashes which nobody can foresee, see value_hashes.py. Everything
else is equality of the features after normalisation, see normalisation.py: found by keys that are as secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hokusai.datasets.logical_types import TypeCode, encoded_schema, fields_of
from hokusai.datasets.normalisation import FeatureNormaliser
from hokusai.datasets.row_index import FeatureIndex, RowIndex, with_room
from hokusai.datasets.value_hashes import HASHES, as_rows
from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from hokusai.datasets.normalisation import RowFeatures

__all__ = ["BENCHMARK_CODES", "DUPLICATE_CODES", "Code", "Screen", "Screening"]

_ROWS_AT_ONCE = 1 << 14  # their numbers stay in the processor's own memory
_BENCHMARK_CHAIN = 256
_NARROW_BASE_SHARE = 0.002
_NARROW_REPEAT_SHARE = 0.1


class Code(IntEnum):
    """What a row was found to be; of several the highest counts."""

    NEW = 0
    CONFLICT = 1
    DUPLICATE_OTHER = 2
    DUPLICATE_BASE = 3
    DUPLICATE_OWN = 4
    BENCHMARK_NEAR = 5
    BENCHMARK_NORMALISED = 6
    BENCHMARK_FLIPPED = 7
    BENCHMARK_EXACT = 8


DUPLICATE_CODES = (Code.DUPLICATE_OTHER, Code.DUPLICATE_BASE, Code.DUPLICATE_OWN)
BENCHMARK_CODES = (Code.BENCHMARK_NEAR, Code.BENCHMARK_NORMALISED, Code.BENCHMARK_FLIPPED, Code.BENCHMARK_EXACT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """What was found in some rows; each array has shape (rows,).

    Attributes:
        codes: A Code for each row, dtype uint8. BENCHMARK_EXACT: features and label stand in the benchmark.
            BENCHMARK_FLIPPED: the very features do, with another label. BENCHMARK_NORMALISED: the features do after
            normalisation. DUPLICATE_BASE, DUPLICATE_OTHER, DUPLICATE_OWN: the row stood first in the base, in an
            earlier contribution, earlier in its own. CONFLICT: its features stand in one of the first two with
            another label; such a row is new.
        normalised: The row is such a duplicate after normalisation only.
        label_differs: The row's features stand in the benchmark and its label is another one.
        unproven: The table is too narrow: the features stand in the benchmark, as those of honest rows do, and the
            code is what the row is apart from that.
        benchmark_rows: The first row of the benchmark that the code is about, or -1; dtype int64.
    """

    codes: NDArray[np.uint8]
    normalised: NDArray[np.bool_]
    label_differs: NDArray[np.bool_]
    unproven: NDArray[np.bool_]
    benchmark_rows: NDArray[np.int64]

    @property
    def in_benchmark(self) -> NDArray[np.bool_]:
        """The rows that stand in the benchmark."""
        return np.greater_equal(self.codes, Code.BENCHMARK_NEAR)

    @property
    def duplicate(self) -> NDArray[np.bool_]:
        """The rows that are not new and do not stand in the benchmark."""
        return np.greater_equal(self.codes, Code.DUPLICATE_OTHER) & ~self.in_benchmark

    @property
    def keep(self) -> NDArray[np.bool_]:
        """The rows that go into training."""
        return np.less_equal(self.codes, Code.CONFLICT)

    def count(self, code: Code) -> int:
        """How many rows have this code."""
        return int(np.count_nonzero(self.codes == code))


class Screen:
    """Compares rows with the benchmark, the base data, and the contributions before them.

    A table is too narrow when honest rows often have the features of a benchmark row. Then equal features are no
    evidence, and only rows that are equal in everything get another code than NEW. That happens to
    honest rows of such a table too: they may be taken out, but refusing a contribution for them would be unjust.

    Args:
        benchmark: The benchmark.
        base: The base data, as one table or several, of the benchmark's columns and types.
        label: The column to predict; the others are the features.
        source: What error messages call the benchmark.
        parts: Rows of each of the benchmarks that the benchmark consists of; by default it is one. A row that stands in
            two of them does not make the table narrow.

    Attributes:
        base: What was found in the base data. Its own repetitions are its owner's business, they are NEW.
        narrowness: One sentence if the table is too narrow, else empty.
    """

    def __init__(
        self,
        benchmark: pa.Table,
        *,
        base: pa.Table | Iterable[pa.Table],
        label: str,
        source: str = "benchmark",
        parts: Sequence[int] = (),
    ) -> None:
        fields = fields_of(benchmark.schema, column_order="name", source=source)
        own = [field for field in fields if field.column == label]
        if not own:
            raise DataError(source, f"no column {label!r}, which is the label. Name another one or add it.")
        self._schema, self._label = encoded_schema(fields), label
        self._columns = [field.column for field in fields]
        benchmark = benchmark.select(self._columns)
        fields = fields_of(benchmark.schema, column_order="name", source=source)
        self._normaliser = FeatureNormaliser([field for field in fields if field.column != label])
        self._label_normaliser = FeatureNormaliser([field for field in fields if field.column == label])
        self._label_is_float = own[0].code is TypeCode.FLOAT
        self._add_benchmark(benchmark, parts)
        self._rows, self._features = RowIndex(words=HASHES), FeatureIndex(self._normaliser.tolerances)
        self._labels = np.zeros(0, dtype=np.uint32)
        self._base_end, self._own_start, self._is_in_base = 0, 0, True
        self.contribution, self.narrowness = "", ""
        self._take_base([base] if isinstance(base, pa.Table) else base)

    def next_contribution(self, name: str) -> None:
        """Begin another contribution: the rows before are other people's now."""
        self.contribution, self._own_start = name, len(self._rows)

    def forget_rows(self) -> None:
        """Let go of base and contributions; the benchmark and what was found stay, and nothing more can be screened."""
        self._rows, self._features = RowIndex(words=HASHES), FeatureIndex(self._normaliser.tolerances)
        self._labels = np.zeros(0, dtype=np.uint32)

    @property
    def benchmark_hits(self) -> NDArray[np.bool_]:
        """Which benchmark rows were found in base or contributions, their repetitions included; shape (rows,)."""
        by_features = self._feature_hits[self._benchmark_first_features]
        return np.logical_or(self._exact_hits[self._benchmark_first], by_features)

    @property
    def first_rows(self) -> NDArray[np.int64]:
        """For every benchmark row the first one with its features, maybe itself; shape (benchmark rows,)."""
        return self._benchmark_first_features

    @property
    def nbytes(self) -> int:
        """The bytes that the screen holds for the rows seen so far."""
        return self._rows.nbytes + self._features.nbytes + self._labels.nbytes

    def screen(self, batch: pa.Table | pa.RecordBatch, *, source: str = "contribution") -> Screening:
        """Compare the next rows of the present contribution with all that came before, and remember them.

        Args:
            batch: Rows of the benchmark's columns and types, the columns in any order.
            source: What error messages call the table.

        Raises:
            DataError: The columns or their types are not those of the benchmark.
        """
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        return self._judged([self._look_up(piece) for piece in self._pieces(table, source=source)])

    def meet(self, batch: pa.Table | pa.RecordBatch, *, source: str = "contribution") -> NDArray[np.int64]:
        """Find the benchmark row whose features each row has, even in a narrow table, and remember nothing.

        Args:
            batch: Rows of the benchmark's columns and types, the columns in any order.
            source: What error messages call the table.

        Returns:
            Shape (rows,): positions in the benchmark, -1 where there is no such row.

        Raises:
            DataError: The columns or their types are not those of the benchmark.
        """
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        met = [np.zeros(0, dtype=np.int64)]
        met += [self._in_benchmark(self._compared(piece))[2] for piece in self._pieces(table, source=source)]
        return np.concatenate(met)

    def _pieces(self, table: pa.Table, *, source: str) -> Iterator[pa.Table]:
        if encoded_schema(fields_of(table.schema, column_order="name", source=source)) != self._schema:
            raise DataError(
                source, "its columns or their types are not those of the benchmark. Cast it to the benchmark's schema."
            )
        table = table.select(self._columns)
        for start in range(0, table.num_rows, _ROWS_AT_ONCE):
            yield table.slice(start, _ROWS_AT_ONCE)

    def _add_benchmark(self, table: pa.Table, parts: Sequence[int]) -> None:
        self._benchmark_rows, self._benchmark_feature_rows = RowIndex(words=HASHES), RowIndex(words=HASHES)
        self._benchmark_features = FeatureIndex(self._normaliser.tolerances, longest_chain=_BENCHMARK_CHAIN)
        first_rows, earlier = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        labels = [np.zeros(0, dtype=np.uint32)]
        for start in range(0, table.num_rows, _ROWS_AT_ONCE):
            rows = self._compared(table.slice(start, _ROWS_AT_ONCE))
            first_rows.append(self._benchmark_rows.add_and_find(rows.hashes))
            self._benchmark_feature_rows.add(as_rows(rows.features.hashes))
            earlier.append(self._benchmark_features.add_and_find(rows.features))
            labels.append(rows.labels)
        self._benchmark_first = np.concatenate(first_rows)
        self._benchmark_labels = np.concatenate(labels)
        first = np.concatenate(earlier)
        self._repeat_share = float(np.mean(_are_repeated(first, parts))) if len(first) else 0.0
        self._benchmark_first_features = np.where(first < 0, np.arange(len(first)), first)
        self._exact_hits = np.zeros(len(first), dtype=np.bool_)
        self._feature_hits = np.zeros(len(first), dtype=np.bool_)

    def _take_base(self, tables: Iterable[pa.Table]) -> None:
        found = [self._look_up(piece) for table in tables for piece in self._pieces(table, source="base data")]
        self._base_end = self._own_start = len(self._rows)
        self._is_in_base = False
        alike = sum(np.count_nonzero(_by_features_alone(each.hits)) for each in found)
        base_share = alike / max(len(self._rows), 1)
        if self._repeat_share >= _NARROW_REPEAT_SHARE or base_share >= _NARROW_BASE_SHARE:
            self.narrowness = (
                f"The table is too narrow for equal features to be evidence: {self._repeat_share:.1%} of the "
                f"benchmark's rows have the features of another one before them, and {base_share:.1%} of the base "
                "data's rows have those of a benchmark row without being equal to it."
            )
        # Until here nobody could know what the base's own hits are worth.
        self.base = self._judged(found)

    def _compared(self, table: pa.Table) -> _Rows:
        features, label = self._normaliser.features(table), self._label_normaliser.features(table)
        return _Rows(
            hashes=as_rows(features.hashes + label.hashes),
            features=features,
            labels=label.levels[:, 0] if self._label_is_float else label.keys.astype(np.uint32),
        )

    def _labels_differ(self, one: NDArray[np.uint32], other: NDArray[np.uint32]) -> NDArray[np.bool_]:
        if not self._label_is_float:
            return np.not_equal(one, other)
        tolerance = self._label_normaliser.tolerances[0]
        apart: NDArray[np.bool_] = one - other + tolerance > tolerance + tolerance
        return apart

    def _look_up(self, table: pa.Table) -> _Found:
        """Find the rows in the benchmark and among the rows before them, and remember them."""
        rows = self._compared(table)
        labels = rows.labels
        begin = len(self._rows)
        first = self._rows.add_and_find(rows.hashes)
        earlier = self._features.add_and_find(rows.features)
        self._labels = with_room(self._labels, len(self._rows))
        self._labels[begin : len(self._rows)] = labels
        codes = np.zeros(len(labels), dtype=np.uint8)
        normalised = np.zeros(len(labels), dtype=np.bool_)
        if not self._is_in_base:
            repeated = first < np.arange(begin, len(self._rows))
            codes[repeated] = self._duplicate_codes(first[repeated])
            alike = np.flatnonzero(~repeated & (earlier >= 0))
            differ = self._labels_differ(labels[alike], self._labels[earlier[alike]])
            kinds = self._duplicate_codes(earlier[alike])
            in_own = kinds == Code.DUPLICATE_OWN
            codes[alike] = np.where(differ, np.where(in_own, Code.NEW, Code.CONFLICT), kinds)
            normalised[alike] = ~differ
        hits, label_differs, places = self._in_benchmark(rows)
        return _Found(codes=codes, normalised=normalised, hits=hits, label_differs=label_differs, benchmark_rows=places)

    def _duplicate_codes(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        codes = np.full(len(positions), Code.DUPLICATE_OTHER, dtype=np.uint8)
        codes[positions < self._base_end] = Code.DUPLICATE_BASE
        codes[positions >= self._own_start] = Code.DUPLICATE_OWN
        return codes

    def _in_benchmark(self, rows: _Rows) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.int64]]:
        """The code of each row as far as the benchmark is concerned, whether its label differs, and the row it hits."""
        places = self._benchmark_rows.positions(rows.hashes)
        hits = np.where(places >= 0, Code.BENCHMARK_EXACT, Code.NEW).astype(np.uint8)
        label_differs = np.zeros(len(hits), dtype=np.bool_)
        near = self._benchmark_features.find(rows.features)
        alike = np.flatnonzero((places < 0) & (near >= 0))
        if len(alike):
            same = self._benchmark_feature_rows.positions(as_rows(rows.features.hashes[:, alike]))
            places[alike] = np.where(same >= 0, same, near[alike])
            differ = self._labels_differ(rows.labels[alike], self._benchmark_labels[places[alike]])
            label_differs[alike] = differ
            flipped = (same >= 0) & differ
            hits[alike] = np.where(flipped, Code.BENCHMARK_FLIPPED, Code.BENCHMARK_NORMALISED)
        return hits, label_differs, places

    def _judged(self, found: Sequence[_Found]) -> Screening:
        """What the finds are worth: in a table that is too narrow, only equality in everything counts."""
        joined = _joined(found)
        unproven = np.zeros(len(joined.codes), dtype=np.bool_)
        codes, normalised, rows = np.maximum(joined.codes, joined.hits), joined.normalised, joined.benchmark_rows
        if self.narrowness:
            unproven = _by_features_alone(joined.hits)
            alone = np.where(normalised | (joined.codes == Code.CONFLICT), Code.NEW, joined.codes)
            codes = np.maximum(alone, np.where(unproven, Code.NEW, joined.hits)).astype(np.uint8)
            normalised = np.zeros(len(codes), dtype=np.bool_)
            rows = np.where(unproven, -1, rows)
        else:
            self._feature_hits[self._benchmark_first_features[rows[rows >= 0]]] = True
        normalised = normalised & (codes < Code.BENCHMARK_NEAR)
        self._exact_hits[self._benchmark_first[rows[rows >= 0]]] = True
        return Screening(
            codes=codes,
            normalised=normalised,
            label_differs=joined.label_differs,
            unproven=unproven,
            benchmark_rows=rows,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Rows as they are compared: as they are, by features, and by a number for each label.

    The numbers are the same, or for floats near, when the labels are equal.
    """

    hashes: NDArray[np.void]
    features: RowFeatures
    labels: NDArray[np.uint32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What was found of some rows, before it is known what equal features are worth."""

    codes: NDArray[np.uint8]
    normalised: NDArray[np.bool_]
    hits: NDArray[np.uint8]
    label_differs: NDArray[np.bool_]
    benchmark_rows: NDArray[np.int64]


def _are_repeated(first: NDArray[np.int64], parts: Sequence[int]) -> NDArray[np.bool_]:
    """Which rows have the features of one before them in their own part.

    Args:
        first: Shape (rows,): the first row with the features of each, or -1 for itself.
        parts: Rows of each part; none for a single one.
    """
    repeated: NDArray[np.bool_] = first >= 0
    if len(parts) > 1:
        part = np.repeat(np.arange(len(parts)), parts)
        elsewhere = np.flatnonzero(repeated & (part[first] != part))
        _, shown = np.unique(first[elsewhere] * len(parts) + part[elsewhere], return_index=True)
        repeated[elsewhere[shown]] = False
    return repeated


def _by_features_alone(hits: NDArray[np.uint8]) -> NDArray[np.bool_]:
    alone: NDArray[np.bool_] = (hits == Code.BENCHMARK_FLIPPED) | (hits == Code.BENCHMARK_NORMALISED)
    return alone


def _joined(found: Sequence[_Found]) -> _Found:
    if not found:
        none, nobody = np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.bool_)
        rows = np.zeros(0, dtype=np.int64)
        return _Found(codes=none, normalised=nobody, hits=none, label_differs=nobody, benchmark_rows=rows)
    return _Found(
        codes=np.concatenate([each.codes for each in found]),
        normalised=np.concatenate([each.normalised for each in found]),
        hits=np.concatenate([each.hits for each in found]),
        label_differs=np.concatenate([each.label_differs for each in found]),
        benchmark_rows=np.concatenate([each.benchmark_rows for each in found]),
    )
