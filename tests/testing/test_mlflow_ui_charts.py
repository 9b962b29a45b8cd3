"""What a person sees on a real ``mlflow server``: charts, the registry, a reproduction."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from mlflow import MlflowClient
from playwright.sync_api import Page, expect
from tests.testing.mlflow_pages import (
    browser_page,
    find_chromium,
    open_page,
    open_run,
    read_bars,
    read_points,
    read_rows,
    read_tags,
    run_id,
    search_chart,
    take_picture,
)

from hokusai import pipeline
from hokusai.benchmark_reuse import split_benchmark
from hokusai.reproduction.again import reproduce
from hokusai.testing.mlflow_server import MlflowServerProcess
from hokusai.testing.sample_data import CONTRIBUTIONS, penguins_config
from hokusai.tracking.benchmark_ledger import ledger_name
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.mlflow_reader import MlflowReader
from hokusai.tracking.naming import REPRODUCTION_OF_TAG, REPRODUCTION_RUN_TAG, REPRODUCTION_VERDICT_TAG
from hokusai.tracking.shipper import DirectShipping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hokusai.records import DeltaReport

pytestmark = pytest.mark.slow

MODEL = "hokusai-penguins"
ITERATIONS = 15


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What is on the server.

    Attributes:
        history: An evaluation of each sample contribution, in one experiment.
        curves: One in another experiment, of a trainer that says what it loses in each iteration.
        reproduction: The id of the parent run of the first one's reproduction, which is in its experiment.
        ledger: The registered model that is the ledger of their benchmark.
    """

    server: MlflowServerProcess
    client: MlflowClient
    history: tuple[DeltaReport, ...]
    curves: DeltaReport
    reproduction: str
    ledger: str


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser's path."""
    return find_chromium()


