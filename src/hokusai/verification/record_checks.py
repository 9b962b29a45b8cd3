"""Whether the record in MLflow is still what a statement says, and what was recorded: edits since then are found.

Two things are compared with what is there now: what the statement names, and, by the audit, what the journal recorded
or, where there is no journal, what the digests on the runs themselves say.
"""

from __future__ import annotations

import json
import math
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.digests import sha256
from hokusai.errors import ModelError, StatementError
from hokusai.models.mlflow_folders import MLMODEL
from hokusai.models.model_digests import check_digests
from hokusai.provenance.decimals import fixed_decimal
from hokusai.records import MODEL_MANIFEST_FILE, MODEL_SHA256_TAG
from hokusai.tracking import naming
from hokusai.tracking.artifacts import PARAMETERS_FILE
from hokusai.tracking.audit import audit_run
from hokusai.verification.checks import failed, not_done, ok, value_text
from hokusai.verification.claim_checks import claimed_rule
from hokusai.verification.file_checks import ROUNDING, subject_sha256
from hokusai.verification.signatures import statement_payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hokusai.provenance.claims import ClaimedDelta, DeltaClaim, Statement, StatementOrigin
    from hokusai.tracking.audit import AuditReport, Difference
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.mlflow_reader import FoundRun, FoundVersion, MlflowReader
    from hokusai.verification.checks import CheckName, StatementCheck
    from hokusai.verification.evaluation_runs import EvaluationRuns

__all__ = ["check_record"]

_STEP_4, _STEP_5 = "evaluate_on_benchmark", "compare_and_output_delta"
_CHECKS: Mapping[str, CheckName] = {
    "parameter": "parameters",
    "metric": "metrics",
    "tag": "tags",
    "dataset": "datasets",
    "artifact": "artifacts",
    "model": "models",
    "model version": "models",
}
_NEEDS_JOURNAL = ("metrics", "tags", "datasets")


def check_record(
    statement: Statement,
    payload: bytes,
    recorded: EvaluationRuns,
    *,
    settings: TrackingSettings,
    journal: Path | None,
) -> tuple[StatementCheck, ...]:
    """Return whether everything that MLflow holds of an evaluation is what it was.

    Args:
        statement: The statement.
        payload: Its bytes.
        recorded: The evaluation's runs.
        settings: Where MLflow is.
        journal: The folder of the evaluation's journal; None where it is not at hand.

    Raises:
        TrackingServerError: The store does not answer.
    """
    evaluation = statement.predicate.record.evaluation
    audit = audit_run(settings, evaluation, journal=journal, without_journal=journal is None)
    findings: dict[CheckName, list[str]] = {
        "parameters": [
            *_parameters(statement.predicate.claim, recorded),
            *_parameter_documents(statement.predicate.record.origin, recorded),
        ],
        "metrics": [*_metrics(statement.predicate.claim, recorded)],
        "tags": [*_tags(statement, recorded)],
        "datasets": [],
        "artifacts": [*_artifacts(statement, payload, recorded)],
        "models": [*_models(statement, recorded)],
        "record": [],
    }
    for item in audit.edits:
        findings[_CHECKS.get(item.kind, "record")].append(_line(item))
    checks = [_check(name, faults, has_journal=journal is not None, audit=audit) for name, faults in findings.items()]
    return tuple(checks)


def _check(name: CheckName, faults: list[str], *, has_journal: bool, audit: AuditReport) -> StatementCheck:
    if faults:
        what = "what MLflow holds is not what was recorded, or what the statement says."
        return failed(name, "changed", what, findings=tuple(sorted(set(faults))))
    count = sum(number for kind, number in audit.checked.items() if _CHECKS.get(kind, "record") == name)
    if has_journal:
        waiting = len(audit.differences) - len(audit.edits)
        if name == "record" and waiting:
            return not_done(name, "not shipped", f"{waiting} facts wait in the journal to be shipped (`hokusai sync`).")
        return ok(name, f"as the statement says; {count} compared with the journal.")
    if name in _NEEDS_JOURNAL:
        what = "as the statement says, as far as it says anything; the others could be compared with the journal alone."
        return ok(name, what) if name != "datasets" else not_done(name, "no journal", "only the journal tells them.")
    return ok(name, f"as the statement says; {count} compared with the digests that the runs keep.")


