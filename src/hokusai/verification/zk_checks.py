"""Whether the document for token contracts' tools is what follows from a statement and its report."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai.errors import StatementError
from hokusai.provenance.strict_json import read_json
from hokusai.provenance.zk_output import make_zk_output
from hokusai.records import (
    ContributionCounts,
    DatasetVersion,
    Decision,
    DecoyTest,
    DeltaReport,
    EvaluationIdentity,
    Metric,
    MetricDelta,
)
from hokusai.verification.checks import failed, ok

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hokusai.provenance.claims import Statement
    from hokusai.verification.checks import StatementCheck

__all__ = ["check_zk_output"]


def check_zk_output(statement: Statement, delta: Mapping[str, Any], content: bytes, *, source: str) -> StatementCheck:
    """Return whether the document is the one that is made of a statement and its report, byte for byte.

    The time of the evaluation, the names of the features and the profiles of the columns are in neither, and are taken
    from the document itself.

    Args:
        statement: The statement.
        delta: The report that it claims, which is known to say the same.
        content: The document's bytes.
        source: What messages call it.
    """
    try:
        document: Any = read_json(content, source=source)
        made = make_zk_output(
            _report(statement, delta, document),
            statement=statement,
            features=document["evaluation_results"]["benchmark_metadata"]["features"],
            now=datetime.fromisoformat(document["metadata"]["timestamp"]),
        )
    except (StatementError, LookupError, TypeError, AttributeError, ValueError, StopIteration) as error:
        problem = f"{source} is no such document ({type(error).__name__}: {error}); take the one that the run keeps."
        return failed("zk output", "contradiction", problem)
    if made.document == content:
        return ok("zk output", f"{source} is what follows from the statement and the claimed report.")
    expected = {} if made.document is None else read_json(made.document, source=source)
    problem = f"{source} is not what follows from the statement and the claimed report. {made.reason}".rstrip()
    findings = tuple(_differences(document, expected, ""))
    return failed("zk output", "contradiction", problem, findings=findings or ("the bytes are not the canonical ones",))


def _report(statement: Statement, delta: Mapping[str, Any], document: Mapping[str, Any]) -> DeltaReport:
    """Return what the document tells of the report."""
    claim, record = statement.predicate.claim, statement.predicate.record
    models = {"base": document["models"]["baseline"], "integrated": document["models"]["new"]}
    contributed = iter(document["contributors"])
    profiles = [
        next(contributed)["data_manifest"]
        if each.context == "contribution"
        else models[each.context]["training_metadata"]["data_manifest"]
        if each.context in models
        else {"columns": []}
        for each in claim.datasets
    ]
    return DeltaReport(
        identity=EvaluationIdentity(
            project=record.project, evaluation=record.evaluation, registered_model="", delta_file=Path()
        ),
        decision=Decision(
            outcome=claim.decision.outcome,
            metric=claim.decision.metric,
            minimum_gain=float(claim.decision.minimum_gain),
            reason="",
        ),
        deltas=tuple(_delta(each) for each in delta["deltas"] if each["reference"] == "control"),
        baseline_deltas=(),
        undefined=(),
        datasets=tuple(
            DatasetVersion(
                name=each.name,
                context=each.context,
                digest=each.tabhash1,
                rows=each.rows,
                columns=tuple((name, profile["dtypes"][name]) for name in profile["columns"]),
                source="",
                null_counts=tuple(profile.get("null_counts", {}).items()),
                unique_counts=tuple(profile.get("unique_counts", {}).items()),
            )
            for each, profile in zip(claim.datasets, profiles, strict=True)
        ),
        counts=tuple(ContributionCounts(**each) for each in delta["rows"]),
        decoy_tests=tuple(DecoyTest(**each) for each in delta["decoy_tests"]),
    )


def _delta(said: Mapping[str, Any]) -> MetricDelta:
    names = ("baseline", "candidate", "gain_lower", "gain_upper", "confidence", "standard_error", "degrees_of_freedom")
    return MetricDelta(
        metric=Metric(
            name=said["metric"],
            task="classification",
            higher_is_better=said["higher_is_better"],
            unit=said["unit"],
        ),
        reference=said["reference"],
        **{name: said[name] for name in names},
    )


def _differences(found: Any, expected: Any, path: str) -> Iterator[str]:  # noqa: ANN401  (any JSON)
    """Yield every place where two documents differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted(found.keys() | expected.keys()):
            yield from _differences(found.get(name), expected.get(name), f"{path}.{name}".lstrip("."))
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for number, pair in enumerate(zip(found, expected, strict=True)):
            yield from _differences(*pair, f"{path}[{number}]")
    elif found != expected:
        yield f"{path}: it is {found!s:.100}, and {expected!s:.100} follows"
