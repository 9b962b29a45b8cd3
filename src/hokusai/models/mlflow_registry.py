"""Fetches models from MLflow: the only file of this package that imports it."""

from __future__ import annotations

import os
from pathlib import Path

from hokusai.errors import ModelError

__all__ = ["ModelRegistry"]


class ModelRegistry:
    """The models of one MLflow tracking store and its registry.

    Args:
        uri: Tracking URI. MLflow is imported, and the store opened, by the first call that needs it.
    """

    def __init__(self, uri: str) -> None:
        """Remember the address."""
        self.uri = uri

    def download(self, address: str, folder: Path) -> Path:
        """Fetch the model at ``models:/name@alias``, ``models:/name/version`` or ``runs:/…/path`` into a folder.

        Returns:
            The model's folder.

        Raises:
            ModelError: There is no such model, or the store does not answer.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import requests
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return Path(
                download_artifacts(
                    artifact_uri=address, dst_path=str(folder), tracking_uri=self.uri, registry_uri=self.uri
                )
            )
        except (MlflowException, requests.RequestException, SQLAlchemyError, OSError) as error:
            problem = str(error).strip().splitlines()[0][:300]
            msg = f"{address}: cannot be fetched ({problem}). See what is there with `hokusai ui`, under Models."
            raise ModelError(msg) from error
