"""What is no finished evaluation cannot be done again, and what breaks off leaves no run behind that seems to run."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING

import pytest
from tests.conftest import clean_environment

import hokusai
from hokusai.errors import TrackingServerError
from hokusai.reproduction.again import reproduce
from hokusai.testing.sample_data import penguins_config
from hokusai.tracking.audit import audit_run
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.mlflow_reader import MlflowReader
from hokusai.tracking.naming import REPRODUCTION_VERDICT_TAG
from hokusai.tracking.shipper import DirectShipping

with warnings.catch_warnings(action="ignore"):  # MLflow warns while it is imported
    from mlflow import MlflowClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Outcome, UnreliableServer
    from tests.reproduction.conftest import Store

    from hokusai.datasets.reader_process import TableReader

TRAINING = "UPDATE runs SET status = ? WHERE name IN ('train_new_model', ?)"


def statuses(store: Store) -> dict[str, str]:
    """Return the status of every run in a store by its id."""
    client = MlflowClient(store.settings.uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return {run.info.run_id: run.info.status for run in client.search_runs(ids)}


def test_what_has_no_result_says_so_and_nothing_is_begun(
    store: Store, call: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    client = MlflowClient(store.settings.uri)
    foreign = client.create_run(client.create_experiment("foreign")).info.run_id
    client.set_terminated(foreign)
    with hokusai.track(
        "own", settings=store.settings, shipping=DirectShipping(MlflowReader(store.settings.uri))
    ) as own:
        own.log_metrics({"words": 3.0})
    before = statuses(store)

    def refused(run: str) -> str:
        found = call("reproduce", run, "--tracking-uri", store.settings.uri)
        assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
        return found.err

    for name in (foreign, foreign[:8]):
        assert f"({foreign}) was not recorded by Hokusai, expected one of an evaluation" in refused(name)
    assert "it is a pipeline of your own (hokusai.track)" in refused(own.key)
    assert "no run 'nonsense' in sqlite" in refused("nonsense")
    (name,) = {run.name for run in MlflowReader(store.settings.uri).runs_with_ids([store.run_id])}
    assert store.execute(TRAINING, "FAILED", name) == 2
    assert "it ended as FAILED in train_new_model. Run it anew" in refused(store.run_id)
    assert store.execute(TRAINING, "RUNNING", name) == 2
    assert "it has no result yet: it is RUNNING in train_new_model. Wait for its end" in refused(store.run_id)
    assert store.execute(TRAINING, "FINISHED", name) == 2
    assert statuses(store) == before


def test_a_list_of_files_that_was_changed_or_is_gone_is_not_believed(
    store: Store, call: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = store.file("configuration.json").with_name("manifest.json")
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    arguments = ("reproduce", store.run_id, "--tracking-uri", store.settings.uri)
    changed = call(*arguments)
    manifest.unlink()
    gone = call(*arguments)
    assert (changed.code, gone.code) == (1, 1)
    assert "the list of files (manifest.json) of evaluation was changed after it was recorded" in changed.err
    assert "the list of files (manifest.json) of evaluation is gone" in gone.err


def test_a_server_that_is_down_is_no_difference(
    call: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = call("reproduce", "1" * 32, "--tracking-uri", "http://127.0.0.1:9")
    assert (found.code, found.out) == (2, "")
    assert "the tracking server cannot be reached" in found.err


@pytest.mark.slow
def test_a_server_that_goes_away_meanwhile_is_no_difference_either(
    unreliable_server: UnreliableServer, reader: TableReader, tmp_path: Path
) -> None:
    settings = TrackingSettings(
        uri=unreliable_server.uri, journal=tmp_path / "journals", experiment="reproduced-without-a-server"
    )
    recorded = hokusai.run(penguins_config("dream", settings), reader=reader).tracking
    assert recorded is not None
    run_id = recorded.runs[0].run_id or ""
    end = time.time() * 1000
    with pytest.raises(TrackingServerError, match="cannot be reached"):
        reproduce(run_id, settings=settings, reader=reader, planned=lambda *_: unreliable_server.stop())
    unreliable_server.start()
    client = MlflowClient(unreliable_server.uri)
    found = client.search_runs([recorded.experiment_id or ""])
    # The broken one is in its journal alone, which can be brought over.
    assert [run.info.status for run in found] == ["FINISHED"] * 6
    (journal,) = [each for each in settings.journal.iterdir() if each.is_dir() and each != recorded.journal]
    assert DirectShipping(MlflowReader(unreliable_server.uri)).wait(journal)[1] == ""
    found = client.search_runs([recorded.experiment_id or ""])
    assert "RUNNING" not in {run.info.status for run in found}
    assert sorted(run.info.status for run in found if "hokusai.reproduction_of" in run.data.tags) == ["FAILED"]
    assert "train_new_model" not in {run.info.run_name for run in found if run.info.start_time > end}


SCRIPT = """
import os, signal, sys, threading
from pathlib import Path
from hokusai import TrackingSettings
from hokusai.reproduction.again import reproduce

where, number = sys.argv[4], int(sys.argv[5])

class Impatient:
    def run_started(self, key, name):
        if name == where:
            signal.raise_signal(number)

    def run_ended(self, key, name, status):
        if where == "shipping" and ":" not in key:
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()

# As the command does.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
settings = TrackingSettings(uri=sys.argv[2], journal=Path(sys.argv[3]))
reproduce(sys.argv[1], settings=settings, listener=Impatient())
signal.pause()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "number", "ended"),
    [
        ("train_new_model", signal.SIGINT, {"FINISHED", "KILLED"}),
        ("shipping", signal.SIGTERM, {"FINISHED"}),
    ],
)
def test_a_signal_leaves_no_run_that_seems_to_run_and_the_next_reproduction_is_none_the_worse(
    where: str, number: signal.Signals, ended: set[str], store: Store
) -> None:
    before = statuses(store)
    arguments = (store.run_id, store.settings.uri, str(store.settings.journal), where, str(int(number)))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], env=clean_environment(), capture_output=True, check=False
    )
    assert done.returncode == (-number if number == signal.SIGINT else 128 + number), done.stderr.decode()
    # The process that ships outlives the one that was ended.
    deadline, after = time.monotonic() + 60, statuses(store)
    while ended != (found := {after[run_id] for run_id in after.keys() - before}) and time.monotonic() < deadline:
        threading.Event().wait(0.1)
        after = statuses(store)
    assert found == ended
    assert {run_id: after[run_id] for run_id in before} == before
    (parent,) = [
        run
        for run in MlflowReader(store.settings.uri).runs_with_ids([*after.keys() - before.keys()])
        if not run.parent_id
    ]
    assert (REPRODUCTION_VERDICT_TAG in parent.tags) == (ended == {"FINISHED"})
    assert audit_run(store.settings, parent.run_id).differences == ()
    if where == "train_new_model":
        assert store.reproduce().verdict == "identical"
