"""``champion`` moves only with a decision that accepts; of several moves one counts, and all readers agree on it."""

from __future__ import annotations

import json
import secrets
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai.digests import sha256
from hokusai.errors import ModelDigestError, ModelError, ModelNotFoundError, PromotionError
from hokusai.models.mlflow_aliases import AliasRegistry, history, promote, rollback
from hokusai.models.promotion import Action, AliasMove, MoveLog, address_of, move_from_tags, move_tags, read_moves
from hokusai.records import ModelFile
from hokusai.testing.faults import DropAnswer, Latency
from hokusai.tracking import naming
from hokusai.tracking.journal import JOURNAL_FORMAT, FileJournal
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.operations import OpenJournal
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipper import ship

if TYPE_CHECKING:
    from hokusai.digests import JsonValue
    from hokusai.testing.faults import FaultyProxy
    from hokusai.testing.mlflow_server import MockMlflowServer
    from hokusai.testing.plugin import MlflowAddress

NAME = "it's a swimmer"
"""A name with a quotation mark, which MLflow's filters have no sign for."""


class Evaluations:
    """Evaluations that ended with a decision, as real ones are recorded and shipped, without the work of training.

    Each registers a version of one model.

    Attributes:
        run_ids: MLflow's id of the comparing step's run, by version.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self._folder = folder
        self._store = MlflowStore(uri)
        self.run_ids: dict[str, str] = {}

    def decide(self, outcome: str = "accept", *, name: str = NAME, more: dict[str, JsonValue] | None = None) -> str:
        """Make an evaluation with this outcome, and return the number of its version.

        ``more`` takes the place of fields of ``delta.json``.
        """
        key = f"20300102-030405-{secrets.token_hex(4)}"
        journal = FileJournal(self._folder / key)
        journal.append(OpenJournal(format=JOURNAL_FORMAT, evaluation=key, experiment="swimming", tracking_uri=self.uri))
        tracker = Tracker(journal, evaluation=key, run_name=f"parent of {key}")
        content = f"the model of {key}".encode()
        with tracker.start() as parent:
            with parent.child("train_new_model") as step:
                step.log_model(_model_file(content))
            with parent.child("compare_and_output_delta") as step:
                given: dict[str, JsonValue] = {"model_sha256": sha256(content), **(more or {})}
                decision: JsonValue = {
                    "outcome": outcome,
                    "metric": "accuracy",
                    "minimum_gain": 0.0,
                    "reason": "it had to be.",
                }
                document: JsonValue = {"format": "hokusai-delta/1", "evaluation": key, "decision": decision, **given}
                step.log_json("delta.json", document)
            tags = {naming.EVALUATION_TAG: key, naming.DECISION_TAG: outcome}
            parent.register_model("candidate", registered_name=name, tags=tags)
        journal.close()
        state = ship(journal.folder, self._store)
        parent_run = self._store.find_run(key)
        version = parent_run.tags[naming.MODEL_VERSION_TAG].rpartition("/")[2]
        self.run_ids[version] = state.run_ids[f"{key}:compare_and_output_delta"]
        return version

    def artifact(self, version: str, path: str, folder: Path) -> dict[str, object]:
        """Return a JSON artifact of the comparing step of the evaluation that made a version."""
        found = self._store.download_artifact(self.run_ids[version], path, folder)
        value: dict[str, object] = json.loads(found.read_bytes())
        return value

    def replace_artifact(self, version: str, path: str, value: object) -> bytes:
        """Put another JSON document in its place, as an editor of the artifact store would, and return its bytes."""
        content = json.dumps(value).encode()
        self._store.log_bytes(self.run_ids[version], content, path)
        return content


def _model_file(content: bytes) -> ModelFile:
    return ModelFile(
        name="candidate",
        content=content,
        file="model.skops",
        flavor="sklearn",
        options={"pickled_model": "model.skops", "serialization_format": "skops"},
        inputs={"x": "double"},
        output="long",
        requirements=("scikit-learn",),
    )


@pytest.fixture(params=["SQLite", "HTTP"])
def store(request: pytest.FixtureRequest) -> MlflowAddress | MockMlflowServer:
    """A store with its registry, in a file and behind a server."""
    found: MlflowAddress | MockMlflowServer = request.getfixturevalue(
        "mlflow_store" if request.param == "SQLite" else "mlflow_server"
    )
    return found


@pytest.fixture
def evaluations(store: MlflowAddress | MockMlflowServer, tmp_path: Path) -> Evaluations:
    """Evaluations in that store."""
    return Evaluations(store.uri, tmp_path / "journals")


def aliases(uri: str) -> dict[str, str]:
    return AliasRegistry(uri).aliases(NAME)


# --- decisions --------------------------------------------------------------------------------------------------------


def test_a_version_whose_evaluation_accepted_it_becomes_champion_and_the_one_before_previous(
    evaluations: Evaluations,
) -> None:
    first, second, third = (evaluations.decide() for _ in range(3))
    uri = evaluations.uri
    move = promote(NAME, first, uri=uri, reason="the first one", host_kind="ci")
    assert aliases(uri) == {"candidate": third, "champion": first, "baseline": first}
    assert (move.number, move.found, move.version, move.baseline) == (1, "", first, first)
    assert (move.decision, move.override, move.standing, move.reason) == ("accept", False, "done", "the first one")
    assert (move.host_kind, len(move.delta_sha256)) == ("ci", 64)
    promote(NAME, "@candidate", uri=uri)
    assert aliases(uri) == {"candidate": third, "champion": third, "previous": first, "baseline": first}
    promote(f"models:/{NAME}/{second}", uri=uri, baseline=True)
    assert aliases(uri) == {"candidate": third, "champion": second, "previous": third, "baseline": second}
    assert [(item.found, item.version) for item in history(NAME, uri=uri)] == [
        ("", first),
        (first, third),
        (third, second),
    ]


@pytest.mark.parametrize("outcome", ["reject", "not enough evidence"])
def test_a_version_that_was_not_accepted_becomes_champion_by_an_override_with_a_reason_alone(
    mlflow_store: MlflowAddress, tmp_path: Path, outcome: str
) -> None:
    evaluations = Evaluations(mlflow_store.uri, tmp_path / "journals")
    version, uri = evaluations.decide(outcome), mlflow_store.uri
    with pytest.raises(PromotionError, match=f"the decision is '{outcome}': it had to be.") as caught:
        promote(NAME, version, uri=uri)
    assert (caught.value.alias, caught.value.exit_code) == ("champion", 1)
    with pytest.raises(PromotionError, match="an override needs a reason"):
        promote(NAME, version, uri=uri, override=True, reason=" ")
    with pytest.raises(PromotionError, match="the reason has 5001 characters, expected at most 5000"):
        promote(NAME, version, uri=uri, override=True, reason="x" * 5001)
    assert aliases(uri) == {"candidate": version}
    assert history(NAME, uri=uri) == ()
    promote(NAME, version, uri=uri, override=True, reason="x" * 5000)
    (move,) = history(NAME, uri=uri)
    assert (move.override, move.decision, len(move.reason)) == (True, outcome, 5000)
    assert move.problem == f"the decision is '{outcome}': it had to be."


def test_an_override_that_was_not_needed_is_none(mlflow_store: MlflowAddress, tmp_path: Path) -> None:
    version = Evaluations(mlflow_store.uri, tmp_path / "journals").decide()
    move = promote(NAME, version, uri=mlflow_store.uri, override=True, reason="to be sure")
    assert (move.override, move.problem) == (False, "")


def test_a_decision_is_believed_only_as_it_was_recorded_and_only_about_this_model(
    mlflow_store: MlflowAddress, tmp_path: Path
) -> None:
    evaluations, client, uri = Evaluations(mlflow_store.uri, tmp_path / "j"), mlflow_store.client, mlflow_store.uri

    def refusal(version: str) -> str:
        with pytest.raises(PromotionError) as caught:
            promote(NAME, version, uri=uri)
        return str(caught.value)

    by_tag = evaluations.decide("reject")
    client.set_model_version_tag(NAME, by_tag, "hokusai.decision", "accept")
    assert "its tag says 'accept' and the decision record 'reject': somebody edited the tag" in refusal(by_tag)

    by_file = evaluations.decide("reject")
    client.set_model_version_tag(NAME, by_file, "hokusai.decision", "accept")
    document = evaluations.artifact(by_file, "delta.json", tmp_path)
    edited = evaluations.replace_artifact(by_file, "delta.json", document | {"decision": {"outcome": "accept"}})
    assert "delta.json is not the one that was recorded: somebody edited it" in refusal(by_file)
    manifest = evaluations.artifact(by_file, "manifest.json", tmp_path)
    listed = [{"path": "delta.json", "sha256": sha256(edited), "size": len(edited)}]
    evaluations.replace_artifact(by_file, "manifest.json", manifest | {"artifacts": listed})
    assert "delta.json is not the one that was recorded: somebody edited it" in refusal(by_file)

    anothers = evaluations.decide()
    accepted = client.get_model_version(NAME, anothers).tags["hokusai.evaluation"]
    borrowed = evaluations.decide("reject")
    for tag, value in (("hokusai.decision", "accept"), ("hokusai.evaluation", accepted)):
        client.set_model_version_tag(NAME, borrowed, tag, value)
    assert "its decision record is not in a step of the run that it came from" in refusal(borrowed)
    swapped = evaluations.decide(more={"model_sha256": "0" * 64})
    assert "the decision is about another model" in refusal(swapped)
    renamed = evaluations.decide(more={"evaluation": "another"})
    assert "its decision record is that of another evaluation, 'another'" in refusal(renamed)
    old = evaluations.decide(more={"model_sha256": None})
    assert "nothing says which model the decision was about" in refusal(old)
    newer = evaluations.decide(more={"format": "hokusai-delta/9"})
    assert "delta.json is in the format 'hokusai-delta/9', expected 'hokusai-delta/1'" in refusal(newer)
    assert history(NAME, uri=uri) == ()


@pytest.mark.parametrize("is_deleted", [False, True], ids=["beside it", "in the place of it"])
def test_a_second_record_of_a_decision_is_not_believed_whatever_became_of_the_first(
    mlflow_store: MlflowAddress, tmp_path: Path, *, is_deleted: bool
) -> None:
    evaluations, client, uri = Evaluations(mlflow_store.uri, tmp_path / "j"), mlflow_store.client, mlflow_store.uri
    version = evaluations.decide("reject")
    made = client.get_run(evaluations.run_ids[version])
    document = evaluations.artifact(version, "delta.json", tmp_path)
    delta = json.dumps(document | {"decision": {"outcome": "accept"}})
    manifest = json.dumps({"artifacts": [{"path": "delta.json", "sha256": sha256(delta.encode())}]})
    tags = made.data.tags | {"hokusai.manifest_digest": sha256(manifest.encode())}
    forged = client.create_run(made.info.experiment_id, tags=tags).info.run_id
    client.log_text(forged, delta, "delta.json")
    client.log_text(forged, manifest, "manifest.json")
    client.set_model_version_tag(NAME, version, "hokusai.decision", "accept")
    if is_deleted:
        client.delete_run(made.info.run_id)
    with pytest.raises(PromotionError, match="2 runs say that they decided evaluation"):
        promote(NAME, version, uri=uri)
    assert history(NAME, uri=uri) == ()


def test_a_record_that_is_no_step_of_the_versions_own_run_is_not_believed(
    mlflow_store: MlflowAddress, tmp_path: Path
) -> None:
    evaluations, client, uri = Evaluations(mlflow_store.uri, tmp_path / "j"), mlflow_store.client, mlflow_store.uri
    accepted, other = evaluations.decide(), evaluations.decide("reject")
    found, donor = client.get_model_version(NAME, other), client.get_model_version(NAME, accepted)
    for run_id, tags in ((str(found.run_id), donor.tags), (str(donor.run_id), found.tags)):
        made = client.create_model_version(NAME, str(found.source), run_id, tags).version
        with pytest.raises(PromotionError, match="not in a step of the run that it came from"):
            promote(NAME, made, uri=uri)


def test_a_model_whose_files_were_changed_is_not_promoted_by_a_decision_nor_by_an_override(
    mlflow_store: MlflowAddress, tmp_path: Path
) -> None:
    version, uri = Evaluations(mlflow_store.uri, tmp_path / "j").decide(), mlflow_store.uri
    location = AliasRegistry(uri).find(f"models:/{NAME}/{version}").location
    (Path(urlsplit(location).path) / "model.skops").write_bytes(b"swapped")
    for override in (False, True):
        with pytest.raises(ModelDigestError, match=r"model\.skops is not what was recorded"):
            promote(NAME, version, uri=uri, override=override, reason="all the same")
    assert history(NAME, uri=uri) == ()


def test_a_version_without_a_decision_record_is_refused(mlflow_store: MlflowAddress, tmp_path: Path) -> None:
    evaluations, client, uri = Evaluations(mlflow_store.uri, tmp_path / "j"), mlflow_store.client, mlflow_store.uri
    lost = evaluations.decide()
    source = str(client.get_run(evaluations.run_ids[lost]).info.artifact_uri)
    by_hand = client.create_model_version(NAME, source, evaluations.run_ids[lost]).version
    with pytest.raises(PromotionError, match="no decision record, because no evaluation registered it"):
        promote(NAME, by_hand, uri=uri)
    client.delete_run(evaluations.run_ids[lost])
    with pytest.raises(PromotionError, match=r"the decision record of evaluation 2030.* is not there"):
        promote(NAME, lost, uri=uri)
    odd = evaluations.decide()
    client.set_model_version_tag(NAME, odd, "hokusai.evaluation", "x' OR tags.a = 'b")
    with pytest.raises(PromotionError, match="no decision record"):
        promote(NAME, odd, uri=uri)


def test_names_and_versions_that_are_not_there_are_told(mlflow_store: MlflowAddress, tmp_path: Path) -> None:
    uri = mlflow_store.uri
    for call in (lambda: promote("nobody", "1", uri=uri), lambda: history("nobody", uri=uri)):
        with pytest.raises(ModelNotFoundError):
            call()
    with pytest.raises(ModelNotFoundError):
        rollback("nobody", uri=uri)
    version = Evaluations(uri, tmp_path / "journals").decide()
    with pytest.raises(ModelNotFoundError):
        promote(NAME, "7", uri=uri)
    with pytest.raises(PromotionError, match="say which version, such as 3 or @candidate"):
        promote("swimmer", uri=uri)
    with pytest.raises(PromotionError, match="expected a version of 'another'"):
        promote("another", f"models:/{NAME}/{version}", uri=uri)
    model_id = str(mlflow_store.client.get_model_version(NAME, version).source).removeprefix("models:/")
    with pytest.raises(PromotionError, match="it is no version of a registered model"):
        promote(f"models:/{model_id}", uri=uri)
    with pytest.raises(PromotionError, match="no version was champion before the present one"):
        rollback(NAME, uri=uri)
    assert address_of("a", "candidate") == address_of("a", "@candidate") == "models:/a@candidate"


def test_a_dead_server_is_told(unused_port: int) -> None:
    uri = f"http://127.0.0.1:{unused_port}"
    for call in (
        lambda: promote(NAME, "1", uri=uri),
        lambda: rollback(NAME, uri=uri),
        lambda: history(NAME, uri=uri),
    ):
        with pytest.raises(ModelError, match=f"127.0.0.1:{unused_port}"):
            call()


@pytest.fixture
def unused_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


# --- rollback and moves of others -------------------------------------------------------------------------------------


def test_rollbacks_go_back_one_champion_at_a_time(mlflow_store: MlflowAddress, tmp_path: Path) -> None:
    evaluations, uri = Evaluations(mlflow_store.uri, tmp_path / "journals"), mlflow_store.uri
    versions = [evaluations.decide() for _ in range(3)]
    for version in versions:
        promote(NAME, version, uri=uri)
    assert rollback(NAME, uri=uri, reason="it was slow").version == versions[1]
    shown = aliases(uri)
    assert (shown["champion"], shown["previous"]) == (versions[1], versions[0])
    rollback(NAME, uri=uri)
    shown = aliases(uri)
    assert (shown["champion"], "previous" in shown) == (versions[0], False)
    with pytest.raises(PromotionError, match="no version was champion before the present one"):
        rollback(NAME, uri=uri)
    promote(NAME, versions[2], uri=uri)
    assert rollback(NAME, uri=uri).version == versions[0]
    assert [move.action for move in history(NAME, uri=uri)] == ["promote"] * 3 + ["rollback"] * 2 + [
        "promote",
        "rollback",
    ]


def test_a_champion_is_not_promoted_again_except_to_become_the_baseline(
    mlflow_store: MlflowAddress, tmp_path: Path
) -> None:
    evaluations, uri = Evaluations(mlflow_store.uri, tmp_path / "journals"), mlflow_store.uri
    first, second = evaluations.decide(), evaluations.decide()
    promote(NAME, first, uri=uri)
    promote(NAME, second, uri=uri)
    with pytest.raises(PromotionError, match="it is that already, by move 2 of"):
        promote(NAME, second, uri=uri)
    promote(NAME, second, uri=uri, baseline=True)
    shown = {"candidate": second, "champion": second, "previous": first, "baseline": second}
    assert aliases(uri) == shown
    assert rollback(NAME, uri=uri).version == first


def test_a_move_outside_of_hokusai_is_noticed_and_can_be_rolled_back(
    mlflow_store: MlflowAddress, tmp_path: Path
) -> None:
    evaluations, uri, client = Evaluations(mlflow_store.uri, tmp_path / "j"), mlflow_store.uri, mlflow_store.client
    one, two, three = (evaluations.decide() for _ in range(3))
    client.set_registered_model_alias(NAME, "champion", three)
    assert [(move.action, move.found, move.version) for move in history(NAME, uri=uri)] == [("outside", "", three)]
    promote(NAME, one, uri=uri)
    assert aliases(uri)["previous"] == three
    client.set_registered_model_alias(NAME, "champion", two)
    outside = history(NAME, uri=uri)[-1]
    assert (outside.action, outside.found, outside.version, outside.user, outside.at) == ("outside", one, two, "", "")
    assert rollback(NAME, uri=uri).version == one
    client.delete_registered_model_alias(NAME, "champion")
    promote(NAME, two, uri=uri)
    assert aliases(uri)["previous"] == one
    assert [(move.action, move.found, move.version) for move in history(NAME, uri=uri)] == [
        ("outside", "", three),
        ("promote", three, one),
        ("outside", one, two),
        ("rollback", two, one),
        ("outside", one, ""),
        ("promote", "", two),
    ]


def test_a_rollback_to_a_deleted_version_is_refused(mlflow_store: MlflowAddress, tmp_path: Path) -> None:
    evaluations, uri = Evaluations(mlflow_store.uri, tmp_path / "journals"), mlflow_store.uri
    one, two, three = (evaluations.decide() for _ in range(3))
    promote(NAME, one, uri=uri)
    promote(NAME, two, uri=uri)
    mlflow_store.client.delete_model_version(NAME, one)
    with pytest.raises(PromotionError, match=f"version {one}, which was champion before, has been deleted"):
        rollback(NAME, uri=uri)
    promote(NAME, three, uri=uri)
    assert rollback(NAME, uri=uri).version == two


# --- several at once, and deaths in between ---------------------------------------------------------------------------

PROMOTER = """
import sys
from pathlib import Path
from hokusai.errors import PromotionError
from hokusai.models.mlflow_aliases import promote, AliasRegistry
import mlflow

