"""Arrow columns as plain NumPy values: the same ones however Arrow stores them, and zero where null.

A null slot may hold anything in Arrow's memory; here it holds zero, false or nothing. A value that has no content
digest is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from hokusai.datasets.logical_types import TypeCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hokusai.datasets.logical_types import Field

__all__ = ["fixed_width", "items", "joined", "moments", "plain", "texts", "validity"]

_CANONICAL_NAN = np.frombuffer(bytes.fromhex("000000000000f87f"), dtype="<f8")[0]
_MILLISECONDS_PER_DAY = 86_400_000
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MICROSECONDS = {"s": 10**6, "ms": 10**3, "us": 1}
_LARGEST_I64 = 2**63 - 1
_NARROW_OFFSETS = 2**31 - 1  # Arrow's string and binary hold no more bytes than this in one array


def plain(array: pa.Array) -> pa.Array:
    """Undo the encodings that the other functions of this module do not know."""
    if types.is_dictionary(array.type):
        return plain(array.dictionary_decode())
    if types.is_run_end_encoded(array.type):
        return plain(pc.run_end_decode(array))
    if types.is_string_view(array.type):
        return array.cast(pa.large_string())
    if types.is_binary_view(array.type):
        return array.cast(pa.large_binary())
    return array


def joined(parts: Sequence[pa.Array | pa.ChunkedArray], field: Field, *, copy: bool = False) -> pa.Array:
    """One plain array of all the values, at least one; with ``copy`` it shares no memory with the parts."""
    chunks = (chunk for part in parts for chunk in (part.chunks if isinstance(part, pa.ChunkedArray) else [part]))
    with field.translated():
        arrays = [plain(chunk) for chunk in chunks if len(chunk) > 0]
        if len(arrays) == 1 and not copy:
            return arrays[0]
        wide = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}.get(arrays[0].type)
        if wide is not None and sum(array.nbytes for array in arrays) > _NARROW_OFFSETS:
            arrays = [array.cast(wide) for array in arrays]
        return pa.concat_arrays(arrays)


def _bits(buffer: pa.Buffer, offset: int, rows: int) -> NDArray[np.bool_]:
    if rows == 0:
        return np.zeros(0, dtype=np.bool_)
    skipped = offset % 8
    packed = np.frombuffer(buffer, dtype=np.uint8, count=(skipped + rows + 7) // 8, offset=offset // 8)
    return np.unpackbits(packed, bitorder="little")[skipped : skipped + rows].view(np.bool_)


def validity(array: pa.Array) -> NDArray[np.bool_] | None:
    """Which values are present, shape (rows,); None when all are."""
    if types.is_null(array.type):  # inside a struct, Arrow gives it the struct's bitmap and a wrong count of nulls
        return np.zeros(len(array), dtype=np.bool_) if len(array) else None
    if array.null_count == 0:
        return None
    return _bits(array.buffers()[0], array.offset, len(array))


def _stored(array: pa.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The fixed-width values as Arrow stores them, except that a null slot is zero."""
    buffer = array.buffers()[1]
    if len(array) == 0 or buffer is None:
        return np.zeros(len(array), dtype=dtype)
    values = np.frombuffer(buffer, dtype=dtype, count=len(array), offset=array.offset * dtype.itemsize)
    valid = validity(array)
    if valid is not None:
        # Half the time of np.where, and this is what a digest spends most of its own time on.
        values = values.copy()
        values[~valid] = 0
    return values


def _multiplied(values: NDArray[np.int64], factor: int, field: Field) -> NDArray[np.int64]:
    limit = _LARGEST_I64 // factor
    if len(values) and (int(values.max()) > limit or int(values.min()) < -limit):
        raise field.error(
            "a time is too far from zero to be counted in 64 bits of the digest's unit; "
            f"expected at most {limit} of the column's own units. Mend the value."
        )
    return values * factor


def _integers(array: pa.Array, field: Field) -> NDArray[np.int64]:
    values = _stored(array, np.dtype(array.type.to_pandas_dtype()))
    if values.dtype == np.uint64 and len(values) and int(values.max()) > _LARGEST_I64:
        raise field.error(
            f"got {int(values.max())}, expected no integer above {_LARGEST_I64}. "
            "Declare the column as decimal or string."
        )
    return values.astype("<i8", copy=False)


def _floats(array: pa.Array, *, fold_negative_zero: bool) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a signalling NaN is a value like any other here
        values: NDArray[np.float64] = _stored(array, np.dtype(array.type.to_pandas_dtype())).astype("<f8", copy=False)
        if fold_negative_zero:
            values = values + 0.0
        not_a_number = np.isnan(values)
    if not_a_number.any():
        values = np.where(not_a_number, _CANONICAL_NAN, values)
    return values


