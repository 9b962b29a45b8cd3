"""The document of the token tools: its schema, its hashes, its binding to the statement, and when there is none."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hokusai.digests import sha256
from hokusai.provenance.claims import Statement, StatementOrigin
from hokusai.provenance.merkle import merkle_root
from hokusai.provenance.statement import subject_root
from hokusai.provenance.zk_output import make_zk_output, public_inputs_hash, zk_output_name
from hokusai.records import DeltaReport, Metric

FORMATS = Path(__file__).parents[2] / "docs" / "formats"
SCHEMA = json.loads((FORMATS / "delta-output-zk-1.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
NOW = datetime(2026, 11, 23, 13, 17, 39, 500_000, tzinfo=UTC)
Stated = Callable[..., Statement]


def written(report: DeltaReport, statement: Statement, **settings: Any) -> dict[str, Any]:
    """Return the document of a report, which has passed its schema."""
    found = make_zk_output(report, statement=statement, features=("mass", "Ünsex"), now=NOW, **settings)
    assert found.reason == ""
    assert found.document is not None
    document: dict[str, Any] = json.loads(found.document)
    VALIDATOR.validate(document)
    # The document's own canonical form.
    assert json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() == found.document
    return document


def reason_for(report: DeltaReport, statement: Statement) -> str:
    """Return why there is no document."""
    found = make_zk_output(report, statement=statement, features=(), now=NOW)
    assert found.document is None
    return found.reason.removeprefix("no document for the token tools: ")


def test_the_document_says_what_the_report_says(report: DeltaReport, statement: Statement) -> None:
    document = written(report, statement)
    assert document["schema_version"] == "1.0"
    assert document["metadata"] == {
        "pipeline_run_id": "20261123-080837-9736f95c",
        "timestamp": "2026-11-23T13:17:39.500000Z",
        "pipeline_version": "0.1.0",
        "dry_run": False,
    }
    results = document["evaluation_results"]
    assert results["baseline_metrics"] == {"accuracy": 0.7983193277310925, "auroc": 0.9, "f1": 0.5, "log_loss": 0.61}
    assert results["new_metrics"]["accuracy"] == 1.0
    assert results["benchmark_metadata"] == {
        "size": 119,
        "type": "classification",
        "features": ["mass", "Ünsex"],
        "dataset_hash": sha256(b"content of benchmark"),
    }
    delta = document["delta_computation"]
    assert delta["delta_one_score"] == report.delta.gain
    assert delta["computation_method"] == "custom"
    assert delta["metrics_included"] == ["accuracy", "log_loss", "auroc", "f1"]


def test_improvement_means_better_and_not_larger(report: DeltaReport, statement: Statement) -> None:
    delta = written(report, statement)["delta_computation"]
    log_loss, auroc = delta["metric_deltas"]["log_loss"], delta["metric_deltas"]["auroc"]
    assert log_loss["absolute_delta"] == pytest.approx(-0.19)
    assert log_loss["relative_delta"] == pytest.approx(-0.19 / 0.61)
    assert (log_loss["improvement"], auroc["improvement"]) == (True, False)
    assert (delta["improved_metrics"], delta["degraded_metrics"]) == (["accuracy", "log_loss"], ["auroc"])


def test_the_document_is_bound_to_the_statement_and_its_hashes_can_be_recomputed(
    report: DeltaReport, statement: Statement
) -> None:
    document = written(report, statement)
    attestation = document.pop("attestation")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert attestation == {
        "hash_tree_root": subject_root(statement),
        "public_inputs_hash": hashlib.sha256(text.encode()).hexdigest(),
        "proof_ready": True,
        "proof_system": "none",
    }
    assert public_inputs_hash({**document, "attestation": 1}) == attestation["public_inputs_hash"]
    assert public_inputs_hash({**document, "schema_version": "1.1"}) != attestation["public_inputs_hash"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        public_inputs_hash({"a": math.nan})


def test_contributors_have_weights_that_are_one_together_and_wallets_where_they_name_themselves_by_one(
    report: DeltaReport, statement: Statement
) -> None:
    document = written(report, statement)
    dream, torgersen = document["contributors"]
    assert math.isclose(dream["weight"] + torgersen["weight"], 1, abs_tol=1e-12)
    assert (dream["id"], dream["wallet_address"]) == ("0x" + "aB" * 20, "0x" + "aB" * 20)
    assert (torgersen["id"], "wallet_address" in torgersen) == ("torgersen", False)
    assert (dream["validation_status"], torgersen["validation_status"]) == ("valid", "unknown")
    assert dream["data_manifest"] == {
        "data_hash": sha256(b"content of dream"),
        "row_count": 80,
        "column_count": 3,
        "columns": ["mass", "Ünsex", "species"],
        "dtypes": {"mass": "double", "Ünsex": "string", "species": "string"},
        "null_counts": {"mass": 2, "Ünsex": 0, "species": 0},
        "unique_counts": {"Ünsex": 2, "species": 3},
    }
    both = document["contributor_info"]
    root = merkle_root(
        [
            (f"tabhash1/datasets/contribution/{name}", sha256(f"content of {name}".encode()))
            for name in ("dream", "torgersen")
        ]
    )
    assert (both["data_hash"], both["data_manifest"]["row_count"]) == (root, 120)
    assert (both["contributor_weights"], both["contributed_samples"], both["total_samples"]) == (1.0, 60, 168)
    assert both["validation_status"] == "unknown"
    for kept, in_benchmark, status in ((60, 1, "unknown"), (0, 80, "invalid")):
        base, offered, *others = report.counts
        assert offered.name == "dream"
        counts = (base, replace(offered, kept=kept, in_benchmark=in_benchmark), *others)
        changed = written(replace(report, counts=counts), statement)
        assert changed["contributors"][0]["validation_status"] == status
    assert "/home/somebody" not in json.dumps(document)


def test_a_single_contribution_is_told_as_it_is(report: DeltaReport, stated: Stated) -> None:
    alone = replace(
        report,
        datasets=tuple(each for each in report.datasets if each.name != "torgersen"),
        counts=report.counts[:2],
    )
    document = written(alone, stated(alone))
    assert document["contributor_info"]["data_hash"] == sha256(b"content of dream")
    assert document["contributor_info"]["wallet_address"] == "0x" + "aB" * 20
    assert document["contributors"][0]["weight"] == 1.0


def test_the_models_are_the_control_and_the_candidate(report: DeltaReport, stated: Stated) -> None:
    origin = StatementOrigin(hokusai_version="1", run_id="run")
    models = written(report, stated(report, origin=origin), training_config_sha256="ab" * 32)["models"]
    baseline, new = models["baseline"], models["new"]
    assert baseline["training_metadata"]["data_manifest"]["data_hash"] == sha256(b"content of base")
    assert new["training_metadata"]["data_manifest"]["data_hash"] == sha256(b"content of integrated")
    assert [
        (each["base_samples"], each["contributed_samples"])
        for each in (baseline["training_metadata"], new["training_metadata"])
    ] == [(108, 0), (108, 60)]
    assert new["training_metadata"]["contribution_ratio"] == 60 / 168
    assert (new["model_hash"], "model_hash" in baseline) == (report.model_sha256, False)
    assert {each["mlflow_run_id"] for each in models.values()} == {"run"}
    assert {each["training_config_hash"] for each in models.values()} == {"ab" * 32}
    assert baseline["model_id"] != new["model_id"]


def test_what_may_be_left_out_is_there_when_it_is_given(report: DeltaReport, statement: Statement) -> None:
    document = written(report, statement, deployment="staging", evaluation_seconds=1.5)
    assert document["metadata"]["environment"] == "staging"
    assert document["evaluation_results"]["evaluation_time_seconds"] == 1.5


def test_a_metric_that_was_0_has_no_relative_change_and_is_left_out_of_the_deltas(
    report: DeltaReport, stated: Stated
) -> None:
    zero = replace(report, deltas=(*report.deltas[:3], replace(report.deltas[3], baseline=0.0)))
    document = written(zero, stated(zero))
    assert "f1" not in document["delta_computation"]["metric_deltas"]
    assert document["evaluation_results"]["baseline_metrics"]["f1"] == 0.0


def test_names_are_spelt_as_the_format_allows(report: DeltaReport, stated: Stated) -> None:
    own = Metric(name="NDCG@10", task="ranking", higher_is_better=True, unit="fraction")
    other = replace(report, deltas=(*report.deltas, replace(report.deltas[3], metric=own)))
    assert "ndcg_10" in written(other, stated(other))["delta_computation"]["metric_deltas"]


def test_where_the_format_has_no_place_for_an_evaluation_the_reason_is_said(
    report: DeltaReport, stated: Stated
) -> None:
    regression = replace(report, deltas=report.deltas[1:])
    assert reason_for(regression, stated(regression)) == (
        "the format has a place for classifiers alone, and asks for the accuracy, which this has not."
    )
    undecided = replace(report, decision=replace(report.decision, metric="recall"))
    assert reason_for(undecided, stated(undecided)) == "the metric that decides, recall, has no value."
    twice = replace(report.deltas[3], metric=replace(report.deltas[3].metric, name="F1"))
    clash = replace(report, deltas=(*report.deltas, twice))
    assert reason_for(clash, stated(clash)) == "two metrics have names that are the same in the format's spelling."
    spaced = replace(report, identity=replace(report.identity, evaluation="a b"))
    assert "has characters that the format does not allow" in reason_for(spaced, stated(spaced))


def test_the_schema_takes_no_further_keys_and_asks_for_the_required_ones(
    report: DeltaReport, statement: Statement
) -> None:
    document = written(report, statement)
    for name in (
        "",
        "metadata",
        "evaluation_results",
        "delta_computation",
        "models",
        "contributor_info",
        "attestation",
    ):
        wrong = json.loads(json.dumps(document))
        (wrong[name] if name else wrong)["extra"] = 1
        assert not VALIDATOR.is_valid(wrong), name
    lacking = json.loads(json.dumps(document))
    del lacking["attestation"]["public_inputs_hash"]
    assert not VALIDATOR.is_valid(lacking)
    del document["evaluation_results"]["new_metrics"]["accuracy"]
    assert not VALIDATOR.is_valid(document)


def test_the_file_is_named_after_the_evaluation() -> None:
    assert zk_output_name("20261123-080837-9736f95c") == "delta_output_zk_20261123-080837-9736f95c.json"
