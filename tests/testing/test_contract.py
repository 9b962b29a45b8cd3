"""The server for tests does what MLflow's own server does: one contract, run against both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hokusai.testing.contract import MlflowServerContract
from hokusai.testing.mlflow_server import MlflowServerProcess, MockMlflowServer

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestMockMlflowServer(MlflowServerContract):
    """MLflow's application, served in this process."""

    @pytest.fixture(scope="class")
    @classmethod
    def server_uri(cls) -> Iterator[str]:
        """Its address."""
        with MockMlflowServer() as server:
            yield server.uri


class TestMlflowServerProcess(MlflowServerContract):
    """``mlflow server`` of the MLflow that is installed."""

    @pytest.fixture(scope="class")
    @classmethod
    def server_uri(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        """Its address."""
        with MlflowServerProcess(tmp_path_factory.mktemp("mlflow")) as server:
            yield server.uri
