"""What ``hokusai model`` prints: tables and trees for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from hokusai.cli import display
from hokusai.records import MODEL_MANIFEST_TAG, MODEL_SHA256_TAG
from hokusai.report.visible_text import visible_text
from hokusai.tracking import naming

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.text import Text
    from rich.tree import Tree

    from hokusai.models.model_checks import ModelCheck
    from hokusai.models.model_details import ModelDetails, ModelDifference
    from hokusai.models.model_lineage import ModelLineage
    from hokusai.models.model_runs import UsedDataset
    from hokusai.models.retrieval import PulledModel
    from hokusai.records import ModelVersion

__all__ = [
    "print_check",
    "print_details",
    "print_differences",
    "print_models",
    "print_models_of",
    "print_origin",
    "print_pulled",
    "print_versions",
]

_SHORT = 12
_BENCHMARK = "benchmark"
_WIDE = 200
_ESTIMATOR_TAG = "hokusai.estimator"
_DELTA_TAG = "hokusai.delta."
_CHECKED = {
    "every file": "every file has the recorded digest",
    "model file": "the model file has the recorded digest; of the other files none is on record",
    "own manifest": "the files are those that the folder's own manifest lists; that manifest is not on record",
    "nothing": "unchecked: no digests are on record for it",
}


def print_models(names: Sequence[str], versions: Sequence[ModelVersion], *, as_json: bool) -> None:
    """Print one line per registered model: its versions, its aliases, and the newest version."""
    by_name = {name: [version for version in versions if version.name == name] for name in names}
    if as_json:
        _print_json(
            [
                {
                    "name": name,
                    "versions": len(found),
                    "aliases": _aliases(found),
                    "newest": _fact(found[-1]) if found else None,
                }
                for name, found in by_name.items()
            ]
        )
        return
    rows = []
    for name, found in by_name.items():
        aliases = ", ".join(f"{alias}: {number}" for alias, number in _aliases(found).items())
        newest = found[-1] if found else None
        about = ("", "") if newest is None else (_time(newest), newest.tags.get(naming.DECISION_TAG, ""))
        rows.append((name, str(len(found)), aliases, *about))
    _print_rows(("model", "versions", "aliases", "newest", "decision"), rows)


def print_versions(name: str, versions: Sequence[ModelVersion], *, as_json: bool) -> None:
    """Print one line per version of a registered model, the newest last."""
    if as_json:
        _print_json([_fact(version) for version in versions])
        return
    if not versions:
        print(visible_text(f"{name} has no versions."))
        return
    rows = [
        (
            version.version,
            ", ".join(version.aliases),
            _time(version),
            version.tags.get(naming.DECISION_TAG, ""),
            _gain(version),
            version.tags.get(_ESTIMATOR_TAG, "").rpartition(".")[2],
            ", ".join(_contributors(version)),
            _digest(version)[:_SHORT],
        )
        for version in versions
    ]
    headings = ("version", "aliases", "created", "decision", "gain", "estimator", "contributors", "digest")
    _print_rows(headings, rows)


def print_details(details: ModelDetails, *, as_json: bool) -> None:
    """Print everything that MLflow holds of a model."""
    version, run = details.version, details.run
    if as_json:
        _print_json(dataclasses.asdict(details) | {"size": details.size})
        return
    commit = {} if run is None else run.tags
    facts = [
        ("address", version.address),
        ("aliases", ", ".join(version.aliases)),
        ("created", _time(version)),
        ("logged model", version.model_id),
        ("run", "" if run is None else f"{run.name}  {run.run_id}  {run.status}"),
        ("code", _code(commit)),
        ("flavors", ", ".join(details.flavors)),
        ("size", f"{details.size:,} bytes in {len(details.files)} files"),
        ("stored at", version.location),
        *(("dataset", f"{_title(item)}  {item.digest}") for item in details.datasets),
        *(("input", f"{name}: {kind}") for name, kind in details.inputs.items()),
        *(("output", kind) for kind in details.outputs),
        *(("requirement", line) for line in details.requirements),
        *(("tag", f"{name} = {value}") for name, value in sorted(version.tags.items())),
        *(
            ("file", f"{path}  {size:,} bytes  {details.digests.get(path, '')}".rstrip())
            for path, size in sorted(details.files.items())
        ),
    ]
    _print_rows(("", "value"), [fact for fact in facts if fact[1]])


def print_pulled(pulled: PulledModel, *, as_json: bool) -> None:
    """Print where a model is now, and what was checked."""
    if as_json:
        _print_json(dataclasses.asdict(pulled))
        return
    print(visible_text(f"{pulled.version.address} is in {pulled.folder}" + ("." if pulled.is_new else " already.")))
    print(f"{pulled.size:,} bytes, {pulled.fetched:,} of them from the store; {_CHECKED[pulled.recorded]}.")


def print_check(check: ModelCheck, *, as_json: bool) -> None:
    """Print whether a model's files are what was recorded, and what differs if not."""
    if as_json:
        _print_json(dataclasses.asdict(check) | {"ok": check.ok})
        return
    if check.differences:
        print(visible_text(f"{check.source} is not what was recorded{_recorded_as(check)}:"))
        rows = [
            (item.path, item.expected or "nothing recorded", item.found or "not there") for item in check.differences
        ]
        _print_rows(("file", "expected", "found"), rows)
    elif check.ok:
        print(visible_text(f"{check.source}: {_CHECKED[check.recorded]}{_recorded_as(check)} ({check.files} files)."))
    else:
        print(visible_text(f"{check.source} cannot be verified: no digests are on record for it."))
    if check.problem:
        print(visible_text(f"Compared with the folder itself alone: {check.problem}."))


