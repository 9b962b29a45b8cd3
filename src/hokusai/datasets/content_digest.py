"""The digest of a table's content: TABHASH v1, as ``docs/formats/content-digest.md`` lays it down byte by byte.

Two tables have one digest when they have the same columns, of the same logical types, with the same values in the
same order of rows. How the values are stored (batches, slices, dictionaries, wide or narrow integers, what lies
under a null) is not content. Nothing here opens a file, and nothing is approximate.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = [
    "ColumnOrder",
    "ContentDigester",
    "contained_in",
    "content_digest",
    "first_occurrences",
    "multiset_digest",
    "row_digests",
]

ColumnOrder = Literal["name", "table"]

_CHUNK_ROWS = 1 << 16
_SHA256 = 1
_ORDER_FLAG: dict[ColumnOrder, int] = {"name": 0, "table": 1}
_HAS_NULLS, _HAS_NANOSECONDS = 1, 2
_CANONICAL_NAN = np.frombuffer(bytes.fromhex("000000000000f87f"), dtype="<f8")[0]
_MILLISECONDS_PER_DAY = 86_400_000
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MICROSECONDS = {"s": 10**6, "ms": 10**3, "us": 1}
_LARGEST_I64 = 2**63 - 1
_LARGEST_U32 = 2**32 - 1
_NARROW_OFFSETS = 2**31 - 1  # Arrow's string and binary hold no more bytes than this in one array


class _Code(IntEnum):
    """The first byte of a type's encoding."""

    NULL = 0x00
    BOOL = 0x01
    INT = 0x02
    FLOAT = 0x03
    STRING = 0x04
    BINARY = 0x05
    DATE = 0x06
    TIME = 0x07
    LOCAL = 0x08
    INSTANT = 0x09
    DURATION = 0x0A
    DECIMAL = 0x0B
    LIST = 0x0C
    STRUCT = 0x0D
    MAP = 0x0E


