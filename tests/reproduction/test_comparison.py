"""Two evaluations side by side: what is the same, what nearly is, and what is not."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai.analysis.metrics import BenchmarkTruth
from hokusai.analysis.statistics import RowGroups
from hokusai.digests import canonical_json, sha256
from hokusai.records import Predictions
from hokusai.reproduction.comparison import STAGES, compare_evaluations, ordered, verdict_of
from hokusai.reproduction.document import Reproduction, reproduction_bytes
from hokusai.reproduction.evaluation_facts import EvaluationFacts
from hokusai.steps.benchmark_rows import BenchmarkRows, RowSet
from hokusai.steps.row_scores import RowScores

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


@pytest.mark.parametrize(
    ("recorded", "found"),
    [
        ("a41dd561", ["statement.json.model_sha256"]),
        ("", []),
    ],
)
def test_a_claim_may_name_its_own_model_and_neighbouring_decimals_and_no_other(
    recorded: str, found: list[str], original: Store
) -> None:
    scores = original.file("row_scores.parquet").read_bytes()
    statement = json.loads(original.file("statement.json").read_bytes())
    models = {"candidate": statement["predicate"]["claim"]["model_sha256"]}
    one = EvaluationFacts(
        key=original.evaluation, models=models, row_scores=scores, statement=canonical_json(statement)
    )
    assert compare_evaluations(one, one, tolerance=0.0) == ()
    other_model, claim = sha256(b"another model"), statement["predicate"]["claim"]
    claim["model_sha256"] = other_model
    claim["deltas"][0]["p_value"] = "0.000000267824"
    for subject in statement["subject"]:
        subject["digest"] = {"sha256": other_model} if subject["name"] == "model" else subject["digest"]
    statement["predicate"]["claim_sha256"] = sha256(canonical_json(claim))
    other = dataclasses.replace(one, models={"candidate": recorded or other_model}, statement=canonical_json(statement))
    differences = compare_evaluations(one, other, tolerance=1e-9)
    assert [item.subject for item in differences if item.grade == "different"] == found


@pytest.mark.parametrize(("statement", "problem"), [(b"{", "statement.json: "), (b"", "statement.json: "), (None, "")])
def test_a_statement_that_cannot_be_read_is_a_difference_and_none_is_none(
    statement: bytes | None, problem: str, original: Store
) -> None:
    sound = EvaluationFacts(key=original.evaluation, statement=original.file("statement.json").read_bytes())
    found = compare_evaluations(dataclasses.replace(sound, statement=statement), sound, tolerance=1e-9)
    assert [(item.stage, item.subject, item.grade) for item in found] == (
        [("decision", "statement.json", "different")] if problem else []
    )
    assert all(item.note.startswith(problem) for item in found)
    gone = compare_evaluations(sound, dataclasses.replace(sound, statement=None), tolerance=1e-9)
    assert [(item.subject, item.grade) for item in gone] == [("statement.json", "different")]
    copied = compare_evaluations(dataclasses.replace(sound, key="another"), sound, tolerance=1e-9)
    assert ["it is about the evaluation" in item.note for item in copied] == [True]


REGRESSION = RowScores(
    labels=pa.chunked_array([[1e6, 1.0, 2.0]]),
    rows=BenchmarkRows(
        truth=BenchmarkTruth(actual=np.array([1e6, 1.0, 2.0]), average="macro"),
        groups=None,
        sets=(RowSet(name="benchmark", kind="benchmark", rows=np.array([0, 1, 2])),),
    ),
    predictions={"candidate": {0: Predictions(predicted=np.array([1e6, 1.0, 2.0]), probabilities=None)}},
)


@pytest.mark.parametrize(
    ("values", "verdict", "row"),
    [
        ([1e6, 1.0, 2.0], "identical", 0),
        ([1e6 + 9e-4, 1.0, 2.0], "equal within the tolerance", 1),
        ([1e6 + 9e-4, 1.0 + 8e-4, 2.0], "different", 2),
        ([1e6 + 9e-4, 1.0, math.nan], "different", 3),
        ([math.inf, 1.0 + 8e-4, 2.0], "different", 1),
    ],
)
def test_a_difference_counts_for_its_size(values: list[float], verdict: str, row: int) -> None:
    fit = Predictions(predicted=np.array(values), probabilities=None)
    scores = [REGRESSION, dataclasses.replace(REGRESSION, predictions={"candidate": {0: fit}})]
    one, other = (EvaluationFacts(key="a", row_scores=each.to_bytes()) for each in scores)
    for pair in ((one, other), (other, one)):
        found = compare_evaluations(*pair, tolerance=1e-9)
        assert verdict_of(found) == verdict
        assert [item.note.rpartition(" ")[2] for item in found] == ([str(row)] if row else [])


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"truth": {"weights": np.array([1000.0, 1.0, 1.0])}}, "other weights"),
        ({"truth": {"queries": np.array([0, 0, 1])}}, "other queries"),
        ({"truth": {}, "groups": RowGroups(codes=np.array([0, 0, 1]), count=2)}, "other groups"),
        ({"truth": {}, "sets": ()}, "other sets of rows"),
        (
            {"truth": {}, "sets": (RowSet(name="benchmark", kind="benchmark", rows=np.array([0, 2])),)},
            "other rows in a set",
        ),
    ],
)
def test_row_scores_that_are_scored_otherwise_are_different(change: dict[str, Any], note: str) -> None:
    truth = dataclasses.replace(REGRESSION.rows.truth, **change["truth"])
    changed = dataclasses.replace(REGRESSION, rows=dataclasses.replace(REGRESSION.rows, **change | {"truth": truth}))
    one, other = (EvaluationFacts(key="a", row_scores=each.to_bytes()) for each in (REGRESSION, changed))
    (found,) = compare_evaluations(one, other, tolerance=1e-9)
    assert (found.subject, found.grade, found.note) == ("benchmark rows", "different", note)


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
