"""Compares a model's files with what was recorded of them when the model was logged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hokusai.digests import file_sha256, folder_manifest, sha256
from hokusai.errors import ModelDigestError
from hokusai.models.mlflow_folders import MLMODEL, read_mlflow_folder
from hokusai.records import MODEL_MANIFEST_FILE, MODEL_MANIFEST_TAG, MODEL_SHA256_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["check_recorded_digests", "place_sha256"]


def place_sha256(place: Path) -> str:
    """Return the digest by which a model is trusted: of its file, or of the list of all files of its folder."""
    return file_sha256(place) if place.is_file() else sha256(_manifest(place))


def _manifest(folder: Path) -> bytes:
    return folder_manifest(folder, excluded=(MODEL_MANIFEST_FILE,))


def check_recorded_digests(place: Path, tags: Mapping[str, str], *, source: str) -> bool:
    """Compare a model that was fetched with the digests among its tags.

    Returns:
        Whether there was one to compare with.

    Raises:
        ModelDigestError: Something was swapped, edited, added or lost.
    """
    recorded_list, recorded_file = tags.get(MODEL_MANIFEST_TAG, ""), tags.get(MODEL_SHA256_TAG, "")
    is_folder = place.is_dir()
    if recorded_list and is_folder:
        _check_list(place, recorded_list, source=source)
    if recorded_file and (not is_folder or (place / MLMODEL).is_file()):
        file = _model_file(place, source=source) if is_folder else place
        found = file_sha256(file) if file.is_file() else ""
        if found != recorded_file:
            raise ModelDigestError(source, what=file.name, expected=recorded_file, found=found)
        return True
    return bool(recorded_list and is_folder)


def _model_file(folder: Path, *, source: str) -> Path:
    found = read_mlflow_folder(folder, source=source)
    return folder / MLMODEL if found.flavor == "pyfunc" else found.file


def _check_list(folder: Path, recorded: str, *, source: str) -> None:
    manifest = _manifest(folder)
    if sha256(manifest) == recorded:
        return
    kept = folder / MODEL_MANIFEST_FILE
    content = kept.read_bytes() if kept.is_file() else b""
    if sha256(content) != recorded:
        # Without a list that is known to be the recorded one, nothing says which file it was.
        raise ModelDigestError(
            source, what=MODEL_MANIFEST_FILE, expected=recorded, found=sha256(content) if content else ""
        )
    expected, found = (json.loads(text)["files"] for text in (content, manifest))
    name = min(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    digests = [files[name]["sha256"] if name in files else "" for files in (expected, found)]
    raise ModelDigestError(source, what=name, expected=digests[0], found=digests[1])
