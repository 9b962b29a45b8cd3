"""The rules by which ``champion`` moves: what a move needs, which of several at once counts, what the moves add up to.

The moves of a model are a log that only grows. A move names the one that it is based on, and counts if that is the last
one that counts; so of several that are based on the same one the first in the log counts, and every reader of the log
finds the same. Nothing here opens a store or asks a clock.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from hokusai.digests import sha256
from hokusai.errors import PromotionError
from hokusai.models.run_artifacts import listed_artifacts
from hokusai.records import DELTA_FILE, MODEL_SHA256_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hokusai.records import ModelVersion

__all__ = [
    "APPLIED_TAG",
    "BASELINE",
    "CHAMPION",
    "LONGEST_REASON",
    "MOVES_OF_TAG",
    "MOVES_SUFFIX",
    "PREVIOUS",
    "Action",
    "AliasMove",
    "AliasState",
    "DecisionRecord",
    "MoveLog",
    "Verdict",
    "address_of",
    "check_decision",
    "evaluation_of",
    "move_from_tags",
    "move_tags",
    "read_moves",
]

CHAMPION, PREVIOUS, BASELINE = "champion", "previous", "baseline"
MOVES_SUFFIX = ".moves"
"""The registered model ``NAME.moves`` is the log of the moves of ``NAME``: each of its versions is one move."""
MOVES_OF_TAG = "hokusai.moves_of"
"""On such a log: the name of the model."""
"""The decision, as the comparing step of an evaluation records it."""
LONGEST_REASON = 5000
"""Characters of a reason that every MLflow server keeps."""

Action = Literal["promote", "rollback", "outside"]
Standing = Literal["done", "unfinished", "lost"]

_TAG = "hokusai.move."
APPLIED_TAG = f"{_TAG}applied"
"""On a move that the aliases are known to have followed."""
_EVALUATION_TAG = "hokusai.evaluation"
_DECISION_TAG = "hokusai.decision"
_EVALUATION = re.compile(r"[\w.-]{1,100}")
_DELTA_FORMAT = "hokusai-delta/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """One move of ``champion``, as it was recorded.

    Attributes:
        number: Its place in the log; 0 for a move that somebody made outside of Hokusai.
        key: What tells it from a move with the same contents.
        based_on: The last move that counted when it was made; 0 for none.
        action: ``promote``, ``rollback``, or ``outside``: somebody moved the alias in MLflow itself.
        found: The version that ``champion`` named before; empty for none.
        version: The version that it names from then on; empty when somebody took the alias away.
        baseline: The version that ``baseline`` names from then on; empty when that was left as it was.
        at: When it was made: UTC, ISO 8601; empty when nobody knows. The order of moves does not depend on it.
        user: Who made it; empty when nobody knows.
        host_kind: What it was made on, such as ``ci`` or ``machine``.
        reason: Why.
        decision: What the evaluation of the version had decided; empty for a rollback, or where there is no record.
        evaluation: Which evaluation that was.
        delta_sha256: SHA-256 of its ``delta.json``.
        override: Whether the decision did not allow the move and somebody made it all the same.
        problem: What the decision lacked then, in one sentence.
        is_applied: Whether the aliases are known to have followed.
        standing: ``done``, ``unfinished`` (the aliases may not have followed), or ``lost`` against another move.
    """

    number: int = 0
    key: str = ""
    based_on: int = 0
    action: Action = "outside"
    found: str = ""
    version: str = ""
    baseline: str = ""
    at: str = ""
    user: str = ""
    host_kind: str = ""
    reason: str = ""
    decision: str = ""
    evaluation: str = ""
    delta_sha256: str = ""
    override: bool = False
    problem: str = ""
    is_applied: bool = False
    standing: Standing = "done"


_TEXT_FIELDS = (
    "key",
    "action",
    "found",
    "version",
    "baseline",
    "at",
    "user",
    "host_kind",
    "reason",
    "decision",
    "evaluation",
    "delta_sha256",
    "problem",
)


def move_tags(move: AliasMove) -> dict[str, str]:
    """Return a move as the tags of its entry in the log."""
    tags = {_TAG + name: str(getattr(move, name)) for name in _TEXT_FIELDS}
    tags |= {f"{_TAG}based_on": str(move.based_on), f"{_TAG}override": str(move.override).lower()}
    return {name: value for name, value in tags.items() if value}


def move_from_tags(number: int, tags: Mapping[str, str]) -> AliasMove | None:
    """Return the move that an entry of the log holds; None for an entry that is none of ours."""
    based_on = tags.get(f"{_TAG}based_on", "")
    if not based_on.isdecimal() or tags.get(f"{_TAG}action") not in ("promote", "rollback"):
        return None
    texts: dict[str, Any] = {name: tags.get(_TAG + name, "") for name in _TEXT_FIELDS if name != "action"}
    return AliasMove(
        number=number,
        based_on=int(based_on),
        action=cast("Action", tags[f"{_TAG}action"]),
        override=tags.get(f"{_TAG}override") == "true",
        is_applied=tags.get(APPLIED_TAG) == "true",
        **texts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasState:
    """What the moves add up to.

    Attributes:
        champions: The versions that are, and were, champion, the present one last; a rollback takes one away. Empty
            texts stand for the times without a champion.
        last: Number of the last move that counts; 0 for none.
        baseline: The version that the last move that moved ``baseline`` gave it to.
    """

    champions: tuple[str, ...] = ()
    last: int = 0
    baseline: str = ""

    @property
    def champion(self) -> str:
        """The version in use; empty for none."""
        return self.champions[-1] if self.champions else ""

    @property
    def previous(self) -> str:
        """The champion before; empty for none."""
        return next((version for version in reversed(self.champions[:-1]) if version), "")

    def after(self, move: AliasMove) -> AliasState:
        """Return the state after one more move."""
        champions = self.champions
        if move.action == "rollback":
            champions = champions[:-1]
            while champions and not champions[-1]:
                champions = champions[:-1]
        if (champions[-1] if champions else "") != move.version:
            champions = (*champions, move.version)
        return AliasState(champions=champions, last=move.number or self.last, baseline=move.baseline or self.baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveLog:
    """The moves of a model, and what they add up to.

    Attributes:
        moves: Every move with its standing, the oldest first; moves that were noticed but not made by us among them.
        state: What those that count add up to.
    """

    moves: tuple[AliasMove, ...] = ()
    state: AliasState = AliasState()

    @property
    def last(self) -> AliasMove | None:
        """The last move that counts, or None."""
        return next((move for move in reversed(self.moves) if move.number == self.state.last and move.number), None)

    @property
    def is_finished(self) -> bool:
        """Whether the aliases are known to have followed the last move."""
        return self.last is None or self.last.is_applied

    def won(self, key: str) -> bool:
        """Say whether the move with this key counts."""
        return any(move.key == key and move.standing != "lost" for move in self.moves)

    def winner_over(self, move: AliasMove) -> AliasMove | None:
        """Return the move that counts in the place of one that does not."""
        counting = (item for item in self.moves if item.number and item.standing != "lost")
        return next((item for item in counting if item.number > move.based_on), None)

    def noticing(self, champion: str) -> MoveLog:
        """Return the log with what the alias shows now, if that is not what the moves add up to.

        An unfinished move explains that the alias still names what it named before.
        """
        last = self.last
        expected = {self.state.champion} if last is None or last.is_applied else {self.state.champion, last.found}
        if champion in expected:
            return self
        outside = AliasMove(action="outside", found=self.state.champion, version=champion)
        return MoveLog(moves=(*self.moves, outside), state=self.state.after(outside))


def read_moves(entries: Iterable[AliasMove]) -> MoveLog:
    """Return what the entries of a log, in the order of their numbers, add up to.

    An entry that is not there any more, and on which another one is based, counted when that one was made.
    """
    moves: list[AliasMove] = []
    state, keys = AliasState(), set[str]()
    listed = tuple(entries)
    deleted = sorted({entry.based_on for entry in listed} - {entry.number for entry in listed})
    for entry in listed:
        last_deleted = max((number for number in deleted if number < entry.number), default=0)
        state = replace(state, last=max(state.last, last_deleted))
        if entry.key in keys:
            # The store was asked twice, because its answer was lost.
            continue
        keys.add(entry.key)
        if entry.based_on != state.last:
            moves.append(replace(entry, standing="lost"))
            continue
        if entry.found != state.champion:
            outside = AliasMove(action="outside", found=state.champion, version=entry.found)
            moves.append(outside)
            state = state.after(outside)
        moves.append(entry)
        state = state.after(entry)
    log = MoveLog(moves=tuple(moves), state=state)
    last = log.last
    if last is None or last.is_applied:
        return log
    shown = tuple(replace(move, standing="unfinished") if move is last else move for move in moves)
    return MoveLog(moves=shown, state=state)


def address_of(name: str, version: str) -> str:
    """Return the address of a version from what a caller may give: a name and a version or alias, or an address.

    Raises:
        PromotionError: Neither is there.
    """
    if not version:
        if name.startswith("models:/") or "@" in name or "/" in name:
            return name
        raise PromotionError(name, alias=CHAMPION, problem="say which version, such as 3 or @candidate.")
    if version.startswith(("models:/", "m-", "runs:/", "sha256:")):
        return version
    return f"models:/{name}/{version}" if version.isdecimal() else f"models:/{name}@{version.removeprefix('@')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """What the tracking store holds of an evaluation's decision.

    Attributes:
        delta: The bytes of ``delta.json``.
        manifest: The bytes of the list of artifacts of the run that has it.
        manifest_digest: SHA-256 of that list, from the run's tag.
        runs: How many runs, deleted ones among them, say that they are the step that has it.
        is_of_version: Whether that run is a step of the very run that the version came from.
    """

    delta: bytes
    manifest: bytes
    manifest_digest: str
    runs: int = 1
    is_of_version: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the record of a decision lets a version become champion.

    Attributes:
        problem: Why not, in one sentence; empty when it does.
        decision: What was decided; empty where that cannot be known.
        delta_sha256: SHA-256 of the record.
    """

    problem: str = ""
    decision: str = ""
    delta_sha256: str = ""


