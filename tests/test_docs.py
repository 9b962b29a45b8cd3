"""The documentation does what it says: its code runs, its outputs are real, its lists are complete, its links lead on.

A block that follows a comment ``<!-- docs-test: … -->`` is treated as that says: ``not run (reason)``, ``output of
COMMAND``, ``an evaluation.toml``, ``saved as NAME`` for the other blocks of its page, ``file NAME`` of a project
that ``tests/testing/test_plugin.py`` runs, ``slow file NAME`` of one that is run here, or one of

- ``makes a run``: the commands that fill the folder in which all blocks ``after a run`` work, with that run's names
- ``in a project of its own``: after ``hokusai init``, with a server where an address is named
- ``until it answers``: a server, which is asked and ended
- ``typed on a terminal``: a command that asks for a passphrase

Every other block of Python, console input, JSON or TOML is run or parsed.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import typing
import urllib.request
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import hokusai
from hokusai import errors
from hokusai.cli.arguments import make_parser
from hokusai.config import PipelineConfig, load_config, setting_keys
from hokusai.datasets.contract import ColumnContract
from hokusai.datasets.contract_file import load_contract, write_contract
from hokusai.datasets.read_settings import ReadLimits
from hokusai.digests import file_sha256
from hokusai.records import CheckReport, Finding
from hokusai.report.check_document import CHECK_FORMAT, check_document
from hokusai.steps.data_settings import ContributionSettings, DataSettings
from hokusai.testing.mlflow_server import MockMlflowServer
from hokusai.testing.postgres_server import PostgresServer
from hokusai.testing.s3_server import S3Server
from hokusai.testing.server_process import ServerCommand, ServerProcess
from hokusai.tracking import artifacts
from hokusai.tracking.journal import JournalReader, staged_path
from hokusai.tracking.metric_names import metric_name
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.operations import (
    OPERATIONS,
    CloseJournal,
    LogArtifact,
    LogMetrics,
    LogModel,
    OpenJournal,
    SetTags,
    StartRun,
)
from hokusai.tracking.parameters import STEP_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
TEMPLATE = ROOT / "src" / "hokusai" / "testing" / "penguins" / "evaluation.toml"
GOLDEN = ROOT / "tests" / "golden"
TRACKING = ROOT / "src" / "hokusai" / "tracking"

_FENCE = re.compile(
    r"(?:<!-- docs-test: (?P<mark>[^>]*) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\]\((?!https?://)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?\)")
_RUN_BLOCKS = """
import json, sys
for name, line, text in json.load(sys.stdin):
    exec(compile("\\n" * line + text, name, "exec"), {"__name__": "__main__"})
    print("ran", name)
"""


# Marks of blocks that run under other conditions than those without a mark.
_RUN_MARKS = (
    "makes a run",
    "after a run",
    "in a project of its own",
    "until it answers",
    "typed on a terminal",
    "slow file ",
)
_NO_SERVER = "https://mlflow.example.org"
# What pages call the run, and its evaluation, that were made before.
_SHOWN_RUN, _SHOWN_KEY = "93f74ef7", "20300102-030405-0123abcd"
# Runs blocks as one program, as somebody would type them.
_RUN_PROGRAM = """
import json, sys
for name, line, text in json.load(sys.stdin):
    exec(compile("\\n" * line + text, name, "exec"), globals())
"""
# Types a passphrase whenever one is asked for.
_TYPE = """
import os, pty, sys
def answered(terminal):
    said = os.read(terminal, 1024)
    if said.endswith((b": ", b":")):
        os.write(terminal, b"correct horse battery staple\\n")
    return said
