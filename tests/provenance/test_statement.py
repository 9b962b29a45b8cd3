"""Statements: what they say of a report, that they say it in one way, and that nothing else is read as one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from hokusai.digests import canonical_json, sha256
from hokusai.errors import StatementError
from hokusai.provenance.claims import DeltaClaim, Statement, StatementOrigin
from hokusai.provenance.merkle import inclusion_proof, is_included
from hokusai.provenance.statement import (
    claim_sha256,
    make_statement,
    read_statement,
    statement_bytes,
    subject_leaves,
    subject_root,
)
from hokusai.records import EvaluationIdentity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hokusai.records import DeltaReport

FORMATS = Path(__file__).parents[2] / "docs" / "formats"
SCHEMA = json.loads((FORMATS / "statement-1.schema.json").read_text(encoding="utf-8"))
RULE = canonical_json({"format": "hokusai-decision-rule/1", "metric": "accuracy", "minimum_gain": 0.01}).decode()
Stated = Callable[..., Statement]
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def reason_for(content: bytes, *, evaluation: str | None = None) -> str:
    """Return why bytes are refused."""
    with pytest.raises(StatementError) as refused:
        read_statement(content, evaluation=evaluation, source="a.json")
    assert str(refused.value).startswith(f"a.json: refused ({refused.value.reason}): {refused.value.problem}")
    assert refused.value.problem.endswith(".")
    return refused.value.reason


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Walk through a JSON value, of lists through the first item alone."""
    yield path, value
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value[:1]):
            yield from places(each, (*path, key))


