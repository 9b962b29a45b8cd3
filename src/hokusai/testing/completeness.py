"""Is an evaluation on record whole? A verdict that lists everything that is missing or contradicts something else."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from hokusai.digests import sha256
from hokusai.testing.snapshots import RunReader
from hokusai.tracking import naming
from hokusai.tracking.naming import STEPS
from hokusai.tracking.parameters import SCHEMA_VERSION, STEP_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mlflow.entities import Run as MlflowRun

    from hokusai.testing.snapshots import RunLike, StoreLike

__all__ = ["check_run_complete"]

_PARENT = "parent"
_SCHEMAS = {_PARENT if name == "evaluation" else name: kind for name, kind in STEP_PARAMETERS.items()}
_ALL_CONTEXTS = frozenset({"base", "benchmark", "contribution", "integrated"})
_CONTEXTS: dict[str, frozenset[str]] = {
    _PARENT: _ALL_CONTEXTS,
    "integrate_contributed_data": _ALL_CONTEXTS,
    "train_new_model": frozenset({"base", "integrated"}),
    "evaluate_on_benchmark": frozenset({"benchmark"}),
}
_OUTCOMES = ("accept", "reject", "not enough evidence")
_DECISION_TAGS = ("hokusai.decision", "hokusai.decision.reason")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DATASET_TAGS = naming.dataset_tag("")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list_of(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(type(item) is kind for item in value)


def _is_mapping_to(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(type(item) is kind for item in value.values())


# The annotations of the parameter schema, as values read from JSON.
_TYPES: dict[str, Callable[[object], bool]] = {
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: value is None or isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int,
    "float": _is_number,
    "tuple[str, ...]": _is_list_of(str),
    "tuple[int, ...]": _is_list_of(int),
    "Mapping[str, Any]": lambda value: isinstance(value, dict),
    "Mapping[str, str]": _is_mapping_to(str),
    "Mapping[str, int]": _is_mapping_to(int),
    "Mapping[str, float]": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
}


def check_run_complete(run: RunLike, *, store: StoreLike = None) -> tuple[str, ...]:
    """Say what is missing from, or contradictory in, the record of one evaluation.

    It is whole when there are a parent run and exactly the five steps below it, one after the other within the parent's
    time, all FINISHED; when every run has the parameters of the schema, of the right types, and no others, the same
    values in ``parameters.json``, and that file's SHA-256 as a tag; when the datasets that a run has to name are its
    inputs, with full digests that agree with its tags and with the parent's; when parent, last step, ``delta.json``
    and model version tell the same decision and the same gains; when ``row_scores.parquet`` has a row for each
    row of the benchmark; and when the candidate is a READY version of a registered model.

    Args:
        run: The parent run, or its id. It is read from the store again.
        store: MLflow's client, a tracking URI, or what has one as ``uri``; default the store that MLflow is set to.

    Returns:
        One sentence for each problem, which begins with the step or with ``parent``; empty when the record is whole.

    Raises:
        RunNotFoundError: There is no such run.
        MlflowException: The store does not answer.
    """
    reader = RunReader(store)
    parent = reader.run(run)
    if above := parent.data.tags.get("mlflow.parentRunId"):
        return (f"{_PARENT}: this is the run {parent.info.run_name!r} below {above}; give the evaluation's parent run",)
    problems = []
    if parent.info.lifecycle_stage != "active":
        problems.append(f"{_PARENT}: the run has been deleted")
    children = reader.children(parent)
    problems += _check_children(reader, parent, children)
    steps = {step: child for step in STEPS for child in children if child.info.run_name == step}
    evaluation = _Evaluation(reader=reader, parent=parent, steps=steps)
    problems += _check_times(evaluation)
    for step, own in evaluation.runs().items():
        found = [*_check_run(own), *_check_tags(evaluation, step, own)]
        found += _check_parameters(reader, step, own)
        found += _check_datasets(evaluation, step, own)
        problems += [f"{step}: {problem}" for problem in found]
    problems += _check_decision(evaluation)
    problems += _check_headline(evaluation)
    problems += _check_delta_document(evaluation)
    problems += _check_row_scores(evaluation)
    problems += _check_model(evaluation)
    return tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evaluation:
    """The runs of one evaluation; a step that is missing is not among ``steps``."""

    reader: RunReader
    parent: MlflowRun
    steps: Mapping[str, MlflowRun]

    def runs(self) -> dict[str, MlflowRun]:
        """Return every run by the name of its step."""
        return {_PARENT: self.parent, **self.steps}


def _check_children(reader: RunReader, parent: MlflowRun, children: list[MlflowRun]) -> Iterator[str]:
    names = [child.info.run_name for child in children]
    for step in STEPS:
        count = names.count(step)
        if count > 1:
            yield f"{step}: got {count} runs, expected 1"
        elif not count:
            deleted = [child.info.run_name for child in reader.children(parent, deleted=True)]
            yield f"{step}: missing" + ("; a run of this name has been deleted" if step in deleted else "")
    for child in children:
        if child.info.run_name not in STEPS:
            yield f"{child.info.run_name}: unknown step (run {child.info.run_id}), expected only the five steps"


def _check_times(evaluation: _Evaluation) -> Iterator[str]:
    start, end = evaluation.parent.info.start_time, evaluation.parent.info.end_time
    before, ended_before = _PARENT, start
    for step, run in evaluation.steps.items():
        if run.info.start_time < ended_before:
            moment = "starts" if before == _PARENT else "ends"
            yield f"{step}: starts at {run.info.start_time}, before {before} {moment} at {ended_before}"
        if run.info.end_time is not None:
            before, ended_before = step, run.info.end_time
            if end is not None and run.info.end_time > end:
                yield f"{step}: ends at {run.info.end_time}, after {_PARENT} ends at {end}"


def _check_run(run: MlflowRun) -> Iterator[str]:
    if run.info.status != "FINISHED":
        error = run.data.tags.get(naming.ERROR_TAG)
        yield f"status: got {run.info.status!r}, expected 'FINISHED'" + (f" ({error})" if error else "")
    if run.info.end_time is None:
        yield "end time: missing"
    elif run.info.end_time < run.info.start_time:
        yield f"end time: {run.info.end_time} is before the start at {run.info.start_time}"


def _check_tags(evaluation: _Evaluation, step: str, run: MlflowRun) -> Iterator[str]:
    key = evaluation.parent.data.tags.get(naming.EVALUATION_TAG, "")
    expected = {
        naming.EVALUATION_TAG: key,
        naming.RUN_KEY_TAG: key if step == _PARENT else f"{key}:{step}",
        naming.SCHEMA_VERSION_TAG: SCHEMA_VERSION,
    }
    if step != _PARENT:
        expected[naming.STEP_TAG] = step
    for name, value in expected.items():
        got = run.data.tags.get(name)
        if not got:
            yield f"tag {name}: missing"
        elif got != value:
            yield f"tag {name}: got {got!r}, expected {value!r}"
    if not run.data.tags.get(naming.PACKAGE_VERSION_TAG):
        yield f"tag {naming.PACKAGE_VERSION_TAG}: missing"


def _check_parameters(reader: RunReader, step: str, run: MlflowRun) -> Iterator[str]:
    schema = {str(item.metadata["name"]): str(item.type) for item in fields(_SCHEMAS[step])}
    params = run.data.params
    yield from (f"parameter {name}: missing" for name in sorted(schema.keys() - params.keys()))
    yield from (f"parameter {name}: unknown to the schema" for name in sorted(params.keys() - schema.keys()))
    document = _artifact(reader, run, "parameters.json")
    if document is None:
        yield "artifact parameters.json: missing"
        return
    digest = run.data.tags.get(naming.PARAMETERS_DIGEST_TAG)
    if digest != sha256(document):
        yield f"artifact parameters.json: has sha256 {sha256(document)}, but the tag says {digest or 'nothing'}"
    values = _json_object(document)
    if values is None:
        yield "artifact parameters.json: is not a JSON object"
        return
    if values.keys() != params.keys():
        only = sorted(values.keys() ^ params.keys())
        yield f"artifact parameters.json: {', '.join(only)} stand only there or only among the parameters"
    for name in sorted(values.keys() & params.keys()):
        if not _says(params[name], values[name]):
            got = json.dumps(values[name], ensure_ascii=False)
            yield f"parameter {name}: is {params[name]!r}, but parameters.json says {got}"
    for name, kind in schema.items():
        if name in values and not _TYPES[kind](values[name]):
            yield f"parameter {name}: got {json.dumps(values[name], ensure_ascii=False)}, expected {kind}"


def _says(text: str, value: object) -> bool:
    """Say whether a parameter's text is a JSON value, or its digest where it is too long for MLflow."""
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

    whole = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(whole) > MAX_PARAM_VAL_LENGTH:
        return text == f"sha256:{sha256(whole.encode('utf-8', 'backslashreplace'))}"
    if isinstance(value, str):
        return text == value
    try:
        return bool(json.loads(text) == value)
    except ValueError:
        return False


