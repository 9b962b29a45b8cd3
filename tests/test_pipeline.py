"""Whole evaluations: what comes out for the data and models that people bring, good, odd and hostile."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml

import hokusai
from hokusai.config import load_config
from hokusai.datasets.reader_process import TableReader
from hokusai.digests import file_sha256
from hokusai.errors import (
    BenchmarkLeakError,
    ConfigurationError,
    DataError,
    ModelError,
    ModelNotFoundError,
    ModelSignatureError,
    SchemaMismatchError,
    UntrustedModelError,
    ValueMismatchError,
)
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.pipeline import evaluate_contribution
from hokusai.provenance.environment import ENVIRONMENT_NAME, REQUIREMENTS_NAME
from hokusai.records import EvaluationIdentity
from hokusai.testing.sample_data import penguins_folder as packaged_data
from hokusai.tracking.journal import JournalReader, MemoryJournal
from hokusai.tracking.naming import CODE_COMMIT_TAG, STEPS
from hokusai.tracking.operations import (
    CloseJournal,
    EndRun,
    LogArtifact,
    LogMetrics,
    LogParameters,
    OpenJournal,
    SetTags,
)
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipping_process import ShippingProcess

with warnings.catch_warnings(action="ignore"):  # MLflow warns while it is imported
    import mlflow
    from mlflow import MlflowClient

if TYPE_CHECKING:
    from hokusai.records import DeltaReport, MetricDelta

NOW = datetime(2030, 1, 2, tzinfo=UTC)
NOWHERE = "sqlite:////nowhere/mlflow.db"
FEATURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
BASE, DREAM, TORGERSEN, BENCHMARK = (
    pd.read_csv(packaged_data() / f"{name}.csv") for name in ("base", "dream", "torgersen", "benchmark")
)

# Preparation differs between the two: one-hot codes and filled gaps here, category codes and gaps as they are there.
ESTIMATORS = pytest.mark.parametrize(
    "training",
    [
        {"training.estimator": "LogisticRegression"},
        {
            "training.estimator": "HistGradientBoostingClassifier",
            "training.parameters": "{ max_iter = 8 }",
            "training.seeds": "3",
        },
    ],
    ids=["linear", "boosted"],
)


@pytest.fixture(autouse=True)
def _stand_in_an_empty_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


def penguins(folder: Path, contribution: str = "dream", **sections: Any) -> hokusai.PipelineConfig:
    """Return the demo's configuration, built in code."""
    data = packaged_data()
    arguments: dict[str, Any] = {
        "project": "penguins",
        "data": hokusai.DataSettings(
            base=data / "base.csv",
            benchmark=data / "benchmark.csv",
            label="species",
            contributions=(hokusai.ContributionSettings(path=data / f"{contribution}.csv"),),
        ),
        "tracking": hokusai.TrackingSettings(uri=f"sqlite:///{folder / 'mlflow.db'}", journal=folder / "journals"),
    }
    return hokusai.PipelineConfig(**arguments | sections)


def tables(
    folder: Path, contribution: pd.DataFrame, *, base: pd.DataFrame = BASE, benchmark: pd.DataFrame = BENCHMARK
) -> dict[str, Any]:
    """Write the tables as CSV and return the flags that name them."""
    for name, table in (("base", base), ("contribution", contribution), ("benchmark", benchmark)):
        table.to_csv(folder / f"{name}.csv", index=False)
    return {
        "project": "test",
        "data.base": str(folder / "base.csv"),
        "data.benchmark": str(folder / "benchmark.csv"),
        "data.contributions": [{"path": str(folder / "contribution.csv")}],
        "data.label": "species",
        # Of the benchmark's 119 rows Dream changes the answers for 24.
        "delta.minimum_discordant_rows": "20",
    }


def rehearse(
    config: hokusai.PipelineConfig, folder: Path, *, journal: MemoryJournal | None = None, store: str = NOWHERE
) -> DeltaReport:
    """Evaluate with tracking to nowhere."""
    identity = EvaluationIdentity(
        project="test", evaluation="e", registered_model="m", delta_file=folder / "out" / "delta.json"
    )
    tracker = Tracker(journal or MemoryJournal(), evaluation="e", run_name="rehearsal")
    with TableReader() as reader:
        return evaluate_contribution(
            config, identity=identity, tracker=tracker, registry=ModelRegistry(store), reader=reader, now=NOW
        )


