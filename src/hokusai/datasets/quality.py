"""What in a contributed table should make its owner look twice, by its profile and that of the base data.

The findings cannot tell whether labels are right: a permuted or flipped label looks like any other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hokusai.datasets.contract_checks import harmless_text
from hokusai.records import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hokusai.datasets.column_profiles import ColumnProfile, QualityProfile, ValueCount

__all__ = [
    "FAR_MORE_MISSING",
    "FAR_MORE_MISSING_ROWS",
    "FEW_ROWS",
    "MANY_MISSING",
    "QUALITY_CHECKS",
    "RARE_ROWS",
    "UNIT_FACTORS",
    "check_quality",
]

QUALITY_CHECKS: Mapping[str, str] = {
    "no_rows": "the table has no rows",
    "few_rows": "the table has very few rows",
    "empty_column": "a column has no value in any row",
    "missing_values": "half of a column's values or more are missing, as in the base data",
    "more_missing": "far more of a column's values are missing than in the base data",
    "constant_column": "a column has one value in all rows, and not in the base data",
    "identifier_column": "a column names the rows instead of describing them: no value comes twice",
    "new_categories": "a column holds texts that the base data do not know",
    "unit_shift": "a column's numbers fit the base data only after a change of unit",
    "missing_label": "a row has no label",
    "one_class": "all rows have one label",
    "rare_class": "a label has very few rows",
    "new_class": "a label is unknown to the base data",
}
"""Every word of :attr:`hokusai.records.Finding.check` that comes from a profile, with its meaning."""

FEW_ROWS = 30
"""Fewer rows hardly move a model, and every share of them is uncertain by a tenth or more."""

RARE_ROWS = 10
"""A class with fewer rows is not represented by them: one of a ten-fold cross-validation would lack it."""

MANY_MISSING = 0.5
"""From here on a column says nothing about most rows."""

FAR_MORE_MISSING = 0.2
"""So much more of the column, as a fraction of the rows, must be missing than in the base data."""

FAR_MORE_MISSING_ROWS = 10
"""And at least so many rows more than the base's share predicts: less may be chance."""

UNIT_FACTORS: Mapping[float, str] = {
    1.609344: "kilometres and miles",
    2.20462262: "pounds and kilograms",
    2.54: "centimetres and inches",
    3.2808399: "feet and metres",
    24.0: "hours and days",
    25.4: "millimetres and inches",
    28.349523: "grams and ounces",
    60.0: "minutes and hours, or seconds and minutes",
    100.0: "a fraction and per cent, or centimetres and metres",
    453.59237: "grams and pounds",
    1000.0: "a unit and its thousandth, such as metres and kilometres",
    3600.0: "seconds and hours",
    86400.0: "seconds and days",
    1_000_000.0: "a unit and its millionth",
}
"""How many of the smaller unit make the larger one. Factors of 10 and less are common between honest tables."""

_STRANGE = 0.05  # a table in the same unit has half of its values in the base's middle half; a twentieth is no chance
_FAMILIAR = 0.8  # of the values must fit after the change of unit
# How closely the median and the width of the middle half must fit after the change, times or divided. Spring is not
# summer in other degrees: honest tables differ by small factors, too, but their spread rarely grows in proportion.
_LARGE_FACTOR = 10.0
_NEAR_LARGE = (2.0, 3.0)
_NEAR_SMALL = (1.2, 1.4)
_ENOUGH_VALUES = 10  # fewer have no middle half to speak of
_CONTINUOUS = 20  # so many different values make a measurement; fewer may be codes, months or grades

_FIRST_ROWS = 5


