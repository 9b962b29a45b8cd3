"""A new key in the place of an old one, endorsed by it, so that who trusts the old one can trust the new one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from hokusai.digests import canonical_json
from hokusai.errors import SigningKeyError, StatementError
from hokusai.provenance.envelopes import open_envelope, seal
from hokusai.provenance.signing_keys import create_files, key_files, make_key, parse_verifying_key
from hokusai.provenance.strict_json import read_json, require_canonical
from hokusai.provenance.typed_documents import Sha256, read_record, record_document

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hokusai.provenance.signing_keys import SigningKey, VerifyingKey

__all__ = [
    "ENDORSEMENT_PAYLOAD_TYPE",
    "KeyEndorsement",
    "endorse",
    "endorsed_key",
    "endorsement_path",
    "rotate",
    "trusted_keys",
]

ENDORSEMENT_PAYLOAD_TYPE = "application/vnd.hokusai.key-endorsement+json"
_FORMAT: Literal["hokusai-key-endorsement/1"] = "hokusai-key-endorsement/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEndorsement:
    """What an old key says of a new one.

    Attributes:
        format: The kind of document.
        old_key_id: The key that signs it.
        new_key_id: The key that takes its place.
        new_public_key: The new key's public half, as a PEM text.
    """

    format: Literal["hokusai-key-endorsement/1"] = field(default=_FORMAT)
    old_key_id: Sha256
    new_key_id: Sha256
    new_public_key: str


def rotate(old: SigningKey, path: Path, *, passphrase: str | None = None) -> SigningKey:
    """Make a new key that an old one endorses, and the three files: private, public, and the endorsement.

    Args:
        old: The key that is in use.
        path: The new private key's file; the others lie beside it. None of them may be there.
        passphrase: What protects the new private file; None for nothing.

    Raises:
        SigningKeyError: A file is there already or cannot be written, or the passphrase is empty. Nothing is left.
    """
    new = make_key()
    files = key_files(new, path, passphrase=passphrase)
    create_files({**files, endorsement_path(path): (endorse(new.public, by=old), 0o644)})
    return new


def endorsement_path(path: Path) -> Path:
    """Return where the endorsement of the key in a file lies."""
    return path.with_name(f"{path.name}.endorsement.json")


def endorse(new: VerifyingKey, *, by: SigningKey) -> bytes:
    """Return the endorsement of a key: an envelope, signed by the old one."""
    said = KeyEndorsement(old_key_id=by.public.key_id, new_key_id=new.key_id, new_public_key=new.pem)
    return seal(canonical_json(record_document(said)), [by], payload_type=ENDORSEMENT_PAYLOAD_TYPE)


def endorsed_key(content: bytes, trusted: Sequence[VerifyingKey], *, source: str = "endorsement") -> VerifyingKey:
    """Return the key that a trusted one endorses.

    Args:
        content: The endorsement.
        trusted: Keys that are trusted.
        source: What messages call it.

    Raises:
        StatementError: The reasons of :func:`open_envelope`, :func:`read_json` and :func:`read_record`;
            ``endorsement``: it is signed by another key than it says, or its key is not the one that it names.
    """
    opened = open_envelope(content, trusted, payload_type=ENDORSEMENT_PAYLOAD_TYPE, source=source)
    value = read_json(opened.payload, source=source)
    require_canonical(opened.payload, value, source=source)
    said = read_record(KeyEndorsement, value, source=source)
    try:
        key = parse_verifying_key(said.new_public_key.encode(), source=source)
    except SigningKeyError as error:
        raise StatementError(source, reason="endorsement", problem=str(error)) from error
    if said.old_key_id not in opened.signers or key.key_id != said.new_key_id or key.pem != said.new_public_key:
        problem = "who has signed it, or the key in it, is not what it says."
        raise StatementError(source, reason="endorsement", problem=problem)
    return key


def trusted_keys(
    keys: Sequence[VerifyingKey], endorsements: Sequence[bytes], *, source: str = "endorsement"
) -> tuple[VerifyingKey, ...]:
    """Return keys that are trusted, and those that they endorse, and so on.

    Args:
        keys: Keys that are trusted.
        endorsements: Endorsements, the oldest first: each by one of the keys, or by one that was endorsed before it.
        source: What messages call them.

    Raises:
        StatementError: As :func:`endorsed_key`.
    """
    found = tuple(keys)
    for content in endorsements:
        found = (*found, endorsed_key(content, found, source=source))
    return found
