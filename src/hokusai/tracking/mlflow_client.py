"""MLflow, behind one door: the only file of this package that imports it.

Every call names its run by id; MLflow's fluent active run is never used. Foreign errors leave as
:class:`~hokusai.errors.TrackingServerError`. Every writing call may be repeated: it looks for what it is about to make,
or MLflow itself takes the repetition for the same fact.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# MLflow reads this while it is imported; whoever wants its telemetry sets the variable to "false".
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import requests
import yaml
from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.signature import ModelSignature
from mlflow.pyfunc import add_to_model
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import SQLAlchemyError

from hokusai.errors import RunNotFoundError, TrackingServerError
from hokusai.tracking.mlflow_config import redact_credentials, sqlite_path
from hokusai.tracking.naming import EVALUATION_TAG, MODEL_KEY_TAG, RUN_KEY_TAG, STEPS
from hokusai.tracking.sqlite_store import create_sqlite_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlflow.entities import LoggedModel
    from mlflow.entities import Run as MlflowRun

    from hokusai.tracking.operations import LogDataset, LogModel, RunStatus

__all__ = ["MetricPoint", "MlflowStore", "StoredRun"]

_METRICS_PER_REQUEST = 1000
_ITEMS_PER_REQUEST = 100
_DATASET_DIGEST_LENGTH = 36
_COLUMN_TYPES = {"int64": "long", "double": "double", "bool": "boolean"}
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_TRANSIENT_CODES = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
# With its default connection pool an overloaded server answers 400 with this in the text.
_POOL_TIMEOUT = "QueuePool limit"
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One value of a metric; ``time`` in milliseconds since 1970."""

    name: str
    value: float
    time: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as MLflow holds it; times in milliseconds since 1970.

    Attributes:
        datasets: Triples of context, name and full digest.
        models: Names and ids of the models that the run made.
    """

    run_id: str
    name: str
    experiment_id: str
    status: str
    start_time: int
    end_time: int | None
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    datasets: tuple[tuple[str, str, str], ...]
    models: tuple[str, ...]


class MlflowStore:
    """One MLflow tracking store with its registry.

    Args:
        uri: Tracking URI: ``sqlite:///…``, ``http(s)://…`` or anything else that MLflow takes.

    Raises:
        TrackingServerError: The store cannot be opened. (An HTTP server is not asked before the first call.)
    """

    def __init__(self, uri: str) -> None:
        """Open the store; a SQLite file that is not there is made."""
        self.uri = redact_credentials(uri)
        self._address = uri
        self._is_sql = not uri.startswith(("http://", "https://"))
        path = sqlite_path(uri)
        if path is not None:
            create_sqlite_store(path)
        for chatty in ("mlflow", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        with self._translated():
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    # What the shipper writes.

    def ensure_experiment(self, name: str, *, tags: Mapping[str, str]) -> str:
        """Return the id of the experiment, made when it is not there; safe when several processes race.

        Artifacts of a SQLite store go beside it, into ``mlartifacts``; a server decides by itself.
        """
        with self._translated():
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                try:
                    return str(self._client.create_experiment(name, self._artifact_location(name), dict(tags)))
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            self._require_id(experiment.experiment_id)
        if experiment is None or experiment.lifecycle_stage != "active":
            problem = f"the experiment {name!r} has been deleted there; restore it, or name another one."
            raise TrackingServerError(self.uri, problem, is_outage=False)
        return str(experiment.experiment_id)

    def find_run_ids(self, experiment_id: str, evaluation: str) -> dict[str, str]:
        """Return the ids of an evaluation's runs by run key.

        A server may have made a run whose answer was lost, and made it again; then the oldest is kept and the others
        are deleted.
        """
        found: dict[str, str] = {}
        with self._translated():
            runs = self._search([experiment_id], f"tags.`{EVALUATION_TAG}` = '{evaluation}'")
            for run in sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id)):
                key = run.data.tags.get(RUN_KEY_TAG, "")
                if key in found:
                    self._client.delete_run(run.info.run_id)
                else:
                    found[key] = run.info.run_id
        return found

    def create_run(
        self, experiment_id: str, *, name: str, started_at: int, parent_id: str | None, tags: Mapping[str, str]
    ) -> str:
        """Make a run and return its id. Not to be repeated blindly: search with :meth:`find_run_ids` first."""
        all_tags = {key: _storable(value) for key, value in tags.items()}
        if parent_id:
            all_tags[MLFLOW_PARENT_RUN_ID] = parent_id
        with self._translated():
            run = self._client.create_run(experiment_id, start_time=started_at, tags=all_tags, run_name=_storable(name))
        return self._require_id(run.info.run_id)

    def end_run(self, run_id: str, *, status: RunStatus, ended_at: int) -> None:
        """Set a run's status and end time (milliseconds since 1970)."""
        with self._translated():
            self._client.set_terminated(run_id, status=status, end_time=ended_at)

    def log_batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[MetricPoint] = (),
        parameters: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Record metrics, parameters and tags in as few requests as MLflow's limits allow."""
        points = [Metric(point.name, point.value, point.time, point.step) for point in metrics]
        params = [Param(name, _storable(value)) for name, value in (parameters or {}).items()]
        run_tags = [RunTag(_storable(name), _storable(value)) for name, value in (tags or {}).items()]
        with self._translated():
            while points or params or run_tags:
                self._client.log_batch(
                    run_id,
                    metrics=points[: _METRICS_PER_REQUEST - 2 * _ITEMS_PER_REQUEST],
                    params=params[:_ITEMS_PER_REQUEST],
                    tags=run_tags[:_ITEMS_PER_REQUEST],
                    synchronous=True,
                )
                del points[: _METRICS_PER_REQUEST - 2 * _ITEMS_PER_REQUEST]
                del params[:_ITEMS_PER_REQUEST]
                del run_tags[:_ITEMS_PER_REQUEST]

    def log_datasets(self, run_id: str, datasets: Sequence[LogDataset]) -> None:
        """Record dataset inputs; the full digest is a tag of the input because MLflow's field is too short for it."""
        inputs = [
            DatasetInput(
                Dataset(
                    name=_storable(dataset.name),
                    digest=dataset.digest[:_DATASET_DIGEST_LENGTH],
                    source_type="local",
                    source=json.dumps({"uri": dataset.source}),
                    schema=json.dumps(
                        {
                            "mlflow_colspec": [
                                {"name": name, "type": _column_type(kind)} for name, kind in dataset.columns.items()
                            ]
                        }
                    ),
                    profile=json.dumps({"num_rows": dataset.rows, "num_columns": len(dataset.columns)}),
                ),
                [InputTag(MLFLOW_DATASET_CONTEXT, dataset.context), InputTag("hokusai.digest", dataset.digest)],
            )
            for dataset in datasets
        ]
        with self._translated():
            self._client.log_inputs(run_id, inputs)

    def log_artifact(self, run_id: str, file: Path, path: str) -> None:
        """Upload a file's bytes under ``path`` within the run's artifacts."""
        target = Path(_storable(path))
        with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
            # MLflow names an artifact after its file, and the staged file is named after its digest.
            named = Path(folder) / target.name
            named.symlink_to(file.resolve())
            parent = target.parent.as_posix()
            with self._translated():
                self._client.log_artifact(run_id, str(named), None if parent == "." else parent)

    def log_model(self, experiment_id: str, run_id: str, *, key: str, model: LogModel, file: Path) -> str:
        """Make a logged model of a run, or find it by its key, and return its id."""
        with self._translated():
            logged = self._find_model(experiment_id, key)
            if logged is None:
                logged = self._client.create_logged_model(
                    experiment_id, name=model.name, source_run_id=run_id, tags={MODEL_KEY_TAG: key}
                )
            if str(logged.status) != "READY":
                with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
                    _write_model_folder(Path(folder), model, file=file, run_id=run_id, model_id=logged.model_id)
                    self._client.log_model_artifacts(logged.model_id, folder)
                self._client.finalize_logged_model(logged.model_id, "READY")
            outputs = self._client.get_run(run_id).outputs
            if logged.model_id not in {output.model_id for output in (outputs.model_outputs if outputs else ())}:
                self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        return str(logged.model_id)

    def register_model(self, model_id: str, *, run_id: str, name: str, key: str, tags: Mapping[str, str]) -> str:
        """Make a version of a registered model from a logged model, or find it by its key, and return its number."""
        with self._translated():
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            # By key alone: a name with a quotation mark in it would break the filter.
            for version in self._client.search_model_versions(f"tags.`{MODEL_KEY_TAG}` = '{key}'"):
                if version.name == name:
                    return str(version.version)
            with self._as_store_of_the_process():
                made = self._client.create_model_version(
                    name,
                    source=f"models:/{model_id}",
                    run_id=run_id,
                    tags={**tags, MODEL_KEY_TAG: key},
                    model_id=model_id,
                    await_creation_for=None,  # type: ignore[arg-type]  # None is MLflow's way to say: do not poll
                )
        return str(made.version)

    # What people read.

    def list_evaluations(self, *, limit: int = 20) -> tuple[StoredRun, ...]:
        """Return the newest parent runs over all experiments."""
        # MLflow's filters cannot ask for a tag that is absent: children have the evaluation's tag as well.
        with self._translated():
            experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]
            runs = self._search(experiments, f"tags.`{EVALUATION_TAG}` != ''", limit=limit * (len(STEPS) + 1))
        parents = [run for run in runs if MLFLOW_PARENT_RUN_ID not in run.data.tags]
        return tuple(_stored_run(run) for run in parents[:limit])

    def find_run(self, name: str) -> StoredRun:
        """Return the run with this id, first characters of an id, name or key.

        Raises:
            RunNotFoundError: There is none.
        """
        with self._translated():
            experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]
            for run in self._search(experiments, "", limit=10_000):
                if run.info.run_id.startswith(name) or name in (run.info.run_name, run.data.tags.get(RUN_KEY_TAG)):
                    return _stored_run(run)
        raise RunNotFoundError(name, store=self.uri)

    def child_runs(self, run: StoredRun) -> tuple[StoredRun, ...]:
        """Return the children of a run in the order of their start; steps of one millisecond in their own order."""
        with self._translated():
            found = self._search([run.experiment_id], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run.run_id}'")
        steps = {name: place for place, name in enumerate(STEPS)}
        children = (_stored_run(child) for child in found)
        return tuple(sorted(children, key=lambda child: (child.start_time, steps.get(child.name, len(steps)))))

    def list_artifacts(self, run: StoredRun, path: str | None = None) -> tuple[str, ...]:
        """Return the paths of all files among a run's artifacts."""
        files: list[str] = []
        with self._translated():
            for item in self._client.list_artifacts(run.run_id, path):
                files += self.list_artifacts(run, item.path) if item.is_dir else [item.path]
        return tuple(files)

    def download_artifact(self, run_id: str, path: str, folder: Path) -> Path:
        """Fetch a run's artifact, a file or a folder, into ``folder`` and return where it is."""
        with self._translated():
            return Path(self._client.download_artifacts(run_id, path, str(folder)))

    def _artifact_location(self, experiment: str) -> str | None:
        path = sqlite_path(self.uri)
        if path is None:
            return None
        folder = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in experiment)
        return (path.resolve().parent / "mlartifacts" / folder).as_uri()

    def _search(self, experiment_ids: list[str], condition: str, *, limit: int = 1000) -> list[MlflowRun]:
        runs: list[MlflowRun] = []
        token = None
        while True:
            page = self._client.search_runs(
                experiment_ids, condition, ViewType.ACTIVE_ONLY, min(limit, 1000), ["attributes.start_time DESC"], token
            )
            runs += page
            token = page.token
            if not token or len(runs) >= limit:
                return runs

    def _find_model(self, experiment_id: str, key: str) -> LoggedModel | None:
        found = self._client.search_logged_models([experiment_id], f"tags.`{MODEL_KEY_TAG}` = '{key}'")
        return found[0] if found else None

    @contextmanager
    def _as_store_of_the_process(self) -> Iterator[None]:
        """Make this the tracking store of the whole process for a moment.

        MLflow's registry on SQL looks a logged model up there, and not in the store that it was opened with.
        """
        if not self._is_sql:
            yield
            return
        before, variable = mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(self._client.tracking_uri)  # noqa: TID251  (put back below)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before)  # noqa: TID251
            if variable is None:
                os.environ.pop("MLFLOW_TRACKING_URI", None)
            else:
                os.environ["MLFLOW_TRACKING_URI"] = variable

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except MlflowException as error:
            if isinstance(error.__context__, requests.RequestException):
                raise self._unreachable(error.__context__) from error
            is_outage = (
                error.get_http_status_code() in _TRANSIENT_STATUS
                or error.error_code in _TRANSIENT_CODES
                or _POOL_TIMEOUT in str(error)
            )
            problem = f"the tracking store answered: {self._words(error)}."
            raise TrackingServerError(self.uri, problem, is_outage=is_outage) from error
        except requests.RequestException as error:
            raise self._unreachable(error) from error
        except ParseError as error:
            problem = f"the answer is not MLflow's ({self._words(error)})."
            raise TrackingServerError(self.uri, problem, is_outage=True) from error
        except (SQLAlchemyError, OSError) as error:
            raise TrackingServerError(self.uri, f"the store failed ({self._words(error)}).", is_outage=True) from error
        except ValueError as error:
            problem = f"MLflow cannot use this address or value ({self._words(error)})."
            raise TrackingServerError(self.uri, problem, is_outage=False) from error

    def _require_id(self, found: str) -> str:
        # MLflow's client takes an empty answer, which any web server may give, for a thing without an id.
        if not found:
            raise TrackingServerError(self.uri, "the answer is not MLflow's (it names no id).", is_outage=True)
        return str(found)

    def _words(self, error: Exception) -> str:
        """Return the first line of what a foreign error says, without the credentials that it may repeat."""
        text = str(error).strip().replace(self._address, self.uri) or type(error).__name__
        return text.splitlines()[0][:_LONGEST_MESSAGE]

    def _unreachable(self, error: requests.RequestException) -> TrackingServerError:
        if isinstance(error, requests.exceptions.RetryError):
            return TrackingServerError(self.uri, "the tracking server answers with errors only.", is_outage=True)
        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            return TrackingServerError(self.uri, "that is no address of a server.", is_outage=False)
        is_late = isinstance(error, requests.Timeout) or "timed out" in str(error)
        problem = "the tracking server does not answer." if is_late else "the tracking server cannot be reached."
        return TrackingServerError(self.uri, problem, is_outage=True)


