"""A run as text, the same whenever and wherever the same work was tracked: for golden files and for differences.

A snapshot holds no id, no time and no folder of the machine. It says what was tracked, sorted by name: parameters,
metrics with their whole histories, tags, datasets, artifacts with size and SHA-256, models, and the child runs below.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hokusai.digests import sha256
from hokusai.errors import RunNotFoundError
from hokusai.tracking.artifacts import MANIFEST_FILE
from hokusai.tracking.mlflow_config import redact_credentials
from hokusai.tracking.naming import EVALUATION_TAG, STEPS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, LoggedModel
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion

    from hokusai.tracking.stored_values import StoredRun

    RunLike: TypeAlias = MlflowRun | StoredRun | str
    """A run as MLflow's client or Hokusai's store gives it, or its id."""
    StoreLike: TypeAlias = MlflowClient | "HasAddress" | str | None
    """MLflow's client, a tracking URI, what has one, or None for the store that MLflow is set to in this process."""

__all__ = ["VOLATILE_METRICS", "VOLATILE_TAGS", "HasAddress", "RunReader", "run_snapshot"]

VOLATILE_METRICS = r"([._]seconds|rows_per_second|peak_memory_bytes)$|^system/|^history\.|\.fits_reused$"
"""Names of metrics that measure the machine and not the work, or that earlier evaluations have a say in."""
VOLATILE_TAGS = (
    r"^mlflow\.(parentRunId|runName|user|source\.name|source\.git\..*|log-model\.history)$"
    r"|^hokusai\.(package_version|model_version|code_commit|code_dirty|host_kind|platform|python_version)$"
    r"|^hokusai\.(manifest_digest|journal_head(\..*)?)$"
)
"""Names of tags that say who, where, which version of what, how many came before, or sum up what is volatile."""

# They say where and with what a run was made, or bind what does; the manifest repeats the digests of all others.
_VOLATILE_ARTIFACTS = (
    MANIFEST_FILE,
    "configuration.json",
    "environment.json",
    "requirements.txt",
    "statement.json",
    "delta_output_zk_*.json",
)
_LARGEST_TEXT = 1 << 20
_SHORTEST_KEY_END = 8
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
_RANDOM_NAME = re.compile(r"([a-z]+)-([a-z]+)-\d{1,4}")
# When a dataset's manifest was made.
_MADE = re.compile(r'("date(?:Created|Published)": ")[^"]*')
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ROOT = r"(?:/|[A-Za-z]:[\\/]+)"
# Folders may have spaces in them where quotation marks say where the path ends, and not elsewhere.
_FOLDERS = re.compile(
    r"(?:(?<=^)|(?<=[\s\"'=(\[,])|(?<=file://)|(?<=sqlite:///))"
    rf"(?:(?<=[\"']){_ROOT}(?:[^\"'\\/\n]+[\\/]+)+(?=[^\"'\\/\n]*[\"'])|{_ROOT}(?:[^\s\"'\\/,;:()\[\]]+[\\/]+)+)",
    re.MULTILINE,
)
_WHOLE_PATH = re.compile(rf"{_ROOT}[^\n\\/]+[\\/][^\n]*")


class HasAddress(Protocol):
    """What stands for an MLflow store, such as the servers for tests."""

    @property
    def uri(self) -> str:
        """The tracking and registry URI."""


class RunReader:
    """Reads runs through MLflow's own client, as they are in the store now.

    A run that the caller holds may be older than what was tracked since, so only its id is used.

    Args:
        store: MLflow's client, a tracking URI, what has one as ``uri``, or None for the store that MLflow is set to.

    Attributes:
        uri: The tracking URI without credentials.
    """

    def __init__(self, store: StoreLike) -> None:
        """Open the store."""
        if "mlflow" not in sys.modules:
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        if isinstance(store, MlflowClient):
            self._client = store
        else:
            uri = store if store is None or isinstance(store, str) else store.uri
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self.uri = redact_credentials(self._client.tracking_uri)

    def run(self, run: RunLike) -> MlflowRun:
        """Return the run as it is in the store.

        Raises:
            RunNotFoundError: There is none.
        """
        from mlflow.exceptions import MlflowException

        run_id = run if isinstance(run, str) else getattr(getattr(run, "info", run), "run_id", None)
        if not isinstance(run_id, str):
            raise RunNotFoundError(repr(run)[:80], store=self.uri)
        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            raise RunNotFoundError(run_id, store=self.uri) from error

    def children(self, run: MlflowRun, *, deleted: bool = False) -> list[MlflowRun]:
        """Return the runs right below a run, or those of them that were deleted."""
        from mlflow.entities import ViewType

        condition = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
        view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
        found: list[MlflowRun] = []
        token = None
        while True:
            page = self._client.search_runs([run.info.experiment_id], condition, view, 1000, None, token)
            found += page
            token = page.token
            if not token:
                return found

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Return the points of a metric as pairs of step and value.

        They stand in the order of their steps; at one step by time, and within one millisecond by value.
        """
        points = self._client.get_metric_history(run_id, metric)
        points.sort(key=lambda point: (point.step, point.timestamp, math.isnan(point.value), point.value))
        return [(point.step, point.value) for point in points]

    def artifacts(self, run_id: str, folder: str | None = None) -> dict[str, int]:
        """Return the sizes of a run's artifacts by path, those in folders as well."""
        files: dict[str, int] = {}
        for item in self._client.list_artifacts(run_id, folder):
            files |= self.artifacts(run_id, item.path) if item.is_dir else {item.path: item.file_size or 0}
        return files

    def content(self, run_id: str, path: str) -> bytes:
        """Return the bytes of one artifact."""
        with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
            return Path(self._client.download_artifacts(run_id, path, folder)).read_bytes()

    def model(self, model_id: str) -> LoggedModel | None:
        """Return a logged model, or None when it is not there."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_logged_model(model_id)
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            return None

    def model_version(self, name: str, number: str) -> ModelVersion | None:
        """Return a version of a registered model, or None when it is not there."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_model_version(name, number)
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            return None

    def model_versions(self, run_id: str) -> list[ModelVersion]:
        """Return the versions of registered models that came from a run."""
        return list(self._client.search_model_versions(f"run_id = '{run_id}'"))


