"""What a table looks like, column by column: counts, extremes, quantiles, the most frequent values.

A profile is made batch by batch in bounded memory and does not depend on how the table was cut (but for the last digits
of a mean).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from hokusai.datasets.contract_checks import type_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hokusai.datasets.contract import ContractValue

__all__ = ["ColumnProfile", "ProfileBuilder", "QualityProfile", "ValueCount", "profile_table"]

_MOST_CLASSES = 100  # integers with more values are a quantity, not a class
_DISTINCT_BOUND = 1_000
_TOP_VALUES = 5
_SAMPLE_ROWS = 32_768
_HEAD_ROWS = 10_000
_IDENTIFIER_ROWS = 50  # of so many rows, all different, none is likely to be a category or a count
_IDENTIFIER_LENGTH = 64  # longer texts are prose, which never repeats either


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueCount:
    """A value, and how many rows hold it.

    Attributes:
        value: The value.
        rows: How many rows hold it.
        first_row: The first of them, counted from 1 without the header.
    """

    value: ContractValue
    rows: int
    first_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """What one column looks like.

    Attributes:
        name: The column's name.
        type: Its type, in a contract's word where there is one, else in Arrow's; ``null`` for a column without values.
        rows: Number of rows.
        nulls: How many of them have no value.
        distinct: Number of different values; ``more than`` 1,000 are not counted on.
        distinct_is_exact: False when there are more than ``distinct``.
        values: Texts, booleans and integers by frequency, then by value; empty when ``distinct`` is not exact, and for
            other types.
        minimum: The smallest value, of numbers, dates and times.
        maximum: The largest one.
        mean: The mean of numbers.
        quantiles: Of numbers at 5, 25, 50, 75 and 95 per cent, exact up to 32,768 rows and of a fixed sample of the
            rows beyond.
        is_identifier: Whether no value came twice in the first 10,000 rows of a column that could name rows.
        sample: Numbers of that sample of the rows, for comparing distributions.
    """

    name: str
    type: str
    rows: int
    nulls: int
    distinct: int
    distinct_is_exact: bool
    values: tuple[ValueCount, ...] = ()
    minimum: ContractValue | None = None
    maximum: ContractValue | None = None
    mean: float | None = None
    quantiles: tuple[float, ...] = ()
    is_identifier: bool = False
    sample: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), compare=False, repr=False)

    @property
    def missing(self) -> float:
        """The fraction of the rows without a value."""
        return self.nulls / self.rows if self.rows else 0.0

    @property
    def top_values(self) -> tuple[ValueCount, ...]:
        """The five most frequent values."""
        return self.values[:_TOP_VALUES]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityProfile:
    """What a table looks like.

    Attributes:
        rows: Number of rows.
        columns: Every column, in the table's order.
        label: The column to predict, or None.
    """

    rows: int
    columns: tuple[ColumnProfile, ...]
    label: str | None = None

    def column(self, name: str) -> ColumnProfile | None:
        """The column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def label_counts(self) -> tuple[ValueCount, ...]:
        """Rows by label, when the label is a class: a text, a boolean, or one of at most 100 integers."""
        label = None if self.label is None else self.column(self.label)
        if label is None or not label.distinct_is_exact:
            return ()
        return () if label.type == "int" and label.distinct > _MOST_CLASSES else label.values


