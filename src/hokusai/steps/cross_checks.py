"""The deciding metric once more, by methods that share little with the one that decides; nothing is decided by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hokusai.analysis.bootstrap import bootstrap_influence
from hokusai.analysis.paired_proportions import discordant_rows, mcnemar, tango
from hokusai.records import CrossCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hokusai.records import BenchmarkScores, DecisionRule, Metric

__all__ = ["cross_checks"]

# Resampling more units takes seconds, and tells nothing that the central limit theorem does not.
_MOST_UNITS = 100_000
_REPLICATES = 1_000


def cross_checks(rule: DecisionRule, scores: BenchmarkScores) -> tuple[CrossCheck, ...]:
    """Return what other methods say of the gain of the deciding metric on the rows that decide.

    All of them count benchmark rows alone: of a trainer whose result depends on its seed they tell a part.

    Args:
        rule: The rule.
        scores: What step 4 found.
    """
    metric = next(metric for metric in scores.metrics if metric.name == rule.metric)
    found = list(_bootstrap(metric, scores, confidence=rule.confidence))
    if rule.metric == "accuracy" and scores.deciding.subset.has_equal_rows:
        found += _exact(scores, confidence=rule.confidence)
    return tuple(found)


def _bootstrap(metric: Metric, scores: BenchmarkScores, *, confidence: float) -> Iterator[CrossCheck]:
    arms = (scores.deciding.scores[arm].get(metric.name) for arm in ("control", "candidate"))
    control, candidate = arms
    if control is None or candidate is None or control.influence.size > _MOST_UNITS:
        return
    # Chance comes from the rows themselves, so that the same evaluation says the same.
    rng = np.random.default_rng(control.influence.size)
    interval = bootstrap_influence(control, candidate, confidence=confidence, replicates=_REPLICATES, rng=rng)
    lower, upper = interval.lower, interval.upper
    if not metric.higher_is_better:
        lower, upper = -upper, -lower
    yield CrossCheck(
        method="bootstrap",
        what=f"gain in {metric.name}, percentile bootstrap over {_units(scores)} alone",
        gain_lower=lower,
        gain_upper=upper,
    )


def _exact(scores: BenchmarkScores, *, confidence: float) -> Iterator[CrossCheck]:
    """Compare which rows the two models of the first seed have right."""
    right = scores.deciding.right
    discordant = discordant_rows(right["control"].first, right["candidate"].first)
    fits = "the two models" if not scores.is_random else "the fits of the first seed"
    rows = scores.deciding.subset.rows
    interval = tango(discordant, n=rows, confidence=confidence)
    yield CrossCheck(
        method="tango",
        what=f"gain in accuracy of {fits}, Tango's score interval",
        gain_lower=interval.lower,
        gain_upper=interval.upper,
    )
    test = mcnemar(discordant.control_only, discordant.candidate_only)
    yield CrossCheck(
        method="mcnemar",
        what=f"no gain in accuracy of {fits}, McNemar's mid-p test ({discordant.candidate_only} rows won, "
        f"{discordant.control_only} lost)",
        p_value=test.mid_p,
    )


def _units(scores: BenchmarkScores) -> str:
    subset = scores.deciding.subset
    return "rows" if subset.units == subset.rows else "groups of rows"
