"""Turn the bytes of a text file into UTF-8 that is certain: without a byte order mark, without NUL bytes.

Sources: RFC 3629 (UTF-8), the Unicode Standard, section 23.8 (byte order marks).
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, NoReturn

from hokusai.errors import UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["utf8_blocks"]

_SIGNATURES = {
    b"PAR1": "a Parquet file: name it .parquet",
    b"ARROW1": "an Arrow file: name it .arrow",
    b"FEA1": "a Feather file: name it .feather",
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save it as CSV",
    b"BZh": "a bzip2 archive: unpack it first",
    b"\xfd7zXZ\x00": "an xz archive: unpack it first",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV",
    b"\xff\xfe\x00\x00": "UTF-32: convert it to UTF-8",
    b"\x00\x00\xfe\xff": "UTF-32: convert it to UTF-8",
}
_UTF16_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_SAMPLE_BYTES = 4096


def utf8_blocks(blocks: Iterator[bytes], *, source: str, encoding: str) -> Iterator[bytes]:
    """The text in UTF-8, in blocks of about the same sizes.

    Args:
        blocks: The bytes of the file; the first block is all of a small file.
        source: What messages call the file.
        encoding: The declared encoding, or nothing: UTF-8, or UTF-16 where a mark or the bytes make it certain.

    Raises:
        UnreadableTableError: The file is empty, is another kind of file, or has another encoding.
    """
    first = b""
    while len(first) < _SAMPLE_BYTES and (more := next(blocks, b"")):
        first += more
    for signature, kind in _SIGNATURES.items():
        if first.startswith(signature):
            raise UnreadableTableError(source, f"expected text in UTF-8, but the file looks like {kind}.")
    declared = codecs.lookup(encoding).name if encoding else ""
    name, mark = _encoding_of(first, declared, source=source)
    return _decoded(first[mark:], blocks, name=name, source=source, offset=mark)


def _encoding_of(first: bytes, declared: str, *, source: str) -> tuple[str, int]:
    """The encoding, and how many bytes its mark has."""
    is_utf8 = declared in {"", "utf-8", "utf-8-sig"}
    if first.startswith(codecs.BOM_UTF8) and is_utf8:
        return "utf-8", len(codecs.BOM_UTF8)
    for mark, name in _UTF16_MARKS.items():
        if first.startswith(mark) and declared in {"", "utf-16", name}:
            return name, len(mark)
        if first.startswith(mark):
            problem = f"it starts with the mark of UTF-16, but data.encoding is {declared}. Set one that fits."
            raise UnreadableTableError(source, problem)
    if first.startswith(codecs.BOM_UTF8):
        problem = f"it starts with the mark of UTF-8, but data.encoding is {declared}. Set one that fits."
        raise UnreadableTableError(source, problem)
    if declared == "utf-16":
        raise UnreadableTableError(source, "UTF-16 without a byte order mark: set utf-16-le or utf-16-be.")
    return ("utf-8" if is_utf8 else declared) if declared else _certain_utf16(first) or "utf-8", 0


def _certain_utf16(first: bytes) -> str:
    """The kind of UTF-16 that the NUL bytes of a text without a mark show, or nothing."""
    sample = first[:_SAMPLE_BYTES]
    low, high = sample[::2], sample[1::2]
    if len(sample) < 4 or len(first) % 2:
        return ""
    for name, zero, other in (("utf-16-le", high, low), ("utf-16-be", low, high)):
        if not zero[0] and zero.count(0) * 2 > len(zero) and not other.count(0):
            return name
    return ""


def _decoded(first: bytes, blocks: Iterator[bytes], *, name: str, source: str, offset: int) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(name)()
    lines, block = 1, first
    is_first = True
    while True:
        following = next(blocks, None)
        if name == "utf-8" and not decoder.getstate()[0] and block.isascii():
            text = block
        else:
            pending = decoder.getstate()[0]
            try:
                decoded = decoder.decode(block, final=following is None)
            except UnicodeDecodeError as error:
                _refuse_encoding(error, lines, name=name, source=source)
            # In UTF-8 the bytes are kept as they are: only those of a character that is cut in two have to wait.
            text = _kept(pending + block, decoder) if name == "utf-8" else decoded.encode("utf-8", "surrogatepass")
            if name != "utf-8" and is_first:
                text = text.removeprefix(codecs.BOM_UTF8)
        nul = text.find(0)
        if nul >= 0:
            place = f"a NUL byte at offset {offset + nul}" if name == "utf-8" else "a NUL character"
            raise UnreadableTableError(source, f"{place}, expected text. The file is binary or damaged.")
        if text:
            lines, offset, is_first = lines + text.count(b"\n"), offset + len(text), False
            yield text
        if following is None:
            break
        block = following
    if is_first:
        raise UnreadableTableError(source, "the file is empty, expected a table")


def _kept(block: bytes, decoder: codecs.IncrementalDecoder) -> bytes:
    waiting = len(decoder.getstate()[0])
    return block[: len(block) - waiting] if waiting else block


def _refuse_encoding(error: UnicodeDecodeError, lines: int, *, name: str, source: str) -> NoReturn:
    line = lines + error.object[: error.start].count(b"\n") if name.startswith("utf-8") else 0
    where = f"line {line}: " if line else ""
    byte = f"byte 0x{error.object[error.start]:02X}"
    if name != "utf-8":
        problem = f"{where}{byte} is not {name}: {error.reason}. Set data.encoding to the file's own."
        raise UnreadableTableError(source, problem) from error
    high = [each for each in error.object[error.start : error.start + _SAMPLE_BYTES] if each >= 0x80]
    guess, codec = ("Windows-1252", "cp1252") if any(each < 0xA0 for each in high) else ("Latin-1", "latin-1")
    raise UnreadableTableError(
        source,
        f"{where}{byte} is not UTF-8; the file looks like {guess}. Convert it to UTF-8, "
        f'or set data.encoding = "{codec}" if that is what it is.',
    ) from error
