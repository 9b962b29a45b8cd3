"""The pytest plugin: fixtures for everyone who tests code that tracks with MLflow.

It is installed with ``hokusai-pipeline[testing]`` and costs nothing until a fixture is asked for: MLflow is imported
then.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlflow import MlflowClient

    from hokusai.testing.example_runs import ExampleRuns
    from hokusai.testing.faults import FaultyProxy
    from hokusai.testing.mlflow_server import MlflowServerProcess, MockMlflowServer
    from hokusai.testing.postgres_server import PostgresServer
    from hokusai.testing.s3_server import S3Server

__all__ = [
    "MlflowAddress",
    "faulty_mlflow",
    "hokusai_runs",
    "mlflow_server",
    "mlflow_server_process",
    "mlflow_store",
    "offline",
    "postgres_server",
    "s3_server",
    "shared_mlflow_server",
    "shared_mlflow_server_direct",
]

# The contract's tests are worth as much as what they show when they fail.
pytest.register_assert_rewrite("hokusai.testing.contract")

_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_ACTIVE_MODEL_ID",
    "_MLFLOW_ACTIVE_MODEL_ID",
)
# MLflow keeps what it was last told in globals beside the environment, ...
_GLOBALS = (
    ("mlflow.tracking._tracking_service.utils", "_tracking_uri"),
    ("mlflow.tracking._model_registry.utils", "_registry_uri"),
    ("mlflow.tracking.fluent", "_active_experiment_id"),
)
# ... and what is under way in variables of each thread.
_FLUENT = "mlflow.tracking.fluent"
_RUN_STACK = "_active_run_stack"
_THREAD_VARIABLES = (_RUN_STACK, "_last_active_run_id", "_last_logged_model_id", "_ACTIVE_MODEL_CONTEXT")


@dataclass(frozen=True, slots=True)
class MlflowAddress:
    """A store for one test.

    Attributes:
        uri: Its tracking and registry URI.
    """

    uri: str

    @property
    def client(self) -> MlflowClient:
        """A new client of MLflow's own for the store."""
        from mlflow import MlflowClient

        return MlflowClient(self.uri, self.uri)


@pytest.fixture
def mlflow_store(tmp_path: Path) -> Iterator[MlflowAddress]:
    """A fresh tracking store and registry in a SQLite file, made in milliseconds, and MLflow's default meanwhile."""
    from hokusai.tracking.sqlite_store import create_sqlite_store

    path = tmp_path / "mlflow-store" / "mlflow.db"
    create_sqlite_store(path)
    uri = f"sqlite:///{path}"
    try:
        with _as_default(uri):
            yield MlflowAddress(uri)
    finally:
        _close_engines(uri)


@pytest.fixture
def mlflow_server() -> Iterator[MockMlflowServer]:
    """MLflow's own server application over HTTP, in this process, on a store of the test's own; MLflow's default."""
    from hokusai.testing.mlflow_server import MockMlflowServer

    with MockMlflowServer() as server, _as_default(server.uri):
        yield server


