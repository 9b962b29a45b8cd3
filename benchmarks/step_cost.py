"""What recording one fact costs the step that records it: a metric point in the journal against a bare line in a file.

Both leave the line with the operating system before they return. Beyond that the journal builds the JSON text, chains
it by SHA-256, takes a lock, and has a thread that syncs the file to the disk every second. A million points are
recorded, one call each, and what the memory of the process grew by is printed. :meth:`Run.log_series` is beside it.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Cost, Samples, Side, alternate, cost_of, print_table

from hokusai.tracking.journal import JOURNAL_FILE, FileJournal
from hokusai.tracking.run import Tracker
from hokusai.tracking.step_measurements import StepMeter

if TYPE_CHECKING:
    from collections.abc import Callable

    from hokusai.tracking.run import Run

_BLOCKS, _POINTS_PER_BLOCK, _LINES_PER_BLOCK = 50, 20_000, 5_000
_SERIES_RUNS, _SERIES_POINTS = 7, 100_000
_WARM_UP = 50_000
_TARGETS = "targets: 10 µs at the median, 100 µs at the 99th percentile"


def main() -> None:
    """Let blocks of points and blocks of lines alternate, and print each block's median and 99th percentile."""
    with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name:
        folder = Path(name)
        journal = FileJournal(folder / "journal")
        tracker = Tracker(journal, evaluation="20260101-000000-00000000", run_name="points")
        with tracker.start() as run:
            _compare_points(run, folder=folder)
            _compare_series(run)
        journal.close()


def _compare_points(run: Run, *, folder: Path) -> None:
    medians = Samples("file.write and flush of a line"), Samples("Run.log_metrics of one point")
    percentiles = Samples(medians[0].name), Samples(medians[1].name)
    for step in range(_WARM_UP):
        run.log_metrics({"training.loss": 0.123456789}, step=step)
    line = "x" * (len((folder / "journal" / JOURNAL_FILE).read_bytes().splitlines()[-1])) + "\n"
    gc.collect()
    before = StepMeter().start().finish().peak_memory_bytes
    with (folder / "lines.jsonl").open("w", encoding="ascii") as file, StepMeter() as meter:

        def log_point(step: int) -> None:
            run.log_metrics({"training.loss": 1 / (step + 1)}, step=step)

        def write_line(_step: int) -> None:
            file.write(line)
            file.flush()

        for block in range(_BLOCKS):
            for side, (action, count) in enumerate(((write_line, _LINES_PER_BLOCK), (log_point, _POINTS_PER_BLOCK))):
                seconds = _seconds_per_call(action, first=block * _POINTS_PER_BLOCK, count=count)
                medians[side].wall.append(statistics.median(seconds))
                percentiles[side].wall.append(statistics.quantiles(seconds, n=100)[98])
    points = f"{_BLOCKS * _POINTS_PER_BLOCK:,} points in {_BLOCKS} blocks, lines of {len(line)} bytes"
    print_table(f"one recorded fact, medians of blocks ({points}); {_TARGETS}", medians)
    print_table("one recorded fact, 99th percentiles of blocks", percentiles)
    growth = meter.finish().peak_memory_bytes - before
    print(
        f"memory grew by {growth / 1e6:.1f} MB, {growth / _BLOCKS / _POINTS_PER_BLOCK:.1f} bytes per point", flush=True
    )


def _compare_series(run: Run) -> None:
    values = [1 / (step + 1) for step in range(_SERIES_POINTS)]

    def one_by_one() -> None:
        for step, value in enumerate(values):
            run.log_metrics({"training.loss": value}, step=step)

    def per_point(action: Callable[[], object]) -> Cost:
        cost = cost_of(action)
        return Cost(cost.wall / _SERIES_POINTS, cost.cpu / _SERIES_POINTS)

    sides = [
        Side("Run.log_metrics, one call for each point", lambda: per_point(one_by_one), _SERIES_RUNS),
        Side("Run.log_series", lambda: per_point(lambda: run.log_series("training.loss", values)), _SERIES_RUNS),
    ]
    print_table(f"seconds per point, {_SERIES_POINTS:,} points", alternate(sides))


def _seconds_per_call(action: Callable[[int], None], *, first: int, count: int) -> list[float]:
    seconds = []
    for step in range(first, first + count):
        began = time.perf_counter()
        action(step)
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main()
