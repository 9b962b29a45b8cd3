"""``hokusai experiments``: what each command prints, and what it returns to a script."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from hokusai.tracking.journal import JOURNAL_FORMAT, FileJournal
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.naming import EVALUATION_TAG, RUN_KEY_TAG
from hokusai.tracking.operations import EndRun, OpenJournal, StartRun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Outcome

KEY = "20300102-030405-0123abcd"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowStore:
    """The store in the folder where we stand, with one experiment."""
    monkeypatch.chdir(tmp_path)
    store = MlflowStore(f"sqlite:///{tmp_path / 'mlflow.db'}")
    store.ensure_experiment("trials", tags={"hokusai.owner": "ada", "hokusai.purpose": "trial"})
    return store


def record(folder: Path, uri: str) -> FileJournal:
    """Record an evaluation of one run, and leave its journal open."""
    journal = FileJournal(folder / ".hokusai" / KEY)
    journal.append(OpenJournal(format=JOURNAL_FORMAT, evaluation=KEY, experiment="trials", tracking_uri=uri))
    journal.append(StartRun(run=KEY, name="the whole", tags={RUN_KEY_TAG: KEY, EVALUATION_TAG: KEY}))
    journal.append(EndRun(run=KEY, status="FINISHED"))
    return journal


def rows(out: str) -> dict[str, list[str]]:
    """Return the cells of a printed table by their first."""
    lines = (re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if line.strip())
    return {cells[0]: cells for cells in lines}


def test_list_prints_the_experiments_in_use_or_the_archived_ones(
    store: MlflowStore, call: Callable[..., Outcome]
) -> None:
    done = call("experiments", "list")
    assert (done.code, done.err) == (0, "")
    listed = rows(done.out)
    assert {"trials", "Default"} <= set(listed)
    assert listed["trials"][1:4] == ["1", "active", "0"]
    assert listed["trials"][6:] == ["trial", "ada"]
    assert call("experiments", "list", "--archived") == (0, f"No archived experiments in {store.uri}.\n", "")
    assert call("experiments", "archive", "trials").code == 0
    assert "trials" not in rows(call("experiments", "list").out)
    assert rows(call("experiments", "list", "--archived").out)["trials"][2] == "archived"


def test_what_waits_for_an_archived_experiment_is_shipped_once_that_is_restored(
    store: MlflowStore, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    record(tmp_path, store.uri).close()
    assert "Archived 'trials' with 0 evaluations" in call("experiments", "archive", "trials").out
    done = call("sync")
    assert done.code == 1
    assert "the experiment 'trials' is archived there. Bring it back with `hokusai experiments restore`" in done.err
    done = call("experiments", "restore", "trials")
    assert (done.code, done.err) == (0, "")
    assert "Restored 'trials'" in done.out
    assert call("sync").code == 0
    assert rows(call("experiments", "list").out)["trials"][3] == "1"


def test_an_experiment_in_use_is_archived_by_force_only(
    store: MlflowStore, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    journal = record(tmp_path, store.uri)
    done = call("experiments", "archive", "trials")
    assert (done.code, done.out) == (2, "")
    assert "is being written" in done.err
    assert call("experiments", "archive", "trials", "--force").code == 0
    journal.close()


def test_a_refusal_is_one_line_and_exits_2(store: MlflowStore, call: Callable[..., Outcome]) -> None:
    assert store.find_experiment("trial") is None
    for command, name, message in (
        ("archive", "trial", "Did you mean 'trials'?"),
        ("restore", "trials", "is not archived"),
        ("archive", "Default", "default one"),
    ):
        done = call("experiments", command, name)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert message in done.err


@pytest.mark.parametrize("group", ["experiments", "journal"])
def test_a_group_of_commands_lists_them_and_asks_for_one(group: str, call: Callable[..., Outcome]) -> None:
    done = call(group, "--help")
    assert done.code == 0
    commands = re.findall(r"(?m)^    (\w+) ", done.out)
    wanted = {"experiments": ["list", "archive", "restore"], "journal": ["list", "show", "verify", "prune"]}
    assert commands == wanted[group]
    for command in commands:
        assert call(group, command, "--help").out.startswith(f"usage: hokusai {group} {command} ")
    assert "the following arguments are required: COMMAND" in call(group).err
