"""How long the verification of a statement takes offline, with the deltas and the decision computed again.

A million row scores are a million answers of fits: here 100,000 benchmark rows and five fits of each arm, and for
comparison a million rows and one fit of each. The evaluation is made up, the statement is signed, and every check that
needs no store is done; reading the files from the disk is included, starting Python is not.
"""

from __future__ import annotations

import dataclasses
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from benchmarks.measure import Side, alternate, cost_of, print_table

from hokusai.analysis.metrics import BenchmarkTruth, metrics_for
from hokusai.digests import sha256
from hokusai.provenance.claims import StatementOrigin
from hokusai.provenance.signing_keys import make_key
from hokusai.records import (
    BenchmarkScores,
    ContributionCounts,
    DatasetVersion,
    DecisionRule,
    DeltaReport,
    EvaluationIdentity,
    Predictions,
    TrainedModels,
)
from hokusai.steps.benchmark_rows import BenchmarkRows, RowSet
from hokusai.steps.decision import decide_contribution
from hokusai.steps.decision_rule import rule_sha256
from hokusai.steps.delta_document import delta_bytes
from hokusai.steps.deltas import IntervalMethod, metric_deltas
from hokusai.steps.evaluation import score_fits
from hokusai.steps.row_scores import RowScores
from hokusai.steps.statement_output import StatementSource, make_outputs
from hokusai.verification.verify import Evidence, verify_statement

if TYPE_CHECKING:
    from hokusai.records import Arm, DatasetContext

CLASSES = ("no", "yes")
DIGESTS: dict[DatasetContext, str] = {
    "base": "11" * 32,
    "contribution": "22" * 32,
    "benchmark": "33" * 32,
    "integrated": "44" * 32,
}
NOW = datetime(2030, 1, 1, tzinfo=UTC)
SHAPES = ((100_000, 5), (1_000_000, 1))
_RUNS = 7


def scores_of(rows: int, fits: int) -> RowScores:
    """Return made-up answers of two arms."""
    random = np.random.default_rng(8)
    actual = random.integers(0, 2, rows)
    predictions: dict[Arm, dict[int, Predictions]] = {"control": {}, "candidate": {}}
    skills: dict[Arm, float] = {"control": 0.8, "candidate": 0.9}
    for arm, skill in skills.items():
        for seed in range(fits):
            logit = skill * (2 * actual - 1) + random.normal(size=rows)
            positive = 1 / (1 + np.exp(-2 * logit))
            predictions[arm][seed] = Predictions(
                predicted=(positive > 0.5).astype(np.intp), probabilities=np.column_stack([1 - positive, positive])
            )
    everything = RowSet(name="benchmark", kind="benchmark", rows=np.arange(rows))
    return RowScores(
        labels=pa.chunked_array([np.array(CLASSES)[actual]]),
        rows=BenchmarkRows(
            truth=BenchmarkTruth(actual=actual, classes=CLASSES, positive=1), groups=None, sets=(everything,)
        ),
        predictions=predictions,
    )


def report_of(made: RowScores, scores: BenchmarkScores, rule: DecisionRule, folder: Path) -> DeltaReport:
    """Return what an evaluation with these scores reports."""
    method = IntervalMethod(confidence=rule.confidence, is_random=scores.is_random)
    sizes = {"base": 100, "contribution": 50, "benchmark": len(made.labels), "integrated": 150}
    return DeltaReport(
        identity=EvaluationIdentity(
            project="p", evaluation="e", registered_model="m", delta_file=folder / "delta.json"
        ),
        decision=decide_contribution(rule, scores, has_new_rows=True, rule_sha256=rule_sha256(rule)),
        deltas=metric_deltas(
            scores.metrics, scores.shown, reference="control", method=method, roles={rule.metric: "primary"}
        ),
        baseline_deltas=(),
        undefined=scores.shown.undefined,
        datasets=tuple(
            DatasetVersion(
                name=context,
                context=context,
                digest=digest,
                rows=sizes[context],
                columns=(("x", "double"),),
                source="",
            )
            for context, digest in DIGESTS.items()
        ),
        counts=tuple(
            ContributionCounts(name=name, offered=sizes[name], duplicates=0, in_benchmark=0, kept=sizes[name])
            for name in ("base", "contribution")
        ),
    )


def write_statement(folder: Path, rows: int, fits: int) -> tuple[Path, Evidence]:
    """Write a signed statement with its row scores and its report; return it, and what verifies it."""
    made = scores_of(rows, fits)
    content = made.to_bytes()
    metrics = metrics_for("classification")
    scores = BenchmarkScores(
        metrics=metrics,
        subsets=score_fits(metrics, made.rows, {arm: tuple(by.values()) for arm, by in made.predictions.items()}),
        is_random=fits > 1,
        positive_class="yes",
        row_scores_sha256=sha256(content),
    )
    rule = DecisionRule(
        metric="accuracy",
        minimum_gain=0.0,
        confidence=0.95,
        seeds=fits,
        control_seeds=fits,
        benchmark_sha256=DIGESTS["benchmark"],
        scoring='{"average":"macro","classes":["no","yes"],"positive_class":"yes"}',
    )
    report = report_of(made, scores, rule, folder)
    key, delta = make_key(), delta_bytes(report)
    output = make_outputs(
        report,
        source=StatementSource(origin=lambda: StatementOrigin(hokusai_version="0"), now=NOW, key=key),
        rule=rule,
        models=models_of(fits),
        scores=scores,
        features=("x",),
        delta=delta,
    )
    folder.joinpath("delta.json").write_bytes(delta)
    folder.joinpath("row_scores.parquet").write_bytes(content)
    for _, path, document in output.files:
        path.write_bytes(document)
    return folder / "statement.json", Evidence(keys=[key.public])


def models_of(fits: int) -> TrainedModels:
    """Return fits of which the seeds alone count here."""
    fitted: Any = tuple(_Fit(seed) for seed in range(fits))
    return TrainedModels(
        controls=fitted,
        candidates=fitted,
        task="classification",
        classes=CLASSES,
        estimator="made.Up",
        is_random=fits > 1,
        model_name="candidate",
        model_sha256="",
    )


@dataclasses.dataclass(frozen=True)
class _Fit:
    seed: int


def _verify(statement: Path, evidence: Evidence) -> None:
    verification = verify_statement(statement, evidence)
    if verification.verdict != "holds":
        raise SystemExit(str(verification.checks))


def main() -> None:
    """Measure both shapes."""
    with tempfile.TemporaryDirectory() as folder:
        sides = []
        for rows, fits in SHAPES:
            place = Path(folder) / str(rows)
            place.mkdir()
            verify = partial(_verify, *write_statement(place, rows, fits))
            sides.append(Side(f"{rows:,} rows, {fits} fits of each arm", partial(cost_of, verify), _RUNS))
        print_table("ten metrics, offline (wanted for the first: below a second)", alternate(sides))


if __name__ == "__main__":
    main()
