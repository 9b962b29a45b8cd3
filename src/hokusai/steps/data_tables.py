"""The tables of an evaluation side by side: of the same types, and benchmarks with columns of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hokusai.errors import PersonalDataError
from hokusai.steps.data_sources import common_types, record_batches
from hokusai.steps.personal_data_policy import PersonalDataPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hokusai.datasets.integration import Columns
    from hokusai.datasets.personal_data import PersonalDataCount
    from hokusai.steps.data_settings import DataSettings
    from hokusai.steps.data_sources import DataSources

__all__ = ["RecordedTypes", "distinct_after_masking", "typed_tables", "without_personal_data"]


class RecordedTypes:
    """The types that base and benchmarks are recorded with: contributions have no say in them.

    Otherwise a contribution with one fraction among whole numbers would make another benchmark of it, with a history
    and a split of its own.
    """

    def __init__(self, sources: DataSources, *, read: Sequence[pa.Table], typed: pa.Schema) -> None:
        """Find the columns whose types contributions have changed.

        Args:
            sources: What the tables are.
            read: Every table of the evaluation as it was read, the decoy last.
            typed: The columns of all tables, of the types that they are used with.
        """
        owned = [
            (table.select(typed.names), sources.source(part))
            for part, table in zip(sources.tables, read, strict=True)
            if part.context != "contribution"
        ]
        own = common_types([table for table, _ in owned], sources=[source for _, source in owned])[0].schema
        self._changed = [(field, typed.field(field.name).type) for field in own if field != typed.field(field.name)]

    def of(self, table: pa.Table) -> pa.Table:
        """Return the rows of base or benchmarks as they are recorded.

        Args:
            table: Columns as they are used. One that was treated has the type of what took the values' place.
        """
        for field, used in self._changed:
            place = table.schema.get_field_index(field.name)
            if place >= 0 and table.schema.field(place).type == used:
                table = table.set_column(place, field, table[place].cast(field.type))
        return table


def typed_tables(sources: DataSources, tables: Sequence[pa.Table], names: Sequence[str]) -> list[pa.Table]:
    """Return tables of one schema; benchmarks have, after it, the columns that they alone have, of one schema too.

    Args:
        sources: What the tables are.
        tables: Every table of the evaluation, the decoy last.
        names: The columns of all tables.

    Raises:
        ValueMismatchError: A column has two types that no third one holds without a change.
    """
    titles = [sources.source(part) for part in sources.tables]
    typed = common_types([table.select(list(names)) for table in tables], sources=titles)
    own = [name for name in sources.benchmark_columns if name not in names]
    if own:
        first, after = 1, 1 + len(sources.benchmarks)
        more_of = common_types([table.select(own) for table in tables[first:after]], sources=titles[first:after])
        for place, more in enumerate(more_of, start=first):
            for name in own:
                typed[place] = typed[place].append_column(more.schema.field(name), more[name])
    return typed


def without_personal_data(
    sources: DataSources, settings: DataSettings, tables: Sequence[pa.Table], columns: Columns
) -> tuple[list[pa.Table], Columns, list[PersonalDataCount], pa.Table | None]:
    """Search every table, and treat all of them alike.

    Args:
        sources: What the tables are.
        settings: What happens to personal data.
        tables: Every table of the evaluation, the decoy last, as :func:`typed_tables` returns them.
        columns: What the columns are for.

    Returns:
        The tables, the columns that are left, what was found, and of all benchmarks' rows the columns that say how
        they are scored, or None without any.

    Raises:
        PersonalDataError: A table holds what is refused, or a column that is needed would be dropped.
    """
    policy = PersonalDataPolicy(settings)
    found = [
        count
        for part, table in zip(sources.tables, tables, strict=True)
        for count in policy.find(table.to_batches(), source=sources.source(part))
    ]
    columns = policy.columns_left(columns, found, source=sources.source(sources.base))
    before = _benchmark_columns(sources, tables)
    if not policy.treats:
        return list(tables), columns, found, before
    treated = [pa.Table.from_batches(policy.treated(record_batches(table), found=found)) for table in tables]
    lost = [name for name in sources.benchmark_columns if name not in treated[1].column_names]
    if lost:
        source = sources.source(sources.benchmarks[0])
        raise PersonalDataError(source, found=[(name, "what is to be dropped") for name in lost])
    after = _benchmark_columns(sources, treated)
    if before is not None and after is not None:
        after = pa.table(
            {name: distinct_after_masking(before[name], after[name]) for name in sources.benchmark_columns}
        )
        treated = _with_own_columns(sources, treated, columns, after)
    return typed_tables(sources, treated, columns.names), columns, found, after


def distinct_after_masking(before: pa.ChunkedArray, after: pa.ChunkedArray) -> pa.ChunkedArray:
    """Number masked values, where different ones have become the same: rows that belonged together still do.

    Args:
        before: Shape (rows,): the column as it was read.
        after: Shape (rows,): the same column, treated.

    Returns:
        Shape (rows,): ``after`` itself when no two values have become one and none is lost; otherwise texts, where a
        changed one ends with the number of its value, counted from 1 in the order of the rows.
    """
    is_one_to_one = pc.count_distinct(after, mode="all") == pc.count_distinct(before, mode="all")
    if is_one_to_one and after.null_count == before.null_count:
        return after
    old = before.combine_chunks().dictionary_encode()
    texts = after.combine_chunks().cast(pa.string())
    is_changed = pc.and_(before.is_valid(), pc.invert(pc.fill_null(pc.equal(before, after), fill_value=False)))
    numbers = pc.add(old.indices, 1).cast(pa.string())
    masked = pc.binary_join_element_wise(pc.fill_null(texts, "[masked]"), numbers, " ")
    return pa.chunked_array([pc.if_else(is_changed.combine_chunks(), masked, texts)])


def _benchmark_columns(sources: DataSources, tables: Sequence[pa.Table]) -> pa.Table | None:
    if not sources.benchmark_columns:
        return None
    names = list(sources.benchmark_columns)
    return pa.concat_tables([table.select(names) for table in tables[1 : 1 + len(sources.benchmarks)]]).combine_chunks()


def _with_own_columns(
    sources: DataSources, tables: Sequence[pa.Table], columns: Columns, values: pa.Table
) -> list[pa.Table]:
    """Put the columns that only benchmarks have back, as they are scored by."""
    own, changed, start = [name for name in values.column_names if name not in columns.names], list(tables), 0
    for place in range(1, 1 + len(sources.benchmarks)):
        rows = values.slice(start, tables[place].num_rows)
        for name in own:
            at = changed[place].column_names.index(name)
            changed[place] = changed[place].set_column(at, rows.schema.field(name), rows[name])
        start += rows.num_rows
    return changed
