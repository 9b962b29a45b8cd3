"""The ledger of a benchmark: what its entries add up to, and that nothing gets around it in a real store."""

from __future__ import annotations

import math
import os
import secrets
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai.errors import BenchmarkLedgerError, TrackingServerError
from hokusai.records import BenchmarkAnswer, BenchmarkHistory, BenchmarkQuestion
from hokusai.testing.faults import DropAnswer, Hang, Latency
from hokusai.tracking.benchmark_history import EarlierEvaluation, summarise_evaluations
from hokusai.tracking.benchmark_ledger import (
    LedgerEntry,
    LedgerState,
    Spending,
    entry_from_tags,
    entry_tags,
    ledger_name,
    read_ledger,
)
from hokusai.tracking.benchmark_questions import answer_question
from hokusai.tracking.mlflow_client import MetricPoint, MlflowStore
from hokusai.tracking.mlflow_ledger import BenchmarkLedger
from hokusai.tracking.operations import LogDataset

if TYPE_CHECKING:
    from collections.abc import Callable

    from hokusai.testing.faults import FaultyProxy
    from hokusai.testing.mlflow_server import MlflowServerProcess, MockMlflowServer
    from hokusai.testing.plugin import MlflowAddress

DIGEST, COMMITMENT, RULE = "ab" * 32, "c0" * 32, "01" * 32
CREATE = "POST .*model-versions/create"


def split(ledger: BenchmarkLedger, *, digest: str = DIGEST, decisions: int = 3, **facts: Any) -> LedgerState:
    """Declare a split."""
    given: dict[str, Any] = {"commitment": COMMITMENT, "feedback_rows": 60, "decision_rows": 59, **facts}
    return ledger.split(digest, decisions=decisions, **given)


def spend(ledger: BenchmarkLedger, evaluation: str, *, digest: str = DIGEST) -> Spending:
    """Take a decision."""
    return ledger.spend(digest, commitment=COMMITMENT, evaluation=evaluation, rule_sha256=RULE)


# --- what entries add up to -------------------------------------------------------------------------------------------

DECLARED = LedgerEntry(
    number=1,
    kind="split",
    key="first",
    commitment=COMMITMENT,
    decisions=4,
    alpha=0.05,
    feedback_rows=1,
    decision_rows=1,
)
_KINDS = st.sampled_from(["spend", "spend", "spend", "outcome", "split", "retire", "gap"])
_WANTED = st.lists(st.tuples(_KINDS, st.integers(0, 7)), max_size=14)


def log_of(wanted: list[tuple[Any, int]]) -> tuple[list[LedgerEntry], int]:
    """Return a log that begins with a split, and its highest number."""
    entries = [DECLARED]
    for number, (kind, which) in enumerate(wanted, start=2):
        about = {"evaluation": f"e{which}"} if kind in ("spend", "outcome") else {}
        if kind == "split":
            about = {"commitment": "another", "decisions": "99"}
        if kind != "gap":
            entry = LedgerEntry(number=number, kind=kind, key=f"{kind}:{number}")
            facts: dict[str, Any] = {**about, "decisions": 99} if kind == "split" else dict(about)
            entries.append(replace(entry, **facts))
    return entries, len(wanted) + 1


@given(wanted=_WANTED)
def test_no_more_decisions_are_granted_than_declared_and_each_evaluation_has_one(wanted: list[tuple[Any, int]]) -> None:
    entries, highest = log_of(wanted)
    state = read_ledger(DIGEST, entries, highest=highest)
    assert state.declaration == DECLARED
    assert len(state.spent) + state.left <= DECLARED.decisions
    numbers = [item.number for item in state.spent]
    assert numbers == sorted(set(numbers))
    assert all(1 <= number <= DECLARED.decisions for number in numbers)
    assert len({item.evaluation for item in state.spent}) == len(state.spent)
    assert state.missing == sum(kind == "gap" for kind, _ in wanted)


@given(wanted=_WANTED, data=st.data())
def test_what_was_granted_stays_granted_when_the_log_grows(wanted: list[tuple[Any, int]], data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(wanted)))
    (before, lower), (after, higher) = log_of(wanted[:length]), log_of(wanted)
    earlier, later = read_ledger(DIGEST, before, highest=lower), read_ledger(DIGEST, after, highest=higher)
    granted = [(item.number, item.evaluation) for item in earlier.spent]
    assert [(item.number, item.evaluation) for item in later.spent][: len(granted)] == granted
    assert later.left <= earlier.left


