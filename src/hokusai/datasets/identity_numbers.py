"""Numbers that belong to one person: payment cards, bank accounts, national identity numbers.

Every pattern is bounded, so that the time is linear in the text whatever it holds. How often chance passes a check
decides its evidence: a card's prefix and Luhn digit, or a tax number with date and check digits, speak for themselves;
one check digit on any digits does not, and needs a word beside it or a whole column of the like.
"""

from __future__ import annotations

import functools
import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from hokusai.datasets.personal_data_kinds import Span, says_identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hokusai.datasets.personal_data_kinds import Evidence

__all__ = [
    "BARE_ID_SIEVE",
    "CARD_SIEVE",
    "IBAN_SIEVE",
    "WRITTEN_ID_SIEVE",
    "find_bank_accounts",
    "find_bare_ids",
    "find_cards",
    "find_written_ids",
]

# The sieves are for RE2, which reads a whole column at once; what follows them reads the few texts that they let pass.
_BEGIN, _END = r"(?:^|[^0-9A-Za-z])", r"(?:$|[^0-9A-Za-z \-]|[ \-](?:$|[^0-9]))"
CARD_SIEVE = _BEGIN + r"[1-6](?:[ \-]?\d){11}|\d{4}\.\d{4}\.\d{4}\.\d{4}"
IBAN_SIEVE = _BEGIN + r"[A-Za-z]{2}\d{2}(?:[ \-]?[A-Za-z0-9]){3}"
BARE_ID_SIEVE = _BEGIN + r"(?:\d{9,13}|\d{18})" + _END
WRITTEN_ID_SIEVE = (
    _BEGIN + r"(?:\d{8}-?[A-Z]|[XYZ]-?\d{7}-?[A-Z]|\d{6}[-+A-Y]\d{3}[0-9A-Y]|(?:19|20)\d{6}[-+]\d{4}|\d{3}-\d{2}-\d{4}"
    r"|\d{3}\.\d{3}\.\d{3}-\d{2}|\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}|756\.?\d{4}\.?\d{4}\.?\d{2}|\d{17}X"
    r"|[12] ?\d{2} ?\d{2} ?[0-9AB]{2} ?\d{3} ?\d{3} ?\d{2}|\d{4}[ -]\d{4}[ -]\d{4}|\d{3}[ -]\d{3}[ -]\d{3,4}"
    r"|[A-Z]{6}[0-9L-V]{2}[A-T][0-9L-V]{2}[A-Z][0-9L-V]{3}[A-Z]|[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d"
    r"|[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D])" + _END
)

# A number goes on to the left or right of these: in a longer number, a decimal fraction, a UUID.
_NOT_AFTER = r"(?<![^\W_])(?<!\d[.,/:_])(?<![0-9A-Fa-f]{4}-)"
_NOT_BEFORE = r"(?![^\W_]|[.,/:_]\d|-[0-9A-Fa-f]{4}-)"

_DIGIT_GROUPS = re.compile(
    r"(?=\d)" + _NOT_AFTER + r"(?:\d{4}(?:\.\d{4}){3}(?!\.)|\d{1,19}(?:[ \-]\d{1,19})*+)" + _NOT_BEFORE
)
_GROUP = re.compile(r"\d+")
_CARD = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}"
    r"|3(?:0[0-59]|6\d|[89]\d)\d(?:\d{10}|\d{12})"
    r"|(?:6011|64[4-9]\d|65\d\d)(?:\d{12}|\d{15})"
    r"|35(?:2[89]|[3-8]\d)(?:\d{12}|\d{15})|(?:2131|1800)\d{11}"
    r"|62\d{14,17}"
    r"|(?:5018|5020|5038|5893|6304|639\d|6759|676[1-3]|5[678]\d\d)\d{8,15}"
)
_CARD_GROUPS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 4)}
_LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def _passes_luhn(digits: str) -> bool:
    values = [ord(sign) - 48 for sign in reversed(digits)]
    return (sum(values[::2]) + sum(_LUHN_DOUBLED[value] for value in values[1::2])) % 10 == 0


def _is_article_number(digits: str) -> bool:
    """Whether 13 digits are an EAN, of which one in ten passes Luhn's check too."""
    values = [ord(sign) - 48 for sign in digits]
    return len(digits) == 13 and (sum(values[::2]) + 3 * sum(values[1::2])) % 10 == 0


def find_cards(text: str) -> Iterator[Span]:
    """Yield payment card numbers: a known prefix with a length that it has, and Luhn's check digit."""
    for match in _DIGIT_GROUPS.finditer(text):
        if len(match[0]) < 12:
            continue
        groups = [(group.start(), group.end()) for group in _GROUP.finditer(match[0])]
        yield from _cards_of_groups(match[0], groups, match.start())


