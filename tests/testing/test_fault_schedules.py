"""Two hundred random fault schedules, each from a seed: the record arrives whole, and nothing of it twice.

The journal of an evaluation is shipped to an MLflow server of its own through a proxy that makes things go wrong, while
shipping processes and the server are killed; then ``hokusai sync`` brings the rest over without faults,
and everything that the server holds must be what it holds after a shipping without faults. Every twentieth schedule
strikes an evaluation that runs, with its own shipping process.

To repeat a schedule, which is named with its faults when it fails::

    HOKUSAI_FAULT_SEEDS=17 pytest -m slow tests/testing/test_fault_schedules.py
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import hokusai
from hokusai import pipeline
from hokusai.digests import sha256
from hokusai.models.sklearn_models import SklearnModel
from hokusai.records import DatasetVersion
from hokusai.testing import run_snapshot
from hokusai.testing.faults import FaultyProxy, KillAndRestart, Refuse, random_faults
from hokusai.testing.sample_data import penguins_config
from hokusai.tracking.audit import audit_run
from hokusai.tracking.journal import JOURNAL_FILE
from hokusai.tracking.mlflow_config import TrackingSettings, shipper_environment
from hokusai.tracking.shipper import LaterShipping, read_shipping_state
from hokusai.tracking.shipping_process import ShippingProcess
from hokusai.tracking.sqlite_store import create_sqlite_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Outcome

    from hokusai.testing.faults import Fault

_CHOSEN = os.environ.get("HOKUSAI_FAULT_SEEDS", "")
_LIVE = list(range(0, 200, 20))
_REPLAYED = [seed for seed in range(200) if seed not in _LIVE]
_BLOCKS = [_REPLAYED[start::4] for start in range(4)]
# With the small evaluation, as when they are repeated: see the slow test.
_FEW = (1001, 1003)
if _CHOSEN:
    wanted = [int(seed) for seed in _CHOSEN.split(",")]
    _BLOCKS = [[seed for seed in wanted if seed not in _LIVE]]
    _LIVE = [seed for seed in wanted if seed in _LIVE]
_REQUEST_SECONDS = 1.0
_ATTEMPTS = 8
_GIVEN_UP = 3
_FEWEST = 3
_KINDS = (
    "Latency",
    "Bandwidth",
    "ClockSkew",
    "Refuse",
    "Hang",
    "Reset",
    "Status",
    "DropAnswer",
    "TruncateAnswer",
    "KillAndRestart",
    "killed shipper",
    "killed writer",
    "given up",
)

# --- processes that can be killed, and are there again in milliseconds -----------------------------------------------

SERVERS = """
import json, os, signal, sys, warnings

warnings.simplefilter("ignore")
import mlflow.server.fastapi_app
from mlflow.server import ARTIFACT_ROOT_ENV_VAR, ARTIFACTS_DESTINATION_ENV_VAR, BACKEND_STORE_URI_ENV_VAR
from mlflow.server import SERVE_ARTIFACTS_ENV_VAR, app
from mlflow.store.model_registry import sqlalchemy_store
from mlflow.store.tracking import sqlalchemy_store
from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    def log(self, *arguments):
        pass


def serve(folder, port, ready):
    uri = f"sqlite:///{folder}/mlflow.db"
    os.environ[BACKEND_STORE_URI_ENV_VAR] = os.environ["MLFLOW_TRACKING_URI"] = uri
    os.environ[ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[ARTIFACTS_DESTINATION_ENV_VAR] = f"file://{folder}/artifacts"
    os.environ[SERVE_ARTIFACTS_ENV_VAR] = "true"
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=Quiet)
    os.write(ready, str(server.port).encode())
    os.close(ready)
    server.serve_forever()


for line in sys.stdin:
    order = json.loads(line)
    if "kill" in order:
        os.kill(order["kill"], signal.SIGKILL)
        os.waitpid(order["kill"], 0)
        print("{}", flush=True)
        continue
    there, here = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            serve(order["folder"], order["port"], here)
        finally:
            os._exit(1)
    os.close(here)
    port = os.read(there, 10)
    os.close(there)
    print(json.dumps({"pid": child, "port": int(port)}), flush=True)
"""

SHIPPERS = """
import json, os, pathlib, signal, sys, traceback
import requests
import mlflow.store.artifact.mlflow_artifacts_repo
import mlflow.store.model_registry.rest_store, mlflow.store.tracking.rest_store
from hokusai.errors import TrackingServerError
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.shipper import ship

