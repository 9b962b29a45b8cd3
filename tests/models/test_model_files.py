"""Model files: whatever is trained can be kept and loaded again, and nothing else can be loaded."""

from __future__ import annotations

import datetime as dt
import io
import json
import zipfile
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
import skrub
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from hokusai.digests import sha256
from hokusai.errors import ModelError, UntrustedModelError
from hokusai.models.column_kinds import column_kinds
from hokusai.models.feature_frames import feature_frame
from hokusai.models.model_files import MODEL_FILE, load_skops
from hokusai.models.sklearn_models import SklearnModel
from hokusai.models.trainers import TrainingTable, ignore_progress, make_trainer
from hokusai.models.typical_row import typical_row
from hokusai.tracking.model_folder import write_model_folder
from hokusai.tracking.operations import LogModel

if TYPE_CHECKING:
    from pathlib import Path

    from hokusai.models.trainers import Trainer
    from hokusai.records import ModelFile

FEATURES = ("size", "weight", "colour")
SMALL: dict[str, dict[str, Any]] = {
    "RandomForestClassifier": {"n_estimators": 3},
    "ExtraTreesClassifier": {"n_estimators": 3},
    "GradientBoostingClassifier": {"n_estimators": 3},
    "HistGradientBoostingClassifier": {"max_iter": 3},
    "AdaBoostClassifier": {"n_estimators": 3},
    "BaggingClassifier": {"n_estimators": 3},
    "MLPClassifier": {"max_iter": 3, "hidden_layer_sizes": [3]},
    "RandomForestRegressor": {"n_estimators": 3},
    "HistGradientBoostingRegressor": {"max_iter": 3},
    "MLPRegressor": {"max_iter": 3, "hidden_layer_sizes": [3]},
    "LGBMClassifier": {"n_estimators": 3},
    "LGBMRegressor": {"n_estimators": 3},
    "XGBClassifier": {"n_estimators": 3},
    "XGBRegressor": {"n_estimators": 3},
}
CLASSIFIERS = [
    "LogisticRegression",
    "RidgeClassifier",
    "SGDClassifier",
    "LinearSVC",
    "SVC",
    "KNeighborsClassifier",
    "GaussianNB",
    "LinearDiscriminantAnalysis",
    "DecisionTreeClassifier",
    "DummyClassifier",
    *(name for name in SMALL if name.endswith("Classifier")),
]
REGRESSORS = [
    "LinearRegression",
    "Ridge",
    "Lasso",
    "ElasticNet",
    "HuberRegressor",
    "SVR",
    "KNeighborsRegressor",
    "DecisionTreeRegressor",
    "DummyRegressor",
    *(name for name in SMALL if name.endswith("Regressor")),
]


def training_table() -> pa.Table:
    rng = np.random.default_rng(0)
    size = rng.normal(size=60)
    return pa.table(
        {
            "size": pa.array(size, mask=rng.random(60) < 0.1),
            "weight": pa.array(rng.integers(0, 9, 60)),
            "colour": pa.array(rng.choice(["red", "green"], 60), mask=rng.random(60) < 0.1),
            "label": pa.array(np.where(size > 0, "yes", "no")),
            "number": pa.array(size * 3 + 1),
        }
    )


def fitted(name: str, label: str) -> SklearnModel:
    return fit(make_trainer(name, SMALL.get(name, {})), training_table(), FEATURES, label)


def fit(trainer: Trainer, table: pa.Table, features: tuple[str, ...], label: str) -> SklearnModel:
    data = TrainingTable(table=table, features=features, label=label, kinds=column_kinds(table, features))
    model = trainer.fit(data, seed=1, progress=ignore_progress)
    assert isinstance(model, SklearnModel)
    return model


def saved(folder: Path, estimator: Any) -> Path:
    """Write an estimator as somebody else would."""
    path = folder / "model.skops"
    skops.io.dump(estimator, path)
    return path


@pytest.mark.parametrize("name", [*CLASSIFIERS, *REGRESSORS])
def test_every_estimator_is_kept_and_loaded_with_the_same_predictions(name: str, tmp_path: Path) -> None:
    is_classifier = name in CLASSIFIERS
    model = fitted(name, "label" if is_classifier else "number")
    file = model.to_file(name="candidate", example={})
    assert isinstance(file.content, bytes)
    path = tmp_path / file.file
    path.write_bytes(file.content)
    loaded = load_skops(path, source="here")
    assert (loaded.features, loaded.classes) == (model.features, model.classes)
    before, after = (each.predict(training_table(), classes=model.classes) for each in (model, loaded))
    assert np.array_equal(before.predicted, after.predicted)
    if before.probabilities is not None:
        assert after.probabilities is not None
        assert np.array_equal(before.probabilities, after.probabilities)
    # MLflow is told which types the file asks for, or its own loader would refuse them.
    assert file.options["skops_trusted_types"] == skops.io.get_untrusted_types(data=file.content)


