"""What two evaluations are compared by, wherever they are read from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hokusai.records import DELTA_FILE, ROW_SCORES_FILE, STATEMENT_FILE
from hokusai.tracking.artifacts import PARAMETERS_FILE
from hokusai.tracking.journal import staged_path
from hokusai.tracking.naming import BASELINE_DIGEST_TAG, BASELINE_MANIFEST_TAG, STEPS
from hokusai.tracking.recorded_facts import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hokusai.digests import JsonValue
    from hokusai.tracking.recorded_facts import RunFacts

__all__ = [
    "EVALUATION",
    "EvaluationFacts",
    "Metrics",
    "baseline_model",
    "dataset_name",
    "journal_facts",
    "json_object",
    "recorded_datasets",
]

EVALUATION = "evaluation"
"""What the parent run is called beside the names of the steps."""

Metrics = dict[str, tuple[tuple[int, float], ...]]
"""The points of metrics by name: pairs of step and value, in the order of their steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFacts:
    """One evaluation: what went in, what came out. What it has not come to is empty.

    Attributes:
        key: Its key.
        environment: The artifact ``environment.json``.
        datasets: Content digests by what :func:`dataset_name` calls the tables.
        parameters: The parameters of every step, by the step's name; the parent run's are those of ``evaluation``.
        models: SHA-256 of the files of ``candidate`` and ``baseline``.
        row_scores: The artifact ``row_scores.parquet``.
        metrics: The metrics of every step, by the step's name.
        delta: What ``delta.json`` says.
        statement: The artifact ``statement.json``.
    """

    key: str
    environment: bytes | None = None
    datasets: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    row_scores: bytes | None = None
    metrics: Mapping[str, Metrics] = field(default_factory=dict)
    delta: Mapping[str, JsonValue] = field(default_factory=dict)
    statement: bytes | None = None


def dataset_name(context: str, name: str) -> str:
    """Return what a table is called among the others: the part that it plays, and its own name where that differs."""
    return context if name == context else f"{context} {name}"


def json_object(content: bytes | None) -> dict[str, JsonValue]:
    """Return the JSON object in some bytes; empty for none and for what is none."""
    try:
        value = json.loads(content or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def recorded_datasets(delta: Mapping[str, JsonValue]) -> dict[str, str]:
    """Return the content digests that a ``delta.json`` names, by what :func:`dataset_name` calls the tables."""
    listed = delta.get("datasets")
    items = listed if isinstance(listed, list) else []
    return {dataset_name(str(item["context"]), str(item["name"])): str(item["digest"]) for item in items}


def baseline_model(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the digest of the given baseline model that tags of the first step name, by its name; may be empty."""
    digest = tags.get(BASELINE_DIGEST_TAG) or tags.get(BASELINE_MANIFEST_TAG)
    return {"baseline": digest} if digest else {}


def journal_facts(folder: Path) -> EvaluationFacts:
    """Return what an evaluation has recorded so far, from its journal, which may still be written.

    Args:
        folder: The journal's folder.
    """
    record = Record()
    record.read(folder, confirmed=0)
    key = folder.name
    keys = {EVALUATION: key, **{step: f"{key}:{step}" for step in STEPS}}
    runs = {name: record.runs[run] for name, run in keys.items() if run in record.runs}

    def content(step: str, path: str) -> bytes | None:
        files = runs[step].artifacts.get(path) if step in runs else None
        if files is None:
            return None
        digest, _ = next(reversed(files.values())).value
        return staged_path(folder, digest).read_bytes()

    load, _, train, evaluate, compare = STEPS
    tags = {name: next(reversed(by.values())).value for name, by in runs[load].tags.items()} if load in runs else {}
    models = {name: fact.value.sha256 for name, fact in runs[train].models.items()} if train in runs else {}
    return EvaluationFacts(
        key=key,
        environment=content(EVALUATION, "environment.json"),
        datasets={
            dataset_name(dataset.value.context, dataset.value.name): dataset.value.digest
            for run in runs.values()
            for by_journal in run.datasets.values()
            for dataset in by_journal.values()
        },
        parameters={name: json_object(content(name, PARAMETERS_FILE)) for name in runs},
        models=models | baseline_model(tags),
        row_scores=content(evaluate, ROW_SCORES_FILE),
        metrics={name: dict(_metrics(run)) for name, run in runs.items()},
        delta=json_object(content(compare, DELTA_FILE)),
        statement=content(compare, STATEMENT_FILE),
    )


def _metrics(run: RunFacts) -> Iterator[tuple[str, tuple[tuple[int, float], ...]]]:
    for name in run.shipped_points.keys() | run.pending_points.keys():
        points = [
            (step, value + 0.0)
            for known in (run.shipped_points, run.pending_points)
            if name in known
            for step, value in zip(known[name].steps, known[name].values, strict=True)
        ]
        yield name, tuple(sorted(set(points)))
