"""The data contract: what it may say, and its file."""

from __future__ import annotations

import math
import string
import tempfile
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.datasets.contract import ColumnContract, Contract
from hokusai.datasets.contract_file import load_contract, write_contract
from hokusai.errors import ConfigurationError

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "decimal(3)": st.decimals(-(10**30), 10**30, places=3),
    "date": st.dates(),
    "timestamp": st.datetimes(),
    "timestamp_utc": st.datetimes(timezones=st.just(UTC)),
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
# What is written in TOML's own quotes, and what must be escaped there.
NAMES = st.one_of(TEXTS, st.sampled_from(['a "b', "a.b", "a'b", "ä ö", "# no", "a=b", "a\\", "\x7f"])).filter(str.strip)


@st.composite
def columns(draw: st.DrawFn, name: str) -> ColumnContract:
    word = draw(st.sampled_from(["string", "bool", *VALUES]))
    rules: dict[str, Any] = {}
    if word in VALUES:
        limits = draw(st.lists(VALUES[word], max_size=2, unique=True).map(sorted))
        if draw(st.booleans()):
            rules["allowed"] = tuple(limits)
        else:
            rules |= dict(zip(("minimum", "maximum"), limits, strict=False))
    elif word == "string":
        rules["allowed"] = tuple(draw(st.lists(TEXTS, max_size=3, unique=True)))
        rules["max_length"] = draw(st.none() | st.integers(0, 1000))
        rules["pattern"] = draw(st.sampled_from(["", "[A-Z]{3}", r"\d+(\.\d+)?", 'a"b']))
    return ColumnContract(name=name, type=word, nullable=False, unit=draw(TEXTS), description=draw(TEXTS), **rules)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    key = tuple(draw(st.lists(st.sampled_from(names), unique=True, max_size=2)))
    return Contract(columns=tuple(draw(columns(name)) for name in names), label=names[-1], key=key)


@settings(max_examples=30, deadline=None)
@given(contract=contracts(), comments=st.lists(TEXTS.filter(lambda text: text.isprintable()), max_size=2))
def test_a_contract_that_is_written_and_read_again_is_the_same(contract: Contract, comments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "contract.toml")
        path.write_text(write_contract(contract, comments=comments), encoding="utf-8", newline="")
        read = load_contract(path)
    assert read == contract
    assert [column.name for column in read.columns] == [column.name for column in contract.columns]


def test_the_file_says_no_more_than_the_contract() -> None:
    age = ColumnContract(name="age", type="int", minimum=0, unit="years")
    contract = Contract(columns=(age, ColumnContract(name="is ill", type="bool", nullable=False)), label="is ill")
    assert write_contract(contract, comments=["Who is ill."]) == (
        '# Who is ill.\n\nformat = "hokusai-contract/1"\nlabel = "is ill"\n\n'
        '[columns.age]\ntype = "int"\nminimum = 0\nunit = "years"\n\n'
        '[columns."is ill"]\ntype = "bool"\nnullable = false\n'
    )


def test_a_contract_gives_the_reader_its_types() -> None:
    price = ColumnContract(name="price", type="decimal(2)")
    contract = Contract(columns=(price, ColumnContract(name="sold", type="bool", nullable=False)), label="sold")
    assert dict(contract.types) == {"price": "decimal(2)", "sold": "bool"}


SOUND = """format = "hokusai-contract/1"
label = "class"
key = ["id"]

[columns.id]
type = "int"
nullable = false

[columns."body mass.g"]
type = "float"
minimum = 0

[columns.seen]
type = "date"
minimum = 2007-11-11

[columns.price]
type = "decimal(2)"
maximum = 0.10

[columns.class]
type = "string"
nullable = false
allowed = [
    "a",
    "b",
]
"""


def load(tmp_path: Path, text: str) -> Contract:
    path = tmp_path / "contract.toml"
    path.write_text(text, encoding="utf-8")
    return load_contract(path)


