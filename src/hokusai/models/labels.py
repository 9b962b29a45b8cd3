"""Label columns as trainers want them, and labels as texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["label_texts", "label_values"]


def label_values(column: pa.ChunkedArray) -> NDArray[np.generic]:
    """Return a label column as scikit-learn wants it: texts, integers, booleans or floats."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        coded = column.combine_chunks().dictionary_encode()
        distinct = np.asarray(coded.dictionary.to_pylist(), dtype=str)
        return np.asarray(distinct[coded.indices.to_numpy()])
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
