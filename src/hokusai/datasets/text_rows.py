"""Cut a delimited text into pieces of whole rows, and check its quotes and line ends.

Every CSV reader forgives some damage silently, so the bytes are checked before one sees them. Memory holds one piece.

Sources: RFC 4180 (quotes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hokusai.errors import TableLimitError, UnreadableTableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hokusai.datasets.read_settings import ReadLimits

__all__ = ["RowPiece", "require_quotes", "row_pieces"]

_LINE_FEED, _CARRIAGE_RETURN, _QUOTE = b"\n"[0], b"\r"[0], b'"'[0]
_BEFORE_OPENING = b',;\t|\n\r" '  # A delimiter may be a blank; which one it is, is not known here.


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPiece:
    """Whole rows of a delimited text.

    Attributes:
        body: Their bytes; only the last piece of a file may lack a line end.
        first_line: The line of the file in which the piece begins, counted from 1.
        row_ends: Shape (rows,): offsets of the line feeds that end rows; the last row may have none.
        quotes: Shape (quotes,): offsets of the quotes.
        longest_row: Bytes of the longest row with its line end.
        has_broken_values: Whether a quoted value holds a line break.
    """

    body: bytes
    first_line: int
    row_ends: NDArray[np.int64]
    quotes: NDArray[np.int64]
    longest_row: int
    has_broken_values: bool

    def line(self, offset: int) -> int:
        """The line of the file in which an offset stands, counted from 1."""
        return self.first_line + self.body.count(b"\n", 0, offset)

    @property
    def blank_line(self) -> int:
        """The line of the first row without a character, counted from 1, or 0."""
        data = np.frombuffer(self.body, dtype=np.uint8)
        lengths = np.diff(self.row_ends, prepend=-1)
        is_return = data[np.maximum(self.row_ends - 1, 0)] == _CARRIAGE_RETURN
        blank = self.row_ends[(lengths == 1) | ((lengths == 2) & is_return)]
        return self.line(int(blank[0])) if blank.size else 0


def row_pieces(blocks: Iterator[bytes], *, source: str, limits: ReadLimits) -> Iterator[RowPiece]:
    """Cut a text after rows; a line break inside quotes ends none.

    Lines end with LF or CRLF. In a text without any LF, CR ends a line.

    Raises:
        UnreadableTableError: A quote is never closed, or a carriage return is neither a line end nor quoted.
        TableLimitError: A row is too long.
    """
    rest, line, ends_with_return, is_last = b"", 1, None, False
    while not is_last:
        block = next(blocks, None)
        is_last = block is None
        if block:
            if ends_with_return is None:
                ends_with_return = b"\r" in block and b"\n" not in block
            if ends_with_return:
                block = _with_line_feeds(block, source=source)
            rest = rest + block if rest else block
        piece = _piece(rest, line, is_last=is_last, source=source)
        if piece.has_broken_values and ends_with_return:
            problem = f"line {piece.first_line}: a line break inside quotes, in a file whose lines end with CR. "
            raise UnreadableTableError(source, f"{problem}Save the file with LF or CRLF line ends.")
        longest = max(piece.longest_row, len(rest) - len(piece.body))
        if longest > limits.max_row_bytes:
            allowed, limit = limits.max_row_bytes, "data.limits.max_row_bytes"
            got, advice = f"a row of {longest:,} bytes or more", "Look for a quote that is never closed"
            raise TableLimitError(source, limit=limit, got=got, allowed=allowed, unit="bytes", advice=advice)
        rest, line = rest[len(piece.body) :], line + piece.body.count(b"\n")
        if piece.body:
            yield piece


def _with_line_feeds(block: bytes, *, source: str) -> bytes:
    if b"\n" in block:
        problem = "some lines end with a carriage return alone, others with a line feed. "
        raise UnreadableTableError(source, f"{problem}Save the file with LF or CRLF line ends.")
    return block.replace(b"\r", b"\n")


def _piece(data: bytes, first_line: int, *, is_last: bool, source: str) -> RowPiece:
    """All whole rows at the beginning of the data; the last piece takes what is left."""
    values = np.frombuffer(data, dtype=np.uint8)
    nothing = np.zeros(0, dtype=np.int64)
    quotes = np.flatnonzero(values == _QUOTE) if b'"' in data else nothing
    feeds, feeds_inside = _split_by_quotes(np.flatnonzero(values == _LINE_FEED), quotes)
    end = len(data) if is_last else int(feeds[-1]) + 1 if feeds.size else 0
    quotes = quotes[: np.searchsorted(quotes, end)]
    feeds_inside = feeds_inside[feeds_inside < end]
    returns_inside = nothing
    lengths = np.diff(feeds, prepend=-1)
    tail = end - (int(feeds[-1]) + 1 if feeds.size else 0)
    body = data if end == len(data) else data[:end]
    piece = RowPiece(
        body=body,
        first_line=first_line,
        row_ends=feeds,
        quotes=quotes,
        longest_row=max(int(lengths.max(initial=0)), tail),
        has_broken_values=bool(feeds_inside.size),
    )
    if b"\r" in body:
        positions = np.flatnonzero(values[:end] == _CARRIAGE_RETURN)
        returns, returns_inside = _split_by_quotes(positions, quotes)
        lone = returns[values[np.minimum(returns + 1, end - 1)] != _LINE_FEED]
        if lone.size:
            problem = f"line {piece.line(int(lone[0]))}: a carriage return without a line feed. "
            raise UnreadableTableError(source, f"{problem}Save the file with LF or CRLF line ends.")
    if is_last and quotes.size % 2:
        last = int(quotes[-1])
        if last and values[last - 1] not in _BEFORE_OPENING:
            raise _stray_quote(piece.line(last), source=source)
        problem = f"line {piece.line(int(quotes[-1]))}: a quote is opened and never closed. Close it."
        raise UnreadableTableError(source, problem)
    if returns_inside.size and not piece.has_broken_values:
        return RowPiece(
            body=body,
            first_line=first_line,
            row_ends=feeds,
            quotes=quotes,
            longest_row=piece.longest_row,
            has_broken_values=True,
        )
    return piece


def _split_by_quotes(
    positions: NDArray[np.int64], quotes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions outside quoted values, and those inside; quotes open and close in turn."""
    if not quotes.size:
        return positions, positions[:0]
    inside = np.searchsorted(quotes, positions) % 2 == 1
    return positions[~inside], positions[inside]


