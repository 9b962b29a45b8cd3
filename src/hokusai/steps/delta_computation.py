"""Step 5: what the contributions are worth, how sure that is, and whether it clears the bar."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from typing import TYPE_CHECKING

import numpy as np

from hokusai.datasets.row_digests import row_digests
from hokusai.records import DELTA_FILE, DeltaReport, MetricDelta, NegativeControl, SubsetDeltas
from hokusai.steps.answer_rounding import ANSWER_STEP, rounded_delta
from hokusai.steps.decision_rule import rule_sha256
from hokusai.steps.delta_document import delta_bytes, write_documents
from hokusai.tracking import naming
from hokusai.tracking.parameters import CompareAndOutputDeltaParameters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hokusai.records import (
        Arm,
        BaselineModel,
        BenchmarkHistory,
        BenchmarkScores,
        DecisionRule,
        EvaluationIdentity,
        IntegratedData,
        MetricRole,
        SubsetScores,
        TrainedModels,
    )
    from hokusai.steps.delta_settings import DeltaSettings
    from hokusai.steps.statement_output import StatementSource
    from hokusai.tracking.run import Run

__all__ = ["compare_and_output_delta", "delta_metrics", "model_tags"]

_NEGATIVE_CONTROLS: tuple[Arm, ...] = ("shuffled_labels", "base_resample")


def compare_and_output_delta(
    settings: DeltaSettings,
    *,
    rule: DecisionRule,
    identity: EvaluationIdentity,
    baseline: BaselineModel,
    models: TrainedModels,
    scores: BenchmarkScores,
    data: IntegratedData,
    run: Run,
    number: int | None = None,
    history: BenchmarkHistory | None = None,
    statement: StatementSource | None = None,
) -> DeltaReport:
    """Compare the candidate with the control, and with a given baseline model, and decide.

    The report is recorded as metrics and as the artifact ``delta.json``; the same file is written where the identity
    says. So are the statement and the document for token contracts' tools, where a source is given for them.

    Args:
        settings: Confidence of the intervals that are reported.
        rule: How it is decided, as it was recorded before the candidate was trained.
        identity: The evaluation, and where its outputs go.
        baseline: What step 1 loaded.
        models: What step 3 trained.
        scores: What step 4 found.
        data: What step 2 integrated.
        run: The step's run.
        number: Which of the declared decisions this is; None where none were declared.
        history: Earlier evaluations on this benchmark; None where the store could not be asked.
        statement: What the statement is made with beside the report; None for no statement.

    Raises:
        DataError: A document cannot be written.
    """
    from hokusai.steps.cross_checks import cross_checks
    from hokusai.steps.decision import decide_contribution

    run.log_parameters(_parameters(settings, rule))
    began = time.perf_counter()
    digest = rule_sha256(rule)
    decision = decide_contribution(
        rule, scores, has_new_rows=data.has_new_rows, rule_sha256=digest, looks=models.looks, number=number
    )
    repetition = tuple(_repetition_notes(data, scores))
    if repetition:
        unsure = "How sure the delta is: benchmark rows that equal each other were taken for independent."
        decision = dataclasses.replace(decision, not_concluded=(*decision.not_concluded, unsure))
    compare = _Comparison(settings, rule, scores)
    report = DeltaReport(
        identity=identity,
        decision=decision,
        deltas=compare.deltas(scores.shown, "control"),
        baseline_deltas=compare.deltas(scores.shown, "baseline"),
        undefined=scores.shown.undefined,
        datasets=data.versions,
        counts=data.counts,
        overlapping_rows=int(data.overlapping.sum()),
        notes=(*baseline.notes, *data.notes, *models.notes, *repetition, *_sealed_notes(scores, models, data)),
        model_sha256=models.model_sha256,
        subsets=compare.subsets(),
        cross_checks=() if scores.is_sealed else cross_checks(rule, scores),
        negative_controls=() if scores.is_sealed else compare.negative_controls(looks=models.looks),
        decoy_tests=data.decoy_tests,
        history=history,
        answer_step=ANSWER_STEP if scores.is_sealed else None,
    )
    _record(report, run=run)
    document = delta_bytes(report)
    run.log_artifact(DELTA_FILE, document)
    documents = {identity.delta_file: document}
    if statement is not None:
        from hokusai.steps.statement_output import make_outputs

        made = make_outputs(
            report, source=statement, rule=rule, models=models, scores=scores, features=data.features, delta=document
        )
        for name, path, content in made.files:
            run.log_artifact(name, content)
            documents[path] = content
        report = dataclasses.replace(report, statement=made.summary)
    write_documents(documents)
    run.log_metrics({"output.delta.bytes": len(document), "output.delta.seconds": time.perf_counter() - began})
    return report


def delta_metrics(delta: MetricDelta) -> dict[str, float]:
    """Return a delta as MLflow metrics: the gain, and its interval where there is one."""
    name = f"delta.{delta.metric.name}" if delta.reference == "control" else f"delta_baseline.{delta.metric.name}"
    values = {
        name: delta.gain,
        f"{name}.lower": delta.gain_lower,
        f"{name}.upper": delta.gain_upper,
        f"{name}.standard_error": delta.standard_error,
    }
    return {key: value for key, value in values.items() if value is not None}


def _repetition_notes(data: IntegratedData, scores: BenchmarkScores) -> Iterator[str]:
    """Say how many rows of the benchmark equal another, and what that may do to the interval.

    Rows that repeat each other k times tell no more than one: where all errors of a row repeat, the variance of a mean
    over n rows is the sum of k squared, over n, times as large (Kish, 1965, "Survey Sampling", Wiley).
    """
    if scores.deciding.subset.units < scores.deciding.subset.rows:
        return
    rows = data.benchmark_parts[0][1] if data.benchmark_parts else data.benchmark.num_rows
    benchmark = data.benchmark.select([*data.features, data.label]).slice(0, rows)
    _, times = np.unique(row_digests(benchmark, fold_negative_zero=True, source="benchmark"), return_counts=True)
    repeated = int(times[times > 1].sum())
    if repeated:
        factor = math.sqrt(float(np.square(times).sum()) / rows)
        yield (
            f"{repeated} of {rows} benchmark rows equal another in features and label, and the interval and the least "
            "numbers of rows take them for independent. If they are one case written several times, the interval "
            f"should be up to {factor:.3g} times as wide: take the repetitions out, or name evaluation.group."
        )


def _sealed_notes(scores: BenchmarkScores, models: TrainedModels, data: IntegratedData) -> Iterator[str]:
    if not scores.is_sealed:
        return
    if models.negative_controls:
        yield (
            "Arms that should gain nothing went through no gate: the decision half answers on the contribution alone."
        )
    if data.overlapping.any():
        yield (
            "Offered rows were met in the benchmark. What is gained without them is not told: it would tell which half "
            "they are in."
        )


class _Comparison:
    """Compares arms on sets of rows; what may be shown of a sealed benchmark is rounded."""

    def __init__(self, settings: DeltaSettings, rule: DecisionRule, scores: BenchmarkScores) -> None:
        self._settings, self._rule, self._scores = settings, rule, scores
        self._roles: Mapping[str, MetricRole] = {
            **{guard.metric: "guard" for guard in rule.guards},
            rule.metric: "primary",
        }

    def deltas(self, scores: SubsetScores, reference: Arm, *, arm: Arm = "candidate") -> tuple[MetricDelta, ...]:
        """Return every delta on a set of rows."""
        from hokusai.steps.deltas import IntervalMethod, metric_deltas

        found = metric_deltas(
            self._scores.metrics,
            scores,
            reference=reference,
            method=IntervalMethod(confidence=self._settings.confidence, is_random=self._scores.is_random),
            roles=self._roles,
            arm=arm,
        )
        return tuple(rounded_delta(delta) for delta in found) if self._scores.is_sealed else found

    def subsets(self) -> tuple[SubsetDeltas, ...]:
        """Return the deltas on every other set of rows."""
        hidden = (self._scores.deciding, self._scores.shown)
        return tuple(
            SubsetDeltas(subset=each.subset, deltas=self.deltas(each, "control"), undefined=each.undefined)
            for each in self._scores.subsets
            if all(each is not other for other in hidden)
        )

    def negative_controls(self, *, looks: int) -> tuple[NegativeControl, ...]:
        """Return what the contributions that should gain nothing gained, through the same gate."""
        from hokusai.steps.decision import judge

        found = []
        for arm in _NEGATIVE_CONTROLS:
            if arm in self._scores.deciding.scores:
                deltas = self.deltas(self._scores.deciding, "control", arm=arm)
                delta = next((each for each in deltas if each.metric.name == self._rule.metric), None)
                outcome = judge(self._rule, self._scores, looks=looks, arm=arm).outcome
                found.append(NegativeControl(arm=arm, delta=delta, outcome=outcome))
        return tuple(found)


def _parameters(settings: DeltaSettings, rule: DecisionRule) -> CompareAndOutputDeltaParameters:
    return CompareAndOutputDeltaParameters(
        metric=rule.metric,
        minimum_gain=rule.minimum_gain,
        confidence=settings.confidence,
        guards={guard.metric: guard.margin for guard in rule.guards},
        minimum_positives=rule.minimum_positives,
        minimum_discordant_rows=rule.minimum_discordant_rows,
        rule_sha256=rule_sha256(rule),
    )


def _record(report: DeltaReport, *, run: Run) -> None:
    """Log what the report says as metrics and tags."""
    for delta in (*report.deltas, *report.baseline_deltas):
        run.log_metrics(delta_metrics(delta))
    for subset in report.subsets:
        # Slices may be many; their numbers are in delta.json.
        if subset.subset.kind == "without overlap":
            values = {
                f"without_overlap.{name}": value
                for each in subset.deltas
                for name, value in delta_metrics(each).items()
            }
            run.log_metrics(values)
    for control in report.negative_controls:
        if control.delta is not None:
            run.log_metrics({f"{control.arm}.{name}": value for name, value in delta_metrics(control.delta).items()})
    decision = report.decision
    if decision.minimum_detectable_effect is not None:
        run.log_metrics({"decision.minimum_detectable_effect": decision.minimum_detectable_effect})
    if report.history is not None:
        named = {"best": report.history.best, "median": report.history.median, "latest": report.history.latest}
        values = {
            f"history.{report.history.metric}.{name}": value for name, value in named.items() if value is not None
        }
        run.log_metrics({"history.evaluations": report.history.evaluations, **values})
    run.set_tags(
        {
            naming.DECISION_TAG: decision.outcome,
            naming.DECISION_REASON_TAG: decision.reason,
            naming.EXPLORATORY_TAG: json.dumps(decision.is_exploratory),
        }
    )


def model_tags(report: DeltaReport, *, models: TrainedModels) -> dict[str, str]:
    """Return the tags of the candidate's model version: what it was made from, how, and what that was worth.

    Lists are JSON lists of texts or numbers; a number has all its digits.
    """
    contributions = [version for version in report.datasets if version.context == "contribution"]
    contributors = dict.fromkeys(version.contributor for version in contributions if version.contributor)
    tags = {
        naming.PROJECT_TAG: report.identity.project,
        naming.EVALUATION_TAG: report.identity.evaluation,
        naming.ESTIMATOR_TAG: models.estimator,
        naming.SEEDS_TAG: json.dumps([model.seed for model in models.candidates]),
        naming.CONTRIBUTIONS_TAG: json.dumps([version.name for version in contributions], ensure_ascii=False),
        naming.CONTRIBUTORS_TAG: json.dumps(list(contributors), ensure_ascii=False),
        naming.METRIC_TAG: report.decision.metric,
        naming.DECISION_TAG: report.decision.outcome,
        naming.DECISION_REASON_TAG: report.decision.reason,
        naming.EXPLORATORY_TAG: json.dumps(report.decision.is_exploratory),
    }
    for version in report.datasets:
        name = version.name if version.context == "contribution" else None
        tags[naming.dataset_tag(version.context, name)] = version.digest
    for delta in report.deltas:
        if delta.metric.name == report.decision.metric:
            tag = f"{naming.DELTA_TAG}.{delta.metric.name}"
            ends = {tag: delta.gain, f"{tag}.lower": delta.gain_lower, f"{tag}.upper": delta.gain_upper}
            tags |= {name: repr(value) for name, value in ends.items() if value is not None}
    return tags
