"""Trainers: found by name, fitted the same way twice, and asked about tables."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from hokusai.errors import ConfigurationError, ModelError, TrainingError
from hokusai.models.column_kinds import column_kinds
from hokusai.models.feature_frames import feature_frame
from hokusai.models.labels import label_texts, label_values
from hokusai.models.sklearn_models import SklearnModel
from hokusai.models.sklearn_trainer import SklearnTrainer
from hokusai.models.trainers import TrainingTable, ignore_progress, make_trainer, require_sample_weight

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


def training_data(
    table: pa.Table, *, features: tuple[str, ...] = FEATURES, label: str = "label", weight: str | None = None
) -> TrainingTable:
    kinds = column_kinds(table, features)
    return TrainingTable(table=table, features=features, label=label, kinds=kinds, sample_weight=weight)


def fitted(name: str, parameters: dict[str, Any], data: TrainingTable, *, seed: int = 0) -> SklearnModel:
    model = make_trainer(name, parameters).fit(data, seed=seed, progress=ignore_progress)
    assert isinstance(model, SklearnModel)
    return model


def losses(name: str, parameters: dict[str, Any], data: TrainingTable) -> dict[str, list[float]]:
    """Return what a fit tells of its iterations, which are counted from 0 without gaps."""
    told: dict[str, list[float]] = {}

    def listen(series: str, iteration: int, value: float) -> None:
        assert iteration == len(told.setdefault(series, []))
        told[series].append(value)

    make_trainer(name, parameters).fit(data, seed=0, progress=listen)
    return told


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
        ("LGBMClassifier", "lightgbm.LGBMClassifier", "classification"),
        ("lightgbm.LGBMRegressor", "lightgbm.LGBMRegressor", "regression"),
        ("XGBClassifier", "xgboost.XGBClassifier", "classification"),
        ("xgboost.XGBRegressor", "xgboost.XGBRegressor", "regression"),
        ("TextClassifier", "TextClassifier", "classification"),
        ("TextRegressor", "TextRegressor", "regression"),
    ],
)
def test_an_estimator_is_found_by_its_name_or_path_and_is_called_by_its_path(name: str, path: str, task: str) -> None:
    trainer = make_trainer(name, {})
    assert (trainer.name, trainer.task) == (path, task)
    again = make_trainer(trainer.name, {})
    assert isinstance(trainer, SklearnTrainer)
    assert isinstance(again, SklearnTrainer)
    assert type(again.estimator) is type(trainer.estimator)


@pytest.mark.parametrize(
    "name",
    [
        "LogisticRegresion",
        "",
        ".",
        "os.system",
        "os.LGBMClassifier",
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


@pytest.mark.parametrize(
    "name",
    ["seed", "random_seed", "bagging_seed", "num_threads", "device", "input_model", "output_model", "fs", "data"],
)
def test_lightgbm_gets_no_seed_file_or_device_under_a_name_of_its_own(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_trainer("LGBMClassifier", {name: 1})
    assert caught.value.key == f"training.parameters.{name}"
    assert " min_data_in_leaf," in caught.value.problem


def test_lightgbms_own_names_for_how_it_learns_can_be_tuned() -> None:
    trainer = make_trainer("LGBMClassifier", {"min_data_in_leaf": 5}).with_parameters({"lambda_l1": 0.5})
    model = trainer.fit(training_data(training_table()), seed=0, progress=ignore_progress)
    assert isinstance(model, SklearnModel)
    with pytest.raises(ConfigurationError, match="no parameter 'bagging_seed'"):
        trainer.with_parameters({"bagging_seed": 1})


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 2**53, object(), {1: 2}])
def test_an_argument_that_cannot_be_put_on_record_exactly_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_trainer("LogisticRegression", {"C": value})
    assert caught.value.key == "training.parameters"


@pytest.mark.parametrize("name", ["LogisticRegression", "XGBRegressor", "TextClassifier"])
def test_parameters_can_be_changed_and_are_checked_again(name: str) -> None:
    trainer = make_trainer(name, {"n_jobs": 1})
    changed = trainer.with_parameters({"n_jobs": 2})
    assert isinstance(trainer, SklearnTrainer)
    assert isinstance(changed, SklearnTrainer)
    assert (trainer.estimator.n_jobs, changed.estimator.n_jobs) == (1, 2)
    with pytest.raises(ConfigurationError) as caught:
        trainer.with_parameters({"depht": 2})
    assert caught.value.key == "training.parameters.depht"
    with pytest.raises(ConfigurationError, match=r"set training\.seeds instead"):
        trainer.with_parameters({"random_state": 2})


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
        ("SVC", {}, False),
        ("Lasso", {}, False),
        ("Lasso", {"selection": "random"}, True),
        ("LGBMClassifier", {}, True),
        ("XGBClassifier", {}, False),
        ("XGBClassifier", {"subsample": 0.5}, True),
        ("XGBRegressor", {"booster": "dart"}, True),
        ("XGBRegressor", {"early_stopping_rounds": 3}, True),
        ("TextClassifier", {"solver": "saga"}, True),
        ("TextRegressor", {}, False),
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
    parameters = {"max_features": 1} if "Tree" in name or "Forest" in name else {"max_iter": 3}
    answers = []
    for seed in (3, 3, 4):
        model = fitted(name, parameters, training_data(table), seed=seed)
        assert model.seed == seed
        answers.append(weights(model))
    assert np.array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def weights(model: Any) -> Any:
    """Return a number per column that tells fits apart more finely than their answers do."""
    last = model.pipeline[-1]
    return last.coef_.ravel() if hasattr(last, "coef_") else last.feature_importances_


def test_probabilities_stand_under_the_classes_that_were_asked_for() -> None:
    table = training_table()
    model = fitted("LogisticRegression", {}, training_data(table))
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
    model = fitted("LogisticRegression", {}, training_data(table))
    answer = model.predict(table, classes=("yes",))
    assert set(answer.predicted) == {-1, 0}


def test_a_regressor_answers_with_numbers() -> None:
    table = training_table()
    model = fitted("LinearRegression", {}, training_data(table, features=("size",), label="number"))
    answer = model.predict(table, classes=())
    assert answer.predicted.dtype == np.float64
    assert answer.probabilities is None
    assert model.classes == ()


def test_asking_changes_nothing() -> None:
    table = training_table()
    model = fitted("RandomForestClassifier", {"n_estimators": 3}, training_data(table))
    first, second = (model.predict(table, classes=model.classes) for _ in range(2))
    assert first.probabilities is not None
    assert second.probabilities is not None
    assert np.array_equal(first.probabilities, second.probabilities)


def test_what_scikit_learn_warns_of_is_kept_with_the_model() -> None:
    model = fitted("LogisticRegression", {"max_iter": 1}, training_data(training_table()))
    assert len(model.warnings) == 1
    assert model.warnings[0].startswith("ConvergenceWarning: ")


def test_a_fit_that_fails_says_which_and_why_in_one_line() -> None:
    with pytest.raises(TrainingError) as caught:
        fitted("LogisticRegression", {"C": -1.0}, training_data(training_table()), seed=2)
    assert (caught.value.trainer, caught.value.seed) == ("sklearn.linear_model.LogisticRegression", 2)
    assert caught.value.reason.startswith("The 'C' parameter of LogisticRegression must be a float")
    assert "\n" not in str(caught.value)


def test_a_table_that_the_model_cannot_score_is_refused() -> None:
    table = training_table()
    model = fitted("LogisticRegression", {}, training_data(table, features=("size",)))
    texts = table.set_column(0, "size", pa.array(["large"] * table.num_rows))
    with pytest.raises(ModelError, match="the model cannot score the benchmark"):
        model.predict(texts, classes=model.classes)


# --- the same bit for bit, whatever happens around it ----------------------------------------------------------------

RANDOM: dict[str, dict[str, Any]] = {
    "RandomForestClassifier": {"n_estimators": 20},
    "HistGradientBoostingClassifier": {"max_iter": 5},
    "LGBMClassifier": {"n_estimators": 5, "subsample": 0.7, "subsample_freq": 1},
    "XGBClassifier": {"n_estimators": 5, "subsample": 0.7},
    "MLPClassifier": {"max_iter": 3},
}


@pytest.mark.parametrize("name", RANDOM)
def test_number_of_threads_and_way_between_processes_change_no_bit_of_the_predictions(name: str) -> None:
    data = training_data(training_table(1500))
    trainer = make_trainer(name, RANDOM[name])
    answers = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            sent = pickle.loads(pickle.dumps(trainer)).fit(data, seed=1, progress=ignore_progress)  # noqa: S301  (our own bytes)
            model = pickle.loads(pickle.dumps(sent))  # noqa: S301  (our own bytes)
            answers += [model.predict(data.table, classes=("no", "yes")).probabilities.tobytes() for _ in range(2)]
    assert len(set(answers)) == 1


def test_a_forest_that_is_fitted_on_several_threads_answers_on_one() -> None:
    data = training_data(training_table(300))
    several = fitted("RandomForestClassifier", {"n_estimators": 50, "n_jobs": 4}, data)
    one = fitted("RandomForestClassifier", {"n_estimators": 50}, data)
    assert several.pipeline[-1].n_jobs == 1
    answers = [model.predict(data.table, classes=("no", "yes")).probabilities for model in (several, one)]
    assert answers[0] is not None
    assert answers[1] is not None
    assert answers[0].tobytes() == answers[1].tobytes()


@pytest.mark.parametrize(
    "name", ["DecisionTreeClassifier", "HistGradientBoostingClassifier", "RandomForestClassifier", "XGBClassifier"]
)
def test_the_class_of_greatest_probability_is_the_one_that_the_estimator_itself_names(name: str) -> None:
    data = training_data(training_table(300))
    model = fitted(name, {"max_iter": 3} if name.startswith("Hist") else {}, data)
    named = model.pipeline.predict(feature_frame(data.table, FEATURES))
    codes = model.predict(data.table, classes=model.classes).predicted
    assert list(np.array(model.classes)[codes]) == list(named)


@pytest.mark.parametrize("name", ["LGBMClassifier", "XGBClassifier", "LGBMRegressor", "XGBRegressor"])
def test_boosted_trees_use_one_thread_unless_told_otherwise(name: str) -> None:
    for parameters, expected in (({}, 1), ({"n_jobs": 2}, 2)):
        trainer = make_trainer(name, parameters)
        assert isinstance(trainer, SklearnTrainer)
        assert trainer.estimator.n_jobs == expected


# --- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LGBMClassifier", "XGBClassifier", "GradientBoostingClassifier"])
def test_boosting_tells_its_falling_loss_of_each_iteration(name: str) -> None:
    told = losses(name, {"n_estimators": 7}, training_data(training_table(200)))
    assert list(told) == ["train_loss"]
    assert len(told["train_loss"]) == 7
    assert told["train_loss"] == sorted(told["train_loss"], reverse=True)
    assert 0 < told["train_loss"][-1] < told["train_loss"][0]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("LGBMRegressor", {"n_estimators": 6, "early_stopping_round": 50}),
        ("XGBRegressor", {"n_estimators": 6, "early_stopping_rounds": 50}),
    ],
)
def test_early_stopping_is_measured_on_rows_that_are_kept_for_it(name: str, parameters: dict[str, Any]) -> None:
    data = training_data(training_table(200), label="number")
    told = losses(name, parameters, data)
    assert {series: len(values) for series, values in told.items()} == {"train_loss": 6, "validation_loss": 6}
    assert told["train_loss"] != told["validation_loss"]
    assert losses(name, parameters, data) == told


def test_scikit_learns_own_curves_are_told_as_losses_and_scores() -> None:
    data = training_data(training_table(300))
    hist = losses("HistGradientBoostingClassifier", {"max_iter": 4, "early_stopping": True}, data)
    assert {series: len(values) for series, values in hist.items()} == {"train_loss": 5, "validation_loss": 5}
    assert hist["train_loss"][0] > hist["train_loss"][-1] > 0
    scored = {"max_iter": 4, "early_stopping": True, "scoring": "accuracy"}
    assert set(losses("HistGradientBoostingClassifier", scored, data)) == {"train_score", "validation_score"}
    assert losses("HistGradientBoostingClassifier", {"max_iter": 4}, data) == {}
    network = losses("MLPClassifier", {"max_iter": 4, "early_stopping": True}, data)
    assert {series: len(values) for series, values in network.items()} == {"train_loss": 4, "validation_score": 4}
    assert losses("LogisticRegression", {}, data) == {}


# --- weights and classes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "LogisticRegression",
        "RandomForestClassifier",
        "HistGradientBoostingClassifier",
        "LGBMClassifier",
        "XGBClassifier",
    ],
)
def test_rows_weigh_what_their_column_says(name: str) -> None:
    table = training_table(200)
    yes = np.array([each == "yes" for each in table["label"].to_pylist()])
    weighted = table.append_column("weight", pa.array(np.where(yes, 50.0, 1.0)))
    shares = []
    for weight in (None, "weight"):
        parameters = {"max_iter": 3} if name.startswith("Hist") else {}
        model = fitted(name, parameters, training_data(weighted, features=("colour", "is_new"), weight=weight))
        shares.append(model.predict(table, classes=("no", "yes")).probabilities[:, 1].mean())  # type: ignore[index]
    assert shares[0] + 0.1 < shares[1]


def test_a_trainer_that_takes_no_weights_is_refused_before_and_during_the_fit() -> None:
    table = training_table().append_column("weight", pa.array([1.0] * 60))
    trainer = make_trainer("KNeighborsClassifier", {})
    with pytest.raises(ConfigurationError, match="KNeighborsClassifier takes no sample weights") as caught:
        require_sample_weight(trainer)
    assert caught.value.key == "training.estimator"
    with pytest.raises(TrainingError, match="takes no sample weights"):
        trainer.fit(training_data(table, weight="weight"), seed=0, progress=ignore_progress)
    for name in ("LogisticRegression", "LGBMRegressor", "XGBClassifier", "TextClassifier", "MLPClassifier"):
        require_sample_weight(make_trainer(name, {}))


@pytest.mark.parametrize("weights", [[0.0] * 60, [-1.0] + [1.0] * 59, [None] + [1.0] * 59, [float("inf")] * 60])
def test_weights_that_are_none_are_refused(weights: list[float | None]) -> None:
    table = training_table().append_column("weight", pa.array(weights, pa.float64()))
    with pytest.raises(TrainingError, match="'weight' are not all numbers of at least 0"):
        fitted("LogisticRegression", {}, training_data(table, weight="weight"))


@pytest.mark.parametrize("name", ["LogisticRegression", "RandomForestClassifier", "LGBMClassifier", "TextClassifier"])
def test_rare_classes_can_be_given_the_weight_of_frequent_ones(name: str) -> None:
    rng = np.random.default_rng(0)
    table = pa.table({"size": rng.normal(size=400), "label": np.where(rng.random(400) < 0.1, "yes", "no")})
    found = []
    for parameters in ({}, {"class_weight": "balanced"}):
        shallow = {"max_depth": 2} if name in ("RandomForestClassifier", "LGBMClassifier") else {}
        model = fitted(name, parameters | shallow, training_data(table, features=("size",)))
        found.append(int(model.predict(table, classes=("no", "yes")).predicted.sum()))
    assert found[0] + 50 < found[1]


def test_infinite_values_are_refused_by_column_whatever_the_estimator_would_do() -> None:
    table = training_table()
    table = table.set_column(0, "size", pa.array([float("inf")] + [1.0] * 59))
    for name in ("HistGradientBoostingClassifier", "LogisticRegression"):
        with pytest.raises(TrainingError, match="column 'size' holds infinite values"):
            fitted(name, {}, training_data(table))


def test_a_table_without_a_single_value_is_refused() -> None:
    table = pa.table({"size": pa.nulls(4, pa.float64()), "label": ["a", "b", "a", "b"]})
    for name in ("HistGradientBoostingClassifier", "LogisticRegression"):
        with pytest.raises(TrainingError, match="every feature is missing in every row"):
            fitted(name, {}, training_data(table, features=("size",)))


# --- tables as scikit-learn wants them -------------------------------------------------------------------------------


def test_every_kind_of_feature_becomes_numbers_objects_or_moments_in_utc_with_gaps() -> None:
    moment = datetime(1970, 1, 2, 12, tzinfo=UTC)
    table = pa.table(
        {
            "integer": pa.array([1, None]),
            "boolean": pa.array([True, None]),
            "text": pa.array(["a", None]),
            "nothing": pa.nulls(2),
            "day": pa.array([date(1970, 1, 3), None]),
            "moment": pa.array([moment, None], pa.timestamp("us", "Europe/Berlin")),
            "second": pa.array([moment.replace(tzinfo=None), None], pa.timestamp("s")),
            "precise": pa.array([Decimal("0.25"), None], pa.decimal128(5, 2)),
        }
    )
    frame = feature_frame(table, table.column_names)
    assert list(frame.loc[0, ["integer", "boolean", "text", "precise"]]) == [1.0, 1.0, "a", 0.25]
    assert list(frame.loc[0, ["day", "moment", "second"]]) == [datetime(1970, 1, 3), *[datetime(1970, 1, 2, 12)] * 2]  # noqa: DTZ001
    assert frame.iloc[1].isna().all()
    assert frame["nothing"].isna().all()
    kinds = dict.fromkeys(("integer", "boolean", "precise"), "float64") | dict.fromkeys(("text", "nothing"), "object")
    assert frame.dtypes.astype(str).to_dict() == kinds | dict.fromkeys(("day", "moment", "second"), "datetime64[us]")


def test_dates_of_all_years_and_whole_numbers_of_all_sizes_have_their_place() -> None:
    table = pa.table({"day": pa.array([date.min, date.max]), "count": pa.array([2**62 + 1, -(2**62)])})
    frame = feature_frame(table, table.column_names)
    assert list(frame["day"]) == [datetime.min, datetime(9999, 12, 31)]  # noqa: DTZ001, DTZ901
    assert list(frame["count"]) == [float(2**62), -float(2**62)]


def test_numbers_without_gaps_are_not_copied() -> None:
    values = np.arange(5.0)
    frame = feature_frame(pa.table({"a": values}), ["a"])
    assert np.shares_memory(frame["a"].to_numpy(), values)


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
