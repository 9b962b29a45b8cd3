"""A store that is made from the text is the store that MLflow's own migrations make."""

from __future__ import annotations

import importlib.util
import math
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Metric

from hokusai.errors import TrackingError
from hokusai.tracking.mlflow_client import MetricPoint, MlflowStore
from hokusai.tracking.sqlite_store import create_sqlite_store, insert_metric_points

if TYPE_CHECKING:
    from types import ModuleType

WRITERS = 8


@pytest.fixture(scope="module")
def two_stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MlflowClient]:
    """One file, written by us and by MLflow."""
    path = tmp_path_factory.mktemp("points") / "mlflow.db"
    assert create_sqlite_store(path)
    return path, MlflowClient(f"sqlite:///{path}")


@pytest.fixture
def dump_tool() -> ModuleType:
    """The tool that writes the text."""
    path = Path(__file__).parents[2] / "tools" / "dump_mlflow_schema.py"
    spec = importlib.util.spec_from_file_location("dump_mlflow_schema", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def schema(path: Path) -> set[tuple[str, str, tuple[str, ...]]]:
    """Return what a store's file defines.

    MLflow's migrations write the columns and constraints of some tables in another order each time, so a definition
    is compared as what stands between its commas.
    """
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    return {(kind, name, _definition(kind, " ".join((sql or "").split()))) for kind, name, sql in rows}


def _definition(kind: str, sql: str) -> tuple[str, ...]:
    if kind != "table":
        return (sql,)
    before, _, inside = sql.partition("(")
    return before.strip(), *sorted(part.strip() for part in re.split(r",(?![^()]*\))", inside.removesuffix(")")))


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of every table but the default experiment, which MLflow adds on first use."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: connection.execute(f'SELECT * FROM "{table}"').fetchall() for table in tables} | {  # noqa: S608
            "experiments": []
        }


def test_the_text_makes_the_store_that_mlflow_makes(tmp_path: Path, dump_tool: ModuleType) -> None:
    dump_tool.dump_fresh_store(tmp_path)
    assert create_sqlite_store(tmp_path / "ours.db")
    assert schema(tmp_path / "ours.db") == schema(tmp_path / "fresh.db")
    found = rows(tmp_path / "ours.db")
    assert found == rows(tmp_path / "fresh.db")
    assert len(found) > 40
    assert len(found["alembic_version"]) == 1


def test_a_new_store_writes_ahead_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "mlflow.db"
    assert create_sqlite_store(path)
    assert [file.name for file in path.parent.iterdir()] == ["mlflow.db"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("content", [b"", b"somebody's file"])
def test_a_file_that_is_there_is_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    before = path.stat()
    assert create_sqlite_store(path)
    assert path.read_bytes() == content
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize("place", ["file/mlflow.db", "file/deeper/mlflow.db"])
def test_a_store_that_cannot_be_made_is_refused_in_a_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrackingError, match=r"cannot be made here .*tracking\.uri"):
        create_sqlite_store(tmp_path / place)


@pytest.mark.slow
def test_processes_that_make_one_new_store_at_once_all_log_in_it(
    store_uri: str, tmp_path: Path, subprocess_environment: dict[str, str]
) -> None:
    script = """
import sys
from hokusai.tracking.mlflow_client import MetricPoint, MlflowStore
uri, number = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
store = MlflowStore(uri)
experiment = store.ensure_experiment("shared", tags={})
run = store.create_run(experiment, name=number, started_at=1, parent_id=None, tags={})
store.log_batch(run, metrics=[MetricPoint("number", float(number), 1, 0)], parameters={"number": number})
store.end_run(run, status="FINISHED", ended_at=2)
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, store_uri, str(number)],
            cwd=tmp_path,
            env=subprocess_environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(WRITERS)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    errors = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * WRITERS, errors

    client = MlflowClient(store_uri)
    experiment = client.get_experiment_by_name("shared")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    found = {(run.info.run_name, run.info.status, run.data.metrics["number"]) for run in runs}
    assert found == {(str(number), "FINISHED", float(number)) for number in range(WRITERS)}


def test_a_store_made_from_the_text_takes_what_mlflow_writes(store_uri: str) -> None:
    store = MlflowStore(store_uri)
    experiment = store.ensure_experiment("e", tags={"kind": "test"})
    assert store.ensure_experiment("e", tags={}) == experiment
    run = store.create_run(experiment, name="r", started_at=1, parent_id=None, tags={})
    store.log_batch(run, metrics=[MetricPoint("m", 0.1, 1, 0)])
    client = MlflowClient(store_uri)
    assert client.get_run(run).data.metrics == {"m": 0.1}
    assert client.get_experiment(experiment).tags["kind"] == "test"
    assert client.get_experiment("0").name == "Default"


NUMBERS = st.sampled_from([0.0, -0.0, 1.5, -1.5, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308])
POINTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "é c"]), NUMBERS, st.integers(0, 3), st.integers(-2, 2)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(POINTS, min_size=1, max_size=3))
def test_points_stand_in_the_tables_as_mlflow_itself_puts_them(
    two_stores: tuple[Path, MlflowClient], batches: list[list[tuple[str, float, int, int]]]
) -> None:
    path, client = two_stores
    ours, theirs = (client.create_run("0").info.run_id for _ in range(2))
    for batch in batches:
        assert insert_metric_points(path, ours, batch)
        client.log_batch(theirs, metrics=[Metric(*point) for point in batch])
        # As after a lost answer.
        assert insert_metric_points(path, ours, batch)
    with closing(sqlite3.connect(path)) as connection:
        for table in ("metrics", "latest_metrics"):
            columns = "key, value, timestamp, step, is_nan, typeof(value), typeof(is_nan)"
            rows = [
                sorted(connection.execute(f"SELECT {columns} FROM {table} WHERE run_uuid = ?", (run,)).fetchall())  # noqa: S608
                for run in (ours, theirs)
            ]
            assert rows[0] == rows[1]
            assert rows[0]


def test_points_of_a_run_that_is_not_there_or_was_deleted_are_left_to_mlflow(
    two_stores: tuple[Path, MlflowClient],
) -> None:
    path, client = two_stores
    run = client.create_run("0").info.run_id
    client.delete_run(run)
    for run_id in (run, "nothing"):
        assert not insert_metric_points(path, run_id, [("m", 1.0, 1, 0)])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM metrics WHERE run_uuid = ?", (run,)).fetchone() == (0,)


def test_points_for_tables_of_another_revision_are_left_to_mlflow(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    assert create_sqlite_store(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO runs (run_uuid, experiment_id, lifecycle_stage) VALUES ('r', 0, 'active')")
    assert insert_metric_points(path, "r", [("m", 1.0, 1, 0)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    assert not insert_metric_points(path, "r", [("m", 2.0, 1, 0)])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM metrics").fetchall() == [(1.0,)]
