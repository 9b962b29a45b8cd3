"""The command line: what each command prints, writes, refuses and returns."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

from hokusai.cli.arguments import make_parser
from hokusai.config import setting_keys
from hokusai.testing.sample_data import penguins_folder as packaged_data
from hokusai.tracking.naming import STEPS

with warnings.catch_warnings(action="ignore"):  # MLflow warns while it is imported
    from mlflow import MlflowClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome

COMMAND = Path(sys.executable).with_name("hokusai")
COMMANDS = [
    *("demo", "init", "run", "config", "check", "contract", "dataset", "runs", "show", "ui", "sync", "doctor", "audit"),
    *("reproduce", "verify", "experiments", "model", "benchmark", "keys", "journal"),
]
FILES = sorted(path.name for path in packaged_data().iterdir())


def own_environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "HOKUSAI_"))}
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true"} | variables


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class ShellLine(NamedTuple):
    """What a line in a shell returned and printed."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Evaluated:
    """A folder in which ``init`` and ``run`` were called, by the lines that they print."""

    folder: Path
    init: ShellLine
    run: ShellLine


def shell(line: str, folder: Path) -> ShellLine:
    """Run a line as somebody would who copies it from the terminal."""
    done = subprocess.run(
        ["sh", "-c", line], cwd=folder, env=own_environment(), capture_output=True, text=True, check=False
    )
    return ShellLine(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    parent = tmp_path_factory.mktemp("evaluated")
    init = shell(f"'{COMMAND}' init 'my evaluation'", parent)
    run = shell(next_lines(init)["Next"], parent)
    return Evaluated(parent / "my evaluation", init, run)


def terminal(line: str, folder: Path) -> str:
    """Return what a line in a shell prints on a terminal of 80 columns."""
    reading, writing = pty.openpty()
    size = own_environment(COLUMNS="80", NO_COLOR="1", TERM="dumb")
    with subprocess.Popen(["sh", "-c", line], cwd=folder, env=size, stdout=writing, stderr=subprocess.DEVNULL):
        os.close(writing)
        printed = b""
        with contextlib.suppress(OSError):  # the end, on Linux
            while block := os.read(reading, 65536):
                printed += block
    os.close(reading)
    return printed.decode().replace("\r\n", "\n")


def next_lines(done: ShellLine) -> dict[str, str]:
    """Return the lines that a command proposes, by what they are for."""
    for line in done.out.splitlines():
        if line.startswith("Next: "):
            return {"Next": line.removeprefix("Next: ")}
    _, _, lines = done.out.partition("\nNext:\n")
    pairs = (re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in lines.splitlines() if line.strip())
    return {pair[0]: pair[1] for pair in pairs}


# --- help and usage --------------------------------------------------------------------------------------------------


def test_help_lists_every_command_and_the_exit_codes(call: Callable[..., Outcome]) -> None:
    done = call("--help")
    assert (done.code, done.err) == (0, "")
    listed = re.findall(r"(?m)^    (\w+)(?: |$)", done.out)
    assert listed == COMMANDS
    assert "exit codes: 0 done; 1" in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_each_of_its_flags(command: str, call: Callable[..., Outcome]) -> None:
    done = call(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"usage: hokusai {command} ")
    lines = done.out.splitlines()
    for place, line in enumerate(lines):
        if re.match(r"  -", line):
            explained = re.search(r"\S  +\S", line.strip()) or lines[place + 1].startswith("      ")
            assert explained, line


def test_the_flags_for_settings_name_settings_that_there_are() -> None:
    parsed = vars(make_parser().parse_args(["run"]))
    keys = {name.removeprefix("setting:") for name in parsed if name.startswith("setting:")}
    assert len(keys) > 10
    assert keys <= set(setting_keys())


def test_the_version_is_printed(call: Callable[..., Outcome]) -> None:
    assert re.fullmatch(r"hokusai \d+\.\d+\.\d+\n", call("--version").out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["walk"], "invalid choice: 'walk'"),
        (["run", "--walk"], "unrecognized arguments: --walk"),
        (["show"], "the following arguments are required: RUN"),
        (["runs", "--limit", "few"], "invalid int value: 'few'"),
    ],
)
def test_bad_usage_ends_with_two(arguments: list[str], message: str, call: Callable[..., Outcome]) -> None:
    done = call(*arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


# --- init ------------------------------------------------------------------------------------------------------------


def test_init_writes_the_examples_files_as_they_are_shipped(call: Callable[..., Outcome], here: Path) -> None:
    done = call("init", "deep/folder")
    assert (done.code, done.err) == (0, "")
    written = {path.name: path.read_bytes() for path in (here / "deep/folder").iterdir()}
    assert written == {path.name: path.read_bytes() for path in packaged_data().iterdir()}


def test_init_takes_the_current_folder_by_default(call: Callable[..., Outcome], here: Path) -> None:
    (here / "notes.txt").write_text("mine", encoding="utf-8")
    assert call("init").code == 0
    assert sorted(path.name for path in here.iterdir()) == sorted([*FILES, "notes.txt"])


@pytest.mark.parametrize("name", FILES)
def test_init_refuses_a_folder_that_has_one_of_the_files_and_leaves_it_untouched(
    name: str, call: Callable[..., Outcome], here: Path
) -> None:
    (here / name).write_text("mine", encoding="utf-8")
    done = call("init", ".")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"hokusai: .: {name} is there already, expected a folder without it. Name another folder.\n"
    assert {path.name: path.read_text(encoding="utf-8") for path in here.iterdir()} == {name: "mine"}


def test_init_refuses_a_place_that_is_no_folder(call: Callable[..., Outcome], here: Path) -> None:
    (here / "file").write_text("mine", encoding="utf-8")
    done = call("init", "file/folder")
    assert done.code == 2
    assert "cannot be written" in done.err


# --- run -------------------------------------------------------------------------------------------------------------


def stored_delta(evaluated: Evaluated, evaluation: str) -> bytes:
    """Return the artifact ``delta.json`` of an evaluation from the store."""
    uri = f"sqlite:///{evaluated.folder / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    ids = [each.experiment_id for each in client.search_experiments()]
    (run,) = client.search_runs(
        ids, f"tags.`hokusai.evaluation` = '{evaluation}' AND tags.`hokusai.step` = 'compare_and_output_delta'"
    )
    folder = Path(unquote(urlsplit(run.info.artifact_uri).path))
    return (folder / "delta.json").read_bytes()


def test_the_lines_that_init_prints_run_the_example_to_acceptance(evaluated: Evaluated) -> None:
    assert (evaluated.init.code, evaluated.init.err) == (0, "")
    assert (evaluated.run.code, evaluated.run.err) == (0, "")
    assert "Decision (exploratory): ACCEPT: the gain in accuracy is +0.202" in evaluated.run.out
    rows = [line.split() for line in evaluated.run.out.splitlines()]
    assert ["dream", "80", "0", "0", "80"] in rows
    assert {"accuracy", "precision", "recall", "f1", "roc_auc"} <= {row[0] for row in rows if row}
    # No 119 rows tell smaller probabilities apart, and one class that was won whole says nothing about its spread.
    assert [row[-1] for row in rows if row[:1] in (["precision"], ["roc_auc"])] == ["<0.0001"] * 2
    assert "McNemar's mid-p test (24 rows won, 0 lost): p <0.0001." in evaluated.run.out
    assert "none: the gain is the same on every row that counts, or on every such row of a class" in evaluated.run.out


def test_run_writes_delta_json_where_it_says(evaluated: Evaluated) -> None:
    (written,) = re.findall(r"(?m)^Written: (.*)$", evaluated.run.out)
    document = json.loads(Path(written).read_text(encoding="utf-8"))
    assert Path(written).is_relative_to(evaluated.folder / ".hokusai")
    assert document["decision"]["outcome"] == "accept"
    assert stored_delta(evaluated, document["evaluation"]) == Path(written).read_bytes()


def test_the_command_that_run_proposes_shows_the_evaluation(evaluated: Evaluated) -> None:
    proposed = next_lines(evaluated.run)
    assert set(proposed) == {"look at it in MLflow", "print a run", "do it again"}
    # The line was printed in the folder above, where `run` was called.
    done = shell(proposed["print a run"], evaluated.folder.parent)
    assert (done.code, done.err) == (0, "")
    assert re.findall(rf"(?m)^({'|'.join(STEPS)})  [0-9a-f]{{32}}  FINISHED ", done.out) == list(STEPS)
    command, *arguments = shlex.split(proposed["look at it in MLflow"])
    assert command == str(COMMAND)
    parsed = make_parser().parse_args(arguments)
    assert (parsed.function, parsed.tracking_uri) == ("ui", f"sqlite:///{evaluated.folder}/mlflow.db")
    parsed = make_parser().parse_args(shlex.split(proposed["do it again"])[1:])
    assert (parsed.function, parsed.tracking_uri) == ("reproduce", f"sqlite:///{evaluated.folder}/mlflow.db")
    assert parsed.run in proposed["print a run"]


def test_run_as_json_prints_the_artifact_and_ends_with_one_when_the_contribution_is_not_accepted(
    evaluated: Evaluated, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated.folder)
    done = call("run", "--json", "--contribution", "wrong=torgersen_mislabelled.csv", "--output", "out/delta.json")
    assert (done.code, done.err) == (1, "")
    document = json.loads(done.out)
    assert document["decision"]["outcome"] == "reject"
    assert [each["name"] for each in document["rows"]] == ["base", "wrong"]
    assert done.out.encode() == stored_delta(evaluated, document["evaluation"])
    assert done.out.encode() == (evaluated.folder / "out/delta.json").read_bytes()


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.toml"], "nowhere.toml: no such file. Write one with `hokusai init`, or name another."),
        (["run", "--seeds", "many"], 'command line: training.seeds: got "many": input should be a valid integer.'),
        (["run", "--set", "nothing"], "flag --set: got 'nothing', expected KEY=VALUE."),
        (["run", "--set", "a.b=1"], "command line: a.b: no such setting. `hokusai config` lists them."),
        (["run", "--contribution", "no.csv"], "command line: data.contributions.0.path: no such file:"),
        (["run", "--contribution", "a b=dream.csv"], 'command line: data.contributions.0.name: got "a b":'),
        (["run", "--estimator", "Magic"], "command line: training.estimator: got 'Magic', expected a scikit-learn"),
        (["run", "--metric", "luck"], "command line: delta.metric: no classification metric 'luck', expected one of"),
        (["run", "--set", "training.parameters={ c = 1 }"], "command line: training.parameters.c: LogisticRegression"),
        (["run", "--set", "training.parameters={ C = inf }"], "command line: training.parameters: cannot be put on"),
        (["config", "--base", "no.csv"], "command line: data.base: no such file:"),
        (["runs"], "mlflow.db: no tracking store here yet. Make one with `hokusai demo`, or name another."),
        (["show", "x"], "mlflow.db: no tracking store here yet."),
        (["ui"], "mlflow.db: no tracking store here yet."),
    ],
)
def test_bad_input_ends_with_two_and_one_line_before_any_work(
    arguments: list[str], message: str, call: Callable[..., Outcome], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["hokusai"])
    assert call("init").code == 0
    done = call(*arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.startswith("hokusai: ")
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in here.iterdir()) == FILES


