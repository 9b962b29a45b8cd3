"""The complete system over real data and real stores: whatever an evaluation says stands in MLflow, exactly.

Read back with MLflow's own client, compared with the journal and with the files that were given, and done again.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import rfc8785
from tests.whole_system.cases import DONE_AGAIN

from hokusai.datasets.content_digest import content_digest
from hokusai.digests import sha256
from hokusai.testing import assert_run_complete
from hokusai.tracking.naming import STEPS
from hokusai.tracking.operations import LogArtifact, LogMetrics, LogModel, LogParameters, LogSeries

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow.pyfunc import PyFuncModel
    from tests.conftest import Outcome
    from tests.whole_system.conftest import DoneAgain, Evaluated

pytestmark = pytest.mark.slow

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/formats/parameters-1.schema.json").read_bytes())
EVERY_CASE_AND_EVERY_STORE = pytest.mark.parametrize(
    "evaluated", DONE_AGAIN, ids="-on-".join, indirect=True, scope="module"
)
DIGEST = re.compile(r"[0-9a-f]{64}")


# --- the runs ---------------------------------------------------------------------------------------------------------


def test_a_parent_and_five_steps_are_on_record_finished_and_whole(evaluated: Evaluated) -> None:
    client = evaluated.client
    experiment = client.get_experiment_by_name(f"hokusai-{evaluated.case.project}")
    assert experiment is not None
    condition = f"tags.`hokusai.evaluation` = '{evaluated.key}'"
    found = client.search_runs([experiment.experiment_id], condition)
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    steps = sorted((run for run in found if run is not parent), key=lambda run: run.info.start_time)
    assert Counter(run.info.run_name for run in steps) == Counter(STEPS)
    assert [run.data.tags["mlflow.parentRunId"] for run in steps] == [parent.info.run_id] * 5
    assert [run.info.status for run in (parent, *steps)] == ["FINISHED"] * 6
    assert parent.data.tags["hokusai.decision"] == evaluated.report.decision.outcome == "accept"
    assert_run_complete(parent.info.run_id, store=evaluated.uri)


def test_the_gain_is_of_the_size_that_was_measured(evaluated: Evaluated) -> None:
    delta = evaluated.report.delta
    least, greatest = evaluated.case.gain
    assert delta.metric.name == evaluated.case.metric
    assert least - 1e-12 <= delta.gain <= greatest + 1e-12
    assert delta.gain_lower is not None
    assert delta.gain_lower > 0
    shown = evaluated.runs()["evaluation"].data.metrics[f"delta.{delta.metric.name}"]
    assert shown == delta.gain


# --- parameters -------------------------------------------------------------------------------------------------------


def test_every_parameter_keeps_the_schema_and_has_one_text_in_mlflow_the_journal_and_its_file(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    recorded: dict[str, dict[str, str]] = defaultdict(dict)
    for item in evaluated.operations:
        if isinstance(item, LogParameters):
            assert not item.parameters.keys() & recorded[item.run].keys()
            recorded[item.run] |= item.parameters
    keys = {run_id: key for key, run_id in evaluated.run_ids.items()}
    shared: dict[str, set[str]] = defaultdict(set)
    for step, run in evaluated.runs().items():
        file = Path(evaluated.client.download_artifacts(run.info.run_id, "parameters.json", str(tmp_path)))
        content = file.read_bytes()
        values = json.loads(content)
        jsonschema.validate(values, {"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{step}"})
        assert content == rfc8785.dumps(values)
        assert run.data.tags["hokusai.parameters_digest"] == sha256(content)
        texts = run.data.params
        assert texts == recorded[keys[run.info.run_id]]
        assert texts.keys() == values.keys()
        for name, value in values.items():
            assert rfc8785.dumps(value_of(texts[name], like=value)) == rfc8785.dumps(value), name
            shared[name].add(texts[name])
    assert {name: texts for name, texts in shared.items() if len(texts) > 1} == {}
    assert len(shared) > 40


def value_of(text: str, *, like: Any) -> Any:
    """Return the value that MLflow's text stands for; a value has one text, and none here is too long for MLflow."""
    if isinstance(like, str):
        return text
    value = json.loads(text)
    assert text == json.dumps(value, ensure_ascii=False)
    return value


