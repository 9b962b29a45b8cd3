"""Step 3: the same trainer on base data alone and on base data with the contributions."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from hokusai.errors import DataError
from hokusai.records import TrainedModels
from hokusai.tracking.parameters import TrainNewModelParameters

if TYPE_CHECKING:
    import pyarrow as pa

    from hokusai.models.trainers import SklearnModel, Trainer
    from hokusai.records import Arm, IntegratedData
    from hokusai.tracking.run import Run

__all__ = ["TrainingSettings", "train_new_model"]

CANDIDATE_MODEL = "candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Settings under ``[training]``.

    Attributes:
        estimator: A scikit-learn classifier or regressor by class name.
        parameters: Its arguments, where they differ from scikit-learn's defaults.
        seeds: Fits per arm, with seeds 0, 1, 2 …; an estimator without randomness is fitted once.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    estimator: str = "LogisticRegression"
    parameters: dict[str, Any] = field(default_factory=dict)
    seeds: Annotated[int, Interval(ge=1, le=1000)] = 5


def train_new_model(settings: TrainingSettings, *, trainer: Trainer, data: IntegratedData, run: Run) -> TrainedModels:
    """Fit the control on base data and the candidate on base data and contributions, with the same seeds.

    The candidate of the first seed is kept as a safe model file.

    Raises:
        DataError: The labels do not fit the estimator.
        ModelError: A fit failed, or the model cannot be kept safely.
    """
    from hokusai.models.model_files import to_model_file

    seeds = tuple(range(settings.seeds)) if trainer.is_random else (0,)
    run.log_parameters(
        TrainNewModelParameters(
            estimator=trainer.name,
            estimator_parameters=settings.parameters,
            task=trainer.task,
            seeds=seeds,
            is_random=trainer.is_random,
        )
    )
    for version in data.versions:
        if version.context in ("base", "integrated"):
            run.log_dataset(version)
    classes = _classes(data) if trainer.task == "classification" else ()
    _require_fitting_labels(data, trainer=trainer)
    controls = _fit_arm("control", data.base, trainer=trainer, seeds=seeds, data=data, run=run)
    candidates = _fit_arm("candidate", data.integrated, trainer=trainer, seeds=seeds, data=data, run=run)
    run.log_model(
        to_model_file(candidates[0], name=CANDIDATE_MODEL, training_table=data.integrated, is_classifier=bool(classes))
    )
    return TrainedModels(
        controls=controls,
        candidates=candidates,
        task=trainer.task,
        classes=classes,
        estimator=trainer.name,
        is_random=trainer.is_random,
        model_name=CANDIDATE_MODEL,
    )


def _fit_arm(
    arm: Arm, table: pa.Table, *, trainer: Trainer, seeds: tuple[int, ...], data: IntegratedData, run: Run
) -> tuple[SklearnModel, ...]:
    models = []
    for seed in seeds:
        began = time.perf_counter()
        model = trainer.fit(table, features=data.features, label=data.label, seed=seed)
        run.log_metrics({f"training.{arm}.fit_seconds": time.perf_counter() - began}, step=seed)
        models.append(model)
    run.log_metrics({f"training.{arm}.rows": float(table.num_rows)})
    warned = sorted({text for model in models for text in model.warnings})
    if warned:
        run.log_artifact(f"warnings-{arm}.txt", ("\n".join(warned) + "\n").encode())
    return tuple(models)


def _classes(data: IntegratedData) -> tuple[str, ...]:
    """Return the class names of all tables, in the order of their values."""
    import numpy as np

    from hokusai.models.trainers import label_texts, label_values

    values = np.concatenate([label_values(table[data.label]) for table in (data.integrated, data.benchmark)])
    return label_texts(np.unique(values))


def _require_fitting_labels(data: IntegratedData, *, trainer: Trainer) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = data.base[data.label]
    is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if trainer.task == "regression":
        if not is_number:
            problem = f"{trainer.name} predicts numbers, but the label {data.label!r} is of type {column.type}."
            raise DataError("base data", f"{problem} Choose a classifier under training.estimator.")
        return
    distinct = pc.count_distinct(column).as_py()
    if distinct < 2:
        problem = f"every row has the same {data.label!r}; a classifier needs at least two classes in the base data."
        raise DataError("base data", problem)
    if pa.types.is_floating(column.type) and pc.any(pc.not_equal(column, pc.round(column))).as_py():
        problem = f"the label {data.label!r} has fractions and {trainer.name} predicts classes."
        raise DataError("base data", f"{problem} Choose a regressor, such as Ridge, under training.estimator.")
