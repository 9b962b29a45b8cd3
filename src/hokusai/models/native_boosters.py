"""LightGBM and XGBoost models from the libraries' own files: text, JSON, UBJSON."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hokusai.errors import ModelError
from hokusai.models.foreign_models import Answer, ForeignModel
from hokusai.models.lightgbm_text import read_lightgbm_text, trees_alone
from hokusai.models.model_signatures import InputColumn, InputType, input_frame
from hokusai.models.native_reader import require_library
from hokusai.models.xgboost_document import read_xgboost_document

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from hokusai.models.lightgbm_text import LightgbmFacts
    from hokusai.models.native_reader import NativeReader
    from hokusai.models.xgboost_document import XgboostFacts

__all__ = ["load_lightgbm", "load_xgboost", "sound_lightgbm_text", "sound_xgboost_state"]

_LIGHTGBM_REGRESSION = {
    "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie"
}  # fmt: skip
_XGBOOST_REGRESSION = ("reg:", "count:poisson")
_BINARY_MARGIN, _BINARY_CLASS = "binary:logitraw", "binary:hinge"


def load_lightgbm(content: bytes, *, source: str, reader: NativeReader) -> ForeignModel:
    """Load a model from LightGBM's text.

    Args:
        content: The file.
        source: What messages call it.
        reader: Reads it first.

    Raises:
        ConfigurationError: LightGBM is not installed.
        ModelError: The file is damaged, or the model gives what cannot be scored.
    """
    text = sound_lightgbm_text(content, source=source, reader=reader)
    facts = read_lightgbm_text(text, source=source)
    answer = _lightgbm_answer(facts, source=source)
    inputs = _lightgbm_inputs(facts, source=source)
    import lightgbm

    try:
        booster = lightgbm.Booster(model_str=text.decode("utf-8"))
    except lightgbm.basic.LightGBMError as error:
        raise ModelError(f"{source}: LightGBM cannot read it ({error}).") from error
    has_names = not all(re.fullmatch(r"Column_\d+", name) for name in facts.features)
    return ForeignModel(
        source=source,
        scorer=_LightgbmScorer(
            source=source, booster=booster, is_normalised=facts.objective.startswith("multiclassova")
        ),
        inputs=inputs,
        has_names=has_names,
        answer=answer,
        features=facts.features if has_names else (),
    )


def sound_lightgbm_text(content: bytes, *, source: str, reader: NativeReader) -> bytes:
    """Return a model in LightGBM's text as the library writes it, checked before and after.

    Raises:
        ConfigurationError: LightGBM is not installed.
        ModelError: The text is damaged.
    """
    require_library("lightgbm")
    read_lightgbm_text(content, source=source)
    text = trees_alone(reader.read("lightgbm", trees_alone(content), source=source))
    read_lightgbm_text(text, source=source)
    return text


def _lightgbm_answer(facts: LightgbmFacts, *, source: str) -> Answer:
    name, _, options = facts.objective.partition(" ")
    if name == "binary":
        return Answer(kind="positive", count=2)
    if name in ("multiclass", "multiclassova"):
        return Answer(kind="probabilities", count=facts.outputs)
    if name in _LIGHTGBM_REGRESSION and facts.outputs == 1:
        return Answer(kind="numbers")
    raise ModelError(_unscorable(source, f"{name or 'an objective of its own'} {options}".strip()))


def _unscorable(source: str, objective: str) -> str:
    problem = f"the model was trained for {objective!r}, whose answers are neither classes nor the label's numbers"
    return f"{source}: {problem}. Expected a classifier or a regressor."


def _lightgbm_inputs(facts: LightgbmFacts, *, source: str) -> tuple[InputColumn, ...]:
    """Return the columns; pandas' categories belong, in order, to those that the model splits by category."""
    chosen = facts.is_categorical
    if sum(chosen) != len(facts.categories) and facts.categories:
        chosen = tuple(map(any, zip(facts.is_categorical, facts.is_constant, strict=True)))
    if facts.categories and sum(chosen) != len(facts.categories):
        raise ModelError(
            f"{source}: trained on {len(facts.categories)} columns of categories, and splits {sum(chosen)} by "
            "category, so that nothing says which are which. Train it with categories that vary, or give a skops file."
        )
    lists = iter(facts.categories)
    columns = []
    for name, is_category in zip(facts.features, chosen, strict=True):
        categories = next(lists) if is_category and facts.categories else None
        if categories is None:
            columns.append(InputColumn(name=name, type="double"))
        else:
            columns.append(InputColumn(name=name, type="category", categories=categories))
    return tuple(columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LightgbmScorer:
    source: str
    booster: Any
    is_normalised: bool

    def answers(
        self, table: pa.Table, columns: tuple[str, ...], inputs: tuple[InputColumn, ...]
    ) -> tuple[NDArray[np.generic], tuple[str, ...]]:
        import lightgbm
        import numpy as np

        frame = input_frame(table, columns, inputs)
        matrix = np.empty(frame.shape)
        for place, item in enumerate(inputs):
            column = frame.iloc[:, place]
            if item.type == "category":
                codes = column.cat.codes.to_numpy(dtype=np.float64)
                matrix[:, place] = np.where(codes < 0, np.nan, codes)
            else:
                matrix[:, place] = column
        try:
            answers = np.asarray(self.booster.predict(matrix))
        except lightgbm.basic.LightGBMError as error:
            raise ModelError(f"{self.source}: LightGBM cannot score the benchmark ({error}).") from error
        if self.is_normalised:
            answers = answers / answers.sum(axis=1, keepdims=True)
        return answers, ()


def load_xgboost(content: bytes, *, source: str, reader: NativeReader) -> ForeignModel:
    """Load a model from XGBoost's JSON or UBJSON.

    Args:
        content: The file.
        source: What messages call it.
        reader: Reads it first.

    Raises:
        ConfigurationError: XGBoost is not installed.
        ModelError: The file is damaged, or the model gives what cannot be scored.
    """
    require_library("xgboost")
    # In UBJSON, the name of the first key begins with its length in binary.
    if b"\x00" not in content[:32]:
        read_xgboost_document(content, source=source)
    document = reader.read("xgboost", content, source=source)
    facts = read_xgboost_document(document, source=source)
    answer = _xgboost_answer(facts, source=source)
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(document))
    except xgboost.core.XGBoostError as error:
        raise ModelError(f"{source}: XGBoost cannot read it ({str(error).splitlines()[0]}).") from error
    names = facts.features or ("",) * facts.feature_count
    types = facts.feature_types or ("float",) * facts.feature_count
    return ForeignModel(
        source=source,
        scorer=_XgboostScorer(source=source, booster=booster, facts=facts),
        inputs=tuple(
            InputColumn(name=name, type=_xgboost_type(kind, has_categories=known))
            for name, kind, known in zip(names, types, facts.has_categories, strict=True)
        ),
        has_names=bool(facts.features),
        answer=answer,
        features=facts.features,
    )


