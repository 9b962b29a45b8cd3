"""What the intervals of a pair of models cost: beside scikit-learn's point values, and beside a bootstrap loop.

Our side evaluates both models and ends with the paired interval of each metric; the influence that an interval needs is
part of it. The last part scores a large benchmark metric by metric, in a process of its own, and prints its memory.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import subprocess
import sys
from functools import partial

import numpy as np
from benchmarks.measure import Samples, Side, alternate, cost_of, print_table
from sklearn import metrics as peer

from hokusai.analysis.metrics import METRICS, BenchmarkTruth, MetricEvaluation, evaluate_all
from hokusai.analysis.statistics import PairedInterval, paired_interval, summarise_fits
from hokusai.records import Metric, Predictions

_EIGHT = ("accuracy", "precision", "recall", "f1", "roc_auc", "average_precision", "log_loss", "brier_score")
_ROWS = 1_000_000
_AREA_ROWS = 100_000
_LARGE_ROWS = 10_000_000
_REPLICATES = 20
_WANTED_REPLICATES = 10_000
_RUNS = 7

Pair = tuple[BenchmarkTruth, Predictions, Predictions]


def main() -> None:
    """Compare all of it, on scores made from one seed; ``--large`` is the part that runs in its own process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--rows", type=int, default=_LARGE_ROWS)
    arguments = parser.parse_args()
    if arguments.large:
        _score_large(_made_pair(arguments.rows))
        return
    _compare_with_point_values(_made_pair(_ROWS))
    _compare_with_bootstrap(_made_pair(_AREA_ROWS))
    # A process of its own: its peak memory is that of the scoring alone.
    command = [sys.executable, "-m", "benchmarks.intervals", "--large", "--rows", str(arguments.rows)]
    subprocess.run(command, check=True)


def _made_pair(rows: int) -> Pair:
    """Return labels of two classes, 30 % of them positive, and two models, of which the second is slightly better."""
    rng = np.random.default_rng(0)
    actual = (rng.random(rows) < 0.3).astype(np.int64)
    common = rng.normal(size=rows)
    control, candidate = (_made_model(actual, common, noise=noise, rng=rng) for noise in (0.45, 0.4))
    return BenchmarkTruth(actual=actual, classes=("no", "yes"), positive=1), control, candidate


def _made_model(
    actual: np.ndarray[tuple[int], np.dtype[np.int64]],
    common: np.ndarray[tuple[int], np.dtype[np.float64]],
    *,
    noise: float,
    rng: np.random.Generator,
) -> Predictions:
    probabilities = np.empty((actual.size, 2))
    logits = rng.normal(scale=noise, size=actual.size)
    logits += 1.5 * actual
    logits += common - 1.5
    probabilities[:, 1] = 1 / (1 + np.exp(-logits))
    np.subtract(1, probabilities[:, 1], out=probabilities[:, 0])
    return Predictions(predicted=(logits > 0).astype(np.int64), probabilities=probabilities)


def _intervals(metrics: tuple[Metric, ...], pair: Pair) -> dict[str, PairedInterval]:
    """Return the interval of every metric for one fit in each arm."""
    truth, *models = pair
    arms = [evaluate_all(metrics, truth, model) for model in models]
    found = {}
    for metric in metrics:
        control, candidate = (summarise_fits([_defined(arm[metric.name])]) for arm in arms)
        found[metric.name] = paired_interval(control, candidate, confidence=0.95, random_trainer=False)
    return found


def _defined(evaluation: object) -> MetricEvaluation:
    if not isinstance(evaluation, MetricEvaluation):
        raise SystemExit(f"a metric is undefined: {evaluation}")
    return evaluation


