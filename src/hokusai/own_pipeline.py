"""Tracking for pipelines of one's own: the same journal, the same exactly-once shipping, one's own steps.

::

    import hokusai


    @hokusai.tracked_step
    def clean(rows: list[str], *, run: hokusai.Run) -> list[str]:
        run.log_parameters({"clean.minimum_length": 3})
        kept = [row for row in rows if len(row) >= 3]
        run.log_metrics({"clean.rows_kept": len(kept)})
        return kept


    with hokusai.track("words") as run:
        kept = clean(["a", "whale", "sea"], run=run)

There is no current run: a run is handed on by hand, so threads, tasks and libraries beside us are not disturbed.
"""

from __future__ import annotations

import functools
import inspect
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from hokusai.config import complete_tracking
from hokusai.errors import TrackingServerError
from hokusai.provenance.environment import EnvironmentCapture
from hokusai.tracking.run import RunLink
from hokusai.tracking.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.run import Run, RunListener
    from hokusai.tracking.session import Session
    from hokusai.tracking.shipper import Shipping

__all__ = ["resume", "track", "tracked_step"]

_logger = logging.getLogger("hokusai")
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@contextmanager
def track(
    project: str,
    *,
    settings: TrackingSettings | None = None,
    tags: Mapping[str, str] | None = None,
    listener: RunListener | None = None,
    shipping: Shipping | None = None,
) -> Iterator[Run]:
    """Open a parent run in a journal of its own, and ship it to MLflow while the ``with`` block works.

    The run ends FINISHED, FAILED after an exception, KILLED after Ctrl-C or SIGTERM; what the block raises comes out
    unchanged. An MLflow server that is down costs at most ``settings.outage_seconds`` at the end: a warning of the
    logger ``hokusai`` then says what is missing, and ``hokusai sync`` brings it over later.

    Args:
        project: Fills the names of experiment and run: letters, digits, dot, dash and underscore.
        settings: Where the record goes; default the environment (``MLFLOW_TRACKING_URI``,
            ``MLFLOW_EXPERIMENT_NAME``, ``HOKUSAI_TRACKING_…``), else ``mlflow.db`` in the current folder.
        tags: Tags of the run.
        listener: Told when runs start and end; default None.
        shipping: What ships the journal; by default a process of its own.

    Yields:
        The run; its children are steps.

    Raises:
        ConfigurationError: A setting or a name is not allowed.
        JournalError: The journal cannot be written.
        TrackingServerError: Not everything was taken, and ``settings.on_outage`` is ``fail``.
    """
    settings = complete_tracking(settings)
    with (
        open_session(
            settings,
            project=project,
            listener=listener,
            shipping=shipping,
            closing_record=EnvironmentCapture().record,
        ) as session,
        session.tracker.start(tags) as run,
    ):
        yield run
    report_outage(session, settings)


@contextmanager
def resume(
    link: RunLink | str, *, settings: TrackingSettings | None = None, shipping: Shipping | None = None
) -> Iterator[Run]:
    """Go on with a run that another process began, in a journal of this process's own.

    For pipelines whose steps run in processes of their own, or on machines of their own: the first hands
    ``run.link.to_text()`` to the next as any other result. The run's end time and status are those of the block that
    ended last.

    Args:
        link: What :attr:`hokusai.Run.link` gave, or its text.
        settings: As for :func:`track`; the experiment is the link's.
        shipping: As for :func:`track`.

    Raises:
        InvalidFactError: The text is no link.
        ConfigurationError, JournalError, TrackingServerError: As for :func:`track`.
    """
    link = RunLink.from_text(link) if isinstance(link, str) else link
    settings = complete_tracking(settings)
    with (
        open_session(settings, project="resumed", link=link, shipping=shipping) as session,
        session.tracker.resume(link) as run,
    ):
        yield run
    report_outage(session, settings)


@overload
def tracked_step(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]: ...


@overload
def tracked_step(*, name: str) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]: ...


def tracked_step(function: Callable[..., Any] | None = None, *, name: str | None = None) -> Callable[..., Any]:
    """Make a function a step: each call is a child of the run that it is handed as ``run=``.

    The function receives its own run as ``run``. Works for coroutine functions as well.

    Args:
        function: The function; it takes ``run`` by keyword.
        name: The step's name; default the function's.

    Raises:
        TypeError: The function takes no ``run``, or is a generator, whose work happens after the call.
    """
    if function is None:
        return functools.partial(tracked_step, name=name)
    step = name or function.__name__
    if "run" not in inspect.signature(function).parameters:
        msg = f"{step}: a tracked step is handed its run as `run`; give the function such a keyword argument."
        raise TypeError(msg)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        msg = f"{step}: a generator works after its call has returned; open its run with `with run.child({step!r}):`."
        raise TypeError(msg)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_later(*arguments: Any, run: Run, **named: Any) -> Any:  # noqa: ANN401  (any function's)
            with run.child(step) as child:
                return await function(*arguments, run=child, **named)

        return call_later

    @functools.wraps(function)
    def call(*arguments: Any, run: Run, **named: Any) -> Any:  # noqa: ANN401  (any function's)
        with run.child(step) as child:
            return function(*arguments, run=child, **named)

    return call


def report_outage(session: Session, settings: TrackingSettings) -> None:
    """Say what has not reached MLflow, or raise it, as the settings want it."""
    summary = session.summary
    if summary is None or summary.shipped:
        return
    if settings.on_outage == "fail":
        raise TrackingServerError.repeat(summary.uri, summary.problem)
    _logger.warning("%s is not in MLflow yet: %s", session.evaluation, summary.problem)
