"""The configuration of an evaluation as one document, from which it can be built again on another machine.

Every setting is in it, defaults included, so that the document stays true when a later version has other defaults.
Folders are private: of a path the name of the file stays, and whoever builds the configuration again says where each
file is now. Credentials are redacted, and the document says where.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai.config import config_from_values, config_values, is_model_address, path_keys
from hokusai.digests import canonical_json
from hokusai.errors import ConfigurationError
from hokusai.steps.data_settings import BenchmarkSettings, ContributionSettings
from hokusai.tracking.mlflow_config import redact_credentials
from hokusai.tracking.secrets import redact_text, redact_values

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from hokusai.config import PipelineConfig
    from hokusai.digests import JsonValue
    from hokusai.tracking.mlflow_config import TrackingSettings

__all__ = [
    "CONFIGURATION_FORMAT",
    "CONFIGURATION_NAME",
    "build_config",
    "code_addresses",
    "configuration_bytes",
    "file_keys",
    "read_configuration",
    "redacted_keys",
]

CONFIGURATION_NAME = "configuration.json"
"""The artifact that holds the configuration."""
CONFIGURATION_FORMAT = "hokusai-configuration/1"

# Not one of these is a file to be found again: results go to the first two, whoever does it again signs with a key of
# their own or with none, and a store is an address.
_PLACES = ("delta.output", "tracking.journal", "delta.signing_key_file", "delta.signing_passphrase_file")
_STORES = ("tracking.uri", "tracking.registry_uri", "tracking.artifact_location")
_NO_TABLE = ("data.contract", "data.hash_key_file", "delta.benchmark_key_file", "baseline.source")
_TABLES = ("data.contributions", "data.more_benchmarks")
_FREE = ("training.parameters", "training.tuning.space")
_LARGEST_INTEGER = 2**53 - 1
_LOCAL_SCHEMES = ("file", "sqlite", "sqlite+pysqlite")
_SCHEME = re.compile(r"[a-z+]+:/{0,3}")
_NAMED_STORES = ("databricks", "databricks-uc", "uc")


def configuration_bytes(config: PipelineConfig) -> bytes:
    """Return a configuration as canonical JSON; see ``docs/formats/configuration.md``."""
    values = config_values(config)
    for key in _path_keys(values):
        if path := _lookup(values, key):
            _replace(values, key, _file_name(path))
    for key in _STORES:
        _replace(values, key, _store_name(_lookup(values, key)))
    recorded = _redacted(values, allowed=config.tracking.allowed_names)
    redacted = sorted(_differing(values, recorded))
    return canonical_json({"format": CONFIGURATION_FORMAT, "redacted": redacted, "settings": _encoded(recorded)})


def read_configuration(content: bytes) -> dict[str, Any]:
    """Return the settings of a document: plain values in tables, as in a configuration file.

    Args:
        content: What :func:`configuration_bytes` wrote.

    Raises:
        ConfigurationError: The bytes are none.
    """
    try:
        settings: dict[str, Any] = _decoded(_document(content)["settings"])
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"a value cannot be read ({error}).", source=CONFIGURATION_NAME) from error
    return settings


def redacted_keys(content: bytes) -> tuple[str, ...]:
    """Return the dotted keys of the values that a document does not hold because they were credentials.

    Raises:
        ConfigurationError: The bytes are no document.
    """
    return tuple(_document(content)["redacted"])


def file_keys(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that name a file which an evaluation reads: the file's name by dotted key.

    Keys are such as ``data.base`` and ``data.contributions.0.path``; a baseline model from a file is
    ``baseline.source``.

    Args:
        settings: What :func:`read_configuration` returned.
    """
    found = {key: _lookup(settings, key) for key in _path_keys(settings) if key not in _PLACES}
    return {key: name for key, name in found.items() if name}


