"""What the benchmark's rows are scored against, and which sets of them are scored on their own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hokusai.analysis.metrics import BenchmarkTruth
from hokusai.analysis.statistics import RowGroups
from hokusai.datasets.sample_weights import require_weights
from hokusai.errors import ConfigurationError, DataError
from hokusai.models.labels import label_texts, label_values
from hokusai.steps.label_checks import class_names, require_known_classes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hokusai.records import BaselineModel, IntegratedData, SubsetKind, Task
    from hokusai.steps.evaluation_settings import EvaluationSettings

__all__ = ["BenchmarkRows", "RowSet", "benchmark_rows", "class_codes"]

_MOST_SLICES = 20
_RANGES = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowSet:
    """Rows that are scored on their own.

    Attributes:
        name: What to call them.
        kind: What they are.
        rows: Shape (rows of the set,): their places in the benchmark, rising.
    """

    name: str
    kind: SubsetKind
    rows: NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BenchmarkRows:
    """All benchmark rows.

    Attributes:
        truth: Their labels, weights and queries.
        groups: Which of them belong together; None where every row stands alone.
        sets: The rows that decide first, then all others.
    """

    truth: BenchmarkTruth
    groups: RowGroups | None
    sets: tuple[RowSet, ...]

    def class_rows(self, rowset: RowSet) -> tuple[tuple[str, int], ...]:
        """Return pairs of class and number of its rows that weigh anything, for the classes that occur in a set."""
        truth = self.truth
        if not truth.classes:
            return ()
        # A row that weighs nothing is no evidence, and no floor of evidence may count it.
        rows = rowset.rows if truth.weights is None else rowset.rows[truth.weights[rowset.rows] > 0]
        counts = np.bincount(truth.actual[rows].astype(np.intp), minlength=len(truth.classes))
        return tuple((name, int(count)) for name, count in zip(truth.classes, counts, strict=True) if count)

    def groups_of(self, rows: NDArray[np.intp]) -> RowGroups | None:
        """Return the groups of some rows."""
        if self.groups is None:
            return None
        present, codes = np.unique(self.groups.codes[rows], return_inverse=True)
        return RowGroups(codes=codes.astype(np.intp), count=present.size)

    def units_of(self, rowset: RowSet) -> int:
        """Return how many groups a set has or, where every row stands alone, rows."""
        if self.groups is None:
            return int(rowset.rows.size)
        return int(np.unique(self.groups.codes[rowset.rows]).size)


def benchmark_rows(
    settings: EvaluationSettings,
    data: IntegratedData,
    *,
    task: Task,
    baseline: BaselineModel | None = None,
    decision_half: NDArray[np.bool_] | None = None,
) -> BenchmarkRows:
    """Return what the rows of all benchmarks are scored against.

    Args:
        settings: How they are scored.
        data: The benchmark, with the columns that the settings name.
        task: The kind of problem.
        baseline: The given model, which may know classes that no table has.
        decision_half: Shape (rows of the deciding benchmark,): which of its rows decide and give no other answer; None
            where it is not split.

    Raises:
        DataError: A set of rows that decides has less than two, weights are none, or a contribution brings a class of
            its own.
        ConfigurationError: The positive class is not one of the two, or a further benchmark holds rows of one that is
            split.
    """
    if decision_half is not None:
        _require_other_rows(data)
    columns = data.benchmark_columns
    weights = None
    if settings.sample_weight and columns is not None:
        column = columns[settings.sample_weight]
        require_weights(column, name=settings.sample_weight, source="benchmark", setting="evaluation.sample_weight")
        weights = column.cast(pa.float64()).to_numpy()
        if not weights.any():
            problem = f"column {settings.sample_weight!r}: every weight is zero (evaluation.sample_weight)."
            raise DataError("benchmark", problem)
    classes = _all_classes(data, baseline) if task == "classification" else ()
    actual, positive = _labels(settings, data, classes=classes)
    groups = _groups(settings, data)
    truth = BenchmarkTruth(
        actual=actual,
        classes=classes,
        positive=positive,
        average=settings.average,
        weights=weights,
        queries=_codes(columns, settings.query, key="evaluation.query", data=data),
        groups=None if groups is None else groups.codes,
    )
    rows = BenchmarkRows(truth=truth, groups=groups, sets=tuple(_sets(settings, data, decision_half=decision_half)))
    # The rows that decide, and those whose scores are shown in their place.
    for rowset in rows.sets[: 1 if decision_half is None else 2]:
        units, what = rows.units_of(rowset), "row" if groups is None else "group of rows"
        if units < 2:
            found = f"one {what}" if units else f"no {what}"
            problem = f"has {found}, expected at least two: without them nothing says how sure a score is."
            raise DataError(rowset.name, problem)
    return rows


def class_codes(labels: pa.ChunkedArray, classes: tuple[str, ...]) -> NDArray[np.intp]:
    """Return the place of every label among the classes; shape (rows,)."""
    positions = {text: code for code, text in enumerate(classes)}
    distinct, inverse = np.unique(label_values(labels), return_inverse=True)
    return np.array([positions[text] for text in label_texts(distinct)], dtype=np.intp)[inverse]


def _all_classes(data: IntegratedData, baseline: BaselineModel | None) -> tuple[str, ...]:
    found = class_names(data)
    known = baseline.model.classes if baseline is not None and baseline.model is not None else ()
    require_known_classes(data, known=known)
    return (*found, *(text for text in known if text not in found))


def _labels(
    settings: EvaluationSettings, data: IntegratedData, *, classes: tuple[str, ...]
) -> tuple[NDArray[np.generic], int | None]:
    labels = data.benchmark[data.label]
    if not classes:
        return label_values(labels).astype(np.float64), None
    actual = class_codes(labels, classes)
    if settings.positive_class and (len(classes) != 2 or settings.positive_class not in classes):
        problem = f"got {settings.positive_class!r}, expected one of two classes; the classes are {', '.join(classes)}."
        raise ConfigurationError(problem, key="evaluation.positive_class")
    if len(classes) != 2:
        return actual, None
    return actual, classes.index(settings.positive_class) if settings.positive_class else 1


def _codes(columns: pa.Table | None, name: str, *, key: str, data: IntegratedData) -> NDArray[np.intp] | None:
    """Number the different values of a column, which every row must have; those of each benchmark are its own."""
    if not name or columns is None:
        return None
    column = columns[name].combine_chunks()
    is_missing = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    start, count, found = 0, 0, []
    for source, rows in _parts(data):
        missing = np.flatnonzero(is_missing[start : start + rows])
        if missing.size:
            place = f"column {name!r}, data row {missing[0] + 1}"
            raise DataError(source, f"{place}: no value, expected one in every row ({key}).")
        codes = np.asarray(column.slice(start, rows).dictionary_encode().indices.to_numpy(), dtype=np.intp)
        found.append(codes + count)
        start, count = start + rows, count + int(codes.max(initial=-1)) + 1
    return np.concatenate(found)


def _parts(data: IntegratedData) -> tuple[tuple[str, int], ...]:
    """Return name and number of rows of every benchmark, the one that decides first."""
    return data.benchmark_parts or (("benchmark", data.benchmark.num_rows),)


def _require_other_rows(data: IntegratedData) -> None:
    """Refuse further benchmarks that hold rows of the first: their scores would tell of the half that only decides."""
    parts = _parts(data)
    if len(parts) == 1:
        return
    from hokusai.datasets.leakage import Screen

    content = [*data.features, data.label]
    benchmark, start = data.benchmark.select(content), parts[0][1]
    screen = Screen(benchmark.slice(0, start), base=data.base.select(content), label=data.label)
    for name, rows in parts[1:]:
        # With rows of both halves: to refuse those of one alone would tell which these are.
        met = screen.screen(benchmark.slice(start, rows), source=name).in_benchmark
        if met.any():
            problem = (
                f"{int(met.sum())} rows of {name!r} stand in the benchmark that decides, the first is data row "
                f"{int(met.argmax()) + 1}; expected none: it is split, and their scores would tell of its decision "
                "half. Take these rows out, or name another benchmark."
            )
            raise ConfigurationError(problem, key="data.more_benchmarks")
        start += rows


def _groups(settings: EvaluationSettings, data: IntegratedData) -> RowGroups | None:
    """Return the rows that belong together: those of a group or, where no groups are named, of a query."""
    codes = _codes(data.benchmark_columns, settings.group, key="evaluation.group", data=data)
    queries = _codes(data.benchmark_columns, settings.query, key="evaluation.query", data=data)
    if codes is None and queries is None:
        return None
    if codes is None or queries is None:
        codes = queries if codes is None else codes
        return RowGroups(codes=codes, count=int(codes.max()) + 1) if codes is not None else None
    owner = np.zeros(int(queries.max()) + 1, dtype=np.intp)
    owner[queries] = codes
    if (owner[queries] != codes).any():
        problem = (
            f"the rows of one query stand in several groups of {settings.group!r}; groups must keep queries whole."
        )
        raise ConfigurationError(problem, key="evaluation.group")
    return RowGroups(codes=codes, count=int(codes.max()) + 1)


def _sets(
    settings: EvaluationSettings, data: IntegratedData, *, decision_half: NDArray[np.bool_] | None
) -> Iterator[RowSet]:
    """Every set of rows; slices are parts of those rows whose scores are shown."""
    parts = _parts(data)
    shown = np.arange(parts[0][1])
    if decision_half is None:
        yield RowSet(name=parts[0][0], kind="benchmark", rows=shown)
        yield RowSet(name="without overlap", kind="without overlap", rows=shown[~data.overlapping[shown]])
    else:
        # Nothing about overlap: who copies one row of the benchmark would see by it which half that row is in.
        yield RowSet(name="decision", kind="decision", rows=shown[decision_half])
        shown = shown[~decision_half]
        yield RowSet(name="feedback", kind="feedback", rows=shown)
    start = parts[0][1]
    for name, rows in parts[1:]:
        yield RowSet(name=name, kind="benchmark", rows=np.arange(start, start + rows))
        start += rows
    for column in dict.fromkeys(settings.slices):
        if data.benchmark_columns is not None:
            yield from _slices(column, data.benchmark_columns[column].take(pa.array(shown)), shown)


def _slices(name: str, column: pa.ChunkedArray, rows: NDArray[np.intp]) -> Iterator[RowSet]:
    """Cut rows by a column: by its values or, where numbers have too many, by four ranges with as many rows each."""
    column = column.combine_chunks()
    if pc.count_distinct(column, mode="all").as_py() > _MOST_SLICES:
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            problem = (
                f"the benchmark's column {name!r} has more than {_MOST_SLICES} different values, expected fewer, or "
                "numbers. Name another column."
            )
            raise ConfigurationError(problem, key="evaluation.slices")
        column = _ranges(column.cast(pa.float64(), safe=False))
    elif pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    coded = column.dictionary_encode(null_encoding="encode")
    codes = coded.indices.to_numpy()
    for code, text in enumerate(_texts(coded.dictionary)):
        yield RowSet(name=f"{name}={text}", kind="slice", rows=rows[codes == code])


def _ranges(column: pa.Array) -> pa.Array:
    values = column.to_numpy(zero_copy_only=False)
    known = values[np.isfinite(values)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _RANGES + 1)))
    names = [f"{low:.6g} to {high:.6g}" for low, high in pairwise(edges)]
    if len(set(names)) < len(names):
        names = [f"{low:.17g} to {high:.17g}" for low, high in pairwise(edges)]
    places = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, len(names) - 1)
    return pa.array([names[place] if np.isfinite(value) else None for place, value in zip(places, values, strict=True)])


def _texts(values: pa.Array) -> Sequence[str]:
    found = [None if value is None else label_texts([value])[0] for value in values.to_pylist()]
    # A text may be that word itself, and two sets of one name could not be told apart.
    missing = "no value" if "missing" in found else "missing"
    return [missing if text is None else text for text in found]
