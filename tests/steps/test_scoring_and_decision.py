"""Steps 3 to 5 on small models whose answers can be counted by hand."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hokusai.analysis.metrics import METRICS, metrics_for
from hokusai.datasets.provenance import PROVENANCE
from hokusai.errors import ConfigurationError, DataError
from hokusai.models.trainers import make_trainer
from hokusai.records import (
    BaselineModel,
    ContributionCounts,
    EvaluationIdentity,
    IntegratedData,
    MetricDelta,
    Predictions,
    TrainedModels,
)
from hokusai.steps.benchmark_rows import BenchmarkRows, benchmark_rows
from hokusai.steps.chosen_metrics import chosen_metrics
from hokusai.steps.decision_rule import decision_rule
from hokusai.steps.delta_computation import compare_and_output_delta, delta_metrics, model_tags
from hokusai.steps.delta_document import DELTA_FORMAT
from hokusai.steps.delta_settings import DeltaSettings, GuardSettings, deciding_metric, require_reachable_bars
from hokusai.steps.evaluation import evaluate_on_benchmark
from hokusai.steps.evaluation_settings import EvaluationSettings
from hokusai.steps.model_training import TrainingSettings, train_new_model
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.operations import LogArtifact, LogMetrics, LogModel, LogParameters
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hokusai.records import BenchmarkScores, DeltaReport, FittedModel

CLASSES = ("no", "yes")
ROOT = Path(__file__).parents[2]
DELTA_SCHEMA = json.loads((ROOT / "docs" / "formats" / "delta-1.schema.json").read_text(encoding="utf-8"))


class Recited:
    """A model that answers what it was told to answer."""

    def __init__(self, answers: list[str], *, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> None:
        """Remember the answers."""
        self.answers, self.seed, self.classes = answers, seed, classes
        self.features: tuple[str, ...] = ("x",)

    def predict(self, table: pa.Table, *, classes: tuple[str, ...]) -> Predictions:
        """Recite; rows are known by their number, which is their only feature."""
        answers = [self.answers[int(row)] for row in table["x"].to_pylist()]
        if not classes:
            return Predictions(predicted=np.array(answers, dtype=np.float64))
        codes = np.array([classes.index(each) for each in answers])
        sure = np.full((len(codes), len(classes)), 0.1 / (len(classes) - 1))
        sure[np.arange(len(codes)), codes] = 0.9
        return Predictions(predicted=codes, probabilities=sure)


def integrated(labels: list[Any], *, base_labels: list[Any] | None = None, kept: int = 1) -> IntegratedData:
    """Return data whose benchmark has these labels."""
    training = base_labels or [*labels, *labels]
    base = pa.table({"x": pa.array(np.arange(len(training), dtype=float)), "y": training})
    return IntegratedData(
        base=base,
        integrated=pa.concat_tables([base, base.slice(0, kept)]),
        benchmark=pa.table({"x": pa.array(np.arange(len(labels), dtype=float)), "y": labels}),
        label="y",
        features=("x",),
        versions=(),
        counts=(
            ContributionCounts(name="base", offered=len(base), duplicates=0, in_benchmark=0, kept=len(base)),
            ContributionCounts(name="more", offered=9, duplicates=9 - kept, in_benchmark=0, kept=kept),
        ),
        provenance=PROVENANCE.empty_table(),
        overlapping=np.zeros(len(labels), dtype=np.bool_),
    )


@dataclasses.dataclass
class Steps:
    """Steps 4 and 5 with a journal in memory."""

    data: IntegratedData
    controls: list[Recited]
    candidates: list[Recited]
    is_random: bool = False
    baseline: Recited | None = None
    journal: MemoryJournal = dataclasses.field(default_factory=MemoryJournal)

    @property
    def models(self) -> TrainedModels:
        """What step 3 would have given."""
        is_regression = not self.controls[0].classes
        return TrainedModels(
            controls=tuple(self.controls),
            candidates=tuple(self.candidates),
            task="regression" if is_regression else "classification",
            classes=self.controls[0].classes,
            estimator="recited",
            is_random=self.is_random,
            model_name="candidate",
            model_sha256="0a" * 32,
        )

    def rows(self, own: EvaluationSettings, decision_half: NDArray[np.bool_] | None = None) -> BenchmarkRows:
        """The benchmark's rows."""
        baseline = BaselineModel(source="given", model=self.baseline)
        return benchmark_rows(own, self.data, task=self.models.task, baseline=baseline, decision_half=decision_half)

    def score(
        self,
        own: EvaluationSettings | None = None,
        *,
        metrics: tuple[str, ...] = ("accuracy",),
        decision_half: NDArray[np.bool_] | None = None,
    ) -> BenchmarkScores:
        """Run step 4."""
        own = own or EvaluationSettings()
        baseline = BaselineModel(source="given", model=self.baseline)
        rows = self.rows(own, decision_half)
        with Tracker(self.journal, evaluation="e", run_name="r").start() as run:
            return evaluate_on_benchmark(
                own,
                metrics=[METRICS[name] for name in metrics],
                rows=rows,
                baseline=baseline,
                models=self.models,
                data=self.data,
                run=run,
            )

    def decide(
        self,
        delta_file: Path,
        own: DeltaSettings | None = None,
        *,
        metric: str = "accuracy",
        metrics: tuple[str, ...] = (),
        evaluation: EvaluationSettings | None = None,
        decision_half: NDArray[np.bool_] | None = None,
        decisions: int | None = None,
    ) -> DeltaReport:
        """Run steps 4 and 5, on fewer rows than a real decision needs."""
        own = own or DeltaSettings(minimum_positives=1, minimum_discordant_rows=1)
        evaluation = evaluation or EvaluationSettings()
        scores = self.score(evaluation, metrics=metrics or (metric,), decision_half=decision_half)
        identity = EvaluationIdentity(project="p", evaluation="e", registered_model="m", delta_file=delta_file)
        rule = decision_rule(
            own,
            metric=METRICS[metric],
            evaluation=evaluation,
            training=TrainingSettings(seeds=len(self.candidates)),
            is_random=self.is_random,
            data=self.data,
            truth=self.rows(evaluation, decision_half).truth,
            decisions=decisions,
            alpha=None if decisions is None else 0.05 / decisions,
        )
        with Tracker(self.journal, evaluation="e", run_name="r").start() as run:
            return compare_and_output_delta(
                own,
                rule=rule,
                identity=identity,
                baseline=BaselineModel(source="given", model=self.baseline),
                models=self.models,
                scores=scores,
                data=self.data,
                run=run,
                number=None if decisions is None else 1,
            )

    def artifact(self, path: str) -> bytes:
        """Return the bytes of a recorded artifact."""
        found = [each for each in self.journal.operations if isinstance(each, LogArtifact) and each.path == path]
        return self.journal.staged[found[-1].sha256]


