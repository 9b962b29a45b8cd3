"""The logical types of TABHASH v1: what a column is, however Arrow stores it, and how the digest writes that down.

Wide and narrow integers are one type, and so are a dictionary and its values, or a second and a nanosecond clock; a
type that is not in the format's table is refused, with the column's name.
"""

from __future__ import annotations

import struct
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

import pyarrow as pa
from pyarrow import types

from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["MOMENTS", "TEXT", "ColumnOrder", "Field", "TypeCode", "encoded_schema", "fields_of"]

ColumnOrder = Literal["name", "table"]


class TypeCode(IntEnum):
    """A logical type, children and parameters aside: the first byte of its encoding."""

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


TEXT = (TypeCode.STRING, TypeCode.BINARY)
MOMENTS = (TypeCode.LOCAL, TypeCode.INSTANT, TypeCode.DURATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
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
    code: TypeCode
    encoding: bytes
    position: int = 0
    children: tuple[Field, ...] = ()

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


def _prefixed(name: str) -> bytes:
    text = name.encode()
    return struct.pack("<I", len(text)) + text


@cache
def _scalar_code(data_type: pa.DataType) -> TypeCode | None:
    recognised = (
        (types.is_null, TypeCode.NULL),
        (types.is_boolean, TypeCode.BOOL),
        (types.is_integer, TypeCode.INT),
        (types.is_floating, TypeCode.FLOAT),
        (types.is_string, TypeCode.STRING),
        (types.is_large_string, TypeCode.STRING),
        (types.is_string_view, TypeCode.STRING),
        (types.is_binary, TypeCode.BINARY),
        (types.is_large_binary, TypeCode.BINARY),
        (types.is_binary_view, TypeCode.BINARY),
        (types.is_fixed_size_binary, TypeCode.BINARY),
        (types.is_date, TypeCode.DATE),
        (types.is_time, TypeCode.TIME),
        (types.is_duration, TypeCode.DURATION),
    )
    for predicate, code in recognised:
        if predicate(data_type):
            return code
    if types.is_timestamp(data_type):
        return TypeCode.LOCAL if data_type.tz is None else TypeCode.INSTANT
    return None


def _is_list(data_type: pa.DataType) -> bool:
    return bool(
        types.is_list(data_type)
        or types.is_large_list(data_type)
        or types.is_fixed_size_list(data_type)
        or types.is_list_view(data_type)
        or types.is_large_list_view(data_type)
    )


def _field(data_type: pa.DataType, *, column: str, source: str, position: int = 0) -> Field:
    def inner(inner_type: pa.DataType, at: int = 0) -> Field:
        return _field(inner_type, column=column, source=source, position=at)

    def made(code: TypeCode, parameters: bytes = b"", children: tuple[Field, ...] = ()) -> Field:
        encoding = bytes([code]) + parameters
        return Field(source=source, column=column, code=code, encoding=encoding, position=position, children=children)

    if types.is_dictionary(data_type) or types.is_run_end_encoded(data_type):
        return inner(data_type.value_type, position)
    if (code := _scalar_code(data_type)) is not None:
        return made(code)
    if types.is_decimal(data_type) and -128 <= data_type.scale <= 127:
        return made(TypeCode.DECIMAL, struct.pack("<b", data_type.scale))
    if _is_list(data_type):
        item = inner(data_type.value_type)
        return made(TypeCode.LIST, item.encoding, (item,))
    if types.is_map(data_type):
        pair = (inner(data_type.key_type), inner(data_type.item_type))
        return made(TypeCode.MAP, pair[0].encoding + pair[1].encoding, pair)
    if types.is_struct(data_type):
        names = [member.name for member in data_type]
        order = _sorted_positions(names, source=source, owner=f"column {column!r}: its struct")
        members = tuple(inner(data_type[at].type, at) for at in order)
        encoded = b"".join(_prefixed(names[member.position]) + member.encoding for member in members)
        return made(TypeCode.STRUCT, struct.pack("<I", len(members)) + encoded, members)
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


def fields_of(schema: pa.Schema, *, column_order: ColumnOrder, source: str) -> tuple[Field, ...]:
    """The columns in the order of the digest.

    Args:
        schema: The table's columns.
        column_order: ``"name"`` sorts them by the bytes of their names, ``"table"`` leaves them as they are.
        source: What error messages call the table.

    Raises:
        DataError: Two columns share a name, or a column's type has no content digest.
        ValueError: ``column_order`` is neither of the two.
    """
    if column_order not in get_args(ColumnOrder):
        raise ValueError(f'column_order is {column_order!r}, expected "name" or "table".')
    by_name = _sorted_positions(schema.names, source=source, owner="the table")
    order: Iterable[int] = by_name if column_order == "name" else range(len(schema.names))
    return tuple(_field(schema.types[at], column=schema.names[at], source=source, position=at) for at in order)


def encoded_schema(fields: Sequence[Field]) -> bytes:
    """How many columns there are, and the name and type of each."""
    columns = b"".join(_prefixed(field.column) + field.encoding for field in fields)
    return struct.pack("<I", len(fields)) + columns
