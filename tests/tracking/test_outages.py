"""A server that is down, hangs, answers with errors or drops its answers; a full disk; a journal that is moved."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

import hokusai
from hokusai.errors import JournalError, TrackingServerError
from hokusai.testing import (
    DropAnswer,
    FaultyProxy,
    MockMlflowServer,
    Refuse,
    Reset,
    Status,
    TruncateAnswer,
    assert_run_complete,
    penguins_config,
    run_snapshot,
)
from hokusai.tracking.audit import audit_run
from hokusai.tracking.journal import find_journals
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_config import TrackingSettings, shipper_environment
from hokusai.tracking.naming import EVALUATION_TAG
from hokusai.tracking.shipper import DirectShipping, LaterShipping, read_shipping_state, ship
from hokusai.tracking.shipping_process import ShippingProcess, _Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Outcome

    from hokusai.records import DeltaReport
    from hokusai.testing import Fault, MlflowServerProcess

_LONG = 120.0
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An evaluation against a healthy server, and all that MLflow holds of it as text."""

    report: DeltaReport
    snapshot: str


@pytest.fixture
def _quick_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MLflow's client in this process fail as fast as in the shipping process."""
    for name, value in shipper_environment(TrackingSettings()).items():
        monkeypatch.setenv(name, value)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does; give up after a time that no machine needs."""
    deadline = time.monotonic() + _LONG
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.05)


def results(report: DeltaReport) -> tuple[object, ...]:
    # When a version was made is the one thing that differs.
    return report.deltas, report.decision, [dataclasses.replace(version, created="") for version in report.datasets]


# --- what an evaluation says and leaves, whatever its server does ----------------------------------------------------

SCRIPTS: dict[str, tuple[Fault, ...]] = {
    "down": (Refuse(),),
    "down after a while": (Refuse(skip=20),),
    "connections are reset at random": (Reset(probability=0.3),),
    "429 at random": (Status(429, probability=0.2),),
    "500 at random": (Status(500, probability=0.1),),
    "503 at random": (Status(503, probability=0.5),),
    "500 always": (Status(500),),
    "all kinds at random": tuple(Status(code, probability=0.1) for code in (429, 500, 503)),
    "answers are dropped at random": (DropAnswer(probability=0.15),),
    "answers to writing requests are always dropped": (DropAnswer(route="POST .*(create|log|update)", times=25),),
    "answers are cut at random": (TruncateAnswer(3, probability=0.2),),
}


# The others run with the slow tests.
EVERY_TIME = {"all kinds at random"}


@pytest.fixture(scope="module")
def server() -> Iterator[MockMlflowServer]:
    """One server for the evaluations of this file."""
    with MockMlflowServer() as server:
        yield server


@pytest.fixture(scope="module")
def reference(server: MockMlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """An evaluation against the healthy server."""
    settings = TrackingSettings(uri=server.uri, journal=tmp_path_factory.mktemp("journals"))
    report = hokusai.run(penguins_config("dream", settings), shipping=DirectShipping(MlflowStore(settings.uri)))
    assert report.tracking is not None
    assert report.tracking.shipped
    return Reference(report=report, snapshot=run_snapshot(report.tracking.runs[0].run_id or "", store=server))


@pytest.mark.usefixtures("_quick_client")
@pytest.mark.parametrize(
    "script", [script if script in EVERY_TIME else pytest.param(script, marks=pytest.mark.slow) for script in SCRIPTS]
)
def test_an_evaluation_has_the_same_result_and_its_record_arrives_once_and_whole(
    script: str, server: MockMlflowServer, reference: Reference, call: Callable[..., Outcome], tmp_path: Path
) -> None:
    registered = f"hokusai-{len(SCRIPTS[script])}-{sorted(SCRIPTS).index(script)}"
    with FaultyProxy(server.uri, faults=SCRIPTS[script], seed=sorted(SCRIPTS).index(script)) as proxy:
        settings = TrackingSettings(uri=proxy.uri, journal=tmp_path / "journals", registered_model=registered)
        store = MlflowStore(proxy.uri)
        report = hokusai.run(penguins_config("dream", settings), shipping=DirectShipping(store))
        assert results(report) == results(reference.report)
        summary = report.tracking
        assert summary is not None
        assert not summary.shipped, proxy.describe()
        assert summary.problem.startswith(proxy.uri)
        assert summary.problem.endswith("run `hokusai sync`.")
        assert summary.journal is not None
        for _ in range(_ATTEMPTS):
            with pytest.raises(TrackingServerError) if script in ("down", "500 always") else _any_outcome():
                ship(summary.journal, store)
        proxy.faults = ()
        assert call("sync", "--tracking-uri", proxy.uri, str(summary.journal)).code == 0
        state = read_shipping_state(summary.journal)
        assert state is not None
        assert state.complete
        run_id = state.run_ids[report.identity.evaluation]
        audit = audit_run(settings, run_id, journal=summary.journal)
        assert audit.ok, audit.differences
    assert_run_complete(run_id, store=server)
    snapshot = run_snapshot(run_id, store=server)
    assert snapshot.replace(registered, reference.report.identity.registered_model) == reference.snapshot
    client = MlflowClient(server.uri, server.uri)
    assert len(client.search_model_versions(f"name = '{registered}'")) == 1
    found = client.search_runs([state.experiment_id or ""], f"tags.`{EVALUATION_TAG}` = '{report.identity.evaluation}'")
    assert len(found) == 6
    models = client.search_logged_models([state.experiment_id or ""])
    assert len([model for model in models if model.source_run_id in state.run_ids.values()]) == 1


@contextmanager
def _any_outcome() -> Iterator[None]:
    """Let an attempt fail as an outage; nothing else may come out of it."""
    try:
        yield
    except TrackingServerError as error:
        if not error.is_outage:
            raise


@pytest.mark.usefixtures("_quick_client")
@pytest.mark.parametrize("end", [pytest.param("killed", marks=pytest.mark.slow), "hanging"])
def test_a_server_that_goes_in_the_middle_costs_nothing_but_time(
    end: str,
    mlflow_server_process: MlflowServerProcess,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    call: Callable[..., Outcome],
) -> None:
    server = mlflow_server_process
    settings = TrackingSettings(uri=server.uri, journal=tmp_path / "journals", experiment=f"outage-{end}")
    client = MlflowClient(server.uri, server.uri)

    def arrived() -> bool:
        experiment = client.get_experiment_by_name(settings.experiment)
        runs = client.search_runs([experiment.experiment_id], "attributes.run_name = 'before'") if experiment else []
        return bool(runs) and runs[0].info.status == "FINISHED"

    try:
        with caplog.at_level(logging.WARNING, "hokusai"), hokusai.track("outage", settings=settings) as run:
            run.log_parameters({"n": 3})
            with run.child("before") as step:
                step.log_metrics({"m": 1.0})
            wait_until(arrived, "the first step does not arrive")
            (server.kill if end == "killed" else server.hang)()
            with run.child("after") as step:
                step.log_series("loss", [0.5, 0.25])
                step.log_text("note.txt", "written while nobody listened")
    finally:
        if end == "killed":
            server.start()
        server.resume()
    [folder] = find_journals(settings.journal)
    [warning] = [record.getMessage() for record in caplog.records if record.name == "hokusai"]
    assert folder.name in warning
    assert "hokusai sync" in warning
    state = read_shipping_state(folder)
    assert state is None or not state.complete

    assert call("sync", "--tracking-uri", server.uri, str(folder)).code == 0
    report = audit_run(settings, folder.name)
    assert report.ok, report.differences
    state = read_shipping_state(folder)
    assert state is not None
    runs = MlflowStore(server.uri).list_runs_of_evaluation(state.experiment_id or "", folder.name)
    assert sorted((run.name, run.status) for run in runs if run.name in ("before", "after")) == [
        ("after", "FINISHED"),
        ("before", "FINISHED"),
    ]
    assert len(runs) == 3


def test_a_journal_that_is_refused_for_good_is_not_waited_for(mlflow_server: MockMlflowServer, tmp_path: Path) -> None:
    settings = TrackingSettings(
        uri=mlflow_server.uri, journal=tmp_path / "journals", experiment="archived", outage_seconds=60.0
    )
    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    experiment_id = client.create_experiment("archived")
    client.delete_experiment(experiment_id)
    shipping = ShippingProcess(settings.uri, settings)
    try:
        with hokusai.track("refused", settings=settings, shipping=shipping):
            pass
        assert shipping._patience.left() > 0
        [folder] = find_journals(settings.journal)
        _, problem = shipping.wait(folder)
        assert "archived" in problem
        client.restore_experiment(experiment_id)
        shipping.follow(folder)
        assert shipping.wait(folder)[1] == ""
    finally:
        shipping.close()


# --- how long the end of an evaluation waits --------------------------------------------------------------------------

SETTINGS = TrackingSettings(outage_seconds=1.5, wait_seconds=60.0)
NEWS = ("progress", "pulse", "problem")


class _Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def _hear(patience: _Patience, news: str) -> None:
    {"progress": patience.note_progress, "pulse": patience.note_pulse, "problem": patience.note_problem}[news]()
    # Whatever it heard, the shipping process has asked the store again.
    patience.note_waiting()


@given(
    before=st.lists(st.tuples(st.floats(0, 1e4), st.sampled_from(NEWS))),
    events=st.lists(st.tuples(st.floats(0, 5), st.sampled_from(NEWS)), max_size=40),
)
def test_a_store_that_fails_is_waited_for_no_longer_than_an_outage_may_cost(
    before: list[tuple[float, str]], events: list[tuple[float, str]]
) -> None:
    clock = _Clock()
    patience = _Patience(SETTINGS, clock=clock)
    # Whatever happened while the evaluation worked costs its end nothing.
    for pause, news in before:
        clock.now += pause
        _hear(patience, news)
    patience.begin()
    patience.note_waiting()
    sign, is_failing, lost = clock.now, patience.left() <= SETTINGS.outage_seconds and _is_failing(before), 0.0
    for pause, news in events:
        left = patience.left()
        assert left <= SETTINGS.outage_seconds + 1e-6  # what the clock's own digits leave over
        if pause > left:
            clock.now += max(left, 0.0)
            assert patience.left() <= 1e-6
            break
        clock.now += pause
        if is_failing or news == "problem":
            lost += clock.now - sign if not is_failing else pause
        is_failing = news == "problem" or (is_failing and news == "pulse")
        sign = clock.now
        _hear(patience, news)
    assert lost <= SETTINGS.outage_seconds + 1e-6


def _is_failing(events: list[tuple[float, str]]) -> bool:
    decisive = [news for _, news in events if news != "pulse"]
    return bool(decisive) and decisive[-1] == "problem"


@given(gaps=st.lists(st.floats(0, 1.4), max_size=100))
def test_a_store_that_answers_is_waited_for_as_long_as_it_makes_progress(gaps: list[float]) -> None:
    clock = _Clock()
    patience = _Patience(SETTINGS, clock=clock)
    patience.begin()
    for gap in gaps:
        clock.now += gap
        assert patience.left() > 0
        patience.note_progress(after=gap)
        patience.note_waiting()


@given(pulses=st.lists(st.floats(0, 1.4), max_size=200))
def test_a_store_that_only_gives_signs_of_life_is_waited_for_until_the_limit(pulses: list[float]) -> None:
    clock = _Clock()
    patience = _Patience(SETTINGS, clock=clock)
    patience.begin()
    for began, ended in pairwise([0.0, *(sum(pulses[: place + 1]) for place in range(len(pulses)))]):
        clock.now += ended - began
        if ended >= SETTINGS.wait_seconds:
            assert patience.left() <= 1e-6
            break
        assert patience.left() > 0
        patience.note_pulse()
        patience.note_waiting()


@given(silences=st.lists(st.floats(0, 5), max_size=5))
def test_seconds_that_an_answer_kept_waiting_in_vain_are_none_of_the_next_wait(silences: list[float]) -> None:
    clock = _Clock()
    patience = _Patience(SETTINGS, clock=clock)
    waited = 0.0
    for silence in silences:
        patience.begin()
        patience.note_waiting()
        pause = min(silence, max(patience.left(), 0.0))
        clock.now += pause
        waited += pause
        patience.keep_count()
        # The evaluation works for a while, which costs nothing.
        clock.now += 1000.0
    patience.begin()
    patience.note_waiting()
    assert patience.left() == pytest.approx(SETTINGS.outage_seconds - waited, abs=1e-6)
    assert waited <= SETTINGS.outage_seconds + 1e-6


def test_a_store_whose_answers_take_long_is_given_longer_and_an_idle_time_is_no_answer() -> None:
    clock = _Clock()
    patience = _Patience(SETTINGS, clock=clock)
    clock.now += 1000.0
    patience.note_progress(after=0.1)
    patience.begin()
    patience.note_waiting()
    assert patience.left() == SETTINGS.outage_seconds
    clock.now += 1.0
    patience.note_progress(after=1.0)
    patience.note_waiting()
    assert patience.left() == 3.0


def test_a_shipping_process_that_is_silent_itself_is_not_taken_for_a_silent_store() -> None:
    clock = _Clock()
    patience = _Patience(SETTINGS, clock=clock)
    patience.begin()
    clock.now += 10.0
    assert patience.left() == SETTINGS.wait_seconds - 10.0
    patience.note_waiting()
    assert patience.left() < 0


# --- a full disk, and a journal that cannot be written ---------------------------------------------------------------

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import hokusai
from hokusai.errors import JournalError
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.shipper import LaterShipping

folder, case = Path(sys.argv[1]), sys.argv[2]
settings = TrackingSettings(uri=f"sqlite:///{folder / 'mlflow.db'}", journal=folder / "journals")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
try:
    with hokusai.track("full", settings=settings, shipping=LaterShipping()) as run:
        run.log_metrics({"before": 1.0})
        resource.setrlimit(resource.RLIMIT_FSIZE, (run._journal._end.size + 100, hard))
        if case == "own exception":
            raise ZeroDivisionError("the user's own")
        run.log_metrics({f"number {number}": 1.0 for number in range(100)})
except BaseException as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    print(type(error).__name__, error, *getattr(error, "__notes__", ()), sep=" | ")
"""


