"""A test kit for everyone who tests code that tracks with MLflow.

Most of it comes as pytest fixtures (:mod:`hokusai.testing.plugin`); the names below are for tests that build something
of their own. They are fetched when they are first used: importing this package loads neither MLflow nor pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hokusai.testing.assertions import assert_run_complete, assert_same_history, assert_tracked
    from hokusai.testing.completeness import check_run_complete
    from hokusai.testing.contract import MlflowServerContract
    from hokusai.testing.example_runs import ExampleRuns
    from hokusai.testing.faults import (
        Bandwidth,
        ClockSkew,
        DropAnswer,
        Fault,
        FaultyProxy,
        Hang,
        KillAndRestart,
        Latency,
        ProxyEvent,
        Refuse,
        Reset,
        Status,
        TruncateAnswer,
        random_faults,
    )
    from hokusai.testing.mlflow_server import MlflowServerProcess, MockMlflowServer, RecordedRequest
    from hokusai.testing.offline import block_non_loopback_sockets
    from hokusai.testing.postgres_server import PostgresServer
    from hokusai.testing.s3_server import S3Server
    from hokusai.testing.sample_data import penguins_config, penguins_folder
    from hokusai.testing.snapshots import run_snapshot

__all__ = [
    "Bandwidth",
    "ClockSkew",
    "DropAnswer",
    "ExampleRuns",
    "Fault",
    "FaultyProxy",
    "Hang",
    "KillAndRestart",
    "Latency",
    "MlflowServerContract",
    "MlflowServerProcess",
    "MockMlflowServer",
    "PostgresServer",
    "ProxyEvent",
    "RecordedRequest",
    "Refuse",
    "Reset",
    "S3Server",
    "Status",
    "TruncateAnswer",
    "assert_run_complete",
    "assert_same_history",
    "assert_tracked",
    "block_non_loopback_sockets",
    "check_run_complete",
    "penguins_config",
    "penguins_folder",
    "random_faults",
    "run_snapshot",
]

_MODULES = {
    "assertions": ("assert_run_complete", "assert_same_history", "assert_tracked"),
    "completeness": ("check_run_complete",),
    "contract": ("MlflowServerContract",),
    "example_runs": ("ExampleRuns",),
    "faults": (
        "Bandwidth",
        "ClockSkew",
        "DropAnswer",
        "Fault",
        "FaultyProxy",
        "Hang",
        "KillAndRestart",
        "Latency",
        "ProxyEvent",
        "Refuse",
        "Reset",
        "Status",
        "TruncateAnswer",
        "random_faults",
    ),
    "mlflow_server": ("MlflowServerProcess", "MockMlflowServer", "RecordedRequest"),
    "offline": ("block_non_loopback_sockets",),
    "postgres_server": ("PostgresServer",),
    "s3_server": ("S3Server",),
    "sample_data": ("penguins_config", "penguins_folder"),
    "snapshots": ("run_snapshot",),
}
_HOMES = {name: f"hokusai.testing.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Fetch a public name from its module on first use."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, fetched or not."""
    return sorted(__all__)
