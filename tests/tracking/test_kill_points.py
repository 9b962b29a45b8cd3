"""Killed at any point: an evaluation after each of its operations, a shipper at each of its requests."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hokusai import pipeline
from hokusai.errors import JournalError
from hokusai.testing.sample_data import penguins_config
from hokusai.tracking.audit import audit_run
from hokusai.tracking.journal import JOURNAL_FILE, JournalReader, recover
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_config import TrackingSettings, shipper_environment
from hokusai.tracking.naming import STEPS
from hokusai.tracking.operations import CloseJournal, EndRun, StartRun
from hokusai.tracking.shipper import SHIPPING_FILE, LaterShipping, ship

if TYPE_CHECKING:
    from collections.abc import Callable

    from hokusai.testing.mlflow_server import MockMlflowServer
    from hokusai.tracking.journal import Entry

_numbers = count(1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of one whole evaluation that has not been shipped."""
    folder = tmp_path_factory.mktemp("whole")
    settings = TrackingSettings(uri=f"sqlite:///{folder / 'mlflow.db'}", journal=folder / "journals")
    report = pipeline.run(penguins_config("dream", settings), shipping=LaterShipping())
    assert report.tracking is not None
    assert report.tracking.journal is not None
    assert not report.tracking.shipped
    return report.tracking.journal


