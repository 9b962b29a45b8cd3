"""From the journal to MLflow: everything arrives, nothing arrives twice, wherever it was interrupted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.pipeline import Pipeline

from hokusai.digests import canonical_json, sha256
from hokusai.errors import JournalError, TrackingServerError
from hokusai.tracking.artifacts import MANIFEST_FILE
from hokusai.tracking.journal import JOURNAL_FILE, FileJournal, JournalReader
from hokusai.tracking.metric_names import is_measurement, metric_name
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.naming import EVALUATION_TAG, PARAMETERS_DIGEST_TAG, RUN_KEY_TAG, STEPS
from hokusai.tracking.operations import (
    EndRun,
    LogArtifact,
    LogMetrics,
    LogParameters,
    OpenJournal,
    RegisterModel,
    SetTags,
    StartRun,
)
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipper import SHIPPING_FILE, JournalShipper, read_destination, read_shipping_state, ship

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow.entities import DatasetInput, Run

    from hokusai.digests import JsonValue

QUESTIONS = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 0.5, 2.5, 2.0]})
PARAMETERS: dict[str, JsonValue] = {
    "delta.metric": "accuracy",
    "delta.minimum_gain": 0.1,
    "delta.confidence": 0.95,
    "delta.guards": {},
    "delta.minimum_positives": 50,
    "delta.minimum_discordant_rows": 25,
    "delta.rule_sha256": "01" * 32,
}


@pytest.fixture(scope="module")
def sqlite_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One SQLite store for the tests of this file; each has evaluations of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture(params=["sqlite", "server"])
def uri(request: pytest.FixtureRequest) -> str:
    """A SQLite store, and a real server."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_uri"))
    return str(request.getfixturevalue("mlflow_server_process").uri)


def runs_of(client: MlflowClient, folder: Path) -> dict[str, Run]:
    """Return the runs of a journal as MLflow holds them, by name; a name that is there twice fails."""
    experiment = client.get_experiment_by_name("tests-of-tracking")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`{EVALUATION_TAG}` = '{folder.name}'")
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found), "a run is there twice"
    return runs


def everything(client: MlflowClient, folder: Path, download: Path) -> dict[str, Any]:
    """Return all that MLflow holds of a journal, in a form that can be compared."""
    result: dict[str, Any] = {}
    for name, run in sorted(runs_of(client, folder).items()):
        info, run_id = run.info, run.info.run_id
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.user")}
        local = client.download_artifacts(run_id, "", str(_new_folder(download)))
        files = sorted(path for path in _walk(local))
        result[name] = {
            "info": (run_id, info.status, info.start_time, info.end_time),
            "parameters": run.data.params,
            "tags": tags,
            "metrics": {
                key: sorted((point.step, point.timestamp, repr(point.value)) for point in history)
                for key in run.data.metrics
                for history in [client.get_metric_history(run_id, key)]
            },
            "datasets": sorted(
                (item.dataset.name, item.dataset.digest, tuple(sorted((tag.key, tag.value) for tag in item.tags)))
                for item in _inputs(run)
            ),
            "models": sorted(output.model_id for output in run.outputs.model_outputs) if run.outputs else [],
            "artifacts": {path: sha256((Path(local) / path).read_bytes()) for path in files},
        }
    versions = client.search_model_versions(f'name = "it\'s {folder.name}"')
    result["versions"] = [(version.version, version.run_id, version.source) for version in versions]
    experiment = client.get_experiment_by_name("tests-of-tracking")
    assert experiment is not None
    models = client.search_logged_models([experiment.experiment_id])
    result["models"] = sorted(
        (model.model_id, str(model.status))
        for model in models
        if model.tags.get("hokusai.model_key", "").startswith(folder.name)
    )
    return result


def _inputs(run: Run) -> list[DatasetInput]:
    return list(run.inputs.dataset_inputs) if run.inputs else []


def _walk(folder: str) -> Iterator[str]:
    for path in Path(folder).rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix()


def _new_folder(parent: Path) -> Path:
    folder = parent / f"download-{len(list(parent.glob('download-*')))}"
    folder.mkdir()
    return folder


