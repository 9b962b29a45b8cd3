"""Every case evaluated once on every store, and done again from what that store holds."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import clean_environment
from tests.whole_system.cases import CASES, CONFIGURATION, PAIRS, Case

import hokusai
from hokusai.cli import main
from hokusai.tracking.journal import JournalReader
from hokusai.tracking.naming import STEPS
from hokusai.tracking.operations import StartRun
from hokusai.tracking.shipper import read_shipping_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

    from hokusai.testing import S3Server
    from hokusai.tracking.operations import Operation

KEY = "signing.key"
SERVERS = {
    "server": "mlflow_server_process",
    "postgres-and-s3": "shared_mlflow_server",
    "postgres-and-s3-direct": "shared_mlflow_server_direct",
}
OTHER_USER = {"USER": "somebody_else", "LOGNAME": "somebody_else", "LC_ALL": "C", "TZ": "Pacific/Chatham"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A case on a store; its project has been moved away with its journal.

    Attributes:
        case: The case.
        store: The store's name.
        uri: Its address.
        project: Where the project's files and its journal are now.
        operations: What the journal holds.
        run_ids: MLflow's ids of the runs, by their keys.
        report: What the evaluation returned.
    """

    case: Case
    store: str
    uri: str
    project: Path
    operations: tuple[Operation, ...]
    run_ids: Mapping[str, str]
    report: hokusai.DeltaReport

    @property
    def key(self) -> str:
        """The evaluation's key."""
        return self.report.identity.evaluation

    @property
    def client(self) -> MlflowClient:
        """A client of MLflow's own."""
        from mlflow import MlflowClient

        return MlflowClient(self.uri, self.uri)

    @property
    def journal(self) -> Path:
        """The journal's folder."""
        return self.project / ".hokusai" / self.key

    def runs(self) -> dict[str, MlflowRun]:
        """Return the runs as MLflow has them: ``evaluation`` for the parent, and the steps by their names."""
        keys = {item.run: item.name for item in self.operations if isinstance(item, StartRun)}
        names = {key: name if name in STEPS else "evaluation" for key, name in keys.items()}
        return {names[key]: self.client.get_run(run_id) for key, run_id in self.run_ids.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneAgain:
    """What ``hokusai reproduce`` did.

    Attributes:
        code: With which it ended.
        document: What it printed.
        messages: What it said beside.
        folder: Where it ran; its journal is there.
    """

    code: int
    document: dict[str, Any]
    messages: str
    folder: Path


def _variables(store: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Return what MLflow's clients of a store have to be told: where S3 is, if they go there themselves."""
    variables = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    if store.endswith("direct"):
        s3: S3Server = request.getfixturevalue("s3_server")
        variables |= s3.environment
    return variables


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have these variables, and no others of MLflow and Hokusai."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for variable in set(os.environ) - set(clean_environment()):
            monkeypatch.delenv(variable)
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        yield


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key that the command has made."""
    path = tmp_path_factory.mktemp("keys") / KEY
    command = [sys.executable, "-c", "from hokusai.cli import main; main()", "keys", "new", str(path)]
    subprocess.run(command, env=clean_environment(), check=True, capture_output=True)
    return path


@pytest.fixture(scope="module", params=PAIRS, ids="-on-".join)
def evaluated(request: pytest.FixtureRequest, signing_key: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The case, evaluated on the store."""
    name, store = request.param
    case, folder = CASES[name], tmp_path_factory.mktemp(f"{name}-{store}")
    project = folder / "project"
    project.mkdir()
    case.write(project)
    (project / CONFIGURATION).write_text(case.configuration, encoding="utf-8")
    if store in SERVERS:
        uri = request.getfixturevalue(SERVERS[store]).uri
    else:
        uri = f"sqlite:///{folder / 'store' / 'mlflow.db'}"
        (folder / "store").mkdir()
    flags = {"tracking.uri": uri, "tracking.wait_seconds": 120.0, "tracking.outage_seconds": 30.0}
    flags["delta.signing_key_file"] = signing_key
    with _environment(_variables(store, request) | {"HOKUSAI_CACHE": str(folder / "cache")}):
        report = hokusai.run(hokusai.load_config(project / CONFIGURATION, flags=flags))
    assert report.tracking is not None
    assert (report.tracking.shipped, report.tracking.problem) == (True, "")
    moved = folder / "moved"
    shutil.move(project, moved)
    journal = moved / ".hokusai" / report.identity.evaluation
    state = read_shipping_state(journal)
    assert state is not None
    return Evaluated(
        case=case,
        store=store,
        uri=uri,
        project=moved,
        operations=tuple(entry.operation for entry in JournalReader(journal)),
        run_ids=state.run_ids,
        report=report,
    )


@pytest.fixture(scope="module")
def done_again(
    evaluated: Evaluated, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> DoneAgain:
    """The evaluation, done again from what the store holds: in another folder, as another user, elsewhere."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = _variables(evaluated.store, request) | {"HOKUSAI_CACHE": str(folder / "cache")}
    arguments = ["reproduce", evaluated.key, "--json", "--tracking-uri", evaluated.uri]
    if evaluated.store == "postgres-and-s3":
        command = [sys.executable, "-c", "from hokusai.cli import main; main()", *arguments, "--workers", "2"]
        done = subprocess.run(
            command,
            cwd=folder,
            env=clean_environment() | environment | OTHER_USER,
            capture_output=True,
            text=True,
            check=False,
        )
        code, out, messages = done.returncode, done.stdout, done.stderr
    else:
        code, out, messages = _call(arguments, folder=folder, environment=environment)
    return DoneAgain(code=code, document=json.loads(out) if out else {}, messages=messages, folder=folder)


def _call(arguments: list[str], *, folder: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Call a command in this process, which spares it the import of MLflow."""
    out, messages = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    with (
        _environment(environment),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(messages),
        pytest.raises(SystemExit) as ended,
    ):
        main(arguments)
    signal.signal(signal.SIGTERM, handler)
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return code or 0, out.getvalue(), messages.getvalue()


@pytest.fixture(autouse=True)
def _way_to_the_store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _clean_environment: None
) -> None:
    """Tell MLflow's clients of a test where the artifacts are; each test begins without variables of MLflow's."""
    _, store = request.node.callspec.params["evaluated"]
    for variable, value in _variables(store, request).items():
        monkeypatch.setenv(variable, value)
