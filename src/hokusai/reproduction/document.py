"""What came of doing an evaluation again, as a value and as ``reproduction.json``."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.reproduction.comparison import STAGES, ordered, verdict_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hokusai.digests import JsonValue
    from hokusai.records import TrackingSummary
    from hokusai.reproduction.comparison import FoundDifference, Grade

__all__ = ["REPRODUCTION_FILE", "REPRODUCTION_FORMAT", "Reproduction", "reproduction_bytes"]

REPRODUCTION_FILE = "reproduction.json"
REPRODUCTION_FORMAT = "hokusai-reproduction/1"
_NAMED = 3
_RESULTS = ("models", "row scores", "metrics", "intervals", "decision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """An evaluation, done again.

    Attributes:
        recorded: Key of the recorded evaluation.
        recorded_run_id: MLflow's id of its parent run.
        evaluation: Key of the reproduction; empty where nothing was run.
        claim_sha256: What identifies the claim of its statement; empty where there is none.
        store: The tracking store, without credentials.
        tolerance: The relative tolerance.
        differences: Everything that differs, in the order of the flow.
        sources: Where each table was taken from, by its name.
        limits: What could not be the same, or was not compared, and why.
        left_out: Parameters and metrics that were not compared.
        tracking: Where the reproduction's own record is; None where nothing was run.
    """

    recorded: str
    recorded_run_id: str
    store: str
    tolerance: float
    differences: tuple[FoundDifference, ...]
    evaluation: str = ""
    claim_sha256: str = ""
    sources: Mapping[str, str]
    limits: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    tracking: TrackingSummary | None = None

    @property
    def run_id(self) -> str:
        """MLflow's id of the reproduction's parent run; empty where that is not known."""
        runs = self.tracking.runs if self.tracking is not None else ()
        return (runs[0].run_id or "") if runs else ""

    @property
    def verdict(self) -> Grade:
        """``identical``, ``equal within the tolerance`` or ``different``: the worst grade of all differences."""
        return verdict_of(self.differences)

    @property
    def first_difference(self) -> FoundDifference | None:
        """The first difference in the flow; one that changed no result only where there is no other."""
        found = ordered(self.differences)
        return next((item for item in found if item.grade != "identical"), found[0] if found else None)

    @property
    def explanation(self) -> str:
        """What may have caused the first difference; empty where nothing is known."""
        first = self.first_difference
        if first is None or first.stage not in _RESULTS:
            return ""
        before = [item for item in ordered(self.differences) if item.stage == "environment"]
        if not before:
            return ""
        named = [f"{item.subject} was {item.recorded}, is {item.found}" for item in before[:_NAMED]]
        named += [f"{len(before) - _NAMED} more"] if len(before) > _NAMED else []
        return f"It may come from the environment: {'; '.join(named)}."


def reproduction_bytes(reproduction: Reproduction) -> bytes:
    """Return ``reproduction.json``; see ``docs/formats/reproduction.md``."""
    first = reproduction.first_difference
    stages: list[JsonValue] = []
    for stage in STAGES:
        found = [item for item in reproduction.differences if item.stage == stage]
        stages.append({"stage": stage, "verdict": verdict_of(found), "differences": len(found)})
    document: dict[str, JsonValue] = {
        "format": REPRODUCTION_FORMAT,
        "reproduction_of": {"evaluation": reproduction.recorded, "run_id": reproduction.recorded_run_id},
        "evaluation": reproduction.evaluation,
        "verdict": reproduction.verdict,
        "tolerance": reproduction.tolerance,
        "first_difference": None if first is None else dataclasses.asdict(first),
        "explanation": reproduction.explanation,
        "stages": stages,
        "differences": [dataclasses.asdict(item) for item in ordered(reproduction.differences)],
        "sources": dict(reproduction.sources),
        "limits": list(reproduction.limits),
        "not_compared": list(reproduction.left_out),
    }
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"
