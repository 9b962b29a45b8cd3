"""``hokusai runs``, ``show``, ``ui`` and ``sync``: what is in the tracking store, and what is not there yet."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.cli.settings import tracking_settings
from hokusai.errors import HokusaiError, TrackingError
from hokusai.tracking.mlflow_config import sqlite_path
from hokusai.tracking.mlflow_names import from_mlflow_name

if TYPE_CHECKING:
    import argparse

    from hokusai.tracking.mlflow_client import MlflowStore
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.stored_values import StoredRun

__all__ = ["runs", "show", "sync", "ui"]

_PORTS_TO_TRY = 50
_START_SECONDS = 120
_RUN_LIST = "/#/experiments/{experiment}/runs?workflowType=machine_learning"


def runs(arguments: argparse.Namespace) -> int:
    """List the newest evaluations."""
    store = _open_store(arguments)
    found = store.list_evaluations(limit=arguments.limit)
    if not found:
        print(f"No evaluations in {store.uri}. Make one with `{display.command_name()} demo`.")
        return 0
    rows = []
    for run in found:
        metric = run.parameters.get("delta.metric", "")
        rows.append(
            (
                run.run_id[:8],
                run.name,
                display.local_time(run.start_time),
                run.parameters.get("data.contributions", ""),
                run.status,
                metric,
                _number(run.metrics.get(f"delta.{metric}"), "{:+.4f}"),
                run.tags.get("hokusai.decision", ""),
            )
        )
    display.print_rows(("run", "name", "started", "contributions", "status", "metric", "delta", "decision"), rows)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print one run, and its steps if it has any."""
    store = _open_store(arguments)
    run = store.find_run(arguments.run)
    _print_run(run, store)
    for child in store.child_runs(run):
        print()
        _print_run(child, store)
    return 0


