"""Trainers: found by name, fitted the same way twice, and asked about tables."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai.errors import ConfigurationError, ModelError
from hokusai.models.trainers import feature_frame, label_texts, label_values, make_trainer

FEATURES = ("size", "colour", "is_new", "day")


def training_table(rows: int = 60) -> pa.Table:
    """Return a table with a feature of every kind, gaps among them."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=rows)
    return pa.table(
        {
            "size": pa.array(size, mask=rng.random(rows) < 0.1),
            "colour": pa.array(rng.choice(["red", "green", "blue"], rows), mask=rng.random(rows) < 0.1),
            "is_new": pa.array(rng.random(rows) < 0.5, mask=rng.random(rows) < 0.1),
            "day": pa.array([date(2020, 1, 1 + int(each)) for each in rng.integers(0, 28, rows)]),
            "label": pa.array(np.where(size + rng.normal(0, 0.3, rows) > 0, "yes", "no")),
            "number": pa.array(size * 3 + 1),
        }
    )


# --- finding one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path", "task"),
    [
        ("LogisticRegression", "sklearn.linear_model.LogisticRegression", "classification"),
        ("sklearn.linear_model.LogisticRegression", "sklearn.linear_model.LogisticRegression", "classification"),
        ("HistGradientBoostingRegressor", "sklearn.ensemble.HistGradientBoostingRegressor", "regression"),
        ("Ridge", "sklearn.linear_model.Ridge", "regression"),
        ("MLPClassifier", "sklearn.neural_network.MLPClassifier", "classification"),
        ("SVC", "sklearn.svm.SVC", "classification"),
        ("DummyRegressor", "sklearn.dummy.DummyRegressor", "regression"),
    ],
)
def test_an_estimator_is_found_by_its_name_or_path_and_is_called_by_its_path(name: str, path: str, task: str) -> None:
    trainer = make_trainer(name, {})
    assert (trainer.name, trainer.task) == (path, task)
    assert make_trainer(trainer.name, {}).estimator is trainer.estimator


@pytest.mark.parametrize(
    "name",
    [
        "LogisticRegresion",
        "",
        ".",
        "os.system",
        "sklearn.os",
        "sklearn.utils.os",
        "builtins.eval",
        "LogisticRegression ",
    ],
)
def test_a_name_that_is_no_estimator_is_refused_with_examples(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_trainer(name, {})
    assert caught.value.key == "training.estimator"
    assert f"got {name!r}" in caught.value.problem
    assert "RandomForestClassifier" in caught.value.problem


@pytest.mark.parametrize("name", ["IsolationForest", "sklearn.preprocessing.StandardScaler"])
def test_what_neither_classifies_nor_regresses_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="neither a classifier nor a regressor"):
        make_trainer(name, {})


def test_what_needs_further_arguments_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="VotingClassifier cannot be made without further arguments"):
        make_trainer("VotingClassifier", {})


def test_an_argument_that_there_is_not_is_refused_by_its_key_with_those_that_there_are() -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_trainer("LogisticRegression", {"c": 1.0})
    assert caught.value.key == "training.parameters.c"
    assert " C, " in caught.value.problem


def test_the_seed_is_not_the_users_to_set_here() -> None:
    with pytest.raises(ConfigurationError, match=r"set training\.seeds instead"):
        make_trainer("RandomForestClassifier", {"random_state": 1})


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 2**53, object(), {1: 2}])
def test_an_argument_that_cannot_be_put_on_record_exactly_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_trainer("LogisticRegression", {"C": value})
    assert caught.value.key == "training.parameters"


@pytest.mark.parametrize(
    ("name", "parameters", "is_random"),
    [
        ("LogisticRegression", {}, False),
        ("LogisticRegression", {"solver": "saga"}, True),
        ("Ridge", {}, False),
        ("Ridge", {"solver": "sag"}, True),
        ("RandomForestClassifier", {}, True),
        ("HistGradientBoostingClassifier", {}, True),
        ("GaussianNB", {}, False),
        ("KNeighborsClassifier", {}, False),
    ],
)
def test_it_is_known_which_trainers_depend_on_their_seed(
    name: str,
    parameters: dict[str, Any],
    is_random: bool,  # noqa: FBT001  (a column of the table above)
) -> None:
    assert make_trainer(name, parameters).is_random is is_random


# --- fitting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RandomForestClassifier", "DecisionTreeClassifier", "SGDClassifier"])
def test_the_same_seed_gives_the_same_predictions_and_another_one_may_not(name: str) -> None:
    table = training_table()
    trainer = make_trainer(name, {"max_features": 1} if "Tree" in name or "Forest" in name else {"max_iter": 3})
    answers = []
    for seed in (3, 3, 4):
        model = trainer.fit(table, features=FEATURES, label="label", seed=seed)
        assert model.seed == seed
        answers.append(model.pipeline[:-1].transform(feature_frame(table, FEATURES)) @ weights(model))
    assert np.array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def weights(model: Any) -> Any:
    """Return a number per column that tells fits apart more finely than their answers do."""
    last = model.pipeline[-1]
    return last.coef_.ravel() if hasattr(last, "coef_") else last.feature_importances_


