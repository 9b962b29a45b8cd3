"""The comparison at the end of a reproduction: what its journal holds against what the store holds of the first."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from hokusai.datasets.snapshots import read_snapshot, snapshot_path
from hokusai.errors import DataError
from hokusai.provenance.environment import ENVIRONMENT_NAME
from hokusai.records import DELTA_FILE, ROW_SCORES_FILE, STATEMENT_FILE
from hokusai.reproduction.changed_rows import changed_row
from hokusai.reproduction.comparison import FoundDifference, compare_evaluations
from hokusai.reproduction.document import REPRODUCTION_FILE, Reproduction, reproduction_bytes
from hokusai.reproduction.evaluation_facts import dataset_name, journal_facts
from hokusai.steps.data_sources import DataSources
from hokusai.tracking.naming import DECISION_TAG, DESCRIPTION_TAG, REPRODUCTION_VERDICT_TAG, STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hokusai.datasets.reader_process import TableReader
    from hokusai.records import DeltaReport
    from hokusai.reproduction.comparison import Stage
    from hokusai.reproduction.evaluation_facts import EvaluationFacts
    from hokusai.reproduction.plan import ReproductionPlan
    from hokusai.reproduction.recorded_evaluation import RecordedEvaluation
    from hokusai.tracking.audit import AuditReport, Difference
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.run import Run

__all__ = ["ClosingComparison"]

_INTEGRATE = STEPS[1]
_EDITED = "changed in the store after it was recorded"
_STAGES: dict[str, Stage] = {
    ENVIRONMENT_NAME: "environment",
    "requirements.txt": "environment",
    "parameters.json": "parameters",
    ROW_SCORES_FILE: "row scores",
    DELTA_FILE: "decision",
    STATEMENT_FILE: "decision",
}


class ClosingComparison:
    """Compares when the reproduction's parent run ends, and records what comes of it there.

    Args:
        recorded: The first evaluation.
        plan: How it is done again.
        settings: Where the journals are.
        stored: Returns what the first evaluation is compared by, and whether the store holds what was recorded, as far
            as its own digests tell.
        tolerance: The relative tolerance.
        reader: Reads the files that were given.
        folder: Where fetched files go.

    Attributes:
        result: What came of it; None before that.
    """

    def __init__(
        self,
        recorded: RecordedEvaluation,
        plan: ReproductionPlan,
        *,
        settings: TrackingSettings,
        stored: Callable[[], tuple[EvaluationFacts, AuditReport]],
        tolerance: float,
        reader: TableReader,
        folder: Path,
    ) -> None:
        self.result: Reproduction | None = None
        self._recorded, self._plan, self._settings, self._stored = recorded, plan, settings, stored
        self._tolerance, self._reader, self._folder = tolerance, reader, folder

    def record(self, run: Run) -> None:
        """Compare, and record the comparison as an artifact and the verdict as a tag of the reproduction's run.

        One that was broken off has no verdict, unless it was because of its tables.
        """
        evaluation = run.link.evaluation
        second = journal_facts(self._settings.journal.resolve() / evaluation)
        if not second.delta and not self._has_other_tables(second):
            return
        first, _ = self._stored()
        found = compare_evaluations(first, second, tolerance=self._tolerance, left_out=self._plan.left_out)
        found = tuple(map(self._explained, found))
        self.result = self._reproduction(found, evaluation=evaluation)
        run.log_artifact(REPRODUCTION_FILE, reproduction_bytes(self.result))
        described = (
            f"**{self.result.verdict}**: the evaluation {self._recorded.key} done again; see {REPRODUCTION_FILE}."
        )
        run.set_tags({REPRODUCTION_VERDICT_TAG: self.result.verdict, DESCRIPTION_TAG: described})

    def _has_other_tables(self, second: EvaluationFacts) -> bool:
        first, found = self._recorded.datasets, second.datasets
        return first.keys() <= found.keys() and any(found[name] != digest for name, digest in first.items())

    def without_run(self) -> Reproduction:
        """Return what there is to say where nothing can be run."""
        return self._reproduction((), evaluation="")

    def finished(self, report: DeltaReport) -> Reproduction:
        """Return the result with what is known of the reproduction once it has ended."""
        claim = report.statement.claim_sha256 if report.statement is not None else ""
        return dataclasses.replace(self.result or self.without_run(), tracking=report.tracking, claim_sha256=claim)

    def _reproduction(self, found: tuple[FoundDifference, ...], *, evaluation: str) -> Reproduction:
        recorded, audit = self._stored()
        known = {difference.subject for difference in self._plan.differences}
        edits = [edit for item in audit.differences if (edit := _edit(item, recorded)).subject not in known]
        return Reproduction(
            recorded=self._recorded.key,
            recorded_run_id=self._recorded.parent.run_id,
            evaluation=evaluation,
            store=audit.store,
            tolerance=self._tolerance,
            differences=(*self._plan.differences, *edits, *self._edited_facts(recorded), *found),
            sources=self._plan.sources,
            limits=self._plan.limits,
            left_out=self._plan.left_out,
        )

    def _edited_facts(self, recorded: EvaluationFacts) -> Iterator[FoundDifference]:
        """Find what the digests in MLflow do not cover, and ``delta.json`` says as well."""
        shown = {
            dataset_name(dataset.context, dataset.name): dataset.digest
            for dataset in self._recorded.runs[_INTEGRATE].datasets
        }
        for name, digest in recorded.datasets.items():
            if shown.get(name) != digest:
                yield FoundDifference(
                    stage="data", subject=name, recorded=digest, found=shown.get(name, ""), note=_EDITED
                )
        decision = recorded.delta.get("decision")
        outcome = str(decision.get("outcome")) if isinstance(decision, dict) else ""
        tag = self._recorded.parent.tags.get(DECISION_TAG, "")
        if outcome != tag:
            yield FoundDifference(stage="decision", subject=DECISION_TAG, recorded=outcome, found=tag, note=_EDITED)

    def _explained(self, difference: FoundDifference) -> FoundDifference:
        """Name the row of a file that was given in which it differs from the table in the store."""
        if difference.stage != "data" or difference.note or self._plan.config is None:
            return difference
        sources = DataSources(self._plan.config.data, reader=self._reader)
        named = {dataset_name(part.context, part.name): part for part in sources.parts}
        part = named.get(difference.subject)
        path = snapshot_path(difference.recorded)
        if part is None or self._recorded.fetch(_INTEGRATE, path, self._folder) is None:
            return difference
        try:
            then = read_snapshot(self._folder / path, digest=difference.recorded)
            now = sources.read(part, expected=then.schema, columns=then.column_names).table
        except DataError:
            return difference
        return dataclasses.replace(difference, note=changed_row(then, now))


def _edit(item: Difference, recorded: EvaluationFacts) -> FoundDifference:
    """Return a difference between the record and its own digests, at the place in the flow that it belongs to."""
    file = item.name if item.kind == "artifact" else ""
    stage: Stage = _STAGES.get(file, "data" if file.startswith("datasets/") else "record")
    stage = {"parameter": "parameters", "model": "models"}.get(item.kind, stage)  # type: ignore[assignment]
    names = {f"datasets/{digest}.parquet": name for name, digest in recorded.datasets.items()}
    return FoundDifference(
        stage=stage,
        subject=names.get(file) or f"{item.run}: {item.kind} {item.name}",
        recorded=item.recorded,
        found=item.found,
        note=_EDITED,
    )
