"""``hokusai benchmark show|split|budget|retire``: what they print, make, refuse and return."""

from __future__ import annotations

import re
import shutil
import stat
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hokusai.benchmark_reuse import Benchmark, benchmark_ledger, read_benchmark, split_benchmark
from hokusai.config import load_config
from hokusai.datasets.benchmark_key import read_benchmark_key
from hokusai.datasets.benchmark_split import key_commitment, split_rows
from hokusai.errors import BenchmarkLedgerError
from hokusai.testing.faults import Status
from hokusai.tracking.mlflow_ledger import BenchmarkLedger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome

    from hokusai.testing.faults import FaultyProxy
    from hokusai.testing.plugin import MlflowAddress

RULE = "01" * 32


@pytest.fixture
def project(tmp_path: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that ``hokusai init`` writes, to stand in; nobody has contributed yet."""
    shutil.copytree(demo_data, tmp_path, dirs_exist_ok=True)
    (tmp_path / "dream.csv").unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def benchmark(project: Path, call: Callable[..., Outcome], mlflow_store: MlflowAddress) -> Callable[..., Outcome]:
    """Call a subcommand in the project, on the store."""
    assert project.is_dir()

    def run(*arguments: str) -> Outcome:
        return call("benchmark", *arguments, "--tracking-uri", mlflow_store.uri)

    return run


def read(project: Path) -> Benchmark:
    """Read the project's benchmark."""
    flags = {"data.contributions": [{"path": "base.csv"}]}
    return read_benchmark(load_config(project / "evaluation.toml", flags=flags).config)


def test_a_benchmark_is_split_spent_shown_and_retired(
    project: Path, benchmark: Callable[..., Outcome], mlflow_store: MlflowAddress
) -> None:
    before = benchmark("show")
    assert (before.code, before.err) == (0, "")
    assert "It is not split: deltas are exploratory. Split it with `hokusai benchmark split`." in before.out
    assert "it is not split, and no number of decisions is declared" in benchmark("budget").out

    done = benchmark("split", "--decisions", "20", "--alpha", "0.1", "--note", "for a year\x1b[2J")
    assert (done.code, done.err) == (0, "")
    assert "20 times at most" in done.out
    assert "the one-sided level 0.005, so that all of them accept a worthless contribution" in done.out
    key_file = project / "benchmark.key"
    (section, line) = re.findall(r"Write into evaluation\.toml, under (\[\w+\]):\n\n(.+)\n", done.out)[0]
    template = (project / "evaluation.toml").read_text(encoding="utf-8")
    pasted = tomllib.loads(template.replace(section, f"{section}\n{line}", 1))
    assert pasted["delta"] == tomllib.loads(template)["delta"] | {"benchmark_key_file": "benchmark.key"}
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert key_file.read_text().strip() not in done.out

    content, key = read(project), read_benchmark_key(key_file)
    decides = split_rows(content.rows, key=key)
    shown = benchmark("show", "--json").value
    assert shown["digest"] == content.digest
    assert (shown["split"]["feedback_rows"], shown["split"]["decision_rows"]) == ((~decides).sum(), decides.sum())
    commitment = key_commitment(key, content.digest)
    assert (shown["split"]["commitment"], shown["left"], shown["spent"]) == (commitment, 20, [])

    ledger = BenchmarkLedger(mlflow_store.uri)
    ledger.spend(content.digest, commitment=commitment, evaluation="20300101-one", rule_sha256=RULE)
    ledger.record_outcome(content.digest, evaluation="20300101-one", outcome="reject")
    ledger.spend(content.digest, commitment=commitment, evaluation="20300101-two", rule_sha256=RULE)
    left = benchmark("budget", content.digest[:8])
    assert f"Benchmark {content.digest[:12]}: 18 of 20 decisions are left." in left.out
    rows = [line for line in left.out.splitlines() if "20300101" in line]
    assert ["20300101-one" in rows[0], "reject" in rows[0]] == [True, True]
    assert ["20300101-two" in rows[1], "not said" in rows[1]] == [True, True]
    by_file = benchmark("show", "benchmark.csv").out
    assert content.digest in by_file
    assert r"for a year\x1b[2J" in by_file

    assert "is retired" in benchmark("retire", "--reason", "it leaked").out
    for command in ("show", "budget"):
        said = benchmark(command).out
        assert "it leaked" in said
    again = benchmark("retire", "--reason", "twice")
    assert (again.code, again.out) == (1, "")
    assert "nothing is decided on it any more" in again.err
    assert benchmark("budget", "--json").value["left"] == 0


def test_a_second_split_is_refused_and_leaves_no_key_behind(project: Path, benchmark: Callable[..., Outcome]) -> None:
    assert benchmark("split", "--decisions", "5").code == 0
    key = (project / "benchmark.key").read_bytes()
    refused = benchmark("split", "--decisions", "500", "--key-file", "another.key")
    assert (refused.code, refused.out) == (1, "")
    assert "for 5 decisions. What is declared stays" in refused.err
    assert not (project / "another.key").exists()
    assert (project / "benchmark.key").read_bytes() == key
    assert benchmark("split", "--decisions", "0", "--key-file", "another.key").code == 1


@pytest.mark.parametrize(("alpha", "decisions"), [("0.6", "1"), ("1e-16", "1000")])
def test_a_level_at_which_nothing_can_be_decided_is_refused_and_leaves_neither_key_nor_ledger_behind(
    project: Path, benchmark: Callable[..., Outcome], alpha: str, decisions: str
) -> None:
    refused = benchmark("split", "--alpha", alpha, "--decisions", decisions)
    assert (refused.code, "leaves 1e-15 to 0.25 for each of them" in refused.err) == (1, True)
    assert not (project / "benchmark.key").exists()
    assert "It is not split" in benchmark("show").out


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("delta.minimum_gain=2", "delta.minimum_gain"),
        ('delta.guards=[{metric="f1", margin=5.0}]', "delta.guards.0.margin"),
    ],
)
def test_a_bar_beyond_the_metrics_range_is_refused_before_a_decision_is_spent(
    project: Path,
    call: Callable[..., Outcome],
    benchmark: Callable[..., Outcome],
    mlflow_store: MlflowAddress,
    setting: str,
    key: str,
) -> None:
    assert benchmark("split", "--decisions", "5").code == 0
    options = ("--contribution", str(project / "base.csv"), "--set", "delta.benchmark_key_file=benchmark.key")
    refused = call("run", *options, "--set", setting, "--tracking-uri", mlflow_store.uri)
    assert (refused.code, key in refused.err, "expected less than 1" in refused.err) == (2, True, True)
    assert benchmark("budget", "--json").value["left"] == 5
    assert not mlflow_store.client.search_experiments(filter_string="name LIKE 'hokusai-%'")