def code_addresses(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the settings that name code to run, ``module:function``: the trainer's first, then own metrics'.

    Args:
        settings: What :func:`read_configuration` returned.
    """
    own_metrics = _lookup(settings, "evaluation.own_metrics") or []
    addresses = [_lookup(settings, "training.estimator"), *(item["function"] for item in own_metrics)]
    return tuple(address for address in addresses if address and ":" in address)


def build_config(
    settings: Mapping[str, Any],
    *,
    files: Mapping[str, Path],
    tracking: TrackingSettings | None = None,
    in_memory: Collection[str] = (),
) -> PipelineConfig:
    """Return the configuration of a document's settings, with its files where they are now.

    A table that has another file name now keeps the name by which it was known.

    Args:
        settings: What :func:`read_configuration` returned.
        files: Where each file of :func:`file_keys` is; ``delta.output``, ``tracking.journal`` and the files of a
            signing key may be named as well, and have their defaults otherwise.
        tracking: Where the record goes. Default the document's own settings, without stores on the machine that wrote
            it, of which the folder is not known.
        in_memory: Names of the tables that are given in memory; their files need not be named.

    Raises:
        ConfigurationError: It is not said where a file is, a file is not there, a key is not that of a file, or a
            setting is not what this version of Hokusai takes.
    """
    values = json.loads(json.dumps(settings))
    known = file_keys(values)
    for key in sorted(files.keys() - known.keys() - {*_PLACES}):
        raise ConfigurationError(f"expected one of {', '.join([*known, *_PLACES])}.", key=key)
    for key, name in known.items():
        label = _keep_label(values, key, files.get(key))
        if key in files:
            _replace(values, key, str(files[key]))
        elif label not in in_memory:
            raise ConfigurationError(f"it is not said where the file {name!r} is now.", key=key)
    for key in _PLACES:
        section, name = key.split(".")
        values[section].pop(name, None)
        if key in files:
            values[section][name] = str(files[key])
    if tracking is not None:
        values["tracking"] = json.loads(json.dumps(dataclasses.asdict(tracking), default=str))
    else:
        for key in _STORES:
            if _is_local(_lookup(values, key)):
                _replace(values, key, "")
    return config_from_values(values, in_memory=in_memory)


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
        is_canonical = canonical_json(document) == content
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"expected a recorded configuration ({error}).", source=CONFIGURATION_NAME) from error
    if not is_canonical:
        problem = "is not in canonical form: it was changed after it was recorded."
        raise ConfigurationError(problem, source=CONFIGURATION_NAME)
    expected = {"format": str, "redacted": list, "settings": dict}
    if not isinstance(document, dict) or {name: type(value) for name, value in document.items()} != expected:
        problem = "expected a JSON object of format, redacted and settings."
        raise ConfigurationError(problem, source=CONFIGURATION_NAME)
    if document["format"] != CONFIGURATION_FORMAT:
        problem = f"is in the format {document['format']!r:.80}, expected {CONFIGURATION_FORMAT!r}."
        raise ConfigurationError(problem, source=CONFIGURATION_NAME)
    return document


# --- paths -----------------------------------------------------------------------------------------------------------


def _path_keys(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the dotted keys of the settings that are paths here."""
    yield from path_keys()
    for key in _TABLES:
        yield from (f"{key}.{number}.path" for number in range(len(_lookup(values, key))))
    source = _lookup(values, "baseline.source")
    if source and not is_model_address(source):
        yield "baseline.source"


def _file_name(path: str) -> str:
    return Path(path).name or "."


def _is_local(uri: str) -> bool:
    scheme, colon, _ = uri.partition(":")
    return scheme in _LOCAL_SCHEMES if colon else bool(uri) and uri not in _NAMED_STORES


def _store_name(uri: str) -> str:
    """Return a store's address without credentials, and that of a local one without its folder."""
    if not _is_local(uri):
        return redact_credentials(uri)
    match = _SCHEME.match(uri)
    scheme = match[0] if match else ""
    return scheme + _file_name(uri.removeprefix(scheme).partition("?")[0])


def _keep_label(values: Mapping[str, Any], key: str, file: Path | None) -> str:
    """Give a table the name by which it was known, where its file no longer shows it; return that name."""
    *parents, last = key.split(".")
    if last != "path":
        return parents[-1] if key in _NO_TABLE else last
    kind = ContributionSettings if parents[1] == "contributions" else BenchmarkSettings
    item = _lookup(values, ".".join(parents))
    label = kind(path=Path(item["path"]), name=item["name"]).label
    if file is not None and kind(path=file, name=item["name"]).label != label:
        item["name"] = label
    return label


# --- values ----------------------------------------------------------------------------------------------------------


def _lookup(values: Any, key: str) -> Any:  # noqa: ANN401  (the value of any setting)
    for part in key.split("."):
        values = values[int(part)] if isinstance(values, list) else values[part]
    return values


def _replace(values: Mapping[str, Any], key: str, value: str) -> None:
    parent, _, last = key.rpartition(".")
    _lookup(values, parent)[last] = value


def _redacted(values: Mapping[str, Any], *, allowed: Collection[str]) -> dict[str, Any]:
    """Return the values without credentials: by their names where names are free, and by what the texts hold."""
    recorded: dict[str, Any] = _without_credentials(values)
    for key in (*_FREE, "tracking.tags"):
        parent, _, last = key.rpartition(".")
        _lookup(recorded, parent)[last] = redact_values({key: _lookup(values, key)}, allowed=allowed)[key]
    return recorded


def _without_credentials(value: Any) -> Any:  # noqa: ANN401  (any value)
    if isinstance(value, dict):
        return {name: _without_credentials(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_credentials(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value


def _differing(value: Any, recorded: Any, key: str = "") -> Iterator[str]:  # noqa: ANN401  (any values)
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else None
    if items is None:
        if value != recorded and value == value:  # noqa: PLR0124  (NaN is no credential)
            yield key
        return
    for name, item in items:
        yield from _differing(item, recorded[name], f"{key}.{name}" if key else str(name))


def _encoded(value: Any, key: str = "") -> JsonValue:  # noqa: ANN401  (any value)
    """Return a value so that canonical JSON keeps it exactly, and its type where that is free."""
    if isinstance(value, dict):
        encoded = {name: _encoded(item, f"{key}.{name}" if key else name) for name, item in value.items()}
        if not any(f"{key}.".startswith(f"{name}.") for name in _FREE):
            return encoded
        # The order is lost where names are sorted, and a search may draw its parameters in their order.
        is_sorted = [*encoded] == sorted(encoded, key=lambda name: name.encode("utf-16-be"))
        is_ambiguous = len(encoded) == 1 and next(iter(encoded)).startswith("$")
        return encoded if is_sorted and not is_ambiguous else {"$table": [[*item] for item in encoded.items()]}
    if isinstance(value, list):
        return [_encoded(item, key) for item in value]
    if isinstance(value, float) and not (value.is_integer() or math.isfinite(value)):
        return {"$float": {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")}
    is_free = any(key.startswith(f"{name}.") for name in _FREE)
    is_large = isinstance(value, int | float) and abs(value) > _LARGEST_INTEGER
    # JSON has no 1.0 that differs from 1, and an estimator may take them for different things.
    if isinstance(value, float) and value.is_integer() and (is_free or is_large):
        return {"$float": repr(value)}
    return {"$integer": str(value)} if isinstance(value, int) and is_large else typing.cast("JsonValue", value)


def _decoded(value: Any) -> Any:  # noqa: ANN401  (any value)
    match value:
        case {"$table": list(pairs), **rest} if not rest:
            return {name: _decoded(item) for name, item in pairs}
        case {"$float": str(text), **rest} if not rest:
            return float(text)
        case {"$integer": str(text), **rest} if not rest:
            return int(text)
        case dict():
            return {name: _decoded(item) for name, item in value.items()}
        case list():
            return [_decoded(item) for item in value]
    return value
