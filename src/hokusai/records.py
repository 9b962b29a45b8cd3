"""The frozen values that the steps hand to one another, and the report that comes out at the end.

Values only: nothing here opens a file, asks a clock or knows a vendor. A relative change is a fraction everywhere,
a time is in seconds unless its name says otherwise, and a gain is always towards better.
"""

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
    "MODEL_MANIFEST_FILE",
    "MODEL_MANIFEST_TAG",
    "MODEL_SHA256_TAG",
    "SEVERITIES",
    "Arm",
    "BaselineModel",
    "BenchmarkAnswer",
    "BenchmarkHistory",
    "BenchmarkQuestion",
    "BenchmarkScores",
    "BenchmarkSubset",
    "CheckReport",
    "ContributionCounts",
    "CrossCheck",
    "DatasetContext",
    "DatasetFile",
    "DatasetVersion",
    "Decision",
    "DecisionRule",
    "DecoyTest",
    "DeltaReport",
    "EvaluationIdentity",
    "FailedFit",
    "Finding",
    "FittedModel",
    "Guard",
    "GuardVerdict",
    "IntegratedData",
    "Metric",
    "MetricDelta",
    "MetricRole",
    "MetricScores",
    "MetricTask",
    "ModelFile",
    "ModelVersion",
    "NegativeControl",
    "Outcome",
    "Predictions",
    "RightAnswers",
    "RunReference",
    "Severity",
    "SubsetDeltas",
    "SubsetKind",
    "SubsetScores",
    "Task",
    "TrackingSummary",
    "TrainedModel",
    "TrainedModels",
    "UndefinedMetric",
]

