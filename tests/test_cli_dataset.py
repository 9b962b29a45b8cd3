"""``hokusai dataset``: what each command prints, and what it returns to a script."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

import hokusai
from hokusai.datasets.croissant import manifest_bytes, manifest_path
from hokusai.datasets.snapshots import store_snapshot
from hokusai.datasets.tables import ReadSettings, read_table
from hokusai.datasets.versions import table_version
from hokusai.records import DatasetFile
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.naming import DECISION_TAG, MODEL_VERSION_TAG
from hokusai.tracking.shipper import DirectShipping

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Outcome

    from hokusai.records import DatasetContext, DatasetVersion

FILES = {
    "base": "id,code,size\n1,007,1.5\n2,008,\n3,009,2.5\n",
    "dream": "id,code,size\n4,010,9.5\n5,011,1.5\n",
    "integrated": "id,code,size\n1,007,1.5\n2,008,\n3,009,2.5\n4,010,9.5\n5,011,1.5\n",
}
CODES = {"code": "string", "id": "int", "size": "float"}


@dataclass(frozen=True)
class Recorded:
    """A store with one evaluation that left manifests and one that did not, and the files that they read.

    Attributes:
        uri: The store.
        folder: Where the files are.
        digests: Content digests by name; ``old`` was recorded without a manifest.
    """

    uri: str
    folder: Path
    digests: dict[str, str]

    def file(self, name: str) -> str:
        """Return where the file of this name is."""
        return str(self.folder / f"{name}.csv")


def describe(path: Path, context: DatasetContext, *, parents: tuple[str, ...] = ()) -> DatasetVersion:
    read = read_table(path, settings=ReadSettings(types=CODES))
    file = DatasetFile(name=path.name, sha256=read.file_sha256, size=read.size, rows=read.table.num_rows)
    return table_version(
        read.table,
        name=path.stem if context == "contribution" else context,
        context=context,
        source=str(path),
        parents=parents,
        files=[file],
        licence="CC0-1.0",
        contributor="station 7",
        created="2030-01-02T03:04:05Z",
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    for name, text in FILES.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    settings = hokusai.TrackingSettings(uri=f"sqlite:///{folder / 'mlflow.db'}", journal=folder / "journals")
    shipping = DirectShipping(MlflowStore(settings.uri))
    base = describe(folder / "base.csv", "base")
    dream = describe(folder / "dream.csv", "contribution")
    made = describe(folder / "integrated.csv", "integrated", parents=(base.digest, dream.digest))
    with hokusai.track("demo", settings=settings, shipping=shipping) as run:
        with run.child("integrate_contributed_data") as step:
            for version in (base, dream, made):
                step.log_dataset(version)
                table = read_table(folder / version.files[0].name, settings=ReadSettings(types=CODES)).table
                snapshot = store_snapshot(table, folder / "snapshots", digest=version.digest)
                assert snapshot is not None
                step.log_artifact(manifest_path(version), manifest_bytes(version, snapshot=snapshot.file))
                step.log_artifact(snapshot.artifact_path, snapshot.path)
        run.set_tags({DECISION_TAG: "accept", MODEL_VERSION_TAG: "demo/1"})
    old = replace(dream, name="old", digest="d" * 64, rows=99)
    with hokusai.track("demo", settings=settings, shipping=shipping) as run, run.child("read") as step:
        step.log_dataset(base)
        step.log_dataset(old)
    digests = {"base": base.digest, "dream": dream.digest, "integrated": made.digest, "old": old.digest}
    return Recorded(settings.uri, folder, digests)


@pytest.fixture
def dataset(
    recorded: Recorded, call: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Call a subcommand on the recorded store."""
    monkeypatch.chdir(tmp_path)

    def run(command: str, *arguments: str, uri: str = recorded.uri) -> Outcome:
        return call("dataset", command, *arguments, "--tracking-uri", uri)

    return run


# --- list and show ----------------------------------------------------------------------------------------------------


def test_list_prints_every_dataset_once(recorded: Recorded, dataset: Callable[..., Outcome]) -> None:
    done = dataset("list")
    assert (done.code, done.err) == (0, "")
    lines = {line.split()[0]: line.split() for line in done.out.splitlines() if line.strip()}
    assert set(lines) >= {digest[:12] for digest in recorded.digests.values()}
    base = lines[recorded.digests["base"][:12]]
    assert (base[1:5], base[-1]) == (["base", "base", "3", "3"], "2")
    listed = dataset("list", "--json").value
    assert {item["digest"] for item in listed} == set(recorded.digests.values())


