"""Read table files into Arrow tables whose column types are certain, or refuse them with one clear message.

A file is identified by the SHA-256 of the very bytes that are parsed. Nothing is coerced silently: a column has one
canonical type (see :mod:`hokusai.datasets.column_types`), the only change of a value's type is from an integer to the
float that equals it, and NaN, which is how pandas writes "no value", becomes null.

Each format has its reader beside this module; here they are chosen, and the files of one table are joined.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from hokusai.datasets.arrow_tables import read_arrow, read_parquet
from hokusai.datasets.column_types import ColumnTargets
from hokusai.datasets.json_tables import read_json, read_json_lines
from hokusai.datasets.read_settings import ReadSettings, require_shape
from hokusai.datasets.table_files import OpenFile, TableLocation, common_names, find_table_files, opened
from hokusai.datasets.table_parts import BATCH_ROWS, TablePart, translated
from hokusai.datasets.text_encoding import utf8_blocks
from hokusai.datasets.text_tables import read_delimited
from hokusai.errors import UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["BATCH_ROWS", "ReadSettings", "SourceFile", "TableFile", "TableStream", "open_table", "read_table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that a table was read from.

    Attributes:
        path: The file.
        sha256: SHA-256 of its bytes on disk, 64 hexadecimal digits.
        size: Its size on disk in bytes.
        rows: How many rows it holds.
    """

    path: str
    sha256: str
    size: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """A table with the identity of the files that it was read from.

    Attributes:
        table: The table; its columns are nullable and carry no metadata.
        files: The files, in the order of their rows.
    """

    table: pa.Table
    files: tuple[SourceFile, ...]

    @property
    def file_sha256(self) -> str:
        """SHA-256 of the file; of several files, that of the sorted lines "sha256, two blanks, name, line feed".

        The names count from the folder that holds all of the files: ``cd folder && sha256sum *`` writes such lines.
        """
        if len(self.files) == 1:
            return self.files[0].sha256
        names = common_names([Path(file.path) for file in self.files])
        lines = sorted(f"{file.sha256}  {name}\n" for file, name in zip(self.files, names, strict=True))
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def size(self) -> int:
        """The size of all files on disk in bytes."""
        return sum(file.size for file in self.files)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.table.num_rows)


class TableStream:
    """The batches of a table, each of at most 65,536 rows; they can be iterated once.

    Attributes:
        schema: The final types of the columns.
        files: The files that have been read to their ends; all of them once the batches are exhausted.
    """

    __slots__ = ("_batches", "files", "schema")

    def __init__(self, schema: pa.Schema) -> None:
        self.schema, self.files = schema, tuple[SourceFile, ...]()
        self._batches: Iterator[pa.RecordBatch] = iter(())

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._batches


def read_table(
    path: Path,
    *,
    settings: ReadSettings | None = None,
    expected: pa.Schema | None = None,
    columns: Sequence[str] | None = None,
) -> TableFile:
    """Read a table into memory; see :func:`open_table`.

    Args:
        path: The file, folder or pattern.
        settings: Delimiter, encoding, missing values, declared types and limits; the defaults of ReadSettings if None.
        expected: The schema of the table that this one will be joined to.
        columns: The columns to return, in this order; None for all.

    Returns:
        The table, and its files' digests and sizes.

    Raises:
        DataError: As open_table.
    """
    with open_table(path, settings=settings, expected=expected, columns=columns) as stream:
        with translated(str(path)):
            table = pa.Table.from_batches(stream, schema=stream.schema)
        return TableFile(table=table, files=stream.files)


@contextmanager
def open_table(
    path: Path,
    *,
    settings: ReadSettings | None = None,
    expected: pa.Schema | None = None,
    columns: Sequence[str] | None = None,
) -> Iterator[TableStream]:
    """Open a table: one file, all files of a folder, or the files that a pattern such as ``data/*.csv`` matches.

    The suffix decides the format: .csv, .tsv, .json (an array of flat objects), .jsonl and .ndjson (one flat object a
    line; a key that a row lacks is a missing value), .parquet, and .arrow, .feather or .ipc; .gz or .zst may follow.
    A column takes the type declared in the settings, else the type of its namesake in ``expected``, else the type that
    all of its values agree on. A column expected as int64 that holds floats comes back as float64.

    Parquet and Arrow are read batch by batch, and so are CSV and JSON Lines when the type of each wanted column is
    declared, or expected and not int64, which floats could widen (for JSON Lines, ``columns`` must be given). Other
    tables are read whole first. The files of a folder have the same format and columns, and are read in the order of
    their names; when types are to be found they are read twice.

    Args:
        path: The file, folder or pattern.
        settings: Delimiter, encoding, missing values, declared types and limits; the defaults of ReadSettings if None.
        expected: The schema of the table that this one will be joined to; columns that it lacks are inferred, and
            columns that only it has are not asked for.
        columns: The columns to return, in this order; the others need not have a readable type. None for all.

    Yields:
        The table; while it is iterated, the same errors may be raised.

    Raises:
        DataError: There is no such file, or it cannot be opened or read.
        UnreadableTableError: Its bytes are not a table in the format of its suffix, or are beyond a limit.
        SchemaMismatchError: A column of ``columns`` is not there.
        ValueMismatchError: A value does not fit its column, or the type of a column is in doubt.
    """
    settings = settings or ReadSettings()
    locations = find_table_files(path, limits=settings.limits)
    targets = ColumnTargets(declared=settings.types, expected=expected)
    if len(locations) > 1:
        schema = _common_schema(locations, settings=settings, targets=targets, columns=columns)
        # What the first reading found holds for the second one: a column of texts in one file is texts in all of them.
        targets = ColumnTargets(declared=settings.types, expected=schema, may_widen=False)
        stream, columns = TableStream(schema), schema.names
        stream._batches = _joined(locations, stream, settings=settings, targets=targets, columns=columns)  # noqa: SLF001
        yield stream
        return
    with opened(locations[0], limits=settings.limits) as file, _part(file, settings, targets, columns) as part:
        stream = TableStream(part.schema)
        stream._batches = _counted(part, file, stream, settings=settings)  # noqa: SLF001
        yield stream