def _storable(text: str) -> str:
    """Return the text with lone surrogates, which the names of files may hold and no store takes, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _stored_run(run: MlflowRun) -> StoredRun:
    datasets = []
    for item in run.inputs.dataset_inputs if run.inputs else ():
        tags = {tag.key: tag.value for tag in item.tags}
        digest = tags.get("hokusai.digest", item.dataset.digest)
        datasets.append((tags.get(MLFLOW_DATASET_CONTEXT, ""), item.dataset.name, digest))
    outputs = run.outputs.model_outputs if run.outputs else ()
    return StoredRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        experiment_id=str(run.info.experiment_id),
        status=run.info.status,
        start_time=run.info.start_time,
        end_time=run.info.end_time,
        parameters=run.data.params,
        metrics=run.data.metrics,
        tags=run.data.tags,
        datasets=tuple(sorted(datasets)),
        models=tuple(output.model_id for output in outputs),
    )


def _column_type(kind: str) -> str:
    """Return MLflow's name for an Arrow type."""
    if kind.startswith(("timestamp", "date")):
        return "datetime"
    return _COLUMN_TYPES.get(kind, "string")


def _write_model_folder(folder: Path, model: LogModel, *, file: Path, run_id: str, model_id: str) -> None:
    """Write the folder that MLflow calls a model around a model file, by MLflow's own classes.

    ``mlflow.<flavour>.save_model`` would want the model object and would guess its requirements for seconds.
    """
    (folder / model.file).symlink_to(file.resolve())
    inputs = [{"name": name, "type": kind, "required": True} for name, kind in model.inputs.items()]
    signature = ModelSignature.from_dict(
        {"inputs": json.dumps(inputs), "outputs": json.dumps([{"type": model.output, "required": True}])}
    )
    document = Model(run_id=run_id, model_id=model_id, signature=signature, model_size_bytes=model.size)
    add_to_model(
        document,
        loader_module=f"mlflow.{model.flavor}",
        model_path=model.file,
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        predict_fn="predict",
    )
    document.add_flavor(model.flavor, **model.options)
    document.save(str(folder / "MLmodel"))
    requirements = list(model.requirements)
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    python = platform.python_version()
    conda_env = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": requirements}],
    }
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda_env), encoding="utf-8")
    python_env = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(python_env), encoding="utf-8")
