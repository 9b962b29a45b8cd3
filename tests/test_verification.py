"""Statements of real evaluations, verified: what holds, and each way in which somebody might have changed something."""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import sqlite3
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import hokusai
from hokusai import pipeline
from hokusai.benchmark_reuse import split_benchmark
from hokusai.cli import display
from hokusai.config import load_config
from hokusai.datasets.reader_process import TableReader
from hokusai.datasets.tables import read_table
from hokusai.digests import canonical_json, sha256
from hokusai.errors import ConfigurationError, TrackingError, TrackingServerError
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.pipeline import evaluate_contribution
from hokusai.provenance.claims import ClaimedGuard, StatementOrigin, SubjectDigests, UnclaimedMetric
from hokusai.provenance.key_rotation import endorse
from hokusai.provenance.signing_keys import make_key, new_key, read_signing_key, read_verifying_key
from hokusai.provenance.statement import claim_sha256
from hokusai.provenance.statement_files import open_statement, statement_file
from hokusai.provenance.zk_output import public_inputs_hash
from hokusai.records import EvaluationIdentity
from hokusai.reproduction.reproduced_claim import check_by_reproduction
from hokusai.steps.delta_settings import DeltaSettings
from hokusai.steps.statement_output import StatementSource
from hokusai.testing.sample_data import penguins_config, penguins_folder
from hokusai.tracking.audit import audit_run
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_config import TrackingSettings, shipper_environment
from hokusai.tracking.naming import STEPS
from hokusai.tracking.operations import LogArtifact
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipper import DirectShipping
from hokusai.tracking.sqlite_store import create_sqlite_store
from hokusai.verification.verify import Evidence, verify_statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome

    from hokusai.provenance.claims import DeltaClaim, Statement
    from hokusai.records import DeltaReport
    from hokusai.testing.plugin import MlflowAddress
    from hokusai.verification.checks import StatementCheck, Verification

BASE, DREAM, BENCHMARK = (pd.read_csv(penguins_folder() / f"{name}.csv") for name in ("base", "dream", "benchmark"))
WORDS = "a long passphrase"
IN_STORE = ("run", "parameters", "metrics", "tags", "datasets", "artifacts", "models", "record")
OFFLINE = ("signature", "format", "claim", "delta.json", "zk output", "row scores", "deltas", "decision")


# --- a store with two evaluations ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Two evaluations that one key has signed, in one store."""

    folder: Path
    dream: DeltaReport
    torgersen: DeltaReport

    @property
    def public(self) -> Path:
        """The public key."""
        return self.folder / "hokusai.key.pub"

    def statement(self, report: DeltaReport | None = None) -> Path:
        """The statement of an evaluation, of Dream's by default."""
        found = (report or self.dream).statement
        assert found is not None
        assert found.file is not None
        return found.file

    def evidence(self, **more: Any) -> Evidence:
        """The key, and more."""
        return Evidence(**{"keys": [read_verifying_key(self.public)], **more})

    def opened(self, report: DeltaReport | None = None) -> Statement:
        """The statement of an evaluation, opened."""
        return open_statement(self.statement(report).read_bytes(), keys=self.evidence().keys).statement

    @property
    def claim(self) -> DeltaClaim:
        """What is claimed of Dream."""
        return self.opened().predicate.claim

    def row_scores(self, report: DeltaReport | None = None) -> Path:
        """The row scores of an evaluation, among its journal's files."""
        digest = self.opened(report).predicate.claim.row_scores_sha256
        return self.statement(report).parent / "artifacts" / digest


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "passphrase.txt").write_text(f"{WORDS}\n", encoding="utf-8")
    (folder / "passphrase.txt").chmod(0o600)
    new_key(folder / "hokusai.key", passphrase=WORDS)
    create_sqlite_store(folder / "mlflow.db")
    tracking = TrackingSettings(uri=f"sqlite:///{folder / 'mlflow.db'}", journal=folder / "journals")
    shipping = DirectShipping(MlflowStore(tracking.uri))
    reports = []
    with TableReader() as reader:
        for name in ("dream", "torgersen"):
            config = penguins_config(name, tracking)
            delta = dataclasses.replace(
                config.delta,
                signing_key_file=folder / "hokusai.key",
                signing_passphrase_file=folder / "passphrase.txt",
            )
            config = dataclasses.replace(config, delta=delta)
            reports.append(pipeline.run(config, shipping=shipping, reader=reader))
    return Evaluated(folder, *reports)


