"""The demo: exact figures on real penguins, and everything about them in a real MLflow store."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import hokusai
from hokusai.digests import sha256
from hokusai.testing.assertions import assert_run_complete
from hokusai.testing.sample_data import CONTRIBUTIONS, penguins_config
from hokusai.testing.sample_data import penguins_folder as packaged_data
from hokusai.tracking.naming import STEPS
from hokusai.tracking.shipping_process import ShippingProcess

with warnings.catch_warnings(action="ignore"):  # MLflow warns while it is imported
    import mlflow
    from mlflow import MlflowClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow.entities import Run

BENCHMARK_ROWS = 119
CONTROL = 95
RIGHT = {"dream": 119, "torgersen": 95, "torgersen_mislabelled": 54}
DECISIONS = {"dream": "accept", "torgersen": "not enough evidence", "torgersen_mislabelled": "reject"}
COMMAND = Path(sys.executable).with_name("hokusai")
FEATURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


def own_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "HOKUSAI_"))}
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true"}


class Demo:
    """What one call of ``hokusai demo`` left behind."""

    def __init__(self, folder: Path) -> None:
        """Call it in a folder."""
        self.folder = folder
        done = subprocess.run(
            [str(COMMAND), "demo"], cwd=folder, env=own_environment(), capture_output=True, text=True, check=False
        )
        self.exit_code, self.output, self.errors = done.returncode, done.stdout, done.stderr
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        (self.experiment,) = [each for each in self.client.search_experiments() if each.name != "Default"]
        runs = list(self.client.search_runs([self.experiment.experiment_id], ""))
        self.runs = {run.info.run_id: run for run in runs}
        self.parents: dict[str, Run] = {}
        self.children: dict[str, list[Run]] = {}
        for run in runs:
            if "mlflow.parentRunId" not in run.data.tags:
                (name,) = json.loads(run.data.params["data.contributions"])
                self.parents[name] = run
        for name, parent in self.parents.items():
            own = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
            # Two steps may start in the same millisecond, so it is not the times that say which came first.
            self.children[name] = sorted(own, key=lambda run: STEPS.index(run.info.run_name))

    def artifact(self, run: Run, path: str) -> bytes:
        """Return the bytes of a run's artifact."""
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        return (folder / path).read_bytes()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return Demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, hokusai.DeltaReport]]:
    """The same three evaluations by ``hokusai.run``, in a folder of their own."""
    folder = tmp_path_factory.mktemp("reports")
    tracking = hokusai.TrackingSettings(uri=f"sqlite:///{folder / 'mlflow.db'}", journal=folder / "journals")
    shipping = ShippingProcess(tracking.uri, tracking)
    try:
        yield {name: hokusai.run(penguins_config(name, tracking), shipping=shipping) for name in CONTRIBUTIONS}
    finally:
        shipping.close()


# --- the figures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONTRIBUTIONS)
def test_the_accuracies_are_exact_and_so_is_the_decision(name: str, reports: Mapping[str, hokusai.DeltaReport]) -> None:
    report = reports[name]
    assert report.delta.metric.name == report.decision.metric == "accuracy"
    assert report.delta.baseline == CONTROL / BENCHMARK_ROWS
    assert report.delta.candidate == RIGHT[name] / BENCHMARK_ROWS
    assert report.delta.gain == pytest.approx((RIGHT[name] - CONTROL) / BENCHMARK_ROWS, abs=1e-15)
    assert report.decision.outcome == DECISIONS[name]
    assert report.delta.gain_lower is not None
    assert report.delta.gain_upper is not None
    assert report.delta.gain_lower < report.delta.gain < report.delta.gain_upper
    assert report.tracking is not None
    assert report.tracking.shipped, report.tracking.problem


