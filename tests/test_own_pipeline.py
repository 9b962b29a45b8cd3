"""Pipelines of one's own: the same tracking, without our five steps."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pytest

import hokusai
from hokusai.errors import ConfigurationError, TrackingServerError
from hokusai.tracking import naming
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_config import shipper_environment
from hokusai.tracking.shipper import DirectShipping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hokusai.testing.plugin import MlflowAddress


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in an empty folder, without settings in the environment."""
    for name in list(os.environ):
        if name.startswith(("HOKUSAI_", "MLFLOW_TRACKING_", "MLFLOW_EXPERIMENT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert mlflow.active_run() is None


@pytest.fixture
def settings(mlflow_store: MlflowAddress, tmp_path: Path) -> hokusai.TrackingSettings:
    """Settings for a fresh store."""
    return hokusai.TrackingSettings(
        uri=mlflow_store.uri,
        journal=tmp_path / "journals",
        experiment="own {project}",
        purpose="to try it",
        owner="the team",
        tags={"branch": "main"},
    )


@pytest.fixture
def shipping(settings: hokusai.TrackingSettings) -> DirectShipping:
    """Ships from this process, which has MLflow in it already."""
    return DirectShipping(MlflowStore(settings.uri))


@hokusai.tracked_step
def clean(rows: list[str], *, run: hokusai.Run) -> list[str]:
    """Drop short rows."""
    run.log_parameters({"clean.minimum_length": 3})
    kept = [row for row in rows if len(row) >= 3]
    run.log_metrics({"clean.rows_kept": len(kept)})
    return kept


@hokusai.tracked_step(name="count letters")
async def count(rows: list[str], *, run: hokusai.Run) -> int:
    """Count letters, later."""
    await asyncio.sleep(0)
    run.log_series("letters", [len(row) for row in rows])
    return sum(map(len, rows))


def test_a_pipeline_of_ones_own_is_in_mlflow_as_ours_is(
    settings: hokusai.TrackingSettings, shipping: DirectShipping, mlflow_store: MlflowAddress
) -> None:
    with hokusai.track("words", settings=settings, tags={"mine": "yes"}, shipping=shipping) as run:
        kept = clean(["a", "whale", "sea"], run=run)
        assert asyncio.run(count(kept, run=run)) == 8
        run.log_metrics({"recall@10": 0.5})
    client = mlflow_store.client
    experiment = client.get_experiment_by_name("own words")
    assert experiment is not None
    assert {name: experiment.tags[name] for name in experiment.tags if name.startswith("hokusai.")} == {
        naming.PROJECT_TAG: "words",
        naming.PURPOSE_TAG: "to try it",
        naming.OWNER_TAG: "the team",
        naming.SCHEMA_VERSION_TAG: "1",
    }
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    parent = runs.pop(run.name)
    assert set(runs) == {"clean", "count letters"}
    assert {found.info.status for found in (parent, *runs.values())} == {"FINISHED"}
    assert {found.data.tags["mlflow.parentRunId"] for found in runs.values()} == {parent.info.run_id}
    assert runs["clean"].data.params == {"clean.minimum_length": "3"}
    assert runs["clean"].data.metrics["clean.rows_kept"] == 2
    assert runs["clean"].data.metrics["step.wall_seconds"] > 0
    history = client.get_metric_history(runs["count letters"].info.run_id, "letters")
    assert [(point.step, point.value) for point in history] == [(0, 5.0), (1, 3.0)]
    assert parent.data.metrics["recall_x0040_10"] == 0.5
    assert parent.data.tags["branch"] == "main"
    assert parent.data.tags["mine"] == "yes"
    assert parent.data.tags[naming.HOST_KIND_TAG] in {"ci", "kubernetes", "container", "notebook", "machine"}


def test_a_run_goes_on_in_another_journal(
    settings: hokusai.TrackingSettings, shipping: DirectShipping, mlflow_store: MlflowAddress
) -> None:
    with hokusai.track("words", settings=settings, shipping=shipping) as run:
        clean(["whale"], run=run)
        link = run.link.to_text()
    for _ in range(2):
        with hokusai.resume(link, settings=settings, shipping=shipping) as resumed:
            clean(["sea"], run=resumed)
            resumed.set_tags({"resumed": "yes"})
    experiment = mlflow_store.client.get_experiment_by_name("own words")
    assert experiment is not None
    found = mlflow_store.client.search_runs([experiment.experiment_id])
    (parent,) = (each for each in found if each.info.run_name == run.name)
    children = [each for each in found if each is not parent]
    assert [each.info.run_name for each in children] == ["clean"] * 3
    assert {each.data.tags["mlflow.parentRunId"] for each in children} == {parent.info.run_id}
    assert parent.data.tags["resumed"] == "yes"
    assert parent.info.end_time >= max(each.info.end_time for each in children)
    heads = [tag for tag in parent.data.tags if tag.startswith(naming.JOURNAL_HEAD_TAG)]
    assert len(heads) == len(shipping.states) == 3


def test_a_failure_comes_out_unchanged_and_is_on_record(
    settings: hokusai.TrackingSettings, shipping: DirectShipping, mlflow_store: MlflowAddress, tmp_path: Path
) -> None:
    error = RuntimeError("too many whales")

    @hokusai.tracked_step
    def fail(*, run: hokusai.Run) -> None:  # noqa: ARG001
        raise error

    with pytest.raises(RuntimeError) as caught, hokusai.track("words", settings=settings, shipping=shipping) as run:
        fail(run=run)
    assert caught.value is error
    for found in mlflow_store.client.search_runs(["1"]):
        assert (found.info.status, found.data.tags[naming.ERROR_TAG]) == ("FAILED", "RuntimeError")
        trace = mlflow_store.client.download_artifacts(found.info.run_id, "traceback.txt", str(tmp_path))
        assert "RuntimeError: too many whales" in Path(trace).read_text(encoding="utf-8")


def test_what_cannot_be_a_step_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="lonely: a tracked step is handed its run as `run`"):

        @hokusai.tracked_step
        def lonely() -> None: ...

    with pytest.raises(TypeError, match=r"a generator works after its call.*run\.child\('rows'\)"):

        @hokusai.tracked_step
        def rows(*, run: hokusai.Run) -> Iterator[int]:
            yield len(run.key)


def test_a_step_keeps_its_name_and_its_text() -> None:
    assert (clean.__name__, clean.__doc__) == ("clean", "Drop short rows.")


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"experiment": "{nonsense}"}, "tracking.experiment"),
        ({"experiment": "x" * 251}, "tracking.experiment"),
        ({"run_name": "{project.name}"}, "tracking.run_name"),
        ({"registered_model": "a/b"}, "tracking.registered_model"),
        ({"on_outage": "panic"}, "tracking.on_outage"),
        ({"wait_seconds": -1.0}, "tracking.wait_seconds"),
        ({"tags": {"a": 1}}, "tracking.tags.a"),
    ],
)
def test_settings_made_in_code_are_checked_before_any_work(changed: dict[str, object], key: str) -> None:
    with (
        pytest.raises(ConfigurationError) as caught,
        hokusai.track("words", settings=hokusai.TrackingSettings(**changed)),  # type: ignore[arg-type]
    ):
        pytest.fail("the work began")
    assert caught.value.key == key
    assert list(Path.cwd().iterdir()) == []


