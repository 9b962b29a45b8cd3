"""Puts on record what fits say of their iterations, while they go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hokusai.steps.fit_jobs import FitJob, Loss
    from hokusai.tracking.run import Run

__all__ = ["LossCurves"]

_SECONDS_BETWEEN_RECORDS = 0.5


class LossCurves:
    """Collects the losses of many fits and records them as series, a few times a second.

    Args:
        run: The step's run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._collected: dict[str, tuple[int, list[float]]] = {}
        self._recorded_at = time.monotonic()

    def add(self, job: FitJob, loss: Loss) -> None:
        """Take one value of a fit."""
        name = f"training.{job.arm}.seed_{job.seed}.{loss.series}"
        first, values = self._collected.setdefault(name, (loss.iteration, []))
        if loss.iteration != first + len(values):
            self._record(name)
            self._collected[name] = (loss.iteration, values := [])
        values.append(loss.value)
        if time.monotonic() - self._recorded_at >= _SECONDS_BETWEEN_RECORDS:
            self.record()

    def record(self) -> None:
        """Record what was collected."""
        for name in list(self._collected):
            self._record(name)
        self._recorded_at = time.monotonic()

    def _record(self, name: str) -> None:
        first, values = self._collected.pop(name)
        self._run.log_series(name, values, first_step=first)