Task = Literal["classification", "regression"]
MetricTask = Literal["classification", "regression", "ranking"]
Arm = Literal["control", "candidate", "baseline", "shuffled_labels", "base_resample"]
Outcome = Literal["accept", "reject", "not enough evidence"]
MetricRole = Literal["primary", "guard", "secondary"]
SubsetKind = Literal["benchmark", "slice", "without overlap", "feedback", "decision"]
Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From the highest to the lowest."""

DatasetContext = Literal["base", "contribution", "benchmark", "integrated"]

MODEL_SHA256_TAG = "hokusai.model.sha256"
"""SHA-256 of a model's file, on the logged model and on the registered version."""
MODEL_MANIFEST_TAG = "hokusai.model.manifest_sha256"
"""SHA-256 of the list of all files in a model's folder, likewise."""
MODEL_MANIFEST_FILE = "hokusai-manifest.json"
"""That list, in the folder itself, which it does not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One way to score a model, and which way is better.

    Attributes:
        name: The name it is logged under, scikit-learn's where there is one.
        task: The kind of problem it belongs to; ``ranking`` goes with both others where rows belong to queries.
        higher_is_better: Whether a larger value is a better one.
        unit: What the value counts: ``fraction``, ``nats``, ``label unit`` or ``none``.
        lower: The smallest possible value, or None.
        upper: The largest possible value, or None.
    """

    name: str
    task: MetricTask
    higher_is_better: bool
    unit: str
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found in a table.

    Attributes:
        check: The kind of check, such as ``missing_values``; a fixed word, for programs.
        severity: ``error`` when an evaluation would refuse the table or be misled by it, ``warning`` when its owner
            should look, ``note`` for what is good to know.
        message: One sentence. It never holds personal data.
        column: The column concerned, or None.
        rows: How many rows are concerned, or None when the finding is not about rows.
        first_rows: Numbers of the first of them, counted from 1 without the header; at most five.
        advice: What to do, one sentence; may be empty.
    """

    check: str
    severity: Severity
    message: str
    column: str | None = None
    rows: int | None = None
    first_rows: tuple[int, ...] = ()
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a contributor is told about a file before handing it over.

    Attributes:
        source: The file.
        contribution: The contribution's name.
        rows: Number of rows.
        columns: Pairs of column name and type, in the table's order.
        file_sha256: SHA-256 of the file's bytes.
        digest: TABHASH v1 digest of its content.
        findings: Everything that was found.
        counts: Numbers of rows by what they are, such as ``duplicates`` or ``in_benchmark``.
        personal_data: Column, kind, grade and number of rows of personal data; never the values.
    """

    source: str
    contribution: str
    rows: int
    columns: tuple[tuple[str, str], ...]
    file_sha256: str
    digest: str
    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    personal_data: tuple[tuple[str, str, str, int], ...] = ()

    @property
    def worst(self) -> Severity | None:
        """The highest severity among the findings; None when there are none."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in SEVERITIES if severity in found), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFile:
    """A file that a dataset version was read from, or is kept in.

    Attributes:
        name: The file's name, without its folder.
        sha256: SHA-256 of its bytes.
        size: Number of its bytes.
        rows: Number of its rows, or None when nobody counted them.
    """

    name: str
    sha256: str
    size: int
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """A table as it was used, identified by its content.

    Attributes:
        name: What people call it, such as the contribution's name.
        context: The part it plays in the evaluation.
        digest: TABHASH v1 digest of its content, 64 hexadecimal digits.
        rows: Number of rows.
        columns: Pairs of column name and type, in the table's order.
        source: The file that it was read from, or how it was made.
        file_sha256: SHA-256 of the source file's bytes; None for a table that was made here.
        null_counts: Pairs of column name and number of missing values; empty when nobody counted.
        unique_counts: Pairs of column name and number of different values, missing ones aside; None for a column that
            has too many to count. Empty when nobody counted.
        parents: Digests of the versions that it was made from.
        licence: Its licence, such as an SPDX identifier; empty when nobody said.
        contributor: Whoever offered it; empty when nobody said.
        created: When this version was made: UTC, ISO 8601; empty when nobody said.
        files: The files that it was read from.
        multiset_digest: The digest of its content in any order of rows; None when nobody asked for it.
    """

    name: str
    context: DatasetContext
    digest: str
    rows: int
    columns: tuple[tuple[str, str], ...]
    source: str
    file_sha256: str | None = None
    null_counts: tuple[tuple[str, int], ...] = ()
    unique_counts: tuple[tuple[str, int | None], ...] = ()
    parents: tuple[str, ...] = ()
    licence: str = ""
    contributor: str = ""
    created: str = ""
    files: tuple[DatasetFile, ...] = ()
    multiset_digest: str | None = None


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
class ContributionCounts:
    """What became of the rows of one table that was offered for training.

    Attributes:
        name: The contribution's name, or ``base``.
        offered: Rows in the file.
        in_benchmark: Rows removed because they stand in the benchmark, in one of the four ways below.
        benchmark_exact: Features and label equal those of a benchmark row.
        benchmark_flipped: The features equal, the label differs.
        benchmark_normalised: The features equal once case, blanks and the last digits of numbers are set aside.
        benchmark_near: The features nearly equal: noise, one column replaced, or a text edited.
        duplicates: Contributed rows that are not new, in one of the three ways below; removed unless
            ``data.duplicates`` is ``keep``.
        duplicates_own: An equal row stands before it in the contribution.
        duplicates_base: An equal row stands in the base.
        duplicates_other: An equal row stands in an earlier contribution.
        near_base: Rows that nearly equal a row of the base; removed if ``data.near_duplicates`` says so.
        label_conflicts: Rows that are new, but whose features stand in the base or in an earlier contribution with
            another label; they are kept.
        key_conflicts: Rows whose key stood before them with other content; with ``data.merge = "update"`` alone.
        replaced: Rows that are not in force because another row of their key is.
        sampled_out: Rows left out by ``sample_rows``.
        kept: Rows that go into training; of the base, those that the control is trained on.
    """

    name: str
    offered: int
    kept: int
    in_benchmark: int = 0
    benchmark_exact: int = 0
    benchmark_flipped: int = 0
    benchmark_normalised: int = 0
    benchmark_near: int = 0
    duplicates: int = 0
    duplicates_own: int = 0
    duplicates_base: int = 0
    duplicates_other: int = 0
    near_base: int = 0
    label_conflicts: int = 0
    key_conflicts: int = 0
    replaced: int = 0
    sampled_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoyTest:
    """Whether a contribution holds more rows of the benchmark than of a decoy that was drawn from the same pool.

    Attributes:
        contribution: The contribution's name.
        benchmark_hits: Different benchmark rows that were met among its rows.
        decoy_hits: Different decoy rows that were met.
        p_value: One-sided probability of so many benchmark rows among all that were met, if none had leaked.
        alarm: Whether that is below the level of the test.
    """

    contribution: str
    benchmark_hits: int
    decoy_hits: int
    p_value: float
    alarm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegratedData:
    """The tables of one evaluation, of one schema, free of benchmark rows.

    Attributes:
        base: What the control is trained on.
        integrated: What the candidate is trained on: base rows first, then each contribution's.
        benchmark: What both are scored on.
        label: The column to predict.
        features: The columns to predict from.
        versions: Every dataset with its digest: base, contributions, benchmark, integrated.
        counts: Per table, base first, what became of its rows.
        provenance: Row by row of ``integrated``: ``contribution`` (its name, or ``base``), ``source_sha256`` of the
            file, ``source_row`` in it, counted from 1.
        overlapping: Shape (benchmark rows,): whether a row of the base or of a contribution, as they were offered,
            equals or nearly equals this benchmark row.
        benchmark_parts: Name and number of rows of each benchmark, in the order in which their rows stand in
            ``benchmark``; the first decides.
        benchmark_columns: Row by row of ``benchmark``, the columns that say how it is scored, such as groups and
            weights; None when there are none.
        decoy_tests: Whether a contribution holds more rows of the benchmark than chance explains.
        sample_weight: The column of training weights, which is no feature; None where every row weighs the same.
        notes: What the screening could not decide, one sentence each.
    """

    base: pa.Table
    integrated: pa.Table
    benchmark: pa.Table
    label: str
    features: tuple[str, ...]
    versions: tuple[DatasetVersion, ...]
    counts: tuple[ContributionCounts, ...]
    provenance: pa.Table
    overlapping: NDArray[np.bool_]
    benchmark_parts: tuple[tuple[str, int], ...] = ()
    benchmark_columns: pa.Table | None = None
    decoy_tests: tuple[DecoyTest, ...] = ()
    sample_weight: str | None = None
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
class MetricScores:
    """One metric of one arm over its fits, on one set of benchmark rows.

    Attributes:
        values: Shape (fits,): the metric of each fit.
        influence: Shape (units,): the mean over the fits of every unit's influence; a unit is a benchmark row or, where
            rows belong together, a group of them.
        mean_square: Mean square of the influence over units and fits: the scale that rounding errors have.
        interaction: The variance of the mean value over seeds that is there because seeds act differently on different
            units.
    """

    values: NDArray[np.float64]
    influence: NDArray[np.float64]
    mean_square: float
    interaction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UndefinedMetric:
    """A metric that has no value here.

    Attributes:
        name: The metric's name.
        arm: The arm for which it has none.
        reason: One sentence.
    """

    name: str
    arm: Arm
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSubset:
    """A set of benchmark rows on which models are scored.

    Attributes:
        name: The benchmark's name, ``COLUMN=VALUE`` for a slice, else the same as the kind.
        kind: ``benchmark``: all rows of one benchmark. ``slice``: those with one value of a column.
            ``without overlap``: those that no offered row equals or nearly equals. ``feedback`` and ``decision``: the
            halves of a benchmark that is split by a key.
        rows: Number of rows.
        units: Number of groups of rows that belong together; of rows where none do.
        is_weighted: Whether some rows count more than others.
    """

    name: str
    kind: SubsetKind
    rows: int
    units: int
    is_weighted: bool = False

    @property
    def has_equal_rows(self) -> bool:
        """Whether every row stands alone and counts the same, as exact methods for counts of rows need it."""
        return self.units == self.rows and not self.is_weighted


@dataclass(frozen=True, slots=True, kw_only=True)
class RightAnswers:
    """Which rows an arm's classifiers have right.

    Attributes:
        share: Shape (rows,): the share of the arm's fits that have the row right.
        first: Shape (rows,): whether the fit of the first seed has.
    """

    share: NDArray[np.float64]
    first: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetScores:
    """Scores of every arm on one set of benchmark rows.

    Attributes:
        subset: Which rows.
        scores: By arm and metric name; a pair that is undefined is not there.
        undefined: Every pair that has no value, with the reason.
        class_rows: Pairs of class and number of its rows, for the classes that occur; empty for regression.
        right: By arm; empty for regression.
    """

    subset: BenchmarkSubset
    scores: Mapping[Arm, Mapping[str, MetricScores]]
    undefined: tuple[UndefinedMetric, ...]
    class_rows: tuple[tuple[str, int], ...] = ()
    right: Mapping[Arm, RightAnswers] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkScores:
    """Scores of every arm on the benchmark and on parts of it.

    Attributes:
        metrics: The metrics that were asked for.
        subsets: The rows that decide first, then every other set of rows.
        is_random: Whether the trainer's result depends on its seed.
        positive_class: The positive one of two classes; empty where there are not two.
    """

    metrics: tuple[Metric, ...]
    subsets: tuple[SubsetScores, ...]
    is_random: bool
    positive_class: str = ""

    @property
    def deciding(self) -> SubsetScores:
        """The scores on the rows that decide."""
        return self.subsets[0]

    @property
    def is_sealed(self) -> bool:
        """Whether the rows that decide give no other answer than the decision."""
        return self.deciding.subset.kind == "decision"

    @property
    def shown(self) -> SubsetScores:
        """The scores that are reported: those that decide, or those of the feedback half where these are sealed."""
        return self.subsets[1] if self.is_sealed else self.subsets[0]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDelta:
    """How one metric moved from the reference to the candidate, with its uncertainty.

    Attributes:
        metric: The metric, with its direction and unit.
        reference: What the candidate is compared with.
        baseline: Mean value of the reference over its fits.
        candidate: Mean value of the candidate over its fits.
        gain_lower: Lower end of the interval of :attr:`gain`; None where no interval can be given.
        gain_upper: Upper end of it.
        confidence: The interval's confidence level.
        standard_error: Of the gain, over benchmark rows and training seeds; None where there is none.
        degrees_of_freedom: Of the t quantile behind the interval; None where there is none.
        role: ``primary`` for the metric that decides, ``guard`` for one that must not get worse, else ``secondary``.
        row_variance: What other benchmark rows add to the variance of the gain; None where there is none.
        reference_seed_variance: What other seeds of the reference add.
        candidate_seed_variance: What other seeds of the candidate add.
        p_value: Two-sided, of no gain; None where there is no interval.
        adjusted_p_value: The same after Holm's correction over all secondary metrics; None for others.
    """

    metric: Metric
    reference: Arm
    baseline: float
    candidate: float
    gain_lower: float | None
    gain_upper: float | None
    confidence: float
    standard_error: float | None
    degrees_of_freedom: float | None
    role: MetricRole = "secondary"
    row_variance: float | None = None
    reference_seed_variance: float | None = None
    candidate_seed_variance: float | None = None
    p_value: float | None = None
    adjusted_p_value: float | None = None

    @property
    def gain(self) -> float:
        """Change towards better, in the metric's own unit; above zero always means improved."""
        change = self.candidate - self.baseline
        # Not minus the change, which makes of no change a minus zero.
        return change if self.metric.higher_is_better else 0.0 - change

    @property
    def relative_gain(self) -> float | None:
        """The gain as a fraction of the size of the baseline's value, or None when that is zero."""
        return self.gain / abs(self.baseline) if self.baseline else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A metric that must not get worse by more than a margin.

    Attributes:
        metric: Its name.
        margin: How much worse it may get, in the metric's unit.
    """

    metric: str
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRule:
    """What was fixed before the candidate was trained: how its scores become a decision.

    Attributes:
        metric: The metric that decides.
        minimum_gain: The bar, in the metric's unit, towards better.
        confidence: Two-sided level of the interval that decides; half of the rest is the chance to accept a
            contribution that is worth no more than the bar.
        guards: Metrics that must not get worse.
        minimum_seeds: The fewest fits per arm of a trainer whose result depends on its seed.
        minimum_positives: The fewest benchmark rows of each class that the metric is about.
        minimum_discordant_rows: The fewest rows that only one arm has right, for metrics of predicted classes.
        seeds: Seeds of the candidate's fits, at most.
        control_seeds: Seeds of the control's fits, at most.
        looks: Numbers of seeds after which it may be decided early; empty when the number is fixed.
        benchmark_sha256: Content digest of the benchmark.
        rows: ``benchmark``, or ``decision half`` of a benchmark that is split.
        decisions: How many decisions the benchmark was declared for; None where none were.
        scoring: Canonical JSON of everything else that the scores depend on, such as the positive class, weights and
            groups.
    """

    metric: str
    minimum_gain: float
    confidence: float
    guards: tuple[Guard, ...] = ()
    minimum_seeds: int = 3
    minimum_positives: int = 50
    minimum_discordant_rows: int = 25
    seeds: int = 1
    control_seeds: int = 1
    looks: tuple[int, ...] = ()
    benchmark_sha256: str = ""
    rows: Literal["benchmark", "decision half"] = "benchmark"
    decisions: int | None = None
    scoring: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardVerdict:
    """Whether a guarded metric got worse.

    Attributes:
        metric: The metric.
        margin: How much worse it might get.
        verdict: ``kept``, ``worse``, or ``unclear`` when the interval contains the margin or there is none.
    """

    metric: str
    margin: float
    verdict: Literal["kept", "worse", "unclear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether the contribution clears the bar that was set beforehand.

    Attributes:
        outcome: ``accept``, ``reject`` or ``not enough evidence``.
        metric: The metric that decided.
        minimum_gain: The bar, in the metric's unit.
        reason: One sentence that a person understands.
        is_exploratory: Whether nothing limits how often the benchmark may be asked, so that one acceptance in forty is
            to be expected of contributions that are worth nothing.
        rule_sha256: SHA-256 of the decision rule, as it was recorded before the candidate was trained.
        confidence: Level of the interval that decided.
        guards: What became of the guarded metrics.
        minimum_detectable_effect: The smallest gain above the bar that would be found four times out of five with this
            benchmark and these seeds, in the metric's unit; None where nothing tells.
        rows_needed: Benchmark rows with which the same gain would be decided four times out of five; None where it is
            decided already, or no number would do.
        seeds_needed: Seeds per arm with which it would.
        number: Which of the declared decisions this was; None where none were declared.
        decisions: How many were declared.
        not_concluded: What cannot be concluded, one sentence each.
    """

    outcome: Outcome
    metric: str
    minimum_gain: float
    reason: str
    is_exploratory: bool = True
    rule_sha256: str = ""
    confidence: float = 0.95
    guards: tuple[GuardVerdict, ...] = ()
    minimum_detectable_effect: float | None = None
    rows_needed: int | None = None
    seeds_needed: int | None = None
    number: int | None = None
    decisions: int | None = None
    not_concluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossCheck:
    """The gain of the metric that decides, by another method than the one that decided.

    Attributes:
        method: ``bootstrap``, ``tango`` or ``mcnemar``.
        what: What it is about, one sentence.
        gain_lower: Lower end of its interval; None for a test.
        gain_upper: Upper end.
        p_value: Two-sided, of no gain; None for an interval.
    """

    method: str
    what: str
    gain_lower: float | None = None
    gain_upper: float | None = None
    p_value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetDeltas:
    """Every metric against the control on one set of benchmark rows.

    Attributes:
        subset: Which rows.
        deltas: The deltas.
        undefined: Metrics without a value, with the reason.
    """

    subset: BenchmarkSubset
    deltas: tuple[MetricDelta, ...]
    undefined: tuple[UndefinedMetric, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativeControl:
    """A contribution that should gain nothing, measured like the real one.

    Attributes:
        arm: What it is.
        delta: The metric that decides, against the control; None where it is undefined.
        outcome: What the same rule would have decided.
    """

    arm: Arm
    delta: MetricDelta | None
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkHistory:
    """Earlier evaluations on the same benchmark, as the tracking store has them.

    Attributes:
        evaluations: How many there are.
        metric: The metric that decides here; the values are those of the evaluations that recorded it.
        best: The best value of a candidate; None where there is none.
        median: The median of the candidates' values.
        latest: The value of the last one.
    """

    evaluations: int
    metric: str
    best: float | None = None
    median: float | None = None
    latest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReference:
    """A run of the evaluation.

    Attributes:
        key: Our own key, known at once.
        name: The name that MLflow shows.
        run_id: MLflow's id, or None while the run has not been shipped.
    """

    key: str
    name: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingSummary:
    """Where the record of the evaluation is.

    Attributes:
        uri: The tracking store, without credentials.
        experiment: The experiment's name.
        experiment_id: MLflow's id of it, or None while nothing has been shipped.
        journal: The journal's folder.
        runs: The parent run first, then the five steps.
        shipped: Whether everything recorded has reached MLflow.
        problem: Why not, in one sentence; empty when it has.
    """

    uri: str
    experiment: str
    journal: Path | None
    runs: tuple[RunReference, ...]
    shipped: bool
    experiment_id: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationIdentity:
    """Which evaluation this is, and where its outputs go.

    Attributes:
        project: The project's name.
        evaluation: The evaluation's key.
        registered_model: Name of the registered model of which the candidate becomes a version.
        delta_file: The ``delta.json`` to write.
    """

    project: str
    evaluation: str
    registered_model: str
    delta_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkQuestion:
    """What the tracking store is asked about a benchmark.

    Attributes:
        digest: The benchmark's content digest.
        metric: The metric that decides.
        higher_is_better: Whether a larger value of it is a better one.
        evaluation: The evaluation that asks, which is none of the earlier ones.
    """

    digest: str
    metric: str
    higher_is_better: bool
    evaluation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkAnswer:
    """What the tracking store knows of a benchmark.

    Attributes:
        is_split: Whether it is split into halves, so that only who has the key may use it.
        history: Earlier evaluations on it.
    """

    is_split: bool
    history: BenchmarkHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaReport:
    """What the contributed data is worth to the model: the answer of one evaluation.

    Attributes:
        identity: Which evaluation this is.
        decision: The decision on the metric that was named beforehand.
        deltas: Every metric against the control.
        baseline_deltas: Every metric against the baseline model, when one was given.
        undefined: Metrics without a value, with the reason.
        datasets: Every dataset with its content digest.
        counts: What became of the rows of every training table.
        overlapping_rows: Benchmark rows that were met among the offered rows, exactly or nearly.
        notes: What a reader of the numbers should know, such as what the screening could not decide; one sentence each.
        model_sha256: SHA-256 of the candidate's model file; empty when none was kept.
        subsets: The deltas on other sets of benchmark rows; without the rows that overlap always.
        cross_checks: The deciding metric by other methods.
        negative_controls: What contributions that should gain nothing gained, when that was asked for.
        decoy_tests: Whether a contribution holds more rows of the benchmark than chance explains.
        history: Earlier evaluations on this benchmark; None where the store could not be asked.
        answer_step: What every number was rounded to, as a fraction of its unit; None where none was.
        tracking: Where the record is; None until the evaluation has ended.
    """

    identity: EvaluationIdentity
    decision: Decision
    deltas: tuple[MetricDelta, ...]
    baseline_deltas: tuple[MetricDelta, ...]
    undefined: tuple[UndefinedMetric, ...]
    datasets: tuple[DatasetVersion, ...]
    counts: tuple[ContributionCounts, ...]
    overlapping_rows: int = 0
    notes: tuple[str, ...] = ()
    model_sha256: str = ""
    subsets: tuple[SubsetDeltas, ...] = ()
    cross_checks: tuple[CrossCheck, ...] = ()
    negative_controls: tuple[NegativeControl, ...] = ()
    decoy_tests: tuple[DecoyTest, ...] = ()
    history: BenchmarkHistory | None = None
    answer_step: float | None = None
    tracking: TrackingSummary | None = None

    @property
    def delta(self) -> MetricDelta:
        """The delta of the metric that decides, against the control.

        Raises:
            KeyError: That metric is undefined here; ``undefined`` says why.
        """
        for delta in self.deltas:
            if delta.metric.name == self.decision.metric:
                return delta
        raise KeyError(self.decision.metric)