class StoreCopy:
    """A copy of the store and its artifacts, to be tampered with."""

    def __init__(self, original: Path, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(original / "mlartifacts", folder / "mlartifacts")
        with sqlite3.connect(original / "mlflow.db") as source, sqlite3.connect(folder / "mlflow.db") as target:
            source.backup(target)
        moved = (str(original), str(folder))
        self.edit("UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)", *moved)
        self.edit("UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)", *moved)
        self.edit("UPDATE logged_models SET artifact_location = replace(artifact_location, ?, ?)", *moved)
        self.edit("UPDATE model_versions SET storage_location = replace(storage_location, ?, ?)", *moved)

    @property
    def settings(self) -> TrackingSettings:
        """The copy, with no journal."""
        return TrackingSettings(uri=f"sqlite:///{self.folder / 'mlflow.db'}", journal=self.folder / "no-journals")

    def edit(self, sql: str, *values: object) -> None:
        """Change what the tables hold."""
        with sqlite3.connect(self.folder / "mlflow.db") as connection:
            changed = connection.execute(sql, values).rowcount
        assert changed > 0

    def _values(self, sql: str, *values: object) -> list[str]:
        with sqlite3.connect(self.folder / "mlflow.db") as connection:
            return [value for (value,) in connection.execute(sql, values)]

    def run_id(self, key: str) -> str:
        """Return the id of the run with a key."""
        (found,) = self._values("SELECT run_uuid FROM tags WHERE key = 'hokusai.run_key' AND value = ?", key)
        return found

    def artifacts_of(self, run: str) -> Path:
        """Return the folder of a run's artifacts."""
        (place,) = self._values("SELECT artifact_uri FROM runs WHERE run_uuid = ?", run)
        return Path(place.removeprefix("file://"))

    def edit_artifact(self, evaluation: str, name: str, content: bytes) -> None:
        """Change an artifact of an evaluation, or a file of its model."""
        runs = self._values("SELECT run_uuid FROM tags WHERE key = 'hokusai.evaluation' AND value = ?", evaluation)
        places = [
            place
            for run in runs
            for place in (
                *self._values("SELECT artifact_uri FROM runs WHERE run_uuid = ?", run),
                *self._values("SELECT artifact_location FROM logged_models WHERE source_run_id = ?", run),
            )
        ]
        (file,) = [file for place in places if (file := Path(place.removeprefix("file://")) / name).is_file()]
        file.write_bytes(content)


@pytest.fixture
def copied(evaluated: Evaluated, tmp_path: Path) -> StoreCopy:
    return StoreCopy(evaluated.folder, tmp_path)


@pytest.fixture
def alone(evaluated: Evaluated, tmp_path: Path) -> Path:
    """The statement in a folder of its own."""
    folder = tmp_path / "alone"
    folder.mkdir()
    return Path(shutil.copy(evaluated.statement(), folder))


def states(verification: Verification) -> dict[str, str]:
    """Return what came out of every check; of files, of each."""
    return {f"{check.name} {check.subject}".strip(): check.state for check in verification.checks}


def failures(verification: Verification) -> dict[str, str]:
    """Return the checks that failed, with the reason."""
    return {check.name: check.reason for check in verification.checks if check.state == "failed"}


def check_of(verification: Verification, name: str) -> StatementCheck:
    """Return a check."""
    (found,) = (check for check in verification.checks if check.name == name)
    return found


# --- what holds ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("offline")
def test_a_signed_statement_is_verified_from_the_files_beside_it(evaluated: Evaluated) -> None:
    data = penguins_folder()
    files = {"base": data / "base.csv", "contribution/dream": data / "dream.csv", "benchmark": data / "benchmark.csv"}
    found = verify_statement(evaluated.statement(), evaluated.evidence(files=files))
    named = ("file datasets/base/base", "file datasets/contribution/dream", "file datasets/benchmark/benchmark")
    assert states(found) == dict.fromkeys((*OFFLINE, *named, "journal"), "ok") | {"run": "not done"}
    assert (found.ok, found.verdict) == (True, "holds")
    assert found.evaluation == evaluated.dream.identity.evaluation
    assert found.signers == (read_verifying_key(evaluated.public).key_id,)
    assert evaluated.dream.statement is not None
    assert found.claim_sha256 == evaluated.dream.statement.claim_sha256
    assert "9 deltas" in check_of(found, "deltas").detail
    assert "accept" in check_of(found, "decision").detail


def test_with_its_journal_the_whole_record_in_the_store_is_compared(evaluated: Evaluated) -> None:
    store = TrackingSettings(uri=f"sqlite:///{evaluated.folder / 'mlflow.db'}", journal=evaluated.folder / "elsewhere")
    found = verify_statement(evaluated.statement(), evaluated.evidence(store=store))
    assert states(found) == dict.fromkeys((*OFFLINE, "journal", *IN_STORE), "ok"), found
    assert "compared with the journal" in check_of(found, "metrics").detail


def test_far_from_its_folder_report_and_row_scores_come_from_the_store(copied: StoreCopy, alone: Path) -> None:
    found = verify_statement(alone, Evidence(store=copied.settings))
    expected = dict.fromkeys((*OFFLINE, *IN_STORE), "ok") | {"signature": "not done", "datasets": "not done"}
    assert states(found) == expected, found
    assert found.verdict == "not checked"
    assert "of the run" in check_of(found, "row scores").detail


def test_without_anything_at_hand_it_says_what_was_not_checked(evaluated: Evaluated, alone: Path) -> None:
    found = verify_statement(alone, evaluated.evidence())
    assert {check.name: check.reason for check in found.checks if check.state == "not done"} == {
        "delta.json": "not at hand",
        "row scores": "not at hand",
        "deltas": "not at hand",
        "decision": "not at hand",
        "run": "no store",
    }
    assert found.verdict == "holds"


def test_a_table_in_another_format_is_known_by_its_content(evaluated: Evaluated, tmp_path: Path) -> None:
    pq.write_table(read_table(penguins_folder() / "dream.csv").table, tmp_path / "dream.parquet")
    files = {"dream": tmp_path / "dream.parquet"}
    found = verify_statement(evaluated.statement(), evaluated.evidence(files=files))
    assert "the content that is claimed" in check_of(found, "file").detail


def test_an_endorsed_key_is_trusted_like_the_one_that_endorses_it(evaluated: Evaluated) -> None:
    first = make_key()
    signer = read_verifying_key(evaluated.public)
    endorsement = endorse(signer, by=first)
    found = verify_statement(evaluated.statement(), Evidence(keys=[first.public], endorsements=[endorsement]))
    assert (found.verdict, found.signers) == ("holds", (signer.key_id,))
    stranger = endorse(signer, by=make_key())
    found = verify_statement(evaluated.statement(), Evidence(keys=[first.public], endorsements=[stranger]))
    assert failures(found) == {"signature": "endorsement"}


def test_of_several_endorsements_the_bad_one_is_named(evaluated: Evaluated) -> None:
    first, second = make_key(), make_key()
    endorsements = [endorse(second.public, by=first), b"hello"]
    found = verify_statement(evaluated.statement(), Evidence(keys=[first.public], endorsements=endorsements))
    assert failures(found) == {"signature": "endorsement"}
    assert "endorsement 2: refused (not JSON)" in check_of(found, "signature").detail


def test_of_two_evaluations_in_one_folder_each_finds_its_own_report(evaluated: Evaluated, tmp_path: Path) -> None:
    for report, name, statement in (
        (evaluated.dream, "delta.json", "statement.json"),
        (evaluated.torgersen, "second.json", "second.statement.json"),
    ):
        shutil.copy(report.identity.delta_file, tmp_path / name)
        shutil.copy(evaluated.statement(report), tmp_path / statement)
    for statement, name in (("statement.json", "delta.json"), ("second.statement.json", "second.json")):
        found = verify_statement(tmp_path / statement, evaluated.evidence())
        assert (found.ok, check_of(found, "delta.json").state) == (True, "ok"), found
        assert str(tmp_path / name) in check_of(found, "delta.json").detail


# --- signatures ------------------------------------------------------------------------------------------------------


def test_an_unsigned_statement_says_so_and_is_refused_where_a_key_is_asked_for(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    file = tmp_path / "statement.json"
    file.write_bytes(statement_file(evaluated.opened()))
    found = verify_statement(file)
    assert (found.ok, found.verdict, found.signers) == (True, "not signed", ())
    found = verify_statement(file, evaluated.evidence())
    assert failures(found) == {"signature": "not signed"}
    assert found.verdict == "does not hold"


def test_another_key_has_not_signed_it_and_the_rest_is_checked_all_the_same(evaluated: Evaluated) -> None:
    found = verify_statement(evaluated.statement(), Evidence(keys=[make_key().public]))
    assert failures(found) == {"signature": "unknown key"}
    assert found.signers == ()
    assert check_of(found, "decision").state == "ok"


def test_a_signature_of_something_else_is_wrong(evaluated: Evaluated, tmp_path: Path) -> None:
    own, other = (json.loads(evaluated.statement(each).read_bytes()) for each in (evaluated.dream, evaluated.torgersen))
    file = tmp_path / "statement.json"
    file.write_text(json.dumps(own | {"payload": other["payload"]}), encoding="utf-8")
    assert failures(verify_statement(file, evaluated.evidence())) == {"signature": "wrong signature"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"{", "truncated"), (b'{"_type": "other"}', "statement type"), (b"[]", "wrong type")],
)
def test_what_is_no_statement_fails_by_its_format(
    content: bytes, reason: str, tmp_path: Path, evaluated: Evaluated
) -> None:
    file = tmp_path / "statement.json"
    file.write_bytes(content)
    found = verify_statement(file, evaluated.evidence())
    assert failures(found)["format"] == reason
    assert (found.evaluation, found.claim_sha256) == ("", "")


# --- files that are others -------------------------------------------------------------------------------------------


def test_the_statement_of_another_evaluation_fits_none_of_the_files(evaluated: Evaluated, tmp_path: Path) -> None:
    for name in ("delta.json", "journal.jsonl"):
        shutil.copy(evaluated.statement().with_name(name), tmp_path)
    replayed = Path(shutil.copy(evaluated.statement(evaluated.torgersen), tmp_path))
    expected = evaluated.dream.identity.evaluation
    found = verify_statement(
        replayed, evaluated.evidence(evaluation=expected, row_scores=evaluated.row_scores(evaluated.dream))
    )
    assert failures(found) == {
        "evaluation": "another evaluation",
        "delta.json": "another file",
        "row scores": "another file",
        "journal": "another journal",
    }
    assert check_of(found, "signature").state == "ok"
    assert expected in check_of(found, "evaluation").detail


