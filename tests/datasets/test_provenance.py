"""Provenance: every row knows its contribution, file and place."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hokusai.datasets.provenance import PROVENANCE, provenance_of


def test_rows_of_several_files_are_numbered_within_their_own_file() -> None:
    rows = np.array([0, 2, 3, 4, 6], dtype=np.int64)
    table = provenance_of(rows, contribution="dream", files=[("aa", 3), ("bb", 1), ("cc", 0), ("dd", 3)])
    assert table.schema == PROVENANCE
    assert table.to_pylist() == [
        {"contribution": "dream", "source_sha256": "aa", "source_row": 1},
        {"contribution": "dream", "source_sha256": "aa", "source_row": 3},
        {"contribution": "dream", "source_sha256": "bb", "source_row": 1},
        {"contribution": "dream", "source_sha256": "dd", "source_row": 1},
        {"contribution": "dream", "source_sha256": "dd", "source_row": 3},
    ]


def test_tables_of_provenance_of_several_contributions_can_be_joined() -> None:
    none = provenance_of(np.zeros(0, dtype=np.int64), contribution="empty", files=[("aa", 0)])
    one = provenance_of(np.array([0]), contribution="base", files=[("bb", 1)])
    joined = pa.concat_tables([none, one]).combine_chunks()
    assert joined.to_pylist() == [{"contribution": "base", "source_sha256": "bb", "source_row": 1}]
