"""The same facts by fluent MLflow calls and by journal and shipper, on one SQLite store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.facts import compare_ways, record_evaluation
from benchmarks.measure import print_table


def main() -> None:
    """Compare the ways on a SQLite store in Hokusai's own mode (write-ahead log), which helps the fluent calls too."""
    with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name:
        folder = Path(name)
        facts = record_evaluation(folder)
        samples = compare_ways(facts, uri=f"sqlite:///{folder / 'store.db'}", folder=folder)
        print_table(f"the same {facts.count()} facts of one evaluation, SQLite, MLflow imported", samples)


if __name__ == "__main__":
    main()
