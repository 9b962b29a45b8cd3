"""What it costs to bring contributed rows and base rows together, and how much memory, beside data engines.

Every side reads a contribution of 12 mixed columns from Parquet, takes out rows that stand in it twice, in the base or
in the benchmark, counts them, and writes what is left as zstd Parquet. A hundredth of the rows repeats others of the
contribution, a hundredth stands in the base, a thousandth in the benchmark. Hokusai reads in a process of its own,
validates every value, finds rows in another spelling or with another label as well, keeps the order of rows, and writes
where each came from.

Each side runs in a process of its own: CPU seconds and the peak of resident memory are that process's, its children's
included (libraries that two processes share are counted twice). ``python -m benchmarks.integration 1e6 1e7``; at 1e7
rows DuckDB is told to keep to 1.6 GB, so that it stays within 2 GiB as Hokusai does, and pandas is left out, which
wants 14 GB and more.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.tables import mixed_table

_COLUMNS, _LABEL = 12, "column_03"
_BENCHMARK_ROWS = 100_000
_SIDES = ("hokusai", "pandas", "polars", "duckdb")
_SMALL, _LARGE = 1_000_000, 10_000_000
_RUNS = {_SMALL: 3, _LARGE: 1}


def main(sizes: list[int]) -> None:
    """Compare the sides at each size."""
    for rows in sizes:
        with tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name:
            folder = Path(name)
            _write_tables(folder, rows)
            sides = [side for side in _SIDES if not (side == "pandas" and rows > _SMALL)]
            results: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
            for _ in range(_RUNS.get(rows, 1)):
                for side in sides:
                    results[side].append(_run(side, folder))
        _print(rows, results)


def _write_tables(folder: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    base = _labelled_table(rows // 10, rng)
    benchmark = _labelled_table(_BENCHMARK_ROWS, rng)
    pq.write_table(base, folder / "base.parquet", compression="zstd")
    pq.write_table(benchmark, folder / "benchmark.parquet", compression="zstd")
    with pq.ParquetWriter(folder / "contribution.parquet", base.schema, compression="zstd") as writer:
        for start in range(0, rows, _SMALL):
            fresh = _labelled_table(min(_SMALL, rows - start), rng)
            many, few = fresh.num_rows // 100, fresh.num_rows // 1000
            parts = [
                fresh.slice(many * 2 + few),
                fresh.slice(fresh.num_rows - many),
                base.take(pa.array(rng.integers(0, base.num_rows, many))),
                benchmark.take(pa.array(rng.integers(0, benchmark.num_rows, few))),
            ]
            writer.write_table(pa.concat_tables(parts).combine_chunks(), row_group_size=1 << 18)


def _labelled_table(rows: int, rng: np.random.Generator) -> pa.Table:
    """The mixed table with a label in every row."""
    table = mixed_table(rows, columns=_COLUMNS, rng=rng)
    return table.set_column(table.column_names.index(_LABEL), _LABEL, pa.array(rng.random(rows) < 0.5))


def _run(side: str, folder: Path) -> dict[str, float]:
    """Run one side in a process of its own, and return what it cost and counted."""
    command = [sys.executable, "-m", "benchmarks.integration", "--side", side, str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        print(f"{side}: failed with {done.returncode}: {last}", file=sys.stderr)
        return {}
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _measure(side: str, folder: Path) -> None:
    began = time.perf_counter()
    kept = {"hokusai": _hokusai, "pandas": _pandas, "polars": _polars, "duckdb": _duckdb}[side](folder)
    wall = time.perf_counter() - began
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(
        json.dumps(
            {
                "cpu": sum(usage.ru_utime + usage.ru_stime for usage in usages),
                "wall": wall,
                # The reader is a process of its own: at worst both are at their peaks at once.
                "gigabytes": (_peak_kilobytes() + usages[1].ru_maxrss) * 1024 / 1e9,
                "kept": kept,
            }
        )
    )


def _peak_kilobytes() -> int:
    """The peak of this process alone; what getrusage says of it begins with that of the process that started it."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _hokusai(folder: Path) -> int:
    from hokusai.datasets.personal_data import KINDS
    from hokusai.integrated_file import write_integrated
    from hokusai.steps.data_settings import ContributionSettings, DataSettings

    settings = DataSettings(
        base=folder / "base.parquet",
        benchmark=folder / "benchmark.parquet",
        label=_LABEL,
        contributions=(ContributionSettings(path=folder / "contribution.parquet"),),
        near_duplicates="off",
        personal_data=dict.fromkeys(KINDS, "keep"),
    )
    return write_integrated(settings, folder / "hokusai.parquet").counts[1].kept


