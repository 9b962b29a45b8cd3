"""The decision rule: what is fixed, recorded and hashed before the candidate is trained."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import TYPE_CHECKING

from hokusai.digests import canonical_json, sha256
from hokusai.errors import InvalidFactError, StatementError
from hokusai.provenance.strict_json import read_json, require_canonical
from hokusai.provenance.typed_documents import record_document
from hokusai.records import DecisionRule, Guard
from hokusai.tracking import naming

if TYPE_CHECKING:
    from hokusai.analysis.metrics import BenchmarkTruth
    from hokusai.records import IntegratedData, Metric
    from hokusai.steps.delta_settings import DeltaSettings
    from hokusai.steps.evaluation_settings import EvaluationSettings
    from hokusai.steps.model_training import TrainingSettings
    from hokusai.tracking.run import Run

__all__ = [
    "RULE_FILE",
    "OwnMetricRule",
    "ScoringRule",
    "decision_rule",
    "read_rule",
    "read_scoring",
    "record_rule",
    "rule_document",
    "rule_sha256",
]

RULE_FILE = "decision_rule.json"
RULE_FORMAT = "hokusai-decision-rule/1"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OwnMetricRule:
    """A metric of one's own that decides or is guarded.

    Attributes:
        name: Its name.
        function: What computes it, ``module:function``.
        higher_is_better: Whether a larger value is a better one.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    name: str
    function: str
    higher_is_better: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScoringRule:
    """How rows are scored: what a rule says of it in ``scoring``.

    Attributes:
        classes: The classes in the order of their codes; empty for regression.
        positive_class: The positive one of two classes; None where there is none.
        threshold: Probability from which on a row counts as of the positive class; 0 for the model's own prediction.
        average: How metrics of single classes become one.
        sample_weight: The benchmark's column of weights; empty for none.
        group: Its column of groups; empty for none.
        query: Its column of queries; empty for none.
        own_metrics: Metrics of one's own that decide or are guarded.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    classes: tuple[str, ...] = ()
    positive_class: str | None = None
    threshold: float = 0.0
    average: str = "macro"
    sample_weight: str = ""
    group: str = ""
    query: str = ""
    own_metrics: tuple[OwnMetricRule, ...] = ()


def decision_rule(
    settings: DeltaSettings,
    *,
    metric: Metric,
    evaluation: EvaluationSettings,
    training: TrainingSettings,
    is_random: bool,
    data: IntegratedData,
    truth: BenchmarkTruth,
    decisions: int | None = None,
    alpha: float | None = None,
) -> DecisionRule:
    """Return how the candidate's scores will become a decision.

    Args:
        settings: The bar.
        metric: The metric that decides.
        evaluation: How rows are scored.
        training: How often the trainer is fitted.
        is_random: Whether its result depends on its seed; if not, it is fitted once.
        data: The benchmark.
        truth: Its labels.
        decisions: How many decisions the benchmark was declared for; None where none were.
        alpha: One-sided level of each of them; None where none were declared.
    """
    confidence = settings.confidence
    if decisions is not None and alpha is not None:
        confidence = 1 - 2 * alpha
    looks = training.sequential.looks if is_random else ()
    seeds = max(looks) if looks else training.seeds
    return DecisionRule(
        metric=metric.name,
        minimum_gain=settings.minimum_gain,
        confidence=confidence,
        guards=tuple(Guard(metric=guard.metric, margin=guard.margin) for guard in settings.guards),
        minimum_positives=settings.minimum_positives,
        minimum_discordant_rows=settings.minimum_discordant_rows,
        seeds=seeds if is_random else 1,
        control_seeds=(training.control_seeds or seeds) if is_random else 1,
        looks=looks,
        benchmark_sha256=next((each.digest for each in data.versions if each.context == "benchmark"), ""),
        rows="benchmark" if decisions is None else "decision half",
        decisions=decisions,
        combination="satterthwaite" if decisions is None else "howe",
        scoring=canonical_json(
            record_document(
                ScoringRule(
                    classes=truth.classes,
                    positive_class=None if truth.positive is None else truth.classes[truth.positive],
                    threshold=evaluation.threshold,
                    average=evaluation.average,
                    sample_weight=evaluation.sample_weight,
                    group=evaluation.group,
                    query=evaluation.query,
                    # What else is said of them, such as their bounds, changes no decision.
                    own_metrics=tuple(
                        OwnMetricRule(name=own.name, function=own.function, higher_is_better=own.higher_is_better)
                        for own in evaluation.own_metrics
                        if own.name == metric.name or own.name in [guard.metric for guard in settings.guards]
                    ),
                )
            )
        ).decode(),
    )


def rule_sha256(rule: DecisionRule) -> str:
    """Return the SHA-256 of a rule's document."""
    return sha256(rule_document(rule))


