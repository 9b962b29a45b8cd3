"""The data contract: the columns, types, ranges and values that a table must keep.

A contract that exists is sound: what contradicts itself, such as a range of a text column, is refused when it is made.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, get_args

from hokusai.datasets.read_settings import ColumnType
from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CONTRACT_FORMAT", "ColumnContract", "Contract", "ContractValue", "decimal_scale"]

CONTRACT_FORMAT = "hokusai-contract/1"
"""What the first line of a contract's file says."""

ContractValue: TypeAlias = bool | int | float | str | date | datetime | Decimal
"""A limit or an allowed value: of the Python type that its column's type has."""

_WORDS = "int, float, string, bool, date, timestamp, timestamp_utc, or decimal(0) to decimal(18)"
_ORDERED = ("int", "float", "date", "timestamp", "timestamp_utc")
_EXPECTED = {
    "int": "an integer of at most 64 bits",
    "float": "a finite number",
    "string": "a text in quotes",
    "bool": "true or false",
    "date": "a date without quotes, such as 2026-01-31",
    "timestamp": "a date and time without a zone and without quotes, such as 2026-01-31T12:00:00",
    "timestamp_utc": "a date and time with a zone and without quotes, such as 2026-01-31T12:00:00Z",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnContract:
    """What one column must keep.

    Attributes:
        name: The column's name.
        type: A word such as ``int`` or ``decimal(2)``, as for ``data.types``.
        nullable: Whether a value may be missing.
        minimum: The smallest value, or None.
        maximum: The largest value, or None.
        allowed: The only values, or none to allow all.
        pattern: A regular expression (RE2) that every whole text matches; empty for none.
        max_length: The most characters of a text, or None.
        unit: What the numbers count, for people.
        description: What the column is, for people.

    Raises:
        ConfigurationError: The rules contradict the type or one another.
    """

    name: str
    type: str
    nullable: bool = True
    minimum: ContractValue | None = None
    maximum: ContractValue | None = None
    allowed: tuple[ContractValue, ...] = ()
    pattern: str = ""
    max_length: int | None = None
    unit: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse rules that no column could keep, or that mean nothing for its type."""
        if not self.name.strip():
            raise ConfigurationError("a column has a blank name. Name it.", key="columns")
        if self.type not in get_args(ColumnType):
            raise self.error("type", f"got {self.type!r}, expected {_WORDS}.")
        self._require_range()
        self._require_allowed()
        if self.type != "string" and (self.pattern or self.max_length is not None):
            rule = "pattern" if self.pattern else "max_length"
            raise self.error(rule, f"a {self.type} column has none; expected it of string columns alone. Delete it.")
        if self.max_length is not None and self.max_length < 0:
            raise self.error("max_length", f"got {self.max_length}, expected 0 or more.")
        if self.pattern:
            self._require_pattern()

    def error(self, rule: str, problem: str) -> ConfigurationError:
        """An error about one rule of this column, its place in a file not known yet."""
        return ConfigurationError(problem, key=f"columns.{self.name}.{rule}")

    def _require_range(self) -> None:
        for rule, limit in (("minimum", self.minimum), ("maximum", self.maximum)):
            if limit is None:
                continue
            if self.type not in _ORDERED and decimal_scale(self.type) is None:
                advice = "List the allowed values instead, or delete it."
                raise self.error(rule, f"a {self.type} column has no range. {advice}")
            self._require_value(rule, limit)
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:  # type: ignore[operator]
            problem = f"{_shown(self.minimum)} is above the maximum, {_shown(self.maximum)}. Swap or mend them."
            raise self.error("minimum", problem)

    def _require_allowed(self) -> None:
        for value in self.allowed:
            self._require_value("allowed", value)
        doubled = [value for value, count in Counter(self.allowed).items() if count > 1]
        if doubled:
            raise self.error("allowed", f"{_shown(doubled[0])} is listed twice. Delete one of them.")
        if self.allowed and (self.minimum is not None or self.maximum is not None):
            raise self.error("allowed", "there is a range as well; expected one of the two. Delete the range.")

    def _require_value(self, rule: str, value: ContractValue) -> None:
        scale = decimal_scale(self.type)
        if scale is not None:
            is_fit = _is_decimal(value, scale=scale)
            expected = f"a number with at most {scale} digits after the point, and 38 in all"
        else:
            is_fit, expected = _FITS[self.type](value), _EXPECTED[self.type]
        if not is_fit:
            raise self.error(rule, f"got {_shown(value)}, expected {expected}, as the column is of type {self.type}.")

    def _require_pattern(self) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            pc.match_substring_regex(pa.array([""]), self.pattern)
        except pa.ArrowInvalid as error:
            reason = str(error).rpartition(": ")[2]
            problem = f"got {self.pattern!r}, expected a regular expression of RE2: {reason}. Mend it."
            raise self.error("pattern", problem) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a table must keep.

    Attributes:
        columns: Every column, in the order of the file; a table may have them in any order.
        label: The column to predict.
        key: The columns that name a row: no two rows may have the same values there. Empty for none.
        source: The file, for messages; two contracts from different files may be equal.

    Raises:
        ConfigurationError: Columns are doubled, or the label or the key is not one of them or may be missing.
    """

    columns: tuple[ColumnContract, ...]
    label: str
    key: tuple[str, ...] = ()
    source: str = field(default="contract", compare=False)

    def __post_init__(self) -> None:
        """Refuse a label or a key that cannot be one."""
        if not self.columns:
            raise ConfigurationError("no column is described, expected at least one.", key="columns")
        by_name = {column.name: column for column in self.columns}
        if len(by_name) < len(self.columns):
            doubled = Counter(column.name for column in self.columns).most_common(1)[0][0]
            raise ConfigurationError(f"{doubled!r} is described twice. Delete one of them.", key="columns")
        if len(set(self.key)) < len(self.key):
            raise ConfigurationError("a column is named twice, expected each once.", key="key")
        for place, names in (("label", (self.label,)), ("key", self.key)):
            for name in names:
                if name not in by_name:
                    known = ", ".join(map(repr, by_name))
                    raise ConfigurationError(f"got {name!r}, expected one of the columns {known}.", key=place)
                if by_name[name].nullable:
                    problem = f"it belongs to the {place}, which no row may lack. Set nullable = false."
                    raise by_name[name].error("nullable", problem)

    @property
    def types(self) -> Mapping[str, str]:
        """The type of every column, as words for :class:`hokusai.datasets.read_settings.ReadSettings`."""
        return MappingProxyType({column.name: column.type for column in self.columns})


def decimal_scale(word: str) -> int | None:
    """The digits after the point of a ``decimal(S)``, or None for another type."""
    match = re.fullmatch(r"decimal\((\d+)\)", word)
    return int(match[1]) if match else None


def _is_decimal(value: ContractValue, *, scale: int) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if not isinstance(value, Decimal) or not value.is_finite():
        return False
    exponent = value.normalize().as_tuple().exponent
    return isinstance(exponent, int) and -exponent <= scale and value.adjusted() + 1 + scale <= 38


def _is_float(value: ContractValue) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= 2**53


_FITS: Mapping[str, Callable[[ContractValue], bool]] = {
    "int": lambda value: type(value) is int and -(2**63) <= value < 2**63,
    "float": _is_float,
    "string": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "date": lambda value: isinstance(value, date) and not isinstance(value, datetime),
    "timestamp": lambda value: isinstance(value, datetime) and value.tzinfo is None,
    "timestamp_utc": lambda value: isinstance(value, datetime) and value.tzinfo is not None,
}


def _shown(value: ContractValue) -> str:
    """A value as a contract's file writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return value.isoformat()
    return repr(value) if isinstance(value, str) else str(value)
