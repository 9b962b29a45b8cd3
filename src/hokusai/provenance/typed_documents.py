"""Frozen records as JSON objects and back, with nothing left to interpretation.

Every field is there and no other is; a text is no number and a number no boolean; a decimal is a text with twelve
places; a field that is None is ``null``, or left out where its metadata says ``omitted``.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
from decimal import Decimal
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from hokusai.errors import StatementError
from hokusai.provenance.decimals import decimal_text, read_decimal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hokusai.digests import JsonValue

__all__ = ["LEFT_OUT", "Sha256", "read_record", "record_document"]

LEFT_OUT: Mapping[str, bool] = types.MappingProxyType({"omitted": True})
"""Metadata of a field that is left out where it is None."""
Sha256 = Annotated[str, re.compile(r"[0-9a-f]{64}", re.ASCII)]
_Record = TypeVar("_Record")
_KINDS = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}


def record_document(record: Any) -> dict[str, JsonValue]:  # noqa: ANN401  (any record)
    """Return a record as a JSON object."""
    found = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if value is not None or not field.metadata.get("omitted"):
            found[_json_name(field)] = _json_value(value)
    return found


def read_record(kind: type[_Record], value: JsonValue, *, source: str, path: str = "") -> _Record:
    """Return the record of a JSON object.

    Args:
        kind: The record's class.
        value: The object.
        source: What messages call the document.
        path: Where in it the object stands; empty for the whole.

    Raises:
        StatementError: ``unknown field``, ``missing field``, ``wrong type`` or ``wrong value``.
    """
    if not isinstance(value, dict):
        _refuse_type(value, dict, source=source, path=path)
    fields = {_json_name(field): field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(fields))
    if unknown:
        _refuse_field("unknown field", unknown[0], path=path, source=source, known=fields)
    missing = [name for name, field in fields.items() if name not in value and not field.metadata.get("omitted")]
    if missing:
        _refuse_field("missing field", missing[0], path=path, source=source, known=fields)
    hints = _type_hints(kind)  # type: ignore[arg-type]
    found = {
        field.name: _read(hints[field.name], value[name], source=source, path=f"{path}.{name}".lstrip("."))
        for name, field in fields.items()
        if name in value
    }
    for name, field in fields.items():
        if field.metadata.get("omitted") and value.get(name, "") is None:
            _refuse_type(None, str, source=source, path=f"{path}.{name}".lstrip("."))
    left_out = {field.name: None for name, field in fields.items() if name not in value}
    return kind(**found, **left_out)


@functools.cache
def _type_hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _json_name(field: dataclasses.Field[Any]) -> str:
    return str(field.metadata.get("name", field.name))


def _json_value(value: Any) -> JsonValue:  # noqa: ANN401  (what records hold)
    if dataclasses.is_dataclass(value):
        return record_document(value)
    if isinstance(value, tuple):
        return [_json_value(each) for each in value]
    return decimal_text(value) if isinstance(value, Decimal) else value


def _read(kind: Any, value: JsonValue, *, source: str, path: str) -> Any:  # noqa: ANN401  (whatever the hint says)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is types.UnionType or origin is Union:
        # A field may be None beside its one kind.
        return None if value is None else _read(arguments[0], value, source=source, path=path)
    if origin is tuple:
        items = value if isinstance(value, list) else _refuse_type(value, list, source=source, path=path)
        return tuple(
            _read(arguments[0], each, source=source, path=f"{path}[{number}]") for number, each in enumerate(items)
        )
    if dataclasses.is_dataclass(kind):
        return read_record(kind, value, source=source, path=path)  # type: ignore[arg-type]
    if origin is Literal or origin is Annotated or kind is Decimal:
        return _read_text(kind, value, source=source, path=path)
    if type(value) is not kind:
        _refuse_type(value, kind, source=source, path=path)
    return value


def _read_text(kind: Any, value: JsonValue, *, source: str, path: str) -> str | Decimal:  # noqa: ANN401
    """Read a text of which not every one will do."""
    if not isinstance(value, str):
        _refuse_type(value, str, source=source, path=path)
    arguments = get_args(kind)
    if kind is Decimal:
        try:
            return read_decimal(value)
        except ValueError:
            expected = "a decimal with twelve places and no minus zero"
    elif get_origin(kind) is Literal:
        if value in arguments:
            return value
        expected = " or ".join(map(repr, arguments))
    else:
        if arguments[1].fullmatch(value):
            return value
        expected = f"a text like {arguments[1].pattern}"
    problem = f"{path} is {value[:80]!r}, expected {expected}."
    raise StatementError(source, reason="wrong value", problem=problem)


def _refuse_type(value: JsonValue, expected: type, *, source: str, path: str) -> NoReturn:
    got = "null" if value is None else _KINDS.get(type(value), "a number with a fraction")
    problem = f"{path or 'the document'} is {got}, expected {_KINDS[expected]}."
    raise StatementError(source, reason="wrong type", problem=problem)


def _refuse_field(
    reason: Literal["unknown field", "missing field"], name: str, *, path: str, source: str, known: Collection[str]
) -> NoReturn:
    where = f"{path}.{name}".lstrip(".")
    problem = f"{where} is {'not known' if reason == 'unknown field' else 'not there'}, expected {', '.join(known)}."
    raise StatementError(source, reason=reason, problem=problem)
