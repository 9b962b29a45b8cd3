"""What a claim, its rule and its row scores say must fit together: chosen seeds, rows and metrics are found."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hokusai.analysis.metrics import BenchmarkTruth, metrics_for
from hokusai.digests import canonical_json, sha256
from hokusai.provenance.claims import ClaimedSeeds, StatementOrigin
from hokusai.provenance.statement import claim_sha256, make_statement, statement_bytes
from hokusai.records import (
    BenchmarkScores,
    ContributionCounts,
    DatasetVersion,
    DecisionRule,
    DeltaReport,
    EvaluationIdentity,
    Predictions,
)
from hokusai.steps.benchmark_rows import BenchmarkRows, RowSet
from hokusai.steps.decision import decide_contribution, level_at
from hokusai.steps.decision_rule import rule_document, rule_sha256
from hokusai.steps.deltas import IntervalMethod, metric_deltas
from hokusai.steps.evaluation import score_fits
from hokusai.steps.row_scores import RowScores
from hokusai.verification.verify import verify_statement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.conftest import Outcome

    from hokusai.provenance.claims import DeltaClaim, Statement
    from hokusai.records import Arm, DatasetContext
    from hokusai.verification.checks import StatementCheck, Verification

ROWS = 400
CLASSES = ("no", "yes")
SIZES: dict[DatasetContext, int] = {"base": 100, "contribution": 50, "benchmark": ROWS, "integrated": 150}
DIGESTS = {context: f"{number}{number}" * 32 for number, context in enumerate(SIZES, 1)}
SCORING = {"average": "macro", "classes": [*CLASSES], "positive_class": "yes"}
RULE = DecisionRule(
    metric="accuracy",
    minimum_gain=0.0,
    confidence=0.95,
    minimum_discordant_rows=5,
    seeds=5,
    control_seeds=5,
    benchmark_sha256=DIGESTS["benchmark"],
    scoring=canonical_json(SCORING).decode(),
)
EVERYTHING = RowSet(name="benchmark", kind="benchmark", rows=np.arange(ROWS))


def row_scores(control: Sequence[int], candidate: Sequence[int], sets: Sequence[RowSet] = (EVERYTHING,)) -> RowScores:
    """Return made-up answers of two arms, each seed's the same in every call."""
    actual = np.random.default_rng(8).integers(0, 2, ROWS)
    predictions: dict[Arm, dict[int, Predictions]] = {"control": {}, "candidate": {}}
    for arm, seeds, skill in (("control", control, 0.8), ("candidate", candidate, 1.5)):
        for seed in seeds:
            noise = np.random.default_rng([seed + 1, len(arm)]).normal(size=ROWS)
            positive = 1 / (1 + np.exp(-2 * (skill * (2 * actual - 1) + noise)))
            predictions[arm][seed] = Predictions(  # type: ignore[index]
                predicted=(positive > 0.5).astype(np.intp), probabilities=np.column_stack([1 - positive, positive])
            )
    truth = BenchmarkTruth(actual=actual, classes=CLASSES, positive=1)
    return RowScores(
        labels=pa.chunked_array([np.array(CLASSES)[actual]]),
        rows=BenchmarkRows(truth=truth, groups=None, sets=tuple(sets)),
        predictions=predictions,
    )


def edited(content: bytes, edit: Callable[[pa.Table], pa.Table]) -> bytes:
    """Return row scores with another table."""
    buffer = io.BytesIO()
    pq.write_table(edit(pq.read_table(io.BytesIO(content))), buffer)
    return buffer.getvalue()


def other_metadata(**changes: object) -> Callable[[pa.Table], pa.Table]:
    """Return what gives a table other metadata."""

    def edit(table: pa.Table) -> pa.Table:
        found = json.loads(table.schema.metadata[b"hokusai"]) | changes
        return table.replace_schema_metadata({b"hokusai": json.dumps(found).encode()})

    return edit