def run_snapshot(
    run: RunLike,
    *,
    store: StoreLike = None,
    volatile_metrics: str = VOLATILE_METRICS,
    volatile_tags: str = VOLATILE_TAGS,
    unstable_artifacts: Collection[str] = (),
    replacements: Mapping[str, str] | None = None,
) -> str:
    """Return what a run and its child runs tracked, as text to keep or to compare.

    Ids of the tree's runs and models become ``<run>`` and ``<model>``, the evaluation's key ``<evaluation>``, names
    that MLflow made up ``<generated>``, dates in names ``<date>``, and the folder of an absolute path ``<folder>``. The
    same is done to artifacts that are text (UTF-8, up to 1 MiB) before they are measured, and to the times at which
    manifests of datasets were made; the snapshot says where.

    Args:
        run: The run, or its id. It is read from the store again.
        store: MLflow's client, a tracking URI, or what has one as ``uri``; default the store that MLflow is set to.
        volatile_metrics: Regular expression of metrics to leave out; default :data:`VOLATILE_METRICS`.
        volatile_tags: Regular expression of tags to leave out; default :data:`VOLATILE_TAGS`.
        unstable_artifacts: Patterns, such as ``*.log``, of artifacts whose bytes are left out; they are still listed.
        replacements: More texts to replace, by regular expression.

    Returns:
        Lines that end in a newline; the lines of a child run are indented below its parent's.

    Raises:
        RunNotFoundError: There is no such run.
        MlflowException: The store does not answer.
    """
    reader = RunReader(store)
    tree = _read_tree(reader, reader.run(run))
    own = [(re.compile(pattern), text) for pattern, text in (replacements or {}).items()]
    writer = _Writer(
        reader=reader,
        replacements=(*_replacements(tree), *own),
        volatile_metrics=re.compile(volatile_metrics) if volatile_metrics else None,
        volatile_tags=re.compile(volatile_tags) if volatile_tags else None,
        unstable_artifacts=(unstable_artifacts,) if isinstance(unstable_artifacts, str) else tuple(unstable_artifacts),
    )
    return "\n".join(writer.lines(tree)) + "\n"


@dataclass(frozen=True, slots=True)
class _Tree:
    """A run with the runs below it."""

    run: MlflowRun
    children: tuple[_Tree, ...]

    def runs(self) -> Iterator[MlflowRun]:
        """Give every run of the tree."""
        yield self.run
        for child in self.children:
            yield from child.runs()


def _read_tree(reader: RunReader, run: MlflowRun) -> _Tree:
    return _Tree(run, tuple(_read_tree(reader, child) for child in reader.children(run)))


def _replacements(tree: _Tree) -> Iterator[tuple[re.Pattern[str], str]]:
    """Give what stands for the ids of a tree, the longest first."""
    ids: dict[str, str] = {}
    for run in tree.runs():
        ids[run.info.run_id] = "<run>"
        if parent := run.data.tags.get("mlflow.parentRunId"):
            ids[parent] = "<run>"
        ids |= dict.fromkeys((model_id for model_id, _ in _models(run)), "<model>")
        if evaluation := run.data.tags.get(EVALUATION_TAG):
            ids[evaluation] = "<evaluation>"
            # Names of runs hold the key's random end alone; a short end would be part of ordinary words and numbers.
            if len(end := evaluation.rpartition("-")[2]) >= _SHORTEST_KEY_END:
                ids[end] = "<evaluation>"
    for text in sorted(ids, key=len, reverse=True):
        # In the name of a file an id may stand after an underscore.
        yield re.compile(rf"(?<![^\W_]){re.escape(text)}(?!\w)"), ids[text]


