"""Five seeds per arm of real trainers on real data: coverage of the true gain, and how often nothing is accepted.

Two arms of a trainer are fitted with many seeds each, and asked about a large pool of rows. A replicate draws its fits
and its rows from such a pool, each independently of the others. The pool is then the whole population, so the means
over it are not estimates but the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
from calibration.coverage import Known, Population, Sample, cover, scores_of

from hokusai.analysis.metrics import BenchmarkTruth
from hokusai.records import Predictions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from calibration.cells import CoverageCell
    from calibration.coverage import Effort
    from numpy.typing import NDArray

__all__ = ["FITS_PER_ARM", "NO_EFFECT", "measure_real_trainers"]

FITS_PER_ARM = 5
NO_EFFECT = ", no effect"
"""What the name of a population ends with in which both arms draw from the same fits."""
_REPLICATES = 1_000
_TRAINERS = ("random forest", "boosting", "linear")
_FLIGHT_FEATURES = ["month", "carrier", "weekday", "minute_of_day", "distance"]
_POOL_ROWS = 30_000
_DATA_SEED = 7


class _Estimator(Protocol):
    def fit(self, features: NDArray[np.float64], labels: NDArray[np.generic]) -> object:
        """Fit."""

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.generic]:
        """Predict."""

    def predict_proba(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predict probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Features, shape (rows, features), and labels, shape (rows,): class codes or numbers."""

    features: NDArray[np.float64]
    labels: NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """Base rows, offered rows, and a pool that benchmarks are drawn from.

    Attributes:
        name: What the page calls it.
        read: Returns base, contribution and pool.
        classes: Names of the classes; empty for regression.
        positive: Code of the positive class.
        metrics: Names of the metrics that are counted.
        rows: Rows of a benchmark.
    """

    name: str
    read: Callable[[], tuple[_Table, _Table, _Table]]
    classes: tuple[str, ...]
    positive: int | None
    metrics: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _FitPool:
    """What every fit of both arms says about the pool.

    Attributes:
        truth: The pool's labels.
        control: Shape (fits, rows, classes) or, for regression, (fits, rows).
        candidate: The same, trained on base and contribution.
    """

    truth: BenchmarkTruth
    control: NDArray[np.float32]
    candidate: NDArray[np.float32]

    def predictions(self, fit: NDArray[np.float32], rows: NDArray[np.intp] | None = None) -> Predictions:
        """Return what one fit of an arm says about some rows of the pool, by default about all."""
        said = (fit if rows is None else fit[rows]).astype(np.float64)
        if said.ndim == 1:
            return Predictions(predicted=said)
        return Predictions(predicted=said.argmax(axis=1), probabilities=said)


def _fit_pool(problem: _Problem, trainer: str, *, fits: int, cache: Path | None) -> _FitPool:
    """Fit both arms with many seeds, or read what an earlier run of as many left in the cache.

    Args:
        problem: The data.
        trainer: One of `_TRAINERS`.
        fits: Fits of each arm; their seeds differ between the arms, too.
        cache: A folder for the predictions; None keeps nothing.
    """
    base, contribution, pool = problem.read()
    truth = BenchmarkTruth(actual=pool.labels, classes=problem.classes, positive=problem.positive)
    file = cache / f"{problem.name}-{trainer}-{fits}.npz".replace(" ", "-") if cache else None
    if file is not None and file.exists():
        with np.load(file) as arrays:
            return _FitPool(truth=truth, control=arrays["control"], candidate=arrays["candidate"])
    both = _Table(
        features=np.concatenate([base.features, contribution.features]),
        labels=np.concatenate([base.labels, contribution.labels]),
    )
    control = np.stack([_fit_and_ask(problem, trainer, base, pool, seed) for seed in range(fits)])
    candidate = np.stack([_fit_and_ask(problem, trainer, both, pool, seed) for seed in range(fits, 2 * fits)])
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, control=control, candidate=candidate)
    return _FitPool(truth=truth, control=control, candidate=candidate)


def _fit_and_ask(problem: _Problem, trainer: str, training: _Table, pool: _Table, seed: int) -> NDArray[np.float32]:
    estimator = _estimator(trainer, seed=seed, classifies=bool(problem.classes))
    estimator.fit(training.features, training.labels)
    ask = estimator.predict_proba if problem.classes else estimator.predict
    return ask(pool.features).astype(np.float32)


def _estimator(trainer: str, *, seed: int, classifies: bool) -> _Estimator:
    """Return an estimator in which the seed matters: by trees and features, by bags of rows, or by the rows' order."""
    estimator: _Estimator
    match trainer:
        case "random forest":
            from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

            forest = RandomForestClassifier if classifies else RandomForestRegressor
            estimator = forest(n_estimators=30, min_samples_leaf=3, max_features=0.5, random_state=seed)
        case "boosting":
            from lightgbm import LGBMClassifier, LGBMRegressor

            boosting = LGBMClassifier if classifies else LGBMRegressor
            estimator = boosting(
                n_estimators=40,
                num_leaves=15,
                min_child_samples=10,
                subsample=0.7,
                subsample_freq=1,
                colsample_bytree=0.7,
                random_state=seed,
                n_jobs=1,
                deterministic=True,
                force_row_wise=True,
                verbose=-1,
            )
        case "linear":
            from sklearn.linear_model import SGDClassifier, SGDRegressor
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler

            settings = {"alpha": 0.001, "max_iter": 5, "tol": None, "random_state": seed}
            linear = SGDClassifier(loss="log_loss", **settings) if classifies else SGDRegressor(**settings)
            estimator = make_pipeline(StandardScaler(), linear)
        case _:
            raise ValueError(f"no trainer {trainer!r}, expected one of: {', '.join(_TRAINERS)}")
    return estimator