def evaluate(folder: Path, contribution: pd.DataFrame, **arguments: Any) -> DeltaReport:
    """Evaluate tables; arguments with a dot in their name are settings."""
    places = {name: arguments.pop(name) for name in ("base", "benchmark") if name in arguments}
    flags = tables(folder, contribution, **places) | arguments
    return rehearse(load_config(None, flags=flags, environment={}).config, folder)


def delta(report: DeltaReport, name: str) -> MetricDelta:
    return next(each for each in report.deltas if each.metric.name == name)


def everything(report: DeltaReport) -> dict[str, Any]:
    """Return what a report says, without where it was recorded."""
    values = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    return {name: value for name, value in values.items() if name not in ("identity", "tracking", "statement")}


# --- with and without tracking ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Tracked:
    """A tracked evaluation of Dream, whose model others may compare with."""

    folder: Path
    config: hokusai.PipelineConfig
    report: DeltaReport
    client: MlflowClient

    @property
    def run_id(self) -> str:
        """The id of the run that logged the candidate."""
        assert self.report.tracking is not None
        return next(run.run_id or "" for run in self.report.tracking.runs if run.name == "train_new_model")

    @property
    def model_folder(self) -> Path:
        """The folder in which MLflow keeps the candidate."""
        (file,) = (self.folder / "mlartifacts").rglob("MLmodel")
        return file.parent


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    folder = tmp_path_factory.mktemp("tracked")
    config = penguins(folder)
    report = hokusai.run(config)
    return Tracked(folder, config, report, MlflowClient(tracking_uri=config.tracking.uri))


def test_a_rehearsal_reports_and_records_the_same_as_a_tracked_evaluation(tracked: Tracked, tmp_path: Path) -> None:
    journal = MemoryJournal()
    rehearsal = rehearse(tracked.config, tmp_path, journal=journal)
    made = [dataclasses.replace(version, created="") for version in tracked.report.datasets]
    # Only a tracked evaluation has a store that knows of earlier ones.
    apart = {"datasets": None, "history": None}
    assert everything(rehearsal) | apart == everything(tracked.report) | apart
    assert [dataclasses.replace(version, created="") for version in rehearsal.datasets] == made
    assert rehearsal.tracking is None
    tracking = tracked.report.tracking
    assert tracking is not None
    assert tracking.shipped, tracking.problem
    assert [run.name for run in tracking.runs][1:] == list(STEPS)
    assert tracking.journal is not None
    entries = [entry.operation for entry in JournalReader(tracking.journal)]
    claims = {"statement.json", f"delta_output_zk_{tracked.report.identity.evaluation}.json"}
    surroundings = {ENVIRONMENT_NAME, REQUIREMENTS_NAME, *claims}
    recorded = [
        each
        for each in entries
        if not isinstance(each, (OpenJournal, CloseJournal))
        # Only a tracked evaluation says from which checkout it was started, and what it was made with, and claims it.
        and not (isinstance(each, SetTags) and CODE_COMMIT_TAG in each.tags)
        and not (isinstance(each, LogArtifact) and each.path in surroundings)
        and not (isinstance(each, LogMetrics) and "history.evaluations" in each.metrics)
    ]
    assert [type(each) for each in recorded] == [type(each) for each in journal.operations]
    parameters = [each.parameters for each in recorded if isinstance(each, LogParameters)]
    assert parameters == [each.parameters for each in journal.operations if isinstance(each, LogParameters)]
    assert (tmp_path / "out" / "delta.json").is_file()


def test_a_store_far_from_the_current_folder_leaves_nothing_in_it(tracked: Tracked) -> None:
    assert tracked.folder != Path.cwd()
    assert list(Path.cwd().iterdir()) == []
    assert {path.name for path in tracked.folder.iterdir()} - {"mlflow.db-shm", "mlflow.db-wal"} == {
        "mlflow.db",
        "mlartifacts",
        "journals",
    }


def test_a_report_is_frozen_to_its_last_part(tracked: Tracked) -> None:
    report = tracked.report
    parts: list[Any] = [report, report.decision, report.identity, report.tracking]
    parts += [*report.deltas, *report.datasets, *report.counts, *report.undefined, report.deltas[0].metric]
    for part in parts:
        name = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, None)
    assert hash(report.decision) == hash(dataclasses.replace(report.decision))


