"""Step 3 by itself: kept fits of the control, fits look by look, and arms that should gain nothing."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from hokusai.datasets.reader_process import TableReader
from hokusai.errors import ConfigurationError, ModelError
from hokusai.models.fit_identity import fit_identity
from hokusai.models.kept_predictions import KeptControl
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.models.sklearn_trainer import SklearnTrainer
from hokusai.models.trainers import make_trainer
from hokusai.pipeline import evaluate_contribution
from hokusai.records import ContributionCounts, EvaluationIdentity, IntegratedData
from hokusai.steps.interim_analysis import InterimVerdict, SequentialSettings, seed_plan
from hokusai.steps.model_training import TrainingSettings, train_new_model
from hokusai.steps.negative_controls import contributed_rows, negative_control_tables
from hokusai.testing.sample_data import penguins_config
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.operations import LogArtifact, LogMetrics, LogParameters, LogSeries
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hokusai.records import FittedModel, TrainedModels
    from hokusai.steps.interim_analysis import InterimAnalysis

FOREST: dict[str, Any] = {"estimator": "RandomForestClassifier", "parameters": {"n_estimators": 2}}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the kept fits, empty at first."""
    monkeypatch.setenv("HOKUSAI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "controls"


def table(rows: int, *, seed: int, labels: Sequence[object] = ("no", "yes")) -> pa.Table:
    """Two numbers and a category, and a label that follows from them."""
    rng = np.random.default_rng(seed)
    number, other = rng.normal(size=(2, rows))
    codes = np.digitize(number + rng.normal(size=rows) / 2, np.linspace(-0.5, 0.5, len(labels) - 1))
    return pa.table(
        {
            "number": number,
            "other": pa.array(other, mask=rng.random(rows) < 0.05),
            "category": rng.choice(["red", "green", "blue"], size=rows).tolist(),
            "label": [labels[code] for code in codes],
        }
    )


def data_of(base: pa.Table, contributed: pa.Table, benchmark: pa.Table, *, replaced: int = 0) -> IntegratedData:
    """Put tables together as step 2 does; the first base rows may be replaced."""
    return IntegratedData(
        base=base,
        integrated=pa.concat_tables([base.slice(replaced), contributed]),
        benchmark=benchmark,
        label="label",
        features=tuple(name for name in base.column_names if name != "label"),
        versions=(),
        counts=(ContributionCounts(name="base", offered=base.num_rows, kept=base.num_rows, replaced=replaced),),
        provenance=pa.table({}),
        overlapping=np.zeros(benchmark.num_rows, dtype=bool),
    )


def usual_data(**others: Any) -> IntegratedData:
    """Base, contribution and benchmark."""
    return data_of(table(80, seed=1, **others), table(40, seed=2, **others), table(50, seed=3, **others))


class Trained:
    """What came of a training, and what was recorded."""

    def __init__(
        self,
        data: IntegratedData,
        *,
        folder: Path | None = None,
        interim: InterimAnalysis | None = None,
        **settings: Any,
    ) -> None:
        """Train."""
        chosen = TrainingSettings(**({"workers": 1} | settings))
        self.journal = MemoryJournal()
        trainer = make_trainer(chosen.estimator, chosen.parameters, folder=folder)
        with Tracker(self.journal, evaluation="e", run_name="e").start() as run:
            self.models: TrainedModels = train_new_model(chosen, trainer=trainer, data=data, run=run, interim=interim)

    def metric(self, name: str) -> list[float]:
        """The values of a metric, by step."""
        found = [each for each in self.journal.operations if isinstance(each, LogMetrics) and name in each.metrics]
        return [each.metrics[name] for each in sorted(found, key=lambda each: each.step)]

    @property
    def reused(self) -> float:
        """How many fits were not made again."""
        [reused] = self.metric("training.control.fits_reused")
        return reused

    @property
    def parameters(self) -> dict[str, str]:
        """The recorded parameters."""
        [logged] = [each.parameters for each in self.journal.operations if isinstance(each, LogParameters)]
        return dict(logged)

    @property
    def series(self) -> dict[str, tuple[float, ...]]:
        """The recorded series."""
        return {each.name: tuple(each.values) for each in self.journal.operations if isinstance(each, LogSeries)}

    def text(self, path: str) -> str:
        """A recorded artifact; empty when there is none."""
        found = [each.sha256 for each in self.journal.operations if isinstance(each, LogArtifact) and each.path == path]
        return self.journal.staged[found[-1]].decode() if found else ""

    @property
    def seeds(self) -> tuple[list[int], list[int]]:
        """The seeds of control and candidate."""
        return [model.seed for model in self.models.controls], [model.seed for model in self.models.candidates]


def answers(models: Sequence[FittedModel], data: IntegratedData, classes: tuple[str, ...]) -> list[tuple[object, ...]]:
    """What models say about the benchmark, bit for bit."""
    said: list[tuple[object, ...]] = []
    for model in models:
        given = model.predict(data.benchmark, classes=classes)
        numbers = None if given.probabilities is None else given.probabilities.tobytes()
        said.append((given.predicted.dtype, given.predicted.tobytes(), numbers, given.unseen_classes))
    return said


# --- kept fits of the control ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        ("LogisticRegression", {}),
        ("RandomForestClassifier", {"n_estimators": 3}),
        ("HistGradientBoostingClassifier", {"max_iter": 5}),
        ("LGBMClassifier", {"n_estimators": 4, "subsample": 0.7, "subsample_freq": 1}),
        ("XGBClassifier", {"n_estimators": 4, "subsample": 0.7}),
        ("RidgeClassifier", {}),
        ("RandomForestRegressor", {"n_estimators": 3}),
    ],
)
def test_a_kept_fit_says_what_a_fresh_fit_says_bit_for_bit(estimator: str, parameters: dict[str, Any]) -> None:
    labels = (0.25, 1.5, 3.0) if estimator.endswith("Regressor") else ("a", "b", "c")
    data = usual_data(labels=labels)
    own: dict[str, Any] = {"estimator": estimator, "parameters": parameters, "seeds": 2}
    fresh = Trained(data, **own, keep_controls=False)
    first, second = Trained(data, **own), Trained(data, **own)
    fits = len(fresh.models.controls)
    assert (fresh.reused, first.reused, second.reused) == (0, 0, fits)
    orders = [("a", "b", "c"), ("c", "x", "a", "b"), ("b", "a")] if fresh.models.classes else [()]
    for each in (first, second):
        assert all(isinstance(model, KeptControl) for model in each.models.controls)
        for classes in orders:
            assert answers(each.models.controls, data, classes) == answers(fresh.models.controls, data, classes)
        assert [model.classes for model in each.models.controls] == [model.classes for model in fresh.models.controls]
        assert each.models.controls[0].features == data.features
        assert each.models.model_sha256 == fresh.models.model_sha256
        assert each.series == fresh.series
        assert len(each.metric("training.control.fit_seconds")) == fits
    assert first.metric("training.control.fit_seconds") == second.metric("training.control.fit_seconds")