def _days(array: pa.Array, field: Field) -> NDArray[np.int32]:
    if types.is_date32(array.type):
        return _stored(array, np.dtype("i4")).astype("<i4", copy=False)
    days, rest = np.divmod(_stored(array, np.dtype("i8")), _MILLISECONDS_PER_DAY)
    if rest.any():
        raise field.error("a date has a time of day, expected whole days. Declare the column as timestamp.")
    if len(days) and (int(days.max()) > 2**31 - 1 or int(days.min()) < -(2**31)):
        raise field.error("a date is too far from 1970 to be counted in 32 bits of days. Mend the value.")
    return days.astype("<i4")


def _decimals(array: pa.Array, field: Field) -> NDArray[np.void]:
    if not types.is_decimal128(array.type):
        try:
            array = array.cast(pa.decimal128(38, array.type.scale))
        except pa.ArrowInvalid as error:
            raise field.error(
                f"a value of type {array.type} has more than 38 digits, expected at most 38. "
                "Round it, or declare the column as string."
            ) from error
    words = _stored(array, np.dtype([("low", "u8"), ("high", "i8")]))
    return words.astype([("low", "<u8"), ("high", "<i8")], copy=False).view("V16")


def fixed_width(array: pa.Array, field: Field, *, fold_negative_zero: bool) -> NDArray[Any]:
    """The values of a type of fixed width other than a moment, shape (rows,)."""
    match field.code:
        case TypeCode.BOOL:
            valid = validity(array)
            bits = _bits(array.buffers()[1], array.offset, len(array))
            return bits if valid is None else bits & valid
        case TypeCode.INT:
            return _integers(array, field)
        case TypeCode.FLOAT:
            return _floats(array, fold_negative_zero=fold_negative_zero)
        case TypeCode.DATE:
            return _days(array, field)
        case TypeCode.TIME:
            width = np.dtype(f"i{array.type.bit_width // 8}")
            return _multiplied(_stored(array, width).astype("<i8", copy=False), _NANOSECONDS[array.type.unit], field)
        case _:
            return _decimals(array, field)


def moments(array: pa.Array, field: Field) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """Timestamps and durations: microseconds, rounded down, and the nanoseconds above them; both of shape (rows,)."""
    values = _stored(array, np.dtype("i8")).astype("<i8", copy=False)
    if array.type.unit == "ns":
        microseconds, nanoseconds = np.divmod(values, 1000)
        return microseconds, nanoseconds.astype("<u2")
    return _multiplied(values, _MICROSECONDS[array.type.unit], field), np.zeros(len(values), dtype="<u2")


def texts(array: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Strings and binaries: bytes per value, shape (rows,), and the bytes of all values, shape (sum of them,)."""
    array = plain(array)
    if len(array) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    if types.is_fixed_size_binary(array.type):
        width = array.type.byte_width
        offsets = (array.offset + np.arange(len(array) + 1, dtype=np.int64)) * width
    else:
        narrow = types.is_string(array.type) or types.is_binary(array.type)
        dtype = np.dtype("i4" if narrow else "i8")
        start = array.offset * dtype.itemsize
        offsets = np.frombuffer(array.buffers()[1], dtype=dtype, count=len(array) + 1, offset=start)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.zeros(0, dtype=np.uint8)
    if last > first:
        data = np.frombuffer(array.buffers()[-1], dtype=np.uint8, count=last - first, offset=first)
    lengths = np.diff(offsets).astype(np.int64)
    valid = validity(array)
    if valid is None:
        return lengths, data
    missing = ~valid
    if lengths[missing].any():  # bytes lie under a null
        data = data[np.repeat(valid, lengths)]
        lengths[missing] = 0
    return lengths, data


def items(array: pa.Array, field: Field) -> tuple[NDArray[np.int64], list[pa.Array]]:
    """Entries per list or map, shape (rows,), and the entries of all of them, one array per child."""
    if field.code is TypeCode.MAP:
        # The same buffers under another type: Arrow's cast loses entries of maps that hold maps.
        entry = array.values
        buffers = array.buffers()[:2]
        array = pa.Array.from_buffers(pa.list_(entry.type), len(array), buffers, offset=array.offset, children=[entry])
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    entries = pc.list_flatten(array)
    return lengths, entries.flatten() if field.code is TypeCode.MAP else [entries]
