"""The hyperparameter search: within the base data alone, with one budget and one set of folds for both arms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from hokusai.analysis.metrics import METRICS
from hokusai.datasets.reader_process import TableReader
from hokusai.errors import ConfigurationError, DataError, ModelError, TrainingError
from hokusai.models.column_kinds import column_kinds
from hokusai.models.labels import label_texts, label_values
from hokusai.records import ModelFile, Predictions
from hokusai.steps.data_integration import integrate_contributed_data
from hokusai.steps.data_settings import ContributionSettings, DataSettings
from hokusai.steps.hyperparameter_search import TuningSettings, require_space, tune
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.operations import LogArtifact, LogMetrics
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hokusai.digests import JsonValue
    from hokusai.models.trainers import Progress, TrainingTable
    from hokusai.records import IntegratedData, Task
    from hokusai.steps.hyperparameter_search import TunedTrainers

READER = TableReader()
ACCURACY = METRICS["accuracy"]


@pytest.fixture(autouse=True, scope="module")
def _reader_ends() -> Iterator[None]:
    """One reading process for all tests of this module."""
    yield
    READER.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The ``k`` nearest training rows by the column ``x`` vote; it remembers what it was fitted to."""

    k: int = 1
    task: Task = "classification"
    fitted: list[tuple[int, TrainingTable, int]] = field(default_factory=list, compare=False)
    asked: list[pa.Table] = field(default_factory=list, compare=False)

    name = "tests.Neighbours"
    is_random = False

    def with_parameters(self, parameters: Mapping[str, Any]) -> Neighbours:
        """Change the number of neighbours."""
        unknown = sorted(set(parameters) - {"k"})
        if unknown:
            problem = f"Neighbours has no parameter {unknown[0]!r}, expected k."
            raise ConfigurationError(problem, key=f"training.parameters.{unknown[0]}")
        return replace(self, **parameters)

    def fit(self, data: TrainingTable, *, seed: int, progress: Progress) -> Voters:
        """Remember the rows."""
        self.fitted.append((self.k, data, seed))
        if self.k > data.table.num_rows:
            raise TrainingError(self.name, seed=seed, reason=f"{self.k} neighbours of {data.table.num_rows} rows.")
        progress("train_loss", 0, 0.0)
        return Voters(trainer=self, data=data, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voters:
    """What Neighbours has fitted."""

    trainer: Neighbours
    data: TrainingTable
    seed: int

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that it predicts from."""
        return self.data.features

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the training rows."""
        return label_texts(np.unique(label_values(self.data.table[self.data.label])))

    def predict(self, table: pa.Table, *, classes: tuple[str, ...]) -> Predictions:
        """Let the neighbours vote."""
        self.trainer.asked.append(table)
        here, there = (np.asarray(part["x"], dtype=np.float64) for part in (table, self.data.table))
        nearest = np.argsort(np.abs(here[:, None] - there[None, :]), axis=1, kind="stable")[:, : self.trainer.k]
        labels = label_values(self.data.table[self.data.label])
        if not classes:
            return Predictions(predicted=labels[nearest].mean(axis=1))
        codes = np.array([classes.index(text) for text in label_texts(labels)])
        votes = np.stack([(codes[nearest] == code).mean(axis=1) for code in range(len(classes))], axis=1)
        return Predictions(predicted=votes.argmax(axis=1), probabilities=votes)

    def to_file(self, *, name: str, example: Mapping[str, JsonValue]) -> ModelFile:
        """Not needed here."""
        raise NotImplementedError


def noisy_rows(start: int, rows: int, *, wrong: float = 0.3) -> pa.Table:
    """A label that says whether ``x`` is beyond 100, but for a share of wrong ones; ``name`` tells rows apart."""
    numbers = np.arange(start, start + rows)
    x = (numbers * 37 % 200) + start / 1000
    labels = (x > 100) ^ (np.random.default_rng(start).random(rows) < wrong)
    return pa.table({"name": [f"r{number}" for number in numbers], "x": x, "y": np.where(labels, "yes", "no")})


def integrated(
    base: pa.Table, contribution: pa.Table, *, benchmark: pa.Table | None = None, **arguments: Any
) -> IntegratedData:
    """Integrate tables in memory; ``name`` is the key, and no feature."""
    tables = {
        "base": base,
        "more": contribution,
        "benchmark": noisy_rows(5001, 10) if benchmark is None else benchmark,
    }
    defaults: dict[str, Any] = {"key": ("name",), "merge": "update", "near_duplicates": "off"}
    settings = DataSettings(
        base=Path("base.csv"),
        benchmark=Path("benchmark.csv"),
        label="y",
        features=("x",),
        contributions=(ContributionSettings(path=Path("more.csv")),),
        **defaults | arguments,
    )
    with Tracker(MemoryJournal(), evaluation="e", run_name="r").start() as run:
        return integrate_contributed_data(
            settings, run=run, reader=READER, now=datetime(2030, 1, 2, tzinfo=UTC), tables=tables
        )


def tuned(
    data: IntegratedData,
    *,
    trainer: Neighbours | None = None,
    space: dict[str, Any] | None = None,
    trials: int = 6,
    folds: int = 3,
    metric: str = "accuracy",
    given: dict[str, Any] | None = None,
) -> tuple[TunedTrainers, MemoryJournal]:
    journal = MemoryJournal()
    trainer = trainer or Neighbours()
    with Tracker(journal, evaluation="e", run_name="r").start() as run:
        found = tune(
            TuningSettings(trials=trials, folds=folds, space=space or {"k": {"low": 1, "high": 25, "step": 2}}),
            trainer=trainer.with_parameters(given or {}),
            given=given or {},
            data=data,
            kinds=column_kinds(data.base, data.features),
            metric=METRICS[metric],
            run=run,
        )
    return found, journal


def document(journal: MemoryJournal, arm: str) -> dict[str, Any]:
    (entry,) = [
        each for each in journal.operations if isinstance(each, LogArtifact) and each.path == f"tuning-{arm}.json"
    ]
    found = json.loads(journal.staged[entry.sha256])
    assert isinstance(found, dict)
    return found


def names(table: pa.Table) -> set[str]:
    return set(table["name"].to_pylist())


def fits(trainer: Neighbours) -> tuple[list[tuple[pa.Table, pa.Table]], list[tuple[pa.Table, pa.Table]]]:
    """Return trained and scored rows of every fit: the control's, then the candidate's."""
    pairs = [(training.table, asked) for (_, training, _), asked in zip(trainer.fitted, trainer.asked, strict=True)]
    return pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]