def print_differences(
    first: ModelDetails, second: ModelDetails, differences: Sequence[ModelDifference], *, as_json: bool
) -> None:
    """Print what differs between two models."""
    addresses = (first.version.address, second.version.address)
    if as_json:
        _print_json(
            {
                "first": addresses[0],
                "second": addresses[1],
                "differences": [dataclasses.asdict(item) for item in differences],
            }
        )
        return
    if not differences:
        print(visible_text(f"{addresses[0]} and {addresses[1]} do not differ."))
        return
    rows = [(item.part, item.name, item.first or "", item.second or "") for item in differences]
    _print_rows(("what", "name", *addresses), rows)


def print_origin(origin: ModelLineage, *, as_json: bool) -> None:
    """Print what a model was made from."""
    if as_json:
        _print_json(dataclasses.asdict(origin))
        return
    from rich.tree import Tree

    version, run = origin.version, origin.run
    tree = Tree(_text(f"{version.address}  {_headline(version)}".rstrip()))
    measured_on = [item for item in origin.datasets if item.context == _BENCHMARK]
    made_from = [item for item in origin.datasets if item.context != _BENCHMARK]
    for heading, datasets in (("made from", made_from), ("measured on", measured_on)):
        branch = tree.add(_text(heading if datasets else f"{heading}: nothing that the store knows of"))
        for item in datasets:
            branch.add(_text(f"{item.digest[:_SHORT]}  {_title(item)}"))
    if origin.contributors:
        tree.add(_text(f"contributed by {', '.join(origin.contributors)}"))
    if run is None:
        tree.add(_text("made by: no run that the store knows of"))
    else:
        made = tree.add(_text(f"made by {run.name}  {run.run_id}  {run.status}"))
        if code := _code(run.tags):
            made.add(_text(f"code {code}"))
        if estimator := version.tags.get(_ESTIMATOR_TAG):
            made.add(_text(f"estimator {estimator}"))
    _print_tree(tree)


def print_models_of(dataset: str, found: Sequence[ModelLineage], *, store: str, as_json: bool) -> None:
    """Print which models were made from a dataset."""
    if as_json:
        _print_json([dataclasses.asdict(item) for item in found])
        return
    if not found:
        print(visible_text(f"{dataset!r} went into no registered model of {store}."))
        return
    from rich.tree import Tree

    tree = Tree(_text(f"{dataset} went into"))
    for item in found:
        branch = tree.add(_text(f"{item.version.address}  {_headline(item.version)}".rstrip()))
        for used in item.datasets:
            branch.add(_text(f"as {_title(used)}  {used.digest[:_SHORT]}"))
        if dataset in item.contributors:
            branch.add(_text(f"contributed by {dataset}"))
    _print_tree(tree)


def _fact(version: ModelVersion) -> dict[str, object]:
    """One version as JSON: as MLflow holds it, and what lists show of it."""
    return dataclasses.asdict(version) | {
        "decision": version.tags.get(naming.DECISION_TAG, ""),
        "gain": _gain(version),
        "contributors": _contributors(version),
        "digest": _digest(version),
    }


def _headline(version: ModelVersion) -> str:
    aliases = f"@{', @'.join(version.aliases)}" if version.aliases else ""
    return ", ".join(filter(None, (aliases, version.tags.get(naming.DECISION_TAG, ""), _gain(version), _time(version))))


def _gain(version: ModelVersion) -> str:
    """Return what the contribution was worth, by the metric that decided: the tag without an end of its interval."""
    for tag, value in sorted(version.tags.items()):
        if tag.startswith(_DELTA_TAG) and not tag.endswith((".lower", ".upper")):
            try:
                return f"{float(value):+.4f} {tag.removeprefix(_DELTA_TAG)}"
            except ValueError:
                return value
    return ""


def _contributors(version: ModelVersion) -> tuple[str, ...]:
    """Return who contributed, or where nobody is named, what the contributions are called."""
    from hokusai.models.model_lineage import contributors_of, datasets_of

    named = contributors_of(version)
    return named or tuple(item.name for item in datasets_of(version, None) if item.context == "contribution")


def _digest(version: ModelVersion) -> str:
    return version.tags.get(MODEL_SHA256_TAG) or version.tags.get(MODEL_MANIFEST_TAG, "")


def _aliases(versions: Sequence[ModelVersion]) -> dict[str, str]:
    return {alias: version.version for version in versions for alias in version.aliases}


def _code(tags: Mapping[str, str]) -> str:
    commit = tags.get(naming.CODE_COMMIT_TAG, "")
    return f"{commit} with uncommitted changes" if commit and tags.get(naming.CODE_DIRTY_TAG) == "true" else commit


def _title(item: UsedDataset) -> str:
    return item.context if item.name in ("", item.context) else f"{item.context} {item.name}".strip()


def _recorded_as(check: ModelCheck) -> str:
    return f" as {check.recorded_as}" if check.recorded_as and check.recorded_as != check.source else ""


def _time(version: ModelVersion) -> str:
    from datetime import datetime

    return datetime.fromisoformat(version.created).astimezone().strftime("%Y-%m-%d %H:%M:%S") if version.created else ""


def _print_tree(tree: Tree) -> None:
    from rich.console import Console

    # A file or a pipe has no width to be folded to.
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=_WIDE)).print(tree)


def _print_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    display.print_rows(headings, [[visible_text(cell) for cell in row] for row in rows])


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True, default=str) + "\n")


def _text(text: str) -> Text:
    from rich.text import Text

    return Text(visible_text(text))
