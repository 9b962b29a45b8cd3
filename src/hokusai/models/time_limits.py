"""How long MLflow's client waits for a server: MLflow takes that from the environment of the whole process alone.

Its own defaults block one call to a dead server for four minutes.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TIME_LIMITS"]


class _TimeLimits:
    """MLflow's limits of time, in the environment for as long as one call or several at once last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._set: list[str] = []

    @contextmanager
    def lowered(self, seconds: float) -> Iterator[None]:
        """Let no request wait longer than so many seconds, and none be repeated more than once.

        Variables that are set already stay as they are; the others are gone again when the last call has ended.
        """
        wanted = {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(seconds))),
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        }
        with self._lock:
            if not self._users:
                self._set = [name for name in wanted if name not in os.environ]
                os.environ.update({name: wanted[name] for name in self._set})
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    for name in self._set:
                        os.environ.pop(name, None)


TIME_LIMITS = _TimeLimits()
