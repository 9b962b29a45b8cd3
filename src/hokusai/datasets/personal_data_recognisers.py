"""What in a text may be personal data, and how sure that is: one recogniser per kind.

A recogniser is a sieve, a regular expression that RE2 runs over a whole column, and a function that reads the few
texts that pass it. Every pattern here is bounded, so that the time is linear in the text whatever it holds.
"""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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

    from hokusai.datasets.personal_data_kinds import ColumnHints, Evidence, Kind

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


# Local part and domain are looked for from the sign between them, outwards and not beyond what the standards allow.
_LOCAL_PART = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}\Z")
_DOMAIN = re.compile(r"(?:(?:[^\W_]|-){1,63}\.){1,8}([^\W\d_]{2,24}|xn--[A-Za-z0-9-]{2,59})(?![\w@])")
_FILE_ENDINGS = {"png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "ts", "json", "html", "txt"}
_AT_WORD = re.compile(
    r"[ \t]{0,3}(?:[\[({<][ \t]{0,2}(?:at|@|arroba|chez)[ \t]{0,2}[\])}>]|[ \t]at)[ \t]{0,3}", re.IGNORECASE
)
_DOT_WORD = (
    r"(?:[ \t]{0,3}[\[({<][ \t]{0,2}(?:dot|\.|punkt|point|punto)[ \t]{0,2}[\])}>][ \t]{0,3}|[ \t]{1,3}dot[ \t]{1,3})"
)
_SPELT_DOMAIN = re.compile(
    rf"[A-Za-z0-9-]{{1,63}}(?:(?:{_DOT_WORD}|\.)[A-Za-z0-9-]{{1,63}}){{0,6}}(?:{_DOT_WORD}|\.)[A-Za-z]{{2,24}}\b",
    re.IGNORECASE,
)
_SPELT_LOCAL_PART = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}\Z")


def _find_emails(text: str, _: ColumnHints) -> Iterator[Span]:
    at = text.find("@")
    while at >= 0:
        local = _local_part(text, at)
        domain = _DOMAIN.match(text, at + 1)
        if local is not None and domain is not None and domain[1].lower() not in _FILE_ENDINGS:
            yield Span(local, domain.end(), "email", "certain")
        at = text.find("@", at + 1)


def _find_spelt_emails(text: str, _: ColumnHints) -> Iterator[Span]:
    for word in _AT_WORD.finditer(text):
        spelt = _SPELT_LOCAL_PART.search(text[max(0, word.start() - 64) : word.start()])
        domain = _SPELT_DOMAIN.match(text, word.end())
        if spelt is None or domain is None:
            continue
        # "at" is a word of English: without brackets around it, the dot must be spelt as well.
        if word[0].strip().lower() != "at" or "dot" in domain[0].lower():
            yield Span(word.start() - len(spelt[0]), domain.end(), "email", "possible")


def _local_part(text: str, at: int) -> int | None:
    before = text[max(0, at - 64) : at]
    if before.endswith('"'):
        begin = before.rfind('"', 0, -1)
        return at - len(before) + begin if begin >= 0 else None
    match = _LOCAL_PART.search(before)
    if match is None:
        return None
    # What stands before the address in a sentence or a URL is no part of it.
    kept = re.sub(r"\A(?:mailto:|.*[/=?{|}#&!*`^~$%']|[.'])", "", match[0]).lstrip(".")
    return at - len(kept) if kept and not kept.endswith(".") else None


_IPV4 = re.compile(r"(?<![\w.\-])(?:\d{1,3}\.){3}\d{1,3}(?![\w\-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?:(?<=:)(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])")
_SAYS_VERSION = re.compile(
    r"(?:\bv(?:er(?:sion)?)?\.?|release|build|firmware|driver|section|[=<>~^§])[\s:]{0,3}\Z", re.IGNORECASE
)
_SAYS_IP = re.compile(
    r"\b(?:ip|ips|ipv4|host|server|address|addr|client|from|remote|login|ping|node|gateway)\b", re.IGNORECASE
)


