"""What a contributor asks before handing a table over: would an evaluation take it, and what would it say of the rows?

The table is read, checked, searched and compared as step 2 does it, with the difference that nothing is refused:
whatever step 2 would refuse or remove becomes a finding, and every finding is told at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hokusai.config import require_valid
from hokusai.datasets.column_profiles import profile_table
from hokusai.datasets.content_digest import content_digest
from hokusai.datasets.contract_checks import check_contract, type_of
from hokusai.datasets.integration import IntegrationPolicy, Integrator, OfferedRows
from hokusai.datasets.personal_data import PersonalDataScanner, personal_data_findings
from hokusai.datasets.quality import check_quality
from hokusai.datasets.reader_process import TableReader
from hokusai.datasets.row_sinks import MemorySink
from hokusai.datasets.sample_weights import are_weights
from hokusai.errors import DataError, ValueMismatchError
from hokusai.records import CheckReport, Finding
from hokusai.steps.data_sources import DataSources, Part, common_types, record_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hokusai.config import PipelineConfig
    from hokusai.datasets.integration import Columns
    from hokusai.datasets.tables import TableFile
    from hokusai.records import ContributionCounts, Severity
    from hokusai.steps.data_settings import DataSettings

__all__ = ["ROW_CHECKS", "check_contribution"]

ROW_CHECKS: Mapping[str, str] = {
    "benchmark_exact": "a row stands in the benchmark",
    "benchmark_flipped": "a row of the benchmark has these features and another label",
    "benchmark_normalised": "a row equals one of the benchmark but for case, blanks or the last digits of numbers",
    "benchmark_near": "a row nearly equals one of the benchmark: noise, a column replaced, or a text edited",
    "duplicates_own": "a row stands in the table twice",
    "duplicates_base": "a row stands in the base data",
    "near_base": "a row nearly equals one of the base data",
    "label_conflicts": "a row's features stand in the base data with another label",
    "key_conflicts": "a row has the key of a row before it, and other content",
    "wrong_weight": "a row's weight is missing, or no finite number, zero or more; with `data.sample_weight` alone",
    "undecided": "what the comparison could not decide, and why",
}
"""Every word of :attr:`hokusai.records.Finding.check` that this module gives, with its meaning."""

_REMOVED = "An evaluation removes them."


def check_contribution(path: Path, config: PipelineConfig) -> CheckReport:
    """Check a table as an evaluation would, and say everything that is found.

    Args:
        path: A file, a folder of files, or a pattern.
        config: The evaluation that it is meant for; its own contributions play no part.

    Raises:
        DataError: The table's bytes cannot be read, or the base data or the benchmark cannot be used.
        ConfigurationError: The configuration is wrong.
    """
    settings = require_valid(config, in_memory=[item.label for item in config.data.contributions]).data
    with TableReader() as reader:
        sources = DataSources(settings, reader=reader, benchmark_columns=config.evaluation.benchmark_columns)
        base = sources.read(sources.base, columns=sources.columns_to_read())
        columns = sources.choose_columns(base.table.column_names)
        benchmarks = [
            sources.read(part, expected=base.table.schema, columns=columns.names).table for part in sources.benchmarks
        ]
        offered = _read(sources, path, base=base, columns=columns)
    table = offered.file.table
    scanner = PersonalDataScanner()
    for batch in table.to_batches():
        scanner.update(batch)
    personal_data = scanner.counts()
    findings = [*offered.misfits]
    for finding in personal_data_findings(personal_data, settings.personal_data):
        # An evaluation never reads the column, and whoever is handed the file does.
        is_unused = finding.column not in columns.names
        unused = replace(finding, severity="warning", advice="No evaluation needs the column: take it out.")
        findings.append(unused if is_unused else finding)
    if sources.contract is not None:
        findings += check_contract(table, sources.contract, source=str(path))
    label = settings.label if settings.label in table.column_names else None
    base_profile = profile_table(base.table.select(columns.names), label=settings.label)
    findings += check_quality(profile_table(table, label=label), base=base_profile)
    counts: dict[str, int] = {"offered": table.num_rows}
    if offered.is_comparable:
        compared = _compared(sources, settings, [base.table, *benchmarks, table], columns, path)
        findings += compared.findings
        counts |= compared.counts
    return CheckReport(
        source=str(path),
        contribution=path.name.split(".")[0],
        rows=table.num_rows,
        columns=tuple((field.name, type_of(field.type) or str(field.type)) for field in table.schema),
        file_sha256=offered.file.file_sha256,
        digest=content_digest(table),
        findings=tuple(dict.fromkeys(findings)),
        counts=counts,
        personal_data=tuple((each.column, each.kind, each.grade, each.rows) for each in personal_data),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offered:
    """The contribution as far as it could be read.

    Attributes:
        file: The table, with all of its columns.
        misfits: What an evaluation would refuse it for.
        is_comparable: Whether it has every column that the base has, of the base's types, and rows.
    """

    file: TableFile
    misfits: tuple[Finding, ...]
    is_comparable: bool


def _read(sources: DataSources, path: Path, *, base: TableFile, columns: Columns) -> _Offered:
    """Read the contribution; what does not fit the base's types is a finding, and its own types are taken then."""
    part = Part(name="contribution", context="contribution", path=path)
    misfits = []
    try:
        file = sources.read(part, expected=base.table.schema)
    except ValueMismatchError as error:
        misfits.append(
            Finding(
                check="wrong_type",
                severity="error",
                column=error.column,
                rows=1,
                first_rows=(error.row,),
                message=f"Column {error.column!r} has a value in data row {error.row} that is no {error.expected}; "
                "it is the first such value, and there may be more.",
                advice="Mend the values, or declare the type of the column under data.types.",
            )
        )
        try:
            file = sources.read(part, expected=None, declared=False)
        except DataError:
            raise error from None
    missing = [name for name in columns.names if name not in file.table.column_names]
    described = {column.name for column in sources.contract.columns} if sources.contract else set()
    misfits += [
        Finding(
            check="missing_column",
            severity="error",
            column=name,
            message=f"Column {name!r} is not there, and the base data have it.",
            advice="Add the column, or give it the name that the base data use.",
        )
        for name in missing
        if name not in described  # or the contract's own check says so
    ]
    has_rows = file.table.num_rows > 0
    return _Offered(file=file, misfits=tuple(misfits), is_comparable=has_rows and not missing and not misfits)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """What the comparison with base and benchmark says."""

    findings: tuple[Finding, ...]
    counts: Mapping[str, int]


