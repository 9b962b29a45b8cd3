"""Step 1: what the candidate is compared with beside the control."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.digests import file_sha256
from hokusai.errors import ModelError, UntrustedModelError
from hokusai.records import BaselineModel
from hokusai.tracking.parameters import LoadBaselineModelParameters

if TYPE_CHECKING:
    from hokusai.models.mlflow_registry import ModelRegistry
    from hokusai.tracking.run import Run

__all__ = ["BaselineSettings", "load_baseline_model"]

CONTROL = "control"
_REMOTE = ("models:/", "runs:/")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSettings:
    """Settings under ``[baseline]``.

    Attributes:
        source: ``models:/name/version``, ``models:/name@alias``, ``runs:/…/path``, a local MLflow model folder or a
            ``.skops`` file. Empty: the control, trained on the base data alone, is the baseline.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    source: str = ""


def load_baseline_model(settings: BaselineSettings, *, registry: ModelRegistry, run: Run) -> BaselineModel:
    """Fetch and load the baseline model, or say that the control takes its place.

    Args:
        settings: Where the model is.
        registry: Where MLflow's models are fetched from.
        run: The step's run.

    Raises:
        ModelError: There is no such model, or it cannot be loaded.
        UntrustedModelError: Loading it would run code from the file.
    """
    source = settings.source or CONTROL
    run.log_parameters(LoadBaselineModelParameters(source=source, kind="model" if settings.source else CONTROL))
    if not settings.source:
        return BaselineModel(source=CONTROL)
    with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
        place = registry.download(source, Path(folder)) if source.startswith(_REMOTE) else Path(source)
        file = _model_file(place, source)
        from hokusai.models.model_files import load_skops

        model = load_skops(file, source=source)
        digest = file_sha256(file)
        run.set_tags({"hokusai.baseline.sha256": digest})
        run.log_metrics({"baseline.size_bytes": float(file.stat().st_size), "baseline.features": len(model.features)})
    return BaselineModel(source=source, model=model, digest=digest)


def _model_file(place: Path, source: str) -> Path:
    """Return the skops file of a model folder, or the file itself."""
    import yaml  # only where a model is given

    if place.is_file():
        if place.suffix.lower() in (".pkl", ".pickle", ".joblib"):
            raise UntrustedModelError(source, "a pickle runs code from the file when it is loaded")
        return place
    try:
        description = yaml.safe_load((place / "MLmodel").read_text(encoding="utf-8"))
        flavor = description["flavors"]["sklearn"]
        file = place / Path(flavor["pickled_model"]).name
        kind = flavor["serialization_format"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        msg = (
            f"{source}: not a scikit-learn model of MLflow (no MLmodel file with a sklearn flavour), expected a model "
            "folder, a .skops file, models:/name/version or runs:/id/path."
        )
        raise ModelError(msg) from error
    if kind != "skops":
        raise UntrustedModelError(
            source, f"the model is kept as {kind}, which runs code from the file when it is loaded"
        )
    return file
