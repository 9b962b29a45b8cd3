"""Numbers as they are signed: one text for each, the nearest one, and no other is read."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hokusai.provenance.contributor_weights import row_shares
from hokusai.provenance.decimals import decimal_text, fixed_decimal, fixed_difference, read_decimal

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
STEP = Fraction(1, 10**12)


@given(value=FLOATS)
@example(value=5e-13)
@example(value=1.7976931348623157e308)
@example(value=2.0**-13)  # ends in 5 at the thirteenth place
@example(value=3 * 2.0**-13)
def test_a_decimal_is_the_nearest_one_to_the_binary_value_and_the_even_one_of_two(value: float) -> None:
    found = Fraction(fixed_decimal(value))
    error = abs(found - Fraction(value))
    assert found % STEP == 0
    assert error <= STEP / 2
    assert error < STEP / 2 or found / STEP % 2 == 0


@given(value=FLOATS)
@example(value=-0.0)
@example(value=-1e-13)
def test_a_decimal_has_one_text_that_is_read_back_and_zero_has_no_sign(value: float) -> None:
    text = decimal_text(fixed_decimal(value))
    assert read_decimal(text) == fixed_decimal(value)
    assert decimal_text(read_decimal(text)) == text
    assert text.partition(".")[2].isdigit()
    assert len(text.partition(".")[2]) == 12
    assert text != "-0.000000000000"
    assert "e" not in text.lower()


def test_a_decimal_looks_as_it_is_described() -> None:
    values = (0.0123456789012, 0.1, -1.5, 1.0, 1e15)
    assert [decimal_text(fixed_decimal(value)) for value in values] == [
        "0.012345678901",
        "0.100000000000",
        "-1.500000000000",
        "1.000000000000",
        "1000000000000000.000000000000",
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_has_no_decimal(value: float) -> None:
    with pytest.raises(ValueError, match="is no finite number"):
        fixed_decimal(value)


@given(first=FLOATS, second=FLOATS)
def test_a_difference_is_exact_and_does_not_depend_on_the_precision_of_the_caller(first: float, second: float) -> None:
    minuend, subtrahend = fixed_decimal(first), fixed_decimal(second)
    with localcontext(prec=3):
        found = fixed_difference(minuend, subtrahend)
        assert fixed_decimal(first) == minuend
    assert Fraction(found) == Fraction(minuend) - Fraction(subtrahend)
    assert decimal_text(found) == decimal_text(read_decimal(decimal_text(found)))


@settings(max_examples=50)
@given(text=st.from_regex(r"\A-?[0-9]{0,3}\.?[0-9]{10,13}\Z") | st.text(max_size=20))
@example(text="-0.000000000000")
@example(text="+1.000000000000")
@example(text="01.000000000000")
@example(text="1.000000000000\n")
@example(text="1.00000000000٣")
@example(text="1e0")
def test_a_text_that_is_read_is_the_one_that_would_be_written(text: str) -> None:
    try:
        found = read_decimal(text)
    except ValueError:
        try:
            value = Decimal(text)
        except ArithmeticError:
            return
        assert not value.is_finite() or decimal_text(value) != text or value.as_tuple().exponent != -12 or not value
        return
    assert decimal_text(found) == text
    assert found or text[0] != "-"
    assert found.as_tuple().exponent == -12


@settings(max_examples=50)
@given(rows=st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
@example(rows=[1, 1, 1])
def test_shares_are_one_together_and_each_is_within_a_step_of_the_exact_one(rows: list[int]) -> None:
    shares = row_shares(rows)
    total = sum(rows)
    assert sum(map(Fraction, shares)) == (1 if total else 0)
    for each, share in zip(rows, shares, strict=True):
        assert abs(Fraction(share) - (Fraction(each, total) if total else 0)) < STEP
        assert decimal_text(read_decimal(decimal_text(share))) == decimal_text(share)
    ordered = sorted(zip(rows, shares, strict=True))
    assert all(one[0] == other[0] or one[1] <= other[1] for one, other in itertools.pairwise(ordered))