def test_an_edited_report_is_found(evaluated: Evaluated, tmp_path: Path) -> None:
    file = tmp_path / "delta.json"
    content = evaluated.dream.identity.delta_file.read_bytes()
    file.write_bytes(content.replace(b'"outcome": "accept"', b'"outcome": "reject"'))
    found = verify_statement(evaluated.statement(), evaluated.evidence(delta=file))
    assert failures(found) == {"delta.json": "another file"}
    assert sha256(content) in check_of(found, "delta.json").detail


def test_swapped_row_scores_are_found_and_nothing_is_computed_from_them(evaluated: Evaluated) -> None:
    other = evaluated.row_scores(evaluated.torgersen)
    found = verify_statement(evaluated.statement(), evaluated.evidence(row_scores=other))
    assert failures(found) == {"row scores": "another file"}
    assert {check_of(found, name).reason for name in ("deltas", "decision")} == {"another file"}


def test_another_table_is_found(evaluated: Evaluated, tmp_path: Path) -> None:
    edited = DREAM.assign(body_mass_g=DREAM["body_mass_g"] + (DREAM.index == 7))
    edited.to_csv(tmp_path / "dream.csv", index=False)
    (tmp_path / "model.skops").write_bytes(b"another")
    files = {"dream": tmp_path / "dream.csv", "model": tmp_path / "model.skops", "base": tmp_path / "model.skops"}
    found = verify_statement(evaluated.statement(), evaluated.evidence(files=files))
    assert [check.reason for check in found.checks if check.name == "file"] == ["another file"] * 3


