"""Keys: made once, for their owner alone, named by what is in them, replaced by heirs whom they endorse."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519

from hokusai.digests import canonical_json
from hokusai.errors import SigningKeyError, StatementError
from hokusai.provenance.envelopes import seal
from hokusai.provenance.key_rotation import (
    ENDORSEMENT_PAYLOAD_TYPE,
    endorse,
    endorsed_key,
    endorsement_path,
    rotate,
    trusted_keys,
)
from hokusai.provenance.signing_keys import (
    SigningKey,
    make_key,
    new_key,
    parse_verifying_key,
    public_key_path,
    read_passphrase,
    read_signing_key,
    read_verifying_key,
)
from hokusai.provenance.statement_files import STATEMENT_PAYLOAD_TYPE

if TYPE_CHECKING:
    from pathlib import Path

TORTOISE, HARE = "a tortoise, two hares", "a hare"
Keys = tuple[SigningKey, ...]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a key may be made."""
    return tmp_path / "signing.key"


def problem_with(path: Path, passphrase: str | None = None) -> str:
    """Return why a private key is refused; the message begins with its file."""
    with pytest.raises(SigningKeyError) as refused:
        read_signing_key(path, passphrase=passphrase)
    assert refused.value.source == str(path)
    return str(refused.value).removeprefix(f"{path}: ")


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_new_key_is_read_back_and_signs_what_its_public_half_verifies(path: Path) -> None:
    key = new_key(path)
    again, public = read_signing_key(path), read_verifying_key(public_key_path(path))
    assert again.public == key.public == public
    signature = again.sign(b"content")
    assert signature == key.sign(b"content")
    assert public.has_signed(b"content", signature)
    assert not public.has_signed(b"Content", signature)
    assert not make_key().public.has_signed(b"content", signature)
    assert not public.has_signed(b"content", b"")


def test_a_key_is_named_by_its_public_half(path: Path) -> None:
    key = new_key(path)
    pem = public_key_path(path).read_text(encoding="ascii")
    assert pem == key.public.pem
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    assert key.public.key_id == hashlib.sha256(der).hexdigest()


def test_a_private_key_is_for_its_owner_alone_whatever_the_umask_and_shows_in_no_text(path: Path) -> None:
    before = os.umask(0)
    try:
        key = new_key(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(public_key_path(path).stat().st_mode) == 0o644
    secret = path.read_text(encoding="ascii").splitlines()[1]
    assert secret not in repr(key) + str(key)
    assert "_key" not in repr(key)


@pytest.mark.parametrize("existing", ["signing.key", "signing.key.pub"])
def test_a_file_is_never_overwritten_and_nothing_is_left_of_a_key_that_could_not_be_kept(
    path: Path, existing: str
) -> None:
    (path.parent / existing).write_text("precious", encoding="ascii")
    with pytest.raises(SigningKeyError, match="never overwritten") as refused:
        new_key(path)
    assert refused.value.source == str(path.parent / existing)
    assert [each.name for each in path.parent.iterdir()] == [existing]
    assert (path.parent / existing).read_text(encoding="ascii") == "precious"


def test_a_link_is_not_followed_when_a_key_is_made(path: Path) -> None:
    target = path.parent / "target"
    path.symlink_to(target)
    with pytest.raises(SigningKeyError, match="never overwritten"):
        new_key(path)
    assert not target.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622, 0o644])
def test_a_private_key_that_others_may_read_is_refused_and_the_message_says_what_to_do(path: Path, mode: int) -> None:
    new_key(path)
    path.chmod(mode)
    assert problem_with(path) == f"has the mode {mode:04o}: others may read it, expected 0600. Run `chmod 600` on it."
    path.chmod(0o400)
    read_signing_key(path)


def test_a_passphrase_protects_the_file_and_a_wrong_one_is_refused(path: Path) -> None:
    key = new_key(path, passphrase=TORTOISE)
    assert b"ENCRYPTED" in path.read_bytes()
    assert read_signing_key(path, passphrase=TORTOISE).public == key.public
    assert problem_with(path, HARE) == (
        "cannot be read: the passphrase is wrong, or the file is damaged. Take it from a copy."
    )
    assert problem_with(path) == "is protected by a passphrase; give it."
    plain = path.with_name("plain.key")
    new_key(plain)
    assert problem_with(plain, "a tortoise") == "has no passphrase; give none."
    with pytest.raises(SigningKeyError, match="the passphrase is empty"):
        new_key(path.with_name("empty.key"), passphrase="")
    assert not path.with_name("empty.key").exists()


