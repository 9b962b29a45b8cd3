"""The fixtures do for a stranger's project what the documentation says, and leave nothing behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hokusai.testing

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "testing.md"

_FILE = re.compile(
    r"<!-- docs-test: file (?P<name>\w+\.py) -->\n```python\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)

# What a stranger might write, and what would show if one test could see another. `note` is what outlives the session.
_STRANGER = r"""
import json
import os
import socket
import threading

import mlflow
import pytest

from hokusai.errors import NotOfflineError
from hokusai.testing import Latency, assert_tracked


def note(**facts):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(json.dumps(facts) + "\n")


@pytest.mark.parametrize("turn", range(4))
def test_a_store_is_fresh_and_default_in_every_test(mlflow_store, turn):
    assert mlflow.get_tracking_uri() == mlflow.get_registry_uri() == mlflow_store.uri
    assert [each.name for each in mlflow_store.client.search_experiments()] == ["Default"]
    assert mlflow.active_run() is None
    assert mlflow.last_active_run() is None
    assert mlflow.get_active_model_id() is None
    assert "MLFLOW_EXPERIMENT_ID" not in os.environ
    # Everything that a test may leave behind in MLflow.
    mlflow.set_experiment("taken")
    mlflow.set_active_model(name="active")
    run = mlflow.start_run()
    mlflow.log_metric("turn", turn)
    assert_tracked(run, metrics={"turn": turn})
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "7"
    mlflow.set_tracking_uri("sqlite:////nowhere/at/all.db")
    mlflow.set_tracking_uri(mlflow_store.uri)
    note(kind="store", worker=os.environ.get("PYTEST_XDIST_WORKER", ""), path=mlflow_store.uri.removeprefix("sqlite:///"))


@pytest.mark.parametrize("turn", range(2))
def test_a_server_is_fresh_and_default_in_every_test(mlflow_server, turn):
    assert mlflow.get_tracking_uri() == mlflow.get_registry_uri() == mlflow_server.uri
    assert [each.name for each in mlflow.search_experiments()] == ["Default"]
    mlflow.set_experiment("taken")
    mlflow.start_run()
    mlflow.log_text("text", "folder/file.txt")
    mlflow.log_param("turn", turn)
    assert any(request.path.endswith("runs/create") for request in mlflow_server.requests)
    note(kind="server", path=mlflow_server.store_uri.removeprefix("sqlite:///"))


def test_the_faulty_one_is_the_default_and_the_server_is_behind_it(faulty_mlflow, mlflow_server):
    faulty_mlflow.faults = [Latency(0.001)]
    assert mlflow.get_tracking_uri() == faulty_mlflow.uri != mlflow_server.uri
    with mlflow.start_run() as run:
        mlflow.log_param("a", 1)
    assert len(faulty_mlflow.events) == len(mlflow_server.requests) > 0
    assert_tracked(run, params={"a": 1}, store=mlflow_server)


def test_a_run_left_active_behind_a_fault_holds_nobody_up(faulty_mlflow):
    from hokusai.testing import Refuse

    mlflow.start_run()
    faulty_mlflow.faults = [Refuse()]


def test_a_server_process_is_nobody_s_default(mlflow_server_process):
    client = mlflow.MlflowClient(mlflow_server_process.uri)
    assert client.get_experiment(client.create_experiment("ours")).name == "ours"
    assert mlflow.get_tracking_uri() != mlflow_server_process.uri
    note(kind="process", pid=mlflow_server_process._process.pid)


def test_example_runs_are_in_the_store_of_the_test(hokusai_runs, mlflow_store):
    running = hokusai_runs.running()
    assert mlflow_store.client.get_run(running).info.status == "RUNNING"


def test_offline_holds_the_test_on_this_machine(offline, mlflow_server):
    with pytest.raises(NotOfflineError):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(NotOfflineError):
        socket.getaddrinfo("nobody.invalid", 80)
    assert [each.name for each in mlflow.search_experiments()] == ["Default"]
"""

# Runs the session in a process that looks at itself before and afterwards.
_SESSION = """
import json, os, sys, threading, warnings

with warnings.catch_warnings(action="ignore"):
    import mlflow, mlflow.server.fastapi_app, sklearn.linear_model, skops.io
    import pytest

mlflow.set_tracking_uri("sqlite:///own.db")
mlflow.set_experiment("own")
own_run = mlflow.start_run(run_name="own")

