"""Loads a model from a file or folder of any format that is taken, and nothing that could run code without trust."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hokusai.errors import ModelError, UntrustedModelError
from hokusai.models.foreign_models import ForeignModel
from hokusai.models.mlflow_folders import MlflowFolder, read_mlflow_folder, require_safe
from hokusai.models.model_formats import TAKEN, recognise_file
from hokusai.models.model_signatures import InputColumn, signature_columns
from hokusai.models.native_reader import NativeReader

if TYPE_CHECKING:
    from pathlib import Path

    from hokusai.models.model_formats import FileFormat
    from hokusai.models.sklearn_models import SklearnModel

__all__ = ["LoadedModel", "load_model"]

_FLAVOR_FORMATS = {"sklearn": "skops", "lightgbm": "lightgbm", "xgboost": "xgboost", "onnx": "onnx"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that has been loaded.

    Attributes:
        model: The model.
        flavor: How it is kept: ``skops``, ``lightgbm``, ``xgboost``, ``onnx``, ``pickle`` or ``pyfunc``.
        inputs: The columns that it asks for, as far as it says so.
        file: The file that holds it, or the folder where that cannot be said.
        run_id: MLflow's id of the run that it came from; empty when it does not say.
    """

    model: SklearnModel | ForeignModel
    flavor: str
    inputs: tuple[InputColumn, ...]
    file: Path
    run_id: str = ""


def load_model(place: Path, *, source: str, trusted: bool = False) -> LoadedModel:
    """Load a model.

    Args:
        place: Its file, or its folder if it is one of MLflow's; a copy that nobody else can change.
        source: What messages call it.
        trusted: Whether somebody vouches for these very bytes, so that they may run code.

    Raises:
        UntrustedModelError: Loading it would run code from the file, and nobody vouches for it.
        ConfigurationError: It needs a library that is not installed.
        ModelError: It is damaged, or not a model that can be asked with a table.
    """
    if place.is_dir():
        return _load_folder(read_mlflow_folder(place, source=source), source=source, trusted=trusted)
    found = recognise_file(place, source=source)
    if found.format == "unknown":
        raise ModelError(f"{source}: {found.description}, expected {TAKEN}.")
    if found.format == "pickle" and not trusted:
        reason = f"{found.description}, which runs code from the file when it is loaded"
        raise UntrustedModelError(source, reason)
    model = _load_file(place, found.format, source=source, trusted=trusted)
    return LoadedModel(model=model, flavor=found.format, inputs=_own_inputs(model), file=place)


def _load_folder(found: MlflowFolder, *, source: str, trusted: bool) -> LoadedModel:
    try:
        require_safe(found, source=source)
        return _load_safe_folder(found, source=source, trusted=trusted)
    except UntrustedModelError:
        if not trusted:
            raise
    from hokusai.models.mlflow_models import load_pyfunc  # imports MLflow, which takes seconds

    model = load_pyfunc(found, source=source)
    return LoadedModel(model=model, flavor="pyfunc", inputs=model.inputs, file=found.folder, run_id=found.run_id)


def _load_safe_folder(found: MlflowFolder, *, source: str, trusted: bool) -> LoadedModel:
    expected, kept = _FLAVOR_FORMATS[found.flavor], recognise_file(found.file, source=source)
    if kept.format == "pickle":
        reason = f"its file {found.file.name} is {kept.description}, which runs code from the file when it is loaded"
        raise UntrustedModelError(source, reason)
    if kept.format != expected:
        problem = f"its file {found.file.name} is {kept.description}, expected {expected} as its MLmodel file says"
        raise ModelError(f"{source}: {problem}.")
    model = _load_file(found.file, kept.format, source=source, trusted=trusted)
    declared = signature_columns(found.signature, source=source)
    if isinstance(model, ForeignModel):
        model = _with_declared(model, declared)
    return LoadedModel(
        model=model,
        flavor=kept.format,
        inputs=declared or _own_inputs(model),
        file=found.file,
        run_id=found.run_id,
    )


def _with_declared(model: ForeignModel, declared: tuple[InputColumn, ...]) -> ForeignModel:
    """Give a model that knows its columns by position the names of its signature."""
    if model.has_names or len(declared) != len(model.inputs):
        return model
    named = tuple(dataclasses.replace(own, name=item.name) for own, item in zip(model.inputs, declared, strict=True))
    return dataclasses.replace(model, inputs=named, has_names=True, features=tuple(item.name for item in named))


def _own_inputs(model: SklearnModel | ForeignModel) -> tuple[InputColumn, ...]:
    if isinstance(model, ForeignModel):
        return model.inputs if model.has_names else ()
    return tuple(InputColumn(name=name) for name in model.features)


def _load_file(path: Path, kind: FileFormat, *, source: str, trusted: bool) -> SklearnModel | ForeignModel:
    if kind == "skops":
        from hokusai.models.model_files import load_skops

        return load_skops(path, source=source, trusted=trusted)
    if kind == "pickle":
        return _load_pickle(path.read_bytes(), source=source)
    from hokusai.models.native_boosters import load_lightgbm, load_xgboost
    from hokusai.models.onnx_models import load_onnx

    load = {"lightgbm": load_lightgbm, "xgboost": load_xgboost, "onnx": load_onnx}[kind]
    with NativeReader() as reader:
        return load(path.read_bytes(), source=source, reader=reader)


def _load_pickle(content: bytes, *, source: str) -> SklearnModel:
    """Load a scikit-learn estimator from a trusted pickle, as joblib or pickle wrote it."""
    import joblib

    from hokusai.models.sklearn_models import SklearnModel

    try:
        estimator: Any = joblib.load(io.BytesIO(content))
    except Exception as error:
        # Unpickling runs code of anybody's, which may fail in any way.
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{source}: the pickle cannot be loaded ({first[:300]}).") from error
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or not hasattr(estimator, "predict"):
        problem = (
            f"holds a {type(estimator).__name__}, expected a scikit-learn estimator that was fitted on a data frame"
        )
        raise ModelError(f"{source}: the pickle {problem}, so that it knows its columns.")
    return SklearnModel(estimator, features=tuple(str(name) for name in names))
