"""Fitted scikit-learn pipelines that are asked with tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hokusai.errors import ModelError
from hokusai.models.feature_frames import feature_frame
from hokusai.models.labels import label_texts
from hokusai.records import Predictions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator

    from hokusai.digests import JsonValue
    from hokusai.records import ModelFile

__all__ = ["SklearnModel"]

# The class that they name is the one of the greatest probability: they need not be asked twice.
_LIKELIEST = (
    "DecisionTreeClassifier",
    "ExtraTreesClassifier",
    "HistGradientBoostingClassifier",
    "RandomForestClassifier",
    "VotingClassifier",
)


class SklearnModel:
    """A fitted scikit-learn pipeline that is asked with tables.

    Attributes:
        pipeline: The fitted pipeline, or estimator.
        features: Columns that it predicts from.
        seed: Seed of the fit.
        warnings: What was warned of during the fit.
        inputs: MLflow type of each feature; empty where it is not known.
    """

    def __init__(
        self,
        pipeline: BaseEstimator,
        *,
        features: tuple[str, ...],
        seed: int = 0,
        warnings: tuple[str, ...] = (),
        inputs: Mapping[str, str] | None = None,
    ) -> None:
        """Wrap a fitted pipeline."""
        self.pipeline = pipeline
        self.features = features
        self.seed = seed
        self.warnings = warnings
        self.inputs = inputs or {}

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
            predicted, raw = self._answers(frame, wants_probabilities=bool(classes))
        except Exception as error:
            # The model may be anybody's, and fail in any way.
            msg = f"the model cannot score the benchmark: {(str(error).strip().splitlines() or [repr(error)])[0]}"
            raise ModelError(msg) from error
        if not classes:
            return Predictions(predicted=np.asarray(predicted, dtype=np.float64))
        positions = {text: code for code, text in enumerate(classes)}
        known = self.classes
        codes = np.array([positions.get(text, -1) for text in known])
        own = self.pipeline.classes_
        order = np.minimum(np.searchsorted(own, predicted), len(own) - 1)
        if (own[order] != predicted).any():
            raise ModelError("the model cannot score the benchmark: it predicts a class that is none of its own.")
        probabilities = None
        if raw is not None:
            probabilities = np.zeros((table.num_rows, len(classes)))
            probabilities[:, codes[codes >= 0]] = raw[:, codes >= 0]
        return Predictions(
            predicted=codes[order],
            probabilities=probabilities,
            unseen_classes=tuple(text for text in classes if text not in known),
        )

    def to_file(self, *, name: str, example: Mapping[str, JsonValue]) -> ModelFile:
        """Return the model as a skops file, with MLflow's signature and pinned requirements.

        Raises:
            ModelError: It has parts that skops cannot write.
        """
        from hokusai.models.model_files import to_skops  # skops is not needed to fit and to predict

        return to_skops(self, name=name, example=example)

    def _answers(
        self, frame: pd.DataFrame, *, wants_probabilities: bool
    ) -> tuple[NDArray[np.generic], NDArray[np.floating[Any]] | None]:
        """Return predictions and, if there are any, probabilities; the table is prepared once for both."""
        from sklearn.pipeline import Pipeline

        last, matrix = self.pipeline, frame
        while isinstance(last, Pipeline):
            matrix = last[:-1].transform(matrix) if len(last) > 1 else matrix
            last = last[-1]
        raw = last.predict_proba(matrix) if wants_probabilities and hasattr(last, "predict_proba") else None
        if raw is not None and type(last).__name__ in _LIKELIEST:
            return last.classes_[raw.argmax(axis=1)], raw
        return last.predict(matrix), raw
