"""What in a text may be personal data, and how sure that is: one recogniser per kind.

A recogniser is a sieve, a regular expression that RE2 runs over a whole column, and a function that reads the few
texts that pass it. Every pattern here is bounded, so that the time is linear in the text whatever it holds.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hokusai.datasets.email_addresses import EMAIL_SIEVE, SPELT_EMAIL_SIEVE, find_emails, find_spelt_emails
from hokusai.datasets.identity_numbers import (
    BARE_ID_SIEVE,
    CARD_SIEVE,
    IBAN_SIEVE,
    WRITTEN_ID_SIEVE,
    find_bank_accounts,
    find_bare_ids,
    find_cards,
    find_written_ids,
)
from hokusai.datasets.ip_addresses import IPV4_SIEVE, IPV6_SIEVE, find_ipv4, find_ipv6
from hokusai.datasets.person_names import (
    NAME_FORM_SIEVE,
    NAME_SIEVE,
    find_names,
    find_whole_names,
    has_letters,
    looks_like_name,
)
from hokusai.datasets.personal_data_kinds import Span
from hokusai.datasets.phone_numbers import (
    ANNOUNCED_SIEVE,
    INTERNATIONAL_SIEVE,
    NATIONAL_SIEVE,
    find_announced_phones,
    find_international_phones,
    find_national_phones,
    find_whole_phones,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from hokusai.datasets.personal_data_kinds import ColumnHints, Kind

__all__ = ["RECOGNISERS", "Recogniser", "name_positions", "resolve", "spans_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recogniser:
    """One kind of personal data: what a text must match to be read at all, and what reads it.

    Attributes:
        kind: The kind.
        sieve: A regular expression for RE2.
        find: Yields the spans of a text.
        needs_digits: Whether a text without a digit never passes the sieve.
        in_named_columns_only: Whether it reads columns alone whose name says that they hold this kind.
    """

    kind: Kind
    sieve: str
    find: Callable[[str, ColumnHints], Iterator[Span]]
    needs_digits: bool = False
    in_named_columns_only: bool = False


def _find_addresses(text: str, hints: ColumnHints) -> Iterator[Span]:
    if hints.postal_address and has_letters(text):
        yield Span(0, len(text), "postal_address", "possible")


def _find_cards(text: str, _: ColumnHints) -> Iterator[Span]:
    return find_cards(text)


def _find_bank_accounts(text: str, _: ColumnHints) -> Iterator[Span]:
    return find_bank_accounts(text)


def _find_written_ids(text: str, hints: ColumnHints) -> Iterator[Span]:
    return find_written_ids(text, is_named=hints.national_id)


def _find_bare_ids(text: str, hints: ColumnHints) -> Iterator[Span]:
    return find_bare_ids(text, is_named=hints.national_id)


_ANY_LETTER, _ANY_DIGIT = r"\p{L}", r"\d"
RECOGNISERS: tuple[Recogniser, ...] = (
    Recogniser(kind="email", sieve=EMAIL_SIEVE, find=find_emails),
    Recogniser(kind="email", sieve=SPELT_EMAIL_SIEVE, find=find_spelt_emails),
    Recogniser(kind="iban", sieve=IBAN_SIEVE, find=_find_bank_accounts, needs_digits=True),
    Recogniser(kind="ip_address", sieve=IPV4_SIEVE, find=find_ipv4, needs_digits=True),
    Recogniser(kind="ip_address", sieve=IPV6_SIEVE, find=find_ipv6),
    Recogniser(kind="credit_card", sieve=CARD_SIEVE, find=_find_cards, needs_digits=True),
    Recogniser(kind="national_id", sieve=WRITTEN_ID_SIEVE, find=_find_written_ids, needs_digits=True),
    Recogniser(kind="national_id", sieve=BARE_ID_SIEVE, find=_find_bare_ids, needs_digits=True),
    Recogniser(kind="phone", sieve=INTERNATIONAL_SIEVE, find=find_international_phones, needs_digits=True),
    Recogniser(kind="phone", sieve=ANNOUNCED_SIEVE, find=find_announced_phones, needs_digits=True),
    Recogniser(kind="phone", sieve=NATIONAL_SIEVE, find=find_national_phones, needs_digits=True),
    Recogniser(kind="phone", sieve=_ANY_DIGIT, find=find_whole_phones, in_named_columns_only=True),
    Recogniser(kind="person_name", sieve=NAME_SIEVE, find=find_names),
    Recogniser(kind="person_name", sieve=_ANY_LETTER, find=find_whole_names, in_named_columns_only=True),
    Recogniser(kind="postal_address", sieve=_ANY_LETTER, find=_find_addresses, in_named_columns_only=True),
)
# Which of two that stand at the same place with the same evidence it is.
_KIND_ORDER = {kind: at for at, kind in enumerate(dict.fromkeys(item.kind for item in RECOGNISERS))}


def resolve(spans: Sequence[Span]) -> list[Span]:
    """Return the spans of a text that do not overlap, better evidence first, then the longer; in the text's order.

    Those that chance alone could explain (``weak``) and those that failed their check (``miss``) are not among them.
    """
    known = [span for span in spans if span.evidence in {"certain", "possible"}]
    if len(known) < 2:
        return known
    known.sort(key=lambda span: (span.evidence != "certain", _KIND_ORDER[span.kind], span.start - span.end, span.start))
    taken = bytearray(max(span.end for span in known))
    kept = []
    for span in known:
        if not any(taken[span.start : span.end]):
            taken[span.start : span.end] = b"\x01" * (span.end - span.start)
            kept.append(span)
    return sorted(kept)


def spans_of(texts: pa.Array, hints: ColumnHints) -> dict[int, list[Span]]:
    """Return what the recognisers see in each text that has something, by position."""
    spans: defaultdict[int, list[Span]] = defaultdict(list)
    for first_sieve, recognisers in _by_first_sieve(hints).items():
        passed = np.flatnonzero(_matches(texts, first_sieve))
        passed_texts = texts.take(pa.array(passed))
        for item in recognisers:
            positions = np.flatnonzero(_matches(passed_texts, item.sieve))
            found = passed_texts.take(pa.array(positions)).to_pylist()
            for position, text in zip(passed[positions].tolist(), found, strict=True):
                for span in item.find(text, hints):
                    spans[position].append(span)
    return spans


@functools.lru_cache(maxsize=256)
def _by_first_sieve(hints: ColumnHints) -> dict[str, list[Recogniser]]:
    """The recognisers for a column by what its texts must match to be read by any of them: most texts match neither."""
    asked = [item for item in RECOGNISERS if not item.in_named_columns_only or getattr(hints, item.kind)]
    others = [item for item in asked if not item.needs_digits]
    return {
        _ANY_DIGIT: [item for item in asked if item.needs_digits],
        "|".join(f"(?:{item.sieve})" for item in others): others,
    }


def _matches(texts: pa.Array, pattern: str) -> NDArray[np.bool_]:
    matched: NDArray[np.bool_] = pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
    return matched


def name_positions(texts: pa.Array) -> list[int]:
    """Return the positions of the texts that have the form of a person's name."""
    positions = np.flatnonzero(_matches(texts, NAME_FORM_SIEVE))
    found = texts.take(pa.array(positions)).to_pylist()
    return [position for position, text in zip(positions.tolist(), found, strict=True) if looks_like_name(text)]
