"""What MLflow's client says of models, as our values."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hokusai.records import ModelVersion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion as RegisteredVersion
    from mlflow.entities.model_registry import RegisteredModel

__all__ = ["MODEL_ID", "from_logged", "from_registry", "utc_text", "with_aliases"]

MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
"""What MLflow calls a logged model."""


def from_registry(found: RegisteredVersion, *, location: str = "") -> ModelVersion:
    """Return a version of a registered model; its files are at its source unless somebody knows better."""
    source = found.source or ""
    # MLflow's own registry has no column for the logged model; there the source names it.
    named = source.removeprefix("models:/")
    return ModelVersion(
        address=f"models:/{found.name}/{found.version}",
        location=location or source,
        name=found.name,
        version=str(found.version),
        model_id=found.model_id or (named if MODEL_ID.fullmatch(named) else ""),
        run_id=found.run_id or "",
        aliases=tuple(sorted(found.aliases)),
        tags=dict(found.tags),
        created=utc_text(found.creation_timestamp),
    )


def with_aliases(versions: Iterable[ModelVersion], models: Iterable[RegisteredModel]) -> list[ModelVersion]:
    """Give versions their aliases: MLflow's search leaves them out."""
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in models:
        for alias, version in model.aliases.items():
            aliases.setdefault((model.name, str(version)), []).append(alias)
    return [
        dataclasses.replace(version, aliases=tuple(sorted(aliases.get((version.name, version.version), ()))))
        for version in versions
    ]


def from_logged(found: LoggedModel) -> ModelVersion:
    """Return a logged model."""
    return ModelVersion(
        address=f"models:/{found.model_id}",
        location=found.artifact_location,
        model_id=found.model_id,
        run_id=found.source_run_id or "",
        tags=dict(found.tags),
        created=utc_text(found.creation_timestamp),
    )


def utc_text(milliseconds: int | None) -> str:
    """Return a time in milliseconds since 1970 as UTC, ISO 8601; an empty text for none."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds") if milliseconds else ""
