"""From a model to the data that it was made from, and from data to the models that were made from them.

Both follow from what MLflow holds: the tags of a version, which name the digest of every dataset, and the datasets that
runs list, for versions that somebody registered without such tags.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hokusai.models.model_runs import UsedDataset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hokusai.models.mlflow_registry import ModelRegistry
    from hokusai.models.model_runs import ModelRun
    from hokusai.records import ModelVersion

__all__ = ["DATASET_TAG", "ModelLineage", "contributors_of", "datasets_of", "models_of_dataset", "trace_model"]

DATASET_TAG = "hokusai.dataset."
"""What the tags of a version begin with that hold the digest of a dataset."""
_CONTRIBUTORS_TAG = "hokusai.contributors"
_PREFIX = re.compile(r"[0-9a-f]{4,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLineage:
    """What one model was made from.

    Attributes:
        version: The model.
        run: The run that it came from; None when there is none.
        datasets: What it was made from and measured on; when asked for the models of a dataset, those that were meant.
        contributors: Who offered the contributed data, as far as they are named.
    """

    version: ModelVersion
    run: ModelRun | None
    datasets: tuple[UsedDataset, ...]
    contributors: tuple[str, ...]


def trace_model(address: str, *, registry: ModelRegistry) -> ModelLineage:
    """Return what the model at an address was made from: datasets, contributors, run.

    Raises:
        ModelNotFoundError: Nothing answers to the address.
        ModelError: The store does not answer.
    """
    version = registry.find(address)
    run = registry.run(version)
    return ModelLineage(
        version=version, run=run, datasets=datasets_of(version, run), contributors=contributors_of(version)
    )


def models_of_dataset(dataset: str, *, registry: ModelRegistry) -> tuple[ModelLineage, ...]:
    """Return the registered models that a dataset went into, by name and number; ``run`` is None in all of them.

    Args:
        dataset: A content digest, its first characters (at least four), the name of a contribution, or a contributor.
        registry: The store.

    Raises:
        ModelError: The store does not answer.
    """
    is_digest = _PREFIX.fullmatch(dataset) is not None
    run_ids = registry.runs_with_dataset(dataset) if is_digest else frozenset()
    found = []
    for version in registry.versions():
        meant = tuple(_meant(dataset, version, is_digest=is_digest))
        contributors = contributors_of(version)
        if meant or dataset in contributors or version.run_id in run_ids:
            found.append(ModelLineage(version=version, run=None, datasets=meant, contributors=contributors))
    return tuple(found)


def datasets_of(version: ModelVersion, run: ModelRun | None) -> tuple[UsedDataset, ...]:
    """Return the datasets behind a model: those that its tags name, then those that only its run lists."""
    tagged = tuple(_tagged_datasets(version))
    listed = () if run is None else run.datasets
    known = {(item.context, item.digest) for item in tagged}
    return tagged + tuple(item for item in listed if (item.context, item.digest) not in known)


def contributors_of(version: ModelVersion) -> tuple[str, ...]:
    """Return who offered the contributed data of a model, as its tags say."""
    try:
        names = json.loads(version.tags.get(_CONTRIBUTORS_TAG, "[]"))
    except ValueError:
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _meant(dataset: str, version: ModelVersion, *, is_digest: bool) -> Iterable[UsedDataset]:
    for item in _tagged_datasets(version):
        if (is_digest and item.digest.startswith(dataset)) or (item.context == "contribution" and item.name == dataset):
            yield item


def _tagged_datasets(version: ModelVersion) -> Iterable[UsedDataset]:
    for tag, digest in sorted(version.tags.items()):
        if tag.startswith(DATASET_TAG):
            context, _, name = tag.removeprefix(DATASET_TAG).partition(".")
            yield UsedDataset(context=context, name=name or context, digest=digest)
