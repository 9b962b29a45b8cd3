"""Dataset versions as manifests in MLCommons Croissant 1.0, a JSON-LD vocabulary, and back.

What Croissant has no word for (content digest, counts, parents' digests) stands under the prefix ``hokusai``; see
``docs/formats/dataset-version.md``. A manifest holds no value of the table and no folder of the machine that wrote it.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, cast, get_args
from urllib.parse import urlsplit, urlunsplit

from hokusai.errors import DataError
from hokusai.records import DatasetContext, DatasetFile, DatasetVersion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hokusai.digests import JsonValue

__all__ = ["MANIFEST_FORMAT", "from_croissant", "manifest_bytes", "manifest_path", "read_manifest", "to_croissant"]

MANIFEST_FORMAT = "hokusai-dataset/1"
_CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_NAMESPACE = "urn:hokusai:"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LIST = re.compile(r"(?:large_|fixed_size_)?list(?:_view)?<[^:]*: (?P<item>.*)>(?:\[\d+\])?")
# Croissant 1.0 prescribes this context word by word; "prov" and "hokusai" are added.
_CONTEXT: dict[str, JsonValue] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "prov": "http://www.w3.org/ns/prov#",
    "hokusai": _NAMESPACE,
}
_DATA_TYPES = (
    (re.compile(r"bool"), "sc:Boolean"),
    (re.compile(r"u?int\d+|duration"), "sc:Integer"),
    (re.compile(r"halffloat|float|double|decimal"), "sc:Float"),
    (re.compile(r"date(32|64)"), "sc:Date"),
    (re.compile(r"timestamp"), "sc:DateTime"),
    (re.compile(r"time(32|64)"), "sc:Time"),
)
_ENCODINGS = {
    ".csv": "text/csv",
    ".tsv": "text/tsv",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".ndjson": "application/jsonlines",
    ".parquet": "application/x-parquet",
    ".arrow": "application/vnd.apache.arrow.file",
    ".feather": "application/vnd.apache.arrow.file",
    ".gz": "application/gzip",
    ".zst": "application/zstd",
}
_ANY_ENCODING = "application/octet-stream"


def manifest_path(version: DatasetVersion) -> str:
    """Return where a run keeps the manifest among its artifacts, such as ``datasets/base.croissant.json``.

    The manifests of contributions and of further benchmarks have their names in the path: there may be several.
    """
    is_one_of_several = version.context == "contribution" or (
        version.context == "benchmark" and version.name != "benchmark"
    )
    part = f".{version.name}" if is_one_of_several else ""
    return f"datasets/{version.context}{part}.croissant.json"


def manifest_bytes(version: DatasetVersion, *, snapshot: DatasetFile | None = None) -> bytes:
    """Return the manifest as UTF-8; the same version gives the same bytes.

    Args:
        version: The version.
        snapshot: The copy of the table that is kept beside the manifest, if there is one.
    """
    document = to_croissant(version, snapshot=snapshot)
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_manifest(content: bytes, *, source: str) -> DatasetVersion:
    """Return the version that :func:`manifest_bytes` wrote.

    Args:
        content: The manifest's bytes.
        source: What error messages call it.

    Raises:
        DataError: It is no manifest of ours, or of a later format.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(source, "it is no JSON, expected a dataset's manifest.") from error
    return from_croissant(document, source=source)


