"""The runs of an evaluation in MLflow, found by its key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.tracking import naming
from hokusai.tracking.mlflow_config import require_store
from hokusai.verification.checks import failed, ok

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    steps = {run.tags[naming.STEP_TAG]: run for run in runs if naming.STEP_TAG in run.tags}
    found = EvaluationRuns(store=store, parent=parent, steps=steps)
    absent = [step for step in naming.STEPS if step not in steps]
    if absent:
        return found, failed("run", "missing", f"the run {parent.run_id} has no run of {', '.join(absent)}.")
    if parent.status != "FINISHED":
        return found, failed("run", "not finished", f"the run {parent.run_id} is {parent.status}, expected FINISHED.")
    return found, ok("run", f"the run {parent.run_id} with its five steps is there, and finished.")