def changed(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """Return a copy of a document with another value at one place."""
    found = json.loads(json.dumps(document))
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return found


# --- what is said ----------------------------------------------------------------------------------------------------


def test_a_statement_is_read_back_as_it_was_and_passes_its_schema(statement: Statement) -> None:
    content = statement_bytes(statement)
    assert read_statement(content, evaluation="20261123-080837-9736f95c") == statement
    document = json.loads(content)
    VALIDATOR.validate(document)
    assert canonical_json(document) == content
    assert statement_bytes(read_statement(content)) == content
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "urn:hokusai:delta:v1"


def test_a_statement_says_what_the_report_says(statement: Statement, report: DeltaReport) -> None:
    claim = statement.predicate.claim
    accuracy, log_loss, roc_auc, f1, baseline = claim.deltas
    assert (accuracy.metric, accuracy.role, accuracy.unit, accuracy.reference) == (
        *("accuracy", "primary", "fraction"),
        "control",
    )
    assert (accuracy.baseline, accuracy.candidate) == (Decimal("0.798319327731"), Decimal("1.000000000000"))
    assert accuracy.gain == Decimal("0.201680672269")
    assert (accuracy.gain_lower, accuracy.gain_upper) == (Decimal("0.128500000000"), Decimal("0.274800000000"))
    assert (accuracy.method, accuracy.degrees_of_freedom) == ("influence-t", Decimal("118.500000000000"))
    assert (log_loss.higher_is_better, log_loss.gain) == (False, Decimal("0.190000000000"))
    assert roc_auc.gain == Decimal("-0.100000000000")
    assert (f1.method, f1.gain_lower, f1.gain) == ("none", None, Decimal("0.000000000000"))
    assert (baseline.reference, baseline.method) == ("baseline", "no-discordant-row")
    assert [(each.metric, each.arm) for each in claim.undefined] == [("average_precision", "baseline")]
    assert claim.decision.outcome == "accept"
    assert [(each.metric, each.verdict) for each in claim.decision.guards] == [("log_loss", "kept")]
    assert (claim.rule.sha256, claim.rule.document) == (report.decision.rule_sha256, RULE)
    assert [(each.name, each.rows_offered, each.rows_kept, each.weight) for each in claim.contributors] == [
        ("dream", 80, 20, Decimal("0.333333333333")),
        ("torgersen", 40, 40, Decimal("0.666666666667")),
    ]
    assert [each.contributor for each in claim.contributors] == ["0x" + "aB" * 20, None]
    assert (claim.seeds.control, claim.seeds.candidate) == ((0, 1, 2, 3), (0, 1, 2))
    assert statement.predicate.record.origin.code_is_dirty is True


def test_a_gain_is_exactly_the_difference_of_the_two_decimals(report: DeltaReport, stated: Stated) -> None:
    near = replace(report.deltas[0], baseline=0.1234567890124, candidate=0.1234567890126)
    claimed = stated(replace(report, deltas=(near,))).predicate.claim.deltas[0]
    assert claimed.gain == claimed.candidate - claimed.baseline == Decimal("0.000000000001")


def test_the_subjects_are_every_file_and_every_dataset_by_its_digests(statement: Statement) -> None:
    found = {each.name: (each.digest.sha256, each.digest.tabhash1) for each in statement.subject}
    assert list(found) == [
        *("model", "row_scores.parquet", "delta.json", "datasets/base/base", "datasets/benchmark/benchmark"),
        *("datasets/contribution/dream", "datasets/contribution/torgersen", "datasets/integrated/integrated"),
    ]
    assert found["model"] == (sha256(b"model"), None)
    assert found["datasets/base/base"] == (sha256(b"file of base"), sha256(b"content of base"))
    assert found["datasets/integrated/integrated"] == (None, sha256(b"content of integrated"))


def test_every_digest_of_a_subject_is_a_leaf_of_the_root(statement: Statement) -> None:
    leaves = subject_leaves(statement)
    assert len(leaves) == 3 + 2 * 5 - 1
    for path, digest in leaves:
        proof = inclusion_proof(leaves, path)
        assert proof.digest == digest
        assert is_included(proof, root=subject_root(statement))
    other = replace(statement, subject=statement.subject[1:])
    assert subject_root(other) != subject_root(statement)


def test_the_same_inputs_make_the_same_claim_in_another_evaluation(
    report: DeltaReport, statement: Statement, stated: Stated
) -> None:
    identity = EvaluationIdentity(
        project="p", evaluation="another", registered_model="m", delta_file=Path("/elsewhere/delta.json")
    )
    origin = StatementOrigin(hokusai_version="9", run_id="r", environment_sha256="ab" * 32, journal_sha256="cd" * 32)
    decision = replace(report.decision, number=7, reason="decision 7 of 100")
    again = stated(replace(report, identity=identity, decision=decision), origin=origin)
    assert again.predicate.claim_sha256 == statement.predicate.claim_sha256
    assert again.predicate.record.decision_number == 7
    assert statement_bytes(again) != statement_bytes(statement)
    assert (
        json.loads(statement_bytes(again))["predicate"]["claim"]
        == json.loads(statement_bytes(statement))["predicate"]["claim"]
    )


def test_another_number_seed_or_row_makes_another_claim(
    report: DeltaReport, statement: Statement, stated: Stated
) -> None:
    claim = statement.predicate.claim
    first = report.deltas[0]
    others: list[DeltaClaim] = [
        stated(replace(report, deltas=(replace(first, candidate=0.99), *report.deltas[1:]))).predicate.claim,
        stated(replace(report, model_sha256="")).predicate.claim,
        replace(claim, seeds=replace(claim.seeds, candidate=(0, 1, 3))),
        replace(claim, datasets=claim.datasets[1:]),
        replace(claim, row_scores_sha256="00" * 32),
    ]
    assert len({claim_sha256(claim), *map(claim_sha256, others)}) == 1 + len(others)


def test_of_a_sealed_benchmark_a_statement_tells_no_number_that_the_report_does_not(
    report: DeltaReport, stated: Stated
) -> None:
    sealed = replace(
        report,
        answer_step=0.01,
        deltas=(replace(report.deltas[0], baseline=0.8, candidate=1.0, degrees_of_freedom=None, p_value=None),),
        baseline_deltas=(),
    )
    claim = stated(sealed).predicate.claim
    assert claim.answer_step == Decimal("0.010000000000")
    assert (claim.deltas[0].gain, claim.deltas[0].degrees_of_freedom) == (Decimal("0.200000000000"), None)
    assert claim.deltas[0].p_value is None


def test_where_nothing_is_kept_nobody_has_a_share(report: DeltaReport, stated: Stated) -> None:
    counts = tuple(replace(count, kept=0) for count in report.counts)
    assert {each.weight for each in stated(replace(report, counts=counts)).predicate.claim.contributors} == {Decimal(0)}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_not_claimed(report: DeltaReport, value: float, stated: Stated) -> None:
    with pytest.raises(StatementError, match="the value of 'accuracy'") as refused:
        stated(replace(report, deltas=(replace(report.deltas[0], candidate=value),)))
    assert refused.value.reason == "not a number"
    bound = replace(report.deltas[0], gain_lower=-math.inf, degrees_of_freedom=value)
    claim = stated(replace(report, deltas=(bound,))).predicate.claim
    assert (claim.deltas[0].gain_lower, claim.deltas[0].degrees_of_freedom) == (None, None)


def test_a_rule_that_is_not_the_decisions_and_two_datasets_of_one_name_are_mistakes(
    report: DeltaReport, stated: Stated
) -> None:
    claim = stated(report).predicate.claim
    with pytest.raises(ValueError, match="not the one that the decision names"):
        make_statement(
            report,
            trainer="t",
            seeds=claim.seeds,
            rule_document=RULE.encode() + b" ",
            row_scores_sha256="00" * 32,
            delta_sha256="00" * 32,
            origin=StatementOrigin(hokusai_version="1"),
        )
    with pytest.raises(ValueError, match="occurs twice"):
        stated(replace(report, datasets=(*report.datasets, report.datasets[0])))


# --- what is refused -------------------------------------------------------------------------------------------------


def test_any_other_bytes_of_the_same_document_are_not_canonical(statement: Statement) -> None:
    content = statement_bytes(statement)
    document = json.loads(content)
    reordered = dict(reversed(document.items()))
    claim = dict(reversed(document["predicate"]["claim"].items()))
    for other in (
        json.dumps(document).encode(),
        json.dumps(document, indent=2, ensure_ascii=False).encode(),
        content + b"\n",
        b" " + content,
        json.dumps(reordered, separators=(",", ":"), ensure_ascii=False).encode(),
        content.replace(b'"predicateType"', b'"\\u0070redicateType"'),
        canonical_json(changed(document, ("predicate", "claim"), {})).replace(
            b'"claim":{}', b'"claim":' + json.dumps(claim, separators=(",", ":"), ensure_ascii=False).encode()
        ),
        content.replace(b'"rows":108', b'"rows":108.0'),
        content.replace(b'"rows":108', b'"rows":1.08e2'),
        content.replace(b'"rows":108', b'"rows":1e999'),
        content.replace(b"penguins", b"\\ud800"),
    ):
        assert other != content
        assert reason_for(other) == "not canonical", other[:200]


def test_a_repeated_key_is_refused_at_any_depth_whichever_value_comes_first(statement: Statement) -> None:
    content = statement_bytes(statement)
    for key, value in ((b'"_type":', b'"x"'), (b'"outcome":', b'"reject"'), (b'"sha256":', b'"00"')):
        whole = key + content.partition(key)[2].partition(b",")[0].partition(b"}")[0]
        assert whole in content
        assert reason_for(content.replace(whole, key + value + b"," + whole, 1)) == "duplicate key"
        assert reason_for(content.replace(whole, whole + b"," + key + value, 1)) == "duplicate key"


def test_what_is_no_number_is_refused_as_such(statement: Statement) -> None:
    content = statement_bytes(statement)
    for name in (b"NaN", b"Infinity", b"-Infinity"):
        assert reason_for(content.replace(b'"rows":108', b'"rows":' + name)) == "not a number"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "truncated"),
        (b"[]", "wrong type"),
        (b"null", "wrong type"),
        (b"12", "wrong type"),
        (b'"text"', "wrong type"),
        (b"{}", "missing field"),
        (b"{]}", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a":"\xff"}', "not JSON"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON"),
        ('{"a":1}'.encode("utf-16"), "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "not JSON"),
        (b'{"a":' * 2000 + b"1" + b"}" * 2000, "not JSON"),
        (b'{"a":' + b"9" * 10_000 + b"}", "not JSON"),
        (b" " * (16 * 2**20) + b"{}", "too large"),
    ],
    ids=range(15),
)
def test_bytes_that_are_no_document_are_refused(content: bytes, reason: str) -> None:
    # Readers with a deeper stack call what is nested too deeply not canonical, or no statement.
    expected = {reason, "not canonical", "missing field"} if content.startswith(b'{"a":{') else {reason}
    assert reason_for(content) in expected


