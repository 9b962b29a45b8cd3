"""Files of models on this machine, named by what is in them.

A file gets its name once it is whole and its digest is right, and is digested again whenever it is taken out: what was
damaged meanwhile is thrown away and counts as never fetched. Files are copied, never linked, so that whoever edits a
model that was pulled damages no other.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.digests import file_sha256, sha256
from hokusai.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ModelCache", "default_cache_folder"]

_CHUNK = 1 << 20
_LOCK_SECONDS = 600


def default_cache_folder() -> Path:
    """Return the folder ``models`` below ``HOKUSAI_CACHE``, else below ``hokusai`` in the user's cache folder."""
    if named := os.environ.get("HOKUSAI_CACHE"):
        return Path(named).expanduser() / "models"
    caches = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of that variable has a relative path ignored.
    folder = Path(caches) if Path(caches).is_absolute() else Path("~/.cache").expanduser()
    return folder / "hokusai" / "models"


class ModelCache:
    """A folder of files by their SHA-256. Several processes may use it at once.

    It may be deleted at any time while nobody fetches a model.

    Args:
        folder: The folder; it need not be there. Default :func:`default_cache_folder`.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_cache_folder() if folder is None else folder

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Let one process or thread at a time do what has this name.

        Raises:
            ModelError: Somebody else does it for minutes, or the cache cannot be written.
        """
        import filelock

        with self._writing():
            folder = self.folder / "locks"
            folder.mkdir(parents=True, exist_ok=True)
            # One per holder: a lock object that threads share would let all of them in.
            lock = filelock.FileLock(folder / f"{sha256(name.encode())[:32]}.lock", timeout=_LOCK_SECONDS)
            try:
                lock.acquire()
            except filelock.Timeout as error:
                msg = f"{name}: somebody else has been fetching it for {_LOCK_SECONDS} seconds. Try again later."
                raise ModelError(msg) from error
        try:
            yield
        finally:
            lock.release()

    def incoming(self, name: str) -> Path:
        """Return the folder for files on their way; what an earlier attempt left there is still in it."""
        with self._writing():
            folder = self.folder / "incoming" / sha256(name.encode())[:32]
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def adopt(self, folder: Path, expected: Mapping[str, str]) -> dict[str, str]:
        """Take over the files below a folder that are what they should be; return path and digest of the others.

        Args:
            folder: Where they are; what is left of it is removed.
            expected: SHA-256 by path.
        """
        others: dict[str, str] = {}
        with self._writing():
            for path, digest in expected.items():
                file = folder / path
                if not file.is_file():
                    continue
                found = file_sha256(file)
                if found == digest:
                    place = self._place(digest)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    file.replace(place)
                else:
                    others[path] = found
            shutil.rmtree(folder)
        return others

    def copy(self, digest: str, target: Path) -> bool:
        """Copy the file with this digest to a place, and say whether it was there and whole."""
        place = self._place(digest)
        with self._writing():
            target.parent.mkdir(parents=True, exist_ok=True)
            hasher = hashlib.sha256()
            try:
                source = place.open("rb")
            except FileNotFoundError:
                return False
            with source, target.open("wb") as copy:
                while chunk := source.read(_CHUNK):
                    hasher.update(chunk)
                    copy.write(chunk)
            if hasher.hexdigest() != digest:
                target.unlink()
                with suppress(FileNotFoundError):
                    place.unlink()
                return False
        return True

    def _place(self, digest: str) -> Path:
        return self.folder / "files" / digest[:2] / digest

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            msg = (
                f"{error.filename or self.folder}: cannot be written ({error.strerror or error}). Models are kept in "
                f"{self.folder}; HOKUSAI_CACHE names another folder."
            )
            raise ModelError(msg) from error