sys.exit(os.waitstatus_to_exitcode(pty.spawn(["sh", "-e", "-c", sys.argv[1]], answered)))
"""


_LOG_A_NOTE = """
import hokusai, sys
with hokusai.track("words", settings=hokusai.TrackingSettings(uri=sys.argv[1], on_outage="fail")) as run:
    run.log_text("note.txt", "kept in S3")
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: where it stands, what it is, and how it is marked."""

    page: str
    line: int
    kind: str
    mark: str
    text: str


def blocks(kind: str, *, mark: str = "") -> list[Block]:
    """Return the blocks of one kind whose mark begins with ``mark``; without a mark, those that have none."""
    found = []
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(content):
            line = content.count("\n", 0, match.start("text"))
            item = Block(str(page.relative_to(ROOT)), line, match["kind"], match["mark"] or "", match["text"])
            if item.kind == kind and (item.mark.startswith(mark) if mark else not item.mark):
                found.append(item)
    return found


def marked(mark: str) -> list[Block]:
    """Return the blocks of console and Python with a mark, page by page in their order there."""
    return sorted(
        [*blocks("console", mark=mark), *blocks("python", mark=mark)], key=lambda item: (item.page, item.line)
    )


def script(text: str) -> str:
    """Return what is typed in a block of console input."""
    lines = text.replace("\\\n", " ").splitlines()
    assert all(line.startswith("$ ") for line in lines), "an output that is shown must be compared: mark the block"
    return "\n".join(line.removeprefix("$ ") for line in lines)


def environment() -> dict[str, str]:
    """Return this process's environment without settings of ours or MLflow's, the tested command first on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOKUSAI_", "MLFLOW_"))}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def call(*command: str, folder: Path, text: str | None = None) -> str:
    """Run a command that must succeed and return its output."""
    done = subprocess.run(
        command, cwd=folder, env=environment(), input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what ``hokusai init`` writes."""
    folder = tmp_path_factory.mktemp("project")
    call("hokusai", "init", folder=folder)
    return folder


# Pages by language whose blocks start many processes, or wait for a server that is away.
SLOW_PAGES = {
    "console": {
        *("docs/checks.md", "docs/contracts.md", "docs/datasets.md", "docs/experiments.md", "docs/mlflow-setup.md"),
        *("docs/models.md", "docs/outages.md", "docs/own-pipelines.md", "docs/verify.md"),
    },
    "python": {
        *("docs/analysing-runs.md", "docs/data.md", "docs/datasets.md", "docs/formats/manifest.md"),
        *("docs/formats/row-scores.md", "docs/models.md", "docs/own-pipelines.md", "docs/verify.md"),
    },
}


def pages_with(language: str) -> list[Any]:
    """Return the pages that have blocks of a language; those with slow commands run with the slow tests."""
    pages = sorted({item.page for item in blocks(language)})
    return [
        pytest.param(page, marks=pytest.mark.slow) if page in SLOW_PAGES.get(language, ()) else page for page in pages
    ]


@pytest.mark.parametrize("page", pages_with("python"))
def test_the_python_blocks_of_a_page_run_one_after_the_other(page: str, project: Path) -> None:
    items = [item for item in blocks("python") if item.page == page]
    output = call(
        sys.executable,
        "-c",
        _RUN_BLOCKS,
        folder=project,
        text=json.dumps([(item.page, item.line, item.text) for item in items]),
    )
    assert output.count(f"ran {page}") == len(items)
    if page == "README.md":
        assert output.startswith("accept 0.2016")


@pytest.mark.parametrize("page", pages_with("console"))
def test_the_console_commands_of_a_page_work_one_after_the_other(page: str, tmp_path: Path) -> None:
    text = "\n".join(script(item.text) for item in blocks("console") if item.page == page)
    for item in blocks("python", mark="saved as "):
        if item.page == page:
            (tmp_path / item.mark.removeprefix("saved as ")).write_text(item.text, encoding="utf-8")
    call("sh", "-e", "-c", text, folder=tmp_path)


@dataclass(frozen=True, slots=True)
class MadeRun:
    """A folder with an evaluation and its statement.

    Attributes:
        folder: The folder.
        run: MLflow's id of the parent run.
        key: The evaluation's key.
    """

    folder: Path
    run: str
    key: str


@pytest.fixture(scope="module")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    """Do what the README does to make a run with a statement."""
    folder = tmp_path_factory.mktemp("evaluated")
    (block,) = marked("makes a run")
    call("sh", "-e", "-c", f"hokusai init\n{script(block.text)}", folder=folder)
    (journal,) = (folder / ".hokusai").glob("*/journal.jsonl")
    (run,) = re.findall(r"^ ([0-9a-f]{8}) ", call("hokusai", "runs", folder=folder), re.MULTILINE)
    return MadeRun(folder, run, journal.parent.name)


# Those that train again, or load much.
_SLOW_AFTER_A_RUN = {
    *("docs/analysing-runs.md", "docs/audit.md", "docs/models.md", "docs/python.md", "docs/reproduce.md"),
}


def _pages_after_a_run() -> list[Any]:
    pages = sorted({item.page for item in marked("after a run")})
    return [pytest.param(page, marks=pytest.mark.slow) if page in _SLOW_AFTER_A_RUN else page for page in pages]


@pytest.mark.parametrize("page", _pages_after_a_run())
def test_the_blocks_of_a_page_that_need_a_run_work_with_one(page: str, made_run: MadeRun, tmp_path: Path) -> None:
    folder = tmp_path / "evaluated"
    shutil.copytree(made_run.folder, folder)
    store = f"sqlite:///{folder / 'mlflow.db'}"
    for item in blocks("python", mark="saved as "):
        if item.page == page:
            (folder / item.mark.removeprefix("saved as ")).write_text(item.text, encoding="utf-8")
    printed = ""
    items = (item for item in marked("after a run") if item.page == page)
    for kind, group in itertools.groupby(items, key=lambda item: item.kind):
        program = [(item.page, item.line, item.text) for item in group]
        words = {_SHOWN_RUN: made_run.run, _SHOWN_KEY: made_run.key, _NO_SERVER: store}
        for shown, real in words.items():
            program = [(name, line, text.replace(shown, real)) for name, line, text in program]
        if kind == "python":
            call(sys.executable, "-c", _RUN_PROGRAM, folder=folder, text=json.dumps(program))
        else:
            typed = "\n".join(script(text) for *_, text in program)
            # Folders of tests are long: nothing is broken to fit.
            printed += call("sh", "-e", "-c", f"export COLUMNS=400\n{typed}", folder=folder)
    shown_output = "".join(item.text for item in blocks("text", mark="output of the commands") if item.page == page)
    if shown_output:
        assert _words_of_tables(printed) == _words_of_tables(shown_output)


def _words_of_tables(output: str) -> list[str]:
    """Return an output's words without what differs from run to run: ids, keys, folders, widths, numbers of facts."""
    text = re.sub(r"(?<!\d)\d{8}-\d{6}-[0-9a-f]{8}\b", "KEY", output)
    text = re.sub(r"\b(?:[0-9a-f]{32}|[0-9a-f]{64})\b", "ID", text)
    text = re.sub(r"\S*/\.hokusai/", ".hokusai/", text)
    text = re.sub(r"\d+ compared", "N compared", re.sub(r"\brun [0-9a-f]{8}\b", "run ID", text))
    return re.sub(r"─+", "─", text).split()


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({item.page for item in marked("in a project of its own")}))
def test_the_commands_of_a_page_that_need_a_project_of_their_own_work(page: str, tmp_path: Path) -> None:
    text = "\n".join(script(item.text) for item in marked("in a project of its own") if item.page == page)
    with MockMlflowServer() as server:
        done = call("sh", "-e", "-c", f"hokusai init\n{text.replace(_NO_SERVER, server.uri)}", folder=tmp_path)
        if _NO_SERVER in text:
            assert any(request.path.endswith("runs/create") for request in server.requests)
    assert done


