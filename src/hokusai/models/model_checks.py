"""Whether the files of a model are those that were recorded: a verdict with every difference."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.errors import ModelError, ModelNotFoundError
from hokusai.models.mlflow_folders import MLMODEL
from hokusai.models.model_details import read_model_document
from hokusai.models.model_digests import check_digests, digests_of, disk_errors_translated
from hokusai.records import MODEL_MANIFEST_FILE, MODEL_MANIFEST_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hokusai.models.mlflow_registry import ModelRegistry
    from hokusai.models.model_digests import FileDifference, Recorded
    from hokusai.records import ModelVersion

__all__ = ["ModelCheck", "check_model"]

_KEPT = (MODEL_MANIFEST_FILE, MLMODEL)


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
    with tempfile.TemporaryDirectory(prefix="hokusai-") as name, disk_errors_translated(Path(name)):
        found = registry.files(version).digests(Path(name), kept=_KEPT)
        return _verdict(version.address, found, folder=Path(name), version=version)


def _check_folder(folder: Path, *, registry: ModelRegistry, recorded_as: str) -> ModelCheck:
    with disk_errors_translated(folder):
        found = digests_of(folder)
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
    checked = check_digests(folder, found, {} if version is None else version.tags, source=source)
    return ModelCheck(
        source=source,
        recorded=checked.recorded,
        recorded_as="" if version is None else version.address,
        files=len(found),
        differences=checked.differences,
        problem=problem,
    )
