"""A table against its contract: every rule, whatever the batches, and what messages may hold."""

from __future__ import annotations

import dataclasses
import itertools
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.datasets.contract import ColumnContract, Contract
from hokusai.datasets.contract_checks import CONTRACT_CHECKS, ContractChecker, check_contract, require_contract
from hokusai.errors import ContractViolationError

if TYPE_CHECKING:
    from hokusai.records import Finding

LABEL = ColumnContract(name="label", type="bool", nullable=False)


def contract_of(*columns: ColumnContract, key: tuple[str, ...] = ()) -> Contract:
    return Contract(columns=(*columns, LABEL), label="label", key=key, source="contract.toml")


def findings_of(values: Any, **rules: Any) -> tuple[Finding, ...]:
    """What is found in one column of a table that is sound otherwise."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    table = pa.table({"x": array, "label": [True] * len(array)})
    return check_contract(table, contract_of(ColumnContract(name="x", **rules)), source="file.csv")


@pytest.mark.parametrize(
    ("rules", "good", "bad", "check", "shown"),
    [
        ({"type": "int", "minimum": 3}, [3, 4, None], [2], "below_minimum", "below 3, first in data row 4: 2."),
        ({"type": "int", "maximum": 2**62}, [2**62], [2**62 + 1], "above_maximum", str(2**62 + 1)),
        ({"type": "float", "maximum": 0.1}, [0.1, -0.0], [0.2], "above_maximum", "above 0.1"),
        ({"type": "float"}, [1.0, None], [math.nan, math.inf], "not_finite", "nan"),
        ({"type": "float", "minimum": 1.5}, [2, 3], [1], "below_minimum", ": 1."),
        ({"type": "bool", "allowed": (True,)}, [True], [False], "not_allowed", "false; expected true"),
        ({"type": "string", "allowed": ("a", "b")}, ["a", "b", None], ["c"], "not_allowed", "'c'; expected 'a', 'b'"),
        ({"type": "string", "pattern": "a|b"}, ["a", "b", None], ["ab", "a\n"], "pattern_mismatch", "'a|b'"),
        ({"type": "string", "max_length": 2}, ["äö", None], ["abc"], "too_long", "more than 2 characters"),
        (
            {"type": "date", "minimum": date(2020, 1, 1)},
            [date(2020, 1, 1)],
            [date(2019, 1, 1)],
            "below_minimum",
            "2019",
        ),
        (
            {"type": "decimal(2)", "maximum": Decimal("0.1")},
            [Decimal("0.10")],
            [Decimal("0.11")],
            "above_maximum",
            "0.11",
        ),
        ({"type": "int", "nullable": False}, [1], [None], "value_missing", "first in data row 2"),
    ],
)
def test_a_rule_passes_the_values_that_keep_it_and_finds_the_others(
    rules: dict[str, Any], good: list[Any], bad: list[Any], check: str, shown: str
) -> None:
    assert findings_of(good, **rules) == ()
    (finding,) = findings_of(pa.array([*good, *bad], from_pandas=False), **rules)
    assert (finding.check, finding.severity, finding.column) == (check, "error", "x")
    assert finding.rows == len(bad)
    assert finding.first_rows == tuple(range(len(good) + 1, len(good) + len(bad) + 1))
    assert shown in finding.message


def test_an_instant_is_compared_as_an_instant_whatever_its_zone_and_clock() -> None:
    limit = datetime(2026, 1, 1, tzinfo=UTC)
    moments = pa.array([limit.timestamp() * 1e9 - 1, limit.timestamp() * 1e9], pa.float64()).cast(pa.int64())
    found = findings_of(moments.cast(pa.timestamp("ns", tz="Asia/Tokyo")), type="timestamp_utc", maximum=limit)
    assert found == ()
    late = pa.array([int(limit.timestamp()) + 1]).cast(pa.timestamp("s", tz="Asia/Tokyo"))
    assert [finding.check for finding in findings_of(late, type="timestamp_utc", maximum=limit)] == ["above_maximum"]


def test_columns_that_lack_differ_or_are_too_many_are_found() -> None:
    table = pa.table({"label": [True], "extra": [1], "number": ["1"]})
    contract = contract_of(ColumnContract(name="number", type="int"), ColumnContract(name="lost", type="int"))
    found = check_contract(table, contract, source="file.csv")
    assert [(finding.check, finding.severity, finding.column) for finding in found] == [
        ("wrong_type", "error", "number"),
        ("missing_column", "error", "lost"),
        ("extra_column", "warning", "extra"),
    ]
    assert "got the type string, expected int" in found[0].message


@pytest.mark.parametrize(
    ("values", "word", "fits"),
    [
        (pa.array([1, 2]), "float", True),
        (pa.array([1.0]), "int", False),
        (pa.nulls(2), "date", True),
        (pa.array([1], pa.uint8()), "int", True),
        (pa.array(["a"]).dictionary_encode(), "string", True),
        (pa.array([datetime(2026, 1, 1, tzinfo=UTC)]), "timestamp", False),
        (pa.array([Decimal("1.0")]), "decimal(2)", False),
        (pa.array([b"a"]), "string", False),
    ],
)
def test_a_type_is_what_values_are_and_not_how_they_are_stored(values: pa.Array, word: str, fits: bool) -> None:  # noqa: FBT001
    checks = [finding.check for finding in findings_of(values, type=word)]
    assert checks == ([] if fits else ["wrong_type"])


def test_a_key_that_comes_again_in_a_later_batch_is_found_with_its_row() -> None:
    columns = [ColumnContract(name=name, type="string", nullable=False) for name in ("site", "day")]
    checker = ContractChecker(contract_of(*columns, key=("site", "day")), "file.csv")
    for sites in (["a", "b"], ["c", "a"], ["b", "d"]):
        days = ["1", "2"] if sites[0] != "b" else ["3", "2"]
        batch = {"site": sites, "day": days if sites[0] != "c" else ["1", "1"], "label": [True, True]}
        checker.update(pa.RecordBatch.from_pydict(batch))
    (finding,) = checker.findings()
    assert (finding.check, finding.rows, finding.first_rows, finding.column) == ("key_repeated", 1, (4,), None)
    # The values of a key may be names of people.
    assert "'a'" not in finding.message


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.none() | st.integers(-3, 3), st.none() | st.sampled_from(["a", "b", "cc"]), st.floats(-2, 2)),
        max_size=30,
    ),
    cuts=st.lists(st.integers(0, 30), max_size=4),
)
def test_what_is_found_does_not_depend_on_the_batches(rows: list[Any], cuts: list[int]) -> None:
    schema = pa.schema([("n", pa.int64()), ("s", pa.string()), ("f", pa.float64()), ("label", pa.bool_())])
    table = pa.Table.from_pylist([dict(zip(schema.names, (*row, True), strict=True)) for row in rows], schema)
    contract = contract_of(
        ColumnContract(name="n", type="int", minimum=-1, maximum=1),
        ColumnContract(name="s", type="string", nullable=False, allowed=("a", "b"), max_length=1),
        ColumnContract(name="f", type="float", nullable=False, maximum=1.0),
        key=("f",),
    )
    checker = ContractChecker(contract, "file.csv")
    bounds = sorted({0, *(cut for cut in cuts if cut < len(rows)), len(rows)})
    for start, end in itertools.pairwise(bounds):
        checker.update(table.slice(start, end - start))
    if not rows:
        checker.update(table)
    found = checker.findings()
    assert found == check_contract(table, contract, source="file.csv")
    chunked = pa.concat_tables(table.slice(start, 7) for start in range(0, max(len(rows), 1), 7))
    assert found == check_contract(chunked, contract, source="file.csv")
    # And the counts are those of a reading row by row.
    expected = {
        "below_minimum": sum(n is not None and n < -1 for n, _, _ in rows),
        "not_allowed": sum(s == "cc" for _, s, _ in rows),
        "too_long": sum(s == "cc" for _, s, _ in rows),
        "value_missing": sum(s is None for _, s, _ in rows),
        "key_repeated": len(rows) - len({f for _, _, f in rows}),
    }
    counted = {finding.check: finding.rows for finding in found}
    assert {name: counted.get(name, 0) for name in expected} == expected


@pytest.mark.parametrize("secret", ["jane.doe@example.org", "+49 170 1234567", "4111 1111 1111 1111", "x" * 41])
def test_a_text_that_may_be_personal_stays_out_of_the_message(secret: str) -> None:
    for rules in ({"allowed": ("a",)}, {"pattern": "a"}, {"max_length": 1}):
        for finding in findings_of([secret], type="string", **rules):
            assert secret not in str(finding)
            assert finding.first_rows == (1,)


def test_a_text_that_is_shown_cannot_steer_a_terminal() -> None:
    (finding,) = findings_of(["\x1b[31m\u202e"], type="string", allowed=("a",))
    assert r"'\x1b[31m\u202e'" in finding.message


def test_a_table_that_breaks_its_contract_is_refused_with_every_reason() -> None:
    contract = contract_of(ColumnContract(name="x", type="int", minimum=0))
    sound = pa.table({"x": [1], "label": [True], "extra": [1]})
    require_contract(sound, contract, source="file.csv")  # an extra column alone is no reason
    broken = pa.table({"x": [-1], "label": pa.array([None], pa.bool_())})
    with pytest.raises(ContractViolationError) as refused:
        require_contract(broken, contract, source="file.csv")
    assert refused.value.contract == "contract.toml"
    assert [violation.split(":")[0] for violation in refused.value.violations] == ["column 'x'", "column 'label'"]
    assert str(refused.value).startswith("file.csv: breaks the contract contract.toml: column 'x': 1 row has")


def test_the_words_of_the_checks_are_those_that_are_documented() -> None:
    full = ColumnContract(name="x", type="string", nullable=False, allowed=("a",), pattern="a", max_length=0)
    number = ColumnContract(name="n", type="float", minimum=0.0, maximum=1.0)
    contract = contract_of(
        full, number, dataclasses.replace(number, name="lost"), dataclasses.replace(number, name="text"), key=("x",)
    )
    table = pa.table(
        {
            "x": ["bb", None, "bb"],
            "n": pa.array([math.nan, -1.0, 2.0], from_pandas=False),
            "text": ["a"] * 3,
            "extra": [1] * 3,
            "label": [True] * 3,
        }
    )
    assert {finding.check for finding in check_contract(table, contract, source="f")} == set(CONTRACT_CHECKS)
