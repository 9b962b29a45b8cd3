"""Safe model files: skops in, skops out, and nothing that runs code from the file.

A skops file names the types that it is made of. Only classes of scikit-learn itself are trusted, beside what skops
trusts by default; functions are not, because a file may name one with an effect.
"""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from hokusai.errors import ModelError, UntrustedModelError
from hokusai.models.trainers import SklearnModel
from hokusai.records import ModelFile

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

__all__ = ["MODEL_FILE", "load_skops", "to_model_file"]

MODEL_FILE = "model.skops"
# Plain values of NumPy, and the compiled parts of scikit-learn's trees; making one of them runs no code of the file.
_TRUSTED = {"numpy.dtype"}
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")


def to_model_file(model: SklearnModel, *, name: str, training_table: pa.Table, is_classifier: bool) -> ModelFile:
    """Return a fitted model as a skops file with MLflow's signature and pinned requirements.

    Raises:
        ModelError: The estimator has parts that skops cannot write safely.
    """
    import skops.io as skops_io
    from sklearn import __version__ as sklearn_version

    content = skops_io.dumps(model.pipeline)
    untrusted = skops_io.get_untrusted_types(data=content)
    foreign = [kind for kind in untrusted if not _is_trusted(kind)]
    if foreign:
        estimator = type(model.pipeline[-1]).__name__
        msg = (
            f"{estimator} cannot be kept as a safe model file: it holds {', '.join(foreign)}. Choose another estimator."
        )
        raise ModelError(msg)
    schema = training_table.schema
    return ModelFile(
        name=name,
        content=content,
        file=MODEL_FILE,
        flavor="sklearn",
        options={
            "pickled_model": MODEL_FILE,
            "sklearn_version": sklearn_version,
            "serialization_format": "skops",
            "code": None,
            "skops_trusted_types": list(untrusted),
        },
        inputs={feature: _mlflow_type(schema.field(feature).type) for feature in model.features},
        output=_output_type(model) if is_classifier else "double",
        requirements=_requirements(),
    )


def load_skops(path: Path, *, source: str) -> SklearnModel:
    """Load a fitted scikit-learn pipeline or estimator from a skops file.

    Args:
        path: The file.
        source: What messages call it.

    Raises:
        UntrustedModelError: The file names types that are not scikit-learn's.
        ModelError: It is no skops file, or holds no fitted estimator that names its features.
    """
    import skops.io as skops_io

    try:
        types = skops_io.get_untrusted_types(file=path)
        foreign = [kind for kind in types if not _is_trusted(kind)]
        estimator = None if foreign else skops_io.load(path, trusted=types)
    except Exception as error:
        # A file that somebody made up can fail anywhere inside the reader.
        msg = f"{source}: not a skops file that scikit-learn {version('scikit-learn')} can read ({error})."
        raise ModelError(msg) from error
    if foreign:
        raise UntrustedModelError(source, f"the file asks for {', '.join(foreign)}")
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or not hasattr(estimator, "predict"):
        msg = f"{source}: the model does not say which columns it needs. Fit it on a data frame, so that it knows them."
        raise ModelError(msg)
    return SklearnModel(estimator, features=tuple(str(name) for name in names))


@cache
def _requirements() -> tuple[str, ...]:
    return tuple(f"{package}=={version(package)}" for package in _REQUIREMENTS)


def _is_trusted(name: str) -> bool:
    if name in _TRUSTED:
        return True
    module, _, attribute = name.rpartition(".")
    if module.split(".")[0] != "sklearn":
        return False
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError:
        return False
    # A module of scikit-learn also holds what it imports itself, such as classes of joblib or of the standard library.
    return inspect.isclass(found) and found.__module__.split(".")[0] == "sklearn"


def _mlflow_type(kind: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_string(kind) or pa.types.is_null(kind):
        return "string"
    # The model takes whole numbers, fractions and gaps alike, and a file's column may be read as integers today and as
    # floats tomorrow; MLflow refuses integers where a signature says double, and floats where it says long.
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return "any" if is_number else "double"


def _output_type(model: SklearnModel) -> str:
    return {"U": "string", "b": "boolean", "i": "long"}.get(model.pipeline.classes_.dtype.kind, "double")
