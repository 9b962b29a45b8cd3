"""What tracking adds to an evaluation of some size: flights from New York, tracked in MLflow and tracked to nowhere.

LaGuardia's flights are the base, Newark's the contribution, a sample of 12 % of January to October; the benchmark are
12,000 flights of November and December. Tracked is :func:`hokusai.run` on a SQLite store, until MLflow has
all of it, with a shipping process of its own (what a single evaluation has: MLflow is imported beside the work) and
with one that is there already. To nowhere is the same story with a journal in memory.

One thread: OpenMP's threads wait by spinning, which on a machine with other work turns seconds into minutes.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from benchmarks.flights import FEATURES, WEATHER, read_flights
from benchmarks.measure import Side, alternate, cost_of, print_table

import hokusai
from hokusai.config import PipelineConfig
from hokusai.datasets.reader_process import TableReader
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.pipeline import evaluate_contribution
from hokusai.records import EvaluationIdentity
from hokusai.steps.data_settings import ContributionSettings, DataSettings
from hokusai.steps.delta_settings import DeltaSettings
from hokusai.steps.model_training import TrainingSettings
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.mlflow_config import TrackingSettings, default_store_uri
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipping_process import ShippingProcess

_RUNS = 5
_TRAINING_SHARE, _BENCHMARK_ROWS = 0.12, 12_000


def main() -> None:
    """Compare the three."""
    os.environ["OMP_NUM_THREADS"] = "1"  # Read when scikit-learn is loaded, which nothing has done yet.
    # As a user would: the store and the journals go where the command is called.
    with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name, chdir(name), TableReader() as reader:
        folder = Path(name)
        settings = TrackingSettings(uri=default_store_uri(folder))
        config = _config(folder, settings)

        def untracked() -> None:
            identity = EvaluationIdentity(
                project=config.project,
                evaluation="nowhere",
                registered_model="hokusai-flights",
                delta_file=folder / "delta.json",
            )
            tracker = Tracker(MemoryJournal(), evaluation="nowhere", run_name="nowhere")
            registry = ModelRegistry(settings.uri)
            evaluate_contribution(
                config, identity=identity, tracker=tracker, registry=registry, reader=reader, now=datetime.now(UTC)
            )

        def tracked(shipping: ShippingProcess | None) -> None:
            report = hokusai.run(config, shipping=shipping, reader=reader)
            if report.tracking is None or not report.tracking.shipped:
                raise SystemExit(f"the record did not reach MLflow: {report.tracking}")

        shared = ShippingProcess(settings.uri, settings)
        try:
            untracked()
            tracked(shared)
            sides = [
                Side("tracked to nowhere (journal in memory)", lambda: cost_of(untracked), _RUNS),
                Side("tracked, a shipping process of its own", lambda: cost_of(lambda: tracked(None)), _RUNS),
                Side("tracked, a shared shipping process", lambda: cost_of(lambda: tracked(shared)), _RUNS),
            ]
            samples = alternate(sides)
        finally:
            shared.close()
    print_table("one evaluation of the flights; target of the ratios: 1.05 and less", samples)


def _config(folder: Path, tracking: TrackingSettings) -> PipelineConfig:
    flights = read_flights()
    is_training = flights["month"] <= 10
    rng = np.random.default_rng(0)
    training = flights[is_training].sample(frac=_TRAINING_SHARE, random_state=rng)
    tables = {
        "base": training[training["origin"] == "LGA"],
        "newark": training[training["origin"] == "EWR"],
        "benchmark": flights[~is_training].sample(n=_BENCHMARK_ROWS, random_state=rng),
    }
    for name, table in tables.items():
        table[["origin", *FEATURES, *WEATHER, "late"]].to_parquet(folder / f"{name}.parquet", index=False)
    return PipelineConfig(
        project="flights",
        data=DataSettings(
            base=folder / "base.parquet",
            benchmark=folder / "benchmark.parquet",
            label="late",
            contributions=(ContributionSettings(path=folder / "newark.parquet"),),
        ),
        training=TrainingSettings(estimator="HistGradientBoostingClassifier", keep_controls=False),
        delta=DeltaSettings(metric="roc_auc"),
        tracking=tracking,
    )


if __name__ == "__main__":
    main()
