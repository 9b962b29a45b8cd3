"""Numbers that belong to one person: payment cards, bank accounts, national identity numbers.

Every pattern is bounded, so that the time is linear in the text whatever it holds. How often chance passes a check
decides its evidence: a card's prefix and Luhn digit, or a tax number with date and check digits, speak for themselves;
one check digit on any digits does not, and needs a word beside it or a whole column of the like.
"""

from __future__ import annotations

import functools
import importlib
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from hokusai.datasets.personal_data_kinds import Span, says_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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
CARD_SIEVE = _BEGIN + r"(?:[3-6]|1[ \-]?8|2[ \-]?[1-7])(?:[ \-]?\d){10}|\d{4}\.\d{4}\.\d{4}\.\d{4}"
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
# The same for what begins with a digit; looked at from behind it, so that a search runs from one digit to the next.
_FIRST_DIGIT = r"\d(?<![^\W_]\d)(?<!\d[.,/:_]\d)(?<![0-9A-Fa-f]{4}-\d)"

_DIGIT_GROUPS = re.compile(_FIRST_DIGIT + r"(?:\d{3}(?:\.\d{4}){3}(?!\.)|\d{0,18}(?>(?:[ \-]\d{1,19})*))" + _NOT_BEFORE)
_GROUP = re.compile(r"\d+")
_CARD = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}"
    r"|3(?:0[0-59]|6\d|[89]\d)\d(?:\d{10}|\d{12})"
    r"|(?:6011|64[4-9]\d|65\d\d)(?:\d{12}|\d{15})"
    r"|35(?:\d{14}|(?:2[89]|[3-8]\d)\d{15})|(?:2131|1800)\d{11}"
    r"|62\d{14,17}"
    r"|(?:5018|5020|5038|5893|6304|639\d|6759|676[1-3]|5[678]\d\d)\d{8,15}"
)
_SEPARATORS = str.maketrans("", "", " -.")
_CARD_GROUPS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 4)}
# A prefix of a card network that it has given to no issuer; test numbers have it.
_UNISSUED_CARD = re.compile(r"35(?:[01]|2[0-7]|9)")
_LUHN_DOUBLED = bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)).ljust(256, b"\0")
_DIGIT_VALUES = bytes(max(sign - 48, 0) for sign in range(256))


def _values(digits: str) -> bytes:
    return digits.encode().translate(_DIGIT_VALUES)


def _passes_luhn(values: bytes) -> bool:
    return (sum(values[::-2]) + sum(values[-2::-2].translate(_LUHN_DOUBLED))) % 10 == 0


def _is_article_number(digits: str) -> bool:
    """Whether 13 digits are an EAN, of which one in ten passes Luhn's check too."""
    if len(digits) != 13:
        return False
    values = _values(digits)
    return (sum(values[::2]) + 3 * sum(values[1::2])) % 10 == 0


def find_cards(text: str) -> Iterator[Span]:
    """Yield payment card numbers: a known prefix with a length that it has, and Luhn's check digit."""
    for match in _DIGIT_GROUPS.finditer(text):
        found = match[0]
        digits = found.translate(_SEPARATORS)
        if len(digits) < 12:
            continue
        evidence = _card_evidence(digits)
        if evidence == "certain" and "." in found:
            evidence = "possible"
        is_one_group = len(digits) == len(found) or "." in found
        if evidence in {"certain", "possible"} or (evidence == "miss" and is_one_group):
            yield Span(match.start(), match.end(), "credit_card", evidence, "card")
        elif not is_one_group:
            groups = [group.span() for group in _GROUP.finditer(found)]
            yield from _cards_of_groups(found, groups, match.start())


def _card_evidence(digits: str) -> Evidence | None:
    if _CARD.fullmatch(digits) is None:
        return None
    if not _passes_luhn(_values(digits)) or len(set(digits)) == 1:
        return "miss"
    return "possible" if _is_article_number(digits) or _UNISSUED_CARD.match(digits) else "certain"


def _cards_of_groups(text: str, groups: Sequence[tuple[int, int]], offset: int) -> Iterator[Span]:
    first = 0
    while first < len(groups):
        span = None
        digits, sizes = "", []
        for last in range(first, min(first + 19, len(groups))):
            begin, end = groups[last]
            digits += text[begin:end]
            sizes.append(end - begin)
            if len(digits) < 12:
                continue
            if len(digits) > 19:
                break
            # Digits in other groups than a card's are one when nothing stands beside them.
            is_whole = first == 0 and last == len(groups) - 1
            evidence = _card_evidence(digits)
            if evidence is None or not (is_whole or len(sizes) == 1 or tuple(sizes) in _CARD_GROUPS):
                continue
            span = Span(offset + groups[first][0], offset + end, "credit_card", evidence, "card")
            if evidence != "miss":
                break
        if span is not None:
            yield span
        first = last + 1 if span is not None and span.evidence != "miss" else first + 1


