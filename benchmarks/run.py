"""Run the benchmarks: ``python benchmarks/run.py [name ...]``, all of them by default.

Each is a module of this folder and runs in a process of its own, so that none warms up another's imports or stores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_BENCHMARKS = (
    "start_up",
    "tracked_evaluation",
    "whole_demo",
    "fluent_sqlite",
    "fluent_server",
    "step_cost",
    "shipping",
    "registering",
    "model_loading",
    "tracked_flights",
    "tables",
    "content_digest",
    "integration",
    "near_duplicates",
    "personal_data",
    "training",
    "intervals",
    "verifying",
    "reproducing",
    "outages",
    "test_kit",
)
# Both sides alike: MLflow sends nothing home, and prints nothing among the tables.
_MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "1",
}


def main(names: list[str]) -> int:
    """Run the named benchmarks and return the number of those that failed."""
    unknown = sorted(set(names) - set(_BENCHMARKS))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(_BENCHMARKS)}.", file=sys.stderr)
        return 2
    # Settings of the shell must not send the benchmarks to a real server.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "HOKUSAI_"))}
    failures = 0
    for name in ("machine", *(names or _BENCHMARKS)):
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        # Models and fits that an earlier benchmark kept would be a head start.
        with tempfile.TemporaryDirectory() as cache:
            own = environment | _MLFLOW | {"HOKUSAI_CACHE": cache}
            failures += subprocess.run(command, cwd=_ROOT, env=own, check=False).returncode != 0
    return failures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
