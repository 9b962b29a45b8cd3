"""A pool of processes on this machine that share the tables of their jobs."""

from __future__ import annotations

import pickle
import signal
import sys
import tempfile
from collections import deque
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from hokusai.errors import ExecutionError
from hokusai.execution.executor import JobFailure, JobResult
from hokusai.execution.shared_tables import write_tables
from hokusai.execution.worker import MessageKind
from hokusai.execution.worker_start import ForkingStart, SpawningStart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hokusai.execution.executor import Job
    from hokusai.execution.worker_start import Worker, WorkerStart

__all__ = ["LocalPool", "StartMethod"]

StartMethod = Literal["fork", "spawn"]
Message = TypeVar("Message")
Result = TypeVar("Result")


class LocalPool:
    """Runs jobs in worker processes; an Executor.

    The tables are written once, and every worker maps that file. A worker that dies fails its own job and is replaced;
    what runs beside it is not disturbed. The workers end with the pool, and on their own when this process is killed.
    Nothing happens before the first job: making a pool costs nothing.

    Args:
        workers: How many jobs run at the same time.
        preload: Modules that the jobs will need; each is imported before the first job.
        start_method: ``fork`` forks the workers from a process that has imported those modules, so that they share
            those pages; ``spawn`` starts each anew. Default: ``fork`` on Linux, ``spawn`` elsewhere.
    """

    def __init__(self, *, workers: int, preload: Sequence[str] = (), start_method: StartMethod | None = None) -> None:
        self.workers = workers
        self._preload = tuple(preload)
        method = start_method or ("fork" if sys.platform == "linux" else "spawn")
        self._start_kind: type[ForkingStart | SpawningStart] = ForkingStart if method == "fork" else SpawningStart
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._start: WorkerStart | None = None
        self._idle: list[Worker] = []

    def run(
        self,
        jobs: Sequence[Job[Message, Result]],
        *,
        tables: Mapping[str, pa.Table],
        on_message: Callable[[int, Message], None],
    ) -> Iterator[JobResult[Result] | JobFailure]:
        """Run every job and yield how each ended, as :class:`~hokusai.execution.executor.Executor` promises.

        Raises:
            ExecutionError: A job cannot be pickled, or no process can be started.
        """
        waiting = deque(enumerate(_pickled(job) for job in jobs))
        running: dict[Worker, int] = {}
        start, folder_of_pool = self._opened()
        with tempfile.TemporaryDirectory(dir=folder_of_pool) as folder:
            files = write_tables(tables, Path(folder))
            try:
                while waiting or running:
                    while waiting and len(running) < self.workers:
                        number, job = waiting.popleft()
                        running[self._given(start, pickle.dumps((files, job)))] = number
                    by_connection = {worker.connection: worker for worker in running}
                    for connection in wait(list(by_connection)):
                        worker = by_connection[connection]  # type: ignore[index]
                        ended: JobResult[Result] | JobFailure | None = self._heard(
                            start, worker, running[worker], on_message
                        )
                        if ended is not None:
                            del running[worker]
                            yield ended
            finally:
                for worker in running:
                    start.end(worker)

    def close(self) -> None:
        """End every process of the pool and remove its folder; the pool may be used again."""
        if self._start is not None:
            while self._idle:
                self._start.end(self._idle.pop())
            self._start.close()
            self._start = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _opened(self) -> tuple[WorkerStart, str]:
        if self._folder is None or self._start is None:
            self._folder = tempfile.TemporaryDirectory(prefix="hokusai-pool-", ignore_cleanup_errors=True)
            self._start = self._start_kind(self._preload, self._folder.name)
        return self._start, self._folder.name

    def _given(self, start: WorkerStart, content: bytes) -> Worker:
        """Return a worker that has been sent a job; one that died while it had nothing to do is replaced."""
        while self._idle:
            worker = self._idle.pop()
            try:
                worker.connection.send_bytes(content)
            except OSError:
                start.end(worker)
            else:
                return worker
        worker = start.start()
        try:
            worker.connection.send_bytes(content)
        except OSError:
            # It died at once; whoever listens to it next is told so.
            return worker
        return worker

    def _heard(
        self, start: WorkerStart, worker: Worker, number: int, on_message: Callable[[int, Message], None]
    ) -> JobResult[Result] | JobFailure | None:
        """Take what a worker says; return how its job ended, or None while it goes on."""
        try:
            content = worker.connection.recv_bytes()
        except (EOFError, OSError):
            return JobFailure(job=number, reason=_death(start.end(worker)))
        kind, value = MessageKind(content[0]), pickle.loads(memoryview(content)[1:])  # noqa: S301 - our own worker's
        if kind is MessageKind.MESSAGES:
            for message in value:
                on_message(number, message)
            return None
        if kind is MessageKind.EXCEPTION:
            error, trace = value
            error.add_note(f"in a worker process:\n{trace}")
            raise error
        self._idle.append(worker)
        if kind is MessageKind.FAILURE:
            return JobFailure(job=number, reason=value.reason, error=value.error)
        return JobResult(job=number, value=cast("Result", value))


def _pickled(job: object) -> bytes:
    try:
        return pickle.dumps(job)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ExecutionError(f"the work cannot be sent to another process ({error}). Use one worker.") from error


def _death(code: int | None) -> str:
    """Say how a worker died, from its exit code."""
    if code == -signal.SIGKILL:
        return (
            "its process was killed from outside, as systems do that run out of memory. Free some memory, or use "
            "fewer workers."
        )
    if code is None or code >= 0:
        return f"its process ended{'' if code is None else f' with code {code}'} before it was done."
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"its process died of {name}."
