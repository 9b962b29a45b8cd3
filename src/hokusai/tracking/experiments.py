"""Experiments of a tracking store: listed, put away, brought back.

An archived experiment is what MLflow calls a deleted one: it and its runs are hidden, nothing is lost, its name stays
taken. Nothing here makes a store that is not there. The settings name the store, as everywhere; those of a file come
from :func:`hokusai.config.load_tracking`.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from hokusai.errors import JournalError, TrackingError
from hokusai.tracking.journal import find_journals, is_being_written
from hokusai.tracking.mlflow_config import redact_credentials, require_store, resolve_store
from hokusai.tracking.shipper import read_destination

if TYPE_CHECKING:
    from pathlib import Path

    from hokusai.tracking.mlflow_client import MlflowStore
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.stored_values import StoredExperiment

__all__ = ["archive_experiment", "list_experiments", "restore_experiment"]

_DEFAULT_EXPERIMENT = "0"
_NAMES_SHOWN = 3


def list_experiments(settings: TrackingSettings, *, archived: bool = False) -> tuple[StoredExperiment, ...]:
    """Return the experiments of the store, the last changed first.

    Args:
        settings: Names the store.
        archived: Whether those are meant that are archived, instead of those in use.

    Raises:
        TrackingError: There is no store, or it does not answer.
    """
    return _open(settings).list_experiments(archived=archived)


def archive_experiment(settings: TrackingSettings, name: str, *, force: bool = False) -> StoredExperiment:
    """Hide an experiment and its runs until it is restored, and return it as it is then.

    Args:
        settings: Names the store, and the folder of the journals.
        name: The experiment's name.
        force: Archive it even while an evaluation runs into it. Its record stays in the journal then, and can be
            shipped once the experiment has been restored.

    Raises:
        TrackingError: There is no such experiment; it is archived already; it is MLflow's default experiment, which has
            to stay; an evaluation runs into it; or the store does not answer.
    """
    store = _open(settings)
    experiment = _require(store, name)
    if experiment.is_archived:
        msg = f"the experiment {name!r} is archived already. `hokusai experiments restore` brings it back."
        raise TrackingError(msg)
    if experiment.experiment_id == _DEFAULT_EXPERIMENT:
        msg = f"the experiment {name!r} is MLflow's default one, which every store needs; it cannot be archived."
        raise TrackingError(msg)
    if not force:
        _require_at_rest(store, experiment, settings)
    store.archive_experiment(experiment.experiment_id)
    return _require(store, name)


def restore_experiment(settings: TrackingSettings, name: str) -> StoredExperiment:
    """Bring an archived experiment back with its runs, and return it as it is then.

    Runs that had been deleted one by one before it was archived stay deleted.

    Raises:
        TrackingError: There is no such experiment; it is not archived; or the store does not answer.
    """
    store = _open(settings)
    experiment = _require(store, name)
    if not experiment.is_archived:
        msg = f"the experiment {name!r} is not archived; there is nothing to restore."
        raise TrackingError(msg)
    store.restore_experiment(experiment.experiment_id)
    return _require(store, name)


def _open(settings: TrackingSettings) -> MlflowStore:
    uri = require_store(settings)
    from hokusai.tracking.mlflow_client import MlflowStore

    return MlflowStore(uri)


def _require(store: MlflowStore, name: str) -> StoredExperiment:
    experiment = store.find_experiment(name)
    if experiment is None:
        near = difflib.get_close_matches(name, store.experiment_names(), n=_NAMES_SHOWN)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        msg = f"no experiment {name!r} in {store.uri}.{hint} List what is there with `hokusai experiments list`."
        raise TrackingError(msg)
    return experiment


def _require_at_rest(store: MlflowStore, experiment: StoredExperiment, settings: TrackingSettings) -> None:
    busy = [f"the journal {folder} is being written" for folder in _journals_at_work(experiment.name, settings)]
    running = store.running_runs(experiment.experiment_id)
    if running:
        names = ", ".join(map(repr, running[:_NAMES_SHOWN])) + (" and others" if len(running) > _NAMES_SHOWN else "")
        busy.append(f"{len(running)} of its runs are RUNNING: {names}")
    if busy:
        msg = (
            f"the experiment {experiment.name!r} is in use: {'; '.join(busy)}. Wait until its evaluations have ended, "
            "close the runs of dead processes with `hokusai sync`, or archive it all the same with --force."
        )
        raise TrackingError(msg)


def _journals_at_work(experiment: str, settings: TrackingSettings) -> list[Path]:
    """Return the folders of the journals that are being written and are meant for this experiment of this store."""
    store, found = redact_credentials(resolve_store(settings)), []
    for folder in find_journals(settings.journal):
        try:
            header = read_destination(folder)
            if (header.experiment, header.tracking_uri) == (experiment, store) and is_being_written(folder):
                found.append(folder)
        except JournalError:
            # A damaged or read-only journal is nobody's work in progress.
            continue
    return found
