"""Step 3: the same trainer on base data alone and on base data with the contributions."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from hokusai.digests import file_sha256, sha256
from hokusai.errors import ConfigurationError, ModelError
from hokusai.records import TrainedModels
from hokusai.steps.hyperparameter_search import TuningSettings
from hokusai.tracking.parameters import TrainNewModelParameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hokusai.execution.executor import Executor
    from hokusai.models.column_kinds import ColumnKind
    from hokusai.models.trainers import Trainer
    from hokusai.records import Arm, FailedFit, IntegratedData, Metric, ModelFile, TrainedModel
    from hokusai.steps.fit_jobs import FitJob
    from hokusai.tracking.run import Run

__all__ = ["TrainingSettings", "train_new_model"]

CANDIDATE_MODEL = "candidate"
FAILED_FITS = "failed_fits.json"
NOTES = "training-notes.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Settings under ``[training]``.

    Attributes:
        estimator: What is trained: a class of scikit-learn by name or import path, ``LGBMClassifier``,
            ``XGBClassifier`` and their like, ``TextClassifier``, the name of an installed trainer, or
            ``module:attribute``.
        parameters: Its parameters, where they differ from its defaults.
        seeds: Fits per arm, with seeds 0, 1, 2 …; an estimator without randomness is fitted once.
        workers: Processes that fit at the same time; 0 for as many as pay off. The result does not depend on it.
        threads: Threads of every fit.
        tuning: Whether and how hyperparameters are searched for.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    estimator: str = "LogisticRegression"
    parameters: dict[str, Any] = field(default_factory=dict)
    seeds: Annotated[int, Interval(ge=1, le=1000)] = 5
    workers: Annotated[int, Interval(ge=0, le=256)] = 0
    threads: Annotated[int, Interval(ge=1, le=256)] = 1
    tuning: TuningSettings = field(default_factory=TuningSettings)


def train_new_model(
    settings: TrainingSettings,
    *,
    trainer: Trainer,
    data: IntegratedData,
    run: Run,
    metric: Metric | None = None,
    positive_class: str = "",
    executor: Executor | None = None,
) -> TrainedModels:
    """Fit the control on base data and the candidate on base data and contributions, with the same seeds.

    A seed whose fit does not succeed in one arm is left out of both. The candidate of the first seed that is left is
    kept as a safe model file.

    Args:
        settings: How to train.
        trainer: What is trained.
        data: The tables.
        run: The step's run.
        metric: What hyperparameters are tuned by; needed when there are trials.
        positive_class: The positive one of two classes, for that metric.
        executor: What runs the fits; by default what ``settings.workers`` says. It is closed afterwards.

    Raises:
        DataError: The tables are not what the estimator can be trained on.
        ConfigurationError: The settings do not fit the estimator.
        ModelError: No seed succeeded in both arms, or the model cannot be kept safely.
    """
    from hokusai.models.column_kinds import column_kinds
    from hokusai.steps.fit_jobs import fit_jobs, make_executor
    from hokusai.steps.label_checks import class_names, new_class_notes, require_trainable

    seeds = tuple(range(settings.seeds)) if trainer.is_random else (0,)
    kinds = column_kinds(data.base, data.features)
    _record_inputs(settings, trainer=trainer, seeds=seeds, kinds=kinds, data=data, run=run)
    require_trainable(data, trainer=trainer)
    classes = class_names(data) if trainer.task == "classification" else ()
    notes = new_class_notes(data) if classes else ()
    trainers: Mapping[Arm, Trainer] = {"control": trainer, "candidate": trainer}
    if settings.tuning.trials:
        trainers, note = _tuned(
            settings, trainer=trainer, data=data, kinds=kinds, metric=metric, positive_class=positive_class, run=run
        )
        notes = (*notes, note)
    jobs = fit_jobs(trainers, data=data, kinds=kinds, seeds=seeds, threads=settings.threads)
    models, failures = _fit_all(
        jobs, data=data, executor=executor or make_executor(settings.workers, jobs=jobs), run=run
    )
    _record_outcome(models, failures, notes=notes, run=run)
    kept = _seeds_of_both_arms(models, failures, estimator=trainer.name)
    file = _candidate_file(models["candidate", kept[0]], data=data, kinds=kinds)
    run.log_model(file)
    return TrainedModels(
        controls=tuple(models["control", seed] for seed in kept),
        candidates=tuple(models["candidate", seed] for seed in kept),
        task=trainer.task,
        classes=classes,
        estimator=trainer.name,
        is_random=trainer.is_random,
        model_name=CANDIDATE_MODEL,
        model_sha256=sha256(file.content) if isinstance(file.content, bytes) else file_sha256(file.content),
        failures=failures,
        notes=notes,
    )


def _record_inputs(
    settings: TrainingSettings,
    *,
    trainer: Trainer,
    seeds: tuple[int, ...],
    kinds: Mapping[str, ColumnKind],
    data: IntegratedData,
    run: Run,
) -> None:
    run.log_parameters(
        TrainNewModelParameters(
            estimator=trainer.name,
            estimator_parameters=settings.parameters,
            task=trainer.task,
            seeds=seeds,
            is_random=trainer.is_random,
            threads=settings.threads,
            column_kinds=kinds,
            tuning_trials=settings.tuning.trials,
            tuning_folds=settings.tuning.folds,
            tuning_space=settings.tuning.space,
        )
    )
    for version in data.versions:
        if version.context in ("base", "integrated"):
            run.log_dataset(version)


def _tuned(
    settings: TrainingSettings,
    *,
    trainer: Trainer,
    data: IntegratedData,
    kinds: Mapping[str, ColumnKind],
    metric: Metric | None,
    positive_class: str,
    run: Run,
) -> tuple[Mapping[Arm, Trainer], str]:
    """Return the trainer of each arm with the hyperparameters that were found for it, and what to say about them."""
    from hokusai.steps.hyperparameter_search import tune

    if metric is None:
        problem = "hyperparameters are tuned by a metric, and none was given."
        raise ConfigurationError(problem, key="training.tuning.trials")
    tuned = tune(
        settings.tuning,
        trainer=trainer,
        given=settings.parameters,
        data=data,
        kinds=kinds,
        metric=metric,
        positive_class=positive_class,
        threads=settings.threads,
        run=run,
    )
    return tuned.trainers, tuned.note


def _fit_all(
    jobs: list[FitJob], *, data: IntegratedData, executor: Executor, run: Run
) -> tuple[dict[tuple[Arm, int], TrainedModel], tuple[FailedFit, ...]]:
    """Run every fit; return the models by arm and seed, and the fits that did not succeed, by seed."""
    from hokusai.execution.executor import JobFailure
    from hokusai.steps.fit_jobs import failed_fit
    from hokusai.steps.loss_curves import LossCurves

    models: dict[tuple[Arm, int], TrainedModel] = {}
    failures: dict[int, FailedFit] = {}
    curves = LossCurves(run)
    with closing(executor):
        for ended in executor.run(
            jobs,
            tables={"control": data.base, "candidate": data.integrated},
            on_message=lambda number, loss: curves.add(jobs[number], loss),
        ):
            job = jobs[ended.job]
            if isinstance(ended, JobFailure):
                failures[ended.job] = failed_fit(job, ended)
                continue
            models[job.arm, job.seed] = ended.value.model
            run.log_metrics({f"training.{job.arm}.fit_seconds": ended.value.seconds}, step=job.seed)
        curves.record()
        run.log_metrics(
            {
                "training.control.rows": data.base.num_rows,
                "training.candidate.rows": data.integrated.num_rows,
                "training.workers": executor.workers,
            }
        )
    return models, tuple(failures[number] for number in sorted(failures))


def _record_outcome(
    models: Mapping[tuple[Arm, int], TrainedModel],
    failures: tuple[FailedFit, ...],
    *,
    notes: tuple[str, ...],
    run: Run,
) -> None:
    run.log_metrics({"training.failed_fits": len(failures)})
    if failures:
        run.log_json(FAILED_FITS, [{"arm": each.arm, "seed": each.seed, "reason": each.reason} for each in failures])
    if notes:
        run.log_text(NOTES, "\n".join(notes) + "\n")
    for arm in ("control", "candidate"):
        fitted = [model for (of, _), model in models.items() if of == arm]
        # A trainer of the user's own need not say what it was warned of.
        warned = sorted({text for model in fitted for text in getattr(model, "warnings", ())})
        if warned:
            run.log_text(f"warnings-{arm}.txt", "\n".join(warned) + "\n")


def _seeds_of_both_arms(
    models: Mapping[tuple[Arm, int], TrainedModel], failures: tuple[FailedFit, ...], *, estimator: str
) -> tuple[int, ...]:
    """Return the seeds that succeeded in both arms.

    Raises:
        ModelError: There is none.
    """
    kept = tuple(sorted(seed for arm, seed in models if arm == "control" and ("candidate", seed) in models))
    if not kept:
        first = failures[0]
        msg = (
            f"{estimator}: no seed could be fitted in both arms; {len(failures)} fits failed, the first one "
            f"({first.arm}, seed {first.seed}): {first.reason}"
        )
        raise ModelError(msg)
    return kept


def _candidate_file(model: TrainedModel, *, data: IntegratedData, kinds: Mapping[str, ColumnKind]) -> ModelFile:
    from hokusai.models.typical_row import typical_row

    return model.to_file(name=CANDIDATE_MODEL, example=typical_row(data.integrated, data.features, kinds))