def test_a_passphrase_can_be_typed_as_the_page_says(tmp_path: Path) -> None:
    (block,) = marked("typed on a terminal")
    said = call(sys.executable, "-c", _TYPE, script(block.text), folder=tmp_path)
    assert "Key id:" in said
    assert b"ENCRYPTED" in (tmp_path / "protected.key").read_bytes()


@pytest.mark.slow
def test_the_ui_opens_as_the_page_says(made_run: MadeRun) -> None:
    (block,) = (item for item in marked("until it answers") if "hokusai ui" in item.text)
    command = ["sh", "-c", f"exec {script(block.text)}"]
    with subprocess.Popen(
        command, cwd=made_run.folder, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as started:
        assert started.stdout is not None
        try:
            address = next(found[0] for line in started.stdout if (found := re.search(r"http://\S+", line)))
            with urllib.request.urlopen(address.partition("#")[0]) as answer:  # noqa: S310  (the command's own)
                assert answer.status == 200
                assert b"<title>MLflow</title>" in answer.read()
        finally:
            os.killpg(started.pid, signal.SIGINT)
        assert started.wait() == 0


class _DocumentedServer(ServerProcess):
    """The server of a page, with a database and a bucket that are there."""

    def __init__(self, text: str, *, folder: Path, variables: dict[str, str]) -> None:
        super().__init__()
        self._text, self._folder, self._variables = text, folder, variables

    def prepare(self) -> ServerCommand:
        text = self._text.replace("--port 5000", f"--port {self.port}")
        return ServerCommand(
            arguments=("sh", "-e", "-c", text), environment=environment() | self._variables, folder=self._folder
        )

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health") as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.mark.slow
def test_the_shared_server_starts_as_the_page_says(tmp_path: Path) -> None:
    (block,) = (item for item in marked("until it answers") if "mlflow server" in item.text)
    with PostgresServer() as database, S3Server() as bucket:
        replaced = {
            r"postgresql\+psycopg2://\S+": database.create_database("documented"),
            r"s3://my-bucket/mlflow": bucket.uri,
            r"AWS_\w+=\.\.\.": "",
            r"0\.0\.0\.0|mlflow\.example\.org": "127.0.0.1",
        }
        text = script(block.text)
        for shown, real in replaced.items():
            text, count = re.subn(shown, real, text)
            assert count, shown
        with _DocumentedServer(text, folder=tmp_path, variables=dict(bucket.environment)) as server:
            uri = f"http://127.0.0.1:{server.port}"
            assert "artifact" in call("hokusai", "doctor", "--tracking-uri", uri, folder=tmp_path)
            call(sys.executable, "-c", _LOG_A_NOTE, uri, folder=tmp_path)
        (kept,) = bucket.bucket.rglob("note.txt")
        assert kept.read_text(encoding="utf-8") == "kept in S3"


@pytest.mark.slow
def test_the_slow_files_of_the_test_kit_s_page_pass(tmp_path: Path) -> None:
    files = {item.mark.split()[-1]: item.text for item in blocks("python", mark="slow file ")}
    files |= {item.mark.split()[-1]: item.text for item in blocks("python", mark="file train.py")}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    said = call(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path)
    tests = sum(text.count("\ndef test_") for text in files.values())
    assert int(re.findall(r"(\d+) passed", said)[0]) > tests >= 3


# Why a block is not run; another one needs an argument here.
_NOT_RUN = {
    "README.md": ["it installs everything from a package index"],
    "docs/own-pipelines.md": [
        "Metaflow is not installed",
        "Airflow is not installed",
        "Prefect is not installed",
    ],
}


def test_few_blocks_are_not_run_and_those_are_python_that_uses_names_that_exist() -> None:
    items = [*blocks("python", mark="not run"), *blocks("console", mark="not run")]
    found: dict[str, list[str]] = {}
    for item in sorted(items, key=lambda item: (item.page, item.line)):
        found.setdefault(item.page, []).append(item.mark.removeprefix("not run (").removesuffix(")"))
    assert found == _NOT_RUN
    for name in (name for reasons in _NOT_RUN.values() for name in re.findall(r"(\w+) is not", " ".join(reasons))):
        assert importlib.util.find_spec(name.lower()) is None, f"{name} is there: run its block"
    names = _public_names(item for item in items if item.kind == "python")
    assert names <= set(hokusai.__all__)
    assert "resume" in names


def _public_names(items: Iterable[Block]) -> set[str]:
    """Return the names that blocks of Python take from the package itself."""
    found = set()
    for item in items:
        for node in ast.walk(ast.parse(item.text)):
            match node:
                case ast.Attribute(value=ast.Name(id="hokusai"), attr=name):
                    found.add(name)
                case ast.ImportFrom(module="hokusai", names=names):
                    found |= {alias.name for alias in names}
    return found


def test_every_public_name_is_used_in_a_block_that_runs() -> None:
    items = [*blocks("python"), *blocks("python", mark="after a run")]
    submodules = {path.stem for path in (ROOT / "src" / "hokusai").iterdir()}
    assert _public_names(items) - submodules == set(hokusai.__all__)


def test_every_command_is_called_in_a_block_that_runs(reference: ModuleType) -> None:
    commands = {words for words, _ in reference.every_command(make_parser())}
    assert len(commands) > 40
    items = [*blocks("console"), *(item for mark in _RUN_MARKS for item in blocks("console", mark=mark))]
    called = {
        " ".join(words[:count])
        for item in items
        for line in script(item.text).splitlines()
        for words in (match.split() for match in re.findall(r"\bhokusai ((?:[a-z]+ ?)+)", line))
        for count in (1, 2)
    }
    assert commands - called == set()


def test_every_option_of_every_command_is_in_the_page_of_commands(reference: ModuleType) -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## `hokusai ([\w ]+)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    options = {
        (words, option)
        for words, parser in reference.every_command(make_parser())
        for option in re.findall(r"(?<![\w-])--[a-z-]+", parser.format_help())
        if option not in ("--help", "--debug")
    }
    assert len(options) > 100
    assert [(words, option) for words, option in sorted(options) if f"`{option}" not in sections[words]] == []


