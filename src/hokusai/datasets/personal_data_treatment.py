"""Personal data masked or hashed, and columns left out, batch by batch.

What takes the place of personal data is found by no recogniser: a second scan of a treated table finds none of it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hokusai.datasets.email_addresses import canonical_email
from hokusai.datasets.personal_data import PersonalDataCount, treatment_of
from hokusai.datasets.personal_data_kinds import Span, column_hints
from hokusai.datasets.personal_data_recognisers import name_positions, resolve, spans_of
from hokusai.datasets.searchable_texts import as_texts, is_number, is_text, normalised
from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hokusai.datasets.personal_data import Treatment
    from hokusai.datasets.personal_data_kinds import Grade, Kind

__all__ = ["require_key", "treat_batch"]

_LEAST_KEY_BYTES = 32
_HASH_DIGITS = 32
_ROUNDS = 4


def require_key(policy: Mapping[Kind, Treatment], key: bytes | None) -> None:
    """Refuse a policy that hashes without a key that nobody can guess.

    Raises:
        ConfigurationError: There is no key, or it is shorter than 32 bytes.
    """
    if "hash" not in policy.values() or (key is not None and len(key) >= _LEAST_KEY_BYTES):
        return
    got = "got none" if key is None else f"got {len(key)}"
    problem = (
        f"a keyed hash needs a key of at least {_LEAST_KEY_BYTES} bytes, {got}; without one, anybody reverses the "
        "hashes by guessing. Make one with `openssl rand -hex 32`."
    )
    raise ConfigurationError(problem, key="data.personal_data")


def treat_batch(
    batch: pa.RecordBatch,
    *,
    policy: Mapping[Kind, Treatment],
    counts: Iterable[PersonalDataCount],
    key: bytes | None = None,
    dropped: Collection[str] = (),
) -> tuple[pa.RecordBatch, tuple[PersonalDataCount, ...]]:
    """Mask or hash the personal data of some rows, and leave columns out.

    In a text, ``[email]`` or ``email:`` with 32 hexadecimal digits takes the place of what was found; the rest stays.
    A number cannot hold either: it becomes null under ``mask``, and ``hash`` is refused.

    Args:
        batch: The rows.
        policy: What to do with which kind.
        counts: What a scan of the whole table found; columns without a count are not touched.
        key: The secret of the hashes.
        dropped: Columns to leave out.

    Returns:
        The rows, and how many of them were changed, by column, kind and grade; without row numbers.

    Raises:
        ConfigurationError: The key is missing or short, or a column's type cannot hold what the policy asks for.
    """
    require_key(policy, key)
    in_place = [kind for kind, treatment in policy.items() if treatment in {"mask", "hash"}]
    work: dict[str, dict[Kind, bool]] = {}
    for count in counts:
        if treatment_of(count, policy) in {"mask", "hash"}:
            # Where one kind is taken out, another may come to light.
            work.setdefault(count.column, dict.fromkeys(in_place, False))[count.kind] |= count.by_column
    fields, columns = [], []
    done: list[PersonalDataCount] = []
    for own, column in zip(batch.schema, batch.columns, strict=True):
        if own.name in dropped:
            continue
        if own.name in work:
            treated = _TreatedColumn(name=own.name, policy=policy, kinds=work[own.name], key=key)
            columns.append(treated.apply(column))
            # In every batch, or their schemas would differ.
            fields.append(own.with_nullable(True))
            done += treated.counts()
        else:
            columns.append(_without_unused(column))
            fields.append(own)
    schema = pa.schema(fields, metadata=batch.schema.metadata)
    if not fields:
        return batch.select([]), ()
    return pa.RecordBatch.from_arrays(columns, schema=schema), tuple(done)


@dataclass(slots=True, kw_only=True)
class _TreatedColumn:
    """The treatment of one column of a batch.

    Attributes:
        name: The column's name.
        policy: What to do with which kind.
        kinds: What the column holds that is to be treated, and whether only the whole column showed it.
        key: The secret of the hashes.
    """

    name: str
    policy: Mapping[Kind, Treatment]
    kinds: Mapping[Kind, bool]
    key: bytes | None
    grades: list[tuple[Kind, Grade, int]] = field(default_factory=list)

    def apply(self, column: pa.Array) -> pa.Array:
        """Return the column without what was to be treated."""
        kind = column.type
        value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
        if is_number(value_type) and not any(self.policy[item] == "hash" for item in self.kinds):
            return self._without_numbers(column)
        if not is_text(value_type):
            asked = "hash" if is_number(value_type) else "mask or hash"
            problem = (
                f"column {self.name!r} is of the type {kind}, which cannot hold a {asked}; expected text. "
                f'Declare it as text, data.types = {{"{self.name}" = "string"}}, or drop the column.'
            )
            raise ConfigurationError(problem, key=f"data.personal_data.{next(iter(self.kinds))}")
        encoded = column if pa.types.is_dictionary(kind) else _encodable(column).dictionary_encode()
        values = self._replaced(encoded.dictionary, np.bincount(_codes(encoded), minlength=len(encoded.dictionary)))
        return (
            values.take(encoded.indices).cast(value_type).cast(kind) if values is not None else _without_unused(column)
        )

    def counts(self) -> Iterator[PersonalDataCount]:
        """Yield how many rows were changed."""
        for kind, grade in dict.fromkeys((kind, grade) for kind, grade, _ in self.grades):
            rows = sum(rows for own, sure, rows in self.grades if (own, sure) == (kind, grade))
            yield PersonalDataCount(
                column=self.name, kind=kind, grade=grade, rows=rows, by_column=self.kinds.get(kind, False)
            )

    def _found(self, texts: pa.Array) -> dict[int, list[Span]]:
        """The spans to treat, by position, without overlaps."""
        hints = column_hints(self.name)
        found = {}
        for position, spans in spans_of(texts, hints).items():
            supported = [
                span._replace(evidence="possible") if span.evidence == "weak" and self.kinds.get(span.kind) else span
                for span in spans
            ]
            wanted = [span for span in resolve(supported) if span.kind in self.kinds]
            if wanted:
                found[position] = wanted
        if self.kinds.get("person_name"):
            for position in name_positions(texts):
                length = len(texts[position].as_py())
                found[position] = [Span(0, length, "person_name", "possible")]
        return found

    def _tally(self, spans: Sequence[Span], rows: int) -> None:
        for kind in dict.fromkeys(span.kind for span in spans):
            is_certain = any(span.kind == kind and span.evidence == "certain" for span in spans)
            self.grades.append((kind, "certain" if is_certain else "possible", rows))

    def _replaced(self, values: pa.Array, rows: NDArray[np.int64]) -> pa.Array | None:
        """Return the values treated, or None when nothing is to do."""
        searched = normalised(_encodable(values))
        found = self._found(searched)
        if not found:
            return None
        for position, spans in found.items():
            self._tally(spans, int(rows[position]))
        replaced: dict[int, str] = {}
        # What was taken out may leave behind what only now stands alone.
        for _ in range(_ROUNDS):
            for position, spans in found.items():
                text = replaced.get(position, searched[position].as_py())
                replaced[position] = self._without(text, spans)
            positions = list(replaced)
            again = self._found(normalised(pa.array(replaced.values(), pa.large_string())))
            found = {positions[at]: spans for at, spans in again.items()}
            if not found:
                break
        replaced |= {at: self._marker(spans[0].kind, replaced[at]) for at, spans in found.items()}
        texts = values.to_pylist()
        for position, text in replaced.items():
            texts[position] = text
        return pa.array(texts, pa.large_string())

    def _without(self, text: str, spans: Sequence[Span]) -> str:
        parts, after = [], 0
        for span in spans:
            parts += [text[after : span.start], self._marker(span.kind, text[span.start : span.end])]
            after = span.end
        return "".join([*parts, text[after:]])

    def _marker(self, kind: Kind, found: str) -> str:
        if self.policy[kind] == "mask" or self.key is None:
            return f"[{kind}]"
        message = f"{kind}\0{_canonical(kind, found)}".encode()
        return f"{kind}:{hmac.new(self.key, message, hashlib.sha256).hexdigest()[:_HASH_DIGITS]}"

    def _without_numbers(self, column: pa.Array) -> pa.Array:
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        found = self._found(as_texts(encoded.dictionary, column_hints(self.name)))
        rows = np.bincount(_codes(encoded), minlength=len(encoded.dictionary))
        for position, spans in found.items():
            self._tally(spans, int(rows[position]))
        picked = np.zeros(len(encoded.dictionary), dtype=np.bool_)
        picked[list(found)] = True
        is_found = pa.array(picked).take(encoded.indices).fill_null(False)
        return pc.if_else(is_found, pa.scalar(None, column.type), column)


def _without_unused(column: pa.Array) -> pa.Array:
    """A column without those values of its dictionary that no row has: no scan counts them, and a file keeps them."""
    if not pa.types.is_dictionary(column.type):
        return column
    numbers = np.bincount(_codes(column), minlength=len(column.dictionary))
    if numbers.all():
        return column
    places = pa.array(np.cumsum(numbers > 0) - 1, column.type.index_type)
    kept = column.dictionary.filter(pa.array(numbers > 0))
    return pa.DictionaryArray.from_arrays(places.take(column.indices), kept, ordered=column.type.ordered)


def _encodable(texts: pa.Array) -> pa.Array:
    return texts.cast(pa.large_string()) if texts.type == pa.string_view() else texts


def _codes(encoded: pa.DictionaryArray) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = encoded.indices.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _canonical(kind: Kind, found: str) -> str:
    """Return what is the same however it was written, so that hashes can be joined on."""
    if kind in {"credit_card", "iban", "national_id"}:
        return "".join(sign for sign in found if sign.isalnum()).upper()
    if kind == "phone":
        digits = "".join(sign for sign in found.replace("(0)", "") if sign.isdigit())
        return digits.removeprefix("00") if found.lstrip().startswith("00") else digits
    if kind == "ip_address":
        return ipaddress.ip_address(found).compressed
    return canonical_email(found) if kind == "email" else " ".join(found.split()).casefold()
