"""What was promised before the campaign began, beside what it measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calibration.cells import (
    ClimbCell,
    CoverageCell,
    LooksCell,
    SequenceCell,
    SmallNumbersCell,
    monte_carlo_error,
    of_kind,
    percent,
    share,
)
from calibration.many_decisions import BUDGET, BUDGET_RULE
from calibration.real_trainers import NO_EFFECT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from calibration.cells import Cell

__all__ = ["HIGHEST", "LEVEL", "LOWEST", "Promise", "is_beyond_chance", "is_outside", "promises"]

LOWEST, HIGHEST = 0.93, 0.98
"""Where the coverage of a 95 % interval is wanted."""
LEVEL = 0.025
"""How often one worthless contribution may be accepted."""
_ERRORS = 2.0
"""Monte-Carlo errors by which a share may miss its promise by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A promise.

    Attributes:
        promise: What was promised.
        measured: What was found.
        broken: The cells that break it by more than two Monte-Carlo errors.
        cells: How many could have.
    """

    promise: str
    measured: str
    broken: Sequence[Cell]
    cells: int

    @property
    def verdict(self) -> str:
        """Whether it was met."""
        if not self.broken:
            return "met"
        metrics = dict.fromkeys(f"`{cell.metric}`" for cell in of_kind(CoverageCell, self.broken))
        return f"not met in {len(self.broken)} of {self.cells}" + (f": {', '.join(metrics)}" if metrics else "")


def promises(sections: Mapping[str, Sequence[Cell]]) -> list[Promise]:
    """Return every promise that the sections tell of.

    Args:
        sections: Cells by the section's name; all sections.
    """
    coverage = {name: of_kind(CoverageCell, cells) for name, cells in sections.items()}
    within = "95 % intervals cover the truth in 93 to 98 %"
    return [
        _covered(f"{within}: one pair of models, all metrics", [*coverage["pairs"], *coverage["queries"]]),
        _covered(f"{within}: sample weights", coverage["weights"]),
        _covered(f"{within}: groups of rows", coverage["clusters"]),
        _covered(f"{within}: 5 seeds of real trainers", coverage["trainers"]),
        _floors(of_kind(SmallNumbersCell, sections["small numbers"])),
        _worthless([cell for cell in coverage["trainers"] if cell.population.endswith(NO_EFFECT)]),
        _budget(of_kind(SequenceCell, sections["decisions"])),
        _climbers(of_kind(ClimbCell, sections["climbing"])),
        _looks(of_kind(LooksCell, sections["looks"])),
        _power([cell for cell in coverage["pairs"] if cell.size == 1_000]),
    ]


def is_outside(cell: CoverageCell) -> bool:
    """Return whether a cell's coverage is not from 93 % to 98 %."""
    return not LOWEST <= share(cell.covered, cell.intervals) <= HIGHEST


def is_beyond_chance(cell: CoverageCell) -> bool:
    """Return whether it is outside by more than two Monte-Carlo errors."""
    covered, error = share(cell.covered, cell.intervals), monte_carlo_error(cell.covered, cell.intervals)
    return not LOWEST - _ERRORS * error <= covered <= HIGHEST + _ERRORS * error


def _covered(promise: str, cells: Sequence[CoverageCell]) -> Promise:
    inside = sum(not is_outside(cell) for cell in cells)
    shares = [share(cell.covered, cell.intervals) for cell in cells]
    return Promise(
        promise=promise,
        measured=f"{inside} of {len(cells)} cells; all from {100 * min(shares):.1f} to {100 * max(shares):.1f} %",
        broken=[cell for cell in cells if is_beyond_chance(cell)],
        cells=len(cells),
    )


def _floors(cells: Sequence[SmallNumbersCell]) -> Promise:
    decided = [cell for cell in cells if cell.decided]
    worst = min(decided, key=lambda cell: share(cell.covered_decided, cell.decided))
    return Promise(
        promise="the same from 50 positives or 25 discordant rows on",
        measured=f"lowest {percent(worst.covered_decided, worst.decided)}",
        broken=[
            cell
            for cell in decided
            if share(cell.covered_decided, cell.decided)
            < LOWEST - _ERRORS * monte_carlo_error(cell.covered_decided, cell.decided)
        ],
        cells=len(decided),
    )


def _worthless(cells: Sequence[CoverageCell]) -> Promise:
    worst = max(cells, key=lambda cell: share(cell.found, cell.replicates))
    mean = percent(sum(cell.found for cell in cells), sum(cell.replicates for cell in cells))
    error = 100 * monte_carlo_error(worst.found, worst.replicates)
    return Promise(
        promise="a worthless contribution is accepted at most 2.5 % of the time, with 5 seeds",
        measured=f"{mean} over all; highest {percent(worst.found, worst.replicates)} ± {error:.1f}",
        broken=[cell for cell in cells if _is_above(cell.found, cell.replicates, LEVEL)],
        cells=len(cells),
    )


def _budget(cells: Sequence[SequenceCell]) -> Promise:
    declared = [cell for cell in cells if cell.rule == BUDGET_RULE]
    measured = [
        f"{percent(cell.any_accepted, cell.sequences)} ({cell.seeds}, {cell.rows:,} rows"
        + (")" if cell.candidate_fits == 1 else f", {cell.candidate_fits} fits)")
        for cell in declared
    ]
    return Promise(
        promise="any of 1,000 worthless contributions is accepted with at most 5 %, with a declared number",
        measured="; ".join(measured),
        broken=[cell for cell in declared if _is_above(cell.any_accepted, cell.sequences, BUDGET)],
        cells=len(declared),
    )


def _climbers(cells: Sequence[ClimbCell]) -> Promise:
    accepted, attackers = sum(cell.accepted_decision for cell in cells), sum(cell.attackers for cell in cells)
    return Promise(
        promise="who climbs on the feedback half is not accepted on the decision half",
        measured=f"{accepted} of {attackers} accepted; climbed up to {max(cell.climb for cell in cells):.1f} points",
        broken=[cell for cell in cells if cell.accepted_decision],
        cells=len(cells),
    )


def _looks(cells: Sequence[LooksCell]) -> Promise:
    planned = [cell for cell in cells if cell.gain == 0 and cell.procedure.startswith("boundaries")]
    worst = max(planned, key=lambda cell: share(cell.accepted, cell.replicates))
    return Promise(
        promise="planned looks together accept a worthless contribution at most 2.5 % of the time",
        measured=f"highest {percent(worst.accepted, worst.replicates)}",
        broken=[cell for cell in planned if _is_above(cell.accepted, cell.replicates, LEVEL)],
        cells=len(planned),
    )


def _power(cells: Sequence[CoverageCell]) -> Promise:
    paired, unpaired = sum(cell.found for cell in cells), sum(cell.found_beside for cell in cells)
    tried = sum(cell.replicates for cell in cells)
    return Promise(
        promise="more of the true gains are found than by the unpaired test, at 1,000 rows",
        measured=f"{percent(paired, tried)} beside {percent(unpaired, tried)}, mean over metrics",
        broken=[cell for cell in cells if cell.found < cell.found_beside],
        cells=len(cells),
    )


def _is_above(count: int, total: int, promised: float) -> bool:
    return share(count, total) > promised + _ERRORS * monte_carlo_error(count, total)
