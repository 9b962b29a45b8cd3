"""Whether files are those that a statement names: the report, row scores, tables, the model, and the journal."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hokusai.digests import file_sha256, sha256
from hokusai.errors import ConfigurationError, DataError, JournalError, StatementError
from hokusai.provenance.decimals import fixed_decimal
from hokusai.records import STATEMENT_FILE
from hokusai.tracking.journal import FIRST_LINK, JournalReader, staged_path
from hokusai.tracking.operations import LogArtifact
from hokusai.verification.checks import failed, not_done, ok
from hokusai.verification.signatures import statement_payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hokusai.provenance.claims import DeltaClaim, Statement, Subject
    from hokusai.tracking.operations import Operation
    from hokusai.verification.checks import StatementCheck

__all__ = ["ROUNDING", "check_delta", "check_file", "check_journal", "find_subject", "given_bytes", "subject_sha256"]

# Both are rounded at the twelfth place, and a claimed gain is the difference of two that are.
ROUNDING = Decimal("2e-12")


def given_bytes(path: Path) -> bytes:
    """Return the bytes of a file that the caller has named.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}).", source="command line") from error


def subject_sha256(statement: Statement, name: str) -> str:
    """Return the digest of the subject of a name; empty where there is none."""
    return next((each.digest.sha256 or "" for each in statement.subject if each.name == name), "")


def find_subject(statement: Statement, name: str) -> Subject:
    """Return the subject that a person means by a name: its own, CONTEXT/NAME, or the name of a table alone.

    Raises:
        ConfigurationError: There is none, or there are several.
    """
    found = [each for each in statement.subject if name in (each.name, each.name.removeprefix("datasets/"))]
    found = found or [each for each in statement.subject if each.name.rpartition("/")[2] == name]
    if len(found) != 1:
        names = ", ".join(each.name.removeprefix("datasets/") for each in statement.subject)
        problem = f"{'several subjects have' if found else 'no subject has'} the name {name!r}; they are {names}."
        raise ConfigurationError(problem, source="command line")
    return found[0]


