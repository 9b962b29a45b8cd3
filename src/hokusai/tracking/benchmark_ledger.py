"""The rules of a benchmark's ledger: what was declared of it, and how many of its decisions are spent.

A ledger is a log that only grows, whose numbers the store gives out one by one. What it adds up to follows from the
entries and their numbers alone, so that every reader finds the same; no clock decides anything. Whatever is missing
from it counts as spent: to delete an entry never gives a decision back. Nothing here opens a store or asks a clock.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from hokusai.errors import BenchmarkLedgerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "EntryKind",
    "LedgerEntry",
    "LedgerState",
    "Spending",
    "SpentDecision",
    "entry_from_tags",
    "entry_tags",
    "ledger_name",
    "read_ledger",
    "require_budget",
    "require_declaration",
    "require_key",
    "require_split",
    "require_unsplit",
]

EntryKind = Literal["split", "spend", "outcome", "retire"]

_KINDS = ("split", "spend", "outcome", "retire")
_TAG = "hokusai.ledger."
_NAME_DIGITS = 32
_MOST_DECISIONS = 1_000_000
# Of the level of one decision: 1 - 2 * level, its confidence, must stay below 1 in 64-bit numbers, and be at least 0.5.
_SMALLEST_LEVEL, _LARGEST_LEVEL = 1e-15, 0.25
_FEWEST_ROWS = 2
_COUNT = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One entry of a ledger.

    Attributes:
        number: Its place, from 1 on, as the store gave it out; 0 before that.
        kind: ``split`` declares the halves and the number of decisions; ``spend`` takes one decision; ``outcome`` says
            what was decided; ``retire`` ends it.
        key: What tells an entry that was sent twice, because its answer was lost, from another one.
        at: When it was made: UTC, ISO 8601. The order of entries does not depend on it.
        user: Who made it.
        host_kind: What it was made on, such as ``ci`` or ``machine``.
        note: Why; of an entry ``retire`` the reason.
        commitment: Of a split: what tells its key from any other.
        decisions: Of a split: how many decisions are declared.
        alpha: Of a split: probability that any of them accepts a contribution that is worth no more than the bar.
        feedback_rows: Of a split: rows of the half whose scores are shown.
        decision_rows: Of a split: rows of the half that decides.
        group: Of a split: the column whose groups stay whole; empty for none.
        evaluation: Of a spend or an outcome: the evaluation's key.
        rule_sha256: Of a spend: SHA-256 of the rule by which is decided.
        outcome: Of an outcome: what was decided.
    """

    number: int = 0
    kind: EntryKind
    key: str
    at: str = ""
    user: str = ""
    host_kind: str = ""
    note: str = ""
    commitment: str = ""
    decisions: int = 0
    alpha: float = 0.0
    feedback_rows: int = 0
    decision_rows: int = 0
    group: str = ""
    evaluation: str = ""
    rule_sha256: str = ""
    outcome: str = ""


