"""The assertions of the test kit: what they let pass, and the words in which they name each difference."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import re
import shutil
import sqlite3
import textwrap
import time
import warnings
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hokusai import pipeline
from hokusai.digests import sha256
from hokusai.errors import RunNotFoundError
from hokusai.testing import completeness
from hokusai.testing.assertions import assert_run_complete, assert_same_history, assert_tracked
from hokusai.testing.completeness import check_run_complete
from hokusai.testing.mlflow_server import MockMlflowServer
from hokusai.testing.sample_data import penguins_config, penguins_folder
from hokusai.testing.snapshots import run_snapshot
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.naming import STEPS
from hokusai.tracking.sqlite_store import create_sqlite_store

with warnings.catch_warnings(action="ignore"):  # MLflow warns while it is imported
    import mlflow
    from mlflow import MlflowClient
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    from hokusai.tracking.mlflow_client import MlflowStore
    from hokusai.tracking.shipper import DirectShipping, ship

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlflow.entities import Run

    from hokusai.records import DeltaReport

# A small project, as a stranger would track it, and the bytes of its artifacts.
PARAMS = {"learning_rate": "0.1", "depth": "3", "layers": "[8, 4]", "note": "two\nlines"}
LOSS = [1.0, 0.5, 0.25]
FILES = {"model/weights.bin": bytes(range(200, 256)), "notes.txt": b"plain words"}
FULL_DIGEST = "ab" * 32


# --- stores ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[MockMlflowServer]:
    with MockMlflowServer() as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "server"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    """MLflow's own client, of a database and of a server."""
    if request.param == "server":
        uri = request.getfixturevalue("server").uri
        yield MlflowClient(uri, uri)
        return
    with fresh_store(tmp_path_factory.mktemp("store")) as client:
        yield client


class fresh_store:  # noqa: N801  (used like a function)
    """A database of its own, let go of at the end."""

    def __init__(self, folder: Path) -> None:
        """Choose the file."""
        self.path = folder / "mlflow.db"
        self.uri = f"sqlite:///{self.path}"

    def __enter__(self) -> MlflowClient:
        """Make it."""
        create_sqlite_store(self.path)
        return MlflowClient(self.uri, self.uri)

    def __exit__(self, *_: object) -> None:
        """Close MLflow's cached connections."""
        from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Store

        for kind in (Store, Registry):
            engine = kind._engine_map.pop(self.uri, None)
            if engine is not None:
                engine.dispose()


def experiment(client: MlflowClient, folder: Path) -> str:
    """Return an experiment of one test, with artifacts in its own folder where no server keeps them."""
    location = None if client.tracking_uri.startswith("http") else (folder / "artifacts").as_uri()
    return str(client.create_experiment(f"{folder.name} {folder.parent.name}", location))


def track(client: MlflowClient, experiment_id: str, *, name: str = "fit", parent: str = "") -> Run:
    """Track the small project. What is returned is as old as the run's first moment."""
    tags = {"mlflow.parentRunId": parent} if parent else {}
    run = client.create_run(experiment_id, run_name=name, tags={**tags, "team": "blue"})
    run_id = run.info.run_id
    for key, text in PARAMS.items():
        client.log_param(run_id, key, text)
    for step, value in enumerate(LOSS):
        client.log_metric(run_id, "loss", value, step=step)
    client.log_metric(run_id, "accuracy", 0.75)
    client.log_metric(run_id, "fit_seconds", time.perf_counter())
    for path, content in FILES.items():
        log_bytes(client, run_id, path, content)
    client.log_inputs(
        run_id, [dataset("base"), dataset("extra", name="one", full="11" * 32), dataset("extra", name="two")]
    )
    client.set_terminated(run_id)
    return run


