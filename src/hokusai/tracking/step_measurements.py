"""What a step costs, recorded by itself: time, processor, memory, rows.

Everything is measured for the whole process, because a processor or a page of memory cannot be told apart by step: of
two steps that run at once in two threads, each reports what both used while it was open, and a parent never reports
less than its children. Processes that a step starts are not counted.

The peak of memory disturbs nobody. The kernel's own high-water mark is read, never reset: a step that raised it knows
its peak exactly. For other steps one thread, shared by all open meters and ended with the last, samples the resident
size; what is held for less than a sampling interval may escape it.
"""

from __future__ import annotations

import operator
import os
import resource
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Self

from hokusai.errors import TrackingError

if TYPE_CHECKING:
    from types import TracebackType

    import psutil  # type: ignore[import-not-found,import-untyped,unused-ignore]

__all__ = ["StepMeasurements", "StepMeter"]

_SAMPLE_SECONDS = 0.05
_JOIN_SECONDS = 1.0
_STATM = "/proc/self/statm"
# KiB everywhere but on macOS.
_MARK_UNIT = 1 if sys.platform == "darwin" else 1024
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMeasurements:
    """What a step has cost.

    Attributes:
        wall_seconds: From its start to its end.
        cpu_seconds: Processor time of all threads of the process meanwhile; above ``wall_seconds`` with several cores.
        peak_memory_bytes: The most memory that the process held at once meanwhile.
        rows: How many rows it says it has handled.
        rows_per_second: ``rows`` by ``wall_seconds``; None without rows.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    rows: int
    rows_per_second: float | None


class StepMeter:
    """Measures one step, as a ``with`` block or between :meth:`start` and :meth:`finish`. Safe to use from threads.

    Any number may be open at once, within one another or beside one another. In a child made by ``os.fork`` a meter
    that was open goes on with the child's own processor time and memory; its wall time is from its start on.
    """

    def __init__(self) -> None:
        """Measure nothing yet."""
        self._rows = 0
        self._started = False
        self._measurements: StepMeasurements | None = None

    def start(self) -> Self:
        """Begin to measure.

        Raises:
            TrackingError: It has been started before; a meter measures one step.
        """
        with _OPEN_METERS.lock:
            if self._started:
                raise TrackingError("this StepMeter has been started before, expected a new one for every step.")
            self._started = True
            self._process = os.getpid()
            self._mark_at_start = _high_water_bytes()
            self._highest_sample = 0
            _OPEN_METERS.add(self)
            self._cpu_at_start = time.process_time()
            self._wall_at_start = time.monotonic()
        return self

    def add_rows(self, count: int) -> None:
        """Count rows as handled; what is added after the end is not counted.

        Raises:
            TrackingError: ``count`` is negative.
        """
        number = operator.index(count)
        if number < 0:
            raise TrackingError(f"add_rows got {number} rows, expected 0 or more.")
        with _OPEN_METERS.lock:
            self._rows += number

    def finish(self) -> StepMeasurements:
        """End the measuring and return what was measured; later calls return the same.

        Raises:
            TrackingError: It was never started.
        """
        if self._measurements is not None:
            return self._measurements
        if not self._started:
            raise TrackingError("this StepMeter was never started, expected start() or a with block before finish().")
        wall, cpu = time.monotonic(), time.process_time()
        with _OPEN_METERS.lock:
            if self._measurements is None:
                idle = _OPEN_METERS.remove(self)
                self._measurements = self._measure(wall, cpu)
            else:
                idle = None
        if idle is not None:
            # Outside the lock, which the thread may be waiting for; not for ever, because a signal handler may have
            # interrupted somebody who holds it.
            idle.join(_JOIN_SECONDS)
        return self._measurements

    def observe(self, resident_bytes: int) -> None:
        """Take note of a sample of the process's resident size."""
        self._highest_sample = max(self._highest_sample, resident_bytes)

    def forget_samples(self) -> None:
        """Take back what :meth:`observe` noted: it was another process's memory."""
        self._highest_sample = 0

    def _measure(self, wall: float, cpu: float) -> StepMeasurements:
        seconds = wall - self._wall_at_start
        forked = self._process != os.getpid()
        mark = _high_water_bytes()
        # A child begins with a mark and a processor clock of its own. Where nothing could be sampled, the mark is a
        # bound from above, which is the best there is.
        mark_is_of_the_step = forked or mark > self._mark_at_start or not self._highest_sample
        return StepMeasurements(
            wall_seconds=seconds,
            cpu_seconds=cpu if forked else cpu - self._cpu_at_start,
            # The kernel counts pages in batches for each core, so that either number may be ahead by a little.
            peak_memory_bytes=max(mark if mark_is_of_the_step else 0, self._highest_sample),
            rows=self._rows,
            rows_per_second=self._rows / seconds if self._rows and seconds > 0 else None,
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish()


class _OpenMeters:
    """The meters that are open in this process, and the one thread that samples for all of them.

    Meters are held weakly: one that is forgotten without :meth:`StepMeter.finish` keeps no thread alive.

    Attributes:
        lock: Guards everything here and the counters of all meters. A signal handler may come in between and use a
            meter as well, hence reentrant.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._meters: set[weakref.ref[StepMeter]] = set()
        self._ended: threading.Event | None = None
        self._thread: threading.Thread | None = None

    def add(self, meter: StepMeter) -> None:
        """Begin to sample for a meter; called with the lock held."""
        self._meters.add(weakref.ref(meter))
        if self._sample() and self._thread is None:
            self._ended = threading.Event()
            thread = threading.Thread(
                target=self._sample_until, args=(self._ended,), name="hokusai-step-memory", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                # No more threads here, or the interpreter is ending: a measurement must not stop the step. Samples are
                # still taken whenever a meter is opened or closed.
                return
            self._thread = thread

    def remove(self, meter: StepMeter) -> threading.Thread | None:
        """Sample for a meter no longer; called with the lock held.

        Returns:
            The thread that has nothing left to do, to be joined when the lock has been released.
        """
        self._sample()
        self._meters.discard(weakref.ref(meter))
        if self._meters or self._thread is None or self._ended is None:
            return None
        self._ended.set()
        thread, self._thread = self._thread, None
        return thread

    def before_fork(self) -> None:
        """Take the lock, so that the child finds everything whole, whatever other threads are doing."""
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.lock.release()

    def after_fork_in_child(self) -> None:
        """Forget the meters and the thread, which are the parent's, and what was sampled of its memory."""
        self.lock = threading.RLock()
        for reference in self._meters:
            if meter := reference():
                meter.forget_samples()
        self._meters = set()
        self._thread = None

    def _sample(self) -> bool:
        resident = _resident_bytes()
        if resident is None:
            return False
        # For all of them, so that a parent never reports less than its children.
        for reference in tuple(self._meters):
            meter = reference()
            if meter is None:
                self._meters.discard(reference)
            else:
                meter.observe(resident)
        return True

    def _sample_until(self, ended: threading.Event) -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            with self.lock:
                if ended.is_set():
                    return
                self._sample()
                if not self._meters:
                    self._thread = None
                    return


def _high_water_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MARK_UNIT


def _resident_bytes() -> int | None:
    """Return the process's resident size now, or None where it cannot be known."""
    # Opened each time: a descriptor that is kept shows the parent's numbers after a fork, and may be closed by a
    # program that closes what it does not know.
    try:
        descriptor = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return int(os.read(descriptor, 128).split()[1]) * _PAGE_BYTES
        finally:
            os.close(descriptor)
    except OSError:
        pass
    process = _process_of_psutil(os.getpid())
    return None if process is None else int(process.memory_info().rss)


@cache
def _process_of_psutil(process_id: int) -> psutil.Process | None:
    try:
        import psutil  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return None
    return psutil.Process(process_id)


_OPEN_METERS = _OpenMeters()
os.register_at_fork(
    before=_OPEN_METERS.before_fork,
    after_in_parent=_OPEN_METERS.after_fork_in_parent,
    after_in_child=_OPEN_METERS.after_fork_in_child,
)
