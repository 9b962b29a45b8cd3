"""``hokusai keys new|show|rotate``: the keys that statements are signed with."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.errors import ConfigurationError
from hokusai.provenance.key_rotation import endorsement_path
from hokusai.provenance.key_rotation import rotate as rotate_key
from hokusai.provenance.signing_keys import (
    new_key,
    public_key_path,
    read_passphrase,
    read_signing_key,
    read_verifying_key,
)
from hokusai.report.visible_text import visible_text

if TYPE_CHECKING:
    import argparse

__all__ = ["new", "rotate", "show"]

_TERMINAL = "-"


def new(arguments: argparse.Namespace) -> int:
    """Make a key."""
    path = Path(arguments.file)
    key = new_key(path, passphrase=_passphrase(arguments.passphrase_file, path, is_new=True))
    if arguments.json:
        _print_json({"key_id": key.public.key_id, "private_key": str(path), "public_key": str(public_key_path(path))})
        return 0
    _print_files(path, key_id=key.public.key_id)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print a key's id and its public half."""
    path = Path(arguments.file)
    if path.suffix == ".pub":
        key = read_verifying_key(path)
    else:
        key = read_signing_key(path, passphrase=_passphrase(arguments.passphrase_file, path)).public
    if arguments.json:
        _print_json({"key_id": key.key_id, "algorithm": "Ed25519", "public_key": key.pem})
    else:
        print(f"Key id: {key.key_id} (Ed25519)")
        print(key.pem, end="")
    return 0


def rotate(arguments: argparse.Namespace) -> int:
    """Make a new key that the old one endorses."""
    old_path, path = Path(arguments.old), Path(arguments.file)
    old = read_signing_key(old_path, passphrase=_passphrase(arguments.passphrase_file, old_path))
    key = rotate_key(old, path, passphrase=_passphrase(arguments.new_passphrase_file, path, is_new=True))
    endorsement = endorsement_path(path)
    if arguments.json:
        _print_json(
            {
                "key_id": key.public.key_id,
                "old_key_id": old.public.key_id,
                "private_key": str(path),
                "public_key": str(public_key_path(path)),
                "endorsement": str(endorsement),
            }
        )
        return 0
    _print_files(path, key_id=key.public.key_id)
    print(visible_text(f"Endorsement: {endorsement}, by the key {old.public.key_id}."))
    print("Give it to whoever trusts the old key. Keep the old public key: it verifies what it has signed.")
    return 0


def _passphrase(named: str | None, key: Path, *, is_new: bool = False) -> str | None:
    """Return the passphrase of a key: from a file, or asked for, a new one twice."""
    if named != _TERMINAL:
        return None if named is None else read_passphrase(Path(named))
    import getpass

    if not sys.stdin.isatty():
        problem = "there is no terminal to ask for a passphrase. Name a file with --passphrase-file."
        raise ConfigurationError(problem, source="command line")
    given = getpass.getpass(f"Passphrase of {visible_text(key)}: ")
    if is_new and getpass.getpass("The same again: ") != given:
        raise ConfigurationError("the two passphrases differ. Try again.", source="command line")
    return given


def _print_files(path: Path, *, key_id: str) -> None:
    print(visible_text(f"Key id: {key_id}"))
    print(visible_text(f"Private key: {path}. Keep it secret, and keep a copy."))
    print(visible_text(f"Public key: {public_key_path(path)}. Give it to whoever verifies what you sign."))


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")
