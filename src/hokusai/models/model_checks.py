"""Whether the files of a model are those that were recorded: a verdict with every difference."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.digests import file_sha256
from hokusai.errors import ModelError, ModelNotFoundError
from hokusai.models.model_folders import (
    disk_errors_translated,
    listed_digests,
    model_file_name,
    read_model_document,
)
from hokusai.records import MODEL_MANIFEST_FILE, MODEL_MANIFEST_TAG, MODEL_SHA256_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hokusai.models.mlflow_registry import ModelRegistry
    from hokusai.models.model_folders import Recorded
    from hokusai.records import ModelVersion

__all__ = ["FileDifference", "ModelCheck", "check_model"]

# MLflow adds the second to folders that it has fetched itself.
_NOT_LISTED = {MODEL_MANIFEST_FILE, "registered_model_meta"}
_KEPT = {MODEL_MANIFEST_FILE, "MLmodel"}


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
class ModelCheck:
    """Whether a model's files are those that were recorded.

    Attributes:
        source: The address or folder that was checked.
        recorded: What it was checked against; ``own manifest`` for a folder whose manifest is not on record in the
            store, so that it can only be checked against itself.
        recorded_as: Address of the version whose record that is; empty when there is none.
        files: Number of files that were looked at.
        differences: What is not as recorded, sorted by path.
        problem: Why it could not be compared with more, one sentence; empty when it was.
    """

    source: str
    recorded: Recorded
    recorded_as: str
    files: int
    differences: tuple[FileDifference, ...]
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether something was recorded and all of it is so; what nothing is known of is not said to be right."""
        return self.recorded != "nothing" and not self.differences


def check_model(source: str | Path, *, registry: ModelRegistry, recorded_as: str = "") -> ModelCheck:
    """Say whether the files of a model are those that were recorded: in the store, or in a folder that was pulled.

    Args:
        source: An address, or a folder on this machine.
        registry: The store.
        recorded_as: For a folder: address of the version that it should be; default the one that has its manifest.

    Raises:
        ModelNotFoundError: Nothing answers to the address.
        ModelError: The store does not answer, and an address was given.
    """
    if Path(source).is_dir():
        return _check_folder(Path(source), registry=registry, recorded_as=recorded_as)
    version = registry.find(str(source))
    files = registry.files(version)
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="hokusai-") as name, disk_errors_translated(Path(name)):
        folder = Path(name)
        # One after the other: a model may be larger than the room for temporary files.
        for path in files.sizes():
            files.fetch([path], folder)
            found[path] = file_sha256(folder / path)
            if path not in _KEPT:
                (folder / path).unlink()
        return _verdict(version.address, found, folder=folder, version=version)


def _check_folder(folder: Path, *, registry: ModelRegistry, recorded_as: str) -> ModelCheck:
    with disk_errors_translated(folder):
        found = {file.relative_to(folder).as_posix(): file_sha256(file) for file in folder.rglob("*") if file.is_file()}
        version, problem = None, ""
        if recorded_as:
            version = registry.find(recorded_as)
        elif MODEL_MANIFEST_FILE in found:
            try:
                version = _version_of(folder, found[MODEL_MANIFEST_FILE], registry=registry)
            except ModelNotFoundError:
                problem = f"no model in {registry.store} has this manifest"
            except ModelError as error:
                problem = f"the store was not asked: {error}"
        else:
            problem = f"there is no {MODEL_MANIFEST_FILE} in the folder"
        return _verdict(str(folder), found, folder=folder, version=version, problem=problem)


def _version_of(folder: Path, manifest_digest: str, *, registry: ModelRegistry) -> ModelVersion:
    """Return the model on record with this manifest, else the one that the folder itself says it is."""
    if matching := registry.by_tag(MODEL_MANIFEST_TAG, manifest_digest):
        return matching[0]
    return registry.find(str(read_model_document(folder).get("model_id") or manifest_digest))


def _verdict(
    source: str, found: Mapping[str, str], *, folder: Path, version: ModelVersion | None, problem: str = ""
) -> ModelCheck:
    """Compare digests by path with what was recorded; the manifest and the MLmodel file are in the folder."""
    tags = {} if version is None else version.tags
    manifest_digest, model_digest = tags.get(MODEL_MANIFEST_TAG, ""), tags.get(MODEL_SHA256_TAG, "")
    own_digest = found.get(MODEL_MANIFEST_FILE, "")
    differences: list[FileDifference] = []
    recorded: Recorded = "every file" if manifest_digest else "model file" if model_digest else "nothing"
    if recorded == "nothing" and own_digest:
        recorded = "own manifest"
    if manifest_digest != own_digest and manifest_digest:
        differences.append(FileDifference(path=MODEL_MANIFEST_FILE, expected=manifest_digest, found=own_digest))
    elif own_digest:
        expected = listed_digests(source, (folder / MODEL_MANIFEST_FILE).read_bytes())
        own = {path: digest for path, digest in found.items() if path not in _NOT_LISTED}
        differences += [
            FileDifference(path=path, expected=expected.get(path, ""), found=own.get(path, ""))
            for path in expected.keys() | own.keys()
            if expected.get(path) != own.get(path)
        ]
    named = {difference.expected for difference in differences}
    if model_digest and model_digest not in found.values() and model_digest not in named:
        file = model_file_name(folder)
        differences.append(FileDifference(path=file, expected=model_digest, found=found.get(file, "")))
    return ModelCheck(
        source=source,
        recorded=recorded,
        recorded_as="" if version is None else version.address,
        files=len(found),
        differences=tuple(sorted(differences, key=lambda difference: difference.path)),
        problem=problem,
    )
