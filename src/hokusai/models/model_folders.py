"""What the folder of a model says of itself: which files belong to it, and which of them is the model."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast

from hokusai.errors import ModelError
from hokusai.models.stored_files import require_inside
from hokusai.records import MODEL_MANIFEST_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Recorded", "disk_errors_translated", "listed_digests", "model_file_name", "read_model_document"]

Recorded = Literal["every file", "model file", "own manifest", "nothing"]
_DIGEST = re.compile(r"[0-9a-f]{64}")


def listed_digests(source: str, manifest: bytes) -> dict[str, str]:
    """Return the digest of every file that a manifest lists, by path.

    Raises:
        ModelError: It is no such list, or names a file outside the folder.
    """
    try:
        files = cast("Mapping[str, Mapping[str, str]]", json.loads(manifest)["files"])
        listed = {str(path): str(entry["sha256"]) for path, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{source}: {MODEL_MANIFEST_FILE} is no list of files with digests; register the model again."
        raise ModelError(msg) from error
    for path, digest in listed.items():
        require_inside(path, address=source)
        if not _DIGEST.fullmatch(digest):
            raise ModelError(f"{source}: {MODEL_MANIFEST_FILE} gives {path} the digest {digest!r}, expected a SHA-256.")
    return listed


def read_model_document(folder: Path) -> Mapping[str, object]:
    """Return what the ``MLmodel`` file of a folder says; nothing when there is none that can be read."""
    import yaml

    try:
        document = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return document if isinstance(document, dict) else {}


def model_file_name(folder: Path) -> str:
    """Return which file of a folder is the model itself, as far as its MLmodel file says so."""
    flavors = read_model_document(folder).get("flavors")
    function = flavors.get("python_function") if isinstance(flavors, dict) else None
    named = (function.get("model_path") or function.get("data")) if isinstance(function, dict) else None
    return str(named) if named else "the model file"


@contextmanager
def disk_errors_translated(folder: Path) -> Iterator[None]:
    """Turn the errors of this machine's disk into ours."""
    try:
        yield
    except OSError as error:
        problem = error.strerror or str(error)
        raise ModelError(
            f"{error.filename or folder}: {problem}. Make room, give the right to it, or name another folder."
        ) from error
