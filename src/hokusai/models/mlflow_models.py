"""Loads a trusted MLflow model by MLflow itself: the door for whatever predicts on a data frame."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hokusai.errors import ModelError
from hokusai.models.foreign_models import Answer, ForeignModel
from hokusai.models.model_signatures import InputColumn, input_frame, signature_columns

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from hokusai.models.mlflow_folders import MlflowFolder

__all__ = ["load_pyfunc"]

# Advice for whoever writes such a model.
_ADVICE = "Add type hints to the `predict` method"


def load_pyfunc(found: MlflowFolder, *, source: str) -> ForeignModel:
    """Load a model by MLflow's ``pyfunc``, which runs the code that it brings along: for trusted ones alone.

    Raises:
        ModelError: It cannot be loaded.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import pyfunc

    inputs = signature_columns(found.signature, source=source)
    try:
        with warnings.catch_warnings(record=True) as caught:
            model = pyfunc.load_model(str(found.folder), suppress_warnings=True)
    except Exception as error:
        # Code of anybody's runs here, and may fail in any way.
        raise ModelError(f"{source}: MLflow cannot load it ({_first_line(error)}).") from error
    # MLflow sets filters of its own around its advice, so that none of ours would hold it back.
    for each in caught:
        if _ADVICE not in str(each.message):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return ForeignModel(
        source=source,
        scorer=_PyfuncScorer(source=source, model=model),
        inputs=inputs,
        has_names=bool(inputs),
        answer=Answer(kind="open"),
        features=tuple(item.name for item in inputs),
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


@dataclass(frozen=True, slots=True, kw_only=True)
class _PyfuncScorer:
    source: str
    model: Any

    def answers(
        self, table: pa.Table, columns: tuple[str, ...], inputs: tuple[InputColumn, ...]
    ) -> tuple[NDArray[np.generic], tuple[str, ...]]:
        import numpy as np
        import pandas as pd

        frame = input_frame(table, columns, inputs)
        try:
            found = self.model.predict(frame)
            values = np.asarray(found)
        except Exception as error:
            raise ModelError(f"{self.source}: cannot score the benchmark ({_first_line(error)}).") from error
        if not values.ndim:
            raise ModelError(
                f"{self.source}: gives one {type(found).__name__} for all rows, expected one answer per row."
            )
        names = tuple(str(name) for name in found.columns) if isinstance(found, pd.DataFrame) else ()
        return values, names
