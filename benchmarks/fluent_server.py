"""The same facts by fluent MLflow calls and by journal and shipper, to an ``mlflow server`` on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.facts import compare_ways, record_evaluation
from benchmarks.measure import print_table

from hokusai.tracking.sqlite_store import create_sqlite_store

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_SECONDS = 120


def main() -> None:
    """Compare the ways over HTTP on loopback."""
    with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name:
        folder = Path(name)
        facts = record_evaluation(folder)
        with _server(folder) as uri:
            samples = compare_ways(facts, uri=uri, folder=folder)
        print_table(f"the same {facts.count()} facts of one evaluation, HTTP on loopback, MLflow imported", samples)


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """An MLflow server on a SQLite store of its own, ended with all of its processes."""
    create_sqlite_store(folder / "server.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_healthy(server, port, log=folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        # The command's own process is not the one that answers; both are in the group that it leads.
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _wait_until_healthy(server: subprocess.Popen[bytes], port: int, *, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(ConnectionError), closing(HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("GET", "/health")
            if connection.getresponse().status == HTTPStatus.OK:
                return
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=0.2)
            break
    raise SystemExit(f"the MLflow server did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


if __name__ == "__main__":
    main()
