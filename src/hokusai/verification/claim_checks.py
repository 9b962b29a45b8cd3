"""Whether what a statement claims can be true together, with nothing at hand but the statement."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from hokusai.errors import InvalidFactError
from hokusai.provenance.contributor_weights import row_shares
from hokusai.provenance.decimals import fixed_decimal, fixed_difference
from hokusai.steps.decision_rule import read_rule
from hokusai.verification.checks import failed, ok, value_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hokusai.provenance.claims import ClaimedDelta, DeltaClaim
    from hokusai.records import DecisionRule
    from hokusai.verification.checks import StatementCheck

__all__ = ["check_claim", "claimed_rule"]


def claimed_rule(claim: DeltaClaim) -> DecisionRule | None:
    """Return the rule that a claim names; None where its document is none."""
    try:
        return read_rule(claim.rule.document.encode())
    except InvalidFactError:
        return None


def check_claim(claim: DeltaClaim, *, number: int | None) -> StatementCheck:
    """Return whether a claim agrees with itself.

    Args:
        claim: The claim.
        number: Which of the declared decisions it is said to be; None where none were declared.
    """
    findings = (*_delta_faults(claim), *_rule_faults(claim, number=number), *_contributor_faults(claim))
    if findings:
        return failed("claim", "contradiction", "parts of what is claimed contradict each other.", findings=findings)
    return ok("claim", "every gain is the difference that it should be, and decision, rule and shares agree.")


def _delta_faults(claim: DeltaClaim) -> Iterator[str]:
    seen = set()
    for delta in claim.deltas:
        name = f"{delta.metric} against the {delta.reference}"
        if (delta.metric, delta.reference) in seen:
            yield f"{name} is claimed twice"
        seen.add((delta.metric, delta.reference))
        yield from (f"{name}: {fault}" for fault in _faults_of(delta, is_rounded=claim.answer_step is not None))


def _faults_of(delta: ClaimedDelta, *, is_rounded: bool) -> Iterator[str]:
    first, second = (delta.candidate, delta.baseline) if delta.higher_is_better else (delta.baseline, delta.candidate)
    if delta.gain != fixed_difference(first, second):
        yield f"the gain is {value_text(delta.gain)}, and the difference {value_text(fixed_difference(first, second))}"
    if not 0 < delta.confidence < 1:
        yield f"the confidence is {value_text(delta.confidence)}"
    if delta.gain_lower is not None and delta.gain_upper is not None:
        # Where numbers are rounded, a gain is the difference of two of them, and its interval is rounded by itself.
        inner = (delta.gain_lower, delta.gain_upper) if is_rounded else (delta.gain, delta.gain)
        if not delta.gain_lower <= inner[0] <= inner[1] <= delta.gain_upper:
            ends = f"{value_text(delta.gain_lower)} to {value_text(delta.gain_upper)}"
            yield f"the gain {value_text(delta.gain)} is outside of its interval, {ends}"
        if delta.method == "none":
            yield "it has an interval by no method"
    elif delta.method != "none":
        yield f"it has no interval, by the method {delta.method}"


def _rule_faults(claim: DeltaClaim, *, number: int | None) -> Iterator[str]:
    rule, decision = claimed_rule(claim), claim.decision
    if rule is None:
        yield "the rule's document is no decision rule"
        return
    said = {
        "metric": (decision.metric, rule.metric),
        "bar": (decision.minimum_gain, fixed_decimal(rule.minimum_gain)),
        "is_exploratory": (decision.is_exploratory, rule.decisions is None),
        "rounding": (claim.answer_step is not None, rule.rows == "decision half"),
    }
    for name, (one, other) in said.items():
        if one != other:
            yield f"the decision's {name} is {value_text(one)}, and the rule's {value_text(other)}"
    margins = {guard.metric: fixed_decimal(guard.margin) for guard in rule.guards}
    # Guards are not judged where the outcome follows from something else, such as too few rows.
    is_judged = decision.guards or (decision.outcome == "accept" and claim.answer_step is None)
    if is_judged and {guard.metric: guard.margin for guard in decision.guards} != margins:
        yield "the guards are not those of the rule"
    if (number is not None) if rule.decisions is None else (number not in range(1, rule.decisions + 1)):
        yield f"it is decision {number} of {rule.decisions}"
    yield from _choice_faults(claim, rule, margins)


def _choice_faults(claim: DeltaClaim, rule: DecisionRule, margins: Mapping[str, Decimal]) -> Iterator[str]:
    """Find what was not chosen as the rule says: metrics, benchmark, seeds."""
    roles = {**dict.fromkeys(margins, "guard"), rule.metric: "primary"}
    for delta in claim.deltas:
        if delta.role != roles.get(delta.metric, "secondary"):
            yield f"{delta.metric} is {delta.role}, and by the rule {roles.get(delta.metric, 'secondary')}"
    known = {(delta.metric, delta.reference) for delta in claim.deltas}
    absent = {each.metric for each in claim.undefined if each.arm in ("control", "candidate")}
    yield from (
        f"{name}, which the rule names, is neither claimed nor undefined"
        for name in roles
        if (name, "control") not in known and name not in absent
    )
    benchmarks = [each.tabhash1 for each in claim.datasets if each.context == "benchmark"]
    if rule.benchmark_sha256 not in benchmarks[:1]:
        yield "the rule is about another benchmark"
    arms = {"control": (claim.seeds.control, rule.control_seeds), "candidate": (claim.seeds.candidate, rule.seeds)}
    for arm, (seeds, most) in arms.items():
        if not 1 <= len(seeds) <= most or len(set(seeds)) < len(seeds):
            yield f"the {arm} has {len(set(seeds))} seeds in {len(seeds)} fits, and the rule allows 1 to {most}"


def _contributor_faults(claim: DeltaClaim) -> Iterator[str]:
    offered = {each.name: each for each in claim.datasets if each.context == "contribution"}
    if sorted(offered) != sorted(each.name for each in claim.contributors):
        yield "the contributors are not those whose tables are named"
        return
    shares = row_shares([each.rows_kept for each in claim.contributors])
    for each, share in zip(claim.contributors, shares, strict=True):
        table = offered[each.name]
        if each.tabhash1 != table.tabhash1 or each.rows_offered != table.rows:
            yield f"{each.name} is not the table that is named so"
        if not 0 <= each.rows_kept <= each.rows_offered:
            yield f"{each.name}: {each.rows_kept} of {each.rows_offered} rows were kept"
        if each.weight != share:
            yield f"{each.name} has the weight {value_text(each.weight)}, and its share is {value_text(share)}"
    if sum((each.weight for each in claim.contributors), Decimal(0)) not in (0, 1):
        yield "the weights are not 1 together"