def _pandas(folder: Path) -> int:
    import pandas as pd

    offered = pd.read_parquet(folder / "contribution.parquet").drop_duplicates()
    for name in ("benchmark", "base"):
        known = pd.read_parquet(folder / f"{name}.parquet").drop_duplicates()
        found = offered.merge(known, how="left", indicator=True)["_merge"].to_numpy() == "both"
        offered = offered[~found]
    offered.to_parquet(folder / "pandas.parquet", compression="zstd", index=False)
    return len(offered)


def _polars(folder: Path) -> int:
    import polars as pl

    offered = pl.scan_parquet(folder / "contribution.parquet")
    columns = offered.collect_schema().names()
    kept = offered.unique(maintain_order=False)
    for name in ("benchmark", "base"):
        known = pl.scan_parquet(folder / f"{name}.parquet")
        kept = kept.join(known, on=columns, how="anti", nulls_equal=True)
    kept.sink_parquet(folder / "polars.parquet", compression="zstd")
    return int(pl.scan_parquet(folder / "polars.parquet").select(pl.len()).collect().item())


def _duckdb(folder: Path) -> int:
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET threads = {os.cpu_count()}; SET temp_directory = '{folder / 'spill'}'")
    connection.execute("SET preserve_insertion_order = false")
    if (folder / "contribution.parquet").stat().st_size > 2e8:
        connection.execute("SET memory_limit = '1.6GB'")
    tables = {name: f"read_parquet('{folder / name}.parquet')" for name in ("contribution", "base", "benchmark")}
    connection.execute(
        f"COPY (SELECT DISTINCT * FROM {tables['contribution']} EXCEPT "  # noqa: S608 - our own names
        f"(SELECT * FROM {tables['base']} UNION ALL SELECT * FROM {tables['benchmark']})) "
        f"TO '{folder / 'duckdb.parquet'}' (FORMAT parquet, COMPRESSION zstd)"
    )
    query = f"SELECT count(*) FROM read_parquet('{folder / 'duckdb.parquet'}')"  # noqa: S608 - our own name
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _print(rows: int, results: dict[str, list[dict[str, float]]]) -> None:
    print(
        f"\nintegration of {rows:,} rows x {_COLUMNS} columns, {rows // 10:,} base, {_BENCHMARK_ROWS:,} benchmark rows"
    )
    print(f"{'':<12}{'CPU s':>10}{'ratio':>8}{'wall s':>10}{'peak GB':>10}{'rows kept':>14}{'runs':>6}")
    first = results["hokusai"]
    for side, runs in results.items():
        done = [run for run in runs if run]
        if not done:
            print(f"{side:<12}{'failed':>10}")
            continue
        cpu, wall, memory = (float(np.median([run[key] for run in done])) for key in ("cpu", "wall", "gigabytes"))
        ratio = cpu / float(np.median([run["cpu"] for run in first if run])) if any(first) else float("nan")
        print(f"{side:<12}{cpu:>10.1f}{ratio:>8.2f}{wall:>10.1f}{memory:>10.2f}{done[0]['kept']:>14,.0f}{len(done):>6}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        _measure(sys.argv[2], Path(sys.argv[3]))
    else:
        main([int(float(size)) for size in sys.argv[1:]] or [_SMALL])
