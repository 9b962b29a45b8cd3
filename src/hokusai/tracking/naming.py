"""Experiment and run names, and the names of every tag that Hokusai sets.

Tags under ``hokusai.`` are ours; a tag that is not listed here is not set.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "ERROR_TAG",
    "EVALUATION_TAG",
    "MODEL_KEY_TAG",
    "PACKAGE_VERSION_TAG",
    "PARAMETERS_DIGEST_TAG",
    "RUN_KEY_TAG",
    "SCHEMA_VERSION_TAG",
    "STEPS",
    "STEP_TAG",
    "dataset_tag",
    "evaluation_key",
    "require_experiment_name",
    "run_name",
]

STEPS = (
    "load_baseline_model",
    "integrate_contributed_data",
    "train_new_model",
    "evaluate_on_benchmark",
    "compare_and_output_delta",
)
"""The five steps, in order; each is the name of its child run."""

RUN_KEY_TAG = "hokusai.run_key"
"""The run's own name for itself, chosen before any server knows it; the shipper finds runs again by it."""
EVALUATION_TAG = "hokusai.evaluation"
"""The evaluation that the run belongs to: the key of the parent run."""
STEP_TAG = "hokusai.step"
"""The step's name, on child runs."""
SCHEMA_VERSION_TAG = "hokusai.schema_version"
"""Version of the parameter schema."""
PACKAGE_VERSION_TAG = "hokusai.package_version"
"""Version of Hokusai."""
PARAMETERS_DIGEST_TAG = "hokusai.parameters_digest"
"""SHA-256 of the run's parameters as canonical JSON (the artifact ``parameters.json``)."""
ERROR_TAG = "hokusai.error"
"""The type of the exception that ended the run."""
MODEL_KEY_TAG = "hokusai.model_key"
"""A logged model's own name for itself, for finding it again."""

_MLFLOW_NAME_LENGTH = 250
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


def dataset_tag(context: str, name: str | None = None) -> str:
    """Return the tag that holds a dataset's full content digest, such as ``hokusai.dataset.base``."""
    return f"hokusai.dataset.{context}" if name is None else f"hokusai.dataset.{context}.{name}"


def evaluation_key(now: datetime) -> str:
    """Return a new key for an evaluation: it sorts by time and two of one second differ."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def run_name(template: str, *, project: str, evaluation: str, now: datetime) -> str:
    """Fill a name template with ``{project}``, ``{date}`` and ``{run_id}``.

    ``{run_id}`` is the random end of the evaluation's key, because MLflow's own run ids cannot be chosen beforehand.
    """
    return template.format(project=project, date=f"{now:%Y-%m-%d}", run_id=evaluation.rsplit("-", 1)[-1])


def require_experiment_name(name: str, *, source: str = "code") -> str:
    """Return the name if MLflow takes it.

    Raises:
        ConfigurationError: It is blank, longer than 250 characters, or has control characters.
    """
    if not name.strip() or len(name) > _MLFLOW_NAME_LENGTH or _CONTROL_CHARACTERS.search(name):
        problem = f"got {name[:80]!r}, expected 1 to {_MLFLOW_NAME_LENGTH} printable characters."
        raise ConfigurationError(problem, key="tracking.experiment", source=source)
    return name
