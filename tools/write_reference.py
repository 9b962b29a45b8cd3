"""Write ``docs/reference.md``, ``docs/commands.md`` and ``docs/formats/parameters-1.schema.json`` from the package.

``make reference`` runs this after a parameter, a metric, a tag, a command or an option has changed.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai.cli.arguments import make_parser
from hokusai.configuration_document import CONFIGURATION_NAME
from hokusai.provenance.environment import ENVIRONMENT_NAME, REQUIREMENTS_NAME
from hokusai.steps.decision_rule import RULE_FILE
from hokusai.tracking import artifacts, naming
from hokusai.tracking.metric_names import METRICS
from hokusai.tracking.own_code import CODE_FOLDER, DIFFERENCES_NAME
from hokusai.tracking.parameters import SCHEMA_VERSION, STEP_PARAMETERS, json_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference.md"
COMMANDS = ROOT / "docs" / "commands.md"
SCHEMA = ROOT / "docs" / "formats" / f"parameters-{SCHEMA_VERSION}.schema.json"

_TYPES = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "null": "none",
}
_MLFLOW_TAGS = (
    ("`mlflow.user`", "The account that the run was made by."),
    ("`mlflow.source.name`, `mlflow.source.type`", "What made the run."),
    (
        "`mlflow.note.content`",
        "The report or a reproduction's verdict in words, on the parent run; a failed run's error.",
    ),
    ("`mlflow.loggedArtifacts`", "JSON list of the tables that MLflow's interface shows as such."),
)
_HEAD = f"""\
# Reference: parameters, metrics, tags, artifacts

Written by `tools/write_reference.py` (`make reference`) from the definitions in `src/hokusai/tracking/`: not edited by
hand. Parameter schema version {SCHEMA_VERSION} (the tag `{naming.SCHEMA_VERSION_TAG}`).

## Parameters

One concept has one name in every step. MLflow shows each value as a text, lists and mappings as JSON; the run's
artifact `{artifacts.PARAMETERS_FILE}` has them all with their types, as
[a JSON Schema](formats/parameters-{SCHEMA_VERSION}.schema.json) describes it.
"""
_COMMANDS_HEAD = """\
# Commands

