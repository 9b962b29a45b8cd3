"""Every fault against a server that counts its work, against MLflow with its own client, and against our shipper."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import socket
import threading
from contextlib import closing, contextmanager, suppress
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hokusai.errors import ConfigurationError, TrackingServerError
from hokusai.records import MODEL_MANIFEST_FILE, MODEL_MANIFEST_TAG, DatasetVersion, ModelFile
from hokusai.testing.faults import (
    Bandwidth,
    ClockSkew,
    DropAnswer,
    Fault,
    FaultyProxy,
    Hang,
    KillAndRestart,
    Latency,
    Refuse,
    Reset,
    Status,
    TruncateAnswer,
    random_faults,
)
from hokusai.testing.mlflow_server import MlflowServerProcess, MockMlflowServer
from hokusai.tracking.journal import JOURNAL_FORMAT, FileJournal
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.operations import OpenJournal
from hokusai.tracking.parameters import CompareAndOutputDeltaParameters
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipper import ship

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CREATE_RUN = "POST /api/2.0/mlflow/runs/create$"
# A connection that is only closed is a ConnectionResetError too, of http.client's.
RST = "reset by peer"
CUT = (http.client.HTTPException, ConnectionError)


class CountingServer(ThreadingHTTPServer):
    """A server that notes what it has done: each POST and PUT is a deed, each GET only an answer.

    Attributes:
        deeds: Path and length of the body of every POST and PUT, in the order of their ends.
        asked: Path of every request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on a free port."""
        self.deeds: list[tuple[str, int]] = []
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), CountingHandler)
        self.uri = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """End; nothing listens at the address."""
        self.shutdown()
        self._thread.join()
        self.server_close()


class CountingHandler(BaseHTTPRequestHandler):
    """Answers with bodies of every framing: /bytes/N, /chunked/N, /open/N (ends with the connection), /empty."""

    protocol_version = "HTTP/1.1"
    server: CountingServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name is the library's)
        """Write nothing."""

    def do_POST(self) -> None:
        """Take a body and count it."""
        self.server.asked.append(self.path)
        length = sum(len(part) for part in self._parts())
        self.server.deeds.append((self.path, length))
        self._answer(str(length).encode())

    do_PUT = do_POST  # noqa: N815

    def do_GET(self) -> None:
        """Answer in the framing that is asked for."""
        self.server.asked.append(self.path)
        _, kind, *size = self.path.split("?")[0].split("/")
        content = pattern(int(size[0]) if size else 0)
        if kind == "broken":
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + 1))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True
        elif kind == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(content), 1000):
                part = content[start : start + 1000]
                self.wfile.write(b"%x;note=1\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\nX-Trailer: 1\r\n\r\n")
        elif kind == "open":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True
        elif kind == "empty":
            self.send_response(204)
            self.end_headers()
        else:
            self._answer(content)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Twice", "1")
        self.send_header("X-Twice", "2")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _parts(self) -> Iterator[bytes]:
        if self.headers["Transfer-Encoding"] == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers["Content-Length"] or 0)
        while left:
            part = self.rfile.read(min(left, 1 << 16))
            if not part:
                raise ConnectionAbortedError
            left -= len(part)
            yield part

    def handle(self) -> None:
        """Take a client that goes away for what it is here."""
        with suppress(ConnectionError):
            super().handle()


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[CountingServer]:
    """One counting server for all tests of this file."""
    server = CountingServer()
    yield server
    server.stop()


@pytest.fixture
def upstream(shared_upstream: CountingServer) -> CountingServer:
    """The counting server, with nothing counted."""
    shared_upstream.deeds.clear()
    shared_upstream.asked.clear()
    return shared_upstream


@pytest.fixture(scope="module")
def mlflow_upstream() -> Iterator[MockMlflowServer]:
    """One MLflow server for all tests of this file; use an experiment of your own."""
    with MockMlflowServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _client_that_does_not_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "1")


@contextmanager
def impatience() -> Iterator[None]:
    """Make MLflow's client wait for no answer longer than a second.

    Keep what a test reads afterwards out of it: on a busy machine a sound server may take longer.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        yield


@pytest.fixture(autouse=True)
def _nothing_left_behind(shared_upstream: CountingServer, mlflow_upstream: MockMlflowServer) -> Iterator[None]:
    """Fail a test whose proxy leaves a thread."""
    assert shared_upstream
    assert mlflow_upstream
    yield
    assert [
        thread.name for thread in threading.enumerate() if "faulty" in thread.name or "asyncio" in thread.name
    ] == []


def connect(proxy: FaultyProxy, timeout: float = 30) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection(urlsplit(proxy.uri).netloc, timeout=timeout))


def ask(proxy: FaultyProxy, method: str, path: str, body: bytes | None = None, *, timeout: float = 30) -> bytes:
    """Send one request on a connection of its own and return the body of a good answer."""
    with connect(proxy, timeout) as connection:
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise StatusError(answer.status, content)
        return content


