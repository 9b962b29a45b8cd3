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
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from hokusai.errors import ModelError, UntrustedModelError
from hokusai.models.model_files import MODEL_FILE, load_skops, to_model_file
from hokusai.models.trainers import SklearnModel, make_trainer

if TYPE_CHECKING:
    from pathlib import Path

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
    trainer = make_trainer(name, SMALL.get(name, {}))
    return trainer.fit(training_table(), features=FEATURES, label=label, seed=1)


def saved(folder: Path, estimator: Any) -> Path:
    """Write an estimator as somebody else would."""
    path = folder / "model.skops"
    skops.io.dump(estimator, path)
    return path


@pytest.mark.parametrize("name", [*CLASSIFIERS, *REGRESSORS])
def test_every_estimator_is_kept_and_loaded_with_the_same_predictions(name: str, tmp_path: Path) -> None:
    is_classifier = name in CLASSIFIERS
    model = fitted(name, "label" if is_classifier else "number")
    file = to_model_file(model, name="candidate", training_table=training_table(), is_classifier=is_classifier)
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
    model = make_trainer("LogisticRegression", {}).fit(table, features=features, label=label, seed=0)
    file = to_model_file(model, name="candidate", training_table=table, is_classifier=True)
    # Whole numbers and fractions are one to the model, and "any" is the only type under which MLflow takes both.
    assert file.inputs == {"size": "any", "weight": "any", "colour": "string", "day": "double"}
    assert file.output == output
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
        to_model_file(model, name="candidate", training_table=training_table(), is_classifier=True)


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
    file = to_model_file(model, name="m", training_table=training_table(), is_classifier=True)
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