def log_bytes(client: MlflowClient, run_id: str, path: str, content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(path).name
        file.write_bytes(content)
        parent = Path(path).parent.as_posix()
        client.log_artifact(run_id, str(file), None if parent == "." else parent)


def dataset(context: str, *, name: str = "table", full: str = FULL_DIGEST) -> DatasetInput:
    tags = [InputTag("mlflow.data.context", context), InputTag("hokusai.digest", full)]
    return DatasetInput(
        Dataset(name, full[:36], "local", json.dumps({"uri": f"/data/of/{os.getpid()}/{name}.csv"})), tags
    )


def failure(call: Callable[..., None], *arguments: Any, **keywords: Any) -> str:
    """Return what an assertion says when it fails."""
    with pytest.raises(AssertionError) as caught:
        call(*arguments, **keywords)
    return str(caught.value)


def problems(message: str) -> list[str]:
    """Return the differences of a message, without its first line and without what is there."""
    return [line[2:] for line in message.partition("\nwhat is there:")[0].splitlines()[1:]]


# --- assert_tracked --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracked(client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The small project, on record; tests of this module only read it."""
    return track(client, experiment(client, tmp_path_factory.mktemp("tracked")))


def is_small(text: str) -> bool:
    return float(text) < 1


def test_everything_that_was_tracked_passes_in_every_form_that_it_can_be_named_in(
    client: MlflowClient, tracked: Run
) -> None:
    # The run that the test holds was fetched before anything was tracked.
    assert tracked.data.params == {}
    assert_tracked(
        tracked,
        store=client,
        params={"learning_rate": 0.1, "depth": 3, "layers": [8, 4], "note": ...},
        metrics={"loss": LOSS, "accuracy": 0.75, "fit_seconds": ...},
        tags={"team": "blue", "mlflow.runName": lambda name: name.startswith("f")},
        datasets={"base": FULL_DIGEST, "extra": "abab"},
        artifacts={"model/weights.bin": sha256(FILES["model/weights.bin"]), "notes.txt": b"plain words"},
        status="FINISHED",
    )
    assert_tracked(
        tracked,
        store=client,
        params={"learning_rate": is_small},
        metrics={"loss": np.array(LOSS), "accuracy": pytest.approx(0.75001, abs=0.001)},
        datasets={"extra": "11", "base": lambda digest: len(digest) == 64},
        artifacts={"notes.txt": "plain words", "model": ..., "model/weights.bin": lambda content: len(content) == 56},
        status=lambda status: status != "FAILED",
    )
    assert_tracked(tracked, store=client, metrics={"loss": [..., 0.5, lambda value: value < 0.3]})
    assert_tracked(tracked, store=client, metrics={"loss": 0.26, "accuracy": np.float32(0.74)}, tolerance=0.011)
    assert_tracked(tracked, store=client, datasets=["base", "extra"], artifacts={"model", "model/", "notes.txt"})
    assert_tracked(tracked, store=client, datasets="base", artifacts="notes.txt")
    assert_tracked(tracked, store=client)


def is_ascii(content: bytes) -> bool:
    return content.isascii()


WEIGHTS = FILES["model/weights.bin"]
SHOWN_NOTES = f"11 bytes, sha256 {sha256(b'plain words')}: 'plain words'"
NO_NUMBER = "ValueError: could not convert string to float: '[8, 4]'"


@pytest.mark.parametrize(
    ("expected", "problem"),
    [
        ({"status": "FAILED"}, "status: got 'FINISHED', expected 'FAILED'"),
        ({"params": {"learning_rat": ...}}, "param 'learning_rat': missing; near it: 'learning_rate'"),
        ({"params": {"momentum": 0.9}}, "param 'momentum': missing"),
        ({"params": {"depth": 4}}, "param 'depth': got '3', expected '4'"),
        ({"params": {"depth": is_small}}, "param 'depth': got '3', which does not satisfy is_small"),
        (
            {"params": {"layers": is_small}},
            f"param 'layers': got '[8, 4]', for which is_small raised {NO_NUMBER}",
        ),
        ({"params": {"depth": int}}, "param 'depth': got '3', expected \"<class 'int'>\""),
        ({"tags": {"team": "red"}}, "tag 'team': got 'blue', expected 'red'"),
        ({"tags": {"teams": "red"}}, "tag 'teams': missing; near it: 'team'"),
        ({"metrics": {"los": 0}}, "metric 'los': missing; near it: 'loss'"),
        ({"metrics": {"accuracy": 0.5}}, "metric 'accuracy': got 0.75, expected 0.5"),
        ({"metrics": {"accuracy": 0.5}, "tolerance": 0.2}, "metric 'accuracy' (tolerance 0.2): got 0.75, expected 0.5"),
        ({"metrics": {"accuracy": math.nan}}, "metric 'accuracy': got 0.75, expected nan"),
        ({"metrics": {"accuracy": math.inf}}, "metric 'accuracy': got 0.75, expected inf"),
        ({"metrics": {"accuracy": "0.75"}}, "metric 'accuracy': got 0.75, expected '0.75'"),
        ({"metrics": {"loss": [1.0, 0.4, 0.25]}}, "metric 'loss', point 1 (step 1): got 0.5, expected 0.4"),
        ({"metrics": {"loss": [1.0]}}, "metric 'loss': got 3 points [1.0, 0.5, 0.25], expected 1 point [1.0]"),
        ({"metrics": {"loss": []}}, "metric 'loss': got 3 points [1.0, 0.5, 0.25], expected 0 points []"),
        ({"datasets": ["bse"]}, "dataset 'bse': missing; near it: 'base'"),
        ({"datasets": {"base": "abb"}}, f"dataset 'base': got '{FULL_DIGEST}', expected 'abb'"),
        ({"datasets": {"base": ""}}, f"dataset 'base': got '{FULL_DIGEST}', expected ''"),
        ({"artifacts": ["notes.tx"]}, "artifact 'notes.tx': missing; near it: 'notes.txt'"),
        ({"artifacts": {"model": b""}}, "artifact 'model': is a folder, expected a file"),
        (
            {"artifacts": {"notes.txt": b"other"}},
            f"artifact 'notes.txt': got {SHOWN_NOTES}, expected 5 bytes, sha256 {sha256(b'other')}: 'other'",
        ),
        (
            {"artifacts": {"model/weights.bin": "0" * 64}},
            f"artifact 'model/weights.bin': got 56 bytes, sha256 {sha256(WEIGHTS)}, expected sha256 {'0' * 64}",
        ),
        (
            {"artifacts": {"model/weights.bin": is_ascii}},
            f"artifact 'model/weights.bin': got 56 bytes, sha256 {sha256(WEIGHTS)}, which does not satisfy is_ascii",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_difference_is_named_with_what_was_found_and_what_was_expected(
    client: MlflowClient, tracked: Run, expected: dict[str, Any], problem: str
) -> None:
    message = failure(assert_tracked, tracked, store=client, **expected)
    assert problems(message) == [problem]


def test_a_condition_without_a_name_is_named_by_the_place_where_it_is_written(
    client: MlflowClient, tracked: Run
) -> None:
    condition = lambda text: text == "4"  # noqa: E731
    line = condition.__code__.co_firstlineno
    (problem,) = problems(failure(assert_tracked, tracked, store=client, params={"depth": condition}))
    assert problem == f"param 'depth': got '3', which does not satisfy the condition at test_assertions.py:{line}"


def test_one_message_lists_every_difference_and_what_is_there_of_each_kind_that_differs(
    client: MlflowClient, tracked: Run
) -> None:
    message = failure(
        assert_tracked,
        tracked,
        store=client,
        params={"depth": 4, "momentum": 1},
        metrics={"accuracy": 1, "loss": [2.0, 0.5, 0.1]},
        tags={"team": "blue"},
        datasets={"extra": "ff"},
        artifacts=["a.txt"],
    )
    first, *rest = message.splitlines()
    assert first == f"run 'fit' ({tracked.info.run_id}) in {client.tracking_uri}: 8 differences"
    assert rest == [
        "  param 'depth': got '3', expected '4'",
        "  param 'momentum': missing",
        "  metric 'accuracy': got 0.75, expected 1",
        "  metric 'loss', point 0 (step 0): got 1.0, expected 2.0",
        "  metric 'loss', point 2 (step 2): got 0.25, expected 0.1",
        f"  dataset 'extra': got '{'11' * 32}', expected 'ff'",
        f"  dataset 'extra': got '{FULL_DIGEST}', expected 'ff'",
        "  artifact 'a.txt': missing",
        "what is there:",
        "  params: 4",
        "    depth = '3'",
        "    layers = '[8, 4]'",
        "    learning_rate = '0.1'",
        "    note = 'two\\nlines'",
        "  metrics: 3",
        "    accuracy = 0.75",
        rest[16],
        "    loss = 0.25",
        "  datasets: 3",
        f"    base: table, digest {FULL_DIGEST}",
        f"    extra: one, digest {'11' * 32}",
        f"    extra: two, digest {FULL_DIGEST}",
        "  artifacts: 2",
        "    model/weights.bin, 56 bytes",
        "    notes.txt, 11 bytes",
    ]
    assert rest[16].startswith("    fit_seconds = ")


def test_a_long_list_of_what_is_there_is_cut(client: MlflowClient, tmp_path: Path) -> None:
    run = client.create_run(experiment(client, tmp_path))
    client.log_batch(run.info.run_id, params=[Param(f"p{place:03}", "x") for place in range(100)])
    message = failure(assert_tracked, run, store=client, params={"q": 1})
    assert message.splitlines()[2:5] == ["what is there:", "  params: 100", "    p000 = 'x'"]
    assert message.splitlines()[-2:] == ["    p059 = 'x'", "    and 40 more"]


def test_long_values_are_compared_as_mlflow_cuts_them_and_shown_where_they_begin_to_differ(
    client: MlflowClient, tmp_path: Path
) -> None:
    long = "".join(f"{number:05}," for number in range(2000))
    run = client.create_run(experiment(client, tmp_path))
    client.log_param(run.info.run_id, "long", long)
    client.set_tag(run.info.run_id, "long", long)
    assert_tracked(run, store=client, params={"long": long}, tags={"long": long})
    other = long.replace("00500,", "xxxxx,")
    (problem,) = problems(failure(assert_tracked, run, store=client, params={"long": other}))
    assert "00499,00500,00501," in problem
    assert "00499,xxxxx,00501," in problem
    assert problem.endswith("(they differ from character 3001 on)")
    assert len(problem) < 400


def test_undefined_and_infinite_metrics_are_equal_to_themselves(client: MlflowClient, tmp_path: Path) -> None:
    run = client.create_run(experiment(client, tmp_path))
    values = {"undefined": math.nan, "top": math.inf, "bottom": -math.inf}
    for name, value in values.items():
        client.log_metric(run.info.run_id, name, value)
    assert_tracked(run, store=client, metrics=values)
    message = failure(assert_tracked, run, store=client, metrics={"undefined": 0.0, "top": -math.inf, "bottom": 1e308})
    assert [problem.split(":")[0] for problem in problems(message)] == [
        "metric 'undefined'",
        "metric 'top'",
        "metric 'bottom'",
    ]


def test_a_history_is_in_the_order_of_its_steps_and_then_of_time(client: MlflowClient, tmp_path: Path) -> None:
    run = client.create_run(experiment(client, tmp_path))
    points = [(5, 300, 2), (1, 200, 0), (4, 100, 2), (3, 400, 1), (2.5, 300, 1), (7, 300, 1)]
    client.log_batch(run.info.run_id, metrics=[Metric("loss", value, moment, step) for value, moment, step in points])
    assert_tracked(run, store=client, metrics={"loss": [1, 2.5, 7, 3, 4, 5]})


def test_a_run_can_be_named_by_id_or_by_hokusais_own_record_and_a_store_by_its_address(
    client: MlflowClient, tracked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass
    class Address:
        uri: str

    uri, run_id = client.tracking_uri, tracked.info.run_id
    wrong = {"params": {"depth": 4}}
    expected = failure(assert_tracked, tracked, store=client, **wrong)
    assert failure(assert_tracked, run_id, store=uri, **wrong) == expected
    assert failure(assert_tracked, MlflowStore(uri).find_run(run_id), store=Address(uri), **wrong) == expected
    # The store that MLflow is set to, by a call or by the environment.
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert mlflow.get_tracking_uri() == uri
    assert failure(assert_tracked, run_id, **wrong) == expected


def test_a_deleted_run_is_not_tracked(client: MlflowClient, tmp_path: Path) -> None:
    run = client.create_run(experiment(client, tmp_path))
    assert_tracked(run, store=client)
    client.delete_run(run.info.run_id)
    assert problems(failure(assert_tracked, run, store=client)) == ["the run has been deleted"]


@pytest.mark.parametrize("run", ["0" * 32, "no such run", object()], ids=["unknown", "no id", "no run"])
def test_a_run_that_is_not_there_is_said_to_be_missing(client: MlflowClient, run: Any) -> None:
    for call in (assert_tracked, assert_run_complete, run_snapshot):
        with pytest.raises(RunNotFoundError) as caught:
            call(run, store=client)
        assert caught.value.run == (run if isinstance(run, str) else repr(run)[:80])
    with pytest.raises(RunNotFoundError):
        assert_same_history(run, run, store=client)


NAMES = st.from_regex(r"[a-z][a-z0-9_./ -]{0,20}[a-z]", fullmatch=True).filter(
    lambda name: "//" not in name and "/." not in name and "./" not in name
)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
VALUES = st.floats(allow_nan=True, allow_infinity=True, width=32)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    params=st.dictionaries(NAMES, TEXTS, min_size=1, max_size=4),
    metrics=st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=4), max_size=3),
    data=st.data(),
)
def test_whatever_is_tracked_passes_and_any_single_change_of_it_is_the_only_difference(
    law_client: MlflowClient, params: dict[str, str], metrics: dict[str, list[float]], data: st.DataObject
) -> None:
    run = law_client.create_run("1")
    points = [Metric(name, value, 0, step) for name, values in metrics.items() for step, value in enumerate(values)]
    law_client.log_batch(run.info.run_id, points, [Param(*item) for item in params.items()])
    assert_tracked(run, store=law_client, params=params, metrics=metrics)
    name = data.draw(st.sampled_from(sorted(params)))
    changed = {**params, name: params[name] + "x"}
    message = failure(assert_tracked, run, store=law_client, params=changed, metrics=metrics)
    (problem,) = problems(message)
    assert problem == f"param {name!r}: got {params[name]!r}, expected {changed[name]!r}"


@pytest.fixture(scope="module")
def law_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    """A database for tests that need many small runs; its experiment 1 keeps artifacts in a folder of the tests."""
    folder = tmp_path_factory.mktemp("law")
    with fresh_store(folder) as client:
        assert experiment(client, folder) == "1"
        yield client


# --- run_snapshot ----------------------------------------------------------------------------------------------------

SNAPSHOT = f"""\
run fit
  status FINISHED
  param depth = 3
  param layers = [8, 4]
  param learning_rate = 0.1
  param note = "two\\nlines"
  metric accuracy = 0.75
  metric loss = 0: 1.0, 1: 0.5, 2: 0.25
  tag team = blue
  dataset base table: digest {FULL_DIGEST[:36]}; source {{"uri": "<folder>/table.csv"}}; hokusai.digest {FULL_DIGEST}
  dataset extra one: digest {"11" * 18}; source {{"uri": "<folder>/one.csv"}}; hokusai.digest {"11" * 32}
  dataset extra two: digest {FULL_DIGEST[:36]}; source {{"uri": "<folder>/two.csv"}}; hokusai.digest {FULL_DIGEST}
  artifact model/weights.bin 56 bytes sha256 {sha256(WEIGHTS)}
  artifact notes.txt 11 bytes sha256 {sha256(b"plain words")}
"""


def test_a_snapshot_is_the_sorted_text_of_a_run_without_ids_times_and_folders(
    client: MlflowClient, tracked: Run
) -> None:
    assert run_snapshot(tracked, store=client) == SNAPSHOT


def test_child_runs_stand_indented_below_their_parent_steps_first_and_then_by_name(
    client: MlflowClient, tmp_path: Path
) -> None:
    experiment_id = experiment(client, tmp_path)
    parent = client.create_run(experiment_id, run_name="whole")
    for name in ("zebra", "compare_and_output_delta", "ape", "load_baseline_model"):
        child = client.create_run(experiment_id, run_name=name, tags={"mlflow.parentRunId": parent.info.run_id})
        if name == "ape":
            track(client, experiment_id, parent=child.info.run_id)
        if name == "zebra":
            gone = client.create_run(experiment_id, tags={"mlflow.parentRunId": child.info.run_id})
            client.delete_run(gone.info.run_id)
    lines = ["run whole", "  status RUNNING"]
    for name in ("load_baseline_model", "compare_and_output_delta", "ape", "zebra"):
        lines += [f"  run {name}", "    status RUNNING"]
        lines += [f"    {line}" for line in SNAPSHOT.splitlines() if name == "ape"]
    assert run_snapshot(parent, store=client).splitlines() == lines


def test_the_order_of_tracking_does_not_matter(client: MlflowClient, tmp_path: Path) -> None:
    experiment_id = experiment(client, tmp_path)
    facts: list[tuple[str, tuple[Any, ...]]] = [
        ("log_param", ("a", 1)),
        ("log_param", ("b", 2)),
        ("log_metric", ("m", 1.0, 1000, 0)),
        ("log_metric", ("m", 2.0, 1000, 1)),
        ("log_metric", ("k", 3.0, 1000, 5)),
        ("set_tag", ("t", "x")),
        ("set_tag", ("s", "y")),
        ("log_inputs", ([dataset("base")],)),
        ("log_inputs", ([dataset("benchmark", name="other")],)),
    ]
    runs = []
    for order in (facts, facts[::-1]):
        run = client.create_run(experiment_id, run_name="same")
        for method, arguments in order:
            getattr(client, method)(run.info.run_id, *arguments)
        for path in ("b.bin", "a/c.bin") if order is facts else ("a/c.bin", "b.bin"):
            log_bytes(client, run.info.run_id, path, path.encode())
        runs.append(run)
    assert_same_history(*runs, store=client)
    assert "metric k = 5: 3.0" in run_snapshot(runs[0], store=client)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/me/data/base.csv", "<folder>/base.csv"),
        ("/home/my own/data/base table.csv", "<folder>/base table.csv"),
        ("C:\\Users\\me\\base.csv", "<folder>/base.csv"),
        ("file:///home/me/base.csv", "file://<folder>/base.csv"),
        ("sqlite:////home/me/mlflow.db", "sqlite:///<folder>/mlflow.db"),
        ('{"uri": "/home/my own/base.csv"}', '{"uri": "<folder>/base.csv"}'),
        ("read /home/me/a.csv and '/home/you/b.csv'", "read <folder>/a.csv and '<folder>/b.csv'"),
        ("--data=/home/me/a.csv", "--data=<folder>/a.csv"),
        ("https://example.org/a/b.csv", "https://example.org/a/b.csv"),
        ("data/base.csv", "data/base.csv"),
        ("a / b / c", "a / b / c"),
        ("/", "/"),
        ("2024-05-06", "2024-05-06"),
        ("line\n/home/me/a.csv", '"line\\n<folder>/a.csv"'),
        (" spaced ", '" spaced "'),
    ],
)
def test_the_folder_of_an_absolute_path_is_left_out_and_nothing_else_is(
    law_client: MlflowClient, text: str, shown: str
) -> None:
    run = law_client.create_run("1", run_name="x")
    law_client.log_param(run.info.run_id, "p", text)
    assert run_snapshot(run, store=law_client).splitlines()[2] == f"  param p = {shown}"


