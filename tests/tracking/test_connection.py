"""The check of the connection: every way in which a store may be out of reach, with real servers and files."""

from __future__ import annotations

import http.server
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

from hokusai.tracking.connection import Check, ConnectionReport, check_connection
from hokusai.tracking.journal import JOURNAL_FILE, FileJournal
from hokusai.tracking.mlflow_client import schema_revisions
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.naming import EVALUATION_TAG, RUN_KEY_TAG
from hokusai.tracking.operations import StartRun
from hokusai.tracking.shipper import JournalShipper, read_shipping_state
from hokusai.tracking.sqlite_store import create_sqlite_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from hokusai.testing.faults import FaultyProxy
    from hokusai.testing.mlflow_server import MockMlflowServer

NAMES = ("store", "version", "clock", "experiments", "artifacts", "registry", "journals", "runs")
MLFLOW = {"/health": (200, "OK"), "/version": (200, "3.17.2"), "/api/2.0/mlflow/experiments/search": (200, "{}")}
HOUR = 3_600_000


def check(uri: str, folder: Path, **options: object) -> ConnectionReport:
    """Check a store with the journals of a folder."""
    return check_connection(TrackingSettings(uri=uri, journal=folder / "journals"), **options)  # type: ignore[arg-type]


def found(report: ConnectionReport, name: str) -> Check:
    """Return one check of a report."""
    (one,) = (item for item in report.checks if item.name == name)
    return one


def require_unreached(report: ConnectionReport) -> Check:
    """Assert that the store failed, everything behind it was skipped, and it did not take long; return what failed."""
    assert not report.ok
    assert [item.name for item in report.checks] == list(NAMES)
    assert {item.status for item in report.checks[1:-2]} == {"skipped"}
    assert {item.found for item in report.checks[1:-2]} == {"the store was not reached"}
    assert found(report, "journals").status == "ok"
    assert found(report, "runs").status == "skipped"
    first = report.checks[0]
    assert first.status == "failed"
    assert first.advice
    assert sum(item.seconds for item in report.checks) < 10  # promised in words: not a measure of speed
    return first


@contextmanager
def web_server(
    answers: Mapping[str, tuple[int, str]],
    *,
    headers: Mapping[str, str] | None = None,
    authorization: str = "",
    tls: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """Answer GET by path on a port of this machine; other paths get the answer of ``""``, or 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, text = answers.get(self.path.partition("?")[0], answers.get("", (404, "nothing here")))
            if authorization and self.headers.get("Authorization") != authorization:
                code, text = 401, "You are not authenticated."
            self.send_response_only(code)
            for name, value in {"Content-Length": str(len(text)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent_port(*, drip: bytes = b"") -> Iterator[str]:
    """Take connections and never answer, or only a byte now and then."""
    ended = threading.Event()
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(0.05)

        def accept() -> None:
            taken = []
            while not ended.is_set():
                try:
                    taken.append(stack.enter_context(listener.accept()[0]))
                except TimeoutError:
                    for connection in taken if drip else ():
                        try:
                            connection.sendall(drip)
                        except OSError:
                            taken.remove(connection)
                            break

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def make_certificate(
    folder: Path, *, address: str = "127.0.0.1", days: int = 1, is_signed: bool = True
) -> tuple[ssl.SSLContext, Path]:
    """Make a server's TLS certificate, ending in so many days, and return it with the file of its authority."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.now(UTC)
    authority_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of a test")])
    server_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server of a test")])
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]

    def build(subject: x509.Name, key: ec.EllipticCurvePrivateKey, end: datetime, *, is_authority: bool) -> bytes:
        issuer, signer = (authority_name, keys[0]) if is_signed or is_authority else (subject, key)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=10))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        )
        return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority, own = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(build(authority_name, keys[0], now + timedelta(days=2), is_authority=True))
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    own.write_bytes(private + build(server_name, keys[1], now + timedelta(days=days), is_authority=False))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    return context, authority