def test_the_parameters_of_all_steps_are_those_of_the_configuration(evaluated: Evaluated) -> None:
    case = evaluated.case
    expected = {
        "project": {case.project},
        "data.label": {case.label},
        "data.contributions": {json.dumps([case.contribution])},
        "training.estimator": {case.estimator},
        "training.threads": {"1"},
        "delta.metric": {case.metric},
        "delta.minimum_gain": {"0.0"},
        "delta.confidence": {"0.95"},
    }
    found: dict[str, set[str]] = defaultdict(set)
    steps = Counter[str]()
    for run in evaluated.runs().values():
        for name in expected.keys() & run.data.params.keys():
            text = run.data.params[name]
            found[name].add(text.rpartition(".")[2] if name == "training.estimator" else text)
            steps[name] += 1
    assert found == expected
    assert steps == Counter(dict.fromkeys(expected, 2)) - Counter({"project": 1, "training.threads": 1})


# --- metrics ----------------------------------------------------------------------------------------------------------


def bits(value: float) -> bytes:
    """Return the eight bytes of a number; all numbers that are none are the same."""
    return b"nan" if math.isnan(value) else struct.pack(">d", value)


def test_every_point_of_every_metric_is_the_recorded_number_to_the_bit(evaluated: Evaluated) -> None:
    recorded: dict[tuple[str, str], list[tuple[int, bytes]]] = defaultdict(list)
    for item in evaluated.operations:
        if isinstance(item, LogMetrics):
            for name, value in item.metrics.items():
                recorded[evaluated.run_ids[item.run], name].append((item.step, bits(value)))
        elif isinstance(item, LogSeries):
            points = [(item.first_step + place, bits(value)) for place, value in enumerate(item.values)]
            recorded[evaluated.run_ids[item.run], item.name] += points
    client = evaluated.client
    found = {
        (run.info.run_id, name): sorted(
            (point.step, bits(point.value)) for point in client.get_metric_history(run.info.run_id, name)
        )
        for run in evaluated.runs().values()
        for name in run.data.metrics
    }
    assert found == {place: sorted(points) for place, points in recorded.items()}
    last = {
        (run.info.run_id, name): bits(value)
        for run in evaluated.runs().values()
        for name, value in run.data.metrics.items()
    }
    assert last == {place: max(points)[1] for place, points in recorded.items()}
    fractions = [value for points in recorded.values() for _, value in points if value[-4:] != bytes(4)]
    assert len(fractions) > 20


def test_losses_of_early_stopping_are_on_record_iteration_by_iteration(evaluated: Evaluated) -> None:
    series = [item for item in evaluated.operations if isinstance(item, LogSeries)]
    longest = max((len(item.values) for item in series), default=0)
    assert (longest > 50) == (evaluated.case.name == "air-times")


# --- artifacts and models ---------------------------------------------------------------------------------------------


