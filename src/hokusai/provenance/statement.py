"""The statement of an evaluation: an in-toto Statement v1, made from the report, written in one way and read strictly.

Source: in-toto Attestation Framework, Statement layer, version 1 (spec/v1/statement.md, resource_descriptor.md and
digest_set.md of in-toto/attestation). Bytes are canonical JSON (RFC 8785).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hokusai.digests import canonical_json, sha256
from hokusai.errors import StatementError
from hokusai.provenance.claims import (
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    ClaimedContributor,
    ClaimedDataset,
    ClaimedDecision,
    ClaimedDelta,
    ClaimedGuard,
    ClaimedRule,
    DeltaClaim,
    DeltaPredicate,
    Statement,
    StatementRecord,
    Subject,
    SubjectDigests,
    UnclaimedMetric,
)
from hokusai.provenance.contributor_weights import row_shares
from hokusai.provenance.decimals import fixed_decimal, fixed_difference
from hokusai.provenance.merkle import merkle_root
from hokusai.provenance.strict_json import read_json, require_canonical
from hokusai.provenance.typed_documents import read_record, record_document
from hokusai.records import DELTA_FILE, ROW_SCORES_FILE

if TYPE_CHECKING:
    from decimal import Decimal

    from hokusai.digests import JsonValue
    from hokusai.errors import StatementReason
    from hokusai.provenance.claims import ClaimedSeeds, IntervalMethod, StatementOrigin
    from hokusai.records import Decision, DeltaReport, MetricDelta

__all__ = [
    "claim_sha256",
    "claimed_delta",
    "make_statement",
    "read_statement",
    "statement_bytes",
    "subject_leaves",
    "subject_root",
]

_MODEL = "model"


def make_statement(
    report: DeltaReport,
    *,
    trainer: str,
    seeds: ClaimedSeeds,
    rule_document: bytes,
    row_scores_sha256: str,
    delta_sha256: str,
    origin: StatementOrigin,
) -> Statement:
    """Return what is claimed of an evaluation.

    Everything but the digests is taken from the report, so that nothing is told of a sealed benchmark that the report
    does not tell.

    Args:
        report: The evaluation's report.
        trainer: The trainer's name.
        seeds: The seeds of the fits that are compared.
        rule_document: The bytes of ``decision_rule.json``.
        row_scores_sha256: SHA-256 of ``row_scores.parquet``.
        delta_sha256: SHA-256 of ``delta.json``.
        origin: Where and with what it ran.

    Raises:
        StatementError: ``not a number``: a metric's value is NaN or infinite.
        ValueError: The rule is not the one that the decision names, or two datasets have one name and context.
    """
    if sha256(rule_document) != report.decision.rule_sha256:
        msg = "the rule's document is not the one that the decision names"
        raise ValueError(msg)
    claim = DeltaClaim(
        trainer=trainer,
        seeds=seeds,
        datasets=tuple(
            ClaimedDataset(name=each.name, context=each.context, tabhash1=each.digest, rows=each.rows)
            for each in report.datasets
        ),
        model_sha256=report.model_sha256 or None,
        row_scores_sha256=row_scores_sha256,
        deltas=tuple(map(claimed_delta, (*report.deltas, *report.baseline_deltas))),
        undefined=tuple(UnclaimedMetric(metric=each.name, arm=each.arm) for each in report.undefined),
        decision=_claimed_decision(report.decision),
        rule=ClaimedRule(sha256=report.decision.rule_sha256, document=rule_document.decode()),
        answer_step=_uncertainty(report.answer_step),
        weight_method="share of kept rows",
        contributors=_contributors(report),
    )
    statement = Statement(
        subject=_subjects(report, row_scores_sha256=row_scores_sha256, delta_sha256=delta_sha256),
        predicate=DeltaPredicate(
            claim=claim,
            claim_sha256=claim_sha256(claim),
            record=StatementRecord(
                project=report.identity.project,
                evaluation=report.identity.evaluation,
                decision_number=report.decision.number,
                origin=origin,
            ),
        ),
    )
    subject_root(statement)  # refuses two subjects of one name
    return statement


def statement_bytes(statement: Statement) -> bytes:
    """Return a statement's canonical JSON: what is signed, and what an unsigned statement's file holds."""
    return canonical_json(record_document(statement))


def claim_sha256(claim: DeltaClaim) -> str:
    """Return what identifies a claim: the SHA-256 of its canonical JSON."""
    return sha256(canonical_json(record_document(claim)))


def subject_leaves(statement: Statement) -> tuple[tuple[str, str], ...]:
    """Return pairs of ``ALGORITHM/NAME`` and digest, one for every digest of every subject, as leaves of a tree."""
    return tuple(
        (f"{algorithm}/{subject.name}", digest)
        for subject in statement.subject
        for algorithm, digest in (("sha256", subject.digest.sha256), ("tabhash1", subject.digest.tabhash1))
        if digest is not None
    )


def subject_root(statement: Statement) -> str:
    """Return the Merkle root over all digests of all subjects.

    Raises:
        ValueError: Two subjects have one name and algorithm, or there is no digest at all.
    """
    return merkle_root(subject_leaves(statement))


def read_statement(content: bytes, *, evaluation: str | None = None, source: str = "statement") -> Statement:
    """Return the statement that some bytes are, if they are the canonical bytes of a sound one.

    Args:
        content: The bytes; of a signed statement, the payload of its envelope.
        evaluation: The key of the evaluation that it has to be about; None where any will do.
        source: What messages call it.

    Raises:
        StatementError: It is none: the reasons of :func:`read_json`, :func:`require_canonical` and
            :func:`read_record`; ``statement type`` or ``predicate type``: it is another kind of document;
            ``subjects``, ``claim digest`` or ``rule digest``: its parts do not belong together; ``another evaluation``.
    """
    value = read_json(content, source=source)
    _require_kind(value, source=source)
    require_canonical(content, value, source=source)
    statement = read_record(Statement, value, source=source)
    _require_coherence(statement, source=source)
    found = statement.predicate.record.evaluation
    if evaluation is not None and found != evaluation:
        problem = f"it is about the evaluation {found!r}, expected {evaluation!r}."
        raise StatementError(source, reason="another evaluation", problem=problem)
    return statement


def _require_kind(value: JsonValue, *, source: str) -> None:
    kinds: tuple[tuple[str, StatementReason, str], ...] = (
        ("_type", "statement type", STATEMENT_TYPE),
        ("predicateType", "predicate type", PREDICATE_TYPE),
    )
    for name, reason, expected in kinds:
        found = value.get(name, expected) if isinstance(value, dict) else expected
        if isinstance(found, str) and found != expected:
            raise StatementError(source, reason=reason, problem=f"{name} is {found[:80]!r}, expected {expected!r}.")


def _require_coherence(statement: Statement, *, source: str) -> None:
    """Refuse a statement of which one part is not what another part says that it is."""
    predicate = statement.predicate
    if claim_sha256(predicate.claim) != predicate.claim_sha256:
        problem = f"claim_sha256 is {predicate.claim_sha256}, and the claim's is {claim_sha256(predicate.claim)}."
        raise StatementError(source, reason="claim digest", problem=problem)
    rule = predicate.claim.rule
    if sha256(rule.document.encode()) != rule.sha256:
        problem = f"the rule's sha256 is {rule.sha256}, and its document's is {sha256(rule.document.encode())}."
        raise StatementError(source, reason="rule digest", problem=problem)
    leaves = dict(subject_leaves(statement))
    names = [subject.name for subject in statement.subject]
    expected = _claimed_leaves(predicate.claim)
    absent = sorted(path for path, digest in expected.items() if leaves.get(path) != digest)
    repeated = sorted(name for name in set(names) if names.count(name) > 1)
    strange = sorted(set(names) - {path.partition("/")[2] for path in expected} - {DELTA_FILE})
    if absent or repeated or strange or f"sha256/{DELTA_FILE}" not in leaves:
        first = next(iter((*absent, *repeated, *strange)), DELTA_FILE)
        problem = f"they are not exactly what the claim names, each once and with its digest; see {first!r}."
        raise StatementError(source, reason="subjects", problem=problem)


def _claimed_leaves(claim: DeltaClaim) -> dict[str, str]:
    leaves = {f"sha256/{ROW_SCORES_FILE}": claim.row_scores_sha256}
    leaves |= {f"tabhash1/{_dataset_name(each.context, each.name)}": each.tabhash1 for each in claim.datasets}
    return leaves if claim.model_sha256 is None else {**leaves, f"sha256/{_MODEL}": claim.model_sha256}


def _dataset_name(context: str, name: str) -> str:
    return f"datasets/{context}/{name}"


def _subjects(report: DeltaReport, *, row_scores_sha256: str, delta_sha256: str) -> tuple[Subject, ...]:
    files = {_MODEL: report.model_sha256, ROW_SCORES_FILE: row_scores_sha256, DELTA_FILE: delta_sha256}
    return (
        *(Subject(name=name, digest=SubjectDigests(sha256=digest)) for name, digest in files.items() if digest),
        *(
            Subject(
                name=_dataset_name(each.context, each.name),
                digest=SubjectDigests(sha256=each.file_sha256, tabhash1=each.digest),
            )
            for each in report.datasets
        ),
    )


def claimed_delta(delta: MetricDelta) -> ClaimedDelta:
    """Return a delta as it is claimed.

    Raises:
        StatementError: ``not a number``: a value is NaN or infinite.
    """
    name, higher_is_better = delta.metric.name, delta.metric.higher_is_better
    baseline, candidate = _value(delta.baseline, metric=name), _value(delta.candidate, metric=name)
    lower, upper = _uncertainty(delta.gain_lower), _uncertainty(delta.gain_upper)
    return ClaimedDelta(
        metric=name,
        unit=delta.metric.unit,
        higher_is_better=higher_is_better,
        role=delta.role,
        reference=delta.reference,
        baseline=baseline,
        candidate=candidate,
        gain=fixed_difference(candidate, baseline) if higher_is_better else fixed_difference(baseline, candidate),
        method=_method(delta),
        confidence=fixed_decimal(delta.confidence),
        gain_lower=lower,
        gain_upper=upper,
        standard_error=_uncertainty(delta.standard_error),
        degrees_of_freedom=_uncertainty(delta.degrees_of_freedom),
        p_value=_uncertainty(delta.p_value),
        adjusted_p_value=_uncertainty(delta.adjusted_p_value),
    )


def _method(delta: MetricDelta) -> IntervalMethod:
    if delta.gain_lower is None or delta.gain_upper is None:
        return "none"
    return "no-discordant-row" if delta.standard_error is None else "influence-t"


def _claimed_decision(decision: Decision) -> ClaimedDecision:
    return ClaimedDecision(
        outcome=decision.outcome,
        metric=decision.metric,
        minimum_gain=fixed_decimal(decision.minimum_gain),
        confidence=fixed_decimal(decision.confidence),
        is_exploratory=decision.is_exploratory,
        guards=tuple(
            ClaimedGuard(metric=each.metric, margin=fixed_decimal(each.margin), verdict=each.verdict)
            for each in decision.guards
        ),
    )


def _contributors(report: DeltaReport) -> tuple[ClaimedContributor, ...]:
    versions = [each for each in report.datasets if each.context == "contribution"]
    counts = {count.name: count for count in report.counts[1:]}  # the base comes first
    kept = [counts[version.name].kept for version in versions]
    return tuple(
        ClaimedContributor(
            name=version.name,
            contributor=version.contributor or None,
            tabhash1=version.digest,
            rows_offered=counts[version.name].offered,
            rows_kept=rows,
            weight=weight,
        )
        for version, rows, weight in zip(versions, kept, row_shares(kept), strict=True)
    )


def _value(value: float, *, metric: str) -> Decimal:
    """Return a metric's value; one that is no number must not be signed."""
    if not math.isfinite(value):
        problem = f"the value of {metric!r} is {value}. Leave the metric out, or mend it."
        raise StatementError("statement", reason="not a number", problem=problem)
    return fixed_decimal(value)


def _uncertainty(value: float | None) -> Decimal | None:
    """Return what may not exist; what is not finite does not, as in ``delta.json``."""
    return fixed_decimal(value) if value is not None and math.isfinite(value) else None