uri, name, version, folder, count = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), int(sys.argv[5])
AliasRegistry(uri).aliases(name)
(folder / version).touch()
while len(list(folder.iterdir())) < count:
    pass
try:
    print(promote(name, version, uri=uri).number)
except PromotionError as error:
    sys.exit(str(error))
"""


def promote_at_once(
    uri: str, versions: list[str], folder: Path, environment: dict[str, str]
) -> tuple[dict[str, int], list[str]]:
    """Promote versions in a process each; return the moves of the winners and what the others were told."""
    folder.mkdir()
    processes = {
        version: subprocess.Popen(
            [sys.executable, "-c", PROMOTER, uri, NAME, version, str(folder), str(len(versions))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for version in versions
    }
    won, told = {}, []
    for version, process in processes.items():
        out, errors = process.communicate()
        if process.returncode == 0:
            won[version] = int(out)
        else:
            assert process.returncode == 1, errors
            assert "Traceback" not in errors
            told.append(errors)
    return won, told


@pytest.mark.slow
def test_of_processes_that_promote_at_once_one_wins_and_the_others_are_told(
    faulty_mlflow: FaultyProxy, mlflow_server: MockMlflowServer, tmp_path: Path, subprocess_environment: dict[str, str]
) -> None:
    evaluations = Evaluations(mlflow_server.uri, tmp_path / "journals")
    versions = [evaluations.decide() for _ in range(3)]
    # Each has read the log before any of them adds to it.
    faulty_mlflow.faults = [Latency(3.0, route="POST .*model-versions/create")]
    won, told = promote_at_once(faulty_mlflow.uri, versions, tmp_path / "ready", subprocess_environment)
    ((winner, number),) = won.items()
    moves = history(NAME, uri=mlflow_server.uri)
    assert sorted(move.standing for move in moves) == ["done", "lost", "lost"]
    (counting,) = (move for move in moves if move.standing == "done")
    assert (counting.version, counting.number) == (winner, number)
    assert aliases(mlflow_server.uri) == {"candidate": versions[-1], "champion": winner, "baseline": winner}
    for text in told:
        expected = f"{counting.user} moved champion to version {winner} at {counting.at}, while this was under way"
        assert expected in text


@pytest.mark.slow
def test_processes_that_promote_at_once_in_a_file_leave_one_story(
    mlflow_store: MlflowAddress, tmp_path: Path, subprocess_environment: dict[str, str]
) -> None:
    evaluations, uri = Evaluations(mlflow_store.uri, tmp_path / "journals"), mlflow_store.uri
    versions = [evaluations.decide() for _ in range(4)]
    won, told = promote_at_once(uri, versions, tmp_path / "ready", subprocess_environment)
    moves = history(NAME, uri=uri)
    assert won
    assert len(won) + len(told) == len(moves) == len(versions)
    done = [move for move in moves if move.standing == "done"]
    assert {move.version: move.number for move in done} == won
    assert [move.found for move in done] == ["", *(move.version for move in done[:-1])]
    shown = aliases(uri)
    assert shown["champion"] == done[-1].version
    assert shown.get("previous", "") == done[-1].found
    assert shown["baseline"] == done[0].version


DYING = """
import os, signal, sys
from hokusai.models import mlflow_aliases