def to_croissant(version: DatasetVersion, *, snapshot: DatasetFile | None = None) -> dict[str, JsonValue]:
    """Return the version as a Croissant document.

    Args:
        version: The version. Of a source that is an absolute path its file name alone is kept, of one that is an
            address its host and path.
        snapshot: The copy of the table that is kept beside the manifest, if there is one; readers of Croissant are
            sent to it, and otherwise to the files that the version was read from.
    """
    files = _distribution(version, snapshot)
    columns = _columns(version)
    document: dict[str, JsonValue] = {
        "@context": copy.deepcopy(_CONTEXT),  # the caller's own, to change as they like
        "@type": "sc:Dataset",
        "@id": _urn(version.digest),
        "conformsTo": _CONFORMS_TO,
        "name": version.name,
        "description": f"{version.rows} rows of {len(version.columns)} columns, {version.context} data.",
        # The digest is the version; what stands before the "+" only satisfies the grammar of version numbers.
        "version": f"1.0.0+{version.digest}",
        "url": _urn(version.digest),
        "citeAs": f"{version.name}, TABHASH v1 {version.digest}",
        "identifier": {"@type": "PropertyValue", "propertyID": "TABHASH1", "value": version.digest},
    }
    if version.created:
        document |= {"dateCreated": version.created, "datePublished": version.created}
    if version.licence:
        document["license"] = version.licence
    if version.contributor:
        document["creator"] = {"@type": "Organization", "name": version.contributor}
    if version.parents:
        parents: list[JsonValue] = [{"@id": _urn(parent)} for parent in version.parents]
        document |= {"isBasedOn": parents, "prov:wasDerivedFrom": parents}
    if files:
        target = str(cast("Mapping[str, JsonValue]", files[0])["@id"])
        document |= {"distribution": files, "recordSet": [_record_set(columns, target)]}
    document |= {
        "hokusai:format": MANIFEST_FORMAT,
        "hokusai:context": version.context,
        "hokusai:digest": version.digest,
        "hokusai:multisetDigest": version.multiset_digest,
        "hokusai:rows": version.rows,
        "hokusai:source": _public_source(version.source),
        "hokusai:fileSha256": version.file_sha256,
    }
    if not files:
        # Croissant wants every field of a record set to come from a file.
        document["hokusai:columns"] = columns
    return {key: value for key, value in document.items() if value is not None}


def from_croissant(document: object, *, source: str = "manifest") -> DatasetVersion:
    """Return the version that :func:`to_croissant` described.

    Args:
        document: The Croissant document.
        source: What error messages call it.

    Raises:
        DataError: It is no manifest of ours, or of a later format.
    """
    found = document.get("hokusai:format") if isinstance(document, dict) else None
    if found != MANIFEST_FORMAT:
        raise DataError(source, f"got the format {str(found)[:40]!r}, expected {MANIFEST_FORMAT}.")
    try:
        return _version(cast("dict[str, Any]", document))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        problem = f"the manifest is damaged ({type(error).__name__}: {str(error)[:80]}). Take it from its run again."
        raise DataError(source, problem) from error


