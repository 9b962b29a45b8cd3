"""A statement verified: what it says, what follows from the files at hand, and what MLflow holds now."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hokusai.digests import sha256
from hokusai.provenance.zk_output import zk_output_name
from hokusai.records import DELTA_FILE, ROW_SCORES_FILE, STATEMENT_FILE
from hokusai.tracking.journal import JOURNAL_FILE, staged_path
from hokusai.verification.checks import Verification, failed, not_done, ok
from hokusai.verification.claim_checks import check_claim
from hokusai.verification.file_checks import check_delta, check_file, check_journal, find_subject, given_bytes
from hokusai.verification.signatures import read_signed_statement
from hokusai.verification.zk_checks import check_zk_output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hokusai.provenance.claims import Statement
    from hokusai.provenance.signing_keys import VerifyingKey
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.verification.checks import StatementCheck
    from hokusai.verification.evaluation_runs import EvaluationRuns
    from hokusai.verification.signatures import ReadStatement

__all__ = ["Evidence", "verify_statement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a statement is compared with; what is not given is looked for beside it, and then in the store.

    Attributes:
        keys: Public keys that are trusted.
        endorsements: Endorsements of further keys, the oldest first.
        evaluation: Key of the evaluation that it has to be about; empty where any will do.
        delta: The report, ``delta.json``.
        row_scores: The row scores, ``row_scores.parquet``.
        files: Other files, by the name of the table, or of any subject.
        store: The store to compare the record in; None for no store.
    """

    keys: Sequence[VerifyingKey] = ()
    endorsements: Sequence[bytes] = ()
    evaluation: str = ""
    delta: Path | None = None
    row_scores: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    store: TrackingSettings | None = None


def verify_statement(path: Path, evidence: Evidence | None = None) -> Verification:
    """Return whether what a statement claims still holds, check by check.

    Everything that needs no store is checked without one. Nothing is written, and no code of the evaluation is run.

    Args:
        path: The statement's file.
        evidence: What it is compared with.

    Raises:
        ConfigurationError: A file that was named is not there, or no subject has a name that was given.
        TrackingError: There is no such store.
        TrackingServerError: It does not answer.
    """
    evidence = evidence or Evidence()
    read = read_signed_statement(
        given_bytes(path), keys=evidence.keys, endorsements=evidence.endorsements, source=str(path)
    )
    if read.statement is None:
        return Verification(source=str(path), evaluation="", claim_sha256="", signers=read.signers, checks=read.checks)
    checks = (*read.checks, *_checks(path, read, read.statement, evidence))
    return Verification(
        source=str(path),
        evaluation=read.statement.predicate.record.evaluation,
        claim_sha256=read.statement.predicate.claim_sha256,
        signers=read.signers,
        checks=checks,
    )


def _checks(path: Path, read: ReadStatement, statement: Statement, evidence: Evidence) -> Iterator[StatementCheck]:
    record = statement.predicate.record
    if evidence.evaluation:
        yield _check_evaluation(record.evaluation, expected=evidence.evaluation)
    yield check_claim(statement.predicate.claim, number=record.decision_number)
    subjects = [(find_subject(statement, name), file) for name, file in evidence.files.items()]
    recorded, found = _find(record.evaluation, evidence)
    yield from _check_report(path, statement, evidence, recorded)
    yield from _check_scores(path, statement, evidence, recorded)
    for subject, file in subjects:
        yield check_file(subject, file)
    journals = _journals(path, record.evaluation, evidence)
    if journals:
        yield check_journal(statement, read.payload, journals)
    yield found
    if recorded is not None and evidence.store is not None:
        from hokusai.verification.record_checks import check_record

        journal = journals[0] if journals else None
        yield from check_record(statement, read.payload, recorded, settings=evidence.store, journal=journal)