class StatusError(Exception):
    """An answer with an error status."""


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what another thread does; give up after a long time."""
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("it did not happen")


def in_background(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Start work in a thread; return the thread, and the list that its result or its error will be in."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(work())
        except (*CUT, TimeoutError, StatusError) as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (a Path would open the folder in the same way)


# --- without faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/bytes/0", "/bytes/300000", "/chunked/300000", "/chunked/0", "/open/300000"])
def test_without_faults_an_answer_of_any_framing_arrives_whole(upstream: CountingServer, path: str) -> None:
    with FaultyProxy(upstream.uri) as proxy, connect(proxy) as connection:
        for _ in range(2):
            connection.request("GET", f"{path}?query=1")
            answer = connection.getresponse()
            assert answer.read() == pattern(int(path.rpartition("/")[2]))
            assert not answer.will_close
        assert [(event.method, event.path) for event in proxy.events] == [("GET", path)] * 2
        assert [(event.fault, event.upstream_status) for event in proxy.events] == [(None, 200)] * 2
    assert upstream.asked == [f"{path}?query=1"] * 2


def test_one_connection_serves_many_requests_of_every_kind(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri) as proxy, connect(proxy) as connection:
        connection.connect()
        address = connection.sock.getsockname()
        for method, path, body in [
            ("HEAD", "/bytes/10", None),
            ("GET", "/empty", None),
            ("POST", "/a", b"12345"),
            ("PUT", "/b", iter([b"123", b"45678"])),
            ("POST", "/c", b""),
            ("GET", "/bytes/10", None),
        ]:
            connection.request(method, path, body, encode_chunked=True)
            answer = connection.getresponse()
            content = answer.read()
            assert connection.sock.getsockname() == address
        assert content == pattern(10)
        assert answer.headers.get_all("X-Twice") == ["1", "2"]
    assert upstream.deeds == [("/a", 5), ("/b", 8), ("/c", 0)]


def test_a_client_of_http_1_0_gets_an_answer_that_ends_with_its_connection(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri) as proxy, connect(proxy) as connection:
        for path in ("/open/1000", "/chunked/1000", "/bytes/1000"):
            connection.connect()
            connection.sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            with connection.sock.makefile("rb") as file:
                head, _, content = file.read().partition(b"\r\n\r\n")
            assert content == pattern(1000)
            assert b"chunked" not in head
            connection.close()


def test_a_client_that_waits_for_permission_to_send_gets_it(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri) as proxy, connect(proxy) as connection:
        connection.connect()
        connection.sock.sendall(b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert connection.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sock.sendall(b"123")
        assert connection.sock.recv(100).startswith(b"HTTP/1.1 200 ")
    assert upstream.deeds == [("/a", 3)]


def test_a_hundred_megabytes_pass_in_both_directions_without_being_held_in_memory(
    upstream: CountingServer, tmp_path: Path
) -> None:
    size = 100_000_000
    file = tmp_path / "large"
    with file.open("wb") as target:
        target.truncate(size)
    with FaultyProxy(upstream.uri) as proxy:
        with file.open("rb") as source, connect(proxy) as connection:
            connection.request("PUT", "/large", source, {"Content-Length": str(size)})
            assert connection.getresponse().read() == str(size).encode()
        before = max(_memory_peak(), 1)
        with connect(proxy) as connection:
            connection.request("PUT", "/large", iter([bytes(1_000_000)] * 100), encode_chunked=True)
            assert connection.getresponse().read() == str(size).encode()
        # The peak of the process cannot fall; a body that is held whole would lift it by its size.
        assert _memory_peak() - before < size // 2
    assert upstream.deeds == [("/large", size)] * 2


def _memory_peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_what_follows_a_chunked_body_is_not_taken_for_a_request(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri) as proxy, connect(proxy) as connection:
        connection.connect()
        body = b"3;note=1\r\n123\r\n0\r\nX-Trailer: 1\r\n\r\n"
        for _ in range(2):
            connection.sock.sendall(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
            answer = http.client.HTTPResponse(connection.sock)
            answer.begin()
            assert answer.read() == b"3"
            answer.close()
    assert upstream.deeds == [("/a", 3)] * 2


def test_many_connections_at_once_each_get_their_own_answer(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri, faults=[Latency(0.01, probability=0.5)]) as proxy:
        work = [in_background(lambda size=size: ask(proxy, "GET", f"/bytes/{size}")) for size in range(1000, 1040)]  # type: ignore[misc]
        for thread, _ in work:
            thread.join()
        assert [results for _, results in work] == [[pattern(size)] for size in range(1000, 1040)]
        assert sorted(event.path for event in proxy.events) == [f"/bytes/{size}" for size in range(1000, 1040)]


def test_a_server_that_breaks_off_is_not_made_up_for(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri) as proxy:
        with pytest.raises(CUT):
            ask(proxy, "GET", "/broken/1000")
        assert proxy.events[-1].upstream_status == 200


def test_a_server_that_is_not_there_is_not_made_up_for() -> None:
    server = CountingServer()
    server.stop()
    with FaultyProxy(server.uri) as proxy:
        with pytest.raises(ConnectionResetError, match=RST):
            ask(proxy, "GET", "/bytes/1")
        assert [(event.fault, event.upstream_status) for event in proxy.events] == [(None, None)]


def test_a_path_before_the_api_is_kept(upstream: CountingServer) -> None:
    with FaultyProxy(f"{upstream.uri}/bytes") as proxy:
        assert requests.get(f"{proxy.uri}/7", timeout=30).content == pattern(7)
    assert upstream.asked == ["/bytes/7"]


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET /bytes/1 HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"GET / HT"]
)
def test_what_is_no_request_costs_only_its_own_connection(upstream: CountingServer, sent: bytes) -> None:
    with FaultyProxy(upstream.uri) as proxy:
        with connect(proxy) as connection:
            connection.connect()
            connection.sock.sendall(sent)
            # The proxy may have reset the connection already.
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_WR)
                assert connection.sock.recv(100) == b""
        assert ask(proxy, "GET", "/bytes/1") == pattern(1)


# --- each fault ------------------------------------------------------------------------------------------------------


def test_latency_holds_a_request_back_and_no_other(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri, faults=[Latency(3600, route="slow")]) as proxy:
        thread, results = in_background(lambda: ask(proxy, "POST", "/slow", b"1"))
        wait_until(lambda: proxy.events)
        ask(proxy, "POST", "/fast", b"1")
        assert [event.path for event in proxy.events] == ["/slow", "/fast"]
        assert upstream.deeds == [("/fast", 1)]
        assert results == []
    thread.join()
    assert isinstance(results[0], CUT)
    assert upstream.deeds == [("/fast", 1)]


def test_latency_ends_and_the_request_is_answered(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri, faults=[Latency(0.2), Latency(0.1)]) as proxy:
        before = monotonic()
        assert ask(proxy, "GET", "/bytes/5") == pattern(5)
        assert monotonic() - before > 0.29
        assert proxy.events[0].faults == (Latency(0.2), Latency(0.1))


@pytest.mark.parametrize("path", ["/bytes/50000", "/chunked/50000"])
def test_bandwidth_slows_bodies_in_both_directions_and_changes_none(upstream: CountingServer, path: str) -> None:
    with FaultyProxy(upstream.uri, faults=[Bandwidth(200_000)]) as proxy:
        before = monotonic()
        assert ask(proxy, "GET", path) == pattern(50_000)
        between = monotonic()
        assert between - before > 0.24
        ask(proxy, "PUT", "/a", pattern(50_000))
        assert monotonic() - between > 0.24
    assert upstream.deeds == [("/a", 50_000)]


def test_the_narrowest_bandwidth_counts(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri, faults=[Bandwidth(10**9), Bandwidth(10_000)]) as proxy:
        before = monotonic()
        assert ask(proxy, "GET", "/bytes/2000") == pattern(2000)
        assert monotonic() - before > 0.19


def test_refuse_is_what_a_client_sees_of_a_server_that_is_not_there(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri, faults=[Refuse()]) as proxy:
        with pytest.raises(ConnectionRefusedError):
            ask(proxy, "GET", "/bytes/1")
        proxy.faults = []
        with connect(proxy) as kept:
            kept.request("GET", "/bytes/1")
            assert kept.getresponse().read() == pattern(1)
            address = proxy.uri
            proxy.faults = [Latency(0), Refuse()]
            for _ in range(3):
                with pytest.raises(ConnectionRefusedError):
                    ask(proxy, "GET", "/bytes/1")
            # The connection that was open is at its end as well.
            assert kept.sock.recv(1) == b""
        proxy.faults = ()
        assert proxy.uri == address
        assert ask(proxy, "GET", "/bytes/2") == pattern(2)
        assert len(proxy.events) == 2


def test_refuse_after_some_requests_finishes_the_last_of_them(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri, faults=[Refuse(skip=2)]) as proxy:
        with connect(proxy) as kept:
            for _ in range(2):
                kept.request("GET", "/bytes/1")
                answer = kept.getresponse()
                assert answer.read() == pattern(1)
            assert kept.sock.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                ask(proxy, "GET", "/bytes/1")
        proxy.faults = [Refuse(skip=1)]
        assert ask(proxy, "GET", "/bytes/1") == pattern(1)


@pytest.mark.parametrize("fault", [Refuse(route="/a$"), Refuse(times=2, route="a"), Reset(route="POST /a$")])
def test_a_reset_reaches_the_client_before_anything_reaches_the_server(upstream: CountingServer, fault: Fault) -> None:
    with FaultyProxy(upstream.uri, faults=[fault]) as proxy:
        for _ in range(2):
            with pytest.raises(ConnectionResetError, match=RST):
                ask(proxy, "POST", "/a", b"1")
        ask(proxy, "POST", "/b", b"1")
        assert [event.fault for event in proxy.events] == [fault, fault, None]
        assert [event.upstream_status for event in proxy.events] == [None, None, 200]
    assert upstream.asked == ["/b"]


def test_a_reset_in_the_middle_of_a_large_upload_is_a_reset(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri, faults=[Reset()]) as proxy, pytest.raises(ConnectionError):
        ask(proxy, "PUT", "/large", bytes(20_000_000))
    assert upstream.asked == []


def test_hang_reads_the_request_and_answers_when_it_is_lifted(upstream: CountingServer) -> None:
    size = 3_000_000
    with FaultyProxy(upstream.uri, faults=[Hang(times=1)]) as proxy:
        thread, results = in_background(lambda: ask(proxy, "PUT", "/large", pattern(size)))
        wait_until(lambda: proxy.events)
        ask(proxy, "POST", "/b", b"1")
        proxy.faults = [Status(503, route="never"), Hang(times=1)]
        assert upstream.deeds == [("/b", 1)]
        assert results == []
        proxy.faults = []
        thread.join()
        assert results == [str(size).encode()]
        assert proxy.events[0].fault == Hang(times=1)
        assert proxy.events[0].upstream_status == 200
    assert upstream.deeds == [("/b", 1), ("/large", size)]


def test_a_hanging_request_whose_client_has_given_up_is_dropped(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri, faults=[Hang(route="/a")]) as proxy:
        with pytest.raises(TimeoutError):
            ask(proxy, "POST", "/a", b"1", timeout=0.2)
        proxy.faults = []
        ask(proxy, "POST", "/b", b"1")
        assert [event.upstream_status for event in proxy.events] == [None, 200]
    assert upstream.asked == ["/b"]


def test_a_status_is_answered_by_the_proxy_alone_as_often_as_it_says(upstream: CountingServer) -> None:
    fault = Status(503, body=b"later", headers={"Retry-After": "7"}, times=2)
    with FaultyProxy(upstream.uri, faults=[fault]) as proxy, connect(proxy) as connection:
        connection.connect()
        address = connection.sock.getsockname()
        for method in ("PUT", "HEAD", "PUT"):
            connection.request(method, "/a", pattern(1_000_000))
            answer = connection.getresponse()
            content = answer.read()
            if len(proxy.events) == 1:
                assert (answer.status, answer.reason, content) == (503, "Service Unavailable", b"later")
                assert answer.headers["Retry-After"] == "7"
        assert (answer.status, content) == (200, b"1000000")
        assert connection.sock.getsockname() == address
        assert [event.fault for event in proxy.events] == [fault, fault, None]
    assert upstream.asked == ["/a"]


def test_a_status_for_head_has_no_body(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri, faults=[Status(503, body=b"later")]) as proxy, connect(proxy) as connection:
        connection.connect()
        connection.sock.sendall(b"HEAD /a HTTP/1.1\r\nConnection: close\r\n\r\n")
        with connection.sock.makefile("rb") as file:
            head, _, content = file.read().partition(b"\r\n\r\n")
    assert b"Content-Length: 5" in head
    assert content == b""


def test_an_answer_is_dropped_after_the_deed(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri, faults=[DropAnswer(route="POST", times=1)]) as proxy:
        with pytest.raises(ConnectionResetError, match=RST):
            ask(proxy, "POST", "/a", b"123")
        assert upstream.deeds == [("/a", 3)]
        assert proxy.events[0].upstream_status == 200
        ask(proxy, "POST", "/a", b"123")
    assert upstream.deeds == [("/a", 3)] * 2


@pytest.mark.parametrize("path", ["/bytes/1000", "/chunked/1000", "/open/1000"])
@pytest.mark.parametrize("kept", [0, 1, 500, 999, 1000, 5000])
def test_a_truncated_answer_is_short_and_the_client_can_tell(upstream: CountingServer, path: str, kept: int) -> None:
    with FaultyProxy(upstream.uri, faults=[TruncateAnswer(kept)]) as proxy:
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(proxy, "GET", path)
        arrived = caught.value.partial
        assert arrived == pattern(1000)[: len(arrived)]
        assert len(arrived) == min(kept, 999 if path == "/bytes/1000" else 1000)


@pytest.mark.parametrize(("method", "path"), [("GET", "/bytes/0"), ("GET", "/empty"), ("HEAD", "/bytes/10")])
def test_an_answer_without_body_can_be_truncated_too(upstream: CountingServer, method: str, path: str) -> None:
    with FaultyProxy(upstream.uri, faults=[TruncateAnswer(10)]) as proxy, pytest.raises(http.client.BadStatusLine):
        ask(proxy, method, path)


@pytest.mark.parametrize("seconds", [-86_400.0, 3600.0])
def test_a_skewed_clock_shows_in_the_date_of_the_answer(upstream: CountingServer, seconds: float) -> None:
    dates = []
    with FaultyProxy(upstream.uri) as proxy, connect(proxy) as connection:
        for faults in ([], [ClockSkew(seconds), ClockSkew(seconds)], []):
            proxy.faults = faults
            connection.request("GET", "/bytes/3")
            answer = connection.getresponse()
            assert answer.read() == pattern(3)
            dates.append(parsedate_to_datetime(answer.headers["Date"]).timestamp() - 2 * seconds * len(faults[:1]))
    assert dates == sorted(dates)


class FragileServer:
    """A counting server that can be killed and comes back at the same port."""

    def __init__(self) -> None:
        """Start."""
        self.deaths = 0
        self.may_come_back = threading.Event()
        self.server: CountingServer | None = CountingServer()
        self.uri = self.server.uri

    def kill(self) -> None:
        """End at once."""
        self.deaths += 1
        assert self.server
        self.server.stop()
        self.server = None

    def start(self) -> None:
        """Come back when it may."""
        assert self.may_come_back.wait(60)
        server = CountingServer.__new__(CountingServer)
        server.deeds, server.asked, server.uri = [], [], self.uri
        ThreadingHTTPServer.__init__(server, ("127.0.0.1", urlsplit(self.uri).port or 0), CountingHandler)
        server._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        server._thread.start()
        self.server = server


def test_a_killed_server_resets_requests_until_it_is_back() -> None:
    fragile = FragileServer()
    fault = KillAndRestart(fragile, route="POST", skip=1, times=2)
    with FaultyProxy(fragile.uri, faults=[fault]) as proxy:
        ask(proxy, "POST", "/a", b"1")
        for method in ("POST", "POST", "GET"):
            with pytest.raises(ConnectionResetError, match=RST):
                ask(proxy, method, "/b")
        assert fragile.deaths == 1
        fragile.may_come_back.set()
        wait_until(lambda: fragile.server)
        assert ask(proxy, "POST", "/c", b"123") == b"3"
        assert [event.fault for event in proxy.events] == [None, fault, fault, None, None]
        assert "server" not in proxy.describe().split("events")[0].split("KillAndRestart")[1]
    assert fragile.server
    fragile.server.stop()


def test_stopping_the_proxy_waits_for_a_server_that_is_coming_back() -> None:
    fragile = FragileServer()
    fragile.may_come_back.set()
    with FaultyProxy(fragile.uri, faults=[KillAndRestart(fragile, down_seconds=3600)]) as proxy:
        with pytest.raises(ConnectionResetError, match=RST):
            ask(proxy, "GET", "/bytes/1")
        assert fragile.server is None
    assert fragile.server
    fragile.server.stop()


def test_a_server_that_does_not_come_back_is_told_when_the_proxy_stops() -> None:
    class Dead:
        def kill(self) -> None:
            """End."""

        def start(self) -> None:
            """Fail."""
            raise TrackingServerError("nowhere", "it stays away.", is_outage=True)

    proxy = FaultyProxy("http://127.0.0.1:9", faults=[KillAndRestart(Dead())]).start()
    with pytest.raises(ConnectionResetError, match=RST):
        ask(proxy, "GET", "/bytes/1")
    with pytest.raises(TrackingServerError, match="stays away"):
        proxy.stop()
    proxy.stop()


# --- the script ------------------------------------------------------------------------------------------------------


def test_slowness_combines_with_the_first_fault_that_ends_a_request(upstream: CountingServer) -> None:
    script = [Latency(0), Status(500, times=1), Bandwidth(10**6), Reset(times=1), ClockSkew(1)]
    with FaultyProxy(upstream.uri, faults=script) as proxy:
        with pytest.raises(StatusError):
            ask(proxy, "GET", "/bytes/1")
        with pytest.raises(ConnectionResetError, match=RST):
            ask(proxy, "GET", "/bytes/1")
        ask(proxy, "GET", "/bytes/1")
        slow = (script[0], script[2], script[4])
        assert [event.fault for event in proxy.events] == [script[1], script[3], script[0]]
        assert proxy.events[0].faults == (*script[:3], script[4])
        assert proxy.events[2].faults == slow


def test_a_fault_lets_the_first_requests_on_its_route_through(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri, faults=[Status(500, route="POST /a", skip=2, times=1)]) as proxy:
        struck = []
        for path in ("/a", "/b", "/a", "/b", "/a", "/a"):
            with suppress(StatusError):
                ask(proxy, "POST", path)
            struck.append(proxy.events[-1].fault is not None)
    assert struck == [False, False, False, False, True, False]


def test_a_new_script_counts_from_the_start(upstream: CountingServer) -> None:
    with FaultyProxy(upstream.uri, faults=[Status(500, times=1)]) as proxy:
        for _ in range(2):
            with pytest.raises(StatusError):
                ask(proxy, "GET", "/bytes/1")
            assert ask(proxy, "GET", "/bytes/1") == pattern(1)
            proxy.faults = list(proxy.faults)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(), probability=st.floats(0, 1), paths=st.lists(st.sampled_from(["/a", "/b"]), max_size=12))
def test_under_one_seed_the_same_requests_meet_the_same_faults(
    upstream: CountingServer, seed: int, probability: float, paths: list[str]
) -> None:
    script = [Reset(probability=probability, route="/a"), Status(429, probability=0.5), Latency(0, probability=0.5)]
    histories = []
    for _ in range(2):
        with FaultyProxy(upstream.uri, faults=script, seed=seed) as proxy:
            for path in paths:
                with suppress(StatusError, ConnectionResetError):
                    ask(proxy, "POST", path)
            histories.append(proxy.events)
    assert histories[0] == histories[1]
    assert [event.path for event in histories[0]] == paths


def test_other_seeds_are_other_stories_of_the_probability_that_is_asked_for(upstream: CountingServer) -> None:
    stories = set()
    for seed in range(5):
        with FaultyProxy(upstream.uri, faults=[Status(500, probability=0.25)], seed=seed) as proxy:
            for _ in range(60):
                with suppress(StatusError):
                    ask(proxy, "GET", "/bytes/1")
            stories.add(tuple(event.fault is not None for event in proxy.events))
    assert len(stories) == 5
    # 300 draws of 0.25, the same in every run of this test.
    assert 50 <= sum(map(sum, stories)) <= 100


def test_a_failure_message_has_what_it_takes_to_try_again(upstream: CountingServer) -> None:
    script = [Status(503, route="create", times=2, skip=1), KillAndRestart(FragileServer, route="never")]  # type: ignore[arg-type]
    with FaultyProxy(upstream.uri, faults=script, seed=42) as proxy:
        for _ in range(2):
            with suppress(StatusError):
                ask(proxy, "POST", "/create", b"")
        assert proxy.describe().splitlines() == [
            f"FaultyProxy ({proxy.uri}) before {upstream.uri}, seed 42",
            "faults:",
            "  Status(route='create', times=2, skip=1, code=503): struck 1 of 2 on its route",
            "  KillAndRestart(route='never'): struck 0 of 0 on its route",
            "events:",
            "  1. POST /create: 200",
            "  2. POST /create: no answer of the server  <- Status(route='create', times=2, skip=1, code=503)",
        ]


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Reset(probability=1.5), "Reset.probability"),
        (lambda: Reset(times=-1), "Reset.times"),
        (lambda: Reset(skip=-1), "Reset.skip"),
        (lambda: Reset(route="("), "Reset.route"),
        (lambda: Latency(-1), "Latency.seconds"),
        (lambda: Bandwidth(0), "Bandwidth.bytes_per_second"),
        (lambda: Status(200), "Status.code"),
        (lambda: TruncateAnswer(-1), "TruncateAnswer.bytes"),
        (lambda: KillAndRestart(FragileServer, down_seconds=-1), "KillAndRestart.down_seconds"),  # type: ignore[arg-type]
        (lambda: FaultyProxy("sqlite:///mlflow.db"), "upstream_uri"),
        (lambda: FaultyProxy("http://127.0.0.1:1").uri, "FaultyProxy.uri"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(make: Callable[[], object], key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.key == key


def test_random_faults_repeat_heal_and_are_of_every_kind() -> None:
    kinds = set()
    for seed in range(200):
        faults = random_faults(seed)
        assert faults == random_faults(seed)
        assert 1 <= len(faults) <= 4
        assert all(fault.times for fault in faults)
        kinds |= {type(fault) for fault in faults}
    assert kinds == {Latency, Bandwidth, ClockSkew, Refuse, Hang, Reset, Status, DropAnswer, TruncateAnswer}


# --- what stays ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_stopping_leaves_no_thread_and_no_socket_whatever_is_under_way(upstream: CountingServer) -> None:
    server_threads = threading.active_count()
    before, threads = open_files(), {thread.name for thread in threading.enumerate()}
    script = [Hang(route="/hang"), Latency(3600, route="/late"), Bandwidth(1, route="/thin"), Refuse(skip=4)]
    with FaultyProxy(upstream.uri, faults=script) as proxy:
        with connect(proxy) as idle:
            idle.request("GET", "/bytes/3")
            assert idle.getresponse().read() == pattern(3)
            work = [in_background(lambda path=path: ask(proxy, "POST", path, b"123")) for path in ("/hang", "/late")]  # type: ignore[misc]
            work.append(in_background(lambda: ask(proxy, "PUT", "/thin", pattern(1000))))
            wait_until(lambda: len(proxy.events) == 4)
            with pytest.raises(ConnectionRefusedError):
                ask(proxy, "GET", "/bytes/1")
            proxy.stop()
            proxy.stop()
        for thread, results in work:
            thread.join()
            assert isinstance(results[0], CUT)
    # The server's own threads notice a little later that their connections are gone.
    wait_until(lambda: open_files() <= before and threading.active_count() <= server_threads)
    assert {thread.name for thread in threading.enumerate()} <= threads


def test_the_address_is_free_for_another_proxy_after_a_stop(upstream: CountingServer) -> None:
    proxy = FaultyProxy(upstream.uri)
    for _ in range(2):
        with proxy:
            assert ask(proxy, "GET", "/bytes/4") == pattern(4)
        with pytest.raises(ConnectionRefusedError):
            ask(proxy, "GET", "/bytes/4")
    proxy.faults = [Reset()]
    with proxy, pytest.raises(ConnectionResetError, match=RST):
        ask(proxy, "GET", "/bytes/4")
    assert len(proxy.events) == 3


def test_the_script_may_be_changed_from_many_threads_while_requests_run(upstream: CountingServer) -> None:
    scripts: list[list[Fault]] = [[], [Refuse()], [Status(503)], [Hang()], [Refuse(skip=1)], [Reset()]]
    with FaultyProxy(upstream.uri) as proxy:

        def change(seed: int) -> str:
            for script in random.Random(seed).choices(scripts, k=40):  # noqa: S311  (repeatable on purpose)
                proxy.faults = script
            return "changed"

        def request() -> str:
            for _ in range(20):
                with suppress(*CUT, StatusError, TimeoutError):
                    ask(proxy, "POST", "/a", b"1", timeout=0.5)
            return "asked"

        work = [in_background(lambda seed=seed: change(seed)) for seed in range(3)]  # type: ignore[misc]
        work += [in_background(request) for _ in range(3)]
        for thread, _ in work:
            thread.join()
        assert [results for _, results in work] == [["changed"]] * 3 + [["asked"]] * 3
        proxy.faults = []
        assert ask(proxy, "GET", "/bytes/9") == pattern(9)
        # A request that was forwarded when its client gave up may still be under way.
        wait_until(lambda: len(upstream.asked) == sum(event.upstream_status == 200 for event in proxy.events))


# --- MLflow's own client ---------------------------------------------------------------------------------------------


class Experiment:
    """An experiment of a test's own, seen through a proxy and, past it, on the server."""

    def __init__(self, proxy: FaultyProxy, upstream: MockMlflowServer, name: str) -> None:
        """Make it on the server."""
        self.proxy = proxy
        self.client = MlflowClient(proxy.uri, proxy.uri)
        self.truth = MlflowClient(upstream.uri, upstream.uri)
        self.id = self.truth.create_experiment(name)

    def runs(self) -> int:
        """Return how many runs the server holds."""
        return len(self.truth.search_runs([self.id]))


