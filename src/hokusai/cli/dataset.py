"""``hokusai dataset``: the datasets that runs recorded, listed, shown, compared, verified and traced."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hokusai.cli import display
from hokusai.cli.settings import tracking_settings
from hokusai.errors import DataError, SchemaMismatchError, ValueMismatchError
from hokusai.records import DatasetFile, DatasetVersion
from hokusai.report.visible_text import visible_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    import pyarrow as pa
    from rich.text import Text
    from rich.tree import Tree

    from hokusai.datasets.version_comparison import RowChanges, VersionChanges
    from hokusai.records import DatasetContext
    from hokusai.tracking.recorded_datasets import LineageNode, RecordedDataset, RecordedDatasets

__all__ = ["diff", "lineage", "list_all", "show", "verify"]

_SHORT = 12
_DEEPEST = 12
_WIDE = 200
_USES_SHOWN = 10
_TYPE_WORDS = {
    "bool": "bool",
    "int64": "int",
    "double": "float",
    "string": "string",
    "date32[day]": "date",
    "timestamp[us]": "timestamp",
    "timestamp[us, tz=UTC]": "timestamp_utc",
}
_DECIMAL = re.compile(r"decimal128\(\d+, (\d+)\)")
# MLflow has fewer types than Arrow: what it calls a string may have been anything else.
_MLFLOW_TYPES = {"long": "int64", "double": "double", "boolean": "bool", "string": "string"}
_NO_MANIFEST = (
    "No manifest is on record: types, parents, licence, files and the counts of missing and different values are not "
    "known, or known from the runs alone."
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of two datasets that are compared.

    Attributes:
        title: What was asked for.
        version: What is known of it.
        is_described: Whether a manifest, or the table itself, says it; else MLflow's own description does.
        table: Its rows, if they are at hand.
    """

    title: str
    version: DatasetVersion
    is_described: bool
    table: pa.Table | None


def list_all(arguments: argparse.Namespace) -> int:
    """List every dataset version that the store has recorded."""
    recorded = _open(arguments)
    if arguments.json:
        _print_json([_summary(item) for item in recorded.datasets])
        return 0
    if not recorded.datasets:
        print(f"No datasets in {recorded.store}. Make some with `{display.command_name()} demo`.")
        return 0
    rows = [
        (
            _short(item.digest),
            ", ".join(item.contexts),
            ", ".join(item.names),
            _number(item.rows),
            str(len(item.columns) or ""),
            display.local_time(item.first_seen),
            str(item.evaluations),
        )
        for item in recorded.datasets
    ]
    _print_rows(("digest", "context", "name", "rows", "columns", "first seen", "evaluations"), rows)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print one dataset version."""
    recorded = _open(arguments)
    item = recorded.find(arguments.dataset)
    version = _manifest_of(recorded, item)
    known = version or _from_mlflow(item)
    parents = version.parents if version and version.parents else recorded.parents_of(item.digest)
    if arguments.json:
        _print_json(
            {
                **_summary(item),
                "has_manifest": version is not None,
                "version": dataclasses.asdict(known) | {"parents": list(parents)},
                "children": list(recorded.children_of(item.digest)),
                "uses": [dataclasses.asdict(use) for use in item.uses],
            }
        )
        return 0
    facts = [
        ("digest", item.digest),
        ("in any order", known.multiset_digest or ""),
        ("name", ", ".join(item.names)),
        ("context", ", ".join(item.contexts)),
        ("rows", _number(item.rows)),
        ("source", known.source),
        ("licence", known.licence),
        ("contributor", known.contributor),
        ("created", known.created),
        ("first seen", display.local_time(item.first_seen)),
        ("evaluations", str(item.evaluations)),
        *(("file", f"{file.name}  {file.size:,} bytes  sha256 {file.sha256}") for file in known.files),
        *(("made from", _titled(recorded, digest)) for digest in parents),
        *(("made into", _titled(recorded, digest)) for digest in recorded.children_of(item.digest)),
    ]
    _print_rows(("", "value"), [fact for fact in facts if fact[1]])
    print()
    nulls, unique = dict(known.null_counts), dict(known.unique_counts)
    rows = []
    for name, kind in known.columns:
        different = "not counted" if name in unique and unique[name] is None else _number(unique.get(name))
        rows.append((name, kind, _number(nulls.get(name)), different))
    _print_rows(("column", "type", "missing", "different"), rows)
    if version is None:
        print(_NO_MANIFEST)
    print()
    _print_uses(item)
    return 0


def diff(arguments: argparse.Namespace) -> int:
    """Print what changed between two dataset versions or files."""
    from hokusai.datasets.version_comparison import compare_rows, compare_versions

    names = (arguments.first, arguments.second)
    recorded = None if all(Path(name).exists() for name in names) else _open(arguments)
    with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
        first, second = _sides(recorded, names, Path(folder))
    changes = compare_versions(first.version, second.version)
    rows, reason = None, ""
    if first.table is None or second.table is None:
        without = first.title if first.table is None else second.title
        reason = f"the rows of {without} are not at hand: no run stored them"
    elif (rows := compare_rows(first.table, second.table)) is None:
        reason = "their columns are not the same"
    if arguments.json:
        _print_json(
            {
                "first": dataclasses.asdict(first.version),
                "second": dataclasses.asdict(second.version),
                "changes": dataclasses.asdict(changes),
                "row_changes": None if rows is None else dataclasses.asdict(rows),
                "rows_not_compared": reason,
            }
        )
        return 0
    for side in (first, second):
        print(visible_text(f"{side.title}: {side.version.digest}, {side.version.rows:,} rows"))
    _print_changes(changes, rows, reason)
    if not (first.is_described and second.is_described):
        print(_NO_MANIFEST)
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Say whether a file has a recorded content; exits 1 when it has not."""
    from hokusai.datasets.version_comparison import compare_rows, compare_versions

    recorded = _open(arguments)
    path = Path(arguments.file)
    if arguments.dataset is None:
        return _look_up(recorded, path, as_json=arguments.json)
    item = recorded.find(arguments.dataset)
    expected = _manifest_of(recorded, item)
    found = _file_side(path, like=(expected or _from_mlflow(item)).columns)
    is_same = found.version.digest == item.digest
    changes = compare_versions(expected or _from_mlflow(item), found.version)
    rows = None
    if not is_same and found.table is not None:
        with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
            table = _stored_table(recorded, item, Path(folder))
            rows = None if table is None else compare_rows(table, found.table)
    if arguments.json:
        _print_json(
            {
                "ok": is_same,
                "file": str(path),
                "expected": item.digest,
                "found": found.version.digest,
                "changes": dataclasses.asdict(changes),
                "row_changes": None if rows is None else dataclasses.asdict(rows),
            }
        )
    elif is_same:
        print(visible_text(f"{path} has the content {item.digest} ({', '.join(item.names)})."))
    else:
        print(visible_text(f"{path} has another content than {_short(item.digest)} ({', '.join(item.names)})."))
        print(f"expected  {item.digest}\nfound     {found.version.digest}")
        _print_changes(changes, rows, "the recorded rows are not at hand: no run stored them, or other columns")
        if expected is None:
            print(_NO_MANIFEST)
    return 0 if is_same else 1


