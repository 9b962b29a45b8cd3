"""How table files are read, and how large they may be. Imports nothing heavy, so that settings can be made anywhere."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from annotated_types import Ge

from hokusai.errors import ConfigurationError, TableLimitError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ColumnType", "ReadLimits", "ReadSettings", "require_encoding", "require_shape"]

ColumnType = Literal[
    "int",
    "float",
    "string",
    "bool",
    "date",
    "timestamp",
    "timestamp_utc",
    "decimal(0)",
    "decimal(1)",
    "decimal(2)",
    "decimal(3)",
    "decimal(4)",
    "decimal(5)",
    "decimal(6)",
    "decimal(7)",
    "decimal(8)",
    "decimal(9)",
    "decimal(10)",
    "decimal(11)",
    "decimal(12)",
    "decimal(13)",
    "decimal(14)",
    "decimal(15)",
    "decimal(16)",
    "decimal(17)",
    "decimal(18)",
]
"""The words for types. A timestamp has no zone, a timestamp_utc is an instant, decimal(S) has S decimal places."""

_WIDE_ENCODINGS = ("utf-16", "utf-16-le", "utf-16-be")
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """How large a contributed table may be: a guard against accidents and bombs. Settings under ``[data.limits]``.

    Attributes:
        max_bytes: The size of one file.
        max_decoded_bytes: The size of one file's content: unpacked, and as a table in memory.
        max_row_bytes: The longest row of a text file.
        max_field_bytes: The longest value of a column of texts.
        max_columns: The columns of a table.
        max_rows: The rows of a table, all of its files together.
        max_cells: The product of rows and columns.
        max_files: The files of a folder or a pattern.
        max_seconds: How long a process that reads one table may run.
        max_memory_bytes: How much memory a process that reads one table may take.

    Raises:
        ConfigurationError: A limit is below 1.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    max_bytes: Annotated[int, Ge(1)] = 8 << 30
    max_decoded_bytes: Annotated[int, Ge(1)] = 32 << 30
    max_row_bytes: Annotated[int, Ge(1)] = 64 << 20
    max_field_bytes: Annotated[int, Ge(1)] = 16 << 20
    max_columns: Annotated[int, Ge(1)] = 10_000
    max_rows: Annotated[int, Ge(1)] = 200_000_000
    max_cells: Annotated[int, Ge(1)] = 2_000_000_000
    max_files: Annotated[int, Ge(1)] = 10_000
    max_seconds: Annotated[int, Ge(1)] = 3_600
    max_memory_bytes: Annotated[int, Ge(1)] = 8 << 30

    def __post_init__(self) -> None:
        """Refuse a limit that nothing can keep."""
        for each in fields(self):
            if getattr(self, each.name) < 1:
                problem = f"got {getattr(self, each.name)}, expected 1 or more"
                raise ConfigurationError(problem, key=f"data.limits.{each.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSettings:
    """How a table file is read. The settings stand under ``data`` in the configuration.

    Attributes:
        delimiter: The character between the fields of a .csv file, or nothing: comma, semicolon, tab or bar, whichever
            the first rows agree on. A .tsv file always has tabs.
        encoding: The encoding of text files, or nothing: UTF-8, or UTF-16 where that is certain.
        missing_values: Texts of a CSV file that mean "no value". A quoted one is text in a string column, and no value
            in a column of another type.
        types: Declared types by column name. A declared type wins over the expected one and is never widened.
        limits: How large the table may be.

    Raises:
        ConfigurationError: The delimiter is not one ASCII character, or an encoding or a type is unknown.
    """

    delimiter: str = ""
    encoding: str = ""
    missing_values: tuple[str, ...] = ("",)
    types: Mapping[str, str] = field(default_factory=dict)
    limits: ReadLimits = field(default_factory=ReadLimits)

    def __post_init__(self) -> None:
        """Refuse settings that no file could be read with."""
        if self.delimiter and (len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '"\r\n\0'):
            problem = f"got {self.delimiter!r}, expected one ASCII character other than a quote or a line break"
            raise ConfigurationError(problem, key="data.delimiter")
        if self.encoding:
            require_encoding(self.encoding, key="data.encoding")
        for name, word in self.types.items():
            if word not in get_args(ColumnType):
                words = "int, float, string, bool, date, timestamp, timestamp_utc, or decimal(0) to decimal(18)"
                raise ConfigurationError(f"got {word!r}, expected {words}", key=f"data.types.{name}")


def require_encoding(name: str, *, key: str) -> None:
    """Refuse what is no encoding, or one in which delimiters, quotes and line ends are not what they are in ASCII.

    Raises:
        ConfigurationError: It is no such encoding.
    """
    problem = f"got {name!r}, expected utf-8, utf-16, or an encoding that contains ASCII, such as cp1252"
    # Some codecs read a backslash as an escape: text, but not the characters that a file shows.
    sample = _PRINTABLE + rb"\u0041"
    try:
        if codecs.lookup(name).name in _WIDE_ENCODINGS:
            return
        is_known = sample.decode(name) == sample.decode("ascii")
    except (LookupError, ValueError) as error:
        raise ConfigurationError(problem, key=key) from error
    if not is_known:
        raise ConfigurationError(problem, key=key)


def require_shape(source: str, *, rows: int, columns: int, limits: ReadLimits) -> None:
    """Refuse a table of too many columns, rows or cells.

    Raises:
        TableLimitError: It is beyond a limit.
    """
    for got, name in ((columns, "columns"), (rows, "rows"), (rows * columns, "cells")):
        allowed: int = getattr(limits, f"max_{name}")
        if got > allowed:
            limit = f"data.limits.max_{name}"
            raise TableLimitError(source, limit=limit, got=f"{got:,} {name}", allowed=allowed, unit=name)
