"""The data contract as a TOML file: read strictly, written as a person would write it."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from hokusai.datasets.contract import CONTRACT_FORMAT, ColumnContract, Contract, decimal_scale
from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pydantic import BaseModel

    from hokusai.datasets.contract import ContractValue

__all__ = ["load_contract", "write_contract"]

_RULES = tuple(each.name for each in fields(ColumnContract) if each.name != "name")
_KEYS = ("format", "label", "key", "columns")
# Possessive, because a long word without an equals sign would be tried in every division into shorter ones.
_KEY = re.compile(r"""\s*((?>(?:[\w.\-]++|"[^"]*"|'[^']*')+))\s*=""")
_Value = bool | int | Decimal | str | datetime | date


def load_contract(path: Path) -> Contract:
    """Read a data contract.

    Raises:
        ConfigurationError: The file cannot be read, a key is unknown or missing, or the rules contradict one another.
    """
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        # As decimals, so that 0.1 is 0.1 in a decimal column.
        values = tomllib.loads(text, parse_float=Decimal)
    except FileNotFoundError:
        problem = "no such file. Write one with `hokusai contract infer`, or name another."
        raise ConfigurationError(problem, source=source) from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        is_toml = isinstance(error, tomllib.TOMLDecodeError)
        problem = f"not valid TOML: {error}." if is_toml else f"cannot be read ({error})."
        raise ConfigurationError(problem, source=source) from error
    place = _ContractText(source=source, lines=_key_lines(text))
    _require_shape(values, place)
    try:
        columns = tuple(_column(name, rules) for name, rules in values["columns"].items())
        return Contract(columns=columns, label=values["label"], key=tuple(values.get("key", ())), source=source)
    except ConfigurationError as error:
        raise place.error(tuple(error.key.split(".")), error.problem, key=error.key) from error


def write_contract(contract: Contract, *, comments: Sequence[str] = ()) -> str:
    """A contract as the text of its file; :func:`load_contract` reads an equal contract from it.

    Args:
        contract: The contract.
        comments: Lines to put in front of it.
    """
    import tomli_w

    head = "".join(f"# {line}".rstrip() + "\n" for line in comments)
    top: dict[str, Any] = {"format": CONTRACT_FORMAT, "label": contract.label}
    if contract.key:
        top["key"] = list(contract.key)
    parts = [head, tomli_w.dumps(top)] if not head else [head, "\n", tomli_w.dumps(top)]
    for column in contract.columns:
        rules: dict[str, Any] = {"type": column.type}
        if not column.nullable:
            rules["nullable"] = False
        for rule in _RULES:
            value = getattr(column, rule)
            if rule not in ("type", "nullable") and value not in (None, "", ()):
                rules[rule] = [_written(item, column) for item in value] if rule == "allowed" else value
                if rule in ("minimum", "maximum"):
                    rules[rule] = _written(value, column)
        parts += ["\n", tomli_w.dumps({"columns": {column.name: rules}})]
    return "".join(parts)


def _written(value: ContractValue, column: ColumnContract) -> ContractValue:
    """A limit or an allowed value in the form by which a reader of the file knows its type."""
    if column.type == "float":
        return float(value)  # type: ignore[arg-type]
    return Decimal(value) if decimal_scale(column.type) is not None else value  # type: ignore[arg-type]


def _column(name: str, rules: Mapping[str, Any]) -> ColumnContract:
    values = {"nullable": True, **rules}
    word = rules["type"]
    for rule in ("minimum", "maximum"):
        if rule in values:
            values[rule] = _read_value(values[rule], word)
    if "allowed" in values:
        if not values["allowed"]:
            problem = "the list is empty, so no value would be allowed. Delete it to allow all."
            raise ConfigurationError(problem, key=f"columns.{name}.allowed")
        values["allowed"] = tuple(_read_value(value, word) for value in values["allowed"])
    return ColumnContract(name=name, **values)


def _read_value(value: ContractValue, word: str) -> ContractValue:
    """A number as its column's type has it; whatever does not fit stays as it is, to be refused with its reason."""
    if isinstance(value, Decimal) and decimal_scale(word) is None:
        return float(value)
    return float(value) if word == "float" and type(value) is int and abs(value) <= 2**53 else value


@dataclass(frozen=True, slots=True, kw_only=True)
class _ContractText:
    """Where things stand in a contract's file."""

    source: str
    lines: Mapping[tuple[str, ...], int]

    def error(self, path: tuple[str, ...], problem: str, *, key: str = "") -> ConfigurationError:
        """An error about a key, with the line of it or of the nearest table that holds it."""
        dotted = ".".join(path)
        # A column's name may hold dots itself, so keys are compared as they are written.
        written = {".".join(known): line for known, line in self.lines.items()}
        nearest = dotted
        while nearest and nearest not in written:
            nearest = nearest.rpartition(".")[0]
        return ConfigurationError(problem, key=key or dotted, source=self.source, line=written.get(nearest))


def _require_shape(values: Mapping[str, Any], place: _ContractText) -> None:
    """Refuse unknown and missing keys, and values of the wrong kind."""
    from pydantic import ValidationError  # a tenth of a second that --help does not need

    if "format" in values and values["format"] != CONTRACT_FORMAT:
        problem = f"got {values['format']!r}, expected {CONTRACT_FORMAT!r}: another version, or no contract."
        raise place.error(("format",), problem)
    try:
        _file_model().model_validate(values)
    except ValidationError as error:
        # A misspelt key is both unknown and missing; the unknown one is what the reader can find.
        first = min(error.errors(), key=lambda item: item["type"] == "missing")
        path = tuple(str(part) for part in first["loc"])
        known = _RULES if path[0] == "columns" and len(path) > 2 else _KEYS
        if first["type"] == "missing":
            raise place.error(path, "missing. Add it.") from error
        if first["type"] == "extra_forbidden":
            close = difflib.get_close_matches(path[-1], known, n=1)
            advice = f"Did you mean {close[0]}?" if close else f"Expected one of {', '.join(known)}."
            raise place.error(path, f"no such key. {advice}") from error
        got = json.dumps(first["input"], default=str)[:80]
        path = path[:3] if path[0] == "columns" else path[:1]  # below stand positions and the kinds that were tried
        raise place.error(path, f"got {got}, expected {_expected(path)}.") from error


def _expected(path: tuple[str, ...]) -> str:
    words = {
        "format": f"{CONTRACT_FORMAT!r}",
        "label": "the name of a column",
        "key": "a list of names of columns",
        "columns": "a table for each column, such as [columns.age]",
        "nullable": "true or false",
        "minimum": "a number, a date or a time",
        "maximum": "a number, a date or a time",
        "allowed": "a list of values",
        "max_length": "a whole number",
    }
    if len(path) == 2 and path[0] == "columns":
        return 'a table of rules, such as type = "int"'
    return words.get(path[-1], "a text in quotes")


@cache
def _file_model() -> type[BaseModel]:
    """The shape of the file: keys and kinds; what the values mean is the contract's own business."""
    from pydantic import ConfigDict, create_model

    strict = ConfigDict(extra="forbid", strict=True)
    rules = create_model(
        "ColumnRules",
        __config__=strict,
        type=(str, ...),
        nullable=(bool, True),
        minimum=(_Value, None),
        maximum=(_Value, None),
        allowed=(list[_Value], []),
        pattern=(str, ""),
        max_length=(int, 0),
        unit=(str, ""),
        description=(str, ""),
    )
    return create_model(
        "ContractFile",
        __config__=strict,
        format=(str, ...),
        label=(str, ...),
        key=(list[str], []),
        columns=(dict[str, rules], ...),  # type: ignore[valid-type]
    )


def _key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line of every table and key, as far as a reading line by line can tell."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            if line.lstrip().startswith("["):
                table = _path(tomllib.loads(line))
                lines.setdefault(table, number)
            elif match := _KEY.match(line):
                lines.setdefault((*table, *_path(tomllib.loads(f"{match[1]} = {{}}"))), number)
        except tomllib.TOMLDecodeError:  # the inside of a text or a list of several lines
            continue
    return lines


def _path(tree: Mapping[str, Any]) -> tuple[str, ...]:
    path: tuple[str, ...] = ()
    while isinstance(tree, dict) and tree:
        name, tree = next(iter(tree.items()))
        path = (*path, name)
    return path
