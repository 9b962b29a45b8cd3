"""Write ``docs/reference.md`` and ``docs/formats/parameters-1.schema.json`` from the definitions in the package.

``make reference`` runs this after a parameter, a metric or a tag has changed.
"""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai.steps.decision_rule import RULE_FILE
from hokusai.tracking import artifacts, naming
from hokusai.tracking.metric_names import METRICS
from hokusai.tracking.parameters import SCHEMA_VERSION, STEP_PARAMETERS, json_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference.md"
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
    ("`mlflow.note.content`", "The report in words, on the parent run."),
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


def _table(head: str, rows: Iterator[tuple[str, ...]] | tuple[tuple[str, ...], ...]) -> list[str]:
    columns = head.split(" | ")
    lines = [f"| {head} |", f"|{' --- |' * len(columns)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def main() -> None:
    """Write both files."""
    REFERENCE.write_text(reference(), encoding="utf-8")
    SCHEMA.write_text(parameters_schema(), encoding="utf-8")


if __name__ == "__main__":
    main()