def test_a_fit_is_not_made_again_for_another_contribution_and_brings_its_warnings_along() -> None:
    data = usual_data()
    own: dict[str, Any] = {"parameters": {"max_iter": 1, "C": 100.0}}
    first = Trained(data, **own)
    again = Trained(dataclasses.replace(data, integrated=data.integrated.slice(0, 90)), **own)
    assert again.reused == 1
    assert "ConvergenceWarning" in first.text("warnings-control.txt")
    assert again.text("warnings-control.txt") == first.text("warnings-control.txt")


def other_number(table: pa.Table) -> pa.Table:
    """The table with another number in its first row."""
    return table.set_column(0, "number", pa.array([9.0, *table["number"].to_pylist()[1:]]))


def other_type(table: pa.Table) -> pa.Table:
    """The table with its categories in another of Arrow's types, which is no other content."""
    return table.set_column(2, "category", table["category"].cast(pa.large_string()))


def changed(data: IntegratedData, what: str) -> IntegratedData:
    """The data with one thing changed."""
    changes: dict[str, dict[str, Any]] = {
        "a base value": {"base": other_number(data.base)},
        "the order of the base rows": {"base": pa.concat_tables([data.base.slice(1), data.base.slice(0, 1)])},
        "the type of a column": {"base": other_type(data.base)},
        "the type of a benchmark column": {"benchmark": other_type(data.benchmark)},
        "a benchmark value": {"benchmark": other_number(data.benchmark)},
        "the features": {"features": data.features[:2]},
        "the order of the features": {"features": ("other", "number", "category")},
    }
    return dataclasses.replace(data, **changes[what])