uri, name, version, calls = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
setter = mlflow_aliases.AliasRegistry._set_alias
seen = 0


def set_and_die(*arguments):
    global seen
    if seen == calls:
        os.kill(os.getpid(), signal.SIGKILL)
    seen += 1
    setter(*arguments)


mlflow_aliases.AliasRegistry._set_alias = set_and_die
mlflow_aliases.promote(name, version, uri=uri)
"""


@pytest.mark.slow
@pytest.mark.parametrize("calls", [0, 1])
def test_what_a_killed_promotion_left_is_finished_by_the_next_move(
    mlflow_store: MlflowAddress, tmp_path: Path, subprocess_environment: dict[str, str], calls: int
) -> None:
    evaluations, uri = Evaluations(mlflow_store.uri, tmp_path / "journals"), mlflow_store.uri
    one, two, three = (evaluations.decide() for _ in range(3))
    promote(NAME, one, uri=uri)
    killed = subprocess.run(
        [sys.executable, "-c", DYING, uri, NAME, two, str(calls)], check=False, env=subprocess_environment
    )
    assert killed.returncode == -signal.SIGKILL
    assert "previous" not in aliases(uri)
    assert [(move.version, move.standing) for move in history(NAME, uri=uri)] == [(one, "done"), (two, "unfinished")]
    with pytest.raises(PromotionError, match="it is that already, by move 2"):
        promote(NAME, two, uri=uri)
    shown = aliases(uri)
    assert (shown["champion"], shown["previous"]) == (two, one)
    promote(NAME, three, uri=uri)
    assert [(move.version, move.standing) for move in history(NAME, uri=uri)] == [
        (one, "done"),
        (two, "done"),
        (three, "done"),
    ]


def test_a_move_whose_answer_was_lost_counts_once(
    faulty_mlflow: FaultyProxy, mlflow_server: MockMlflowServer, tmp_path: Path
) -> None:
    evaluations = Evaluations(mlflow_server.uri, tmp_path / "journals")
    one, two = evaluations.decide(), evaluations.decide()
    promote(NAME, one, uri=mlflow_server.uri)
    faulty_mlflow.faults = [DropAnswer(route="POST .*model-versions/create", times=1)]
    move = promote(NAME, two, uri=faulty_mlflow.uri)
    assert (move.number, move.standing) == (2, "done")
    assert [item.version for item in history(NAME, uri=mlflow_server.uri)] == [one, two]
    assert rollback(NAME, uri=mlflow_server.uri).version == one


def test_a_promotion_that_was_held_up_does_not_undo_a_later_one(mlflow_store: MlflowAddress, tmp_path: Path) -> None:
    evaluations, uri = Evaluations(mlflow_store.uri, tmp_path / "journals"), mlflow_store.uri
    one, two = evaluations.decide(), evaluations.decide()

    class HeldUp(AliasRegistry):
        """Sets an alias only after somebody else has moved it on."""

        def _set_alias(self, name: str, alias: str, version: str) -> None:
            if alias == "champion" and version == one and "champion" not in self.aliases(name):
                promote(name, two, uri=uri)
            super()._set_alias(name, alias, version)

    registry = HeldUp(uri)
    registry.make(NAME, AliasMove(key="slow", action="promote", version=one))
    shown = aliases(uri)
    assert (shown["champion"], shown["previous"]) == (two, one)
    assert [(move.version, move.standing) for move in history(NAME, uri=uri)] == [(one, "done"), (two, "done")]


ACTIONS: tuple[Action, ...] = ("promote", "rollback")

# --- the log as a value -----------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(found=texts, version=texts.filter(bool), reason=texts, based_on=st.integers(0, 10**9), override=st.booleans())
def test_a_move_comes_back_from_its_tags(
    found: str, version: str, reason: str, based_on: int, *, override: bool
) -> None:
    move = AliasMove(
        number=7,
        key="t",
        based_on=based_on,
        action="promote",
        found=found,
        version=version,
        reason=reason,
        override=override,
        at="2030-01-02T03:04:05.678+00:00",
        user="ada",
        problem="none",
    )
    assert move_from_tags(7, json.loads(json.dumps(move_tags(move)))) == move


def test_entries_that_are_none_of_ours_are_no_moves() -> None:
    for tags in (
        {},
        {"hokusai.move.action": "promote"},
        {"hokusai.move.action": "steal", "hokusai.move.based_on": "0"},
        {"hokusai.move.action": "promote", "hokusai.move.based_on": "x"},
    ):
        assert move_from_tags(1, tags) is None


@st.composite
def logs(draw: st.DrawFn) -> list[AliasMove]:
    """Entries as several processes would add them, each of which has read the log up to some entry."""
    entries: list[AliasMove] = []
    for number in range(1, draw(st.integers(1, 12)) + 1):
        seen = read_moves(entries[: draw(st.integers(0, len(entries)))])
        action: Action = draw(st.sampled_from(ACTIONS)) if seen.state.previous else "promote"
        version = seen.state.previous if action == "rollback" else str(draw(st.integers(1, 4)))
        entries.append(
            AliasMove(
                number=number,
                key=str(number),
                based_on=seen.state.last,
                action=action,
                found=seen.state.champion,
                version=version,
                at=str(draw(st.integers(0, 9))),
                is_applied=True,
            )
        )
    return entries


@given(entries=logs())
def test_moves_that_count_follow_one_another_and_no_clock_matters(entries: list[AliasMove]) -> None:
    log = read_moves(entries)
    counting = [move for move in log.moves if move.standing == "done"]
    before = [0, *(move.number for move in counting)]
    assert [move.based_on for move in counting] == before[:-1]
    assert [move.found for move in counting] == ["", *(move.version for move in counting[:-1])]
    assert log.state.champion == counting[-1].version
    assert len(log.moves) == len(entries)
    # Of the moves that are based on one and the same, exactly the first counts.
    for move in log.moves:
        rivals = [item for item in log.moves if item.based_on == move.based_on and item.standing == "done"]
        assert (move.standing == "done") == (move in rivals)
        assert len(rivals) <= 1
    assert read_moves([replace(entry, at="") for entry in entries]).state == log.state


@given(entries=logs(), data=st.data())
def test_what_counts_goes_on_counting_when_the_log_grows(entries: list[AliasMove], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(entries)))
    standings = [(move.number, move.standing) for move in read_moves(entries[:count]).moves]
    assert [(move.number, move.standing) for move in read_moves(entries).moves][: len(standings)] == standings


@given(entries=logs(), data=st.data())
def test_a_move_that_was_entered_twice_counts_once(entries: list[AliasMove], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(entries) - 1))
    twice = [*entries, replace(entries[place], number=len(entries) + 1)]
    assert read_moves(twice) == read_moves(entries)


@given(entries=logs())
def test_a_deleted_entry_makes_those_after_it_no_less_valid(entries: list[AliasMove]) -> None:
    counting = [move.number for move in read_moves(entries).moves if move.standing == "done"]
    for number in counting[:-1]:
        left = read_moves([entry for entry in entries if entry.number != number])
        later = [move.number for move in left.moves if move.standing == "done" and move.number > number]
        assert later[-1] == counting[-1]


def test_an_empty_log_has_no_champion() -> None:
    assert read_moves(()) == MoveLog()
    assert MoveLog().noticing("") == MoveLog()
