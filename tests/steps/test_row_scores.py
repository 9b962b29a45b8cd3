"""What is kept of every benchmark row can be read again, and every score computed from it again, exactly."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.analysis.metrics import BenchmarkTruth, metrics_for
from hokusai.analysis.statistics import RowGroups
from hokusai.errors import DataError
from hokusai.models.labels import label_values
from hokusai.records import Predictions
from hokusai.steps.benchmark_rows import BenchmarkRows, RowSet, class_codes
from hokusai.steps.evaluation import score_fits
from hokusai.steps.row_scores import ROW_SCORES_FORMAT, RowScores, read_row_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hokusai.records import Arm

LABELS: dict[str, tuple[tuple[str, ...], list[Any]]] = {
    "texts": (("no", "yes"), ["no", "yes"]),
    "booleans": (("false", "true"), [False, True]),
    "numbers": (("2", "10"), [2, 10]),
    "many": (("a.b", "ä", "c c", "d"), ["a.b", "ä", "c c"]),  # no row has the last class: only a given model knows it
    "regression": ((), []),
}


def predictions(rng: np.random.Generator, rows: int, classes: tuple[str, ...], kind: str) -> Predictions:
    """Return what a made-up model says; ``kind`` is about its probabilities."""
    if not classes:
        return Predictions(predicted=rng.normal(size=rows))
    codes = rng.integers(len(classes), size=rows)
    if kind == "none":
        return Predictions(predicted=codes)
    shares = rng.dirichlet(np.ones(len(classes)), size=rows)
    if kind == "what is left" and len(classes) == 2:
        shares = np.column_stack([1 - shares[:, 1], shares[:, 1]])
    unseen = (classes[0],) if rng.random() < 0.3 else ()
    return Predictions(predicted=codes, probabilities=shares, unseen_classes=unseen)


def row_scores(
    *,
    rows: int = 30,
    labels: str = "texts",
    probabilities: str = "what is left",
    has_weights: bool = False,
    has_groups: bool = False,
    has_queries: bool = False,
    seed: int = 0,
) -> RowScores:
    """Return made-up row scores of three arms."""
    rng = np.random.default_rng(seed)
    classes, values = LABELS[labels]
    column = pa.chunked_array(
        [[values[code] for code in rng.integers(len(values), size=rows)] if classes else rng.normal(size=rows)]
    )
    groups = rng.permutation(np.arange(rows) // 3) if has_groups else None
    truth = BenchmarkTruth(
        actual=class_codes(column, classes) if classes else label_values(column),
        classes=classes,
        positive=1 if len(classes) == 2 else None,
        average="weighted",
        weights=rng.random(rows) if has_weights else None,
        queries=rng.permutation(np.arange(rows) // 5) if has_queries else None,
        groups=groups,
    )
    said: dict[Arm, dict[int, Predictions]] = {
        "control": {number: predictions(rng, rows, classes, probabilities) for number in (0, 1)},
        "candidate": {number: predictions(rng, rows, classes, probabilities) for number in (0, 4, 11)},
        "baseline": {0: predictions(rng, rows, classes, "none")},
    }
    everything = np.arange(rows)
    sets = (
        RowSet(name="decision", kind="decision", rows=everything[::2]),
        RowSet(name="feedback", kind="feedback", rows=everything[1::2]),
        RowSet(name="s=ü", kind="slice", rows=np.sort(rng.choice(rows, size=rows // 2, replace=False))),
        RowSet(name="without overlap", kind="without overlap", rows=everything[:0]),
    )
    return RowScores(
        labels=column,
        rows=BenchmarkRows(
            truth=truth,
            groups=None if groups is None else RowGroups(codes=groups, count=int(groups.max()) + 1),
            sets=sets,
        ),
        predictions=said,
    )


def assert_same(one: object, other: object) -> None:
    """Compare two trees of records, mappings and arrays, every number by its bits."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray)
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    elif isinstance(one, pa.ChunkedArray):
        assert isinstance(other, pa.ChunkedArray)
        assert one.type == other.type
        assert one.to_pylist() == other.to_pylist()
    elif isinstance(one, dict):
        assert isinstance(other, dict)
        assert list(one) == list(other)
        for name, value in one.items():
            assert_same(value, other[name])
    elif isinstance(one, tuple):
        assert isinstance(other, tuple)
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    else:
        assert one == other