def test_a_file_that_is_not_there_or_that_no_subject_is_called_is_the_callers_mistake(evaluated: Evaluated) -> None:
    for files, said in (
        ({"penguins": Path("base.csv")}, "no subject has the name 'penguins'; they are model, row_scores.parquet"),
        ({"base": Path("nowhere.csv")}, "nowhere.csv: no such file"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            verify_statement(evaluated.statement(), Evidence(files=files))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        verify_statement(evaluated.statement().with_name("none.json"))


def test_a_journal_with_an_edited_line_is_damaged(evaluated: Evaluated, alone: Path) -> None:
    lines = evaluated.statement().with_name("journal.jsonl").read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"time":1', b'"time":2', 1)
    alone.with_name("journal.jsonl").write_bytes(b"".join(lines))
    assert failures(verify_statement(alone, evaluated.evidence())) == {"journal": "damaged"}


def journal_copy(evaluated: Evaluated, folder: Path) -> Path:
    """Copy the journal with its files into a folder."""
    own = evaluated.statement().parent
    shutil.copytree(own / "artifacts", folder / "artifacts")
    return Path(shutil.copy(own / "journal.jsonl", folder))


def test_a_statement_signed_by_another_key_is_still_the_one_of_its_journal(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    journal_copy(evaluated, tmp_path)
    (tmp_path / "statement.json").write_bytes(statement_file(evaluated.opened(), keys=[make_key()]))
    assert check_of(verify_statement(tmp_path / "statement.json"), "journal").state == "ok"
    (tmp_path / "artifacts" / sha256(evaluated.statement().read_bytes())).unlink()
    assert failures(verify_statement(tmp_path / "statement.json")) == {"journal": "another statement"}


def test_a_journal_that_goes_on_otherwise_than_the_verifiers_own_is_found(evaluated: Evaluated, alone: Path) -> None:
    journal = journal_copy(evaluated, alone.parent)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[-1] = lines[-1].replace(b'"time":1', b'"time":2', 1)
    journal.write_bytes(b"".join(lines))
    store = TrackingSettings(uri=f"sqlite:///{evaluated.folder / 'mlflow.db'}", journal=evaluated.folder / "journals")
    found = verify_statement(alone, evaluated.evidence(store=store))
    assert failures(found) == {"journal": "several journals"}
    # The record was compared with the own one, and nothing is wrong with it.
    assert "compared with the journal" in check_of(found, "record").detail
    shutil.copy(evaluated.statement().with_name("journal.jsonl"), alone.parent)
    assert verify_statement(alone, evaluated.evidence(store=store)).ok


# --- what was edited in MLflow ---------------------------------------------------------------------------------------


STEP_4, STEP_5 = ":evaluate_on_benchmark", ":compare_and_output_delta"


def test_every_edit_is_found_and_named_without_a_journal(evaluated: Evaluated, copied: StoreCopy, alone: Path) -> None:
    evaluation = evaluated.dream.identity.evaluation
    for sql, step in (
        ("UPDATE latest_metrics SET value = 0.5 WHERE key = 'delta.accuracy' AND run_uuid = ?", ""),
        ("DELETE FROM latest_metrics WHERE key = 'delta.f1.upper' AND run_uuid = ?", STEP_5),
        ("UPDATE params SET value = '0.1' WHERE key = 'delta.minimum_gain' AND run_uuid = ?", STEP_5),
        # No statement names it: the digest on the run does not fit any more.
        ("UPDATE params SET value = 'micro' WHERE key = 'evaluation.average' AND run_uuid = ?", STEP_4),
        ("UPDATE tags SET value = 'reject' WHERE key = 'hokusai.decision' AND run_uuid = ?", ""),
        ("DELETE FROM tags WHERE key = 'hokusai.dataset.base' AND run_uuid = ?", ""),
    ):
        copied.edit(sql, copied.run_id(evaluation + step))
    copied.edit("UPDATE model_version_tags SET value = '[1]' WHERE key = 'hokusai.seeds' AND version = 1")
    found = verify_statement(alone, evaluated.evidence(store=copied.settings))
    assert failures(found) == dict.fromkeys(("parameters", "metrics", "tags", "models"), "changed"), found
    parent, last = evaluated.dream.tracking.runs[0].name, "compare_and_output_delta"  # type: ignore[union-attr]
    base = evaluated.dream.datasets[0].digest
    upper = next(each.gain_upper for each in evaluated.claim.deltas if each.metric == "f1")
    findings = {name: check_of(found, name).findings for name in ("parameters", "metrics", "tags", "models")}
    assert findings == {
        "parameters": (
            f"changed: {last}: parameter delta.minimum_gain: claimed 0.000000000000, found 0.1",
            f"changed: {last}: parameter delta.minimum_gain: recorded 0, found 0.1",
            "changed: evaluate_on_benchmark: parameter evaluation.average: recorded macro, found micro",
        ),
        "metrics": (
            f"changed: {parent}: metric delta.accuracy: claimed 0.201680672269, found 0.5",
            f"missing: {last}: metric delta.f1.upper: claimed {upper:f}",
        ),
        "tags": (
            f"changed: {parent}: tag hokusai.decision: claimed accept, found reject",
            f"missing: {parent}: tag hokusai.dataset.base: claimed {base}",
        ),
        "models": ("changed: hokusai-penguins 1: tag hokusai.seeds: claimed [0], found [1]",),
    }


def test_every_edited_file_in_the_store_is_found_and_named(
    evaluated: Evaluated, copied: StoreCopy, alone: Path
) -> None:
    names = ("delta.json", "row_scores.parquet", "decision_rule.json", "environment.json", "model.skops")
    for name in names:
        copied.edit_artifact(evaluated.dream.identity.evaluation, name, b"other")
    copied.edit_artifact(
        evaluated.dream.identity.evaluation,
        "statement.json",
        evaluated.statement(evaluated.torgersen).read_bytes(),
    )
    found = verify_statement(alone, evaluated.evidence(store=copied.settings))
    changed = {"artifacts": "changed", "models": "changed"}
    assert failures(found) == {"delta.json": "another file", "row scores": "another file"} | changed, found
    claimed = [finding for finding in check_of(found, "artifacts").findings if "recorded" not in finding]
    assert [finding.split(": ")[2] for finding in claimed] == [
        "delta.json",
        "statement.json",
        "row_scores.parquet",
        "decision_rule.json",
        "environment.json",
    ]
    assert "the run has another statement than this one" in claimed[1]
    claimed_model = f"model.skops: claimed {evaluated.claim.model_sha256}, found {sha256(b'other')}"
    assert f"changed: hokusai-penguins 1: {claimed_model}" in check_of(found, "models").findings


def test_the_original_beside_a_swapped_model_does_not_save_it(
    evaluated: Evaluated, copied: StoreCopy, alone: Path
) -> None:
    evaluation, claimed = evaluated.dream.identity.evaluation, evaluated.claim.model_sha256
    (original,) = [
        file for file in copied.folder.glob("mlartifacts/**/model.skops") if sha256(file.read_bytes()) == claimed
    ]
    shutil.copy(original, original.with_name("old.skops"))
    copied.edit_artifact(evaluation, "model.skops", b"other")
    found = verify_statement(alone, evaluated.evidence(store=copied.settings))
    findings = check_of(found, "models").findings
    assert f"changed: hokusai-penguins 1: model.skops: claimed {claimed}, found {sha256(b'other')}" in findings
    assert f"changed: hokusai-penguins 1: old.skops: claimed no such file, found {claimed}" in findings
    # A list of the folder's files that was made to fit hides the added one, and not what would be loaded.
    (original.parent / "hokusai-manifest.json").unlink()
    found = verify_statement(alone, evaluated.evidence(store=copied.settings))
    assert any("model.skops: claimed" in finding for finding in check_of(found, "models").findings)


@pytest.mark.parametrize(
    ("sql", "step", "reason"),
    [
        ("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", ":load_baseline_model", "missing"),
        ("UPDATE runs SET status = 'FAILED' WHERE run_uuid = ?", "", "not finished"),
        ("UPDATE tags SET value = 'a' WHERE key = 'hokusai.step' AND run_uuid = ?", STEP_4, "changed"),
        ("UPDATE tags SET value = 'a' WHERE key = 'hokusai.run_key' AND run_uuid = ?", STEP_4, "changed"),
        ("UPDATE tags SET value = 'a' WHERE key = 'mlflow.parentRunId' AND run_uuid = ?", STEP_4, "changed"),
    ],
)
def test_a_run_that_is_gone_or_another_or_has_failed_is_found(
    evaluated: Evaluated, copied: StoreCopy, alone: Path, sql: str, step: str, reason: str
) -> None:
    copied.edit(sql, copied.run_id(evaluated.dream.identity.evaluation + step))
    found = verify_statement(alone, evaluated.evidence(store=copied.settings))
    assert failures(found)["run"] == reason, found


@pytest.mark.parametrize("kept", ["hokusai.step", "hokusai.run_key"])
def test_a_copied_run_of_a_step_is_found(evaluated: Evaluated, copied: StoreCopy, alone: Path, kept: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(str(copied.settings.uri))
    run = client.get_run(copied.run_id(evaluated.dream.identity.evaluation + STEP_5))
    tags = {name: value for name, value in run.data.tags.items() if name not in {"hokusai.step", "hokusai.run_key"}}
    copy = client.create_run(run.info.experiment_id, tags={**tags, kept: run.data.tags[kept]})
    found = verify_statement(alone, evaluated.evidence(store=copied.settings))
    assert failures(found)["run"] == "doubled", found
    (finding,) = check_of(found, "run").findings
    assert run.info.run_id in finding
    assert copy.info.run_id in finding
    # A shipper that has made a run twice deletes one of them.
    client.delete_run(copy.info.run_id)
    assert check_of(verify_statement(alone, evaluated.evidence(store=copied.settings)), "run").state == "ok"


def test_what_no_digest_covers_is_found_with_the_journal(evaluated: Evaluated, copied: StoreCopy, alone: Path) -> None:
    evaluation = evaluated.dream.identity.evaluation
    key = f"{evaluation}:integrate_contributed_data"
    run = copied.run_id(key)
    copied.edit("UPDATE latest_metrics SET value = 1 WHERE key = 'data.base.rows_kept' AND run_uuid = ?", run)
    copied.edit("UPDATE metrics SET value = 1 WHERE key = 'data.base.rows_kept' AND run_uuid = ?", run)
    store = copied.settings
    assert verify_statement(alone, evaluated.evidence(store=store)).ok
    with_journal = dataclasses.replace(store, journal=evaluated.folder / "journals")
    found = verify_statement(alone, evaluated.evidence(store=with_journal))
    assert set(failures(found)) == {"metrics"}, found
    assert check_of(found, "journal").state == "ok"


@pytest.mark.parametrize("step", [*STEPS, ""])
def test_a_parameter_that_was_edited_with_every_digest_of_it_in_mlflow_is_found_without_a_journal(
    evaluated: Evaluated, copied: StoreCopy, alone: Path, step: str
) -> None:
    evaluation = evaluated.dream.identity.evaluation
    run = copied.run_id(f"{evaluation}:{step}" if step else evaluation)
    folder = copied.artifacts_of(run)
    document = json.loads((folder / "parameters.json").read_bytes())
    name = next(name for name, value in document.items() if isinstance(value, str))
    document[name] = "edited"
    recorded = sha256((folder / "parameters.json").read_bytes())
    forged = canonical_json(document)
    (folder / "parameters.json").write_bytes(forged)
    manifest = (folder / "manifest.json").read_bytes()
    listed = json.loads(manifest)
    for item in listed["artifacts"]:
        if item["path"] == "parameters.json":
            item["sha256"], item["size"] = sha256(forged), len(forged)
    (folder / "manifest.json").write_bytes(canonical_json(listed))
    for key, value in (
        ("hokusai.parameters_digest", sha256(forged)),
        ("hokusai.manifest_digest", sha256(canonical_json(listed))),
    ):
        copied.edit("UPDATE tags SET value = ? WHERE key = ? AND run_uuid = ?", value, key, run)
    copied.edit("UPDATE params SET value = 'edited' WHERE key = ? AND run_uuid = ?", name, run)
    # Nothing that MLflow holds contradicts anything else there.
    assert audit_run(copied.settings, evaluation, without_journal=True).ok
    found = verify_statement(alone, evaluated.evidence(store=copied.settings))
    expected = f"changed: {step or 'the parent'}: parameters.json: claimed {recorded}, found {sha256(forged)}"
    assert failures(found) == {"parameters": "changed"}, found
    assert expected in check_of(found, "parameters").findings


def test_an_evaluation_that_is_gone_or_there_twice_is_found(
    evaluated: Evaluated, copied: StoreCopy, alone: Path
) -> None:
    own, other = (report.identity.evaluation for report in (evaluated.dream, evaluated.torgersen))
    copied.edit("UPDATE tags SET value = ? WHERE key LIKE 'hokusai.%' AND value = ?", own, other)
    found = verify_statement(alone, evaluated.evidence(store=copied.settings))
    assert failures(found) == {"run": "doubled"}
    copied.edit("UPDATE runs SET lifecycle_stage = 'deleted'")
    found = verify_statement(alone, evaluated.evidence(store=copied.settings))
    assert failures(found) == {"run": "missing"}


def test_a_named_store_that_does_not_answer_is_an_error_and_no_result(
    evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    store = TrackingSettings(uri=f"http://127.0.0.1:{port}", journal=evaluated.folder / "journals")
    # As every command does it; MLflow alone tries again for minutes.
    for name, value in shipper_environment(store).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrackingServerError, match="cannot be reached"):
        verify_statement(evaluated.statement(), evaluated.evidence(store=store))


@pytest.mark.parametrize("quoted", ["x' OR tags.`a` = 'b", 'x" OR tags.`a` != "b', "'\" OR tags.`a` != '\""])
def test_a_quote_in_what_is_searched_for_changes_no_search(copied: StoreCopy, quoted: str) -> None:
    from hokusai.tracking.mlflow_reader import MlflowReader

    store = MlflowReader(str(copied.settings.uri))
    assert store.runs_of(quoted, known_ids=()) == ()
    assert store.versions_of("0" * 32, keys=[("hokusai.evaluation", quoted)]) == ()


def test_a_store_that_is_not_there_is_the_callers_mistake(evaluated: Evaluated, tmp_path: Path) -> None:
    store = TrackingSettings(uri=f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(TrackingError, match="no tracking store here"):
        verify_statement(evaluated.statement(), evaluated.evidence(store=store))
    assert list(tmp_path.iterdir()) == []


# --- a signer who lies -----------------------------------------------------------------------------------------------


class Forgery:
    """Statements of the same evaluation that say something else, signed by the same key."""

    def __init__(self, evaluated: Evaluated, folder: Path) -> None:
        key = read_signing_key(evaluated.folder / "hokusai.key", passphrase=WORDS)
        self._key, self._folder, self._evaluated = key, folder, evaluated
        self.statement = evaluated.opened()

    @property
    def claim(self) -> DeltaClaim:
        """What is really claimed."""
        return self.statement.predicate.claim

    def verify(self, claim: DeltaClaim, **changes: Any) -> Verification:
        """Verify a statement with another claim, and with what else is changed in it."""
        predicate = dataclasses.replace(
            self.statement.predicate, claim=claim, claim_sha256=claim_sha256(claim), **changes
        )
        return self.verify_statement(dataclasses.replace(self.statement, predicate=predicate))

    def verify_statement(self, statement: Statement) -> Verification:
        """Verify a statement, signed."""
        file = self._folder / "statement.json"
        file.write_bytes(statement_file(statement, keys=[self._key]))
        return verify_statement(file, self._evaluated.evidence(row_scores=self._evaluated.row_scores()))

    @property
    def delta(self) -> bytes:
        """The report."""
        return self._evaluated.dream.identity.delta_file.read_bytes()

    def with_delta(self, **changes: Any) -> DeltaClaim:
        """Return the claim with another first delta."""
        first, *rest = self.claim.deltas
        return dataclasses.replace(self.claim, deltas=(dataclasses.replace(first, **changes), *rest))

    def with_decision(self, **changes: Any) -> DeltaClaim:
        """Return the claim with another decision."""
        return dataclasses.replace(self.claim, decision=dataclasses.replace(self.claim.decision, **changes))

    def with_contributor(self, **changes: Any) -> DeltaClaim:
        """Return the claim with another contributor."""
        (only,) = self.claim.contributors
        return dataclasses.replace(self.claim, contributors=(dataclasses.replace(only, **changes),))


@pytest.fixture
def forgery(evaluated: Evaluated, tmp_path: Path) -> Forgery:
    return Forgery(evaluated, tmp_path)


def test_better_numbers_that_fit_together_do_not_follow_from_the_row_scores(forgery: Forgery) -> None:
    first = forgery.claim.deltas[0]
    more = Decimal("0.01")
    assert (first.metric, first.higher_is_better) == ("accuracy", True)
    found = forgery.verify(
        forgery.with_delta(baseline=first.baseline - more, gain=first.gain + more, gain_upper=Decimal("0.400000000000"))
    )
    assert failures(found) == {"deltas": "not what follows"}
    named = " ".join(check_of(found, "deltas").findings)
    assert "accuracy of the control: baseline is claimed as 0.788" in named
    assert "gain_upper is claimed as 0.400000000000, and is 0.27" in named


@pytest.mark.parametrize("field", ["confidence", "standard_error", "degrees_of_freedom", "p_value"])
def test_no_number_of_a_delta_may_be_another_one(forgery: Forgery, field: str) -> None:
    value = getattr(forgery.claim.deltas[0], field)
    found = forgery.verify(forgery.with_delta(**{field: value + Decimal("0.000001000000")}))
    assert set(failures(found)) == {"deltas"}


def test_the_last_digits_may_differ_as_processors_do(forgery: Forgery) -> None:
    error = forgery.claim.deltas[0].standard_error
    assert error is not None
    assert forgery.verify(forgery.with_delta(standard_error=error + Decimal("1e-12"))).ok


@pytest.mark.parametrize("key", ["x' OR tags.`a` = 'b", "../elsewhere", ".hidden", "", "e\n"])
def test_a_key_that_would_be_a_filter_or_a_path_is_refused(forgery: Forgery, key: str) -> None:
    record = dataclasses.replace(forgery.statement.predicate.record, evaluation=key)
    assert failures(forgery.verify(forgery.claim, record=record)) == {"format": "wrong value"}


def test_a_statement_with_one_other_field_is_not_the_one_of_its_journal(
    evaluated: Evaluated, forgery: Forgery, tmp_path: Path
) -> None:
    journal_copy(evaluated, tmp_path)
    assert forgery.verify(forgery.claim).ok
    found = forgery.verify(forgery.with_contributor(contributor="somebody else"))
    assert failures(found) == {"journal": "another statement"}


def test_a_file_of_the_claimed_bytes_whose_content_is_another_is_not_called_the_table(
    evaluated: Evaluated, forgery: Forgery, tmp_path: Path
) -> None:
    evil = tmp_path / "evil.csv"
    DREAM.to_csv(evil, index=False)
    named, digest = "datasets/base/base", sha256(evil.read_bytes())
    subjects = tuple(
        dataclasses.replace(each, digest=dataclasses.replace(each.digest, sha256=digest))
        if each.name == named
        else each
        for each in forgery.statement.subject
    )
    forgery.verify_statement(dataclasses.replace(forgery.statement, subject=subjects))
    found = verify_statement(tmp_path / "statement.json", evaluated.evidence(files={"base": evil}))
    check = check_of(found, "file")
    assert (check.state, check.reason) == ("not done", "content not checked")
    honest = verify_statement(evaluated.statement(), evaluated.evidence(files={"base": penguins_folder() / "base.csv"}))
    assert "the bytes and the content that are claimed" in check_of(honest, "file").detail


def test_a_metric_that_is_left_out_or_called_undefined_is_found(forgery: Forgery) -> None:
    claim = forgery.claim
    fewer = dataclasses.replace(claim, deltas=claim.deltas[:-1])
    gone = UnclaimedMetric(metric=claim.deltas[-1].metric, arm="candidate")
    found = forgery.verify(dataclasses.replace(fewer, undefined=(*claim.undefined, gone)))
    assert set(failures(found)) == {"deltas"}
    assert claim.undefined == (UnclaimedMetric(metric="log_loss", arm="control"),)
    both = (*claim.undefined, UnclaimedMetric(metric="log_loss", arm="candidate"))
    found = forgery.verify(dataclasses.replace(claim, undefined=both))
    assert check_of(found, "deltas").findings == (
        "log_loss of the candidate: whether it has a value is claimed wrongly",
    )


def test_a_report_that_says_something_else_than_its_own_statement_is_found(forgery: Forgery, tmp_path: Path) -> None:
    document = json.loads(forgery.delta)
    document["deltas"][0]["gain_upper"] = 0.5
    document["undefined"] = []
    document["answer_step"] = 0.01
    document["deltas"][1] |= {"role": "guard", "unit": "label unit", "higher_is_better": False, "gain": 0.5}
    document["decision"] |= {
        "outcome": "reject",
        "number": 1,
        "rule_sha256": "00" * 32,
        "minimum_gain": 0.1,
        "confidence": 0.9,
        "is_exploratory": False,
        "guards": [{"metric": "f1", "margin": 0.1, "verdict": "kept"}],
    }
    content = json.dumps(document).encode()
    (tmp_path / "delta.json").write_bytes(content)
    subjects = tuple(
        dataclasses.replace(each, digest=SubjectDigests(sha256=sha256(content))) if each.name == "delta.json" else each
        for each in forgery.statement.subject
    )
    found = forgery.verify_statement(dataclasses.replace(forgery.statement, subject=subjects))
    assert failures(found) == {"delta.json": "contradiction"}
    named = check_of(found, "delta.json").findings
    assert [finding.split(" is ")[0] for finding in named[-5:]] == [
        "accuracy of the control: gain_upper",
        *(f"balanced_accuracy of the control: {name}" for name in ("unit", "higher_is_better", "role", "gain")),
    ]
    assert sorted(finding.split(": ")[0] for finding in named[:-5]) == [
        "confidence",
        "decision number",
        "guards",
        "is_exploratory",
        "minimum_gain",
        "outcome",
        "rounding",
        "rule",
        "undefined",
    ]
    (tmp_path / "delta.json").write_bytes(b"[]")
    subjects = tuple(
        dataclasses.replace(each, digest=SubjectDigests(sha256=sha256(b"[]"))) if each.name == "delta.json" else each
        for each in forgery.statement.subject
    )
    found = forgery.verify_statement(dataclasses.replace(forgery.statement, subject=subjects))
    assert "is no report" in check_of(found, "delta.json").detail


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda it: it["delta_computation"].update(delta_one_score=0.99), "delta_computation.delta_one_score"),
        (lambda it: it["contributors"][0].update(wallet_address="0x" + "0" * 40), "contributors[0].wallet_address"),
        (lambda it: it["contributors"][0].update(weight=0.5), "contributors[0].weight"),
        (lambda it: it["metadata"].update(pipeline_run_id="another"), "metadata.pipeline_run_id"),
        (lambda it: it["attestation"].update(hash_tree_root="00" * 32), "attestation.hash_tree_root"),
        (lambda it: it["models"]["new"].update(model_hash="00" * 32), "models.new.model_hash"),
        (lambda it: it.update(more=True), "more"),
    ],
)
def test_a_document_for_token_tools_that_says_something_else_is_found(
    evaluated: Evaluated, alone: Path, change: Callable[[dict[str, Any]], None], where: str
) -> None:
    report = evaluated.dream.statement
    assert report is not None
    assert report.zk_output is not None
    shutil.copy(evaluated.dream.identity.delta_file, alone.parent)
    document = json.loads(report.zk_output.read_bytes())
    change(document)
    inputs = {name: value for name, value in document.items() if name != "attestation"}
    document["attestation"]["public_inputs_hash"] = public_inputs_hash(inputs)
    file = alone.with_name(report.zk_output.name)
    file.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")), encoding="utf-8")
    found = verify_statement(alone, evaluated.evidence())
    assert failures(found) == {"zk output": "contradiction"}
    assert any(finding.startswith(f"{where}: it is") for finding in check_of(found, "zk output").findings)


@pytest.mark.parametrize("content", [b"{}", b"[", b"[]", b'{"contributors": 1, "models": {"baseline": 1, "new": 1}}'])
def test_what_is_no_document_for_token_tools_fails_by_its_name(
    evaluated: Evaluated, alone: Path, content: bytes
) -> None:
    report = evaluated.dream.statement
    assert report is not None
    assert report.zk_output is not None
    file = alone.with_name(report.zk_output.name)
    file.write_bytes(content)
    found = verify_statement(alone, evaluated.evidence())
    assert check_of(found, "zk output").reason == "no report"
    shutil.copy(evaluated.dream.identity.delta_file, alone.parent)
    found = verify_statement(alone, evaluated.evidence())
    assert failures(found) == {"zk output": "contradiction"}
    assert f"{file} is no such document" in check_of(found, "zk output").detail


def test_another_outcome_does_not_follow_by_the_rule(forgery: Forgery) -> None:
    found = forgery.verify(forgery.with_decision(outcome="reject"))
    assert failures(found) == {"decision": "not what follows"}
    assert "'reject' is claimed, and 'accept' follows" in check_of(found, "decision").findings[0]


def test_a_decision_at_another_level_does_not_follow_by_the_rule(forgery: Forgery) -> None:
    found = forgery.verify(forgery.with_decision(confidence=Decimal("0.900000000000")))
    assert failures(found) == {"decision": "not what follows"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda forgery: forgery.with_delta(gain=Decimal("0.300000000000")),
            "the gain is 0.300000000000, and the diff",
        ),
        (lambda forgery: forgery.with_delta(gain_lower=Decimal("0.250000000000")), "outside of its interval"),
        (lambda forgery: forgery.with_delta(method="none"), "it has an interval by no method"),
        (lambda forgery: forgery.with_delta(gain_lower=None), "it has no interval, by the method influence-t"),
        (lambda forgery: forgery.with_delta(confidence=Decimal("1.000000000000")), "the confidence is 1"),
        (lambda forgery: forgery.with_delta(role="secondary"), "accuracy is secondary, and by the rule primary"),
        (lambda forgery: forgery.with_delta(metric="f1"), "f1 against the control is claimed twice"),
        (
            lambda forgery: dataclasses.replace(forgery.claim, deltas=forgery.claim.deltas[1:]),
            "accuracy, which the rule names, is neither claimed nor undefined",
        ),
        (lambda forgery: forgery.with_decision(metric="f1"), "the decision's metric is f1, and the rule's accuracy"),
        (
            lambda forgery: forgery.with_decision(minimum_gain=Decimal("0.100000000000")),
            "the decision's bar is 0.100000000000",
        ),
        (lambda forgery: forgery.with_decision(is_exploratory=False), "the decision's is_exploratory is False"),
        (
            lambda forgery: forgery.with_decision(
                guards=(ClaimedGuard(metric="f1", margin=Decimal("0.100000000000"), verdict="kept"),)
            ),
            "the guards are not those of the rule",
        ),
        (
            lambda forgery: dataclasses.replace(forgery.claim, answer_step=Decimal("0.010000000000")),
            "the decision's rounding is True",
        ),
        (
            lambda forgery: dataclasses.replace(
                forgery.claim, seeds=dataclasses.replace(forgery.claim.seeds, candidate=(0, 1))
            ),
            "the candidate has 2 seeds in 2 fits, and the rule allows 1 to 1",
        ),
        (lambda forgery: forgery.with_contributor(weight=Decimal("0.500000000000")), "dream has the weight 0.5"),
        (lambda forgery: forgery.with_contributor(rows_kept=81), "dream: 81 of 80 rows were kept"),
        (lambda forgery: forgery.with_contributor(tabhash1="00" * 32), "dream is not the table that is named so"),
        (
            lambda forgery: forgery.with_contributor(name="mine"),
            "the contributors are not those whose tables are named",
        ),
    ],
)
def test_a_claim_that_contradicts_itself_is_found_without_any_file(
    forgery: Forgery, change: Callable[[Forgery], DeltaClaim], said: str
) -> None:
    found = forgery.verify(change(forgery))
    assert failures(found)["claim"] == "contradiction"
    assert any(said in finding for finding in check_of(found, "claim").findings), check_of(found, "claim").findings