@pytest.mark.parametrize(
    "what",
    [
        "a base value",
        "the order of the base rows",
        "the type of a column",
        "the type of a benchmark column",
        "a benchmark value",
        "the features",
        "the order of the features",
    ],
)
def test_other_tables_are_fitted_anew(what: str) -> None:
    Trained(usual_data())
    other = changed(usual_data(), what)
    assert Trained(other).reused == 0
    assert Trained(other).reused == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"estimator": "LogisticRegression", "parameters": {"C": 1}},
        {"estimator": "LogisticRegression", "parameters": {"C": 0.5}},
        {"estimator": "LogisticRegression", "threads": 2},
        {"estimator": "GaussianNB"},
    ],
)
def test_other_settings_are_fitted_anew(settings: dict[str, Any]) -> None:
    Trained(usual_data(), estimator="LogisticRegression")
    assert Trained(usual_data(), **settings).reused == 0
    assert Trained(usual_data(), estimator="LogisticRegression").reused == 1


def test_seeds_that_are_not_there_yet_are_fitted_and_a_change_of_the_benchmarks_labels_changes_nothing() -> None:
    data = usual_data()
    assert Trained(data, **FOREST, seeds=2).reused == 0
    more = Trained(data, **FOREST, seeds=4)
    assert (more.reused, more.seeds[0]) == (2, [0, 1, 2, 3])
    relabelled = data.benchmark.set_column(3, "label", pa.array(["yes"] * data.benchmark.num_rows))
    assert Trained(dataclasses.replace(data, benchmark=relabelled), **FOREST, seeds=4).reused == 4


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [flip, lambda content: content[:-7], lambda _: b""], ids=["bit", "end", "all"])
def test_a_damaged_file_is_fitted_anew_and_not_believed(cache: Path, damage: Any) -> None:
    data = usual_data()
    own: dict[str, Any] = {**FOREST, "seeds": 2}
    first = Trained(data, **own)
    expected = answers(first.models.controls, data, ("no", "yes"))
    [file] = cache.glob("*/1-*.arrow")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with pytest.raises(ModelError, match="damaged or removed"):
        first.models.controls[1].predict(data.benchmark, classes=("no", "yes"))
    again = Trained(data, **own)
    assert again.reused == 1
    assert answers(again.models.controls, data, ("no", "yes")) == expected
    assert Trained(data, **own).reused == 2
    assert not list(cache.rglob("*.partial"))


def test_a_kept_fit_answers_from_the_file_of_another_evaluation_that_fitted_it_at_the_same_time(cache: Path) -> None:
    data = usual_data()
    [control] = Trained(data).models.controls
    expected = answers([control], data, ("no", "yes"))
    [file] = cache.glob("*/*")
    before = file.read_bytes()
    file.unlink()
    Trained(data)
    assert file.read_bytes() != before  # it took another time
    assert answers([control], data, ("no", "yes")) == expected


