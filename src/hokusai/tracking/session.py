"""One journal from its first line to its last, with the process that ships it beside it.

:func:`open_session` is what stands around an evaluation, and around a pipeline of one's own.
"""

from __future__ import annotations

import functools
import secrets
import signal
import sys
import threading
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.errors import TrackingError
from hokusai.records import RunReference, TrackingSummary
from hokusai.tracking import naming
from hokusai.tracking.journal import JOURNAL_FORMAT, FileJournal
from hokusai.tracking.mlflow_config import redact_credentials, resolve_store
from hokusai.tracking.operations import OpenJournal
from hokusai.tracking.parameters import SCHEMA_VERSION
from hokusai.tracking.run import Tracker
from hokusai.tracking.secrets import redact_texts
from hokusai.tracking.shipping_process import ShippingProcess
from hokusai.tracking.surroundings import CodeVersion, host_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.run import Run, RunLink, RunListener
    from hokusai.tracking.shipper import Shipping, ShippingState

__all__ = ["Session", "open_session"]


class Session:
    """An open journal.

    Attributes:
        tracker: Opens the runs.
        evaluation: The key of the run tree.
        folder: The journal's folder.
        shipping: What ships it.
        summary: Where the record is, once the session has ended; None before.
    """

    def __init__(self, tracker: Tracker, *, folder: Path, shipping: Shipping) -> None:
        """Made by :func:`open_session`."""
        self.shipping = shipping
        self.tracker = tracker
        self.evaluation = tracker.evaluation
        self.folder = folder
        self.summary: TrackingSummary | None = None


@contextmanager
def open_session(
    settings: TrackingSettings,
    *,
    project: str,
    experiment_tags: Mapping[str, str] | None = None,
    link: RunLink | None = None,
    listener: RunListener | None = None,
    shipping: Shipping | None = None,
    closing_record: Callable[[Run], None] | None = None,
) -> Iterator[Session]:
    """Open a journal, and ship it while the ``with`` block works.

    A termination (SIGTERM) in the main thread leaves the block as ``SystemExit``, so that its runs end as KILLED,
    unless the program has a handler of its own.

    Args:
        settings: Where the record goes.
        project: Fills the names.
        experiment_tags: Tags of the experiment when it is new, beside those that the settings give.
        link: A run of another process to go on with; default none.
        listener: Told when runs start and end; default None.
        shipping: What ships the journal; by default a shipping process of its own is started and ended.
        closing_record: Called with the parent run when it ends, to record what took time to find out; default None.

    Raises:
        ConfigurationError: A name is not allowed.
        JournalError: The journal cannot be written.
    """
    naming.require_names(settings, project=project)
    uri = resolve_store(settings)
    now = datetime.now().astimezone()
    evaluation = link.evaluation if link else naming.evaluation_key(now)
    token = secrets.token_hex(4) if link else ""
    fill = functools.partial(naming.run_name, project=project, evaluation=evaluation, now=now)
    experiment = link.experiment if link else fill(settings.experiment)
    folder = settings.journal.resolve() / (f"{evaluation}.{token}" if link else evaluation)
    with ExitStack() as stack:
        if shipping is None:
            shipping = stack.enter_context(closing(ShippingProcess(uri, settings)))
        code_version = CodeVersion(Path.cwd())
        journal = FileJournal(folder)
        stack.callback(journal.close)
        journal.append(
            OpenJournal(
                format=JOURNAL_FORMAT,
                evaluation=evaluation,
                experiment=experiment,
                # Whoever began a run knows its project, and whoever goes on with it need not.
                experiment_tags={} if link else _experiment_tags(settings, project=project, more=experiment_tags or {}),
                tracking_uri=redact_credentials(uri),
                registry_uri=redact_credentials(settings.registry_uri),
                artifact_location=redact_credentials(settings.artifact_location),
            )
        )
        shipping.follow(folder)
        tracker = Tracker(
            journal,
            evaluation=evaluation,
            run_name=link.name if link else fill(settings.run_name),
            experiment=experiment,
            listener=listener,
            allowed_names=settings.allowed_names,
            tags={**host_tags(), **settings.tags},
            closing_tags=code_version.tags,
            closing_record=closing_record,
            part=token,
        )
        session = Session(tracker, folder=folder, shipping=shipping)
        try:
            with _termination_as_exception():
                yield session
        except BaseException as error:
            try:
                journal.close()
            except TrackingError as closing_error:
                # The caller's own exception is what must come out.
                error.add_note(f"hokusai: the end of this run could not be recorded: {closing_error}")
            raise
        else:
            journal.close()
        finally:
            state, problem = shipping.wait(folder)
            session.summary = _summary(tracker, folder=folder, uri=uri, state=state, problem=problem)


def _summary(tracker: Tracker, *, folder: Path, uri: str, state: ShippingState | None, problem: str) -> TrackingSummary:
    run_ids = state.run_ids if state else {}
    return TrackingSummary(
        uri=redact_credentials(uri),
        experiment=tracker.experiment,
        experiment_id=state.experiment_id if state else None,
        journal=folder,
        runs=tuple(RunReference(key=key, name=name, run_id=run_ids.get(key)) for key, name in tracker.started),
        shipped=not problem,
        problem=problem,
    )


def _experiment_tags(settings: TrackingSettings, *, project: str, more: Mapping[str, str]) -> dict[str, str]:
    tags = {
        naming.PROJECT_TAG: project,
        naming.PURPOSE_TAG: settings.purpose,
        naming.OWNER_TAG: settings.owner,
        naming.SCHEMA_VERSION_TAG: SCHEMA_VERSION,
        **more,
    }
    return redact_texts({name: value for name, value in tags.items() if value})


@contextmanager
def _termination_as_exception() -> Iterator[None]:
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not is_ours:
        yield
        return
    signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)
