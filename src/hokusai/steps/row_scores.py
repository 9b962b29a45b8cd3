"""What every fit says about every benchmark row, as one Parquet file from which every score can be computed again."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hokusai.analysis.metrics import BenchmarkTruth
from hokusai.analysis.statistics import RowGroups
from hokusai.errors import DataError, StatementError
from hokusai.models.labels import label_values
from hokusai.provenance.strict_json import read_json
from hokusai.records import Predictions, SubsetKind
from hokusai.steps.benchmark_rows import BenchmarkRows, RowSet, class_codes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hokusai.records import Arm

__all__ = ["ROW_SCORES_FORMAT", "RowScores", "read_row_scores"]

ROW_SCORES_FORMAT = "hokusai-row-scores/2"
_METADATA = b"hokusai"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowScores:
    """What every fit says about every row of all benchmarks.

    Attributes:
        labels: The rows' labels, as the benchmark has them.
        rows: The labels as they are scored, with weights and groups, and the sets of rows.
        predictions: By arm and seed.
    """

    labels: pa.ChunkedArray
    rows: BenchmarkRows
    predictions: Mapping[Arm, Mapping[int, Predictions]]

    def to_bytes(self) -> bytes:
        """Return the file's bytes; equal row scores give equal bytes."""
        truth = self.rows.truth
        columns: dict[str, pa.Array | pa.ChunkedArray] = {
            "row": pa.array(np.arange(len(self.labels))),
            "label": self.labels,
        }
        optional = {"weight": truth.weights, "query": truth.queries}
        optional["group"] = None if self.rows.groups is None else self.rows.groups.codes
        columns |= {name: pa.array(values) for name, values in optional.items() if values is not None}
        for number, rowset in enumerate(self.rows.sets):
            member = np.zeros(len(self.labels), dtype=np.bool_)
            member[rowset.rows] = True
            columns[f"set.{number}"] = pa.array(member)
        unseen: dict[str, list[str]] = {}
        for arm, fits in self.predictions.items():
            for seed, fit in fits.items():
                name = f"{arm}.{seed}"
                unseen[name] = list(fit.unseen_classes)
                columns |= _fit_columns(name, fit, truth.classes)
        metadata = {
            "format": ROW_SCORES_FORMAT,
            "classes": list(truth.classes),
            "positive_class": None if truth.positive is None else truth.classes[truth.positive],
            "average": truth.average,
            "sets": [{"name": each.name, "kind": each.kind} for each in self.rows.sets],
            "fits": unseen,
        }
        table = pa.table(columns).replace_schema_metadata(
            {_METADATA: json.dumps(metadata, ensure_ascii=False).encode()}
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        return buffer.getvalue()


def read_row_scores(content: bytes, *, source: str = "row_scores.parquet") -> RowScores:
    """Return the row scores that :meth:`RowScores.to_bytes` wrote.

    Args:
        content: The file's bytes.
        source: What messages call it.

    Raises:
        DataError: They are none, or of another version.
    """
    try:
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
        metadata = read_json((table.schema.metadata or {}).get(_METADATA, b"{}"), source="metadata")
    except (pa.ArrowException, OSError, StatementError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(source, f"cannot be read ({reason}). Fetch it again.") from error
    said = metadata.get("format") if isinstance(metadata, dict) else None
    if said != ROW_SCORES_FORMAT or not isinstance(metadata, dict):
        raise DataError(source, f"is in the format {said!r}, expected {ROW_SCORES_FORMAT!r}.")
    try:
        _require_sound(table, metadata, source=source)
        return _row_scores(table, metadata)
    except (pa.ArrowException, AttributeError, LookupError, TypeError, ValueError) as error:
        problem = f"does not hold what {ROW_SCORES_FORMAT} says ({type(error).__name__}: {error}). Fetch it again."
        raise DataError(source, problem) from error


def _require_sound(table: pa.Table, metadata: Mapping[str, Any], *, source: str) -> None:
    """Refuse what no evaluation writes.

    Raises:
        DataError: Rows are not numbered, sets are of no known kind, or codes number what occurs in no row.
    """
    rows = table.num_rows
    if not np.array_equal(table["row"].to_numpy(), np.arange(rows)):
        raise DataError(source, f"its column row is not the numbers 0 to {rows - 1}. Fetch it again.")
    strange = {each["kind"] for each in metadata["sets"]}.difference(get_args(SubsetKind))
    if strange:
        raise DataError(source, f"has sets of the kinds {sorted(strange)}, which are none. Fetch it again.")
    for name in ("group", "query"):
        codes = _column(table, name)
        # A greater code would cost memory for groups that are nowhere.
        if codes is not None and (codes.dtype.kind not in "iu" or codes.min() < 0 or codes.max() >= rows):
            raise DataError(source, f"its column {name} is not of codes from 0 to {rows - 1}. Fetch it again.")


def _row_scores(table: pa.Table, metadata: Mapping[str, Any]) -> RowScores:
    classes = tuple(metadata["classes"])
    positive = metadata["positive_class"]
    return RowScores(
        labels=table["label"],
        rows=BenchmarkRows(
            truth=BenchmarkTruth(
                actual=_actual(table["label"], classes),
                classes=classes,
                positive=None if positive is None else classes.index(positive),
                average=metadata["average"],
                weights=_column(table, "weight"),
                queries=_column(table, "query"),
                groups=_column(table, "group"),
            ),
            groups=_groups(table),
            sets=tuple(
                RowSet(name=each["name"], kind=each["kind"], rows=np.flatnonzero(table[f"set.{number}"].to_numpy()))
                for number, each in enumerate(metadata["sets"])
            ),
        ),
        predictions=_predictions(table, classes, metadata["fits"]),
    )


def _fit_columns(name: str, fit: Predictions, classes: tuple[str, ...]) -> dict[str, pa.Array]:
    if not classes:
        return {f"{name}.predicted": pa.array(fit.predicted)}
    kind = np.int8 if len(classes) < 128 else np.int32
    codes = pa.DictionaryArray.from_arrays(pa.array(fit.predicted.astype(kind)), pa.array(classes))
    columns: dict[str, pa.Array] = {f"{name}.predicted": codes}
    if fit.probabilities is None:
        return columns
    shown = range(len(classes))
    if len(classes) == 2 and np.array_equal(fit.probabilities[:, 0], 1 - fit.probabilities[:, 1]):
        # The other one is exactly what is left, and half of the file is saved.
        shown = range(1, 2)
    return columns | {f"{name}.probability.{classes[code]}": pa.array(fit.probabilities[:, code]) for code in shown}


def _predictions(
    table: pa.Table, classes: tuple[str, ...], fits: Mapping[str, list[str]]
) -> dict[Arm, dict[int, Predictions]]:
    found: dict[Any, dict[int, Predictions]] = {}
    for name, unseen in fits.items():
        arm, _, seed = name.partition(".")
        predicted = table[f"{name}.predicted"].combine_chunks()
        found.setdefault(arm, {})[int(seed)] = Predictions(
            predicted=_codes(predicted, classes) if classes else predicted.to_numpy(),
            probabilities=_probabilities(table, name, classes),
            unseen_classes=tuple(unseen),
        )
    return found


def _codes(predicted: pa.DictionaryArray, classes: tuple[str, ...]) -> NDArray[np.intp]:
    # By text: whoever writes the file again, such as with fewer columns, may have put its dictionary in another order.
    places = np.array([classes.index(text) for text in predicted.dictionary.to_pylist()], dtype=np.intp)
    codes: NDArray[np.intp] = places[predicted.indices.to_numpy()]
    return codes


def _probabilities(table: pa.Table, name: str, classes: tuple[str, ...]) -> NDArray[np.float64] | None:
    columns = [_column(table, f"{name}.probability.{each}") for each in classes]
    if not columns or columns[-1] is None:
        return None
    if len(columns) == 2 and columns[0] is None:
        columns[0] = 1 - columns[1]
    return np.column_stack([column for column in columns if column is not None])


def _column(table: pa.Table, name: str) -> Any:  # noqa: ANN401  (numbers of the column's own type, or None)
    return table[name].to_numpy() if name in table.column_names else None


def _groups(table: pa.Table) -> RowGroups | None:
    codes = _column(table, "group")
    return None if codes is None else RowGroups(codes=codes.astype(np.intp), count=int(codes.max()) + 1)


def _actual(labels: pa.ChunkedArray, classes: tuple[str, ...]) -> NDArray[np.generic]:
    return class_codes(labels, classes) if classes else label_values(labels).astype(np.float64)
