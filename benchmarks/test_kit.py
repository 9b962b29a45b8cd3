"""What the test kit saves: its stores and servers beside those that MLflow makes itself, and one run tree on each."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
import warnings
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Cost, Side, alternate, cost_of, print_table

from hokusai.testing.mlflow_server import MlflowServerProcess, MockMlflowServer
from hokusai.tracking.naming import STEPS
from hokusai.tracking.sqlite_store import create_sqlite_store

if TYPE_CHECKING:
    from collections.abc import Callable

_MANY, _FEW = 21, 2


class _UsualServer(MlflowServerProcess):
    """``mlflow server`` as people start it: it makes its own tables, and has as many workers as it wants."""

    def start(self) -> _UsualServer:
        """Answer requests when this returns."""
        self.folder.mkdir(parents=True)
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port)]
        command += ["--backend-store-uri", self.store_uri]
        self._process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_it_answers(self._process, None)
        return self

    def stop(self) -> None:
        """End it with all of its processes, which need not be in order."""
        self._end(signal.SIGKILL)


def main() -> None:
    """Compare stores, then servers, then one tree of runs on each."""
    with warnings.catch_warnings(action="ignore"), tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name:
        import mlflow.server.fastapi_app  # noqa: F401  (what every side but the processes has paid for once)

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        folder = Path(name)
        numbers = count()

        def fresh() -> Path:
            return folder / str(next(numbers))

        stores = [
            Side("mlflow_store", lambda: cost_of(lambda: create_sqlite_store(fresh() / "mlflow.db")), _MANY),
            Side("MLflow makes it", lambda: cost_of(lambda: _made_by_mlflow(fresh())), _FEW),
        ]
        print_table("a fresh SQLite store with MLflow's tables, MLflow imported", alternate(stores))
        servers = [
            Side("MockMlflowServer", lambda: _starting(MockMlflowServer()), _MANY),
            Side(
                "MlflowServerProcess (one worker, a prepared store)",
                lambda: _starting(MlflowServerProcess(fresh())),
                _FEW,
            ),
            Side("`mlflow server` as people start it", lambda: _starting(_UsualServer(fresh())), _FEW),
        ]
        print_table("from nothing to the first answer of a server, MLflow imported", alternate(servers))
        _compare_trees(fresh)


def _made_by_mlflow(folder: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder.mkdir()
    SqlAlchemyStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts")).engine.dispose()


def _starting(server: MlflowServerProcess | MockMlflowServer) -> Cost:
    def start() -> None:
        server.start()
        with urllib.request.urlopen(f"{server.uri}/health", timeout=60) as answer:  # noqa: S310  (our own address)
            answer.read()

    try:
        return cost_of(start)
    finally:
        server.stop()


def _compare_trees(fresh: Callable[[], Path]) -> None:
    with MlflowServerProcess(fresh()) as process, MockMlflowServer() as mock:
        store = fresh() / "mlflow.db"
        create_sqlite_store(store)
        uris = {
            "MockMlflowServer, over HTTP": mock.uri,
            "`mlflow server`, over HTTP": process.uri,
            "mlflow_store, without a server": f"sqlite:///{store}",
        }
        for uri in uris.values():
            _track_tree(uri)  # The first requests open the stores.
        sides = [Side(name, _measured_tree(uri), _MANY) for name, uri in uris.items()]
        calls = 1 + len(STEPS) * 6 + 1
        print_table(f"one parent run with five child runs in {calls} calls of MLflow's client", alternate(sides))


def _measured_tree(uri: str) -> Callable[[], Cost]:
    return lambda: cost_of(lambda: _track_tree(uri))


def _track_tree(uri: str) -> None:
    """Track what a small test would: for each step a run, two parameters, two metrics, and its end."""
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    parent = client.create_run("0", run_name="evaluation").info.run_id
    for step in STEPS:
        run = client.create_run("0", tags={"mlflow.parentRunId": parent}, run_name=step).info.run_id
        client.log_param(run, "a", 1)
        client.log_param(run, "b", 2)
        client.log_metric(run, "loss", 0.5, step=1)
        client.log_metric(run, "loss", 0.25, step=2)
        client.update_run(run, "FINISHED")
    client.update_run(parent, "FINISHED")


if __name__ == "__main__":
    main()
