"""Models fetched from MLflow to this machine, whole or not at all, and checked against what was recorded of them.

A model that an evaluation registered has a list of its files with their digests, and the list's own digest is a tag of
the version: every byte of such a model is checked. Of others the digest of the model file may be recorded, or nothing;
then that is said.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.digests import folder_manifest
from hokusai.errors import ModelError
from hokusai.models.model_cache import ModelCache
from hokusai.models.model_digests import disk_errors_translated, listed_digests, require_digests
from hokusai.models.run_artifacts import manifest_tags, require_artifacts
from hokusai.records import MODEL_MANIFEST_FILE, MODEL_MANIFEST_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hokusai.models.mlflow_registry import ModelRegistry
    from hokusai.models.model_digests import Recorded
    from hokusai.models.stored_files import StoredFiles
    from hokusai.records import ModelVersion

__all__ = ["PulledModel", "checked_model", "pull_model"]

_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledModel:
    """A model, or another artifact, that is on this machine now.

    Attributes:
        version: What was fetched.
        folder: The folder that holds its files.
        recorded: What was recorded of the files, and has been checked: of ``every file`` a digest, of the ``model
            file`` alone, the folder's ``own manifest``, which is on record nowhere else, or ``nothing``.
        is_new: Whether the folder was made; False when it was there with the same content.
        size: Number of bytes.
        fetched: How many of them came from the store, and not from the cache.
    """

    version: ModelVersion
    folder: Path
    recorded: Recorded
    is_new: bool
    size: int
    fetched: int


def pull_model(
    address: str, folder: str | Path | None = None, *, registry: ModelRegistry, cache: ModelCache | None = None
) -> PulledModel:
    """Fetch a model, or any artifact of a run, into a folder of its own: whole and checked, or not at all.

    An attempt that was interrupted goes on where it stopped. Several at once do not hurt each other.

    Args:
        address: What :meth:`~hokusai.models.mlflow_registry.ModelRegistry.find` takes.
        folder: The folder to make; default one in the working directory, named after the model. It may be there
            already if it has the same content.
        registry: The store.
        cache: Where fetched files are kept for the next time; default the user's cache folder.

    Raises:
        ModelNotFoundError: Nothing answers to the address.
        ModelDigestError: A file is not what was recorded.
        ModelError: The store does not answer, the folder is there with other content, or cannot be written.
    """
    cache = cache or ModelCache()
    version = registry.find(address)
    target = Path(_folder_name(version) if folder is None else folder).absolute()
    files = registry.files(version)
    with cache.locked(f"folder {target}"), _assembled_beside(target) as partial:
        if MODEL_MANIFEST_TAG in version.tags:
            recorded: Recorded = "every file"
            fetched = _assemble(version, files, cache, partial)
        else:
            recorded, fetched = _fetch_unlisted(version, registry, files, partial)
        size = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
        is_new = _publish(partial, target, source=version.address)
    return PulledModel(version=version, folder=target, recorded=recorded, is_new=is_new, size=size, fetched=fetched)


@contextmanager
def checked_model(address: str, *, registry: ModelRegistry) -> Iterator[Path]:
    """Give a folder with the files of a model, each with its recorded digest, for as long as it takes to load them.

    Nothing is kept: without the cache, and the copy from it, this is the shorter way for whoever loads a model once.

    Args:
        address: What :meth:`~hokusai.models.mlflow_registry.ModelRegistry.find` takes.
        registry: The store.

    Raises:
        ModelNotFoundError: Nothing answers to the address.
        ModelDigestError: A file is not what was recorded.
        ModelError: The store does not answer.
    """
    version = registry.find(address)
    files = registry.files(version)
    with tempfile.TemporaryDirectory(prefix="hokusai-") as name:
        folder = Path(name)
        if MODEL_MANIFEST_TAG in version.tags:
            manifest = {MODEL_MANIFEST_FILE: version.tags[MODEL_MANIFEST_TAG]}
            files.fetch_checked(manifest, folder)
            listed = _listed(version, folder)
            files.fetch_checked(listed, folder)
            require_digests(folder, {**listed, **manifest}, version.tags, source=version.address)
        else:
            _fetch_unlisted(version, registry, files, folder)
        yield folder


def _listed(version: ModelVersion, folder: Path) -> dict[str, str]:
    return listed_digests(version.address, (folder / MODEL_MANIFEST_FILE).read_bytes())


def _assemble(version: ModelVersion, files: StoredFiles, cache: ModelCache, partial: Path) -> int:
    """Make a model's folder from the cache, and the cache from the store; return how many bytes came from there."""
    manifest = {MODEL_MANIFEST_FILE: version.tags[MODEL_MANIFEST_TAG]}
    with cache.locked(f"model {manifest[MODEL_MANIFEST_FILE]}"):
        fetched = _copy_all(version, manifest, files, cache, partial)
        listed = _listed(version, partial)
        fetched += _copy_all(version, listed, files, cache, partial)
    # What comes out of the cache has been digested on its way.
    require_digests(partial, {**listed, **manifest}, version.tags, source=version.address)
    return fetched


