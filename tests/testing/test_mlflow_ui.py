"""What a person sees: MLflow's own UI, in a real headless browser, on runs of ours that the server for tests serves.

The pictures are kept in ``build/screenshots``. ``make browser`` installs what is needed; CI must have it.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect
from tests.testing.mlflow_pages import (
    browser_page,
    find_chromium,
    open_page,
    open_run,
    read_rows,
    read_tags,
    run_id,
    take_picture,
)

from hokusai.testing.example_runs import ExampleRuns
from hokusai.testing.mlflow_server import MockMlflowServer
from hokusai.tracking.naming import DECISION_TAG, EVALUATION_TAG, STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Outcome

    from hokusai.records import DeltaReport


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser's path."""
    return find_chromium()


@pytest.fixture(scope="module")
def served(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MockMlflowServer, ExampleRuns]]:
    """A server, and builders of examples on it; not before it is known that there is a browser."""
    assert chromium
    with MockMlflowServer() as server, ExampleRuns(server.uri, tmp_path_factory.mktemp("journals")) as runs:
        yield server, runs


@pytest.fixture(scope="module")
def finished(served: tuple[MockMlflowServer, ExampleRuns]) -> DeltaReport:
    """A finished evaluation, the oldest run of the list."""
    return served[1].finished("dream")


@pytest.fixture(scope="module")
def unfinished(served: tuple[MockMlflowServer, ExampleRuns], finished: DeltaReport) -> dict[str, str]:
    """A failed and a running evaluation above it: the ids of their parent runs, by their status on the page."""
    assert finished
    return {"Failed": served[1].failed(), "Running": served[1].running()}


@pytest.fixture(scope="module")
def page(chromium: str) -> Iterator[Page]:
    """A page of a browser."""
    with browser_page(chromium) as opened:
        yield opened


def test_the_run_list_shows_the_evaluation_and_below_it_its_five_steps_in_their_order(
    page: Page, served: tuple[MockMlflowServer, ExampleRuns], finished: DeltaReport, unfinished: dict[str, str]
) -> None:
    server, runs = served
    parent = runs.client.get_run(run_id(finished)).info
    # Without its last part MLflow opens what it has for language models' applications; a switch beside its logo.
    open_page(page, server.uri, f"/experiments/{parent.experiment_id}/runs?workflowType=machine_learning")
    names = page.locator("[role=gridcell][col-id='attributes.`Run Name`']")
    expect(names).to_have_count(1 + len(unfinished))
    expect(names.last).to_contain_text(parent.run_name)
    take_picture(page, "run-list")

    names.last.get_by_role("button").click()  # the + before the name
    expect(names).to_have_count(1 + len(unfinished) + len(STEPS))
    for step in STEPS:
        expect(page.get_by_role("link", name=step, exact=True)).to_be_visible()
    # The newest is on top; two that began in one millisecond may stand either way.
    children = runs.client.search_runs(
        [parent.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.run_id}'", order_by=["attributes.start_time"]
    )
    began = {child.info.run_name: child.info.start_time for child in children}
    boxes = {step: page.get_by_role("link", name=step, exact=True).bounding_box() for step in STEPS}
    heights = {step: box["y"] for step, box in boxes.items() if box}
    assert set(heights) == set(STEPS)
    for earlier, later in itertools.combinations(STEPS, 2):
        assert heights[earlier] > heights[later] or began[earlier] == began[later]
    take_picture(page, "run-list-with-steps")


def test_the_page_of_a_run_shows_every_parameter_metric_dataset_and_tag_as_recorded(
    page: Page, served: tuple[MockMlflowServer, ExampleRuns], finished: DeltaReport
) -> None:
    server, runs = served
    run = runs.client.get_run(run_id(finished))
    open_run(page, server.uri, run)
    expect(page.get_by_text("Finished", exact=True)).to_be_visible()
    expect(page.get_by_text("accept: the gain in accuracy is +0.202", exact=False).first).to_be_visible()
    for step in STEPS:
        expect(page.get_by_role("link", name=step)).to_be_visible()
    expect(page.get_by_role("link", name="hokusai-penguins").last).to_be_visible()

    expect(page.get_by_role("row")).to_have_count(2 + len(run.data.params) + len(run.data.metrics))
    shown = read_rows(page)
    assert (shown.pop("Metric"), shown.pop("Parameter")) == ("Value", "Value")
    assert {name: shown[name] for name in run.data.params} == run.data.params
    assert {name: float(shown[name]) for name in run.data.metrics} == run.data.metrics
    assert len(run.data.params) == 7
    assert {"control.accuracy", "candidate.accuracy", "delta.accuracy", "delta.accuracy.lower"} <= shown.keys()
    take_picture(page, "run")

    # One dataset is on the page, and how many more there are, which are listed on request.
    assert run.inputs is not None
    datasets = [f"{item.dataset.name} ({item.dataset.digest})" for item in run.inputs.dataset_inputs]
    assert [name.partition(" ")[0] for name in sorted(datasets)] == ["base", "benchmark", "dream", "integrated"]
    page.get_by_text(f"+{len(datasets) - 1}", exact=True).click()
    for dataset in datasets:
        expect(page.get_by_text(dataset, exact=True)).to_be_visible()
    take_picture(page, "run-datasets")
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("hokusai.")}
    assert len(tags) > 10
    assert read_tags(page) == tags


