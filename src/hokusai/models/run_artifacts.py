"""Whether artifacts of a run are those that the run itself has on record.

A run that Hokusai shipped has a list of its artifacts with their digests, ``manifest.json``, whose own digest is a tag
of the run; each process that went on with the run has left another one of each.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.errors import ModelDigestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hokusai.models.mlflow_registry import ModelRegistry
    from hokusai.models.model_digests import Recorded
    from hokusai.records import ModelVersion

__all__ = ["MANIFEST_FILE", "RUN_MANIFEST_TAG", "listed_artifacts", "manifest_tags", "require_artifacts"]

RUN_MANIFEST_TAG = "hokusai.manifest_digest"
MANIFEST_FILE = "manifest.json"


def manifest_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return those of a run's tags that hold the digests of its lists of artifacts."""
    return {
        tag: value for tag, value in tags.items() if tag == RUN_MANIFEST_TAG or tag.startswith(f"{RUN_MANIFEST_TAG}.")
    }


def listed_artifacts(manifest: bytes) -> Iterator[tuple[str, str]]:
    """Yield path and digest of every artifact that a run's list names; nothing where it is no such list."""
    try:
        document = json.loads(manifest)
    except (ValueError, RecursionError):
        return
    items = document.get("artifacts") if isinstance(document, dict) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            yield str(item.get("path")), str(item.get("sha256"))


def require_artifacts(
    version: ModelVersion, found: Mapping[str, str], *, is_file: bool, registry: ModelRegistry
) -> Recorded:
    """Refuse artifacts of a run that are not on its list of artifacts, or are missing.

    Args:
        version: What was asked for, with the digests of the run's lists among its tags.
        found: The SHA-256 of what was fetched, by path below that.
        is_file: Whether what was asked for is one file.
        registry: The store.

    Returns:
        ``every file``; ``nothing`` where the run has no list.

    Raises:
        ModelDigestError: One was swapped, edited, added or lost, or the list itself.
        ModelError: The store does not answer.
    """
    run = f"runs:/{version.run_id}/"
    manifests = {
        f"manifest{tag.removeprefix(RUN_MANIFEST_TAG)}.json": digest
        for tag, digest in manifest_tags(version.tags).items()
    }
    if not manifests:
        return "nothing"
    recorded: dict[str, set[str]] = {path: {digest} for path, digest in manifests.items()}
    with tempfile.TemporaryDirectory(prefix="hokusai-") as name:
        registry.files(registry.find(run)).fetch_checked(manifests, Path(name))
        for file in manifests:
            for path, digest in listed_artifacts(Path(name, file).read_bytes()):
                recorded.setdefault(path, set()).add(digest)
    asked = version.address.removeprefix(run).strip("/")
    below = f"{asked}/" if asked else ""
    at = {asked if is_file else below + path: digest for path, digest in found.items()}
    expected = {path for path in recorded if path == asked or path.startswith(below)}
    for path in sorted(at.keys() | expected):
        if at.get(path, "") not in recorded.get(path, ()):
            digests = sorted(recorded.get(path, {""}))
            raise ModelDigestError(version.address, what=path, expected=digests[0], found=at.get(path, ""))
    return "every file"
