"""What a model file is, told from its bytes alone; and the checks that keep damaged ones away from the libraries."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import json
import lzma
import pickle
import random
import warnings
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
import xgboost
from sklearn.linear_model import LogisticRegression

from hokusai.errors import ModelError, UntrustedModelError
from hokusai.models.baseline_models import load_model
from hokusai.models.lightgbm_text import read_lightgbm_text
from hokusai.models.model_formats import recognise_file
from hokusai.models.native_boosters import load_lightgbm, load_xgboost
from hokusai.models.native_reader import NativeReader
from hokusai.models.onnx_models import load_onnx
from hokusai.models.onnx_structure import read_onnx_structure
from hokusai.models.xgboost_document import read_xgboost_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Marking:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        """Run code on loading."""
        return functools.partial(open, str(self.marker)), ("w",)


def zipped(members: dict[str, bytes]) -> bytes:
    """Return a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _by_numpy(value: object, *, packed: bool) -> bytes:
    buffer = io.BytesIO()
    array = np.array([value, None], dtype=object)
    if packed:
        np.savez(buffer, a=array)
    else:
        np.save(buffer, array)
    return buffer.getvalue()


def _by_joblib(value: object, method: str) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(value, buffer, compress=(method, 3))
    return buffer.getvalue()


def _zstd(value: object) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(pickle.dumps(value))
    return bytes(sink.getvalue().to_pybytes())


