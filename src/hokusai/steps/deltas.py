"""Scores of two arms become deltas: the gain of every metric, towards better, with its interval and p-value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.analysis.multiplicity import holm, p_value
from hokusai.analysis.paired_proportions import no_difference_bound
from hokusai.analysis.statistics import paired_interval
from hokusai.records import MetricDelta

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hokusai.analysis.statistics import Combination, PairedInterval
    from hokusai.records import Arm, Metric, MetricRole, MetricScores, SubsetScores

__all__ = ["IntervalMethod", "interval_of", "metric_deltas"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalMethod:
    """How intervals of differences are made.

    Attributes:
        confidence: Their two-sided confidence level.
        is_random: Whether the trainer's result depends on its seed.
        combination: How benchmark rows and seeds make one half width.
    """

    confidence: float
    is_random: bool
    combination: Combination = "satterthwaite"


def metric_deltas(
    metrics: Sequence[Metric],
    scores: SubsetScores,
    *,
    reference: Arm,
    method: IntervalMethod,
    roles: Mapping[str, MetricRole],
    arm: Arm = "candidate",
) -> tuple[MetricDelta, ...]:
    """Return the delta of every metric that is defined for both arms.

    The p-values of secondary metrics are corrected for their number by Holm's method.

    Args:
        metrics: The metrics, in the order of the result.
        scores: Scores of both arms on one set of rows.
        reference: What is compared with.
        method: How their intervals are made.
        roles: Roles of the metrics that are not secondary, by name.
        arm: What is compared.
    """
    found = [
        _delta(metric, scores, reference=reference, arm=arm, method=method)
        for metric in metrics
        if all(metric.name in scores.scores.get(each, {}) for each in (reference, arm))
    ]
    found = [dataclasses.replace(delta, role=roles.get(delta.metric.name, "secondary")) for delta in found]
    places = [n for n, delta in enumerate(found) if delta.role == "secondary" and delta.p_value is not None]
    adjusted = holm([found[place].p_value or 0.0 for place in places])
    for place, value in zip(places, adjusted, strict=True):
        found[place] = dataclasses.replace(found[place], adjusted_p_value=float(value))
    return tuple(found)


def interval_of(
    reference: MetricScores, candidate: MetricScores, *, method: IntervalMethod, is_trained: bool = True
) -> PairedInterval | None:
    """Return the interval of candidate minus reference, in the metric's own direction.

    Args:
        reference: Scores of the reference.
        candidate: Scores of the candidate.
        method: How the interval is made.
        is_trained: Whether the reference was trained here; a given baseline is one model and no draw of a trainer.

    Returns:
        None where a random trainer was fitted once, and nothing tells its seeds from its data.
    """
    fewest = min(candidate.values.size, reference.values.size if is_trained else candidate.values.size)
    if method.is_random and fewest < 2:
        return None
    return paired_interval(
        reference,
        candidate,
        confidence=method.confidence,
        random_trainer=method.is_random and is_trained,
        combination=method.combination,
    )


def _delta(metric: Metric, scores: SubsetScores, *, reference: Arm, arm: Arm, method: IntervalMethod) -> MetricDelta:
    baseline, candidate = scores.scores[reference][metric.name], scores.scores[arm][metric.name]
    interval = interval_of(baseline, candidate, method=method, is_trained=reference != "baseline")
    lower = upper = None
    has_interval = interval is not None and not interval.degenerate
    if interval is not None and has_interval:
        lower, upper = interval.lower, interval.upper
    elif interval is not None and metric.name == "accuracy" and scores.subset.has_equal_rows:
        bound = no_difference_bound(scores.subset.units, method.confidence)
        lower, upper = max(-1.0, interval.delta - bound), min(1.0, interval.delta + bound)
    if lower is not None and upper is not None and not metric.higher_is_better:
        lower, upper = -upper, -lower
    delta = MetricDelta(
        metric=metric,
        reference=reference,
        baseline=float(baseline.values.mean()),
        candidate=float(candidate.values.mean()),
        gain_lower=lower,
        gain_upper=upper,
        confidence=method.confidence,
        standard_error=None,
        degrees_of_freedom=None,
    )
    if interval is None or not has_interval:
        return delta
    return dataclasses.replace(
        delta,
        standard_error=interval.standard_error,
        degrees_of_freedom=interval.degrees_of_freedom,
        row_variance=interval.row_variance,
        reference_seed_variance=interval.control_seed_variance,
        candidate_seed_variance=interval.candidate_seed_variance,
        p_value=p_value(interval),
    )
