"""Base data and contributions become one training table: screened, merged, sampled, every row with its provenance.

Rows come in batches and leave in batches, so that the table may be larger than memory; only a few dozen bytes for each
row stay. What happens to a row depends on the rows before it, never on where a batch ends.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hokusai.datasets.leakage import BENCHMARK_CODES, DUPLICATE_CODES, Code, Screen
from hokusai.datasets.merging import merge_by_key
from hokusai.datasets.near_duplicates import NearDuplicates
from hokusai.datasets.nearness import ALLOWED_FALSE_ALARMS
from hokusai.datasets.provenance import PROVENANCE, provenance_of
from hokusai.datasets.row_digests import row_digests
from hokusai.datasets.sample_weights import require_weights
from hokusai.datasets.sampling import strata_of, stratified_sample
from hokusai.errors import BenchmarkLeakError, DataError, DuplicateRowsError
from hokusai.records import ContributionCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Literal

    from numpy.typing import NDArray

    from hokusai.datasets.merging import Merge, Winner
    from hokusai.datasets.row_sinks import RowSink

__all__ = ["Columns", "IntegrationPolicy", "Integrator", "OfferedRows"]

_Piece = TypeVar("_Piece", pa.RecordBatch, "NDArray[np.int64]")
_BATCH_ROWS = 1 << 16
_FIRST_ROWS = 5
_COUNTED = {
    Code.BENCHMARK_EXACT: "benchmark_exact",
    Code.BENCHMARK_FLIPPED: "benchmark_flipped",
    Code.BENCHMARK_NORMALISED: "benchmark_normalised",
    Code.BENCHMARK_NEAR: "benchmark_near",
    Code.DUPLICATE_OWN: "duplicates_own",
    Code.DUPLICATE_BASE: "duplicates_base",
    Code.DUPLICATE_OTHER: "duplicates_other",
    Code.CONFLICT: "label_conflicts",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What the columns of every table are for.

    Attributes:
        label: The column to predict.
        features: The columns to predict from.
        key: The columns that tell rows apart; empty unless rows are merged by key.
        sample_weight: The column of training weights, by which no rows are compared; None when there is none.
    """

    label: str
    features: tuple[str, ...]
    key: tuple[str, ...] = ()
    sample_weight: str | None = None

    @property
    def content(self) -> list[str]:
        """The columns that rows are compared by: features and label."""
        return [*self.features, self.label]

    @property
    def names(self) -> list[str]:
        """All of them, each once, in the order of the integrated table."""
        weight = [] if self.sample_weight is None else [self.sample_weight]
        return list(dict.fromkeys([*self.content, *self.key, *weight]))


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrationPolicy:
    """What happens to rows that are not plainly new.

    Attributes:
        benchmark_overlap: To rows that stand in the benchmark.
        duplicates: To contributed rows that stand in the base, in an earlier contribution, or twice in their own.
        near_duplicates: To contributed rows that nearly equal a base row.
        merge: How rows come together; see :mod:`hokusai.datasets.merging`.
        winner: Which of two rows of one key counts.
    """

    benchmark_overlap: Literal["remove", "refuse"] = "remove"
    duplicates: Literal["remove", "refuse", "keep"] = "remove"
    near_duplicates: Literal["report", "remove", "off"] = "report"
    merge: Merge = "append"
    winner: Winner = "last"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedRows:
    """Where offered rows came from, once they have all been read.

    Attributes:
        source: What messages call them: the file.
        files: SHA-256 and number of rows of each file.
    """

    source: str
    files: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class _Part:
    """What is remembered of one table's rows: where the kept ones stood, and what became of the others."""

    name: str
    source: str
    sample_rows: int
    offered: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    keys: list[NDArray[np.void]] = field(default_factory=list)
    contents: list[NDArray[np.void]] = field(default_factory=list)
    labels: list[pa.Array] = field(default_factory=list)
    first_rows: dict[str, list[int]] = field(default_factory=dict)
    files: tuple[tuple[str, int], ...] = ()

    @property
    def kept(self) -> int:
        return sum(map(len, self.rows))

    def note(self, name: str, rows: NDArray[np.intp]) -> None:
        """Count rows of the present batch, and remember the places of the first ones."""
        if len(rows):
            self.counts[name] += len(rows)
            first = self.first_rows.setdefault(name, [])
            first += (rows[: _FIRST_ROWS - len(first)] + self.offered).tolist()

    def count(self, codes: Iterable[Code]) -> int:
        """How many rows have one of these codes."""
        return sum(self.counts[_COUNTED[code]] for code in codes)


