"""``reproduce``: find a recorded evaluation, say what can be done again, do it, and compare."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.config import complete_tracking
from hokusai.datasets.reader_process import TableReader
from hokusai.errors import ConfigurationError, ReproductionError
from hokusai.pipeline import Repetition, run_again
from hokusai.reproduction.closing_comparison import ClosingComparison
from hokusai.reproduction.plan import GivenFiles, plan_reproduction
from hokusai.reproduction.recorded_evaluation import find_evaluation
from hokusai.reproduction.repeated_benchmark import RepeatedBenchmarkUse
from hokusai.tracking.audit import audit_run
from hokusai.tracking.mlflow_config import require_store
from hokusai.tracking.shipper import DirectShipping

if TYPE_CHECKING:
    from collections.abc import Callable

    from hokusai.reproduction.document import Reproduction
    from hokusai.reproduction.evaluation_facts import EvaluationFacts
    from hokusai.reproduction.plan import ReproductionPlan
    from hokusai.reproduction.recorded_evaluation import RecordedEvaluation
    from hokusai.tracking.audit import AuditReport
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.run import RunListener
    from hokusai.tracking.shipper import Shipping, ShippingState

__all__ = ["TOLERANCE", "reproduce"]

TOLERANCE = 1e-9
"""The relative tolerance, unless another is asked for."""


def reproduce(
    run: str,
    *,
    settings: TrackingSettings | None = None,
    given: GivenFiles | None = None,
    tolerance: float = TOLERANCE,
    workers: int | None = None,
    planned: Callable[[RecordedEvaluation, ReproductionPlan], None] | None = None,
    listener: RunListener | None = None,
    shipping: Shipping | None = None,
    reader: TableReader | None = None,
) -> Reproduction:
    """Do a recorded evaluation again, from what the tracking store holds of it, and compare.

    The reproduction is an evaluation of its own in the same experiment, with tags that name the first one. It registers
    no model, spends no decision and counts in no benchmark's history. Fits of the control are not taken from a cache.

    Args:
        run: The id of the parent run, its first characters, its name, or the evaluation's key.
        settings: The tracking store; default the environment's, or ``mlflow.db`` in this folder.
        given: What the store does not hold.
        tolerance: Numbers a and b are equal when ``|a - b| <= tolerance * max(|a|, |b|, 0.001)``.
        workers: Fits at the same time; default the recorded setting. No result depends on it.
        planned: Told what can be done again and what cannot, before it is done; default None.
        listener: Told when runs start and end; default None.
        shipping: What ships the new journal; by default it is shipped when the reproduction has ended.
        reader: What reads the files; by default a reading process is started and ended.

    Returns:
        What came of it. Where a stored table proves to be another one and none is given in its place, nothing is run.

    Raises:
        ReproductionError: The evaluation cannot be done again: something is missing, or not what was recorded.
        RunNotFoundError: There is no such run.
        ConfigurationError: What is given is not what is needed.
        HokusaiError: It was begun, and did not come to its end.
    """
    if not 0 <= tolerance < 1:
        problem = f"got {tolerance}, expected a number from 0 to less than 1."
        raise ConfigurationError(problem, key="--tolerance", source="command line")
    if workers is not None and workers < 0:
        problem = f"got {workers}, expected 0 (as many as pay off) or more."
        raise ConfigurationError(problem, key="--workers", source="command line")
    settings = complete_tracking(settings)
    require_store(settings)
    with (
        tempfile.TemporaryDirectory(prefix="hokusai-") as name,
        TableReader() if reader is None else nullcontext(reader) as table_reader,
        ThreadPoolExecutor(1, thread_name_prefix="hokusai-store") as others,
    ):
        folder = Path(name)
        recorded = find_evaluation(run, settings)
        plan = plan_reproduction(
            recorded, given=given or GivenFiles(), tracking=settings, folder=folder, workers=workers
        )
        if planned is not None:
            planned(recorded, plan)
        # Read while the evaluation is done again, so that a store which ends meanwhile takes no answer with it.
        stored = others.submit(_read_whole, recorded, settings)
        comparison = ClosingComparison(
            recorded,
            plan,
            settings=settings,
            stored=stored.result,
            tolerance=tolerance,
            reader=table_reader,
            folder=folder,
        )
        if plan.config is None:
            if plan.differences:
                return comparison.without_run()
            raise ReproductionError(recorded.key, f"it cannot be done again: {' '.join(plan.problems)}")
        repetition = Repetition(
            benchmark=partial(
                RepeatedBenchmarkUse,
                evaluation=recorded.key,
                datasets=recorded.datasets,
                await_record=stored.result,
            ),
            closing_record=comparison.record,
        )
        try:
            report = run_again(
                plan.config,
                folder=plan.code,
                repetition=repetition,
                listener=listener,
                # MLflow is loaded in this process already; a process that ships would load it once more.
                shipping=shipping or _ShippingToTheEnd(recorded.reader),
                reader=table_reader,
            )
        except ReproductionError:
            # The tables were other ones, and the comparison says which.
            if comparison.result is None:
                raise
            return comparison.result
        return comparison.finished(report)


class _ShippingToTheEnd(DirectShipping):
    """Ships in this process, and goes on once when it is interrupted: half a record is a run that stays RUNNING."""

    def wait(self, folder: Path) -> tuple[ShippingState | None, str]:
        """Ship now."""
        try:
            return super().wait(folder)
        except (KeyboardInterrupt, SystemExit):
            super().wait(folder)
            raise


def _read_whole(recorded: RecordedEvaluation, settings: TrackingSettings) -> tuple[EvaluationFacts, AuditReport]:
    return recorded.facts(), audit_run(settings, recorded.parent.run_id, without_journal=True)