def _find_ipv4(text: str, _: ColumnHints) -> Iterator[Span]:
    for match in _IPV4.finditer(text):
        parts = match[0].split(".")
        if any(int(part) > 255 or (part[0] == "0" and len(part) > 1) for part in parts):
            continue
        address = ipaddress.IPv4Address(match[0])
        before = text[max(0, match.start() - 24) : match.start()]
        is_nobodys = address.is_loopback or address.is_unspecified or address.is_multicast or parts[0] == "255"
        if is_nobodys or _SAYS_VERSION.search(before):
            continue
        has_large_part = any(len(part) == 3 for part in parts)
        says_so = has_large_part or _SAYS_IP.search(before) is not None
        is_private = parts[0] == "10" or parts[:2] in (["192", "168"], ["169", "254"])
        evidence: Evidence = "certain" if says_so and not is_private else "possible"
        yield Span(match.start(), match.end(), "ip_address", evidence)


def _find_ipv6(text: str, _: ColumnHints) -> Iterator[Span]:
    for match in _IPV6.finditer(text):
        if match[0].count(":") < 2 or ("::" not in match[0] and match[0].count(":") != 7 and "." not in match[0]):
            continue
        groups = match[0].split(":")
        # Eight pairs of digits are the address of a device or a fingerprint.
        if len(groups) == 8 and all(len(group) == 2 for group in groups):
            continue
        if "::" in match[0] and (len(match[0].replace(":", "")) < 3 or len(groups[0]) < 3):
            continue
        try:
            address6 = ipaddress.IPv6Address(match[0])
        except ValueError:
            continue
        if not (address6.is_loopback or address6.is_unspecified or address6.is_multicast):
            is_clear = len(groups) == 8 or any(sign.isdigit() for sign in groups[0])
            yield Span(
                match.start(),
                match.end(),
                "ip_address",
                "certain" if is_clear and not address6.is_link_local else "possible",
            )


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


_SPELT_AT_SIEVE = r"(?i:[\[({<]\s{0,2}(?:at|@|arroba|chez)\s{0,2}[\])}>]| at [\w.\- ]+ dot )"
_IPV6_SIEVE = r"(?:[0-9A-Fa-f]{1,4}:){7}|[0-9A-Fa-f]:(?::|[0-9A-Fa-f:]{1,30}::)"
_ANY_LETTER, _ANY_DIGIT = r"\p{L}", r"\d"
RECOGNISERS: tuple[Recogniser, ...] = (
    Recogniser(kind="email", sieve="@", find=_find_emails),
    Recogniser(kind="email", sieve=_SPELT_AT_SIEVE, find=_find_spelt_emails),
    Recogniser(kind="iban", sieve=IBAN_SIEVE, find=_find_bank_accounts, needs_digits=True),
    Recogniser(kind="ip_address", sieve=r"\d\.\d{1,3}\.\d{1,3}\.\d", find=_find_ipv4, needs_digits=True),
    Recogniser(kind="ip_address", sieve=_IPV6_SIEVE, find=_find_ipv6),
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
    with_digits = np.flatnonzero(pc.match_substring_regex(texts, _ANY_DIGIT).to_numpy(zero_copy_only=False))
    texts_with_digits = texts.take(pa.array(with_digits))
    for item in RECOGNISERS:
        if item.in_named_columns_only and not getattr(hints, item.kind):
            continue
        read = texts_with_digits if item.needs_digits else texts
        positions = np.flatnonzero(pc.match_substring_regex(read, item.sieve).to_numpy(zero_copy_only=False))
        if not len(positions):
            continue
        places = with_digits[positions] if item.needs_digits else positions
        for position, text in zip(places.tolist(), read.take(pa.array(positions)).to_pylist(), strict=True):
            found = list(item.find(text, hints))
            if found:
                spans[position] += found
    return spans


def name_positions(texts: pa.Array) -> list[int]:
    """Return the positions of the texts that have the form of a person's name."""
    positions = np.flatnonzero(pc.match_substring_regex(texts, NAME_FORM_SIEVE).to_numpy(zero_copy_only=False))
    found = texts.take(pa.array(positions)).to_pylist()
    return [position for position, text in zip(positions.tolist(), found, strict=True) if looks_like_name(text)]