@given(wanted=_WANTED, data=st.data())
def test_deleted_entries_never_give_a_decision_back(wanted: list[tuple[Any, int]], data: st.DataObject) -> None:
    kept = [(kind, which) for kind, which in wanted if kind != "retire"]
    entries, highest = log_of(kept)
    left = data.draw(st.lists(st.sampled_from(entries), unique_by=lambda entry: entry.number))
    before, after = read_ledger(DIGEST, entries, highest=highest), read_ledger(DIGEST, left, highest=highest)
    assert after.left <= before.left
    if DECLARED not in left:
        assert (after.left, after.spent, after.is_split) == (0, (), False)
        assert "the entry that declared its split was deleted" in after.retired


@given(wanted=_WANTED, rng=st.randoms(use_true_random=False))
def test_the_order_in_which_entries_arrive_plays_no_part(wanted: list[tuple[Any, int]], rng: Any) -> None:
    entries, highest = log_of(wanted)
    shuffled = rng.sample(entries, k=len(entries))
    assert read_ledger(DIGEST, shuffled, highest=highest) == read_ledger(DIGEST, entries, highest=highest)


def test_a_retired_ledger_grants_nothing_more_and_an_empty_one_is_not_split() -> None:
    entries, _ = log_of([("spend", 0), ("retire", 0), ("spend", 1)])
    entries[2] = replace(entries[2], user="kim", at="2030-01-02", note="it leaked")
    state = read_ledger(DIGEST, entries)
    assert [item.evaluation for item in state.spent] == ["e0"]
    assert (state.left, state.retired) == (0, "kim retired it at 2030-01-02: it leaked")
    empty = read_ledger(DIGEST, ())
    assert (empty.is_split, empty.left, empty.retired, empty.missing) == (False, 0, "", 0)
    used = read_ledger(DIGEST, log_of([("spend", number) for number in range(4)])[0])
    assert (used.left, used.retired) == (0, "all 4 decisions are spent")


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20)


@given(note=_TEXT, user=_TEXT, decisions=st.integers(1, 10**6), alpha=st.floats(1e-9, 0.999), group=_TEXT)
def test_an_entry_comes_back_from_its_tags(note: str, user: str, decisions: int, alpha: float, group: str) -> None:
    declared = replace(DECLARED, note=note, user=user, decisions=decisions, alpha=alpha, group=group)
    assert entry_from_tags(1, entry_tags(declared)) == declared
    spent = LedgerEntry(number=7, kind="spend", key="k", evaluation="e", rule_sha256=RULE, user=user)
    assert entry_from_tags(7, entry_tags(spent)) == spent


def test_versions_that_are_none_of_ours_or_were_spoiled_are_no_entries() -> None:
    tags = entry_tags(DECLARED)
    for name, text in (
        ("kind", "gift"),
        ("key", ""),
        ("decisions", "-4"),
        ("decisions", "0"),
        ("decisions", "9" * 5000),
        ("alpha", "nan"),
    ):
        assert entry_from_tags(1, tags | {f"hokusai.ledger.{name}": text}) is None, name
    assert entry_from_tags(1, tags | {"hokusai.ledger.alpha": "much"}) is None
    assert entry_from_tags(1, tags | {"hokusai.ledger.kind": "spend"}) is None
    assert entry_from_tags(1, {}) is None


# --- in a store -------------------------------------------------------------------------------------------------------


def test_a_benchmark_is_split_spent_and_told(mlflow_store: MlflowAddress) -> None:
    ledger = BenchmarkLedger(mlflow_store.uri)
    assert ledger.read(DIGEST) == LedgerState(digest=DIGEST)
    state = split(ledger, group="patient", note="for a year; password=hunter2!x")
    assert (state.decisions, state.left, state.commitment) == (3, 3, COMMITMENT)
    assert state.alpha == pytest.approx(0.05 / 3, rel=1e-15)
    assert state.declaration is not None
    assert (state.declaration.feedback_rows, state.declaration.decision_rows) == (60, 59)
    assert (state.declaration.group, "hunter2" in state.declaration.note) == ("patient", False)
    assert "" not in (state.declaration.user, state.declaration.host_kind, state.declaration.at)
    assert spend(ledger, "e1") == Spending(number=1, decisions=3, alpha=state.alpha)
    assert spend(ledger, "e2").number == 2
    assert spend(ledger, "e1").number == 1
    ledger.record_outcome(DIGEST, evaluation="e1", outcome="reject")
    again = ledger.record_outcome(DIGEST, evaluation="e1", outcome="reject")
    told = BenchmarkLedger(mlflow_store.uri).read(DIGEST)
    assert told == again
    spent = [(item.number, item.evaluation, item.rule_sha256, item.outcome) for item in told.spent]
    assert spent == [(1, "e1", RULE, "reject"), (2, "e2", RULE, "")]
    assert told.left == 1
    # Split, two spends, one outcome: what was said twice is there once.
    assert len(mlflow_store.client.search_model_versions(f"name = '{ledger_name(DIGEST)}'")) == 4
    assert (ledger.find("abab"), ledger.find("abac")) == ((DIGEST,), ())


