"""Ed25519 keys: made once, kept in files that their owner alone may read, named by what is in them.

A private key is a PKCS#8 PEM file, with a passphrase or without; its public half, a SubjectPublicKeyInfo PEM file, lies
beside it under the same name and ``.pub``. A key's id is the SHA-256 of the public half in DER, 64 hexadecimal digits;
``openssl pkey -pubin -in KEY.pub -outform DER | sha256sum`` prints it. Source: RFC 8032 (Ed25519), RFC 8410 (its keys
in files), RFC 5958 (PKCS#8). The only module that imports cryptography.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hokusai.digests import sha256
from hokusai.errors import SigningKeyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = [
    "SIGNATURE_BYTES",
    "SigningKey",
    "VerifyingKey",
    "create_files",
    "key_files",
    "make_key",
    "new_key",
    "parse_verifying_key",
    "public_key_path",
    "read_passphrase",
    "read_signing_key",
    "read_verifying_key",
]

SIGNATURE_BYTES = 64
"""The length of every Ed25519 signature."""
_MOST_BYTES = 16 * 2**10
_PUBLIC, _PRIVATE, _PROTECTED = "PUBLIC KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyingKey:
    """The public half of a key.

    Attributes:
        key_id: SHA-256 of its SubjectPublicKeyInfo in DER, 64 hexadecimal digits.
        pem: The same as a PEM text.
    """

    key_id: str
    pem: str
    _key: Ed25519PublicKey = field(repr=False, compare=False)

    def has_signed(self, content: bytes, signature: bytes) -> bool:
        """Return whether a signature over some bytes is this key's."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, content)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private key; neither its text nor its representation shows it.

    Attributes:
        public: Its public half.
    """

    public: VerifyingKey
    _key: Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, content: bytes) -> bytes:
        """Return the signature over some bytes, 64 bytes; the same for the same bytes."""
        return self._key.sign(content)


def new_key(path: Path, *, passphrase: str | None = None) -> SigningKey:
    """Make a key and its two files: the private one with mode 0600, the public one beside it.

    Args:
        path: The private key's file. Neither it nor the public one may be there.
        passphrase: What protects the private file; None leaves it readable for whoever can open it.

    Raises:
        SigningKeyError: A file is there already or cannot be written, or the passphrase is empty. Nothing is left.
    """
    key = make_key()
    create_files(key_files(key, path, passphrase=passphrase))
    return key


def make_key() -> SigningKey:
    """Return a new key that is in no file yet."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return _signing_key(Ed25519PrivateKey.generate())


def key_files(key: SigningKey, path: Path, *, passphrase: str | None) -> dict[Path, tuple[bytes, int]]:
    """Return content and mode of the files that keep a key.

    Raises:
        SigningKeyError: The passphrase is empty.
    """
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    if passphrase is not None and not passphrase:
        raise SigningKeyError(str(path), "the passphrase is empty, expected at least one character.")
    protection = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    private = key._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)  # noqa: SLF001  (its own module)
    return {path: (private, 0o600), public_key_path(path): (key.public.pem.encode(), 0o644)}


def public_key_path(path: Path) -> Path:
    """Return where the public half of the key in a file lies."""
    return path.with_name(f"{path.name}.pub")


def create_files(files: Mapping[Path, tuple[bytes, int]]) -> None:
    """Make files that are not there yet, all of them or none, and wait until they are on the disk.

    Args:
        files: Content and mode by path.

    Raises:
        SigningKeyError: One is there already, or cannot be written.
    """
    made: list[Path] = []
    for path, (content, mode) in files.items():
        try:
            # Created by this very call and with this mode: at no moment can others open it.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(path)
            with open(descriptor, "wb") as file:  # noqa: PTH123  (a descriptor, no path)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            for each in made:
                with suppress(OSError):
                    each.unlink()
            problem = f"cannot be made ({error.strerror}). Name another file; a key is never overwritten."
            raise SigningKeyError(str(path), problem) from error


