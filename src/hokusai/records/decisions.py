"""The rule that is recorded beforehand, and the decision that it leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Decision",
    "DecisionRule",
    "Guard",
    "GuardVerdict",
    "MetricRole",
    "Outcome",
]

Outcome = Literal["accept", "reject", "not enough evidence"]
MetricRole = Literal["primary", "guard", "secondary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A metric that must not get worse by more than a margin.

    Attributes:
        metric: Its name.
        margin: How much worse it may get, in the metric's unit.
    """

    metric: str
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRule:
    """What was fixed before the candidate was trained: how its scores become a decision.

    Attributes:
        metric: The metric that decides.
        minimum_gain: The bar, in the metric's unit, towards better.
        confidence: Two-sided level of the interval that decides; half of the rest is the chance to accept a
            contribution that is worth no more than the bar.
        guards: Metrics that must not get worse.
        minimum_seeds: The fewest fits per arm of a trainer whose result depends on its seed.
        minimum_positives: The fewest benchmark rows of each class that the metric is about.
        minimum_discordant_rows: The fewest rows that only one arm has right, for metrics of predicted classes.
        seeds: Seeds of the candidate's fits, at most.
        control_seeds: Seeds of the control's fits, at most.
        looks: Numbers of seeds after which it may be decided early; empty when the number is fixed.
        benchmark_sha256: Content digest of the benchmark.
        rows: ``benchmark``, or ``decision half`` of a benchmark that is split.
        decisions: How many decisions the benchmark was declared for; None where none were.
        scoring: Canonical JSON of everything else that the scores depend on, such as the positive class, weights and
            groups.
        combination: How benchmark rows and seeds make one half width of the interval that decides: ``satterthwaite``,
            or ``howe`` for a declared decision, whose level lies far out.
    """

    metric: str
    minimum_gain: float
    confidence: float
    guards: tuple[Guard, ...] = ()
    minimum_seeds: int = 3
    minimum_positives: int = 50
    minimum_discordant_rows: int = 25
    seeds: int = 1
    control_seeds: int = 1
    looks: tuple[int, ...] = ()
    benchmark_sha256: str = ""
    rows: Literal["benchmark", "decision half"] = "benchmark"
    decisions: int | None = None
    scoring: str = "{}"
    combination: Literal["satterthwaite", "howe"] = "satterthwaite"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that have a say: the one that decides, then the guards."""
        return (self.metric, *(guard.metric for guard in self.guards))


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardVerdict:
    """Whether a guarded metric got worse.

    Attributes:
        metric: The metric.
        margin: How much worse it might get.
        verdict: ``kept``, ``worse``, or ``unclear`` when the interval contains the margin or there is none.
    """

    metric: str
    margin: float
    verdict: Literal["kept", "worse", "unclear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether the contribution clears the bar that was set beforehand.

    Attributes:
        outcome: ``accept``, ``reject`` or ``not enough evidence``.
        metric: The metric that decided.
        minimum_gain: The bar, in the metric's unit.
        reason: One sentence that a person understands.
        is_exploratory: Whether nothing limits how often the benchmark may be asked, so that one acceptance in forty is
            to be expected of contributions that are worth nothing.
        rule_sha256: SHA-256 of the decision rule, as it was recorded before the candidate was trained.
        confidence: Level of the interval that decided.
        guards: What became of the guarded metrics.
        minimum_detectable_effect: The smallest gain above the bar that would be found four times out of five with this
            benchmark and these seeds, in the metric's unit; None where nothing tells.
        rows_needed: Benchmark rows with which the same gain would be decided four times out of five; None where it is
            decided already, or no number would do.
        seeds_needed: Seeds per arm with which it would.
        number: Which of the declared decisions this was; None where none were declared.
        decisions: How many were declared.
        not_concluded: What cannot be concluded, one sentence each.
    """

    outcome: Outcome
    metric: str
    minimum_gain: float
    reason: str
    is_exploratory: bool = True
    rule_sha256: str = ""
    confidence: float = 0.95
    guards: tuple[GuardVerdict, ...] = ()
    minimum_detectable_effect: float | None = None
    rows_needed: int | None = None
    seeds_needed: int | None = None
    number: int | None = None
    decisions: int | None = None
    not_concluded: tuple[str, ...] = ()
