"""Safe model files: skops in, skops out, and nothing that runs code from the file.

A skops file names the types that it is made of. Trusted are classes of scikit-learn itself, and those few of skrub,
LightGBM and XGBoost of which our models are made, beside what skops trusts by default. Functions and methods are not,
because a file may name one with an effect; neither are the other classes of skrub, some of which fetch models or
evaluate expressions.
"""

from __future__ import annotations

import inspect
import sys
from contextlib import nullcontext
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from hokusai.errors import ModelError, UntrustedModelError
from hokusai.models.canonical_skops import canonical_skops
from hokusai.models.native_reader import NativeReader
from hokusai.models.sklearn_models import SklearnModel
from hokusai.models.skops_schema import sound_skops
from hokusai.models.sound_parts import inner_parts, require_sound_parts
from hokusai.records import ModelFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hokusai.digests import JsonValue

__all__ = ["MODEL_FILE", "load_skops", "to_skops"]

MODEL_FILE = "model.skops"
# Making one of these runs no code of the file. LightGBM's and XGBoost's boosters are read from their own text or bytes.
_TRUSTED = frozenset(
    {
        "collections.OrderedDict",
        # What HistGradientBoosting checks categories with; a partial applies nothing that is not trusted itself.
        "functools.partial",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "scipy.sparse._csr.csr_matrix",
        "sklearn.utils.validation.check_array",
        "skrub._datetime_encoder.DatetimeEncoder",
        "skrub._string_encoder.StringEncoder",
        "skrub._to_str.ToStr",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
    }
)
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")
_OPTIONAL = ("lightgbm", "skrub", "xgboost")
# On some platforms, a package of another name holds the module.
_OTHER_NAMES = {"xgboost": "xgboost-cpu"}
# What a text vectorizer is told to take for the names of files, it opens.
_FILE_INPUTS = ("filename", "file")


def to_skops(model: SklearnModel, *, name: str, example: Mapping[str, JsonValue]) -> ModelFile:
    """Return a fitted model as a skops file with MLflow's signature and pinned requirements.

    Parts from modules of the user's own are written as well, by their names; whoever loads the file has to have those
    modules, and to vouch for it.

    Raises:
        ModelError: The model has parts that skops cannot write, or functions of Python's own library.
    """
    import skops.io as skops_io
    from sklearn import __version__ as sklearn_version
    from skops.io.exceptions import UnsupportedTypeException

    try:
        content = canonical_skops(skops_io.dumps(model.pipeline))
        named = skops_io.get_untrusted_types(data=content)
    except (UnsupportedTypeException, TypeError, ValueError, AttributeError, ImportError, RecursionError) as error:
        raise ModelError(_not_kept(model, str(error).strip().partition("\n")[0])) from error
    unsafe = [kind for kind in named if not _is_trusted(kind) and _is_function_of_python(kind)]
    if unsafe:
        raise ModelError(_not_kept(model, f"it holds {', '.join(unsafe)}"))
    packages = {kind.partition(".")[0] for kind in named}
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
            "skops_trusted_types": list(named),
        },
        inputs={feature: model.inputs.get(feature, "any") for feature in model.features},
        output=_output_type(model),
        requirements=tuple(
            _requirement(package) for package in sorted({*_REQUIREMENTS, *packages.intersection(_OPTIONAL)})
        ),
        example=example,
    )


def load_skops(path: Path, *, source: str, trusted: bool = False, reader: NativeReader | None = None) -> SklearnModel:
    """Load a fitted scikit-learn pipeline or estimator from a skops file.

    Args:
        path: The file.
        source: What messages call it.
        trusted: Whether somebody vouches for this very file, so that it may name any type.
        reader: Reads the boosters of other libraries in it; one of its own if there is none.

    Raises:
        UntrustedModelError: The file names types that may have an effect, or that cannot be checked, and nobody vouches
            for it.
        ConfigurationError: It needs a library that is not installed.
        ModelError: It is no skops file, is damaged, or holds no fitted estimator that names its features.
    """
    import skops.io as skops_io

    problem = f"{source}: not a skops file that scikit-learn {version('scikit-learn')} can read"
    try:
        types = skops_io.get_untrusted_types(file=path)
        foreign = [] if trusted else [kind for kind in types if not _is_trusted(kind)]
    except Exception as error:
        # A file that somebody made up can fail anywhere inside the reader.
        raise ModelError(f"{problem} ({error}).") from error
    if foreign:
        raise UntrustedModelError(source, f"the file asks for {', '.join(foreign)}")
    with nullcontext(reader) if reader else NativeReader() as used:
        file = sound_skops(path, source=source, trusted=trusted, reader=used)
    try:
        estimator = skops_io.load(file, trusted=types)
    except Exception as error:
        raise ModelError(f"{problem} ({error}).") from error
    require_sound_parts(estimator, source=source, trusted=trusted)
    if not trusted and any(getattr(part, "input", None) in _FILE_INPUTS for part in inner_parts(estimator)):
        raise UntrustedModelError(source, "the model takes values of its columns for names of files, which it opens")
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or not hasattr(estimator, "predict"):
        msg = f"{source}: the model does not say which columns it needs. Fit it on a data frame, so that it knows them."
        raise ModelError(msg)
    return SklearnModel(estimator, features=tuple(str(name) for name in names))


def _not_kept(model: SklearnModel, reason: str) -> str:
    last = model.pipeline[-1] if hasattr(model.pipeline, "steps") else model.pipeline
    return f"{type(last).__name__} cannot be kept as a safe model file: {reason}. Choose another estimator."


@cache
def _requirement(package: str) -> str:
    try:
        return f"{package}=={version(package)}"
    except PackageNotFoundError:
        other = _OTHER_NAMES[package]
        return f"{other}=={version(other)}"


def _is_trusted(name: str) -> bool:
    if name in _TRUSTED:
        return True
    # A module of scikit-learn also holds what it imports itself, such as classes of joblib or of the standard library.
    return name.partition(".")[0] == "sklearn" and _is_class(name)


def _is_function_of_python(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names and not _is_class(name)


def _is_class(name: str) -> bool:
    """Return whether a name is that of a class, in the package that defines it and not in one that imports it."""
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute, None)
    except (ImportError, ValueError):
        return False
    return inspect.isclass(found) and found.__module__.partition(".")[0] == module.partition(".")[0]


def _output_type(model: SklearnModel) -> str:
    classes = getattr(model.pipeline, "classes_", None)
    return (
        "double" if classes is None else {"U": "string", "b": "boolean", "i": "long"}.get(classes.dtype.kind, "double")
    )
