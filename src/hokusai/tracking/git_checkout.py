"""The git command, asked in a way that runs nothing which the repository brings along.

A contribution may be a checkout, and merely looking at it must be safe. Hooks, the file system monitor, content filters
and lazy fetching are ways in which a configuration names commands, in submodules as well; each is turned off. What
shows differences by a program of its own is turned off where differences are asked for. Nothing is written into the
repository.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Git", "GitAnswer", "find_git"]

# Variables of git that a user's configuration may need; any other, such as GIT_DIR within a hook, would lead elsewhere.
_KEPT_VARIABLES = ("GIT_CONFIG_", "GIT_EXEC_PATH", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM")
_GIT_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    # A partial clone would fetch what is missing, by a transport that its configuration chooses.
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    # Messages are recognised by their English text.
    "LC_ALL": "C",
}
_SAFE_SETTINGS = (
    "core.fsmonitor=false",
    f"core.hooksPath={os.devnull}",
    "safe.bareRepository=explicit",
    "status.renames=false",
    "diff.renames=false",
    "status.submoduleSummary=false",
)
_FILTER = re.compile(rb"filter\.(.+)\.(?:clean|smudge|process|required)", re.DOTALL)
_GITLINK = re.compile(rb"160000 [0-9a-f]+ [0-3]\t(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAnswer:
    """What git said: its exit code, and the bytes of both of its outputs."""

    code: int
    output: bytes
    errors: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """The git command, with one deadline for all that it is asked."""

    program: str
    deadline: float

    def ask(self, folder: Path, *arguments: str, settings: Sequence[str] = ()) -> GitAnswer | None:
        """Run git in a folder and return its answer, or None when it cannot be started or time is over."""
        process = self._start(folder, arguments, settings=settings, errors=subprocess.PIPE)
        if process is None:
            return None
        with process:
            try:
                output, errors = process.communicate(timeout=self._seconds_left())
            except subprocess.TimeoutExpired:
                return None
            finally:
                _kill(process)
        return GitAnswer(code=process.returncode, output=output, errors=errors)

    def ask_briefly(self, folder: Path, *arguments: str, limit: int, settings: Sequence[str] = ()) -> GitAnswer | None:
        """Run git as :meth:`ask` does, and stop it once it has written more than ``limit`` bytes.

        The answer then has one byte more than the limit; it never has the second output.
        """
        process = self._start(folder, arguments, settings=settings, errors=subprocess.DEVNULL)
        if process is None:
            return None
        with process:
            # Reading blocks, and ends when the process does.
            timer = threading.Timer(self._seconds_left(), _kill, [process])
            timer.start()
            try:
                output = process.stdout.read(limit + 1) if process.stdout else b""
                if len(output) <= limit:
                    process.wait()
            finally:
                timer.cancel()
                _kill(process)
        return (
            None
            if process.returncode < 0 and len(output) <= limit
            else GitAnswer(code=process.returncode, output=output, errors=b"")
        )

    def _seconds_left(self) -> float:
        return max(self.deadline - time.monotonic(), 0.0)

    def _start(
        self, folder: Path, arguments: Sequence[str], *, settings: Sequence[str], errors: int
    ) -> subprocess.Popen[bytes] | None:
        options = [part for setting in (*_SAFE_SETTINGS, *settings) for part in ("-c", setting)]
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GIT_") or name.startswith(_KEPT_VARIABLES)
        }
        try:
            return subprocess.Popen(  # noqa: S603  (found on the user's own PATH; nothing of the repository runs)
                [self.program, "--no-pager", *options, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**kept, **_GIT_ENVIRONMENT},
                # Ctrl-C is for us, and the end of the time for all that git may have started.
                process_group=0,
            )
        except OSError:
            return None

    def is_dirty(self, root: Path) -> bool | None:
        """Return whether a work tree or one of its submodules differs from its commit, or None if that is unknown."""
        trees, seen = [root], set()
        while trees:
            tree = trees.pop()
            if (place := tree.resolve()) in seen:
                continue
            seen.add(place)
            filters = self.filters(tree)
            if filters is None:
                return None
            # git would look into submodules by itself, but with the filters of their own configuration.
            status = self.ask(
                tree,
                *("status", "--porcelain", "-z", "--untracked-files=normal", "--ignore-submodules=dirty"),
                settings=filters,
            )
            if status is None or status.code:
                return None
            if status.output:
                return True
            listing = self.ask(tree, "ls-files", "--stage", "-z")
            if listing is None or listing.code:
                return None
            links = [match[1] for entry in listing.output.split(b"\0") if (match := _GITLINK.fullmatch(entry))]
            below = (tree / os.fsdecode(link) for link in links)
            trees += [submodule for submodule in below if (submodule / ".git").exists()]
        return False

    def filters(self, tree: Path) -> tuple[str, ...] | None:
        """Return the settings that turn off every content filter of a repository, or None if that cannot be done."""
        listing = self.ask(tree, "config", "--null", "--name-only", "--list")
        if listing is None or listing.code:
            return None
        names = {os.fsdecode(match[1]) for key in listing.output.split(b"\0") if (match := _FILTER.fullmatch(key))}
        # git reads such a setting up to the first "=", so that a filter with that in its name would stay on.
        if any("=" in name for name in names):
            return None
        off = ("clean=", "smudge=", "process=", "required=false")
        return tuple(f"filter.{name}.{setting}" for name in sorted(names) for setting in off)


def find_git(*, timeout_seconds: float) -> Git | None:
    """Return the git command of this machine; None where there is none.

    Args:
        timeout_seconds: How long it may take for everything that it is asked.
    """
    program = shutil.which("git")
    # Absolute, because git is started in a folder that may hold a program of that name.
    return Git(program=str(Path(program).absolute()), deadline=time.monotonic() + timeout_seconds) if program else None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started, unless it has ended by itself."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
