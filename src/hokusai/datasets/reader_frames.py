"""What the process that reads tables and its parent say to each other: framed bytes over two pipes.

Down go pickled requests, made by the parent from its own arguments. Up go frames of a kind and a length: Arrow IPC
messages, and JSON for the rest, so that nothing which a hostile file can bend is ever unpickled in the parent.
"""

from __future__ import annotations

import enum
import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hokusai import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from hokusai.datasets.read_settings import ReadLimits, ReadSettings

__all__ = [
    "FRAME_HEAD",
    "REQUEST_HEAD",
    "FrameKind",
    "TableRequest",
    "decode_error",
    "encode_error",
    "memory_refusal",
]

FRAME_HEAD = struct.Struct("<BQ")
"""Before every frame: its kind and the number of its bytes."""

REQUEST_HEAD = struct.Struct("<Q")
"""Before every request: the number of its bytes."""


class FrameKind(enum.IntEnum):
    """What a frame holds. READY comes before every table; then SCHEMA, BATCHes and FILES, or ERROR anywhere."""

    READY = 1
    SCHEMA = 2
    BATCH = 3
    FILES = 4
    ERROR = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRequest:
    """One table to read; the arguments of ``open_table``.

    Attributes:
        path: The file, folder or pattern, as the caller wrote it, for messages.
        folder: What a relative path is relative to; empty for an absolute one.
        settings: How to read, and the limits of this table.
        expected: The schema of the table that it will be joined to, or None.
        columns: The columns to return, or None for all.
    """

    path: str
    folder: str
    settings: ReadSettings
    expected: pa.Schema | None
    columns: Sequence[str] | None


def memory_refusal(source: str, limits: ReadLimits) -> errors.TableLimitError:
    """What to say of a table that does not fit into the memory that its process may take."""
    return errors.TableLimitError(
        source,
        limit="data.limits.max_memory_bytes",
        got="reading it takes more memory",
        allowed=limits.max_memory_bytes,
        unit="bytes",
    )


def encode_error(error: errors.HokusaiError) -> bytes:
    """One of our errors as JSON: the name of its class, its message and its attributes."""
    content = {"class": type(error).__name__, "message": str(error), "attributes": vars(error)}
    return json.dumps(content).encode()


def decode_error(content: bytes) -> errors.HokusaiError:
    """The error that ``encode_error`` wrote: of the same class, with the same message and attributes.

    Raises:
        ValueError: The bytes are no such error.
    """
    told = json.loads(content)
    match told:
        case {"class": str(name), "message": str(message), "attributes": dict(attributes)} if name in errors.__all__:
            kind = getattr(errors, name)
        case _:
            shown = f"no error of ours: {content[:80]!r}"
            raise ValueError(shown)
    # The constructors write their messages themselves; this one is written already.
    rebuilt: errors.HokusaiError = kind.__new__(kind, message)
    for attribute, value in attributes.items():
        setattr(rebuilt, attribute, _frozen(value))
    return rebuilt


def _frozen(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """JSON's arrays as the tuples that our errors keep."""
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value
