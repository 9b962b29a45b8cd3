"""Step 5: what the contributions are worth, how sure that is, and whether it clears the bar."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from hokusai.errors import DataError
from hokusai.records import Decision, DeltaReport, MetricDelta
from hokusai.tracking import naming
from hokusai.tracking.parameters import CompareAndOutputDeltaParameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hokusai.digests import JsonValue
    from hokusai.records import (
        Arm,
        BaselineModel,
        BenchmarkScores,
        EvaluationIdentity,
        IntegratedData,
        Metric,
        MetricScores,
        Outcome,
        TrainedModels,
        UndefinedMetric,
    )
    from hokusai.tracking.run import Run

__all__ = [
    "DELTA_FORMAT",
    "DeltaSettings",
    "compare_and_output_delta",
    "deciding_metric",
    "delta_metrics",
    "model_tags",
]

DELTA_FORMAT = "hokusai-delta/1"
DELTA_FILE = "delta.json"
_FEWEST_SEEDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaSettings:
    """Settings under ``[delta]``.

    Attributes:
        metric: The metric that decides; empty means accuracy for classifiers and rmse for regressors.
        minimum_gain: The gain to clear, towards better, in the metric's own unit.
        confidence: Confidence level of the interval.
        output: Where ``delta.json`` is written; empty means the evaluation's folder below ``tracking.journal``.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    metric: str = ""
    minimum_gain: Annotated[float, Interval(ge=0, lt=math.inf)] = 0.0
    confidence: Annotated[float, Interval(ge=0.5, lt=1)] = 0.95
    output: Path | None = None


def deciding_metric(settings: DeltaSettings, *, task: str) -> str:
    """Return the name of the metric that decides."""
    return settings.metric or ("accuracy" if task == "classification" else "rmse")