def test_a_rule_that_was_changed_is_no_rule_or_another_one(forgery: Forgery) -> None:
    def ruled(old: str, new: str) -> Verification:
        document = forgery.claim.rule.document.replace(old, new)
        assert document != forgery.claim.rule.document
        rule = dataclasses.replace(forgery.claim.rule, document=document, sha256=sha256(document.encode()))
        return forgery.verify(dataclasses.replace(forgery.claim, rule=rule))

    found = ruled('"minimum_gain":0', '"minimum_gain":"0"')
    assert failures(found) == {"claim": "contradiction"}
    assert check_of(found, "deltas").reason == "no rule"
    benchmark = next(each.tabhash1 for each in forgery.claim.datasets if each.context == "benchmark")
    found = ruled(benchmark, "00" * 32)
    assert "the rule is about another benchmark" in check_of(found, "claim").findings
    assert set(failures(ruled('"minimum_discordant_rows":20', '"minimum_discordant_rows":30'))) == {"decision"}
    # The classes are part of the rule.
    found = ruled("Gentoo", "gentoo")
    assert failures(found) == {"deltas": "other row scores"}


def test_row_scores_of_other_seeds_are_not_of_this_evaluation(forgery: Forgery) -> None:
    seeds = dataclasses.replace(forgery.claim.seeds, control=(7,))
    found = forgery.verify(dataclasses.replace(forgery.claim, seeds=seeds))
    assert failures(found) == {"claim": "contradiction", "deltas": "other row scores"}
    assert check_of(found, "deltas").findings == ("the control's seeds are 0, and the claimed ones 7",)