@pytest.fixture
def experiment(mlflow_upstream: MockMlflowServer, request: pytest.FixtureRequest) -> Iterator[Experiment]:
    """An experiment behind a proxy without faults."""
    with FaultyProxy(mlflow_upstream.uri) as proxy:
        yield Experiment(proxy, mlflow_upstream, request.node.name)


def test_mlflow_loses_the_answer_and_the_run_is_there(experiment: Experiment) -> None:
    experiment.proxy.faults = [DropAnswer(route=CREATE_RUN, times=1)]
    with pytest.raises(MlflowException):
        experiment.client.create_run(experiment.id)
    assert experiment.runs() == 1
    run = experiment.client.create_run(experiment.id)
    assert experiment.runs() == 2
    # MLflow's client may ask other things in between.
    asked = [event for event in experiment.proxy.events if event.path.endswith("runs/create")]
    assert [(event.fault, event.upstream_status) for event in asked] == [
        (DropAnswer(route=CREATE_RUN, times=1), 200),
        (None, 200),
    ]
    assert experiment.truth.get_run(run.info.run_id).info.status == "RUNNING"


def test_mlflow_is_told_of_an_overload_twice_and_then_served(experiment: Experiment) -> None:
    experiment.proxy.faults = [Status(503, times=2)]
    for _ in range(2):
        with pytest.raises(MlflowException, match="503"):
            experiment.client.create_run(experiment.id)
        assert experiment.runs() == 0
    experiment.client.create_run(experiment.id)
    assert experiment.runs() == 1


