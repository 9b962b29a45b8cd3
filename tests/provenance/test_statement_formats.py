"""The formats of statements are promises: kept samples stay readable, and their page tells every field and reason."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from hokusai.errors import StatementReason
from hokusai.provenance.key_rotation import endorsed_key
from hokusai.provenance.signing_keys import read_verifying_key
from hokusai.provenance.statement import read_statement, statement_bytes, subject_root
from hokusai.provenance.statement_files import open_statement

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
PAGE = (ROOT / "docs" / "formats" / "statement.md").read_text(encoding="utf-8")


def test_the_kept_statement_of_version_1_stays_readable_and_is_what_is_written_today() -> None:
    kept = (GOLDEN / "statement-1.json").read_bytes()
    statement = read_statement(kept, evaluation="20261123-080837-9736f95c")
    assert statement_bytes(statement) == kept
    assert statement.predicate.claim_sha256 == "c05de4585dd9588b9af0a673a176de295a8c920a5b05d712aa9b2fbf09343b8d"
    assert subject_root(statement) == "8698f7e8e9b97086fa72857b1217b539422dd2cac59ac71ba85e90843b9917b5"


def test_the_kept_envelope_and_endorsement_of_version_1_stay_verifiable() -> None:
    key = read_verifying_key(GOLDEN / "statement-1.pub")
    opened = open_statement((GOLDEN / "statement-1.signed.json").read_bytes(), keys=[key])
    assert opened.signers == (key.key_id,)
    assert statement_bytes(opened.statement) == (GOLDEN / "statement-1.json").read_bytes()
    heir = endorsed_key((GOLDEN / "key-endorsement-1.json").read_bytes(), [key])
    assert heir.key_id == "3acab5bd6483546f3d5b681f582148cdc269edf3e5ec10a718ca312df668b786"


def test_every_field_of_a_statement_is_described_and_no_other() -> None:
    described = set()
    for names in re.findall(r"^\| (`[^|]+`) \| (?:text|list|object|number|decimal|boolean)", PAGE, re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", names)
        described |= {first, *(first.rpartition(".")[0] + other for other in others)}
    schema = json.loads((ROOT / "docs" / "formats" / "statement-1.schema.json").read_text(encoding="utf-8"))
    assert set(fields(schema, schema["$defs"])) == described


def fields(schema: Any, definitions: Any, path: str = "") -> Iterator[str]:
    """Return the path of every field that a schema knows."""
    if "$ref" in schema:
        yield from fields(definitions[schema["$ref"].rpartition("/")[2]], definitions, path)
    for name, each in schema.get("properties", {}).items():
        yield f"{path}.{name}".lstrip(".")
        yield from fields(each, definitions, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from fields(schema["items"], definitions, f"{path}[]")


def test_every_reason_for_a_refusal_is_in_the_table_and_no_other() -> None:
    table = PAGE.partition("| reason |")[2].partition("\n\n")[0]
    listed = [word for row in table.splitlines()[2:] for word in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert listed == list(get_args(StatementReason))