def test_a_kept_fit_answers_about_its_own_benchmark_alone_and_refuses_loudly() -> None:
    data = usual_data()
    [control] = Trained(data).models.controls
    copy = pa.table({name: data.benchmark[name].combine_chunks() for name in data.features})
    assert control.predict(copy, classes=("no", "yes")).predicted.shape == (50,)
    for other in (data.benchmark.slice(1), data.base):
        with pytest.raises(ModelError, match="another benchmark"):
            control.predict(other, classes=("no", "yes"))
    with pytest.raises(ModelError, match="was asked for classes"):
        control.predict(data.benchmark, classes=())


def test_a_class_that_only_the_contribution_brings_is_unknown_to_a_kept_control() -> None:
    base, more = table(60, seed=1), table(60, seed=2, labels=("no", "maybe", "yes"))
    data = data_of(base, more, more)
    fresh, _, kept = Trained(data, keep_controls=False), Trained(data), Trained(data)
    assert kept.models.classes == ("maybe", "no", "yes")
    [said] = (model.predict(data.benchmark, classes=kept.models.classes) for model in kept.models.controls)
    assert said.unseen_classes == ("maybe",)
    assert said.probabilities is not None
    assert not said.probabilities[:, 0].any()
    classes = kept.models.classes
    assert answers(kept.models.controls, data, classes) == answers(fresh.models.controls, data, classes)
    assert kept.models.notes == fresh.models.notes


def test_workers_fit_what_is_not_kept_and_the_answers_are_the_same() -> None:
    data = usual_data()
    Trained(data, **FOREST, seeds=1)
    parallel = Trained(data, **FOREST, seeds=2, workers=2)
    alone = Trained(data, **FOREST, seeds=2, keep_controls=False)
    assert (parallel.reused, parallel.metric("training.workers")) == (1, [2])
    for arm in ("controls", "candidates"):
        one, other = (answers(getattr(each.models, arm), data, ("no", "yes")) for each in (parallel, alone))
        assert one == other


