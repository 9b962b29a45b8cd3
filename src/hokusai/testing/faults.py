"""A proxy that makes HTTP fail by a script: slow, refused, hanging, cut, answered with errors, or done and not told.

Put :class:`FaultyProxy` between a client and a server and say which faults strike which requests. Requests are taken
one after another in the order in which their heads arrive, and every draw of chance is made in that order from one
seeded generator: a client that sends its requests one at a time meets the same faults again under the same seed.

Everything the proxy does happens in one thread of its own, in one event loop. Bodies are passed on as they come, in
both directions. Each request gets a connection of its own to the server, so that no fault arises that nobody asked
for. When the server cannot be reached, or breaks off, the client's connection is reset: the proxy makes up no answer.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import urlsplit

from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

__all__ = [
    "Bandwidth",
    "ClockSkew",
    "DropAnswer",
    "Fault",
    "FaultyProxy",
    "Hang",
    "KillAndRestart",
    "Latency",
    "ProxyEvent",
    "Refuse",
    "Reset",
    "RestartableServer",
    "Status",
    "TruncateAnswer",
    "random_faults",
]

_CHUNK = 1 << 18
_BACKLOG = 128
_IN_MEMORY = 1 << 20
_PORTIONS_PER_SECOND = 20
_LOOK_AGAIN_SECONDS = 0.05
# They belong to one connection, and the proxy's two connections are not one.
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
_LAST_CHUNK = b"0\r\n\r\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class RestartableServer(Protocol):
    """A server that can be killed and comes back at the same address, such as ``MlflowServerProcess``."""

    def kill(self) -> None:
        """End it at once, as a crash would."""

    def start(self) -> object:
        """Bring it back; it answers when this returns. Called from another thread than :meth:`kill`."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Fault:
    """What may happen to a request. Use one of the classes below.

    Attributes:
        route: A regular expression that is searched for in ``METHOD /path`` (without the query); empty for every one.
        probability: The chance that a request on the route is struck.
        times: How many requests are struck at most; None for no limit.
        skip: How many requests on the route are let through first, whether or not another fault strikes them.
    """

    route: str = ""
    probability: float = 1.0
    times: int | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: One of them cannot be used.
        """
        try:
            re.compile(self.route)
        except re.error as error:
            self._require(is_true=False, key="route", expected=f"a regular expression ({error})")
        self._require(is_true=0 <= self.probability <= 1, key="probability", expected="a number from 0 to 1")
        self._require(is_true=self.times is None or self.times >= 0, key="times", expected="None, 0 or more")
        self._require(is_true=self.skip >= 0, key="skip", expected="0 or more")

    def __repr__(self) -> str:
        """Name only what is not as usual."""
        shown = [each.name for each in fields(self) if each.repr and getattr(self, each.name) not in (each.default, {})]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def _require(self, *, is_true: bool, key: str, expected: str) -> None:
        if not is_true:
            problem = f"got {getattr(self, key)!r}, expected {expected}."
            raise ConfigurationError(problem, key=f"{type(self).__name__}.{key}")


@dataclass(frozen=True, slots=True, repr=False)
class Latency(Fault):
    """The request is held back for some seconds before it is forwarded, or before another fault strikes it."""

    seconds: float

    def __post_init__(self) -> None:
        """Check the values."""
        Fault.__post_init__(self)
        self._require(is_true=self.seconds >= 0, key="seconds", expected="0 or more")


@dataclass(frozen=True, slots=True, repr=False)
class Bandwidth(Fault):
    """The bodies of the request and of its answer pass at no more than this rate."""

    bytes_per_second: int

    def __post_init__(self) -> None:
        """Check the values."""
        Fault.__post_init__(self)
        self._require(is_true=self.bytes_per_second >= 1, key="bytes_per_second", expected="1 or more")


@dataclass(frozen=True, slots=True, repr=False)
class ClockSkew(Fault):
    """The server's clock is wrong: the ``Date`` of the answer is shifted by this many seconds, back when negative."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Refuse(Fault):
    """Nobody listens at the proxy's address.

    ``Refuse()`` closes the listening socket for as long as it is among the proxy's faults, and idle connections with
    it; requests that are under way are finished. ``Refuse(skip=5)`` does so when the fifth request has arrived. Refused
    connections reach no process and are therefore no events.

    With a ``route``, ``probability`` or ``times`` the request must be read to know whether it is meant: its connection
    is taken, and reset before anything is forwarded, as :class:`Reset` does. A client that keeps connections open can
    see that for the unlimited form as well, on one that it opened before.
    """

    @property
    def is_for_everyone(self) -> bool:
        """Whether it can be had by closing the listening socket."""
        return not self.route and self.times is None and self.probability == 1


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Hang(Fault):
    """The request is read whole and not answered while this fault is among the proxy's faults.

    When it is taken out, the request is forwarded and answered as usual, unless the client has given up: then it is
    dropped. ``times`` says how many requests hang, not for how long.
    """


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Reset(Fault):
    """The connection is reset when the head of the request has been read; nothing is forwarded."""


