"""Metrics that a user brings as a function, with an influence function that needs no formula.

A function that returns one number per row needs none: the metric is the rows' mean. For a function that returns one
number the benchmark is cut into blocks, and the function is called again without each of them (the delete-a-group
jackknife). The blocks depend on the number of rows, the groups and a fixed seed alone, so they are the same for every
fit and every arm, and differences between arms stay paired.

Source:
    P. S. Kott (2001), "The delete-a-group jackknife", Journal of Official Statistics 17, 521-526.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hokusai.analysis.benchmark_truth import codes_as_indices
from hokusai.analysis.influence import MetricEvaluation, UndefinedEvaluation, average_of_rows
from hokusai.records import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from hokusai.analysis.benchmark_truth import BenchmarkTruth
    from hokusai.records import Predictions

__all__ = ["JACKKNIFE_BLOCKS", "OwnMetric", "evaluate_own_metric"]

JACKKNIFE_BLOCKS = 200
"""The number of blocks that a benchmark is cut into, when it has that many rows or groups."""

_BLOCK_SEED = 20_260_101

_OPTIONAL = ("probabilities", "classes", "sample_weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMetric(Metric):
    """A metric that is computed by a function of the user's.

    Attributes:
        function: Called as ``function(actual, predicted)``, with arrays of shape (rows,): names of classes as text or,
            for regression, float64. Parameters named ``probabilities`` (rows, classes), ``classes`` (their names, as
            a tuple) and ``sample_weight`` (rows,) are given by name where it has them. It returns one number for all
            rows, or one for each.
    """

    function: Callable[..., object]


def evaluate_own_metric(
    metric: OwnMetric, truth: BenchmarkTruth, predictions: Predictions
) -> MetricEvaluation | UndefinedEvaluation:
    """Return an own metric of one fitted model, with the influence of every benchmark row, or why it has none.

    One number per row is averaged, with the rows' weights, and its influence is exact. For one number for all rows the
    influence comes from `JACKKNIFE_BLOCKS` further calls, each without one block of rows; it is the same for all rows
    of a block and is scaled so that its variance over the rows, divided by their number, is the jackknife's variance.
    Rows of one group, or else of one query, stay in one block, and their summed influence is scaled likewise.

    Args:
        metric: The metric and its function.
        truth: The benchmark's labels.
        predictions: What the model says about the same rows, in the same order.

    Raises:
        ValueError: A prediction is not the code of a class.
    """
    call = _Call.of(metric, truth, predictions)
    if "probabilities" in call.names and predictions.probabilities is None:
        return UndefinedEvaluation(reason=f"the model gives no probabilities, and {metric.name} needs them")
    result = call.answer(None)
    if isinstance(result, UndefinedEvaluation):
        return result
    if result.ndim == 1:
        return average_of_rows(result, truth.weights)
    if truth.weights is not None and "sample_weight" not in call.names:
        return UndefinedEvaluation(
            reason=f"benchmark rows have weights, and the function of {metric.name} takes no sample_weight"
        )
    return _jackknife(call, float(result), truth)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Call:
    """An own metric with its arguments.

    Attributes:
        metric: The metric.
        names: The optional parameters that its function has.
        by_row: The arguments that have one entry per row, by parameter; the first two are given by position.
        classes: The names of the classes.
    """

    metric: OwnMetric
    names: tuple[str, ...]
    by_row: dict[str, NDArray[np.generic]]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, metric: OwnMetric, truth: BenchmarkTruth, predictions: Predictions) -> _Call:
        """Prepare the arguments."""
        try:
            parameters = tuple(inspect.signature(metric.function).parameters)
        except ValueError:  # some functions that are written in C do not tell
            parameters = ()
        names = tuple(name for name in _OPTIONAL if name in parameters)
        if truth.classes:
            texts = np.array(truth.classes)
            count = len(truth.classes)
            actual = texts[codes_as_indices(truth.actual, classes=count, name="actual")]
            predicted = texts[codes_as_indices(predictions.predicted, classes=count, name="predicted")]
        else:
            actual, predicted = truth.actual.astype(np.float64), predictions.predicted.astype(np.float64)
        by_row: dict[str, NDArray[np.generic]] = {"actual": actual, "predicted": predicted}
        if "probabilities" in names and predictions.probabilities is not None:
            by_row["probabilities"] = predictions.probabilities
        if "sample_weight" in names:
            by_row["sample_weight"] = np.ones(actual.size) if truth.weights is None else truth.weights
        return cls(metric=metric, names=names, by_row=by_row, classes=truth.classes)

    def answer(self, rows: NDArray[np.bool_] | None) -> NDArray[np.float64] | UndefinedEvaluation:
        """Return one finite number, or one per row, of some rows (None: all), or why there is none."""
        # Copies: what a function does to its arguments must not change the next answer.
        given = {name: values.copy() if rows is None else values[rows] for name, values in self.by_row.items()}
        actual, predicted = given.pop("actual"), given.pop("predicted")
        options: dict[str, object] = {**given, **({"classes": self.classes} if "classes" in self.names else {})}
        name = self.metric.name
        try:
            returned = np.asarray(self.metric.function(actual, predicted, **options))
        except Exception as error:  # noqa: BLE001  (a stranger's code; whatever it raises is why there is no value)
            return UndefinedEvaluation(reason=f"the function of {name} raised {type(error).__name__}: {error}")
        if returned.dtype.kind not in "biuf":
            return UndefinedEvaluation(reason=f"the function of {name} returned {returned.dtype}, not numbers")
        if returned.shape not in {(), actual.shape}:
            return UndefinedEvaluation(
                reason=f"the function of {name} returned the shape {returned.shape}, expected one number or one per row"
            )
        numbers = returned.astype(np.float64)
        finite = np.isfinite(numbers)
        if not finite.all():
            wrong = numbers if numbers.ndim == 0 else numbers[np.argmin(finite)]
            return UndefinedEvaluation(reason=f"the function of {name} returned {float(wrong)}, not a finite number")
        return numbers


def _jackknife(call: _Call, value: float, truth: BenchmarkTruth) -> MetricEvaluation | UndefinedEvaluation:
    """Return the value with the influence that deleting blocks of rows shows."""
    rows = truth.actual.size
    belong = truth.queries if truth.groups is None else truth.groups
    units = np.arange(rows) if belong is None else np.unique(belong, return_inverse=True)[1]
    sizes = np.bincount(units)
    blocks = min(JACKKNIFE_BLOCKS, sizes.size)
    if blocks < 2:
        return UndefinedEvaluation(
            reason=f"all rows belong together, so nothing says how much {call.metric.name} would vary"
        )
    block_of_unit = np.random.default_rng(_BLOCK_SEED).permutation(sizes.size) * blocks // sizes.size
    block_of_row = block_of_unit[units]
    without = np.empty(blocks)
    for block, answer in enumerate(_answers_without(call, block_of_row, blocks)):
        if isinstance(answer, UndefinedEvaluation):
            return UndefinedEvaluation(reason=f"without one of {blocks} blocks of rows, {answer.reason}")
        if answer.ndim:
            return UndefinedEvaluation(
                reason=f"the function of {call.metric.name} returned one number first and one per row then"
            )
        without[block] = float(answer)
    # With U units in blocks of u each, the jackknife's variance is (J - 1) / J times the sum of squares of these
    # differences; a unit's influence that is U * sqrt((J - 1) / (J u)) times its block's difference has that variance.
    differences = without.mean() - without
    of_block = sizes.size * np.sqrt((blocks - 1) / (blocks * np.bincount(block_of_unit))) * differences
    of_unit = of_block[block_of_unit]
    of_unit -= of_unit.mean()
    # Spread over the unit's rows so that (units / rows) times their sum is the unit's influence again.
    influence = (of_unit * (rows / sizes.size) / sizes)[units]
    return MetricEvaluation(value=value, influence=influence)


def _answers_without(
    call: _Call, block_of_row: NDArray[np.intp], blocks: int
) -> Iterator[NDArray[np.float64] | UndefinedEvaluation]:
    """Yield the function's answer without each block of rows."""
    for block in range(blocks):
        yield call.answer(block_of_row != block)