def test_mlflow_understands_an_error_in_its_own_format(experiment: Experiment) -> None:
    body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone"}'
    experiment.proxy.faults = [Status(404, body=body, headers={"Content-Type": "application/json"})]
    with pytest.raises(MlflowException, match="gone") as caught:
        experiment.client.get_experiment(experiment.id)
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_mlflow_gives_up_on_a_hanging_server(
    experiment: Experiment,
) -> None:
    experiment.proxy.faults = [Hang(route=CREATE_RUN)]
    with impatience(), pytest.raises(MlflowException, match="timed out"):
        experiment.client.create_run(experiment.id)
    experiment.proxy.faults = []
    experiment.client.create_run(experiment.id)
    assert experiment.runs() == 1


@pytest.mark.parametrize(
    ("fault", "words", "runs"),
    [
        (Refuse(), "Connection refused", 0),
        (Reset(), "Connection reset|Connection aborted", 0),
        (TruncateAnswer(20, route=CREATE_RUN), "IncompleteRead", 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_mlflow_sees_a_broken_connection(experiment: Experiment, fault: Fault, words: str, runs: int) -> None:
    experiment.proxy.faults = [fault]
    with pytest.raises((MlflowException, requests.RequestException), match=words):
        experiment.client.create_run(experiment.id)
    experiment.proxy.faults = []
    assert experiment.runs() == runs
    experiment.client.create_run(experiment.id)
    assert experiment.runs() == runs + 1


def test_mlflow_gets_an_artifact_whole_through_a_narrow_line(experiment: Experiment, tmp_path: Path) -> None:
    content = pattern(1_000_000)
    (tmp_path / "artifact.bin").write_bytes(content)
    run_id = experiment.client.create_run(experiment.id).info.run_id
    fault = Bandwidth(2_000_000, route="artifacts")
    experiment.proxy.faults = [fault]
    experiment.client.log_artifact(run_id, str(tmp_path / "artifact.bin"))
    assert Path(experiment.truth.download_artifacts(run_id, "artifact.bin", str(tmp_path))).read_bytes() == content
    there = tmp_path / "there"
    there.mkdir()
    assert Path(experiment.client.download_artifacts(run_id, "artifact.bin", str(there))).read_bytes() == content
    uploads = [event for event in experiment.proxy.events if event.method == "PUT"]
    assert [(event.fault, event.upstream_status) for event in uploads] == [(fault, 200)]


def test_mlflow_sees_a_truncated_download(experiment: Experiment, tmp_path: Path) -> None:
    run_id = experiment.client.create_run(experiment.id).info.run_id
    experiment.client.log_text(run_id, "x" * 100_000, "text.txt")
    experiment.proxy.faults = [TruncateAnswer(50_000, route="GET /api/2.0/mlflow-artifacts")]
    with pytest.raises((MlflowException, requests.RequestException)):
        experiment.client.download_artifacts(run_id, "text.txt", str(tmp_path))
    experiment.proxy.faults = []
    path = experiment.client.download_artifacts(run_id, "text.txt", str(tmp_path))
    assert Path(path).read_text(encoding="utf-8") == "x" * 100_000


# --- our shipper -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed journal of a parent and two children with one of everything that a run may record."""
    evaluation = "20300102-030405-0a1b2c3d"
    journal = FileJournal(tmp_path_factory.mktemp("journals") / evaluation)
    journal.append(OpenJournal(format=JOURNAL_FORMAT, evaluation=evaluation, experiment="through faults"))
    model = ModelFile(
        name="candidate",
        content=b"a model",
        file="model.skops",
        flavor="sklearn",
        options={"serialization_format": "skops"},
        inputs={"x": "double"},
        output="long",
        requirements=("scikit-learn",),
    )
    tracker = Tracker(journal, evaluation=evaluation, run_name="parent")
    with tracker.start() as parent:
        with parent.child("first") as run:
            run.log_parameters(
                CompareAndOutputDeltaParameters(
                    metric="accuracy",
                    minimum_gain=0.1,
                    confidence=0.95,
                    guards={},
                    minimum_positives=50,
                    minimum_discordant_rows=25,
                    rule_sha256="01" * 32,
                )
            )
            for step in range(5):
                run.log_metrics({"loss": 1 / (step + 1)}, step=step)
            version = DatasetVersion(
                name="table", context="base", digest="0a" * 32, rows=3, columns=(("x", "double"),), source="table.csv"
            )
            run.log_dataset(version)
            run.log_artifact("deep/bytes.bin", pattern(5000))
            run.log_artifact("empty.txt", b"")
        with parent.child("second") as run:
            run.log_metrics({"accuracy": 0.5})
            run.log_model(model)
            run.register_model("candidate", registered_name="model of faults", tags={"kind": "test"})
        parent.set_tags({"hokusai.decision": "accept"})
    journal.close()
    return journal.folder


def ship_through(proxy: FaultyProxy, journal: Path, copy: Path) -> list[str]:
    """Ship a copy of the journal until it is complete, as often as it takes; return what the failures said."""
    shutil.copytree(journal, copy)
    failures: list[str] = []
    for _ in range(40):
        try:
            assert ship(copy, MlflowStore(proxy.uri)).complete
        except TrackingServerError as error:
            if not error.is_outage:
                pytest.fail(f"{error}\n{proxy.describe()}")
            failures.append(f"{error} ({error.__cause__})")
        else:
            return failures
    pytest.fail(f"it does not heal\n{proxy.describe()}")


def _without_ids(tags: dict[str, str]) -> dict[str, str]:
    # The list of a model's files has the digest of its MLmodel, in which stand the ids that the server chose.
    assert MODEL_MANIFEST_TAG in tags
    return {name: value for name, value in tags.items() if name != MODEL_MANIFEST_TAG}


def history(server: MockMlflowServer, folder: Path) -> dict[str, Any]:
    """Return all that a server holds, without the ids that it chose."""
    client = MlflowClient(server.uri, server.uri)
    experiments = {item.name: item.experiment_id for item in client.search_experiments()}
    found = client.search_runs(list(experiments.values()))
    runs = {run.info.run_id: run for run in found}
    names = {run_id: run.info.run_name for run_id, run in runs.items()}
    models = client.search_logged_models(list(experiments.values()))
    versions = client.search_model_versions()
    assert len(found) == len(set(names.values())), "a run is there twice"

    def artifacts(run_id: str) -> dict[str, bytes]:
        target = folder / run_id
        target.mkdir(parents=True)
        client.download_artifacts(run_id, "", str(target))
        # The description of the model names the ids that the server chose.
        own = {"MLmodel", MODEL_MANIFEST_FILE}
        files = (path for path in target.rglob("*") if path.is_file() and path.name not in own)
        return {path.relative_to(target).as_posix(): path.read_bytes() for path in files}

    return {
        "experiments": sorted(experiments),
        "models": [(model.name, str(model.status), names[model.source_run_id]) for model in models],
        "versions": [
            (version.name, version.version, names[version.run_id], _without_ids(version.tags)) for version in versions
        ],
        "runs": {
            run.info.run_name: {
                "info": (run.info.status, run.info.start_time, run.info.end_time),
                "parent": names.get(run.data.tags.pop("mlflow.parentRunId", "")),
                "parameters": run.data.params,
                "tags": run.data.tags,
                "metrics": {
                    key: sorted((point.step, point.timestamp, point.value) for point in points)
                    for key in run.data.metrics
                    for points in [client.get_metric_history(run.info.run_id, key)]
                },
                "datasets": [
                    (item.dataset.name, item.dataset.digest)
                    for item in (run.inputs.dataset_inputs if run.inputs else ())
                ],
                "models": len(run.outputs.model_outputs) if run.outputs else 0,
                "artifacts": artifacts(run.info.run_id),
            }
            for run in found
        },
    }


@pytest.fixture(scope="module")
def wanted(journal: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a server holds after the journal was shipped without faults."""
    folder = tmp_path_factory.mktemp("without-faults")
    with MockMlflowServer() as server, FaultyProxy(server.uri) as proxy:
        assert ship_through(proxy, journal, folder / "journal") == []
        return history(server, folder / "downloads")


def test_the_journal_has_one_of_everything(wanted: dict[str, Any]) -> None:
    assert set(wanted["runs"]) == {"parent", "first", "second"}
    first, second = wanted["runs"]["first"], wanted["runs"]["second"]
    assert len(wanted["models"]) == len(wanted["versions"]) == second["models"] == 1
    assert first["parent"] == second["parent"] == "parent"
    assert len(first["metrics"]["loss"]) == 5
    assert len(first["parameters"]) == 7
    assert len(first["datasets"]) == 1
    assert first["artifacts"]["deep/bytes.bin"] == pattern(5000)
    assert second["info"][0] == "FINISHED"


@pytest.mark.parametrize(
    "seed", [seed if seed < 3 else pytest.param(seed, marks=pytest.mark.slow) for seed in range(10)]
)
def test_our_shipper_loses_nothing_and_doubles_nothing_through_random_faults(
    journal: Path, wanted: dict[str, Any], seed: int, tmp_path: Path
) -> None:
    with MockMlflowServer() as server, FaultyProxy(server.uri, faults=random_faults(seed), seed=seed) as proxy:
        with impatience():
            ship_through(proxy, journal, tmp_path / "journal")
        assert history(server, tmp_path / "downloads") == wanted, proxy.describe()


@pytest.mark.slow
def test_our_shipper_survives_the_loss_of_any_one_answer(journal: Path, wanted: dict[str, Any], tmp_path: Path) -> None:
    for position in range(100):
        faults = [DropAnswer(skip=position, times=1)]
        with MockMlflowServer() as server, FaultyProxy(server.uri, faults=faults) as proxy:
            failures = ship_through(proxy, journal, tmp_path / f"journal-{position}")
            assert history(server, tmp_path / f"downloads-{position}") == wanted, proxy.describe()
        was_struck = any(event.fault for event in proxy.events)
        # MLflow's client may take an answer that is lost for one that it can do without.
        assert len(failures) <= was_struck, f"{failures}\n{proxy.describe()}"
        if not was_struck:
            break
    assert 20 < position < 99


@pytest.mark.slow
def test_a_real_server_is_killed_in_the_middle_and_our_shipper_loses_nothing(
    journal: Path, wanted: dict[str, Any], tmp_path: Path
) -> None:
    with MlflowServerProcess(tmp_path / "server") as server:
        fault = KillAndRestart(server, route="runs/create", skip=1)
        with FaultyProxy(server.uri, faults=[fault]) as proxy:
            shutil.copytree(journal, tmp_path / "journal")
            with pytest.raises(TrackingServerError):
                ship(tmp_path / "journal", MlflowStore(proxy.uri))
        with FaultyProxy(server.uri) as proxy:
            assert ship(tmp_path / "journal", MlflowStore(proxy.uri)).complete
        found = history(server, tmp_path / "downloads")  # type: ignore[arg-type]
    assert found == wanted
