"""The integrated table as one Parquet file, for data that no memory holds: checked and screened, nothing is trained.

The base and the benchmark are read whole; contributions stream through, and of each of their rows some dozens of bytes
stay.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from hokusai.datasets.column_types import arrow_type
from hokusai.datasets.contract_checks import ContractChecker, type_of
from hokusai.datasets.integration import Integrator, OfferedRows
from hokusai.datasets.personal_data import PersonalDataScanner
from hokusai.datasets.provenance import PROVENANCE
from hokusai.datasets.reader_process import TableReader
from hokusai.datasets.row_sinks import ParquetSink
from hokusai.errors import DataError
from hokusai.steps.data_integration import integration_policy
from hokusai.steps.data_sources import DataSources, record_batches
from hokusai.steps.personal_data_policy import PersonalDataPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hokusai.datasets.integration import Columns
    from hokusai.datasets.personal_data import PersonalDataCount
    from hokusai.records import ContributionCounts
    from hokusai.steps.data_settings import DataSettings
    from hokusai.steps.data_sources import OpenTable, Part

__all__ = ["IntegratedFile", "write_integrated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegratedFile:
    """What was written.

    Attributes:
        path: The Parquet file: the columns of the integrated table.
        provenance: A Parquet file beside it that says row by row where the rows come from.
        counts: What became of the rows of every table, base first.
        notes: What the screening could not decide, one sentence each.
    """

    path: Path
    provenance: Path
    counts: tuple[ContributionCounts, ...]
    notes: tuple[str, ...]


def write_integrated(
    settings: DataSettings, path: Path, *, reader: TableReader | None = None, benchmark_columns: Sequence[str] = ()
) -> IntegratedFile:
    """Integrate as step 2 does, and write the table to a file that may be larger than memory.

    The rows, their order and what is refused are those of step 2, with one difference: the types of the columns are
    the contract's, the declared ones, or the base's, and a contribution that would turn whole numbers into floats is
    refused. Contributions are read twice when personal data may have to be taken out. The decoy is not looked at.

    Args:
        settings: Where the tables are, and what may be in them.
        path: The Parquet file to write; it is there whole or not at all.
        reader: Reads the files; by default a reading process is started and ended.
        benchmark_columns: Columns that the evaluation settings name; types may be declared for them.

    Raises:
        DataError: As step 2; or the file cannot be written.
        ConfigurationError: The settings contradict each other or the contract.
    """
    with TableReader() if reader is None else nullcontext(reader) as own_reader:
        sources = DataSources(settings, reader=own_reader, benchmark_columns=benchmark_columns)
        base_part = sources.base
        base_file = sources.read(base_part, columns=sources.columns_to_read())
        offered_columns = sources.choose_columns(base_file.table.column_names)
        names = base_file.table.column_names if sources.contract else offered_columns.names
        benchmark_files = [
            sources.read(part, expected=base_file.table.schema, columns=names) for part in sources.benchmarks
        ]
        offered = _OfferedRows(
            sources=sources,
            policy=PersonalDataPolicy(settings),
            columns=offered_columns,
            types=_words(base_file.table, source=sources.source(base_part)),
        )
        base, *benchmarks = (
            pa.Table.from_batches(offered.checked(record_batches(file.table), part))
            for file, part in zip([base_file, *benchmark_files], [base_part, *sources.benchmarks], strict=True)
        )
        # The types that contributions are read as: Parquet may keep the base's times in another unit.
        read_as = pa.schema([(name, arrow_type(offered.types[name])) for name in offered_columns.names])
        base, *benchmarks = (table.cast(read_as) for table in (base, *benchmarks))
        found = offered.searched_before(base, benchmarks)
        columns = offered.policy.columns_left(offered_columns, found, source=sources.source(base_part))
        base, *benchmarks = (
            pa.Table.from_batches(offered.policy.treated(record_batches(table), found=found)).select(columns.names)
            for table in (base, *benchmarks)
        )
        with ParquetSink(path, base.schema) as sink:
            integrator = Integrator(
                base,
                pa.concat_tables(benchmarks),
                columns=columns,
                policy=integration_policy(settings),
                sink=sink,
                offered=OfferedRows(
                    source=sources.source(base_part), files=tuple((file.sha256, file.rows) for file in base_file.files)
                ),
                sample_rows=base_part.sample_rows,
                benchmark_parts=[table.num_rows for table in benchmarks],
            )
            del base, base_file
            for part in sources.contributions:
                with offered.opened(part) as stream:
                    rows = offered.policy.treated(offered.checked(stream, part), found=found)
                    chosen = (batch.select(columns.names) for batch in rows)
                    integrator.add(part.name, chosen, source=sources.source(part), sample_rows=part.sample_rows)
                    integrator.name_files([(file.sha256, file.rows) for file in stream.files])
            counts = integrator.finish()
    provenance = path.with_name(f"{path.stem}.provenance.parquet")
    with ParquetSink(provenance, PROVENANCE) as sink:
        for batch in integrator.provenance.to_batches():
            sink.write(batch)
        sink.finish(None)
    return IntegratedFile(path=path, provenance=provenance, counts=counts, notes=integrator.notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfferedRows:
    """What is done with the rows of every table before they are compared.

    Attributes:
        sources: The tables.
        policy: What happens to personal data.
        columns: The columns that are used, before any is dropped.
        types: The type of every column that is read.
    """

    sources: DataSources
    policy: PersonalDataPolicy
    columns: Columns
    types: Mapping[str, str]

    def opened(self, part: Part) -> AbstractContextManager[OpenTable]:
        """A contribution, to be read batch by batch."""
        return self.sources.stream(part, types=self.types, columns=list(self.types))

    def checked(self, batches: Iterable[pa.RecordBatch], part: Part) -> Iterator[pa.RecordBatch]:
        """The columns that are used; the table is refused at its end for a broken contract or personal data."""
        source = self.sources.source(part)
        contract = ContractChecker(self.sources.contract, source) if self.sources.contract else None
        # What may have to be taken out is searched for before.
        scanner = PersonalDataScanner() if self.policy.searches and not self.policy.treats else None
        for batch in batches:
            used = batch.select(self.columns.names)
            if contract:
                contract.update(batch)
            if scanner:
                scanner.update(used)
            yield used
        if contract:
            contract.require()
        if scanner:
            self.policy.require(scanner.counts(), source=source)

    def searched_before(self, base: pa.Table, benchmarks: Sequence[pa.Table]) -> list[PersonalDataCount]:
        """What all tables hold, for a policy that takes it out; the contributions are read for it once more."""
        if not self.policy.treats:
            return []
        found = self.policy.find(record_batches(base), source=self.sources.source(self.sources.base))
        for part, table in zip(self.sources.benchmarks, benchmarks, strict=True):
            found += self.policy.find(record_batches(table), source=self.sources.source(part))
        for part in self.sources.contributions:
            with self.opened(part) as stream:
                used = (batch.select(self.columns.names) for batch in stream)
                found += self.policy.find(used, source=self.sources.source(part))
        return found


def _words(table: pa.Table, *, source: str) -> dict[str, str]:
    """The types of the base as words, so that contributions are read as the very same."""
    words = {}
    for field in table.schema:
        word = type_of(field.type)
        if word is None:
            problem = f"column {field.name!r} is {field.type} in every row, so its type is unknown. "
            raise DataError(source, f"{problem}Declare it under data.types, or leave it out.")
        words[field.name] = word
    return words
