"""Looks at the candidate while its seeds are still being fitted, by the boundary that was fixed beforehand."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from hokusai.analysis.group_sequential import boundaries, futile
from hokusai.records import BenchmarkScores
from hokusai.steps.decision import judge, method_at
from hokusai.steps.deltas import interval_of
from hokusai.steps.evaluation import predict, score_fits
from hokusai.steps.interim_analysis import InterimVerdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hokusai.records import Arm, DecisionRule, FittedModel, IntegratedData, Metric, Predictions
    from hokusai.steps.benchmark_rows import BenchmarkRows
    from hokusai.steps.evaluation_settings import EvaluationSettings

__all__ = ["InterimScores"]


class InterimScores:
    """Scores the metrics that the decision needs, and says whether more seeds could still change it.

    Rows of a sealed decision half are not looked at: after how many seeds training ended would tell how clear the case
    was, and they answer accept or reject and nothing else.

    Args:
        rule: The rule, with its looks.
        settings: How rows are scored.
        metrics: All metrics; only those of the rule are computed.
        rows: The benchmark's rows; only those that decide are scored.
        data: The benchmark.
    """

    def __init__(
        self,
        rule: DecisionRule,
        *,
        settings: EvaluationSettings,
        metrics: Sequence[Metric],
        rows: BenchmarkRows,
        data: IntegratedData,
    ) -> None:
        self._rule, self._settings, self._data = rule, settings, data
        self._metrics = tuple(metric for metric in metrics if metric.name in rule.metrics)
        self._rows = dataclasses.replace(rows, sets=rows.sets[:1])
        self._looks = 0
        self._said: dict[tuple[Arm, int], Predictions] = {}

    def look(self, controls: Sequence[FittedModel], candidates: Sequence[FittedModel]) -> InterimVerdict:
        """Say whether to stop after these fits, and why."""
        self._looks += 1
        if self._rows.sets[0].kind == "decision":
            reason = "All seeds were fitted: the benchmark's decision half answers once, after the last of them."
            return InterimVerdict(stop=False, reason=reason)
        scores = self._score(controls, candidates)
        judgement = judge(self._rule, scores, looks=self._looks)
        fits = f"{len(candidates)} seeds"
        if judgement.outcome != "not enough evidence":
            return InterimVerdict(stop=True, reason=f"Training ended after {fits}: {judgement.outcome}.")
        if self._looks < len(self._rule.looks) and self._is_futile(scores):
            reason = f"Training ended after {fits}: more seeds would hardly make it acceptable."
            return InterimVerdict(stop=True, reason=reason)
        return InterimVerdict(stop=False, reason=f"After {fits} nothing was decided.")

    def _score(self, controls: Sequence[FittedModel], candidates: Sequence[FittedModel]) -> BenchmarkScores:
        truth = self._rows.truth
        arms: dict[Arm, Sequence[FittedModel]] = {"control": controls, "candidate": candidates}
        said = {arm: [self._predict(arm, model) for model in fits] for arm, fits in arms.items()}
        return BenchmarkScores(
            metrics=self._metrics,
            subsets=score_fits(self._metrics, self._rows, said),
            is_random=True,
            positive_class="" if truth.positive is None else truth.classes[truth.positive],
        )

    def _predict(self, arm: Arm, model: FittedModel) -> Predictions:
        if (arm, model.seed) not in self._said:
            threshold = self._settings.threshold
            self._said[arm, model.seed] = predict(model, self._data, truth=self._rows.truth, threshold=threshold)
        return self._said[arm, model.seed]

    def _is_futile(self, scores: BenchmarkScores) -> bool:
        found = scores.deciding.scores
        if any(self._rule.metric not in found[arm] for arm in ("control", "candidate")):
            return False
        control, candidate = (found[arm][self._rule.metric] for arm in ("control", "candidate"))
        method = method_at(self._rule, looks=self._looks, is_random=True)
        interval = interval_of(control, candidate, method=method)
        if interval is None or interval.degenerate:
            return False
        metric = next(each for each in self._metrics if each.name == self._rule.metric)
        return futile(
            interval,
            gain=interval.delta if metric.higher_is_better else -interval.delta,
            most_fits=self._rule.looks[-1],
            final_alpha=boundaries(self._rule.looks, alpha=(1 - self._rule.confidence) / 2)[-1],
            minimum_gain=self._rule.minimum_gain,
        )