def test_list_of_a_store_without_datasets_says_so(dataset: Callable[..., Outcome], tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'empty.db'}"
    MlflowStore(uri)
    done = dataset("list", uri=uri)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"No datasets in {uri}.")
    missing = dataset("list", uri=f"sqlite:///{tmp_path / 'none.db'}")
    assert (missing.code, missing.out) == (2, "")
    assert "no tracking store here" in missing.err


def test_show_prints_all_of_the_manifest(recorded: Recorded, dataset: Callable[..., Outcome]) -> None:
    done = dataset("show", "dream")
    assert (done.code, done.err) == (0, "")
    for fact in (recorded.digests["dream"], "CC0-1.0", "station 7", "2030-01-02T03:04:05Z", "dream.csv", "sha256"):
        assert fact in done.out
    assert "No manifest" not in done.out
    rows = [line.split() for line in done.out.splitlines()]
    assert ["size", "double", "0", "2"] in rows
    value = dataset("show", recorded.digests["integrated"][:8], "--json").value
    assert value["has_manifest"] is True
    assert value["version"]["parents"] == sorted(recorded.digests[name] for name in ("base", "dream"))
    assert value["version"]["null_counts"] == [["id", 0], ["code", 0], ["size", 1]]


def test_show_says_what_an_old_record_lacks(recorded: Recorded, dataset: Callable[..., Outcome]) -> None:
    done = dataset("show", "old")
    assert done.code == 0
    assert "No manifest is on record" in done.out
    assert recorded.digests["old"] in done.out
    assert dataset("show", "old", "--json").value["has_manifest"] is False


def test_what_is_not_there_exits_2_with_one_line(dataset: Callable[..., Outcome]) -> None:
    for command in ("show", "lineage"):
        done = dataset(command, "nobody")
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert "no dataset 'nobody'" in done.err
        assert "hokusai dataset list" in done.err


# --- diff -------------------------------------------------------------------------------------------------------------


def test_diff_counts_rows_of_two_recorded_versions(recorded: Recorded, dataset: Callable[..., Outcome]) -> None:
    done = dataset("diff", recorded.digests["base"], recorded.digests["integrated"])
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()]
    assert ["rows", "3", "5", "+2"] in rows
    assert ["rows", "kept", "3"] in rows
    assert ["rows", "added", "2"] in rows
    assert ["rows", "removed", "0"] in rows
    value = dataset("diff", recorded.digests["base"], recorded.digests["integrated"], "--json").value
    assert value["row_changes"] == {"kept": 3, "added": 2, "removed": 0, "is_reordered": False}
    assert value["changes"]["rows"] == [3, 5]


def test_diff_reads_a_file_with_the_types_of_what_it_is_compared_with(
    recorded: Recorded, dataset: Callable[..., Outcome], tmp_path: Path
) -> None:
    # Without its declared type the column of codes would be a column of numbers.
    file = tmp_path / "delivered.csv"
    file.write_text("id,code,size\n2,008,\n3,009,2.5\n1,007,1.5\n", encoding="utf-8")
    done = dataset("diff", recorded.digests["base"], str(file))
    assert done.code == 0
    assert "The rows are the same, in another order." in done.out
    assert "The content is the same." in dataset("diff", recorded.digests["base"], recorded.file("base")).out


