"""Many processes at once: on one store, at one new name, on one run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import hokusai
from hokusai.testing import assert_run_complete
from hokusai.tracking.audit import audit_run
from hokusai.tracking.journal import find_journals
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.shipper import DirectShipping, LaterShipping, read_shipping_state, ship

if TYPE_CHECKING:
    from pathlib import Path

    from hokusai.testing import MlflowServerProcess, MockMlflowServer

EVALUATIONS = """
import json, os, sys
from pathlib import Path
import hokusai
from hokusai.testing import penguins_config
from hokusai.tracking.mlflow_config import TrackingSettings

# Loaded once, and inherited by all: what is tried is the store, not how fast Python starts.
import hokusai.pipeline, hokusai.models.model_files, hokusai.analysis.metrics, sklearn.linear_model, skops.io
import hokusai.execution.adaptive, hokusai.models.typical_row, hokusai.models.trainer_lookup, hokusai.steps.fit_jobs
import hokusai.steps.label_checks, hokusai.steps.loss_curves, joblib, threadpoolctl

count, uri, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
children = []
for number in range(count):
    child = os.fork()
    if child == 0:
        # On few processors so many leave a server without a word for longer than the default, 1.5 seconds.
        settings = TrackingSettings(uri=uri, journal=folder / "journals", outage_seconds=15.0)
        report = hokusai.run(penguins_config("dream", settings))
        summary = report.tracking
        lines = {"shipped": summary.shipped, "problem": summary.problem, "run": summary.runs[0].run_id}
        (folder / f"{number}.json").write_text(json.dumps(lines))
        os._exit(0)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def _evaluate_at_once(count: int, uri: str, folder: Path, environment: dict[str, str]) -> list[str]:
    """Run evaluations in processes of their own at once, and return the ids of their parent runs."""
    command = [sys.executable, "-c", EVALUATIONS, str(count), uri, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    found = [json.loads((folder / f"{number}.json").read_text(encoding="utf-8")) for number in range(count)]
    # Without a later sync: a store that is healthy, if busy, is waited for.
    assert [each["problem"] for each in found] == [""] * count
    assert all(each["shipped"] for each in found)
    return [each["run"] for each in found]


def _require_whole(runs: list[str], settings: TrackingSettings) -> None:
    assert len(set(runs)) == len(runs) == len(find_journals(settings.journal))
    for run in runs:
        assert_run_complete(run, store=settings.uri)
        report = audit_run(settings, run)
        assert report.ok, report.differences


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 16])
def test_evaluations_that_run_at_once_against_one_server_all_arrive_whole(
    count: int, mlflow_server_process: MlflowServerProcess, tmp_path: Path, subprocess_environment: dict[str, str]
) -> None:
    uri = mlflow_server_process.uri
    runs = _evaluate_at_once(count, uri, tmp_path, subprocess_environment)
    _require_whole(runs, TrackingSettings(uri=uri, journal=tmp_path / "journals"))


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 16])
def test_evaluations_that_run_at_once_against_one_new_sqlite_file_all_arrive_whole(
    count: int, store_uri: str, tmp_path: Path, subprocess_environment: dict[str, str]
) -> None:
    runs = _evaluate_at_once(count, store_uri, tmp_path, subprocess_environment)
    _require_whole(runs, TrackingSettings(uri=store_uri, journal=tmp_path / "journals"))


RACE = """
import os, sys
from hokusai.tracking.mlflow_client import MlflowStore

# What MLflow loads with its first call, so that sixteen processes need not.
import mlflow.store.tracking.rest_store, mlflow.store.tracking.sqlalchemy_store
import mlflow.store.model_registry.rest_store, mlflow.store.model_registry.sqlalchemy_store

uri, count = sys.argv[1], int(sys.argv[2])
gate, opener = os.pipe()
children = []
for number in range(count):
    child = os.fork()
    if child == 0:
        os.close(opener)
        os.read(gate, 1)
        code = 1
        try:
            experiment = MlflowStore(uri).ensure_experiment("a new name", tags={"purpose": "race"})
            os.write(1, f"{experiment}\\n".encode())
            code = 0
        finally:
            os._exit(code)
    children.append(child)
os.close(opener)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.mark.parametrize("kind", [pytest.param("server", marks=pytest.mark.slow), "sqlite"])
def test_processes_that_race_for_one_new_experiment_all_get_the_same(
    kind: str, request: pytest.FixtureRequest, store_uri: str, subprocess_environment: dict[str, str]
) -> None:
    uri = store_uri if kind == "sqlite" else request.getfixturevalue("mlflow_server").uri
    done = subprocess.run(
        [sys.executable, "-c", RACE, uri, "16"],
        capture_output=True,
        text=True,
        check=False,
        env=subprocess_environment,
    )
    assert done.returncode == 0, done.stderr
    ids = [line for line in done.stdout.splitlines() if line.isdigit()]
    assert len(ids) == 16
    assert len(set(ids)) == 1


# --- one run, gone on with by other processes -----------------------------------------------------------------------


RESUME = """
import sys
from pathlib import Path
import hokusai
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.shipper import LaterShipping

