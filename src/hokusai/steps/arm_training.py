"""How the arms of one evaluation are trained: seeds in their order, looks between them, negative controls last."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from hokusai.errors import ModelError
from hokusai.steps.arm_fits import ArmFits
from hokusai.steps.control_fits import control_fits
from hokusai.steps.negative_controls import negative_control_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hokusai.execution.executor import Executor
    from hokusai.models.kept_predictions import KeptControl
    from hokusai.records import Arm, FailedFit, FittedModel, IntegratedData, TrainedModel
    from hokusai.steps.fit_jobs import FitJob
    from hokusai.steps.interim_analysis import InterimAnalysis, SeedPlan
    from hokusai.tracking.run import Run

__all__ = ["TrainedArms", "train_arms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedArms:
    """What came of the fits of all arms.

    Attributes:
        controls: Fits of the control by seed, without the seeds that failed in either of the two arms.
        candidates: Fits of the candidate, likewise.
        negative_controls: Fits of the arms that should gain nothing, where they were asked for.
        failures: Fits of control and candidate that did not succeed, by seed.
        looks: How often it was looked whether the fits so far were enough.
        reused: Fits of the control that were taken from earlier evaluations.
        workers: Fits that ran at the same time, at most.
        notes: What a reader of the scores should know, one sentence each.
        problems: What could not be kept, one sentence each.
    """

    controls: tuple[FittedModel, ...]
    candidates: tuple[TrainedModel, ...]
    negative_controls: Mapping[Arm, tuple[FittedModel, ...]]
    failures: tuple[FailedFit, ...]
    looks: int
    reused: int
    workers: int
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def train_arms(
    jobs: Sequence[FitJob],
    *,
    plan: SeedPlan,
    data: IntegratedData,
    keep_controls: bool,
    negative_controls: bool,
    make_executor: Callable[[list[FitJob]], Executor],
    interim: InterimAnalysis | None,
    run: Run,
) -> TrainedArms:
    """Fit what the plan says, until it ends or a look says that the fits are enough.

    Args:
        jobs: A fit of control and candidate for each seed of the plan.
        plan: Which of them are fitted, and in which order.
        data: The tables.
        keep_controls: Whether fits of the control are kept and reused.
        negative_controls: Whether the arms that should gain nothing are fitted after the others.
        make_executor: Makes what runs the fits that are left to do. It is closed at the end.
        interim: Who looks, where the plan is sequential.
        run: The step's run.

    Raises:
        ModelError: No seed is left in one of the arms.
    """
    planned = [job for job in jobs if job.seed in plan.seeds(job.arm)]
    control = next(job for job in planned if job.arm == "control")
    store = None
    if keep_controls:
        store = control_fits(control.trainer, data=data, kinds=control.kinds, threads=control.threads)
    kept = {seed: found for seed in plan.seeds("control") if store is not None and (found := store.find(seed))}
    executor = make_executor([job for job in planned if job.arm != "control" or job.seed not in kept])
    fits = ArmFits(executor, kept=store, run=run)
    with closing(executor):
        looks, notes = _fit_stages(fits, planned, plan=plan, kept=kept, data=data, interim=interim)
        controls, candidates = fits.compared()
        _require_fits(fits, estimator=control.trainer.name)
        negative: Mapping[Arm, tuple[FittedModel, ...]] = {}
        if negative_controls:
            seeds = {model.seed for model in candidates}
            jobs_again = [job for job in planned if job.arm == "candidate" and job.seed in seeds]
            negative, more = _fit_negative_controls(fits, jobs_again, data=data)
            notes += more
    arms: tuple[Arm, Arm] = ("control", "candidate")
    run.log_metrics({"training.control.rows": data.base.num_rows, "training.candidate.rows": data.integrated.num_rows})
    return TrainedArms(
        controls=controls,
        # Nothing but the control is ever taken from a file.
        candidates=cast("tuple[TrainedModel, ...]", candidates),
        negative_controls=negative,
        failures=fits.failures_of(arms),
        looks=looks,
        reused=fits.reused,
        workers=fits.workers,
        notes=notes,
        problems=(store.problem,) if store is not None and store.problem else (),
    )


def _fit_stages(
    fits: ArmFits,
    planned: Sequence[FitJob],
    *,
    plan: SeedPlan,
    kept: Mapping[int, KeptControl],
    data: IntegratedData,
    interim: InterimAnalysis | None,
) -> tuple[int, tuple[str, ...]]:
    """Go through the stages until a look ends them; return the number of looks, and what the last one said."""
    looks, reason = 0, ""
    for stage in plan.stages:
        jobs = [job for job in planned if job.seed in stage[job.arm]]
        reused = [job for job in jobs if job.arm == "control" and job.seed in kept]
        for job in reused:
            fits.reuse(job, kept[job.seed])
        fits.fit(
            [job for job in jobs if job not in reused], tables={"control": data.base, "candidate": data.integrated}
        )
        controls, candidates = fits.compared()
        if not plan.is_sequential or interim is None or not controls or not candidates:
            continue
        looks += 1
        verdict = interim.look(controls, candidates)
        reason = verdict.reason
        if verdict.stop:
            break
    return looks, (reason,) if reason else ()


def _fit_negative_controls(
    fits: ArmFits, jobs: Sequence[FitJob], *, data: IntegratedData
) -> tuple[dict[Arm, tuple[FittedModel, ...]], tuple[str, ...]]:
    """Fit the candidate's jobs on tables that should gain nothing; return the models, and what is to be said."""
    tables, notes = negative_control_tables(data)
    fits.fit([dataclasses.replace(job, arm=arm) for job in jobs for arm in tables], tables=tables)
    for arm in tables:
        if failed := fits.failures_of((arm,)):
            first = f"the first one (seed {failed[0].seed}): {failed[0].reason}"
            notes += (f"Of the negative control {arm} {len(failed)} of {len(jobs)} fits failed, {first}",)
    return {arm: models for arm in tables if (models := fits.of(arm))}, notes


def _require_fits(fits: ArmFits, *, estimator: str) -> None:
    """Refuse an arm without a fit.

    Raises:
        ModelError: Nothing is left of one.
    """
    if not all(fits.compared()):
        failures = fits.failures_of(("control", "candidate"))
        msg = (
            f"{estimator}: no seed could be fitted in both arms; {len(failures)} fits failed, the first one "
            f"({failures[0].arm}, seed {failures[0].seed}): {failures[0].reason}"
        )
        raise ModelError(msg)
