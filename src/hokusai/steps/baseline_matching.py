"""Between steps 2 and 3: can the baseline model score this benchmark? Known before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hokusai.steps.label_checks import class_names
from hokusai.tracking.naming import BASELINE_NOTES_TAG

if TYPE_CHECKING:
    from hokusai.records import BaselineModel, IntegratedData, Task
    from hokusai.tracking.run import Run

__all__ = ["match_baseline"]


def match_baseline(
    baseline: BaselineModel, *, data: IntegratedData, task: Task, positive_class: str, run: Run
) -> BaselineModel:
    """Find the columns and classes that a baseline model is about in the benchmark.

    Args:
        baseline: What step 1 loaded.
        data: What step 2 integrated.
        task: What the models do that will be trained.
        positive_class: The class that counts as positive of two; empty for the greater one.
        run: The run on which it is noted what had to be assumed.

    Returns:
        The baseline, ready to be asked about the benchmark.

    Raises:
        ModelSignatureError: It needs columns that are not there, or others by type.
        ModelError: Which columns or classes it is about cannot be known.
        DataError: It does another task.
        ConfigurationError: The classes under ``baseline.classes`` are not its own.
    """
    if baseline.model is None:
        return baseline
    from hokusai.models.foreign_models import bind_model

    bound = bind_model(
        baseline,
        table=data.benchmark,
        features=data.features,
        task=task,
        classes=class_names(data) if task == "classification" else (),
        positive_class=positive_class,
    )
    if bound is None:
        return baseline
    if bound.notes:
        run.set_tags({BASELINE_NOTES_TAG: " ".join(bound.notes)})
    return replace(baseline, model=bound.model, notes=(*baseline.notes, *bound.notes))
