"""Personal data in a table's content: found, counted, and refused, dropped, masked or hashed. Never shown.

A scan reads every text, and every number long enough to be one of a card or a person, batch by batch. RE2 sieves whole
columns, the recognisers read what it lets pass, and a value that repeats is read once per batch. The result depends on
the table alone, not on how it was cut into batches. What comes out are counts and row numbers; values stay inside.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa

from hokusai.datasets.person_names import begins_with_given_name
from hokusai.datasets.personal_data_kinds import KINDS, Evidence, Grade, Kind, column_hints
from hokusai.datasets.personal_data_recognisers import name_positions, resolve, spans_of
from hokusai.datasets.searchable_texts import distinct_values
from hokusai.errors import PersonalDataError
from hokusai.records import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hokusai.datasets.personal_data_kinds import ColumnHints, Span
    from hokusai.datasets.searchable_texts import DistinctValues

__all__ = [
    "KINDS",
    "Grade",
    "Kind",
    "PersonalDataCount",
    "PersonalDataScanner",
    "Treatment",
    "columns_to_drop",
    "personal_data_findings",
    "require_no_personal_data",
    "treatment_of",
]

Treatment = Literal["refuse", "drop", "mask", "hash", "keep"]
_Facts = tuple[tuple[Kind, Evidence, str], ...]

_FIRST_ROWS = 5
# A column is judged as a whole from so many values on.
_ENOUGH = 10
# Chance passes one check digit in ten; with less than this share, so do most of those that pass.
_SHARE_OF_CHANCE = 0.3
_SHARE_OF_A_COLUMN = 0.8
_NAME_SHARE, _GIVEN_NAME_SHARE = 0.6, 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalDataCount:
    """How many rows of a column hold one kind of personal data.

    Attributes:
        column: The column's name.
        kind: The kind.
        grade: ``certain`` when a checksum or a parser says so, ``possible`` when form, context or a name does.
        rows: How many rows; a row with both grades counts as certain. Of a nested column, how many values.
        first_rows: Numbers of the first of them, counted from 1; at most five.
        by_column: Whether it shows from the column as a whole: no single value would tell.
    """

    column: str
    kind: Kind
    grade: Grade
    rows: int
    first_rows: tuple[int, ...] = ()
    by_column: bool = False


class _Sort(NamedTuple):
    """What is counted together within a column.

    Attributes:
        outcome: ``found`` is what counts as it is; the others are for the judgement on the whole column: ``weak`` what
            counts only then, ``passed`` and ``missed`` how a check went.
        kind: The kind.
        scheme: Which numbering system.
        grade: Of what was found; ``possible`` otherwise.
    """

    outcome: Literal["found", "weak", "passed", "missed"]
    kind: Kind
    scheme: str
    grade: Grade = "possible"


@dataclass(slots=True)
class _Tally:
    """Rows of one sort within one column, and the first of them."""

    rows: int = 0
    first_rows: tuple[int, ...] = ()
    distinct: set[str] = field(default_factory=set)

    def add(self, positions: Sequence[int], values: DistinctValues, numbers: NDArray[np.int64], offset: int) -> None:
        """Count the rows that have one of these values; ``numbers`` says how many have each."""
        self.rows += int(numbers[positions].sum())
        if len(self.first_rows) < _FIRST_ROWS or self.first_rows[-1] > offset:
            picked = np.zeros(len(numbers), dtype=np.bool_)
            picked[positions] = True
            rows = (values.rows_of(picked) + (offset + 1)).tolist()
            self.first_rows = tuple(sorted({*self.first_rows, *rows})[:_FIRST_ROWS])
        for position in positions:
            if len(self.distinct) >= _ENOUGH:
                break
            self.distinct.add(values.texts[position].as_py())


@dataclass(slots=True)
class _ColumnTallies:
    """What was seen of one column so far."""

    sorts: defaultdict[_Sort, _Tally] = field(default_factory=lambda: defaultdict(_Tally))
    names: _Tally = field(default_factory=_Tally)
    given_names: int = 0
    texts: int = 0


class PersonalDataScanner:
    """Counts the personal data of a table, batch by batch."""

    __slots__ = ("_columns", "_rows")

    def __init__(self) -> None:
        self._columns: dict[str, _ColumnTallies] = {}
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Read the next rows of the table."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            tallies = self._columns.setdefault(name, _ColumnTallies())
            for values in distinct_values(column, column_hints(name)):
                _count(values, tallies, column_hints(name), offset=self._rows)
        self._rows += batch.num_rows

    def counts(self) -> tuple[PersonalDataCount, ...]:
        """Return what was found so far: columns in their order, kinds in theirs, certain before possible."""
        return tuple(count for name, tallies in self._columns.items() for count in _judged(name, tallies))


def _count(values: DistinctValues, tallies: _ColumnTallies, hints: ColumnHints, *, offset: int) -> None:
    # A dictionary may hold values that no row has.
    numbers = np.bincount(values.codes, minlength=len(values.texts))
    is_used = (numbers > 0).tolist()
    positions_by_sort: defaultdict[_Sort, list[int]] = defaultdict(list)
    for position, spans in spans_of(values.texts, hints).items():
        if is_used[position]:
            for sort in _sorts(spans):
                positions_by_sort[sort].append(position)
    for sort, positions in positions_by_sort.items():
        tallies.sorts[sort].add(positions, values, numbers, offset)
    if values.are_numbers:
        return
    tallies.texts += len(values.codes)
    names = [] if hints.person_name else [at for at in name_positions(values.texts) if is_used[at]]
    if names:
        tallies.names.add(names, values, numbers, offset)
        texts = values.texts.take(pa.array(names)).to_pylist()
        tallies.given_names += int(numbers[names][[begins_with_given_name(text) for text in texts]].sum())


def _sorts(spans: Sequence[Span]) -> tuple[_Sort, ...]:
    if len(spans) == 1:
        facts: _Facts = (spans[0].facts,)
        return _sorts_of(facts if spans[0].evidence in {"certain", "possible"} else (), facts)
    kept = dict.fromkeys(span.facts for span in resolve(spans))
    return _sorts_of(tuple(kept), tuple(dict.fromkeys(span.facts for span in spans)))


@functools.lru_cache(maxsize=4096)
def _sorts_of(kept: _Facts, seen: _Facts) -> tuple[_Sort, ...]:
    """What a value counts as, once each, by what was seen in it and what of that stands when overlaps are resolved."""
    best: dict[Kind, tuple[Evidence, str]] = {}
    for kind, evidence, scheme in kept:
        if kind not in best or evidence < best[kind][0]:
            best[kind] = evidence, scheme
    sorts = [
        _Sort("found", kind, scheme, "certain" if evidence == "certain" else "possible")
        for kind, (evidence, scheme) in best.items()
    ]
    by_scheme: dict[tuple[Kind, str], set[Evidence]] = {}
    for kind, evidence, scheme in seen:
        if scheme:
            by_scheme.setdefault((kind, scheme), set()).add(evidence)
    for (kind, scheme), evidences in by_scheme.items():
        if evidences == {"miss"}:
            sorts.append(_Sort("missed", kind, scheme))
            continue
        sorts.append(_Sort("passed", kind, scheme))
        if kind not in best and "weak" in evidences:
            sorts.append(_Sort("weak", kind, scheme))
    return tuple(sorts)


def _judged(column: str, tallies: _ColumnTallies) -> Iterator[PersonalDataCount]:
    """What the tallies of a column come to: chance taken out, what the column as a whole shows put in."""
    sums: defaultdict[tuple[Kind, Grade], list[_Tally]] = defaultdict(list)
    by_column: set[tuple[Kind, Grade]] = set()
    for (outcome, kind, scheme, grade), tally in tallies.sorts.items():
        verdict = _column_verdict(tallies, kind, scheme)
        if outcome == "found":
            judged: Grade = {"chance": "possible", "column": "certain"}.get(verdict, grade)  # type: ignore[assignment]
            sums[kind, judged].append(tally)
        elif outcome == "weak" and verdict == "column":
            sums[kind, "possible"].append(tally)
            by_column.add((kind, "possible"))
    if _is_name_column(tallies) and not any(kind == "person_name" for kind, _ in sums):
        sums["person_name", "possible"].append(tallies.names)
        by_column.add(("person_name", "possible"))
    for kind in KINDS:
        for grade in get_args(Grade):
            if found := sums.get((kind, grade)):
                first_rows = sorted({row for tally in found for row in tally.first_rows})[:_FIRST_ROWS]
                yield PersonalDataCount(
                    column=column,
                    kind=kind,
                    grade=grade,
                    rows=sum(tally.rows for tally in found),
                    first_rows=tuple(first_rows),
                    by_column=(kind, grade) in by_column,
                )


def _column_verdict(tallies: _ColumnTallies, kind: Kind, scheme: str) -> Literal["chance", "column", "open"]:
    """What the share of values that pass a check says about those that do."""
    passed = tallies.sorts.get(_Sort("passed", kind, scheme), _Tally())
    missed = tallies.sorts.get(_Sort("missed", kind, scheme), _Tally())
    if passed.rows + missed.rows < _ENOUGH or not scheme:
        return "open"
    share = passed.rows / (passed.rows + missed.rows)
    if share < _SHARE_OF_CHANCE:
        return "chance"
    has_check = kind == "credit_card" or scheme not in {"gb", "us"}
    return "column" if share >= _SHARE_OF_A_COLUMN and len(passed.distinct) >= _ENOUGH and has_check else "open"


def _is_name_column(tallies: _ColumnTallies) -> bool:
    names = tallies.names.rows
    return (
        len(tallies.names.distinct) >= _ENOUGH
        and names >= _NAME_SHARE * tallies.texts
        and tallies.given_names >= _GIVEN_NAME_SHARE * names
    )


def treatment_of(count: PersonalDataCount, policy: Mapping[Kind, Treatment]) -> Treatment:
    """Return what a policy does with a finding.

    A kind that the policy names is treated as it says, in both grades. Of the others, what is certain is refused, and
    what is possible is kept and reported.
    """
    return policy.get(count.kind, "refuse" if count.grade == "certain" else "keep")


def columns_to_drop(counts: Iterable[PersonalDataCount], policy: Mapping[Kind, Treatment]) -> tuple[str, ...]:
    """Return the columns that a policy leaves out, in their order.

    Give it the counts of all tables that are put together: they must lose the same columns.
    """
    return tuple(dict.fromkeys(count.column for count in counts if treatment_of(count, policy) == "drop"))


def require_no_personal_data(
    counts: Iterable[PersonalDataCount], *, policy: Mapping[Kind, Treatment], source: str
) -> None:
    """Refuse a table that holds what a policy refuses.

    Raises:
        PersonalDataError: It does; the message names columns and kinds, never a value.
    """
    found = dict.fromkeys((count.column, count.kind) for count in counts if treatment_of(count, policy) == "refuse")
    if found:
        raise PersonalDataError(source, found=list(found))


def personal_data_findings(
    counts: Iterable[PersonalDataCount], policy: Mapping[Kind, Treatment]
) -> tuple[Finding, ...]:
    """Return what a scan found as findings: errors where the policy refuses it."""
    findings = []
    for count in counts:
        treatment = treatment_of(count, policy)
        rows = "1 row" if count.rows == 1 else f"{count.rows:,} rows"
        sure = "holds" if count.grade == "certain" else "may hold"
        done = {
            "refuse": "An evaluation refuses it.",
            "drop": "An evaluation leaves the column out.",
            "mask": "An evaluation masks it.",
            "hash": "An evaluation replaces it by a keyed hash.",
            "keep": "An evaluation keeps it as it is.",
        }[treatment]
        advice = "Take it out, or set data.personal_data." + count.kind if treatment in {"refuse", "keep"} else ""
        findings.append(
            Finding(
                check="personal_data",
                severity={"refuse": "error", "keep": "warning"}.get(treatment, "note"),  # type: ignore[arg-type]
                message=f"Column {count.column!r} {sure} personal data ({count.kind}) in {rows}.",
                column=count.column,
                rows=count.rows,
                first_rows=count.first_rows,
                advice=f"{done} {advice} to drop, mask or hash." if advice else done,
            )
        )
    return tuple(findings)
