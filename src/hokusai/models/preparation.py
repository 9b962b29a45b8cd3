"""What stands between a table and an estimator: missing values, categories, texts and dates, by the libraries for it.

Which column is treated how follows from its kind, which was decided from the base table, and from what the estimator
can read by itself. What is learned from values (medians, scales, categories, words) is learned in each fit anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from sklearn.base import BaseEstimator
    from sklearn.compose import ColumnTransformer

    from hokusai.models.column_kinds import ColumnKind

__all__ = ["MOST_CATEGORIES", "MOST_SPARSE_CATEGORIES", "Preparation", "make_preparation", "reads_categories"]

MOST_CATEGORIES = 50
"""The most categories of a column that are told apart; the rarest beyond them count as one."""
MOST_SPARSE_CATEGORIES = 255
"""The same where categories become columns of a sparse matrix, which costs nothing for those that a row has not."""

_NATIVE = ("HistGradientBoosting", "LGBM", "XGB")
_TREES = ("DecisionTree", "ExtraTree", "RandomForest", "GradientBoosting")
# HistGradientBoosting learns its bins from a part of the rows when there are more than these; it fails when a column
# has no value among them.
_ROWS_OF_SUBSETS = 10_000
_FEWEST_VALUES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How a table is prepared.

    Attributes:
        transformer: Makes a matrix of a data frame; not fitted yet.
        categories: How many of the matrix's first columns are category codes.
    """

    transformer: ColumnTransformer
    categories: int


def reads_categories(estimator: BaseEstimator) -> bool:
    """Return whether an estimator reads missing values and category codes by itself."""
    return type(estimator).__name__.startswith(_NATIVE)


def make_preparation(
    frame: pd.DataFrame,
    kinds: Mapping[str, ColumnKind],
    *,
    estimator: BaseEstimator,
    words: Mapping[str, Any] | None = None,
) -> Preparation | None:
    """Return what an estimator needs in front of it, or None when no column has a value.

    Args:
        frame: What the fit learns from.
        kinds: What each column is.
        estimator: What comes after it.
        words: Arguments of the ``TfidfVectorizer`` that reads each text column; None: texts become few numbers.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.utils import get_tags

    known = _known_columns(frame, estimator)
    numbers = [name for name in known if kinds[name] in ("number", "boolean")]
    categories = [name for name in known if kinds[name] == "category"]
    is_sparse = words is not None or (
        bool(categories)
        and get_tags(estimator).input_tags.sparse
        and get_tags(estimator).estimator_type == "classifier"
    )
    parts: list[tuple[str, Any, Any]] = []
    if categories:
        most = max(int(frame[name].nunique()) for name in categories)
        parts.append(("categories", _category_encoder(estimator, most=most, is_sparse=is_sparse), categories))
    if numbers:
        parts.append(("numbers", _number_preparation(estimator), numbers))
    parts += _column_by_column(known, kinds, estimator=estimator, words=words)
    if not parts:
        return None
    # Always or never sparse: were it left to the share of zeros, the two arms could differ.
    transformer = ColumnTransformer(parts, sparse_threshold=1.0 if is_sparse else 0.0)
    return Preparation(transformer=transformer, categories=len(categories) if reads_categories(estimator) else 0)


def _known_columns(frame: pd.DataFrame, estimator: BaseEstimator) -> list[str]:
    """Return the columns that have enough values to learn from."""
    takes_subsets = type(estimator).__name__.startswith("HistGradientBoosting") and len(frame) > _ROWS_OF_SUBSETS
    return [str(name) for name in frame if frame[name].count() >= (_FEWEST_VALUES if takes_subsets else 1)]


def _column_by_column(
    names: Sequence[str],
    kinds: Mapping[str, ColumnKind],
    *,
    estimator: BaseEstimator,
    words: Mapping[str, Any] | None,
) -> list[tuple[str, Any, Any]]:
    """Return the parts that read one column each: texts and dates."""
    from sklearn.pipeline import make_pipeline

    parts: list[tuple[str, Any, Any]] = []
    for name in names:
        if kinds[name] == "text":
            if words is None:
                from skrub import StringEncoder  # a second of processor time that most tables need not pay

                parts.append((f"text {name}", StringEncoder(random_state=0), name))
            else:
                parts.append((f"words {name}", _word_counts(words), [name]))
        elif kinds[name] in ("date", "timestamp"):
            from skrub import DatetimeEncoder

            resolution = "day" if kinds[name] == "date" else "hour"
            encoder = DatetimeEncoder(resolution=resolution, add_weekday=True)
            following = _number_preparation(estimator)
            step = encoder if following == "passthrough" else make_pipeline(encoder, following)
            parts.append((f"{kinds[name]} {name}", step, name))
    return parts


def _number_preparation(estimator: BaseEstimator) -> Any:  # noqa: ANN401  (a transformer, or scikit-learn's word)
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import get_tags

    is_tree = type(estimator).__name__.startswith(_TREES)
    if reads_categories(estimator) or (is_tree and get_tags(estimator).input_tags.allow_nan):
        return "passthrough"
    # The indicator has a column only for what has gaps in the fit.
    imputer = SimpleImputer(strategy="median", add_indicator=True)
    return imputer if is_tree else make_pipeline(imputer, StandardScaler())


def _category_encoder(estimator: BaseEstimator, *, most: int, is_sparse: bool) -> BaseEstimator:
    """Return what encodes the categories of all columns, of which none has more than ``most`` different ones."""
    import numpy as np
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    def at_most(limit: int) -> int | None:
        # A limit that nothing reaches changes nothing, but scikit-learn would count every value in Python for it.
        return limit if most > limit else None

    if reads_categories(estimator):
        # HistGradientBoosting has no more categories than bins; a category it never saw is a missing one to it.
        bins = min(MOST_CATEGORIES, estimator.get_params().get("max_bins") or MOST_CATEGORIES)
        return OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=np.nan,
            encoded_missing_value=np.nan,
            max_categories=at_most(bins),
        )
    if type(estimator).__name__.startswith(_TREES):
        return OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=-1,
            encoded_missing_value=-2,
            max_categories=at_most(MOST_CATEGORIES),
        )
    # A missing text is a category of its own, a category that the fit never saw counts as a rare one.
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=MOST_SPARSE_CATEGORIES if is_sparse else MOST_CATEGORIES,
        sparse_output=is_sparse,
    )


def _word_counts(arguments: Mapping[str, Any]) -> BaseEstimator:
    """Return what weighs the words of one text column, with a missing text as an empty one."""
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    filled = SimpleImputer(strategy="constant", fill_value="", missing_values=np.nan)
    # The vectorizer wants the column itself instead of a table of one column, and so it stands behind its number.
    return make_pipeline(filled, ColumnTransformer([("words", TfidfVectorizer(**arguments), 0)], sparse_threshold=1.0))
