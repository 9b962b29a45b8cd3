"""Models that were not trained here: how their answers become predictions, and what must be known before they do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from hokusai.errors import ConfigurationError, DataError, ModelError, ModelSignatureError
from hokusai.models.labels import label_texts
from hokusai.models.model_signatures import InputColumn, matched_columns, require_types
from hokusai.records import Predictions

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from hokusai.records import BaselineModel, FittedModel, Task

__all__ = ["Answer", "AnswerKind", "BoundModel", "ForeignModel", "Scorer", "bind_model"]

AnswerKind: TypeAlias = Literal["positive", "probabilities", "codes", "labels", "numbers", "open"]
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model gives for each row.

    Attributes:
        kind: ``positive``: the probability of the second of two classes; ``probabilities``: one number per class;
            ``codes``: a class by its number; ``labels``: a class by its name; ``numbers``: the number that it predicts;
            ``open``: that shows in the answer alone.
        count: Number of its classes; 0 when it does not say, or has none.
        classes: Their names, in order; empty when it does not say.
    """

    kind: AnswerKind
    count: int = 0
    classes: tuple[str, ...] = ()


class Scorer(Protocol):
    """Asks a model of a vendor's."""

    def answers(
        self, table: pa.Table, columns: tuple[str, ...], inputs: tuple[InputColumn, ...]
    ) -> tuple[NDArray[np.generic], tuple[str, ...]]:
        """Return one answer per row, and the names over its columns if it has any.

        Raises:
            ModelError: The model cannot answer.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignModel:
    """A model of another library, as a fitted model.

    Before it is bound to a table by :func:`bind_model`, ``features`` are the names that it knows itself, if any.

    Attributes:
        source: What messages call it.
        scorer: What asks it.
        inputs: The columns that it wants, in order; empty when it does not say.
        has_names: Whether it knows them by name.
        answer: What it gives.
        features: Columns that it predicts from.
        classes: Names of the classes that it knows.
        seed: Always 0: how it was fitted is not known.
    """

    source: str
    scorer: Scorer
    inputs: tuple[InputColumn, ...]
    has_names: bool
    answer: Answer
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    seed: int = 0

    def predict(self, table: pa.Table, *, classes: tuple[str, ...]) -> Predictions:
        """Return predictions for every row, with class codes by position in ``classes``.

        Raises:
            ModelError: It cannot answer, or its answer cannot be understood.
        """
        import numpy as np

        answers, names = self.scorer.answers(table, self.features, self.inputs)
        if len(answers) != table.num_rows:
            raise ModelError(f"{self.source}: gives {len(answers):,} answers for {table.num_rows:,} rows.")
        if answers.dtype.kind == "f" and not np.isfinite(answers).all():
            raise ModelError(f"{self.source}: gives answers that are not finite numbers.")
        if answers.ndim == 2 and answers.shape[1] == 1:
            answers, names = answers[:, 0], ()
        if not classes:
            return Predictions(predicted=self._numbers(answers))
        own = self.classes
        kind = self.answer.kind
        if kind == "open":
            kind, own = self._opened(answers, names)
        if kind == "labels":
            codes, probabilities = self._coded(answers, own), None
        elif kind == "codes":
            codes, probabilities = self._checked_codes(answers, own), None
        else:
            probabilities = self._probabilities(answers, own)
            codes = probabilities.argmax(axis=1)
        return _in_order(codes, probabilities, own=own, classes=classes)

    def _numbers(self, answers: NDArray[np.generic]) -> NDArray[np.float64]:
        import numpy as np

        if answers.ndim != 1 or answers.dtype.kind not in "iuf":
            raise self._unclear(answers, "one number per row")
        return answers.astype(np.float64)

    def _opened(self, answers: NDArray[np.generic], names: tuple[str, ...]) -> tuple[AnswerKind, tuple[str, ...]]:
        """Tell from an answer what it means, where only one meaning is possible."""
        own = self.classes
        if answers.ndim == 2:
            if set(names) == set(own) and len(names) == len(own):
                return "probabilities", names
            # Columns that are numbered by a data frame or an array have no names of their own.
            if answers.shape[1] == len(own) and names in ((), tuple(str(number) for number in range(len(own)))):
                return "probabilities", own
            raise self._unclear(answers, f"one probability per class, under the names {', '.join(own)}", names=names)
        if answers.dtype.kind == "f" and (answers != answers.round()).any():
            if len(own) == 2:
                return "positive", own
            raise self._unclear(answers, "one class, or one probability per class")
        return "labels", own

    def _coded(self, answers: NDArray[np.generic], own: tuple[str, ...]) -> NDArray[np.int64]:
        import numpy as np

        distinct, inverse = np.unique(
            answers.astype(str) if answers.dtype.kind == "O" else answers, return_inverse=True
        )
        texts = label_texts(distinct)
        foreign = [text for text in texts if text not in own]
        if foreign or answers.ndim != 1:
            raise self._unclear(answers, f"one of the classes {', '.join(own)}", names=tuple(foreign))
        return np.array([own.index(text) for text in texts], dtype=np.int64)[inverse]

    def _checked_codes(self, answers: NDArray[np.generic], own: tuple[str, ...]) -> NDArray[np.int64]:
        import numpy as np

        codes = answers.astype(np.int64)
        if answers.ndim != 1 or (codes != answers).any() or codes.min() < 0 or codes.max() >= len(own):
            raise self._unclear(answers, f"a class by its number, 0 to {len(own) - 1}")
        return codes

    def _probabilities(self, answers: NDArray[np.generic], own: tuple[str, ...]) -> NDArray[np.float64]:
        import numpy as np

        if answers.dtype.kind not in "iuf":
            raise self._unclear(answers, "probabilities")
        values = answers.astype(np.float64)
        if values.ndim == 1 and len(own) == 2:
            values = np.column_stack([1 - values, values])
        if values.ndim != 2 or values.shape[1] != len(own):
            raise self._unclear(answers, f"{len(own)} probabilities per row")
        if values.min() < -_TOLERANCE or values.max() > 1 + _TOLERANCE:
            raise self._unclear(answers, "probabilities between 0 and 1")
        values = values.clip(0, 1)
        sums = values.sum(axis=1, keepdims=True)
        if (np.abs(sums - 1) > _TOLERANCE).any():
            raise self._unclear(answers, "probabilities that add up to 1")
        return np.asarray(values / sums)

    def _unclear(self, answers: NDArray[np.generic], expected: str, *, names: tuple[str, ...] = ()) -> ModelError:
        shown = f" named {', '.join(map(repr, names[:5]))}" if names else ""
        found = f"answers of shape {answers.shape} and type {answers.dtype}{shown}"
        advice = "Name its classes in the order of its codes under baseline.classes, or save it with another output."
        return ModelError(f"{self.source}: gives {found}, expected {expected}. {advice}")


def _in_order(
    codes: NDArray[np.int64],
    probabilities: NDArray[np.float64] | None,
    *,
    own: tuple[str, ...],
    classes: tuple[str, ...],
) -> Predictions:
    """Return what a model says of its own classes in the order of all classes."""
    import numpy as np

    places = np.array([classes.index(name) for name in own])
    ordered = None
    if probabilities is not None:
        ordered = np.zeros((len(codes), len(classes)))
        ordered[:, places] = probabilities
    return Predictions(
        predicted=places[codes],
        probabilities=ordered,
        unseen_classes=tuple(name for name in classes if name not in own),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundModel:
    """A model that is known to fit a table.

    Attributes:
        model: The model.
        notes: What had to be assumed, one sentence each.
    """

    model: FittedModel
    notes: tuple[str, ...] = ()


def bind_model(
    baseline: BaselineModel,
    *,
    table: pa.Table,
    features: tuple[str, ...],
    task: Task,
    classes: tuple[str, ...],
    positive_class: str = "",
) -> BoundModel | None:
    """Find the columns and classes that a baseline model is about in a table; None when no model was given.

    Args:
        baseline: The loaded model.
        table: The benchmark.
        features: Its columns that may be used.
        task: What the trained models do.
        classes: Names of the classes, in their order; empty for regression.
        positive_class: The class that counts as positive of two; empty for the greater one.

    Raises:
        ModelSignatureError: It needs columns that are not there, or others by type.
        ModelError: Which columns or classes it is about cannot be known.
        DataError: It does another task.
        ConfigurationError: The classes under ``baseline.classes`` are not its own.
    """
    model = baseline.model
    if model is None:
        return None
    source = f"baseline model {baseline.source}"
    inputs = tuple(InputColumn(name=name, type=kind) for name, kind in baseline.inputs)  # type: ignore[arg-type]
    if not isinstance(model, ForeignModel):
        missing = sorted(set(model.features) - set(features))
        if missing:
            raise ModelSignatureError(source, missing=missing)
        matched_columns(
            [item for item in inputs if item.name in features], table=table, features=features, source=source
        )
        _require_task(bool(model.classes), task=task, source=source)
        return BoundModel(model=model)
    if model.answer.kind != "open":
        _require_task(model.answer.kind != "numbers", task=task, source=source)
    columns, wanted, notes = _columns(model, table=table, features=features, source=source)
    own, more = ((), ()) if task == "regression" else _class_names(model, baseline.classes, classes, positive_class)
    bound = dataclasses.replace(model, features=columns, inputs=wanted, classes=own)
    return BoundModel(model=bound, notes=(*notes, *more))


def _require_task(is_classifier: bool, *, task: Task, source: str) -> None:  # noqa: FBT001 - a predicate's result
    if is_classifier != (task == "classification"):
        raise DataError(source, f"does not do {task}, as the trained models do. Give a model of the same task.")


def _columns(
    model: ForeignModel, *, table: pa.Table, features: tuple[str, ...], source: str
) -> tuple[tuple[str, ...], tuple[InputColumn, ...], tuple[str, ...]]:
    if not model.inputs:
        wanted = tuple(InputColumn(name=name) for name in features)
        return features, wanted, (f"{source} does not say which columns it needs; it was given every feature.",)
    if model.has_names:
        columns = matched_columns(model.inputs, table=table, features=features, source=source)
        return columns, tuple(item for item in model.inputs if item.name in columns), ()
    if len(model.inputs) != len(features):
        raise ModelError(
            f"{source}: knows its {len(model.inputs)} columns by position alone, and there are {len(features)} "
            "features; name those that it was trained on, in their order, under data.features."
        )
    require_types(model.inputs, features, table=table, source=source)
    return features, model.inputs, (f"{source} names no columns; it was given the features in their order.",)


def _class_names(
    model: ForeignModel, given: tuple[str, ...], classes: tuple[str, ...], positive_class: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of a model's classes in the order of its codes, and what had to be assumed."""
    answer = model.answer
    if given:
        if len(set(given)) != len(given) or (answer.count and len(given) != answer.count):
            problem = (
                f"got {', '.join(given)}, expected {answer.count or 'all'} different names, as the model has classes."
            )
            raise ConfigurationError(problem, key="baseline.classes")
        return given, ()
    if answer.classes:
        return answer.classes, ()
    if answer.kind == "labels" or (answer.kind == "open" and not answer.count and len(classes) != 2):
        return classes, ()
    count = answer.count or len(classes)
    numbers = tuple(str(number) for number in range(count))
    if set(classes) == set(numbers):
        return numbers, ()
    if count == len(classes) == 2:
        positive = positive_class if positive_class in classes else classes[1]
        names = (next(name for name in classes if name != positive), positive)
        return names, (f"{model.source} does not name its classes; its second one was taken for {positive!r}.",)
    raise ModelError(
        f"{model.source}: gives {count} classes without names, and the benchmark has {', '.join(classes)}. Name the "
        "model's classes in the order of its codes under baseline.classes."
    )
