"""A table against its contract: every broken rule is one finding, with a count, the first rows and the first value.

Batches are checked one by one with PyArrow's kernels, and what was found does not depend on how the table was cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from hokusai.datasets.column_types import arrow_type
from hokusai.datasets.row_digests import first_occurrences, row_digests
from hokusai.errors import ContractViolationError
from hokusai.records import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from hokusai.datasets.contract import ColumnContract, Contract, ContractValue
    from hokusai.records import Severity

__all__ = [
    "CONTRACT_CHECKS",
    "ContractChecker",
    "check_contract",
    "harmless_text",
    "require_contract",
    "type_of",
]

CONTRACT_CHECKS: Mapping[str, str] = {
    "missing_column": "a column of the contract is not there",
    "extra_column": "a column that the contract does not describe; an evaluation leaves it out",
    "wrong_type": "a column has another type",
    "value_missing": "a value is missing in a column that needs one in every row",
    "not_finite": "a number is infinite or not a number (NaN)",
    "below_minimum": "a value is below the minimum",
    "above_maximum": "a value is above the maximum",
    "not_allowed": "a value is not one of those allowed",
    "pattern_mismatch": "a text does not match the pattern",
    "too_long": "a text is longer than allowed",
    "key_repeated": "a row has the key of an earlier one",
}
"""Every word of :attr:`hokusai.records.Finding.check` that comes from a contract, with its meaning."""

_FIRST_ROWS = 5
_SHORT_TEXT = 40
_DIGITS_OF_A_PHONE = 5


class ContractChecker:
    """Checks a table that arrives in batches.

    Args:
        contract: The contract.
        source: What messages call the table.
    """

    def __init__(self, contract: Contract, source: str) -> None:
        self._contract = contract
        self._source = source
        self._schema: pa.Schema | None = None
        self._rows = 0
        self._broken: dict[tuple[str, str], _Violation] = {}
        self._keys: list[NDArray[np.void]] = []

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Check the next rows; every batch must have the columns of the first one."""
        if self._schema is None:
            self._schema = batch.schema
        for column in self._contract.columns:
            if column.name not in batch.schema.names:
                continue
            values = batch.column(column.name)
            offset = self._rows
            for array in values.chunks if isinstance(values, pa.ChunkedArray) else [values]:
                self._check_column(column, array, offset=offset)
                offset += len(array)
        if self._contract.key and set(self._contract.key) <= set(batch.schema.names):
            columns = [batch.column(name) for name in self._contract.key]
            keys = pa.table(columns, names=list(self._contract.key))
            self._keys.append(row_digests(keys, fold_negative_zero=True, source=self._source))
        self._rows += batch.num_rows

    def findings(self) -> tuple[Finding, ...]:
        """Every broken rule: those of the whole table first, then column by column in the contract's order."""
        found = [*self._schema_findings()]
        for column in self._contract.columns:
            for check in CONTRACT_CHECKS:
                violation = self._broken.get((column.name, check))
                if violation is not None:
                    found.append(_finding(column, check, violation))
        return (*found, *self._key_findings())

    def require(self) -> None:
        """Refuse the table if it breaks its contract; warnings do not.

        Raises:
            ContractViolationError: A finding is an error.
        """
        broken = [finding.message for finding in self.findings() if finding.severity == "error"]
        if broken:
            raise ContractViolationError(self._source, contract=self._contract.source, violations=broken)

    def _check_column(self, column: ColumnContract, array: pa.Array, *, offset: int) -> None:
        if types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if not column.nullable and array.null_count:
            self._note(column, "value_missing", array.is_null(), array, offset=offset)
        if types.is_null(array.type) or not _is_of_type(array.type, column.type):
            return
        for check, mask in _broken_rules(column, array):
            self._note(column, check, mask, array, offset=offset)

    def _note(self, column: ColumnContract, check: str, mask: pa.Array, array: pa.Array, *, offset: int) -> None:
        """Count the rows of a mask; a null in the mask is no violation."""
        positions = np.flatnonzero(pc.fill_null(mask, fill_value=False).to_numpy(zero_copy_only=False))
        if not len(positions):
            return
        violation = self._broken.setdefault((column.name, check), _Violation())
        if not violation.rows:
            violation.first_value = array[int(positions[0])].as_py()
        violation.rows += len(positions)
        missing = _FIRST_ROWS - len(violation.first_rows)
        violation.first_rows += [offset + int(position) + 1 for position in positions[:missing]]

    def _schema_findings(self) -> Iterator[Finding]:
        if self._schema is None:
            return
        found = self._schema.names
        described = self._contract.types
        for name in described:
            if name not in found:
                yield Finding(
                    check="missing_column",
                    severity="error",
                    message=f"the column {name!r} is not there.",
                    column=name,
                    advice="Add it, or rename the column that it is.",
                )
            elif not _is_of_type(self._schema.field(name).type, described[name]):
                got = type_of(self._schema.field(name).type) or str(self._schema.field(name).type)
                yield Finding(
                    check="wrong_type",
                    severity="error",
                    message=f"column {name!r}: got the type {got}, expected {described[name]}.",
                    column=name,
                    advice="Mend the values, or declare the type if the file only stores it in another way.",
                )
        for name in found:
            if name not in described:
                yield Finding(
                    check="extra_column",
                    severity="warning",
                    message=f"the column {name!r} is not in the contract; an evaluation leaves it out.",
                    column=name,
                    advice="Delete it, or add it to the contract.",
                )

    def _key_findings(self) -> Iterator[Finding]:
        if not self._keys:
            return
        repeated = np.flatnonzero(~first_occurrences(np.concatenate(self._keys)))
        if len(repeated):
            names = " and ".join(map(repr, self._contract.key))
            first = tuple(int(row) + 1 for row in repeated[:_FIRST_ROWS])
            yield Finding(
                check="key_repeated",
                severity="error",
                message=f"{_rows(len(repeated))} the key {names} of an earlier row, first in data row {first[0]}.",
                column=self._contract.key[0] if len(self._contract.key) == 1 else None,
                rows=len(repeated),
                first_rows=first,
                advice="Keep one row for each key.",
            )