BASE = noisy_rows(0, 90)
MORE = noisy_rows(1003, 60)


def test_both_arms_have_one_budget_and_the_same_folds_of_the_base() -> None:
    data = integrated(BASE, MORE)
    trainer = Neighbours()
    tuned(data, trainer=trainer, trials=4, folds=3, space={"k": [3, 5, 7, 9, 11, 13]})
    control, candidate = fits(trainer)
    scored = [names(asked) for _, asked in control[:3]]
    assert set.union(*scored) == names(BASE)
    assert sum(map(len, scored)) == 90
    for number, (training, asked) in enumerate(control):
        assert names(asked) == scored[number % 3]
        assert names(training) == names(BASE) - names(asked)
    for number, (training, asked) in enumerate(candidate):
        assert names(asked) == scored[number % 3]
        assert names(training) == (names(BASE) - names(asked)) | names(MORE)
    assert {seed for _, _, seed in trainer.fitted} == {0}


def test_the_budget_counts_the_given_parameters_and_is_the_same_for_both_arms() -> None:
    _, journal = tuned(integrated(BASE, MORE), trials=5, given={"k": 3})
    for arm in ("control", "candidate"):
        trials = document(journal, arm)["trials"]
        assert [trial["number"] for trial in trials] == [0, 1, 2, 3, 4]
        assert trials[0]["parameters"] == {"k": 3}


def test_the_search_does_not_look_at_the_benchmark() -> None:
    lying = pa.table({"name": ["b1", "b2", "b3"], "x": [0.5, 1.5, 2.5], "y": ["yes", "never", "no"]})
    trainers = Neighbours(), Neighbours()
    documents = []
    for trainer, benchmark in zip(trainers, (None, lying), strict=True):
        _, journal = tuned(integrated(BASE, MORE, benchmark=benchmark), trainer=trainer)
        documents.append([document(journal, arm) for arm in ("control", "candidate")])
        for training, asked in (pair for pairs in fits(trainer) for pair in pairs):
            assert not (names(training) | names(asked)) & {"b1", "b2", "b3"}
    assert documents[0] == documents[1]