def sound_xgboost_state(content: bytes, *, source: str, reader: NativeReader) -> bytes:
    """Return a pickled booster's state as the library writes it, of a model that was checked.

    Args:
        content: What XGBoost's booster puts into a pickle or a skops file: its model and its settings.
        source: What messages call it.
        reader: Reads it first.

    Raises:
        ConfigurationError: XGBoost is not installed.
        ModelError: The state is damaged.
    """
    require_library("xgboost")
    document = reader.read("xgboost-state", content, source=source)
    read_xgboost_document(document, source=source)
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(document))
    except xgboost.core.XGBoostError as error:
        raise ModelError(f"{source}: XGBoost cannot read it ({str(error).splitlines()[0]}).") from error
    return bytes(booster.__getstate__()["handle"])


def _xgboost_type(kind: str, *, has_categories: bool) -> InputType:
    if kind != "c":
        return "double"
    return "category" if has_categories else "long"


def _xgboost_answer(facts: XgboostFacts, *, source: str) -> Answer:
    name = facts.objective
    if name in ("binary:logistic", _BINARY_MARGIN):
        return Answer(kind="positive", count=2)
    if name == _BINARY_CLASS:
        return Answer(kind="codes", count=2)
    if name == "multi:softprob":
        return Answer(kind="probabilities", count=facts.outputs)
    if name == "multi:softmax":
        return Answer(kind="codes", count=facts.outputs)
    if name.startswith(_XGBOOST_REGRESSION) and facts.outputs == 1:
        return Answer(kind="numbers")
    raise ModelError(_unscorable(source, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class _XgboostScorer:
    source: str
    booster: Any
    facts: XgboostFacts

    def answers(
        self, table: pa.Table, columns: tuple[str, ...], inputs: tuple[InputColumn, ...]
    ) -> tuple[NDArray[np.generic], tuple[str, ...]]:
        import numpy as np
        import xgboost

        frame = input_frame(table, columns, inputs)
        names = list(self.facts.features) or None
        types = [
            "c" if item.type == "category" or (item.type == "long" and kind == "c") else "float"
            for item, kind in zip(inputs, self.facts.feature_types or ("float",) * len(inputs), strict=True)
        ]
        has_frame = any(item.type == "category" for item in inputs)
        last = 0 if self.facts.best_iteration is None else self.facts.best_iteration + 1
        try:
            if has_frame:
                matrix = xgboost.DMatrix(frame, enable_categorical=True)
            else:
                matrix = xgboost.DMatrix(
                    frame.to_numpy(dtype=np.float64), feature_names=names, feature_types=types, enable_categorical=True
                )
            answers = self.booster.predict(matrix, iteration_range=(0, last), validate_features=names is not None)
        except (xgboost.core.XGBoostError, ValueError) as error:
            problem = str(error).strip().splitlines()[0][:300]
            raise ModelError(f"{self.source}: XGBoost cannot score the benchmark ({problem}).") from error
        if self.facts.objective == _BINARY_MARGIN:
            answers = 1 / (1 + np.exp(-answers.astype(np.float64)))
        return np.asarray(answers), ()
