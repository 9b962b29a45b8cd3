"""The settings of step 5: the bar that a contribution has to clear."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval, Len

from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hokusai.records import Metric

__all__ = ["DeltaSettings", "GuardSettings", "deciding_metric", "require_reachable_bars"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """One ``[[delta.guards]]`` table: a metric that must not get worse.

    Attributes:
        metric: Its name.
        margin: How much worse it may get, in the metric's own unit.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    metric: Annotated[str, Len(1)]
    margin: Annotated[float, Interval(ge=0, lt=math.inf)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaSettings:
    """Settings under ``[delta]``.

    Attributes:
        metric: The metric that decides; empty means accuracy for classifiers and rmse for regressors.
        minimum_gain: The gain to clear, towards better, in the metric's own unit.
        confidence: Confidence level of the interval.
        guards: Metrics that must not get worse by more than a margin.
        minimum_positives: The fewest benchmark rows of each class that the deciding metric is about; below, nothing is
            decided.
        minimum_discordant_rows: The fewest benchmark rows that only one arm has right, for metrics of predicted
            classes; below, nothing is decided.
        benchmark_key_file: The key that splits the benchmark; see ``hokusai benchmark split``.
        signing_key_file: The private key that signs the statement; see ``hokusai keys new``. None: it is not signed.
        signing_passphrase_file: A file whose first line is the key's passphrase; None: it has none.
        output: Where ``delta.json`` is written; empty means the evaluation's folder below ``tracking.journal``. The
            statement stands beside it.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    metric: str = ""
    minimum_gain: Annotated[float, Interval(ge=0, lt=math.inf)] = 0.0
    confidence: Annotated[float, Interval(ge=0.5, lt=1)] = 0.95
    guards: tuple[GuardSettings, ...] = ()
    minimum_positives: Annotated[int, Interval(ge=1)] = 50
    minimum_discordant_rows: Annotated[int, Interval(ge=1)] = 25
    benchmark_key_file: Path | None = None
    signing_key_file: Path | None = None
    signing_passphrase_file: Path | None = None
    output: Path | None = None


def deciding_metric(settings: DeltaSettings, *, task: str) -> str:
    """Return the name of the metric that decides."""
    return settings.metric or ("accuracy" if task == "classification" else "rmse")


def require_reachable_bars(settings: DeltaSettings, *, deciding: str, metrics: Sequence[Metric]) -> None:
    """Refuse a bar that no gain could clear, and a margin that no loss could break.

    Args:
        settings: The bar and the guards.
        deciding: Name of the metric that decides.
        metrics: The metrics that are computed; those without a bound on either side have no largest difference.

    Raises:
        ConfigurationError: One is as large as the metric's whole range, or larger.
    """
    by_name = {metric.name: metric for metric in metrics}
    bars = [("delta.minimum_gain", deciding, settings.minimum_gain)]
    bars += [(f"delta.guards.{n}.margin", guard.metric, guard.margin) for n, guard in enumerate(settings.guards)]
    for key, name, bar in bars:
        lower, upper = by_name[name].lower, by_name[name].upper
        if lower is not None and upper is not None and bar >= upper - lower:
            problem = (
                f"got {bar:g}, expected less than {upper - lower:g}: {name} goes from {lower:g} to {upper:g}. It is in "
                "the metric's own unit: of a fraction, five points are 0.05."
            )
            raise ConfigurationError(problem, key=key)