DISGUISES: dict[str, Callable[[object], bytes]] = {
    **{f"protocol {number}": functools.partial(pickle.dumps, protocol=number) for number in range(6)},
    **{name: functools.partial(_by_joblib, method=name) for name in ("zlib", "gzip", "bz2", "lzma", "xz")},
    "gzip by hand": lambda value: gzip.compress(pickle.dumps(value)),
    "bz2 of protocol 0": lambda value: bz2.compress(pickle.dumps(value, protocol=0)),
    "xz by hand": lambda value: lzma.compress(pickle.dumps(value)),
    "zlib without compression": lambda value: zlib.compress(pickle.dumps(value), 0),
    "zstd": _zstd,
    "a torch archive": lambda value: zipped({"archive/data.pkl": pickle.dumps(value), "archive/version": b"3"}),
    "npy": functools.partial(_by_numpy, packed=False),
    "npz": functools.partial(_by_numpy, packed=True),
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("ending", ["skops", "json", "txt"])
def test_a_pickle_is_refused_as_one_whatever_it_is_called_and_wrapped_in(
    disguise: str, ending: str, tmp_path: Path
) -> None:
    marker, file = tmp_path / "marker", tmp_path / f"model.{ending}"
    file.write_bytes(DISGUISES[disguise](Marking(marker)))
    assert recognise_file(file, source="m").format == "pickle"
    with pytest.raises(UntrustedModelError, match="runs code from the file when it is loaded"):
        load_model(file, source="m")
    assert not marker.exists()


def test_a_large_pickle_of_protocol_0_is_recognised_by_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(pickle.dumps([f"number {number}" for number in range(30_000)], protocol=0))
    assert file.stat().st_size > 1 << 17
    assert recognise_file(file, source="m").format == "pickle"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"a,b\n1,2\n", "text that begins with 'a,b"),
        (b"\x00\x01\x02\x03", "the bytes 00 01 02 03"),
        (b'{"a": 1}', "JSON, but not a model of XGBoost"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "HDF5"),
        (b"PK\x03\x04 and then nothing", "a zip archive that cannot be read"),
        (zipped({"readme.txt": b"hello"}), "a zip archive that holds readme.txt"),
        (zipped({"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": b""}), "Keras"),
        (gzip.compress(b"a,b\n", mtime=0), "compressed by gzip"),
        (b"flavors:\n  sklearn:\n", "give its folder"),
        (b"binf" + b"\0" * 50, "XGBoost's old binary format"),
    ],
)
def test_what_is_no_model_is_refused_with_what_was_found_and_what_is_taken(
    content: bytes, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "model.skops"
    file.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_model(file, source="m")
    assert words in str(caught.value)
    assert "expected a skops file, LightGBM's text" in str(caught.value)


def test_a_zip_that_inflates_to_gigabytes_is_refused_before_it_does(tmp_path: Path) -> None:
    file = tmp_path / "model.skops"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", "{}")
        with archive.open("0.npy", "w") as member:
            for _ in range(300):
                member.write(bytes(1 << 20))
    assert file.stat().st_size < 1 << 20
    with pytest.raises(ModelError, match="would become 314,572,802 when they are unpacked"):
        load_model(file, source="m")


def test_a_zip_of_too_many_members_is_refused_before_its_list_is_read(tmp_path: Path) -> None:
    file = tmp_path / "model.skops"
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(66_000):
            archive.writestr(str(number), b"")
    with pytest.raises(ModelError, match="a zip archive of 65,535 or more files"):
        load_model(file, source="m")


# Damaged files of each library: a model, or an error of ours.


def frame(rows: int = 120) -> pd.DataFrame:
    """Return a training frame."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})


@functools.cache
def native(kind: str) -> bytes:
    """Return a small model as a library writes it."""
    table, y = frame(), (frame()["a"] > 0.2).astype(int)
    if kind == "lightgbm":
        booster = lightgbm.train(
            {"objective": "binary", "verbose": -1, "num_leaves": 4, "min_data_in_leaf": 5},
            lightgbm.Dataset(table, y),
            num_boost_round=2,
        )
        return booster.model_to_string().encode()
    if kind in ("json", "ubj"):
        trees = xgboost.train({"objective": "binary:logistic", "max_depth": 2}, xgboost.DMatrix(table, y), 2)
        return bytes(trees.save_raw(kind))
    model = LogisticRegression().fit(table, y)
    if kind == "skops":
        return bytes(skops.io.dumps(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from skl2onnx import to_onnx

        return bytes(to_onnx(model, table.to_numpy(dtype=np.float32), options={"zipmap": False}).SerializeToString())


LOADERS: dict[str, Callable[..., Any]] = {
    "lightgbm": load_lightgbm,
    "json": load_xgboost,
    "ubj": load_xgboost,
    "onnx": load_onnx,
}


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return a file with some bytes changed, taken out, doubled, or cut off."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) or 1)
        match rng.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                changed[at : at + 1] = rng.choice([b"-", b"9", b"0", b"99999999", b"-1", b"nan", b" ", b"\x00"])
            case 2:
                del changed[at : at + rng.randint(1, 40)]
            case 3:
                changed[at:at] = changed[at : at + rng.randint(1, 40)]
            case _:
                del changed[at:]
    return bytes(changed)


@pytest.fixture(scope="module")
def reader() -> Iterator[NativeReader]:
    """One process for many files."""
    with NativeReader() as native_reader:
        yield native_reader


def fuzz(kind: str, reader: NativeReader, *, seed: int, count: int) -> tuple[int, int]:
    """Load damaged files and ask what loads; return how many loaded and how many were refused."""
    rng = random.Random(seed)  # noqa: S311 - repeatable damage
    table = pa.table({"a": [0.1, -3.0, None], "b": [0.5, 2.0, 1e30]})
    loaded = refused = 0
    for _ in range(count):
        try:
            model = LOADERS[kind](damaged(native(kind), rng), source="m", reader=reader)
            model.scorer.answers(table.select(["a", "b"]), ("a", "b"), model.inputs[:2])
            loaded += 1
        except ModelError as error:
            refused += str(error).startswith("m: ")
    return loaded, refused


@pytest.mark.parametrize(("kind", "count"), [("lightgbm", 60), ("json", 150), ("ubj", 8), ("onnx", 60)])
def test_a_damaged_file_is_a_model_or_an_error_never_a_crash(kind: str, count: int, reader: NativeReader) -> None:
    loaded, refused = fuzz(kind, reader, seed=1, count=count)
    assert loaded + refused == count
    assert refused > count // 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", LOADERS)
def test_many_damaged_files_are_models_or_errors(kind: str, seed: int, reader: NativeReader) -> None:
    loaded, refused = fuzz(kind, reader, seed=100 + seed, count=250)
    assert loaded + refused == 250


@pytest.mark.parametrize("kind", ["lightgbm", "json", "onnx", "skops"])
def test_a_file_cut_off_anywhere_is_an_error_or_not_recognised(kind: str, tmp_path: Path) -> None:
    content, file = native(kind), tmp_path / "model"
    if kind == "lightgbm":
        # Behind the trees stands only the record of their training.
        content = content[: content.index(b"end of trees")]
    places = [len(content) * part // 12 for part in range(12)]
    for at in places:
        file.write_bytes(content[:at])
        with pytest.raises(ModelError):
            load_model(file, source="m")
    assert len(places) == 12


def test_random_bytes_behind_every_known_beginning_are_never_a_trace(tmp_path: Path) -> None:
    rng, file = random.Random(5), tmp_path / "model"  # noqa: S311 - repeatable damage
    heads = [b"", b"\x80\x04", b"PK\x03\x04", b"\x78\x9c", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00", b"\x08\x07:"]
    heads += [b"\x28\xb5\x2f\xfd", b"\x93NUMPY", b"{L", b'{"learner"', b"tree\nversion=v4\n", b"\x5d\x00\x00", b"ZF"]
    outcomes = set()
    for number in range(300):
        file.write_bytes(heads[number % len(heads)] + rng.randbytes(rng.randint(0, 300)))
        outcomes.add(recognise_file(file, source="m").format)
    assert {"pickle", "unknown", "lightgbm"} <= outcomes


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"left_child=1", b"left_child=0", "stands before it"),
        (b"split_feature=0", b"split_feature=7", "expected 0 to 1"),
        (b"leaf_value=-", b"leaf_value=nan -", "finite numbers"),
        (b"num_leaves=", b"num_leaves=-", "expected 1 to"),
        (b"max_feature_idx=1", b"max_feature_idx=1999999999", "expected 0 to"),
        (b"end of trees", b"end of forest", "no end of trees"),
    ],
)
def test_a_lightgbm_text_that_would_crash_or_hang_the_library_is_refused(old: bytes, new: bytes, words: str) -> None:
    content = native("lightgbm")
    assert old in content
    changed = content.replace(old, new, 1)
    first = content.index(b"Tree=0\n")
    if content.index(old) > first:
        sizes = content.split(b"tree_sizes=")[1].split(b" ")[0]
        grown = str(int(sizes) + len(new) - len(old)).encode()
        changed = changed.replace(b"tree_sizes=" + sizes, b"tree_sizes=" + (grown if b"end" not in old else sizes))
    with pytest.raises(ModelError, match=words):
        read_lightgbm_text(changed, source="m")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tree: tree["left_children"].__setitem__(0, 0), "the child of two, or of itself"),
        (lambda tree: tree["left_children"].__setitem__(0, 10**6), "a child does not exist"),
        (lambda tree: tree["split_indices"].__setitem__(0, 99), "a feature that does not exist"),
        (lambda tree: tree["split_conditions"].append(1.0), "expected"),
        (lambda tree: tree["tree_param"].__setitem__("size_leaf_vector", "5"), "several numbers"),
        (lambda tree: tree["categories_nodes"].append(1), "an array of 0 numbers, expected 1"),
    ],
)
def test_an_xgboost_document_that_would_crash_the_library_is_refused(
    change: Callable[[dict[str, Any]], None], words: str
) -> None:
    document = json.loads(native("json"))
    change(document["learner"]["gradient_booster"]["model"]["trees"][0])
    with pytest.raises(ModelError, match=words):
        read_xgboost_document(json.dumps(document).encode(), source="m")


def test_a_key_that_stands_twice_and_nesting_without_end_are_refused() -> None:
    twice = native("json").replace(b'"num_class":"0"', b'"num_class":"0","num_class":"0"')
    with pytest.raises(ModelError, match="twice"):
        read_xgboost_document(twice, source="m")
    with pytest.raises(ModelError, match="nested too deeply"):
        read_xgboost_document(b'{"learner":' + b"[" * 200_000, source="m")


def test_an_onnx_file_with_other_files_foreign_operators_or_loops_is_refused() -> None:
    import onnx

    model = onnx.load_from_string(native("onnx"))
    tensor = model.graph.initializer.add(name="w", data_type=1, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(ModelError, match="keeps its numbers in other files"):
        read_onnx_structure(model.SerializeToString(), source="m")
    model = onnx.load_from_string(native("onnx"))
    model.graph.node[0].domain = "my.own"
    with pytest.raises(ModelError, match=r"my\.own"):
        read_onnx_structure(model.SerializeToString(), source="m")
    model.graph.node[0].domain = ""
    model.graph.node[0].op_type = "Loop"
    with pytest.raises(ModelError, match="may run for ever"):
        read_onnx_structure(model.SerializeToString(), source="m")
