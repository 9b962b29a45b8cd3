"""One fit as a job for an executor: the same in this process and in a worker."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hokusai.errors import TrainingError
from hokusai.execution.adaptive import AdaptiveExecutor
from hokusai.execution.executor import JobFailure, SequentialExecutor
from hokusai.execution.local_pool import LocalPool
from hokusai.models.trainers import TrainingTable
from hokusai.records import FailedFit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from hokusai.execution.executor import Executor
    from hokusai.models.column_kinds import ColumnKind
    from hokusai.models.trainers import Trainer
    from hokusai.records import Arm, IntegratedData, TrainedModel

__all__ = ["Fit", "FitJob", "Loss", "failed_fit", "fit_jobs", "make_executor"]

_PRELOAD = (
    "numpy",
    "pandas",
    "pyarrow",
    "threadpoolctl",
    "sklearn.compose",
    "sklearn.pipeline",
    "hokusai.models.sklearn_trainer",
)
_LIBRARIES = ("sklearn", "lightgbm", "xgboost")
_READ_BY_SKRUB = {"text", "date", "timestamp"}


class Loss(NamedTuple):
    """What a fit says of one iteration.

    Attributes:
        series: Such as ``train_loss``.
        iteration: Counted from 0.
        value: The value.
    """

    series: str
    iteration: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fit that succeeded.

    Attributes:
        model: The fitted model.
        seconds: How long the fit took.
    """

    model: TrainedModel
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FitJob:
    """Fits one model of one arm.

    Attributes:
        trainer: What is fitted.
        arm: What it is fitted on: the name of its table.
        seed: Its seed.
        features: Columns to predict from.
        label: Column to predict.
        kinds: What each feature is.
        sample_weight: Column of the rows' weights, or None.
        threads: Threads of every numerical library during the fit.
    """

    trainer: Trainer
    arm: Arm
    seed: int
    features: tuple[str, ...]
    label: str
    kinds: Mapping[str, ColumnKind]
    sample_weight: str | None
    threads: int

    def __call__(self, tables: Mapping[str, pa.Table], send: Callable[[Loss], None]) -> Fit:
        """Fit it.

        Raises:
            TrainingError: The fit did not succeed.
        """
        from threadpoolctl import threadpool_limits

        data = TrainingTable(
            table=tables[self.arm],
            features=self.features,
            label=self.label,
            kinds=self.kinds,
            sample_weight=self.sample_weight,
        )

        def progress(series: str, iteration: int, value: float) -> None:
            send(Loss(series, iteration, value))

        began = time.perf_counter()
        with threadpool_limits(limits=self.threads):
            model = self.trainer.fit(data, seed=self.seed, progress=progress)
        return Fit(model=model, seconds=time.perf_counter() - began)


def fit_jobs(
    trainers: Mapping[Arm, Trainer],
    *,
    data: IntegratedData,
    kinds: Mapping[str, ColumnKind],
    seeds: tuple[int, ...],
    threads: int,
) -> list[FitJob]:
    """Return a job per arm and seed, seed by seed: both arms get on at the same time."""
    return [
        FitJob(
            trainer=trainer,
            arm=arm,
            seed=seed,
            features=data.features,
            label=data.label,
            kinds=kinds,
            sample_weight=data.sample_weight,
            threads=threads,
        )
        for seed in seeds
        for arm, trainer in trainers.items()
    ]


def make_executor(workers: int, *, jobs: list[FitJob]) -> Executor:
    """Return what runs the jobs.

    Args:
        workers: Processes that work at the same time; 0 for as many as pay off.
        jobs: The jobs.
    """
    preload = _preload(jobs[0])
    if workers == 0:
        return AdaptiveExecutor(threads=jobs[0].threads, preload=preload)
    most = min(workers, len(jobs))
    return LocalPool(workers=most, preload=preload) if most > 1 else SequentialExecutor()


def _preload(job: FitJob) -> tuple[str, ...]:
    """Return what workers have in common; a user's own module is imported by each, for it may do anything."""
    module = job.trainer.name.rpartition(".")[0]
    own = (module,) if module.partition(".")[0] in _LIBRARIES else ()
    return (*_PRELOAD, *own, *(("skrub",) if _READ_BY_SKRUB & set(job.kinds.values()) else ()))


def failed_fit(job: FitJob, failure: JobFailure) -> FailedFit:
    """Return what is on record of a fit that did not succeed."""
    reason = failure.error.reason if isinstance(failure.error, TrainingError) else failure.reason
    return FailedFit(arm=job.arm, seed=job.seed, reason=reason)
