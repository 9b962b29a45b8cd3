"""The Executor protocol: many independent jobs over the same tables, wherever they run.

A job is told the tables and a function that sends messages to the caller while it works. It is the same job wherever
it runs, and its answer must not depend on that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from hokusai.errors import HokusaiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

__all__ = ["Executor", "Job", "JobFailure", "JobResult", "SequentialExecutor"]

Message = TypeVar("Message")
Result = TypeVar("Result")
Message_co = TypeVar("Message_co", covariant=True)
Result_co = TypeVar("Result_co", covariant=True)

OUT_OF_MEMORY = "there was not enough memory for it. Free some, or use fewer workers."


class Job(Protocol[Message_co, Result_co]):
    """A piece of work that can be sent to another process: its own fields pickle, and so do messages and result."""

    def __call__(self, tables: Mapping[str, pa.Table], send: Callable[[Message_co], None]) -> Result_co:
        """Do the work. ``send`` may be called at any time, from the thread that does the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult(Generic[Result]):
    """What a job returned.

    Attributes:
        job: The job's position among those that were given.
        value: What it returned.
    """

    job: int
    value: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailure:
    """Why a job returned nothing.

    Attributes:
        job: The job's position among those that were given.
        reason: One sentence.
        error: What the job raised; None when the process that worked on it died.
    """

    job: int
    reason: str
    error: HokusaiError | None = None


class Executor(Protocol):
    """Runs independent jobs over shared tables.

    Order: jobs begin in the order given and end in any. The messages of one job arrive in the order in which it sent
    them, all of them before its result or failure; those of different jobs mix.

    Errors: a job that raises a :class:`~hokusai.errors.HokusaiError`, has not enough memory, or takes its process with
    it becomes a :class:`JobFailure`, and the others go on. Any other exception is a mistake in the job's code: it
    comes out of the iteration, and what was not finished is given up.

    Threads: everything happens in the thread that iterates, ``on_message`` too. One executor serves one iteration at a
    time. Leaving an iteration early ends the jobs that are running.
    """

    @property
    def workers(self) -> int:
        """How many jobs run at the same time, at most."""

    def run(
        self,
        jobs: Sequence[Job[Message, Result]],
        *,
        tables: Mapping[str, pa.Table],
        on_message: Callable[[int, Message], None],
    ) -> Iterator[JobResult[Result] | JobFailure]:
        """Run every job and yield how each ended, as soon as it has.

        Args:
            jobs: The jobs; none of them may change a table.
            tables: What all of them see.
            on_message: Called with a job's position and a message of it, soon after the job has sent it.

        Raises:
            ExecutionError: No job can be run at all.
        """

    def close(self) -> None:
        """Give back what the executor holds, between iterations. The executor may be used again afterwards."""


class SequentialExecutor:
    """Runs one job after another in the thread that iterates; for work that is small, or cannot be sent."""

    workers = 1

    def run(
        self,
        jobs: Sequence[Job[Message, Result]],
        *,
        tables: Mapping[str, pa.Table],
        on_message: Callable[[int, Message], None],
    ) -> Iterator[JobResult[Result] | JobFailure]:
        """Run every job and yield how each ended, as :class:`Executor` promises."""
        for number, job in enumerate(jobs):
            try:
                value = job(tables, lambda message, number=number: on_message(number, message))  # type: ignore[misc]
            except HokusaiError as error:
                yield JobFailure(job=number, reason=str(error), error=error)
            except MemoryError:
                yield JobFailure(job=number, reason=OUT_OF_MEMORY)
            else:
                yield JobResult(job=number, value=value)

    def close(self) -> None:
        """Nothing is held."""