Written by `tools/write_reference.py` (`make reference`) from the definitions in `src/hokusai/cli/arguments.py`: not
edited by hand. Every command also has `--help`, which prints the same, and `--debug`: show the stack trace of an error.
Exit codes are in the [README](../README.md#exit-codes).
"""
_METRICS_HEAD = """\
## Metrics

`ARM` stands for `control`, `candidate` or `baseline` (the given baseline model); `METRIC` for a metric's name, such as
`accuracy`; `NAME` for a contribution. *Measured* metrics measure the machine and differ between two equal evaluations.
"""
_TAGS_HEAD = """\
## Tags

What a process adds to a run that it [resumed](own-pipelines.md#processes-and-machines) has the name of its part at the
end, such as `hokusai.journal_head.PART`. Tags that begin with `mlflow.` are those that MLflow's interface
knows; MLflow adds some of its own.
"""


def reference() -> str:
    """Return the text of the reference page."""
    lines = [_HEAD]
    for step, kind in STEP_PARAMETERS.items():
        schema = json_schema(kind)
        lines += [f"### `{step}`\n", *_table("name | type | unit | required | meaning", _parameter_rows(schema))]
    metrics = (
        (f"`{metric.name}`", metric.unit, "yes" if metric.is_measured else "", metric.runs, metric.description)
        for metric in METRICS
    )
    lines += [_METRICS_HEAD, *_table("name | unit | measured | runs | meaning", metrics)]
    lines += [
        _TAGS_HEAD,
        *_table("name | meaning", (*_described(naming, suffix="_TAG"), _dataset_row(), *_MLFLOW_TAGS)),
    ]
    lines += ["## Artifacts\n", *_table("path | meaning", _artifact_rows())]
    return "\n".join(lines).rstrip() + "\n"


def commands() -> str:
    """Return the text of the page of commands."""
    lines = [_COMMANDS_HEAD]
    for words, parser in every_command(make_parser()):
        lines += [f"## `hokusai {words}`\n", f"{parser.description}\n"]
        rows = tuple(_argument_row(action) for action in parser._actions if action.dest not in ("help", "debug"))  # noqa: SLF001
        lines += _table("argument | meaning", rows) if rows else []
    return "\n".join(lines).rstrip() + "\n"


def every_command(parser: argparse.ArgumentParser, words: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command that can be called, such as ``keys new``, with its parser."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    if not groups:
        yield words, parser
    for group in groups:
        for name, inner in group.choices.items():
            yield from every_command(inner, f"{words} {name}".lstrip())


def _argument_row(action: argparse.Action) -> tuple[str, str]:
    value = action.metavar or ("|".join(action.choices) if action.choices else action.dest.upper())
    value = "" if action.nargs == 0 else str(value).replace("|", "\\|")
    if action.option_strings:
        name = f"{action.option_strings[-1]} {value}".rstrip()
        required = "; required" if action.required else ""
    else:
        name, required = {"?": f"[{value}]", "*": f"[{value} …]"}.get(str(action.nargs), value), ""
    return f"`{name}`", (action.help or "").replace("%%", "%") + required


def parameters_schema() -> str:
    """Return the JSON Schema of ``parameters.json``, one definition per step."""
    definitions = {}
    for step, kind in STEP_PARAMETERS.items():
        definition = json_schema(kind)
        definition.pop("$schema")
        definitions[step] = definition
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{artifacts.PARAMETERS_FILE} of Hokusai, version {SCHEMA_VERSION}",
        "description": "One definition per step; `evaluation` is the parent run's.",
        "$defs": definitions,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _parameter_rows(schema: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, item in schema["properties"].items():
        required = "yes" if name in schema["required"] else ""
        yield f"`{name}`", _type(item), item.get("unit", ""), required, item["description"]


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if schema["type"] == "array":
        inner = _type(schema["items"])
        return f"list of {inner if inner.endswith('e') else inner + 's'}"
    return _TYPES[schema["type"]]


def _described(module: ModuleType, *, suffix: str) -> Iterator[tuple[str, str]]:
    """Yield value and docstring of every constant of a module whose name ends so."""
    body = ast.parse(inspect.getsource(module)).body
    for statement, following in zip(body, [*body[1:], ast.Pass()], strict=True):
        match statement, following:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(value))),
                ast.Expr(value=ast.Constant(value=str(text))),
            ) if name.endswith(suffix):
                yield f"`{value}`", text.replace("``", "`")


def _dataset_row() -> tuple[str, str]:
    names = f"`{naming.dataset_tag('CONTEXT')}`, `{naming.dataset_tag('contribution', 'NAME')}`"
    contexts = "`CONTEXT` is `base`, `benchmark` or `integrated`"
    return names, f"Full content digest of a dataset that the run used; {contexts}."


def _artifact_rows() -> Iterator[tuple[str, str]]:
    described = dict(zip(("parameters", "traceback", "manifest"), _described(artifacts, suffix="_FILE"), strict=True))
    yield from described.values()
    yield (
        f"`{CONFIGURATION_NAME}`",
        "[Every setting](formats/configuration.md) of an evaluation, defaults included, on the parent run.",
    )
    yield f"`{ENVIRONMENT_NAME}`", "[What the parent run was made with](formats/environment.md)."
    yield f"`{REQUIREMENTS_NAME}`", "Its packages, for `pip install -r`."
    yield (
        f"`{CODE_FOLDER}/MODULE.py`",
        "[Code of your own](surroundings.md#code-of-your-own) that an evaluation ran, on the parent run.",
    )
    yield f"`{DIFFERENCES_NAME}`", "How the code in its repository differs from the commit, for `git apply`."
    yield f"`{artifacts.LONG_VALUES}/SHA256.txt`", "A parameter's or tag's value that is too long for MLflow."
    manifests = "`datasets/CONTEXT.croissant.json`, `datasets/contribution.NAME.croissant.json`"
    yield manifests, "[The manifest of a dataset](formats/dataset-version.md); `CONTEXT` as in its tag."
    yield "`datasets/DIGEST.parquet`", "[The table itself](datasets.md#snapshots), named by its content digest."
    yield (
        "`datasets/provenance.parquet`",
        "[Where every row of the integrated table came from](data.md#what-is-recorded).",
    )
    overlapping = "Numbers of the benchmark rows that were met in the training data, counted from 1."
    yield "`datasets/overlapping_benchmark_rows.parquet`", overlapping
    yield "`signature.json`", "The columns that a given baseline model asks for, and its classes."
    yield (
        "`tuning-ARM.json`",
        "Every [set of hyperparameters](training.md#tuning) that was tried for an arm, with its score on every fold.",
    )
    yield "`warnings-ARM.txt`", "What the fits of an arm were warned of."
    yield "`failed_fits.json`", "Fits that did not succeed: arm, seed and reason."
    yield "`training-notes.txt`", "What a reader of the scores should know, such as a class that the base lacks."
    yield (
        f"`{RULE_FILE}`",
        "Of the parent run: [how the scores become a decision](statistics.md#the-decision), recorded before training.",
    )
    yield "`row_scores.parquet`", "[What every fit says about every benchmark row](formats/row-scores.md)."
    yield "`delta.json`", "[The report](formats/delta.md)."
    yield "`statement.json`", "[What is claimed](formats/statement.md), signed or not."
    yield (
        "`delta_output_zk_EVALUATION.json`",
        "[The document for token contracts](statements.md#for-token-contracts); not for regression.",
    )


def _table(head: str, rows: Iterator[tuple[str, ...]] | tuple[tuple[str, ...], ...]) -> list[str]:
    columns = head.split(" | ")
    lines = [f"| {head} |", f"|{' --- |' * len(columns)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def main() -> None:
    """Write the files."""
    REFERENCE.write_text(reference(), encoding="utf-8")
    COMMANDS.write_text(commands(), encoding="utf-8")
    SCHEMA.write_text(parameters_schema(), encoding="utf-8")


if __name__ == "__main__":
    main()
