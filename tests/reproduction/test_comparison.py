"""Two evaluations side by side: what is the same, what nearly is, and what is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai.reproduction.comparison import STAGES, compare_evaluations, ordered, verdict_of
from hokusai.reproduction.document import Reproduction, reproduction_bytes
from hokusai.reproduction.evaluation_facts import EvaluationFacts

if TYPE_CHECKING:
    from tests.reproduction.conftest import Store


def test_the_document_keeps_its_schema() -> None:
    schema = json.loads((Path(__file__).parents[2] / "docs/formats/reproduction-1.schema.json").read_bytes())
    first, second = (
        EvaluationFacts(key="a", models={"candidate": digest}, delta={"decision": {"outcome": "accept", "number": 1}})
        for digest in ("1", "2")
    )
    found = compare_evaluations(first, dataclasses.replace(second, delta={}), tolerance=1e-9)
    result = Reproduction(
        recorded="a",
        recorded_run_id="1" * 32,
        store="",
        tolerance=1e-9,
        differences=found,
        sources={"base": "the store"},
    )
    document = json.loads(reproduction_bytes(result))
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
    assert document["verdict"] == "different"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"more": 1}, schema, cls=jsonschema.Draft202012Validator)


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
FACTS = st.builds(
    EvaluationFacts,
    key=st.just("a"),
    datasets=st.dictionaries(st.sampled_from(["base", "benchmark"]), st.sampled_from(["1", "2"])),
    models=st.dictionaries(st.just("candidate"), st.sampled_from(["1", "2"])),
    metrics=st.fixed_dictionaries(
        {
            "evaluate_on_benchmark": st.dictionaries(
                st.sampled_from(["a", "b"]), st.tuples(st.tuples(st.just(0), NUMBERS))
            )
        }
    ),
    delta=st.fixed_dictionaries(
        {"decision": st.fixed_dictionaries({"outcome": st.sampled_from(["accept", "reject"])})}
    ),
)


@given(FACTS, FACTS)
def test_nothing_differs_from_itself_and_verdicts_do_not_depend_on_the_side(
    one: EvaluationFacts, other: EvaluationFacts
) -> None:
    assert compare_evaluations(one, one, tolerance=0.0) == ()
    there, back = (compare_evaluations(*pair, tolerance=1e-9) for pair in ((one, other), (other, one)))
    assert verdict_of(there) == verdict_of(back)
    assert sorted(item.subject for item in there) == sorted(item.subject for item in back)
    assert ordered(there) == there
    stages = [STAGES.index(item.stage) for item in there]
    assert stages == sorted(stages)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (0.8, 0.8 * (1 + 5e-10), "equal within the tolerance"),
        (0.8, 0.8 * (1 + 2e-9), "different"),
        (0.0, 5e-13, "equal within the tolerance"),
        (0.0, 2e-12, "different"),
        (1e6, 1e6 + 5e-4, "equal within the tolerance"),
        (float("nan"), float("nan"), "identical"),
        (float("inf"), 1.0, "different"),
    ],
)
def test_the_tolerance_is_relative_and_stops_near_zero(first: float, second: float, verdict: str) -> None:
    one, other = (
        EvaluationFacts(key="a", metrics={"evaluate_on_benchmark": {"control.accuracy": ((0, value),)}})
        for value in (first, second)
    )
    assert verdict_of(compare_evaluations(one, other, tolerance=1e-9)) == verdict


def test_other_bytes_of_a_model_that_says_the_same_are_equal_enough(original: Store) -> None:
    scores = original.file("row_scores.parquet").read_bytes()
    one, other = (EvaluationFacts(key="a", models={"candidate": digest}, row_scores=scores) for digest in ("1", "2"))
    (found,) = compare_evaluations(one, other, tolerance=1e-9)
    assert (found.stage, found.grade) == ("models", "equal within the tolerance")
    assert "says the same about every benchmark row" in found.note


def test_measurements_and_places_are_not_compared() -> None:
    one = EvaluationFacts(
        key="a",
        metrics={"train_new_model": {"training.candidate.fit_seconds": ((0, 1.0),), "training.workers": ((0, 1.0),)}},
        parameters={"integrate_contributed_data": {"data.base": "/here/base.csv", "data.winner": "last"}},
    )
    other = dataclasses.replace(
        one,
        metrics={"train_new_model": {"training.candidate.fit_seconds": ((0, 2.0),)}},
        parameters={"integrate_contributed_data": {"data.base": "/there/base.parquet", "data.winner": "first"}},
    )
    (found,) = compare_evaluations(one, other, tolerance=1e-9)
    assert (found.stage, found.subject) == ("parameters", "integrate_contributed_data: data.winner")
