"""The files of one model or artifact in an artifact store: listed, and copied here under names that are safe.

What a server calls its files is not believed: a name that would leave the folder is refused.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from hokusai.digests import file_sha256
from hokusai.errors import ModelDigestError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mlflow.store.artifact.artifact_repo import ArtifactRepository

__all__ = ["StoredFiles", "require_inside"]

_FILES_AT_ONCE = 4


class StoredFiles:
    """The files of a model, or of an artifact that is a file or a folder.

    Args:
        address: What messages call it.
        location: URI of the folder or file.
        open_store: Opens the artifact store at a URI.
        translated: Turns the artifact store's errors into ours.
    """

    def __init__(
        self,
        address: str,
        *,
        location: str,
        open_store: Callable[[str], ArtifactRepository],
        translated: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._address = address
        self._location = location.rstrip("/")
        self._open_store = open_store
        self._translated = translated
        self._root = self._location

    @property
    def is_file(self) -> bool:
        """Whether it is one file and no folder; known once :meth:`sizes` has been asked."""
        return self._root != self._location

    def sizes(self) -> dict[str, int]:
        """Return path and size of every file; of an artifact that is one file, of that alone.

        Raises:
            ModelError: There are none, one of them would leave the folder, or the store does not answer.
        """
        with self._translated(self._address):
            found = self._listed()
        if not found:
            raise ModelError(
                f"{self._address}: its files are gone: there is nothing at {self._location}. Take another version, or "
                "train and register the model again."
            )
        for path in found:
            require_inside(path, address=self._address)
        return found

    def fetch(self, paths: Collection[str], folder: Path) -> dict[str, str]:
        """Copy files, as :meth:`sizes` names them, into a folder under the same names.

        A file is there under its name as soon as its first byte has come: look at its digest before it is believed.

        Returns:
            The SHA-256 of what is in the folder now, by path.

        Raises:
            ModelError: One would leave the folder or cannot be had, or the store does not answer.
        """
        for path in paths:
            require_inside(path, address=self._address)
        for parent in {(folder / path).parent for path in paths}:
            parent.mkdir(parents=True, exist_ok=True)
        with self._translated(self._address):
            return self._copy(sorted(paths), folder)

    def fetch_checked(self, expected: Mapping[str, str], folder: Path) -> None:
        """Copy files that must have certain digests; those that have them stay when others have not.

        Args:
            expected: SHA-256 by path.
            folder: Where to.

        Raises:
            ModelDigestError: One has another digest, or is not there.
            ModelError: One would leave the folder or cannot be had, or the store does not answer.
        """
        try:
            found = self.fetch(expected, folder)
        except ModelError as error:
            try:
                there = self.sizes()
            except ModelError:
                raise error from None
            for path in sorted(expected.keys() - there.keys()):
                raise ModelDigestError(self._address, what=path, expected=expected[path], found="") from error
            raise
        for path, digest in sorted(expected.items()):
            if found[path] != digest:
                raise ModelDigestError(self._address, what=path, expected=digest, found=found[path])

    def digests(self, folder: Path, *, kept: Collection[str]) -> dict[str, str]:
        """Return the SHA-256 of every file, by path.

        Args:
            folder: A folder for files on their way.
            kept: Paths of files that stay there.

        Raises:
            ModelError: One would leave the folder or cannot be had, or the store does not answer.
        """
        found: dict[str, str] = {}
        # One after the other: a model may be larger than the room for temporary files.
        for path in self.sizes():
            found |= self.fetch([path], folder)
            if path not in kept:
                (folder / path).unlink()
        return found

    def _listed(self) -> dict[str, int]:
        found = dict(_walk(self._open_store(self._location), None))
        if not found:
            parent, _, name = self._location.rpartition("/")
            beside = self._open_store(parent).list_artifacts()
            found = {item.path: item.file_size or 0 for item in beside if item.path == name and not item.is_dir}
            self._root = parent
        return found

    def _copy(self, paths: Sequence[str], folder: Path) -> dict[str, str]:
        store = self._open_store(self._root)

        def copy_one(path: str) -> str:
            # The public way would ask first, for every file, whether it is a folder.
            store._download_file(path, str(folder / path))  # noqa: SLF001
            return file_sha256(folder / path)

        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            return dict(zip(paths, pool.map(copy_one, paths), strict=True))


def require_inside(path: str, *, address: str) -> None:
    """Check that a path stays in the folder to which it is relative.

    Raises:
        ModelError: It is absolute, goes up, or has signs that a system may take for either.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path or ":" in parts[0]:
        msg = (
            f"{address}: refused: the store names a file {path!r}, which is not inside the model's folder. "
            "Somebody may have tampered with the store."
        )
        raise ModelError(msg)


def _walk(store: ArtifactRepository, path: str | None) -> Iterator[tuple[str, int]]:
    for item in store.list_artifacts(path):
        if item.is_dir:
            yield from _walk(store, item.path)
        else:
            yield item.path, item.file_size or 0
