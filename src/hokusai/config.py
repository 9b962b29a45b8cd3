"""Joins every part's settings: reads the file, the environment and the flags, once, and says where each value is from.

A flag beats the environment, the environment beats the file, the file beats the default. A path in the file is
relative to the file; in a flag or in the environment, to the current folder. Whatever is unknown, mistyped or missing
is refused here, before any work, with one message that names the key and where it stands.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import os
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Len

from hokusai.errors import ConfigurationError
from hokusai.steps.baseline_loader import BaselineSettings
from hokusai.steps.data_settings import DataSettings
from hokusai.steps.delta_settings import DeltaSettings
from hokusai.steps.evaluation_settings import EvaluationSettings
from hokusai.steps.model_training import TrainingSettings
from hokusai.tracking.mlflow_config import TrackingSettings, absolute_store_uri, default_store_uri, resolve_store
from hokusai.tracking.naming import require_names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from pydantic import TypeAdapter, ValidationError

__all__ = [
    "Origin",
    "PipelineConfig",
    "ResolvedConfig",
    "complete_tracking",
    "config_from_values",
    "config_values",
    "is_model_address",
    "load_config",
    "load_tracking",
    "path_keys",
    "require_valid",
    "require_valid_tracking",
    "setting_keys",
]

ENVIRONMENT_PREFIX = "HOKUSAI_"
_MLFLOW_VARIABLES = {
    "MLFLOW_TRACKING_URI": "tracking.uri",
    "MLFLOW_REGISTRY_URI": "tracking.registry_uri",
    "MLFLOW_EXPERIMENT_NAME": "tracking.experiment",
}
_STORES = ("tracking.uri", "tracking.registry_uri")
_PROJECT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MODEL_ADDRESS = re.compile(r"models:/|runs:/|sha256:|m-[0-9a-f]{32}$")
# Where pulled models are kept concerns the machine and no evaluation.
_NO_SETTINGS = {"HOKUSAI_CACHE"}
_Settings = typing.TypeVar("_Settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """Everything that one evaluation needs to know.

    Attributes:
        project: Name of the project: letters, digits, dot, dash and underscore.
        data: Base data, contributions and benchmark.
        baseline: A given baseline model, if there is one.
        training: What is trained, and how often.
        evaluation: What is scored.
        delta: The bar to clear.
        tracking: Where the record goes.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    project: Annotated[str, Len(1)]
    data: DataSettings
    baseline: BaselineSettings = field(default_factory=BaselineSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    delta: DeltaSettings = field(default_factory=DeltaSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from.

    Attributes:
        source: A file's name, ``environment variable NAME``, ``command line`` or ``default``.
        line: The line in the file, or None.
    """

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}, line {self.line}"


_DEFAULT = Origin("default")
_CODE = Origin("code")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedConfig:
    """A configuration with the origin of its values.

    Attributes:
        config: The configuration, all paths absolute.
        folder: The project's folder: the file's, or the current one.
        origins: Origin by dotted key, for every value that is not a default.
    """

    config: PipelineConfig
    folder: Path
    origins: Mapping[str, Origin]

    def locate(self, error: ConfigurationError) -> ConfigurationError:
        """Return an error about a value with the place that the value came from, where that is known."""
        origin = _nearest(self.origins, error.key)
        if error.source != "code":
            return error
        if origin is None:
            # What is missing has no line; the file is where it belongs.
            files = [each.source for each in self.origins.values() if each.line is not None]
            return ConfigurationError(error.problem, key=error.key, source=files[0]) if files else error
        return ConfigurationError(error.problem, key=error.key, source=origin.source, line=origin.line)

    def items(self) -> Iterator[tuple[str, Any, Origin]]:
        """Yield every setting: its key, its value, and where that came from."""
        for key in setting_keys():
            value: Any = self.config
            for part in key.split("."):
                value = getattr(value, part)
            yield key, value, _nearest(self.origins, key) or _DEFAULT


@functools.cache
def setting_keys() -> tuple[str, ...]:
    """Return the dotted key of every setting."""
    keys = []
    for name, annotation in _hints(PipelineConfig).items():
        if dataclasses.is_dataclass(annotation):
            keys += [f"{name}.{inner}" for inner in _hints(annotation)]
        else:
            keys.append(name)
    return tuple(keys)


def path_keys() -> tuple[str, ...]:
    """Return the dotted key of every setting that is a path; those within lists of tables are not among them."""
    return tuple(key for key in setting_keys() if Path in _flatten(_annotation(key)))


def is_model_address(source: str) -> bool:
    """Return whether a baseline's source is an address in MLflow or among fetched models, and not a path."""
    return _MODEL_ADDRESS.match(source) is not None


def load_config(
    path: Path | None,
    *,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    in_memory: Collection[str] = (),
) -> ResolvedConfig:
    """Read one evaluation's configuration.

    Args:
        path: The TOML file, or None for none.
        flags: Values given on the command line by dotted key: texts are parsed, other values are taken as they are.
        environment: Environment variables; default those of this process.
        in_memory: Names of the tables that are given in memory, so that their files need not be there: ``base``,
            ``benchmark``, or a contribution's name.

    Raises:
        ConfigurationError: A key is unknown, a value has the wrong type, or something needed is missing.
    """
    folder = Path.cwd() if path is None else path.resolve().parent
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    if path is not None:
        values, origins = _read_file(path)
    overrides = [*_from_environment(os.environ if environment is None else environment)]
    overrides += [(key, value, Origin("command line")) for key, value in (flags or {}).items()]
    for key, value, origin in overrides:
        parsed = _parse_text(key, value, origin) if isinstance(value, str) else value
        _insert(values, key, _absolute(key, parsed, Path.cwd()), origin)
        origins = {known: place for known, place in origins.items() if not known.startswith(f"{key}.")}
        origins[key] = origin
    config = _validate(PipelineConfig, values, origins, path)
    config = _absolute_defaults(config, folder)
    _check_names_and_files(config, origins, in_memory)
    return ResolvedConfig(config=config, folder=folder, origins=origins)


def require_valid(config: PipelineConfig, *, in_memory: Collection[str] = ()) -> PipelineConfig:
    """Return a configuration that was built in code, checked as strictly as one that was read.

    Args:
        config: The configuration.
        in_memory: Names of the tables that are given in memory; see :func:`load_config`.

    Raises:
        ConfigurationError: A value has the wrong type or is out of its range, a name is not allowed, a file is missing.
    """
    return config_from_values(config_values(config), in_memory=in_memory)


def config_values(config: PipelineConfig) -> dict[str, Any]:
    """Return every setting as a plain value of JSON, in tables as in a file; NaN and infinities stay floats."""
    # Not by pydantic, which writes an infinity as null: the setting would change without a word.
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return values


def config_from_values(values: Mapping[str, Any], *, in_memory: Collection[str] = ()) -> PipelineConfig:
    """Return the configuration of plain values, in tables as in a file, checked as strictly as one that was read.

    Args:
        values: The values; what is missing has its default.
        in_memory: Names of the tables that are given in memory; see :func:`load_config`.

    Raises:
        ConfigurationError: As for :func:`require_valid`.
    """
    checked = _validate(PipelineConfig, dict(values), {}, None)
    _check_names_and_files(checked, {}, in_memory)
    return dataclasses.replace(checked, tracking=_absolute_stores(checked.tracking))


def require_valid_tracking(settings: TrackingSettings) -> TrackingSettings:
    """Return tracking settings that were built in code, checked as strictly as those that were read, and complete.

    Raises:
        ConfigurationError: A value has the wrong type or is out of its range.
    """
    values = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
    checked = _validate(TrackingSettings, values, {}, None, prefix="tracking.")
    complete = dataclasses.replace(checked, uri=resolve_store(checked), journal=checked.journal.resolve())
    return _absolute_stores(complete)


def complete_tracking(settings: TrackingSettings | None) -> TrackingSettings:
    """Return tracking settings that were built in code, checked and complete; without any, those of the environment.

    Raises:
        ConfigurationError: A value has the wrong type or is out of its range.
    """
    return load_tracking(None) if settings is None else require_valid_tracking(settings)


def load_tracking(path: Path | None, *, uri: str | None = None) -> TrackingSettings:
    """Return the tracking settings alone, for commands that read a store and need no data.

    Args:
        path: A configuration file, or None: then the environment's settings, and the store in the current folder.
        uri: A tracking URI that beats both.

    Raises:
        ConfigurationError: As :func:`load_config`.
    """
    flags = {} if uri is None else {"tracking.uri": uri}
    if path is not None:
        return load_config(path, flags=flags).config.tracking
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    overrides = [
        *_from_environment(os.environ),
        *((key, value, Origin("command line")) for key, value in flags.items()),
    ]
    for key, text, origin in overrides:
        if key.startswith("tracking."):
            _insert(values, key, _absolute(key, _parse_text(key, text, origin), Path.cwd()), origin)
            origins[key] = origin
    settings = _validate(TrackingSettings, values.get("tracking", {}), origins, None, prefix="tracking.")
    return _absolute_tracking(settings, Path.cwd())


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, Origin]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = tomllib.loads(text)
    except FileNotFoundError:
        problem = "no such file. Write one with `hokusai init`, or name another."
        raise ConfigurationError(problem, source=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot be read ({error}).", source=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"not valid TOML: {error}.", source=str(path)) from error
    lines = _key_lines(text)
    origins = {key: Origin(str(path), _line_of(key, lines)) for key in _leaves(values)}
    for key in list(origins):
        value = _lookup(values, key)
        _require_no_date(key, value, origins[key])
        _insert(values, key, _absolute(key, value, path.resolve().parent), origins[key])
    return values, origins


def _require_no_date(key: str, value: Any, origin: Origin) -> None:
    """Refuse TOML's dates and times: no setting takes one, and a text without its quotes may look like one."""
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            _require_no_date(key, inner, origin)
    elif isinstance(value, (date, time)):
        problem = f"got the date or time {value}, expected a text: put it in quotes."
        raise ConfigurationError(problem, key=key, source=origin.source, line=origin.line)


def _key_lines(text: str) -> dict[str, int]:
    """Return the line of every table and key of a TOML text, as far as a reading line by line can tell."""
    lines: dict[str, int] = {}
    table, counts = "", dict[str, int]()
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\s*\[\[\s*([\w.\-]+)\s*\]\]", line):
            counts[match[1]] = counts.get(match[1], -1) + 1
            table = f"{match[1]}.{counts[match[1]]}."
            lines[table[:-1]] = number
            lines.setdefault(match[1], number)
        elif match := re.match(r"\s*\[\s*([\w.\-]+)\s*\]", line):
            table = f"{match[1]}."
            lines[match[1]] = number
        elif match := re.match(r"\s*([\w.\-]+|\"[^\"]+\"|'[^']+')\s*=", line):
            lines.setdefault(table + match[1].strip("\"'"), number)
    return lines


def _line_of(key: str, lines: Mapping[str, int]) -> int | None:
    while key not in lines and "." in key:
        key = key.rsplit(".", 1)[0]
    return lines.get(key)


def _leaves(values: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of all values; a list of tables is gone into, a free-form table of a setting is not."""
    known = setting_keys()
    items = enumerate(values) if isinstance(values, list) else values.items()
    for name, value in items:
        key = f"{prefix}{name}"
        is_table = isinstance(value, dict) or (
            isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
        )
        if is_table and (key not in known or isinstance(value, list)) and value:
            yield from _leaves(value, f"{key}.")
        else:
            yield key


def _lookup(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[int(part)] if isinstance(values, list) else values[part]
    return values


def _insert(values: Any, key: str, value: Any, origin: Origin) -> None:
    *parents, last = key.split(".")
    for part in parents:
        values = values[int(part)] if isinstance(values, list) else values.setdefault(part, {})
        if not isinstance(values, (dict, list)):
            raise ConfigurationError("expected a table.", key=".".join(parents), source=str(origin))
    if isinstance(values, list):
        values[int(last)] = value
    else:
        values[last] = value


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str, Origin]]:
    known = {ENVIRONMENT_PREFIX + key.replace(".", "_").upper(): key for key in setting_keys()}
    for name, key in _MLFLOW_VARIABLES.items():
        if environment.get(name):
            yield key, environment[name], Origin(f"environment variable {name}")
    for name, text in environment.items():
        if name.startswith(ENVIRONMENT_PREFIX) and name not in _NO_SETTINGS:
            source = f"environment variable {name}"
            if name not in known:
                problem = f"no such setting.{_suggestion(name, known)} `hokusai config` lists them."
                raise ConfigurationError(problem, source=source)
            yield known[name], text, Origin(source)


def _parse_text(key: str, text: str, origin: Origin) -> Any:
    """Turn a text from a flag or the environment into the value that the setting wants."""
    annotation = _annotation(key)
    if annotation is None:
        problem = f"no such setting.{_suggestion(key, setting_keys())} `hokusai config` lists them."
        raise ConfigurationError(problem, key=key, source=str(origin))
    kinds = _flatten(annotation)
    if not kinds & {int, float, bool, tuple, dict} and not any(map(dataclasses.is_dataclass, kinds)):
        return text
    if tuple in kinds and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


@functools.cache
def _annotation(key: str) -> Any:
    annotation: Any = PipelineConfig
    for part in key.split("."):
        if not dataclasses.is_dataclass(annotation):
            return None
        annotation = _hints(annotation).get(part)
    return annotation


def _read_hints(settings: Any) -> Mapping[str, Any]:
    names = {item.name for item in dataclasses.fields(settings)}
    return {name: hint for name, hint in typing.get_type_hints(settings).items() if name in names}


_hints: Callable[[Any], Mapping[str, Any]] = functools.cache(_read_hints)


def _flatten(annotation: Any) -> set[Any]:
    """Return the plain types that an annotation allows at its outermost level."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return set().union(*(_flatten(inner) for inner in typing.get_args(annotation)))
    if origin is typing.Literal:
        return {str}
    if origin is None:
        return {annotation}
    return {dict if issubclass(origin, typing.Mapping) else origin}


def _absolute(key: str, value: Any, folder: Path) -> Any:
    """Make a path, or a SQLite store, that was given relative to ``folder`` absolute; leave other values alone."""
    if key in _STORES and isinstance(value, str):
        return absolute_store_uri(value, folder)
    if key == "baseline.source" and isinstance(value, str):
        is_path = value and not is_model_address(value)
        return str(folder / value) if is_path else value
    if key in ("data.contributions", "data.more_benchmarks") and isinstance(value, list):
        return [
            item | {"path": _absolute("data.base", item["path"], folder)}
            if isinstance(item, dict) and "path" in item
            else item
            for item in value
        ]
    is_path = Path in _flatten(_annotation(key)) if _annotation(key) else key.endswith(".path")
    return str(folder / value) if is_path and isinstance(value, str) else value


def _absolute_defaults(config: PipelineConfig, folder: Path) -> PipelineConfig:
    return dataclasses.replace(config, tracking=_absolute_tracking(config.tracking, folder))


def _absolute_tracking(settings: TrackingSettings, folder: Path) -> TrackingSettings:
    return dataclasses.replace(
        settings, uri=settings.uri or default_store_uri(folder), journal=folder / settings.journal
    )


def _absolute_stores(settings: TrackingSettings) -> TrackingSettings:
    """Name the SQLite stores of settings that were built in code as they are named from any folder."""
    here = Path()
    return dataclasses.replace(
        settings,
        uri=absolute_store_uri(settings.uri, here),
        registry_uri=absolute_store_uri(settings.registry_uri, here),
    )


def _validate(
    kind: type[_Settings],
    values: dict[str, Any],
    origins: Mapping[str, Origin],
    path: Path | None,
    *,
    prefix: str = "",
) -> _Settings:
    from pydantic import ValidationError  # a tenth of a second that --help does not need

    try:
        # By way of JSON because a strict reading of JSON takes a text for a path and an array for a tuple, and no more.
        adapter: TypeAdapter[_Settings] = _adapter(kind)
        return adapter.validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise _translate(error, origins, path, prefix=prefix) from error


def _make_adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


_adapter: Callable[[Any], Any] = functools.cache(_make_adapter)


def _translate(
    error: ValidationError, origins: Mapping[str, Origin], path: Path | None, *, prefix: str
) -> ConfigurationError:
    # A misspelt key is both unknown and missing; the unknown one is what the reader can find.
    first = min(error.errors(), key=lambda item: item["type"] == "missing")
    key = prefix + ".".join(str(part) for part in first["loc"])
    fallback = Origin(str(path) if path else "code")
    origin = _nearest(origins, key) or fallback
    if first["type"] == "missing":
        problem = "missing, and it has no default."
        origin = fallback
    elif first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        parent = key.rpartition(".")[0]
        siblings = [known for known in setting_keys() if known.rpartition(".")[0] == parent]
        problem = f"no such setting.{_suggestion(key, siblings or setting_keys())}"
    else:
        got = json.dumps(first["input"], default=str)
        problem = f"got {got[:80]}: {first['msg'][0].lower()}{first['msg'][1:]}."
    return ConfigurationError(problem, key=key, source=origin.source, line=origin.line)


def _check_names_and_files(config: PipelineConfig, origins: Mapping[str, Origin], in_memory: Collection[str]) -> None:
    def refuse(key: str, problem: str) -> None:
        origin = _nearest(origins, key) or (_DEFAULT if origins else _CODE)
        raise ConfigurationError(problem, key=key, source=origin.source, line=origin.line)

    if not _PROJECT_NAME.fullmatch(config.project):
        refuse("project", f"got {config.project!r}, expected letters, digits, '.', '-' and '_', at most 100.")
    try:
        require_names(config.tracking, project=config.project)
    except ConfigurationError as error:
        refuse(error.key, error.problem)
    data = config.data
    tables = [("data.base", "base", data.base), ("data.benchmark", "benchmark", data.benchmark)]
    tables += [(f"data.more_benchmarks.{n}.path", item.label, item.path) for n, item in enumerate(data.more_benchmarks)]
    tables += [(f"data.contributions.{n}.path", item.label, item.path) for n, item in enumerate(data.contributions)]
    if data.decoy is not None:
        tables.append(("data.decoy", "decoy", data.decoy))
    unknown = sorted(set(in_memory) - {name for _, name, _ in tables})
    if unknown:
        names = ", ".join(repr(name) for _, name, _ in tables)
        refuse("data", f"a table was given for {unknown[0]!r}, expected one for {names}.")
    for key, name, path in tables:
        is_pattern = any(letter in path.name for letter in "*?[")
        if name not in in_memory and not path.exists() and not (is_pattern and any(path.parent.glob(path.name))):
            what = "no file fits" if is_pattern else "no such file:"
            refuse(key, f"{what} {path}. Put it there, or name another.")
    files = {
        "data.contract": data.contract,
        "data.hash_key_file": data.hash_key_file,
        "delta.benchmark_key_file": config.delta.benchmark_key_file,
        "delta.signing_key_file": config.delta.signing_key_file,
        "delta.signing_passphrase_file": config.delta.signing_passphrase_file,
    }
    for key, file in files.items():
        if file is not None and not file.is_file():
            refuse(key, f"no such file: {file}. Put it there, or name another.")


def _nearest(origins: Mapping[str, Origin], key: str) -> Origin | None:
    """Return the origin of a key, of the table that holds it, or of the first value in it."""
    above = key
    while above and above not in origins:
        above = above.rpartition(".")[0]
    return origins.get(above) or next((origins[name] for name in origins if name.startswith(f"{key}.")), None)


def _suggestion(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""
