"""What is registered: the model's folder, its digests and tags, and the alias of the version recorded last."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pytest
from mlflow import MlflowClient

from hokusai.digests import file_sha256, folder_manifest, sha256
from hokusai.errors import TrackingServerError
from hokusai.records import MODEL_MANIFEST_FILE, MODEL_MANIFEST_TAG, MODEL_SHA256_TAG
from hokusai.testing.faults import DropAnswer
from hokusai.tracking import naming
from hokusai.tracking.journal import JournalReader
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_names import to_mlflow_name
from hokusai.tracking.model_folder import write_model_folder
from hokusai.tracking.operations import LogArtifact, LogModel, RegisterModel, from_json, to_json
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipper import SHIPPING_FILE, ship

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlflow.entities.model_registry import ModelVersion

    from hokusai.records import ModelFile
    from hokusai.testing.faults import FaultyProxy
    from hokusai.testing.mlflow_server import MockMlflowServer
    from hokusai.testing.plugin import MlflowAddress
    from hokusai.tracking.journal import FileJournal
    from hokusai.tracking.shipper import ShippingState

NAME = """it's a "word" model"""
EXAMPLE = {"x": 1.5, "y": None}


@pytest.fixture
def record(open_journal: Callable[[str], FileJournal], model_file: ModelFile) -> Callable[..., Path]:
    """Record an evaluation that registers a model with an example, and return its journal's folder."""

    def make(uri: str, *, tags: Mapping[str, str] | None = None) -> Path:
        journal = open_journal(uri)
        tracker = Tracker(
            journal,
            evaluation=journal.folder.name,
            run_name="parent",
            closing_tags=lambda: {naming.CODE_COMMIT_TAG: "c" * 40, naming.CODE_DIRTY_TAG: "false", "other": "x"},
        )
        with tracker.start() as run:
            run.log_model(dataclasses.replace(model_file, example=EXAMPLE))
            run.register_model("candidate", registered_name=NAME, tags=tags or {})
        journal.close()
        return journal.folder

    return make


def only_version(client: MlflowClient, folder: Path) -> ModelVersion:
    (version,) = client.search_model_versions(f"tags.`{naming.MODEL_KEY_TAG}` = '{folder.name}:candidate'")
    return version


def candidate(client: MlflowClient) -> str:
    return str(client.get_registered_model(NAME).aliases[naming.CANDIDATE_ALIAS])


def test_the_folder_holds_an_example_and_a_list_of_its_files_whose_digests_are_tags(
    mlflow_store: MlflowAddress, record: Callable[..., Path], model_file: ModelFile, tmp_path: Path
) -> None:
    folder = record(mlflow_store.uri)
    ship(folder, MlflowStore(mlflow_store.uri))
    client = mlflow_store.client
    version = only_version(client, folder)
    (model,) = client.search_logged_models([client.get_run(str(version.run_id)).info.experiment_id])
    fetched = tmp_path / "fetched"
    mlflow.artifacts.download_artifacts(artifact_uri=model.artifact_location, dst_path=str(fetched))
    (place,) = fetched.rglob("MLmodel")
    found = place.parent
    manifest = (found / MODEL_MANIFEST_FILE).read_bytes()
    assert manifest == folder_manifest(found, excluded=(MODEL_MANIFEST_FILE,))
    assert isinstance(model_file.content, bytes)
    digests = {MODEL_SHA256_TAG: sha256(model_file.content), MODEL_MANIFEST_TAG: sha256(manifest)}
    assert digests.items() <= model.tags.items()
    assert digests.items() <= version.tags.items()
    assert digests[MODEL_SHA256_TAG] == file_sha256(found / model_file.file)
    loaded = mlflow.models.Model.load(found)
    example: Any = loaded.load_input_example(str(found))
    assert example.columns.tolist() == ["x", "y"]
    assert (example["x"].tolist(), example["y"].isna().tolist()) == ([1.5], [True])
    serving = json.loads(str(loaded.get_serving_input(str(found))))
    assert serving == {"dataframe_split": {"columns": ["x", "y"], "data": [[1.5, None]]}}
    assert mlflow.pyfunc.load_model(str(found)).predict(example.fillna(1.0)).shape == (1,)


def test_a_folder_is_the_same_whenever_it_is_written(model_file: ModelFile, tmp_path: Path) -> None:
    file = tmp_path / "staged"
    assert isinstance(model_file.content, bytes)
    file.write_bytes(model_file.content)
    model = LogModel(
        run="r",
        name="candidate",
        file=model_file.file,
        sha256=sha256(model_file.content),
        size=len(model_file.content),
        flavor=model_file.flavor,
        options=model_file.options,
        inputs=model_file.inputs,
        output=model_file.output,
        requirements=model_file.requirements,
        example=EXAMPLE,
    )
    digests = set()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        digest = write_model_folder(
            tmp_path / name, model, file=file, run_id="r" * 32, model_id=f"m-{'a' * 32}", logged_at=1_893_553_445_678
        )
        digests.add(digest)
    assert len(digests) == 1
    assert "utc_time_created: '2030-01-02 03:04:05.678000'" in (tmp_path / "first" / "MLmodel").read_text("utf-8")
    without = to_json(model)
    del without["example"]
    # As journals have it that were written before there were examples.
    assert from_json(without) == dataclasses.replace(model, example={})