def lineage(arguments: argparse.Namespace) -> int:
    """Print what a dataset was made from, what was made from it, and which runs and models used it."""
    recorded = _open(arguments)
    item = recorded.find(arguments.dataset)
    version = _manifest_of(recorded, item)
    above = recorded.ancestors(item.digest, parents={item.digest: version.parents} if version else None)
    below = recorded.descendants(item.digest)
    if arguments.json:
        _print_json(
            {
                "dataset": _summary(item),
                "has_manifest": version is not None,
                "made_from": [_node(node) for node in above],
                "made_into": [_node(node) for node in below],
                "uses": [dataclasses.asdict(use) for use in item.uses],
            }
        )
        return 0
    from rich.console import Console
    from rich.tree import Tree

    tree = Tree(_text(f"{_short(item.digest)}  {_about(item)}"))
    for heading, nodes in (("made from", above), ("made into", below)):
        branch = tree.add(_text(heading if nodes else f"{heading}: nothing that the store knows of"))
        _grow(branch, nodes)
    runs = tree.add(_text("used by"))
    lines = _evaluation_uses(item)
    for line in lines[:_USES_SHOWN]:
        runs.add(_text(line))
    if len(lines) > _USES_SHOWN:
        runs.add(_text(f"{len(lines) - _USES_SHOWN} more; --json lists them all"))
    # A file or a pipe has no width to be folded to.
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=_WIDE)).print(tree)
    if version is None:
        print("No manifest is on record: what it was made from follows from the runs alone.")
    return 0


def _open(arguments: argparse.Namespace) -> RecordedDatasets:
    from hokusai.tracking.recorded_datasets import RecordedDatasets

    return RecordedDatasets(tracking_settings(arguments))


def _manifest_of(recorded: RecordedDatasets, item: RecordedDataset) -> DatasetVersion | None:
    from hokusai.datasets.croissant import read_manifest

    for source, content in recorded.manifests(item):
        try:
            version = read_manifest(content, source=source)
        except DataError as error:
            # Anybody may have left a file of this name; another run may have left a whole one.
            print(visible_text(f"hokusai: left aside: {error}"), file=sys.stderr)
            continue
        if version.digest == item.digest:
            return version
    return None