class ProfileBuilder:
    """Profiles a table that arrives in batches.

    Args:
        label: The column to predict, or None.
    """

    def __init__(self, *, label: str | None = None) -> None:
        self._label = label
        self._rows = 0
        self._columns: dict[str, _ColumnBuilder] = {}
        self._sample = _RowSample()

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Take in the next rows; every batch must have the columns of the first one."""
        if not self._columns:
            self._columns = {own.name: _ColumnBuilder(own.name, own.type) for own in batch.schema}
        for part in batch.to_batches() if isinstance(batch, pa.Table) else [batch]:
            taken = self._sample.take(self._rows, part.num_rows)
            for name, column in self._columns.items():
                column.update(part.column(name), offset=self._rows, taken=taken)
            self._rows += part.num_rows

    def profile(self) -> QualityProfile:
        """The profile of all rows so far."""
        kept = self._sample.kept()
        columns = tuple(column.profile(self._rows, kept=kept) for column in self._columns.values())
        return QualityProfile(rows=self._rows, columns=columns, label=self._label)


def profile_table(table: pa.Table, *, label: str | None = None) -> QualityProfile:
    """The profile of a table that is in memory."""
    builder = ProfileBuilder(label=label)
    builder.update(table)
    return builder.profile()


class _RowSample:
    """Chooses rows by a hash of their numbers: the same ones however the table is cut, and no pattern meets them."""

    def __init__(self) -> None:
        self._threshold = 2**64 - 1
        self._hashes: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)

    def take(self, start: int, rows: int) -> NDArray[np.intp]:
        """Positions in a batch of the rows to keep for now."""
        hashes = _mixed(np.arange(start, start + rows, dtype=np.uint64))
        taken = np.flatnonzero(hashes <= np.uint64(self._threshold))
        self._hashes = np.concatenate((self._hashes, hashes[taken]))
        while np.count_nonzero(self._hashes <= np.uint64(self._threshold)) > _SAMPLE_ROWS:
            self._threshold //= 2
        return taken

    def kept(self) -> NDArray[np.bool_]:
        """Which of all the rows that were taken are still in the sample."""
        return np.less_equal(self._hashes, np.uint64(self._threshold))


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): neighbours become unrelated."""
    mixed = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class _ColumnBuilder:
    """What a profile needs to know of one column, while batches arrive."""

    def __init__(self, name: str, data_type: pa.DataType) -> None:
        self._name = name
        self._type = "null" if types.is_null(data_type) else type_of(data_type) or str(data_type)
        self._is_number = self._type in ("int", "float") or self._type.startswith("decimal(")
        self._is_counted = type_of(data_type) is not None
        self._counts: dict[Any, list[int]] | None = {}
        self._nulls = 0
        self._sum = 0.0
        self._extremes: list[Any] = []
        self._sampled: list[NDArray[np.float64]] = []
        self._head: list[pa.Array] = []

    def update(self, array: pa.Array, *, offset: int, taken: NDArray[np.intp]) -> None:
        if types.is_dictionary(array.type):
            array = array.dictionary_decode()
        self._nulls += array.null_count
        if offset < _HEAD_ROWS and self._type in ("int", "string"):
            self._head.append(array.slice(0, _HEAD_ROWS - offset))
        if self._is_number:
            numbers = array.cast(pa.float64(), safe=False)
            self._sum += pc.sum(numbers).as_py() or 0.0
            self._sampled.append(numbers.take(pa.array(taken)).to_numpy(zero_copy_only=False))
        if self._is_number or self._type in ("date", "timestamp", "timestamp_utc"):
            seen = pc.min_max(array)
            self._extremes += [value.as_py() for value in (seen["min"], seen["max"]) if value.is_valid]
            self._extremes = [min(self._extremes), max(self._extremes)] if self._extremes else []
        if self._counts is not None and self._is_counted:
            self._counts = self._counted(self._counts, array, offset=offset)

    def _counted(self, counts: dict[Any, list[int]], array: pa.Array, *, offset: int) -> dict[Any, list[int]] | None:
        """The counts with those of the next values added, or None when there are too many different ones."""
        counted = pc.value_counts(array.drop_null())
        if len(counted) > _DISTINCT_BOUND:
            return None
        for value, rows in zip(counted.field("values"), counted.field("counts").to_pylist(), strict=True):
            plain = value.as_py()
            if plain in counts:
                counts[plain][0] += rows
            else:
                first = pc.index(array, value).as_py() if self._type in ("string", "bool", "int") else 0
                counts[plain] = [rows, offset + first + 1]
        return counts if len(counts) <= _DISTINCT_BOUND else None

    def profile(self, rows: int, *, kept: NDArray[np.bool_]) -> ColumnProfile:
        sample = np.empty(0)
        if self._sampled:
            sample = np.concatenate(self._sampled)[kept]
            sample = sample[np.isfinite(sample)]
        values: tuple[ValueCount, ...] = ()
        if self._counts and self._type in ("string", "bool", "int"):
            ordered = sorted(self._counts.items(), key=lambda item: (-item[1][0], item[0]))
            values = tuple(ValueCount(value=value, rows=count, first_row=first) for value, (count, first) in ordered)
        present = rows - self._nulls
        return ColumnProfile(
            name=self._name,
            type=self._type,
            rows=rows,
            nulls=self._nulls,
            distinct=_DISTINCT_BOUND if self._counts is None else len(self._counts),
            distinct_is_exact=self._counts is not None and self._is_counted,
            values=values,
            minimum=self._extremes[0] if self._extremes else None,
            maximum=self._extremes[1] if self._extremes else None,
            mean=self._sum / present if self._is_number and present else None,
            quantiles=tuple(np.quantile(sample, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()) if len(sample) else (),
            is_identifier=self._is_identifier(),
            sample=sample,
        )

    def _is_identifier(self) -> bool:
        """Whether no value of the head comes twice. Integers that only fit one another closely are counts or codes."""
        if not self._head:
            return False
        head = pa.chunked_array(self._head).drop_null()
        if len(head) < _IDENTIFIER_ROWS or pc.count_distinct(head).as_py() < len(head):
            return False
        if self._type == "int":
            return True
        return bool(pc.max(pc.utf8_length(head)).as_py() <= _IDENTIFIER_LENGTH)
