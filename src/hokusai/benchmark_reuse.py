"""Splits a benchmark and reads its ledger, from Python; ``hokusai benchmark`` calls this.

A benchmark that many contributions are measured on wears out: among enough worthless ones some look good on it. So it
is split once, by a key that contributors do not have, and its decision half is good for a declared number of decisions.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hokusai.config import complete_tracking, require_valid
from hokusai.datasets.benchmark_key import make_benchmark_key, read_benchmark_key
from hokusai.datasets.benchmark_split import key_commitment, split_rows
from hokusai.datasets.content_digest import content_digest
from hokusai.datasets.reader_process import TableReader
from hokusai.errors import BenchmarkLedgerError
from hokusai.steps.data_sources import DataSources
from hokusai.steps.data_tables import typed_tables, without_personal_data
from hokusai.tracking.mlflow_config import require_store, resolve_store

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from hokusai.config import PipelineConfig
    from hokusai.tracking.benchmark_ledger import LedgerState
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.mlflow_ledger import BenchmarkLedger

__all__ = ["Benchmark", "benchmark_ledger", "read_benchmark", "retire_benchmark", "split_benchmark"]

_DIGEST_LENGTH = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Benchmark:
    """The benchmark that decides in an evaluation, as the evaluation uses it.

    Attributes:
        source: Where it came from.
        digest: Its content digest, by which its ledger is found.
        rows: The label, the features and what else every table has, one row each.
        groups: Shape (rows,): which rows belong together; None where every row stands alone.
        group: The column that says so; empty for none.
    """

    source: str
    digest: str
    rows: pa.Table
    groups: pa.ChunkedArray | None = None
    group: str = ""


def read_benchmark(config: PipelineConfig, *, reader: TableReader | None = None) -> Benchmark:
    """Read the benchmark that decides, as an evaluation does, without any contribution.

    The digest is that which evaluations record, unless a contribution has personal data that no other table has and
    that are to be taken out of all of them.

    Args:
        config: The evaluation; its contributions play no part and need not be there.
        reader: Reads the files; by default a reading process is started and ended.

    Raises:
        DataError: The base data or a benchmark cannot be used.
        ConfigurationError: The configuration is wrong.
    """
    checked = require_valid(config, in_memory=[item.label for item in config.data.contributions])
    settings, scoring = replace(checked.data, contributions=()), checked.evaluation
    with TableReader() if reader is None else nullcontext(reader) as own_reader:
        sources = DataSources(settings, reader=own_reader, benchmark_columns=scoring.benchmark_columns)
        base = sources.read(sources.base, columns=sources.columns_to_read()).table
        columns = sources.choose_columns(base.column_names)
        names = sources.columns_to_read() or columns.names
        others = [
            sources.read_benchmark(part, expected=base.schema, columns=names).table for part in sources.tables[1:]
        ]
    typed = typed_tables(sources, [base, *others], columns.names)
    (_, benchmark, *_), columns, _, _ = without_personal_data(sources, settings, typed, columns)
    group = scoring.group or scoring.query
    return Benchmark(
        source=sources.source(sources.benchmarks[0]),
        digest=content_digest(benchmark),
        rows=benchmark.select(columns.names),
        groups=benchmark[group] if group else None,
        group=group,
    )


def split_benchmark(
    config: PipelineConfig, *, key_file: Path, decisions: int, alpha: float = 0.05, note: str = ""
) -> LedgerState:
    """Split the benchmark of an evaluation into halves, and declare how many decisions it is for, once and for all.

    Args:
        config: The evaluation.
        key_file: The key of the halves; made when it is not there, and never overwritten.
        decisions: How many decisions will be taken at most.
        alpha: Probability that any of them accepts a contribution that is worth no more than the bar; default 0.05.
        note: Why, for those who read the ledger.

    Returns:
        The ledger afterwards.

    Raises:
        BenchmarkLedgerError: The benchmark is split already, a number is out of range, or a half would be empty.
        DataError: The base data or the benchmark cannot be used.
        ConfigurationError: The configuration is wrong, or the key cannot be made or read.
        TrackingError: There is no store, or it does not answer.
    """
    benchmark = read_benchmark(config)
    ledger = _open(complete_tracking(config.tracking), is_made=True)
    is_new = not key_file.exists()
    key = make_benchmark_key(key_file) if is_new else read_benchmark_key(key_file)
    decides = split_rows(benchmark.rows, key=key, groups=benchmark.groups)
    try:
        return ledger.split(
            benchmark.digest,
            commitment=key_commitment(key, benchmark.digest),
            decisions=decisions,
            alpha=alpha,
            feedback_rows=int((~decides).sum()),
            decision_rows=int(decides.sum()),
            group=benchmark.group,
            note=note,
        )
    except BenchmarkLedgerError:
        # A key that no ledger knows would only be taken for the right one. After an outage it may be known: it stays.
        if is_new:
            key_file.unlink()
        raise


def benchmark_ledger(digest: str, *, settings: TrackingSettings | None = None) -> LedgerState:
    """Return what is declared of a benchmark, who spent what, and what is left.

    Args:
        digest: The benchmark's content digest, or the first characters of that of a benchmark that has a ledger.
        settings: Where the store is; default the environment, else ``mlflow.db`` in the current folder.

    Raises:
        BenchmarkLedgerError: No ledger, or more than one, has a digest that begins like this.
        TrackingError: There is no store, or it does not answer.
    """
    ledger = _open(complete_tracking(settings))
    return ledger.read(_whole_digest(ledger, digest))


def retire_benchmark(digest: str, *, reason: str, settings: TrackingSettings | None = None) -> LedgerState:
    """End the use of a benchmark for decisions, for good.

    Args:
        digest: The benchmark's content digest, or its first characters.
        reason: Why, for those who read the ledger.
        settings: Where the store is; default the environment, else ``mlflow.db`` in the current folder.

    Returns:
        The ledger afterwards.

    Raises:
        BenchmarkLedgerError: It is not split, or is retired already, or there is no reason.
        TrackingError: There is no store, or it does not answer.
    """
    ledger = _open(complete_tracking(settings))
    return ledger.retire(_whole_digest(ledger, digest), reason=reason)


def _open(settings: TrackingSettings, *, is_made: bool = False) -> BenchmarkLedger:
    uri = resolve_store(settings) if is_made else require_store(settings)
    from hokusai.tracking.mlflow_ledger import BenchmarkLedger

    return BenchmarkLedger(uri, registry_uri=settings.registry_uri, request_seconds=settings.request_seconds)


def _whole_digest(ledger: BenchmarkLedger, digest: str) -> str:
    if len(digest) == _DIGEST_LENGTH:
        return digest
    found = ledger.find(digest)
    if len(found) != 1:
        problem = f"{len(found)} ledgers have a digest that begins like this, expected one. Give more of its digits."
        raise BenchmarkLedgerError(digest, problem)
    return found[0]
