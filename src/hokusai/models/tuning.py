"""Searches hyperparameters: from a space of values and a score to the trials that were made.

The search knows no data: it asks for the score of a set of parameters on a fold. Equal spaces, seeds and scores give
equal trials. The sampler is Optuna's (the extra ``tuning``).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from hokusai.errors import ConfigurationError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

    from hokusai.digests import JsonValue

__all__ = [
    "SPACE",
    "Choices",
    "Dimension",
    "Range",
    "Trial",
    "best_trial",
    "make_space",
    "require_optuna",
    "search",
    "stratified_folds",
]

SPACE = "training.tuning.space"
"""The setting that holds the space."""
_RANGE_KEYS = ("low", "high", "log", "step")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """A parameter that is one of some values.

    Attributes:
        values: The values, each once.
    """

    values: tuple[JsonValue, ...]

    @property
    def examples(self) -> tuple[JsonValue, ...]:
        """Values to try a trainer with: if it takes these, it takes all."""
        return self.values

    @property
    def distribution(self) -> BaseDistribution:
        """What Optuna draws from: the places of the values, because it compares 1 and true as equal."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(tuple(range(len(self.values))))

    def from_drawn(self, drawn: JsonValue) -> JsonValue:
        """Return the value that Optuna has drawn."""
        return self.values[cast("int", drawn)]

    def to_drawn(self, value: JsonValue) -> JsonValue:
        """Return what Optuna would have drawn for a value; None when it never would."""
        texts = [_as_text(each) for each in self.values]
        return texts.index(_as_text(value)) if _as_text(value) in texts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A parameter that is a number between two others, both included: whole numbers where both are.

    Attributes:
        low: The least value.
        high: The greatest value.
        log: Whether its logarithm is drawn evenly.
        step: The distance between values; None where there is none to keep.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def examples(self) -> tuple[JsonValue, ...]:
        """Values to try a trainer with: if it takes these, it takes all."""
        return (self.low, self.high)

    @property
    def distribution(self) -> BaseDistribution:
        """What Optuna draws from."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.is_whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def from_drawn(self, drawn: JsonValue) -> JsonValue:
        """Return the value that Optuna has drawn."""
        return drawn

    def to_drawn(self, value: JsonValue) -> JsonValue:
        """Return what Optuna would have drawn for a value; None when it never would."""
        kinds: tuple[type, ...] = (int,) if self.is_whole else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool):
            return None
        number = cast("float", value)
        step = self.step or (1 if self.is_whole else None)
        is_in = self.low <= number <= self.high and (step is None or _is_reached(number, self.low, step))
        return number if is_in else None


Dimension: TypeAlias = Choices | Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One set of parameters that was tried.

    Attributes:
        number: Its number, from 0; the given parameters are number 0.
        parameters: All parameters that differ from the trainer's defaults.
        scores: Its score on each fold, as far as it came.
        problem: Why it failed; empty when it did not.
        repeats: Number of the earlier trial with equal parameters, whose scores it has; None when there is none.
    """

    number: int
    parameters: Mapping[str, JsonValue]
    scores: tuple[float, ...]
    problem: str = ""
    repeats: int | None = None

    @property
    def mean_score(self) -> float | None:
        """The mean over the folds, which the search goes by; None when the trial failed."""
        return None if self.problem else math.fsum(self.scores) / len(self.scores)


def make_space(table: Mapping[str, object]) -> dict[str, Dimension]:
    """Return the search space that the settings describe.

    Args:
        table: By parameter: a list of choices, or a table ``{low, high}`` with ``log`` or ``step`` where wanted.

    Raises:
        ConfigurationError: A parameter has no values to draw; the error names its key.
    """
    return {name: _dimension(described, key=f"{SPACE}.{name}") for name, described in table.items()}