def record_rule(rule: DecisionRule, *, run: Run) -> None:
    """Record a rule as the artifact ``decision_rule.json``, with its digest as a tag."""
    run.log_artifact(RULE_FILE, rule_document(rule))
    run.set_tags({naming.DECISION_RULE_TAG: rule_sha256(rule)})


def rule_document(rule: DecisionRule) -> bytes:
    """Return a rule as canonical JSON: the bytes of ``decision_rule.json``."""
    values = dataclasses.asdict(rule)
    values["guards"] = [dict(guard) for guard in values["guards"]]
    values["looks"] = list(values["looks"])
    return canonical_json({"format": RULE_FORMAT, **values})


def read_rule(document: bytes) -> DecisionRule:
    """Return the rule that :func:`rule_document` wrote.

    Raises:
        InvalidFactError: The bytes are none, or no evaluation can have such a rule.
    """
    from pydantic import TypeAdapter  # slow to load, and nobody who evaluates needs it

    try:
        values = read_json(document, source=RULE_FILE)
        found = values.get("format") if isinstance(values, dict) else None
        if found != RULE_FORMAT:
            problem = f"is in the format {found!r:.80}, expected {RULE_FORMAT!r}."
            raise InvalidFactError("", RULE_FILE, problem)
        rule = TypeAdapter(DecisionRule).validate_json(document, strict=True)
        is_canonical = rule_document(rule) == document
    except (RecursionError, StatementError, ValueError) as error:
        problem = f"is not what an evaluation records of its rule ({error})."
        raise InvalidFactError("", RULE_FILE, problem) from error
    if not is_canonical:
        problem = "is not in canonical form, or has fields that no rule has: it was changed after it was recorded."
        raise InvalidFactError("", RULE_FILE, problem)
    _require_possible(rule)
    read_scoring(rule)
    return rule


def read_scoring(rule: DecisionRule) -> ScoringRule:
    """Return what a rule says of how rows are scored.

    Raises:
        InvalidFactError: Its ``scoring`` is not what an evaluation records.
    """
    from pydantic import TypeAdapter  # as above

    content = rule.scoring.encode()
    try:
        require_canonical(content, read_json(content, source="scoring"), source="scoring")
        return TypeAdapter(ScoringRule).validate_json(content)
    except (StatementError, ValueError) as error:
        problem = f"says of its scoring what no evaluation records ({error})."
        raise InvalidFactError("", RULE_FILE, problem) from error


def _require_possible(rule: DecisionRule) -> None:
    """Refuse values that no setting can have, and nothing can be computed with.

    Raises:
        InvalidFactError: There is one.
    """
    looks = rule.looks
    is_possible = (
        0 < rule.confidence < 1
        and min(rule.seeds, rule.control_seeds) >= 1
        and (not looks or (looks[0] >= 1 and looks[-1] == rule.seeds))
        and all(before < after for before, after in pairwise(looks))
    )
    if not is_possible:
        problem = (
            f"has the confidence {rule.confidence}, {rule.seeds} seeds, {rule.control_seeds} of the control and the "
            f"looks {list(looks)}; expected a confidence between 0 and 1, at least one seed, and looks that rise to "
            "the number of seeds."
        )
        raise InvalidFactError("", RULE_FILE, problem)
