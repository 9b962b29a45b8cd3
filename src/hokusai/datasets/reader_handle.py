"""The parent's end of a process that reads tables: starting it, asking, receiving in time, and ending it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from hokusai.datasets.reader_frames import FRAME_HEAD, REQUEST_HEAD, FrameKind, TableRequest
from hokusai.errors import DataError

if TYPE_CHECKING:
    import io

__all__ = ["ReaderHandle", "ending"]

# -I keeps the working directory and PYTHON* variables out; then the parent's own path finds what the parent found.
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from hokusai.datasets.reader_child import serve; serve()"
)
_KEPT_VARIABLES = ("HOME", "LANG", "PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "TZ")
_KEPT_PREFIXES = ("ARROW_", "DYLD_", "LC_", "LD_", "OMP_")
# Arrow's other allocators reserve address space far beyond what they use, which a limit cannot tell from use.
_OWN_VARIABLES = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1"}
_START_SECONDS = 60.0
_END_SECONDS = 5.0
_PIPE_BYTES = 1 << 20
_LAST_WORDS_BYTES, _LAST_WORDS_CHARACTERS = 4096, 200
_LAST_FRAMES = (FrameKind.FILES, FrameKind.ERROR)


class ReaderHandle:
    """One process that reads tables, with the two pipes to it.

    Attributes:
        is_at_rest: Whether it has sent the whole of a table, or why it cannot.
    """

    def __init__(self, source: str) -> None:
        """Start it, and wait until it is ready.

        Raises:
            DataError: It did not start; ``source`` is the table that it was to read.
        """
        self.is_at_rest = self._is_ready = False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        # An empty entry is the working directory, where contributed files may lie.
        path = [entry for entry in sys.path if entry] + [str(Path(__file__).parents[2])]
        options = ["-I", "-X", f"utf8={sys.flags.utf8_mode}"]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own code
                [sys.executable, *options, "-c", _BOOT, json.dumps(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=_environment(),
                bufsize=0,
            )
        except OSError as error:
            self._stderr.close()
            raise DataError(source, f"no process could be started to read it: {error}. Try again later.") from error
        self._requests = cast("io.FileIO", self._process.stdin)
        self._answers = cast("io.FileIO", self._process.stdout)
        try:
            self._require_ready(source)
        except BaseException:
            self.end()
            raise

    def _require_ready(self, source: str) -> None:
        _widen(self._answers.fileno())
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        try:
            self._wait_until_ready()
        except TimeoutError as error:
            problem = f"the process to read it was not ready after {_START_SECONDS:.0f} seconds. Try again later."
            raise DataError(source, problem) from error
        except EOFError as error:
            code, words = self.last_words()
            raise DataError(source, f"the process to read it {ending(code)} before it began ({words}).") from error

    def _wait_until_ready(self) -> None:
        if not self._is_ready:
            self.receive(seconds=_START_SECONDS, most=0)
        self._is_ready = True

    def ask(self, request: TableRequest) -> None:
        """Send a request.

        Raises:
            EOFError: The process has ended: it was killed, or its last table has left too little memory.
            TimeoutError: It is not ready after a long time.
            BrokenPipeError: It has ended just now.
        """
        self._wait_until_ready()
        content = pickle.dumps(request)
        self.is_at_rest = self._is_ready = False
        view = memoryview(REQUEST_HEAD.pack(len(content)) + content)
        while view.nbytes:
            view = view[self._requests.write(view) :]

    def receive(self, *, seconds: float, most: int) -> tuple[FrameKind, pa.Buffer]:
        """The next frame.

        Args:
            seconds: How long to wait for the whole of it.
            most: How many bytes it may have.

        Raises:
            TimeoutError: It did not come in time.
            EOFError: The process has died.
            ValueError: It is no frame, or too large.
        """
        deadline = time.monotonic() + seconds
        head = bytearray(FRAME_HEAD.size)
        self._fill(memoryview(head), deadline)
        number, size = FRAME_HEAD.unpack(head)
        kind = FrameKind(number)
        if size > most:
            message = f"a frame of {size:,} bytes"
            raise ValueError(message)
        content = pa.allocate_buffer(size)
        self._fill(memoryview(content), deadline)
        self.is_at_rest = kind in _LAST_FRAMES
        return kind, content

    def _fill(self, view: memoryview, deadline: float) -> None:
        while view.nbytes:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not self._poll.poll(remaining * 1000):
                raise TimeoutError
            count = self._answers.readinto(view)
            if not count:
                raise EOFError
            view = view[count:]

    def last_words(self) -> tuple[int, str]:
        """How the process ended that has closed its pipe: its code, and the last line that it wrote."""
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        end = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, end - _LAST_WORDS_BYTES))
        lines = self._stderr.read().decode(errors="replace").split("\n")
        line = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return code, "".join(sign for sign in line if sign.isprintable())[:_LAST_WORDS_CHARACTERS]

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        # One that the kernel holds, in a dead network file system, ends when that lets it go.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        for file in (self._requests, self._answers, self._stderr):
            file.close()


def _environment() -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    }
    return kept | _OWN_VARIABLES


def _widen(pipe: int) -> None:
    """Let more bytes wait in the pipe, where the system can: fewer switches between the two processes."""
    command = getattr(fcntl, "F_SETPIPE_SZ", None)
    if command is not None:
        with contextlib.suppress(OSError):  # beyond the user's quota
            fcntl.fcntl(pipe, command, _PIPE_BYTES)


def ending(code: int) -> str:
    """How a process ended, from its return code."""
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"died of {name}"
