"""Hostile and damaged skops files: refused before anything of them could end the process or keep it for ever."""

from __future__ import annotations

import functools
import io
import json
import random
import zipfile
from typing import TYPE_CHECKING, Any, TypeAlias

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import skops.io
import xgboost
from sklearn.cluster import BisectingKMeans, KMeans
from sklearn.compose import make_column_transformer
from sklearn.decomposition import NMF
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import check_array

from hokusai.errors import ModelError, UntrustedModelError
from hokusai.models.model_files import load_skops
from hokusai.models.native_reader import NativeReader
from hokusai.models.sound_parts import require_sound_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Edit: TypeAlias = "Callable[[dict[str, Any], dict[str, bytes]], None]"
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"a": RNG.normal(size=80), "b": RNG.normal(size=80), "c": RNG.integers(0, 3, 80)})
TEXTS = pd.DataFrame({"t": ["red fox", "blue sky", "red sky", "old fox"] * 20})
LABEL = (FRAME["a"] > 0).astype(int) + (FRAME["b"] > 0)


@pytest.fixture(scope="module")
def reader() -> Iterator[NativeReader]:
    """One process for many files."""
    with NativeReader() as native_reader:
        yield native_reader


def set_nodes(tree: Any, name: str, value: int) -> None:
    """Write a number into the root of a tree, or of every tree of a model."""
    state = tree.__getstate__()
    nodes = state["nodes"].copy()
    nodes[name][0] = value
    tree.__setstate__(state | {"nodes": nodes})


def set_predictor(model: Any, name: str, value: int) -> None:
    """Write a number into the root of a tree of histogram gradient boosting."""
    nodes = model._predictors[0][0].nodes.copy()
    nodes[name][0] = value
    model._predictors[0][0].nodes = nodes


def set_binary_tree(model: Any, place: int, change: Callable[[Any], Any]) -> None:
    """Change a part of the state of a tree of neighbours."""
    state = list(model._tree.__getstate__())
    state[place] = change(np.array(state[place]))
    model._tree.__setstate__(tuple(state))


def set_field(array: Any, name: str, value: int) -> Any:
    """Return the array with a number in a field of its first element."""
    array[name][0] = value
    return array


def change(model: Any, name: str, to: Any) -> None:
    """Give an attribute another value, which a function may make of the old one."""
    setattr(model, name, to(getattr(model, name)) if callable(to) else to)


def put(place: Any, value: Any) -> Callable[[Any], Any]:
    """Return a function that returns an array with another number at a place."""

    def changed(array: Any) -> Any:
        array = array.copy()
        array[place] = value
        return array

    return changed


def forest() -> Any:
    return RandomForestClassifier(n_estimators=3, random_state=0)


def boosted() -> Any:
    return GradientBoostingClassifier(n_estimators=2, random_state=0)


def histogram() -> Any:
    return HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=3, categorical_features=[2])


def neighbours(algorithm: str = "kd_tree") -> Any:
    return KNeighborsClassifier(algorithm=algorithm, leaf_size=5)


def shorter(array: Any) -> Any:
    return array[:-1].copy()


def narrower(array: Any) -> Any:
    return np.ascontiguousarray(array[:, :-1])


def categorical(model: Any) -> None:
    set_predictor(model, "is_categorical", 1)
    set_predictor(model, "feature_idx", 1)


def beyond(model: Any) -> None:
    set_predictor(model, "is_categorical", 1)
    set_predictor(model, "feature_idx", 0)
    set_predictor(model, "bitset_idx", 10_000)


