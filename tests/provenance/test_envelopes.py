"""Envelopes: what is sealed is opened, by others as well; what was tampered with is refused, for the right reason."""

from __future__ import annotations

import base64
import importlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.digests import canonical_json
from hokusai.errors import StatementError
from hokusai.provenance.envelopes import Envelope, open_envelope, read_envelope, seal
from hokusai.provenance.signing_keys import SigningKey, make_key, parse_verifying_key
from hokusai.provenance.statement import read_statement, statement_bytes
from hokusai.provenance.statement_files import STATEMENT_PAYLOAD_TYPE, open_statement, statement_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from hokusai.provenance.claims import Statement
    from hokusai.records import DeltaReport

Keys = tuple[SigningKey, ...]
TEXT = "text/plain"


def sealed(payload: bytes, *keys: SigningKey) -> dict[str, Any]:
    """Return an envelope as a document, to be tampered with."""
    found: dict[str, Any] = json.loads(seal(payload, keys, payload_type=STATEMENT_PAYLOAD_TYPE))
    return found


def reason_for(content: bytes | dict[str, Any], *keys: SigningKey, payload_type: str = STATEMENT_PAYLOAD_TYPE) -> str:
    """Return why an envelope is refused."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(StatementError) as refused:
        open_envelope(content, [key.public for key in keys], payload_type=payload_type, source="a.json")
    assert str(refused.value) == f"a.json: refused ({refused.value.reason}): {refused.value.problem}"
    assert refused.value.problem.endswith(".")
    return refused.value.reason


# --- what is opened --------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(payload=st.binary(max_size=200), payload_type=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_what_is_sealed_is_opened_with_every_signer_named(payload: bytes, payload_type: str) -> None:
    keys = (make_key(), make_key())
    content = seal(payload, keys, payload_type=payload_type)
    opened = open_envelope(content, [key.public for key in keys], payload_type=payload_type)
    assert (opened.payload, opened.signers) == (payload, tuple(key.public.key_id for key in keys))
    assert seal(payload, keys, payload_type=payload_type) == content


def test_what_is_signed_is_the_published_example() -> None:
    envelope = Envelope(payload=b"hello world", payload_type="http://example.com/HelloWorld", signatures=())
    assert envelope.signed_bytes == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_one_known_signer_of_several_is_enough_and_the_others_are_not_named(keys: Keys) -> None:
    content = json.dumps(sealed(b"a", *keys)).encode()
    opened = open_envelope(content, [keys[1].public], payload_type=STATEMENT_PAYLOAD_TYPE)
    assert opened.signers == (keys[1].public.key_id,)
    named = [each.key_id for each in read_envelope(content).signatures]
    assert named == [key.public.key_id for key in keys]


@pytest.mark.parametrize("key_id", ["", "ours", None])
def test_a_key_id_is_a_hint_and_the_key_decides(keys: Keys, key_id: str | None) -> None:
    document = sealed(b"a", keys[0])
    if key_id is None:
        del document["signatures"][0]["keyid"]
    else:
        document["signatures"][0]["keyid"] = key_id
    content = json.dumps(document).encode()
    opened = open_envelope(content, [key.public for key in keys], payload_type=STATEMENT_PAYLOAD_TYPE)
    assert opened.signers == (keys[0].public.key_id,)
    assert reason_for(document, keys[1]) == "unknown key"


def test_the_url_safe_alphabet_is_read_as_well(keys: Keys) -> None:
    payload = bytes(range(256))
    document = sealed(payload, keys[0])
    assert "+" in document["payload"]
    document["payload"] = document["payload"].translate(str.maketrans("+/", "-_"))
    content = json.dumps(document).encode()
    assert open_envelope(content, [keys[0].public], payload_type=STATEMENT_PAYLOAD_TYPE).payload == payload


def test_an_envelope_needs_a_key_and_none_twice(keys: Keys) -> None:
    for wrong in ((), (keys[0], keys[0])):
        with pytest.raises(ValueError, match="at least one key, and with none twice"):
            seal(b"a", wrong, payload_type=TEXT)


# --- what others open, and what others have sealed -------------------------------------------------------------------


@pytest.fixture
def dsse() -> Any:
    """The DSSE implementation of securesystemslib, which in-toto and TUF use."""
    return importlib.import_module("securesystemslib.dsse")


@pytest.fixture
def signer() -> Any:
    """Its keys and signers."""
    return importlib.import_module("securesystemslib.signer")


def test_securesystemslib_verifies_what_was_sealed_here(dsse: Any, signer: Any, statement: Statement) -> None:
    keys = (make_key(), make_key())
    envelope = dsse.Envelope.from_dict(json.loads(statement_file(statement, keys=keys)))
    theirs = [as_theirs(key, signer) for key in keys]
    assert set(envelope.verify(theirs, threshold=2)) == {key.public.key_id for key in keys}
    assert envelope.payload == statement_bytes(statement)
    assert envelope.payload_type == "application/vnd.in-toto+json"
    envelope.payload = envelope.payload.replace(b"accept", b"reject")
    with pytest.raises(importlib.import_module("securesystemslib.exceptions").VerificationError):
        envelope.verify(theirs, threshold=1)


def test_what_securesystemslib_has_sealed_is_verified_here(dsse: Any, signer: Any, statement: Statement) -> None:
    theirs = signer.CryptoSigner.generate_ed25519()
    envelope = dsse.Envelope(statement_bytes(statement), STATEMENT_PAYLOAD_TYPE, {})
    envelope.sign(theirs)
    content = json.dumps(envelope.to_dict()).encode()
    public = parse_verifying_key(public_pem(theirs), source="theirs")
    opened = open_statement(content, keys=[public])
    assert (opened.statement, opened.signers) == (statement, (public.key_id,))
    assert reason_for(content.replace(b'"keyid": "', b'"keyid": "0'), make_key()) == "unknown key"


def as_theirs(key: SigningKey, signer: Any) -> Any:
    """Return a key as securesystemslib's, under our key id."""
    serialization = importlib.import_module("cryptography.hazmat.primitives.serialization")
    public = serialization.load_pem_public_key(key.public.pem.encode())
    return signer.SSlibKey.from_crypto(public, keyid=key.public.key_id)


