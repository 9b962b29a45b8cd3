"""How long ``hokusai demo`` takes as a whole process, for information: three evaluations in a fresh folder.

Beside it, what it cannot do without: importing the libraries that train and read, and importing MLflow, which the
shipping process does at the same time.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Cost, Side, alternate, cost_of_command, print_table

_RUNS = 3
_LIBRARIES = "import pandas, pyarrow.csv, pyarrow.parquet, scipy.stats, skops.io, sklearn.linear_model"


def main() -> None:
    """Measure whole processes."""
    command = str(Path(sys.executable).with_name("hokusai"))

    def demo() -> Cost:
        with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as folder:
            return cost_of_command([command, "demo"], folder=Path(folder))

    sides = [
        Side("python, importing pandas, PyArrow, SciPy, scikit-learn", lambda: _imports(_LIBRARIES), _RUNS),
        Side("python, importing MLflow", lambda: _imports("import mlflow"), _RUNS),
        Side("hokusai demo (three evaluations, a new store)", demo, _RUNS),
    ]
    print_table("the demo, whole processes with their children", alternate(sides))


def _imports(code: str) -> Cost:
    return cost_of_command([sys.executable, "-c", code])


if __name__ == "__main__":
    main()
