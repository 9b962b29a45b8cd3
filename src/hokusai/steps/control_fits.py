"""The control's fits of earlier evaluations: found again by everything that they depend on, or kept for the next one.

What is kept of a fit is what it says about the benchmark, one file for each, in
``controls/KEY/SEED-BENCHMARK.arrow`` below the cache folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hokusai.digests import canonical_json, sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from hokusai.models.column_kinds import ColumnKind
    from hokusai.models.kept_predictions import KeptControl
    from hokusai.models.trainers import Trainer
    from hokusai.records import FittedModel, IntegratedData
    from hokusai.steps.fit_jobs import Fit, Loss

__all__ = ["ControlFits", "control_fits"]


class ControlFits:
    """The kept fits of one control on one benchmark. Several evaluations may use the folder at once.

    It may be deleted at any time while nothing is evaluated.

    Args:
        folder: The folder of this control; it need not be there.
        benchmark: All benchmark rows.
        benchmark_digest: Digest of what the control predicts from.

    Attributes:
        folder: The folder.
        problem: Why a fit could not be kept, one sentence; empty when all could.
    """

    def __init__(self, folder: Path, *, benchmark: pa.Table, benchmark_digest: str) -> None:
        self.folder = folder
        self.problem = ""
        self._benchmark, self._benchmark_digest = benchmark, benchmark_digest

    def find(self, seed: int) -> KeptControl | None:
        """Return the fit of a seed; None when it was never kept or its file is damaged."""
        from hokusai.models.kept_predictions import read_control

        return read_control(self._file(seed), benchmark=self._benchmark)

    def keep(self, fit: Fit, *, losses: Sequence[Loss]) -> FittedModel:
        """Keep what a fit says about the benchmark, and return what answers in its place; itself if that fails.

        Raises:
            ModelError: The model cannot score the benchmark.
        """
        from hokusai.models.kept_predictions import keep_control

        try:
            return keep_control(
                fit.model,
                benchmark=self._benchmark,
                file=self._file(fit.model.seed),
                losses=losses,
                fit_seconds=fit.seconds,
            )
        except OSError as error:
            self.problem = (
                f"The control's fits could not be kept in {self.folder} ({error.strerror or error}); "
                "HOKUSAI_CACHE names another folder."
            )
            return fit.model

    def _file(self, seed: int) -> Path:
        return self.folder / f"{seed}-{self._benchmark_digest}.arrow"


def control_fits(
    trainer: Trainer, *, data: IntegratedData, kinds: Mapping[str, ColumnKind], threads: int
) -> ControlFits | None:
    """Return the kept fits of a control, or None for a trainer whose code may change unseen.

    Args:
        trainer: The control's trainer with its final parameters.
        data: The tables: a control depends on the rows of the base, their order, and the columns used.
        kinds: What each feature is.
        threads: Threads of every fit.
    """
    from hokusai.datasets.content_digest import content_digest
    from hokusai.models.fit_identity import fit_identity
    from hokusai.models.model_cache import default_cache_folder

    identity = fit_identity(trainer, kinds=kinds, threads=threads)
    if identity is None:
        return None
    features = list(data.features)
    weight = [] if data.sample_weight is None else [data.sample_weight]
    base, benchmark = data.base.select([*features, data.label, *weight]), data.benchmark.select(features)
    key = {
        "base": content_digest(base, source="base data"),
        "types": _types(base),
        "features": features,
        "label": data.label,
        "sample_weight": data.sample_weight,
        "fit": identity,
    }
    asked = {"benchmark": content_digest(benchmark, source="benchmark"), "types": _types(benchmark)}
    return ControlFits(
        default_cache_folder().parent / "controls" / sha256(canonical_json(key)),
        benchmark=data.benchmark,
        benchmark_digest=sha256(canonical_json(asked)),
    )


def _types(table: pa.Table) -> list[str]:
    # How Arrow stores a column is no content, but what a trainer makes of it may depend on it.
    return [str(field.type) for field in table.schema]