def test_names_that_mlflow_makes_up_and_dates_in_names_are_replaced(law_client: MlflowClient) -> None:
    first, second = law_client.create_run("1"), law_client.create_run("0")
    assert first.info.run_name != second.info.run_name
    assert_same_history(first, second, store=law_client)
    for name, shown in (
        ("fearless-carp-0", "<generated>"),
        ("blushing-crane-1000", "<generated>"),
        ("night of 2024-05-06", "night of <date>"),
        ("my-model-3", "my-model-3"),
    ):
        run = law_client.create_run("1", run_name=name)
        assert run_snapshot(run, store=law_client).splitlines()[0] == f"run {shown}"


def test_ids_of_the_tree_are_replaced_everywhere_and_other_ids_are_not(client: MlflowClient, tmp_path: Path) -> None:
    experiment_id = experiment(client, tmp_path)
    other, no_text = "0123456789abcdef" * 2, b"\xff/a/b/c.csv"
    texts, digests = [], []
    for folder in ("a", "b"):
        parent = client.create_run(experiment_id, run_name="parent")
        child = client.create_run(experiment_id, run_name="child", tags={"mlflow.parentRunId": parent.info.run_id})
        content = f"runs:/{parent.info.run_id} from /{folder}/{folder}/data.csv".encode()
        digests.append(sha256(content))
        client.log_param(child.info.run_id, "self", f"runs:/{child.info.run_id}/model, not {other}")
        client.log_param(child.info.run_id, "source", f"runs:/{parent.info.run_id}/model")
        client.set_tag(child.info.run_id, "digest", digests[-1])
        log_bytes(client, child.info.run_id, "source.txt", content)
        log_bytes(client, child.info.run_id, "source.bin", no_text)
        texts.append(run_snapshot(parent, store=client))
        # What a run below is called after does not depend on where one begins to read.
        assert textwrap.indent(run_snapshot(child, store=client), "  ") in texts[-1]
    assert digests[0] != digests[1]
    assert texts[0] == texts[1]
    clean = b"runs:/<run> from <folder>/data.csv"
    assert texts[0].splitlines()[2:] == [
        "  run child",
        "    status RUNNING",
        f"    param self = runs:/<run>/model, not {other}",
        "    param source = runs:/<run>/model",
        "    tag digest = <sha256 of source.txt>",
        f"    artifact source.bin 11 bytes sha256 {sha256(no_text)}",
        f"    artifact source.txt {len(clean)} bytes sha256 {sha256(clean)} (ids and folders replaced)",
    ]


