"""Who contributed how much, as decimals that are exactly one together."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from hokusai.provenance.decimals import PLACES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["row_shares"]


def row_shares(rows: Sequence[int]) -> tuple[Decimal, ...]:
    """Return every contribution's share of all kept rows, with twelve places.

    What rounding down leaves goes, one unit of the last place each, to those that lost most by it, the first of equal
    ones first (largest remainders; A. Hamilton 1792, T. Hare 1859).

    Args:
        rows: Kept rows of each contribution.

    Returns:
        Decimals whose sum is exactly 1; zeros where there are no rows.
    """
    units, total = 10**PLACES, sum(rows)
    if not total:
        return tuple(_decimal(0) for _ in rows)
    shares = [each * units // total for each in rows]
    by_loss = sorted(range(len(rows)), key=lambda place: -(rows[place] * units % total))
    for place in by_loss[: units - sum(shares)]:
        shares[place] += 1
    return tuple(map(_decimal, shares))


def _decimal(units: int) -> Decimal:
    return Decimal(units).scaleb(-PLACES)