def test_an_outage_is_a_warning_and_on_request_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in shipper_environment(hokusai.TrackingSettings()).items():
        monkeypatch.setenv(name, value)
    nowhere = "http://127.0.0.1:9"
    shipping = DirectShipping(MlflowStore(nowhere))
    away = {"uri": nowhere, "journal": tmp_path / "journals"}
    with hokusai.track("words", settings=hokusai.TrackingSettings(**away), shipping=shipping) as run:  # type: ignore[arg-type]
        run.log_metrics({"m": 1.0})
    (record,) = [each for each in caplog.records if each.name == "hokusai"]
    assert record.levelno == logging.WARNING
    assert f"{run.key} is not in MLflow yet" in record.getMessage()
    strict = hokusai.TrackingSettings(**away, on_outage="fail")  # type: ignore[arg-type]
    with (
        pytest.raises(TrackingServerError, match="hokusai sync") as caught,
        hokusai.track("w", settings=strict, shipping=shipping),
    ):
        pass
    # What the shipper said is said once.
    assert str(caught.value).count("hokusai sync") == str(caught.value).count(nowhere) == 1
    # The user's own exception is not replaced by it.
    with pytest.raises(KeyError, match="mine"), hokusai.track("w", settings=strict, shipping=shipping):
        raise KeyError("mine")


SCRIPT = """
import signal, sys, threading
import hokusai
beside = threading.Event()
threading.Thread(target=beside.wait, daemon=True).start()
with hokusai.track("words") as run, run.child("long") as step:
    step.log_metrics({"begun": 1.0})
    print(run.key, flush=True)
    signal.pause()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_a_signal_ends_the_runs_as_killed_and_the_process_as_without_us(number: int, code: int, folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    key = process.stdout.readline().strip()
    process.send_signal(number)
    process.communicate()
    assert process.returncode == code
    store = MlflowStore(f"sqlite:///{folder / 'mlflow.db'}")
    parent = store.find_run(key)
    (child,) = store.child_runs(parent)
    assert (parent.status, child.status, child.metrics["begun"]) == ("KILLED", "KILLED", 1.0)
    assert parent.end_time is not None
    assert child.end_time is not None
    assert parent.end_time >= child.end_time >= child.start_time


def test_a_handler_of_the_users_own_and_other_threads_are_left_alone(settings: hokusai.TrackingSettings) -> None:
    def handler(*_: object) -> None: ...

    shipping = DirectShipping(MlflowStore(settings.uri))
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with hokusai.track("words", settings=settings, shipping=shipping):
            assert signal.getsignal(signal.SIGTERM) is handler
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    seen: list[object] = []

    def work() -> None:
        with hokusai.track("words", settings=settings, shipping=shipping):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
    with hokusai.track("words", settings=settings, shipping=shipping):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
