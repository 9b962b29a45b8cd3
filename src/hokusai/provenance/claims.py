"""What a statement says, as frozen values; ``docs/formats/statement.md`` describes them as JSON.

Numbers are fixed decimals. The claim holds nothing random and no clock: the same inputs give the same claim, whoever
measures it, whenever and wherever. What is true of this one evaluation alone is its record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal  # noqa: TC003  (a document is read by these annotations)
from typing import Annotated, Literal

from hokusai.provenance.typed_documents import LEFT_OUT, Sha256
from hokusai.records import Arm, DatasetContext, MetricRole, Outcome  # noqa: TC001  (likewise)

__all__ = [
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "ClaimedContributor",
    "ClaimedDataset",
    "ClaimedDecision",
    "ClaimedDelta",
    "ClaimedGuard",
    "ClaimedRule",
    "ClaimedSeeds",
    "DeltaClaim",
    "DeltaPredicate",
    "EvaluationKey",
    "IntervalMethod",
    "RecordedParameters",
    "Statement",
    "StatementOrigin",
    "StatementRecord",
    "Subject",
    "SubjectDigests",
    "UnclaimedMetric",
]

STATEMENT_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Literal["urn:hokusai:delta:v1"] = "urn:hokusai:delta:v1"
"""Names what the predicate means; a name, no address."""
IntervalMethod = Literal["influence-t", "no-discordant-row", "none"]
EvaluationKey = Annotated[str, re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)]
"""The key names folders and is searched for in stores: no path, no quote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelta:
    """One metric of the candidate against a reference.

    Attributes:
        metric: The metric's name.
        unit: What its value counts.
        higher_is_better: Which way is better.
        role: Whether it decides, is guarded, or neither.
        reference: What the candidate is compared with.
        baseline: The reference's value, mean over its fits.
        candidate: The candidate's value, mean over its fits.
        gain: Candidate minus baseline, turned towards better: exactly the difference of these two decimals.
        method: How the interval was made: ``influence-t``, ``no-discordant-row``, or ``none`` where there is none.
        confidence: Its confidence level.
        gain_lower: Its lower end.
        gain_upper: Its upper end.
        standard_error: Of the gain.
        degrees_of_freedom: Of the t quantile.
        p_value: Two-sided, of no gain.
        adjusted_p_value: The same after Holm's correction.
    """

    metric: str
    unit: str
    higher_is_better: bool
    role: MetricRole
    reference: Arm
    baseline: Decimal
    candidate: Decimal
    gain: Decimal
    method: IntervalMethod
    confidence: Decimal
    gain_lower: Decimal | None
    gain_upper: Decimal | None
    standard_error: Decimal | None
    degrees_of_freedom: Decimal | None
    p_value: Decimal | None
    adjusted_p_value: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnclaimedMetric:
    """A metric that was asked for and has no value.

    Attributes:
        metric: Its name.
        arm: For which arm.
    """

    metric: str
    arm: Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedGuard:
    """Whether a guarded metric got worse.

    Attributes:
        metric: Its name.
        margin: How much worse it might get.
        verdict: What became of it.
    """

    metric: str
    margin: Decimal
    verdict: Literal["kept", "worse", "unclear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDecision:
    """Whether the contribution clears the bar.

    Attributes:
        outcome: The decision.
        metric: The metric that decided.
        minimum_gain: The bar.
        confidence: Level of the interval that decided.
        is_exploratory: Whether nothing limits how often the benchmark is asked.
        guards: What became of the guarded metrics.
    """

    outcome: Outcome
    metric: str
    minimum_gain: Decimal
    confidence: Decimal
    is_exploratory: bool
    guards: tuple[ClaimedGuard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRule:
    """The rule that was recorded before the candidate was trained.

    Attributes:
        sha256: SHA-256 of its document.
        document: The document itself, ``decision_rule.json``, as text.
    """

    sha256: Sha256
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDataset:
    """A table of the evaluation.

    Attributes:
        name: Its name.
        context: The part it plays.
        tabhash1: TABHASH v1 digest of its content.
        rows: Its rows.
    """

    name: str
    context: DatasetContext
    tabhash1: Sha256
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedContributor:
    """One contribution, and its share of the credit.

    Attributes:
        name: The contribution's name.
        contributor: Whoever offered it, or None when nobody said.
        tabhash1: TABHASH v1 digest of its content.
        rows_offered: Its rows.
        rows_kept: Those that went into training.
        weight: Its share; all of them together are exactly 1, or 0 where no row was kept.
    """

    name: str
    contributor: str | None
    tabhash1: Sha256
    rows_offered: int
    rows_kept: int
    weight: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedSeeds:
    """The seeds of the fits that are compared.

    Attributes:
        control: Of the control's.
        candidate: Of the candidate's.
    """

    control: tuple[int, ...]
    candidate: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaClaim:
    """What contributed data is worth to a model: all that follows from the inputs.

    Attributes:
        trainer: What was trained.
        seeds: With which seeds.
        datasets: On what.
        model_sha256: SHA-256 of the candidate's model file; None when none was kept.
        row_scores_sha256: SHA-256 of ``row_scores.parquet``.
        deltas: Every metric against the control, then against a given baseline model.
        undefined: Metrics without a value.
        decision: The decision.
        rule: The rule that it follows from.
        answer_step: What every number was rounded to; None where none was.
        weight_method: How the contributors' weights were found.
        contributors: Who contributed how much.
    """

    trainer: str
    seeds: ClaimedSeeds
    datasets: tuple[ClaimedDataset, ...]
    model_sha256: Sha256 | None
    row_scores_sha256: Sha256
    deltas: tuple[ClaimedDelta, ...]
    undefined: tuple[UnclaimedMetric, ...]
    decision: ClaimedDecision
    rule: ClaimedRule
    answer_step: Decimal | None
    weight_method: Literal["share of kept rows"]
    contributors: tuple[ClaimedContributor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedParameters:
    """The parameters that a step was recorded with, of which MLflow alone could be edited together with its own digest.

    Attributes:
        step: The step; None for the run of the whole evaluation.
        sha256: SHA-256 of its ``parameters.json``.
    """

    step: str | None
    sha256: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementOrigin:
    """Where and with what the evaluation ran, as far as it is known when the statement is made.

    Attributes:
        hokusai_version: Version of this package.
        run_id: MLflow's id of the parent run; None while it has not been shipped.
        code_commit: Commit of the code; None where there is no repository.
        code_is_dirty: Whether it had changes that were not committed; None where there is no repository.
        environment_sha256: SHA-256 of the recorded environment; None where none was recorded.
        journal_sha256: SHA-256 of the journal's last line before the statement; None where there is no journal.
        parameters: The parameters of the evaluation and of every step; empty where nothing is recorded.
    """

    hokusai_version: str
    run_id: str | None = None
    code_commit: str | None = None
    code_is_dirty: bool | None = None
    environment_sha256: Sha256 | None = None
    journal_sha256: Sha256 | None = None
    parameters: tuple[RecordedParameters, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRecord:
    """The one evaluation in which the claim was measured.

    Attributes:
        project: The project's name.
        evaluation: The evaluation's key.
        decision_number: Which of the benchmark's declared decisions it was; None where none were declared.
        origin: Where and with what it ran.
    """

    project: str
    evaluation: EvaluationKey
    decision_number: int | None
    origin: StatementOrigin


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaPredicate:
    """What is said of the subjects.

    Attributes:
        claim: What follows from the inputs.
        claim_sha256: SHA-256 of the claim's canonical JSON: what identifies the claim.
        record: Where it was measured.
    """

    claim: DeltaClaim
    claim_sha256: Sha256
    record: StatementRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectDigests:
    """The digests of a subject; at least one is there.

    Attributes:
        sha256: SHA-256 of a file's bytes.
        tabhash1: TABHASH v1 digest of a table's content, 64 lower-case hexadecimal digits.
    """

    sha256: Sha256 | None = field(default=None, metadata=LEFT_OUT)
    tabhash1: Sha256 | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Something that a statement is about, named by its digests.

    Attributes:
        name: ``model``, ``row_scores.parquet``, ``delta.json``, or ``datasets/CONTEXT/NAME``.
        digest: Its digests.
    """

    name: str
    digest: SubjectDigests


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """An in-toto Statement v1 about the delta of one evaluation.

    Attributes:
        type_: The kind of document.
        subject: What it is about.
        predicate_type: What the predicate means.
        predicate: What is said.
    """

    type_: Literal["https://in-toto.io/Statement/v1"] = field(default=STATEMENT_TYPE, metadata={"name": "_type"})
    subject: tuple[Subject, ...]
    predicate_type: Literal["urn:hokusai:delta:v1"] = field(default=PREDICATE_TYPE, metadata={"name": "predicateType"})
    predicate: DeltaPredicate
