"""Phone numbers: with a plus sign and a country's numbering plan certain, by form and context possible."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from hokusai.datasets.personal_data_kinds import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hokusai.datasets.personal_data_kinds import ColumnHints

__all__ = [
    "ANNOUNCED_SIEVE",
    "INTERNATIONAL_SIEVE",
    "NATIONAL_SIEVE",
    "find_announced_phones",
    "find_international_phones",
    "find_national_phones",
    "find_whole_phones",
]

_EXTENSION = r"(?:[ ]?(?:x|ext\.?)[ ]?\d{1,6})?"
_NOT_BEFORE = r"(?![\w\-/:]|[.,]\d)"


def _beginning_with(first: str) -> str:
    """A number's first sign, which stands in no word, decimal fraction or date, and in no later group of a card.

    The sign is before the look behind it, so that a search runs from one such sign to the next.
    """
    return rf"{first}(?<![\w.,\-/:+]{first})(?<!\d{{4}}[ ]{first})"


_INTERNATIONAL = re.compile(
    rf"(?:\+|0(?=0))(?<![\w+][+0])(?<!\d[.,/][+0])(?P<national>(?:(?<=0)0)?[ ]?[1-9](?:[ ().\-/]{{0,3}}\d){{6,16}})"
    rf"{_EXTENSION}(?!\w)"
)
_NORTH_AMERICAN = re.compile(
    r"(?<![\w.\-/+])(?:\+?1[ .\-])?(?:\([2-9]\d{2}\)[ .\-]?|[2-9]\d{2}[ .\-])[2-9]\d{2}[ .\-]\d{4}"
    rf"{_EXTENSION}(?![\w\-/]|\.\d)"
)
_NATIONAL = re.compile(
    _beginning_with("[(0]") + r"(?:(?:(?<=\()0\d{1,5}\)[ \-/]?|(?<=0)\d{1,5}[ \-/])\d(?:[ \-/]?\d){4,9}"
    r"|(?<=0)[1-9](?:[ .\-]\d{2}){4}"
    rf"|(?<=\()\d{{2,5}}\)[ \-]?\d{{3,5}}[ \-]?\d{{3,5}}){_NOT_BEFORE}"
)
# Ways to group digits that are one country's own: Brazil, landlines and mobiles of Poland, Spain, Sweden. Three groups
# of three are a large number in many countries too, hence only those with the first digits of mobiles.
_NATIONAL_GROUPS = re.compile(
    _beginning_with(r"\d") + r"(?<!\d[ ]\d)(?:"
    r"(?<!0)\d[ ]9?\d{4}-\d{4}"
    r"|(?<!0)\d[ ]\d{3}[ ]\d{2}[ ]\d{2}"
    r"|(?:(?<=4)5|(?<=5)[0137]|(?<=6)[069]|(?<=7)[2389]|(?<=8)8)\d[ ]\d{3}[ ]\d{3}"
    r"|(?<=[67])\d{2}[ ](?:\d{3}[ ]\d{3}|\d{2}[ ]\d{2}[ ]\d{2})"
    r"|(?<=0)[1-9]\d{0,2}-\d{2,3}[ ]\d{2}(?:[ ]\d{2})?"
    rf")(?![ ]\d){_NOT_BEFORE}"
)
_BARE_NATIONAL = re.compile(rf"0(?<![\w.,\-/:+#]0)[1-9]\d{{8,9}}{_NOT_BEFORE}")
_PHONE_WORD = (
    r"(?:phone|tel|telephone|mobile|cell|call(?: me| us)?|fax|whatsapp|dial|ring|handy|telefon\w{0,8}|t[eé]l[eé]phone"
    r"|m[oó]vil|celular|cellulare|komórka|telefoon|mobil|ligue|appelez|llame|anrufen|chiamare)"
)
_ANNOUNCED = re.compile(
    rf"(?i:\b{_PHONE_WORD}\b)[^\d+(\n]{{0,20}}"
    r"(?P<number>[+(]?\d(?:[ ().\-/]{0,3}\d){6,14}(?:[ ]?x\d{1,6})?)(?!\w)"
)
_WHOLE_NUMBER = re.compile(r"\s*[+(]{0,2}\d(?:[ ().\-/]{0,3}\d){5,14}(?:[ ]?(?:x|ext\.?)[ ]?\d{1,6})?\s*")
INTERNATIONAL_SIEVE = r"(?:^|[^0-9A-Za-z+])(?:\+|00) ?[1-9](?:[ ().\-/]{0,3}\d){6}"
ANNOUNCED_SIEVE = rf"(?i:\b{_PHONE_WORD}\b)[^\d]{{0,20}}\d"
NATIONAL_SIEVE = (
    r"\(\d{2,6}\)[ \-/]?\d|[2-9]\d{2}\)?[ .\-]?[2-9]\d{2}[ .\-]\d{4}"
    r"|(?:^|[^\w.,\-/:+])(?:0\d{1,5}[ .\-/]\d|0[1-9]\d{8}|\d{2,3} \d{2,3} \d{2}[ \d]|\d{2} \d{4,5}-\d)"
)


@functools.cache
def _national_patterns(calling_code: int) -> tuple[re.Pattern[str], ...]:
    """What the national part of a number looks like in the countries of a calling code."""
    import phonenumbers

    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(calling_code, ())
    plans = [phonenumbers.PhoneMetadata.metadata_for_region(region, None) for region in regions if region != "001"]
    general = [plan.general_desc for plan in plans if plan is not None and plan.general_desc is not None]
    return tuple(re.compile(item.national_number_pattern or "(?!)") for item in general)


def _is_international_number(digits: str) -> bool:
    """Whether digits after the plus sign are a number of some country's numbering plan."""
    for size in (1, 2, 3):
        patterns = _national_patterns(int(digits[:size]))
        national = digits[size:]
        # Many write the trunk prefix, +44 (0)20, which nobody dials.
        for number in (national, national[1:]) if national.startswith("0") else (national,):
            if any(pattern.fullmatch(number) for pattern in patterns):
                return True
    return False