_TEXTS = (
    "kind",
    "key",
    "at",
    "user",
    "host_kind",
    "note",
    "commitment",
    "group",
    "evaluation",
    "rule_sha256",
    "outcome",
)
_COUNTS = ("decisions", "feedback_rows", "decision_rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentDecision:
    """One decision that was taken.

    Attributes:
        number: Which of the declared decisions, from 1 on.
        evaluation: The evaluation's key.
        rule_sha256: SHA-256 of the rule by which it decides.
        at: When: UTC, ISO 8601.
        user: Who.
        host_kind: On what.
        outcome: What was decided; empty while nobody said.
    """

    number: int
    evaluation: str
    rule_sha256: str
    at: str
    user: str
    host_kind: str
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The decision that an evaluation may take.

    Attributes:
        number: Which of the declared decisions, from 1 on.
        decisions: How many were declared.
        alpha: One-sided level of this one decision: the declared probability divided by the number of decisions, so
            that all of them together keep it (Bonferroni's inequality; Dunn, 1961, "Multiple Comparisons among Means",
            Journal of the American Statistical Association).
    """

    number: int
    decisions: int
    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerState:
    """What the entries of a ledger add up to.

    Attributes:
        digest: The benchmark's content digest.
        declaration: The split that counts, or None.
        spent: The decisions that were taken, in their order.
        missing: Entries that were deleted or made unreadable; each counts as a decision.
        retirement: The entry that ended it, or None.
    """

    digest: str
    declaration: LedgerEntry | None = None
    spent: tuple[SpentDecision, ...] = ()
    missing: int = 0
    retirement: LedgerEntry | None = None

    @property
    def is_split(self) -> bool:
        """Whether halves and a number of decisions are declared."""
        return self.declaration is not None

    @property
    def commitment(self) -> str:
        """What tells the key of the halves from any other; empty without a split."""
        return self.declaration.commitment if self.declaration else ""

    @property
    def decisions(self) -> int:
        """How many decisions are declared; 0 without a split."""
        return self.declaration.decisions if self.declaration else 0

    @property
    def alpha(self) -> float:
        """One-sided level of each decision; 0 without a split."""
        return self.declaration.alpha / self.declaration.decisions if self.declaration else 0.0

    @property
    def left(self) -> int:
        """How many decisions can still be taken."""
        if self.retirement is not None:
            return 0
        return max(0, self.decisions - len(self.spent) - self.missing)

    @property
    def retired(self) -> str:
        """Why nothing is decided on this benchmark any more, as a clause; empty while it is in use or not split."""
        if self.declaration is None:
            return "the entry that declared its split was deleted or made unreadable" if self.missing else ""
        if self.retirement is not None:
            return f"{self.retirement.user} retired it at {self.retirement.at}: {self.retirement.note}"
        if self.left:
            return ""
        lost = f", {self.missing} of them by deleted entries" if self.missing else ""
        return f"all {self.decisions} decisions are spent{lost}"

    def decision_of(self, evaluation: str) -> SpentDecision | None:
        """Return the decision that an evaluation took, or None."""
        return next((item for item in self.spent if item.evaluation == evaluation), None)

    def spending_of(self, evaluation: str) -> Spending | None:
        """Return the decision that an evaluation may take, or None when it was granted none."""
        found = self.decision_of(evaluation)
        return None if found is None else Spending(number=found.number, decisions=self.decisions, alpha=self.alpha)


def ledger_name(digest: str) -> str:
    """Return the name of the registered model that is the ledger of a benchmark."""
    return f"hokusai-benchmark.{digest[:_NAME_DIGITS]}"


def entry_tags(entry: LedgerEntry) -> dict[str, str]:
    """Return an entry as the tags of its version."""
    tags = {_TAG + name: str(getattr(entry, name)) for name in _TEXTS}
    tags |= {_TAG + name: str(getattr(entry, name) or "") for name in _COUNTS}
    tags[f"{_TAG}alpha"] = repr(entry.alpha) if entry.alpha else ""
    return {name: text for name, text in tags.items() if text}


def entry_from_tags(number: int, tags: Mapping[str, str]) -> LedgerEntry | None:
    """Return the entry that a version holds; None for one that is none of ours or that somebody spoiled."""
    texts = {name: tags.get(_TAG + name, "") for name in _TEXTS}
    if texts["kind"] not in _KINDS or not texts["key"]:
        return None
    counts = {name: tags.get(_TAG + name, "0") for name in _COUNTS}
    alpha = _number(tags.get(f"{_TAG}alpha", "0"))
    if not all(map(_COUNT.fullmatch, counts.values())) or not 0 <= alpha < 1:
        return None
    is_declared = bool(int(counts["decisions"]) and alpha and texts["commitment"])
    if (texts["kind"] == "split") != is_declared or (texts["kind"] == "spend" and not texts["evaluation"]):
        return None
    return LedgerEntry(
        number=number,
        kind=cast("EntryKind", texts.pop("kind")),
        alpha=alpha,
        **{name: int(text) for name, text in counts.items()},  # type: ignore[arg-type]
        **texts,  # type: ignore[arg-type]
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_ledger(digest: str, entries: Iterable[LedgerEntry], *, highest: int = 0) -> LedgerState:
    """Return what the entries of a ledger add up to.

    The split is entry 1 or there is none: without it nobody knows what was declared. Spends are counted in the order of
    their numbers, one for each evaluation, until the declared number is reached or the ledger retired; each number that
    no readable entry has counts like a spend. What comes too late is no decision.

    Args:
        digest: The benchmark's content digest.
        entries: Those that are there and readable, in any order.
        highest: The highest number that the store shows, also of what cannot be read; default 0, that of the entries.
    """
    declaration: LedgerEntry | None = None
    retirement: LedgerEntry | None = None
    spent: dict[str, SpentDecision] = {}
    outcomes: dict[str, str] = {}
    missing = last = 0
    for entry in sorted(entries, key=lambda entry: entry.number):
        missing += entry.number - last - 1
        last = entry.number
        if entry.kind == "split" and entry.number == 1:
            declaration = entry
        if declaration is None:
            continue
        match entry.kind:
            case "retire":
                retirement = retirement or entry
            case "outcome":
                outcomes.setdefault(entry.evaluation, entry.outcome)
            case "spend" if retirement is None and entry.evaluation not in spent:
                number = len(spent) + missing + 1
                if number <= declaration.decisions:
                    spent[entry.evaluation] = _decision(number, entry)
    missing += max(0, highest - last)
    if declaration is None and last:
        # Whatever is there without a split stands where one was.
        missing = max(missing, 1)
    return LedgerState(
        digest=digest,
        declaration=declaration,
        spent=tuple(replace(item, outcome=outcomes.get(item.evaluation, "")) for item in spent.values()),
        missing=missing,
        retirement=retirement,
    )


def _decision(number: int, entry: LedgerEntry) -> SpentDecision:
    return SpentDecision(
        number=number,
        evaluation=entry.evaluation,
        rule_sha256=entry.rule_sha256,
        at=entry.at,
        user=entry.user,
        host_kind=entry.host_kind,
    )


def require_declaration(digest: str, *, decisions: int, alpha: float, rows: tuple[int, int]) -> None:
    """Refuse a split that no ledger could keep.

    Args:
        digest: The benchmark's content digest.
        decisions: How many decisions are declared.
        alpha: Probability for all of them together.
        rows: Rows of either half.

    Raises:
        BenchmarkLedgerError: A value is out of range.
    """
    if not 1 <= decisions <= _MOST_DECISIONS:
        problem = f"got {decisions} decisions, expected a number from 1 to {_MOST_DECISIONS:,}."
        raise BenchmarkLedgerError(digest, problem)
    if not (alpha < 1 and _SMALLEST_LEVEL <= alpha / decisions <= _LARGEST_LEVEL):
        problem = (
            f"got the probability {alpha!r} for {decisions} decisions, expected a number below 1 that leaves "
            f"{_SMALLEST_LEVEL:g} to {_LARGEST_LEVEL:g} for each of them, such as 0.05."
        )
        raise BenchmarkLedgerError(digest, problem)
    if min(rows) < _FEWEST_ROWS:
        problem = (
            f"one half would have {rows[0]} rows and the other {rows[1]}, expected at least two in each. It needs more "
            "rows, or more groups."
        )
        raise BenchmarkLedgerError(digest, problem)


def require_unsplit(state: LedgerState) -> None:
    """Refuse a second split.

    Raises:
        BenchmarkLedgerError: There is one, or there was.
    """
    if state.declaration is not None:
        made = f"{state.declaration.user} split it at {state.declaration.at} for {state.decisions} decisions"
        problem = f"{made}. What is declared stays: a benchmark is split once, and its number never grows."
        raise BenchmarkLedgerError(state.digest, problem)
    if state.retired:
        raise BenchmarkLedgerError(state.digest, f"it cannot be split: {state.retired}. Take another benchmark.")


def require_split(state: LedgerState) -> None:
    """Refuse a benchmark that nobody split.

    Raises:
        BenchmarkLedgerError: There is no split, and there never was.
    """
    if state.declaration is None and not state.retired:
        problem = "it is not split, expected halves and a declared number of decisions. Run `hokusai benchmark split`."
        raise BenchmarkLedgerError(state.digest, problem)


def require_key(state: LedgerState, commitment: str) -> None:
    """Refuse a key that is not the one of the halves.

    Raises:
        BenchmarkLedgerError: It is another one, or the benchmark is not split.
    """
    require_split(state)
    if state.declaration is not None and state.commitment != commitment:
        problem = (
            f"the key is not the one by which it was split (commitment {commitment[:12]}, expected "
            f"{state.commitment[:12]}). Give that one as delta.benchmark_key_file."
        )
        raise BenchmarkLedgerError(state.digest, problem)


def require_budget(state: LedgerState) -> None:
    """Refuse a benchmark on which nothing can be decided any more.

    Raises:
        BenchmarkLedgerError: It is retired, or all its decisions are spent.
    """
    if state.retired:
        advice = (
            "`hokusai benchmark budget` says who spent what. Split another benchmark, of rows that nobody was told."
        )
        raise BenchmarkLedgerError(state.digest, f"nothing is decided on it any more: {state.retired}. {advice}")
