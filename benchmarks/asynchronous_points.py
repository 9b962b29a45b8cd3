"""Log metric points by MLflow's own asynchronous logging and print what that cost: one side of ``shipping``.

A process of its own, because MLflow's logging thread reads ``MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS`` before the points
that it applies to arrive: in one process, each way would begin with the setting of the other.
"""

# ruff: noqa: TID251  (the fluent call is what is measured here)

from __future__ import annotations

import sys

import mlflow
from benchmarks.measure import cost_of
from mlflow import MlflowClient, flush_async_logging


def main(run_id: str, count: int, way: str) -> None:
    """Log ``count`` points to the store of ``MLFLOW_TRACKING_URI`` and wait until MLflow says that they are there.

    Args:
        run_id: The run.
        count: How many points.
        way: ``fluent`` for ``mlflow.log_metric``, ``client`` for the client's method, which is faster.
    """
    client = MlflowClient()
    client.get_run(run_id)  # Opens the store.

    def log() -> None:
        for step in range(count):
            if way == "fluent":
                mlflow.log_metric("training.loss", 1 / (step + 1), step=step, synchronous=False)
            else:
                client.log_metric(run_id, "training.loss", 1 / (step + 1), step=step, synchronous=False)
        flush_async_logging()

    with mlflow.start_run(run_id=run_id):
        cost = cost_of(log)
    print(cost.wall, cost.cpu)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