def evaluation_of(version: ModelVersion) -> str:
    """Return the evaluation that a version's tags name; empty when they name none."""
    evaluation = version.tags.get(_EVALUATION_TAG, "")
    return evaluation if _EVALUATION.fullmatch(evaluation) else ""


def check_decision(version: ModelVersion, record: DecisionRecord | None) -> Verdict:
    """Return whether the decision on record is about this version, is as it was recorded, and accepts.

    The record, its list and the tags must fit one another, and there must be one record, in a step of the run that the
    version came from; so nothing that is added to the store, and no single edit, turns a decision round. Whoever may
    write everything there still can: by editing ``delta.json``, ``manifest.json``, the run's digest of that one and the
    version's tag together, or by making up a whole evaluation. Only a statement that was signed elsewhere shows that.

    Args:
        version: The version, with its tags.
        record: What the store holds, or None when there is nothing.
    """
    if not evaluation_of(version):
        return Verdict(problem="it has no decision record, because no evaluation registered it.")
    if record is None:
        return Verdict(problem=f"the decision record of evaluation {evaluation_of(version)} is not there.")
    if problem := _doubt(version, record):
        return Verdict(problem=problem)
    digest = sha256(record.delta)
    document = _object(record.delta)
    if document.get("format") != _DELTA_FORMAT:
        problem = f"{DELTA_FILE} is in the format {document.get('format')!r}, expected {_DELTA_FORMAT!r}."
        return Verdict(problem=problem, delta_sha256=digest)
    decision = document.get("decision")
    decision = decision if isinstance(decision, dict) else {}
    outcome, tag = str(decision.get("outcome", "")), version.tags.get(_DECISION_TAG, "")
    return Verdict(
        problem=_misfit(version, document)
        or _disagreement(tag, outcome)
        or ("" if outcome == "accept" else f"the decision is {outcome!r}: {decision.get('reason', '')}"),
        decision=outcome,
        delta_sha256=digest,
    )


