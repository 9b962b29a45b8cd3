"""Whether what a statement claims can be true together, with nothing at hand but the statement."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from hokusai.errors import InvalidFactError
from hokusai.provenance.contributor_weights import row_shares
from hokusai.provenance.decimals import fixed_decimal, fixed_difference
from hokusai.steps.decision_rule import read_rule, read_scoring
from hokusai.verification.checks import failed, not_done, ok, value_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hokusai.provenance.claims import ClaimedDelta, DeltaClaim
    from hokusai.records import DecisionRule
    from hokusai.verification.checks import StatementCheck

__all__ = ["check_claim", "claimed_rule", "listed"]


def claimed_rule(claim: DeltaClaim) -> DecisionRule | None:
    """Return the rule that a claim names; None where its document is none."""
    try:
        return read_rule(claim.rule.document.encode())
    except InvalidFactError:
        return None


def listed(seeds: Sequence[int]) -> str:
    """Return seeds as people read them."""
    return ", ".join(map(str, seeds)) or "none"


def check_claim(claim: DeltaClaim, *, number: int | None) -> StatementCheck:
    """Return whether a claim agrees with itself.

    Args:
        claim: The claim.
        number: Which of the declared decisions it is said to be; None where none were declared.
    """
    findings = (
        *_delta_faults(claim),
        *_rule_faults(claim, number=number),
        *_contributor_faults(claim),
        *_row_faults(claim),
    )
    if findings:
        return failed("claim", "contradiction", "parts of what is claimed contradict each other.", findings=findings)
    absent = _absent_seeds(claim)
    if absent:
        what = (
            f"nothing contradicts anything else, but the seeds {listed(absent)} of the rule were left out. Whether "
            "their fits failed no statement says: failed_fits.json, an artifact of the training step, has to name them."
        )
        return not_done("claim", "fewer seeds", what)
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
    yield from _direction_faults(claim, rule)
    yield from _seed_faults(claim, rule)


def _choice_faults(claim: DeltaClaim, rule: DecisionRule, margins: Mapping[str, Decimal]) -> Iterator[str]:
    """Find what was not chosen as the rule says: metrics, benchmark."""
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


def _direction_faults(claim: DeltaClaim, rule: DecisionRule) -> Iterator[str]:
    """Find metrics of the rule that nobody declared, and those that are claimed to get better the other way."""
    from hokusai.analysis.metrics import METRICS

    directions = {own.name: own.higher_is_better for own in read_scoring(rule).own_metrics}
    directions |= {metric.name: metric.higher_is_better for metric in METRICS.values()}
    for name in dict.fromkeys(rule.metrics):
        if name not in directions:
            yield f"the rule's metric {name!a} is neither built in nor one of the rule's own metrics"
    for delta in claim.deltas:
        if delta.higher_is_better != directions.get(delta.metric, delta.higher_is_better):
            yield f"{delta.metric} against the {delta.reference} is claimed to be better the other way"


def _seed_faults(claim: DeltaClaim, rule: DecisionRule) -> Iterator[str]:
    """Find seeds that were chosen: a seed whose fit failed in one arm is left out of both."""
    control, candidate = claim.seeds.control, claim.seeds.candidate
    for arm, seeds, most in (("control", control, rule.control_seeds), ("candidate", candidate, rule.seeds)):
        if not seeds or list(seeds) != sorted(set(seeds)) or not 0 <= seeds[0] <= seeds[-1] < most:
            fits = f"{len(set(seeds))} seeds in {len(seeds)} fits"
            yield f"the {arm} has {fits}, and the rule allows 1 to {most}, numbered from 0"
    # Nothing after the look that ended it was fitted.
    both = min(rule.control_seeds, max(candidate, default=0) + 1 if rule.looks else rule.seeds)
    chosen = {seed for seed in {*control}.symmetric_difference(candidate) if seed < both}
    if chosen:
        yield f"the seeds {listed(sorted(chosen))} are in one arm and not in the other, and by the rule in both or none"


def _absent_seeds(claim: DeltaClaim) -> tuple[int, ...]:
    """Return the seeds of the rule that an arm lacks, up to the look that ended it."""
    rule = claimed_rule(claim)
    if rule is None:
        return ()
    candidate = range(next((look for look in rule.looks if look > max(claim.seeds.candidate)), rule.seeds))
    control = candidate if rule.looks else range(rule.control_seeds)
    control = control[: rule.control_seeds]
    return tuple(sorted({*control}.difference(claim.seeds.control) | {*candidate}.difference(claim.seeds.candidate)))


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


def _row_faults(claim: DeltaClaim) -> Iterator[str]:
    """Find numbers of rows that no integration gives: it takes rows out of the base, and adds those that were kept."""
    yield from (f"{each.name} has {each.rows} rows" for each in claim.datasets if each.rows < 0)
    base, integrated = (
        sum(each.rows for each in claim.datasets if each.context == context) for context in ("base", "integrated")
    )
    kept = sum(each.rows_kept for each in claim.contributors)
    if not kept <= integrated <= base + kept:
        yield f"of {base} base rows and {kept} that were kept, {integrated} rows were integrated"