@pytest.mark.parametrize(
    ("label", "values", "output"),
    [
        ("texts", pa.array(["a", "b"] * 30), "string"),
        ("numbers", pa.array([0, 1] * 30), "long"),
        ("booleans", pa.array([True, False] * 30), "boolean"),
    ],
)
def test_the_file_says_what_goes_in_what_comes_out_and_what_is_needed(
    label: str, values: pa.Array, output: str
) -> None:
    table = training_table().append_column(label, values).append_column("day", pa.array([dt.date.min] * 60))
    features = (*FEATURES, "day")
    file = fit(make_trainer("LogisticRegression", {}), table, features, label).to_file(name="m", example={"size": 1.0})
    # Whole numbers and fractions are one to the model, and "any" is the only type under which MLflow takes both.
    assert file.inputs == {"size": "any", "weight": "any", "colour": "string", "day": "datetime"}
    assert (file.name, file.output, file.example) == ("m", output, {"size": 1.0})
    assert (file.flavor, file.file, file.options["pickled_model"]) == ("sklearn", MODEL_FILE, MODEL_FILE)
    assert file.options["serialization_format"] == "skops"
    assert f"scikit-learn=={version('scikit-learn')}" in file.requirements
    assert all("==" in line for line in file.requirements)


def test_a_model_that_others_made_of_scikit_learn_alone_is_loaded(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0]})
    pipeline = make_pipeline(StandardScaler(), LinearRegression()).fit(frame, [2.0, 4.0, 6.0])
    model = load_skops(saved(tmp_path, pipeline), source="theirs")
    assert model.features == ("a", "b")
    answer = model.predict(pa.Table.from_pandas(frame[["b", "a"]]), classes=())
    assert answer.predicted == pytest.approx([2.0, 4.0, 6.0])


def test_a_model_that_does_not_name_its_features_is_refused(tmp_path: Path) -> None:
    model = LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])
    with pytest.raises(ModelError, match="does not say which columns it needs"):
        load_skops(saved(tmp_path, model), source="theirs")


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], StandardScaler()])
def test_what_is_no_fitted_model_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not say which columns it needs"):
        load_skops(saved(tmp_path, value), source="theirs")


def foreign(value: Any, tmp_path: Path) -> UntrustedModelError:
    """Return the error that a pipeline with a foreign part is refused with."""
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    pipeline = make_pipeline(StandardScaler(), LinearRegression()).fit(frame, [1.0, 2.0])
    pipeline.smuggled = value
    with pytest.raises(UntrustedModelError) as caught:
        load_skops(saved(tmp_path, pipeline), source="theirs")
    return caught.value


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (FunctionTransformer(func=zipfile.is_zipfile), "zipfile.is_zipfile"),
        (dt.UTC, "datetime.timezone"),
        (io.StringIO, "io.StringIO"),
        # A function of scikit-learn is one as well: it may read files.
        (FunctionTransformer(func=__import__("sklearn.datasets", fromlist=["x"]).load_files), "load_files"),
    ],
)
def test_a_file_that_names_a_foreign_type_is_refused_by_that_name(value: Any, named: str, tmp_path: Path) -> None:
    error = foreign(value, tmp_path)
    assert error.source == "theirs"
    assert named in str(error)


def test_an_estimator_that_cannot_be_kept_safely_is_refused_after_its_fit() -> None:
    model = fitted("LogisticRegression", "label")
    model.pipeline.smuggled = FunctionTransformer(func=zipfile.is_zipfile)
    with pytest.raises(ModelError, match=r"LogisticRegression cannot be kept as a safe model file: it holds zipfile"):
        model.to_file(name="candidate", example={})


OWN_MODULE = """
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

class Halved(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_, self.feature_names_in_ = X.shape[1], X.columns.to_numpy(dtype=object)
        return self
    def transform(self, X):
        return X.fillna(0.0) / 2

def doubled(X):
    return X * 2

def model():
    return make_pipeline(Halved(), FunctionTransformer(doubled), LogisticRegression())
"""