link, folder, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
settings = TrackingSettings(uri=sys.argv[4], journal=folder)
with hokusai.resume(link, settings=settings, shipping=LaterShipping()) as run:
    # Both are at work before either goes on.
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(2):
        with run.child("shard") as step:
            step.log_metrics({"number": number})
            step.log_text("who.txt", name)
"""


def test_two_processes_go_on_with_one_run_at_once_and_their_steps_are_its_children(
    mlflow_server: MockMlflowServer, tmp_path: Path, subprocess_environment: dict[str, str]
) -> None:
    settings = TrackingSettings(uri=mlflow_server.uri, journal=tmp_path / "journals")
    with hokusai.track("shards", settings=settings, shipping=LaterShipping()) as run:
        link = run.link.to_text()
        with run.child("prepare"):
            pass
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", RESUME, link, str(tmp_path / name), name, mlflow_server.uri],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=subprocess_environment,
            )
            for name in ("one", "two")
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        ends = [worker.communicate("go\n") for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0], ends
    [own], [one], [two] = (find_journals(folder) for folder in (settings.journal, tmp_path / "one", tmp_path / "two"))
    store = MlflowStore(mlflow_server.uri)

    # Before the run's own journal: what it goes on with is not there yet.
    first = DirectShipping(store)
    _, problem = first.wait(one)
    assert "is not there yet" in problem
    assert "hokusai sync" in problem
    assert ship(own, store).complete
    for folder in (one, two):
        assert ship(folder, store).complete
    state = read_shipping_state(own)
    assert state is not None
    parent = store.find_run(own.name)
    children = store.child_runs(parent)
    assert sorted(child.name for child in children) == ["prepare", "shard", "shard", "shard", "shard"]
    assert len({child.tags["hokusai.run_key"] for child in children}) == 5
    assert {child.status for child in (parent, *children)} == {"FINISHED"}
    before = [store.find_run(child.run_id) for child in (parent, *children)]
    for folder in (two, one, own):
        (folder / "shipping.json").unlink()
        ship(folder, store)
    after = [store.find_run(child.run_id) for child in (parent, *children)]
    assert [each.metrics for each in after] == [each.metrics for each in before]
    assert len(store.child_runs(parent)) == 5


# --- signals ---------------------------------------------------------------------------------------------------------

SIGNALLED = """
import os, signal, sys, threading
from pathlib import Path
import hokusai
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.shipper import LaterShipping

folder, number, handler = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if handler == "own":
    signal.signal(number, lambda *_: print("handled", flush=True))
counted, stop = [0], threading.Event()
def count():
    while not stop.is_set():
        counted[0] += 1
        stop.wait(0.001)
beside = threading.Thread(target=count)
beside.start()
settings = TrackingSettings(uri=f"sqlite:///{folder / 'mlflow.db'}", journal=folder / "journals")
try:
    with hokusai.track("signalled", settings=settings, shipping=LaterShipping()) as run:
        with run.child("step") as step:
            step.log_metrics({"m": 1.0})
            os.kill(os.getpid(), number)
            step.log_metrics({"later": 1.0})
finally:
    before = counted[0]
    while counted[0] == before:
        pass
    stop.set()
    beside.join()
    print("undisturbed", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)
"""


@pytest.mark.parametrize("handler", ["default", "own"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_tracked_work_as_killed_unless_the_program_handles_it(
    number: signal.Signals, handler: str, tmp_path: Path, subprocess_environment: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(tmp_path), str(int(number)), handler],
        capture_output=True,
        text=True,
        check=False,
        env=subprocess_environment,
    )
    is_own_term = handler == "own" and number == signal.SIGTERM
    lines = ["handled"] if handler == "own" else []
    assert done.stdout.splitlines() == [*lines, f"undisturbed {not is_own_term}"], done.stderr
    # Python ends itself by SIGINT after a KeyboardInterrupt, so that a shell sees the signal.
    expected = 0 if handler == "own" else 128 + number if number == signal.SIGTERM else -number
    assert done.returncode == expected, done.stderr
    [folder] = find_journals(tmp_path / "journals")
    store = MlflowStore(f"sqlite:///{tmp_path / 'mlflow.db'}")
    state = ship(folder, store)
    runs = store.list_runs_of_evaluation(state.experiment_id or "", folder.name)
    assert {run.status for run in runs} == {"FINISHED" if handler == "own" else "KILLED"}
    step = next(run for run in runs if run.name == "step")
    assert ("later" in step.metrics) == (handler == "own")
    assert all(run.end_time is not None and run.end_time >= run.start_time for run in runs)