def test_the_trace_of_an_error_is_shown_with_debug_alone_and_changes_no_exit_code(
    call: Callable[..., Outcome], here: Path
) -> None:
    quiet = call("run", str(here / "nowhere.toml"))
    loud = call("run", "--debug", str(here / "nowhere.toml"))
    assert quiet.code == loud.code == 2
    assert "Traceback" not in quiet.err
    assert loud.err.startswith("Traceback (most recent call last):")
    assert loud.err.endswith(quiet.err)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["verify", "statement.json"], 1),
        # It writes before it knows how it ends.
        (["verify", "statement.json", "--json"], 141),
    ],
)
def test_a_reader_that_has_gone_makes_no_success_of_a_failure(arguments: list[str], code: int, here: Path) -> None:
    (here / "statement.json").write_text("{}", encoding="ascii")
    read, write = os.pipe()
    os.close(read)
    command = [str(COMMAND), *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=own_environment(), cwd=here, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (code, b"")


@pytest.mark.parametrize(
    ("moment", "said"),
    [("import", "hokusai: interrupted.\n"), ("call", "hokusai: interrupted; what was recorded is in the journal.\n")],
)
def test_an_interrupt_names_the_journal_when_there_is_one(moment: str, said: str, here: Path) -> None:
    code = {"import": "", "call": ""} | {moment: "signal.raise_signal(signal.SIGINT)"}
    (here / "interrupted.py").write_text(
        f"import signal\n{code['import']}\ndef metric(*_, **__):\n    {code['call'] or 'return 0.0'}\n",
        encoding="utf-8",
    )
    own = '[{ name = "own", function = "interrupted:metric", higher_is_better = true }]'
    done = shell(f"'{COMMAND}' init && '{COMMAND}' run --set 'evaluation.own_metrics={own}'", here)
    assert (done.code, done.err) == (130, said)
    assert bool(list(here.glob(".hokusai/*/"))) == (moment == "call")


def test_a_wrong_name_in_the_file_is_refused_with_its_line(call: Callable[..., Outcome], here: Path) -> None:
    call("init")
    text = (here / "evaluation.toml").read_text(encoding="utf-8").replace('"accuracy"', '"acuracy"')
    (here / "evaluation.toml").write_text(text, encoding="utf-8")
    line = next(number for number, each in enumerate(text.splitlines(), 1) if "acuracy" in each)
    done = call("run")
    assert done.code == 2
    assert done.err.startswith(f"hokusai: evaluation.toml, line {line}: delta.metric: ")


# --- config ----------------------------------------------------------------------------------------------------------


def printed_config(done: Outcome) -> dict[str, tuple[str, str]]:
    """Return value and origin of every setting that ``config`` prints."""
    assert (done.code, done.err) == (0, "")
    rows = [re.split(r"\s{2,}", line.strip()) for line in done.out.splitlines()[2:]]
    return {row[0]: (row[1], row[2]) for row in rows if len(row) == 3}


def test_config_prints_every_setting_and_where_it_came_from(
    call: Callable[..., Outcome], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("init")
    monkeypatch.setenv("HOKUSAI_TRAINING_SEEDS", "8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    monkeypatch.setenv("COLUMNS", "250")
    printed = printed_config(call("config", "--confidence", "0.9"))
    assert set(printed) == set(setting_keys())
    assert printed["project"] == ('"penguins"', "evaluation.toml, line 5")
    assert printed["data.base"][0] == json.dumps(str(here / "base.csv"))
    assert printed["data.delimiter"] == ('""', "default")
    assert printed["training.seeds"] == ("8", "environment variable HOKUSAI_TRAINING_SEEDS")
    assert printed["tracking.uri"] == ('"http://localhost:1"', "environment variable MLFLOW_TRACKING_URI")
    assert printed["tracking.experiment"] == ('"mine"', "environment variable MLFLOW_EXPERIMENT_NAME")
    assert printed["delta.confidence"] == ("0.9", "command line")


def test_a_flag_beats_the_environment_and_the_environment_the_file(
    call: Callable[..., Outcome], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("init")
    text = (here / "evaluation.toml").read_text(encoding="utf-8")
    (here / "evaluation.toml").write_text(text.replace("# seeds = 5", "seeds = 6"), encoding="utf-8")
    assert printed_config(call("config"))["training.seeds"][0] == "6"
    monkeypatch.setenv("HOKUSAI_TRAINING_SEEDS", "7")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "environment")
    printed = printed_config(call("config"))
    assert printed["training.seeds"][0] == "7"
    arguments = ("--seeds", "8", "--tracking-uri", "http://flag", "--experiment", "flag", "--set", "delta.output=x")
    printed = printed_config(call("config", *arguments))
    assert printed["training.seeds"] == ("8", "command line")
    assert printed["tracking.uri"][0] == '"http://flag"'
    assert printed["tracking.experiment"][0] == '"flag"'
    assert printed["delta.output"][0] == json.dumps(str(here / "x"))


# --- runs, show, sync ------------------------------------------------------------------------------------------------


def test_runs_lists_the_evaluations_with_delta_and_decision(
    evaluated: Evaluated, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated.folder)
    done = call("runs", "--limit", "100")
    assert (done.code, done.err) == (0, "")
    (row,) = [line for line in done.out.splitlines() if "accept" in line]
    assert re.search(r'\["dream"\]\s+FINISHED\s+accuracy\s+\+0\.2017\s+accept', row)
    limited = call("runs", "--limit", "1").out
    assert len(re.findall("FINISHED", limited)) == 1
    monkeypatch.chdir(evaluated.folder.parent)
    assert call("runs", "--limit", "100", "--config", "my evaluation/evaluation.toml").out == done.out


def test_a_terminal_of_80_columns_breaks_no_word_and_cuts_nothing_off(
    evaluated: Evaluated, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = terminal(f"'{COMMAND}' run --contribution torgersen.csv", evaluated.folder)
    assert "…" not in report
    table = report[report.index("\nmetric") :].partition("\nnone: ")[0].splitlines()
    assert max(map(len, table)) <= 80
    (row,) = [line.split() for line in table if line.startswith("accuracy")]
    assert row[:6] == ["accuracy", "(decides)", "0.7983", "0.7983", "+0.0000", "-0.0305"]
    assert re.findall(
        r"(?m)^[0-9a-f]{8} hokusai-[-0-9a-f]+ +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\[",
        terminal(f"'{COMMAND}' runs", evaluated.folder),
    )
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(evaluated.folder)
    words = {word for word in call("config").out.split() if len(word) <= 32 and "─" not in word}
    assert len(words) > 100
    assert words <= set(terminal(f"'{COMMAND}' config", evaluated.folder).split())


def test_show_prints_parameters_metrics_datasets_and_artifacts_of_a_run_by_id_or_name(
    evaluated: Evaluated, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated.folder)
    (row,) = [line.split() for line in call("runs").out.splitlines() if "accept" in line]
    by_id, by_name = call("show", row[0]), call("show", row[1])
    assert by_id.code == 0
    assert by_id.out == by_name.out
    for pattern in (
        r"parameter\s+project\s+penguins",
        r"metric\s+candidate\.accuracy\s+1\.0",
        r"dataset\s+contribution: dream\s+[0-9a-f]{64}",
        r"artifact\s+delta\.json",
        r"artifact\s+row_scores\.parquet",
        r"tag\s+hokusai\.decision\s+accept",
        r"model\s+m-[0-9a-f]{32}",
    ):
        assert re.search(pattern, by_id.out), pattern


def test_show_says_when_there_is_no_such_run(
    evaluated: Evaluated, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated.folder)
    done = call("show", "nothing")
    assert (done.code, done.out) == (2, "")
    assert "no run 'nothing' in sqlite:///" in done.err


def test_sync_of_nothing_is_done_at_once_and_makes_no_store(call: Callable[..., Outcome], here: Path) -> None:
    done = call("sync")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"0 journals looked at in {here / '.hokusai'}, 0 could not be shipped.\n"
    assert list(here.iterdir()) == []


def test_sync_leaves_what_has_been_shipped_as_it_is(
    evaluated: Evaluated, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated.folder)
    before = call("runs", "--limit", "100").out
    done = call("sync")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"(1 journal|[23] journals) looked at in .*, 0 could not be shipped\.\n", done.out)
    assert call("runs", "--limit", "100").out == before


@pytest.mark.slow
def test_a_store_that_is_gone_is_named_and_sync_all_brings_everything_back(
    here: Path,
) -> None:
    # Processes of their own: one that had the file open would go on with it.
    def call(*arguments: str) -> ShellLine:
        return shell(shlex.join([str(COMMAND), *arguments, "--tracking-uri", "sqlite:///store.db"]), here)

    assert call("demo").code == 0
    before = call("runs").out
    journal = min((here / ".hokusai").glob("*/journal.jsonl")).parent
    for file in ("journal.jsonl", "shipping.json"):
        assert re.findall(r"sqlite:///[^\"]*", (journal / file).read_text(encoding="utf-8")) == [
            f"sqlite:///{here}/store.db"
        ]
    for part in here.glob("store.db*"):
        part.unlink()
    for command in (("sync", str(journal)), ("doctor",)):
        done = call(*command)
        assert done.code == 1
        assert "hokusai sync --all" in done.out + done.err
        assert not (here / "store.db").exists()
    assert "there is no such file any more" in call("journal", "list").out
    shown = re.compile(r"(?m)^ *[0-9a-f]{8}\b")
    after = []
    for _ in range(2):
        assert call("sync", "--all").code == 0
        after.append(call("runs").out)
    assert after[0] == after[1]
    assert shown.sub("", after[0]) == shown.sub("", before)
    assert call("audit", shown.findall(after[0])[0].strip()).code == 0
    assert (call("sync").code, call("doctor").code) == (0, 0)


# --- ui --------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def fetched(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310  (our own server)
        return bytes(answer.read())


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
def test_the_ui_answers_with_the_store_and_leaves_no_process_behind(evaluated: Evaluated, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(evaluated.folder, folder)
    # What lies in the working directory is data, never code.
    (folder / "uuid.py").write_text("open('ran', 'w').close()\n", encoding="utf-8")
    ways: list[tuple[Callable[[int, int], None], signal.Signals]] = [
        (os.killpg, signal.SIGINT),  # Ctrl-C reaches the whole group
        (os.kill, signal.SIGTERM),
    ]
    servers = [
        subprocess.Popen(
            [str(COMMAND), "ui", "--no-browser", "--port", str(free_port())],
            cwd=folder,
            env=own_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for _ in ways
    ]
    try:
        for server, (kill, number) in zip(servers, ways, strict=True):
            assert server.stdout is not None
            assert server.stderr is not None
            lines = []
            for line in server.stdout:
                lines.append(line)
                if line.startswith("Stop it"):
                    break
            (address,) = re.findall(r"MLflow UI: (\S+)", "".join(lines))
            root, _, page = address.partition("/#/")
            assert re.fullmatch(r"experiments/\d+/runs\?workflowType=machine_learning", page)
            assert fetched(f"{root}/health") == b"OK"
            assert b"<title>MLflow</title>" in fetched(f"{root}/")
            found = fetched(f"{root}/api/2.0/mlflow/experiments/get?experiment_id={page.split('/')[1]}")
            assert json.loads(found)["experiment"]["name"] == "hokusai-penguins"
            kill(server.pid, number)
            out, err = server.communicate(timeout=60)
            assert err == ""
            assert (server.returncode, out) == ((0, "Stopped.\n") if number == signal.SIGINT else (143, ""))
            assert group_is_gone(server.pid)
        assert not (folder / "ran").exists()
    finally:
        for server in servers:
            if not group_is_gone(server.pid):
                os.killpg(server.pid, signal.SIGKILL)
            server.communicate()