def test_what_is_volatile_can_be_chosen(client: MlflowClient, tracked: Run) -> None:
    everything = run_snapshot(tracked, store=client, volatile_metrics="", volatile_tags="").splitlines()
    added = [line.split(" = ")[0].strip() for line in everything if line not in SNAPSHOT.splitlines()]
    assert added[:2] == ["metric fit_seconds", "tag mlflow.runName"]
    less = run_snapshot(
        tracked,
        store=client,
        volatile_metrics="^loss$|fit",
        volatile_tags=".",
        unstable_artifacts=["model/*"],
        replacements={r"0\.\d+": r"\1 number", "table": "TABLE"},
    )
    expected = re.sub("  metric loss.*\n|  tag team.*\n", "", SNAPSHOT)
    expected = re.sub("weights.bin .*\n", "weights.bin (bytes left out)\n", expected)
    expected = expected.replace("rate = 0.1", r"rate = \1 number").replace("table", "TABLE")
    assert less == expected
    assert run_snapshot(tracked, store=client, unstable_artifacts="notes.txt").endswith("notes.txt (bytes left out)\n")


# --- assert_same_history ---------------------------------------------------------------------------------------------


def test_the_same_work_in_two_stores_has_the_same_history(
    server: MockMlflowServer, law_client: MlflowClient, tmp_path: Path
) -> None:
    over_http = MlflowClient(server.uri, server.uri)
    first = track(law_client, experiment(law_client, tmp_path))
    second = track(over_http, experiment(over_http, tmp_path))
    assert_same_history(first, second, store=law_client, second_store=server)
    over_http.log_metric(second.info.run_id, "accuracy", 0.5, step=1)
    message = failure(assert_same_history, first, second, store=law_client, second_store=over_http)
    assert message.splitlines() == [
        "the two runs tracked different things:",
        f"--- run 'fit' ({first.info.run_id}) in {law_client.tracking_uri}",
        f"+++ run 'fit' ({second.info.run_id}) in {server.uri}",
        "@@ -4,7 +4,7 @@",
        "   param layers = [8, 4]",
        "   param learning_rate = 0.1",
        '   param note = "two\\nlines"',
        "-  metric accuracy = 0.75",
        "+  metric accuracy = 0: 0.75, 1: 0.5",
        "   metric loss = 0: 1.0, 1: 0.5, 2: 0.25",
        "   tag team = blue",
        "   dataset base table: " + SNAPSHOT.split("dataset base table: ")[1].splitlines()[0],
    ]
    assert_same_history(first, second, store=law_client, second_store=server, volatile_metrics="accuracy|_seconds")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda client, run_id: client.log_param(run_id, "more", 1), "+  param more = 1"),
        (lambda client, run_id: client.set_tag(run_id, "team", "red"), "+  tag team = red"),
        (lambda client, run_id: client.update_run(run_id, status="FAILED"), "+  status FAILED"),
        (
            lambda client, run_id: log_bytes(client, run_id, "notes.txt", b"x"),
            f"+  artifact notes.txt 1 bytes sha256 {sha256(b'x')}",
        ),
        (
            lambda client, run_id: client.log_inputs(run_id, [dataset("benchmark")]),
            "+" + SNAPSHOT.splitlines()[9].replace("base", "benchmark"),
        ),
        (
            lambda client, run_id: client.create_run("1", run_name="below", tags={"mlflow.parentRunId": run_id}),
            "+  run below",
        ),
    ],
    ids=["param", "tag", "status", "artifact", "dataset", "child"],
)
def test_any_difference_between_two_histories_is_a_line(
    law_client: MlflowClient, tmp_path: Path, change: Callable[[MlflowClient, str], None], line: str
) -> None:
    del tmp_path
    first, second = (law_client.create_run("1", run_name="same", tags={"team": "blue"}) for _ in range(2))
    assert_same_history(first, second, store=law_client)
    change(law_client, second.info.run_id)
    assert line in failure(assert_same_history, first, second, store=law_client).splitlines()