def test_the_controls_search_is_the_same_whatever_is_contributed() -> None:
    searches = []
    for more in (MORE, noisy_rows(2003, 7, wrong=1.0)):
        found, journal = tuned(integrated(BASE, more))
        searches.append((found.parameters["control"], document(journal, "control")))
    assert searches[0] == searches[1]


@pytest.mark.parametrize("winner", ["first", "last"])
def test_with_update_a_row_that_took_a_scored_rows_place_is_not_trained_on(winner: str) -> None:
    changed = BASE.slice(0, 30).set_column(1, "x", pa.array(np.arange(30) + 500.5))
    data = integrated(BASE, pa.concat_tables([changed, MORE]), winner=winner)
    assert data.counts[0].replaced == (30 if winner == "last" else 0)
    trainer = Neighbours()
    tuned(data, trainer=trainer, trials=1)
    control, candidate = fits(trainer)
    for (_, asked), (training, asked_of_candidate) in zip(control, candidate, strict=True):
        assert asked_of_candidate.equals(asked)
        assert names(training) == (names(BASE) - names(asked)) | names(MORE)
    moved = {x for training, _ in candidate for x in training["x"].to_pylist() if x >= 500}
    assert len(moved) == (30 if winner == "last" else 0)


@pytest.mark.parametrize("merge", ["append", "replace"])
def test_copies_of_scored_rows_are_not_trained_on_even_where_copies_are_kept(merge: str) -> None:
    flipped = BASE.slice(0, 20).set_column(
        2, "y", pa.array(["no" if y == "yes" else "yes" for y in BASE["y"].to_pylist()[:20]])
    )
    more = pa.concat_tables([BASE.slice(20), flipped, MORE])
    data = integrated(BASE, more, merge=merge, key=(), duplicates="keep")
    trainer = Neighbours()
    tuned(data, trainer=trainer, trials=1)
    control, candidate = fits(trainer)
    for (_, asked), (training, asked_of_candidate) in zip(control, candidate, strict=True):
        assert asked_of_candidate.equals(asked)
        trained, scored = set(training["x"].to_pylist()), set(asked["x"].to_pylist())
        assert not trained & scored
        assert trained == (set(BASE["x"].to_pylist()) - scored) | set(MORE["x"].to_pylist())


def test_a_contribution_that_is_called_base_is_no_base_data() -> None:
    base = BASE.drop_columns("name")
    more = MORE.drop_columns("name")
    named = integrated(base, more, merge="append", key=())
    provenance = named.provenance.set_column(0, "contribution", pa.array(["base"] * len(named.provenance)))
    trainers = Neighbours(), Neighbours()
    for trainer, data in zip(trainers, (named, replace(named, provenance=provenance)), strict=True):
        tuned(data, trainer=trainer, trials=1)
    assert [training.table for _, training, _ in trainers[0].fitted] == [
        training.table for _, training, _ in trainers[1].fitted
    ]


def test_replaced_base_rows_are_scored_and_never_trained_on() -> None:
    data = integrated(BASE, MORE, merge="replace", key=())
    trainer = Neighbours()
    _, journal = tuned(data, trainer=trainer, trials=2)
    _, candidate = fits(trainer)
    xs = set(MORE["x"].to_pylist())
    assert all(set(training["x"].to_pylist()) == xs for training, _ in candidate)
    assert sum(fold["scored_rows"] for fold in document(journal, "candidate")["folds"]) == 90


def test_tuning_finds_better_parameters_and_keeps_the_given_ones_where_it_does_not() -> None:
    data = integrated(BASE, MORE)
    found, journal = tuned(data, trials=8, given={"k": 1})
    for arm in ("control", "candidate"):
        trials = document(journal, arm)["trials"]
        best = max(trials, key=lambda trial: (trial["mean_score"], -trial["number"]))
        assert document(journal, arm)["chosen"] == best["number"] > 0
        assert found.parameters[arm] == best["parameters"]
        assert found.trainers[arm] == Neighbours(k=best["parameters"]["k"])
        assert best["parameters"]["k"] > 1
        assert best["mean_score"] > trials[0]["mean_score"] + 0.1
        assert trials[0]["mean_score"] == pytest.approx(sum(trials[0]["scores"]) / 3)
    untouched, journal = tuned(data, trials=8, space={"k": [1]}, given={"k": 1})
    assert untouched.parameters == {"control": {"k": 1}, "candidate": {"k": 1}}
    assert document(journal, "candidate")["chosen"] == 0


