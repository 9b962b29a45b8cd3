"""The parameter schema: every field has a name and a meaning, and its text is its value."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.tracking.parameters import (
    CompareAndOutputDeltaParameters,
    EvaluateOnBenchmarkParameters,
    StepParameters,
    TrainNewModelParameters,
    as_texts,
    as_values,
)

KINDS = get_args(StepParameters)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
# NUL is recorded as an escape, because PostgreSQL takes none.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | FINITE | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_has_a_dotted_name_and_a_description(kind: type[StepParameters]) -> None:
    names = [field.metadata["name"] for field in fields(kind)]
    assert names
    assert len(set(names)) == len(names)
    for field in fields(kind):
        assert re.fullmatch(r"[a-z][a-z_]*(\.[a-z][a-z_0-9]*){0,2}", field.metadata["name"])
        assert re.fullmatch(r"\S.*\.", field.metadata["description"], flags=re.DOTALL)


def test_one_name_means_one_thing_in_every_step() -> None:
    meanings: dict[str, set[tuple[str, str]]] = {}
    for kind in KINDS:
        for field in fields(kind):
            meanings.setdefault(field.metadata["name"], set()).add((str(field.type), field.metadata["description"]))
    assert {name: found for name, found in meanings.items() if len(found) > 1} == {}


@given(gain=FINITE, confidence=FINITE)
def test_numbers_are_the_same_after_their_text(gain: float, confidence: float) -> None:
    parameters = CompareAndOutputDeltaParameters(
        metric="accuracy",
        minimum_gain=gain,
        confidence=confidence,
        guards={},
        minimum_positives=50,
        minimum_discordant_rows=25,
        rule_sha256="01" * 32,
    )
    texts = as_texts(as_values(parameters))
    assert texts["delta.metric"] == "accuracy"
    assert repr(json.loads(texts["delta.minimum_gain"])) == repr(gain)
    assert repr(json.loads(texts["delta.confidence"])) == repr(confidence)


@settings(max_examples=40)
@given(
    arguments=st.dictionaries(TEXTS, JSON, max_size=3),
    seeds=st.lists(st.integers(0, 2**53 - 1), max_size=4),
    is_random=st.booleans(),
)
def test_everything_but_a_text_is_json(arguments: dict[str, Any], seeds: list[int], *, is_random: bool) -> None:
    parameters = TrainNewModelParameters(
        estimator="Ridge",
        estimator_parameters=arguments,
        task="regression",
        seeds=tuple(seeds),
        control_seeds=tuple(seeds),
        looks=(3, 5),
        negative_controls=is_random,
        is_random=is_random,
        threads=1,
        column_kinds={"x": "number"},
        tuning_trials=0,
        tuning_folds=3,
        tuning_space=arguments,
    )
    texts = as_texts(as_values(parameters))
    assert (texts.pop("training.estimator"), texts.pop("training.task")) == ("Ridge", "regression")
    read = {name: json.loads(text) for name, text in texts.items()}
    assert read == {
        "training.parameters": arguments,
        "training.seeds": seeds,
        "training.control_seeds": seeds,
        "training.sequential.looks": [3, 5],
        "training.negative_controls": is_random,
        "training.is_random": is_random,
        "training.threads": 1,
        "training.column_kinds": {"x": "number"},
        "training.tuning.trials": 0,
        "training.tuning.folds": 3,
        "training.tuning.space": arguments,
    }
    assert as_values(parameters) == {**read, "training.estimator": "Ridge", "training.task": "regression"}


def test_a_parameter_that_does_not_apply_is_null() -> None:
    parameters = EvaluateOnBenchmarkParameters(
        metrics=("rmse",),
        classes=(),
        positive_class=None,
        threshold=0.0,
        average="macro",
        sample_weight="",
        group="patient",
        query="",
        slices=("site",),
        benchmark_rows=7,
    )
    assert as_texts(as_values(parameters)) == {
        "evaluation.metrics": '["rmse"]',
        "evaluation.classes": "[]",
        "evaluation.positive_class": "null",
        "evaluation.threshold": "0.0",
        "evaluation.average": "macro",
        "evaluation.sample_weight": "",
        "evaluation.group": "patient",
        "evaluation.query": "",
        "evaluation.slices": '["site"]',
        "evaluation.benchmark_rows": "7",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_parameter_stops_the_step(kind: type[StepParameters]) -> None:
    with pytest.raises(TypeError, match="missing"):
        kind()