@dataclass(slots=True, kw_only=True)
class _Violation:
    """The rows that break one rule, counted while they arrive."""

    rows: int = 0
    first_rows: list[int] = field(default_factory=list)
    first_value: Any = None


def check_contract(table: pa.Table, contract: Contract, *, source: str) -> tuple[Finding, ...]:
    """Every rule of the contract that a table breaks; :class:`ContractChecker` does the same batch by batch."""
    checker = ContractChecker(contract, source)
    checker.update(table)
    return checker.findings()


def require_contract(table: pa.Table, contract: Contract, *, source: str) -> None:
    """Refuse a table that breaks its contract.

    Raises:
        ContractViolationError: A finding is an error.
    """
    checker = ContractChecker(contract, source)
    checker.update(table)
    checker.require()


def type_of(data_type: pa.DataType) -> str | None:
    """The word of a contract for an Arrow type, or None where there is none."""
    if types.is_dictionary(data_type):
        return type_of(data_type.value_type)
    if types.is_timestamp(data_type):
        return "timestamp" if data_type.tz is None else "timestamp_utc"
    if types.is_decimal(data_type):
        return f"decimal({data_type.scale})" if 0 <= data_type.scale <= 18 else None
    kinds = (
        ("bool", types.is_boolean),
        ("int", types.is_integer),
        ("float", types.is_floating),
        ("string", lambda kind: types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)),
        ("date", types.is_date),
    )
    return next((word for word, is_kind in kinds if is_kind(data_type)), None)


def _is_of_type(data_type: pa.DataType, word: str) -> bool:
    """Whether a column of this type keeps the contract; integers are floats, and no values are of any type."""
    found = type_of(data_type)
    return types.is_null(data_type) or found == word or (found == "int" and word == "float")


