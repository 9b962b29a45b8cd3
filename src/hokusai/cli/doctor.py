"""``hokusai doctor``: can evaluations be tracked from here, and has something been left behind?"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from typing import TYPE_CHECKING

from hokusai.cli.settings import tracking_settings
from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

    from hokusai.tracking.connection import ConnectionReport

__all__ = ["doctor"]

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}


def doctor(arguments: argparse.Namespace) -> int:
    """Check the tracking store and the journals; exits 1 when a check failed."""
    from hokusai.tracking.connection import check_connection

    if not (math.isfinite(arguments.lost_after) and arguments.lost_after > 0):
        problem = f"got {arguments.lost_after:g}, expected a number of hours above 0."
        raise ConfigurationError(problem, source="flag --lost-after")
    settings = tracking_settings(arguments)
    report = check_connection(settings, repair=arguments.repair, lost_after_hours=arguments.lost_after)
    if arguments.json:
        value = {"ok": report.ok, **dataclasses.asdict(report)}
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    else:
        _print_report(report)
    return 0 if report.ok else 1


def _print_report(report: ConnectionReport) -> None:
    """Print three lines per check: how it went, what was tried, and what to do."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(f"Tracking store: {report.store}"), soft_wrap=True)
    for check in report.checks:
        line = Text(f"{check.status:<7}", style=_COLOURS[check.status])
        line.append(f"  {check.name:<11}  {check.found}  ({check.seconds:.1f} s)", style="default")
        console.print(line, soft_wrap=True)
        if check.status in {"warning", "failed"}:
            console.print(Text(f"{'':<22}tried: {check.tried}"), soft_wrap=True)
        if check.advice:
            console.print(Text(f"{'':<22}to do: {check.advice}"), soft_wrap=True)
    counts = {status: sum(check.status == status for check in report.checks) for status in _COLOURS}
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    console.print(Text(f"{'Tracking works from here' if report.ok else 'Tracking does not work from here'}: {said}."))
