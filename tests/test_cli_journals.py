"""``hokusai journal``: what each command prints, and what it returns to a script."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from hokusai.tracking.journal import JOURNAL_FORMAT, FileJournal, JournalReader
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.naming import EVALUATION_TAG, RUN_KEY_TAG
from hokusai.tracking.operations import (
    EndRun,
    LogArtifact,
    LogMetrics,
    LogParameters,
    OpenJournal,
    SetTags,
    StartRun,
    to_json,
)
from hokusai.tracking.shipper import ship

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Outcome

KEY = "20300102-030405-0123abcd"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with its journals in ``.hokusai``."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(folder: Path, store: str, key: str = KEY) -> Path:
    """Record a closed evaluation of two runs, and return its journal's folder."""
    journal = FileJournal(folder / ".hokusai" / key)
    child = f"{key}:train_new_model"
    journal.append(OpenJournal(format=JOURNAL_FORMAT, evaluation=key, experiment="trials", tracking_uri=store))
    for run, name, parent in ((key, "the whole", None), (child, "train_new_model", key)):
        tags = {RUN_KEY_TAG: run, EVALUATION_TAG: key}
        journal.append(StartRun(run=run, name=name, parent=parent, tags=tags))
    journal.append(LogParameters(run=child, parameters={"depth": "3"}))
    journal.append(LogMetrics(run=child, metrics={"loss": float("nan")}, step=2))
    journal.append(SetTags(run=child, tags={"note": "\x1b[31m" + "long " * 100, "file": "caf\udce9"}))
    staged = journal.stage(b"content")
    journal.append(LogArtifact(run=child, path="a.txt", sha256=staged.sha256, size=staged.size))
    for run in (child, key):
        journal.append(EndRun(run=run, status="FINISHED"))
    (journal.folder / "delta.json").write_text("{}", encoding="utf-8")
    journal.close()
    return journal.folder


def record_and_ship(folder: Path, key: str = KEY) -> Path:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    journal = record(folder, uri, key)
    ship(journal, MlflowStore(uri))
    return journal


# --- list ------------------------------------------------------------------------------------------------------------


def test_list_says_how_far_each_journal_has_come(here: Path, call: Callable[..., Outcome]) -> None:
    record_and_ship(here, "1-shipped")
    record(here, "http://127.0.0.1:1", "2-waiting")
    damaged = record(here, "http://127.0.0.1:1", "3-damaged")
    log = damaged / "journal.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"depth":"3"', b'"depth":"4"'))
    done = call("journal", "list")
    assert (done.code, done.err) == (0, "")
    lines = {line.split()[0]: re.split(r"\s{2,}", line.strip()) for line in done.out.splitlines() if line.strip()}
    assert lines["1-shipped"][1:3] == ["trials", "10"]
    assert lines["1-shipped"][4] == "shipped"
    # A long path goes on in the next line.
    assert f"sqlite:///{here / 'mlflow.db'}".startswith(lines["1-shipped"][5])
    assert lines["2-waiting"][4:] == ["waiting to be shipped", "http://127.0.0.1:1"]
    assert lines["3-damaged"][4] == "damaged"
    assert "line 5 does not continue the line before it" in done.out


def test_list_of_no_journals_says_so(here: Path, call: Callable[..., Outcome]) -> None:
    assert call("journal", "list") == (0, f"No journals in {here / '.hokusai'}.\n", "")


# --- show ------------------------------------------------------------------------------------------------------------


def test_show_prints_one_readable_line_per_entry(here: Path, call: Callable[..., Outcome]) -> None:
    record(here, "http://127.0.0.1:1")
    done = call("journal", "show", KEY[:10])
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert len(lines) == 10
    assert [line.split()[0] for line in lines] == [str(number) for number in range(1, 11)]
    pattern = r" +5  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  train_new_model +log_metrics +loss=NaN step=2"
    assert re.fullmatch(pattern, lines[4])
    assert lines[7].endswith("status=FINISHED")
    assert "\x1b" not in done.out
    assert "note=\\x1b[31mlong long" in lines[5]
    assert "file=caf\\udce9" in lines[5]
    assert max(map(len, lines)) < 250
    assert re.search(r"path=a\.txt sha256=[0-9a-f]{12}… size=7$", lines[6])


def test_show_as_json_prints_every_fact_in_full(here: Path, call: Callable[..., Outcome]) -> None:
    folder = record(here, "http://127.0.0.1:1")
    printed = [json.loads(line) for line in call("journal", "show", str(folder), "--json").out.splitlines()]
    entries = list(JournalReader(folder))
    wanted = [{"sequence": entry.sequence, "time": entry.time, **to_json(entry.operation)} for entry in entries]
    assert printed == json.loads(json.dumps(wanted))
    assert printed[4]["metrics"] == {"loss": "NaN"}