def test_random_trainers_give_the_same_report_again(tmp_path: Path) -> None:
    training = hokusai.TrainingSettings(
        estimator="RandomForestClassifier", parameters={"n_estimators": 5, "max_depth": 4}, seeds=3
    )
    config = penguins(tmp_path, training=training)
    first, second = rehearse(config, tmp_path), rehearse(config, tmp_path)
    assert everything(first) == everything(second)
    assert first.decision.outcome == "accept"


REFUSALS: list[tuple[dict[str, Any], type[hokusai.HokusaiError], int]] = [
    ({"contribution": TORGERSEN, "benchmark": BENCHMARK.head(1)}, DataError, 2),
    ({"contribution": DREAM.drop(columns="body_mass_g")}, SchemaMismatchError, 2),
    ({"contribution": BENCHMARK, "data.benchmark_overlap": "refuse"}, BenchmarkLeakError, 2),
    ({"baseline.source": "models:/nobody/1"}, ModelNotFoundError, 1),
    ({"training.parameters": "{ C = -1.0 }"}, ModelError, 3),
]


def test_a_refused_evaluation_leaves_no_run_running_and_no_delta_file(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracking = {"tracking.uri": uri, "tracking.journal": str(tmp_path / "journals")}
    shipping = ShippingProcess(uri, hokusai.TrackingSettings(uri=uri))
    try:
        for number, (settings, kind, _) in enumerate(REFUSALS):
            folder = tmp_path / str(number)
            folder.mkdir()
            rest = dict(settings)
            contribution = rest.pop("contribution", DREAM)
            benchmark = rest.pop("benchmark", BENCHMARK)
            flags = tables(folder, contribution, benchmark=benchmark) | tracking | rest
            flags |= {"delta.output": str(folder / "delta.json"), "tracking.run_name": str(number)}
            with pytest.raises(hokusai.HokusaiError) as caught:
                hokusai.run(load_config(None, flags=flags, environment={}).config, shipping=shipping)
            assert type(caught.value) is kind
            assert {path.name for path in folder.iterdir()} == {"base.csv", "benchmark.csv", "contribution.csv"}
    finally:
        shipping.close()
    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()], "")
    assert {run.info.status for run in runs} == {"FINISHED", "FAILED"}
    assert client.search_model_versions("") == []
    for number, (_, kind, step) in enumerate(REFUSALS):
        (parent,) = [run for run in runs if run.info.run_name == str(number)]
        children = {
            run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
        }
        statuses = {name: run.info.status for name, run in children.items()}
        assert statuses == dict.fromkeys(STEPS[: step - 1], "FINISHED") | {STEPS[step - 1]: "FAILED"}
        assert parent.info.status == "FAILED"
        for run in (parent, children[STEPS[step - 1]]):
            assert run.info.end_time >= run.info.start_time
            assert run.data.tags["hokusai.error"] == kind.__name__


def test_a_wrong_name_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"training": hokusai.TrainingSettings(estimator="Magic")},
        {"delta": hokusai.DeltaSettings(metric="luck")},
        {"evaluation": hokusai.EvaluationSettings(metrics=("rmse",))},
    ]
    for sections in wrong:
        with pytest.raises(ConfigurationError):
            hokusai.run(penguins(tmp_path, **sections))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_the_runs_as_killed(tmp_path: Path) -> None:
    class Impatient:
        """Somebody who presses Ctrl-C when training begins."""

        def run_started(self, key: str, name: str) -> None:
            del key
            if name == "train_new_model":
                raise KeyboardInterrupt

        def run_ended(self, key: str, name: str, status: str) -> None:
            del key, name, status

    journal = MemoryJournal()
    tracker = Tracker(journal, evaluation="e", run_name="r", listener=Impatient())
    identity = EvaluationIdentity(project="p", evaluation="e", registered_model="m", delta_file=tmp_path / "delta.json")
    registry = ModelRegistry(NOWHERE)
    with TableReader() as reader, pytest.raises(KeyboardInterrupt):
        evaluate_contribution(
            penguins(tmp_path), identity=identity, tracker=tracker, registry=registry, reader=reader, now=NOW
        )
    ended = {each.run: each.status for each in journal.operations if isinstance(each, EndRun)}
    assert ended["e"] == "KILLED"
    assert not (tmp_path / "delta.json").exists()


# --- tasks and trainers ----------------------------------------------------------------------------------------------


