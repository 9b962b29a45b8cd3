"""The ``hokusai`` command: it parses, calls and prints.

Only the standard library is imported here, so that ``hokusai --help`` costs little more than starting Python; each
command's module is imported when the command is called.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from hokusai.cli.arguments import make_parser
from hokusai.errors import HokusaiError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from types import FrameType

__all__ = ["main"]

_INTERRUPTED = 128 + signal.SIGINT
_TERMINATED = 128 + signal.SIGTERM
# As a process that the signal of a closed pipe has ended; Windows has no such signal.
_CLOSED_PIPE = 128 + 13


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 for a decision that is not accept or a failed check, 2 for bad input."""
    parsed = make_parser().parse_args(arguments)
    # A terminated evaluation ends its runs as KILLED on the way out, as an interrupted one does.
    signal.signal(signal.SIGTERM, _terminate)
    command = getattr(import_module(f"hokusai.cli.{parsed.module}"), parsed.function)
    code = _CLOSED_PIPE
    try:
        code = command(parsed)
        sys.stdout.flush()
    except HokusaiError as error:
        _show_trace(parsed)
        print(f"hokusai: {error}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        # Whoever read our output, such as `head`, has had enough; nothing may be written at exit either. A command that
        # had come to its end keeps its code: a check that failed has failed, whoever listens.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt as interrupt:
        _show_trace(parsed)
        print(f"hokusai: {'; '.join(('interrupted', *getattr(interrupt, '__notes__', ())))}.", file=sys.stderr)
        code = _INTERRUPTED
    except Exception as error:  # noqa: BLE001  (the outermost border: it becomes a message and an exit code)
        _show_trace(parsed)
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        print(f"hokusai: unexpected {type(error).__name__}: {first_line}. Run again with --debug.", file=sys.stderr)
        code = 2
    sys.exit(code)


def _show_trace(parsed: argparse.Namespace) -> None:
    if parsed.debug:
        import traceback

        traceback.print_exc()


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(_TERMINATED)
