"""Numbers as they are signed: decimals with twelve places, the same bytes on every machine and in every language.

A float has many texts, and readers differ in how they round it. A fixed decimal has one text, ``0.012345678901``: it
is the float's exact binary value, rounded half to even, without a plus sign, an exponent or a minus zero.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

__all__ = ["PLACES", "decimal_text", "fixed_decimal", "fixed_difference", "read_decimal"]

PLACES = 12
"""Digits after the point."""
_STEP = Decimal(1).scaleb(-PLACES)
# The largest float has 309 digits before the point, and so has the difference of two.
_EXACT = Context(prec=400, rounding=ROUND_HALF_EVEN)
_FIXED = re.compile(r"-?(?:0|[1-9][0-9]{0,308})\.[0-9]{12}", re.ASCII)


def fixed_decimal(value: float) -> Decimal:
    """Return a float's exact value, rounded half to even at twelve places; never a minus zero.

    Raises:
        ValueError: The value is NaN or infinite.
    """
    if not math.isfinite(value):
        msg = f"no fixed decimal: {value} is no finite number"
        raise ValueError(msg)
    return _without_minus_zero(Decimal(value).quantize(_STEP, context=_EXACT))


def fixed_difference(first: Decimal, second: Decimal) -> Decimal:
    """Return first minus second, exactly, of two fixed decimals."""
    return _without_minus_zero(_EXACT.subtract(first, second))


def decimal_text(value: Decimal) -> str:
    """Return the one text of a fixed decimal."""
    return f"{value:f}"


def read_decimal(text: str) -> Decimal:
    """Return the fixed decimal of a text.

    Raises:
        ValueError: It is not the one text of any fixed decimal.
    """
    if not _FIXED.fullmatch(text) or (text[0] == "-" and not text.strip("-0.")):
        msg = f"no fixed decimal: {text[:40]!r}"
        raise ValueError(msg)
    return Decimal(text)


def _without_minus_zero(value: Decimal) -> Decimal:
    return value or abs(value)
