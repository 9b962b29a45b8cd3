"""An evaluation as a tracking store holds it: its runs, and their files, each compared with its recorded digest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from hokusai.digests import file_sha256, sha256
from hokusai.errors import ReproductionError, RunNotFoundError, TrackingError, TrackingServerError
from hokusai.records import DELTA_FILE, ROW_SCORES_FILE, STATEMENT_FILE
from hokusai.reproduction.comparison import is_measurement
from hokusai.reproduction.evaluation_facts import (
    EVALUATION,
    EvaluationFacts,
    baseline_model,
    json_object,
    recorded_datasets,
)
from hokusai.tracking.artifacts import MANIFEST_FILE, PARAMETERS_FILE
from hokusai.tracking.mlflow_config import require_store
from hokusai.tracking.naming import EVALUATION_TAG, MANIFEST_DIGEST_TAG, RUN_KEY_TAG, STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hokusai.digests import JsonValue
    from hokusai.reproduction.evaluation_facts import Metrics
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.tracking.mlflow_reader import FoundRun, MlflowReader

__all__ = ["RecordedEvaluation", "find_evaluation"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedEvaluation:
    """One evaluation in a store.

    Attributes:
        key: Its key.
        experiment: The name of its experiment.
        runs: The parent run, as ``evaluation``, and the steps, by their names.
        manifests: SHA-256 by path of the files of each of them, as was recorded when it ended.
    """

    key: str
    experiment: str
    runs: Mapping[str, FoundRun]
    manifests: Mapping[str, Mapping[str, str]]
    reader: MlflowReader = field(repr=False)
    _contents: dict[tuple[str, str], bytes] = field(default_factory=dict, repr=False)

    @property
    def parent(self) -> FoundRun:
        """The run of the whole evaluation."""
        return self.runs[EVALUATION]

    @property
    def datasets(self) -> dict[str, str]:
        """The content digests of its tables, by what they are called among the others; see ``dataset_name``."""
        return recorded_datasets(json_object(self.content(STEPS[-1], DELTA_FILE)))

    def has(self, step: str, path: str) -> bool:
        """Say whether a run has recorded a file of this path."""
        return path in self.manifests.get(step, {})

    def content(self, step: str, path: str) -> bytes | None:
        """Return the bytes of a file as they are now; None where no such file was recorded, or it is gone.

        Raises:
            TrackingServerError: The store does not answer.
        """
        if not self.has(step, path):
            return None
        if (step, path) not in self._contents:
            content = self.reader.read_file_if_there(self.runs[step].location, path)
            if content is None:
                return None
            self._contents[step, path] = content
        return self._contents[step, path]

    def is_sound(self, step: str, path: str) -> bool:
        """Say whether a file is there and has the digest that was recorded."""
        content = self.content(step, path)
        return content is not None and sha256(content) == self.manifests[step][path]

    def require(self, step: str, path: str) -> bytes:
        """Return the bytes of a file that is needed to do the evaluation again.

        Raises:
            ReproductionError: It was not recorded, is gone, or is not what was recorded.
        """
        content = self.content(step, path)
        if content is None:
            raise ReproductionError(self.key, f"it has no {path}, from which it could be done again.")
        if not self.is_sound(step, path):
            problem = f"{path} is not what was recorded: it was changed afterwards, and nothing is done by it."
            raise ReproductionError(self.key, problem, is_changed=True)
        return content

    def fetch(self, step: str, path: str, folder: Path) -> Path | None:
        """Copy a file of any size into a folder; None where none was recorded, or it is gone, or another one.

        Raises:
            TrackingServerError: The store does not answer.
        """
        if not self.has(step, path):
            return None
        try:
            file = self.reader.fetch_file(self.runs[step].location, path, folder)
        except TrackingServerError as error:
            if error.is_outage:
                raise
            return None
        return file if file_sha256(file) == self.manifests[step][path] else None

    def facts(self) -> EvaluationFacts:
        """Return what the evaluation is compared by; whatever of it is small is kept for the next call.

        Raises:
            TrackingServerError: The store does not answer.
        """
        load, _, train, evaluate, compare = STEPS
        return EvaluationFacts(
            key=self.key,
            environment=self.content(EVALUATION, "environment.json"),
            datasets=self.datasets,
            parameters={name: self.parameters(name) for name in self.runs},
            models=self._models(train) | baseline_model(self.runs[load].tags if load in self.runs else {}),
            row_scores=self.content(evaluate, ROW_SCORES_FILE),
            metrics={name: self._metrics(run) for name, run in self.runs.items()},
            delta=json_object(self.content(compare, DELTA_FILE)),
            statement=self.content(compare, STATEMENT_FILE),
        )

    def parameters(self, step: str) -> dict[str, JsonValue]:
        """Return the parameters of a run as it recorded them, whatever MLflow shows now."""
        return json_object(self.content(step, PARAMETERS_FILE))

    def _models(self, step: str) -> dict[str, str]:
        if step not in self.runs:
            return {}
        listed = json_object(self._contents.get((step, MANIFEST_FILE))).get("models")
        items = listed if isinstance(listed, list) else []
        return {str(item["name"]): str(item["sha256"]) for item in items}

    def _metrics(self, run: FoundRun) -> Metrics:
        metrics: Metrics = {}
        for name, last in run.latest.items():
            metrics[name] = ((last.step, last.value),)
            # MLflow's last point is that of the highest step: before the first one there is none.
            if last.step > 0 and not is_measurement(name):
                points = self.reader.metric_points(run.run_id, name)
                metrics[name] = tuple(sorted(set(zip(points.steps, points.values, strict=True))))
        return metrics


def find_evaluation(name: str, settings: TrackingSettings) -> RecordedEvaluation:
    """Return the evaluation that a run belongs to.

    Args:
        name: A run's id, its first characters, a run's name, or the key of an evaluation or a run.
        settings: Names the store.

    Raises:
        RunNotFoundError: There is no such run.
        ReproductionError: The evaluation did not finish, some of its runs are there twice, or the run belongs to a
            pipeline of one's own.
        TrackingError: There is no such store, it does not answer, or the run is not Hokusai's.
    """
    uri = require_store(settings)
    from hokusai.tracking.mlflow_reader import MlflowReader  # imports MLflow

    reader = MlflowReader(uri, registry_uri=settings.registry_uri, request_seconds=settings.request_seconds)
    found = reader.find_anywhere(name)
    if found is None:
        raise RunNotFoundError(name, store=reader.uri)
    key = found.tags.get(EVALUATION_TAG, "")
    if not key:
        msg = (
            f"{reader.uri}: the run {found.name!r} ({found.run_id}) was not recorded by Hokusai, expected one of an "
            "evaluation. List those with `hokusai runs`."
        )
        raise TrackingError(msg)
    runs = _finished_runs(reader, key, known=found)
    contents: dict[tuple[str, str], bytes] = {}
    manifests = {}
    for step, run in runs.items():
        content = reader.read_file_if_there(run.location, MANIFEST_FILE)
        listed = _listed(content or b"", tag=run.tags.get(MANIFEST_DIGEST_TAG, ""))
        if content is None or listed is None:
            became = "is gone" if content is None else "was changed after it was recorded"
            problem = f"the list of files ({MANIFEST_FILE}) of {step} {became}. Nothing is done by it."
            raise ReproductionError(key, problem, is_changed=True)
        contents[step, MANIFEST_FILE], manifests[step] = content, listed
    experiment, _ = reader.experiment_state(runs[EVALUATION].experiment_id)
    return RecordedEvaluation(
        key=key, experiment=experiment, runs=runs, manifests=manifests, reader=reader, _contents=contents
    )


def _finished_runs(reader: MlflowReader, key: str, *, known: FoundRun) -> dict[str, FoundRun]:
    """Return the runs of an evaluation by the names of their steps.

    Raises:
        ReproductionError: There is no result to compare with, or not one alone.
    """
    keys = {key: EVALUATION, **{f"{key}:{step}": step for step in STEPS}}
    every = sorted(reader.runs_of(key, known_ids=[known.run_id]), key=lambda run: (run.is_deleted, run.start_time))
    by_step: dict[str, list[FoundRun]] = {}
    for run in every:
        step = keys.get(run.tags.get(RUN_KEY_TAG, ""))
        if step is not None:
            by_step.setdefault(step, []).append(run)
    runs = {step: same[0] for step, same in by_step.items()}
    _refuse_copies(key, by_step, known=known)
    unfinished = {step: runs[step].status for step in (EVALUATION, *STEPS) if step in runs}
    unfinished = {step: status for step, status in unfinished.items() if status != "FINISHED"}
    if unfinished:
        # The innermost is the one at which it ended.
        step, status = list(unfinished.items())[-1]
        where = "" if step == EVALUATION else f" in {step}"
        problem = f"it has no result: it ended as {status}{where}. Run it anew with `hokusai run`."
        if status == "RUNNING":
            problem = (
                f"it has no result yet: it is RUNNING{where}. Wait for its end; if it was broken off, `hokusai sync` "
                "where it ran brings over how it ended."
            )
        raise ReproductionError(key, problem)
    if not runs.keys() & {*STEPS}:
        problem = (
            "it is a pipeline of your own (hokusai.track), whose code is not on record. Only what `hokusai run` "
            "records can be done again."
        )
        raise ReproductionError(key, problem)
    missing = [step for step in (EVALUATION, *STEPS) if step not in runs]
    if missing:
        problem = (
            f"the store has no run of {', '.join(missing)}. If it is not all there yet, bring it with `hokusai sync`."
        )
        raise ReproductionError(key, problem)
    return runs


def _refuse_copies(key: str, by_step: Mapping[str, Sequence[FoundRun]], *, known: FoundRun) -> None:
    """Refuse an evaluation of which more than one run says to be the same part, or that has another's steps.

    A deleted run is no copy: the creation of a run that was asked for twice leaves one.

    Args:
        key: The evaluation's key.
        by_step: The runs of every step; the first is the one that would be taken.
        known: The run that was named.

    Raises:
        ReproductionError: There is such a run.
    """
    for step in (name for name in (EVALUATION, *STEPS) if name in by_step):
        first, *others = by_step[step]
        ids = [first.run_id, *(run.run_id for run in others if not run.is_deleted)]
        # What was named has to be what is taken.
        ids += [run.run_id for run in others if run.run_id == known.run_id and run.is_deleted]
        if len(ids) > 1:
            problem = (
                f"{len(ids)} runs say that they are its {step}: {', '.join(ids)}. It was copied, or tags were edited. "
                "Find out which one is true (`hokusai audit`), delete the others, and name it by its id."
            )
            raise ReproductionError(key, problem, is_changed=True)
        parent = by_step[EVALUATION][0].run_id if EVALUATION in by_step else first.parent_id
        if step != EVALUATION and first.parent_id != parent:
            problem = (
                f"its run of {step}, {first.run_id}, lies below the run {first.parent_id or 'of nobody'}, expected "
                f"{parent}. Tags were edited; `hokusai audit` says what else."
            )
            raise ReproductionError(key, problem, is_changed=True)


def _listed(manifest: bytes, *, tag: str) -> dict[str, str] | None:
    """Return SHA-256 by path; None when the manifest is not the one that the tag names, or is none of ours."""
    if sha256(manifest) != tag:
        return None
    items = json_object(manifest).get("artifacts")
    listed = {str(item["path"]): str(item["sha256"]) for item in (items if isinstance(items, list) else [])}
    return listed if all(map(_is_inside, listed)) else None


def _is_inside(path: str) -> bool:
    """Say whether a path stays in the folder that it is put into."""
    parts = PurePosixPath(path).parts
    return "\\" not in path and not path.startswith("/") and bool(parts) and ".." not in parts
