"""``hokusai model promote``, ``rollback`` and ``history``: what they print, and what they return to a script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome

    from hokusai.testing.example_runs import ExampleRuns
    from hokusai.testing.plugin import MlflowAddress

NAME = "hokusai-penguins"


@pytest.fixture
def model(call: Callable[..., Outcome], mlflow_store: MlflowAddress) -> Callable[..., Outcome]:
    """Call a subcommand on the store."""

    def run(*arguments: str) -> Outcome:
        return call("model", *arguments, "--tracking-uri", mlflow_store.uri)

    return run


def test_a_real_evaluation_is_promoted_overridden_rolled_back_and_told(
    hokusai_runs: ExampleRuns, model: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    accepted, rejected = hokusai_runs.finished("dream"), hokusai_runs.finished("torgersen_mislabelled")
    assert accepted.identity.registered_model == NAME
    assert model("history", NAME).out == f"No version of {NAME} has been champion yet.\n"

    promoted = model("promote", NAME, "1")
    assert (promoted.code, promoted.err) == (0, "")
    assert "Version 1 is champion now (there was none before); move 1 of its history." in promoted.out
    assert "Evaluations compare with version 1 from now on, where they name @baseline." in promoted.out

    refused = model("promote", f"models:/{NAME}@candidate")
    assert (refused.code, refused.out) == (1, "")
    assert f"models:/{NAME}/2 does not become 'champion': the decision is 'reject'" in refused.err
    assert rejected.decision.reason in refused.err
    assert model("promote", NAME, "2", "--override").code == 1

    reason = "a trial\x1b[2J with db_password=hunter2!x"
    overridden = model("promote", NAME, "2", "--override", "--reason", reason, "--baseline", "--json")
    move = overridden.value
    assert (move["version"], move["found"], move["baseline"], move["override"]) == ("2", "1", "2", True)
    assert move["decision"] == "reject"
    assert "hunter2" not in overridden.out

    back = model("rollback", NAME, "--reason", "it was a trial")
    assert "Version 1 is champion now (before: 2); move 3 of its history." in back.out
    again = model("rollback", NAME)
    assert (again.code, "no version was champion before the present one" in again.err) == (1, True)

    listed = model("list", "--json").value
    aliases = {"candidate": "2", "champion": "1", "baseline": "2"}
    assert [(item["name"], item["versions"], item["aliases"]) for item in listed] == [(NAME, 2, aliases)]
    assert all(f"{alias}: {number}" in model("list").out for alias, number in aliases.items())

    hokusai_runs.client.set_registered_model_alias(NAME, "champion", "2")
    told = model("history", NAME).out
    assert "reject, overridden" in told
    assert "\x1b[2J" not in told
    assert r"a trial\x1b[2J with db_password=" in told
    lines = [line for line in told.splitlines() if "promote" in line or "rollback" in line or "outside" in line]
    assert ["promote" in lines[0], "promote" in lines[1], "rollback" in lines[2]] == [True] * 3
    assert "moved outside of Hokusai" in lines[3]
    as_json = model("history", NAME, "--json").value
    assert [item["action"] for item in as_json] == ["promote", "promote", "rollback", "outside"]
    assert as_json[0]["evaluation"] == accepted.identity.evaluation
    assert {item["user"] for item in as_json[:3]} != {""}
    assert {item["host_kind"] for item in as_json[:3]} != {""}


def test_a_model_that_is_not_there_is_told_in_one_line(model: Callable[..., Outcome]) -> None:
    for arguments in (("promote", "nobody", "1"), ("rollback", "nobody"), ("history", "nobody")):
        outcome = model(*arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith("hokusai: no model 'models:/nobody")
