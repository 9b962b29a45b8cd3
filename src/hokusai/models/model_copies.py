"""A model's files in a folder of our own, so that the bytes that are checked are the bytes that are loaded."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from hokusai.errors import ModelError
from hokusai.models.model_formats import MOST_BYTES

__all__ = ["copy_model", "require_plain_files"]

_MOST_FILES = 10_000


def copy_model(place: Path, folder: Path, *, source: str) -> Path:
    """Copy a model file, or a model's folder, into a private folder and return the copy.

    Raises:
        ModelError: There is nothing, it cannot be read, it leads elsewhere, or it is too large.
    """
    copy = folder / "model"
    try:
        if not place.exists():
            raise ModelError(
                f"{source}: there is no such file or folder, expected a model file, the folder of an MLflow model, "
                "models:/name/version, models:/name@alias or runs:/id/path."
            )
        if place.is_dir():
            require_plain_files(place, source=source)
            shutil.copytree(place, copy)
        elif place.is_file():
            require_size(place.stat().st_size, source=source)
            shutil.copyfile(place, copy)
        else:
            raise ModelError(f"{source}: neither a file nor a folder.")
    except (OSError, shutil.Error, ValueError) as error:
        raise ModelError(f"{source}: cannot be read ({error}).") from error
    return copy


def require_size(size: int, *, source: str) -> None:
    """Refuse a model beyond what is taken.

    Raises:
        ModelError: It is.
    """
    if size > MOST_BYTES:
        raise ModelError(f"{source}: {size:,} bytes, expected at most {MOST_BYTES:,} for a model.")


def require_plain_files(folder: Path, *, source: str) -> None:
    """Refuse a folder that holds more than files and folders: links out of it, pipes, or too much.

    Raises:
        ModelError: It does.
    """
    total = files = 0
    root = folder.resolve()
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise ModelError(
                    f"{source}: {path.relative_to(folder)} is a link to a place outside the model's folder. Copy the "
                    "model with its files."
                )
            try:
                status = path.stat()
            except OSError as error:
                raise ModelError(f"{source}: {path.relative_to(folder)} cannot be read ({error}).") from error
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise ModelError(f"{source}: {path.relative_to(folder)} is neither a file nor a folder.")
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
            files += 1
            if files > _MOST_FILES:
                raise ModelError(f"{source}: more than {_MOST_FILES:,} files, expected the folder of a model.")
            require_size(total, source=source)
