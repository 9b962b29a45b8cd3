"""A server of tests that is a command in a process of its own: started, stopped, killed, hung and brought back.

Nothing of it is found by name: it is told by the number of its process, whose session it leads.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from hokusai.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["ServerCommand", "ServerProcess", "user_arguments"]

_START_SECONDS = 120
_STOP_SECONDS = 20
_MOST_PRINTED = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCommand:
    """How a server is started.

    Attributes:
        arguments: The program and its arguments.
        environment: All of its environment; passwords are here, for everybody can read arguments.
        folder: Where it stands.
        log: The file that takes what it prints; None drops it.
        user: The user that it runs as, for servers that refuse to be root; None leaves it as it is.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    log: Path | None = None
    user: str | None = None


class ServerProcess(ABC):
    """A server on a loopback port. Use it as a context manager, or call :meth:`start` and :meth:`stop`.

    Attributes:
        port: The port; the same after a restart.
    """

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self) -> None:
        """Choose a free port; start nothing yet."""
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @abstractmethod
    def prepare(self) -> ServerCommand:
        """Make what the server needs, unless it is there already, and return how it is started."""

    @abstractmethod
    def answers(self) -> bool:
        """Say whether the server answers; False as well while it does not listen."""

    def start(self) -> Self:
        """Answer requests when this returns.

        Raises:
            ExecutionError: The server ended, or did not answer for two minutes.
        """
        try:
            command = self.prepare()
            self._wait_until_it_answers(self._open(command), command.log)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server and its workers in order. A second call does nothing."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the server and its workers at once, as a crash would."""
        self._end(signal.SIGKILL)

    def hang(self) -> None:
        """Stop the server's clock: connections are taken and never answered, until :meth:`resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a hanging server go on."""
        self._signal(signal.SIGCONT)

    def _open(self, command: ServerCommand) -> subprocess.Popen[bytes]:
        with (command.log or Path(os.devnull)).open("ab") as output:
            # A session of its own, so that its workers can be ended with it.
            self._process = subprocess.Popen(  # noqa: S603  (a server's own command)
                command.arguments,
                env=command.environment,
                cwd=command.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **user_arguments(command.user),
            )
        return self._process

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        self._signal(signal.SIGCONT)
        self._signal(number)
        try:
            process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            process.wait()
        # A worker may outlive the command that started it.
        self._signal(signal.SIGKILL)
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes], log: Path | None) -> None:
        for _ in range(_START_SECONDS * 10):
            if self.answers():
                return
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
                break
        printed = log.read_text(encoding="utf-8", errors="replace")[-_MOST_PRINTED:].strip() if log else ""
        problem = f"{type(self).__name__}, a server for tests, did not start on port {self.port}."
        raise ExecutionError(f"{problem} It printed:\n{printed}" if printed else problem)


def user_arguments(user: str | None) -> dict[str, Any]:
    """Return the arguments with which ``subprocess`` starts a process as a user; none for None."""
    if user is None:
        return {}
    import pwd

    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