def with_nests(project: Path, *, size: int) -> None:
    """Put so many rows of the benchmark into a group each."""
    lines = (project / "benchmark.csv").read_text(encoding="utf-8").splitlines()
    rows = [f"{line},{number // size}" for number, line in enumerate(lines[1:])]
    (project / "benchmark.csv").write_text("\n".join([f"{lines[0]},nest", *rows]) + "\n", encoding="utf-8")
    text = (project / "evaluation.toml").read_text(encoding="utf-8")
    text = text.replace("\n[evaluation]\n", '\n[evaluation]\ngroup = "nest"\n')
    (project / "evaluation.toml").write_text(text, encoding="utf-8")


def test_an_empty_half_is_refused_and_leaves_no_key_behind(project: Path, benchmark: Callable[..., Outcome]) -> None:
    with_nests(project, size=1000)
    refused = benchmark("split", "--decisions", "5")
    assert (refused.code, "expected at least two in each" in refused.err) == (1, True)
    assert not (project / "benchmark.key").exists()


def test_the_halves_of_a_group_are_one_and_other_groups_are_another_benchmark(
    project: Path, benchmark: Callable[..., Outcome]
) -> None:
    plain = read(project)
    with_nests(project, size=3)
    grouped = read(project)
    assert grouped.group == "nest"
    assert grouped.digest != plain.digest
    assert grouped.rows.equals(plain.rows)
    shown = benchmark("split", "--decisions", "5", "--json").value
    key = read_benchmark_key(Path(shown["key_file"]))
    decides = split_rows(grouped.rows, key=key, groups=grouped.groups)
    assert shown["split"]["group"] == "nest"
    assert shown["split"]["decision_rows"] == decides.sum() % len(decides) != 0
    nests = {int(each) for each in decides[: len(decides) // 3 * 3].reshape(-1, 3).sum(axis=1)}
    assert nests == {0, 3}


def test_what_is_not_there_is_told_in_one_line(
    project: Path, benchmark: Callable[..., Outcome], call: Callable[..., Outcome]
) -> None:
    for arguments, code, said in (
        (("show", "0123456789"), 1, "0 ledgers have a digest that begins like this, expected one"),
        (("budget", "nothing.csv"), 2, "no such file"),
        (("retire", "--reason", "none"), 1, "it is not split"),
    ):
        outcome = benchmark(*arguments)
        assert (outcome.code, outcome.out) == (code, "")
        assert outcome.err.startswith("hokusai: ")
        assert said in outcome.err
    absent = call("benchmark", "show", "--tracking-uri", f"sqlite:///{project}/absent.db")
    assert (absent.code, "no tracking store here" in absent.err) == (2, True)
    assert not (project / "absent.db").exists()


def test_a_key_that_is_there_is_used_and_one_that_an_outage_may_have_made_known_stays(
    project: Path, call: Callable[..., Outcome], faulty_mlflow: FaultyProxy
) -> None:
    split = ("benchmark", "split", "--decisions", "5", "--tracking-uri", faulty_mlflow.uri)
    # Nothing tells whether the ledger has it: the declaration may arrive later.
    faulty_mlflow.faults = [Status(500, route="POST .*model-versions/create")]
    lost = call(*split)
    assert (lost.code, lost.out) == (1, "")
    key = (project / "benchmark.key").read_bytes()
    faulty_mlflow.faults = []
    assert call(*split).code == 0
    assert (project / "benchmark.key").read_bytes() == key
    shown = call("benchmark", "show", "--json", "--tracking-uri", faulty_mlflow.uri).value
    commitment = key_commitment(read_benchmark_key(project / "benchmark.key"), shown["digest"])
    assert shown["split"]["commitment"] == commitment


def test_the_python_calls_do_the_same(project: Path, mlflow_store: MlflowAddress) -> None:
    flags = {"data.contributions": [{"path": "base.csv"}], "tracking.uri": mlflow_store.uri}
    config = load_config(project / "evaluation.toml", flags=flags).config
    state = split_benchmark(config, key_file=project / "k.key", decisions=7)
    assert benchmark_ledger(state.digest[:10], settings=config.tracking) == state
    other = replace(config, data=replace(config.data, exclude=("body_mass_g",)))
    assert read_benchmark(other).digest != state.digest
    with pytest.raises(BenchmarkLedgerError, match="What is declared stays"):
        split_benchmark(config, key_file=project / "k.key", decisions=8)
    assert (project / "k.key").exists()