def test_an_evaluation_arrives_whole(uri: str, record_evaluation: Callable[..., Path]) -> None:
    folder = record_evaluation(uri)
    state = ship(folder, MlflowStore(uri))
    assert state.complete
    assert read_shipping_state(folder) == state

    entries = list(JournalReader(folder))
    starts = {item.operation.run: item for item in entries if isinstance(item.operation, StartRun)}
    ends = {item.operation.run: item for item in entries if isinstance(item.operation, EndRun)}
    client = MlflowClient(uri, uri)
    runs = runs_of(client, folder)
    parent = runs.pop(f"parent of {folder.name}")
    assert set(runs) == set(STEPS)
    for run in (parent, *runs.values()):
        key = run.data.tags[RUN_KEY_TAG]
        assert run.info.status == "FINISHED"
        assert (run.info.start_time, run.info.end_time) == (starts[key].time, ends[key].time)
        assert run.info.run_id == state.run_ids[key]
        wanted = parent.info.run_id if run is not parent else None
        assert run.data.tags.get("mlflow.parentRunId") == wanted
    assert parent.data.tags["hokusai.decision"] == "accept"
    for position, step in enumerate(STEPS[1:], start=1):
        own = {name: value for name, value in runs[step].data.metrics.items() if metric_name(name) is None}
        assert own == {"position": position}

    run = runs[STEPS[0]]
    run_id = run.info.run_id
    assert run.data.params == {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in PARAMETERS.items()
    }
    assert run.data.tags["note"] == "second"
    assert run.data.tags["file"] == "caf\\udce9.csv"
    history = [(point.step, point.value) for point in client.get_metric_history(run_id, "loss")]
    assert sorted(history) == [(step, 1.0 / (step + 1)) for step in range(5)]
    assert all(math.isnan(point.value) for point in client.get_metric_history(run_id, "undefined"))
    assert len(client.get_metric_history(run_id, "undefined")) == 5
    inputs = {item.dataset.name: {tag.key: tag.value for tag in item.tags} for item in _inputs(run)}
    for context in ("base", "contribution"):
        digest = (context.encode().hex() * 8)[:64]
        assert inputs[f"{context} table"] == {"mlflow.data.context": context, "hokusai.digest": digest}
    assert run.data.tags["hokusai.dataset.base"] == (b"base".hex() * 8)[:64]


def test_artifacts_arrive_byte_for_byte(uri: str, record_evaluation: Callable[..., Path], tmp_path: Path) -> None:
    folder = record_evaluation(uri, steps=STEPS[:1])
    state = ship(folder, MlflowStore(uri))
    run_id = state.run_ids[f"{folder.name}:{STEPS[0]}"]
    client = MlflowClient(uri, uri)
    for path, content in {
        "empty.txt": b"",
        "deep/er/bytes.bin": bytes(range(256)),
        "odd name +é.txt": b"odd",
        "parameters.json": canonical_json(PARAMETERS),
    }.items():
        assert Path(client.download_artifacts(run_id, path, str(_new_folder(tmp_path)))).read_bytes() == content
    assert client.get_run(run_id).data.tags[PARAMETERS_DIGEST_TAG] == sha256(canonical_json(PARAMETERS))