@dataclass(frozen=True, slots=True, repr=False)
class Status(Fault):
    """The proxy answers with an error status; nothing is forwarded.

    Attributes:
        code: The status, 400 to 599.
        body: The answer's body.
        headers: More headers of the answer.
    """

    code: int
    body: bytes = field(default=b"", kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        """Check the values."""
        Fault.__post_init__(self)
        self._require(is_true=400 <= self.code <= 599, key="code", expected="an error status, 400 to 599")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DropAnswer(Fault):
    """The server does its work and answers; the answer is thrown away and the client's connection is reset."""


@dataclass(frozen=True, slots=True, repr=False)
class TruncateAnswer(Fault):
    """The answer is cut: its head and at most this many bytes of its body arrive, then the connection is closed.

    At least the last byte is missing; of an answer without body only the first letters arrive. The client can always
    tell, unless it speaks HTTP/1.0 to a server that does not announce the length.
    """

    bytes: int

    def __post_init__(self) -> None:
        """Check the values."""
        Fault.__post_init__(self)
        self._require(is_true=self.bytes >= 0, key="bytes", expected="0 or more")


@dataclass(frozen=True, slots=True, repr=False)
class KillAndRestart(Fault):
    """The server is killed before the request reaches it, and started again in the background.

    The request's connection is reset, and so are those of all requests until the server is back. Once, unless
    ``times`` says otherwise; a request that is struck while the server is down anyway is only reset. Stopping the
    proxy waits for the server to be back.

    Attributes:
        server: The server behind the proxy.
        down_seconds: How long it stays away before it is started.
    """

    server: RestartableServer = field(repr=False)
    down_seconds: float = field(default=0.0, kw_only=True)
    times: int | None = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        """Check the values."""
        Fault.__post_init__(self)
        self._require(is_true=self.down_seconds >= 0, key="down_seconds", expected="0 or more")


_COMBINABLE = (Latency, Bandwidth, ClockSkew)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyEvent:
    """One request that reached the proxy.

    Attributes:
        method: ``GET``, ``POST`` and so on.
        path: The path without the query.
        faults: What struck it, in the order of the script.
        upstream_status: What the server answered, or None when it did not: not asked, not yet, or broken off.
    """

    method: str
    path: str
    faults: tuple[Fault, ...] = ()
    upstream_status: int | None = None

    @property
    def fault(self) -> Fault | None:
        """The fault that decided the request's fate, otherwise the first that changed something, or None."""
        decisive = [fault for fault in self.faults if not isinstance(fault, _COMBINABLE)]
        return next(iter((*decisive, *self.faults)), None)


def random_faults(seed: int) -> tuple[Fault, ...]:
    """Draw one to four faults that a client which must lose nothing has to survive.

    Each is bounded by ``times``, so that the system heals in the end, and is one that a later attempt overcomes. One
    may be a :class:`Hang`: give the client a short time-out.
    """
    chance = random.Random(seed)  # noqa: S311  (repeatable on purpose)
    return tuple(_random_fault(chance) for _ in range(chance.randint(1, 4)))


def _random_fault(chance: random.Random) -> Fault:
    everywhere = ["", "GET ", "POST ", "/runs/", "runs/create", "log-batch", "artifacts", "model"]
    chosen: Fault = chance.choice(
        [
            Latency(chance.uniform(0.001, 0.02)),
            Bandwidth(chance.randint(50_000, 500_000)),
            ClockSkew(chance.choice([-86_400.0, -1.5, 3600.0])),
            Refuse(),
            Hang(),
            Reset(),
            Status(chance.choice([429, 500, 502, 503, 504])),
            DropAnswer(),
            DropAnswer(),
            TruncateAnswer(chance.randint(0, 200)),
        ]
    )
    return replace(
        chosen,
        route=chance.choice(everywhere),
        probability=chance.choice([1.0, 1.0, 0.5, 0.2]),
        # A client waits for its whole time-out each time that a request hangs.
        times=1 if isinstance(chosen, Hang) else chance.randint(1, 4),
        skip=chance.randint(0, 12),
    )


@dataclass(slots=True)
class _Scripted:
    """A fault and what has become of it so far."""

    fault: Fault
    seen: int = 0
    struck: int = 0

    def is_due(self, route: str, chance: random.Random) -> bool:
        fault = self.fault
        if not re.search(fault.route, route):
            return False
        self.seen += 1
        if self.seen <= fault.skip or (fault.times is not None and self.struck >= fault.times):
            return False
        return fault.probability == 1 or chance.random() < fault.probability


class _BrokenOffError(Exception):
    """One of the two connections is at its end before the message is; the client's is to be reset."""


@dataclass(slots=True)
class _Head:
    """The first line and the headers of a request or an answer."""

    line: list[str]
    headers: list[tuple[str, str]]

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "").lower()

    def encoded(self, *extra: tuple[str, str]) -> bytes:
        kept = [header for header in self.headers if header[0].lower() not in _HOP_BY_HOP]
        lines = [" ".join(self.line), *(f"{name}: {value}" for name, value in (*kept, *extra)), "", ""]
        return "\r\n".join(lines).encode("latin-1")


