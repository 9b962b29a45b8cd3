"""The report as ``delta.json``, which ``docs/formats/delta.md`` describes."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hokusai.digests import JsonValue
    from hokusai.records import Decision, DeltaReport, MetricDelta, SubsetDeltas

__all__ = ["DELTA_FORMAT", "delta_bytes", "require_writable", "write_documents"]

DELTA_FORMAT = "hokusai-delta/1"


def delta_bytes(report: DeltaReport) -> bytes:
    """Return the document's bytes."""
    return json.dumps(_document(report), indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def write_documents(documents: Mapping[Path, bytes]) -> None:
    """Write documents, each whole or not at all, and none before all of them could be written.

    Raises:
        DataError: One cannot be written.
    """
    partials = {path: path.with_name(f"{path.name}.{os.getpid()}.partial") for path in documents}
    path = Path()
    try:
        for path, document in documents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            partials[path].write_bytes(document)
        for path in documents:
            partials[path].replace(path)
    except OSError as error:
        for partial in partials.values():
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        raise DataError(
            str(path), f"cannot be written ({error.strerror}). Name another place: delta.output."
        ) from error


def require_writable(path: Path) -> None:
    """Refuse a place where a document could not be written, before any work.

    Raises:
        DataError: It is a folder, or lies in one that cannot be written to.
    """
    folder = next((each for each in path.parents if each.exists()), path.parent)
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        reason = "a folder is there" if path.is_dir() else f"{folder} is no folder that can be written to"
        raise DataError(str(path), f"cannot be written ({reason}). Name another place: delta.output.")


def _document(report: DeltaReport) -> dict[str, JsonValue]:
    return {
        "format": DELTA_FORMAT,
        "project": report.identity.project,
        "evaluation": report.identity.evaluation,
        "decision": _decision_document(report.decision),
        "deltas": [_delta_document(delta) for delta in (*report.deltas, *report.baseline_deltas)],
        "undefined": [{"metric": item.name, "arm": item.arm, "reason": item.reason} for item in report.undefined],
        "subsets": [_subset_document(subset) for subset in report.subsets],
        "cross_checks": [_values(check) for check in report.cross_checks],
        "negative_controls": [
            {
                "arm": control.arm,
                "outcome": control.outcome,
                "delta": None if control.delta is None else _delta_document(control.delta),
            }
            for control in report.negative_controls
        ],
        "decoy_tests": [_values(test) for test in report.decoy_tests],
        "answer_step": report.answer_step,
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
        "rows": [_values(count) for count in report.counts],
        "overlapping_benchmark_rows": report.overlapping_rows,
        "notes": list(report.notes),
    }


def _decision_document(decision: Decision) -> dict[str, JsonValue]:
    values = _values(decision)
    values["guards"] = [_values(guard) for guard in decision.guards]
    values["not_concluded"] = list(decision.not_concluded)
    return values


def _subset_document(subset: SubsetDeltas) -> dict[str, JsonValue]:
    return {
        **_values(subset.subset),
        "deltas": [_delta_document(delta) for delta in subset.deltas],
        "undefined": [{"metric": item.name, "arm": item.arm, "reason": item.reason} for item in subset.undefined],
    }


def _delta_document(delta: MetricDelta) -> dict[str, JsonValue]:
    return {
        "metric": delta.metric.name,
        "unit": delta.metric.unit,
        "higher_is_better": delta.metric.higher_is_better,
        "role": delta.role,
        "reference": delta.reference,
        "baseline": _finite(delta.baseline),
        "candidate": _finite(delta.candidate),
        "gain": _finite(delta.gain),
        "relative_gain": _finite(delta.relative_gain),
        "gain_lower": _finite(delta.gain_lower),
        "gain_upper": _finite(delta.gain_upper),
        "confidence": delta.confidence,
        "standard_error": _finite(delta.standard_error),
        "degrees_of_freedom": _finite(delta.degrees_of_freedom),
        "row_variance": _finite(delta.row_variance),
        "reference_seed_variance": _finite(delta.reference_seed_variance),
        "candidate_seed_variance": _finite(delta.candidate_seed_variance),
        "p_value": _finite(delta.p_value),
        "adjusted_p_value": _finite(delta.adjusted_p_value),
    }


def _values(record: Any) -> dict[str, JsonValue]:  # noqa: ANN401  (a record of plain values)
    return {
        field.name: _finite(value) if isinstance(value := getattr(record, field.name), float) else value
        for field in dataclasses.fields(record)
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
