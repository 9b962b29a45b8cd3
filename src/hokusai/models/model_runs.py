"""What is on record of the run that a model came from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlflow.entities import Run

__all__ = ["ModelRun", "UsedDataset", "to_model_run", "used_datasets"]

EVALUATION_TAG = "hokusai.evaluation"
"""The evaluation that a run belongs to: all of its runs have it."""

_CONTEXT_TAG = "mlflow.data.context"
_DIGEST_TAG = "hokusai.digest"
# What measures the machine and says nothing of the model.
_COST_METRIC = re.compile(r"step\.|training\.workers$|.*(?:_seconds|rows_per_second)$")
_MLFLOW_TAGS = "mlflow."


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedDataset:
    """A dataset that a run used.

    Attributes:
        context: The part that it played, such as ``contribution``; empty when MLflow does not say.
        name: What it was called there.
        digest: Its content digest; of a run that another program logged, MLflow's short one.
    """

    context: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRun:
    """The run that a model came from, with the steps of the evaluation that it belongs to.

    Where several have a value of one name, it is that of the run itself, else of the step that came first.

    Attributes:
        run_id: MLflow's id of the run.
        name: The run's name.
        status: How it ended.
        started: When it began: UTC, ISO 8601.
        parameters: Parameters by name.
        metrics: Last values by name, without what the steps themselves cost.
        tags: Tags of the run, without MLflow's own.
        datasets: Every dataset that they list.
    """

    run_id: str
    name: str
    status: str = ""
    started: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[UsedDataset, ...] = ()


def to_model_run(run: Run, members: Sequence[Run]) -> ModelRun:
    """Return a run, and the other runs of its evaluation, as one value."""
    others = sorted(members, key=lambda each: (each.info.start_time, each.info.run_id))
    runs = [*(each for each in reversed(others) if each.info.run_id != run.info.run_id), run]
    tags = run.data.tags
    return ModelRun(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="milliseconds"),
        parameters={name: value for each in runs for name, value in each.data.params.items()},
        metrics={
            name: value for each in runs for name, value in each.data.metrics.items() if not _COST_METRIC.match(name)
        },
        tags={name: value for name, value in tags.items() if not name.startswith(_MLFLOW_TAGS)},
        datasets=tuple(dict.fromkeys(item for each in reversed(runs) for item in used_datasets(each))),
    )


def used_datasets(run: Run) -> tuple[UsedDataset, ...]:
    """Return the datasets that a run lists."""
    found = []
    for item in run.inputs.dataset_inputs if run.inputs else ():
        tags = {tag.key: tag.value for tag in item.tags}
        digest = tags.get(_DIGEST_TAG) or item.dataset.digest
        found.append(UsedDataset(context=tags.get(_CONTEXT_TAG, ""), name=item.dataset.name, digest=digest))
    return tuple(found)
