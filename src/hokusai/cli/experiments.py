"""``hokusai experiments``: the experiments of the store, listed, archived and restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.cli.settings import tracking_settings
from hokusai.tracking.experiments import archive_experiment, list_experiments, restore_experiment
from hokusai.tracking.mlflow_config import redact_credentials

if TYPE_CHECKING:
    import argparse


__all__ = ["archive", "list_all", "restore"]


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
            display.local_time(experiment.created),
            display.local_time(experiment.updated),
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


def _evaluations(count: int) -> str:
    return "1 evaluation" if count == 1 else f"{count} evaluations"
