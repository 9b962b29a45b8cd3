"""One digest for a set of named digests, of which each can be shown to be in it without the others.

A tree as in RFC 6962, section 2.1 (B. Laurie, A. Langley, E. Kasper, Certificate Transparency, 2013), with the name in
each leaf. To recompute a root:

1. Sort the leaves by the UTF-8 bytes of their paths. No path occurs twice.
2. The hash of a leaf is SHA-256 of: the byte 0x00, the path in UTF-8, the byte 0x00, the 32 bytes of its digest.
3. The hash of several leaves is SHA-256 of: the byte 0x01, the hash of the first k of them, the hash of the others,
   where k is the largest power of two below their number. The hash of one leaf is its own.

The bytes 0x00 and 0x01 in front keep leaves and nodes apart: neither can be passed off as the other.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["InclusionProof", "inclusion_proof", "is_included", "merkle_root"]

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """That a named digest is among the leaves of a tree.

    Attributes:
        path: The leaf's path.
        digest: Its digest.
        index: Which leaf it is, in the order of the paths, from 0.
        leaves: How many leaves there are.
        siblings: The hashes that are joined to the leaf's on the way up, as 64 hexadecimal digits each.
    """

    path: str
    digest: str
    index: int
    leaves: int
    siblings: tuple[str, ...]


def merkle_root(leaves: Sequence[tuple[str, str]]) -> str:
    """Return the root over named digests, as 64 hexadecimal digits.

    Args:
        leaves: Pairs of path and SHA-256 digest, in any order.

    Raises:
        ValueError: There are none, a path occurs twice or holds a zero byte, or a digest is not one.
    """
    return _root(_leaf_hashes(_sorted(leaves))).hex()


def inclusion_proof(leaves: Sequence[tuple[str, str]], path: str) -> InclusionProof:
    """Return the proof that a leaf is in the tree (RFC 6962, section 2.1.1).

    Args:
        leaves: Pairs of path and digest, in any order.
        path: The leaf's path.

    Raises:
        ValueError: No leaf has that path, or the leaves are none of which a root could be made.
    """
    ordered = _sorted(leaves)
    paths = [each for each, _ in ordered]
    if path not in paths:
        msg = f"no leaf {path!r}"
        raise ValueError(msg)
    index = paths.index(path)
    siblings = _siblings(_leaf_hashes(ordered), index)
    return InclusionProof(
        path=path,
        digest=ordered[index][1],
        index=index,
        leaves=len(ordered),
        siblings=tuple(each.hex() for each in siblings),
    )


def is_included(proof: InclusionProof, *, root: str) -> bool:
    """Return whether a proof leads from its leaf to a root; a malformed one does not."""
    hashes = (proof.digest, *proof.siblings)
    if not all(map(_DIGEST.fullmatch, hashes)) or "\0" in proof.path or not 0 <= proof.index < proof.leaves:
        return False
    steps = _way_up(proof.index, proof.leaves)
    if len(steps) != len(proof.siblings):
        return False
    found = _leaf_hash(proof.path, proof.digest)
    for is_right, sibling in zip(steps, map(bytes.fromhex, proof.siblings), strict=True):
        found = _node_hash(sibling, found) if is_right else _node_hash(found, sibling)
    return found.hex() == root


def _sorted(leaves: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    ordered = sorted(leaves, key=lambda leaf: leaf[0].encode())
    paths = [path for path, _ in ordered]
    problem = ""
    if not ordered:
        problem = "a tree has at least one leaf"
    elif len(set(paths)) < len(paths):
        problem = f"the path {next(path for path in paths if paths.count(path) > 1)!r} occurs twice"
    elif any("\0" in path for path in paths):
        problem = "a path holds a zero byte"
    elif not all(_DIGEST.fullmatch(digest) for _, digest in ordered):
        problem = "a digest is 64 lower-case hexadecimal digits"
    if problem:
        raise ValueError(problem)
    return ordered


def _leaf_hashes(ordered: Sequence[tuple[str, str]]) -> list[bytes]:
    return [_leaf_hash(path, digest) for path, digest in ordered]


def _leaf_hash(path: str, digest: str) -> bytes:
    return hashlib.sha256(b"\x00" + path.encode() + b"\x00" + bytes.fromhex(digest)).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """Return the largest power of two below a number above 1."""
    return 1 << (count - 1).bit_length() - 1


def _root(hashes: list[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    left = _split(len(hashes))
    return _node_hash(_root(hashes[:left]), _root(hashes[left:]))


def _siblings(hashes: list[bytes], index: int) -> list[bytes]:
    if len(hashes) == 1:
        return []
    left = _split(len(hashes))
    if index < left:
        return [*_siblings(hashes[:left], index), _root(hashes[left:])]
    return [*_siblings(hashes[left:], index - left), _root(hashes[:left])]


def _way_up(index: int, count: int) -> list[bool]:
    """Return, from the leaf to the root, whether the sibling stands to the left."""
    steps: list[bool] = []
    while count > 1:
        left = _split(count)
        is_right = index >= left
        steps.append(is_right)
        index, count = (index - left, count - left) if is_right else (index, left)
    return steps[::-1]
