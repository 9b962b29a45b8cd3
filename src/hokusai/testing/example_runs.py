"""Example runs, made by the real pipeline: finished, failed and running evaluations, histories, registered models.

They are what a dashboard, a report or a clean-up job is tested against: complete trees with true parameters, metrics,
datasets, artifacts and model versions, in a store of the test's own.
"""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import TYPE_CHECKING

from hokusai import pipeline
from hokusai.errors import DataError
from hokusai.testing.sample_data import CONTRIBUTIONS, penguins_config
from hokusai.tracking import naming
from hokusai.tracking.journal import JOURNAL_FORMAT, FileJournal
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.operations import OpenJournal
from hokusai.tracking.run import Tracker
from hokusai.tracking.shipper import DirectShipping, JournalShipper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from mlflow import MlflowClient

    from hokusai.records import DeltaReport

__all__ = ["ExampleRuns"]


class ExampleRuns:
    """Makes example runs in one MLflow store. Use it as a context manager: it ends what is still running.

    Args:
        uri: Tracking URI of the store; an HTTP server or a database.
        folder: Where the journals are kept meanwhile.

    Attributes:
        client: MLflow's own client of the store.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        """Open the store."""
        from mlflow import MlflowClient

        from hokusai.tracking.mlflow_client import MlflowStore

        self.client: MlflowClient = MlflowClient(uri, uri)
        self._store = MlflowStore(uri)
        self._settings = TrackingSettings(uri=uri, journal=folder)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Do nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the journals of running examples."""
        self._open.close()

    def finished(self, contribution: str = "dream", *, experiment: str = "") -> DeltaReport:
        """Make a finished evaluation of one of the sample contributions: six runs, datasets, a registered model.

        Args:
            contribution: One of :data:`~hokusai.testing.sample_data.CONTRIBUTIONS`.
            experiment: Name of the experiment; empty means ``hokusai-penguins``.

        Returns:
            The report; ``report.tracking.runs`` has the run ids, the parent's first.
        """
        config = penguins_config(contribution, self._tracking(experiment))
        return pipeline.run(config, shipping=DirectShipping(self._store))

    def failed(self, *, experiment: str = "") -> str:
        """Make an evaluation that failed in its second step, and return the id of its parent run."""
        config = penguins_config("dream", self._tracking(experiment))
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, label="no_such_column"))
        shipping = DirectShipping(self._store)
        try:
            pipeline.run(config, shipping=shipping)
        except DataError:
            state = next(reversed(shipping.states.values()))
            return next(iter(state.run_ids.values()))
        raise AssertionError("the evaluation of a column that does not exist has not failed")

    def running(self, *, experiment: str = "") -> str:
        """Make an evaluation that is in its third step, and return the id of its parent run.

        It stays RUNNING in the store, as the run of a process that is at work, or has died, does.
        """
        now = datetime.now(UTC)
        key = naming.evaluation_key(now)
        journal = FileJournal(self._settings.journal / key)
        self._open.callback(journal.abandon)
        tracking = self._tracking(experiment)
        name = naming.run_name(tracking.experiment, project="penguins", evaluation=key, now=now)
        journal.append(OpenJournal(format=JOURNAL_FORMAT, evaluation=key, experiment=name, tracking_uri=tracking.uri))
        tracker = Tracker(journal, evaluation=key, run_name=f"running-{key}")
        parent = self._open.enter_context(tracker.start())
        for step in naming.STEPS[:2]:
            with parent.child(step):
                pass
        self._open.enter_context(parent.child(naming.STEPS[2]))
        shipper = JournalShipper(journal.folder, self._store)
        shipper.advance()
        return shipper.state.run_ids[key]

    def history(self, count: int, *, experiment: str = "") -> tuple[DeltaReport, ...]:
        """Make several finished evaluations, one after the other, of the sample contributions in turn."""
        return tuple(self.finished(name, experiment=experiment) for name in islice(cycle(CONTRIBUTIONS), count))

    def registered_model(self, aliases: Sequence[str] = ("champion",)) -> tuple[str, str]:
        """Make a finished evaluation, give its model version aliases, and return the model's name and the version."""
        report = self.finished()
        name = report.identity.registered_model
        tag = f"tags.`{naming.EVALUATION_TAG}` = '{report.identity.evaluation}'"
        version = self.client.search_model_versions(f"name = '{name}' AND {tag}")[0].version
        for alias in aliases:
            self.client.set_registered_model_alias(name, alias, version)
        return name, str(version)

    def _tracking(self, experiment: str) -> TrackingSettings:
        return dataclasses.replace(self._settings, experiment=experiment) if experiment else self._settings
