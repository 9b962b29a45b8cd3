"""Step 3 by itself: equal predictions wherever a fit runs, loss curves, failed fits, and what is refused beforehand."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from hokusai.digests import sha256
from hokusai.errors import ConfigurationError, DataError, ModelError
from hokusai.execution.executor import JobResult, SequentialExecutor
from hokusai.execution.local_pool import LocalPool
from hokusai.models.column_kinds import column_kinds
from hokusai.models.trainers import make_trainer
from hokusai.records import ContributionCounts, IntegratedData
from hokusai.steps.fit_jobs import fit_jobs, make_executor
from hokusai.steps.hyperparameter_search import TuningSettings
from hokusai.steps.model_training import TrainingSettings, train_new_model
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.operations import LogArtifact, LogMetrics, LogModel, LogParameters, LogSeries
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hokusai.execution.executor import Executor
    from hokusai.records import FittedModel, TrainedModels
    from hokusai.steps.fit_jobs import FitJob

ESTIMATORS: dict[str, dict[str, Any]] = {
    "LogisticRegression": {},
    "RandomForestClassifier": {"n_estimators": 12},
    "HistGradientBoostingClassifier": {"max_iter": 12},
    "LGBMClassifier": {"n_estimators": 12, "subsample": 0.8, "subsample_freq": 1},
    "XGBClassifier": {"n_estimators": 12, "subsample": 0.8},
}
CLASSES = ("no", "yes")


def mixed_table(rows: int, *, seed: int) -> pa.Table:
    """Numbers, categories, booleans, texts, dates and timestamps, some of them missing; the label follows from them."""
    rng = np.random.default_rng(seed)
    number = rng.normal(size=rows)
    category = rng.choice(["red", "green", "blue", "rare"], size=rows, p=[0.5, 0.3, 0.19, 0.01])
    days = rng.integers(0, 4000, size=rows)
    words = np.array(["late rain in town", "a dry and sunny day", "snow on all the roads", "rain and wind again"])
    label = np.where(number + (category == "red") + days / 4000 + rng.normal(size=rows) > 0.9, "yes", "no")
    gaps = rng.random(rows) < 0.05
    return pa.table(
        {
            "number": pa.array(number, mask=gaps),
            "count": pa.array(rng.integers(0, 50, size=rows), mask=np.roll(gaps, 1)),
            "category": pa.array(category.tolist(), mask=np.roll(gaps, 2)),
            "flag": pa.array((number > 0.3).tolist(), mask=np.roll(gaps, 3)),
            "text": pa.array(rng.choice(words, size=rows).tolist()),
            "date": pa.array(days.astype(np.int32), type=pa.date32(), mask=np.roll(gaps, 4)),
            "time": pa.array(days * 86_400_000_000, type=pa.timestamp("us")),
            "label": pa.array(label.tolist()),
        }
    )


def as_data(base: pa.Table, contributed: pa.Table, benchmark: pa.Table, **others: Any) -> IntegratedData:
    """Put tables together as step 2 does."""
    weight = others.get("sample_weight")
    return IntegratedData(
        base=base,
        integrated=pa.concat_tables([base, contributed]),
        benchmark=benchmark,
        label="label",
        features=tuple(name for name in base.column_names if name not in ("label", weight)),
        versions=(),
        counts=(ContributionCounts(name="base", offered=base.num_rows, kept=base.num_rows),),
        provenance=pa.table({}),
        overlapping=np.zeros(benchmark.num_rows, dtype=bool),
        **others,
    )


def mixed_data(rows: int = 400) -> IntegratedData:
    """Base, contribution and benchmark of mixed columns."""
    return as_data(mixed_table(rows, seed=1), mixed_table(rows // 2, seed=2), mixed_table(150, seed=3))


def numbers_data(labels: Sequence[Any], *, contributed: Sequence[Any] = ("a", "b"), **others: Any) -> IntegratedData:
    """Data of one numeric feature with these labels."""

    def table(values: Sequence[Any]) -> pa.Table:
        return pa.table({"x": np.arange(len(values), dtype=float), "label": pa.array(list(values))})

    return as_data(table(labels), table(contributed), table([*labels, *contributed]), **others)


def train(
    data: IntegratedData, estimator: str = "LogisticRegression", *, folder: Path | None = None, **settings: Any
) -> tuple[TrainedModels, MemoryJournal]:
    """Train, and return what was recorded as well."""
    journal = MemoryJournal()
    chosen = TrainingSettings(estimator=estimator, **({"workers": 1, "keep_controls": False} | settings))
    trainer = make_trainer(estimator, chosen.parameters, folder=folder)
    tracker = Tracker(journal, evaluation="e", run_name="e")
    with tracker.start() as run:
        models = train_new_model(chosen, trainer=trainer, data=data, run=run)
    return models, journal


def recorded(journal: MemoryJournal) -> dict[str, list[float]]:
    """Every metric with its values, by step."""
    found: dict[str, dict[int, float]] = {}
    for operation in journal.operations:
        if isinstance(operation, LogMetrics):
            for name, value in operation.metrics.items():
                found.setdefault(name, {})[operation.step] = value
        elif isinstance(operation, LogSeries):
            steps = range(operation.first_step, operation.first_step + len(operation.values))
            found.setdefault(operation.name, {}).update(zip(steps, operation.values, strict=True))
    return {name: [values[step] for step in sorted(values)] for name, values in found.items()}


def artifact(journal: MemoryJournal, path: str) -> bytes | None:
    """The bytes of a recorded artifact."""
    digests = [each.sha256 for each in journal.operations if isinstance(each, LogArtifact) and each.path == path]
    return journal.staged[digests[-1]] if digests else None


def jobs_of_all(data: IntegratedData) -> list[FitJob]:
    """Two seeds of both arms of every estimator."""
    kinds = column_kinds(data.base, data.features)
    jobs = []
    for name, parameters in ESTIMATORS.items():
        trainer = make_trainer(name, parameters)
        arms = {"control": trainer, "candidate": trainer}
        jobs += fit_jobs(arms, data=data, kinds=kinds, seeds=(0, 1), threads=1)  # type: ignore[arg-type]
    return jobs


def answers(models: Sequence[FittedModel], data: IntegratedData) -> list[bytes]:
    """What models say about the benchmark, bit for bit."""
    said = []
    for model in models:
        predictions = model.predict(data.benchmark, classes=CLASSES)
        assert predictions.probabilities is not None
        said.append(predictions.predicted.tobytes() + predictions.probabilities.tobytes())
    return said


def fitted(executor: Executor, jobs: list[FitJob], data: IntegratedData) -> list[FittedModel]:
    """Run the jobs; the models in the order of the jobs."""
    tables = {"control": data.base, "candidate": data.integrated}
    with closing(executor):
        ended = sorted(executor.run(jobs, tables=tables, on_message=lambda *_: None), key=lambda each: each.job)
    models: list[FittedModel] = [each.value.model for each in ended if isinstance(each, JobResult)]
    assert len(models) == len(jobs), ended
    return models


_PRELOAD = ("hokusai.models.sklearn_trainer", "skrub", "lightgbm", "xgboost")


@pytest.fixture(scope="module")
def sequential_answers() -> list[bytes]:
    """What the models of all estimators say that were fitted one after another in this process."""
    data = mixed_data()
    return answers(fitted(SequentialExecutor(), jobs_of_all(data), data), data)


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_predictions_are_equal_bit_for_bit_whatever_the_number_of_workers(
    workers: int, sequential_answers: list[bytes]
) -> None:
    data = mixed_data()
    jobs = jobs_of_all(data)
    parallel = answers(fitted(LocalPool(workers=workers, preload=_PRELOAD), jobs, data), data)
    differing = {
        job.trainer.name for job, one, other in zip(jobs, parallel, sequential_answers, strict=True) if one != other
    }
    assert not differing
    # Seeds and arms do differ: the comparison compares something.
    assert len(set(parallel)) >= len(ESTIMATORS) * 2


def test_predictions_are_equal_bit_for_bit_in_another_process(
    tmp_path: Path, sequential_answers: list[bytes], subprocess_environment: dict[str, str]
) -> None:
    data = mixed_data()
    kept = tmp_path / "jobs.pickle"
    kept.write_bytes(pickle.dumps((jobs_of_all(data), data)))
    script = (
        "import pickle, sys, pathlib\n"
        "jobs, data = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "tables = {'control': data.base, 'candidate': data.integrated}\n"
        "said = [job(tables, lambda loss: None).model.predict(data.benchmark, classes=('no', 'yes')) for job in jobs]\n"
        "said = [each.predicted.tobytes() + each.probabilities.tobytes() for each in said]\n"
        "pathlib.Path(sys.argv[2]).write_bytes(pickle.dumps(said))\n"
    )
    answered = tmp_path / "answers.pickle"
    subprocess.run([sys.executable, "-c", script, kept, answered], check=True, env=subprocess_environment)
    assert pickle.loads(answered.read_bytes()) == sequential_answers  # noqa: S301 - written by this test


def test_a_whole_training_is_the_same_with_two_workers_and_its_loss_curves_are_on_record() -> None:
    columns = ["number", "category", "flag", "label"]
    data = as_data(*(mixed_table(rows, seed=rows).select(columns) for rows in (400, 200, 100)))
    settings: dict[str, Any] = {"seeds": 2, "parameters": {"n_estimators": 7}}
    alone, alone_journal = train(data, "LGBMClassifier", **settings)
    together, together_journal = train(data, "LGBMClassifier", **settings, workers=2)
    for arm in ("controls", "candidates"):
        assert answers(getattr(alone, arm), data) == answers(getattr(together, arm), data)
    assert [model.seed for model in together.candidates] == [0, 1]
    metrics, again = recorded(alone_journal), recorded(together_journal)
    assert (metrics["training.workers"], again["training.workers"]) == ([1.0], [2.0])
    for arm in ("control", "candidate"):
        assert len(metrics[f"training.{arm}.fit_seconds"]) == 2
        for seed in (0, 1):
            name = f"training.{arm}.seed_{seed}.train_loss"
            assert len(metrics[name]) == 7
            assert metrics[name] == sorted(metrics[name], reverse=True)
            assert metrics[name] == again[name]
    assert metrics["training.control.rows"] == [400.0]
    assert metrics["training.candidate.rows"] == [600.0]


def test_what_was_trained_and_how_is_on_record() -> None:
    data = mixed_data(60)
    models, journal = train(data, "LogisticRegression", parameters={"C": 0.5}, threads=1)
    parameters: dict[str, str] = {}
    for operation in journal.operations:
        if isinstance(operation, LogParameters):
            parameters |= operation.parameters
    assert parameters["training.threads"] == "1"
    assert parameters["training.tuning.trials"] == "0"
    assert json.loads(parameters["training.column_kinds"]) == column_kinds(data.base, data.features)
    assert json.loads(parameters["training.seeds"]) == [0]
    [logged] = [each for each in journal.operations if isinstance(each, LogModel)]
    assert models.model_sha256 == logged.sha256 == sha256(journal.staged[logged.sha256])
    assert models.model_name == logged.name == "candidate"
    assert set(logged.example) == set(data.features)
    assert recorded(journal)["training.failed_fits"] == [0.0]
    assert artifact(journal, "failed_fits.json") is None


_OWN_TRAINER = """
import dataclasses, os, signal
from hokusai.errors import TrainingError
from hokusai.models.trainers import make_trainer
from threadpoolctl import threadpool_info