def _broken_rules(column: ColumnContract, array: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """Every rule about single values that is broken, with the mask of the rows that break it.

    A rule that all values keep costs one pass and makes no mask.
    """
    if types.is_floating(array.type) and not _holds(pc.is_finite(array)):
        yield "not_finite", pc.invert(pc.is_finite(array))
    if column.minimum is not None or column.maximum is not None:
        yield from _out_of_range(column, array)
    if column.allowed:
        # Compared in the type of the column: a value of the contract that the type cannot hold is none of its values.
        allowed = pc.is_in(_comparable(array, column), value_set=pa.array(column.allowed, arrow_type(column.type)))
        is_known = pc.or_(allowed, array.is_null())
        if not _holds(is_known):
            yield "not_allowed", pc.invert(is_known)
    if column.pattern:
        matches = pc.match_substring_regex(array, rf"\A(?:{column.pattern})\z")
        if not _holds(matches):
            yield "pattern_mismatch", pc.invert(matches)
    if column.max_length is not None:
        longest = pc.max(pc.utf8_length(array)).as_py()
        if longest is not None and longest > column.max_length:
            yield "too_long", pc.greater(pc.utf8_length(array), column.max_length)


def _out_of_range(column: ColumnContract, array: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    values = _comparable(array, column)
    seen = pc.min_max(values)
    for check, limit, extreme, is_beyond in (
        ("below_minimum", column.minimum, seen["min"], pc.less),
        ("above_maximum", column.maximum, seen["max"], pc.greater),
    ):
        if limit is None:
            continue
        bound = pa.scalar(limit, arrow_type(column.type))
        if is_beyond(extreme, bound).as_py():
            mask = is_beyond(values, bound)
            # An infinity has a finding of its own.
            yield check, pc.and_(mask, pc.is_finite(values)) if types.is_floating(values.type) else mask


def _comparable(array: pa.Array, column: ColumnContract) -> pa.Array:
    """Values in a type that Arrow can compare with the limits without rounding either."""
    if types.is_decimal(array.type) or types.is_date64(array.type):
        return array.cast(arrow_type(column.type))
    if types.is_timestamp(array.type):
        return array.cast(pa.timestamp(array.type.unit, tz="UTC" if column.type == "timestamp_utc" else None))
    return array


def _holds(mask: pa.Array) -> bool:
    return pc.all(mask, skip_nulls=True, min_count=0).as_py() is not False


def _finding(column: ColumnContract, check: str, violation: _Violation) -> Finding:
    first = f"first in data row {violation.first_rows[0]}"
    verb_phrase = {
        "value_missing": "no value",
        "not_finite": "a number that is not finite",
        "below_minimum": f"a value below {_text(column.minimum)}",
        "above_maximum": f"a value above {_text(column.maximum)}",
        "not_allowed": "a value that is not allowed",
        "pattern_mismatch": f"a text that does not match {column.pattern!r}",
        "too_long": f"a text of more than {column.max_length} characters",
    }[check]
    # The value of a pattern is often personal, and that of a long text is: their row must do.
    shows_value = check in ("not_finite", "below_minimum", "above_maximum", "not_allowed")
    got = f": {harmless_text(violation.first_value)}" if shows_value else ""
    expected = f"; expected {_listed(column.allowed)}" if check == "not_allowed" else ""
    unit = f" {column.unit}" if column.unit and check in ("below_minimum", "above_maximum") else ""
    return Finding(
        check=check,
        severity=_severity(check),
        message=f"column {column.name!r}: {_rows(violation.rows)} {verb_phrase}{unit}, {first}{got}{expected}.",
        column=column.name,
        rows=violation.rows,
        first_rows=tuple(violation.first_rows),
        advice=_ADVICE[check],
    )


def _severity(check: str) -> Severity:
    return "warning" if check == "extra_column" else "error"


_ADVICE = {
    "value_missing": "Fill the values in, or take the rows out.",
    "not_finite": "Leave the value out where there is none.",
    "below_minimum": "Mend the values; look for another unit.",
    "above_maximum": "Mend the values; look for another unit.",
    "not_allowed": "Write the values as the contract lists them, or ask for the contract to be extended.",
    "pattern_mismatch": "Write the values in the contract's form.",
    "too_long": "Shorten the texts; look for columns that have shifted.",
}


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count:,} rows have"


def harmless_text(value: ContractValue | None) -> str:
    """A value for a message, unless it is a text that may be an address, a number of a person, or a long one."""
    if not isinstance(value, str):
        return _text(value)
    digits = sum(letter.isdigit() for letter in value)
    if len(value) > _SHORT_TEXT or "@" in value or digits >= _DIGITS_OF_A_PHONE:
        return f"a text of {len(value):,} characters"
    return repr(value)


def _text(value: ContractValue | None) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return repr(value) if isinstance(value, str) else str(value)


def _listed(values: tuple[ContractValue, ...]) -> str:
    shown = ", ".join(_text(value) for value in values[:10])
    return f"{shown} or one of {len(values) - 10} more" if len(values) > 10 else shown
