"""As many processes as pay off: the first job runs here and is measured, the others where they are done sooner."""

from __future__ import annotations

import dataclasses
import pickle
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hokusai.execution.executor import SequentialExecutor
from hokusai.execution.local_pool import LocalPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hokusai.execution.executor import Executor, Job, JobFailure, JobResult

__all__ = ["AdaptiveExecutor", "usable_processors"]

Message = TypeVar("Message")
Result = TypeVar("Result")

_START_SECONDS = 5.0  # what a pool costs before its first job begins: the libraries are imported once more
_MEMORY_PER_TABLE = 8  # a fit prepares, bins and copies its table; far more workers than fit would be killed
_MEMINFO = Path("/proc/meminfo")


class AdaptiveExecutor:
    """Runs the first job in this process and the others in a pool, if that is worth starting one; an Executor.

    A pool is worth it when the jobs that are left, each as long as the first, would take seconds longer without. Jobs
    that cannot be sent to another process run here.

    Args:
        threads: Threads of each job, which the number of workers is divided by.
        preload: Modules that the jobs will need.
        most: Workers at most, whatever the machine has; default no limit.
    """

    def __init__(self, *, threads: int = 1, preload: Sequence[str] = (), most: int | None = None) -> None:
        self._threads, self._preload, self._most = threads, preload, most
        self._chosen: Executor = SequentialExecutor()

    @property
    def workers(self) -> int:
        """How many jobs ran at the same time, at most."""
        return self._chosen.workers

    def run(
        self,
        jobs: Sequence[Job[Message, Result]],
        *,
        tables: Mapping[str, pa.Table],
        on_message: Callable[[int, Message], None],
    ) -> Iterator[JobResult[Result] | JobFailure]:
        """Run every job and yield how each ended, as :class:`~hokusai.execution.executor.Executor` promises."""
        began = time.perf_counter()
        yield from SequentialExecutor().run(jobs[:1], tables=tables, on_message=on_message)
        others = jobs[1:]
        workers = self._workers_that_pay(others, tables=tables, seconds=time.perf_counter() - began)
        self.close()
        self._chosen = LocalPool(workers=workers, preload=self._preload) if workers > 1 else SequentialExecutor()
        with closing(self._chosen):
            for ended in self._chosen.run(
                others, tables=tables, on_message=lambda number, message: on_message(number + 1, message)
            ):
                yield dataclasses.replace(ended, job=ended.job + 1)

    def close(self) -> None:
        """End the pool, if there is one."""
        self._chosen.close()

    def _workers_that_pay(
        self, jobs: Sequence[Job[Message, Result]], *, tables: Mapping[str, pa.Table], seconds: float
    ) -> int:
        room = _available_bytes() // (_MEMORY_PER_TABLE * max([1, *(table.nbytes for table in tables.values())]))
        workers = min(len(jobs), room, usable_processors() // self._threads)
        if self._most is not None:
            workers = min(workers, self._most)
        if workers < 2 or seconds * len(jobs) * (1 - 1 / workers) < _START_SECONDS:
            return 1
        return workers if _can_be_sent(jobs[0]) else 1


def usable_processors() -> int:
    """Return how many processors this process may use, by its affinity and its container's share."""
    import joblib

    return int(joblib.cpu_count())


def _can_be_sent(job: object) -> bool:
    """Whether another process could read the job: what was defined in a script or notebook is not there."""
    try:
        return b"__main__" not in pickle.dumps(job)
    except (pickle.PicklingError, TypeError, AttributeError):
        return False


def _available_bytes() -> int:
    """Return how much memory is free for new work; beyond all need where the system does not say."""
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text("ascii").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return 1 << 60
