"""What tests of several parts share beside the test kit's fixtures: a clean environment and a server to take away."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from hokusai.cli import main
from hokusai.testing import sample_data
from hokusai.tracking.mlflow_config import TrackingSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hokusai.config import PipelineConfig
    from hokusai.testing.mlflow_server import MlflowServerProcess

_OURS = ("MLFLOW_", "HOKUSAI_")
_CACHE = "HOKUSAI_CACHE"
_WARNINGS_OF_MLFLOW = (
    ".*Any type hint is inferred as AnyType:UserWarning",
    "The ``noload`` loader strategy is deprecated:DeprecationWarning",
)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without settings of MLflow and Hokusai, and with MLflow's telemetry off.

    A test's own cache is no setting, and stays.
    """
    kept = {name: value for name, value in os.environ.items() if name == _CACHE or not name.startswith(_OURS)}
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true"}


@pytest.fixture(scope="session", autouse=True)
def _cache_of_all_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests fetch and fit out of the cache of whoever runs them; for fixtures of several tests."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


class Outcome(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The JSON that was printed."""
        return json.loads(self.out)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Outcome]]:
    """Call a command in this process, which spares the import of MLflow."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        code = ended.value.code
        assert code is None or isinstance(code, int)
        output = capsys.readouterr()
        return Outcome(code or 0, output.out, output.err)

    yield run
    signal.signal(signal.SIGTERM, handler)


class UnreliableServer:
    """A server that tests can take away and bring back at once.

    It is an address of its own that hands every connection on to a real MLflow server. While it is stopped, nobody
    listens there, as when the server's process has ended; the real one would need seconds to come back.

    Attributes:
        uri: The address.
        delay: Seconds that every packet to the server is held back.
    """

    def __init__(self, behind: str) -> None:
        """Choose a free port and start."""
        self._behind = ("127.0.0.1", int(behind.rsplit(":", 1)[1]))
        self._port = _free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self.delay = 0.0
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self._is_up = threading.Event()
        self.start()

    def start(self) -> None:
        """Listen at the address."""
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=64)
        self._is_up.set()
        self._begin(self._accept, self._listener)

    def stop(self) -> None:
        """Cut every connection and listen no more."""
        self._is_up.clear()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if self._listener:
            self._listener.close()
        self._listener = None

    def _begin(self, target: Callable[[socket.socket], None], connection: socket.socket) -> None:
        thread = threading.Thread(target=target, args=(connection,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while self._is_up.is_set():
            if select.select([listener], [], [], 0.02)[0]:
                self._begin(self._forward, listener.accept()[0])

    def _forward(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._behind) as server:
            while self._is_up.is_set():
                for source in select.select([client, server], [], [], 0.02)[0]:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    if source is client:
                        threading.Event().wait(self.delay)
                    (server if source is client else client).sendall(data)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def pytest_configure(config: pytest.Config) -> None:
    """Let pass what MLflow warns of while it works with its own type hints and its own database."""
    for warning in _WARNINGS_OF_MLFLOW:
        config.addinivalue_line("filterwarnings", f"ignore:{warning}")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Take settings of MLflow and Hokusai out of the environment, and turn MLflow's telemetry off.

    Every test has a cache of its own: what one test's control said must not stand in for a fit of another one.
    """
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv(_CACHE, str(tmp_path_factory.getbasetemp() / f"cache-{uuid.uuid4().hex}"))


@pytest.fixture
def store_uri(tmp_path: Path) -> str:
    """The URI of an MLflow store in a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def unreliable_server(mlflow_server_process: MlflowServerProcess) -> Iterator[UnreliableServer]:
    """An address of the real server that can be taken away and brought back."""
    server = UnreliableServer(mlflow_server_process.uri)
    yield server
    server.stop()


@pytest.fixture
def subprocess_environment() -> dict[str, str]:
    """An environment for processes that a test starts."""
    return clean_environment()


@pytest.fixture
def demo_data() -> Path:
    """The folder of the demo's files."""
    return sample_data.penguins_folder()


@pytest.fixture
def demo_config(tmp_path: Path, store_uri: str) -> Callable[[str], PipelineConfig]:
    """Make the configuration of one of the demo's evaluations, tracked in ``store_uri``."""
    tracking = TrackingSettings(uri=store_uri, journal=tmp_path / "journals")

    def make(contribution: str) -> PipelineConfig:
        return sample_data.penguins_config(contribution, tracking)

    return make