def _late_flights() -> tuple[_Table, _Table, _Table]:
    from benchmarks.flights import read_flights

    flights = read_flights()
    training, pool = flights[flights["month"] <= 10], flights[flights["month"] > 10]
    return _flight_tables(training, pool, column="origin", base="LGA", contribution="EWR", label="late")


def _air_times() -> tuple[_Table, _Table, _Table]:
    from benchmarks.flights import read_flights

    flights = read_flights().dropna(subset=["air_time"])
    training, pool = flights[flights["month"] <= 10], flights[flights["month"] > 10]
    return _flight_tables(training, pool, column="carrier", base="DL", contribution="UA", label="air_time")


def _flight_tables(
    training: pd.DataFrame, pool: pd.DataFrame, *, column: str, base: str, contribution: str, label: str
) -> tuple[_Table, _Table, _Table]:
    from benchmarks.flights import WEATHER

    rng = np.random.default_rng(_DATA_SEED)

    def table(frame: pd.DataFrame, rows: int) -> _Table:
        drawn = frame.iloc[rng.choice(len(frame), rows, replace=False)]
        features = drawn[[*_FLIGHT_FEATURES, *WEATHER]].assign(carrier=drawn["carrier"].map(lambda code: int(code, 36)))
        labels = drawn[label].to_numpy()
        return _Table(
            # The linear trainer takes no missing values; a gust that was not measured is most often none.
            features=features.fillna(0).to_numpy(np.float64),
            labels=labels.astype(np.intp if label == "late" else np.float64),
        )

    rows_of_base, rows_of_contribution = training[training[column] == base], training[training[column] == contribution]
    return table(rows_of_base, 3_000), table(rows_of_contribution, 1_500), table(pool, _POOL_ROWS)


def _digits() -> tuple[_Table, _Table, _Table]:
    from sklearn.datasets import load_digits

    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(_DATA_SEED).permutation(labels.size)
    base, contribution, pool = (
        _Table(features=features[rows].astype(np.float64), labels=labels[rows].astype(np.intp))
        for rows in np.split(order, [300, 400])
    )
    return base, contribution, pool


_PROBLEMS = (
    _Problem(
        name="late flights",
        read=_late_flights,
        classes=("on time", "late"),
        positive=1,
        metrics=("accuracy", "balanced_accuracy", "f1", "roc_auc", "average_precision", "log_loss", "brier_score"),
        rows=2_000,
    ),
    _Problem(
        name="digits",
        read=_digits,
        classes=tuple("0123456789"),
        positive=None,
        metrics=("accuracy", "f1", "roc_auc", "log_loss", "brier_score"),
        rows=500,
    ),
    _Problem(
        name="air time",
        read=_air_times,
        classes=(),
        positive=None,
        metrics=("rmse", "mae", "median_absolute_error", "r2", "mape"),
        rows=2_000,
    ),
)
"""Two classes, ten, and numbers."""


def measure_real_trainers(effort: Effort) -> list[CoverageCell]:
    """Count coverage for every problem and trainer; beside it the interval over rows alone.

    Without an effect, both arms draw from the control's fits, and the true difference is exactly zero.
    """
    cells: list[CoverageCell] = []
    for problem in _PROBLEMS:
        for trainer in _TRAINERS:
            pool = _fit_pool(problem, trainer, fits=effort.pool_fits, cache=effort.cache)
            values = [_mean_values(pool, fits, problem.metrics) for fits in (pool.control, pool.candidate)]
            for ending, candidate, differences in (
                ("", pool.candidate, {name: values[1][name] - values[0][name] for name in problem.metrics}),
                (NO_EFFECT, pool.control, dict.fromkeys(problem.metrics, 0.0)),
            ):
                population = Population(
                    name=f"{problem.name}, {trainer}{ending}",
                    metrics=problem.metrics,
                    draw=partial(_draw, pool=pool, candidate=candidate),
                    random_trainer=True,
                )
                known = {name: Known(difference=difference) for name, difference in differences.items()}
                cells += cover(population, problem.rows, replicates=effort.of(_REPLICATES), known=known)
    return cells


def _draw(rows: int, rng: np.random.Generator, *, pool: _FitPool, candidate: NDArray[np.float32]) -> Sample:
    # With replacement, as independent draws are: then the pool is the population.
    chosen = rng.integers(pool.truth.actual.size, size=rows)
    return Sample(
        truth=pool.truth.take(chosen),
        control=tuple(
            pool.predictions(pool.control[fit], chosen) for fit in rng.integers(len(pool.control), size=FITS_PER_ARM)
        ),
        candidate=tuple(
            pool.predictions(candidate[fit], chosen) for fit in rng.integers(len(candidate), size=FITS_PER_ARM)
        ),
    )


def _mean_values(pool: _FitPool, fits: NDArray[np.float32], metrics: tuple[str, ...]) -> dict[str, float]:
    means: dict[str, float] = {}
    for name, scores in scores_of(metrics, pool.truth, [pool.predictions(fit) for fit in fits]).items():
        if scores is None:
            raise ValueError(f"{name} has no value on the whole pool, expected one")
        means[name] = float(np.mean(scores.values))
    return means
