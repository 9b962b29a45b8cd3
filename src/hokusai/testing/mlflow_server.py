"""MLflow servers for tests: its own application in this process, or its own command in a process beside it.

:class:`MockMlflowServer` serves MLflow's own Flask application from a thread, on a database that is made in
milliseconds. What it answers is therefore what MLflow answers: nothing of the REST API is written a second time.
Several can run at once, each with its own store; what MLflow keeps in module globals is looked up per request instead.

:class:`MlflowServerProcess` is ``mlflow server`` as people start it: for what needs a process of its own, such as being
killed, and for holding the first one to the truth.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import warnings
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hokusai.testing.server_process import ServerCommand, ServerProcess
from hokusai.tracking.sqlite_store import create_sqlite_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIEnvironment

    from werkzeug.serving import BaseWSGIServer

__all__ = ["MlflowServerProcess", "MockMlflowServer", "RecordedRequest"]

_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108  (memory where the system has it; the folder below it is private)
_serving: ContextVar[MockMlflowServer] = ContextVar("serving")
_START_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """One request that a server answered.

    Attributes:
        method: ``GET``, ``POST`` and so on.
        path: The path without the query, such as ``/api/2.0/mlflow/runs/create``.
        query: The query string.
        body: The request's bytes.
        status: The answer's status code.
    """

    method: str
    path: str
    query: str
    body: bytes
    status: int


class MockMlflowServer:
    """MLflow's own application, served from a thread of this process on a store of its own.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. The store is in memory where the system has a
    file system in memory, otherwise in a temporary folder; it goes when the server stops.

    Attributes:
        requests: Every request that was answered, in the order of the answers.
    """

    def __init__(self) -> None:
        """Make nothing yet."""
        self.requests: list[RecordedRequest] = []
        self._folder: Path | None = None
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self._stores = threading.Lock()
        self._tracking_store: Any = None
        self._registry_store: Any = None
        self._artifacts: Any = None

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
        """The tracking and registry URI.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._server is None:
            raise RuntimeError("the server is not running; use it in a `with` block, or call start()")
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def store_uri(self) -> str:
        """The URI of the database behind the server, for reading it without HTTP."""
        return f"sqlite:///{self._require_folder() / 'mlflow.db'}"

    def start(self) -> Self:
        """Answer requests on a free loopback port when this returns. A second call does nothing."""
        from werkzeug.serving import make_server

        if self._server is not None:
            return self
        _import_quietly()
        parent = _MEMORY_FOLDER if os.access(_MEMORY_FOLDER, os.W_OK) else None
        self._folder = Path(tempfile.mkdtemp(prefix="hokusai-mlflow-", dir=parent))
        create_sqlite_store(self._folder / "mlflow.db")
        _GLOBALS.acquire()
        self._server = make_server(
            "127.0.0.1", 0, self._application, threaded=True, request_handler=_quiet_request_handler()
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="hokusai-mock-mlflow", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering and remove the store. A second call does nothing."""
        server, thread, folder = self._server, self._thread, self._folder
        if server is None or thread is None or folder is None:
            return
        self._server = self._thread = None
        server.shutdown()
        thread.join()
        server.server_close()
        for store in (self._tracking_store, self._registry_store):
            if store is not None:
                _close_store(store)
        self._tracking_store = self._registry_store = self._artifacts = None
        _GLOBALS.release()
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = None

    def tracking_store(self) -> Any:
        """Return MLflow's tracking store of this server, opened by the first request that needs it."""
        with self._stores:
            if self._tracking_store is None:
                from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

                self._tracking_store = SqlAlchemyStore(self.store_uri, "mlflow-artifacts:/")
            return self._tracking_store

    def registry_store(self) -> Any:
        """Return MLflow's model registry of this server."""
        with self._stores:
            if self._registry_store is None:
                from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

                self._registry_store = SqlAlchemyStore(self.store_uri)
            return self._registry_store

    def artifact_repository(self) -> Any:
        """Return MLflow's repository of the artifacts that this server keeps."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self._stores:
            if self._artifacts is None:
                self._artifacts = get_artifact_repository((self._require_folder() / "artifacts").as_uri())
            return self._artifacts

    def _require_folder(self) -> Path:
        if self._folder is None:
            raise RuntimeError("the server is not running; use it in a `with` block, or call start()")
        return self._folder

    def _application(self, environment: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        from io import BytesIO

        from mlflow.server import app

        if environment.get("wsgi.input_terminated"):  # The body comes in chunks, without its length beforehand.
            body = environment["wsgi.input"].read()
        else:
            body = environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        environment["wsgi.input"] = BytesIO(body)
        status = 500

        def note_status(line: str, *arguments: Any) -> Callable[[bytes], object]:
            nonlocal status
            status = int(line.split(" ", 1)[0])
            return start_response(line, *arguments)

        token = _serving.set(self)
        try:
            # The whole answer is made here, while this server's stores are the ones that MLflow's handlers find.
            answer = app(environment, note_status)
            content = list(answer)
            if hasattr(answer, "close"):
                answer.close()
        finally:
            _serving.reset(token)
        self.requests.append(
            RecordedRequest(
                method=environment["REQUEST_METHOD"],
                path=environment["PATH_INFO"],
                query=environment.get("QUERY_STRING", ""),
                body=body,
                status=status,
            )
        )
        return content


class MlflowServerProcess(ServerProcess):
    """``mlflow server`` in a process of its own, with artifacts through the server.

    Args:
        folder: Where it stands, and keeps what has no other place; it stays when the server is stopped or killed.
        store_uri: The database behind the server; default a SQLite file in the folder.
        artifacts: Where the artifacts go, such as ``s3://bucket``; default the folder ``artifacts`` in the folder.
        are_artifacts_proxied: Whether artifacts pass through the server, the default. Otherwise clients are sent to
            ``artifacts`` themselves.
        environment: What the server's environment has beside this process's own, such as the keys of an artifact store.

    Attributes:
        port: The loopback port; the same after a restart.
        store_uri: The URI of the database behind the server.
    """

    def __init__(
        self,
        folder: Path,
        *,
        store_uri: str = "",
        artifacts: str = "",
        are_artifacts_proxied: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Choose a free port; start nothing yet."""
        super().__init__()
        self.folder = folder
        self.store_uri = store_uri or f"sqlite:///{folder / 'mlflow.db'}"
        self._artifacts = artifacts or (folder / "artifacts").as_uri()
        self._are_artifacts_proxied = are_artifacts_proxied
        self._environment = dict(environment or {})

    @property
    def uri(self) -> str:
        """The tracking and registry URI."""
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> ServerCommand:
        """Make the folder and the SQLite file, unless they are there, and return how the server is started."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.store_uri.startswith("sqlite:"):
            create_sqlite_store(self.folder / "mlflow.db")
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1"]
        if self._are_artifacts_proxied:
            command += ["--artifacts-destination", self._artifacts]
        else:
            command += ["--no-serve-artifacts", "--default-artifact-root", self._artifacts]
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "_MLFLOW_"))
        }
        environment |= {
            "MLFLOW_BACKEND_STORE_URI": self.store_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "100",
        }
        log = self.folder / "server.log"
        return ServerCommand(
            arguments=tuple(command), environment=environment | self._environment, folder=self.folder, log=log
        )

    def answers(self) -> bool:
        """Say whether the server says of itself that it is well."""
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=1):  # noqa: S310  (our own address)
            return True
        return False


class _MlflowGlobals:
    """Makes MLflow's handlers ask the serving server for their stores, while any server runs.

    MLflow keeps one tracking store, one registry and one artifact repository per process in module globals. The
    functions that return them are replaced by ones that look at the request's server first; requests of others, such as
    an MLflow server of the test's own in this process, get what they would have got.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._originals: list[tuple[Any, str, Any]] = []

    def acquire(self) -> None:
        """Replace the functions, if this is the first user."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._replace()

    def release(self) -> None:
        """Put the functions back, if this was the last user."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                for module, name, original in self._originals:
                    setattr(module, name, original)
                self._originals.clear()

    def _replace(self) -> None:
        from mlflow import MlflowClient
        from mlflow.server import handlers
        from mlflow.store.model_registry import sqlalchemy_store

        answers: list[tuple[Any, str, Callable[[MockMlflowServer], Any]]] = [
            (handlers, "_get_tracking_store", MockMlflowServer.tracking_store),
            (handlers, "_get_model_registry_store", MockMlflowServer.registry_store),
            (handlers, "_get_artifact_repo_mlflow_artifacts", MockMlflowServer.artifact_repository),
            (handlers, "_is_serving_proxied_artifacts", lambda _: True),
            # The registry looks logged models up in the tracking store of the process.
            (sqlalchemy_store, "MlflowClient", lambda server: MlflowClient(server.store_uri, server.store_uri)),
        ]
        for module, name, answer in answers:
            original = getattr(module, name)
            self._originals.append((module, name, original))
            setattr(module, name, _per_request(original, answer))


_GLOBALS = _MlflowGlobals()


def _per_request(original: Callable[..., Any], answer: Callable[[MockMlflowServer], Any]) -> Callable[..., Any]:
    def choose(*arguments: Any, **keywords: Any) -> Any:
        server = _serving.get(None)
        return original(*arguments, **keywords) if server is None else answer(server)

    return choose


def _close_store(store: Any) -> None:
    """Close a store's connections and take it out of MLflow's cache of engines."""
    engines = type(store)._engine_map  # noqa: SLF001  (nothing public lets go of it)
    for uri, engine in list(engines.items()):
        if engine is store.engine:
            del engines[uri]
    store.engine.dispose()


def _import_quietly() -> None:
    """Import what MLflow's handlers import when they search runs for the first time.

    It brings a deprecation warning of Starlette's, which would make that search fail where warnings are errors.
    """
    with warnings.catch_warnings(action="ignore"):
        import mlflow.server.fastapi_app  # noqa: F401


def _quiet_request_handler() -> type:
    from werkzeug.serving import WSGIRequestHandler

    class QuietRequestHandler(WSGIRequestHandler):
        """Writes nothing to the error stream."""

        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  (the name is werkzeug's)
            """Drop the line; :attr:`MockMlflowServer.requests` has it."""

    return QuietRequestHandler
