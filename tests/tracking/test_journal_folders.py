"""Journals below a folder: what is listed is so, damage of every kind is found, and nothing unconfirmed is removed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hokusai.errors import JournalError
from hokusai.tracking.journal import JOURNAL_FORMAT, FileJournal, JournalReader, staged_path
from hokusai.tracking.journal_folders import (
    check_journal,
    find_folders,
    find_journal,
    list_journals,
    prune_journals,
)
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.naming import EVALUATION_TAG, RUN_KEY_TAG
from hokusai.tracking.operations import (
    EndRun,
    LogArtifact,
    LogDataset,
    LogMetrics,
    LogParameters,
    OpenJournal,
    StartRun,
)
from hokusai.tracking.shipper import SHIPPING_FILE, JournalShipper, ship

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow import MlflowClient

    from hokusai.testing.mlflow_server import MockMlflowServer
    from hokusai.testing.plugin import MlflowAddress

KEY = "20300102-030405-0123abcd"
NOW = datetime(2100, 1, 1, tzinfo=UTC)
CONTENTS = (b"one artifact", b"another artifact")


def open_journal(root: Path, uri: str, key: str = KEY) -> FileJournal:
    """Open a journal and record the beginning of an evaluation of two runs."""
    journal = FileJournal(root / key)
    journal.append(OpenJournal(format=JOURNAL_FORMAT, evaluation=key, experiment="folders", tracking_uri=uri))
    for run, parent in ((key, None), (f"{key}:train_new_model", key)):
        tags = {RUN_KEY_TAG: run, EVALUATION_TAG: key}
        journal.append(StartRun(run=run, name=run.rpartition(":")[2], parent=parent, tags=tags))
    return journal


def record(root: Path, uri: str, key: str = KEY) -> Path:
    """Record a closed evaluation that came with its report, and return its folder."""
    journal = open_journal(root, uri, key)
    child = f"{key}:train_new_model"
    journal.append(LogParameters(run=child, parameters={"depth": "3", "seeds": "5"}))
    journal.append(LogMetrics(run=child, metrics={"accuracy": 0.5, "loss": float("nan")}))
    dataset = LogDataset(
        run=child, name="b", context="base", digest="a" * 64, source="b.csv", rows=3, columns={"x": "double"}
    )
    journal.append(dataset)
    for place, content in enumerate(CONTENTS):
        staged = journal.stage(content)
        journal.append(LogArtifact(run=child, path=f"file-{place}.bin", sha256=staged.sha256, size=staged.size))
    for run in (child, key):
        journal.append(EndRun(run=run, status="FINISHED"))
    (journal.folder / "delta.json").write_text("{}", encoding="utf-8")
    journal.close()
    return journal.folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the journals."""
    return tmp_path / "journals"


@pytest.fixture
def settings(root: Path, mlflow_store: MlflowAddress) -> TrackingSettings:
    return TrackingSettings(uri=mlflow_store.uri, journal=root)


@pytest.fixture
def shipped(root: Path, mlflow_store: MlflowAddress) -> Path:
    folder = record(root, mlflow_store.uri)
    assert ship(folder, MlflowStore(mlflow_store.uri)).complete
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")} - {"lock", "shipping.lock"}


def edit_lines(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    log = folder / "journal.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    changed = change(list(lines))
    assert changed != lines
    log.write_bytes(b"".join(changed))


# --- which journal ---------------------------------------------------------------------------------------------------


def test_a_journal_is_found_by_its_path_its_key_and_the_unique_beginning_of_its_key(root: Path) -> None:
    first, second = record(root, "nowhere:", "20300102-aa"), record(root, "nowhere:", "20300102-aabb")
    assert find_folders(root) == (first, second)
    assert find_journal(root, str(second)) == second
    assert find_journal(root, "20300102-aa") == first
    assert find_journal(root, "20300102-aab") == second
    assert find_journal(root / "elsewhere", str(first)) == first


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2030", "'2030' is the beginning of 2 journals in .*: 20300102-aa, 20300102-bb. Give more"),
        ("20300102-ab", "no journal '20300102-ab' in .*Did you mean 20300102-.*hokusai journal list"),
        ("", "no journal '' in "),
        ("zzz", r"no journal 'zzz' in .*beginning\. List what"),
    ],
)
def test_a_name_that_is_no_journal_or_several_is_refused(name: str, message: str, root: Path) -> None:
    record(root, "nowhere:", "20300102-aa")
    record(root, "nowhere:", "20300102-bb")
    with pytest.raises(JournalError, match=message):
        find_journal(root, name)


