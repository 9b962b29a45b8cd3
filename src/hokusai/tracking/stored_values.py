"""Runs and experiments as MLflow holds them, as values of our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.tracking.naming import (
    DELETED_RUNS_TAG,
    EVALUATION_TAG,
    LABEL_TAG,
    METRIC_TAG,
    OWNER_TAG,
    PURPOSE_TAG,
    RUN_KEY_TAG,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun

__all__ = [
    "RunningRun",
    "ScratchRun",
    "StoredExperiment",
    "StoredRun",
    "deleted_before",
    "running_run",
    "stored_experiment",
    "stored_run",
]

MLFLOW_DATASET_CONTEXT = "mlflow.data.context"
MLFLOW_PARENT_RUN_ID = "mlflow.parentRunId"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as MLflow holds it; times in milliseconds since 1970.

    Attributes:
        datasets: Triples of context, name and full digest.
        models: Names and ids of the models that the run made.
    """

    run_id: str
    name: str
    experiment_id: str
    status: str
    start_time: int
    end_time: int | None
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    datasets: tuple[tuple[str, str, str], ...]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredExperiment:
    """An experiment as MLflow holds it; times in milliseconds since 1970.

    Attributes:
        is_archived: Whether MLflow's lifecycle stage is ``deleted``: hidden with its runs, and not lost.
        updated: When the experiment, or an evaluation in it, last changed.
        evaluations: Number of evaluations: the parent runs that Hokusai made.
    """

    experiment_id: str
    name: str
    is_archived: bool
    created: int
    updated: int
    evaluations: int
    tags: Mapping[str, str]

    @property
    def lifecycle(self) -> str:
        """``active`` or ``archived``."""
        return "archived" if self.is_archived else "active"

    @property
    def purpose(self) -> str:
        """What the experiment is for; empty when nobody said."""
        return self.tags.get(PURPOSE_TAG, "")

    @property
    def owner(self) -> str:
        """Who answers for it; empty when nobody said."""
        return self.tags.get(OWNER_TAG, "")

    @property
    def label(self) -> str:
        """The column that is predicted; empty when nobody said."""
        return self.tags.get(LABEL_TAG, "")

    @property
    def metric(self) -> str:
        """The metric that decides; empty when nobody said."""
        return self.tags.get(METRIC_TAG, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRun:
    """A run of ours that is RUNNING in MLflow; times in milliseconds since 1970.

    Attributes:
        key: Its run key.
        evaluation: The evaluation that it belongs to.
        last_sign: The last sign of life: its start, its latest metric, or the start, metric or end of a run below it.
    """

    run_id: str
    name: str
    key: str
    evaluation: str
    started_at: int
    last_sign: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchRun:
    """The one run that checks of the connection share.

    Attributes:
        was_archived: Whether its experiment had been archived, and should be again.
    """

    experiment_id: str
    run_id: str
    was_archived: bool


def stored_experiment(experiment: Experiment, parents: Sequence[MlflowRun]) -> StoredExperiment:
    """Return an experiment of MLflow's with what its parent runs say."""
    is_archived = experiment.lifecycle_stage != "active"
    if is_archived:
        deleted = deleted_before(experiment.tags)
        parents = [run for run in parents if run.info.run_id not in deleted]
    changes = [run.info.end_time or run.info.start_time for run in parents]
    return StoredExperiment(
        experiment_id=str(experiment.experiment_id),
        name=experiment.name,
        is_archived=is_archived,
        created=experiment.creation_time or 0,
        updated=max([experiment.last_update_time or 0, *changes]),
        evaluations=len(parents),
        tags={key: value for key, value in experiment.tags.items() if not key.startswith(DELETED_RUNS_TAG)},
    )


def deleted_before(tags: Mapping[str, str]) -> frozenset[str]:
    """Return the ids of the runs that were deleted when the experiment was archived."""
    ids = ",".join(value for key, value in tags.items() if key.startswith(DELETED_RUNS_TAG))
    return frozenset(filter(None, ids.split(",")))


def stored_run(run: MlflowRun) -> StoredRun:
    """Return a run of MLflow's."""
    datasets = []
    for item in run.inputs.dataset_inputs if run.inputs else ():
        tags = {tag.key: tag.value for tag in item.tags}
        digest = tags.get("hokusai.digest", item.dataset.digest)
        datasets.append((tags.get(MLFLOW_DATASET_CONTEXT, ""), item.dataset.name, digest))
    outputs = run.outputs.model_outputs if run.outputs else ()
    return StoredRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        experiment_id=str(run.info.experiment_id),
        status=run.info.status,
        start_time=run.info.start_time,
        end_time=run.info.end_time,
        parameters=run.data.params,
        metrics=run.data.metrics,
        tags=run.data.tags,
        datasets=tuple(sorted(datasets)),
        models=tuple(output.model_id for output in outputs),
    )


def running_run(run: MlflowRun, members: Sequence[MlflowRun]) -> RunningRun:
    """Return a running run with its last sign of life; ``members`` are the runs of its evaluation."""
    below, grew = {run.info.run_id}, True
    while grew:
        more = {one.info.run_id for one in members if one.data.tags.get(MLFLOW_PARENT_RUN_ID) in below} - below
        below |= more
        grew = bool(more)
    signs = [run.info.start_time]
    for one in (run, *members):
        if one.info.run_id in below:
            signs += [one.info.start_time, one.info.end_time or 0]
            # The only place where MLflow's client hands out the times of metrics without a request for each.
            signs += [metric.timestamp for metric in one.data.to_proto().metrics]
    return RunningRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        key=run.data.tags.get(RUN_KEY_TAG, ""),
        evaluation=run.data.tags.get(EVALUATION_TAG, ""),
        started_at=run.info.start_time,
        last_sign=max(signs),
    )
