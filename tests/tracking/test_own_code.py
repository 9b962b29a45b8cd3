"""The code of a user's own: found by what it imports, read and never run, without credentials and without data."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hokusai.digests import sha256
from hokusai.tracking import git_checkout
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.naming import OWN_CODE_COMMIT_TAG, OWN_CODE_DIFFERENCES_TAG, OWN_CODE_TAG
from hokusai.tracking.operations import LogArtifact, SetTags
from hokusai.tracking.own_code import LONGEST_DIFFERENCES, OwnCode, own_modules, uncommitted_differences
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GIT = shutil.which("git")
pytestmark = pytest.mark.skipif(GIT is None, reason="no git here")
# Names that no other test's modules have: what is imported once stays imported.
MAIN, PACKAGE = "own_code_main", "own_code_package"
FILES = {
    f"{MAIN}.py": f"import json\nimport numpy\nfrom {PACKAGE} import part\n\ndef late():\n    import own_code_late\n",
    f"{PACKAGE}/__init__.py": "from .deep.inner import value\n",
    f"{PACKAGE}/part.py": "from . import sibling\nfrom .. import outside\n",
    f"{PACKAGE}/sibling.py": "X = 1\n",
    f"{PACKAGE}/deep/inner.py": "from ..part import sibling as value\n",
    "own_code_late.py": "raise RuntimeError('this is read and not run')\n",
    "own_code_unused.py": "",
    "data.csv": "name\nAnna\n",
    ".gitignore": "own_code_late.py\n",
}


@pytest.fixture(autouse=True)
def _own_git_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests away, and a git hook's variables if one runs them."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    person = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for name, value in {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **person}.items():
        monkeypatch.setenv(name, value)


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run([str(GIT), *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout below which modules of one's own stand; the main one is imported."""
    folder = tmp_path / "checkout" / "project"
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    git(folder.parent, "init", "--quiet")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "--quiet", "-m", "first")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (folder / PACKAGE / "part.py").write_text("from . import sibling\n", encoding="utf-8")
    importlib.import_module(MAIN)
    (folder / PACKAGE / "part.py").write_text(FILES[f"{PACKAGE}/part.py"], encoding="utf-8")
    yield folder
    for name in [name for name in sys.modules if name.startswith("own_code_")]:
        del sys.modules[name]


def differences(folder: Path, *files: Path) -> tuple[str, str]:
    """Return the state of the differences, and the differences."""
    tags, content = uncommitted_differences(folder, files=files)
    assert tags[OWN_CODE_COMMIT_TAG] == git(folder, "rev-parse", "HEAD")
    return tags[OWN_CODE_DIFFERENCES_TAG], (content or b"").decode()


# --- which files -----------------------------------------------------------------------------------------------------


def test_a_module_brings_what_it_imports_from_beside_it_and_nothing_else(project: Path) -> None:
    found = own_modules([MAIN, "json", "numpy", "no_such_module"])
    assert {module.name: module.path for module in found} == {
        MAIN: f"{MAIN}.py",
        PACKAGE: f"{PACKAGE}/__init__.py",
        f"{PACKAGE}.part": f"{PACKAGE}/part.py",
        f"{PACKAGE}.sibling": f"{PACKAGE}/sibling.py",
        f"{PACKAGE}.deep.inner": f"{PACKAGE}/deep/inner.py",
        "own_code_late": "own_code_late.py",
    }
    assert found[0].name == MAIN
    assert all(module.content == (project / module.path).read_bytes() for module in found)
    assert {module.root for module in found} == {project}


def test_a_module_within_a_package_brings_the_package(project: Path) -> None:
    found = own_modules([f"{PACKAGE}.sibling"])
    assert {module.path for module in found} >= {f"{PACKAGE}/sibling.py", f"{PACKAGE}/__init__.py"}
    assert found[0].root == project


