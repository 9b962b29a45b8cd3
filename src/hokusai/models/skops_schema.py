"""Judges a skops file by what it would construct, before anything of it is.

skops asks which types a file names. It does not ask what they are constructed from: a booster's text, or a tree's
sizes, go to compiled code as they are. This module looks at every node of the file's schema, lets boosters be read in
another process first, and puts what their library wrote there in their place.
"""

from __future__ import annotations

import inspect
import io
import json
import sys
import zipfile
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hokusai.digests import sha256
from hokusai.errors import HokusaiError, ModelError, UntrustedModelError
from hokusai.models.native_boosters import sound_lightgbm_text, sound_xgboost_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TypeAlias

    from hokusai.models.native_reader import NativeReader

    Node: TypeAlias = dict[str, Any]

__all__ = ["sound_skops"]

_SCHEMA = "schema.json"
_PROTOCOL = 2
_OURS = ("lightgbm", "sklearn", "skrub", "xgboost")
# Whether skops constructs such a node of nothing but types that are safe to construct of anything.
_PLAIN_NODES = {
    "BytearrayNode": ("builtins.bytearray",),
    "BytesNode": ("builtins.bytes",),
    "CachedNode": (),
    "DTypeNode": ("numpy.dtype",),
    "DefaultDictNode": ("collections.defaultdict",),
    "DictNode": ("builtins.dict", "collections.OrderedDict", "sklearn.utils._bunch.Bunch"),
    "JsonNode": (),
    "ListNode": ("builtins.list",),
    "PartialNode": ("functools.partial",),
    "SetNode": ("builtins.set", "builtins.frozenset"),
    "SliceNode": ("builtins.slice",),
    "SparseMatrixNode": (),
    "TreeNode": ("sklearn.tree._tree.Tree",),
    "TupleNode": ("builtins.tuple",),
}
_MODULES_OF_NODES = {
    "FunctionNode": ("numpy", "scipy", "sklearn.utils.validation"),
    "LossNode": ("sklearn._loss._loss", "sklearn.linear_model._sgd_fast"),
    "MaskedArrayNode": ("numpy",),
    "NdArrayNode": ("numpy",),
    "RandomGeneratorNode": ("numpy.random",),
    "RandomStateNode": ("numpy.random",),
    "TypeNode": ("builtins", "collections", "numpy"),
}
# Their numbers are checked once they are there; to construct them is safe.
_COMPILED = (
    "sklearn.metrics._dist_metrics",
    "sklearn.neighbors._ball_tree",
    "sklearn.neighbors._kd_tree",
)
_LIGHTGBM, _XGBOOST = "lightgbm.basic.Booster", "xgboost.core.Booster"


