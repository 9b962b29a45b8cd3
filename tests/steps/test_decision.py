"""A rule that was fixed beforehand, and scores, become a decision; what leaves says no more than it may."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.analysis.group_sequential import boundaries
from hokusai.analysis.metrics import METRICS
from hokusai.analysis.multiplicity import holm
from hokusai.analysis.own_metrics import OwnMetric
from hokusai.cli.display import print_report
from hokusai.datasets.provenance import PROVENANCE
from hokusai.records import (
    BaselineModel,
    BenchmarkHistory,
    ContributionCounts,
    EvaluationIdentity,
    IntegratedData,
    MetricDelta,
    Predictions,
    TrainedModels,
)
from hokusai.steps.answer_rounding import rounded, rounded_delta
from hokusai.steps.benchmark_rows import BenchmarkRows, benchmark_rows
from hokusai.steps.decision import decide_contribution, judge, level_at
from hokusai.steps.decision_rule import decision_rule, record_rule, rule_sha256
from hokusai.steps.delta_computation import compare_and_output_delta
from hokusai.steps.delta_settings import DeltaSettings, GuardSettings
from hokusai.steps.evaluation import evaluate_on_benchmark
from hokusai.steps.evaluation_settings import EvaluationSettings, OwnMetricSettings
from hokusai.steps.interim_analysis import SequentialSettings
from hokusai.steps.model_training import TrainingSettings
from hokusai.tracking import naming
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.operations import LogArtifact, LogMetrics, SetTags
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hokusai.records import BenchmarkScores, Decision, DecisionRule, DeltaReport, Metric

ROOT = Path(__file__).parents[2]
DELTA_SCHEMA = json.loads((ROOT / "docs" / "formats" / "delta-1.schema.json").read_text(encoding="utf-8"))
FLOORLESS = DeltaSettings(minimum_positives=1, minimum_discordant_rows=1)


class Recited:
    """A model that says of every row what it was told to say: the chance of ``yes``, or a number."""

    def __init__(self, answers: NDArray[np.float64], *, seed: int = 0, is_classifier: bool = True) -> None:
        """Remember the answers."""
        self.answers, self.seed = answers, seed
        self.features: tuple[str, ...] = ("x",)
        self.classes: tuple[str, ...] = ("no", "yes") if is_classifier else ()

    def predict(self, table: pa.Table, *, classes: tuple[str, ...]) -> Predictions:
        """Recite; rows are known by their number, which is their only feature."""
        said = self.answers[table["x"].to_numpy().astype(np.intp)]
        if not classes:
            return Predictions(predicted=said)
        return Predictions(predicted=(said >= 0.5).astype(np.intp), probabilities=np.column_stack([1 - said, said]))


@dataclasses.dataclass
class Evaluation:
    """Steps 4 and 5 on models that recite, with a journal in memory."""

    labels: NDArray[Any]
    controls: Sequence[NDArray[np.float64]]
    candidates: Sequence[NDArray[np.float64]]
    metrics: Sequence[Metric] = (METRICS["accuracy"],)
    delta: DeltaSettings = FLOORLESS
    scoring: EvaluationSettings = dataclasses.field(default_factory=EvaluationSettings)
    columns: dict[str, Any] = dataclasses.field(default_factory=dict)
    half: NDArray[np.bool_] | None = None
    decisions: int | None = None
    looks: tuple[int, ...] = ()
    kept: int = 5
    baseline: NDArray[np.float64] | None = None
    shuffled: Sequence[NDArray[np.float64]] = ()
    history: BenchmarkHistory | None = None
    journal: MemoryJournal = dataclasses.field(default_factory=MemoryJournal)

    @property
    def is_classifier(self) -> bool:
        """Whether labels are classes."""
        return self.labels.dtype.kind != "f"

    @property
    def is_random(self) -> bool:
        """Whether there are several seeds."""
        return len(self.candidates) > 1

    @property
    def data(self) -> IntegratedData:
        """What step 2 would have given."""
        rows = len(self.labels)
        table = pa.table({"x": np.arange(rows, dtype=float), "y": self.labels.tolist()})
        return IntegratedData(
            base=table,
            integrated=table,
            benchmark=table,
            label="y",
            features=("x",),
            versions=(),
            counts=(
                ContributionCounts(name="base", offered=rows, duplicates=0, in_benchmark=0, kept=rows),
                ContributionCounts(name="more", offered=5, duplicates=5 - self.kept, in_benchmark=0, kept=self.kept),
            ),
            provenance=PROVENANCE.empty_table(),
            overlapping=np.zeros(rows, dtype=np.bool_),
            benchmark_columns=pa.table(self.columns) if self.columns else None,
        )

    @property
    def given(self) -> BaselineModel:
        """What step 1 would have given."""
        model = None if self.baseline is None else Recited(self.baseline, is_classifier=self.is_classifier)
        return BaselineModel(source="given" if model else "none", model=model)

    @property
    def models(self) -> TrainedModels:
        """What step 3 would have given."""

        def fits(answers: Sequence[NDArray[np.float64]]) -> tuple[Recited, ...]:
            return tuple(Recited(each, seed=n, is_classifier=self.is_classifier) for n, each in enumerate(answers))

        return TrainedModels(
            controls=fits(self.controls),
            candidates=fits(self.candidates),
            task="classification" if self.is_classifier else "regression",
            classes=("no", "yes") if self.is_classifier else (),
            estimator="recited",
            is_random=self.is_random,
            model_name="candidate",
            model_sha256="0a" * 32,
            negative_controls={"shuffled_labels": fits(self.shuffled)} if self.shuffled else {},
            looks=len(self.looks),
        )

    @property
    def rows(self) -> BenchmarkRows:
        """The benchmark's rows."""
        task = self.models.task
        return benchmark_rows(self.scoring, self.data, task=task, baseline=self.given, decision_half=self.half)

    @property
    def rule(self) -> DecisionRule:
        """The rule."""
        name = self.delta.metric or ("accuracy" if self.is_classifier else "rmse")
        return decision_rule(
            self.delta,
            metric=next(metric for metric in self.metrics if metric.name == name),
            evaluation=self.scoring,
            training=TrainingSettings(seeds=len(self.candidates), sequential=SequentialSettings(looks=self.looks)),
            is_random=self.is_random,
            data=self.data,
            truth=self.rows.truth,
            decisions=self.decisions,
            alpha=None if self.decisions is None else 0.05 / self.decisions,
        )

    def score(self) -> BenchmarkScores:
        """Run step 4."""
        with Tracker(self.journal, evaluation="e", run_name="r").start() as run:
            return evaluate_on_benchmark(
                self.scoring,
                metrics=self.metrics,
                rows=self.rows,
                baseline=self.given,
                models=self.models,
                data=self.data,
                run=run,
            )

    def report(self, folder: Path) -> DeltaReport:
        """Run steps 4 and 5, and check the document against its schema."""
        scores = self.score()
        with Tracker(self.journal, evaluation="e", run_name="r").start() as run:
            report = compare_and_output_delta(
                self.delta,
                rule=self.rule,
                identity=EvaluationIdentity(
                    project="p", evaluation="e", registered_model="m", delta_file=folder / "delta.json"
                ),
                baseline=self.given,
                models=self.models,
                scores=scores,
                data=self.data,
                run=run,
                number=None if self.decisions is None else 1,
                history=self.history,
            )
        document = document_in(folder)
        jsonschema.validate(document, DELTA_SCHEMA, cls=jsonschema.Draft202012Validator)
        return report


