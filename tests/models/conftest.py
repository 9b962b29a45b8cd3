"""Models in MLflow that tests of retrieval fetch: small folders, made with MLflow's own client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hokusai.digests import file_sha256, folder_manifest, sha256
from hokusai.records import MODEL_MANIFEST_FILE, MODEL_MANIFEST_TAG, MODEL_SHA256_TAG

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_DOCUMENT = """\
flavors:
  python_function:
    model_path: model.bin
model_id: {model_id}
signature:
  inputs: '[{{"name": "width", "type": "double", "required": true}}]'
  outputs: '[{{"type": "string", "required": true}}]'
"""


@pytest.fixture
def register_model(tmp_path: Path) -> Callable[..., ModelVersion]:
    """Return a function that makes a version of a registered model as the shipper does: with manifest and digests."""
    made: list[Path] = []

    def register(
        client: MlflowClient,
        name: str = "iris",
        *,
        content: bytes = b"weights",
        tags: dict[str, str] | None = None,
        has_manifest: bool = True,
        has_digest: bool = True,
    ) -> ModelVersion:
        experiment = client.get_experiment_by_name("models")
        experiment_id = experiment.experiment_id if experiment else _make_experiment(client, tmp_path)
        run = client.create_run(experiment_id, run_name="training")
        model = client.create_logged_model(experiment_id, name="candidate", source_run_id=run.info.run_id)
        folder = tmp_path / f"logged-{len(made)}"
        made.append(folder)
        folder.mkdir()
        (folder / "MLmodel").write_text(_DOCUMENT.format(model_id=model.model_id), encoding="utf-8")
        (folder / "model.bin").write_bytes(content)
        (folder / "requirements.txt").write_text("numpy==2.0\n", encoding="utf-8")
        digests = {MODEL_SHA256_TAG: file_sha256(folder / "model.bin")} if has_digest else {}
        if has_manifest:
            manifest = folder_manifest(folder)
            (folder / MODEL_MANIFEST_FILE).write_bytes(manifest)
            digests[MODEL_MANIFEST_TAG] = sha256(manifest)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
        client.set_logged_model_tags(model.model_id, digests)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        return client.create_model_version(
            name, f"models:/{model.model_id}", run.info.run_id, {**digests, **(tags or {})}, model_id=model.model_id
        )

    return register


def _make_experiment(client: MlflowClient, folder: Path) -> str:
    """Make the experiment; a store without a server keeps its files below the test's folder."""
    is_server = client.tracking_uri.startswith("http")
    return str(client.create_experiment("models", None if is_server else (folder / "artifacts").as_uri()))