def test_every_benchmark_is_in_their_table() -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    modules = {
        path.stem
        for path in (ROOT / "benchmarks").glob("*.py")
        if re.search(r"^def main\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    modules -= {"run", "asynchronous_points"}  # what runs them, and one side of `shipping`
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == modules


def test_the_readme_shows_what_the_demo_prints(tmp_path: Path) -> None:
    (shown,) = blocks("text", mark="output of hokusai demo")
    assert _same_words(call("hokusai", "demo", folder=tmp_path)) == _same_words(shown.text)


def _same_words(output: str) -> list[str]:
    """Return an output's lines without trailing blanks, with one way to call the command and one run id."""
    text = re.sub(r"(?:\S*/)?bin/hokusai", "hokusai", output)
    return [line.rstrip() for line in re.sub(r"(show|reproduce) [0-9a-f]{8}\b", r"\1 RUN", text).strip().splitlines()]


def test_every_block_of_json_or_toml_can_be_read() -> None:
    items = [*blocks("json"), *blocks("json", mark="output"), *blocks("toml"), *blocks("toml", mark="an evaluation")]
    assert {item.kind for item in items} == {"json", "toml"}
    for item in items:
        value = json.loads(item.text) if item.kind == "json" else tomllib.loads(item.text)
        assert value, f"{item.page}, line {item.line}"


def test_the_evaluation_toml_of_the_readme_is_a_complete_configuration(project: Path) -> None:
    (shown,) = blocks("toml", mark="an evaluation.toml")
    path = project / "shown.toml"
    path.write_text(shown.text, encoding="utf-8")
    config = load_config(path, environment={}).config
    assert config.delta.minimum_gain == 0.01
    assert config.data.contributions[0].path == project / "dream.csv"


def test_every_block_is_marked_in_a_way_that_is_known() -> None:
    known = (
        "not run (",
        "file ",
        "slow file ",
        "saved as ",
        "output of hokusai demo",
        "output of hokusai run --json",
        "output of the commands",
        "an evaluation.toml",
        *_RUN_MARKS,
    )
    marks = [match for page in PAGES for match in re.findall(r"<!-- docs-test: (.*?) -->", page.read_text("utf-8"))]
    assert marks
    assert [mark for mark in marks if not mark.startswith(known)] == []


def test_every_command_is_in_the_readme(tmp_path: Path) -> None:
    listed = call("hokusai", "--help", folder=tmp_path).partition("COMMAND\n")[2]
    commands = re.findall(r"^    (\w+)", listed, re.MULTILINE)
    assert "run" in commands
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in commands if f"| `hokusai {name}" not in readme] == []


def test_every_setting_is_in_the_template_at_its_default() -> None:
    documented = _template_settings()
    assert [key for key in setting_keys() if key not in documented and key != "data.contributions"] == []
    assert "data.contributions.path" in documented
    commented = {key: value for key, (value, is_default) in documented.items() if is_default}
    for key in setting_keys():
        default = _default(key)
        # No TOML value says "none"; the template's comment does.
        if key in commented and default is not None:
            assert (key, commented[key]) == (key, default)


def _template_settings() -> dict[str, tuple[Any, bool]]:
    """Return value and whether it is commented out, by key, of every setting in the template."""
    settings: dict[str, tuple[Any, bool]] = {}
    table = ""
    for line in TEMPLATE.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\[+([\w.]+)\]+", line):
            table = f"{match[1]}."
        elif match := re.match(r"(# )?(\w+) = (.*)", line):
            settings[table + match[2]] = (tomllib.loads(f"value = {match[3]}")["value"], bool(match[1]))
    return settings


def _default(key: str) -> Any:
    """Return a setting's default as TOML can write it."""
    owner: Any = PipelineConfig
    *parents, name = key.split(".")
    for part in parents:
        owner = typing.get_type_hints(owner)[part]
    item = next(item for item in dataclasses.fields(owner) if item.name == name)
    value = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
    if isinstance(value, tuple):
        return list(value)
    if dataclasses.is_dataclass(value):
        return {}  # settings of their own, none of which is set
    return str(value) if isinstance(value, Path) else value


def test_every_operation_of_the_journal_and_each_of_its_fields_is_described() -> None:
    page = (ROOT / "docs" / "formats" / "journal.md").read_text(encoding="utf-8")
    described = {
        match[1]: set(re.findall(r"`(\w+)`", match[2]))
        for match in re.finditer(r"^\| `(\w+)` \|([^|]*)\|", page, re.MULTILINE)
    }
    for name, kind in OPERATIONS.items():
        assert described.get(name) == {field.name for field in dataclasses.fields(kind)}, name


def test_the_report_in_the_docs_is_the_real_one_and_each_of_its_fields_is_described(project: Path) -> None:
    page = (ROOT / "docs" / "formats" / "delta.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `([\w.\[\]]+)` \|", page, re.MULTILINE))
    (shown,) = blocks("json", mark="output of hokusai run --json")
    printed = json.loads(call("hokusai", "run", "--json", "--set", "evaluation.metrics=accuracy", folder=project))
    everything = json.loads(call("hokusai", "run", "--json", folder=project))
    assert everything["undefined"], "the demo's control never saw one class"
    # A subset's deltas have the fields of all deltas.
    paths = {re.sub(r"^subsets\[\]\.(?=(deltas|undefined)\[)", "", path) for path in _paths(everything)}
    assert paths == described
    # Another processor may round otherwise, and then the model's file differs.
    own = {name: printed[name] for name in ("evaluation", "model_sha256")}
    _require_close(json.loads(shown.text) | own, printed)
    assert re.fullmatch("[0-9a-f]{64}", printed["model_sha256"])


