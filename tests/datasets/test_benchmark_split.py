"""The split of a benchmark: by key and content alone, groups whole, about half of the rows; and the file of the key."""

from __future__ import annotations

import hashlib
import hmac
import stat
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai.datasets.benchmark_key import make_benchmark_key, read_benchmark_key
from hokusai.datasets.benchmark_split import key_commitment, split_rows
from hokusai.datasets.row_digests import row_digests
from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    import random
    from pathlib import Path

_KEYS = st.binary(min_size=32, max_size=48)
_ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", "", None]), st.sampled_from([None, "p", "q", "r"])),
    min_size=1,
    max_size=40,
)
_Row = tuple[int, str | None, str | None]


def table_of(rows: list[_Row]) -> tuple[pa.Table, pa.ChunkedArray]:
    """Return the rows as a table, and their groups."""
    table = pa.table(
        {
            "x": pa.array([float(row[0]) for row in rows], pa.float64()),
            "label": pa.array([row[1] for row in rows], pa.string()),
        }
    )
    return table, pa.chunked_array([pa.array([row[2] for row in rows], pa.string())])


@given(rows=_ROWS, key=_KEYS, rng=st.randoms(), grouped=st.booleans())
def test_a_row_stays_in_its_half_whatever_the_order_of_rows_and_columns(
    rows: list[_Row], key: bytes, rng: random.Random, *, grouped: bool
) -> None:
    order = rng.sample(range(len(rows)), k=len(rows))
    (table, groups), (shuffled, shuffled_groups) = table_of(rows), table_of([rows[place] for place in order])
    before = split_rows(table, key=key, groups=groups if grouped else None)
    after = split_rows(shuffled.select(["label", "x"]), key=key, groups=shuffled_groups if grouped else None)
    assert after.tolist() == before[order].tolist()


@given(rows=_ROWS, more=_ROWS, key=_KEYS)
def test_other_rows_play_no_part_and_equal_rows_go_together(rows: list[_Row], more: list[_Row], key: bytes) -> None:
    alone, together = (split_rows(table_of(some)[0], key=key) for some in (rows, rows + more))
    assert together[: len(rows)].tolist() == alone.tolist()
    halves: dict[tuple[int, str | None], bool] = {}
    for row, half in zip(rows + more, together.tolist(), strict=True):
        assert halves.setdefault(row[:2], half) == half


@given(rows=_ROWS, key=_KEYS)
def test_a_group_stays_whole_and_a_row_without_one_goes_by_its_content(rows: list[_Row], key: bytes) -> None:
    table, groups = table_of(rows)
    alone, grouped = split_rows(table, key=key), split_rows(table, key=key, groups=groups)
    halves: dict[str, bool] = {}
    for row, by_content, half in zip(rows, alone.tolist(), grouped.tolist(), strict=True):
        assert half == (by_content if row[2] is None else halves.setdefault(row[2], half))


def test_the_rule_is_the_one_that_is_written_down() -> None:
    rows: list[_Row] = [(number, "a", str(number % 7)) for number in range(50)]
    table, groups = table_of(rows)
    key = bytes(range(32))
    for kind, got, digests in (
        (b"row", split_rows(table, key=key), row_digests(table)),
        (b"group", split_rows(table, key=key, groups=groups), row_digests(pa.table({"group": groups}))),
    ):
        macs = [hmac.new(key, b"hokusai benchmark " + kind + each.tobytes(), hashlib.sha256) for each in digests]
        assert got.tolist() == [mac.digest()[0] >> 7 == 1 for mac in macs]
        assert 0 < got.sum() < len(rows)


def test_a_negative_zero_is_in_the_half_of_zero() -> None:
    keys = [bytes([number]) * 32 for number in range(20)]
    halves = [split_rows(pa.table({"x": [0.0, -0.0]}), key=key) for key in keys]
    assert [first for first, _ in halves] == [second for _, second in halves]
    assert len({bool(first) for first, _ in halves}) == 2


def test_halves_are_near_half_of_the_rows_and_another_key_makes_other_ones() -> None:
    rows = 4000
    table = pa.table({"x": np.arange(rows)})
    split = [split_rows(table, key=bytes([number]) * 32) for number in range(8)]
    # Five standard deviations of a fair coin.
    near = 5 * np.sqrt(rows) / 2
    assert all(abs(int(half.sum()) - rows / 2) < near for half in split)
    for place, half in enumerate(split[1:], start=1):
        assert abs(int((half != split[place - 1]).sum()) - rows / 2) < near


def test_a_commitment_tells_key_and_benchmark() -> None:
    key, other = b"k" * 32, b"l" * 32
    expected = hmac.new(key, b"hokusai benchmark key" + b"ab" * 32, hashlib.sha256).hexdigest()
    assert key_commitment(key, "ab" * 32) == expected
    assert len({expected, key_commitment(other, "ab" * 32), key_commitment(key, "cd" * 32)}) == 3


# --- the file of the key ----------------------------------------------------------------------------------------------


def test_a_key_is_new_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.key"
    key = make_benchmark_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_benchmark_key(path) == key
    with pytest.raises(ConfigurationError, match=r"cannot be made \(File exists\)") as caught:
        make_benchmark_key(path)
    assert caught.value.key == "delta.benchmark_key_file"
    assert read_benchmark_key(path) == key
    assert make_benchmark_key(tmp_path / "another.key") != key


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        (None, 0o600, "cannot be read"),
        (b"ab" * 31, 0o600, "holds no key, expected at least 64 hexadecimal digits"),
        (b"xy" * 32, 0o600, "holds no key"),
        (b"", 0o600, "holds no key"),
        (b"ab" * 32, 0o644, "has the mode 0644: everybody may read it, expected 0600"),
    ],
)
def test_what_is_no_key_or_no_secret_is_refused(tmp_path: Path, content: bytes | None, mode: int, problem: str) -> None:
    path = tmp_path / "benchmark.key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(ConfigurationError, match=problem) as caught:
        read_benchmark_key(path)
    assert caught.value.key == "delta.benchmark_key_file"
    assert content is None or not content or content.decode() not in str(caught.value)