def test_what_does_not_fit_the_declaration_is_refused(mlflow_store: MlflowAddress) -> None:
    ledger = BenchmarkLedger(mlflow_store.uri)

    def refusal(call: Callable[[], object]) -> str:
        with pytest.raises(BenchmarkLedgerError) as caught:
            call()
        assert caught.value.digest
        assert caught.value.exit_code == 1
        return str(caught.value)

    assert "it is not split" in refusal(lambda: spend(ledger, "e1"))
    assert "it is not split" in refusal(lambda: ledger.retire(DIGEST, reason="no use"))
    assert "got 0 decisions, expected a number from 1" in refusal(lambda: split(ledger, decisions=0))
    for alpha, decisions in ((1.0, 1000), (math.nan, 3), (0.6, 1), (0.51, 2), (1e-16, 1), (1e-13, 1000), (-0.05, 3)):
        said = refusal(lambda: split(ledger, alpha=alpha, decisions=decisions))  # noqa: B023
        assert f"got the probability {alpha!r} for {decisions} decisions, expected a number below 1" in said
        assert "leaves 1e-15 to 0.25 for each of them" in said
    for rows in (0, 1):
        said = refusal(lambda: split(ledger, decision_rows=rows))  # noqa: B023
        assert f"one half would have 60 rows and the other {rows}, expected at least two in each" in said
    assert "got no content digest" in refusal(lambda: ledger.read("abc"))
    assert not mlflow_store.client.search_registered_models()
    split(ledger, decisions=2)
    told = refusal(lambda: split(ledger, decisions=200))
    assert "for 2 decisions. What is declared stays: a benchmark is split once, and its number never grows" in told
    other = "ff" * 32
    wrong_key = refusal(lambda: ledger.spend(DIGEST, commitment=other, evaluation="e1", rule_sha256=RULE))
    assert (
        f"the key is not the one by which it was split (commitment {other[:12]}, expected {COMMITMENT[:12]})"
        in wrong_key
    )
    assert "expected the key of an evaluation" in refusal(lambda: spend(ledger, "no' key"))
    spend(ledger, "e1")
    rule = refusal(lambda: ledger.spend(DIGEST, commitment=COMMITMENT, evaluation="e1", rule_sha256=other))
    assert f"evaluation e1 took decision 1 with the rule {RULE[:12]}, got {other[:12]}" in rule
    assert "evaluation e2 has taken no decision" in refusal(
        lambda: ledger.record_outcome(DIGEST, evaluation="e2", outcome="accept")
    )
    assert spend(ledger, "e1").number == 1
    ledger.record_outcome(DIGEST, evaluation="e1", outcome="reject")
    assert "evaluation e1 has had its answer, reject" in refusal(lambda: spend(ledger, "e1"))
    assert "has the outcome 'reject' on record, got 'accept'" in refusal(
        lambda: ledger.record_outcome(DIGEST, evaluation="e1", outcome="accept")
    )
    assert ledger.read(DIGEST).left == 1
    assert "needs a reason" in refusal(lambda: ledger.retire(DIGEST, reason=" "))
    assert ledger.retire(DIGEST, reason="it leaked").left == 0
    assert "it leaked" in refusal(lambda: spend(ledger, "e3"))
    assert "it leaked" in refusal(lambda: ledger.retire(DIGEST, reason="again"))