def state():
    import mlflow.server.handlers as handlers
    from mlflow.store.model_registry import sqlalchemy_store
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    return {
        "environment": {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")},
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "uris": [mlflow.get_tracking_uri(), mlflow.get_registry_uri()],
        "run": mlflow.active_run().info.run_id,
        "model": mlflow.get_active_model_id(),
        "experiment": mlflow.tracking.fluent._active_experiment_id,
        "handlers": [
            f"{function.__module__}.{function.__qualname__}"
            for function in (
                handlers._get_tracking_store,
                handlers._get_model_registry_store,
                handlers._get_artifact_repo_mlflow_artifacts,
                handlers._is_serving_proxied_artifacts,
                sqlalchemy_store.MlflowClient,
            )
        ],
        "stores": sorted(uri for uri in SqlAlchemyStore._engine_map),
    }

before = state()
status = pytest.main(sys.argv[1:])
after = state()
mlflow.end_run()
print("STATES " + json.dumps({"status": int(status), "before": before, "after": after}))
"""


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A folder outside of our project with a test file of a stranger's."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    (folder / "test_a_stranger.py").write_text(_STRANGER, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "temporary").mkdir()
    return folder


def call(folder: Path, *arguments: str) -> str:
    """Run Python in a folder, with a temporary folder of its own, and return its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**kept, "NOTES": str(folder / "notes.jsonl"), "TMPDIR": str(folder / "temporary")}
    command = [sys.executable, *arguments, "-p", "no:cacheprovider", "-q", "--basetemp", str(folder / "base")]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def notes(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Give what the tests of a session have noted."""
    for line in (folder / "notes.jsonl").read_text(encoding="utf-8").splitlines():
        fact = json.loads(line)
        if fact["kind"] == kind:
            yield fact


@pytest.mark.slow
def test_a_session_of_a_stranger_passes_and_leaves_nothing_behind(stranger: Path) -> None:
    output = call(stranger, "-c", _SESSION)
    assert "11 passed" in output, output
    states = json.loads(output.partition("STATES ")[2])
    assert states["status"] == 0
    for name, value in states["before"].items():
        assert states["after"][name] == value
    assert list((stranger / "temporary").iterdir()) == []
    servers = list(notes(stranger, "server"))
    assert len({fact["path"] for fact in servers}) == len(servers) == 2
    assert not any(Path(fact["path"]).parent.exists() for fact in servers)
    (process,) = notes(stranger, "process")
    with pytest.raises(ProcessLookupError):
        os.killpg(process["pid"], 0)
    # The store itself is in pytest's folder of the test, to look at when it has failed; its run has been ended.
    stores = [fact["path"] for fact in notes(stranger, "store")]
    assert len(set(stores)) == len(stores) == 4
    assert all(Path(path).exists() for path in stores)


@pytest.mark.slow
def test_the_example_of_the_documentation_passes_and_workers_share_nothing(stranger: Path) -> None:
    from mlflow import MlflowClient

    files = {match["name"]: match["text"] for match in _FILE.finditer(PAGE.read_text(encoding="utf-8"))}
    assert set(files) == {"train.py", "test_train.py", "test_servers.py", "test_examples.py"}
    for name, text in files.items():
        (stranger / name).write_text(text, encoding="utf-8")
    documented = sum(len(re.findall(r"^def test_", text, re.MULTILINE)) for text in files.values())
    output = call(stranger, "-m", "pytest", "-n", "2", "-k", "not server_process")
    assert re.findall(r"(\d+) passed", output) == [str(documented + 10)], output
    found = list(notes(stranger, "store"))
    assert {fact["worker"] for fact in found} == {"gw0", "gw1"}
    for fact in found:
        client = MlflowClient(f"sqlite:///{fact['path']}")
        (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
        assert run.info.status == "KILLED", "a run that a test has left active ends in its own store"
    assert list((stranger / "temporary").iterdir()) == []


def test_every_fixture_is_documented_and_so_is_every_public_name() -> None:
    from hokusai.testing import plugin

    page = PAGE.read_text(encoding="utf-8")
    fixtures = [name for name in plugin.__all__ if name[0].islower()]
    assert len(fixtures) == 10
    assert [name for name in fixtures if f"| `{name}` |" not in page] == []
    left_out = {"Fault", "ProxyEvent", "RecordedRequest", "block_non_loopback_sockets"}
    assert [name for name in {*hokusai.testing.__all__} - left_out if not re.search(rf"\b{name}\b", page)] == []


def test_the_public_surface_is_a_list_and_each_name_can_be_fetched() -> None:
    public = hokusai.testing.__all__
    assert public == sorted(public)
    assert dir(hokusai.testing) == public
    assert set(hokusai.testing._HOMES) == set(public)
    for name in public:
        assert getattr(hokusai.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = hokusai.testing.no_such_name


def test_the_plugin_and_the_door_cost_no_library() -> None:
    code = "import hokusai.testing, hokusai.testing.plugin, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pytest" in loaded
    assert {"mlflow", "sklearn", "pandas", "numpy", "sqlalchemy", "flask", "asyncio"}.isdisjoint(loaded)