def test_an_empty_name_is_not_the_only_journal(root: Path) -> None:
    record(root, "nowhere:")
    with pytest.raises(JournalError, match="no journal ''"):
        find_journal(root, "")


# --- list ------------------------------------------------------------------------------------------------------------


def test_a_list_of_nothing_is_empty_and_makes_nothing(root: Path) -> None:
    assert list_journals(root) == ()
    assert not root.exists()


def test_a_journal_is_listed_on_every_stage_of_its_way(root: Path, mlflow_store: MlflowAddress) -> None:
    journal = open_journal(root, mlflow_store.uri)
    (summary,) = list_journals(root)
    assert (summary.state, summary.entries, summary.experiment, summary.key) == ("being written", 3, "folders", KEY)
    shipper = JournalShipper(journal.folder, MlflowStore(mlflow_store.uri))
    shipper.advance()
    journal.append(LogMetrics(run=KEY, metrics={"x": 1.0}))
    journal.abandon()
    (summary,) = list_journals(root)
    assert (summary.state, summary.shipped, summary.entries) == ("partly shipped", 3, 4)
    ship(journal.folder, MlflowStore(mlflow_store.uri))
    (summary,) = list_journals(root)
    assert (summary.state, summary.shipped, summary.entries) == ("shipped", 7, 7)
    assert summary.store == mlflow_store.uri


def test_a_journal_that_no_store_has_seen_is_waiting_for_the_one_it_is_meant_for(root: Path) -> None:
    folder = record(root, "http://127.0.0.1:1")
    (summary,) = list_journals(root)
    assert (summary.state, summary.shipped, summary.store) == ("waiting", 0, "http://127.0.0.1:1")
    on_disk = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    assert summary.size == sum(on_disk) > sum(map(len, CONTENTS))


def test_a_journal_without_a_line_is_listed_as_empty(root: Path) -> None:
    (root / KEY).mkdir(parents=True)
    (root / KEY / "journal.jsonl").write_bytes(b'{"sequence":1,')
    (summary,) = list_journals(root)
    assert (summary.state, summary.entries, summary.experiment) == ("empty", 0, "")


def test_a_damaged_journal_is_listed_as_damaged_and_hides_no_other(root: Path) -> None:
    damaged, whole = record(root, "nowhere:", "1"), record(root, "nowhere:", "2")
    edit_lines(damaged, lambda lines: [lines[0], lines[2], *lines[3:]])
    summaries = list_journals(root)
    assert [(summary.folder, summary.state) for summary in summaries] == [(damaged, "damaged"), (whole, "waiting")]
    assert "line 2" in summaries[0].problem
    assert (summaries[0].entries, summaries[0].experiment) == (1, "folders")


# --- verify ----------------------------------------------------------------------------------------------------------


def test_a_journal_as_it_was_written_is_whole(root: Path) -> None:
    folder = record(root, "nowhere:")
    verdict = check_journal(folder)
    assert verdict.is_whole
    assert (verdict.entries, verdict.files, verdict.is_torn) == (11, 2, False)
    assert len(list(JournalReader(folder))) == 11


