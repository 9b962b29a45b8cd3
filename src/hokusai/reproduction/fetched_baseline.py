"""A baseline model that was a file, found again in the store by its digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.models.model_digests import place_sha256
from hokusai.records import MODEL_MANIFEST_TAG, MODEL_SHA256_TAG
from hokusai.tracking.mlflow_config import resolve_store

if TYPE_CHECKING:
    from pathlib import Path

    from hokusai.tracking.mlflow_config import TrackingSettings

__all__ = ["fetch_baseline"]


def fetch_baseline(digest: str, *, tracking: TrackingSettings, folder: Path) -> tuple[Path, str] | None:
    """Fetch the model with a digest, whichever version has it.

    Args:
        digest: SHA-256 of the model's file, or of the list of the files of its folder.
        tracking: Names the store.
        folder: Where fetched files go.

    Returns:
        The file or folder, and the version's address; None where there is none.

    Raises:
        ModelError: The store does not answer.
    """
    registry = ModelRegistry(
        resolve_store(tracking), registry_uri=tracking.registry_uri, request_seconds=tracking.request_seconds
    )
    versions = [item for tag in (MODEL_SHA256_TAG, MODEL_MANIFEST_TAG) for item in registry.by_tag(tag, digest)]
    for number, version in enumerate(versions):
        place = registry.download(version, folder / f"baseline-{number}")
        inside = [file for file in sorted(place.rglob("*")) if file.is_file()] if place.is_dir() else []
        for candidate in (place, *inside):
            # Tags can be edited; the bytes cannot without another digest.
            if place_sha256(candidate) == digest:
                return candidate, version.address
    return None
