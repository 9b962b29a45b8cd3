"""How a recorded evaluation can be done again: with which files, settings and code, and what will not be the same."""

from __future__ import annotations

import dataclasses
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hokusai.configuration_document import (
    CONFIGURATION_NAME,
    build_config,
    code_addresses,
    file_keys,
    read_configuration,
    redacted_keys,
)
from hokusai.digests import file_sha256, sha256
from hokusai.errors import ConfigurationError, InvalidFactError
from hokusai.models.model_digests import place_sha256
from hokusai.provenance.environment import capture_environment, read_environment
from hokusai.reproduction.comparison import telling_differences
from hokusai.reproduction.evaluation_facts import EVALUATION, baseline_model, json_object
from hokusai.reproduction.fetched_baseline import fetch_baseline
from hokusai.reproduction.table_sources import find_tables, named_tables
from hokusai.tracking.naming import (
    BASELINE_ADDRESS_TAG,
    BASELINE_DIGEST_TAG,
    BASELINE_MANIFEST_TAG,
    OWN_CODE_TAG,
    REPRODUCTION_OF_TAG,
    REPRODUCTION_RUN_TAG,
    STEPS,
)
from hokusai.tracking.own_code import CODE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from hokusai.config import PipelineConfig
    from hokusai.provenance.environment_comparison import EnvironmentDifference
    from hokusai.reproduction.comparison import FoundDifference
    from hokusai.reproduction.recorded_evaluation import RecordedEvaluation
    from hokusai.reproduction.table_sources import TableSource
    from hokusai.tracking.mlflow_config import TrackingSettings

__all__ = ["GivenFiles", "ReproductionPlan", "plan_reproduction"]

_LOAD, _INTEGRATE = STEPS[0], STEPS[1]
_KEY_BYTES = 32
_DECOY_METRICS = ("decoy_hits", "decoy_p_value")
# Which are loaded is not known before the work begins.
_LOADED_LATER = ("BLAS libraries", "OpenMP libraries")


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFiles:
    """What whoever does an evaluation again has to give, as far as the store does not hold it.

    Attributes:
        tables: Files by the table's name: ``base``, ``benchmark``, ``decoy``, a contribution's or further benchmark's
            name; also ``contract`` and ``baseline``.
        benchmark_key: The key that splits the benchmark.
        hash_key: The key that personal data were hashed with.
        trust_code: Whether code of the evaluation's own may run.
    """

    tables: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    benchmark_key: Path | None = None
    hash_key: Path | None = None
    trust_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionPlan:
    """How it is done.

    Attributes:
        config: The configuration; None where the evaluation cannot be done again.
        code: The folder of the evaluation's own code; None without any.
        code_files: What would run of it.
        sources: Where each table is taken from, by its name.
        problems: Why it cannot be done again, one sentence each; empty where it can.
        limits: What will not be the same, or is not compared, and why; one sentence each.
        left_out: Parameters and metrics that are not compared.
        environment: What differs between the recorded environment and this one, as far as results may depend on it.
        differences: What is not as it was recorded, as far as that is known beforehand.
    """

    config: PipelineConfig | None
    code: Path | None
    code_files: tuple[str, ...]
    sources: Mapping[str, str]
    problems: tuple[str, ...]
    limits: tuple[str, ...]
    left_out: tuple[str, ...]
    environment: tuple[EnvironmentDifference, ...]
    differences: tuple[FoundDifference, ...]


def plan_reproduction(
    recorded: RecordedEvaluation,
    *,
    given: GivenFiles,
    tracking: TrackingSettings,
    folder: Path,
    workers: int | None = None,
) -> ReproductionPlan:
    """Say how an evaluation can be done again, and fetch what that takes.

    Args:
        recorded: The evaluation.
        given: What the caller gives.
        tracking: Where the new record goes.
        folder: Where fetched files go.
        workers: Fits at the same time; None for the recorded setting.

    Raises:
        ReproductionError: The configuration is not what was recorded.
        ConfigurationError: What is given is not what is needed.
    """
    planning = _Planning(recorded, given, tracking=tracking, folder=folder)
    content = recorded.require(EVALUATION, CONFIGURATION_NAME)
    settings = read_configuration(content)
    planning.refuse_redacted(redacted_keys(content))
    planning.take_code(settings)
    planning.take_tables(settings)
    planning.take_contract(settings)
    planning.take_keys(settings)
    planning.take_baseline(settings)
    settings["data"]["snapshots"] = "never"
    settings["training"]["keep_controls"] = False
    if workers is not None:
        settings["training"]["workers"] = workers
    config = None
    if not planning.problems:
        allowed = tuple(settings["tracking"]["allowed_names"])
        tracking = dataclasses.replace(
            tracking,
            experiment=recorded.experiment.replace("{", "{{").replace("}", "}}"),
            allowed_names=allowed,
            tags={REPRODUCTION_OF_TAG: recorded.key, REPRODUCTION_RUN_TAG: recorded.parent.run_id},
        )
        config = build_config(settings, files=planning.files, tracking=tracking)
    return ReproductionPlan(
        config=config,
        code=folder / CODE_FOLDER if planning.code_files else None,
        code_files=tuple(planning.code_files),
        sources=planning.sources,
        problems=tuple(planning.problems),
        limits=tuple(planning.limits),
        left_out=tuple(planning.left_out),
        environment=_environment_differences(recorded),
        differences=tuple(planning.differences),
    )


