"""The answer of one evaluation, and where its record is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from hokusai.records.benchmarks import BenchmarkHistory
    from hokusai.records.datasets import ContributionCounts, DatasetVersion, DecoyTest
    from hokusai.records.decisions import Decision
    from hokusai.records.deltas import CrossCheck, MetricDelta, NegativeControl, SubsetDeltas
    from hokusai.records.scores import UndefinedMetric

__all__ = [
    "DELTA_FILE",
    "ROW_SCORES_FILE",
    "STATEMENT_FILE",
    "DeltaReport",
    "EvaluationIdentity",
    "RunReference",
    "StatementSummary",
    "TrackingSummary",
]

DELTA_FILE = "delta.json"
"""What the report is called, on disk and among the artifacts; and so are the next two."""
ROW_SCORES_FILE = "row_scores.parquet"
STATEMENT_FILE = "statement.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReference:
    """A run of the evaluation.

    Attributes:
        key: Our own key, known at once.
        name: The name that MLflow shows.
        run_id: MLflow's id, or None while the run has not been shipped.
    """

    key: str
    name: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingSummary:
    """Where the record of the evaluation is.

    Attributes:
        uri: The tracking store, without credentials.
        experiment: The experiment's name.
        experiment_id: MLflow's id of it, or None while nothing has been shipped.
        journal: The journal's folder.
        runs: The parent run first, then the five steps.
        shipped: Whether everything recorded has reached MLflow.
        problem: Why not, in one sentence; empty when it has.
    """

    uri: str
    experiment: str
    journal: Path | None
    runs: tuple[RunReference, ...]
    shipped: bool
    experiment_id: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementSummary:
    """Where what is claimed of an evaluation is, for others to verify.

    Attributes:
        file: The statement; None where there is none.
        claim_sha256: What identifies the claim; empty where there is no statement.
        signers: Ids of the keys that have signed it; empty when nobody has.
        zk_output: The document for token contracts' tools; None where there is none.
        notes: Why there is no statement, or no such document; one sentence each.
    """

    file: Path | None
    claim_sha256: str = ""
    signers: tuple[str, ...] = ()
    zk_output: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationIdentity:
    """Which evaluation this is, and where its outputs go.

    Attributes:
        project: The project's name.
        evaluation: The evaluation's key.
        registered_model: Name of the registered model of which the candidate becomes a version.
        delta_file: The ``delta.json`` to write.
    """

    project: str
    evaluation: str
    registered_model: str
    delta_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaReport:
    """What the contributed data is worth to the model: the answer of one evaluation.

    Attributes:
        identity: Which evaluation this is.
        decision: The decision on the metric that was named beforehand.
        deltas: Every metric against the control.
        baseline_deltas: Every metric against the baseline model, when one was given.
        undefined: Metrics without a value, with the reason.
        datasets: Every dataset with its content digest.
        counts: What became of the rows of every training table.
        overlapping_rows: Benchmark rows that were met among the offered rows, exactly or nearly.
        notes: What a reader of the numbers should know, such as what the screening could not decide; one sentence each.
        model_sha256: SHA-256 of the candidate's model file; empty when none was kept.
        subsets: The deltas on other sets of benchmark rows; without the rows that overlap always.
        cross_checks: The deciding metric by other methods.
        negative_controls: What contributions that should gain nothing gained, when that was asked for.
        decoy_tests: Whether a contribution holds more rows of the benchmark than chance explains.
        history: Earlier evaluations on this benchmark; None where the store could not be asked.
        answer_step: What every number was rounded to, as a fraction of its unit; None where none was.
        tracking: Where the record is; None until the evaluation has ended.
        statement: Where what is claimed of it is; None where no statement was asked for.
    """

    identity: EvaluationIdentity
    decision: Decision
    deltas: tuple[MetricDelta, ...]
    baseline_deltas: tuple[MetricDelta, ...]
    undefined: tuple[UndefinedMetric, ...]
    datasets: tuple[DatasetVersion, ...]
    counts: tuple[ContributionCounts, ...]
    overlapping_rows: int = 0
    notes: tuple[str, ...] = ()
    model_sha256: str = ""
    subsets: tuple[SubsetDeltas, ...] = ()
    cross_checks: tuple[CrossCheck, ...] = ()
    negative_controls: tuple[NegativeControl, ...] = ()
    decoy_tests: tuple[DecoyTest, ...] = ()
    history: BenchmarkHistory | None = None
    answer_step: float | None = None
    tracking: TrackingSummary | None = None
    statement: StatementSummary | None = None

    @property
    def delta(self) -> MetricDelta:
        """The delta of the metric that decides, against the control.

        Raises:
            KeyError: That metric is undefined here; ``undefined`` says why.
        """
        for delta in self.deltas:
            if delta.metric.name == self.decision.metric:
                return delta
        raise KeyError(self.decision.metric)
