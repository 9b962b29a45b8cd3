"""What a model predicts from: the columns it names, their types, and a table's columns in the form it wants."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from hokusai.errors import ModelError, ModelSignatureError
from hokusai.models.feature_frames import feature_frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

__all__ = ["InputColumn", "InputType", "input_frame", "matched_columns", "require_types", "signature_columns"]

InputType: TypeAlias = Literal["any", "boolean", "integer", "long", "float", "double", "string", "datetime", "category"]
"""MLflow's names, and ``category`` for a column of pandas' categories."""
_INTEGER_DTYPES = {"integer": "int32", "long": "int64"}
_FAMILIES = {
    "any": ("boolean", "null", "text", "datetime", "number"),
    "string": ("text", "null"),
    "datetime": ("datetime", "null"),
    "float": ("number", "boolean", "null"),
    "double": ("number", "boolean", "null"),
    "category": ("text", "number", "boolean", "null"),
}
_MOST_COLUMNS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class InputColumn:
    """A column that a model predicts from.

    Attributes:
        name: Its name; empty where the model knows columns by position alone.
        type: What it wants there.
        is_required: Whether it cannot do without.
        categories: For a ``category``, the values in the order of their codes; empty when the model keeps them itself.
    """

    name: str
    type: InputType = "any"
    is_required: bool = True
    categories: tuple[object, ...] = ()


def signature_columns(signature: object, *, source: str) -> tuple[InputColumn, ...]:
    """Return the input columns of the ``signature`` of an MLmodel file; empty when it names none.

    Raises:
        ModelError: It is no signature, or asks for what a table does not have.
    """
    if signature is None:
        return ()
    try:
        entries = json.loads(cast("Mapping[str, str]", signature)["inputs"])
        if not isinstance(entries, list) or len(entries) > _MOST_COLUMNS:
            raise ValueError("inputs is no list of columns")  # noqa: TRY301 - as whatever else is wrong there
        if any(entry.get("type") == "tensor" for entry in entries):
            return ()
        return tuple(_input_column(entry) for entry in entries if entry.get("name"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{source}: the signature in its MLmodel file cannot be used ({error}).") from error


def _input_column(entry: Mapping[str, Any]) -> InputColumn:
    kind = entry["type"]
    if kind not in get_args(InputType) or not isinstance(entry["name"], str):
        raise ValueError(f"column {entry['name']!r} is of type {kind!r}, which no column of a table has")
    return InputColumn(name=entry["name"], type=kind, is_required=bool(entry.get("required", True)))


def matched_columns(
    inputs: Sequence[InputColumn], *, table: pa.Table, features: Sequence[str], source: str
) -> tuple[str, ...]:
    """Return the columns of a table that a model asks for by name, in its order.

    Raises:
        ModelSignatureError: The table lacks columns, or has them in another type.
    """
    there = set(features)
    missing = [item.name for item in inputs if item.is_required and item.name not in there]
    used = [item for item in inputs if item.name in there]
    require_types(used, [item.name for item in used], table=table, source=source, missing=missing)
    return tuple(item.name for item in used)


def require_types(
    inputs: Sequence[InputColumn],
    columns: Sequence[str],
    *,
    table: pa.Table,
    source: str,
    missing: Sequence[str] = (),
) -> None:
    """Refuse columns whose type is not what a model wants there.

    Raises:
        ModelSignatureError: Some are not, or are missing.
    """
    mismatched = [
        (name, _wanted(item), str(table.schema.field(name).type))
        for item, name in zip(inputs, columns, strict=True)
        if not _fits(table[name], item)
    ]
    if missing or mismatched:
        raise ModelSignatureError(source, missing=missing, mismatched=mismatched)


def _wanted(item: InputColumn) -> str:
    if item.type == "category" and item.categories:
        return f"category of {type(item.categories[0]).__name__}"
    return f"{item.type} without gaps or fractions" if item.type in _INTEGER_DTYPES else item.type


def _fits(column: pa.ChunkedArray, item: InputColumn) -> bool:
    """Return whether a column can be given as what a model wants; one without a value fits wherever gaps do."""
    family = _family(column.type)
    if item.type in _INTEGER_DTYPES:
        return family in ("number", "boolean") and not column.null_count and _is_whole(column, item.type)
    if item.type == "boolean":
        return family == "boolean" and not column.null_count
    if item.type == "category" and item.categories:
        first = item.categories[0]
        wanted = "text" if isinstance(first, str) else "boolean" if isinstance(first, bool) else "number"
        return family in (wanted, "null")
    return family in _FAMILIES[item.type]


def _family(kind: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_null(kind):
        return "null"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "datetime" if pa.types.is_timestamp(kind) or pa.types.is_date(kind) else "number"


def _is_whole(column: pa.ChunkedArray, kind: InputType) -> bool:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(column.type) or not len(column):
        return True
    numbers = column if pa.types.is_integer(column.type) else column.cast(pa.float64(), safe=False)
    if pa.types.is_floating(numbers.type) and not pc.all(pc.equal(numbers, pc.floor(numbers))).as_py():
        return False
    limits = np.iinfo(_INTEGER_DTYPES[kind])
    ends = pc.min_max(numbers).as_py()
    return bool(limits.min <= ends["min"] and ends["max"] <= limits.max)


def input_frame(table: pa.Table, columns: Sequence[str], inputs: Sequence[InputColumn]) -> pd.DataFrame:
    """Return columns of a table as a data frame of the types that a model wants, under the names it knows.

    A value that is not among a column's categories is missing.
    """
    frame = feature_frame(table, columns)
    for item, name in zip(inputs, columns, strict=True):
        match item.type:
            case "integer" | "long" | "boolean":
                frame[name] = frame[name].to_numpy().astype(_INTEGER_DTYPES.get(item.type, "bool"))
            case "float":
                frame[name] = frame[name].astype("float32")
            case "category":
                frame[name] = _category(table[name], item)
            case _:
                continue
    frame.columns = [item.name or name for item, name in zip(inputs, columns, strict=True)]
    return frame


def _category(column: pa.ChunkedArray, item: InputColumn) -> Any:  # noqa: ANN401  (whatever pandas takes as a column)
    import pandas as pd

    values = column.to_pandas()
    if not item.categories:
        return values.astype("category")
    codes = pd.Index(item.categories, dtype=object).get_indexer(values.astype(object))
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(item.categories)))