def test_regression_reports_gains_towards_better_in_the_labels_unit(tmp_path: Path) -> None:
    settings = {"data.label": "body_mass_g", "training.estimator": "Ridge"}
    report = evaluate(tmp_path, DREAM, **settings)
    assert [each.metric.name for each in report.deltas] == ["rmse", "mae", "median_absolute_error", "r2", "mape"]
    rmse = report.delta
    assert rmse.metric.name == "rmse"
    assert rmse.candidate < rmse.baseline
    assert rmse.gain == pytest.approx(rmse.baseline - rmse.candidate)
    assert rmse.gain_lower is not None
    assert rmse.gain_upper is not None
    assert 0 < rmse.gain_lower < rmse.gain < rmse.gain_upper
    assert report.decision.outcome == "accept"
    # The bar is in the label's unit: grams.
    above = evaluate(tmp_path, DREAM, **settings, **{"delta.minimum_gain": str(rmse.gain_upper + 1)})
    assert above.decision.outcome == "reject"
    # Grams taken for kilograms make it worse.
    worse = evaluate(tmp_path, DREAM.assign(body_mass_g=DREAM["body_mass_g"] / 1000), **settings)
    assert worse.decision.outcome == "reject"
    assert worse.delta.gain < 0


@pytest.mark.parametrize("estimator", ["HistGradientBoostingClassifier", "RandomForestClassifier"])
def test_two_classes_with_a_random_trainer_are_fitted_once_per_seed(tmp_path: Path, estimator: str) -> None:
    base, dream, benchmark = (
        table.assign(species=table["species"] == "Chinstrap") for table in (BASE, DREAM, BENCHMARK)
    )
    base.loc[:4, "species"] = True
    size = {"HistGradientBoostingClassifier": "max_iter", "RandomForestClassifier": "n_estimators"}[estimator]
    flags = tables(tmp_path, dream, base=base, benchmark=benchmark)
    flags |= {"training.estimator": estimator, "training.seeds": "3", "training.parameters": f"{{ {size} = 10 }}"}
    journal = MemoryJournal()
    report = rehearse(load_config(None, flags=flags, environment={}).config, tmp_path, journal=journal)
    assert report.decision.outcome == "accept"
    # A control that calls nothing a Chinstrap has no precision.
    assert {each.metric.name for each in report.deltas} >= {"accuracy", "recall", "roc_auc"}
    assert report.delta.degrees_of_freedom is not None
    series = [
        operation.step
        for operation in journal.operations
        if isinstance(operation, LogMetrics) and "candidate.accuracy.per_seed" in operation.metrics
    ]
    assert series == [0, 1, 2]


def test_too_few_seeds_of_a_random_trainer_decide_nothing(tmp_path: Path) -> None:
    report = evaluate(tmp_path, DREAM, **{"training.estimator": "DecisionTreeClassifier", "training.seeds": "2"})
    assert report.decision.outcome == "not enough evidence"
    assert "at least 3 seeds" in report.decision.reason


def test_the_bar_is_on_the_whole_interval(tmp_path: Path) -> None:
    gain = evaluate(tmp_path, DREAM).delta
    assert gain.gain_lower is not None
    below = evaluate(tmp_path, DREAM, **{"delta.minimum_gain": str(gain.gain_lower - 0.001)})
    inside = evaluate(tmp_path, DREAM, **{"delta.minimum_gain": str(gain.gain_lower + 0.001)})
    assert (below.decision.outcome, inside.decision.outcome) == ("accept", "not enough evidence")
    assert below.deltas == inside.deltas


# --- rows that are not new -------------------------------------------------------------------------------------------


def test_a_copy_of_the_base_is_rejected_because_nothing_in_it_is_new(tmp_path: Path) -> None:
    report = evaluate(tmp_path, BASE)
    assert report.decision.outcome == "reject"
    assert report.decision.reason.startswith("no contributed row is new")
    assert (report.counts[1].duplicates, report.counts[1].kept) == (108, 0)


def test_benchmark_rows_are_taken_out_and_counted_and_change_nothing(tmp_path: Path) -> None:
    leaking = pd.concat([DREAM, BENCHMARK.head(7), DREAM.head(3)])
    report = evaluate(tmp_path, leaking)
    count = report.counts[1]
    assert (count.offered, count.in_benchmark, count.duplicates, count.kept) == (90, 7, 3, 80)
    clean = evaluate(tmp_path, DREAM)
    assert report.deltas == clean.deltas
    integrated = [each.digest for each in (*report.datasets, *clean.datasets) if each.context == "integrated"]
    assert integrated[0] == integrated[1]


