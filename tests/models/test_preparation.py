"""Preparation: whatever a table is like, a fit gets what it can learn from, and every arm alike."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.models.column_kinds import column_kinds
from hokusai.models.feature_frames import feature_frame
from hokusai.models.preparation import MOST_CATEGORIES, MOST_SPARSE_CATEGORIES
from hokusai.models.sklearn_models import SklearnModel
from hokusai.models.trainers import TrainingTable, ignore_progress, make_trainer
from hokusai.models.typical_row import typical_row

TRAINERS: dict[str, dict[str, Any]] = {
    "LogisticRegression": {},
    "GaussianNB": {},
    "RandomForestClassifier": {"n_estimators": 3},
    "GradientBoostingClassifier": {"n_estimators": 3},
    "HistGradientBoostingClassifier": {"max_iter": 3},
    "LGBMClassifier": {"n_estimators": 3},
    "XGBClassifier": {"n_estimators": 3},
    "TextClassifier": {},
}
KINDS: dict[str, pa.DataType] = {
    "number": pa.float64(),
    "count": pa.int64(),
    "flag": pa.bool_(),
    "category": pa.string(),
    "day": pa.date32(),
    "moment": pa.timestamp("us"),
}


def values(kind: pa.DataType, rows: int) -> list[Any]:
    """Return values of which each stands several times."""
    start = dt.datetime(2020, 1, 1)  # noqa: DTZ001  (a time without a zone)
    if pa.types.is_boolean(kind):
        return [row % 2 == 0 for row in range(rows)]
    if pa.types.is_string(kind):
        return ["abc"[row % 3] for row in range(rows)]
    if pa.types.is_date(kind):
        return [start.date() + dt.timedelta(days=row % 7) for row in range(rows)]
    if pa.types.is_timestamp(kind):
        return [start + dt.timedelta(hours=row % 7) for row in range(rows)]
    return [row % 5 for row in range(rows)]


def table_of(rows: int, **columns: list[Any]) -> pa.Table:
    """Return a table with a column of each kind, some of them given."""
    named = {name: pa.array(columns.get(name, values(kind, rows)), kind) for name, kind in KINDS.items()}
    return pa.table(named | {"label": ["no" if row % 3 else "yes" for row in range(rows)]})


def fit(name: str, table: pa.Table, *, base: pa.Table | None = None) -> SklearnModel:
    features = tuple(each for each in table.column_names if each != "label")
    kinds = column_kinds(base or table, features)
    data = TrainingTable(table=table, features=features, label="label", kinds=kinds)
    model = make_trainer(name, TRAINERS[name]).fit(data, seed=0, progress=ignore_progress)
    assert isinstance(model, SklearnModel)
    return model


def probabilities(model: SklearnModel, table: pa.Table) -> Any:
    found = model.predict(table, classes=model.classes).probabilities
    assert found is not None
    assert np.isfinite(found).all()
    assert np.allclose(found.sum(axis=1), 1)
    return found


# --- every trainer, every table --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRAINERS)
@pytest.mark.parametrize("column", KINDS)
def test_a_column_may_be_missing_altogether_in_training_or_later(name: str, column: str) -> None:
    whole, empty = table_of(30), table_of(30, **{column: [None] * 30})
    probabilities(fit(name, empty, base=whole), whole)
    assert fit(name, empty, base=whole).features == tuple(KINDS)
    probabilities(fit(name, whole), empty)


@pytest.mark.parametrize("name", TRAINERS)
def test_gaps_new_categories_constants_and_empty_texts_are_taken(name: str) -> None:
    gaps = {each: [None, *values(kind, 29)] for each, kind in KINDS.items()}
    gaps["category"][1:5] = ["", "", "seldom", "a"]
    gaps["count"] = [None] + [7] * 29
    table = table_of(30, **gaps)
    later = table_of(30, category=["never seen"] * 29 + [""], number=[None] * 30, count=[1000] * 30)
    probabilities(fit(name, table), later)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_column_without_a_type_and_three_rows_are_enough_to_fit(name: str) -> None:
    table = table_of(3).append_column("nothing", pa.nulls(3))
    assert len(probabilities(fit(name, table), table)) == 3


@pytest.mark.parametrize("name", TRAINERS)
def test_thousands_of_categories_take_no_more_room_than_the_most_frequent_ones(name: str) -> None:
    rows = 4000
    table = table_of(rows, category=[f"id {row % 3000}" for row in range(rows)])
    model = fit(name, table)
    probabilities(model, table_of(10))
    matrix = model.pipeline[:-1].transform(feature_frame(table, model.features))
    most = MOST_SPARSE_CATEGORIES if hasattr(matrix, "nnz") else MOST_CATEGORIES
    assert matrix.shape[1] <= most + 30
    stored = matrix.nnz if hasattr(matrix, "nnz") else matrix.size
    assert stored <= rows * 80


def test_hist_gradient_boosting_learns_from_parts_of_the_rows_that_may_lack_a_column() -> None:
    rows = 10_500
    table = table_of(rows)
    for place in range(0, rows, 150):
        seldom = np.arange(rows) == place
        table = table.append_column(f"seldom {place}", pa.array(np.ones(rows), mask=~seldom))
    probabilities(fit("HistGradientBoostingClassifier", table), table.slice(0, 10))


def test_categories_are_told_apart_and_not_put_in_an_order() -> None:
    """Of 26 letters, every other one is `yes`: one cut along an order cannot separate them, categories can."""
    letters = [chr(97 + row % 26) for row in range(2600)]
    table = pa.table({"letter": letters, "label": ["yes" if ord(each) % 2 else "no" for each in letters]})
    for name in ("HistGradientBoostingClassifier", "LGBMClassifier", "XGBClassifier"):
        rounds = "max_iter" if name.startswith("Hist") else "n_estimators"
        model = make_trainer(name, {"max_depth": 1, "learning_rate": 1.0, rounds: 1}).fit(
            TrainingTable(table=table, features=("letter",), label="label", kinds={"letter": "category"}),
            seed=0,
            progress=ignore_progress,
        )
        predicted = model.predict(table, classes=("no", "yes")).predicted
        assert [("no", "yes")[code] for code in predicted] == table["label"].to_pylist()


@pytest.mark.parametrize("name", ["LogisticRegression", "HistGradientBoostingClassifier", "TextClassifier"])
def test_words_of_a_text_are_learned(name: str) -> None:
    rng = np.random.default_rng(0)
    good = rng.random(200) < 0.5
    filler = [" ".join(rng.choice(["the", "house", "is", "by", "a", "river"], 5)) for _ in good]
    notes = [f"{text} {'lovely' if each else 'horrid'}" for text, each in zip(filler, good, strict=True)]
    table = pa.table({"note": [*notes[:-1], None], "label": np.where(good, "yes", "no")})
    model = fit(name, table) if name in TRAINERS else None
    assert model is not None
    predicted = model.predict(table.slice(0, 199), classes=("no", "yes")).predicted
    assert (predicted == good[:199]).mean() > 0.9


def test_hours_and_weekdays_are_learned_from_timestamps() -> None:
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    moments = [start + dt.timedelta(hours=5 * row) for row in range(2000)]
    label = ["yes" if each.weekday() >= 5 else "no" for each in moments]
    table = pa.table({"moment": pa.array(moments, pa.timestamp("us", "UTC")), "label": label})
    data = TrainingTable(table=table, features=("moment",), label="label", kinds={"moment": "timestamp"})
    model = make_trainer("HistGradientBoostingClassifier", {"max_iter": 30}).fit(data, seed=0, progress=ignore_progress)
    predicted = model.predict(table, classes=("no", "yes")).predicted
    assert [("no", "yes")[code] for code in predicted] == label


@settings(max_examples=25, deadline=None)
@given(data=st.data(), rows=st.integers(3, 12))
def test_any_table_of_these_types_can_be_fitted_and_scored(data: st.DataObject, rows: int) -> None:
    drawn = {
        "number": st.none() | st.floats(-1e300, 1e300),
        "count": st.none() | st.integers(-(2**63), 2**63 - 1),
        "flag": st.none() | st.booleans(),
        "category": st.none() | st.text(max_size=3),
        "day": st.none() | st.dates(),
    }
    column = {name: data.draw(st.lists(each, min_size=rows, max_size=rows)) for name, each in drawn.items()}
    table = table_of(rows, **column)
    probabilities(fit("HistGradientBoostingClassifier", table), table)


def test_only_tables_with_texts_or_dates_pay_for_the_library_that_reads_them() -> None:
    program = (
        "import sys, pyarrow as pa\n"
        "from hokusai.models.trainers import TrainingTable, ignore_progress, make_trainer\n"
        "table = pa.table({'a': [1.0, 2.0], 'b': ['x', 'y'], 'label': ['u', 'v']})\n"
        "kinds = {'a': 'number', 'b': 'category'}\n"
        "data = TrainingTable(table=table, features=('a', 'b'), label='label', kinds=kinds)\n"
        "make_trainer('LogisticRegression', {}).fit(data, seed=0, progress=ignore_progress)\n"
        "assert not {'skrub', 'lightgbm', 'xgboost', 'mlflow', 'skops'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- kinds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1, None]), "number"),
        (pa.array([1.5]), "number"),
        (pa.array([True]), "boolean"),
        (pa.array(["a", None, "b"]), "category"),
        (pa.array(["2020-01-01", "2020-01-02"]), "category"),
        (pa.array(["1", "2"]), "category"),
        (pa.array(["New York", "Los Angeles"]), "category"),
        (pa.array(["it is late", "so am I", None]), "text"),
        (pa.array(["a"] * 3 + ["a b c d e f g h i"]), "text"),
        (pa.array(["a"] * 4 + ["a b c d e f g h i"]), "category"),
        (pa.array([None, None], pa.string()), "category"),
        (pa.nulls(2), "category"),
        (pa.array([dt.date(2020, 1, 1)]), "date"),
        (pa.array([dt.datetime(2020, 1, 1, tzinfo=dt.UTC)]), "timestamp"),
    ],
)
def test_the_kind_of_a_column_is_its_declared_type_and_of_strings_whether_they_are_sentences(
    column: pa.Array, kind: str
) -> None:
    assert column_kinds(pa.table({"a": column}), ("a",)) == {"a": kind}


# --- a typical row ---------------------------------------------------------------------------------------------------


def test_a_typical_row_is_made_of_medians_and_frequent_categories_and_copies_no_text() -> None:
    table = pa.table(
        {
            "number": pa.array([1.0, 2.0, 4.0, None]),
            "count": pa.array([1, 2, 9, 9]),
            "flag": pa.array([True, False, True, None]),
            "category": pa.array(["b", "a", None, None]),
            "name": pa.array(["it is late", "so am I", "are we so", "no we are"]),
            "day": pa.array([dt.date(2020, 1, 1), dt.date(2020, 1, 3), None, dt.date(2020, 1, 9)]),
            "moment": pa.array([dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)] * 4),
            "nothing": pa.nulls(4, pa.float64()),
        }
    )
    features = tuple(table.column_names)
    assert typical_row(table, features, column_kinds(table, features)) == {
        "number": 2.0,
        "count": 6,
        "flag": True,
        "category": "a",
        "name": "text",
        "day": "2020-01-03",
        "moment": "2020-01-01T12:00:00",
        "nothing": None,
    }


def test_one_of_many_categories_may_be_a_name_and_is_not_shown() -> None:
    table = pa.table({"name": [f"person{row}" for row in range(51)]})
    assert typical_row(table, ("name",), {"name": "category"}) == {"name": "text"}
    assert typical_row(table.slice(0, 50), ("name",), {"name": "category"}) == {"name": "person0"}
