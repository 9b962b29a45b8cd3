"""What benchmark rows are scored against: labels, weights, groups, queries, and the sets that are scored alone."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from hokusai.analysis.metrics import METRICS
from hokusai.datasets.provenance import PROVENANCE
from hokusai.errors import ConfigurationError, DataError
from hokusai.records import BaselineModel, ContributionCounts, IntegratedData, Predictions
from hokusai.steps.benchmark_rows import benchmark_rows
from hokusai.steps.evaluation import score_fits
from hokusai.steps.evaluation_settings import EvaluationSettings

if TYPE_CHECKING:
    from hokusai.records import SubsetScores
    from hokusai.steps.benchmark_rows import BenchmarkRows

LABELS = ["yes", "no"] * 4


def benchmark(
    labels: list[Any] | None = None,
    *,
    columns: dict[str, Any] | None = None,
    parts: tuple[tuple[str, int], ...] = (),
    overlapping: list[int] | None = None,
) -> IntegratedData:
    """Return data with these benchmark rows; ``overlapping`` are places of rows that were met in offered rows."""
    labels = LABELS if labels is None else labels
    table = pa.table({"x": np.arange(len(labels), dtype=float), "y": labels})
    met = np.zeros(len(labels), dtype=np.bool_)
    met[overlapping or []] = True
    return IntegratedData(
        base=table,
        integrated=table,
        benchmark=table,
        label="y",
        features=("x",),
        versions=(),
        counts=(ContributionCounts(name="base", offered=1, duplicates=0, in_benchmark=0, kept=1),),
        provenance=PROVENANCE.empty_table(),
        overlapping=met,
        benchmark_parts=parts,
        benchmark_columns=None if columns is None else pa.table(columns),
    )


def sets_of(rows: BenchmarkRows) -> dict[tuple[str, str], list[int]]:
    """Return the places of the rows of every set, by kind and name."""
    return {(each.kind, each.name): each.rows.tolist() for each in rows.sets}


def slices(values: Any, column_type: pa.DataType | None = None) -> dict[str, list[int]]:
    """Return the rows of every slice by a column ``s`` with these values."""
    data = benchmark(["yes", "no"] * (len(values) // 2), columns={"s": pa.array(values, type=column_type)})
    rows = benchmark_rows(EvaluationSettings(slices=("s",)), data, task="classification")
    return {name: places for (kind, name), places in sets_of(rows).items() if kind == "slice"}


def answers(codes: list[int]) -> Predictions:
    """Return predictions of two classes that are rather sure."""
    sure = np.full((len(codes), 2), 0.2)
    sure[np.arange(len(codes)), codes] = 0.8
    return Predictions(predicted=np.array(codes), probabilities=sure)


def scored(rows: BenchmarkRows, *, names: tuple[str, ...] = ("accuracy",)) -> dict[str, SubsetScores]:
    """Return the scores of one fit that says ``yes`` to all rows, by the name of the set."""
    fit = answers([1] * rows.truth.actual.size)
    found = score_fits([METRICS[name] for name in names], rows, {"control": [fit], "candidate": [fit]})
    return {each.subset.name: each for each in found}


# --- sets ------------------------------------------------------------------------------------------------------------


def test_the_first_benchmark_decides_and_every_other_one_is_a_set_of_its_own() -> None:
    data = benchmark(parts=(("spring", 3), ("autumn", 5)), overlapping=[1, 6])
    rows = benchmark_rows(EvaluationSettings(), data, task="classification")
    assert sets_of(rows) == {
        ("benchmark", "spring"): [0, 1, 2],
        ("without overlap", "without overlap"): [0, 2],
        ("benchmark", "autumn"): [3, 4, 5, 6, 7],
    }
    assert next(iter(sets_of(rows))) == ("benchmark", "spring")


def test_halves_share_out_the_first_benchmark_and_what_is_shown_are_parts_of_the_feedback_half() -> None:
    data = benchmark(
        parts=(("benchmark", 6), ("second", 2)),
        overlapping=[0, 1],
        columns={"s": ["a", "a", "b", "b", "b", "b", "a", "a"]},
    )
    half = np.array([True, False, False, True, False, True])
    rows = benchmark_rows(EvaluationSettings(slices=("s",)), data, task="classification", decision_half=half)
    assert sets_of(rows) == {
        ("decision", "decision"): [0, 3, 5],
        ("feedback", "feedback"): [1, 2, 4],
        ("benchmark", "second"): [6, 7],
        ("slice", "s=a"): [1],
        ("slice", "s=b"): [2, 4],
    }


@pytest.mark.parametrize("copied", [0, 1])
@pytest.mark.parametrize(("shift", "label"), [(0.0, "same"), (0.0, "other"), (1e-9, "same")])
def test_a_further_benchmark_with_a_row_of_either_half_is_refused(copied: int, shift: float, label: str) -> None:
    half = np.array([True, False, False, True, False, True])
    labels = ["yes", "no"] * 4
    labels[7] = labels[copied] if label == "same" else labels[1 - copied]
    data = benchmark(labels, parts=(("benchmark", 6), ("second", 2)))
    x = [10.0, 11, 12, 13, 14, 15, 16, 10.0 + copied + shift]
    data = dataclasses.replace(data, base=data.base.slice(2, 4), benchmark=pa.table({"x": x, "y": labels}))
    with pytest.raises(
        ConfigurationError, match="1 rows of 'second' stand in the benchmark that decides, the first is data row 2;"
    ) as caught:
        benchmark_rows(EvaluationSettings(), data, task="classification", decision_half=half)
    assert caught.value.key == "data.more_benchmarks"
    # Of a benchmark that is not split nothing is hidden.
    whole = benchmark_rows(EvaluationSettings(), data, task="classification")
    assert sets_of(whole)["benchmark", "second"] == [6, 7]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["b", "a", "b", "b"], {"s=b": [0, 2, 3], "s=a": [1]}),
        ([True, False, False, True], {"s=true": [0, 3], "s=false": [1, 2]}),
        ([2, 10, 2, None], {"s=2": [0, 2], "s=10": [1], "s=missing": [3]}),
        ([2.0, 0.5, math.nan, None], {"s=2": [0], "s=0.5": [1], "s=missing": [2, 3]}),
        (["missing", None, "a", None], {"s=missing": [0], "s=no value": [1, 3], "s=a": [2]}),
    ],
)
def test_few_values_are_slices_of_their_own(values: list[Any], expected: dict[str, list[int]]) -> None:
    assert slices(values) == expected


def test_many_numbers_are_cut_into_four_ranges_with_as_many_rows_each() -> None:
    values = [*range(100), None, None]
    found = slices(values, pa.int64())
    assert list(found) == ["s=0 to 24.75", "s=24.75 to 49.5", "s=49.5 to 74.25", "s=74.25 to 99", "s=missing"]
    assert [len(places) for places in found.values()] == [25, 25, 25, 25, 2]
    assert sorted(place for places in found.values() for place in places) == list(range(102))


def test_ranges_of_numbers_that_differ_in_late_digits_have_names_of_their_own() -> None:
    found = slices([1 + place * 1e-9 for place in range(40)])
    assert [len(places) for places in found.values()] == [10, 10, 10, 10]


def test_numbers_of_which_most_are_equal_have_fewer_ranges_and_keep_every_row() -> None:
    found = slices([0.0] * 60 + [float(place) for place in range(1, 41)])
    assert len(found) < 4
    assert sorted(place for places in found.values() for place in places) == list(range(100))


def test_a_column_of_many_texts_is_refused_as_slices() -> None:
    with pytest.raises(ConfigurationError, match="more than 20 different values, expected fewer, or numbers") as caught:
        slices([f"patient {place}" for place in range(22)])
    assert caught.value.key == "evaluation.slices"
    assert len(slices([f"patient {place % 20}" for place in range(22)])) == 20


def test_a_set_of_one_row_is_left_out_and_sets_of_the_same_rows_have_the_same_scores() -> None:
    data = benchmark(columns={"s": ["a", *["b"] * 7]})
    found = scored(benchmark_rows(EvaluationSettings(slices=("s",)), data, task="classification"))
    assert list(found) == ["benchmark", "without overlap", "s=b"]
    assert found["without overlap"].scores == found["benchmark"].scores
    assert found["without overlap"].subset.kind == "without overlap"
    assert found["s=b"].subset.rows == 7


def test_rows_that_all_overlap_leave_no_set_without_overlap() -> None:
    data = benchmark(overlapping=list(range(8)))
    found = scored(benchmark_rows(EvaluationSettings(), data, task="classification"))
    assert list(found) == ["benchmark"]


def test_a_slice_without_one_class_says_what_is_undefined_there_and_has_the_rest() -> None:
    data = benchmark(columns={"s": ["a", "b"] * 4})
    rows = benchmark_rows(EvaluationSettings(slices=("s",)), data, task="classification")
    found = scored(rows, names=("accuracy", "roc_auc"))
    assert found["s=a"].scores["control"]["accuracy"].values.tolist() == [1.0]
    assert found["s=b"].scores["control"]["accuracy"].values.tolist() == [0.0]
    assert {(each.name, each.arm) for each in found["s=a"].undefined} == {
        ("roc_auc", "control"),
        ("roc_auc", "candidate"),
    }
    assert found["s=a"].class_rows == (("yes", 4),)
    assert not found["benchmark"].undefined


@pytest.mark.parametrize(("labels", "parts"), [(["yes"], ()), (LABELS, (("benchmark", 1), ("second", 7)))])
def test_a_benchmark_of_one_row_is_refused(labels: list[str], parts: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(DataError, match="benchmark: has one row, expected at least two"):
        benchmark_rows(EvaluationSettings(), benchmark(labels, parts=parts), task="classification")


@pytest.mark.parametrize(
    ("half", "message"),
    [([True] + [False] * 7, "decision: has one row"), ([True] * 8, "feedback: has no row")],
)
def test_a_half_that_tells_nothing_is_refused(half: list[bool], message: str) -> None:
    with pytest.raises(DataError, match=message):
        benchmark_rows(EvaluationSettings(), benchmark(), task="classification", decision_half=np.array(half))


def test_rows_that_all_belong_together_are_refused() -> None:
    data = benchmark(columns={"patient": ["p"] * 8})
    with pytest.raises(DataError, match="benchmark: has one group of rows, expected at least two"):
        benchmark_rows(EvaluationSettings(group="patient"), data, task="classification")


# --- groups and queries ----------------------------------------------------------------------------------------------


def test_groups_are_the_units_of_every_set() -> None:
    data = benchmark(columns={"patient": ["a", "a", "b", "b", "c", "c", "d", "d"]}, overlapping=[0, 1, 2])
    rows = benchmark_rows(EvaluationSettings(group="patient"), data, task="classification")
    found = scored(rows)
    assert (found["benchmark"].subset.rows, found["benchmark"].subset.units) == (8, 4)
    assert (found["without overlap"].subset.rows, found["without overlap"].subset.units) == (5, 3)
    assert found["without overlap"].scores["control"]["accuracy"].influence.shape == (3,)
    assert not found["benchmark"].subset.has_equal_rows


def test_groups_of_one_row_each_change_nothing() -> None:
    alone = scored(benchmark_rows(EvaluationSettings(), benchmark(), task="classification"))
    data = benchmark(columns={"patient": list("abcdefgh")})
    grouped = scored(benchmark_rows(EvaluationSettings(group="patient"), data, task="classification"))
    one, other = (each["benchmark"].scores["control"]["accuracy"] for each in (alone, grouped))
    assert np.array_equal(one.influence, other.influence)
    assert (one.values == other.values).all()
    assert grouped["benchmark"].subset.has_equal_rows


def test_rows_of_a_query_belong_together_unless_groups_hold_whole_queries() -> None:
    columns = {"q": [1, 1, 2, 2, 3, 3, 4, 4], "site": list("ssssttuu")}
    alone = benchmark_rows(EvaluationSettings(query="q"), benchmark(columns=columns), task="classification")
    assert alone.groups is not None
    assert (alone.groups.count, alone.truth.queries is not None) == (4, True)
    both = benchmark_rows(
        EvaluationSettings(query="q", group="site"), benchmark(columns=columns), task="classification"
    )
    assert both.groups is not None
    assert both.groups.count == 3
    assert both.truth.queries is not None
    assert np.unique(both.truth.queries).size == 4


def test_a_query_in_two_groups_is_refused() -> None:
    data = benchmark(columns={"q": [1] * 4 + [2] * 4, "site": list("sstuuuuu")})
    with pytest.raises(ConfigurationError, match="rows of one query stand in several groups of 'site'") as caught:
        benchmark_rows(EvaluationSettings(query="q", group="site"), data, task="classification")
    assert caught.value.key == "evaluation.group"


def test_queries_of_two_benchmarks_may_have_the_same_numbers() -> None:
    data = benchmark(
        parts=(("first", 4), ("second", 4)), columns={"q": [1, 1, 2, 2] * 2, "site": ["s", "s", "t", "t", *"uuvv"]}
    )
    rows = benchmark_rows(EvaluationSettings(query="q", group="site"), data, task="classification")
    assert rows.truth.queries is not None
    assert rows.truth.queries.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    found = scored(rows, names=("ndcg",))
    assert (found["first"].subset.units, found["second"].subset.units) == (2, 2)


@pytest.mark.parametrize(
    ("column", "row"),
    [(pa.array(["a", "b", None, *"cdefg"]), 3), (pa.array([1.0, math.nan, 2, 3, 4, 5, 6, 7]), 2)],
)
@pytest.mark.parametrize("setting", ["group", "query"])
def test_a_row_that_belongs_nowhere_is_refused(setting: str, column: pa.Array, row: int) -> None:
    own = EvaluationSettings(group="c") if setting == "group" else EvaluationSettings(query="c")
    with pytest.raises(DataError, match=rf"benchmark: column 'c', data row {row}: no value.*evaluation\.{setting}"):
        benchmark_rows(own, benchmark(columns={"c": column}), task="classification")


def test_a_row_that_belongs_nowhere_is_found_in_its_own_benchmark() -> None:
    data = benchmark(parts=(("first", 5), ("second", 3)), columns={"c": [*"abcdef", None, "g"]})
    with pytest.raises(DataError, match="second: column 'c', data row 2: no value"):
        benchmark_rows(EvaluationSettings(group="c"), data, task="classification")


# --- weights ---------------------------------------------------------------------------------------------------------


def test_weights_that_are_all_one_change_nothing_but_that_there_are_weights() -> None:
    data = benchmark(columns={"w": [1] * 8})
    plain = scored(benchmark_rows(EvaluationSettings(), benchmark(), task="classification"))["benchmark"]
    ones = scored(benchmark_rows(EvaluationSettings(sample_weight="w"), data, task="classification"))["benchmark"]
    one, other = (each.scores["control"]["accuracy"] for each in (plain, ones))
    assert np.allclose(one.influence, other.influence, rtol=1e-14)
    assert (one.values == other.values).all()
    assert (plain.subset.is_weighted, ones.subset.is_weighted) == (False, True)


def test_rows_that_weigh_nothing_are_no_evidence() -> None:
    data = benchmark(columns={"w": [1.0, 1, 1, 0, 0, 0, 0, 0], "s": list("aaabbbbb")})
    rows = benchmark_rows(EvaluationSettings(sample_weight="w", slices=("s",)), data, task="classification")
    found = scored(rows)
    assert found["benchmark"].scores["control"]["accuracy"].values[0] == pytest.approx(2 / 3)
    assert found["benchmark"].class_rows == (("no", 1), ("yes", 2))
    assert found["benchmark"].right["control"].share.sum() == 2
    assert found["s=b"].scores == {"control": {}, "candidate": {}}
    assert {each.reason for each in found["s=b"].undefined} == {"every benchmark row has the weight zero"}


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan, None])
def test_what_can_be_no_weight_is_refused(weight: float | None) -> None:
    data = benchmark(columns={"w": pa.array([1.0, 2.0, weight, 1, 1, 1, 1, 1])})
    with pytest.raises(DataError, match=r"benchmark: column 'w', data row 3: got .*\(evaluation\.sample_weight\)"):
        benchmark_rows(EvaluationSettings(sample_weight="w"), data, task="classification")


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (["yes", "no", "yes"], ("no", "yes"), [1, 0, 1]),
        ([True, False, True], ("false", "true"), [1, 0, 1]),
        ([10, 2, 10], ("2", "10"), [1, 0, 1]),
        ([1.0, 0.0, 1.0], ("0", "1"), [1, 0, 1]),
        (["c", "a", "b"], ("a", "b", "c"), [2, 0, 1]),
    ],
)
def test_labels_become_codes_of_the_classes(labels: list[Any], classes: tuple[str, ...], codes: list[int]) -> None:
    truth = benchmark_rows(EvaluationSettings(), benchmark(labels), task="classification").truth
    assert (truth.classes, truth.actual.tolist()) == (classes, codes)
    assert truth.positive == (1 if len(classes) == 2 else None)


def test_labels_of_a_regression_are_numbers_without_classes() -> None:
    truth = benchmark_rows(EvaluationSettings(), benchmark([3, 1, 2]), task="regression").truth
    assert (truth.classes, truth.positive, truth.actual.tolist()) == ((), None, [3.0, 1.0, 2.0])
    assert truth.actual.dtype.kind == "f"


class Knowing:
    """A model that only says which classes it knows."""

    seed, features = 0, ("x",)

    def __init__(self, *classes: str) -> None:
        """Remember the classes."""
        self.classes = classes

    def predict(self, table: pa.Table, *, classes: tuple[str, ...]) -> Predictions:
        """Say the first class."""
        return Predictions(predicted=np.zeros(table.num_rows, dtype=np.intp) + classes.index(self.classes[0]))


def test_a_class_that_only_the_given_model_knows_comes_last_and_leaves_no_positive_one() -> None:
    baseline = BaselineModel(source="given", model=Knowing("maybe", "no"))
    truth = benchmark_rows(EvaluationSettings(), benchmark(), task="classification", baseline=baseline).truth
    assert (truth.classes, truth.positive) == (("no", "yes", "maybe"), None)
    with pytest.raises(
        ConfigurationError, match="got 'yes', expected one of two classes; the classes are no, yes, maybe"
    ):
        benchmark_rows(EvaluationSettings(positive_class="yes"), benchmark(), task="classification", baseline=baseline)