def public_pem(theirs: Any) -> bytes:
    """Return the public key of one of securesystemslib's signers."""
    serialization = importlib.import_module("cryptography.hazmat.primitives.serialization")
    raw = bytes.fromhex(theirs.public_key.keyval["public"])
    ed25519 = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    pem: bytes = ed25519.Ed25519PublicKey.from_public_bytes(raw).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


# --- tampering -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_byte_of_the_signed_payload_counts(
    keys: Keys, report: DeltaReport, stated: Callable[..., Statement], *, is_whole: bool
) -> None:
    few = replace(report, deltas=(), baseline_deltas=(), undefined=(), datasets=report.datasets[1:3])
    payload = statement_bytes(stated(report if is_whole else few))
    document = sealed(payload, keys[0])
    for place in range(len(payload)):
        flipped = bytearray(payload)
        flipped[place] ^= 1 << place % 8
        document["payload"] = base64.b64encode(flipped).decode()
        assert reason_for(document, keys[0]) == "wrong signature", place
    for other in (payload + b" ", payload[:-1], b"", payload[1:], b"\0" + payload):
        document["payload"] = base64.b64encode(other).decode()
        assert reason_for(document, keys[0]) == "wrong signature"


def test_every_bit_of_a_signature_counts(keys: Keys) -> None:
    document = sealed(b"payload", keys[0])
    signature = base64.b64decode(document["signatures"][0]["sig"])
    for place in range(8 * len(signature)):
        flipped = bytearray(signature)
        flipped[place // 8] ^= 1 << place % 8
        document["signatures"][0]["sig"] = base64.b64encode(flipped).decode()
        assert reason_for(document, keys[0]) == "wrong signature", place


def test_an_envelope_that_ends_early_is_refused_wherever_it_ends(keys: Keys, statement: Statement) -> None:
    content = statement_file(statement, keys=keys[:1])
    assert {reason_for(content[:end], keys[0]) for end in range(0, len(content), 11)} == {"truncated"}


def test_fields_in_another_order_are_another_payload(keys: Keys, statement: Statement) -> None:
    payload = statement_bytes(statement)
    reordered = json.dumps(dict(reversed(json.loads(payload).items())), separators=(",", ":"), ensure_ascii=False)
    document = sealed(payload, keys[0])
    document["payload"] = base64.b64encode(reordered.encode()).decode()
    assert reason_for(document, keys[0]) == "wrong signature"
    # Signed anew, by whoever has the key, they are still not the one text of a statement.
    with pytest.raises(StatementError) as refused:
        open_statement(json.dumps(sealed(reordered.encode(), keys[0])).encode(), keys=[keys[0].public])
    assert refused.value.reason == "not canonical"


def test_the_order_and_blanks_of_the_envelope_itself_mean_nothing(keys: Keys, statement: Statement) -> None:
    document = json.loads(statement_file(statement, keys=keys[:1]))
    content = json.dumps(dict(reversed(document.items())), indent=4).encode()
    assert open_statement(content, keys=[keys[0].public]).statement == statement


def test_duplicate_keys_are_refused_in_the_envelope_and_in_the_payload(keys: Keys, statement: Statement) -> None:
    content = statement_file(statement, keys=keys[:1])
    for name in (b'"payload":', b'"payloadType":', b'"signatures":', b'"sig":'):
        assert reason_for(content.replace(name, name + b'"",' + name), keys[0]) == "duplicate key"
    twice = statement_bytes(statement).replace(b'"outcome":', b'"outcome":"reject","outcome":')
    with pytest.raises(StatementError) as refused:
        open_statement(seal(twice, keys[:1], payload_type=STATEMENT_PAYLOAD_TYPE), keys=[keys[0].public])
    assert refused.value.reason == "duplicate key"


def test_a_signature_by_another_key_is_refused_whatever_name_it_bears(keys: Keys) -> None:
    document = sealed(b"payload", keys[1])
    assert reason_for(document, keys[0]) == "unknown key"
    assert reason_for(document) == "unknown key"
    document["signatures"][0]["keyid"] = keys[0].public.key_id
    assert reason_for(document, keys[0], keys[1]) == "wrong signature"
    # One good signature does not cover for a wrong one under a known name.
    both = sealed(b"payload", keys[0], keys[1])
    both["signatures"][1]["sig"] = both["signatures"][0]["sig"]
    assert reason_for(both, *keys) == "wrong signature"


@pytest.mark.parametrize("name", ["alg", "algorithm", "keytype", "method", "scheme"])
@pytest.mark.parametrize("value", ["none", "rsassa-pss-sha256", "ed25519", None, 7])
def test_no_signature_may_name_an_algorithm(keys: Keys, name: str, value: object) -> None:
    document = sealed(b"payload", keys[0])
    document["signatures"][0][name] = value
    assert reason_for(document, keys[0]) == "algorithm"


def test_a_signature_by_another_algorithm_is_refused_as_such(keys: Keys) -> None:
    private = generate_private_key(SECP256R1())
    document = sealed(b"payload", keys[0])
    signed = read_envelope(json.dumps(document).encode()).signed_bytes
    document["signatures"] = [{"keyid": "ec", "sig": encoded(private.sign(signed, ECDSA(SHA256())))}]
    assert reason_for(document, keys[0]) == "algorithm"
    document["signatures"] = [{"keyid": "ec", "sig": ""}]
    assert reason_for(document, keys[0]) == "algorithm"


def test_a_signature_for_another_type_of_payload_is_none_for_this(keys: Keys) -> None:
    document = json.loads(seal(b"payload", keys[:1], payload_type=TEXT))
    assert reason_for(document, keys[0]) == "payload type"
    document["payloadType"] = STATEMENT_PAYLOAD_TYPE
    assert reason_for(document, keys[0]) == "wrong signature"


def test_the_signature_of_another_run_is_none_for_this_one(
    keys: Keys, report: DeltaReport, stated: Callable[..., Statement]
) -> None:
    identity = replace(report.identity, evaluation="20261123-080838-00000000")
    ours, theirs = stated(report), stated(replace(report, identity=identity))
    document, other = (json.loads(statement_file(each, keys=keys[:1])) for each in (ours, theirs))
    assert reason_for({**document, "signatures": other["signatures"]}, keys[0]) == "wrong signature"
    # The other run's envelope is sound, and is found to be the other run's.
    with pytest.raises(StatementError) as refused:
        open_statement(json.dumps(other).encode(), keys=[keys[0].public], evaluation=ours.predicate.record.evaluation)
    assert refused.value.reason == "another evaluation"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:10] + "\n" + text[10:],
        lambda text: text.rstrip("="),
        lambda text: text + "====",
        lambda text: text[:4] + "=" + text[5:],
        lambda text: "+-/_" + text,
        lambda text: text[:-3] + chr(ord(text[-3]) + 1) + "==",  # bits that no byte has
        lambda text: "é" + text[1:],
        lambda text: text[:1],
    ],
    ids=range(10),
)
@pytest.mark.parametrize("field", ["payload", "sig"])
def test_only_the_one_base64_text_of_some_bytes_is_read(keys: Keys, field: str, change: Callable[[str], str]) -> None:
    document = sealed(b"payload", keys[0])
    owner = document if field == "payload" else document["signatures"][0]
    assert owner[field].endswith("==")
    owner[field] = change(owner[field])
    assert reason_for(document, keys[0]) == "base64"


