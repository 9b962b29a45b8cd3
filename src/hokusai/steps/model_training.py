"""Step 3: the same trainer on base data alone and on base data with the contributions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from hokusai.digests import file_sha256, sha256
from hokusai.errors import ConfigurationError
from hokusai.records import TrainedModels
from hokusai.steps.hyperparameter_search import TuningSettings
from hokusai.steps.interim_analysis import SequentialSettings, seed_plan
from hokusai.tracking.parameters import TrainNewModelParameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hokusai.execution.executor import Executor
    from hokusai.models.column_kinds import ColumnKind
    from hokusai.models.trainers import Trainer
    from hokusai.records import Arm, FittedModel, IntegratedData, Metric, ModelFile, TrainedModel
    from hokusai.steps.arm_training import TrainedArms
    from hokusai.steps.interim_analysis import InterimAnalysis, SeedPlan
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
        control_seeds: Fits of the control; 0 for as many as the candidate has.
        keep_controls: Whether the control's fits are kept, and those of earlier evaluations are used again; neither
            changes a result.
        negative_controls: Whether two arms that should gain nothing are trained as well: the contribution with
            shuffled labels, and rows of the base drawn once more in its place.
        workers: Processes that fit at the same time; 0 for as many as pay off. The result does not depend on it.
        threads: Threads of every fit.
        tuning: Whether and how hyperparameters are searched for.
        sequential: Whether the candidate's seeds are fitted a few at a time, until they are enough.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    estimator: str = "LogisticRegression"
    parameters: dict[str, Any] = field(default_factory=dict)
    seeds: Annotated[int, Interval(ge=1, le=1000)] = 5
    control_seeds: Annotated[int, Interval(ge=0, le=1000)] = 0
    keep_controls: bool = True
    negative_controls: bool = False
    workers: Annotated[int, Interval(ge=0, le=256)] = 0
    threads: Annotated[int, Interval(ge=1, le=256)] = 1
    tuning: TuningSettings = field(default_factory=TuningSettings)
    sequential: SequentialSettings = field(default_factory=SequentialSettings)


def train_new_model(
    settings: TrainingSettings,
    *,
    trainer: Trainer,
    data: IntegratedData,
    run: Run,
    metric: Metric | None = None,
    positive_class: str = "",
    executor: Executor | None = None,
    interim: InterimAnalysis | None = None,
) -> TrainedModels:
    """Fit the control on base data and the candidate on base data and contributions, with the same seeds.

    A seed whose fit does not succeed in one arm is left out of both. The candidate of the first seed that is left is
    kept as a safe model file. Fits of the control are taken from earlier evaluations where everything that they depend
    on is the same, and answer as a fresh fit would, bit for bit.

    Args:
        settings: How to train.
        trainer: What is arms.
        data: The tables.
        run: The step's run.
        metric: What hyperparameters are tuned by; needed when there are trials.
        positive_class: The positive one of two classes, for that metric.
        executor: What runs the fits; by default what ``settings.workers`` says. It is closed afterwards.
        interim: Who looks at the fits; needed when there are looks.

    Raises:
        DataError: The tables are not what the estimator can be trained on.
        ConfigurationError: The settings do not fit the estimator, or nobody tunes or looks as they say.
        ModelError: No seed is left in one of the arms, or the model cannot be kept safely.
    """
    from hokusai.models.column_kinds import column_kinds
    from hokusai.steps.arm_training import train_arms
    from hokusai.steps.fit_jobs import fit_jobs, make_executor
    from hokusai.steps.label_checks import class_names, new_class_notes, require_trainable

    plan = seed_plan(
        seeds=settings.seeds,
        control_seeds=settings.control_seeds,
        looks=settings.sequential.looks,
        is_random=trainer.is_random,
    )
    if plan.is_sequential and interim is None:
        problem = "training is to be looked at, and nobody was given who looks."
        raise ConfigurationError(problem, key="training.sequential.looks")
    kinds = column_kinds(data.base, data.features)
    _record_inputs(settings, trainer=trainer, plan=plan, kinds=kinds, data=data, run=run)
    require_trainable(data, trainer=trainer)
    classes = class_names(data) if trainer.task == "classification" else ()
    notes = (*plan.notes, *(new_class_notes(data) if classes else ()))
    trainers: Mapping[Arm, Trainer] = {"control": trainer, "candidate": trainer}
    if settings.tuning.trials:
        trainers, note = _tuned(
            settings, trainer=trainer, data=data, kinds=kinds, metric=metric, positive_class=positive_class, run=run
        )
        notes = (*notes, note)
    jobs = fit_jobs(trainers, data=data, kinds=kinds, seeds=plan.all_seeds, threads=settings.threads)
    arms = train_arms(
        jobs,
        plan=plan,
        data=data,
        keep_controls=settings.keep_controls,
        negative_controls=settings.negative_controls,
        make_executor=lambda due: executor or make_executor(settings.workers, jobs=due),
        interim=interim,
        run=run,
    )
    notes = (*notes, *arms.notes)
    _record_outcome(arms, notes=notes, run=run)
    file = _candidate_file(arms.candidates[0], data=data, kinds=kinds)
    run.log_model(file)
    return TrainedModels(
        controls=arms.controls,
        candidates=arms.candidates,
        task=trainer.task,
        classes=classes,
        estimator=trainer.name,
        is_random=trainer.is_random,
        model_name=CANDIDATE_MODEL,
        model_sha256=sha256(file.content) if isinstance(file.content, bytes) else file_sha256(file.content),
        failures=arms.failures,
        negative_controls=arms.negative_controls,
        looks=arms.looks,
        notes=notes,
    )


def _record_inputs(
    settings: TrainingSettings,
    *,
    trainer: Trainer,
    plan: SeedPlan,
    kinds: Mapping[str, ColumnKind],
    data: IntegratedData,
    run: Run,
) -> None:
    run.log_parameters(
        TrainNewModelParameters(
            estimator=trainer.name,
            estimator_parameters=settings.parameters,
            task=trainer.task,
            seeds=plan.seeds("candidate"),
            control_seeds=plan.seeds("control"),
            looks=settings.sequential.looks if plan.is_sequential else (),
            negative_controls=settings.negative_controls,
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


def _record_outcome(arms: TrainedArms, *, notes: tuple[str, ...], run: Run) -> None:
    run.log_metrics(
        {
            "training.failed_fits": len(arms.failures),
            "training.control.fits_reused": arms.reused,
            "training.looks": arms.looks,
            "training.workers": arms.workers,
        }
    )
    if arms.failures:
        run.log_json(
            FAILED_FITS, [{"arm": each.arm, "seed": each.seed, "reason": each.reason} for each in arms.failures]
        )
    # What the cache did is a matter of this machine: on record, but no part of the result.
    if written := [*notes, *arms.problems]:
        run.log_text(NOTES, "\n".join(written) + "\n")
    fitted: Mapping[Arm, Sequence[FittedModel]] = {
        "control": arms.controls,
        "candidate": arms.candidates,
        **arms.negative_controls,
    }
    for arm, models in fitted.items():
        # A trainer of the user's own need not say what it was warned of.
        warned = sorted({text for model in models for text in getattr(model, "warnings", ())})
        if warned:
            run.log_text(f"warnings-{arm}.txt", "\n".join(warned) + "\n")


def _candidate_file(model: TrainedModel, *, data: IntegratedData, kinds: Mapping[str, ColumnKind]) -> ModelFile:
    from hokusai.models.typical_row import typical_row

    return model.to_file(name=CANDIDATE_MODEL, example=typical_row(data.integrated, data.features, kinds))
