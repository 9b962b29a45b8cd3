"""What every feature column is to a trainer, decided once from the base table for all fits of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

__all__ = ["ColumnKind", "column_kinds"]

ColumnKind: TypeAlias = Literal["number", "boolean", "category", "text", "date", "timestamp"]

_WORDS_OF_A_SENTENCE = 3


def column_kinds(base: pa.Table, features: Sequence[str]) -> dict[str, ColumnKind]:
    """Return the kind of each feature, from its declared type and, for texts, from the base table's values.

    A column of strings is ``text`` when its values have three words or more on average, otherwise ``category``.
    """
    return {name: _kind(base[name]) for name in features}


def _kind(column: pa.ChunkedArray) -> ColumnKind:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_date(kind):
        return "date"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_null(kind):
        return "category"
    return "text" if _mean_words(column) >= _WORDS_OF_A_SENTENCE else "category"


def _mean_words(column: pa.ChunkedArray) -> float:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.drop_null(column.cast(pa.string()))
    if not len(texts):
        return 0.0
    # Every value counts as often as it stands there, but is searched once.
    counted = pc.value_counts(texts)
    words = pc.count_substring_regex(counted.field("values"), r"\S+")
    return float(pc.sum(pc.multiply(words.cast(pa.int64()), counted.field("counts"))).as_py()) / len(texts)
