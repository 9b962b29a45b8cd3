"""Trainers of the user's own: found by address or entry point, checked, and sent to other processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from hokusai.errors import ConfigurationError, TrainingError
from hokusai.models.own_trainers import OwnTrainer
from hokusai.models.sklearn_models import SklearnModel
from hokusai.models.trainers import TrainingTable, ignore_progress, make_trainer, require_sample_weight

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODULE = "trainers_of_a_user"
SOURCE = """
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

class Constant:
    def __init__(self, value=0.0):
        self.value = value
        self.name, self.task, self.is_random = "constant", "regression", False
    def with_parameters(self, parameters):
        return Constant(**parameters)
    def fit(self, data, *, seed, progress):
        progress("train_loss", 0, 1.0)
        return (self.value, seed, data.label)

def pipeline(C=1.0, solver="lbfgs"):
    return make_pipeline(make_column_transformer((OneHotEncoder(), ["colour"])), LogisticRegression(C=C, solver=solver))

def bare(alpha=0.1):
    return SGDClassifier(alpha=alpha, random_state=99)

def search():
    return GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}, cv=KFold(2, shuffle=True))

instance = LogisticRegression(C=3.0)
constant = Constant(2.0)
neither = KMeans
number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a module of the user's own, forgotten afterwards."""
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    path = list(sys.path)
    yield tmp_path
    assert sys.path == path
    sys.modules.pop(MODULE, None)


def data(label: str = "label") -> TrainingTable:
    size = np.linspace(-1, 1, 40)
    table = pa.table(
        {
            "size": size,
            "colour": ["red", "green"] * 20,
            "label": np.where(size > 0, "yes", "no"),
            "number": size * 2,
            "weight": np.ones(40),
        }
    )
    return TrainingTable(
        table=table, features=("size", "colour"), label=label, kinds={"size": "number", "colour": "category"}
    )


def test_a_function_is_called_with_the_parameters_and_its_pipeline_gets_the_data_frame_as_it_is(folder: Path) -> None:
    trainer = make_trainer(f"{MODULE}:pipeline", {"C": 0.5}, folder=folder)
    assert (trainer.name, trainer.task, trainer.is_random) == (f"{MODULE}:pipeline", "classification", False)
    model = trainer.fit(data(), seed=1, progress=ignore_progress)
    assert isinstance(model, SklearnModel)
    assert model.pipeline[-1].C == 0.5
    assert model.features == ("size", "colour")
    assert model.pipeline[0].feature_names_in_.tolist() == ["size", "colour"]
    assert model.pipeline[-1].n_features_in_ == 2
    assert model.predict(data().table, classes=model.classes).probabilities is not None


def test_other_parameters_are_given_to_the_function_again(folder: Path) -> None:
    trainer = make_trainer(f"{MODULE}:pipeline", {"C": 0.5}, folder=folder).with_parameters({"solver": "saga"})
    assert trainer.is_random
    model = trainer.fit(data(), seed=7, progress=ignore_progress)
    assert isinstance(model, SklearnModel)
    assert (model.pipeline[-1].C, model.pipeline[-1].random_state) == (0.5, 7)


def test_a_bare_estimator_gets_our_preparation_and_our_seed(folder: Path) -> None:
    model = make_trainer(f"{MODULE}:bare", {}, folder=folder).fit(data(), seed=3, progress=ignore_progress)
    assert isinstance(model, SklearnModel)
    assert [name for name, _ in model.pipeline.steps] == ["preparation", "estimator"]
    assert model.pipeline[-1].random_state == 3


def test_every_random_part_is_seeded_also_those_that_are_no_estimators(folder: Path) -> None:
    trainer = make_trainer(f"{MODULE}:search", {}, folder=folder)
    assert trainer.is_random
    model = trainer.fit(data(), seed=5, progress=ignore_progress)
    assert isinstance(model, SklearnModel)
    search = model.pipeline[-1]
    assert (search.cv.random_state, search.estimator.random_state) == (5, 5)
    require_sample_weight(trainer)