def test_a_statement_that_ends_early_is_refused_wherever_it_ends(statement: Statement) -> None:
    content = statement_bytes(statement)
    assert {reason_for(content[:end]) for end in range(0, len(content), 7)} == {"truncated"}
    assert reason_for(content[:-1]) == "truncated"


def test_every_field_is_needed_and_no_other_is_taken(statement: Statement) -> None:
    document = json.loads(statement_bytes(statement))
    seen = 0
    for path, value in places(document):
        if not isinstance(value, dict):
            continue
        extended = changed(document, (*path, "extra"), 1)
        assert reason_for(canonical_json(extended)) == "unknown field", path
        assert not VALIDATOR.is_valid(extended), path
        for name in value:
            lacking = json.loads(json.dumps(document))
            inner = lacking
            for key in path:
                inner = inner[key]
            del inner[name]
            # A subject may have one digest of the two, and then it is another subject.
            expected = "subjects" if path[-1:] == ("digest",) else "missing field"
            if path[-1:] == ("digest",) and name == "sha256" and len(value) == 2:
                assert read_statement(canonical_json(lacking)) != statement
                continue
            assert reason_for(canonical_json(lacking)) == expected, (*path, name)
            assert VALIDATOR.is_valid(lacking) == (path[-1:] == ("digest",) and len(value) == 2), (*path, name)
            seen += 1
    assert seen > 60


