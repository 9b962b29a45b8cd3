"""The audit: clean after a real evaluation, and every edit made afterwards is found and named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hokusai.tracking.audit import audit_run
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.shipper import ship

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hokusai.testing.plugin import MlflowAddress


def test_an_evaluation_is_clean_until_it_is_edited(
    mlflow_store: MlflowAddress, record_evaluation: Callable[..., Path]
) -> None:
    folder = record_evaluation(mlflow_store.uri)
    settings, key = TrackingSettings(uri=mlflow_store.uri, journal=folder.parent), folder.name
    run_id = ship(folder, MlflowStore(mlflow_store.uri)).run_ids[key]
    assert audit_run(settings, key).differences == ()
    assert audit_run(settings, key, without_journal=True).differences == ()
    client = mlflow_store.client
    for edit, wanted in (
        (lambda: client.log_metric(run_id, "x", 1.0), ("metric", "added")),
        (lambda: client.set_tag(run_id, "hokusai.decision", "reject"), ("tag", "changed")),
        (lambda: client.log_param(run_id, "p", "1"), ("parameter", "added")),
        (lambda: client.update_run(run_id, name="other"), ("name", "changed")),
        (lambda: client.set_terminated(run_id, "FAILED", 5), ("end time", "changed")),
        (lambda: client.log_text(run_id, "x", "x.txt"), ("artifact", "added")),
        (lambda: client.delete_run(run_id), ("run", "deleted")),
    ):
        edit()
        found = {(item.kind, item.reason) for item in audit_run(settings, key).differences}
        assert wanted in found


@pytest.mark.parametrize("line", [3, -1])
def test_an_edited_line_of_the_journal_is_found(
    line: int, mlflow_store: MlflowAddress, record_evaluation: Callable[..., Path]
) -> None:
    folder = record_evaluation(mlflow_store.uri)
    ship(folder, MlflowStore(mlflow_store.uri))
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b'"time":1', b'"time":2')
    (folder / "journal.jsonl").write_bytes(b"".join(lines))
    report = audit_run(TrackingSettings(uri=mlflow_store.uri, journal=folder.parent), folder.name)
    wanted = "hokusai.journal_head" if line == -1 else folder.name
    assert wanted in {item.name for item in report.differences}
