"""Dataset versions: what is counted, and their manifests as others read them."""

from __future__ import annotations

import io
import json
import math
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlcroissant
import pyarrow as pa
import pytest
import rdflib
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.datasets.content_digest import content_digest
from hokusai.datasets.croissant import from_croissant, manifest_bytes, manifest_path, read_manifest, to_croissant
from hokusai.datasets.row_digests import multiset_digest
from hokusai.datasets.snapshots import SnapshotPolicy, store_snapshot
from hokusai.datasets.version_comparison import compare_rows, compare_versions
from hokusai.datasets.versions import VersionBuilder, table_version, utc_text
from hokusai.errors import DataError
from hokusai.records import DatasetFile, DatasetVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

GOLDEN = Path(__file__).parents[1] / "golden" / "dataset-1.croissant.json"
CREATED = "2030-01-02T03:04:05Z"
SOURCES = (
    DatasetFile(name="dream.csv", sha256="ab" * 32, size=120, rows=2),
    DatasetFile(name="dream-2.csv.gz", sha256="cd" * 32, size=90),
)
TABLE = pa.table(
    {
        "bill length": [1.5, None, 1.5],
        "species": ["Adelie", "Gentoo", "Adelie"],
        "seen": pa.array([0, 1, None], pa.timestamp("us", "UTC")),
        "marks": [[1], [], None],
    }
)


def example(**changes: Any) -> DatasetVersion:
    """Return a version with everything that a version can say."""
    facts: dict[str, Any] = {
        "name": "dream",
        "context": "contribution",
        "source": "data/dream.csv",
        "parents": ["0" * 64, "1" * 64],
        "files": SOURCES,
        "licence": "CC0-1.0",
        "contributor": "station 7",
        "created": CREATED,
        "any_order": True,
    }
    return table_version(TABLE, **(facts | changes))


def validated(document: object) -> Any:
    """Read a document with the metadata format's own library; its warnings are errors."""
    with warnings.catch_warnings():
        # Of the libraries below it, about themselves.
        warnings.simplefilter("ignore")
        dataset = mlcroissant.Dataset(jsonld=json.loads(json.dumps(document)))
    issues = dataset.metadata.ctx.issues
    assert (issues.errors, issues.warnings) == (set(), set())
    return dataset


# --- what is counted --------------------------------------------------------------------------------------------------


def test_a_version_says_what_is_in_the_table() -> None:
    version = example()
    assert version.digest == content_digest(TABLE)
    assert version.multiset_digest == multiset_digest(TABLE)
    assert version.rows == 3
    assert version.columns[:2] == (("bill length", "double"), ("species", "string"))
    assert version.null_counts == (("bill length", 1), ("species", 0), ("seen", 1), ("marks", 1))
    assert version.unique_counts == (("bill length", 1), ("species", 2), ("seen", 2), ("marks", None))
    assert version.file_sha256 is None
    assert example(files=SOURCES[:1]).file_sha256 == "ab" * 32
    assert example(any_order=False).multiset_digest is None


def test_parents_are_named_once_and_in_one_order() -> None:
    assert example(parents=["1" * 64, "0" * 64, "1" * 64]).parents == ("0" * 64, "1" * 64)


COLUMNS = st.sampled_from(
    [
        (pa.int8(), st.integers(-3, 3)),
        (pa.float64(), st.sampled_from([0.0, 1.5, float("nan")])),
        (pa.string(), st.text("ab", max_size=2)),
        (pa.string_view(), st.text("ab", max_size=2)),
        (pa.dictionary(pa.int8(), pa.string()), st.text("ab", max_size=2)),
        (pa.bool_(), st.booleans()),
        (pa.null(), st.none()),
    ]
)


@settings(deadline=None)
@given(data=st.data())
def test_counts_do_not_depend_on_batches_and_agree_with_counting_by_hand(data: st.DataObject) -> None:
    kind, strategy = data.draw(COLUMNS)
    parts = data.draw(st.lists(st.lists(st.one_of(strategy, st.none()), max_size=9), max_size=4))
    most = data.draw(st.integers(1, 5))
    builder = VersionBuilder(pa.schema([("x", kind)]), most_unique=most)
    for part in parts:
        builder.update(pa.table({"x": pa.array(part, kind)}))
    version = builder.finish(name="x", context="base", source="x.csv")
    values = [value for part in parts for value in part]
    present = {"nan" if isinstance(value, float) and math.isnan(value) else value for value in values} - {None}
    assert version.null_counts == (("x", values.count(None)),)
    assert version.unique_counts == (("x", len(present) if len(present) <= most else None),)


def test_a_column_whose_values_are_too_long_to_be_kept_is_not_counted() -> None:
    long = ["x" * (8 << 20) + str(number) for number in range(5)]
    assert table_version(
        pa.table({"long": long, "short": range(5)}), name="x", context="base", source="x.csv"
    ).unique_counts == (("long", None), ("short", 5))