def check_file(subject: Subject, path: Path) -> StatementCheck:
    """Return whether a file is a subject: the same bytes, or a table of the same content.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    digest = subject.digest
    try:
        found = file_sha256(path) if path.is_file() else ""
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}).", source="command line") from error
    if not found and not path.is_dir():
        raise ConfigurationError(f"{path}: no such file.", source="command line")
    is_same = bool(digest.sha256) and found == digest.sha256
    if digest.tabhash1 is None and is_same:
        return ok("file", f"{path} has the bytes that are claimed.", subject=subject.name)
    if digest.tabhash1 is None:
        problem = f"{path} has the SHA-256 {found}, and {digest.sha256} is claimed."
        return failed("file", "another file", problem, subject=subject.name)
    return _check_content(subject, path, is_same=is_same)


def _check_content(subject: Subject, path: Path, *, is_same: bool) -> StatementCheck:
    from hokusai.datasets.content_digest import content_digest
    from hokusai.datasets.tables import read_table

    try:
        found = content_digest(read_table(path).table, source=str(path))
    except DataError as error:
        if is_same:
            return _unread(subject, path, str(error))
        problem = f"{path} has other bytes than the claimed file, and is no table: {error}"
        return failed("file", "another file", problem, subject=subject.name)
    if found == subject.digest.tabhash1:
        what = "the bytes and the content" if is_same else "the content"
        return ok("file", f"{path} has {what} that {'are' if is_same else 'is'} claimed.", subject=subject.name)
    if is_same:
        problem = f"read without any settings it has the content {found}, and {subject.digest.tabhash1} is claimed."
        return _unread(subject, path, problem)
    problem = (
        f"{path}, read without any settings, has the content {found}, and {subject.digest.tabhash1} is claimed. A "
        "table of other bytes is known again only where its types show in the file."
    )
    return failed("file", "another file", problem, subject=subject.name)


def _unread(subject: Subject, path: Path, problem: str) -> StatementCheck:
    """Return that a file has the claimed bytes, which only settings for reading it could give the claimed content."""
    problem = (
        f"{path} has the bytes that are claimed; whether they hold the claimed content was not checked: {problem} Read "
        "it with the settings of the evaluation, write it as Parquet, and name that file."
    )
    return not_done("file", "content not checked", problem, subject=subject.name)


def check_delta(statement: Statement, content: bytes, *, source: str) -> StatementCheck:
    """Return whether a report is the claimed one, and says what is claimed."""
    expected = subject_sha256(statement, "delta.json")
    if sha256(content) != expected:
        problem = (
            f"{source} has the SHA-256 {sha256(content)}, and {expected} is claimed: it was edited, or is another's."
        )
        return failed("delta.json", "another file", problem)
    try:
        findings = tuple(_contradictions(statement, json.loads(content)))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return failed("delta.json", "contradiction", f"{source} is no report ({type(error).__name__}: {error}).")
    if findings:
        problem = f"{source} says something else than the claim."
        return failed("delta.json", "contradiction", problem, findings=findings)
    return ok("delta.json", f"{source} is the claimed report, and says the same.")


def _contradictions(statement: Statement, document: dict[str, Any]) -> Iterator[str]:
    claim, record = statement.predicate.claim, statement.predicate.record
    said = {
        "evaluation": (document["evaluation"], record.evaluation),
        "project": (document["project"], record.project),
        "decision number": (document["decision"]["number"], record.decision_number),
        **_decision_values(claim, document["decision"]),
        "rounding": (_decimal(document["answer_step"]), claim.answer_step),
        "model": (document["model_sha256"], claim.model_sha256),
        "datasets": (
            [(each["name"], each["context"], each["digest"], each["rows"]) for each in document["datasets"]],
            [(each.name, each.context, each.tabhash1, each.rows) for each in claim.datasets],
        ),
        "kept rows": (
            [(each["name"], each["kept"]) for each in document["rows"][1:]],
            [(each.name, each.rows_kept) for each in claim.contributors],
        ),
        "deltas": (
            [(each["metric"], each["reference"]) for each in document["deltas"]],
            [(each.metric, each.reference) for each in claim.deltas],
        ),
        "undefined": (
            [(each["metric"], each["arm"]) for each in document["undefined"]],
            [(each.metric, each.arm) for each in claim.undefined],
        ),
    }
    yield from (f"{name}: {one}, and {other} is claimed" for name, (one, other) in said.items() if one != other)
    yield from _delta_contradictions(claim, document["deltas"])


def _decision_values(claim: DeltaClaim, said: Mapping[str, Any]) -> dict[str, tuple[object, object]]:
    decision = claim.decision
    return {
        "rule": (said["rule_sha256"], claim.rule.sha256),
        "outcome": (said["outcome"], decision.outcome),
        "metric": (said["metric"], decision.metric),
        "minimum_gain": (_decimal(said["minimum_gain"]), decision.minimum_gain),
        "confidence": (_decimal(said["confidence"]), decision.confidence),
        "is_exploratory": (said["is_exploratory"], decision.is_exploratory),
        "guards": (
            [(each["metric"], _decimal(each["margin"]), each["verdict"]) for each in said["guards"]],
            [(each.metric, each.margin, each.verdict) for each in decision.guards],
        ),
    }


def _delta_contradictions(claim: DeltaClaim, deltas: list[dict[str, Any]]) -> Iterator[str]:
    by_name = {(each["metric"], each["reference"]): each for each in deltas}
    texts = ("unit", "higher_is_better", "role")
    ends = ("baseline", "candidate", "gain_lower", "gain_upper", "confidence")
    numbers = (*ends, "standard_error", "degrees_of_freedom", "p_value", "adjusted_p_value")
    for claimed in claim.deltas:
        said = by_name.get((claimed.metric, claimed.reference), {})
        wrong = [name for name in texts if said.get(name) != getattr(claimed, name)]
        wrong += [name for name in numbers if _decimal(said.get(name)) != getattr(claimed, name)]
        gain = _decimal(said.get("gain"))
        if gain is None or abs(gain - claimed.gain) > ROUNDING:
            wrong.append("gain")
        for name in wrong:
            yield f"{claimed.metric} of the {claimed.reference}: {name} is {said.get(name)}"


def _decimal(value: object) -> Decimal | None:
    return None if value is None else fixed_decimal(float(str(value)))


def check_journal(statement: Statement, payload: bytes, folders: Sequence[Path]) -> StatementCheck:
    """Return whether a journal is the one that the statement was made in: its chain is whole and holds this statement.

    Args:
        statement: The statement.
        payload: Its bytes.
        folders: Folders of the journal; of several, all have to be the same journal, and the first is taken.
    """
    head, folder = statement.predicate.record.origin.journal_sha256, folders[0]
    if head is None:
        return failed("journal", "another journal", f"the statement names no journal, and here is one: {folder}.")
    try:
        (made, last), *others = (_line_after(head, each) for each in folders)
    except JournalError as error:
        return failed("journal", "damaged", str(error))
    if not (isinstance(made, LogArtifact) and made.path == STATEMENT_FILE):
        problem = f"{folder} has no line {head} with the statement after it: it is another journal, or was changed."
        return failed("journal", "another journal", problem)
    if not _is_recorded(payload, staged_path(folder, made.sha256)):
        problem = (
            f"{folder} recorded the statement whose file has the SHA-256 {made.sha256}, and this is not what that file "
            "among its artifacts says, or it is not there: compare the two."
        )
        return failed("journal", "another statement", problem)
    if any(other != last for _, other in others):
        problem = f"the journals in {' and '.join(map(str, folders))} end with other lines: one of them was changed."
        return failed("journal", "several journals", problem)
    return ok("journal", f"{folder} is whole, and this statement was made where it says.")


def _line_after(head: str, folder: Path) -> tuple[Operation | None, str]:
    """Return what a journal recorded after the line of a digest, and the digest of its last line."""
    previous, made = FIRST_LINK, None
    for entry in JournalReader(folder):
        if previous == head:
            made = entry.operation
        previous = entry.link
    return made, previous


def _is_recorded(payload: bytes, staged: Path) -> bool:
    """Return whether a statement is what the file says that the journal keeps by its digest."""
    try:
        content = staged.read_bytes()
        return sha256(content) == staged.name and statement_payload(content, source=str(staged)) == payload
    except (OSError, StatementError):
        return False