def ui(arguments: argparse.Namespace) -> int:
    """Serve the MLflow UI on a local store, or open the one of the tracking server."""
    settings = tracking_settings(arguments)
    if settings.uri.startswith(("http://", "https://")):
        _show_address(settings.uri, open_browser=not arguments.no_browser)
        return 0
    store = _open_store(arguments)
    experiment_id = _newest_experiment(store)
    port = _free_port(arguments.host, arguments.port)
    address = f"http://{arguments.host}:{port}"
    environment = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
        # Nothing is imported from the working directory, where contributed files may lie.
        "PYTHONSAFEPATH": "1",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", settings.uri]
    command += ["--host", arguments.host, "--port", str(port), "--workers", "1"]
    print(f"Starting the MLflow UI on {store.uri} …", flush=True)
    server = subprocess.Popen(  # noqa: S603  (MLflow's own command, by our own interpreter)
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_until_it_answers(server, address)
        _show_address(address + _RUN_LIST.format(experiment=experiment_id), open_browser=not arguments.no_browser)
        print("Stop it with Ctrl-C.", flush=True)
        server.communicate()
    except KeyboardInterrupt:
        print("Stopped.")
    finally:
        server.terminate()
        server.communicate()
    return 0


def sync(arguments: argparse.Namespace) -> int:
    """Ship every journal that is not in MLflow yet; exits 1 when one could not be shipped."""
    from hokusai.tracking.journal import find_journals, is_being_written
    from hokusai.tracking.shipper import find_lost_store, read_shipping_state

    settings = tracking_settings(arguments)
    folders = tuple(map(Path, arguments.journals)) or find_journals(settings.journal)
    failures = 0
    stores: dict[str, MlflowStore] = {}
    for folder in folders:
        state = read_shipping_state(folder)
        is_asked_for = arguments.all or arguments.tracking_uri or arguments.journals
        if state is not None and state.complete and not is_asked_for and not find_lost_store(state):
            continue
        if is_being_written(folder):
            print(f"{folder.name}: still running, left alone")
            continue
        try:
            print(f"{folder.name}: {_sync_one(folder, settings, arguments, stores)}")
        except HokusaiError as error:
            failures += 1
            print(f"hokusai: {error}", file=sys.stderr)
    looked_at = "1 journal" if len(folders) == 1 else f"{len(folders)} journals"
    print(f"{looked_at} looked at in {settings.journal}, {failures} could not be shipped.")
    return 1 if failures else 0


def _sync_one(
    folder: Path, settings: TrackingSettings, arguments: argparse.Namespace, stores: dict[str, MlflowStore]
) -> str:
    from hokusai.tracking.mlflow_client import MlflowStore
    from hokusai.tracking.mlflow_config import redact_credentials
    from hokusai.tracking.shipper import find_lost_store, read_destination, read_shipping_state, ship

    destination = settings.uri if arguments.tracking_uri else read_destination(folder).tracking_uri
    state = read_shipping_state(folder)
    is_elsewhere = arguments.tracking_uri and state and redact_credentials(destination) != state.store
    if not (arguments.all or is_elsewhere) and (lost := find_lost_store(state)):
        raise lost
    if redact_credentials(settings.uri) == destination:
        # The journal keeps no credentials; the configuration of the same store has them.
        destination = settings.uri
    if destination not in stores:
        stores[destination] = MlflowStore(destination, registry_uri=settings.registry_uri)
    state = ship(folder, stores[destination], again=arguments.all)
    return f"shipped to {stores[destination].uri} ({state.confirmed} entries, {len(state.run_ids)} runs)"


def _open_store(arguments: argparse.Namespace) -> MlflowStore:
    settings = tracking_settings(arguments)
    path = sqlite_path(settings.uri)
    if path is not None and not path.exists():
        msg = f"{path}: no tracking store here yet. Make one with `{display.command_name()} demo`, or name another."
        raise TrackingError(msg)
    from hokusai.tracking.mlflow_client import MlflowStore

    return MlflowStore(settings.uri, registry_uri=settings.registry_uri)


def _print_run(run: StoredRun, store: MlflowStore) -> None:
    seconds = "" if run.end_time is None else f", {(run.end_time - run.start_time) / 1000:.3f} s"
    print(f"{run.name}  {run.run_id}  {run.status}  {display.local_time(run.start_time)}{seconds}")
    sections = (
        ("parameter", [(from_mlflow_name(name), value) for name, value in sorted(run.parameters.items())]),
        ("metric", [(from_mlflow_name(name), repr(value)) for name, value in sorted(run.metrics.items())]),
        ("dataset", [(f"{context}: {name}", digest) for context, name, digest in run.datasets]),
        ("tag", [(name, value) for name, value in sorted(run.tags.items()) if name.startswith("hokusai.")]),
        ("artifact", [(path, "") for path in store.list_artifacts(run)]),
        ("model", [(model, "") for model in run.models]),
    )
    rows = [(kind, name, value) for kind, items in sections for name, value in items]
    display.print_rows(("", "name", "value"), rows)


def _newest_experiment(store: MlflowStore) -> str:
    newest = store.list_evaluations(limit=1)
    return newest[0].experiment_id if newest else "0"


def _free_port(host: str, first: int) -> int:
    for port in range(first, first + _PORTS_TO_TRY):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return port
    msg = f"no free port on {host} from {first} to {first + _PORTS_TO_TRY - 1}. Name another one with --port."
    raise TrackingError(msg)


def _wait_until_it_answers(server: subprocess.Popen[str], address: str) -> None:
    for _ in range(_START_SECONDS * 5):
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=0.2)
            lines = (server.stderr.read() if server.stderr else "").strip().splitlines()
            msg = f"the MLflow UI did not start: {lines[-1] if lines else 'no message'}."
            raise TrackingError(msg)
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{address}/health", timeout=1),  # noqa: S310  (our own address)
        ):
            return
    msg = f"the MLflow UI did not answer at {address} for {_START_SECONDS} seconds."
    raise TrackingError(msg)


def _show_address(address: str, *, open_browser: bool) -> None:
    print(f"MLflow UI: {address}", flush=True)
    if open_browser:
        webbrowser.open(address)


def _number(value: float | None, template: str) -> str:
    return "" if value is None else template.format(value)