def test_every_file_comes_back_with_the_recorded_bytes_and_there_are_no_others(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    recorded: dict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
    for item in evaluated.operations:
        if isinstance(item, LogArtifact):
            recorded[evaluated.run_ids[item.run]][item.path] = (item.sha256, item.size)
    for run in evaluated.runs().values():
        run_id = run.info.run_id
        folder = tmp_path / run_id
        folder.mkdir()
        evaluated.client.download_artifacts(run_id, "", str(folder))
        contents = {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        manifest = contents.pop("manifest.json")
        assert {path: (sha256(content), len(content)) for path, content in contents.items()} == recorded[run_id]
        assert run.data.tags["hokusai.manifest_digest"] == sha256(manifest)
        listed = {each["path"]: (each["sha256"], each["size"]) for each in json.loads(manifest)["artifacts"]}
        assert listed == recorded[run_id]


def test_every_model_file_comes_back_with_the_recorded_bytes(
    evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.artifacts import download_artifacts

    monkeypatch.setenv("MLFLOW_TRACKING_URI", evaluated.uri)
    models = [item for item in evaluated.operations if isinstance(item, LogModel)]
    assert models
    runs = evaluated.runs()
    logged = [output.model_id for run in runs.values() for output in (run.outputs.model_outputs if run.outputs else ())]
    assert len(logged) == len(models)
    found = []
    for number, model_id in enumerate(logged):
        folder = Path(download_artifacts(f"models:/{model_id}", dst_path=str(tmp_path / str(number))))
        name = evaluated.client.get_logged_model(model_id).name
        (file,) = {item.file for item in models if item.name == name}
        content = (folder / file).read_bytes()
        found.append((name, file, sha256(content), len(content)))
    assert sorted(found) == sorted((item.name, item.file, item.sha256, item.size) for item in models)


def test_the_registered_model_says_what_the_row_scores_say(
    evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", evaluated.uri)
    scores, model = row_scores(evaluated, tmp_path), registered_model(evaluated)
    benchmark = given_table(evaluated, "benchmark").to_pandas().drop(columns=evaluated.case.label)
    said, predicted = model.predict(benchmark), scores["candidate.0.predicted"].to_pylist()
    if evaluated.case.metric == "rmse":
        assert np.asarray(said, dtype=np.float64).tobytes() == np.asarray(predicted).tobytes()
        return
    assert [str(each).lower() for each in said] == [each.lower() for each in predicted]
    assert len(set(predicted)) > 1
    classifier = model.get_raw_model()
    probabilities = dict(zip(map(str, classifier.classes_), classifier.predict_proba(benchmark).T, strict=True))
    beginning = "candidate.0.probability."
    recorded = [name for name in scores.column_names if name.startswith(beginning)]
    assert recorded
    for column in recorded:
        (found,) = [
            each for key, each in probabilities.items() if key.lower() == column.removeprefix(beginning).lower()
        ]
        assert found.astype(np.float64).tobytes() == scores[column].to_numpy().tobytes()


def registered_model(evaluated: Evaluated) -> PyFuncModel:
    """Load the only version of the registered model, as its users do."""
    import mlflow

    name = evaluated.report.identity.registered_model
    (version,) = evaluated.client.search_model_versions(f"name = '{name}'")
    assert version.tags["hokusai.evaluation"] == evaluated.key
    model: PyFuncModel = mlflow.pyfunc.load_model(f"models:/{name}/{version.version}")
    return model


def row_scores(evaluated: Evaluated, folder: Path) -> pa.Table:
    """Download what every fit said about every benchmark row."""
    run_id = evaluated.runs()["evaluate_on_benchmark"].info.run_id
    return pq.read_table(evaluated.client.download_artifacts(run_id, "row_scores.parquet", str(folder)))


# --- data -------------------------------------------------------------------------------------------------------------


def given_table(evaluated: Evaluated, name: str) -> pa.Table:
    """Read a file that was given, without our own readers."""
    path = evaluated.project / evaluated.case.tables[name]
    if path.suffix == ".parquet":
        return pq.read_table(path)
    options = pa_csv.ParseOptions(newlines_in_values=True)
    return pa_csv.read_csv(path, parse_options=options)


def test_dataset_digests_are_those_of_the_given_files(evaluated: Evaluated) -> None:
    digests = {name: content_digest(given_table(evaluated, name)) for name in evaluated.case.tables}
    expected = {
        "base": digests["base"],
        "benchmark": digests["benchmark"],
        f"contribution.{evaluated.case.contribution}": digests[evaluated.case.contribution],
    }
    parent = evaluated.runs()["evaluation"]
    tags = {name: parent.data.tags[f"hokusai.dataset.{name}"] for name in expected}
    assert tags == expected
    assert parent.inputs is not None
    inputs = {}
    for item in parent.inputs.dataset_inputs:
        found = {tag.key: tag.value for tag in item.tags}
        inputs[item.dataset.name] = found["hokusai.digest"]
        assert found["hokusai.digest"].startswith(item.dataset.digest)
    assert {name: inputs[name] for name in digests} == digests


def test_every_stored_table_has_the_content_that_it_is_named_after(evaluated: Evaluated, tmp_path: Path) -> None:
    paths = {item.path: item.run for item in evaluated.operations if isinstance(item, LogArtifact)}
    stored = {path: evaluated.run_ids[run] for path, run in paths.items() if DIGEST.fullmatch(Path(path).stem)}
    for path, run_id in stored.items():
        table = pq.read_table(evaluated.client.download_artifacts(run_id, path, str(tmp_path)))
        assert content_digest(table) == Path(path).stem
    recorded = {dataset.digest for dataset in evaluated.report.datasets}
    assert {Path(path).stem for path in stored} == recorded
    assert len(recorded) == 4


# --- the proofs -------------------------------------------------------------------------------------------------------


def test_the_audit_finds_no_difference_when_the_model_has_been_loaded(
    evaluated: Evaluated, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever loads a registered model from a local store leaves a note of MLflow's in the model's folder.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", evaluated.uri)
    registered_model(evaluated)
    where = ("--tracking-uri", evaluated.uri, "--journal", str(evaluated.journal))
    audited = call("audit", evaluated.key, *where)
    assert (audited.code, audited.err) == (0, "")
    assert audited.out.splitlines()[-1] == "No differences."


def test_the_signed_statement_holds_with_all_its_files(
    evaluated: Evaluated, signing_key: Path, call: Callable[..., Outcome]
) -> None:
    tables = [f"--data={name}={evaluated.project / file}" for name, file in evaluated.case.tables.items()]
    verified = call(
        "verify",
        str(evaluated.journal / "statement.json"),
        "--json",
        *("--key", f"{signing_key}.pub", "--evaluation", evaluated.key, "--tracking-uri", evaluated.uri),
        *tables,
    )
    assert (verified.code, verified.value["verdict"]) == (0, "holds"), verified.out
    states = {(check["name"], check["subject"]): check["state"] for check in verified.value["checks"]}
    assert set(states.values()) == {"ok"}, states


@EVERY_CASE_AND_EVERY_STORE
def test_done_again_from_the_record_alone_it_is_identical(evaluated: Evaluated, done_again: DoneAgain) -> None:
    document = done_again.document
    assert done_again.code == 0, done_again.messages
    assert (document["verdict"], document["differences"]) == ("identical", [])
    assert document["reproduction_of"]["evaluation"] == evaluated.key
    first = evaluated.runs()["evaluation"]
    (again,) = evaluated.client.search_runs(
        [first.info.experiment_id], f"tags.`hokusai.run_key` = '{document['evaluation']}'"
    )
    assert again.data.tags["hokusai.reproduction_of.run_id"] == first.info.run_id
    assert again.data.tags["hokusai.reproduction.verdict"] == "identical"
    assert again.info.status == "FINISHED"
    is_other_user = evaluated.store == "postgres-and-s3"
    assert (again.data.tags["mlflow.user"] == "somebody_else") == is_other_user


@EVERY_CASE_AND_EVERY_STORE
def test_the_audit_of_what_was_done_again_finds_no_difference(
    evaluated: Evaluated, done_again: DoneAgain, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(done_again.folder)
    audited = call("audit", done_again.document["evaluation"], "--tracking-uri", evaluated.uri)
    assert (audited.code, audited.err) == (0, "")
    assert audited.out.splitlines()[-1] == "No differences."
    assert str(done_again.folder) in audited.out
