"""Reads the tables that step 2 is told of: from files, in a process of its own, or from memory.

Every table comes back with the base's columns in one order. Which columns those are, the base or the contract decides.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from hokusai.datasets.column_types import ColumnPlace, ColumnTarget, ColumnTargets, fit_column, require_columns
from hokusai.datasets.contract_file import load_contract
from hokusai.datasets.integration import Columns
from hokusai.datasets.memory_tables import as_table
from hokusai.datasets.read_settings import ReadSettings
from hokusai.datasets.tables import TableFile
from hokusai.errors import ConfigurationError, DataError, SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hokusai.datasets.contract import Contract
    from hokusai.datasets.reader_process import TableReader
    from hokusai.datasets.tables import SourceFile
    from hokusai.records import DatasetContext
    from hokusai.steps.data_settings import DataSettings

__all__ = ["DataSources", "OpenTable", "Part", "common_types", "record_batches"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One table of the evaluation and the part it plays.

    Attributes:
        name: ``base``, ``benchmark``, ``decoy``, or the name of the further benchmark or of the contribution.
        context: The part.
        path: Where it is read from, unless it is given in memory.
        contributor: Who gave it; may be empty.
        licence: Under which terms; may be empty.
        sample_rows: How many rows to use at most; 0 for all.
    """

    name: str
    context: DatasetContext
    path: Path
    contributor: str = ""
    licence: str = ""
    sample_rows: int = 0


