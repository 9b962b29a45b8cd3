"""Step 2: base data and contributions become one training table, free of duplicates and benchmark rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Len, Predicate

from hokusai.errors import BenchmarkLeakError, DataError
from hokusai.records import ContributionCounts, DatasetVersion, IntegratedData
from hokusai.tracking.parameters import IntegrateContributedDataParameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from hokusai.datasets.tables import TableFile
    from hokusai.records import DatasetContext
    from hokusai.tracking.run import Run

__all__ = ["ContributionSettings", "DataSettings", "integrate_contributed_data"]


def _is_plain_name(name: str) -> bool:
    """Letters, digits, dot, dash and underscore."""
    return re.fullmatch(r"[\w.-]*", name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionSettings:
    """One ``[[data.contributions]]`` table.

    Attributes:
        path: The contributed file.
        name: What to call it; empty means the file's name without its ending.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    path: Path
    name: Annotated[str, Predicate(_is_plain_name)] = ""

    @property
    def label(self) -> str:
        """The name that is shown; MLflow takes few signs in the names of metrics and tags."""
        return self.name or re.sub(r"[^\w.-]", "_", self.path.name.split(".")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Settings under ``[data]``. Tables are CSV, TSV, JSON, JSON Lines or Parquet by the file's ending.

    Attributes:
        base: What the model is trained on anyway.
        benchmark: What models are scored on.
        label: The column to predict.
        contributions: What is offered, at least one; all of them are added together.
        features: The columns to predict from; empty means every column of the base but the label.
        exclude: Columns to leave out of the features.
        types: Declared column types (int, float, string, bool) for files that do not declare them.
        missing_values: Texts that mean "no value" in CSV files.
        delimiter: What separates the columns of CSV files.
        benchmark_overlap: What happens to training rows that stand in the benchmark: remove or refuse.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    base: Path
    benchmark: Path
    label: Annotated[str, Len(1)]
    contributions: Annotated[tuple[ContributionSettings, ...], Len(1)]
    features: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    types: dict[str, Literal["int", "float", "string", "bool"]] = field(default_factory=dict)
    missing_values: tuple[str, ...] = ("",)
    delimiter: Annotated[str, Len(1, 1)] = ","
    benchmark_overlap: Literal["remove", "refuse"] = "remove"


def integrate_contributed_data(settings: DataSettings, *, run: Run) -> IntegratedData:
    """Read, check and screen every table, and add the contributions to the base data.

    Rows are compared by the label and the features: a row that stands in the benchmark is removed or refused by
    ``benchmark_overlap``; a contributed row that stands in the base, in an earlier contribution, or earlier in its own
    file is removed. Every dataset is recorded with the digest of its content.

    Raises:
        DataError: A table cannot be read, lacks columns, or has rows without a label.
        BenchmarkLeakError: Training rows stand in the benchmark and the policy is to refuse them.
    """
    parts = _parts(settings)
    names = tuple(part.name for part in parts if part.context == "contribution")
    base_file = _read(settings, settings.base)
    features = _features(settings, base_file.table.column_names)
    base = base_file.table.select([*features, settings.label])
    run.log_parameters(
        IntegrateContributedDataParameters(
            base=str(settings.base),
            benchmark=str(settings.benchmark),
            contributions=names,
            label=settings.label,
            features=features,
            benchmark_overlap=settings.benchmark_overlap,
        )
    )
    _require_usable(base, settings.base, label=settings.label)
    files = [base_file, *(_read(settings, part.path, expected=base.schema) for part in parts[1:])]
    tables = [base, *(file.table for file in files[1:])]
    for table, part in zip(tables, parts, strict=True):
        _require_labels(table, part.path, label=settings.label)
    versions = [
        _version(table, name=part.name, context=part.context, source=str(part.path), file_sha256=file.file_sha256)
        for table, part, file in zip(tables, parts, files, strict=True)
    ]
    base, benchmark, *contributions = _with_common_types(tables)
    training_parts = [part for part in parts if part.context != "benchmark"]
    kept, counts = _screen(
        [base, *contributions], training_parts, benchmark=benchmark, overlap=settings.benchmark_overlap
    )
    integrated = _concatenate(kept)
    versions.append(_version(integrated, name="integrated", context="integrated", source="base and contributions"))
    for version in versions:
        run.log_dataset(version)
    run.log_metrics(_count_metrics(counts, benchmark_rows=benchmark.num_rows, integrated_rows=integrated.num_rows))
    return IntegratedData(
        base=kept[0],
        integrated=integrated,
        benchmark=benchmark,
        label=settings.label,
        features=features,
        versions=tuple(versions),
        counts=counts,
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """One file of the evaluation and the part it plays."""

    name: str
    context: DatasetContext
    path: Path


def _parts(settings: DataSettings) -> list[_Part]:
    """Return base, benchmark and contributions, in this order.

    Raises:
        DataError: Two of them have the same name.
    """
    parts = [_Part("base", "base", settings.base), _Part("benchmark", "benchmark", settings.benchmark)]
    for item in settings.contributions:
        if item.label in (part.name for part in parts[2:]):
            problem = f'the name {item.label!r} is taken; give the contribution another one: name = "…".'
            raise DataError(str(item.path), problem)
        parts.append(_Part(item.label, "contribution", item.path))
    return parts


def _read(settings: DataSettings, path: Path, *, expected: pa.Schema | None = None) -> TableFile:
    from hokusai.datasets.tables import ReadSettings, read_table

    reading = ReadSettings(delimiter=settings.delimiter, missing_values=settings.missing_values, types=settings.types)
    columns = None if expected is None else expected.names
    if expected is None and settings.features:
        columns = [*settings.features, settings.label]
    return read_table(path, settings=reading, expected=expected, columns=columns)


def _features(settings: DataSettings, found: Sequence[str]) -> tuple[str, ...]:
    if settings.label not in found:
        problem = f"no column {settings.label!r} to predict (data.label); found {', '.join(map(repr, found))}."
        raise DataError(str(settings.base), problem)
    unknown = [name for name in settings.exclude if name not in found]
    if unknown:
        problem = f"no column {unknown[0]!r} to leave out (data.exclude); found {', '.join(map(repr, found))}."
        raise DataError(str(settings.base), problem)
    mistyped = [name for name in settings.types if name not in found and not settings.features]
    if mistyped:
        problem = f"no column {mistyped[0]!r} to declare (data.types); found {', '.join(map(repr, found))}."
        raise DataError(str(settings.base), problem)
    wanted = dict.fromkeys(settings.features or found)
    features = tuple(name for name in wanted if name != settings.label and name not in settings.exclude)
    if not features:
        raise DataError(str(settings.base), "no column is left to predict from; expected at least one feature.")
    return features


def _require_usable(base: pa.Table, path: Path, *, label: str) -> None:
    if base.num_rows == 0:
        raise DataError(str(path), "the table has no rows; the control needs base data to be trained on.")
    for name in base.column_names:
        if name != label and base[name].null_count == base.num_rows:
            problem = f'column {name!r} has no value in any row. Leave it out: data.exclude = ["{name}"].'
            raise DataError(str(path), problem)


def _require_labels(table: pa.Table, path: Path, *, label: str) -> None:
    import pyarrow.compute as pc

    if table.num_rows == 0:
        raise DataError(str(path), "the table has no rows, expected at least one.")
    missing = table[label].null_count
    if missing:
        row = pc.index(table[label].is_null(), value=True).as_py() + 1
        problem = f"{missing} rows have no {label!r}, first data row {row}. Fill the label in, or take them out."
        raise DataError(str(path), problem)


def _with_common_types(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Cast every table to the types of the base, where whole numbers become floats if any table needs it."""
    import pyarrow as pa

    fields = []
    for position, own in enumerate(tables[0].schema):
        kinds = [table.schema.field(position).type for table in tables]
        known = [kind for kind in kinds if not pa.types.is_null(kind)]
        kind = pa.float64() if pa.float64() in known else known[0] if known else pa.string()
        fields.append(pa.field(own.name, kind))
    return [table.cast(pa.schema(fields)) for table in tables]


def _screen(
    tables: Sequence[pa.Table], parts: Sequence[_Part], *, benchmark: pa.Table, overlap: str
) -> tuple[list[pa.Table], tuple[ContributionCounts, ...]]:
    """Take benchmark rows out of every training table and known rows out of every contribution."""
    from hokusai.datasets.leakage import screen_tables

    kept, counts = [], []
    for table, screening, part in zip(tables, screen_tables(tables, benchmark=benchmark), parts, strict=True):
        in_benchmark = int(screening.in_benchmark.sum())
        if in_benchmark and overlap == "refuse":
            raise BenchmarkLeakError(str(part.path), rows=in_benchmark)
        kept.append(table.filter(screening.keep))
        counts.append(
            ContributionCounts(
                name=part.name,
                offered=table.num_rows,
                duplicates=int(screening.duplicate.sum()),
                in_benchmark=in_benchmark,
                kept=kept[-1].num_rows,
            )
        )
    if kept[0].num_rows == 0:
        raise DataError(
            str(parts[0].path), "every row stands in the benchmark; nothing is left to train the control on."
        )
    return kept, tuple(counts)


def _concatenate(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(tables)


def _version(
    table: pa.Table, *, name: str, context: DatasetContext, source: str, file_sha256: str | None = None
) -> DatasetVersion:
    from hokusai.datasets.content_digest import content_digest

    return DatasetVersion(
        name=name,
        context=context,
        digest=content_digest(table),
        rows=table.num_rows,
        columns=tuple((field.name, str(field.type)) for field in table.schema),
        source=source,
        file_sha256=file_sha256,
    )


def _count_metrics(
    counts: Sequence[ContributionCounts], *, benchmark_rows: int, integrated_rows: int
) -> dict[str, float]:
    metrics = {"data.benchmark.rows": float(benchmark_rows), "data.integrated.rows": float(integrated_rows)}
    for place, count in enumerate(counts):
        table = "base" if place == 0 else f"contribution.{count.name}"
        for name in ("offered", "duplicates", "in_benchmark", "kept"):
            metrics[f"data.{table}.rows_{name}"] = float(getattr(count, name))
    return metrics
