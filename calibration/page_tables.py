"""Tables of the page, each from the cells of one section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.cells import (
    ClimbCell,
    CoverageCell,
    LooksCell,
    SequenceCell,
    SmallNumbersCell,
    monte_carlo_error,
    percent,
    share,
)
from calibration.promises import is_outside
from calibration.real_trainers import NO_EFFECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


__all__ = [
    "climbing_table",
    "clusters_table",
    "coverage_tables",
    "decisions_table",
    "looks_table",
    "power_table",
    "small_numbers_tables",
    "table",
    "trainers_table",
]


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, texts: Sequence[int] = (0,)) -> list[str]:
    """Return the lines of a table; all columns but ``texts`` are numbers."""
    marks = ["---" if column in texts else "---:" for column in range(len(header))]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *rows)] + [""]


def coverage_tables(cells: Sequence[CoverageCell], *, unit: str) -> list[str]:
    """Return coverage by metric and size, one table for each population."""
    lines: list[str] = []
    for population in dict.fromkeys(cell.population for cell in cells):
        chosen = [cell for cell in cells if cell.population == population]
        sizes = sorted({cell.size for cell in chosen})
        lines += table(
            [population, *[f"{size:,} {unit}" for size in sizes]],
            (
                [f"`{metric}`", *[_marked(cell) for cell in sorted(same, key=lambda cell: cell.size)]]
                for metric, same in _by_metric(chosen)
            ),
        )
    return lines


def power_table(cells: Sequence[CoverageCell]) -> list[str]:
    """Return the share of true gains found, paired and unpaired, by population, metric and size."""
    sizes = sorted({cell.size for cell in cells})
    rows = [
        [
            f"{population}: `{metric}`",
            *[f"{_points(cell.found, cell)} / {_points(cell.found_beside, cell)}" for cell in same],
        ]
        for population in dict.fromkeys(cell.population for cell in cells)
        for metric, same in _by_metric([cell for cell in cells if cell.population == population])
    ]
    return table(["true gain", *[f"{size:,} rows" for size in sizes]], rows)


def clusters_table(cells: Sequence[CoverageCell]) -> list[str]:
    """Return coverage with clusters and, after a stroke, without."""
    sizes = sorted({cell.size for cell in cells})
    rows = [
        [f"`{metric}`", *[f"{_marked(cell)} / {percent(cell.covered_beside, cell.intervals)}" for cell in same]]
        for metric, same in _by_metric(cells)
    ]
    return table(["with clusters / without", *[f"{size:,} clusters" for size in sizes]], rows)


def small_numbers_tables(cells: Sequence[SmallNumbersCell]) -> list[str]:
    """Return coverage by the expected number of positives, then by that of discordant rows."""
    positives = [cell for cell in cells if cell.covered_tango < 0]
    discordant = [cell for cell in cells if cell.covered_tango >= 0]
    numbers = sorted({cell.expected for cell in positives})
    metrics = dict.fromkeys(cell.metric for cell in positives)
    lines = table(
        ["expected positives", *[f"{number}" for number in numbers]],
        (
            [
                f"`{metric}`",
                *[percent(cell.covered, cell.intervals) for cell in positives if cell.metric == metric],
            ]
            for metric in metrics
        ),
    )
    at_floor = [cell for cell in positives if cell.decided]
    lines += table(
        [
            "decided (at or above the floor)",
            *[f"{number}" for number in numbers if any(c.expected == number for c in at_floor)],
        ],
        (
            [
                f"`{metric}`",
                *[percent(cell.covered_decided, cell.decided) for cell in at_floor if cell.metric == metric],
            ]
            for metric in metrics
        ),
    )
    return lines + table(
        ["accuracy: rows, expected discordant", "all", "without an interval", "decided", "coverage of those", "Tango"],
        (
            [
                f"{cell.rows:,}, {cell.expected}",
                percent(cell.covered, cell.intervals),
                percent(cell.undefined, cell.replicates),
                percent(cell.decided, cell.replicates),
                percent(cell.covered_decided, cell.decided),
                percent(cell.covered_tango, cell.replicates),
            ]
            for cell in discordant
        ),
    )


def trainers_table(cells: Sequence[CoverageCell]) -> list[str]:
    """Return, for each population and metric, coverage and acceptance without an effect, beside rows alone."""
    worthless = {(cell.population, cell.metric): cell for cell in cells if cell.population.endswith(NO_EFFECT)}
    rows: list[list[str]] = []
    for cell in cells:
        if cell.population.endswith(NO_EFFECT):
            continue
        nothing = worthless[cell.population + NO_EFFECT, cell.metric]
        rows.append(
            [
                f"{cell.population}: `{cell.metric}`",
                _marked(cell),
                percent(cell.covered_beside, cell.intervals),
                _marked(nothing),
                percent(nothing.found, nothing.replicates),
                percent(nothing.found_beside, nothing.replicates),
            ]
        )
    return table(
        ["", "coverage", "rows alone", "no effect: coverage", "accepted", "accepted by rows alone"],
        rows,
    )


def decisions_table(cells: Sequence[SequenceCell]) -> list[str]:
    """Return what each rule does to sequences of decisions."""
    rows: list[list[str]] = []
    for cell in cells:
        fits = "1 fit" if cell.candidate_fits == 1 else f"{cell.candidate_fits} fits"
        error = 100 * monte_carlo_error(cell.any_accepted, cell.sequences)
        rows.append(
            [
                f"{cell.seeds}, {cell.rows:,} rows, {fits}; {cell.rule}",
                f"{cell.accepted / cell.sequences:.2f}",
                f"{percent(cell.any_accepted, cell.sequences)} ± {error:.1f}",
                percent(cell.gains_accepted, cell.gains),
            ]
        )
    return table(["", "worthless accepted of 1,000", "any of them", "true gains of 3 points accepted"], rows)


def climbing_table(cells: Sequence[ClimbCell]) -> list[str]:
    """Return how far attackers climb by what they are told."""
    rows = [
        [
            f"{cell.attack}, {cell.answers}",
            f"{cell.climb:+.2f}",
            f"{cell.true_gain:+.2f}",
            percent(cell.accepted_same, cell.attackers),
            percent(cell.accepted_decision, cell.attackers),
        ]
        for cell in cells
    ]
    header = ["attack, answers", "climb in points", "true gain", "accepted on the same half", "on the decision half"]
    return table(header, rows)


def looks_table(cells: Sequence[LooksCell]) -> list[str]:
    """Return the share of acceptances and the mean number of fits by true gain."""
    gains = list(dict.fromkeys(cell.gain for cell in cells))
    keys = dict.fromkeys((cell.seeds, cell.procedure) for cell in cells)
    rows = [
        [
            f"{seeds}; {procedure}",
            *[
                f"{percent(cell.accepted, cell.replicates)}, {cell.fits / cell.replicates:.1f}"
                for cell in cells
                if (cell.seeds, cell.procedure) == (seeds, procedure)
            ],
        ]
        for seeds, procedure in keys
    ]
    return table(["accepted, mean fits", *[f"gain {gain:+g} points" if gain else "no gain" for gain in gains]], rows)


def _marked(cell: CoverageCell) -> str:
    text = percent(cell.covered, cell.intervals)
    return f"**{text}**" if is_outside(cell) else text


def _points(count: int, cell: CoverageCell) -> str:
    return f"{100 * share(count, cell.replicates):.0f}"


def _by_metric(cells: Sequence[CoverageCell]) -> list[tuple[str, list[CoverageCell]]]:
    return [
        (metric, sorted((cell for cell in cells if cell.metric == metric), key=lambda cell: cell.size))
        for metric in dict.fromkeys(cell.metric for cell in cells)
    ]
