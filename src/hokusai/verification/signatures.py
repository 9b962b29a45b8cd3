"""Who has signed a statement, and what it says: read whether or not the signature holds, so that all faults show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.errors import StatementError
from hokusai.provenance.envelopes import open_envelope, read_envelope
from hokusai.provenance.key_rotation import trusted_keys
from hokusai.provenance.statement import read_statement
from hokusai.provenance.statement_files import STATEMENT_PAYLOAD_TYPE
from hokusai.provenance.strict_json import read_json
from hokusai.verification.checks import failed, not_done, ok

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hokusai.provenance.claims import Statement
    from hokusai.provenance.signing_keys import VerifyingKey
    from hokusai.verification.checks import StatementCheck

__all__ = ["ReadStatement", "read_signed_statement", "statement_payload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadStatement:
    """What a file turned out to be.

    Attributes:
        statement: The statement; None where it cannot be read.
        payload: Its canonical bytes; empty likewise.
        signers: Ids of the trusted keys that have signed it.
        checks: Signature and format.
    """

    statement: Statement | None
    payload: bytes
    signers: tuple[str, ...]
    checks: tuple[StatementCheck, ...]


def read_signed_statement(
    content: bytes, *, keys: Sequence[VerifyingKey], endorsements: Sequence[bytes], source: str
) -> ReadStatement:
    """Return the statement of a file with the checks of its signature and its format.

    Args:
        content: The file's bytes: a plain statement, or an envelope around one.
        keys: Keys that are trusted.
        endorsements: Endorsements of further keys, the oldest first.
        source: What messages call the file.
    """
    try:
        payload = statement_payload(content, source=source)
    except StatementError as error:
        unread = not_done("signature", "unreadable", "the file cannot be read, so nobody can have signed it.")
        return ReadStatement(statement=None, payload=b"", signers=(), checks=(unread, _refused(error)))
    is_plain = payload is content
    signers, signature = _signature(content, is_plain=is_plain, keys=keys, endorsements=endorsements, source=source)
    try:
        statement = read_statement(payload, source=source)
    except StatementError as error:
        return ReadStatement(statement=None, payload=b"", signers=signers, checks=(signature, _refused(error)))
    sound = ok("format", "an in-toto statement about a delta, in canonical form; its digests belong together.")
    return ReadStatement(statement=statement, payload=payload, signers=signers, checks=(signature, sound))


def statement_payload(content: bytes, *, source: str) -> bytes:
    """Return the bytes that a statement's file says, whoever has signed it: the file itself where it is a plain one.

    Raises:
        StatementError: It is neither JSON with a type nor an envelope around a statement.
    """
    value = read_json(content, source=source)
    if isinstance(value, dict) and "_type" in value:
        return content
    envelope = read_envelope(content, source=source)
    if envelope.payload_type != STATEMENT_PAYLOAD_TYPE:
        problem = f"payloadType is {envelope.payload_type[:80]!r}, expected {STATEMENT_PAYLOAD_TYPE!r}."
        raise StatementError(source, reason="payload type", problem=problem)
    return envelope.payload


def _signature(
    content: bytes, *, is_plain: bool, keys: Sequence[VerifyingKey], endorsements: Sequence[bytes], source: str
) -> tuple[tuple[str, ...], StatementCheck]:
    if is_plain and not keys:
        return (), not_done("signature", "not signed", "nobody has signed it: anybody could have written it.")
    if is_plain:
        problem = "nobody has signed it, and one that a given key has signed was asked for."
        return (), failed("signature", "not signed", problem)
    if not keys:
        names = ", ".join(each.key_id or "a key without a name" for each in read_envelope(content).signatures)
        problem = f"it names as its signers: {names}. Whether they are, a public key would tell (--key)."
        return (), not_done("signature", "no key given", problem)
    trusted = tuple(keys)
    try:
        for number, endorsement in enumerate(endorsements, 1):
            trusted = trusted_keys(trusted, [endorsement], source=f"endorsement {number}")
    except StatementError as error:
        problem = f"{error} Give the endorsements whole and the oldest first, each by a key trusted before it."
        return (), failed("signature", "endorsement", problem)
    try:
        opened = open_envelope(content, trusted, payload_type=STATEMENT_PAYLOAD_TYPE, source=source)
    except StatementError as error:
        return (), failed("signature", error.reason, error.problem)
    return opened.signers, ok("signature", f"signed by {', '.join(opened.signers)}.")


def _refused(error: StatementError) -> StatementCheck:
    return failed("format", error.reason, error.problem)