def _point_values(pair: Pair) -> dict[str, list[float]]:
    """Return scikit-learn's values of the eight metrics, of both models."""
    truth, *models = pair
    found: dict[str, list[float]] = {name: [] for name in _EIGHT}
    for model in models:
        if model.probabilities is None:
            raise SystemExit("a made model has probabilities")
        positive = model.probabilities[:, 1]
        found["accuracy"].append(peer.accuracy_score(truth.actual, model.predicted))
        found["precision"].append(peer.precision_score(truth.actual, model.predicted))
        found["recall"].append(peer.recall_score(truth.actual, model.predicted))
        found["f1"].append(peer.f1_score(truth.actual, model.predicted))
        found["roc_auc"].append(peer.roc_auc_score(truth.actual, positive))
        found["average_precision"].append(peer.average_precision_score(truth.actual, positive))
        found["log_loss"].append(peer.log_loss(truth.actual, positive))
        found["brier_score"].append(peer.brier_score_loss(truth.actual, positive))
    return found


def _compare_with_point_values(pair: Pair) -> None:
    metrics = tuple(METRICS[name] for name in _EIGHT)
    expected = _point_values(pair)
    for name, interval in _intervals(metrics, pair).items():
        control, candidate = expected[name]
        if not math.isclose(interval.delta, candidate - control, abs_tol=1e-12):
            raise SystemExit(f"{name} differs: {interval.delta} and {candidate - control}")
    sides = [
        Side("scikit-learn: eight point values of both models", partial(cost_of, partial(_point_values, pair)), _RUNS),
        Side("eight intervals of the pair", partial(cost_of, partial(_intervals, metrics, pair)), _RUNS),
    ]
    print_table(f"{_ROWS:,} rows, two models (wanted: at most twice the time)", alternate(sides))


def _compare_with_bootstrap(pair: Pair) -> None:
    truth, *models = pair
    scores = [model.probabilities[:, 1] for model in models if model.probabilities is not None]
    rng = np.random.default_rng(1)

    def replicates() -> list[float]:
        found = []
        for _ in range(_REPLICATES):
            rows = rng.integers(0, truth.actual.size, truth.actual.size)
            control, candidate = (peer.roc_auc_score(truth.actual[rows], each[rows]) for each in scores)
            found.append(candidate - control)
        return found

    metrics = (METRICS["roc_auc"],)
    sides = [
        Side("the interval of roc_auc", partial(cost_of, partial(_intervals, metrics, pair)), _RUNS),
        Side(f"scikit-learn: {_REPLICATES} bootstrap replicates", partial(cost_of, replicates), 3),
    ]
    samples = alternate(sides)
    factor = _WANTED_REPLICATES / _REPLICATES
    peer_samples = samples[1]
    samples.append(
        Samples(
            f"{_WANTED_REPLICATES:,} replicates, extrapolated from {_REPLICATES}",
            [factor * wall for wall in peer_samples.wall],
            [factor * cpu for cpu in peer_samples.cpu],
        )
    )
    print_table(f"{_AREA_ROWS:,} rows, the difference of two areas (wanted: 3,000 times as fast)", samples)
    ratio = statistics.median(samples[2].wall) / statistics.median(samples[0].wall)
    print(f"the interval is {ratio:,.0f} times as fast as {_WANTED_REPLICATES:,} replicates", flush=True)


def _score_large(pair: Pair) -> None:
    """Score a large benchmark one metric after the other, and print what it took."""
    before = _peak_megabytes()
    print(f"\n{pair[0].actual.size:,} rows, two models, one metric after the other; labels and predictions in memory")
    for name in _EIGHT:
        cost = cost_of(partial(_intervals, (METRICS[name],), pair))
        print(f"{name:<20}{cost.wall:>8.2f} s, peak memory so far {_peak_megabytes():>6,.0f} MiB", flush=True)
    print(
        f"peak memory {_peak_megabytes():,.0f} MiB (wanted: below 2,048), of which {before:,.0f} MiB to make the data"
    )


def _peak_megabytes() -> float:
    """Peak memory of this process; macOS counts bytes, Linux kibibytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    main()