def _check_datasets(evaluation: _Evaluation, step: str, run: MlflowRun) -> Iterator[str]:
    inputs = dict(_dataset_inputs(run))
    tags = {name: value for name, value in run.data.tags.items() if name.startswith(_DATASET_TAGS)}
    expected = _CONTEXTS.get(step, frozenset())
    contexts = {name.removeprefix(_DATASET_TAGS).partition(".")[0] for name in inputs}
    yield from (f"dataset {context}: missing" for context in sorted(expected - contexts))
    yield from (f"dataset {context}: not a dataset of this step" for context in sorted(contexts - expected))
    for name in sorted(inputs.keys() | tags.keys()):
        digest, tag = inputs.get(name), tags.get(name)
        if digest is None:
            yield f"tag {name}: there is no such dataset among the inputs"
        elif not _DIGEST.fullmatch(digest):
            yield f"dataset {name.removeprefix(_DATASET_TAGS)}: got the digest {digest!r}, expected 64 digits"
        elif tag is None:
            yield f"tag {name}: missing"
        elif tag != digest:
            yield f"tag {name}: got {tag!r}, but the input's digest is {digest}"
        if step != _PARENT and (of_parent := evaluation.parent.data.tags.get(name)) != tag:
            yield f"tag {name}: got {tag!r}, but the parent's is {of_parent!r}"


