"""The fits of every arm of one evaluation: run on one executor, put on record, and kept where they can be reused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hokusai.execution.executor import JobFailure
from hokusai.steps.fit_jobs import Loss, failed_fit
from hokusai.steps.loss_curves import LossCurves

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pyarrow as pa

    from hokusai.execution.executor import Executor
    from hokusai.models.kept_predictions import KeptControl
    from hokusai.records import Arm, FailedFit, FittedModel
    from hokusai.steps.control_fits import ControlFits
    from hokusai.steps.fit_jobs import FitJob
    from hokusai.tracking.run import Run

__all__ = ["ArmFits"]


class ArmFits:
    """Collects the fits of all arms as they come.

    Args:
        executor: What runs the fits.
        kept: Where fits of the control are kept; None to keep none.
        run: The step's run.

    Attributes:
        models: What succeeded, by arm and seed.
        failures: What did not.
        reused: How many fits of the control were taken from earlier evaluations.
        workers: How many fits ran at the same time, at most.
    """

    def __init__(self, executor: Executor, *, kept: ControlFits | None, run: Run) -> None:
        self.models: dict[tuple[Arm, int], FittedModel] = {}
        self.failures: dict[tuple[Arm, int], FailedFit] = {}
        self.reused = 0
        self.workers = executor.workers
        self._executor, self._kept, self._run = executor, kept, run

    def reuse(self, job: FitJob, control: KeptControl) -> None:
        """Take a fit from an earlier evaluation in place of a job, with what was recorded of it then."""
        curves = LossCurves(self._run)
        for loss in control.losses:
            curves.add(job, Loss(*loss))
        curves.record()
        self._add(job.arm, control, seconds=control.fit_seconds)
        self.reused += 1

    def fit(self, jobs: Sequence[FitJob], *, tables: Mapping[Arm, pa.Table]) -> None:
        """Run fits.

        Args:
            jobs: The fits; none of an arm and seed that is there already.
            tables: What each arm is trained on.
        """
        curves = LossCurves(self._run)
        said: dict[int, list[Loss]] = {}

        def hear(number: int, loss: Loss) -> None:
            curves.add(jobs[number], loss)
            if jobs[number].arm == "control" and self._kept is not None:
                said.setdefault(number, []).append(loss)

        needed: dict[str, pa.Table] = {job.arm: tables[job.arm] for job in jobs}
        for ended in self._executor.run(jobs, tables=needed, on_message=hear) if jobs else ():
            job = jobs[ended.job]
            if isinstance(ended, JobFailure):
                self.failures[job.arm, job.seed] = failed_fit(job, ended)
                continue
            model: FittedModel = ended.value.model
            if job.arm == "control" and self._kept is not None:
                model = self._kept.keep(ended.value, losses=said.pop(ended.job, ()))
            self._add(job.arm, model, seconds=ended.value.seconds)
        curves.record()
        self.workers = max(self.workers, self._executor.workers)

    def of(self, arm: Arm) -> tuple[FittedModel, ...]:
        """Return the fits of an arm by seed."""
        return tuple(self.models[key] for key in sorted(self.models) if key[0] == arm)

    def failures_of(self, arms: Collection[Arm]) -> tuple[FailedFit, ...]:
        """Return what failed in some arms, by seed, the arms in their order."""
        order = list(arms)
        keys = [key for key in self.failures if key[0] in order]
        return tuple(self.failures[key] for key in sorted(keys, key=lambda key: (key[1], order.index(key[0]))))

    def compared(self) -> tuple[tuple[FittedModel, ...], tuple[FittedModel, ...]]:
        """Return the fits of control and candidate by seed, without the seeds that failed in either of the two."""
        failed = {seed for arm, seed in self.failures if arm in ("control", "candidate")}
        controls, candidates = (
            tuple(model for model in self.of(arm) if model.seed not in failed) for arm in ("control", "candidate")
        )
        return controls, candidates

    def _add(self, arm: Arm, model: FittedModel, *, seconds: float) -> None:
        self.models[arm, model.seed] = model
        self._run.log_metrics({f"training.{arm}.fit_seconds": seconds}, step=model.seed)
