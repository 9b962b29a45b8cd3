"""Which metrics are computed: those that are named or all that fit, the one that decides, guards, and own ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hokusai.analysis.own_metrics import OwnMetric
    from hokusai.records import Metric, Task
    from hokusai.steps.evaluation_settings import EvaluationSettings, OwnMetricSettings

__all__ = ["chosen_metrics"]

# What is logged of an arm beside its scores.
_RESERVED = ("latency_seconds", "rows_per_second")


def chosen_metrics(
    settings: EvaluationSettings,
    *,
    task: Task,
    deciding: str,
    guards: Sequence[str] = (),
    folder: Path | None = None,
) -> tuple[Metric, ...]:
    """Return the metrics to compute, those of one's own and the one that decides among them.

    Args:
        settings: What is asked for.
        task: The kind of problem.
        deciding: Name of the metric that decides.
        guards: Names of the metrics that must not get worse.
        folder: Where modules of one's own may stand, beside where Python looks for them.

    Raises:
        ConfigurationError: There is no such metric for this task, a name is taken, or a function cannot be imported.
    """
    from hokusai.analysis.metrics import METRICS, find_metric, metrics_for

    own: dict[str, Metric] = {}
    for number, item in enumerate(settings.own_metrics):
        if item.name in METRICS or item.name in own or item.name in _RESERVED:
            problem = f"the name {item.name!r} is taken; choose another one."
            raise ConfigurationError(problem, key=f"evaluation.own_metrics.{number}.name")
        own[item.name] = _own_metric(item, task=task, number=number, folder=folder)

    def find(name: str, key: str) -> Metric:
        if name in own:
            return own[name]
        try:
            metric = find_metric(name, task)
        except ConfigurationError as error:
            raise ConfigurationError(error.problem, key=key) from error
        if metric.task == "ranking" and not settings.query:
            problem = f"{name!r} compares the rows of a query; name their column: evaluation.query."
            raise ConfigurationError(problem, key=key)
        return metric

    named = [find(name, "evaluation.metrics") for name in settings.metrics]
    wanted = [*(named or metrics_for(task, has_queries=bool(settings.query))), *own.values()]
    wanted += [find(deciding, "delta.metric"), *(find(name, "delta.guards") for name in guards)]
    return tuple({metric.name: metric for metric in wanted}.values())


def _own_metric(item: OwnMetricSettings, *, task: Task, number: int, folder: Path | None) -> OwnMetric:
    from hokusai.analysis.own_metrics import OwnMetric
    from hokusai.models.own_trainers import import_attribute

    function = import_attribute(item.function, folder=folder, key=f"evaluation.own_metrics.{number}.function")
    if not callable(function):
        problem = f"{item.function!r} is not a function."
        raise ConfigurationError(problem, key=f"evaluation.own_metrics.{number}.function")
    return OwnMetric(
        name=item.name,
        task=task,
        higher_is_better=item.higher_is_better,
        unit=item.unit,
        lower=item.lower,
        upper=item.upper,
        function=function,
    )
