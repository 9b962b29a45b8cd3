"""What recording one fact costs the step that records it: a metric point in the journal against a bare line in a file.

Both leave the line with the operating system before they return. Beyond that the journal builds the JSON text, chains
it by SHA-256, takes a lock, and has a thread that syncs the file to the disk every second.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Samples, print_table

from hokusai.tracking.journal import JOURNAL_FILE, FileJournal
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCKS, _POINTS_PER_BLOCK = 20, 5_000


def main() -> None:
    """Let blocks of points and blocks of lines alternate, and print each block's median and 99th percentile."""
    medians = Samples("file.write and flush of a line"), Samples("Run.log_metrics of one point")
    percentiles = Samples(medians[0].name), Samples(medians[1].name)
    with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name:
        folder = Path(name)
        journal = FileJournal(folder / "journal")
        tracker = Tracker(journal, evaluation="20260101-000000-00000000", run_name="points")
        with tracker.start() as run, (folder / "lines.jsonl").open("w", encoding="ascii") as file:
            run.log_metrics({"training.loss": 0.123456789}, step=50_000)
            line = "x" * (len((folder / "journal" / JOURNAL_FILE).read_bytes().splitlines()[-1])) + "\n"

            def log_point(step: int) -> None:
                run.log_metrics({"training.loss": 1 / (step + 1)}, step=step)

            def write_line(_step: int) -> None:
                file.write(line)
                file.flush()

            for block in range(_BLOCKS):
                for side, action in enumerate((write_line, log_point)):
                    seconds = _seconds_per_call(action, first=block * _POINTS_PER_BLOCK)
                    medians[side].wall.append(statistics.median(seconds))
                    percentiles[side].wall.append(statistics.quantiles(seconds, n=100)[98])
        journal.close()
    points = f"{_BLOCKS * _POINTS_PER_BLOCK:,} points in {_BLOCKS} blocks, lines of {len(line)} bytes"
    print_table(f"one recorded fact, medians of blocks ({points})", medians)
    print_table("one recorded fact, 99th percentiles of blocks", percentiles)


def _seconds_per_call(action: Callable[[int], None], *, first: int) -> list[float]:
    seconds = []
    for step in range(first, first + _POINTS_PER_BLOCK):
        began = time.perf_counter()
        action(step)
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main()
