"""``hokusai journal``: the journals of this folder, listed, shown, checked and removed."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.cli.settings import tracking_settings
from hokusai.report.visible_text import visible_text
from hokusai.tracking.journal import JournalReader
from hokusai.tracking.journal_folders import (
    check_journal,
    find_folders,
    find_journal,
    list_journals,
    prune_journals,
)
from hokusai.tracking.operations import StartRun, to_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hokusai.digests import JsonValue
    from hokusai.tracking.journal import Entry
    from hokusai.tracking.journal_folders import JournalSummary
    from hokusai.tracking.mlflow_config import TrackingSettings

__all__ = ["list_all", "prune", "show", "verify"]

_DIGEST_LENGTH = 64
_LONGEST_VALUE = 40
_LONGEST_FACTS = 160


def list_all(arguments: argparse.Namespace) -> int:
    """List every journal and how far it has come."""
    settings = tracking_settings(arguments)
    found = list_journals(settings.journal)
    if not found:
        print(f"No journals in {settings.journal}.")
        return 0
    rows = [
        (
            summary.key,
            visible_text(summary.experiment),
            str(summary.entries),
            _size(summary.size),
            _state(summary),
            summary.store,
        )
        for summary in found
    ]
    display.print_rows(("journal", "experiment", "entries", "size", "state", "store"), rows)
    for summary in found:
        if summary.problem:
            print(f"{summary.key}: {summary.problem}")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print a journal's entries, one line each."""
    folder = find_journal(tracking_settings(arguments).journal, arguments.journal)
    for entry, names in _entries_of(folder, arguments.run):
        if arguments.json:
            print(json.dumps({"sequence": entry.sequence, "time": entry.time, **to_json(entry.operation)}))
        else:
            print(_line(entry, names))
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Check journals line by line and file by file; exits 1 when one is damaged."""
    settings = tracking_settings(arguments)
    damaged = 0
    folders = _folders(arguments, settings)
    for folder in folders:
        verdict = check_journal(folder)
        torn = "; its last line is torn, will be mended by the next sync" if verdict.is_torn else ""
        if verdict.is_whole:
            print(f"{folder.name}: whole ({verdict.entries} entries, {verdict.files} staged files){torn}")
            continue
        damaged += 1
        print(f"{folder.name}: damaged{torn}")
        for damage in verdict.damages:
            print(f"  {damage}")
    print(f"{_count(len(folders))} looked at in {settings.journal}, {damaged} damaged.")
    return 1 if damaged else 0


def prune(arguments: argparse.Namespace) -> int:
    """Remove journals that their store confirms; exits 1 when one that was shipped or named is not confirmed."""
    settings = tracking_settings(arguments)
    older_than = None if arguments.older_than is None else timedelta(days=arguments.older_than)
    folders = _folders(arguments, settings)
    now = datetime.now().astimezone()
    verdicts = prune_journals(settings, folders, now=now, older_than=older_than, dry_run=arguments.dry_run)
    verb = "would be removed" if arguments.dry_run else "removed"
    for verdict in verdicts:
        if verdict.is_removable:
            kept = f"; stays: {', '.join(map(visible_text, verdict.kept))}" if verdict.kept else ""
            print(f"{verdict.folder.name}: {verb}, its log and staged artifacts ({_size(verdict.size)}){kept}")
        else:
            print(f"{verdict.folder.name}: stays: {verdict.obstacle}")
    removed = [verdict for verdict in verdicts if verdict.is_removable]
    freed = _size(sum(verdict.size for verdict in removed))
    print(f"{len(removed)} of {_count(len(verdicts))} in {settings.journal} {verb} ({freed}).")
    is_failure = any(verdict.is_unconfirmed for verdict in verdicts)
    return 1 if is_failure or (arguments.journals and len(removed) < len(verdicts)) else 0


def _folders(arguments: argparse.Namespace, settings: TrackingSettings) -> list[Path]:
    if arguments.journals:
        return [find_journal(settings.journal, name) for name in arguments.journals]
    return list(find_folders(settings.journal))


def _entries_of(folder: Path, run: str | None) -> Iterator[tuple[Entry, Mapping[str, str]]]:
    """Yield the entries of the runs with this name or key, or all, each with the names of the runs so far by key."""
    names: dict[str, str] = {}
    for entry in JournalReader(folder):
        operation = entry.operation
        if isinstance(operation, StartRun):
            names[operation.run] = operation.name
        key = getattr(operation, "run", None)
        if run is None or (key is not None and run in (key, names.get(key))):
            yield entry, names


def _line(entry: Entry, names: Mapping[str, str]) -> str:
    facts = to_json(entry.operation)
    kind, run = str(facts.pop("operation")), facts.pop("run", "")
    moment = datetime.fromtimestamp(entry.time / 1000).astimezone().isoformat(sep=" ", timespec="milliseconds")
    name = visible_text(names.get(str(run), str(run)))
    text = _shorten(" ".join(_facts(facts)), _LONGEST_FACTS)
    return f"{entry.sequence:>6}  {moment[:23]}  {name:<28}  {kind:<16}  {text}".rstrip()


def _facts(values: Mapping[str, JsonValue]) -> Iterator[str]:
    for name, value in values.items():
        if value in (None, "", {}):
            continue
        if isinstance(value, dict):
            yield from _facts(value)
        else:
            yield f"{visible_text(name)}={_value(value)}"


def _value(value: JsonValue) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) == _DIGEST_LENGTH and all(letter in "0123456789abcdef" for letter in text):
        return f"{text[:12]}…"
    return visible_text(_shorten(text, _LONGEST_VALUE))


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _state(summary: JournalSummary) -> str:
    if summary.state == "partly shipped":
        return f"partly shipped, {summary.shipped} of {summary.entries}"
    return "waiting to be shipped" if summary.state == "waiting" else summary.state


def _size(size: int) -> str:
    for unit, bytes_each in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_each:
            return f"{size / bytes_each:.1f} {unit}"
    return f"{size} bytes"


def _count(number: int) -> str:
    return "1 journal" if number == 1 else f"{number} journals"
