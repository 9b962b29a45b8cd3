"""Trains scikit-learn estimators on tables: the same preparation, settings and seeds for every arm.

The estimator is named as scikit-learn names it. What it needs in front of it (imputation, scaling, encoding) is
scikit-learn's own, chosen by column type: histogram gradient boosting reads missing values and categories by itself,
every other estimator gets imputed, standardised numbers and one-hot categories.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hokusai.digests import canonical_json
from hokusai.errors import ConfigurationError, ModelError
from hokusai.records import Predictions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator
    from sklearn.pipeline import Pipeline

    from hokusai.records import Task

__all__ = ["SklearnModel", "Trainer", "label_texts", "label_values", "make_trainer"]

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
# These solvers visit the rows in random order; the others of LogisticRegression and Ridge do not use their seed.
_RANDOM_SOLVERS = {"sag", "saga", "liblinear"}
_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """An estimator class with its settings, ready to be fitted any number of times.

    Attributes:
        estimator: The scikit-learn class.
        parameters: Arguments that differ from scikit-learn's defaults.
        task: What it does.
        is_random: Whether its result depends on its seed.
    """

    estimator: type[BaseEstimator]
    parameters: Mapping[str, Any]
    task: Task
    is_random: bool

    @property
    def name(self) -> str:
        """The class's public import path, such as ``sklearn.linear_model.LogisticRegression``."""
        module = ".".join(part for part in self.estimator.__module__.split(".") if not part.startswith("_"))
        return f"{'.'.join(module.split('.')[:2])}.{self.estimator.__name__}"

    def fit(self, table: pa.Table, *, features: Sequence[str], label: str, seed: int) -> SklearnModel:
        """Fit one model.

        Args:
            table: Training rows.
            features: Columns to predict from.
            label: Column to predict.
            seed: The estimator's ``random_state``, if it has one.

        Raises:
            ModelError: scikit-learn could not fit it.
        """
        from sklearn.pipeline import make_pipeline

        arguments = dict(self.parameters)
        if "random_state" in inspect.signature(self.estimator).parameters:
            arguments["random_state"] = seed
        frame = feature_frame(table, features)
        pipeline = make_pipeline(_preparation(frame, self.estimator), self.estimator(**arguments))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                pipeline.fit(frame, label_values(table[label]))
            except Exception as error:
                problem = str(error).strip().splitlines()[0]
                msg = f"{self.name}, seed {seed}, {table.num_rows} training rows: the fit failed: {problem}"
                raise ModelError(msg) from error
        texts = tuple(sorted({f"{type(item.message).__name__}: {item.message}" for item in caught}))
        return SklearnModel(pipeline, features=tuple(features), seed=seed, warnings=texts)