def test_probabilities_stand_under_the_classes_that_were_asked_for() -> None:
    table = training_table()
    model = make_trainer("LogisticRegression", {}).fit(table, features=FEATURES, label="label", seed=0)
    assert model.classes == ("no", "yes")
    own = model.predict(table, classes=("no", "yes"))
    asked = model.predict(table, classes=("maybe", "yes", "no"))
    assert own.probabilities is not None
    assert asked.probabilities is not None
    assert asked.unseen_classes == ("maybe",)
    assert own.unseen_classes == ()
    assert np.array_equal(asked.probabilities[:, [2, 1]], own.probabilities)
    assert not asked.probabilities[:, 0].any()
    assert [("maybe", "yes", "no")[code] for code in asked.predicted] == [("no", "yes")[code] for code in own.predicted]


def test_a_class_of_the_model_that_was_not_asked_for_is_no_class_of_the_answer() -> None:
    table = training_table()
    model = make_trainer("LogisticRegression", {}).fit(table, features=FEATURES, label="label", seed=0)
    answer = model.predict(table, classes=("yes",))
    assert set(answer.predicted) == {-1, 0}


def test_a_regressor_answers_with_numbers() -> None:
    table = training_table()
    model = make_trainer("LinearRegression", {}).fit(table, features=("size",), label="number", seed=0)
    answer = model.predict(table, classes=())
    assert answer.predicted.dtype == np.float64
    assert answer.probabilities is None
    assert model.classes == ()


def test_asking_changes_nothing() -> None:
    table = training_table()
    model = make_trainer("RandomForestClassifier", {"n_estimators": 3}).fit(
        table, features=FEATURES, label="label", seed=0
    )
    first, second = (model.predict(table, classes=model.classes) for _ in range(2))
    assert first.probabilities is not None
    assert second.probabilities is not None
    assert np.array_equal(first.probabilities, second.probabilities)


def test_what_scikit_learn_warns_of_is_kept_with_the_model() -> None:
    model = make_trainer("LogisticRegression", {"max_iter": 1}).fit(
        training_table(), features=FEATURES, label="label", seed=0
    )
    assert len(model.warnings) == 1
    assert model.warnings[0].startswith("ConvergenceWarning: ")


def test_a_fit_that_fails_says_which_and_why_in_one_line() -> None:
    trainer = make_trainer("LogisticRegression", {"C": -1.0})
    with pytest.raises(ModelError, match=r"^sklearn\.linear_model\.LogisticRegression, seed 2, 60 training rows: the"):
        trainer.fit(training_table(), features=FEATURES, label="label", seed=2)


def test_a_table_that_the_model_cannot_score_is_refused() -> None:
    table = training_table()
    model = make_trainer("LogisticRegression", {}).fit(table, features=("size",), label="label", seed=0)
    texts = table.set_column(0, "size", pa.array(["large"] * table.num_rows))
    with pytest.raises(ModelError, match="the model cannot score the benchmark"):
        model.predict(texts, classes=model.classes)


# --- tables as scikit-learn wants them -------------------------------------------------------------------------------


def test_every_kind_of_feature_becomes_numbers_or_objects_with_gaps_as_nan() -> None:
    moment = datetime(1970, 1, 2, 12, tzinfo=UTC)
    table = pa.table(
        {
            "integer": pa.array([1, None]),
            "boolean": pa.array([True, None]),
            "text": pa.array(["a", None]),
            "nothing": pa.nulls(2),
            "day": pa.array([date(1970, 1, 3), None]),
            "moment": pa.array([moment, None], pa.timestamp("us", "UTC")),
            "second": pa.array([moment.replace(tzinfo=None), None], pa.timestamp("s")),
        }
    )
    frame = feature_frame(table, table.column_names)
    assert list(frame.iloc[0]) == [1.0, 1.0, "a", pytest.approx(float("nan"), nan_ok=True), 2.0, 1.5, 1.5]
    assert frame.iloc[1].isna().all()
    kinds = dict.fromkeys(table.column_names, "float64") | {"text": "object", "nothing": "object"}
    assert frame.dtypes.astype(str).to_dict() == kinds


@given(st.lists(st.integers(-(2**53), 2**53)))
def test_a_whole_number_is_the_same_label_as_integer_and_as_float(values: list[int]) -> None:
    assert label_texts(values) == label_texts([float(each) for each in values]) == tuple(map(str, values))
    assert label_texts(np.array(values, dtype=np.int64)) == label_texts(np.array(values, dtype=np.float64))


@given(st.lists(st.booleans() | st.text() | st.floats(allow_nan=False, allow_infinity=False)))
def test_different_labels_of_one_column_have_different_texts(values: list[Any]) -> None:
    for kind in (bool, str, float):
        own = {each for each in values if type(each) is kind}
        assert len(set(label_texts(list(own)))) == len(own)


def test_booleans_are_called_true_and_false() -> None:
    assert label_texts([True, np.False_]) == ("true", "false")


@pytest.mark.parametrize(
    ("values", "kind"), [(["b", "a"], "U"), ([2, 1], "i"), ([True, False], "b"), ([1.5, 2.0], "f")]
)
def test_labels_keep_their_kind(values: list[Any], kind: str) -> None:
    column = pa.chunked_array([pa.array(values[:1]), pa.array(values[1:])])
    assert label_values(column).dtype.kind == kind
    assert list(label_values(column)) == values
