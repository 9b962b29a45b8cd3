"""MLflow's own UI in a headless browser: opens its pages, reads their tables, tags and charts, takes pictures."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.entities import Run

    from hokusai.records import DeltaReport

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
MILLISECONDS = 90_000
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
# What MLflow puts over its pages for whoever comes for the first time: its assistant, and news of its registry.
_SEEN_BEFORE = """
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("_mlflow_model_registry_promo_modal_dismissed_v1", "true");
"""
_POINT = re.compile(r"translate\((-?[\d.]+),(-?[\d.]+)\)")
_BAR = re.compile(r"M(-?[\d.]+),-?[\d.]+V-?[\d.]+H(-?[\d.]+)V")


def find_chromium() -> str:
    """Return the path of the browser; without one the test is skipped, or fails in CI."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if path is None:
        reason = "no Chromium on this machine: `make browser` installs it on Debian, or says what to install"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@contextmanager
def browser_page(chromium: str) -> Iterator[Page]:
    """Open a page of a browser, which must not ask anybody but the servers for tests."""
    asked: list[str] = []
    # How long an assertion waits for what a loaded machine draws late.
    expect.set_options(timeout=MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS, timeout=MILLISECONDS)
        try:
            page = browser.new_page(viewport={"width": 1600, "height": 1000}, locale="en-GB", timezone_id="UTC")
            page.set_default_timeout(MILLISECONDS)
            page.add_init_script(_SEEN_BEFORE)
            page.on("request", lambda request: asked.append(request.url))
            yield page
        finally:
            browser.close()
    remote = {urlsplit(url) for url in asked if urlsplit(url).scheme in ("http", "https", "ws", "wss")}
    assert {url.hostname for url in remote} <= {"127.0.0.1"}
    assert not asked or len(remote) > 10, "the requests of the page are not seen"


def open_page(page: Page, uri: str, address: str) -> None:
    """Open one of MLflow's pages, with nothing left of the one before."""
    page.goto("about:blank")  # A change of the part after # alone would load nothing.
    page.goto(f"{uri}/#{address}")


def open_run(page: Page, uri: str, run: Run, *, tab: str = "") -> None:
    """Open a tab of a run's page; the first without a name."""
    open_page(page, uri, f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{tab and f'/{tab}'}")
    expect(page.get_by_role("heading", name=run.info.run_name)).to_be_visible()


def take_picture(page: Page, name: str) -> None:
    """Keep what a person sees now."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.mouse.move(0, 0)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path)
    assert path.stat().st_size > 20_000, "an empty page is a small picture"


def run_id(report: DeltaReport, step: str = "") -> str:
    """Return the id of a step's run, or of the parent run for no step."""
    assert report.tracking is not None
    parent, *steps = report.tracking.runs
    found = next(run for run in steps if run.name == step) if step else parent
    assert found.run_id is not None
    return found.run_id


def read_rows(page: Page) -> dict[str, str]:
    """Return the second cell of every row of the page's tables, by the first."""
    script = "rows => rows.map(row => [...row.children].map(cell => cell.innerText.trim()))"
    rows = page.get_by_role("row").evaluate_all(script)
    return {row[0]: row[1] for row in rows if len(row) > 1}


def read_tags(page: Page) -> dict[str, str]:
    """Return the tags that a run's page shows; its style cuts off long ones, with the whole in their tooltips."""
    script = "tags => tags.map(tag => [tag.title, tag.innerText.slice(tag.innerText.indexOf(': ') + 2)])"
    return dict(page.locator("[role=status][title^='hokusai.']").evaluate_all(script))


def search_chart(page: Page, metric: str) -> Locator:
    """Let only charts of metrics of this name stand, and return its own when it is drawn."""
    page.get_by_placeholder("Search metric charts").fill(metric)
    card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has=page.get_by_text(metric, exact=True))
    expect(card).to_have_count(1)
    expect(card.locator("svg.main-svg").first).to_be_visible()
    expect(card.locator("g.points path").first).to_be_visible()
    return card


def read_points(card: Locator) -> list[tuple[float, float]]:
    """Return where the points of a chart's line are, in pixels from the top left; the line leaves out needless ones."""
    script = "points => points.map(point => point.getAttribute('transform'))"
    found = map(_POINT.fullmatch, card.locator("g.points path").evaluate_all(script))
    return [(float(point[1]), float(point[2])) for point in found if point]


def read_bars(card: Locator) -> list[float]:
    """Return the lengths of a chart's horizontal bars in pixels, negative to the left, the lowest bar first."""
    paths = card.locator("g.points path").evaluate_all("bars => bars.map(bar => bar.getAttribute('d'))")
    found = [_BAR.match(path) for path in paths]
    return [float(bar[2]) - float(bar[1]) for bar in found if bar]
