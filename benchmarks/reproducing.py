"""What doing an evaluation of the demo again costs, with running it: whole processes, each on a copy of one store.

Neither side finds fits of the control that were kept, and the store has one evaluation before either begins.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.measure import Cost, Side, alternate, cost_of_command, print_table

_RUNS = 7
_MOVES = (
    "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)",
    "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
    "UPDATE logged_models SET artifact_location = replace(artifact_location, ?, ?)",
)


def main() -> None:
    """Compare ``hokusai run`` with ``hokusai reproduce``, beside the libraries that both need."""
    command = str(Path(sys.executable).with_name("hokusai"))
    with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name:
        store = Path(name) / "store"
        subprocess.run([command, "init", store], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([command, "run"], cwd=store, check=True, stdout=subprocess.DEVNULL)
        (evaluation,) = [folder.name for folder in (store / ".hokusai").iterdir() if folder.name.startswith("20")]
        sides = [
            Side("hokusai run", partial(_on_a_copy, store, [command, "run"]), _RUNS),
            Side("hokusai reproduce", partial(_on_a_copy, store, [command, "reproduce", evaluation]), _RUNS),
            Side("python, importing MLflow", partial(cost_of_command, [sys.executable, "-c", "import mlflow"]), _RUNS),
        ]
        print_table("one evaluation of the demo, done again; whole processes with their children", alternate(sides))


def _on_a_copy(store: Path, command: list[str]) -> Cost:
    with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name:
        folder = Path(name) / "copy"
        shutil.copytree(store, folder)
        with sqlite3.connect(folder / "mlflow.db") as database:
            for statement in _MOVES:
                database.execute(statement, (str(store), str(folder)))
        database.close()
        return cost_of_command(command, folder=folder, environment={**os.environ, "HOKUSAI_CACHE": f"{name}/cache"})


if __name__ == "__main__":
    main()
