"""Everything that MLflow holds of an evaluation, for the audit: MLflow's second door in tracking, and it only reads.

:class:`MlflowReader` hands out what :class:`~hokusai.tracking.mlflow_client.MlflowStore` leaves out because nobody else
needs it: whole metric histories, files of runs and models by digest, logged models, model versions, deleted runs.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

# As in mlflow_client: MLflow reads this while it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID

from hokusai.digests import file_sha256
from hokusai.errors import TrackingServerError
from hokusai.tracking.mlflow_client import MetricPoint, MlflowStore
from hokusai.tracking.naming import EVALUATION_TAG
from hokusai.tracking.recorded_facts import MetricPoints

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from mlflow.entities import LoggedModel
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

__all__ = ["GONE", "FoundDataset", "FoundModel", "FoundRun", "FoundVersion", "MlflowReader"]

GONE = ("", 0)
"""SHA-256 and size of a file that is listed and cannot be had."""

_POINTS_PER_REQUEST = 25_000
_IDS_PER_REQUEST = 100
# Of a file that is gone, servers and object stores say different things; of a failure that passes, one of these.
_PASSING = re.compile(
    r"\b(408|425|429|502|503|504) (Client Error|Server Error|error responses)"
    r"|timed out|[Nn]ew connection|Connection (aborted|broken|reset|refused)|RemoteDisconnected|connect to"
)
_FETCHES = 3
_MISSING_CODES = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDataset:
    """A dataset input of a run.

    Attributes:
        short_digest: What stands in MLflow's own field, which is too short for a whole digest.
        digest: The whole digest, from the input's tag; empty when it is not there.
        rows: Number of rows as a text, empty when MLflow does not say; so are the number and the names of columns.
    """

    name: str
    short_digest: str
    context: str
    digest: str
    source: str
    rows: str
    column_count: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRun:
    """A run as MLflow holds it, deleted ones included; times in milliseconds since 1970.

    Attributes:
        latest: The value of every metric that MLflow shows as its last one.
        model_ids: Ids of the models that the run lists as its outputs.
        location: Where the artifacts are.
    """

    run_id: str
    name: str
    experiment_id: str
    is_deleted: bool
    status: str
    start_time: int
    end_time: int | None
    parameters: Mapping[str, str]
    latest: Mapping[str, MetricPoint]
    tags: Mapping[str, str]
    datasets: tuple[FoundDataset, ...]
    model_ids: tuple[str, ...]
    location: str

    @property
    def parent_id(self) -> str:
        """The id of the run above this one; empty for none."""
        return self.tags.get(MLFLOW_PARENT_RUN_ID, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A logged model.

    Attributes:
        location: Where its files are.
    """

    model_id: str
    name: str
    status: str
    run_id: str
    tags: Mapping[str, str]
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundVersion:
    """A version of a registered model.

    Attributes:
        source: The address that it was made from, such as ``models:/m-…``.
        location: Where whoever loads it takes the files from; MLflow keeps that apart from the source.
        model_id: Id of the logged model; empty with MLflow's own registry, whose tables have no place for it. There
            the source names the model.
    """

    name: str
    version: str
    source: str
    location: str
    run_id: str
    model_id: str
    status: str
    tags: Mapping[str, str]


