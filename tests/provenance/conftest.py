"""What the tests of statements share: a report with something in every field, and keys."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hokusai.digests import canonical_json, sha256
from hokusai.provenance.claims import ClaimedSeeds, Statement, StatementOrigin
from hokusai.provenance.signing_keys import SigningKey, make_key
from hokusai.provenance.statement import make_statement
from hokusai.records import (
    ContributionCounts,
    DatasetContext,
    DatasetVersion,
    Decision,
    DecoyTest,
    DeltaReport,
    EvaluationIdentity,
    GuardVerdict,
    Metric,
    MetricDelta,
    UndefinedMetric,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_RULE = canonical_json({"format": "hokusai-decision-rule/1", "metric": "accuracy", "minimum_gain": 0.01})


def _dataset(name: str, context: DatasetContext, *, rows: int, contributor: str = "") -> DatasetVersion:
    """Return a version of a table whose digests follow from its name."""
    is_file = context != "integrated"
    return DatasetVersion(
        name=name,
        context=context,
        digest=sha256(f"content of {name}".encode()),
        rows=rows,
        columns=(("mass", "double"), ("Ünsex", "string"), ("species", "string")),
        source=f"/home/somebody/{name}.csv",
        file_sha256=sha256(f"file of {name}".encode()) if is_file else None,
        null_counts=(("mass", 2), ("Ünsex", 0), ("species", 0)),
        unique_counts=(("mass", None), ("Ünsex", 2), ("species", 3)),
        contributor=contributor,
    )


def _delta(name: str, baseline: float, candidate: float, *, higher_is_better: bool = True) -> MetricDelta:
    """Return a delta with an interval."""
    metric = Metric(name=name, task="classification", higher_is_better=higher_is_better, unit="fraction")
    return MetricDelta(
        metric=metric,
        reference="control",
        baseline=baseline,
        candidate=candidate,
        gain_lower=0.1285,
        gain_upper=0.2748,
        confidence=0.95,
        standard_error=0.0369,
        degrees_of_freedom=118.5,
        p_value=1e-7,
    )


@pytest.fixture
def report() -> DeltaReport:
    """The report of an evaluation with two contributions, in which every field of a claim has something to say."""
    accuracy = replace(_delta("accuracy", 0.7983193277310925, 1.0), role="primary")
    without = replace(_delta("f1", 0.5, 0.5), gain_lower=None, gain_upper=None, standard_error=None, p_value=None)
    return DeltaReport(
        identity=EvaluationIdentity(
            project="penguins",
            evaluation="20261123-080837-9736f95c",
            registered_model="penguins",
            delta_file=Path("delta.json"),
        ),
        decision=Decision(
            outcome="accept",
            metric="accuracy",
            minimum_gain=0.01,
            reason="it clears the bar.",
            rule_sha256=sha256(_RULE),
            guards=(GuardVerdict(metric="log_loss", margin=0.05, verdict="kept"),),
        ),
        deltas=(accuracy, _delta("log_loss", 0.61, 0.42, higher_is_better=False), _delta("roc_auc", 0.9, 0.8), without),
        baseline_deltas=(replace(accuracy, reference="baseline", standard_error=None, degrees_of_freedom=None),),
        undefined=(UndefinedMetric(name="average_precision", arm="baseline", reason="it gives no probabilities."),),
        datasets=(
            _dataset("base", "base", rows=108),
            _dataset("benchmark", "benchmark", rows=119),
            _dataset("dream", "contribution", rows=80, contributor="0x" + "aB" * 20),
            _dataset("torgersen", "contribution", rows=40),
            _dataset("integrated", "integrated", rows=188),
        ),
        counts=(
            ContributionCounts(name="base", offered=108, kept=108),
            ContributionCounts(name="dream", offered=80, kept=20),
            ContributionCounts(name="torgersen", offered=40, kept=40),
        ),
        decoy_tests=(
            DecoyTest(contribution="torgersen", benchmark_hits=9, decoy_hits=0, p_value=0.002, alarm=True),
            DecoyTest(contribution="dream", benchmark_hits=1, decoy_hits=1, p_value=0.75, alarm=False),
        ),
        model_sha256=sha256(b"model"),
    )


def _stated(report: DeltaReport, *, origin: StatementOrigin | None = None) -> Statement:
    return make_statement(
        report,
        trainer="sklearn.ensemble.RandomForestClassifier",
        seeds=ClaimedSeeds(control=(0, 1, 2, 3), candidate=(0, 1, 2)),
        rule_document=_RULE,
        row_scores_sha256=sha256(b"row scores"),
        delta_sha256=sha256(json.dumps(report.identity.evaluation).encode()),
        origin=origin or StatementOrigin(hokusai_version="0.1.0", code_commit="c0ffee", code_is_dirty=True),
    )


@pytest.fixture
def stated() -> Callable[..., Statement]:
    """Return the statement of any report."""
    return _stated


@pytest.fixture
def statement(report: DeltaReport) -> Statement:
    """The statement of the report."""
    return _stated(report)


@pytest.fixture(scope="session")
def keys() -> tuple[SigningKey, ...]:
    """Three keys."""
    return make_key(), make_key(), make_key()
