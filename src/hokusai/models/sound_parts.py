"""Checks the numbers of a loaded scikit-learn model which compiled code follows without asking.

A child that points to itself makes a tree predict for ever, one that points nowhere makes it read foreign memory. What
Python code works with needs no check: wrong numbers raise there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from hokusai.errors import ModelError, UntrustedModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["inner_parts", "require_sound_parts"]

Part: TypeAlias = Any
"""An object of a library without types, which may hold anything."""

_MOST_BITS, _BITSET_WORDS = 256, 8
_MOST_HASHED = 2**31 - 1
_STATE_WORDS = 624
_PLAIN_KERNELS = ("linear", "poly", "rbf", "sigmoid")
_PLAIN_METRICS = ("EuclideanDistance", "ManhattanDistance", "ChebyshevDistance", "MinkowskiDistance")
_UNCHECKED = (
    "BisectingKMeans",
    "DictionaryLearning",
    "LatentDirichletAllocation",
    "MiniBatchDictionaryLearning",
    "MiniBatchNMF",
    "MiniBatchSparsePCA",
    "NMF",
    "RadiusNeighborsClassifier",
    "SparseCoder",
    "SparsePCA",
)
"""They give numbers of the file to compiled code too, in ways that nobody has looked through here."""


def require_sound_parts(estimator: object, *, source: str, trusted: bool = False) -> None:
    """Refuse a loaded model with which compiled code would crash or never end.

    Args:
        estimator: The model, which nobody has asked yet.
        source: What messages call it.
        trusted: Whether somebody vouches for it, so that parts that cannot be checked are taken as they are.

    Raises:
        UntrustedModelError: A part cannot be checked, and nobody vouches for it.
        ModelError: A part is not sound.
    """
    for part in inner_parts(estimator):
        names = [kind.__name__ for kind in type(part).__mro__ if _is_known(kind)]
        for name in names:
            if name in _UNCHECKED and not trusted:
                raise UntrustedModelError(source, f"whether the numbers of a {name} are in order cannot be checked")
        try:
            _require_own_methods(part)
            for name in names:
                if name in _CHECKS:
                    _CHECKS[name](part)
        except UntrustedModelError:
            raise
        except _UncheckedError as error:
            if not trusted:
                raise UntrustedModelError(source, f"{type(part).__name__}: {error}, which cannot be checked") from error
        except Exception as error:
            # What somebody made up can fail anywhere.
            problem = f"a damaged {type(part).__name__} ({error})"
            raise ModelError(f"{source}: {problem}. Get a sound copy, or train the model anew.") from error


def inner_parts(value: object) -> Iterator[object]:
    """Yield every object of which a value is made, itself included, once each."""
    seen: dict[int, object] = {}
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, (str, bytes, int, float, type)):
            continue
        seen[id(part)] = part
        yield part
        waiting.extend(_held(part))


def _held(part: Part) -> Iterable[object]:
    if isinstance(part, dict):
        return tuple(part.values())
    if isinstance(part, (list, tuple, set, frozenset)):
        return part
    if type(part).__module__ == "functools":
        return (part.func, part.args, part.keywords)
    if getattr(getattr(part, "dtype", None), "kind", "") == "O":
        return tuple(part.ravel().tolist())
    return (*getattr(part, "__dict__", {}).values(), *_tree_state(part))


def _tree_state(part: Part) -> tuple[object, ...]:
    return part.__getstate__() if _is_named(part, "BinaryTree64", "BinaryTree32", "BinaryTree") else ()


class _UncheckedError(Exception):
    """A part is of a kind that cannot be checked."""


def _is_known(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("numpy", "scipy", "sklearn")


def _is_named(part: object, *names: str) -> bool:
    return any(kind.__name__ in names and _is_known(kind) for kind in type(part).__mro__)


def _require(is_so: object, problem: str) -> None:
    if not is_so:
        raise ValueError(problem)


def _require_within(values: Part, lower: int, upper: int, what: str) -> None:
    """Require integers from lower up to, not including, upper."""
    _require(values.dtype.kind in "iu", f"{what}: expected integers, found {values.dtype}")
    if values.size:
        least, greatest = int(values.min()), int(values.max())
        _require(lower <= least and greatest < upper, f"{what}: {least} to {greatest}, expected {lower} to {upper - 1}")


def _count(value: Part, what: str, *, least: int = 1) -> int:
    import numpy as np

    is_count = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= least
    _require(is_count, f"{what} is {value!r:.40}, expected a whole number from {least}")
    return int(value)


def _width(part: Part) -> int:
    return _count(getattr(part, "n_features_in_", None), "n_features_in_")


def _require_own_methods(part: object) -> None:
    """Refuse an estimator whose methods something from the file hides: they check what they are given."""
    if type(part).__module__.partition(".")[0] not in ("lightgbm", "sklearn", "skrub", "xgboost"):
        return
    for name in getattr(part, "__dict__", {}):
        is_hidden = callable(getattr(type(part), str(name), None))
        _require(not is_hidden, f"{str(name)[:80]!r} hides a method of that name")


def _require_later_children(left: NDArray[Any], right: NDArray[Any], inner: NDArray[Any], count: int) -> None:
    """Require every child to stand behind its parent, as it does in all trees: then there is no way back."""
    for children in (left[inner], right[inner]):
        _require_within(children, 0, count, "children")
        _require((children > inner).all(), "a child stands before its parent")


def _check_tree(tree: Part) -> None:
    import numpy as np

    count = _count(tree.node_count, "its number of nodes")
    # The arrays below are views of as many nodes, whether there is memory for them or not.
    _require(count <= tree.capacity, f"{count} nodes, expected at most {tree.capacity}")
    left, features = tree.children_left, tree.feature
    inner = np.flatnonzero(left != -1)
    _require_later_children(left, tree.children_right, inner, count)
    _require_within(features[inner], 0, _count(tree.n_features, "its number of features"), "features")


def _check_owner(part: Part) -> None:
    tree = getattr(part, "tree_", None)
    if tree is not None:
        _require_tree_of(part, _width(part))


def _require_tree_of(owner: Part, width: int) -> None:
    _require(_is_named(owner, "BaseDecisionTree"), f"holds a {type(owner).__name__}, expected a decision tree")
    _require(_is_named(owner.tree_, "Tree"), f"holds a {type(owner.tree_).__name__}, expected a tree")
    found = int(owner.tree_.n_features)
    _require(found == _width(owner) == width, f"a tree of {found} features, expected {width}")


def _check_forest(part: Part) -> None:
    for member in getattr(part, "estimators_", ()):
        _require_tree_of(member, _width(part))


def _check_isolation_forest(part: Part) -> None:
    width = _width(part)
    for member, features in zip(
        getattr(part, "estimators_", ()), getattr(part, "estimators_features_", ()), strict=True
    ):
        _require_within(features, 0, width, "estimators_features_")
        _require(features.ndim == 1 and len(features) <= width, "estimators_features_ is no list of features")
        _require_tree_of(member, len(features))


def _check_gradient_boosting(part: Part) -> None:
    import numpy as np

    if not hasattr(part, "estimators_"):
        return
    members, width = part.estimators_, _width(part)
    _require(members.ndim == 2 and members.size, "estimators_ is no table of trees")
    for member in members.ravel():
        _require_tree_of(member, width)
    if not isinstance(part.init_, str) and not _is_named(part.init_, "DummyClassifier", "DummyRegressor"):
        raise _UncheckedError(f"it begins with a {type(part.init_).__name__}")
    _require_own_methods(part.init_)
    # As many columns as the trees will be added to.
    begun = part._raw_predict_init(np.zeros((2, width), dtype=np.float32))  # noqa: SLF001 - nothing else says it
    _require(begun.shape == (2, members.shape[1]), f"{members.shape[1]} trees a stage, expected {begun.shape[1]}")


def _check_hist_gradient_boosting(part: Part) -> None:
    if not hasattr(part, "_predictors"):
        return
    bins = part._bin_mapper  # noqa: SLF001 - nothing else says it
    is_categorical = bins.is_categorical_
    width = _hist_width(part)
    _require(
        is_categorical.dtype.kind in "bu" and is_categorical.shape == (width,), "is_categorical_ is of another width"
    )
    for place in is_categorical.nonzero()[0]:
        known = bins.bin_thresholds_[place]
        _require(((known >= 0) & (known < _MOST_BITS)).all(), "a category is beyond the greatest")
    for member in (member for stage in part._predictors for member in stage):  # noqa: SLF001 - as above
        _require(_is_named(member, "TreePredictor"), f"holds a {type(member).__name__}, expected a tree")
        _check_predictor(member, is_categorical=is_categorical, width=width)


def _check_predictor(member: Part, *, is_categorical: NDArray[Any], width: int) -> None:
    nodes, bitsets = member.nodes, member.raw_left_cat_bitsets
    _require(nodes.ndim == 1 and len(nodes), "a tree without nodes")
    inner = (nodes["is_leaf"] == 0).nonzero()[0]
    left, right = nodes["left"].astype("int64"), nodes["right"].astype("int64")
    _require_later_children(left, right, inner, len(nodes))
    _require_within(nodes["feature_idx"][inner], 0, width, "features")
    by_category = inner[nodes["is_categorical"][inner] != 0]
    _require(
        (is_categorical[nodes["feature_idx"][by_category]] != 0).all(), "a feature without categories is split by them"
    )
    _require(bitsets.ndim == 2 and bitsets.shape[1] == _BITSET_WORDS, "sets of categories of another size")
    _require_within(nodes["bitset_idx"][by_category], 0, len(bitsets), "sets of categories")


def _hist_width(part: Part) -> int:
    """Return how many columns the trees are given."""
    import numpy as np

    before = getattr(part, "_preprocessor", None)
    if before is None:
        return _width(part)
    _require(_is_named(before, "ColumnTransformer"), "prepares its columns in an unknown way")
    width = 0
    for name, step, columns in before.transformers_:
        if step == "drop":
            continue
        is_encoder = _is_named(step, "OrdinalEncoder") and name == "encoder"
        is_number = _is_named(step, "FunctionTransformer") and name == "numerical"
        if is_number:
            function = getattr(step.func, "func", step.func)
            is_number = function is None or getattr(function, "__name__", "") == "check_array"
        _require(is_encoder or is_number, "prepares its columns in an unknown way")
        chosen = list(columns)
        width += sum(map(bool, chosen)) if all(isinstance(each, (bool, np.bool_)) for each in chosen) else len(chosen)
    return width


def _check_binary_tree(tree: Part) -> None:
    import numpy as np

    data, places, nodes, bounds, *_, metric, weights = tree.__getstate__()
    count, features = data.shape
    _require(count and features, "it is empty")
    _require(places.shape == (count,), "idx_array is of another length")
    _require_within(places, 0, count, "idx_array")
    _require(len(nodes) and bounds.shape[1:] == (len(nodes), features), "node_bounds are of another shape")
    _require(bounds.shape[0] == (2 if _is_named(tree, *_KD_TREES) else 1), "node_bounds are of another shape")
    start, end = nodes["idx_start"], nodes["idx_end"]
    _require(((start >= 0) & (start <= end) & (end <= count)).all(), "a node's points do not exist")
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    _require((2 * inner + 2 < len(nodes)).all(), "a node's child does not exist")
    _require(weights is None or weights.shape == (count,), "sample_weight is of another length")
    _check_metric(metric, features)


def _check_metric(metric: Part, features: int) -> None:
    name = type(metric).__name__.removesuffix("64").removesuffix("32")
    if name not in _PLAIN_METRICS:
        raise _UncheckedError(f"it measures by {name}")
    size = metric.__getstate__()[1].size
    _require(size == features or (size == 1 and features > 1), f"{size} weights of a distance, expected {features}")


def _check_neighbors(part: Part) -> None:
    if not hasattr(part, "_fit_X"):
        return
    known, tree = part._fit_X, getattr(part, "_tree", None)  # noqa: SLF001 - nothing else says it
    _require(known.ndim == 2 and known.shape[1] == _width(part), "its rows are of another width")
    _require(_count(part.n_samples_fit_, "n_samples_fit_") == known.shape[0], "n_samples_fit_ is wrong")
    _count(getattr(part, "n_neighbors", None) or 1, "n_neighbors")
    if tree is not None:
        _require(_is_named(tree, "BinaryTree64", "BinaryTree32", *_KD_TREES, *_BALL_TREES), "it holds no tree")
        _require(tree.data.shape == known.shape, "its tree is of other rows")


def _check_neighbors_classifier(part: Part) -> None:
    if not hasattr(part, "_y"):
        return
    labels = part._y  # noqa: SLF001 - nothing else says it
    _require(len(labels) == part._fit_X.shape[0], "as many labels as rows are expected")  # noqa: SLF001 - as above
    if labels.ndim == 1:
        _require_within(labels, 0, len(part.classes_), "labels")


def _check_support_vectors(part: Part) -> None:
    if not hasattr(part, "support_vectors_"):
        return
    if part.kernel not in _PLAIN_KERNELS:
        raise _UncheckedError(f"its kernel is {part.kernel!r:.40}")
    vectors, each = part.support_vectors_, part._n_support  # noqa: SLF001 - nothing else says it
    is_classifier = part._impl in ("c_svc", "nu_svc")  # noqa: SLF001 - as above
    classes, count = len(each) if is_classifier else 2, vectors.shape[0]
    pairs = classes * (classes - 1) // 2
    _require(classes >= 2 and len(each) == classes and vectors.shape[1] == _width(part), "numbers of vectors")
    _require(each.min() >= 0 and (not is_classifier or each.sum() == count), "numbers of vectors")
    coefficients = part._dual_coef_
    _require(part.support_.shape == (count,) and coefficients.shape == (classes - 1, count), "numbers of coefficients")
    if hasattr(coefficients, "indptr"):
        _require(coefficients.data.size == (classes - 1) * count, "numbers of coefficients")
    _require(part._intercept_.shape == (pairs,), "numbers of intercepts")
    for values in (part._probA, part._probB):  # noqa: SLF001 - as above
        _require(values.size in (0, pairs), "numbers of probabilities")
    _require(part._probA.size == part._probB.size, "numbers of probabilities")  # noqa: SLF001 - as above


def _check_centers(part: Part) -> None:
    if hasattr(part, "cluster_centers_"):
        centers = part.cluster_centers_
        _require(centers.ndim == 2 and len(centers) and centers.shape[1] == _width(part), "centers of another width")


def _check_sparse(part: Part) -> None:
    if part.format in ("csr", "csc", "bsr"):
        part.check_format(full_check=True)
    elif part.format == "coo":
        for places, size in zip(part.coords, part.shape, strict=True):
            _require_within(places, 0, size, "indices")
    else:
        raise _UncheckedError(f"a sparse matrix of the format {part.format}")


def _check_one_hot(part: Part) -> None:
    if not hasattr(part, "categories_"):
        return
    found, counted = part._n_features_outs, part._compute_n_features_outs()  # noqa: SLF001 - nothing else says it
    _require(list(found) == list(counted), f"{sum(found)} columns come out, expected {sum(counted)}")
    if not getattr(part, "_infrequent_enabled", False):
        return
    for place, mapping in enumerate(part._default_to_infrequent_mappings):  # noqa: SLF001 - as above
        if mapping is not None:
            dropped = part._drop_idx_after_grouping is not None  # noqa: SLF001 - as above
            _require_within(mapping, 0, found[place] + dropped, "infrequent categories")


def _check_vocabulary(part: Part) -> None:
    words = getattr(part, "vocabulary_", None)
    if words is not None:
        for place in words.values():
            _require(0 <= _count(place, "a word's column", least=0) < len(words), "a word's column does not exist")


def _check_hashing(part: Part) -> None:
    _require(_count(part.n_features, "n_features") <= _MOST_HASHED, "n_features is beyond the greatest")


def _check_random_state(part: Part) -> None:
    place = part.get_state(legacy=False)["state"]["pos"]
    _require(0 <= place <= _STATE_WORDS, "its position is out of range")


_KD_TREES = ("KDTree", "KDTree64", "KDTree32")
_BALL_TREES = ("BallTree", "BallTree64", "BallTree32")
_CHECKS: Mapping[str, Callable[[Part], None]] = {
    "BaseDecisionTree": _check_owner,
    "BaseForest": _check_forest,
    "BaseGradientBoosting": _check_gradient_boosting,
    "BaseHistGradientBoosting": _check_hist_gradient_boosting,
    "BaseLibSVM": _check_support_vectors,
    "BinaryTree": _check_binary_tree,
    "BinaryTree32": _check_binary_tree,
    "BinaryTree64": _check_binary_tree,
    "CountVectorizer": _check_vocabulary,
    "DictVectorizer": _check_vocabulary,
    "FeatureHasher": _check_hashing,
    "HashingVectorizer": _check_hashing,
    "IsolationForest": _check_isolation_forest,
    "KNeighborsClassifier": _check_neighbors_classifier,
    "NeighborsBase": _check_neighbors,
    "OneHotEncoder": _check_one_hot,
    "RandomState": _check_random_state,
    "Tree": _check_tree,
    "_BaseKMeans": _check_centers,
    "_spbase": _check_sparse,
}
