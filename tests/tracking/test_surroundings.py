"""Tags that say where a run came from, against real git repositories, also hostile ones, and real marker files."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hokusai.tracking import surroundings
from hokusai.tracking.naming import (
    CODE_COMMIT_TAG,
    CODE_DIRTY_TAG,
    HOST_KIND_TAG,
    MLFLOW_GIT_COMMIT_TAG,
    PLATFORM_TAG,
    PYTHON_VERSION_TAG,
)
from hokusai.tracking.surroundings import CodeVersion, code_version_tags, host_tags

if TYPE_CHECKING:
    from collections.abc import Callable

GIT = shutil.which("git")
pytestmark = pytest.mark.skipif(GIT is None, reason="no git here")
UNKNOWN = {CODE_COMMIT_TAG: "unknown", CODE_DIRTY_TAG: "unknown"}


@pytest.fixture(autouse=True)
def _own_git_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests away, and a git hook's variables if one runs them."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }.items():
        monkeypatch.setenv(name, value)


def git(folder: Path, *arguments: str) -> str:
    command = [str(GIT), "-c", "protocol.file.allow=always", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_repository(folder: Path) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet")
    (folder / "code.py").write_text("1\n", encoding="utf-8")
    (folder / ".gitignore").write_text("*.log\n", encoding="utf-8")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clean checkout with one commit."""
    return make_repository(tmp_path / "repository")


def tags_of(commit: str, dirty: str) -> dict[str, str]:
    return {CODE_COMMIT_TAG: commit, CODE_DIRTY_TAG: dirty, MLFLOW_GIT_COMMIT_TAG: commit}


