"""``hokusai keys new|show|rotate``: what they make, print and refuse."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hokusai.provenance.key_rotation import endorsed_key
from hokusai.provenance.signing_keys import read_signing_key, read_verifying_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome

TORTOISE = "a tortoise"


@pytest.fixture
def keys(tmp_path: Path, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Call a subcommand in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        return call("keys", *arguments)

    return run


def passphrase_file(text: str, *, mode: int = 0o600) -> str:
    """Write a passphrase into a file."""
    path = Path("passphrase")
    path.write_text(text + "\n", encoding="utf-8")
    path.chmod(mode)
    return str(path)


def test_a_key_is_made_shown_and_never_overwritten(keys: Callable[..., Outcome]) -> None:
    made = keys("new")
    assert made.code == 0
    key = read_signing_key(Path("hokusai.key"))
    assert made.out.splitlines() == [
        f"Key id: {key.public.key_id}",
        "Private key: hokusai.key. Keep it secret, and keep a copy.",
        "Public key: hokusai.key.pub. Give it to whoever verifies what you sign.",
    ]
    assert stat.S_IMODE(Path("hokusai.key").stat().st_mode) == 0o600
    for name in ("hokusai.key", "hokusai.key.pub"):
        assert keys("show", name).out == f"Key id: {key.public.key_id} (Ed25519)\n{key.public.pem}"
        assert keys("show", name, "--json").value == {
            "key_id": key.public.key_id,
            "algorithm": "Ed25519",
            "public_key": key.public.pem,
        }
    again = keys("new")
    assert (again.code, again.out) == (2, "")
    assert again.err == (
        "hokusai: hokusai.key: cannot be made (File exists). Name another file; a key is never overwritten.\n"
    )
    assert read_signing_key(Path("hokusai.key")).public == key.public


def test_the_files_of_a_new_key_are_printed_for_programs(keys: Callable[..., Outcome]) -> None:
    value = keys("new", "other.key", "--json").value
    assert value == {
        "key_id": read_verifying_key(Path("other.key.pub")).key_id,
        "private_key": "other.key",
        "public_key": "other.key.pub",
    }


def test_a_key_is_rotated_and_the_old_one_endorses_the_new_one(keys: Callable[..., Outcome]) -> None:
    keys("new", "old.key")
    rotated = keys("rotate", "old.key", "new.key")
    old, new = (read_verifying_key(Path(name)) for name in ("old.key.pub", "new.key.pub"))
    assert rotated.code == 0
    assert rotated.out.splitlines()[0] == f"Key id: {new.key_id}"
    assert f"Endorsement: new.key.endorsement.json, by the key {old.key_id}." in rotated.out
    assert endorsed_key(Path("new.key.endorsement.json").read_bytes(), [old]) == new
    value = keys("rotate", "new.key", "third.key", "--json").value
    assert value == {
        "key_id": read_verifying_key(Path("third.key.pub")).key_id,
        "old_key_id": new.key_id,
        "private_key": "third.key",
        "public_key": "third.key.pub",
        "endorsement": "third.key.endorsement.json",
    }


def test_passphrases_come_from_files_that_others_may_not_read(keys: Callable[..., Outcome]) -> None:
    protected = ("--passphrase-file", passphrase_file(TORTOISE))
    assert keys("new", "old.key", *protected).code == 0
    assert keys("show", "old.key", *protected).code == 0
    refused = keys("show", "old.key")
    assert (refused.code, refused.err) == (2, "hokusai: old.key: is protected by a passphrase; give it.\n")
    assert keys("rotate", "old.key", "new.key", *protected, "--new-passphrase-file", protected[1]).code == 0
    assert read_signing_key(Path("new.key"), passphrase=TORTOISE)
    passphrase_file("a hare")
    refused = keys("show", "old.key", *protected)
    assert refused.code == 2
    assert "the passphrase is wrong" in refused.err
    passphrase_file(TORTOISE, mode=0o644)
    refused = keys("show", "old.key", *protected)
    assert refused.code == 2
    assert "Run `chmod 600` on it." in refused.err


def test_without_a_terminal_nobody_is_asked_for_a_passphrase(
    keys: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        refused = keys("new", "--passphrase-file", "-")
    assert refused.code == 2
    assert "there is no terminal to ask for a passphrase. Name a file with --passphrase-file." in refused.err
    assert not Path("hokusai.key").exists()


@pytest.mark.parametrize(("second", "code"), [(TORTOISE, 0), ("a hare", 2)])
def test_on_a_terminal_a_new_passphrase_is_asked_for_twice_and_not_shown(
    tmp_path: Path, second: str, code: int
) -> None:
    ours, theirs = pty.openpty()
    program = "from hokusai.cli import main; main(['keys', 'new', 'a.key', '--passphrase-file', '-'])"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""
        for prompt, answer in ((b"a.key: ", TORTOISE), (b"again: ", second)):
            while not shown.endswith(prompt):
                shown += os.read(ours, 1)
            os.write(ours, answer.encode() + b"\n")
        assert process.wait() == code
    os.close(ours)
    assert b"tortoise" not in shown
    assert (tmp_path / "a.key").exists() == (code == 0)
    if code == 0:
        assert read_signing_key(tmp_path / "a.key", passphrase=TORTOISE)
