"""The files of one model or artifact in an artifact store: listed, and copied here under names that are safe.

What a server calls its files is not believed: a name that would leave the folder is refused.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from hokusai.errors import ModelError
from hokusai.records import MODEL_MANIFEST_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
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
            found = dict(_walk(self._open_store(self._location), None))
            if not found:
                parent, _, name = self._location.rpartition("/")
                beside = self._open_store(parent).list_artifacts()
                found = {item.path: item.file_size or 0 for item in beside if item.path == name and not item.is_dir}
                self._root = parent
        if not found:
            raise self._gone("there is nothing")
        for path in found:
            require_inside(path, address=self._address)
        return found

    def fetch(self, paths: Collection[str], folder: Path) -> None:
        """Copy files, as :meth:`sizes` names them, into a folder under the same names.

        A file is there under its name as soon as its first byte has come: digest it before it is believed.

        Raises:
            ModelError: One would leave the folder or cannot be had, or the store does not answer.
        """
        for path in paths:
            require_inside(path, address=self._address)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with self._translated(self._address):
            store = self._open_store(self._root)

            def fetch_one(path: str) -> None:
                # The public way would ask first, for every file, whether it is a folder.
                store._download_file(path, str(folder / path))  # noqa: SLF001

            with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
                for _ in pool.map(fetch_one, sorted(paths)):
                    pass

    def read_manifest(self, folder: Path) -> bytes:
        """Return the bytes of the model's list of its files, by way of a folder.

        Raises:
            ModelError: It cannot be had.
        """
        self.fetch([MODEL_MANIFEST_FILE], folder)
        return (folder / MODEL_MANIFEST_FILE).read_bytes()

    def _gone(self, what: str) -> ModelError:
        return ModelError(
            f"{self._address}: its files are gone: {what} at {self._location}. Take another version, or train and "
            "register the model again."
        )


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