# --- assert_run_complete ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeltaReport]:
    """One evaluation of the sample data, in a database; its journal can be shipped to other stores as well."""
    folder = tmp_path_factory.mktemp("evaluation")
    store = fresh_store(folder)
    with store:
        config = penguins_config("torgersen", TrackingSettings(uri=store.uri, journal=folder / "journals"))
        yield pipeline.run(config, shipping=DirectShipping(MlflowStore(store.uri)))


@pytest.fixture
def tree(evaluation: DeltaReport, tmp_path: Path) -> Iterator[Tree]:
    """The same evaluation in a database of the test's own, to be changed."""
    assert evaluation.tracking is not None
    assert evaluation.tracking.journal is not None
    with fresh_store(tmp_path) as client:
        state = ship(evaluation.tracking.journal, MlflowStore(client.tracking_uri))
        yield Tree(client, state.run_ids, evaluation.identity.evaluation)


class Tree:
    """An evaluation in a store, and ways to spoil it that MLflow's own client has."""

    def __init__(self, client: MlflowClient, run_ids: dict[str, str], key: str) -> None:
        """Remember the ids."""
        self.client = client
        self.key = key
        self.ids = {name.partition(":")[2] or "parent": run_id for name, run_id in run_ids.items()}
        self.parent = self.ids["parent"]

    def problems(self) -> list[str]:
        """Return what is wrong with it by now."""
        return list(check_run_complete(self.parent, store=self.client))

    def tag(self, step: str, name: str) -> str:
        """Return a tag of one of its runs."""
        return str(self.client.get_run(self.ids[step]).data.tags[name])

    def models(self) -> list[str]:
        """Return the ids of the models that the training made."""
        outputs = self.client.get_run(self.ids["train_new_model"]).outputs
        return [output.model_id for output in outputs.model_outputs or ()] if outputs else []

    def write_again(
        self, step: str, *, without: str = "", extra: str = "", times: tuple[int, int] | None = None
    ) -> None:
        """Replace a run by one that is written by hand, with the same facts but for a parameter."""
        run = self.client.get_run(self.ids[step])
        start, end = times or (run.info.start_time, run.info.end_time)
        new = self.client.create_run(run.info.experiment_id, start, run.data.tags, run.info.run_name).info.run_id
        params = {name: value for name, value in run.data.params.items() if name != without}
        params |= {extra: "1"} if extra else {}
        self.client.log_batch(
            new,
            [Metric(name, value, end, 0) for name, value in run.data.metrics.items()],
            [Param(*item) for item in params.items()],
        )
        self.client.log_inputs(new, run.inputs.dataset_inputs if run.inputs else [])
        folder = Path(self.client.download_artifacts(run.info.run_id, ""))
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            log_bytes(self.client, new, file.relative_to(folder).as_posix(), file.read_bytes())
        self.client.delete_run(run.info.run_id)
        self.client.set_terminated(new, end_time=end)
        self.ids[step] = new


@pytest.mark.slow
def test_a_whole_evaluation_passes_in_a_database_and_on_a_server_and_has_one_history(
    evaluation: DeltaReport, server: MockMlflowServer, tmp_path: Path
) -> None:
    # The second time from another folder and after another evaluation, so that nothing of either can be in the text.
    data = tmp_path / "my own data"
    shutil.copytree(penguins_folder(), data)
    settings = TrackingSettings(uri=server.uri, journal=tmp_path / "journals")
    shipping = DirectShipping(MlflowStore(server.uri))
    pipeline.run(penguins_config("dream", settings), shipping=shipping)
    config = penguins_config("torgersen", settings)
    contributions = tuple(dataclasses.replace(each, path=data / each.path.name) for each in config.data.contributions)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data, base=data / "base.csv", benchmark=data / "benchmark.csv", contributions=contributions
        ),
    )
    again = pipeline.run(config, shipping=shipping)
    assert evaluation.tracking is not None
    assert again.tracking is not None
    uri = evaluation.tracking.uri
    first, second = (str(report.tracking.runs[0].run_id) for report in (evaluation, again) if report.tracking)
    assert_run_complete(first, store=uri)
    assert_run_complete(second, store=server)
    assert_same_history(first, second, store=uri, second_store=server)
    text = run_snapshot(second, store=server)
    for secret in (
        str(tmp_path),
        again.identity.evaluation,
        second,
        server.uri,
        "2026-",
        "_seconds",
        "rows_per_second",
    ):
        assert secret not in text
    assert [line for line in text.splitlines() if line.startswith("  run ")] == [f"  run {step}" for step in STEPS]
    last = str(again.tracking.runs[-1].run_id)
    MlflowClient(server.uri).log_metric(last, "delta.accuracy", 0.5)
    message = failure(assert_same_history, first, second, store=uri, second_store=server)
    changed = [line for line in message.splitlines()[3:] if line[0] in "+-"]
    assert len(changed) == 2
    assert changed[0] == "-    metric delta.accuracy = 0.0"
    assert changed[1].startswith("+    metric delta.accuracy = 0: 0.0, 0: 0.5")


def delete_a_step(tree: Tree) -> list[str]:
    tree.client.delete_run(tree.ids["load_baseline_model"])
    return ["load_baseline_model: missing; a run of this name has been deleted"]


def rename_a_step(tree: Tree) -> list[str]:
    run_id = tree.ids["load_baseline_model"]
    tree.client.update_run(run_id, name="load_baseline")
    return [
        "load_baseline_model: missing",
        f"load_baseline: unknown step (run {run_id}), expected only the five steps",
    ]


def add_a_run(tree: Tree) -> list[str]:
    run = tree.client.create_run("1", run_name="sixth", tags={"mlflow.parentRunId": tree.parent})
    return [f"sixth: unknown step (run {run.info.run_id}), expected only the five steps"]


