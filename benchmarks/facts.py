"""The facts of one real evaluation of the demo, and two ways to log them: MLflow's fluent calls, and the journal.

The facts are read back from the journal that the evaluation wrote, so both ways log exactly the same; afterwards
:func:`require_same_facts` reads both from the store and compares. What a caller would have at hand anyway (files under
their names, dataset objects, the model object, its signature) is prepared before the clock starts.
"""

# ruff: noqa: TID251  (the fluent calls that the package bans are what is measured here)

from __future__ import annotations

import io
import json
import secrets
import shutil
from contextlib import chdir, redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import mlflow.sklearn
from benchmarks.measure import Cost, Samples, Side, alternate, cost_of
from mlflow.data.dataset_source_registry import get_dataset_source_from_json
from mlflow.data.meta_dataset import MetaDataset
from mlflow.models import ModelSignature
from mlflow.types.schema import Schema

import hokusai
from hokusai.models.model_files import load_skops
from hokusai.testing.sample_data import penguins_config
from hokusai.tracking.journal import FileJournal, JournalReader, staged_path
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.operations import (
    CloseJournal,
    EndRun,
    LogArtifact,
    LogDataset,
    LogMetrics,
    LogModel,
    LogParameters,
    OpenJournal,
    RegisterModel,
    SetTags,
    StartRun,
    from_json,
    to_json,
)
from hokusai.tracking.shipper import ship

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow.entities import Run

    from hokusai.tracking.operations import Operation

__all__ = ["Facts", "compare_ways", "record_evaluation"]

