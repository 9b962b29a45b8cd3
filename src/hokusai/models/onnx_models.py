"""ONNX models, run by ONNX Runtime."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hokusai.errors import ModelError
from hokusai.models.foreign_models import Answer, ForeignModel
from hokusai.models.labels import label_texts
from hokusai.models.model_signatures import InputColumn, InputType, input_frame
from hokusai.models.native_reader import require_library
from hokusai.models.native_reader_child import onnx_session
from hokusai.models.onnx_structure import OnnxStructure, read_onnx_structure

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from hokusai.models.native_reader import NativeReader

__all__ = ["load_onnx"]

_TYPES: dict[str, InputType] = {
    "tensor(float)": "float",
    "tensor(double)": "double",
    "tensor(int64)": "long",
    "tensor(int32)": "integer",
    "tensor(string)": "string",
    "tensor(bool)": "boolean",
}
_DTYPES = {"float": "float32", "double": "float64", "long": "int64", "integer": "int32", "boolean": "bool"}
_LABELS = ("tensor(int64)", "tensor(string)")
_NUMBERS = ("tensor(float)", "tensor(double)")
_MOST_COLUMNS = 100_000
_REGRESSORS = {"LinearRegressor", "SVMRegressor", "TreeEnsembleRegressor"}


def load_onnx(content: bytes, *, source: str, reader: NativeReader) -> ForeignModel:
    """Load a model from an ONNX file.

    Args:
        content: The file.
        source: What messages call it.
        reader: Reads it first.

    Raises:
        ConfigurationError: ONNX Runtime is not installed.
        ModelError: The file is damaged, asks for more than itself, or gives what cannot be scored.
    """
    require_library("onnx")
    structure = read_onnx_structure(content, source=source)
    described = json.loads(reader.read("onnx", content, source=source))
    inputs, is_one_tensor = _inputs(described["inputs"], source=source)
    answer, outputs = _answer(described["outputs"], structure, source=source)
    return ForeignModel(
        source=source,
        scorer=_OnnxScorer(
            source=source,
            session=onnx_session(content),
            described=described,
            is_one_tensor=is_one_tensor,
            outputs=outputs,
        ),
        inputs=inputs,
        has_names=not is_one_tensor,
        answer=answer,
        features=() if is_one_tensor else tuple(item.name for item in inputs),
    )


def _inputs(described: list[list[Any]], *, source: str) -> tuple[tuple[InputColumn, ...], bool]:
    for name, kind, shape in described:
        if kind not in _TYPES or len(shape) not in (1, 2):
            raise ModelError(f"{source}: takes {name!r} as {kind} of shape {shape}, which no column of a table is.")
    name, kind, shape = described[0]
    if len(described) == 1 and len(shape) == 2 and shape[1] != 1:
        if shape[1] is None or not 0 < shape[1] <= _MOST_COLUMNS:
            problem = "does not say how many columns it takes. Export it with a fixed number of columns"
            raise ModelError(f"{source}: its input {name!r} {problem}.")
        return tuple(InputColumn(name="", type=_TYPES[kind]) for _ in range(shape[1])), True
    wide = [name for name, _, shape in described if len(shape) == 2 and shape[1] not in (1, None)]
    if wide:
        raise ModelError(f"{source}: takes several tensors, {wide[0]!r} of several columns; expected one per column.")
    return tuple(InputColumn(name=name, type=_TYPES[kind]) for name, kind, _ in described), False


def _answer(described: list[list[Any]], structure: OnnxStructure, *, source: str) -> tuple[Answer, tuple[str, ...]]:
    """Say what the outputs mean, and which of them are asked for."""
    classes = label_texts(structure.classes)
    first, kind, shape = described[0]
    if kind in _LABELS:
        if len(described) == 2 and classes:
            second, form, width = described[1]
            is_tensor = form in _NUMBERS and len(width) == 2 and width[1] in (len(classes), None)
            if is_tensor or form.startswith("seq(map("):
                return Answer(kind="probabilities", count=len(classes), classes=classes), (second,)
        return Answer(kind="labels", count=len(classes), classes=classes), (first,)
    if len(described) == 1 and kind in _NUMBERS:
        if len(shape) == 2 and isinstance(shape[1], int) and shape[1] > 1:
            return Answer(kind="probabilities", count=shape[1], classes=classes if len(classes) == shape[1] else ()), (
                first,
            )
        if not classes:
            return Answer(kind="numbers"), (first,)
    gives = ", ".join(f"{name} as {form} of shape {width}" for name, form, width in described[:5])
    raise ModelError(f"{source}: gives {gives}; expected a label and probabilities, probabilities alone, or a number.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnnxScorer:
    source: str
    session: Any
    described: dict[str, list[list[Any]]]
    is_one_tensor: bool
    outputs: tuple[str, ...]

    def answers(
        self, table: pa.Table, columns: tuple[str, ...], inputs: tuple[InputColumn, ...]
    ) -> tuple[NDArray[np.generic], tuple[str, ...]]:
        import numpy as np

        frame = input_frame(table, columns, inputs)
        if self.is_one_tensor:
            name, kind, _ = self.described["inputs"][0]
            tensors = {name: _tensor(frame.to_numpy(), _TYPES[kind])}
        else:
            shapes = {name: shape for name, _, shape in self.described["inputs"]}
            tensors = {
                item.name: _tensor(frame[item.name].to_numpy(), item.type).reshape(
                    [-1] + [1] * (len(shapes[item.name]) - 1)
                )
                for item in inputs
            }
        try:
            (found,) = self.session.run(list(self.outputs), tensors)
        except Exception as error:
            # ONNX Runtime has a dozen classes of errors, which share no base but this one.
            problem = str(error).strip().splitlines()[0][:300]
            raise ModelError(f"{self.source}: ONNX Runtime cannot score the benchmark ({problem}).") from error
        if isinstance(found, list):
            keys = list(found[0]) if found else []
            return np.array([[row[key] for key in keys] for row in found]), label_texts(keys)
        return np.asarray(found), ()


def _tensor(values: NDArray[np.generic], kind: InputType) -> NDArray[np.generic]:
    import numpy as np

    if kind != "string":
        return values.astype(_DTYPES[kind])
    # A missing text is empty there: ONNX has no other way to say it.
    return np.array([value if isinstance(value, str) else "" for value in values.ravel()], dtype=object).reshape(
        values.shape
    )
