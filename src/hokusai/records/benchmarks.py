"""What the tracking store is asked about a benchmark, and what it knows."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "LEDGER_OF_TAG",
    "BenchmarkAnswer",
    "BenchmarkHistory",
    "BenchmarkQuestion",
]

LEDGER_OF_TAG = "hokusai.ledger_of"
"""On the registered model that is a benchmark's ledger, and no model: the benchmark's whole content digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkHistory:
    """Earlier evaluations on the same benchmark, as the tracking store has them.

    Attributes:
        evaluations: How many there are.
        metric: The metric that decides here; the values are those of the evaluations that recorded it.
        best: The best value of a candidate; None where there is none.
        median: The median of the candidates' values.
        latest: The value of the last one.
    """

    evaluations: int
    metric: str
    best: float | None = None
    median: float | None = None
    latest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkQuestion:
    """What the tracking store is asked about a benchmark.

    Attributes:
        digest: The benchmark's content digest.
        metric: The metric that decides.
        higher_is_better: Whether a larger value of it is a better one.
        evaluation: The evaluation that asks, which is none of the earlier ones.
    """

    digest: str
    metric: str
    higher_is_better: bool
    evaluation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkAnswer:
    """What the tracking store knows of a benchmark.

    Attributes:
        is_split: Whether it is split into halves, so that only who has the key may use it.
        history: Earlier evaluations on it.
    """

    is_split: bool
    history: BenchmarkHistory
