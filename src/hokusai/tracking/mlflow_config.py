"""Where MLflow is and how long to wait for it: tracking URI, experiment, names, time-outs.

Credentials are MLflow's own environment variables (``MLFLOW_TRACKING_USERNAME``, ``MLFLOW_TRACKING_PASSWORD``,
``MLFLOW_TRACKING_TOKEN``) and go to the shipper by the environment, never by a command line or a journal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

__all__ = ["TrackingSettings", "default_store_uri", "redact_credentials", "shipper_environment", "sqlite_path"]

SQLITE_PREFIX = "sqlite:///"
# Not urlsplit: an address that it refuses may hold a password as well.
_CREDENTIALS = re.compile(r"(?<=:)//[^/?#]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingSettings:
    """Settings under ``[tracking]``.

    Attributes:
        uri: MLflow tracking URI; empty means a SQLite file ``mlflow.db`` in the project's folder.
        experiment: Name template of the experiment, with ``{project}`` and ``{date}``.
        run_name: Name template of the parent run, with ``{project}``, ``{date}`` and ``{run_id}``.
        registered_model: Name template of the registered model, with ``{project}``.
        journal: Folder of the journals, one folder per evaluation below it.
        wait_seconds: How long the end of an evaluation waits for a tracking server that makes no progress; after
            that, what is missing stays in the journal for ``hokusai sync``.
        request_seconds: Time-out of one request to a tracking server.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    uri: str = ""
    experiment: str = "hokusai-{project}"
    run_name: str = "hokusai-{date}-{run_id}"
    registered_model: str = "hokusai-{project}"
    journal: Path = Path(".hokusai")
    wait_seconds: Annotated[float, Interval(gt=0, le=86_400)] = 5.0
    request_seconds: Annotated[float, Interval(gt=0, le=86_400)] = 10.0


def default_store_uri(folder: Path) -> str:
    """Return the URI of the SQLite store in a project's folder."""
    return f"{SQLITE_PREFIX}{folder.resolve() / 'mlflow.db'}"


def sqlite_path(uri: str) -> Path | None:
    """Return the file of a ``sqlite:///`` URI, or None for any other URI."""
    if not uri.startswith(SQLITE_PREFIX):
        return None
    return Path(uri[len(SQLITE_PREFIX) :].split("?", 1)[0])


def redact_credentials(uri: str) -> str:
    """Return the URI without user name and password."""
    return _CREDENTIALS.sub("//", uri, count=1)


def shipper_environment(settings: TrackingSettings) -> dict[str, str]:
    """Return the environment variables under which MLflow's client fails within seconds and reports to nobody.

    MLflow's own defaults block one call to a dead server for four minutes and to a hanging one for twenty. Its retries
    are off because the shipper has its own, which look first whether the server had done the work.
    """
    return {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(settings.request_seconds))),
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "1",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
