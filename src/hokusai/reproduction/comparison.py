"""Two evaluations side by side, in the order of the flow: what is the same, what nearly is, and what is not."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from hokusai.errors import InvalidFactError, StatementError
from hokusai.provenance.decimals import PLACES
from hokusai.provenance.environment import read_environment
from hokusai.provenance.environment_comparison import compare_environments
from hokusai.records import STATEMENT_FILE
from hokusai.reproduction.claimed_facts import claimed_facts
from hokusai.reproduction.evaluation_facts import EVALUATION
from hokusai.reproduction.row_score_comparison import SMALLEST_SCALE, compare_row_scores
from hokusai.tracking.naming import STEPS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from hokusai.digests import JsonValue
    from hokusai.provenance.environment import Environment
    from hokusai.provenance.environment_comparison import EnvironmentDifference
    from hokusai.reproduction.evaluation_facts import EvaluationFacts

__all__ = [
    "STAGES",
    "FoundDifference",
    "Grade",
    "Stage",
    "compare_evaluations",
    "effect_of",
    "is_measurement",
    "ordered",
    "telling_differences",
    "verdict_of",
]

Stage: TypeAlias = Literal[
    "record", "environment", "data", "parameters", "models", "row scores", "metrics", "intervals", "decision"
]
Grade: TypeAlias = Literal["identical", "equal within the tolerance", "different"]

STAGES: tuple[Stage, ...] = (
    "record",
    "environment",
    "data",
    "parameters",
    "models",
    "row scores",
    "metrics",
    "intervals",
    "decision",
)
"""What is compared, in the order of the flow; ``record`` is whether the store still holds what was recorded."""
_EFFECTS: Mapping[str, str] = {
    "surely": "changes at least the bytes of model files",
    "possibly": "may change results",
}
_ABSENT = "none"
_GRADES: tuple[Grade, ...] = ("identical", "equal within the tolerance", "different")
# Where a table lies is not what it is; its content is compared by digest.
_PLACES = ("data.base", "data.benchmark", "data.more_benchmarks", "baseline.source")
_MEASUREMENTS = re.compile(
    r"(_seconds|rows_per_second|peak_memory_bytes|\.bytes|^baseline\.size_bytes|digest_checked|^training\.workers)$"
    r"|^output\.|^system/|^history\.|^training\.control\.fits_reused$"
)
_SECTIONS: Mapping[str, Stage] = {
    "rows": "data",
    "overlapping_benchmark_rows": "data",
    "deltas": "intervals",
    "undefined": "intervals",
    "subsets": "intervals",
    "cross_checks": "intervals",
    "negative_controls": "intervals",
    "answer_step": "intervals",
    "decision": "decision",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDifference:
    """One thing that two evaluations do not have in common.

    Attributes:
        stage: Where in the flow.
        subject: What differs.
        recorded: What the first evaluation has; empty for nothing.
        found: What the second has; empty for nothing.
        grade: How much that is; ``identical`` for what changed no result.
        note: What else is known of it; empty for nothing.
    """

    stage: Stage
    subject: str
    recorded: str
    found: str
    grade: Grade = "different"
    note: str = ""


_ENDED_EARLY = FoundDifference(
    stage="decision", subject="outcome", recorded="", found="", note="the second one did not come to its end"
)


def ordered(differences: Collection[FoundDifference]) -> tuple[FoundDifference, ...]:
    """Return differences in the order of the flow; those of one stage keep theirs."""
    return tuple(sorted(differences, key=lambda difference: STAGES.index(difference.stage)))


def verdict_of(differences: Collection[FoundDifference]) -> Grade:
    """Return the worst grade of all; ``identical`` without any."""
    return max((difference.grade for difference in differences), key=_GRADES.index, default="identical")


def is_measurement(metric: str) -> bool:
    """Say whether a metric measures the machine, or the store, and not the work."""
    return _MEASUREMENTS.search(metric) is not None


def compare_evaluations(
    first: EvaluationFacts, second: EvaluationFacts, *, tolerance: float, left_out: Collection[str] = ()
) -> tuple[FoundDifference, ...]:
    """Return everything that differs between two evaluations, in the order of the flow.

    Numbers a and b are equal within a tolerance t when ``|a - b| <= t * max(|a|, |b|, 0.001)``. Times, speeds, sizes
    of files and the benchmark's history are not compared, and neither is where tables lie.

    Args:
        first: The recorded one.
        second: Its reproduction.
        tolerance: The tolerance, relative.
        left_out: Parameters and metrics that cannot be the same, and are not compared; one that ends with a dot stands
            for all that begin with it.
    """
    comparison = _SideBySide(tolerance)
    found = [
        *_environments(first, second),
        *comparison.texts("data", first.datasets, second.datasets),
        *comparison.parameters(first, second, left_out=left_out),
    ]
    if first.delta and not second.delta:
        # Everything that it has not come to would be a difference.
        return ordered([*found, _ENDED_EARLY])
    scores = [*comparison.row_scores(first, second)]
    found += [*comparison.models(first, second, scores=scores), *scores]
    found += comparison.metrics(first, second, left_out=left_out)
    for section, stage in _SECTIONS.items():
        found += comparison.values(stage, section, first.delta.get(section), second.delta.get(section))
    return ordered([*found, *_claims(first, second, tolerance=tolerance)])


def telling_differences(first: Environment, second: Environment) -> tuple[EnvironmentDifference, ...]:
    """Return what differs between two environments and may change results; what only one of them has comes last.

    Args:
        first: That of the recorded evaluation.
        second: That of its reproduction.
    """
    found = [item for item in compare_environments(first, second) if item.effect in _EFFECTS]
    return tuple(sorted(found, key=_is_one_sided))


def effect_of(difference: EnvironmentDifference) -> str:
    """Say what a difference between environments may do, as a part of a sentence."""
    if _is_one_sided(difference) and difference.subject.startswith("package "):
        return "matters where the evaluation uses it"
    return _EFFECTS[difference.effect]


def _is_one_sided(difference: EnvironmentDifference) -> bool:
    return _ABSENT in (difference.first, difference.second)


def _environments(first: EvaluationFacts, second: EvaluationFacts) -> Iterator[FoundDifference]:
    try:
        one, other = (read_environment(facts.environment or b"") for facts in (first, second))
    except InvalidFactError:
        return
    for difference in telling_differences(one, other):
        yield FoundDifference(
            stage="environment",
            subject=difference.subject,
            recorded=difference.first,
            found=difference.second,
            grade="identical",
            note=effect_of(difference),
        )


def _claims(first: EvaluationFacts, second: EvaluationFacts, *, tolerance: float) -> Iterator[FoundDifference]:
    """Compare what the statements claim, where the first evaluation has one; what is near enough was said before."""
    if first.statement is None:
        return
    try:
        one, other = claimed_facts(first, second)
    except StatementError as error:
        yield FoundDifference(stage="decision", subject=STATEMENT_FILE, recorded="", found="", note=str(error))
        return
    # Two numbers that are near each other may be rounded to neighbouring decimals.
    step = 10.0**-PLACES / SMALLEST_SCALE
    found = _SideBySide(tolerance + step).values("decision", STATEMENT_FILE, one, other)
    yield from (difference for difference in found if difference.grade == "different")


class _SideBySide:
    """Compares values with one tolerance."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance

    def grade(self, one: float, other: float) -> Grade:
        """Say how much two numbers differ."""
        if one == other or (math.isnan(one) and math.isnan(other)):
            return "identical"
        if not (math.isfinite(one) and math.isfinite(other)):
            return "different"
        scale = max(abs(one), abs(other), SMALLEST_SCALE)
        return _GRADES[1] if abs(one - other) <= self._tolerance * scale else _GRADES[2]

    def texts(self, stage: Stage, one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[FoundDifference]:
        """Compare digests by name."""
        for name in dict.fromkeys([*one, *other]):
            yield from self.values(stage, name, one.get(name), other.get(name))

    def parameters(
        self, first: EvaluationFacts, second: EvaluationFacts, *, left_out: Collection[str]
    ) -> Iterator[FoundDifference]:
        """Compare the parameters of every step; none of them may differ at all."""
        for step in (EVALUATION, *STEPS):
            if not second.delta and step not in second.parameters:
                continue
            one, other = first.parameters.get(step, {}), second.parameters.get(step, {})
            for name in sorted((one.keys() | other.keys()) - {*_PLACES}):
                if _is_left_out(name, left_out):
                    continue
                if one.get(name) != other.get(name) or (name in one) != (name in other):
                    yield FoundDifference(
                        stage="parameters",
                        subject=f"{step}: {name}",
                        recorded=_text(one.get(name)),
                        found=_text(other.get(name)),
                    )

    def row_scores(self, first: EvaluationFacts, second: EvaluationFacts) -> Iterator[FoundDifference]:
        """Compare what every fit says about every row."""
        if first.row_scores == second.row_scores:
            return
        if first.row_scores is None or second.row_scores is None:
            there, gone = ("", "none") if first.row_scores is None else ("none", "")
            yield FoundDifference(stage="row scores", subject="row_scores.parquet", recorded=gone, found=there)
            return
        for arm in compare_row_scores(first.row_scores, second.row_scores, grade=self.grade):
            yield FoundDifference(
                stage="row scores",
                subject=arm.subject,
                recorded=arm.recorded,
                found=arm.found,
                grade=arm.grade,
                note=arm.note,
            )

    def models(
        self, first: EvaluationFacts, second: EvaluationFacts, *, scores: Collection[FoundDifference]
    ) -> Iterator[FoundDifference]:
        """Compare model files: other bytes that say the same about every row are equal enough."""
        grade: Grade = "different" if verdict_of(scores) == "different" else "equal within the tolerance"
        note = "" if grade == "different" else "it says the same about every benchmark row"
        for name in sorted(first.models.keys() | second.models.keys()):
            one, other = first.models.get(name, ""), second.models.get(name, "")
            if one != other:
                is_file = one and other
                yield FoundDifference(
                    stage="models",
                    subject=name,
                    recorded=one,
                    found=other,
                    grade=grade if is_file else "different",
                    note=note if is_file else "",
                )

    def metrics(
        self, first: EvaluationFacts, second: EvaluationFacts, *, left_out: Collection[str]
    ) -> Iterator[FoundDifference]:
        """Compare the metrics of every step, point by point."""
        for step in (*STEPS, EVALUATION):
            one, other = first.metrics.get(step, {}), second.metrics.get(step, {})
            for name in sorted(one.keys() | other.keys()):
                if is_measurement(name) or _is_left_out(name, left_out):
                    continue
                points, others = dict(one.get(name, ())), dict(other.get(name, ()))
                for place in sorted(points.keys() | others.keys()):
                    where = f"{step}: {name}" + (f" at step {place}" if len(points) > 1 else "")
                    yield from self.values("metrics", where, points.get(place), others.get(place))

    def values(self, stage: Stage, subject: str, one: JsonValue, other: JsonValue) -> Iterator[FoundDifference]:
        """Compare two values of JSON, numbers with the tolerance, whatever they hold."""
        if isinstance(one, dict) and isinstance(other, dict):
            for name in dict.fromkeys([*one, *other]):
                # The reason puts the other values into words.
                if name != "reason":
                    yield from self.values(stage, f"{subject}.{name}", one.get(name), other.get(name))
            return
        if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            for number, (item, twin) in enumerate(zip(one, other, strict=True)):
                yield from self.values(stage, f"{subject}.{_name_of(item) or number}", item, twin)
            return
        grade: Grade = "identical" if one == other else "different"
        if isinstance(one, int | float) and isinstance(other, int | float):
            grade = self.grade(one, other)
        if grade != "identical":
            yield FoundDifference(stage=stage, subject=subject, recorded=_text(one), found=_text(other), grade=grade)


def _is_left_out(name: str, left_out: Collection[str]) -> bool:
    return any(name == each or (each.endswith(".") and name.startswith(each)) for each in left_out)


def _name_of(item: JsonValue) -> str:
    """Return what tells an item of a list from the others."""
    if not isinstance(item, dict):
        return ""
    return " ".join(str(item[name]) for name in ("metric", "name", "arm", "reference") if item.get(name))


def _text(value: JsonValue) -> str:
    return "" if value is None else value if isinstance(value, str) else repr(value)
