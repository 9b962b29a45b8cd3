"""The delta document that token contracts' tools read: ``delta_output_zk_<evaluation>.json``, schema version 1.0.

It stands beside the statement and is bound to it: its ``hash_tree_root`` is the Merkle root over the statement's
subjects. Its ``public_inputs_hash`` is the SHA-256 of the document without ``attestation``, in the document's own
canonical form: sorted keys, no blanks, ASCII escapes. The format has numbers, no fixed decimals; what is signed is the
statement.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hokusai.digests import sha256
from hokusai.provenance.merkle import merkle_root
from hokusai.provenance.statement import subject_leaves, subject_root

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from hokusai.digests import JsonValue
    from hokusai.provenance.claims import ClaimedContributor, Statement
    from hokusai.records import DatasetVersion, DeltaReport, MetricDelta

__all__ = ["DeploymentEnvironment", "ZkOutput", "make_zk_output", "public_inputs_hash", "zk_output_name"]

DeploymentEnvironment = Literal["production", "staging", "test", "development"]
_SCHEMA_VERSION = "1.0"
_KEY = re.compile(r"[a-zA-Z0-9_-]+", re.ASCII)
_WALLET = re.compile(r"0[xX][a-fA-F0-9]{40}", re.ASCII)
# The format has a name of its own for one of our metrics.
_THEIR_NAMES = {"roc_auc": "auroc"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ZkOutput:
    """The document, or why there is none.

    Attributes:
        document: Its bytes; None where the format cannot express the evaluation.
        reason: Why there is none, one sentence; empty where there is one.
    """

    document: bytes | None = None
    reason: str = ""


def zk_output_name(evaluation: str) -> str:
    """Return the name of the document's file."""
    return f"delta_output_zk_{evaluation}.json"


def make_zk_output(
    report: DeltaReport,
    *,
    statement: Statement,
    features: Sequence[str],
    now: datetime,
    deployment: DeploymentEnvironment | None = None,
    evaluation_seconds: float | None = None,
    training_config_sha256: str | None = None,
) -> ZkOutput:
    """Return the document of an evaluation.

    The baseline is the control. ``improvement`` means towards better, whichever way the metric goes;
    ``delta_one_score`` is the gain of the metric that decides. A metric whose baseline is 0 has no relative change and
    is left out of ``metric_deltas``.

    Args:
        report: The evaluation's report.
        statement: The statement that was made of it.
        features: Names of the columns that the models predict from.
        now: When the document is made.
        deployment: Where the pipeline runs; None leaves it out.
        evaluation_seconds: How long the evaluation took; None leaves it out.
        training_config_sha256: SHA-256 of the training's configuration; None leaves it out.
    """
    deltas = {_their_name(delta.metric.name): delta for delta in report.deltas}
    reason = _why_none(report, deltas)
    if reason:
        return ZkOutput(reason=f"no document for the token tools: {reason}")
    baseline = {name: delta.baseline for name, delta in deltas.items()}
    candidate = {name: delta.candidate for name, delta in deltas.items()}
    optional: dict[str, JsonValue] = (
        {} if evaluation_seconds is None else {"evaluation_time_seconds": evaluation_seconds}
    )
    document: dict[str, JsonValue] = {
        "schema_version": _SCHEMA_VERSION,
        "metadata": _metadata(statement, now=now, deployment=deployment),
        "evaluation_results": {
            "baseline_metrics": baseline,
            "new_metrics": candidate,
            "benchmark_metadata": _benchmark(report, features),
            "evaluation_timestamp": _timestamp(now),
            **optional,
        },
        "delta_computation": _delta_computation(report, deltas),
        "models": _models(report, statement, metrics=(baseline, candidate), config_sha256=training_config_sha256),
        "contributor_info": _contributor_info(report, statement),
        "contributors": _contributors(report, statement),
    }
    document["attestation"] = {
        "hash_tree_root": subject_root(statement),
        "public_inputs_hash": public_inputs_hash(document),
        "proof_ready": True,
        "proof_system": "none",
    }
    return ZkOutput(document=_canonical(document))


def public_inputs_hash(document: Mapping[str, JsonValue]) -> str:
    """Return the SHA-256 of a document without its ``attestation``.

    Raises:
        ValueError: It holds NaN or an infinity.
    """
    return sha256(_canonical({name: value for name, value in document.items() if name != "attestation"}))