def _dataset_inputs(run: MlflowRun) -> Iterator[tuple[str, str]]:
    """Give the tag's name and the digest of each dataset of a run."""
    for item in run.inputs.dataset_inputs if run.inputs else ():
        tags = {tag.key: tag.value for tag in item.tags}
        context, digest = tags.get("mlflow.data.context", ""), tags.get("hokusai.digest", "")
        # MLflow's own field holds the beginning.
        is_same = digest.startswith(item.dataset.digest)
        yield naming.dataset_tag(context, item.dataset.name), digest if is_same else item.dataset.digest


def _check_decision(evaluation: _Evaluation) -> Iterator[str]:
    outcome = evaluation.parent.data.tags.get("hokusai.decision")
    if outcome not in _OUTCOMES:
        got = f"got {outcome!r}, expected one of {', '.join(map(repr, _OUTCOMES))}" if outcome else "missing"
        yield f"{_PARENT}: tag hokusai.decision: {got}"
    last = evaluation.steps.get("compare_and_output_delta")
    for name in _DECISION_TAGS:
        of_parent, of_step = evaluation.parent.data.tags.get(name), last.data.tags.get(name) if last else None
        if last and of_parent != of_step:
            yield f"{_PARENT}: tag {name}: got {of_parent!r}, but the last step's is {of_step!r}"


def _check_headline(evaluation: _Evaluation) -> Iterator[str]:
    """The parent repeats the scores of step 4 and the deltas of step 5."""
    for step, beginnings in (
        ("evaluate_on_benchmark", ("control.", "candidate.")),
        ("compare_and_output_delta", ("delta.",)),
    ):
        if step not in evaluation.steps:
            continue
        own = evaluation.steps[step].data.metrics
        for name, value in evaluation.parent.data.metrics.items():
            if name.startswith(beginnings) and not _is_same(own.get(name), value):
                yield f"{_PARENT}: metric {name}: got {value!r}, but {step} has {own.get(name)!r}"
        if step == "compare_and_output_delta":
            missing = sorted(own.keys() - evaluation.parent.data.metrics.keys())
            yield from (f"{_PARENT}: metric {name}: missing" for name in missing if name.startswith(beginnings))