@pytest.fixture(scope="session")
def mlflow_server_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServerProcess]:
    """``mlflow server`` in a process of its own, started once per session; use names of your own in it."""
    from hokusai.testing.mlflow_server import MlflowServerProcess

    with MlflowServerProcess(tmp_path_factory.mktemp("mlflow-server")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """PostgreSQL, started once per session; make a database of your own in it."""
    from hokusai.testing.postgres_server import PostgresServer

    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 server with a bucket, started once per session; its ``environment`` is what clients need."""
    from hokusai.testing.s3_server import S3Server

    with S3Server() as server:
        yield server


@pytest.fixture(scope="session")
def shared_mlflow_server(
    postgres_server: PostgresServer, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServerProcess]:
    """``mlflow server`` on PostgreSQL, which keeps artifacts in S3 for its clients; use names of your own in it."""
    from hokusai.testing.mlflow_server import MlflowServerProcess

    with MlflowServerProcess(
        tmp_path_factory.mktemp("shared-mlflow-server"),
        store_uri=postgres_server.create_database("mlflow"),
        artifacts=f"{s3_server.uri}/proxied",
        environment=s3_server.environment,
    ) as server:
        yield server


@pytest.fixture(scope="session")
def shared_mlflow_server_direct(
    postgres_server: PostgresServer, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServerProcess]:
    """The same, but clients keep their artifacts in S3 themselves, for which they need ``s3_server.environment``."""
    from hokusai.testing.mlflow_server import MlflowServerProcess

    with MlflowServerProcess(
        tmp_path_factory.mktemp("shared-mlflow-server-direct"),
        store_uri=postgres_server.create_database("mlflow_direct"),
        artifacts=f"{s3_server.uri}/direct",
        are_artifacts_proxied=False,
        environment=s3_server.environment,
    ) as server:
        yield server


@pytest.fixture
def faulty_mlflow(mlflow_server: MockMlflowServer) -> Iterator[FaultyProxy]:
    """``mlflow_server`` behind a fault injector, without faults at first: set ``faulty_mlflow.faults``."""
    from hokusai.testing.faults import FaultyProxy

    with FaultyProxy(mlflow_server.uri) as proxy, _as_default(proxy.uri):
        yield proxy
        # A run that the test has left active is ended through the proxy.
        proxy.faults = ()


@pytest.fixture
def hokusai_runs(mlflow_store: MlflowAddress, tmp_path: Path) -> Iterator[ExampleRuns]:
    """Builders of finished, failed and running example evaluations, histories and registered models."""
    from hokusai.testing.example_runs import ExampleRuns

    with ExampleRuns(mlflow_store.uri, tmp_path / "journals") as runs:
        yield runs


@pytest.fixture
def offline() -> Iterator[None]:
    """Refuse every connection that would leave this machine."""
    from hokusai.testing.offline import block_non_loopback_sockets

    with block_non_loopback_sockets():
        yield


@contextmanager
def _as_default(uri: str) -> Iterator[None]:
    """Make a store MLflow's default, for code that names none, and put everything back."""
    before = _mlflow_variables()
    for name in _VARIABLES:
        os.environ.pop(name, None)
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri}
    own_globals = {place: _replace_global(place, None) for place in _GLOBALS}
    own_state = {name: _replace_thread_variable(name) for name in _THREAD_VARIABLES}
    try:
        yield
    finally:
        try:
            _end_active_runs()
        finally:
            for name in _mlflow_variables():
                del os.environ[name]
            os.environ |= before
            for place, value in own_globals.items():
                _replace_global(place, value)
            for name, held in own_state.items():
                _replace_thread_variable(name, held)


def _mlflow_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("MLFLOW_", "_MLFLOW_"))}


def _replace_global(place: tuple[str, str], value: object) -> object:
    """Set a global of an MLflow module, if the module has been imported, and return what it was."""
    module, name = sys.modules.get(place[0]), place[1]
    if module is None:
        return None
    before = getattr(module, name)
    setattr(module, name, value)
    return before


def _replace_thread_variable(name: str, held: tuple[object, ...] = ()) -> tuple[object, ...]:
    """Set a variable of this thread to what is held, or to its beginning, and return what it held."""
    module = sys.modules.get(_FLUENT)
    if module is None:
        return ()
    variable = getattr(module, name)
    before = variable.get()
    variable.set(held[0] if held else variable.default_factory())
    return (before,)


def _end_active_runs() -> None:
    """End the runs that a test has left active, while their store is still there."""
    fluent = sys.modules.get(_FLUENT)
    while fluent is not None and fluent.active_run() is not None:
        fluent.end_run("KILLED")


def _close_engines(uri: str) -> None:
    """Close MLflow's cached connections to a store that is about to go."""
    for name in ("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"):
        module = sys.modules.get(name)
        engine = module.SqlAlchemyStore._engine_map.pop(uri, None) if module else None  # noqa: SLF001  (nothing public)
        if engine is not None:
            engine.dispose()
