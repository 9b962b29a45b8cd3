"""Jobs that the tests of the executors run, in a module that worker processes can import."""

# ruff: noqa: ARG002, D102, T201 - every job is called alike, and one prints to show that nothing comes of it

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai.errors import DataError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    Tables = Mapping[str, pa.Table]
    Send = Callable[[Any], None]


@dataclass(frozen=True)
class Sum:
    """Says which column it sums, and returns the sum."""

    column: str

    def __call__(self, tables: Tables, send: Send) -> int:
        send(f"summing {self.column}")
        return sum(tables["numbers"][self.column].to_pylist())


@dataclass(frozen=True)
class Count:
    """Sends the numbers below ``last`` and returns how many they were."""

    last: int

    def __call__(self, tables: Tables, send: Send) -> int:
        del tables
        for number in range(self.last):
            send(number)
        return self.last


@dataclass(frozen=True)
class Fail:
    """Raises an error of ours that keeps attributes."""

    seed: int

    def __call__(self, tables: Tables, send: Send) -> int:
        del tables
        send("about to fail")
        raise TrainingError("a trainer", seed=self.seed, reason="it was told to.")


class Mistake:
    """Has a mistake in its code."""

    def __call__(self, tables: Tables, send: Send) -> int:
        del send
        return len(tables["no such table"])


class StrangeError(Exception):
    """Cannot be pickled back: its constructor wants more than its words."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class StrangeMistake:
    """Raises what cannot be sent."""

    def __call__(self, tables: Tables, send: Send) -> int:
        raise StrangeError(1, 2)


class Exhaust:
    """Asks for more memory than there is."""

    def __call__(self, tables: Tables, send: Send) -> int:
        del tables, send
        return len(bytearray(1 << 60))


@dataclass(frozen=True)
class Die:
    """Takes its process with it."""

    signal_number: int

    def __call__(self, tables: Tables, send: Send) -> int:
        del tables, send
        faulthandler.disable()
        os.kill(os.getpid(), self.signal_number)
        threading.Event().wait()
        return 0


class Leave:
    """Ends its process with a code."""

    def __call__(self, tables: Tables, send: Send) -> int:
        os._exit(3)


@dataclass(frozen=True)
class WaitFor:
    """Sends its process id, and ends when a file is there."""

    path: str

    def __call__(self, tables: Tables, send: Send) -> int:
        del tables
        send(os.getpid())
        while not Path(self.path).exists():
            # Messages are sent together, so more than one is needed for the first to arrive soon.
            threading.Event().wait(0.05)
            send(0)
        return os.getpid()


class Describe:
    """Returns what the process is like in which it runs."""

    def __call__(self, tables: Tables, send: Send) -> dict[str, Any]:
        del send
        print("a worker prints nothing")
        column = tables["numbers"]["a"].chunk(0)
        maps = Path("/proc/self/maps").read_text("utf-8")
        return {
            "pid": os.getpid(),
            "stdin": os.read(0, 1),
            "ignores_interrupt": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
            "is_mapped": any(
                int(line.split("-")[0], 16) <= column.buffers()[1].address < int(line.split("-")[1].split()[0], 16)
                for line in maps.splitlines()
                if ".arrow" in line
            ),
            "same_table": tables["numbers"]["a"].chunk(0).buffers()[1].address
            == tables["again"]["a"].chunk(0).buffers()[1].address,
            "modules": sorted(sys.modules),
        }


class ReturnFunction:
    """Returns what cannot be sent."""

    def __call__(self, tables: Tables, send: Send) -> Any:
        return lambda: None


class Refuse:
    """Cannot be sent: it holds a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, tables: Tables, send: Send) -> int:
        raise DataError("nobody", "gets here")
