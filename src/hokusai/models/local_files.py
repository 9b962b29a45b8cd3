"""The files of a model that lie on this machine, where a store without a server keeps them.

Each is read once and the copy is digested, so that what was checked is what the caller has, whoever writes to the store
meanwhile.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from hokusai.digests import file_sha256
from hokusai.errors import ModelError
from hokusai.models.stored_files import StoredFiles

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["LocalFiles", "local_path"]

_CHUNK = 1 << 20


def local_path(location: str) -> Path | None:
    """Return the folder or file on this machine that a location names; None for one that is elsewhere."""
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return Path(location) if location.startswith("/") else None


class LocalFiles(StoredFiles):
    """The files of a model, or of an artifact that is a file or a folder, on this machine."""

    def digests(self, folder: Path, *, kept: Collection[str]) -> dict[str, str]:
        """Return the SHA-256 of every file, by path; only those that are kept are copied."""
        paths = self.sizes()
        found = self.fetch([path for path in paths if path in kept], folder)
        with self._translated(self._address):
            return found | {path: file_sha256(self._place(path)) for path in paths if path not in found}

    def _listed(self) -> dict[str, int]:
        place = self._folder()
        if place.is_file():
            self._root = self._location.rpartition("/")[0]
            return {place.name: place.stat().st_size}
        # A link that leads nowhere, or out of the folder, is named as well, so that nobody overlooks it.
        files = (path for path in place.rglob("*") if path.is_symlink() or path.is_file())
        return {path.relative_to(place).as_posix(): path.lstat().st_size for path in files}

    def _copy(self, paths: Sequence[str], folder: Path) -> dict[str, str]:
        return {path: _copy_one(self._place(path), folder / path) for path in paths}

    def _folder(self) -> Path:
        return local_path(self._root) or Path(self._root)

    def _place(self, path: str) -> Path:
        """Return where a file is, unless a link leads out of the folder."""
        folder = self._folder()
        place = folder / path
        if not place.resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"{self._address}: refused: {path!r} is a link that leads out of the model's folder.")
        return place


def _copy_one(source: Path, target: Path) -> str:
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(min(_CHUNK, max(1, source.stat().st_size))))
    with source.open("rb", buffering=0) as content, target.open("wb", buffering=0) as copy:
        while count := content.readinto(buffer):
            hasher.update(buffer[:count])
            copy.write(buffer[:count])
    return hasher.hexdigest()
