"""Scores and the rule that was fixed beforehand become a decision, with its reason and what cannot be concluded."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hokusai.analysis.group_sequential import boundaries
from hokusai.analysis.multiplicity import check_non_inferiority
from hokusai.analysis.power import Needed, evidence_needed, minimum_detectable_effect
from hokusai.analysis.statistics import decide
from hokusai.records import Decision, GuardVerdict
from hokusai.steps.answer_rounding import rounded_up
from hokusai.steps.deltas import IntervalMethod, interval_of, metric_deltas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hokusai.records import (
        Arm,
        BenchmarkScores,
        DecisionRule,
        MetricDelta,
        Outcome,
        SubsetScores,
    )

__all__ = ["Judgement", "decide_contribution", "judge", "level_at", "method_at", "why_undecidable"]

_OF_PREDICTED_CLASSES = {"accuracy", "balanced_accuracy", "precision", "recall", "f1"}
_OF_ONE_CLASS = {"precision", "recall", "f1", "average_precision"}
_OF_EVERY_CLASS = {"balanced_accuracy", "roc_auc", "log_loss", "brier_score", "expected_calibration_error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a rule says of the scores of an arm.

    Attributes:
        outcome: The outcome.
        reason: One sentence.
        guards: What became of the guarded metrics.
    """

    outcome: Outcome
    reason: str
    guards: tuple[GuardVerdict, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shortage:
    """A floor of evidence that is not reached.

    Attributes:
        reason: One sentence.
        of: What there is too little of.
        found: How much there is of what the floor is about.
        floor: The least that it takes.
    """

    reason: str
    of: Literal["rows", "seeds"]
    found: float
    floor: int


def level_at(rule: DecisionRule, *, looks: int) -> float:
    """Return the confidence of the interval that decides at a look.

    Without looks it is the rule's. With them every look has a level of its own, so that all looks together accept a
    worthless contribution as seldom as a single one would.

    Args:
        rule: The rule.
        looks: How many looks there were, the present one included; 0 without looks.

    Raises:
        ValueError: The rule has fewer looks.
    """
    if not rule.looks:
        return rule.confidence
    if not 1 <= looks <= len(rule.looks):
        raise ValueError(f"look {looks}, expected 1 to {len(rule.looks)}")
    return 1 - 2 * boundaries(rule.looks, alpha=(1 - rule.confidence) / 2)[looks - 1]


def method_at(rule: DecisionRule, *, looks: int, is_random: bool) -> IntervalMethod:
    """Return how the interval that decides is made at a look.

    Args:
        rule: The rule.
        looks: How many looks there were, the present one included; 0 without looks.
        is_random: Whether the trainer's result depends on its seed.

    Raises:
        ValueError: The rule has fewer looks.
    """
    return IntervalMethod(confidence=level_at(rule, looks=looks), is_random=is_random, combination=rule.combination)


def judge(rule: DecisionRule, scores: BenchmarkScores, *, looks: int = 0, arm: Arm = "candidate") -> Judgement:
    """Return what the rule says of an arm's gain over the control, on the rows that decide.

    Args:
        rule: The rule.
        scores: What step 4 found.
        looks: How many looks there were, the present one included; 0 without looks.
        arm: The arm; a negative control goes through the same gate.
    """
    deciding = scores.deciding
    deltas = metric_deltas(
        [metric for metric in scores.metrics if metric.name in rule.metrics],
        deciding,
        reference="control",
        method=method_at(rule, looks=looks, is_random=scores.is_random),
        roles={},
        arm=arm,
    )
    by_name = {delta.metric.name: delta for delta in deltas}
    delta = by_name.get(rule.metric)
    if delta is None:
        return Judgement(
            outcome="not enough evidence",
            reason=f"{rule.metric} is undefined here: {_why(rule.metric, deciding, arm)}.",
        )
    lacking = next(_shortages(rule, scores, arm=arm), None)
    if lacking:
        return Judgement(outcome="not enough evidence", reason=lacking.reason)
    if delta.gain_lower is None or delta.gain_upper is None:
        return Judgement(outcome="not enough evidence", reason=f"{_without_interval(delta)}.")
    outcome = decide(gain_lower=delta.gain_lower, gain_upper=delta.gain_upper, minimum_gain=rule.minimum_gain)
    reason = _sentence(delta, bar=rule.minimum_gain, outcome=outcome)
    guards = tuple(_guard(guard.metric, guard.margin, by_name.get(guard.metric)) for guard in rule.guards)
    broken = [guard.metric for guard in guards if guard.verdict == "worse"]
    unclear = [guard.metric for guard in guards if guard.verdict == "unclear"]
    if broken and outcome != "reject":
        outcome, reason = "reject", f"{' and '.join(broken)} got worse by more than the margin; {reason}"
    elif unclear and outcome == "accept":
        outcome = "not enough evidence"
        without = [by_name[name] for name in unclear if name in by_name and by_name[name].gain_lower is None]
        why = "".join(f", for {_without_interval(each)}" for each in without)
        reason = f"whether {' and '.join(unclear)} got worse by more than the margin is not clear{why}; {reason}"
    return Judgement(outcome=outcome, reason=reason, guards=guards)


def why_undecidable(
    rule: DecisionRule, *, fits: int | None, class_rows: Sequence[tuple[str, int]], positive_class: str
) -> str:
    """Return why there are too few seeds, or rows of a class, to decide by, whatever the scores; empty when not.

    Args:
        rule: The rule.
        fits: Number of fits of the arm that has fewer; None for a trainer whose result does not depend on its seed.
        class_rows: Pairs of class and number of its rows among those that decide.
        positive_class: The class that metrics of one class are about; empty where there is none.
    """
    shortages = _of_seeds_and_classes(rule, fits=fits, class_rows=class_rows, positive_class=positive_class)
    return next((each.reason for each in shortages), "")


def decide_contribution(
    rule: DecisionRule,
    scores: BenchmarkScores,
    *,
    has_new_rows: bool,
    rule_sha256: str,
    looks: int = 0,
    number: int | None = None,
) -> Decision:
    """Return the decision on a contribution.

    Where the rows that decide are sealed, it is accept or reject and nothing else: neither a number nor how close it
    was.

    Args:
        rule: The rule.
        scores: What step 4 found.
        has_new_rows: Whether a contributed row goes into training.
        rule_sha256: SHA-256 of the rule as it was recorded.
        looks: How many looks there were; 0 without looks.
        number: Which of the declared decisions this is; None where none were declared.
    """
    if has_new_rows:
        judgement = judge(rule, scores, looks=looks)
    else:
        reason = "no contributed row is new: all of them stand in the base data or in the benchmark."
        judgement = Judgement(outcome="reject", reason=reason)
    decision = Decision(
        outcome=judgement.outcome,
        metric=rule.metric,
        minimum_gain=rule.minimum_gain,
        reason=judgement.reason,
        is_exploratory=rule.decisions is None,
        rule_sha256=rule_sha256,
        confidence=level_at(rule, looks=looks),
        guards=judgement.guards,
        number=number,
        decisions=rule.decisions,
    )
    if scores.is_sealed and has_new_rows:
        accepted = judgement.outcome == "accept"
        which = f"decision {number} of {rule.decisions}"
        said = "clears the bar" if accepted else "does not clear the bar, or not surely enough"
        decision = dataclasses.replace(
            decision,
            outcome="accept" if accepted else "reject",
            reason=f"on the benchmark's decision half the contribution {said} ({which}); it gives no other answer.",
            guards=(),
        )
    decision = _with_power(decision, rule, scores, looks=looks)
    return dataclasses.replace(decision, not_concluded=_not_concluded(decision, rule))


def _of_seeds_and_classes(
    rule: DecisionRule, *, fits: int | None, class_rows: Sequence[tuple[str, int]], positive_class: str
) -> Iterator[_Shortage]:
    if fits is not None and fits < rule.minimum_seeds:
        reason = f"the trainer is random; a decision needs at least {rule.minimum_seeds} seeds (training.seeds)."
        yield _Shortage(reason=reason, of="seeds", found=fits, floor=rule.minimum_seeds)
    for name, rows in _classes_that_count(rule.metric, class_rows, positive_class):
        if rows < rule.minimum_positives:
            reason = (
                f"the benchmark has {rows} rows of the class {name!r}, and a decision by {rule.metric} needs at least "
                f"{rule.minimum_positives} (delta.minimum_positives)."
            )
            yield _Shortage(reason=reason, of="rows", found=rows, floor=rule.minimum_positives)


def _shortages(rule: DecisionRule, scores: BenchmarkScores, *, arm: Arm) -> Iterator[_Shortage]:
    """Yield every floor of evidence that is not reached."""
    deciding = scores.deciding
    fits = min(deciding.scores[each][rule.metric].values.size for each in ("control", arm))
    yield from _of_seeds_and_classes(
        rule,
        fits=fits if scores.is_random else None,
        class_rows=deciding.class_rows,
        positive_class=scores.positive_class,
    )
    if rule.metric in _OF_PREDICTED_CLASSES and arm in deciding.right:
        discordant = float(abs(deciding.right[arm].share - deciding.right["control"].share).sum())
        # What nobody can tell apart is no gain for certain: that has a bound of its own.
        if 0 < discordant < rule.minimum_discordant_rows:
            reason = (
                f"only one of the two models is right on {discordant:.4g} benchmark rows, and a decision by "
                f"{rule.metric} needs at least {rule.minimum_discordant_rows} (delta.minimum_discordant_rows)."
            )
            yield _Shortage(reason=reason, of="rows", found=discordant, floor=rule.minimum_discordant_rows)


def _classes_that_count(
    metric: str, class_rows: Sequence[tuple[str, int]], positive_class: str
) -> Sequence[tuple[str, int]]:
    if metric in _OF_EVERY_CLASS or (metric in _OF_ONE_CLASS and not positive_class):
        return class_rows
    return [each for each in class_rows if metric in _OF_ONE_CLASS and each[0] == positive_class]


def _guard(metric: str, margin: float, delta: MetricDelta | None) -> GuardVerdict:
    if delta is None or delta.gain_lower is None or delta.gain_upper is None:
        return GuardVerdict(metric=metric, margin=margin, verdict="unclear")
    verdict = check_non_inferiority(gain_lower=delta.gain_lower, gain_upper=delta.gain_upper, margin=margin)
    return GuardVerdict(metric=metric, margin=margin, verdict=verdict)


def _with_power(decision: Decision, rule: DecisionRule, scores: BenchmarkScores, *, looks: int) -> Decision:
    """Add what this benchmark and these seeds could have seen, and what would settle it."""
    shown = scores.shown
    arms = [shown.scores.get(arm, {}).get(rule.metric) for arm in ("control", "candidate")]
    control, candidate = arms
    if control is None or candidate is None:
        return decision
    method = method_at(rule, looks=looks, is_random=scores.is_random)
    interval = interval_of(control, candidate, method=method)
    if interval is None or interval.degenerate:
        return decision
    metric = next(each for each in scores.metrics if each.name == rule.metric)
    smallest = minimum_detectable_effect(interval)
    if scores.is_sealed:
        # All digits of a standard error tell on how many rows the arms differ, and rounding elsewhere would be in vain.
        smallest = rounded_up(smallest, metric, scale=float(control.values.mean()))
    decision = dataclasses.replace(decision, minimum_detectable_effect=smallest if math.isfinite(smallest) else None)
    if decision.outcome != "not enough evidence":
        return decision
    needed = _needed(decision, rule, scores, method=method)
    return dataclasses.replace(decision, rows_needed=needed.rows, seeds_needed=needed.seeds)


def _needed(decision: Decision, rule: DecisionRule, scores: BenchmarkScores, *, method: IntervalMethod) -> Needed:
    """Return what would settle the deciding metric and every unclear guard, and reach every floor."""
    rows: list[int | None] = []
    seeds: list[int | None] = []
    unclear = ((guard.metric, -guard.margin) for guard in decision.guards if guard.verdict == "unclear")
    for name, bar in ((rule.metric, rule.minimum_gain), *unclear):
        each = _settled(name, bar, scores, method=method)
        rows.append(each.rows)
        seeds.append(each.seeds)
    for shortage in _shortages(rule, scores, arm="candidate"):
        # More of the one does not help where there is too little of the other.
        of_rows = shortage.of == "rows"
        present = scores.deciding.subset.rows
        rows.append(math.ceil(present * shortage.floor / shortage.found) if of_rows and shortage.found else None)
        seeds.append(None if of_rows else shortage.floor)
    return Needed(rows=_most(rows), seeds=_most(seeds))


def _settled(name: str, bar: float, scores: BenchmarkScores, *, method: IntervalMethod) -> Needed:
    deciding = scores.deciding
    control, candidate = (deciding.scores[arm].get(name) for arm in ("control", "candidate"))
    if control is None or candidate is None:
        return Needed(rows=None, seeds=None)
    interval = interval_of(control, candidate, method=method)
    if interval is None:
        return Needed(rows=None, seeds=None)
    metric = next(each for each in scores.metrics if each.name == name)
    gain = interval.delta if metric.higher_is_better else -interval.delta
    return evidence_needed(
        interval,
        rows=deciding.subset.rows,
        # How far the gain is from the bar: as a bar, one below zero would count as zero.
        gain=gain - bar,
        minimum_gain=0.0,
        confidence=method.confidence,
        is_more=True,
    )


def _most(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return max(known) if len(known) == len(numbers) else None


def _not_concluded(decision: Decision, rule: DecisionRule) -> tuple[str, ...]:
    said = []
    if decision.outcome == "not enough evidence":
        said.append("Whether the contribution helps: there is not enough evidence either way.")
    if decision.is_exploratory:
        said.append(
            "How often decisions on this benchmark are wrong: nothing limits how often it is asked, and of "
            f"contributions that are worth nothing one in {round(2 / (1 - rule.confidence))} passes by chance "
            "(`hokusai benchmark split`)."
        )
    said.append("What another sample of the same contributor's rows would be worth: this one is taken as it is.")
    return tuple(said)


def _sentence(delta: MetricDelta, *, bar: float, outcome: Outcome) -> str:
    said = {
        "accept": f"the whole interval is above {'zero' if bar == 0 else f'the bar of {bar:g}'}",
        "reject": f"the whole interval is below {'or at zero' if bar == 0 else f'the bar of {bar:g}'}",
        "not enough evidence": f"the interval contains {'zero' if bar == 0 else f'the bar of {bar:g} or zero'}",
    }
    level = f"{delta.confidence * 100:.4g}%"
    return (
        f"the gain in {delta.metric.name} is {delta.gain:+.3g}, with {level} confidence between "
        f"{delta.gain_lower:+.3g} and {delta.gain_upper:+.3g}: {said[outcome]}."
    )


def _without_interval(delta: MetricDelta) -> str:
    return (
        f"the gain in {delta.metric.name}, {delta.gain:+.3g}, is the same on every row that counts, so nothing tells "
        "how sure it is"
    )


def _why(metric: str, scores: SubsetScores, arm: Arm) -> str:
    reasons = (f"{item.arm}: {item.reason}" for item in scores.undefined if item.name == metric)
    return next((reason for reason in reasons if reason.startswith((arm, "control"))), "it was not computed")
