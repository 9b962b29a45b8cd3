"""The environment of this process: variables that stand in it for as long as a call lasts, and who it runs for.

MLflow takes its limits of time from the environment alone; its own defaults block one call to a dead server for four
minutes.
"""

from __future__ import annotations

import getpass
import os
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["lent_variables", "user_name"]

_LOCK = threading.Lock()
_CALLS: Counter[str] = Counter()
"""How many calls that are under way need a variable which was not set before the first of them."""


@contextmanager
def lent_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while a call, or several at once, last.

    A variable that is set already stays as it is; of calls at the same time the first one's value holds. The others
    are gone again when the last call has ended.

    Args:
        variables: Values by name.
    """
    with _LOCK:
        lent = [name for name in variables if _CALLS[name] or name not in os.environ]
        os.environ.update({name: variables[name] for name in lent if not _CALLS[name]})
        _CALLS.update(lent)
    try:
        yield
    finally:
        with _LOCK:
            _CALLS.subtract(lent)
            for name in lent:
                if not _CALLS[name]:
                    os.environ.pop(name, None)


def user_name() -> str:
    """Return the name of the user that this process runs for; ``unknown`` where there is none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a number that has no name.
        return "unknown"