def _line(item: Difference) -> str:
    texts = [f"recorded {item.recorded:.100}"] if item.recorded else []
    texts += [f"found {item.found:.100}"] if item.found else []
    return f"{item.reason}: {item.run or item.key}: {item.kind} {item.name}: {', '.join(texts)}".rstrip(": ")


# --- what the statement names ----------------------------------------------------------------------------------------


def _parameters(claim: DeltaClaim, recorded: EvaluationRuns) -> Iterator[str]:
    rule, last = claimed_rule(claim), recorded.steps.get(_STEP_5)
    expected = {
        "delta.metric": claim.decision.metric,
        "delta.minimum_gain": claim.decision.minimum_gain,
        "training.estimator": claim.trainer,
    }
    yield from _different(recorded.parent, recorded.parent.parameters, expected, kind="parameter")
    if last is not None and rule is not None:
        guards: dict[str, object] = {guard.metric: guard.margin for guard in rule.guards}
        del expected["training.estimator"]
        more = {**expected, "delta.rule_sha256": claim.rule.sha256, "delta.guards": guards}
        yield from _different(last, last.parameters, more, kind="parameter")


def _parameter_documents(origin: StatementOrigin, recorded: EvaluationRuns) -> Iterator[str]:
    """Compare the documents that hold all parameters, with which the audit compares the parameters themselves."""
    for item in origin.parameters:
        yield from _difference_in_file(recorded, item.step or "", PARAMETERS_FILE, item.sha256)


def _metrics(claim: DeltaClaim, recorded: EvaluationRuns) -> Iterator[str]:
    last = recorded.steps.get(_STEP_5)
    for delta in claim.deltas:
        values = _metrics_of(delta)
        if last is not None:
            yield from _different(last, _latest(last), values, kind="metric")
        if delta.reference == "control":
            means = {f"control.{delta.metric}": delta.baseline, f"candidate.{delta.metric}": delta.candidate}
            yield from _different(recorded.parent, _latest(recorded.parent), {**values, **means}, kind="metric")


def _metrics_of(delta: ClaimedDelta) -> dict[str, Decimal | None]:
    name = f"delta.{delta.metric}" if delta.reference == "control" else f"delta_baseline.{delta.metric}"
    ends = {"lower": delta.gain_lower, "upper": delta.gain_upper, "standard_error": delta.standard_error}
    return {name: delta.gain, **{f"{name}.{end}": value for end, value in ends.items()}}


def _latest(run: FoundRun) -> dict[str, float]:
    return {name: point.value for name, point in run.latest.items()}


def _tags(statement: Statement, recorded: EvaluationRuns) -> Iterator[str]:
    claim, origin = statement.predicate.claim, statement.predicate.record.origin
    decided = {
        naming.DECISION_TAG: claim.decision.outcome,
        naming.EXPLORATORY_TAG: json.dumps(claim.decision.is_exploratory),
    }
    told = {**decided, **_dataset_tags(claim), naming.DECISION_RULE_TAG: claim.rule.sha256}
    if origin.code_commit is not None:
        told[naming.CODE_COMMIT_TAG] = origin.code_commit
    yield from _different(recorded.parent, recorded.parent.tags, told, kind="tag")
    if (last := recorded.steps.get(_STEP_5)) is not None:
        yield from _different(last, last.tags, decided, kind="tag")


def _dataset_tags(claim: DeltaClaim) -> dict[str, str]:
    # Of several tables that play one part, such as benchmarks, the tag names the first.
    tags: dict[str, str] = {}
    for each in claim.datasets:
        name = each.name if each.context == "contribution" else None
        tags.setdefault(naming.dataset_tag(each.context, name), each.tabhash1)
    return tags


def _artifacts(statement: Statement, payload: bytes, recorded: EvaluationRuns) -> Iterator[str]:
    claim, origin = statement.predicate.claim, statement.predicate.record.origin
    expected = [
        ("", "decision_rule.json", claim.rule.sha256),
        ("", "environment.json", origin.environment_sha256),
        (_STEP_4, "row_scores.parquet", claim.row_scores_sha256),
        (_STEP_5, "delta.json", subject_sha256(statement, "delta.json")),
    ]
    for step, path, digest in expected:
        if digest is not None:
            yield from _difference_in_file(recorded, step, path, digest)
    content = recorded.artifact(_STEP_5, "statement.json")
    if content is None:
        yield f"missing: {_STEP_5}: statement.json"
    elif not _says_the_same(content, payload):
        yield f"changed: {_STEP_5}: statement.json: the run has another statement than this one"