def test_a_file_is_read_with_the_types_of_its_columns(tmp_path: Path) -> None:
    contract = load(tmp_path, SOUND)
    by_name = {column.name: column for column in contract.columns}
    assert contract.source == str(tmp_path / "contract.toml")
    assert isinstance(by_name["body mass.g"].minimum, float)
    assert by_name["seen"].minimum == date(2007, 11, 11)
    assert by_name["price"].maximum == Decimal("0.10")
    assert by_name["class"].allowed == ("a", "b")
    assert by_name["seen"].nullable


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "problem"),
    [
        ('label = "class"', 'lable = "class"', 2, "lable", "Did you mean label?"),
        ('label = "class"', 'label = "klass"', 2, "label", "got 'klass', expected one of the columns"),
        ('label = "class"', "label = 3", 2, "label", "got 3, expected the name of a column"),
        ('label = "class"\n', "", None, "label", "missing"),
        ("contract/1", "contract/2", 1, "format", "another version"),
        ('["id"]', '"id"', 3, "key", "expected a list of names"),
        ('["id"]', '["id", "id"]', 3, "key", "named twice"),
        ('["id"]', '["seen"]', 13, "columns.seen.nullable", "Set nullable = false"),
        ('type = "int"', 'type = "integer"', 6, "columns.id.type", "expected int, float, string"),
        ('type = "int"\n', "", 5, "columns.id.type", "missing"),
        ('type = "int"', 'type = "int"\nminimun = 3', 7, "columns.id.minimun", "Did you mean minimum?"),
        ('nullable = false\n\n[columns."', 'nullable = 0\n\n[columns."', 7, "columns.id.nullable", "true or false"),
        ("minimum = 0", 'minimum = "0"', 11, "columns.body mass.g.minimum", "got '0', expected a finite number"),
        ("minimum = 0", "minimum = inf", 11, "columns.body mass.g.minimum", "expected a number"),
        ("minimum = 0", "minimum = 3\nmaximum = 2", 11, "columns.body mass.g.minimum", "above the maximum"),
        ("minimum = 0", "max_length = 3", 11, "columns.body mass.g.max_length", "string columns alone"),
        ("minimum = 0", "allowed = [1, 1.0]", 11, "columns.body mass.g.allowed", "listed twice"),
        ("minimum = 0", "minimum = 1\nallowed = [1]", 12, "columns.body mass.g.allowed", "Delete the range"),
        ("2007-11-11", '"2007-11-11"', 15, "columns.seen.minimum", "without quotes"),
        ("2007-11-11", "2007-11-11T10:00:00", 15, "columns.seen.minimum", "expected a date without quotes"),
        ("0.10", "0.105", 19, "columns.price.maximum", "at most 2 digits after the point"),
        ('allowed = [\n    "a",\n    "b",\n]', "minimum = 1", 24, "columns.class.minimum", "has no range"),
        ('    "a",\n', "    1,\n", 24, "columns.class.allowed", "got 1, expected a text in quotes"),
        ('    "a",\n    "b",\n', "", 24, "columns.class.allowed", "the list is empty"),
        ('allowed = [\n    "a",\n    "b",\n]', 'pattern = "a)|(b"', 24, "columns.class.pattern", "RE2"),
        ('allowed = [\n    "a",\n    "b",\n]', "max_length = -1", 24, "columns.class.max_length", "0 or more"),
        ("[columns.id]", "[columns.id", None, "", "not valid TOML"),
    ],
)
def test_a_mistake_is_refused_with_its_key_and_line(
    tmp_path: Path, old: str, new: str, line: int | None, key: str, problem: str
) -> None:
    assert old in SOUND
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, SOUND.replace(old, new))
    assert (refused.value.key, refused.value.line) == (key, line)
    assert refused.value.source == str(tmp_path / "contract.toml")
    assert problem in refused.value.problem


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        load_contract(tmp_path / "contract.toml")


def test_a_time_without_a_zone_is_no_instant_and_the_other_way_round() -> None:
    local = datetime(2026, 1, 31, 12)  # noqa: DTZ001
    instant = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
    assert ColumnContract(name="t", type="timestamp", minimum=local).minimum == local
    assert ColumnContract(name="t", type="timestamp_utc", minimum=instant).minimum == instant
    with pytest.raises(ConfigurationError, match="without a zone"):
        ColumnContract(name="t", type="timestamp", minimum=instant)
    with pytest.raises(ConfigurationError, match="with a zone"):
        ColumnContract(name="t", type="timestamp_utc", minimum=local)


@pytest.mark.parametrize("limit", [math.nan, math.inf, True, 2**53 + 1, "1"])
def test_a_limit_of_floats_is_a_number_that_a_float_is(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a finite number"):
        ColumnContract(name="x", type="float", maximum=limit)


@given(name=st.text(string.whitespace, max_size=3))
def test_a_column_has_a_name(name: str) -> None:
    with pytest.raises(ConfigurationError, match="blank name"):
        ColumnContract(name=name, type="int")


def test_a_column_is_described_once() -> None:
    column = ColumnContract(name="x", type="int", nullable=False)
    with pytest.raises(ConfigurationError, match="'x' is described twice"):
        Contract(columns=(column, column), label="x")


def test_a_long_word_inside_a_text_of_several_lines_is_read_at_once(tmp_path: Path) -> None:
    word = "a" * 200  # trying every division of it into shorter words would take for ever
    path = tmp_path / "contract.toml"
    text = 'format = "hokusai-contract/1"\nlabel = "y"\n[columns.y]\ntype = "int"\nnullable = false\n'
    text += f'description = """\n{word}!\n"""\n'
    path.write_text(text, encoding="utf-8")
    assert load_contract(path).columns[0].description == f"{word}!\n"
