"""The document of a configuration: nothing private goes in, and the same configuration comes out.

That every setting comes back is in ``test_config.py``, beside the strategies for settings.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import hokusai
from hokusai.configuration_document import (
    build_config,
    configuration_bytes,
    file_keys,
    read_configuration,
    redacted_keys,
)
from hokusai.errors import ConfigurationError
from hokusai.testing.sample_data import penguins_folder


def configuration(**sections: Any) -> hokusai.PipelineConfig:
    """Return the demo's configuration, with its data in a folder that is private."""
    folder = Path("/home/anna/secret project")
    data = hokusai.DataSettings(
        base=folder / "base.csv",
        benchmark=folder / "benchmark.csv",
        label="species",
        contributions=(hokusai.ContributionSettings(path=folder / "dream.csv"),),
    )
    return dataclasses.replace(hokusai.PipelineConfig(project="penguins", data=data), **sections)


def settings_of(**sections: Any) -> dict[str, Any]:
    """Return what is read from the document of a configuration."""
    return read_configuration(configuration_bytes(configuration(**sections)))


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, Path]:
    """The demo's files under other names in another folder, by the settings that name them."""
    for name in ("base", "benchmark", "dream"):
        shutil.copy(penguins_folder() / f"{name}.csv", tmp_path / f"0a{name}.csv")
    return {
        "data.base": tmp_path / "0abase.csv",
        "data.benchmark": tmp_path / "0abenchmark.csv",
        "data.contributions.0.path": tmp_path / "0adream.csv",
    }


# --- what does not go in ---------------------------------------------------------------------------------------------


def test_no_folder_is_in_the_document() -> None:
    private = Path("/home/anna")
    config = configuration(
        baseline=hokusai.BaselineSettings(source="/home/anna/model.skops"),
        delta=hokusai.DeltaSettings(output=private / "delta.json", benchmark_key_file=private / "benchmark.key"),
        tracking=hokusai.TrackingSettings(
            uri="sqlite:////home/anna/mlflow.db",
            registry_uri="file:///home/anna/registry",
            artifact_location="/home/anna/mlartifacts",
            journal=private / "journals",
        ),
    )
    content = configuration_bytes(config)
    assert b"anna" not in content
    values = read_configuration(content)
    assert values["data"]["contributions"][0]["path"] == "dream.csv"
    assert values["baseline"]["source"] == "model.skops"
    assert values["delta"]["output"] == "delta.json"
    assert values["tracking"]["uri"] == "sqlite:///mlflow.db"
    assert values["tracking"]["registry_uri"] == "file:///registry"
    assert values["tracking"]["artifact_location"] == "mlartifacts"


def test_the_address_of_a_model_or_of_a_server_stays() -> None:
    values = settings_of(
        baseline=hokusai.BaselineSettings(source="models:/penguins@champion"),
        tracking=hokusai.TrackingSettings(uri="https://mlflow.example/a/b", artifact_location="s3://bucket/a/b"),
    )
    assert values["baseline"]["source"] == "models:/penguins@champion"
    assert values["tracking"]["uri"] == "https://mlflow.example/a/b"
    assert values["tracking"]["artifact_location"] == "s3://bucket/a/b"


def test_credentials_are_redacted_and_the_document_says_where() -> None:
    config = configuration(
        training=hokusai.TrainingSettings(parameters={"api_key": "0a1b2c3d4e", "steps": [{"password": "12"}], "C": 1}),
        tracking=hokusai.TrackingSettings(uri="http://me:hunter2@mlflow.example", tags={"auth_token": "0a1b2c3d4e"}),
    )
    content = configuration_bytes(config)
    assert not any(secret in content for secret in (b"0a1b2c3d4e", b"hunter2", b'"12"'))
    keys = ("tracking.tags.auth_token", "training.parameters.api_key", "training.parameters.steps.0.password")
    assert redacted_keys(content) == keys
    assert read_configuration(content)["tracking"]["uri"] == "http://mlflow.example"


def test_a_name_that_is_allowed_keeps_its_value() -> None:
    config = configuration(
        training=hokusai.TrainingSettings(parameters={"auth_token": "hello"}),
        tracking=hokusai.TrackingSettings(allowed_names=("auth_token",)),
    )
    assert redacted_keys(configuration_bytes(config)) == ()


# --- what comes out exactly ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [1, 1.0, -0.0, 0.1, 1e300, 2**62, -(2**62), math.inf, -math.inf, math.nan, True, None, "1", [1, 1.0], {"a": 1.0}],
    ids=repr,
)
def test_a_parameter_keeps_its_value_and_its_type(value: Any) -> None:
    parameters = settings_of(training=hokusai.TrainingSettings(parameters={"C": value}))["training"]["parameters"]
    assert repr(parameters) == repr({"C": value})


@pytest.mark.parametrize("value", [{"$float": "1.0"}, {"$table": [["a", 1]]}, {"$x": {"$integer": "3"}}, {}])
def test_a_parameter_that_looks_like_the_documents_own_marks_comes_back(value: Any) -> None:
    parameters = settings_of(training=hokusai.TrainingSettings(parameters={"C": value}))["training"]["parameters"]
    assert parameters == {"C": value}


