"""Canonical bytes and SHA-256 digests: one way to turn a value into bytes, one way to name bytes or a folder of files.

A digest is 64 lower-case hexadecimal digits without a prefix, everywhere.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"

__all__ = ["canonical_json", "file_sha256", "folder_manifest", "sha256"]


def canonical_json(value: JsonValue) -> bytes:
    """Return the one JSON text of a value, as UTF-8 bytes (RFC 8785, JSON Canonicalization Scheme).

    Raises:
        ValueError: The value holds NaN, an infinity, or an integer beyond 2^53 - 1.
    """
    import rfc8785  # not needed to show --help

    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        msg = f"no canonical JSON: {error}"
        raise ValueError(msg) from error


def sha256(content: bytes) -> str:
    """Return the SHA-256 digest of some bytes."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file's bytes, read in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_manifest(folder: Path, *, excluded: Collection[str] = ()) -> bytes:
    """Return the list of all files below a folder, with size and digest, as canonical JSON.

    Two folders hold the same files exactly when their manifests are equal. A symbolic link counts as what it leads to.

    Args:
        folder: The folder.
        excluded: Paths below it, with ``/`` between their parts, that do not count.
    """
    files: dict[str, JsonValue] = {
        path.relative_to(folder).as_posix(): {"sha256": file_sha256(path), "size": path.stat().st_size}
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() not in excluded
    }
    return canonical_json({"files": files})
