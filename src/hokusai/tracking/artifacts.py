"""What a step may keep as a file: texts, JSON, tables, figures, folders; and under which paths.

Everything becomes bytes here; :class:`~hokusai.tracking.run.Run` stages them in the journal.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from hokusai.digests import canonical_json
from hokusai.tracking.operations import finite_or_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

__all__ = [
    "LONG_VALUES",
    "MANIFEST_FILE",
    "MANIFEST_FORMAT",
    "PARAMETERS_FILE",
    "TRACEBACK_FILE",
    "encode_figure",
    "encode_table",
    "files_below",
    "manifest",
    "of_part",
    "path_problem",
]

PARAMETERS_FILE = "parameters.json"
"""All parameters of a run, as canonical JSON."""
TRACEBACK_FILE = "traceback.txt"
"""The traceback of the exception that ended a run."""
MANIFEST_FILE = "manifest.json"
"""Path, size and SHA-256 of every artifact of a run."""
MANIFEST_FORMAT = "hokusai-manifest/1"
LONG_VALUES = "long_values"
"""Folder of parameter and tag values that are too long for MLflow, each named by its SHA-256."""


def of_part(name: str, part: str) -> str:
    """Return the name of a file, or of a tag, that each process which goes on with a run has for itself.

    ``parameters.json`` becomes ``parameters.PART.json``; for the process that began the run it stays as it is.
    """
    if not part:
        return name
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.{part}.{suffix}" if dot and suffix in ("json", "txt") else f"{name}.{part}"


def path_problem(path: str) -> str:
    """Return why a path cannot be that of an artifact; empty when it can.

    MLflow takes relative paths with ``/`` alone, and turns ``%20`` in a path into a blank.
    """
    parts = path.split("/")
    if not path or path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return "expected a relative path such as 'plots/loss.png', without '.', '..' or empty parts."
    if any(ord(letter) < 32 or letter in '\\"%#?:*<>|\x7f' for letter in path):
        return 'expected a path without control characters and without any of \\ " % # ? : * < > |.'
    if re.fullmatch(r"manifest(\.[^/]*)?\.json", path):
        return "Hokusai keeps its own list of artifacts under this name; take another one."
    return ""


def files_below(folder: Path) -> tuple[tuple[str, Path], ...]:
    """Return every file below a folder with its path relative to it, sorted by path."""
    found = [(path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file()]
    return tuple(sorted(found))


def encode_table(table: object, path: str) -> bytes | None:
    """Return a table as Parquet, CSV or MLflow's JSON, by the suffix of its path.

    Args:
        table: A pandas or Polars data frame, a PyArrow table, or a mapping of column names to sequences.
        path: ``….parquet``, ``….csv`` or ``….json``; MLflow's UI shows the last as a table.

    Returns:
        The bytes, or None when the table or the suffix is none of these.
    """
    suffix = PurePosixPath(path).suffix
    arrow = _arrow_table(table)
    if arrow is None or suffix not in (".parquet", ".csv", ".json"):
        return None
    if suffix == ".json":
        columns = [[_json_cell(value) for value in column.to_pylist()] for column in arrow.columns]
        document = {"columns": arrow.column_names, "data": list(zip(*columns, strict=True))}
        return json.dumps(document, ensure_ascii=False, default=str).encode()
    buffer = io.BytesIO()
    if suffix == ".csv":
        import pyarrow.csv as pa_csv

        pa_csv.write_csv(arrow, buffer)
    else:
        import pyarrow.parquet as pq

        pq.write_table(arrow, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def encode_figure(figure: object, path: str) -> bytes | None:
    """Return a figure as the suffix of its path says.

    Args:
        figure: A Matplotlib figure (``.png``, ``.svg``, ``.pdf``) or anything with ``to_html``, such as a Plotly
            figure (``.html``).
        path: Where it will be kept.

    Returns:
        The bytes, or None when the figure cannot be written so.
    """
    suffix = PurePosixPath(path).suffix
    drawing = cast("Any", figure)
    if suffix in (".png", ".svg", ".pdf") and hasattr(figure, "savefig"):
        buffer = io.BytesIO()
        # Without a date: the same figure gives the same bytes.
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix)
        drawing.savefig(buffer, format=suffix[1:], metadata=metadata)
        return buffer.getvalue()
    if suffix == ".html" and hasattr(figure, "to_html"):
        return str(drawing.to_html()).encode()
    return None


def manifest(
    run: str, *, artifacts: Mapping[str, tuple[str, int]], models: Sequence[tuple[str, str, str, int]] = ()
) -> bytes:
    """Return the manifest of a run as canonical JSON; see ``docs/formats/manifest.md``.

    Args:
        run: The run's key.
        artifacts: SHA-256 and size by path.
        models: Name, file, SHA-256 and size of every model that the run logged.
    """
    files = [{"path": path, "sha256": digest, "size": size} for path, (digest, size) in sorted(artifacts.items())]
    logged = [{"name": name, "file": file, "sha256": digest, "size": size} for name, file, digest, size in models]
    document = {"format": MANIFEST_FORMAT, "run_key": run, "artifacts": files, "models": logged}
    return canonical_json(cast("Any", document))


def _json_cell(value: object) -> object:
    return finite_or_text(value) if isinstance(value, float) else value


def _arrow_table(table: object) -> pa.Table | None:
    import pyarrow as pa

    if isinstance(table, pa.Table):
        return table
    if isinstance(table, dict):
        return pa.table(table)
    if hasattr(table, "to_arrow"):
        return cast("Any", table).to_arrow()
    if type(table).__module__.partition(".")[0] == "pandas":
        return pa.Table.from_pandas(table, preserve_index=False)
    return None
