"""Records that somebody made up who may write to the store: doing one again runs nothing and writes nowhere else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.reproduction.conftest import Store, record_again

from hokusai.digests import canonical_json
from hokusai.errors import ReproductionError
from hokusai.tracking.naming import OWN_CODE_TAG

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