class MlflowReader(MlflowStore):
    """Reads one MLflow tracking store with its registry; see the module."""

    def find_anywhere(self, name: str) -> FoundRun | None:
        """Return the run with this id, key, name, or first characters of an id, deleted ones included, or None.

        Raises:
            TrackingError: Several have this name, or an id that begins so.
        """
        found = self._find_named(name, view=ViewType.ALL)
        return _found_run(found) if found else None

    def runs_of(self, evaluation: str, *, known_ids: Collection[str]) -> tuple[FoundRun, ...]:
        """Return every run that belongs to an evaluation, deleted ones included.

        Those are the runs with its tag, the runs with these ids, and all that name one of them as their parent.
        """
        runs: dict[str, MlflowRun] = {}
        with self._translated():
            ids = self._every_experiment()
            for run in self._search(ids, _tag_is(EVALUATION_TAG, evaluation), view=ViewType.ALL):
                if run.data.tags[EVALUATION_TAG] == evaluation:
                    runs[run.info.run_id] = run
            for run_id in sorted(set(known_ids) - runs.keys()):
                try:
                    runs[run_id] = self._client.get_run(run_id)
                except MlflowException as error:
                    if error.error_code not in _MISSING_CODES:
                        raise
            for parent in [run_id for run_id, run in runs.items() if MLFLOW_PARENT_RUN_ID not in run.data.tags]:
                condition = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'"
                for run in self._search(ids, condition, view=ViewType.ALL):
                    runs.setdefault(run.info.run_id, run)
        return tuple(_found_run(run) for run in runs.values())

    def experiment_state(self, experiment_id: str) -> tuple[str, bool]:
        """Return an experiment's name, and whether it is archived."""
        with self._translated():
            experiment = self._client.get_experiment(experiment_id)
        return str(experiment.name), experiment.lifecycle_stage != "active"

    def metric_points(self, run_id: str, name: str) -> MetricPoints:
        """Return the whole history of a metric, read in pages of 25,000 points."""
        points, token = MetricPoints(), None
        with self._translated():
            # The client's own call keeps an object per point: several hundred bytes instead of 24.
            store = self._client._tracking_client.store  # noqa: SLF001
            while True:
                page = store.get_metric_history(run_id, name, max_results=_POINTS_PER_REQUEST, page_token=token)
                for metric in page:
                    points.add(metric.value, time=metric.timestamp, step=metric.step)
                token = page.token
                if not token:
                    return points

    def is_dataset_shared(self, dataset: FoundDataset, *, experiment_id: str, evaluation: str) -> bool:
        """Say whether runs of other evaluations have the same dataset; MLflow keeps the first one's source for all."""
        with self._translated():
            runs = self._search([experiment_id], f"dataset.digest = '{dataset.short_digest}'", view=ViewType.ALL)
        return any(run.data.tags.get(EVALUATION_TAG) != evaluation for run in runs)

    def runs_with_datasets(self) -> tuple[FoundRun, ...]:
        """Return every run that lists datasets and is not deleted, the newest first."""
        with self._translated():
            ids = [str(experiment.experiment_id) for experiment in self._search_experiments(ViewType.ACTIVE_ONLY)]
            runs = self._search(ids, "dataset.digest LIKE '%'", limit=sys.maxsize) if ids else []
        return tuple(_found_run(run) for run in runs)

    def runs_with_ids(self, run_ids: Sequence[str]) -> tuple[FoundRun, ...]:
        """Return the runs with these ids that are not deleted."""
        found: list[MlflowRun] = []
        with self._translated():
            ids = [str(experiment.experiment_id) for experiment in self._search_experiments(ViewType.ACTIVE_ONLY)]
            for start in range(0, len(run_ids) if ids else 0, _IDS_PER_REQUEST):
                some = ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + _IDS_PER_REQUEST])
                found += self._search(ids, f"attributes.run_id IN ({some})")
        return tuple(_found_run(run) for run in found)

    def files_in(self, location: str, folder: str) -> dict[str, int]:
        """Return path and size of the files in one folder of a place of artifacts; none when there is no folder."""
        with self._translated():
            found = self._repository(location).list_artifacts(folder)
        return {item.path: item.file_size or 0 for item in found if not item.is_dir}

    def fetch_file(self, location: str, path: str, folder: Path) -> Path:
        """Copy a file of any size into a folder of this machine, and return where it is."""
        return self._require(self._fetch(location, path, folder), path)

    def files_of(self, location: str) -> dict[str, int]:
        """Return path and size of every file below a place of artifacts."""
        with self._translated():
            return dict(_walk(self._repository(location), None))

    def digest_of(self, location: str, path: str) -> tuple[str, int]:
        """Return SHA-256 and size of a file, from its bytes; of one that is listed and gone an empty text and 0."""
        with self._fetched(location, path) as file:
            return GONE if file is None else (file_sha256(file), file.stat().st_size)

    def read_file(self, location: str, path: str) -> bytes:
        """Return the bytes of a file that is known to be small."""
        with self._fetched(location, path) as file:
            return self._require(file, path).read_bytes()

    def read_file_if_there(self, location: str, path: str) -> bytes | None:
        """Return the bytes of a file that is known to be small; None for one that is gone, though it may be listed."""
        with self._fetched(location, path) as file:
            return None if file is None else file.read_bytes()

    def models_of(self, run: FoundRun) -> tuple[FoundModel, ...]:
        """Return the logged models that were made by a run or that it lists as its outputs."""
        with self._translated():
            condition = f"source_run_id = '{run.run_id}'"
            found = {model.model_id: model for model in self._search_models(run.experiment_id, condition)}
            for model_id in run.model_ids:
                if model_id not in found:
                    try:
                        found[model_id] = self._client.get_logged_model(model_id)
                    except MlflowException as error:
                        if error.error_code not in _MISSING_CODES:
                            raise
        return tuple(map(_found_model, found.values()))

    def versions_of(self, run_id: str, *, keys: Collection[tuple[str, str]]) -> tuple[FoundVersion, ...]:
        """Return the model versions that name a run as theirs, or have one of these tags (name and value)."""
        conditions = [f"run_id = '{run_id}'", *(_tag_is(tag, value) for tag, value in keys)]
        found: dict[tuple[str, str], FoundVersion] = {}
        with self._translated():
            for condition in conditions:
                token = None
                while True:
                    page = self._client.search_model_versions(condition, page_token=token)
                    for item in page:
                        location = self._client.get_model_version_download_uri(item.name, item.version)
                        found[item.name, str(item.version)] = _found_version(item, location)
                    token = page.token
                    if not token:
                        break
        return tuple(found.values())

    def _every_experiment(self) -> list[str]:
        return [str(experiment.experiment_id) for experiment in self._search_experiments(ViewType.ALL)]

    def _search_models(self, experiment_id: str, condition: str) -> Iterator[LoggedModel]:
        token = None
        while True:
            page = self._client.search_logged_models([experiment_id], condition, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _repository(self, location: str) -> ArtifactRepository:
        return get_artifact_repository(location, tracking_uri=self._address)

    @contextmanager
    def _fetched(self, location: str, path: str) -> Iterator[Path | None]:
        with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
            yield self._fetch(location, path, Path(folder))

    def _fetch(self, location: str, path: str, folder: Path) -> Path | None:
        """Copy a file into a folder; return None when the store is there and the file is not.

        An object store may go on listing a file that somebody has deleted, and the server says nothing but that it
        failed. So the file is gone when it is not listed, or when the store answers and the file alone cannot be had.
        """
        for _ in range(_FETCHES):
            try:
                with self._translated():
                    file = Path(self._repository(location).download_artifacts(path, str(folder)))
            except TrackingServerError as error:
                if _PASSING.search(str(error.__cause__)):
                    raise
            else:
                if file.is_file():
                    return file
            # What is raised here says that it is the store that cannot be reached.
            if path not in self.files_in(location, path.rpartition("/")[0]):
                return None
        return None

    def _require(self, file: Path | None, path: str) -> Path:
        if file is None:
            problem = f"the artifact {path} is gone: it was deleted there, or cannot be read."
            raise TrackingServerError(self.uri, problem, is_outage=False)
        return file


def _tag_is(tag: str, value: str) -> str:
    """Return MLflow's condition for a tag; of a value with both quotes, which no filter can hold, a wider one."""
    quote = '"' if "'" in value else "'"
    if quote not in value:
        return f"tags.`{tag}` = {quote}{value}{quote}"
    return "tags.`{}` LIKE '{}'".format(tag, value.replace("'", "_"))


def _walk(repository: ArtifactRepository, path: str | None) -> Iterator[tuple[str, int]]:
    for item in repository.list_artifacts(path):
        if item.is_dir:
            yield from _walk(repository, item.path)
        else:
            yield item.path, item.file_size or 0


def _found_run(run: MlflowRun) -> FoundRun:
    return FoundRun(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        experiment_id=str(run.info.experiment_id),
        is_deleted=run.info.lifecycle_stage != "active",
        status=run.info.status,
        start_time=run.info.start_time,
        end_time=run.info.end_time,
        parameters=run.data.params,
        # The only place where MLflow's client hands out times and steps of last values without a request for each.
        latest={
            metric.key: MetricPoint(metric.key, metric.value, metric.timestamp, metric.step)
            for metric in run.data.to_proto().metrics
        },
        tags=run.data.tags,
        datasets=_found_datasets(run),
        model_ids=tuple(output.model_id for output in (run.outputs.model_outputs if run.outputs else ())),
        location=run.info.artifact_uri,
    )


def _found_datasets(run: MlflowRun) -> tuple[FoundDataset, ...]:
    found = []
    for item in run.inputs.dataset_inputs if run.inputs else ():
        tags = {tag.key: tag.value for tag in item.tags}
        profile = _object(item.dataset.profile)
        columns = _object(item.dataset.schema).get("mlflow_colspec")
        found.append(
            FoundDataset(
                name=item.dataset.name,
                short_digest=item.dataset.digest,
                context=tags.get(MLFLOW_DATASET_CONTEXT, ""),
                digest=tags.get("hokusai.digest", ""),
                source=str(_object(item.dataset.source).get("uri", item.dataset.source)),
                rows=str(profile.get("num_rows", "")),
                column_count=str(profile.get("num_columns", "")),
                columns=tuple(
                    f"{column.get('name')}: {column.get('type')}" if isinstance(column, dict) else str(column)
                    for column in (columns if isinstance(columns, list) else ())
                ),
            )
        )
    return tuple(found)


def _object(text: str | None) -> dict[str, object]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _found_model(model: LoggedModel) -> FoundModel:
    return FoundModel(
        model_id=model.model_id,
        name=model.name,
        status=str(model.status),
        run_id=model.source_run_id or "",
        tags=model.tags,
        location=model.artifact_location,
    )


def _found_version(version: ModelVersion, location: str) -> FoundVersion:
    return FoundVersion(
        name=version.name,
        version=str(version.version),
        source=version.source or "",
        location=location or "",
        run_id=version.run_id or "",
        model_id=version.model_id or "",
        status=version.status,
        tags=version.tags,
    )
