"""Variables are lent to calls, and are as they were afterwards."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from hokusai.process_environment import lent_variables, user_name

if TYPE_CHECKING:
    import random

    import pytest

NAMES = ["HOKUSAI_TEST_A", "HOKUSAI_TEST_B"]


@given(
    calls=st.lists(st.dictionaries(st.sampled_from(NAMES), st.sampled_from("12"), max_size=2), max_size=5),
    ends=st.randoms(use_true_random=False),
)
def test_whatever_calls_overlap_the_first_value_holds_and_the_last_end_clears_it(
    calls: list[dict[str, str]], ends: random.Random
) -> None:
    expected: dict[str, str] = {}
    stacks = []
    for variables in calls:
        stack = ExitStack()
        stack.enter_context(lent_variables(variables))
        stacks.append((stack, variables))
        expected = variables | expected
        assert {name: os.environ[name] for name in NAMES if name in os.environ} == expected
    while stacks:
        stack, _ = stacks.pop(ends.randrange(len(stacks)))
        stack.close()
        left = {name for _, variables in stacks for name in variables}
        assert {name: os.environ[name] for name in NAMES if name in os.environ} == {
            name: value for name, value in expected.items() if name in left
        }


def test_a_variable_that_is_set_already_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAMES[0], "mine")
    with lent_variables({NAMES[0]: "theirs"}):
        assert os.environ[NAMES[0]] == "mine"
    assert os.environ[NAMES[0]] == "mine"


def test_a_user_without_a_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    # Other processes' numbers cannot be taken on here without being root.
    monkeypatch.setattr("getpass.getuser", _nameless)
    assert user_name() == "unknown"


def _nameless() -> str:
    raise KeyError("getpwuid(): uid not found: 4711")