def test_a_decision_number_without_declared_decisions_is_a_contradiction(forgery: Forgery) -> None:
    record = dataclasses.replace(forgery.statement.predicate.record, decision_number=1)
    found = forgery.verify(forgery.claim, record=record)
    assert "it is decision 1 of None" in check_of(found, "claim").findings


# --- other kinds of evaluations --------------------------------------------------------------------------------------


def rehearse(
    folder: Path, contribution: pd.DataFrame, *, benchmark: pd.DataFrame = BENCHMARK, **flags: Any
) -> tuple[DeltaReport, Path]:
    """Evaluate without a store; return the report, and the unsigned statement with everything beside it."""
    for name, table in (("base", BASE), ("dream", contribution), ("benchmark", benchmark)):
        table.to_csv(folder / f"{name}.csv", index=False)
    config = load_config(
        None,
        flags={
            "project": "test",
            "data.base": str(folder / "base.csv"),
            "data.benchmark": str(folder / "benchmark.csv"),
            "data.contributions": [{"path": str(folder / "dream.csv")}],
            "data.label": "species",
            "delta.minimum_positives": "5",
            "delta.minimum_discordant_rows": "5",
            **flags,
        },
        environment={},
    ).config
    journal = MemoryJournal()
    identity = EvaluationIdentity(
        project="test", evaluation="e", registered_model="m", delta_file=folder / "delta.json"
    )
    now = datetime(2030, 1, 2, tzinfo=UTC)
    with TableReader() as reader:
        report = evaluate_contribution(
            config,
            identity=identity,
            tracker=Tracker(journal, evaluation="e", run_name="rehearsal"),
            registry=ModelRegistry("sqlite:////nowhere/mlflow.db"),
            reader=reader,
            now=now,
            folder=folder,
            statement=StatementSource(origin=lambda: StatementOrigin(hokusai_version="0"), now=now),
        )
    logged = [each for each in journal.operations if isinstance(each, LogArtifact)]
    (digest,) = (each.sha256 for each in logged if each.path == "row_scores.parquet")
    (folder / "row_scores.parquet").write_bytes(journal.staged[digest])
    assert report.statement is not None
    assert report.statement.file is not None
    return report, report.statement.file