def _paths(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the path of every field, ``deltas[].gain`` like, tables of their own left out."""
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _paths(inner, f"{prefix}{name}.")
            continue
        yield f"{prefix}{name}"
        for item in inner if isinstance(inner, list) else ():
            yield from _paths(item, f"{prefix}{name}[].") if isinstance(item, dict) else ()


def _require_close(expected: Any, got: Any) -> None:
    """Compare two JSON values; numbers may differ in their last digits from machine to machine."""
    if isinstance(expected, dict):
        assert list(expected) == list(got)
        for name, inner in expected.items():
            _require_close(inner, got[name])
    elif isinstance(expected, list):
        assert len(expected) == len(got)
        for left, right in zip(expected, got, strict=True):
            _require_close(left, right)
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, rel=1e-9)
    else:
        assert got == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    broken = []
    for match in _LINK.finditer(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        target = page.parent / match["path"] if match["path"] else page
        is_there = target.exists() and (not match["anchor"] or match["anchor"] in _anchors(target))
        if not is_there:
            broken.append(match[0])
    assert broken == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_of_the_docs_is_in_their_table_of_contents_and_every_decision_is_dated() -> None:
    contents = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [page for page in PAGES if page.parent.parent == ROOT / "docs"]
    assert len(pages) > 10
    assert [page.name for page in pages if f"]({page.relative_to(ROOT / 'docs')})" not in contents] == []
    shape = re.compile(
        r"# (\d+)\. .+\n\n\d{4}-\d\d-\d\d, \w+.*\n\n## Context\n.+\n## Decision\n.+\n## Consequences\n", re.DOTALL
    )
    for page in pages:
        if page.parent.name == "adr":
            match = shape.match(page.read_text(encoding="utf-8"))
            assert match, page.name
            assert int(match[1]) == int(page.name[:4])


def test_the_layout_in_the_contributors_guide_names_every_module_and_no_other() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = next(item.text for item in blocks("text") if item.text.startswith("src/hokusai/"))
    package = ROOT / "src" / "hokusai"
    modules = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.name != "__init__.py" and path.parent.name != "cli"
    }
    named, folder = set(), ""
    for line in tree.splitlines():
        if match := re.match(r"[├└]── (\w+)/", line):
            folder = f"{match[1]}/"
        elif match := re.match(r"(│?)\s*[├└]── (\w+\.py)", line):
            named.add((folder if match[1] else "") + match[2])
    assert named == modules
    assert [str(step) for step in sorted(modules) if step.startswith("steps/") and f"`{step}`" not in page] == []


def test_every_make_target_that_is_spoken_of_is_there_and_every_target_is_in_the_help() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    helped = set(re.findall(r"^  make (\w+)", call("make", "help", folder=ROOT), re.MULTILINE))
    assert helped == targets
    in_prose = [name for page in PAGES for name in re.findall(r"`make (\w+)", page.read_text("utf-8"))]
    lines = [*blocks("text"), *blocks("console"), *blocks("console", mark="not run")]
    in_blocks = [name for item in lines for name in re.findall(r"^(?:\$ )?make (\w+)", item.text, re.MULTILINE)]
    spoken = {*in_prose, *in_blocks}
    assert {"demo", "lint"} <= spoken
    assert spoken <= targets


def test_the_kept_journal_of_version_1_stays_readable() -> None:
    folder = GOLDEN / "journal-1"
    reader = JournalReader(folder)
    operations = [entry.operation for entry in reader.read_new()]
    later = {
        type(entry.operation) for name in ("series", "resumed") for entry in JournalReader(GOLDEN / f"journal-1-{name}")
    }
    assert {type(operation) for operation in operations} | later == set(OPERATIONS.values())
    assert isinstance(operations[0], OpenJournal)
    assert operations[0].format == "hokusai-journal/1"
    assert isinstance(operations[-1], CloseJournal)
    assert reader.sequence == 81
    assert reader.link == _last_link(folder)
    for operation in operations:
        if isinstance(operation, LogArtifact | LogModel):
            file = staged_path(folder, operation.sha256)
            assert (file_sha256(file), file.stat().st_size) == (operation.sha256, operation.size)


def _last_link(folder: Path) -> str:
    """Return the SHA-256 of the last line of a journal, worked out as its page says."""
    *_, last, end = (folder / "journal.jsonl").read_bytes().split(b"\n")
    assert end == b""
    return hashlib.sha256(last).hexdigest()


def test_the_kept_journal_of_version_1_can_still_be_shipped(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "journal-1", tmp_path / "journal-1")
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    said = call("hokusai", "sync", "journal-1", "--tracking-uri", store, folder=tmp_path)
    assert "(81 entries, 6 runs)" in said
    shown = call("hokusai", "runs", "--tracking-uri", store, folder=tmp_path)
    assert "FINISHED" in shown
    assert "not enough evidence" in shown


@pytest.mark.slow
def test_the_kept_journals_of_a_run_that_two_processes_made_can_still_be_shipped(tmp_path: Path) -> None:
    for name in ("series", "resumed"):
        shutil.copytree(GOLDEN / f"journal-1-{name}", tmp_path / name)
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    said = call("hokusai", "sync", "series", "resumed", "--tracking-uri", store, folder=tmp_path)
    assert "(8 entries, 1 runs)" in said.replace("1 run)", "1 runs)")
    (parent,) = re.findall(
        r"^ (\w{8}) ", call("hokusai", "runs", "--tracking-uri", store, folder=tmp_path), re.MULTILINE
    )
    shown = call("hokusai", "show", parent, "--tracking-uri", store, folder=tmp_path)
    assert all(word in shown for word in ("loss", "fit", "manifest.c04dc5a8.json", "hokusai.journal_head.c04dc5a8"))


def test_the_kept_manifest_of_version_1_is_what_is_written_today_and_what_its_page_shows() -> None:
    kept = (GOLDEN / "manifest-1.json").read_bytes()
    value = json.loads(kept)
    assert value["format"] == artifacts.MANIFEST_FORMAT == "hokusai-manifest/1"
    files = {item["path"]: (item["sha256"], item["size"]) for item in reversed(value["artifacts"])}
    models = [(item["name"], item["file"], item["sha256"], item["size"]) for item in value["models"]]
    assert artifacts.manifest(value["run_key"], artifacts=files, models=models) == kept
    page = (ROOT / "docs" / "formats" / "manifest.md").read_text(encoding="utf-8")
    (shown,) = (item for item in blocks("json") if item.page == "docs/formats/manifest.md")
    assert shown.text.encode() == kept + b"\n"
    assert [path for path in ("models", "artifacts", *_paths(value)) if f"| `{path}` |" not in page] == []


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """Return the tool that writes the reference."""
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "tools" / "write_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_reference_is_up_to_date(reference: ModuleType) -> None:
    for path, written in (
        (reference.REFERENCE, reference.reference()),
        (reference.COMMANDS, reference.commands()),
        (reference.SCHEMA, reference.parameters_schema()),
    ):
        assert path.read_text(encoding="utf-8") == written, f"{path.name} is out of date: run `make reference`"


def test_everything_that_a_real_evaluation_records_is_in_the_reference(made_run: MadeRun) -> None:
    journal = made_run.folder / ".hokusai" / made_run.key
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`([^`]+)`", page))
    steps: dict[str, str] = {}
    checked = set()
    for entry in JournalReader(journal):
        match entry.operation:
            case StartRun(run=run, name=name, parent=parent, tags=tags):
                steps[run] = name if parent else "evaluation"
                assert [tag for tag in tags if tag not in listed] == []
            case LogMetrics(metrics=metrics):
                for name in metrics:
                    known = metric_name(name)
                    assert known is not None, name
                    assert known.name in listed
            case SetTags(tags=tags):
                assert [tag for tag in tags if tag not in listed and not tag.startswith("hokusai.dataset.")] == []
            case LogArtifact(run=run, path=path, sha256=digest):
                assert _generic(path) in listed
                if path == artifacts.PARAMETERS_FILE:
                    _require_schema(steps[run], json.loads(staged_path(journal, digest).read_bytes()))
                    checked.add(steps[run])
    assert checked == set(STEP_PARAMETERS)


def _generic(path: str) -> str:
    """Return an artifact's path as the reference writes it, with words for what varies."""
    path = re.sub(r"^delta_output_zk_.+\.json$", "delta_output_zk_EVALUATION.json", path)
    path = re.sub(r"^datasets/[0-9a-f]{64}\.", "datasets/DIGEST.", path)
    path = re.sub(r"^datasets/contribution\.[^/]+\.croissant", "datasets/contribution.NAME.croissant", path)
    return re.sub(r"^datasets/(base|benchmark|integrated)\.croissant", "datasets/CONTEXT.croissant", path)


def _require_schema(step: str, parameters: dict[str, Any]) -> None:
    """Check a run's parameters against the JSON Schema that is published."""
    published = json.loads((ROOT / "docs" / "formats" / "parameters-1.schema.json").read_text(encoding="utf-8"))
    schema = published["$defs"][step]
    assert set(schema["required"]) <= set(parameters) <= set(schema["properties"])
    for name, value in parameters.items():
        assert _fits(value, schema["properties"][name]), (step, name, value)


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    """Say whether a value fits a schema of the few kinds that ours are made of."""
    if "anyOf" in schema:
        return any(_fits(value, choice) for choice in schema["anyOf"])
    if schema["type"] == "array":
        return isinstance(value, list) and all(_fits(item, schema["items"]) for item in value)
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "number": (int, float),
        "integer": (int,),
        "boolean": (bool,),
        "object": (dict,),
        "null": (type(None),),
    }
    return isinstance(value, kinds[schema["type"]]) and (schema["type"] == "boolean" or not isinstance(value, bool))