def test_benchmark_rows_are_refused_where_the_policy_says_so(tmp_path: Path) -> None:
    leaking = pd.concat([DREAM, BENCHMARK.head(7)])
    with pytest.raises(BenchmarkLeakError) as caught:
        evaluate(tmp_path, leaking, **{"data.benchmark_overlap": "refuse"})
    assert caught.value.rows == 7
    assert caught.value.source.endswith("contribution.csv")


def test_a_leak_in_other_types_and_column_order_is_found_as_well(tmp_path: Path) -> None:
    leaking = BENCHMARK[[*FEATURES[::-1], "species"]].astype(dict.fromkeys(FEATURES, float)).assign(note="new")
    report = evaluate(tmp_path, leaking)
    assert report.counts[1].in_benchmark == len(BENCHMARK)


def test_base_rows_that_stand_in_the_benchmark_are_taken_out_of_both_arms(tmp_path: Path) -> None:
    report = evaluate(tmp_path, DREAM, base=pd.concat([BASE, BENCHMARK.head(5)]))
    assert (report.counts[0].in_benchmark, report.counts[0].kept) == (5, 108)
    assert report.delta.baseline == 95 / 119


def test_a_base_that_is_all_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every row stands in the benchmark"):
        evaluate(tmp_path, DREAM, base=BENCHMARK)


# --- odd tables ------------------------------------------------------------------------------------------------------


def test_a_missing_column_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatchError) as caught:
        evaluate(tmp_path, DREAM.drop(columns=["body_mass_g", "species"]))
    assert caught.value.missing == ("body_mass_g", "species")


def test_an_extra_column_is_left_out_and_never_recorded(tmp_path: Path) -> None:
    flags = tables(tmp_path, DREAM.assign(email="someone@example.org"))
    journal = MemoryJournal()
    report = rehearse(load_config(None, flags=flags, environment={}).config, tmp_path, journal=journal)
    assert report.deltas == evaluate(tmp_path, DREAM).deltas
    recorded = b"".join(journal.staged.values()) + repr(journal.operations).encode()
    assert b"bill_length_mm" in recorded
    assert b"email" not in recorded
    assert b"someone@example.org" not in recorded


def test_missing_values_are_filled_in_for_both_arms(tmp_path: Path) -> None:
    holes = DREAM.astype({"body_mass_g": float})
    holes.loc[::3, "body_mass_g"] = np.nan
    report = evaluate(tmp_path, holes, benchmark=BENCHMARK.astype({"body_mass_g": float}))
    assert report.decision.outcome == "accept"
    assert report.counts[1].kept == 80


@ESTIMATORS
def test_a_column_without_any_value_is_bearable_in_a_contribution_and_refused_in_the_base(
    tmp_path: Path, training: dict[str, str]
) -> None:
    empty = DREAM.assign(bill_depth_mm=np.nan)
    assert evaluate(tmp_path, empty, **training).counts[1].kept == 80
    with pytest.raises(DataError, match=r"column \'bill_depth_mm\' has no value in any row.*data\.exclude"):
        evaluate(tmp_path, DREAM, base=BASE.assign(bill_depth_mm=np.nan), **training)
    left_out = evaluate(
        tmp_path, DREAM, base=BASE.assign(bill_depth_mm=np.nan), **training, **{"data.exclude": "bill_depth_mm"}
    )
    assert left_out.counts[0].kept > 0


def test_a_class_that_only_the_contribution_has_is_no_reason_to_fail(tmp_path: Path) -> None:
    odd = DREAM.assign(species=DREAM["species"].replace("Adelie", "Emperor"))
    report = evaluate(tmp_path, odd)
    assert report.decision.metric == "accuracy"
    assert report.delta.candidate < report.delta.baseline + 0.2


def test_a_contribution_cannot_make_averages_over_three_classes_of_metrics_of_two(tmp_path: Path) -> None:
    two = {"base": BASE, "benchmark": BENCHMARK[BENCHMARK["species"] != "Chinstrap"]}
    odd = pd.concat([TORGERSEN, TORGERSEN.head(1).assign(species="Emperor")])
    with pytest.raises(DataError, match=r"contribution: has the class 'Emperor' of 'species', a third one where"):
        evaluate(tmp_path, odd, **two)
    assert delta(evaluate(tmp_path, TORGERSEN, **two), "f1").candidate > 0.9