def _models(run: MlflowRun) -> list[tuple[str, str]]:
    """Return the ids of the models that a run made or used, each with a word for which."""
    made = run.outputs.model_outputs if run.outputs else None
    used = run.inputs.model_inputs if run.inputs else None
    return [*((each.model_id, "made") for each in made or ()), *((each.model_id, "used") for each in used or ())]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """Writes the lines of one snapshot."""

    reader: RunReader
    replacements: Sequence[tuple[re.Pattern[str], str]]
    volatile_metrics: re.Pattern[str] | None
    volatile_tags: re.Pattern[str] | None
    unstable_artifacts: tuple[str, ...]

    def lines(self, tree: _Tree) -> list[str]:
        """Return the lines of a run and of the runs below it."""
        run = tree.run
        digests, artifacts = self._artifacts(run)
        below = [
            f"status {run.info.status}",
            *(f"param {name} = {self._text(value)}" for name, value in sorted(run.data.params.items())),
            *self._metrics(run),
            *(
                f"tag {self._text(name)} = {digests.get(value) or self._text(value)}"
                for name, value in sorted(run.data.tags.items())
                if not (self.volatile_tags and self.volatile_tags.search(name))
            ),
            *sorted(self._dataset(item) for item in (run.inputs.dataset_inputs if run.inputs else ())),
            *artifacts,
            *sorted(self._model(model_id, part) for model_id, part in _models(run)),
            *sorted(f"registered {each.name} {each.status}" for each in self.reader.model_versions(run.info.run_id)),
        ]
        children = [(_place(child.run), self.lines(child)) for child in tree.children]
        for _, lines in sorted(children):
            below += lines
        return [f"run {self._name(run.info.run_name or '')}", *(f"  {line}" for line in below)]

    def _metrics(self, run: MlflowRun) -> Iterator[str]:
        for name in sorted(run.data.metrics):
            if self.volatile_metrics and self.volatile_metrics.search(name):
                continue
            points = self.reader.history(run.info.run_id, name)
            if [step for step, _ in points] == [0]:
                yield f"metric {name} = {points[0][1]!r}"
            else:
                yield f"metric {name} = " + ", ".join(f"{step}: {value!r}" for step, value in points)

    def _dataset(self, item: DatasetInput) -> str:
        dataset, tags = item.dataset, {tag.key: tag.value for tag in item.tags}
        context = tags.pop("mlflow.data.context", "")
        facts = {"digest": dataset.digest, "source": dataset.source, "profile": dataset.profile}
        facts |= {"schema": dataset.schema, **dict(sorted(tags.items()))}
        words = [f"{name} {self._text(value)}" for name, value in facts.items() if value]
        return f"dataset {context or '(no context)'} {self._text(dataset.name)}: " + "; ".join(words)

    def _artifacts(self, run: MlflowRun) -> tuple[dict[str, str], list[str]]:
        """Return what stands for the digests of texts with replaced parts, and the lines of all artifacts."""
        digests, lines = {}, []
        for path, size in sorted(self.reader.artifacts(run.info.run_id).items()):
            if any(fnmatchcase(path, pattern) for pattern in (*_VOLATILE_ARTIFACTS, *self.unstable_artifacts)):
                lines.append(f"artifact {self._text(path)} (bytes left out)")
                continue
            content = self.reader.content(run.info.run_id, path)
            clean = self._clean(content) if size <= _LARGEST_TEXT else content
            if clean != content:
                digests[sha256(content)] = f"<sha256 of {path}>"
            note = " (ids and folders replaced)" if clean != content else ""
            lines.append(f"artifact {self._text(path)} {len(clean)} bytes sha256 {sha256(clean)}{note}")
        return digests, lines

    def _model(self, model_id: str, part: str) -> str:
        model = self.reader.model(model_id)
        return f"model {part}: {'(deleted)' if model is None else f'{self._text(model.name)} {model.status}'}"

    def _name(self, name: str) -> str:
        from mlflow.utils import name_utils

        match = _RANDOM_NAME.fullmatch(name)
        predicates, nouns = name_utils._GENERATOR_PREDICATES, name_utils._GENERATOR_NOUNS  # noqa: SLF001
        if match and match[1] in predicates and match[2] in nouns:
            return "<generated>"
        return _DATE.sub("<date>", self._text(name))

    def _clean(self, content: bytes) -> bytes:
        try:
            return _MADE.sub(r"\1<time>", self._replaced(content.decode())).encode()
        except UnicodeDecodeError:
            return content

    def _text(self, text: str) -> str:
        """Return a text as one line, without what is the machine's."""
        if _WHOLE_PATH.fullmatch(text):
            text = "<folder>/" + re.split(r"[\\/]", text.rstrip("\\/"))[-1]
        text = self._replaced(text)
        return text if text.isprintable() and text == text.strip() else json.dumps(text, ensure_ascii=False)

    def _replaced(self, text: str) -> str:
        for pattern, placeholder in self.replacements:
            # A function, so that nothing in the placeholder is taken for a group.
            text = pattern.sub(lambda _, placeholder=placeholder: placeholder, text)  # type: ignore[misc]
        return _FOLDERS.sub("<folder>/", text)


def _place(run: MlflowRun) -> int:
    """Return where a child stands: Hokusai's steps in their order, then the others."""
    name = run.info.run_name
    return STEPS.index(name) if name in STEPS else len(STEPS)
