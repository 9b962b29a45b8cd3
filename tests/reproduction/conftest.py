"""What tests of reproductions share: a store with one evaluation, to be tampered with, and stores of one's own."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hokusai import pipeline
from hokusai.config import load_config
from hokusai.datasets.reader_process import TableReader
from hokusai.digests import canonical_json, sha256
from hokusai.reproduction.again import reproduce
from hokusai.steps.data_settings import ContributionSettings
from hokusai.testing.sample_data import penguins_config, penguins_folder
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.naming import MANIFEST_DIGEST_TAG
from hokusai.tracking.shipper import DirectShipping
from hokusai.tracking.sqlite_store import create_sqlite_store

with warnings.catch_warnings(action="ignore"):  # MLflow warns while it is imported
    from hokusai.tracking.mlflow_reader import MlflowReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hokusai.config import PipelineConfig
    from hokusai.records import DeltaReport
    from hokusai.reproduction.document import Reproduction

ROW, COLUMN = 17, "body_mass_g"
HOKUSAI = (sys.executable, "-c", "from hokusai.cli import main; main()")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A store with one evaluation, of which nothing else is left."""

    folder: Path
    evaluation: str
    run_id: str
    reader: TableReader

    @property
    def settings(self) -> TrackingSettings:
        """Where it is, and where new journals go."""
        return TrackingSettings(uri=f"sqlite:///{self.folder / 'mlflow.db'}", journal=self.folder / "journals")

    def reproduce(self, **options: Any) -> Reproduction:
        """Do its evaluation again."""
        return reproduce(self.run_id, settings=self.settings, reader=self.reader, **options)

    def file(self, name: str) -> Path:
        """Return the only artifact of this name."""
        (found,) = self.folder.glob(f"mlartifacts/**/{name}")
        return found

    def execute(self, statement: str, *values: str) -> int:
        """Change the database behind MLflow's back, and return how many rows that were."""
        with sqlite3.connect(self.folder / "mlflow.db") as connection:
            rows = connection.execute(statement, values).rowcount
        connection.close()
        return rows

    def snapshot(self, name: str) -> Path:
        """Return the stored table of a name."""
        delta = json.loads(self.file("delta.json").read_bytes())
        (digest,) = [item["digest"] for item in delta["datasets"] if item["name"] == name]
        return self.file(f"{digest}.parquet")


def run_directly(config: PipelineConfig, reader: TableReader) -> DeltaReport:
    shipping = DirectShipping(MlflowReader(config.tracking.uri))
    return pipeline.run(config, shipping=shipping, reader=reader)


def record_penguins(project: Path, store: Path, reader: TableReader, **settings: Any) -> Store:
    """Record an evaluation of a project's own copy of the penguins; settings are sections of the configuration."""
    create_sqlite_store(store / "mlflow.db")
    shutil.copytree(penguins_folder(), project, dirs_exist_ok=True)
    tracking = {"uri": f"sqlite:///{store / 'mlflow.db'}", "journal": str(project / "journals")}
    flags = {f"tracking.{name}": value for name, value in tracking.items()}
    resolved = load_config(project / "evaluation.toml", flags=flags | settings)
    shipping = DirectShipping(MlflowReader(tracking["uri"]))
    report = pipeline.run(resolved, shipping=shipping, reader=reader)
    assert report.tracking is not None
    run_id = report.tracking.runs[0].run_id
    assert run_id is not None
    return Store(folder=store, evaluation=report.identity.evaluation, run_id=run_id, reader=reader)


def record_again(store: Store, file: Path, content: bytes, *, run_id: str = "", path: str = "") -> None:
    """Put another file in an artifact's place, with everything that a run which recorded it would have.

    The run is the parent's, and the path stays, where no other is named.
    """
    old, new = sha256(file.read_bytes()), sha256(content)
    file.write_bytes(content)
    manifest = file.with_name("manifest.json")
    document = json.loads(manifest.read_bytes())
    (entry,) = [item for item in document["artifacts"] if item["sha256"] == old]
    entry |= {"sha256": new, "size": len(content)} | ({"path": path} if path else {})
    manifest.write_bytes(canonical_json(document))
    tag = "UPDATE tags SET value = ? WHERE key = ? AND run_uuid = ?"
    assert store.execute(tag, sha256(manifest.read_bytes()), MANIFEST_DIGEST_TAG, run_id or store.run_id) == 1


@pytest.fixture(scope="session")
def reader() -> Iterator[TableReader]:
    with TableReader() as shared:
        yield shared


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, reader: TableReader) -> Store:
    """A recorded evaluation whose own folder, with its data and its journal, is gone."""
    folder, project = tmp_path_factory.mktemp("original") / "store", tmp_path_factory.mktemp("project")
    create_sqlite_store(folder / "mlflow.db")
    shutil.copytree(penguins_folder(), project, dirs_exist_ok=True)
    tracking = TrackingSettings(uri=f"sqlite:///{folder / 'mlflow.db'}", journal=project / "journals")
    config = penguins_config("dream", tracking)
    data = dataclasses.replace(
        config.data,
        base=project / "base.csv",
        benchmark=project / "benchmark.csv",
        contributions=(ContributionSettings(path=project / "dream.csv"),),
    )
    report = run_directly(dataclasses.replace(config, data=data), reader)
    assert report.tracking is not None
    run_id = report.tracking.runs[0].run_id
    assert run_id is not None
    shutil.rmtree(project)
    return Store(folder=folder, evaluation=report.identity.evaluation, run_id=run_id, reader=reader)


@pytest.fixture
def store(original: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of the recorded store, to be tampered with."""
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    folder = tmp_path / "store"
    shutil.copytree(original.folder, folder)
    copy = dataclasses.replace(original, folder=folder)
    for statement in (
        "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)",
        "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
        "UPDATE logged_models SET artifact_location = replace(artifact_location, ?, ?)",
    ):
        copy.execute(statement, str(original.folder), str(folder))
    return copy


def rewrite_cell(file: Path) -> float:
    """Change one cell of a stored table, and return what it was."""
    table = pq.read_table(file)
    values = table[COLUMN].to_pylist()
    before = float(values[ROW - 1])
    values[ROW - 1] += 100
    place = table.column_names.index(COLUMN)
    column = pa.array(values, table.schema.field(COLUMN).type)
    pq.write_table(table.set_column(place, table.schema.field(COLUMN), column), file)
    return before