def test_a_passphrase_is_the_first_line_of_a_file_that_others_may_not_read(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes("une tortue é \r\nnothing\n".encode())
    file.chmod(0o600)
    assert read_passphrase(file) == "une tortue é "
    file.write_bytes(b"\xff\n")
    with pytest.raises(SigningKeyError, match="no passphrase, expected a line of text"):
        read_passphrase(file)
    file.chmod(0o640)
    with pytest.raises(SigningKeyError, match="Run `chmod 600` on it"):
        read_passphrase(file)
    with pytest.raises(SigningKeyError, match="cannot be read"):
        read_passphrase(tmp_path / "nothing")


def pem_of(private: object) -> tuple[bytes, bytes]:
    """Return the PEM texts of a key of any algorithm."""
    encoding = serialization.Encoding.PEM
    secret = private.private_bytes(  # type: ignore[attr-defined]
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(  # type: ignore[attr-defined]
        encoding, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return secret, public


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("EC", lambda: ec.generate_private_key(ec.SECP256R1())),
        ("RSA", lambda: rsa.generate_private_key(65537, 2048)),
        ("Ed448", ed448.Ed448PrivateKey.generate),
        ("X25519", x25519.X25519PrivateKey.generate),
    ],
)
def test_a_key_for_another_algorithm_is_refused(path: Path, name: str, make: object) -> None:
    secret, public = pem_of(make())  # type: ignore[operator]
    path.write_bytes(secret)
    path.chmod(0o600)
    assert problem_with(path) == f"holds a key for {name}, expected Ed25519. Make one: `hokusai keys new`."
    with pytest.raises(SigningKeyError, match=f"holds a key for {name}, expected Ed25519"):
        parse_verifying_key(public, source="a.pub")


def test_what_is_no_key_or_the_other_half_is_refused(path: Path) -> None:
    key = new_key(path)
    secret, public = path.read_bytes(), public_key_path(path)
    assert problem_with(public) == (
        "holds no private key, expected PKCS#8 in PEM. It is a public key; give the file without .pub."
    )
    with pytest.raises(SigningKeyError, match=r"It is a private key; give its \.pub"):
        read_verifying_key(path)
    for garbage in (b"", b"garbage", b"\xff\xfe", secret * 2, secret[:60], b"x" * 100_000, secret.replace(b"-", b"=")):
        path.write_bytes(garbage)
        assert problem_with(path).startswith("holds no private key, expected PKCS#8 in PEM. Make one")
        with pytest.raises(SigningKeyError, match="holds no public key"):
            parse_verifying_key(garbage, source="a.pub")
    path.write_bytes(secret.replace(b"M", b"N", 1))
    assert problem_with(path).startswith("cannot be read: the file is damaged")
    with pytest.raises(SigningKeyError, match="cannot be read: the file is damaged"):
        parse_verifying_key(key.public.pem.replace("M", "N", 1).encode(), source="a.pub")
    path.unlink()
    assert problem_with(path).startswith("cannot be read (No such file")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_openssl_reads_the_files_and_verifies_a_signature(path: Path) -> None:
    key = new_key(path, passphrase=TORTOISE)
    content, signature = path.with_name("content"), path.with_name("signature")
    content.write_bytes(b"content")
    signature.write_bytes(key.sign(b"content"))
    public = str(public_key_path(path))
    verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"]
    done = subprocess.run([*verify, "-in", content, "-sigfile", signature], capture_output=True, text=True, check=True)
    assert "Verified Successfully" in done.stdout
    shown = ["openssl", "pkey", "-in", str(path), "-passin", f"pass:{TORTOISE}", "-pubout"]
    done = subprocess.run(shown, capture_output=True, text=True, check=True)
    assert done.stdout == key.public.pem


# --- rotation --------------------------------------------------------------------------------------------------------


def test_who_trusts_the_old_key_accepts_the_new_one_and_its_heir(path: Path) -> None:
    first = new_key(path)
    second = rotate(first, path.with_name("second.key"), passphrase=HARE)
    third = rotate(second, path.with_name("third.key"))
    assert read_signing_key(path.with_name("second.key"), passphrase=HARE).public == second.public
    one, two = (endorsement_path(path.with_name(f"{name}.key")).read_bytes() for name in ("second", "third"))
    assert endorsed_key(one, [first.public]) == second.public
    assert trusted_keys([first.public], [one, two]) == (first.public, second.public, third.public)
    signature = third.sign(b"content")
    assert trusted_keys([first.public], [one, two])[-1].has_signed(b"content", signature)
    for wrong in ([two], [two, one]):
        with pytest.raises(StatementError) as refused:
            trusted_keys([first.public], wrong)
        assert refused.value.reason == "unknown key"


@pytest.mark.parametrize("existing", ["", ".pub", ".endorsement.json"])
def test_a_rotation_that_cannot_be_kept_leaves_nothing(path: Path, existing: str) -> None:
    old = make_key()
    taken = path.with_name(path.name + existing)
    taken.write_text("precious", encoding="ascii")
    with pytest.raises(SigningKeyError, match="never overwritten"):
        rotate(old, path)
    assert [each.name for each in path.parent.iterdir()] == [taken.name]


def test_an_endorsement_that_says_something_else_is_refused(keys: Keys) -> None:
    old, new, other = keys
    said = {
        "format": "hokusai-key-endorsement/1",
        "old_key_id": old.public.key_id,
        "new_key_id": new.public.key_id,
        "new_public_key": new.public.pem,
    }

    def reason(*, by: SigningKey = old, payload_type: str = ENDORSEMENT_PAYLOAD_TYPE, **values: str) -> str:
        content = seal(canonical_json({**said, **values}), [by], payload_type=payload_type)
        with pytest.raises(StatementError) as refused:
            endorsed_key(content, [old.public], source="e.json")
        return refused.value.reason

    assert endorse(new.public, by=old) == seal(canonical_json(said), [old], payload_type=ENDORSEMENT_PAYLOAD_TYPE)
    assert reason(by=other) == "unknown key"
    assert reason(old_key_id=other.public.key_id) == "endorsement"
    assert reason(new_key_id=other.public.key_id) == "endorsement"
    assert reason(new_public_key=other.public.pem) == "endorsement"
    assert reason(new_public_key=new.public.pem + "\n") == "endorsement"
    assert reason(new_public_key="garbage") == "endorsement"
    assert reason(format="hokusai-key-endorsement/2") == "wrong value"
    assert reason(extra="x") == "unknown field"
    assert reason(payload_type=STATEMENT_PAYLOAD_TYPE) == "payload type"
    blank = seal(json.dumps(said).encode(), [old], payload_type=ENDORSEMENT_PAYLOAD_TYPE)
    with pytest.raises(StatementError) as refused:
        endorsed_key(blank, [old.public])
    assert refused.value.reason == "not canonical"
