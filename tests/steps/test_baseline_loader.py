"""Step 1: real models from files, folders and a registry; what is refused, and what goes on record."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
import xgboost
import yaml
from sklearn.linear_model import LinearRegression, LogisticRegression

from hokusai.digests import folder_manifest, sha256
from hokusai.errors import (
    ConfigurationError,
    DataError,
    HokusaiError,
    ModelDigestError,
    ModelError,
    ModelSignatureError,
    UntrustedModelError,
)
from hokusai.models.foreign_models import BoundModel, bind_model
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.models.model_digests import check_recorded_digests
from hokusai.models.sklearn_models import SklearnModel
from hokusai.records import MODEL_MANIFEST_FILE, MODEL_MANIFEST_TAG, MODEL_SHA256_TAG, BaselineModel
from hokusai.steps.baseline_loader import BaselineSettings, load_baseline_model
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.model_folder import write_model_folder
from hokusai.tracking.operations import LogArtifact, LogMetrics, LogModel, SetTags
from hokusai.tracking.run import Tracker

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"a": RNG.normal(size=200), "b": RNG.normal(size=200)})
CODES = (FRAME["a"] > 0.1).astype(int)
NAMES = CODES.map({0: "no", 1: "yes"})
TABLE = pa.table({"a": FRAME["a"], "b": FRAME["b"], "y": NAMES.to_list()})


class Marking:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        """Run code on loading."""
        return open, (str(self.marker), "w")


def loaded(source: Path | str, journal: MemoryJournal | None = None, **settings: Any) -> BaselineModel:
    """Run step 1 on a local model."""
    with Tracker(journal or MemoryJournal(), evaluation="e", run_name="r").start() as run:
        return load_baseline_model(
            BaselineSettings(source=str(source), **settings), registry=ModelRegistry("sqlite:///nowhere.db"), run=run
        )


def bound(baseline: BaselineModel, table: pa.Table = TABLE, **changes: Any) -> BoundModel:
    """Bind a model to the benchmark."""
    arguments: dict[str, Any] = {"features": ("a", "b"), "task": "classification", "classes": ("no", "yes")}
    found = bind_model(baseline, table=table, **(arguments | changes))
    assert found is not None
    return found


def booster(objective: str = "binary", label: Any = CODES, frame: Any = FRAME, **more: Any) -> lightgbm.Booster:
    """Train a small LightGBM model."""
    return lightgbm.train(
        {"objective": objective, "verbose": -1, "num_leaves": 4, **more}, lightgbm.Dataset(frame, label), 3
    )


def mlmodel(folder: Path, **flavors: Any) -> Path:
    """Write an MLmodel file."""
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors, "run_id": "abc"}))
    return folder


def test_a_lightgbm_file_scores_as_the_library_does(tmp_path: Path) -> None:
    model = booster()
    model.save_model(tmp_path / "model.anything")
    found = bound(loaded(tmp_path / "model.anything"))
    predictions = found.model.predict(TABLE, classes=("no", "yes"))
    assert predictions.probabilities is not None
    np.testing.assert_allclose(predictions.probabilities[:, 1], np.asarray(model.predict(FRAME)), rtol=0, atol=1e-15)
    assert "was taken for 'yes'" in found.notes[0]


@pytest.mark.parametrize("ending", ["json", "ubj"])
def test_an_xgboost_file_scores_as_the_library_does(ending: str, tmp_path: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=3).fit(FRAME, CODES)
    model.save_model(tmp_path / f"model.{ending}")
    predictions = bound(loaded(tmp_path / f"model.{ending}")).model.predict(TABLE, classes=("no", "yes"))
    assert predictions.probabilities is not None
    np.testing.assert_allclose(predictions.probabilities, model.predict_proba(FRAME), atol=1e-7)


def test_pandas_categories_get_the_codes_that_they_had_in_training(tmp_path: Path) -> None:
    texts = pd.Series(["u", "v", "w", "x"] * 50)
    frame = pd.DataFrame({"b": FRAME["b"], "c": texts.astype("category")})
    label = texts.isin(["v", "x"]).astype(int)
    table = pa.table({"b": FRAME["b"], "c": texts.to_list(), "y": NAMES.to_list()})
    model = booster(label=label, frame=frame, min_data_per_group=1, cat_smooth=1)
    model.save_model(tmp_path / "l")
    other = xgboost.XGBClassifier(n_estimators=3, enable_categorical=True).fit(frame, label)
    other.save_model(tmp_path / "x.json")
    for file, expected in (("l", model.predict(frame)), ("x.json", other.predict_proba(frame)[:, 1])):
        found = bound(loaded(tmp_path / file), table, features=("b", "c")).model.predict(table, classes=("no", "yes"))
        assert found.probabilities is not None
        assert len(np.unique(found.probabilities[:, 1])) > 1
        np.testing.assert_allclose(found.probabilities[:, 1], np.asarray(expected), atol=1e-7)


def test_an_onnx_file_scores_by_position_and_says_so(tmp_path: Path) -> None:
    from skl2onnx import to_onnx

    model = LogisticRegression().fit(FRAME.to_numpy(), NAMES)
    content = to_onnx(model, FRAME.to_numpy(dtype=np.float32), options={"zipmap": False}).SerializeToString()
    (tmp_path / "m").write_bytes(content)
    found = bound(loaded(tmp_path / "m"))
    assert found.model.classes == ("no", "yes")
    assert "given the features in their order" in found.notes[0]
    predictions = found.model.predict(TABLE, classes=("no", "yes"))
    assert predictions.probabilities is not None
    np.testing.assert_allclose(predictions.probabilities, model.predict_proba(FRAME.to_numpy()), atol=1e-5)
    with pytest.raises(ModelError, match="2 columns by position alone, and there are 1"):
        bound(loaded(tmp_path / "m"), features=("a",))


def test_what_a_model_needs_and_the_benchmark_lacks_is_named(tmp_path: Path) -> None:
    booster().save_model(tmp_path / "m")
    model = loaded(tmp_path / "m")
    with pytest.raises(ModelSignatureError) as caught:
        bound(model, features=("a",))
    assert caught.value.missing == ("b",)
    texts = TABLE.set_column(1, "b", pa.array(["t"] * 200))
    with pytest.raises(ModelSignatureError) as caught:
        bound(model, texts)
    assert caught.value.mismatched == (("b", "double", "string"),)
    wider = TABLE.append_column("more", pa.array([1] * 200))
    assert bound(model, wider, features=("more", "a", "b")).model.features == ("a", "b")


def test_classes_are_named_by_the_settings_or_refused_never_guessed(tmp_path: Path) -> None:
    booster("multiclass", label=np.arange(200) % 3, num_class=3).save_model(tmp_path / "m")
    three = ("x", "y", "z")
    with pytest.raises(ModelError, match="3 classes without names"):
        bound(loaded(tmp_path / "m"), classes=three)
    named = bound(loaded(tmp_path / "m", classes=("z", "x", "y")), classes=three).model
    numbered = bound(loaded(tmp_path / "m"), classes=("0", "1", "2")).model
    assert (named.classes, numbered.classes) == (("z", "x", "y"), ("0", "1", "2"))
    ours, theirs = named.predict(TABLE, classes=three), numbered.predict(TABLE, classes=("0", "1", "2"))
    assert ours.probabilities is not None
    assert theirs.probabilities is not None
    np.testing.assert_array_equal(ours.probabilities[:, [2, 0, 1]], theirs.probabilities)
    with pytest.raises(ConfigurationError):
        bound(loaded(tmp_path / "m", classes=("x", "y")), classes=three)


def test_the_positive_class_is_the_second_of_a_binary_model(tmp_path: Path) -> None:
    booster().save_model(tmp_path / "m")
    assert bound(loaded(tmp_path / "m"), positive_class="no").model.classes == ("yes", "no")


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    booster("regression", label=FRAME["a"]).save_model(tmp_path / "m")
    with pytest.raises(DataError, match="does not do classification"):
        bound(loaded(tmp_path / "m"))
    skops.io.dump(LinearRegression().fit(FRAME, FRAME["a"]), tmp_path / "s")
    with pytest.raises(DataError, match="does not do classification"):
        bound(loaded(tmp_path / "s"))
    predictions = bound(loaded(tmp_path / "m"), task="regression", classes=()).model.predict(TABLE, classes=())
    assert predictions.predicted.dtype == np.float64


def test_a_trusted_pickle_is_loaded_only_with_its_own_digest(tmp_path: Path) -> None:
    file = tmp_path / "m.skops"
    joblib.dump(LogisticRegression().fit(FRAME, NAMES), file, compress=3)
    with pytest.raises(UntrustedModelError) as caught:
        loaded(file)
    digest = sha256(file.read_bytes())
    assert f'trusted_sha256 = "{digest}"' in str(caught.value)
    assert bound(loaded(file, trusted_sha256=digest)).model.classes == ("no", "yes")
    marker = tmp_path / "marker"
    file.write_bytes(pickle.dumps(Marking(marker)))
    with pytest.raises(ModelDigestError):
        loaded(file, trusted_sha256=digest)
    assert not marker.exists()


def test_a_refusal_says_with_which_digest_the_very_model_would_be_trusted(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(pickle.dumps(LogisticRegression().fit(FRAME, NAMES)))
    with pytest.raises(UntrustedModelError) as caught:
        loaded(tmp_path / "m")
    digest = sha256((tmp_path / "m").read_bytes())
    assert caught.value.sha256 == digest
    assert f"its SHA-256 is {digest}" in str(caught.value)
    assert str(UntrustedModelError("m", "why")).count("SHA-256") == 1


# What cloudpickle and dill write is a pickle that names functions of theirs.
FOREIGN_PICKLES = {
    "cloudpickle": b"\x80\x05\x8c\x17cloudpickle.cloudpickle\x94\x8c\x0d_builtin_type\x94\x93\x94)R\x94.",
    "dill": b"\x80\x04\x8c\ndill._dill\x94\x8c\n_load_type\x94\x93\x94\x8c\x03int\x94\x85\x94R\x94.",
}


@pytest.mark.parametrize("kind", FOREIGN_PICKLES)
def test_what_cloudpickle_and_dill_write_is_refused_as_a_pickle(kind: str, tmp_path: Path) -> None:
    (tmp_path / "m.skops").write_bytes(FOREIGN_PICKLES[kind])
    with pytest.raises(UntrustedModelError, match="pickle"):
        loaded(tmp_path / "m.skops")


def test_a_folder_that_the_shipper_writes_is_loaded_with_the_same_predictions(tmp_path: Path) -> None:
    model = SklearnModel(LogisticRegression().fit(FRAME, NAMES), features=("a", "b"))
    kept = model.to_file(name="candidate", example={"a": 0.5, "b": -1.0})
    assert isinstance(kept.content, bytes)
    (tmp_path / "staged").write_bytes(kept.content)
    record = LogModel(
        run="run",
        name=kept.name,
        file=kept.file,
        sha256=sha256(kept.content),
        size=len(kept.content),
        flavor=kept.flavor,
        options=kept.options,
        inputs=kept.inputs,
        output=kept.output,
        requirements=kept.requirements,
        example=kept.example,
    )
    (tmp_path / "m").mkdir()
    write_model_folder(tmp_path / "m", record, file=tmp_path / "staged", run_id="r", model_id="m-1", logged_at=0)
    (tmp_path / "m" / kept.file).unlink()
    (tmp_path / "m" / kept.file).write_bytes(kept.content)
    found = bound(loaded(tmp_path / "m")).model.predict(TABLE, classes=("no", "yes"))
    expected = model.predict(TABLE, classes=("no", "yes"))
    assert found.probabilities is not None
    assert expected.probabilities is not None
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    np.testing.assert_array_equal(found.predicted, expected.predicted)


@pytest.mark.parametrize("flavor", ["lightgbm", "xgboost", "onnx"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_folder_that_mlflow_saves_is_loaded_without_trust_in_flavours_that_hold_numbers(
    flavor: str, tmp_path: Path
) -> None:
    import mlflow.lightgbm
    import mlflow.onnx
    import mlflow.xgboost
    from mlflow.models import infer_signature

    options: dict[str, Any] = {
        "signature": infer_signature(FRAME, NAMES.to_numpy()[:1].astype(str)),
        "pip_requirements": [flavor],
    }
    if flavor == "lightgbm":
        model = booster()
        expected = np.asarray(model.predict(FRAME))
        mlflow.lightgbm.save_model(model, str(tmp_path / "m"), **options)
    elif flavor == "xgboost":
        trees = xgboost.train({"objective": "binary:logistic", "max_depth": 2}, xgboost.DMatrix(FRAME, CODES), 3)
        expected = trees.predict(xgboost.DMatrix(FRAME))
        mlflow.xgboost.save_model(trees, str(tmp_path / "m"), **options)
    else:
        from skl2onnx import to_onnx

        linear = LogisticRegression().fit(FRAME.to_numpy(), NAMES)
        expected = linear.predict_proba(FRAME.to_numpy())[:, 1]
        document = to_onnx(linear, FRAME.to_numpy(dtype=np.float32), options={"zipmap": False})
        mlflow.onnx.save_model(document, str(tmp_path / "m"), **options)
    found = loaded(tmp_path / "m")
    assert [name for name, _ in found.inputs] == ["a", "b"]
    predictions = bound(found).model.predict(TABLE, classes=("no", "yes"))
    assert predictions.probabilities is not None
    np.testing.assert_allclose(predictions.probabilities[:, 1], expected, atol=1e-5)


PICKLED = {
    "sklearn as cloudpickle": {"sklearn": {"pickled_model": "m.pkl", "serialization_format": "cloudpickle"}},
    "a pickle called skops": {"sklearn": {"pickled_model": "m.pkl", "serialization_format": "skops"}},
    "a pickle called lightgbm": {"lightgbm": {"data": "m.pkl"}},
    "a python model": {"python_function": {"loader_module": "mlflow.pyfunc.model", "python_model": "m.pkl"}},
    "a module of its own": {"python_function": {"loader_module": "os"}},
    "code beside it": {"xgboost": {"data": "m.json", "code": "code"}},
    "a script": {"python_function": {"loader_module": "mlflow.pyfunc.model", "model_code_path": "m.py"}},
    "two loaders": {
        "xgboost": {"data": "m.json"},
        "python_function": {"loader_module": "mlflow.statsmodels", "data": "m.pkl"},
    },
}


@pytest.mark.parametrize("kind", PICKLED)
def test_an_mlflow_folder_that_hides_code_is_refused_with_its_digest_and_runs_nothing(
    kind: str, tmp_path: Path
) -> None:
    marker, folder = tmp_path / "marker", mlmodel(tmp_path / "m", **PICKLED[kind])
    (folder / "m.pkl").write_bytes(pickle.dumps(Marking(marker)))
    xgboost.XGBClassifier(n_estimators=1).fit(FRAME, CODES).save_model(folder / "m.json")
    with pytest.raises(UntrustedModelError) as caught:
        loaded(folder)
    assert sha256(folder_manifest(folder)) in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "flavors",
    [
        {"sklearn": {"pickled_model": "../../x", "serialization_format": "skops"}},
        {"lightgbm": {"data": "/etc/passwd"}},
        {"python_function": {"loader_module": "mlflow.sklearn", "model_path": "a/../../b"}},
    ],
)
def test_a_path_that_leaves_the_folder_is_refused_even_when_trusted(flavors: Any, tmp_path: Path) -> None:
    folder = mlmodel(tmp_path / "m", **flavors)
    for trusted in ("", sha256(folder_manifest(folder))):
        with pytest.raises(ModelError, match="outside the model's folder"):
            loaded(folder, trusted_sha256=trusted)


def test_links_out_of_a_folder_missing_files_and_damaged_descriptions_are_errors_of_ours(tmp_path: Path) -> None:
    folder = mlmodel(tmp_path / "m", lightgbm={"data": "gone"})
    with pytest.raises(ModelError, match="which is not there"):
        loaded(folder)
    for text in ("", "flavors: 3", "flavors: {a: 1}", "{" * 5000, "a: &x [*x]", "!!python/object:os.system x", "\x00"):
        (folder / "MLmodel").write_text(text)
        with pytest.raises(HokusaiError, match="MLmodel"):
            loaded(folder)
    (tmp_path / "secret").write_text("s")
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="a link to a place outside"):
        loaded(folder)
    (tmp_path / "empty").mkdir()
    for place, words in (("empty", "without an MLmodel"), ("none", "no such file or folder")):
        with pytest.raises(ModelError, match=words):
            loaded(tmp_path / place)


def test_a_widened_list_of_trusted_types_widens_nothing(tmp_path: Path) -> None:
    skops.io.dump({"x": Path("a"), "f": json.dumps}, tmp_path / "m.skops")
    folder = mlmodel(
        tmp_path / "m",
        sklearn={"pickled_model": "m.skops", "serialization_format": "skops", "skops_trusted_types": ["json.dumps"]},
    )
    (tmp_path / "m.skops").rename(folder / "m.skops")
    with pytest.raises(UntrustedModelError, match="the file asks for"):
        loaded(folder)


def test_a_swapped_edited_added_or_lost_file_is_named(tmp_path: Path) -> None:
    folder = mlmodel(tmp_path / "m", lightgbm={"data": "model.txt"})
    booster().save_model(folder / "model.txt")
    (folder / "requirements.txt").write_text("lightgbm\n")
    manifest = folder_manifest(folder)
    (folder / MODEL_MANIFEST_FILE).write_bytes(manifest)
    tags = {MODEL_MANIFEST_TAG: sha256(manifest), MODEL_SHA256_TAG: sha256((folder / "model.txt").read_bytes())}
    assert check_recorded_digests(folder, tags, source="m")
    assert not check_recorded_digests(folder, {}, source="m")
    for name in ("model.txt", "MLmodel", "requirements.txt"):
        kept = (folder / name).read_bytes()
        for content in (kept + b"\n", None):
            if content is None:
                (folder / name).unlink()
            else:
                (folder / name).write_bytes(content)
            with pytest.raises(ModelDigestError) as caught:
                check_recorded_digests(folder, tags, source="m")
            assert caught.value.what == name
        (folder / name).write_bytes(kept)
    (folder / MODEL_MANIFEST_FILE).write_text("{}")
    with pytest.raises(ModelDigestError, match=MODEL_MANIFEST_FILE):
        check_recorded_digests(folder, {MODEL_MANIFEST_TAG: "0" * 64}, source="m")


def test_what_was_loaded_is_on_record(tmp_path: Path) -> None:
    journal = MemoryJournal()
    booster().save_model(tmp_path / "m")
    baseline = loaded(tmp_path / "m", journal)
    tags = {key: value for each in journal.operations if isinstance(each, SetTags) for key, value in each.tags.items()}
    content = (tmp_path / "m").read_bytes()
    assert tags["hokusai.baseline.flavor"] == "lightgbm"
    assert tags["hokusai.baseline.sha256"] == sha256(content)
    assert tags["hokusai.baseline.digest_checked"] == "false"
    # Nobody records digests of a file that lies here; its own is on record from now on.
    assert baseline.notes == ()
    names = {name for each in journal.operations if isinstance(each, LogMetrics) for name in each.metrics}
    assert {"baseline.size_bytes", "baseline.load_seconds", "baseline.features"} <= names
    (artifact,) = [
        each for each in journal.operations if isinstance(each, LogArtifact) and each.path == "signature.json"
    ]
    signature = json.loads(journal.staged[artifact.sha256])
    assert [entry["name"] for entry in signature["inputs"]] == ["a", "b"]


def test_a_trusted_pyfunc_model_predicts_on_a_table_and_a_swapped_one_is_refused(tmp_path: Path) -> None:
    import mlflow.pyfunc

    (tmp_path / "own.py").write_text(
        "import mlflow.pyfunc\nfrom mlflow.models import set_model\n"
        "class Own(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return ['yes' if value > 0.1 else 'no' for value in model_input['a']]\n"
        "set_model(Own())\n"
    )
    with warnings.catch_warnings(record=True):
        mlflow.pyfunc.save_model(
            str(tmp_path / "m"), python_model=str(tmp_path / "own.py"), pip_requirements=["mlflow"]
        )
    with pytest.raises(UntrustedModelError):
        loaded(tmp_path / "m")
    digest = sha256(folder_manifest(tmp_path / "m"))
    with warnings.catch_warnings(record=True) as caught:
        found = bound(loaded(tmp_path / "m", trusted_sha256=digest))
    assert [str(each.message) for each in caught] == []
    predictions = found.model.predict(TABLE, classes=("no", "yes"))
    assert predictions.probabilities is None
    np.testing.assert_array_equal(predictions.predicted, CODES)
    assert "was given every feature" in found.notes[0]
    (tmp_path / "m" / "requirements.txt").write_text("other\n")
    with pytest.raises(ModelDigestError):
        loaded(tmp_path / "m", trusted_sha256=digest)