def _from_mlflow(item: RecordedDataset) -> DatasetVersion:
    """What MLflow itself says of a dataset, in the words of a manifest."""
    pairs = (column.rpartition(": ") for column in item.columns)
    use = item.uses[-1]
    return DatasetVersion(
        name=use.name,
        context=cast("DatasetContext", use.context),
        digest=item.digest,
        rows=item.rows or 0,
        columns=tuple((name, _MLFLOW_TYPES.get(kind, kind)) for name, _, kind in pairs),
        source=use.source,
    )


def _sides(recorded: RecordedDatasets | None, names: Sequence[str], folder: Path) -> tuple[_Side, _Side]:
    """Read both; a file is read with the column types of the recorded dataset that it is compared with."""
    sides: list[_Side | None] = [
        None if recorded is None or Path(name).exists() else _recorded_side(recorded, name, folder) for name in names
    ]
    like = next((side.version.columns for side in sides if side is not None), ())
    first, second = (side or _file_side(Path(name), like=like) for side, name in zip(sides, names, strict=True))
    return first, second


def _recorded_side(recorded: RecordedDatasets, name: str, folder: Path) -> _Side:
    item = recorded.find(name)
    version = _manifest_of(recorded, item)
    return _Side(
        title=name,
        version=version or _from_mlflow(item),
        is_described=version is not None,
        table=_stored_table(recorded, item, folder),
    )


def _stored_table(recorded: RecordedDatasets, item: RecordedDataset, folder: Path) -> pa.Table | None:
    from hokusai.datasets.snapshots import read_snapshot

    file = recorded.fetch_snapshot(item, folder)
    return None if file is None else read_snapshot(file, digest=item.digest)


def _file_side(path: Path, *, like: Sequence[tuple[str, str]] = ()) -> _Side:
    from hokusai.datasets.versions import table_version

    table, file = _read_like(path, like)
    version = table_version(table, name=path.name, context="contribution", source=str(path), files=(file,))
    return _Side(title=str(path), version=version, is_described=True, table=table)


def _read_like(path: Path, columns: Sequence[tuple[str, str]]) -> tuple[pa.Table, DatasetFile]:
    """Read a file with the columns and types of a recorded version if it has them, else as it is."""
    from hokusai.datasets.tables import ReadSettings, read_table

    words = {name: _type_word(kind) for name, kind in columns}
    settings = ReadSettings(types={name: word for name, word in words.items() if word})
    try:
        read = read_table(path, settings=settings, columns=[name for name, _ in columns] or None)
    except (SchemaMismatchError, ValueMismatchError):
        read = read_table(path)
    file = DatasetFile(name=path.name, sha256=read.file_sha256, size=read.size, rows=read.table.num_rows)
    return read.table, file


def _type_word(kind: str) -> str:
    decimal = _DECIMAL.fullmatch(kind)
    return f"decimal({decimal[1]})" if decimal else _TYPE_WORDS.get(kind, "")


def _look_up(recorded: RecordedDatasets, path: Path, *, as_json: bool) -> int:
    """Find the recorded dataset whose content a file has."""
    whole = _file_side(path)
    item = recorded.with_digest(whole.version.digest)
    if item is None:
        item = _with_fewer_columns(recorded, path, whole.version)
    if as_json:
        found = None if item is None else _summary(item)
        _print_json({"ok": item is not None, "file": str(path), "found": whole.version.digest, "dataset": found})
    elif item is None:
        print(
            visible_text(f"{path} has the content {whole.version.digest}, which is not on record in {recorded.store}.")
        )
    else:
        print(visible_text(f"{path} has the content {item.digest}: {_about(item)}."))
        _print_uses(item)
    return 0 if item is not None else 1


def _with_fewer_columns(recorded: RecordedDatasets, path: Path, whole: DatasetVersion) -> RecordedDataset | None:
    """Look among evaluations that used some of a file's columns, or declared their types."""
    names = {name for name, _ in whole.columns}
    tried: set[tuple[tuple[str, str], ...]] = set()
    for item in recorded.datasets:
        described = _from_mlflow(item)
        # A manifest has to be fetched, and MLflow tells names and rows already.
        if item.rows != whole.rows or not names.issuperset(name for name, _ in described.columns):
            continue
        columns = (_manifest_of(recorded, item) or described).columns
        if columns and columns not in tried:
            tried.add(columns)
            if (match := recorded.with_digest(_file_side(path, like=columns).version.digest)) is not None:
                return match
    return None