class _Planning:
    """Collects files, and what is to be said, while settings are adapted one after the other."""

    def __init__(
        self, recorded: RecordedEvaluation, given: GivenFiles, *, tracking: TrackingSettings, folder: Path
    ) -> None:
        self._recorded, self._given, self._tracking, self._folder = recorded, given, tracking, folder
        self._parameters = recorded.parameters(_INTEGRATE)
        self._all_stored = False
        self.files: dict[str, Path] = {}
        self.sources: dict[str, str] = {}
        self.code_files: list[str] = []
        self.problems: list[str] = []
        self.limits: list[str] = []
        self.left_out: list[str] = []
        self.differences: list[FoundDifference] = []

    def refuse_redacted(self, keys: Iterable[str]) -> None:
        """A setting that was a credential is on record nowhere."""
        for key in keys:
            if not key.startswith("tracking."):
                self.problems.append(f"{key} was a credential and is not on record.")

    def take_code(self, settings: Mapping[str, Any]) -> None:
        """Fetch the evaluation's own code, if it may run."""
        try:
            modules = json.loads(self._recorded.parent.tags.get(OWN_CODE_TAG, "{}"))
        except ValueError:
            modules = {}
        listed = self._recorded.manifests[EVALUATION]
        paths = [path for path in sorted(listed) if path.startswith(f"{CODE_FOLDER}/")]
        contents = {path: self._recorded.require(EVALUATION, path) for path in paths}
        digests = {sha256(content) for content in contents.values()}
        self.code_files = paths
        for name, digest in modules.items() if isinstance(modules, dict) else ():
            if digest not in digests:
                self.problems.append(f"the module {name} is not on record as it ran: it was too long, or redacted.")
        # What runs is what the settings name, whatever the tag says.
        addresses = code_addresses(settings)
        if (addresses or modules) and not self._given.trust_code:
            named = ", ".join((*addresses, *paths))
            self.problems.append(f"it runs code of its own ({named}). Read it, then give --trust-code to run it here.")
            return
        for path, content in contents.items():
            file = self._folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def take_tables(self, settings: dict[str, Any]) -> None:
        """Find every table, and let the settings fit what is stored of them."""
        tables = tuple(named_tables(settings))
        known = [table.name for table in tables]
        known += ["contract"] if settings["data"]["contract"] else []
        known += ["baseline"] if settings["baseline"]["source"] else []
        for name in sorted(self._given.tables.keys() - {*known}):
            problem = f"the evaluation used nothing that is called {name!r}; expected one of {', '.join(known)}."
            raise ConfigurationError(problem, key="--data", source="command line")
        sources = find_tables(self._recorded, tables, given=self._given.tables, folder=self._folder)
        for source in sources:
            self._take_table(settings, source)
        stored = [source for source in sources if source.columns]
        self._all_stored = len(stored) == len([source for source in sources if source.table.context != "decoy"])
        if stored:
            self._fit_to_stored(settings, stored[0].columns)

    def take_contract(self, settings: dict[str, Any]) -> None:
        """Take the contract that is given; stored tables have been checked by it."""
        if not settings["data"]["contract"]:
            return
        file, digest = self._given.tables.get("contract"), str(self._parameters.get("data.contract", ""))
        if file is not None:
            _require_digest(file, file_sha256(file) if file.is_file() else "", digest, key="--data contract")
            self.files["data.contract"] = file.absolute()
            self.sources["contract"] = file.name
        elif self._all_stored:
            types, key = self._parameters.get("data.types"), self._parameters.get("data.key")
            settings["data"] |= {"contract": None, "types": types, "key": key}
            self.left_out.append("data.contract")
            self.limits.append("the data contract is not stored; the stored tables were checked by it.")
        else:
            self.problems.append("the data contract is not stored; --data contract=FILE gives it.")

    def take_keys(self, settings: dict[str, Any]) -> None:
        """Take the keys that are given; contributors, and whoever else has none, cannot do everything again."""
        if settings["delta"]["benchmark_key_file"]:
            if self._given.benchmark_key is None:
                self.problems.append(
                    "the benchmark is split by a key, which is not on record; --benchmark-key FILE gives it."
                )
            else:
                self.files["delta.benchmark_key_file"] = self._given.benchmark_key.absolute()
        if settings["data"]["hash_key_file"]:
            if self._given.hash_key is not None:
                self.files["data.hash_key_file"] = self._given.hash_key.absolute()
            elif self._all_stored:
                # What was to be hashed has been, in every stored table; should something be left, its digest shows it.
                unused = self._folder / "unused.key"
                unused.write_text(secrets.token_hex(_KEY_BYTES), encoding="ascii")
                self.files["data.hash_key_file"] = unused
            else:
                self.problems.append("personal data were hashed with a key; --hash-key FILE gives it.")

    def take_baseline(self, settings: dict[str, Any]) -> None:
        """Take the given baseline model by its recorded digest, and not by a name that may have moved."""
        if not settings["baseline"]["source"]:
            return
        trusted = settings["baseline"]["trusted_sha256"]
        if trusted and not self._given.trust_code:
            self.problems.append(
                f"its baseline model (SHA-256 {trusted}) runs code when it is loaded. Where you trust it as well, give "
                "--trust-code."
            )
        tags = self._recorded.runs[_LOAD].tags
        file, digest = self._given.tables.get("baseline"), baseline_model(tags).get("baseline", "")
        if file is not None:
            wanted = tags.get(BASELINE_DIGEST_TAG, ""), tags.get(BASELINE_MANIFEST_TAG, "")
            found = place_sha256(file) if file.exists() else ""
            _require_digest(file, found, found if found in wanted else digest, key="--data baseline")
            settings["baseline"]["source"] = file.name
            self.files["baseline.source"] = file.absolute()
            self.sources["baseline"] = file.name
            return
        if "baseline.source" not in file_keys(settings):
            settings["baseline"]["source"] = tags.get(BASELINE_ADDRESS_TAG) or settings["baseline"]["source"]
            self.sources["baseline"] = settings["baseline"]["source"]
            return
        fetched = fetch_baseline(digest, tracking=self._tracking, folder=self._folder)
        if fetched is None:
            self.problems.append(
                f"baseline: the model was a file, and none in the store has its SHA-256 {digest}; --data baseline=FILE "
                "gives it."
            )
            return
        self.files["baseline.source"], self.sources["baseline"] = fetched

    def _take_table(self, settings: dict[str, Any], source: TableSource) -> None:
        table = source.table
        if source.file is not None:
            self.files[table.key] = source.file
            self.sources[table.name] = "the store" if source.columns else source.file.name
        elif table.context == "decoy":
            settings["data"]["decoy"] = None
            self.left_out.append("data.decoy")
            self.left_out += [
                name
                for name in self._recorded.runs[_INTEGRATE].latest
                if name.startswith("data.contribution.") and name.rpartition(".")[2] in _DECOY_METRICS
            ]
            self.limits.append(f"the decoy test is not done again: {source.problem}.")
        else:
            problem = self._why_it_stores_none() or f"{table.name}: {source.problem}."
            self.problems += [problem] if problem not in self.problems else []
        if source.difference is not None:
            self.differences.append(source.difference)

    def _why_it_stores_none(self) -> str:
        """Name the first evaluation where this one is a reproduction; empty where it is none."""
        tags = self._recorded.parent.tags
        first = tags.get(REPRODUCTION_OF_TAG, "")
        if not first:
            return ""
        again = f"`hokusai reproduce {tags.get(REPRODUCTION_RUN_TAG, first)[:8]}`"
        return f"it is a reproduction of {first}, and stores no tables itself. Do that one again: {again}."

    def _fit_to_stored(self, settings: dict[str, Any], columns: tuple[str, ...]) -> None:
        """Stored tables hold the columns that were used and no others, without the personal data."""
        named = self._parameters.get("data.features")
        features = [str(name) for name in named] if isinstance(named, list) else []
        dropped = [name for name in features if name not in columns]
        settings["data"] |= {"features": [name for name in features if name in columns], "exclude": []}
        if dropped:
            self.left_out.append("data.features")
            self.limits.append(f"{', '.join(dropped)}: dropped as personal data before the tables were stored.")
        if {"drop", "mask", "hash"} & set(settings["data"]["personal_data"].values()):
            self.left_out.append("data.personal_data.")
            self.limits.append("personal data are not counted again: they were taken out before tables were stored.")


def _require_digest(file: Path, found: str, wanted: str, *, key: str) -> None:
    if found != wanted:
        problem = f"{file}: its SHA-256 is {found or 'unknown, for there is no such file'}, expected {wanted}."
        raise ConfigurationError(problem, key=key, source="command line")


def _environment_differences(recorded: RecordedEvaluation) -> tuple[EnvironmentDifference, ...]:
    content = recorded.content(EVALUATION, "environment.json")
    if not json_object(content):
        return ()
    try:
        then = read_environment(content or b"")
    except InvalidFactError:
        return ()
    return tuple(
        difference
        for difference in telling_differences(then, capture_environment())
        if difference.subject not in _LOADED_LATER
    )