def _journals(path: Path, evaluation: str, evidence: Evidence) -> list[Path]:
    """Return the folders that hold the journal: the verifier's own first, then the one that came with the statement."""
    own = [] if evidence.store is None else [evidence.store.journal / evaluation]
    found = [folder for folder in (*own, path.parent) if (folder / JOURNAL_FILE).is_file()]
    return list({folder.resolve(): folder for folder in found}.values())


def _check_evaluation(found: str, *, expected: str) -> StatementCheck:
    if found == expected:
        return ok("evaluation", f"it is about the evaluation {found}.")
    return failed("evaluation", "another evaluation", f"it is about the evaluation {found}, expected {expected}.")


def _find(evaluation: str, evidence: Evidence) -> tuple[EvaluationRuns | None, StatementCheck]:
    if evidence.store is None:
        problem = "no store was named (--tracking-uri), so nothing tells whether the record was edited."
        return None, not_done("run", "no store", problem)
    from hokusai.verification.evaluation_runs import find_evaluation

    return find_evaluation(evidence.store, evaluation)


def _check_report(
    path: Path, statement: Statement, evidence: Evidence, recorded: EvaluationRuns | None
) -> Iterator[StatementCheck]:
    """Yield the checks of the report, and of the document for token contracts' tools, which follows from it."""
    source, content = _found(evidence.delta, path.with_name(_delta_name(path)), DELTA_FILE, recorded)
    if content is None:
        yield not_done("delta.json", "not at hand", "no report was given (--delta), and none lies beside.")
    else:
        yield (check := check_delta(statement, content, source=source))
        content = content if check.state == "ok" else None
    name = zk_output_name(statement.predicate.record.evaluation)
    source, document = _found(None, path.with_name(name), name, recorded)
    if document is not None and content is None:
        yield not_done("zk output", "no report", f"{source} follows from the claimed report, which is not at hand.")
    elif document is not None and content is not None:
        yield check_zk_output(statement, json.loads(content), document, source=source)


def _found(given: Path | None, beside: Path, name: str, recorded: EvaluationRuns | None) -> tuple[str, bytes | None]:
    """Return what to call a document, and its bytes: the given one, the one beside the statement, or the run's."""
    file = given or (beside if beside.is_file() else None)
    if file is not None:
        return str(file), given_bytes(file)
    return f"{name} of the run", None if recorded is None else recorded.artifact("compare_and_output_delta", name)


def _delta_name(path: Path) -> str:
    """Return what the report beside a statement is called: beside ``NAME.statement.json`` lies ``NAME.json``."""
    name = path.name.removesuffix(f".{STATEMENT_FILE}")
    return DELTA_FILE if name == path.name else f"{name}.json"


def _check_scores(
    path: Path, statement: Statement, evidence: Evidence, recorded: EvaluationRuns | None
) -> tuple[StatementCheck, ...]:
    claimed = statement.predicate.claim.row_scores_sha256
    source, content = str(evidence.row_scores or ""), None
    if evidence.row_scores is not None:
        content = given_bytes(evidence.row_scores)
    else:
        for beside in (staged_path(path.parent, claimed), path.with_name(ROW_SCORES_FILE)):
            if content is None and beside.is_file():
                source, content = str(beside), given_bytes(beside)
    if content is None and recorded is not None:
        source, content = f"{ROW_SCORES_FILE} of the run", recorded.artifact("evaluate_on_benchmark", ROW_SCORES_FILE)
    if content is None:
        why = "no row scores were given (--row-scores), and none lie beside."
        return tuple(not_done(name, "not at hand", why) for name in ("row scores", "deltas", "decision"))
    if sha256(content) != claimed:
        problem = f"{source} has the SHA-256 {sha256(content)}, and {claimed} is claimed: other row scores."
        others = tuple(
            not_done(name, "another file", "the claimed row scores are not at hand.") for name in ("deltas", "decision")
        )
        return (failed("row scores", "another file", problem), *others)
    from hokusai.verification.score_checks import check_scores

    sound = ok("row scores", f"{source} has the bytes that are claimed.")
    return (sound, *check_scores(statement, content, source=source))