def _on_a_full_disk(case: str, folder: Path, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder), case],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip().split(" | ")


def test_a_full_disk_is_one_message_and_what_was_recorded_before_is_shipped(
    tmp_path: Path, subprocess_environment: dict[str, str]
) -> None:
    [kind, message, *_] = _on_a_full_disk("operation", tmp_path, subprocess_environment)
    assert kind == "JournalError"
    assert "cannot be written (File too large)" in message
    _assert_shipped_as_killed(tmp_path)


def test_a_full_disk_does_not_replace_the_exception_of_the_user(
    tmp_path: Path, subprocess_environment: dict[str, str]
) -> None:
    [kind, message, *notes] = _on_a_full_disk("own exception", tmp_path, subprocess_environment)
    assert (kind, message) == ("ZeroDivisionError", "the user's own")
    assert notes
    assert all("could not be recorded" in note for note in notes)
    _assert_shipped_as_killed(tmp_path)


def _assert_shipped_as_killed(folder: Path) -> None:
    store = MlflowStore(f"sqlite:///{folder / 'mlflow.db'}")
    [journal] = find_journals(folder / "journals")
    state = ship(journal, store)
    [run] = store.list_runs_of_evaluation(state.experiment_id or "", journal.name)
    assert (run.status, run.metrics["before"]) == ("KILLED", 1.0)