def compare_and_output_delta(
    settings: DeltaSettings,
    *,
    metric: str,
    identity: EvaluationIdentity,
    baseline: BaselineModel,
    models: TrainedModels,
    scores: BenchmarkScores,
    data: IntegratedData,
    run: Run,
) -> DeltaReport:
    """Compare the candidate with the control, and with a given baseline model, and decide.

    The report is recorded as metrics and as the artifact ``delta.json``; the same file is written where the identity
    says.

    Args:
        settings: The bar.
        metric: Name of the metric that decides.
        identity: The evaluation, and where its outputs go.
        baseline: What step 1 loaded.
        models: What step 3 trained.
        scores: What step 4 found.
        data: What step 2 integrated.
        run: The step's run.

    Raises:
        DataError: ``delta.json`` cannot be written.
    """
    run.log_parameters(
        CompareAndOutputDeltaParameters(
            metric=metric, minimum_gain=settings.minimum_gain, confidence=settings.confidence
        )
    )
    deltas = _deltas("control", scores, confidence=settings.confidence)
    report = DeltaReport(
        identity=identity,
        decision=_decide(settings, metric=metric, deltas=deltas, scores=scores, data=data),
        deltas=deltas,
        baseline_deltas=_deltas("baseline", scores, confidence=settings.confidence),
        undefined=scores.undefined,
        datasets=data.versions,
        counts=data.counts,
        overlapping_rows=int(data.overlapping.sum()),
        notes=(*baseline.notes, *data.notes, *models.notes),
        model_sha256=models.model_sha256,
    )
    for delta in (*report.deltas, *report.baseline_deltas):
        run.log_metrics(delta_metrics(delta))
    document = json.dumps(_document(report), indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    run.log_artifact(DELTA_FILE, document)
    _write(identity.delta_file, document)
    run.set_tags({naming.DECISION_TAG: report.decision.outcome, naming.DECISION_REASON_TAG: report.decision.reason})
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


def _deltas(reference: Arm, scores: BenchmarkScores, *, confidence: float) -> tuple[MetricDelta, ...]:
    found = scores.scores.get(reference, {})
    candidate = scores.scores["candidate"]
    return tuple(
        _delta(metric, reference, found[metric.name], candidate[metric.name], scores=scores, confidence=confidence)
        for metric in scores.metrics
        if metric.name in found and metric.name in candidate
    )


def _delta(
    metric: Metric,
    reference: Arm,
    baseline: MetricScores,
    candidate: MetricScores,
    *,
    scores: BenchmarkScores,
    confidence: float,
) -> MetricDelta:
    from hokusai.analysis.statistics import no_difference_bound, paired_interval

    # A given baseline is one model and not a draw of a trainer: only the candidate's seeds are uncertain.
    has_seed_noise = scores.is_random and reference == "control"
    lower = upper = standard_error = degrees_of_freedom = None
    if len(candidate.values) > 1 or not scores.is_random:
        interval = paired_interval(
            baseline.values,
            candidate.values,
            baseline.influence,
            candidate.influence,
            confidence=confidence,
            random_trainer=has_seed_noise,
        )
        if not interval.degenerate:
            lower, upper = interval.lower, interval.upper
            standard_error, degrees_of_freedom = interval.standard_error, interval.degrees_of_freedom
        elif metric.name == "accuracy":
            bound = no_difference_bound(scores.rows, confidence)
            lower, upper = max(-1.0, interval.delta - bound), min(1.0, interval.delta + bound)
    if lower is not None and upper is not None and not metric.higher_is_better:
        lower, upper = -upper, -lower
    return MetricDelta(
        metric=metric,
        reference=reference,
        baseline=float(baseline.values.mean()),
        candidate=float(candidate.values.mean()),
        gain_lower=lower,
        gain_upper=upper,
        confidence=confidence,
        standard_error=standard_error,
        degrees_of_freedom=degrees_of_freedom,
    )


def _decide(
    settings: DeltaSettings,
    *,
    metric: str,
    deltas: Sequence[MetricDelta],
    scores: BenchmarkScores,
    data: IntegratedData,
) -> Decision:
    from hokusai.analysis.statistics import decide

    delta = next((delta for delta in deltas if delta.metric.name == metric), None)
    bar = settings.minimum_gain
    outcome: Outcome = "not enough evidence"
    if not any(count.kept for count in data.counts[1:]):
        outcome = "reject"
        reason = "no contributed row is new: all of them stand in the base data or in the benchmark."
    elif delta is None:
        reason = f"{metric} is undefined here: {_why_undefined(metric, scores.undefined)}."
    elif scores.is_random and len(scores.scores["candidate"][metric].values) < _FEWEST_SEEDS:
        reason = f"the trainer is random; a decision needs at least {_FEWEST_SEEDS} seeds (training.seeds)."
    elif delta.gain_lower is None or delta.gain_upper is None:
        reason = f"no benchmark row tells the two models apart by {metric}, so nothing says how sure the delta is."
    else:
        outcome = decide(gain_lower=delta.gain_lower, gain_upper=delta.gain_upper, minimum_gain=bar)
        reason = _sentence(delta, bar=bar, outcome=outcome)
    return Decision(outcome=outcome, metric=metric, minimum_gain=bar, reason=reason)


def _sentence(delta: MetricDelta, *, bar: float, outcome: Outcome) -> str:
    said = {
        "accept": f"the whole interval is above {'zero' if bar == 0 else f'the bar of {bar:g}'}",
        "reject": f"the whole interval is below {'or at zero' if bar == 0 else f'the bar of {bar:g}'}",
        "not enough evidence": f"the interval contains {'zero' if bar == 0 else f'the bar of {bar:g} or zero'}",
    }
    return (
        f"the gain in {delta.metric.name} is {delta.gain:+.3g}, with {delta.confidence:.0%} confidence between "
        f"{delta.gain_lower:+.3g} and {delta.gain_upper:+.3g}: {said[outcome]}."
    )


def _why_undefined(metric: str, undefined: Sequence[UndefinedMetric]) -> str:
    return next((f"{item.arm}: {item.reason}" for item in undefined if item.name == metric), "it was not computed")


def _document(report: DeltaReport) -> dict[str, JsonValue]:
    """Return the report as the JSON document that ``docs/formats/delta.md`` describes."""
    return {
        "format": DELTA_FORMAT,
        "project": report.identity.project,
        "evaluation": report.identity.evaluation,
        "decision": {
            "outcome": report.decision.outcome,
            "metric": report.decision.metric,
            "minimum_gain": report.decision.minimum_gain,
            "reason": report.decision.reason,
        },
        "deltas": [_delta_document(delta) for delta in (*report.deltas, *report.baseline_deltas)],
        "undefined": [{"metric": item.name, "arm": item.arm, "reason": item.reason} for item in report.undefined],
        "model_sha256": report.model_sha256 or None,
        "datasets": [
            {
                "name": version.name,
                "context": version.context,
                "digest": version.digest,
                "rows": version.rows,
                "file_sha256": version.file_sha256,
            }
            for version in report.datasets
        ],
        "rows": [{name: getattr(count, name) for name in count.__slots__} for count in report.counts],
        "overlapping_benchmark_rows": report.overlapping_rows,
        "notes": list(report.notes),
    }


def _delta_document(delta: MetricDelta) -> dict[str, JsonValue]:
    values: dict[str, JsonValue] = {
        "metric": delta.metric.name,
        "unit": delta.metric.unit,
        "higher_is_better": delta.metric.higher_is_better,
        "reference": delta.reference,
        "baseline": delta.baseline,
        "candidate": delta.candidate,
        "gain": delta.gain,
        "relative_gain": delta.relative_gain,
        "gain_lower": delta.gain_lower,
        "gain_upper": delta.gain_upper,
        "confidence": delta.confidence,
        "standard_error": delta.standard_error,
        "degrees_of_freedom": delta.degrees_of_freedom,
    }
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


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


def _write(path: Path, document: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(document)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise DataError(
            str(path), f"cannot be written ({error.strerror}). Name another place: delta.output."
        ) from error
