"""A thousand decisions on one benchmark, by the declared budget and by rules that keep none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calibration.cells import SequenceCell
from calibration.coverage import generator, row_bounds
from calibration.latent_fits import NO_SEEDS, ROWS_MORE, SEEDS_MORE, SPREADS, LatentBenchmark, accuracy_scores

from hokusai.analysis.statistics import decide, paired_interval

if TYPE_CHECKING:
    from calibration.coverage import Effort

    from hokusai.records import MetricScores

__all__ = ["BUDGET", "BUDGET_RULE", "budget_confidence", "measure_decisions"]

_DECISIONS = 1_000
BUDGET = 0.05
_TRUE_GAIN = 0.03
BUDGET_RULE = "one-sided alpha = 0.05 / 1,000"
_RULES = (BUDGET_RULE, "95 % interval, bar of 1 point", "95 % interval", "95 % interval over rows alone")
# Real gains are counted beside the worthless thousand, and take nothing of their budget.
_GAINS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    seeds: str
    rows: int
    control_fits: int
    candidate_fits: int
    sequences: int


_SETTINGS = (
    _Setting(seeds=NO_SEEDS, rows=2_000, control_fits=1, candidate_fits=1, sequences=200),
    _Setting(seeds=NO_SEEDS, rows=10_000, control_fits=1, candidate_fits=1, sequences=100),
    _Setting(seeds=ROWS_MORE, rows=2_000, control_fits=20, candidate_fits=5, sequences=100),
    _Setting(seeds=ROWS_MORE, rows=10_000, control_fits=20, candidate_fits=5, sequences=40),
    _Setting(seeds=SEEDS_MORE, rows=2_000, control_fits=20, candidate_fits=5, sequences=100),
    _Setting(seeds=SEEDS_MORE, rows=2_000, control_fits=20, candidate_fits=20, sequences=60),
)


def budget_confidence() -> float:
    """Return the two-sided confidence of an interval whose lower end errs with 0.05 / 1,000."""
    return 1 - 2 * BUDGET / _DECISIONS


def measure_decisions(effort: Effort) -> list[SequenceCell]:
    """Simulate sequences of decisions about worthless contributions that share a benchmark and a control."""
    return [cell for setting in _SETTINGS for cell in _sequences(setting, sequences=effort.of(setting.sequences))]


def _sequences(setting: _Setting, *, sequences: int) -> list[SequenceCell]:
    rng = generator("decisions", setting.seeds, setting.rows, setting.candidate_fits)
    accepted, any_accepted, gains_accepted = (dict.fromkeys(_RULES, 0) for _ in range(3))
    for _ in range(sequences):
        benchmark = LatentBenchmark.draw(setting.rows, SPREADS[setting.seeds], rng)
        control = accuracy_scores(benchmark.arm(rng), setting.control_fits, rng)
        in_sequence = dict.fromkeys(_RULES, 0)
        for number in range(_DECISIONS + _GAINS):
            is_gain = number >= _DECISIONS
            arm = benchmark.arm(rng, gain=_TRUE_GAIN if is_gain else 0.0)
            candidate = accuracy_scores(arm, setting.candidate_fits, rng)
            counts = gains_accepted if is_gain else in_sequence
            for rule, says_yes in zip(_RULES, _by_rule(control, candidate), strict=True):
                counts[rule] += says_yes
        for rule, count in in_sequence.items():
            accepted[rule] += count
            any_accepted[rule] += count > 0
    return [
        SequenceCell(
            rule=rule,
            seeds=setting.seeds,
            rows=setting.rows,
            control_fits=setting.control_fits,
            candidate_fits=setting.candidate_fits,
            decisions=_DECISIONS,
            sequences=sequences,
            worthless=sequences * _DECISIONS,
            accepted=accepted[rule],
            any_accepted=any_accepted[rule],
            gains=sequences * _GAINS,
            gains_accepted=gains_accepted[rule],
        )
        for rule in _RULES
    ]


def _by_rule(control: MetricScores, candidate: MetricScores) -> tuple[bool, ...]:
    """Return which of `_RULES` accept."""
    random_trainer = control.values.size > 1
    wide = paired_interval(
        control, candidate, confidence=budget_confidence(), random_trainer=random_trainer, combination="howe"
    )
    usual = paired_interval(control, candidate, random_trainer=random_trainer)
    return (
        _accepts(wide.lower, wide.upper),
        _accepts(usual.lower, usual.upper, minimum_gain=0.01),
        _accepts(usual.lower, usual.upper),
        _accepts(*row_bounds(usual)),
    )


def _accepts(lower: float, upper: float, *, minimum_gain: float = 0.0) -> bool:
    return decide(gain_lower=lower, gain_upper=upper, minimum_gain=minimum_gain) == "accept"