def test_the_settings_table_has_every_setting_of_tracking_at_its_default() -> None:
    page = (ROOT / "docs" / "mlflow-setup.md").read_text(encoding="utf-8")
    table = page.partition("| setting | default | meaning |")[2]
    shown = {
        match[1]: tomllib.loads(f"value = {match[2]}")["value"]
        for match in re.finditer(r"^\| `(\w+)` \| `([^`]*)` \|", table, re.MULTILINE)
    }
    names = [key.removeprefix("tracking.") for key in setting_keys() if key.startswith("tracking.")]
    assert list(shown) == [item.name for item in dataclasses.fields(TrackingSettings)]
    assert set(names) <= set(shown)
    assert shown == {name: _default(f"tracking.{name}") for name in shown}


def test_the_settings_tables_have_every_setting_of_data_at_its_default() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    tables = page.partition("## Settings")[2]
    shown = dict(re.findall(r"^\| `([\w.]+)` \| (`[^`]*`|required|none|see below) \|", tables, re.MULTILINE))
    owners = {"": DataSettings, "contributions.": ContributionSettings, "limits.": ReadLimits}
    expected = {prefix + item.name: _written_default(item) for prefix, kind in owners.items() for item in _fields(kind)}
    assert list(shown) == list(expected)
    assert {
        name: tomllib.loads(f"value = {text[1:-1]}")["value"] if "`" in text else text for name, text in shown.items()
    } == expected