def test_a_longer_version_goes_on_from_the_state_of_the_shorter_one() -> None:
    table = pa.table({"x": range(70_000)})
    short = VersionBuilder(table.schema)
    short.update(table.slice(0, 69_000))
    longer = VersionBuilder(table.schema, state=short.state(), any_order=True)
    longer.update(table.slice(69_000))
    version = longer.finish(name="base", context="base", source="x.parquet")
    assert (version.digest, version.rows) == (content_digest(table), 70_000)
    assert (version.null_counts, version.unique_counts, version.multiset_digest) == ((), (), None)


def test_a_time_is_told_in_utc_and_one_without_a_zone_is_refused() -> None:
    moment = datetime(2030, 1, 2, 5, 4, 5, 678, tzinfo=timezone(timedelta(hours=2)))
    assert utc_text(moment) == CREATED == utc_text(moment.astimezone(UTC))
    with pytest.raises(DataError, match="time zone"):
        utc_text(moment.replace(tzinfo=None))


# --- manifests --------------------------------------------------------------------------------------------------------


def test_a_manifest_gives_the_version_back() -> None:
    version = example()
    assert read_manifest(manifest_bytes(version), source="m") == version
    assert manifest_bytes(version) == manifest_bytes(example())
    bare = DatasetVersion(name="base", context="base", digest="0" * 64, rows=0, columns=(), source="made")
    assert read_manifest(manifest_bytes(bare), source="m") == bare
    described = replace(version, files=(), file_sha256="ab" * 32, unique_counts=())
    assert read_manifest(manifest_bytes(described), source="m").columns == version.columns


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
VERSIONS = st.builds(
    DatasetVersion,
    name=NAMES,
    context=st.sampled_from(["base", "contribution", "benchmark", "integrated"]),
    digest=DIGESTS,
    rows=st.integers(0, 2**63),
    columns=st.lists(st.tuples(NAMES, NAMES), max_size=3, unique_by=lambda pair: pair[0]).map(tuple),
    source=st.text("abc. ", max_size=5),
    file_sha256=st.none() | DIGESTS,
    parents=st.lists(DIGESTS, max_size=2, unique=True).map(sorted).map(tuple),
    licence=NAMES,
    contributor=NAMES,
    files=st.lists(
        st.builds(
            DatasetFile,
            name=st.text("abc", min_size=1).map(lambda stem: f"{stem}.csv"),
            sha256=DIGESTS,
            size=st.integers(0, 2**40),
            rows=st.none() | st.integers(0, 9),
        ),
        max_size=2,
    ).map(tuple),
    multiset_digest=st.none() | DIGESTS,
)


@settings(deadline=None)
@given(version=VERSIONS, nulls=st.integers(0, 9), unique=st.none() | st.integers(0, 9))
def test_any_version_comes_back_from_its_manifest(version: DatasetVersion, nulls: int, unique: int | None) -> None:
    version = replace(
        version,
        null_counts=tuple((name, nulls) for name, _ in version.columns),
        unique_counts=tuple((name, unique) for name, _ in version.columns),
    )
    assert read_manifest(manifest_bytes(version), source="m") == version


@pytest.mark.parametrize("files", [(), SOURCES[:1], SOURCES], ids=["no file", "one file", "two files"])
@pytest.mark.parametrize("parents", [(), ("0" * 64,)], ids=["no parent", "a parent"])
def test_the_formats_own_validator_finds_nothing(files: Sequence[DatasetFile], parents: Sequence[str]) -> None:
    version = example(files=files, parents=parents)
    found = validated(to_croissant(version)).metadata
    assert found.name == "dream"
    assert found.license == ["CC0-1.0"]
    assert [creator.name for creator in found.creators] == ["station 7"]
    assert found.version == f"1.0.0+{version.digest}"
    assert [(file.content_url, file.sha256) for file in found.distribution] == [
        (file.name, file.sha256) for file in files
    ]


def test_the_snapshot_can_be_read_by_the_formats_own_library(tmp_path: Path) -> None:
    version = example()
    snapshot = store_snapshot(TABLE, tmp_path, digest=version.digest, policy=SnapshotPolicy())
    assert snapshot is not None
    document = to_croissant(version, snapshot=snapshot.file)
    validated(document)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = mlcroissant.Dataset(jsonld=json.loads(json.dumps(document)), mapping={"files/0": str(snapshot.path)})
        records = list(dataset.records("rows"))
    assert [record["rows/1"] for record in records] == [b"Adelie", b"Gentoo", b"Adelie"]
    assert [record["rows/0"] for record in records] == [1.5, None, 1.5]
    assert from_croissant(document) == version