def do_a_step_twice(tree: Tree) -> list[str]:
    run = tree.client.get_run(tree.ids["load_baseline_model"])
    tree.write_again("load_baseline_model")
    tree.client.restore_run(run.info.run_id)
    return ["load_baseline_model: got 2 runs, expected 1"]


def leave_a_step_running(tree: Tree) -> list[str]:
    tree.client.update_run(tree.ids["train_new_model"], status="RUNNING")
    return ["train_new_model: status: got 'RUNNING', expected 'FINISHED'"]


def leave_the_parent_failed(tree: Tree) -> list[str]:
    tree.client.update_run(tree.parent, status="FAILED")
    tree.client.set_tag(tree.parent, "hokusai.error", "ValueError")
    return ["parent: status: got 'FAILED', expected 'FINISHED' (ValueError)"]


def never_end_a_step(tree: Tree) -> list[str]:
    run = tree.client.get_run(tree.ids["load_baseline_model"])
    child = tree.client.create_run("1", run.info.start_time, run.data.tags, run.info.run_name)
    tree.client.delete_run(run.info.run_id)
    return [
        "load_baseline_model: status: got 'RUNNING', expected 'FINISHED'",
        "load_baseline_model: end time: missing",
        "load_baseline_model: parameter baseline.classes: missing",
        "load_baseline_model: parameter baseline.kind: missing",
        "load_baseline_model: parameter baseline.source: missing",
        "load_baseline_model: parameter baseline.trusted_sha256: missing",
        "load_baseline_model: artifact parameters.json: missing",
    ] * bool(child)


def end_a_step_after_the_parent(tree: Tree) -> list[str]:
    end = tree.client.get_run(tree.parent).info.end_time
    tree.client.set_terminated(tree.ids["compare_and_output_delta"], end_time=end + 1)
    return [f"compare_and_output_delta: ends at {end + 1}, after parent ends at {end}"]


def start_a_step_before_the_one_before(tree: Tree) -> list[str]:
    before = tree.client.get_run(tree.ids["load_baseline_model"]).info.end_time
    start = tree.client.get_run(tree.parent).info.start_time
    end = tree.client.get_run(tree.ids["integrate_contributed_data"]).info.end_time
    tree.client.set_terminated(tree.ids["load_baseline_model"], end_time=before + 1)
    tree.write_again("integrate_contributed_data", times=(start, end))
    return [f"integrate_contributed_data: starts at {start}, before load_baseline_model ends at {before + 1}"]


def start_a_step_before_the_parent(tree: Tree) -> list[str]:
    start = tree.client.get_run(tree.parent).info.start_time
    tree.write_again("load_baseline_model", times=(start - 5, start - 9))
    return [
        f"load_baseline_model: starts at {start - 5}, before parent starts at {start}",
        f"load_baseline_model: end time: {start - 9} is before the start at {start - 5}",
    ]


def forget_a_parameter(tree: Tree) -> list[str]:
    tree.write_again("compare_and_output_delta", without="delta.confidence")
    where = "compare_and_output_delta: artifact parameters.json"
    return [
        "compare_and_output_delta: parameter delta.confidence: missing",
        f"{where}: delta.confidence stand only there or only among the parameters",
    ]


def add_a_parameter(tree: Tree) -> list[str]:
    tree.client.log_param(tree.parent, "mystery", 1)
    return [
        "parent: parameter mystery: unknown to the schema",
        "parent: artifact parameters.json: mystery stand only there or only among the parameters",
    ]


def overwrite_the_parameters(tree: Tree) -> list[str]:
    content = (
        b'{"baseline.classes": [], "baseline.kind": 3, "baseline.source": "control", "baseline.trusted_sha256": ""}'
    )
    log_bytes(tree.client, tree.ids["load_baseline_model"], "parameters.json", content)
    digest = tree.tag("load_baseline_model", "hokusai.parameters_digest")
    return [
        f"load_baseline_model: artifact parameters.json: has sha256 {sha256(content)}, but the tag says {digest}",
        "load_baseline_model: parameter baseline.kind: is 'control', but parameters.json says 3",
        "load_baseline_model: parameter baseline.kind: got 3, expected str",
    ]


def overwrite_the_parameters_with_nonsense(tree: Tree) -> list[str]:
    log_bytes(tree.client, tree.parent, "parameters.json", b"[]")
    tree.client.set_tag(tree.parent, "hokusai.parameters_digest", sha256(b"[]"))
    return ["parent: artifact parameters.json: is not a JSON object"]


def edit_the_parameters_digest(tree: Tree) -> list[str]:
    digest = tree.tag("train_new_model", "hokusai.parameters_digest")
    tree.client.delete_tag(tree.ids["train_new_model"], "hokusai.parameters_digest")
    return [f"train_new_model: artifact parameters.json: has sha256 {digest}, but the tag says nothing"]


def edit_the_schema_version(tree: Tree) -> list[str]:
    tree.client.set_tag(tree.ids["train_new_model"], "hokusai.schema_version", "0")
    return ["train_new_model: tag hokusai.schema_version: got '0', expected '1'"]


def delete_tags(tree: Tree) -> list[str]:
    for name in ("hokusai.run_key", "hokusai.package_version", "hokusai.step"):
        tree.client.delete_tag(tree.ids["train_new_model"], name)
    return [
        "train_new_model: tag hokusai.run_key: missing",
        "train_new_model: tag hokusai.step: missing",
        "train_new_model: tag hokusai.package_version: missing",
    ]


def edit_the_evaluation_of_a_step(tree: Tree) -> list[str]:
    tree.client.set_tag(tree.ids["train_new_model"], "hokusai.evaluation", "other")
    return [f"train_new_model: tag hokusai.evaluation: got 'other', expected '{tree.key}'"]


def edit_a_dataset_tag(tree: Tree) -> list[str]:
    digest = tree.tag("evaluate_on_benchmark", "hokusai.dataset.benchmark")
    tree.client.set_tag(tree.ids["evaluate_on_benchmark"], "hokusai.dataset.benchmark", "0" * 64)
    name = "evaluate_on_benchmark: tag hokusai.dataset.benchmark"
    return [
        f"{name}: got '{'0' * 64}', but the input's digest is {digest}",
        f"{name}: got '{'0' * 64}', but the parent's is '{digest}'",
    ]


def delete_a_dataset_tag(tree: Tree) -> list[str]:
    digest = tree.tag("parent", "hokusai.dataset.base")
    tree.client.delete_tag(tree.parent, "hokusai.dataset.base")
    return [
        "parent: tag hokusai.dataset.base: missing",
        *(
            f"{step}: tag hokusai.dataset.base: got '{digest}', but the parent's is None"
            for step in ("integrate_contributed_data", "train_new_model")
        ),
        f"compare_and_output_delta: artifact delta.json: says '{digest}' for hokusai.dataset.base, but MLflow has None",
    ]


def name_a_dataset_that_was_not_used(tree: Tree) -> list[str]:
    digest = tree.tag("parent", "hokusai.dataset.base")
    tree.client.set_tag(tree.ids["load_baseline_model"], "hokusai.dataset.base", digest)
    return ["load_baseline_model: tag hokusai.dataset.base: there is no such dataset among the inputs"]