def test_the_model_is_registered_and_mlflow_can_load_it(
    uri: str, record_evaluation: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = record_evaluation(uri, steps=STEPS[:1])
    state = ship(folder, MlflowStore(uri))
    name = f"it's {folder.name}"
    client = MlflowClient(uri, uri)
    [version] = client.search_model_versions(f'name = "{name}"')
    run_id = state.run_ids[f"{folder.name}:{STEPS[0]}"]
    assert (version.run_id, version.source) == (run_id, f"models:/{state.model_ids['candidate']}")
    assert version.tags["kind"] == "test"
    assert client.get_run(run_id).data.tags["hokusai.model_version"] == f"{name}/{version.version}"

    # To find a model by its id MLflow asks the store of the process, whatever address it is given.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for address in (f"models:/{name}/{version.version}", f"models:/{state.model_ids['candidate']}"):
        loaded = mlflow.sklearn.load_model(address)
        answers = mlflow.pyfunc.load_model(address).predict(QUESTIONS)
        assert isinstance(loaded, Pipeline)
        assert np.array_equal(answers, [0, 0, 1, 1])
        assert np.array_equal(loaded.predict(QUESTIONS), [0, 0, 1, 1])


def test_a_second_replay_changes_nothing(uri: str, record_evaluation: Callable[..., Path], tmp_path: Path) -> None:
    folder = record_evaluation(uri)
    store = MlflowStore(uri)
    ship(folder, store)
    client = MlflowClient(uri, uri)
    first = everything(client, folder, tmp_path)
    assert len(first) == 8
    assert len(first["models"]) == len(first["versions"]) == 1
    for again in (False, True, True):
        if not again:
            (folder / SHIPPING_FILE).unlink()
        state = ship(folder, store, again=again)
        assert state.complete
        assert everything(client, folder, tmp_path) == first


def test_a_journal_that_has_lost_its_end_is_not_sent_again(
    sqlite_uri: str, record_evaluation: Callable[..., Path], tmp_path: Path
) -> None:
    folder = record_evaluation(sqlite_uri, steps=())
    store = MlflowStore(sqlite_uri)
    shipped = ship(folder, store)
    client = MlflowClient(sqlite_uri, sqlite_uri)
    first = everything(client, folder, tmp_path)
    lines = (folder / JOURNAL_FILE).read_bytes().splitlines(keepends=True)
    (folder / JOURNAL_FILE).write_bytes(b"".join(lines[:-2]))
    with pytest.raises(JournalError, match=f"it ends with line {len(lines) - 2}, but shipping.json says that"):
        ship(folder, store, again=True)
    assert read_shipping_state(folder) == shipped
    assert everything(client, folder, tmp_path) == first


class InterruptedStore:
    """A store whose n-th call fails: the request is lost before it, or the answer after it.

    No real server can be told to die at exactly the n-th request, between its work and its answer; this stands
    between the shipper and a real store, and does nothing else.
    """

    def __init__(self, store: MlflowStore, *, fails_at: int, after: bool) -> None:
        """Let ``fails_at - 1`` calls pass."""
        self.uri = store.uri
        self.calls = 0
        self._store, self._fails_at, self._after = store, fails_at, after

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            is_failing = self.calls == self._fails_at
            if is_failing and not self._after:
                raise TrackingServerError(self.uri, "the request was lost.", is_outage=True)
            answer = getattr(self._store, name)(*arguments, **keywords)
            if is_failing:
                raise TrackingServerError(self.uri, "the answer was lost.", is_outage=True)
            return answer

        return call


@pytest.mark.parametrize(
    ("after", "forget"),
    [
        pytest.param(False, False, id="request lost, the same shipper goes on"),
        pytest.param(False, True, id="request lost, another shipper takes over", marks=pytest.mark.slow),
        pytest.param(True, False, id="answer lost, the same shipper goes on", marks=pytest.mark.slow),
        pytest.param(True, True, id="answer lost, another shipper takes over"),
    ],
)
def test_an_interruption_at_any_call_loses_nothing_and_doubles_nothing(
    sqlite_uri: str, record_evaluation: Callable[..., Path], tmp_path: Path, *, after: bool, forget: bool
) -> None:
    store = MlflowStore(sqlite_uri)
    client = MlflowClient(sqlite_uri, sqlite_uri)
    reference = record_evaluation(sqlite_uri, steps=STEPS[:1])
    counter = InterruptedStore(store, fails_at=0, after=False)
    ship(reference, counter)  # type: ignore[arg-type]
    wanted = _shape(everything(client, reference, tmp_path), reference)
    assert counter.calls > 12

    for position in range(1, counter.calls + 1):
        folder = record_evaluation(sqlite_uri, steps=STEPS[:1])
        interrupted: Any = InterruptedStore(store, fails_at=position, after=after)
        shipper = JournalShipper(folder, interrupted)
        with pytest.raises(TrackingServerError):
            shipper.advance()
        if forget:
            ship(folder, store)
        else:
            assert shipper.advance()
            assert shipper.state.complete
        assert _shape(everything(client, folder, tmp_path), folder) == wanted, f"interrupted at call {position}"


def _shape(found: dict[str, Any], folder: Path) -> Any:
    """Return what was found without what differs between two evaluations: ids, keys and times."""
    shape: dict[str, Any] = {"versions": len(found.pop("versions")), "models": len(found.pop("models"))}
    for name, run in found.items():
        shape[name.replace(folder.name, "KEY")] = {
            "status": run["info"][1],
            "parameters": run["parameters"],
            "tags": sorted(run["tags"]),
            "metrics": {
                key: [(step, value) for step, _, value in sorted(points)]
                for key, points in run["metrics"].items()
                if not is_measurement(key)
            },
            "datasets": run["datasets"],
            "models": len(run["models"]),
            "artifacts": {path: digest for path, digest in run["artifacts"].items() if path != MANIFEST_FILE},
        }
    return shape


def test_a_run_that_a_server_made_twice_is_kept_once(sqlite_uri: str, record_evaluation: Callable[..., Path]) -> None:
    folder = record_evaluation(sqlite_uri, steps=STEPS[:1])
    client = MlflowClient(sqlite_uri, sqlite_uri)
    experiment_id = MlflowStore(sqlite_uri).ensure_experiment("tests-of-tracking", tags={})
    tags = {EVALUATION_TAG: folder.name, RUN_KEY_TAG: folder.name}
    for _ in range(3):
        client.create_run(experiment_id, start_time=1, tags=tags, run_name=f"parent of {folder.name}")
    ship(folder, MlflowStore(sqlite_uri))
    runs = runs_of(client, folder)
    assert set(runs) == {f"parent of {folder.name}", STEPS[0]}
    parent = runs[f"parent of {folder.name}"]
    assert runs[STEPS[0]].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.status == "FINISHED"


def test_a_journal_goes_to_another_store_from_its_start(
    sqlite_uri: str, store_uri: str, record_evaluation: Callable[..., Path]
) -> None:
    folder = record_evaluation(sqlite_uri, steps=STEPS[:1])
    ship(folder, MlflowStore(sqlite_uri))
    state = ship(folder, MlflowStore(store_uri))
    assert state.store == store_uri
    assert set(runs_of(MlflowClient(store_uri, store_uri), folder)) == {f"parent of {folder.name}", STEPS[0]}


def test_a_growing_journal_is_shipped_pass_by_pass(sqlite_uri: str, open_journal: Callable[[str], FileJournal]) -> None:
    journal = open_journal(sqlite_uri)
    shipper = JournalShipper(journal.folder, MlflowStore(sqlite_uri))
    client = MlflowClient(sqlite_uri, sqlite_uri)
    with Tracker(journal, evaluation=journal.folder.name, run_name="growing").start() as run:
        run.log_metrics({"m": 1.0})
        assert shipper.advance()
        seen = runs_of(client, journal.folder)["growing"]
        assert (seen.info.status, seen.data.metrics) == ("RUNNING", {"m": 1.0})
        assert not shipper.advance()
        run.log_metrics({"m": 2.0}, step=1)
    journal.close()
    assert not shipper.state.complete
    assert shipper.advance()
    assert shipper.state.complete
    seen = runs_of(client, journal.folder)["growing"]
    assert (seen.info.status, seen.data.metrics["m"]) == ("FINISHED", 2.0)


def test_more_facts_than_one_request_takes_arrive_all(
    sqlite_uri: str, open_journal: Callable[[str], FileJournal]
) -> None:
    journal = open_journal(sqlite_uri)
    journal.append(StartRun(run="r", name="many", tags={EVALUATION_TAG: journal.folder.name, RUN_KEY_TAG: "r"}))
    for step in range(1050):
        journal.append(LogMetrics(run="r", metrics={"a": float(step), "b": -float(step)}, step=step))
    journal.append(LogParameters(run="r", parameters={f"p{number}": str(number) for number in range(250)}))
    journal.append(LogParameters(run="r", parameters={"long": "é" * 10_000}))
    journal.append(SetTags(run="r", tags={f"t{number}": str(number) for number in range(250)}))
    journal.close()
    for _ in range(2):
        ship(journal.folder, MlflowStore(sqlite_uri))
        (journal.folder / SHIPPING_FILE).unlink()
    client = MlflowClient(sqlite_uri, sqlite_uri)
    run = runs_of(client, journal.folder)["many"]
    for name, sign in (("a", 1.0), ("b", -1.0)):
        history = client.get_metric_history(run.info.run_id, name)
        assert sorted(point.step for point in history) == list(range(1050))
        assert all(point.value == sign * point.step for point in history)
    assert {f"p{number}": str(number) for number in range(250)}.items() <= run.data.params.items()
    assert run.data.params["long"].startswith("é" * 5000)
    assert {f"t{number}": str(number) for number in range(250)}.items() <= run.data.tags.items()


def test_a_dead_evaluation_is_shipped_as_killed(sqlite_uri: str, open_journal: Callable[[str], FileJournal]) -> None:
    journal = open_journal(sqlite_uri)
    tags = {EVALUATION_TAG: journal.folder.name, RUN_KEY_TAG: "r"}
    journal.append(StartRun(run="r", name="dead", tags=tags))
    journal.append(LogMetrics(run="r", metrics={"m": 1.0}))
    journal.abandon()
    last = list(JournalReader(journal.folder))[-1].time
    ship(journal.folder, MlflowStore(sqlite_uri))
    seen = runs_of(MlflowClient(sqlite_uri, sqlite_uri), journal.folder)["dead"]
    assert (seen.info.status, seen.info.end_time, seen.data.metrics) == ("KILLED", last, {"m": 1.0})


def test_a_journal_that_is_being_written_is_left_alone(
    store_uri: str, open_journal: Callable[[str], FileJournal]
) -> None:
    journal = open_journal(store_uri)
    with pytest.raises(JournalError, match="still running"):
        ship(journal.folder, MlflowStore(store_uri))
    assert read_shipping_state(journal.folder) is None
    journal.abandon()


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([LogMetrics(run="r", metrics={"m": 1.0})], "not its start"),
        ([StartRun(run="r", name="r"), RegisterModel(run="r", model="m", registered_name="n", tags={})], "'m'"),
        ([StartRun(run="r", name="r"), LogArtifact(run="r", path="a", sha256="0" * 64, size=1)], "staged file"),
    ],
)
def test_a_journal_that_lacks_something_is_refused_in_a_sentence(
    sqlite_uri: str, open_journal: Callable[[str], FileJournal], operations: list[Any], message: str
) -> None:
    journal = open_journal(sqlite_uri)
    for operation in operations:
        journal.append(operation)
    journal.abandon()
    with pytest.raises(JournalError, match=message):
        ship(journal.folder, MlflowStore(sqlite_uri))


