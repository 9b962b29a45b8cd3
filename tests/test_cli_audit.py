"""``hokusai audit``: what it prints, and what it returns to a script."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest

import hokusai
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.shipper import DirectShipping, LaterShipping

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Outcome

    from hokusai.testing.plugin import MlflowAddress


@pytest.fixture
def audit(
    call: Callable[..., Outcome], mlflow_store: MlflowAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Call the command for a fresh store."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: call("audit", *arguments, "--tracking-uri", mlflow_store.uri)


@pytest.fixture
def run(mlflow_store: MlflowAddress, tmp_path: Path) -> hokusai.Run:
    """A run that has been shipped, with its journal where the command looks for it."""
    settings = hokusai.TrackingSettings(uri=mlflow_store.uri, journal=tmp_path / ".hokusai")
    shipping = DirectShipping(MlflowStore(settings.uri))
    with hokusai.track("words", settings=settings, shipping=shipping) as run:
        run.log_parameters({"rate": 0.1})
        run.log_metrics({"accuracy": 0.75})
        run.set_tags({"note": "first"})
    return run


def edit(store: MlflowAddress, run: hokusai.Run, value: str) -> None:
    """Change the run's tag."""
    (found,) = store.client.search_runs(["1"], f"tags.`hokusai.run_key` = '{run.key}'")
    store.client.set_tag(found.info.run_id, "note", value)


def test_a_run_as_it_was_recorded_is_worth_zero(audit: Callable[..., Outcome], run: hokusai.Run) -> None:
    done = audit(run.key)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "No differences."
    assert run.key in done.out.splitlines()[0]
    assert re.search(r"^ *parameter +1\s*$", done.out, re.MULTILINE)


def test_a_difference_is_worth_one_and_is_told_in_a_line(
    audit: Callable[..., Outcome], run: hokusai.Run, mlflow_store: MlflowAddress
) -> None:
    edit(mlflow_store, run, "x" * 200 + "\x1b[31m\ncaf\u00e9")
    done = audit(run.name)
    assert (done.code, done.err) == (1, "")
    (line,) = [line for line in done.out.splitlines() if line.startswith("changed: ")]
    assert line.startswith(f"changed: {run.name}: tag note: recorded first, found {'x' * 50}…")
    # What could be a command to the terminal is printed as text.
    assert line.endswith(r"\x1b[31m\ncafé (210 characters)")
    assert done.out.splitlines()[-1] == "1 difference, 0 not shipped."
    assert re.search(r"^ *tag +\d+ +1\s*$", done.out, re.MULTILINE)


def test_json_holds_the_whole_report(
    audit: Callable[..., Outcome], run: hokusai.Run, mlflow_store: MlflowAddress, tmp_path: Path
) -> None:
    assert json.loads(audit(run.key, "--json").out)["ok"] is True
    edit(mlflow_store, run, "second")
    done = audit(run.key, "--json")
    assert done.code == 1
    value = json.loads(done.out)
    assert (value["ok"], value["run"], value["store"]) == (False, run.key, mlflow_store.uri)
    assert value["journal"].endswith(f".hokusai/{run.key}")
    assert value["journals"] == [value["journal"]]
    assert value["checked"]["parameter"] == 1
    assert value["differences"] == [
        {
            "run": run.name,
            "key": run.key,
            "kind": "tag",
            "name": "note",
            "reason": "changed",
            "recorded": "first",
            "found": "second",
        }
    ]
    assert str(tmp_path) in value["store"]


def test_the_journal_may_be_elsewhere_missing_or_left_out(
    audit: Callable[..., Outcome], run: hokusai.Run, mlflow_store: MlflowAddress, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.move(tmp_path / ".hokusai" / run.key, copy)
    done = audit(run.key)
    assert done.code == 1
    # The folder is cut in its middle when its path is long.
    assert f"missing: journal: found no journal of it in {str(tmp_path)[:20]}" in done.out
    assert audit(run.key, "--journal", str(copy)).code == 0
    edit(mlflow_store, run, "second")
    assert audit(run.key, "--journal", str(copy)).code == 1
    # MLflow keeps no digest of tags.
    done = audit(run.key, "--without-journal")
    assert done.code == 0
    assert "Without a journal: tags, metrics, datasets, times and statuses could not be checked." in done.out
    assert done.out.splitlines()[-1] == "No differences, as far as could be checked."


def test_what_is_not_shipped_yet_is_told_with_the_command_that_brings_it_over(
    audit: Callable[..., Outcome], run: hokusai.Run, tmp_path: Path
) -> None:
    settings = hokusai.TrackingSettings(uri="http://127.0.0.1:9", journal=tmp_path / ".hokusai")

    with hokusai.resume(run.link, settings=settings, shipping=LaterShipping()) as resumed:
        resumed.set_tags({"more": "yes"})
    done = audit(run.key)
    assert done.code == 1
    assert "not shipped: " in done.out
    assert "facts are not in MLflow yet; `hokusai sync` brings them over." in done.out
    assert done.out.splitlines()[-1].startswith("0 differences, ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody",), "nobody"),
        (("KEY", "--journal", "nowhere"), "nowhere: no journal here, expected a folder with journal.jsonl."),
        (("KEY", "--journal", "x", "--without-journal"), "not allowed with argument"),
    ],
    ids=["no such run", "no such journal", "both at once"],
)
def test_a_wrong_call_is_worth_two(
    arguments: tuple[str, ...], message: str, audit: Callable[..., Outcome], run: hokusai.Run
) -> None:
    done = audit(*(run.key if argument == "KEY" else argument for argument in arguments))
    assert (done.code, done.out) == (2, "")
    assert message in done.err
