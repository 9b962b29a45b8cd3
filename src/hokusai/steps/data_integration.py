"""Step 2: base data and contributions become one training table, free of duplicates and benchmark rows."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hokusai.datasets.sample_weights import require_weights
from hokusai.digests import file_sha256
from hokusai.errors import DataError
from hokusai.records import DatasetFile, IntegratedData
from hokusai.steps.data_sources import DataSources, record_batches
from hokusai.steps.data_tables import RecordedTypes, typed_tables, without_personal_data
from hokusai.tracking.parameters import IntegrateContributedDataParameters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from hokusai.datasets.integration import Columns, IntegrationPolicy
    from hokusai.datasets.personal_data import PersonalDataCount
    from hokusai.datasets.reader_process import TableReader
    from hokusai.datasets.tables import TableFile
    from hokusai.records import DatasetVersion, DecoyTest
    from hokusai.steps.data_settings import DataSettings
    from hokusai.steps.data_sources import Part
    from hokusai.tracking.run import Run

__all__ = ["integrate_contributed_data", "integration_policy"]

PROVENANCE_FILE = "datasets/provenance.parquet"
OVERLAP_FILE = "datasets/overlapping_benchmark_rows.parquet"


def integrate_contributed_data(
    settings: DataSettings,
    *,
    reader: TableReader,
    run: Run,
    now: datetime,
    tables: Mapping[str, object] | None = None,
    benchmark_columns: Sequence[str] = (),
) -> IntegratedData:
    """Read, check and screen every table, and add the contributions to the base data.

    Rows are compared by the label and the features, exactly, after normalisation, and by nearness where that is
    evidence (:mod:`hokusai.datasets.leakage`). What happens to those that stand in the benchmark, and to those that
    are not new, is for the settings to say. Every dataset is recorded with the digest of its content, its manifest
    and, when it is small, the table itself; every row of the integrated table with where it came from.

    Several benchmarks are compared with the offered rows as one table. The decoy is compared with contributions alone,
    and nothing of it is recorded but its digest and how many of its rows were met.

    Args:
        settings: Where the tables are, and what may be in them.
        reader: Reads the files.
        run: The step's run.
        now: When the datasets' versions are made, for their manifests.
        tables: Tables in memory by the part's name, in place of their files: ``base``, ``benchmark``, ``decoy``, or the
            name of a further benchmark or a contribution; pandas, Polars or Arrow.
        benchmark_columns: Columns of the benchmarks that say how rows are scored, such as weights and groups. Other
            tables need not have them. They are features only where the base has them, no rows are compared by them
            otherwise, and they belong to the benchmarks' digests.

    Raises:
        DataError: A table cannot be read, lacks columns, breaks the contract, has rows without a label, or holds what
            the policies refuse: see the classes below it.
        ConfigurationError: The settings contradict each other or the contract.
    """
    sources = DataSources(settings, reader=reader, tables=tables, benchmark_columns=benchmark_columns)
    files = _read(sources)
    columns = sources.choose_columns(files[0].table.column_names)
    run.log_parameters(_parameters(sources, settings, columns, files))
    _require_contract(sources, files)
    read = [file.table for file in files]
    typed = typed_tables(sources, read, columns.names)
    offered, columns, found, scored_by = without_personal_data(sources, settings, typed, columns)
    for part, table in zip(sources.tables, offered, strict=True):
        _require_usable(table, sources.source(part), columns, is_base=part.context == "base")
    types = RecordedTypes(sources, read=read, typed=typed[0].schema)
    recorded = [
        table if part.context == "contribution" else types.of(table)
        for part, table in zip(sources.parts, offered, strict=False)
    ]
    versions = [
        _version(part, table, file, source=sources.source(part), now=now)
        for part, table, file in zip(sources.parts, recorded, files, strict=False)
    ]
    data = _integrate(sources, settings, offered[: len(sources.parts)], columns, versions)
    tests, leaks = _decoy_tests(sources, settings, offered, columns)
    data = replace(
        data,
        versions=(*data.versions, _integrated_version(data, now=now)),
        benchmark_columns=None if scored_by is None else types.of(scored_by),
        benchmark_types=recorded[1].select(columns.names).schema,
        decoy_tests=tests,
        notes=(*data.notes, *leaks),
    )
    _record(data, [*recorded, data.integrated], settings, run=run)
    run.log_metrics(_metrics(data, found))
    return data


def integration_policy(settings: DataSettings) -> IntegrationPolicy:
    """What the settings say about rows that are not plainly new."""
    from hokusai.datasets.integration import IntegrationPolicy

    return IntegrationPolicy(
        benchmark_overlap=settings.benchmark_overlap,
        duplicates=settings.duplicates,
        near_duplicates=settings.near_duplicates,
        merge=settings.merge,
        winner=settings.winner,
    )


def _read(sources: DataSources) -> list[TableFile]:
    """Every table, the decoy last; the base says which columns are read of the others, and of which type."""
    base = sources.read(sources.base, columns=sources.columns_to_read())
    if base.table.num_rows == 0:
        problem = "the table has no rows; the control needs base data to be trained on."
        raise DataError(sources.source(sources.base), problem)
    names = sources.columns_to_read() or sources.choose_columns(base.table.column_names).names
    expected = base.table.schema
    others = []
    for part in sources.tables[1:]:
        read = sources.read_benchmark if part.context == "benchmark" else sources.read
        others.append(read(part, expected=expected, columns=names))
    return [base, *others]


def _require_contract(sources: DataSources, files: Sequence[TableFile]) -> None:
    if sources.contract is None:
        return
    from hokusai.datasets.contract_checks import require_contract

    for part, file in zip(sources.tables, files, strict=True):
        require_contract(file.table, sources.contract, source=sources.source(part))


def _parameters(
    sources: DataSources, settings: DataSettings, columns: Columns, files: Sequence[TableFile]
) -> IntegrateContributedDataParameters:
    from hokusai.datasets.content_digest import content_digest

    return IntegrateContributedDataParameters(
        base=sources.source(sources.base),
        benchmark=sources.source(sources.benchmarks[0]),
        more_benchmarks={part.name: sources.source(part) for part in sources.benchmarks[1:]},
        decoy="" if sources.decoy is None else content_digest(files[-1].table.select(columns.names)),
        contributions=tuple(part.name for part in sources.contributions),
        label=columns.label,
        features=columns.features,
        benchmark_overlap=settings.benchmark_overlap,
        duplicates=settings.duplicates,
        near_duplicates=settings.near_duplicates,
        merge=settings.merge,
        winner=settings.winner,
        key=columns.key,
        sample_weight=columns.sample_weight,
        contract="" if settings.contract is None else file_sha256(settings.contract),
        types=sources.reading.types,
        personal_data={str(kind): treatment for kind, treatment in settings.personal_data.items()},
        sample_rows={part.name: part.sample_rows for part in sources.parts if part.sample_rows},
    )


def _require_usable(table: pa.Table, source: str, columns: Columns, *, is_base: bool) -> None:
    """Refuse a table without rows, a row without its label, and a column of the base without any value."""
    import pyarrow.compute as pc

    if table.num_rows == 0:
        raise DataError(source, "the table has no rows, expected at least one.")
    missing = table[columns.label].null_count
    if missing:
        row = pc.index(table[columns.label].is_null(), value=True).as_py() + 1
        problem = f"{missing} rows have no {columns.label!r}, first data row {row}. "
        raise DataError(source, f"{problem}Fill the label in, or take them out.")
    if columns.sample_weight is not None:
        require_weights(table[columns.sample_weight], name=columns.sample_weight, source=source)
    for name in columns.features if is_base else ():
        if table[name].null_count == table.num_rows:
            problem = f'column {name!r} has no value in any row. Leave it out: data.exclude = ["{name}"].'
            raise DataError(source, problem)


def _integrate(
    sources: DataSources,
    settings: DataSettings,
    offered: Sequence[pa.Table],
    columns: Columns,
    versions: Sequence[DatasetVersion],
) -> IntegratedData:
    from hokusai.datasets.integration import Integrator, OfferedRows
    from hokusai.datasets.row_sinks import MemorySink

    base, after = offered[0], 1 + len(sources.benchmarks)
    benchmark = pa.concat_tables([table.select(columns.names) for table in offered[1:after]])
    parts = tuple((part.name, table.num_rows) for part, table in zip(sources.benchmarks, offered[1:], strict=False))
    sink = MemorySink(base.schema)
    integrator = Integrator(
        base,
        benchmark,
        columns=columns,
        policy=integration_policy(settings),
        sink=sink,
        offered=OfferedRows(source=sources.source(sources.base), files=_files(versions[0])),
        sample_rows=sources.base.sample_rows,
        benchmark_parts=[rows for _, rows in parts],
    )
    for part, table, version in zip(sources.contributions, offered[after:], versions[after:], strict=True):
        integrator.add(part.name, record_batches(table), source=sources.source(part), sample_rows=part.sample_rows)
        integrator.name_files(_files(version))
    counts = integrator.finish()
    return IntegratedData(
        base=integrator.base,
        integrated=sink.table,
        benchmark=benchmark,
        label=columns.label,
        features=columns.features,
        versions=tuple(versions),
        counts=counts,
        provenance=integrator.provenance,
        overlapping=integrator.overlapping,
        benchmark_parts=parts,
        sample_weight=columns.sample_weight,
        notes=integrator.notes,
    )


def _decoy_tests(
    sources: DataSources, settings: DataSettings, tables: Sequence[pa.Table], columns: Columns
) -> tuple[tuple[DecoyTest, ...], tuple[str, ...]]:
    """Ask of every contribution, as it was offered, whether it met more of the benchmark than of the decoy.

    Returns:
        The answers, and a sentence for each alarm.
    """
    if sources.decoy is None:
        return (), ()
    from hokusai.datasets.decoys import SealedPool, leak_note

    base, benchmark, *_, decoy = tables
    pool = SealedPool(
        benchmark,
        decoy,
        base=base,
        label=columns.label,
        features=columns.features,
        near=settings.near_duplicates != "off",
        source=sources.source(sources.decoy),
    )
    contributions = tables[1 + len(sources.benchmarks) : -1]
    tests = tuple(
        pool.test(part.name, record_batches(table), source=sources.source(part))
        for part, table in zip(sources.contributions, contributions, strict=True)
    )
    return tests, tuple(leak_note(test) for test in tests if test.alarm)


def _files(version: DatasetVersion) -> tuple[tuple[str, int], ...]:
    """The files of a version, as provenance names them; a table in memory is named by its content."""
    return tuple((file.sha256, file.rows or 0) for file in version.files) or ((version.digest, version.rows),)


def _version(part: Part, table: pa.Table, file: TableFile, *, source: str, now: datetime) -> DatasetVersion:
    from hokusai.datasets.versions import table_version, utc_text

    return table_version(
        table,
        name=part.name,
        context=part.context,
        source=source,
        files=[
            DatasetFile(name=Path(each.path).name, sha256=each.sha256, size=each.size, rows=each.rows)
            for each in file.files
        ],
        licence=part.licence,
        contributor=part.contributor,
        created=utc_text(now),
    )


def _integrated_version(data: IntegratedData, *, now: datetime) -> DatasetVersion:
    from hokusai.datasets.versions import table_version, utc_text

    parents = [version.digest for version in data.versions if version.context in ("base", "contribution")]
    return table_version(
        data.integrated,
        name="integrated",
        context="integrated",
        source="base and contributions",
        parents=parents,
        created=utc_text(now),
    )


def _record(data: IntegratedData, tables: Sequence[pa.Table], settings: DataSettings, *, run: Run) -> None:
    """Record every dataset with its manifest and, if it is stored, the table; and where each row came from."""
    from hokusai.datasets.croissant import manifest_bytes, manifest_path
    from hokusai.datasets.snapshots import SnapshotPolicy, store_snapshot

    policy = SnapshotPolicy(mode=settings.snapshots, max_bytes=settings.snapshot_bytes)
    stored: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
        for version, table in zip(data.versions, tables, strict=True):
            run.log_dataset(version)
            snapshot = store_snapshot(table, Path(folder), digest=version.digest, policy=policy, source=version.source)
            if snapshot is not None and snapshot.digest not in stored:
                stored.add(snapshot.digest)
                run.log_artifact(snapshot.artifact_path, snapshot.path)
            manifest = manifest_bytes(version, snapshot=None if snapshot is None else snapshot.file)
            run.log_artifact(manifest_path(version), manifest)
    run.log_table(PROVENANCE_FILE, data.provenance)
    run.log_table(OVERLAP_FILE, _overlapping_rows(data))


def _by_benchmark(data: IntegratedData) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the name of each benchmark and which of its rows were met."""
    start = 0
    for name, rows in data.benchmark_parts:
        yield name, data.overlapping[start : start + rows]
        start += rows


