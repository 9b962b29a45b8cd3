"""``hokusai check``: what a contributor runs on a file before handing it over."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.config import load_config
from hokusai.errors import ConfigurationError
from hokusai.records import SEVERITIES
from hokusai.report.check_document import check_document, sorted_findings
from hokusai.report.check_page import check_page
from hokusai.report.visible_text import visible_text

if TYPE_CHECKING:
    import argparse

    from hokusai.records import CheckReport

__all__ = ["check", "write_atomically"]


def check(arguments: argparse.Namespace) -> int:
    """Check a file and print every finding; exits 1 from the severity on that the caller names."""
    from hokusai.contribution_check import check_contribution

    page = Path(arguments.html) if arguments.html else None
    if page is not None:
        _require_folder(page)
    # The file that is checked takes the place of the contributions, which need not be there.
    flags = {"data.contributions": [{"path": arguments.file}]}
    config = load_config(Path(arguments.config), flags=flags).config
    report = check_contribution(config.data.contributions[0].path, config)
    if page is not None:
        write_atomically(page, check_page(report))
    if arguments.json:
        sys.stdout.write(check_document(report))
    else:
        _print_report(report)
        if page is not None:
            print(f"Written: {visible_text(page)}")
    return 1 if _fails(report, arguments.fail_on) else 0


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole: whoever reads it meets the old text or the new one, never a part.

    Raises:
        ConfigurationError: It cannot be written.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        try:
            partial.write_text(text, encoding="utf-8", newline="")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written ({error.strerror}). Name another file.", source=str(path)
        ) from error


def _require_folder(path: Path) -> None:
    """Refuse, before minutes of work, a page that could not be written after them."""
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else "its folder is not there"
        raise ConfigurationError(f"{problem}, expected the name of a file to write. Name another.", source=str(path))


def _fails(report: CheckReport, fail_on: str) -> bool:
    if fail_on == "never" or report.worst is None:
        return False
    return SEVERITIES.index(report.worst) <= SEVERITIES.index("warning" if fail_on == "warning" else "error")


def _print_report(report: CheckReport) -> None:
    print(f"{visible_text(report.source)}: {report.rows:,} rows, {len(report.columns)} columns")
    findings = sorted_findings(report)
    if findings:
        rows = [
            (
                finding.severity,
                finding.check,
                "" if finding.rows is None else f"{finding.rows:,}",
                visible_text(f"{finding.message} {finding.advice}".rstrip()),
            )
            for finding in findings
        ]
        print()
        display.print_rows(("severity", "check", "rows", "finding"), rows)
    if report.personal_data:
        print()
        counted = [
            (visible_text(column), kind, grade, f"{rows:,}") for column, kind, grade, rows in report.personal_data
        ]
        display.print_rows(("column", "personal data", "grade", "rows"), counted)
    if report.counts:
        print()
        present = {name: number for name, number in report.counts.items() if number or name in ("offered", "kept")}
        display.print_rows(("rows", "number"), [(name, f"{number:,}") for name, number in present.items()])
    print()
    found = [finding.severity for finding in findings]
    counts = {severity: found.count(severity) for severity in SEVERITIES}
    totals = [f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts.items()]
    print(f"Found: {', '.join(totals)}." if findings else "Nothing was found.")