LABELS = ["yes", "yes", "no", "no"] * 10
WRONG = ["no" if each == "yes" else "yes" for each in LABELS]


def right_in(count: int) -> list[str]:
    """Return answers of which the first ``count`` are right."""
    return LABELS[:count] + WRONG[count:]


# --- step 3 ----------------------------------------------------------------------------------------------------------


def train(data: IntegratedData, own: TrainingSettings) -> tuple[TrainedModels, MemoryJournal]:
    journal = MemoryJournal()
    trainer = make_trainer(own.estimator, own.parameters)
    with Tracker(journal, evaluation="e", run_name="r").start() as run:
        return train_new_model(own, trainer=trainer, data=data, run=run), journal


def test_both_arms_are_fitted_with_the_same_seeds_and_the_first_candidate_is_kept() -> None:
    own = TrainingSettings(estimator="RandomForestClassifier", parameters={"n_estimators": 2}, seeds=3)
    models, journal = train(integrated(LABELS), own)
    assert [model.seed for model in models.controls] == [model.seed for model in models.candidates] == [0, 1, 2]
    (kept,) = [each for each in journal.operations if isinstance(each, LogModel)]
    assert kept.name == models.model_name == "candidate"
    assert journal.staged[kept.sha256]
    (parameters,) = [each.parameters for each in journal.operations if isinstance(each, LogParameters)]
    assert parameters["training.seeds"] == "[0, 1, 2]"
    seconds = [each for each in journal.operations if isinstance(each, LogMetrics) and "fit_seconds" in repr(each)]
    assert sorted((*each.metrics, each.step) for each in seconds) == [
        (f"training.{arm}.fit_seconds", seed) for arm in ("candidate", "control") for seed in range(3)
    ]


