"""``hokusai run`` and ``hokusai config``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai.cli import display
from hokusai.config import load_config
from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

    from hokusai.config import ResolvedConfig

__all__ = ["config", "load", "run"]


def run(arguments: argparse.Namespace) -> int:
    """Run one evaluation and print its report."""
    from hokusai.pipeline import run as run_evaluation

    resolved = load(arguments)
    with display.Progress(total=1) as progress:
        progress.start_evaluation(resolved.config.project)
        report = run_evaluation(resolved, listener=progress)
    if arguments.json:
        sys.stdout.write(report.identity.delta_file.read_text(encoding="utf-8"))
    else:
        display.print_report(report)
        display.print_next_steps([report], config=Path(arguments.file))
    display.warn_if_not_shipped([report])
    return 0 if report.decision.outcome == "accept" else 1


def config(arguments: argparse.Namespace) -> int:
    """Print every setting, its value and its origin."""
    rows = []
    for key, value, origin in load(arguments).items():
        rows.append((key, json.dumps(_plain(value), ensure_ascii=False), str(origin)))
    display.print_rows(("setting", "value", "from"), rows)
    return 0


def load(arguments: argparse.Namespace) -> ResolvedConfig:
    """Return the configuration of a command that takes settings as flags."""
    return load_config(Path(arguments.file), flags=_flags(arguments))


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    flags: dict[str, Any] = {}
    for name, value in vars(arguments).items():
        if name.startswith("setting:") and value is not None:
            flags[name.removeprefix("setting:")] = value
    for item in arguments.set:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigurationError(f"got {item!r}, expected KEY=VALUE.", source="flag --set")
        flags[key.strip()] = value
    if arguments.contribution:
        pairs = (item.rpartition("=") for item in arguments.contribution)
        flags["data.contributions"] = [{"name": name, "path": path} for name, _, path in pairs]
    return flags


def _plain(value: Any) -> Any:
    """Return a setting's value as JSON can show it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value
