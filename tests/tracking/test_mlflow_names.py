"""Names as MLflow takes them: every name has one, and comes back."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

from hokusai.tracking.mlflow_names import from_mlflow_name, kept_value, to_mlflow_name

NAMES = st.text(st.sampled_from("ab_x0059F/. :\n@%é🐧"), min_size=1) | st.text(min_size=1)


@settings(max_examples=500)
@given(name=NAMES)
def test_every_name_becomes_one_that_mlflow_takes_and_comes_back(name: str) -> None:
    kept = to_mlflow_name(name)
    for validate in (_validate_metric_name, _validate_param_name, _validate_tag_name):
        validate(kept)  # type: ignore[no-untyped-call]
    assert from_mlflow_name(kept) == name
    # MLflow's own pattern lets a last line feed through.
    assert "\n" not in kept


@given(one=NAMES, other=NAMES)
def test_two_names_never_become_one(one: str, other: str) -> None:
    assert (to_mlflow_name(one) == to_mlflow_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("training.loss", "training.loss"),
        ("a b-c:d/e_é.1", "a b-c:d/e_é.1"),
        ("recall@10", "recall_x0040_10"),
        ("50%", "50_x0025_"),
        ("a//b", "a_x002F__x002F_b"),
        ("../x", "_x002E_./x"),
        ("a/../b", "a/_x002E__x002E_/b"),
        ("_x0040_", "_x005F_x0040_"),
        ("🐧", "_x1F427_"),
    ],
)
def test_a_name_stays_readable(name: str, kept: str) -> None:
    assert to_mlflow_name(name) == kept


@given(st.from_regex(r"[a-z][a-z0-9_.]*(/[a-z0-9_]+)?", fullmatch=True).filter(lambda name: "_x" not in name))
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    assert to_mlflow_name(name) == name


@pytest.mark.parametrize("name", ["_x110000_", "_xFFFFFF_", "_x41_", "plain"])
def test_what_is_no_escape_of_ours_is_read_as_it_stands(name: str) -> None:
    assert from_mlflow_name(name) == name


@given(st.floats(allow_nan=False))
def test_only_infinities_are_kept_as_another_number(value: float) -> None:
    kept = kept_value(value)
    assert repr(kept) == repr(value) if math.isfinite(value) else abs(kept) == sys.float_info.max
    assert math.copysign(1, kept) == math.copysign(1, value)


def test_nan_is_kept() -> None:
    assert math.isnan(kept_value(math.nan))
