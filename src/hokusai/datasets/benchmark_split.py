"""Splits a benchmark into a feedback half and a decision half by a key that contributors do not have.

Which half a row is in depends on the key and on the row's content alone, or on its group: not on the order of rows, not
on other rows, not on chance. Nothing here opens a file; the file of the key is :mod:`hokusai.datasets.benchmark_key`.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hokusai.datasets.row_digests import row_digests

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["key_commitment", "split_rows"]

_ROW, _GROUP, _KEY = b"hokusai benchmark row", b"hokusai benchmark group", b"hokusai benchmark key"
_TOP_BIT = 0x80


def split_rows(table: pa.Table, *, key: bytes, groups: pa.ChunkedArray | None = None) -> NDArray[np.bool_]:
    """Say of every row which half it is in.

    The rule: HMAC-SHA256 with the key, of ``hokusai benchmark row`` and the 32 bytes of the row's digest
    (:func:`~hokusai.datasets.row_digests.row_digests`, -0.0 counting as 0.0); the row is in the decision half when the
    first bit is set. With groups it is that of ``hokusai benchmark group`` and the digest of the group's value, so that
    a group stays whole; a row without a group is on its own. Each row, or group, is thus in either half with
    probability one half: of n independent ones about n/2 decide, give or take the square root of n.

    HMAC (Krawczyk, Bellare and Canetti, 1997, "HMAC: Keyed-Hashing for Message Authentication", RFC 2104) is a
    pseudorandom function: whoever has no key cannot tell a row's half better than by guessing, whatever rows they know.

    Args:
        table: The benchmark's columns that an evaluation uses; one row each.
        key: At least 32 bytes that nobody can guess.
        groups: Shape (rows,): which rows belong together, of any type; default None, every row on its own.

    Returns:
        Shape (rows,): True for the decision half, False for the feedback half. Equal rows of equal groups are in one
        half.

    Raises:
        DataError: Two columns share a name, or a value has no content digest.
    """
    halves = _halves(_ROW, row_digests(table, fold_negative_zero=True, source="benchmark"), key)
    if groups is None:
        return halves
    named = pa.table({"group": groups})
    of_groups = _halves(_GROUP, row_digests(named, fold_negative_zero=True, source="benchmark groups"), key)
    return np.where(groups.is_valid().to_numpy(), of_groups, halves)


def key_commitment(key: bytes, digest: str) -> str:
    """Return what can be published of a key: it tells this key from any other, and nothing about the halves.

    Args:
        key: The key.
        digest: The benchmark's content digest.

    Returns:
        HMAC-SHA256 with the key, of ``hokusai benchmark key`` and the digest: 64 hexadecimal digits.
    """
    return hmac.digest(key, _KEY + digest.encode(), "sha256").hex()


def _halves(purpose: bytes, digests: NDArray[np.void], key: bytes) -> NDArray[np.bool_]:
    content = digests.tobytes()
    bits = [
        hmac.digest(key, purpose + content[start : start + 32], "sha256")[0] >= _TOP_BIT
        for start in range(0, len(content), 32)
    ]
    return np.array(bits, dtype=np.bool_)
