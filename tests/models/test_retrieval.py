"""Models fetched from MLflow: whole or not at all, checked, resumed, cached; compared and traced."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from hokusai.digests import folder_manifest, sha256
from hokusai.errors import ModelDigestError, ModelError
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.models.model_cache import ModelCache, default_cache_folder
from hokusai.models.model_checks import check_model
from hokusai.models.model_details import compare_models, describe_model
from hokusai.models.model_digests import check_digests, check_recorded_digests, digests_of
from hokusai.models.model_files import load_skops
from hokusai.models.model_lineage import models_of_dataset, trace_model
from hokusai.models.retrieval import checked_model, pull_model
from hokusai.records import MODEL_MANIFEST_FILE, MODEL_MANIFEST_TAG, MODEL_SHA256_TAG
from hokusai.testing.faults import Hang, TruncateAnswer

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from hokusai.testing.example_runs import ExampleRuns
    from hokusai.testing.faults import FaultyProxy
    from hokusai.testing.mlflow_server import MockMlflowServer
    from hokusai.testing.plugin import MlflowAddress

    RegisterModel: TypeAlias = Callable[..., Any]

FILES = {"MLmodel", "model.bin", "requirements.txt", MODEL_MANIFEST_FILE}
PULL = """
import sys
from pathlib import Path
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.models.model_cache import ModelCache
from hokusai.models.retrieval import checked_model, pull_model
pull_model("iris/1", sys.argv[2], registry=ModelRegistry(sys.argv[1]), cache=ModelCache(Path(sys.argv[3])))
"""


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "cache")


def names_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def stored_folder(registry: ModelRegistry, address: str) -> Path:
    """Return where a store without a server keeps a model's files."""
    return Path(urlsplit(registry.find(address).location).path)


def fetched_files(proxy: FaultyProxy) -> list[str]:
    """Return the names of the files that were asked for, sorted."""
    paths = [event.path for event in proxy.events if "/mlflow-artifacts/artifacts/" in event.path]
    return sorted(path.rpartition("/")[2] for path in paths)


# --- pull -------------------------------------------------------------------------------------------------------------


def test_a_model_is_pulled_whole_checked_and_from_the_cache_the_next_time(
    faulty_mlflow: FaultyProxy,
    mlflow_server: MockMlflowServer,
    register_model: RegisterModel,
    cache: ModelCache,
    tmp_path: Path,
) -> None:
    from mlflow import MlflowClient

    register_model(MlflowClient(mlflow_server.uri, mlflow_server.uri))
    registry = ModelRegistry(faulty_mlflow.uri)
    with checked_model("iris/1", registry=ModelRegistry(mlflow_server.uri)) as folder:
        assert names_in(folder) == FILES
    assert not folder.exists()
    first = pull_model("iris/1", tmp_path / "first", registry=registry, cache=cache)
    assert names_in(first.folder) == FILES
    assert (first.recorded, first.is_new, first.fetched) == ("every file", True, first.size)
    assert fetched_files(faulty_mlflow) == sorted(FILES)
    second = pull_model("iris/1", tmp_path / "second", registry=registry, cache=cache)
    assert folder_manifest(second.folder) == folder_manifest(first.folder)
    assert (second.fetched, fetched_files(faulty_mlflow)) == (0, sorted(FILES))
    again = pull_model("iris/1", tmp_path / "second", registry=registry, cache=cache)
    assert (again.is_new, again.folder) == (False, second.folder)
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


