"""Dataset versions: what a table is, in numbers that anyone who has the table can find again.

A version is built from a table or from its batches, in one pass and in bounded memory. Nothing here opens a file or
asks a clock: where the rows came from, and when, is the caller's to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hokusai.datasets.content_digest import ContentDigester
from hokusai.datasets.multiset_digester import MultisetDigester
from hokusai.datasets.version_statistics import ColumnCounter
from hokusai.errors import DataError
from hokusai.records import DatasetVersion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pyarrow as pa

    from hokusai.datasets.content_digest import DigestState
    from hokusai.records import DatasetContext, DatasetFile

__all__ = ["VersionBuilder", "table_version", "utc_text"]

_MOST_UNIQUE = 100_000


class VersionBuilder:
    """Builds a :class:`~hokusai.records.DatasetVersion` from batches of rows.

    >>> import pyarrow as pa
    >>> builder = VersionBuilder(pa.schema([("a", pa.int64())]))
    >>> builder.update(pa.record_batch({"a": [1, None]}))
    >>> version = builder.finish(name="base", context="base", source="base.csv")
    >>> version.rows, version.null_counts, version.unique_counts
    (2, (('a', 1),), (('a', 1),))
    """

    def __init__(
        self,
        schema: pa.Schema,
        *,
        any_order: bool = False,
        most_unique: int = _MOST_UNIQUE,
        state: DigestState | None = None,
        source: str = "table",
    ) -> None:
        """Start with no rows, or where an earlier version stopped.

        Args:
            schema: The columns; every batch must have exactly these names and types, in this order.
            any_order: Whether the digest that ignores the order of rows is taken as well; it keeps 32 bytes a row.
            most_unique: How many different values of a column are counted.
            state: The digest state of an earlier version whose rows come before these. The null and unique counts, and
                the digest in any order, need all rows and are left out then.
            source: What error messages call the table.

        Raises:
            DataError: Two columns share a name, a column's type has no content digest, or the state is of a table with
                other columns.
        """
        if state is None:
            self._digester = ContentDigester(schema, source=source)
        else:
            self._digester = ContentDigester.resume(state, schema=schema, source=source)
        self._columns = tuple((field.name, str(field.type)) for field in schema)
        self._rows = 0 if state is None else state.rows
        is_whole = state is None
        self._counters = [ColumnCounter(most_unique=most_unique) for _ in schema] if is_whole else []
        self._any_order = MultisetDigester(schema, source=source) if any_order and is_whole else None

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append the rows of a batch.

        Raises:
            DataError: The batch's columns are not those of the schema, or a value has no content digest.
        """
        self._digester.update(batch)
        for counter, column in zip(self._counters, batch.columns, strict=bool(self._counters)):
            counter.update(column)
        if self._any_order is not None:
            self._any_order.update(batch)
        self._rows += batch.num_rows

    def state(self) -> DigestState:
        """The digest state of the rows so far, for a version that will be longer."""
        return self._digester.state()

    def finish(
        self,
        *,
        name: str,
        context: DatasetContext,
        source: str,
        parents: Sequence[str] = (),
        files: Sequence[DatasetFile] = (),
        licence: str = "",
        contributor: str = "",
        created: str = "",
    ) -> DatasetVersion:
        """Return the version of the rows so far.

        Args:
            name: What people call it.
            context: The part it plays in the evaluation.
            source: The file that it was read from, or how it was made.
            parents: Digests of the versions that it was made from; each is named once, in sorted order.
            files: The files that it was read from.
            licence: Its licence, such as an SPDX identifier.
            contributor: Whoever offered it.
            created: When it was made, from :func:`utc_text`.
        """
        counted = list(zip(self._columns, self._counters, strict=True)) if self._counters else []
        return DatasetVersion(
            name=name,
            context=context,
            digest=self._digester.hexdigest(),
            rows=self._rows,
            columns=self._columns,
            source=source,
            file_sha256=files[0].sha256 if len(files) == 1 else None,
            null_counts=tuple((column, counter.nulls) for (column, _), counter in counted),
            unique_counts=tuple((column, counter.unique) for (column, _), counter in counted),
            parents=tuple(sorted(set(parents))),
            licence=licence,
            contributor=contributor,
            created=created,
            files=tuple(files),
            multiset_digest=None if self._any_order is None else self._any_order.hexdigest(),
        )


def table_version(
    table: pa.Table,
    *,
    name: str,
    context: DatasetContext,
    source: str,
    parents: Sequence[str] = (),
    files: Sequence[DatasetFile] = (),
    licence: str = "",
    contributor: str = "",
    created: str = "",
    any_order: bool = False,
) -> DatasetVersion:
    """Return the version of a whole table; the arguments are those of :class:`VersionBuilder` and its ``finish``.

    Raises:
        DataError: Two columns share a name, or a column's type or one of its values has no content digest.
    """
    builder = VersionBuilder(table.schema, any_order=any_order, source=source)
    builder.update(table)
    return builder.finish(
        name=name,
        context=context,
        source=source,
        parents=parents,
        files=files,
        licence=licence,
        contributor=contributor,
        created=created,
    )


def utc_text(moment: datetime) -> str:
    """Return a moment as versions write it: UTC, whole seconds, such as ``2030-01-02T03:04:05Z``.

    Raises:
        DataError: The moment has no time zone.
    """
    from datetime import UTC

    if moment.tzinfo is None:
        raise DataError("dataset version", f"got the time {moment}, expected one with a time zone.")
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