def write(
    folder: Path,
    *,
    made: RowScores | None = None,
    rule: DecisionRule = RULE,
    looks: int = 0,
    is_random: bool = True,
    edit: Callable[[pa.Table], pa.Table] | None = None,
    change: Callable[[DeltaClaim], DeltaClaim] | None = None,
) -> Statement:
    """Write the statement of an evaluation, of which every number follows from its row scores, and these beside it.

    Args:
        folder: Where.
        made: What the fits say.
        rule: The rule.
        looks: How many looks there were.
        is_random: Whether the numbers are those of a trainer whose result depends on its seed.
        edit: What changes the row scores after the numbers were computed.
        change: What changes the claim.
    """
    made = made or row_scores(range(5), range(5))
    content = made.to_bytes() if edit is None else edited(made.to_bytes(), edit)
    metrics = metrics_for("classification")
    scores = BenchmarkScores(
        metrics=metrics,
        subsets=score_fits(metrics, made.rows, {arm: tuple(by.values()) for arm, by in made.predictions.items()}),
        is_random=is_random,
        positive_class="yes",
        row_scores_sha256=sha256(content),
    )
    method = IntervalMethod(confidence=level_at(rule, looks=looks), is_random=is_random)
    report = DeltaReport(
        identity=EvaluationIdentity(
            project="p", evaluation="e", registered_model="m", delta_file=folder / "delta.json"
        ),
        decision=decide_contribution(
            rule, scores, has_new_rows=True, rule_sha256=rule_sha256(rule), looks=looks, number=rule.decisions
        ),
        deltas=metric_deltas(metrics, scores.shown, reference="control", method=method, roles={rule.metric: "primary"}),
        baseline_deltas=(),
        undefined=scores.shown.undefined,
        datasets=tuple(
            DatasetVersion(
                name=context, context=context, digest=DIGESTS[context], rows=rows, columns=(("x", "double"),), source=""
            )
            for context, rows in SIZES.items()
        ),
        counts=tuple(
            ContributionCounts(name=name, offered=rows, duplicates=0, in_benchmark=0, kept=rows)
            for name, rows in (("base", 100), ("contribution", 50))
        ),
    )
    statement = make_statement(
        report,
        trainer="made.Up",
        seeds=ClaimedSeeds(control=tuple(made.predictions["control"]), candidate=tuple(made.predictions["candidate"])),
        rule_document=rule_document(rule),
        row_scores_sha256=sha256(content),
        delta_sha256="99" * 32,
        origin=StatementOrigin(hokusai_version="0"),
    )
    if change is not None:
        claim = change(statement.predicate.claim)
        predicate = dataclasses.replace(statement.predicate, claim=claim, claim_sha256=claim_sha256(claim))
        statement = dataclasses.replace(statement, predicate=predicate)
    (folder / "row_scores.parquet").write_bytes(content)
    (folder / "statement.json").write_bytes(statement_bytes(statement))
    return statement


def verified(folder: Path, **what: Any) -> dict[str, StatementCheck]:
    """Return the checks of a statement by their names."""
    write(folder, **what)
    found: Verification = verify_statement(folder / "statement.json")
    return {check.name: check for check in found.checks}


def failures(found: dict[str, StatementCheck]) -> dict[str, str]:
    """Return the checks that failed, with the reason."""
    return {name: check.reason for name, check in found.items() if check.state == "failed"}


def states(found: dict[str, StatementCheck]) -> list[str]:
    """Return what came out of the claim, the deltas and the decision."""
    return [found[name].state for name in ("claim", "deltas", "decision")]


def with_rule(rule: DecisionRule) -> Callable[[DeltaClaim], DeltaClaim]:
    """Return what gives a claim another rule, whose metric takes the place of the one that decided."""

    def change(claim: DeltaClaim) -> DeltaClaim:
        document = rule_document(rule).decode()
        first, *rest = claim.deltas
        return dataclasses.replace(
            claim,
            rule=dataclasses.replace(claim.rule, document=document, sha256=sha256(document.encode())),
            deltas=(dataclasses.replace(first, metric=rule.metric), *rest),
            decision=dataclasses.replace(claim.decision, metric=rule.metric),
        )

    return change


# --- seeds -----------------------------------------------------------------------------------------------------------

LOOKS = dataclasses.replace(RULE, looks=(3, 5))


@pytest.mark.parametrize(
    ("control", "candidate", "rule", "looks"),
    [
        pytest.param(range(5), range(5), RULE, 0, id="all seeds"),
        pytest.param(range(8), range(5), dataclasses.replace(RULE, control_seeds=8), 0, id="more of the control"),
        pytest.param(range(3), range(5), dataclasses.replace(RULE, control_seeds=3), 0, id="fewer of the control"),
        pytest.param(range(3), range(3), LOOKS, 1, id="the first look ended it"),
        pytest.param(range(5), range(3), LOOKS, 1, id="the first look ended it, with all controls"),
        pytest.param(range(5), range(5), LOOKS, 2, id="the second look ended it"),
    ],
)
def test_every_honest_choice_of_seeds_holds(
    control: range, candidate: range, rule: DecisionRule, looks: int, tmp_path: Path
) -> None:
    found = verified(tmp_path, made=row_scores(control, candidate), rule=rule, looks=looks)
    assert states(found) == ["ok"] * 3, found