def test_a_journal_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    # A file where the folder should be is refused to everybody, also to root.
    (tmp_path / "journals").write_bytes(b"not a folder")
    settings = TrackingSettings(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", journal=tmp_path / "journals")
    began = []
    with (
        pytest.raises(JournalError, match=r"cannot be written .* tracking\.journal"),
        hokusai.track("x", settings=settings, shipping=LaterShipping()),
    ):
        began.append(True)
    assert not began
    assert [path.name for path in tmp_path.iterdir()] == ["journals"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that nobody can write")
def test_a_read_only_file_system_is_refused_before_the_work() -> None:
    settings = TrackingSettings(uri="http://127.0.0.1:9", journal=Path("/proc/journals"))
    with (
        pytest.raises(JournalError, match=r"/proc/journals/.*cannot be written"),
        hokusai.track("x", settings=settings, shipping=LaterShipping()),
    ):
        pytest.fail("the work began")


# --- a journal on another machine ------------------------------------------------------------------------------------


def test_a_journal_that_was_copied_to_another_machine_ships_from_there(
    tmp_path: Path, mlflow_server: MockMlflowServer, call: Callable[..., Outcome]
) -> None:
    here, there = tmp_path / "here", tmp_path / "another machine" / "élan"
    settings = TrackingSettings(uri="http://127.0.0.1:9", journal=here / "journals")
    report = hokusai.run(penguins_config("dream", settings), shipping=LaterShipping())
    shutil.copytree(here / "journals", there)
    shutil.rmtree(here)
    [folder] = find_journals(there)
    assert call("sync", "--tracking-uri", mlflow_server.uri, str(folder)).code == 0
    state = read_shipping_state(folder)
    assert state is not None
    run_id = state.run_ids[report.identity.evaluation]
    assert_run_complete(run_id, store=mlflow_server)
    audit = audit_run(TrackingSettings(uri=mlflow_server.uri), run_id, journal=folder)
    assert audit.ok, audit.differences
