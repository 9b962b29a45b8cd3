"""Find the files of a table, open them, and read their bytes; the only module that opens data files.

Every byte that is parsed has gone through the SHA-256 that identifies the file, and each file is read once, in order.
Formats that are read out of order are held in memory, or, when they are large, hashed first and watched for changes.
"""

from __future__ import annotations

import glob
import hashlib
import io
import os
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from hokusai.datasets.compression import COMPRESSION_MAGIC, unpacked
from hokusai.errors import DataError, TableLimitError, UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hokusai.datasets.compression import Compression
    from hokusai.datasets.read_settings import ReadLimits

__all__ = ["OpenFile", "TableFormat", "TableLocation", "common_names", "find_table_files", "opened"]

TableFormat = Literal["csv", "tsv", "json", "json_lines", "parquet", "arrow"]

_FORMATS: dict[str, TableFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
_BLOCK_BYTES = 1 << 22
_HELD_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLocation:
    """A file of a table, by its name.

    Attributes:
        path: Where it is.
        format: What its name says that it holds.
        compression: What its name says that it is packed with; empty for nothing.
    """

    path: Path
    format: TableFormat
    compression: Compression


def find_table_files(path: Path, *, limits: ReadLimits) -> tuple[TableLocation, ...]:
    """The files of a table: the file itself, the files of a folder, or those that a pattern matches, sorted by name.

    Folders within a folder are not looked into; hidden files are passed over. All files have the same format.

    Raises:
        DataError: There is no such file, or none in the folder or under the pattern.
        UnreadableTableError: A suffix is unknown, or the files have several formats.
        TableLimitError: There are too many files.
    """
    source = str(path)
    try:
        if path.is_dir():
            paths = sorted(each for each in path.iterdir() if not each.name.startswith(".") and not each.is_dir())
            missing = "the folder holds no files, expected the files of a table"
        elif glob.has_magic(source) and not path.exists():
            matching = glob.glob(source, recursive=True)  # noqa: PTH207 - Path.glob wants a folder to begin in
            paths = sorted(each for each in map(Path, matching) if not each.is_dir())
            missing = "no file matches the pattern. Check it; it is relative to the working directory."
        else:
            return (_location(path),)
    except (OSError, ValueError) as error:  # A path that holds a NUL byte is a ValueError.
        raise _unreadable(source, error) from error
    if not paths:
        raise DataError(source, missing)
    if len(paths) > limits.max_files:
        got, limit = f"{len(paths):,} files", "data.limits.max_files"
        advice = "Put them together"
        raise TableLimitError(source, limit=limit, got=got, allowed=limits.max_files, unit="files", advice=advice)
    locations = tuple(_location(each) for each in paths)
    for each in locations:
        if each.format != locations[0].format:
            problem = f"it is {each.format}, but {locations[0].path.name} is {locations[0].format}; "
            raise UnreadableTableError(str(each.path), f"{problem}expected one format. Take one of them out.")
    return locations


def _location(path: Path) -> TableLocation:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    compression = _COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    inner = suffixes[0] if compression and len(suffixes) > 1 else suffixes[-1] if suffixes else ""
    if inner not in _FORMATS:
        got = "".join(suffixes[-2:] if compression else suffixes[-1:])
        problem = f"got the suffix {got!r}, expected one of {', '.join(_FORMATS)}, alone or with .gz or .zst. "
        raise UnreadableTableError(str(path), f"{problem}Convert or rename the file.")
    return TableLocation(path=path, format=_FORMATS[inner], compression=compression)


def _unreadable(source: str, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(source, "no such file. Check the path; it is relative to the working directory.")
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(source, f"it cannot be read: {reason}. Check the path and its permissions.")


@contextmanager
def opened(location: TableLocation, *, limits: ReadLimits) -> Iterator[OpenFile]:
    """Open a file of a table.

    Raises:
        DataError: It is missing, is no regular file, or cannot be opened.
        TableLimitError: It is too large.
    """
    source = str(location.path)
    try:
        status = location.path.stat()
        if not stat.S_ISREG(status.st_mode):  # before it is opened, which would wait for the writer of a pipe
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
            raise DataError(source, f"it is {kind}, expected a file")
        file = location.path.open("rb", buffering=0)
    except (OSError, ValueError) as error:
        raise _unreadable(source, error) from error
    with file:
        status = os.fstat(file.fileno())
        if status.st_size > limits.max_bytes:
            got, limit = f"{status.st_size:,} bytes", "data.limits.max_bytes"
            raise TableLimitError(source, limit=limit, got=got, allowed=limits.max_bytes, unit="bytes")
        if status.st_size == 0:
            raise UnreadableTableError(source, "the file is empty, expected a table")
        yield OpenFile(location, file, status, limits=limits)


class OpenFile:
    """The bytes of one file, and their digest once all of them have been read.

    Attributes:
        location: The file.
        source: What messages call it.
        size: Its size in bytes.
    """

    __slots__ = ("_digest", "_file", "_limits", "_read", "_status", "location", "size", "source")

    def __init__(self, location: TableLocation, file: BinaryIO, status: os.stat_result, *, limits: ReadLimits) -> None:
        self.location, self.source, self.size = location, str(location.path), status.st_size
        self._file, self._status, self._limits = file, status, limits
        self._digest, self._read = hashlib.sha256(), 0

    def content(self) -> Iterator[bytes]:
        """The content in blocks, unpacked; the file must be what its name says.

        Raises:
            DataError: It cannot be read, or changes meanwhile.
            UnreadableTableError: It is not packed as its name says, is damaged, or is too large when unpacked.
        """
        blocks = self._blocks()
        compression = self.location.compression
        first = next(blocks)
        found = next((kind for kind, magic in COMPRESSION_MAGIC.items() if first.startswith(magic)), "")
        if found != compression:
            suffix = self.location.path.suffix
            advice = f"is packed with {found}: add {'.gz' if found == 'gzip' else '.zst'} to its name"
            expected = "an unpacked file" if not compression else f"a {compression} file, as its suffix {suffix} says"
            advice = advice if found else f"is not: take {suffix} from its name, or copy it again"
            raise UnreadableTableError(self.source, f"expected {expected}, but it {advice}.")
        blocks = _chained(first, blocks)
        if not compression:
            return blocks
        return unpacked(blocks, compression=compression, source=self.source, limits=self._limits)

    @contextmanager
    def seekable(self) -> Iterator[BinaryIO]:
        """The whole content as a file that can be read in any order.

        Raises:
            DataError: It cannot be read, or changes meanwhile.
            UnreadableTableError: It is not packed as its name says, is damaged, or is too large when unpacked.
        """
        blocks = self.content()
        if self.size <= _HELD_BYTES and not self.location.compression:
            yield io.BytesIO(b"".join(blocks))
        elif self.location.compression:
            with tempfile.TemporaryFile(prefix="hokusai-") as file:
                for block in blocks:
                    file.write(block)
                file.seek(0)
                yield file
        else:
            for _ in blocks:
                pass
            self._file.seek(0)
            yield self._file
            # Parsing came after hashing: the file must not have been written to in between.
            now, then = os.fstat(self._file.fileno()), self._status
            if (now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (then.st_size, then.st_mtime_ns, then.st_ctime_ns):
                raise self._changed()

    def sha256(self) -> str:
        """The digest of all of the file's bytes; what has not been parsed is read now."""
        for _ in self._blocks():
            pass
        return self._digest.hexdigest()

    def _blocks(self) -> Iterator[bytes]:
        while self._read < self.size:
            try:
                block = self._file.read(min(_BLOCK_BYTES, self.size - self._read))
            except OSError as error:
                raise _unreadable(self.source, error) from error
            if not block:
                raise self._changed()
            self._read += len(block)
            self._digest.update(block)
            if self._read == self.size and self._file.read(1):
                raise self._changed()
            yield block

    def _changed(self) -> DataError:
        return DataError(self.source, "it changed while it was being read. Read it again when its writer is done.")


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def common_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """The names of files from the folder that holds them all, with forward slashes."""
    folder = os.path.commonpath([path.absolute().parent for path in paths])
    return tuple(path.absolute().relative_to(folder).as_posix() for path in paths)
