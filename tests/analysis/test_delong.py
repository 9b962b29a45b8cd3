"""DeLong's test gives the published numbers, and the paired interval those of DeLong on larger benchmarks."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hokusai.analysis.delong import delong_covariance
from hokusai.analysis.influence import MetricEvaluation
from hokusai.analysis.metrics import METRICS, BenchmarkTruth, evaluate
from hokusai.analysis.statistics import PairedInterval, paired_interval, summarise_fits
from hokusai.records import Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

# 113 patients with an aneurysmal subarachnoid haemorrhage: N. Turck et al. (2010), "A multiparameter panel method for
# outcome prediction following aneurysmal subarachnoid hemorrhage", Intensive Care Medicine 36, 107-115; the worked
# example of X. Robin et al. (2011), "pROC: an open-source package for R and S+ to analyze and compare ROC curves",
# BMC Bioinformatics 12, 77.
PATIENTS = Path(__file__).parent / "data" / "asah.csv"


def read_patients() -> tuple[NDArray[np.bool_], dict[str, NDArray[np.float64]]]:
    """Return whether each patient's outcome was poor, and the three scores."""
    with PATIENTS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    scores = {name: np.array([float(row[name]) for row in rows]) for name in ("ndka", "wfns", "s100b")}
    return np.array([row["outcome"] == "Poor" for row in rows]), scores


def paired(positive: NDArray[np.bool_], first: NDArray[np.float64], second: NDArray[np.float64]) -> PairedInterval:
    """Return the paired interval of the first area less the second."""
    truth = BenchmarkTruth(actual=positive.astype(np.int64), classes=("no", "yes"), positive=1)
    summaries = []
    for scores in (second, first):
        probability = scores / (scores.max() + 1)
        evaluation = evaluate(
            METRICS["roc_auc"],
            truth,
            Predictions(
                predicted=(probability > 0.5).astype(np.int64),
                probabilities=np.column_stack([1 - probability, probability]),
            ),
        )
        assert isinstance(evaluation, MetricEvaluation)
        summaries.append(summarise_fits([evaluation]))
    return paired_interval(*summaries, random_trainer=False)


@pytest.mark.parametrize(
    ("first", "second", "z"),
    [
        ("wfns", "s100b", 2.20898359144091),
        ("wfns", "ndka", 2.79777591868904),
        ("ndka", "s100b", -1.39077002573558),
    ],
)
def test_delong_reproduces_the_published_example_to_all_digits(first: str, second: str, z: float) -> None:
    positive, scores = read_patients()
    found = delong_covariance(positive, scores[first], scores[second])
    assert found.z == pytest.approx(z, abs=5e-14)
    interval = paired(positive, scores[first], scores[second])
    assert interval.delta == pytest.approx(found.areas[0] - found.areas[1], abs=1e-14)
    # All rows less one, instead of either class less one, makes the interval a little narrower at 113 rows.
    assert interval.delta / interval.standard_error == pytest.approx(z, rel=0.01)


def test_the_paired_interval_is_delongs_on_a_large_benchmark() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(20_000) < 0.3
    first, second = (np.abs(rng.normal(size=20_000) + positive) for _ in range(2))
    found, interval = delong_covariance(positive, first, second), paired(positive, first, second)
    assert interval.delta / interval.standard_error == pytest.approx(found.z, rel=2e-4)


def test_exchanging_the_scores_turns_the_sign_and_equal_scores_have_no_z() -> None:
    positive, scores = read_patients()
    forth = delong_covariance(positive, scores["ndka"], scores["wfns"])
    assert delong_covariance(positive, scores["wfns"], scores["ndka"]).z == pytest.approx(-forth.z)
    assert np.isnan(delong_covariance(positive, scores["wfns"], scores["wfns"]).z)


def test_too_few_rows_of_a_class_are_refused() -> None:
    scores = np.arange(4.0)
    with pytest.raises(ValueError, match="1 of 4 rows are positive"):
        delong_covariance(np.array([True, False, False, False]), scores, scores)
    with pytest.raises(ValueError, match="three times"):
        delong_covariance(np.array([True, False]), scores, scores)
