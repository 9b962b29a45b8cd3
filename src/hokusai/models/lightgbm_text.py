"""Checks LightGBM's text format to the last number, because the library itself does not.

A child that points to itself would make it predict for ever, one that points nowhere would make it read foreign memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LightgbmFacts", "read_lightgbm_text", "trees_alone"]

_MOST_FEATURES, _MOST_CLASSES, _MOST_LEAVES = 1_000_000, 10_000, 10_000_000
# What a tree also records, per leaf and per node; the library reads as many numbers as there should be.
_RECORDED_PER_LEAF = ("leaf_weight", "leaf_count")
_RECORDED_PER_NODE = ("split_gain", "internal_value", "internal_weight", "internal_count")


@dataclass(frozen=True, slots=True, kw_only=True)
class LightgbmFacts:
    """What a LightGBM model says of itself.

    Attributes:
        features: Names of the columns that it predicts from, in order.
        objective: What it was trained for, such as ``binary``; empty when it does not say.
        outputs: Numbers that it gives per row.
        is_categorical: Per feature, whether it splits it by category.
        is_constant: Per feature, whether it had one value, so that nothing says how it was read.
        categories: For each categorical column of the data frame that it was trained on, its categories in the order
            of their codes; empty when there was none.
    """

    features: tuple[str, ...]
    objective: str
    outputs: int
    is_categorical: tuple[bool, ...]
    is_constant: tuple[bool, ...]
    categories: tuple[tuple[object, ...], ...]


def read_lightgbm_text(content: bytes, *, source: str) -> LightgbmFacts:
    """Check a model in LightGBM's text format and return what it says of itself.

    Raises:
        ModelError: It is not whole, or not consistent.
    """
    try:
        return _read(content)
    except (ValueError, KeyError, IndexError, OverflowError, RecursionError) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{source}: a damaged LightGBM model ({problem}). Save it anew (booster.save_model)."
        ) from error


def trees_alone(content: bytes) -> bytes:
    """Return a model's text without the record of its training, which predicts nothing and crashes the library too."""
    trees, end, rest = content.partition(b"\nend of trees\n")
    _, mark, categories = rest.rpartition(b"\npandas_categorical:")
    return trees + end + mark + categories


def _read(content: bytes) -> LightgbmFacts:
    head, separator, _ = content.partition(b"\nTree=0\n")
    start = len(head) + 1
    if not separator:
        raise ValueError("it has no tree")
    header = _entries(head.decode("utf-8").splitlines()[1:])
    features = tuple(header["feature_names"].split(" "))
    count = _number(header["max_feature_idx"], 0, _MOST_FEATURES) + 1
    infos = header["feature_infos"].split(" ")
    if len(features) != count or len(infos) != count or len(set(features)) != count:
        raise ValueError(
            f"max_feature_idx says {count} features, there are {len(features)} names and {len(infos)} infos"
        )
    per_iteration = _number(header["num_tree_per_iteration"], 1, _MOST_CLASSES)
    outputs = _number(header["num_class"], 1, _MOST_CLASSES)
    if outputs != per_iteration:
        raise ValueError(f"num_class is {outputs}, num_tree_per_iteration is {per_iteration}")
    sizes = _integers(header["tree_sizes"], lower=1, upper=len(content))
    if len(sizes) % per_iteration:
        raise ValueError(f"{len(sizes)} trees are no multiple of {per_iteration} classes")
    for number, size in enumerate(sizes):
        block = content[start : start + int(size)]
        start += int(size)
        try:
            _check_tree(block, number=number, features=count)
        except (ValueError, KeyError) as error:
            raise ValueError(f"tree {number}: {error}") from error
    rest = content[start:]
    if not rest.startswith(b"end of trees"):
        raise ValueError("it has no end of trees after the last one")
    if b"\nparameters:\n" in rest and b"\nend of parameters\n" not in rest:
        raise ValueError("it is cut off")
    return LightgbmFacts(
        features=features,
        objective=header.get("objective", ""),
        outputs=outputs,
        is_categorical=tuple(info != "none" and not info.startswith("[") for info in infos),
        is_constant=tuple(info == "none" for info in infos),
        categories=_categories(rest),
    )


def _entries(lines: Sequence[str]) -> dict[str, str]:
    entries: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition("=")
        if key in entries and key:
            raise ValueError(f"{key!r} stands there twice")
        entries[key] = value
    return entries


def _number(text: str, lower: int, upper: int) -> int:
    value = int(text)
    if not lower <= value <= upper:
        raise ValueError(f"{value}, expected {lower} to {upper}")
    return value


