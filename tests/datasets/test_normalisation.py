"""What normalisation makes equal, and what it leaves apart."""

from __future__ import annotations

import sys
import unicodedata
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from hokusai.datasets.logical_types import fields_of
from hokusai.datasets.normalisation import FeatureNormaliser
from hokusai.datasets.row_index import FeatureIndex
from hokusai.datasets.text_normalisation import normalised_text

FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x == 0 or 1e-290 < abs(x) < 1e290)


def are_equal(one: pa.Table, other: pa.Table) -> list[bool]:
    """Whether each row of the one table is found in the other as the row of the same place, or one equal to it."""
    normaliser = FeatureNormaliser(fields_of(one.schema, column_order="name", source="test"))
    results = []
    for row in range(one.num_rows):
        index = FeatureIndex(normaliser.tolerances)
        index.add_and_find(normaliser.features(one.slice(row, 1)))
        results.append(index.find(normaliser.features(other.slice(row, 1))).tolist() == [0])
    return results


def is_same(one: Any, other: Any, kind: pa.DataType) -> bool:
    return are_equal(pa.table({"a": pa.array([one], kind)}), pa.table({"a": pa.array([other], kind)})) == [True]


@settings(deadline=None)
@given(text=st.text())
@example(text="\u0345\u0300a")
@example(text="\ufdfa .")
def test_normalising_a_text_twice_changes_nothing(text: str) -> None:
    assert normalised_text(normalised_text(text)) == normalised_text(text)


@settings(deadline=None)
@given(text=st.text(st.characters(codec="utf-8", max_codepoint=0x24F), min_size=1))
def test_case_width_space_and_invisible_characters_do_not_count(text: str) -> None:
    words = " ".join(text.split())
    assume(words.isascii() or unicodedata.is_normalized("NFC", words))
    spelled = "  " + unicodedata.normalize("NFD", words).replace(" ", "\u00a0\t\n") + "\u200b "
    assert normalised_text(spelled) == normalised_text(words)
    assert normalised_text("\u200d".join(words)) == normalised_text(words)
    assert normalised_text(words.swapcase()) == normalised_text(words.swapcase().casefold())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("ﬁne", "fine"),
        ("\uff28\uff45\uff4c\uff4c\uff4f", "hello"),
        ("“quoted”", "quoted"),
        ("It\u2019s", "it's"),
        ("The end.", "the end"),
        ("a\u2013b", "a-b"),
        ("caf\u0065\u0301", "CAFÉ"),
    ],
)
def test_spellings_of_one_text_are_equal(one: str, other: str) -> None:
    assert normalised_text(one) == normalised_text(other)


@pytest.mark.parametrize(
    ("one", "other"), [("a b", "ab"), ("1", "1.0"), ("résumé", "resume"), ("?", ""), ("-1", "1"), ("a.b", "ab")]
)
def test_different_texts_stay_apart(one: str, other: str) -> None:
    assert normalised_text(one) != normalised_text(other)


def test_every_format_character_of_this_unicode_version_is_invisible() -> None:
    formats = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"]
    assert [hex(ord(sign)) for sign in formats if normalised_text(f"a{sign}b") != "ab"] == []


@settings(deadline=None)
@given(value=FLOATS, digits=st.integers(6, 17))
@example(value=1.2345649, digits=7)
@example(value=9.999995, digits=6)
@example(value=-0.0, digits=6)
def test_a_number_printed_with_six_digits_or_more_is_found(value: float, digits: int) -> None:
    assert is_same(value, float(f"{value:.{digits}g}"), pa.float64())
    assert is_same(float(f"{value:.{digits}g}"), value, pa.float64())


@settings(deadline=None)
@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda x: x * 1.00000002))
def test_a_number_that_went_through_float32_is_found(value: float) -> None:
    assume(value == 0 or 1e-37 < abs(value) < 1e38)
    assert is_same(value, float(np.float32(value)), pa.float64())