def test_a_metric_that_should_be_small_is_made_small() -> None:
    _, journal = tuned(integrated(BASE, MORE), metric="log_loss", space={"k": [3, 9, 29, 45]}, given={"k": 45})
    trials = [trial for trial in document(journal, "control")["trials"] if trial["mean_score"] is not None]
    chosen = document(journal, "control")["chosen"]
    assert next(trial for trial in trials if trial["number"] == chosen)["mean_score"] == min(
        trial["mean_score"] for trial in trials
    )


def test_regression_is_tuned_as_well_towards_smaller_errors() -> None:
    def numbers(table: pa.Table) -> pa.Table:
        return table.set_column(2, "y", pa.array(np.asarray(table["x"]) ** 2))

    data = integrated(numbers(BASE), numbers(MORE), benchmark=numbers(noisy_rows(5001, 10)))
    trainer, space = Neighbours(task="regression"), {"k": {"low": 1, "high": 60}}
    _, journal = tuned(data, trainer=trainer, metric="rmse", given={"k": 60}, trials=40, space=space)
    kept = document(journal, "control")
    errors = [trial["mean_score"] for trial in kept["trials"]]
    assert errors[kept["chosen"]] == min(errors) < errors[0]
    assert np.mean(errors[-10:]) < np.mean(errors[1:11]) / 2
    assert kept["higher_is_better"] is False


def test_what_was_tried_is_on_record() -> None:
    _, journal = tuned(integrated(BASE, MORE), trials=4, space={"k": [3, 5, 9]}, given={"k": 1})
    for arm, rows in (("control", 60), ("candidate", 120)):
        kept = document(journal, arm)
        assert kept["version"] == 1
        assert kept["arm"] == arm
        assert kept["estimator"] == "tests.Neighbours"
        assert kept["metric"] == "accuracy"
        assert kept["space"] == {"k": [3, 5, 9]}
        assert kept["folds"] == [{"training_rows": rows, "scored_rows": 30}] * 3
        points = {
            entry.step: entry.metrics[f"training.{arm}.tuning_score"]
            for entry in journal.operations
            if isinstance(entry, LogMetrics) and f"training.{arm}.tuning_score" in entry.metrics
        }
        assert points == {trial["number"]: trial["mean_score"] for trial in kept["trials"]}


def test_a_failed_trial_is_on_record_and_the_others_go_on() -> None:
    found, journal = tuned(integrated(BASE, MORE), space={"k": [5, 500]}, given={"k": 500}, trials=8)
    trials = document(journal, "control")["trials"]
    assert (trials[0]["state"], trials[0]["mean_score"], trials[0]["scores"]) == ("failed", None, [])
    assert "500 neighbours of 60 rows" in trials[0]["problem"]
    assert found.parameters == {"control": {"k": 5}, "candidate": {"k": 5}}


def test_when_every_trial_fails_the_reason_is_said_and_the_trials_are_on_record() -> None:
    journal = MemoryJournal()
    data = integrated(BASE, MORE)
    with (
        Tracker(journal, evaluation="e", run_name="r").start() as run,
        pytest.raises(ModelError, match=r"control: all 3 trials failed.*500 neighbours of 60 rows"),
    ):
        tune(
            TuningSettings(trials=3, space={"k": [501, 502]}),
            trainer=Neighbours(k=500),
            given={"k": 500},
            data=data,
            kinds=column_kinds(data.base, data.features),
            metric=ACCURACY,
            run=run,
        )
    assert [trial["state"] for trial in document(journal, "control")["trials"]] == ["failed"] * 3
    assert document(journal, "control")["chosen"] is None


