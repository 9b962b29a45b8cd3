"""How fast metric points reach MLflow: a journal through the shipper, and MLflow's own asynchronous logging.

Over HTTP to an ``mlflow server`` on SQLite, and to SQLite direct. Seconds are per point, so that each side may have as
many points as its speed allows; ``--points 1000000`` takes minutes. The journal is written before the clock starts, by
``Run.log_metrics``, one call for each point; ``step_cost`` measures that. MLflow's ways include their calls, fluent
ones and the client's, and the flush.
"""

# ruff: noqa: TID251  (the client that reads everything back needs the store's address)

from __future__ import annotations

import argparse
import logging
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
from benchmarks.measure import Cost, Side, alternate, cost_of, print_table
from mlflow import MlflowClient

from hokusai.testing.mlflow_server import MlflowServerProcess
from hokusai.tracking.journal import JOURNAL_FORMAT, FileJournal
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.naming import EVALUATION_TAG
from hokusai.tracking.operations import OpenJournal
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipper import ship
from hokusai.tracking.sqlite_store import create_sqlite_store

_BUFFERING = "MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS"
_EXPERIMENT = "points"
_RUNS = 3
_POINTS, _POINTS_BUFFERED, _POINTS_BY_DEFAULT = 20_000, 10_000, 300
_TARGETS = "targets of the ratios: 2.5 and more when buffered, 50 and more by default"


def main() -> None:
    """Compare the ways on both kinds of store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=_POINTS, help="for journal and shipper; 1000000 takes minutes")
    points: int = parser.parse_args().points
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name:
        folder = Path(name)
        with MlflowServerProcess(folder / "server") as server:
            _compare(server.uri, kind="HTTP on loopback, a server on SQLite", points=points, folder=folder)
        create_sqlite_store(folder / "direct.db")
        _compare(f"sqlite:///{folder / 'direct.db'}", kind="SQLite direct", points=points, folder=folder)


def _compare(uri: str, *, kind: str, points: int, folder: Path) -> None:
    mlflow.set_tracking_uri(uri)
    store = MlflowStore(uri)
    experiment = store.ensure_experiment(_EXPERIMENT, tags={})
    journals = folder / "journals" / secrets.token_hex(4)

    def shipped(count: int) -> Cost:
        journal = _write_journal(journals / f"20300102-030405-{secrets.token_hex(4)}", count)
        cost = cost_of(lambda: ship(journal, store))
        (run,) = MlflowClient().search_runs([experiment], f"tags.`{EVALUATION_TAG}` = '{journal.name}'")
        _require_points(run.info.run_id, count)
        return _per_point(cost, count)

    def asynchronous(count: int, *, way: str, buffering_seconds: str | None) -> Cost:
        run_id = MlflowClient().create_run(experiment).info.run_id
        environment = (
            os.environ | {"MLFLOW_TRACKING_URI": uri} | ({_BUFFERING: buffering_seconds} if buffering_seconds else {})
        )
        command = [sys.executable, "-m", "benchmarks.asynchronous_points", run_id, str(count), way]
        environment["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "1"
        printed = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        wall, cpu = map(float, printed.split())
        _require_points(run_id, count)
        return _per_point(Cost(wall, cpu), count)

    def by_default() -> Cost:
        return asynchronous(_POINTS_BY_DEFAULT, way="fluent", buffering_seconds=None)

    def buffered() -> Cost:
        return asynchronous(_POINTS_BUFFERED, way="fluent", buffering_seconds="1")

    def buffered_client() -> Cost:
        return asynchronous(_POINTS_BUFFERED, way="client", buffering_seconds="1")

    shipped(1_000)
    sides = [
        Side(f"journal through the shipper ({points:,} points)", lambda: shipped(points), _RUNS),
        Side(f"log_metric, asynchronous, buffered for 1 second ({_POINTS_BUFFERED:,} points)", buffered, _RUNS),
        Side(f"the same by MlflowClient ({_POINTS_BUFFERED:,} points)", buffered_client, _RUNS),
        Side(f"log_metric, asynchronous, by default ({_POINTS_BY_DEFAULT:,} points)", by_default, _RUNS),
    ]
    samples = alternate(sides)
    print_table(f"seconds per metric point, {kind}; {_TARGETS}", samples)
    rates = ", ".join(f"{1 / statistics.median(side.wall):,.0f}" for side in samples)
    print(f"points per second: {rates}", flush=True)


def _write_journal(folder: Path, count: int) -> Path:
    """Record points one by one and return the journal's folder."""
    journal = FileJournal(folder)
    journal.append(OpenJournal(format=JOURNAL_FORMAT, evaluation=folder.name, experiment=_EXPERIMENT))
    with Tracker(journal, evaluation=folder.name, run_name="points").start() as run:
        for step in range(count):
            run.log_metrics({"training.loss": 1 / (step + 1)}, step=step)
    journal.close()
    return folder


def _per_point(cost: Cost, count: int) -> Cost:
    return Cost(cost.wall / count, cost.cpu / count)


def _require_points(run_id: str, count: int) -> None:
    """End the benchmark when points are missing, or are there twice."""
    history = MlflowClient().get_metric_history(run_id, "training.loss")
    if len(history) != count or {point.step for point in history} != set(range(count)):
        raise SystemExit(f"{count} points were logged, and MLflow holds {len(history)}.")


if __name__ == "__main__":
    main()