def test_an_edited_copy_harms_neither_the_cache_nor_another_copy_and_is_not_overwritten(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    register_model(mlflow_store.client)
    registry = ModelRegistry(mlflow_store.uri)
    first = pull_model("iris/1", tmp_path / "first", registry=registry, cache=cache).folder
    (first / "model.bin").write_bytes(b"edited")
    second = pull_model("iris/1", tmp_path / "second", registry=registry, cache=cache)
    assert ((second.folder / "model.bin").read_bytes(), second.fetched) == (b"weights", 0)
    with pytest.raises(ModelError, match="something else"):
        pull_model("iris/1", first, registry=registry, cache=cache)
    assert (first / "model.bin").read_bytes() == b"edited"


def test_a_damaged_cache_is_noticed_and_the_file_fetched_anew(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    register_model(mlflow_store.client)
    registry = ModelRegistry(mlflow_store.uri)
    pull_model("iris/1", tmp_path / "first", registry=registry, cache=cache)
    digest = sha256(b"weights")
    kept = cache.folder / "files" / digest[:2] / digest
    kept.write_bytes(b"damaged")
    second = pull_model("iris/1", tmp_path / "second", registry=registry, cache=cache)
    assert ((second.folder / "model.bin").read_bytes(), second.fetched) == (b"weights", len(b"weights"))
    assert kept.read_bytes() == b"weights"


@pytest.mark.parametrize("file", ["model.bin", "MLmodel", "requirements.txt", MODEL_MANIFEST_FILE])
def test_a_file_that_was_swapped_or_lost_in_the_store_is_named_and_nothing_is_left(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path, file: str
) -> None:
    register_model(mlflow_store.client)
    registry = ModelRegistry(mlflow_store.uri)
    stored = stored_folder(registry, "iris/1") / file
    recorded = sha256(stored.read_bytes())
    stored.write_bytes(b"swapped")
    with pytest.raises(ModelDigestError, match=file), checked_model("iris/1", registry=registry):
        pass
    with pytest.raises(ModelDigestError) as swapped:
        pull_model("iris/1", tmp_path / "pulled", registry=registry, cache=cache)
    assert (swapped.value.what, swapped.value.expected, swapped.value.found) == (file, recorded, sha256(b"swapped"))
    stored.unlink()
    with pytest.raises(ModelDigestError) as lost:
        pull_model("iris/1", tmp_path / "pulled", registry=registry, cache=cache)
    assert (lost.value.what, lost.value.expected, lost.value.found) == (file, recorded, "")
    assert {path.name for path in tmp_path.iterdir() if "pulled" in path.name} == set()


def test_a_manifest_that_does_not_list_the_recorded_model_file_is_refused(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    register_model(mlflow_store.client)
    registry = ModelRegistry(mlflow_store.uri)
    folder = stored_folder(registry, "iris/1")
    (folder / MODEL_MANIFEST_FILE).unlink()
    (folder / "model.bin").write_bytes(b"swapped")
    manifest = folder_manifest(folder)
    (folder / MODEL_MANIFEST_FILE).write_bytes(manifest)
    mlflow_store.client.set_model_version_tag("iris", "1", MODEL_MANIFEST_TAG, sha256(manifest))
    with pytest.raises(ModelDigestError):
        pull_model("iris/1", tmp_path / "pulled", registry=registry, cache=cache)
    assert not check_model("iris/1", registry=registry).ok


OTHER_MODELS = {
    "another file": "{python_function: {model_path: evil.bin}}",
    "another file by a longer way": "{python_function: {model_path: ./evil.bin}}",
    "another file in one flavour": "{python_function: {model_path: model.bin}, sklearn: {pickled_model: evil.bin}}",
    "another file in the other one": "{sklearn: {pickled_model: model.bin}, python_function: {data: evil.bin}}",
    "no file": "{python_function: {model_path: model.bin}, sklearn: {}}",
    "code beside it": "{python_function: {model_path: model.bin, code: code}}",
    "a script by the path where it was": "{sklearn: {pickled_model: model.bin, model_code_path: /tmp/evil.bin}}",
    "a module": "{python_function: {model_path: model.bin, loader_module: evil}}",
    "a module of MLflow": "{python_function: {model_path: model.bin, loader_module: mlflow.pyfunc.model}}",
    "an artifact": "{python_function: {model_path: model.bin, artifacts: {a: {path: evil.bin}}}}",
    "nothing that can be read": "[",
    "a file that is not there": "{python_function: {model_path: gone.bin}}",
}


def add_another_model(folder: Path, flavors: str) -> dict[str, str]:
    """Put another model beside the recorded one, let MLmodel name it, and return the tags that fit the folder."""
    (folder / MODEL_MANIFEST_FILE).unlink()
    (folder / "evil.bin").write_bytes(b"evil")
    (folder / "code").mkdir()
    (folder / "code" / "evil.py").write_text("print('evil')")
    (folder / "MLmodel").write_text(f"flavors: {flavors}")
    manifest = folder_manifest(folder)
    (folder / MODEL_MANIFEST_FILE).write_bytes(manifest)
    return {MODEL_MANIFEST_TAG: sha256(manifest), MODEL_SHA256_TAG: sha256((folder / "model.bin").read_bytes())}


@pytest.mark.parametrize("flavors", OTHER_MODELS.values(), ids=OTHER_MODELS)
def test_a_folder_whose_mlmodel_file_names_anything_beside_the_recorded_model_is_refused(
    tmp_path: Path, flavors: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"weights")
    (folder / MODEL_MANIFEST_FILE).touch()
    tags = add_another_model(folder, flavors)
    checked = check_digests(folder, digests_of(folder), tags, source="m")
    assert (checked.recorded, len(checked.differences)) == ("every file", 1)
    assert checked.differences[0].expected == sha256(b"weights")
    with pytest.raises(ModelDigestError):
        check_recorded_digests(folder, tags, source="m")


def test_the_recorded_model_is_taken_by_whatever_name_and_flavour_mlflow_finds_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "model.bin").write_bytes(b"weights")
    (folder / "conda.yaml").write_text("name: x")
    (folder / "MLmodel").write_text(
        "flavors: {python_function: {data: data/model.bin, loader_module: mlflow.lightgbm, env: {conda: conda.yaml}},"
        " lightgbm: {data: ./data/model.bin, code: null, lgb_version: '4'}}"
    )
    tags = {MODEL_SHA256_TAG: sha256(b"weights")}
    assert check_digests(folder, digests_of(folder), tags, source="m").differences == ()
    assert check_recorded_digests(folder, tags, source="m")


def test_another_model_under_copied_tags_is_neither_verified_nor_pulled_nor_loaded(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    client = mlflow_store.client
    register_model(client)
    registry = ModelRegistry(mlflow_store.uri)
    forged = registry.download(registry.find("iris/1"), tmp_path / "forged")
    tags = add_another_model(forged, OTHER_MODELS["another file"])
    client.create_model_version("iris", str(forged), tags=tags)
    for address in ("iris/2", forged):
        check = check_model(address, registry=registry)
        assert [(each.path, each.expected, each.found) for each in check.differences] == [
            ("evil.bin", sha256(b"weights"), sha256(b"evil"))
        ]
    with pytest.raises(ModelDigestError, match=r"evil\.bin"):
        pull_model("iris/2", tmp_path / "pulled", registry=registry, cache=cache)
    with pytest.raises(ModelDigestError, match=r"evil\.bin"), checked_model("iris/2", registry=registry):
        pass
    assert not (tmp_path / "pulled").exists()


def test_a_manifest_that_names_a_file_outside_the_folder_is_refused(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    register_model(mlflow_store.client)
    registry = ModelRegistry(mlflow_store.uri)
    manifest = json.dumps({"files": {"../../escaped": {"sha256": sha256(b"weights"), "size": 7}}}).encode()
    (stored_folder(registry, "iris/1") / MODEL_MANIFEST_FILE).write_bytes(manifest)
    client = mlflow_store.client
    client.set_model_version_tag("iris", "1", MODEL_MANIFEST_TAG, sha256(manifest))
    client.delete_model_version_tag("iris", "1", "hokusai.model.sha256")
    with pytest.raises(ModelError, match=r"'../../escaped', which is not inside"):
        pull_model("iris/1", tmp_path / "a" / "b" / "pulled", registry=registry, cache=cache)
    assert not list(tmp_path.rglob("escaped"))


def test_a_symbolic_link_in_the_store_that_leads_out_of_the_model_is_not_followed(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    register_model(mlflow_store.client, has_manifest=False, has_digest=False)
    registry = ModelRegistry(mlflow_store.uri)
    (tmp_path / "secret").write_text("password")
    (stored_folder(registry, "iris/1") / "innocent.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError):
        pull_model("iris/1", tmp_path / "pulled", registry=registry, cache=cache)
    assert not (tmp_path / "pulled").exists()


def test_a_model_with_less_on_record_is_fetched_and_that_is_said(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    client = mlflow_store.client
    register_model(client, has_manifest=False)
    register_model(client, "plain", has_manifest=False, has_digest=False)
    registry = ModelRegistry(mlflow_store.uri)
    assert pull_model("iris/1", tmp_path / "digest", registry=registry, cache=cache).recorded == "model file"
    plain = pull_model("plain/1", tmp_path / "plain", registry=registry, cache=cache)
    assert (plain.recorded, names_in(plain.folder)) == ("nothing", FILES - {MODEL_MANIFEST_FILE})
    assert not pull_model("plain/1", tmp_path / "plain", registry=registry, cache=cache).is_new
    (stored_folder(registry, "iris/1") / "model.bin").write_bytes(b"swapped")
    with pytest.raises(ModelDigestError) as swapped:
        pull_model("iris/1", tmp_path / "swapped", registry=registry, cache=cache)
    assert (swapped.value.what, swapped.value.found) == ("model.bin", sha256(b"swapped"))


def test_a_version_whose_files_are_gone_says_so(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    register_model(mlflow_store.client)
    register_model(mlflow_store.client, has_manifest=False, has_digest=False)
    registry = ModelRegistry(mlflow_store.uri)
    for address in ("iris/1", "iris/2"):
        shutil.rmtree(stored_folder(registry, address))
        with pytest.raises(ModelError, match=r"gone|No such"):
            pull_model(address, tmp_path / "pulled", registry=registry, cache=cache)
    assert not (tmp_path / "pulled").exists()


def test_an_answer_that_breaks_off_leaves_nothing_and_what_was_whole_is_not_fetched_again(
    faulty_mlflow: FaultyProxy,
    mlflow_server: MockMlflowServer,
    register_model: RegisterModel,
    cache: ModelCache,
    tmp_path: Path,
) -> None:
    from mlflow import MlflowClient

    register_model(MlflowClient(mlflow_server.uri, mlflow_server.uri), content=os.urandom(3_000_000))
    registry = ModelRegistry(faulty_mlflow.uri)
    faulty_mlflow.faults = (TruncateAnswer(1_500_000, route=r"artifacts/model\.bin"),)
    with pytest.raises(ModelError):
        pull_model("iris/1", tmp_path / "pulled", registry=registry, cache=cache)
    assert {path.name for path in tmp_path.iterdir() if "pulled" in path.name} == set()
    before = len(fetched_files(faulty_mlflow))
    faulty_mlflow.faults = ()
    assert pull_model("iris/1", tmp_path / "pulled", registry=registry, cache=cache).fetched == 3_000_000
    assert fetched_files(faulty_mlflow).count("model.bin") >= 2
    assert len(fetched_files(faulty_mlflow)) == before + 1


@pytest.mark.slow
def test_a_process_that_was_killed_in_the_middle_is_taken_up_where_it_was(
    faulty_mlflow: FaultyProxy,
    mlflow_server: MockMlflowServer,
    register_model: RegisterModel,
    cache: ModelCache,
    tmp_path: Path,
) -> None:
    from mlflow import MlflowClient

    register_model(MlflowClient(mlflow_server.uri, mlflow_server.uri))
    faulty_mlflow.faults = (Hang(route=r"artifacts/model\.bin"),)
    target = tmp_path / "pulled"
    command = [sys.executable, "-c", PULL, faulty_mlflow.uri, str(target), str(cache.folder)]
    process = subprocess.Popen(command, env=os.environ)
    try:
        waiting = threading.Event()
        # The two other files of the model are on this machine, and the last one is on its way.
        while process.poll() is None and not (
            "model.bin" in fetched_files(faulty_mlflow)
            and {"MLmodel", "requirements.txt"}
            <= {file.name for file in cache.folder.rglob("*") if file.stat().st_size}
        ):
            waiting.wait(0.05)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert not target.exists()
    before = len(fetched_files(faulty_mlflow))
    faulty_mlflow.faults = ()
    done = pull_model("iris/1", target, registry=ModelRegistry(faulty_mlflow.uri), cache=cache)
    assert (done.fetched, names_in(target)) == (len(b"weights"), FILES)
    assert len(fetched_files(faulty_mlflow)) == before + 1
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


def test_several_pulls_at_once_fetch_a_model_once_and_all_of_them_have_it(
    faulty_mlflow: FaultyProxy,
    mlflow_server: MockMlflowServer,
    register_model: RegisterModel,
    cache: ModelCache,
    tmp_path: Path,
) -> None:
    from mlflow import MlflowClient

    register_model(MlflowClient(mlflow_server.uri, mlflow_server.uri))
    targets = [tmp_path / "same", tmp_path / "same", tmp_path / "other"]
    start = threading.Barrier(len(targets))
    done = []

    def pull(target: Path) -> None:
        start.wait()
        done.append(pull_model("iris/1", target, registry=ModelRegistry(faulty_mlflow.uri), cache=cache))

    threads = [threading.Thread(target=pull, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((each.folder.name, each.is_new) for each in done) == [
        ("other", True),
        ("same", False),
        ("same", True),
    ]
    assert names_in(tmp_path / "same") == names_in(tmp_path / "other") == FILES
    assert fetched_files(faulty_mlflow) == sorted(FILES)


def test_an_artifact_of_a_run_is_put_into_a_folder_of_its_own(
    mlflow_store: MlflowAddress,
    register_model: RegisterModel,
    cache: ModelCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = register_model(mlflow_store.client)
    mlflow_store.client.log_text(made.run_id, "0.2", "reports/delta.txt")
    registry = ModelRegistry(mlflow_store.uri)
    monkeypatch.chdir(tmp_path)
    pulled = pull_model(f"runs:/{made.run_id}/reports/delta.txt", registry=registry, cache=cache)
    assert (pulled.folder, names_in(pulled.folder)) == (tmp_path / "delta.txt", {"delta.txt"})
    assert (pulled.folder / "delta.txt").read_text() == "0.2"
    assert pull_model("iris/1", registry=registry, cache=cache).folder == tmp_path / "iris-1"


def test_artifacts_of_a_run_are_what_its_own_list_says_or_are_refused(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    client = mlflow_store.client
    run_id = register_model(client).run_id
    contents = {"reports/delta.txt": "0.2", "reports/more/table.csv": "a,b", "notes.txt": "none"}
    for path, text in contents.items():
        client.log_text(run_id, text, path)
    listed = [{"path": path, "sha256": sha256(text.encode())} for path, text in contents.items()]
    # A second process that went on with the run has a list of its own.
    for part, items in (("", listed[:1]), (".2", listed[1:])):
        manifest = json.dumps({"artifacts": items})
        client.log_text(run_id, manifest, f"manifest{part}.json")
        client.set_tag(run_id, f"hokusai.manifest_digest{part}", sha256(manifest.encode()))
    registry = ModelRegistry(mlflow_store.uri)
    stored = stored_folder(registry, f"runs:/{run_id}/")

    def pull(path: str, number: int) -> str:
        return pull_model(
            f"runs:/{run_id}/{path}", tmp_path / f"pulled-{number}", registry=registry, cache=cache
        ).recorded

    for number, path in enumerate(("", "reports", "reports/delta.txt", "notes.txt", "manifest.json")):
        assert pull(path, number) == "every file"
    edits: dict[str, tuple[str | None, str]] = {
        "reports/delta.txt": ("swapped", "reports"),
        "reports/more/table.csv": (None, "reports"),
        "reports/added.txt": ("added", ""),
        "notes.txt": ("swapped", "notes.txt"),
        "manifest.2.json": ("{}", "reports/delta.txt"),
    }
    for path, (edited, asked) in edits.items():
        before = (stored / path).read_bytes() if (stored / path).exists() else None
        (stored / path).write_text(edited) if edited else (stored / path).unlink()
        with pytest.raises(ModelDigestError) as refused:
            pull(asked, 9)
        assert refused.value.what == path
        (stored / path).write_bytes(before) if before else (stored / path).unlink()
    assert pull("", 9) == "every file"


def test_a_folder_that_cannot_be_written_is_named(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    register_model(mlflow_store.client)
    registry = ModelRegistry(mlflow_store.uri)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="HOKUSAI_CACHE"):
        pull_model("iris/1", tmp_path / "pulled", registry=registry, cache=ModelCache(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match=r"there is a file|Not a directory"):
        pull_model("iris/1", tmp_path / "file", registry=registry, cache=cache)
    with pytest.raises(ModelError, match="Not a directory"):
        pull_model("iris/1", tmp_path / "file" / "below", registry=registry, cache=cache)
    assert (tmp_path / "file").read_text() == "in the way"


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOKUSAI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "hokusai" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache_folder() == Path.home() / ".cache" / "hokusai" / "models"
    monkeypatch.setenv("HOKUSAI_CACHE", str(tmp_path / "own"))
    assert default_cache_folder() == tmp_path / "own" / "models"


# --- verify -----------------------------------------------------------------------------------------------------------


def test_a_model_in_the_store_and_a_pulled_folder_are_what_was_recorded_until_somebody_changes_them(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    register_model(mlflow_store.client)
    registry = ModelRegistry(mlflow_store.uri)
    folder = pull_model("iris/1", tmp_path / "pulled", registry=registry, cache=cache).folder
    for source, place in (("iris/1", stored_folder(registry, "iris/1")), (folder, folder)):
        check = check_model(source, registry=registry)
        assert (check.ok, check.recorded, check.recorded_as) == (True, "every file", "models:/iris/1")
        (place / "model.bin").write_bytes(b"swapped")
        (place / "requirements.txt").unlink()
        (place / "more.py").write_text("import os")
        check = check_model(source, registry=registry)
        assert [(each.path, each.expected[:8], each.found[:8]) for each in check.differences] == [
            ("model.bin", sha256(b"weights")[:8], sha256(b"swapped")[:8]),
            ("more.py", "", sha256(b"import os")[:8]),
            ("requirements.txt", sha256(b"numpy==2.0\n")[:8], ""),
        ]
        assert not check.ok


def test_a_folder_with_a_manifest_made_to_fit_is_not_what_was_recorded(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    register_model(mlflow_store.client)
    registry = ModelRegistry(mlflow_store.uri)
    folder = pull_model("iris/1", tmp_path / "pulled", registry=registry, cache=cache).folder
    (folder / MODEL_MANIFEST_FILE).unlink()
    (folder / "model.bin").write_bytes(b"swapped")
    (folder / MODEL_MANIFEST_FILE).write_bytes(folder_manifest(folder))
    for recorded_as in ("", "iris/1"):
        check = check_model(folder, registry=registry, recorded_as=recorded_as)
        assert [each.path for each in check.differences] == [MODEL_MANIFEST_FILE, "model.bin"]
    (folder / "MLmodel").write_text("flavors: {}")
    (folder / MODEL_MANIFEST_FILE).unlink()
    (folder / MODEL_MANIFEST_FILE).write_bytes(folder_manifest(folder))
    check = check_model(folder, registry=registry)
    assert (check.recorded, check.ok) == ("own manifest", True)
    assert "no model in" in check.problem
    assert not check_model(folder, registry=registry, recorded_as="iris/1").ok


def test_a_folder_is_checked_against_itself_when_the_store_does_not_answer(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    register_model(mlflow_store.client)
    folder = pull_model("iris/1", tmp_path / "pulled", registry=ModelRegistry(mlflow_store.uri), cache=cache).folder
    nowhere = ModelRegistry(f"sqlite:///{tmp_path / 'nothing.db'}")
    check = check_model(folder, registry=nowhere)
    assert (check.ok, check.recorded) == (True, "own manifest")
    assert "no tracking store" in check.problem
    (folder / "model.bin").write_bytes(b"swapped")
    assert [each.path for each in check_model(folder, registry=nowhere).differences] == ["model.bin"]


def test_a_model_of_which_nothing_was_recorded_is_not_said_to_be_right(
    mlflow_store: MlflowAddress, register_model: RegisterModel, cache: ModelCache, tmp_path: Path
) -> None:
    register_model(mlflow_store.client, has_manifest=False, has_digest=False)
    registry = ModelRegistry(mlflow_store.uri)
    folder = pull_model("iris/1", tmp_path / "pulled", registry=registry, cache=cache).folder
    for source in ("iris/1", folder):
        check = check_model(source, registry=registry)
        assert (check.ok, check.recorded, check.differences) == (False, "nothing", ())


# --- details, comparison, lineage -------------------------------------------------------------------------------------


def test_what_differs_between_two_versions_is_told_part_by_part(
    mlflow_store: MlflowAddress, register_model: RegisterModel
) -> None:
    client = mlflow_store.client
    for number, value in enumerate(("0.1", "0.2"), start=1):
        made = register_model(
            client, content=value.encode(), tags={"hokusai.dataset.base": "b" * 64, "hokusai.delta.accuracy": value}
        )
        client.log_param(made.run_id, "C", number)
        client.log_metric(made.run_id, "accuracy", float(value))
    registry = ModelRegistry(mlflow_store.uri)
    first, second = (describe_model(address, registry=registry) for address in ("iris/1", "iris/2"))
    assert (first.inputs, first.outputs, first.requirements) == ({"width": "double"}, ("string",), ("numpy==2.0",))
    assert first.size == sum(first.files.values()) > len(b"0.1")
    found = {(each.part, each.name): (each.first, each.second) for each in compare_models(first, second)}
    assert found["parameter", "C"] == ("1", "2")
    assert found["metric", "accuracy"] == ("0.1", "0.2")
    assert found["tag", "hokusai.delta.accuracy"] == ("0.1", "0.2")
    assert found["file", "model.bin"] == (sha256(b"0.1"), sha256(b"0.2"))
    assert {part for part, _ in found} == {"tag", "parameter", "metric", "file"}
    assert compare_models(first, first) == ()


def test_lineage_goes_from_a_model_to_its_data_and_from_data_to_models(
    mlflow_store: MlflowAddress, register_model: RegisterModel
) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    client = mlflow_store.client
    base, dream, other = "a" * 63 + "0", "b" * 64, "c" * 64
    for name, digest in (("dream", dream), ("other", other)):
        tags = {
            "hokusai.dataset.base": base,
            f"hokusai.dataset.contribution.{name}": digest,
            "hokusai.contributors": json.dumps([f"station {name}"]),
        }
        register_model(client, tags=tags)
    plain = register_model(client, "plain", has_manifest=False, has_digest=False)
    dataset = Dataset("dream", dream[:36], "local", "{}")
    client.log_inputs(plain.run_id, [DatasetInput(dataset, [InputTag("hokusai.digest", dream)])])
    registry = ModelRegistry(mlflow_store.uri)
    origin = trace_model("iris/1", registry=registry)
    assert [(each.context, each.name, each.digest) for each in origin.datasets] == [
        ("base", "base", base),
        ("contribution", "dream", dream),
    ]
    assert (origin.contributors, origin.run is not None) == (("station dream",), True)

    def models_of(asked: str) -> list[str]:
        return [each.version.address for each in models_of_dataset(asked, registry=registry)]

    assert models_of(dream) == models_of(dream[:8]) == ["models:/iris/1", "models:/plain/1"]
    assert models_of(base) == ["models:/iris/1", "models:/iris/2"]
    assert models_of("other") == models_of("station other") == ["models:/iris/2"]
    assert models_of("d" * 64) == models_of("nobody") == []
    assert [each.digest for each in trace_model("plain/1", registry=registry).datasets] == [dream]


# --- what was pulled works with plain MLflow --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_pulled_model_gives_with_plain_mlflow_exactly_the_predictions_that_it_gives_here(
    mlflow_store: MlflowAddress, hokusai_runs: ExampleRuns, cache: ModelCache, demo_data: Path, tmp_path: Path
) -> None:
    import mlflow.pyfunc
    import pyarrow.csv as pa_csv

    hokusai_runs.finished("dream")
    registry = ModelRegistry(mlflow_store.uri)
    folder = pull_model("hokusai-penguins/1", tmp_path / "pulled", registry=registry, cache=cache).folder
    plain = mlflow.pyfunc.load_model(str(folder))
    ours = load_skops(folder / "model.skops", source="pulled")
    table = pa_csv.read_csv(demo_data / "benchmark.csv").select(list(ours.features))
    frame = table.to_pandas()
    expected = [ours.classes[code] for code in ours.predict(table, classes=ours.classes).predicted]
    assert len(set(expected)) > 1
    assert list(plain.predict(frame)) == expected
    frame.to_csv(tmp_path / "rows.csv", index=False)
    command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", str(folder), "-t", "csv"]
    command += ["-i", str(tmp_path / "rows.csv"), "-o", str(tmp_path / "predicted.json"), "--env-manager", "local"]
    subprocess.run(command, check=True, capture_output=True)
    document = json.loads((tmp_path / "predicted.json").read_text())
    assert [row["0"] if isinstance(row, dict) else row for row in document["predictions"]] == expected
    assert check_model(folder, registry=registry).ok
