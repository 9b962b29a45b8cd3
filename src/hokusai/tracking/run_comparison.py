"""One run in MLflow against what the journals recorded of it, field by field: the other side of the audit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hokusai.digests import canonical_json, sha256
from hokusai.records import MODEL_LOADING_NOTE, MODEL_MANIFEST_FILE, MODEL_MANIFEST_TAG, MODEL_SHA256_TAG
from hokusai.tracking import naming
from hokusai.tracking.mlflow_names import LONGEST_PARAMETER, LONGEST_TAG, storable, to_mlflow_name
from hokusai.tracking.recorded_facts import (
    MetricPoints,
    Point,
    dataset_fields,
    model_file_fields,
    model_files,
    put_all,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from hokusai.digests import JsonValue
    from hokusai.tracking.mlflow_client import MetricPoint
    from hokusai.tracking.mlflow_reader import FoundDataset, FoundModel, FoundRun, FoundVersion, MlflowReader
    from hokusai.tracking.operations import LogModel
    from hokusai.tracking.recorded_facts import Record, RunFacts, Texts

__all__ = ["Difference", "Evaluation", "Findings", "Kind", "Reason", "RunComparison", "file_text"]

Kind = Literal[
    "journal",
    "staged file",
    "run",
    "name",
    "experiment",
    "parent",
    "status",
    "start time",
    "end time",
    "parameter",
    "metric",
    "tag",
    "dataset",
    "artifact",
    "model",
    "model version",
]
Reason = Literal["missing", "deleted", "added", "doubled", "changed", "not shipped", "damaged"]

_POINTS_NAMED = 10
_MLFLOW_TAGS = "mlflow."
_DIGEST_TAGS = (MODEL_SHA256_TAG, MODEL_MANIFEST_TAG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that MLflow, or the journal, does not hold as it was recorded.

    Attributes:
        run: The run's name, as recorded where that is known.
        key: The run's key; empty when it has none.
        kind: What differs.
        name: Which one: the parameter's name, the artifact's path, and so on; empty where a run has but one.
        reason: In which way it differs.
        recorded: What the journal has; empty for what was added.
        found: What is there now; empty for what is missing.
    """

    run: str
    key: str
    kind: Kind
    name: str
    reason: Reason
    recorded: str = ""
    found: str = ""


class Findings:
    """What was compared, and what differs.

    Attributes:
        checked: How many facts of each kind were compared.
        differences: In the order in which they were found.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.checked: Counter[Kind] = Counter()
        self.differences: list[Difference] = []

    def add(
        self,
        kind: Kind,
        name: str,
        reason: Reason,
        *,
        run: str = "",
        key: str = "",
        recorded: object = "",
        found: object = "",
    ) -> None:
        """Note a difference."""
        self.differences.append(
            Difference(run=run, key=key, kind=kind, name=name, reason=reason, recorded=str(recorded), found=str(found))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What comparing one run needs to know of the others.

    Attributes:
        key: The evaluation's key.
        record: What was recorded of it.
        runs: Its runs in MLflow by key.
        models: The logged models of those runs by the run's key.
    """

    key: str
    record: Record
    runs: Mapping[str, FoundRun]
    models: Mapping[str, Sequence[FoundModel]]

    def models_named(self, name: str) -> list[FoundModel]:
        """Return the logged models that a recorded one may be: of several, the output of its run comes first."""
        for facts in self.record.runs.values():
            if name in facts.models and facts.key in self.runs:
                there, outputs = self.models[facts.key], self.runs[facts.key].model_ids
                same = [item for item in there if item.tags.get(naming.MODEL_KEY_TAG) == f"{self.key}:{name}"]
                same = same or [item for item in there if item.name == name]
                return sorted(same, key=lambda item: item.model_id not in outputs)
        return []


