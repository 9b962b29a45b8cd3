"""What runs in the processes of a local pool: a server that forks workers, and the workers.

Neither prints, neither reads standard input, and both end as soon as the process that they work for does. The server
has one thread and has done nothing but import libraries, so that forking it is safe and its pages are shared by all.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import queue
import shutil
import signal
import socket
import struct
import threading
import time
import traceback
from enum import IntEnum
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from hokusai.errors import HokusaiError
from hokusai.execution.executor import OUT_OF_MEMORY, JobFailure
from hokusai.execution.shared_tables import map_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FORK", "REPLY", "REQUEST", "WAIT", "MessageKind", "serve_forks", "serve_jobs"]

REQUEST, REPLY = struct.Struct("=cq"), struct.Struct("=q")
FORK, WAIT = b"f", b"w"
_SECONDS_BETWEEN_MESSAGES = 0.25


class MessageKind(IntEnum):
    """What a worker says: the first byte of a frame; a pickle follows."""

    MESSAGES = 0
    RESULT = 1
    FAILURE = 2
    EXCEPTION = 3


def serve_forks(control: int, preload: Sequence[str], folder: str) -> None:
    """Fork a worker for every socket that arrives, and tell how a worker ended, until the parent is gone.

    Args:
        control: Descriptor of the socket to the parent.
        preload: Modules to import first; one that is not installed is left to the job that needs it.
        folder: The pool's folder, removed at the end: a parent that was killed could not.
    """
    _stay_quiet()
    _import(preload)
    gc.collect()
    gc.freeze()  # the collector would write to pages that are shared
    parent = socket.socket(fileno=control)
    while True:
        content, descriptors, _, _ = socket.recv_fds(parent, REQUEST.size, 1)
        if not content:
            break
        kind, number = REQUEST.unpack(content)
        parent.send(REPLY.pack(_fork(parent, descriptors[0]) if kind == FORK else _exit_code(number)))
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def serve_jobs(descriptor: int, preload: Sequence[str] = (), folder: str = "") -> None:
    """Answer jobs one after another until the parent is gone, whatever is being done then.

    Args:
        descriptor: The socket to the parent.
        preload: Modules to import first.
        folder: The pool's folder, removed at the end; empty where somebody else does it.
    """
    _stay_quiet()
    _import(preload)
    connection = Connection(descriptor)
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, waiting, folder), daemon=True).start()
    while True:
        _answer(waiting.get(), connection)


def _stay_quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def _fork(parent: socket.socket, descriptor: int) -> int:
    pid = os.fork()
    if pid:
        os.close(descriptor)
        return pid
    try:
        parent.close()
        serve_jobs(descriptor)
    finally:
        # Nothing of the server's own may run in a copy of it.
        os._exit(1)


def _exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _receive(connection: Connection, waiting: queue.SimpleQueue[bytes], folder: str) -> None:
    try:
        while True:
            waiting.put(connection.recv_bytes())
    except (EOFError, OSError):
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


class _Messages:
    """Collects messages and sends them a few times a second."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._collected: list[object] = []
        self._sent_at = time.monotonic()

    def add(self, message: object) -> None:
        self._collected.append(message)
        if time.monotonic() - self._sent_at >= _SECONDS_BETWEEN_MESSAGES:
            self.flush()

    def flush(self) -> None:
        if self._collected:
            _send(self._connection, MessageKind.MESSAGES, self._collected)
            self._collected = []
        self._sent_at = time.monotonic()


def _answer(content: bytes, connection: Connection) -> None:
    messages = _Messages(connection)
    kind, value = _run(content, messages)
    messages.flush()
    try:
        _send(connection, kind, value)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        _send(connection, MessageKind.FAILURE, _unsendable("the result", error))
    except MemoryError:
        _send(connection, MessageKind.FAILURE, JobFailure(job=0, reason=OUT_OF_MEMORY))


def _run(content: bytes, messages: _Messages) -> tuple[MessageKind, object]:
    try:
        files, pickled = pickle.loads(content)  # noqa: S301 - our parent's own values
        try:
            job = pickle.loads(pickled)  # noqa: S301
        except (AttributeError, ImportError) as error:
            return MessageKind.FAILURE, _unsendable("the job", error)
        return MessageKind.RESULT, job(map_tables(files), messages.add)
    except HokusaiError as error:
        return MessageKind.FAILURE, JobFailure(job=0, reason=str(error), error=error)
    except MemoryError:
        return MessageKind.FAILURE, JobFailure(job=0, reason=OUT_OF_MEMORY)
    except BaseException as error:  # noqa: BLE001 - handed on as a value, and raised by the parent
        return MessageKind.EXCEPTION, (_portable(error), traceback.format_exc())


def _portable(error: BaseException) -> BaseException:
    """The error itself if it can be sent, otherwise its words."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - an exception class may do anything in its constructor
        return HokusaiError(f"{type(error).__name__}: {error}")
    return error


def _unsendable(what: str, error: Exception) -> JobFailure:
    return JobFailure(job=0, reason=f"{what} cannot be sent to another process ({error}). Use one worker.")


def _send(connection: Connection, kind: MessageKind, value: object) -> None:
    """Write one frame; if the parent has gone there is nobody to tell, so the process ends."""
    content = bytes([kind]) + pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    try:
        connection.send_bytes(content)
    except OSError:
        os._exit(0)
