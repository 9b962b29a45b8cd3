"""The settings of step 4: what is scored, by which columns, and where predictions become classes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, Len, Predicate

__all__ = ["EvaluationSettings", "OwnMetricSettings"]


def _is_metric_name(name: str) -> bool:
    """Lower-case letters, digits and underscore."""
    return re.fullmatch(r"[a-z][a-z0-9_]{0,59}", name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMetricSettings:
    """One ``[[evaluation.own_metrics]]`` table.

    Attributes:
        name: What to call it: lower-case letters, digits and underscore.
        function: ``module:function``; the module stands beside the configuration or where Python looks.
        higher_is_better: Whether a larger value is a better one.
        unit: What the value counts.
        lower: The smallest possible value, if there is one.
        upper: The largest possible value, if there is one.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    name: Annotated[str, Predicate(_is_metric_name)]
    function: Annotated[str, Len(3)]
    higher_is_better: bool
    unit: str = "none"
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """Settings under ``[evaluation]``. Columns are columns of the benchmark; the other tables need not have them.

    Attributes:
        metrics: Metrics to compute; empty means all that fit the task.
        positive_class: With two classes, the one that precision, recall, F1 and the areas under curves are about;
            empty means the greater of the two (1 of 0 and 1, true of false, the later in the alphabet).
        threshold: Probability from which on a row counts as of the positive class; 0 for the model's own prediction.
        average: How metrics of single classes become one with more than two classes: ``macro`` (every class counts the
            same), ``weighted`` (by its rows) or ``micro`` (every row counts the same).
        sample_weight: A column that says how much a row counts: finite numbers, not negative. Empty: all the same.
        group: A column that says which rows belong together, such as a patient. Empty: every row stands alone.
        query: A column that says to which query a row belongs, for metrics of rankings. Empty: there are no queries.
        slices: Columns whose values are scored one by one as well.
        own_metrics: Metrics of one's own.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    metrics: tuple[str, ...] = ()
    positive_class: str = ""
    threshold: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    average: Literal["macro", "micro", "weighted"] = "macro"
    sample_weight: str = ""
    group: str = ""
    query: str = ""
    slices: tuple[str, ...] = ()
    own_metrics: tuple[OwnMetricSettings, ...] = ()

    @property
    def benchmark_columns(self) -> tuple[str, ...]:
        """The columns of the benchmark that say how its rows are scored, each once."""
        named = (self.sample_weight, self.group, self.query, *self.slices)
        return tuple(dict.fromkeys(name for name in named if name))
