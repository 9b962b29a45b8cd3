"""MLflow, behind one door; beside it only mlflow_reader, which reads for the audit, imports it in tracking.

Every call names its run by id; MLflow's fluent active run is never used. Foreign errors leave as
:class:`~hokusai.errors.TrackingServerError`. Every writing call may be repeated: it looks for what it is about to make,
or MLflow itself takes the repetition for the same fact.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
import os
import re
import sqlite3
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

# MLflow reads this while it is imported; whoever wants its telemetry sets the variable to "false".
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import requests
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
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID
from mlflow.utils.rest_utils import http_request, verify_rest_response
from sqlalchemy.exc import SQLAlchemyError

from hokusai.errors import RunNotFoundError, TrackingError, TrackingServerError
from hokusai.process_environment import lent_variables
from hokusai.records import MODEL_MANIFEST_TAG, MODEL_SHA256_TAG
from hokusai.tracking.mlflow_config import TrackingSettings, redact_credentials, shipper_environment, sqlite_path
from hokusai.tracking.mlflow_names import storable, to_mlflow_name
from hokusai.tracking.model_folder import write_model_folder
from hokusai.tracking.naming import (
    CANDIDATE_ALIAS,
    DECISION_REASON_TAG,
    DECISION_TAG,
    DELETED_RUNS_TAG,
    EVALUATION_TAG,
    MODEL_KEY_TAG,
    RECORDED_AT_TAG,
    RUN_KEY_TAG,
    STEPS,
)
from hokusai.tracking.operations import finite_or_text
from hokusai.tracking.sqlite_store import create_sqlite_store, insert_metric_points
from hokusai.tracking.stored_values import (
    RunningRun,
    ScratchRun,
    StoredExperiment,
    StoredRun,
    deleted_before,
    running_run,
    stored_experiment,
    stored_run,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mlflow.entities import Experiment, LoggedModel
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

    from hokusai.tracking.operations import LogDataset, LogModel, RunStatus

__all__ = [
    "MetricPoint",
    "MlflowStore",
    "schema_revisions",
]

_LOG_BATCH = "/api/2.0/mlflow/runs/log-batch"
_ITEMS_PER_REQUEST = 1000
_TEXTS_PER_REQUEST = 100
# A request may have a million bytes; a thousand metrics with the longest names take less than the rest.
_BYTES_PER_REQUEST = 500_000
_DATASET_DIGEST_LENGTH = 36
_RUN_ID_LENGTH = 32
_RUNS_SHOWN = 4
_COLUMN_TYPES = {"int64": "long", "double": "double", "bool": "boolean"}
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_TRANSIENT_CODES = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
# With its default connection pool an overloaded server answers 400 with this in the text.
_POOL_TIMEOUT = "QueuePool limit"
# Two clients that log the same dataset, or the like, at once: the slower one is refused by the database.
_LOST_RACE = re.compile("IntegrityError|UNIQUE constraint|duplicate key", re.IGNORECASE)
_LONGEST_MESSAGE = 300
# Versions that others make at this moment are among the last ones.
_VERSIONS_COMPARED = 100
# MLflow restores all runs of an experiment, also those that had been deleted before it was archived. Their ids are kept
# on the experiment meanwhile, as many in a tag as fit into the 5,000 characters that every MLflow takes.
_RUNS_PER_TAG = 150
_PARENTS = f"tags.`{RUN_KEY_TAG}` IS NOT NULL AND tags.`{MLFLOW_PARENT_RUN_ID}` IS NULL"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it: MLflow says of some that it could not look something up, and no more."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _object_store_errors() -> tuple[type[Exception], ...]:
    """Return what a client of S3 raises of its own accord, where one has been loaded."""
    errors = sys.modules.get("botocore.exceptions")
    return () if errors is None else (errors.BotoCoreError, errors.ClientError)


def _recorded(version: ModelVersion) -> tuple[str, int]:
    """Return what orders versions by when their evaluation recorded them."""
    return version.tags.get(RECORDED_AT_TAG, ""), int(version.version)


def _is_transient(error: MlflowException) -> bool:
    """Say whether the same request may succeed later."""
    return (
        error.get_http_status_code() in _TRANSIENT_STATUS
        or error.error_code in _TRANSIENT_CODES
        or _POOL_TIMEOUT in str(error)
        or _LOST_RACE.search(str(error)) is not None
    )


class MetricPoint(NamedTuple):
    """One value of a metric; ``time`` in milliseconds since 1970."""

    name: str
    value: float
    time: int
    step: int


class MlflowStore:
    """One MLflow tracking store with its registry.

    Args:
        uri: Tracking URI: ``sqlite:///…``, ``http(s)://…`` or anything else that MLflow takes.
        registry_uri: URI of the model registry; default the tracking URI.
        request_seconds: How long a server may keep silent, unless MLflow's environment variables say otherwise;
            default None: as long as they, or MLflow, say.

    Raises:
        TrackingServerError: The store cannot be opened. (An HTTP server is not asked before the first call.)
    """

    def __init__(self, uri: str, *, registry_uri: str = "", request_seconds: float | None = None) -> None:
        """Open the store; a SQLite file that is not there is made."""
        self._limits: Mapping[str, str] = {}
        if request_seconds is not None:
            self._limits = shipper_environment(TrackingSettings(request_seconds=request_seconds))
        self.uri = redact_credentials(uri)
        self._address = uri
        self._is_sql = not uri.startswith(("http://", "https://"))
        self._artifact_stores: dict[str, ArtifactRepository] = {}
        # A URI with options of its own is MLflow's affair alone.
        self._sqlite_path = None if "?" in uri else sqlite_path(uri)
        if (path := sqlite_path(uri)) is not None:
            create_sqlite_store(path)
        for chatty in ("mlflow", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        with self._translated():
            self._client = MlflowClient(tracking_uri=uri, registry_uri=registry_uri or uri)

    def is_alive(self) -> bool:
        """Say whether the store answers at all, within a second; a file always does."""
        if self._is_sql:
            return True
        try:
            # MLflow answers here without a login and without its database.
            return requests.get(f"{self._address.rstrip('/')}/health", timeout=1).status_code < 500
        except requests.RequestException:
            return False

    def warm_up(self) -> None:
        """Have what the end of an evaluation needs loaded beforehand: the registry in a SQL store takes a while."""
        if self._is_sql:
            with self._translated():
                self._client.search_registered_models(max_results=1)
                self._client.search_model_versions(f"tags.`{MODEL_KEY_TAG}` = ''", max_results=1)

    # What the shipper writes.

    def ensure_experiment(self, name: str, *, tags: Mapping[str, str], artifact_location: str = "") -> str:
        """Return the id of the experiment, made when it is not there; safe when several processes race.

        Tags that an experiment has keep their values; those that it lacks are added.

        Args:
            name: The experiment's name.
            tags: Its tags.
            artifact_location: Where a new experiment keeps its artifacts; default ``mlartifacts`` beside a SQLite
                file, and what a server decides by itself.
        """
        with self._translated():
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                try:
                    location = artifact_location or self._artifact_location(name)
                    return str(self._client.create_experiment(name, location, dict(tags)))
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            self._require_id(experiment.experiment_id)
        if experiment is None or experiment.lifecycle_stage != "active":
            problem = (
                f"the experiment {name!r} is archived there. Bring it back with `hokusai experiments restore`, or "
                "name another one."
            )
            raise TrackingServerError(self.uri, problem, is_outage=False)
        with self._translated():
            for key in tags.keys() - experiment.tags.keys():
                self._client.set_experiment_tag(experiment.experiment_id, key, tags[key])
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
        all_tags = {key: storable(value) for key, value in tags.items()}
        if parent_id:
            all_tags[MLFLOW_PARENT_RUN_ID] = parent_id
        with self._translated():
            run = self._client.create_run(experiment_id, start_time=started_at, tags=all_tags, run_name=storable(name))
            run_id = self._require_id(run.info.run_id)
            if run.info.artifact_uri:
                # MLflow's client would ask for the run again, to learn where its artifacts go.
                self._artifact_stores[run_id] = get_artifact_repository(
                    run.info.artifact_uri, tracking_uri=self._client.tracking_uri
                )
        return run_id

    def end_run(self, run_id: str, *, status: RunStatus, ended_at: int) -> None:
        """Set a run's status and end time (milliseconds since 1970)."""
        with self._translated():
            self._client.set_terminated(run_id, status=status, end_time=ended_at)

    def log_batch(
        self,
        run_id: str,
        *,
        metrics: list[MetricPoint] | None = None,
        parameters: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
        on_progress: Callable[[], None] | None = None,
    ) -> None:
        """Record metrics, parameters and tags in as few requests as MLflow's limits allow.

        What the store has taken is removed from the arguments, so that a call that failed can be repeated with the
        rest. Names become those that MLflow takes (:mod:`hokusai.tracking.mlflow_names`).

        Args:
            run_id: The run.
            metrics: Points of metrics.
            parameters: Values by name.
            tags: Values by name.
            on_progress: Called whenever the store has taken a request; default None.
        """
        points, params, run_tags = metrics or [], parameters or {}, tags or {}
        while points or params or run_tags:
            some_params = _fitting(params)
            some_tags = [] if some_params else _fitting(run_tags)
            some_points = points[: _ITEMS_PER_REQUEST - len(some_params) - len(some_tags)]
            with self._translated():
                self._post_batch(
                    run_id,
                    some_points,
                    {to_mlflow_name(name): storable(params[name]) for name in some_params},
                    {to_mlflow_name(name): storable(run_tags[name]) for name in some_tags},
                )
            del points[: len(some_points)]
            for name in some_params:
                del params[name]
            for name in some_tags:
                del run_tags[name]
            if on_progress:
                on_progress()

    def _post_batch(
        self, run_id: str, points: Sequence[MetricPoint], params: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        if points and self._sqlite_path:
            rows = ((to_mlflow_name(name), value, time, step) for name, value, time, step in points)
            points = () if insert_metric_points(self._sqlite_path, run_id, rows) else points
        if self._is_sql and (points or params or tags):
            self._client.log_batch(
                run_id,
                metrics=[Metric(to_mlflow_name(name), value, time, step) for name, value, time, step in points],
                params=[Param(*item) for item in params.items()],
                tags=[RunTag(*item) for item in tags.items()],
                synchronous=True,
            )
        if self._is_sql:
            return
        # MLflow's client makes the same request by way of its entities and protobuf, at four times the cost.
        body = {
            "run_id": run_id,
            "metrics": [
                {"key": to_mlflow_name(name), "value": finite_or_text(value), "timestamp": time, "step": step}
                for name, value, time, step in points
            ],
            "params": [{"key": key, "value": value} for key, value in params.items()],
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        credentials = get_default_host_creds(self._address)
        verify_rest_response(http_request(credentials, _LOG_BATCH, "POST", json=body), _LOG_BATCH)

    def log_datasets(self, run_id: str, datasets: Sequence[LogDataset]) -> None:
        """Record dataset inputs; the full digest is a tag of the input because MLflow's field is too short for it."""
        inputs = [
            DatasetInput(
                Dataset(
                    name=storable(dataset.name),
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

    def log_bytes(self, run_id: str, content: bytes, path: str) -> None:
        """Upload bytes as a file under ``path`` within the run's artifacts."""
        with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
            file = Path(folder) / "content"
            file.write_bytes(content)
            self.log_artifact(run_id, file, path)

    def log_artifact(self, run_id: str, file: Path, path: str) -> None:
        """Upload a file's bytes under ``path`` within the run's artifacts."""
        target = Path(storable(path))
        with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
            # MLflow names an artifact after its file, and the staged file is named after its digest.
            named = Path(folder) / target.name
            named.symlink_to(file.resolve())
            parent = target.parent.as_posix()
            known = self._artifact_stores.get(run_id)
            with self._translated():
                if known is not None:
                    known.log_artifact(str(named), None if parent == "." else parent)
                else:
                    self._client.log_artifact(run_id, str(named), None if parent == "." else parent)

    def log_model(
        self, experiment_id: str, run_id: str, *, key: str, model: LogModel, file: Path, logged_at: int
    ) -> str:
        """Make a logged model of a run, or find it by its key, and return its id.

        Its tags have the digests of its file and of its folder; that it is READY says that both are there.
        """
        with self._translated():
            logged = self._find_model(experiment_id, key)
            is_new = logged is None
            if logged is None:
                logged = self._client.create_logged_model(
                    experiment_id,
                    name=model.name,
                    source_run_id=run_id,
                    tags={MODEL_KEY_TAG: key, MODEL_SHA256_TAG: model.sha256},
                )
            if str(logged.status) != "READY":
                with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
                    manifest_digest = write_model_folder(
                        Path(folder), model, file=file, run_id=run_id, model_id=logged.model_id, logged_at=logged_at
                    )
                    self._client.log_model_artifacts(logged.model_id, folder)
                self._client.set_logged_model_tags(logged.model_id, {MODEL_MANIFEST_TAG: manifest_digest})
                self._client.finalize_logged_model(logged.model_id, "READY")
            outputs = None if is_new else self._client.get_run(run_id).outputs
            if logged.model_id not in {output.model_id for output in (outputs.model_outputs if outputs else ())}:
                self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        return str(logged.model_id)

    def register_model(self, model_id: str, *, run_id: str, name: str, key: str, tags: Mapping[str, str]) -> str:
        """Make a version of a registered model from a logged model, or find it by its key, and return its number.

        The version gets the tags of the logged model that hold its digests, and the alias ``candidate`` if no version
        was recorded after it.
        """
        with self._translated():
            # By key alone: a name with a quotation mark in it would break the filter.
            for version in self._client.search_model_versions(f"tags.`{MODEL_KEY_TAG}` = '{key}'"):
                if version.name == name:
                    break
            else:
                version = self._create_version(model_id, run_id=run_id, name=name, key=key, tags=tags)
            self._move_candidate(version)
        return str(version.version)

    def _create_version(
        self, model_id: str, *, run_id: str, name: str, key: str, tags: Mapping[str, str]
    ) -> ModelVersion:
        digests = self._client.get_logged_model(model_id).tags
        more = {tag: digests[tag] for tag in (MODEL_SHA256_TAG, MODEL_MANIFEST_TAG) if tag in digests}
        make = functools.partial(
            self._client.create_model_version,
            name,
            source=f"models:/{model_id}",
            run_id=run_id,
            tags={to_mlflow_name(tag): storable(value) for tag, value in tags.items()} | more | {MODEL_KEY_TAG: key},
            model_id=model_id,
            description=storable(": ".join(tags[tag] for tag in (DECISION_TAG, DECISION_REASON_TAG) if tag in tags))
            or None,
            await_creation_for=None,  # type: ignore[arg-type]  # None is MLflow's way to say: do not poll
        )
        with self._as_store_of_the_process():
            try:
                return make()
            except MlflowException as error:
                # Most often it is there: asking each time would cost more than this answer once.
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            self._require_registered_model(name)
            return make()

    def _move_candidate(self, version: ModelVersion) -> None:
        """Let the alias name the version that was recorded last, which need not be the one that was shipped last.

        MLflow moves an alias whatever it named before. So whoever has moved it looks again: versions are there before
        they get the alias, and of two shippers the one that moves it last sees both.
        """
        name, newest = version.name, version
        aliased = self._aliased_version(name)
        if aliased is not None and _recorded(aliased) > _recorded(version):
            return
        while True:
            if aliased is None or aliased.version != newest.version:
                self._client.set_registered_model_alias(name, CANDIDATE_ALIAS, str(newest.version))
                aliased = newest
            recent = self._client.search_model_versions(
                _name_condition(name), max_results=_VERSIONS_COMPARED, order_by=["version_number DESC"]
            )
            newest = max([version, *(item for item in recent if item.name == name)], key=_recorded)
            if newest.version == aliased.version:
                return

    def _aliased_version(self, name: str) -> ModelVersion | None:
        try:
            return self._client.get_model_version_by_alias(name, CANDIDATE_ALIAS)
        except MlflowException as error:
            # MLflow says the one of an alias and the other of a version that has been deleted under it.
            if error.error_code not in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                raise
            return None

    def _require_registered_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    # Experiments, put away and brought back.

    def list_experiments(self, *, archived: bool = False) -> tuple[StoredExperiment, ...]:
        """Return all experiments, the last changed first: those in use, or those that are archived."""
        view = ViewType.DELETED_ONLY if archived else ViewType.ACTIVE_ONLY
        with self._translated():
            experiments = self._search_experiments(view)
            ids = [str(experiment.experiment_id) for experiment in experiments]
            parents: dict[str, list[MlflowRun]] = {experiment_id: [] for experiment_id in ids}
            for run in self._search(ids, _PARENTS, limit=sys.maxsize, view=view) if ids else ():
                parents[str(run.info.experiment_id)].append(run)
        found = (stored_experiment(item, parents[str(item.experiment_id)]) for item in experiments)
        return tuple(sorted(found, key=lambda experiment: (-experiment.updated, experiment.name)))

    def find_experiment(self, name: str) -> StoredExperiment | None:
        """Return the experiment of this name, archived or not, or None; MLflow never has two of one name."""
        with self._translated():
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                return None
            view = ViewType.ACTIVE_ONLY if experiment.lifecycle_stage == "active" else ViewType.DELETED_ONLY
            parents = self._search([self._require_id(experiment.experiment_id)], _PARENTS, limit=sys.maxsize, view=view)
        return stored_experiment(experiment, parents)

    def experiment_names(self) -> tuple[str, ...]:
        """Return the names of all experiments, archived or not."""
        with self._translated():
            return tuple(experiment.name for experiment in self._search_experiments(ViewType.ALL))

    def running_runs(self, experiment_id: str) -> tuple[str, ...]:
        """Return the names of an experiment's runs that are RUNNING."""
        with self._translated():
            runs = self._search([experiment_id], "attributes.status = 'RUNNING'", limit=sys.maxsize)
        return tuple(run.info.run_name or run.info.run_id for run in runs)

    def archive_experiment(self, experiment_id: str) -> None:
        """Hide an experiment and its runs; its name stays taken."""
        with self._translated():
            deleted = self._search([experiment_id], "", limit=sys.maxsize, view=ViewType.DELETED_ONLY)
            ids = [run.info.run_id for run in deleted]
            for place in range(0, len(ids), _RUNS_PER_TAG):
                key = f"{DELETED_RUNS_TAG}.{place // _RUNS_PER_TAG}"
                self._client.set_experiment_tag(experiment_id, key, ",".join(ids[place : place + _RUNS_PER_TAG]))
            self._client.delete_experiment(experiment_id)

    def restore_experiment(self, experiment_id: str) -> None:
        """Bring an experiment back with its runs; those that had been deleted before it was archived stay deleted.

        May be repeated when it was interrupted.
        """
        with self._translated():
            experiment = self._client.get_experiment(experiment_id)
            if experiment.lifecycle_stage != "active":
                self._client.restore_experiment(experiment_id)
            deleted = deleted_before(experiment.tags)
            for run in self._search([experiment_id], "", limit=sys.maxsize) if deleted else ():
                if run.info.run_id in deleted:
                    self._client.delete_run(run.info.run_id)
            for key in experiment.tags:
                if key.startswith(DELETED_RUNS_TAG):
                    self._client.delete_experiment_tag(experiment_id, key)

    # What the check of the connection asks.

    def open_scratch_run(self, experiment: str, *, tags: Mapping[str, str]) -> ScratchRun:
        """Return the one run of an experiment that exists for checks alone; both are made, or restored, where missing.

        Raises:
            TrackingServerError: The store refuses that, or its search does not find what it has just made.
        """
        experiment_id, was_archived = "", False
        with self._translated():
            found = self._client.get_experiment_by_name(experiment)
            if found is not None and found.lifecycle_stage != "active":
                experiment_id, was_archived = self._require_id(found.experiment_id), True
                self._client.restore_experiment(experiment_id)
        if not was_archived:
            experiment_id = self.ensure_experiment(experiment, tags=tags)
        with self._translated():
            listed = self._client.search_experiments(filter_string=f"name = '{experiment}'")
            if experiment_id not in {str(item.experiment_id) for item in listed}:
                problem = f"the experiment {experiment!r} is there, but the store's search does not find it."
                raise TrackingServerError(self.uri, problem, is_outage=False)
            runs = self._client.search_runs([experiment_id], "", ViewType.ALL, 1, ["attributes.start_time ASC"])
            run = runs[0] if runs else self._client.create_run(experiment_id, run_name=experiment, tags=dict(tags))
            if run.info.lifecycle_stage != "active":
                self._client.restore_run(run.info.run_id)
            if run.info.status != "FINISHED":
                self._client.set_terminated(run.info.run_id, status="FINISHED")
        return ScratchRun(
            experiment_id=experiment_id, run_id=self._require_id(run.info.run_id), was_archived=was_archived
        )

    def close_scratch_run(self, scratch: ScratchRun) -> None:
        """Archive the experiment of a scratch run again if it had been archived before."""
        if scratch.was_archived:
            with self._translated():
                self._client.delete_experiment(scratch.experiment_id)

    def remove_artifact(self, run_id: str, path: str) -> None:
        """Remove one file of a run's artifacts; not every artifact store lets its clients do that."""
        with self._translated():
            location = self._client.get_run(run_id).info.artifact_uri
            get_artifact_repository(location, tracking_uri=self._address).delete_artifacts(path)

    def require_registry(self) -> None:
        """Search the model registry.

        Raises:
            TrackingServerError: It does not answer.
        """
        with self._translated():
            self._client.search_registered_models(max_results=1)

    def unfinished_runs(self) -> tuple[RunningRun, ...]:
        """Return every run with a run key that is RUNNING, over all experiments, oldest first."""
        with self._translated():
            ids = [str(experiment.experiment_id) for experiment in self._search_experiments(ViewType.ACTIVE_ONLY)]
            condition = f"attributes.status = 'RUNNING' AND tags.`{RUN_KEY_TAG}` != ''"
            running = self._search(ids, condition, limit=sys.maxsize) if ids else []
            members: dict[tuple[str, str], list[MlflowRun]] = {}
            for run in running:
                place = (str(run.info.experiment_id), run.data.tags.get(EVALUATION_TAG, ""))
                if place not in members:
                    condition = f"tags.`{EVALUATION_TAG}` = '{place[1]}'"
                    members[place] = self._search([place[0]], condition, limit=sys.maxsize) if place[1] else []
        found = [
            running_run(run, members[str(run.info.experiment_id), run.data.tags.get(EVALUATION_TAG, "")])
            for run in running
        ]
        return tuple(sorted(found, key=lambda run: (run.started_at, run.key)))

    # What people read.

    def list_runs_of_evaluation(self, experiment_id: str, evaluation: str) -> tuple[StoredRun, ...]:
        """Return the runs of an evaluation, the oldest first; those that were deleted or archived are left out."""
        with self._translated():
            runs = self._search([experiment_id], f"tags.`{EVALUATION_TAG}` = '{evaluation}'", limit=sys.maxsize)
        return tuple(stored_run(run) for run in reversed(runs))

    def list_evaluations(self, *, limit: int = 20) -> tuple[StoredRun, ...]:
        """Return the newest parent runs over all experiments."""
        # MLflow's filters cannot ask for a tag that is absent: children have the evaluation's tag as well.
        with self._translated():
            experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]
            runs = self._search(experiments, f"tags.`{EVALUATION_TAG}` != ''", limit=limit * (len(STEPS) + 1))
        parents = [run for run in runs if MLFLOW_PARENT_RUN_ID not in run.data.tags]
        return tuple(stored_run(run) for run in parents[:limit])

    def find_run(self, name: str) -> StoredRun:
        """Return the run with this id, key, name, or first characters of an id.

        Raises:
            RunNotFoundError: There is none.
            TrackingError: Several have this name, or an id that begins so.
        """
        found = self._find_named(name, view=ViewType.ACTIVE_ONLY)
        if found is None:
            raise RunNotFoundError(name, store=self.uri)
        return stored_run(found)

    def child_runs(self, run: StoredRun) -> tuple[StoredRun, ...]:
        """Return the children of a run in the order of their start; steps of one millisecond in their own order."""
        with self._translated():
            found = self._search([run.experiment_id], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run.run_id}'")
        steps = {name: place for place, name in enumerate(STEPS)}
        children = (stored_run(child) for child in found)
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

    def _search_experiments(self, view: int) -> list[Experiment]:
        experiments: list[Experiment] = []
        token = None
        while True:
            page = self._client.search_experiments(view_type=view, max_results=1000, page_token=token)
            experiments += page
            token = page.token
            if not token:
                return experiments

    def _find_named(self, name: str, *, view: int) -> MlflowRun | None:
        """Return the run with this id, key, name, or first characters of an id; one that is not deleted before others.

        A key that several runs have is one evaluation's: the newest is taken, and who compares runs says that it is
        doubled. A name or beginning that several share is nobody's.

        Raises:
            TrackingError: Several runs have this name, or an id that begins so.
        """
        quote = '"' if "'" in name else "'"
        if quote in name:
            return None  # MLflow's filters cannot ask for it
        by_id = [f"attributes.run_id LIKE '{name}%'"] if re.fullmatch("[0-9a-f]{1,32}", name) else []
        by_name = [f"{field} = {quote}{name}{quote}" for field in (f"tags.`{RUN_KEY_TAG}`", "attributes.run_name")]
        found: list[MlflowRun] = []
        with self._translated():
            ids = [str(experiment.experiment_id) for experiment in self._search_experiments(view)]
            for condition in by_id + by_name if len(name) == _RUN_ID_LENGTH else by_name + by_id:
                found = found or (self._search(ids, condition, view=view) if ids else [])
        found = [run for run in found if run.info.lifecycle_stage == "active"] or found
        if len(found) > 1 and any(run.data.tags.get(RUN_KEY_TAG) != name for run in found):
            shown = "; ".join(f"{run.info.run_id[:12]} ({run.info.run_name})" for run in found[:_RUNS_SHOWN])
            more = "; and others" if len(found) > _RUNS_SHOWN else ""
            msg = f"{name!r} names more than one run in {self.uri}: {shown}{more}. Name one by its id."
            raise TrackingError(msg)
        return found[0] if found else None

    def _search(
        self, experiment_ids: list[str], condition: str, *, limit: int = 1000, view: int = ViewType.ACTIVE_ONLY
    ) -> list[MlflowRun]:
        runs: list[MlflowRun] = []
        token = None
        while True:
            page = self._client.search_runs(
                experiment_ids, condition, view, min(limit, 1000), ["attributes.start_time DESC"], token
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
        # What MLflow has from its variable, or by default, must go on following the variable.
        was_set = mlflow.is_tracking_uri_set() and before != variable
        mlflow.set_tracking_uri(self._client.tracking_uri)  # noqa: TID251  (put back below)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before if was_set else None)  # type: ignore[arg-type]  # noqa: TID251
            if variable is None:
                os.environ.pop("MLFLOW_TRACKING_URI", None)
            else:
                os.environ["MLFLOW_TRACKING_URI"] = variable

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Lower MLflow's limits of time for a moment, and turn foreign errors into ours."""
        try:
            with lent_variables(self._limits) if self._limits else nullcontext():
                yield
        except MlflowException as error:
            causes = list(_causes(error))
            for cause in causes:
                if isinstance(cause, requests.RequestException):
                    raise self._unreachable(cause) from error
            is_outage = any(isinstance(cause, MlflowException) and _is_transient(cause) for cause in causes)
            problem = f"the tracking store answered: {self._words(error)}."
            raise TrackingServerError(self.uri, problem, is_outage=is_outage) from error
        except requests.RequestException as error:
            raise self._unreachable(error) from error
        except ParseError as error:
            problem = f"the answer is not MLflow's ({self._words(error)})."
            raise TrackingServerError(self.uri, problem, is_outage=True) from error
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise self._failed(error) from error
        except _object_store_errors() as error:
            raise self._failed(error) from error
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

    def _failed(self, error: Exception) -> TrackingServerError:
        return TrackingServerError(self.uri, f"the store failed ({self._words(error)}).", is_outage=True)

    def _unreachable(self, error: requests.RequestException) -> TrackingServerError:
        if isinstance(error, requests.exceptions.RetryError):
            return TrackingServerError(self.uri, "the tracking server answers with errors only.", is_outage=True)
        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            return TrackingServerError(self.uri, "that is no address of a server.", is_outage=False)
        is_late = isinstance(error, requests.Timeout) or "timed out" in str(error)
        problem = "the tracking server does not answer." if is_late else "the tracking server cannot be reached."
        return TrackingServerError(self.uri, problem, is_outage=True)


def _fitting(texts: Mapping[str, str]) -> list[str]:
    """Return the names of as many parameters or tags as fit into one request, at least one."""
    size, names = 0, list[str]()
    for name, text in itertools.islice(texts.items(), _TEXTS_PER_REQUEST):
        size += len(json.dumps(name)) + len(json.dumps(text))
        if size > _BYTES_PER_REQUEST and names:
            break
        names.append(name)
    return names


def _name_condition(name: str) -> str:
    """Return a filter for the versions of a registered model; of a name with both quotation marks, for similar ones.

    MLflow's filters know no way to write a quotation mark within a text.
    """
    quote = "'" if "'" not in name else '"'
    if quote not in name:
        return f"name = {quote}{name}{quote}"
    return "name LIKE '{}'".format(name.replace("'", "_"))


def schema_revisions() -> tuple[str, ...]:
    """Return the revisions of a store's tables that the installed MLflow knows, newest first."""
    from alembic.script import ScriptDirectory  # a fifth of a second that nothing else here needs

    folder = Path(mlflow.__file__).parent / "store" / "db_migrations"
    return tuple(str(script.revision) for script in ScriptDirectory(str(folder)).walk_revisions())


def _column_type(kind: str) -> str:
    """Return MLflow's name for an Arrow type."""
    if kind.startswith(("timestamp", "date")):
        return "datetime"
    return _COLUMN_TYPES.get(kind, "string")
