"""Compares a model's files with what was recorded of them when the model was logged: the one comparison for all.

Two digests may be on record: that of the manifest, which lists every file with its digest, and that of the model file.
The second is worth as much as the question which file is the model, and a folder may hold several: it is what the
MLmodel file names, in each of its flavours, because that is what MLflow loads. Whatever else of the folder a flavour
names would be loaded as well, and is not what was recorded.

What this says is as good as the record. Whoever may write everything in the store can replace the files and the tags
together; only a statement that was signed elsewhere would show that.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, cast

from hokusai.digests import file_sha256, folder_manifest, sha256
from hokusai.errors import ModelDigestError, ModelError
from hokusai.models.mlflow_folders import MLMODEL, read_mlflow_folder
from hokusai.models.stored_files import require_inside
from hokusai.records import MODEL_LOADING_NOTE, MODEL_MANIFEST_FILE, MODEL_MANIFEST_TAG, MODEL_SHA256_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = [
    "FileDifference",
    "Recorded",
    "RecordedDigests",
    "check_digests",
    "check_recorded_digests",
    "digests_of",
    "disk_errors_translated",
    "listed_digests",
    "place_sha256",
    "require_digests",
]

Recorded = Literal["every file", "model file", "own manifest", "nothing"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NOT_LISTED = {MODEL_MANIFEST_FILE, MODEL_LOADING_NOTE}
_MODEL_KEYS = {"pickled_model", "data", "model_path"}
_ENVIRONMENT_KEY = "env"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDifference:
    """A file of a model that is not what was recorded.

    Attributes:
        path: The file, relative to the model's folder.
        expected: The recorded SHA-256; empty for a file of which nothing was recorded.
        found: The SHA-256 of what is there; empty when it is not there.
    """

    path: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDigests:
    """How the files of a model compare with what was recorded of them.

    Attributes:
        recorded: What was recorded; ``own manifest`` where only the folder itself has a list of its files.
        differences: What is not as recorded, sorted by path.
    """

    recorded: Recorded
    differences: tuple[FileDifference, ...]


def place_sha256(place: Path) -> str:
    """Return the digest by which a model is trusted: of its file, or of the list of all files of its folder."""
    return file_sha256(place) if place.is_file() else sha256(folder_manifest(place, excluded=(MODEL_MANIFEST_FILE,)))


def digests_of(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder, by path."""
    return {file.relative_to(folder).as_posix(): file_sha256(file) for file in folder.rglob("*") if file.is_file()}


def check_recorded_digests(place: Path, tags: Mapping[str, str], *, source: str) -> bool:
    """Compare a model that was fetched with the digests among its tags.

    Returns:
        Whether there was one to compare with.

    Raises:
        ModelDigestError: Something was swapped, edited, added or lost.
    """
    if not place.is_dir():
        expected = tags.get(MODEL_SHA256_TAG, "")
        if expected and (found := file_sha256(place)) != expected:
            raise ModelDigestError(source, what=place.name, expected=expected, found=found)
        return bool(expected)
    if not {MODEL_SHA256_TAG, MODEL_MANIFEST_TAG} & tags.keys():
        return False
    return require_digests(place, digests_of(place), tags, source=source) in ("every file", "model file")


def require_digests(folder: Path, found: Mapping[str, str], tags: Mapping[str, str], *, source: str) -> Recorded:
    """Refuse the files of a model unless they are what was recorded.

    Returns:
        What was recorded.

    Raises:
        ModelDigestError: Something was swapped, edited, added or lost.
    """
    checked = check_digests(folder, found, tags, source=source)
    for item in checked.differences:
        raise ModelDigestError(source, what=item.path, expected=item.expected, found=item.found)
    return checked.recorded


def check_digests(folder: Path, found: Mapping[str, str], tags: Mapping[str, str], *, source: str) -> RecordedDigests:
    """Compare the files of a model with what was recorded of them.

    Args:
        folder: Where the manifest and the MLmodel file are; the other files need not be there any more.
        found: SHA-256 of every file by path.
        tags: What was recorded.
        source: What messages call the model.

    Raises:
        ModelError: Its manifest is no list of files with digests.
    """
    manifest_digest, model_digest = tags.get(MODEL_MANIFEST_TAG, ""), tags.get(MODEL_SHA256_TAG, "")
    own_digest = found.get(MODEL_MANIFEST_FILE, "")
    wrong: dict[str, str] = {}
    if manifest_digest and manifest_digest != own_digest:
        wrong[MODEL_MANIFEST_FILE] = manifest_digest
    elif own_digest:
        listed = listed_digests(source, (folder / MODEL_MANIFEST_FILE).read_bytes())
        paths = (listed.keys() | found.keys()) - _NOT_LISTED
        wrong = {path: listed.get(path, "") for path in paths if listed.get(path) != found.get(path)}
    if model_digest and MLMODEL not in wrong:
        for path in _loaded_paths(folder, found, source=source):
            if found.get(path) != model_digest:
                wrong.setdefault(path, model_digest)
    recorded: Recorded = "every file" if manifest_digest else "model file" if model_digest else "nothing"
    if recorded == "nothing" and own_digest:
        recorded = "own manifest"
    return RecordedDigests(
        recorded=recorded,
        differences=tuple(
            FileDifference(path=path, expected=expected, found=found.get(path, ""))
            for path, expected in sorted(wrong.items())
        ),
    )


def listed_digests(source: str, manifest: bytes) -> dict[str, str]:
    """Return the digest of every file that a manifest lists, by path.

    Raises:
        ModelError: It is no such list, or names a file outside the folder.
    """
    try:
        files = cast("Mapping[str, Mapping[str, str]]", json.loads(manifest)["files"])
        listed = {str(path): str(entry["sha256"]) for path, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{source}: {MODEL_MANIFEST_FILE} is no list of files with digests; register the model again."
        raise ModelError(msg) from error
    for path, digest in listed.items():
        require_inside(path, address=source)
        if not _DIGEST.fullmatch(digest):
            raise ModelError(f"{source}: {MODEL_MANIFEST_FILE} gives {path} the digest {digest!r}, expected a SHA-256.")
    return listed


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


def _loaded_paths(folder: Path, found: Mapping[str, str], *, source: str) -> set[str]:
    """Return what MLflow would load of a folder, by any of its flavours; or words for what nobody names."""
    try:
        flavors = read_mlflow_folder(folder, source=source).flavors
    except ModelError:
        return {f"the model file, which no readable {MLMODEL} names"}
    paths: set[str] = set()
    for flavor, entry in flavors.items():
        named = {path for key, value in entry.items() for path in _named_paths(key, value, found)}
        module = entry.get("loader_module")
        if module is not None and (module not in {f"mlflow.{name}" for name in flavors} or "." in module[7:]):
            named.add(f"the code {str(module)[:80]!r}, which the flavour {flavor} names")
        paths |= named or {f"the model file, which the flavour {flavor} does not name"}
    return paths


def _named_paths(key: str, value: Any, found: Mapping[str, str]) -> Iterator[str]:  # noqa: ANN401  (anything of YAML)
    """Yield the files and folders that a value of a flavour names, but for those of its environment."""
    if key == _ENVIRONMENT_KEY:
        return
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _named_paths("", item, found)
    elif isinstance(value, str) and value:
        path = PurePosixPath(value)
        if key in _MODEL_KEYS or any(file == str(path) or file.startswith(f"{path}/") for file in found):
            yield str(path)
        elif path.name in found:
            # Of a path to where a script once was, MLflow takes the name alone.
            yield path.name
