"""Snapshots: what is stored, under which name, with which bytes; and that a damaged one is never believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hokusai.datasets.content_digest import content_digest
from hokusai.datasets.snapshots import SnapshotPolicy, SnapshotWriter, read_snapshot, snapshot_path, store_snapshot
from hokusai.digests import file_sha256
from hokusai.errors import DataError, UnreadableTableError

if TYPE_CHECKING:
    from pathlib import Path

TABLE = pa.table(
    {
        "a": pa.array([1, None, 3], pa.int32()),
        "é": ["x", "", None],
        "n": [1.5, float("nan"), -0.0],
        "when": pa.array([1, 2, None], pa.timestamp("ns", "Asia/Tokyo")),
        "code": pa.array(["p", "q", "p"]).dictionary_encode(),
        "nothing": pa.nulls(3),
        "list": [[1], [], None],
        "how long": pa.array([1, 2, 3], pa.duration("s")),
    }
)
DIGEST = content_digest(TABLE)


def random_table(rows: int) -> pa.Table:
    rng = np.random.default_rng(3)
    return pa.table({"x": rng.integers(0, 2**62, rows), "s": rng.integers(0, 99, rows).astype(str)})


def test_a_table_comes_back_from_its_snapshot(tmp_path: Path) -> None:
    snapshot = store_snapshot(TABLE, tmp_path / "new folder", digest=DIGEST)
    assert snapshot is not None
    assert snapshot.path.name == snapshot.file.name == f"{DIGEST}.parquet"
    assert snapshot.artifact_path == snapshot_path(DIGEST) == f"datasets/{DIGEST}.parquet"
    assert (snapshot.file.sha256, snapshot.file.size) == (file_sha256(snapshot.path), snapshot.path.stat().st_size)
    assert snapshot.file.rows == 3
    table = read_snapshot(snapshot.path)
    assert content_digest(table) == DIGEST
    assert table.schema.equals(TABLE.schema)
    assert table["a"].to_pylist() == [1, None, 3]


@pytest.mark.parametrize("rows", [0, 1, (1 << 17) - 1, 1 << 17, 200_000])
def test_the_bytes_do_not_depend_on_batches_and_are_there_once(tmp_path: Path, rows: int) -> None:
    table = random_table(rows)
    digest = content_digest(table)
    whole = store_snapshot(table, tmp_path, digest=digest)
    assert whole is not None
    again = store_snapshot(table, tmp_path, digest=digest)
    with SnapshotWriter(table.schema, tmp_path, policy=SnapshotPolicy()) as writer:
        for batch in table.to_batches(max_chunksize=77_777):
            writer.update(batch)
        assert writer.finish(digest) == whole == again
    assert [path.name for path in tmp_path.iterdir()] == [f"{digest}.parquet"]
    assert read_snapshot(whole.path).equals(table)


def test_metadata_and_nullability_do_not_change_the_bytes(tmp_path: Path) -> None:
    fields = [pa.field(field.name, field.type, metadata={"note": "mine"}) for field in TABLE.schema]
    noted = TABLE.cast(pa.schema(fields)).replace_schema_metadata({"pandas": "{}"})
    first = store_snapshot(TABLE, tmp_path / "a", digest=DIGEST)
    second = store_snapshot(noted, tmp_path / "b", digest=DIGEST)
    assert first is not None
    assert second is not None
    assert first.file.sha256 == second.file.sha256


def test_small_tables_are_stored_and_large_ones_are_not(tmp_path: Path) -> None:
    table = random_table(300_000)
    digest = content_digest(table)
    whole = store_snapshot(table, tmp_path / "always", digest=digest, policy=SnapshotPolicy(mode="always", max_bytes=0))
    assert whole is not None
    for limit, is_stored in ((whole.file.size, True), (whole.file.size - 1, False), (1000, False)):
        folder = tmp_path / str(limit)
        stored = store_snapshot(table, folder, digest=digest, policy=SnapshotPolicy(max_bytes=limit))
        assert (stored is not None) == is_stored
        assert len(list(folder.iterdir())) == is_stored
    never = store_snapshot(TABLE, tmp_path / "never", digest=DIGEST, policy=SnapshotPolicy(mode="never"))
    assert never is None
    assert not (tmp_path / "never").exists()


def test_a_writer_that_was_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with SnapshotWriter(TABLE.schema, tmp_path, policy=SnapshotPolicy()) as writer:
            writer.update(TABLE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def _is_refused(path: Path) -> bool:
    """Whether a snapshot is refused; one that is not has its content."""
    try:
        table = read_snapshot(path)
    except UnreadableTableError:
        return True
    assert content_digest(table) == path.stem
    return False


def test_a_damaged_snapshot_is_replaced_and_not_believed(tmp_path: Path) -> None:
    table = random_table(1_000)
    snapshot = store_snapshot(table, tmp_path, digest=content_digest(table))
    assert snapshot is not None
    whole, refusals = snapshot.path.read_bytes(), 0
    for position in range(0, len(whole), 211):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        snapshot.path.write_bytes(damaged)
        refusals += _is_refused(snapshot.path)
    # A few bytes are metadata that nobody reads.
    assert refusals > 0.9 * len(range(0, len(whole), 211))
    assert store_snapshot(table, tmp_path, digest=snapshot.digest) == snapshot
    assert snapshot.path.read_bytes() == whole


def test_another_content_under_the_name_of_a_digest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{DIGEST}.parquet"
    pq.write_table(random_table(3), path)
    with pytest.raises(UnreadableTableError, match=f"expected {DIGEST}"):
        read_snapshot(path)
    other = store_snapshot(TABLE, tmp_path, digest=DIGEST)
    assert other is not None
    with pytest.raises(UnreadableTableError, match=f"has the digest {DIGEST}, expected {'0' * 64}"):
        read_snapshot(other.path, digest="0" * 64)


def test_what_is_no_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_snapshot(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UnreadableTableError, match="damaged"):
        read_snapshot(tmp_path / "text.parquet")


def test_a_batch_of_other_columns_and_a_folder_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with (
        SnapshotWriter(TABLE.schema, tmp_path, policy=SnapshotPolicy()) as writer,
        pytest.raises(DataError, match="other columns"),
    ):
        writer.update(TABLE.select(["a"]))
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="mode to never") as refused:
        store_snapshot(TABLE, tmp_path / "file" / "folder", digest=DIGEST, source="base.csv")
    assert refused.value.source == "base.csv"