_RUNS, _RUNS_WITH_INFERENCE = 7, 3
# A journal has Arrow's names of column types, MLflow's schema its own.
_TYPES = {"int64": "long", "bool": "boolean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one evaluation recorded.

    Attributes:
        evaluation: Its key.
        operations: The operations of its journal.
        journal: The folder of the journal that holds the staged files.
    """

    evaluation: str
    operations: tuple[Operation, ...]
    journal: Path

    def renewed(self) -> Facts:
        """The same facts under a new key, as another evaluation."""
        key = f"{self.evaluation[:-8]}{secrets.token_hex(4)}"
        texts = [json.dumps(to_json(operation)).replace(self.evaluation, key) for operation in self.operations]
        return Facts(evaluation=key, operations=tuple(from_json(json.loads(t)) for t in texts), journal=self.journal)

    def count(self) -> int:
        """How many fluent calls they are, without the starts and ends of runs."""
        return sum(_count(operation) for operation in self.operations)


def record_evaluation(folder: Path) -> Facts:
    """Run one evaluation of the demo and read its journal."""
    with chdir(folder):  # As a user would: the store and the journals go where the command is called.
        tracking = hokusai.run(penguins_config("dream", TrackingSettings())).tracking
    if tracking is None or tracking.journal is None:
        raise SystemExit("the evaluation left no journal.")
    operations = tuple(entry.operation for entry in JournalReader(tracking.journal))
    return Facts(evaluation=tracking.journal.name, operations=operations, journal=tracking.journal)


def compare_ways(facts: Facts, *, uri: str, folder: Path) -> list[Samples]:
    """Let the ways take turns on one store, and make sure that they left the same facts in it."""
    mlflow.set_tracking_uri(uri)
    store = MlflowStore(uri)
    keys: dict[str, str] = {}

    def journal() -> Cost:
        renewed = facts.renewed()
        keys["journal"] = renewed.evaluation
        return cost_of(lambda: _record_and_ship(renewed, folder=folder / "replays" / renewed.evaluation, store=store))

    def fluent(*, is_inferring: bool) -> Cost:
        renewed = facts.renewed()
        keys["fluent"] = renewed.evaluation
        return _log_fluently(renewed, folder=folder / "files" / renewed.evaluation, is_inferring=is_inferring)

    sides = [
        Side("journal, then shipper", journal, _RUNS),
        Side("fluent calls, log_model with pip_requirements", lambda: fluent(is_inferring=False), _RUNS),
        Side("fluent calls, log_model as it comes", lambda: fluent(is_inferring=True), _RUNS_WITH_INFERENCE),
    ]
    with redirect_stderr(io.StringIO()):  # MLflow tells of every version that it registers.
        journal()
        fluent(is_inferring=False)
        samples = alternate(sides)
    _require_same_facts(keys["journal"], keys["fluent"])
    return samples


def _record_and_ship(facts: Facts, *, folder: Path, store: MlflowStore) -> None:
    journal = FileJournal(folder)
    for operation in facts.operations:
        match operation:
            case CloseJournal():
                journal.close()
                continue
            case LogArtifact() | LogModel():
                journal.stage(staged_path(facts.journal, operation.sha256))
        journal.append(operation)
        if isinstance(operation, EndRun):
            journal.sync()
    ship(folder, store)


def _log_fluently(facts: Facts, *, folder: Path, is_inferring: bool) -> Cost:
    """The same facts as a script would log them: one fluent call for each."""
    logged_models: dict[str, str] = {}
    calls = [
        call
        for number, operation in enumerate(facts.operations)
        for call in (
            *_plain_calls(operation),
            *_file_calls(operation, facts.journal, folder=folder / str(number)),
            *_model_calls(operation, facts.journal, logged=logged_models, is_inferring=is_inferring),
        )
    ]

    def log() -> None:
        for call in calls:
            call()

    return cost_of(log)


def _plain_calls(operation: Operation) -> Iterator[Callable[[], object]]:
    match operation:
        case OpenJournal():
            yield partial(mlflow.set_experiment, operation.experiment)
        case StartRun():
            is_nested, tags = operation.parent is not None, dict(operation.tags)
            yield partial(mlflow.start_run, run_name=operation.name, nested=is_nested, tags=tags)
        case EndRun():
            yield partial(mlflow.end_run, operation.status)
        case LogParameters():
            yield from (partial(mlflow.log_param, name, text) for name, text in operation.parameters.items())
        case LogMetrics():
            step = operation.step
            yield from (partial(mlflow.log_metric, name, value, step) for name, value in operation.metrics.items())
        case SetTags():
            yield from (partial(mlflow.set_tag, name, text) for name, text in operation.tags.items())


def _file_calls(operation: Operation, journal: Path, *, folder: Path) -> Iterator[Callable[[], object]]:
    match operation:
        case LogArtifact():
            file, parent = folder / Path(operation.path).name, Path(operation.path).parent.as_posix()
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(staged_path(journal, operation.sha256), file)
            yield partial(mlflow.log_artifact, str(file), None if parent == "." else parent)
        case LogDataset():
            columns = [{"name": name, "type": _TYPES.get(kind, kind)} for name, kind in operation.columns.items()]
            dataset = MetaDataset(  # type: ignore[abstract]  # MLflow's own documentation makes it like this
                get_dataset_source_from_json(json.dumps({"uri": operation.source}), "local"),
                name=operation.name,
                digest=operation.digest[:36],
                schema=Schema.from_json(json.dumps(columns)),
            )
            tags = {"hokusai.digest": operation.digest}
            yield partial(mlflow.log_input, dataset, context=operation.context, tags=tags)


def _model_calls(
    operation: Operation, journal: Path, *, logged: dict[str, str], is_inferring: bool
) -> Iterator[Callable[[], object]]:
    match operation:
        case LogModel():
            model = load_skops(staged_path(journal, operation.sha256), source="the demo's model").pipeline
            inputs = [{"name": name, "type": kind} for name, kind in operation.inputs.items()]
            signature = ModelSignature.from_dict(
                {"inputs": json.dumps(inputs), "outputs": json.dumps([{"type": operation.output}])}
            )

            def log_model() -> None:
                logged[operation.name] = mlflow.sklearn.log_model(
                    model,
                    name=operation.name,
                    signature=signature,
                    skops_trusted_types=operation.options["skops_trusted_types"],
                    pip_requirements=None if is_inferring else list(operation.requirements),
                ).model_uri

            yield log_model
        case RegisterModel():

            def register_model() -> None:
                mlflow.register_model(logged[operation.model], operation.registered_name, tags=dict(operation.tags))

            yield register_model


def _count(operation: Operation) -> int:
    match operation:
        case LogParameters():
            return len(operation.parameters)
        case LogMetrics():
            return len(operation.metrics)
        case SetTags():
            return len(operation.tags)
        case LogDataset() | LogArtifact() | LogModel() | RegisterModel():
            return 1
    return 0


def _require_same_facts(*evaluations: str) -> None:
    """End the benchmark when one way has logged something that the other has not."""
    first, second = (_stored_facts(evaluation) for evaluation in evaluations)
    if not first or first != second:
        raise SystemExit(f"the two ways did not log the same facts:\n{first}\n{second}")


def _stored_facts(evaluation: str) -> dict[str, object]:
    runs: list[Run] = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.`hokusai.evaluation` = '{evaluation}'",
        output_format="list",
    )
    return {str(run.info.run_name): _facts_of_run(run, evaluation) for run in runs}


def _facts_of_run(run: Run, evaluation: str) -> object:
    client = mlflow.MlflowClient()
    tags = {name: text.replace(evaluation, "") for name, text in run.data.tags.items() if name.startswith("hokusai.")}
    for note in ("model_version", "manifest_digest", "journal_head"):
        tags.pop(f"hokusai.{note}", None)  # The shipper's own.
    inputs = run.inputs.dataset_inputs if run.inputs else []
    outputs = run.outputs.model_outputs if run.outputs else []
    datasets = sorted((item.dataset.name, item.dataset.digest) for item in inputs)
    found = ((item.path, item.file_size) for item in client.list_artifacts(run.info.run_id))
    files = sorted((path, size) for path, size in found if path != "manifest.json")
    return run.data.params, run.data.metrics, tags, datasets, files, len(outputs)