@pytest.mark.parametrize("status", ["Failed", "Running"])
def test_the_page_of_a_run_that_failed_or_goes_on_says_so(
    page: Page, served: tuple[MockMlflowServer, ExampleRuns], unfinished: dict[str, str], status: str
) -> None:
    server, runs = served
    run = runs.client.get_run(unfinished[status])
    assert run.info.status == status.upper()
    open_run(page, server.uri, run)
    expect(page.get_by_text(status, exact=True)).to_be_in_viewport()
    expect(page.get_by_text("Finished", exact=True)).to_have_count(0)
    steps = {"Failed": STEPS[:2], "Running": STEPS[:3]}[status]
    for step in STEPS:
        expect(page.get_by_role("link", name=step)).to_have_count(1 if step in steps else 0)
    if status == "Failed":
        assert read_tags(page)["hokusai.error"] == "DataError"
        expect(page.locator("code").get_by_text("DataError:", exact=False)).to_be_visible()
        expect(page.locator("code").get_by_text("'no_such_column'", exact=False)).to_be_visible()
    take_picture(page, f"run-{status.lower()}")


def test_the_page_of_the_last_step_shows_delta_statement_and_the_document_for_token_contracts(
    page: Page, served: tuple[MockMlflowServer, ExampleRuns], finished: DeltaReport
) -> None:
    server, runs = served
    step = runs.client.get_run(run_id(finished, "compare_and_output_delta"))
    open_run(page, server.uri, step, tab="artifacts")
    evaluation = finished.identity.evaluation
    for file, content in (
        ("delta.json", '"hokusai-delta/1"'),
        ("statement.json", '"https://in-toto.io/Statement/v1"'),
        (f"delta_output_zk_{evaluation}.json", '"schema_version": "1.0"'),
    ):
        page.get_by_text(file, exact=True).first.click()
        expect(page.get_by_text(f"/artifacts/{file}", exact=False)).to_be_visible()
        expect(page.get_by_text(content, exact=False).first).to_be_visible()
        expect(page.get_by_text(evaluation, exact=False).last).to_be_visible()
        take_picture(page, f"artifact-{file.partition('.')[0].removesuffix(f'_{evaluation}')}")


def test_the_page_of_a_promoted_version_shows_its_aliases_its_tags_and_what_was_decided(
    page: Page,
    served: tuple[MockMlflowServer, ExampleRuns],
    finished: DeltaReport,
    call: Callable[..., Outcome],
) -> None:
    server, runs = served
    name = finished.identity.registered_model
    promoted = call("model", "promote", name, "1", "--tracking-uri", server.uri)
    assert (promoted.code, promoted.err) == (0, "")
    version = runs.client.get_model_version(name, "1")
    assert set(version.aliases) == {"champion", "candidate", "baseline"}
    open_page(page, server.uri, f"/models/{name}/versions/1")
    expect(page.get_by_role("heading", name="Version 1")).to_be_visible()
    for alias in version.aliases:
        expect(page.get_by_text(re.compile(f"^@\\s{alias}$"))).to_be_visible()
    expect(page.get_by_text(f"accept: {finished.decision.reason}", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name=runs.client.get_run(run_id(finished)).info.run_name)).to_be_visible()
    expect(page.get_by_text("hokusai.decision", exact=True)).to_be_visible()
    shown = read_rows(page)
    assert {tag: shown.get(tag) for tag in version.tags} == version.tags
    assert (shown[DECISION_TAG], shown[EVALUATION_TAG]) == ("accept", finished.identity.evaluation)
    take_picture(page, "model-version")
