"""Run and Tracker: what a step may record.

A step is handed its :class:`Run` and records through it; there is no current run anywhere. Recording writes to the
journal and never waits for a server. A run ends with the block that opened it: FINISHED, FAILED after an exception,
KILLED after an interrupt or a termination. What the block raises comes out of it unchanged, whatever happens to the
record.

Nothing secret is recorded: parameters, tags, sources and tracebacks go through :mod:`hokusai.tracking.secrets` first.
The bytes of artifacts are the caller's own affair.
"""

from __future__ import annotations

import json
import signal
import textwrap
import threading
import traceback
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

from hokusai.digests import canonical_json, sha256
from hokusai.errors import InvalidFactError, TrackingError
from hokusai.tracking import artifacts, metric_names, naming
from hokusai.tracking.mlflow_names import (
    LONGEST_NAME,
    LONGEST_PARAMETER,
    LONGEST_TAG,
    LONGEST_VERSION_TAG,
    storable,
    to_mlflow_name,
)
from hokusai.tracking.operations import (
    EndRun,
    LogArtifact,
    LogDataset,
    LogMetrics,
    LogModel,
    LogParameters,
    LogSeries,
    RegisterModel,
    ResumeRun,
    SetTags,
    StartRun,
)
from hokusai.tracking.parameters import SCHEMA_VERSION, as_texts, as_values, require_types
from hokusai.tracking.secrets import redact_text, redact_texts, redact_values
from hokusai.tracking.step_measurements import StepMeter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import SupportsFloat

    from hokusai.digests import JsonValue
    from hokusai.records import DatasetVersion, ModelFile
    from hokusai.tracking.journal import Journal
    from hokusai.tracking.operations import Operation, RunStatus

__all__ = ["Run", "RunLink", "RunListener", "Tracker"]

_VALUES_PER_ENTRY = 1000
_TERMINATED = 128 + signal.SIGTERM
_LONGEST_DESCRIPTION = 4000
_DESCRIPTION_WIDTH = 84


@cache
def _package_version() -> str:
    return version("hokusai-pipeline")


class RunListener(Protocol):
    """Someone who wants to know when runs start and end, such as a progress display. Must not raise."""

    def run_started(self, key: str, name: str) -> None:
        """Called after the start of a run was recorded."""

    def run_ended(self, key: str, name: str, status: RunStatus) -> None:
        """Called after the end of a run was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLink:
    """What another process needs to go on with a run: plain texts, to be handed over as a task's result.

    Attributes:
        key: The run's key.
        name: The run's name.
        evaluation: The key of the tree that the run belongs to.
        experiment: The experiment's name.
    """

    key: str
    name: str
    evaluation: str
    experiment: str

    def to_text(self) -> str:
        """Return the link as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> RunLink:
        """Return the link that :meth:`to_text` wrote.

        Raises:
            InvalidFactError: The text is none.
        """
        try:
            value = json.loads(text)
            return cls(**{name: str(value[name]) for name in cls.__slots__})
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidFactError(
                "", "run link", f"got {text[:80]!r}, expected what RunLink.to_text wrote."
            ) from error