def test_parts_of_the_users_own_are_kept_and_loaded_only_when_somebody_vouches_for_them(tmp_path: Path) -> None:
    (tmp_path / "own_parts_of_a_model.py").write_text(OWN_MODULE)
    table = training_table()
    trainer = make_trainer("own_parts_of_a_model:model", {}, folder=tmp_path)
    model = fit(trainer, table, ("weight",), "label")
    file = model.to_file(name="own", example={})
    types = file.options["skops_trusted_types"]
    assert isinstance(types, list)
    assert {"own_parts_of_a_model.Halved", "own_parts_of_a_model.doubled"} <= set(types)
    assert isinstance(file.content, bytes)
    path = tmp_path / file.file
    path.write_bytes(file.content)
    with pytest.raises(UntrustedModelError, match=r"own_parts_of_a_model\.Halved"):
        load_skops(path, source="own")
    loaded = load_skops(path, source="own", trusted=True)
    answers = [each.predict(table, classes=model.classes).probabilities for each in (model, loaded)]
    assert answers[0] is not None
    assert answers[1] is not None
    assert answers[0].tobytes() == answers[1].tobytes()


def test_classes_and_functions_of_skrub_that_do_more_than_encode_are_refused(tmp_path: Path) -> None:
    assert "LLMEncoder" in str(foreign(skrub.LLMEncoder(), tmp_path))
    assert "tabular_pipeline" in str(foreign(FunctionTransformer(func=skrub.tabular_pipeline), tmp_path))


def test_methods_of_trusted_classes_are_no_trusted_parts(tmp_path: Path) -> None:
    booster = fitted("LGBMRegressor", "number").pipeline[-1].booster_
    assert "lightgbm.basic.Booster.save_model" in str(foreign(booster.save_model, tmp_path))
    scaler = StandardScaler().fit([[1.0], [2.0]])
    assert "StandardScaler.transform" in str(foreign(scaler.transform, tmp_path))


def test_a_model_that_opens_the_files_its_data_name_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["one two", "three four"]})
    words = ColumnTransformer([("words", TfidfVectorizer(), "text")])
    pipeline = make_pipeline(words, LinearRegression()).fit(frame, [1.0, 2.0])
    assert load_skops(saved(tmp_path, pipeline), source="theirs").features == ("text",)
    words.named_transformers_["words"].input = "filename"
    with pytest.raises(UntrustedModelError, match="names of files, which it opens"):
        load_skops(saved(tmp_path, pipeline), source="theirs")


# --- as plain MLflow sees them ---------------------------------------------------------------------------------------

BUILT_IN: dict[str, dict[str, Any]] = {
    "LogisticRegression": {},
    "Ridge": {},
    "RandomForestClassifier": {"n_estimators": 5},
    "HistGradientBoostingClassifier": {"max_iter": 5},
    "HistGradientBoostingRegressor": {"max_iter": 5},
    "LGBMClassifier": {"n_estimators": 5},
    "LGBMRegressor": {"n_estimators": 5},
    "XGBClassifier": {"n_estimators": 5},
    "XGBRegressor": {"n_estimators": 5},
    "TextClassifier": {"ngram_range": [1, 2]},
    "TextRegressor": {},
}


def mixed_table(rows: int = 80) -> pa.Table:
    """Return a table with features of every kind, with gaps, and one without a value."""
    rng = np.random.default_rng(3)
    size = rng.normal(size=rows)
    gaps = [rng.random(rows) < 0.2 for _ in range(7)]
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    moments = [start + dt.timedelta(seconds=int(each)) for each in rng.integers(0, 10**8, rows)]
    return pa.table(
        {
            "size": pa.array(size, mask=gaps[0]),
            "weight": pa.array(rng.integers(0, 9, rows), mask=gaps[1]),
            "colour": pa.array(rng.choice(["red", "green", ""], rows), mask=gaps[2]),
            "is_new": pa.array(rng.random(rows) < 0.5, mask=gaps[3]),
            "day": pa.array([each.date() for each in moments[::-1]], mask=gaps[4]),
            "moment": pa.array(moments, pa.timestamp("us", "UTC"), mask=gaps[5]),
            "note": pa.array([" ".join(rng.choice(["good", "bad", "the", "house"], 4)) for _ in moments], mask=gaps[6]),
            "nothing": pa.nulls(rows, pa.float64()),
            "label": pa.array(np.where(size > 0, "yes", "no")),
            "number": pa.array(size * 3 + 1),
        }
    )


@pytest.mark.parametrize("name", BUILT_IN)
def test_plain_mlflow_gives_exactly_the_same_predictions_for_a_mixed_table(name: str, tmp_path: Path) -> None:
    import mlflow

    table = mixed_table()
    features = tuple(table.column_names[:-2])
    trainer = make_trainer(name, BUILT_IN[name])
    is_classifier = trainer.task == "classification"
    model = fit(trainer, table, features, "label" if is_classifier else "number")
    example = typical_row(table, features, column_kinds(table, features))
    served = mlflow.pyfunc.load_model(str(mlflow_folder(model.to_file(name="m", example=example), tmp_path)))
    for frame in (feature_frame(table, features), as_others_would_make_it(table, features)):
        answers = list(served.predict(frame))
        ours = model.predict(table, classes=model.classes).predicted
        assert answers == ([model.classes[code] for code in ours] if is_classifier else list(ours))