def scores_of(kept: RowScores) -> object:
    """Return all scores that follow from row scores."""
    truth = kept.rows.truth
    metrics = metrics_for(truth.task, has_queries=truth.queries is not None)
    return score_fits(metrics, kept.rows, {arm: list(fits.values()) for arm, fits in kept.predictions.items()})


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(4, 40),
    labels=st.sampled_from(list(LABELS)),
    probabilities=st.sampled_from(["none", "what is left", "as they are"]),
    has_weights=st.booleans(),
    has_groups=st.booleans(),
    has_queries=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_what_is_read_is_what_was_written_and_has_the_same_scores_to_the_last_bit(**made: Any) -> None:
    if made["has_groups"]:
        made["has_queries"] = False  # queries may not be torn between groups
    kept = row_scores(**made)
    content = kept.to_bytes()
    assert kept.to_bytes() == content
    read = read_row_scores(content)
    assert_same(kept, read)
    assert read.to_bytes() == content
    assert_same(scores_of(kept), scores_of(read))


def test_a_class_that_is_predicted_first_or_never_keeps_its_code() -> None:
    kept = row_scores(labels="many")
    for codes in ([3] * 30, [2, 0] * 15):
        fit = Predictions(predicted=np.array(codes))
        read = read_row_scores(dataclasses.replace(kept, predictions={"control": {0: fit}}).to_bytes())
        assert read.predictions["control"][0].predicted.tolist() == codes


def test_so_many_classes_that_a_byte_does_not_number_them_keep_their_codes() -> None:
    classes = tuple(f"c{number:03d}" for number in range(300))
    column = pa.chunked_array([list(classes)])
    codes = np.arange(300)[::-1].copy()
    kept = RowScores(
        labels=column,
        rows=BenchmarkRows(truth=BenchmarkTruth(actual=np.arange(300), classes=classes), groups=None, sets=()),
        predictions={"control": {0: Predictions(predicted=codes)}},
    )
    assert read_row_scores(kept.to_bytes()).predictions["control"][0].predicted.tolist() == codes.tolist()


def test_the_columns_are_those_of_the_format() -> None:
    kept = row_scores(has_weights=True, has_groups=True, has_queries=True)
    table = pq.read_table(io.BytesIO(kept.to_bytes()))
    assert table.column_names[:9] == ["row", "label", "weight", "query", "group", "set.0", "set.1", "set.2", "set.3"]
    assert table.column_names[9:] == [
        *(f"{arm}.{part}" for arm in ("control.0", "control.1") for part in ("predicted", "probability.yes")),
        *(f"candidate.{seed}.{part}" for seed in (0, 4, 11) for part in ("predicted", "probability.yes")),
        "baseline.0.predicted",
    ]
    assert table["set.0"].to_pylist() == [True, False] * 15
    assert str(table.schema.field("control.0.predicted").type) == "dictionary<values=string, indices=int8, ordered=0>"
    metadata = json.loads(table.schema.metadata[b"hokusai"])
    assert list(metadata) == ["format", "classes", "positive_class", "average", "sets", "fits"]
    assert metadata["sets"][0] == {"name": "decision", "kind": "decision"}


def size_of_probabilities(content: bytes) -> int:
    """Return the bytes that columns of probabilities take in a file."""
    group = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return sum(each.total_compressed_size for each in columns if "probability" in each.path_in_schema)


def test_a_second_probability_that_is_exactly_what_is_left_is_not_kept_and_halves_the_file() -> None:
    rng = np.random.default_rng(0)
    second = rng.random(20_000)
    column = pa.chunked_array([["no", "yes"] * 10_000])
    truth = BenchmarkTruth(actual=class_codes(column, ("no", "yes")), classes=("no", "yes"), positive=1)

    def kept(first: NDArray[np.float64]) -> bytes:
        fit = Predictions(predicted=(second > 0.5).astype(np.intp), probabilities=np.column_stack([first, second]))
        rows = BenchmarkRows(truth=truth, groups=None, sets=())
        return RowScores(labels=column, rows=rows, predictions={"control": {0: fit}}).to_bytes()

    left = 1 - second
    almost = left.copy()
    almost[17] = np.nextafter(almost[17], 2)
    one, both = kept(left), kept(almost)
    assert size_of_probabilities(one) < 0.55 * size_of_probabilities(both)
    assert len(one) < 0.6 * len(both)
    for content, first in ((one, left), (both, almost)):
        found = read_row_scores(content).predictions["control"][0].probabilities
        assert found is not None
        assert found[:, 0].tobytes() == first.tobytes()
        assert found[:, 1].tobytes() == second.tobytes()


