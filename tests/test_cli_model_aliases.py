"""``hokusai model promote``, ``rollback`` and ``history``: what they print, and what they return to a script."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from hokusai.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hokusai.testing.example_runs import ExampleRuns
    from hokusai.testing.plugin import MlflowAddress

NAME = "hokusai-penguins"


@dataclass(frozen=True)
class Outcome:
    """What a command returned and printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], mlflow_store: MlflowAddress) -> Iterator[Callable[..., Outcome]]:
    """Call one of the commands in this process, which spares the import of MLflow."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["model", *arguments, "--tracking-uri", mlflow_store.uri])
        output = capsys.readouterr()
        return Outcome(ended.value.code if isinstance(ended.value.code, int) else 0, output.out, output.err)

    yield run
    signal.signal(signal.SIGTERM, handler)


def test_a_real_evaluation_is_promoted_overridden_rolled_back_and_told(
    hokusai_runs: ExampleRuns, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    accepted, rejected = hokusai_runs.finished("dream"), hokusai_runs.finished("torgersen_mislabelled")
    assert accepted.identity.registered_model == NAME
    assert call("history", NAME).out == f"No version of {NAME} has been champion yet.\n"

    promoted = call("promote", NAME, "1")
    assert (promoted.code, promoted.err) == (0, "")
    assert "Version 1 is champion now (there was none before); move 1 of its history." in promoted.out
    assert "Evaluations compare with version 1 from now on, where they name @baseline." in promoted.out

    refused = call("promote", f"models:/{NAME}@candidate")
    assert (refused.code, refused.out) == (1, "")
    assert f"models:/{NAME}/2 does not become 'champion': the decision is 'reject'" in refused.err
    assert rejected.decision.reason in refused.err
    assert call("promote", NAME, "2", "--override").code == 1

    reason = "a trial\x1b[2J with db_password=hunter2!x"
    overridden = call("promote", NAME, "2", "--override", "--reason", reason, "--baseline", "--json")
    move = json.loads(overridden.out)
    assert (move["version"], move["found"], move["baseline"], move["override"]) == ("2", "1", "2", True)
    assert move["decision"] == "reject"
    assert "hunter2" not in overridden.out

    back = call("rollback", NAME, "--reason", "it was a trial")
    assert "Version 1 is champion now (before: 2); move 3 of its history." in back.out
    again = call("rollback", NAME)
    assert (again.code, "no version was champion before the present one" in again.err) == (1, True)

    hokusai_runs.client.set_registered_model_alias(NAME, "champion", "2")
    told = call("history", NAME).out
    assert "reject, overridden" in told
    assert "\x1b[2J" not in told
    assert r"a trial\x1b[2J with db_password=" in told
    lines = [line for line in told.splitlines() if "promote" in line or "rollback" in line or "outside" in line]
    assert ["promote" in lines[0], "promote" in lines[1], "rollback" in lines[2]] == [True] * 3
    assert "moved outside of Hokusai" in lines[3]
    as_json = json.loads(call("history", NAME, "--json").out)
    assert [item["action"] for item in as_json] == ["promote", "promote", "rollback", "outside"]
    assert as_json[0]["evaluation"] == accepted.identity.evaluation
    assert {item["user"] for item in as_json[:3]} != {""}
    assert {item["host_kind"] for item in as_json[:3]} != {""}


def test_a_model_that_is_not_there_is_told_in_one_line(call: Callable[..., Outcome]) -> None:
    for arguments in (("promote", "nobody", "1"), ("rollback", "nobody"), ("history", "nobody")):
        outcome = call(*arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith("hokusai: no model 'models:/nobody")