@pytest.mark.parametrize(
    ("change", "damage", "entries"),
    [
        (lambda lines: [*lines[:3], lines[3].replace(b'"3"', b'"4"'), *lines[4:]], "line 5 does not continue", 4),
        (lambda lines: [*lines[:3], *lines[4:]], "line 4 has sequence number 5", 3),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], "line 4 has sequence number 5", 3),
        (lambda lines: [*lines[:3], lines[3], lines[3], *lines[4:]], "line 5 has sequence number 4", 4),
        (lambda lines: [*lines[:3], b"\n", *lines[3:]], "line 4 is not a journal entry", 3),
        (lambda lines: [*lines[:3], b"{\n", *lines[4:]], "line 4 is not a journal entry", 3),
        (lambda lines: [*lines[:-1], lines[-1].replace(b"close_journal", b"unknown")], "line 11 cannot be used", 10),
    ],
    ids=["edited", "missing", "swapped", "doubled", "blank", "cut", "unknown"],
)
def test_a_damaged_line_is_named(
    change: Callable[[list[bytes]], list[bytes]], damage: str, entries: int, root: Path
) -> None:
    folder = record(root, "nowhere:")
    edit_lines(folder, change)
    verdict = check_journal(folder)
    assert not verdict.is_whole
    assert len(verdict.damages) == 1
    assert f"journal.jsonl: {damage}" in verdict.damages[0]
    assert (verdict.entries, verdict.is_torn) == (entries, False)


def test_a_torn_last_line_is_no_damage_and_the_shipper_mends_it(root: Path, mlflow_store: MlflowAddress) -> None:
    journal = open_journal(root, mlflow_store.uri)
    journal.abandon()
    with (journal.folder / "journal.jsonl").open("ab") as log:
        log.write(b'{"sequence":4,"time":1')
    verdict = check_journal(journal.folder)
    assert (verdict.is_whole, verdict.is_torn, verdict.entries) == (True, True, 3)
    assert ship(journal.folder, MlflowStore(mlflow_store.uri)).complete
    verdict = check_journal(journal.folder)
    assert (verdict.is_whole, verdict.is_torn, verdict.entries) == (True, False, 6)


def test_a_line_in_the_making_of_a_living_writer_is_not_torn(root: Path) -> None:
    journal = open_journal(root, "nowhere:")
    with (journal.folder / "journal.jsonl").open("ab") as log:
        log.write(b'{"sequence":4,"time":1')
    assert not check_journal(journal.folder).is_torn
    journal.abandon()
    assert check_journal(journal.folder).is_torn


def test_lines_that_are_missing_at_the_end_show_when_they_had_been_shipped(shipped: Path) -> None:
    edit_lines(shipped, lambda lines: lines[:-2])
    verdict = check_journal(shipped)
    assert "it ends with line 9, but shipping.json says that 11 lines were shipped" in verdict.damages[0]
    assert list_journals(shipped.parent)[0].state == "damaged"


@pytest.mark.parametrize(
    ("edit", "damage", "is_seen_by_list"),
    [
        (Path.unlink, "a staged file is missing", True),
        (lambda file: file.write_bytes(CONTENTS[0] + b"!"), "a staged file has 13 bytes, expected 12", True),
        (lambda file: file.write_bytes(CONTENTS[0].upper()), "a staged file was edited: its SHA-256 is ", False),
    ],
    ids=["missing", "longer", "edited"],
)
def test_a_damaged_staged_file_is_named_with_the_line_that_needs_it(
    edit: Callable[[Path], object], damage: str, *, is_seen_by_list: bool, root: Path
) -> None:
    folder = record(root, "nowhere:")
    staged = next(path for path in (folder / "artifacts").iterdir() if path.read_bytes() == CONTENTS[0])
    edit(staged)
    verdict = check_journal(folder)
    assert len(verdict.damages) == 1
    assert verdict.damages[0].startswith(f"{staged}: {damage}")
    assert "(line 7 names it)" in verdict.damages[0]
    assert (list_journals(root)[0].state == "damaged") == is_seen_by_list


# --- prune -----------------------------------------------------------------------------------------------------------


def test_a_journal_that_its_store_confirms_is_removed_but_for_the_report_and_strange_files(
    shipped: Path, settings: TrackingSettings
) -> None:
    (shipped / "notes.txt").write_text("mine", encoding="utf-8")
    (shipped / "artifacts" / "mine.txt").write_text("mine", encoding="utf-8")
    own = [shipped / "journal.jsonl", shipped / SHIPPING_FILE, *(shipped / "artifacts").iterdir()]
    size = sum(path.stat().st_size for path in own) - len("mine")
    (verdict,) = prune_journals(settings, now=NOW)
    assert (verdict.obstacle, verdict.size, verdict.kept) == ("", size, ("delta.json", "notes.txt"))
    assert names(shipped) == {"delta.json", "notes.txt", "artifacts", "artifacts/mine.txt"}
    assert list_journals(settings.journal) == ()
    assert prune_journals(settings, now=NOW) == ()