def _fields(kind: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def _written_default(item: dataclasses.Field[Any]) -> Any:
    """Return a setting's default as a table of the docs writes it."""
    if item.default is item.default_factory is dataclasses.MISSING:
        return "required"
    value = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
    if dataclasses.is_dataclass(value):
        return "see below"
    return "none" if value is None else list(value) if isinstance(value, tuple) else value


def test_the_kept_check_of_version_1_is_what_is_written_today_and_each_of_its_fields_is_described() -> None:
    kept = (GOLDEN / "check-1.json").read_text(encoding="utf-8")
    value = json.loads(kept)
    assert value["format"] == CHECK_FORMAT == "hokusai-check/1"
    schema = json.loads((ROOT / "docs" / "formats" / "check-1.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
    findings = tuple(Finding(**{**item, "first_rows": tuple(item["first_rows"])}) for item in value["findings"])
    assert {finding.severity for finding in findings} == {"error", "warning", "note"}
    report = CheckReport(
        source=value["source"],
        contribution=value["contribution"],
        rows=value["rows"],
        columns=tuple((column["name"], column["type"]) for column in value["columns"]),
        file_sha256=value["file_sha256"],
        digest=value["digest"],
        findings=findings,
        counts=value["counts"],
        personal_data=tuple(tuple(item.values()) for item in value["personal_data"]),
    )
    assert check_document(report) == kept
    page = (ROOT / "docs" / "formats" / "check.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `([\w.\[\]]+)` \|", page, re.MULTILINE))
    inner = ("columns[].", "counts.", "found.", "personal_data[].")  # told in the row of the field that holds them
    assert {path for path in _paths(value) if not path.startswith(inner)} | {"found", "counts"} == described


def test_the_kept_contract_of_version_1_stays_readable_and_each_of_its_keys_is_described(tmp_path: Path) -> None:
    kept = load_contract(GOLDEN / "contract-1.toml")
    columns = {column.name: column for column in kept.columns}
    assert (kept.label, kept.key, len(columns)) == ("species", ("bird", "day"), 10)
    assert columns["day"].minimum == date(2007, 11, 11)
    assert columns["measured_at"].maximum == datetime(2009, 12, 31, 23, 59, 59, 500_000)  # noqa: DTZ001 - it has none
    assert columns["received_at"].minimum == datetime(2006, 12, 31, 23, tzinfo=UTC)
    assert columns["flipper length, mm"].maximum == 300.5
    assert columns["body_mass_g"].maximum == 2**53 + 1
    assert columns["fee"].minimum == Decimal("0.10")
    assert columns["is_ringed"].allowed == (True,)
    assert (columns["bird"].pattern, columns["bird"].max_length) == ("[A-Z][0-9]{3}", 4)
    again = tmp_path / "contract-1.toml"
    again.write_text(write_contract(kept), encoding="utf-8")
    assert dataclasses.replace(load_contract(again), source=kept.source) == kept
    page = (ROOT / "docs" / "formats" / "contract.md").read_text(encoding="utf-8")
    written = tomllib.loads((GOLDEN / "contract-1.toml").read_text(encoding="utf-8"))
    rules = {rule for column in written["columns"].values() for rule in column}
    assert rules == {item.name for item in dataclasses.fields(ColumnContract)} - {"name"}
    assert [key for key in (*written, *rules) if f"`{key}" not in page] == []


def test_every_way_in_which_a_table_is_refused_is_in_the_troubleshooting_as_it_is_said() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    table = page.partition("| refusal |")[2].partition("\n\n")[0]
    entries = _MESSAGE_ROW.findall(table)
    assert table.count("\n") - 1 == len(entries), "each row begins with one message in code"
    package = ROOT / "src" / "hokusai"
    paths = [package / "errors.py", *(package / "datasets").glob("*.py"), *(package / "steps").glob("*.py")]
    said = {text for path in paths for text in _said(ast.parse(path.read_text(encoding="utf-8")))}
    assert [entry for entry in entries if not any(_is_about(entry, text) for text in said)] == []
    classes = [
        node for node in ast.parse((package / "errors.py").read_text("utf-8")).body if isinstance(node, ast.ClassDef)
    ]
    tables = [
        node for node in classes if issubclass(getattr(errors, node.name), errors.DataError) and len(node.body) > 1
    ]
    assert len(tables) > 6
    generic = "DataError"  # says what it is given
    assert [
        node.name
        for node in tables
        if node.name != generic and not any(_is_about(entry, text) for entry in entries for text in _said(node))
    ] == []


def _said(tree: ast.AST) -> set[str]:
    """Return every text in a piece of code that is no docstring, with ``…`` for what varies."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = {_template(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return found | {str(node.value) for node in constants if id(node) not in docstrings | inside}


def test_the_kept_report_of_version_1_has_no_field_that_is_not_described_any_more() -> None:
    kept = json.loads((GOLDEN / "delta-1.json").read_bytes())
    assert kept["format"] == "hokusai-delta/1"
    page = (ROOT / "docs" / "formats" / "delta.md").read_text(encoding="utf-8")
    assert [path for path in _paths(kept) if f"| `{path}` |" not in page] == []


# Where a call that raises, or reports, has its message: position in its arguments.
_MESSAGE_ARGUMENT = {
    "BenchmarkLedgerError": 1,
    "ConfigurationError": 0,
    "InvalidFactError": 2,
    "JournalError": 0,
    "TrackingError": 0,
    "TrackingServerError": 1,
    "TypeError": 0,
    "_damaged": 1,
    "add_note": 0,
    "warning": 0,
}
# Errors of tracking that write their messages themselves.
_TRACKING_ERRORS = ("DatasetNotFoundError", "RunNotFoundError", "TrackingServerError")
_MESSAGE_ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
_SHORTEST_ENTRY = 12


def test_every_message_that_tracking_raises_is_in_the_troubleshooting_and_no_other() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    tables = [part for part in page.strip().split("\n\n") if part.startswith("| message |")]
    entries = [entry for table in tables for entry in _MESSAGE_ROW.findall(table)]
    assert sum(table.count("\n") - 1 for table in tables) == len(entries), "each row begins with one message in code"
    messages = _tracking_messages()
    assert len(messages) > 60
    missing = [
        f"{place}: docs/troubleshooting.md has no entry for {message!r}; add a row with a part of it, 'as it stands'"
        for message, place in messages.items()
        if not any(_is_about(entry, message) for entry in entries)
    ]
    assert missing == []
    stale = [entry for entry in entries if not any(_is_about(entry, message) for message in messages)]
    assert stale == []


def _is_about(entry: str, message: str) -> bool:
    return entry == message or (len(entry) >= _SHORTEST_ENTRY and entry in message)


def _tracking_messages() -> dict[str, str]:
    """Return every message of tracking and where it is made, with ``…`` for what varies.

    A message that passes on another one's text (``str(error)``, ``error.problem``) is none of its own.
    """
    package = ROOT / "src" / "hokusai"
    paths = (
        *sorted(TRACKING.glob("*.py")),
        package / "own_pipeline.py",
        package / "benchmark_reuse.py",
        package / "steps" / "benchmark_use.py",
    )
    trees = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    errors = ast.parse((ROOT / "src" / "hokusai" / "errors.py").read_text(encoding="utf-8"))
    functions = {
        node.name: node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    }
    messages: dict[str, str] = {}
    for name, tree in trees.items():
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for node in ast.walk(function):
                for expression in _message_expressions(node, function):
                    place = f"{name}, line {expression.lineno}"
                    texts = _texts(expression, function, functions)
                    assert texts is not None, f"{place}: this test cannot tell what {ast.unparse(expression)} says"
                    messages |= dict.fromkeys(texts, place)
    for node in ast.walk(errors):
        if isinstance(node, ast.ClassDef) and node.name in _TRACKING_ERRORS:
            parts = [_template(part) for part in ast.walk(node) if isinstance(part, ast.JoinedStr)]
            messages |= dict.fromkeys(parts, f"errors.py, {node.name}")
    return messages


def _message_expressions(node: ast.AST, function: ast.FunctionDef) -> Iterator[ast.expr]:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments, keywords=keywords):
            position = _MESSAGE_ARGUMENT.get(name, len(arguments))
            yield from arguments[position : position + 1]
            if name == "report":
                yield from (keyword.value for keyword in keywords if keyword.arg == "problem")
        case ast.Return(value=ast.expr() as value) if function.name == "_silence":
            yield value


def _texts(  # noqa: PLR0911  (one line per kind)
    expression: ast.expr, function: ast.FunctionDef, functions: dict[str, ast.FunctionDef]
) -> tuple[str, ...] | None:
    """Return what an expression in a function may say, or None when that cannot be told from the source."""
    match expression:
        case ast.Constant(value=str(text)):
            return (re.sub("%s", "…", text),)
        case ast.JoinedStr():
            return (_template(expression),)
        case ast.Attribute() | ast.Call(func=ast.Name(id="str")):
            return ()
        case ast.IfExp(body=body, orelse=otherwise):
            return _joined([_texts(body, function, functions), _texts(otherwise, function, functions)])
        case ast.Name(id=name):
            return _joined([_texts(value, function, functions) for value in _assigned(name, function)])
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in functions:
            returned = [
                node.value
                for node in ast.walk(functions[name])
                if isinstance(node, ast.Return) and node.value and ast.unparse(node.value) != "''"
            ]
            return _joined([_texts(value, functions[name], functions) for value in returned])
    return None


def _assigned(name: str, function: ast.FunctionDef) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                yield value
            case ast.NamedExpr(target=ast.Name(id=target), value=value) if target == name:
                yield value


def _joined(parts: list[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    known = [part for part in parts if part is not None]
    return tuple(text for part in known for text in part) if known and len(known) == len(parts) else None


def _template(text: ast.JoinedStr) -> str:
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in text.values)
