"""Whether files are those that a statement names: the report, row scores, tables, the model, and the journal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hokusai.digests import file_sha256, sha256
from hokusai.errors import ConfigurationError, DataError, JournalError
from hokusai.provenance.decimals import fixed_decimal
from hokusai.records import STATEMENT_FILE
from hokusai.tracking.journal import FIRST_LINK, JournalReader
from hokusai.tracking.operations import LogArtifact
from hokusai.verification.checks import failed, ok

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal
    from pathlib import Path

    from hokusai.provenance.claims import DeltaClaim, Statement, Subject
    from hokusai.verification.checks import StatementCheck

__all__ = ["check_delta", "check_file", "check_journal", "find_subject", "given_bytes", "subject_sha256"]


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
    if digest.sha256 and found == digest.sha256:
        return ok("file", f"{path} has the bytes that are claimed.", subject=subject.name)
    if digest.tabhash1 is None:
        problem = f"{path} has the SHA-256 {found}, and {digest.sha256} is claimed."
        return failed("file", "another file", problem, subject=subject.name)
    return _check_content(subject, path)


def _check_content(subject: Subject, path: Path) -> StatementCheck:
    from hokusai.datasets.content_digest import content_digest
    from hokusai.datasets.tables import read_table

    try:
        found = content_digest(read_table(path).table, source=str(path))
    except DataError as error:
        problem = f"{path} has other bytes than the claimed file, and is no table: {error}"
        return failed("file", "another file", problem, subject=subject.name)
    if found == subject.digest.tabhash1:
        return ok("file", f"{path} has the content that is claimed.", subject=subject.name)
    problem = (
        f"{path}, read without any settings, has the content {found}, and {subject.digest.tabhash1} is claimed. A "
        "table of other bytes is known again only where its types show in the file."
    )
    return failed("file", "another file", problem, subject=subject.name)


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
        "outcome": (document["decision"]["outcome"], claim.decision.outcome),
        "metric": (document["decision"]["metric"], claim.decision.metric),
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
    yield from _number_contradictions(claim, document["deltas"])


def _number_contradictions(claim: DeltaClaim, deltas: list[dict[str, Any]]) -> Iterator[str]:
    by_name = {(each["metric"], each["reference"]): each for each in deltas}
    names = ("baseline", "candidate", "gain_lower", "gain_upper", "confidence", "standard_error", "p_value")
    for claimed in claim.deltas:
        said = by_name.get((claimed.metric, claimed.reference), {})
        for name in (*names, "degrees_of_freedom", "adjusted_p_value"):
            if _decimal(said.get(name)) != getattr(claimed, name):
                yield f"{claimed.metric} of the {claimed.reference}: {name} is {said.get(name)}"


def _decimal(value: object) -> Decimal | None:
    return None if value is None else fixed_decimal(float(str(value)))


def check_journal(statement: Statement, folder: Path) -> StatementCheck:
    """Return whether a journal is the one that the statement was made in: its chain is whole and holds that very line.

    Args:
        statement: The statement.
        folder: The journal's folder.
    """
    head = statement.predicate.record.origin.journal_sha256
    if head is None:
        return failed("journal", "another journal", f"the statement names no journal, and here is one: {folder}.")
    previous, made = FIRST_LINK, None
    try:
        for entry in JournalReader(folder):
            if previous == head:
                made = entry.operation
            previous = entry.link
    except JournalError as error:
        return failed("journal", "damaged", str(error))
    if not (isinstance(made, LogArtifact) and made.path == STATEMENT_FILE):
        problem = f"{folder} has no line {head} with the statement after it: it is another journal, or was changed."
        return failed("journal", "another journal", problem)
    return ok("journal", f"{folder} is whole, and the statement was made where it says.")
