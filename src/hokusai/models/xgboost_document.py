"""Checks XGBoost's JSON to the last number, because the library itself does not.

A child that points to itself ends the process or makes it predict for ever.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hokusai.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["XgboostFacts", "read_xgboost_document"]

_MOST_BYTES = 1 << 30
_MOST_CLASSES, _MOST_FEATURES, _MOST_NODES = 10_000, 10_000_000, 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class XgboostFacts:
    """What an XGBoost model says of itself.

    Attributes:
        features: Names of the columns that it predicts from, in order; empty when it has none.
        feature_types: XGBoost's word for the type of each; empty when it has none.
        feature_count: How many there are.
        has_categories: Per feature, whether the model carries the categories that it was trained on.
        objective: What it was trained for, such as ``binary:logistic``.
        outputs: Numbers that it gives per row before it chooses among them.
        best_iteration: The iteration that did best in training with early stopping, or None.
    """

    features: tuple[str, ...]
    feature_types: tuple[str, ...]
    feature_count: int
    has_categories: tuple[bool, ...]
    objective: str
    outputs: int
    best_iteration: int | None


def read_xgboost_document(content: bytes, *, source: str) -> XgboostFacts:
    """Check a model in XGBoost's JSON and return what it says of itself.

    Raises:
        ModelError: It is not whole, not consistent, or beyond what is taken.
    """
    if len(content) > _MOST_BYTES:
        raise ModelError(f"{source}: XGBoost JSON of {len(content):,} bytes, expected at most {_MOST_BYTES:,}.")
    try:
        return _read(json.loads(content, object_pairs_hook=_unique))
    except RecursionError as error:
        raise ModelError(f"{source}: a damaged XGBoost model (JSON nested too deeply). Save it anew.") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        problem = f"lacks {error}" if isinstance(error, KeyError) else str(error)[:200]
        raise ModelError(f"{source}: a damaged XGBoost model ({problem}). Save it anew (model.save_model).") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a key stands there twice")
    return entries


def _read(document: Mapping[str, Any]) -> XgboostFacts:
    learner = document["learner"]
    settings = learner["learner_model_param"]
    features = _number(settings["num_feature"], 1, _MOST_FEATURES)
    classes = _number(settings["num_class"], 0, _MOST_CLASSES)
    if _number(settings.get("num_target", "1"), 1, _MOST_CLASSES) != 1:
        raise ValueError("it predicts several columns at once, expected one")
    groups = max(classes, 1)
    names = tuple(_texts(learner.get("feature_names", ())))
    types = tuple(_texts(learner.get("feature_types", ())))
    if any(len(given) not in (0, features) for given in (names, types)) or len(set(names)) != len(names):
        raise ValueError(f"num_feature is {features}, there are {len(names)} names and {len(types)} types")
    booster = learner["gradient_booster"]
    _check_booster(booster, features=features, groups=groups)
    best = learner.get("attributes", {}).get("best_iteration")
    return XgboostFacts(
        features=names,
        feature_types=types,
        feature_count=features,
        has_categories=_categories(booster, features=features),
        objective=str(learner["objective"]["name"]),
        outputs=groups,
        best_iteration=None if best is None else _number(best, 0, _MOST_NODES),
    )


def _texts(values: Sequence[object]) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("a name is no text")
    return [str(value) for value in values]


def _number(value: str | int, lower: int, upper: int) -> int:
    number = int(value)
    if not lower <= number <= upper:
        raise ValueError(f"{number}, expected {lower} to {upper}")
    return number


def _array(values: object, kind: str, *, count: int | None = None) -> NDArray[Any]:
    import numpy as np

    array = np.array(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in ("iub" if kind == "i" else "iubf")):
        raise ValueError("an array is no list of numbers")
    if count is not None and len(array) != count:
        raise ValueError(f"an array of {len(array)} numbers, expected {count}")
    if array.size and not np.isfinite(array).all():
        raise ValueError("a number is not finite")
    return array


def _categories(booster: Mapping[str, Any], *, features: int) -> tuple[bool, ...]:
    model = booster.get("gbtree", booster).get("model", {})
    encodings = model.get("cats", {}).get("enc", [])
    if len(encodings) != features:
        return (False,) * features
    return tuple(bool(encoding.get("offsets")) for encoding in encodings)


def _check_booster(booster: Mapping[str, Any], *, features: int, groups: int) -> None:
    name = booster["name"]
    if name == "gblinear":
        _array(booster["model"]["weights"], "f", count=(features + 1) * groups)
        return
    if name not in ("gbtree", "dart"):
        raise ValueError(f"the booster {str(name)[:40]!r} is unknown")
    model = booster["gbtree"]["model"] if name == "dart" else booster["model"]
    trees = model["trees"]
    if _number(model["gbtree_model_param"]["num_trees"], 0, _MOST_NODES) != len(trees):
        raise ValueError(f"num_trees is not {len(trees)}")
    if name == "dart":
        _array(booster["weight_drop"], "f", count=len(trees))
    owners = _array(model["tree_info"], "i", count=len(trees))
    if len(owners) and not (owners.min() >= 0 and owners.max() < groups):
        raise ValueError("tree_info names a class that does not exist")
    steps = _array(model.get("iteration_indptr", [0, len(trees)]), "i")
    if not len(steps) or steps[0] or steps[-1] != len(trees) or (steps[1:] < steps[:-1]).any():
        raise ValueError("iteration_indptr does not divide the trees")
    for number, tree in enumerate(trees):
        try:
            _check_tree(tree, features=features)
        except ValueError as error:
            raise ValueError(f"tree {number}: {error}") from error


def _check_tree(tree: Mapping[str, Any], *, features: int) -> None:
    settings = tree["tree_param"]
    nodes = _number(settings["num_nodes"], 1, _MOST_NODES)
    if _number(settings.get("size_leaf_vector", "1"), 0, 1 << 31) > 1:
        raise ValueError("its leaves hold several numbers, expected one")
    left, right = _array(tree["left_children"], "i", count=nodes), _array(tree["right_children"], "i", count=nodes)
    features_used = _array(tree["split_indices"], "i", count=nodes)
    for key in ("split_conditions", "base_weights", "sum_hessian", "loss_changes"):
        _array(tree[key], "f", count=nodes)
    _array(tree["default_left"], "i", count=nodes)
    _array(tree["parents"], "i", count=nodes)
    if features_used.min() < 0 or features_used.max() >= features:
        raise ValueError("it splits by a feature that does not exist")
    if ((left == -1) != (right == -1)).any():
        raise ValueError("a node has one child")
    _check_ways(left, right)
    _check_tree_categories(tree, nodes=nodes)


def _check_ways(left: NDArray[Any], right: NDArray[Any]) -> None:
    """Walk from the root, level by level: every node is met at most once, or there would be a way back."""
    import numpy as np

    children = np.concatenate([left, right])
    if children.min() < -1 or children.max() >= len(left):
        raise ValueError("a child does not exist")
    met = np.zeros(len(left), dtype=np.int64)
    level = np.zeros(1, dtype=np.int64)
    while len(level):
        np.add.at(met, level, 1)
        if met[level].max() > 1:
            raise ValueError("a node is the child of two, or of itself")
        inner = level[left[level] != -1]
        level = np.concatenate([left[inner], right[inner]])


def _check_tree_categories(tree: Mapping[str, Any], *, nodes: int) -> None:
    values = _array(tree.get("categories", ()), "i")
    owners = _array(tree.get("categories_nodes", ()), "i")
    starts = _array(tree.get("categories_segments", ()), "i", count=len(owners))
    sizes = _array(tree.get("categories_sizes", ()), "i", count=len(owners))
    kinds = _array(tree.get("split_type", (0,) * nodes), "i", count=nodes)
    if len(owners) and not (owners.min() >= 0 and owners.max() < nodes):
        raise ValueError("categories belong to a node that does not exist")
    if len(owners) and (starts.min() < 0 or sizes.min() < 0 or (starts + sizes).max() > len(values)):
        raise ValueError("categories that are not there")
    if len(values) and not (values.min() >= 0 and values.max() < 1 << 24):
        raise ValueError("a category beyond what XGBoost knows")
    if kinds.min() < 0 or kinds.max() > 1 or int((kinds == 1).sum()) != len(owners):
        raise ValueError("split_type and categories do not agree")
