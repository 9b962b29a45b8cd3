"""How much is found, and how much of that is right, on texts that were made without knowing how they are searched."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from hokusai.datasets.personal_data import PersonalDataScanner
from hokusai.datasets.personal_data_kinds import column_hints
from hokusai.datasets.personal_data_recognisers import resolve, spans_of
from hokusai.datasets.searchable_texts import normalised

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from types import ModuleType

_CERTAIN_KINDS = ("email", "credit_card", "iban", "ip_address", "national_id")
_EACH = 100


@pytest.fixture(scope="module")
def texts() -> ModuleType:
    """Return the module that makes the texts, which is beside this one."""
    name = "personal_data_texts"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(texts: ModuleType) -> list[tuple[str | None, AbstractSet[tuple[str, str]]]]:
    """Return the kind that each text was made with, and what was found in it, kinds with grades."""
    made: list[Any] = [text for kind in texts.KINDS for text in texts.labelled_texts(_EACH, kind=kind, seed=7)]
    made += texts.clean_texts(6 * _EACH, seed=7) + texts.plain_texts(2 * _EACH, seed=7)
    # As a scanner sees each of them alone: it says of a whole column only in which rows the first few are.
    spans = spans_of(normalised(pa.array([item.text for item in made])), column_hints("note"))
    return [
        (item.kind, {(span.kind, span.evidence) for span in resolve(spans.get(at, []))}) for at, item in enumerate(made)
    ]


@pytest.mark.parametrize("kind", _CERTAIN_KINDS)
def test_nearly_all_of_a_certain_kind_is_found(
    kind: str, found: list[tuple[str | None, AbstractSet[tuple[str, str]]]]
) -> None:
    hits = [(kind, "certain") in grades for made, grades in found if made == kind]
    assert len(hits) == _EACH
    assert sum(hits) >= 0.9 * _EACH


def test_what_is_certain_is_right_ninety_nine_times_in_a_hundred(
    found: list[tuple[str | None, AbstractSet[tuple[str, str]]]],
) -> None:
    claims = [(made, kind) for made, grades in found for kind, grade in grades if grade == "certain"]
    assert len(claims) > 4 * _EACH
    assert sum(made == kind for made, kind in claims) >= 0.99 * len(claims)


def test_phone_numbers_are_found_in_either_grade_and_few_other_numbers_with_them(
    found: list[tuple[str | None, AbstractSet[tuple[str, str]]]],
) -> None:
    claims = [made for made, grades in found if any(kind == "phone" for kind, _ in grades)]
    assert claims.count("phone") >= 0.9 * _EACH
    assert claims.count("phone") >= 0.95 * len(claims)


def test_plain_sentences_raise_no_alarm_but_a_name_after_what_looks_like_a_title(texts: ModuleType) -> None:
    scanner = PersonalDataScanner()
    scanner.update(pa.record_batch({"note": [item.text for item in texts.plain_texts(3_000, seed=11)]}))
    assert {(count.kind, count.grade) for count in scanner.counts()} <= {("person_name", "possible")}
    assert sum(count.rows for count in scanner.counts()) <= 15
