"""Internet addresses of both versions, as far as they can be one person's; told from the numbers of software."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from hokusai.datasets.personal_data_kinds import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hokusai.datasets.personal_data_kinds import ColumnHints, Evidence

__all__ = ["IPV4_SIEVE", "IPV6_SIEVE", "find_ipv4", "find_ipv6"]

IPV4_SIEVE = r"\d\.\d{1,3}\.\d{1,3}\.\d"
IPV6_SIEVE = r"(?:[0-9A-Fa-f]{1,4}:){7}|[0-9A-Fa-f]:(?::|[0-9A-Fa-f:]{1,30}::)"

_IPV4 = re.compile(r"\d(?<![\w.\-]\d)\d{0,2}\.(?:\d{1,3}\.){2}\d{1,3}(?![\w\-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?:(?<=:)(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])")
_SAYS_VERSION = re.compile(
    r"(?:\bv(?:er(?:sion)?)?\.?|release|build|firmware|driver|section|[=<>~^§])[\s:]{0,3}\Z", re.IGNORECASE
)
_SAYS_IP = re.compile(
    r"\b(?:ip|ips|ipv4|host|server|address|addr|client|from|remote|login|ping|node|gateway)\b", re.IGNORECASE
)


def find_ipv4(text: str, _: ColumnHints) -> Iterator[Span]:
    """Yield addresses of version 4: certain with a part of three digits, or after a word that says so."""
    for match in _IPV4.finditer(text):
        parts = match[0].split(".")
        numbers = [int(part) for part in parts]
        if max(numbers) > 255 or [str(number) for number in numbers] != parts:
            continue
        before = text[max(0, match.start() - 24) : match.start()]
        # This machine, no machine, many machines, and the masks of networks.
        if numbers[0] in {0, 127} and (numbers[0] == 127 or not any(numbers)):
            continue
        if 224 <= numbers[0] <= 239 or numbers[0] == 255 or _SAYS_VERSION.search(before):
            continue
        says_so = max(numbers) > 99 or _SAYS_IP.search(before) is not None
        is_private = numbers[0] == 10 or numbers[:2] in ([192, 168], [169, 254])
        evidence: Evidence = "certain" if says_so and not is_private else "possible"
        yield Span(match.start(), match.end(), "ip_address", evidence)


def find_ipv6(text: str, _: ColumnHints) -> Iterator[Span]:
    """Yield addresses of version 6: certain when written in full, or when they begin with a number."""
    for match in _IPV6.finditer(text):
        found = match[0]
        colons = found.count(":")
        if colons < 2 or ("::" not in found and colons != 7 and "." not in found):
            continue
        groups = found.split(":")
        # Eight pairs of digits are the address of a device or a fingerprint.
        if len(groups) == 8 and all(len(group) == 2 for group in groups):
            continue
        if "::" in found and (len(found) - colons < 3 or len(groups[0]) < 3):
            continue
        try:
            address = ipaddress.IPv6Address(found)
        except ValueError:
            continue
        if not (address.is_loopback or address.is_unspecified or address.is_multicast):
            is_clear = len(groups) == 8 or any(sign.isdigit() for sign in groups[0])
            evidence: Evidence = "certain" if is_clear and not address.is_link_local else "possible"
            yield Span(match.start(), match.end(), "ip_address", evidence)