# From the check digits on, which are rarer in a text than letters.
_IBAN_CHECK = re.compile(r"\d\d(?<=[A-Za-z]{2}\d\d)(?<![^\W_][A-Za-z]{2}\d\d)(?=[ \-]?[A-Za-z0-9])", re.ASCII)
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
    for check in _IBAN_CHECK.finditer(text):
        start = check.start() - 2
        length = _iban_length(text[start : start + 2].upper())
        if not length or start < after:
            continue
        match = _iban_pattern(length).match(text, start)
        if match is None:
            continue
        signs = match[0].translate(_SEPARATORS).upper()
        if int((signs[4:] + signs[:4]).translate(_LETTER_VALUES)) % 97 == 1:
            after = match.end()
            yield Span(match.start(), match.end(), "iban", "certain", "iban")


class _NumberModule(Protocol):
    """A module of python-stdnum."""

    def is_valid(self, number: str) -> bool:
        """Whether form and check are those of such a number; never raises."""
        ...


@functools.cache
def _number_module(name: str) -> _NumberModule:
    return cast("_NumberModule", importlib.import_module(f"stdnum.{name}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scheme:
    """One country's numbers: the module of python-stdnum that checks them, and how much passing says.

    Attributes:
        module: Its name below ``stdnum``.
        pattern: What the number looks like, as far as that is quicker to see than the check is to do.
        evidence: When the check passes and nothing stands beside the number that says what it is.
        may_pass: Told the values of the digits, whether the check can pass: the module takes long to say no, and of
            any digits that is its answer nine times in ten.
    """

    module: str
    pattern: str
    evidence: Evidence
    may_pass: Callable[[bytes], bool] | None = None

    def passes(self, number: str, values: bytes) -> bool:
        """Whether the check passes; ``values`` are those of the digits."""
        may_pass = self.may_pass is None or self.may_pass(values)
        return may_pass and _number_module(self.module).is_valid(number)


def _sums_to(weights: Sequence[int], modulus: int, *remainders: int) -> Callable[[bytes], bool]:
    """Whether the weighted sum of the digits leaves one of these remainders."""

    def may_pass(values: bytes) -> bool:
        return sum(map(operator.mul, values, weights)) % modulus in remainders

    return may_pass


def _repeats_one_digit(values: bytes) -> bool:
    """Whether one of the first ten digits stands twice or three times, and every other once."""
    return len(set(values[:10])) in {8, 9}


# Where the check digit is the remainder itself, 10 is written as 0 or 1; hence a second remainder.
_DUTCH = _sums_to((9, 8, 7, 6, 5, 4, 3, 2, -1), 11, 0)
_PORTUGUESE = _sums_to((9, 8, 7, 6, 5, 4, 3, 2, 1), 11, 0, 1)
_AUSTRALIAN = _sums_to((1, 4, 3, 7, 5, 8, 6, 9, 10), 11, 0)
_BULGARIAN = _sums_to((2, 4, 8, 5, 10, 9, 7, 3, 6, -1), 11, 0, 10)
_BRITISH_HEALTH = _sums_to((10, 9, 8, 7, 6, 5, 4, 3, 2, 1), 11, 0)
_NORWEGIAN = _sums_to((5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1), 11, 0)
_POLISH = _sums_to((1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), 10, 0)
_BRAZILIAN = _sums_to((10, 9, 8, 7, 6, 5, 4, 3, 2, 1), 11, 0, 1)
_TURKISH = _sums_to((1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1), 10, 0)
_ROMANIAN = _sums_to((2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9, -1), 11, 0, 9)
# For those born since 2000, a 2 stands before the number that is divided.
_BELGIAN = _sums_to((*(10**power for power in range(8, -1, -1)), 10, 1), 97, 0, -2 * 10**9 % 97)

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
    # Four groups of four digits are a card.
    "in": _Scheme(
        module="in_.aadhaar",
        pattern=r"(?<!\d{4}[ -])[2-9]\d{3}(?P<in_gap>[ -])\d{4}(?P=in_gap)\d{4}(?![ -]\d{4})",
        evidence="weak",
    ),
    "ca": _Scheme(
        module="ca.sin", pattern=r"\d{3}(?P<ca_gap>[ -])\d{3}(?P=ca_gap)\d{3}", evidence="weak", may_pass=_passes_luhn
    ),
    "nhs": _Scheme(
        module="gb.nhs",
        pattern=r"\d{3}(?P<nhs_gap>[ -])\d{3}(?P=nhs_gap)\d{4}",
        evidence="weak",
        may_pass=_BRITISH_HEALTH,
    ),
}
_WRITTEN_PATTERN = re.compile(
    r"(?=[0-9A-Z])"
    + _NOT_AFTER
    + "(?:"
    + "|".join(f"(?P<{name}>{item.pattern})" for name, item in _WRITTEN.items())
    + ")"
    + _NOT_BEFORE
)
# The only two that can be written alike.
_FINNISH_OR_SWEDISH = ("fi", "se")
_WRITTEN_PATTERNS = {name: re.compile(_WRITTEN[name].pattern) for name in _FINNISH_OR_SWEDISH}
_BARE: dict[int, dict[str, _Scheme]] = {
    9: {
        "nl": _Scheme(module="nl.bsn", pattern=r"\d+", evidence="weak", may_pass=_DUTCH),
        "ca": _Scheme(module="ca.sin", pattern=r"[1-79]\d+", evidence="weak", may_pass=_passes_luhn),
        "pt": _Scheme(module="pt.nif", pattern=r"[1-3]\d+", evidence="weak", may_pass=_PORTUGUESE),
        "au": _Scheme(module="au.tfn", pattern=r"\d+", evidence="weak", may_pass=_AUSTRALIAN),
    },
    10: {
        "se": _Scheme(
            module="se.personnummer",
            pattern=r"\d{2}" + _MONTH_DAY + r"\d{4}",
            evidence="possible",
            may_pass=_passes_luhn,
        ),
        "bg": _Scheme(module="bg.egn", pattern=r"\d{2}[0-5]\d[0-3]\d{5}", evidence="possible", may_pass=_BULGARIAN),
        "nhs": _Scheme(module="gb.nhs", pattern=r"\d+", evidence="weak", may_pass=_BRITISH_HEALTH),
    },
    11: {
        "no": _Scheme(module="no.fodselsnummer", pattern=r"[0-7]\d[01]\d+", evidence="certain", may_pass=_NORWEGIAN),
        "be": _Scheme(module="be.nn", pattern=r"\d{2}[0-5]\d[0-3]\d+", evidence="certain", may_pass=_BELGIAN),
        "pl": _Scheme(module="pl.pesel", pattern=r"\d{4}[0-3]\d+", evidence="possible", may_pass=_POLISH),
        "ee": _Scheme(module="ee.ik", pattern=r"[1-6]\d{2}" + _MONTH_DAY + r"\d{4}", evidence="possible"),
        "de": _Scheme(module="de.idnr", pattern=r"[1-9]\d+", evidence="possible", may_pass=_repeats_one_digit),
        "br": _Scheme(module="br.cpf", pattern=r"\d+", evidence="possible", may_pass=_BRAZILIAN),
        "tr": _Scheme(module="tr.tckimlik", pattern=r"[1-9]\d+", evidence="possible", may_pass=_TURKISH),
    },
    12: {
        "se": _Scheme(module="se.personnummer", pattern=r"(?:19|20)\d{2}" + _MONTH_DAY + r"\d{4}", evidence="certain"),
        "in": _Scheme(module="in_.aadhaar", pattern=r"[2-9]\d+", evidence="weak"),
    },
    13: {
        "ro": _Scheme(
            module="ro.cnp", pattern=r"[1-8]\d{2}" + _MONTH_DAY + r"\d+", evidence="possible", may_pass=_ROMANIAN
        ),
        "za": _Scheme(
            module="za.idnr",
            pattern=r"\d{2}" + _MONTH_DAY + r"\d{4}[01]\d\d",
            evidence="possible",
            may_pass=_passes_luhn,
        ),
    },
    18: {"cn": _Scheme(module="cn.ric", pattern=r"\d{6}(?:19|20)\d{2}" + _MONTH_DAY + r"\d+", evidence="certain")},
}
_BARE_SCHEMES = {
    size: {name: (scheme, re.compile(scheme.pattern)) for name, scheme in known.items()}
    for size, known in _BARE.items()
}
_BARE_DIGITS = re.compile(_FIRST_DIGIT + r"\d{8,17}" + _NOT_BEFORE)


def find_written_ids(text: str, *, is_named: bool) -> Iterator[Span]:
    """Yield national identity numbers with letters or punctuation of their own.

    Args:
        text: The text.
        is_named: Whether the column's name says that it holds them: then every check that passes is certain.
    """
    for match in _WRITTEN_PATTERN.finditer(text):
        found, only = match[0], str(match.lastgroup)
        names: Iterable[str] = (only,)
        if only in _FINNISH_OR_SWEDISH:
            names = [name for name, pattern in _WRITTEN_PATTERNS.items() if pattern.fullmatch(found)]
        for name in names:
            scheme = _WRITTEN[name]
            evidence = scheme.evidence
            if scheme.module:
                passes = scheme.passes(found, _values(found.translate(_SEPARATORS)))
                evidence = _supported(evidence, text, match.start(), is_named=is_named) if passes else "miss"
            yield Span(match.start(), match.end(), "national_id", evidence, name)


def find_bare_ids(text: str, *, is_named: bool) -> Iterator[Span]:
    """Yield national identity numbers that are nothing but digits; ``is_named`` as for those written out."""
    for match in _BARE_DIGITS.finditer(text):
        found, values = match[0], _values(match[0])
        start, end = match.span()
        for name, (scheme, pattern) in _BARE_SCHEMES.get(len(found), {}).items():
            evidence: Evidence = "miss"
            if pattern.fullmatch(found) and scheme.passes(found, values):
                evidence = _supported(scheme.evidence, text, start, is_named=is_named)
            yield Span(start, end, "national_id", evidence, name)


def _supported(evidence: Evidence, text: str, start: int, *, is_named: bool) -> Evidence:
    if evidence in {"possible", "weak"} and (is_named or says_identity(text[max(0, start - 48) : start])):
        return "certain"
    return evidence
