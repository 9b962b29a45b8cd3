"""Print what every number depends on: the machine, its load, and the versions."""

from __future__ import annotations

from benchmarks.measure import print_machine

if __name__ == "__main__":
    print_machine()