def document_in(folder: Path) -> dict[str, Any]:
    """Return ``delta.json``, in which every number is a number."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found: dict[str, Any] = json.loads((folder / "delta.json").read_bytes(), parse_constant=refuse)
    return found


def labels_of(positives: int, negatives: int) -> NDArray[Any]:
    """Return labels, positive ones first."""
    return np.array(["yes"] * positives + ["no"] * negatives)


def answers_to(labels: NDArray[Any], *, wrong: Any = (), seed: int = 0) -> NDArray[np.float64]:
    """Return the chance of ``yes`` that a model gives, wrong on some rows and nowhere twice the same."""
    rng = np.random.default_rng(seed)
    truth = labels == "yes"
    truth[list(wrong)] ^= True
    sure = rng.uniform(0.6, 0.95, size=len(labels))
    return np.where(truth, sure, 1 - sure)


# --- floors ----------------------------------------------------------------------------------------------------------


def judged_with(metric: str, *, positives: int = 100, negatives: int = 100, wrong: int = 60, positive: str = "") -> str:
    """Return why nothing was decided by a metric, where the control is wrong on some rows of both classes."""
    labels = labels_of(positives, negatives)
    rows = range(positives - wrong // 2, positives - wrong // 2 + wrong)
    evaluation = Evaluation(
        labels,
        controls=[answers_to(labels, wrong=rows, seed=1)],
        candidates=[answers_to(labels, seed=2)],
        metrics=[METRICS[metric]],
        delta=DeltaSettings(metric=metric),
        scoring=EvaluationSettings(positive_class=positive),
    )
    judgement = judge(evaluation.rule, evaluation.score())
    assert (judgement.outcome == "not enough evidence") == ("at least" in judgement.reason)
    return judgement.reason if judgement.outcome == "not enough evidence" else ""


OF_EVERY_CLASS = ["roc_auc", "balanced_accuracy", "log_loss", "brier_score", "expected_calibration_error"]


@pytest.mark.parametrize("metric", ["precision", "recall", "f1", "average_precision", *OF_EVERY_CLASS])
def test_nothing_is_decided_below_fifty_rows_of_the_positive_class(metric: str) -> None:
    said = f"the benchmark has 49 rows of the class 'yes', and a decision by {metric} needs at least 50"
    assert said in judged_with(metric, positives=49)
    assert judged_with(metric, positives=50, wrong=90) == ""


@pytest.mark.parametrize("metric", OF_EVERY_CLASS)
def test_metrics_of_both_classes_need_fifty_rows_of_the_other_class_too(metric: str) -> None:
    assert "49 rows of the class 'no'" in judged_with(metric, negatives=49)
    assert judged_with(metric, negatives=50, wrong=90) == ""


@pytest.mark.parametrize("metric", ["precision", "recall", "f1", "average_precision"])
def test_metrics_of_one_class_ask_for_rows_of_that_class_alone(metric: str) -> None:
    assert judged_with(metric, negatives=49) == ""
    assert "49 rows of the class 'no'" in judged_with(metric, negatives=49, positive="no")


def test_accuracy_asks_for_no_number_of_a_class() -> None:
    assert judged_with("accuracy", positives=31, negatives=169) == ""


def test_a_rule_by_log_loss_on_twelve_rows_says_not_enough_evidence_and_names_the_floor() -> None:
    said = judged_with("log_loss", positives=10, negatives=2, wrong=4)
    assert "2 rows of the class 'no', and a decision by log_loss needs at least 50 (delta.minimum_positives)" in said


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "precision", "recall", "f1"])
def test_nothing_is_decided_below_twenty_five_rows_that_one_model_alone_has_right(metric: str) -> None:
    said = f"only one of the two models is right on 24 benchmark rows, and a decision by {metric} needs at least 25"
    assert said in judged_with(metric, wrong=24)
    assert judged_with(metric, wrong=25) == ""


@pytest.mark.parametrize("metric", ["log_loss", "brier_score"])
def test_metrics_of_probabilities_ask_for_no_such_rows(metric: str) -> None:
    assert judged_with(metric, wrong=20) == ""


def test_rows_that_weigh_nothing_do_not_count_towards_a_floor() -> None:
    labels = labels_of(60, 100)
    evaluation = Evaluation(
        labels,
        controls=[answers_to(labels, wrong=range(20, 90), seed=1)],
        candidates=[answers_to(labels, seed=2)],
        metrics=[METRICS["recall"]],
        delta=DeltaSettings(metric="recall"),
        scoring=EvaluationSettings(sample_weight="w"),
        columns={"w": [0.0] * 11 + [1.0] * 149},
    )
    assert "has 49 rows of the class 'yes'" in judge(evaluation.rule, evaluation.score()).reason
    evaluation.columns = {"w": [0.0] * 10 + [1.0] * 150}
    assert judge(evaluation.rule, evaluation.score()).outcome == "accept"


@pytest.mark.parametrize(("seeds", "outcome"), [(2, "not enough evidence"), (3, "accept")])
def test_a_random_trainer_needs_three_seeds_in_both_arms(seeds: int, outcome: str) -> None:
    labels = labels_of(100, 100)
    many = [answers_to(labels, wrong=range(60), seed=seed) for seed in range(5)]
    good = [answers_to(labels, seed=seed) for seed in range(5)]
    for controls, candidates in ((many[:seeds], good), (many, good[:seeds])):
        evaluation = Evaluation(labels, controls=controls, candidates=candidates)
        judgement = judge(evaluation.rule, evaluation.score())
        assert judgement.outcome == outcome
        assert ("needs at least 3 seeds" in judgement.reason) == (seeds == 2)


# --- outcomes --------------------------------------------------------------------------------------------------------


def compared(*, better: int, worse: int = 0, rows: int = 400, **options: Any) -> Evaluation:
    """Return an evaluation whose candidate gets some rows right that the control has wrong, and the other way round."""
    labels = np.array(["yes", "no"] * (rows // 2))
    return Evaluation(
        labels,
        controls=[answers_to(labels, wrong=range(better), seed=1)],
        candidates=[answers_to(labels, wrong=range(better, better + worse), seed=2)],
        **options,
    )


def test_the_whole_interval_decides_against_the_bar() -> None:
    bar = dataclasses.replace(FLOORLESS, minimum_gain=0.05)
    outcomes = {}
    for better, worse in ((60, 0), (30, 10), (0, 40), (10, 4)):
        evaluation = compared(better=better, worse=worse, delta=bar)
        outcomes[better, worse] = judge(evaluation.rule, evaluation.score()).outcome
    assert outcomes == {
        (60, 0): "accept",
        (30, 10): "not enough evidence",
        (0, 40): "reject",
        (10, 4): "reject",
    }


def test_nothing_new_is_a_rejection_whatever_was_scored(tmp_path: Path) -> None:
    report = compared(better=100, kept=0).report(tmp_path)
    assert report.decision.outcome == "reject"
    assert report.decision.reason.startswith("no contributed row is new")


def test_an_undefined_metric_decides_nothing_and_says_why(tmp_path: Path) -> None:
    labels = labels_of(39, 1)
    evaluation = Evaluation(
        labels,
        controls=[answers_to(labels, wrong=range(20), seed=1)],
        candidates=[answers_to(labels, seed=2)],
        metrics=[METRICS["roc_auc"], METRICS["accuracy"]],
        delta=dataclasses.replace(FLOORLESS, metric="roc_auc"),
        scoring=EvaluationSettings(sample_weight="w"),
        columns={"w": [1.0] * 39 + [0.0]},
    )
    report = evaluation.report(tmp_path)
    assert report.decision.outcome == "not enough evidence"
    assert report.decision.reason.startswith("roc_auc is undefined here: control: every benchmark row")
    assert {each["metric"] for each in document_in(tmp_path)["undefined"]} == {"roc_auc"}


def test_a_metric_of_ones_own_that_raises_is_undefined_and_decides_nothing(tmp_path: Path) -> None:
    def raising(*said: object) -> float:
        message = f"no luck with {len(said)} arrays"
        raise ZeroDivisionError(message)

    own = OwnMetric(name="mine", task="classification", higher_is_better=True, unit="none", function=raising)
    evaluation = compared(better=40, metrics=[own], delta=dataclasses.replace(FLOORLESS, metric="mine"))
    report = evaluation.report(tmp_path)
    assert report.decision.outcome == "not enough evidence"
    assert "ZeroDivisionError: no luck with 2 arrays" in report.decision.reason
    assert document_in(tmp_path)["deltas"] == []


def test_models_that_no_row_tells_apart_are_not_accepted(tmp_path: Path) -> None:
    labels = labels_of(50, 50)
    same = answers_to(labels, wrong=range(10))
    evaluation = Evaluation(labels, controls=[same], candidates=[same], metrics=[METRICS["accuracy"], METRICS["f1"]])
    report = evaluation.report(tmp_path)
    assert report.decision.outcome == "not enough evidence"
    assert report.decision.minimum_detectable_effect is None
    by_f1 = dataclasses.replace(evaluation, delta=dataclasses.replace(FLOORLESS, metric="f1"))
    judgement = judge(by_f1.rule, by_f1.score())
    assert judgement.reason == (
        "the gain in f1, +0, is the same on every row that counts, so nothing tells how sure it is."
    )


def test_a_gain_without_an_interval_is_told_as_such_and_not_as_no_difference() -> None:
    labels = labels_of(50, 50)
    told = "the gain in balanced_accuracy, +0.5, is the same on every row that counts, so nothing tells how sure it is"
    evaluation = Evaluation(
        labels,
        controls=[np.full(100, 0.1)],
        candidates=[answers_to(labels)],
        metrics=[METRICS["accuracy"], METRICS["balanced_accuracy"]],
        delta=dataclasses.replace(FLOORLESS, metric="balanced_accuracy"),
    )
    assert judge(evaluation.rule, evaluation.score()).reason == f"{told}."
    guards = (GuardSettings(metric="balanced_accuracy", margin=0.05),)
    evaluation.delta = dataclasses.replace(FLOORLESS, guards=guards)
    judgement = judge(evaluation.rule, evaluation.score())
    assert (judgement.outcome, judgement.guards[0].verdict) == ("not enough evidence", "unclear")
    assert judgement.reason.startswith(
        f"whether balanced_accuracy got worse by more than the margin is not clear, for {told}; "
    )


def test_a_metric_where_less_is_better_has_its_bar_in_its_own_unit() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=300)
    noise = rng.normal(size=300)
    evaluation = Evaluation(
        labels,
        controls=[labels + 2 * noise],
        candidates=[labels + noise],
        metrics=[METRICS["rmse"], METRICS["r2"]],
        delta=dataclasses.replace(FLOORLESS, metric="rmse", minimum_gain=0.5),
    )
    assert judge(evaluation.rule, evaluation.score()).outcome == "accept"
    evaluation.delta = dataclasses.replace(evaluation.delta, minimum_gain=1.5)
    assert judge(evaluation.rule, evaluation.score()).outcome == "reject"
    evaluation.controls, evaluation.candidates = evaluation.candidates, evaluation.controls
    evaluation.delta = dataclasses.replace(evaluation.delta, minimum_gain=0.0)
    assert judge(evaluation.rule, evaluation.score()).outcome == "reject"


@pytest.mark.parametrize("confidence", [0.5, 0.999])
def test_any_confidence_that_may_be_set_decides(tmp_path: Path, confidence: float) -> None:
    evaluation = compared(better=60, delta=dataclasses.replace(FLOORLESS, confidence=confidence))
    report = evaluation.report(tmp_path)
    assert (report.decision.outcome, report.decision.confidence) == ("accept", confidence)
    assert f"{confidence * 100:g}% confidence" in report.decision.reason
    passes = f"one in {2 / (1 - confidence):.0f} passes"
    assert any(passes in sentence for sentence in report.decision.not_concluded)


def test_a_ranking_decides_on_numbers_by_its_queries() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=200).astype(float)
    evaluation = Evaluation(
        labels,
        controls=[rng.normal(size=200)],
        candidates=[labels + rng.normal(scale=0.1, size=200)],
        metrics=[METRICS["ndcg"]],
        delta=dataclasses.replace(FLOORLESS, metric="ndcg"),
        scoring=EvaluationSettings(query="q"),
        columns={"q": np.arange(200) // 5},
    )
    scores = evaluation.score()
    assert scores.deciding.subset.units == 40
    assert judge(evaluation.rule, scores).outcome == "accept"


# --- guards ----------------------------------------------------------------------------------------------------------


def guarding_recall(margin: float) -> Evaluation:
    """Return an evaluation whose accuracy gains and whose recall, which is guarded, loses a quarter."""
    labels = labels_of(100, 300)
    return Evaluation(
        labels,
        controls=[answers_to(labels, wrong=range(100, 200), seed=1)],
        candidates=[answers_to(labels, wrong=range(25), seed=2)],
        metrics=[METRICS["accuracy"], METRICS["recall"]],
        delta=dataclasses.replace(FLOORLESS, guards=(GuardSettings(metric="recall", margin=margin),)),
    )


@pytest.mark.parametrize(
    ("margin", "verdict", "outcome"),
    [(0.5, "kept", "accept"), (0.05, "worse", "reject"), (0.25, "unclear", "not enough evidence")],
)
def test_a_guard_that_is_not_kept_prevents_acceptance(
    tmp_path: Path, margin: float, verdict: str, outcome: str
) -> None:
    report = guarding_recall(margin).report(tmp_path)
    assert report.decision.outcome == outcome
    assert [(each.metric, each.margin, each.verdict) for each in report.decision.guards] == [
        ("recall", margin, verdict)
    ]
    assert ("recall" in report.decision.reason) == (verdict != "kept")
    assert [delta.role for delta in report.deltas] == ["primary", "guard"]
    assert document_in(tmp_path)["decision"]["guards"] == [{"metric": "recall", "margin": margin, "verdict": verdict}]


def test_a_guard_that_is_undefined_is_unclear() -> None:
    labels = labels_of(199, 1)
    evaluation = Evaluation(
        labels,
        controls=[answers_to(labels, wrong=range(60), seed=1)],
        candidates=[answers_to(labels, seed=2)],
        metrics=[METRICS["accuracy"], METRICS["roc_auc"]],
        delta=dataclasses.replace(FLOORLESS, guards=(GuardSettings(metric="roc_auc", margin=0.9),)),
        scoring=EvaluationSettings(sample_weight="w"),
        columns={"w": [1.0] * 199 + [0.0]},
    )
    judgement = judge(evaluation.rule, evaluation.score())
    assert (judgement.outcome, judgement.guards[0].verdict) == ("not enough evidence", "unclear")


def test_a_guard_on_the_metric_that_decides_asks_for_nothing_more() -> None:
    guards = (GuardSettings(metric="accuracy", margin=0.0),)
    evaluation = compared(better=60, delta=dataclasses.replace(FLOORLESS, guards=guards))
    judgement = judge(evaluation.rule, evaluation.score())
    assert (judgement.outcome, judgement.guards[0].verdict) == ("accept", "kept")


# --- what is told beside the outcome ---------------------------------------------------------------------------------


def test_what_this_benchmark_could_have_seen_is_about_what_its_interval_says(tmp_path: Path) -> None:
    report = compared(better=24, worse=16).report(tmp_path)
    decision, delta = report.decision, report.delta
    assert decision.outcome == "not enough evidence"
    assert delta.standard_error is not None
    # The quantiles of a 95 % interval and of a power of 80 %.
    assert decision.minimum_detectable_effect == pytest.approx((1.96 + 0.84) * delta.standard_error, rel=0.02)
    # At the gain that was found, rows shrink the standard error until both quantiles fit into it.
    assert decision.rows_needed == pytest.approx(400 * (2.8 * delta.standard_error / delta.gain) ** 2, rel=0.02)
    assert decision.seeds_needed is None
    assert decision.not_concluded[0].startswith("Whether the contribution helps")


def test_seeds_that_would_settle_it_are_told_where_seeds_disagree(tmp_path: Path) -> None:
    labels = np.array(["yes", "no"] * 300)
    evaluation = Evaluation(
        labels,
        controls=[answers_to(labels, wrong=range(300), seed=seed) for seed in range(3)],
        candidates=[answers_to(labels, wrong=range(wrong), seed=9 + wrong) for wrong in (120, 240, 300)],
    )
    decision = evaluation.report(tmp_path).decision
    assert decision.outcome == "not enough evidence"
    assert decision.seeds_needed is not None
    assert 3 < decision.seeds_needed < 100


def decided(evaluation: Evaluation) -> Decision:
    """Return the decision on the scores of step 4."""
    return decide_contribution(evaluation.rule, evaluation.score(), has_new_rows=True, rule_sha256="0" * 64)


def test_what_would_settle_it_reaches_the_floors_as_well() -> None:
    decision = decided(compared(better=24, rows=100, delta=DeltaSettings()))
    assert "right on 24 benchmark rows, and a decision by accuracy needs at least 25" in decision.reason
    assert (decision.rows_needed, decision.seeds_needed) == (math.ceil(100 * 25 / 24), None)
    auc = dataclasses.replace(compared(better=60, rows=80), metrics=[METRICS["roc_auc"]])
    auc.delta = DeltaSettings(metric="roc_auc", minimum_positives=500)
    assert decided(auc).rows_needed == 80 * 500 / 40
    labels = labels_of(100, 100)
    few = Evaluation(
        labels,
        controls=[answers_to(labels, wrong=range(40 + seed), seed=seed) for seed in range(2)],
        candidates=[answers_to(labels, wrong=range(10 * seed), seed=seed) for seed in range(2)],
    )
    decision = decided(few)
    assert "needs at least 3 seeds" in decision.reason
    assert decision.rows_needed is None
    assert decision.seeds_needed is not None
    assert decision.seeds_needed >= 3


def test_what_would_settle_it_settles_an_unclear_guard_too(tmp_path: Path) -> None:
    report = guarding_recall(0.3).report(tmp_path)
    recall = report.deltas[1]
    assert report.decision.guards[0].verdict == "unclear"
    assert recall.standard_error is not None
    # The gain of -0.25 is 0.05 above what is put up with.
    expected = 400 * (2.8 * recall.standard_error / 0.05) ** 2
    assert report.decision.rows_needed == pytest.approx(expected, rel=0.02)


@settings(max_examples=40, deadline=None)
@given(
    better=st.integers(0, 40),
    worse=st.integers(0, 40),
    seeds=st.integers(1, 4),
    metric=st.sampled_from(["accuracy", "recall", "roc_auc", "log_loss"]),
    floors=st.tuples(st.sampled_from([1, 25, 50]), st.sampled_from([1, 25])),
    margin=st.floats(0, 0.3),
)
def test_what_would_settle_it_is_never_what_is_there_already(
    better: int, worse: int, seeds: int, metric: str, floors: tuple[int, int], margin: float
) -> None:
    labels = np.array(["yes", "no"] * 45)
    evaluation = Evaluation(
        labels,
        controls=[answers_to(labels, wrong=range(better + seed), seed=seed) for seed in range(seeds)],
        candidates=[
            answers_to(labels, wrong=range(better, better + worse + 3 * seed), seed=9 + seed) for seed in range(seeds)
        ],
        metrics=[METRICS[name] for name in {metric: None, "recall": None}],
        delta=DeltaSettings(
            metric=metric,
            minimum_positives=floors[0],
            minimum_discordant_rows=floors[1],
            guards=(GuardSettings(metric="recall", margin=margin),),
        ),
    )
    decision = decided(evaluation)
    if decision.outcome == "not enough evidence":
        assert decision.rows_needed is None or decision.rows_needed > 90
        assert decision.seeds_needed is None or decision.seeds_needed > seeds


def test_a_decision_needs_nothing_more(tmp_path: Path) -> None:
    decision = compared(better=100).report(tmp_path).decision
    assert (decision.outcome, decision.rows_needed, decision.seeds_needed) == ("accept", None, None)
    assert decision.minimum_detectable_effect is not None


def test_only_secondary_metrics_are_corrected_for_their_number(tmp_path: Path) -> None:
    guards = (GuardSettings(metric="recall", margin=0.9),)
    names = ("accuracy", "recall", "f1", "log_loss", "brier_score")
    report = compared(
        better=30,
        worse=22,
        metrics=[METRICS[name] for name in names],
        delta=dataclasses.replace(FLOORLESS, guards=guards),
    ).report(tmp_path)
    found = {delta.metric.name: delta for delta in report.deltas}
    assert [delta.role for delta in report.deltas] == ["primary", "guard", "secondary", "secondary", "secondary"]
    assert found["accuracy"].adjusted_p_value is None
    assert found["recall"].adjusted_p_value is None
    secondary = [found[name] for name in names[2:]]
    own = [delta.p_value for delta in secondary if delta.p_value is not None]
    assert [delta.adjusted_p_value for delta in secondary] == list(holm(own))
    assert all(delta.p_value is not None for delta in report.deltas)


def test_a_negative_control_goes_through_the_same_gate(tmp_path: Path) -> None:
    evaluation = compared(better=60)
    harmless = answers_to(evaluation.labels, wrong=range(58, 118), seed=3)
    for shuffled, outcome in ((evaluation.candidates[0], "accept"), (harmless, "not enough evidence")):
        evaluation.shuffled = [shuffled]
        (control,) = evaluation.report(tmp_path).negative_controls
        assert (control.arm, control.outcome) == ("shuffled_labels", outcome)
        assert control.delta is not None
        (written,) = document_in(tmp_path)["negative_controls"]
        assert (written["outcome"], written["delta"]["gain"]) == (outcome, control.delta.gain)


def test_a_given_baseline_is_compared_apart_and_decides_nothing(tmp_path: Path) -> None:
    evaluation = compared(better=60)
    evaluation.baseline = answers_to(evaluation.labels, seed=7)
    report = evaluation.report(tmp_path)
    assert report.decision.outcome == "accept"
    (delta,) = report.baseline_deltas
    assert (delta.reference, delta.gain) == ("baseline", 0.0)
    assert [each["reference"] for each in document_in(tmp_path)["deltas"]] == ["control", "baseline"]


def test_earlier_evaluations_are_logged_and_change_nothing_in_the_document(tmp_path: Path) -> None:
    history = BenchmarkHistory(evaluations=3, metric="accuracy", best=0.9, median=0.8, latest=None)
    evaluation = compared(better=60, history=history)
    evaluation.report(tmp_path)
    told = document_in(tmp_path)
    compared(better=60).report(tmp_path)
    assert document_in(tmp_path) == told
    logged = {name: value for each in metrics_of(evaluation) for name, value in each.items() if "history" in name}
    assert logged == {"history.evaluations": 3, "history.accuracy.best": 0.9, "history.accuracy.median": 0.8}


def test_without_looks_the_level_is_that_of_the_rule_and_with_them_the_look_has_its_own(tmp_path: Path) -> None:
    evaluation = compared(better=60)
    assert level_at(evaluation.rule, looks=0) == 0.95
    evaluation.controls, evaluation.candidates = [
        list(each) * 5 for each in (evaluation.controls, evaluation.candidates)
    ]
    evaluation.looks = (3, 5)
    expected = 1 - 2 * boundaries((3, 5), alpha=0.025)[1]
    decision = evaluation.report(tmp_path).decision
    assert decision.confidence == pytest.approx(expected, rel=1e-12)
    assert 0.95 < decision.confidence < 0.96
    assert any("one in 40 passes" in sentence for sentence in decision.not_concluded)
    for looks in (0, 3):
        with pytest.raises(ValueError, match=f"look {looks}, expected 1 to 2"):
            level_at(evaluation.rule, looks=looks)


# --- sealed rows -----------------------------------------------------------------------------------------------------

NAMES = ("accuracy", "recall", "roc_auc", "log_loss")


def sealed(*, better: int, flipped: Sequence[int] = (), feedback_better: int = 40, **options: Any) -> Evaluation:
    """Return an evaluation of three seeds on a split benchmark of 800 rows, the first half of which decides.

    Args:
        better: Rows of the decision half that the candidate alone has right.
        flipped: Further rows that the candidate has wrong.
        feedback_better: Rows of the feedback half that the candidate alone has right.
        options: Of the evaluation.
    """
    labels = np.array(["yes", "no"] * 400)
    control = [*range(100), *range(400, 500)]
    candidate = [*range(better, 100), *range(400 + feedback_better, 500), *flipped]
    return Evaluation(
        labels,
        controls=[answers_to(labels, wrong=control, seed=seed) for seed in range(3)],
        candidates=[answers_to(labels, wrong=candidate, seed=seed) for seed in range(3)],
        metrics=[METRICS[name] for name in NAMES],
        half=np.arange(800) < 400,
        decisions=options.pop("decisions", 10),
        **options,
    )


def metrics_of(evaluation: Evaluation) -> list[dict[str, float]]:
    """Return what was logged as metrics, in its order."""
    return [dict(each.metrics) for each in evaluation.journal.operations if isinstance(each, LogMetrics)]


def what_leaves(evaluation: Evaluation) -> str:
    """Return every recorded operation but row scores, how large these are, and what the machine did."""
    found = []
    for operation in evaluation.journal.operations:
        shown: object = operation
        if isinstance(operation, LogArtifact):
            kept = operation.path != "row_scores.parquet"
            shown = (operation.path, evaluation.journal.staged[operation.sha256]) if kept else operation.path
        elif isinstance(operation, LogMetrics):
            ends = ("seconds", "rows_per_second", "peak_memory_bytes", "row_scores.bytes")
            values = {name: value for name, value in operation.metrics.items() if not name.endswith(ends)}
            shown = (values, operation.step)
        elif isinstance(operation, SetTags):
            shown = sorted(operation.tags.items())
        elif hasattr(operation, "run"):
            shown = (type(operation).__name__, getattr(operation, "parameters", None))
        found.append(shown)
    return "\n".join(map(repr, found))


def all_that_is_told(evaluation: Evaluation, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, ...]:
    """Run the evaluation and return all that leaves it: journal, file and terminal."""
    report = evaluation.report(folder)
    print_report(report)
    return what_leaves(evaluation), (folder / "delta.json").read_text(encoding="utf-8"), capsys.readouterr().out


def test_two_acceptances_on_sealed_rows_tell_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (all_that_is_told(sealed(better=better), tmp_path, capsys) for better in (80, 100))
    assert one == other
    assert '"outcome": "accept"' in one[1]


def test_all_that_is_no_acceptance_on_sealed_rows_tells_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guards = (GuardSettings(metric="recall", margin=0.0),)
    told = [
        all_that_is_told(
            sealed(
                better=better,
                flipped=flipped,
                delta=DeltaSettings(minimum_gain=0.01, minimum_positives=50, guards=guards),
            ),
            tmp_path,
            capsys,
        )
        for better, flipped in (
            (0, range(200, 300)),  # worse
            (0, ()),  # nothing differs
            (12, ()),  # too few rows differ
            (40, range(200, 230)),  # not enough evidence
            (100, range(200, 320, 2)),  # accuracy is better, and the guard not surely kept
        )
    ]
    assert all(each == told[0] for each in told)
    assert '"outcome": "reject"' in told[0][1]
    assert '"guards": []' in told[0][1]


def test_a_metric_that_is_undefined_on_sealed_rows_alone_is_no_acceptance_like_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = sealed(better=100, delta=dataclasses.replace(FLOORLESS, metric="roc_auc"))
    evaluation.labels = np.array(["yes"] * 400 + ["yes", "no"] * 200)
    _, text, printed = all_that_is_told(evaluation, tmp_path, capsys)
    document = json.loads(text)
    assert document["decision"]["outcome"] == "reject"
    assert "the contribution does not clear the bar, or not surely enough" in document["decision"]["reason"]
    assert (document["undefined"], "undefined" in printed) == ([], False)


def test_a_sealed_decision_says_which_one_it_was_and_at_which_level(tmp_path: Path) -> None:
    report = sealed(better=100, decisions=100).report(tmp_path)
    decision = report.decision
    assert (decision.outcome, decision.number, decision.decisions) == ("accept", 1, 100)
    assert decision.confidence == pytest.approx(1 - 2 * 0.05 / 100)
    assert not decision.is_exploratory
    assert "(decision 1 of 100)" in decision.reason
    assert not any("passes by chance" in sentence for sentence in decision.not_concluded)
    assert (report.cross_checks, report.negative_controls) == ((), ())
    assert report.subsets == ()


def test_what_is_told_of_the_feedback_half_has_no_finer_steps_than_a_point(tmp_path: Path) -> None:
    evaluation = sealed(better=50, feedback_better=37, shuffled=())
    report = evaluation.report(tmp_path)
    assert report.answer_step == 0.01
    shares = [delta for delta in report.deltas if delta.metric.unit == "fraction"]
    assert len(shares) == 3
    told = [
        *(
            getattr(delta, name)
            for delta in shares
            for name in ("baseline", "candidate", "gain", "gain_lower", "gain_upper", "standard_error")
        ),
        report.decision.minimum_detectable_effect,
        *(value for each in metrics_of(evaluation) for name, value in each.items() if name == "candidate.accuracy"),
    ]
    assert len(told) == 20
    assert all(abs(value * 100 - round(value * 100)) < 1e-9 for value in told if value is not None)
    assert None not in told
    assert not any(name.endswith(".per_seed") for each in metrics_of(evaluation) for name in each)
    accuracy = report.delta
    assert accuracy.gain_lower is not None
    assert accuracy.gain_upper is not None
    assert accuracy.gain_lower <= 37 / 400 <= accuracy.gain_upper
    assert (accuracy.degrees_of_freedom, accuracy.row_variance, accuracy.p_value) == (None, None, None)


def test_negative_controls_do_not_ask_sealed_rows_and_the_report_says_so(tmp_path: Path) -> None:
    evaluation = sealed(better=50)
    evaluation.shuffled = evaluation.controls
    report = evaluation.report(tmp_path)
    assert report.negative_controls == ()
    assert any("the decision half answers on the contribution alone" in note for note in report.notes)


@given(
    value=st.floats(-1e6, 1e6),
    other=st.floats(-1e6, 1e6),
    name=st.sampled_from(["accuracy", "rmse", "r2", "log_loss", "mape"]),
)
def test_rounded_answers_have_no_finer_step_than_a_hundredth_of_the_larger_value(
    value: float, other: float, name: str
) -> None:
    metric = METRICS[name]
    delta = rounded_delta(
        MetricDelta(
            metric=metric,
            reference="control",
            baseline=value,
            candidate=other,
            gain_lower=-abs(other),
            gain_upper=abs(value),
            confidence=0.95,
            standard_error=abs(value) / 7,
            degrees_of_freedom=3.0,
        )
    )
    size = 1.0 if name in {"accuracy", "r2"} else 0.0
    least = 0.01 if name == "accuracy" else 0.01 * max(abs(value), abs(other), size)
    for told, exact in ((delta.baseline, value), (delta.candidate, other)):
        assert abs(told - exact) <= 0.51 * 10 * least + 1e-12
    steps = [each / least for each in (delta.baseline, delta.candidate, delta.standard_error or 0.0) if least]
    assert all(abs(step) > 0.99 or abs(step) < 1e-6 for step in steps)
    assert delta.gain_lower is not None
    assert delta.gain_upper is not None
    assert delta.gain_lower <= -abs(other) + 1e-8 * least
    assert delta.gain_upper >= abs(value) - 1e-8 * least


def test_an_answer_near_zero_of_a_metric_with_a_bound_is_rounded_to_a_point() -> None:
    assert rounded(0.00031, METRICS["r2"]) == 0.0
    assert rounded(0.01499, METRICS["r2"]) == 0.01
    assert rounded(-3.14159, METRICS["r2"]) == pytest.approx(-3.1)
    assert rounded(0.0, METRICS["rmse"]) == 0.0


# --- the rule --------------------------------------------------------------------------------------------------------


def test_the_rule_is_recorded_as_the_bytes_that_its_digest_is_of() -> None:
    guards = (GuardSettings(metric="recall", margin=0.02),)
    evaluation = compared(better=9, delta=DeltaSettings(minimum_gain=0.01, guards=guards))
    with Tracker(evaluation.journal, evaluation="e", run_name="r").start() as run:
        record_rule(evaluation.rule, run=run)
    (artifact,) = [each for each in evaluation.journal.operations if isinstance(each, LogArtifact)]
    tags = {
        name: value
        for each in evaluation.journal.operations
        if isinstance(each, SetTags)
        for name, value in each.tags.items()
    }
    assert artifact.path == "decision_rule.json"
    assert artifact.sha256 == rule_sha256(evaluation.rule)
    assert tags[naming.DECISION_RULE_TAG] == artifact.sha256
    document = json.loads(evaluation.journal.staged[artifact.sha256])
    assert document["format"] == "hokusai-decision-rule/1"
    assert document["guards"] == [{"metric": "recall", "margin": 0.02}]
    assert set(document) == {"format", *(field.name for field in dataclasses.fields(evaluation.rule))}


def test_the_rules_digest_is_known_and_changes_with_each_of_its_fields() -> None:
    rule = compared(better=9).rule
    assert rule_sha256(rule) == rule_sha256(compared(better=300).rule)
    seen = {rule_sha256(rule)}
    for field in dataclasses.fields(rule):
        value = getattr(rule, field.name)
        other: Any = 0.123 if isinstance(value, float) else 77
        if isinstance(value, str):
            other = value + "x"
        elif field.name == "guards":
            other = ({"metric": "recall", "margin": 0.1},)
        elif field.name == "looks":
            other = (3, 5)
        seen.add(rule_sha256(dataclasses.replace(rule, **{field.name: other})))
    assert len(seen) == 1 + len(dataclasses.fields(rule))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("positive_class", "no"),
        ("threshold", 0.3),
        ("average", "micro"),
        ("sample_weight", "w"),
        ("group", "g"),
        ("query", "q"),
    ],
)
def test_whatever_scores_depend_on_is_in_the_rule(setting: str, value: object) -> None:
    plain = compared(better=9)
    changed: Any = {setting: value}
    other = compared(better=9, scoring=EvaluationSettings(**changed))
    assert rule_sha256(plain.rule) != rule_sha256(other.rule)
    assert json.loads(other.rule.scoring)[setting] == value


def test_which_way_a_metric_of_ones_own_is_better_is_in_the_rule_where_it_decides() -> None:
    def rule(*, deciding: str, higher_is_better: bool) -> str:
        own = OwnMetricSettings(name="mine", function="m:f", higher_is_better=higher_is_better)
        metric = dataclasses.replace(METRICS["accuracy"], name=deciding, higher_is_better=higher_is_better)
        return rule_sha256(
            compared(
                better=9,
                metrics=[metric],
                delta=dataclasses.replace(FLOORLESS, metric=deciding),
                scoring=EvaluationSettings(own_metrics=(own,)),
            ).rule
        )

    assert rule(deciding="mine", higher_is_better=True) != rule(deciding="mine", higher_is_better=False)
    assert rule(deciding="other", higher_is_better=True) == rule(deciding="other", higher_is_better=False)


def test_declared_decisions_set_the_level_and_the_rows_that_decide() -> None:
    rule = sealed(better=1, decisions=20).rule
    assert (rule.rows, rule.decisions) == ("decision half", 20)
    assert math.isclose(rule.confidence, 1 - 2 * 0.05 / 20)
    assert (compared(better=1).rule.rows, compared(better=1).rule.decisions) == ("benchmark", None)


@settings(max_examples=25, deadline=None)
@given(better=st.integers(0, 40), worse=st.integers(0, 40), confidence=st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_what_is_accepted_with_more_confidence_is_accepted_with_less(
    better: int, worse: int, confidence: float
) -> None:
    evaluation = compared(better=better, worse=worse, rows=100, delta=dataclasses.replace(FLOORLESS, confidence=0.995))
    scores = evaluation.score()
    strict = judge(evaluation.rule, scores).outcome
    loose = judge(dataclasses.replace(evaluation.rule, confidence=confidence), scores).outcome
    assert strict in {loose, "not enough evidence"}