send = requests.Session.send


def attempt(uri, folder, attempts, dies_at):
    seen = 0

    def send_and_die(*arguments, **keywords):
        nonlocal seen
        seen += 1
        try:
            return send(*arguments, **keywords)
        finally:
            if seen == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

    requests.Session.send = send_and_die
    store = MlflowStore(uri)
    for _ in range(attempts):
        try:
            ship(pathlib.Path(folder), store)
            return 0
        except TrackingServerError as error:
            if not error.is_outage:
                raise
    return 3


for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        try:
            os._exit(attempt(**order))
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    print(json.dumps({"code": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}), flush=True)
"""


class Forker:
    """A process that has loaded everything, and forks workers in milliseconds as it is told."""

    def __init__(self, script: str, errors: Path) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "HOKUSAI_"))
        }
        limits = shipper_environment(TrackingSettings(request_seconds=_REQUEST_SECONDS))
        self.errors = errors
        with errors.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env={**environment, **limits, "MLFLOW_DISABLE_TELEMETRY": "true"},
            )

    def tell(self, **order: object) -> dict[str, int]:
        """Give an order and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self.errors.read_text(encoding="utf-8")
        return dict(json.loads(line))

    def end(self) -> None:
        """End it; its workers have been ended before."""
        self._process.communicate()


class ForkedServer:
    """MLflow's server application on a store of its own, in a process that is killed and started in milliseconds."""

    def __init__(self, forker: Forker, folder: Path) -> None:
        self.folder = folder
        self._forker = forker
        self._pid = self._port = 0
        folder.mkdir()
        create_sqlite_store(folder / "mlflow.db")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def uri(self) -> str:
        """Where it answers, also after a restart."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Answer when this returns."""
        started = self._forker.tell(folder=str(self.folder), port=self._port)
        self._pid, self._port = started["pid"], started["port"]

    def kill(self) -> None:
        """End it at once."""
        pid, self._pid = self._pid, 0
        if pid:
            self._forker.tell(kill=pid)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    """Whoever starts servers."""
    forker = Forker(SERVERS, tmp_path_factory.mktemp("servers") / "errors")
    yield forker
    forker.end()


@pytest.fixture(scope="module")
def shippers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    """Whoever starts shipping processes."""
    forker = Forker(SHIPPERS, tmp_path_factory.mktemp("shippers") / "errors")
    yield forker
    forker.end()


# --- what a store holds ----------------------------------------------------------------------------------------------

# When the server was asked is not part of what it was told.
_CLOCKS = {
    "creation_time",
    "last_update_time",
    "last_updated_time",
    "creation_timestamp_ms",
    "last_updated_timestamp_ms",
}


