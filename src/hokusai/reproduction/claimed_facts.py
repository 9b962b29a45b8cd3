"""What the recorded statements of two evaluations claim, as far as nothing else that is compared says it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from hokusai.digests import sha256
from hokusai.provenance.statement import read_statement
from hokusai.records import STATEMENT_FILE
from hokusai.verification.signatures import statement_payload

if TYPE_CHECKING:
    from hokusai.digests import JsonValue
    from hokusai.reproduction.evaluation_facts import EvaluationFacts

__all__ = ["claimed_facts"]


def claimed_facts(first: EvaluationFacts, second: EvaluationFacts) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
    """Return the claims of two evaluations' statements, whoever has signed them, with numbers as floats.

    The digest of the model, and that of the row scores, is left out where each claims that of its own evaluation's
    file: the files are compared by themselves, and not by their bytes alone.

    Args:
        first: An evaluation with a statement.
        second: Another one with a statement.

    Raises:
        StatementError: What was recorded is no sound statement of its evaluation.
    """
    claims = _claim(first), _claim(second)
    owns = _own_digests(first), _own_digests(second)
    for name in owns[0]:
        if all(claim[name] == own[name] for claim, own in zip(claims, owns, strict=True)):
            for claim in claims:
                del claim[name]
    return claims


def _claim(facts: EvaluationFacts) -> dict[str, JsonValue]:
    payload = statement_payload(facts.statement or b"", source=STATEMENT_FILE)
    statement = read_statement(payload, evaluation=facts.key, source=STATEMENT_FILE)
    claim: dict[str, JsonValue] = json.loads(json.dumps(dataclasses.asdict(statement.predicate.claim), default=float))
    return claim


def _own_digests(facts: EvaluationFacts) -> dict[str, str | None]:
    return {
        "model_sha256": facts.models.get("candidate"),
        "row_scores_sha256": None if facts.row_scores is None else sha256(facts.row_scores),
    }