# Out of reach.


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://no-such-host.invalid:5000", "name does not resolve"),
        ("http://", "names no host"),
        ("http://[::1", "names no host"),
        ("http://host:99999999", "no address of a server"),
        ("mlruns", "a path, not an address"),
        ("file:///tmp/mlruns", "the scheme 'file' is not supported"),
        ("ftp://host/mlflow", "the scheme 'ftp' is not supported"),
        ("postgresql://user:hidden@127.0.0.1:1/mlflow", "refuses the port"),
        ("sqlite:///:memory:", "in memory"),
    ],
)
def test_an_address_at_which_no_store_can_be_is_named(tmp_path: Path, uri: str, message: str) -> None:
    failed = require_unreached(check(uri, tmp_path))
    assert message in failed.found
    assert "hidden" not in failed.found + failed.tried + failed.advice


def test_a_port_at_which_nobody_listens_is_named(tmp_path: Path) -> None:
    failed = require_unreached(check(f"http://127.0.0.1:{free_port()}", tmp_path))
    assert "refuses the port" in failed.found
    assert "mlflow server" in failed.advice


def test_a_port_that_takes_connections_and_never_answers_is_named(tmp_path: Path) -> None:
    with silent_port() as uri:
        failed = require_unreached(check(uri, tmp_path))
    assert "no answer came within 3 seconds" in failed.found
    assert "hangs" in failed.found


def test_a_server_that_sends_a_byte_now_and_then_does_not_hold_the_check_up(tmp_path: Path) -> None:
    with silent_port(drip=b"H") as uri:
        failed = require_unreached(check(uri, tmp_path))
    assert "hangs" in failed.found


@pytest.mark.parametrize(
    ("days", "address", "is_signed", "is_trusted", "message"),
    [
        (-1, "127.0.0.1", True, True, "has expired"),
        (1, "127.0.0.2", True, True, "is for another host"),
        (1, "127.0.0.1", False, False, "is self-signed"),
        (1, "127.0.0.1", True, False, "cannot be verified"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    address: str,
    is_signed: bool,  # noqa: FBT001
    is_trusted: bool,  # noqa: FBT001
    message: str,
) -> None:
    context, authority = make_certificate(tmp_path, days=days, address=address, is_signed=is_signed)
    if is_trusted:
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(authority))
    with web_server(MLFLOW, tls=context) as uri:
        failed = require_unreached(check(uri, tmp_path))
    assert message in failed.found


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_INSECURE_TLS"])
def test_mlflows_variables_for_tls_are_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    context, authority = make_certificate(tmp_path)
    monkeypatch.setenv(variable, str(authority) if variable.endswith("PATH") else "true")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "server.pem"))
    with web_server({**MLFLOW, "/version": (200, "2.0.1")}, tls=context) as uri:
        report = check(uri, tmp_path)
    assert found(report, "store").status == "ok"
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(authority))
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "1")
    assert "are both set" in require_unreached(check(uri, tmp_path)).found


def test_tls_and_plain_http_taken_for_one_another_are_named(tmp_path: Path) -> None:
    with web_server(MLFLOW) as uri:
        failed = require_unreached(check(uri.replace("http:", "https:"), tmp_path))
    assert "does not speak TLS" in failed.found
    context, _ = make_certificate(tmp_path)
    with web_server(MLFLOW, tls=context) as uri:
        failed = require_unreached(check(uri.replace("https:", "http:"), tmp_path))
    assert "closed without an answer in HTTP" in failed.found
    assert "https://" in failed.advice


