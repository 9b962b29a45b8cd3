"""Where each table of a recorded evaluation is taken from: a file that is given, or the copy in the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai.datasets.snapshots import read_snapshot, snapshot_path
from hokusai.errors import ConfigurationError, DataError, ReproductionError
from hokusai.reproduction.changed_rows import changed_stored_row
from hokusai.reproduction.comparison import FoundDifference
from hokusai.reproduction.evaluation_facts import dataset_name
from hokusai.steps.data_settings import BenchmarkSettings, ContributionSettings
from hokusai.tracking.naming import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hokusai.reproduction.recorded_evaluation import RecordedEvaluation

__all__ = ["NamedTable", "TableSource", "find_tables", "named_tables"]

_INTEGRATE = STEPS[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTable:
    """A table of a configuration.

    Attributes:
        name: ``base``, ``benchmark``, ``decoy``, or the name of a contribution or a further benchmark.
        context: The part that it plays.
        key: The dotted key of the setting that names its file.
    """

    name: str
    context: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSource:
    """Where a table is taken from.

    Attributes:
        table: Which one.
        digest: Its recorded content digest; empty for a decoy, of which none is stored.
        file: The file; None where there is none that can be used.
        columns: The columns of the copy in the store; empty for a file that was given.
        problem: Why there is none; empty where there is.
        difference: What is wrong with the copy in the store; None where nothing is.
    """

    table: NamedTable
    digest: str
    file: Path | None = None
    columns: tuple[str, ...] = ()
    problem: str = ""
    difference: FoundDifference | None = None


def named_tables(settings: Mapping[str, Any]) -> Iterator[NamedTable]:
    """Yield the tables of a recorded configuration, in the order in which an evaluation reads them."""
    data = settings["data"]
    yield NamedTable(name="base", context="base", key="data.base")
    yield NamedTable(name="benchmark", context="benchmark", key="data.benchmark")
    for number, item in enumerate(data["more_benchmarks"]):
        label = BenchmarkSettings(path=Path(item["path"]), name=item["name"]).label
        yield NamedTable(name=label, context="benchmark", key=f"data.more_benchmarks.{number}.path")
    for number, item in enumerate(data["contributions"]):
        label = ContributionSettings(path=Path(item["path"]), name=item["name"]).label
        yield NamedTable(name=label, context="contribution", key=f"data.contributions.{number}.path")
    if data["decoy"]:
        yield NamedTable(name="decoy", context="decoy", key="data.decoy")


def find_tables(
    recorded: RecordedEvaluation, tables: Sequence[NamedTable], *, given: Mapping[str, Path], folder: Path
) -> tuple[TableSource, ...]:
    """Say where each table is taken from; copies of the store are fetched, and digested before they are believed.

    Args:
        recorded: The evaluation.
        tables: Its tables.
        given: Files by the table's name; they come before copies.
        folder: Where fetched copies go.

    Raises:
        ConfigurationError: A file that is given is not there.
        ReproductionError: The record names a table as no evaluation does.
    """
    digests, found = recorded.datasets, []
    for table in tables:
        digest = digests.get(dataset_name(table.context, table.name), "")
        file = given.get(table.name)
        if file is not None:
            if not file.exists() and not any(mark in file.name for mark in "*?["):
                raise ConfigurationError(f"{file}: no such file.", key=f"--data {table.name}", source="command line")
            found.append(TableSource(table=table, digest=digest, file=file.absolute()))
        elif table.context == "decoy":
            problem = "a decoy is never stored; --data decoy=FILE gives it"
            found.append(TableSource(table=table, digest="", problem=problem))
        else:
            found.append(_stored(recorded, table, digest=digest, folder=folder))
    return tuple(found)


def _stored(recorded: RecordedEvaluation, table: NamedTable, *, digest: str, folder: Path) -> TableSource:
    path = snapshot_path(digest)
    # A name of its own: two tables of one content are one file, and each is to keep its name.
    named = folder / f"{dataset_name(table.context, table.name)}.parquet"
    if named.parent != folder:
        problem = f"{table.name!r} is no name that Hokusai gives to a table: it was changed, and nothing is done by it."
        raise ReproductionError(recorded.key, problem, is_changed=True)
    hint = f"--data {table.name}=FILE gives it"
    if not recorded.has(_INTEGRATE, path):
        problem = f"the table was too large to be stored, or was not to be; {hint}"
        return TableSource(table=table, digest=digest, problem=problem)
    if recorded.fetch(_INTEGRATE, path, folder) is None:
        problem = f"the stored table is gone, or is not what was recorded; {hint}"
        difference = FoundDifference(
            stage="data",
            subject=dataset_name(table.context, table.name),
            recorded=digest,
            found="another content",
            note=_what_changed(recorded, table, path, folder),
        )
        return TableSource(table=table, digest=digest, problem=problem, difference=difference)
    file = folder / path
    try:
        columns = tuple(read_snapshot(file, digest=digest).column_names)
    except DataError as error:
        return TableSource(table=table, digest=digest, problem=f"{error}; {hint}")
    named.write_bytes(file.read_bytes())
    return TableSource(table=table, digest=digest, file=named, columns=columns)


def _what_changed(recorded: RecordedEvaluation, table: NamedTable, path: str, folder: Path) -> str:
    """Say which row of a stored table was changed, as far as the integrated table tells."""
    place = folder / path
    provenance = recorded.fetch(_INTEGRATE, "datasets/provenance.parquet", folder)
    integrated = recorded.fetch(_INTEGRATE, snapshot_path(recorded.datasets.get("integrated", "")), folder)
    where = "the table in the store was changed after it was recorded"
    if not place.is_file():
        return "the table in the store is gone"
    if provenance is None or integrated is None:
        return where
    row = changed_stored_row(place, integrated=integrated, provenance=provenance, name=table.name)
    return f"{where}: {row}" if row else where