def test_a_file_that_is_no_python_any_more_is_still_recorded(project: Path) -> None:
    (project / f"{MAIN}.py").write_text("def (:\n", encoding="utf-8")
    assert [module.content for module in own_modules([MAIN])] == [b"def (:\n"]


# --- what differs from the commit ------------------------------------------------------------------------------------


def test_a_commit_with_the_differences_applied_is_the_code_that_ran(project: Path, tmp_path: Path) -> None:
    (project / f"{MAIN}.py").write_text("changed = 'é'\r\n", encoding="utf-8")
    (project / PACKAGE / "sibling.py").unlink()
    (project / "own_code_staged.py").write_text("staged = 1\n", encoding="utf-8")
    git(project, "add", "own_code_staged.py")
    git(project, "rm", "--quiet", "--cached", "own_code_unused.py")
    (project / "own_code_binary.py").write_bytes(b"\0\1\2" * 100)
    state, content = differences(project, project / "own_code_late.py", project / "own_code_binary.py")
    assert state == "complete"
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "--quiet", str(project.parent), str(copy))
    (tmp_path / "d").write_bytes(content.encode())
    git(copy, "apply", "--binary", "--whitespace=nowarn", str(tmp_path / "d"))
    for path in (f"{MAIN}.py", "own_code_staged.py", "own_code_late.py", "own_code_binary.py"):
        assert (copy / "project" / path).read_bytes() == (project / path).read_bytes()
    assert not (copy / "project" / PACKAGE / "sibling.py").exists()


def test_a_touched_file_is_no_difference_and_nothing_is_written(project: Path) -> None:
    git(project, "checkout", "--quiet", ".")
    os.utime(project / f"{MAIN}.py", (1, 1))
    before = {path: path.stat().st_mtime_ns for path in project.parent.rglob("*")}
    assert differences(project, project / f"{MAIN}.py") == ("none", "")
    assert {path: path.stat().st_mtime_ns for path in project.parent.rglob("*")} == before


def test_rows_of_data_are_no_code(project: Path) -> None:
    git(project, "checkout", "--quiet", ".")
    for name in ("data.csv", "notes.txt", "notebook.ipynb", "evaluation.toml", "hash.key"):
        (project / name).write_text("Anna Lovelace\n", encoding="utf-8")
    git(project, "add", ".")
    assert differences(project) == ("none", "")


@pytest.mark.parametrize("sign", ["-", "+"])
def test_credentials_are_redacted_also_in_lines_that_were_taken_out(project: Path, sign: str) -> None:
    file = project / "own_code_unused.py"
    if sign == "-":
        file.write_text('password = "hunter2"\nx = 1\n', encoding="utf-8")
        git(project, "commit", "--quiet", "-am", "oops")
        file.write_text("x = 2\n", encoding="utf-8")
    else:
        file.write_text('password = "hunter2"\nx = 2\n', encoding="utf-8")
    state, content = differences(project)
    assert state == "redacted"
    assert "hunter2" not in content
    assert f'\n{sign}password = "[redacted]"\n' in content
    assert "\n+x = 2\n" in content


def test_of_a_file_with_a_private_key_the_name_alone_is_left(project: Path) -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + "MIIEabc\n" * 3 + "-----END PRIVATE KEY-----\n"
    (project / "own_code_unused.py").write_text(f'KEY = """{key}"""\n', encoding="utf-8")
    (project / PACKAGE / "sibling.py").write_text("X = 2\n", encoding="utf-8")
    state, content = differences(project)
    assert state == "redacted"
    assert "MIIE" not in content
    assert "own_code_unused.py\n[redacted]\n" in content
    assert "\n+X = 2\n" in content


