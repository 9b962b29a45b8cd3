"""MLflow's limits of time, lowered while a call lasts: MLflow takes them from the environment of the whole process.

Its own defaults block one call to a dead server for four minutes.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hokusai.tracking.mlflow_config import TrackingSettings, shipper_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["REQUEST_LIMITS"]


class _RequestLimits:
    """The variables that are set for as long as one call or several at once last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._set: tuple[str, ...] = ()

    @contextmanager
    def lowered(self, seconds: float) -> Iterator[None]:
        """Let no request wait longer than so many seconds, and none be repeated by MLflow itself.

        Variables that are set already stay as they are; the others are gone again when the last call has ended.
        """
        wanted = shipper_environment(TrackingSettings(request_seconds=seconds))
        with self._lock:
            if not self._users:
                self._set = tuple(name for name in wanted if name not in os.environ)
                os.environ.update({name: wanted[name] for name in self._set})
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                for name in () if self._users else self._set:
                    os.environ.pop(name, None)


REQUEST_LIMITS = _RequestLimits()