def test_a_class_with_one_row_is_not_scored_and_one_that_only_the_contribution_brings_is_no_obstacle() -> None:
    lonely = pa.table({"name": ["lonely"], "x": [55.5], "y": ["maybe"]})
    new = pa.table({"name": ["n1", "n2"], "x": [56.5, 57.5], "y": ["never", "never"]})
    trainer = Neighbours()
    data = integrated(pa.concat_tables([BASE, lonely]), pa.concat_tables([MORE, new]))
    _, journal = tuned(data, trainer=trainer, metric="f1", trials=2)
    for arm in ("control", "candidate"):
        assert [trial["state"] for trial in document(journal, arm)["trials"]] == ["complete", "complete"]
    for training, asked in (pair for pairs in fits(trainer) for pair in pairs):
        assert "lonely" in names(training)
        assert "lonely" not in names(asked)


@pytest.mark.parametrize(("rows", "folds"), [(3, 2), (90, 50), (1, 2)])
def test_too_few_rows_for_the_folds_are_refused_in_so_many_words(rows: int, folds: int) -> None:
    with pytest.raises(DataError, match=rf"{rows} rows, too few for {folds} folds.*training\.tuning\.folds"):
        tuned(integrated(noisy_rows(0, rows), MORE), folds=folds)


def test_the_note_says_how_the_arms_differ() -> None:
    data = integrated(BASE, MORE)
    same, _ = tuned(data, space={"k": [1]}, given={"k": 1}, trials=2)
    assert "2 trials and 3 folds" in same.note
    assert "same hyperparameters" in same.note
    misled = integrated(BASE, noisy_rows(1003, 120, wrong=1.0))
    found, _ = tuned(misled, given={"k": 1}, space={"k": [1, 41]})
    assert "k is 41 for the control and 1 for the candidate" in found.note
    found, _ = tuned(misled, space={"k": [41]})
    assert "k is 41 for the control and the default for the candidate" in found.note


@pytest.mark.parametrize(
    ("space", "key"),
    [
        ({}, ""),
        ({"n_neighbors": [1]}, ".n_neighbors"),
        ({"k": []}, ".k"),
        ({"k": {"low": 3, "high": 1}}, ".k.low"),
        ({"k": {"low": 0, "high": 1, "log": True}}, ".k.low"),
    ],
)
def test_a_bad_space_is_refused_by_its_key_before_any_work(space: dict[str, Any], key: str) -> None:
    trainer = Neighbours()
    with pytest.raises(ConfigurationError) as caught:
        require_space(TuningSettings(trials=5, space=space), trainer)
    assert caught.value.key == f"training.tuning.space{key}"
    assert trainer.fitted == []


@pytest.mark.parametrize("name", ["random_state", "seed", "random_seed", "model__random_state"])
def test_a_seed_is_not_searched_even_if_the_trainer_would_take_it(name: str) -> None:
    class Willing(Neighbours):
        def with_parameters(self, parameters: Mapping[str, Any]) -> Neighbours:  # noqa: ARG002
            """Take whatever comes."""
            return self

    with pytest.raises(ConfigurationError, match="seed belongs to Hokusai") as caught:
        require_space(TuningSettings(trials=5, space={name: [1, 2]}), Willing())
    assert caught.value.key == f"training.tuning.space.{name}"


def test_no_trials_need_no_space_and_a_good_space_passes() -> None:
    require_space(TuningSettings(), Neighbours())
    require_space(TuningSettings(trials=2, space={"k": {"low": 1, "high": 9}}), Neighbours())


SEARCH = """
import json, sys
sys.path.insert(0, sys.argv[1])
import test_hyperparameter_search as module
try:
    found, journal = module.tuned(module.integrated(module.BASE, module.MORE), trials=14, given={"k": 1})
    print(json.dumps([dict(found.parameters), [module.document(journal, arm) for arm in found.parameters]]))
finally:
    module.READER.close()
"""


def test_two_processes_try_and_choose_the_same(tmp_path: Path) -> None:
    script = tmp_path / "search.py"
    script.write_text(SEARCH, encoding="utf-8")
    answers = [
        subprocess.run(
            [sys.executable, str(script), str(Path(__file__).parent)],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        for seed in ("1", "2")
    ]
    assert json.loads(answers[0].stdout) == json.loads(answers[1].stdout)
    assert len({trial["parameters"]["k"] for trial in json.loads(answers[0].stdout)[1][0]["trials"]}) > 5
    assert answers[0].stderr == ""
