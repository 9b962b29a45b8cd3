"""Trains scikit-learn estimators, and what looks like them, on tables: every arm prepared, set and seeded alike."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hokusai.digests import canonical_json
from hokusai.errors import ConfigurationError, TrainingError
from hokusai.models.feature_frames import feature_frame, mlflow_type
from hokusai.models.iteration_losses import fit_boosted_trees, is_boosted_trees, tell_kept_losses
from hokusai.models.labels import label_values
from hokusai.models.lightgbm_parameters import LEARNING_PARAMETERS
from hokusai.models.preparation import make_preparation, reads_categories
from hokusai.models.randomness import is_random, seeded
from hokusai.models.sklearn_models import SklearnModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator
    from sklearn.pipeline import Pipeline

    from hokusai.models.trainers import Progress, TrainingTable
    from hokusai.records import Task

__all__ = ["SklearnTrainer", "known_parameters", "last_estimator", "require_parameters", "takes_sample_weight"]

_ESTIMATOR_STEP = "estimator"


@dataclass(frozen=True, slots=True, kw_only=True)
class SklearnTrainer:
    """An estimator with its settings, ready to be fitted any number of times.

    Attributes:
        name: Its name on record.
        estimator: The estimator, not fitted. A copy of it is.
        prepares_itself: Whether it is a pipeline of the user's own, which is given the data frame as it is.
        words: Arguments of the ``TfidfVectorizer`` that reads each text column; None: texts become few numbers.
    """

    name: str
    estimator: BaseEstimator
    prepares_itself: bool = False
    words: Mapping[str, Any] | None = field(default=None)

    @property
    def task(self) -> Task:
        """What its models do."""
        from sklearn.base import is_classifier

        return "classification" if is_classifier(self.estimator) else "regression"

    @property
    def is_random(self) -> bool:
        """Whether its models depend on the seed."""
        return is_random(self.estimator)

    def with_parameters(self, parameters: Mapping[str, Any]) -> SklearnTrainer:
        """Return a trainer that has these parameters, and its own where they say nothing.

        Raises:
            ConfigurationError: The estimator does not take one of them, or it cannot be put on record exactly.
        """
        from sklearn.base import clone

        words, others = self._divided(parameters)
        require_parameters(others, known=known_parameters(self.estimator), name=self.name, words=self.words)
        estimator = clone(self.estimator).set_params(**others)
        return replace(self, estimator=estimator, words=None if self.words is None else {**self.words, **words})

    def fit(self, data: TrainingTable, *, seed: int, progress: Progress) -> SklearnModel:
        """Fit one model.

        Raises:
            TrainingError: The table or the settings do not let it.
        """
        frame = feature_frame(data.table, data.features)
        weights = _weights(data, trainer=self, seed=seed)
        self._require_finite(frame, seed=seed)
        labels = label_values(data.table[data.label])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                pipeline = self._fitted(frame, labels, weights, data=data, seed=seed, progress=progress)
            except TrainingError:
                raise
            except Exception as error:
                # An estimator, which may be anybody's, can fail in any way; the other seeds need not.
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise TrainingError(self.name, seed=seed, reason=reason) from error
        schema = data.table.schema
        return SklearnModel(
            pipeline,
            features=data.features,
            seed=seed,
            warnings=tuple(sorted({f"{type(item.message).__name__}: {item.message}" for item in caught})),
            inputs={name: mlflow_type(schema.field(name).type) for name in data.features},
        )

    def _divided(self, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the vectorizer's parameters and the estimator's."""
        if self.words is None:
            return {}, dict(parameters)
        from sklearn.feature_extraction.text import TfidfVectorizer

        own = set(TfidfVectorizer().get_params())
        words = {name: value for name, value in parameters.items() if name in own}
        if isinstance(words.get("ngram_range"), list):
            words["ngram_range"] = tuple(words["ngram_range"])
        return words, {name: value for name, value in parameters.items() if name not in own}

    def _require_finite(self, frame: pd.DataFrame, *, seed: int) -> None:
        import numpy as np

        for name in frame:
            if frame[name].dtype == np.float64 and np.isinf(frame[name].to_numpy()).any():
                reason = (
                    f"column {str(name)!r} holds infinite values; expected numbers, or nothing where none is known."
                )
                raise TrainingError(self.name, seed=seed, reason=reason)

    def _fitted(
        self,
        frame: pd.DataFrame,
        labels: NDArray[np.generic],
        weights: NDArray[np.float64] | None,
        *,
        data: TrainingTable,
        seed: int,
        progress: Progress,
    ) -> Pipeline:
        from sklearn.pipeline import Pipeline

        estimator = seeded(self.estimator, seed)
        if self.prepares_itself:
            estimator.fit(frame, labels, **_weight_argument(estimator, weights))
            tell_kept_losses(last_estimator(estimator), progress)
            return _one_thread(estimator)
        prepared = make_preparation(frame, data.kinds, estimator=estimator, words=self.words)
        if prepared is None:
            raise TrainingError(self.name, seed=seed, reason="every feature is missing in every row.")
        matrix = prepared.transformer.fit_transform(frame, labels)
        if is_boosted_trees(estimator):
            estimator = _fit_boosted(
                estimator, matrix, labels, weights, categories=prepared.categories, seed=seed, progress=progress
            )
        else:
            if reads_categories(estimator) and estimator.categorical_features == "from_dtype":
                estimator.set_params(categorical_features=list(range(prepared.categories)) or None)
            estimator.fit(matrix, labels, **_weight_argument(estimator, weights))
            tell_kept_losses(estimator, progress)
        return Pipeline([("preparation", prepared.transformer), (_ESTIMATOR_STEP, _one_thread(estimator))])


