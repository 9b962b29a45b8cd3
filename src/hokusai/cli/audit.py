"""``hokusai audit``: is what MLflow holds of a run what the journal recorded?"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.cli.settings import tracking_settings
from hokusai.report.visible_text import visible_text
from hokusai.tracking.audit import audit_run

if TYPE_CHECKING:
    import argparse

    from hokusai.tracking.audit import AuditReport, Difference

__all__ = ["audit"]

_LONGEST_TEXT = 100


def audit(arguments: argparse.Namespace) -> int:
    """Compare what MLflow holds with what was recorded; exits 1 when anything differs."""
    settings = tracking_settings(arguments)
    journal = Path(arguments.journal) if arguments.journal else None
    report = audit_run(settings, arguments.run, journal=journal, without_journal=arguments.without_journal)
    if arguments.json:
        value = {"ok": report.ok, **dataclasses.asdict(report)}
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True, default=str) + "\n")
    else:
        _print_report(report)
    return 0 if report.ok else 1


def _print_report(report: AuditReport) -> None:
    journals = ", ".join(map(str, report.journals))
    print(
        visible_text(f"Compared {report.run} in {report.store} with {journals or 'its own digests in MLflow alone'}.")
    )
    if report.journal is None:
        print("Without a journal: tags, metrics, datasets, times and statuses could not be checked.")
    wrong: dict[str, int] = {}
    for item in report.differences:
        wrong[item.kind] = wrong.get(item.kind, 0) + 1
    kinds = sorted({*report.checked, *wrong})
    display.print_rows(
        ("kind", "compared", "differences"),
        [(kind, str(report.checked.get(kind, 0)), str(wrong.get(kind, 0) or "")) for kind in kinds],
    )
    for item in report.differences:
        print(_line(item))
    waiting = len(report.differences) - len(report.edits)
    if waiting:
        print(f"{waiting} facts are not in MLflow yet; `{display.command_name()} sync` brings them over.")
    if report.ok:
        print("No differences." if report.journals else "No differences, as far as could be checked.")
    else:
        count = len(report.edits)
        print(f"{count} difference{'' if count == 1 else 's'}, {waiting} not shipped.")


def _line(item: Difference) -> str:
    where = item.run or item.key
    what = f"{item.kind} {item.name}" if item.name and item.name != item.run else item.kind
    texts = [f"recorded {_shortened(item.recorded)}"] if item.recorded else []
    texts += [f"found {_shortened(item.found)}"] if item.found else []
    return visible_text(f"{item.reason}: {f'{where}: ' if where else ''}{what}: {', '.join(texts)}".rstrip(": "))


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST_TEXT:
        return text
    half = _LONGEST_TEXT // 2
    return f"{text[:half]}…{text[-half:]} ({len(text)} characters)"