def test_parameters_keep_their_order() -> None:
    tuning = hokusai.TrainingSettings().tuning
    space = {"b": {"low": 1.0, "high": 2.0}, "a": [3, 1]}
    training = hokusai.TrainingSettings(parameters={"b": 1, "a": 2}, tuning=dataclasses.replace(tuning, space=space))
    read = settings_of(training=training)["training"]
    assert repr(read["parameters"]) == repr({"b": 1, "a": 2})
    assert repr(read["tuning"]["space"]) == repr(space)


# --- where the files are now -----------------------------------------------------------------------------------------


def test_files_are_found_where_they_are_now_and_tables_keep_their_names(elsewhere: dict[str, Path]) -> None:
    values = settings_of()
    assert file_keys(values) == {
        "data.base": "base.csv",
        "data.benchmark": "benchmark.csv",
        "data.contributions.0.path": "dream.csv",
    }
    config = build_config(values, files=elsewhere)
    assert config.data.base == elsewhere["data.base"]
    assert config.data.contributions[0].path == elsewhere["data.contributions.0.path"]
    assert config.data.contributions[0].label == "dream"


def test_a_file_of_which_nobody_says_where_it_is_is_refused(elsewhere: dict[str, Path]) -> None:
    del elsewhere["data.benchmark"]
    with pytest.raises(ConfigurationError, match=r"'benchmark\.csv' is now") as caught:
        build_config(settings_of(), files=elsewhere)
    assert caught.value.key == "data.benchmark"
    assert build_config(settings_of(), files=elsewhere, in_memory=["benchmark"]).data.benchmark == Path("benchmark.csv")


def test_a_file_for_which_there_is_no_setting_is_refused(elsewhere: dict[str, Path]) -> None:
    with pytest.raises(ConfigurationError, match=r"expected one of data\.base") as caught:
        build_config(settings_of(), files={**elsewhere, "data.contract": Path("contract.toml")})
    assert caught.value.key == "data.contract"


def test_a_store_on_the_machine_that_wrote_the_document_is_not_taken_over(elsewhere: dict[str, Path]) -> None:
    local = settings_of(tracking=hokusai.TrackingSettings(uri="sqlite:////home/anna/mlflow.db", owner="team"))
    assert build_config(local, files=elsewhere).tracking == hokusai.TrackingSettings(owner="team")
    shared = settings_of(tracking=hokusai.TrackingSettings(uri="http://mlflow.example"))
    assert build_config(shared, files=elsewhere).tracking.uri == "http://mlflow.example"
    own = hokusai.TrackingSettings(uri="http://own.example")
    assert build_config(shared, files=elsewhere, tracking=own).tracking == own


def test_a_setting_that_this_version_does_not_know_is_refused(elsewhere: dict[str, Path]) -> None:
    values = settings_of()
    values["training"]["luck"] = 3
    with pytest.raises(ConfigurationError) as caught:
        build_config(values, files=elsewhere)
    assert caught.value.key == "training.luck"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content[:-1], "expected a recorded configuration"),
        (lambda content: b"\xff" + content, "expected a recorded configuration"),
        (lambda content: b" " + content, "not in canonical form"),
        (lambda content: content.replace(b'"penguins"', b'"penguins","project":"x"'), "not in canonical form"),
        (lambda content: content.replace(b"configuration/1", b"configuration/2"), "hokusai-configuration/2"),
        (lambda _: b"[]", "expected a JSON object"),
        (lambda _: b"{}", "expected a JSON object"),
        (lambda content: content.replace(b'"seeds":5', b'"seeds":{"$integer":"x"}'), "a value cannot be read"),
    ],
)
def test_what_is_no_recorded_configuration_is_refused(change: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        read_configuration(change(configuration_bytes(configuration())))
    assert caught.value.source == "configuration.json"


def test_the_kept_document_of_version_1_stays_readable_and_is_what_its_page_shows() -> None:
    root = Path(__file__).parent
    kept = (root / "golden" / "configuration-1.json").read_bytes()
    values = read_configuration(kept)
    assert repr(values["training"]["parameters"]["max_features"]) == "1.0"
    assert redacted_keys(kept) == ("training.parameters.api_key",)
    config = build_config(values, files={}, in_memory=["base", "benchmark", "dream"])
    assert (config.project, config.training.estimator) == ("penguins", "RandomForestClassifier")
    page = (root.parent / "docs" / "formats" / "configuration.md").read_text(encoding="utf-8")
    assert f"```json\n{kept.decode()}\n```\n" in page


def test_every_setting_is_in_the_document_with_its_default() -> None:
    values = json.loads(configuration_bytes(configuration()))["settings"]
    assert values["training"]["seeds"] == 5
    assert values["delta"]["minimum_positives"] == 50
    plain = dataclasses.asdict(configuration())
    assert {name: {*part} for name, part in values.items() if name != "project"} == {
        name: {*part} for name, part in plain.items() if name != "project"
    }
