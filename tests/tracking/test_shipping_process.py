"""Shipping beside the work: a server that comes and goes, a parent that dies, a signal that ends it all."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

from hokusai.records import BenchmarkAnswer, BenchmarkHistory, BenchmarkQuestion
from hokusai.tracking.journal import FileJournal, JournalReader, find_journals
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_config import TrackingSettings, shipper_environment
from hokusai.tracking.mlflow_ledger import BenchmarkLedger
from hokusai.tracking.naming import EVALUATION_TAG, STEPS
from hokusai.tracking.operations import CloseJournal, StartRun
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipper import ship
from hokusai.tracking.shipping_process import ShippingProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow.entities import Run
    from tests.conftest import UnreliableServer

    from hokusai.testing.mlflow_server import MlflowServerProcess

_LONG = 120.0
QUESTION = BenchmarkQuestion(digest="ab" * 32, metric="accuracy", higher_is_better=True, evaluation="e")


@pytest.fixture
def _quick_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MLflow's client in this process fail as fast as in the shipping process."""
    for name, value in shipper_environment(TrackingSettings()).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def start_shipping() -> Iterator[Callable[..., ShippingProcess]]:
    """Start shipping processes and end them."""
    started: list[ShippingProcess] = []

    def start(uri: str, *, wait_seconds: float = _LONG) -> ShippingProcess:
        started.append(ShippingProcess(uri, TrackingSettings(wait_seconds=wait_seconds, request_seconds=5.0)))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def start_process(tmp_path: Path, subprocess_environment: dict[str, str]) -> Iterator[Callable[..., Popen[str]]]:
    """Start Python processes in groups of their own, and end the groups."""
    started: list[Popen[str]] = []

    def start(*arguments: str) -> Popen[str]:
        started.append(
            Popen(
                [sys.executable, *arguments],
                cwd=tmp_path,
                env=subprocess_environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does; give up after a time that no machine needs."""
    deadline = time.monotonic() + _LONG
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.05)


def runs_of(uri: str, evaluation: str) -> dict[str, Run]:
    """Return the runs of an evaluation as MLflow holds them, by name."""
    client = MlflowClient(uri, uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{EVALUATION_TAG}` = '{evaluation}'")
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found), "a run is there twice"
    return runs


def test_a_growing_journal_is_in_mlflow_before_it_is_closed(
    store_uri: str, open_journal: Callable[[str], FileJournal], start_shipping: Callable[..., ShippingProcess]
) -> None:
    journal = open_journal(store_uri)
    shipping = start_shipping(store_uri)
    shipping.follow(journal.folder)
    evaluation = journal.folder.name
    with Tracker(journal, evaluation=evaluation, run_name="parent").start() as run:
        for value in (1.0, 2.0):
            run.log_metrics({"m": value}, step=int(value))
            wait_until(lambda value=value: _metric(store_uri, evaluation) == value, "the metric does not arrive")  # type: ignore[misc]
            assert runs_of(store_uri, evaluation)["parent"].info.status == "RUNNING"
    journal.close()
    state, problem = shipping.wait(journal.folder)
    assert problem == ""
    assert state is not None
    assert state.complete
    assert runs_of(store_uri, evaluation)["parent"].info.status == "FINISHED"


def test_nothing_is_imported_from_the_working_directory(
    store_uri: str,
    open_journal: Callable[[str], FileJournal],
    start_shipping: Callable[..., ShippingProcess],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Contributed files may lie there, and the process has the credentials of the store.
    files = [tmp_path / "working" / f"{name}.py" for name in ("uuid", "json", "mlflow")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nraise SystemExit(1)\n", encoding="utf-8")
    monkeypatch.chdir(files[0].parent)
    journal = open_journal(store_uri)
    shipping = start_shipping(store_uri)
    shipping.follow(journal.folder)
    with Tracker(journal, evaluation=journal.folder.name, run_name="parent").start():
        pass
    journal.close()
    assert shipping.wait(journal.folder)[1] == ""
    assert not (tmp_path / "ran").exists()
    assert runs_of(store_uri, journal.folder.name)["parent"].info.status == "FINISHED"


def _metric(uri: str, evaluation: str) -> float | None:
    runs = runs_of(uri, evaluation) if Path(uri.removeprefix("sqlite:///")).exists() else {}
    return runs["parent"].data.metrics.get("m") if "parent" in runs else None


@pytest.mark.usefixtures("_quick_client")
def test_a_server_that_is_down_from_the_start_gets_everything_later(
    unreliable_server: UnreliableServer,
    record_evaluation: Callable[..., Path],
    start_shipping: Callable[..., ShippingProcess],
) -> None:
    unreliable_server.stop()
    folder = record_evaluation(unreliable_server.uri)
    shipping = start_shipping(unreliable_server.uri, wait_seconds=0.5)
    shipping.ask(QUESTION)
    shipping.follow(folder)
    assert shipping.answer(QUESTION) is None
    state, problem = shipping.wait(folder)
    assert state is None
    assert "cannot be reached" in problem
    assert "hokusai sync" in problem
    shipping.close()
    unreliable_server.start()
    ship(folder, MlflowStore(unreliable_server.uri))
    runs = runs_of(unreliable_server.uri, folder.name)
    assert len(runs) == 6
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_a_server_that_stops_in_the_middle_loses_nothing_and_is_caught_up_with(
    mlflow_server_process: MlflowServerProcess,
    unreliable_server: UnreliableServer,
    open_journal: Callable[[str], FileJournal],
    start_shipping: Callable[..., ShippingProcess],
) -> None:
    journal = open_journal(unreliable_server.uri)
    evaluation = journal.folder.name
    shipping = start_shipping(unreliable_server.uri, wait_seconds=0.5)
    shipping.follow(journal.folder)
    with Tracker(journal, evaluation=evaluation, run_name="parent").start() as run:
        run.log_metrics({"m": 1.0})
        wait_until(lambda: "parent" in runs_of(mlflow_server_process.uri, evaluation), "the run does not arrive")
        unreliable_server.stop()
        run.log_metrics({"m": 2.0}, step=1)
        with run.child("child"):
            pass
    journal.close()
    state, problem = shipping.wait(journal.folder)
    assert problem
    assert state is None or not state.complete
    assert runs_of(mlflow_server_process.uri, evaluation)["parent"].info.status == "RUNNING"

    unreliable_server.start()
    wait_until(lambda: not shipping.wait(journal.folder)[1], "the shipping process does not catch up")
    runs = runs_of(mlflow_server_process.uri, evaluation)
    assert {name: run.info.status for name, run in runs.items()} == {"parent": "FINISHED", "child": "FINISHED"}
    history = MlflowClient(mlflow_server_process.uri).get_metric_history(runs["parent"].info.run_id, "m")
    assert sorted(point.value for point in history) == [1.0, 2.0]


def test_a_slow_server_that_makes_progress_is_waited_for(
    unreliable_server: UnreliableServer,
    open_journal: Callable[[str], FileJournal],
    start_shipping: Callable[..., ShippingProcess],
) -> None:
    journal = open_journal(unreliable_server.uri)
    with Tracker(journal, evaluation=journal.folder.name, run_name="slow").start() as run:
        for number in range(12):
            run.log_artifact(f"{number}.txt", b"slow")
    journal.close()
    unreliable_server.delay = 0.2
    # Longer than any one request takes, and shorter than all of them.
    shipping = start_shipping(unreliable_server.uri, wait_seconds=2.0)
    shipping.follow(journal.folder)
    state, problem = shipping.wait(journal.folder)
    assert problem == ""
    assert state is not None
    assert state.complete


PARENT = """
import pathlib, signal, sys
from hokusai.tracking.journal import FileJournal
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.operations import OpenJournal
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipping_process import ShippingProcess
folder, uri = pathlib.Path(sys.argv[1]), sys.argv[2]
shipping = ShippingProcess(uri, TrackingSettings())
journal = FileJournal(folder)
journal.append(OpenJournal(format="hokusai-journal/1", evaluation=folder.name, experiment="killed"))
shipping.follow(folder)
with Tracker(journal, evaluation=folder.name, run_name="parent").start() as run:
    with run.child("child"):
        run.log_metrics({"m": 1.0})
        print(shipping._process.pid, flush=True)
        signal.pause()
"""


def test_the_runs_of_a_killed_evaluation_do_not_stay_running(
    tmp_path: Path, store_uri: str, start_process: Callable[..., Popen[str]]
) -> None:
    folder = tmp_path / "journals" / "20300102-030405-killed"
    parent = start_process("-c", PARENT, str(folder), store_uri)
    assert parent.stdout is not None
    shipping_pid = int(parent.stdout.readline())
    wait_until((tmp_path / "mlflow.db").exists, "the store is not made")
    wait_until(lambda: "child" in runs_of(store_uri, folder.name), "the runs do not arrive")
    last = list(JournalReader(folder))[-1].time
    parent.kill()
    parent.wait()
    wait_until(lambda: not _is_alive(shipping_pid), "the shipping process does not end")
    runs = runs_of(store_uri, folder.name)
    ends = {name: (run.info.status, run.info.end_time) for name, run in runs.items()}
    assert ends == {"parent": ("KILLED", last), "child": ("KILLED", last)}
    assert isinstance(list(JournalReader(folder))[-1].operation, CloseJournal)


def _is_alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and that nobody asks for does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def test_a_parent_whose_pipes_close_before_its_lock_is_waited_for(
    store_uri: str, open_journal: Callable[[str], FileJournal], start_shipping: Callable[..., ShippingProcess]
) -> None:
    journal = open_journal(store_uri)
    shipping = start_shipping(store_uri)
    shipping.follow(journal.folder)
    journal.append(StartRun(run="r", name="parent", tags={EVALUATION_TAG: journal.folder.name}))
    wait_until((journal.folder / "shipping.json").exists, "nothing is shipped")
    stdin = shipping._process.stdin
    assert stdin is not None
    stdin.close()
    # Time enough for the other side to see it and to find the journal's writer alive.
    threading.Event().wait(0.5)
    journal.abandon()
    shipping._process.wait()
    assert runs_of(store_uri, journal.folder.name)["parent"].info.status == "KILLED"


def test_signals_to_the_whole_group_do_not_end_the_shipping_process(
    store_uri: str, record_evaluation: Callable[..., Path], start_shipping: Callable[..., ShippingProcess]
) -> None:
    shipping = start_shipping(store_uri)
    wait_until(lambda: shipping._ready, "the shipping process does not start")
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        shipping._process.send_signal(name)
    folder = record_evaluation(store_uri, steps=())
    shipping.follow(folder)
    assert shipping.wait(folder)[1] == ""


def test_a_journal_that_another_process_ships_does_not_hold_up_the_others(
    store_uri: str,
    open_journal: Callable[[str], FileJournal],
    record_evaluation: Callable[..., Path],
    start_shipping: Callable[..., ShippingProcess],
) -> None:
    contested = open_journal(store_uri)
    first, second = start_shipping(store_uri), start_shipping(store_uri, wait_seconds=5)
    first.follow(contested.folder)
    wait_until((contested.folder / "shipping.json").exists, "nothing is shipped")
    second.follow(contested.folder)
    other = record_evaluation(store_uri, steps=())
    second.follow(other)
    assert second.wait(other)[1] == ""
    assert "cannot be taken for shipping" in second.wait(contested.folder)[1]
    contested.close()
    assert first.wait(contested.folder)[1] == ""


def test_a_shipping_process_that_was_killed_says_so(
    store_uri: str, record_evaluation: Callable[..., Path], start_shipping: Callable[..., ShippingProcess]
) -> None:
    shipping = start_shipping(store_uri)
    shipping._process.kill()
    shipping.ask(QUESTION)
    assert shipping.answer(QUESTION) is None
    folder = record_evaluation(store_uri, steps=())
    shipping.follow(folder)
    state, problem = shipping.wait(folder)
    assert state is None
    assert "ended unexpectedly" in problem


def test_a_store_that_cannot_be_opened_is_named_as_the_problem(
    tmp_path: Path, record_evaluation: Callable[..., Path], start_shipping: Callable[..., ShippingProcess]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    uri = f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}"
    shipping = start_shipping(uri)
    folder = record_evaluation(uri, steps=())
    shipping.follow(folder)
    assert "cannot be made here" in shipping.wait(folder)[1]


def test_what_is_asked_of_a_benchmark_is_answered_beside_the_journals(
    store_uri: str, record_evaluation: Callable[..., Path], start_shipping: Callable[..., ShippingProcess]
) -> None:
    shipping = start_shipping(store_uri)
    # One that no ledger can answer must not end the process that answers the others.
    impossible = dataclasses.replace(QUESTION, digest="")
    shipping.ask(impossible)
    shipping.ask(QUESTION)
    none = BenchmarkHistory(evaluations=0, metric="accuracy")
    assert shipping.answer(QUESTION) == BenchmarkAnswer(is_split=False, history=none)
    assert shipping.answer(impossible) is None
    BenchmarkLedger(store_uri).split(
        QUESTION.digest, commitment="c0" * 32, decisions=3, feedback_rows=2, decision_rows=2
    )
    folder = record_evaluation(store_uri, steps=())
    shipping.follow(folder)
    later = dataclasses.replace(QUESTION, evaluation="later")
    shipping.ask(later)
    assert shipping.answer(later) == BenchmarkAnswer(is_split=True, history=none)
    assert shipping.wait(folder)[1] == ""


def test_a_password_shows_neither_on_a_command_line_nor_in_a_message(
    record_evaluation: Callable[..., Path], start_shipping: Callable[..., ShippingProcess]
) -> None:
    folder = record_evaluation("http://127.0.0.1:9", steps=())
    shipping = start_shipping("http://somebody:hunter2@127.0.0.1:9", wait_seconds=0.5)
    shipping.follow(folder)
    _, problem = shipping.wait(folder)
    # Only now: a process that has not answered yet may still be its parent's fork, without a command line of its own.
    command_line = Path(f"/proc/{shipping._process.pid}/cmdline").read_bytes()
    assert b"hokusai" in command_line
    assert b"hunter2" not in command_line
    assert "127.0.0.1:9" in problem
    assert "hunter2" not in problem
    assert all(b"hunter2" not in path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_evaluation_and_its_runs_as_killed(
    tmp_path: Path, demo_data: Path, start_process: Callable[..., Popen[str]], ending: signal.Signals
) -> None:
    for file in demo_data.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = ("training.estimator=RandomForestClassifier", "training.parameters={n_estimators = 1000000}")
    flags = [word for setting in settings for word in ("--set", setting)]
    command = "import hokusai.cli; hokusai.cli.main()"
    # The signal goes to the whole group, as from a terminal or a supervisor.
    evaluation = start_process("-c", command, "run", "evaluation.toml", *flags)
    journals = tmp_path / ".hokusai"
    wait_until(lambda: _is_training(journals) or evaluation.poll() is not None, "the training does not begin")
    assert evaluation.poll() is None, evaluation.communicate()
    os.killpg(evaluation.pid, ending)
    _, errors = evaluation.communicate()
    assert evaluation.returncode == 128 + ending, errors
    [folder] = find_journals(journals)
    runs = runs_of(f"sqlite:///{tmp_path / 'mlflow.db'}", folder.name)
    statuses = {name: run.info.status for name, run in runs.items() if name in STEPS}
    assert statuses == {
        "load_baseline_model": "FINISHED",
        "integrate_contributed_data": "FINISHED",
        "train_new_model": "KILLED",
    }
    [parent] = [run for name, run in runs.items() if name not in STEPS]
    assert parent.info.status == "KILLED"


def _is_training(journals: Path) -> bool:
    operations = [entry.operation for folder in find_journals(journals) for entry in JournalReader(folder)]
    return any(isinstance(operation, StartRun) and operation.name == "train_new_model" for operation in operations)
