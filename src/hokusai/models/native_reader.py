"""Lets another process read native model files first, so that a damaged one can end that process and nothing else.

Only what the library itself has written there, of a file that it has read to the end, is given to the library here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from hokusai.errors import ConfigurationError, ModelError
from hokusai.models.native_reader_child import ANSWER, REQUEST

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from hokusai.models.native_reader_child import Library

__all__ = ["NativeReader", "require_library"]

# -I keeps the working directory and PYTHON* variables out; then the parent's own path finds what the parent found.
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from hokusai.models.native_reader_child import serve; serve()"
)
_KEPT_VARIABLES = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR")
_START_SECONDS, _LEAST_SECONDS, _BYTES_PER_SECOND = 60.0, 20.0, 1 << 20
_END_SECONDS = 5.0
_MODULES = {"lightgbm": "lightgbm", "xgboost": "xgboost", "xgboost-state": "xgboost", "onnx": "onnxruntime"}
_NAMES = {"lightgbm": "LightGBM", "xgboost": "XGBoost", "xgboost-state": "XGBoost", "onnx": "ONNX"}


def require_library(library: Library) -> None:
    """Refuse a format whose library is not installed.

    Raises:
        ConfigurationError: It is not; the message names the extra.
    """
    if find_spec(_MODULES[library]) is None:
        problem = (
            f"an {_NAMES[library]} model needs {_MODULES[library]}, which is not installed. "
            f"Install it with `pip install 'hokusai-pipeline[{library}]'`."
        )
        raise ConfigurationError(problem, key="baseline.source")


class NativeReader:
    """Reads native model files in a process of its own; a context manager that leaves none behind.

    The process is started by the first file, and again after a file that ended it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def read(self, library: Library, content: bytes, *, source: str) -> bytes:
        """Return a model as its library writes it: text, JSON, or for ONNX what it takes and gives.

        Raises:
            ConfigurationError: The library is not installed.
            ModelError: The library refuses the file, or dies of it.
        """
        require_library(library)
        name = _NAMES[library]
        seconds = _LEAST_SECONDS + len(content) / _BYTES_PER_SECOND
        process = self._started()
        # The processor time is limited there; this clock is for a process that waits for ever.
        clock = threading.Timer(_START_SECONDS + 4 * seconds, process.kill)
        clock.start()
        try:
            is_read, answer = _asked(process, REQUEST.pack(library.encode(), seconds, len(content)), content)
        except (EOFError, BrokenPipeError) as error:
            self._end()
            problem = f"{name} dies of it: the file is damaged, or made to do harm. Get a sound copy, or save it anew."
            raise ModelError(f"{source}: {problem}") from error
        finally:
            clock.cancel()
        if not is_read:
            raise ModelError(f"{source}: {name} cannot read it ({answer.decode('utf-8', 'replace')}). Save it anew.")
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            path = [entry for entry in sys.path if entry] + [str(Path(__file__).parents[2])]
            self._process = subprocess.Popen(  # noqa: S603 - our own code
                [sys.executable, "-I", "-c", _BOOT, json.dumps(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait(_END_SECONDS)
        for pipe in (process.stdin, process.stdout):
            try:
                cast("IO[bytes]", pipe).close()
            except BrokenPipeError:
                continue


def _asked(process: subprocess.Popen[bytes], head: bytes, content: bytes) -> tuple[bool, bytes]:
    requests, answers = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
    requests.write(head)
    requests.write(content)
    requests.flush()
    is_read, length = ANSWER.unpack(_whole(answers, ANSWER.size))
    return is_read, _whole(answers, length)


def _whole(answers: IO[bytes], length: int) -> bytes:
    content = answers.read(length)
    if len(content) < length:
        raise EOFError
    return content