def test_a_deleted_or_spoiled_entry_gives_no_decision_back(mlflow_store: MlflowAddress) -> None:
    ledger, client, name = BenchmarkLedger(mlflow_store.uri), mlflow_store.client, ledger_name(DIGEST)
    split(ledger, decisions=4)
    for evaluation in ("e1", "e2", "e3"):
        spend(ledger, evaluation)
    client.delete_model_version(name, "4")
    # MLflow numbers on: the next entry shows that there was one.
    assert spend(ledger, "e4").number == 4
    assert (ledger.read(DIGEST).missing, ledger.read(DIGEST).left) == (1, 0)
    client.delete_model_version_tag(name, "3", "hokusai.ledger.kind")
    state = ledger.read(DIGEST)
    assert (state.missing, state.left, state.retired) == (
        2,
        0,
        "all 4 decisions are spent, 2 of them by deleted entries",
    )
    with pytest.raises(BenchmarkLedgerError, match="2 of them by deleted entries"):
        spend(ledger, "e5")


def test_a_ledger_whose_split_was_deleted_is_of_no_use_any_more(mlflow_store: MlflowAddress) -> None:
    ledger = BenchmarkLedger(mlflow_store.uri)
    split(ledger)
    spend(ledger, "e1")
    mlflow_store.client.delete_model_version(ledger_name(DIGEST), "1")
    with pytest.raises(BenchmarkLedgerError, match="the entry that declared its split was deleted"):
        spend(ledger, "e2")
    with pytest.raises(BenchmarkLedgerError, match="cannot be split"):
        split(ledger, decisions=1000)