class Integrator:
    """Takes the base, then one contribution after the other, and writes what is kept to a sink.

    Attributes:
        base: The rows of the base that the control is trained on.
        overlapping: Shape (benchmark rows,): which benchmark rows were met among the offered rows.
        provenance: Row by row of the integrated table, once it is finished; see :data:`PROVENANCE`.
        notes: What the screening could not decide, one sentence each.
    """

    def __init__(
        self,
        base: pa.Table,
        benchmark: pa.Table,
        *,
        columns: Columns,
        policy: IntegrationPolicy,
        sink: RowSink,
        offered: OfferedRows,
        sample_rows: int = 0,
        benchmark_parts: Sequence[int] = (),
    ) -> None:
        """Screen the base against the benchmark, and write its rows.

        Args:
            base: Columns of ``columns.names``, in this order; types as in every other table.
            benchmark: At least the features and the label; the rows of all benchmarks.
            columns: What the columns are for.
            policy: What happens to rows that are not plainly new.
            sink: Where the integrated rows go.
            offered: Where the base came from.
            sample_rows: How many rows of the base to use at most; 0 for all.
            benchmark_parts: Rows of each benchmark, in order; by default there is one.

        Raises:
            BenchmarkLeakError: Base rows stand in the benchmark and the policy is to refuse them.
            DataError: No row of the base is left, or a key is missing or stands in the base twice.
        """
        self._columns, self._policy, self._sink = columns, policy, sink
        content = base.select(columns.content)
        reference = benchmark.select(columns.content)
        self._screen = Screen(reference, base=content, label=columns.label, parts=benchmark_parts)
        self._near_benchmark = self._near_base = None
        if policy.near_duplicates != "off":
            self._near_benchmark = NearDuplicates(reference, base=content, features=columns.features)
            self._near_base = NearDuplicates(content, base=reference, features=columns.features)
        self._near_met = np.zeros(benchmark.num_rows, dtype=np.bool_)
        self._parts: list[_Part] = []
        self.provenance = PROVENANCE.empty_table()
        self.base = self._take_base(base, offered, sample_rows=sample_rows)

    @property
    def overlapping(self) -> NDArray[np.bool_]:
        """Which benchmark rows were met so far; with one that was nearly met, all that have its features."""
        first = self._screen.first_rows
        near = np.zeros_like(self._near_met)
        near[first[self._near_met]] = True
        return np.logical_or(near[first], self._screen.benchmark_hits)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the screening could not decide."""
        verdicts = self._near_benchmark.verdicts if self._near_benchmark else ()
        reasons = (verdict.reason for verdict in verdicts if not verdict.is_evidence)
        sentences = (
            f"{reason[0].upper()}{reason[1:].rstrip('.')}." for reason in (self._screen.narrowness, *reasons) if reason
        )
        return tuple(dict.fromkeys(sentences))

    def _take_base(self, base: pa.Table, offered: OfferedRows, *, sample_rows: int) -> pa.Table:
        part = _Part(name="base", source=offered.source, sample_rows=sample_rows, files=offered.files)
        self._parts.append(part)
        if (weight := self._columns.sample_weight) is not None:
            require_weights(base[weight], name=weight, source=part.source)
        screening = self._screen.base
        kept = [
            self._take(part, batch, screening.codes[start : start + batch.num_rows])
            for start, batch in _numbered(base.to_batches(max_chunksize=_BATCH_ROWS))
        ]
        self._require_policy(part)
        if not part.kept:
            problem = "every row stands in the benchmark; nothing is left to train the control on."
            raise DataError(part.source, problem)
        control = pa.Table.from_batches(kept, schema=base.schema)
        drawn = self._sample(part)
        if self._columns.key:
            keys = np.concatenate(part.keys)
            repeated = ~merge_by_key(keys, keys, winner="first").in_force
            if repeated.any():
                row = int(np.concatenate(part.rows)[np.flatnonzero(repeated)[0]]) + 1
                problem = f"data row {row} has the key of a row before it, expected every key once (data.key)."
                raise DataError(part.source, f"{problem} Take one of them out, or choose other key columns.")
        return control if drawn is None else control.filter(pa.array(drawn))

    def add(self, name: str, batches: Iterable[pa.RecordBatch], *, source: str, sample_rows: int = 0) -> None:
        """Add a contribution: every row is screened against the benchmark and all rows before it.

        Call :meth:`name_files` after it.

        Args:
            name: The contribution's name.
            batches: Its rows, with the base's columns.
            source: What messages call it: the file.
            sample_rows: How many of its rows to use at most; 0 for all.

        Raises:
            BenchmarkLeakError: Rows stand in the benchmark and the policy is to refuse them.
            DuplicateRowsError: Rows are not new and the policy is to refuse them.
            DataError: There are no rows, or a row has no label, no key or no weight.
        """
        part = _Part(name=name, source=source, sample_rows=sample_rows)
        self._parts.append(part)
        self._screen.next_contribution(name)
        for batch in batches:
            self._require_values(part, batch)
            screening = self._screen.screen(batch.select(self._columns.content))
            self._take(part, batch, screening.codes)
        if not part.offered:
            raise DataError(source, "the table has no rows, expected at least one.")
        self._require_policy(part)

    def name_files(self, files: Sequence[tuple[str, int]]) -> None:
        """Say which files the rows of the contribution that was added last came from: SHA-256 and number of rows."""
        self._parts[-1].files = tuple(files)

    def first_rows(self, name: str) -> dict[str, list[int]]:
        """The places, from 0, of the first rows of a contribution that were counted, by the counter's name."""
        return next(part.first_rows for part in self._parts if part.name == name)

    def finish(self) -> tuple[ContributionCounts, ...]:
        """Merge and sample, finish the sink, and return what became of the rows of every table, base first."""
        keep = np.ones(sum(part.kept for part in self._parts), dtype=np.bool_)
        starts = np.cumsum([0, *(part.kept for part in self._parts)])
        spans = [slice(start, stop) for start, stop in pairwise(starts)]
        for part, span in zip(self._parts, spans, strict=True):
            drawn = self._sample(part)
            if drawn is not None:
                keep[span] = drawn
                part.counts["sampled_out"] = int((~drawn).sum())
        self._merge(keep, spans)
        self._sink.finish(None if keep.all() else keep)
        self._screen.forget_rows()  # the provenance takes as much memory
        pieces = [
            provenance_of(rows[keep[start : start + len(rows)]], contribution=part.name, files=part.files)
            for part, span in zip(self._parts, spans, strict=True)
            for start, rows in _numbered(part.rows, first=span.start)
        ]
        self.provenance = pa.concat_tables(pieces).unify_dictionaries()
        return tuple(
            _counts(part, kept=part.kept - part.counts["sampled_out"] if part.name == "base" else int(keep[span].sum()))
            for part, span in zip(self._parts, spans, strict=True)
        )

    def _take(self, part: _Part, batch: pa.RecordBatch, codes: NDArray[np.uint8]) -> pa.RecordBatch:
        """Count what was found in a batch, and write the rows that stay."""
        codes = codes.copy()
        if self._near_benchmark is not None:
            # A duplicate of a base row that is near the benchmark is as much of a leak as the base row.
            rest = np.flatnonzero(~np.isin(codes, BENCHMARK_CODES))
            near = self._near_benchmark.find(batch.take(pa.array(rest)))
            codes[rest[near >= 0]] = Code.BENCHMARK_NEAR
            self._near_met[near[near >= 0]] = True
        for code, name in _COUNTED.items():
            part.note(name, np.flatnonzero(codes == code))
        keep = ~np.isin(codes, BENCHMARK_CODES)
        if self._policy.duplicates != "keep":
            keep &= ~np.isin(codes, DUPLICATE_CODES)
        if part.name != "base" and self._near_base is not None:
            rest = np.flatnonzero(keep & ~np.isin(codes, DUPLICATE_CODES))
            close = rest[self._near_base.find(batch.take(pa.array(rest))) >= 0]
            part.note("near_base", close)
            if self._policy.near_duplicates == "remove":
                keep[close] = False
        kept = batch if keep.all() else batch.filter(pa.array(keep))
        part.rows.append(np.flatnonzero(keep) + part.offered)
        part.offered += batch.num_rows
        columns = self._columns
        if columns.key:
            table = pa.Table.from_batches([kept])
            part.keys.append(row_digests(table.select(columns.key), fold_negative_zero=True))
        if columns.key or part.sample_rows:
            part.contents.append(row_digests(pa.Table.from_batches([kept]).select(columns.content)))
        if part.sample_rows:
            part.labels.append(kept.column(columns.label))
        self._sink.write(kept)
        return kept

    def _require_values(self, part: _Part, batch: pa.RecordBatch) -> None:
        for name in (self._columns.label, *self._columns.key):
            column = batch.column(name)
            if column.null_count:
                row = pc.index(column.is_null(), value=True).as_py() + 1 + part.offered
                what = "label" if name == self._columns.label else "key"
                problem = f"data row {row} has no {name!r}, the {what}. Fill it in, or take the row out."
                raise DataError(part.source, problem)
        if (weight := self._columns.sample_weight) is not None:
            require_weights(batch.column(weight), name=weight, source=part.source, rows_before=part.offered)

    def _require_policy(self, part: _Part) -> None:
        """Refuse the table as the policy says, once all of its rows are counted."""
        leaked = part.count(BENCHMARK_CODES)
        is_near_by_chance = leaked == part.counts["benchmark_near"] <= _most_near_by_chance(part.offered)
        # Honest rows of a narrow table equal benchmark rows by chance: they are removed, and nobody is accused.
        is_innocent = is_near_by_chance or bool(self._screen.narrowness)
        if leaked and self._policy.benchmark_overlap == "refuse" and not is_innocent:
            raise BenchmarkLeakError(part.source, rows=leaked)
        repeated = part.count(DUPLICATE_CODES)
        if repeated and self._policy.duplicates == "refuse":
            raise DuplicateRowsError(
                part.source, rows=repeated, where="the base data, an earlier contribution, or this one"
            )

    def _sample(self, part: _Part) -> NDArray[np.bool_] | None:
        """Which of a part's kept rows are drawn; None for all of them."""
        if not part.sample_rows or part.kept <= part.sample_rows:
            return None
        strata = strata_of(pa.chunked_array(part.labels))
        return stratified_sample(strata, np.concatenate(part.contents), rows=part.sample_rows)

    def _merge(self, keep: NDArray[np.bool_], spans: Sequence[slice]) -> None:
        """Take out the rows that another row stands for."""
        if self._policy.merge == "replace":
            self._parts[0].counts["replaced"] = int(keep[spans[0]].sum())
            keep[spans[0]] = False
            if not keep.any():
                raise DataError(self._parts[-1].source, "no row is left to replace the base data with.")
        elif self._policy.merge == "update":
            rows = np.flatnonzero(keep)
            keys = np.concatenate([key for part in self._parts for key in part.keys])
            contents = np.concatenate([content for part in self._parts for content in part.contents])
            merged = merge_by_key(keys[rows], contents[rows], winner=self._policy.winner)
            conflict = np.zeros(len(keep), dtype=np.bool_)
            conflict[rows[merged.conflict]] = True
            drawn = keep.copy()
            keep[rows[~merged.in_force]] = False
            for part, span in zip(self._parts, spans, strict=True):
                part.counts["key_conflicts"] = int(conflict[span].sum())
                part.counts["replaced"] = int((drawn[span] & ~keep[span]).sum())


def _most_near_by_chance(rows: int) -> float:
    """How many of so many honest rows may be near the benchmark: as calibrated, and three standard deviations more."""
    expected = ALLOWED_FALSE_ALARMS * rows
    return float(expected + 3 * np.sqrt(expected))


def _numbered(pieces: Iterable[_Piece], *, first: int = 0) -> Iterator[tuple[int, _Piece]]:
    """Pieces of something, each with the place where it starts."""
    start = first
    for piece in pieces:
        yield start, piece
        start += len(piece)


def _counts(part: _Part, *, kept: int) -> ContributionCounts:
    return ContributionCounts(
        name=part.name,
        offered=part.offered,
        kept=kept,
        in_benchmark=part.count(BENCHMARK_CODES),
        duplicates=part.count(DUPLICATE_CODES),
        **part.counts,
    )