FOREST = {"training.estimator": "RandomForestClassifier", "training.parameters": "{ n_estimators = 5 }"}


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(
            {"data.label": "body_mass_g", "training.estimator": "Ridge", "weights": True}, id="weighted groups, numbers"
        ),
        pytest.param(
            FOREST | {"training.seeds": "3", "delta.guards": [{"metric": "brier_score", "margin": 0.5}]},
            id="three seeds and a guard",
        ),
        pytest.param(FOREST | {"training.sequential.looks": [3, 5]}, id="looks", marks=pytest.mark.slow),
        pytest.param(FOREST | {"training.seeds": "1"}, id="one seed of a random trainer", marks=pytest.mark.slow),
        pytest.param({"nothing new": True}, id="nothing new", marks=pytest.mark.slow),
    ],
)
def test_deltas_and_decision_are_computed_again_from_the_row_scores(
    tmp_path: Path, flags: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = dict(flags)
    benchmark = BENCHMARK
    if flags.pop("weights", False):
        numbers = np.arange(len(benchmark))
        benchmark = benchmark.assign(weight=numbers % 5 / 4, flock=numbers // 3)
        flags |= {"evaluation.sample_weight": "weight", "evaluation.group": "flock"}
    contribution = BASE.head(20) if flags.pop("nothing new", False) else DREAM
    report, statement = rehearse(tmp_path, contribution, benchmark=benchmark, **flags)
    found = verify_statement(statement)
    # Token tools know classifiers alone, and whoever expects their document is told.
    has_document = not flags.get("data.label")
    expected = dict.fromkeys(OFFLINE, "ok") | {"signature": "not done", "run": "not done"}
    if not has_document:
        del expected["zk output"]
    assert states(found) == expected, found
    display.print_report(report)
    printed = capsys.readouterr().out
    assert [*tmp_path.glob("delta_output_zk_*")] == ([tmp_path / "delta_output_zk_e.json"] if has_document else [])
    assert ("Not written: no document for the token tools: the format has a place" in printed) == (not has_document)
    assert f"Statement: {statement} (not signed)" in printed


@pytest.mark.slow
def test_a_metric_of_ones_own_is_left_to_who_has_its_code(tmp_path: Path) -> None:
    (tmp_path / "own_verified_metric.py").write_text(
        "def share(actual, predicted):\n    return (actual == predicted).mean()\n"
    )
    own = {"name": "own", "function": "own_verified_metric:share", "higher_is_better": True}
    flags: dict[str, Any] = {"evaluation.own_metrics": [own], "delta.metric": "own"}
    _, statement = rehearse(tmp_path, DREAM, **flags)
    (tmp_path / "own_verified_metric.py").unlink()
    found = verify_statement(statement)
    assert found.ok, found
    assert "not own, which only the evaluation's own code computes" in check_of(found, "deltas").detail
    assert check_of(found, "decision").reason == "own metric"


@pytest.mark.slow
def test_of_a_sealed_benchmark_the_rounded_numbers_and_the_one_answer_are_computed_again(
    mlflow_store: MlflowAddress, tmp_path: Path
) -> None:
    tracking = TrackingSettings(uri=mlflow_store.uri, journal=tmp_path / "journals")
    config = penguins_config("dream", tracking)
    key_file = tmp_path / "benchmark.key"
    split_benchmark(config, key_file=key_file, decisions=2)
    delta = DeltaSettings(benchmark_key_file=key_file, minimum_positives=5, minimum_discordant_rows=5)
    report = pipeline.run(
        dataclasses.replace(config, delta=delta), shipping=DirectShipping(MlflowStore(mlflow_store.uri))
    )
    assert report.answer_step is not None
    assert report.statement is not None
    assert report.statement.file is not None
    store = dataclasses.replace(tracking, journal=tmp_path / "none")
    found = verify_statement(report.statement.file, Evidence(store=store))
    assert states(found) == dict.fromkeys((*OFFLINE, "journal", *IN_STORE), "ok") | {"signature": "not done"}, found
    # The claim names no digit that rounding hides, and what is computed again is rounded alike.
    statement = open_statement(report.statement.file.read_bytes()).statement
    first = statement.predicate.claim.deltas[0]
    assert first.baseline == first.baseline.quantize(Decimal("0.01"))
    assert statement.predicate.record.decision_number == 1
    file = tmp_path / "statement.json"
    claim = statement.predicate.claim
    finer = dataclasses.replace(first, gain_upper=Decimal("0.415000000000"))
    forged = dataclasses.replace(claim, deltas=(finer, *claim.deltas[1:]))
    predicate = dataclasses.replace(statement.predicate, claim=forged, claim_sha256=claim_sha256(forged))
    file.write_bytes(statement_file(dataclasses.replace(statement, predicate=predicate)))
    row_scores = report.statement.file.parent / "artifacts" / claim.row_scores_sha256
    assert failures(verify_statement(file, Evidence(row_scores=row_scores))) == {"deltas": "not what follows"}


# --- what step 5 writes ----------------------------------------------------------------------------------------------


@pytest.fixture
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_documents_stand_beside_the_report_and_among_the_artifacts(evaluated: Evaluated) -> None:
    report, folder = evaluated.dream, evaluated.statement().parent
    assert report.statement is not None
    assert report.identity.delta_file.parent == folder
    zk_output = folder / f"delta_output_zk_{report.identity.evaluation}.json"
    assert (report.statement.zk_output, report.statement.notes) == (zk_output, ())
    staged = {path.name for path in (folder / "artifacts").iterdir()}
    assert {sha256(path.read_bytes()) for path in (zk_output, evaluated.statement())} <= staged
    assert not list(folder.glob("*.partial"))
    origin = evaluated.opened().predicate.record.origin
    assert origin.environment_sha256 in staged
    assert origin.run_id is None


def test_the_same_inputs_give_the_same_claim(evaluated: Evaluated, tmp_path: Path) -> None:
    flags: dict[str, Any] = {"delta.minimum_positives": "50", "delta.minimum_discordant_rows": "20"}
    again, _ = rehearse(tmp_path, DREAM, **flags)
    assert again.statement is not None
    assert evaluated.dream.statement is not None
    # Without a store, in another folder and unsigned.
    assert again.statement.claim_sha256 == evaluated.dream.statement.claim_sha256
    assert again.statement.signers == ()


@pytest.mark.usefixtures("_empty_folder")
def test_a_key_that_cannot_be_used_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "passphrase.txt").write_text("wrong\n", encoding="utf-8")
    (tmp_path / "passphrase.txt").chmod(0o600)
    new_key(tmp_path / "hokusai.key", passphrase=WORDS)
    config = penguins_config("dream")
    key, words = tmp_path / "hokusai.key", tmp_path / "passphrase.txt"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"signing_key_file": key}, "passphrase"),
        ({"signing_key_file": key, "signing_passphrase_file": words}, "passphrase"),
        ({"signing_passphrase_file": words}, "Name the key: delta.signing_key_file"),
    ]
    for changes, said in cases:
        delta = dataclasses.replace(config.delta, **changes)
        with pytest.raises(hokusai.HokusaiError, match=said):
            pipeline.run(dataclasses.replace(config, delta=delta))
    assert {path.name for path in tmp_path.iterdir()} == {"hokusai.key", "hokusai.key.pub", "passphrase.txt"}


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_empty_folder")
def test_the_command_says_what_it_found_and_exits_with_one_when_anything_failed(
    evaluated: Evaluated, call: Callable[..., Outcome]
) -> None:
    statement, key = str(evaluated.statement()), ("--key", str(evaluated.public))
    done = call("verify", statement, *key, "--data", f"dream={penguins_folder() / 'dream.csv'}")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "The statement holds, as far as it was checked."
    assert "not done" in next(line for line in done.out.splitlines() if line.strip().startswith("run "))
    done = call("verify", statement)
    assert (done.code, done.out.splitlines()[-1]) == (
        0,
        "Nothing speaks against it; who has signed it was not checked.",
    )
    wrong = call("verify", statement, *key, "--data", f"dream={penguins_folder() / 'base.csv'}", "--json")
    assert (wrong.code, wrong.value["ok"], wrong.value["verdict"]) == (1, False, "does not hold")
    assert [check["name"] for check in wrong.value["checks"] if check["state"] == "failed"] == ["file"]
    other = call("verify", statement, *key, "--evaluation", "another")
    assert (other.code, other.out.splitlines()[-1]) == (1, "The statement does not hold.")


