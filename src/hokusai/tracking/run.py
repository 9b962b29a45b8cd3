"""Run and Tracker: what a step may record.

A step is handed its :class:`Run` and records through it; there is no current run anywhere. Recording writes to the
journal and never waits for a server. A run ends with the block that opened it: FINISHED, FAILED after an exception,
KILLED after an interrupt.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

from hokusai.digests import canonical_json, sha256
from hokusai.tracking import naming
from hokusai.tracking.operations import (
    EndRun,
    LogArtifact,
    LogDataset,
    LogMetrics,
    LogModel,
    LogParameters,
    RegisterModel,
    SetTags,
    StartRun,
)
from hokusai.tracking.parameters import SCHEMA_VERSION, StepParameters, as_texts, as_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hokusai.records import DatasetVersion, ModelFile
    from hokusai.tracking.journal import Journal
    from hokusai.tracking.operations import RunStatus

__all__ = ["Run", "RunListener", "Tracker"]


@cache
def _package_version() -> str:
    return version("hokusai-pipeline")


class RunListener(Protocol):
    """Someone who wants to know when runs start and end, such as a progress display. Must not raise."""

    def run_started(self, key: str, name: str) -> None:
        """Called after the start of a run was recorded."""

    def run_ended(self, key: str, name: str, status: RunStatus) -> None:
        """Called after the end of a run was recorded."""


class Tracker:
    """Opens the parent run of one evaluation in a journal.

    Args:
        journal: Where operations go.
        evaluation: The evaluation's key, also the key of the parent run.
        run_name: The name that the parent run shows.
        listener: Told of every start and end; default None.

    Attributes:
        started: Key and name of every run so far, in the order of their start.
    """

    def __init__(
        self, journal: Journal, *, evaluation: str, run_name: str, listener: RunListener | None = None
    ) -> None:
        """Remember where to record; record nothing yet."""
        self.journal = journal
        self.evaluation = evaluation
        self._run_name = run_name
        self._listener = listener
        self.started: list[tuple[str, str]] = []

    @contextmanager
    def start(self, tags: Mapping[str, str] | None = None) -> Iterator[Run]:
        """Open the parent run for the length of a ``with`` block."""
        with self._open(self.evaluation, self._run_name, parent=None, tags=tags or {}) as run:
            yield run

    @contextmanager
    def _open(self, key: str, name: str, *, parent: str | None, tags: Mapping[str, str]) -> Iterator[Run]:
        same_name = sum(1 for _, earlier in self.started if earlier == name)
        if same_name:
            key = f"{key}#{same_name + 1}"
        self.started.append((key, name))
        own_tags = {
            naming.RUN_KEY_TAG: key,
            naming.EVALUATION_TAG: self.evaluation,
            naming.SCHEMA_VERSION_TAG: SCHEMA_VERSION,
            naming.PACKAGE_VERSION_TAG: _package_version(),
        }
        self.journal.append(StartRun(run=key, name=name, parent=parent, tags={**own_tags, **tags}))
        if self._listener:
            self._listener.run_started(key, name)
        run = Run(self, key=key, name=name)
        status: RunStatus = "FINISHED"
        try:
            yield run
        except BaseException as error:
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            run.set_tags({naming.ERROR_TAG: type(error).__name__})
            raise
        finally:
            self.journal.append(EndRun(run=key, status=status))
            self.journal.sync()
            if self._listener:
                self._listener.run_ended(key, name, status)


class Run:
    """The handle through which one step records facts about itself. Safe to use from several threads.

    Attributes:
        key: The run's key, unique over all journals.
        name: The name that MLflow shows.
    """

    def __init__(self, tracker: Tracker, *, key: str, name: str) -> None:
        """Made by a Tracker; not for direct use."""
        self.key = key
        self.name = name
        self._tracker = tracker
        self._journal = tracker.journal

    @contextmanager
    def child(self, name: str) -> Iterator[Run]:
        """Open a child run, named after its step, for the length of a ``with`` block."""
        with self._tracker._open(  # noqa: SLF001  (the two classes are one mechanism)
            f"{self._tracker.evaluation}:{name}", name, parent=self.key, tags={naming.STEP_TAG: name}
        ) as run:
            yield run

    def log_parameters(self, parameters: StepParameters) -> None:
        """Record a step's parameters: each as an MLflow parameter, all as an artifact with its digest as a tag."""
        self._journal.append(LogParameters(run=self.key, parameters=as_texts(parameters)))
        document = canonical_json(as_values(parameters))
        self.log_artifact("parameters.json", document)
        self.set_tags({naming.PARAMETERS_DIGEST_TAG: sha256(document)})

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Record metric values; the same name at another ``step`` adds a point to its series."""
        self._journal.append(LogMetrics(run=self.key, metrics=dict(metrics), step=step))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record tags; the last value of a name wins."""
        self._journal.append(SetTags(run=self.key, tags=dict(tags)))

    def log_dataset(self, version: DatasetVersion) -> None:
        """Record that this run used a dataset; its full digest becomes a tag that can be searched for."""
        self._journal.append(
            LogDataset(
                run=self.key,
                name=version.name,
                context=version.context,
                digest=version.digest,
                source=version.source,
                rows=version.rows,
                columns=dict(version.columns),
            )
        )
        name = version.name if version.context == "contribution" else None
        self.set_tags({naming.dataset_tag(version.context, name): version.digest})

    def log_artifact(self, path: str, content: bytes | Path) -> None:
        """Record a file under ``path`` within the run's artifacts, from bytes or from a file that may change later."""
        staged = self._journal.stage(content)
        self._journal.append(LogArtifact(run=self.key, path=path, sha256=staged.sha256, size=staged.size))

    def log_model(self, model: ModelFile) -> None:
        """Record a trained model; its name must be unique within the evaluation."""
        staged = self._journal.stage(model.content)
        self._journal.append(
            LogModel(
                run=self.key,
                name=model.name,
                file=model.file,
                sha256=staged.sha256,
                size=staged.size,
                flavor=model.flavor,
                options=dict(model.options),
                inputs=dict(model.inputs),
                output=model.output,
                requirements=model.requirements,
            )
        )

    def register_model(self, model: str, *, registered_name: str, tags: Mapping[str, str]) -> None:
        """Record that a model logged in this evaluation becomes a new version of ``registered_name``."""
        self._journal.append(RegisterModel(run=self.key, model=model, registered_name=registered_name, tags=dict(tags)))
