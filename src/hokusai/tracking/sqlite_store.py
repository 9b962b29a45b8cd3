"""MLflow's store in a SQLite file: made whole in milliseconds, and given many metric points at once.

MLflow builds a store by running its whole history of migrations, and processes that do so together in one file crash
one another. Here the tables come from a text that was dumped from a store that MLflow itself had migrated, one text
per MLflow version; the file appears under its name when it is complete. For a version without such a text, MLflow's
own migrations do the work, under a lock.

Metric points go straight into MLflow's two tables of them, as its own store would put them there, at a twentieth of the
time; only into a file whose tables are those of the text, which the tests compare with MLflow's own work.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
from contextlib import closing, suppress
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING

from hokusai.errors import TrackingError
from hokusai.tracking.mlflow_names import kept_value

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["create_sqlite_store", "insert_metric_points"]

_LOCK_SECONDS = 20.0
_INSERT_POINT = (
    "INSERT OR IGNORE INTO metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
)
# The latest is the one with the largest step, then time, then value.
_UPDATE_LATEST = """
    INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (key, run_uuid) DO UPDATE
    SET value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan
    WHERE (excluded.step, excluded.timestamp, excluded.value)
        > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)
"""


def create_sqlite_store(path: Path) -> bool:
    """Make sure that a complete MLflow store is at ``path``, if the text for the installed MLflow is there.

    Write-ahead logging is switched on in the new file: it makes tracking about three times faster and lets the UI
    read while a run writes. An existing file is never touched.

    Returns:
        Whether a store is there now; False leaves the making to MLflow.

    Raises:
        TrackingError: The folder cannot be written.
    """
    if path.exists():
        return True
    schema = _schema()
    if not schema:
        return False
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(partial)) as connection:
            connection.executescript(schema)
            connection.execute("PRAGMA journal_mode = WAL")
        # A hard link fails when another process was first, where a rename would replace that process's store.
        with suppress(FileExistsError):
            os.link(partial, path)
    except (OSError, sqlite3.Error) as error:
        msg = f"{path}: the tracking store cannot be made here ({error}). Name another one under tracking.uri."
        raise TrackingError(msg) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return True


def insert_metric_points(path: Path, run_id: str, points: Iterable[tuple[str, float, int, int]]) -> bool:
    """Insert metric points of a run; those that are there already stay as they are.

    Args:
        path: The store's file.
        run_id: The run.
        points: Name, value, time in milliseconds since 1970, and step.

    Returns:
        Whether they are there now. False when the file's tables are not the ones that are known here, or the run is
        not an active one of it: then MLflow has to be asked, and nothing was done.

    Raises:
        sqlite3.Error: The file cannot be written, or stays locked for 20 seconds.
    """
    rows = [(run_id, name, _kept(value), time, step, math.isnan(value)) for name, value, time, step in points]
    latest: dict[str, tuple[int, int, float]] = {}
    for _, name, value, time, step, _ in rows:
        latest[name] = max(latest.get(name, (step, time, value)), (step, time, value))
    last_rows = [row for row in rows if latest[row[1]] == (row[4], row[3], row[2])]
    with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        if not _is_known_and_active(connection, run_id):
            connection.execute("ROLLBACK")
            return False
        connection.executemany(_INSERT_POINT, rows)
        connection.executemany(_UPDATE_LATEST, last_rows)
        connection.execute("COMMIT")
    return True


def _is_known_and_active(connection: sqlite3.Connection, run_id: str) -> bool:
    revision = re.search(r"INSERT INTO \"alembic_version\" VALUES\('(\w+)'\)", _schema())
    if revision is None or connection.execute("SELECT version_num FROM alembic_version").fetchall() != [(revision[1],)]:
        return False
    found = connection.execute("SELECT lifecycle_stage FROM runs WHERE run_uuid = ?", (run_id,)).fetchall()
    return found == [("active",)]


def _kept(value: float) -> float:
    """Return the number that MLflow stores: zero, with a mark, for NaN."""
    return 0.0 if math.isnan(value) else kept_value(value)


@cache
def _schema() -> str:
    """Return the tables of the installed MLflow's store as SQL; empty when there is no text for its version."""
    text = files("hokusai.tracking") / "mlflow_schemas" / f"{version('mlflow')}.sql"
    return text.read_text(encoding="utf-8") if text.is_file() else ""
