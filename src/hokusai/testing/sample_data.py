"""The sample data that come with the package: penguins of three field stations, and their evaluations.

The base has seen Biscoe island only; Dream brings a species that it has never met, Torgersen more of the same, and the
mislabelled rows are Torgersen's with wrong labels on purpose. See ``penguins/LICENSE.txt``.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from hokusai.config import PipelineConfig
from hokusai.steps.data_settings import ContributionSettings, DataSettings
from hokusai.steps.delta_settings import DeltaSettings
from hokusai.tracking.mlflow_config import TrackingSettings

__all__ = ["CONTRIBUTIONS", "penguins_config", "penguins_folder"]

CONTRIBUTIONS = ("dream", "torgersen", "torgersen_mislabelled")
"""The contributions, by the names of their files."""


def penguins_folder() -> Path:
    """Return the folder with the CSV files, a commented ``evaluation.toml`` and the licence note."""
    return Path(str(files("hokusai.testing") / "penguins"))


def penguins_config(contribution: str, tracking: TrackingSettings | None = None) -> PipelineConfig:
    """Return the evaluation of one of :data:`CONTRIBUTIONS`.

    Args:
        contribution: Its name.
        tracking: Where the record goes; the defaults of :class:`TrackingSettings` without it.
    """
    folder = penguins_folder()
    data = DataSettings(
        base=folder / "base.csv",
        benchmark=folder / "benchmark.csv",
        label="species",
        contributions=(ContributionSettings(path=folder / f"{contribution}.csv"),),
    )
    # 24 benchmark rows tell the models with and without Dream apart; the default asks for 25.
    delta = DeltaSettings(minimum_discordant_rows=20)
    return PipelineConfig(project="penguins", data=data, delta=delta, tracking=tracking or TrackingSettings())
