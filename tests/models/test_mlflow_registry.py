"""The registry as MLflow holds it: addresses, names, tags, and a server that does not answer."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from hokusai.errors import ModelError, ModelNotFoundError
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.models.stored_files import require_inside
from hokusai.records import MODEL_SHA256_TAG
from hokusai.tracking.benchmark_ledger import ledger_name
from hokusai.tracking.mlflow_ledger import BenchmarkLedger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    from hokusai.testing.faults import FaultyProxy
    from hokusai.testing.mlflow_server import MockMlflowServer
    from hokusai.testing.plugin import MlflowAddress

    RegisterModel: TypeAlias = Callable[..., Any]

LIMITS = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")


def test_a_version_is_found_by_number_alias_logged_model_run_and_digest(
    mlflow_store: MlflowAddress, register_model: RegisterModel
) -> None:
    client = mlflow_store.client
    made = register_model(client, content=b"first")
    register_model(client, content=b"second")
    client.set_registered_model_alias("iris", "champion", made.version)
    registry = ModelRegistry(mlflow_store.uri)
    by_number = registry.find("models:/iris/1")
    assert (by_number.name, by_number.version, by_number.aliases) == ("iris", "1", ("champion",))
    assert (by_number.run_id, by_number.model_id) == (made.run_id, made.source.removeprefix("models:/"))
    assert by_number.location.endswith(f"{by_number.model_id}/artifacts")
    digest = by_number.tags[MODEL_SHA256_TAG]
    for address in ("models:/iris@champion", "iris@champion", "iris/1", f"sha256:{digest}", f"sha256:{digest[:8]}"):
        assert registry.find(address) == by_number
    logged = registry.find(by_number.model_id)
    assert (logged.address, logged.name, logged.location) == (made.source, "", by_number.location)
    for address in (made.source, f"runs:/{made.run_id}/candidate"):
        assert registry.find(address) == logged


def test_a_file_within_a_logged_model_and_an_artifact_of_a_run_have_addresses_of_their_own(
    mlflow_store: MlflowAddress, register_model: RegisterModel, tmp_path: Path
) -> None:
    client = mlflow_store.client
    made = register_model(client)
    client.log_text(made.run_id, "0.2", "reports/delta.txt")
    registry = ModelRegistry(mlflow_store.uri)
    inner = registry.find(f"runs:/{made.run_id}/candidate/model.bin")
    artifact = registry.find(f"runs:/{made.run_id}/reports/delta.txt")
    assert (inner.run_id, artifact.run_id) == (made.run_id, made.run_id)
    assert registry.download(inner, tmp_path / "one").read_bytes() == b"weights"
    assert registry.download(artifact, tmp_path / "two") == tmp_path / "two" / "delta.txt"
    folder = registry.download(registry.find(f"runs:/{made.run_id}/reports"), tmp_path / "three")
    assert (folder / "delta.txt").read_text() == "0.2"


def test_what_is_not_there_is_said_with_what_comes_near(
    mlflow_store: MlflowAddress, register_model: RegisterModel
) -> None:
    made = register_model(mlflow_store.client)
    mlflow_store.client.set_registered_model_alias("iris", "champion", made.version)
    registry = ModelRegistry(mlflow_store.uri)
    for address, close in {
        "models:/iris/7": ("iris@champion", "iris/1"),
        "iris@nobody": ("iris@champion", "iris/1"),
        "models:/iris": ("iris@champion", "iris/1"),
        "models:/iiris/1": ("iris",),
        "sha256:" + "0" * 64: (),
        "m-" + "0" * 32: (),
        "runs:/" + "0" * 32 + "/model": (),
        "runs:/": (),
        "something else": (),
    }.items():
        with pytest.raises(ModelNotFoundError) as missing:
            registry.find(address)
        assert (address, missing.value.model, missing.value.close) == (address, address, close)
        assert (f"Did you mean {', '.join(close)}?" in str(missing.value)) == bool(close)


def test_first_characters_of_a_digest_that_several_models_share_are_refused_with_their_addresses(
    mlflow_store: MlflowAddress, register_model: RegisterModel
) -> None:
    client = mlflow_store.client
    for content, digest in ((b"one", "abcdef01" + "2" * 56), (b"two", "abcdef01" + "3" * 56)):
        register_model(client, content=content, tags={MODEL_SHA256_TAG: digest})
    registry = ModelRegistry(mlflow_store.uri)
    with pytest.raises(ModelError, match=r"names 2 models.*models:/iris/2; models:/iris/1"):
        registry.find("sha256:abcdef01")
    assert registry.find("sha256:abcdef013").version == "2"


def test_versions_have_their_aliases_and_stand_in_the_order_of_their_numbers(
    mlflow_server: MockMlflowServer, register_model: RegisterModel
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    registry = ModelRegistry(mlflow_server.uri)
    assert (registry.names(), registry.versions()) == ((), ())
    made = register_model(client)
    for _ in range(10):
        client.create_model_version("iris", made.source, made.run_id, model_id=made.source.removeprefix("models:/"))
    client.create_registered_model("empty")
    client.set_registered_model_alias("iris", "previous", "2")
    client.set_registered_model_alias("iris", "baseline", "2")
    versions = registry.versions("iris")
    assert [version.version for version in versions] == [str(number) for number in range(1, 12)]
    assert [version.aliases for version in versions[:3]] == [(), ("baseline", "previous"), ()]
    assert registry.versions("empty") == ()
    assert registry.names() == ("empty", "iris")
    with pytest.raises(ModelNotFoundError):
        registry.versions("nobody")


def test_a_name_with_both_quotation_marks_is_found_and_has_its_versions_and_aliases(
    mlflow_store: MlflowAddress, register_model: RegisterModel
) -> None:
    client, name = mlflow_store.client, """it's a "word" model"""
    client.create_registered_model(name)
    made = register_model(client, 'it_s a "word" model')
    for _ in range(2):
        client.create_model_version(name, made.source, made.run_id, {"note": f"of {name}"})
    client.set_registered_model_alias(name, "champion", "2")
    registry = ModelRegistry(mlflow_store.uri)
    assert registry.find(f"models:/{name}@champion").version == "2"
    assert [version.aliases for version in registry.versions(name)] == [(), ("champion",)]
    assert [version.name for version in registry.versions() if version.aliases] == [name]
    for asked, is_prefix in ((f"of {name}", False), ("of it's a \"w", True)):
        assert {version.name for version in registry.by_tag("note", asked, is_prefix=is_prefix)} == {name}
    assert registry.by_tag("note", 'of it_s a "word" model') == ()


