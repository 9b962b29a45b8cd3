"""Hashes of values: equal for equal values alone, and the same however rows come together."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hokusai.datasets.logical_types import fields_of
from hokusai.datasets.text_normalisation import TextNumbers, normalised_text
from hokusai.datasets.value_hashes import HASHES, PlacedTexts, ValueHasher, as_rows

LENGTHS = st.sampled_from([0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 511, 512, 513, 520, 2_000])
BYTES = st.one_of(
    st.binary(max_size=20), st.builds(lambda size, fill: bytes([fill]) * size, LENGTHS, st.integers(0, 2))
)
PIECES = st.lists(
    st.sampled_from(["a", "B", "ß", "é", "É", "я", "Я", " ", "  ", '"', ".", "\u00a0", "e\u0301", "ﬁ", "\n", "0"])
)
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def hasher_of(array: pa.Array) -> ValueHasher:
    return ValueHasher(fields_of(pa.schema([("column", array.type)]), column_order="name", source="test")[0])


def hashed(hasher: ValueHasher, array: pa.Array) -> list[bytes]:
    is_text = pa.types.is_string(array.type) or pa.types.is_binary(array.type)
    return [bytes(row) for row in as_rows(hasher.hashes(array, PlacedTexts.of(array) if is_text else None))]


def places(values: list[Any]) -> list[int]:
    """Where each value stood first."""
    return [values.index(value) for value in values]


@settings(deadline=None)
@given(values=st.lists(st.none() | BYTES, min_size=1, max_size=30), cut=st.integers(0, 30))
@example(values=[b"a", b"a\0", b"a\0\0\0\0\0\0\0\0", b"", None], cut=2)
@example(values=[b"x" * 8, b"x" * 16, b"x" * 600, b"x" * 601, b"y" * 600, *[b"z"] * 20], cut=3)
def test_texts_have_equal_hashes_when_their_bytes_are_equal_and_then_alone(
    values: list[bytes | None], cut: int
) -> None:
    array = pa.array(values, pa.binary())
    hasher = hasher_of(array)
    whole = hashed(hasher, array)
    assert places(whole) == places(values)
    assert hashed(hasher, array.slice(0, cut)) + hashed(hasher, array.slice(cut)) == whole


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int64(), [0, None, 1, -1, 2**32, 2**63 - 1, -(2**63), 0]),
        (pa.int16(), [0, None, 1, -1, 0]),
        (pa.float64(), [0.5, None, 1.5, -1.5, 1e-300, float("inf"), 0.5]),
        (pa.bool_(), [True, False, None, True]),
        (pa.date32(), [date(1970, 1, 1), None, date(1969, 12, 31), date(1970, 1, 1)]),
        (pa.time64("us"), [time(0), None, time(0, 0, 0, 1), time(0)]),
        (pa.timestamp("us", "UTC"), [NOON, None, NOON + timedelta(microseconds=1), NOON]),
        (pa.decimal128(38, 2), [Decimal(0), None, Decimal(2**70), Decimal(-1), Decimal(0)]),
        (pa.list_(pa.int64()), [[], None, [None], [0], [0, 0], []]),
        (pa.struct([("a", pa.int64())]), [{"a": 0}, {"a": None}, None, {"a": 1}, {"a": 0}]),
    ],
    ids=str,
)
def test_values_of_every_type_have_equal_hashes_when_they_are_equal_and_then_alone(
    kind: pa.DataType, values: list[Any]
) -> None:
    array = pa.array(values, kind)
    assert places(hashed(hasher_of(array), array)) == places(values)


def test_a_negative_zero_and_nanoseconds_are_what_they_are_elsewhere() -> None:
    floats = pa.array([0.0, -0.0])
    assert len(set(hashed(hasher_of(floats), floats))) == 1
    moments = pa.array([1_000, 1_001, 2_000, 1_000], pa.timestamp("ns"))
    hasher = hasher_of(moments)
    assert places(hashed(hasher, moments)) == [0, 1, 2, 0]
    assert hashed(hasher, moments.slice(0, 1)) == hashed(hasher, moments)[:1]


def test_every_hash_of_a_value_has_keys_of_its_own_and_so_has_every_hasher() -> None:
    array = pa.array(np.arange(1, 2_000))
    one, other = hasher_of(array), hasher_of(array)
    sums = [*one.hashes(array), *other.hashes(array)]
    assert len({bytes(each) for each in sums}) == 2 * HASHES
    assert all(len(np.unique(each)) == len(array) for each in sums)


@settings(deadline=None, max_examples=300)
@given(texts=st.lists(st.none() | PIECES.map("".join) | st.text(max_size=12), min_size=1, max_size=12))
@example(texts=["......", "a" + "." * 9, '"""a"""', " a", "a b", "a  b", None, "", "."])
@example(texts=["É", "é", "E\u0301", "e", "ÿ", "Ÿ", "\u00f7", "\u00d7"])
def test_texts_have_equal_numbers_when_they_are_equal_after_normalisation_and_then_alone(
    texts: list[str | None],
) -> None:
    array = pa.array(texts, pa.string())
    hasher, placed = hasher_of(array), PlacedTexts.of(array)
    numbers = TextNumbers(hasher).numbers(array, placed, hasher.hashes(array, placed), is_binary=False).tolist()
    normalised = ["" if text is None else normalised_text(text) for text in texts]
    assert places(numbers) == places(normalised)
    assert [number == 0 for number in numbers] == [text == "" for text in normalised]


def test_more_spellings_than_are_remembered_are_still_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hokusai.datasets.text_normalisation._TEXTS_REMEMBERED", 10)
    array = pa.array([f"ЯЗЫК {number}" for number in range(40)])
    hasher, placed = hasher_of(array), PlacedTexts.of(array)
    numbers = TextNumbers(hasher)
    first, again = (numbers.numbers(array, placed, hasher.hashes(array, placed), is_binary=False) for _ in range(2))
    assert len(np.unique(first)) == 40
    assert np.array_equal(first, again)
