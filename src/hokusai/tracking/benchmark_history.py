"""How earlier evaluations did on the same benchmark, for comparison; no decision depends on it."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.records import BenchmarkHistory

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["EarlierEvaluation", "summarise_evaluations"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierEvaluation:
    """One evaluation on a benchmark, as its parent run has it.

    Attributes:
        evaluation: Its key.
        started: Start of the run, in milliseconds since 1970.
        candidate: The candidate's value of the metric that is asked for; None where it was not recorded.
    """

    evaluation: str
    started: int
    candidate: float | None


def summarise_evaluations(
    evaluations: Iterable[EarlierEvaluation], *, metric: str, higher_is_better: bool
) -> BenchmarkHistory:
    """Return what the candidates of earlier evaluations reached.

    Args:
        evaluations: The evaluations, in any order.
        metric: Name of the metric that their values are of.
        higher_is_better: Whether a larger value of it is a better one.
    """
    ordered = sorted(evaluations, key=lambda item: (item.started, item.evaluation))
    values = [item.candidate for item in ordered if item.candidate is not None and math.isfinite(item.candidate)]
    if not values:
        return BenchmarkHistory(evaluations=len(ordered), metric=metric)
    return BenchmarkHistory(
        evaluations=len(ordered),
        metric=metric,
        best=max(values) if higher_is_better else min(values),
        median=statistics.median(values),
        latest=values[-1],
    )
