"""Finds a trainer by its name: of scikit-learn, LightGBM or XGBoost, one for texts, or one of the user's own."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hokusai.errors import ConfigurationError
from hokusai.models.own_trainers import find_entry_point, import_trainer
from hokusai.models.sklearn_trainer import SklearnTrainer, known_parameters, require_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sklearn.base import BaseEstimator

    from hokusai.models.trainers import Trainer

__all__ = ["find_trainer"]

_MODULES = (
    "linear_model",
    "ensemble",
    "tree",
    "svm",
    "neighbors",
    "naive_bayes",
    "discriminant_analysis",
    "neural_network",
    "dummy",
)
_BOOSTED = {
    "LGBMClassifier": "lightgbm",
    "LGBMRegressor": "lightgbm",
    "XGBClassifier": "xgboost",
    "XGBRegressor": "xgboost",
}
# One thread, so that the answer is the same wherever it is computed; and nothing on the terminal. LightGBM would
# otherwise choose by a stopwatch how it adds up, and so in which order.
_BOOSTED_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "lightgbm": {"n_jobs": 1, "verbose": -1},
    "xgboost": {"n_jobs": 1, "verbosity": 0},
}
_TEXT = {"TextClassifier": "LogisticRegression", "TextRegressor": "Ridge"}


def find_trainer(estimator: str, parameters: Mapping[str, Any], *, folder: Path | None) -> Trainer:
    """Return the trainer of a name; see :func:`hokusai.models.trainers.make_trainer`."""
    if ":" in estimator:
        return import_trainer(estimator, parameters, folder=folder)
    package, _, boosted = estimator.rpartition(".")
    if boosted in _BOOSTED and package in ("", _BOOSTED[boosted], f"{_BOOSTED[boosted]}.sklearn"):
        return _boosted(boosted, parameters)
    if estimator in _TEXT:
        linear = _find_class(_TEXT[estimator])
        return SklearnTrainer(name=estimator, estimator=linear(), words={}).with_parameters(parameters)
    found = _find_class(estimator)
    if found is None:
        own = find_entry_point(estimator, parameters)
        if own is not None:
            return own
        problem = (
            f"got {estimator!r}, expected a scikit-learn class such as LogisticRegression, Ridge, "
            "RandomForestClassifier or HistGradientBoostingClassifier, its path such as "
            "sklearn.linear_model.LogisticRegression, LGBMClassifier, XGBClassifier, TextClassifier, the name of an "
            "entry point of the group hokusai.trainers, or module:attribute."
        )
        raise ConfigurationError(problem, key="training.estimator")
    return _of_class(found, parameters)


def _of_class(found: type[BaseEstimator], parameters: Mapping[str, Any]) -> SklearnTrainer:
    from sklearn.base import is_classifier, is_regressor

    known = dict.fromkeys(inspect.signature(found).parameters)
    require_parameters(parameters, known=known, name=found.__name__)
    try:
        instance = found(**parameters)
    except TypeError as error:
        problem = f"{found.__name__} cannot be made without further arguments ({error})."
        raise ConfigurationError(problem, key="training.estimator") from error
    if not is_classifier(instance) and not is_regressor(instance):
        problem = f"{found.__name__} is neither a classifier nor a regressor."
        raise ConfigurationError(problem, key="training.estimator")
    return SklearnTrainer(name=_public_path(found), estimator=instance)


def _boosted(name: str, parameters: Mapping[str, Any]) -> SklearnTrainer:
    package = _BOOSTED[name]
    try:
        found = getattr(import_module(package), name)
    except ImportError as error:
        problem = f"{name} needs {package}: pip install 'hokusai-pipeline[{package}]'."
        raise ConfigurationError(problem, key="training.estimator") from error
    require_parameters(parameters, known=known_parameters(found()), name=name)
    defaults = dict(_BOOSTED_DEFAULTS[package])
    if package == "lightgbm" and not {"force_col_wise", "force_row_wise"} & set(parameters):
        defaults |= {"deterministic": True, "force_row_wise": True}
    return SklearnTrainer(name=f"{package}.{name}", estimator=found(**{**defaults, **parameters}))


def _find_class(name: str) -> Any:  # noqa: ANN401  (a class, or None)
    path, _, class_name = name.rpartition(".")
    package, _, module = path.partition(".")
    wanted = _MODULES if not path else (module,) if package == "sklearn" else ()
    for candidate in wanted:
        try:
            found = getattr(import_module(f"sklearn.{candidate}"), class_name, None)
        except ImportError:
            continue
        if inspect.isclass(found):
            return found
    return None


def _public_path(found: type[BaseEstimator]) -> str:
    module = ".".join(part for part in found.__module__.split(".") if not part.startswith("_"))
    return f"{'.'.join(module.split('.')[:2])}.{found.__name__}"
