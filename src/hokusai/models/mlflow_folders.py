"""Judges the folder of an MLflow model as a whole, before anything in it is loaded.

A folder is safe when everything that its MLmodel file would have loaded is numbers and structure, and when all of it
stands in the folder. What MLflow would import or unpickle because the file says so is what this module looks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hokusai.errors import ModelError, UntrustedModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MLMODEL", "MlflowFolder", "read_mlflow_folder", "require_safe"]

MLMODEL = "MLmodel"
_MOST_BYTES = 4 << 20
_DATA_KEYS = {"sklearn": "pickled_model", "lightgbm": "data", "xgboost": "data", "onnx": "data"}
"""The flavours that can be kept safely, and where each says which file it is."""
_CODE_KEYS = (
    "code",
    "python_model",
    "cloudpickle_version",
    "model_code_path",
    "custom_objects",
    "artifacts",
    "code_path",
)
# Of model_code_path, which is where the script once was, MLflow takes the name alone.
_PATH_KEYS = ("pickled_model", "data", "model_path", "python_model", "code")


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowFolder:
    """What an MLmodel file says.

    Attributes:
        folder: The folder.
        flavor: The flavour to load it by; ``pyfunc`` where none is known here.
        flavors: What it says of each flavour.
        signature: What it says of the signature, or None.
        run_id: MLflow's id of the run that it came from; empty when it does not say.
    """

    folder: Path
    flavor: str
    flavors: Mapping[str, Mapping[str, Any]]
    signature: object
    run_id: str

    @property
    def file(self) -> Path:
        """The file that its flavour loads."""
        return self.folder / str(self.flavors[self.flavor][_DATA_KEYS[self.flavor]])


def read_mlflow_folder(folder: Path, *, source: str) -> MlflowFolder:
    """Read the MLmodel file of a folder.

    Raises:
        ModelError: There is none, it is damaged, or it leads out of the folder.
    """
    import yaml

    file = folder / MLMODEL
    if not file.is_file():
        problem = "a folder without an MLmodel file, expected the folder of an MLflow model, or a model file"
        raise ModelError(f"{source}: {problem}.")
    if file.stat().st_size > _MOST_BYTES:
        raise ModelError(
            f"{source}: an MLmodel file of {file.stat().st_size:,} bytes, expected at most {_MOST_BYTES:,}."
        )
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{source}: a damaged MLmodel file ({first[:200]}). Log or save the model anew.") from error
    flavors = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavors, dict) or not flavors or not all(map(_is_flavor, flavors.items())):
        raise ModelError(f"{source}: a damaged MLmodel file (it names no flavors). Log or save the model anew.")
    signature, run_id = document.get("signature"), document.get("run_id")
    for name, entry in flavors.items():
        _require_inside(entry, folder=folder, flavor=name, source=source)
    known = next(
        (name for name in _DATA_KEYS if isinstance(flavors.get(name, {}).get(_DATA_KEYS[name]), str)), "pyfunc"
    )
    return MlflowFolder(
        folder=folder,
        flavor=known,
        flavors=flavors,
        signature=signature,
        run_id=run_id if isinstance(run_id, str) else "",
    )


def _is_flavor(item: tuple[object, object]) -> bool:
    name, entry = item
    return isinstance(name, str) and isinstance(entry, dict)


def _require_inside(entry: Mapping[str, Any], *, folder: Path, flavor: str, source: str) -> None:
    """Refuse a path that leads out of the folder, whatever the model is trusted with: its digest would not cover it."""
    for key in _PATH_KEYS:
        value = entry.get(key)
        if not isinstance(value, str) or not value:
            continue
        path = PurePosixPath(value)
        is_outside = path.is_absolute() or ".." in path.parts or "\\" in value or "\0" in value or ":" in value
        if is_outside or not (folder / value).resolve().is_relative_to(folder.resolve()):
            problem = f"its MLmodel file names {value!r} as {key} of {flavor}, outside the model's folder"
            raise ModelError(f"{source}: {problem}. Log or save the model anew.")


def require_safe(found: MlflowFolder, *, source: str) -> None:
    """Refuse a folder from which MLflow would run code.

    Raises:
        UntrustedModelError: It would.
        ModelError: The file that it names is not there.
    """
    for name, entry in found.flavors.items():
        for key in _CODE_KEYS:
            if entry.get(key):
                what = f"{str(entry[key])[:80]!r} as {key} of the flavour {name}"
                raise UntrustedModelError(source, f"its MLmodel file names {what}, which is code, or a pickle")
    module = found.flavors.get("python_function", {}).get("loader_module", f"mlflow.{found.flavor}")
    if found.flavor == "pyfunc" or module != f"mlflow.{found.flavor}":
        names = ", ".join(sorted(found.flavors))
        safe = ", ".join(f"mlflow.{name}" for name in _DATA_KEYS)
        raise UntrustedModelError(
            source,
            f"an MLflow model of the flavours {names} is loaded by {str(module)[:80]!r}, expected one of {safe}, whose "
            "files can be read without running code",
        )
    if found.flavor == "sklearn" and found.flavors["sklearn"].get("serialization_format") != "skops":
        kind = str(found.flavors["sklearn"].get("serialization_format"))[:40]
        raise UntrustedModelError(
            source, f"the model is kept as {kind}, which runs code from the file when it is loaded"
        )
    if not found.file.is_file():
        raise ModelError(
            f"{source}: its MLmodel file names {found.file.name!r}, which is not there. Get the model whole."
        )