def test_an_envelope_of_another_shape_is_refused(keys: Keys) -> None:
    document = sealed(b"payload", keys[0])
    signature = document["signatures"][0]
    for reason, other in (
        ("unknown field", {**document, "extra": 1}),
        ("unknown field", {**document, "signatures": [{**signature, "cert": "a"}]}),
        ("missing field", {name: value for name, value in document.items() if name != "payloadType"}),
        ("missing field", {**document, "signatures": [{"keyid": "a"}]}),
        ("missing field", {}),
        ("wrong type", {**document, "signatures": {}}),
        ("wrong type", {**document, "signatures": ["a"]}),
        ("wrong type", {**document, "payload": 1}),
        ("wrong type", {**document, "payloadType": None}),
        ("wrong type", {**document, "signatures": [{**signature, "keyid": 1}]}),
        ("not signed", {**document, "signatures": []}),
        ("repeated signature", {**document, "signatures": [signature, signature]}),
    ):
        assert reason_for(other, keys[0]) == reason
    assert reason_for(b"[]", keys[0]) == "wrong type"
    assert reason_for(b"nothing", keys[0]) == "not JSON"


# --- statements as files ---------------------------------------------------------------------------------------------


def test_an_unsigned_statement_is_its_own_file_and_says_that_nobody_has_signed_it(
    keys: Keys, statement: Statement
) -> None:
    content = statement_file(statement)
    assert content == statement_bytes(statement)
    opened = open_statement(content, evaluation=statement.predicate.record.evaluation)
    assert (opened.statement, opened.signers) == (statement, ())
    with pytest.raises(StatementError, match="a given key has signed was asked for") as refused:
        open_statement(content, keys=[keys[0].public])
    assert refused.value.reason == "not signed"


def test_a_signed_statement_is_read_with_its_signers_and_is_no_plain_statement(
    keys: Keys, statement: Statement
) -> None:
    content = statement_file(statement, keys=keys[:2])
    assert open_statement(content, keys=[key.public for key in keys]).signers == tuple(
        key.public.key_id for key in keys[:2]
    )
    for wrong in ({"keys": [keys[2].public]}, {}):
        with pytest.raises(StatementError) as refused:
            open_statement(content, **wrong)  # type: ignore[arg-type]
        assert refused.value.reason == "unknown key"
    with pytest.raises(StatementError) as refused:
        read_statement(content)
    assert refused.value.reason == "unknown field"
    assert canonical_json(json.loads(content)) == content


def encoded(content: bytes) -> str:
    """Return base64."""
    return base64.b64encode(content).decode()