def test_diff_of_two_files_needs_no_store(
    recorded: Recorded, call: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("dataset", "diff", recorded.file("base"), recorded.file("dream"), "--json")
    assert (done.code, done.err) == (0, "")
    value = json.loads(done.out)
    assert value["row_changes"]["removed"] == 3
    assert not (tmp_path / "mlflow.db").exists()


def test_diff_says_when_rows_are_not_at_hand(dataset: Callable[..., Outcome]) -> None:
    done = dataset("diff", "dream", "old")
    assert done.code == 0
    assert "Rows were not compared: the rows of old are not at hand" in done.out
    assert "No manifest is on record" in done.out


# --- verify -----------------------------------------------------------------------------------------------------------


def test_verify_knows_a_file_that_still_has_its_content(recorded: Recorded, dataset: Callable[..., Outcome]) -> None:
    done = dataset("verify", recorded.file("base"), recorded.digests["base"])
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{recorded.file('base')} has the content {recorded.digests['base']} (base).\n"


def test_verify_says_what_differs_and_exits_1(
    recorded: Recorded, dataset: Callable[..., Outcome], tmp_path: Path
) -> None:
    file = tmp_path / "edited.csv"
    file.write_text(FILES["base"].replace("2.5", "2.6"), encoding="utf-8")
    done = dataset("verify", str(file), "base")
    assert done.code == 1
    assert f"expected  {recorded.digests['base']}" in done.out
    rows = [line.split() for line in done.out.splitlines()]
    assert ["rows", "kept", "2"] in rows
    value = dataset("verify", str(file), "base", "--json").value
    assert (value["ok"], value["row_changes"]["added"]) == (False, 1)


def test_verify_finds_out_which_dataset_a_file_is(recorded: Recorded, dataset: Callable[..., Outcome]) -> None:
    done = dataset("verify", recorded.file("dream"))
    assert done.code == 0
    assert f"has the content {recorded.digests['dream']}" in done.out
    assert "accept, demo/1" in done.out


def test_verify_knows_a_file_of_which_some_columns_were_used(
    recorded: Recorded, dataset: Callable[..., Outcome], tmp_path: Path
) -> None:
    file = tmp_path / "wide.csv"
    lines = [f"{line},more" for line in FILES["dream"].splitlines()]
    file.write_text("\n".join(lines).replace("more", "note", 1) + "\n", encoding="utf-8")
    assert recorded.digests["dream"] in dataset("verify", str(file)).out
    assert dataset("verify", str(file), "dream").code == 0


def test_verify_of_a_file_that_nobody_recorded_exits_1(dataset: Callable[..., Outcome], tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("a\n1\n", encoding="utf-8")
    done = dataset("verify", str(file))
    assert (done.code, done.err) == (1, "")
    assert "is not on record" in done.out
    value = dataset("verify", str(file), "--json").value
    assert (value["ok"], value["dataset"]) == (False, None)
    assert dataset("verify", str(tmp_path / "none.csv")).code == 2


# --- lineage ----------------------------------------------------------------------------------------------------------


def test_lineage_goes_from_files_to_models(recorded: Recorded, dataset: Callable[..., Outcome]) -> None:
    done = dataset("lineage", "base")
    assert (done.code, done.err) == (0, "")
    assert "made from: nothing that the store knows of" in done.out
    made = next(line for line in done.out.splitlines() if recorded.digests["integrated"][:12] in line)
    assert "integrated, 5 rows, 1 evaluation" in made
    assert "model demo/1 (accept, " in done.out
    assert "as base, accept, demo/1, FINISHED" in done.out


def test_lineage_as_json_names_parents_children_and_uses(recorded: Recorded, dataset: Callable[..., Outcome]) -> None:
    value = dataset("lineage", recorded.digests["integrated"], "--json").value
    assert {node["digest"] for node in value["made_from"]} == {recorded.digests[name] for name in ("base", "dream")}
    assert value["made_into"] == []
    assert value["uses"][0]["model_version"] == "demo/1"
    (child,) = dataset("lineage", "dream", "--json").value["made_into"]
    assert (child["digest"], child["depth"]) == (recorded.digests["integrated"], 1)


# --- what others may have left in a store -----------------------------------------------------------------------------


def test_a_foreign_manifest_is_left_aside_and_no_terminal_is_commanded(
    dataset: Callable[..., Outcome], recorded: Recorded, tmp_path: Path
) -> None:
    settings = hokusai.TrackingSettings(uri=f"sqlite:///{tmp_path / 'other.db'}", journal=tmp_path / "journals")
    shipping = DirectShipping(MlflowStore(settings.uri))
    version = replace(describe(recorded.folder / "dream.csv", "base"), name="\x1b[2Jname", context="base")
    with hokusai.track("x", settings=settings, shipping=shipping) as run, run.child("read") as step:
        step.log_dataset(version)
        step.log_artifact(manifest_path(version), b"{}")
    done = dataset("show", version.digest, uri=settings.uri)
    assert done.code == 0
    assert "No manifest is on record" in done.out
    assert "left aside" in done.err
    assert "hokusai-dataset/1" in done.err
    assert "\\x1b[2Jname" in done.out
    assert "\x1b" not in done.out + done.err


def test_a_snapshot_that_was_exchanged_is_not_believed(
    dataset: Callable[..., Outcome], recorded: Recorded, tmp_path: Path
) -> None:
    settings = hokusai.TrackingSettings(uri=f"sqlite:///{tmp_path / 'other.db'}", journal=tmp_path / "journals")
    shipping = DirectShipping(MlflowStore(settings.uri))
    version = describe(recorded.folder / "dream.csv", "base")
    exchanged = recorded.folder / "snapshots" / f"{recorded.digests['base']}.parquet"
    with hokusai.track("x", settings=settings, shipping=shipping) as run, run.child("read") as step:
        step.log_dataset(version)
        step.log_artifact(f"datasets/{version.digest}.parquet", exchanged)
    done = dataset("diff", version.digest, recorded.file("dream"), uri=settings.uri)
    assert (done.code, done.out) == (2, "")
    assert f"its content has the digest {recorded.digests['base']}, expected {version.digest}" in done.err