def known_parameters(estimator: BaseEstimator) -> frozenset[str]:
    """Return the names of all parameters that an estimator, or a part of it, may be given."""
    if type(estimator).__module__.startswith("lightgbm."):
        return LEARNING_PARAMETERS.union(type(estimator)().get_params())
    return frozenset(estimator.get_params(deep=True))


def require_parameters(
    parameters: Mapping[str, Any], *, known: Iterable[str], name: str, words: Mapping[str, Any] | None = None
) -> None:
    """Refuse parameters that an estimator does not take, the seed, and values that cannot be put on record exactly.

    Raises:
        ConfigurationError: There is one; the error names it by its key.
    """
    short = name.rpartition(".")[2]
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        more = " and of TfidfVectorizer's" if words is not None else ""
        problem = f"{short} has no parameter {unknown[0]!r}, expected some of {', '.join(sorted(known))}{more}."
        raise ConfigurationError(problem, key=f"training.parameters.{unknown[0]}")
    seeds = [each for each in parameters if each.rpartition("__")[2] == "random_state"]
    if seeds:
        problem = "the seed belongs to Hokusai, which fits every arm with seeds 0, 1, 2 …; set training.seeds instead."
        raise ConfigurationError(problem, key=f"training.parameters.{seeds[0]}")
    try:
        canonical_json(dict(parameters))
    except ValueError as error:
        problem = f"cannot be put on record exactly ({error}); expected texts, lists, tables and finite numbers."
        raise ConfigurationError(problem, key="training.parameters") from error


def takes_sample_weight(estimator: BaseEstimator) -> bool:
    """Return whether an estimator, or the last step of a pipeline, takes a weight for each row."""
    import inspect

    from sklearn.utils.validation import has_fit_parameter

    last = last_estimator(estimator)
    if has_fit_parameter(last, "sample_weight"):
        return True
    takes_any = any(each.kind == each.VAR_KEYWORD for each in inspect.signature(last.fit).parameters.values())
    inner = getattr(last, "estimator", None)
    parts = [inner] if inner is not None else [part for _, part in getattr(last, "estimators", None) or ()]
    return takes_any and bool(parts) and all(takes_sample_weight(part) for part in parts)


def last_estimator(estimator: BaseEstimator) -> BaseEstimator:
    """Return an estimator itself, or the last one of a pipeline."""
    from sklearn.pipeline import Pipeline

    return last_estimator(estimator[-1]) if isinstance(estimator, Pipeline) else estimator


def _weight_argument(estimator: BaseEstimator, weights: NDArray[np.float64] | None) -> dict[str, Any]:
    from sklearn.pipeline import Pipeline

    if weights is None:
        return {}
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return {f"{prefix}sample_weight": weights}


def _weights(data: TrainingTable, *, trainer: SklearnTrainer, seed: int) -> NDArray[np.float64] | None:
    """Return the rows' weights, or refuse them."""
    if data.sample_weight is None:
        return None
    import numpy as np
    import pyarrow as pa

    if not takes_sample_weight(trainer.estimator):
        raise TrainingError(trainer.name, seed=seed, reason="it takes no sample weights.")
    weights = np.asarray(data.table[data.sample_weight].cast(pa.float64(), safe=False).to_numpy())
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        reason = f"the weights in column {data.sample_weight!r} are not all numbers of at least 0, some of them more."
        raise TrainingError(trainer.name, seed=seed, reason=reason)
    return weights


def _fit_boosted(
    estimator: BaseEstimator,
    matrix: Any,  # noqa: ANN401  (dense or sparse)
    labels: NDArray[np.generic],
    weights: NDArray[np.float64] | None,
    *,
    categories: int,
    seed: int,
    progress: Progress,
) -> BaseEstimator:
    """Fit LightGBM or XGBoost; XGBoost, which knows classes as numbers from 0 alone, behind what translates them."""
    from sklearn.ensemble import VotingClassifier
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import Bunch

    codes = LabelEncoder().fit(labels) if type(estimator).__name__ == "XGBClassifier" else None
    fit_boosted_trees(
        estimator,
        matrix,
        labels if codes is None else codes.transform(labels),
        weights=weights,
        categories=categories,
        seed=seed,
        progress=progress,
    )
    if codes is None:
        return estimator
    # A vote with one voter is that voter's answer, under the names of the classes. Nothing else in scikit-learn turns
    # a classifier's numbers back into names.
    voting = VotingClassifier([("xgboost", estimator)], voting="soft")
    voting.estimators_, voting.named_estimators_ = [estimator], Bunch(xgboost=estimator)
    voting.le_, voting.classes_ = codes, codes.classes_
    return voting


def _one_thread(estimator: Any) -> Any:  # noqa: ANN401  (whatever was fitted)
    """Let a fitted model answer on one thread: threads of a forest add its trees up in the order in which they end."""
    names = [name for name in estimator.get_params(deep=True) if name.rpartition("__")[2] == "n_jobs"]
    return estimator.set_params(**dict.fromkeys(names, 1))
