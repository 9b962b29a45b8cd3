"""``hokusai demo`` and ``hokusai init``: the example that comes with the package.

Three field stations offer penguins to a classifier that has only seen Biscoe island; see ``demo_data/LICENSE.txt``.
"""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.config import PipelineConfig, resolve_store
from hokusai.errors import ConfigurationError
from hokusai.steps.data_integration import ContributionSettings, DataSettings
from hokusai.tracking.mlflow_config import TrackingSettings

if TYPE_CHECKING:
    import argparse

__all__ = ["CONTRIBUTIONS", "demo", "demo_config", "demo_data", "init"]

CONTRIBUTIONS = ("dream", "torgersen", "torgersen_mislabelled")
"""The contributions of the demo, by the names of their files."""

_TEMPLATE = "evaluation.toml"


def demo_data() -> Path:
    """Return the folder of the demo's files."""
    return Path(str(files("hokusai.cli") / "demo_data"))


def demo_config(contribution: str, tracking: TrackingSettings) -> PipelineConfig:
    """Return the configuration of one of the demo's evaluations."""
    folder = demo_data()
    data = DataSettings(
        base=folder / "base.csv",
        benchmark=folder / "benchmark.csv",
        label="species",
        contributions=(ContributionSettings(path=folder / f"{contribution}.csv"),),
    )
    return PipelineConfig(project="penguins", data=data, tracking=tracking)


def demo(arguments: argparse.Namespace) -> int:
    """Evaluate the three contributions and print what they are worth."""
    from hokusai.pipeline import run
    from hokusai.tracking.shipping_process import ShippingProcess

    tracking = TrackingSettings(uri=arguments.tracking_uri or "")
    shipping = ShippingProcess(resolve_store(tracking), tracking)
    reports = []
    try:
        with display.Progress(total=len(CONTRIBUTIONS)) as progress:
            for contribution in CONTRIBUTIONS:
                progress.start_evaluation(contribution)
                reports.append(run(demo_config(contribution, tracking), listener=progress, shipping=shipping))
    finally:
        shipping.close()
    display.print_reports(reports)
    display.print_next_steps(reports, config=None)
    display.warn_if_not_shipped(reports)
    return 0


def init(arguments: argparse.Namespace) -> int:
    """Write the example's files into a folder that has none of them."""
    folder: Path = arguments.folder
    sources = [demo_data() / _TEMPLATE, *sorted(demo_data().glob("*.csv")), demo_data() / "LICENSE.txt"]
    present = [source.name for source in sources if (folder / source.name).exists()]
    if present:
        problem = f"{', '.join(present)} is there already, expected a folder without it. Name another folder."
        raise ConfigurationError(problem, source=str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            (folder / source.name).write_bytes(source.read_bytes())
    except OSError as error:
        problem = f"cannot be written ({error.strerror}). Name another folder."
        raise ConfigurationError(problem, source=str(folder)) from error
    print(f"Wrote {', '.join(source.name for source in sources)}.")
    command = display.command_name()
    print(f"Next: {command} run {shlex.quote(str(folder / _TEMPLATE))}")
    return 0
