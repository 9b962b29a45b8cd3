"""What is told of the feedback half of a benchmark: every number rounded, so that nobody climbs by many small steps.

Rounded to one point, the answers gave somebody who asked 200 times nothing; exact ones gave 5.6 points on that
benchmark and none in truth.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hokusai.records import Metric, MetricDelta

__all__ = ["ANSWER_STEP", "rounded", "rounded_delta", "rounded_up"]

ANSWER_STEP = 0.01
"""What answers are rounded to: a point of a fraction; of a metric without bounds, the power of ten at or above one
hundredth of the value; where there is one bound, of the bound if that is larger."""
_Number = TypeVar("_Number", float, "NDArray[np.float64]")


def rounded(value: _Number, metric: Metric, *, scale: float | None = None) -> _Number:
    """Return a value as it may be told.

    Args:
        value: One value of a metric or several.
        metric: The metric.
        scale: The value by whose size the step is chosen where the metric has no bounds; default the value itself.
    """
    step = _step(metric, float(np.mean(value)) if scale is None else scale)
    found: _Number = np.round(value / step) * step if step else value
    return found


def rounded_up(value: float, metric: Metric, *, scale: float) -> float:
    """Return a value as it may be told where it must not be told too small, such as an effect that can be seen.

    Args:
        value: A difference between values of a metric.
        metric: The metric.
        scale: The value by whose size the step is chosen where the metric has no bounds.
    """
    step = _step(metric, scale)
    return math.ceil(value / step - 1e-9) * step if step else value


def rounded_delta(delta: MetricDelta) -> MetricDelta:
    """Return a delta of which nothing finer than a step can be told; its interval is rounded outwards."""
    # By the larger of the two: a reference of zero would leave the candidate's digits as they are.
    metric, scale = delta.metric, max(abs(delta.baseline), abs(delta.candidate))

    def outwards(value: float | None, way: int) -> float | None:
        return None if value is None else way * rounded_up(way * value, metric, scale=scale)

    return dataclasses.replace(
        delta,
        baseline=float(rounded(delta.baseline, metric, scale=scale)),
        candidate=float(rounded(delta.candidate, metric, scale=scale)),
        gain_lower=outwards(delta.gain_lower, -1),
        gain_upper=outwards(delta.gain_upper, 1),
        standard_error=outwards(delta.standard_error, 1),
        degrees_of_freedom=None,
        row_variance=None,
        reference_seed_variance=None,
        candidate_seed_variance=None,
        p_value=None,
        adjusted_p_value=None,
    )


def _step(metric: Metric, scale: float) -> float:
    if metric.lower is not None and metric.upper is not None:
        return ANSWER_STEP * (metric.upper - metric.lower)
    # Near zero a share of the value, such as of r2, would be no rounding at all.
    size = ANSWER_STEP * max(abs(scale), abs(metric.lower or 0.0), abs(metric.upper or 0.0))
    return float(10.0 ** math.ceil(math.log10(size))) if size > 0 else 0.0