def _difference_in_file(recorded: EvaluationRuns, step: str, path: str, digest: str) -> Iterator[str]:
    content = recorded.artifact(step, path)
    if content is None:
        yield f"missing: {step or 'the parent'}: {path}"
    elif sha256(content) != digest:
        yield f"changed: {step or 'the parent'}: {path}: claimed {digest}, found {sha256(content)}"


def _says_the_same(content: bytes, payload: bytes) -> bool:
    try:
        return statement_payload(content, source="statement") == payload
    except StatementError:
        return False


def _models(statement: Statement, recorded: EvaluationRuns) -> Iterator[str]:
    claim, evaluation = statement.predicate.claim, statement.predicate.record.evaluation
    if claim.model_sha256 is None:
        return
    versions = recorded.store.versions_of(recorded.parent.run_id, keys=[(naming.EVALUATION_TAG, evaluation)])
    if not versions:
        yield "missing: no model version of this evaluation is registered"
    expected: dict[str, object] = {
        naming.EVALUATION_TAG: evaluation,
        naming.ESTIMATOR_TAG: claim.trainer,
        naming.SEEDS_TAG: json.dumps(list(claim.seeds.candidate)),
        naming.METRIC_TAG: claim.decision.metric,
        naming.DECISION_TAG: claim.decision.outcome,
        naming.EXPLORATORY_TAG: json.dumps(claim.decision.is_exploratory),
        MODEL_SHA256_TAG: claim.model_sha256,
        **_dataset_tags(claim),
    }
    for delta in claim.deltas:
        if delta.metric == claim.decision.metric and delta.reference == "control":
            name = f"{naming.DELTA_TAG}.{delta.metric}"
            expected |= {name: delta.gain, f"{name}.lower": delta.gain_lower, f"{name}.upper": delta.gain_upper}
    for version in versions:
        named = f"{version.name} {version.version}"
        yield from _differences(named, version.tags, expected, kind="tag")
        try:
            yield from _model_files(recorded.store, version, named, claim.model_sha256)
        except ModelError as error:
            yield f"changed: {error}"


def _model_files(store: MlflowReader, version: FoundVersion, named: str, model_sha256: str) -> Iterator[str]:
    """Compare what MLflow would load with the claimed model, and every file with the folder's own list."""
    found = {path: store.digest_of(version.location, path)[0] for path in store.files_of(version.location)}
    with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
        for name in found.keys() & {MLMODEL, MODEL_MANIFEST_FILE}:
            (Path(folder) / name).write_bytes(store.read_file_if_there(version.location, name) or b"")
        checked = check_digests(Path(folder), found, {MODEL_SHA256_TAG: model_sha256}, source=named)
    for item in checked.differences:
        texts = f"claimed {item.expected or 'no such file'}, found {item.found or 'none'}"
        yield f"changed: {named}: {item.path}: {texts}"


# --- texts and numbers as MLflow holds them --------------------------------------------------------------------------


def _different(
    run: FoundRun, found: Mapping[str, str | float], expected: Mapping[str, object], *, kind: str
) -> Iterator[str]:
    return _differences(run.name, found, expected, kind=kind)


def _differences(
    where: str, found: Mapping[str, str | float], expected: Mapping[str, object], *, kind: str
) -> Iterator[str]:
    for name, value in expected.items():
        if name not in found:
            if value is not None:
                yield f"missing: {where}: {kind} {name}: claimed {value_text(value)}"
        elif not _says(found[name], value):
            yield f"changed: {where}: {kind} {name}: claimed {value_text(value)}, found {found[name]}"


def _says(found: str | float, claimed: object) -> bool:
    """Return whether a text or number in MLflow is what is claimed."""
    if isinstance(claimed, Decimal):
        try:
            value = float(found)
        except ValueError:
            return False
        return math.isfinite(value) and abs(fixed_decimal(value) - claimed) <= ROUNDING
    if isinstance(claimed, dict):
        try:
            return bool(json.loads(str(found)) == claimed)
        except ValueError:
            return False
    return found == claimed
