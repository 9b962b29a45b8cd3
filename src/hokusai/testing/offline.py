"""Keeps tests on this machine: every way out of a Python socket that does not lead to loopback is refused.

``pytest-socket`` guards ``connect`` alone; datagrams, ``connect_ex`` and name look-ups leave the machine as well.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from hokusai.errors import NotOfflineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["block_non_loopback_sockets"]

_LOCAL_NAMES = {"", "localhost", "localhost.localdomain"}
# Where each method of a socket has the address: its last argument, or the one of this number if it is there at all.
_METHODS = {"connect": -1, "connect_ex": -1, "sendto": -1, "sendmsg": 3}
_LOOK_UPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr")


@contextmanager
def block_non_loopback_sockets() -> Iterator[None]:
    """Refuse, in this process and for the length of the block, every connection that would leave the machine.

    Unix sockets and loopback addresses work as ever. Names other than ``localhost`` are not looked up. Other processes,
    and libraries that do not use Python's sockets, are not watched.

    Raises:
        NotOfflineError: In the code that tries; it is no OSError, so that code which takes every network error for an
            outage cannot hide it.
    """
    with ExitStack() as guards:
        for name, position in _METHODS.items():
            guards.enter_context(_replaced(socket.socket, name, partial(_guard_method, position=position)))
        for name in _LOOK_UPS:
            guards.enter_context(_replaced(socket, name, _guard_look_up))
        yield


@contextmanager
def _replaced(owner: Any, name: str, guard: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    is_own, original = name in vars(owner), getattr(owner, name)
    setattr(owner, name, guard(original))
    try:
        yield
    finally:
        if is_own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)  # It was inherited.


def _guard_method(original: Callable[..., Any], *, position: int) -> Callable[..., Any]:
    def guarded(self: socket.socket, *arguments: Any) -> Any:
        address = arguments[position] if len(arguments) > position else None
        # A Unix socket's address is a path; everything else of other families stays on the machine too.
        if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
            _require_loopback(address[0])
        return original(self, *arguments)

    return guarded


def _guard_look_up(original: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*arguments: Any, **keywords: Any) -> Any:
        _require_loopback(arguments[0] if arguments else keywords.get("host"))
        return original(*arguments, **keywords)

    return guarded


def _require_loopback(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes | bytearray) else host
    if name is None or name in _LOCAL_NAMES:
        return
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        raise NotOfflineError(name) from None
    inner = getattr(address, "ipv4_mapped", None) or address
    if not (inner.is_loopback or inner.is_unspecified):
        raise NotOfflineError(name)
