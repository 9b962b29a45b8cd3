"""Searches each arm's hyperparameters within the base data, before the arms are trained; never on the benchmark.

Folds are cut from the base rows. The control's trials train on the base rows of the other folds, the candidate's on
those and all contributed rows; both are scored on the same folds, with the same budget and the same sampler seed.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from hokusai.errors import ConfigurationError, DataError, ModelError
from hokusai.models.trainers import TrainingTable, ignore_progress
from hokusai.steps.negative_controls import contributed_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from hokusai.analysis.metrics import BenchmarkTruth
    from hokusai.digests import JsonValue
    from hokusai.models.column_kinds import ColumnKind
    from hokusai.models.trainers import Trainer
    from hokusai.models.tuning import Dimension, Trial
    from hokusai.records import Arm, IntegratedData, Metric
    from hokusai.tracking.run import Run

__all__ = ["TunedTrainers", "TuningSettings", "require_space", "tune"]

SEED = 0
"""Of the folds, the sampler and every fit of the search."""
_SEED_NAMES = ("random_state", "seed", "random_seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSettings:
    """Settings under ``[training.tuning]``.

    Attributes:
        trials: Sets of hyperparameters to try for each arm, the given ones first; 0 to use the given ones untried.
        folds: Parts that the base data are cut into; each is scored by models trained on the others.
        space: What to search, by parameter: a list of choices, or a range ``{low, high}`` with ``log = true`` or a
            ``step`` where wanted; whole numbers where low and high are whole.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    trials: Annotated[int, Interval(ge=0, le=10_000)] = 0
    folds: Annotated[int, Interval(ge=2, le=100)] = 3
    space: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedTrainers:
    """What the search chose for each arm.

    Attributes:
        trainers: The trainer of each arm, with the parameters that were best there.
        parameters: These parameters, the given ones included.
        note: What the report should say about them; one sentence.
    """

    trainers: Mapping[Arm, Trainer]
    parameters: Mapping[Arm, Mapping[str, JsonValue]]
    note: str


def require_space(settings: TuningSettings, trainer: Trainer) -> None:
    """Check the search space before any work.

    Raises:
        ConfigurationError: The space is empty although there are trials, a parameter has no values to draw, the
            trainer does not take one, or Optuna is not installed. The error names the key.
    """
    from hokusai.models.tuning import SPACE, make_space, require_optuna

    if settings.trials:
        require_optuna()
        if not settings.space:
            problem = "is empty, expected what to search, such as C = {low = 0.01, high = 10.0, log = true}."
            raise ConfigurationError(problem, key=SPACE)
    for name, dimension in make_space(settings.space).items():
        key = f"{SPACE}.{name}"
        if name.rpartition("__")[2] in _SEED_NAMES:
            problem = "the seed belongs to Hokusai, which fits every arm with seeds 0, 1, 2 …; leave it out."
            raise ConfigurationError(problem, key=key)
        for value in dimension.examples:
            try:
                trainer.with_parameters({name: value})
            except ConfigurationError as error:
                raise ConfigurationError(error.problem, key=key) from error


def tune(
    settings: TuningSettings,
    *,
    trainer: Trainer,
    given: Mapping[str, Any],
    data: IntegratedData,
    kinds: Mapping[str, ColumnKind],
    metric: Metric,
    positive_class: str = "",
    threads: int = 1,
    run: Run,
) -> TunedTrainers:
    """Search the hyperparameters of control and candidate by cross-validation on the base data.

    The given parameters are always tried first, and win where nothing is better. Every trial is recorded: as a point
    of the series ``training.ARM.tuning_score`` when it is done, and in the artifact ``tuning-ARM.json``.

    Args:
        settings: Budget and space; at least one trial.
        trainer: What is tuned.
        given: The parameters that it has been given.
        data: Base and integrated rows. The benchmark in it is not used.
        kinds: What each feature is.
        metric: What trials are compared by: the metric that will decide.
        positive_class: The positive one of two classes; empty for the greater one.
        threads: Threads of each fit.
        run: The step's run.

    Raises:
        ConfigurationError: As :func:`require_space`.
        DataError: There are too few base rows for the folds.
        ModelError: No trial of an arm succeeded.
    """
    from threadpoolctl import threadpool_limits

    from hokusai.models.tuning import make_space

    require_space(settings, trainer)
    space = make_space(settings.space)
    validation = _Validation.cut(data, folds=settings.folds, metric=metric, positive_class=positive_class)
    chosen: dict[Arm, Trial] = {}
    with threadpool_limits(limits=threads):
        for arm in _arms():
            scorer = _Scorer(arm=arm, trainer=trainer, data=data, kinds=kinds, validation=validation)
            chosen[arm] = _search_arm(settings, space, scorer, given=given, run=run)
    parameters = {arm: dict(trial.parameters) for arm, trial in chosen.items()}
    return TunedTrainers(
        trainers={arm: trainer.with_parameters(parameters[arm]) for arm in parameters},
        parameters=parameters,
        note=_note(settings, chosen, metric=metric),
    )


