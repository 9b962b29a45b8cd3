"""Evaluations done again from what a store holds of them come out the same."""

from __future__ import annotations

import locale
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.reproduction.conftest import Store, rewrite_cell

from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.reproduction.document import REPRODUCTION_FILE, reproduction_bytes
from hokusai.tracking.mlflow_ledger import BenchmarkLedger
from hokusai.tracking.mlflow_reader import MlflowReader
from hokusai.tracking.naming import REPRODUCTION_OF_TAG, REPRODUCTION_VERDICT_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Outcome

    from hokusai.reproduction.recorded_evaluation import RecordedEvaluation


@pytest.fixture
def _another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another folder, user name, time zone and locale, as far as a process can have them."""
    monkeypatch.chdir(tmp_path)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody_else")
    before = locale.setlocale(locale.LC_ALL)
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    monkeypatch.setenv("LC_ALL", "C")
    time.tzset()
    locale.setlocale(locale.LC_ALL, "C")
    yield
    locale.setlocale(locale.LC_ALL, before)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_another_machine")
def test_an_evaluation_whose_folder_is_gone_comes_out_the_same_elsewhere(store: Store) -> None:
    said: list[tuple[str, ...]] = []

    def planned(recorded: RecordedEvaluation, plan: Any) -> None:
        assert recorded.key == store.evaluation
        said.append((*plan.sources.values(), *plan.problems, *plan.limits))

    result = store.reproduce(workers=2, planned=planned)

    assert (result.verdict, result.differences) == ("identical", ())
    assert said == [("the store", "the store", "the store")]
    found = MlflowReader(store.settings.uri)
    (run,) = found.runs_with_ids([result.run_id])
    assert run.tags["mlflow.user"] == "somebody_else"
    assert run.tags[REPRODUCTION_OF_TAG] == store.evaluation
    assert run.tags["hokusai.reproduction_of.run_id"] == store.run_id
    assert run.tags[REPRODUCTION_VERDICT_TAG] == "identical"
    assert run.experiment_id == found.runs_with_ids([store.run_id])[0].experiment_id
    assert found.read_file(run.location, REPRODUCTION_FILE) == reproduction_bytes(result)
    # What is done again is no new candidate, and no new knowledge of the benchmark.
    registry = ModelRegistry(store.settings.uri)
    assert [version.version for version in registry.versions("hokusai-penguins")] == ["1"]
    benchmark = next(dataset.digest for dataset in run.datasets if dataset.context == "benchmark")
    earlier = BenchmarkLedger(store.settings.uri).earlier_evaluations(benchmark, metric="accuracy")
    assert [each.evaluation for each in earlier] == [store.evaluation]


def test_the_command_says_first_what_it_will_do_and_exits_by_the_verdict(
    store: Store, call: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("reproduce", store.run_id[:8], "--tracking-uri", store.settings.uri)
    table = store.snapshot("dream")
    done = call(*arguments, "--json")
    assert done.code == 0
    assert done.value["verdict"] == "identical"
    assert f"evaluation {store.evaluation}) again" in done.err
    assert "dream: from the store" in done.err
    # A reproduction stores no tables, and says whose it has.
    twice = call("reproduce", done.value["evaluation"], *arguments[2:])
    assert twice.code == 2
    assert f"Do that one again: `hokusai reproduce {store.run_id[:8]}`" in twice.err
    rewrite_cell(table)
    refused = call(*arguments)
    assert refused.code == 1
    assert "First difference in the flow: data: contribution dream" in refused.out
    assert "Verdict: different." in refused.out
    assert "cannot be done: dream: the stored table is gone, or is not what was recorded" in refused.err
    wrong = call(*arguments, "--data", "dream")
    assert (wrong.code, "expected NAME=FILE" in wrong.err) == (2, True)
    wrong = call(*arguments, "--workers", "-1")
    assert (wrong.code, "--workers: got -1, expected 0" in wrong.err) == (2, True)