def as_others_would_make_it(table: pa.Table, features: tuple[str, ...]) -> pd.DataFrame:
    """Return a data frame with types that pandas itself likes: its strings, floats for gaps, nanoseconds."""
    frame: pd.DataFrame = table.select(features).to_pandas()
    frame["day"] = pd.to_datetime(frame["day"]).astype("datetime64[ns]")
    frame["moment"] = frame["moment"].dt.tz_convert(None).astype("datetime64[ns]")
    return frame


def mlflow_folder(file: ModelFile, tmp_path: Path) -> Path:
    assert isinstance(file.content, bytes)
    staged, folder = tmp_path / "staged", tmp_path / "model"
    staged.write_bytes(file.content)
    folder.mkdir()
    logged = LogModel(
        run="run",
        name=file.name,
        file=file.file,
        sha256=sha256(file.content),
        size=len(file.content),
        flavor=file.flavor,
        options=file.options,
        inputs=file.inputs,
        output=file.output,
        requirements=file.requirements,
        example=file.example,
    )
    write_model_folder(folder, logged, file=staged, run_id="0" * 32, model_id="m-" + "0" * 32, logged_at=0)
    return folder


@pytest.mark.parametrize(
    ("name", "features", "needed"),
    [
        ("LogisticRegression", ("size", "colour"), set()),
        ("LogisticRegression", ("size", "day"), {"skrub"}),
        ("LGBMClassifier", ("size",), {"lightgbm"}),
        ("XGBRegressor", ("size", "note"), {"skrub", "xgboost"}),
    ],
)
def test_only_what_the_model_is_made_of_is_required(name: str, features: tuple[str, ...], needed: set[str]) -> None:
    trainer = make_trainer(name, {})
    label = "label" if trainer.task == "classification" else "number"
    file = fit(trainer, mixed_table(), features, label).to_file(name="m", example={})
    packages = {line.partition("==")[0].removesuffix("-cpu") for line in file.requirements}
    assert packages == {"mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops"} | needed


def schema_of(content: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        document: dict[str, Any] = json.loads(archive.read("schema.json"))
        return document


def rewritten(content: bytes, schema: Any) -> bytes:
    """Return a skops file with another description of what is in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(buffer, "w") as written:
        for name in archive.namelist():
            written.writestr(name, json.dumps(schema) if name == "schema.json" else archive.read(name))
    return buffer.getvalue()


def whole_file() -> bytes:
    model = fitted("LogisticRegression", "label")
    file = model.to_file(name="m", example={})
    assert isinstance(file.content, bytes)
    return file.content


def damaged_files() -> dict[str, bytes]:
    """Return files that only look like models."""
    content = whole_file()
    schema = schema_of(content)
    return {
        "empty": b"",
        "text": b"hello",
        "half": content[: len(content) // 2],
        "no schema": rewritten(content, {}),
        "schema is a list": rewritten(content, []),
        "schema is a number": rewritten(content, 3),
        "class that is not there": rewritten(
            content, schema | {"__class__": "Nobody", "__module__": "sklearn.nowhere"}
        ),
        "loader that is not there": rewritten(content, schema | {"__loader__": "Nobody"}),
        "other protocol": rewritten(content, schema | {"protocol": 10**6}),
    }


@pytest.mark.parametrize("name", sorted(damaged_files()))
def test_a_damaged_file_is_refused_as_a_model_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(damaged_files()[name])
    with pytest.raises(ModelError, match=r"^theirs: "):
        load_skops(tmp_path / "model.skops", source="theirs")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^theirs: not a skops file"):
        load_skops(tmp_path / "model.skops", source="theirs")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("subprocess", "Popen"),
        # Classes that modules of scikit-learn import and that are not its own.
        ("sklearn.utils._joblib", "Parallel"),
        ("sklearn.datasets._openml", "TemporaryDirectory"),
        ("sklearn.datasets._base", "os"),
    ],
)
def test_renaming_the_class_in_the_file_gets_nothing_past_the_check(module: str, name: str, tmp_path: Path) -> None:
    content = whole_file()
    schema = schema_of(content) | {"__module__": module, "__class__": name}
    (tmp_path / "model.skops").write_bytes(rewritten(content, schema))
    with pytest.raises(UntrustedModelError, match=rf"^theirs: refused: the file asks for {module}\.{name}"):
        load_skops(tmp_path / "model.skops", source="theirs")