def _integers(text: str, *, lower: int, upper: int, count: int | None = None) -> NDArray[np.int64]:
    import numpy as np

    values = np.array(text.split(), dtype=np.int64)
    if count is not None and len(values) != count:
        raise ValueError(f"{len(values)} numbers, expected {count}")
    if len(values) and not (lower <= values.min() and values.max() <= upper):
        raise ValueError(f"{values.min()} to {values.max()}, expected {lower} to {upper}")
    return values


def _finite(text: str, *, count: int) -> NDArray[np.float64]:
    import numpy as np

    values = np.array(text.split(), dtype=np.float64)
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"expected {count} finite numbers, got {len(values)}, or one that is not finite")
    return values


def _check_tree(block: bytes, *, number: int, features: int) -> None:
    lines = block.decode("utf-8").splitlines()
    if not lines or lines[0] != f"Tree={number}":
        raise ValueError("it does not begin where tree_sizes says")
    tree = _entries([line for line in lines[1:] if line])
    leaves = _number(tree["num_leaves"], 1, _MOST_LEAVES)
    _finite(tree["leaf_value"], count=leaves)
    _finite(tree.get("shrinkage", "1"), count=1)
    if _number(tree.get("is_linear", "0"), 0, 1):
        _check_linear(tree, leaves=leaves, features=features)
    categories = _number(tree["num_cat"], 0, _MOST_LEAVES)
    if leaves > 1:
        for keys, count in ((_RECORDED_PER_LEAF, leaves), (_RECORDED_PER_NODE, leaves - 1)):
            for key in keys:
                if len([float(word) for word in tree[key].split()]) != count:
                    raise ValueError(f"{key} does not hold {count} numbers")
        _check_splits(tree, leaves=leaves, features=features, categories=categories)
    if categories:
        words = tree["cat_threshold"].split()
        _integers(tree["cat_threshold"], lower=0, upper=2**32 - 1)
        boundaries = _integers(tree["cat_boundaries"], lower=0, upper=len(words), count=categories + 1)
        if boundaries[0] or boundaries[-1] != len(words) or (boundaries[1:] < boundaries[:-1]).any():
            raise ValueError("cat_boundaries do not divide cat_threshold")


def _check_splits(tree: Mapping[str, str], *, leaves: int, features: int, categories: int) -> None:
    import numpy as np

    nodes = leaves - 1
    _integers(tree["split_feature"], lower=0, upper=features - 1, count=nodes)
    kinds = _integers(tree["decision_type"], lower=0, upper=15, count=nodes)
    thresholds = np.array(tree["threshold"].split(), dtype=np.float64)
    if len(thresholds) != nodes or np.isnan(thresholds).any():
        raise ValueError(f"expected {nodes} thresholds, got {len(thresholds)}, or one that is no number")
    by_category = thresholds[(kinds & 1) == 1]
    if len(by_category) and not ((by_category >= 0) & (by_category < categories) & (by_category % 1 == 0)).all():
        raise ValueError("a categorical threshold is not one of its categories")
    left = _integers(tree["left_child"], lower=-leaves, upper=nodes - 1, count=nodes)
    right = _integers(tree["right_child"], lower=-leaves, upper=nodes - 1, count=nodes)
    children = np.concatenate([left, right])
    parents = np.tile(np.arange(nodes), 2)
    # A node is made after its parent, so that a tree in which every child is later has no way back.
    if (children[children >= 0] <= parents[children >= 0]).any():
        raise ValueError("a node's child stands before it")
    if len(np.unique(children)) != len(children):
        raise ValueError("two nodes have the same child")


def _check_linear(tree: Mapping[str, str], *, leaves: int, features: int) -> None:
    _finite(tree["leaf_const"], count=leaves)
    used = _integers(tree["num_features"], lower=0, upper=features, count=leaves)
    _integers(tree["leaf_features"], lower=0, upper=features - 1, count=int(used.sum()))
    _finite(tree["leaf_coeff"], count=int(used.sum()))


def _categories(rest: bytes) -> tuple[tuple[object, ...], ...]:
    text = rest.rpartition(b"\npandas_categorical:")[2].decode("utf-8") if b"pandas_categorical:" in rest else "null"
    lists = json.loads(text)
    if lists is None:
        return ()
    if not isinstance(lists, list) or not all(isinstance(values, list) for values in lists):
        raise ValueError("pandas_categorical is no list of lists")
    return tuple(tuple(values) for values in lists)