class SklearnModel:
    """A fitted scikit-learn pipeline that is asked with tables.

    Attributes:
        pipeline: The fitted pipeline.
        features: Columns that it predicts from.
        seed: Seed of the fit.
        warnings: What scikit-learn warned of during the fit.
    """

    def __init__(
        self, pipeline: Pipeline, *, features: tuple[str, ...], seed: int = 0, warnings: tuple[str, ...] = ()
    ) -> None:
        """Wrap a fitted pipeline."""
        self.pipeline = pipeline
        self.features = features
        self.seed = seed
        self.warnings = warnings

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the model knows, in its own order; empty for regression."""
        return label_texts(getattr(self.pipeline, "classes_", ()))

    def predict(self, table: pa.Table, *, classes: tuple[str, ...]) -> Predictions:
        """Return predictions for every row, with class codes by position in ``classes``.

        Raises:
            ModelError: The model cannot be asked about these columns.
        """
        import numpy as np

        frame = feature_frame(table, self.features)
        try:
            predicted = self.pipeline.predict(frame)
            raw = self.pipeline.predict_proba(frame) if classes and hasattr(self.pipeline, "predict_proba") else None
        except Exception as error:
            msg = f"the model cannot score the benchmark: {str(error).strip().splitlines()[0]}"
            raise ModelError(msg) from error
        if not classes:
            return Predictions(predicted=np.asarray(predicted, dtype=np.float64))
        positions = {text: code for code, text in enumerate(classes)}
        known = self.classes
        codes = np.array([positions.get(text, -1) for text in known])
        order = np.searchsorted(self.pipeline.classes_, predicted)
        probabilities = None
        if raw is not None:
            probabilities = np.zeros((table.num_rows, len(classes)))
            probabilities[:, codes[codes >= 0]] = raw[:, codes >= 0]
        return Predictions(
            predicted=codes[order],
            probabilities=probabilities,
            unseen_classes=tuple(text for text in classes if text not in known),
        )


def make_trainer(estimator: str, parameters: Mapping[str, Any]) -> Trainer:
    """Find a scikit-learn estimator by its class name or import path and check its arguments.

    Raises:
        ConfigurationError: There is none of that name, it neither classifies nor regresses, or it does not take an
            argument.
    """
    from sklearn.base import is_classifier, is_regressor

    found = _find_class(estimator)
    known = set(inspect.signature(found).parameters)
    unknown = sorted(set(parameters) - known)
    if unknown:
        problem = f"{found.__name__} has no parameter {unknown[0]!r}, expected some of {', '.join(sorted(known))}."
        raise ConfigurationError(problem, key=f"training.parameters.{unknown[0]}")
    if "random_state" in parameters:
        problem = "the seed belongs to Hokusai, which fits every arm with seeds 0, 1, 2 …; set training.seeds instead."
        raise ConfigurationError(problem, key="training.parameters.random_state")
    try:
        canonical_json(dict(parameters))
    except ValueError as error:
        problem = f"cannot be put on record exactly ({error}); expected texts, lists, tables and finite numbers."
        raise ConfigurationError(problem, key="training.parameters") from error
    try:
        instance = found(**parameters)
    except TypeError as error:
        problem = f"{found.__name__} cannot be made without further arguments ({error})."
        raise ConfigurationError(problem, key="training.estimator") from error
    if not is_classifier(instance) and not is_regressor(instance):
        problem = f"{found.__name__} is neither a classifier nor a regressor."
        raise ConfigurationError(problem, key="training.estimator")
    task: Task = "classification" if is_classifier(instance) else "regression"
    return Trainer(estimator=found, parameters=parameters, task=task, is_random=_is_random(instance))


def label_values(column: pa.ChunkedArray) -> NDArray[np.generic]:
    """Return a label column as scikit-learn wants it: texts, integers, booleans or floats."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_string(column.type):
        return np.asarray(column.to_pylist(), dtype=str)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def label_texts(values: Sequence[object] | NDArray[np.generic]) -> tuple[str, ...]:
    """Return labels as texts: the same text for 1 and 1.0, ``true`` and ``false`` for booleans."""
    import numpy as np

    texts = []
    for value in values:
        if isinstance(value, (bool, np.bool_)):
            texts.append("true" if value else "false")
        elif isinstance(value, (float, np.floating)) and float(value).is_integer():
            texts.append(str(int(value)))
        else:
            texts.append(str(value))
    return tuple(texts)


def feature_frame(table: pa.Table, features: Sequence[str]) -> pd.DataFrame:
    """Return feature columns as a data frame: numbers as float64, texts as objects, NaN where a value is missing.

    Dates and timestamps become days since 1970, booleans 0 and 1.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in features:
        column = table[name]
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_null(kind):
            texts = pd.Series(column.cast(pa.string()).to_numpy(zero_copy_only=False), dtype=object)
            columns[name] = texts.where(texts.notna(), np.nan)
        elif pa.types.is_timestamp(kind):
            microseconds = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64()).cast(pa.float64(), safe=False)
            columns[name] = microseconds.to_numpy() / (_SECONDS_PER_DAY * 1_000_000)
        elif pa.types.is_date(kind):
            columns[name] = column.cast(pa.date32()).cast(pa.int32()).cast(pa.float64()).to_numpy()
        else:
            columns[name] = column.cast(pa.float64()).to_numpy()
    return pd.DataFrame(columns)


def _preparation(frame: pd.DataFrame, estimator: type[BaseEstimator]) -> BaseEstimator:
    import numpy as np
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    texts = [name for name in frame if frame[name].dtype == object]
    numbers = [name for name in frame if frame[name].dtype != object]
    if estimator.__name__.startswith("HistGradientBoosting"):
        encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
        parts = [(encode, texts), ("passthrough", numbers)]
    else:
        # A missing text is a category of its own.
        parts = [
            (OneHotEncoder(handle_unknown="ignore"), texts),
            (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        ]
    return make_column_transformer(*[(step, names) for step, names in parts if names])


def _find_class(name: str) -> type[BaseEstimator]:
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
    problem = (
        f"got {name!r}, expected a scikit-learn class such as LogisticRegression, Ridge, RandomForestClassifier or "
        "HistGradientBoostingClassifier, or its path such as sklearn.linear_model.LogisticRegression."
    )
    raise ConfigurationError(problem, key="training.estimator")


def _is_random(instance: BaseEstimator) -> bool:
    parameters = instance.get_params(deep=False)
    if "random_state" not in parameters:
        return False
    if type(instance).__name__ in ("LogisticRegression", "Ridge", "RidgeClassifier"):
        return parameters["solver"] in _RANDOM_SOLVERS
    return True