@pytest.mark.parametrize(
    ("answers", "message", "advice"),
    [
        ({"": (403, "Invalid Host header - possible DNS rebinding attack detected")}, "host name", "--allowed-hosts"),
        ({"": (403, "Cross-origin request blocked")}, "origin", "--cors-allowed-origins"),
        ({"": (403, "no")}, "/health answers 403", "--allowed-hosts"),
        ({}, "/health answers 404: a web server without MLflow", "prefix"),
        ({"": (429, "slow down")}, "answers 429: too many requests", "Wait"),
        ({"": (500, "oops")}, "answers 500: the server failed inside", "log"),
        ({"": (502, "oops")}, "answers 502: a proxy answers", "log"),
        ({"": (503, "oops")}, "answers 503: the server is starting, stopping or overloaded", "log"),
        ({"": (418, "tea")}, "answers 418, which MLflow does not", "address"),
        ({"": (200, "<!DOCTYPE html><html>Welcome</html>")}, "answers 200 with a page of HTML", "address"),
        ({"": (200, "OK")}, "/version answers 200 with something else", "address"),
        (MLFLOW | {"/api/2.0/mlflow/experiments/search": (500, "no database")}, "search answers 500", "database"),
    ],
)
def test_an_answer_that_is_not_mlflows_is_named(
    tmp_path: Path, answers: dict[str, tuple[int, str]], message: str, advice: str
) -> None:
    with web_server(answers) as uri:
        failed = require_unreached(check(uri, tmp_path))
    assert message in failed.found
    assert advice in failed.advice


@pytest.mark.parametrize(
    ("target", "message", "advice"),
    [
        (
            "https://login.example.org/start?state=hidden",
            "https://login.example.org/start: probably a login page",
            "tokens",
        ),
        (
            "https://user:hidden@mlflow.example.org/health",
            "MLflow is at another address",
            "https://mlflow.example.org:",
        ),
    ],
)
def test_a_redirection_is_named_without_its_secrets(tmp_path: Path, target: str, message: str, advice: str) -> None:
    with web_server({"": (302, "")}, headers={"Location": target}) as uri:
        failed = require_unreached(check(uri, tmp_path))
    assert message in failed.found
    assert advice in failed.advice
    assert "hidden" not in failed.found + failed.advice


def test_credentials_that_miss_are_asked_for_and_wrong_ones_are_called_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with web_server(MLFLOW | {"/version": (200, "2.9.0")}, authorization="Basic bWU6aGlkZGVu") as uri:  # me:hidden
        assert "401: it wants credentials" in require_unreached(check(uri, tmp_path)).found
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "some-token")
        assert "credentials that were sent are refused" in require_unreached(check(uri, tmp_path)).found
        (tmp_path / ".mlflow").mkdir()
        credentials = "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = hidden\n"
        (tmp_path / ".mlflow" / "credentials").write_text(credentials, encoding="utf-8")
        assert found(check(uri, tmp_path), "store").status == "ok"
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        report = check(uri, tmp_path)
        assert "credentials that were sent are refused" in require_unreached(report).found
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden")
        assert found(check(uri, tmp_path), "store").status == "ok"
    with web_server(MLFLOW, authorization="Bearer some-token") as uri:
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
        (tmp_path / ".mlflow" / "credentials").unlink()
        assert found(check(uri, tmp_path), "store").status == "ok"


def test_no_report_repeats_the_password_of_an_address(tmp_path: Path) -> None:
    with web_server({"": (500, "oops")}) as uri:
        report = check(uri.replace("//", "//me:hidden@"), tmp_path)
    assert report.store == uri
    assert "hidden" not in str(report)


# A server that is there.


def test_a_healthy_server_passes_every_check_and_is_left_as_it_was(
    mlflow_server: MockMlflowServer, tmp_path: Path
) -> None:
    before = dict(os.environ)
    report = check(mlflow_server.uri, tmp_path)
    assert {item.name: item.status for item in report.checks} == dict.fromkeys(NAMES, "ok"), report
    assert f"MLflow {version('mlflow')}" in found(report, "version").found
    assert dict(os.environ) == before
    again = check(mlflow_server.uri, tmp_path)
    assert again.ok
    client = MlflowClient(mlflow_server.uri)
    (experiment,) = (item for item in client.search_experiments() if item.name == "hokusai-doctor")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert client.list_artifacts(run.info.run_id, "round-trip") == []


def test_an_experiment_that_was_archived_is_used_and_archived_again(
    mlflow_server: MockMlflowServer, tmp_path: Path
) -> None:
    assert check(mlflow_server.uri, tmp_path).ok
    client = MlflowClient(mlflow_server.uri)
    experiment = client.get_experiment_by_name("hokusai-doctor")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    report = check(mlflow_server.uri, tmp_path)
    assert found(report, "artifacts").status == "ok", report
    assert client.get_experiment(experiment.experiment_id).lifecycle_stage == "deleted"