class _Body:
    """The body of one message as it arrives, without its framing.

    Attributes:
        length: Its length if the head announces it, otherwise None.
    """

    def __init__(self, reader: asyncio.StreamReader, head: _Head, *, ends_with_connection: bool = False) -> None:
        announced = head.get("content-length")
        self.is_chunked = "chunked" in head.get("transfer-encoding")
        self.length: int | None = None
        if not self.is_chunked and (announced or not ends_with_connection):
            self.length = int(announced or 0)
        self._reader = reader
        self._left = self.length or 0
        self._has_ended = self.length == 0

    async def read(self) -> bytes:
        """Return what comes next, nothing at the end."""
        if self._has_ended:
            return b""
        if self.is_chunked and not self._left and not await self._next_chunk():
            return b""
        data = await self._reader.read(min(_CHUNK, self._left) if self._left else _CHUNK)
        if not self.is_chunked and self.length is None:
            self._has_ended = not data
            return data
        if not data:
            raise _BrokenOffError
        self._left -= len(data)
        if not self._left:
            self._has_ended = not self.is_chunked
            if self.is_chunked:
                await self._reader.readexactly(2)
        return data

    async def skip(self) -> None:
        """Read to the end."""
        while await self.read():
            pass

    async def _next_chunk(self) -> int:
        self._left = int((await self._reader.readline()).split(b";")[0], 16)
        if not self._left:
            self._has_ended = True
            while (await self._reader.readline()).strip():
                pass
        return self._left


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request on its way, with what strikes it and where its answer goes."""

    place: int
    faults: tuple[Fault, ...]
    fault: Fault | None
    head: _Head
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def method(self) -> str:
        return self.head.line[0]

    @property
    def is_modern(self) -> bool:
        return self.head.line[2] == "HTTP/1.1"

    @property
    def goes_on(self) -> bool:
        """Whether the client wants to use the connection again."""
        return self.is_modern and "close" not in self.head.get("connection")

    @property
    def rate(self) -> int | None:
        return min((fault.bytes_per_second for fault in self.faults if isinstance(fault, Bandwidth)), default=None)

    def applied(self, answer: _Head) -> list[tuple[str, str]]:
        """Return the headers of the server's answer as its clock would have them."""
        seconds = sum(fault.seconds for fault in self.faults if isinstance(fault, ClockSkew))
        return [_shifted(header, seconds) for header in answer.headers] if seconds else answer.headers


