"""What contributed data is worth by one metric, on one set of rows, and what stands beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hokusai.records.decisions import MetricRole, Outcome
    from hokusai.records.models import Arm
    from hokusai.records.scores import BenchmarkSubset, Metric, UndefinedMetric

__all__ = [
    "CrossCheck",
    "MetricDelta",
    "NegativeControl",
    "SubsetDeltas",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDelta:
    """How one metric moved from the reference to the candidate, with its uncertainty.

    Attributes:
        metric: The metric, with its direction and unit.
        reference: What the candidate is compared with.
        baseline: Mean value of the reference over its fits.
        candidate: Mean value of the candidate over its fits.
        gain_lower: Lower end of the interval of :attr:`gain`; None where no interval can be given.
        gain_upper: Upper end of it.
        confidence: The interval's confidence level.
        standard_error: Of the gain, over benchmark rows and training seeds; None where there is none.
        degrees_of_freedom: Of the t quantile behind the interval; None where there is none.
        role: ``primary`` for the metric that decides, ``guard`` for one that must not get worse, else ``secondary``.
        row_variance: What other benchmark rows add to the variance of the gain; None where there is none.
        reference_seed_variance: What other seeds of the reference add.
        candidate_seed_variance: What other seeds of the candidate add.
        p_value: Two-sided, of no gain; None where there is no interval.
        adjusted_p_value: The same after Holm's correction over all secondary metrics; None for others.
    """

    metric: Metric
    reference: Arm
    baseline: float
    candidate: float
    gain_lower: float | None
    gain_upper: float | None
    confidence: float
    standard_error: float | None
    degrees_of_freedom: float | None
    role: MetricRole = "secondary"
    row_variance: float | None = None
    reference_seed_variance: float | None = None
    candidate_seed_variance: float | None = None
    p_value: float | None = None
    adjusted_p_value: float | None = None

    @property
    def gain(self) -> float:
        """Change towards better, in the metric's own unit; above zero always means improved."""
        change = self.candidate - self.baseline
        # Not minus the change, which makes of no change a minus zero.
        return change if self.metric.higher_is_better else 0.0 - change

    @property
    def relative_gain(self) -> float | None:
        """The gain as a fraction of the size of the baseline's value, or None when that is zero."""
        return self.gain / abs(self.baseline) if self.baseline else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossCheck:
    """The gain of the metric that decides, by another method than the one that decided.

    Attributes:
        method: ``bootstrap``, ``tango`` or ``mcnemar``.
        what: What it is about, one sentence.
        gain_lower: Lower end of its interval; None for a test.
        gain_upper: Upper end.
        p_value: Two-sided, of no gain; None for an interval.
    """

    method: str
    what: str
    gain_lower: float | None = None
    gain_upper: float | None = None
    p_value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetDeltas:
    """Every metric against the control on one set of benchmark rows.

    Attributes:
        subset: Which rows.
        deltas: The deltas.
        undefined: Metrics without a value, with the reason.
    """

    subset: BenchmarkSubset
    deltas: tuple[MetricDelta, ...]
    undefined: tuple[UndefinedMetric, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativeControl:
    """A contribution that should gain nothing, measured like the real one.

    Attributes:
        arm: What it is.
        delta: The metric that decides, against the control; None where it is undefined.
        outcome: What the same rule would have decided.
    """

    arm: Arm
    delta: MetricDelta | None
    outcome: Outcome