def test_the_command_prints_the_same_figures_and_ends_with_zero(demo: Demo) -> None:
    assert (demo.exit_code, demo.errors) == (0, "")
    rows = [re.split(r"\s{2,}", line.strip()) for line in demo.output.splitlines()]
    table = {row[0]: row[1:] for row in rows if row[0] in RIGHT}
    kept = {"dream": "80", "torgersen": "35", "torgersen_mislabelled": "35"}
    assert list(table) == list(CONTRIBUTIONS)
    for name, (count, baseline, candidate, delta, interval, decision) in table.items():
        assert count == kept[name]
        assert baseline == f"{CONTROL / BENCHMARK_ROWS:.4f}"
        assert candidate == f"{RIGHT[name] / BENCHMARK_ROWS:.4f}"
        assert delta == f"{(RIGHT[name] - CONTROL) / BENCHMARK_ROWS:+.4f}"
        assert re.fullmatch(r"[+-]\d\.\d{4} to [+-]\d\.\d{4}", interval)
        assert decision == DECISIONS[name]


def test_the_demo_leaves_its_store_and_its_journals_and_nothing_else(demo: Demo) -> None:
    names = {path.name for path in demo.folder.iterdir()} - {"mlflow.db-wal", "mlflow.db-shm"}
    assert names == {"mlflow.db", "mlartifacts", ".hokusai"}
    assert len(list((demo.folder / ".hokusai").iterdir())) == len(CONTRIBUTIONS)


# --- the data --------------------------------------------------------------------------------------------------------


def recipe() -> dict[str, pd.DataFrame]:
    """Return the demo's tables as they are made from the palmerpenguins package."""
    with warnings.catch_warnings(action="ignore"):  # an old way of finding its file
        from palmerpenguins import load_penguins
    whole = load_penguins().dropna(subset=FEATURES)
    early, late = whole[whole["year"] < 2009], whole[whole["year"] == 2009]
    torgersen = early[early["island"] == "Torgersen"]
    return {
        "base": early[early["island"] == "Biscoe"],
        "benchmark": late,
        "dream": early[early["island"] == "Dream"],
        "torgersen": torgersen,
        "torgersen_mislabelled": torgersen.assign(species="Gentoo"),
    }