def cut(whole: Path, parent: Path, *, lines: int, more: bytes | None = None) -> Path:
    """Copy a journal up to a line, as an evaluation of its own; of the next line only a half, or ``more``, is there.

    All staged files are there: a file is staged before the line that names it is written.
    """
    key = f"{whole.name[:-8]}{next(_numbers):08x}"
    folder = parent / key
    (folder / "artifacts").mkdir(parents=True)
    for staged in (whole / "artifacts").iterdir():
        (folder / "artifacts" / staged.name).hardlink_to(staged)
    link = "0" * 64
    text = b""
    for number, original in enumerate((whole / JOURNAL_FILE).read_bytes().splitlines()):
        renamed = original.replace(whole.name.encode(), key.encode())
        line = re.sub(rb'"previous":"[0-9a-f]{64}"', b'"previous":"%s"' % link.encode(), renamed, count=1)
        link = hashlib.sha256(line).hexdigest()
        if number == lines:
            text += line[: len(line) // 2] if more is None else more
            break
        text += line + b"\n"
    (folder / JOURNAL_FILE).write_bytes(text)
    return folder


def entries_of(folder: Path) -> list[Entry]:
    return list(JournalReader(folder))


def rows(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything that a store holds, table by table."""
    with closing(sqlite3.connect(database)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr) for name in names}  # noqa: S608


@pytest.mark.parametrize("kept", ["nothing", "one byte", "a half", "all but the end of the line"])
def test_a_torn_line_at_any_place_is_mended_and_open_runs_end_at_the_last_entry(
    whole: Path, tmp_path: Path, kept: str
) -> None:
    originals = entries_of(whole)
    torn = {"nothing": b"", "one byte": b"{", "a half": None, "all but the end of the line": b'{"sequence":1}'}
    for lines in range(1, len(originals)):
        folder = cut(whole, tmp_path, lines=lines, more=torn[kept])
        kept_entries = entries_of(folder)
        assert len(kept_entries) == lines
        open_runs: list[str] = []
        for entry in kept_entries:
            if isinstance(entry.operation, StartRun):
                open_runs.append(entry.operation.run)
            elif isinstance(entry.operation, EndRun):
                open_runs.remove(entry.operation.run)
        assert recover(folder) == tuple(open_runs)
        mended = entries_of(folder)
        assert mended[:lines] == kept_entries
        ends = [entry.operation for entry in mended[lines:-1]]
        last = kept_entries[-1].time
        assert ends == [EndRun(run=run, status="KILLED", ended_at=last) for run in reversed(open_runs)]
        assert isinstance(mended[-1].operation, CloseJournal)
        content = (folder / JOURNAL_FILE).read_bytes()
        assert content.endswith(b"\n")
        assert recover(folder) == ()
        assert (folder / JOURNAL_FILE).read_bytes() == content


@pytest.mark.slow
def test_what_was_recorded_before_any_kill_is_in_mlflow_after_sync_and_a_second_sync_changes_nothing(
    whole: Path, tmp_path: Path
) -> None:
    settings = TrackingSettings(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", journal=tmp_path / "journals")
    store = MlflowStore(settings.uri)
    number_of_lines = len(entries_of(whole))
    for lines in range(1, number_of_lines + 1):
        folder = cut(whole, settings.journal, lines=lines)
        recorded = entries_of(folder)
        state = ship(folder, store)
        assert state.complete
        ends = {
            entry.operation.run: (entry.operation.status, entry.time)
            for entry in recorded
            if isinstance(entry.operation, EndRun)
        }
        starts = [entry.operation.run for entry in recorded if isinstance(entry.operation, StartRun)]
        assert set(state.run_ids) == set(starts)
        if not starts:
            continue
        wanted = {run: ends.get(run, ("KILLED", recorded[-1].time)) for run in starts}
        found = store.list_runs_of_evaluation(state.experiment_id or "", folder.name)
        assert len(found) == len(wanted)
        assert {run.tags["hokusai.run_key"]: (run.status, run.end_time) for run in found} == wanted
        if lines % 3 == 0 or lines == number_of_lines:
            report = audit_run(settings, folder.name, journal=folder)
            assert report.ok, f"killed after line {lines}: {report.differences}"
        if lines % 10 == 0 or lines == number_of_lines:
            before = rows(tmp_path / "mlflow.db")
            assert ship(folder, store) == state
            assert rows(tmp_path / "mlflow.db") == before
            # A machine that knows nothing of the first sync sends all of it again.
            (folder / SHIPPING_FILE).unlink()
            assert ship(folder, store) == state
            assert rows(tmp_path / "mlflow.db") == before, f"killed after line {lines}"


def test_a_damaged_line_is_named_and_nothing_of_the_journal_is_shipped(whole: Path, tmp_path: Path) -> None:
    store = MlflowStore(f"sqlite:///{tmp_path / 'mlflow.db'}")
    lines = (whole / JOURNAL_FILE).read_bytes().splitlines(keepends=True)
    empty = rows(tmp_path / "mlflow.db")
    # What was changed in the last line shows only when MLflow has its digest.
    for number in range(1, len(lines)):
        folder = tmp_path / f"damaged-{number}"
        folder.mkdir()
        text = lines[number - 1]
        digit = re.search(rb'"time":(\d+)', text)
        assert digit is not None
        place = digit.end(1) - 1
        changed = text[:place] + (b"1" if text[place : place + 1] != b"1" else b"2") + text[place + 1 :]
        content = b"".join([*lines[: number - 1], changed, *lines[number:]])
        (folder / JOURNAL_FILE).write_bytes(content)
        with pytest.raises(JournalError, match=rf"line {number + 1} does not continue the line before it"):
            ship(folder, store)
        assert (folder / JOURNAL_FILE).read_bytes() == content
        cut_short = b"".join([*lines[: number - 1], text[: len(text) // 2] + b"\n", *lines[number:]])
        (folder / JOURNAL_FILE).write_bytes(cut_short)
        with pytest.raises(JournalError, match=rf"line {number} is not a journal entry"):
            ship(folder, store)
    assert rows(tmp_path / "mlflow.db") == empty


SHIPPER = """
import os, pathlib, signal, sys, traceback
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.shipper import ship
import mlflow.store.artifact.mlflow_artifacts_repo
import requests

uri, folders = sys.argv[1], list(map(pathlib.Path, sys.argv[2:]))
send = requests.Session.send


def die_at(number):
    seen = 0

    def send_and_die(*arguments, **keywords):
        nonlocal seen
        seen += 1
        answer = send(*arguments, **keywords)
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    requests.Session.send = send_and_die


killed = 0
for number, folder in enumerate(folders, start=1):
    # Everything has been imported, and nothing opened: a fork costs milliseconds.
    child = os.fork()
    if child == 0:
        try:
            die_at(number)
            ship(folder, MlflowStore(uri))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        print(killed)
        sys.exit(os.WEXITSTATUS(status))
    assert os.WTERMSIG(status) == signal.SIGKILL
    killed += 1
sys.exit("killed at every request, and never at the last")
"""


@pytest.mark.slow
def test_a_shipper_killed_after_any_of_its_requests_leaves_nothing_undone_and_nothing_twice(
    record_evaluation: Callable[..., Path],
    mlflow_server: MockMlflowServer,
    tmp_path: Path,
    subprocess_environment: dict[str, str],
) -> None:
    small = record_evaluation(mlflow_server.uri, steps=STEPS[:1])
    settings = TrackingSettings(uri=mlflow_server.uri, journal=tmp_path / "cut")
    folders = [cut(small, settings.journal, lines=len(entries_of(small))) for _ in range(100)]
    done = subprocess.run(
        [sys.executable, "-c", SHIPPER, mlflow_server.uri, *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
        env=subprocess_environment | shipper_environment(settings),
    )
    assert done.returncode == 0, done.stderr
    killed = int(done.stdout)
    assert killed > 20
    store = MlflowStore(mlflow_server.uri)
    for number, folder in enumerate(folders[: killed + 1]):
        assert ship(folder, store).complete
        if number % 4 == 0 or number == killed:
            report = audit_run(settings, folder.name, journal=folder)
            assert report.ok, f"killed after request {number + 1}: {report.differences}"
    found = rows(Path(mlflow_server.store_uri.removeprefix("sqlite:///")))
    assert [len(found[table]) for table in ("runs", "logged_models", "model_versions")] == [
        2 * (killed + 1),
        killed + 1,
        killed + 1,
    ]
