"""Columns of any plain type as numbers in standard deviations, or as categories, for comparing rows with tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from hokusai.datasets.arrow_values import plain
from hokusai.datasets.word_hashes import words_of
from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Column = NDArray[np.float32] | NDArray[np.uint64]

__all__ = ["MixedColumns", "Values", "is_text", "one_array", "spread"]

_ROWS_AT_ONCE = 1 << 16
_FARTHEST = 1e9  # standard deviations: beyond it all values are one
_TAIL = 0.001  # of the values at either end may not widen the standard deviation


@dataclass(frozen=True, slots=True)
class Values:
    """The same columns of one table: float32 for numbers (NaN where missing), uint64 for categories (0 where missing).

    Attributes:
        columns: One array of shape (rows,) per column.
        rows: How many rows there are.
    """

    columns: tuple[Column, ...]
    rows: int

    def __len__(self) -> int:
        """How many rows there are."""
        return self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """How the numbers of a column become standard deviations from its middle; None for a category."""

    middle: float
    deviation: float


class MixedColumns:
    """How to encode some columns, measured on a table in which they vary.

    Attributes:
        names: The columns that vary there; one without variation could tell nothing.
    """

    def __init__(self, table: pa.Table, *, names: Sequence[str]) -> None:
        """Measure the columns of ``table``; those of other than plain types are left out."""
        self._scales: dict[str, _Scale | None] = {}
        for name in names:
            array = one_array(table, name)
            if _is_number(array.type):
                scale = _scale_of(_numbers(array))
                if scale is not None:
                    self._scales[name] = scale
            elif _is_plain(array.type) and len(np.unique(_categories(array))) > 1:
                self._scales[name] = None
        self.names = tuple(self._scales)

    def __len__(self) -> int:
        """How many columns there are."""
        return len(self.names)

    @property
    def numbers(self) -> int:
        """How many of the columns are numbers."""
        return sum(scale is not None for scale in self._scales.values())

    def encode(self, table: pa.Table, *, source: str = "table") -> Values:
        """Encode the columns of a table of the same columns and kinds.

        Raises:
            DataError: A column is of another kind than where it was measured.
        """
        encoded: list[Column] = []
        for name, scale in self._scales.items():
            parts = [np.zeros(0, dtype=np.uint64 if scale is None else np.float32)]
            for start in range(0, table.num_rows, _ROWS_AT_ONCE):
                array = one_array(table.slice(start, _ROWS_AT_ONCE), name)
                parts.append(_encoded(array, scale, name=name, source=source))
            encoded.append(np.concatenate(parts))
        return Values(tuple(encoded), table.num_rows)


def is_text(data_type: pa.DataType) -> bool:
    """Whether a plain array of this type holds strings."""
    return bool(types.is_string(data_type) or types.is_large_string(data_type))


def _is_plain(data_type: pa.DataType) -> bool:
    """Whether a column of this type can be compared: numbers, moments, booleans, strings."""
    if types.is_dictionary(data_type):
        return _is_plain(data_type.value_type)
    return bool(_is_number(data_type) or types.is_boolean(data_type) or is_text(data_type))


def one_array(table: pa.Table, name: str) -> pa.Array:
    """One column as one plain array."""
    chunks = [plain(chunk) for chunk in table.column(name).chunks]
    if not chunks:
        return plain(pa.nulls(0, table.schema.field(name).type))
    if len(chunks) > 1 and types.is_string(chunks[0].type):  # together they may pass 2 GiB
        chunks = [chunk.cast(pa.large_string()) for chunk in chunks]
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def spread(values: NDArray[Any], most: int) -> NDArray[Any]:
    """At most so many of the values, evenly spread over the rows."""
    return values if len(values) <= most else values[np.arange(most) * len(values) // most]


def _is_number(data_type: pa.DataType) -> bool:
    return bool(
        types.is_integer(data_type)
        or types.is_floating(data_type)
        or types.is_decimal(data_type)
        or (types.is_temporal(data_type) and not types.is_interval(data_type))
    )


def _encoded(array: pa.Array, scale: _Scale | None, *, name: str, source: str) -> Column:
    if scale is None:
        if types.is_null(array.type):
            return np.zeros(len(array), dtype=np.uint64)
        if is_text(array.type) or types.is_boolean(array.type):
            return _categories(array)
    elif _is_number(array.type) or types.is_null(array.type):
        numbers = (_numbers(array) - scale.middle) / scale.deviation
        return np.clip(numbers, -_FARTHEST, _FARTHEST).astype(np.float32)
    expected = "texts or booleans" if scale is None else "numbers"
    raise DataError(source, f"column {name!r} is of type {array.type}, expected {expected} as in the benchmark.")


def _numbers(array: pa.Array) -> NDArray[np.float64]:
    """The values, NaN where there is none or it is not finite."""
    if types.is_null(array.type):
        return np.full(len(array), np.nan)
    if types.is_temporal(array.type):
        array = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())
    values = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.where(np.isfinite(values), values, np.nan)


def _categories(array: pa.Array) -> NDArray[np.uint64]:
    """A number for each value other than zero, which means missing; texts are equal when their words are."""
    if types.is_boolean(array.type):
        codes = pc.if_else(array, pa.scalar(2, pa.uint64()), pa.scalar(1, pa.uint64()))
        known = pc.fill_null(codes, pa.scalar(0, pa.uint64()))
        return np.asarray(known.to_numpy(zero_copy_only=False), dtype=np.uint64)
    hashes = words_of(array).text_hashes | np.uint64(1)
    hashes[array.is_null().to_numpy(zero_copy_only=False)] = 0
    return hashes


def _scale_of(values: NDArray[np.float64]) -> _Scale | None:
    """The middle and the standard deviation, both without the outermost values where the rest varies."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    inner = np.clip(values, *np.quantile(values, [_TAIL, 1 - _TAIL]))
    with np.errstate(over="ignore"):
        deviation = float(inner.std()) or float(values.std())
    return _Scale(middle=float(np.median(values)), deviation=deviation) if 0 < deviation < np.inf else None