_DIGITS = re.compile(r"\d+")


def find_whole_phones(text: str, hints: ColumnHints) -> Iterator[Span]:
    """Yield the whole text if it can be a phone number, in a column of them."""
    if hints.phone and _WHOLE_NUMBER.fullmatch(text):
        yield Span(0, len(text), "phone", "possible")


def find_international_phones(text: str, _: ColumnHints) -> Iterator[Span]:
    """Yield phone numbers with a country's calling code: certain when its numbering plan has them."""
    for match in _INTERNATIONAL.finditer(text):
        has_plus = match[0][0] == "+"
        digits = "".join(_DIGITS.findall(match["national"])).removeprefix("0")
        if 7 <= len(digits) <= 16 and _is_international_number(digits):
            yield Span(match.start(), match.end(), "phone", "certain" if has_plus else "possible")
        elif has_plus and 9 <= len(digits) <= 15:
            yield Span(match.start(), match.end(), "phone", "possible")


def find_announced_phones(text: str, _: ColumnHints) -> Iterator[Span]:
    """Yield what follows a word that announces a phone number."""
    for match in _ANNOUNCED.finditer(text):
        if not _is_book_number("".join(_DIGITS.findall(match["number"]))):
            yield Span(match.start("number"), match.end("number"), "phone", "possible")


def find_national_phones(text: str, _: ColumnHints) -> Iterator[Span]:
    """Yield what is written as phone numbers are within a country."""
    for pattern in (_NORTH_AMERICAN, _NATIONAL):
        for match in pattern.finditer(text):
            if 9 <= sum(map(len, _DIGITS.findall(match[0]))) <= 18:
                yield Span(match.start(), match.end(), "phone", "possible")
    for match in _NATIONAL_GROUPS.finditer(text):
        yield Span(match.start(), match.end(), "phone", "possible")
    for match in _BARE_NATIONAL.finditer(text):
        if not _is_book_number(match[0]):
            yield Span(match.start(), match.end(), "phone", "possible")


def _is_book_number(digits: str) -> bool:
    """Whether ten digits are an ISBN, of which those from English-speaking countries begin with 0 or 1."""
    return len(digits) == 10 and sum((10 - at) * int(sign) for at, sign in enumerate(digits)) % 11 == 0