def _doubt(version: ModelVersion, record: DecisionRecord) -> str:
    """Return why a record is not to be believed, whatever it says."""
    if record.runs > 1:
        return f"{record.runs} runs say that they decided evaluation {evaluation_of(version)}: somebody added one."
    if not record.is_of_version:
        return "its decision record is not in a step of the run that it came from."
    listed = dict(listed_artifacts(record.manifest)).get(DELTA_FILE)
    if sha256(record.manifest) != record.manifest_digest or listed != sha256(record.delta):
        return f"{DELTA_FILE} is not the one that was recorded: somebody edited it."
    return ""


def _misfit(version: ModelVersion, document: Mapping[str, object]) -> str:
    if document.get("evaluation") != evaluation_of(version):
        return f"its decision record is that of another evaluation, {document.get('evaluation')!r}."
    model, tag = document.get("model_sha256"), version.tags.get(MODEL_SHA256_TAG, "")
    if not model or not tag:
        return "nothing says which model the decision was about: it was recorded by an older version of Hokusai."
    return "" if model == tag else f"the decision is about another model, whose file has the SHA-256 {model}."


def _disagreement(tag: str, outcome: str) -> str:
    return (
        "" if tag == outcome else f"its tag says {tag!r} and the decision record {outcome!r}: somebody edited the tag."
    )


def _object(content: bytes) -> dict[str, object]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