def test_a_manifest_is_linked_data_that_tells_digest_parents_and_counts() -> None:
    version = example()
    graph = rdflib.Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph.parse(io.BytesIO(manifest_bytes(version)), format="json-ld", publicID="urn:x:")
    facts = {(str(fact[1]), str(fact[2])) for fact in graph}
    for parent in version.parents:
        assert ("http://www.w3.org/ns/prov#wasDerivedFrom", f"urn:hokusai:dataset:{parent}") in facts
        assert ("https://schema.org/isBasedOn", f"urn:hokusai:dataset:{parent}") in facts
    assert ("urn:hokusai:digest", version.digest) in facts
    assert ("urn:hokusai:nullCount", "1") in facts
    assert ("https://schema.org/sha256", "ab" * 32) in facts


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("data/dream.csv", "data/dream.csv"),
        ("base and contributions", "base and contributions"),
        ("/home/ada/secret project/dream.csv", "dream.csv"),
        ("~/dream.csv", "dream.csv"),
        ("C:\\Users\\ada\\dream.csv", "dream.csv"),
        ("file:///home/ada/dream.csv", "dream.csv"),
        ("s3://ada:hunter2@bucket/dream.csv?signature=abc", "s3://bucket/dream.csv"),
    ],
)
def test_a_manifest_names_no_folder_and_no_credential_of_anybody(source: str, told: str) -> None:
    version = example(source=source, files=(replace(SOURCES[0], name=source), SOURCES[1]))
    content = manifest_bytes(version)
    assert read_manifest(content, source="m").source == told
    for secret in (b"ada", b"secret", b"hunter2", b"signature"):
        assert secret not in content


@pytest.mark.parametrize(
    ("version", "path"),
    [
        (example(), "datasets/contribution.dream.croissant.json"),
        (example(context="base", name="base"), "datasets/base.croissant.json"),
        (example(context="benchmark", name="benchmark"), "datasets/benchmark.croissant.json"),
        (example(context="benchmark", name="north"), "datasets/benchmark.north.croissant.json"),
        (example(context="integrated", name="integrated"), "datasets/integrated.croissant.json"),
    ],
)
def test_a_manifest_has_its_place_among_the_artifacts(version: DatasetVersion, path: str) -> None:
    assert manifest_path(version) == path


def test_the_kept_manifest_can_still_be_read_and_is_still_written() -> None:
    assert read_manifest(GOLDEN.read_bytes(), source=GOLDEN.name) == example()
    assert manifest_bytes(example()) == GOLDEN.read_bytes()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'"hokusai-dataset/1"', b"[" * 100_000, b"\xff", b'{"hokusai:format": "hokusai-dataset/2"}'],
    ids=["empty", "array", "object", "text", "deep", "binary", "later"],
)
def test_what_is_no_manifest_of_ours_is_refused(content: bytes) -> None:
    with pytest.raises(DataError) as refused:
        read_manifest(content, source="base.croissant.json")
    assert refused.value.source == "base.croissant.json"


@settings(deadline=None)
@given(data=st.data())
def test_a_damaged_manifest_is_a_version_or_a_refusal(data: st.DataObject) -> None:
    document: Any = to_croissant(example())
    untouched = to_croissant(example())
    place = document
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(st.sampled_from([None, -1, 1.5, True, "x", [], {}, [None]]))
        break
    assert to_croissant(example()) == untouched  # no two documents share a part
    try:
        read = from_croissant(document)
    except DataError:
        return
    assert isinstance(read, DatasetVersion)


# --- comparing --------------------------------------------------------------------------------------------------------


def version_of(table: pa.Table) -> DatasetVersion:
    return table_version(table, name="x", context="base", source="x.csv")


def test_what_changed_between_two_versions_is_told_by_column() -> None:
    before = pa.table({"a": [1, 2, None], "b": ["x", "y", "z"], "c": [True, False, True]})
    after = pa.table({"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "x", "x", None], "d": [1, 1, 1, 1]})
    changes = compare_versions(version_of(before), version_of(after))
    assert not changes.is_same_content
    assert changes.rows == (3, 4)
    assert changes.columns_added == (("d", "int64"),)
    assert changes.columns_removed == (("c", "bool"),)
    assert changes.types_changed == (("a", "int64", "double"),)
    assert changes.nulls_changed == (("a", 1, 0), ("b", 0, 1))
    assert changes.unique_changed == (("a", 2, 4), ("b", 3, 1))
    assert compare_versions(version_of(before), version_of(before)).is_same_content


@given(before=st.lists(st.integers(0, 3), max_size=9), after=st.lists(st.integers(0, 3), max_size=9))
def test_rows_that_were_kept_added_and_removed_are_counted_with_their_repetitions(
    before: list[int], after: list[int]
) -> None:
    tables = [pa.table({"a": pa.array(values, pa.int64())}) for values in (before, after)]
    changes = compare_rows(*tables)
    assert changes is not None
    kept = sum(min(before.count(value), after.count(value)) for value in range(4))
    assert (changes.kept, changes.added, changes.removed) == (kept, len(after) - kept, len(before) - kept)
    assert changes.is_reordered == (sorted(before) == sorted(after) and before != after)


def test_rows_of_other_columns_are_not_compared() -> None:
    assert compare_rows(pa.table({"a": [1]}), pa.table({"a": [1.0]})) is None
    assert compare_rows(pa.table({"a": [1]}), pa.table({"b": [1]})) is None
    widened = compare_rows(pa.table({"b": ["x"], "a": [1]}), pa.table({"a": pa.array([1], pa.int8()), "b": ["x"]}))
    assert widened is not None
    assert widened.kept == 1