@settings(deadline=None)
@given(value=FLOATS, factor=st.floats(1.2e-5, 1e3), sign=st.sampled_from([1, -1]))
def test_numbers_that_differ_in_their_fifth_digit_are_not_equal(value: float, factor: float, sign: int) -> None:
    assume(value != 0)
    assert not is_same(value, sign * value * (1 + factor), pa.float64())


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 12), min_size=1, max_size=5),
    digits=st.lists(st.integers(6, 9), min_size=12, max_size=12),
)
def test_wide_rows_of_reprinted_numbers_are_found(rows: list[tuple[float, ...]], digits: list[int]) -> None:
    names = [f"x{at:02}" for at in range(12)]
    table = pa.table({name: [row[at] for row in rows] for at, name in enumerate(names)})
    copy = pa.table({name: [float(f"{row[at]:.{digits[at]}g}") for row in rows] for at, name in enumerate(names)})
    assert all(are_equal(table, copy))


def test_every_row_of_a_large_reprinted_table_is_found() -> None:
    rng = np.random.default_rng(3)
    values = rng.lognormal(sigma=4, size=(3, 20_000))
    table = pa.table({f"x{at}": column for at, column in enumerate(values)})
    normaliser = FeatureNormaliser(fields_of(table.schema, column_order="name", source="test"))
    index = FeatureIndex(normaliser.tolerances)
    assert (index.add_and_find(normaliser.features(table)) == -1).all()
    for digits in (6, 7, 8):
        copy = pa.table({f"x{at}": [float(f"{x:.{digits}g}") for x in column] for at, column in enumerate(values)})
        found = normaliser.features(copy)
        assert np.array_equal(index.find(found), np.arange(20_000))
        assert len(found.neighbour_rows) < 2_000
    shifted = pa.table({f"x{at}": column * 1.0001 for at, column in enumerate(values)})
    assert (index.find(normaliser.features(shifted)) == -1).all()


NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        (pa.int64(), 12_345_678, 12_345_679, False),
        (pa.int64(), 0, None, False),
        (pa.float64(), 0.0, None, False),
        (pa.float64(), float("nan"), None, True),
        (pa.float64(), 0.0, 1e-300, False),
        (pa.float64(), 1.5, -1.5, False),
        (pa.string(), "", None, True),
        (pa.string(), " \u200b", None, True),
        (pa.string(), "3", "3.0", False),
        (pa.binary(), b"A", b"a", False),
        (pa.bool_(), True, False, False),
        (pa.bool_(), False, None, False),
        (pa.date32(), date(2024, 1, 1), date(2024, 1, 2), False),
        (pa.timestamp("us", "UTC"), NOON, NOON.replace(microsecond=999_999), True),
        (pa.timestamp("us", "UTC"), NOON, NOON.replace(second=1), False),
        (pa.decimal128(5, 2), Decimal("1.00"), Decimal("1.01"), False),
        (pa.decimal128(5, 2), Decimal("1.00"), Decimal("1.00"), True),
        (pa.list_(pa.int64()), [1, 2], [2, 1], False),
        (pa.list_(pa.int64()), [1, 2], [1, 2], True),
    ],
)
def test_each_type_has_its_own_equality(kind: pa.DataType, one: Any, other: Any, same: bool) -> None:  # noqa: FBT001
    assert is_same(one, other, kind) is same
    assert is_same(other, one, kind) is same


def test_values_that_change_columns_are_another_row() -> None:
    one = pa.table({"a": [1.5], "b": [2.5], "s": ["x"], "t": ["y"]})
    other = pa.table({"a": [2.5], "b": [1.5], "s": ["x"], "t": ["y"]})
    texts = pa.table({"a": [1.5], "b": [2.5], "s": ["y"], "t": ["x"]})
    assert are_equal(one, other) == are_equal(one, texts) == [False]
