"""The process that reads tables on behalf of another one: ``serve`` is all that it does.

It keeps its own limits (memory, processor time, no core dump), answers requests one after another, and ends as soon as
its standard input does, whatever it is doing then: nobody is left to read for.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import resource
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.datasets.reader_frames import (
    FRAME_HEAD,
    REQUEST_HEAD,
    FrameKind,
    TableRequest,
    encode_error,
    memory_refusal,
)
from hokusai.errors import HokusaiError, TableLimitError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from hokusai.datasets.read_settings import ReadLimits

__all__ = ["serve"]

_LARGEST_LIMIT = 2**62
_USUAL_STACK, _USUAL_DATA, _SLACK_BYTES = 8 << 20, 128 << 20, 256 << 20


def serve() -> None:
    """Answer the requests of standard input on standard output until there are no more, or memory has been used up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = _private_output()
    requests = os.fdopen(os.dup(0), "rb")
    import pyarrow as pa

    import hokusai.datasets.tables  # noqa: F401 - before the parent's clock starts

    own_bytes = _own_bytes(threads=pa.cpu_count() + pa.io_thread_count())
    waiting: queue.SimpleQueue[TableRequest] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, waiting), daemon=True).start()
    # The allocator keeps some of what a table took, which is no concern of the next one; if it is much, we begin anew.
    while _data_bytes() <= own_bytes + _SLACK_BYTES:
        _send(answers, FrameKind.READY, b"")
        _answer(waiting.get(), answers, own_bytes=own_bytes)
        pa.default_memory_pool().release_unused()
    os._exit(0)


def _private_output() -> int:
    """Keep standard output for our frames; what libraries print goes to standard error, which the parent captures."""
    answers = os.dup(1)
    os.dup2(2, 1)
    return answers


def _receive(requests: BinaryIO, waiting: queue.SimpleQueue[TableRequest]) -> None:
    while head := requests.read(REQUEST_HEAD.size):
        waiting.put(pickle.loads(requests.read(*REQUEST_HEAD.unpack(head))))  # noqa: S301 - our parent's own values
    os._exit(0)


def _answer(request: TableRequest, answers: int, *, own_bytes: int) -> None:
    limits = request.settings.limits
    try:
        with _limited(limits, own_bytes=own_bytes):
            _send_table(request, answers)
    except HokusaiError as error:
        is_memory = isinstance(error.__cause__, MemoryError) and not isinstance(error, TableLimitError)
        told = memory_refusal(request.path, limits) if is_memory else error
        _send(answers, FrameKind.ERROR, encode_error(told))
    except MemoryError:
        _send(answers, FrameKind.ERROR, encode_error(memory_refusal(request.path, limits)))


def _send_table(request: TableRequest, answers: int) -> None:
    from hokusai.datasets.tables import open_table

    if request.folder:
        os.chdir(request.folder)
    with open_table(
        Path(request.path), settings=request.settings, expected=request.expected, columns=request.columns
    ) as stream:
        _send(answers, FrameKind.SCHEMA, stream.schema.serialize())
        for batch in stream:
            _send(answers, FrameKind.BATCH, batch.serialize())
        files = stream.files
    _send(answers, FrameKind.FILES, json.dumps([asdict(file) for file in files]).encode())


def _send(answers: int, kind: FrameKind, content: bytes) -> None:
    """Write one frame; if the parent has gone there is nobody to tell, so the process ends."""
    try:
        with memoryview(content) as view:
            _write(answers, memoryview(FRAME_HEAD.pack(kind, view.nbytes)))
            _write(answers, view)
    except BrokenPipeError:
        os._exit(0)


def _write(answers: int, view: memoryview) -> None:
    while view.nbytes:
        view = view[os.write(answers, view) :]


@contextlib.contextmanager
def _limited(limits: ReadLimits, *, own_bytes: int) -> Iterator[None]:
    """Keep this process within the limits of one table."""
    seconds = _processor_seconds() + limits.max_seconds * (os.cpu_count() or 1)
    _set_soft_limit("RLIMIT_CPU", int(seconds) + 2)
    _set_soft_limit("RLIMIT_DATA", max(own_bytes, _data_bytes()) + limits.max_memory_bytes)
    try:
        yield
    finally:
        # A message must still fit when the table did not.
        _set_soft_limit("RLIMIT_DATA", None)


def _set_soft_limit(name: str, value: int | None) -> None:
    """Set the limit, or lift it with None; the hard limit stays, so that it can rise again."""
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    ceiling = _LARGEST_LIMIT if hard == resource.RLIM_INFINITY else hard
    soft = hard if value is None else min(value, ceiling)
    with contextlib.suppress(ValueError, OSError):  # macOS knows some limits by name alone
        resource.setrlimit(kind, (soft, hard))


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _own_bytes(*, threads: int) -> int:
    """What this process takes for itself, as RLIMIT_DATA counts it: libraries, and the stacks of threads to come."""
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    return _data_bytes() + threads * (_USUAL_STACK if stack == resource.RLIM_INFINITY else stack)


def _data_bytes() -> int:
    """What RLIMIT_DATA counts now."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[5])
    except OSError:  # not Linux
        return _USUAL_DATA
    return pages * resource.getpagesize()