@pytest.mark.parametrize(
    ("control", "candidate", "rule", "looks", "absent"),
    [
        pytest.param((0, 1, 4), (0, 1, 4), RULE, 0, "2, 3", id="two in both"),
        pytest.param(
            (0, 1, 2, 3, 4, 6), range(5), dataclasses.replace(RULE, control_seeds=7), 0, "5", id="one of the control's"
        ),
        pytest.param((0, 1, 3, 4), (0, 1, 3, 4), LOOKS, 2, "2", id="one of two looks"),
        pytest.param((0, 1, 2), (0, 1, 2), LOOKS, 2, "", id="the last ones of two looks"),
    ],
)
def test_seeds_whose_fits_failed_are_named_where_the_claim_tells_them(
    control: Sequence[int], candidate: Sequence[int], rule: DecisionRule, looks: int, absent: str, tmp_path: Path
) -> None:
    found = verified(tmp_path, made=row_scores(control, candidate), rule=rule, looks=looks)
    assert states(found) == ["not done" if absent else "ok", "ok", "ok"], found
    if absent:
        assert found["claim"].reason == "fewer seeds"
        assert f"the seeds {absent} of the rule were left out" in found["claim"].detail
        assert "failed_fits.json" in found["claim"].detail


@pytest.mark.parametrize(
    ("control", "candidate", "rule", "looks", "chosen"),
    [
        pytest.param((1,), (3,), RULE, 0, "1, 3", id="one of five"),
        pytest.param((0, 1, 2), (1, 2, 3), RULE, 0, "0, 3", id="three of five"),
        pytest.param(range(5), (0, 1, 2), RULE, 0, "3, 4", id="fewer of the candidate"),
        pytest.param((5, 6, 7), range(5), dataclasses.replace(RULE, control_seeds=8), 0, "0, 1, 2, 3, 4", id="others"),
        pytest.param((0, 1, 2), (1, 2, 3), LOOKS, 2, "0, 3", id="with looks"),
    ],
)
def test_seeds_that_were_chosen_in_one_arm_are_a_contradiction(
    control: Sequence[int], candidate: Sequence[int], rule: DecisionRule, looks: int, chosen: str, tmp_path: Path
) -> None:
    found = verified(tmp_path, made=row_scores(control, candidate), rule=rule, looks=looks)
    # All numbers and the decision follow from the row scores.
    assert failures(found) == {"claim": "contradiction"}, found
    assert found["claim"].findings == (
        f"the seeds {chosen} are in one arm and not in the other, and by the rule in both or none",
    )


@pytest.mark.parametrize("seeds", [(0, 1, 7), (1, 0, 2), (-1, 0, 1)])
def test_seeds_that_the_rule_does_not_have_are_a_contradiction(seeds: tuple[int, ...], tmp_path: Path) -> None:
    found = verified(tmp_path, made=row_scores(seeds, seeds))
    assert failures(found) == {"claim": "contradiction"}
    assert "the control has 3 seeds in 3 fits, and the rule allows 1 to 5" in found["claim"].findings[0]


@pytest.mark.parametrize(
    "rule",
    [RULE, LOOKS, dataclasses.replace(RULE, seeds=1), dataclasses.replace(RULE, control_seeds=1)],
    ids=["five seeds", "looks", "five of the control", "five of the candidate"],
)
def test_a_trainer_whose_rule_has_several_seeds_does_not_pass_for_one_without_chance(
    rule: DecisionRule, tmp_path: Path
) -> None:
    looks = 1 if rule.looks else 0
    found = verified(tmp_path, made=row_scores((0,), (0,)), rule=rule, looks=looks, is_random=False)
    assert failures(found) == {"deltas": "not what follows", "decision": "not what follows"}, found
    assert "at least 3 seeds" in found["decision"].findings[0]


# --- metrics ---------------------------------------------------------------------------------------------------------

OWN = {"name": "own", "function": "module:own", "higher_is_better": True}


def own_rule(name: str, *own: dict[str, Any]) -> DecisionRule:
    """Return a rule by a metric of one's own."""
    scoring = canonical_json({**SCORING, "own_metrics": own}).decode()
    return dataclasses.replace(RULE, metric=name, scoring=scoring)