def _copy_all(
    version: ModelVersion, expected: Mapping[str, str], files: StoredFiles, cache: ModelCache, partial: Path
) -> int:
    """Copy files out of the cache; what is not there, or damaged, is fetched first."""
    missing = {path: digest for path, digest in expected.items() if not cache.copy(digest, partial / path)}
    if not missing:
        return 0
    incoming = cache.incoming(f"{version.tags[MODEL_MANIFEST_TAG]} {min(expected)}")
    # What an attempt that was killed left there is as good as fetched, as far as it is whole.
    cache.adopt(incoming, missing)
    missing = {path: digest for path, digest in missing.items() if not cache.copy(digest, partial / path)}
    if not missing:
        return 0
    incoming.mkdir()
    files.fetch_checked(missing, incoming)
    fetched = sum((incoming / path).stat().st_size for path in missing)
    cache.adopt(incoming, missing)
    for path, digest in missing.items():
        if not cache.copy(digest, partial / path):
            msg = f"{version.address}: {path} was whole and is damaged now in {cache.folder}. Is the disk failing?"
            raise ModelError(msg)
    return fetched


def _fetch_unlisted(
    version: ModelVersion, registry: ModelRegistry, files: StoredFiles, folder: Path
) -> tuple[Recorded, int]:
    """Fetch files of which no tag has a list with digests; return what was recorded, and the number of bytes."""
    found = files.fetch(files.sizes(), folder)
    total = sum((folder / path).stat().st_size for path in found)
    if manifest_tags(version.tags):
        return require_artifacts(version, found, is_file=files.is_file, registry=registry), total
    return require_digests(folder, found, version.tags, source=version.address), total


@contextmanager
def _assembled_beside(target: Path) -> Iterator[Path]:
    """Give an empty folder next to where a folder is to be, on the same disk, and remove what is left of it."""
    partial = target.with_name(f".{target.name}.partial")
    if target.exists() and not target.is_dir():
        raise ModelError(f"{target}: there is a file, expected a folder or nothing. Name another folder with --to.")
    with disk_errors_translated(target):
        # A process that was killed left it: nobody else is at it, by the lock.
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, target: Path, *, source: str) -> bool:
    """Give a finished folder its name at once; return False when it was there with the same content."""
    if target.is_dir() and any(target.iterdir()):
        if folder_manifest(target) == folder_manifest(partial):
            return False
        raise ModelError(
            f"{target}: there is something else than {source} already. Name another folder with --to, or remove it."
        )
    partial.rename(target)
    return True


def _folder_name(version: ModelVersion) -> str:
    """Return what a folder is called of which nobody said it: name and version, the model's id, or the artifact."""
    name = f"{version.name}-{version.version}" if version.name else version.address.rsplit("/", 1)[-1]
    return _NOT_IN_NAMES.sub("-", name).lstrip(".") or version.run_id
