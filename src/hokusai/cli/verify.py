"""``hokusai verify``: does what a statement claims still hold?"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.cli.settings import tracking_settings
from hokusai.errors import ConfigurationError
from hokusai.provenance.signing_keys import read_verifying_key
from hokusai.report.visible_text import visible_text
from hokusai.verification.file_checks import given_bytes
from hokusai.verification.verify import Evidence, verify_statement

if TYPE_CHECKING:
    import argparse

    from hokusai.verification.checks import Verification

__all__ = ["verify"]

_VERDICTS = {
    "does not hold": "The statement does not hold.",
    "not signed": "Nothing speaks against it, and nobody has signed it.",
    "not checked": "Nothing speaks against it; who has signed it was not checked.",
    "holds": "The statement holds, as far as it was checked.",
}


def verify(arguments: argparse.Namespace) -> int:
    """Check a statement; exits 1 when a check fails, and 0 when none does, whatever could not be checked."""
    if arguments.endorsement and not arguments.key:
        problem = "an endorsement, and no key that is trusted. Name the first one: --key."
        raise ConfigurationError(problem, source="command line")
    is_online = bool(arguments.tracking_uri or arguments.config)
    if arguments.reproduce and not is_online:
        problem = "--reproduce, and no store that holds the record. Name it: --tracking-uri or --config."
        raise ConfigurationError(problem, source="command line")
    verification = verify_statement(
        Path(arguments.statement),
        Evidence(
            keys=[read_verifying_key(Path(name)) for name in arguments.key],
            endorsements=[given_bytes(Path(name)) for name in arguments.endorsement],
            evaluation=arguments.evaluation,
            delta=Path(arguments.delta) if arguments.delta else None,
            row_scores=Path(arguments.row_scores) if arguments.row_scores else None,
            files=_named_files(arguments.data),
            store=tracking_settings(arguments) if is_online else None,
        ),
    )
    if arguments.reproduce and verification.evaluation:
        from hokusai.reproduction.reproduced_claim import check_by_reproduction

        check = check_by_reproduction(verification, settings=tracking_settings(arguments))
        verification = dataclasses.replace(verification, checks=(*verification.checks, check))
    if arguments.json:
        value = {"ok": verification.ok, "verdict": verification.verdict, **dataclasses.asdict(verification)}
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")
    else:
        _print(verification)
    return 0 if verification.ok else 1


def _named_files(named: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in named:
        name, equals, file = text.partition("=")
        if not (name and equals and file) or name in found:
            problem = f"--data {text}: expected NAME=FILE, every name once."
            raise ConfigurationError(problem, source="command line")
        found[name] = Path(file)
    return found


def _print(verification: Verification) -> None:
    if verification.evaluation:
        print(visible_text(f"{verification.source}: of the evaluation {verification.evaluation}."))
        print(f"claim {verification.claim_sha256}")
    rows = [
        (visible_text(f"{check.name} {check.subject}".strip()), check.state, visible_text(check.detail))
        for check in verification.checks
    ]
    display.print_rows(("check", "result", ""), rows)
    for check in verification.checks:
        for finding in check.findings:
            print(visible_text(f"{check.name}: {finding}"))
    print(_VERDICTS[verification.verdict])