def test_a_metric_that_nobody_declared_does_not_decide(tmp_path: Path) -> None:
    homoglyph = "accura\N{CYRILLIC SMALL LETTER ES}y"
    for name, own in ((homoglyph, ()), (homoglyph, (OWN,)), ("own", ())):
        found = verified(tmp_path, change=with_rule(own_rule(name, *own)))
        assert failures(found)["claim"] == "contradiction"
        said = f"the rule's metric {name!a} is neither built in nor one of the rule's own metrics"
        assert said in found["claim"].findings


def test_a_metric_of_ones_own_is_better_the_way_that_its_rule_says(tmp_path: Path) -> None:
    found = verified(tmp_path, change=with_rule(own_rule("own", OWN)))
    assert (found["claim"].state, found["decision"].reason) == ("ok", "own metric"), found
    found = verified(tmp_path, change=with_rule(own_rule("own", OWN | {"higher_is_better": False})))
    assert found["claim"].findings == ("own against the control is claimed to be better the other way",)


def test_a_metric_of_other_labels_is_none_of_these_row_scores(tmp_path: Path) -> None:
    found = verified(tmp_path, change=with_rule(dataclasses.replace(RULE, metric="r2")))
    assert failures(found) == {"deltas": "other row scores"}
    assert found["deltas"].findings == ("r2 is a metric of regression, and the labels are of classification",)


# --- rows ------------------------------------------------------------------------------------------------------------


def put(name: str, values: object) -> Callable[[pa.Table], pa.Table]:
    """Return what puts other values into a column."""

    def edit(table: pa.Table) -> pa.Table:
        if name not in table.column_names:
            return table.append_column(name, pa.array(values))
        return table.set_column(table.column_names.index(name), name, pa.array(values))

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (put("row", [0] * ROWS), "its column row is not the numbers 0 to 399"),
        (other_metadata(sets=[{"name": "a", "kind": "zzz"}]), "sets of the kinds ['zzz'], which are none"),
        (put("group", [0] * (ROWS - 1) + [ROWS]), "its column group is not of codes from 0 to 399"),
        (put("query", [0] * (ROWS - 1) + [-1]), "its column query is not of codes from 0 to 399"),
    ],
)
def test_row_scores_that_contradict_themselves_are_unusable(
    edit: Callable[[pa.Table], pa.Table], said: str, tmp_path: Path
) -> None:
    found = verified(tmp_path, edit=edit)
    assert failures(found) == {"deltas": "unusable row scores"}
    assert said in found["deltas"].detail


def test_every_row_of_the_first_benchmark_decides(tmp_path: Path) -> None:
    few, halves = np.arange(ROWS - 1), np.arange(ROWS)
    one = RowSet(name="benchmark", kind="benchmark", rows=few)
    decision = RowSet(name="decision", kind="decision", rows=halves[::2])
    feedback = RowSet(name="feedback", kind="feedback", rows=halves[1::2])
    cut = dataclasses.replace(feedback, rows=feedback.rows[1:])
    sealed = dataclasses.replace(RULE, rows="decision half", decisions=2)
    said = "the rows that decide are 399, expected exactly the 400 of the first benchmark"
    cases: list[tuple[tuple[RowSet, ...], DecisionRule, str]] = [
        ((one,), RULE, said),
        ((decision, cut), sealed, said),
        ((decision, decision), sealed, "of the kind decision and decision, and by the rule the decision half"),
        ((dataclasses.replace(EVERYTHING, kind="slice"),), RULE, "of the kind slice, and by the rule the benchmark"),
        ((decision, feedback), RULE, "of the kind decision, and by the rule the benchmark"),
    ]
    for sets, rule, expected in cases:
        found = verified(tmp_path, made=row_scores(range(5), range(5), sets), rule=rule)
        assert found["deltas"].reason == "other row scores"
        assert expected in found["deltas"].findings[0]
    found = verified(tmp_path, made=row_scores(range(5), range(5), (decision, feedback)), rule=sealed)
    assert found["deltas"].reason != "other row scores"


def test_what_a_model_calls_probabilities_and_are_none_leaves_metrics_without_a_value(tmp_path: Path) -> None:
    made = row_scores(range(5), range(5))
    for strange in (7.0, np.nan):
        fits = {
            seed: dataclasses.replace(fit, probabilities=np.asarray(fit.probabilities) * strange - 3)
            for seed, fit in made.predictions["candidate"].items()
        }
        predictions = {**made.predictions, "candidate": fits}
        found = verified(tmp_path, made=dataclasses.replace(made, predictions=predictions))
        assert states(found) == ["ok"] * 3, found
        assert (
            "without a value: average_precision of the candidate, brier_score of the candidate"
            in found["deltas"].detail
        )


