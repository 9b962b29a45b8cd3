"""The tables of an evaluation, what was found in them, and what became of their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = [
    "SEVERITIES",
    "CheckReport",
    "ContributionCounts",
    "DatasetContext",
    "DatasetFile",
    "DatasetVersion",
    "DecoyTest",
    "Finding",
    "IntegratedData",
    "Severity",
]

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From the highest to the lowest."""
DatasetContext = Literal["base", "contribution", "benchmark", "integrated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found in a table.

    Attributes:
        check: The kind of check, such as ``missing_values``; a fixed word, for programs.
        severity: ``error`` when an evaluation would refuse the table or be misled by it, ``warning`` when its owner
            should look, ``note`` for what is good to know.
        message: One sentence. It never holds personal data.
        column: The column concerned, or None.
        rows: How many rows are concerned, or None when the finding is not about rows.
        first_rows: Numbers of the first of them, counted from 1 without the header; at most five.
        advice: What to do, one sentence; may be empty.
    """

    check: str
    severity: Severity
    message: str
    column: str | None = None
    rows: int | None = None
    first_rows: tuple[int, ...] = ()
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a contributor is told about a file before handing it over.

    Attributes:
        source: The file.
        contribution: The contribution's name.
        rows: Number of rows.
        columns: Pairs of column name and type, in the table's order.
        file_sha256: SHA-256 of the file's bytes.
        digest: TABHASH v1 digest of its content.
        findings: Everything that was found.
        counts: Numbers of rows by what they are, such as ``duplicates`` or ``in_benchmark``.
        personal_data: Column, kind, grade and number of rows of personal data; never the values.
    """

    source: str
    contribution: str
    rows: int
    columns: tuple[tuple[str, str], ...]
    file_sha256: str
    digest: str
    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    personal_data: tuple[tuple[str, str, str, int], ...] = ()

    @property
    def worst(self) -> Severity | None:
        """The highest severity among the findings; None when there are none."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in SEVERITIES if severity in found), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFile:
    """A file that a dataset version was read from, or is kept in.

    Attributes:
        name: The file's name, without its folder.
        sha256: SHA-256 of its bytes.
        size: Number of its bytes.
        rows: Number of its rows, or None when nobody counted them.
    """

    name: str
    sha256: str
    size: int
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """A table as it was used, identified by its content.

    Attributes:
        name: What people call it, such as the contribution's name.
        context: The part it plays in the evaluation.
        digest: TABHASH v1 digest of its content, 64 hexadecimal digits.
        rows: Number of rows.
        columns: Pairs of column name and type, in the table's order.
        source: The file that it was read from, or how it was made.
        file_sha256: SHA-256 of the source file's bytes; None for a table that was made here.
        null_counts: Pairs of column name and number of missing values; empty when nobody counted.
        unique_counts: Pairs of column name and number of different values, missing ones aside; None for a column that
            has too many to count. Empty when nobody counted.
        parents: Digests of the versions that it was made from.
        licence: Its licence, such as an SPDX identifier; empty when nobody said.
        contributor: Whoever offered it; empty when nobody said.
        created: When this version was made: UTC, ISO 8601; empty when nobody said.
        files: The files that it was read from.
        multiset_digest: The digest of its content in any order of rows; None when nobody asked for it.
    """

    name: str
    context: DatasetContext
    digest: str
    rows: int
    columns: tuple[tuple[str, str], ...]
    source: str
    file_sha256: str | None = None
    null_counts: tuple[tuple[str, int], ...] = ()
    unique_counts: tuple[tuple[str, int | None], ...] = ()
    parents: tuple[str, ...] = ()
    licence: str = ""
    contributor: str = ""
    created: str = ""
    files: tuple[DatasetFile, ...] = ()
    multiset_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionCounts:
    """What became of the rows of one table that was offered for training.

    Attributes:
        name: The contribution's name, or ``base``.
        offered: Rows in the file.
        in_benchmark: Rows removed because they stand in the benchmark, in one of the four ways below.
        benchmark_exact: Features and label equal those of a benchmark row.
        benchmark_flipped: The features equal, the label differs.
        benchmark_normalised: The features equal once case, blanks and the last digits of numbers are set aside.
        benchmark_near: The features nearly equal: noise, one column replaced, or a text edited.
        duplicates: Contributed rows that are not new, in one of the three ways below; removed unless
            ``data.duplicates`` is ``keep``.
        duplicates_own: An equal row stands before it in the contribution.
        duplicates_base: An equal row stands in the base.
        duplicates_other: An equal row stands in an earlier contribution.
        near_base: Rows that nearly equal a row of the base; removed if ``data.near_duplicates`` says so.
        label_conflicts: Rows that are new, but whose features stand in the base or in an earlier contribution with
            another label; they are kept.
        key_conflicts: Rows whose key stood before them with other content; with ``data.merge = "update"`` alone.
        replaced: Rows that are not in force because another row of their key is.
        sampled_out: Rows left out by ``sample_rows``.
        kept: Rows that go into training; of the base, those that the control is trained on.
    """

    name: str
    offered: int
    kept: int
    in_benchmark: int = 0
    benchmark_exact: int = 0
    benchmark_flipped: int = 0
    benchmark_normalised: int = 0
    benchmark_near: int = 0
    duplicates: int = 0
    duplicates_own: int = 0
    duplicates_base: int = 0
    duplicates_other: int = 0
    near_base: int = 0
    label_conflicts: int = 0
    key_conflicts: int = 0
    replaced: int = 0
    sampled_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoyTest:
    """Whether a contribution holds more rows of the benchmark than of a decoy that was drawn from the same pool.

    Attributes:
        contribution: The contribution's name.
        benchmark_hits: Different benchmark rows that were met among its rows.
        decoy_hits: Different decoy rows that were met.
        p_value: One-sided probability of so many benchmark rows among all that were met, if none had leaked.
        alarm: Whether that is below the level of the test.
    """

    contribution: str
    benchmark_hits: int
    decoy_hits: int
    p_value: float
    alarm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegratedData:
    """The tables of one evaluation, of one schema, free of benchmark rows.

    Attributes:
        base: What the control is trained on.
        integrated: What the candidate is trained on: base rows first, then each contribution's.
        benchmark: What both are scored on.
        label: The column to predict.
        features: The columns to predict from.
        versions: Every dataset with its digest: base, contributions, benchmark, integrated.
        counts: Per table, base first, what became of its rows.
        provenance: Row by row of ``integrated``: ``contribution`` (its name, or ``base``), ``source_sha256`` of the
            file, ``source_row`` in it, counted from 1.
        overlapping: Shape (benchmark rows,): whether a row of the base or of a contribution, as they were offered,
            equals or nearly equals this benchmark row.
        benchmark_parts: Name and number of rows of each benchmark, in the order in which their rows stand in
            ``benchmark``; the first decides.
        benchmark_columns: Row by row of ``benchmark``, the columns that say how it is scored, such as groups and
            weights; None when there are none.
        benchmark_types: The columns of ``benchmark`` as its version records them; contributions may have turned whole
            numbers into floats in ``benchmark`` itself. None when they are the same.
        decoy_tests: Whether a contribution holds more rows of the benchmark than chance explains.
        sample_weight: The column of training weights, which is no feature; None where every row weighs the same.
        notes: What the screening could not decide, one sentence each.
    """

    base: pa.Table
    integrated: pa.Table
    benchmark: pa.Table
    label: str
    features: tuple[str, ...]
    versions: tuple[DatasetVersion, ...]
    counts: tuple[ContributionCounts, ...]
    provenance: pa.Table
    overlapping: NDArray[np.bool_]
    benchmark_parts: tuple[tuple[str, int], ...] = ()
    benchmark_columns: pa.Table | None = None
    benchmark_types: pa.Schema | None = None
    decoy_tests: tuple[DecoyTest, ...] = ()
    sample_weight: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def base_rows(self) -> int:
        """How many rows of ``integrated``, its first ones, are of the base and not contributed.

        By number and not by name, because a contribution may be called ``base`` too.
        """
        base_rows: int = self.base.num_rows
        return base_rows - self.counts[0].replaced

    @property
    def has_new_rows(self) -> bool:
        """Whether a contributed row goes into training."""
        return any(count.kept for count in self.counts[1:])
