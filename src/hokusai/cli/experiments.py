"""``hokusai experiments``: the experiments of the store, listed, archived and restored."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.cli.arguments import DEFAULT_FILE
from hokusai.config import load_tracking
from hokusai.tracking.experiments import archive_experiment, list_experiments, restore_experiment
from hokusai.tracking.mlflow_config import redact_credentials, shipper_environment

if TYPE_CHECKING:
    import argparse

    from hokusai.tracking.mlflow_config import TrackingSettings

__all__ = ["archive", "list_all", "restore", "tracking_settings"]


def list_all(arguments: argparse.Namespace) -> int:
    """List the experiments in use, or the archived ones."""
    settings = tracking_settings(arguments)
    found = list_experiments(settings, archived=arguments.archived)
    store = redact_credentials(settings.uri)
    if not found:
        print(f"No {'archived ' if arguments.archived else ''}experiments in {store}.")
        return 0
    rows = [
        (
            experiment.name,
            experiment.experiment_id,
            experiment.lifecycle,
            str(experiment.evaluations),
            _local_time(experiment.created),
            _local_time(experiment.updated),
            experiment.purpose,
            experiment.owner,
            experiment.label,
            experiment.metric,
        )
        for experiment in found
    ]
    headings = ("experiment", "id", "state", "evaluations", "created", "last changed")
    display.print_rows((*headings, "purpose", "owner", "label", "metric"), rows)
    return 0


def archive(arguments: argparse.Namespace) -> int:
    """Hide an experiment and its runs."""
    experiment = archive_experiment(tracking_settings(arguments), arguments.name, force=arguments.force)
    print(f"Archived {experiment.name!r} with {_evaluations(experiment.evaluations)}; nothing is lost.")
    print(f"Bring it back with `{display.command_name()} experiments restore`.")
    return 0


def restore(arguments: argparse.Namespace) -> int:
    """Bring an archived experiment back with its runs."""
    experiment = restore_experiment(tracking_settings(arguments), arguments.name)
    print(f"Restored {experiment.name!r} with {_evaluations(experiment.evaluations)}.")
    print(f"What could not be shipped meanwhile is brought over by `{display.command_name()} sync`.")
    return 0


def tracking_settings(arguments: argparse.Namespace) -> TrackingSettings:
    """Return the tracking settings that a command's flags, or the file in this folder, name.

    Calls to a server that does not answer fail within seconds from then on.
    """
    path = Path(arguments.config) if arguments.config else None
    if path is None and Path(DEFAULT_FILE).is_file():
        path = Path(DEFAULT_FILE)
    settings = load_tracking(path, uri=arguments.tracking_uri)
    for name, value in shipper_environment(settings).items():
        os.environ.setdefault(name, value)
    return settings


def _evaluations(count: int) -> str:
    return "1 evaluation" if count == 1 else f"{count} evaluations"


def _local_time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
