"""Equal models are equal files: whatever process they come from, and whenever they are written."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
import zipfile
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import skops.io as skops_io
from sklearn.tree import DecisionTreeClassifier

from hokusai.models.canonical_skops import canonical_skops
from hokusai.models.column_kinds import column_kinds
from hokusai.models.model_files import load_skops
from hokusai.models.trainers import TrainingTable, ignore_progress, make_trainer

if TYPE_CHECKING:
    from pathlib import Path

    from hokusai.records import TrainedModel

SMALL: dict[str, dict[str, Any]] = {
    "LogisticRegression": {},
    "RandomForestClassifier": {"n_estimators": 3},
    "HistGradientBoostingClassifier": {"max_iter": 3},
    "GradientBoostingClassifier": {"n_estimators": 3},
    "LGBMClassifier": {"n_estimators": 3},
    "XGBClassifier": {"n_estimators": 3},
    "TextClassifier": {"stop_words": ["the", "a"]},
    "KNeighborsClassifier": {},
}
FEATURES = ("size", "colour", "day", "words")


def fitted(name: str) -> tuple[TrainedModel, pa.Table]:
    rng = np.random.default_rng(0)
    size = rng.normal(size=80)
    table = pa.table(
        {
            "size": pa.array(size, mask=rng.random(80) < 0.1),
            "colour": rng.choice(["red", "green", "blue"], 80),
            "day": [date(2020, 1, 1 + int(each)) for each in rng.integers(0, 28, 80)],
            "words": rng.choice(["the sea is calm", "a wave of great height", "boats on the sea"], 80),
            "label": np.where(size > 0, "yes", "no"),
        }
    )
    data = TrainingTable(table=table, features=FEATURES, label="label", kinds=column_kinds(table, FEATURES))
    return make_trainer(name, SMALL[name]).fit(data, seed=0, progress=ignore_progress), table


def file_of(model: TrainedModel) -> bytes:
    content = model.to_file(name="m", example={}).content
    assert isinstance(content, bytes)
    return content


def digests() -> dict[str, str]:
    return {name: hashlib.sha256(file_of(fitted(name)[0])).hexdigest() for name in SMALL}


@pytest.mark.parametrize("name", SMALL)
def test_a_model_that_was_sent_to_another_process_is_the_same_file(name: str) -> None:
    model, _ = fitted(name)
    assert file_of(pickle.loads(pickle.dumps(model))) == file_of(model)  # noqa: S301  (our own)


def test_another_process_with_other_hashes_writes_the_same_files() -> None:
    code = (
        "import json, sys; from importlib.util import module_from_spec, spec_from_file_location as spec;"
        f"made = spec('m', {__file__!r}); module = module_from_spec(made); made.loader.exec_module(module);"
        "print(json.dumps(module.digests()))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == digests()


@pytest.mark.parametrize("name", SMALL)
def test_what_is_loaded_predicts_what_was_kept(name: str, tmp_path: Path) -> None:
    model, table = fitted(name)
    path = tmp_path / "model.skops"
    path.write_bytes(file_of(model))
    loaded = load_skops(path, source="model")
    classes = ("no", "yes")
    kept, found = model.predict(table, classes=classes), loaded.predict(table, classes=classes)
    assert np.array_equal(kept.predicted, found.predicted)
    assert kept.probabilities is not None
    assert found.probabilities is not None
    assert np.array_equal(kept.probabilities, found.probabilities)


def test_gaps_in_records_hold_nothing_and_all_fields_stay() -> None:
    tree = DecisionTreeClassifier(random_state=0).fit(np.arange(20.0).reshape(-1, 1), np.arange(20) % 2)
    content = canonical_skops(skops_io.dumps(tree))
    loaded = skops_io.loads(content, trusted=skops_io.get_untrusted_types(data=content))
    ours, theirs = loaded.tree_.__getstate__()["nodes"], tree.tree_.__getstate__()["nodes"]
    assert all(np.array_equal(ours[field], theirs[field], equal_nan=True) for field in theirs.dtype.names)
    with zipfile.ZipFile(BytesIO(content)) as archive:
        arrays = [archive.read(name) for name in archive.namelist() if name.endswith(".npy")]
    (nodes,) = [member for member in arrays if b"missing_go_to_left" in member]
    rows = np.frombuffer(nodes[-theirs.nbytes :], dtype=np.uint8).reshape(len(theirs), theirs.dtype.itemsize)
    last_field = max(offset + kind.itemsize for kind, offset, *_ in theirs.dtype.fields.values())
    assert last_field < theirs.dtype.itemsize
    assert not rows[:, last_field:].any()


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_their_order_and_equal_ones_are_kept_once(order: str) -> None:
    records = np.array(
        [[(1, 2.0), (3, 4.0)], [(5, 6.0), (7, 8.0)]], dtype=np.dtype([("a", "u1"), ("b", "f8")], align=True)
    )
    array = np.asarray(records, order=order)  # type: ignore[call-overload]
    content = canonical_skops(skops_io.dumps({"one": array, "two": array.copy(order="K"), "set": {"b", "a", "c"}}))
    loaded = skops_io.loads(content)
    assert loaded["set"] == {"a", "b", "c"}
    assert np.array_equal(loaded["one"], array)
    assert np.array_equal(loaded["two"], array)
    assert loaded["one"].flags.fnc == (order == "F")
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert archive.namelist() == ["0.npy", "schema.json"]
        assert {item.date_time[0] for item in archive.infolist()} == {1980}