@contextmanager
def _part(
    file: OpenFile, settings: ReadSettings, targets: ColumnTargets, columns: Sequence[str] | None
) -> Iterator[TablePart]:
    """The table of one file, open as long as it is read."""
    source, kind = file.source, file.location.format
    if kind in {"parquet", "arrow"}:
        read_binary = read_parquet if kind == "parquet" else read_arrow
        with file.seekable() as content:
            yield read_binary(content, source=source, settings=settings, targets=targets, columns=columns)
        return
    blocks = utf8_blocks(file.content(), source=source, encoding=settings.encoding)
    with translated(source):
        if kind in {"csv", "tsv"}:
            delimiter = "\t" if kind == "tsv" else settings.delimiter
            part = read_delimited(
                blocks, source=source, delimiter=delimiter, settings=settings, targets=targets, columns=columns
            )
        else:
            read_text = read_json if kind == "json" else read_json_lines
            part = read_text(blocks, source=source, settings=settings, targets=targets, columns=columns)
    yield part


def _counted(
    part: TablePart, file: OpenFile, stream: TableStream, *, settings: ReadSettings
) -> Iterator[pa.RecordBatch]:
    """The batches of one file; at their end the file is entered in the stream."""
    rows, before = 0, sum(each.rows for each in stream.files)
    for batch in part.batches:
        rows += batch.num_rows
        if before:
            require_shape(file.source, rows=before + rows, columns=len(stream.schema), limits=settings.limits)
        yield batch
    entry = SourceFile(path=file.source, sha256=file.sha256(), size=file.size, rows=rows)
    stream.files = (*stream.files, entry)


def _joined(
    locations: Sequence[TableLocation],
    stream: TableStream,
    *,
    settings: ReadSettings,
    targets: ColumnTargets,
    columns: Sequence[str],
) -> Iterator[pa.RecordBatch]:
    for location in locations:
        with opened(location, limits=settings.limits) as file, _part(file, settings, targets, columns) as part:
            for batch in _counted(part, file, stream, settings=settings):
                yield pa.RecordBatch.from_arrays(
                    [
                        pa.nulls(batch.num_rows, field.type) if pa.types.is_null(column.type) else column
                        for field, column in zip(stream.schema, batch.columns, strict=True)
                    ],
                    schema=stream.schema,
                )


def _common_schema(
    locations: Sequence[TableLocation],
    *,
    settings: ReadSettings,
    targets: ColumnTargets,
    columns: Sequence[str] | None,
) -> pa.Schema:
    """The types that the columns have in all files, in the order of the first file's columns."""
    first: pa.Schema | None = None
    found: dict[str, pa.DataType] = {}
    for location in locations:
        with opened(location, limits=settings.limits) as file, _part(file, settings, targets, columns) as part:
            schema = part.schema
        if first is None:
            first, found = schema, {field.name: field.type for field in schema}
        source = str(location.path)
        differing = set(first.names) ^ set(schema.names)
        if differing:
            problem = f"the columns {', '.join(map(repr, sorted(differing)))} are in one of this file and "
            advice = f"{locations[0].path.name}, expected the same columns in every file of a table."
            raise UnreadableTableError(source, problem + advice)
        is_text = location.format in {"csv", "tsv"}
        for field in schema:
            common = _common_type(found[field.name], field.type, is_text=is_text)
            if common is None:
                problem = f"column {field.name!r} is {field.type}, but {found[field.name]} in the files before it. "
                raise UnreadableTableError(source, f"{problem}Declare its type under data.types, or convert the file.")
            found[field.name] = common
    return pa.schema(list(found.items()))


def _common_type(one: pa.DataType, other: pa.DataType, *, is_text: bool) -> pa.DataType | None:
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    return pa.string() if is_text else None
