"""A test that promised to stay on this machine cannot leave it."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from hokusai.errors import NotOfflineError
from hokusai.testing.offline import block_non_loopback_sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Reserved for documentation: nobody is there, and the test would fail, not harm, if it were asked.
ELSEWHERE = "192.0.2.1"
NAME = "nobody.invalid"


@pytest.fixture
def blocked() -> Iterator[None]:
    """Refuse what leaves the machine."""
    with block_non_loopback_sockets():
        yield


def _on(kind: socket.SocketKind, action: Callable[[socket.socket], object]) -> None:
    with socket.socket(socket.AF_INET, kind) as outlet:
        action(outlet)


@pytest.mark.usefixtures("blocked")
@pytest.mark.parametrize(
    "leave",
    [
        lambda: _on(socket.SOCK_STREAM, lambda outlet: outlet.connect((ELSEWHERE, 80))),
        lambda: _on(socket.SOCK_STREAM, lambda outlet: outlet.connect_ex((ELSEWHERE, 80))),
        lambda: _on(socket.SOCK_DGRAM, lambda outlet: outlet.sendto(b"x", (ELSEWHERE, 53))),
        lambda: _on(socket.SOCK_DGRAM, lambda outlet: outlet.sendto(b"x", 0, (ELSEWHERE, 53))),
        lambda: _on(socket.SOCK_DGRAM, lambda outlet: outlet.sendmsg([b"x"], [], 0, (ELSEWHERE, 53))),
        lambda: socket.create_connection((ELSEWHERE, 80), timeout=1),
    ],
    ids=["connect", "connect_ex", "sendto", "sendto-flags", "sendmsg", "create_connection"],
)
def test_an_address_elsewhere_is_refused_and_named(leave: Callable[[], object]) -> None:
    with pytest.raises(NotOfflineError) as refused:
        leave()
    assert refused.value.host == ELSEWHERE
    assert ELSEWHERE in str(refused.value)
    assert not isinstance(refused.value, OSError)


@pytest.mark.usefixtures("blocked")
@pytest.mark.parametrize(
    "look_up",
    [
        lambda: socket.getaddrinfo(NAME, 80),
        lambda: socket.getaddrinfo(host=NAME, port=80),
        lambda: socket.getaddrinfo(NAME.encode(), 80),
        lambda: socket.gethostbyname(NAME),
        lambda: socket.gethostbyname_ex(NAME),
        lambda: socket.gethostbyaddr(ELSEWHERE),
        lambda: socket.create_connection((NAME, 80), timeout=1),
    ],
)
def test_a_name_is_not_looked_up(look_up: Callable[[], object]) -> None:
    with pytest.raises(NotOfflineError):
        look_up()


@pytest.mark.usefixtures("blocked")
@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.1", "8.8.8.8", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1"])
def test_every_address_but_loopback_is_elsewhere(host: str) -> None:
    with pytest.raises(NotOfflineError):
        socket.getaddrinfo(host, 80)


@pytest.mark.usefixtures("blocked")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "::1", "::ffff:127.0.0.1", None])
def test_loopback_may_be_looked_up(host: str | None) -> None:
    assert socket.getaddrinfo(host, 80)


@pytest.mark.usefixtures("blocked")
def test_loopback_and_unix_sockets_work_as_ever(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(("localhost", listener.getsockname()[1])) as near,
        listener.accept()[0] as far,
    ):
        near.sendall(b"hello")
        assert far.recv(5) == b"hello"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far, socket.socket(type=socket.SOCK_DGRAM) as near:
        far.bind(("127.0.0.1", 0))
        near.sendmsg([b"hel", b"lo"], [], 0, far.getsockname())
        near.sendto(b"again", far.getsockname())
        assert (far.recv(5), far.recv(5)) == (b"hello", b"again")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as near:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        near.connect(str(tmp_path / "s"))
        near.close()
        listener.accept()[0].close()


@pytest.mark.usefixtures("blocked")
def test_the_way_out_through_an_event_loop_is_closed_as_well() -> None:
    with pytest.raises(NotOfflineError):
        asyncio.run(asyncio.open_connection(ELSEWHERE, 80))


@pytest.mark.usefixtures("blocked")
def test_threads_of_the_process_are_held_too() -> None:
    refused: list[BaseException] = []

    def leave() -> None:
        try:
            socket.gethostbyname(NAME)
        except NotOfflineError as error:
            refused.append(error)

    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()
    assert len(refused) == 1


def test_afterwards_everything_is_as_before_and_blocks_may_stand_in_one_another() -> None:
    def state() -> tuple[dict[str, object], dict[str, object]]:
        return dict(vars(socket.socket)), dict(vars(socket))

    before = state()
    with block_non_loopback_sockets():
        with block_non_loopback_sockets():
            pass
        with pytest.raises(NotOfflineError):
            socket.gethostbyname(NAME)
        assert state() != before
    assert state() == before


def test_a_block_ends_with_an_error_as_well() -> None:
    before = dict(vars(socket.socket))
    with pytest.raises(ZeroDivisionError), block_non_loopback_sockets():
        _ = 1 / 0
    assert dict(vars(socket.socket)) == before
