"""Feature columns as the data frame that scikit-learn is given: by their Arrow type alone, so that any frame will do.

Numbers and booleans become float64, strings objects, dates and timestamps ``datetime64`` in UTC without a zone; what is
missing is NaN or NaT. A pipeline that is fitted on such a frame takes the frames that others make of the same columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa

__all__ = ["feature_frame", "mlflow_type"]


def feature_frame(table: pa.Table, features: Sequence[str]) -> pd.DataFrame:
    """Return feature columns as a data frame.

    Whole numbers beyond 2^53 are rounded to float64, as every estimator would round them.
    """
    import pandas as pd

    # Without copies the frame costs a 64-bit column without gaps nothing.
    return pd.DataFrame({name: _values(table[name]) for name in features}, copy=False)


def mlflow_type(kind: pa.DataType) -> str:
    """Return the type that MLflow's signature gives a feature column."""
    import pyarrow as pa

    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "datetime"
    # The model takes whole numbers, fractions and gaps alike, and a file's column may be read as integers today and as
    # floats tomorrow; MLflow refuses integers where a signature says double, and floats where it says long.
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return "any" if is_number or pa.types.is_boolean(kind) else "string"


def _values(column: pa.ChunkedArray) -> Any:  # noqa: ANN401  (whatever pandas takes as a column)
    import numpy as np
    import pyarrow as pa

    kind = column.type
    match mlflow_type(kind):
        case "string":
            return _objects(column.cast(pa.string()))
        case "datetime":
            # Nanoseconds would wrap around for years before 1678 and after 2261.
            zone = kind.tz if pa.types.is_timestamp(kind) else None
            moments = column.cast(pa.timestamp("us", zone), safe=False)
            return moments.cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]", copy=False)
        case _:
            numbers = column if pa.types.is_float64(kind) else column.cast(pa.float64(), safe=False)
            return np.asarray(numbers.to_numpy())


def _objects(column: pa.ChunkedArray) -> pd.Series[Any]:
    """Return texts as objects, equal ones as one object: that costs less to make, to hash and to compare."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    coded = column.combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    distinct = np.append(coded.dictionary.to_numpy(zero_copy_only=False).astype(object), np.nan)
    codes = coded.indices.fill_null(len(distinct) - 1).to_numpy(zero_copy_only=False)
    # The dtype is said, because pandas would guess its own and scikit-learn would turn that into objects again.
    return pd.Series(distinct[codes], dtype=object)
