"""What the campaign counts: one cell for each population, metric and size, and the file that keeps them all.

Counts are kept raw, so that every share on the page can be computed anew, with its Monte-Carlo error.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = [
    "Cell",
    "ClimbCell",
    "CoverageCell",
    "LooksCell",
    "SequenceCell",
    "SmallNumbersCell",
    "monte_carlo_error",
    "of_kind",
    "percent",
    "read_results",
    "share",
    "write_results",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageCell:
    """How often intervals held a difference that is known.

    Attributes:
        population: Where the rows, or the fits, come from.
        metric: Name of the metric.
        size: Benchmark rows or, in a population of clusters or queries, their number.
        truth: The true difference, candidate minus control, in the metric's unit.
        truth_error: Monte-Carlo standard error of that.
        replicates: Benchmarks that were drawn.
        undefined: Those on which the metric has no value, or nothing varies, so that there is no interval.
        covered: Intervals that hold the truth.
        covered_beside: Of the intervals that others use (see the section), those that hold the truth.
        found: Intervals that lie above zero, towards better: `decide` says accept for a bar of zero.
        found_beside: The same of the intervals that others use.
        standard_deviation: Of the differences over replicates, in the metric's unit.
    """

    kind: ClassVar[str] = "coverage"
    population: str
    metric: str
    size: int
    truth: float
    truth_error: float
    replicates: int
    undefined: int
    covered: int
    covered_beside: int
    found: int
    found_beside: int
    standard_deviation: float

    @property
    def intervals(self) -> int:
        """Number of replicates that have an interval."""
        return self.replicates - self.undefined


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallNumbersCell:
    """Coverage where little of what counts is on the benchmark, and what the floors make of it.

    Attributes:
        metric: Name of the metric.
        rows: Benchmark rows.
        expected: Expected number of what counts: positives, or rows that one of the two models alone has right.
        floor: The number of them below which the product decides nothing.
        replicates: Benchmarks that were drawn.
        undefined: Those without an interval.
        covered: Intervals that hold the truth.
        decided: Intervals of benchmarks at or above the floor.
        covered_decided: Those of them that hold the truth.
        covered_tango: For accuracy, Tango's score intervals that hold the truth, of all replicates; otherwise -1.
    """

    kind: ClassVar[str] = "small numbers"
    metric: str
    rows: int
    expected: int
    floor: int
    replicates: int
    undefined: int
    covered: int
    decided: int
    covered_decided: int
    covered_tango: int = -1

    @property
    def intervals(self) -> int:
        """Number of replicates that have an interval."""
        return self.replicates - self.undefined


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceCell:
    """Many decisions on one benchmark with one control.

    Attributes:
        rule: How a single decision is made.
        seeds: How much seeds vary beside rows.
        rows: Rows of the benchmark.
        control_fits: Fits of the control, which all decisions of a sequence share.
        candidate_fits: Fits of every candidate.
        decisions: Decisions in a sequence.
        sequences: Sequences, each with a benchmark and a control of its own.
        worthless: Contributions whose true gain is exactly zero, over all sequences.
        accepted: Those of them that were accepted.
        any_accepted: Sequences in which one or more were.
        gains: Contributions with a true gain of three points, over all sequences.
        gains_accepted: Those of them that were accepted.
    """

    kind: ClassVar[str] = "sequence"
    rule: str
    seeds: str
    rows: int
    control_fits: int
    candidate_fits: int
    decisions: int
    sequences: int
    worthless: int
    accepted: int
    any_accepted: int
    gains: int
    gains_accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClimbCell:
    """What somebody gains who asks one benchmark again and again.

    Attributes:
        attack: How the next try is made.
        answers: What is told of each try.
        rows: Rows of the benchmark half that answers.
        tries: Tries of one attacker.
        attackers: Attackers, each on a benchmark of their own.
        climb: Mean gain in accuracy on the half that answers, in points.
        true_gain: Mean true gain, in points.
        accepted_same: Attackers whose last model is accepted at one-sided 0.025 on the half that answered.
        accepted_decision: Those that are accepted on the decision half at alpha = 0.05 / 1,000.
    """

    kind: ClassVar[str] = "climb"
    attack: str
    answers: str
    rows: int
    tries: int
    attackers: int
    climb: float
    true_gain: float
    accepted_same: int
    accepted_decision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LooksCell:
    """A procedure that looks at the candidate several times.

    Attributes:
        seeds: How much seeds vary beside rows.
        procedure: When and at which level it looks.
        gain: True gain in points of accuracy.
        replicates: Evaluations.
        accepted: Those that end with acceptance.
        fits: Candidate fits of all evaluations together.
    """

    kind: ClassVar[str] = "looks"
    seeds: str
    procedure: str
    gain: float
    replicates: int
    accepted: int
    fits: int


CellKind = TypeVar("CellKind", CoverageCell, SmallNumbersCell, SequenceCell, ClimbCell, LooksCell)
Cell: TypeAlias = CoverageCell | SmallNumbersCell | SequenceCell | ClimbCell | LooksCell
_CELL_KINDS: dict[str, type[Cell]] = {
    each.kind: each for each in (CoverageCell, SmallNumbersCell, SequenceCell, ClimbCell, LooksCell)
}


def share(count: int, total: int) -> float:
    """Return count / total; NaN of nothing."""
    return count / total if total else math.nan


def monte_carlo_error(count: int, total: int) -> float:
    """Return the standard error of a share; for 0 and for all, that of one count."""
    counted = min(max(count, 1), max(total - 1, 1))
    return math.sqrt(share(counted, total) * (1 - share(counted, total)) / total) if total else math.nan


def of_kind(kind: type[CellKind], cells: Iterable[Cell]) -> list[CellKind]:
    """Return the cells of one kind."""
    return [cell for cell in cells if isinstance(cell, kind)]


def percent(count: int, total: int) -> str:
    """Return a share as a percentage with one digit, or a dash of nothing."""
    return f"{100 * share(count, total):.1f} %" if total else "-"


def write_results(path: Path, sections: dict[str, Sequence[Cell]]) -> None:
    """Write all sections as JSON, one cell a line; numbers that are not finite have no place in it.

    Args:
        path: The file; it is written anew.
        sections: Cells by the section's name.
    """
    lines: list[str] = []
    for name, cells in sections.items():
        texts = [json.dumps({"kind": cell.kind} | dataclasses.asdict(cell), allow_nan=False) for cell in cells]
        lines.append(f"  {json.dumps(name)}: [\n    " + ",\n    ".join(texts) + "\n  ]")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read_results(path: Path) -> dict[str, Sequence[Cell]]:
    """Return the sections of a file that `write_results` wrote; nothing when there is none."""
    if not path.exists():
        return {}
    sections = json.loads(path.read_text(encoding="utf-8"))
    return {name: tuple(_CELL_KINDS[cell.pop("kind")](**cell) for cell in cells) for name, cells in sections.items()}
