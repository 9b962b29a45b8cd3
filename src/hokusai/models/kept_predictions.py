"""What a fitted model says about one benchmark, kept in a file: to be asked again, it need not be fitted again.

A file is an Arrow IPC stream with the SHA-256 of its bytes behind it. It holds the predictions in the model's own
classes, numbers exactly as the model gave them, and nothing that could run.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hokusai.errors import ModelError
from hokusai.records import Predictions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from hokusai.records import FittedModel

__all__ = ["KeptControl", "keep_control", "read_control"]

_VERSION = 1
_FACTS = b"hokusai.control"
_PREDICTED = "predicted"
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptControl:
    """A fit of the control of which its answers about one benchmark are left; a FittedModel for that benchmark alone.

    Attributes:
        file: Where the answers are.
        benchmark: The table that was asked about.
        seed: Seed of the fit.
        features: Columns that it predicts from.
        classes: Names of the classes that the fit knows, in its own order; empty for regression.
        warnings: What was warned of during the fit.
        losses: What the fit said of its iterations: series, iteration from 0, value.
        fit_seconds: How long the fit took when it was made.
        predict_seconds: How long it took then to answer about the benchmark.
    """

    file: Path
    benchmark: pa.Table = field(repr=False)
    seed: int
    features: tuple[str, ...]
    classes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    losses: tuple[tuple[str, int, float], ...] = field(default=(), repr=False)
    fit_seconds: float = 0.0
    predict_seconds: float = 0.0

    def predict(self, table: pa.Table, *, classes: tuple[str, ...]) -> Predictions:
        """Return what the fit said, bit for bit, with class codes by position in ``classes``.

        Raises:
            ModelError: This is not the benchmark that the answers are about, the classes are not those of its task,
                or the file was damaged or removed meanwhile.
        """
        features = list(self.features)
        if table is not self.benchmark and not table.select(features).equals(self.benchmark.select(features)):
            msg = f"{self.file}: holds answers about another benchmark. Set training.keep_controls = false."
            raise ModelError(msg)
        if bool(classes) != bool(self.classes):
            raise ModelError(f"{self.file}: was asked for classes {classes}, expected some of {self.classes}.")
        # Another evaluation may have kept the same fit meanwhile: any whole file of this name says the same.
        stream = _read(self.file)
        if stream is None:
            msg = f"{self.file}: the kept control was damaged or removed during the evaluation. Start it again."
            raise ModelError(msg)
        return self._answers(_table(stream), classes)

    def _answers(self, kept: pa.Table, classes: tuple[str, ...]) -> Predictions:
        import numpy as np

        predicted = np.asarray(kept[_PREDICTED].to_numpy())
        if not classes:
            return Predictions(predicted=predicted)
        positions = {text: code for code, text in enumerate(classes)}
        codes = np.array([positions.get(text, -1) for text in self.classes])
        probabilities = None
        if kept.num_columns > 1:
            probabilities = np.zeros((kept.num_rows, len(classes)))
            for own, code in enumerate(codes):
                if code >= 0:
                    probabilities[:, code] = kept[_probability(own)].to_numpy()
        return Predictions(
            predicted=codes[predicted],
            probabilities=probabilities,
            unseen_classes=tuple(text for text in classes if text not in self.classes),
        )


def keep_control(
    model: FittedModel,
    *,
    benchmark: pa.Table,
    file: Path,
    losses: Sequence[tuple[str, int, float]] = (),
    fit_seconds: float = 0.0,
) -> KeptControl:
    """Ask a fitted model about the benchmark, keep its answers in a file, and return what answers from there.

    Args:
        model: The model.
        benchmark: All benchmark rows.
        file: Where the answers go; a file that is there is replaced at once, never in part.
        losses: What the fit said of its iterations.
        fit_seconds: How long the fit took.

    Raises:
        ModelError: The model cannot score the benchmark.
        OSError: The file cannot be written.
    """
    import pyarrow as pa

    began = time.perf_counter()
    said = model.predict(benchmark, classes=model.classes)
    predict_seconds = time.perf_counter() - began
    columns = {_PREDICTED: pa.array(said.predicted.astype("int32") if model.classes else said.predicted)}
    if said.probabilities is not None:
        columns |= {_probability(own): pa.array(said.probabilities[:, own]) for own in range(len(model.classes))}
    facts = {
        "version": _VERSION,
        "seed": model.seed,
        "features": model.features,
        "classes": model.classes,
        # A trainer need not say what it was warned of.
        "warnings": tuple(getattr(model, "warnings", ())),
        "losses": tuple(losses),
        "fit_seconds": fit_seconds,
        "predict_seconds": predict_seconds,
    }
    table = pa.table(columns).replace_schema_metadata({_FACTS: json.dumps(facts).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    _write(file, sink.getvalue())
    return _control(table.schema, file=file, benchmark=benchmark)


def read_control(file: Path, *, benchmark: pa.Table) -> KeptControl | None:
    """Return what answers from a file, or None when there is no such file or it is not whole.

    Args:
        file: Where :func:`keep_control` has put it.
        benchmark: The table that it was asked about.
    """
    import pyarrow as pa

    stream = _read(file)
    if stream is None:
        return None
    with pa.ipc.open_stream(stream) as reader:
        schema = reader.schema
    return _control(schema, file=file, benchmark=benchmark)


def _control(schema: pa.Schema, *, file: Path, benchmark: pa.Table) -> KeptControl:
    facts: dict[str, Any] = json.loads(schema.metadata[_FACTS])
    return KeptControl(
        file=file,
        benchmark=benchmark,
        seed=facts["seed"],
        features=tuple(facts["features"]),
        classes=tuple(facts["classes"]),
        warnings=tuple(facts["warnings"]),
        losses=tuple((series, iteration, value) for series, iteration, value in facts["losses"]),
        fit_seconds=facts["fit_seconds"],
        predict_seconds=facts["predict_seconds"],
    )


def _probability(own: int) -> str:
    return f"probability.{own}"


def _table(stream: memoryview) -> pa.Table:
    import pyarrow as pa

    with pa.ipc.open_stream(stream) as reader:
        return reader.read_all()


def _read(file: Path) -> memoryview | None:
    """Return the stream in a file, or None where it is not what the SHA-256 behind it says."""
    try:
        content = memoryview(file.read_bytes())
    except OSError:
        return None
    stream, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    return stream if hashlib.sha256(stream).digest() == digest else None


def _write(file: Path, stream: pa.Buffer) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, because another evaluation may keep the same fit at the same time.
    partial = file.with_name(f"{file.name}.{uuid4().hex}.partial")
    try:
        with partial.open("wb") as target:
            target.write(stream)
            target.write(hashlib.sha256(stream).digest())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
