"""Models: what they answer, what a fit gives, and how they are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from hokusai.digests import JsonValue

__all__ = [
    "MODEL_LOADING_NOTE",
    "MODEL_MANIFEST_FILE",
    "MODEL_MANIFEST_TAG",
    "MODEL_SHA256_TAG",
    "Arm",
    "BaselineModel",
    "FailedFit",
    "FittedModel",
    "ModelFile",
    "ModelVersion",
    "Predictions",
    "Task",
    "TrainedModel",
    "TrainedModels",
]

Task = Literal["classification", "regression"]
Arm = Literal["control", "candidate", "baseline", "shuffled_labels", "base_resample"]
MODEL_SHA256_TAG = "hokusai.model.sha256"
"""SHA-256 of a model's file, on the logged model and on the registered version."""
MODEL_MANIFEST_TAG = "hokusai.model.manifest_sha256"
"""SHA-256 of the list of all files in a model's folder, likewise."""
MODEL_MANIFEST_FILE = "hokusai-manifest.json"
"""That list, in the folder itself, which it does not name."""
MODEL_LOADING_NOTE = "registered_model_meta"
"""What MLflow writes into a model's folder when somebody loads the registered version; no file of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What one fitted model says about every benchmark row.

    Attributes:
        predicted: Shape (rows,): class codes (positions in ``classes``) or, for regression, numbers.
        probabilities: Shape (rows, classes), or None when the model gives none.
        unseen_classes: Classes of the benchmark that the model never saw; their probability is zero by necessity.
    """

    predicted: NDArray[np.generic]
    probabilities: NDArray[np.float64] | None = None
    unseen_classes: tuple[str, ...] = ()


class FittedModel(Protocol):
    """A model that has been fitted and can be asked about a table. Asking changes nothing."""

    @property
    def seed(self) -> int:
        """Seed of the fit."""

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that it predicts from."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that it knows; empty for regression."""

    def predict(self, table: pa.Table, *, classes: tuple[str, ...]) -> Predictions:
        """Return what the model says about every row of a table that has its feature columns.

        ``classes`` are the class names whose positions are the codes of the answer; empty for regression.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model in its safe file format, with what a stranger needs to load it.

    Attributes:
        name: Name of the model within its evaluation.
        content: The file's bytes, or a file.
        file: The file's name in the model's folder.
        flavor: MLflow's module that loads it, such as ``sklearn``.
        options: That flavour's own fields in the ``MLmodel`` file.
        inputs: MLflow type of each input column.
        output: MLflow type of the prediction.
        requirements: What to install to load it, as pip requirement lines.
        example: One made-up typical row by column, for whoever wants to try the model; it copies no row of any table.
    """

    name: str
    content: bytes | Path
    file: str
    flavor: str
    options: Mapping[str, JsonValue]
    inputs: Mapping[str, str]
    output: str
    requirements: tuple[str, ...]
    example: Mapping[str, JsonValue] = field(default_factory=dict)


class TrainedModel(FittedModel, Protocol):
    """A model that was fitted here and can be kept. It can be sent to another process."""

    def to_file(self, *, name: str, example: Mapping[str, JsonValue]) -> ModelFile:
        """Return the model in a safe file format, with MLflow's signature and pinned requirements.

        ``name`` is the model's name within its evaluation; ``example`` a typical row, kept with the model.

        Raises:
            ModelError: It has parts that cannot be written safely.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineModel:
    """What the candidate is compared with beside the control.

    Attributes:
        source: The address it was loaded from; ``control`` when no model was given.
        model: The loaded model, or None: then the control, trained on the base data, is the baseline.
        digest: SHA-256 of the loaded model file, or None.
        inputs: Pairs of column name and MLflow type of what the model asks for, as far as it says so.
        classes: Names of its classes in the order of its codes, as the configuration gives them; else empty.
        notes: What had to be assumed of it, one sentence each.
    """

    source: str
    model: FittedModel | None = None
    digest: str | None = None
    inputs: tuple[tuple[str, str], ...] = ()
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedFit:
    """A fit that did not succeed; the other seeds go on without it.

    Attributes:
        arm: What was fitted.
        seed: Its seed.
        reason: One sentence.
    """

    arm: Arm
    seed: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModels:
    """The fits of both arms: same trainer, seeds and settings, without and with the contributions.

    Attributes:
        controls: Fits on the base data, one per seed that succeeded in both arms.
        candidates: Fits on the integrated data, with the same seeds.
        task: What the estimator does.
        classes: Class names in the order of their codes; empty for regression.
        estimator: The trainer's name, such as the import path of a scikit-learn class.
        is_random: Whether the result depends on the seed.
        model_name: Name under which the candidate of the first seed was logged.
        model_sha256: SHA-256 of that candidate's model file.
        failures: Fits that did not succeed; the seed is left out in both arms.
        negative_controls: Fits of the arms that should gain nothing, when they were asked for.
        looks: How often the candidate was looked at before training ended; 0 when the number of seeds was fixed.
        notes: What a reader of the scores should know, such as a class that the base lacks; one sentence each.
    """

    controls: tuple[FittedModel, ...]
    candidates: tuple[FittedModel, ...]
    task: Task
    classes: tuple[str, ...]
    estimator: str
    is_random: bool
    model_name: str
    model_sha256: str
    failures: tuple[FailedFit, ...] = ()
    negative_controls: Mapping[Arm, tuple[FittedModel, ...]] = field(default_factory=dict)
    looks: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A model that MLflow keeps: a version of a registered model, or a logged model that nobody registered.

    Attributes:
        address: Where it is, with nothing left to resolve: ``models:/name/version``, ``models:/m-…`` or ``runs:/…``.
        name: The registered model's name; empty when it is not registered.
        version: Its version number as text; empty when it is not registered.
        model_id: MLflow's id of the logged model; empty when there is none.
        run_id: MLflow's id of the run that it came from; empty when there is none.
        location: URI of the folder that holds its files.
        aliases: Aliases that point to it, sorted.
        tags: Its tags.
        created: When it was made: UTC, ISO 8601; empty when MLflow does not say.
    """

    address: str
    location: str
    name: str = ""
    version: str = ""
    model_id: str = ""
    run_id: str = ""
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
