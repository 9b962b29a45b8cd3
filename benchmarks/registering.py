"""Registering a model through journal and shipper against ``mlflow.sklearn.log_model`` with its defaults.

Both leave the same for whoever uses the model: a signature, an input example, pinned requirements, a version of a
registered model with an alias, in a folder that ``mlflow.pyfunc.load_model`` loads. Hokusai's side is everything from
the model in memory to the alias in the store, its journal, the digests and the list of files included.
"""

# ruff: noqa: TID251  (the fluent calls that the package bans are what is measured here)

from __future__ import annotations

import io
import tempfile
from contextlib import redirect_stderr
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
import skops.io as skops_io
from benchmarks.measure import Side, alternate, cost_of, print_table
from mlflow import MlflowClient
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hokusai.records import ModelFile
from hokusai.testing.mlflow_server import MlflowServerProcess
from hokusai.tracking.journal import JOURNAL_FORMAT, FileJournal
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.naming import evaluation_key
from hokusai.tracking.operations import OpenJournal
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipper import ship

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_COLUMNS = tuple(f"x{number}" for number in range(8))
_EXPERIMENT = "registering"
_RUNS, _RUNS_OF_MLFLOW = 7, 3
_PACKAGES = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")


def main() -> None:
    """Compare on SQLite, and over HTTP."""
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(1000, len(_COLUMNS))), columns=list(_COLUMNS))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table, table["x0"] > 0)
    with tempfile.TemporaryDirectory(prefix="hokusai-registering-") as name:
        folder = Path(name)
        _compare("on SQLite", f"sqlite:///{folder / 'mlflow.db'}", folder, model, table)
        with MlflowServerProcess(folder / "server") as server:
            _compare("over HTTP", server.uri, folder, model, table)


def _compare(where: str, uri: str, folder: Path, model: Pipeline, table: pd.DataFrame) -> None:
    store = MlflowStore(uri)
    store.ensure_experiment(_EXPERIMENT, tags={})
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.set_experiment(_EXPERIMENT)
    ours = partial(_through_the_journal, store, folder, model, table)
    theirs = partial(_by_mlflow, uri, model, table)
    for action in (ours, theirs):
        action()
    sides = [
        Side("journal, shipping, signature, example, digests, alias", lambda: cost_of(ours), _RUNS),
        Side("mlflow.sklearn.log_model with its defaults, alias", lambda: cost_of(theirs), _RUNS_OF_MLFLOW),
    ]
    print_table(f"registering a model {where}", alternate(sides))
    _require_same_use(uri, table)


def _through_the_journal(store: MlflowStore, folder: Path, model: Pipeline, table: pd.DataFrame) -> None:
    key = evaluation_key(datetime.now(UTC))
    journal = FileJournal(folder / key)
    journal.append(OpenJournal(format=JOURNAL_FORMAT, evaluation=key, experiment=_EXPERIMENT))
    with Tracker(journal, evaluation=key, run_name=key).start() as run:
        run.log_model(_model_file(model, table))
        run.register_model("model", registered_name="ours", tags={})
    journal.close()
    ship(journal.folder, store)


def _by_mlflow(uri: str, model: Pipeline, table: pd.DataFrame) -> None:
    # Its progress bars and advice would stand among the tables.
    with redirect_stderr(io.StringIO()), mlflow.start_run():
        signature = infer_signature(table, model.predict(table))
        info = mlflow.sklearn.log_model(
            model, name="model", registered_model_name="theirs", signature=signature, input_example=table.head(1)
        )
        MlflowClient(uri, uri).set_registered_model_alias("theirs", "candidate", str(info.registered_model_version))


def _model_file(model: Pipeline, table: pd.DataFrame) -> ModelFile:
    from importlib.metadata import version

    content = skops_io.dumps(model)
    return ModelFile(
        name="model",
        content=content,
        file="model.skops",
        flavor="sklearn",
        options={
            "pickled_model": "model.skops",
            "sklearn_version": version("scikit-learn"),
            "serialization_format": "skops",
            "code": None,
            "skops_trusted_types": skops_io.get_untrusted_types(data=content),
        },
        inputs=dict.fromkeys(_COLUMNS, "double"),
        output="boolean",
        requirements=tuple(f"{package}=={version(package)}" for package in _PACKAGES),
        example={column: float(table[column].iloc[0]) for column in _COLUMNS},
    )


def _require_same_use(uri: str, table: pd.DataFrame) -> None:
    """Load both by alias and ask them the same."""
    answers = []
    for name in ("ours", "theirs"):
        version = MlflowClient(uri, uri).get_model_version_by_alias(name, "candidate")
        address = f"models:/{name}/{version.version}"
        with redirect_stderr(io.StringIO()):
            loaded = mlflow.pyfunc.load_model(address)
        if loaded.input_example is None or loaded.metadata.signature is None:
            message = f"{address} has no example or no signature."
            raise RuntimeError(message)
        answers.append(np.asarray(loaded.predict(table)).tolist())
    if answers[0] != answers[1]:
        message = "the two models do not answer alike."
        raise RuntimeError(message)


if __name__ == "__main__":
    main()