def use_a_dataset_that_is_not_the_steps(tree: Tree) -> list[str]:
    item = dataset("benchmark", full=tree.tag("parent", "hokusai.dataset.benchmark"))
    tree.client.log_inputs(tree.ids["train_new_model"], [item])
    return [
        "train_new_model: dataset benchmark: not a dataset of this step",
        "train_new_model: tag hokusai.dataset.benchmark.table: missing",
    ]


def edit_the_decision(tree: Tree) -> list[str]:
    tree.client.set_tag(tree.parent, "hokusai.decision", "yes")
    version = f"parent: model version {tree.tag('parent', 'hokusai.model_version')}"
    return [
        "parent: tag hokusai.decision: got 'yes', expected one of 'accept', 'reject', 'not enough evidence'",
        "parent: tag hokusai.decision: got 'yes', but the last step's is 'not enough evidence'",
        f"{version}: tag hokusai.decision: got 'not enough evidence', but the parent's is 'yes'",
    ]


def delete_the_decision(tree: Tree) -> list[str]:
    for step in ("parent", "compare_and_output_delta"):
        tree.client.delete_tag(tree.ids[step], "hokusai.decision")
    version = f"parent: model version {tree.tag('parent', 'hokusai.model_version')}"
    delta = "compare_and_output_delta: artifact delta.json"
    return [
        "parent: tag hokusai.decision: missing",
        f"{delta}: says 'not enough evidence' for hokusai.decision, but MLflow has None",
        f"{version}: tag hokusai.decision: got 'not enough evidence', but the parent's is None",
    ]


def edit_the_headline(tree: Tree) -> list[str]:
    tree.client.log_metric(tree.parent, "delta.accuracy", 0.5, step=1)
    return ["parent: metric delta.accuracy: got 0.5, but compare_and_output_delta has 0.0"]


def edit_a_score(tree: Tree) -> list[str]:
    got = tree.client.get_run(tree.parent).data.metrics["candidate.f1"]
    tree.client.log_metric(tree.ids["evaluate_on_benchmark"], "candidate.f1", 0.5, step=1)
    return [f"parent: metric candidate.f1: got {got!r}, but evaluate_on_benchmark has 0.5"]


def edit_the_delta(tree: Tree) -> list[str]:
    for step in ("parent", "compare_and_output_delta"):
        tree.client.log_metric(tree.ids[step], "delta.accuracy", 0.5, step=1)
    return ["compare_and_output_delta: artifact delta.json: says 0.0 for delta.accuracy, but MLflow has 0.5"]


def add_a_delta_that_the_parent_does_not_show(tree: Tree) -> list[str]:
    tree.client.log_metric(tree.ids["compare_and_output_delta"], "delta.mcc", 0.5)
    return ["parent: metric delta.mcc: missing"]


def overwrite_the_delta(tree: Tree) -> list[str]:
    log_bytes(tree.client, tree.ids["compare_and_output_delta"], "delta.json", b'{"evaluation": "x"}')
    return ["compare_and_output_delta: artifact delta.json: is not a delta document"]


def overwrite_the_row_scores(tree: Tree) -> list[str]:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"row": [0, 1]}), buffer)
    log_bytes(tree.client, tree.ids["evaluate_on_benchmark"], "row_scores.parquet", buffer.getvalue())
    where = "evaluate_on_benchmark: artifact row_scores.parquet"
    return [f"{where}: has 2 rows, expected 119 (evaluation.benchmark_rows)"]


def damage_the_row_scores(tree: Tree) -> list[str]:
    run_id = tree.ids["evaluate_on_benchmark"]
    content = bytearray(Path(tree.client.download_artifacts(run_id, "row_scores.parquet")).read_bytes())
    content[200] ^= 1
    log_bytes(tree.client, run_id, "row_scores.parquet", bytes(content))
    with pytest.raises(OSError, match="CRC") as caught:
        pq.read_table(io.BytesIO(content), page_checksum_verification=True)
    return [f"evaluate_on_benchmark: artifact row_scores.parquet: cannot be read ({str(caught.value).splitlines()[0]})"]


def edit_the_reason(tree: Tree) -> list[str]:
    reason = tree.tag("parent", "hokusai.decision.reason")
    tree.client.set_tag(tree.parent, "hokusai.decision.reason", "because")
    return [f"parent: tag hokusai.decision.reason: got 'because', but the last step's is {reason!r}"]


def add_a_limit_that_the_delta_leaves_open(tree: Tree) -> list[str]:
    for step in ("parent", "compare_and_output_delta"):
        tree.client.log_metric(tree.ids[step], "delta.recall.lower", 0.5)
    return ["compare_and_output_delta: artifact delta.json: says None for delta.recall.lower, but MLflow has 0.5"]


def lose_the_artifacts(tree: Tree) -> list[str]:
    for step, path in (("evaluate_on_benchmark", "row_scores.parquet"), ("compare_and_output_delta", "delta.json")):
        root = tree.client.get_run(tree.ids[step]).info.artifact_uri
        (Path(root.removeprefix("file://")) / path).unlink()
    return [
        "compare_and_output_delta: artifact delta.json: missing",
        "evaluate_on_benchmark: artifact row_scores.parquet: missing",
    ]


def delete_the_model_version(tree: Tree) -> list[str]:
    address = tree.tag("parent", "hokusai.model_version")
    name, _, number = address.rpartition("/")
    tree.client.delete_model_version(name, number)
    return [f"parent: model version {address}: missing from the registry"]


def forget_the_model_version(tree: Tree) -> list[str]:
    tree.client.delete_tag(tree.parent, "hokusai.model_version")
    return ["parent: tag hokusai.model_version: missing"]


def register_another_model(tree: Tree) -> list[str]:
    (made,) = tree.models()
    run_id = tree.ids["train_new_model"]
    tags = tree.client.get_model_version("hokusai-penguins", "1").tags
    tree.client.create_model_version("hokusai-penguins", "/elsewhere", run_id, tags, await_creation_for=0)
    tree.client.set_tag(tree.parent, "hokusai.model_version", "hokusai-penguins/2")
    where = "parent: model version hokusai-penguins/2"
    return [
        f"{where}: comes from the run {run_id}, expected {tree.parent}",
        f"{where}: is /elsewhere, expected a model of train_new_model ({made})",
    ]


def delete_the_logged_model(tree: Tree) -> list[str]:
    (made,) = tree.models()
    tree.client.delete_logged_model(made)
    return [f"train_new_model: model {made}: missing"]


def fail_the_logged_model(tree: Tree) -> list[str]:
    (made,) = tree.models()
    tree.client.finalize_logged_model(made, "FAILED")
    return [f"train_new_model: model {made}: status FAILED"]


def leave_the_model_version_pending(tree: Tree) -> list[str]:
    # MLflow's client cannot; a registry that copies models takes its time.
    with closing(sqlite3.connect(tree.client.tracking_uri.removeprefix("sqlite:///"))) as database, database:
        database.execute("UPDATE model_versions SET status = 'PENDING_REGISTRATION'")
    where = "parent: model version hokusai-penguins/1"
    return [f"{where}: status: got 'PENDING_REGISTRATION', expected 'READY'"]