def require_optuna() -> None:
    """Refuse to go on without the library that searches.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        import optuna  # noqa: F401  (asked for, used elsewhere)
    except ImportError as error:
        problem = "tuning needs Optuna, which is not installed: pip install 'hokusai-pipeline[tuning]'."
        raise ConfigurationError(problem, key="training.tuning.trials") from error


def search(
    space: Mapping[str, Dimension],
    *,
    given: Mapping[str, JsonValue],
    trials: int,
    folds: int,
    seed: int,
    higher_is_better: bool,
    score: Callable[[Mapping[str, JsonValue], int], float],
) -> Iterator[Trial]:
    """Try the given parameters, then others from the space, each on every fold; yield each trial when it is done.

    Args:
        space: What is searched.
        given: Parameters that hold where the space says nothing, and all of them in the first trial.
        trials: How many trials, the first one included.
        folds: How many folds.
        seed: Where all chance of the search comes from.
        higher_is_better: Which way is better.
        score: Returns the score of parameters on a fold, counted from 0. A ModelError ends the trial: it counts as
            worse than every other one.
    """
    from optuna.trial import TrialState, create_trial

    study = _study(seed, higher_is_better=higher_is_better)
    distributions = {name: dimension.distribution for name, dimension in space.items()}
    tried: dict[str, Trial] = {}
    for number in range(trials):
        drawn = study.ask(distributions) if number else None
        changed = {name: space[name].from_drawn(value) for name, value in drawn.params.items()} if drawn else {}
        trial = _try(number, {**given, **changed}, folds=folds, score=score, tried=tried)
        tried.setdefault(_as_text(trial.parameters), trial)
        if drawn is not None:
            failed = trial.mean_score is None
            study.tell(drawn, trial.mean_score, state=TrialState.PRUNED if failed else TrialState.COMPLETE)
        elif trial.mean_score is not None:
            known = {name: space[name].to_drawn(given[name]) for name in space if name in given}
            known = {name: value for name, value in known.items() if value is not None}
            used = {name: distributions[name] for name in known}
            study.add_trial(create_trial(params=known, distributions=used, value=trial.mean_score))
        yield trial


def best_trial(trials: Sequence[Trial], *, higher_is_better: bool) -> Trial | None:
    """Return the trial with the best mean score, the first of equal ones; None when all have failed."""
    sign = -1 if higher_is_better else 1
    scored = [(sign * trial.mean_score, trial.number, trial) for trial in trials if trial.mean_score is not None]
    return min(scored, key=lambda item: item[:2])[2] if scored else None


def stratified_folds(strata: NDArray[np.integer[Any]], *, folds: int, seed: int) -> NDArray[np.int64]:
    """Return a fold for every row, so that folds are equally large and each stratum is spread evenly.

    A row that is alone in its stratum is in no fold, which is -1: scored, it would be of a class that nobody could have
    learned. Of every other stratum, the rows outside a fold have at least one.

    Args:
        strata: Shape (rows,): codes of the strata, from 0.
        folds: How many folds, at least 2.
        seed: Where all chance comes from.
    """
    import numpy as np

    shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(np.bincount(strata)[strata] > 1))
    # Rows of a stratum are dealt one after the other, so that they never all come to the same fold.
    dealt = shuffled[np.argsort(strata[shuffled], kind="stable")]
    assigned = np.full(len(strata), -1, dtype=np.int64)
    assigned[dealt] = np.arange(len(dealt)) % folds
    return assigned


def _try(
    number: int,
    parameters: Mapping[str, JsonValue],
    *,
    folds: int,
    score: Callable[[Mapping[str, JsonValue], int], float],
    tried: Mapping[str, Trial],
) -> Trial:
    earlier = tried.get(_as_text(parameters))
    if earlier is not None:
        return Trial(
            number=number,
            parameters=parameters,
            scores=earlier.scores,
            problem=earlier.problem,
            repeats=earlier.number,
        )
    scores: list[float] = []
    problem = ""
    try:
        for fold in range(folds):
            scores.append(score(parameters, fold))  # noqa: PERF401  (what was scored before a failure is kept)
    except ModelError as error:
        problem = str(error)
    return Trial(number=number, parameters=parameters, scores=tuple(scores), problem=problem)


def _study(seed: int, *, higher_is_better: bool) -> Study:
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            direction="maximize" if higher_is_better else "minimize", sampler=optuna.samplers.TPESampler(seed=seed)
        )
    finally:
        optuna.logging.set_verbosity(verbosity)


def _dimension(described: object, *, key: str) -> Dimension:
    if isinstance(described, dict):
        return _range(described, key=key)
    if not isinstance(described, (list, tuple)):
        problem = f"got {described!r:.80}, expected a list of choices, or a range such as {{low = 0.01, high = 10.0}}."
        raise ConfigurationError(problem, key=key)
    if not described:
        raise ConfigurationError("is empty, expected at least one choice.", key=key)
    try:
        texts = [_as_text(value) for value in described]
    except (TypeError, ValueError) as error:
        problem = f"cannot be put on record exactly ({error}); expected texts, truth values and finite numbers."
        raise ConfigurationError(problem, key=key) from error
    for place, text in enumerate(texts):
        if text in texts[:place]:
            raise ConfigurationError(f"has the choice {described[place]!r:.80} twice, expected each once.", key=key)
    return Choices(values=tuple(described))


def _range(described: dict[str, object], *, key: str) -> Range:
    unknown = sorted(set(described) - set(_RANGE_KEYS))
    missing = [name for name in ("low", "high") if name not in described]
    if unknown or missing:
        what = f"has the key {unknown[0]!r}" if unknown else f"has no {missing[0]!r}"
        raise ConfigurationError(f"{what}, expected low and high, and log or step where wanted.", key=key)
    low, high = _number(described["low"], f"{key}.low"), _number(described["high"], f"{key}.high")
    log = described.get("log", False)
    step = _number(described["step"], f"{key}.step") if described.get("step") is not None else None
    if not isinstance(log, bool):
        raise ConfigurationError(f"got {log!r:.80}, expected true or false.", key=f"{key}.log")
    if low >= high:
        raise ConfigurationError(f"got {low}, expected less than high, which is {high}.", key=f"{key}.low")
    if log and low <= 0:
        raise ConfigurationError(f"got {low}, expected more than 0, because log is true.", key=f"{key}.low")
    found = Range(low=low, high=high, log=log, step=step)
    if step is not None:
        _require_step(found, step, key=f"{key}.step")
    return found


def _require_step(described: Range, step: float, *, key: str) -> None:
    problem = ""
    if described.log:
        problem = "cannot be kept when log is true; leave one of them out."
    elif step <= 0:
        problem = f"got {step}, expected more than 0."
    elif described.is_whole and not isinstance(step, int):
        problem = f"got {step}, expected a whole number, because low and high are."
    elif not _is_reached(described.high, described.low, step):
        problem = f"got {step}, expected one that leads from low, {described.low}, to high, {described.high}."
    if problem:
        raise ConfigurationError(problem, key=key)


def _number(value: object, key: str) -> float:
    """Return a number as it is: a whole one stays whole."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigurationError(f"got {value!r:.80}, expected a finite number.", key=key)
    return value


def _is_reached(number: float, low: float, step: float) -> bool:
    # In decimals, because 0.3 is no multiple of 0.1 in binary fractions.
    return (Decimal(str(number)) - Decimal(str(low))) % Decimal(str(step)) == 0


def _as_text(value: JsonValue) -> str:
    # Not canonical JSON, which writes 1.0 as 1: to scikit-learn one feature and all of them may differ by that.
    return json.dumps(value, sort_keys=True, allow_nan=False)
