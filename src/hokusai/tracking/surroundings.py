"""Where a run came from, as tags: version of the code, kind of host, platform; no names of people or machines.

The commit is asked of the ``git`` command; how that is safe says :mod:`hokusai.tracking.git_checkout`.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.tracking.git_checkout import find_git
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
    git = find_git(timeout_seconds=timeout_seconds)
    if git is None:
        return {}
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