def _compared(
    sources: DataSources, settings: DataSettings, tables: Sequence[pa.Table], columns: Columns, path: Path
) -> _Compared:
    titles = [sources.source(part) for part in (sources.base, *sources.benchmarks)]
    base, *benchmarks, offered = common_types(
        [table.select(columns.names) for table in tables], sources=[*titles, str(path)]
    )
    # A row without its label or key is a finding of its own, and has nothing to be compared by.
    complete = np.ones(offered.num_rows, dtype=np.bool_)
    for name in (columns.label, *columns.key):
        complete &= offered[name].is_valid().to_numpy()
    wrong = _wrong_weights(offered, columns)
    complete[wrong] = False
    rows = np.flatnonzero(complete)
    if not len(rows):
        return _Compared(findings=_weight_findings(wrong, columns), counts={})
    integrator = Integrator(
        base,
        pa.concat_tables(benchmarks),
        columns=columns,
        policy=IntegrationPolicy(
            near_duplicates="off" if settings.near_duplicates == "off" else "report",
            merge=settings.merge,
            winner=settings.winner,
        ),
        sink=MemorySink(base.schema),
        offered=OfferedRows(source=sources.source(sources.base), files=(("", base.num_rows),)),
        benchmark_parts=[table.num_rows for table in benchmarks],
    )
    integrator.add("contribution", record_batches(offered.take(rows)), source=str(path))
    integrator.name_files([("", len(rows))])
    _, counts = integrator.finish()
    findings = [*_weight_findings(wrong, columns)]
    findings += _overlap_findings(counts, integrator.first_rows("contribution"), rows, settings)
    findings += [Finding(check="undecided", severity="note", message=note) for note in integrator.notes]
    numbers = {name: getattr(counts, name) for name in counts.__slots__ if name != "name"}
    return _Compared(findings=tuple(findings), counts=numbers | {"offered": offered.num_rows})


def _wrong_weights(table: pa.Table, columns: Columns) -> NDArray[np.int64]:
    """The rows that have no weight where every row needs one."""
    if columns.sample_weight is None:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(~are_weights(table[columns.sample_weight]))


def _weight_findings(wrong: NDArray[np.int64], columns: Columns) -> tuple[Finding, ...]:
    if not len(wrong):
        return ()
    finding = Finding(
        check="wrong_weight",
        severity="error",
        column=columns.sample_weight,
        rows=len(wrong),
        first_rows=tuple(int(row) + 1 for row in wrong[:5]),
        message=f"{len(wrong)} rows have no weight, or one that is no finite number, zero or more.",
        advice="Mend the values; a row that shall not count has the weight 0.",
    )
    return (finding,)


def _overlap_findings(
    counts: ContributionCounts,
    first_rows: Mapping[str, Sequence[int]],
    rows: NDArray[np.int64],
    settings: DataSettings,
) -> Iterator[Finding]:
    """A finding for every way in which rows were met elsewhere."""
    benchmark: Severity = "error" if settings.benchmark_overlap == "refuse" else "warning"
    known: Severity = "error" if settings.duplicates == "refuse" else "warning"
    refused = "An evaluation refuses the contribution for them."
    advice = {
        "benchmark": refused if benchmark == "error" else _REMOVED,
        "duplicates": refused if known == "error" else "" if settings.duplicates == "keep" else _REMOVED,
    }
    ways: tuple[tuple[str, Severity, str, str], ...] = (
        ("benchmark_exact", benchmark, "stand in the benchmark", advice["benchmark"]),
        ("benchmark_flipped", benchmark, "stand in the benchmark with another label", advice["benchmark"]),
        (
            "benchmark_normalised",
            benchmark,
            "equal rows of the benchmark but for case, blanks or the last digits of numbers",
            advice["benchmark"],
        ),
        ("benchmark_near", benchmark, "nearly equal rows of the benchmark", advice["benchmark"]),
        ("duplicates_own", known, "stand in the table twice", advice["duplicates"]),
        ("duplicates_base", known, "stand in the base data", advice["duplicates"]),
        (
            "near_base",
            "warning",
            "nearly equal rows of the base data",
            _REMOVED if settings.near_duplicates == "remove" else "Copies with changes bring little that is new.",
        ),
        (
            "label_conflicts",
            "warning",
            "have features that stand in the base data with another label",
            "One of the two labels may be wrong.",
        ),
        ("key_conflicts", "note", "have the key of a row before them, and other content", ""),
    )
    for check, severity, meaning, consequence in ways:
        number = getattr(counts, check)
        if number:
            places = tuple(int(rows[place]) + 1 for place in first_rows.get(check, ()))
            message = f"Rows that {meaning}: {number:,} ({number / counts.offered:.1%})."
            yield Finding(
                check=check, severity=severity, rows=number, first_rows=places, message=message, advice=consequence
            )