def test_a_file_that_was_written_again_in_row_groups_and_with_other_dictionaries_says_the_same() -> None:
    kept = row_scores(labels="many", rows=40)
    table = pq.read_table(io.BytesIO(kept.to_bytes()))
    for place, name in enumerate(table.column_names):
        if name.endswith(".predicted"):
            encoded = table[name].cast(pa.string()).combine_chunks().dictionary_encode()
            assert encoded.dictionary.to_pylist() != list(kept.rows.truth.classes)
            table = table.set_column(place, name, encoded)
    again = io.BytesIO()
    pq.write_table(table, again, row_group_size=7)
    assert_same(read_row_scores(again.getvalue()), kept)


# --- what is no such file --------------------------------------------------------------------------------------------


def other_metadata(content: bytes, **changes: object) -> bytes:
    """Return the file with other metadata."""
    table = pq.read_table(io.BytesIO(content))
    metadata = json.loads(table.schema.metadata[b"hokusai"]) | changes
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({b"hokusai": json.dumps(metadata).encode()}), buffer)
    return buffer.getvalue()


def plain_file() -> bytes:
    """Return a Parquet file of somebody else's."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a file", b"PAR1" + bytes(100) + b"PAR1"])
def test_bytes_that_are_no_parquet_file_are_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"mine\.parquet: cannot be read .* Fetch it again") as caught:
        read_row_scores(content, source="mine.parquet")
    assert caught.value.source == "mine.parquet"


def test_a_file_of_another_format_or_version_is_refused() -> None:
    with pytest.raises(DataError, match=f"is in the format None, expected '{ROW_SCORES_FORMAT}'"):
        read_row_scores(plain_file())
    with pytest.raises(DataError, match="is in the format 'hokusai-row-scores/3', expected 'hokusai-row-scores/2'"):
        read_row_scores(other_metadata(row_scores().to_bytes(), format="hokusai-row-scores/3"))
    again = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({b"hokusai": b"[1]"}), again)
    with pytest.raises(DataError, match="is in the format None"):
        read_row_scores(again.getvalue())


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["no"]},
        {"classes": ["no", "maybe"]},
        {"classes": None},
        {"positive_class": "maybe"},
        {"average": "mean"},
        {"sets": [{"name": "s"}]},
        {"sets": [{"name": "s", "kind": "slice"}] * 9},
        {"fits": {"control.9": []}},
        {"fits": {"control": []}},
        {"fits": []},
    ],
)
def test_metadata_that_do_not_fit_the_table_are_refused(changes: dict[str, object]) -> None:
    content = row_scores().to_bytes()
    read_row_scores(other_metadata(content))
    with pytest.raises(DataError, match=r"does not hold what hokusai-row-scores/2 says .* Fetch it again"):
        read_row_scores(other_metadata(content, **changes))


@pytest.mark.parametrize("column", ["label", "set.2", "candidate.4.predicted"])
def test_a_file_that_lacks_a_column_is_refused(column: str) -> None:
    table = pq.read_table(io.BytesIO(row_scores().to_bytes()))
    buffer = io.BytesIO()
    pq.write_table(table.drop_columns([column]), buffer)
    with pytest.raises(DataError, match="does not hold what"):
        read_row_scores(buffer.getvalue())


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_bit_that_turned_over_among_the_rows_is_noticed(data: st.DataObject) -> None:
    content = bytearray(row_scores(rows=200).to_bytes())
    metadata = pq.ParquetFile(io.BytesIO(bytes(content))).metadata.row_group(0)
    column = metadata.column(data.draw(st.integers(0, metadata.num_columns - 1)))
    # The last bytes of a column's chunk are those of its last page, behind the page's header.
    end = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size
    content[end - 1 - data.draw(st.integers(0, 3))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DataError):
        read_row_scores(bytes(content))


def test_a_file_that_was_cut_off_is_refused() -> None:
    content = row_scores().to_bytes()
    for length in range(0, len(content), 97):
        with pytest.raises(DataError, match="cannot be read"):
            read_row_scores(content[:length])