def _check_delta_document(evaluation: _Evaluation) -> Iterator[str]:
    run = evaluation.steps.get("compare_and_output_delta")
    if run is None:
        return
    where = "compare_and_output_delta: artifact delta.json"
    content = _artifact(evaluation.reader, run, "delta.json")
    if content is None:
        yield f"{where}: missing"
        return
    document = _json_object(content)
    try:
        facts = _facts_of_delta(document or {})
    except (KeyError, TypeError, AttributeError):
        yield f"{where}: is not a delta document"
        return
    own = {
        naming.EVALUATION_TAG: run.data.tags.get(naming.EVALUATION_TAG),
        **{name: run.data.tags.get(name) for name in _DECISION_TAGS},
        **{name: evaluation.parent.data.tags.get(name) for name in facts if name.startswith(_DATASET_TAGS)},
        **{name: run.data.metrics.get(name) for name in facts if name.startswith(("delta.", "delta_baseline."))},
    }
    for name, value in facts.items():
        got = own[name]
        # JSON has no word for a number that is undefined.
        is_undefined = value is None and isinstance(got, float) and not math.isfinite(got)
        if not is_undefined and not _is_same(got, value):
            yield f"{where}: says {value!r} for {name}, but MLflow has {got!r}"


def _facts_of_delta(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``delta.json`` says, by the names of the tags and metrics that say the same."""
    facts = {
        naming.EVALUATION_TAG: document["evaluation"],
        "hokusai.decision": document["decision"]["outcome"],
        "hokusai.decision.reason": document["decision"]["reason"],
    }
    for version in document["datasets"]:
        facts[naming.dataset_tag(version["context"], version["name"])] = version["digest"]
    for delta in document["deltas"]:
        name = f"delta.{delta['metric']}" if delta["reference"] == "control" else f"delta_baseline.{delta['metric']}"
        facts |= {name: delta["gain"], f"{name}.lower": delta["gain_lower"], f"{name}.upper": delta["gain_upper"]}
    return facts


def _check_row_scores(evaluation: _Evaluation) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    run = evaluation.steps.get("evaluate_on_benchmark")
    if run is None:
        return
    where = "evaluate_on_benchmark: artifact row_scores.parquet"
    content = _artifact(evaluation.reader, run, "row_scores.parquet")
    if content is None:
        yield f"{where}: missing"
        return
    try:
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        yield f"{where}: cannot be read ({str(error).splitlines()[0]})"
        return
    expected = run.data.params.get("evaluation.benchmark_rows")
    if str(table.num_rows) != expected:
        yield f"{where}: has {table.num_rows} rows, expected {expected} (evaluation.benchmark_rows)"


def _check_model(evaluation: _Evaluation) -> Iterator[str]:
    tags, run_id = evaluation.parent.data.tags, evaluation.parent.info.run_id
    address = tags.get("hokusai.model_version")
    if not address:
        yield f"{_PARENT}: tag hokusai.model_version: missing"
        return
    name, _, number = address.rpartition("/")
    where = f"{_PARENT}: model version {address}"
    version = evaluation.reader.model_version(name, number)
    if version is None:
        yield f"{where}: missing from the registry"
        return
    if version.status != "READY":
        yield f"{where}: status: got {version.status!r}, expected 'READY'"
    if version.run_id != run_id:
        yield f"{where}: comes from the run {version.run_id}, expected {run_id}"
    repeated = {naming.EVALUATION_TAG, "hokusai.decision", *(tag for tag in tags if tag.startswith(_DATASET_TAGS))}
    for tag in sorted(repeated):
        if version.tags.get(tag) != tags.get(tag):
            yield f"{where}: tag {tag}: got {version.tags.get(tag)!r}, but the parent's is {tags.get(tag)!r}"
    if "train_new_model" in evaluation.steps:
        yield from _check_source(
            evaluation.reader, evaluation.steps["train_new_model"], str(version.source), where=where
        )


def _check_source(reader: RunReader, run: MlflowRun, source: str, *, where: str) -> Iterator[str]:
    made = [output.model_id for output in (run.outputs.model_outputs if run.outputs else None) or ()]
    if source not in [f"models:/{model_id}" for model_id in made]:
        yield f"{where}: is {source}, expected a model of train_new_model ({', '.join(made) or 'it has none'})"
    for model_id in made:
        model = reader.model(model_id)
        if model is None or str(model.status) != "READY":
            yield f"train_new_model: model {model_id}: " + (f"status {model.status}" if model else "missing")


def _artifact(reader: RunReader, run: MlflowRun, path: str) -> bytes | None:
    return reader.content(run.info.run_id, path) if path in reader.artifacts(run.info.run_id) else None


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_same(one: object, other: object) -> bool:
    """Compare facts, where undefined is the same as undefined."""
    return one == other or (one != one and other != other)  # noqa: PLR0124  (only NaN differs from itself)