def test_the_log_of_moved_aliases_is_no_model_and_a_model_may_be_called_like_one(
    mlflow_store: MlflowAddress, register_model: RegisterModel
) -> None:
    client = mlflow_store.client
    register_model(client, "chess.moves")
    made = register_model(client)
    client.create_registered_model("iris.moves", {"hokusai.moves_of": "iris"})
    client.create_model_version("iris.moves", made.source)
    registry = ModelRegistry(mlflow_store.uri)
    assert registry.names() == ("chess.moves", "iris")
    assert {version.name for version in registry.versions()} == {"chess.moves", "iris"}
    assert [version.version for version in registry.versions("iris.moves")] == ["1"]


def test_the_ledger_of_a_benchmark_is_no_model(mlflow_store: MlflowAddress, register_model: RegisterModel) -> None:
    register_model(mlflow_store.client)
    digest = "ab" * 32
    ledger = BenchmarkLedger(mlflow_store.uri)
    ledger.split(digest, commitment="c0" * 32, decisions=3, feedback_rows=2, decision_rows=2)
    registry = ModelRegistry(mlflow_store.uri)
    assert registry.names() == ("iris",)
    assert {version.name for version in registry.versions()} == {"iris"}
    with pytest.raises(ModelNotFoundError) as caught:
        registry.find(f"models:/{ledger_name(digest)[:-1]}/1")
    assert tuple(caught.value.close) == ()