def _summary(item: RecordedDataset) -> dict[str, object]:
    names = ("digest", "names", "contexts", "rows", "columns", "first_seen", "evaluations")
    return {name: getattr(item, name) for name in names}


def _node(node: LineageNode) -> dict[str, object]:
    return {
        "digest": node.digest,
        "depth": node.depth,
        "next": node.next_digests,
        "dataset": None if node.dataset is None else _summary(node.dataset),
        "uses": [] if node.dataset is None else [dataclasses.asdict(use) for use in node.dataset.uses],
    }


def _grow(branch: Tree, nodes: Iterable[LineageNode]) -> None:
    path = [branch]
    for node in nodes:
        if node.depth > _DEEPEST:
            continue
        about = "not on record in this store" if node.dataset is None else _about(node.dataset)
        more = node.next_digests and (node.is_repeated or node.depth == _DEEPEST)
        del path[node.depth :]
        path.append(path[-1].add(_text(f"{_short(node.digest)}  {about}{'  …' if more else ''}")))
        for use in _models(node.dataset):
            path[-1].add(_text(use))


def _models(item: RecordedDataset | None) -> list[str]:
    """Which models were trained on integrated data; of other data the integrated ones say it."""
    if item is None or "integrated" not in item.contexts:
        return []
    made = {(use.model_version, use.decision, use.evaluation_name) for use in item.uses if use.model_version}
    return [f"model {model} ({decision or 'no decision'}, {run})" for model, decision, run in sorted(made)]


def _about(item: RecordedDataset) -> str:
    evaluations = "1 evaluation" if item.evaluations == 1 else f"{item.evaluations} evaluations"
    names = ", ".join(item.names)
    contexts = ", ".join(item.contexts)
    return f"{names if names == contexts else f'{names} ({contexts})'}, {_number(item.rows)} rows, {evaluations}"


def _titled(recorded: RecordedDatasets, digest: str) -> str:
    item = recorded.with_digest(digest)
    return f"{_short(digest)}  {'not on record in this store' if item is None else _about(item)}"


def _evaluation_uses(item: RecordedDataset) -> list[str]:
    """One line for each evaluation and context, the newest first."""
    lines: dict[tuple[str, str], str] = {}
    for use in item.uses:
        name = use.evaluation_name or use.run
        parts = (f"as {use.context}" if use.context else "", use.decision, use.model_version, use.status)
        line = f"{display.local_time(use.started)}  {name}  {', '.join(filter(None, parts))}"
        lines.setdefault((use.evaluation, use.context), line)
    return list(lines.values())


def _print_uses(item: RecordedDataset) -> None:
    lines = _evaluation_uses(item)
    for line in lines[:_USES_SHOWN]:
        print(visible_text(f"used {line}"))
    if len(lines) > _USES_SHOWN:
        print(f"used by {len(lines) - _USES_SHOWN} more; --json lists them all")


def _print_changes(changes: VersionChanges, rows: RowChanges | None, reason: str) -> None:
    if changes.is_same_content:
        print("The content is the same.")
        return
    before, after = changes.rows
    table = [("rows", "", _number(before), _number(after), f"{after - before:+,}")]
    table += [("column added", name, "", kind, "") for name, kind in changes.columns_added]
    table += [("column removed", name, kind, "", "") for name, kind in changes.columns_removed]
    table += [("type", name, was, now, "") for name, was, now in changes.types_changed]
    table += [("missing values", name, *_change(was, now)) for name, was, now in changes.nulls_changed]
    table += [("different values", name, *_change(was, now)) for name, was, now in changes.unique_changed]
    if rows is not None:
        table += [("rows kept", "", "", _number(rows.kept), "")]
        table += [("rows added", "", "", _number(rows.added), "")]
        table += [("rows removed", "", "", _number(rows.removed), "")]
    _print_rows(("what", "column", "before", "after", "change"), table)
    if rows is None:
        print(visible_text(f"Rows were not compared: {reason}."))
    elif rows.is_reordered:
        print("The rows are the same, in another order.")


def _change(was: int | None, now: int | None) -> tuple[str, str, str]:
    change = f"{now - was:+,}" if was is not None and now is not None else ""
    return ("not counted" if was is None else f"{was:,}", "not counted" if now is None else f"{now:,}", change)


def _print_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    display.print_rows(headings, [[visible_text(cell) for cell in row] for row in rows])


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True, default=str) + "\n")


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _text(text: str) -> Text:
    from rich.text import Text

    return Text(visible_text(text))


def _short(digest: str) -> str:
    return digest[:_SHORT]
