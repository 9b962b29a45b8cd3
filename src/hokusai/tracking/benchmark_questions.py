"""What an evaluation asks the tracking store about its benchmark, and who answers: the process that ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hokusai.records import BenchmarkAnswer
from hokusai.tracking.benchmark_history import summarise_evaluations

if TYPE_CHECKING:
    from hokusai.records import BenchmarkQuestion
    from hokusai.tracking.mlflow_ledger import BenchmarkLedger

__all__ = ["answer_question"]


def answer_question(ledger: BenchmarkLedger, question: BenchmarkQuestion) -> BenchmarkAnswer:
    """Return what the store knows of a benchmark.

    Args:
        ledger: The store.
        question: What is asked.

    Raises:
        TrackingServerError: The store does not answer.
    """
    earlier = ledger.earlier_evaluations(question.digest, metric=question.metric, without=question.evaluation)
    return BenchmarkAnswer(
        is_split=ledger.read(question.digest).is_split,
        history=summarise_evaluations(earlier, metric=question.metric, higher_is_better=question.higher_is_better),
    )
