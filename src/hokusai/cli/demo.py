"""``hokusai demo`` and ``hokusai init``: the sample data that come with the package, evaluated or copied."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.config import load_tracking
from hokusai.errors import ConfigurationError
from hokusai.testing.sample_data import CONTRIBUTIONS, penguins_config, penguins_folder

if TYPE_CHECKING:
    import argparse

__all__ = ["demo", "init"]

_TEMPLATE = "evaluation.toml"


def demo(arguments: argparse.Namespace) -> int:
    """Evaluate the three contributions and print what they are worth."""
    from hokusai.datasets.reader_process import TableReader
    from hokusai.pipeline import run
    from hokusai.tracking.shipping_process import ShippingProcess

    tracking = load_tracking(None, uri=arguments.tracking_uri)
    shipping = ShippingProcess(tracking.uri, tracking)
    reports = []
    try:
        with TableReader() as reader, display.Progress(total=len(CONTRIBUTIONS)) as progress:
            for contribution in CONTRIBUTIONS:
                progress.start_evaluation(contribution)
                config = penguins_config(contribution, tracking)
                reports.append(run(config, listener=progress, shipping=shipping, reader=reader))
    finally:
        shipping.close()
    display.print_reports(reports)
    display.print_next_steps(reports, config=None)
    display.warn_if_not_shipped(reports)
    return 0


def init(arguments: argparse.Namespace) -> int:
    """Write the example's files into a folder that has none of them."""
    folder = Path(arguments.folder)
    sources = [
        penguins_folder() / _TEMPLATE,
        *sorted(penguins_folder().glob("*.csv")),
        penguins_folder() / "LICENSE.txt",
    ]
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
