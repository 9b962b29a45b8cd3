"""What the command and the import cost beyond starting Python: ``hokusai --help`` loads the standard library alone."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import Side, alternate, cost_of_command, print_table

_RUNS = 41


def main() -> None:
    """Compare whole processes of the same interpreter."""
    python = sys.executable
    commands = {
        "python -c pass": [python, "-c", "pass"],
        "python -c 'import argparse' (what --help needs)": [python, "-c", "import argparse"],
        "python -c 'import hokusai'": [python, "-c", "import hokusai"],
        "hokusai --help": [str(Path(python).with_name("hokusai")), "--help"],
    }
    for command in commands.values():
        cost_of_command(command)  # The first one compiles and reads from the disk.
    sides = [Side(name, partial(cost_of_command, command), _RUNS) for name, command in commands.items()]
    print_table("start-up, whole processes", alternate(sides))


if __name__ == "__main__":
    main()
