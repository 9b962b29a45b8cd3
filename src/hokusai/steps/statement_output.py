"""What step 5 writes for others to verify: the statement, and the document for token contracts' tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.digests import sha256
from hokusai.errors import ConfigurationError, StatementError
from hokusai.provenance.claims import ClaimedSeeds
from hokusai.provenance.statement import make_statement
from hokusai.provenance.statement_files import statement_file
from hokusai.provenance.zk_output import make_zk_output, zk_output_name
from hokusai.records import DELTA_FILE, STATEMENT_FILE, StatementSummary
from hokusai.steps.decision_rule import rule_document

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from hokusai.provenance.claims import Statement, StatementOrigin
    from hokusai.provenance.signing_keys import SigningKey
    from hokusai.records import BenchmarkScores, DecisionRule, DeltaReport, EvaluationIdentity, TrainedModels
    from hokusai.steps.delta_settings import DeltaSettings

__all__ = ["StatementOutput", "StatementSource", "make_outputs", "output_paths", "read_key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementSource:
    """What a statement is made with beside the report.

    Attributes:
        origin: Returns where and with what the evaluation runs; called once everything before the statement is
            recorded.
        now: When the evaluation runs.
        key: What signs it; None for nothing.
    """

    origin: Callable[[], StatementOrigin]
    now: datetime
    key: SigningKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementOutput:
    """What was made.

    Attributes:
        files: Name of the artifact, path and content of every document.
        summary: What the report says of them.
    """

    files: tuple[tuple[str, Path, bytes], ...]
    summary: StatementSummary


def read_key(settings: DeltaSettings) -> SigningKey | None:
    """Return the key that signs statements, or None where none is named.

    Raises:
        ConfigurationError: There is a passphrase and no key.
        SigningKeyError: The key cannot be read, or not with this passphrase.
    """
    if settings.signing_key_file is None:
        if settings.signing_passphrase_file is not None:
            problem = "a passphrase, and no key that it belongs to. Name the key: delta.signing_key_file."
            raise ConfigurationError(problem, key="delta.signing_passphrase_file")
        return None
    from hokusai.provenance.signing_keys import read_passphrase, read_signing_key

    named = settings.signing_passphrase_file
    return read_signing_key(settings.signing_key_file, passphrase=None if named is None else read_passphrase(named))


def output_paths(identity: EvaluationIdentity) -> tuple[Path, Path]:
    """Return where the statement is written, and where the document for token contracts' tools.

    They stand beside ``delta.json``. Where that has another name, the statement's begins with it, so that evaluations
    that write into one folder keep apart.
    """
    delta = identity.delta_file
    name = STATEMENT_FILE if delta.name == DELTA_FILE else f"{delta.stem}.{STATEMENT_FILE}"
    return delta.with_name(name), delta.with_name(zk_output_name(identity.evaluation))


def make_outputs(
    report: DeltaReport,
    *,
    source: StatementSource,
    rule: DecisionRule,
    models: TrainedModels,
    scores: BenchmarkScores,
    features: Sequence[str],
    delta: bytes,
) -> StatementOutput:
    """Return the statement of an evaluation, and the document for token contracts' tools, as far as there can be any.

    Args:
        report: The evaluation's report.
        source: What the statement is made with beside it.
        rule: How it was decided.
        models: What was compared.
        scores: What step 4 found.
        features: The columns that the models predict from.
        delta: The bytes of ``delta.json``.
    """
    try:
        statement = make_statement(
            report,
            trainer=models.estimator,
            seeds=ClaimedSeeds(
                control=tuple(model.seed for model in models.controls),
                candidate=tuple(model.seed for model in models.candidates),
            ),
            rule_document=rule_document(rule),
            row_scores_sha256=scores.row_scores_sha256,
            delta_sha256=sha256(delta),
            origin=source.origin(),
        )
    except StatementError as error:
        # What was measured stands; what is no number cannot be signed.
        note = f"no statement: {error.problem}"
        return StatementOutput(files=(), summary=StatementSummary(file=None, notes=(note,)))
    return _outputs(report, statement, source=source, features=features)


def _outputs(
    report: DeltaReport, statement: Statement, *, source: StatementSource, features: Sequence[str]
) -> StatementOutput:
    keys = () if source.key is None else (source.key,)
    place, zk_place = output_paths(report.identity)
    files = [(STATEMENT_FILE, place, statement_file(statement, keys=keys))]
    zk_output = make_zk_output(report, statement=statement, features=features, now=source.now)
    if zk_output.document is not None:
        files.append((zk_output_name(report.identity.evaluation), zk_place, zk_output.document))
    return StatementOutput(
        files=tuple(files),
        summary=StatementSummary(
            file=place,
            claim_sha256=statement.predicate.claim_sha256,
            signers=tuple(key.public.key_id for key in keys),
            zk_output=None if zk_output.document is None else zk_place,
            notes=(zk_output.reason,) if zk_output.reason else (),
        ),
    )
