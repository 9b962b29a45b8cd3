"""The search itself: what a space may hold, what is drawn from it, and which trial is chosen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.errors import ConfigurationError, ModelError
from hokusai.models.tuning import best_trial, make_space, require_optuna, search, stratified_folds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hokusai.models.tuning import Trial


def made(
    space: dict[str, Any],
    score: Callable[[Mapping[str, Any], int], float],
    *,
    trials: int = 12,
    given_ones: dict[str, Any] | None = None,
    seed: int = 0,
) -> list[Trial]:
    return list(
        search(
            make_space(space),
            given=given_ones or {},
            trials=trials,
            folds=2,
            seed=seed,
            higher_is_better=True,
            score=score,
        )
    )


def constant(_: Mapping[str, Any], __: int) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("described", "key", "word"),
    [
        ([], "p", "empty"),
        (3, "p", "list of choices"),
        ("gini", "p", "list of choices"),
        ([1, 2, 1], "p", "twice"),
        ([float("nan")], "p", "exactly"),
        ({"low": 1}, "p", "'high'"),
        ({"low": 1, "high": 2, "steps": 1}, "p", "'steps'"),
        ({"low": 2, "high": 2}, "p.low", "less than high"),
        ({"low": 3.0, "high": 2}, "p.low", "less than high"),
        ({"low": float("-inf"), "high": 2}, "p.low", "finite"),
        ({"low": True, "high": 2}, "p.low", "finite"),
        ({"low": "1", "high": 2}, "p.low", "finite"),
        ({"low": 0, "high": 2, "log": True}, "p.low", "more than 0"),
        ({"low": 1, "high": 2, "log": 1}, "p.log", "true or false"),
        ({"low": 1, "high": 5, "step": 3}, "p.step", "leads from low"),
        ({"low": 1, "high": 5, "step": 0}, "p.step", "more than 0"),
        ({"low": 1, "high": 5, "step": 0.5}, "p.step", "whole"),
        ({"low": 1, "high": 5, "step": 2, "log": True}, "p.step", "log"),
    ],
)
def test_a_space_with_nothing_to_draw_is_refused_by_its_key(described: object, key: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word) as caught:
        make_space({"p": described})
    assert caught.value.key == f"training.tuning.space.{key}"


@settings(max_examples=25, deadline=None)
@given(
    low=st.integers(-50, 50),
    width=st.integers(1, 40),
    step=st.integers(1, 7),
    values=st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.text()), min_size=1, unique_by=repr),
    seed=st.integers(0, 1000),
)
def test_what_is_drawn_lies_in_the_space_and_the_same_seed_draws_the_same(
    low: int, width: int, step: int, values: list[Any], seed: int
) -> None:
    space = {
        "steps": {"low": low, "high": low + width * step, "step": step},
        "fractions": {"low": 0.1, "high": 0.7, "step": 0.1},
        "log": {"low": 1e-4, "high": 10.0, "log": True},
        "choices": values,
    }
    trials = made(space, lambda parameters, fold: parameters.get("log", 0.0) + fold, trials=6, seed=seed)
    for trial in trials[1:]:
        drawn: dict[str, Any] = dict(trial.parameters)
        assert set(drawn) == set(space)
        assert type(drawn["steps"]) is int
        assert drawn["steps"] in range(low, low + width * step + 1, step)
        assert round(drawn["fractions"] * 10) in range(1, 8)
        assert 1e-4 <= drawn["log"] <= 10.0
        assert any(drawn["choices"] is value or repr(drawn["choices"]) == repr(value) for value in values)
    assert trials == made(space, lambda parameters, fold: parameters.get("log", 0.0) + fold, trials=6, seed=seed)


def test_the_given_parameters_are_tried_first_and_hold_where_the_space_says_nothing() -> None:
    trials = made({"C": [0.5, 2.0]}, constant, given_ones={"C": 7.0, "tol": 0.1})
    assert trials[0].parameters == {"C": 7.0, "tol": 0.1}
    assert {trial.parameters["tol"] for trial in trials} == {0.1}
    assert {trial.parameters["C"] for trial in trials[1:]} == {0.5, 2.0}


def test_the_search_goes_where_scores_are_better() -> None:
    def near_the_middle(parameters: Mapping[str, Any], _: int) -> float:
        return -abs(float(parameters["x"]) - 50.0)

    trials = made({"x": {"low": 0.0, "high": 100.0}}, near_the_middle, trials=60, given_ones={"x": 0.0})
    early, late = ([abs(trial.parameters["x"] - 50.0) for trial in part] for part in (trials[1:11], trials[-20:]))  # type: ignore[operator]
    assert np.mean(late) < np.mean(early) / 2


def test_one_and_true_and_one_point_nought_are_three_choices() -> None:
    trials = made({"p": [1, True, 1.0]}, constant, trials=20)
    assert {repr(trial.parameters["p"]) for trial in trials[1:]} == {"1", "True", "1.0"}


def test_equal_parameters_are_scored_once() -> None:
    asked: list[object] = []

    def score(parameters: Mapping[str, Any], fold: int) -> float:
        asked.append((parameters["p"], fold))
        return float(parameters["p"])

    trials = made({"p": [1, 2]}, score, trials=10, given_ones={"p": 1})
    assert sorted(asked) == [(1, 0), (1, 1), (2, 0), (2, 1)]  # type: ignore[type-var]
    assert len(trials) == 10
    assert trials[0].repeats is None
    for trial in trials[2:]:
        assert trial.repeats is not None
        assert trials[trial.repeats].parameters == trial.parameters
        assert trials[trial.repeats].scores == trial.scores


def test_a_trial_that_fails_is_kept_with_its_reason_and_the_search_goes_on() -> None:
    def score(parameters: Mapping[str, Any], fold: int) -> float:
        if parameters["p"] == 2 and fold == 1:
            raise ModelError("too much")
        return float(parameters["p"])

    trials = made({"p": [1, 2, 3]}, score, trials=15, given_ones={"p": 2})
    assert (trials[0].problem, trials[0].scores, trials[0].mean_score) == ("too much", (2.0,), None)
    best = best_trial(trials, higher_is_better=True)
    assert best is not None
    assert best.parameters == {"p": 3}


def test_the_first_of_equal_trials_is_chosen_and_none_of_failed_ones() -> None:
    trials = made({"p": [1, 2, 3]}, constant, given_ones={"p": 9})
    for higher_is_better in (True, False):
        assert best_trial(trials, higher_is_better=higher_is_better) is trials[0]
    best = best_trial(made({"p": [1, 5]}, lambda parameters, _: parameters.get("p", 3)), higher_is_better=False)
    assert best is not None
    assert best.parameters == {"p": 1}

    def fail(_: Mapping[str, Any], __: int) -> float:
        raise ModelError("no")

    assert best_trial(made({"p": [1, 2]}, fail), higher_is_better=True) is None


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    folds=st.integers(2, 5),
    seed=st.integers(0, 100),
    order=st.randoms(use_true_random=False),
)
def test_folds_are_even_and_every_class_that_is_scored_can_be_learned(
    sizes: list[int], folds: int, seed: int, order: Any
) -> None:
    strata = [code for code, size in enumerate(sizes) for _ in range(size)]
    order.shuffle(strata)
    codes = np.array(strata)
    assigned = stratified_folds(codes, folds=folds, seed=seed)
    assert (assigned == stratified_folds(codes, folds=folds, seed=seed)).all()
    in_folds = np.bincount(assigned[assigned >= 0], minlength=folds)
    assert in_folds.max() - in_folds.min() <= 1
    for code, size in enumerate(sizes):
        own = assigned[codes == code]
        if size == 1:
            assert own.tolist() == [-1]
            continue
        counts = np.bincount(own, minlength=folds)
        assert counts.max() - counts.min() <= 1
        for fold in range(folds):
            assert (own != fold).any()


def test_a_missing_optuna_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_optuna()
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigurationError, match=r"tuning.*hokusai-pipeline\[tuning\]") as caught:
        require_optuna()
    assert caught.value.key == "training.tuning.trials"
