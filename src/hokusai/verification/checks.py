"""One check of a statement, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

__all__ = [
    "CheckName",
    "CheckState",
    "StatementCheck",
    "Verdict",
    "Verification",
    "failed",
    "not_done",
    "ok",
    "value_text",
]

CheckName: TypeAlias = Literal[
    "signature",
    "format",
    "evaluation",
    "claim",
    "delta.json",
    "zk output",
    "row scores",
    "deltas",
    "decision",
    "file",
    "journal",
    "run",
    "parameters",
    "metrics",
    "tags",
    "datasets",
    "artifacts",
    "models",
    "record",
    "reproduction",
]
CheckState: TypeAlias = Literal["ok", "failed", "not done"]
Verdict: TypeAlias = Literal["does not hold", "not signed", "not checked", "holds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementCheck:
    """One thing that was looked at, or not.

    Attributes:
        name: What.
        state: What came out.
        reason: Why it failed or was not done, in a few words for programs; empty for what is well.
        detail: One sentence for people.
        findings: Every single thing that is wrong; empty where the sentence says it all.
        subject: Which of several; empty where there is but one.
    """

    name: CheckName
    state: CheckState
    reason: str = ""
    detail: str
    findings: tuple[str, ...] = ()
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found of a statement.

    Attributes:
        source: The statement's file.
        evaluation: The key of the evaluation that it is about; empty where it cannot be read.
        claim_sha256: What identifies its claim; empty likewise.
        signers: Ids of the given keys that have signed it.
        checks: Every check, those that need nothing but the statement first.
    """

    source: str
    evaluation: str
    claim_sha256: str
    signers: tuple[str, ...]
    checks: tuple[StatementCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed; what was not done has not."""
        return all(check.state != "failed" for check in self.checks)

    @property
    def verdict(self) -> Verdict:
        """The whole in two words.

        ``not signed`` and ``not checked`` are about the signature: nothing failed, and nobody stands behind it, or who
        does was not checked.
        """
        if not self.ok:
            return "does not hold"
        signature = next(check for check in self.checks if check.name == "signature")
        if signature.state == "ok":
            return "holds"
        return "not signed" if signature.reason == "not signed" else "not checked"


def value_text(value: object) -> str:
    """Return what people read of a claimed value: a decimal with all its places, never in powers of ten."""
    if value is None:
        return "none"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def ok(name: CheckName, detail: str, *, subject: str = "") -> StatementCheck:
    """Return a check that came out well."""
    return StatementCheck(name=name, state="ok", detail=detail, subject=subject)


def failed(
    name: CheckName, reason: str, detail: str, *, findings: tuple[str, ...] = (), subject: str = ""
) -> StatementCheck:
    """Return a check that failed."""
    return StatementCheck(name=name, state="failed", reason=reason, detail=detail, findings=findings, subject=subject)


def not_done(name: CheckName, reason: str, detail: str, *, subject: str = "") -> StatementCheck:
    """Return a check that was not done."""
    return StatementCheck(name=name, state="not done", reason=reason, detail=detail, subject=subject)
