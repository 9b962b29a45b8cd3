"""Run the calibration campaign: ``python -m calibration.run [section ...]``, all sections by default.

Each section replaces its own cells in ``results.json``; then ``docs/calibration.md`` is written anew from all of them.
A run that was broken off goes on with the sections that are named. With ``--results`` the page stays as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.cells import read_results, write_results
from calibration.climbing import measure_climbing
from calibration.coverage import FULL, QUICK
from calibration.many_decisions import measure_decisions
from calibration.page import write_page
from calibration.populations import measure_clusters, measure_pairs, measure_queries, measure_weights
from calibration.real_trainers import measure_real_trainers
from calibration.sequential_looks import measure_looks
from calibration.small_numbers import measure_small_numbers
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from calibration.cells import Cell
    from calibration.coverage import Effort

__all__ = ["PAGE", "RESULTS", "SECTIONS", "main"]

_ROOT = Path(__file__).resolve().parent.parent
RESULTS = _ROOT / "calibration" / "results.json"
PAGE = _ROOT / "docs" / "calibration.md"
SECTIONS: dict[str, Callable[[Effort], Sequence[Cell]]] = {
    "pairs": measure_pairs,
    "queries": measure_queries,
    "weights": measure_weights,
    "clusters": measure_clusters,
    "small numbers": measure_small_numbers,
    "trainers": measure_real_trainers,
    "decisions": measure_decisions,
    "climbing": measure_climbing,
    "looks": measure_looks,
}
"""What is measured, by the section's name, in the page's order."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the named sections and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", nargs="*", help=f"one or more of: {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="a thirtieth of the replicates; needs --results")
    parser.add_argument("--results", type=Path, help="where counts are kept, by default calibration/results.json")
    parser.add_argument("--cache", type=Path, help="a folder for what real trainers predict; not kept by default")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.section) - set(SECTIONS))
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if options.quick and options.results is None:
        parser.error("--quick needs --results: a thirtieth of the counts must not replace the page's")
    results = options.results or RESULTS
    effort = dataclasses.replace(QUICK if options.quick else FULL, cache=options.cache)
    for name in options.section or SECTIONS:
        began = time.process_time()
        # Arrays are small here: more threads would only wait for each other.
        with threadpool_limits(1):
            cells = SECTIONS[name](effort)
        done = {**read_results(results), name: cells}
        write_results(results, {each: done[each] for each in SECTIONS if each in done})
        if options.results is None:
            PAGE.write_text(write_page(read_results(results)), encoding="utf-8")
        print(f"{name}: {len(cells)} cells, {time.process_time() - began:.0f} CPU seconds", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
