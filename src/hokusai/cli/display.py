"""What people see in the terminal: progress on the error stream, tables on the output."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.box import SIMPLE
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from hokusai.cli.arguments import DEFAULT_FILE
from hokusai.report.visible_text import visible_text
from hokusai.tracking.mlflow_config import sqlite_path
from hokusai.tracking.naming import STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from hokusai.records import BenchmarkSubset, ContributionCounts, DeltaReport, MetricDelta, StatementSummary
    from hokusai.tracking.operations import RunStatus

__all__ = [
    "Progress",
    "command_name",
    "local_time",
    "print_counts",
    "print_next_steps",
    "print_report",
    "print_reports",
    "print_rows",
    "print_setting",
    "warn_if_not_shipped",
]

_COLOURS = {"accept": "green", "reject": "red", "not enough evidence": "yellow"}
_NARROW = 100
_SMALL = 5e-5
_NOTHING = 1e-12
_SMALLEST_P = 1e-4
_LONGEST_WHOLE = 32  # the id of a run; longer words, such as paths, are broken where a table is too wide


class Progress:
    """Shows which step of which evaluation is at work; a listener of runs, see :class:`hokusai.tracking.run.Tracker`.

    Drawn only on a terminal: a log file gets the result and no bars.

    Args:
        total: Number of evaluations.
    """

    def __init__(self, *, total: int) -> None:
        console = Console(stderr=True)
        self._bar = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[step]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        # One unit per step, and one per evaluation for the shipping of its record.
        self._has_recorded = False
        self._task = self._bar.add_task("", total=total * (len(STEPS) + 1), step="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if isinstance(error, KeyboardInterrupt) and self._has_recorded:
            error.add_note("what was recorded is in the journal")

    def start_evaluation(self, name: str) -> None:
        """Name the evaluation that comes next."""
        self._bar.update(self._task, description=name, step="starting")

    def run_started(self, key: str, name: str) -> None:
        """Show the step that began."""
        self._has_recorded = True
        self._bar.update(self._task, step=name if ":" in key else "starting")

    def run_ended(self, key: str, name: str, status: RunStatus) -> None:
        """Count the step that ended; after the parent run, its record is still on its way."""
        del name, status
        self._bar.update(self._task, advance=1, step="" if ":" in key else "bringing the record to MLflow")


def command_name() -> str:
    """Return how this command was called, so that what we print can be typed as it stands."""
    called = Path(sys.argv[0])
    if called.stem != "hokusai":
        return "hokusai"
    on_path = any((Path(folder) / called.name).exists() for folder in _search_path())
    if on_path:
        return "hokusai"
    return shlex.quote(str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called))


def print_rows(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    title: str | None = None,
    right: Sequence[str] = (),
) -> None:
    """Print a plain table; nothing is cut off, and no number or identifier is broken.

    Args:
        headings: One for each column.
        rows: Their cells.
        title: What stands above.
        right: The headings of the columns that are aligned on the right.
    """
    lines = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in (headings, *rows)]
    columns = list(zip(*lines, strict=True))
    natural = [max(cell.cell_len for cell in column) for column in columns]
    least = [max(_longest_word(cell.plain) for cell in column) for column in columns]
    console = _console()
    # A space stands between two columns, and one more on either side of each where there is room.
    padding = int(sum(least) + 3 * len(columns) <= console.width)
    gaps = (1 + 2 * padding) * len(columns)
    widths = _column_widths(natural, least, room=console.width - gaps)
    table = Table(title=title, title_justify="left", box=SIMPLE, show_edge=False, padding=(0, padding))
    for heading, width in zip(headings, widths, strict=True):
        table.add_column(Text(heading), width=width, overflow="fold", justify="right" if heading in right else "left")
    for line in lines[1:]:
        table.add_row(*line)
    # What is wider than the terminal is for the terminal to wrap: a narrower table would lose something.
    console.size = (max(console.width, sum(widths) + gaps), console.height)
    console.print(table)


def _longest_word(text: str) -> int:
    """Return the width of the longest word, or of the part of it that is not to be broken."""
    return min(max((cell_len(word) for word in text.split()), default=1), _LONGEST_WHOLE)


def _column_widths(natural: Sequence[int], least: Sequence[int], *, room: int) -> list[int]:
    """Return the widths that share the room, none below its least; what fits a line if the room is too small for that.

    What is left of the room goes first to the columns that lack least.
    """
    spare = room - sum(least)
    if spare < 0:
        return [min(width, _LONGEST_WHOLE) for width in natural]
    widths = list(least)
    lacking = sorted(range(len(widths)), key=lambda column: natural[column] - least[column])
    for place, column in enumerate(lacking):
        more = min(natural[column] - least[column], spare // (len(lacking) - place))
        widths[column] += more
        spare -= more
    return widths


def print_reports(reports: Sequence[DeltaReport]) -> None:
    """Print one line per evaluation: what each contribution is worth by the metric that decides."""
    numbers = ("rows", "baseline", "candidate", "delta")
    rows = []
    for report in reports:
        contributions = report.counts[1:]
        delta = report.delta
        rows.append(
            (
                ", ".join(count.name for count in contributions),
                str(sum(count.kept for count in contributions)),
                _number(delta.baseline),
                _number(delta.candidate),
                _signed(delta.gain),
                _interval(delta),
                Text(report.decision.outcome, style=_COLOURS[report.decision.outcome]),
            )
        )
    print_rows(
        ("contribution", *numbers, f"{reports[0].delta.confidence:.0%} interval", "decision"),
        rows,
        title=f"What each contribution is worth ({reports[0].decision.metric})",
        right=numbers,
    )
    if any(report.decision.is_exploratory for report in reports):
        print("Exploratory: nothing limits how often this benchmark is asked; see `hokusai benchmark split`.")


def print_report(report: DeltaReport) -> None:
    """Print one evaluation in full: rows, every metric, the decision, its reason, and what cannot be concluded."""
    print_counts(report.counts)
    for note in report.notes:
        print(f"Note: {note}")
    for title, deltas in (("control", report.deltas), ("given baseline", report.baseline_deltas)):
        _print_deltas(deltas, title=title)
    if report.answer_step is not None:
        print("These are scores of the feedback half of the benchmark, rounded; the other half decides.")
    for item in report.undefined:
        print(f"undefined: {item.name} of the {item.arm}: {item.reason}.")
    _print_other_gains(report)
    _print_checks(report)
    print()
    _print_decision(report)


def _print_deltas(deltas: Sequence[MetricDelta], *, title: str) -> None:
    if not deltas:
        return
    print()
    ps = [delta.p_value if delta.adjusted_p_value is None else delta.adjusted_p_value for delta in deltas]
    level = f"{deltas[0].confidence:.0%}"
    headings = ["metric", title, "candidate", "gain", f"{level} interval of the gain", "better is", "p"]
    if all(p is None for p in ps):
        headings.pop()
    rows = []
    for delta, p in zip(deltas, ps, strict=True):
        role = {"primary": " (decides)", "guard": " (guard)", "secondary": ""}[delta.role] if title == "control" else ""
        cells = (
            delta.metric.name + role,
            _number(delta.baseline),
            _number(delta.candidate),
            _signed(delta.gain),
            _interval(delta),
            "higher" if delta.metric.higher_is_better else "lower",
            "" if p is None else _p_value(p),
        )
        rows.append(cells[: len(headings)])
    print_rows(headings, rows)
    if any(delta.gain_lower is None for delta in deltas):
        print("none: the gain is the same on every row that counts, or on every such row of a class, so nothing tells")
        print("how sure it is.")
    if title == "control" and any(delta.adjusted_p_value is not None for delta in deltas):
        print("p: of no gain; of metrics that do not decide, corrected for their number (Holm).")


def _print_other_gains(report: DeltaReport) -> None:
    """Print the gain of the deciding metric on other sets of rows, and what negative controls gained."""
    rows = []
    for subset in report.subsets:
        delta = next((each for each in subset.deltas if each.metric.name == report.decision.metric), None)
        what = _subset_name(subset.subset, overlapping=report.overlapping_rows)
        rows.append((what, f"{subset.subset.rows:,}", *_gain_cells(delta), ""))
    names = {
        "shuffled_labels": "same contribution, labels shuffled",
        "base_resample": "as many rows drawn from the base",
    }
    rows += [
        (names[control.arm], "", *_gain_cells(control.delta), control.outcome) for control in report.negative_controls
    ]
    shown = [row for row in rows if row[0]]
    if shown:
        print()
        print_rows((f"gain in {report.decision.metric}", "rows", "gain", "interval", "would be"), shown)


def _subset_name(subset: BenchmarkSubset, *, overlapping: int) -> str:
    """Return what to call a set of rows; empty when it says nothing that the whole does not."""
    if subset.kind == "without overlap":
        return "without overlapping rows" if overlapping else ""
    return f"benchmark {subset.name}" if subset.kind == "benchmark" else subset.name


def _gain_cells(delta: MetricDelta | None) -> tuple[str, str]:
    return ("undefined", "") if delta is None else (_signed(delta.gain), _interval(delta))


def _print_checks(report: DeltaReport) -> None:
    for check in report.cross_checks:
        if check.p_value is not None:
            found = f"p {_p_value(check.p_value, equals='= ')}"
        else:
            found = f"{_signed(check.gain_lower or 0.0)} to {_signed(check.gain_upper or 0.0)}"
        print(f"Cross-check, {check.what}: {found}.")
    for test in report.decoy_tests:
        hits = f"{test.benchmark_hits} rows of the benchmark and {test.decoy_hits} of the decoy"
        print(f"Decoy test: {test.contribution} holds {hits} (p {_p_value(test.p_value, equals='= ')}).")
    history = report.history
    if history is not None and history.evaluations:
        best = "" if history.best is None else f"; best {history.metric} so far {_number(history.best)}"
        print(f"Earlier evaluations on this benchmark: {history.evaluations}{best}.")


def _print_decision(report: DeltaReport) -> None:
    console, decision = _console(), report.decision
    outcome = Text(decision.outcome.upper(), style=f"bold {_COLOURS[decision.outcome]}")
    exploratory = " (exploratory)" if decision.is_exploratory else ""
    line = Text(f"Decision{exploratory}: ").append_text(outcome).append(f": {decision.reason}")
    console.print(line, soft_wrap=True)
    if decision.minimum_detectable_effect is not None:
        seen = f"{decision.minimum_detectable_effect:.3g}"
        print(f"Smallest gain above the bar that this benchmark and these seeds would find 4 times of 5: {seen}.")
    needed = [
        f"{number:,} {what}"
        for number, what in ((decision.rows_needed, "benchmark rows"), (decision.seeds_needed, "seeds"))
        if number is not None
    ]
    if needed:
        print(f"To settle such a gain 4 times of 5, it would take {' or '.join(needed)}.")
    for guard in decision.guards:
        print(f"Guard {guard.metric}, at most {guard.margin:g} worse: {guard.verdict}.")
    if decision.not_concluded:
        print("What cannot be concluded:")
        for sentence in decision.not_concluded:
            print(f"  - {sentence}")
    console.print(Text(f"Written: {report.identity.delta_file}"), soft_wrap=True)
    if report.statement is not None:
        _print_statement(report.statement)


def _print_statement(statement: StatementSummary) -> None:
    """Print where the statement is, who has signed it, and why there is no other document."""
    console = _console()
    signed = f"signed by the key {statement.signers[0][:12]}…" if statement.signers else "not signed"
    if statement.file is not None:
        console.print(Text(f"Statement: {statement.file} ({signed})"), soft_wrap=True)
    if statement.zk_output is not None:
        console.print(Text(f"For token contracts: {statement.zk_output} (numbers alone, no decision)"), soft_wrap=True)
    for note in statement.notes:
        console.print(Text(f"Not written: {note}"), soft_wrap=True)


def print_counts(counts: Sequence[ContributionCounts]) -> None:
    """Print what became of the rows of every table; what happened to no row is left out."""
    headings = {
        "offered": "rows offered",
        "in_benchmark": "in the benchmark",
        "duplicates": "duplicates",
        "near_base": "near base rows",
        "label_conflicts": "other label elsewhere",
        "key_conflicts": "conflicts of a key",
        "replaced": "replaced",
        "sampled_out": "left out of the sample",
        "kept": "rows used",
    }
    always = ("offered", "in_benchmark", "duplicates", "kept")
    shown = [name for name in headings if name in always or any(getattr(count, name) for count in counts)]
    rows = [(count.name, *(f"{getattr(count, name):,}" for name in shown)) for count in counts]
    print_rows(("table", *(headings[name] for name in shown)), rows)


def print_next_steps(reports: Sequence[DeltaReport], *, config: Path | None) -> None:
    """Print the commands that a person would try next."""
    command = command_name()
    last = reports[0]
    tracking = last.tracking
    shown = tracking.runs[0].run_id[:8] if tracking and tracking.runs[0].run_id else None
    store = _store_flags(last, config)
    lines = [("look at it in MLflow", f"{command} ui{store}")]
    if shown:
        lines.append(("print a run", f"{command} show {shown}{store}"))
        lines.append(("do it again", f"{command} reproduce {shown}{store}"))
    if config is None:
        # No `cd`: a command that was called by a relative path would not be found from there.
        file = Path("my-evaluation") / DEFAULT_FILE
        lines.append(("measure your own", f"{command} init {file.parent} && {command} run {file}"))
    print()
    print("Next:")
    width = max(len(what) for what, _ in lines)
    for what, line in lines:
        print(f"  {what:<{width}}  {line}")


def print_setting(key: str, value: Path, *, file: Path) -> None:
    """Print the line of a configuration that names a file, as it can be pasted, and where it belongs.

    Args:
        key: The setting, such as ``data.contract``.
        value: The file that it names.
        file: The configuration; what is below its folder is named from there.
    """
    section, _, name = key.partition(".")
    folder, value = file.absolute().parent, value.absolute()
    path = value.relative_to(folder) if value.is_relative_to(folder) else value
    print(visible_text(f"Write into {file}, under [{section}]:"))
    print(f"\n{name} = {visible_text(json.dumps(str(path), ensure_ascii=False))}")


def warn_if_not_shipped(reports: Sequence[DeltaReport]) -> None:
    """Say what has not reached MLflow; the result stands all the same."""
    for report in reports:
        tracking = report.tracking
        if tracking and not tracking.shipped:
            print(f"hokusai: not all of the record has reached MLflow: {tracking.problem}", file=sys.stderr)
            sync = f"{command_name()} sync {shlex.quote(str(tracking.journal))}"
            print(f"hokusai: it is safe in the journal; `{sync}` brings it over.", file=sys.stderr)


def _store_flags(report: DeltaReport, config: Path | None) -> str:
    """Return the flags by which another command finds the store, if it would not find it by itself."""
    uri = report.tracking.uri if report.tracking else ""
    path = sqlite_path(uri)
    if path is not None and path.parent == Path.cwd() and path.name == "mlflow.db":
        return ""
    if path is None and config is not None:
        # The file may hold credentials that the address here has been rid of.
        return "" if config == Path(DEFAULT_FILE) else f" --config {shlex.quote(str(config))}"
    return f" --tracking-uri {shlex.quote(uri)}"


def _search_path() -> list[str]:
    import os

    return os.environ.get("PATH", "").split(os.pathsep)


def _console() -> Console:
    console = Console(highlight=False)
    # A file or a pipe has no width; cutting numbers off to fit 80 columns would lose them.
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, 160))


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < _NARROW else f"{value:.6g}"


def _signed(value: float) -> str:
    if abs(value) < _NOTHING:
        # Neither -0.0000 nor the last bit of a sum.
        return "+0.0000"
    if abs(value) < _SMALL:
        # Its sign decides, which +0.0000 would hide.
        return f"{value:+.1e}"
    return f"{value:+.4f}" if abs(value) < _NARROW else f"{value:+.6g}"


def _p_value(value: float, *, equals: str = "") -> str:
    """Return a p-value; what is smaller still is more than approximations to its distribution can tell."""
    return f"<{_SMALLEST_P:.4f}" if value < _SMALLEST_P else f"{equals}{value:.2g}"


def _interval(delta: MetricDelta) -> str:
    if delta.gain_lower is None or delta.gain_upper is None:
        return "none"
    return f"{_signed(delta.gain_lower)} to {_signed(delta.gain_upper)}"


def local_time(milliseconds: int) -> str:
    """Return a time in milliseconds since 1970 as people here read it."""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
