"""What a step costs: its peak of memory, its rows, and meters in threads and in forked processes."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hokusai.errors import TrackingError
from hokusai.tracking.step_measurements import StepMeter

MEGABYTE = 1_000_000
SAMPLER = "hokusai-step-memory"
PREAMBLE = """
import os, threading, time
from hokusai.tracking.step_measurements import StepMeter

def hold(megabytes, seconds=0.0):
    block = b"x" * (megabytes * 1_000_000)
    threading.Event().wait(seconds)
    del block

def peak(meter):
    return meter.finish().peak_memory_bytes
"""


@pytest.fixture(autouse=True)
def _no_sampler_is_left_behind() -> None:
    assert SAMPLER not in _thread_names()


def test_a_step_reports_what_it_touched_and_freed_and_the_small_step_after_it_does_not() -> None:
    before, big, small = _run(
        """
        with StepMeter() as before:
            pass
        with StepMeter() as big:
            hold(200)
        with StepMeter() as small:
            hold(1)
        print(peak(before), peak(big), peak(small))
        """
    )
    # Not held for a moment: the kernel's high-water mark knows it all the same.
    assert big - before > 190 * MEGABYTE
    assert big - small > 190 * MEGABYTE
    assert small > 0


def test_a_step_below_an_earlier_peak_reports_its_own_from_samples() -> None:
    big, middle, small = _run(
        """
        with StepMeter() as big:
            hold(300)
        with StepMeter() as middle:
            hold(100, seconds=0.5)
        with StepMeter() as small:
            pass
        print(peak(big), peak(middle), peak(small))
        """
    )
    assert small + 90 * MEGABYTE < middle < big - 190 * MEGABYTE


def test_a_parents_peak_is_at_least_that_of_each_child() -> None:
    parent, *children = _run(
        """
        hold(300)
        with StepMeter() as parent:
            with StepMeter() as first:
                hold(50, seconds=0.2)
            with StepMeter() as second:
                hold(150, seconds=0.2)
            with StepMeter() as third:
                hold(350)
            with StepMeter() as fourth:
                pass
        with StepMeter() as other:
            with StepMeter() as fifth:
                hold(100, seconds=0.2)
        assert peak(other) >= peak(fifth)
        print(peak(parent), peak(first), peak(second), peak(third), peak(fourth))
        """
    )
    first, second, third, fourth = children
    assert parent >= max(children)
    assert fourth < first < second < third


def test_processor_and_wall_time_are_those_of_the_step_alone() -> None:
    with StepMeter() as busy:
        began = time.process_time()
        while time.process_time() < began + 0.1:
            pass
    with StepMeter() as idle:
        threading.Event().wait(0.1)
    assert idle.finish().wall_seconds >= 0.1
    assert busy.finish().cpu_seconds >= 0.1
    assert idle.finish().cpu_seconds < 0.1


def test_rows_from_several_threads_are_all_counted() -> None:
    meter = StepMeter().start()

    def add(count: int) -> None:
        for _ in range(1_000):
            meter.add_rows(count)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    measured = meter.finish()
    assert measured.rows == 28_000
    assert measured.rows_per_second == pytest.approx(28_000 / measured.wall_seconds)


def test_meters_that_are_open_at_once_in_threads_each_keep_their_own_rows_and_share_the_peak() -> None:
    all_open, block_held, all_measured = (threading.Barrier(4) for _ in range(3))

    def measure(number: int) -> tuple[int, int]:
        with StepMeter() as meter:
            all_open.wait()
            block = b"x" * (100 * MEGABYTE) if number == 0 else b""
            threading.Event().wait(0.2)
            block_held.wait()
            del block
            meter.add_rows(number)
        all_measured.wait()
        return meter.finish().rows, meter.finish().peak_memory_bytes

    with StepMeter() as before:
        pass
    with ThreadPoolExecutor(4) as pool:
        rows, peaks = zip(*pool.map(measure, range(4)), strict=True)
    assert rows == (0, 1, 2, 3)
    # The processor's batches of pages are a little ahead or behind.
    assert max(peaks) - min(peaks) < 10 * MEGABYTE
    assert before.finish().rows == 0


def test_one_thread_samples_for_all_meters_and_none_is_left_after_the_last() -> None:
    outer, inner = StepMeter().start(), StepMeter().start()
    assert _thread_names().count(SAMPLER) == 1
    outer.finish()
    assert _thread_names().count(SAMPLER) == 1
    inner.finish()
    assert SAMPLER not in _thread_names()
    with StepMeter():
        assert _thread_names().count(SAMPLER) == 1
    assert SAMPLER not in _thread_names()


def test_a_meter_that_is_forgotten_without_an_end_keeps_no_thread_alive() -> None:
    meter = StepMeter().start()
    (sampler,) = (thread for thread in threading.enumerate() if thread.name == SAMPLER)
    del meter
    gc.collect()
    sampler.join(30)
    assert not sampler.is_alive()


def test_a_meter_that_was_open_across_a_fork_goes_on_in_the_child_with_the_childs_own_numbers() -> None:
    parent, child, parent_cpu_ms, child_cpu_ms = _run(
        """
        def work(seconds):
            until = time.process_time() + seconds
            while time.process_time() < until:
                pass

        work(0.5)
        meter = StepMeter().start()
        hold(200, seconds=0.3)
        work(0.5)
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            work(0.1)
            measured = meter.finish()
            os.write(writing, f"{measured.peak_memory_bytes} {int(measured.cpu_seconds * 1000)}".encode())
            os._exit(0)
        assert os.waitpid(process, 0)[1] == 0
        child, child_cpu = os.read(reading, 100).decode().split()
        measured = meter.finish()
        print(measured.peak_memory_bytes, child, int(measured.cpu_seconds * 1000), child_cpu)
        """
    )
    assert 0 < child < parent - 190 * MEGABYTE
    assert 100 <= child_cpu_ms < 500 <= parent_cpu_ms


def test_a_new_meter_in_a_forked_child_samples_by_a_thread_of_its_own() -> None:
    small, big, threads = _run(
        """
        meter = StepMeter().start()
        hold(300)
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            # A mark that is above both, so that samples alone can tell.
            hold(200)
            with StepMeter() as big:
                hold(100, seconds=0.5)
            with StepMeter() as small:
                pass
            os.write(writing, f"{peak(small)} {peak(big)} {threading.active_count()}".encode())
            os._exit(0)
        assert os.waitpid(process, 0)[1] == 0
        print(os.read(reading, 100).decode())
        """
    )
    assert big - small > 90 * MEGABYTE
    assert threads == 1


def test_finishing_twice_gives_the_same_measurements() -> None:
    with StepMeter() as meter:
        meter.add_rows(3)
    first = meter.finish()
    meter.add_rows(4)
    threading.Event().wait(0.01)
    assert meter.finish() is first
    assert first.rows == 3


def test_an_error_in_the_block_reaches_the_caller_and_the_step_is_measured() -> None:
    meter = StepMeter()
    with pytest.raises(ZeroDivisionError), meter:
        _ = 1 / 0
    assert meter.finish().wall_seconds >= 0
    assert SAMPLER not in _thread_names()


def test_a_meter_that_was_never_started_cannot_be_finished() -> None:
    with pytest.raises(TrackingError, match="never started"):
        StepMeter().finish()


def test_a_meter_measures_one_step_alone() -> None:
    meter = StepMeter().start()
    try:
        with pytest.raises(TrackingError, match="started before"):
            meter.start()
    finally:
        meter.finish()
    with pytest.raises(TrackingError, match="started before"):
        meter.start()


def test_a_negative_number_of_rows_is_refused_and_not_counted() -> None:
    with StepMeter() as meter:
        meter.add_rows(5)
        with pytest.raises(TrackingError, match="-1 rows"):
            meter.add_rows(-1)
    assert meter.finish().rows == 5


def test_without_rows_there_is_no_rate_of_rows() -> None:
    with StepMeter() as meter:
        meter.add_rows(0)
    assert meter.finish().rows == 0
    assert meter.finish().rows_per_second is None


def _thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def _run(body: str) -> list[int]:
    """Run code in a fresh process and return the integers that it prints."""
    # A program inherits the high-water mark of the process image that it replaces: a shell between us and it keeps
    # the memory of this test session out.
    command = ["sh", "-c", '"$0" -W ignore -c "$1"; exit $?', sys.executable, PREAMBLE + textwrap.dedent(body)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return [int(word) for word in finished.stdout.split()]
