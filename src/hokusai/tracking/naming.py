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

    from hokusai.tracking.mlflow_config import TrackingSettings

__all__ = [
    "CANDIDATE_ALIAS",
    "CODE_COMMIT_TAG",
    "CODE_DIRTY_TAG",
    "DELETED_RUNS_TAG",
    "DESCRIPTION_TAG",
    "ERROR_TAG",
    "EVALUATION_TAG",
    "HOST_KIND_TAG",
    "MLFLOW_GIT_COMMIT_TAG",
    "MODEL_KEY_TAG",
    "OWN_CODE_COMMIT_TAG",
    "OWN_CODE_DIFFERENCES_TAG",
    "OWN_CODE_TAG",
    "PACKAGE_VERSION_TAG",
    "PARAMETERS_DIGEST_TAG",
    "PLATFORM_TAG",
    "PYTHON_VERSION_TAG",
    "RECORDED_AT_TAG",
    "REPRODUCTION_OF_TAG",
    "REPRODUCTION_RUN_TAG",
    "REPRODUCTION_VERDICT_TAG",
    "RUN_KEY_TAG",
    "SCHEMA_VERSION_TAG",
    "STEPS",
    "STEP_TAG",
    "dataset_tag",
    "evaluation_key",
    "require_experiment_name",
    "require_names",
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
MODEL_VERSION_TAG = "hokusai.model_version"
"""Registered model and version that the run's model became, such as ``hokusai-penguins/3``."""
RECORDED_AT_TAG = "hokusai.recorded_at"
"""When it was recorded that a model becomes a version: UTC, ISO 8601. It may be shipped much later."""
CANDIDATE_ALIAS = "candidate"
"""The alias of the version that was recorded last."""
MANIFEST_DIGEST_TAG = "hokusai.manifest_digest"
"""SHA-256 of the run's list of artifacts (the artifact ``manifest.json``)."""
JOURNAL_HEAD_TAG = "hokusai.journal_head"
"""Number and SHA-256 of the journal's last line, on the parent run; no line of it can be edited unseen."""
INFINITE_METRICS_TAG = "hokusai.infinite_metrics"
"""JSON list of the metrics that hold an infinity, which MLflow keeps as the largest finite number."""
DECISION_TAG = "hokusai.decision"
"""``accept``, ``reject`` or ``not enough evidence``."""
DECISION_REASON_TAG = "hokusai.decision.reason"
"""The decision's reason, in one sentence."""
DECISION_RULE_TAG = "hokusai.decision.rule_sha256"
"""SHA-256 of the rule by which an evaluation decides, recorded before its candidate is trained."""
EXPLORATORY_TAG = "hokusai.decision.exploratory"
"""Whether nothing limits how often the benchmark is asked: ``true`` or ``false``."""
DELTA_TAG = "hokusai.delta"
"""A model version's gain in the metric that decided, whose name follows; ``.lower`` and ``.upper`` end its interval."""
ESTIMATOR_TAG = "hokusai.estimator"
"""The trainer of a model version."""
SEEDS_TAG = "hokusai.seeds"
"""JSON list of the seeds of the fits that were compared; a model version is the fit of the first one."""
CONTRIBUTIONS_TAG = "hokusai.contributions"
"""JSON list of the names of the contributions that a model version was trained on."""
CONTRIBUTORS_TAG = "hokusai.contributors"
"""JSON list of those who made them, where they are known."""
BASELINE_DIGEST_TAG = "hokusai.baseline.sha256"
"""SHA-256 of the given baseline model's file."""
BASELINE_MANIFEST_TAG = "hokusai.baseline.manifest_sha256"
"""SHA-256 of the list of all files in its folder, if it is a folder."""
BASELINE_ADDRESS_TAG = "hokusai.baseline.address"
"""Where it was found, with aliases resolved."""
BASELINE_VERSION_TAG = "hokusai.baseline.version"
"""Its version number in the registry."""
BASELINE_MODEL_TAG = "hokusai.baseline.model_id"
"""MLflow's id of it."""
BASELINE_RUN_TAG = "hokusai.baseline.run_id"
"""MLflow's id of the run that it came from."""
BASELINE_FLAVOR_TAG = "hokusai.baseline.flavor"
"""The library that it is of."""
BASELINE_CHECKED_TAG = "hokusai.baseline.digest_checked"
"""``true`` when its files were compared with a recorded digest or the one that is trusted, otherwise ``false``."""
BASELINE_NOTES_TAG = "hokusai.baseline.notes"
"""What had to be assumed of it."""
DELETED_RUNS_TAG = "hokusai.deleted_runs"
"""Runs that had been deleted before their experiment was archived, on the experiment, numbered, for restoring it."""
PURPOSE_TAG = "hokusai.purpose"
"""What an experiment is for."""
OWNER_TAG = "hokusai.owner"
"""Who answers for an experiment."""
PROJECT_TAG = "hokusai.project"
"""The project that an experiment belongs to."""
LABEL_TAG = "hokusai.label"
"""The column that an experiment's evaluations predict."""
METRIC_TAG = "hokusai.metric"
"""The metric that decides in an experiment's evaluations."""
REPRODUCTION_OF_TAG = "hokusai.reproduction_of"
"""The key of the evaluation that was done again, on the parent run of its reproduction."""
REPRODUCTION_RUN_TAG = "hokusai.reproduction_of.run_id"
"""MLflow's id of that evaluation's parent run."""
REPRODUCTION_VERDICT_TAG = "hokusai.reproduction.verdict"
"""What came of it: ``identical``, ``equal within the tolerance`` or ``different``."""
DESCRIPTION_TAG = "mlflow.note.content"
"""MLflow's own: what it shows at the head of a run's page."""
CODE_COMMIT_TAG = "hokusai.code_commit"
"""The git commit that was checked out around the code; ``unknown`` when git would not tell."""
CODE_DIRTY_TAG = "hokusai.code_dirty"
"""Whether the code differed from that commit: ``true``, ``false`` or ``unknown``."""
OWN_CODE_TAG = "hokusai.own_code"
"""JSON object of the modules of the user's own that the evaluation ran, with the SHA-256 of their files."""
OWN_CODE_COMMIT_TAG = "hokusai.own_code.commit"
"""The git commit that was checked out around these modules."""
OWN_CODE_DIFFERENCES_TAG = "hokusai.own_code.differences"
"""The artifact ``uncommitted.diff``: ``none``, ``complete``, ``redacted``, ``too large`` or ``unknown``."""
MLFLOW_GIT_COMMIT_TAG = "mlflow.source.git.commit"
"""The commit once more, under the name by which MLflow's interface shows it."""
HOST_KIND_TAG = "hokusai.host_kind"
"""What the run was made on: ``ci``, ``notebook``, ``kubernetes``, ``container`` or ``machine``."""
PLATFORM_TAG = "hokusai.platform"
"""Operating system and processor, such as ``Linux-x86_64``."""
PYTHON_VERSION_TAG = "hokusai.python_version"
"""Version of Python."""

_MLFLOW_NAME_LENGTH = 250
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


def dataset_tag(context: str, name: str | None = None) -> str:
    """Return the tag that holds a dataset's full content digest, such as ``hokusai.dataset.base``.

    Args:
        context: The part that the dataset plays.
        name: Its name, which tells contributions apart, and further benchmarks from the one that decides.
    """
    is_only = name is None or context in ("base", "integrated") or context == name == "benchmark"
    return f"hokusai.dataset.{context}" if is_only else f"hokusai.dataset.{context}.{name}"


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


def require_names(settings: TrackingSettings, *, project: str) -> None:
    """Check every name template of the settings against its fields and against MLflow's limits.

    Raises:
        ConfigurationError: A template has a field that it may not have, or leads to a name that MLflow refuses.
    """
    example = {"project": project, "date": "2000-01-01", "run_id": "00000000"}
    for key, allowed in (
        ("experiment", ("project", "date")),
        ("run_name", ("project", "date", "run_id")),
        ("registered_model", ("project",)),
    ):
        template = getattr(settings, key)
        try:
            filled = template.format(**{field: example[field] for field in allowed})
        except (KeyError, IndexError, ValueError, AttributeError, TypeError):
            fields = " ".join(f"{{{field}}}" for field in allowed)
            problem = f"got {template!r}, expected a text with no other fields than {fields}."
            raise ConfigurationError(problem, key=f"tracking.{key}") from None
        try:
            require_experiment_name(filled)
        except ConfigurationError as error:
            raise ConfigurationError(error.problem, key=f"tracking.{key}") from None
    if re.search("[/:]", settings.registered_model):
        problem = f"got {settings.registered_model!r}, expected no '/' and no ':'."
        raise ConfigurationError(problem, key="tracking.registered_model")