class FaultyProxy:
    """Stands between a client and an HTTP server and makes things go wrong by a script.

    Of the faults that are due for a request, every :class:`Latency`, :class:`Bandwidth` and :class:`ClockSkew` and the
    first of the others apply to it. Use it as a context manager, or call :meth:`start` and :meth:`stop`. Safe to use
    from several threads.

    Args:
        upstream_uri: The server, ``http://host:port``.
        faults: The script to begin with.
        seed: Where chance begins.

    Raises:
        ConfigurationError: The address cannot be used.
    """

    def __init__(self, upstream_uri: str, *, faults: Iterable[Fault] = (), seed: int = 0) -> None:
        """Start nothing yet."""
        parts = urlsplit(upstream_uri)
        if parts.scheme != "http" or not parts.hostname:
            problem = f"got {upstream_uri!r}, expected the address of a server as http://host:port."
            raise ConfigurationError(problem, key="upstream_uri")
        self.upstream_uri = upstream_uri
        self.seed = seed
        self._host, self._upstream_port, self._folder = parts.hostname, parts.port or 80, parts.path
        self._chance = random.Random(seed)  # noqa: S311  (repeatable on purpose)
        self._script = [_Scripted(fault) for fault in faults]
        self._events: list[ProxyEvent] = []
        self._failures: list[BaseException] = []
        self._port: int | None = None
        self._thread: threading.Thread | None = None
        # Nobody may change the script while the loop that has to be told of it is ending.
        self._lock = threading.Lock()
        # What follows is touched by the proxy's own thread alone, once that runs.
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._socket: socket.socket
        self._is_listening = False
        self._connections: dict[asyncio.Task[None], socket.socket] = {}
        self._idle: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}
        self._restarts: dict[int, asyncio.Task[None]] = {}

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def uri(self) -> str:
        """The address to give to the client.

        Raises:
            ConfigurationError: The proxy has not been started.
        """
        if self._port is None:
            problem = "the proxy has no address yet; use it in a `with` block, or call start()."
            raise ConfigurationError(problem, key="FaultyProxy.uri")
        return f"http://127.0.0.1:{self._port}{self._folder}"

    @property
    def events(self) -> tuple[ProxyEvent, ...]:
        """Every request so far, in the order in which their heads arrived."""
        return tuple(self._events)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The script. Setting it replaces it at once for every later request, and counts from the start again."""
        return tuple(scripted.fault for scripted in self._script)

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        script = [_Scripted(fault) for fault in faults]
        with self._lock:
            if self._thread is None:
                self._script = script
            else:
                asyncio.run_coroutine_threadsafe(self._replace_script(script), self._loop).result()

    def describe(self) -> str:
        """Return seed, faults and events as text, for the message of a failing test."""
        address = f"http://127.0.0.1:{self._port}" if self._port else "not started"
        lines = [f"FaultyProxy ({address}) before {self.upstream_uri}, seed {self.seed}", "faults:"]
        lines += [f"  {each.fault!r}: struck {each.struck} of {each.seen} on its route" for each in self._script]
        lines += ["events:"]
        for number, event in enumerate(self.events, start=1):
            answer = "no answer of the server" if event.upstream_status is None else str(event.upstream_status)
            struck = ", ".join(map(repr, event.faults))
            lines.append(f"  {number}. {event.method} {event.path}: {answer}" + (f"  <- {struck}" if struck else ""))
        return "\n".join(lines)

    def start(self) -> Self:
        """Take connections on a free loopback port when this returns."""
        self._socket = _bound_socket(0)
        self._port = self._socket.getsockname()[1]
        is_ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(is_ready)), name="hokusai-faulty-proxy", daemon=True
        )
        self._thread.start()
        is_ready.wait()
        return self

    def stop(self) -> None:
        """Cut every connection, wait for servers that are being restarted, and end. A second call does nothing.

        Raises:
            Exception: A server could not be restarted; this is what its ``start`` raised.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None:
                return
            self._loop.call_soon_threadsafe(self._stopping.set)
            thread.join()
        failures, self._failures = self._failures, []
        if failures:
            raise failures[0]

    # From here on everything runs in the proxy's own thread.

    async def _main(self, is_ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._open_or_close()
        is_ready.set()
        await self._stopping.wait()
        self._stop_listening()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        # A pause before a restart ends with the proxy; the server shall be there for whoever comes next.
        ended = await asyncio.gather(*self._restarts.values(), return_exceptions=True)
        self._failures += [error for error in ended if error is not None]
        self._restarts.clear()

    async def _pause(self, seconds: float) -> None:
        """Let a request wait; it goes no further when the proxy stops meanwhile."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
            raise _BrokenOffError

    async def _replace_script(self, script: list[_Scripted]) -> None:
        self._script = script
        self._open_or_close()

    def _is_refusing(self) -> bool:
        return any(
            isinstance(each.fault, Refuse) and each.fault.is_for_everyone and each.seen >= each.fault.skip
            for each in self._script
        )

    def _open_or_close(self) -> None:
        """Listen, or stop listening, as the script wants it now."""
        if not self._is_refusing():
            if not self._is_listening:
                self._socket.listen(_BACKLOG)
                self._loop.add_reader(self._socket, self._accept)
                self._is_listening = True
        elif self._is_listening:
            self._stop_listening()
            # Bound and not listening: connections are refused, and nobody else can be given the port meanwhile.
            self._socket = _bound_socket(self._port or 0)
            for writer in self._idle.values():
                writer.close()

    def _stop_listening(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._is_listening = False

    def _accept(self) -> None:
        # An asyncio.Server that is closed in the same moment loses the connection without closing it.
        with suppress(BlockingIOError, ConnectionAbortedError):
            accepted, _ = self._socket.accept()
            connection = self._loop.create_task(self._serve(accepted))
            self._connections[connection] = accepted
            connection.add_done_callback(self._let_go)

    def _let_go(self, connection: asyncio.Task[None]) -> None:
        # It may have been cancelled before its first line.
        self._connections.pop(connection).close()
        if not connection.cancelled() and (error := connection.exception()):
            self._failures.append(error)

    async def _serve(self, accepted: socket.socket) -> None:
        """Answer the requests of one connection, one after another."""
        try:
            # Head and body of an answer are two writes, and the second would wait 40 ms for the first's receipt.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader, writer = await asyncio.open_connection(sock=accepted, limit=_CHUNK)
        except OSError:
            return  # the client was gone at once
        this = asyncio.current_task()
        try:
            goes_on = True
            while goes_on and not self._is_refusing():
                self._idle[this] = writer
                head = await _read_head(reader)
                del self._idle[this]
                if head is None:
                    break
                exchange = self._decide(head, reader, writer)
                self._open_or_close()
                goes_on = await self._answer(exchange)
            writer.close()
            await writer.wait_closed()
        except (_BrokenOffError, OSError, ValueError, EOFError, asyncio.LimitOverrunError):
            # Whatever is wrong with one of the connections or with what came over it, the client finds its own broken.
            _reset(writer)
        finally:
            self._idle.pop(this, None)
            writer.transport.abort()

    def _decide(self, head: _Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Exchange:
        """Note a request with the faults that strike it."""
        method, target, _ = head.line
        path = target.partition("?")[0]
        due = [scripted for scripted in self._script if scripted.is_due(f"{method} {path}", self._chance)]
        decisive = next((scripted for scripted in due if not isinstance(scripted.fault, _COMBINABLE)), None)
        striking = [scripted for scripted in due if scripted is decisive or isinstance(scripted.fault, _COMBINABLE)]
        for scripted in striking:
            scripted.struck += 1
        event = ProxyEvent(method=method, path=path, faults=tuple(scripted.fault for scripted in striking))
        self._events.append(event)
        return _Exchange(len(self._events) - 1, event.faults, event.fault, head, reader, writer)

    async def _answer(self, exchange: _Exchange) -> bool:
        """Do with one request what the script wants; return whether the connection may be used again."""
        for latency in exchange.faults:
            if isinstance(latency, Latency):
                await self._pause(latency.seconds)
        fault = exchange.fault
        if isinstance(fault, KillAndRestart):
            self._kill(fault)
        if isinstance(fault, (Refuse, Reset, KillAndRestart)):
            raise _BrokenOffError
        if exchange.head.get("expect") == "100-continue":
            exchange.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _Body(exchange.reader, exchange.head)
        if isinstance(fault, Hang):
            return await self._hang(fault, exchange, body)
        if isinstance(fault, Status):
            await body.skip()
            exchange.writer.write(_error_answer(fault, exchange))
            await exchange.writer.drain()
            return exchange.goes_on
        return await self._forward(exchange, body)

    async def _hang(self, fault: Hang, exchange: _Exchange, body: _Body) -> bool:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as store:
            while data := await body.read():
                store.write(data)
            store.seek(0)
            while fault in self.faults and not exchange.reader.at_eof():
                await self._pause(_LOOK_AGAIN_SECONDS)
            if exchange.reader.at_eof():
                return False
            return await self._forward(exchange, _StoredBody(body, store))

    def _kill(self, fault: KillAndRestart) -> None:
        under_way = self._restarts.get(id(fault.server))
        if under_way is None or under_way.done():
            # Nothing else may be forwarded before the server is dead, so the whole proxy waits for it.
            fault.server.kill()
            self._restarts[id(fault.server)] = self._loop.create_task(self._restart(fault))

    async def _restart(self, fault: KillAndRestart) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), fault.down_seconds)
        await asyncio.to_thread(fault.server.start)

    async def _forward(self, exchange: _Exchange, body: _Body | _StoredBody) -> bool:
        """Pass the request on and its answer back; return whether the connection may be used again."""
        upstream, sender = await asyncio.open_connection(self._host, self._upstream_port, limit=_CHUNK)
        try:
            was_taken = await self._upload(exchange, body, sender)
            answer = await _read_head(upstream)
            while answer and answer.line[1].startswith("1"):
                answer = await _read_head(upstream)
            if answer is None:
                raise _BrokenOffError
            status = int(answer.line[1])
            self._events[exchange.place] = replace(self._events[exchange.place], upstream_status=status)
            is_empty = exchange.method == "HEAD" or status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
            content = None if is_empty else _Body(upstream, answer, ends_with_connection=True)
            if isinstance(exchange.fault, DropAnswer):
                if content:
                    await content.skip()
                raise _BrokenOffError
            return await self._give_back(exchange, answer, content) and was_taken
        finally:
            sender.transport.abort()

    async def _upload(self, exchange: _Exchange, body: _Body | _StoredBody, sender: asyncio.StreamWriter) -> bool:
        """Send the request; return False when the server wanted no more of it, and may have answered."""
        framing = [("Transfer-Encoding", "chunked")] if body.is_chunked else []
        sender.write(exchange.head.encoded(*framing, ("Connection", "close")))
        while data := await body.read():
            try:
                await self._send(sender, data, rate=exchange.rate, is_chunked=body.is_chunked)
            except ConnectionError:
                return False
        if body.is_chunked:
            sender.write(_LAST_CHUNK)
        return True

    async def _give_back(self, exchange: _Exchange, answer: _Head, content: _Body | None) -> bool:
        """Send the answer to the client; return whether the connection may be used again."""
        writer, cut = exchange.writer, exchange.fault
        # A body that ends with its connection gets a framing of its own, so that the client can tell a cut one.
        is_open = content is not None and content.length is None
        is_chunked, goes_on = is_open and exchange.is_modern, exchange.goes_on
        framing = [("Transfer-Encoding", "chunked")] if is_chunked else []
        given = _Head(["HTTP/1.1", *answer.line[1:]], exchange.applied(answer))
        head = given.encoded(*framing, *([] if goes_on else [("Connection", "close")]))
        left: int | None = None
        if isinstance(cut, TruncateAnswer):
            if content is None or content.length == 0:
                writer.write(head[: len("HTTP/1.")])
                return False
            left = cut.bytes if content.length is None else min(cut.bytes, content.length - 1)
        writer.write(head)
        while content and left != 0 and (data := await content.read()):
            part = data if left is None else data[:left]
            left = None if left is None else left - len(part)
            await self._send(writer, part, rate=exchange.rate, is_chunked=is_chunked)
        if left is not None:
            return False
        if is_chunked:
            writer.write(_LAST_CHUNK)
        await writer.drain()
        return goes_on

    async def _send(self, writer: asyncio.StreamWriter, data: bytes, *, rate: int | None, is_chunked: bool) -> None:
        portion = len(data) if rate is None else max(1, rate // _PORTIONS_PER_SECOND)
        for start in range(0, len(data), portion):
            part = data[start : start + portion]
            if rate is not None:
                await self._pause(len(part) / rate)
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
            await writer.drain()


class _StoredBody:
    """The body of a request that was read before it is forwarded."""

    def __init__(self, body: _Body, store: tempfile.SpooledTemporaryFile[bytes]) -> None:
        self.is_chunked = body.is_chunked
        self._store = store

    async def read(self) -> bytes:
        return self._store.read(_CHUNK)


def _bound_socket(port: int) -> socket.socket:
    made = socket.socket()
    try:
        # Connections of an earlier listener at this port may still be open.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST instead of FIN."""
    if not writer.is_closing():
        with suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


async def _read_head(reader: asyncio.StreamReader) -> _Head | None:
    """Return the next head, or None when the connection ended in order before one."""
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *others = text.lstrip("\r\n").removesuffix("\r\n\r\n").split("\r\n")
    headers = [(name.strip(), value.strip()) for name, _, value in (other.partition(":") for other in others)]
    # The words after an answer's status may be missing, with the space before them.
    start, middle, end = first.split(" ", 2) if first.count(" ") > 1 else (*first.split(" "), "")
    return _Head([start, middle, end], headers)


def _error_answer(fault: Status, exchange: _Exchange) -> bytes:
    phrases = {status.value: status.phrase for status in HTTPStatus}
    headers = {**fault.headers, "Content-Length": str(len(fault.body))}
    if not exchange.goes_on:
        headers["Connection"] = "close"
    line = ["HTTP/1.1", str(fault.code), phrases.get(fault.code, "Error")]
    return _Head(line, []).encoded(*headers.items()) + (b"" if exchange.method == "HEAD" else fault.body)


def _shifted(header: tuple[str, str], seconds: float) -> tuple[str, str]:
    if header[0].lower() != "date":
        return header
    return header[0], format_datetime(parsedate_to_datetime(header[1]) + timedelta(seconds=seconds), usegmt=True)
