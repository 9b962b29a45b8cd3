"""Looking at a candidate after 3, 5, 8, 12 and 20 fits: by the boundaries, and as if every look were the only one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calibration.cells import LooksCell
from calibration.coverage import generator
from calibration.latent_fits import ROWS_MORE, SEEDS_MORE, SPREADS, LatentBenchmark

from hokusai.analysis.group_sequential import LOOKS, boundaries, futile
from hokusai.analysis.statistics import decide, paired_interval, summarise_fits

if TYPE_CHECKING:
    from calibration.coverage import Effort

    from hokusai.analysis.metrics import MetricEvaluation
    from hokusai.records import MetricScores

__all__ = ["measure_looks"]

_ALPHA = 0.025
_ROWS = 2_000
_REPLICATES = {0.0: 4_000, 0.01: 1_000, 0.03: 1_000, -0.03: 1_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Procedure:
    """When is looked, at which one-sided level each time, and whether to stop where it is futile to go on."""

    looks: tuple[int, ...]
    levels: tuple[float, ...]
    stops_for_futility: bool = False

    def run(self, control: MetricScores, candidate: list[MetricEvaluation]) -> tuple[bool, int]:
        """Return whether the candidate is accepted, and after how many of its fits it was over."""
        for look, (fits, level) in enumerate(zip(self.looks, self.levels, strict=True), start=1):
            interval = paired_interval(
                control, summarise_fits(candidate[:fits]), confidence=1 - 2 * level, random_trainer=True
            )
            outcome = decide(gain_lower=interval.lower, gain_upper=interval.upper, minimum_gain=0.0)
            if outcome != "not enough evidence" or look == len(self.looks):
                return outcome == "accept", fits
            if self.stops_for_futility and futile(
                interval,
                gain=interval.delta,
                most_fits=self.looks[-1],
                final_alpha=self.levels[-1],
                minimum_gain=0.0,
            ):
                return False, fits
        raise ValueError("a procedure without looks, expected one or more")


_PROCEDURES = {
    "boundaries": _Procedure(looks=LOOKS, levels=boundaries(LOOKS, alpha=_ALPHA)),
    "boundaries, futility": _Procedure(looks=LOOKS, levels=boundaries(LOOKS, alpha=_ALPHA), stops_for_futility=True),
    "each look at 0.025": _Procedure(looks=LOOKS, levels=(_ALPHA,) * len(LOOKS)),
    "one look at 5 fits": _Procedure(looks=(5,), levels=(_ALPHA,)),
    "one look at 20 fits": _Procedure(looks=(20,), levels=(_ALPHA,)),
}


def measure_looks(effort: Effort) -> list[LooksCell]:
    """Simulate evaluations with 20 fits of the control, and all procedures on the same fits of the candidate."""
    cells: list[LooksCell] = []
    for name in (ROWS_MORE, SEEDS_MORE):
        for gain, full in _REPLICATES.items():
            rng = generator("looks", name, gain)
            replicates = effort.of(full)
            accepted, fits = dict.fromkeys(_PROCEDURES, 0), dict.fromkeys(_PROCEDURES, 0)
            for _ in range(replicates):
                benchmark = LatentBenchmark.draw(_ROWS, SPREADS[name], rng)
                control = summarise_fits(benchmark.arm(rng).evaluations(LOOKS[-1], rng))
                candidate = benchmark.arm(rng, gain=gain).evaluations(LOOKS[-1], rng)
                for procedure, planned in _PROCEDURES.items():
                    is_accepted, used = planned.run(control, candidate)
                    accepted[procedure] += is_accepted
                    fits[procedure] += used
            cells += [
                LooksCell(
                    seeds=name,
                    procedure=procedure,
                    gain=100 * gain,
                    replicates=replicates,
                    accepted=accepted[procedure],
                    fits=fits[procedure],
                )
                for procedure in _PROCEDURES
            ]
    return cells