@pytest.mark.parametrize(
    ("name", "rows"),
    [("base", 108), ("benchmark", 119), ("dream", 80), ("torgersen", 35), ("torgersen_mislabelled", 35)],
)
def test_the_tables_that_are_shipped_are_those_of_palmerpenguins(name: str, rows: int) -> None:
    shipped = pd.read_csv(packaged_data() / f"{name}.csv")
    assert list(shipped.columns) == [*FEATURES, "species"]
    assert len(shipped) == rows
    expected = recipe()[name][[*FEATURES, "species"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(shipped, expected, check_dtype=False)


# --- what stands in MLflow -------------------------------------------------------------------------------------------


def test_there_is_one_experiment_with_one_parent_run_per_contribution(demo: Demo) -> None:
    assert demo.experiment.name == "hokusai-penguins"
    assert set(demo.parents) == set(CONTRIBUTIONS)
    assert len(demo.runs) == len(CONTRIBUTIONS) * (1 + len(STEPS))


@pytest.mark.parametrize("name", CONTRIBUTIONS)
def test_every_parent_has_five_finished_children_named_after_the_steps(demo: Demo, name: str) -> None:
    assert tuple(run.info.run_name for run in demo.children[name]) == STEPS
    assert tuple(run.data.tags["hokusai.step"] for run in demo.children[name]) == STEPS
    assert {run.info.status for run in [demo.parents[name], *demo.children[name]]} == {"FINISHED"}


@pytest.mark.parametrize("name", CONTRIBUTIONS)
def test_start_and_end_are_the_steps_own_in_order_and_within_the_parents(demo: Demo, name: str) -> None:
    parent = demo.parents[name].info
    times = [parent.start_time]
    for run in demo.children[name]:
        times += [run.info.start_time, run.info.end_time]
    times.append(parent.end_time)
    assert times == sorted(times)
    # The journal is where the times come from, so MLflow holds the moments of the work and not those of its shipping.
    evaluation = demo.parents[name].data.tags["hokusai.evaluation"]
    lines = (demo.folder / ".hokusai" / evaluation / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    recorded = {entry["time"] for entry in map(json.loads, lines)}
    assert set(times) <= recorded


@pytest.mark.parametrize("name", CONTRIBUTIONS)
def test_every_run_has_parameters_and_the_same_parameters_as_a_file(demo: Demo, name: str) -> None:
    for run in [demo.parents[name], *demo.children[name]]:
        document = demo.artifact(run, "parameters.json")
        values = json.loads(document)
        assert run.data.params
        assert set(run.data.params) == set(values)
        for key, text in run.data.params.items():
            assert values[key] == (text if isinstance(values[key], str) else json.loads(text)), key
        assert run.data.tags["hokusai.parameters_digest"] == sha256(document)
    assert demo.parents[name].data.params["training.estimator"] == "sklearn.linear_model.LogisticRegression"


@pytest.mark.parametrize("name", CONTRIBUTIONS)
def test_the_parent_shows_every_dataset_with_its_context_and_full_digest(
    demo: Demo, name: str, reports: Mapping[str, hokusai.DeltaReport]
) -> None:
    found = {}
    inputs = demo.parents[name].inputs
    for item in inputs.dataset_inputs if inputs else ():
        tags = {tag.key: tag.value for tag in item.tags}
        found[tags["mlflow.data.context"]] = (item.dataset.name, tags["hokusai.digest"])
        assert tags["hokusai.digest"].startswith(item.dataset.digest)
        assert json.loads(item.dataset.profile or "")["num_rows"] > 0
    assert set(found) == {"base", "contribution", "benchmark", "integrated"}
    assert found["contribution"][0] == name
    # Another process, another folder, the same content: the same digests.
    assert found == {each.context: (each.name, each.digest) for each in reports[name].datasets}
    tags = demo.parents[name].data.tags
    for context, (dataset, digest) in found.items():
        assert re.fullmatch("[0-9a-f]{64}", digest)
        key = f"hokusai.dataset.{context}" + (f".{dataset}" if context == "contribution" else "")
        assert tags[key] == digest


def test_the_parent_carries_scores_delta_and_decision(demo: Demo) -> None:
    for name, parent in demo.parents.items():
        metrics = parent.data.metrics
        assert metrics["control.accuracy"] == CONTROL / BENCHMARK_ROWS
        assert metrics["candidate.accuracy"] == RIGHT[name] / BENCHMARK_ROWS
        assert metrics["delta.accuracy"] == pytest.approx((RIGHT[name] - CONTROL) / BENCHMARK_ROWS, abs=1e-15)
        assert metrics["delta.accuracy.lower"] < metrics["delta.accuracy"] < metrics["delta.accuracy.upper"]
        assert parent.data.tags["hokusai.decision"] == DECISIONS[name]
        assert parent.data.tags["hokusai.decision.reason"] in parent.data.tags["mlflow.note.content"]


def test_the_steps_carry_their_own_metrics(demo: Demo) -> None:
    for name, children in demo.children.items():
        _, integrated, trained, scored, compared = [run.data.metrics for run in children]
        assert integrated["data.benchmark.rows"] == BENCHMARK_ROWS
        assert integrated["data.integrated.rows"] == trained["training.candidate.rows"]
        assert trained["training.control.rows"] == integrated["data.base.rows_kept"] == 108
        assert scored["candidate.accuracy"] == RIGHT[name] / BENCHMARK_ROWS
        assert scored["control.accuracy.per_seed"] == CONTROL / BENCHMARK_ROWS
        assert compared["delta.accuracy"] == demo.parents[name].data.metrics["delta.accuracy"]


@pytest.mark.parametrize("name", CONTRIBUTIONS)
def test_the_rows_that_were_kept_give_the_accuracies_again(demo: Demo, name: str) -> None:
    table = pq.read_table(io.BytesIO(demo.artifact(demo.children[name][3], "row_scores.parquet"))).to_pandas()
    benchmark = pd.read_csv(packaged_data() / "benchmark.csv")
    assert list(table["row"]) == list(range(BENCHMARK_ROWS))
    assert list(table["label"]) == list(benchmark["species"])
    assert int((table["control.0.predicted"].astype(str) == table["label"]).sum()) == CONTROL
    assert int((table["candidate.0.predicted"].astype(str) == table["label"]).sum()) == RIGHT[name]
    probabilities = table.filter(regex=r"^candidate\.0\.probability\.")
    assert list(probabilities) == [f"candidate.0.probability.{each}" for each in ("Adelie", "Chinstrap", "Gentoo")]
    assert probabilities.sum(axis=1).to_numpy() == pytest.approx(1.0)
    best = probabilities.idxmax(axis=1).str.rpartition(".")[2]
    assert list(best) == list(table["candidate.0.predicted"].astype(str))


@pytest.mark.parametrize("name", CONTRIBUTIONS)
def test_the_delta_document_is_an_artifact_and_the_same_file_on_disk(demo: Demo, name: str) -> None:
    document = demo.artifact(demo.children[name][4], "delta.json")
    evaluation = demo.parents[name].data.tags["hokusai.evaluation"]
    assert document == (demo.folder / ".hokusai" / evaluation / "delta.json").read_bytes()
    values: dict[str, Any] = json.loads(document)
    assert values["decision"]["outcome"] == DECISIONS[name]
    accuracy = next(each for each in values["deltas"] if each["metric"] == "accuracy")
    assert (accuracy["baseline"], accuracy["candidate"]) == (CONTROL / BENCHMARK_ROWS, RIGHT[name] / BENCHMARK_ROWS)


# --- the models ------------------------------------------------------------------------------------------------------


def test_every_candidate_is_a_version_of_the_registered_model_with_its_delta(demo: Demo) -> None:
    versions = demo.client.search_model_versions("name = 'hokusai-penguins'")
    assert sorted(int(version.version) for version in versions) == [1, 2, 3]
    for version in versions:
        run = demo.runs[version.run_id]
        evaluation = version.tags["hokusai.evaluation"]
        (name,) = [key for key, parent in demo.parents.items() if parent.data.tags["hokusai.evaluation"] == evaluation]
        assert run.data.tags["hokusai.evaluation"] == evaluation
        assert version.tags["hokusai.decision"] == DECISIONS[name]
        assert float(version.tags["hokusai.delta.accuracy"]) == demo.parents[name].data.metrics["delta.accuracy"]
        digests = {key: each for key, each in version.tags.items() if key.startswith("hokusai.dataset.")}
        assert digests
        assert digests.items() <= demo.parents[name].data.tags.items()


def test_a_registered_model_predicts_on_the_benchmark_as_pandas_reads_it(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = pd.read_csv(packaged_data() / "benchmark.csv")
    assert benchmark["body_mass_g"].dtype == "int64"
    monkeypatch.chdir(demo.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", demo.uri)
    for version in demo.client.search_model_versions("name = 'hokusai-penguins'"):
        model = mlflow.pyfunc.load_model(f"models:/hokusai-penguins/{version.version}")
        predicted = model.predict(benchmark[FEATURES])
        evaluation = demo.runs[version.run_id].data.tags["hokusai.evaluation"]
        (name,) = [each for each, run in demo.parents.items() if run.data.tags["hokusai.evaluation"] == evaluation]
        assert int((predicted == benchmark["species"]).sum()) == RIGHT[name]
        # Floats and gaps, as in the next file somebody reads, are as welcome as whole numbers.
        gaps = benchmark[FEATURES].astype(float)
        gaps.loc[0, "body_mass_g"] = float("nan")
        assert list(model.predict(gaps)[1:]) == list(predicted[1:])


def test_the_shipped_benchmark_is_not_among_what_was_trained_on() -> None:
    tables = {name: pd.read_csv(packaged_data() / f"{name}.csv") for name in ("base", "benchmark", *CONTRIBUTIONS)}
    benchmark = set(tables.pop("benchmark").itertuples(index=False, name=None))
    for name, table in tables.items():
        assert not benchmark & set(table.itertuples(index=False, name=None)), name


def test_each_evaluation_is_a_complete_tree_by_the_parameter_schema(
    reports: Mapping[str, hokusai.DeltaReport],
) -> None:
    for report in reports.values():
        tracking = report.tracking
        assert tracking is not None
        assert tracking.runs[0].run_id is not None
        assert_run_complete(tracking.runs[0].run_id, store=tracking.uri)
