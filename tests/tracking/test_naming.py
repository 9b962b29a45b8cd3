"""Names of experiments, runs and evaluations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai.errors import ConfigurationError
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.naming import dataset_tag, evaluation_key, require_experiment_name, run_name

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
TIMES = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2099, 1, 1))  # noqa: DTZ001


@given(earlier=TIMES, seconds=st.integers(1, 10**9))
def test_evaluation_keys_sort_by_time(earlier: datetime, seconds: int) -> None:
    assert evaluation_key(earlier) < evaluation_key(earlier + timedelta(seconds=seconds))


def test_evaluation_keys_of_one_second_differ() -> None:
    keys = {evaluation_key(NOW) for _ in range(1000)}
    assert len(keys) == 1000
    assert {key.rsplit("-", 1)[0] for key in keys} == {"20300102-030405"}


def test_a_run_name_is_filled_from_its_template() -> None:
    key = evaluation_key(NOW)
    template = "{project}/{date}/{run_id}/{project}"
    name = run_name(template, project="penguins", evaluation=key, now=NOW)
    assert name == f"penguins/2030-01-02/{key[-8:]}/penguins"
    assert run_name("plain", project="p", evaluation=key, now=NOW) == "plain"


@pytest.mark.parametrize("name", ["a", "x" * 250, "it's", "café", "a/b", "🐧", "-"])
def test_an_experiment_name_that_mlflow_takes_is_taken(name: str, store_uri: str) -> None:
    assert require_experiment_name(name) == name
    store = MlflowStore(store_uri)
    assert store.ensure_experiment(name, tags={}) == store.ensure_experiment(name, tags={})


@pytest.mark.parametrize("name", ["", " ", "\t", "x" * 251, "a\nb", "a\x00b", "a\x7fb"])
def test_another_experiment_name_is_refused_with_its_place(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        require_experiment_name(name, source="evaluation.toml")
    assert (caught.value.key, caught.value.source) == ("tracking.experiment", "evaluation.toml")


def test_a_dataset_has_a_tag_of_its_own() -> None:
    assert dataset_tag("base") == "hokusai.dataset.base"
    assert dataset_tag("contribution", "dream") == "hokusai.dataset.contribution.dream"
    assert dataset_tag("contribution", "contribution") == "hokusai.dataset.contribution.contribution"
    assert dataset_tag("benchmark", "benchmark") == "hokusai.dataset.benchmark"
    assert dataset_tag("benchmark", "hospital") == "hokusai.dataset.benchmark.hospital"
    assert dataset_tag("integrated", "all of it") == "hokusai.dataset.integrated"