def test_a_folder_in_which_nothing_is_left_goes_as_well(shipped: Path, settings: TrackingSettings) -> None:
    (shipped / "delta.json").unlink()
    (verdict,) = prune_journals(settings, [shipped], now=NOW)
    assert verdict.is_removable
    assert not shipped.exists()


def test_a_dry_run_says_the_same_and_changes_nothing(shipped: Path, settings: TrackingSettings) -> None:
    before = {path: path.read_bytes() for path in shipped.rglob("*") if path.is_file()}
    dry = prune_journals(settings, now=NOW, dry_run=True)
    assert {path: path.read_bytes() for path in shipped.rglob("*") if path.is_file()} == before
    assert [verdict.is_removable for verdict in dry] == [True]
    assert prune_journals(settings, now=NOW) == dry


def test_a_journal_is_confirmed_by_a_server_as_well(root: Path, mlflow_server: MockMlflowServer) -> None:
    folder = record(root, mlflow_server.uri)
    ship(folder, MlflowStore(mlflow_server.uri))
    (verdict,) = prune_journals(TrackingSettings(uri="", journal=root), now=NOW)
    assert verdict.obstacle == ""
    assert names(folder) == {"delta.json"}


def test_younger_journals_stay_when_an_age_is_asked_for(shipped: Path, settings: TrackingSettings) -> None:
    last = list(JournalReader(shipped))[-1]
    written = datetime.fromtimestamp(last.time / 1000, UTC)
    day = timedelta(days=1)
    (verdict,) = prune_journals(settings, now=written + day - timedelta(seconds=1), older_than=day)
    assert (verdict.obstacle, verdict.is_unconfirmed) == ("it is younger than that", False)
    assert (shipped / "journal.jsonl").exists()
    (verdict,) = prune_journals(settings, now=written + day + timedelta(seconds=1), older_than=day)
    assert verdict.is_removable


def test_what_has_not_been_shipped_completely_stays(root: Path, settings: TrackingSettings) -> None:
    waiting = record(root, settings.uri, "1")
    partly = record(root, settings.uri, "2")
    ship(partly, MlflowStore(settings.uri))
    note = (partly / SHIPPING_FILE).read_text(encoding="utf-8")
    (partly / SHIPPING_FILE).write_text(note.replace('"confirmed": 11', '"confirmed": 10'), encoding="utf-8")
    dead = open_journal(root, settings.uri, "3")
    dead.abandon()
    empty = root / "4"
    empty.mkdir()
    (empty / "journal.jsonl").touch()
    before = {folder: names(folder) for folder in (waiting, partly, dead.folder, empty)}
    obstacles = [verdict.obstacle for verdict in prune_journals(settings, now=NOW)]
    assert "0 of 11 entries" in obstacles[0]
    assert "10 of 11 entries" in obstacles[1]
    assert "has not been closed" in obstacles[2]
    assert "nothing was recorded in it" in obstacles[3]
    assert {folder: names(folder) for folder in (waiting, partly, dead.folder, empty)} == before


@pytest.mark.parametrize("is_dry", [False, True])
def test_a_journal_that_is_being_written_stays(root: Path, settings: TrackingSettings, *, is_dry: bool) -> None:
    journal = open_journal(root, settings.uri)
    (verdict,) = prune_journals(settings, now=NOW, dry_run=is_dry)
    assert not verdict.is_removable
    assert "at work" in verdict.obstacle or "being written" in verdict.obstacle
    journal.append(LogMetrics(run=KEY, metrics={"still": 1.0}))
    journal.close()
    assert check_journal(journal.folder).entries == 7