def _overlapping_rows(data: IntegratedData) -> pa.Table:
    names, numbers = [], []
    for name, is_met in _by_benchmark(data):
        rows = is_met.nonzero()[0] + 1
        numbers.append(rows)
        names += [name] * len(rows)
    return pa.table({"benchmark": pa.array(names, pa.string()), "benchmark_row": np.concatenate(numbers)})


def _metrics(data: IntegratedData, found: Sequence[PersonalDataCount]) -> dict[str, float]:
    metrics = {"data.integrated.rows": float(data.integrated.num_rows)}
    for place, (name, is_met) in enumerate(_by_benchmark(data)):
        table = f"more_benchmarks.{name}" if place else "benchmark"
        metrics |= {f"data.{table}.rows": float(len(is_met)), f"data.{table}.rows_overlapping": float(is_met.sum())}
    for test in data.decoy_tests:
        prefix = f"data.contribution.{test.contribution}.decoy"
        metrics |= {f"{prefix}_hits": float(test.decoy_hits), f"{prefix}_p_value": test.p_value}
    for kind in sorted({count.kind for count in found}):
        metrics[f"data.personal_data.{kind}.rows"] = float(sum(each.rows for each in found if each.kind == kind))
    for place, count in enumerate(data.counts):
        table = "base" if place == 0 else f"contribution.{count.name}"
        for name in count.__slots__:
            if name != "name":
                metrics[f"data.{table}.rows_{name}"] = float(getattr(count, name))
        for name in ("in_benchmark", "duplicates"):
            metrics[f"data.{table}.fraction_{name}"] = getattr(count, name) / count.offered
    return metrics
