"""Where an estimator's chance comes from: found in all of its parts, and set from one seed."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sklearn.base import BaseEstimator

__all__ = ["is_random", "seeded"]

_SEED = "random_state"
# These solvers visit the rows in random order; the others do not use their seed.
_RANDOM_SOLVERS = {"sag", "saga", "liblinear"}
_SAMPLED = ("subsample", "colsample_bytree", "colsample_bylevel", "colsample_bynode")


def _solves_randomly(parameters: Mapping[str, Any]) -> bool:
    return parameters["solver"] in _RANDOM_SOLVERS


def _selects_randomly(parameters: Mapping[str, Any]) -> bool:
    return bool(parameters["selection"] == "random")


def _estimates_randomly(parameters: Mapping[str, Any]) -> bool:
    return parameters.get("probability") is True


def _samples(parameters: Mapping[str, Any]) -> bool:
    is_plain = parameters.get("booster") in (None, "gbtree") and parameters.get("num_parallel_tree") in (None, 1)
    is_stopped = parameters.get("early_stopping_rounds") is not None
    return is_stopped or not is_plain or any(parameters.get(name) not in (None, 1, 1.0) for name in _SAMPLED)


# Estimators that have a seed and, with some settings, make no use of it. Of all others it is assumed that they do.
_USES_SEED: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "LogisticRegression": _solves_randomly,
    "LogisticRegressionCV": _solves_randomly,
    "SVC": _estimates_randomly,
    "Ridge": _solves_randomly,
    "RidgeClassifier": _solves_randomly,
    "Lasso": _selects_randomly,
    "ElasticNet": _selects_randomly,
    "XGBClassifier": _samples,
    "XGBRegressor": _samples,
}


def is_random(estimator: BaseEstimator) -> bool:
    """Return whether the result of a fit depends on the seed, of the estimator itself or of any of its parts."""
    parameters = estimator.get_params(deep=False)
    uses_seed = _USES_SEED.get(type(estimator).__name__)
    if _SEED in parameters and (uses_seed is None or uses_seed(parameters)):
        return True
    return any(_is_random_part(part) for part in estimator.get_params(deep=True).values())


def _is_random_part(part: object) -> bool:
    if isinstance(part, type):
        return False
    if not hasattr(part, "get_params"):
        # Such as a KFold, which has no parameters in scikit-learn's sense.
        return hasattr(part, _SEED) and bool(getattr(part, "shuffle", True))
    parameters = part.get_params(deep=False)
    uses_seed = _USES_SEED.get(type(part).__name__)
    return _SEED in parameters and (uses_seed is None or uses_seed(parameters))


def seeded(estimator: BaseEstimator, seed: int) -> BaseEstimator:
    """Return an unfitted copy of an estimator with every random part of it set from one seed."""
    from sklearn.base import clone

    copied = clone(estimator)
    arguments: dict[str, Any] = {}
    for name, value in copied.get_params(deep=True).items():
        if name == _SEED or name.endswith(f"__{_SEED}"):
            arguments[name] = seed
        elif not isinstance(value, type) and not hasattr(value, "get_params") and hasattr(value, _SEED):
            part = copy.copy(value)
            part.random_state = seed if getattr(value, "shuffle", True) else value.random_state
            arguments[name] = part
    return copied.set_params(**arguments)