def sound_skops(path: Path, *, source: str, trusted: bool, reader: NativeReader) -> Path | io.BytesIO:
    """Return a skops file that can be constructed without harm to the process, the same file where it is one.

    Args:
        path: The file, all of whose types are trusted.
        source: What messages call it.
        trusted: Whether somebody vouches for it, so that it may hold what cannot be checked.
        reader: Reads the boosters in it.

    Raises:
        UntrustedModelError: It holds parts that cannot be checked, and nobody vouches for it.
        ConfigurationError: It needs a library that is not installed.
        ModelError: It is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            schema = json.loads(archive.read(_SCHEMA))
            nodes = list(_nodes(schema))
            if not trusted:
                _require_known_nodes(schema, nodes, source=source)
            known = _by_identity(nodes, archive=archive)
            changed: dict[str, bytes] = {}
            for node in nodes:
                if node["__loader__"] == "TreeNode":
                    _check_sizes(node, known=known, archive=archive)
                elif _name(node) in (_LIGHTGBM, _XGBOOST):
                    changed |= _with_sound_booster(node, archive=archive, source=source, reader=reader)
            if not any(_name(node) in (_LIGHTGBM, _XGBOOST) for node in nodes):
                return path
            return _rewritten(archive, {**changed, _SCHEMA: json.dumps(schema).encode()})
    except HokusaiError:
        raise
    except Exception as error:
        # A file that somebody made up can fail anywhere, inside the readers of zip files and arrays too.
        raise ModelError(f"{source}: a damaged skops file ({str(error)[:200]}). Save it anew.") from error


def _nodes(schema: object) -> Iterator[Node]:
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("__loader__"), str):
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _name(node: Node) -> str:
    return f"{node['__module__']}.{node['__class__']}"


def _by_identity(nodes: list[Node], *, archive: zipfile.ZipFile) -> dict[object, Node]:
    """Return the node of each number, once it is sure that all of a number are one: skops takes any of them."""
    known: dict[object, Node] = {}
    digests: dict[str, str] = {}
    for node in nodes:
        identity = node.get("__id__")
        if identity is None or node["__loader__"] == "CachedNode":
            continue
        if not _is_same(known.setdefault(identity, node), node, archive=archive, digests=digests):
            raise ValueError("two different parts under one number")
    return known


def _is_same(first: object, second: object, *, archive: zipfile.ZipFile, digests: dict[str, str]) -> bool:
    """Return whether two nodes are the same but for numbers and names of members, which skops gives anew each time."""
    waiting = [(first, second)]
    while waiting:
        one, other = waiting.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if (one.keys() ^ other.keys()) - {"__id__"}:
                return False
            for key in one.keys() - {"__id__"}:
                mine, theirs = one[key], other[key]
                if key == "file" and isinstance(mine, str) and isinstance(theirs, str) and mine != theirs:
                    mine, theirs = (_digest(member, archive, digests) for member in (mine, theirs))
                waiting.append((mine, theirs))
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            waiting.extend(zip(one, other, strict=True))
        elif type(one) is not type(other) or one != other:
            return False
    return True


def _digest(member: str, archive: zipfile.ZipFile, digests: dict[str, str]) -> str:
    if member not in digests:
        digests[member] = sha256(archive.read(member))
    return digests[member]


def _require_known_nodes(schema: Node, nodes: list[Node], *, source: str) -> None:
    if schema.get("protocol") != _PROTOCOL:
        raise UntrustedModelError(source, "the file was written by a skops of another protocol")
    for node in nodes:
        loader, name = node["__loader__"], _name(node)
        if loader == "ObjectNode":
            is_known = node["__module__"].partition(".")[0] in _OURS and _is_constructible(name)
        elif loader in _PLAIN_NODES:
            is_known = not _PLAIN_NODES[loader] or name in _PLAIN_NODES[loader]
        else:
            allowed = _MODULES_OF_NODES.get(loader, ())
            is_known = any(f"{node['__module__']}.".startswith(f"{module}.") for module in allowed)
        if not is_known:
            reason = f"it makes a {name} by a {loader}, and whether that is in order cannot be checked"
            raise UntrustedModelError(source, reason)


def _is_constructible(name: str) -> bool:
    """Return whether a class is written in Python, or is a compiled one that bears what it is given."""
    module, _, attribute = name.rpartition(".")
    found = getattr(import_module(module), attribute, None)
    return inspect.isclass(found) and all(_is_python(kind) or kind.__module__ in _COMPILED for kind in found.__mro__)


def _is_python(kind: type) -> bool:
    module = kind.__module__
    return module == "builtins" or str(getattr(sys.modules.get(module), "__file__", "")).endswith(".py")


def _check_sizes(node: Node, *, known: dict[object, Node], archive: zipfile.ZipFile) -> None:
    """Check what a tree is made with, which reads as many numbers as it is told to."""
    import numpy as np

    parts = _resolved(node["__reduce__"]["args"], known)
    if parts["__loader__"] != "TupleNode" or len(parts["content"]) != 3:
        raise ValueError("a tree is made of its three sizes")
    features, classes, outputs = (_resolved(part, known) for part in parts["content"])
    if classes["__loader__"] != "NdArrayNode" or classes["type"] != "numpy":
        raise ValueError("a tree's numbers of classes are no array")
    counts = np.load(io.BytesIO(archive.read(classes["file"])), allow_pickle=False)
    numbers = [_whole(part) for part in (features, outputs)]
    if min(numbers) < 1 or counts.ndim != 1 or len(counts) != numbers[1] or counts.min() < 1:
        raise ValueError("a tree's sizes do not fit one another")


def _resolved(node: Node, known: dict[object, Node]) -> Node:
    return known[node["__id__"]] if node["__loader__"] == "CachedNode" else node


def _whole(node: Node) -> int:
    value = json.loads(node["content"])
    if node["__loader__"] != "JsonNode" or not isinstance(value, int):
        raise ValueError("a tree's size is no whole number")
    return value


def _with_sound_booster(node: Node, *, archive: zipfile.ZipFile, source: str, reader: NativeReader) -> dict[str, bytes]:
    """Put a booster into a node that its library wrote in another process; return the new members."""
    state = node.get("content")
    if node["__loader__"] != "ObjectNode" or not isinstance(state, dict) or state["__loader__"] != "DictNode":
        raise ValueError(f"a {_name(node)} that is no booster")
    entries = state["content"]
    keys = [key for key in ("_handle", "handle") if key in entries]
    if len(keys) != 1:
        raise ValueError("a booster without its model, or with two")
    handle = entries[keys[0]]
    # Another node of the same number would be taken in place of this one.
    state.pop("__id__", None)
    handle.pop("__id__", None)
    if _name(node) == _LIGHTGBM:
        text = json.loads(handle["content"]) if handle["__loader__"] == "JsonNode" else None
        if not isinstance(text, str):
            raise ValueError("a LightGBM booster that is no text")
        sound = sound_lightgbm_text(text.encode(), source=source, reader=reader)
        handle["content"] = json.dumps(sound.decode())
        return {}
    if handle["__loader__"] != "BytearrayNode":
        raise ValueError("an XGBoost booster that is no bytes")
    content = sound_xgboost_state(archive.read(handle["file"]), source=source, reader=reader)
    # Boosters may share a member: each keeps its own.
    handle["file"] = f"booster-{id(handle)}.bin"
    return {handle["file"]: content}


def _rewritten(archive: zipfile.ZipFile, changed: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as copy:
        for name in dict.fromkeys(archive.namelist()):
            if name not in changed:
                copy.writestr(name, archive.read(name))
        for name, content in changed.items():
            copy.writestr(name, content)
    buffer.seek(0)
    return buffer
