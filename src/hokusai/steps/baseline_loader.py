"""Step 1: what the candidate is compared with beside the control."""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.digests import file_sha256
from hokusai.errors import ModelDigestError, UntrustedModelError
from hokusai.records import BaselineModel, ModelVersion
from hokusai.tracking import naming
from hokusai.tracking.parameters import LoadBaselineModelParameters

if TYPE_CHECKING:
    from hokusai.models.baseline_models import LoadedModel
    from hokusai.models.mlflow_registry import ModelRegistry
    from hokusai.tracking.run import Run

__all__ = ["BaselineSettings", "load_baseline_model"]

CONTROL = "control"
SIGNATURE = "signature.json"
_REMOTE = re.compile(r"models:/|runs:/|sha256:|m-[0-9a-f]{32}$")
_UNCHECKED = (
    "No digest was recorded when this model was logged, so that nothing says whether its files are still the same."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSettings:
    """Settings under ``[baseline]``.

    Attributes:
        source: ``models:/name/version``, ``models:/name@alias``, ``runs:/…/path``, the id of a logged model, the folder
            of an MLflow model, or a model file: skops, LightGBM's text, XGBoost's JSON or UBJSON, ONNX. Empty: the
            control, trained on the base data alone, is the baseline.
        trusted_sha256: SHA-256 of a model that runs code when it is loaded, such as a pickle, and is trusted: of its
            file, or of the list of all files of its folder. The message that refuses the model shows it.
        classes: Names of the model's classes in the order of its codes, where the model does not carry them.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    source: str = ""
    trusted_sha256: str = ""
    classes: tuple[str, ...] = ()


def load_baseline_model(settings: BaselineSettings, *, registry: ModelRegistry, run: Run) -> BaselineModel:
    """Fetch, check and load the baseline model, or say that the control takes its place.

    Args:
        settings: Where the model is, and what vouches for it.
        registry: Where MLflow's models are fetched from.
        run: The step's run.

    Raises:
        ModelError: There is no such model, or it cannot be loaded.
        ModelDigestError: It is not the model that was recorded, or that is trusted.
        UntrustedModelError: Loading it would run code from the file.
        ConfigurationError: It needs a library that is not installed.
    """
    source = settings.source or CONTROL
    run.log_parameters(
        LoadBaselineModelParameters(
            source=source,
            kind="model" if settings.source else CONTROL,
            trusted_sha256=settings.trusted_sha256,
            classes=settings.classes,
        )
    )
    if not settings.source:
        return BaselineModel(source=CONTROL)
    from hokusai.models.model_digests import check_recorded_digests, place_sha256

    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
        version, place = _fetch(source, Path(folder), registry=registry)
        is_checked = check_recorded_digests(place, version.tags, source=source)
        digest = place_sha256(place)
        if settings.trusted_sha256:
            is_checked = _require_trusted(settings, digest=digest)
        loaded = _load(place, source=source, trusted=bool(settings.trusted_sha256), digest=digest)
        _record(loaded, version, place=place, digest=digest, is_checked=is_checked, run=run)
        file_digest = file_sha256(loaded.file) if loaded.file.is_file() else digest
    run.log_metrics({"baseline.load_seconds": time.perf_counter() - began})
    return BaselineModel(
        source=source,
        model=loaded.model,
        digest=file_digest,
        inputs=tuple((item.name, item.type) for item in loaded.inputs),
        classes=settings.classes,
        notes=() if is_checked or version.location == source else (f"{source}: {_UNCHECKED}",),
    )


def _fetch(source: str, folder: Path, *, registry: ModelRegistry) -> tuple[ModelVersion, Path]:
    """Bring a model's files into a folder that nobody else changes."""
    from hokusai.models.model_copies import copy_model, require_plain_files

    if not _REMOTE.match(source):
        return ModelVersion(address=source, location=source), copy_model(Path(source), folder, source=source)
    version = registry.find(source)
    place = registry.download(version, folder)
    if place.is_dir():
        require_plain_files(place, source=source)
    return version, place


def _require_trusted(settings: BaselineSettings, *, digest: str) -> bool:
    wanted = settings.trusted_sha256.lower()
    if digest != wanted:
        what = "the model that baseline.trusted_sha256 names"
        raise ModelDigestError(settings.source, what=what, expected=wanted, found=digest)
    return True


def _load(place: Path, *, source: str, trusted: bool, digest: str) -> LoadedModel:
    from hokusai.models.baseline_models import load_model

    try:
        return load_model(place, source=source, trusted=trusted)
    except UntrustedModelError as error:
        raise UntrustedModelError(source, error.reason, sha256=digest) from error


def _record(
    loaded: LoadedModel, version: ModelVersion, *, place: Path, digest: str, is_checked: bool, run: Run
) -> None:
    is_file = loaded.file.is_file()
    tags = {
        naming.BASELINE_ADDRESS_TAG: version.address,
        naming.BASELINE_FLAVOR_TAG: loaded.flavor,
        naming.BASELINE_CHECKED_TAG: "true" if is_checked else "false",
        naming.BASELINE_DIGEST_TAG: file_sha256(loaded.file) if is_file else "",
        naming.BASELINE_MANIFEST_TAG: "" if place.is_file() else digest,
        naming.BASELINE_VERSION_TAG: version.version,
        naming.BASELINE_MODEL_TAG: version.model_id,
        naming.BASELINE_RUN_TAG: version.run_id or loaded.run_id,
    }
    run.set_tags({name: value for name, value in tags.items() if value})
    files = [loaded.file] if is_file else [path for path in place.rglob("*") if path.is_file()]
    run.log_metrics(
        {
            "baseline.size_bytes": float(sum(path.stat().st_size for path in files)),
            "baseline.features": float(len(loaded.inputs)),
            "baseline.digest_checked": float(is_checked),
        }
    )
    run.log_json(
        SIGNATURE,
        {
            "inputs": [{"name": item.name, "type": item.type, "required": item.is_required} for item in loaded.inputs],
            "classes": list(loaded.model.classes),
        },
    )
