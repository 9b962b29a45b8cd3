"""The datasets of a store: found again by digest and name, with the runs that used them and where they came from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import hokusai
from hokusai.datasets.croissant import manifest_bytes, manifest_path, read_manifest
from hokusai.datasets.snapshots import read_snapshot, store_snapshot
from hokusai.datasets.versions import table_version
from hokusai.errors import DatasetNotFoundError, TrackingError
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.naming import DECISION_TAG, MODEL_VERSION_TAG
from hokusai.tracking.recorded_datasets import RecordedDatasets
from hokusai.tracking.shipper import DirectShipping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hokusai.records import DatasetContext, DatasetVersion

    Parts = Mapping[str, tuple[DatasetContext, str]]

TABLES = {
    "base": pa.table({"x": [1, 2, 3], "y": ["a", "b", None]}),
    "dream": pa.table({"x": [4], "y": ["d"]}),
    "torgersen": pa.table({"x": [5], "y": ["e"]}),
}
TABLES["integrated"] = pa.concat_tables([TABLES["base"], TABLES["dream"]])
TABLES["twice"] = pa.concat_tables([TABLES["integrated"], TABLES["torgersen"]])
TABLES["old"] = pa.concat_tables([TABLES["base"], TABLES["torgersen"]])


def version(table: str, context: DatasetContext, *, name: str = "", parents: Sequence[str] = ()) -> DatasetVersion:
    name = name or (table if context == "contribution" else context)
    digests = [version(parent, "base").digest for parent in parents]
    return table_version(TABLES[table], name=name, context=context, source=f"{table}.csv", parents=digests)


DIGESTS = {name: version(name, "base").digest for name in TABLES}


def evaluate(
    settings: hokusai.TrackingSettings,
    shipping: DirectShipping,
    parts: Parts,
    *,
    model: str,
    snapshots: Path | None,
) -> None:
    """Record what an evaluation records of its data; without a folder of snapshots as it did before manifests."""
    made_from = [table for table, (context, _) in parts.items() if context in ("base", "contribution")]
    with hokusai.track("penguins", settings=settings, shipping=shipping) as run:
        with run.child("integrate_contributed_data") as step:
            for table, (context, name) in parts.items():
                described = version(table, context, name=name, parents=made_from if context == "integrated" else ())
                step.log_dataset(described)
                if snapshots is not None:
                    snapshot = store_snapshot(TABLES[table], snapshots, digest=described.digest)
                    assert snapshot is not None
                    step.log_artifact(manifest_path(described), manifest_bytes(described, snapshot=snapshot.file))
                    step.log_artifact(snapshot.artifact_path, snapshot.path)
        for table, (context, name) in parts.items():
            run.log_dataset(version(table, context, name=name))
        run.set_tags({DECISION_TAG: "accept", MODEL_VERSION_TAG: model})


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> hokusai.TrackingSettings:
    """A store with three evaluations: the second begins with what the first made, the third is an old one."""
    folder = tmp_path_factory.mktemp("store")
    settings = hokusai.TrackingSettings(uri=f"sqlite:///{folder / 'mlflow.db'}", journal=folder / "journals")
    shipping = DirectShipping(MlflowStore(settings.uri))
    kept = folder / "snapshots"
    first: Parts = {"base": ("base", ""), "dream": ("contribution", ""), "integrated": ("integrated", "")}
    second: Parts = {"integrated": ("base", ""), "torgersen": ("contribution", ""), "twice": ("integrated", "")}
    old: Parts = {"base": ("base", ""), "torgersen": ("contribution", "torgersen-1"), "old": ("integrated", "")}
    evaluate(settings, shipping, first, model="penguins/1", snapshots=kept)
    evaluate(settings, shipping, second, model="penguins/2", snapshots=kept)
    evaluate(settings, shipping, old, model="penguins/3", snapshots=None)
    return settings


@pytest.fixture(scope="module")
def recorded(settings: hokusai.TrackingSettings) -> RecordedDatasets:
    return RecordedDatasets(settings)


def test_every_content_is_listed_once_with_all_that_it_was_called(recorded: RecordedDatasets) -> None:
    assert {item.digest for item in recorded.datasets} == set(DIGESTS.values())
    base = recorded.find(DIGESTS["base"])
    assert (base.names, base.contexts, base.rows, base.evaluations) == (("base",), ("base",), 3, 2)
    assert base.columns == ("x: long", "y: string")
    assert len(base.uses) == 4
    assert base.first_seen == min(use.started for use in base.uses)
    integrated = recorded.find(DIGESTS["integrated"])
    assert integrated.contexts == ("base", "integrated")
    assert recorded.find(DIGESTS["torgersen"]).names == ("torgersen", "torgersen-1")
    assert [item.first_seen for item in recorded.datasets] == sorted(
        (item.first_seen for item in recorded.datasets), reverse=True
    )


def test_a_use_says_which_run_evaluation_decision_and_model_it_was(recorded: RecordedDatasets) -> None:
    uses = recorded.find("dream").uses
    assert {(use.step, use.context, use.name) for use in uses} == {
        ("", "contribution", "dream"),
        ("integrate_contributed_data", "contribution", "dream"),
    }
    assert {(use.decision, use.model_version, use.status) for use in uses} == {("accept", "penguins/1", "FINISHED")}
    (name,) = {use.evaluation_name for use in uses}
    assert name in {use.run for use in uses}


def test_a_dataset_is_found_by_digest_first_characters_and_name(recorded: RecordedDatasets) -> None:
    for name in (DIGESTS["dream"], DIGESTS["dream"][:6], "dream"):
        assert recorded.find(name).digest == DIGESTS["dream"]


@pytest.mark.parametrize("name", ["no such name", "f" * 64, "", "'; DROP TABLE runs; --", "dre"])
def test_a_dataset_that_is_not_there_is_said_to_be_not_there(recorded: RecordedDatasets, name: str) -> None:
    with pytest.raises(DatasetNotFoundError) as refused:
        recorded.find(name)
    assert refused.value.dataset == name


def test_an_ambiguous_name_lists_the_candidates(recorded: RecordedDatasets) -> None:
    with pytest.raises(TrackingError, match="names 3 datasets") as refused:
        recorded.find("integrated")
    assert not isinstance(refused.value, DatasetNotFoundError)
    for table in ("integrated", "twice", "old"):
        assert f"{DIGESTS[table][:12]} (" in str(refused.value)


def test_the_manifest_and_the_snapshot_of_a_dataset_are_found(recorded: RecordedDatasets, tmp_path: Path) -> None:
    found = recorded.find(DIGESTS["twice"])
    (source, content), *_ = recorded.manifests(found)
    read = read_manifest(content, source=source)
    assert read == version("twice", "integrated", parents=("integrated", "torgersen"))
    file = recorded.fetch_snapshot(found, tmp_path)
    assert file is not None
    assert read_snapshot(file, digest=found.digest).equals(TABLES["twice"])


def test_an_old_run_has_neither_manifest_nor_snapshot(recorded: RecordedDatasets, tmp_path: Path) -> None:
    old = recorded.find(DIGESTS["old"])
    assert list(recorded.manifests(old)) == []
    assert recorded.fetch_snapshot(old, tmp_path) is None
    assert recorded.parents_of(old.digest) == tuple(sorted((DIGESTS["base"], DIGESTS["torgersen"])))


def test_lineage_goes_up_over_evaluations(recorded: RecordedDatasets) -> None:
    nodes = recorded.ancestors(DIGESTS["twice"])
    assert {(node.digest, node.depth) for node in nodes} == {
        (DIGESTS["integrated"], 1),
        (DIGESTS["torgersen"], 1),
        (DIGESTS["base"], 2),
        (DIGESTS["dream"], 2),
    }
    assert recorded.ancestors(DIGESTS["base"]) == ()


def test_lineage_goes_down_over_evaluations(recorded: RecordedDatasets) -> None:
    nodes = recorded.descendants(DIGESTS["base"])
    assert {(node.digest, node.depth) for node in nodes} == {
        (DIGESTS["integrated"], 1),
        (DIGESTS["twice"], 2),
        (DIGESTS["old"], 1),
    }
    assert all(node.dataset is not None for node in nodes)


def test_a_parent_that_only_a_manifest_names_is_part_of_the_lineage(recorded: RecordedDatasets) -> None:
    nodes = recorded.ancestors(DIGESTS["dream"], parents={DIGESTS["dream"]: ("e" * 64,)})
    assert [(node.digest, node.dataset, node.depth) for node in nodes] == [("e" * 64, None, 1)]


def test_a_circle_of_parents_ends(recorded: RecordedDatasets) -> None:
    base, twice = DIGESTS["base"], DIGESTS["twice"]
    nodes = recorded.ancestors(twice, parents={base: (twice,)})
    (again,) = (node for node in nodes if node.digest == twice)
    assert again.is_repeated


def test_an_archived_experiment_does_not_count(tmp_path: Path) -> None:
    settings = hokusai.TrackingSettings(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", journal=tmp_path / "journals")
    store = MlflowStore(settings.uri)
    other = dataclasses.replace(settings, experiment="other")
    for place, table in ((settings, "dream"), (other, "torgersen")):
        evaluate(place, DirectShipping(store), {table: ("contribution", "")}, model="", snapshots=None)
    assert len(RecordedDatasets(settings).datasets) == 2
    hokusai.archive_experiment(settings, "other")
    (left,) = RecordedDatasets(settings).datasets
    assert left.names == ("dream",)


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with pytest.raises(TrackingError, match="no tracking store here"):
        RecordedDatasets(hokusai.TrackingSettings(uri=f"sqlite:///{path}"))
    assert not path.exists()
