"""The file of the key that splits a benchmark: made once, readable by its owner alone, never overwritten."""

from __future__ import annotations

import os
import re
import secrets
import stat
from typing import TYPE_CHECKING

from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_benchmark_key", "read_benchmark_key"]

_KEY_BYTES = 32
_SETTING = "delta.benchmark_key_file"
_HEXADECIMAL = re.compile(rb"(?:[0-9a-fA-F]{2})+")


def make_benchmark_key(path: Path) -> bytes:
    """Make a file with a new key: 32 random bytes as hexadecimal text, mode 0600.

    Args:
        path: The file, which must not be there.

    Returns:
        The key.

    Raises:
        ConfigurationError: The file is there already, or cannot be written.
    """
    key = secrets.token_bytes(_KEY_BYTES)
    try:
        # Created by this very call and for its owner alone: at no moment can others open it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123  (a descriptor, no path)
            file.write(key.hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        problem = f"{path} cannot be made ({error.strerror}). Name another file; a key is never overwritten."
        raise ConfigurationError(problem, key=_SETTING) from error
    return key


def read_benchmark_key(path: Path) -> bytes:
    """Read the key that splits a benchmark.

    Args:
        path: The file: at least 64 hexadecimal digits, as :func:`make_benchmark_key` writes them.

    Returns:
        The key, at least 32 bytes.

    Raises:
        ConfigurationError: The file cannot be read, is no key, or may be read by everybody.
    """
    try:
        text = path.read_bytes().strip()
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror}). Check the path and its permissions."
        raise ConfigurationError(problem, key=_SETTING) from error
    if mode & stat.S_IRWXO:
        problem = f"{path} has the mode {mode:04o}: everybody may read it, expected 0600. Run `chmod 600` on it."
        raise ConfigurationError(problem, key=_SETTING)
    if not _HEXADECIMAL.fullmatch(text) or len(text) < 2 * _KEY_BYTES:
        problem = (
            f"{path} holds no key, expected at least {2 * _KEY_BYTES} hexadecimal digits. Give the file that "
            "`hokusai benchmark split` made."
        )
        raise ConfigurationError(problem, key=_SETTING)
    return bytes.fromhex(text.decode())