@pytest.mark.parametrize("lock", ["lock", "shipping.lock"])
def test_a_journal_whose_lock_is_held_stays(lock: str, shipped: Path, settings: TrackingSettings) -> None:
    from filelock import FileLock

    with FileLock(shipped / lock):
        (verdict,) = prune_journals(settings, now=NOW)
        assert verdict.obstacle == "it is being written or shipped"
        assert check_journal(shipped).is_whole
    (verdict,) = prune_journals(settings, now=NOW)
    assert verdict.is_removable


def test_a_damaged_journal_stays(shipped: Path, settings: TrackingSettings) -> None:
    edit_lines(shipped, lambda lines: [*lines[:3], *lines[4:]])
    (verdict,) = prune_journals(settings, now=NOW)
    assert "line 4 has sequence number 5" in verdict.obstacle
    assert "journal.jsonl" in names(shipped)


def test_a_journal_without_its_runs_in_the_store_stays(
    shipped: Path, settings: TrackingSettings, mlflow_store: MlflowAddress
) -> None:
    client = mlflow_store.client
    experiment = client.get_experiment_by_name("folders")
    assert experiment is not None
    child = next(run for run in client.search_runs([experiment.experiment_id]) if "mlflow.parentRunId" in run.data.tags)

    client.delete_run(child.info.run_id)
    (verdict,) = prune_journals(settings, now=NOW)
    assert verdict.is_unconfirmed
    assert f"has 1 of its 2 runs; '{KEY}:train_new_model' is missing" in verdict.obstacle
    client.restore_run(child.info.run_id)

    client.update_run(child.info.run_id, status="RUNNING")
    (verdict,) = prune_journals(settings, now=NOW)
    assert "is RUNNING, expected FINISHED" in verdict.obstacle
    client.update_run(child.info.run_id, status="FINISHED")

    client.delete_experiment(experiment.experiment_id)
    (verdict,) = prune_journals(settings, now=NOW)
    assert "has 0 of its 2 runs" in verdict.obstacle
    assert "hokusai experiments list --archived" in verdict.obstacle
    client.restore_experiment(experiment.experiment_id)

    artifacts = Path(child.info.artifact_uri.removeprefix("file://"))
    (artifacts / "file-0.bin").rename(artifacts.parent / "away")
    (verdict,) = prune_journals(settings, now=NOW)
    assert verdict.obstacle.endswith("lacks the artifact 'file-0.bin'")
    (artifacts.parent / "away").rename(artifacts / "file-0.bin")

    assert check_journal(shipped).is_whole
    (verdict,) = prune_journals(settings, now=NOW)
    assert verdict.is_removable


def log_file(client: MlflowClient, run_id: str, name: str) -> str:
    client.log_text(run_id, "", name)
    return name


def test_a_journal_that_records_more_than_its_store_holds_stays(
    root: Path, settings: TrackingSettings, mlflow_store: MlflowAddress
) -> None:
    def ship_again() -> None:
        for run_id in ids.values():
            client.delete_run(run_id)
        (folder / SHIPPING_FILE).unlink()
        ship(folder, store)

    folder = record(root, settings.uri)
    store = MlflowStore(settings.uri)
    experiment = store.ensure_experiment("folders", tags={})
    ids: dict[str, str] = {}
    for key in (KEY, f"{KEY}:train_new_model"):
        tags = {RUN_KEY_TAG: key, EVALUATION_TAG: KEY}
        ids[key] = store.create_run(experiment, name=key, started_at=1, parent_id=None, tags=tags)
        store.end_run(ids[key], status="FINISHED", ended_at=2)
    # As if somebody had lost the facts and kept the runs.
    note = f'{{"store": "{settings.uri}", "confirmed": 11, "complete": true, "experiment_id": "{experiment}"}}'
    (folder / SHIPPING_FILE).write_text(note, encoding="utf-8")
    child, client = ids[f"{KEY}:train_new_model"], mlflow_store.client
    seen = []
    for repair in (
        lambda: [client.log_param(child, name, "1") for name in ("depth", "seeds")],
        lambda: [client.log_metric(child, name, float("nan")) for name in ("accuracy", "loss")],
        lambda: [log_file(client, child, f"file-{place}.bin") for place in range(2)],
        ship_again,
    ):
        (verdict,) = prune_journals(settings, now=NOW)
        assert verdict.is_unconfirmed
        seen.append(verdict.obstacle.partition("mlflow.db ")[2])
        repair()
    assert seen == [
        "lacks the parameter 'depth'",
        "lacks the metric 'accuracy'",
        "lacks the artifact 'file-0.bin'",
        "has 0 datasets, expected 1",
    ]
    (verdict,) = prune_journals(settings, now=NOW)
    assert verdict.is_removable