def _canonical(document: Mapping[str, JsonValue]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _their_name(name: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", _THEIR_NAMES.get(name, name).lower())


def _why_none(report: DeltaReport, deltas: Mapping[str, MetricDelta]) -> str:
    decides = report.decision.metric
    if "accuracy" not in deltas:
        return "the format has a place for classifiers alone, and asks for the accuracy, which this has not."
    if _their_name(decides) not in deltas:
        return f"the metric that decides, {decides}, has no value."
    if len(deltas) < len(report.deltas):
        return "two metrics have names that are the same in the format's spelling."
    if not _KEY.fullmatch(report.identity.evaluation):
        return f"the evaluation's key {report.identity.evaluation!r} has characters that the format does not allow."
    return ""


def _contributions(report: DeltaReport) -> tuple[DatasetVersion, ...]:
    """Return the contributions, in the statement's order."""
    return tuple(version for version in report.datasets if version.context == "contribution")


def _timestamp(now: datetime) -> str:
    return now.isoformat().replace("+00:00", "Z")


def _metadata(statement: Statement, *, now: datetime, deployment: DeploymentEnvironment | None) -> dict[str, JsonValue]:
    record = statement.predicate.record
    found: dict[str, JsonValue] = {
        "pipeline_run_id": record.evaluation,
        "timestamp": _timestamp(now),
        "pipeline_version": record.origin.hokusai_version,
        "dry_run": False,
    }
    return found if deployment is None else {**found, "environment": deployment}


def _benchmark(report: DeltaReport, features: Sequence[str]) -> dict[str, JsonValue]:
    # The first one decides.
    version = next(each for each in report.datasets if each.context == "benchmark")
    return {
        "size": version.rows,
        "type": "classification",
        "features": list(features),
        "dataset_hash": version.digest,
    }


def _delta_computation(report: DeltaReport, deltas: Mapping[str, MetricDelta]) -> dict[str, JsonValue]:
    relative = {name: delta for name, delta in deltas.items() if delta.relative_gain is not None}
    return {
        "delta_one_score": report.delta.gain,
        "computation_method": "custom",
        "metric_deltas": {name: _metric_delta(delta) for name, delta in relative.items()},
        "metrics_included": list(relative),
        "improved_metrics": [name for name, delta in relative.items() if delta.gain > 0],
        "degraded_metrics": [name for name, delta in relative.items() if delta.gain < 0],
    }


def _metric_delta(delta: MetricDelta) -> dict[str, JsonValue]:
    change = delta.candidate - delta.baseline
    return {
        "baseline_value": delta.baseline,
        "new_value": delta.candidate,
        "absolute_delta": change,
        "relative_delta": change / abs(delta.baseline),
        "improvement": delta.gain > 0,
    }


def _models(
    report: DeltaReport,
    statement: Statement,
    *,
    metrics: tuple[Mapping[str, float], Mapping[str, float]],
    config_sha256: str | None,
) -> dict[str, JsonValue]:
    claim, origin = statement.predicate.claim, statement.predicate.record.origin
    by_context = {version.context: version for version in report.datasets if version.context != "contribution"}
    base_rows, contributed = report.counts[0].kept, sum(count.kept for count in report.counts[1:])
    common: dict[str, JsonValue] = {"model_type": claim.trainer, "mlflow_run_id": origin.run_id}
    if config_sha256 is not None:
        common["training_config_hash"] = config_sha256
    models: dict[str, JsonValue] = {}
    for name, arm, version, rows, values in (
        ("baseline", "control", by_context["base"], 0, metrics[0]),
        ("new", "candidate", by_context["integrated"], contributed, metrics[1]),
    ):
        models[name] = {
            **common,
            "model_id": f"{report.identity.evaluation}-{arm}",
            "metrics": values,
            "training_metadata": {
                "base_samples": base_rows,
                "contributed_samples": rows,
                "contribution_ratio": rows / (base_rows + rows) if rows else 0.0,
                "data_manifest": _manifest(version),
            },
            **({"model_hash": claim.model_sha256} if arm == "candidate" and claim.model_sha256 else {}),
        }
    return models


def _manifest(version: DatasetVersion) -> dict[str, JsonValue]:
    """Return what a table is; without its path, which may name a person's folder."""
    found: dict[str, JsonValue] = {
        "data_hash": version.digest,
        "row_count": version.rows,
        "column_count": len(version.columns),
        "columns": [name for name, _ in version.columns],
        "dtypes": dict(version.columns),
    }
    if version.null_counts:
        found["null_counts"] = dict(version.null_counts)
    if version.unique_counts:
        found["unique_counts"] = {name: count for name, count in version.unique_counts if count is not None}
    return found


def _contributor_info(report: DeltaReport, statement: Statement) -> dict[str, JsonValue]:
    """Return one contribution, or all of them as one: their digest is then the Merkle root over theirs."""
    versions, claimed = _contributions(report), statement.predicate.claim.contributors
    kept = sum(each.rows_kept for each in claimed)
    found: dict[str, JsonValue] = {
        "contributor_weights": float(sum(each.weight for each in claimed)),
        "contributed_samples": kept,
        "total_samples": report.counts[0].kept + kept,
        "validation_status": _status(report, *(version.name for version in versions)),
    }
    if len(versions) == 1:
        found |= {"data_hash": versions[0].digest, "data_manifest": _manifest(versions[0])}
        return found | {"contributor_id": _identity(claimed[0]), **_wallet(claimed[0])}
    leaves = [leaf for leaf in subject_leaves(statement) if leaf[0].startswith("tabhash1/datasets/contribution/")]
    root = merkle_root(leaves)
    columns = {name for version in versions for name, _ in version.columns}
    manifest: dict[str, JsonValue] = {
        "data_hash": root,
        "row_count": sum(version.rows for version in versions),
        "column_count": len(columns),
    }
    return found | {"data_hash": root, "data_manifest": manifest}


def _contributors(report: DeltaReport, statement: Statement) -> list[JsonValue]:
    versions, claimed = _contributions(report), statement.predicate.claim.contributors
    return [
        {
            "id": _identity(each),
            "data_hash": version.digest,
            "data_manifest": _manifest(version),
            "weight": float(each.weight),
            "contributed_samples": each.rows_kept,
            "validation_status": _status(report, version.name),
            **_wallet(each),
        }
        for version, each in zip(versions, claimed, strict=True)
    ]


def _identity(contributor: ClaimedContributor) -> str:
    return contributor.contributor or contributor.name


def _wallet(contributor: ClaimedContributor) -> dict[str, JsonValue]:
    """Return the address of whoever names themselves by one."""
    named = contributor.contributor or ""
    return {"wallet_address": named} if _WALLET.fullmatch(named) else {}


def _status(report: DeltaReport, *names: str) -> str:
    """Return what is known of contributions; what has nothing new is none, and what met the benchmark may know more."""
    counts = [each for each in report.counts if each.name in names]
    if not all(each.kept for each in counts):
        return "invalid"
    alarmed = {test.contribution for test in report.decoy_tests if test.alarm}
    return "unknown" if alarmed.intersection(names) or any(each.in_benchmark for each in counts) else "valid"
