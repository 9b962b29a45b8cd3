"""How the benchmarks measure and print: sides that take turns, medians, and the ratio to the first side.

Machines and their load differ, so nothing here knows an absolute limit. The sides of one comparison alternate within
one run (A B B A …): what disturbs the machine disturbs them alike.
"""

from __future__ import annotations

import platform
import resource
import sqlite3
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from os import cpu_count, getloadavg
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Cost", "Samples", "Side", "alternate", "cost_of", "cost_of_command", "print_machine", "print_table"]

_PACKAGES = ("hokusai-pipeline", "mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "sqlalchemy")
_NAME_WIDTH = 58


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of one side cost, in seconds; CPU is that of this process and of the children it has waited for."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: What the table calls it.
        measure: Runs it once; what it does outside of :func:`cost_of` is not counted.
        runs: How often; a slow side may have fewer runs than the others.
    """

    name: str
    measure: Callable[[], Cost]
    runs: int


@dataclass(slots=True)
class Samples:
    """The seconds of all runs of one side; ``cpu`` is empty where it was not measured."""

    name: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def cost_of(action: Callable[[], object]) -> Cost:
    """Measure one call."""
    cpu, began = _cpu_seconds(), time.perf_counter()
    action()
    wall = time.perf_counter() - began
    return Cost(wall, _cpu_seconds() - cpu)


def cost_of_command(
    command: Sequence[str], *, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Cost:
    """Measure a whole process, from its start until it has been waited for."""

    def call() -> None:
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)

    return cost_of(call)


def alternate(sides: Sequence[Side]) -> list[Samples]:
    """Let the sides take turns until each has had its runs, every other turn backwards: to come first may cost."""
    samples = [Samples(side.name) for side in sides]
    for turn in range(max(side.runs for side in sides)):
        pairs = list(zip(sides, samples, strict=True))
        for side, taken in pairs if turn % 2 == 0 else reversed(pairs):
            if turn < side.runs:
                cost = side.measure()
                taken.wall.append(cost.wall)
                taken.cpu.append(cost.cpu)
    return samples


def print_table(title: str, samples: Sequence[Samples]) -> None:
    """Print one comparison; a ratio is that of the medians, to the first side."""
    first = samples[0]
    print(f"\n{title}")
    columns = ("median", "min", "max", "ratio", "CPU", "ratio", "runs")
    print(" " * _NAME_WIDTH + "".join(f"{column:>10}" for column in columns))
    for side in samples:
        wall = statistics.median(side.wall)
        cells = [_text(wall), _text(min(side.wall)), _text(max(side.wall))]
        cells.append(f"{wall / statistics.median(first.wall):.2f}")
        if side.cpu and first.cpu:
            cpu = statistics.median(side.cpu)
            cells += [_text(cpu), f"{cpu / statistics.median(first.cpu):.2f}"]
        else:
            cells += ["", ""]
        cells.append(str(len(side.wall)))
        print(f"{side.name:<{_NAME_WIDTH}}" + "".join(f"{cell:>10}" for cell in cells), flush=True)


def print_machine() -> None:
    """Print what the numbers depend on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _cpu_information().splitlines()
            if line.lower().startswith("model name")
        ),
        platform.machine(),
    )
    load = ", ".join(f"{value:.1f}" for value in getloadavg())
    print(f"machine: {model}, {cpu_count()} cores, {platform.platform()}; load averages {load}")
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    print(f"versions: Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {packages}", flush=True)


def _cpu_information() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _text(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.2f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