class Tracker:
    """Opens the runs of one evaluation in a journal. Safe to use from several threads.

    Args:
        journal: Where operations go.
        evaluation: The evaluation's key, also the key of the parent run.
        run_name: The name that the parent run shows.
        experiment: The experiment's name, for links.
        listener: Told of every start and end; default None.
        allowed_names: Names of parameters and tags that look like those of secrets and are not.
        tags: Tags of the parent run; default none.
        closing_tags: Called when the parent run ends, for tags that took time to find out.
        closing_record: Called with the parent run when it ends, to record through it what took time to find out.
        part: What this process adds to a run that another one began is told apart by it; default empty, for the
            process that begins the run.

    Attributes:
        started: Key and name of every run so far, in the order of their start.
        parameter_digests: SHA-256 of the document of all parameters of every run so far that has any, by its key.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        evaluation: str,
        run_name: str,
        experiment: str = "",
        listener: RunListener | None = None,
        allowed_names: Iterable[str] = (),
        tags: Mapping[str, str] | None = None,
        closing_tags: Callable[[], Mapping[str, str]] | None = None,
        closing_record: Callable[[Run], None] | None = None,
        part: str = "",
    ) -> None:
        """Remember where to record; record nothing yet."""
        self.journal = journal
        self.evaluation = evaluation
        self.experiment = experiment
        self.allowed_names = frozenset(allowed_names)
        self._run_name = run_name
        self._listener = listener
        self._tags = dict(tags or {})
        self._closing_tags = closing_tags
        self._closing_record = closing_record
        self._part = part
        self._mutex = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.started: list[tuple[str, str]] = []
        self.parameter_digests: dict[str, str] = {}

    @contextmanager
    def start(self, tags: Mapping[str, str] | None = None) -> Iterator[Run]:
        """Open the parent run for the length of a ``with`` block."""
        run = Run(self, key=self.evaluation, name=self._run_name)
        start = StartRun(run=run.key, name=run.name, tags=self._own_tags(run.key))
        with self._recorded(run, start, is_parent=True):
            if all_tags := self._tags | dict(tags or {}):
                run.set_tags(all_tags)
            yield run

    @contextmanager
    def resume(self, link: RunLink) -> Iterator[Run]:
        """Go on with a run that another process began, for the length of a ``with`` block."""
        run = Run(self, key=link.key, name=link.name, part=self._part)
        with self._recorded(run, ResumeRun(run=run.key, part=self._part)):
            yield run

    @contextmanager
    def start_child(self, parent: Run, name: str) -> Iterator[Run]:
        """Open a child run for the length of a ``with`` block; :meth:`Run.child` is the usual way."""
        with self._mutex:
            self._counts[name] += 1
            count = self._counts[name]
            part, number = f"@{self._part}" if self._part else "", f"#{count}" if count > 1 else ""
            # Doubled, so that a name that ends in a number is not taken for the number of another name's run.
            key = f"{self.evaluation}:{name.replace('#', '##')}{part}{number}"
        run = Run(self, key=key, name=name)
        tags = self._own_tags(key) | {naming.STEP_TAG: name}
        with self._recorded(run, StartRun(run=key, name=name, parent=parent.key, tags=tags)):
            yield run

    def code_version(self) -> dict[str, str]:
        """Return the tags that tell the version of the code; none where it has none."""
        found = self._closing_tags() if self._closing_tags else {}
        return {tag: found[tag] for tag in (naming.CODE_COMMIT_TAG, naming.CODE_DIRTY_TAG) if tag in found}

    @contextmanager
    def _recorded(self, run: Run, start: Operation, *, is_parent: bool = False) -> Iterator[None]:
        self.started.append((run.key, run.name))
        self.journal.append(start)
        if self._listener:
            self._listener.run_started(run.key, run.name)
        run.meter.start()
        try:
            yield
        except BaseException as error:
            try:
                self._record_exception(run, error)
                self._end(run, _status_after(error), is_parent=is_parent)
            except TrackingError as problem:
                # The caller's own exception is what must come out.
                error.add_note(f"hokusai: the end of this run could not be recorded: {problem}")
            raise
        else:
            self._end(run, "FINISHED", is_parent=is_parent)

    def _record_exception(self, run: Run, error: BaseException) -> None:
        run.set_tags({naming.ERROR_TAG: type(error).__name__})
        if isinstance(error, Exception):
            if not run.is_described:
                run.set_tags({naming.DESCRIPTION_TAG: _description_of(error)})
            trace = redact_text("".join(traceback.format_exception(error)))
            run.log_artifact(
                artifacts.of_part(artifacts.TRACEBACK_FILE, run.part), trace.encode("utf-8", "backslashreplace")
            )

    def _end(self, run: Run, status: RunStatus, *, is_parent: bool) -> None:
        measured = run.meter.finish()
        costs = {
            metric_names.WALL_SECONDS: measured.wall_seconds,
            metric_names.CPU_SECONDS: measured.cpu_seconds,
            metric_names.PEAK_MEMORY: float(measured.peak_memory_bytes),
        }
        if measured.rows_per_second is not None:
            costs |= {metric_names.ROWS: float(measured.rows), metric_names.ROWS_PER_SECOND: measured.rows_per_second}
        run.log_metrics(costs)
        if is_parent and self._closing_record:
            self._closing_record(run)
        if is_parent and self._closing_tags and (tags := self._closing_tags()):
            run.set_tags(tags)
        self.journal.append(EndRun(run=run.key, status=status))
        self.journal.sync()
        if self._listener:
            self._listener.run_ended(run.key, run.name, status)

    def _own_tags(self, key: str) -> dict[str, str]:
        return {
            naming.RUN_KEY_TAG: key,
            naming.EVALUATION_TAG: self.evaluation,
            naming.SCHEMA_VERSION_TAG: SCHEMA_VERSION,
            naming.PACKAGE_VERSION_TAG: _package_version(),
        }


class Run:
    """The handle through which one step records facts about itself. Safe to use from several threads.

    Every method that records raises :class:`~hokusai.errors.InvalidFactError` for a name or value that cannot be
    recorded, before it has recorded anything, and :class:`~hokusai.errors.JournalError` when the journal cannot be
    written. Names may hold any characters, up to 250 of them as MLflow writes them (see
    :mod:`hokusai.tracking.mlflow_names`).

    Attributes:
        key: The run's key, unique over all journals.
        name: The name that MLflow shows.
        part: Empty, or what tells this process's share of a resumed run from the others'.
        meter: What the run costs; count rows with its ``add_rows``.
        is_described: Whether this process has given it a description, MLflow's ``mlflow.note.content``.
    """

    def __init__(self, tracker: Tracker, *, key: str, name: str, part: str = "") -> None:
        """Made by a Tracker; not for direct use."""
        self.key = key
        self.part = part
        self.name = name
        self.meter = StepMeter()
        self.is_described = False
        self._tracker = tracker
        self._journal = tracker.journal
        self._mutex = threading.Lock()
        self._parameters: dict[str, JsonValue] = {}
        self._known_names: set[str] = set()
        self._tables: dict[str, None] = {}
        self._deciding_benchmark: str | None = None

    def __reduce__(self) -> str:
        """Refuse to be sent to another process: two would write one journal."""
        problem = "a run cannot be sent to another process; send run.link, and go on there with hokusai.resume."
        raise InvalidFactError(self.key, "run", problem)

    @property
    def link(self) -> RunLink:
        """What another process needs to go on with this run."""
        tracker = self._tracker
        return RunLink(key=self.key, name=self.name, evaluation=tracker.evaluation, experiment=tracker.experiment)

    @contextmanager
    def child(self, name: str) -> Iterator[Run]:
        """Open a child run, named after its step, for the length of a ``with`` block."""
        with self._tracker.start_child(self, name) as run:
            yield run

    def log_parameters(self, parameters: object) -> None:
        """Record parameters: each as an MLflow parameter, all as an artifact with its digest as a tag.

        A value of more than 6,000 characters is kept whole as an artifact, and the parameter names it by its SHA-256.

        Args:
            parameters: An instance of a parameter schema (a dataclass, whose types are checked) or a mapping. What
                was recorded before may be repeated, and added to, but not changed.

        Raises:
            InvalidFactError: A value has the wrong type, or another one than before.
        """
        require_types(parameters, run=self.key)
        values = redact_values(as_values(parameters, run=self.key), allowed=self._tracker.allowed_names)
        for name in values:
            self._require_name("parameter", name)
        with self._mutex:
            for name in values.keys() & self._parameters.keys():
                if values[name] != self._parameters[name]:
                    problem = f"was recorded as {self._parameters[name]!r:.80} and is now {values[name]!r:.80}."
                    raise InvalidFactError(self.key, f"parameter {name!r}", f"{problem} Record it once.")
            everything = self._parameters | values
            document = canonical_json(everything)
            texts = {name: self._shortened(text, LONGEST_PARAMETER) for name, text in as_texts(values).items()}
            self._journal.append(LogParameters(run=self.key, parameters=texts))
            self._parameters = everything
            self.log_artifact(artifacts.of_part(artifacts.PARAMETERS_FILE, self.part), document)
            digest = self._tracker.parameter_digests[self.key] = sha256(document)
            self.set_tags({artifacts.of_part(naming.PARAMETERS_DIGEST_TAG, self.part): digest})

    def log_metrics(self, metrics: Mapping[str, SupportsFloat], *, step: int = 0) -> None:
        """Record metric values; the same name at another ``step`` adds a point to its series.

        NaN is kept as it is; MLflow keeps an infinity as the largest finite number, and the journal as infinity.
        """
        known = self._known_names
        values = {}
        for name, value in metrics.items():
            if name not in known:
                self._require_name("metric", name)
                known.add(name)
            values[name] = value if type(value) is float else self._number(name, value)
        self._journal.append(LogMetrics(run=self.key, metrics=values, step=int(step)))

    def log_series(self, name: str, values: Iterable[SupportsFloat], *, first_step: int = 0) -> None:
        """Record one metric at consecutive steps, such as the loss per iteration; much cheaper than one by one."""
        self._require_name("metric", name)
        numbers = tuple(value if type(value) is float else self._number(name, value) for value in values)
        for start in range(0, len(numbers), _VALUES_PER_ENTRY):
            part = numbers[start : start + _VALUES_PER_ENTRY]
            self._journal.append(LogSeries(run=self.key, name=name, values=part, first_step=int(first_step) + start))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record tags; the last value of a name wins. More than 8,000 characters are kept as for parameters."""
        for name in tags:
            self._require_name("tag", name)
        self.is_described = self.is_described or naming.DESCRIPTION_TAG in tags
        texts = redact_texts({name: str(value) for name, value in tags.items()}, allowed=self._tracker.allowed_names)
        recorded = {name: self._shortened(text, LONGEST_TAG) for name, text in texts.items()}
        self._journal.append(SetTags(run=self.key, tags=recorded))

    def log_dataset(self, version: DatasetVersion) -> None:
        """Record that this run used a dataset; its full digest becomes a tag that can be searched for.

        Its rows count for the run's rows per second. Of several benchmarks the first is the one that decides: the tags
        of the others have their names.
        """
        name: str | None = version.name
        if version.context == "benchmark":
            if self._deciding_benchmark is None:
                self._deciding_benchmark = name
            name = None if name == self._deciding_benchmark else name
        tag = naming.dataset_tag(version.context, name)
        self._require_name("tag", tag)
        self._journal.append(
            LogDataset(
                run=self.key,
                name=version.name,
                context=version.context,
                digest=version.digest,
                source=redact_text(version.source),
                rows=version.rows,
                columns=dict(version.columns),
            )
        )
        self.set_tags({tag: version.digest})
        self.meter.add_rows(version.rows)

    def log_artifact(self, path: str, content: bytes | Path) -> None:
        """Record a file under ``path`` within the run's artifacts, from bytes or from a file that may change later."""
        if problem := artifacts.path_problem(path):
            raise InvalidFactError(self.key, f"artifact {path!r}", problem)
        staged = self._journal.stage(content)
        self._journal.append(LogArtifact(run=self.key, path=path, sha256=staged.sha256, size=staged.size))

    def log_folder(self, path: str, folder: Path) -> None:
        """Record every file below a folder, under ``path`` within the run's artifacts."""
        if not folder.is_dir():
            raise InvalidFactError(self.key, f"artifact {path!r}", f"there is no folder {folder}.")
        for name, file in artifacts.files_below(folder):
            self.log_artifact(f"{path}/{name}", file)

    def log_text(self, path: str, text: str) -> None:
        """Record a text as a file in UTF-8."""
        self.log_artifact(path, text.encode("utf-8", "backslashreplace"))

    def log_json(self, path: str, value: JsonValue) -> None:
        """Record a value as a JSON file, indented, keys in their own order.

        Raises:
            InvalidFactError: The value has no JSON form.
        """
        try:
            text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidFactError(self.key, f"artifact {path!r}", f"the value has no JSON form ({error}).") from error
        self.log_text(path, text + "\n")

    def log_table(self, path: str, table: object) -> None:
        """Record a table as ``….parquet``, ``….csv`` or ``….json`` (which MLflow's UI shows as a table).

        Args:
            path: Where it is kept; its suffix says how.
            table: A pandas or Polars data frame, a PyArrow table, or a mapping of column names to sequences.

        Raises:
            InvalidFactError: The table or the suffix is none of these.
        """
        content = artifacts.encode_table(table, path)
        if content is None:
            problem = f"a {type(table).__name__} cannot be kept so; expected a table, and .parquet, .csv or .json."
            raise InvalidFactError(self.key, f"artifact {path!r}", problem)
        self.log_artifact(path, content)
        if path.endswith(".json"):
            with self._mutex:
                self._tables[path] = None
                shown = json.dumps([{"path": table, "type": "table"} for table in self._tables])
            self.set_tags({"mlflow.loggedArtifacts": shown})

    def log_figure(self, path: str, figure: object) -> None:
        """Record a Matplotlib figure (``.png``, ``.svg``, ``.pdf``) or one that has ``to_html`` (``.html``).

        Raises:
            InvalidFactError: The figure cannot be written so.
        """
        content = artifacts.encode_figure(figure, path)
        if content is None:
            problem = f"a {type(figure).__name__} cannot be written so; expected .png, .svg, .pdf, or .html for Plotly."
            raise InvalidFactError(self.key, f"artifact {path!r}", problem)
        self.log_artifact(path, content)

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
                example=dict(model.example),
            )
        )

    def register_model(self, model: str, *, registered_name: str, tags: Mapping[str, str]) -> None:
        """Record that a model logged in this evaluation becomes a new version of ``registered_name``.

        The version of the code is added to the tags.

        A tag of more than 5,000 characters is kept whole as an artifact, and the tag names it by its SHA-256.
        """
        for name in tags:
            self._require_name("tag", name)
        texts = redact_texts({name: str(value) for name, value in tags.items()}, allowed=self._tracker.allowed_names)
        recorded = {name: self._shortened(text, LONGEST_VERSION_TAG) for name, text in texts.items()}
        recorded |= self._tracker.code_version()
        recorded[naming.RECORDED_AT_TAG] = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._journal.append(RegisterModel(run=self.key, model=model, registered_name=registered_name, tags=recorded))

    def _shortened(self, text: str, longest: int) -> str:
        """Return a text that MLflow keeps whole: itself, or the digest of the artifact that holds it."""
        whole = storable(text)
        if len(whole) <= longest:
            return text
        content = whole.encode()
        digest = sha256(content)
        self.log_artifact(f"{artifacts.LONG_VALUES}/{digest}.txt", content)
        return f"sha256:{digest}"

    def _require_name(self, kind: str, name: object) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidFactError(self.key, f"{kind} {name!r}", "expected a name that is a text and not empty.")
        if len(to_mlflow_name(name)) > LONGEST_NAME:
            problem = f"expected a name of at most {LONGEST_NAME} characters, as MLflow writes it."
            raise InvalidFactError(self.key, f"{kind} {name[:80]!r}…", problem)

    def _number(self, name: str, value: SupportsFloat) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None or isinstance(value, str) or (isinstance(value, int) and number != value):
            problem = f"got {value!r:.80}, expected a number that a 64-bit float holds exactly."
            raise InvalidFactError(self.key, f"metric {name!r}", problem)
        return number


def _description_of(error: Exception) -> str:
    """Return what MLflow shows on top of a failed run's page: the error, without what led to it."""
    text = redact_text("".join(traceback.format_exception_only(error)).strip())[:_LONGEST_DESCRIPTION]
    lines = text.encode("utf-8", "backslashreplace").decode().splitlines()
    # As code, because what an error quotes may come from a contributed file and must not become links or pictures; and
    # wrapped, because MLflow does not wrap code, and a long line would push the run's status off the page.
    return "\n".join(f"    {part}" for line in lines for part in textwrap.wrap(line, _DESCRIPTION_WIDTH))


def _status_after(error: BaseException) -> RunStatus:
    """Return how a run ended whose block raised: leaving by ``sys.exit(0)`` is no failure, a signal kills."""
    if isinstance(error, SystemExit):
        return "FINISHED" if error.code in (None, 0) else "KILLED" if error.code == _TERMINATED else "FAILED"
    return "FAILED" if isinstance(error, Exception) else "KILLED"