@pytest.mark.parametrize(
    ("number", "word"), [("2.22.0", "older"), ("3.16.9", "older"), ("3.18.0", "newer"), ("4.0.0rc1", "newer")]
)
def test_a_version_that_is_not_supported_is_a_warning(tmp_path: Path, number: str, word: str) -> None:
    with web_server(MLFLOW | {"/version": (200, number)}) as uri:
        compared = found(check(uri, tmp_path), "version")
    assert compared.status == "warning"
    assert f"MLflow {number}, which is {word} than what is supported (<3.18,>=3.17)" in compared.found


@pytest.mark.parametrize(("hours", "word"), [(3, "ahead of"), (-3, "behind")])
def test_a_clock_that_is_wrong_is_a_warning_that_says_by_how_much(tmp_path: Path, hours: int, word: str) -> None:
    date = formatdate(time.time() + hours * 3600, usegmt=True)
    with web_server(MLFLOW, headers={"Date": date}) as uri:
        compared = found(check(uri, tmp_path), "clock")
    assert compared.status == "warning"
    assert word in compared.found
    seconds = int(compared.found.split(" s ")[0].rsplit(" ", 1)[1])
    assert abs(seconds - 3 * 3600) < 60


def test_a_server_without_a_date_has_no_clock_to_compare(tmp_path: Path) -> None:
    with web_server(MLFLOW) as uri:
        assert found(check(uri, tmp_path), "clock").status == "skipped"


def test_a_server_that_takes_no_uploads_fails_in_the_artifacts_alone(
    faulty_mlflow: FaultyProxy, tmp_path: Path
) -> None:
    from hokusai.testing.faults import Status

    faulty_mlflow.faults = (Status(500, route="PUT .*/mlflow-artifacts/"),)
    report = check(faulty_mlflow.uri, tmp_path)
    assert [item.name for item in report.checks if item.status == "failed"] == ["artifacts"], report


# A file.


def test_a_laptop_without_a_store_is_fine_and_stays_without(tmp_path: Path) -> None:
    report = check(f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}", tmp_path)
    assert report.ok
    assert "there is no file yet" in found(report, "store").found
    assert list(tmp_path.iterdir()) == []


