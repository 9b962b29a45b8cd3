"""What changed between two dataset versions: columns, counts and, where both tables are at hand, rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.datasets.logical_types import encoded_schema, fields_of
from hokusai.datasets.row_digests import row_digests

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from hokusai.records import DatasetVersion

__all__ = ["RowChanges", "VersionChanges", "compare_rows", "compare_versions"]

_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChanges:
    """How many rows two tables share, repetitions counted.

    Attributes:
        kept: Rows that stand in both.
        added: Rows that stand in the second alone.
        removed: Rows that stand in the first alone.
        is_reordered: Whether the tables hold the same rows in another order.
    """

    kept: int
    added: int
    removed: int
    is_reordered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionChanges:
    """How two versions differ, as far as their manifests say.

    Attributes:
        is_same_content: Whether the content digests are equal.
        rows: Number of rows before and after.
        columns_added: Pairs of name and type that the second alone has.
        columns_removed: Pairs of name and type that the first alone has.
        types_changed: Name, type before and type after.
        nulls_changed: Name, number of missing values before and after, of the columns that both have.
        unique_changed: Name, number of different values before and after; None where they were too many to count.
    """

    is_same_content: bool
    rows: tuple[int, int]
    columns_added: tuple[tuple[str, str], ...]
    columns_removed: tuple[tuple[str, str], ...]
    types_changed: tuple[tuple[str, str, str], ...]
    nulls_changed: tuple[tuple[str, int | None, int | None], ...]
    unique_changed: tuple[tuple[str, int | None, int | None], ...]


def compare_versions(first: DatasetVersion, second: DatasetVersion) -> VersionChanges:
    """Return what changed from one version to another. What nobody counted in both is not compared."""
    before, after = dict(first.columns), dict(second.columns)
    return VersionChanges(
        is_same_content=first.digest == second.digest,
        rows=(first.rows, second.rows),
        columns_added=tuple(column for column in second.columns if column[0] not in before),
        columns_removed=tuple(column for column in first.columns if column[0] not in after),
        types_changed=tuple(
            (name, kind, after[name]) for name, kind in first.columns if name in after and after[name] != kind
        ),
        nulls_changed=_changed(dict(first.null_counts), dict(second.null_counts)),
        unique_changed=_changed(dict(first.unique_counts), dict(second.unique_counts)),
    )


def compare_rows(first: pa.Table, second: pa.Table) -> RowChanges | None:
    """Return how many rows two tables share, or None when their columns are not the same to the content digest.

    Raises:
        DataError: A column's type or one of its values has no content digest.
    """
    schemas = (
        encoded_schema(fields_of(table.schema, column_order="name", source="table")) for table in (first, second)
    )
    if len(set(schemas)) > 1:
        return None
    before, after = row_digests(first).tobytes(), row_digests(second).tobytes()
    counted, others = _counted(before), _counted(after)
    kept = (counted & others).total()
    return RowChanges(
        kept=kept,
        added=others.total() - kept,
        removed=counted.total() - kept,
        is_reordered=counted == others and before != after,
    )


def _counted(digests: bytes) -> Counter[bytes]:
    return Counter(digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES))


def _changed(
    before: Mapping[str, int | None], after: Mapping[str, int | None]
) -> tuple[tuple[str, int | None, int | None], ...]:
    shared = (name for name in before if name in after)
    return tuple((name, before[name], after[name]) for name in shared if before[name] != after[name])
