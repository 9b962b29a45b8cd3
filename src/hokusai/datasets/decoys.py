"""Whether a contributor has seen the benchmark: an honest contribution meets as much of a decoy.

Benchmark and decoy are a random split of one pool of rows, and both are kept secret. Whoever saw neither meets rows of
both by the same chance; more rows of the benchmark than that chance explains have leaked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hokusai.datasets.leakage import Screen
from hokusai.datasets.near_duplicates import NearDuplicates
from hokusai.datasets.row_digests import row_digests, sorted_order
from hokusai.datasets.row_index import RowIndex
from hokusai.errors import DataError
from hokusai.records import DecoyTest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["ALARM_LEVEL", "SealedPool", "decoy_test", "leak_note"]

ALARM_LEVEL = 0.01
"""Below this probability an honest contribution is no explanation any more."""

_COMMON_SHARE = 0.01  # of the decoy's rows may stand in the benchmark without being explained by its repetitions


class SealedPool:
    """Benchmark and decoy together, ready to be searched for the rows of contributions.

    Nothing here knows which rows are the benchmark's while it searches: rows are in the order of their digests, and
    limits of nearness are calibrated for the pool as a whole.
    """

    def __init__(
        self,
        benchmark: pa.Table,
        decoy: pa.Table,
        *,
        base: pa.Table,
        label: str,
        features: Sequence[str],
        near: bool = True,
        source: str = "decoy",
    ) -> None:
        """Index the pool and calibrate nearness on the base.

        Args:
            benchmark: The benchmark that decides: the features and the label.
            decoy: The decoy, with the same columns and types.
            base: Rows that are taken for honest, with the same columns and types.
            label: The column to predict.
            features: The columns to predict from.
            near: Whether rows that nearly equal one of the pool count as that row.
            source: What messages call the decoy.

        Raises:
            DataError: Many rows of the decoy stand in the benchmark.
        """
        self._content = [*features, label]
        halves = benchmark.select(self._content), decoy.select(self._content)
        digests = [row_digests(half, fold_negative_zero=True) for half in halves]
        _require_apart(*digests, source=source)
        order = sorted_order(np.concatenate(digests))
        self._of_benchmark = np.less(order, benchmark.num_rows)
        pool = pa.concat_tables(halves).take(pa.array(order))
        self._screen = Screen(pool, base=pool.slice(0, 0), label=label)
        self._near = NearDuplicates(pool, base=base, features=features) if near else None

    def test(self, name: str, batches: Iterable[pa.Table | pa.RecordBatch], *, source: str) -> DecoyTest:
        """Compare a contribution with the pool.

        A row of the pool is met when a contributed row equals it, has its features, or nearly has them; with it are met
        the rows of the pool that repeat it.

        Args:
            name: The contribution's name.
            batches: Its rows as they were offered, with the columns and types of the pool.
            source: What messages call it.

        Raises:
            DataError: The columns or their types are not those of the pool.
        """
        first = self._screen.first_rows
        is_met = np.zeros(len(first), dtype=np.bool_)
        for batch in batches:
            rows = batch.select(self._content)
            places = self._screen.meet(rows, source=source)
            if self._near is not None:
                rest = np.flatnonzero(places < 0)
                places[rest] = self._near.find(rows.take(pa.array(rest)), source=source)
            is_met[first[places[places >= 0]]] = True
        is_met = is_met[first]
        rows, hits = int(self._of_benchmark.sum()), int((is_met & self._of_benchmark).sum())
        return decoy_test(name, hits=(hits, int(is_met.sum()) - hits), rows=(rows, len(is_met) - rows))


def decoy_test(name: str, *, hits: tuple[int, int], rows: tuple[int, int]) -> DecoyTest:
    """Return how well chance explains the rows that were met: a one-sided binomial test.

    Whoever saw neither table meets a row of the benchmark with the probability of its share of the pool.

    Args:
        name: The contribution's name.
        hits: Different rows met of the benchmark and of the decoy.
        rows: Rows of the benchmark and of the decoy.

    Source: W. J. Conover, "Practical Nonparametric Statistics", 3rd edition, 1999, section 3.1.
    """
    from scipy.special import bdtrc

    share = rows[0] / sum(rows)
    p_value = float(bdtrc(hits[0] - 1, sum(hits), share))
    return DecoyTest(
        contribution=name,
        benchmark_hits=int(hits[0]),
        decoy_hits=int(hits[1]),
        p_value=p_value,
        alarm=p_value < ALARM_LEVEL,
    )


def leak_note(test: DecoyTest) -> str:
    """Return the sentence that an alarm deserves."""
    return (
        f"{test.contribution} holds more rows of the benchmark than of the decoy ({test.benchmark_hits:,} to "
        f"{test.decoy_hits:,}): benchmark rows have leaked, p = {test.p_value:.2g}."
    )


def _require_apart(benchmark: NDArray[np.void], decoy: NDArray[np.void], *, source: str) -> None:
    """Refuse a decoy of which more rows stand in the benchmark than in a random split of rows that repeat."""
    index = RowIndex()
    first = index.add_and_find(benchmark)
    repeated = float(np.mean(np.bincount(first)[first] > 1)) if len(first) else 0.0
    common = int(np.count_nonzero(index.contains(decoy)))
    if common > 1 + (_COMMON_SHARE + 2 * repeated) * len(decoy):
        problem = f"{common:,} of its {len(decoy):,} rows stand in the benchmark, expected none. "
        raise DataError(source, f"{problem}Draw the decoy from the rows of the pool that are left (data.decoy).")
