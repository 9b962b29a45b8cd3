"""Somebody who asks one half of a benchmark again and again, and keeps what its answers like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from calibration.cells import ClimbCell
from calibration.coverage import accepts, generator
from calibration.latent_fits import ACCURACY, accuracy_of
from calibration.many_decisions import budget_confidence

from hokusai.analysis.metrics import METRICS
from hokusai.analysis.statistics import paired_interval, summarise_fits
from hokusai.steps.answer_rounding import rounded

if TYPE_CHECKING:
    from calibration.coverage import Effort
    from numpy.typing import NDArray

__all__ = ["measure_climbing"]

Answers = Literal["exact", "rounded", "accept or reject"]
_ANSWERS: tuple[Answers, ...] = ("exact", "rounded", "accept or reject")
_ROWS, _TRIES, _ATTACKERS = 10_000, 200, 100
# Parts of the space of features, one for each try.
_REGIONS = 200


def measure_climbing(effort: Effort) -> list[ClimbCell]:
    """Let attackers mix two equally good models by the answers of one half; the other half decides at the end."""
    attackers = effort.of(_ATTACKERS)
    return [
        _attack(name, answers, attackers=attackers)
        for name in ("region by region", "all at once")
        for answers in _ANSWERS
    ]


def _attack(name: str, answers: Answers, *, attackers: int) -> ClimbCell:
    rng = generator("climbing", name, answers)
    climb = 0.0
    accepted_same = accepted_decision = 0
    for _ in range(attackers):
        # The first half answers, the second decides: rows of one population, in the same regions.
        first, other = rng.random((2, 2 * _ROWS)) < ACCURACY
        mixed = (_region_by_region if name == "region by region" else _all_at_once)(first, other, answers, rng)
        climb += float(np.mean(mixed[:_ROWS]) - np.mean(first[:_ROWS]))
        accepted_same += _accepted(first[:_ROWS], mixed[:_ROWS], confidence=0.95)
        accepted_decision += _accepted(first[_ROWS:], mixed[_ROWS:], confidence=budget_confidence())
    return ClimbCell(
        attack=name,
        answers=answers,
        rows=_ROWS,
        tries=_TRIES,
        attackers=attackers,
        climb=100 * climb / attackers,
        # Both models are right with the same probability on every row, so no mixture of them is better.
        true_gain=0.0,
        accepted_same=accepted_same,
        accepted_decision=accepted_decision,
    )


def _region_by_region(
    first: NDArray[np.bool_], other: NDArray[np.bool_], answers: Answers, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Take the other model in one region after the other, and keep it where the answer went up."""
    regions = rng.integers(_REGIONS, size=first.size)
    best, best_answer = first, _answer(first, first, answers)
    for region in range(_TRIES):
        attempt = np.where(regions == region, other, best)
        answer = _answer(first, attempt, answers)
        if answer > best_answer:
            best, best_answer = attempt, answer
    return best


def _all_at_once(
    first: NDArray[np.bool_], other: NDArray[np.bool_], answers: Answers, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Ask about random halves of all rows, then take the other model where the better halves had it.

    A. Blum, M. Hardt (2015), "The Ladder: a reliable leaderboard for machine learning competitions", Proceedings of the
    32nd International Conference on Machine Learning, 1006-1014, describe it for random labels.
    """
    votes, start = np.zeros(first.size), _answer(first, first, answers)
    for _ in range(_TRIES):
        has_other = rng.random(first.size) < 0.5
        rise = _answer(first, np.where(has_other, other, first), answers) - start
        votes += np.sign(rise) * np.where(has_other, 1, -1)
    return np.where(votes > 0, other, first)


def _answer(first: NDArray[np.bool_], attempt: NDArray[np.bool_], answers: Answers) -> float:
    """Return what the half that answers says about an attempt."""
    if answers == "accept or reject":
        return float(_accepted(first[:_ROWS], attempt[:_ROWS], confidence=budget_confidence()))
    value = float(np.mean(attempt[:_ROWS]))
    return float(rounded(value, METRICS["accuracy"])) if answers == "rounded" else value


def _accepted(first: NDArray[np.bool_], attempt: NDArray[np.bool_], *, confidence: float) -> bool:
    if np.array_equal(first, attempt):
        return False
    arms = (summarise_fits([accuracy_of(right)]) for right in (first, attempt))
    interval = paired_interval(*arms, confidence=confidence, random_trainer=False)
    return accepts(interval.lower, interval.upper, higher_is_better=True)
