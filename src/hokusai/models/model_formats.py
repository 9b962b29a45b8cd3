"""Says what a model file is, from its bytes alone: what it is called says nothing.

Only formats that hold numbers and structure are taken. Everything that Python's ``pickle`` would have to read is called
a pickle, whatever is wrapped around it; the rest is described, so that a refusal can say what was found.
"""

from __future__ import annotations

import bz2
import io
import lzma
import pickletools
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from hokusai.errors import ModelError
from hokusai.models.onnx_structure import is_onnx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["MOST_BYTES", "TAKEN", "FileFormat", "RecognisedFile", "recognise_file"]

FileFormat: TypeAlias = Literal["skops", "lightgbm", "xgboost", "onnx", "pickle", "unknown"]

TAKEN = (
    "a skops file, LightGBM's text, XGBoost's JSON or UBJSON, an ONNX file, or the folder of an MLflow model in one of "
    "these formats"
)
MOST_BYTES = 4 << 30
"""The largest model file that is taken."""
_MOST_INFLATED, _MOST_RATIO, _SMALL_INFLATED = 8 << 30, 200, 256 << 20
_MOST_MEMBERS, _MOST_DIRECTORY_BYTES = 100_000, 16 << 20
_HEAD_BYTES = 1 << 16
_FEWEST_OPCODES = 8
_ZIP, _END_OF_ZIP = b"PK\x03\x04", struct.Struct("<4sHHHHIIH")
_ARRAY = b"\x93NUMPY"
_OTHERS = (
    (_ARRAY, "a NumPy array"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as Keras writes (a Lambda layer in it is code)"),
    (b"CBM1", "CatBoost's binary format"),
    (b"binf", "XGBoost's old binary format"),
    (b"PAR1", "a Parquet table"),
    (b"ARROW1", "an Arrow table"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognisedFile:
    """What a file is.

    Attributes:
        format: The format, or ``unknown``.
        description: What was found, in words.
    """

    format: FileFormat
    description: str


def recognise_file(path: Path, *, source: str) -> RecognisedFile:
    """Say what a file is, reading as little of it as that takes.

    Raises:
        ModelError: It is beyond a limit that guards against bombs.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ModelError(f"{source}: {size:,} bytes, expected at most {MOST_BYTES:,} for a model file.")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return _unknown("an empty file")
    if head.startswith(_ZIP):
        return _recognise_zip(path, source=source)
    if re.match(rb"tree\r?\nversion=", head):
        return RecognisedFile(format="lightgbm", description="LightGBM's text")
    if head.lstrip()[:1] == b"{":
        return _recognise_document(head)
    if head.startswith((b"\x08", b"\x3a", b"\x42", b"\x12", b"\x1a")) and is_onnx(path):
        return RecognisedFile(format="onnx", description="an ONNX file")
    return _recognise_bytes(head)


def _unknown(description: str) -> RecognisedFile:
    return RecognisedFile(format="unknown", description=description)


def _pickle(description: str) -> RecognisedFile:
    return RecognisedFile(format="pickle", description=description)


def _recognise_document(head: bytes) -> RecognisedFile:
    if b"learner" in head[:_HEAD_BYTES] and re.match(rb'\s*\{\s*"', head):
        return RecognisedFile(format="xgboost", description="XGBoost's JSON")
    if head[:1] == b"{" and b"\x00" in head[:32] and b"learner" in head:
        return RecognisedFile(format="xgboost", description="XGBoost's UBJSON")
    return _unknown("JSON, but not a model of XGBoost")


def _recognise_bytes(head: bytes) -> RecognisedFile:
    if found := _pickle_in(head):
        return _pickle(found)
    if head.startswith(b"ZF"):
        return _pickle("a pickle that an old joblib compressed")
    if head.startswith(_ARRAY) and _holds_objects(head):
        return _pickle("a NumPy array of objects, kept as a pickle")
    return _recognise_compressed(head) or _unknown(_described(head))


def _recognise_compressed(head: bytes) -> RecognisedFile | None:
    for mark, name, decompress in _COMPRESSIONS:
        inner = _beginning(head, decompress) if head.startswith(mark) else None
        if inner is not None:
            found = _pickle_in(inner)
            return _pickle(f"{found}, compressed by {name}") if found else _unknown(f"a file compressed by {name}")
    return None


def _described(head: bytes) -> str:
    if re.search(rb"(?m)^flavors:", head):
        return "an MLmodel file (give its folder)"
    for mark, description in _OTHERS:
        if head.startswith(mark):
            return description
    text = head[:40]
    if text.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in text):
        return f"text that begins with {text.decode()!r}"
    return f"the bytes {head[:8].hex(' ')}"


def _pickle_in(head: bytes) -> str | None:
    """Return what kind of pickle the bytes begin, or None."""
    if head[:1] == b"\x80" and 2 <= int.from_bytes(head[1:2], "little") <= 9:
        return f"a pickle of protocol {head[1]}"
    count = 0
    try:
        for opcode, _, _ in pickletools.genops(io.BytesIO(head)):
            count += 1
            if opcode.name == "STOP":
                return "a pickle of protocol 0 or 1" if count > 1 else None
    except (ValueError, IndexError, OverflowError, UnicodeError):
        # A pickle that is longer than what was read of it ends in the middle of an instruction.
        return "a pickle of protocol 0 or 1" if count >= _FEWEST_OPCODES else None
    return None


def _holds_objects(head: bytes) -> bool:
    """Return whether a NumPy file's header says that its values are objects; one without a header might hold any."""
    described = re.search(rb"'descr': *([^,]*,|\[.*?\])", head[:4096])
    return described is None or b"O" in described[1]


def _beginning(head: bytes, decompress: Callable[[bytes], bytes]) -> bytes | None:
    import pyarrow as pa

    try:
        return decompress(head)
    except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError, pa.ArrowException):
        return None


def _inflated(bits: int) -> Callable[[bytes], bytes]:
    return lambda head: zlib.decompressobj(bits).decompress(head, _HEAD_BYTES)


def _unlzma(head: bytes) -> bytes:
    return lzma.LZMADecompressor(memlimit=1 << 28).decompress(head, _HEAD_BYTES)


def _by_arrow(codec: str) -> Callable[[bytes], bytes]:
    def decompress(head: bytes) -> bytes:
        import pyarrow as pa

        whole = io.BytesIO()
        with pa.CompressedInputStream(pa.py_buffer(head), codec) as stream:
            try:
                while whole.tell() < _HEAD_BYTES and (part := stream.read(256)):
                    whole.write(part)
            except OSError:
                # What was read of the file ends before its first block does.
                if not whole.tell():
                    raise
        return whole.getvalue()

    return decompress


_COMPRESSIONS: tuple[tuple[bytes, str, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", "gzip", _inflated(31)),
    (b"BZh", "bzip2", lambda head: bz2.BZ2Decompressor().decompress(head, _HEAD_BYTES)),
    (b"\xfd7zXZ\x00", "xz", _unlzma),
    (b"\x5d\x00\x00", "lzma", _unlzma),
    (b"\x28\xb5\x2f\xfd", "zstd", _by_arrow("zstd")),
    (b"\x04\x22\x4d\x18", "lz4", _by_arrow("lz4")),
    (b"\x78", "zlib", _inflated(15)),
)


def _recognise_zip(path: Path, *, source: str) -> RecognisedFile:
    _require_short_directory(path, source=source)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _require_bounded(members, packed=path.stat().st_size, source=source)
            return _recognise_members(archive, {member.filename for member in members})
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error) as error:
        return _unknown(f"a zip archive that cannot be read ({error})")


def _recognise_members(archive: zipfile.ZipFile, names: set[str]) -> RecognisedFile:
    if "schema.json" in names:
        return RecognisedFile(format="skops", description="a skops file")
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return _pickle("a PyTorch archive, which is a pickle in a zip")
    if {"config.json", "metadata.json"} <= names:
        return _unknown("a Keras archive (a Lambda layer in it is code)")
    arrays = sorted(name for name in names if name.endswith(".npy"))
    for name in arrays[:100]:
        with archive.open(name) as member:
            if _holds_objects(member.read(4096)):
                return _pickle("NumPy arrays of objects, kept as pickles in a zip")
    if arrays:
        return _unknown("an archive of NumPy arrays")
    shown = ", ".join(sorted(names)[:3]) or "nothing"
    return _unknown(f"a zip archive that holds {shown}, and no schema.json as skops writes it")


def _require_short_directory(path: Path, *, source: str) -> None:
    """Refuse a zip whose list of contents alone would fill the memory, before it is read."""
    with path.open("rb") as file:
        length = file.seek(0, io.SEEK_END)
        file.seek(max(0, length - _HEAD_BYTES - _END_OF_ZIP.size))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END_OF_ZIP.size:
        return
    _, _, _, _, members, directory, _, _ = _END_OF_ZIP.unpack_from(tail, at)
    if members >= 0xFFFF or directory > _MOST_DIRECTORY_BYTES:
        raise ModelError(
            f"{source}: a zip archive of {members:,} or more files, expected at most {_MOST_MEMBERS:,} for a model."
        )


def _require_bounded(members: list[zipfile.ZipInfo], *, packed: int, source: str) -> None:
    inflated = sum(member.file_size for member in members)
    allowed = min(_MOST_INFLATED, max(_SMALL_INFLATED, packed * _MOST_RATIO))
    if inflated > allowed:
        raise ModelError(
            f"{source}: {packed:,} bytes that would become {inflated:,} when they are unpacked, expected at most "
            f"{allowed:,}. A model does not shrink that much: the file is made to do harm, or damaged."
        )
