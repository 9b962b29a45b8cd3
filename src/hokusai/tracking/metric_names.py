"""The names of every metric that Hokusai logs by itself, with unit and meaning; the reference is generated from them.

In a name, ``ARM`` stands for ``control``, ``candidate``, ``baseline`` or a negative control, ``METRIC`` for a metric's
name such as ``roc_auc``, ``NAME`` for a contribution.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "CPU_SECONDS",
    "METRICS",
    "PEAK_MEMORY",
    "ROWS",
    "ROWS_PER_SECOND",
    "WALL_SECONDS",
    "MetricName",
    "is_measurement",
    "metric_name",
]

WALL_SECONDS = "step.wall_seconds"
CPU_SECONDS = "step.cpu_seconds"
PEAK_MEMORY = "step.peak_memory_bytes"
ROWS = "step.rows"
ROWS_PER_SECOND = "step.rows_per_second"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricName:
    """A metric that Hokusai logs.

    Attributes:
        name: Its name, or the pattern of its names.
        unit: What the value counts.
        description: What it means.
        runs: Which runs have it.
        is_measured: Whether it differs between two equal evaluations, because it measures the machine.
    """

    name: str
    unit: str
    description: str
    runs: str
    is_measured: bool = False

    def matches(self, name: str) -> bool:
        """Say whether a logged metric is this one."""
        pattern = re.escape(self.name).replace("ARM", "(control|candidate|baseline|shuffled_labels|base_resample)")
        pattern = pattern.replace("METRIC", r"[a-z0-9_]+").replace("NAME", ".+")
        return re.fullmatch(pattern, name) is not None


_GAIN = "the metric's"
_SCORING = "evaluate_on_benchmark"
_DELTA_RUNS = "parent, compare_and_output_delta"
METRICS = (
    MetricName(name=WALL_SECONDS, unit="seconds", description="How long the run took.", runs="all", is_measured=True),
    MetricName(
        name=CPU_SECONDS,
        unit="seconds",
        description="Processor time that the process spent meanwhile, over all of its threads.",
        runs="all",
        is_measured=True,
    ),
    MetricName(
        name=PEAK_MEMORY,
        unit="bytes",
        description="Largest resident memory of the process during the run.",
        runs="all",
        is_measured=True,
    ),
    MetricName(name=ROWS, unit="rows", description="Rows of the datasets that the run used.", runs="all with datasets"),
    MetricName(
        name=ROWS_PER_SECOND,
        unit="rows per second",
        description="These rows by the run's wall time.",
        runs="all with datasets",
        is_measured=True,
    ),
    MetricName(
        name="baseline.size_bytes",
        unit="bytes",
        description="Size of the baseline model's file.",
        runs="load_baseline_model",
    ),
    MetricName(
        name="baseline.features",
        unit="columns",
        description="Columns that the baseline model wants.",
        runs="load_baseline_model",
    ),
    MetricName(
        name="baseline.digest_checked",
        unit="0 or 1",
        description="Whether its files are known to be those that were recorded or trusted.",
        runs="load_baseline_model",
    ),
    MetricName(
        name="baseline.load_seconds",
        unit="seconds",
        description="How long fetching, checking and loading it took.",
        runs="load_baseline_model",
        is_measured=True,
    ),
    MetricName(
        name="data.benchmark.rows", unit="rows", description="Rows of the benchmark.", runs="integrate_contributed_data"
    ),
    MetricName(
        name="data.benchmark.rows_overlapping",
        unit="rows",
        description="Benchmark rows that were met among the offered rows, exactly or nearly.",
        runs="integrate_contributed_data",
    ),
    MetricName(
        name="data.more_benchmarks.NAME.rows",
        unit="rows",
        description="Rows of a further benchmark.",
        runs="integrate_contributed_data",
    ),
    MetricName(
        name="data.more_benchmarks.NAME.rows_overlapping",
        unit="rows",
        description="Rows of it that were met among the offered rows, exactly or nearly.",
        runs="integrate_contributed_data",
    ),
    MetricName(
        name="data.contribution.NAME.decoy_hits",
        unit="rows",
        description="Different rows of the decoy that were met among the rows of a contribution.",
        runs="integrate_contributed_data",
    ),
    MetricName(
        name="data.contribution.NAME.decoy_p_value",
        unit="probability",
        description="Probability of meeting so many benchmark rows, and so few of the decoy, if none had leaked.",
        runs="integrate_contributed_data",
    ),
    MetricName(
        name="data.personal_data.NAME.rows",
        unit="rows",
        description="Rows in which personal data of a kind were found, over all tables; the kind is the name.",
        runs="integrate_contributed_data",
    ),
    MetricName(
        name="data.integrated.rows",
        unit="rows",
        description="Rows of base and contributions together, as trained on.",
        runs="integrate_contributed_data",
    ),
    *(
        MetricName(
            name=f"data.{table}.rows_{part}",
            unit="rows",
            description=f"{meaning} {of}",
            runs="integrate_contributed_data",
        )
        for table, of in (("base", "the base data."), ("contribution.NAME", "a contribution."))
        for part, meaning in (
            ("offered", "Rows in the file of"),
            ("in_benchmark", "Rows that stand in the benchmark as well, in any of the ways below, of"),
            ("benchmark_exact", "Rows whose features and label equal those of a benchmark row, of"),
            ("benchmark_flipped", "Rows whose features equal those of a benchmark row of another label, of"),
            ("benchmark_normalised", "Rows that equal a benchmark row but for case, blanks and last digits, of"),
            ("benchmark_near", "Rows that nearly equal a benchmark row, of"),
            ("duplicates", "Rows that are not new, in any of the ways below, of"),
            ("duplicates_own", "Rows that stand in it twice, of"),
            ("duplicates_base", "Rows that stand in the base data, of"),
            ("duplicates_other", "Rows that stand in an earlier contribution, of"),
            ("near_base", "Rows that nearly equal a row of the base data, of"),
            ("label_conflicts", "New rows whose features stand elsewhere with another label, of"),
            ("key_conflicts", "Rows whose key stood before them with other content, of"),
            ("replaced", "Rows that another row of their key stands for, of"),
            ("sampled_out", "Rows left out of the sample, of"),
            ("kept", "Rows trained on, of"),
        )
    ),
    *(
        MetricName(
            name=f"data.{table}.fraction_{part}",
            unit="fraction",
            description=f"Share of the offered rows that {meaning}, of {of}",
            runs="integrate_contributed_data",
        )
        for table, of in (("base", "the base data."), ("contribution.NAME", "a contribution."))
        for part, meaning in (("in_benchmark", "stand in the benchmark"), ("duplicates", "are not new"))
    ),
    MetricName(
        name="training.ARM.fit_seconds",
        unit="seconds",
        description="How long one fit took; the step is the seed.",
        runs="train_new_model",
        is_measured=True,
    ),
    MetricName(
        name="training.ARM.rows", unit="rows", description="Rows that the arm was trained on.", runs="train_new_model"
    ),
    MetricName(
        name="training.workers",
        unit="processes",
        description="Processes that fitted at the same time; no result depends on it.",
        runs="train_new_model",
        is_measured=True,
    ),
    MetricName(
        name="training.failed_fits",
        unit="fits",
        description="Fits that did not succeed; their seeds are left out of both arms.",
        runs="train_new_model",
    ),
    MetricName(
        name="training.control.fits_reused",
        unit="fits",
        description="Fits of the control taken from earlier evaluations; no result depends on it.",
        runs="train_new_model",
        is_measured=True,
    ),
    MetricName(
        name="training.looks",
        unit="looks",
        description="How often it was looked whether the fits so far were enough; 0 when the number was fixed.",
        runs="train_new_model",
    ),
    MetricName(
        name="training.ARM.tuning_score",
        unit=_GAIN,
        description="Score of a set of hyperparameters, mean over the folds; the step is the trial.",
        runs="train_new_model",
    ),
    MetricName(
        name="training.ARM.seed_NAME",
        unit="the estimator's",
        description="What a fit said of its iterations: the seed, and train_loss, validation_loss, train_score or "
        "validation_score; the step is the iteration.",
        runs="train_new_model",
    ),
    MetricName(
        name="ARM.rows_per_second",
        unit="rows per second",
        description="Benchmark rows that the arm predicts per second.",
        runs=_SCORING,
        is_measured=True,
    ),
    MetricName(
        name="ARM.latency_seconds",
        unit="seconds",
        description="Median time in which the arm predicts one row.",
        runs=_SCORING,
        is_measured=True,
    ),
    *(
        MetricName(
            name=f"output.{output}.{part}",
            unit=part,
            description=f"{meaning} {file}.",
            runs=run,
            is_measured=part == "seconds",
        )
        for output, file, run in (
            ("row_scores", "row_scores.parquet", _SCORING),
            ("delta", "delta.json", "compare_and_output_delta"),
        )
        for part, meaning in (("bytes", "Size of"), ("seconds", "How long it took to make"))
    ),
    MetricName(
        name="history.evaluations",
        unit="evaluations",
        description="Earlier evaluations on this benchmark that the tracking store has.",
        runs="compare_and_output_delta",
    ),
    *(
        MetricName(
            name=f"history.METRIC.{part}",
            unit=_GAIN,
            description=f"{meaning} among the candidates of earlier evaluations on this benchmark.",
            runs="compare_and_output_delta",
        )
        for part, meaning in (("best", "Best score"), ("median", "Median score"), ("latest", "Last score"))
    ),
    MetricName(
        name="decision.minimum_detectable_effect",
        unit=_GAIN,
        description="Smallest gain above the bar that would be found four times out of five.",
        runs=_DELTA_RUNS,
    ),
    MetricName(
        name="ARM.METRIC.per_seed", unit=_GAIN, description="Score of one fit; the step is the seed.", runs=_SCORING
    ),
    MetricName(name="ARM.METRIC", unit=_GAIN, description="Mean score over the seeds.", runs=f"parent, {_SCORING}"),
    *(
        MetricName(
            name=f"{prefix}.METRIC{part}", unit=_GAIN, description=f"{meaning} over {reference}.", runs=_DELTA_RUNS
        )
        for prefix, reference in (
            ("delta", "the control"),
            ("delta_baseline", "the given baseline model"),
            ("without_overlap.delta", "the control, without benchmark rows that offered rows equal or nearly equal,"),
            ("shuffled_labels.delta", "the control, of the same contribution with its labels shuffled,"),
            ("base_resample.delta", "the control, of as many rows drawn from the base,"),
        )
        for part, meaning in (
            (".lower", "Lower bound of the gain's interval"),
            (".upper", "Upper bound of the gain's interval"),
            (".standard_error", "Standard error of the gain"),
            ("", "Gain of the candidate, towards better,"),
        )
    ),
)
"""Every metric, the more special names before the more general ones."""


def metric_name(name: str) -> MetricName | None:
    """Return the description of a logged metric, or None when it is none of Hokusai's own."""
    return next((metric for metric in METRICS if metric.matches(name)), None)


def is_measurement(name: str) -> bool:
    """Say whether a metric measures the machine, so that it differs between two equal evaluations."""
    found = metric_name(name)
    return found is not None and found.is_measured