def with_rows(context: DatasetContext, rows: int) -> Callable[[DeltaClaim], DeltaClaim]:
    """Return what gives a claimed table another number of rows."""

    def change(claim: DeltaClaim) -> DeltaClaim:
        datasets = (
            dataclasses.replace(each, rows=rows) if each.context == context else each for each in claim.datasets
        )
        return dataclasses.replace(claim, datasets=tuple(datasets))

    return change


@pytest.mark.parametrize(
    ("context", "rows", "said"),
    [
        ("base", -5, "base has -5 rows"),
        ("integrated", 49, "of 100 base rows and 50 that were kept, 49 rows were integrated"),
        ("integrated", 151, "of 100 base rows and 50 that were kept, 151 rows were integrated"),
    ],
)
def test_rows_that_no_integration_gives_are_a_contradiction(
    context: DatasetContext, rows: int, said: str, tmp_path: Path
) -> None:
    found = verified(tmp_path, change=with_rows(context, rows))
    assert failures(found) == {"claim": "contradiction"}
    assert found["claim"].findings[0] == said


@pytest.mark.parametrize("rows", [50, 150])
def test_rows_of_the_base_may_be_taken_out(rows: int, tmp_path: Path) -> None:
    assert verified(tmp_path, change=with_rows("integrated", rows))["claim"].state == "ok"


# --- hostile documents -----------------------------------------------------------------------------------------------


def with_document(document: str) -> Callable[[DeltaClaim], DeltaClaim]:
    """Return what gives a claim another document of its rule."""

    def change(claim: DeltaClaim) -> DeltaClaim:
        return dataclasses.replace(
            claim, rule=dataclasses.replace(claim.rule, document=document, sha256=sha256(document.encode()))
        )

    return change


def with_long_decimal(claim: DeltaClaim) -> DeltaClaim:
    """Return a claim with a decimal of more digits than any float has."""
    first, *rest = claim.deltas
    long = first.gain.__class__("1" * 1_000_003 + "." + "0" * 12)
    return dataclasses.replace(claim, deltas=(dataclasses.replace(first, baseline=long), *rest))


def ruled(**changes: Any) -> str:
    """Return the document of another rule."""
    return rule_document(dataclasses.replace(RULE, **changes)).decode()


DEEP = "[" * 200_000


@pytest.mark.parametrize(
    ("what", "failed"),
    [
        pytest.param({"change": with_document(ruled().replace("0.95", "NaN"))}, "claim", id="a rule with NaN"),
        pytest.param({"change": with_document(ruled().replace("0.95", "1e999"))}, "claim", id="a rule with infinity"),
        pytest.param({"change": with_document(DEEP)}, "claim", id="a deep rule"),
        pytest.param({"change": with_document(DEEP[:900] + "]" * 900)}, "claim", id="a whole deep rule"),
        pytest.param({"change": with_document(ruled(confidence=1.0))}, "claim", id="a rule that divides by nothing"),
        pytest.param({"change": with_document(ruled(looks=(3, 4)))}, "claim", id="looks that end early"),
        pytest.param({"change": with_document(ruled(scoring="[]"))}, "claim", id="scoring that is a list"),
        pytest.param({"change": with_document(ruled(scoring=DEEP))}, "claim", id="deep scoring"),
        pytest.param({"change": with_document(ruled(scoring='{"a":1}'))}, "claim", id="scoring with another field"),
        pytest.param(
            {"change": with_document(ruled(scoring='{"group":"g","group":"g"}'))}, "claim", id="scoring with two groups"
        ),
        pytest.param(
            {"edit": lambda table: table.replace_schema_metadata({b"hokusai": DEEP.encode()})},
            "deltas",
            id="deep metadata",
        ),
        pytest.param({"edit": put("group", [2**42] + [0] * (ROWS - 1))}, "deltas", id="a great group"),
        pytest.param({"change": with_long_decimal}, "format", id="a long decimal"),
    ],
)
def test_a_hostile_statement_fails_a_check_and_ends_with_one(
    what: dict[str, Any], failed: str, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    write(tmp_path, **what)
    done = call("verify", str(tmp_path / "statement.json"), "--json")
    assert (done.code, done.err) == (1, "")
    assert [check["name"] for check in done.value["checks"] if check["state"] == "failed"] == [failed]