def read_signing_key(path: Path, *, passphrase: str | None = None) -> SigningKey:
    """Read a private key.

    Args:
        path: Its file.
        passphrase: What protects it; None where nothing does.

    Raises:
        SigningKeyError: The file cannot be read, others than its owner may read it, it holds no Ed25519 private key in
            PKCS#8 PEM, or the passphrase is not its own.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content, mode = _read(path)
    kind = _pem_kind(content)
    if kind not in (_PRIVATE, _PROTECTED):
        hint = (
            " It is a public key; give the file without .pub." if kind == _PUBLIC else " Make one: `hokusai keys new`."
        )
        raise SigningKeyError(str(path), f"holds no private key, expected PKCS#8 in PEM.{hint}")
    _require_private(path, mode)
    if (kind == _PROTECTED) != (passphrase is not None):
        is_needed = kind == _PROTECTED
        problem = "is protected by a passphrase; give it." if is_needed else "has no passphrase; give none."
        raise SigningKeyError(str(path), problem)
    try:
        key = load_pem_private_key(content, None if passphrase is None else passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        wrong = "the passphrase is wrong, or the file is damaged" if kind == _PROTECTED else "the file is damaged"
        raise SigningKeyError(str(path), f"cannot be read: {wrong}. Take it from a copy.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(str(path), _other_algorithm(key))
    return _signing_key(key)


def read_passphrase(path: Path) -> str:
    """Read the passphrase of a key: the first line of a file.

    Raises:
        SigningKeyError: The file cannot be read, others than its owner may read it, or its first line is no text.
    """
    content, mode = _read(path)
    _require_private(path, mode)
    try:
        return content.decode().partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError as error:
        raise SigningKeyError(str(path), "holds no passphrase, expected a line of text in UTF-8.") from error


def read_verifying_key(path: Path) -> VerifyingKey:
    """Read a public key.

    Raises:
        SigningKeyError: The file cannot be read, or holds no Ed25519 public key in SubjectPublicKeyInfo PEM.
    """
    content, _ = _read(path)
    return parse_verifying_key(content, source=str(path))


def parse_verifying_key(content: bytes, *, source: str) -> VerifyingKey:
    """Return the public key of a PEM text.

    Args:
        content: The text.
        source: What messages call it.

    Raises:
        SigningKeyError: It holds no Ed25519 public key in SubjectPublicKeyInfo PEM.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    kind = _pem_kind(content)
    if kind != _PUBLIC:
        is_private = kind in (_PRIVATE, _PROTECTED)
        hint = " It is a private key; give its .pub." if is_private else " Give the .pub that `hokusai keys new` made."
        raise SigningKeyError(source, f"holds no public key, expected SubjectPublicKeyInfo in PEM.{hint}")
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningKeyError(source, "cannot be read: the file is damaged. Take it from a copy.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyError(source, _other_algorithm(key))
    return _verifying_key(key)


def _signing_key(key: Ed25519PrivateKey) -> SigningKey:
    return SigningKey(public=_verifying_key(key.public_key()), _key=key)


def _verifying_key(key: Ed25519PublicKey) -> VerifyingKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return VerifyingKey(key_id=sha256(der), pem=pem.decode(), _key=key)


def _require_private(path: Path, mode: int) -> None:
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        problem = f"has the mode {mode:04o}: others may read it, expected 0600. Run `chmod 600` on it."
        raise SigningKeyError(str(path), problem)


def _read(path: Path) -> tuple[bytes, int]:
    """Return content and mode of one and the same file."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        problem = f"cannot be read ({error.strerror}). Check the path and its permissions."
        raise SigningKeyError(str(path), problem) from error


def _pem_kind(content: bytes) -> str:
    """Return what the one block of a PEM text says that it is; empty where there is not exactly one."""
    lines = [line.strip() for line in content.decode("ascii", "replace").strip().splitlines()]
    kinds = [line.removeprefix("-----BEGIN ").removesuffix("-----") for line in lines if line.startswith("-----BEGIN ")]
    is_one = len(kinds) == 1 and lines[0] == f"-----BEGIN {kinds[0]}-----" and lines[-1] == f"-----END {kinds[0]}-----"
    return kinds[0] if is_one else ""


def _other_algorithm(key: object) -> str:
    name = type(key).__name__.removeprefix("_").removesuffix("Key").removesuffix("Public").removesuffix("Private")
    return f"holds a key for {name}, expected Ed25519. Make one: `hokusai keys new`."
