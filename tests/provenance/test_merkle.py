"""Merkle roots: recomputed by another way, told apart by everything that is in them, and shown leaf by leaf."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.provenance.merkle import InclusionProof, inclusion_proof, is_included, merkle_root

if TYPE_CHECKING:
    import random

PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
LEAVES = st.dictionaries(PATHS, st.binary(min_size=32, max_size=32).map(bytes.hex), min_size=1, max_size=12).map(
    lambda found: list(found.items())
)


def node(left: bytes, right: bytes) -> bytes:
    """Hash two nodes, as the description says."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def recomputed(leaves: list[tuple[str, str]]) -> str:
    """Compute a root from the description, level by level: a node without a partner moves up as it is."""
    ordered = sorted(leaves, key=lambda leaf: leaf[0].encode())
    level = [hashlib.sha256(b"\0" + path.encode() + b"\0" + bytes.fromhex(digest)).digest() for path, digest in ordered]
    while len(level) > 1:
        pairs = [node(*level[place : place + 2]) for place in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0].hex()


@settings(max_examples=40)
@given(leaves=LEAVES, rng=st.randoms(use_true_random=False))
def test_a_root_is_what_its_description_says_in_any_order(leaves: list[tuple[str, str]], rng: random.Random) -> None:
    assert merkle_root(rng.sample(leaves, k=len(leaves))) == recomputed(leaves)


@settings(max_examples=40)
@given(leaves=LEAVES, data=st.data())
def test_a_root_changes_with_every_path_and_digest_and_number_of_leaves(
    leaves: list[tuple[str, str]], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(leaves) - 1))
    path, digest = leaves[place]
    others = leaves[:place] + leaves[place + 1 :]
    changed = [
        [*others, (path + "x" * 9, digest)],
        [*others, (path, hashlib.sha256(digest.encode()).hexdigest())],
        [*leaves, ("y" * 9, digest)],
        *([others] if others else []),
    ]
    assert len({merkle_root(leaves), *map(merkle_root, changed)}) == 1 + len(changed)


@settings(max_examples=40)
@given(leaves=LEAVES)
def test_every_leaf_is_shown_to_be_in_the_tree_and_nothing_else_is(leaves: list[tuple[str, str]]) -> None:
    root = merkle_root(leaves)
    for path, digest in leaves:
        proof = inclusion_proof(leaves, path)
        assert (proof.path, proof.digest) == (path, digest)
        assert len(proof.siblings) <= len(leaves).bit_length()
        assert is_included(proof, root=root)
        wrong = [
            replace(proof, path=path + "x"),
            replace(proof, digest=hashlib.sha256(digest.encode()).hexdigest()),
            replace(proof, digest=digest.upper() + "g"),
            replace(proof, digest=digest[:-2]),
            replace(proof, siblings=(*proof.siblings, "00" * 32)),
            replace(proof, siblings=("00" * 32, *proof.siblings[1:])) if proof.siblings else replace(proof, leaves=2),
            replace(proof, index=-1),
            replace(proof, index=proof.leaves),
            replace(proof, siblings=("", *proof.siblings)),
        ]
        assert not any(is_included(each, root=root) for each in wrong)
        assert not is_included(proof, root="00" * 32)


def test_an_inner_node_cannot_be_passed_off_as_a_leaf_nor_a_part_of_a_path_as_a_digest() -> None:
    leaves = [("a", "11" * 32), ("b", "22" * 32)]
    hashes = [hashlib.sha256(b"\0" + path.encode() + b"\0" + bytes.fromhex(digest)).digest() for path, digest in leaves]
    assert merkle_root(leaves) == node(*hashes).hex()
    assert merkle_root(leaves) != hashlib.sha256(b"".join(hashes)).hexdigest()


@pytest.mark.parametrize(
    ("leaves", "problem"),
    [
        ([], "at least one leaf"),
        ([("a", "00" * 32), ("b", "00" * 32), ("a", "11" * 32)], "'a' occurs twice"),
        ([("a\0", "00" * 32)], "zero byte"),
        ([("a", "AB" * 32)], "64 lower-case"),
        ([("a", "00" * 31)], "64 lower-case"),
    ],
)
def test_leaves_of_which_no_root_can_be_made_are_refused(leaves: list[tuple[str, str]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        merkle_root(leaves)
    with pytest.raises(ValueError, match=problem):
        inclusion_proof(leaves, "a")


def test_a_proof_for_a_path_that_no_leaf_may_have_is_none() -> None:
    root = hashlib.sha256(b"\0" + b"a\0b" + b"\0" + bytes(32)).hexdigest()
    proof = InclusionProof(path="a\0b", digest="00" * 32, index=0, leaves=1, siblings=())
    assert not is_included(proof, root=root)


def test_a_leaf_that_is_not_there_has_no_proof() -> None:
    with pytest.raises(ValueError, match="no leaf 'b'"):
        inclusion_proof([("a", "00" * 32)], "b")
