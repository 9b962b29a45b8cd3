"""``hokusai reproduce``: a recorded evaluation done again, and compared with what is on record."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.cli.settings import tracking_settings
from hokusai.errors import ConfigurationError, TrackingError, TrackingServerError
from hokusai.report.visible_text import visible_text
from hokusai.reproduction.again import reproduce as do_again
from hokusai.reproduction.comparison import STAGES, effect_of, verdict_of
from hokusai.reproduction.document import REPRODUCTION_FILE, reproduction_bytes
from hokusai.reproduction.plan import GivenFiles

if TYPE_CHECKING:
    import argparse

    from hokusai.reproduction.comparison import FoundDifference
    from hokusai.reproduction.document import Reproduction
    from hokusai.reproduction.plan import ReproductionPlan
    from hokusai.reproduction.recorded_evaluation import RecordedEvaluation
    from hokusai.tracking.mlflow_config import TrackingSettings

__all__ = ["reproduce"]

_SHOWN = 20
_LONGEST_TEXT = 64


def reproduce(arguments: argparse.Namespace) -> int:
    """Do an evaluation again and print what came of it; exits 1 when it is different."""
    settings = tracking_settings(arguments)
    try:
        if arguments.env == "fresh":
            from hokusai.reproduction.fresh_environment import run_in_fresh_environment

            return run_in_fresh_environment(arguments.run, settings, command=_command_again(arguments), told=_tell)
        result = _do_again(arguments, settings)
    except TrackingServerError as error:
        # Its exit code is that of a difference, and nobody has found one.
        raise TrackingError(str(error)) from error
    if arguments.json:
        sys.stdout.write(reproduction_bytes(result).decode("utf-8"))
    else:
        _print_result(result)
    tracking = result.tracking
    if tracking is not None and not tracking.shipped:
        sync = f"{display.command_name()} sync {shlex.quote(str(tracking.journal))}"
        print(
            f"hokusai: the comparison stands, and its record has not reached MLflow: {tracking.problem}",
            file=sys.stderr,
        )
        print(f"hokusai: it is safe in the journal; `{sync}` brings it over.", file=sys.stderr)
    return 1 if result.verdict == "different" else 0


def _do_again(arguments: argparse.Namespace, settings: TrackingSettings) -> Reproduction:
    with display.Progress(total=1) as progress:

        def planned(recorded: RecordedEvaluation, plan: ReproductionPlan) -> None:
            _print_plan(recorded, plan)
            progress.start_evaluation(recorded.parent.name)

        return do_again(
            arguments.run,
            settings=settings,
            given=GivenFiles(
                tables=dict(_named_file(item) for item in arguments.data),
                benchmark_key=Path(arguments.benchmark_key) if arguments.benchmark_key else None,
                hash_key=Path(arguments.hash_key) if arguments.hash_key else None,
                trust_code=arguments.trust_code,
            ),
            tolerance=arguments.tolerance,
            workers=arguments.workers,
            planned=planned,
            listener=progress,
        )


def _named_file(item: str) -> tuple[str, Path]:
    name, equals, file = item.partition("=")
    if not (name and equals and file):
        raise ConfigurationError(f"got {item!r}, expected NAME=FILE.", source="flag --data")
    return name, Path(file)


def _command_again(arguments: argparse.Namespace) -> list[str]:
    """Return the same command with the packages that are installed; paths are absolute, for nobody changes folder."""
    command = ["reproduce", arguments.run, "--env", "current", "--tolerance", repr(arguments.tolerance)]
    command += [part for item in arguments.data for part in ("--data", item)]
    for flag in ("benchmark_key", "hash_key", "workers", "tracking_uri", "config"):
        if getattr(arguments, flag) is not None:
            command += [f"--{flag.replace('_', '-')}", str(getattr(arguments, flag))]
    switches = [flag for flag in ("trust_code", "json", "debug") if getattr(arguments, flag)]
    return command + [f"--{flag.replace('_', '-')}" for flag in switches]


def _tell(text: str) -> None:
    print(visible_text(text), file=sys.stderr, flush=True)


def _print_plan(recorded: RecordedEvaluation, plan: ReproductionPlan) -> None:
    """Say, before anything is done, what can be done again and what cannot; on the error stream, beside progress."""
    if plan.config is None and not plan.differences:
        # The error that comes now names every problem.
        return
    lines = [f"Doing {recorded.parent.name} ({recorded.parent.run_id[:8]}, evaluation {recorded.key}) again."]
    lines += [f"  {name}: from {source}" for name, source in plan.sources.items()]
    lines += [f"  own code: {path}" for path in plan.code_files]
    lines += [f"  not the same: {limit}" for limit in plan.limits]
    lines += [
        f"  not the same: {item.subject} was {item.first}, is {item.second}, which {effect_of(item)}."
        for item in plan.environment[:_SHOWN]
    ]
    if len(plan.environment) > _SHOWN:
        lines.append(f"  not the same: {len(plan.environment) - _SHOWN} more of the environment.")
    lines += [f"  cannot be done: {problem}" for problem in plan.problems]
    print("\n".join(map(visible_text, lines)), file=sys.stderr)


def _print_result(result: Reproduction) -> None:
    rows = []
    for stage in STAGES:
        found = [item for item in result.differences if item.stage == stage]
        rows.append((stage, verdict_of(found), str(len(found) or "")))
    display.print_rows(("compared", "verdict", "differences"), rows)
    harmful = [item for item in result.differences if item.grade != "identical"]
    shown = harmful or list(result.differences)
    for item in shown[:_SHOWN]:
        print(visible_text(_line(item)))
    if len(shown) > _SHOWN:
        print(f"… and {len(shown) - _SHOWN} more, in {REPRODUCTION_FILE}.")
    if shown and not harmful:
        print("That has changed no result.")
    first = result.first_difference
    if first is not None and harmful:
        print(visible_text(f"First difference in the flow: {first.stage}: {first.subject}."))
    if result.explanation:
        print(visible_text(result.explanation))
    if result.claim_sha256:
        print(f"claim {result.claim_sha256}")
    if not result.evaluation:
        print("Nothing was run: a table that it was made with is not to be had.")
    elif result.run_id:
        print(f"Recorded as run {result.run_id[:8]}, evaluation {result.evaluation}.")
    else:
        print(f"Recorded as evaluation {result.evaluation}.")
    within = f" (tolerance {result.tolerance:g})" if result.verdict == "equal within the tolerance" else ""
    print(f"Verdict: {result.verdict}{within}.")


def _line(item: FoundDifference) -> str:
    texts = [f"recorded {_shortened(item.recorded)}"] if item.recorded else []
    texts += [f"found {_shortened(item.found)}"] if item.found else []
    texts += [item.note] if item.note else []
    return f"{item.stage}: {item.subject}: {', '.join(texts)}".rstrip(": ")


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST_TEXT:
        return text
    half = _LONGEST_TEXT // 2
    return f"{text[:half]}…{text[-half:]}"
