"""``hokusai model``: registered models and artifacts, listed, shown, fetched, verified, compared and traced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.cli import display, model_display
from hokusai.cli.settings import tracking_settings
from hokusai.tracking.mlflow_config import require_store, resolve_store

if TYPE_CHECKING:
    import argparse

    from hokusai.models.mlflow_registry import ModelRegistry

__all__ = ["diff", "lineage", "list_all", "pull", "show", "verify"]


def list_all(arguments: argparse.Namespace) -> int:
    """List the registered models, or the versions of one."""
    registry = _open(arguments)
    if arguments.name:
        versions = registry.versions(arguments.name)
        model_display.print_versions(arguments.name, versions, as_json=arguments.json)
        return 0
    names = registry.names()
    versions = registry.versions()
    if not names and not arguments.json:
        print(f"No registered models in {registry.store}. Make some with `{display.command_name()} demo`.")
        return 0
    model_display.print_models(names, versions, as_json=arguments.json)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print everything that MLflow holds of one model."""
    from hokusai.models.model_details import describe_model

    registry = _open(arguments)
    details = describe_model(arguments.model, registry=registry)
    model_display.print_details(details, as_json=arguments.json)
    return 0


def pull(arguments: argparse.Namespace) -> int:
    """Fetch a model, or any artifact of a run, into a folder."""
    from hokusai.models.retrieval import pull_model

    registry = _open(arguments)
    pulled = pull_model(arguments.model, arguments.to, registry=registry)
    model_display.print_pulled(pulled, as_json=arguments.json)
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Say whether the files of a model are what was recorded; exits 1 when they are not, or when nothing was."""
    from hokusai.models.model_checks import check_model

    registry = _open(arguments, is_needed=not Path(arguments.model).is_dir())
    check = check_model(arguments.model, registry=registry, recorded_as=arguments.recorded_as)
    model_display.print_check(check, as_json=arguments.json)
    return 0 if check.ok else 1


def diff(arguments: argparse.Namespace) -> int:
    """Print what differs between two models."""
    from hokusai.models.model_details import compare_models, describe_model

    registry = _open(arguments)
    first, second = (describe_model(address, registry=registry) for address in (arguments.first, arguments.second))
    model_display.print_differences(first, second, compare_models(first, second), as_json=arguments.json)
    return 0


def lineage(arguments: argparse.Namespace) -> int:
    """Print what a model was made from, or which models were made from a dataset."""
    from hokusai.models.model_lineage import models_of_dataset, trace_model

    registry = _open(arguments)
    if arguments.dataset is None:
        model_display.print_origin(trace_model(arguments.model, registry=registry), as_json=arguments.json)
        return 0
    found = models_of_dataset(arguments.dataset, registry=registry)
    model_display.print_models_of(arguments.dataset, found, store=registry.store, as_json=arguments.json)
    return 0 if found else 1


def _open(arguments: argparse.Namespace, *, is_needed: bool = True) -> ModelRegistry:
    """Open the registry that the flags, or the file in this folder, name."""
    from hokusai.models.mlflow_registry import ModelRegistry

    settings = tracking_settings(arguments)
    uri = require_store(settings) if is_needed else resolve_store(settings)
    return ModelRegistry(uri, registry_uri=settings.registry_uri, request_seconds=settings.request_seconds)
