"""Where MLflow is and how long to wait for it: tracking URI, experiment, names, time-outs.

Credentials are MLflow's own environment variables (``MLFLOW_TRACKING_USERNAME``, ``MLFLOW_TRACKING_PASSWORD``,
``MLFLOW_TRACKING_TOKEN``) and go to the shipper by the environment, never by a command line or a journal.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from hokusai.errors import ConfigurationError, TrackingError

__all__ = [
    "TrackingSettings",
    "absolute_store_uri",
    "default_store_uri",
    "redact_credentials",
    "require_store",
    "resolve_store",
    "shipper_environment",
    "sqlite_path",
]

SQLITE_PREFIX = "sqlite:///"
_IN_MEMORY = {".", ":memory:"}
# Not urlsplit: an address that it refuses may hold a password as well.
_CREDENTIALS = re.compile(r"(?<=:)//[^/?#]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingSettings:
    """Settings under ``[tracking]``.

    Attributes:
        uri: MLflow tracking URI; empty means ``MLFLOW_TRACKING_URI``, or a SQLite file ``mlflow.db`` in the project's
            folder. A relative SQLite file is one beside the configuration file; given by a flag, the environment or
            code, one in the current folder.
        registry_uri: URI of the model registry, as ``uri``; empty means the tracking store's own.
        artifact_location: Where a new experiment keeps its artifacts, such as ``s3://bucket/path``; empty leaves it to
            the server, or means ``mlartifacts`` beside a SQLite file.
        experiment: Name template of the experiment, with ``{project}`` and ``{date}``.
        run_name: Name template of the parent run, with ``{project}``, ``{date}`` and ``{run_id}``.
        registered_model: Name template of the registered model, with ``{project}``.
        purpose: What the experiment is for; a tag of a new experiment.
        owner: Who answers for the experiment; a tag of a new experiment.
        tags: Tags of the parent run.
        allowed_names: Names of parameters and tags that look like those of secrets and are not; their values are
            recorded as they are.
        journal: Folder of the journals, one folder per evaluation below it.
        on_outage: What an evaluation does at its end when the tracking store has not taken everything: ``keep`` says
            so and leaves the rest in the journal for ``hokusai sync``; ``fail`` does the same and fails as well.
        outage_seconds: How long in all the end of an evaluation waits for a store that refuses or keeps silent.
        wait_seconds: How long it waits for a store that is there and makes no progress.
        request_seconds: Time-out of one request to a tracking server.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    uri: str = ""
    registry_uri: str = ""
    artifact_location: str = ""
    experiment: str = "hokusai-{project}"
    run_name: str = "hokusai-{date}-{run_id}"
    registered_model: str = "hokusai-{project}"
    purpose: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    allowed_names: tuple[str, ...] = ()
    journal: Path = Path(".hokusai")
    on_outage: Literal["keep", "fail"] = "keep"
    outage_seconds: Annotated[float, Interval(gt=0, le=86_400)] = 1.5
    wait_seconds: Annotated[float, Interval(gt=0, le=86_400)] = 60.0
    request_seconds: Annotated[float, Interval(gt=0, le=86_400)] = 10.0


def default_store_uri(folder: Path) -> str:
    """Return the URI of the SQLite store in a project's folder.

    Raises:
        ConfigurationError: The folder's path has a ``?``, which no SQLite URI can hold.
    """
    return absolute_store_uri(f"{SQLITE_PREFIX}mlflow.db", folder)


def absolute_store_uri(uri: str, folder: Path) -> str:
    """Return the URI of a SQLite file with the file's absolute path; any other URI, and one in memory, as it is.

    Args:
        uri: The URI.
        folder: Where a relative path begins.

    Raises:
        ConfigurationError: The folder's path has a ``?``, which no SQLite URI can hold.
    """
    path = sqlite_path(uri)
    # SQLite reads a name that begins with "file:" as a URI of its own.
    if path is None or path.is_absolute() or str(path) in _IN_MEMORY or str(path).startswith("file:"):
        return uri
    file = (folder / path).parent.resolve() / path.name
    if "?" in str(file):
        problem = f"the path {file} has a '?', which no SQLite URI can hold. Name another store, or move the folder."
        raise ConfigurationError(problem, key="tracking.uri")
    _, mark, options = uri.partition("?")
    return f"{SQLITE_PREFIX}{file}{mark}{options}"


def resolve_store(settings: TrackingSettings) -> str:
    """Return the tracking URI to use: the configured one, the environment's, or a file in the current folder."""
    given = (os.environ.get(name) for name in ("HOKUSAI_TRACKING_URI", "MLFLOW_TRACKING_URI"))
    uri = settings.uri or next(filter(None, given), "")
    return absolute_store_uri(uri, Path()) if uri else default_store_uri(Path())


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a ``sqlite:///`` URI, or None for any other URI."""
    if not uri.startswith(SQLITE_PREFIX):
        return None
    return Path(uri[len(SQLITE_PREFIX) :].split("?", 1)[0])


def require_store(settings: TrackingSettings) -> str:
    """Return the tracking URI to use, unless it is that of a file that is not there.

    Raises:
        TrackingError: There is no such store.
    """
    uri = resolve_store(settings)
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        msg = f"{path}: no tracking store here, expected the file of one. Name another with --tracking-uri."
        raise TrackingError(msg)
    return uri


def redact_credentials(uri: str) -> str:
    """Return the URI without user name and password."""
    return _CREDENTIALS.sub("//", uri, count=1)


def shipper_environment(settings: TrackingSettings) -> dict[str, str]:
    """Return the environment variables under which MLflow's client fails within seconds and reports to nobody.

    MLflow's own defaults block one call to a dead server for four minutes and to a hanging one for twenty. Its retries
    are off because the shipper has its own, which look first whether the server had done the work. Files come through
    the server: fetched from its object store in parts, each of them is asked for again for a minute.
    """
    return {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(settings.request_seconds))),
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "1",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    }
