"""Everything that MLflow holds of one model, as one value; and what of it differs between two."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hokusai.models.mlflow_folders import MLMODEL
from hokusai.models.model_digests import disk_errors_translated, listed_digests
from hokusai.models.model_lineage import DATASET_TAG, datasets_of
from hokusai.records import MODEL_MANIFEST_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hokusai.models.mlflow_registry import ModelRegistry
    from hokusai.models.model_runs import ModelRun, UsedDataset
    from hokusai.records import ModelVersion

__all__ = ["ModelDetails", "ModelDifference", "compare_models", "describe_model", "read_model_document"]

_REQUIREMENTS = "requirements.txt"
_DESCRIBING = (MLMODEL, _REQUIREMENTS, MODEL_MANIFEST_FILE)
Part = Literal["tag", "dataset", "parameter", "metric", "signature", "requirement", "flavor", "file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDetails:
    """What MLflow holds of a model.

    Attributes:
        version: Its address, aliases and tags.
        run: The run that it came from; None when there is none.
        datasets: What it was made from, and measured on.
        inputs: Type of each column that it predicts from, in their order.
        outputs: Types of what it predicts.
        requirements: What to install to load it.
        flavors: How MLflow can load it.
        files: Size of every file by path.
        digests: The recorded SHA-256 of every file by path; empty when none were recorded.
    """

    version: ModelVersion
    run: ModelRun | None
    datasets: tuple[UsedDataset, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    flavors: tuple[str, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of bytes of all files."""
        return sum(self.files.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDifference:
    """What one model has and another has not, or has otherwise.

    Attributes:
        part: The kind of thing.
        name: Its name.
        first: What the first model has; None for nothing.
        second: What the second one has.
    """

    part: Part
    name: str
    first: str | None
    second: str | None


def describe_model(address: str, *, registry: ModelRegistry) -> ModelDetails:
    """Return everything that MLflow holds of the model at an address; of its files only the small ones are fetched.

    Raises:
        ModelNotFoundError: Nothing answers to the address.
        ModelError: Its files are gone, or the store does not answer.
    """
    version = registry.find(address)
    run = registry.run(version)
    files = registry.files(version)
    sizes = files.sizes()
    with tempfile.TemporaryDirectory(prefix="hokusai-") as name, disk_errors_translated(Path(name)):
        folder = Path(name)
        files.fetch([path for path in _DESCRIBING if path in sizes], folder)
        document = read_model_document(folder)
        requirements = _lines(folder / _REQUIREMENTS)
        manifest = folder / MODEL_MANIFEST_FILE
        digests = listed_digests(version.address, manifest.read_bytes()) if manifest.is_file() else {}
    signature, flavors = document.get("signature"), document.get("flavors")
    columns = _columns(signature, "inputs")
    return ModelDetails(
        version=version,
        run=run,
        datasets=datasets_of(version, run),
        inputs={name or str(place): kind for place, (name, kind) in enumerate(columns)},
        outputs=tuple(f"{name}: {kind}" if name else kind for name, kind in _columns(signature, "outputs")),
        requirements=requirements,
        flavors=tuple(sorted(map(str, flavors))) if isinstance(flavors, dict) else (),
        files=sizes,
        digests=digests,
    )


def compare_models(first: ModelDetails, second: ModelDetails) -> tuple[ModelDifference, ...]:
    """Return what differs between two models, part by part and sorted by name."""
    sides = (_facts(first), _facts(second))
    return tuple(
        ModelDifference(part=part, name=name, first=sides[0][part].get(name), second=sides[1][part].get(name))
        for part in sides[0]
        for name in sorted(sides[0][part].keys() | sides[1][part].keys())
        if sides[0][part].get(name) != sides[1][part].get(name)
    )


def read_model_document(folder: Path) -> Mapping[str, object]:
    """Return what the ``MLmodel`` file of a folder says, to be shown; nothing when there is none that can be read."""
    import yaml

    try:
        document = yaml.safe_load((folder / MLMODEL).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return document if isinstance(document, dict) else {}


def _facts(details: ModelDetails) -> dict[Part, Mapping[str, str]]:
    run = details.run
    metrics = {} if run is None else {name: repr(value) for name, value in run.metrics.items()}
    outputs = {f"output {place}": kind for place, kind in enumerate(details.outputs, start=1)}
    requirements = (line.partition("==") for line in details.requirements)
    return {
        "tag": {name: value for name, value in details.version.tags.items() if not name.startswith(DATASET_TAG)},
        "dataset": {f"{item.context} {item.name}".strip(): item.digest for item in details.datasets},
        "parameter": {} if run is None else run.parameters,
        "metric": metrics,
        "signature": {**details.inputs, **outputs},
        "requirement": {name: version or "any version" for name, _, version in requirements},
        "flavor": dict.fromkeys(details.flavors, "yes"),
        "file": {path: details.digests.get(path) or f"{size:,} bytes" for path, size in details.files.items()},
    }


def _columns(signature: object, part: str) -> list[tuple[str, str]]:
    """Return name and type of what goes into a model, or comes out, as its MLmodel file has it."""
    text = signature.get(part) if isinstance(signature, dict) else None
    try:
        items = json.loads(text) if isinstance(text, str) else []
    except ValueError:
        items = []
    return [
        (str(item.get("name") or ""), _kind(item))
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict)
    ]


def _kind(item: Mapping[str, object]) -> str:
    tensor = item.get("tensor-spec")
    if isinstance(tensor, dict):
        return f"tensor of {tensor.get('dtype')} {tensor.get('shape')}"
    return str(item.get("type", "")) + ("" if item.get("required", True) else ", optional")


def _lines(file: Path) -> tuple[str, ...]:
    if not file.is_file():
        return ()
    lines = (line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
