"""``hokusai benchmark show|split|budget|retire``: what a benchmark was declared for, who spent it, what is left."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.benchmark_reuse import benchmark_ledger, read_benchmark, retire_benchmark, split_benchmark
from hokusai.cli import display
from hokusai.cli.arguments import DEFAULT_FILE
from hokusai.cli.settings import tracking_settings
from hokusai.config import load_config
from hokusai.report.visible_text import visible_text

if TYPE_CHECKING:
    import argparse

    from hokusai.config import PipelineConfig
    from hokusai.tracking.benchmark_ledger import LedgerState
    from hokusai.tracking.mlflow_config import TrackingSettings

__all__ = ["budget", "retire", "show", "split"]

_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_KEY_FILE = "benchmark.key"
_SHORT = 12


def show(arguments: argparse.Namespace) -> int:
    """Print what is declared of a benchmark and what is left of it."""
    digest, settings = _meant(arguments)
    state = benchmark_ledger(digest, settings=settings)
    if arguments.json:
        _print_json(_document(state))
        return 0
    print(f"Benchmark {state.digest}")
    declared = state.declaration
    if declared is None:
        said = (
            f"It takes no decisions: {state.retired}." if state.retired else "It is not split: deltas are exploratory."
        )
        print(visible_text(f"{said} {'' if state.retired else 'Split it with `hokusai benchmark split`.'}".rstrip()))
        return 0
    facts = (
        ("feedback half", f"{declared.feedback_rows:,} rows"),
        ("decision half", f"{declared.decision_rows:,} rows"),
        ("groups that stay whole", declared.group or "none"),
        ("decisions declared", f"{state.decisions:,}"),
        ("spent", f"{len(state.spent):,}"),
        ("lost by deleted entries", f"{state.missing:,}"),
        ("left", f"{state.left:,}"),
        ("accepts a worthless one", f"at most {declared.alpha:.3g} for all together, {state.alpha:.3g} each"),
        ("split", f"{declared.at[:19]} by {_who(declared.user, declared.host_kind)}"),
        ("note", declared.note),
        ("commitment to the key", state.commitment),
        ("retired", state.retired or "no"),
    )
    display.print_rows(("", "value"), [(name, visible_text(text)) for name, text in facts if text])
    return 0


def split(arguments: argparse.Namespace) -> int:
    """Split the benchmark of an evaluation and declare its number of decisions."""
    config, file = _config(arguments)
    key_file = Path(arguments.key_file).absolute() if arguments.key_file else config.delta.benchmark_key_file
    key_file = key_file or file.absolute().parent / _KEY_FILE
    state = split_benchmark(
        config,
        key_file=key_file,
        decisions=arguments.decisions,
        alpha=arguments.alpha,
        note=arguments.note,
    )
    if arguments.json:
        _print_json({**_document(state), "key_file": str(key_file)})
        return 0
    declared = state.declaration
    if declared is not None:
        print(
            f"Split: {declared.feedback_rows:,} rows give feedback, {declared.decision_rows:,} rows decide, "
            f"{state.decisions:,} times at most."
        )
        print(
            f"Each decision is made at the one-sided level {state.alpha:.3g}, so that all of them accept a worthless "
            f"contribution with a probability of at most {declared.alpha:.3g}."
        )
    print(visible_text(f"Key: {key_file}"))
    print("Keep a copy of it, and keep it from contributors: without it nothing can be decided on this benchmark.")
    display.print_setting("delta.benchmark_key_file", key_file, file=file)
    return 0


def budget(arguments: argparse.Namespace) -> int:
    """Print how many decisions are left, and who spent the others, when and on what."""
    digest, settings = _meant(arguments)
    state = benchmark_ledger(digest, settings=settings)
    if arguments.json:
        _print_json(_document(state))
        return 0
    if not state.is_split:
        said = state.retired or "it is not split, and no number of decisions is declared"
        print(visible_text(f"Benchmark {state.digest[:_SHORT]}: {said}."))
        return 0
    print(f"Benchmark {state.digest[:_SHORT]}: {state.left:,} of {state.decisions:,} decisions are left.")
    if state.missing:
        print(f"{state.missing:,} were lost by entries that somebody deleted.")
    if state.retired:
        print(visible_text(f"Nothing is decided on it any more: {state.retired}."))
    rows = [
        (
            str(item.number),
            item.at[:19],
            visible_text(_who(item.user, item.host_kind)),
            visible_text(item.evaluation),
            item.rule_sha256[:_SHORT],
            visible_text(item.outcome or "not said"),
        )
        for item in state.spent
    ]
    if rows:
        display.print_rows(("decision", "when (UTC)", "who", "evaluation", "rule", "outcome"), rows)
    return 0


def retire(arguments: argparse.Namespace) -> int:
    """End the use of a benchmark for decisions."""
    digest, settings = _meant(arguments)
    state = retire_benchmark(digest, reason=arguments.reason, settings=settings)
    if arguments.json:
        _print_json(_document(state))
    else:
        print(f"Benchmark {state.digest[:_SHORT]} is retired: nothing is decided on it any more.")
    return 0


def _meant(arguments: argparse.Namespace) -> tuple[str, TrackingSettings]:
    """Return the digest that a command names, by a file's content where it names a file or nothing, and the store."""
    given = str(arguments.benchmark)
    is_digest = _DIGEST.fullmatch(given) is not None and not Path(given).exists()
    if is_digest and not Path(arguments.config or DEFAULT_FILE).exists():
        return given, tracking_settings(arguments)
    config, _ = _config(arguments, benchmark="" if is_digest else given)
    return given if is_digest else read_benchmark(config).digest, config.tracking


def _config(arguments: argparse.Namespace, *, benchmark: str = "") -> tuple[PipelineConfig, Path]:
    """Return the evaluation and its file; a benchmark that is named takes the place of its own."""
    file = Path(arguments.config or DEFAULT_FILE)
    # No contribution is read, so none has to be there; some file must be named.
    flags: dict[str, object] = {"data.contributions": [{"path": str(file)}]}
    if arguments.tracking_uri:
        flags["tracking.uri"] = arguments.tracking_uri
    if benchmark:
        flags["data.benchmark"] = benchmark
    return load_config(file, flags=flags).config, file


def _who(user: str, host_kind: str) -> str:
    return f"{user} ({host_kind})" if host_kind else user


def _document(state: LedgerState) -> dict[str, object]:
    declared = state.declaration
    return {
        "digest": state.digest,
        "split": None
        if declared is None
        else {
            "commitment": declared.commitment,
            "decisions": declared.decisions,
            "alpha": declared.alpha,
            "alpha_per_decision": state.alpha,
            "feedback_rows": declared.feedback_rows,
            "decision_rows": declared.decision_rows,
            "group": declared.group,
            "at": declared.at,
            "user": declared.user,
            "host_kind": declared.host_kind,
            "note": declared.note,
        },
        "spent": [dataclasses.asdict(item) for item in state.spent],
        "missing": state.missing,
        "left": state.left,
        "retired": state.retired,
    }


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")
