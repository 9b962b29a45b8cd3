"""A first contract from base data, for a person to read and correct.

What base data show is not all that an honest contribution may hold: ranges are widened, and a list of values is closed
only where it is short and every value is common. Nothing is guessed that would refuse a later date or a new class.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hokusai.datasets.contract import ColumnContract, Contract, decimal_scale
from hokusai.datasets.contract_checks import check_contract, harmless_text, type_of
from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hokusai.datasets.contract import ContractValue

__all__ = ["INFERENCE_COMMENTS", "infer_contract"]

INFERENCE_COMMENTS = (
    "What a contribution must keep. Inferred from base data: read and correct it.",
    "",
    "- type: int takes whole numbers alone; write float for a column that may hold fractions.",
    "- nullable = false: no value is missing in the base data.",
    "- minimum, maximum: what the base data hold, widened by three times their span on each side, not beyond zero,",
    "  and rounded outwards. Dates, times, constant columns and integers that never repeat have none.",
    "- allowed: the base data hold 2 to 10 different texts, each at least 10 times. Nothing else is accepted then.",
    "- The label is open: a contribution may bring a class that the base data lack. To close it, list all",
    "  of them under allowed.",
    "- unit, description: for people. Texts may have a pattern (a regular expression for the whole text, such as",
    '  "[A-Z]{3}") and a max_length.',
)
"""What stands in front of an inferred contract's file."""

_MOST_ALLOWED = 10  # a list that a person reads at a glance
_COMMON = 10  # a value seen ten times is no slip of the pen, and an unseen one is likely to be rare or wrong
_MOST_CLASSES = 20
_SIGNIFICANT_DIGITS = 2
_SPANS = 3  # flights from one airport go up to 1,620 miles, from another to 4,983; units and slips miss by more
_ENOUGH_ROWS = 20  # fewer integers may differ by chance without being identifiers


def infer_contract(table: pa.Table, *, label: str, key: Sequence[str] = (), source: str = "base data") -> Contract:
    """A contract that the table keeps, and that a contribution with the same columns will mostly keep as well.

    Args:
        table: The base data.
        label: The column to predict.
        key: The columns that name a row, if there are such.
        source: What messages call the table.

    Raises:
        DataError: The table lacks the label or the key, a row has no value there, a key is repeated, or a column is
            empty or has a type that a contract cannot express.
    """
    if not table.num_rows:
        raise DataError(source, "the table has no rows, expected some to infer a contract from.")
    for name in (label, *key):
        if name not in table.column_names:
            found = ", ".join(map(repr, table.column_names))
            raise DataError(source, f"no column {name!r} for the label or the key; found {found}.")
        missing = table[name].null_count
        if missing:
            problem = f"{missing} rows have no {name!r}, expected none: it is the label or in the key. Fill them in."
            raise DataError(source, problem)
    columns = (_infer_column(name, table[name], is_label=name == label, source=source) for name in table.column_names)
    contract = Contract(columns=tuple(columns), label=label, key=tuple(key), source=source)
    for finding in check_contract(table, contract, source=source):
        raise DataError(source, f"{finding.message} {finding.advice}")
    return contract


def _infer_column(name: str, values: pa.ChunkedArray, *, is_label: bool, source: str) -> ColumnContract:
    if values.null_count == len(values):
        raise DataError(source, f"column {name!r} has no value in any row. Leave it out.")
    word = type_of(values.type)
    if word is None:
        problem = f"column {name!r} is of type {values.type}, which no contract can express. Leave it out."
        raise DataError(source, problem)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    minimum, maximum = (None, None) if is_label and word == "int" else _range(values, word)
    allowed = () if is_label else _allowed(values, word)
    return ColumnContract(
        name=name,
        type=word,
        nullable=values.null_count > 0,
        minimum=minimum,
        maximum=maximum,
        allowed=allowed,
        description=_classes(values, word) if is_label else "",
    )


def _range(values: pa.ChunkedArray, word: str) -> tuple[ContractValue | None, ContractValue | None]:
    """The widened range of numbers; None for what has none."""
    scale = decimal_scale(word)
    if word not in ("int", "float") and scale is None:
        return None, None
    present = values.drop_null()
    if word == "int" and len(present) >= _ENOUGH_ROWS and pc.count_distinct(present).as_py() == len(present):
        return None, None
    if word == "float":
        present = present.filter(pc.is_finite(present))
    seen = pc.min_max(present)
    low, high = seen["min"].as_py(), seen["max"].as_py()
    if low is None or low == high:
        return None, None
    low, high = Decimal(str(low)), Decimal(str(high))
    span = _SPANS * (high - low)
    lower = max(low - span, Decimal(0)) if low >= 0 else low - span
    upper = min(high + span, Decimal(0)) if high <= 0 else high + span
    lower, upper = _rounded(lower, ROUND_FLOOR), _rounded(upper, ROUND_CEILING)
    return _limit(lower, word), _limit(upper, word)


def _rounded(value: Decimal, direction: str) -> Decimal:
    """A number of two significant digits, further out than the given one if not equal."""
    if not value:
        return Decimal(0)
    return value.quantize(Decimal(1).scaleb(value.adjusted() - _SIGNIFICANT_DIGITS + 1), rounding=direction)


def _limit(value: Decimal, word: str) -> ContractValue | None:
    """The limit in its column's type, or None where that cannot hold it: then there is nothing to go beyond."""
    if word == "float":
        number = float(value)
        return number if math.isfinite(number) else None
    if word == "int":
        return int(value) if -(2**63) <= value < 2**63 else None
    scale = decimal_scale(word) or 0
    digits = value.adjusted() + 1 + scale
    return round(value, scale) if digits <= 28 else None


def _allowed(values: pa.ChunkedArray, word: str) -> tuple[str, ...]:
    if word != "string":
        return ()
    counted = pc.value_counts(values.drop_null())
    counts = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
    if not 2 <= len(counts) <= _MOST_ALLOWED or min(counts.values()) < _COMMON:
        return ()
    return tuple(sorted(counts))


def _classes(values: pa.ChunkedArray, word: str) -> str:
    """What the label's description says of its classes; a label of many values has none worth listing."""
    if word == "float":
        return ""
    classes = pc.unique(values).to_pylist()
    if len(classes) > _MOST_CLASSES:
        return ""
    listed = ", ".join(harmless_text(value) for value in sorted(classes))
    others = "" if word == "bool" else "; a contribution may bring others"
    return f"classes in the base data: {listed}{others}"
