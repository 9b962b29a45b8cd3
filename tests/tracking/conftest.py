"""What tests of tracking share: a small evaluation on record, with one of everything that a run may record."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hokusai.models.sklearn_models import SklearnModel
from hokusai.records import DatasetVersion
from hokusai.tracking.journal import JOURNAL_FORMAT, FileJournal
from hokusai.tracking.naming import STEPS
from hokusai.tracking.operations import OpenJournal
from hokusai.tracking.parameters import CompareAndOutputDeltaParameters
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hokusai.records import DatasetContext, ModelFile
    from hokusai.tracking.run import Run

QUESTIONS = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 0.5, 2.5, 2.0]})
ARTIFACTS = {"empty.txt": b"", "deep/er/bytes.bin": bytes(range(256)), "odd name +é.txt": b"odd"}


@pytest.fixture(scope="session")
def model_file() -> ModelFile:
    """A fitted scikit-learn model as a file."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(QUESTIONS, [0, 0, 1, 1])
    return SklearnModel(pipeline, features=("x", "y")).to_file(name="candidate", example={})


@pytest.fixture
def open_journal(tmp_path: Path) -> Callable[[str], FileJournal]:
    """Open a new journal that is meant for a store, with its header written; its folder's name is its evaluation."""

    def make(uri: str) -> FileJournal:
        evaluation = f"20300102-030405-{secrets.token_hex(4)}"
        journal = FileJournal(tmp_path / "journals" / evaluation)
        journal.append(
            OpenJournal(
                format=JOURNAL_FORMAT,
                evaluation=evaluation,
                experiment="tests-of-tracking",
                tracking_uri=uri,
            )
        )
        return journal

    return make


@pytest.fixture
def record_evaluation(open_journal: Callable[[str], FileJournal], model_file: ModelFile) -> Callable[..., Path]:
    """Record a closed evaluation in a journal and return its folder.

    The parent gets a tag, a metric and a dataset; the first child gets everything else.
    """

    def record(uri: str, *, steps: tuple[str, ...] = STEPS) -> Path:
        journal = open_journal(uri)
        evaluation = journal.folder.name
        tracker = Tracker(journal, evaluation=evaluation, run_name=f"parent of {evaluation}")
        with tracker.start() as parent:
            for step in steps:
                with parent.child(step) as run:
                    if step == steps[0]:
                        _record_everything(run, model_file, registered_name=f"it's {evaluation}")
                    else:
                        run.log_metrics({"position": float(steps.index(step))})
            parent.log_dataset(_dataset("benchmark", "benchmark"))
            parent.set_tags({"hokusai.decision": "accept"})
        journal.close()
        return journal.folder

    return record


def _record_everything(run: Run, model_file: ModelFile, *, registered_name: str) -> None:
    run.log_parameters(
        CompareAndOutputDeltaParameters(
            metric="accuracy",
            minimum_gain=0.1,
            confidence=0.95,
            guards={},
            minimum_positives=50,
            minimum_discordant_rows=25,
            rule_sha256="01" * 32,
        )
    )
    for step in range(5):
        run.log_metrics({"loss": 1.0 / (step + 1), "undefined": float("nan")}, step=step)
    run.set_tags({"note": "first"})
    run.set_tags({"note": "second", "file": "caf\udce9.csv"})
    run.log_dataset(_dataset("base table", "base"))
    run.log_dataset(_dataset("contribution table", "contribution"))
    for path, content in ARTIFACTS.items():
        run.log_artifact(path, content)
    run.log_model(model_file)
    run.register_model(model_file.name, registered_name=registered_name, tags={"kind": "test"})


def _dataset(name: str, context: DatasetContext) -> DatasetVersion:
    digest = (context.encode().hex() * 8)[:64]
    columns = (("x", "double"), ("species", "string"))
    return DatasetVersion(name=name, context=context, digest=digest, rows=3, columns=columns, source=f"{name}.csv")
