"""Trainers: whatever fits a model to a table, the same way for every arm and seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa
    from sklearn.base import BaseEstimator

    from hokusai.models.column_kinds import ColumnKind
    from hokusai.records import Task, TrainedModel

__all__ = [
    "Progress",
    "Trainer",
    "TrainingTable",
    "estimator_of",
    "ignore_progress",
    "make_trainer",
    "require_sample_weight",
]

Progress: TypeAlias = Callable[[str, int, float], None]
"""Called by a fit with the name of a series, such as ``train_loss``, the iteration from 0, and the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTable:
    """What one fit learns from.

    Attributes:
        table: The rows.
        features: Columns to predict from.
        label: Column to predict.
        kinds: What each feature is, decided once from the base table, so that all arms are prepared alike.
        sample_weight: Column of the rows' weights, which is no feature; None where every row weighs the same.
    """

    table: pa.Table
    features: tuple[str, ...]
    label: str
    kinds: Mapping[str, ColumnKind]
    sample_weight: str | None = None


class Trainer(Protocol):
    """Settings from which any number of models are fitted. It can be sent to another process.

    Equal data, settings and seed give a model with equal predictions, bit for bit, on the same machine.
    """

    @property
    def name(self) -> str:
        """Its name on record, such as the import path of a scikit-learn class."""

    @property
    def task(self) -> Task:
        """What its models do."""

    @property
    def is_random(self) -> bool:
        """Whether its models depend on the seed."""

    def with_parameters(self, parameters: Mapping[str, Any]) -> Trainer:
        """Return a trainer that has these parameters, and its own where they say nothing.

        Raises:
            ConfigurationError: It does not take one of them.
        """

    def fit(self, data: TrainingTable, *, seed: int, progress: Progress) -> TrainedModel:
        """Fit one model.

        Args:
            data: What to learn from. It is not changed.
            seed: Where all chance of this fit comes from.
            progress: Is told of each iteration, during the fit or after it.

        Raises:
            TrainingError: The fit did not succeed.
        """


def ignore_progress(series: str, iteration: int, value: float) -> None:
    """Take no notice: the :data:`Progress` of a fit that nobody watches."""


def make_trainer(estimator: str, parameters: Mapping[str, Any], *, folder: Path | None = None) -> Trainer:
    """Find a trainer by its name and give it its parameters.

    Args:
        estimator: The name or import path of a scikit-learn class; ``LGBMClassifier``, ``LGBMRegressor``,
            ``XGBClassifier`` or ``XGBRegressor``; ``TextClassifier`` or ``TextRegressor``; the name of an entry point
            of the group ``hokusai.trainers``; or ``module:attribute``.
        parameters: Its parameters, where they differ from its defaults.
        folder: Where a module of ``module:attribute`` may stand, beside where Python looks for modules anyway.

    Raises:
        ConfigurationError: There is none of that name, it neither classifies nor regresses, or it does not take a
            parameter.
    """
    from hokusai.models.trainer_lookup import find_trainer  # it imports scikit-learn

    return find_trainer(estimator, parameters, folder=folder)


def estimator_of(trainer: Trainer) -> BaseEstimator | None:
    """Return the estimator or pipeline of scikit-learn that a trainer fits; None if nobody can know."""
    from hokusai.models.own_trainers import OwnTrainer
    from hokusai.models.sklearn_trainer import SklearnTrainer

    inner = trainer.trainer if isinstance(trainer, OwnTrainer) else trainer
    return inner.estimator if isinstance(inner, SklearnTrainer) else None


def require_sample_weight(trainer: Trainer) -> None:
    """Refuse a trainer that is known to take no sample weights, before anything is fitted.

    Raises:
        ConfigurationError: It takes none.
    """
    from hokusai.models.sklearn_trainer import takes_sample_weight

    estimator = estimator_of(trainer)
    if estimator is not None and not takes_sample_weight(estimator):
        problem = f"{trainer.name} takes no sample weights; leave data.sample_weight out, or choose another estimator."
        raise ConfigurationError(problem, key="training.estimator")