def check_quality(profile: QualityProfile, *, base: QualityProfile | None = None) -> tuple[Finding, ...]:
    """What in a contribution's profile its owner should look at, compared with the base data's where they are given.

    Whether labels are right cannot be seen here, and is not claimed.
    """
    if not profile.rows:
        return (
            Finding(check="no_rows", severity="error", message="the table has no rows, expected at least one.", rows=0),
        )
    found = list(_row_findings(profile))
    for column in profile.columns:
        other = None if base is None else base.column(column.name)
        for check in (_missing, _constant, _identifier, _categories, _unit):
            if column.name != profile.label or check in (_missing, _unit):
                found += check(column, other)
    return (*found, *_label_findings(profile, base))


def _row_findings(profile: QualityProfile) -> Iterator[Finding]:
    if profile.rows < FEW_ROWS:
        yield Finding(
            check="few_rows",
            severity="note",
            message=f"the table has {_counted(profile.rows, 'row')}; a model hardly moves by so few.",
            rows=profile.rows,
        )


def _missing(column: ColumnProfile, base: ColumnProfile | None) -> Iterator[Finding]:
    if column.nulls == column.rows:
        yield Finding(
            check="empty_column",
            severity="error",
            message=f"column {column.name!r} has no value in any row; some models cannot be trained on it.",
            column=column.name,
            rows=column.rows,
            advice="Fill the column in, or agree to leave it out of the features.",
        )
        return
    usual = 0.0 if base is None else base.missing
    more = column.missing - usual
    if more >= FAR_MORE_MISSING and more * column.rows >= FAR_MORE_MISSING_ROWS:
        compared = "" if base is None else f", in the base data {usual:.0%}"
        yield Finding(
            check="more_missing",
            severity="warning",
            message=f"column {column.name!r}: {column.missing:.0%} of the values are missing{compared}.",
            column=column.name,
            rows=column.nulls,
            advice="Fill the values in, or look whether a marker for missing values was meant as a value.",
        )
    elif column.missing >= MANY_MISSING:
        yield Finding(
            check="missing_values",
            severity="note",
            message=f"column {column.name!r}: {column.missing:.0%} of the values are missing.",
            column=column.name,
            rows=column.nulls,
        )


def _constant(column: ColumnProfile, base: ColumnProfile | None) -> Iterator[Finding]:
    is_constant = column.distinct_is_exact and column.distinct == 1 and column.rows > 1
    if is_constant and not (base is not None and base.distinct_is_exact and base.distinct <= 1):
        yield Finding(
            check="constant_column",
            severity="note",
            message=f"column {column.name!r} has one value in all rows.",
            column=column.name,
            rows=column.rows,
            advice="Look whether the values were lost; one source may well have one value.",
        )


def _identifier(column: ColumnProfile, base: ColumnProfile | None) -> Iterator[Finding]:
    if column.is_identifier and (base is None or base.is_identifier):
        yield Finding(
            check="identifier_column",
            severity="note",
            message=f"column {column.name!r} looks like an identifier: no value comes twice.",
            column=column.name,
            advice="Leave it out of the features: a model can only learn it by heart.",
        )


def _categories(column: ColumnProfile, base: ColumnProfile | None) -> Iterator[Finding]:
    if base is None or column.type != "string" or not (column.distinct_is_exact and base.distinct_is_exact):
        return
    if base.is_identifier or column.is_identifier:
        return
    new = _unknown(column.values, base.values)
    if new:
        # The texts themselves may be anything, names of persons included: their rows must do.
        yield Finding(
            check="new_categories",
            severity="note",
            message=f"column {column.name!r}: {_counted(len(new), 'value')} that the base data do not know.",
            column=column.name,
            rows=sum(value.rows for value in new),
            first_rows=_first_rows(new),
            advice="Look for other spellings of known values.",
        )


