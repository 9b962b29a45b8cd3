"""Unpack gzip and zstd, block by block, up to a limit: a small file may claim to hold anything.

Sources: RFC 1952 (gzip), RFC 8878 (zstd).
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from hokusai.errors import TableLimitError, UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hokusai.datasets.read_settings import ReadLimits

__all__ = ["COMPRESSION_MAGIC", "Compression", "unpacked"]

Compression = Literal["", "gzip", "zstd"]

COMPRESSION_MAGIC: dict[Compression, bytes] = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
"""The first bytes of what is packed."""

_BLOCK_BYTES = 1 << 22
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


def unpacked(blocks: Iterator[bytes], *, compression: Compression, source: str, limits: ReadLimits) -> Iterator[bytes]:
    """The content of packed blocks, in blocks; several members or frames are one content.

    Raises:
        UnreadableTableError: The bytes are damaged or cut off.
        TableLimitError: The content is longer than the limit.
    """
    size = 0
    for block in _unpacked_gzip(blocks, source=source) if compression == "gzip" else _unpacked_zstd(blocks, source):
        size += len(block)
        allowed = limits.max_decoded_bytes
        if size > allowed:
            got = f"{size:,} bytes or more when unpacked"
            limit = "data.limits.max_decoded_bytes"
            raise TableLimitError(source, limit=limit, got=got, allowed=allowed, unit="bytes")
        yield block


def _unpacked_gzip(blocks: Iterator[bytes], *, source: str) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP_WINDOW)
    is_between = False
    for block in blocks:
        packed = block
        while packed:
            if is_between:
                packed = packed.lstrip(b"\0")  # Tapes and some programs pad the end.
                if not packed:
                    break
                member, is_between = zlib.decompressobj(_GZIP_WINDOW), False
            try:
                content = member.decompress(packed, _BLOCK_BYTES)
            except zlib.error as error:
                problem = f"the gzip file is damaged: {error}. Copy it again, or unpack it first."
                raise UnreadableTableError(source, problem) from error
            if content:
                yield content
            is_between = member.eof
            packed = member.unused_data if is_between else member.unconsumed_tail
    while not is_between:
        content = member.decompress(b"", _BLOCK_BYTES)
        if not content:
            raise UnreadableTableError(source, "the gzip file is cut off. Copy it again.")
        yield content
        is_between = member.eof


class _BlockReader(io.RawIOBase):
    """A file made of blocks."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes; none at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        count = len(self._rest) if size < 0 else min(size, len(self._rest))
        taken, self._rest = self._rest[:count], self._rest[count:]
        return bytes(taken)


def _unpacked_zstd(blocks: Iterator[bytes], source: str) -> Iterator[bytes]:
    with pa.CompressedInputStream(pa.PythonFile(_BlockReader(blocks), mode="r"), "zstd") as stream:
        while True:
            try:
                content = stream.read(_BLOCK_BYTES)
            except OSError as error:
                reason = "cut off" if "truncated" in str(error).lower() else "damaged"
                problem = f"the zstd file is {reason}: {error}. Copy it again, or unpack it first."
                raise UnreadableTableError(source, problem) from error
            if not content:
                return
            yield content