class DataSources:
    """The tables of one evaluation.

    Attributes:
        base: The base data.
        benchmarks: The benchmark that decides, then the further ones.
        contributions: What is offered.
        decoy: The decoy, or None. It is a benchmark that nothing is scored on.
        benchmark_columns: Columns that benchmarks have for their scores, be they features or not.
        contract: The data contract, or None.
        reading: How files are read.
    """

    def __init__(
        self,
        settings: DataSettings,
        *,
        reader: TableReader,
        tables: Mapping[str, object] | None = None,
        benchmark_columns: Sequence[str] = (),
    ) -> None:
        """Read the contract, if there is one, and nothing else.

        Args:
            settings: Where the tables are.
            reader: Reads the files.
            tables: Tables in memory by the part's name; they take the place of files.
            benchmark_columns: Columns of the benchmarks that the evaluation settings name; other tables need not have
                them.

        Raises:
            ConfigurationError: The contract is none, or contradicts the settings.
            DataError: Two tables have the same name.
        """
        self._settings, self._reader, self._tables = settings, reader, dict(tables or {})
        self.benchmark_columns = tuple(dict.fromkeys(benchmark_columns))
        self.base = Part(name="base", context="base", path=settings.base, sample_rows=settings.sample_rows)
        self.benchmarks = _benchmarks(settings)
        self.decoy = None if settings.decoy is None else Part(name="decoy", context="benchmark", path=settings.decoy)
        taken = [part.name for part in (*self.benchmarks[1:], self.decoy) if part is not None]
        self.contributions = _contributions(settings, taken=taken)
        self.contract = _contract(settings)
        types = dict(self.contract.types if self.contract else {}) | dict(settings.types)
        self.reading = ReadSettings(
            delimiter=settings.delimiter,
            encoding=settings.encoding,
            missing_values=settings.missing_values,
            types=types,
            limits=settings.limits,
        )

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every table that is recorded: base, benchmarks, contributions, in this order; the decoy is none of them."""
        return (self.base, *self.benchmarks, *self.contributions)

    @property
    def tables(self) -> tuple[Part, ...]:
        """Every table that is read: the parts and, last, the decoy."""
        return self.parts if self.decoy is None else (*self.parts, self.decoy)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns by which rows are merged; empty unless they are.

        Raises:
            ConfigurationError: Rows are merged by key, and there is none.
        """
        if self._settings.merge != "update":
            return ()
        key = self._settings.key or (self.contract.key if self.contract else ())
        if not key:
            problem = 'is empty, expected the columns that tell rows apart, because data.merge is "update".'
            raise ConfigurationError(problem, key="data.key")
        return key

    def source(self, part: Part) -> str:
        """What messages and records call a part: its file, or that it came from memory."""
        return f"{part.name} (a table in memory)" if part.name in self._tables else str(part.path)

    def read(
        self,
        part: Part,
        *,
        expected: pa.Schema | None = None,
        columns: Sequence[str] | None = None,
        declared: bool = True,
    ) -> TableFile:
        """Read one table whole.

        Args:
            part: Which one.
            expected: The schema of the table that it will be joined to.
            columns: The columns to return; None for all.
            declared: Whether the declared types hold.

        Raises:
            DataError: It cannot be read, or lacks columns.
        """
        reading = self.reading if declared else replace(self.reading, types={})
        if part.name in self._tables:
            return self._from_memory(part, expected=expected, columns=columns)
        return self._reader.read(part.path, settings=reading, expected=expected, columns=columns)

    def read_benchmark(self, part: Part, *, expected: pa.Schema, columns: Sequence[str]) -> TableFile:
        """Read a benchmark or the decoy; of a benchmark also the columns that it alone has to have.

        Args:
            part: Which one.
            expected: The schema of the base.
            columns: The columns that every table has.

        Raises:
            DataError: It cannot be read, or lacks columns.
        """
        own = () if part == self.decoy else self.benchmark_columns
        try:
            return self.read(part, expected=expected, columns=[*columns, *own])
        except SchemaMismatchError as error:
            if not set(error.missing) <= set(own) - set(columns):
                raise
            hint = "The evaluation settings name them: sample_weight, group, query or slices of [evaluation]."
            raise SchemaMismatchError(error.source, missing=error.missing, found=error.found, hint=hint) from None

    @contextmanager
    def stream(self, part: Part, *, types: Mapping[str, str], columns: Sequence[str]) -> Iterator[OpenTable]:
        """Open the file of one table of declared types, to be read batch by batch, in bounded memory.

        Args:
            part: Which one.
            types: The type of every column.
            columns: The columns to return.

        Raises:
            DataError: It cannot be read, or lacks columns.
        """
        reading = replace(self.reading, types=types)
        with self._reader.open(part.path, settings=reading, columns=columns) as stream:
            yield stream

    def _from_memory(self, part: Part, *, expected: pa.Schema | None, columns: Sequence[str] | None) -> TableFile:
        source = self.source(part)
        table = as_table(self._tables[part.name], name=source)
        targets = ColumnTargets(declared=self.reading.types, expected=expected)
        names = require_columns(table.column_names, wanted=columns, source=source)
        fitted = [
            fit_column(table.column(name), ColumnPlace(source=source, name=name), target=targets.of(name))
            for name in names
        ]
        return TableFile(table=pa.table(fitted, names=list(names)), files=())

    def columns_to_read(self) -> list[str] | None:
        """The columns of the base that are needed, or None for all of them."""
        settings = self._settings
        weight = [settings.sample_weight] if settings.sample_weight else []
        wanted = [*settings.features, settings.label, *self.key, *weight] if settings.features else []
        described = [column.name for column in self.contract.columns] if self.contract else []
        return list(dict.fromkeys([*wanted, *described])) or None

    def choose_columns(self, found: Sequence[str]) -> Columns:
        """Say what each column of the base is for.

        Raises:
            DataError: A column that the settings name is not there, or none is left to predict from.
        """
        settings, source = self._settings, self.source(self.base)
        listed = ", ".join(map(repr, found))
        named = [("data.label", settings.label, "to predict")]
        named += [("data.key", name, "to tell rows apart") for name in self.key]
        named += [("data.exclude", name, "to leave out") for name in settings.exclude]
        if settings.sample_weight:
            named.append(("data.sample_weight", settings.sample_weight, "to weigh rows by"))
        if not settings.features:
            named += [
                ("data.types", name, "to declare") for name in settings.types if name not in self.benchmark_columns
            ]
        for key, name, purpose in named:
            if name not in found:
                raise DataError(source, f"no column {name!r} {purpose} ({key}); found {listed}.")
        if settings.label in self.key:
            raise ConfigurationError(f"{settings.label!r} is the label. Choose other columns.", key="data.key")
        if settings.sample_weight in (settings.label, *self.key, *settings.features):
            problem = f"{settings.sample_weight!r} is the label, a key or a feature. Choose another column."
            raise ConfigurationError(problem, key="data.sample_weight")
        others = {settings.label, *self.key, *settings.exclude, settings.sample_weight}
        # A key that the contract names is no feature either: it tells rows apart and says nothing about them.
        others |= set(self.contract.key if self.contract and not settings.features else ())
        features = tuple(name for name in dict.fromkeys(settings.features or found) if name not in others)
        if not features:
            raise DataError(source, "no column is left to predict from; expected at least one feature.")
        weight = settings.sample_weight or None
        return Columns(label=settings.label, features=features, key=self.key, sample_weight=weight)


