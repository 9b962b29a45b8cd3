"""The parent's end of the processes of a local pool: starting workers, and learning how they ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from typing import IO, TYPE_CHECKING, Protocol

from hokusai.errors import ExecutionError
from hokusai.execution.worker import FORK, REPLY, REQUEST, WAIT

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ForkingStart", "SpawningStart", "Worker", "WorkerStart"]

# -I keeps PYTHON* variables out; the parent's own path finds what the parent found. The caller's script is not run
# again, as multiprocessing would: it need not be guarded against that.
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from hokusai.execution import worker; "
    "getattr(worker, sys.argv[2])(int(sys.argv[3]), json.loads(sys.argv[4]), sys.argv[5])"
)
# A process with one thread can be forked; how many threads a fit has is set for each fit.
_OWN_VARIABLES = {"OPENBLAS_NUM_THREADS": "1"}
_START_SECONDS = 300.0
_LAST_WORDS_BYTES = 4096


class Worker:
    """A process that works on jobs, and the connection to it.

    Attributes:
        pid: Its process id.
        connection: Jobs go in, frames come out.
    """

    def __init__(self, pid: int, connection: Connection) -> None:
        self.pid = pid
        self.connection = connection


class WorkerStart(Protocol):
    """How worker processes come about. Not safe to be used by several threads."""

    def start(self) -> Worker:
        """Start one.

        Raises:
            ExecutionError: The system has no room for it.
        """

    def end(self, worker: Worker) -> int | None:
        """End a worker, whatever it is doing, and return its exit code, below zero after a signal; None if unknown."""

    def close(self) -> None:
        """End what is needed to start workers; they themselves have been ended before."""


class ForkingStart:
    """Forks workers from a process that has imported the libraries, so that they share those pages. For Linux.

    Args:
        preload: Modules that it imports first.
        folder: The pool's folder, which it removes if this process is killed.
    """

    def __init__(self, preload: Sequence[str], folder: str) -> None:
        self._preload, self._folder = preload, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> Worker:
        """Start one, and the server before the first, or after it was killed."""
        pid = self._asked(FORK) if self._process is not None else None
        if pid is None:
            self.close()
            self._start_server()
            pid = self._asked(FORK)
        if pid is None:
            problem = "the process that starts workers has ended"
            words = self._words()
            self.close()
            raise ExecutionError(f"no worker process could be started: {problem}{words}. Use one worker, or try again.")
        return Worker(pid, self._connection)

    def end(self, worker: Worker) -> int | None:
        """End a worker and return its exit code."""
        worker.connection.close()
        if self._control is None:
            return None
        # Not reaped before it is asked for, so that the number is still this process's.
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
        return self._asked(WAIT, worker.pid)

    def close(self) -> None:
        """End the server."""
        if self._process is not None and self._control is not None:
            self._control.close()
            self._process.kill()
            self._process.wait()
            self._stderr.close()
        self._process = self._control = None

    def _start_server(self) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_START_SECONDS)
        with theirs:
            self._process = _started("serve_forks", theirs, self._preload, self._folder, stderr=self._stderr)

    def _asked(self, kind: bytes, number: int = 0) -> int | None:
        """Send a request and return the answer; None if there is nobody to answer."""
        control = self._control
        if control is None:
            return None
        try:
            if kind == FORK:
                ours, theirs = socket.socketpair()
                with theirs:
                    self._connection = Connection(ours.detach())
                    socket.send_fds(control, [REQUEST.pack(kind, number)], [theirs.fileno()])
                    answer = control.recv(REPLY.size)
            else:
                control.send(REQUEST.pack(kind, number))
                answer = control.recv(REPLY.size)
        except OSError:
            return None
        return int(REPLY.unpack(answer)[0]) if answer else None

    def _words(self) -> str:
        end = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, end - _LAST_WORDS_BYTES))
        lines = self._stderr.read().decode(errors="replace").split("\n")
        return next((f" ({line.strip()[:200]})" for line in reversed(lines) if line.strip()), "")


class SpawningStart:
    """Starts every worker as a new process, which imports the libraries itself. For systems where forking is unsafe.

    Args:
        preload: Modules that each imports first.
        folder: The pool's folder, which a worker removes if this process is killed.
    """

    def __init__(self, preload: Sequence[str], folder: str) -> None:
        self._preload, self._folder = preload, folder
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> Worker:
        """Start one."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = _started("serve_jobs", theirs, self._preload, self._folder, stderr=None)
        self._processes[process.pid] = process
        return Worker(process.pid, Connection(ours.detach()))

    def end(self, worker: Worker) -> int | None:
        """End a worker and return its exit code."""
        process = self._processes.pop(worker.pid)
        process.kill()
        worker.connection.close()
        return process.wait()

    def close(self) -> None:
        """Nothing is held beside the workers."""


def _started(
    function: str, theirs: socket.socket, preload: Sequence[str], folder: str, *, stderr: IO[bytes] | None
) -> subprocess.Popen[bytes]:
    arguments = [json.dumps(sys.path), function, str(theirs.fileno()), json.dumps(list(preload)), folder]
    try:
        return subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-I", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _BOOT, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if stderr is None else stderr,
            env=os.environ | _OWN_VARIABLES,
            pass_fds=[theirs.fileno()],
        )
    except OSError as error:
        raise ExecutionError(f"no worker process could be started: {error}. Use one worker, or try again.") from error