def test_a_store_that_is_gone_or_does_not_answer_confirms_nothing_and_is_not_made(
    root: Path, mlflow_server: MockMlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folders = [record(root, mlflow_server.uri, key) for key in ("1", "2")]
    for folder in folders:
        ship(folder, MlflowStore(mlflow_server.uri))
    note = (folders[1] / SHIPPING_FILE).read_text(encoding="utf-8")
    gone = tmp_path / "gone" / "mlflow.db"
    (folders[1] / SHIPPING_FILE).write_text(note.replace(mlflow_server.uri, f"sqlite:///{gone}"), encoding="utf-8")
    third = record(root, mlflow_server.uri, "3")
    shutil.copy(folders[0] / SHIPPING_FILE, third)
    mlflow_server.stop()
    verdicts = prune_journals(TrackingSettings(uri="", journal=root), now=NOW)
    assert [verdict.is_unconfirmed for verdict in verdicts] == [True, True, True]
    assert "cannot be reached" in verdicts[0].obstacle
    assert "no such file any more" in verdicts[1].obstacle
    assert verdicts[2].obstacle == verdicts[0].obstacle
    assert not gone.parent.exists()
    assert all(check_journal(verdict.folder).is_whole for verdict in verdicts)


_PRUNE_AND_DIE = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from hokusai.tracking.journal_folders import prune_journals
from hokusai.tracking.mlflow_config import TrackingSettings
left = int(sys.argv[3])
def hook(event, arguments):
    global left
    folder = str(arguments[0]) if arguments else ""
    if event in ("os.rename", "os.remove", "os.rmdir") and folder.startswith(sys.argv[1]) and "lock" not in folder:
        if not left:
            os.kill(os.getpid(), 9)
        left -= 1
sys.addaudithook(hook)
settings = TrackingSettings(uri=sys.argv[2], journal=Path(sys.argv[1]))
assert prune_journals(settings, now=datetime(2100, 1, 1, tzinfo=UTC))[0].is_removable
"""


@pytest.mark.parametrize("survived", [0, 3, *(pytest.param(left, marks=pytest.mark.slow) for left in (1, 5))])
def test_a_pruning_that_is_killed_at_any_removal_leaves_a_whole_journal_or_is_finished_by_the_next(
    survived: int, shipped: Path, settings: TrackingSettings
) -> None:
    root = str(settings.journal)
    command = [sys.executable, "-c", _PRUNE_AND_DIE, root, settings.uri, str(survived)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (summary,) = list_journals(settings.journal)
    if survived == 0:
        assert summary.state == "shipped"
        assert check_journal(shipped).is_whole
    else:
        assert summary.state == "being pruned"
        assert find_journal(settings.journal, KEY) == shipped
    (verdict,) = prune_journals(settings, now=NOW)
    assert (verdict.is_removable, verdict.kept) == (True, ("delta.json",))
    assert names(shipped) == {"delta.json"}


def test_a_folder_without_a_journal_is_left_alone(tmp_path: Path, settings: TrackingSettings) -> None:
    (tmp_path / "lock").write_text("mine", encoding="utf-8")
    (verdict,) = prune_journals(settings, [tmp_path], now=NOW)
    assert verdict.obstacle == "there is no journal here"
    assert (tmp_path / "lock").read_text(encoding="utf-8") == "mine"


def test_the_path_of_a_staged_file_is_what_is_checked(root: Path) -> None:
    folder = record(root, "nowhere:")
    (artifact, *_) = (entry.operation for entry in JournalReader(folder) if isinstance(entry.operation, LogArtifact))
    shutil.rmtree(folder / "artifacts")
    damages = check_journal(folder).damages
    assert str(staged_path(folder, artifact.sha256)) in damages[0]
    assert len(damages) == 2