def content_of(server: ForkedServer) -> list[str]:
    """Return all that a server holds as sorted lines: every row of every table, every file with its digest.

    Ids that MLflow draws are replaced by the keys and names of what they stand for, in files and in the digests of
    those files as well.
    """
    with closing(sqlite3.connect(server.folder / "mlflow.db")) as connection:
        tables = {
            str(table): _rows(connection, str(table))
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
    names = {row["run_uuid"]: f"<run {row['value']}>" for row in tables["tags"] if row["key"] == "hokusai.run_key"}
    names |= {row["model_id"]: f"<model {row['name']}>" for row in tables["logged_models"]}
    names |= {row["model_id"].removeprefix("m-"): f"<id of {row['name']}>" for row in tables["logged_models"]}
    names |= {row["dataset_uuid"]: f"<dataset {row['name']}>" for row in tables["datasets"]}
    for row in tables["inputs"]:
        names[row["input_uuid"]] = f"<from {names[row['source_id']]} to {names[row['destination_id']]}>"
    lines = []
    folder = server.folder / "artifacts"
    # A model's manifest has the digests of the files beside it.
    for path in sorted(folder.rglob("*"), key=lambda path: (path.name == "hokusai-manifest.json", path)):
        if path.is_file():
            content = path.read_bytes()
            digest = sha256(_named(content.decode("latin-1"), names).encode("latin-1", "replace"))
            names[sha256(content)] = digest
            lines.append(_named(f"file {path.relative_to(folder)}: {digest}", names))
    for table, rows in tables.items():
        for row in rows:
            told = {name: value for name, value in row.items() if name not in _CLOCKS}
            lines.append(_named(f"{table}: {json.dumps(told, sort_keys=True)}", names))
    return sorted(lines)


def require_same(found: list[str], expected: list[str]) -> None:
    """Compare two contents, each line as often as it is there, and show the lines that differ alone."""
    there, wanted = Counter(found), Counter(expected)
    more, less = sorted((there - wanted).elements()), sorted((wanted - there).elements())
    assert (more, less) == ([], [])


def _rows(connection: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    cursor = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608  (a name of MLflow's)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _named(text: str, names: dict[str, str]) -> str:
    for found, name in names.items():
        if found != name and found in text:
            text = text.replace(found, name)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The journal of an evaluation, and what a server holds of it when nothing has gone wrong.

    Attributes:
        journal: Its folder; nothing of it has been shipped.
        content: What a server holds.
        requests: About as many as shipping it takes.
        snapshot: The whole tree of runs as text; empty for the small one.
    """

    journal: Path
    content: list[str]
    requests: int
    snapshot: str = ""


@pytest.fixture(scope="module")
def small(servers: Forker, shippers: Forker, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A small evaluation with one of everything that can be recorded, and a step that fails."""
    folder = tmp_path_factory.mktemp("small")
    settings = TrackingSettings(uri="http://127.0.0.1:9", journal=folder / "journals")
    table = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 0.5, 2.5, 2.0]})
    model = SklearnModel(make_pipeline(LogisticRegression().fit(table, [0, 0, 1, 1])), features=("x", "y"))
    with hokusai.track("small", settings=settings, shipping=LaterShipping()) as run:
        run.log_parameters({"seed": 7, "names": ["a", "b"], "long": "x" * 7000})
        with run.child("train") as step:
            step.log_series("loss", [1 / (number + 1) for number in range(200)])
            step.log_metrics({"undefined": float("nan"), "endless": float("inf")})
            step.log_dataset(
                DatasetVersion(
                    name="base", context="base", digest="ab" * 32, rows=4, columns=(("x", "double"),), source="base.csv"
                )
            )
            step.log_artifact("deep/er/bytes.bin", bytes(range(256)))
            step.log_model(model.to_file(name="candidate", example={}))
            step.register_model("candidate", registered_name="small", tags={"kind": "test"})
        with pytest.raises(ZeroDivisionError), run.child("fails") as step:
            step.log_metrics({"all": 1 / 0})
        run.set_tags({"note": "first"})
        run.set_tags({"note": "second"})
    return _recording(folder / "journals" / run.key, folder, servers=servers, shippers=shippers)