@pytest.mark.parametrize("run", ["train_new_model", f"{KEY}:train_new_model"])
def test_show_can_be_kept_to_one_run(run: str, here: Path, call: Callable[..., Outcome]) -> None:
    record(here, "http://127.0.0.1:1")
    printed = [json.loads(line) for line in call("journal", "show", KEY, "--json", "--run", run).out.splitlines()]
    assert [entry["sequence"] for entry in printed] == [3, 4, 5, 6, 7, 8]


def test_show_of_a_damaged_journal_prints_what_is_sound_and_exits_2(here: Path, call: Callable[..., Outcome]) -> None:
    log = record(here, "http://127.0.0.1:1") / "journal.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:4], *lines[5:]]))
    done = call("journal", "show", KEY)
    assert done.code == 2
    assert len(done.out.splitlines()) in (0, 4)
    assert "line 5 has sequence number 6" in done.err


def test_a_journal_that_is_not_there_exits_2(here: Path, call: Callable[..., Outcome]) -> None:
    record(here, "http://127.0.0.1:1")
    for command in ("show", "verify", "prune"):
        done = call("journal", command, "nothing-like-it")
        assert (done.code, done.out) == (2, "")
        assert "no journal 'nothing-like-it'" in done.err


# --- verify ----------------------------------------------------------------------------------------------------------


def test_verify_names_what_is_damaged_and_exits_1(here: Path, call: Callable[..., Outcome]) -> None:
    record(here, "http://127.0.0.1:1", "1")
    damaged = record(here, "http://127.0.0.1:1", "2")
    done = call("journal", "verify")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "1: whole (10 entries, 1 staged files)"
    (staged,) = (damaged / "artifacts").iterdir()
    staged.write_bytes(b"CONTENT")
    done = call("journal", "verify")
    assert done.code == 1
    assert f"2: damaged\n  {staged}: a staged file was edited" in done.out
    assert done.out.endswith(f"2 journals looked at in {here / '.hokusai'}, 1 damaged.\n")
    assert call("journal", "verify", "1").code == 0
    assert call("journal", "verify", "1", "2").code == 1


def test_verify_reports_a_torn_line_which_is_no_damage(here: Path, call: Callable[..., Outcome]) -> None:
    with (record(here, "http://127.0.0.1:1") / "journal.jsonl").open("ab") as log:
        log.write(b'{"sequence"')
    done = call("journal", "verify")
    assert done.code == 0
    assert "its last line is torn, will be mended by the next sync" in done.out


# --- prune -----------------------------------------------------------------------------------------------------------


def test_prune_says_what_it_removes_what_stays_and_why(here: Path, call: Callable[..., Outcome]) -> None:
    shipped = record_and_ship(here, "1")
    waiting = record(here, f"sqlite:///{here / 'mlflow.db'}", "2")
    dry = call("journal", "prune", "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    assert re.search(r"(?m)^1: would be removed, its log and staged artifacts \(.+\); stays: delta\.json$", dry.out)
    assert (shipped / "journal.jsonl").exists()
    done = call("journal", "prune")
    assert done.code == 0
    assert done.out.splitlines()[:2] == [
        line.replace("would be removed", "removed") for line in dry.out.splitlines()[:2]
    ]
    assert "2: stays: it has not been shipped completely (0 of 10 entries); run `hokusai sync`" in done.out
    assert "1 of 2 journals" in done.out.splitlines()[-1]
    assert [path.name for path in shipped.iterdir()] == ["delta.json"]
    assert (waiting / "journal.jsonl").exists()


def test_prune_exits_1_when_a_named_journal_stays_or_a_shipped_one_is_not_confirmed(
    here: Path, call: Callable[..., Outcome]
) -> None:
    record(here, "http://127.0.0.1:1", "1")
    assert call("journal", "prune").code == 0
    assert call("journal", "prune", "1").code == 1
    record_and_ship(here, "2")
    (here / "mlflow.db").rename(here / "away.db")
    done = call("journal", "prune")
    assert done.code == 1
    assert "there is no such file any more" in done.out
    assert not (here / "mlflow.db").exists()


def test_prune_leaves_younger_journals_alone(here: Path, call: Callable[..., Outcome]) -> None:
    shipped = record_and_ship(here)
    done = call("journal", "prune", "--older-than", "0.5")
    assert done.code == 0
    assert "stays: it is younger than that" in done.out
    assert (shipped / "journal.jsonl").exists()
    assert "1 of 1 journal " in call("journal", "prune", "--older-than", "0").out


@pytest.mark.parametrize("days", ["-1", "soon", "nan", "1e9"])
def test_an_age_that_is_none_is_refused(days: str, here: Path, call: Callable[..., Outcome]) -> None:
    done = call("journal", "prune", f"--older-than={days}")
    assert done.code == 2
    assert f"got '{days}', expected a number of days from 0 to 36500" in done.err
    assert list(here.iterdir()) == []
