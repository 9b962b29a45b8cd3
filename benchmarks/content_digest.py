"""What identity costs: the content digest against SHA-256 over the same bytes, and against what others do instead."""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.measure import Side, alternate, cost_of, print_table
from benchmarks.tables import mixed_table

from hokusai.datasets.content_digest import ContentDigester, DigestState, content_digest, digest_batches
from hokusai.datasets.versions import table_version

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLUMNS = 12
_SIZES = (100_000, 1_000_000)
_PEER_ROWS = 100_000
_STREAMED_ROWS = 10_000_000
_PART_ROWS = 1_000_000
_BATCH_ROWS = 1 << 16
_RUNS = 9


def main() -> None:
    """Compare all of it, on tables made from one seed; ``--stream FILE`` is the part that runs in its own process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stream", metavar="FILE")
    parser.add_argument("--rows", type=int, default=_STREAMED_ROWS)
    arguments = parser.parse_args()
    if arguments.stream:
        _stream(Path(arguments.stream))
        return
    for rows in _SIZES:
        _compare_with_sha256(mixed_table(rows, columns=_COLUMNS, rng=np.random.default_rng(0)))
    _compare_with_others(mixed_table(_PEER_ROWS, columns=_COLUMNS, rng=np.random.default_rng(0)))
    _compare_with_resuming(mixed_table(1_000_000, columns=_COLUMNS, rng=np.random.default_rng(0)))
    _compare_with_version(mixed_table(1_000_000, columns=_COLUMNS, rng=np.random.default_rng(0)))
    with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as folder:
        path = Path(folder) / "large.parquet"
        _write_large(path, arguments.rows)
        # A process of its own: its peak memory is that of the streaming alone.
        subprocess.run([sys.executable, "-m", "benchmarks.content_digest", "--stream", str(path)], check=True)


def _buffers(table: pa.Table) -> list[pa.Buffer]:
    return [buffer for column in table.columns for buffer in column.combine_chunks().buffers() if buffer]


def _sha256(buffers: list[pa.Buffer]) -> str:
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    return digest.hexdigest()


def _compare_with_sha256(table: pa.Table) -> None:
    buffers = _buffers(table)
    runs = _RUNS * max(1, 1_000_000 // table.num_rows)
    sides = [
        Side("SHA-256 over the table's bytes", partial(cost_of, partial(_sha256, buffers)), runs),
        Side("content_digest", partial(cost_of, partial(content_digest, table)), runs),
    ]
    size = sum(buffer.size for buffer in buffers)
    print_table(f"digest of {table.num_rows:,} rows x {_COLUMNS} columns, {size / 1e6:.0f} MB", alternate(sides))


def _compare_with_others(table: pa.Table) -> None:
    from mlflow.data.pandas_dataset import from_pandas

    frame = table.to_pandas()

    def as_json() -> str:
        return hashlib.sha256(table.to_pandas().to_json(date_format="iso").encode()).hexdigest()

    sides = [
        Side("content_digest", partial(cost_of, partial(content_digest, table)), _RUNS),
        Side("JSON and SHA-256", partial(cost_of, as_json), 3),
        Side("mlflow.data.from_pandas, of 10,000 rows", partial(cost_of, lambda: from_pandas(frame).digest), 3),
    ]
    print_table(f"digest of {table.num_rows:,} rows x {_COLUMNS} columns, as others do it", alternate(sides))


def _compare_with_resuming(table: pa.Table) -> None:
    cut = table.num_rows * 99 // 100
    digester = ContentDigester(table.schema)
    digester.update(table.slice(0, cut))
    kept, added = digester.state().to_bytes(), table.slice(cut)

    def resumed() -> str:
        longer = ContentDigester.resume(DigestState.from_bytes(kept))
        longer.update(added)
        return longer.hexdigest()

    if resumed() != content_digest(table):
        msg = "the resumed digest is another one"
        raise SystemExit(msg)
    sides = [
        Side("going on from the state of the first 99 %", partial(cost_of, resumed), _RUNS),
        Side("hashing all rows again", partial(cost_of, partial(content_digest, table)), _RUNS),
    ]
    print_table(f"{table.num_rows:,} rows of which 1 % are new; the state has {len(kept):,} bytes", alternate(sides))


def _compare_with_version(table: pa.Table) -> None:
    def version() -> object:
        return table_version(table, name="base", context="base", source="made")

    sides = [
        Side("content_digest", partial(cost_of, partial(content_digest, table)), 5),
        Side("a version: digest, missing and different values", partial(cost_of, version), 5),
    ]
    print_table(f"a version of {table.num_rows:,} rows x {_COLUMNS} columns", alternate(sides))


def _write_large(path: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    writer = None
    for _ in range(rows // _PART_ROWS):
        part = mixed_table(_PART_ROWS, columns=_COLUMNS, rng=rng)
        writer = writer or pq.ParquetWriter(path, part.schema, compression="zstd")
        writer.write_table(part, row_group_size=2 * _BATCH_ROWS)
    if writer:
        writer.close()


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        yield from file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False)


def _stream(path: Path) -> None:
    """Digest a large file in little memory; the bare SHA-256 reads the same batches."""
    schema = pq.read_schema(path)
    before = _peak_megabytes()

    def hash_bytes() -> None:
        digest = hashlib.sha256()
        for batch in _batches(path):
            for column in batch.columns:
                for buffer in column.buffers():
                    if buffer:
                        digest.update(buffer)

    def read() -> int:
        return sum(batch.num_rows for batch in _batches(path))

    sides = [
        Side("reading Parquet and SHA-256 over its bytes", partial(cost_of, hash_bytes), 1),
        Side("reading Parquet and digest_batches", partial(cost_of, lambda: digest_batches(schema, _batches(path))), 1),
        Side("reading Parquet alone", partial(cost_of, read), 1),
    ]
    samples = alternate(sides)
    rows = pq.read_metadata(path).num_rows
    print_table(f"{rows:,} rows x {_COLUMNS} columns streamed from Parquet", samples)
    reading = samples[2].cpu[0]
    ratio = (samples[1].cpu[0] - reading) / (samples[0].cpu[0] - reading)
    print(f"without the reading, the digest takes {ratio:.2f} times the CPU of SHA-256")
    print(f"peak memory {_peak_megabytes():,.0f} MB, of which {before:,.0f} MB before the first row", flush=True)
    _resume_large(path, rows, again=samples[1].cpu[0] - reading)


def _resume_large(path: Path, rows: int, *, again: float) -> None:
    digester, added, seen, cut = None, [], 0, rows * 99 // 100
    for batch in _batches(path):
        digester = digester or ContentDigester(batch.schema)
        if seen < cut:
            digester.update(batch.slice(0, cut - seen))
        if seen + batch.num_rows > cut:
            added.append(batch.slice(max(0, cut - seen)))
        seen += batch.num_rows
    if digester is None:
        return
    kept = digester.state().to_bytes()

    def resumed() -> None:
        longer = ContentDigester.resume(DigestState.from_bytes(kept))
        for batch in added:
            longer.update(batch)
        longer.hexdigest()

    cost = min(cost_of(resumed).cpu for _ in range(5))
    print(
        f"going on from the state of the first 99 % takes 1/{again / cost:.0f} of the CPU of hashing again", flush=True
    )


def _peak_megabytes() -> float:
    """Peak memory of this program; what the kernel tells of the process includes the one that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