@pytest.fixture(scope="module")
def whole(servers: Forker, shippers: Forker, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A whole evaluation of the five steps."""
    folder = tmp_path_factory.mktemp("whole")
    settings = TrackingSettings(uri="http://127.0.0.1:9", journal=folder / "journals")
    report = pipeline.run(penguins_config("dream", settings), shipping=LaterShipping())
    assert report.tracking is not None
    assert report.tracking.journal is not None
    return _recording(report.tracking.journal, folder, servers=servers, shippers=shippers, with_snapshot=True)


def _recording(
    journal: Path, folder: Path, *, servers: Forker, shippers: Forker, with_snapshot: bool = False
) -> Recording:
    shipped = copied(journal, folder / "shipped")
    with ForkedServer(servers, folder / "server") as server, FaultyProxy(server.uri) as proxy:
        require_shipped(shipped, proxy.uri, shippers)
        assert audit_run(TrackingSettings(uri=server.uri), journal.name, journal=shipped).differences == ()
        return Recording(
            journal=journal,
            content=content_of(server),
            requests=len(proxy.events),
            snapshot=snapshot_of(server, shipped) if with_snapshot else "",
        )


def require_shipped(journal: Path, uri: str, shippers: Forker) -> None:
    """Ship a journal to a healthy server; on a busy machine an answer may take longer than a request may last."""
    done = shippers.tell(uri=uri, folder=str(journal), attempts=20, dies_at=0)
    assert done == {"code": 0}, shippers.errors.read_text(encoding="utf-8")


def snapshot_of(server: ForkedServer, journal: Path) -> str:
    """Return the tree of runs as text, without what names the evaluation, its journal, its server and its moment."""
    state = read_shipping_state(journal)
    assert state is not None
    volatile = ("statement.json", "delta_output_zk_*", "environment.json", "configuration.json")
    return run_snapshot(
        state.run_ids[journal.name],
        store=server.uri,
        unstable_artifacts=volatile,
        replacements={r"\d{8}-\d{6}-<evaluation>": "<evaluation>"},
    )


def copied(journal: Path, parent: Path, *, lines: int | None = None) -> Path:
    """Copy a journal of which nothing has been shipped, or its first lines and half of the next one."""
    folder = parent / journal.name
    (folder / "artifacts").mkdir(parents=True)
    for staged in (journal / "artifacts").iterdir():
        (folder / "artifacts" / staged.name).hardlink_to(staged)
    originals = (journal / JOURNAL_FILE).read_bytes().splitlines(keepends=True)
    kept = originals if lines is None else [*originals[:lines], originals[lines][: len(originals[lines]) // 2]]
    (folder / JOURNAL_FILE).write_bytes(b"".join(kept))
    return folder


# --- one schedule ----------------------------------------------------------------------------------------------------


def drawn(seed: int, server: ForkedServer, *, requests: int) -> tuple[list[Fault], random.Random]:
    """Return the faults of a seed, anywhere in the evaluation, and where further chance comes from."""
    chance = random.Random(seed)  # noqa: S311  (repeatable on purpose)
    # What strikes narrow routes alone may never see many requests.
    faults = [
        replace(fault, skip=fault.skip + (0 if fault.route else chance.randrange(requests)))
        for fault in random_faults(seed)
    ]
    if chance.random() < 0.4:
        faults.append(KillAndRestart(server, skip=chance.randrange(requests), times=chance.randint(1, 2)))
    if chance.random() < 0.15:
        faults.append(Refuse(skip=chance.randrange(requests)))
    chance.shuffle(faults)
    return faults, chance


@contextmanager
def told_how_to_repeat(seed: int, proxy: FaultyProxy) -> Iterator[list[str]]:
    """Add to any failure which schedule it was, and what happened in it."""
    happened: list[str] = []
    try:
        yield happened
    except BaseException as error:
        log = "\n".join([*happened, proxy.describe()])
        error.add_note(f"seed {seed}; repeat it with HOKUSAI_FAULT_SEEDS={seed} pytest -m slow {__file__}\n{log}")
        raise


def struck_by(proxy: FaultyProxy) -> Counter[str]:
    """Return how often each kind of fault has struck."""
    return Counter(type(fault).__name__ for event in proxy.events for fault in event.faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What schedules need: whoever starts servers and shipping processes, a folder, the command."""

    servers: Forker
    shippers: Forker
    call: Callable[..., Outcome]
    folder: Path

    def replay(self, seed: int, recording: Recording) -> Counter[str]:
        """Ship a journal under the faults of a seed, look at all that arrived, and return what struck."""
        place = self.folder / str(seed)
        lines = len((recording.journal / JOURNAL_FILE).read_bytes().splitlines())
        with ForkedServer(self.servers, place.with_suffix(".server")) as server:
            faults, chance = drawn(seed, server, requests=recording.requests)
            # Where the evaluation's own process was killed, half of its next line is there.
            kept = chance.randrange(2, lines) if seed % 5 == 4 else None
            journal = copied(recording.journal, place, lines=kept)
            with FaultyProxy(server.uri, faults=faults, seed=seed) as proxy, told_how_to_repeat(seed, proxy) as log:
                struck = self._ship(journal, proxy, chance, requests=recording.requests, log=log)
                struck["killed writer"] += kept is not None
                log.append(proxy.describe().partition("\nevents:")[0])
                struck += struck_by(proxy)
                self.sync(journal, proxy)
                found = content_of(server)
                require_same(found, recording.content if kept is None else self._content_without_faults(journal))
                if kept is not None or seed % 10 == 1:
                    audit = audit_run(TrackingSettings(uri=proxy.uri), journal.name, journal=journal)
                    assert audit.differences == ()
        return struck

    def _ship(
        self, journal: Path, proxy: FaultyProxy, chance: random.Random, *, requests: int, log: list[str]
    ) -> Counter[str]:
        """Start shipping processes one after another; some of them are killed."""
        struck: Counter[str] = Counter()
        for _ in range(chance.choice([0, 0, 0, 1, 1, 2])):
            dies_at = chance.randint(1, requests)
            code = self.shippers.tell(uri=proxy.uri, folder=str(journal), attempts=_ATTEMPTS, dies_at=dies_at)["code"]
            log.append(f"a shipping process that was to be killed at request {dies_at} ended with {code}")
            struck["killed shipper"] += code == -signal.SIGKILL
            assert code in {0, _GIVEN_UP, -signal.SIGKILL}, self.shippers.errors.read_text(encoding="utf-8")
        code = self.shippers.tell(uri=proxy.uri, folder=str(journal), attempts=_ATTEMPTS, dies_at=0)["code"]
        log.append(f"the last shipping process ended with {code}")
        struck["given up"] += code == _GIVEN_UP
        assert code in {0, _GIVEN_UP}, self.shippers.errors.read_text(encoding="utf-8")
        return struck

    def sync(self, journal: Path, proxy: FaultyProxy) -> None:
        """Bring over what is missing, without faults."""
        proxy.faults = ()
        synced = self.call("sync", "--tracking-uri", proxy.uri, str(journal))
        assert (synced.code, synced.err) == (0, "")

    def _content_without_faults(self, journal: Path) -> list[str]:
        """Return what a server holds of a journal that has been mended: how its runs end is known then."""
        again = copied(journal, journal.parent / f"{journal.name}.again")
        with ForkedServer(self.servers, again.parent / "healthy") as server:
            require_shipped(again, server.uri, self.shippers)
            return content_of(server)


@pytest.fixture
def campaign(servers: Forker, shippers: Forker, call: Callable[..., Outcome], tmp_path: Path) -> Campaign:
    """What schedules need."""
    return Campaign(servers=servers, shippers=shippers, call=call, folder=tmp_path)


@pytest.mark.parametrize("seed", _FEW)
def test_a_few_schedules_of_faults_lose_nothing_and_double_nothing(
    seed: int, small: Recording, campaign: Campaign
) -> None:
    assert campaign.replay(seed, small)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", _BLOCKS, ids=lambda seeds: f"{len(seeds)}-from-{min(seeds, default=0)}")
def test_whatever_strikes_a_shipping_everything_arrives_once(
    seeds: list[int], small: Recording, whole: Recording, campaign: Campaign
) -> None:
    struck: Counter[str] = Counter()
    for seed in seeds:
        struck += campaign.replay(seed, whole if seed % 3 == 0 else small)
    if not _CHOSEN:
        assert {kind: struck[kind] for kind in _KINDS if struck[kind] < _FEWEST} == {}, struck


# --- while an evaluation works ---------------------------------------------------------------------------------------


class ShippingProcessToKill:
    """Stands where a fault expects a server: what it kills is the shipping process, and nobody starts that again."""

    def __init__(self, shipping: ShippingProcess) -> None:
        self._shipping = shipping

    def kill(self) -> None:
        """Kill it."""
        self._shipping._process.kill()

    def start(self) -> None:
        """Leave it."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", _LIVE)
def test_whatever_strikes_an_evaluation_its_result_is_the_same_and_its_record_arrives_once(
    seed: int, whole: Recording, campaign: Campaign, servers: Forker, tmp_path: Path
) -> None:
    with ForkedServer(servers, tmp_path / "server") as server:
        faults, chance = drawn(seed, server, requests=whole.requests)
        with FaultyProxy(server.uri, faults=faults, seed=seed) as proxy, told_how_to_repeat(seed, proxy) as log:
            settings = TrackingSettings(
                uri=proxy.uri, journal=tmp_path / "journals", request_seconds=_REQUEST_SECONDS, wait_seconds=20.0
            )
            shipping = ShippingProcess(proxy.uri, settings)
            try:
                if seed % 40 == 0:
                    killed = KillAndRestart(ShippingProcessToKill(shipping), skip=chance.randrange(whole.requests // 3))
                    proxy.faults = [*faults, killed]
                report = pipeline.run(penguins_config("dream", settings), shipping=shipping)
            finally:
                shipping.close()
            assert report.tracking is not None
            journal = report.tracking.journal
            assert journal is not None
            log.append(f"{report.tracking.problem or 'shipped'}\n{proxy.describe().partition(chr(10) + 'events:')[0]}")
            campaign.sync(journal, proxy)
            assert snapshot_of(server, journal) == whole.snapshot
            assert _told(journal) == _told(whole.journal)
            require_same(_kinds(content_of(server)), _kinds(whole.content))
            audit = audit_run(TrackingSettings(uri=proxy.uri), journal.name, journal=journal)
            assert audit.differences == ()


def _told(journal: Path) -> bytes:
    """Return the report, but for the key of its evaluation."""
    return (journal / "delta.json").read_bytes().replace(journal.name.encode(), b"EVALUATION")


def _kinds(content: list[str]) -> list[str]:
    """Return of what there is how much, but for what only a store that could be asked about earlier runs is told."""
    return [line.partition(" ")[0] for line in content if '"key": "history.' not in line]
