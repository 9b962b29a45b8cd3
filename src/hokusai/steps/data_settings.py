"""The settings of step 2: which tables there are, how they are read, and what may be in them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Len, Predicate

from hokusai.datasets.personal_data_kinds import Kind
from hokusai.datasets.read_settings import ColumnType, ReadLimits

__all__ = ["BenchmarkSettings", "ContributionSettings", "DataSettings"]


def _is_plain_name(name: str) -> bool:
    """Letters, digits, dot, dash and underscore."""
    return re.fullmatch(r"[\w.-]*", name) is not None


def _label(name: str, path: Path) -> str:
    """The name that is shown; MLflow takes few signs in the names of metrics and tags."""
    return name or re.sub(r"[^\w.-]", "_", path.name.split(".")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSettings:
    """One ``[[data.more_benchmarks]]`` table.

    Attributes:
        path: The file, a folder of files, or a pattern such as ``part-*.csv``.
        name: What to call it; empty means the file's name without its ending.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    path: Path
    name: Annotated[str, Predicate(_is_plain_name)] = ""

    @property
    def label(self) -> str:
        """The name that is shown."""
        return _label(self.name, self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionSettings:
    """One ``[[data.contributions]]`` table.

    Attributes:
        path: The contributed file, a folder of files, or a pattern such as ``part-*.csv``.
        name: What to call it; empty means the file's name without its ending.
        contributor: Who gave it.
        licence: The terms under which it was given, such as an SPDX identifier.
        sample_rows: How many of its rows to use at most, drawn so that every class keeps its share; 0 for all.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    path: Path
    name: Annotated[str, Predicate(_is_plain_name)] = ""
    contributor: str = ""
    licence: str = ""
    sample_rows: Annotated[int, Ge(0)] = 0

    @property
    def label(self) -> str:
        """The name that is shown."""
        return _label(self.name, self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Settings under ``[data]``. Tables are CSV, TSV, JSON, JSON Lines, Parquet or Arrow by the file's ending.

    Attributes:
        base: What the model is trained on anyway.
        benchmark: What models are scored on, and what decides.
        label: The column to predict.
        contributions: What is offered, at least one; all of them are added together.
        more_benchmarks: Further tables that models are scored on; training rows are compared with all benchmarks.
        decoy: A table that was drawn from the same pool as the benchmark, of about its size, and is kept as secret. A
            contribution that holds more rows of the benchmark than of the decoy has seen the benchmark.
        features: The columns to predict from; empty means every column of the base but label, key and weight.
        exclude: Columns to leave out of the features.
        sample_weight: A column of every table that says how much its rows count in training: finite numbers, not
            negative. It is no feature. Empty: every row counts the same.
        contract: A data contract that every table must keep; it declares the types of the columns.
        types: Declared column types, for files that do not declare them and columns that are not in a contract.
        missing_values: Texts that mean "no value" in CSV files.
        delimiter: What separates the columns of CSV files; empty to find it.
        encoding: The encoding of text files; empty for UTF-8, or UTF-16 where that is certain.
        key: The columns that tell rows apart, for ``merge = "update"``; they are no features.
        merge: ``append`` adds rows, ``update`` lets rows of one key replace each other, ``replace`` leaves the base
            data out of the candidate's training.
        winner: Which of two rows with one key counts when ``merge`` is ``update``: the ``last`` or the ``first``.
        benchmark_overlap: What happens to training rows that stand in the benchmark: ``remove`` or ``refuse``.
        duplicates: What happens to contributed rows that are not new: ``remove``, ``refuse`` or ``keep``.
        near_duplicates: What happens to contributed rows that nearly equal a base row: ``report`` or ``remove``; or
            ``off`` to search for near rows in neither the base nor the benchmark.
        personal_data: What happens to personal data, by kind: ``refuse``, ``drop`` the column, ``mask``, ``hash`` or
            ``keep``. By default what is certain is refused and what is possible kept and counted. When every kind is
            kept, the tables are not searched.
        hash_key_file: A file with the secret key of ``hash``, at least 32 bytes.
        sample_rows: How many rows of the base to use at most, drawn so that every class keeps its share; 0 for all.
        snapshots: Whether the tables themselves are stored beside their digests: ``auto`` for small ones, ``always``
            or ``never``.
        snapshot_bytes: The largest table that ``auto`` stores, in bytes as Parquet.
        limits: How large a table may be.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    base: Path
    benchmark: Path
    label: Annotated[str, Len(1)]
    contributions: Annotated[tuple[ContributionSettings, ...], Len(1)]
    more_benchmarks: tuple[BenchmarkSettings, ...] = ()
    decoy: Path | None = None
    features: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    sample_weight: str = ""
    contract: Path | None = None
    types: dict[str, ColumnType] = field(default_factory=dict)
    missing_values: tuple[str, ...] = ("",)
    delimiter: Annotated[str, Len(0, 1)] = ""
    encoding: str = ""
    key: tuple[str, ...] = ()
    merge: Literal["append", "update", "replace"] = "append"
    winner: Literal["first", "last"] = "last"
    benchmark_overlap: Literal["remove", "refuse"] = "remove"
    duplicates: Literal["remove", "refuse", "keep"] = "remove"
    near_duplicates: Literal["report", "remove", "off"] = "report"
    personal_data: dict[Kind, Literal["refuse", "drop", "mask", "hash", "keep"]] = field(default_factory=dict)
    hash_key_file: Path | None = None
    sample_rows: Annotated[int, Ge(0)] = 0
    snapshots: Literal["auto", "always", "never"] = "auto"
    snapshot_bytes: Annotated[int, Ge(0)] = 64 << 20
    limits: ReadLimits = field(default_factory=ReadLimits)
