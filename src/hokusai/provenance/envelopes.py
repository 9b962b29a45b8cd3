"""Signed bytes: DSSE envelopes, version 1, with Ed25519 signatures and nothing to choose.

Source: Dead Simple Signing Envelope, protocol and envelope of secure-systems-lab/dsse, version 1.0. What is signed is
``DSSEv1 LENGTH TYPE LENGTH PAYLOAD``: the payload's type and bytes, so that a signature over one kind of document is
none over another. An envelope names no algorithm: the key says which one it is for. A key id is a hint alone; whose a
signature is, the key shows.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.digests import canonical_json
from hokusai.errors import StatementError
from hokusai.provenance.signing_keys import SIGNATURE_BYTES
from hokusai.provenance.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hokusai.digests import JsonValue
    from hokusai.provenance.signing_keys import SigningKey, VerifyingKey

__all__ = ["Envelope", "EnvelopeSignature", "OpenedEnvelope", "open_envelope", "read_envelope", "seal"]

_FIELDS = ("payload", "payloadType", "signatures")
_SIGNATURE_FIELDS = ("keyid", "sig")
_ALGORITHM_FIELDS = {"alg", "algorithm", "keytype", "method", "scheme"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeSignature:
    """A signature as an envelope brings it.

    Attributes:
        key_id: The key that it says it is by; empty where it says nothing.
        signature: Its bytes.
    """

    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An envelope of which nothing has been verified.

    Attributes:
        payload: The bytes inside.
        payload_type: What they are said to be.
        signatures: The signatures, at least one.
    """

    payload: bytes
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]

    @property
    def signed_bytes(self) -> bytes:
        """What the signatures are over: DSSE's pre-authentication encoding."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedEnvelope:
    """What was inside of an envelope, and who has signed it.

    Attributes:
        payload: The bytes.
        signers: Ids of the given keys that have signed it, at least one, in the envelope's order.
    """

    payload: bytes
    signers: tuple[str, ...]


def seal(payload: bytes, keys: Sequence[SigningKey], *, payload_type: str) -> bytes:
    """Return an envelope around some bytes, signed by every key.

    Args:
        payload: The bytes.
        keys: The keys, at least one, none twice.
        payload_type: What the bytes are, a media type.

    Returns:
        Canonical JSON (RFC 8785); the same payload and keys give the same bytes.

    Raises:
        ValueError: There is no key, or one twice.
    """
    if not keys or len({key.public.key_id for key in keys}) < len(keys):
        msg = "an envelope is sealed with at least one key, and with none twice"
        raise ValueError(msg)
    signed = Envelope(payload=payload, payload_type=payload_type, signatures=()).signed_bytes
    return canonical_json(
        {
            "payload": _base64(payload),
            "payloadType": payload_type,
            "signatures": [{"keyid": key.public.key_id, "sig": _base64(key.sign(signed))} for key in keys],
        }
    )


def open_envelope(
    content: bytes, keys: Collection[VerifyingKey], *, payload_type: str, source: str = "envelope"
) -> OpenedEnvelope:
    """Return what is inside of an envelope that one of the given keys has signed.

    Every signature that names one of the keys must be that key's. One by a key that was not given counts for nothing.

    Args:
        content: The envelope.
        keys: Keys that are trusted.
        payload_type: What has to be inside.
        source: What messages call it.

    Raises:
        StatementError: The reasons of :func:`read_envelope`; ``payload type``: something else is inside;
            ``wrong signature``: a given key is named and has not signed this; ``unknown key``: no given key has;
            ``algorithm``: no given key has, and no signature has the length of one.
    """
    envelope = read_envelope(content, source=source)
    if envelope.payload_type != payload_type:
        problem = f"payloadType is {envelope.payload_type[:80]!r}, expected {payload_type!r}."
        raise StatementError(source, reason="payload type", problem=problem)
    trusted = {key.key_id: key for key in keys}
    signed = envelope.signed_bytes
    signers: list[str] = []
    for each in envelope.signatures:
        candidates = [trusted[each.key_id]] if each.key_id in trusted else list(trusted.values())
        signer = next((key.key_id for key in candidates if key.has_signed(signed, each.signature)), None)
        if signer is not None:
            signers.append(signer)
        elif each.key_id in trusted:
            problem = f"the key {each.key_id} has not signed this: the content, its type or the signature was changed."
            raise StatementError(source, reason="wrong signature", problem=problem)
    if not signers:
        _refuse_strangers(envelope, trusted, source=source)
    return OpenedEnvelope(payload=envelope.payload, signers=tuple(dict.fromkeys(signers)))


def read_envelope(content: bytes, *, source: str = "envelope") -> Envelope:
    """Return an envelope's parts, of which nothing is verified.

    Args:
        content: The envelope: JSON with the three fields of DSSE, base64 in the standard or the URL-safe alphabet.
        source: What messages call it.

    Raises:
        StatementError: The reasons of :func:`read_json`; ``unknown field``, ``missing field``, ``wrong type``,
            ``base64``; ``not signed``: there is no signature; ``algorithm``: a signature names one;
            ``repeated signature``: two name the same key.
    """
    value = read_json(content, source=source)
    fields = _object(value, _FIELDS, optional=(), path="the envelope", source=source)
    signatures = fields["signatures"]
    if not isinstance(signatures, list):
        raise StatementError(source, reason="wrong type", problem="signatures is no list.")
    if not signatures:
        raise StatementError(source, reason="not signed", problem="its list of signatures is empty.")
    found = tuple(
        _signature(each, path=f"signatures[{number}]", source=source) for number, each in enumerate(signatures)
    )
    named = [each.key_id for each in found if each.key_id]
    if len(set(named)) < len(named):
        raise StatementError(source, reason="repeated signature", problem="two signatures name the same key.")
    return Envelope(
        payload=_bytes(fields["payload"], path="payload", source=source),
        payload_type=_text(fields["payloadType"], path="payloadType", source=source),
        signatures=found,
    )


def _refuse_strangers(envelope: Envelope, trusted: Collection[str], *, source: str) -> None:
    """Refuse an envelope that none of the given keys has signed."""
    lengths = {len(each.signature) for each in envelope.signatures}
    if SIGNATURE_BYTES not in lengths:
        problem = f"its signatures have {min(lengths)} bytes, and those of Ed25519 {SIGNATURE_BYTES}."
        raise StatementError(source, reason="algorithm", problem=problem)
    names = ", ".join(each.key_id[:80] or "a key without a name" for each in envelope.signatures)
    given = ", ".join(trusted) or "none"
    problem = f"it is signed by {names}; the keys that were given: {given}."
    raise StatementError(source, reason="unknown key", problem=problem)


def _signature(value: JsonValue, *, path: str, source: str) -> EnvelopeSignature:
    if isinstance(value, dict) and (named := _ALGORITHM_FIELDS.intersection(value)):
        name = min(named)
        problem = f"{path} names the algorithm {str(value[name])[:40]!r}; the key alone says which one it is for."
        raise StatementError(source, reason="algorithm", problem=problem)
    fields = _object(value, _SIGNATURE_FIELDS, optional=("keyid",), path=path, source=source)
    return EnvelopeSignature(
        key_id=_text(fields.get("keyid", ""), path=f"{path}.keyid", source=source),
        signature=_bytes(fields["sig"], path=f"{path}.sig", source=source),
    )


def _object(
    value: JsonValue, names: Sequence[str], *, optional: Collection[str], path: str, source: str
) -> Mapping[str, JsonValue]:
    if not isinstance(value, dict):
        raise StatementError(source, reason="wrong type", problem=f"{path} is no object.")
    unknown = sorted(set(value) - set(names))
    missing = [name for name in names if name not in value and name not in optional]
    if unknown or missing:
        problem = f"{path}: {(unknown or missing)[0][:80]!r}, expected {', '.join(names)}."
        raise StatementError(source, reason="unknown field" if unknown else "missing field", problem=problem)
    return value


def _text(value: JsonValue, *, path: str, source: str) -> str:
    if not isinstance(value, str):
        raise StatementError(source, reason="wrong type", problem=f"{path} is no text.")
    return value


def _bytes(value: JsonValue, *, path: str, source: str) -> bytes:
    text = _text(value, path=path, source=source)
    alphabet = b"-_" if "-" in text or "_" in text else b"+/"
    try:
        found = base64.b64decode(text.encode("ascii"), altchars=alphabet, validate=True)
        is_exact = base64.b64encode(found, altchars=alphabet).decode() == text
    except (binascii.Error, ValueError):
        is_exact, found = False, b""
    if not is_exact:
        problem = f"{path} is not the one base64 text of any bytes: other characters, blanks, or no full padding."
        raise StatementError(source, reason="base64", problem=problem)
    return found


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
