"""A contract from base data: what it closes, what it leaves open, and that the base keeps it."""

from __future__ import annotations

import dataclasses
import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.datasets.contract_checks import check_contract
from hokusai.datasets.contract_file import load_contract, write_contract
from hokusai.datasets.contract_inference import INFERENCE_COMMENTS, infer_contract
from hokusai.errors import DataError

if TYPE_CHECKING:
    from hokusai.datasets.contract import ColumnContract

COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "int": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float": (pa.float64(), st.floats(allow_nan=False, allow_infinity=False)),
    "decimal(2)": (pa.decimal128(38, 2), st.decimals(-(10**35), 10**35, places=2)),
    "string": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=3)),
    "date": (pa.date32(), st.dates()),
    "timestamp": (pa.timestamp("us"), st.datetimes()),
    "timestamp_utc": (pa.timestamp("us", tz="UTC"), st.datetimes(timezones=st.just(UTC))),
    "bool": (pa.bool_(), st.booleans()),
}


def inferred(values: Any, kind: pa.DataType | None = None) -> ColumnContract:
    """The contract of one feature."""
    array = pa.array(values, kind)
    return infer_contract(pa.table({"x": array, "label": [True] * len(array)}), label="label").columns[0]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), word=st.sampled_from(list(COLUMNS)), repeats=st.sampled_from([1, 12]))
def test_the_base_keeps_its_contract_and_so_does_what_the_file_says(
    data: st.DataObject, word: str, repeats: int
) -> None:
    kind, strategy = COLUMNS[word]
    values = data.draw(st.lists(st.none() | strategy, min_size=1, max_size=25).filter(lambda v: set(v) != {None}))
    table = pa.table({"x": pa.array(values * repeats, kind), "label": [True] * (len(values) * repeats)})
    contract = infer_contract(table, label="label")
    assert contract.types["x"] == word
    assert contract.columns[0].nullable == (None in values)
    assert check_contract(table, contract, source="base") == ()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "contract.toml")
        path.write_text(write_contract(contract, comments=INFERENCE_COMMENTS), encoding="utf-8", newline="")
        assert load_contract(path) == contract


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([174, 231], (3, 410)),
        ([30.0, 60.0], (0.0, 150.0)),
        ([-10, -5], (-25, 0)),
        ([-1.0, 1.0], (-7.0, 7.0)),
        ([0.001, 0.0025], (0.0, 0.007)),
        ([5, 5], (None, None)),
        (list(range(100)), (None, None)),
        ([-(2**63), 2**63 - 1], (None, None)),
        ([date(2026, 1, 1), date(2026, 2, 1)], (None, None)),
        ([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)], (None, None)),
        ([Decimal("1.10"), Decimal("1.20")], (Decimal("0.80"), Decimal("1.50"))),
    ],
)
def test_a_range_is_widened_by_three_spans_and_not_beyond_zero(values: list[Any], limits: tuple[Any, Any]) -> None:
    column = inferred(values)
    assert (column.minimum, column.maximum) == limits


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        (["f"] * 10 + ["m"] * 10, ("f", "m")),
        (["f"] * 10 + ["m"] * 9, ()),
        (["f"] * 50, ()),
        ([str(number) for number in range(10)] * 10, tuple("0123456789")),
        ([str(number) for number in range(11)] * 10, ()),
    ],
)
def test_texts_are_closed_where_they_are_few_and_all_common(values: list[str], allowed: tuple[str, ...]) -> None:
    assert inferred(values).allowed == allowed


def test_the_label_stays_open_and_says_so(demo_data: Path) -> None:
    base = pa.csv.read_csv(demo_data / "base.csv")
    contract = infer_contract(base, label="species")
    species = contract.columns[-1]
    assert species.allowed == ()
    assert species.description == "classes in the base data: 'Adelie', 'Gentoo'; a contribution may bring others"
    closed = dataclasses.replace(species, allowed=("Adelie", "Gentoo"))
    dream = pa.csv.read_csv(demo_data / "dream.csv")
    contract = dataclasses.replace(contract, columns=(*contract.columns[:-1], closed))
    assert [finding.rows for finding in check_contract(dream, contract, source="dream")] == [44]


def test_a_label_of_true_and_false_is_not_said_to_be_open() -> None:
    contract = infer_contract(pa.table({"x": [1.5, 2.5], "ill": [True, False]}), label="ill")
    assert contract.columns[-1].description == "classes in the base data: false, true"


@pytest.mark.parametrize("name", ["dream", "torgersen", "benchmark"])
def test_honest_penguins_keep_the_contract_of_the_base(demo_data: Path, name: str) -> None:
    contract = infer_contract(pa.csv.read_csv(demo_data / "base.csv"), label="species")
    assert check_contract(pa.csv.read_csv(demo_data / f"{name}.csv"), contract, source=name) == ()


def test_penguins_in_another_unit_break_it(demo_data: Path) -> None:
    base = pa.csv.read_csv(demo_data / "base.csv")
    wrong = base.set_column(0, "bill_length_mm", pc.multiply(base["bill_length_mm"], 1000))
    found = check_contract(wrong, infer_contract(base, label="species"), source="wrong")
    assert [(finding.check, finding.rows) for finding in found] == [("above_maximum", 108)]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"x": [1], "y": [True]}, "no column 'label'"),
        ({"x": [1, 1], "label": [True, None]}, "1 rows have no 'label'"),
        ({"x": [None, None], "label": [True, True]}, "column 'x' has no value in any row"),
        ({"x": [[1]], "label": [True]}, "no contract can express"),
        ({"x": [float("inf"), 1.0], "label": [True, True]}, "not finite"),
        ({"x": pa.array([], pa.int64()), "label": pa.array([], pa.bool_())}, "no rows"),
    ],
)
def test_base_data_that_give_no_contract_are_refused(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        infer_contract(pa.table(table), label="label")


def test_a_key_that_does_not_tell_rows_apart_is_refused_and_a_true_one_is_kept() -> None:
    table = pa.table({"site": ["a", "a"], "day": [1, 2], "label": [True, False]})
    assert infer_contract(table, label="label", key=("site", "day")).key == ("site", "day")
    with pytest.raises(DataError, match="the key 'site' of an earlier row"):
        infer_contract(table, label="label", key=("site",))