def test_a_trainer_without_randomness_is_fitted_once() -> None:
    models, _ = train(integrated(LABELS), TrainingSettings(seeds=9))
    assert (len(models.controls), len(models.candidates)) == (1, 1)
    assert models.classes == ("no", "yes")


def test_warnings_of_a_fit_are_kept_as_an_artifact_per_arm() -> None:
    _, journal = train(integrated(LABELS), TrainingSettings(parameters={"max_iter": 1, "C": 1e9}))
    paths = [each.path for each in journal.operations if isinstance(each, LogArtifact)]
    assert {"warnings-control.txt", "warnings-candidate.txt"} <= set(paths)


@pytest.mark.parametrize(
    ("estimator", "labels", "message"),
    [
        ("Ridge", ["a", "b", "c"], "predicts numbers, but the label 'y' is of type string"),
        ("Ridge", [True, False, True], "predicts numbers, but the label 'y' is of type bool"),
        ("LogisticRegression", ["a", "a", "a"], "every row has the same 'y'"),
        ("LogisticRegression", [0.5, 1.5, 2.0], "the label 'y' has fractions"),
    ],
)
def test_labels_that_do_not_fit_the_estimator_are_refused(estimator: str, labels: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        train(integrated(labels, base_labels=labels), TrainingSettings(estimator=estimator))


# --- step 4 ----------------------------------------------------------------------------------------------------------


def test_every_fit_of_every_arm_is_scored_and_kept_row_by_row() -> None:
    steps = Steps(
        integrated(LABELS),
        controls=[Recited(right_in(20), seed=0), Recited(right_in(30), seed=1)],
        candidates=[Recited(right_in(40), seed=0), Recited(right_in(38), seed=1)],
        is_random=True,
        baseline=Recited(right_in(10)),
    )
    scores = steps.score()
    values = {arm: list(each["accuracy"].values) for arm, each in scores.deciding.scores.items()}
    assert values == {"control": [0.5, 0.75], "candidate": [1.0, 0.95], "baseline": [0.25]}
    table = pq.read_table(io.BytesIO(steps.artifact("row_scores.parquet"))).to_pydict()
    assert table["label"] == LABELS
    assert table["row"] == list(range(40))
    for arm, fits in values.items():
        for seed, value in enumerate(fits):
            predicted = table[f"{arm}.{seed}.predicted"]
            assert np.mean([own == label for own, label in zip(predicted, LABELS, strict=True)]) == value
            assert max(table[f"{arm}.{seed}.probability.yes"]) == 0.9
    series = {
        (name, each.step): value
        for each in steps.journal.operations
        if isinstance(each, LogMetrics)
        for name, value in each.metrics.items()
    }
    assert series["control.accuracy", 0] == 0.625
    assert [series["control.accuracy.per_seed", seed] for seed in (0, 1)] == [0.5, 0.75]


def test_rows_of_a_regression_are_kept_as_numbers() -> None:
    labels = [1.0, 2.0, 4.0]
    model = Recited(["1.5", "2", "4"], classes=())
    steps = Steps(integrated(labels), controls=[model], candidates=[model])
    scores = steps.score(metrics=("rmse", "mae"))
    assert scores.deciding.scores["control"]["mae"].values[0] == pytest.approx(0.5 / 3)
    table = pq.read_table(io.BytesIO(steps.artifact("row_scores.parquet"))).to_pydict()
    assert table["candidate.0.predicted"] == [1.5, 2.0, 4.0]


def test_the_positive_class_is_the_greater_one_or_the_one_that_was_named() -> None:
    answers = [Recited(["yes"] * 40)]
    precision = {}
    for name in ("", "yes", "no"):
        steps = Steps(integrated(LABELS), controls=answers, candidates=answers)
        scores = steps.score(EvaluationSettings(positive_class=name), metrics=("recall",))
        precision[name] = float(scores.deciding.scores["control"]["recall"].values[0])
    assert precision == {"": 1.0, "yes": 1.0, "no": 0.0}


@pytest.mark.parametrize("classes", [CLASSES, ("maybe", "no", "yes")])
def test_a_positive_class_that_there_is_not_is_refused(classes: tuple[str, ...]) -> None:
    answers = [Recited(LABELS, classes=classes)]
    labels = LABELS if classes == CLASSES else ["maybe", *LABELS[1:]]
    steps = Steps(integrated(labels), controls=answers, candidates=answers)
    name = "perhaps" if classes == CLASSES else "yes"
    with pytest.raises(ConfigurationError) as caught:
        steps.score(EvaluationSettings(positive_class=name))
    assert caught.value.key == "evaluation.positive_class"


def test_a_baseline_with_a_class_of_its_own_is_scored_beside_the_others() -> None:
    steps = Steps(
        integrated(LABELS),
        controls=[Recited(LABELS)],
        candidates=[Recited(LABELS)],
        baseline=Recited(["maybe"] * 4 + LABELS[4:], classes=("maybe", "no", "yes")),
    )
    assert steps.score().deciding.scores["baseline"]["accuracy"].values[0] == 0.9


def test_all_metrics_of_the_task_are_computed_unless_some_are_named_and_the_deciding_one_always() -> None:
    assert chosen_metrics(EvaluationSettings(), task="regression", deciding="mae") == metrics_for("regression")
    some = chosen_metrics(
        EvaluationSettings(metrics=("f1", "recall", "f1")), task="classification", deciding="accuracy"
    )
    assert [each.name for each in some] == ["f1", "recall", "accuracy"]


@pytest.mark.parametrize(
    ("metrics", "deciding"), [((), "acuracy"), ((), "rmse"), (("rmse",), "accuracy"), (("f1",), "")]
)
def test_a_metric_that_the_task_does_not_have_is_refused(metrics: tuple[str, ...], deciding: str) -> None:
    with pytest.raises(ConfigurationError, match="expected one of: accuracy"):
        chosen_metrics(EvaluationSettings(metrics=metrics), task="classification", deciding=deciding)


BARS = (
    (DeltaSettings(minimum_gain=1.0), "delta.minimum_gain"),
    (
        DeltaSettings(guards=(GuardSettings(metric="log_loss", margin=50.0), GuardSettings(metric="f1", margin=5.0))),
        "delta.guards.1.margin",
    ),
)


@pytest.mark.parametrize(("delta", "key"), BARS)
def test_a_bar_or_margin_as_large_as_all_that_the_metric_can_differ_by_is_refused(
    delta: DeltaSettings, key: str
) -> None:
    metrics = [METRICS[name] for name in ("accuracy", "log_loss", "f1")]
    with pytest.raises(ConfigurationError, match=r"expected less than 1: \w+ goes from 0 to 1") as caught:
        require_reachable_bars(delta, deciding="accuracy", metrics=metrics)
    assert caught.value.key == key
    assert caught.value.exit_code == 2


def test_a_bar_within_the_metrics_range_or_of_a_metric_without_one_is_taken() -> None:
    guards = (GuardSettings(metric="rmse", margin=1e6), GuardSettings(metric="r2", margin=5.0))
    delta = DeltaSettings(minimum_gain=1.99, guards=guards)
    metrics = [METRICS[name] for name in ("brier_score", "rmse", "r2")]
    require_reachable_bars(delta, deciding="brier_score", metrics=metrics)


# --- step 5 ----------------------------------------------------------------------------------------------------------


def test_accuracy_and_rmse_decide_by_default() -> None:
    assert deciding_metric(DeltaSettings(), task="classification") == "accuracy"
    assert deciding_metric(DeltaSettings(), task="regression") == "rmse"
    assert deciding_metric(DeltaSettings(metric="f1"), task="classification") == "f1"


def test_the_report_is_written_as_a_document_of_its_format_and_recorded_as_the_same_bytes(tmp_path: Path) -> None:
    steps = Steps(integrated(LABELS), controls=[Recited(right_in(20))], candidates=[Recited(LABELS)])
    report = steps.decide(tmp_path / "deep" / "delta.json")
    content = (tmp_path / "deep" / "delta.json").read_bytes()
    assert content == steps.artifact("delta.json")
    document = json.loads(content)
    assert document["format"] == DELTA_FORMAT
    jsonschema.validate(document, DELTA_SCHEMA, cls=jsonschema.Draft202012Validator)
    decision = document["decision"]
    assert (decision["outcome"], decision["metric"], decision["minimum_gain"]) == ("accept", "accuracy", 0.0)
    assert (decision["reason"], decision["is_exploratory"]) == (report.decision.reason, True)
    (values,) = document["deltas"]
    assert (values["baseline"], values["candidate"], values["gain"], values["relative_gain"]) == (0.5, 1.0, 0.5, 1.0)
    assert values["gain_lower"] == report.delta.gain_lower
    assert [each["name"] for each in document["rows"]] == ["base", "more"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["delta.json"]


def test_an_earlier_delta_file_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "delta.json").write_text("x" * 100_000, encoding="utf-8")
    Steps(integrated(LABELS), controls=[Recited(LABELS)], candidates=[Recited(LABELS)]).decide(tmp_path / "delta.json")
    assert json.loads((tmp_path / "delta.json").read_bytes())["format"] == DELTA_FORMAT


def test_a_place_that_cannot_be_written_is_refused_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    steps = Steps(integrated(LABELS), controls=[Recited(LABELS)], candidates=[Recited(LABELS)])
    with pytest.raises(DataError, match=r"cannot be written .*delta\.output"):
        steps.decide(tmp_path / "file" / "delta.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(DataError, match=r"cannot be written .*delta\.output"):
        steps.decide(tmp_path / "folder.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.json"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(control=st.integers(0, 40), candidate=st.integers(0, 40), bar=st.sampled_from([0.0, 0.1, 0.3]))
def test_the_outcome_follows_from_the_interval_and_the_bar(
    tmp_path: Path, control: int, candidate: int, bar: float
) -> None:
    steps = Steps(integrated(LABELS), controls=[Recited(right_in(control))], candidates=[Recited(right_in(candidate))])
    report = steps.decide(
        tmp_path / "delta.json", DeltaSettings(minimum_gain=bar, minimum_positives=1, minimum_discordant_rows=1)
    )
    delta = report.delta
    assert delta.gain == pytest.approx((candidate - control) / 40)
    assert delta.gain_lower is not None
    assert delta.gain_upper is not None
    assert delta.gain_lower <= delta.gain + 1e-12
    assert delta.gain <= delta.gain_upper + 1e-12
    if report.decision.outcome == "accept":
        assert delta.gain_lower > bar or (bar > 0 and delta.gain_lower == bar)
    elif report.decision.outcome == "reject":
        assert delta.gain_upper <= bar
    else:
        assert delta.gain_lower <= bar
        assert delta.gain_upper > 0


def test_a_metric_where_less_is_better_gains_by_falling(tmp_path: Path) -> None:
    labels = [float(each) for each in range(30)]
    noise = np.random.default_rng(0).normal(size=30)
    near, far = ([str(own + size * each) for own, each in zip(labels, noise, strict=True)] for size in (0.1, 3))
    better = Steps(integrated(labels), controls=[Recited(far, classes=())], candidates=[Recited(near, classes=())])
    worse = Steps(integrated(labels), controls=[Recited(near, classes=())], candidates=[Recited(far, classes=())])
    gain = better.decide(tmp_path / "a.json", metric="rmse")
    loss = worse.decide(tmp_path / "b.json", metric="rmse")
    assert (gain.decision.outcome, loss.decision.outcome) == ("accept", "reject")
    assert gain.delta.gain == pytest.approx(-loss.delta.gain)
    assert gain.delta.gain > 0
    assert gain.delta.candidate < gain.delta.baseline
    assert (gain.delta.gain_lower, gain.delta.gain_upper) == pytest.approx(
        (-(loss.delta.gain_upper or 0), -(loss.delta.gain_lower or 0))
    )


def test_nothing_new_is_rejected_whatever_the_scores_say(tmp_path: Path) -> None:
    steps = Steps(integrated(LABELS, kept=0), controls=[Recited(WRONG)], candidates=[Recited(LABELS)])
    decision = steps.decide(tmp_path / "delta.json").decision
    assert decision.outcome == "reject"
    assert decision.reason.startswith("no contributed row is new")


def test_fewer_than_three_seeds_of_a_random_trainer_decide_nothing(tmp_path: Path) -> None:
    outcomes = []
    for count in (1, 2, 3):
        steps = Steps(
            integrated(LABELS),
            controls=[Recited(right_in(20), seed=seed) for seed in range(count)],
            candidates=[Recited(LABELS, seed=seed) for seed in range(count)],
            is_random=True,
        )
        outcomes.append(steps.decide(tmp_path / "delta.json").decision.outcome)
    assert outcomes == ["not enough evidence", "not enough evidence", "accept"]


def test_seeds_that_disagree_widen_the_interval(tmp_path: Path) -> None:
    def width(candidates: list[int]) -> float:
        steps = Steps(
            integrated(LABELS),
            controls=[Recited(right_in(20), seed=seed) for seed in range(3)],
            candidates=[Recited(right_in(count), seed=seed) for seed, count in enumerate(candidates)],
            is_random=True,
        )
        delta = steps.decide(tmp_path / "delta.json").delta
        assert delta.gain_lower is not None
        assert delta.gain_upper is not None
        return delta.gain_upper - delta.gain_lower

    assert width([22, 30, 38]) > 1.5 * width([30, 30, 30])


def test_a_delta_becomes_metrics_of_its_own_name() -> None:
    delta = MetricDelta(
        metric=METRICS["rmse"],
        reference="control",
        baseline=3.0,
        candidate=1.0,
        gain_lower=None,
        gain_upper=None,
        confidence=0.95,
        standard_error=None,
        degrees_of_freedom=None,
    )
    assert delta_metrics(delta) == {"delta.rmse": 2.0}
    given_baseline = dataclasses.replace(delta, reference="baseline", gain_lower=1.0, gain_upper=3.0)
    assert delta_metrics(given_baseline) == {
        "delta_baseline.rmse": 2.0,
        "delta_baseline.rmse.lower": 1.0,
        "delta_baseline.rmse.upper": 3.0,
    }
    assert dataclasses.replace(delta, baseline=0.0).relative_gain is None
    assert delta.relative_gain == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["accuracy", "log_loss"])
def test_no_change_is_no_gain_and_not_minus_nothing(name: str) -> None:
    delta = MetricDelta(
        metric=METRICS[name],
        reference="control",
        baseline=0.5,
        candidate=0.5,
        gain_lower=None,
        gain_upper=None,
        confidence=0.95,
        standard_error=None,
        degrees_of_freedom=None,
    )
    assert math.copysign(1, delta.gain) == 1


def test_the_tags_of_a_model_version_say_what_it_is_worth(tmp_path: Path) -> None:
    steps = Steps(integrated(LABELS), controls=[Recited(right_in(20))], candidates=[Recited(LABELS)])
    tags = model_tags(steps.decide(tmp_path / "delta.json"), models=steps.models)
    assert tags["hokusai.delta.accuracy"] == "0.5"
    assert (tags["hokusai.decision"], tags["hokusai.estimator"]) == ("accept", "recited")


def test_a_recited_model_is_a_fitted_model() -> None:
    model: FittedModel = Recited(LABELS)
    assert model.predict(integrated(LABELS).benchmark, classes=CLASSES).predicted.sum() == 20
