"""What a person sees: MLflow's own UI, in a real headless browser, on runs of ours that the server for tests serves.

The pictures are kept in ``build/screenshots``. ``make browser`` installs what is needed; CI must have it.
"""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from hokusai.testing.example_runs import ExampleRuns
from hokusai.testing.mlflow_server import MockMlflowServer
from hokusai.tracking.naming import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hokusai.records import DeltaReport

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    # Even what the browser might ask for itself is found nowhere.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_MILLISECONDS = 60_000


def _chromium() -> str:
    """Return the path of the browser; without one the test is skipped, or fails in CI."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if path is None:
        reason = "no Chromium on this machine: `make browser` installs it on Debian, or says what to install"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser's path."""
    return _chromium()


@pytest.fixture(scope="module")
def served(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MockMlflowServer, ExampleRuns]]:
    """A server, and builders of examples on it; not before it is known that there is a browser."""
    assert chromium
    with MockMlflowServer() as server, ExampleRuns(server.uri, tmp_path_factory.mktemp("journals")) as runs:
        yield server, runs


@pytest.fixture(scope="module")
def finished(served: tuple[MockMlflowServer, ExampleRuns]) -> DeltaReport:
    """A finished evaluation, the oldest run of the list; a failed and a running one are above it."""
    report = served[1].finished("dream")
    served[1].failed()
    served[1].running()
    return report


@pytest.fixture(scope="module")
def page(chromium: str) -> Iterator[Page]:
    """A page of a browser, which must not ask anybody but the server for tests."""
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        try:
            opened = browser.new_page(viewport={"width": 1600, "height": 1000}, locale="en-GB", timezone_id="UTC")
            opened.set_default_timeout(_MILLISECONDS)
            opened.on("request", lambda request: asked.append(request.url))
            yield opened
        finally:
            browser.close()
    remote = {urlsplit(url) for url in asked if urlsplit(url).scheme in ("http", "https", "ws", "wss")}
    assert len(remote) > 10, "the requests of the page are not seen"
    assert {url.hostname for url in remote} == {"127.0.0.1"}


def _run_id(report: DeltaReport, step: str) -> str:
    """Return the id of a step's run, or of the parent run for no step."""
    assert report.tracking is not None
    parent, *steps = report.tracking.runs
    found = next(run for run in steps if run.name == step) if step else parent
    assert found.run_id is not None
    return found.run_id


def _open(page: Page, address: str) -> None:
    page.goto("about:blank")  # A change of the part after # alone would load nothing.
    page.goto(address)


def _picture(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.mouse.move(0, 0)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path)
    assert path.stat().st_size > 20_000, "an empty page is a small picture"


def test_the_run_list_shows_the_evaluation_and_below_it_its_five_steps_in_their_order(
    page: Page, served: tuple[MockMlflowServer, ExampleRuns], finished: DeltaReport
) -> None:
    server, runs = served
    parent = runs.client.get_run(_run_id(finished, "")).info
    _open(page, f"{server.uri}/#/experiments/{parent.experiment_id}/runs?workflowType=machine_learning")
    # MLflow offers its assistant over a third of the page.
    page.get_by_role("button", name="Close", exact=True).click()
    names = page.locator("[role=gridcell][col-id='attributes.`Run Name`']")
    expect(names).to_have_count(3, timeout=_MILLISECONDS)
    expect(names.last).to_contain_text(parent.run_name)
    _picture(page, "run-list")

    names.last.get_by_role("button").click()  # the + before the name
    expect(names).to_have_count(8, timeout=_MILLISECONDS)
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
    _picture(page, "run-list-with-steps")


def test_the_page_of_a_run_shows_what_was_recorded(
    page: Page, served: tuple[MockMlflowServer, ExampleRuns], finished: DeltaReport
) -> None:
    server, runs = served
    run = runs.client.get_run(_run_id(finished, ""))
    _open(page, f"{server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    expect(page.get_by_role("heading", name=run.info.run_name)).to_be_visible(timeout=_MILLISECONDS)
    expect(page.get_by_text("Finished", exact=True)).to_be_visible()
    expect(page.get_by_text("accept: the gain in accuracy is +0.202", exact=False).first).to_be_visible()
    for step in STEPS:
        expect(page.get_by_role("link", name=step)).to_be_visible()
    expect(page.get_by_text("base (", exact=False).first).to_be_visible()
    expect(page.get_by_text(f"Parameters ({len(run.data.params)})")).to_be_visible()
    expect(page.get_by_text(f"Metrics ({len(run.data.metrics)})")).to_be_visible()
    for name, value in (("delta.metric", "accuracy"), ("delta.accuracy", str(run.data.metrics["delta.accuracy"]))):
        row = page.get_by_role("row").filter(has=page.get_by_text(name, exact=True))
        expect(row.get_by_text(value, exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="hokusai-penguins").last).to_be_visible()
    _picture(page, "run")


def test_the_page_of_a_step_shows_its_artifacts(
    page: Page, served: tuple[MockMlflowServer, ExampleRuns], finished: DeltaReport
) -> None:
    server, runs = served
    step = runs.client.get_run(_run_id(finished, "compare_and_output_delta")).info
    _open(page, f"{server.uri}/#/experiments/{step.experiment_id}/runs/{step.run_id}/artifacts")
    expect(page.get_by_text("delta.json", exact=True).first).to_be_visible(timeout=_MILLISECONDS)
    page.get_by_text("delta.json", exact=True).first.click()
    expect(page.get_by_text("hokusai-delta/1", exact=False).first).to_be_visible(timeout=_MILLISECONDS)
    _picture(page, "artifacts-of-a-step")
