"""Where a run came from, as tags: version of the code, kind of host, platform; no names of people or machines.

The commit is asked of the ``git`` command, in a way that runs nothing the repository brings along: a contribution may
be a checkout, and merely looking at it must be safe. Hooks, the file system monitor, content filters and lazy fetching
are ways in which a configuration names commands, in submodules as well; each is turned off.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.tracking.naming import (
    CODE_COMMIT_TAG,
    CODE_DIRTY_TAG,
    HOST_KIND_TAG,
    MLFLOW_GIT_COMMIT_TAG,
    PLATFORM_TAG,
    PYTHON_VERSION_TAG,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CodeVersion", "code_version_tags", "host_tags"]

_UNKNOWN = "unknown"
_GIT_SECONDS = 10.0
_GIT_FATAL = 128
_COMMIT = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NO_CHECKOUT = (b"not a git repository", b"must be run in a work tree", b"cannot use bare repository")
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

_CI_VARIABLES = (
    "APPVEYOR",
    "BITBUCKET_BUILD_NUMBER",
    "BUILDKITE",
    "CIRCLECI",
    "CODEBUILD_BUILD_ARN",
    "CONTINUOUS_INTEGRATION",
    "DRONE",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "JENKINS_URL",
    "TEAMCITY_VERSION",
    "TF_BUILD",
    "bamboo_planKey",
)
_CONTAINER_VARIABLES = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "container")
_CONTAINER_FILES = (".dockerenv", "run/.containerenv", "run/systemd/container")
_CONTAINER_GROUP = re.compile(r"docker|containerd|kubepods|libpod|/lxc")
_CONTAINER_LAYERS = re.compile(r"/docker/|/containerd|/containers/storage/|/kubelet/")


class CodeVersion:
    """Finds out the version of the code in a folder beside the work, from the moment it is made.

    Args:
        folder: A folder in the checkout.
    """

    def __init__(self, folder: Path) -> None:
        """Begin to ask git, in a thread that ends when git has answered or its time is over."""
        self._tags: dict[str, str] | None = None
        self._thread = threading.Thread(target=self._ask, args=(folder,), name="hokusai-code-version", daemon=True)
        self._thread.start()

    def tags(self, wait_seconds: float = 2.0) -> dict[str, str]:
        """Return the tags of :func:`code_version_tags`, ``unknown`` if git has not answered within ``wait_seconds``."""
        # In a child made by os.fork the thread counts as ended: nobody waits for an answer that cannot come.
        self._thread.join(wait_seconds)
        return _code_tags(_UNKNOWN, _UNKNOWN) if self._tags is None else dict(self._tags)

    def _ask(self, folder: Path) -> None:
        self._tags = code_version_tags(folder)


def code_version_tags(folder: Path, *, timeout_seconds: float = _GIT_SECONDS) -> dict[str, str]:
    """Return the commit that is checked out around a folder, and whether anything differs from it.

    Untracked files count as a difference and ignored ones do not; so do changes within submodules. A file that goes
    through a filter, such as Git LFS, and was touched after the checkout counts as a difference, because the filter
    is not run.

    Args:
        folder: Any folder of a checkout: its root, one below it, a worktree, a submodule.
        timeout_seconds: How long git may take for everything.

    Returns:
        The tags; none where there is no checkout, or no git. What git cannot or will not tell, such as anything about
        a checkout of another user, is ``unknown``.
    """
    program = shutil.which("git")
    if program is None:
        return {}
    # Absolute, because git is started in the folder, which may hold a program of that name.
    git = _Git(program=str(Path(program).absolute()), deadline=time.monotonic() + timeout_seconds)
    answer = git.ask(folder, "rev-parse", "--show-toplevel", "HEAD")
    if answer is None:
        return _code_tags(_UNKNOWN, _UNKNOWN) if folder.is_dir() else {}
    # Any other code is none of git's own: a stand-in that offers to install it, for example.
    if answer.code not in (0, _GIT_FATAL) or (answer.code and any(text in answer.errors for text in _NO_CHECKOUT)):
        return {}
    root, _, commit = answer.output.removesuffix(b"\n").rpartition(b"\n")
    if not root:
        return _code_tags(_UNKNOWN, _UNKNOWN)
    dirty = git.is_dirty(Path(os.fsdecode(root)))
    # A checkout before its first commit has none.
    known = commit.decode() if answer.code == 0 and _COMMIT.fullmatch(commit) else _UNKNOWN
    return _code_tags(known, _UNKNOWN if dirty is None else str(dirty).lower())


def host_tags() -> dict[str, str]:
    """Return what kind of host this is, its platform, and the version of Python.

    The kind is the first that fits: ``ci``, ``notebook`` (this process is a notebook's kernel), ``kubernetes``,
    ``container``, ``machine``. A hosted notebook runs in a container, and what counts for its reader is the notebook.
    """
    return {
        HOST_KIND_TAG: _host_kind(os.environ, Path("/")),
        PLATFORM_TAG: f"{platform.system()}-{platform.machine()}",
        PYTHON_VERSION_TAG: platform.python_version(),
    }


def _code_tags(commit: str, dirty: str) -> dict[str, str]:
    tags = {CODE_COMMIT_TAG: commit, CODE_DIRTY_TAG: dirty}
    # MLflow's interface shows it as a version, so only what is one may stand there.
    return tags if commit == _UNKNOWN else {**tags, MLFLOW_GIT_COMMIT_TAG: commit}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    code: int
    output: bytes
    errors: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Git:
    """The git command, with one deadline for all that it is asked."""

    program: str
    deadline: float

    def ask(self, folder: Path, *arguments: str, settings: tuple[str, ...] = ()) -> _Answer | None:
        """Run git in a folder and return its answer, or None when it cannot be started or time is over."""
        options = [part for setting in (*_SAFE_SETTINGS, *settings) for part in ("-c", setting)]
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GIT_") or name.startswith(_KEPT_VARIABLES)
        }
        try:
            process = subprocess.Popen(  # noqa: S603  (found on the user's own PATH; nothing of the repository runs)
                [self.program, "--no-pager", *options, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**kept, **_GIT_ENVIRONMENT},
                # Ctrl-C is for us, and the end of the time for all that git may have started.
                process_group=0,
            )
        except OSError:
            return None
        with process:
            try:
                output, errors = process.communicate(timeout=max(self.deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                return None
            finally:
                if process.returncode is None:
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)
        return _Answer(code=process.returncode, output=output, errors=errors)

    def is_dirty(self, root: Path) -> bool | None:
        """Return whether a work tree or one of its submodules differs from its commit, or None if that is unknown."""
        trees, seen = [root], set()
        while trees:
            tree = trees.pop()
            if (place := tree.resolve()) in seen:
                continue
            seen.add(place)
            filters = self._filters(tree)
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

    def _filters(self, tree: Path) -> tuple[str, ...] | None:
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


def _host_kind(environment: Mapping[str, str], root: Path) -> str:
    if _is_true(environment.get("CI", "")) or any(_is_true(environment.get(name, "")) for name in _CI_VARIABLES):
        return "ci"
    if _is_notebook():
        return "notebook"
    # The variable is set in every pod, but a login shell may have cleared it; the account may be withheld instead.
    if environment.get("KUBERNETES_SERVICE_HOST") or (root / "var/run/secrets/kubernetes.io").exists():
        return "kubernetes"
    return "container" if _is_container(environment, root) else "machine"


def _is_true(value: str) -> bool:
    return value.strip().lower() not in ("", "0", "false", "no", "off")


def _is_notebook() -> bool:
    # A kernel has imported IPython long before anybody asks; its shell has a kernel, that of a terminal has none.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _is_container(environment: Mapping[str, str], root: Path) -> bool:
    if any(environment.get(name) for name in _CONTAINER_VARIABLES):
        return True
    if any((root / marker).exists() for marker in _CONTAINER_FILES):
        return True
    # Control groups of version 1 are named after the runtime. With version 2 a container sees "/" alone, but the mount
    # of its root still names the folder of the layers.
    if _CONTAINER_GROUP.search(_text(root / "proc/1/cgroup")):
        return True
    mounts = (line.split() for line in _text(root / "proc/self/mountinfo").splitlines())
    return any(len(fields) > 4 and fields[4] == "/" and _CONTAINER_LAYERS.search(" ".join(fields)) for fields in mounts)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