def _cards_of_groups(text: str, groups: Sequence[tuple[int, int]], offset: int) -> Iterator[Span]:
    first = 0
    while first < len(groups):
        span = None
        digits, sizes = "", []
        for last in range(first, min(first + 19, len(groups))):
            begin, end = groups[last]
            digits += text[begin:end]
            sizes.append(end - begin)
            if len(digits) > 19:
                break
            # Digits in other groups than a card's are one when nothing stands beside them.
            is_whole = first == 0 and last == len(groups) - 1
            if _CARD.fullmatch(digits) is None or not (is_whole or len(sizes) == 1 or tuple(sizes) in _CARD_GROUPS):
                continue
            evidence: Evidence = "miss"
            if _passes_luhn(digits) and len(set(digits)) > 1:
                doubtful = _is_article_number(digits) or "." in text[groups[first][0] : end]
                evidence = "possible" if doubtful else "certain"
            span = Span(offset + groups[first][0], offset + end, "credit_card", evidence, "card")
            if evidence != "miss":
                break
        if span is not None:
            yield span
        first = last + 1 if span is not None and span.evidence != "miss" else first + 1


_IBAN_START = re.compile(r"(?<![^\W_])[A-Za-z]{2}\d{2}(?=[ \-]?[A-Za-z0-9])", re.ASCII)
_SEPARATORS = str.maketrans("", "", " -")
_LETTER_VALUES = {ord(letter): str(int(letter, 36)) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


@functools.cache
def _iban_length(country: str) -> int:
    """The length of a country's account numbers, 0 where there are none."""
    from stdnum import numdb

    ((_, facts),) = numdb.get("iban").info(country)[:1]
    sizes = re.findall(r"(\d+)!", facts.get("bban", ""))
    return 4 + sum(map(int, sizes)) if sizes else 0


@functools.cache
def _iban_pattern(length: int) -> re.Pattern[str]:
    return re.compile(rf"[A-Za-z0-9]{{4}}(?:[ \-]?[A-Za-z0-9]){{{length - 4}}}(?![^\W_])")


def find_bank_accounts(text: str) -> Iterator[Span]:
    """Yield IBANs: a country's code, the length that it has there, and the two check digits."""
    after = 0
    for start in _IBAN_START.finditer(text):
        length = _iban_length(start[0][:2].upper())
        if not length or start.start() < after:
            continue
        match = _iban_pattern(length).match(text, start.start())
        if match is None:
            continue
        signs = match[0].translate(_SEPARATORS).upper()
        if int((signs[4:] + signs[:4]).translate(_LETTER_VALUES)) % 97 == 1:
            after = match.end()
            yield Span(match.start(), match.end(), "iban", "certain", "iban")


class _NumberModule(Protocol):
    def is_valid(self, number: str) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scheme:
    """One country's numbers: the module of python-stdnum that checks them, and how much passing says.

    Attributes:
        module: Its name below ``stdnum``.
        pattern: What the number looks like, as far as that is quicker to see than the check is to do.
        evidence: When the check passes and nothing stands beside the number that says what it is.
    """

    module: str
    pattern: str
    evidence: Evidence


_MONTH_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_WRITTEN = {
    "it": _Scheme(
        module="it.codicefiscale",
        pattern=r"[A-Z]{6}[\dL-NP-V]{2}[A-EHLMPRST][\dL-NP-V]{2}[A-Z][\dL-NP-V]{3}[A-Z]",
        evidence="certain",
    ),
    "mx": _Scheme(module="mx.curp", pattern=r"[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d", evidence="certain"),
    "es_dni": _Scheme(module="es.dni", pattern=r"\d{8}-?[A-HJ-NP-TV-Z]", evidence="certain"),
    "es_nie": _Scheme(module="es.nie", pattern=r"[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z]", evidence="certain"),
    "fi": _Scheme(module="fi.hetu", pattern=r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", evidence="certain"),
    "fr": _Scheme(
        module="fr.nir",
        pattern=r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}",
        evidence="certain",
    ),
    "be": _Scheme(module="be.nn", pattern=r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", evidence="certain"),
    "se": _Scheme(module="se.personnummer", pattern=r"(?:19|20)?\d{2}" + _MONTH_DAY + r"[-+]\d{4}", evidence="certain"),
    "br": _Scheme(module="br.cpf", pattern=r"\d{3}\.\d{3}\.\d{3}-\d{2}", evidence="certain"),
    "ch": _Scheme(module="ch.ssn", pattern=r"756\.?\d{4}\.?\d{4}\.?\d{2}", evidence="certain"),
    "cn": _Scheme(module="cn.ric", pattern=r"\d{6}(?:19|20)\d{2}" + _MONTH_DAY + r"\d{3}X", evidence="certain"),
    "gb": _Scheme(
        module="",
        pattern=r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]",
        evidence="possible",
    ),
    "us": _Scheme(module="", pattern=r"(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}", evidence="possible"),
    "in": _Scheme(module="in_.aadhaar", pattern=r"[2-9]\d{3}(?P<in_gap>[ -])\d{4}(?P=in_gap)\d{4}", evidence="weak"),
    "ca": _Scheme(module="ca.sin", pattern=r"\d{3}(?P<ca_gap>[ -])\d{3}(?P=ca_gap)\d{3}", evidence="weak"),
    "nhs": _Scheme(module="gb.nhs", pattern=r"\d{3}(?P<nhs_gap>[ -])\d{3}(?P=nhs_gap)\d{4}", evidence="weak"),
}
_WRITTEN_PATTERN = re.compile(
    r"(?=[0-9A-Z])" + _NOT_AFTER + "(?:" + "|".join(item.pattern for item in _WRITTEN.values()) + ")" + _NOT_BEFORE
)
_WRITTEN_PATTERNS = {name: re.compile(item.pattern) for name, item in _WRITTEN.items()}
_BARE: dict[int, dict[str, _Scheme]] = {
    9: {
        "nl": _Scheme(module="nl.bsn", pattern=r"\d+", evidence="weak"),
        "ca": _Scheme(module="ca.sin", pattern=r"[1-79]\d+", evidence="weak"),
        "pt": _Scheme(module="pt.nif", pattern=r"[1-3]\d+", evidence="weak"),
        "au": _Scheme(module="au.tfn", pattern=r"\d+", evidence="weak"),
    },
    10: {
        "se": _Scheme(module="se.personnummer", pattern=r"\d{2}" + _MONTH_DAY + r"\d{4}", evidence="possible"),
        "bg": _Scheme(module="bg.egn", pattern=r"\d{2}[0-5]\d[0-3]\d{5}", evidence="possible"),
        "nhs": _Scheme(module="gb.nhs", pattern=r"\d+", evidence="weak"),
    },
    11: {
        "no": _Scheme(module="no.fodselsnummer", pattern=r"[0-7]\d[01]\d+", evidence="certain"),
        "be": _Scheme(module="be.nn", pattern=r"\d{2}[0-5]\d[0-3]\d+", evidence="certain"),
        "pl": _Scheme(module="pl.pesel", pattern=r"\d{4}[0-3]\d+", evidence="possible"),
        "ee": _Scheme(module="ee.ik", pattern=r"[1-6]\d{2}" + _MONTH_DAY + r"\d{4}", evidence="possible"),
        "de": _Scheme(module="de.idnr", pattern=r"[1-9]\d+", evidence="possible"),
        "br": _Scheme(module="br.cpf", pattern=r"\d+", evidence="possible"),
        "tr": _Scheme(module="tr.tckimlik", pattern=r"[1-9]\d+", evidence="possible"),
    },
    12: {
        "se": _Scheme(module="se.personnummer", pattern=r"(?:19|20)\d{2}" + _MONTH_DAY + r"\d{4}", evidence="certain"),
        "in": _Scheme(module="in_.aadhaar", pattern=r"[2-9]\d+", evidence="weak"),
    },
    13: {
        "ro": _Scheme(module="ro.cnp", pattern=r"[1-8]\d{2}" + _MONTH_DAY + r"\d+", evidence="possible"),
        "za": _Scheme(module="za.idnr", pattern=r"\d{2}" + _MONTH_DAY + r"\d{4}[01]\d\d", evidence="possible"),
    },
    18: {"cn": _Scheme(module="cn.ric", pattern=r"\d{6}(?:19|20)\d{2}" + _MONTH_DAY + r"\d+", evidence="certain")},
}
_BARE_PATTERNS = {size: {name: re.compile(s.pattern) for name, s in known.items()} for size, known in _BARE.items()}
_BARE_DIGITS = re.compile(r"(?=\d)" + _NOT_AFTER + r"\d{9,18}" + _NOT_BEFORE)


@functools.cache
def _number_module(name: str) -> _NumberModule:
    return cast("_NumberModule", importlib.import_module(f"stdnum.{name}"))


def find_written_ids(text: str, *, is_named: bool) -> Iterator[Span]:
    """Yield national identity numbers with letters or punctuation of their own.

    Args:
        text: The text.
        is_named: Whether the column's name says that it holds them: then every check that passes is certain.
    """
    for match in _WRITTEN_PATTERN.finditer(text):
        for name, pattern in _WRITTEN_PATTERNS.items():
            if pattern.fullmatch(match[0]) is None:
                continue
            scheme = _WRITTEN[name]
            evidence = scheme.evidence
            if scheme.module:
                passes = _number_module(scheme.module).is_valid(match[0])
                evidence = _supported(evidence, text, match.start(), is_named=is_named) if passes else "miss"
            yield Span(match.start(), match.end(), "national_id", evidence, name)


def find_bare_ids(text: str, *, is_named: bool) -> Iterator[Span]:
    """Yield national identity numbers that are nothing but digits; ``is_named`` as for those written out."""
    for match in _BARE_DIGITS.finditer(text):
        for name, pattern in _BARE_PATTERNS.get(len(match[0]), {}).items():
            scheme = _BARE[len(match[0])][name]
            passes = pattern.fullmatch(match[0]) is not None and _number_module(scheme.module).is_valid(match[0])
            evidence = _supported(scheme.evidence, text, match.start(), is_named=is_named) if passes else "miss"
            yield Span(match.start(), match.end(), "national_id", evidence, name)


def _supported(evidence: Evidence, text: str, start: int, *, is_named: bool) -> Evidence:
    if evidence in {"possible", "weak"} and (is_named or says_identity(text[max(0, start - 48) : start])):
        return "certain"
    return evidence
