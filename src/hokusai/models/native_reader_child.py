"""The process that reads the native files of model libraries, which end their process when a file is damaged.

``serve`` is all that it does: it keeps limits of memory and time, lets the library read what standard input brings, and
answers with what the library itself writes of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ANSWER", "REQUEST", "Library", "onnx_session", "serve"]

Library: TypeAlias = Literal["lightgbm", "xgboost", "xgboost-state", "onnx"]
REQUEST = struct.Struct("<16sdQ")
"""Library, seconds of processor time, length of the file that follows."""
ANSWER = struct.Struct("<?Q")
"""Whether the library has read it, length of the text that follows."""
_SPARE_BYTES = 1 << 30
_TIMES = 24
_LONGEST_PROBLEM = 300


def serve() -> None:
    """Answer requests until standard input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What libraries print must not come between our answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), "rb")
    while head := requests.read(REQUEST.size):
        library, seconds, length = REQUEST.unpack(head)
        content = requests.read(length)
        try:
            with _limited(seconds, size=length):
                answer = _read(library.rstrip(b"\0").decode(), content)
        except MemoryError:
            is_read, answer = False, b"it takes more memory than a model of its size should"
        except Exception as error:  # noqa: BLE001 - each library has errors of its own, and all mean the same here
            text = str(error).strip() or type(error).__name__
            is_read, answer = False, text.splitlines()[0][:_LONGEST_PROBLEM].encode()
        else:
            is_read = True
        answers.write(ANSWER.pack(is_read, len(answer)))
        answers.write(answer)
        answers.flush()


def _read(library: str, content: bytes) -> bytes:
    """Return the model as its library writes it, or what it takes and gives."""
    if library == "lightgbm":
        import lightgbm

        return lightgbm.Booster(model_str=content.decode("utf-8")).model_to_string(num_iteration=-1).encode()
    if library.startswith("xgboost"):
        import xgboost

        booster = xgboost.Booster()
        if library == "xgboost-state":
            booster.__setstate__({"handle": bytearray(content)})
        else:
            booster.load_model(bytearray(content))
        return bytes(booster.save_raw("json"))
    session = onnx_session(content)
    described = {
        part: [
            [item.name, item.type, [size if isinstance(size, int) else None for size in item.shape]] for item in items
        ]
        for part, items in (("inputs", session.get_inputs()), ("outputs", session.get_outputs()))
    }
    return json.dumps(described).encode()


def onnx_session(content: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN201 - the library has no types
    """Return a session that predicts with the model, one thread, no library of operators but the runtime's own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def _limited(seconds: float, *, size: int) -> Iterator[None]:
    """Keep this process within what a model of this size may take."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set_soft_limit("RLIMIT_CPU", int(used.ru_utime + used.ru_stime + seconds) + 1)
    _set_soft_limit("RLIMIT_DATA", _data_bytes() + _SPARE_BYTES + _TIMES * size)
    try:
        yield
    finally:
        _set_soft_limit("RLIMIT_DATA", None)


def _set_soft_limit(name: str, value: int | None) -> None:
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    soft = hard if value is None or (hard != resource.RLIM_INFINITY and value > hard) else value
    with contextlib.suppress(ValueError, OSError):  # macOS knows some limits by name alone
        resource.setrlimit(kind, (soft, hard))


def _data_bytes() -> int:
    """What RLIMIT_DATA counts now."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[5]) * resource.getpagesize()
    except OSError:  # not Linux
        return 1 << 30
