"""The folder that MLflow calls a model, made around a model file when it is shipped."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING

import yaml
from mlflow.models import Model
from mlflow.models.signature import ModelSignature
from mlflow.pyfunc import add_to_model

if TYPE_CHECKING:
    from pathlib import Path

    from hokusai.tracking.operations import LogModel

__all__ = ["write_model_folder"]


def write_model_folder(folder: Path, model: LogModel, *, file: Path, run_id: str, model_id: str) -> None:
    """Write the folder that MLflow calls a model around a model file, by MLflow's own classes.

    ``mlflow.<flavour>.save_model`` would want the model object and would guess its requirements for seconds.
    """
    (folder / model.file).symlink_to(file.resolve())
    inputs = [{"name": name, "type": kind, "required": True} for name, kind in model.inputs.items()]
    signature = ModelSignature.from_dict(
        {"inputs": json.dumps(inputs), "outputs": json.dumps([{"type": model.output, "required": True}])}
    )
    document = Model(run_id=run_id, model_id=model_id, signature=signature, model_size_bytes=model.size)
    add_to_model(
        document,
        loader_module=f"mlflow.{model.flavor}",
        model_path=model.file,
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        predict_fn="predict",
    )
    document.add_flavor(model.flavor, **model.options)
    document.save(str(folder / "MLmodel"))
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
