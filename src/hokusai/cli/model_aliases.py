"""``hokusai model promote|rollback|history``: which version is in use, who decided that, and why."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.cli.settings import tracking_settings
from hokusai.model_promotion import model_history, promote_model, rollback_model
from hokusai.report.visible_text import visible_text

if TYPE_CHECKING:
    import argparse

    from hokusai.models.promotion import AliasMove

__all__ = ["history", "promote", "rollback"]


def promote(arguments: argparse.Namespace) -> int:
    """Let a version become champion; exits 1 when no decision allows it or somebody else was faster."""
    move = promote_model(
        arguments.model,
        arguments.version,
        settings=tracking_settings(arguments),
        override=arguments.override,
        reason=arguments.reason,
        baseline=arguments.baseline,
    )
    _print_move(move, as_json=arguments.json)
    return 0


def rollback(arguments: argparse.Namespace) -> int:
    """Let the version that was champion before become champion again."""
    move = rollback_model(arguments.model, settings=tracking_settings(arguments), reason=arguments.reason)
    _print_move(move, as_json=arguments.json)
    return 0


def history(arguments: argparse.Namespace) -> int:
    """Print every move of a model's champion."""
    moves = model_history(arguments.model, settings=tracking_settings(arguments))
    if arguments.json:
        _print_json([dataclasses.asdict(move) for move in moves])
    elif not moves:
        print(visible_text(f"No version of {arguments.model} has been champion yet."))
    else:
        headings = ("move", "when (UTC)", "who", "what", "from", "to", "decision", "reason")
        display.print_rows(headings, [_row(move) for move in moves])
    return 0


def _row(move: AliasMove) -> tuple[str, ...]:
    if move.action == "outside":
        return "", "", "", "moved outside of Hokusai", move.found, move.version or "none", "", ""
    what: str = move.action
    if move.baseline:
        what += f", baseline to {move.baseline}"
    if move.standing == "lost":
        what += ", lost against another move"
    elif move.standing == "unfinished":
        what += ", unfinished: the next move finishes it"
    decision = f"{move.decision or 'no record'}, overridden" if move.override else move.decision
    who = f"{move.user} ({move.host_kind})" if move.host_kind else move.user
    texts = (str(move.number), move.at[:19], who, what, move.found or "none", move.version, decision, move.reason)
    return tuple(map(visible_text, texts))


def _print_move(move: AliasMove, *, as_json: bool) -> None:
    if as_json:
        _print_json(dataclasses.asdict(move))
        return
    before = f"before: {move.found}" if move.found else "there was none before"
    print(f"Version {move.version} is champion now ({before}); move {move.number} of its history.")
    if move.baseline:
        print(f"Evaluations compare with version {move.baseline} from now on, where they name @baseline.")
    if move.override:
        print(visible_text(f"No decision allowed that: {move.problem}"))


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")