class RunComparison:
    """Compares one run.

    Args:
        store: Where the run is.
        findings: Where differences go.
        evaluation: What the run is part of.
        facts: The run as it was recorded.
        found: The run as it is.
    """

    def __init__(
        self, store: MlflowReader, findings: Findings, *, evaluation: Evaluation, facts: RunFacts, found: FoundRun
    ) -> None:
        """Compare nothing yet."""
        self._store = store
        self._findings = findings
        self._checked = findings.checked
        self._evaluation = evaluation
        self._facts = facts
        self._found = found

    def compare(self, *, experiment: str) -> None:
        """Find every difference; ``experiment`` is the name of the one in which the run is."""
        facts, found = self._facts, self._found
        self.compare_value("name", storable(facts.name), found.name)
        if (shown := found.tags.get("mlflow.runName", found.name)) != found.name:
            self.differ("name", "mlflow.runName", "changed", recorded=facts.name, found=shown)
        experiments = {journal.experiment for journal in self._evaluation.record.journals}
        self._checked["experiment"] += 1
        if experiment not in experiments:
            self.differ("experiment", "", "changed", recorded=", ".join(sorted(experiments)), found=experiment)
        parent = self._evaluation.runs.get(facts.parent) if facts.parent else None
        if parent or not facts.parent:
            self.compare_value("parent", parent.run_id if parent else "", found.parent_id)
        if facts.started_at is not None:
            self.compare_value("start time", str(facts.started_at), str(found.start_time))
        self._compare_end()
        self.compare_texts("parameter", facts.parameters, found.parameters)
        self._compare_metrics()
        self._compare_datasets()
        self._compare_artifacts()
        self._compare_models()
        self._compare_versions()
        # The audit compares the heads of the journals by itself.
        heads = (
            {journal.head_tag for journal in self._evaluation.record.journals}
            if facts.key == self._evaluation.key
            else set()
        )
        tags = {
            name: value
            for name, value in found.tags.items()
            if name not in heads and (name in facts.tags or not name.startswith(_MLFLOW_TAGS))
        }
        self.compare_texts("tag", facts.tags, tags)

    def differ(self, kind: Kind, name: str, reason: Reason, *, recorded: object = "", found: object = "") -> None:
        """Note a difference of this run."""
        run = self._facts.name or self._found.name
        self._findings.add(kind, name, reason, run=run, key=self._facts.key, recorded=recorded, found=found)

    def differ_in_file(self, kind: Kind, name: str, recorded: str, found: tuple[str, int]) -> None:
        """Note that the bytes of a file are others, or that it is listed and gone."""
        reason: Reason = "changed" if found[0] else "missing"
        self.differ(kind, name, reason, recorded=recorded, found=file_text(*found))

    def compare_value(self, kind: Kind, recorded: str, found: str, name: str = "") -> None:
        """Compare one text with one text; empty means that there is none."""
        self._checked[kind] += 1
        if recorded != found:
            reason: Reason = "missing" if not found else "changed" if recorded else "added"
            self.differ(kind, name, reason, recorded=recorded, found=found)

    def compare_texts(self, kind: Literal["parameter", "tag"], recorded: Texts, found: Mapping[str, str]) -> None:
        """Compare all parameters or all tags."""
        longest = LONGEST_PARAMETER if kind == "parameter" else LONGEST_TAG
        for name, by_journal in recorded.items():
            self._checked[kind] += 1
            facts = by_journal.values()
            if found.get(name) in [fact.value[:longest] for fact in facts]:
                continue
            value = next(reversed(by_journal.values())).value
            if not all(fact.is_shipped for fact in facts):
                self.differ(kind, name, "not shipped", recorded=value, found=found.get(name, ""))
            elif name in found:
                self.differ(kind, name, "changed", recorded=value, found=found[name])
            else:
                self.differ(kind, name, "missing", recorded=value)
        for name in sorted(found.keys() - recorded.keys()):
            self.differ(kind, name, "added", found=found[name])

    def _compare_end(self) -> None:
        ends = self._facts.ends.values()
        shipped: list[tuple[str, int | None]] = [end.value for end in ends if end.is_shipped]
        pending: list[tuple[str, int | None]] = [end.value for end in ends if not end.is_shipped]
        found = (self._found.status, self._found.end_time)
        self._checked["status"] += 1
        self._checked["end time"] += 1
        if found in (shipped or [("RUNNING", None)]) or found in pending:
            if pending and not shipped and found not in pending:
                status, ended_at = pending[-1]
                self.differ("status", "", "not shipped", recorded=f"{status} at {ended_at}", found=found[0])
            return
        accepted = shipped or pending or [("RUNNING", None)]
        status, time = next((end for end in accepted if found[0] == end[0] or found[1] == end[1]), accepted[-1])
        if found[0] != status:
            self.differ("status", "", "changed", recorded=status, found=found[0])
        if found[1] != time:
            recorded, shown = ("" if value is None else value for value in (time, found[1]))
            self.differ("end time", "", "changed", recorded=recorded, found=shown)

    # Metrics.

    def _compare_metrics(self) -> None:
        facts, found = self._facts, self._found
        names = {**facts.shipped_points, **facts.pending_points, **found.latest}
        for name in names:
            history = self._store.metric_points(found.run_id, name)
            shipped = facts.shipped_points.get(name, MetricPoints()).distinct()
            pending = facts.pending_points.get(name, MetricPoints()).distinct()
            there = history.distinct()
            self._checked["metric"] += len(shipped) + len(pending)
            if not (len(pending) == 0 and there.shape == shipped.shape and (there == shipped).all()):
                self._differ_in_points(name, _points(shipped), _points(pending), _points(there))
            self._compare_latest(name, _points(there[-1:]), found.latest.get(name))

    def _differ_in_points(self, name: str, shipped: set[Point], pending: set[Point], there: set[Point]) -> None:
        missing, added = sorted(shipped - there), sorted(there - shipped - pending)
        by_place = {(point.step, point.time): point for point in added}
        changed = {point: by_place.pop((point.step, point.time), None) for point in missing}
        lines: list[tuple[Point | None, Point | None]] = list(changed.items())
        lines += [(None, point) for point in added if point not in changed.values()]
        for recorded, found in lines[:_POINTS_NAMED]:
            reason: Reason = "added" if recorded is None else "missing" if found is None else "changed"
            step = (recorded or found or Point(0, 0, 0)).step
            self.differ("metric", f"{name} at step {step}", reason, recorded=recorded or "", found=found or "")
        if (more := len(lines) - _POINTS_NAMED) > 0:
            counts = f"{len(missing)} of {len(shipped)} points are not as recorded, {len(added)} were not recorded"
            self.differ("metric", f"{name}: {more} more", "changed", recorded=len(shipped), found=counts)
        if waiting := pending - there:
            self.differ("metric", name, "not shipped", recorded=f"{len(waiting)} points")

    def _compare_latest(self, name: str, last: set[Point], shown: MetricPoint | None) -> None:
        """Compare the value that MLflow shows in its lists, which it keeps apart from the history."""
        expected = next(iter(last), None)
        found = None if shown is None else Point.of(shown.value, time=shown.time, step=shown.step)
        if expected is not None and found != expected:
            self.differ("metric", f"{name}: last value", "changed", recorded=expected, found=found or "")
        elif expected is None and found is not None:
            self.differ("metric", f"{name}: last value", "added", found=found)

    # Datasets and artifacts.

    def _compare_datasets(self) -> None:
        found = {(dataset.name, dataset.short_digest): dataset for dataset in self._found.datasets}
        for place, by_journal in self._facts.datasets.items():
            self._checked["dataset"] += 1
            there, facts = found.pop(place, None), tuple(by_journal.values())
            if there is None:
                reason = _absence(all(fact.is_shipped for fact in facts))
                self.differ("dataset", place[0], reason, recorded=facts[0].value.digest)
                continue
            accepted = [dataset_fields(fact.value) for fact in facts]
            fields = _found_fields(there)
            if fields in accepted:
                continue
            for name, text in fields.items():
                if text == accepted[0][name]:
                    continue
                if name == "source" and self._is_anothers_source(place, there):
                    continue
                self.differ("dataset", f"{place[0]}: {name}", "changed", recorded=accepted[0][name], found=text)
        for dataset in found.values():
            shown = dataset.digest or dataset.short_digest
            self.differ("dataset", dataset.name, "added", found=shown)

    def _is_anothers_source(self, place: tuple[str, str], found: FoundDataset) -> bool:
        """Say whether a dataset may have the source that it has: MLflow keeps the first one per experiment for all."""
        if found.source in self._evaluation.record.sources(place):
            return True
        return self._store.is_dataset_shared(
            found, experiment_id=self._found.experiment_id, evaluation=self._evaluation.key
        )

    def _compare_artifacts(self) -> None:
        location = self._found.location
        files = self._store.files_of(location)
        for path, by_journal in self._facts.artifacts.items():
            self._checked["artifact"] += 1
            facts = tuple(by_journal.values())
            is_shipped = all(fact.is_shipped for fact in facts)
            recorded = file_text(*facts[-1].value)
            if path not in files:
                self.differ("artifact", path, _absence(is_shipped), recorded=recorded)
                continue
            found = self._store.digest_of(location, path)
            if found not in [fact.value for fact in facts]:
                if is_shipped:
                    self.differ_in_file("artifact", path, recorded, found)
                else:
                    self.differ("artifact", path, "not shipped", recorded=recorded, found=file_text(*found))
        for path in sorted(files.keys() - self._facts.artifacts.keys()):
            found_text = file_text(*self._store.digest_of(location, path))
            self.differ("artifact", path, "added", found=found_text)

    # Models.

    def _compare_models(self) -> None:
        facts = self._facts
        left = list(self._evaluation.models.get(facts.key, ()))
        for name, model in facts.models.items():
            self._checked["model"] += 1
            same = self._evaluation.models_named(name)
            if not same:
                self.differ("model", name, _absence(model.is_shipped), recorded=model.value.sha256)
                continue
            left = [item for item in left if item not in same]
            for double in same[1:]:
                self.differ("model", name, "doubled", recorded=same[0].model_id, found=double.model_id)
            self._compare_model(model.value, same[0])
        for item in left:
            self.differ("model", item.name, "added", found=item.model_id)

    def _compare_model(self, model: LogModel, found: FoundModel) -> None:
        run, key = self._found, f"{self._evaluation.key}:{model.name}"
        for field_name, recorded, there in (
            ("name", model.name, found.name),
            ("status", "READY", found.status),
            ("run", run.run_id, found.run_id),
            ("key", key, found.tags.get(naming.MODEL_KEY_TAG, "")),
            ("output of its run", "yes", "yes" if found.model_id in run.model_ids else ""),
        ):
            self.compare_value("model", recorded, there, f"{model.name}: {field_name}")
        for tag in sorted(found.tags.keys() - {naming.MODEL_KEY_TAG, *_DIGEST_TAGS}):
            if not tag.startswith(_MLFLOW_TAGS):
                self.differ("model", f"{model.name}: tag {tag}", "added", found=found.tags[tag])
        self._compare_model_files(model, found)

    def _compare_model_files(self, model: LogModel, found: FoundModel) -> None:
        paths = self._store.files_of(found.location).keys() - {MODEL_LOADING_NOTE}
        files = {path: self._store.digest_of(found.location, path) for path in paths}
        expected, known = model_files(model), len(self._findings.differences)
        gone = {path for path, (digest, _) in files.items() if not digest}
        for path in expected:
            self._checked["model"] += 1
            if path not in files or path in gone - {model.file}:
                self.differ("model", f"{model.name}: {path}", "missing", recorded="there")
        for path in sorted(files.keys() - {*expected, MODEL_MANIFEST_FILE}):
            self.differ("model", f"{model.name}: {path}", "added", found=file_text(*files[path]))
        if files.get(model.file, (model.sha256, model.size)) != (model.sha256, model.size):
            recorded = file_text(model.sha256, model.size)
            self.differ_in_file("model", f"{model.name}: {model.file}", recorded, files[model.file])
        for path in expected[1:]:
            if path in files.keys() - gone:
                content = self._store.read_file(found.location, path)
                for field_name, recorded, there in model_file_fields(
                    path, content, model, run_id=self._found.run_id, model_id=found.model_id
                ):
                    self.compare_value("model", recorded, there, f"{model.name}: {path}: {field_name}")
        # What has been named by its field or file need not be named once more by its digest.
        self._compare_manifest(model, found, files, with_files=len(self._findings.differences) == known)

    def _compare_manifest(
        self, model: LogModel, found: FoundModel, files: Mapping[str, tuple[str, int]], *, with_files: bool
    ) -> None:
        """Compare the list of a model's files with the tag and, if ``with_files``, with the files.

        What was shipped before there were manifests has neither the file nor the tags.
        """
        listed, _ = files.get(MODEL_MANIFEST_FILE, ("", 0))
        if listed and with_files:
            own: dict[str, JsonValue] = {
                path: {"sha256": digest, "size": size}
                for path, (digest, size) in files.items()
                if path != MODEL_MANIFEST_FILE
            }
            digest = sha256(canonical_json({"files": own}))
            self.compare_value("model", digest, listed, f"{model.name}: {MODEL_MANIFEST_FILE}")
        for tag, digest in ((MODEL_MANIFEST_TAG, listed), (MODEL_SHA256_TAG, model.sha256)):
            if listed or tag in found.tags:
                self.compare_value("model", digest, found.tags.get(tag, ""), f"{model.name}: tag {tag}")

    def _compare_versions(self) -> None:
        """Compare the model versions, and add the tag that names the last one to what was recorded."""
        facts, told = self._facts, self._found.tags.get(naming.MODEL_VERSION_TAG, "")
        keys = sorted({(naming.MODEL_KEY_TAG, f"{self._evaluation.key}:{model}") for _, model in facts.registrations})
        left = list(self._store.versions_of(self._found.run_id, keys=keys))
        for (name, model), registration in facts.registrations.items():
            self._checked["model version"] += 1
            logged = next(iter(self._evaluation.models_named(model)), None)
            tags = {to_mlflow_name(tag): storable(value) for tag, value in registration.value.tags.items()}
            tags |= {tag: logged.tags[tag] for tag in _DIGEST_TAGS if logged and tag in logged.tags}
            tags[naming.MODEL_KEY_TAG] = f"{self._evaluation.key}:{model}"
            same = [item for item in left if item.name == name and _is_version_of(item, tags, logged)]
            left = [item for item in left if item not in same]
            # Which number was given to it is not in the journal; which one it is now should be told, if it is there.
            shown = told
            if not same:
                self.differ("model version", name, _absence(registration.is_shipped), recorded=model)
            else:
                same.sort(key=lambda item: (f"{item.name}/{item.version}" != told, int(item.version)))
                shown, *doubles = (f"{item.name}/{item.version}" for item in same)
                for double in doubles:
                    self.differ("model version", name, "doubled", recorded=shown, found=double)
                self._compare_version(same[0], tags, logged)
            if shown and registration.is_shipped:
                put_all(facts.tags, {naming.MODEL_VERSION_TAG: shown}, 0, is_shipped=True)
        for item in left:
            self.differ("model version", f"{item.name}/{item.version}", "added", found=item.source)

    def _compare_version(self, version: FoundVersion, tags: Mapping[str, str], logged: FoundModel | None) -> None:
        name = f"{version.name}/{version.version}"
        fields = [("status", "READY", version.status), ("run", self._found.run_id, version.run_id)]
        if logged is not None:
            fields.append(("source", f"models:/{logged.model_id}", version.source))
            fields.append(("location", logged.location, version.location))
            # MLflow's own registry keeps no model id, so that nobody can edit it there; the source has it.
            fields.append(("model", logged.model_id, version.model_id or logged.model_id))
        fields += [
            (f"tag {tag}", tags.get(tag, ""), version.tags.get(tag, "")) for tag in sorted({*tags, *version.tags})
        ]
        for field_name, recorded, there in fields:
            self.compare_value("model version", recorded, there, f"{name}: {field_name}")


def file_text(digest: str, size: object) -> str:
    """Return how a difference shows a file; one without a digest is listed, and is gone."""
    return f"{digest}, {size} bytes" if digest else "it is listed there, and is gone"


def _absence(is_shipped: bool) -> Reason:  # noqa: FBT001
    return "missing" if is_shipped else "not shipped"


def _is_version_of(version: FoundVersion, tags: Mapping[str, str], logged: FoundModel | None) -> bool:
    """Say whether a version was made from a model, by its key, or by its source when somebody took that away."""
    by_key = version.tags.get(naming.MODEL_KEY_TAG) == tags[naming.MODEL_KEY_TAG]
    return by_key or (logged is not None and version.source == f"models:/{logged.model_id}")


def _points(rows: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> set[Point]:
    return {Point(*row) for row in rows.tolist()}


def _found_fields(dataset: FoundDataset) -> dict[str, str]:
    return {
        "context": dataset.context,
        "digest": dataset.digest,
        "source": dataset.source,
        "rows": dataset.rows,
        "number of columns": dataset.column_count,
        "columns": ", ".join(dataset.columns),
    }
