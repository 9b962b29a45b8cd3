"""Records that somebody made up who may write to the store: doing one again runs nothing and writes nowhere else."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from tests.reproduction.conftest import Store, record_again

from hokusai.digests import canonical_json, sha256
from hokusai.errors import ReproductionError
from hokusai.reproduction.recorded_evaluation import find_evaluation
from hokusai.tracking.naming import OWN_CODE_TAG

with warnings.catch_warnings(action="ignore"):  # MLflow warns while it is imported
    from mlflow import MlflowClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def forge(store: Store, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the recorded settings, with every digest that a run keeps of them."""
    file = store.file("configuration.json")
    document = json.loads(file.read_bytes())
    change(document["settings"])
    record_again(store, file, canonical_json(document))


@pytest.mark.parametrize("tag", ["{}", "[]", "", None])
def test_code_that_the_settings_name_does_not_run_because_the_record_lists_none(store: Store, tag: str | None) -> None:
    forge(store, lambda settings: settings["training"].update(estimator="this:that"))
    if tag is not None:
        store.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", OWN_CODE_TAG, tag, store.run_id)
    with pytest.raises(ReproductionError, match=r"it runs code of its own \(this:that\).*--trust-code"):
        store.reproduce()


def test_a_metric_of_its_own_does_not_run_either(store: Store) -> None:
    own = {"function": "this:that", "name": "own", "higher_is_better": True}
    forge(store, lambda settings: settings["evaluation"].update(own_metrics=[own]))
    with pytest.raises(ReproductionError, match=r"it runs code of its own \(this:that\).*--trust-code"):
        store.reproduce()


def test_the_name_of_a_table_is_no_way_out_of_the_folder(store: Store, tmp_path: Path) -> None:
    name = f"../../..{tmp_path}/evil"
    forge(store, lambda settings: settings["data"]["contributions"][0].update(name=name))
    file = store.file("delta.json")
    step = file.parent
    document = json.loads(file.read_bytes())
    for item in document["datasets"]:
        item["name"] = name if item["context"] == "contribution" else item["name"]
    run_id = step.parent.name
    record_again(store, file, json.dumps(document).encode(), run_id=run_id)
    with pytest.raises(ReproductionError, match="is no name that Hokusai gives to a table"):
        store.reproduce()
    assert not (tmp_path / "evil.parquet").exists()


@pytest.mark.parametrize("path", ["code/../../evil.py", "/evil.py", "code\\..\\evil.py"])
def test_the_path_of_a_file_is_no_way_out_of_the_folder(store: Store, path: str) -> None:
    file = store.file("configuration.json")
    record_again(store, file, file.read_bytes(), path=path)
    with pytest.raises(ReproductionError, match="the list of files") as caught:
        store.reproduce()
    assert caught.value.exit_code == 1


def copy_runs(store: Store) -> str:
    """Copy an evaluation's runs, each of them begun earlier, and return the id of the parent's copy."""
    client = MlflowClient(store.settings.uri)
    parent = client.get_run(store.run_id)
    children = f"tags.`mlflow.parentRunId` = '{store.run_id}'"
    copies = {"mlflow.parentRunId": ""}
    for run in (parent, *client.search_runs([parent.info.experiment_id], children)):
        tags = run.data.tags | {name: copies[name] for name in run.data.tags.keys() & copies.keys()}
        started = run.info.start_time - 1_000
        copy = client.create_run(parent.info.experiment_id, start_time=started, tags=tags, run_name=run.info.run_name)
        copies = {"mlflow.parentRunId": copies["mlflow.parentRunId"] or copy.info.run_id}
        client.set_terminated(copy.info.run_id)
    return copies["mlflow.parentRunId"]


def test_a_copied_evaluation_is_refused_with_both_ids(store: Store) -> None:
    client = MlflowClient(store.settings.uri)
    copy = copy_runs(store)
    for name in (store.run_id, copy, store.evaluation):
        with pytest.raises(ReproductionError, match="2 runs say that they are its evaluation") as caught:
            find_evaluation(name, store.settings)
        assert {store.run_id, copy} == set(re.findall("[0-9a-f]{32}", caught.value.problem))
        assert caught.value.exit_code == 1
    # Of copies that are deleted, none takes the true one's place, and none is taken for what was named.
    client.delete_run(copy)
    with pytest.raises(ReproductionError, match="2 runs say that they are its load_baseline_model"):
        find_evaluation(store.run_id, store.settings)
    for run in client.search_runs([client.get_run(copy).info.experiment_id], f"tags.`mlflow.parentRunId` = '{copy}'"):
        client.delete_run(run.info.run_id)
    assert find_evaluation(store.run_id, store.settings).parent.run_id == store.run_id
    with pytest.raises(ReproductionError, match=rf"2 runs .*{store.run_id}, {copy}"):
        find_evaluation(copy, store.settings)


def test_a_step_of_another_run_is_refused(store: Store) -> None:
    edited = "UPDATE tags SET value = ? WHERE key = 'mlflow.parentRunId' AND run_uuid = ?"
    step = store.file("delta.json").parents[1].name
    assert store.execute(edited, "1" * 32, step) == 1
    with pytest.raises(ReproductionError, match=rf"{step}, lies below the run {'1' * 32}, expected {store.run_id}"):
        find_evaluation(store.run_id, store.settings)


def test_a_recorded_statement_with_another_claim_is_a_difference(store: Store) -> None:
    file = store.file("statement.json")
    statement = json.loads(file.read_bytes())
    claim = statement["predicate"]["claim"]
    claim["contributors"][0]["contributor"] = "0xATTACKER"
    claim["decision"]["outcome"] = "reject"
    statement["predicate"]["claim_sha256"] = sha256(canonical_json(claim))
    record_again(store, file, canonical_json(statement), run_id=file.parents[1].name)
    result = store.reproduce()
    assert result.verdict == "different"
    assert [(item.stage, item.subject, item.recorded, item.found) for item in result.differences] == [
        ("decision", "statement.json.decision.outcome", "reject", "accept"),
        ("decision", "statement.json.contributors.dream.contributor", "0xATTACKER", ""),
    ]
