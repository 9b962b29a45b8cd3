"""The values of a column as texts to be searched for personal data, each distinct value once.

Texts are searched in one form, whatever signs were used to hide them: compatibility forms are folded (full-width
letters), invisible signs are taken out, dashes, spaces and digits of all scripts become those of ASCII.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hokusai.datasets.personal_data_kinds import ColumnHints

__all__ = ["DistinctValues", "as_texts", "distinct_values", "is_number", "is_text", "normalised"]

# Format characters, and letters and marks of no width.
_INVISIBLE = r"[\p{Cf}\x{034F}\x{115F}\x{1160}\x{3164}\x{FE00}-\x{FE0F}]+"
# All but ASCII and the letters of Latin, Greek and Cyrillic that are in their own form already.
_FOLDED = r"[^\x00-\x7F\x{C0}-\x{131}\x{134}-\x{13E}\x{141}-\x{148}\x{14A}-\x{17E}\x{3B1}-\x{3CE}\x{410}-\x{44F}]"


@dataclass(frozen=True, slots=True)
class DistinctValues:
    """The values of a column, each once, as texts; which row has which.

    Attributes:
        texts: The values, normalised.
        codes: Of every row that has a value, which one.
        rows: The positions of those rows in the batch; None when every row has a value.
        are_numbers: Whether the column holds numbers.
    """

    texts: pa.Array
    codes: NDArray[np.int64]
    rows: NDArray[np.int64] | None
    are_numbers: bool

    def rows_of(self, picked: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the positions of the rows whose value is picked."""
        positions = np.flatnonzero(picked[self.codes])
        return positions if self.rows is None else self.rows[positions]


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view())


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or kind == pa.binary_view()
    )


def distinct_values(
    array: pa.Array, hints: ColumnHints, rows: NDArray[np.int64] | None = None
) -> Iterator[DistinctValues]:
    """Yield the values of a column that can be personal data; of a nested one, those of each of its leaves."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        yield from distinct_values(array.storage, hints, rows)
    elif pa.types.is_struct(kind):
        for inner in array.flatten():
            yield from distinct_values(inner, hints, rows)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        parents = pc.list_parent_indices(array).to_numpy(zero_copy_only=False).astype(np.int64)
        yield from distinct_values(array.flatten(), hints, parents if rows is None else rows[parents])
    elif pa.types.is_map(kind):
        pairs = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        yield from distinct_values(pairs, hints, rows)
    elif pa.types.is_dictionary(kind):
        yield from _dictionary_values(array, hints, rows)
    elif is_text(kind) or _is_bytes(kind) or is_number(kind):
        encoded = array.cast(pa.large_string()) if kind == pa.string_view() else array
        encoded = encoded.cast(pa.large_binary()) if kind == pa.binary_view() else encoded
        yield from _dictionary_values(encoded.dictionary_encode(), hints, rows)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _dictionary_values(
    array: pa.DictionaryArray, hints: ColumnHints, rows: NDArray[np.int64] | None
) -> Iterator[DistinctValues]:
    kind = array.dictionary.type
    if not (is_text(kind) or _is_bytes(kind) or is_number(kind)):
        return
    positions = np.arange(len(array)) if array.indices.null_count else None
    indices = array.indices
    if positions is not None:
        valid = indices.is_valid().to_numpy(zero_copy_only=False)
        positions, indices = positions[valid], indices.drop_null()
    if rows is not None:
        positions = rows if positions is None else rows[positions]
    codes = indices.to_numpy(zero_copy_only=False).astype(np.int64)
    yield DistinctValues(as_texts(array.dictionary, hints), codes, positions, is_number(kind))


def as_texts(values: pa.Array, hints: ColumnHints) -> pa.Array:
    """Values as normalised texts; what cannot be personal data becomes the empty text."""
    kind = values.type
    if is_number(kind):
        return _numbers_as_texts(values, hints)
    if _is_bytes(kind):
        decoded = [value if value is None else value.decode("latin-1") for value in values.to_pylist()]
        try:
            return normalised(values.cast(pa.large_binary()).cast(pa.large_string()))
        except pa.ArrowInvalid:
            return normalised(pa.array(decoded, pa.large_string()))
    return normalised(values.cast(pa.large_string()) if kind == pa.string_view() else values)


def _numbers_as_texts(values: pa.Array, hints: ColumnHints) -> pa.Array:
    """Whole numbers with enough digits as texts."""
    least = 10**6 if hints.phone or hints.national_id else 10**8
    if pa.types.is_decimal(values.type):
        texts = pc.replace_substring_regex(values.cast(pa.string()), r"\.0*$", "")
        return pc.if_else(pc.match_substring_regex(texts, rf"^[1-9]\d{{{len(str(least)) - 1},}}$"), texts, "")
    if pa.types.is_floating(values.type):
        numbers = values.cast(pa.float64())
        is_whole = pc.and_(pc.equal(numbers, pc.floor(numbers)), pc.less(pc.abs(numbers), float(2**53)))
        values = pc.if_else(is_whole, numbers, 0.0).cast(pa.int64())
    is_long = pc.greater_equal(values, pa.scalar(least).cast(values.type)) if _holds(values.type, least) else False
    if is_long is False or not pc.any(is_long).as_py():
        return pa.nulls(len(values), pa.string()).fill_null("")
    return pc.if_else(is_long, values.cast(pa.string()), "").fill_null("")


def _holds(kind: pa.DataType, number: int) -> bool:
    return bool(number < 2 ** (kind.bit_width - pa.types.is_signed_integer(kind)))


def normalised(texts: pa.Array) -> pa.Array:
    """Texts in the form that is searched: compatibility forms folded, invisible signs gone, dashes and digits ASCII."""
    texts = texts.fill_null("")
    if pc.all(pc.string_is_ascii(texts)).as_py() is not False:
        return texts
    is_folded = pc.match_substring_regex(texts, _FOLDED)
    if not pc.any(is_folded).as_py():
        return texts
    others = texts.filter(is_folded)
    folded = pc.utf8_normalize(others, form="NFKC")
    folded = pc.replace_substring_regex(folded, _INVISIBLE, "")
    folded = pc.replace_substring_regex(folded, r"\p{Pd}|\x{2212}", "-")
    folded = pc.replace_substring_regex(folded, r"\p{Zs}", " ")
    folded = pc.replace_substring_regex(folded, r"\x{2019}", "'")
    digits = pc.match_substring_regex(folded, r"[^\P{Nd}0-9]")
    if pc.any(digits).as_py():
        ascii_digits = [_with_ascii_digits(text) for text in folded.filter(digits).to_pylist()]
        folded = pc.replace_with_mask(folded, digits, pa.array(ascii_digits, folded.type))
    return pc.replace_with_mask(texts, is_folded, folded)


def _with_ascii_digits(text: str) -> str:
    return "".join(str(unicodedata.digit(sign)) if sign.isdecimal() else sign for sign in text)
