"""The report of a check as one HTML page that needs nothing but itself: no script, no network, no other file."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from hokusai.records import SEVERITIES
from hokusai.report.check_document import sorted_findings
from hokusai.report.visible_text import visible_text

if TYPE_CHECKING:
    from jinja2 import Template

    from hokusai.records import CheckReport

__all__ = ["check_page"]


def check_page(report: CheckReport) -> str:
    """The page, findings by severity. Every text is escaped, and what could not be seen in it is written out."""
    severities = [finding.severity for finding in report.findings]
    return _template().render(
        report=report,
        findings=sorted_findings(report),
        totals=[(severity, severities.count(severity)) for severity in SEVERITIES],
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined  # a tenth of a second that --help does not need

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["visible"] = visible_text
    text = (files("hokusai.report") / "check_page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(text)