def test_every_value_of_another_type_is_refused(statement: Statement) -> None:
    document = json.loads(statement_bytes(statement))
    kinds: dict[type, tuple[Any, ...]] = {
        str: (1, True, ["a"], {}, 0.5),
        int: ("1", True, 1.5, None),
        bool: (0, 1, "true"),
        list: ({}, "a", None),
        dict: ([], "a", None, True),
    }
    seen = 0
    for path, value in places(document):
        if path and type(value) in kinds:
            others = kinds[type(value)]
            wrong = changed(document, path, others[seen % len(others)])
            assert reason_for(canonical_json(wrong)) == "wrong type", path
            assert seen % 3 or not VALIDATOR.is_valid(wrong), path
            seen += 1
    assert seen > 60
    for place, other in (
        (("subject", 0, "digest", "tabhash1"), None),
        (("predicate", "claim", "datasets", 0, "rows"), True),
        (("predicate", "claim", "decision", "is_exploratory"), 1),
    ):
        assert reason_for(canonical_json(changed(document, place, other))) == "wrong type"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("predicate", "claim", "deltas", 0, "gain"), "0.2"),
        (("predicate", "claim", "deltas", 0, "gain"), "NaN"),
        (("predicate", "claim", "deltas", 3, "gain"), "-0.000000000000"),
        (("predicate", "claim", "deltas", 0, "gain"), "+0.201680672269"),
        (("predicate", "claim", "deltas", 0, "role"), "other"),
        (("predicate", "claim", "deltas", 0, "reference"), "candidates"),
        (("predicate", "claim", "decision", "outcome"), "accepted"),
        (("predicate", "claim", "row_scores_sha256"), "AB" * 32),
        (("predicate", "claim_sha256"), "ab" * 31),
        (("subject", 0, "digest", "sha256"), "ab" * 33),
    ],
)
def test_a_value_that_may_not_stand_there_is_refused(
    statement: Statement, path: tuple[str | int, ...], value: str
) -> None:
    wrong = changed(json.loads(statement_bytes(statement)), path, value)
    assert reason_for(canonical_json(wrong)) == "wrong value"
    assert not VALIDATOR.is_valid(wrong)


def test_other_kinds_of_documents_are_refused_as_such(statement: Statement) -> None:
    document = json.loads(statement_bytes(statement))
    other = changed(document, ("predicateType",), "https://slsa.dev/provenance/v1")
    assert reason_for(canonical_json(other)) == "predicate type"
    assert reason_for(canonical_json(changed(document, ("_type",), "https://in-toto.io/Statement/v0.1"))) == (
        "statement type"
    )


def test_parts_that_do_not_belong_together_are_refused(statement: Statement) -> None:
    document = json.loads(statement_bytes(statement))
    claim, subjects = document["predicate"]["claim"], document["subject"]
    better = changed(document, ("predicate", "claim", "deltas", 0, "gain"), "0.901680672269")
    assert reason_for(canonical_json(better)) == "claim digest"
    relaxed = changed(claim, ("rule", "document"), RULE.replace("0.01", "0.00"))
    assert reason_for(canonical_json(with_claim(document, relaxed))) == "rule digest"
    for other in (
        changed(document, ("subject", 0, "digest", "sha256"), "00" * 32),
        changed(document, ("subject",), subjects[1:]),
        changed(document, ("subject",), [each for each in subjects if each["name"] != "delta.json"]),
        changed(document, ("subject",), [*subjects, {"name": "other", "digest": {"sha256": "00" * 32}}]),
        changed(document, ("subject",), [*subjects, {"name": "model", "digest": {"tabhash1": "00" * 32}}]),
        with_claim(document, changed(claim, ("model_sha256",), "00" * 32)),
        with_claim(document, changed(claim, ("datasets",), claim["datasets"][1:])),
    ):
        assert reason_for(canonical_json(other)) == "subjects"


def with_claim(document: Any, claim: Any) -> Any:
    """Return a statement with another claim, and with that claim's digest."""
    found = changed(document, ("predicate", "claim"), claim)
    return changed(found, ("predicate", "claim_sha256"), sha256(canonical_json(claim)))


def test_a_statement_about_another_evaluation_is_refused(statement: Statement) -> None:
    assert reason_for(statement_bytes(statement), evaluation="20261123-080838-00000000") == "another evaluation"
