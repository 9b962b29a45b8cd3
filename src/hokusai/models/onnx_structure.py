"""Reads the structure of an ONNX file by hand: protobuf fields, nothing more, so that it can be judged before use.

The format is onnx.proto's; only the few fields are named here that say what a file would do when it is loaded.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hokusai.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["OnnxStructure", "is_onnx", "read_onnx_structure"]

_MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_IR_VERSION, _GRAPH, _OPSET, _FUNCTION = 1, 7, 8, 25
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
# Such an operator may run for ever: how often it does depends on what it computes.
_ENDLESS = {"Loop"}
_MOST_DEPTH, _MOST_NODES = 20, 1_000_000
_MOST_CLASSES = 10_000


@dataclass(slots=True, kw_only=True)
class OnnxStructure:
    """What an ONNX file is made of.

    Attributes:
        operators: Names of its operators, with their domain where that is not the usual one.
        has_external_data: Whether it asks for other files.
        classes: The class names that a classifier of it carries; empty when there are none.
    """

    operators: set[str] = field(default_factory=set)
    has_external_data: bool = False
    classes: tuple[str | int, ...] = ()
    nodes: int = 0


def is_onnx(path: Path) -> bool:
    """Return whether the whole file is one message with the fields of an ONNX model, a graph among them."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            kinds = [(number, kind) for number, kind, _, _ in _fields(content, 0, len(content))]
        except ValueError:
            return False
    numbers = {number for number, _ in kinds}
    return all(_MODEL_FIELDS.get(number) == kind for number, kind in kinds) and {_IR_VERSION, _GRAPH} <= numbers


def read_onnx_structure(content: bytes, *, source: str) -> OnnxStructure:
    """Return what an ONNX file is made of.

    Raises:
        ModelError: It is damaged, asks for other files, or has operators that are not ONNX's own.
    """
    found = OnnxStructure()
    try:
        for number, kind, start, end in _fields(content, 0, len(content)):
            if number == _GRAPH and kind == 2:
                _walk_graph(content, start, end, found=found, depth=0)
            elif number == _FUNCTION and kind == 2:
                _walk_function(content, start, end, found=found)
    except ValueError as error:
        raise ModelError(f"{source}: a damaged ONNX file ({error}). Export it anew.") from error
    if found.has_external_data:
        problem = "an ONNX file that keeps its numbers in other files, which are not covered by its digest"
        raise ModelError(f"{source}: {problem}. Save it whole (onnx.save without save_as_external_data).")
    foreign = sorted(name for name in found.operators if "." in name or name in _ENDLESS)
    if foreign:
        problem = f"an ONNX file with the operators {', '.join(foreign[:5])}, which would need a library of its own"
        if set(foreign) <= _ENDLESS:
            problem = "an ONNX file with the operator Loop, which may run for ever"
        raise ModelError(f"{source}: {problem}; expected operators of ONNX itself, without loops. Export it otherwise.")
    return found


def _fields(content: bytes | mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, and where the value begins and ends, of each field of a message."""
    at = start
    while at < end:
        key, at = _varint(content, at, end)
        number, kind = key >> 3, key & 7
        if kind == 0:
            _, after = _varint(content, at, end)
        elif kind == 2:
            length, at = _varint(content, at, end)
            after = at + length
        elif kind in (1, 5):
            after = at + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"wire type {kind} at byte {at}")
        if after > end or not number:
            raise ValueError(f"a field that ends beyond its message, at byte {at}")
        yield number, kind, at, after
        at = after


def _varint(content: bytes | mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"a number without an end, at byte {at}")


def _walk_graph(content: bytes, start: int, end: int, *, found: OnnxStructure, depth: int) -> None:
    if depth > _MOST_DEPTH:
        raise ValueError("graphs within graphs, too deep")
    for number, kind, inner, after in _fields(content, start, end):
        if kind != 2:
            continue
        if number == 1:
            _walk_node(content, inner, after, found=found, depth=depth)
        elif number == 5:
            _walk_tensor(content, inner, after, found=found)
        elif number == 15:
            _walk_sparse(content, inner, after, found=found)


def _walk_function(content: bytes, start: int, end: int, *, found: OnnxStructure) -> None:
    for number, kind, inner, after in _fields(content, start, end):
        if number == 7 and kind == 2:
            _walk_node(content, inner, after, found=found, depth=0)


def _walk_node(content: bytes, start: int, end: int, *, found: OnnxStructure, depth: int) -> None:
    found.nodes += 1
    if found.nodes > _MOST_NODES:
        raise ValueError(f"more than {_MOST_NODES:,} nodes")
    operator = domain = ""
    for number, kind, inner, after in _fields(content, start, end):
        if number == 4 and kind == 2:
            operator = content[inner:after].decode("utf-8")
        elif number == 7 and kind == 2:
            domain = content[inner:after].decode("utf-8")
        elif number == 5 and kind == 2:
            _walk_attribute(content, inner, after, found=found, depth=depth)
    found.operators.add(operator if domain in _DOMAINS else f"{domain}.{operator}")


def _walk_attribute(content: bytes, start: int, end: int, *, found: OnnxStructure, depth: int) -> None:
    name = ""
    classes: list[str | int] = []
    for number, kind, inner, after in _fields(content, start, end):
        if number == 1 and kind == 2:
            name = content[inner:after].decode("utf-8")
        elif number in (5, 10) and kind == 2:
            _walk_tensor(content, inner, after, found=found)
        elif number in (22, 23) and kind == 2:
            _walk_sparse(content, inner, after, found=found)
        elif number in (6, 11) and kind == 2:
            _walk_graph(content, inner, after, found=found, depth=depth + 1)
        elif name.startswith("classlabels_") and len(classes) <= _MOST_CLASSES:
            classes += _class_names(content, number, kind, inner, after)
    if classes:
        found.classes = tuple(classes)


def _class_names(content: bytes, number: int, kind: int, start: int, end: int) -> list[str | int]:
    if number == 9 and kind == 2:
        return [content[start:end].decode("utf-8")]
    if number == 8 and kind == 0:
        return [_signed(_varint(content, start, end)[0])]
    if number == 8 and kind == 2:
        names: list[str | int] = []
        while start < end and len(names) <= _MOST_CLASSES:
            value, start = _varint(content, start, end)
            names.append(_signed(value))
        return names
    return []


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _walk_sparse(content: bytes, start: int, end: int, *, found: OnnxStructure) -> None:
    for number, kind, inner, after in _fields(content, start, end):
        if number in (1, 2) and kind == 2:
            _walk_tensor(content, inner, after, found=found)


def _walk_tensor(content: bytes, start: int, end: int, *, found: OnnxStructure) -> None:
    for number, kind, inner, after in _fields(content, start, end):
        if number == 13 or (number == 14 and kind == 0 and _varint(content, inner, after)[0]):
            found.has_external_data = True