def _version(document: dict[str, Any]) -> DatasetVersion:
    fields = document["recordSet"][0]["field"] if "recordSet" in document else document["hokusai:columns"]
    columns = [(_text(field["name"]), _text(field["hokusai:type"]), field) for field in fields]
    nulls = [(name, _count(field["hokusai:nullCount"])) for name, _, field in columns if "hokusai:nullCount" in field]
    # A count that is None is not written; whether counting was tried shows in the counts of missing values.
    unique = [(name, field.get("hokusai:uniqueCount")) for name, _, field in columns] if nulls else []
    context = document["hokusai:context"]
    if context not in get_args(DatasetContext):
        msg = f"context {context!r:.40}"
        raise ValueError(msg)
    multiset, file_sha256 = document.get("hokusai:multisetDigest"), document.get("hokusai:fileSha256")
    return DatasetVersion(
        name=_text(document["name"]),
        context=context,
        digest=_digest(document["hokusai:digest"]),
        rows=_count(document["hokusai:rows"]),
        columns=tuple((name, kind) for name, kind, _ in columns),
        source=_text(document["hokusai:source"]),
        file_sha256=None if file_sha256 is None else _digest(file_sha256),
        null_counts=tuple(nulls),
        unique_counts=tuple((name, None if count is None else _count(count)) for name, count in unique),
        parents=tuple(_digest(parent["@id"].removeprefix(_urn(""))) for parent in document.get("isBasedOn", ())),
        licence=_text(document.get("license", "")),
        contributor=_text(document.get("creator", {}).get("name", "")),
        created=_text(document.get("dateCreated", "")),
        files=tuple(
            DatasetFile(
                name=_text(file["name"]),
                sha256=_digest(file["sha256"]),
                size=_count(int(file["contentSize"].removesuffix(" B"))),
                rows=file.get("hokusai:rows"),
            )
            for file in document.get("distribution", ())
            if file["hokusai:role"] == "source"
        ),
        multiset_digest=None if multiset is None else _digest(multiset),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        msg = f"expected a text, got a {type(value).__name__}"
        raise ValueError(msg)  # noqa: TRY004  (one reader turns them all into a DataError)
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        msg = f"expected a count, got {value!r:.40}"
        raise ValueError(msg)
    return value


def _digest(value: object) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        msg = f"expected a digest, got {value!r:.40}"
        raise ValueError(msg)
    return value


def _urn(digest: str) -> str:
    return f"{_NAMESPACE}dataset:{digest}"


def _columns(version: DatasetVersion) -> list[JsonValue]:
    nulls, unique = dict(version.null_counts), dict(version.unique_counts)
    columns: list[JsonValue] = []
    for name, kind in version.columns:
        column = {"name": name, "hokusai:type": kind}
        counts = {"hokusai:nullCount": nulls.get(name), "hokusai:uniqueCount": unique.get(name)}
        columns.append(column | {key: count for key, count in counts.items() if count is not None})
    return columns


def _record_set(columns: Sequence[JsonValue], file: str) -> JsonValue:
    fields: list[JsonValue] = []
    for number, column in enumerate(columns):
        own = cast("Mapping[str, JsonValue]", column)
        extract = {"column": own["name"]}
        fields.append(
            {
                "@type": "cr:Field",
                # Croissant's identifiers may hold no blanks, and names of columns may.
                "@id": f"rows/{number}",
                **own,
                **_data_type(str(own["hokusai:type"])),
                "source": {"fileObject": {"@id": file}, "extract": extract},
            }
        )
    return {"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": fields}


def _data_type(kind: str) -> dict[str, JsonValue]:
    item = _LIST.fullmatch(kind)
    one = item["item"] if item else kind
    found = next((found for pattern, found in _DATA_TYPES if pattern.match(one)), "sc:Text")
    return {"dataType": found, "repeated": True} if item else {"dataType": found}


def _distribution(version: DatasetVersion, snapshot: DatasetFile | None) -> list[JsonValue]:
    roles = [("snapshot", snapshot)] if snapshot else []
    files: list[JsonValue] = []
    for number, (role, file) in enumerate([*roles, *(("source", file) for file in version.files)]):
        described: dict[str, JsonValue] = {
            "@type": "cr:FileObject",
            "@id": f"files/{number}",
            "name": _file_name(file.name),
            "contentUrl": _file_name(file.name),
            "contentSize": f"{file.size} B",
            "encodingFormat": _ENCODINGS.get(PurePosixPath(file.name).suffix.lower(), _ANY_ENCODING),
            "sha256": file.sha256,
            "hokusai:role": role,
        }
        if file.rows is not None:
            described["hokusai:rows"] = file.rows
        files.append(described)
    return files


def _file_name(path: str) -> str:
    if "://" in path:
        path = urlsplit(path).path
    return PureWindowsPath(path).name or "file"


def _public_source(source: str) -> str:
    """Return a source without what is nobody's business: folders of this machine, credentials of an address."""
    parts = urlsplit(source) if "://" in source else None
    if parts is not None:
        if parts.scheme == "file":
            return _file_name(source)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    if PurePosixPath(source).is_absolute() or PureWindowsPath(source).is_absolute() or source.startswith("~"):
        return _file_name(source)
    return source