UNSOUND: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], str]] = {
    "tree cycle": (DecisionTreeClassifier, lambda m: set_nodes(m.tree_, "left_child", 0), "before its parent"),
    "tree far": (DecisionTreeClassifier, lambda m: set_nodes(m.tree_, "right_child", 2_000_000_000), "children"),
    "tree feature": (DecisionTreeClassifier, lambda m: set_nodes(m.tree_, "feature", 3), "features"),
    "tree width": (DecisionTreeClassifier, lambda m: change(m, "n_features_in_", 2), "a tree of 3 features"),
    "tree unknown width": (DecisionTreeClassifier, lambda m: delattr(m, "n_features_in_"), "n_features_in_"),
    "tree count": (
        DecisionTreeClassifier,
        lambda m: m.tree_.__setstate__(m.tree_.__getstate__() | {"node_count": 10**6}),
        "nodes, expected at most",
    ),
    "hidden method": (
        DecisionTreeClassifier,
        lambda m: change(m, "_validate_X_predict", lambda _: functools.partial(check_array)),
        "hides a method",
    ),
    "forest cycle": (forest, lambda m: set_nodes(m.estimators_[2].tree_, "left_child", 0), "before its parent"),
    "forest feature": (forest, lambda m: set_nodes(m.estimators_[1].tree_, "feature", -3), "features"),
    "forest width": (forest, lambda m: change(m, "n_features_in_", 2), "a tree of 3 features, expected 2"),
    "forest of others": (forest, lambda m: m.estimators_.append(LinearRegression()), "expected a decision tree"),
    "isolation forest": (
        lambda: IsolationForest(n_estimators=2, max_features=2),
        lambda m: change(m, "estimators_features_", lambda each: [each[0][:1], each[1]]),
        "a tree of 2 features, expected 1",
    ),
    "boosting cycle": (boosted, lambda m: set_nodes(m.estimators_[1, 2].tree_, "left_child", 0), "before its parent"),
    "boosting columns": (
        boosted,
        lambda m: change(m, "estimators_", lambda each: np.hstack([each, each])),
        "6 trees a stage, expected 3",
    ),
    "boosting start": (
        boosted,
        lambda m: change(m.init_, "class_prior_", lambda _: np.array([0.5, 0.5])),
        "a damaged GradientBoostingClassifier",
    ),
    "histogram cycle": (histogram, lambda m: set_predictor(m, "left", 0), "before its parent"),
    "histogram far": (histogram, lambda m: set_predictor(m, "right", 2**31), "children"),
    "histogram feature": (histogram, lambda m: set_predictor(m, "feature_idx", 3), "features"),
    "histogram category": (histogram, categorical, "without categories"),
    "histogram bitset": (histogram, beyond, "sets of categories"),
    "histogram width": (
        histogram,
        lambda m: change(m._preprocessor, "transformers_", lambda each: each[:1]),
        "is_categorical_ is of another width|is_categorical_ is not of",
    ),
    "histogram codes": (
        histogram,
        lambda m: m._bin_mapper.bin_thresholds_.__setitem__(0, np.array([1e9])),
        "a category is beyond the greatest",
    ),
    "neighbours index": (neighbours, lambda m: set_binary_tree(m, 1, put(0, 10**9)), "idx_array"),
    "neighbours node": (
        neighbours,
        lambda m: set_binary_tree(m, 2, lambda nodes: set_field(nodes, "idx_end", 10**9)),
        "points do not exist",
    ),
    "neighbours child": (
        neighbours,
        lambda m: set_binary_tree(m, 2, lambda nodes: set_field(nodes[:1].copy(), "is_leaf", 0)),
        "node_bounds|child does not exist",
    ),
    "neighbours bounds": (
        lambda: neighbours("ball_tree"),
        lambda m: set_binary_tree(m, 3, lambda bounds: bounds[:, :1].copy()),
        "node_bounds",
    ),
    "neighbours labels": (neighbours, lambda m: change(m, "_y", put(0, 10**9)), "labels"),
    "neighbours rows": (lambda: neighbours("brute"), lambda m: change(m, "_fit_X", narrower), "another width"),
    "neighbours count": (lambda: neighbours("brute"), lambda m: change(m, "n_samples_fit_", 10**9), "n_samples_fit_"),
    "vectors": (SVC, lambda m: change(m, "support_vectors_", narrower), "numbers of vectors"),
    "vectors of classes": (SVC, lambda m: change(m, "_n_support", put(0, 10**6)), "numbers of vectors"),
    "vectors' coefficients": (SVC, lambda m: change(m, "_dual_coef_", narrower), "numbers of coefficients"),
    "vectors' intercepts": (SVC, lambda m: change(m, "_intercept_", shorter), "numbers of intercepts"),
    "vectors of a regression": (SVR, lambda m: change(m, "support_", shorter), "numbers of coefficients"),
    "centers": (
        lambda: KMeans(2, n_init=1),
        lambda m: change(m, "cluster_centers_", narrower),
        "centers of another width",
    ),
    "one-hot": (OneHotEncoder, lambda m: change(m, "_n_features_outs", [1, 1, 1]), "3 columns come out"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_numbers_that_compiled_code_would_follow_anywhere_are_refused_before_it_does(name: str) -> None:
    make, damage, words = UNSOUND[name]
    model = make().fit(FRAME, LABEL)
    require_sound_parts(model, source="m")
    damage(model)
    with pytest.raises(ModelError, match=words) as caught:
        require_sound_parts(model, source="m")
    assert not isinstance(caught.value, UntrustedModelError)
    with pytest.raises(ModelError, match=words):
        require_sound_parts(make_pipeline(StandardScaler(), model), source="m", trusted=True)


def test_numbers_of_text_vectorizers_and_sparse_matrices_are_checked() -> None:
    words = TfidfVectorizer().fit(TEXTS["t"])
    require_sound_parts(words, source="m")
    words.vocabulary_["fox"] = 10**9
    with pytest.raises(ModelError, match="a word's column does not exist"):
        require_sound_parts(words, source="m")
    with pytest.raises(ModelError, match="n_features"):
        require_sound_parts(HashingVectorizer(n_features=0), source="m")
    matrix = scipy.sparse.csr_matrix(np.eye(3))
    matrix.indices[0] = 10**6
    with pytest.raises(ModelError, match="csr_matrix"):
        require_sound_parts([{"x": matrix}], source="m")
    state = np.random.RandomState(0)
    require_sound_parts(state, source="m")
    bits = state.get_state(legacy=False)
    bits["state"]["pos"] = 10**9
    state.set_state(bits)
    with pytest.raises(ModelError, match="RandomState"):
        require_sound_parts(state, source="m")


@pytest.mark.parametrize(
    "model",
    [
        BisectingKMeans(2),
        NMF(2),
        RadiusNeighborsClassifier(radius=50),
        SVC(kernel=check_array),
        GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()),
        KNeighborsClassifier(algorithm="ball_tree", metric="seuclidean", metric_params={"V": np.ones(3)}),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_cannot_be_checked_is_refused_unless_somebody_vouches_for_it(model: Any) -> None:
    if isinstance(model, SVC):
        model.support_vectors_ = np.ones((1, 3))
    else:
        model.fit(MinMaxScaler().set_output(transform="pandas").fit_transform(FRAME), LABEL)
    with pytest.raises(UntrustedModelError, match="cannot be checked"):
        require_sound_parts(model, source="m")
    require_sound_parts(model, source="m", trusted=True)


# What the file would have constructed, before it is.


def rewritten(content: bytes, edit: Edit) -> bytes:
    """Return a skops file whose schema or members are edited."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members.pop("schema.json"))
    edit(schema, members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, each in (members | {"schema.json": json.dumps(schema).encode()}).items():
            archive.writestr(name, each)
    return buffer.getvalue()


def find(schema: Any, name: str) -> Any:
    """Return the first node of a class."""
    if isinstance(schema, dict):
        if schema.get("__class__") == name:
            return schema
        schema = list(schema.values())
    found = (find(each, name) for each in schema) if isinstance(schema, list) else ()
    return next((each for each in found if each is not None), None)


@functools.cache
def file_of(kind: str) -> bytes:
    """Return a small model as skops writes it."""
    models = {
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=3, num_leaves=4, verbose=-1, n_jobs=1),
        "xgboost": xgboost.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1),
        "tree": DecisionTreeClassifier(max_depth=3),
        "linear": LogisticRegression(),
    }
    return bytes(
        skops.io.dumps(make_pipeline(StandardScaler().set_output(transform="pandas"), models[kind]).fit(FRAME, LABEL))
    )


def load(content: bytes, folder: Path, reader: NativeReader, *, trusted: bool = False) -> Any:
    """Load a skops file."""
    (folder / "m.skops").write_bytes(content)
    return load_skops(folder / "m.skops", source="m", reader=reader, trusted=trusted)


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost", "tree", "linear"])
@pytest.mark.parametrize("trusted", [False, True])
def test_a_sound_file_predicts_as_the_original(
    kind: str, *, trusted: bool, tmp_path: Path, reader: NativeReader
) -> None:
    original = skops.io.loads(file_of(kind), trusted=skops.io.get_untrusted_types(data=file_of(kind)))
    found = load(file_of(kind), tmp_path, reader, trusted=trusted)
    predictions = found.predict(pa.Table.from_pandas(FRAME), classes=("0", "1", "2"))
    np.testing.assert_array_equal(predictions.probabilities, original.predict_proba(FRAME))
    np.testing.assert_array_equal(predictions.predicted, original.predict(FRAME))


def edit_text(old: str, new: str) -> Edit:
    def edit(schema: dict[str, Any], _members: dict[str, bytes]) -> None:
        handle = find(schema, "Booster")["content"]["content"]["_handle"]
        text = json.loads(handle["content"])
        assert old in text
        handle["content"] = json.dumps(text.replace(old, new, 1))

    return edit


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [("left_child=1", "left_child=0"), ("num_leaves=", "num_leaves=9"), ("Tree=1", "Tree=2"), ("tree_sizes", "sizes")],
)
def test_a_damaged_lightgbm_booster_in_a_skops_file_is_refused(
    old: str, new: str, *, trusted: bool, tmp_path: Path, reader: NativeReader
) -> None:
    with pytest.raises(ModelError, match="m: a damaged LightGBM model"):
        load(rewritten(file_of("lightgbm"), edit_text(old, new)), tmp_path, reader, trusted=trusted)


def shadow_handle(schema: dict[str, Any], _members: dict[str, bytes]) -> None:
    """Let another node be taken in place of the booster's text."""
    handle = find(schema, "Booster")["content"]["content"]["_handle"]
    hostile = handle | {"content": json.dumps(json.loads(handle["content"]).replace("left_child=1", "left_child=0"))}
    scaler = find(schema, "StandardScaler")["content"]
    scaler["content"] = {"x": hostile, **scaler["content"]}


def no_handle(schema: dict[str, Any], _members: dict[str, bytes]) -> None:
    del find(schema, "Booster")["content"]["content"]["_handle"]


def called_booster(schema: dict[str, Any], _members: dict[str, bytes]) -> None:
    find(schema, "Booster")["__loader__"] = "ListNode"


@pytest.mark.parametrize("edit", [shadow_handle, no_handle, called_booster])
@pytest.mark.parametrize("trusted", [False, True])
def test_no_trick_of_the_schema_gets_another_booster_past_the_reader(
    edit: Edit, *, trusted: bool, tmp_path: Path, reader: NativeReader
) -> None:
    with pytest.raises(ModelError):
        load(rewritten(file_of("lightgbm"), edit), tmp_path, reader, trusted=trusted)


def test_a_damaged_xgboost_booster_in_a_skops_file_is_refused_or_loads_as_a_sound_one(
    tmp_path: Path, reader: NativeReader
) -> None:
    rng, outcomes = random.Random(3), []  # noqa: S311 - repeatable damage

    def edit(schema: dict[str, Any], members: dict[str, bytes]) -> None:
        name = find(schema, "Booster")["content"]["content"]["handle"]["file"]
        content = bytearray(members[name])
        for _ in range(3):
            content[rng.randrange(len(content))] = rng.randrange(256)
        members[name] = bytes(content)

    for _ in range(8):
        try:
            load(rewritten(file_of("xgboost"), edit), tmp_path, reader)
        except ModelError as error:
            outcomes.append(str(error)[:3])
    assert outcomes.count("m: ") == len(outcomes) > 2


def grow_outputs(schema: dict[str, Any], _members: dict[str, bytes]) -> None:
    outputs = find(schema, "Tree")["__reduce__"]["args"]["content"][2]
    outputs.pop("__id__", None)
    outputs["content"] = "2000000000"


def test_a_tree_that_would_read_more_sizes_than_there_are_is_not_constructed(
    tmp_path: Path, reader: NativeReader
) -> None:
    for trusted in (False, True):
        with pytest.raises(ModelError, match="a tree's sizes do not fit"):
            load(rewritten(file_of("tree"), grow_outputs), tmp_path, reader, trusted=trusted)


def rename(module: str, name: str, loader: str) -> Edit:
    def edit(schema: dict[str, Any], _members: dict[str, bytes]) -> None:
        find(schema, "LogisticRegression").update(__module__=module, __class__=name, __loader__=loader)

    return edit


@pytest.mark.parametrize(
    ("module", "name", "loader"),
    [
        ("sklearn.tree._tree", "Tree", "ObjectNode"),
        ("sklearn.tree._classes", "Tree", "ObjectNode"),
        ("sklearn.tree._tree", "Tree", "LossNode"),
        ("sklearn.tree._tree", "Tree", "TypeNode"),
        ("sklearn.tree._tree", "Tree", "FunctionNode"),
        ("sklearn.tree._tree", "Tree", "ConstructorFromReduceNode"),
        ("sklearn.tree._splitter", "BestSplitter", "ObjectNode"),
        ("lightgbm.basic", "Booster", "TypeNode"),
        ("functools", "partial", "ObjectNode"),
    ],
)
def test_compiled_parts_are_constructed_in_the_one_way_that_is_checked_or_not_at_all(
    module: str, name: str, loader: str, tmp_path: Path, reader: NativeReader
) -> None:
    with pytest.raises(ModelError, match=r"^m: "):
        load(rewritten(file_of("linear"), rename(module, name, loader)), tmp_path, reader)


def test_a_file_of_an_old_protocol_is_refused_because_it_is_read_in_other_ways(
    tmp_path: Path, reader: NativeReader
) -> None:
    with pytest.raises(UntrustedModelError, match="another protocol"):
        load(rewritten(file_of("linear"), lambda schema, _: schema.update(protocol=1)), tmp_path, reader)


def test_damage_anywhere_in_a_file_is_a_model_that_answers_or_an_error_of_ours(
    tmp_path: Path, reader: NativeReader
) -> None:
    """Numbers in the arrays and in the schema alike."""
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["c"]), (FunctionTransformer(), ["a", "b"])), forest()
    ).fit(FRAME, LABEL)
    whole, rng = bytes(skops.io.dumps(model)), random.Random(7)  # noqa: S311 - repeatable damage
    table = pa.Table.from_pandas(FRAME.head(5))

    def edit(_schema: dict[str, Any], members: dict[str, bytes]) -> None:
        name = rng.choice(sorted(members))
        content = bytearray(members[name])
        for _ in range(4):
            content[rng.randrange(len(content))] = rng.randrange(256)
        members[name] = bytes(content)

    refused = answered = 0
    for _ in range(60):
        try:
            load(rewritten(whole, edit), tmp_path, reader).predict(table, classes=("0", "1", "2"))
            answered += 1
        except ModelError:
            refused += 1
    assert refused + answered == 60
    assert refused > 10