def test_a_registry_larger_than_a_page_is_read_whole(
    mlflow_store: MlflowAddress, register_model: RegisterModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hokusai.models.mlflow_registry._PER_PAGE", 2)
    monkeypatch.setattr("hokusai.models.mlflow_registry._MODELS_PER_PAGE", 2)
    client = mlflow_store.client
    for number in range(5):
        register_model(client, f"model-{number}", tags={"team": "a"})
    registry = ModelRegistry(mlflow_store.uri)
    assert len(registry.names()) == len(registry.versions()) == len(registry.by_tag("team", "a")) == 5


def test_a_tag_finds_versions_and_logged_models_that_nobody_registered(
    mlflow_store: MlflowAddress, register_model: RegisterModel
) -> None:
    client = mlflow_store.client
    made = register_model(client, tags={"note": "it's new"})
    experiment = client.get_experiment_by_name("models")
    assert experiment is not None
    logged = client.create_logged_model(experiment.experiment_id, tags={MODEL_SHA256_TAG: "e" * 64})
    registry = ModelRegistry(mlflow_store.uri)
    assert [version.address for version in registry.by_tag("note", "it's new")] == ["models:/iris/1"]
    assert registry.by_tag("note", "it's") == ()
    assert [each.address for each in registry.by_tag("note", "it", is_prefix=True)] == ["models:/iris/1"]
    assert [each.address for each in registry.by_tag(MODEL_SHA256_TAG, "e" * 64)] == [f"models:/{logged.model_id}"]
    digest = registry.find("iris/1").tags[MODEL_SHA256_TAG]
    assert [each.address for each in registry.by_tag(MODEL_SHA256_TAG, digest)] == [f"models:/{made.name}/1"]


def test_a_version_that_was_registered_without_digests_has_those_of_its_logged_model(
    mlflow_store: MlflowAddress, register_model: RegisterModel
) -> None:
    client = mlflow_store.client
    made = register_model(client)
    client.create_model_version("iris", made.source, made.run_id, {"by": "hand"})
    registry = ModelRegistry(mlflow_store.uri)
    assert registry.find("iris/2").tags == {**registry.find("iris/1").tags, "by": "hand"}


def test_a_server_that_is_silent_is_given_up_and_the_environment_is_as_before(
    faulty_mlflow: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hokusai.testing.faults import Hang

    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)
    faulty_mlflow.faults = (Hang(),)
    with pytest.raises(ModelError, match="does not answer"):
        ModelRegistry(faulty_mlflow.uri, request_seconds=1).names()
    # More than one attempt and its repetition would take MLflow's own minutes.
    assert len(faulty_mlflow.events) <= 2
    assert not set(LIMITS) & set(os.environ)


def test_limits_of_time_that_somebody_has_set_are_kept(
    faulty_mlflow: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hokusai.testing.faults import Status

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    faulty_mlflow.faults = (Status(503),)
    with pytest.raises(ModelError):
        ModelRegistry(faulty_mlflow.uri).names()
    assert len(faulty_mlflow.events) == 4
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "3"


def test_an_address_where_nobody_listens_is_an_error_without_the_password_in_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ModelError, match="cannot be had from") as failed:
        ModelRegistry(f"http://me:secret@127.0.0.1:{port}").find("iris/1")
    assert "secret" not in str(failed.value)


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no tracking store"):
        ModelRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}").find("iris/1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", "..", "C:/x", "a\\..\\x", "a\0b"])
def test_a_name_that_would_leave_the_folder_is_refused(path: str) -> None:
    with pytest.raises(ModelError, match="not inside the model's folder"):
        require_inside(path, address="models:/iris/1")


@pytest.mark.parametrize("path", ["MLmodel", "data/model.bin", "a..b", "ü.bin"])
def test_an_ordinary_name_is_taken(path: str) -> None:
    require_inside(path, address="models:/iris/1")