@pytest.mark.parametrize("lost", ["logged-models/m-[0-9a-f]+/tags", "logged-models/m-[0-9a-f]+$", "versions/create"])
def test_a_shipper_whose_answer_was_lost_leaves_one_model_with_the_digest_of_its_files(
    faulty_mlflow: FaultyProxy, mlflow_server: MockMlflowServer, record: Callable[..., Path], lost: str, tmp_path: Path
) -> None:
    folder = record(faulty_mlflow.uri)
    faulty_mlflow.faults = [DropAnswer(route=f"(POST|PATCH) .*{lost}", times=1)]
    ship_until_done(folder, faulty_mlflow.uri)
    assert any(event.fault for event in faulty_mlflow.events)
    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    version = only_version(client, folder)
    (model,) = client.search_logged_models([client.get_run(str(version.run_id)).info.experiment_id])
    fetched = mlflow.artifacts.download_artifacts(
        f"{model.artifact_location}/{MODEL_MANIFEST_FILE}", dst_path=str(tmp_path), tracking_uri=mlflow_server.uri
    )
    digest = file_sha256(Path(fetched))
    assert model.tags[MODEL_MANIFEST_TAG] == version.tags[MODEL_MANIFEST_TAG] == digest
    assert candidate(client) == str(version.version)


def ship_until_done(folder: Path, uri: str) -> None:
    for _ in range(5):
        try:
            if ship(folder, MlflowStore(uri)).complete:
                return
        except TrackingServerError:
            continue
    raise AssertionError("the journal was not shipped in five attempts")


def test_the_tags_are_redacted_shortened_renamed_and_told_the_version_of_the_code(
    mlflow_store: MlflowAddress, record: Callable[..., Path]
) -> None:
    odd = naming.dataset_tag("contribution", "räksmörgås (1) 100%\t<b>")
    given = {
        odd: "d" * 64,
        naming.CONTRIBUTORS_TAG: json.dumps(["x" * 30_000]),
        "url": "https://me:hunter2!@host/",
        "surrogate": "caf\udce9",
        **{naming.dataset_tag("contribution", f"number {number}"): "e" * 64 for number in range(500)},
    }
    folder = record(mlflow_store.uri, tags=given)
    ship(folder, MlflowStore(mlflow_store.uri))
    tags = only_version(mlflow_store.client, folder).tags
    assert tags[to_mlflow_name(odd)] == "d" * 64
    assert sum(value == "e" * 64 for value in tags.values()) == 500
    assert tags["url"] == "https://me:[redacted]@host/"
    assert tags["surrogate"] == r"caf\udce9"
    whole = json.dumps(["x" * 30_000]).encode()
    assert tags[naming.CONTRIBUTORS_TAG] == f"sha256:{sha256(whole)}"
    assert (tags[naming.CODE_COMMIT_TAG], tags[naming.CODE_DIRTY_TAG], "other" in tags) == ("c" * 40, "false", False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", tags[naming.RECORDED_AT_TAG])
    staged = [entry.operation for entry in JournalReader(folder) if isinstance(entry.operation, LogArtifact)]
    assert [file.sha256 for file in staged if file.path.startswith("long_values/")] == [sha256(whole)]


@pytest.mark.parametrize("place", ["SQLite", "HTTP"])
def test_the_candidate_is_the_version_that_was_recorded_last_in_whatever_order_versions_are_shipped(
    place: str, request: pytest.FixtureRequest, record: Callable[..., Path]
) -> None:
    uri = request.getfixturevalue("mlflow_store" if place == "SQLite" else "mlflow_server").uri
    client, store = MlflowClient(uri, uri), MlflowStore(uri)
    oldest, middle, newest = (record(uri) for _ in range(3))
    ship(middle, store)
    assert candidate(client) == "1"
    ship(newest, store)
    assert candidate(client) == "2"
    ship(oldest, store)
    assert [str(only_version(client, folder).version) for folder in (oldest, middle, newest)] == ["3", "1", "2"]
    assert candidate(client) == "2"
    for folder in (oldest, middle, newest):
        (folder / SHIPPING_FILE).unlink()
        ship(folder, store)
    assert candidate(client) == "2"
    assert len(client.search_model_versions("")) == 3


def test_a_shipper_that_was_held_up_does_not_move_the_candidate_back(
    mlflow_store: MlflowAddress, record: Callable[..., Path]
) -> None:
    uri = mlflow_store.uri
    older, newer = record(uri), record(uri)
    store = MlflowStore(uri)
    move = store._client.set_registered_model_alias
    shipped: list[ShippingState] = []

    def held_up(name: str, alias: str, version: str) -> None:
        if not shipped:
            shipped.append(ship(newer, MlflowStore(uri)))
        move(name, alias, version)

    store._client.set_registered_model_alias = held_up  # type: ignore[method-assign]
    ship(older, store)
    assert shipped[0].complete
    client = mlflow_store.client
    assert (str(only_version(client, older).version), str(only_version(client, newer).version)) == ("1", "2")
    assert candidate(client) == "2"


def test_a_version_recorded_before_there_were_times_is_older_than_any(
    mlflow_store: MlflowAddress, record: Callable[..., Path]
) -> None:
    uri, client = mlflow_store.uri, mlflow_store.client
    first, second = record(uri), record(uri)
    ship(first, MlflowStore(uri))
    ship(second, MlflowStore(uri))
    client.delete_model_version_tag(NAME, "2", naming.RECORDED_AT_TAG)
    (second / SHIPPING_FILE).unlink()
    ship(second, MlflowStore(uri))
    assert candidate(client) == "1"


def test_the_journal_has_the_example(record: Callable[..., Path]) -> None:
    operations = [entry.operation for entry in JournalReader(record("sqlite:///nowhere.db"))]
    (model,) = (operation for operation in operations if isinstance(operation, LogModel))
    assert model.example == EXAMPLE
    assert sum(isinstance(operation, RegisterModel) for operation in operations) == 1
