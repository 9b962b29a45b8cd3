"""The configuration: one value whatever door it came through, and one message for whatever is wrong."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hokusai.config import (
    PipelineConfig,
    complete_tracking,
    config_values,
    load_config,
    load_tracking,
    require_valid,
    setting_keys,
)
from hokusai.configuration_document import (
    build_config,
    configuration_bytes,
    file_keys,
    read_configuration,
    redacted_keys,
)
from hokusai.datasets.personal_data_kinds import KINDS
from hokusai.errors import ConfigurationError
from hokusai.steps.baseline_loader import BaselineSettings
from hokusai.steps.data_settings import ContributionSettings, DataSettings
from hokusai.steps.delta_settings import DeltaSettings
from hokusai.steps.evaluation_settings import EvaluationSettings
from hokusai.steps.model_training import TrainingSettings
from hokusai.testing.sample_data import penguins_folder as packaged_data
from hokusai.tracking.mlflow_config import TrackingSettings, resolve_store

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = """\
project = "penguins"

[data]
base = "base.csv"
benchmark = "benchmark.csv"
label = "species"

[[data.contributions]]
path = "dream.csv"
"""
SECTIONS = {
    "data": DataSettings,
    "baseline": BaselineSettings,
    "training": TrainingSettings,
    "evaluation": EvaluationSettings,
    "delta": DeltaSettings,
    "tracking": TrackingSettings,
}
# The only commented line of the template that shows an example: the default is a folder that has no name beforehand.
EXAMPLES = {
    "delta.output",
    "delta.benchmark_key_file",
    "delta.signing_key_file",
    "delta.signing_passphrase_file",
    "data.contract",
    "data.decoy",
    "data.hash_key_file",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with the demo's files, as after ``hokusai init``."""
    for source in packaged_data().iterdir():
        shutil.copy(source, tmp_path)
    for name in ("contract.toml", "hash.key", "benchmark.key", "decoy.csv", "hokusai.key", "passphrase.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(text: str = FILE, **arguments: Any) -> ConfigurationError:
    """Return the error that a file with this text is refused with."""
    Path("evaluation.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_config(Path("evaluation.toml"), **{"environment": {}} | arguments)
    return caught.value


def accepted(text: str = FILE, **arguments: Any) -> PipelineConfig:
    """Return the configuration of a file with this text."""
    Path("evaluation.toml").write_text(text, encoding="utf-8")
    return load_config(Path("evaluation.toml"), **{"environment": {}} | arguments).config


def with_line(section: str, line: str) -> str:
    """Return the file with one more line in a section."""
    if f"[{section}]\n" in FILE:
        return FILE.replace(f"[{section}]\n", f"[{section}]\n{line}\n")
    return f"{FILE}\n[{section}]\n{line}\n"


# --- what is refused -------------------------------------------------------------------------------------------------


def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_known_name() -> None:
    error = refusal(with_line("training", "seed = 3"))
    assert (error.key, error.source, error.line) == ("training.seed", "evaluation.toml", 12)
    assert str(error) == ("evaluation.toml, line 12: training.seed: no such setting. Did you mean training.seeds?")


def test_an_unknown_table_is_refused_with_its_line() -> None:
    error = refusal(f"{FILE}\n[trainin]\nseeds = 3\n")
    assert (error.key, error.line) == ("trainin", 12)
    assert "no such setting" in error.problem


def test_a_misspelt_key_that_is_needed_is_called_unknown_and_not_missing() -> None:
    error = refusal(FILE.replace("label", "lable"))
    assert (error.key, error.line) == ("data.lable", 6)
    assert error.problem == "no such setting. Did you mean data.label?"


def test_an_unknown_key_of_a_contribution_is_refused_with_its_line() -> None:
    error = refusal(FILE + 'nam = "dream"\n')
    assert (error.key, error.line) == ("data.contributions.0.nam", 10)
    assert "no such setting" in error.problem


@pytest.mark.parametrize(
    ("section", "line", "message"),
    [
        ("training", 'seeds = "five"', 'training.seeds: got "five": input should be a valid integer.'),
        ("training", "seeds = 2.5", "training.seeds: got 2.5: input should be a valid integer."),
        ("training", "seeds = true", "training.seeds: got true: input should be a valid integer."),
        ("training", "seeds = 0", "training.seeds: got 0: input should be greater than or equal to 1."),
        ("training", "estimator = 3", "training.estimator: got 3: input should be a valid string."),
        ("training", "parameters = 3", "training.parameters: got 3: input should be an object."),
        ("delta", 'minimum_gain = "0.1"', 'delta.minimum_gain: got "0.1": input should be a valid number.'),
        ("delta", "minimum_gain = inf", "delta.minimum_gain: got Infinity: input should be less than inf."),
        ("delta", "minimum_gain = nan", "delta.minimum_gain: got NaN: input should be less than inf."),
        ("delta", "confidence = 1.0", "delta.confidence: got 1.0: input should be less than 1."),
        ("data", "features = 3", "data.features: got 3: input should be a valid array."),
        ("data", 'features = "a,b"', 'data.features: got "a,b": input should be a valid array.'),
        ("data", 'delimiter = ";;"', 'data.delimiter: got ";;": string should have at most 1 character.'),
        ("data", 'types = { a = "text" }', "input should be 'int', 'float', 'string', 'bool', 'date', "),
        ("data", 'benchmark_overlap = "keep"', "input should be 'remove' or 'refuse'."),
        ("data", "exclude = [2020-01-01]", "data.exclude: got the date or time 2020-01-01, expected a text"),
        ("training", "parameters = { C = 07:30:00 }", "got the date or time 07:30:00, expected a text"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_line(section: str, line: str, message: str) -> None:
    text = with_line(section, line)
    error = refusal(text)
    assert message in str(error)
    assert error.source == "evaluation.toml"
    assert error.line == text.splitlines().index(line) + 1


@pytest.mark.parametrize("key", ["project", "data.base", "data.benchmark", "data.label", "data.contributions"])
def test_a_key_without_a_default_may_not_be_missing(key: str) -> None:
    name = key.rpartition(".")[2]
    kept = [line for line in FILE.splitlines() if not re.match(rf"{name} =|\[\[{key}\]\]|path =", line)]
    if key != "data.contributions":
        kept += ["[[data.contributions]]", 'path = "dream.csv"']
    error = refusal("\n".join(kept))
    assert str(error) == f"evaluation.toml: {key}: missing, and it has no default."


def test_an_evaluation_without_a_contribution_is_refused() -> None:
    text = FILE.replace('[[data.contributions]]\npath = "dream.csv"\n', "contributions = []\n")
    assert refusal(text).key == "data.contributions"


def test_a_file_that_is_not_there_is_refused_with_the_command_that_writes_one() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_config(Path("other.toml"), environment={})
    assert str(caught.value) == "other.toml: no such file. Write one with `hokusai init`, or name another."


def test_a_file_that_is_no_toml_is_refused_with_the_line() -> None:
    error = refusal(FILE.replace('"species"', '"species'))
    assert error.source == "evaluation.toml"
    assert "not valid TOML" in str(error)
    assert "line 6" in str(error)


def test_a_file_that_is_no_text_is_refused() -> None:
    Path("evaluation.toml").write_bytes(b"project = '\xff'")
    with pytest.raises(ConfigurationError, match=r"^evaluation\.toml: cannot be read \('utf-8'"):
        load_config(Path("evaluation.toml"), environment={})


def test_a_byte_order_mark_is_no_reason_to_refuse() -> None:
    Path("evaluation.toml").write_bytes(b"\xef\xbb\xbf" + FILE.encode())
    assert load_config(Path("evaluation.toml"), environment={}).config.project == "penguins"


def test_an_unknown_environment_variable_is_refused_with_the_nearest_known_name() -> None:
    error = refusal(environment={"HOKUSAI_TRAINING_SEED": "3"})
    assert error.source == "environment variable HOKUSAI_TRAINING_SEED"
    assert "Did you mean HOKUSAI_TRAINING_SEEDS?" in str(error)


def test_a_bad_value_in_the_environment_is_refused_by_the_variable_and_the_key() -> None:
    error = refusal(environment={"HOKUSAI_TRAINING_SEEDS": "three"})
    assert str(error) == (
        'environment variable HOKUSAI_TRAINING_SEEDS: training.seeds: got "three": input should be a valid integer.'
    )


def test_a_bad_value_on_the_command_line_is_refused_by_its_key() -> None:
    error = refusal(flags={"delta.confidence": "2"})
    assert str(error) == "command line: delta.confidence: got 2: input should be less than 1."


@pytest.mark.parametrize("key", ["training.seed", "training.parameters.C", "nothing", "project.name"])
def test_an_unknown_key_on_the_command_line_is_refused(key: str) -> None:
    error = refusal(flags={key: "3"})
    assert (error.key, error.source) == (key, "command line")
    assert "no such setting" in error.problem


@pytest.mark.parametrize(
    ("key", "old", "line"),
    [
        ("data.base", '"base.csv"', 4),
        ("data.benchmark", '"benchmark.csv"', 5),
        ("data.contributions.0.path", '"dream.csv"', 9),
    ],
)
def test_a_data_file_that_is_not_there_is_refused_with_key_line_and_full_path(
    key: str, old: str, line: int, folder: Path
) -> None:
    error = refusal(FILE.replace(old, '"nowhere.csv"'))
    assert (error.key, error.line) == (key, line)
    assert error.problem == f"no such file: {folder / 'nowhere.csv'}. Put it there, or name another."


def test_a_folder_or_a_pattern_may_stand_for_the_files_of_a_table() -> None:
    for path in (".", "b*.csv", "[a-c]*.csv"):
        assert accepted(FILE.replace('"base.csv"', f'"{path}"')).data.base.name == path.removeprefix(".") or path == "."
    assert "no file fits" in refusal(FILE.replace('"base.csv"', '"x*.csv"')).problem


def test_a_table_in_memory_needs_no_file_and_must_play_a_part() -> None:
    missing = FILE.replace('"base.csv"', '"nowhere.csv"')
    assert accepted(missing, in_memory=("base",)).data.base.name == "nowhere.csv"
    assert "no such file" in refusal(missing, in_memory=("benchmark",)).problem
    assert "a table was given for 'bsae', expected one for 'base', 'benchmark'" in refusal(in_memory=("bsae",)).problem


@pytest.mark.parametrize("project", ["a b", "a/b", "-a", "", "x" * 101, "pingüino"])
def test_a_project_name_keeps_to_plain_signs(project: str) -> None:
    error = refusal(FILE.replace('"penguins"', json.dumps(project, ensure_ascii=False)))
    assert (error.key, error.line) == ("project", 1)


@pytest.mark.parametrize("name", ["experiment", "run_name", "registered_model"])
@pytest.mark.parametrize("template", ["{colour}", "{", "{}", "{0}", "{project.x}", "{project[a]}", "{project:d}"])
def test_a_name_template_with_a_field_that_there_is_not_is_refused(name: str, template: str) -> None:
    error = refusal(with_line("tracking", f'{name} = "{template}"'))
    assert (error.key, error.line) == (f"tracking.{name}", 12)
    assert "expected a text with no other fields than {project}" in error.problem


def test_only_the_run_name_may_hold_the_run_id() -> None:
    assert accepted(with_line("tracking", 'run_name = "{run_id}"')).tracking.run_name == "{run_id}"
    assert refusal(with_line("tracking", 'experiment = "{run_id}"')).key == "tracking.experiment"


@pytest.mark.parametrize("name", ["", " ", "x" * 251, "a\\nb"])
@pytest.mark.parametrize("key", ["experiment", "run_name", "registered_model"])
def test_a_name_that_mlflow_does_not_take_is_refused(key: str, name: str) -> None:
    error = refusal(with_line("tracking", f'{key} = "{name}"'))
    assert (error.key, error.line) == (f"tracking.{key}", 12)
    assert "expected 1 to 250 printable characters" in error.problem


@pytest.mark.parametrize("name", ["team/model", "models:{project}"])
def test_a_registered_model_name_that_mlflow_does_not_take_is_refused(name: str) -> None:
    error = refusal(with_line("tracking", f'registered_model = "{name}"'))
    assert (error.key, error.line) == ("tracking.registered_model", 12)


# --- where paths lead ------------------------------------------------------------------------------------------------


def test_a_path_in_the_file_is_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = with_line("delta", 'output = "out/delta.json"') + '\n[baseline]\nsource = "model"\n'
    (folder / "evaluation.toml").write_text(text, encoding="utf-8")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    config = load_config(Path("../evaluation.toml"), environment={}).config
    assert config.data.base == folder / "base.csv"
    assert config.data.contributions[0].path == folder / "dream.csv"
    assert config.delta.output == folder / "out/delta.json"
    assert config.baseline.source == str(folder / "model")
    assert config.tracking.journal == folder / ".hokusai"
    assert config.tracking.uri == f"sqlite:///{folder}/mlflow.db"


def test_a_path_from_a_flag_or_the_environment_is_relative_to_the_current_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "evaluation.toml").write_text(FILE, encoding="utf-8")
    here = folder / "elsewhere"
    here.mkdir()
    for name in ("base.csv", "dream.csv"):
        shutil.copy(folder / name, here)
    monkeypatch.chdir(here)
    config = load_config(
        Path("../evaluation.toml"),
        flags={"data.contributions": [{"path": "dream.csv"}], "delta.output": "delta.json"},
        environment={"HOKUSAI_DATA_BASE": "base.csv", "HOKUSAI_TRACKING_JOURNAL": "journals"},
    ).config
    assert config.data.base == here / "base.csv"
    assert config.data.contributions[0].path == here / "dream.csv"
    assert config.delta.output == here / "delta.json"
    assert config.tracking.journal == here / "journals"
    assert config.data.benchmark == folder / "benchmark.csv"


@pytest.mark.parametrize("address", ["models:/penguins/1", "models:/penguins@best", "runs:/0123/model"])
def test_an_address_of_mlflow_is_no_path(address: str) -> None:
    assert accepted(f'{FILE}\n[baseline]\nsource = "{address}"\n').baseline.source == address


# --- who beats whom --------------------------------------------------------------------------------------------------


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() -> None:
    text = with_line("training", "seeds = 11")
    Path("evaluation.toml").write_text(text, encoding="utf-8")
    environment = {"HOKUSAI_TRAINING_SEEDS": "12"}
    flags = {"training.seeds": "13"}
    expected = [
        (FILE, {}, {}, 5, "default"),
        (text, {}, {}, 11, "evaluation.toml, line 12"),
        (text, environment, {}, 12, "environment variable HOKUSAI_TRAINING_SEEDS"),
        (text, environment, flags, 13, "command line"),
    ]
    for content, variables, given_flags, value, origin in expected:
        Path("evaluation.toml").write_text(content, encoding="utf-8")
        resolved = load_config(Path("evaluation.toml"), flags=given_flags, environment=variables)
        found = {key: (each, str(place)) for key, each, place in resolved.items()}
        assert found["training.seeds"] == (value, origin)


@pytest.mark.parametrize(
    ("variable", "own", "key"),
    [
        ("MLFLOW_TRACKING_URI", "HOKUSAI_TRACKING_URI", "uri"),
        ("MLFLOW_EXPERIMENT_NAME", "HOKUSAI_TRACKING_EXPERIMENT", "experiment"),
    ],
)
def test_mlflows_variables_count_and_our_own_beat_them(variable: str, own: str, key: str) -> None:
    assert getattr(accepted(environment={variable: "http://a"}).tracking, key) == "http://a"
    both = {own: "http://b", variable: "http://a"}
    assert getattr(accepted(environment=both).tracking, key) == "http://b"
    assert getattr(accepted(environment={variable: ""}).tracking, key) == getattr(accepted().tracking, key)


def test_commands_without_a_file_take_the_store_from_the_environment_and_a_flag_beats_it(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    assert load_tracking(None).uri == f"sqlite:///{folder}/mlflow.db"
    assert load_tracking(None).journal == folder / ".hokusai"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow")
    assert load_tracking(None).uri == "http://mlflow"
    monkeypatch.setenv("HOKUSAI_TRACKING_URI", "http://own")
    monkeypatch.setenv("HOKUSAI_TRACKING_JOURNAL", "journals")
    assert load_tracking(None).uri == resolve_store(TrackingSettings()) == "http://own"
    assert load_tracking(None).journal == folder / "journals"
    assert load_tracking(None, uri="http://flag").uri == "http://flag"


def test_a_relative_sqlite_store_is_one_file_whatever_the_current_folder_is(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    lines = 'uri = "sqlite:///store.db?timeout=20"\nregistry_uri = "sqlite:///registry.db"'
    (folder / "evaluation.toml").write_text(with_line("tracking", lines), encoding="utf-8")
    (folder / "far").mkdir()
    monkeypatch.chdir(folder / "far")
    file = Path("../evaluation.toml")
    expected = (f"sqlite:///{folder}/store.db?timeout=20", f"sqlite:///{folder}/registry.db")
    for tracking in (load_config(file, environment={}).config.tracking, load_tracking(file)):
        assert (tracking.uri, tracking.registry_uri) == expected
    here = f"sqlite:///{folder}/far/store.db"
    relative = TrackingSettings(uri="sqlite:///store.db", registry_uri="sqlite:///store.db")
    built = dataclasses.replace(load_config(file, environment={}).config, tracking=relative)
    for tracking in (require_valid(built).tracking, complete_tracking(relative)):
        assert (tracking.uri, tracking.registry_uri) == (here, here)
    assert load_tracking(file, uri="sqlite:///store.db").uri == here
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///store.db")
    assert load_tracking(file).uri == load_tracking(None).uri == resolve_store(TrackingSettings()) == here


def test_an_error_about_a_value_is_given_the_place_that_the_value_came_from() -> None:
    Path("evaluation.toml").write_text(with_line("training", 'estimator = "Magic"'), encoding="utf-8")
    resolved = load_config(Path("evaluation.toml"), environment={"HOKUSAI_DELTA_METRIC": "luck"})
    located = resolved.locate(ConfigurationError("no such class.", key="training.estimator"))
    assert str(located) == "evaluation.toml, line 12: training.estimator: no such class."
    located = resolved.locate(ConfigurationError("no such metric.", key="delta.metric"))
    assert located.source == "environment variable HOKUSAI_DELTA_METRIC"
    located = resolved.locate(ConfigurationError("too few.", key="training.seeds"))
    assert str(located) == "evaluation.toml: training.seeds: too few."


# --- one value, three doors ------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="{}"), max_size=20)
NAMES = TEXTS.filter(lambda text: bool(text.strip()))
FILES = st.sampled_from(["base.csv", "benchmark.csv", "./dream.csv", "sub/../torgersen.csv"])
NUMBERS = st.floats(0, 1e300)
SECONDS = st.floats(1e-300, 86_400)
MODEL_NAMES = NAMES.filter(lambda text: not set(text) & set("/:"))
COLUMN_TYPES = st.sampled_from(["int", "float", "string", "bool"])
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "project": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True),
    "data.base": FILES,
    "data.benchmark": FILES,
    "data.label": NAMES,
    "data.contributions": st.lists(FILES.map(lambda path: {"path": path}), min_size=1, max_size=2),
    "data.more_benchmarks": st.lists(FILES.map(lambda path: {"path": path}), max_size=2),
    "data.decoy": FILES,
    "data.features": st.lists(TEXTS, max_size=3),
    "data.exclude": st.lists(TEXTS, max_size=3),
    "data.sample_weight": TEXTS,
    "data.types": st.dictionaries(TEXTS, COLUMN_TYPES, max_size=3),
    "data.missing_values": st.lists(TEXTS, max_size=3),
    "data.delimiter": st.sampled_from(["", ",", ";", "\t", "|", "é"]),
    "data.encoding": TEXTS,
    "data.contract": FILES,
    "data.key": st.lists(TEXTS, max_size=3),
    "data.merge": st.sampled_from(["append", "update", "replace"]),
    "data.winner": st.sampled_from(["first", "last"]),
    "data.benchmark_overlap": st.sampled_from(["remove", "refuse"]),
    "data.duplicates": st.sampled_from(["remove", "refuse", "keep"]),
    "data.near_duplicates": st.sampled_from(["report", "remove", "off"]),
    "data.personal_data": st.dictionaries(
        st.sampled_from(KINDS), st.sampled_from(["refuse", "drop", "mask", "hash", "keep"]), max_size=2
    ),
    "data.hash_key_file": FILES,
    "data.sample_rows": st.integers(0, 2**53),
    "data.snapshots": st.sampled_from(["auto", "always", "never"]),
    "data.snapshot_bytes": st.integers(0, 2**53),
    "data.limits": st.dictionaries(st.sampled_from(["max_rows", "max_bytes"]), st.integers(1, 2**53), max_size=2),
    "baseline.source": TEXTS | st.sampled_from(["models:/a/1", "runs:/a/b", f"m-{'0a' * 16}", f"sha256:{'0a' * 32}"]),
    "baseline.trusted_sha256": TEXTS,
    "baseline.classes": st.lists(TEXTS, max_size=3),
    "training.estimator": TEXTS,
    "training.parameters": st.dictionaries(
        TEXTS, st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | TEXTS, max_size=3
    ),
    "training.seeds": st.integers(1, 1000),
    "training.control_seeds": st.integers(0, 1000),
    "training.keep_controls": st.booleans(),
    "training.negative_controls": st.booleans(),
    "training.sequential": st.fixed_dictionaries(
        {}, optional={"looks": st.lists(st.integers(3, 20), unique=True, max_size=5).map(sorted)}
    ),
    "training.workers": st.integers(0, 256),
    "training.threads": st.integers(1, 256),
    "training.tuning": st.dictionaries(st.sampled_from(["trials", "folds"]), st.integers(2, 100), max_size=2),
    "evaluation.metrics": st.lists(TEXTS, max_size=3),
    "evaluation.positive_class": TEXTS,
    "evaluation.threshold": st.floats(0, 1, exclude_max=True),
    "evaluation.average": st.sampled_from(["macro", "micro", "weighted"]),
    "evaluation.sample_weight": TEXTS,
    "evaluation.group": TEXTS,
    "evaluation.query": TEXTS,
    "evaluation.slices": st.lists(TEXTS, max_size=3),
    "evaluation.own_metrics": st.lists(
        st.fixed_dictionaries(
            {
                "name": st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True),
                "function": st.just("a:b"),
                "higher_is_better": st.booleans(),
            }
        ),
        max_size=2,
    ),
    "delta.metric": TEXTS,
    "delta.minimum_gain": NUMBERS | st.integers(0, 2**53),
    "delta.confidence": st.floats(0.5, 1, exclude_max=True),
    "delta.guards": st.lists(
        st.fixed_dictionaries({"metric": NAMES, "margin": NUMBERS | st.integers(0, 2**53)}), max_size=2
    ),
    "delta.minimum_positives": st.integers(1, 2**53),
    "delta.minimum_discordant_rows": st.integers(1, 2**53),
    "delta.benchmark_key_file": FILES,
    "delta.signing_key_file": FILES,
    "delta.signing_passphrase_file": FILES,
    "delta.output": NAMES,
    "tracking.uri": TEXTS,
    "tracking.experiment": NAMES,
    "tracking.run_name": NAMES,
    "tracking.registered_model": MODEL_NAMES,
    "tracking.journal": NAMES,
    "tracking.registry_uri": TEXTS,
    "tracking.artifact_location": TEXTS,
    "tracking.purpose": TEXTS,
    "tracking.owner": TEXTS,
    "tracking.tags": st.dictionaries(TEXTS, TEXTS, max_size=3),
    "tracking.allowed_names": st.lists(NAMES, max_size=3),
    "tracking.on_outage": st.sampled_from(["keep", "fail"]),
    "tracking.outage_seconds": SECONDS,
    "tracking.wait_seconds": SECONDS,
    "tracking.request_seconds": SECONDS,
}


def toml(value: Any) -> str:
    """Return a value as TOML writes it; the escapes of JSON are TOML's, once no surrogate pairs are used."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml(name)} = {toml(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def without(key: str) -> str:
    """Return the file without one key, so that it can be given another way."""
    name = key.rpartition(".")[2]
    return "\n".join(
        line for line in FILE.splitlines() if not (line.startswith(f"{name} =") and key in ("project", f"data.{name}"))
    )


def test_every_setting_has_a_strategy() -> None:
    assert set(VALUES) == set(setting_keys())


@pytest.mark.parametrize("key", setting_keys())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_value_is_the_same_from_the_file_the_environment_and_a_flag(key: str, data: st.DataObject) -> None:
    value = data.draw(VALUES[key])
    Path("sub").mkdir(exist_ok=True)
    rest = without(key)
    if key == "data.contributions":
        rest = rest.partition("[[")[0]
    section, _, name = key.rpartition(".")
    document = tomllib.loads(rest)
    (document.setdefault(section, {}) if section else document)[name] = value
    by_file = accepted("\n".join(f"{toml(each)} = {toml(inner)}" for each, inner in document.items()))
    # A text is typed without its quotes; everything else as in the file.
    text = value if isinstance(value, str) else toml(value)
    by_environment = accepted(rest, environment={f"HOKUSAI_{key.replace('.', '_').upper()}": text})
    by_flag = accepted(rest, flags={key: text})
    assert by_file == by_environment == by_flag
    assert isinstance(by_file, PipelineConfig)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.fixed_dictionaries({}, optional=VALUES))
def test_a_configuration_comes_back_from_its_document(drawn: Mapping[str, Any]) -> None:
    Path("sub").mkdir(exist_ok=True)
    document = tomllib.loads(FILE)
    for key, value in drawn.items():
        section, _, name = key.rpartition(".")
        (document.setdefault(section, {}) if section else document)[name] = value
    config = accepted("\n".join(f"{toml(each)} = {toml(inner)}" for each, inner in document.items()))
    content = configuration_bytes(config)
    assert redacted_keys(content) == ()
    read = read_configuration(content)
    values = config_values(config)
    files = {each: Path(lookup(values, each)) for each in file_keys(read)}
    delta = config.delta
    own = {
        "delta.output": delta.output,
        "delta.signing_key_file": delta.signing_key_file,
        "delta.signing_passphrase_file": delta.signing_passphrase_file,
    }
    files |= {key: file for key, file in own.items() if file}
    again = build_config(read, files=files, tracking=config.tracking)
    assert again == config
    # A 1 equals 1.0 and is not the same to every estimator, nor are parameters in another order.
    assert repr(again.training) == repr(config.training)
    assert configuration_bytes(again) == content


def lookup(values: Any, key: str) -> Any:
    """Return a value by its dotted key."""
    for part in key.split("."):
        values = values[int(part)] if isinstance(values, list) else values[part]
    return values


def test_a_list_may_be_typed_with_commas() -> None:
    config = accepted(flags={"data.features": "a, b,c"}, environment={"HOKUSAI_EVALUATION_METRICS": "f1"})
    assert config.data.features == ("a", "b", "c")
    assert config.evaluation.metrics == ("f1",)


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("evaluation.toml").write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("HOKUSAI_TRAINING_SEEDS", "7")
    assert load_config(Path("evaluation.toml")).config.training.seeds == 7


def test_loading_changes_neither_the_environment_nor_the_folder(folder: Path) -> None:
    Path("evaluation.toml").write_text(FILE, encoding="utf-8")
    before = (dict(os.environ), sorted(folder.iterdir()))
    load_config(Path("evaluation.toml"))
    assert (dict(os.environ), sorted(folder.iterdir())) == before


# --- the commented template ------------------------------------------------------------------------------------------


def template_keys(pattern: str) -> list[str]:
    """Return the dotted keys of the template's lines that match a pattern with the name as its group."""
    keys, section = [], ""
    for line in Path("evaluation.toml").read_text(encoding="utf-8").splitlines():
        if table := re.match(r"\[+([\w.]+)\]", line):
            section = f"{table[1]}."
        elif match := re.match(pattern, line):
            keys.append(section + match[1])
    return keys


def test_the_template_shows_every_setting_once() -> None:
    keys = template_keys(r"(?:# )?(\w+) += ")
    assert len(keys) == len(set(keys))
    own = {key for key in keys if not key.startswith("data.contributions.")}
    assert own | {"data.contributions"} == set(setting_keys())
    contribution = {f"data.contributions.{each.name}" for each in dataclasses.fields(ContributionSettings)}
    assert set(keys) - own == contribution


def test_the_commented_lines_of_the_template_are_the_defaults() -> None:
    text = Path("evaluation.toml").read_text(encoding="utf-8")
    commented = template_keys(r"# (\w+) += ")
    config = accepted(re.sub(r"(?m)^# (\w+ += )", r"\1", text))
    untouched = accepted(text)
    for key in commented:
        section, _, name = key.rpartition(".")
        if section == "data.contributions":
            if name == "name":
                assert config.data.contributions[0].label == untouched.data.contributions[0].label
                assert config.data.contributions[0] != untouched.data.contributions[0]
            else:
                assert getattr(config.data.contributions[0], name) == getattr(untouched.data.contributions[0], name)
            continue
        field = next(each for each in dataclasses.fields(SECTIONS[section]) if each.name == name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        assert getattr(getattr(untouched, section), name) == getattr(getattr(accepted(), section), name)
        if key in EXAMPLES:
            assert default is None
        elif key in ("tracking.uri", "tracking.journal"):
            assert getattr(config.tracking, name) == getattr(untouched.tracking, name)
        else:
            assert getattr(getattr(config, section), name) == default
    assert len(commented) > 15


# --- a configuration built in code -----------------------------------------------------------------------------------


def built(**sections: Any) -> PipelineConfig:
    """Return a configuration that was built in code, beside the demo's files."""
    here = Path.cwd()
    contributions = (ContributionSettings(path=here / "dream.csv"),)
    data = DataSettings(
        base=here / "base.csv", benchmark=here / "benchmark.csv", label="y", contributions=contributions
    )
    arguments: dict[str, Any] = {"project": "penguins", "data": data}
    return PipelineConfig(**arguments | sections)


def test_a_good_configuration_from_code_stays_as_it_is() -> None:
    config = built(
        training=TrainingSettings(parameters={"C": 1.0, "max_iter": 7, "l1_ratio": None, "class_weight": {"a": 2}}),
        delta=DeltaSettings(minimum_gain=0.1, output=Path.cwd() / "delta.json"),
    )
    assert require_valid(config) == config


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"project": "a/b"}, "project"),
        ({"project": 3}, "project"),
        ({"data": None}, "data"),
        ({"training": TrainingSettings(seeds=0)}, "training.seeds"),
        ({"delta": DeltaSettings(minimum_gain=math.inf)}, "delta.minimum_gain"),
        ({"delta": DeltaSettings(confidence=math.nan)}, "delta.confidence"),
        ({"tracking": TrackingSettings(experiment="{colour}")}, "tracking.experiment"),
        ({"tracking": TrackingSettings(registered_model="a/b")}, "tracking.registered_model"),
    ],
)
def test_a_bad_configuration_from_code_is_refused_like_a_file(sections: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        require_valid(built(**sections))
    assert (caught.value.key, caught.value.source, caught.value.line) == (key, "code", None)


def test_an_infinity_in_a_parameter_from_code_stays_one() -> None:
    checked = require_valid(built(training=TrainingSettings(parameters={"C": math.inf})))
    assert checked.training.parameters == {"C": math.inf}
