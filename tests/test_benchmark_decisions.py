"""Whole evaluations on benchmarks that are declared, spent, sliced and doubted: from the files to what is recorded."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
from pyarrow import csv

import hokusai
from hokusai.benchmark_reuse import benchmark_ledger, split_benchmark
from hokusai.cli import display
from hokusai.config import load_config
from hokusai.datasets.benchmark_key import read_benchmark_key
from hokusai.datasets.benchmark_split import split_rows
from hokusai.errors import BenchmarkLedgerError, ConfigurationError
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.naming import EVALUATION_TAG
from hokusai.tracking.shipper import DirectShipping

if TYPE_CHECKING:
    from mlflow.entities import Run
    from numpy.typing import NDArray

    from hokusai.config import ResolvedConfig
    from hokusai.records import DeltaReport
    from hokusai.testing.plugin import MlflowAddress
    from hokusai.tracking.benchmark_ledger import LedgerState

ROOT = Path(__file__).parents[1]
DELTA_SCHEMA = json.loads((ROOT / "docs" / "formats" / "delta-1.schema.json").read_text(encoding="utf-8"))

CONFIGURATION = """
project = "decisions"
[data]
base = "base.csv"
benchmark = "benchmark.csv"
label = "outcome"
features = ["a", "b"]
contributions = [{ path = "helpful.csv" }]
[evaluation]
metrics = ["accuracy", "roc_auc"]
"""


def table(rows: int, *, seed: int, weight: float) -> str:
    """Return a table whose label depends on one column and, by so much, on another one."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows))
    score = a + weight * b + rng.normal(scale=0.2, size=rows)
    lines = ["a,b,patient,site,outcome"]
    for row in range(rows):
        outcome = "ill" if score[row] > 0 else "well"
        lines.append(f"{a[row]:.6f},{b[row]:.6f},p{row // 2},{'north' if row % 3 else 'south'},{outcome}")
    return "\n".join(lines) + "\n"


@dataclasses.dataclass(frozen=True)
class Project:
    """A folder with an evaluation, and the store that it is tracked in."""

    folder: Path
    store: MlflowAddress

    def config(self, **flags: object) -> ResolvedConfig:
        """Return the evaluation; the dots of a flag are written as two underscores."""
        given = {name.replace("__", "."): value for name, value in flags.items()}
        tracking = {"tracking.uri": self.store.uri, "tracking.journal": str(self.folder / "journals")}
        return load_config(self.folder / "evaluation.toml", flags={**tracking, **given})

    def run(self, **flags: object) -> DeltaReport:
        """Evaluate, and ship from this process."""
        return hokusai.run(self.config(**flags), shipping=DirectShipping(MlflowStore(self.store.uri)))

    def split(self, *, decisions: int) -> LedgerState:
        """Split the benchmark."""
        return split_benchmark(self.config().config, key_file=self.folder / "benchmark.key", decisions=decisions)

    def runs(self, evaluation: str) -> dict[str, Run]:
        """Return the runs of an evaluation as MLflow holds them; the parent's name is empty."""
        client = self.store.client
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        found = client.search_runs(experiments, f"tags.`{EVALUATION_TAG}` = '{evaluation}'")
        return {run.info.run_name if "mlflow.parentRunId" in run.data.tags else "": run for run in found}

    def evaluations(self) -> list[str]:
        """Return the keys of all evaluations, the last ended last; of one second the keys do not tell."""
        journals = sorted((self.folder / "journals").glob("*/journal.jsonl"), key=lambda file: file.stat().st_mtime_ns)
        return [file.parent.name for file in journals]


@pytest.fixture
def project(tmp_path: Path, mlflow_store: MlflowAddress) -> Project:
    """A project whose base has not seen that the second column matters, and what two people offer."""
    (tmp_path / "evaluation.toml").write_text(CONFIGURATION, encoding="utf-8")
    for name, rows, weight in (
        ("base", 120, 0.0),
        ("benchmark", 480, 1.0),
        ("helpful", 480, 1.0),
        ("worthless", 200, 0.0),
    ):
        (tmp_path / f"{name}.csv").write_text(table(rows, seed=len(name), weight=weight), encoding="utf-8")
    return Project(tmp_path, mlflow_store)


def document(report: DeltaReport) -> dict[str, Any]:
    """Return ``delta.json``, which keeps its schema."""
    found: dict[str, Any] = json.loads(report.identity.delta_file.read_text(encoding="utf-8"))
    jsonschema.validate(found, DELTA_SCHEMA)
    return found


