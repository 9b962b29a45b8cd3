"""Keeps tests on this machine: every way out of a Python socket that does not lead to loopback is refused.

``pytest-socket`` guards ``connect`` alone; datagrams, ``connect_ex`` and name look-ups leave the machine as well.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hokusai.errors import NotOfflineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["block_non_loopback_sockets"]

_LOCAL_NAMES = {"", "localhost", "localhost.localdomain"}
_METHODS_WITH_ADDRESS = ("connect", "connect_ex", "sendto")
_LOOK_UPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")


@contextmanager
def block_non_loopback_sockets() -> Iterator[None]:
    """Refuse, in this process and for the length of the block, every connection that would leave the machine.

    Unix sockets and loopback addresses work as ever. Names other than ``localhost`` are not looked up.

    Raises:
        NotOfflineError: In the code that tries; it is no OSError, so that code which takes every network error for an
            outage cannot hide it.
    """
    originals = {name: getattr(socket.socket, name) for name in _METHODS_WITH_ADDRESS}
    look_ups = {name: getattr(socket, name) for name in _LOOK_UPS}
    for name, original in originals.items():
        setattr(socket.socket, name, _guard_method(original))
    for name, original in look_ups.items():
        setattr(socket, name, _guard_look_up(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(socket.socket, name, original)
        for name, original in look_ups.items():
            setattr(socket, name, original)


def _guard_method(original: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, *arguments: Any) -> Any:
        address = arguments[-1]
        # A Unix socket's address is a path; everything else of other families stays on the machine too.
        if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
            _require_loopback(address[0])
        return original(self, *arguments)

    return guarded


def _guard_look_up(original: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(host: Any, *arguments: Any, **keywords: Any) -> Any:
        _require_loopback(host)
        return original(host, *arguments, **keywords)

    return guarded


def _require_loopback(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name in _LOCAL_NAMES:
        return
    try:
        is_local = ipaddress.ip_address(name).is_loopback or ipaddress.ip_address(name).is_unspecified
    except ValueError:
        is_local = False
    if not is_local:
        raise NotOfflineError(name)