@pytest.mark.usefixtures("_empty_folder")
def test_the_evaluation_done_again_makes_the_same_claim(
    evaluated: Evaluated, copied: StoreCopy, alone: Path, call: Callable[..., Outcome]
) -> None:
    store = dataclasses.replace(copied.settings, journal=alone.parent / "journals")
    where = ("--tracking-uri", str(store.uri), "--reproduce")
    done = call("verify", str(alone), "--key", str(evaluated.public), *where)
    assert done.err == ""
    assert (done.code, done.out.splitlines()[-1]) == (0, "The statement holds, as far as it was checked.")
    (line,) = [line for line in done.out.splitlines() if line.strip().startswith("reproduction ")]
    assert ": the same claim." in line
    claimed = verify_statement(alone, evaluated.evidence())
    another = check_by_reproduction(dataclasses.replace(claimed, claim_sha256="0" * 64), settings=store)
    assert (another.state, another.reason) == ("failed", "another claim")
    for file in copied.folder.glob("mlartifacts/**/datasets/*.parquet"):
        file.unlink()
    gone = check_by_reproduction(claimed, settings=store)
    assert (gone.state, gone.reason) == ("failed", "different")
    assert "the record was changed, and nothing was run. data: " in gone.detail


def test_an_evaluation_whose_tables_are_not_in_the_store_is_not_done_again_from_it(tmp_path: Path) -> None:
    tracking = TrackingSettings(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", journal=tmp_path / "journals")
    create_sqlite_store(tmp_path / "mlflow.db")
    config = penguins_config("dream", tracking)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, snapshots="never"))
    report = pipeline.run(config, shipping=DirectShipping(MlflowStore(tracking.uri)))
    assert report.statement is not None
    assert report.statement.file is not None
    check = check_by_reproduction(verify_statement(report.statement.file), settings=tracking)
    assert (check.state, check.reason) == ("failed", "cannot be done again")
    assert f"`hokusai reproduce {report.identity.evaluation}` takes what is missing." in check.detail


@pytest.mark.usefixtures("_empty_folder")
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--data", "dream"), "--data dream: expected NAME=FILE, every name once"),
        (("--data", "a=b", "--data", "a=c"), "--data a=c: expected NAME=FILE, every name once"),
        (("--endorsement", "new.json"), "an endorsement, and no key that is trusted"),
        (("--row-scores", "none.parquet"), "none.parquet: cannot be read (No such file or directory)"),
        (("--tracking-uri", "sqlite:///none.db"), "no tracking store here"),
        (("--reproduce",), "--reproduce, and no store that holds the record"),
    ],
)
def test_wrong_usage_exits_with_two(
    evaluated: Evaluated, call: Callable[..., Outcome], flags: tuple[str, ...], said: str
) -> None:
    done = call("verify", str(evaluated.statement()), *flags)
    assert done.code == 2
    assert said in done.err