def test_more_than_the_limit_is_left_out_and_the_tag_says_so(project: Path) -> None:
    git(project, "checkout", "--quiet", ".")
    lines = LONGEST_DIFFERENCES // 10
    (project / f"{MAIN}.py").write_text("x = 12345\n" * lines, encoding="utf-8")
    assert differences(project) == ("too large", "")
    (project / f"{MAIN}.py").write_text("x = 12345\n" * (lines // 2), encoding="utf-8")
    assert differences(project)[0] == "complete"
    late = project / "own_code_late.py"
    late.write_text("x = 12345\n" * (lines // 2), encoding="utf-8")
    assert differences(project, late) == ("too large", "")


def test_a_git_that_takes_too_long_leaves_the_state_unknown(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project / "slow"
    folder.mkdir()
    program = folder / "git"
    slow = f'#!/bin/sh\ncase "$*" in *" diff "*) sleep 60;; *) exec {GIT} "$@";; esac\n'
    program.write_text(slow, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    tags, content = uncommitted_differences(project, files=[], timeout_seconds=0.7)
    assert (tags.get(OWN_CODE_DIFFERENCES_TAG), content) == ("unknown", None)


def test_nothing_of_a_hostile_repository_is_run(project: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    command = f"touch {trap}; cat"
    for name in ("filter.x.clean", "filter.x.smudge", "diff.x.textconv", "diff.x.command", "diff.external"):
        git(project, "config", name, command)
    git(project, "config", "core.fsmonitor", command)
    (project / ".gitattributes").write_text("*.py filter=x diff=x\n", encoding="utf-8")
    (project / f"{MAIN}.py").write_text("changed = 1\n", encoding="utf-8")
    state, content = differences(project, project / "own_code_late.py")
    assert state == "complete"
    assert "+changed = 1\n" in content
    assert not trap.exists()
    (project / f"{MAIN}.py").write_text("changed = 2\n", encoding="utf-8")
    subprocess.run([str(GIT), "diff", "HEAD"], cwd=project, capture_output=True, check=False)
    assert trap.exists()


def test_where_there_is_no_checkout_there_are_no_differences(tmp_path: Path, project: Path) -> None:
    assert uncommitted_differences(tmp_path, files=[]) == ({}, None)
    git(tmp_path, "init", "--quiet", "empty")
    assert uncommitted_differences(tmp_path / "empty", files=[]) == ({}, None)
    assert git_checkout.find_git(timeout_seconds=1) is not None
    assert project.exists()


# --- what a run records ----------------------------------------------------------------------------------------------


def recorded(code: OwnCode) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the artifacts and the tags that a run records."""
    journal = MemoryJournal()
    tracker = Tracker(journal, evaluation="e", run_name="r", closing_record=code.record)
    with tracker.start():
        pass
    tags = [each.tags for each in journal.operations if isinstance(each, SetTags)]
    files = [each for each in journal.operations if isinstance(each, LogArtifact)]
    return {each.path: journal.staged[each.sha256] for each in files}, {k: v for each in tags for k, v in each.items()}


def test_a_run_records_the_files_and_their_digests_when_it_ends(project: Path) -> None:
    (project / PACKAGE / "sibling.py").write_text('api_key = "0a1b2c3d4e5f"\n', encoding="utf-8")
    files, tags = recorded(OwnCode([MAIN]))
    assert files.keys() == {"uncommitted.diff", *(f"code/{module.path}" for module in own_modules([MAIN]))}
    assert files[f"code/{MAIN}.py"] == (project / f"{MAIN}.py").read_bytes()
    digests = json.loads(tags[OWN_CODE_TAG])
    assert digests[MAIN] == sha256(files[f"code/{MAIN}.py"])
    # The digest is that of what ran, so that a reader sees that this is not all of it.
    assert files[f"code/{PACKAGE}/sibling.py"] == b'api_key = "[redacted]"\n'
    assert digests[f"{PACKAGE}.sibling"] == sha256((project / PACKAGE / "sibling.py").read_bytes())
    assert tags[OWN_CODE_DIFFERENCES_TAG] == "redacted"
    assert tags[OWN_CODE_COMMIT_TAG] == git(project, "rev-parse", "HEAD")


def test_code_of_packages_leaves_no_trace() -> None:
    assert recorded(OwnCode(["json", "sklearn.linear_model"])) == ({}, {})