def test_a_ledger_of_many_entries_is_read_page_by_page(
    mlflow_store: MlflowAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hokusai.tracking.mlflow_ledger._PER_PAGE", 3)
    ledger = BenchmarkLedger(mlflow_store.uri)
    split(ledger, decisions=9)
    assert [spend(ledger, f"e{number}").number for number in range(1, 10)] == list(range(1, 10))
    assert (ledger.read(DIGEST).missing, ledger.read(DIGEST).left) == (0, 0)


# --- several at once, lost answers, deaths ----------------------------------------------------------------------------


def grants(uri: str, digest: str, *, spenders: int) -> list[int | str]:
    """Spend at once from threads with stores of their own; return the numbers that were granted, and the refusals."""
    ledgers = [BenchmarkLedger(uri, request_seconds=60.0) for _ in range(spenders)]

    def take(place: int) -> int | str:
        try:
            return spend(ledgers[place], f"e{place}", digest=digest).number
        except BenchmarkLedgerError as error:
            return error.problem

    with ThreadPoolExecutor(spenders) as pool:
        return list(pool.map(take, range(spenders)))


def test_of_eight_who_spend_at_once_in_a_file_as_many_are_granted_as_were_declared(mlflow_store: MlflowAddress) -> None:
    split(BenchmarkLedger(mlflow_store.uri), decisions=5)
    taken = grants(mlflow_store.uri, DIGEST, spenders=8)
    assert sorted(item for item in taken if isinstance(item, int)) == [1, 2, 3, 4, 5]
    refusals = [item for item in taken if isinstance(item, str)]
    assert len(refusals) == 3
    assert all("all 5 decisions are spent" in item for item in refusals)


def test_of_eight_who_have_all_read_the_same_ledger_as_many_are_granted_as_were_declared(
    faulty_mlflow: FaultyProxy, mlflow_server: MockMlflowServer
) -> None:
    split(BenchmarkLedger(mlflow_server.uri), decisions=5)
    # Each has found all five decisions left before any of them spends one.
    faulty_mlflow.faults = [Latency(1.0, route=CREATE)]
    taken = grants(faulty_mlflow.uri, DIGEST, spenders=8)
    assert sorted(item for item in taken if isinstance(item, int)) == [1, 2, 3, 4, 5]
    assert BenchmarkLedger(mlflow_server.uri).read(DIGEST).left == 0


def test_of_several_who_split_at_once_one_does(faulty_mlflow: FaultyProxy, mlflow_server: MockMlflowServer) -> None:
    faulty_mlflow.faults = [Latency(0.5, route=CREATE)]

    def declare(decisions: int) -> int:
        try:
            return split(BenchmarkLedger(faulty_mlflow.uri), decisions=decisions).decisions
        except BenchmarkLedgerError:
            return 0

    with ThreadPoolExecutor(4) as pool:
        declared = list(pool.map(declare, (10, 20, 30, 40)))
    (winner,) = [number for number in declared if number]
    assert BenchmarkLedger(mlflow_server.uri).read(DIGEST).decisions == winner


SPENDER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from hokusai.errors import BenchmarkLedgerError
from hokusai.tracking.mlflow_ledger import BenchmarkLedger

digest, commitment, rule, place, *uris = sys.argv[1:]


def take(ledger, thread):
    try:
        evaluation = f"e{place}{thread}"
        return str(ledger.spend(digest, commitment=commitment, evaluation=evaluation, rule_sha256=rule).number)
    except BenchmarkLedgerError as error:
        return error.problem


for uri in uris:
    ledgers = [BenchmarkLedger(uri, request_seconds=60.0) for _ in range(2)]
    ledgers[0].read(digest)
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(2) as pool:
        print("|".join(pool.map(take, ledgers, range(2))), flush=True)
"""


@pytest.mark.slow
def test_of_processes_that_spend_at_once_as_many_are_granted_as_were_declared(
    mlflow_store: MlflowAddress,
    mlflow_server_process: MlflowServerProcess,
    subprocess_environment: dict[str, str],
) -> None:
    digest, uris = secrets.token_hex(32), (mlflow_store.uri, mlflow_server_process.uri)
    for uri in uris:
        split(BenchmarkLedger(uri), digest=digest, decisions=5)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SPENDER, digest, COMMITMENT, RULE, str(place), *uris],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=subprocess_environment,
        )
        for place in range(4)
    ]
    pipes = [(process.stdin, process.stdout) for process in processes if process.stdin and process.stdout]
    for uri in uris:
        assert [out.readline() for _, out in pipes] == ["ready\n"] * 4
        for into, _ in pipes:
            into.write("go\n")
            into.flush()
        told = [text for _, out in pipes for text in out.readline().strip().split("|")]
        assert sorted(text for text in told if text.isdecimal()) == ["1", "2", "3", "4", "5"], uri
        assert sum("all 5 decisions are spent" in text for text in told) == 3
    for process in processes:
        process.communicate()
        assert process.returncode == 0


DYING = """
import os, signal, sys
from hokusai.tracking.mlflow_ledger import BenchmarkLedger

append = BenchmarkLedger._append


def append_and_die(*arguments):
    append(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)


BenchmarkLedger._append = append_and_die
uri, digest, commitment, rule = sys.argv[1:]
BenchmarkLedger(uri).spend(digest, commitment=commitment, evaluation="e1", rule_sha256=rule)
"""


def test_a_decision_stays_spent_when_its_process_dies_and_is_its_own_when_it_comes_back(
    mlflow_store: MlflowAddress, subprocess_environment: dict[str, str]
) -> None:
    ledger = BenchmarkLedger(mlflow_store.uri)
    split(ledger)
    killed = subprocess.run(
        [sys.executable, "-c", DYING, mlflow_store.uri, DIGEST, COMMITMENT, RULE],
        check=False,
        env=subprocess_environment,
    )
    assert killed.returncode == -signal.SIGKILL
    assert ledger.read(DIGEST).left == 2
    assert spend(ledger, "e2").number == 2
    assert spend(ledger, "e1").number == 1
    assert ledger.read(DIGEST).left == 1


def test_an_answer_that_was_lost_spends_once(faulty_mlflow: FaultyProxy, mlflow_server: MockMlflowServer) -> None:
    split(BenchmarkLedger(mlflow_server.uri))
    ledger = BenchmarkLedger(faulty_mlflow.uri)
    faulty_mlflow.faults = [DropAnswer(route=CREATE, times=1)]
    assert spend(ledger, "e1").number == 1
    assert any(event.fault for event in faulty_mlflow.events)
    state = BenchmarkLedger(mlflow_server.uri).read(DIGEST)
    assert (len(state.spent), state.left) == (1, 2)


def test_a_store_that_keeps_silent_is_told_and_leaves_the_environment_as_it_was(
    faulty_mlflow: FaultyProxy, mlflow_server: MockMlflowServer
) -> None:
    split(BenchmarkLedger(mlflow_server.uri))
    ledger = BenchmarkLedger(faulty_mlflow.uri, request_seconds=1.0)
    before = dict(os.environ)
    faulty_mlflow.faults = [Hang(route=".*model-versions/search")]
    with pytest.raises(TrackingServerError, match="does not answer") as caught:
        spend(ledger, "e1")
    assert caught.value.is_outage
    assert dict(os.environ) == before
    faulty_mlflow.faults = []
    assert BenchmarkLedger(mlflow_server.uri).read(DIGEST).left == 3


@pytest.fixture
def dead_server() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_dead_server_is_told(dead_server: str) -> None:
    for call in (lambda: split(BenchmarkLedger(dead_server)), lambda: spend(BenchmarkLedger(dead_server), "e1")):
        with pytest.raises(TrackingServerError, match="cannot be reached") as caught:
            call()
        assert caught.value.is_outage


# --- history ----------------------------------------------------------------------------------------------------------


def ask(uri: str, metric: str, *, without: str = "") -> BenchmarkAnswer:
    """Ask a store about the benchmark and a metric of which more is better."""
    question = BenchmarkQuestion(digest=DIGEST, metric=metric, higher_is_better=True, evaluation=without)
    return answer_question(BenchmarkLedger(uri), question)


def record(store: MlflowStore, evaluation: str, *, digest: str = DIGEST, name: str = "benchmark", **facts: Any) -> str:
    """Make the run of an evaluation, as far as a history reads it; return its id."""
    given: dict[str, Any] = {
        "status": "FINISHED",
        "parent_id": None,
        "decision": "reject",
        "experiment": "one",
        **facts,
    }
    experiment = store.ensure_experiment(given["experiment"], tags={})
    tags = {"hokusai.evaluation": evaluation} | ({"hokusai.decision": given["decision"]} if given["decision"] else {})
    started = 1000 + len(evaluation)
    run = store.create_run(experiment, name=evaluation, started_at=started, parent_id=given["parent_id"], tags=tags)
    store.log_datasets(
        run,
        [
            LogDataset(
                run="", name=name, context="benchmark", digest=digest, source="b.csv", rows=3, columns={"x": "double"}
            )
        ],
    )
    store.log_batch(run, metrics=[MetricPoint("candidate.accuracy", given["accuracy"], 1, 0)])
    store.end_run(run, status=given["status"], ended_at=2000)
    return run


def test_a_history_is_of_finished_evaluations_that_this_content_decided(mlflow_store: MlflowAddress) -> None:
    store, uri = MlflowStore(mlflow_store.uri), mlflow_store.uri
    none = BenchmarkHistory(evaluations=0, metric="accuracy")
    assert ask(uri, "accuracy") == BenchmarkAnswer(is_split=False, history=none)
    parent = record(store, "e", accuracy=0.7)
    record(store, "ee", accuracy=0.9, experiment="another")
    record(store, "eee", accuracy=0.6)
    # None of these is an earlier evaluation that this content decided.
    record(store, "eeee", accuracy=0.99, parent_id=parent)
    record(store, "eeeee", accuracy=0.99, status="FAILED")
    record(store, "eeeeee", accuracy=0.99, digest=DIGEST[:40] + "0" * 24)
    record(store, "eeeeeee", accuracy=0.99, name="a further benchmark")
    record(store, "eeeeeeee", accuracy=0.99, decision="")
    record(store, "eeeeeeeee", accuracy=0.99)
    split(BenchmarkLedger(uri))
    found = ask(uri, "accuracy", without="eeeeeeeee")
    known = BenchmarkHistory(evaluations=3, metric="accuracy", best=0.9, median=0.7, latest=0.6)
    assert found == BenchmarkAnswer(is_split=True, history=known)
    unknown = ask(uri, "log_loss", without="eeeeeeeee")
    assert unknown.history == BenchmarkHistory(evaluations=3, metric="log_loss")


def test_a_store_that_does_not_answer_has_no_history(dead_server: str) -> None:
    with pytest.raises(TrackingServerError, match="cannot be reached"):
        ask(dead_server, "accuracy")


@given(values=st.lists(st.one_of(st.none(), st.just(float("nan")), st.floats(-1, 1)), max_size=12), rng=st.randoms())
def test_a_summary_is_of_what_was_recorded_and_knows_which_value_is_the_best(
    values: list[float | None], rng: Any
) -> None:
    items = [EarlierEvaluation(evaluation=str(at), started=at, candidate=value) for at, value in enumerate(values)]
    shuffled = rng.sample(items, k=len(items))
    known = [value for value in values if value is not None and not math.isnan(value)]
    for higher_is_better, best in ((True, max), (False, min)):
        found = summarise_evaluations(shuffled, metric="m", higher_is_better=higher_is_better)
        assert found.evaluations == len(values)
        assert found.best == best(known, default=None)
        assert found.latest == (known[-1] if known else None)
        assert found.median is None or sum(v <= found.median for v in known) * 2 >= len(known)
