"""The quick looks at identity numbers turn away nothing that the checks would accept."""

from __future__ import annotations

import itertools
import random
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.datasets.identity_numbers import _BARE, _WRITTEN, _number_module, _values

if TYPE_CHECKING:
    from hokusai.datasets.identity_numbers import _Scheme

_QUICK = [(size, scheme) for size, known in _BARE.items() for scheme in known.values() if scheme.may_pass is not None]


@pytest.mark.parametrize(("size", "scheme"), _QUICK, ids=lambda item: getattr(item, "module", item))
def test_digits_that_pass_a_check_pass_the_quick_look_before_it(size: int, scheme: _Scheme) -> None:
    rng = random.Random(scheme.module)  # noqa: S311 - numbers, no secrets
    module, may_pass = _number_module(scheme.module), scheme.may_pass
    assert may_pass is not None
    # A day and a month of a date in those numbers that begin with one.
    numbers = [f"{rng.randrange(10**size):0{size}}" for _ in range(1_000)]
    numbers += [f"{rng.randrange(100):02}0{rng.randint(1, 9)}1{number[5:]}" for number in numbers]
    turned_away = [number for number in numbers if not may_pass(_values(number))]
    assert len(turned_away) > len(numbers) / 2
    assert [number for number in turned_away if module.is_valid(number)] == []


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_no_two_numbers_are_written_alike_but_the_finnish_and_the_swedish(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(_WRITTEN)))
    text = data.draw(st.from_regex(re.compile(_WRITTEN[name].pattern, re.ASCII), fullmatch=True))
    alike = {other for other, scheme in _WRITTEN.items() if re.fullmatch(scheme.pattern, text)}
    assert name in alike
    assert alike == {name} or alike <= {"fi", "se"}
    assert not any(len(pair & {"fi", "se"}) == 1 for pair in map(set, itertools.combinations(alike, 2)))