def require_quotes(piece: RowPiece, *, delimiter: str, source: str) -> None:
    """Refuse a quote that neither encloses a whole field nor is doubled inside of one.

    Quotes open and close in turn, a doubled one closes and opens again at once: so an opening quote stands after a
    delimiter, a line end or a closing quote, and a closing one before a delimiter, a line end or an opening quote.

    Raises:
        UnreadableTableError: There is such a quote.
    """
    if not piece.quotes.size:
        return
    data = np.frombuffer(piece.body, dtype=np.uint8)
    opening, closing = piece.quotes[::2], piece.quotes[1::2]
    edges = np.zeros(256, dtype=np.bool_)
    edges[[ord(delimiter), _LINE_FEED, _CARRIAGE_RETURN, _QUOTE]] = True
    is_stray_opening = ~edges[data[opening - 1]] & (opening > 0)
    is_stray_closing = ~edges[data[np.minimum(closing + 1, data.size - 1)]] & (closing < data.size - 1)
    stray = np.concatenate([opening[is_stray_opening], closing[is_stray_closing]])
    if stray.size:
        raise _stray_quote(piece.line(int(stray.min())), source=source)


def _stray_quote(line: int, *, source: str) -> UnreadableTableError:
    problem = f'line {line}: a quote inside a field. Enclose the field in quotes and double the quote: "5"" pipe".'
    return UnreadableTableError(source, problem)
