"""Looks at the candidate's first seeds: when they end training, and that they decide no other way than the rule."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hokusai.analysis.group_sequential import boundaries
from hokusai.analysis.metrics import METRICS
from hokusai.datasets.provenance import PROVENANCE
from hokusai.records import ContributionCounts, DecisionRule, Guard, IntegratedData, Predictions
from hokusai.steps.benchmark_rows import benchmark_rows
from hokusai.steps.evaluation_settings import EvaluationSettings
from hokusai.steps.interim_analysis import InterimVerdict
from hokusai.steps.interim_scores import InterimScores

LOOKS = (3, 5, 8)
ROWS = 600
LABELS = np.array(["yes", "no"] * (ROWS // 2))


class Recited:
    """A model that is wrong on some rows, and counts how often it was asked."""

    features: tuple[str, ...] = ("x",)
    classes: tuple[str, ...] = ("no", "yes")

    def __init__(self, wrong: range, *, seed: int) -> None:
        """Remember the rows."""
        self.seed, self.asked = seed, 0
        truth = (LABELS == "yes").astype(np.intp)
        truth[list(wrong)] = 1 - truth[list(wrong)]
        self.codes = truth

    def predict(self, table: pa.Table, *, classes: tuple[str, ...]) -> Predictions:
        """Recite; rows are known by their number, which is their only feature."""
        self.asked += 1
        codes = self.codes[table["x"].to_numpy().astype(np.intp)]
        sure = np.full((codes.size, len(classes)), 0.2)
        sure[np.arange(codes.size), codes] = 0.8
        return Predictions(predicted=codes, probabilities=sure)


def rule(**changes: object) -> DecisionRule:
    """Return a rule with three looks."""
    values: dict[str, object] = {"metric": "accuracy", "minimum_gain": 0.0, "confidence": 0.95, "looks": LOOKS}
    return DecisionRule(**(values | changes))  # type: ignore[arg-type]


def interim(own: DecisionRule, *, scoring: EvaluationSettings | None = None, is_sealed: bool = False) -> InterimScores:
    """Return who looks, by a rule; sealed rows are the first half."""
    table = pa.table({"x": np.arange(ROWS, dtype=float), "y": LABELS})
    data = IntegratedData(
        base=table,
        integrated=table,
        benchmark=table,
        label="y",
        features=("x",),
        versions=(),
        counts=(ContributionCounts(name="base", offered=ROWS, duplicates=0, in_benchmark=0, kept=ROWS),),
        provenance=PROVENANCE.empty_table(),
        overlapping=np.zeros(ROWS, dtype=np.bool_),
    )
    scoring = scoring or EvaluationSettings()
    half = np.arange(ROWS) < ROWS // 2 if is_sealed else None
    rows = benchmark_rows(scoring, data, task="classification", decision_half=half)
    metrics = [METRICS[name] for name in ("accuracy", "recall", "f1", "log_loss")]
    return InterimScores(own, settings=scoring, metrics=metrics, rows=rows, data=data)


def arm(wrong: list[range]) -> list[Recited]:
    """Return one fit per seed."""
    return [Recited(rows, seed=seed) for seed, rows in enumerate(wrong)]


def verdicts(own: DecisionRule, *, controls: list[range], candidates: list[range]) -> list[InterimVerdict]:
    """Return what is said look by look until training ends."""
    looking, found = interim(own), []
    first, second = arm(controls), arm(candidates)
    for fits in own.looks:
        found.append(looking.look(first[:fits], second[:fits]))
        if found[-1].stop:
            break
    return found


PLAIN = [range(200)] * 8
CLOSE = [range(200 - 8 * (seed % 3 - 1)) for seed in range(8)]


def test_a_plain_gain_ends_training_at_the_first_look() -> None:
    found = verdicts(rule(), controls=PLAIN, candidates=[range(50)] * 8)
    assert found == [InterimVerdict(stop=True, reason="Training ended after 3 seeds: accept.")]


def test_a_plain_loss_ends_training_at_the_first_look() -> None:
    found = verdicts(rule(), controls=PLAIN, candidates=[range(300)] * 8)
    assert found == [InterimVerdict(stop=True, reason="Training ended after 3 seeds: reject.")]


def test_a_case_that_more_seeds_would_hardly_make_acceptable_is_given_up() -> None:
    found = verdicts(rule(), controls=CLOSE, candidates=CLOSE[::-1])
    assert [each.stop for each in found] == [True]
    assert found[0].reason == "Training ended after 3 seeds: more seeds would hardly make it acceptable."


def test_an_open_case_goes_through_all_looks_and_no_further() -> None:
    # Seeds disagree by so much that nothing is clear, and the gain is such that it might become so.
    candidates = [range(120 + 90 * (seed % 3 - 1)) for seed in range(8)]
    own = rule()
    found = verdicts(own, controls=PLAIN, candidates=candidates)
    assert [each.stop for each in found[:-1]] == [False] * 2
    assert found[0].reason == "After 3 seeds nothing was decided."
    looking = interim(own)
    for fits in LOOKS:
        looking.look(arm(PLAIN)[:fits], arm(candidates)[:fits])
    with pytest.raises(ValueError, match="look 4, expected 1 to 3"):
        looking.look(arm(PLAIN), arm(candidates))


def test_the_last_look_gives_nothing_up_because_nothing_is_left_to_save() -> None:
    looking = interim(rule())
    for fits in LOOKS[:-1]:
        looking.look(arm(CLOSE)[:fits], arm(CLOSE[::-1])[:fits])
    last = looking.look(arm(CLOSE), arm(CLOSE[::-1]))
    assert last == InterimVerdict(stop=False, reason="After 8 seeds nothing was decided.")


def test_an_early_look_asks_for_more_than_a_late_one() -> None:
    first, _, last = boundaries(LOOKS, alpha=0.025)
    # 9 rows of 600, all of them won, are a gain of 3.0 standard errors: a one-sided p-value of 0.0013.
    assert first < 0.0013 < last
    candidates = [range(191)] * 8
    early = interim(rule(minimum_discordant_rows=1))
    assert early.look(arm(PLAIN)[:3], arm(candidates)[:3]).reason == "After 3 seeds nothing was decided."
    only = interim(rule(minimum_discordant_rows=1, looks=(3,)))
    assert only.look(arm(PLAIN)[:3], arm(candidates)[:3]).reason == "Training ended after 3 seeds: accept."


def test_a_bar_is_looked_at_too() -> None:
    candidates = [range(100)] * 8
    assert verdicts(rule(minimum_gain=0.05), controls=PLAIN, candidates=candidates)[0].reason.endswith("accept.")
    assert verdicts(rule(minimum_gain=0.3), controls=PLAIN, candidates=candidates)[0].reason.endswith("reject.")


def test_a_guard_that_got_worse_ends_training() -> None:
    # The candidate has all negatives right and a third of the positives wrong, which the control had right.
    controls, candidates = [range(1, ROWS, 2)] * 8, [range(0, 200, 2)] * 8
    guarded = rule(guards=(Guard(metric="recall", margin=0.05),))
    assert verdicts(rule(), controls=controls, candidates=candidates)[0].reason.endswith("accept.")
    assert verdicts(guarded, controls=controls, candidates=candidates)[0].reason.endswith("reject.")


def test_a_floor_that_is_not_reached_decides_nothing_at_any_look() -> None:
    found = verdicts(rule(minimum_discordant_rows=400), controls=PLAIN, candidates=[range(50)] * 8)
    assert [each.stop for each in found] == [False] * 3


def test_a_metric_that_is_undefined_ends_nothing_early() -> None:
    looking = interim(rule(metric="ndcg"))
    assert not looking.look(arm(PLAIN)[:3], arm(PLAIN)[:3]).stop


def test_a_fit_is_asked_once_however_often_it_is_looked_at() -> None:
    controls, candidates = arm(PLAIN), arm(CLOSE)
    looking = interim(rule())
    for fits in LOOKS:
        looking.look(controls[:fits], candidates[:fits])
    assert [model.asked for model in (*controls, *candidates)] == [1] * 16


def test_a_threshold_is_looked_through_like_in_the_evaluation() -> None:
    # From a chance of 0.9 on nothing is positive, and both arms say the same.
    looking = interim(rule(), scoring=EvaluationSettings(threshold=0.9))
    assert not looking.look(arm(PLAIN)[:3], arm([range(0)] * 3)).reason.endswith("accept.")


def test_sealed_rows_are_not_looked_at_so_that_the_number_of_seeds_tells_nothing() -> None:
    told = []
    for candidates in ([range(50)] * 8, [range(300)] * 8, CLOSE):
        first, second = arm(PLAIN), arm(candidates)
        looking = interim(rule(decisions=10, rows="decision half", confidence=0.99), is_sealed=True)
        told.append([looking.look(first[:fits], second[:fits]) for fits in LOOKS])
        assert sum(model.asked for model in (*first, *second)) == 0
    assert told[0] == told[1] == told[2]
    assert {each.stop for each in told[0]} == {False}
    assert told[0][-1].reason == (
        "All seeds were fitted: the benchmark's decision half answers once, after the last of them."
    )
