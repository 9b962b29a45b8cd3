"""Fetches models from MLflow: the only file of this package that imports it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.errors import ModelError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["ModelRegistry"]

_SQLITE_PREFIX = "sqlite:///"


class ModelRegistry:
    """The models of one MLflow tracking store and its registry.

    Args:
        uri: Tracking URI. MLflow is imported, and the store opened, by the first call that needs it.
        registry_uri: URI of the model registry; default the tracking URI.
    """

    def __init__(self, uri: str, *, registry_uri: str = "") -> None:
        """Remember the addresses."""
        self.uri = uri
        self._registry_uri = registry_uri or uri

    def download(self, address: str, folder: Path) -> Path:
        """Fetch the model at ``models:/name@alias``, ``models:/name/version`` or ``runs:/…/path`` into a folder.

        Returns:
            The model's folder.

        Raises:
            ModelError: There is no such model, or the store does not answer.
        """
        if self.uri.startswith(_SQLITE_PREFIX) and not Path(self.uri[len(_SQLITE_PREFIX) :].split("?")[0]).exists():
            # MLflow would make one here, for seconds, and in the way of the process that ships to it.
            msg = f"{address}: cannot be fetched: there is no tracking store at {self.uri} yet."
            raise ModelError(msg)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import requests
        from mlflow import MlflowClient
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            # MLflow itself would look some kinds of address up in the store of the whole process instead of this one.
            place = _locate(address, MlflowClient(tracking_uri=self.uri, registry_uri=self._registry_uri))
            return Path(download_artifacts(artifact_uri=place, dst_path=str(folder), tracking_uri=self.uri))
        except (MlflowException, requests.RequestException, SQLAlchemyError, OSError) as error:
            problem = str(error).strip().splitlines()[0][:300]
            msg = f"{address}: cannot be fetched ({problem}). See what is there with `hokusai ui`, under Models."
            raise ModelError(msg) from error


def _locate(address: str, client: MlflowClient) -> str:
    """Return where the files of the model at a ``models:/`` or ``runs:/`` address are."""
    scheme, _, rest = address.partition(":/")
    name, _, version = rest.partition("/")
    if scheme == "runs":
        return _locate_in_run(name, version, client)
    if version:
        return str(client.get_model_version_download_uri(name, version))
    name, _, alias = rest.rpartition("@")
    if name:
        version = client.get_model_version_by_alias(name, alias).version
        return str(client.get_model_version_download_uri(name, version))
    return str(client.get_logged_model(alias).artifact_location)


def _locate_in_run(run_id: str, path: str, client: MlflowClient) -> str:
    """Return where a path of a run is: in a model that the run logged under that name, or among its artifacts."""
    info = client.get_run(run_id).info
    name, slash, inner = path.partition("/")
    for model in client.search_logged_models([info.experiment_id], f"name = '{name}' AND source_run_id = '{run_id}'"):
        return f"{model.artifact_location}{slash}{inner}"
    return f"{info.artifact_uri}/{path}"