def in_a_fresh_interpreter(code: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- the version of the code -----------------------------------------------------------------------------------------


def test_a_clean_checkout_has_its_commit(repository: Path) -> None:
    (repository / "below").mkdir()
    expected = tags_of(git(repository, "rev-parse", "HEAD"), "false")
    assert code_version_tags(repository) == expected
    assert code_version_tags(repository / "below") == expected


def _change(repository: Path) -> None:
    (repository / "code.py").write_text("2\n", encoding="utf-8")


def _stage(repository: Path) -> None:
    _change(repository)
    git(repository, "add", "code.py")


def _delete(repository: Path) -> None:
    (repository / "code.py").unlink()


def _add_untracked(repository: Path) -> None:
    (repository / "new.py").touch()


def _hide_untracked(repository: Path) -> None:
    git(repository, "config", "status.showUntrackedFiles", "no")
    _add_untracked(repository)


@pytest.mark.parametrize("change", [_change, _stage, _delete, _add_untracked, _hide_untracked])
def test_whatever_differs_from_the_commit_makes_it_dirty(change: Callable[[Path], None], repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    change(repository)
    assert code_version_tags(repository) == tags_of(commit, "true")


def test_an_ignored_file_or_a_new_time_of_a_file_is_no_difference(repository: Path) -> None:
    (repository / "run.log").touch()
    os.utime(repository / "code.py", (1, 1))
    assert code_version_tags(repository)[CODE_DIRTY_TAG] == "false"


def test_nothing_is_written_into_the_repository(repository: Path) -> None:
    os.utime(repository / "code.py", (1, 1))  # git would like to refresh its index now
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    code_version_tags(repository)
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == before


def test_where_there_is_no_checkout_there_are_no_tags(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert code_version_tags(tmp_path) == {}
    assert code_version_tags(tmp_path / "file") == {}
    assert code_version_tags(tmp_path / "missing") == {}
    git(tmp_path, "init", "--quiet", "--bare", "bare.git")
    assert code_version_tags(tmp_path / "bare.git") == {}


def test_without_git_there_are_no_tags(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version_tags(repository) == {}
    assert CodeVersion(repository).tags(10) == {}


def test_a_checkout_before_its_first_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert code_version_tags(tmp_path) == {CODE_COMMIT_TAG: "unknown", CODE_DIRTY_TAG: "false"}
    (tmp_path / "code.py").touch()
    (tmp_path / "HEAD").touch()
    assert code_version_tags(tmp_path) == {CODE_COMMIT_TAG: "unknown", CODE_DIRTY_TAG: "true"}


def test_a_worktree_has_its_own_commit_and_changes(repository: Path, tmp_path: Path) -> None:
    worktree = tmp_path / "work tree\nof two lines"
    git(repository, "worktree", "add", "--quiet", str(worktree), "-b", "other")
    git(worktree, "commit", "--quiet", "--allow-empty", "-m", "second")
    _change(repository)
    assert code_version_tags(worktree) == tags_of(git(worktree, "rev-parse", "HEAD"), "false")
    assert code_version_tags(repository)[CODE_DIRTY_TAG] == "true"


def test_a_submodule_has_its_own_commit_and_its_changes_count_for_those_around_it(
    repository: Path, tmp_path: Path
) -> None:
    middle = make_repository(tmp_path / "middle")
    git(middle, "submodule", "--quiet", "add", str(make_repository(tmp_path / "inner")), "in ner")
    git(middle, "commit", "--quiet", "-m", "with submodule")
    git(repository, "submodule", "--quiet", "add", str(middle), "middle")
    git(repository, "commit", "--quiet", "-m", "with submodule")
    # The inner one is not filled yet.
    assert code_version_tags(repository)[CODE_DIRTY_TAG] == "false"
    git(repository, "submodule", "--quiet", "update", "--init", "--recursive")
    inner = repository / "middle" / "in ner"
    assert code_version_tags(repository)[CODE_DIRTY_TAG] == "false"
    assert code_version_tags(inner) == tags_of(git(inner, "rev-parse", "HEAD"), "false")
    (inner / "new.py").touch()
    assert [code_version_tags(each)[CODE_DIRTY_TAG] for each in (inner, inner.parent, repository)] == ["true"] * 3
    (inner / "new.py").unlink()
    git(inner, "commit", "--quiet", "--allow-empty", "-m", "moved on")
    assert [code_version_tags(each)[CODE_DIRTY_TAG] for each in (inner, inner.parent)] == ["false", "true"]


def test_a_submodule_that_is_a_link_to_its_own_repository_is_looked_at_once(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},loop")
    git(repository, "commit", "--quiet", "-m", "loop")
    (repository / "loop").symlink_to(".")
    # A link where a submodule should be is a difference; without it there is none.
    assert code_version_tags(repository)[CODE_DIRTY_TAG] == "true"


def test_the_variables_of_a_git_hook_lead_nowhere_else(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_repository(tmp_path / "other")
    git(other, "commit", "--quiet", "--allow-empty", "-m", "second")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    tags = code_version_tags(repository)
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_WORK_TREE")
    assert tags == tags_of(git(repository, "rev-parse", "HEAD"), "false")


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_checkout_of_somebody_else_is_unknown(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # git's own switch for this; the real git refuses, whoever runs the tests.
    _program(tmp_path / "bin" / "git", f'GIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {shlex.quote(str(GIT))} "$@"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    assert code_version_tags(repository) == UNKNOWN


def test_a_configuration_that_git_cannot_read_is_unknown(repository: Path) -> None:
    (repository / ".git" / "config").write_text("[core\n", encoding="utf-8")
    assert code_version_tags(repository) == UNKNOWN


def test_a_git_that_hangs_is_ended_with_all_that_it_started(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "bin" / "git", f"sleep 300 & echo $$ > {shlex.quote(str(tmp_path / 'group'))}; wait")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    assert code_version_tags(repository, timeout_seconds=1.0) == UNKNOWN
    group = int((tmp_path / "group").read_text())
    for _ in range(200):  # what was killed has to be collected by the system's first process
        alive = [path for path in Path("/proc").glob("[0-9]*/stat") if _is_alive_in(path, group)]
        if not alive:
            return
        threading.Event().wait(0.05)
    pytest.fail(f"still there: {alive}")


def _is_alive_in(stat: Path, group: int) -> bool:
    try:
        state, _, process_group = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[:3]
    except OSError:
        return False
    return int(process_group) == group and state != "Z"


# --- hostile repositories --------------------------------------------------------------------------------------------


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that leaves a file named ``sprung`` beside it."""
    return _program(tmp_path / "trap" / "run", f"touch {shlex.quote(str(tmp_path / 'trap' / 'sprung'))}; cat; exit 0")


def _set_traps(repository: Path, trap: Path) -> None:
    """Name the program everywhere where a repository can name one, and make git wish for it."""
    hooks = trap.parent / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("post-index-change", "fsmonitor-watchman", "post-checkout", "reference-transaction"):
        shutil.copy(trap, hooks / hook)
    filters = ("evil", "e vil", "EVIL.two")
    attributes = "*.py filter=evil diff=evil\n.gitignore filter=EVIL.two\n"
    (repository / ".git" / "info" / "attributes").write_text(attributes, encoding="utf-8")
    for name, value in {
        "core.fsmonitor": str(trap),
        "core.fsmonitorHookVersion": "1",
        "core.hooksPath": str(hooks),
        "core.pager": str(trap),
        "core.editor": str(trap),
        "core.sshCommand": str(trap),
        "core.askPass": str(trap),
        "core.alternateRefsCommand": str(trap),
        "pager.status": str(trap),
        "diff.external": str(trap),
        "diff.evil.command": str(trap),
        "diff.evil.textconv": str(trap),
        "gpg.program": str(trap),
        "credential.helper": str(trap),
        "status.submoduleSummary": "true",
        "alias.status": f"!{trap}",
        "alias.rev-parse": f"!{trap}",
        **{f"filter.{name}.{way}": str(trap) for name in filters for way in ("clean", "smudge")},
        **{f"filter.{name}.required": "true" for name in filters},
        "filter.EVIL.two.process": str(trap),
    }.items():
        git(repository, "config", name, value)
    # Of another time and the same size: git has to read them, through the filter, to know whether they changed.
    os.utime(repository / "code.py", (1, 1))
    os.utime(repository / ".gitignore", (1, 1))


def test_nothing_that_a_repository_names_is_run(repository: Path, trap: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    _set_traps(repository, trap)
    assert code_version_tags(repository) == tags_of(commit, "false")
    assert not (trap.parent / "sprung").exists()
    # The traps are real; git itself fails on them.
    subprocess.run([str(GIT), "status"], cwd=repository, capture_output=True, check=False)
    assert (trap.parent / "sprung").exists()


@pytest.mark.parametrize("kind", ["core.fsmonitor", "filter.evil.clean", "filter.evil.process"])
def test_each_trap_is_real_and_is_not_sprung(kind: str, repository: Path, trap: Path) -> None:
    (repository / ".git" / "info" / "attributes").write_text("*.py filter=evil\n", encoding="utf-8")
    git(repository, "config", kind, str(trap))
    os.utime(repository / "code.py", (1, 1))
    assert code_version_tags(repository)[CODE_DIRTY_TAG] == "false"
    assert not (trap.parent / "sprung").exists()
    subprocess.run([str(GIT), "status"], cwd=repository, capture_output=True, check=False)
    assert (trap.parent / "sprung").exists()


def test_nothing_that_a_submodule_names_is_run(repository: Path, trap: Path, tmp_path: Path) -> None:
    git(repository, "submodule", "--quiet", "add", str(make_repository(tmp_path / "inner")), "inner")
    git(repository, "commit", "--quiet", "-m", "with submodule")
    # Its attributes lie in its own folder under .git/modules.
    folder = Path(git(repository / "inner", "rev-parse", "--absolute-git-dir"))
    (folder / "info").mkdir(exist_ok=True)
    (folder / "info" / "attributes").write_text("* filter=evil\n", encoding="utf-8")
    git(repository / "inner", "config", "filter.evil.clean", str(trap))
    git(repository / "inner", "config", "core.fsmonitor", str(trap))
    os.utime(repository / "inner" / "code.py", (1, 1))
    assert code_version_tags(repository)[CODE_DIRTY_TAG] == "false"
    assert not (trap.parent / "sprung").exists()
    git(repository, "status")
    assert (trap.parent / "sprung").exists()


def test_a_filter_that_cannot_be_turned_off_is_not_risked(repository: Path, trap: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / ".git" / "info" / "attributes").write_text("*.py filter=e=vil\n", encoding="utf-8")
    with (repository / ".git" / "config").open("a", encoding="utf-8") as config:
        config.write(f'[filter "e=vil"]\n\tclean = {trap}\n')
    os.utime(repository / "code.py", (1, 1))
    assert code_version_tags(repository) == tags_of(commit, "unknown")
    assert not (trap.parent / "sprung").exists()
    git(repository, "status")
    assert (trap.parent / "sprung").exists()


def test_a_partial_clone_fetches_nothing(repository: Path, trap: Path) -> None:
    # One that ends at once: git would wait for the answer of one that reads.
    _program(trap, f"touch {shlex.quote(str(trap.parent / 'sprung'))}; exit 1")
    commit = git(repository, "rev-parse", "HEAD")
    tree = git(repository, "rev-parse", "HEAD^{tree}")
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.url": f"ext::{trap} x",
        "remote.origin.promisor": "true",
        "protocol.ext.allow": "always",
    }.items():
        git(repository, "config", name, value)
    (repository / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    assert code_version_tags(repository) == tags_of(commit, "unknown")
    assert not (trap.parent / "sprung").exists()
    subprocess.run([str(GIT), "status"], cwd=repository, capture_output=True, check=False)
    assert (trap.parent / "sprung").exists()


def test_a_program_named_git_in_the_folder_is_not_run(
    repository: Path, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(trap, repository / "git")
    monkeypatch.chdir(Path(str(GIT)).parent)
    monkeypatch.setenv("PATH", ".", prepend=os.pathsep)
    assert code_version_tags(repository)[CODE_DIRTY_TAG] == "true"
    assert not (trap.parent / "sprung").exists()


# --- beside the work -------------------------------------------------------------------------------------------------


def test_a_code_version_says_what_git_says_and_leaves_no_thread(repository: Path) -> None:
    before = set(threading.enumerate())
    version = CodeVersion(repository)
    tags = version.tags(10)
    assert tags == code_version_tags(repository)
    tags.clear()
    assert version.tags(0) == code_version_tags(repository)
    assert set(threading.enumerate()) <= before


def test_a_code_version_is_unknown_while_git_has_not_answered(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = shlex.quote(str(tmp_path / "gate"))
    waiting = f"until test -e {gate}; do sleep 0.05; done"
    _program(tmp_path / "bin" / "git", f'{waiting}; exec {shlex.quote(str(GIT))} "$@"')
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
        version = CodeVersion(repository)
        assert version.tags(0.1) == UNKNOWN
        (tmp_path / "gate").touch()
        assert version.tags(10) == tags_of(git(repository, "rev-parse", "HEAD"), "false")


# --- the host --------------------------------------------------------------------------------------------------------


def test_a_host_is_told_by_kind_platform_and_python_alone() -> None:
    tags = host_tags()
    assert set(tags) == {HOST_KIND_TAG, PLATFORM_TAG, PYTHON_VERSION_TAG}
    assert tags[HOST_KIND_TAG] in {"ci", "notebook", "kubernetes", "container", "machine"}
    assert tags[PLATFORM_TAG] == f"{os.uname().sysname}-{os.uname().machine}"
    assert tags[PYTHON_VERSION_TAG] == ".".join(map(str, sys.version_info[:3])) or platform.python_version() in tags
    assert platform.node() not in " ".join(tags.values())


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, "machine"),
        ({"CI": "true"}, "ci"),
        ({"CI": "1", "KUBERNETES_SERVICE_HOST": "10.0.0.1", "container": "podman"}, "ci"),
        ({"CI": "woodpecker"}, "ci"),
        ({"CI": "false"}, "machine"),
        ({"CI": ""}, "machine"),
        ({"CI": "0", "GITLAB_CI": "true"}, "ci"),
        ({"TF_BUILD": "True"}, "ci"),
        ({"JENKINS_URL": "https://jenkins.example.org/"}, "ci"),
        ({"TEAMCITY_VERSION": "2030.1"}, "ci"),
        ({"CODEBUILD_BUILD_ARN": "arn:aws:codebuild:x"}, "ci"),
        ({"BUILD_ID": "7"}, "machine"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "container": "oci"}, "kubernetes"),
        ({"KUBERNETES_SERVICE_HOST": ""}, "machine"),
        ({"container": "systemd-nspawn"}, "container"),
        ({"APPTAINER_CONTAINER": "/images/hpc.sif"}, "container"),
    ],
)
def test_the_environment_tells_the_kind(environment: dict[str, str], kind: str, tmp_path: Path) -> None:
    assert surroundings._host_kind(environment, tmp_path) == kind


_OVERLAY = "620 500 0:50 / / rw,relatime - overlay overlay rw,lowerdir={layers}/1/fs,upperdir={layers}/2/fs\n"
_PROC = "621 620 0:53 / /proc rw,nosuid - proc proc rw\n"


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        (".dockerenv", "", "container"),
        ("run/.containerenv", 'engine="podman"\n', "container"),
        ("run/systemd/container", "lxc\n", "container"),
        ("var/run/secrets/kubernetes.io/serviceaccount/token", "", "kubernetes"),
        ("proc/1/cgroup", "9:cpu:/docker/8b1d\n", "container"),
        ("proc/1/cgroup", "9:cpu:/kubepods/besteffort/pod1/8b1d\n", "container"),
        ("proc/1/cgroup", "0::/\n", "machine"),
        ("proc/1/cgroup", "1:name=systemd:/init.scope\n0::/init.scope\n", "machine"),
        ("proc/self/mountinfo", _OVERLAY.format(layers="/var/lib/docker/overlay2") + _PROC, "container"),
        ("proc/self/mountinfo", _OVERLAY.format(layers="/var/lib/containerd/snapshots") + _PROC, "container"),
        ("proc/self/mountinfo", _OVERLAY.format(layers="/home/u/.local/share/containers/storage/o"), "container"),
        ("proc/self/mountinfo", _OVERLAY.format(layers="/run/live/rootfs"), "machine"),
        # A machine on which containers run.
        ("proc/self/mountinfo", "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + _OVERLAY.replace("/ / rw", "/ /var/x rw")
         .format(layers="/var/lib/docker/overlay2"), "machine"),
        ("proc/self/mountinfo", "\n\xff 1 2\n", "machine"),
    ],
)  # fmt: skip
def test_the_files_of_the_host_tell_the_kind(path: str, text: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text, encoding="latin-1")
    assert surroundings._host_kind({}, tmp_path) == kind


@pytest.mark.parametrize(
    ("shell", "kind"),
    [("type('Shell', (), {'kernel': object()})()", "notebook"), ("object()", "machine"), ("None", "machine")],
)
def test_a_process_is_a_notebook_when_its_shell_has_a_kernel(shell: str, kind: str, tmp_path: Path) -> None:
    # IPython is no dependency, not even of the tests: this is the one function of it that is asked.
    (tmp_path / "IPython.py").write_text(f"shell = {shell}\ndef get_ipython():\n    return shell\n", encoding="utf-8")
    ask = (
        "import sys; from pathlib import Path; from hokusai.tracking import surroundings\n"
        "pod = {'KUBERNETES_SERVICE_HOST': '10.0.0.1'} if 'kernel' in sys.argv[2] else {}\n"
        "before = surroundings._host_kind({}, Path(sys.argv[1])), 'IPython' in sys.modules\n"
        "import IPython\n"
        "print(*before, surroundings._host_kind(pod, Path(sys.argv[1])))"
    )
    printed = in_a_fresh_interpreter(ask, str(tmp_path), shell, PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE="1")
    assert printed == f"machine False {kind}"