def test_nothing_set_means_the_file_in_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_connection(TrackingSettings()).store == f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_a_file_with_a_store_passes_every_check(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    create_sqlite_store(path)
    report = check(f"sqlite:///{path}", tmp_path)
    expected = dict.fromkeys(NAMES, "ok") | {"clock": "skipped"}
    assert {item.name: item.status for item in report.checks} == expected, report


def make_store(path: Path, *, revision: str) -> None:
    """Make a store whose tables claim to be of another revision."""
    create_sqlite_store(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def test_an_older_file_is_named_before_it_would_be_migrated_and_is_not_migrated(tmp_path: Path) -> None:
    path, older = tmp_path / "mlflow.db", schema_revisions()[1]
    make_store(path, revision=older)
    report = check(f"sqlite:///{path}", tmp_path)
    compared = found(report, "version")
    assert compared.status == "warning"
    assert f"older MLflow (revision {older}" in compared.found
    assert f"Copy {path} first" in compared.advice
    assert found(report, "experiments").found == "looking further would migrate the file"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(older,)]


def test_a_file_of_a_newer_mlflow_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    make_store(path, revision="ffffffffffff")
    report = check(f"sqlite:///{path}", tmp_path)
    assert not report.ok
    assert "of a newer MLflow" in found(report, "version").found
    assert found(report, "experiments").status == "skipped"


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database\n" * 100, encoding="utf-8")
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection, connection:
        connection.execute("CREATE TABLE guests (name TEXT)")
    for name, message in (("text.db", "not a database"), ("other.db", "not of MLflow"), (".", "that is a folder")):
        failed = require_unreached(check(f"sqlite:///{tmp_path / name}", tmp_path))
        assert message in failed.found


def test_a_file_that_somebody_holds_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    create_sqlite_store(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        failed = require_unreached(check(f"sqlite:///{path}", tmp_path))
    assert "the database is locked" in failed.found


def test_a_folder_that_takes_no_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    failed = require_unreached(check(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", tmp_path))
    assert f"{tmp_path / 'file'} is not a folder" in failed.found
    (tmp_path / "journals").write_bytes(b"")
    report = check(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    assert not report.ok
    assert f"{tmp_path / 'journals'} is not a folder" in found(report, "journals").found


def test_a_read_only_file_and_a_read_only_folder_are_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only to root")
    path = tmp_path / "mlflow.db"
    create_sqlite_store(path)
    path.chmod(0o400)
    assert "cannot be written" in require_unreached(check(f"sqlite:///{path}", tmp_path)).found
    path.chmod(0o600)
    tmp_path.chmod(0o500)
    try:
        assert "cannot be written" in found(check(f"sqlite:///{path}", tmp_path), "store").found
    finally:
        tmp_path.chmod(0o700)


# What was left behind.


DYING = """
import os, signal, sys
from pathlib import Path
from hokusai.tracking.journal import JOURNAL_FORMAT, FileJournal
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.operations import OpenJournal
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipper import JournalShipper
folder, uri = Path(sys.argv[1]), sys.argv[2]
journal = FileJournal(folder)
header = OpenJournal(format=JOURNAL_FORMAT, evaluation=folder.name, experiment="left", tracking_uri=uri)
journal.append(header)
with Tracker(journal, evaluation=folder.name, run_name="left behind").start() as run:
    with run.child("load_baseline_model") as child:
        JournalShipper(folder, MlflowStore(uri)).advance()
        child.log_metrics({"m": 1.0})
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def dead_evaluation(tmp_path: Path, store_uri: str, subprocess_environment: dict[str, str]) -> Path:
    """Return the journal of an evaluation that was killed; MLflow has it RUNNING and without its metric."""
    folder = tmp_path / "journals" / "20300102-030405-00000000"
    command = [sys.executable, "-c", DYING, str(folder), store_uri]
    done = subprocess.run(command, env=subprocess_environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    return folder


def test_what_a_killed_process_left_is_named_and_repaired_with_its_true_end(
    dead_evaluation: Path, store_uri: str, tmp_path: Path
) -> None:
    report = check(store_uri, tmp_path)
    assert report.ok
    assert found(report, "journals").status == found(report, "runs").status == "warning"
    assert "1 not shipped whole, the oldest of 20" in found(report, "journals").found
    assert "2 of dead processes, with a journal here: left behind (" in found(report, "runs").found
    assert "--repair" in found(report, "runs").advice

    repaired = check(store_uri, tmp_path, repair=True)
    assert "1 shipped now" in found(repaired, "journals").found
    assert found(repaired, "runs").found == "none"
    client = MlflowClient(store_uri)
    runs = client.search_runs(
        [item.experiment_id for item in client.search_experiments()], "tags.hokusai.run_key != ''"
    )
    last = client.get_metric_history(runs[0].info.run_id, "m") or client.get_metric_history(runs[1].info.run_id, "m")
    assert [run.info.status for run in runs] == ["KILLED", "KILLED"]
    assert {run.info.end_time for run in runs} == {last[0].timestamp}
    state = read_shipping_state(dead_evaluation)
    assert state is not None
    assert state.complete
    assert {item.status for item in check(store_uri, tmp_path).checks} == {"ok", "skipped"}


def test_what_is_at_work_is_left_alone(
    open_journal: Callable[[str], FileJournal], store_uri: str, tmp_path: Path
) -> None:
    from hokusai.tracking.mlflow_client import MlflowStore

    journal = open_journal(store_uri)
    tags = {RUN_KEY_TAG: "r", EVALUATION_TAG: journal.folder.name}
    journal.append(StartRun(run="r", name="at work", tags=tags))
    JournalShipper(journal.folder, MlflowStore(store_uri)).advance()
    report = check(store_uri, tmp_path, repair=True, lost_after_hours=1e-9)
    assert found(report, "journals").found == "1 journal; 1 being written"
    assert found(report, "runs").found == "1 at work here"
    journal.close()


def make_run(client: MlflowClient, name: str, *, hours_ago: float, parent: str = "") -> str:
    tags = {RUN_KEY_TAG: name, EVALUATION_TAG: "20300102-030405-ffffffff"}
    if parent:
        tags["mlflow.parentRunId"] = parent
    started = int(time.time() * 1000 - hours_ago * HOUR)
    return str(client.create_run("0", started, tags, name).info.run_id)


def test_runs_without_a_journal_are_closed_only_when_they_have_been_silent_for_long(
    store_uri: str, tmp_path: Path
) -> None:
    create_sqlite_store(tmp_path / "mlflow.db")
    client = MlflowClient(store_uri)
    parent = make_run(client, "parent", hours_ago=100)
    child = make_run(client, "child", hours_ago=90, parent=parent)
    ended = make_run(client, "ended child", hours_ago=80, parent=parent)
    moments = [int(time.time() * 1000 - hours * HOUR) for hours in (70, 60)]
    client.log_metric(child, "m", 1.0, timestamp=moments[0])
    client.set_terminated(ended, "FINISHED", moments[1])
    strange = client.create_run("0", 1, {}, "not ours").info.run_id

    kept = found(check(store_uri, tmp_path, repair=True, lost_after_hours=75), "runs")
    assert kept.found == "2 without a journal here, which may be alive on another machine"
    named = found(check(store_uri, tmp_path), "runs")
    assert named.status == "warning"
    assert "2 silent for more than 24 h" in named.found
    assert client.get_run(parent).info.status == "RUNNING"

    half = found(check(store_uri, tmp_path, repair=True, lost_after_hours=65), "runs")
    assert "1 lost, now closed as KILLED at their last sign of life: child" in half.found
    assert "1 without a journal here" in half.found
    assert (client.get_run(child).info.status, client.get_run(child).info.end_time) == ("KILLED", moments[0])
    client.log_metric(parent, "m", 1.0, timestamp=moments[0])
    done = found(check(store_uri, tmp_path, repair=True), "runs")
    assert done.status == "ok"
    assert (client.get_run(parent).info.status, client.get_run(parent).info.end_time) == ("KILLED", moments[1])
    assert client.get_run(strange).info.status == "RUNNING"


def test_damaged_and_empty_journals_are_named_and_others_are_shipped_all_the_same(
    record_evaluation: Callable[..., Path], store_uri: str, tmp_path: Path
) -> None:
    damaged, whole = (record_evaluation(store_uri, steps=("load_baseline_model",)) for _ in range(2))
    content = (damaged / JOURNAL_FILE).read_bytes()
    (damaged / JOURNAL_FILE).write_bytes(content.replace(b"accept", b"reject"))
    empty = tmp_path / "journals" / "empty"
    FileJournal(empty).abandon()
    create_sqlite_store(tmp_path / "mlflow.db")
    report = check(store_uri, tmp_path, repair=True)
    journals = found(report, "journals")
    assert journals.status == "failed"
    assert "3 journals; 1 shipped now; 1 without an entry: empty; 1 unreadable" in journals.found
    assert f"{damaged / JOURNAL_FILE}: line " in journals.found
    state = read_shipping_state(whole)
    assert state is not None
    assert state.complete


def test_a_journal_for_another_store_is_not_shipped_to_this_one(
    record_evaluation: Callable[..., Path], store_uri: str, tmp_path: Path
) -> None:
    folder = record_evaluation("http://elsewhere.example.org", steps=())
    create_sqlite_store(tmp_path / "mlflow.db")
    journals = found(check(store_uri, tmp_path, repair=True), "journals")
    assert journals.status == "warning"
    assert "hokusai sync" in journals.advice
    assert "http://elsewhere.example.org" in journals.advice
    assert read_shipping_state(folder) is None


def test_journals_are_looked_at_also_when_the_server_is_gone(
    record_evaluation: Callable[..., Path], tmp_path: Path
) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    record_evaluation(uri, steps=())
    report = check(uri, tmp_path, repair=True)
    assert not report.ok
    assert "1 not shipped whole" in found(report, "journals").found
