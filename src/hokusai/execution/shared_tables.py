"""Tables that several processes read without a copy of their own: uncompressed Arrow IPC files, mapped into memory."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

__all__ = ["map_tables", "write_tables"]

_ROWS_PER_BATCH = 1 << 20


def write_tables(tables: Mapping[str, pa.Table], folder: Path) -> tuple[tuple[str, str], ...]:
    """Write every table to a file of its own and return pairs of table name and path; an equal object once."""
    import pyarrow as pa

    paths: dict[int, str] = {}
    for number, table in enumerate(tables.values()):
        if id(table) not in paths:
            path = folder / f"{number}.arrow"
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table, max_chunksize=_ROWS_PER_BATCH)
            paths[id(table)] = str(path)
    return tuple((name, paths[id(table)]) for name, table in tables.items())


@lru_cache(maxsize=1)
def map_tables(files: tuple[tuple[str, str], ...]) -> dict[str, pa.Table]:
    """Map what :func:`write_tables` wrote; the pages are shared by all processes that map them."""
    import pyarrow as pa

    mapped = {path: pa.ipc.open_file(pa.memory_map(path)).read_all() for path in {path for _, path in files}}
    return {name: mapped[path] for name, path in files}
