"""E-mail addresses: as they are sent to, or spelt out so that no machine should see them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hokusai.datasets.personal_data_kinds import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hokusai.datasets.personal_data_kinds import ColumnHints

__all__ = ["EMAIL_SIEVE", "SPELT_EMAIL_SIEVE", "canonical_email", "find_emails", "find_spelt_emails"]

EMAIL_SIEVE = "@"
SPELT_EMAIL_SIEVE = r"(?i:[\[({<]\s{0,2}(?:at|@|arroba|chez)\s{0,2}[\])}>]| at [\w.\- ]+ dot )"

# Local part and domain are looked for from the sign between them, outwards and not beyond what the standards allow.
_LOCAL_PART_BACKWARDS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}")
_DOMAIN = re.compile(r"(?:(?:[^\W_]|-){1,63}\.){1,8}([^\W\d_]{2,24}|xn--[A-Za-z0-9-]{2,59})(?![\w@])")
# What stands before the address in a sentence or a URL is no part of it.
_NOT_IN_LOCAL_PART = re.compile(r"\A(?:mailto:|.*[/=?{|}#&!*`^~$%']|[.'])")
_FILE_ENDINGS = {"png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "ts", "json", "html", "txt"}
_AT = r"[ \t]{0,3}(?:[\[({<][ \t]{0,2}(?:at|@|arroba|chez)[ \t]{0,2}[\])}>]|[ \t]at)[ \t]{0,3}"
_AT_WORD = re.compile(_AT, re.IGNORECASE)
_DOT = r"(?:[ \t]{0,3}[\[({<][ \t]{0,2}(?:dot|\.|punkt|point|punto)[ \t]{0,2}[\])}>][ \t]{0,3}|[ \t]{1,3}dot[ \t]{1,3})"
_DOT_WORD = re.compile(_DOT, re.IGNORECASE)
_SPELT_DOMAIN = re.compile(
    rf"[A-Za-z0-9-]{{1,63}}(?:(?:{_DOT}|\.)[A-Za-z0-9-]{{1,63}}){{0,6}}(?:{_DOT}|\.)[A-Za-z]{{2,24}}\b",
    re.IGNORECASE,
)
_SPELT_LOCAL_PART = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}\Z")
_SPELT_EMAIL = re.compile(rf"(?P<local>[A-Za-z0-9][\w.+-]{{0,63}}){_AT}(?P<domain>.*)", re.IGNORECASE)


def find_emails(text: str, _: ColumnHints) -> Iterator[Span]:
    """Yield addresses."""
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        if domain is not None and domain[1].lower() not in _FILE_ENDINGS:
            local = _local_part(text, at)
            if local is not None:
                yield Span(local, domain.end(), "email", "certain")
        at = text.find("@", at + 1)


def find_spelt_emails(text: str, _: ColumnHints) -> Iterator[Span]:
    """Yield addresses with words for their signs."""
    for word in _AT_WORD.finditer(text):
        spelt = _SPELT_LOCAL_PART.search(text[max(0, word.start() - 64) : word.start()])
        domain = _SPELT_DOMAIN.match(text, word.end())
        if spelt is None or domain is None:
            continue
        # "at" is a word of English: without brackets around it, the dot must be spelt as well.
        if word[0].strip().lower() != "at" or "dot" in domain[0].lower():
            yield Span(word.start() - len(spelt[0]), domain.end(), "email", "possible")


def canonical_email(found: str) -> str:
    """Return an address as all that is the same is written, spelt out or not."""
    spelt = _SPELT_EMAIL.fullmatch(found)
    address = f"{spelt['local']}@{_DOT_WORD.sub('.', spelt['domain'])}" if spelt else found
    return " ".join(address.split()).casefold()


def _local_part(text: str, at: int) -> int | None:
    before = text[max(0, at - 64) : at]
    if before.endswith('"'):
        begin = before.rfind('"', 0, -1)
        return at - len(before) + begin if begin >= 0 else None
    match = _LOCAL_PART_BACKWARDS.match(before[::-1])
    if match is None:
        return None
    kept = _NOT_IN_LOCAL_PART.sub("", match[0][::-1]).lstrip(".")
    return at - len(kept) if kept and not kept.endswith(".") else None