def _arms() -> tuple[Arm, Arm]:
    return ("control", "candidate")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Validation:
    """The folds that both arms are scored on.

    Attributes:
        base: The fold of every base row; -1 for rows that are always trained on.
        left_out: By fold, which rows of the integrated table may not be trained on when that fold is scored.
        truths: The labels of each fold.
        metric: What is scored.
    """

    base: NDArray[np.int64]
    left_out: tuple[NDArray[np.bool_], ...]
    truths: tuple[BenchmarkTruth, ...]
    metric: Metric

    @classmethod
    def cut(cls, data: IntegratedData, *, folds: int, metric: Metric, positive_class: str) -> _Validation:
        """Cut folds from the base rows, and find what would give them away among the integrated ones."""
        import numpy as np

        from hokusai.analysis.metrics import BenchmarkTruth
        from hokusai.models.labels import label_texts, label_values
        from hokusai.models.tuning import stratified_folds

        labels = label_values(data.base[data.label])
        classes: tuple[str, ...] = ()
        positive = None
        if metric.task == "classification":
            values, codes = np.unique(
                np.concatenate([labels, label_values(data.integrated[data.label])]), return_inverse=True
            )
            classes, actual = label_texts(values), codes[: len(labels)]
            if len(classes) == 2:
                positive = classes.index(positive_class) if positive_class in classes else 1
            assigned = stratified_folds(actual, folds=folds, seed=SEED)
        else:
            actual = labels.astype(np.float64)
            assigned = stratified_folds(np.zeros(len(labels), dtype=np.int64), folds=folds, seed=SEED)
        masks = [assigned == fold for fold in range(folds)]
        if min(int(mask.sum()) for mask in masks) < 2:
            problem = f"has {len(labels)} rows, too few for {folds} folds of two rows or more from repeated classes."
            raise DataError("base data", f"{problem} Lower training.tuning.folds, or set training.tuning.trials = 0.")
        truths = [BenchmarkTruth(actual=actual[mask], classes=classes, positive=positive) for mask in masks]
        return cls(base=assigned, left_out=_left_out(data, masks), truths=tuple(truths), metric=metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scorer:
    """Scores parameters of one arm, fold by fold."""

    arm: Arm
    trainer: Trainer
    data: IntegratedData
    kinds: Mapping[str, ColumnKind]
    validation: _Validation

    def training_rows(self, fold: int) -> NDArray[np.bool_]:
        """Which rows of the arm's table are trained on when a fold is scored."""
        import numpy as np

        validation = self.validation
        return np.not_equal(validation.base, fold) if self.arm == "control" else ~validation.left_out[fold]

    def score(self, parameters: Mapping[str, JsonValue], fold: int) -> float:
        """Fit on the other folds and score this one.

        Raises:
            ModelError: The fit did not succeed, or its score has no value.
        """
        import pyarrow as pa

        from hokusai.analysis.metrics import UndefinedEvaluation, evaluate

        data, validation = self.data, self.validation
        table = (data.base if self.arm == "control" else data.integrated).filter(pa.array(self.training_rows(fold)))
        if not table.num_rows:
            raise ModelError(f"fold {fold}: every contributed row equals a row that is scored; nothing is left to fit.")
        training = TrainingTable(
            table=table, features=data.features, label=data.label, kinds=self.kinds, sample_weight=data.sample_weight
        )
        model = self.trainer.with_parameters(parameters).fit(training, seed=SEED, progress=ignore_progress)
        truth = validation.truths[fold]
        scored = data.base.filter(pa.array(validation.base == fold))
        evaluation = evaluate(validation.metric, truth, model.predict(scored, classes=truth.classes))
        if isinstance(evaluation, UndefinedEvaluation):
            raise ModelError(f"fold {fold}: {validation.metric.name} has no value: {evaluation.reason}.")
        if not math.isfinite(evaluation.value):
            raise ModelError(f"fold {fold}: {validation.metric.name} is {evaluation.value}.")
        return float(evaluation.value)


def _search_arm(
    settings: TuningSettings, space: Mapping[str, Dimension], scorer: _Scorer, *, given: Mapping[str, Any], run: Run
) -> Trial:
    """Search for one arm, record what was tried, and return the best trial."""
    from hokusai.models.tuning import best_trial, search

    metric = scorer.validation.metric
    trials = []
    for trial in search(
        space,
        given=given,
        trials=settings.trials,
        folds=settings.folds,
        seed=SEED,
        higher_is_better=metric.higher_is_better,
        score=scorer.score,
    ):
        trials.append(trial)
        if trial.mean_score is not None:
            run.log_metrics({f"training.{scorer.arm}.tuning_score": trial.mean_score}, step=trial.number)
    best = best_trial(trials, higher_is_better=metric.higher_is_better)
    run.log_json(f"tuning-{scorer.arm}.json", _document(settings, scorer, trials, best=best))
    if best is None:
        problem = f"tuning the {scorer.arm}: all {len(trials)} trials failed; the first one: {trials[0].problem}"
        raise ModelError(f"{problem} Change training.tuning.space, or set training.tuning.trials = 0.")
    return best


def _document(
    settings: TuningSettings, scorer: _Scorer, trials: Sequence[Trial], *, best: Trial | None
) -> dict[str, JsonValue]:
    """Return everything that was tried for one arm."""
    validation = scorer.validation
    return {
        "version": 1,
        "arm": scorer.arm,
        "estimator": scorer.trainer.name,
        "metric": validation.metric.name,
        "higher_is_better": validation.metric.higher_is_better,
        "sampler": f"optuna {version('optuna')} TPESampler",
        "seed": SEED,
        "space": settings.space,
        "folds": [
            {"training_rows": int(scorer.training_rows(fold).sum()), "scored_rows": len(truth.actual)}
            for fold, truth in enumerate(validation.truths)
        ],
        "trials": [
            {
                "number": trial.number,
                "state": "failed" if trial.problem else "complete",
                "parameters": dict(trial.parameters),
                "scores": list(trial.scores),
                "mean_score": trial.mean_score,
                "repeats": trial.repeats,
                "problem": trial.problem,
            }
            for trial in trials
        ],
        "chosen": None if best is None else best.number,
    }


def _left_out(data: IntegratedData, masks: Sequence[NDArray[np.bool_]]) -> tuple[NDArray[np.bool_], ...]:
    """Return by fold which integrated rows would give its rows away.

    These are the fold's own rows, the rows that took the place of one of them by its key, and contributed rows that say
    the same in all features: copies that were kept, and copies with another label.
    """
    from hokusai.datasets.row_digests import contained_in, row_digests

    def digests(table: pa.Table, columns: Sequence[str]) -> NDArray[np.void]:
        return row_digests(table.select(columns), fold_negative_zero=True)

    # What is neither feature nor label nor weight is the key, by which a row may have replaced another one.
    known = {*data.features, data.label, data.sample_weight}
    key = [name for name in data.base.column_names if name not in known]
    kept = data.base_rows
    contributed = contributed_rows(data)
    features, own_features = digests(data.integrated, data.features), digests(data.base, data.features)
    keys, own_keys = (digests(data.integrated, key), digests(data.base, key)) if key else (None, None)
    left_out = []
    for mask in masks:
        hidden = contributed & contained_in(features, own_features[mask])
        if keys is not None and own_keys is not None:
            hidden |= contained_in(keys, own_keys[mask])
        elif kept:
            hidden[:kept] |= mask
        left_out.append(hidden)
    return tuple(left_out)


def _note(settings: TuningSettings, chosen: Mapping[Arm, Trial], *, metric: Metric) -> str:
    budget = f"{settings.trials} trials and {settings.folds} folds of the base data for each arm, by {metric.name}"
    control, candidate = chosen["control"].parameters, chosen["candidate"].parameters
    names = sorted(name for name in {*control, *candidate} if _shown(control, name) != _shown(candidate, name))
    if not names:
        return f"Tuned within {budget}: control and candidate have the same hyperparameters."
    differences = ", ".join(
        f"{name} is {_shown(control, name)} for the control and {_shown(candidate, name)} for the candidate"
        for name in names
    )
    return f"Tuned within {budget}: {differences}; the delta is that of data and tuning together."


def _shown(parameters: Mapping[str, JsonValue], name: str) -> str:
    return json.dumps(parameters[name], ensure_ascii=False) if name in parameters else "the default"
