"""Rows of the benchmark with noise on their numbers, or with a column or two replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hokusai.datasets.grid_index import column_groups
from hokusai.datasets.mixed_columns import MixedColumns
from hokusai.datasets.near_calibration import calibrated, index_for
from hokusai.datasets.near_rules import MOST_REPLACED, noise_limit, widest
from hokusai.datasets.nearness import Near, Nearness, joined, percent
from hokusai.datasets.row_distances import distances

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from hokusai.datasets.near_rules import Rule
    from hokusai.datasets.row_distances import Distances

__all__ = ["NearNumbers"]


class NearNumbers:
    """The columns that are no longer texts, ready to be searched for rows near the reference's.

    Attributes:
        verdict: What nearness is worth here.
    """

    def __init__(self, reference: pa.Table, *, base: pa.Table, columns: Sequence[str]) -> None:
        """Index the reference and choose the rules by which next to no base row is near it.

        Args:
            reference: The benchmark.
            base: Rows of the base data that are no exact copies of benchmark rows.
            columns: The columns to compare.
        """
        self._columns = MixedColumns(reference, names=columns)
        self._reference = self._columns.encode(reference)
        chosen = calibrated(self._reference, self._columns.encode(base), numbers=self._columns.numbers)
        self._searches = []
        for radius in sorted({rule.radius for rule in chosen.rules}, reverse=True):
            rules = [rule for rule in chosen.rules if rule.radius == radius]
            groups = column_groups(self._reference, radius=radius, most=MOST_REPLACED + 1)
            made = chosen.indexes.get(radius)
            self._searches.append((rules, index_for(self._reference, rules=rules, groups=groups, made=made)))
        self.verdict = _verdict(self._columns.names, chosen.rules, chosen.share)

    def near(self, table: pa.Table, *, source: str = "table") -> Near:
        """Every pair of a row and a reference row near it; none where nearness is no evidence."""
        values = self._columns.encode(table, source=source)
        numbers = self._columns.numbers
        found = []
        for rules, index in self._searches:
            limit, most = widest(rules, numbers=numbers)
            for candidates in index.candidates(values):
                pairs = distances(values, self._reference, candidates, replaced=most, limit=limit)
                found.append(_near(pairs, rules, numbers))
        return joined(found)


def _near(pairs: Distances, rules: Sequence[Rule], numbers: int) -> Near:
    """The pairs that a rule takes for near; fewer replaced columns are nearer."""
    penalties = np.full(len(pairs.rows), np.inf)
    for rule in rules:
        squared = pairs.sums[rule.replaced]
        holds = rule.holds(pairs, numbers=numbers)
        # Below one, so that it decides between pairs with as many replaced columns alone.
        remaining = squared[holds] / (1 + noise_limit(rule.radius, numbers=numbers))
        penalties[holds] = np.minimum(penalties[holds], rule.replaced + remaining)
    keep = np.isfinite(penalties)
    return Near(pairs.rows[keep], pairs.references[keep], penalties[keep])


def _verdict(names: tuple[str, ...], rules: Sequence[Rule], share: float | None) -> Nearness:
    noise = max((rule.radius for rule in rules if not rule.for_identical and not rule.replaced), default=None)
    # Of a copy with columns replaced and no noise, the other numbers are identical.
    of_identical = [rule for rule in rules if rule.for_identical and rule.replaced]
    seen = np.logical_or.reduce([rule.farthest for rule in of_identical]) if of_identical else np.ones(len(names))
    concealing = tuple(name for name, is_seen in zip(names, seen[: len(names)], strict=True) if not is_seen)
    most = max((rule.replaced for rule in of_identical), default=0)
    searchable = float(np.logical_or.reduce([rule.is_telling for rule in rules]).mean()) if rules else 0.0
    measured = "" if share is None else percent(share)
    if not names:
        reason = "no column to compare: none but longer texts varies in the benchmark"
    elif share is None:
        reason = "no base row to calibrate on, so nothing is marked"
    elif rules:
        besides = f" other than {', '.join(concealing)}" if concealing else ""
        kinds = [f"with noise up to {noise:.2g} standard deviations"] if noise else []
        kinds += [f"with {most} of {len(names)} columns replaced{besides}"] if most else []
        common = "" if searchable == 1 else f"; {percent(1 - searchable)} of benchmark rows are too common to be told"
        reason = (
            f"copies {', or '.join(kinds) or 'without noise'} are found; {measured} of honest rows are as near to a "
            f"benchmark row{common}"
        )
    else:
        reason = (
            f"near copies cannot be told from honest rows: {len(names)} columns that vary are too few; {measured} of "
            "base rows are near a benchmark row by chance, so nothing is marked"
        )
    return Nearness(
        kind="numbers",
        columns=names,
        is_evidence=bool(rules),
        reason=reason,
        expected_false_alarms=share,
        searchable=searchable,
        radius=noise,
        replaced=most if rules else None,
        concealing=concealing,
    )