@dataclasses.dataclass(frozen=True)
class Model:
    inner: object
    threads: tuple
    seed: int
    features = ("x",)
    classes = ("a", "b")
    def predict(self, table, *, classes): return self.inner.predict(table, classes=classes)
    def to_file(self, *, name, example):
        return dataclasses.replace(self.inner.to_file(name=name, example=example), content=b"seed %d" % self.seed)

@dataclasses.dataclass(frozen=True)
class Own:
    failing: tuple = ()
    dying: tuple = ()
    limit: int = 0
    name, task, is_random = "own", "classification", True
    def with_parameters(self, parameters): return dataclasses.replace(self, **parameters)
    def fit(self, data, *, seed, progress):
        if data.table.num_rows > self.limit:
            if seed in self.failing:
                raise TrainingError("own", seed=seed, reason=f"seed {seed} is unlucky.")
            if seed in self.dying:
                os.kill(os.getpid(), signal.SIGKILL)
        progress("train_loss", 0, 3.0)
        progress("train_loss", 1, 2.0)
        progress("validation_loss", 5, 9.0)
        inner = make_trainer("LogisticRegression", {}).fit(data, seed=seed, progress=progress)
        return Model(inner, tuple(sorted({each["num_threads"] for each in threadpool_info()})), seed)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a module of a trainer that fails, or dies, as its parameters say."""
    (tmp_path / "own_for_step_3.py").write_text(_OWN_TRAINER)
    return tmp_path


def test_a_seed_that_fails_or_dies_in_one_arm_is_left_out_of_both_and_reported(own: Path) -> None:
    data = numbers_data("aabbaabb", contributed="ab")
    parameters = {"failing": [1], "dying": [3], "limit": 8}
    models, journal = train(data, "own_for_step_3:Own", folder=own, parameters=parameters, seeds=5, workers=2)
    for arm in (models.controls, models.candidates):
        assert [model.seed for model in arm] == [0, 2, 4]
    assert [(each.arm, each.seed) for each in models.failures] == [("candidate", 1), ("candidate", 3)]
    assert models.failures[0].reason == "seed 1 is unlucky."
    assert "killed from outside" in models.failures[1].reason
    assert recorded(journal)["training.failed_fits"] == [2.0]
    document = artifact(journal, "failed_fits.json")
    assert document is not None
    assert json.loads(document) == [dataclasses.asdict(each) for each in models.failures]


def test_the_first_seed_that_is_left_is_the_one_that_is_kept(own: Path) -> None:
    data = numbers_data("aabbaabb", contributed="ab")
    models, _ = train(data, "own_for_step_3:Own", folder=own, parameters={"failing": [0], "limit": 8}, seeds=2)
    assert [model.seed for model in models.candidates] == [1]
    assert models.model_sha256 == sha256(b"seed 1")


@pytest.mark.parametrize("limit", [0, 8])
def test_when_no_seed_succeeds_in_both_arms_the_first_reason_is_named(own: Path, limit: int) -> None:
    data = numbers_data("aabbaabb", contributed="ab")
    parameters = {"failing": [0, 1], "limit": limit}
    arm = "candidate" if limit else "control"
    with pytest.raises(ModelError, match=rf"\({arm}, seed 0\): seed 0 is unlucky"):
        train(data, "own_for_step_3:Own", folder=own, parameters=parameters, seeds=2)


@pytest.mark.parametrize(("workers", "threads"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_every_fit_has_the_threads_of_the_settings_here_and_in_workers(own: Path, workers: int, threads: int) -> None:
    data = numbers_data("aabbaabb", contributed="ab")
    models, _ = train(data, "own_for_step_3:Own", folder=own, seeds=2, workers=workers, threads=threads)
    for model in (*models.controls, *models.candidates):
        assert max(model.threads) == threads  # type: ignore[attr-defined]


def test_series_begin_at_the_iteration_that_was_told(own: Path) -> None:
    _, journal = train(numbers_data("aabb"), "own_for_step_3:Own", folder=own, seeds=1)
    series = {each.name: each for each in journal.operations if isinstance(each, LogSeries)}
    assert series["training.control.seed_0.train_loss"].values == (3.0, 2.0)
    assert series["training.candidate.seed_0.validation_loss"].first_step == 5


def test_small_work_stays_in_this_process() -> None:
    _, journal = train(numbers_data("aabb"), "RandomForestClassifier", parameters={"n_estimators": 2}, workers=0)
    assert recorded(journal)["training.workers"] == [1.0]


def test_more_workers_than_fits_are_not_started() -> None:
    data = numbers_data("aabb")
    trainer = make_trainer("LogisticRegression", {})
    jobs = fit_jobs({"control": trainer, "candidate": trainer}, data=data, kinds={"x": "number"}, seeds=(0,), threads=1)
    with closing(make_executor(9, jobs=jobs)) as executor:
        assert executor.workers == 2
    with closing(make_executor(9, jobs=jobs[:1])) as executor:
        assert executor.workers == 1


def test_three_rows_are_enough() -> None:
    models, _ = train(numbers_data("aab"), "HistGradientBoostingClassifier", seeds=1)
    assert models.classes == ("a", "b")


def test_a_class_of_the_contribution_alone_and_one_of_the_benchmark_alone_are_said() -> None:
    data = numbers_data("aabb", contributed="acc")
    benchmark = pa.table({"x": [0.0, 1.0], "label": ["a", "d"]})
    models, journal = train(dataclasses.replace(data, benchmark=benchmark))
    assert models.classes == ("a", "b", "c", "d")
    assert models.candidates[0].classes == ("a", "b", "c")
    new, unknown = models.notes
    assert "'c'" in new
    assert "base" in new
    assert "'d'" in unknown
    assert unknown.startswith("Only the benchmark")
    assert artifact(journal, "training-notes.txt") == f"{new}\n{unknown}\n".encode()


def test_equal_classes_need_no_note() -> None:
    models, journal = train(numbers_data("aabb"))
    assert models.notes == ()
    assert artifact(journal, "training-notes.txt") is None


@pytest.mark.parametrize(
    ("estimator", "parameters", "labels", "message"),
    [
        ("LogisticRegression", {}, "aaaa", "two classes"),
        ("LogisticRegression", {}, "a", "has 1 row"),
        ("LogisticRegression", {}, [0.5, 1.5, 2.0], "has fractions"),
        ("Ridge", {}, "abab", "choose a classifier"),
        ("Ridge", {}, [1.0, float("inf"), 2.0], "not a finite number"),
        ("KNeighborsClassifier", {"n_neighbors": 5}, "aabb", "5 neighbours"),
        ("QuadraticDiscriminantAnalysis", {}, "aaab", "one row alone"),
        ("HistGradientBoostingClassifier", {"early_stopping": True}, "aaaaaab", "one row alone"),
        ("SGDClassifier", {"early_stopping": True}, "aaaaaab", "one row alone"),
        ("GradientBoostingClassifier", {"n_iter_no_change": 2}, "aaaaaab", "one row alone"),
        ("LGBMClassifier", {"early_stopping_round": 2}, "aaaaaab", "one row alone"),
        ("MLPClassifier", {"early_stopping": True}, "aaaaaab", "one row alone"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_before_training(
    estimator: str, parameters: dict[str, Any], labels: Sequence[Any], message: str
) -> None:
    contributed = labels[:1] if isinstance(labels, list) else "aa"
    data = numbers_data(labels, contributed=contributed)
    with pytest.raises(DataError, match=f"(?i){message}") as caught:
        train(data, estimator, parameters=parameters)
    assert caught.value.source == "base data"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        ("HistGradientBoostingClassifier", {}),
        ("HistGradientBoostingClassifier", {"early_stopping": True, "validation_fraction": None}),
        ("RandomForestClassifier", {"n_estimators": 2}),
        ("LGBMClassifier", {"n_estimators": 2}),
    ],
)
def test_a_class_with_one_row_is_no_reason_to_refuse_where_it_can_be_trained_on(
    estimator: str, parameters: dict[str, Any]
) -> None:
    models, _ = train(numbers_data("a" * 30 + "b"), estimator, parameters=parameters, seeds=1)
    assert models.controls[0].classes == ("a", "b")


def test_a_single_row_among_three_classes_does_not_keep_a_neural_network_from_stopping_early() -> None:
    data = numbers_data("a" * 20 + "b" * 20 + "c")
    models, _ = train(data, "MLPClassifier", parameters={"early_stopping": True, "max_iter": 2}, seeds=1)
    assert models.controls[0].classes == ("a", "b", "c")


def test_a_class_of_which_the_contribution_brings_one_row_is_refused_where_it_cannot_be_trained_on() -> None:
    data = numbers_data("aaabbb", contributed="c")
    with pytest.raises(DataError, match="'c'") as caught:
        train(data, "SGDClassifier", parameters={"early_stopping": True})
    assert caught.value.source == "base data with contributions"


def weighted(weights: Sequence[Any]) -> IntegratedData:
    """Eight rows with these weights."""
    rows = {"x": np.arange(8.0), "label": list("aabbaabb"), "weight": pa.array(list(weights))}
    return as_data(pa.table(rows), pa.table(rows).slice(0, 2), pa.table(rows), sample_weight="weight")


def test_weights_that_are_all_zero_are_refused_before_training() -> None:
    with pytest.raises(DataError, match="zero in every row"):
        train(weighted([0.0] * 8))


def test_weights_count_and_an_estimator_that_takes_none_is_refused() -> None:
    plain, heavy = (train(weighted(weights))[0] for weights in ([1.0] * 8, [5.0, 5.0] + [1.0] * 6))
    data = weighted([1.0] * 8)
    said = [models.controls[0].predict(data.benchmark, classes=("a", "b")) for models in (plain, heavy)]
    assert pickle.dumps(said[0].probabilities) != pickle.dumps(said[1].probabilities)
    with pytest.raises(ConfigurationError) as caught:
        train(data, "KNeighborsClassifier", parameters={"n_neighbors": 2})
    assert caught.value.key == "training.estimator"


def test_tuning_without_a_metric_is_refused() -> None:
    tuning = TuningSettings(trials=2, space={"C": [0.1, 1.0]})
    with pytest.raises(ConfigurationError) as caught:
        train(numbers_data("aabb"), tuning=tuning)
    assert caught.value.key == "training.tuning.trials"