def test_a_class_that_the_control_never_saw_makes_its_log_loss_undefined_with_the_reason(tmp_path: Path) -> None:
    report = evaluate(tmp_path, DREAM, **{"delta.metric": "log_loss"})
    assert [(each.name, each.arm) for each in report.undefined] == [("log_loss", "control")]
    assert "never saw the class 'Chinstrap'" in report.undefined[0].reason
    assert report.decision.outcome == "not enough evidence"
    assert report.undefined[0].reason in report.decision.reason
    with pytest.raises(KeyError):
        _ = report.delta


def test_base_data_of_one_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least two classes"):
        evaluate(tmp_path, DREAM, base=BASE[BASE["species"] == "Gentoo"])


def test_a_benchmark_of_one_class_leaves_auroc_undefined(tmp_path: Path) -> None:
    report = evaluate(tmp_path, TORGERSEN, benchmark=BENCHMARK[BENCHMARK["species"] == "Gentoo"])
    assert {each.name for each in report.undefined} == {"balanced_accuracy", "roc_auc"}
    assert delta(report, "accuracy").candidate == 1.0


def test_a_benchmark_of_one_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has one row, expected at least two"):
        evaluate(tmp_path, TORGERSEN, benchmark=BENCHMARK.head(1))


@pytest.mark.parametrize(
    "values", [("Gentoo", "other"), ("true", "false"), (True, False), (1, 0), (1.0, 0.0), ("Ä 1", "µ,\n2")]
)
def test_the_kind_of_the_labels_does_not_change_the_scores(tmp_path: Path, values: tuple[Any, Any]) -> None:
    def two_classes(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(species=np.where(table["species"] == "Gentoo", *values))

    report = evaluate(tmp_path, two_classes(DREAM), base=two_classes(BASE), benchmark=two_classes(BENCHMARK))
    assert report.delta.baseline == pytest.approx(113 / 119)
    assert report.delta.candidate == 1.0


@ESTIMATORS
def test_categories_that_training_never_saw_are_scored_all_the_same(tmp_path: Path, training: dict[str, str]) -> None:
    report = evaluate(
        tmp_path,
        DREAM.assign(island="Dream"),
        base=BASE.assign(island=np.array(["Biscoe", None] * 54, dtype=object)),
        benchmark=BENCHMARK.assign(island="Atlantis"),
        **training,
    )
    assert report.delta.candidate > 0.5
    assert not [each for each in report.undefined if each.name == "accuracy"]
    assert dict(report.datasets[0].columns)["island"] == "string"


def test_a_text_among_numbers_is_refused_with_column_and_row(tmp_path: Path) -> None:
    heavy = DREAM.astype({"body_mass_g": object})
    heavy.loc[4, "body_mass_g"] = "heavy"
    with pytest.raises(ValueMismatchError) as caught:
        evaluate(tmp_path, heavy)
    assert (caught.value.column, caught.value.row, caught.value.value) == ("body_mass_g", 5, "heavy")


def test_several_contributions_are_added_together_and_counted_apart(tmp_path: Path) -> None:
    flags = tables(tmp_path, DREAM)
    TORGERSEN.to_csv(tmp_path / "torgersen.csv", index=False)
    flags["data.contributions"] = [
        {"path": str(tmp_path / "contribution.csv")},
        {"path": str(tmp_path / "torgersen.csv")},
        {"path": str(tmp_path / "contribution.csv"), "name": "again"},
    ]
    report = rehearse(load_config(None, flags=flags, environment={}).config, tmp_path)
    assert [(each.name, each.kept, each.duplicates) for each in report.counts] == [
        ("base", 108, 0),
        ("contribution", 80, 0),
        ("torgersen", 35, 0),
        ("again", 0, 80),
    ]
    flags["data.contributions"][2]["name"] = "torgersen"
    with pytest.raises(DataError, match="the name 'torgersen' is taken"):
        rehearse(load_config(None, flags=flags, environment={}).config, tmp_path)


# --- a baseline model ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def addresses(tracked: Tracked) -> dict[str, str]:
    """The same model by every kind of address."""
    tracked.client.set_registered_model_alias("hokusai-penguins", "best", "1")
    copy = tracked.folder / "journals" / "a.model.skops"
    shutil.copy(tracked.model_folder / "model.skops", copy)
    return {
        "file": str(copy),
        "folder": str(tracked.model_folder),
        "version": "models:/hokusai-penguins/1",
        "alias": "models:/hokusai-penguins@best",
        "run": f"runs:/{tracked.run_id}/candidate",
    }


@pytest.mark.parametrize("kind", ["file", "folder", "version", "alias", "run"])
def test_a_baseline_model_is_compared_with_by_any_address(
    kind: str, addresses: dict[str, str], tracked: Tracked, tmp_path: Path
) -> None:
    config = penguins(tmp_path, "torgersen", baseline=hokusai.BaselineSettings(source=addresses[kind]))
    journal = MemoryJournal()
    report = rehearse(config, tmp_path, journal=journal, store=tracked.config.tracking.uri)
    (accuracy,) = [each for each in report.baseline_deltas if each.metric.name == "accuracy"]
    assert (accuracy.reference, accuracy.baseline, accuracy.candidate) == ("baseline", 1.0, 95 / 119)
    assert accuracy.gain_upper is not None
    assert accuracy.gain_upper < 0
    assert mlflow.get_tracking_uri() != tracked.config.tracking.uri
    # The decision stays with the control: the delta is the data's.
    assert report.delta.gain == 0.0
    assert report.decision.outcome == "not enough evidence"
    tags = [getattr(each, "tags", {}) for each in journal.operations]
    (digest,) = [each["hokusai.baseline.sha256"] for each in tags if "hokusai.baseline.sha256" in each]
    assert digest == file_sha256(tracked.model_folder / "model.skops")
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.slow
def test_a_baseline_model_is_fetched_from_a_server(mlflow_server_process: Any, tmp_path: Path) -> None:
    name = f"baseline-{tmp_path.name}"
    config = penguins(tmp_path)
    tracking = dataclasses.replace(
        config.tracking, uri=mlflow_server_process.uri, experiment=name, registered_model=name, wait_seconds=60.0
    )
    tracking_summary = hokusai.run(dataclasses.replace(config, tracking=tracking)).tracking
    assert tracking_summary is not None
    assert tracking_summary.shipped, tracking_summary.problem
    MlflowClient(tracking_uri=mlflow_server_process.uri).set_registered_model_alias(name, "best", "1")
    (run_id,) = [run.run_id for run in tracking_summary.runs if run.name == "train_new_model"]
    for source in (f"models:/{name}/1", f"models:/{name}@best", f"runs:/{run_id}/candidate"):
        compared = penguins(tmp_path, "torgersen", baseline=hokusai.BaselineSettings(source=source))
        report = rehearse(compared, tmp_path, store=mlflow_server_process.uri)
        (accuracy,) = [each for each in report.baseline_deltas if each.metric.name == "accuracy"]
        assert (accuracy.baseline, accuracy.candidate) == (1.0, 95 / 119)


def test_a_store_that_is_not_there_is_not_made_by_looking_for_a_model(tmp_path: Path) -> None:
    config = penguins(tmp_path, baseline=hokusai.BaselineSettings(source="models:/penguins/1"))
    with pytest.raises(ModelError, match=r"no tracking store at sqlite:///.* yet"):
        rehearse(config, tmp_path, store=f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    "source",
    ["models:/nobody/1", "models:/hokusai-penguins/99", "models:/hokusai-penguins@nobody", "runs:/0123/candidate"],
)
def test_a_model_that_is_not_there_is_refused_by_its_address(source: str, tracked: Tracked, tmp_path: Path) -> None:
    config = penguins(tmp_path, baseline=hokusai.BaselineSettings(source=source))
    with pytest.raises(ModelNotFoundError, match=f"^no model '{source}' in sqlite:"):
        rehearse(config, tmp_path, store=tracked.config.tracking.uri)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.skops"])
def test_a_model_path_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    config = penguins(tmp_path, baseline=hokusai.BaselineSettings(source=str(tmp_path / name)))
    with pytest.raises(ModelError, match=name):
        rehearse(config, tmp_path)


def test_a_baseline_model_that_needs_other_columns_is_refused(addresses: dict[str, str], tmp_path: Path) -> None:
    flags = tables(tmp_path, DREAM) | {"baseline.source": addresses["file"], "data.exclude": "bill_length_mm"}
    with pytest.raises(ModelSignatureError, match="needs the column 'bill_length_mm'"):
        rehearse(load_config(None, flags=flags, environment={}).config, tmp_path)


def test_a_classifier_is_no_baseline_for_a_regression(addresses: dict[str, str], tmp_path: Path) -> None:
    numbers = [table.assign(species=np.arange(len(table)) * 1.5) for table in (BASE, DREAM, BENCHMARK)]
    flags = tables(tmp_path, numbers[1], base=numbers[0], benchmark=numbers[2])
    flags |= {"baseline.source": addresses["file"], "training.estimator": "Ridge"}
    with pytest.raises(DataError, match="does not do regression"):
        rehearse(load_config(None, flags=flags, environment={}).config, tmp_path)


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        """Remember which."""
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what the unpickler is to call."""
        return os.mkdir, (str(self.proof),)


def hostile_folder(folder: Path, proof: Path, *, kept_as: str, file: str) -> Path:
    """Write a model folder whose model file runs code when it is unpickled."""
    folder.mkdir()
    (folder / file).write_bytes(pickle.dumps(Payload(proof)))
    flavor = {"pickled_model": file, "serialization_format": kept_as, "sklearn_version": "1.9.1"}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"sklearn": flavor}}), encoding="utf-8")
    return folder


def refused(source: str | Path, tmp_path: Path, *, store: str = NOWHERE) -> ModelError:
    """Return the error that a baseline is refused with."""
    config = penguins(tmp_path, baseline=hokusai.BaselineSettings(source=str(source)))
    with pytest.raises(ModelError) as caught:
        rehearse(config, tmp_path, store=store)
    return caught.value


def test_the_payload_would_show(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "proof")))  # noqa: S301  (our own)
    assert (tmp_path / "proof").is_dir()


@pytest.mark.parametrize("kept_as", ["pickle", "cloudpickle", "joblib", "anything"])
def test_a_pickled_mlflow_model_is_refused_and_never_loaded(kept_as: str, tmp_path: Path) -> None:
    folder = hostile_folder(tmp_path / "model", tmp_path / "proof", kept_as=kept_as, file="model.pkl")
    error = refused(folder, tmp_path)
    assert isinstance(error, UntrustedModelError)
    assert kept_as in str(error)
    assert not (tmp_path / "proof").exists()


def test_a_pickled_model_of_a_run_is_refused_and_never_loaded(tracked: Tracked, tmp_path: Path) -> None:
    folder = hostile_folder(tmp_path / "model", tmp_path / "proof", kept_as="cloudpickle", file="model.pkl")
    tracked.client.log_artifacts(tracked.run_id, str(folder), "hostile")
    address = f"runs:/{tracked.run_id}/hostile"
    error = refused(address, tmp_path, store=tracked.config.tracking.uri)
    assert isinstance(error, UntrustedModelError)
    assert error.source == address
    assert not (tmp_path / "proof").exists()


def test_a_pickle_that_calls_itself_skops_is_refused_and_never_loaded(tmp_path: Path) -> None:
    folder = hostile_folder(tmp_path / "model", tmp_path / "proof", kept_as="skops", file="model.skops")
    for place in (folder, folder / "model.skops"):
        error = refused(place, tmp_path)
        assert isinstance(error, UntrustedModelError)
        assert "a pickle" in str(error)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.pickle", "model.joblib", "MODEL.PKL"])
def test_a_pickle_file_is_refused_and_never_loaded(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Payload(tmp_path / "proof")))
    assert isinstance(refused(tmp_path / name, tmp_path), UntrustedModelError)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    "description",
    ["", "flavors: {}", "flavors: {sklearn: {}}", "[1", "flavors: {sklearn: {pickled_model: 3}}", "- a", "3"],
)
def test_a_folder_that_is_no_model_is_refused(description: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text(description, encoding="utf-8")
    assert isinstance(refused(tmp_path / "model", tmp_path), ModelError)


def test_a_model_folder_cannot_point_outside_itself(tmp_path: Path) -> None:
    folder = hostile_folder(tmp_path / "model", tmp_path / "proof", kept_as="skops", file="model.skops")
    description = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    description["flavors"]["sklearn"]["pickled_model"] = "../outside.skops"
    (folder / "MLmodel").write_text(yaml.safe_dump(description), encoding="utf-8")
    shutil.copy(folder / "model.skops", tmp_path / "outside.skops")
    (folder / "model.skops").unlink()
    assert str(folder) in str(refused(folder, tmp_path))
