"""The runs of an evaluation in MLflow, found by its key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.tracking import naming
from hokusai.tracking.mlflow_config import require_store
from hokusai.verification.checks import failed, ok

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.mlflow_reader import FoundRun, MlflowReader
    from hokusai.verification.checks import StatementCheck

__all__ = ["EvaluationRuns", "find_evaluation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRuns:
    """What MLflow holds of one evaluation.

    Attributes:
        store: Reads it.
        parent: The parent run.
        steps: The runs of the steps, by the step's name.
    """

    store: MlflowReader
    parent: FoundRun
    steps: Mapping[str, FoundRun]

    def artifact(self, step: str, path: str) -> bytes | None:
        """Return an artifact of a step's run, or of the parent where no step is named; None where it is not there."""
        run = self.steps.get(step) if step else self.parent
        return None if run is None else self.store.read_file_if_there(run.location, path)


def find_evaluation(settings: TrackingSettings, evaluation: str) -> tuple[EvaluationRuns | None, StatementCheck]:
    """Return the runs of an evaluation, and whether they are there, once, and finished.

    Raises:
        TrackingError: There is no such store.
        TrackingServerError: The store does not answer.
    """
    uri = require_store(settings)
    from hokusai.tracking.mlflow_reader import MlflowReader  # imports MLflow

    store = MlflowReader(uri, registry_uri=settings.registry_uri, request_seconds=settings.request_seconds)
    runs = [run for run in store.runs_of(evaluation, known_ids=()) if not run.is_deleted]
    parents = [run for run in runs if run.tags.get(naming.RUN_KEY_TAG) == evaluation]
    if not parents:
        problem = f"the store has no run of the evaluation {evaluation}: deleted, never shipped, or in another store."
        return None, failed("run", "missing", problem)
    if len(parents) > 1:
        problem = f"{len(parents)} runs say that they are the evaluation {evaluation}; a copy was made, or tags edited."
        return None, failed("run", "doubled", problem)
    parent = parents[0]
    named = {step: [run for run in runs if _is_of(step, run, evaluation)] for step in naming.STEPS}
    found = EvaluationRuns(store=store, parent=parent, steps={step: each[0] for step, each in named.items() if each})
    return found, _check_runs(parent, named, evaluation)


def _is_of(step: str, run: FoundRun, evaluation: str) -> bool:
    """Return whether a run says in any way that it is the one of a step."""
    return run.tags.get(naming.STEP_TAG) == step or run.tags.get(naming.RUN_KEY_TAG) == f"{evaluation}:{step}"


def _check_runs(parent: FoundRun, named: Mapping[str, Sequence[FoundRun]], evaluation: str) -> StatementCheck:
    if absent := [step for step, runs in named.items() if not runs]:
        return failed("run", "missing", f"the run {parent.run_id} has no run of {', '.join(absent)}.")
    if doubled := [f"{step}: {', '.join(run.run_id for run in runs)}" for step, runs in named.items() if len(runs) > 1]:
        problem = "several runs say that they are one step, expected one; a copy was made, or tags edited."
        return failed("run", "doubled", problem, findings=tuple(doubled))
    strange = [
        f"{step}: {run.run_id}"
        for step, (run,) in named.items()
        if run.tags.get(naming.STEP_TAG) != step
        or run.tags.get(naming.RUN_KEY_TAG) != f"{evaluation}:{step}"
        or run.parent_id != parent.run_id
    ]
    if strange:
        problem = f"runs of steps name another step, key or parent than those of the run {parent.run_id}."
        return failed("run", "changed", problem, findings=tuple(strange))
    if parent.status != "FINISHED":
        return failed("run", "not finished", f"the run {parent.run_id} is {parent.status}, expected FINISHED.")
    return ok("run", f"the run {parent.run_id} with its five steps is there, and finished.")
