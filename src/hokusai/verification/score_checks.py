"""Whether the claimed deltas and the decision follow from the row scores, computed again from every single row."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from hokusai.errors import DataError, StatementError
from hokusai.provenance.statement import claimed_delta
from hokusai.records import BenchmarkScores
from hokusai.steps.answer_rounding import rounded_delta
from hokusai.steps.decision import decide_contribution, level_at
from hokusai.steps.decision_rule import read_scoring
from hokusai.steps.deltas import IntervalMethod, metric_deltas
from hokusai.steps.evaluation import score_fits
from hokusai.steps.row_scores import read_row_scores
from hokusai.verification.checks import failed, not_done, ok, value_text
from hokusai.verification.claim_checks import claimed_rule, listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hokusai.provenance.claims import ClaimedDelta, DeltaClaim, Statement
    from hokusai.records import Arm, Decision, DecisionRule, Metric, MetricRole
    from hokusai.steps.row_scores import RowScores
    from hokusai.verification.checks import StatementCheck

__all__ = ["TOLERANCE", "check_scores"]

TOLERANCE = Decimal("1e-9")
"""How far a number that was computed again may be from the claimed one, as a share of it; below 1, in its unit: the
last digits depend on the processor."""
_ARMS: tuple[Arm, ...] = ("control", "candidate", "baseline")


def check_scores(statement: Statement, content: bytes, *, source: str) -> tuple[StatementCheck, ...]:
    """Return whether what is claimed follows from row scores that have the claimed digest.

    Args:
        statement: The statement.
        content: The bytes of ``row_scores.parquet``.
        source: What messages call them.
    """
    from threadpoolctl import threadpool_limits

    claim = statement.predicate.claim
    rule = claimed_rule(claim)
    if rule is None:
        why = "the rule's document is no decision rule."
        return not_done("deltas", "no rule", why), not_done("decision", "no rule", why)
    try:
        read = read_row_scores(content, source=source)
        faults = tuple(_file_faults(claim, rule, read))
        if not faults:
            # Sums over rows are too short for the threads of a numerical library: they cost more than they save.
            with threadpool_limits(limits=1, user_api="blas"):
                again = _Again.of(claim, rule, read, source=source)
            number = statement.predicate.record.decision_number
            return _check_deltas(claim, again), _check_decision(claim, rule, again, number=number)
    except (ArithmeticError, DataError, ValueError) as error:
        problem = f"nothing can be computed from the row scores: {' '.join(str(error).split())}"
        return failed("deltas", "unusable row scores", problem), not_done("decision", "unusable row scores", problem)
    problem = "the row scores are not of this evaluation."
    first = failed("deltas", "other row scores", problem, findings=faults)
    return first, not_done("decision", "other row scores", problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """What was computed again.

    Attributes:
        scores: The scores, on the rows that decide and those that are shown.
        roles: What every metric of the rule does.
        missing: Metrics that only the evaluation's own code can compute.
    """

    scores: BenchmarkScores
    roles: Mapping[str, MetricRole]
    missing: tuple[str, ...]

    @classmethod
    def of(cls, claim: DeltaClaim, rule: DecisionRule, read: RowScores, *, source: str) -> _Again:
        """Score every fit again.

        Raises:
            DataError: A set of rows is too small.
            ValueError: The row scores are none that can be scored.
        """
        from hokusai.analysis.metrics import METRICS

        roles: dict[str, MetricRole] = {guard.metric: "guard" for guard in rule.guards}
        roles[rule.metric] = "primary"
        names = tuple(
            dict.fromkeys((*(each.metric for each in claim.deltas), *(each.metric for each in claim.undefined)))
        )
        metrics = _in_order([METRICS[name] for name in names if name in METRICS], names)
        is_sealed = read.rows.sets[0].kind == "decision"
        rows = dataclasses.replace(read.rows, sets=read.rows.sets[: 2 if is_sealed else 1])
        arms = {arm: tuple(fits.values()) for arm, fits in read.predictions.items() if arm in _ARMS}
        positive = rows.truth.positive
        scores = BenchmarkScores(
            metrics=metrics,
            subsets=score_fits(metrics, rows, arms),
            is_random=_is_random(claim, rule),
            positive_class="" if positive is None else rows.truth.classes[positive],
        )
        if len(scores.subsets) < len(rows.sets):
            raise DataError(source, "a set of rows has less than two of them")
        return cls(scores=scores, roles=roles, missing=tuple(name for name in names if name not in METRICS))

    def deltas(self, claim: DeltaClaim) -> Iterator[ClaimedDelta]:
        """Yield every delta as it would be claimed."""
        confidence = float(claim.deltas[0].confidence) if claim.deltas else 0.95
        method = IntervalMethod(confidence=confidence, is_random=self.scores.is_random)
        for reference in ("control", "baseline"):
            found = metric_deltas(
                self.scores.metrics, self.scores.shown, reference=reference, method=method, roles=self.roles
            )
            for delta in found:
                yield claimed_delta(rounded_delta(delta) if self.scores.is_sealed else delta)


def _in_order(metrics: Sequence[Metric], names: Sequence[str]) -> tuple[Metric, ...]:
    return tuple(sorted(metrics, key=lambda metric: names.index(metric.name)))


def _is_random(claim: DeltaClaim, rule: DecisionRule) -> bool:
    """Return whether the trainer's result depended on its seed, as the rule and the intervals tell.

    A trainer whose result does not is fitted once. One whose result does, and that was fitted once, has no interval.
    """
    return max(rule.seeds, rule.control_seeds) > 1 or all(
        delta.method == "none" for delta in claim.deltas if delta.reference == "control"
    )


def _file_faults(claim: DeltaClaim, rule: DecisionRule, read: RowScores) -> Iterator[str]:
    """Find what the row scores say of the evaluation and the claim does not."""
    rows = sum(each.rows for each in claim.datasets if each.context == "benchmark")
    if len(read.labels) != rows:
        yield f"they have {len(read.labels)} rows, and the benchmarks {rows}"
    arms: dict[Arm, tuple[int, ...]] = {"control": claim.seeds.control, "candidate": claim.seeds.candidate}
    for arm, seeds in arms.items():
        found = tuple(read.predictions.get(arm, {}))
        if found != seeds:
            yield f"the {arm}'s seeds are {listed(found)}, and the claimed ones {listed(seeds)}"
    yield from _set_faults(claim, rule, read)
    truth, scoring = read.rows.truth, read_scoring(rule)
    said = {
        "classes": (list(truth.classes), list(scoring.classes)),
        "positive class": (
            None if truth.positive is None else truth.classes[truth.positive],
            scoring.positive_class,
        ),
        "average": (truth.average, scoring.average),
        "weights": (truth.weights is not None, bool(scoring.sample_weight)),
        "queries": (truth.queries is not None, bool(scoring.query)),
        "groups": (read.rows.groups is not None, bool(scoring.group or scoring.query)),
    }
    yield from (f"{name}: {one}, and by the rule {other}" for name, (one, other) in said.items() if one != other)
    yield from _task_faults(claim, read)


def _set_faults(claim: DeltaClaim, rule: DecisionRule, read: RowScores) -> Iterator[str]:
    """Find rows of the first benchmark that do not decide: all of them do, or stand in one of its two halves."""
    kinds = ["decision", "feedback"] if rule.rows == "decision half" else ["benchmark"]
    sets = read.rows.sets[: len(kinds)]
    if [each.kind for each in sets] != kinds:
        found = " and ".join(each.kind for each in sets) or "none"
        yield f"the rows that decide are of the kind {found}, and by the rule the {rule.rows}"
        return
    rows = next((each.rows for each in claim.datasets if each.context == "benchmark"), 0)
    places = np.sort(np.concatenate([each.rows for each in sets]))
    if not np.array_equal(places, np.arange(rows)):
        yield f"the rows that decide are {places.size}, expected exactly the {rows} of the first benchmark"


def _task_faults(claim: DeltaClaim, read: RowScores) -> Iterator[str]:
    """Find metrics that cannot be computed of such labels."""
    from hokusai.analysis.metrics import METRICS

    truth = read.rows.truth
    tasks = {truth.task, *(("ranking",) if truth.queries is not None else ())}
    for name in dict.fromkeys((*(each.metric for each in claim.deltas), *(each.metric for each in claim.undefined))):
        if name in METRICS and METRICS[name].task not in tasks:
            yield f"{name} is a metric of {METRICS[name].task}, and the labels are of {' and '.join(sorted(tasks))}"


# --- deltas ----------------------------------------------------------------------------------------------------------


def _check_deltas(claim: DeltaClaim, again: _Again) -> StatementCheck:
    try:
        computed = {(delta.metric, delta.reference): delta for delta in again.deltas(claim)}
    except StatementError as error:
        return failed("deltas", "not what follows", f"a value computed again is none: {error.problem}")
    claimed = {(delta.metric, delta.reference): delta for delta in claim.deltas if delta.metric not in again.missing}
    findings = [f"{_named(key)} is claimed, and has no value" for key in claimed.keys() - computed.keys()]
    findings += [f"{_named(key)} has a value, and none is claimed" for key in computed.keys() - claimed.keys()]
    for key in claimed.keys() & computed.keys():
        faults = _differences(claimed[key], computed[key], is_whole=not again.missing)
        findings += [f"{_named(key)}: {fault}" for fault in faults]
    undefined = {(each.metric, each.arm) for each in claim.undefined if each.arm in _ARMS} - {
        (name, arm) for name in again.missing for arm in _ARMS
    }
    found = {(each.name, each.arm) for each in again.scores.shown.undefined}
    findings += [f"{_named(key)}: whether it has a value is claimed wrongly" for key in undefined ^ found]
    if findings:
        what = "the row scores give other numbers than the claimed ones."
        return failed("deltas", "not what follows", what, findings=tuple(sorted(findings)))
    if not claimed and again.missing:
        what = f"only the evaluation's own code computes {', '.join(again.missing)}."
        return not_done("deltas", "own metric", what)
    rest = f"; not {', '.join(again.missing)}, which only the evaluation's own code computes" if again.missing else ""
    if found:
        rest += f"; without a value: {', '.join(map(_named, sorted(found)))}"
    return ok("deltas", f"{len(claimed)} deltas with their intervals, computed again from the row scores{rest}.")


def _differences(claimed: ClaimedDelta, computed: ClaimedDelta, *, is_whole: bool) -> Iterator[str]:
    for field in dataclasses.fields(claimed):
        # The correction of a p-value depends on all others.
        if field.name == "adjusted_p_value" and not is_whole:
            continue
        one, other = getattr(claimed, field.name), getattr(computed, field.name)
        if not _is_near(one, other):
            yield f"{field.name} is claimed as {value_text(one)}, and is {value_text(other)}"


def _is_near(one: object, other: object) -> bool:
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return abs(one - other) <= TOLERANCE * max(Decimal(1), abs(one))
    return one == other


def _named(key: tuple[str, str]) -> str:
    return f"{key[0]} of the {key[1]}"


# --- the decision ----------------------------------------------------------------------------------------------------


def _check_decision(claim: DeltaClaim, rule: DecisionRule, again: _Again, *, number: int | None) -> StatementCheck:
    needed = {rule.metric, *(guard.metric for guard in rule.guards)}.intersection(again.missing)
    if needed:
        what = f"only the evaluation's own code computes {', '.join(sorted(needed))}."
        return not_done("decision", "own metric", what)
    looks = _looks(claim, rule)
    if looks is None:
        what = f"no look of the rule has the confidence {value_text(claim.decision.confidence)} and so many seeds."
        return failed("decision", "not what follows", what)
    decision = decide_contribution(
        rule,
        again.scores,
        has_new_rows=any(each.rows_kept for each in claim.contributors),
        rule_sha256=claim.rule.sha256,
        looks=looks,
        number=number,
    )
    findings = tuple(_decision_differences(claim, decision))
    if findings:
        what = "the rule makes another decision of the row scores."
        return failed("decision", "not what follows", what, findings=findings)
    return ok("decision", f"by the rule, the row scores lead to: {decision.outcome}.")


def _decision_differences(claim: DeltaClaim, decision: Decision) -> Iterator[str]:
    if decision.outcome != claim.decision.outcome:
        yield f"{claim.decision.outcome!r} is claimed, and {decision.outcome!r} follows: {decision.reason}"
    verdicts = {guard.metric: guard.verdict for guard in decision.guards}
    claimed = {guard.metric: guard.verdict for guard in claim.decision.guards}
    if verdicts != claimed:
        yield f"the guards are claimed as {claimed}, and {verdicts} follows"


def _looks(claim: DeltaClaim, rule: DecisionRule) -> int | None:
    """Return after how many looks it was decided, which the level of the interval tells; None where none has it."""
    confidence = claim.decision.confidence
    if not rule.looks:
        return 0 if _is_near(confidence, Decimal(rule.confidence)) else None
    fits = len(claim.seeds.candidate)
    for number, seeds in enumerate(rule.looks, 1):
        if fits <= seeds and _is_near(confidence, Decimal(level_at(rule, looks=number))):
            return number
    return None
