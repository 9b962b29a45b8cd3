"""What tracking costs one evaluation of the demo, in the steady state: the same evaluation tracked, and to nowhere.

Tracked is :func:`hokusai.run` on a SQLite store with a shared shipping process, as ``hokusai demo`` does it; to nowhere
is the same story with a journal in memory. The shipping process works on another core; its CPU seconds are not counted.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Cost, Samples, Side, alternate, cost_of, print_table

import hokusai
from hokusai.datasets.reader_process import TableReader
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.pipeline import evaluate_contribution
from hokusai.records import EvaluationIdentity
from hokusai.testing.sample_data import penguins_config
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.mlflow_config import TrackingSettings, default_store_uri
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipping_process import ShippingProcess

if TYPE_CHECKING:
    from hokusai.records import DeltaReport
    from hokusai.tracking.operations import RunStatus

_RUNS = 25


class _EndOfWork:
    """Notes when the parent run ended: from then on the evaluation only waits for its record to reach MLflow."""

    moment = 0.0

    def run_started(self, key: str, name: str) -> None:
        """Ignore starts."""

    def run_ended(self, key: str, name: str, status: RunStatus) -> None:
        """Keep the last end, which is the parent's."""
        del key, name, status
        self.moment = time.perf_counter()


def main() -> None:
    """Compare the two, and show where the tracked one waits."""
    # As `hokusai demo` does: the store and the journals go where the command is called.
    with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name, chdir(name), TableReader() as reader:
        folder = Path(name)
        settings = TrackingSettings(uri=default_store_uri(folder))
        config = penguins_config("dream", settings)
        shipping = ShippingProcess(settings.uri, settings)
        working = Samples("  of which until the last fact is recorded")
        waiting = Samples("  of which waiting until MLflow has all of it")

        def untracked() -> None:
            identity = EvaluationIdentity(
                project=config.project,
                evaluation="nowhere",
                registered_model="hokusai-penguins",
                delta_file=folder / "delta.json",
            )
            tracker = Tracker(MemoryJournal(), evaluation="nowhere", run_name="nowhere")
            registry = ModelRegistry(settings.uri)
            evaluate_contribution(
                config, identity=identity, tracker=tracker, registry=registry, reader=reader, now=datetime.now(UTC)
            )

        def tracked() -> Cost:
            listener, began = _EndOfWork(), time.perf_counter()
            reports: list[DeltaReport] = []
            cost = cost_of(
                lambda: reports.append(hokusai.run(config, listener=listener, shipping=shipping, reader=reader))
            )
            if reports[0].tracking is None or not reports[0].tracking.shipped:
                raise SystemExit(f"the record did not reach MLflow: {reports[0].tracking}")
            working.wall.append(listener.moment - began)
            waiting.wall.append(cost.wall - working.wall[-1])
            return cost

        try:
            untracked()
            tracked()
            working.wall.clear()
            waiting.wall.clear()
            nowhere = Side("tracked to nowhere (journal in memory)", lambda: cost_of(untracked), _RUNS)
            samples = alternate([nowhere, Side("tracked in MLflow (SQLite, shared shipping process)", tracked, _RUNS)])
        finally:
            shipping.close()
    print_table("one evaluation of the demo, warmed up", [*samples, working, waiting])


if __name__ == "__main__":
    main()
