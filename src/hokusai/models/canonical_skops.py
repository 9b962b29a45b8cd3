"""One file for one model: skops files that are equal, byte for byte, whenever the models in them are.

skops writes the time into its archive, names arrays after their place in memory, and writes that place beside every
object, so that objects which were one stay one. Two fits with equal results would have two digests, and so would one
fit that came from another process.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

__all__ = ["canonical_skops"]

_SCHEMA = "schema.json"
# A text vectorizer remembers where in memory its list of stop words was, to look at another list once more.
_PLACE_OF_STOP_WORDS = "_stop_words_id"
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def canonical_skops(content: bytes) -> bytes:
    """Return a skops file with the same model in it that depends on nothing but the model.

    Arrays are numbered in the order in which the model names them, and equal ones are kept once; the gaps in their
    records, which hold whatever stood in memory, are zero. Objects that were one are loaded as equal ones. Members of
    sets stand in order.

    Args:
        content: A file that skops has written.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read(_SCHEMA))
        members = {name: archive.read(name) for name in archive.namelist() if name != _SCHEMA}
    numbered: dict[bytes, str] = {}
    schema = _canonical(schema, members, numbered)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, name in numbered.items():
            archive.writestr(zipfile.ZipInfo(name, _NO_TIME), member)
        text = json.dumps(schema, separators=(",", ":"))
        archive.writestr(zipfile.ZipInfo(_SCHEMA, _NO_TIME), text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _canonical(node: Any, members: dict[str, bytes], numbered: dict[bytes, str]) -> Any:  # noqa: ANN401  (JSON)
    if isinstance(node, list):
        return [_canonical(item, members, numbered) for item in node]
    if not isinstance(node, dict):
        return node
    is_object = "__loader__" in node
    result: dict[str, Any] = {}
    for key, value in node.items():
        if is_object and key == "__id__":
            continue
        if key == _PLACE_OF_STOP_WORDS:
            result[key] = {**_canonical(value, members, numbered), "content": "0"}
        elif is_object and key == "file" and value in members:
            result[key] = _number(members[value], value.rpartition(".")[2], numbered)
        elif is_object and key == "content" and node["__loader__"] == "SetNode":
            result[key] = sorted((_canonical(item, {}, {}) for item in value), key=json.dumps)
        else:
            result[key] = _canonical(value, members, numbered)
    return result


def _number(member: bytes, ending: str, numbered: dict[bytes, str]) -> str:
    if ending == "npy":
        member = _without_gaps(member)
    return numbered.setdefault(member, f"{len(numbered)}.{ending}")


def _without_gaps(member: bytes) -> bytes:
    """Return an array's file with zeros between the fields of its records."""
    import numpy as np

    array = np.load(io.BytesIO(member), allow_pickle=False)
    if array.dtype.names is None:
        return member
    # Not numpy.zeros_like, which sets the fields alone.
    clean = np.zeros(array.shape, array.dtype, order="F" if array.flags.fnc else "C")
    for field in array.dtype.names:
        clean[field] = array[field]
    # Not by numpy.save, which copies the fields to somewhere else first, and there the gaps are anything again.
    return member[: len(member) - array.nbytes] + clean.tobytes("A")