def test_a_journal_without_header_is_refused_in_a_sentence(sqlite_uri: str, tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "headless")
    journal.append(StartRun(run="r", name="r"))
    journal.abandon()
    with pytest.raises(JournalError, match="header"):
        ship(journal.folder, MlflowStore(sqlite_uri))
    with pytest.raises(JournalError, match="header"):
        read_destination(journal.folder)


def test_the_header_says_where_a_journal_goes(open_journal: Callable[[str], FileJournal]) -> None:
    journal = open_journal("http://127.0.0.1:9")
    journal.abandon()
    header = read_destination(journal.folder)
    assert isinstance(header, OpenJournal)
    assert (header.tracking_uri, header.experiment) == ("http://127.0.0.1:9", "tests-of-tracking")


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"nonsense": 1}', b"\xff"])
def test_a_note_that_cannot_be_read_costs_only_time(
    sqlite_uri: str, record_evaluation: Callable[..., Path], note: bytes
) -> None:
    folder = record_evaluation(sqlite_uri, steps=())
    (folder / SHIPPING_FILE).write_bytes(note)
    assert read_shipping_state(folder) is None
    assert ship(folder, MlflowStore(sqlite_uri)).complete
    assert list(runs_of(MlflowClient(sqlite_uri, sqlite_uri), folder)) == [f"parent of {folder.name}"]