def test_an_instance_and_a_trainer_are_taken_as_they_are(folder: Path) -> None:
    instance = make_trainer(f"{MODULE}:instance", {"tol": 0.1}, folder=folder)
    model = instance.fit(data(), seed=0, progress=ignore_progress)
    assert isinstance(model, SklearnModel)
    assert (model.pipeline[-1].C, model.pipeline[-1].tol) == (3.0, 0.1)
    told: list[tuple[str, int, float]] = []
    for address, parameters, value in ((":constant", {}, 2.0), (":Constant", {"value": 5.0}, 5.0)):
        trainer = make_trainer(MODULE + address, parameters, folder=folder)
        fitted: object = trainer.fit(data("number"), seed=4, progress=lambda *each: told.append(each))
        assert (trainer.name, trainer.task) == ("constant", "regression")
        assert fitted == (value, 4, "number")
    assert told == [("train_loss", 0, 1.0)] * 2


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("no_such_module_here:x", "cannot be imported"),
        (f"{MODULE}:missing", "cannot be imported"),
        (":x", "cannot be imported"),
        (f"{MODULE}:neither", "gives neither a trainer nor"),
        (f"{MODULE}:number", "gives neither a trainer nor"),
    ],
)
def test_what_is_no_trainer_is_refused(address: str, problem: str, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        make_trainer(address, {}, folder=folder)
    assert caught.value.key == "training.estimator"


def test_parameters_that_the_function_does_not_take_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="unexpected keyword argument 'depth'") as caught:
        make_trainer(f"{MODULE}:pipeline", {"depth": 1}, folder=folder)
    assert caught.value.key == "training.parameters"


def test_a_failure_in_the_users_code_is_a_failed_fit(folder: Path) -> None:
    trainer = make_trainer(f"{MODULE}:pipeline", {"C": -1.0}, folder=folder)
    with pytest.raises(TrainingError) as caught:
        trainer.fit(data(), seed=2, progress=ignore_progress)
    assert (caught.value.trainer, caught.value.seed) == (f"{MODULE}:pipeline", 2)


def run_python(program: str, *arguments: str, path: Path | None = None) -> str:
    environment = dict(os.environ) | ({"PYTHONPATH": str(path)} if path else {})
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout.strip()


def test_it_is_found_again_in_a_process_that_knows_nothing_of_its_folder(folder: Path) -> None:
    trainer = make_trainer(f"{MODULE}:pipeline", {"C": 0.5}, folder=folder)
    assert isinstance(trainer, OwnTrainer)
    (folder / "trainer.pickle").write_bytes(pickle.dumps(trainer))
    program = """
        import pickle, sys
        trainer = pickle.load(open(sys.argv[1], "rb"))
        print(trainer.name, dict(trainer.parameters), trainer.with_parameters({"C": 2.0}).trainer.estimator[-1].C)
    """
    assert run_python(program, str(folder / "trainer.pickle")) == f"{MODULE}:pipeline {{'C': 0.5}} 2.0"


def test_an_installed_package_offers_a_trainer_by_name(folder: Path) -> None:
    packaged = folder / "site"
    information = packaged / "linear_trainers-1.0.dist-info"
    information.mkdir(parents=True)
    (packaged / "linear_trainers.py").write_text(SOURCE)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: linear-trainers\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[hokusai.trainers]\nmy_linear = linear_trainers:pipeline\nRidge = linear_trainers:pipeline\n"
    )
    program = """
        from hokusai.models.trainers import make_trainer
        trainer = make_trainer("my_linear", {"C": 0.25})
        print(trainer.name, trainer.trainer.estimator[-1].C, make_trainer("Ridge", {}).name)
    """
    assert run_python(program, path=packaged) == "linear_trainers:pipeline 0.25 sklearn.linear_model.Ridge"
    other = folder / "other" / "other_trainers-1.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other-trainers\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[hokusai.trainers]\nmy_linear = other_trainers:thing\n")
    program = """
        import sys
        from hokusai.errors import ConfigurationError
        from hokusai.models.trainers import make_trainer
        sys.path.append(sys.argv[1])
        try:
            make_trainer("my_linear", {})
        except ConfigurationError as error:
            print(error.problem)
    """
    assert "linear_trainers:pipeline, other_trainers:thing" in run_python(program, str(other.parent), path=packaged)
