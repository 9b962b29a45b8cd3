"""Trainers of the user's own: ``module:attribute``, and entry points of installed packages."""

from __future__ import annotations

import inspect
import pickle
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hokusai.models.trainers import Progress, Trainer, TrainingTable
    from hokusai.records import Task, TrainedModel

__all__ = ["ENTRY_POINTS", "OwnTrainer", "find_entry_point", "import_attribute", "import_trainer"]

ENTRY_POINTS = "hokusai.trainers"
"""The group of entry points under which packages offer trainers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTrainer:
    """A trainer from a module of the user's own, which it imports again wherever it is sent.

    Attributes:
        address: Its ``module:attribute``, which is where it was found.
        folder: Where the module may stand, beside where Python looks for modules anyway.
        parameters: What the attribute was called with.
        trainer: What came of it.
    """

    address: str
    folder: Path | None
    parameters: Mapping[str, Any]
    trainer: Trainer

    @property
    def name(self) -> str:
        """Its own name."""
        return self.trainer.name

    @property
    def task(self) -> Task:
        """What its models do."""
        return self.trainer.task

    @property
    def is_random(self) -> bool:
        """Whether its models depend on the seed."""
        return self.trainer.is_random

    def with_parameters(self, parameters: Mapping[str, Any]) -> OwnTrainer:
        """Return the trainer that comes of these parameters, and of its own where they say nothing.

        Raises:
            ConfigurationError: It does not take one of them.
        """
        return import_trainer(self.address, {**self.parameters, **parameters}, folder=self.folder)

    def fit(self, data: TrainingTable, *, seed: int, progress: Progress) -> TrainedModel:
        """Fit one model.

        Raises:
            TrainingError: The fit did not succeed.
        """
        return self.trainer.fit(data, seed=seed, progress=progress)

    def __reduce__(self) -> tuple[object, ...]:
        """Travel as bytes: what reads them first has to find the module."""
        return _arrive, (self.address, self.folder, self.parameters, pickle.dumps(self.trainer))


def _arrive(address: str, folder: Path | None, parameters: Mapping[str, Any], trainer: bytes) -> OwnTrainer:
    with _importable(folder):
        import_module(address.partition(":")[0])
        # These bytes came with the same pickle that called this function.
        return OwnTrainer(address=address, folder=folder, parameters=parameters, trainer=pickle.loads(trainer))  # noqa: S301


def import_trainer(address: str, parameters: Mapping[str, Any], *, folder: Path | None) -> OwnTrainer:
    """Return the trainer at ``module:attribute``.

    The attribute is a function or class, which is called with the parameters and gives a trainer or an estimator, or it
    is one of the two itself.

    Raises:
        ConfigurationError: It cannot be imported, or there is neither; or it does not take the parameters.
    """
    found = import_attribute(address, folder=folder, key="training.estimator")
    return _made(found, parameters, address=address, folder=folder)


def import_attribute(address: str, *, folder: Path | None, key: str) -> Any:  # noqa: ANN401  (anything that a user wrote)
    """Return what stands at ``module:attribute``.

    Args:
        address: Where it is.
        folder: Where the module may stand, beside where Python looks for modules anyway.
        key: The setting that names it.

    Raises:
        ConfigurationError: It cannot be imported.
    """
    module, _, attribute = address.partition(":")
    try:
        with _importable(folder):
            found: Any = import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        beside = f" in {folder} or" if folder else ""
        problem = f"{address!r} cannot be imported ({error}); expected module:attribute{beside} where Python looks."
        raise ConfigurationError(problem, key=key) from error
    return found


def find_entry_point(name: str, parameters: Mapping[str, Any]) -> OwnTrainer | None:
    """Return the trainer that an installed package offers under a name; None when none does.

    Raises:
        ConfigurationError: Several packages do, or what is there is no trainer.
    """
    offered = sorted({point.value for point in entry_points(group=ENTRY_POINTS, name=name)}) if name else []
    if len(offered) > 1:
        problem = f"several packages offer {name!r}: {', '.join(offered)}. Name one of them in this way."
        raise ConfigurationError(problem, key="training.estimator")
    return import_trainer(offered[0].replace(" ", ""), parameters, folder=None) if offered else None


def _made(found: Any, parameters: Mapping[str, Any], *, address: str, folder: Path | None) -> OwnTrainer:  # noqa: ANN401
    """Call what was found, unless it is a trainer or an estimator already."""
    from hokusai.models.sklearn_trainer import require_parameters

    trainer = None if inspect.isclass(found) else _as_trainer(found, address)
    if trainer is not None:
        trainer = trainer.with_parameters(parameters) if parameters else trainer
    elif callable(found):
        require_parameters(parameters, known=parameters, name=address)
        try:
            inspect.signature(found).bind(**parameters)
        except TypeError as error:
            problem = f"{address} cannot be called with these parameters ({error})."
            raise ConfigurationError(problem, key="training.parameters") from error
        except ValueError:
            # A few things written in C do not say what they take.
            pass
        trainer = _as_trainer(found(**parameters), address)
    if trainer is None:
        problem = f"{address} gives neither a trainer nor a scikit-learn classifier, regressor or pipeline of them."
        raise ConfigurationError(problem, key="training.estimator")
    return OwnTrainer(address=address, folder=folder, parameters=dict(parameters), trainer=trainer)


def _as_trainer(found: Any, address: str) -> Trainer | None:  # noqa: ANN401  (anything that a user wrote)
    from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
    from sklearn.pipeline import Pipeline

    from hokusai.models.sklearn_trainer import SklearnTrainer

    if isinstance(found, BaseEstimator):
        if not is_classifier(found) and not is_regressor(found):
            return None
        return SklearnTrainer(name=address, estimator=clone(found), prepares_itself=isinstance(found, Pipeline))
    members = ("name", "task", "is_random", "with_parameters", "fit")
    return found if all(hasattr(found, member) for member in members) else None


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    """Let Python look for modules in a folder first, as it does for a script's."""
    place = str(folder.resolve()) if folder else None
    if place:
        sys.path.insert(0, place)
    try:
        yield
    finally:
        if place:
            sys.path.remove(place)
