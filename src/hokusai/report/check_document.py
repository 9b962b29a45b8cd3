"""The report of a check as JSON, ``hokusai-check/1``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hokusai.records import SEVERITIES

if TYPE_CHECKING:
    from hokusai.digests import JsonValue
    from hokusai.records import CheckReport, Finding

__all__ = ["CHECK_FORMAT", "check_document", "sorted_findings"]

CHECK_FORMAT = "hokusai-check/1"


def check_document(report: CheckReport) -> str:
    """The report as JSON text, ASCII alone, so that no name in it can steer a terminal.

    Fields stand in the order of the format's page; findings as :func:`sorted_findings` orders them.
    """
    severities = [finding.severity for finding in report.findings]
    document: dict[str, JsonValue] = {
        "format": CHECK_FORMAT,
        "source": report.source,
        "contribution": report.contribution,
        "rows": report.rows,
        "columns": [{"name": name, "type": kind} for name, kind in report.columns],
        "file_sha256": report.file_sha256,
        "digest": report.digest,
        "worst": report.worst,
        "findings": [_finding(finding) for finding in sorted_findings(report)],
        "found": {severity: severities.count(severity) for severity in SEVERITIES},
        "counts": {name: report.counts[name] for name in sorted(report.counts)},
        "personal_data": [
            {"column": column, "kind": kind, "grade": grade, "rows": rows}
            for column, kind, grade, rows in report.personal_data
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def sorted_findings(report: CheckReport) -> tuple[Finding, ...]:
    """The findings by severity, errors first; within one severity, as they were found."""
    return tuple(sorted(report.findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def _finding(finding: Finding) -> JsonValue:
    return {
        "check": finding.check,
        "severity": finding.severity,
        "column": finding.column,
        "message": finding.message,
        "rows": finding.rows,
        "first_rows": list(finding.first_rows),
        "advice": finding.advice,
    }
