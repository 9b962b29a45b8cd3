"""The example runs are what they say: real trees in the store, finished, failed and running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hokusai.testing.completeness import check_run_complete
from hokusai.testing.example_runs import ExampleRuns
from hokusai.tracking.naming import STEPS
from hokusai.tracking.sqlite_store import create_sqlite_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.entities import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleRuns]:
    """Builders on a store that all tests of this module share."""
    folder = tmp_path_factory.mktemp("example-runs")
    create_sqlite_store(folder / "mlflow.db")
    with ExampleRuns(f"sqlite:///{folder / 'mlflow.db'}", folder / "journals") as examples:
        yield examples


def tree(runs: ExampleRuns, parent: str) -> dict[str, Run]:
    """Return the children of a run by name."""
    experiment = runs.client.get_run(parent).info.experiment_id
    found = runs.client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    return {run.info.run_name: run for run in found}


def aliased(runs: ExampleRuns, name: str, alias: str) -> str:
    """Return the version that an alias leads to; MLflow's SQL store gives a number for what it types as text."""
    return str(runs.client.get_model_version_by_alias(name, alias).version)


def test_a_finished_example_is_a_complete_evaluation_with_a_model(runs: ExampleRuns) -> None:
    report = runs.finished(experiment="finished")
    assert report.tracking is not None
    parent = report.tracking.runs[0].run_id
    assert parent is not None
    assert check_run_complete(parent, store=runs.client) == ()
    experiment = runs.client.get_experiment_by_name("finished")
    assert experiment is not None
    assert runs.client.get_run(parent).info.experiment_id == experiment.experiment_id
    assert list(runs.client.search_model_versions(f"name = '{report.identity.registered_model}'"))


def test_examples_stand_in_the_experiment_of_the_penguins_unless_another_is_named(runs: ExampleRuns) -> None:
    parent = runs.running()
    experiment = runs.client.get_experiment(runs.client.get_run(parent).info.experiment_id)
    assert experiment.name == "hokusai-penguins"


def test_a_failed_example_failed_in_its_second_step(runs: ExampleRuns) -> None:
    parent = runs.failed(experiment="failed")
    assert runs.client.get_run(parent).info.status == "FAILED"
    assert {name: run.info.status for name, run in tree(runs, parent).items()} == {
        STEPS[0]: "FINISHED",
        STEPS[1]: "FAILED",
    }
    assert check_run_complete(parent, store=runs.client)


def test_a_running_example_is_in_its_third_step_for_as_long_as_the_builders_live(runs: ExampleRuns) -> None:
    parent = runs.running(experiment="running")
    statuses = {name: run.info.status for name, run in tree(runs, parent).items()}
    assert statuses == {STEPS[0]: "FINISHED", STEPS[1]: "FINISHED", STEPS[2]: "RUNNING"}
    shown = runs.client.get_run(parent)
    assert (shown.info.status, shown.info.end_time) == ("RUNNING", None)


def test_two_examples_can_run_at_once(runs: ExampleRuns) -> None:
    assert len({runs.running(experiment="two"), runs.running(experiment="two")}) == 2


def test_a_history_goes_through_the_contributions_in_turn(runs: ExampleRuns) -> None:
    reports = runs.history(4, experiment="history")
    assert [report.decision.outcome for report in reports] == [
        "accept",
        "not enough evidence",
        "reject",
        "accept",
    ]
    experiment = runs.client.get_experiment_by_name("history")
    assert experiment is not None
    parents = [report.tracking.runs[0].run_id for report in reports if report.tracking]
    found = runs.client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    assert [run.info.run_id for run in found if "mlflow.parentRunId" not in run.data.tags] == parents


def test_a_registered_model_is_what_its_aliases_lead_to(runs: ExampleRuns) -> None:
    name, version = runs.registered_model(("champion", "blue"))
    for alias in ("champion", "blue"):
        assert aliased(runs, name, alias) == version
    another, newer = runs.registered_model()
    assert (another, int(newer)) == (name, int(version) + 1)
    assert (aliased(runs, name, "champion"), aliased(runs, name, "blue")) == (newer, version)


def test_the_end_of_the_builders_lets_go_of_what_runs_and_leaves_it_running_in_the_store(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("ended")
    create_sqlite_store(folder / "mlflow.db")
    with ExampleRuns(f"sqlite:///{folder / 'mlflow.db'}", folder / "journals") as examples:
        parent = examples.running()
    assert examples.client.get_run(parent).info.status == "RUNNING"
