"""What MLflow, the network and the disk do wrong leaves as one error of ours, which says whether to try again."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

from hokusai.errors import RunNotFoundError, TrackingError, TrackingServerError
from hokusai.tracking.mlflow_client import MetricPoint, MlflowStore
from hokusai.tracking.mlflow_config import TrackingSettings, shipper_environment
from hokusai.tracking.mlflow_names import from_mlflow_name
from hokusai.tracking.naming import EVALUATION_TAG, RUN_KEY_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _quick_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MLflow's client fail as fast as in the shipping process."""
    for name, value in shipper_environment(TrackingSettings(request_seconds=1.0)).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], str]]:
    """Start HTTP servers that give every request one answer; each returns its address."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(status: int, body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815  (the name is the standard library's)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


CALLS: dict[str, Callable[[MlflowStore], object]] = {
    "ensure_experiment": lambda store: store.ensure_experiment("e", tags={}),
    "create_run": lambda store: store.create_run("1", name="n", started_at=1, parent_id=None, tags={}),
    "log_batch": lambda store: store.log_batch("r", parameters={"a": "b"}),
    "end_run": lambda store: store.end_run("r", status="FINISHED", ended_at=1),
    "list_evaluations": lambda store: store.list_evaluations(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "body", "is_outage"),
    [
        (500, b"", True),
        (500, b'{"error_code": "INTERNAL_ERROR", "message": "boom"}', True),
        (502, b"<html>bad gateway</html>", True),
        (503, b"", True),
        (429, b"", True),
        (200, b"<html>sign in</html>", True),
        (200, b"[]", True),
        (400, b'{"error_code": "BAD_REQUEST", "message": "QueuePool limit of size 5 overflow 10 reached"}', True),
        (400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}', False),
        (401, b"", False),
        (403, b"<html>forbidden</html>", False),
        (404, b"<html>not found</html>", False),
    ],
)
def test_an_answer_that_is_none_is_one_error_of_ours(
    answering: Callable[[int, bytes], str], call: str, status: int, body: bytes, *, is_outage: bool
) -> None:
    uri = answering(status, body)
    with pytest.raises(TrackingServerError) as caught:
        CALLS[call](MlflowStore(uri))
    assert caught.value.store == uri
    assert caught.value.is_outage is is_outage
    assert uri in str(caught.value)


def test_json_that_is_not_mlflows_is_one_error_of_ours(answering: Callable[[int, bytes], str]) -> None:
    store = MlflowStore(answering(200, b'{"experiment": {"experiment_id": {}}, "experiments": 5}'))
    for call in ("ensure_experiment", "list_evaluations"):
        with pytest.raises(TrackingServerError, match="not MLflow's"):
            CALLS[call](store)


@pytest.mark.parametrize("body", [b"", b"{}", b"200 OK", b'{"run": {}}'])
@pytest.mark.parametrize("call", ["ensure_experiment", "create_run"])
def test_an_answer_without_an_id_is_not_taken_for_one(
    answering: Callable[[int, bytes], str], call: str, body: bytes
) -> None:
    with pytest.raises(TrackingServerError, match="not MLflow's") as caught:
        CALLS[call](MlflowStore(answering(200, body)))
    assert caught.value.is_outage


@pytest.mark.parametrize("call", CALLS)
def test_a_port_where_nobody_listens_is_an_outage(call: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(TrackingServerError, match="cannot be reached") as caught:
        CALLS[call](MlflowStore(f"http://somebody:hunter2@127.0.0.1:{port}"))
    assert caught.value.is_outage
    assert caught.value.store == f"http://127.0.0.1:{port}"
    assert "hunter2" not in str(caught.value)


def test_a_server_that_never_answers_is_an_outage() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TrackingServerError, match="does not answer") as caught:
            CALLS["ensure_experiment"](MlflowStore(f"http://127.0.0.1:{port}"))
    assert caught.value.is_outage


def test_what_mlflow_says_of_an_address_is_passed_on_without_the_password() -> None:
    with pytest.raises(TrackingServerError, match="unsupported URI 'ftp://host'") as caught:
        MlflowStore("ftp://somebody:hunter2@host")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://[x", "ftp://host", "http://127.0.0.1:port"])
def test_an_address_that_is_none_is_refused_for_good(uri: str) -> None:
    with pytest.raises(TrackingServerError) as caught:
        CALLS["ensure_experiment"](MlflowStore(uri))
    assert not caught.value.is_outage


def test_a_file_that_is_no_database_is_one_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is not a database " * 100)
    with pytest.raises(TrackingServerError, match="not a database"):
        MlflowStore(f"sqlite:///{tmp_path / 'mlflow.db'}").list_evaluations()
    assert (tmp_path / "mlflow.db").read_bytes() == b"this is not a database " * 100


def test_what_mlflow_refuses_is_refused_for_good_and_stays_with_the_caller(store_uri: str) -> None:
    store = MlflowStore(store_uri)
    run = store.create_run(store.ensure_experiment("e", tags={}), name="n", started_at=1, parent_id=None, tags={})
    store.log_batch(run, parameters={"p": "1"})
    parameters = {"p": "2"}
    with pytest.raises(TrackingServerError, match="'p'") as caught:
        store.log_batch(run, parameters=parameters)
    assert not caught.value.is_outage
    assert parameters == {"p": "2"}


def test_a_name_that_mlflow_would_refuse_is_kept_under_one_that_it_takes(store_uri: str) -> None:
    store = MlflowStore(store_uri)
    run = store.create_run(store.ensure_experiment("e", tags={}), name="n", started_at=1, parent_id=None, tags={})
    points, parameters, tags = [MetricPoint("m@%", 1.0, 1, 0)], {"a//b": "x"}, {"f1 (macro)": "y"}
    store.log_batch(run, metrics=points, parameters=parameters, tags=tags)
    assert (points, parameters, tags) == ([], {}, {})
    data = MlflowClient(store_uri).get_run(run).data
    assert {from_mlflow_name(name): value for name, value in data.metrics.items()} == {"m@%": 1.0}
    assert {from_mlflow_name(name): value for name, value in data.params.items()} == {"a//b": "x"}
    assert {from_mlflow_name(name): value for name, value in data.tags.items()}["f1 (macro)"] == "y"


def test_a_deleted_experiment_is_refused_with_what_to_do(store_uri: str) -> None:
    store = MlflowStore(store_uri)
    MlflowClient(store_uri).delete_experiment(store.ensure_experiment("e", tags={}))
    with pytest.raises(TrackingServerError, match="experiments restore") as caught:
        store.ensure_experiment("e", tags={})
    assert not caught.value.is_outage


def test_texts_that_no_database_takes_are_kept_as_escapes(store_uri: str) -> None:
    store = MlflowStore(store_uri)
    experiment = store.ensure_experiment("e", tags={})
    odd, escaped = "caf\udce9", "caf\\udce9"
    run = store.create_run(experiment, name=odd, started_at=1, parent_id=None, tags={"a": odd})
    for _ in range(2):
        store.log_batch(run, parameters={"p": odd}, tags={"b": odd})
    seen = MlflowClient(store_uri).get_run(run)
    assert seen.info.run_name == escaped
    assert seen.data.params == {"p": escaped}
    assert (seen.data.tags["a"], seen.data.tags["b"]) == (escaped, escaped)


def test_a_run_is_found_by_id_beginning_of_id_name_and_key(store_uri: str) -> None:
    store = MlflowStore(store_uri)
    experiment = store.ensure_experiment("e", tags={})
    tags = {EVALUATION_TAG: "key", RUN_KEY_TAG: "key"}
    parent = store.create_run(experiment, name="parent", started_at=1, parent_id=None, tags=tags)
    later, earlier = (
        store.create_run(experiment, name=f"child {at}", started_at=at, parent_id=parent, tags={EVALUATION_TAG: "key"})
        for at in (9, 5)
    )
    for name in (parent, parent[:12], "parent", "key"):
        assert store.find_run(name).run_id == parent
    assert [child.run_id for child in store.child_runs(store.find_run("key"))] == [earlier, later]
    assert [run.run_id for run in store.list_evaluations()] == [parent]
    odd = ("", "%", "_", "it's", "'\"", "a`b", "back\\slash", "two\nlines", "a;b -- c", "größer")
    for name in ("nobody", "f" * 33, *odd):
        with pytest.raises(RunNotFoundError) as caught:
            store.find_run(name)
        assert caught.value.run == name


def test_a_name_or_a_beginning_that_several_runs_share_is_refused_with_their_ids(store_uri: str) -> None:
    store = MlflowStore(store_uri)
    experiment = store.ensure_experiment("e", tags={})
    names = ["it's the same"] * 2 + [f"run {number}" for number in range(15)]
    runs = [
        store.create_run(experiment, name=name, started_at=at, parent_id=None, tags={}) for at, name in enumerate(names)
    ]
    (beginning, _), *_ = Counter(run[0] for run in runs).most_common()  # seventeen ids begin with sixteen digits
    same = {run for run in runs if run[0] == beginning}
    for asked, expected in (("it's the same", set(runs[:2])), (beginning, same)):
        with pytest.raises(TrackingError, match=r"names more than one run in .* Name one by its id") as refused:
            store.find_run(asked)
        assert {run for run in runs if run[:12] in str(refused.value)} == expected
    # Of two with one name, the one that is not deleted is meant.
    MlflowClient(store_uri).delete_run(runs[0])
    assert store.find_run("it's the same").run_id == runs[1]
    # What somebody calls a run does not make it another one.
    MlflowClient(store_uri).update_run(runs[2], name=runs[1])
    MlflowClient(store_uri).set_tag(runs[3], RUN_KEY_TAG, runs[1])
    assert store.find_run(runs[1]).run_id == runs[1]