def test_where_fits_cannot_be_kept_training_goes_on_and_only_the_record_says_so(cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    trained = Trained(usual_data())
    assert not isinstance(trained.models.controls[0], KeptControl)
    assert trained.models.notes == ()
    assert "could not be kept" in trained.text("training-notes.txt")


def test_nothing_is_kept_unless_wanted(cache: Path) -> None:
    Trained(usual_data(), keep_controls=False)
    assert not cache.exists()


def test_the_delta_is_the_same_file_with_kept_fits_without_and_with_fresh_ones(cache: Path, tmp_path: Path) -> None:
    config = penguins_config("dream")
    file = tmp_path / "out" / "delta.json"
    identity = EvaluationIdentity(project="p", evaluation="e", registered_model="m", delta_file=file)
    written: list[bytes] = []
    with TableReader() as reader:
        for is_kept in (False, True, True):
            own = TrainingSettings(**FOREST, seeds=3, control_seeds=4, workers=1, keep_controls=is_kept)
            evaluate_contribution(
                dataclasses.replace(config, training=own),
                identity=identity,
                tracker=Tracker(MemoryJournal(), evaluation="e", run_name="e"),
                registry=ModelRegistry(f"sqlite:///{tmp_path / 'nothing.db'}"),
                reader=reader,
                now=datetime(2026, 1, 2, tzinfo=UTC),
            )
            written.append(file.read_bytes())
            assert len(list(cache.glob("*/*.arrow"))) == (4 if is_kept else 0)
    # The setting itself is no part of it either.
    assert written[0] == written[1] == written[2]


_OWN_TRAINER = """
import dataclasses
from hokusai.errors import TrainingError
from hokusai.models.trainers import make_trainer
from sklearn.linear_model import LogisticRegression

def linear():
    return LogisticRegression()

@dataclasses.dataclass(frozen=True)
class Own:
    failing: tuple = ()
    rows: int = 0
    refuses_repeats: bool = False
    name, task, is_random = "own", "classification", True
    def with_parameters(self, parameters): return dataclasses.replace(self, **parameters)
    def fit(self, data, *, seed, progress):
        if seed in self.failing and data.table.num_rows > self.rows:
            raise TrainingError("own", seed=seed, reason=f"seed {seed} is unlucky.")
        if self.refuses_repeats and len(set(data.table["number"].to_pylist())) < data.table.num_rows:
            raise TrainingError("own", seed=seed, reason="a row stands there twice.")
        return make_trainer("RandomForestClassifier", {"n_estimators": 2}).fit(data, seed=seed, progress=progress)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a module of trainers."""
    (tmp_path / "own_for_arms.py").write_text(_OWN_TRAINER)
    return tmp_path


@pytest.mark.parametrize("name", ["Own", "linear"])
def test_a_trainer_of_ones_own_is_never_kept(cache: Path, own: Path, name: str) -> None:
    for _ in range(2):
        assert Trained(usual_data(), folder=own, estimator=f"own_for_arms:{name}", seeds=1).reused == 0
    assert not cache.exists()


OwnLogisticRegression = type("OwnLogisticRegression", (LogisticRegression,), {})
"""An estimator whose code is not scikit-learn's."""


class OwnSklearnTrainer(SklearnTrainer):
    """A trainer whose code is not Hokusai's."""


def test_code_that_may_change_unseen_has_no_identity() -> None:
    plain = SklearnTrainer(name="a", estimator=LogisticRegression())
    assert fit_identity(plain, kinds={}, threads=1) is not None
    for strange in (
        SklearnTrainer(name="a", estimator=OwnLogisticRegression()),
        OwnSklearnTrainer(name="a", estimator=LogisticRegression()),
        SklearnTrainer(name="a", estimator=make_pipeline(LogisticRegression()), prepares_itself=True),
        SklearnTrainer(name="a", estimator=make_pipeline(OwnLogisticRegression())),
        SklearnTrainer(name="a", estimator=LogisticRegression(class_weight=len)),
        SklearnTrainer(name="a", estimator=LogisticRegression(), words={"tokenizer": str.split}),
    ):
        assert fit_identity(strange, kinds={}, threads=1) is None


def test_settings_that_differ_in_type_alone_are_told_apart() -> None:
    values = (1, 1.0, "1", True, [1], (1,), None, {"1": 1})
    identities = [
        json.dumps(
            fit_identity(SklearnTrainer(name="a", estimator=LogisticRegression(C=value)), kinds={}, threads=1),
            sort_keys=True,
        )
        for value in values
    ]
    assert len(set(identities)) == len(values)


# --- seeds -----------------------------------------------------------------------------------------------------------


@given(
    seeds=st.integers(1, 9),
    control_seeds=st.integers(0, 9),
    looks=st.lists(st.integers(3, 20), unique=True, max_size=5).map(sorted),
    is_random=st.booleans(),
)
def test_a_plan_has_every_seed_of_each_arm_once(
    seeds: int, control_seeds: int, looks: list[int], *, is_random: bool
) -> None:
    plan = seed_plan(seeds=seeds, control_seeds=control_seeds, looks=tuple(looks), is_random=is_random)
    expected = (looks[-1] if looks else seeds) if is_random else 1
    assert plan.seeds("candidate") == tuple(range(expected))
    assert plan.seeds("control") == tuple(range((control_seeds if is_random else 0) or expected))
    assert plan.is_sequential == (is_random and bool(looks))
    if plan.is_sequential:
        assert [stage["candidate"].stop for stage in plan.stages] == looks
    if control_seeds:
        assert not any(stage["control"] for stage in plan.stages[1:])


def test_the_control_may_have_more_fits_and_a_failed_seed_is_left_out_where_it_is(own: Path) -> None:
    parameters = {"failing": [1, 3], "rows": 80}
    trained = Trained(
        usual_data(), folder=own, estimator="own_for_arms:Own", parameters=parameters, seeds=3, control_seeds=5
    )
    assert trained.seeds == ([0, 2, 3, 4], [0, 2])
    assert [(each.arm, each.seed) for each in trained.models.failures] == [("candidate", 1)]
    assert json.loads(trained.parameters["training.control_seeds"]) == [0, 1, 2, 3, 4]
    assert json.loads(trained.parameters["training.seeds"]) == [0, 1, 2]


class Looker:
    """Looks, and stops at a number of fits."""

    def __init__(self, *, stops_at: int) -> None:
        """Remember when."""
        self.stops_at = stops_at
        self.seen: list[tuple[list[int], list[int]]] = []

    def look(self, controls: Sequence[FittedModel], candidates: Sequence[FittedModel]) -> InterimVerdict:
        """Count the fits."""
        self.seen.append(([model.seed for model in controls], [model.seed for model in candidates]))
        return InterimVerdict(stop=len(candidates) >= self.stops_at, reason=f"{len(candidates)} of {self.stops_at}.")


LOOKS = SequentialSettings(looks=(3, 5, 6))


@pytest.mark.parametrize(("stops_at", "ends"), [(3, [3]), (4, [3, 5]), (9, [3, 5, 6])])
def test_fits_go_on_until_a_look_says_that_they_are_enough(stops_at: int, ends: list[int]) -> None:
    looker = Looker(stops_at=stops_at)
    trained = Trained(usual_data(), **FOREST, sequential=LOOKS, interim=looker)
    assert looker.seen == [(list(range(end)), list(range(end))) for end in ends]
    assert trained.seeds == looker.seen[-1]
    assert trained.models.looks == len(ends)
    assert trained.metric("training.looks") == [len(ends)]
    assert trained.models.notes == (f"{ends[-1]} of {stops_at}.",)
    assert json.loads(trained.parameters["training.sequential.looks"]) == [3, 5, 6]


def test_fits_look_by_look_are_those_of_one_go_whatever_is_kept_and_with_workers() -> None:
    data = usual_data()
    everything = Trained(data, **FOREST, seeds=8)
    by_look = Trained(data, **FOREST, sequential=LOOKS, interim=Looker(stops_at=5), workers=2)
    assert by_look.reused == 5
    for arm in ("controls", "candidates"):
        one, other = (answers(getattr(each.models, arm), data, ("no", "yes")) for each in (by_look, everything))
        assert one == other[:5]


def test_all_fits_of_a_control_with_seeds_of_its_own_are_there_at_the_first_look() -> None:
    looker = Looker(stops_at=5)
    Trained(usual_data(), **FOREST, sequential=LOOKS, control_seeds=4, interim=looker)
    assert looker.seen == [([0, 1, 2, 3], [0, 1, 2]), ([0, 1, 2, 3], [0, 1, 2, 3, 4])]


def test_a_look_without_a_fit_is_not_taken(own: Path) -> None:
    looker = Looker(stops_at=1)
    parameters = {"failing": [0, 1, 2, 3]}
    trained = Trained(
        usual_data(),
        folder=own,
        estimator="own_for_arms:Own",
        parameters=parameters,
        sequential=LOOKS,
        interim=looker,
    )
    assert looker.seen == [([4], [4])]
    assert (trained.models.looks, trained.seeds) == (1, ([4], [4]))


def test_without_randomness_there_is_nothing_to_look_at() -> None:
    trained = Trained(usual_data(), sequential=LOOKS, control_seeds=7)
    assert trained.seeds == ([0], [0])
    assert trained.models.looks == 0
    [note] = trained.models.notes
    assert "training.sequential.looks" in note
    assert json.loads(trained.parameters["training.sequential.looks"]) == []


def test_looks_are_refused_when_nobody_looks_or_they_do_not_increase() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Trained(usual_data(), **FOREST, sequential=LOOKS)
    assert caught.value.key == "training.sequential.looks"
    for looks in ((3, 3), (5, 4)):
        with pytest.raises(ConfigurationError) as caught:
            SequentialSettings(looks=looks)
        assert caught.value.key == "training.sequential.looks"


# --- negative controls -----------------------------------------------------------------------------------------------


def rows_of(table: pa.Table) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.mark.parametrize("replaced", [0, 7, 80])
def test_negative_controls_touch_nothing_but_contributed_rows(replaced: int) -> None:
    data = data_of(table(80, seed=1), table(40, seed=2), table(5, seed=3), replaced=replaced)
    tables, notes = negative_control_tables(data)
    assert notes == ()
    assert list(tables) == ["shuffled_labels", "base_resample"]
    base_rows = 80 - replaced
    assert contributed_rows(data).tolist() == [False] * base_rows + [True] * 40
    for each in tables.values():
        assert each.schema == data.integrated.schema
        assert rows_of(each.slice(0, base_rows)) == rows_of(data.integrated.slice(0, base_rows))
    shuffled, contributed = (each.slice(base_rows) for each in (tables["shuffled_labels"], data.integrated))
    assert shuffled.drop(["label"]).equals(contributed.drop(["label"]))
    assert sorted(shuffled["label"].to_pylist()) == sorted(contributed["label"].to_pylist())
    moved = sum(one != other for one, other in zip(shuffled["label"], contributed["label"], strict=True))
    assert 8 < moved < 32
    drawn = rows_of(tables["base_resample"].slice(base_rows))
    assert len(drawn) == 40
    assert 20 < len(set(drawn)) < 40
    assert set(drawn) <= set(rows_of(data.base))


def test_equal_tables_have_equal_negative_controls_and_others_have_others() -> None:
    one, same = (negative_control_tables(usual_data())[0] for _ in range(2))
    other, _ = negative_control_tables(dataclasses.replace(usual_data(), integrated=changed_last(usual_data())))
    for arm, negative in one.items():
        assert negative.equals(same[arm])
        assert not negative.slice(0, 119).equals(other[arm].slice(0, 119))


def changed_last(data: IntegratedData) -> pa.Table:
    """The integrated rows with another number in the last one."""
    numbers = [*data.integrated["number"].to_pylist()[:-1], 9.0]
    return data.integrated.set_column(0, "number", pa.array(numbers))


def test_what_no_negative_control_can_be_made_of_is_said() -> None:
    base = table(80, seed=1)
    alike = table(40, seed=2).set_column(3, "label", pa.array(["yes"] * 40))
    tables, [note] = negative_control_tables(data_of(base, alike, base))
    assert list(tables) == ["base_resample"]
    assert "shuffled" in note
    tables, [note] = negative_control_tables(data_of(base, alike.slice(0, 0), base))
    assert tables == {}
    assert "no contributed row" in note


def test_negative_controls_are_trained_with_the_candidates_seeds_on_tables_of_their_own() -> None:
    data = usual_data()
    plain, trained = Trained(data, **FOREST, seeds=3), Trained(data, **FOREST, seeds=3, negative_controls=True)
    assert plain.models.negative_controls == {}
    assert dataclasses.replace(trained.models, controls=(), candidates=(), negative_controls={}) == dataclasses.replace(
        plain.models, controls=(), candidates=()
    )
    arms = {"candidate": trained.models.candidates, **trained.models.negative_controls}
    assert list(arms) == ["candidate", "shuffled_labels", "base_resample"]
    said = [answer for models in arms.values() for answer in answers(models, data, ("no", "yes"))]
    assert len(set(said)) == 9
    for arm, models in arms.items():
        assert [model.seed for model in models] == [0, 1, 2]
        assert len(trained.metric(f"training.{arm}.fit_seconds")) == 3


def test_a_negative_control_that_fails_is_a_note_and_no_failure(own: Path) -> None:
    parameters = {"refuses_repeats": True}
    trained = Trained(
        usual_data(),
        folder=own,
        estimator="own_for_arms:Own",
        parameters=parameters,
        seeds=2,
        negative_controls=True,
    )
    assert list(trained.models.negative_controls) == ["shuffled_labels"]
    assert trained.models.failures == ()
    assert trained.metric("training.failed_fits") == [0]
    [note] = trained.models.notes
    assert "base_resample" in note
    assert "2 of 2 fits failed" in note
    assert "a row stands there twice" in note
