"""Statements as files: in an envelope where they are signed, as they are where nobody signs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.errors import StatementError
from hokusai.provenance.envelopes import open_envelope, seal
from hokusai.provenance.statement import read_statement, statement_bytes
from hokusai.provenance.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hokusai.provenance.claims import Statement
    from hokusai.provenance.signing_keys import SigningKey, VerifyingKey

__all__ = ["STATEMENT_PAYLOAD_TYPE", "OpenedStatement", "open_statement", "statement_file"]

STATEMENT_PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedStatement:
    """A statement and who has signed it.

    Attributes:
        statement: The statement.
        signers: Ids of the given keys that have signed it; empty when it is not signed.
    """

    statement: Statement
    signers: tuple[str, ...]


def statement_file(statement: Statement, *, keys: Sequence[SigningKey] = ()) -> bytes:
    """Return a statement's file: an envelope signed by every key, or the plain statement where there is no key."""
    content = statement_bytes(statement)
    return seal(content, keys, payload_type=STATEMENT_PAYLOAD_TYPE) if keys else content


def open_statement(
    content: bytes,
    *,
    keys: Collection[VerifyingKey] = (),
    evaluation: str | None = None,
    source: str = "statement",
) -> OpenedStatement:
    """Return the statement of a file, with whoever of the given keys has signed it.

    Args:
        content: The file's bytes.
        keys: Keys that are trusted; where there are any, one of them must have signed it.
        evaluation: The key of the evaluation that it has to be about; None where any will do.
        source: What messages call it.

    Raises:
        StatementError: The reasons of :func:`open_envelope` and :func:`read_statement`; ``not signed``: it is no
            envelope, and keys were given.
    """
    value = read_json(content, source=source)
    if isinstance(value, dict) and "_type" in value:
        if keys:
            problem = "it is a plain statement, and one that a given key has signed was asked for."
            raise StatementError(source, reason="not signed", problem=problem)
        return OpenedStatement(statement=read_statement(content, evaluation=evaluation, source=source), signers=())
    opened = open_envelope(content, keys, payload_type=STATEMENT_PAYLOAD_TYPE, source=source)
    statement = read_statement(opened.payload, evaluation=evaluation, source=source)
    return OpenedStatement(statement=statement, signers=opened.signers)