def use_a_dataset_under_the_digest_of_another(tree: Tree) -> list[str]:
    item = dataset("contribution", name="x")
    item.dataset._digest = "0" * 36
    tree.client.log_inputs(tree.ids["load_baseline_model"], [item])
    return [
        "load_baseline_model: dataset contribution: not a dataset of this step",
        f"load_baseline_model: dataset contribution.x: got the digest '{'0' * 36}', expected 64 digits",
    ]


def train_without_a_model(tree: Tree) -> list[str]:
    version = tree.client.get_model_version("hokusai-penguins", "1")
    tree.write_again("train_new_model")
    where = "parent: model version hokusai-penguins/1"
    return [f"{where}: is {version.source}, expected a model of train_new_model (it has none)"]


# Several to a store, each of which touches what the others leave alone.
SPOILERS = [
    (delete_a_step, add_a_run, leave_a_step_running, leave_the_parent_failed, edit_the_headline),
    (rename_a_step, forget_a_parameter, add_a_parameter, edit_the_parameters_digest),
    (do_a_step_twice, edit_the_schema_version, edit_a_score, edit_a_dataset_tag),
    (never_end_a_step, delete_tags, overwrite_the_delta, overwrite_the_row_scores),
    (
        end_a_step_after_the_parent,
        overwrite_the_parameters,
        overwrite_the_parameters_with_nonsense,
        edit_the_evaluation_of_a_step,
    ),
    (
        start_a_step_before_the_one_before,
        add_a_delta_that_the_parent_does_not_show,
        name_a_dataset_that_was_not_used,
        forget_the_model_version,
    ),
    (
        start_a_step_before_the_parent,
        use_a_dataset_that_is_not_the_steps,
        edit_the_delta,
        delete_the_model_version,
    ),
    (delete_a_dataset_tag, register_another_model, add_a_limit_that_the_delta_leaves_open),
    (edit_the_decision, fail_the_logged_model, use_a_dataset_under_the_digest_of_another),
    (leave_the_model_version_pending, delete_the_logged_model, edit_the_reason, damage_the_row_scores),
    (delete_the_decision, train_without_a_model),
    (lose_the_artifacts,),
]


@pytest.mark.parametrize("spoilers", SPOILERS, ids=lambda spoilers: " ".join(spoil.__name__ for spoil in spoilers))
def test_whatever_spoils_an_evaluation_is_named_and_nothing_else_is(
    tree: Tree, spoilers: Sequence[Callable[[Tree], list[str]]]
) -> None:
    expected = [problem for spoil in spoilers for problem in spoil(tree)]
    assert sorted(tree.problems()) == sorted(expected)


def test_numbers_that_are_undefined_everywhere_agree(tree: Tree) -> None:
    # The demo's delta.json says null for this limit.
    for name, step in (
        ("delta.recall.lower", "compare_and_output_delta"),
        ("control.undefined", "evaluate_on_benchmark"),
    ):
        tree.client.log_metric(tree.ids[step], name, math.nan)
        tree.client.log_metric(tree.parent, name, math.nan)
    assert tree.problems() == []


def test_the_assertion_lists_all_problems_of_an_evaluation_at_once(tree: Tree) -> None:
    assert tree.problems() == []
    expected = [*delete_a_step(tree), *leave_the_parent_failed(tree), *edit_the_headline(tree)]
    name = tree.client.get_run(tree.parent).info.run_name
    message = failure(assert_run_complete, tree.parent, store=tree.client)
    first = f"the evaluation of run {name!r} ({tree.parent}) in {tree.client.tracking_uri}: 3 differences"
    assert message.splitlines() == [first, *(f"  {problem}" for problem in expected)]


def test_a_step_is_not_taken_for_an_evaluation_and_a_deleted_evaluation_is_not_complete(tree: Tree) -> None:
    (problem,) = check_run_complete(tree.ids["train_new_model"], store=tree.client)
    assert problem == (
        f"parent: this is the run 'train_new_model' below {tree.parent}; give the evaluation's parent run"
    )
    tree.client.delete_run(tree.parent)
    assert tree.problems()[0] == "parent: the run has been deleted"


def test_an_empty_run_lacks_everything_that_an_evaluation_has(law_client: MlflowClient) -> None:
    run = law_client.create_run("1", run_name="empty")
    found = check_run_complete(run, store=law_client)
    assert [problem for problem in found if not problem.startswith("parent: ")] == [
        f"{step}: missing" for step in STEPS
    ]
    assert {
        "parent: end time: missing",
        "parent: tag hokusai.evaluation: missing",
        "parent: parameter data.contributions: missing",
        "parent: artifact parameters.json: missing",
        "parent: dataset contribution: missing",
        "parent: tag hokusai.decision: missing",
        "parent: tag hokusai.model_version: missing",
    } <= set(found)


def test_every_type_of_the_parameter_schema_is_known_and_tells_right_from_wrong() -> None:
    kinds = {str(item.type) for schema in completeness._SCHEMAS.values() for item in dataclasses.fields(schema)}
    assert kinds == set(completeness._TYPES)
    values: list[Any] = ["x", None, True, 1, 0.5, ["x"], [1], {}, {"x": "y"}, {"x": 1}]
    fitting = {kind: [value for value in values if is_right(value)] for kind, is_right in completeness._TYPES.items()}
    assert fitting == {
        "str": ["x"],
        "str | None": ["x", None],
        "bool": [True],
        "int": [1],
        "float": [1, 0.5],
        "tuple[str, ...]": [["x"]],
        "tuple[int, ...]": [[1]],
        "Mapping[str, Any]": [{}, {"x": "y"}, {"x": 1}],
        "Mapping[str, str]": [{}, {"x": "y"}],
        "Mapping[str, int]": [{}, {"x": 1}],
        "Mapping[str, float]": [{}, {"x": 1}],
    }


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_long_parameter_is_named_by_its_digest_and_one_that_mlflow_cut_is_found(tree: Tree, *, is_cut: bool) -> None:
    step = tree.ids["load_baseline_model"]
    run = tree.client.get_run(step)
    values = {"baseline.kind": "control", "baseline.source": "x" * 7000, "baseline.trusted_sha256": ""}
    content = json.dumps(values | {"baseline.classes": []}).encode()
    new = tree.client.create_run(run.info.experiment_id, run.info.start_time, run.data.tags, run.info.run_name)
    tree.client.delete_run(step)
    kept = values if is_cut else values | {"baseline.source": f"sha256:{sha256(values['baseline.source'].encode())}"}
    kept |= {"baseline.classes": "[]"}
    tree.client.log_batch(new.info.run_id, params=[Param(*item) for item in kept.items()])
    tree.client.log_batch(new.info.run_id, tags=[RunTag("hokusai.parameters_digest", sha256(content))])
    log_bytes(tree.client, new.info.run_id, "parameters.json", content)
    tree.client.set_terminated(new.info.run_id, end_time=run.info.end_time)
    found = tree.problems()
    assert [problem.partition(": ")[2].partition(":")[0] for problem in found] == (
        ["parameter baseline.source"] if is_cut else []
    )
