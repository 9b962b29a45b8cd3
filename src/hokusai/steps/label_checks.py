"""What the tables of an evaluation must be like for a trainer, checked before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hokusai.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from hokusai.models.trainers import Trainer
    from hokusai.records import IntegratedData

__all__ = ["class_names", "new_class_notes", "require_known_classes", "require_trainable"]

_CHOOSE = "under training.estimator."
# Parameters with which an estimator keeps rows aside to stop by, as many of each class as it can.
_ROWS_OF_AUTO = 10_000  # from here on, histogram gradient boosting stops early unless told otherwise
_MOST_NAMES = 5


def require_trainable(data: IntegratedData, *, trainer: Trainer) -> None:
    """Refuse labels, row counts and weights with which the trainer cannot work.

    Raises:
        DataError: The labels do not fit the task, a class or the rows are too few, or no row weighs anything.
        ConfigurationError: Rows have weights and the estimator takes none.
    """
    _require_rows(data, trainer=trainer)
    if trainer.task == "regression":
        _require_numbers(data, trainer=trainer)
    else:
        _require_classes(data, trainer=trainer)
    if data.sample_weight is not None:
        _require_weights(data, data.sample_weight, trainer=trainer)


def class_names(data: IntegratedData) -> tuple[str, ...]:
    """Return the class names of all tables, in the order of their values."""
    import numpy as np

    from hokusai.models.labels import label_texts, label_values

    values = np.concatenate([label_values(table[data.label]) for table in (data.integrated, data.benchmark)])
    return label_texts(np.unique(values))


def require_known_classes(data: IntegratedData, *, known: tuple[str, ...] = ()) -> None:
    """Refuse a third class that contributions alone have.

    With it, metrics of a positive class become averages over classes: whoever contributes a single row of it would
    choose how the benchmark is scored. Where there are more than two classes, one more changes no metric's meaning.

    Args:
        data: The tables.
        known: Classes of a given baseline model.

    Raises:
        DataError: A contribution has such a class.
    """
    before = _classes(data.base, data.label) | _classes(data.benchmark, data.label) | {*known}
    new = sorted(_classes(data.integrated, data.label) - before)
    if not new or len(before) != 2:
        return
    from hokusai.models.labels import label_texts

    texts = label_texts(data.integrated[data.label].to_pylist())
    name = data.provenance["contribution"][texts.index(new[0])].as_py()
    problem = f"has {_named(new)} of {data.label!r}, a third one where base data and benchmark have two."
    raise DataError(name, f"{problem} Mend these labels, or leave the rows out.")


def new_class_notes(data: IntegratedData) -> tuple[str, ...]:
    """Say which classes the control, or both arms, cannot know: one sentence each."""
    base, integrated, benchmark = (
        _classes(table, data.label) for table in (data.base, data.integrated, data.benchmark)
    )
    notes = []
    if new := sorted(integrated - base):
        notes.append(
            f"No row of the base data has {_named(new)} of {data.label!r}: the control cannot predict what only "
            "contributions bring."
        )
    if unknown := sorted(benchmark - integrated - base):
        notes.append(
            f"Only the benchmark has {_named(unknown)} of {data.label!r}: neither the control nor the candidate can "
            "predict what they were never shown."
        )
    return tuple(notes)


def _named(classes: list[str]) -> str:
    names = ", ".join(f"'{name}'" for name in classes[:_MOST_NAMES])
    more = f" and {len(classes) - _MOST_NAMES} more" if len(classes) > _MOST_NAMES else ""
    return f"the class {names}" if len(classes) == 1 else f"the classes {names}{more}"


def _classes(table: pa.Table, label: str) -> set[str]:
    import pyarrow.compute as pc

    from hokusai.models.labels import label_texts

    return set(label_texts(pc.unique(table[label]).to_pylist()))


def _require_rows(data: IntegratedData, *, trainer: Trainer) -> None:
    for source, table in _tables(data):
        if table.num_rows < 2:
            problem = f"has {table.num_rows} row to train on, expected at least two."
            raise DataError(source, f"{problem} Look at what was removed from it, or add rows.")
        neighbours = _settings(trainer).get("n_neighbors")
        if isinstance(neighbours, int) and table.num_rows < neighbours:
            problem = f"has {table.num_rows} rows to train on, and {trainer.name} asks {neighbours} neighbours."
            raise DataError(source, f"{problem} Lower training.parameters.n_neighbors, or add rows.")


def _require_numbers(data: IntegratedData, *, trainer: Trainer) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = data.base[data.label]
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        problem = f"{trainer.name} predicts numbers, but the label {data.label!r} is of type {column.type}."
        raise DataError("base data", f"{problem} Choose a classifier {_CHOOSE}")
    for source, table in _tables(data):
        if pa.types.is_floating(column.type) and not pc.all(pc.is_finite(table[data.label])).as_py():
            problem = f"the label {data.label!r} is not a finite number in every row, as {trainer.name} needs it."
            raise DataError(source, f"{problem} Correct those rows, or take them out.")


def _require_classes(data: IntegratedData, *, trainer: Trainer) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = data.base[data.label]
    if pc.count_distinct(column).as_py() < 2:
        problem = f"every row has the same {data.label!r}; a classifier needs at least two classes in the base data."
        raise DataError("base data", problem)
    if pa.types.is_floating(column.type) and not pc.all(pc.equal(column, pc.round(column))).as_py():
        problem = f"the label {data.label!r} has fractions and {trainer.name} predicts classes."
        raise DataError("base data", f"{problem} Choose a regressor, such as Ridge, {_CHOOSE}")
    for source, table in _tables(data):
        counts = pc.value_counts(table[data.label].combine_chunks())
        if _needs_two_rows_of_each_class(trainer, rows=table.num_rows, classes=len(counts)):
            single = counts.field("values").filter(pc.equal(counts.field("counts"), 1))
            if len(single):
                from hokusai.models.labels import label_texts

                name = label_texts(single[:1].to_pylist())[0]
                problem = (
                    f"one row alone has {data.label!r} = '{name}', and {trainer.name} needs two of each class here."
                )
                advice = "Add rows of it, take it out, or set training.parameters so that training does not stop early."
                raise DataError(source, f"{problem} {advice}")


def _needs_two_rows_of_each_class(trainer: Trainer, *, rows: int, classes: int) -> bool:
    """Whether the estimator divides its rows by class, which it cannot when a class has a single one."""
    estimator, settings = type(_estimator(trainer)).__name__, _settings(trainer)
    if estimator == "QuadraticDiscriminantAnalysis":
        return True
    if estimator.startswith("MLP") and classes > 2:
        return False  # it does not divide by class what it keeps as several columns
    if estimator.startswith("HistGradientBoosting"):
        stops = settings["early_stopping"]
        is_stopped = rows > _ROWS_OF_AUTO if stops == "auto" else bool(stops)
        return is_stopped and settings["validation_fraction"] is not None
    from hokusai.models.iteration_losses import STOPPING_PARAMETERS

    return any(settings.get(name) for name in STOPPING_PARAMETERS)


def _require_weights(data: IntegratedData, name: str, *, trainer: Trainer) -> None:
    import pyarrow.compute as pc

    from hokusai.models.trainers import require_sample_weight

    require_sample_weight(trainer)
    for source, table in _tables(data):
        if not pc.any(pc.greater(table[name], 0)).as_py():
            problem = f"column {name!r} is zero in every row, expected some rows that count (data.sample_weight)."
            raise DataError(source, problem)


def _tables(data: IntegratedData) -> tuple[tuple[str, pa.Table], ...]:
    return (("base data", data.base), ("base data with contributions", data.integrated))


def _estimator(trainer: Trainer) -> Any:  # noqa: ANN401  (an estimator of scikit-learn, or None)
    """Return the estimator that a trainer fits, the last one of a pipeline; None if nobody can know."""
    from hokusai.models.sklearn_trainer import last_estimator
    from hokusai.models.trainers import estimator_of

    estimator = estimator_of(trainer)
    return None if estimator is None else last_estimator(estimator)


def _settings(trainer: Trainer) -> Mapping[str, Any]:
    estimator = _estimator(trainer)
    return {} if estimator is None else estimator.get_params(deep=False)
