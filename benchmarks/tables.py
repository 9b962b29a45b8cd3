"""What certainty about data costs: the content digest against SHA-256, and the strict reader against others."""

from __future__ import annotations

import hashlib
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from benchmarks.measure import Side, alternate, cost_of, print_table
from pyarrow import csv as arrow_csv

from hokusai.datasets.content_digest import content_digest
from hokusai.datasets.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Callable

_DIGEST_ROWS, _CSV_ROWS = 1_000_000, 330_000
_RUNS = 7


def main() -> None:
    """Compare both, on tables made from one seed."""
    table = mixed_table(_DIGEST_ROWS, columns=12, rng=np.random.default_rng(0))
    buffers = [buffer for column in table.columns for buffer in column.combine_chunks().buffers() if buffer]
    sides = [
        Side("SHA-256 over the table's bytes", lambda: cost_of(lambda: _sha256(buffers)), _RUNS),
        Side("content_digest, columns by name", lambda: cost_of(lambda: content_digest(table)), _RUNS),
    ]
    size = sum(buffer.size for buffer in buffers)
    title = f"digest of {table.num_rows:,} rows x {table.num_columns} columns, {size / 1e6:.0f} MB"
    print_table(title, alternate(sides))
    with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as folder:
        _compare_readers(Path(folder) / "table.csv")


def _compare_readers(path: Path) -> None:
    table = mixed_table(_CSV_ROWS, columns=16, rng=np.random.default_rng(1))
    # Only Parquet can carry a timestamp; in a CSV file it is a text to all readers.
    table = pa.table({n: c.cast(pa.string()) if pa.types.is_timestamp(c.type) else c for n, c in _columns(table)})
    arrow_csv.write_csv(table, path)
    types = arrow_csv.ConvertOptions(column_types=table.schema, strings_can_be_null=True)
    readers: dict[str, Callable[[], object]] = {
        "PyArrow, types given": lambda: arrow_csv.read_csv(path, convert_options=types),
        "pandas.read_csv": lambda: pd.read_csv(path),
        "read_table, types expected": lambda: read_table(path, expected=table.schema),
        "read_table, types found": lambda: read_table(path),
    }
    sides = [Side(name, partial(cost_of, read), _RUNS) for name, read in readers.items()]
    title = f"reading {table.num_rows:,} rows x {table.num_columns} columns of CSV, {path.stat().st_size / 1e6:.0f} MB"
    print_table(title, alternate(sides))


def _columns(table: pa.Table) -> list[tuple[str, pa.ChunkedArray]]:
    return list(zip(table.column_names, table.columns, strict=True))


def _sha256(buffers: list[pa.Buffer]) -> str:
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    return digest.hexdigest()


def mixed_table(rows: int, *, columns: int, rng: np.random.Generator) -> pa.Table:
    """A table whose columns take turns: integers, floats, short and long texts, booleans, timestamps; some nulls."""
    words = pa.array([f"word-{number:04}" for number in range(5_000)])
    sentences = pa.array([" ".join(["several", "words", str(number), "é"] * 3) for number in range(20_000)])
    start = datetime(2013, 1, 1, tzinfo=UTC)
    made: dict[str, pa.Array] = {}
    for position in range(columns):
        missing = rng.random(rows) < 0.02
        match position % 6:
            case 0:
                values = pa.array(rng.integers(0, 1_000_000, rows), mask=missing)
            case 1:
                values = pa.array(rng.normal(size=rows), mask=missing)
            case 2:
                values = words.take(pa.array(rng.integers(0, len(words), rows), mask=missing))
            case 3:
                values = pa.array(rng.random(rows) < 0.5, mask=missing)
            case 4:
                moments = rng.integers(0, 365 * 86_400, rows) + int(start.timestamp())
                values = pa.array(moments, mask=missing).cast(pa.timestamp("s", tz="UTC"))
            case _:
                values = sentences.take(pa.array(rng.integers(0, len(sentences), rows), mask=missing))
        made[f"column_{position:02}"] = values
    return pa.table(made)


if __name__ == "__main__":
    main()