def _unit(column: ColumnProfile, base: ColumnProfile | None) -> Iterator[Finding]:
    factor = None if base is None else _change_of_unit(column, base)
    if base is None or factor is None:
        return
    times = max(factor, 1 / factor)
    names = next(names for pair, names in UNIT_FACTORS.items() if math.isclose(pair, times))
    yield Finding(
        check="unit_shift",
        severity="warning",
        message=(
            f"column {column.name!r} seems to be in another unit: its median is {column.quantiles[2]:.4g}, that of the "
            f"base data {base.quantiles[2]:.4g}; {'multiplied' if factor > 1 else 'divided'} by {times:.6g} the values "
            f"would fit, as between {names}."
        ),
        column=column.name,
        rows=column.rows - column.nulls,
        advice="Convert the values to the base's unit.",
    )


def _change_of_unit(column: ColumnProfile, base: ColumnProfile) -> float | None:
    """The factor after which the numbers fit the base's, when they do not fit as they are; None when there is none."""
    if column.is_identifier or len(column.sample) < _ENOUGH_VALUES or len(base.sample) < _ENOUGH_VALUES:
        return None
    if base.distinct_is_exact and base.distinct < _CONTINUOUS:
        return None
    low, first_quarter, middle, third_quarter, high = base.quantiles
    own = column.quantiles[2]
    if own * middle <= 0 or _share_between(column.sample, low, high) > _STRANGE:
        return None
    factors = [factor for pair in UNIT_FACTORS for factor in (pair, 1 / pair)]
    factor = min(factors, key=lambda each: abs(math.log(own * each / middle)))
    spread = (column.quantiles[3] - column.quantiles[1]) * factor
    usual_spread = third_quarter - first_quarter
    nearest_median, nearest_spread = _NEAR_LARGE if max(factor, 1 / factor) >= _LARGE_FACTOR else _NEAR_SMALL
    fits = (
        1 / nearest_median <= own * factor / middle <= nearest_median
        and usual_spread / nearest_spread <= spread <= usual_spread * nearest_spread
        and _share_between(column.sample * factor, float(base.sample.min()), float(base.sample.max())) >= _FAMILIAR
    )
    return factor if fits else None


def _share_between(numbers: NDArray[np.float64], low: float, high: float) -> float:
    return float(np.mean((numbers >= low) & (numbers <= high)))


def _label_findings(profile: QualityProfile, base: QualityProfile | None) -> Iterator[Finding]:
    label = None if profile.label is None else profile.column(profile.label)
    if label is None:
        return
    if 0 < label.nulls < label.rows:
        yield Finding(
            check="missing_label",
            severity="error",
            message=f"{_counted(label.nulls, 'row')} without a label in column {label.name!r}, expected none.",
            column=label.name,
            rows=label.nulls,
            advice="Fill the label in, or take the rows out.",
        )
    counts = profile.label_counts
    if len(counts) == 1:
        yield Finding(
            check="one_class",
            severity="note",
            message=f"all rows have the label {harmless_text(counts[0].value)}.",
            column=label.name,
            rows=counts[0].rows,
            advice="Look whether that is so at the source.",
        )
    for value in counts:
        if value.rows < RARE_ROWS:
            yield Finding(
                check="rare_class",
                severity="note",
                message=f"the label {harmless_text(value.value)} has {_counted(value.rows, 'row')}.",
                column=label.name,
                rows=value.rows,
                first_rows=(value.first_row,),
            )
    known = () if base is None else base.label_counts
    if known:
        for value in _unknown(counts, known):
            yield Finding(
                check="new_class",
                severity="note",
                message=f"the base data have no row with the label {harmless_text(value.value)}.",
                column=label.name,
                rows=value.rows,
                first_rows=(value.first_row,),
                advice="Look whether it is another spelling; a class that the base lacks is welcome.",
            )


def _unknown(values: Sequence[ValueCount], known: Sequence[ValueCount]) -> list[ValueCount]:
    known_values = {value.value for value in known}
    return [value for value in values if value.value not in known_values]


def _first_rows(values: Sequence[ValueCount]) -> tuple[int, ...]:
    return tuple(sorted(value.first_row for value in values)[:_FIRST_ROWS])


def _counted(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"
