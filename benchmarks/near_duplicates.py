"""What near duplicates cost and find, 1,000,000 contributed rows against 100,000: the search beside what others do.

The peers see fewer rows where all of them would take hours, and their costs are scaled up; each says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from benchmarks.measure import Cost, Side, alternate, cost_of, print_table
from scipy.spatial import cKDTree

from hokusai.datasets.near_duplicates import NearDuplicates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_CONTRIBUTED, _REFERENCE, _PLANTED = 1_000_000, 100_000, 10_000
_NUMBERS, _NOISE = 10, 0.03
_TREE_RADIUS = 0.2
_TREE_SHARE, _PYTHON_SHARE = 50, 1_000  # the peers see one in so many contributed rows
_WORDS = 20_000
_FOOTER = " this message is confidential if you have received it by mistake please tell the sender and delete it"


def main() -> None:
    """Compare both kinds, on data made from one seed."""
    rng = np.random.default_rng(0)
    _numbers(rng)
    _texts(rng)


def _numbers(rng: np.random.Generator) -> None:
    reference = _measurements(_REFERENCE, rng)
    base, contributed = _measurements(_REFERENCE, rng), _measurements(_CONTRIBUTED, rng)
    kinds = ("noise", "one column replaced", "noise and a gap", "fresh")
    planted = rng.integers(0, _REFERENCE, _PLANTED)
    for at, kind in enumerate(kinds[:3]):
        copies = reference[planted].copy()
        chosen = np.arange(_PLANTED), rng.integers(0, _NUMBERS, _PLANTED)
        if kind != "one column replaced":
            copies += rng.normal(size=copies.shape) * _NOISE * reference.std(axis=0)
        if kind == "noise and a gap":
            copies[chosen] = np.nan
        elif kind == "one column replaced":
            copies[chosen] = rng.normal(size=_PLANTED) * 9
        contributed[at * _PLANTED : (at + 1) * _PLANTED] = copies
    tables = [_table(values) for values in (reference, base, contributed)]
    found = np.zeros(0, dtype=np.int64)
    by_tree = np.zeros(0, dtype=np.int64)
    some = slice(0, None, _TREE_SHARE)

    def ours() -> None:
        nonlocal found
        found = NearDuplicates(tables[0], base=tables[1], features=tables[0].column_names).find(tables[2])

    scale = reference.std(axis=0)

    def tree() -> Cost:
        nonlocal by_tree
        trees: list[cKDTree] = []
        building = cost_of(lambda: trees.append(cKDTree(reference / scale)))

        def search() -> None:
            nonlocal by_tree
            # A tree knows no gaps and no replaced columns: the radius must hold the noise of all columns.
            candidates = np.nan_to_num(contributed[some] / scale)
            distances, nearest = trees[0].query(candidates, distance_upper_bound=_TREE_RADIUS)
            by_tree = np.where(np.isfinite(distances), nearest, -1)

        return _sum(building, cost_of(search), times=_TREE_SHARE)

    sides = [
        Side("NearDuplicates, calibration included", lambda: cost_of(ours), 3),
        Side(f"scipy cKDTree, radius {_TREE_RADIUS} sd, one row in {_TREE_SHARE}, scaled", tree, 3),
    ]
    title = f"numbers: {_CONTRIBUTED:,} contributed rows x {_NUMBERS} columns against {_REFERENCE:,}"
    print_table(title, alternate(sides))
    truth = np.full(_CONTRIBUTED, -1)
    truth[: 3 * _PLANTED] = np.tile(planted, 3)
    _print_found(kinds, {"NearDuplicates": (found, truth, 1), "cKDTree": (by_tree, truth[some], _TREE_SHARE)})


def _texts(rng: np.random.Generator) -> None:
    vocabulary = np.array([f"w{number:x}" for number in rng.permutation(_WORDS)], dtype=object)
    frequency = 1 / np.arange(1, _WORDS + 1)
    frequency /= frequency.sum()

    def made(count: int) -> list[str]:
        lengths = rng.integers(15, 70, count)
        words = vocabulary[rng.choice(_WORDS, int(lengths.sum()), p=frequency)]
        ends = np.cumsum(lengths)
        return [
            " ".join(words[end - length : end]) + _FOOTER * (at % 2)
            for at, (end, length) in enumerate(zip(ends, lengths, strict=True))
        ]

    reference, base, contributed = made(_REFERENCE), made(_REFERENCE), made(_CONTRIBUTED)
    planted = rng.integers(0, _REFERENCE, _PLANTED)
    for at, source in enumerate(planted):
        words = reference[source].split()
        for place in rng.choice(len(words), round(len(words) / 10), replace=False):
            words[place] = vocabulary[rng.integers(_WORDS)]
        contributed[at] = " ".join(words)
        contributed[_PLANTED + at] += f" {reference[source]}. {contributed[-1 - at]}"
    tables = [pa.table({"text": texts}) for texts in (reference, base, contributed)]
    found = np.zeros(0, dtype=np.int64)
    by_sets = np.zeros(0, dtype=np.int64)

    def ours() -> None:
        nonlocal found
        found = NearDuplicates(tables[0], base=tables[1], features=["text"]).find(tables[2])

    def sets() -> Cost:
        nonlocal by_sets
        holders: dict[tuple[str, ...], list[int]] = {}
        sizes: list[int] = []
        building = cost_of(lambda: _index(reference, holders, sizes))

        def search() -> None:
            nonlocal by_sets
            by_sets = _by_sets(contributed[::_PYTHON_SHARE], holders, sizes)

        return _sum(building, cost_of(search), times=_PYTHON_SHARE)

    sides = [
        Side("NearDuplicates, calibration included", lambda: cost_of(ours), 3),
        Side(f"sets of 5-grams in Python, one text in {_PYTHON_SHARE}, scaled", sets, 1),
    ]
    print_table(
        f"text: {_CONTRIBUTED:,} contributed texts against {_REFERENCE:,}, half with a footer", alternate(sides)
    )
    truth = np.full(_CONTRIBUTED, -1)
    truth[: 2 * _PLANTED] = np.tile(planted, 2)
    kinds = ("a tenth of the words edited", "inside a longer text", "fresh")
    sides_found = {
        "NearDuplicates": (found, truth, 1),
        "sets": (by_sets, truth[::_PYTHON_SHARE], _PYTHON_SHARE),
    }
    _print_found(kinds, sides_found)


def _measurements(rows: int, rng: np.random.Generator) -> NDArray[np.float64]:
    values = rng.normal(size=(rows, _NUMBERS))
    values[:, 1] = 0.7 * (values[:, 0] + values[:, 1])
    values[:, 2] = np.exp(values[:, 2])
    values[:, 3] = rng.poisson(4, rows)
    return values


def _table(values: NDArray[np.float64]) -> pa.Table:
    return pa.table({f"number_{at}": pa.array(values[:, at], from_pandas=True) for at in range(_NUMBERS)})


def _sum(building: Cost, searching: Cost, *, times: int) -> Cost:
    return Cost(building.wall + times * searching.wall, building.cpu + times * searching.cpu)


def _index(reference: list[str], holders: dict[tuple[str, ...], list[int]], sizes: list[int]) -> None:
    for at, text in enumerate(reference):
        grams = _grams(text)
        sizes.append(len(grams))
        for gram in grams:
            holders.setdefault(gram, []).append(at)


def _by_sets(texts: list[str], holders: Mapping[tuple[str, ...], list[int]], sizes: list[int]) -> NDArray[np.int64]:
    """The reference text that shares most 5-grams, where it shares three tenths of either's."""
    found = []
    for text in texts:
        grams = _grams(text)
        shared: dict[int, int] = {}
        for gram in grams:
            for at in holders.get(gram, ()):
                shared[at] = shared.get(at, 0) + 1
        score, best = max(((count / min(sizes[at], len(grams)), at) for at, count in shared.items()), default=(0, -1))
        found.append(best if score >= 0.3 else -1)
    return np.array(found)


def _grams(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[at : at + 5]) for at in range(len(words) - 4)}


def _print_found(kinds: tuple[str, ...], sides: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64], int]]) -> None:
    """Print what each side found of every kind of plant, and how many fresh rows it took for copies."""
    for name, (found, truth, share) in sides.items():
        cells = []
        planted = _PLANTED // share
        for at, kind in enumerate(kinds[:-1]):
            part = slice(at * planted, (at + 1) * planted)
            cells.append(f"{kind} {(found[part] == truth[part]).mean():.2%}")
        fresh = found[truth < 0]
        print(f"{name}: {', '.join(cells)}; {kinds[-1]} rows marked {(fresh >= 0).mean():.4%}", flush=True)


if __name__ == "__main__":
    main()