def printed(report: DeltaReport, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what people read of a report."""
    capsys.readouterr()
    display.print_report(report)
    return capsys.readouterr().out


def test_declared_decisions_are_taken_one_by_one_and_the_next_is_refused_before_training(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    state = project.split(decisions=2)
    sealed = {"delta__benchmark_key_file": str(project.folder / "benchmark.key")}

    accepted = project.run(**sealed)
    assert (accepted.decision.outcome, accepted.decision.number, accepted.decision.decisions) == ("accept", 1, 2)
    assert not accepted.decision.is_exploratory
    assert accepted.decision.confidence == pytest.approx(1 - 2 * 0.05 / 2)
    assert accepted.history is not None
    assert accepted.history.evaluations == 0
    parent = project.runs(accepted.identity.evaluation)[""]
    assert parent.data.tags["hokusai.decision"] == "accept"

    contributions = [{"path": str(project.folder / "worthless.csv")}]
    rejected = project.run(**sealed, data__contributions=contributions)
    assert (rejected.decision.outcome, rejected.decision.number) == ("reject", 2)
    told = document(rejected)
    assert rejected.history is not None
    shown = accepted.delta.candidate
    assert rejected.history.evaluations == 1
    assert rejected.history.best == pytest.approx(shown)
    # What is shown is of the feedback half, to the point.
    assert shown == pytest.approx(round(shown, 2))
    assert told["decision"]["number"] == 2
    text = printed(rejected, capsys)
    assert "These are scores of the feedback half of the benchmark, rounded; the other half decides." in text
    assert "Decision: REJECT: on the benchmark's decision half the contribution does not clear the bar" in text
    assert "(decision 2 of 2)" in text
    assert not any("equal another" in note for note in rejected.notes)
    # Nothing of how surely it was rejected: neither a p value nor a cross-check.
    assert not re.search(r"\bp\b|Cross-check", text)

    with pytest.raises(BenchmarkLedgerError, match="all 2 decisions are spent") as caught:
        project.run(**sealed)
    assert caught.value.digest == state.digest
    refused = project.runs(project.evaluations()[-1])
    assert {name: run.info.status for name, run in refused.items() if name} == {
        "load_baseline_model": "FINISHED",
        "integrate_contributed_data": "FINISHED",
    }
    assert refused[""].info.status == "FAILED"

    spent = benchmark_ledger(state.digest, settings=project.config().config.tracking).spent
    reports = (accepted, rejected)
    assert [(item.evaluation, item.outcome, item.rule_sha256) for item in spent] == [
        (report.identity.evaluation, report.decision.outcome, report.decision.rule_sha256) for report in reports
    ]


def test_without_the_key_of_the_split_nothing_is_scored(project: Project) -> None:
    state = project.split(decisions=2)
    with pytest.raises(ConfigurationError) as caught:
        project.run()
    assert caught.value.key == "delta.benchmark_key_file"
    assert "evaluate_on_benchmark" not in project.runs(project.evaluations()[-1])

    other = project.folder / "other.key"
    other.write_text("ab" * 32, encoding="utf-8")
    other.chmod(0o600)
    with pytest.raises(BenchmarkLedgerError, match="the key is not the one by which it was split"):
        project.run(delta__benchmark_key_file=str(other))

    # One cell more or less is another benchmark, of which nothing was declared.
    lines = (project.folder / "benchmark.csv").read_text(encoding="utf-8").splitlines()
    (project.folder / "changed.csv").write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    with pytest.raises(BenchmarkLedgerError, match="it has a key and no ledger here"):
        project.run(
            delta__benchmark_key_file=str(project.folder / "benchmark.key"),
            data__benchmark=str(project.folder / "changed.csv"),
        )
    after = benchmark_ledger(state.digest, settings=project.config().config.tracking)
    assert after == state


def halves(project: Project) -> tuple[list[str], NDArray[np.bool_]]:
    """Return the lines of the benchmark and which of them decide."""
    file = project.folder / "benchmark.csv"
    rows = csv.read_csv(file).select(["a", "b", "outcome"])
    decides = split_rows(rows, key=read_benchmark_key(project.folder / "benchmark.key"))
    return file.read_text(encoding="utf-8").splitlines(), decides


def test_what_is_told_of_a_contributed_copy_is_the_same_whichever_half_its_row_is_in(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.split(decisions=2)
    lines, decides = halves(project)
    told = []
    for row in (int(np.flatnonzero(decides)[0]), int(np.flatnonzero(~decides)[0])):
        copy = project.folder / "copy.csv"
        copy.write_text(f"{lines[0]}\n{lines[1 + row]}\n", encoding="utf-8")
        report = project.run(
            delta__benchmark_key_file=str(project.folder / "benchmark.key"), data__contributions=[{"path": str(copy)}]
        )
        assert (report.decision.outcome, report.decision.number, report.overlapping_rows) == ("reject", None, 1)
        found = document(report)
        for version in found["datasets"]:
            if version["context"] == "contribution":
                del version["digest"], version["file_sha256"]
        assert "What is gained without them is not told" in printed(report, capsys)
        runs = project.runs(report.identity.evaluation)
        step = runs["compare_and_output_delta"].data.metrics
        del found["evaluation"]
        told.append((found, {name: value for name, value in step.items() if name.startswith(("delta", "without"))}))
    assert told[0] == told[1]
    assert told[0][0]["subsets"] == []


def test_a_further_benchmark_with_rows_of_the_split_one_is_refused_before_a_decision_is_spent(project: Project) -> None:
    state = project.split(decisions=1)
    lines, decides = halves(project)
    further = table(20, seed=50, weight=1.0).splitlines()
    further.append(lines[1 + int(np.flatnonzero(decides)[0])])
    (project.folder / "further.csv").write_text("\n".join(further) + "\n", encoding="utf-8")
    with pytest.raises(
        ConfigurationError, match=r"1 rows of 'further' .* first is data row 21; expected none"
    ) as caught:
        project.run(
            delta__benchmark_key_file=str(project.folder / "benchmark.key"),
            data__more_benchmarks=[{"path": str(project.folder / "further.csv"), "name": "further"}],
        )
    assert (caught.value.key, caught.value.exit_code) == ("data.more_benchmarks", 2)
    assert benchmark_ledger(state.digest, settings=project.config().config.tracking) == state


@pytest.mark.parametrize(("group", "said"), [("", True), ("patient", False)])
def test_a_benchmark_whose_rows_are_written_several_times_says_what_its_interval_takes_them_for(
    project: Project, *, group: str, said: bool
) -> None:
    lines = (project.folder / "benchmark.csv").read_text(encoding="utf-8").splitlines()
    # One row stands there once, and all others four times.
    (project.folder / "benchmark.csv").write_text("\n".join([*lines, *lines[2:] * 3]) + "\n", encoding="utf-8")
    report = project.run(evaluation__group=group)
    notes = [note for note in report.notes if "equal another" in note]
    unsure = [sentence for sentence in report.decision.not_concluded if "equal each other" in sentence]
    assert (len(notes), len(unsure)) == (int(said), int(said))
    if said:
        assert notes[0].startswith("1916 of 1917 benchmark rows equal another in features and label")
        assert "up to 2 times as wide: take the repetitions out, or name evaluation.group." in notes[0]


@pytest.mark.slow
def test_seeds_are_fitted_until_they_are_enough_and_all_of_them_where_half_of_the_benchmark_is_sealed(
    project: Project,
) -> None:
    forest = {
        "training__estimator": "RandomForestClassifier",
        "training__parameters": {"n_estimators": 5},
        "training__sequential__looks": (3, 5),
    }
    looked = project.run(**forest)
    parameters = project.runs(looked.identity.evaluation)["train_new_model"].data.params
    assert json.loads(parameters["training.sequential.looks"]) == [3, 5]
    assert looked.decision.outcome == "accept"
    assert looked.decision.confidence > 0.95
    assert any(note.startswith("Training ended after 3 seeds: accept") for note in looked.notes)

    project.split(decisions=3)
    sealed = project.run(**forest, delta__benchmark_key_file=str(project.folder / "benchmark.key"))
    assert (sealed.decision.outcome, sealed.decision.number) == ("accept", 1)
    assert not any(note.startswith("Training ended") for note in sealed.notes)
    seeds = {note for note in sealed.notes if "All seeds were fitted" in note}
    assert len(seeds) == 1


EVALUATION = """
import sys
from pathlib import Path
import hokusai
from hokusai.config import load_config
from hokusai.errors import BenchmarkLedgerError

file, uri, journal = sys.argv[1:]
flags = {"tracking.uri": uri, "tracking.journal": journal, "delta.benchmark_key_file": "benchmark.key"}
print("ready", flush=True)
sys.stdin.readline()
try:
    print(hokusai.run(load_config(Path(file), flags=flags)).decision.outcome)
except BenchmarkLedgerError as error:
    print(error.problem)
"""


@pytest.mark.slow
def test_of_two_evaluations_at_once_one_takes_the_last_decision(
    project: Project, subprocess_environment: dict[str, str]
) -> None:
    state = project.split(decisions=1)
    settings = project.config().config.tracking
    file = str(project.folder / "evaluation.toml")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", EVALUATION, file, project.store.uri, str(settings.journal)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=project.folder,
            env=subprocess_environment,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    # Both have begun before either is waited for.
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = sorted(process.communicate()[0].strip() for process in processes)
    assert told[0] == "accept"
    assert "all 1 decisions are spent" in told[1]
    assert len(benchmark_ledger(state.digest, settings=settings).spent) == 1


OWN_METRIC = """
import numpy as np


def missed(actual, predicted):
    return ((actual == "ill") & (predicted != "ill")).astype(np.float64)
"""
EVERYTHING = """
project = "decisions"
[data]
base = "base.csv"
benchmark = "benchmark.csv"
more_benchmarks = [{ path = "elsewhere.csv" }]
decoy = "decoy.csv"
label = "outcome"
features = ["a", "b"]
contributions = [{ path = "helpful.csv" }]
[evaluation]
metrics = ["accuracy"]
group = "patient"
slices = ["site"]
own_metrics = [
    { name = "missed", function = "own_metrics_of_decisions:missed", higher_is_better = false, lower = 0, upper = 1 },
]
[delta]
guards = [{ metric = "missed", margin = 0.1 }]
[training]
negative_controls = true
"""


def test_everything_that_can_be_asked_of_a_benchmark_is_asked_in_one_evaluation(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.folder
    (folder / "evaluation.toml").write_text(EVERYTHING, encoding="utf-8")
    (folder / "own_metrics_of_decisions.py").write_text(OWN_METRIC, encoding="utf-8")
    (folder / "elsewhere.csv").write_text(table(100, seed=50, weight=1.0), encoding="utf-8")
    (folder / "decoy.csv").write_text(table(480, seed=51, weight=1.0), encoding="utf-8")
    # A contributor who has got hold of a quarter of the benchmark.
    stolen = (folder / "benchmark.csv").read_text(encoding="utf-8").splitlines()[1:121]
    with (folder / "helpful.csv").open("a", encoding="utf-8") as file:
        file.write("\n".join(stolen) + "\n")

    report = project.run()
    told = document(report)
    assert (report.decision.outcome, report.decision.is_exploratory) == ("accept", True)
    assert [(guard.metric, guard.verdict) for guard in report.decision.guards] == [("missed", "kept")]
    roles = {delta.metric.name: delta.role for delta in report.deltas}
    assert roles == {"accuracy": "primary", "missed": "guard"}
    sets = {each.subset.name: (each.subset.kind, each.subset.rows, each.subset.units) for each in report.subsets}
    assert sets == {
        "without overlap": ("without overlap", 360, 180),
        "elsewhere": ("benchmark", 100, 50),
        "site=north": ("slice", 320, 240),
        "site=south": ("slice", 160, 160),
    }
    assert report.overlapping_rows == 120
    assert report.counts[1].in_benchmark == 120
    assert [(test.benchmark_hits, test.decoy_hits, test.alarm) for test in report.decoy_tests] == [(120, 0, True)]
    controls = {control.arm: control.outcome for control in report.negative_controls}
    assert set(controls) == {"shuffled_labels", "base_resample"}
    assert "accept" not in controls.values()
    assert told["decision"]["outcome"] == "accept"

    text = printed(report, capsys)
    for words in (
        r"accuracy \(decides\) ",
        r"missed \(guard\) .* lower ",
        r"without overlapping rows +360 ",
        r"benchmark elsewhere +100 ",
        r"site=south +160 ",
        r"same contribution, labels shuffled .* (reject|not enough evidence)",
        r"Decoy test: helpful holds 120 rows of the benchmark and 0 of the decoy",
        r"Decision \(exploratory\): ACCEPT",
        r"Guard missed, at most 0\.1 worse: kept\.",
    ):
        assert re.search(words, text), words
    runs = project.runs(report.identity.evaluation)
    logged = runs["compare_and_output_delta"].data.metrics
    for delta in report.deltas:
        assert logged[f"delta.{delta.metric.name}"] == pytest.approx(delta.gain)
    assert {"without_overlap.delta.accuracy", "base_resample.delta.accuracy", "shuffled_labels.delta.accuracy"} <= {
        *logged
    }
    # A bound a hair below zero must not read like one above it, and a metric without an interval is explained.
    hair, unsure = (
        dataclasses.replace(delta, gain_lower=lower)
        for delta, lower in zip(report.deltas, (-2.9e-5, None), strict=True)
    )
    text = printed(dataclasses.replace(report, deltas=(hair, unsure)), capsys)
    assert " -2.9e-05 to " in text
    assert "none: the gain is the same on every row that counts" in text
