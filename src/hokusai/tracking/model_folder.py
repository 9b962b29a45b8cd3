"""The folder that MLflow calls a model, made around a model file when it is shipped.

The same model gives the same bytes whenever it is shipped by the same versions of Python and MLflow: nothing in the
folder depends on the moment of shipping.
"""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml
from mlflow.models import Model
from mlflow.models.signature import ModelSignature
from mlflow.pyfunc import add_to_model

from hokusai.digests import folder_manifest, sha256
from hokusai.records import MODEL_MANIFEST_FILE
from hokusai.tracking.recorded_facts import EXAMPLE_FILE, SERVING_EXAMPLE_FILE, example_documents

if TYPE_CHECKING:
    from pathlib import Path

    from hokusai.tracking.operations import LogModel

__all__ = ["write_model_folder"]

_EXAMPLE_FIELDS = {
    "artifact_path": EXAMPLE_FILE,
    "pandas_orient": "split",
    "serving_input_path": SERVING_EXAMPLE_FILE,
    "type": "dataframe",
}


def write_model_folder(folder: Path, model: LogModel, *, file: Path, run_id: str, model_id: str, logged_at: int) -> str:
    """Write the folder that MLflow calls a model around a model file, by MLflow's own classes.

    ``mlflow.<flavour>.save_model`` would want the model object and would guess its requirements for seconds.

    Args:
        folder: An empty folder.
        model: What was recorded of the model.
        file: Its staged file.
        run_id: MLflow's id of the run.
        model_id: MLflow's id of the logged model.
        logged_at: When the model was recorded, in milliseconds since 1970.

    Returns:
        SHA-256 of the folder's manifest, which lists every other file in it.
    """
    (folder / model.file).symlink_to(file.resolve())
    _write_document(folder, model, run_id=run_id, model_id=model_id, logged_at=logged_at)
    requirements = list(model.requirements)
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    python = platform.python_version()
    conda_env = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": requirements}],
    }
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda_env), encoding="utf-8")
    python_env = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(python_env), encoding="utf-8")
    for name, document in example_documents(model).items():
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
    manifest = folder_manifest(folder, excluded=(MODEL_MANIFEST_FILE,))
    (folder / MODEL_MANIFEST_FILE).write_bytes(manifest)
    return sha256(manifest)


def _write_document(folder: Path, model: LogModel, *, run_id: str, model_id: str, logged_at: int) -> None:
    inputs = [{"name": name, "type": kind, "required": True} for name, kind in model.inputs.items()]
    signature = ModelSignature.from_dict(
        {"inputs": json.dumps(inputs), "outputs": json.dumps([{"type": model.output, "required": True}])}
    )
    document = Model(
        run_id=run_id,
        model_id=model_id,
        # MLflow would make another one each time.
        model_uuid=model_id.removeprefix("m-"),
        utc_time_created=datetime.fromtimestamp(logged_at / 1000, UTC).replace(tzinfo=None),
        signature=signature,
        saved_input_example_info=dict(_EXAMPLE_FIELDS) if model.example else None,
        model_size_bytes=model.size,
    )
    options: dict[str, Any] = dict(model.options)
    add_to_model(
        document,
        loader_module=f"mlflow.{model.flavor}",
        model_path=model.file,
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        predict_fn="predict",
    )
    document.add_flavor(model.flavor, **options)
    document.save(str(folder / "MLmodel"))