@pytest.fixture(scope="module")
def recorded(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """A server of its own, because the benchmark of its evaluations is split; not before there is a browser."""
    assert chromium
    folder = tmp_path_factory.mktemp("served")
    with MlflowServerProcess(folder / "server") as server:
        settings = TrackingSettings(uri=server.uri, journal=folder / "journals")
        shipping = DirectShipping(MlflowReader(server.uri))
        history = tuple(
            pipeline.run(penguins_config(contribution, settings), shipping=shipping) for contribution in CONTRIBUTIONS
        )
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
            reproduction = reproduce(run_id(history[0]), settings=settings, shipping=shipping)
        config = penguins_config("dream", dataclasses.replace(settings, experiment="curves", registered_model="curves"))
        training = dataclasses.replace(
            config.training,
            estimator="GradientBoostingClassifier",
            parameters={"n_estimators": ITERATIONS, "subsample": 0.5},
        )
        curves = pipeline.run(dataclasses.replace(config, training=training), shipping=shipping)
        split_benchmark(penguins_config("dream", settings), key_file=Path(folder, "key"), decisions=10)
        (benchmark,) = [version.digest for version in history[0].datasets if version.context == "benchmark"]
        yield Recorded(
            server=server,
            client=MlflowClient(server.uri, server.uri),
            history=history,
            curves=curves,
            reproduction=reproduction.run_id,
            ledger=ledger_name(benchmark),
        )


@pytest.fixture(scope="module")
def page(chromium: str) -> Iterator[Page]:
    """A page of a browser."""
    with browser_page(chromium) as opened:
        yield opened


@pytest.mark.parametrize(
    ("step", "metric"),
    [
        ("train_new_model", "training.candidate.seed_0.train_loss"),
        ("evaluate_on_benchmark", "candidate.brier_score.per_seed"),
    ],
)
def test_a_series_is_drawn_as_a_line_through_its_points(page: Page, recorded: Recorded, step: str, metric: str) -> None:
    run = recorded.client.get_run(run_id(recorded.curves, step))
    points = recorded.client.get_metric_history(run.info.run_id, metric)
    assert len(points) >= 5
    if metric.endswith("train_loss"):
        assert len(points) == ITERATIONS
    open_run(page, recorded.server.uri, run, tab="model-metrics")
    card = search_chart(page, metric)
    expect(card.locator("g.points path")).to_have_count(len(points))
    expect(card.get_by_text(f"{step} ({metric})", exact=True)).to_be_visible()
    expect(card.get_by_text("Step", exact=True)).to_be_visible()
    assert (card.locator("path.js-line").first.get_attribute("d") or "").count("L") > 1
    drawn_points = read_points(card)
    # Right is later, and down is less: pixels are the numbers on another scale.
    for drawn, meant in zip(
        np.transpose(drawn_points), np.transpose([(point.step, point.value) for point in points]), strict=True
    ):
        scale = np.polyfit(meant, drawn, 1)
        assert np.abs(np.polyval(scale, meant) - drawn).max() < 1
        assert np.ptp(drawn) > 20
    assert drawn_points[0][0] < drawn_points[-1][0]
    take_picture(page, f"chart-{step}")


def test_the_experiment_s_charts_compare_the_evaluations(page: Page, recorded: Recorded) -> None:
    parents = [recorded.client.get_run(run_id(report)) for report in recorded.history]
    parents.append(recorded.client.get_run(recorded.reproduction))
    gains = [parent.data.metrics["delta.accuracy"] for parent in parents]
    experiment = parents[0].info.experiment_id
    address = f"/experiments/{experiment}/runs?workflowType=machine_learning&compareRunsMode=CHART"
    open_page(page, recorded.server.uri, address)
    card = search_chart(page, "delta.accuracy")
    expect(card.locator("g.points path")).to_have_count(len(parents))
    for parent in parents:
        expect(card.get_by_text(parent.info.run_name, exact=True).first).to_be_attached()
    for gain in gains:
        expect(card.get_by_text(f"{gain:.2f}", exact=True).first).to_be_visible()
    lengths = read_bars(card)
    assert np.ptp(lengths) > 50
    scale = np.max(lengths) / max(gains)
    assert sorted(length / scale for length in lengths) == pytest.approx(sorted(gains), abs=1 / scale)
    take_picture(page, "charts-of-the-experiment")


def test_the_registry_lists_the_versions_and_tells_the_ledger_of_a_benchmark_from_a_model(
    page: Page, recorded: Recorded
) -> None:
    versions = recorded.client.search_model_versions(f"name = '{MODEL}'")
    assert len(versions) == len(recorded.history)
    open_page(page, recorded.server.uri, "/models")
    ledger = page.get_by_role("row").filter(has=page.get_by_role("link", name=recorded.ledger, exact=True))
    model = page.get_by_role("row").filter(has=page.get_by_role("link", name=MODEL, exact=True))
    expect(model.get_by_text("candidate", exact=False)).to_be_visible()
    expect(ledger.get_by_text("hokusai.ledger_of", exact=True)).to_be_visible()
    expect(model.get_by_text("hokusai.ledger_of", exact=True)).to_have_count(0)
    take_picture(page, "registry")

    open_page(page, recorded.server.uri, f"/models/{MODEL}")
    descriptions = [version.description or "" for version in versions]
    for version, description in zip(versions, descriptions, strict=True):
        row = page.get_by_role("row").filter(
            has=page.get_by_role("link", name=f"Version {version.version}", exact=True)
        )
        # The list has room for its beginning: what was decided, and about which metric.
        expect(row.get_by_text(description[:25], exact=False)).to_be_visible()
        expect(row.get_by_text("hokusai.decision", exact=True)).to_be_attached()
    assert {description.partition(":")[0] for description in descriptions} > {"accept", "reject"}
    take_picture(page, "registered-model")

    open_page(page, recorded.server.uri, f"/models/{recorded.ledger}")
    expect(page.get_by_text("What a benchmark was declared for and who spent it", exact=False)).to_be_visible()
    expect(page.get_by_role("link", name="Version 1", exact=True)).to_be_visible()
    expect(page.get_by_text("split", exact=True).first).to_be_visible()
    assert "hokusai.ledger_of" in read_rows(page)
    take_picture(page, "benchmark-ledger")


def test_a_reproduction_names_what_it_did_again_and_its_verdict_and_has_the_comparison(
    page: Page, recorded: Recorded
) -> None:
    run = recorded.client.get_run(recorded.reproduction)
    open_run(page, recorded.server.uri, run)
    expect(page.get_by_text("Finished", exact=True)).to_be_visible()
    expect(page.get_by_text(REPRODUCTION_VERDICT_TAG, exact=True)).to_be_visible()
    tags = read_tags(page)
    assert tags[REPRODUCTION_VERDICT_TAG] == "identical"
    assert tags[REPRODUCTION_OF_TAG] == recorded.history[0].identity.evaluation
    assert tags[REPRODUCTION_RUN_TAG] == run_id(recorded.history[0])
    take_picture(page, "reproduction")

    open_run(page, recorded.server.uri, run, tab="artifacts")
    page.get_by_text("reproduction.json", exact=True).first.click()
    expect(page.get_by_text("/artifacts/reproduction.json", exact=False)).to_be_visible()
    expect(page.get_by_text('"verdict": "identical"', exact=False).first).to_be_visible()
    take_picture(page, "artifact-reproduction")