def record_batches(table: pa.Table) -> list[pa.RecordBatch]:
    """A table in batches of at most 65,536 rows; at least one, so that they say what the columns are."""
    return table.to_batches(max_chunksize=1 << 16) or [pa.RecordBatch.from_pylist([], schema=table.schema)]


class OpenTable(Protocol):
    """The batches of a table; its files are complete once they are exhausted."""

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """The files that have been read to their ends."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Read on."""


def common_types(tables: Sequence[pa.Table], *, sources: Sequence[str]) -> list[pa.Table]:
    """Return tables of one schema: that of the first, where whole numbers become floats if any table needs it.

    Args:
        tables: Tables of the same columns.
        sources: What messages call each of them.

    Raises:
        ValueMismatchError: A column is of another type, or an integer has no equal among the floats.
    """
    names, fitted = tables[0].column_names, []
    for position, name in enumerate(names):
        kinds = [table.schema.field(position).type for table in tables]
        known = [kind for kind in kinds if not pa.types.is_null(kind)]
        is_widened = pa.float64() in known and all(kind in (pa.int64(), pa.float64()) for kind in known)
        kind = pa.float64() if is_widened else known[0] if known else pa.string()
        target = ColumnTarget(type=kind, may_widen=False)
        places = [ColumnPlace(source=source, name=name) for source in sources]
        fitted.append(
            [
                fit_column(table.column(position), place, target=target)
                for table, place in zip(tables, places, strict=True)
            ]
        )
    return [pa.table(list(columns), names=names) for columns in zip(*fitted, strict=True)]


def _benchmarks(settings: DataSettings) -> tuple[Part, ...]:
    parts = [Part(name="benchmark", context="benchmark", path=settings.benchmark)]
    for item in settings.more_benchmarks:
        if item.label in ("base", "decoy", *(part.name for part in parts)):
            problem = f'the name {item.label!r} is taken; give the benchmark another one: name = "…".'
            raise DataError(str(item.path), problem)
        parts.append(Part(name=item.label, context="benchmark", path=item.path))
    return tuple(parts)


def _contributions(settings: DataSettings, *, taken: Sequence[str]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for item in settings.contributions:
        if item.label in (*taken, *(part.name for part in parts)):
            problem = f'the name {item.label!r} is taken; give the contribution another one: name = "…".'
            raise DataError(str(item.path), problem)
        parts.append(
            Part(
                name=item.label,
                context="contribution",
                path=item.path,
                contributor=item.contributor,
                licence=item.licence,
                sample_rows=item.sample_rows,
            )
        )
    return tuple(parts)


def _contract(settings: DataSettings) -> Contract | None:
    if settings.contract is None:
        return None
    contract = load_contract(settings.contract)
    if contract.label != settings.label:
        problem = f"got {settings.label!r}, but the contract {contract.source} says {contract.label!r}. Mend one."
        raise ConfigurationError(problem, key="data.label")
    if settings.key and contract.key and settings.key != contract.key:
        problem = f"got {settings.key}, but the contract {contract.source} says {contract.key}. Mend one."
        raise ConfigurationError(problem, key="data.key")
    for name, word in settings.types.items():
        if contract.types.get(name, word) != word:
            problem = f"got {word!r}, but the contract {contract.source} says {contract.types[name]!r}. Mend one."
            raise ConfigurationError(problem, key=f"data.types.{name}")
    # A column that is not used need not be in any table, so it cannot be checked either.
    unused = set(settings.exclude)
    kept = tuple(column for column in contract.columns if column.name not in unused)
    return replace(contract, columns=kept)
