"""Reads models from MLflow: which there are, what is known of them, and their files.

Every call answers within seconds, also when the server does not: MLflow's own limits of time, which it takes from the
environment alone, are lowered while a call lasts, and left alone where somebody has set them. Foreign errors leave as
:class:`~hokusai.errors.ModelError`.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
import functools
import os
import re
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.errors import ModelError, ModelNotFoundError
from hokusai.models.local_files import LocalFiles, local_path
from hokusai.models.model_runs import EVALUATION_TAG, to_model_run, used_datasets
from hokusai.models.model_versions import MODEL_ID, from_logged, from_registry, utc_text, with_aliases
from hokusai.models.promotion import MOVES_OF_TAG
from hokusai.models.run_artifacts import manifest_tags
from hokusai.models.stored_files import StoredFiles
from hokusai.process_environment import lent_variables
from hokusai.records import LEDGER_OF_TAG, MODEL_MANIFEST_TAG, MODEL_SHA256_TAG, ModelVersion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion as RegisteredVersion
    from mlflow.entities.model_registry import RegisteredModel
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

    from hokusai.models.model_runs import ModelRun

__all__ = ["ModelRegistry"]

_SQLITE_PREFIX = "sqlite:///"
_DIGEST = re.compile(r"sha256:([0-9a-f]{8,64})")
_CREDENTIALS = re.compile(r"(?<=:)//[^/?#]*@")
_MISSING_CODES = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
_NAMES_SHOWN = 3
_VERSIONS_SHOWN = 8
_PER_PAGE = 1000
_DISK_ERRORS = {errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EPERM, errno.EROFS}
_MLFLOW_DIGEST_LENGTH = 36
_MODELS_PER_PAGE = 100


class ModelRegistry:
    """The models of one MLflow tracking store and its registry.

    Args:
        uri: Tracking URI. MLflow is imported, and the store opened, by the first call that needs it.
        registry_uri: URI of the model registry; default the tracking URI.
        request_seconds: How long a server may keep silent, unless MLflow's environment variables say otherwise.
    """

    def __init__(self, uri: str, *, registry_uri: str = "", request_seconds: float = 10.0) -> None:
        """Remember the addresses."""
        self.uri = uri
        self._registry_uri = registry_uri or uri
        self._request_seconds = request_seconds

    @property
    def store(self) -> str:
        """The tracking store's address without credentials."""
        return _CREDENTIALS.sub("//", self.uri, count=1)

    def find(self, address: str) -> ModelVersion:
        """Return the model, or the artifact of a run, at an address.

        Args:
            address: ``models:/name/version``, ``models:/name@alias`` (both also without ``models:/``),
                ``models:/m-…`` or ``m-…`` for a logged model, ``runs:/id/path``, or ``sha256:`` with the digest of a
                model's file or manifest or its first characters, at least eight.

        Raises:
            ModelNotFoundError: There is none.
            ModelError: A digest's first characters name several models, or the store does not answer.
        """
        if digest := _DIGEST.fullmatch(address):
            return self._with_digest(address, digest[1])
        with self._translated(address):
            version = self._look_up(address)
            if MODEL_MANIFEST_TAG not in version.tags and version.name and version.model_id:
                # Whoever registered the model may have left the tags where the logged model has them.
                logged = self._client.get_logged_model(version.model_id).tags
                version = dataclasses.replace(version, tags={**logged, **version.tags})
        return version

    def names(self) -> tuple[str, ...]:
        """Return the names of all registered models, sorted; not those of logs of moved aliases or ledgers.

        Raises:
            ModelError: The store does not answer.
        """
        with self._translated("registered models"):
            return tuple(sorted(model.name for model in self._search_registered()))

    def versions(self, name: str = "") -> tuple[ModelVersion, ...]:
        """Return all versions of a registered model, or of all that :meth:`names` has, by name and number.

        Raises:
            ModelNotFoundError: There is no registered model of this name.
            ModelError: The store does not answer.
        """
        condition = _condition("name", name) if name else ""
        with self._translated(name or "registered models"):
            # A registered model without a version is there all the same, and it alone knows its aliases.
            models = [self._client.get_registered_model(name)] if name else list(self._search_registered())
            known = {model.name for model in models}
            found = [item for item in self._search_versions(condition) if item.name in known]
        versions = with_aliases(map(from_registry, found), models)
        return tuple(sorted(versions, key=lambda version: (version.name, int(version.version))))

    def by_tag(self, tag: str, value: str, *, is_prefix: bool = False) -> tuple[ModelVersion, ...]:
        """Return the registered versions with this value of a tag, and logged models that nobody registered.

        Args:
            tag: The tag's name.
            value: Its value, or with ``is_prefix`` the first characters of it.
            is_prefix: Whether more characters may follow.

        Raises:
            ModelError: The store does not answer.
        """
        condition = _condition(f"tags.`{tag}`", value, is_prefix=is_prefix)
        with self._translated(value):
            registered = [from_registry(item) for item in self._search_versions(condition)]
            names = {version.name for version in registered}
            found = with_aliases(registered, [self._client.get_registered_model(name) for name in sorted(names)])
            known = {version.model_id for version in registered}
            found += [from_logged(model) for model in self._search_logged(condition) if model.model_id not in known]
        # The database may compare texts without their case.
        return tuple(
            version
            for version in found
            if version.tags.get(tag) == value or (is_prefix and version.tags.get(tag, "").startswith(value))
        )

    def run(self, version: ModelVersion) -> ModelRun | None:
        """Return what MLflow holds of the run that a model came from, or None when it names none or has lost it.

        Of an evaluation that is the whole tree: what its steps recorded counts as well.

        Raises:
            ModelError: The store does not answer.
        """
        if not version.run_id:
            return None
        try:
            with self._translated(version.address):
                run = self._client.get_run(version.run_id)
                evaluation = run.data.tags.get(EVALUATION_TAG, "")
                condition = _condition(f"tags.`{EVALUATION_TAG}`", evaluation)
                members = self._client.search_runs([run.info.experiment_id], condition) if evaluation else []
        except ModelNotFoundError:
            return None
        return to_model_run(run, members)

    def runs_with_dataset(self, digest: str) -> frozenset[str]:
        """Return the ids of the runs that list a dataset whose digest begins like this.

        Raises:
            ModelError: The store does not answer.
        """
        # MLflow's own field has no room for a whole digest of ours.
        condition = _condition("dataset.digest", digest[:_MLFLOW_DIGEST_LENGTH], is_prefix=True)
        found: set[str] = set()
        with self._translated(digest):
            experiments = self._experiments()
            token = None
            while experiments:
                page = self._client.search_runs(experiments, condition, max_results=_PER_PAGE, page_token=token)
                found |= {
                    run.info.run_id
                    for run in page
                    if any(item.digest.startswith(digest) for item in used_datasets(run))
                }
                token = page.token
                if not token:
                    break
        return frozenset(found)

    def files(self, version: ModelVersion) -> StoredFiles:
        """Return a handle of a model's files; nothing is asked for yet but where they are.

        Raises:
            ModelError: The store does not answer.
        """
        with self._translated(version.address):
            location = self._location(version.location)
        kind = StoredFiles if local_path(location) is None else LocalFiles
        return kind(
            version.address,
            location=location,
            open_store=self._open_store,
            translated=functools.partial(self._translated, is_file=True),
        )

    def download(self, version: ModelVersion, folder: Path) -> Path:
        """Fetch all files of a model into a folder, as they are: nothing is checked here.

        Returns:
            The model's folder, or the file of an artifact that is one.

        Raises:
            ModelError: One of them cannot be had, or the store does not answer. What was fetched until then stays.
        """
        files = self.files(version)
        sizes = files.sizes()
        files.fetch(sizes, folder)
        return folder / next(iter(sizes)) if files.is_file else folder

    def _open_store(self, uri: str) -> ArtifactRepository:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(uri, tracking_uri=self.uri)

    @functools.cached_property
    def _client(self) -> MlflowClient:
        if self.uri.startswith(_SQLITE_PREFIX) and not Path(self.uri[len(_SQLITE_PREFIX) :].split("?")[0]).exists():
            # MLflow would make one here, for seconds, and in the way of the process that ships to it.
            msg = f"there is no tracking store at {self.uri} yet. Name another one, or run an evaluation first."
            raise ModelError(msg)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri, registry_uri=self._registry_uri)

    def _look_up(self, address: str) -> ModelVersion:
        """Ask MLflow for what an address names; its own errors pass."""
        scheme, separator, rest = address.partition(":/")
        if scheme == "runs" and separator:
            return self._look_up_in_run(*rest.partition("/")[::2])
        named = rest if scheme == "models" and separator else address
        if MODEL_ID.fullmatch(named):
            return from_logged(self._client.get_logged_model(named))
        name, is_version, number = named.rpartition("/")
        if is_version and number.isdecimal():
            found = self._client.get_model_version(name, number)
        else:
            name, is_alias, alias = named.rpartition("@")
            if not (is_alias and name and alias):
                raise self._not_found(address)
            found = self._client.get_model_version_by_alias(name, alias)
        # The public way would ask once more, whether the model is a prompt; the version has been asked for that.
        registry = self._client._get_registry_client()  # noqa: SLF001
        location = registry.get_model_version_download_uri(found.name, found.version)
        return from_registry(found, location=self._location(location))

    def _look_up_in_run(self, run_id: str, path: str) -> ModelVersion:
        """Find a path of a run: in a model that the run logged under that name, or among its artifacts."""
        run = self._client.get_run(run_id)
        info = run.info
        name, _, inner = path.partition("/")
        condition = f"{_condition('name', name)} AND {_condition('source_run_id', run_id)}"
        found = self._client.search_logged_models([info.experiment_id], condition) if name else []
        model = next((model for model in found if model.name == name), None)
        if model is not None and not inner:
            return from_logged(model)
        at_run = f"{info.artifact_uri}/{path}".rstrip("/")
        return ModelVersion(
            address=f"runs:/{run_id}/{path}",
            location=at_run if model is None else f"{model.artifact_location}/{inner}",
            run_id=run_id,
            tags=manifest_tags(run.data.tags) if model is None else {},
            created=utc_text(info.start_time),
        )

    def _location(self, source: str) -> str:
        """Follow the address of a logged model, or of a run's artifact, to where the files are."""
        scheme, _, rest = source.partition(":/")
        if scheme == "runs":
            return self._look_up_in_run(*rest.partition("/")[::2]).location
        if scheme == "models":
            model_id, slash, inner = rest.partition("/")
            return f"{self._client.get_logged_model(model_id).artifact_location}{slash}{inner}"
        return source

    def _with_digest(self, address: str, digest: str) -> ModelVersion:
        found: dict[str, ModelVersion] = {}
        for tag in (MODEL_SHA256_TAG, MODEL_MANIFEST_TAG):
            for version in self.by_tag(tag, digest, is_prefix=True):
                found.setdefault(version.address, version)
        if not found:
            raise self._not_found(address)
        contents = {version.tags.get(MODEL_MANIFEST_TAG) or version.address for version in found.values()}
        if len(contents) > 1:
            shown = "; ".join(list(found)[:_VERSIONS_SHOWN])
            more = f"; and {len(found) - _VERSIONS_SHOWN} more" if len(found) > _VERSIONS_SHOWN else ""
            msg = f"{address!r} names {len(found)} models in {self.store}: {shown}{more}. Name one by its address."
            raise ModelError(msg)
        return self.find(next(iter(found)))

    def _search_registered(self) -> Iterator[RegisteredModel]:
        token = None
        while True:
            page = self._client.search_registered_models(max_results=_PER_PAGE, page_token=token)
            yield from (model for model in page if not {MOVES_OF_TAG, LEDGER_OF_TAG} & model.tags.keys())
            token = page.token
            if not token:
                return

    def _search_versions(self, condition: str) -> Iterator[RegisteredVersion]:
        token = None
        while True:
            page = self._client.search_model_versions(condition, max_results=_PER_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _search_logged(self, condition: str) -> Iterator[LoggedModel]:
        experiments, token = self._experiments(), None
        while experiments:
            models = self._client.search_logged_models(
                experiments, condition, max_results=_MODELS_PER_PAGE, page_token=token
            )
            yield from models
            token = models.token
            if not token:
                return

    def _experiments(self) -> list[str]:
        found: list[str] = []
        token = None
        while True:
            page = self._client.search_experiments(max_results=_PER_PAGE, page_token=token)
            found += [str(experiment.experiment_id) for experiment in page]
            token = page.token
            if not token:
                return found

    def _not_found(self, asked: str) -> ModelNotFoundError:
        """Return the error for what nothing answers to, with what comes near: names, or addresses of a known name."""
        name = re.split("[/@]", asked.removeprefix("models:/"))[0]
        close = difflib.get_close_matches(name, self.names(), n=_NAMES_SHOWN)
        if name in close:
            versions = self.versions(name)
            aliases = sorted(f"{name}@{alias}" for version in versions for alias in version.aliases)
            close = aliases + [f"{name}/{version.version}" for version in reversed(versions[-_VERSIONS_SHOWN:])]
        return ModelNotFoundError(asked, store=self.store, close=close)

    @contextmanager
    def _translated(self, asked: str, *, is_file: bool = False) -> Iterator[None]:
        """Lower the limits of time, and turn foreign errors into ours; what is missing may be a file or a model."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        limits = {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(self._request_seconds))),
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
        }
        with lent_variables(limits):
            import requests
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError

            try:
                yield
            except MlflowException as error:
                if error.error_code in _MISSING_CODES and not is_file:
                    raise self._not_found(asked) from error
                raise self._failed(asked, error) from error
            except (requests.RequestException, SQLAlchemyError, sqlite3.Error, OSError) as error:
                raise self._failed(asked, error) from error

    def _failed(self, asked: str, error: Exception) -> ModelError:
        """Return the error for a store that fails, without the credentials that foreign words may repeat."""
        from requests import RequestException, Timeout

        cause = error.__context__ if isinstance(error.__context__, RequestException) else error
        text = _CREDENTIALS.sub("//", str(error).strip().replace(self.uri, self.store)) or type(error).__name__
        problem, advice = text.splitlines()[0][:300], "`hokusai doctor` says whether the store answers; then try again."
        if isinstance(cause, Timeout) or "timed out" in str(cause):
            problem = "the server does not answer"
        elif isinstance(cause, OSError) and cause.errno in _DISK_ERRORS:
            advice = "Make room or give the right to it, or name another folder."
        return ModelError(f"{asked}: cannot be had from {self.store} ({problem}). {advice}")


def _condition(field: str, text: str, *, is_prefix: bool = False) -> str:
    """Return a filter for a text, or for what begins with it; of one with both quotation marks, for similar texts.

    MLflow's filters know no way to write a quotation mark within a text. Whoever asks looks at what was found.
    """
    quote = '"' if "'" in text else "'"
    pattern = text.replace(quote, "_") + ("%" if is_prefix else "")
    return f"{field} {'=' if pattern == text else 'LIKE'} {quote}{pattern}{quote}"