_TEXT = (_Code.STRING, _Code.BINARY)
_MOMENTS = (_Code.LOCAL, _Code.INSTANT, _Code.DURATION)
_ROW_DTYPES = {
    _Code.BOOL: "u1",
    _Code.INT: "<i8",
    _Code.FLOAT: "<f8",
    _Code.DATE: "<i4",
    _Code.TIME: "<i8",
    _Code.DECIMAL: "V16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A column, or a part of a nested one, as the digest sees it.

    Attributes:
        source: The table, for messages.
        column: The top-level column, for messages.
        code: The logical type.
        encoding: The whole type encoding, children included.
        position: Where Arrow keeps it: the column's, or the struct member's, place.
        children: A list's item, a map's key and value, a struct's members sorted by name.
    """

    source: str
    column: str
    code: _Code
    encoding: bytes
    position: int = 0
    children: tuple[_Field, ...] = ()

    def error(self, problem: str) -> DataError:
        """The error that says what is wrong with this column."""
        return DataError(self.source, f"column {self.column!r}: {problem}")

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what Arrow raises while it unpacks this column into our error."""
        try:
            yield
        except pa.ArrowException as error:
            problem = f"Arrow cannot unpack it: {error}. Validate the table with validate(full=True)."
            raise self.error(problem) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Bytes of several segments, one segment after the other.

    Attributes:
        data: Shape (bytes,).
        sizes: Shape (segments,): how many of the bytes belong to each segment.
    """

    data: NDArray[np.uint8]
    sizes: NDArray[np.int64]


# --- types ---------------------------------------------------------------------------------------------------------


def _prefixed(name: str) -> bytes:
    text = name.encode()
    return struct.pack("<I", len(text)) + text


def _scalar_code(data_type: pa.DataType) -> _Code | None:
    recognised = (
        (types.is_null, _Code.NULL),
        (types.is_boolean, _Code.BOOL),
        (types.is_integer, _Code.INT),
        (types.is_floating, _Code.FLOAT),
        (types.is_string, _Code.STRING),
        (types.is_large_string, _Code.STRING),
        (types.is_string_view, _Code.STRING),
        (types.is_binary, _Code.BINARY),
        (types.is_large_binary, _Code.BINARY),
        (types.is_binary_view, _Code.BINARY),
        (types.is_fixed_size_binary, _Code.BINARY),
        (types.is_date, _Code.DATE),
        (types.is_time, _Code.TIME),
        (types.is_duration, _Code.DURATION),
    )
    for predicate, code in recognised:
        if predicate(data_type):
            return code
    if types.is_timestamp(data_type):
        return _Code.LOCAL if data_type.tz is None else _Code.INSTANT
    return None


def _is_list(data_type: pa.DataType) -> bool:
    return bool(
        types.is_list(data_type)
        or types.is_large_list(data_type)
        or types.is_fixed_size_list(data_type)
        or types.is_list_view(data_type)
        or types.is_large_list_view(data_type)
    )


def _field(data_type: pa.DataType, *, column: str, source: str, position: int = 0) -> _Field:
    def inner(inner_type: pa.DataType, at: int = 0) -> _Field:
        return _field(inner_type, column=column, source=source, position=at)

    def made(code: _Code, parameters: bytes = b"", children: tuple[_Field, ...] = ()) -> _Field:
        encoding = bytes([code]) + parameters
        return _Field(source=source, column=column, code=code, encoding=encoding, position=position, children=children)

    if types.is_dictionary(data_type) or types.is_run_end_encoded(data_type):
        return inner(data_type.value_type, position)
    if (code := _scalar_code(data_type)) is not None:
        return made(code)
    if types.is_decimal(data_type) and -128 <= data_type.scale <= 127:
        return made(_Code.DECIMAL, struct.pack("<b", data_type.scale))
    if _is_list(data_type):
        item = inner(data_type.value_type)
        return made(_Code.LIST, item.encoding, (item,))
    if types.is_map(data_type):
        pair = (inner(data_type.key_type), inner(data_type.item_type))
        return made(_Code.MAP, pair[0].encoding + pair[1].encoding, pair)
    if types.is_struct(data_type):
        names = [member.name for member in data_type]
        order = _sorted_positions(names, source=source, owner=f"column {column!r}: its struct")
        members = tuple(inner(data_type[at].type, at) for at in order)
        encoded = b"".join(_prefixed(names[member.position]) + member.encoding for member in members)
        return made(_Code.STRUCT, struct.pack("<I", len(members)) + encoded, members)
    raise DataError(
        source,
        f"column {column!r}: type {data_type} has no content digest; expected null, bool, integer, float, string, "
        "binary, date, time, timestamp, duration, decimal, or a list, struct or map of these. "
        "Cast the column, or leave it out.",
    )


def _sorted_positions(names: Sequence[str], *, source: str, owner: str) -> list[int]:
    repeated = [repr(name) for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            source,
            f"{owner} has more than one field called {', '.join(repeated)}, expected distinct names. Rename them.",
        )
    return sorted(range(len(names)), key=lambda position: names[position].encode())


def _fields(schema: pa.Schema, *, column_order: ColumnOrder, source: str) -> tuple[_Field, ...]:
    if column_order not in _ORDER_FLAG:
        raise ValueError(f'column_order is {column_order!r}, expected "name" or "table".')
    by_name = _sorted_positions(schema.names, source=source, owner="the table")
    order: Iterable[int] = by_name if column_order == "name" else range(len(schema.names))
    return tuple(_field(schema.types[at], column=schema.names[at], source=source, position=at) for at in order)


def _encoded_schema(fields: Sequence[_Field]) -> bytes:
    columns = b"".join(_prefixed(field.column) + field.encoding for field in fields)
    return struct.pack("<I", len(fields)) + columns


# --- from Arrow's buffers to plain values, zero where null -----------------------------------------------------------


def _plain(array: pa.Array) -> pa.Array:
    """Undo the encodings that the readers of buffers below do not know."""
    if types.is_dictionary(array.type):
        return _plain(array.dictionary_decode())
    if types.is_run_end_encoded(array.type):
        return _plain(pc.run_end_decode(array))
    if types.is_string_view(array.type):
        return array.cast(pa.large_string())
    if types.is_binary_view(array.type):
        return array.cast(pa.large_binary())
    return array


def _joined(parts: Sequence[pa.Array | pa.ChunkedArray], field: _Field, *, copy: bool = False) -> pa.Array:
    """One plain array of all the values, at least one; with ``copy`` it shares no memory with the parts."""
    chunks = (chunk for part in parts for chunk in (part.chunks if isinstance(part, pa.ChunkedArray) else [part]))
    with field.translated():
        arrays = [_plain(chunk) for chunk in chunks if len(chunk) > 0]
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


def _validity(array: pa.Array) -> NDArray[np.bool_] | None:
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
    valid = _validity(array)
    if valid is not None:
        values = np.where(valid, values, np.zeros((), dtype=dtype))
    return values


def _multiplied(values: NDArray[np.int64], factor: int, field: _Field) -> NDArray[np.int64]:
    limit = _LARGEST_I64 // factor
    if len(values) and (int(values.max()) > limit or int(values.min()) < -limit):
        raise field.error(
            "a time is too far from zero to be counted in 64 bits of the digest's unit; "
            f"expected at most {limit} of the column's own units. Mend the value."
        )
    return values * factor


def _integers(array: pa.Array, field: _Field) -> NDArray[np.int64]:
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


def _days(array: pa.Array, field: _Field) -> NDArray[np.int32]:
    if types.is_date32(array.type):
        return _stored(array, np.dtype("i4")).astype("<i4", copy=False)
    days, rest = np.divmod(_stored(array, np.dtype("i8")), _MILLISECONDS_PER_DAY)
    if rest.any():
        raise field.error("a date has a time of day, expected whole days. Declare the column as timestamp.")
    if len(days) and (int(days.max()) > 2**31 - 1 or int(days.min()) < -(2**31)):
        raise field.error("a date is too far from 1970 to be counted in 32 bits of days. Mend the value.")
    return days.astype("<i4")


def _decimals(array: pa.Array, field: _Field) -> NDArray[np.void]:
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


def _fixed(array: pa.Array, field: _Field, *, fold_negative_zero: bool) -> NDArray[Any]:
    """One value of fixed width per row, shape (rows,)."""
    match field.code:
        case _Code.BOOL:
            valid = _validity(array)
            bits = _bits(array.buffers()[1], array.offset, len(array))
            return bits if valid is None else bits & valid
        case _Code.INT:
            return _integers(array, field)
        case _Code.FLOAT:
            return _floats(array, fold_negative_zero=fold_negative_zero)
        case _Code.DATE:
            return _days(array, field)
        case _Code.TIME:
            width = np.dtype(f"i{array.type.bit_width // 8}")
            return _multiplied(_stored(array, width).astype("<i8", copy=False), _NANOSECONDS[array.type.unit], field)
        case _:
            return _decimals(array, field)


def _moments(array: pa.Array, field: _Field) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """Microseconds, rounded down, and the nanoseconds above them; both of shape (rows,)."""
    values = _stored(array, np.dtype("i8")).astype("<i8", copy=False)
    if array.type.unit == "ns":
        microseconds, nanoseconds = np.divmod(values, 1000)
        return microseconds, nanoseconds.astype("<u2")
    return _multiplied(values, _MICROSECONDS[array.type.unit], field), np.zeros(len(values), dtype="<u2")


def _texts(array: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Bytes per value, shape (rows,), and the bytes of all values, shape (sum of them,)."""
    array = _plain(array)
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
    valid = _validity(array)
    if valid is None:
        return lengths, data
    present = lengths * valid
    if int(present.sum()) != len(data):  # bytes lie under a null
        data = data[np.repeat(valid, lengths)]
    return present, data


def _items(array: pa.Array, field: _Field) -> tuple[NDArray[np.int64], list[pa.Array]]:
    """Entries per list or map, shape (rows,), and the entries of all of them, one array per child."""
    if field.code is _Code.MAP:
        # The same buffers under another type: Arrow's cast loses entries of maps that hold maps.
        entry = array.values
        buffers = array.buffers()[:2]
        array = pa.Array.from_buffers(pa.list_(entry.type), len(array), buffers, offset=array.offset, children=[entry])
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    entries = pc.list_flatten(array)
    return lengths, entries.flatten() if field.code is _Code.MAP else [entries]


# --- from plain values to the bytes that are hashed -------------------------------------------------------------------


def _bytes_of(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values).view(np.uint8).reshape(-1)


def _as_u32(lengths: NDArray[np.int64], field: _Field) -> NDArray[np.uint32]:
    if len(lengths) and int(lengths.max()) > _LARGEST_U32:
        raise field.error(f"one value has length {int(lengths.max())}, expected at most {_LARGEST_U32}. Split it.")
    return lengths.astype("<u4")


def _summed(lengths: NDArray[np.int64], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Running totals of the lengths at the bounds of the segments, shape (segments + 1,)."""
    if len(bounds) == 2:
        return np.array([0, lengths.sum()], dtype=np.int64)
    totals = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    return totals[bounds]


def _counted(marks: NDArray[np.bool_], bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many marks stand in each segment, shape (segments,)."""
    if len(bounds) == 2:
        return np.array([np.count_nonzero(marks)], dtype=np.int64)
    return np.diff(_summed(marks.astype(np.int64), bounds))


def _bitmaps(bits: NDArray[np.bool_], bounds: NDArray[np.int64]) -> _Piece:
    """One bitmap per segment, each padded to whole bytes."""
    counts = np.diff(bounds)
    sizes = (counts + 7) // 8
    if len(counts) == 1:
        return _Piece(data=np.packbits(bits, bitorder="little"), sizes=sizes)
    padding_before = np.cumsum(sizes * 8) - sizes * 8 - bounds[:-1]
    spread = np.zeros(int(sizes.sum()) * 8, dtype=np.bool_)
    spread[np.arange(len(bits)) + np.repeat(padding_before, counts)] = bits
    return _Piece(data=np.packbits(spread, bitorder="little"), sizes=sizes)


def _kept(piece: _Piece, segments: NDArray[np.bool_]) -> _Piece:
    """The piece without the bytes of the other segments."""
    if segments.all():
        return piece
    return _Piece(data=piece.data[np.repeat(segments, piece.sizes)], sizes=piece.sizes * segments)


def _body(
    array: pa.Array, field: _Field, bounds: NDArray[np.int64], *, fold_negative_zero: bool = False
) -> list[_Piece]:
    """The body of every segment of a column, in pieces.

    A chunk is hashed as one segment. In a row, the nested value of each row is a segment of its own.

    Args:
        array: The values.
        field: Their logical type.
        bounds: Shape (segments + 1,), from 0 to the number of values: where each segment begins and the last one ends.
        fold_negative_zero: Whether -0.0 is written as 0.0.

    Returns:
        The pieces; a segment's body is its bytes of the first piece, then its bytes of the second, and so on.
    """
    array = _plain(array)
    counts = np.diff(bounds)
    flags = np.zeros(len(counts), dtype=np.uint8)
    pieces = [_Piece(data=flags, sizes=np.ones(len(counts), dtype=np.int64))]
    valid = _validity(array)
    if valid is not None:
        with_nulls = _counted(~valid, bounds) > 0
        flags |= with_nulls.astype(np.uint8) * np.uint8(_HAS_NULLS)
        pieces.append(_kept(_bitmaps(valid, bounds), with_nulls))
    if field.code is _Code.NULL:
        return pieces
    if field.code in _MOMENTS:
        microseconds, nanoseconds = _moments(array, field)
        pieces.append(_Piece(data=_bytes_of(microseconds), sizes=counts * 8))
        if nanoseconds.any():
            with_nanoseconds = _counted(nanoseconds != 0, bounds) > 0
            flags |= with_nanoseconds.astype(np.uint8) * np.uint8(_HAS_NANOSECONDS)
            pieces.append(_kept(_Piece(data=_bytes_of(nanoseconds), sizes=counts * 2), with_nanoseconds))
    elif field.code in _TEXT:
        lengths, data = _texts(array)
        pieces.append(_Piece(data=_bytes_of(_as_u32(lengths, field)), sizes=counts * 4))
        pieces.append(_Piece(data=data, sizes=np.diff(_summed(lengths, bounds))))
    elif field.children or field.code is _Code.STRUCT:
        pieces += _nested_pieces(array, field, bounds, fold_negative_zero=fold_negative_zero)
    else:
        values = _fixed(array, field, fold_negative_zero=fold_negative_zero)
        if field.code is _Code.BOOL:
            pieces.append(_bitmaps(values, bounds))
        else:
            pieces.append(_Piece(data=_bytes_of(values), sizes=counts * values.dtype.itemsize))
    return pieces


def _nested_pieces(
    array: pa.Array, field: _Field, bounds: NDArray[np.int64], *, fold_negative_zero: bool
) -> list[_Piece]:
    pieces = []
    if field.code is _Code.STRUCT:
        members = array.flatten()
        entries = [members[child.position] for child in field.children]
    else:
        lengths, entries = _items(array, field)
        pieces.append(_Piece(data=_bytes_of(_as_u32(lengths, field)), sizes=np.diff(bounds) * 4))
        bounds = _summed(lengths, bounds)
    for child, values in zip(field.children, entries, strict=True):
        pieces += _body(values, child, bounds, fold_negative_zero=fold_negative_zero)
    return pieces


def _leaf(array: pa.Array, field: _Field) -> bytes:
    digest = hashlib.sha256(b"\x00" + field.encoding + struct.pack("<I", len(array)))
    with field.translated():
        pieces = _body(array, field, np.array([0, len(array)]))
    for piece in pieces:
        digest.update(piece.data.data)
    return digest.digest()


def _tree_root(chunks: Sequence[bytes]) -> bytes:
    """The root of RFC 6962's tree over chunk digests."""
    if not chunks:
        return hashlib.sha256().digest()
    if len(chunks) == 1:
        return chunks[0]
    split = 1 << ((len(chunks) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + _tree_root(chunks[:split]) + _tree_root(chunks[split:])).digest()


def _digest_header(tag: bytes, flags: int, chunk_log2: int, rows: int, schema: bytes) -> bytes:
    return tag + struct.pack("<BBBQI", _SHA256, flags, chunk_log2, rows, len(schema)) + schema


# --- whole tables -----------------------------------------------------------------------------------------------------


class ContentDigester:
    """Digests a table that arrives in batches, holding at most one chunk of 65,536 rows.

    The digest depends on the rows and their order, never on where one batch ends and the next begins.

    >>> digester = ContentDigester(pa.schema([("a", pa.int8())]))
    >>> digester.update(pa.record_batch({"a": pa.array([1], pa.int8())}))
    >>> digester.hexdigest()[:16]
    'ec569f2252c33315'
    """

    def __init__(self, schema: pa.Schema, *, column_order: ColumnOrder = "name", source: str = "table") -> None:
        """Start with no rows.

        Args:
            schema: The columns; every batch must have exactly these names and types, in this order.
            column_order: ``"name"`` when the order of the columns is not content, ``"table"`` when it is.
            source: What error messages call the table.

        Raises:
            DataError: Two columns share a name, or a column's type has no content digest.
            ValueError: ``column_order`` is neither of the two.
        """
        self._fields = _fields(schema, column_order=column_order, source=source)
        self._flags = _ORDER_FLAG[column_order]
        self._schema = schema
        self._source = source
        self._rows = 0
        self._chunks: list[bytes] = []
        self._pending: list[list[pa.Array]] = []
        self._pending_rows = 0

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append the rows of a batch; after an error the digester is of no further use.

        Args:
            batch: Any number of rows, none included.

        Raises:
            DataError: The batch's columns are not those of the schema, or a value has no content digest.
        """
        if batch.schema.names != self._schema.names or batch.schema.types != self._schema.types:
            got, expected = (
                ", ".join(f"{field.name}: {field.type}" for field in schema) for schema in (batch.schema, self._schema)
            )
            raise DataError(self._source, f"a batch has the columns ({got}), expected ({expected}). Cast it first.")
        start = 0
        while start < batch.num_rows:
            rows = min(_CHUNK_ROWS - self._pending_rows, batch.num_rows - start)
            parts = [[batch.column(field.position).slice(start, rows)] for field in self._fields]
            start += rows
            if rows == _CHUNK_ROWS:
                self._chunks.append(self._chunk_digest(parts, rows))
                continue
            # A copy, because a slice would keep the whole batch that it was cut from alive.
            self._pending.append(
                [_joined(part, field, copy=True) for part, field in zip(parts, self._fields, strict=True)]
            )
            self._pending_rows += rows
            if self._pending_rows == _CHUNK_ROWS:
                self._chunks.append(self._pending_digest())
                self._pending, self._pending_rows = [], 0
        self._rows += batch.num_rows

    def hexdigest(self) -> str:
        """The digest of the rows so far, 64 hexadecimal digits; more rows may follow."""
        chunks = [*self._chunks, self._pending_digest()] if self._pending_rows else self._chunks
        header = _digest_header(
            b"TABHASH1", self._flags, _CHUNK_ROWS.bit_length() - 1, self._rows, _encoded_schema(self._fields)
        )
        return hashlib.sha256(header + _tree_root(chunks)).hexdigest()

    def _pending_digest(self) -> bytes:
        parts = [[columns[at] for columns in self._pending] for at in range(len(self._fields))]
        return self._chunk_digest(parts, self._pending_rows)

    def _chunk_digest(self, parts: Sequence[Sequence[pa.Array | pa.ChunkedArray]], rows: int) -> bytes:
        digest = hashlib.sha256(b"\x02" + struct.pack("<I", rows))
        for field, columns in zip(self._fields, parts, strict=True):
            digest.update(_leaf(_joined(columns, field), field))
        return digest.digest()


def content_digest(table: pa.Table, *, column_order: ColumnOrder = "name", source: str = "table") -> str:
    """The digest of a table's content.

    Args:
        table: The table, read under a declared schema: ``1`` as an integer and ``1`` as text are different content.
        column_order: ``"name"`` when the order of the columns is not content, ``"table"`` when it is.
        source: What error messages call the table.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: Two columns share a name, or a column's type or one of its values has no content digest.
        ValueError: ``column_order`` is neither of the two.
    """
    digester = ContentDigester(table.schema, column_order=column_order, source=source)
    digester.update(table)
    return digester.hexdigest()


# --- rows -------------------------------------------------------------------------------------------------------------


def _as_binary(piece: _Piece) -> pa.Array:
    offsets = np.concatenate(([0], np.cumsum(piece.sizes, dtype=np.int64)))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(piece.data))]
    return pa.Array.from_buffers(pa.large_binary(), len(piece.sizes), buffers)


def _concatenated(pieces: Sequence[_Piece]) -> pa.Array:
    """Each segment's bytes of all the pieces, as one binary value per segment."""
    if len(pieces) == 1:
        return _as_binary(pieces[0])
    nothing_between = pa.scalar(b"", pa.large_binary())
    return pc.binary_join_element_wise(*map(_as_binary, pieces), nothing_between)


def _nested_cells(array: pa.Array, field: _Field, *, fold_negative_zero: bool) -> _Piece:
    """The body of each row's nested value, and no bytes where it is null."""
    pieces = _body(array, field, np.arange(len(array) + 1), fold_negative_zero=fold_negative_zero)
    valid = _validity(array)
    if valid is not None:
        pieces = [_kept(piece, valid) for piece in pieces]
    sizes = np.sum([piece.sizes for piece in pieces], axis=0)
    data = np.frombuffer(_concatenated(pieces).buffers()[-1], dtype=np.uint8, count=int(sizes.sum()))
    return _Piece(data=data, sizes=sizes)


def _encoded_rows(columns: Sequence[pa.Array], fields: Sequence[_Field], *, fold_negative_zero: bool) -> pa.Array:
    """The row encoding of each row, as binary values."""
    rows = len(columns[0])
    nulls = np.zeros((rows, len(fields)), dtype=np.bool_)
    parts: list[tuple[str, NDArray[Any]]] = []
    after: list[_Piece] = []
    for at, (array, field) in enumerate(zip(columns, fields, strict=True)):
        valid = _validity(array)
        if valid is not None:
            nulls[:, at] = ~valid
        if field.code is _Code.NULL:
            continue
        if field.code in _ROW_DTYPES:
            parts.append((_ROW_DTYPES[field.code], _fixed(array, field, fold_negative_zero=fold_negative_zero)))
        elif field.code in _MOMENTS:
            parts += zip(("<i8", "<u2"), _moments(array, field), strict=True)
        else:
            if field.code in _TEXT:
                lengths, data = _texts(array)
                after.append(_Piece(data=data, sizes=lengths))
            else:
                with field.translated():
                    after.append(_nested_cells(array, field, fold_negative_zero=fold_negative_zero))
            parts.append(("<u4", _as_u32(after[-1].sizes, field)))
    names = [f"part {at}" for at in range(len(parts))]
    bitmap = np.packbits(nulls, axis=1, bitorder="little")
    block = np.empty(rows, dtype=[("nulls", "u1", bitmap.shape[1:]), *zip(names, (p[0] for p in parts), strict=True)])
    block["nulls"] = bitmap
    for name, (_, values) in zip(names, parts, strict=True):
        block[name] = values
    sizes = np.full(rows, block.dtype.itemsize, dtype=np.int64)
    return _concatenated([_Piece(data=_bytes_of(block), sizes=sizes), *after])


def row_digests(table: pa.Table, *, fold_negative_zero: bool = False, source: str = "table") -> NDArray[np.void]:
    """The SHA-256 of each row's content, to tell whether two rows are the same.

    Rows of two tables can be compared when the tables have the same column names and logical types; the order of the
    columns does not matter. Give the digests to ``first_occurrences`` and ``contained_in``. A digest of a row that
    somebody can guess gives the row away: never publish them.

    Args:
        table: The table.
        fold_negative_zero: Whether -0.0 counts as 0.0, as it should when one looks for leaks.
        source: What error messages call the table.

    Returns:
        Shape (rows,), dtype ``V32``, read-only.

    Raises:
        DataError: Two columns share a name, or a column's type or one of its values has no content digest.
    """
    fields = _fields(table.schema, column_order="name", source=source)
    sha256 = hashlib.sha256
    if not fields:
        return np.frombuffer(sha256().digest() * table.num_rows, dtype="V32")
    digests: list[bytes] = []
    for start in range(0, table.num_rows, _CHUNK_ROWS):
        columns = [_joined([table.column(field.position).slice(start, _CHUNK_ROWS)], field) for field in fields]
        rows = _encoded_rows(columns, fields, fold_negative_zero=fold_negative_zero)
        # Arrow makes the bytes objects faster than Python could slice them.
        digests.append(b"".join([sha256(row).digest() for row in rows.to_numpy(zero_copy_only=False)]))
    return np.frombuffer(b"".join(digests), dtype="V32")


def _sorted_order(digests: NDArray[np.void]) -> NDArray[np.intp]:
    """The order that sorts digests as byte strings; equal ones stay in the order they came in."""
    words = np.ascontiguousarray(digests).view(">u8").reshape(-1, 4)
    first = words[:, 0].astype(np.uint64)
    order = np.argsort(first, kind="stable")
    # Eight bytes nearly always decide, but whoever makes rows can also make two that agree in them.
    ties = np.flatnonzero(first[order[1:]] == first[order[:-1]])
    if (words[order[ties]] != words[order[ties + 1]]).any():
        return np.lexsort(words.T[::-1].astype(np.uint64))
    return order


def _first_of_each(digests: NDArray[np.void]) -> NDArray[np.intp]:
    """For each digest the position of the first one that equals it, shape (digests,)."""
    order = _sorted_order(digests)
    ordered = np.ascontiguousarray(digests).view("u8").reshape(-1, 4)[order]
    starts = np.ones(len(order), dtype=np.bool_)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(order), dtype=np.intp)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first


def first_occurrences(digests: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which rows show their content for the first time.

    Args:
        digests: Shape (rows,), dtype ``V32``, from ``row_digests``.

    Returns:
        Shape (rows,): True for the first row of each content, False for its repetitions.
    """
    return np.equal(_first_of_each(digests), np.arange(len(digests)))


def contained_in(digests: NDArray[np.void], others: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which rows also stand in another table.

    Args:
        digests: Shape (rows,), dtype ``V32``, from ``row_digests``.
        others: Shape (other rows,), dtype ``V32``: the other table's, made with the same ``fold_negative_zero``.

    Returns:
        Shape (rows,): True where the row's content occurs among the others.
    """
    first = _first_of_each(np.concatenate((others, digests)))
    return np.less(first[len(others) :], len(others))


def multiset_digest(table: pa.Table, *, source: str = "table") -> str:
    """The digest of a table's content when neither the order of rows nor that of columns matters, only how many.

    Args:
        table: The table.
        source: What error messages call the table.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: Two columns share a name, or a column's type or one of its values has no content digest.
    """
    schema = _encoded_schema(_fields(table.schema, column_order="name", source=source))
    digests = row_digests(table, source=source)
    rows = hashlib.sha256(digests[_sorted_order(digests)].tobytes()).digest()
    return hashlib.sha256(_digest_header(b"TABHASHM", 0, 0, len(digests), schema) + rows).hexdigest()
