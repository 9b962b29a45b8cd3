"""Turn a delimited text into columns whose types are certain.

The bytes are checked first (encoding, quotes, line ends, sizes), piece by piece; then Arrow splits them into texts, and
:mod:`hokusai.datasets.text_columns` finds the types. When all types are known before the first row has been seen, a
piece is all that memory holds.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import csv as arrow_csv

from hokusai.datasets.column_types import (
    ColumnPlace,
    ColumnTargets,
    require_column_names,
    require_columns,
    require_field_sizes,
)
from hokusai.datasets.delimiters import delimiter_hint, found_delimiter, header_names
from hokusai.datasets.read_settings import require_shape
from hokusai.datasets.table_parts import BATCH_ROWS, TablePart, part_of, translated
from hokusai.datasets.text_columns import TextColumn
from hokusai.datasets.text_rows import RowPiece, require_quotes, row_pieces
from hokusai.errors import UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hokusai.datasets.read_settings import ReadSettings

__all__ = ["read_delimited"]

_SAMPLE_ROWS = 100
_ARROW_BLOCK_BYTES = 1 << 20


def read_delimited(
    blocks: Iterator[bytes],
    *,
    source: str,
    delimiter: str,
    settings: ReadSettings,
    targets: ColumnTargets,
    columns: Sequence[str] | None = None,
) -> TablePart:
    """Read a delimited text with a header: RFC 4180, line ends LF, CRLF or CR.

    Blank lines between rows are no rows, except in a file of one column, where they are refused.

    Args:
        blocks: The text in UTF-8, without a mark.
        source: What messages call the file.
        delimiter: The character between fields; empty when it is to be found.
        settings: Missing values and limits.
        targets: What is known about the types.
        columns: The columns to return, in this order; None for all.

    Raises:
        UnreadableTableError: The bytes are not such a text, or are beyond a limit.
        SchemaMismatchError: A column is missing.
        ValueMismatchError: A value does not fit its column, or the type of a column is in doubt.
    """
    pieces = row_pieces(blocks, source=source, limits=settings.limits)
    first = next(pieces)
    header = _header(first)
    if not delimiter:
        delimiter = found_delimiter(_sample(first), source=source, wanted=columns)
    require_quotes(first, delimiter=delimiter, source=source)
    names = header_names(header, source=source, delimiter=delimiter)
    require_shape(source, rows=0, columns=len(names), limits=settings.limits)
    require_column_names(names, source=source)
    hint = "" if columns is None else delimiter_hint(header, delimiter=delimiter, missing=set(columns) - set(names))
    wanted = require_columns(names, wanted=columns, source=source, hint=hint)
    reader = _TextReader(
        source=source,
        delimiter=delimiter,
        names=tuple(names),
        wanted=wanted,
        settings=settings,
        header_bytes=int(first.row_ends[0]) + 1 if first.row_ends.size else len(first.body),
    )
    if targets.are_certain(wanted):
        schema = pa.schema([(name, targets.of(name).type) for name in wanted])
        return TablePart(schema=schema, batches=reader.batches(first, pieces, targets=targets, schema=schema))
    texts = pa.concat_tables([reader.no_rows(), *reader.texts(first, pieces)])
    return part_of(pa.table(reader.parsed(texts, 0, targets=targets), names=list(wanted)))


def _header(first: RowPiece) -> str:
    end = int(first.row_ends[0]) + 1 if first.row_ends.size else len(first.body)
    return str(first.body[:end], "utf-8").rstrip("\r\n")


def _sample(first: RowPiece) -> str:
    end = int(first.row_ends[: _SAMPLE_ROWS + 1][-1]) + 1 if first.row_ends.size else len(first.body)
    if first.row_ends.size <= _SAMPLE_ROWS:
        end = len(first.body)
    return str(first.body[:end], "utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class _TextReader:
    """Splits pieces of one file into texts, and makes typed columns of them."""

    source: str
    delimiter: str
    names: tuple[str, ...]
    wanted: tuple[str, ...]
    settings: ReadSettings
    header_bytes: int

    def no_rows(self) -> pa.Table:
        return pa.table({name: pa.chunked_array([], type=pa.string()) for name in self.wanted})

    def batches(
        self, first: RowPiece, pieces: Iterator[RowPiece], *, targets: ColumnTargets, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        rows = 0
        for texts in self.texts(first, pieces):
            with translated(self.source):
                table = pa.table(self.parsed(texts, rows, targets=targets), schema=schema)
            rows += texts.num_rows
            yield from table.to_batches(max_chunksize=BATCH_ROWS)

    def parsed(self, texts: pa.Table, first_row: int, *, targets: ColumnTargets) -> list[pa.ChunkedArray]:
        columns = []
        for name in self.wanted:
            place = ColumnPlace(source=self.source, name=name, first_row=first_row)
            column = TextColumn(
                place=place, texts=texts.column(name), missing_values=self.settings.missing_values
            ).parse(targets.of(name))
            require_field_sizes(column, place, limits=self.settings.limits)
            columns.append(column)
        return columns

    def texts(self, first: RowPiece, pieces: Iterator[RowPiece]) -> Iterator[pa.Table]:
        """The wanted columns as strings; null where an unquoted field is one of the missing values."""
        rows, skipped = 0, self.header_bytes
        piece: RowPiece | None = first
        while piece is not None:
            if piece is not first:
                require_quotes(piece, delimiter=self.delimiter, source=self.source)
            if len(self.names) == 1:
                self._require_no_blank_line(piece)
            with translated(self.source):
                table = self._split(piece, skipped, rows)
            rows, skipped = rows + table.num_rows, 0
            require_shape(self.source, rows=rows, columns=len(self.names), limits=self.settings.limits)
            yield table
            piece = next(pieces, None)

    def _require_no_blank_line(self, piece: RowPiece) -> None:
        if piece.blank_line:
            problem = f"line {piece.blank_line}: a blank line in a file of one column may be a missing value or "
            advice = "nothing. Delete it, or write a marker such as NA and list it under data.missing_values."
            raise UnreadableTableError(self.source, problem + advice)

    def _split(self, piece: RowPiece, skipped: int, first_row: int) -> pa.Table:
        rows = memoryview(piece.body)[skipped:]
        if not piece.body[skipped : skipped + 4096].strip(b"\r\n") and not bytes(rows).strip(b"\r\n"):
            return self.no_rows()
        if bytes(rows[:3]) == codecs.BOM_UTF8:
            if not first_row:
                problem = "the first data row starts with a byte order mark. Delete it."
                raise UnreadableTableError(self.source, problem)
            rows = memoryview(b"\n" + rows)  # Arrow drops what looks like a mark at the start of its input.
        ragged: list[arrow_csv.InvalidRow] = []

        def note(row: arrow_csv.InvalidRow) -> str:
            ragged.append(row)
            return "error"

        try:
            try:
                return self._read_csv(rows, piece, note, use_threads=True)
            except pa.ArrowInvalid:
                if not ragged:
                    raise
                ragged.clear()
                return self._read_csv(rows, piece, note, use_threads=False)  # Only a single thread can number the row.
        except pa.ArrowInvalid as error:
            if not ragged:
                raise UnreadableTableError(self.source, f"it cannot be read as CSV: {error}") from error
            row = ragged[0]
            problem = f"data row {first_row + row.number} has {row.actual_columns} fields"
            advice = "Mend the row, or enclose values that hold the delimiter in quotes."
            expected = f"{row.expected_columns}, as the header has"
            raise UnreadableTableError(self.source, f"{problem}, expected {expected}. {advice}") from error

    def _read_csv(self, rows: memoryview, piece: RowPiece, note: object, *, use_threads: bool) -> pa.Table:
        return arrow_csv.read_csv(
            pa.BufferReader(pa.py_buffer(rows)),
            read_options=arrow_csv.ReadOptions(
                column_names=list(self.names),
                use_threads=use_threads,
                block_size=max(_ARROW_BLOCK_BYTES, piece.longest_row + 2),
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.delimiter, newlines_in_values=piece.has_broken_values, invalid_row_handler=note
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.string()),
                include_columns=list(self.wanted),
                null_values=list(self.settings.missing_values),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                check_utf8=False,
            ),
        )
