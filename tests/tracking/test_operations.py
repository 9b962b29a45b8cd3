"""Every operation survives its way through the journal unchanged."""

from __future__ import annotations

import math
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.errors import JournalError
from hokusai.tracking.journal import FileJournal, JournalReader
from hokusai.tracking.operations import OPERATIONS, LogMetrics, from_json, to_json

if TYPE_CHECKING:
    from hokusai.tracking.operations import Operation

# A high surrogate before a low one is left out: together they are one character, to JSON and to everybody else.
TEXT = st.text(st.characters()) | st.text(st.characters(categories=["Cs"], max_codepoint=0xDBFF), max_size=3)
LOW_SURROGATES = st.text(st.characters(categories=["Cs"], min_codepoint=0xDC00), max_size=3)
ANY_TEXT = TEXT | LOW_SURROGATES | st.sampled_from(["\x00", "\n", "\r\n", "\u2028", "\ufeff", "e\u0301", "\U0001f427"])
TEXTS = st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3)
INTEGERS = st.integers(min_value=0, max_value=2**63)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "Mapping[str, str]": TEXTS,
    "Mapping[str, float]": st.dictionaries(ANY_TEXT, st.floats(), max_size=3),
    "Mapping[str, JsonValue]": st.dictionaries(ANY_TEXT, JSON, max_size=3),
    "tuple[float, ...]": st.lists(st.floats(), max_size=3).map(tuple),
    "tuple[str, ...]": st.lists(ANY_TEXT, max_size=3).map(tuple),
    "str": ANY_TEXT,
    "str | None": st.none() | ANY_TEXT,
    "int": INTEGERS,
    "int | None": st.none() | INTEGERS,
    "RunStatus": st.sampled_from(["FINISHED", "FAILED", "KILLED"]),
}


def operations(kind: type[Operation]) -> st.SearchStrategy[Operation]:
    """Make operations of one kind, with every field drawn from its type."""
    arguments = {field.name: VALUES[str(field.type)] for field in fields(kind)}
    return st.fixed_dictionaries(arguments).map(lambda values: kind(**values))


def is_same(left: Operation, right: Operation) -> bool:
    """Compare operations; NaN is the same as NaN, and -0.0 is not 0.0."""
    return type(left) is type(right) and repr(left) == repr(right)


@settings(max_examples=150, deadline=None)
@given(written=st.lists(st.one_of([operations(kind) for kind in OPERATIONS.values()]), min_size=1, max_size=8))
def test_what_is_read_from_a_journal_is_what_was_recorded(written: list[Operation]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = FileJournal(Path(folder))
        for operation in written:
            journal.append(operation)
        journal.abandon()
        read = [entry.operation for entry in JournalReader(Path(folder))]
    assert len(read) == len(written)
    assert all(is_same(left, right) for left, right in zip(written, read, strict=True))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308])
def test_a_metric_value_is_the_same_after_its_json_form(number: float) -> None:
    operation = LogMetrics(run="r", metrics={"m": number})
    assert is_same(from_json(to_json(operation)), operation)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"operation": "fold_paper"},
        {"operation": ["start_run"]},
        {"operation": "start_run", "run": "r"},
        {"operation": "log_metrics", "run": "r"},
        {"operation": "log_metrics", "run": "r", "metrics": [1.0]},
        {"operation": "log_metrics", "run": "r", "metrics": {"m": [1.0]}},
        {"operation": "log_model", "run": "r"},
    ],
)
def test_an_operation_that_is_not_whole_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(JournalError):
        from_json(value)
