"""The audit: clean after a real evaluation, and every edit made afterwards is found and named, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

import pytest

import hokusai
from hokusai import pipeline
from hokusai.errors import JournalError, RunNotFoundError, TrackingError
from hokusai.records import DatasetVersion
from hokusai.testing.sample_data import penguins_config
from hokusai.tracking import naming
from hokusai.tracking.audit import AuditReport, audit_run
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.shipper import DirectShipping, ship

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlflow import MlflowClient

    from hokusai.records import ModelFile
    from hokusai.testing.mlflow_server import MockMlflowServer
    from hokusai.testing.plugin import MlflowAddress
    from hokusai.tracking.journal import FileJournal

Found = tuple[str, str, str]


def found(report: AuditReport) -> list[Found]:
    """Return kind, name and reason of every difference, sorted."""
    return sorted((item.kind, item.name, item.reason) for item in report.differences)


class Place:
    """A small evaluation in a store of its own, whose files can be put back as they were."""

    def __init__(self, folder: Path, model_file: ModelFile) -> None:
        """Make the evaluation, ship it, and keep a copy of everything."""
        self._folder, self._copy = folder / "work", folder / "copy"
        self._folder.mkdir()
        self._file = self._folder / "mlflow.db"
        uri = f"sqlite:///{self._file}"
        self.settings = TrackingSettings(uri=uri, journal=self._folder / "journals")
        shipping = DirectShipping(MlflowStore(uri))
        with hokusai.track("words", settings=self.settings, tags={"note": "first"}, shipping=shipping) as run:
            with run.child("train") as step:
                step.log_parameters({"rate": 0.1, "layers": 3, "sizes": [1.0, 2.5]})
                step.log_series("loss", [0.5, 0.25, 0.125])
                columns = (("x", "double"), ("species", "string"))
                step.log_dataset(
                    DatasetVersion(
                        name="words", context="base", digest="ab" * 32, rows=3, columns=columns, source="words.csv"
                    )
                )
                step.log_text("notes/words.txt", "whale")
                step.log_model(model_file)
            run.log_metrics({"accuracy": 0.75})
            run.register_model("candidate", registered_name="words", tags={"kind": "test"})
        ((self.journal, state),) = shipping.states.items()
        self.key = run.key
        self.run, self.step = state.run_ids[run.key], state.run_ids[step.key]
        self.model = state.model_ids["candidate"]
        shutil.copytree(self._folder, self._copy)
        with closing(sqlite3.connect(self._copy / "mlflow.db")) as target, closing(sqlite3.connect(self._file)) as now:
            now.backup(target)

    @property
    def client(self) -> MlflowClient:
        """MLflow's own client of the store."""
        from mlflow import MlflowClient

        return MlflowClient(self.settings.uri, self.settings.uri)

    def restore(self) -> None:
        """Put everything back."""
        with closing(sqlite3.connect(self._copy / "mlflow.db")) as source, closing(sqlite3.connect(self._file)) as now:
            source.backup(now)
        for name in ("mlartifacts", "journals"):
            shutil.rmtree(self._folder / name)
            shutil.copytree(self._copy / name, self._folder / name)

    def sql(self, statement: str, *values: object) -> None:
        """Edit the store behind MLflow's back; the statement must change something."""
        with closing(sqlite3.connect(self._file)) as connection, connection:
            assert connection.execute(statement, values).rowcount > 0

    def artifact(self, path: str) -> Path:
        """Return the file of an artifact of the step."""
        return _path(self.client.get_run(self.step).info.artifact_uri) / path

    def model_file(self, path: str) -> Path:
        """Return a file of the logged model."""
        return _path(self.client.get_logged_model(self.model).artifact_location) / path

    def staged(self) -> Path:
        """Return the first staged file."""
        return min((self.journal / "artifacts").iterdir())

    def edit_line(self, number: int, old: bytes, new: bytes, *, mend: bool = False) -> None:
        """Edit a line of the journal; ``mend`` makes the chain whole again."""
        lines = (self.journal / "journal.jsonl").read_bytes().splitlines()
        assert old in lines[number]
        lines[number] = lines[number].replace(old, new)
        for place in range(1, len(lines) if mend else 0):
            before = json.loads(lines[place])["previous"].encode()
            lines[place] = lines[place].replace(before, hashlib.sha256(lines[place - 1]).hexdigest().encode())
        (self.journal / "journal.jsonl").write_bytes(b"\n".join(lines) + b"\n")

    def line_with(self, text: bytes) -> int:
        """Return the place of the first line of the journal that holds a text."""
        lines = (self.journal / "journal.jsonl").read_bytes().splitlines()
        return next(place for place, line in enumerate(lines) if text in line)

    def double_run(self) -> None:
        """Make the step's run a second time."""
        run = self.client.get_run(self.step)
        self.client.create_run(run.info.experiment_id, run.info.start_time, run.data.tags, run.info.run_name)


def _path(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))


def _swap(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, model_file: ModelFile) -> Place:
    """The evaluation that all edits are made to."""
    return Place(tmp_path_factory.mktemp("audit"), model_file)


@pytest.fixture
def place(original: Place) -> Iterator[Place]:
    """The evaluation as it was recorded."""
    original.restore()
    yield original
    original.restore()


ULP = math.nextafter(0.5, 1)
EDITS: dict[str, tuple[Callable[[Place], object], list[Found]]] = {
    "a parameter is changed": (
        lambda at: at.sql("UPDATE params SET value = '0.2' WHERE key = 'rate'"),
        [("parameter", "rate", "changed")],
    ),
    "a parameter is added": (
        lambda at: at.client.log_param(at.step, "more", "1"),
        [("parameter", "more", "added")],
    ),
    "a parameter is removed": (
        lambda at: at.sql("DELETE FROM params WHERE key = 'rate'"),
        [("parameter", "rate", "missing")],
    ),
    "a point is added": (
        lambda at: at.client.log_metric(at.step, "loss", 0.1, timestamp=5, step=3),
        [("metric", "loss at step 3", "added")],
    ),
    "a metric is added": (
        lambda at: at.client.log_metric(at.step, "recall", 0.1),
        [("metric", "recall at step 0", "added")],
    ),
    "a value moves by one ulp": (
        lambda at: at.sql("UPDATE metrics SET value = ? WHERE key = 'loss' AND step = 0", ULP),
        [("metric", "loss at step 0", "changed")],
    ),
    "a value becomes NaN": (
        lambda at: at.sql("UPDATE metrics SET value = 0, is_nan = 1 WHERE key = 'loss' AND step = 0"),
        [("metric", "loss at step 0", "changed")],
    ),
    "a point is removed": (
        lambda at: at.sql("DELETE FROM metrics WHERE key = 'loss' AND step = 1"),
        [("metric", "loss at step 1", "missing")],
    ),
    "a point moves in time": (
        lambda at: at.sql("UPDATE metrics SET timestamp = timestamp + 1 WHERE key = 'loss' AND step = 1"),
        [("metric", "loss at step 1", "added"), ("metric", "loss at step 1", "missing")],
    ),
    "a point moves to another step": (
        lambda at: at.sql("UPDATE metrics SET step = -1 WHERE key = 'loss' AND step = 0"),
        [("metric", "loss at step -1", "added"), ("metric", "loss at step 0", "missing")],
    ),
    "the value that lists show is changed": (
        lambda at: at.sql("UPDATE latest_metrics SET value = 0.9 WHERE key = 'accuracy'"),
        [("metric", "accuracy: last value", "changed")],
    ),
    "the step that lists show is changed": (
        lambda at: at.sql("UPDATE latest_metrics SET step = 9 WHERE key = 'accuracy'"),
        [("metric", "accuracy: last value", "changed")],
    ),
    "the value that lists show is removed": (
        lambda at: at.sql("DELETE FROM latest_metrics WHERE key = 'accuracy'"),
        [("metric", "accuracy: last value", "changed")],
    ),
    "a run is renamed": (
        lambda at: at.client.update_run(at.step, name="other"),
        [("name", "", "changed")],
    ),
    "only the tag of its name is changed": (
        lambda at: at.sql("UPDATE tags SET value = 'x' WHERE key = 'mlflow.runName' AND run_uuid = ?", at.step),
        [("name", "mlflow.runName", "changed")],
    ),
    "a status is changed": (
        lambda at: at.sql("UPDATE runs SET status = 'FAILED' WHERE run_uuid = ?", at.step),
        [("status", "", "changed")],
    ),
    "a start is moved": (
        lambda at: at.sql("UPDATE runs SET start_time = start_time - 1 WHERE run_uuid = ?", at.step),
        [("start time", "", "changed")],
    ),
    "an end is moved": (
        lambda at: at.sql("UPDATE runs SET end_time = end_time + 1 WHERE run_uuid = ?", at.run),
        [("end time", "", "changed")],
    ),
    "an end is taken away": (
        lambda at: at.sql("UPDATE runs SET end_time = NULL WHERE run_uuid = ?", at.run),
        [("end time", "", "changed")],
    ),
    "another parent": (
        lambda at: at.client.set_tag(at.step, "mlflow.parentRunId", at.step),
        [("parent", "", "changed")],
    ),
    "no parent": (
        lambda at: at.client.delete_tag(at.step, "mlflow.parentRunId"),
        [("parent", "", "missing")],
    ),
    "a parent's parent": (
        lambda at: at.client.set_tag(at.run, "mlflow.parentRunId", at.step),
        [("parent", "", "added")],
    ),
    "another experiment": (
        lambda at: at.sql("UPDATE runs SET experiment_id = 0 WHERE run_uuid = ?", at.run),
        [("experiment", "", "changed")],
    ),
    "a tag is changed": (
        lambda at: at.client.set_tag(at.run, "note", "second"),
        [("tag", "note", "changed")],
    ),
    "a tag is added": (
        lambda at: at.client.set_tag(at.run, "hokusai.decision", "accept"),
        [("tag", "hokusai.decision", "added")],
    ),
    "a tag is removed": (
        lambda at: at.client.delete_tag(at.run, "note"),
        [("tag", "note", "missing")],
    ),
    "a run loses its key": (
        lambda at: at.client.delete_tag(at.step, naming.RUN_KEY_TAG),
        [("tag", naming.RUN_KEY_TAG, "missing")],
    ),
    "a run loses its evaluation": (
        lambda at: at.client.delete_tag(at.step, naming.EVALUATION_TAG),
        [("tag", naming.EVALUATION_TAG, "missing")],
    ),
    "a dataset's tag is changed": (
        lambda at: at.client.set_tag(at.step, "hokusai.dataset.base", "cd" * 32),
        [("tag", "hokusai.dataset.base", "changed")],
    ),
    "a dataset's digest is changed": (
        lambda at: at.sql("UPDATE input_tags SET value = 'cd' WHERE name = 'hokusai.digest'"),
        [("dataset", "words: digest", "changed")],
    ),
    "a dataset's context is changed": (
        lambda at: at.sql("UPDATE input_tags SET value = 'benchmark' WHERE name = 'mlflow.data.context'"),
        [("dataset", "words: context", "changed")],
    ),
    "a dataset's source is changed": (
        lambda at: at.sql("""UPDATE datasets SET dataset_source = '{"uri": "other.csv"}'"""),
        [("dataset", "words: source", "changed")],
    ),
    "a dataset's rows are changed": (
        lambda at: at.sql("""UPDATE datasets SET dataset_profile = '{"num_rows": 4, "num_columns": 2}'"""),
        [("dataset", "words: rows", "changed")],
    ),
    "a dataset's columns are changed": (
        lambda at: at.sql("UPDATE datasets SET dataset_schema = replace(dataset_schema, 'species', 'kind')"),
        [("dataset", "words: columns", "changed")],
    ),
    "a dataset is renamed": (
        lambda at: at.sql("UPDATE datasets SET name = 'other'"),
        [("dataset", "other", "added"), ("dataset", "words", "missing")],
    ),
    "a dataset is removed": (
        lambda at: at.sql("DELETE FROM inputs WHERE source_type = 'DATASET'"),
        [("dataset", "words", "missing")],
    ),
    "an artifact is swapped": (
        lambda at: _swap(at.artifact("notes/words.txt")),
        [("artifact", "notes/words.txt", "changed")],
    ),
    "an artifact is added": (
        lambda at: at.client.log_text(at.step, "x", "notes/more.txt"),
        [("artifact", "notes/more.txt", "added")],
    ),
    "an artifact is removed": (
        lambda at: at.artifact("notes/words.txt").unlink(),
        [("artifact", "notes/words.txt", "missing")],
    ),
    "the manifest is edited": (
        lambda at: _replace(at.artifact("manifest.json"), '"size":5', '"size":6'),
        [("artifact", "manifest.json", "changed")],
    ),
    "the manifest is removed": (
        lambda at: at.artifact("manifest.json").unlink(),
        [("artifact", "manifest.json", "missing")],
    ),
    "a model is swapped": (
        lambda at: _swap(at.model_file("model.skops")),
        [("model", "candidate: model.skops", "changed")],
    ),
    "a model is removed": (
        lambda at: at.model_file("model.skops").unlink(),
        [("model", "candidate: model.skops", "missing")],
    ),
    "a file beside a model is added": (
        lambda at: at.model_file("code.py").write_text("x", encoding="utf-8"),
        [("model", "candidate: code.py", "added")],
    ),
    "a model's loader is edited": (
        lambda at: _replace(at.model_file("MLmodel"), "mlflow.sklearn", "mlflow.pytorch"),
        [("model", "candidate: MLmodel: python_function", "changed")],
    ),
    "a model's signature is edited": (
        lambda at: _replace(at.model_file("MLmodel"), '"required": true', '"required": false'),
        [("model", f"candidate: MLmodel: signature {name}", "changed") for name in ("inputs", "outputs")],
    ),
    "a model's trusted types are edited": (
        lambda at: _replace(at.model_file("MLmodel"), "serialization_format: skops", "serialization_format: pickle"),
        [("model", "candidate: MLmodel: sklearn", "changed")],
    ),
    "a model's description is added to": (
        lambda at: _replace(at.model_file("MLmodel"), "prompts: null", "prompts: null\nresources: {}"),
        [("model", "candidate: MLmodel: other fields", "added")],
    ),
    "a model's description is destroyed": (
        lambda at: at.model_file("MLmodel").write_bytes(b"\xff["),
        [("model", "candidate: MLmodel: content", "changed")],
    ),
    "a model's requirements are edited": (
        lambda at: at.model_file("requirements.txt").write_text("evil==1\n", encoding="utf-8"),
        [("model", "candidate: requirements.txt: lines", "changed")],
    ),
    "a model's conda environment is edited": (
        lambda at: _replace(at.model_file("conda.yaml"), "conda-forge", "evil"),
        [("model", "candidate: conda.yaml: channels", "changed")],
    ),
    "a model's Python environment is edited": (
        lambda at: _replace(at.model_file("python_env.yaml"), "-r requirements.txt", "-r other.txt"),
        [("model", "candidate: python_env.yaml: dependencies", "changed")],
    ),
    "a model is not ready any more": (
        lambda at: at.sql("UPDATE logged_models SET status = 3"),
        [("model", "candidate: status", "changed")],
    ),
    "a model gets a tag": (
        lambda at: at.client.set_logged_model_tags(at.model, {"approved": "yes"}),
        [("model", "candidate: tag approved", "added")],
    ),
    "a model loses its key": (
        lambda at: at.client.delete_logged_model_tag(at.model, naming.MODEL_KEY_TAG),
        [("model", "candidate: key", "missing")],
    ),
    "a model is another run's": (
        lambda at: at.sql("UPDATE logged_models SET source_run_id = ?", at.run),
        [("model", "candidate", "added"), ("model", "candidate: run", "changed")],
    ),
    "a model is nobody's output": (
        lambda at: at.sql("DELETE FROM inputs WHERE destination_type = 'MODEL_OUTPUT'"),
        [("model", "candidate: output of its run", "missing")],
    ),
    "a model is doubled": (
        lambda at: at.client.create_logged_model(
            at.client.get_run(at.step).info.experiment_id,
            name="candidate",
            source_run_id=at.step,
            tags={naming.MODEL_KEY_TAG: f"{at.key}:candidate"},
        ),
        [("model", "candidate", "doubled")],
    ),
    "a version's tag is changed": (
        lambda at: at.client.set_model_version_tag("words", "1", "kind", "real"),
        [("model version", "words/1: tag kind", "changed")],
    ),
    "a version's key is changed": (
        lambda at: at.client.set_model_version_tag("words", "1", naming.MODEL_KEY_TAG, "x"),
        [("model version", f"words/1: tag {naming.MODEL_KEY_TAG}", "changed")],
    ),
    "a version gets a tag": (
        lambda at: at.client.set_model_version_tag("words", "1", "approved", "yes"),
        [("model version", "words/1: tag approved", "added")],
    ),
    "a version's source is changed": (
        lambda at: at.sql("UPDATE model_versions SET source = 'models:/m-other'"),
        [("model version", "words/1: source", "changed")],
    ),
    "a version is loaded from elsewhere": (
        lambda at: at.sql("UPDATE model_versions SET storage_location = 'file:///elsewhere'"),
        [("model version", "words/1: location", "changed")],
    ),
    "a version is another run's": (
        lambda at: at.sql("UPDATE model_versions SET run_id = ?", at.step),
        [("model version", "words/1", "added"), ("model version", "words/1: run", "changed")],
    ),
    "a version's status is changed": (
        lambda at: at.sql("UPDATE model_versions SET status = 'FAILED_REGISTRATION'"),
        [("model version", "words/1: status", "changed")],
    ),
    "a version is deleted": (
        lambda at: at.client.delete_model_version("words", "1"),
        [("model version", "words", "missing")],
    ),
    "a version is doubled": (
        lambda at: at.client.create_model_version(
            "words", "file:///elsewhere", run_id=at.run, tags={naming.MODEL_KEY_TAG: f"{at.key}:candidate"}
        ),
        [("model version", "words", "doubled")],
    ),
    "a version is added": (
        lambda at: at.client.create_model_version("words", "file:///elsewhere", run_id=at.run),
        [("model version", "words/2", "added")],
    ),
    "a run's version is changed": (
        lambda at: at.client.set_tag(at.run, naming.MODEL_VERSION_TAG, "words/7"),
        [("tag", naming.MODEL_VERSION_TAG, "changed")],
    ),
    "a run's version is removed": (
        lambda at: at.client.delete_tag(at.run, naming.MODEL_VERSION_TAG),
        [("tag", naming.MODEL_VERSION_TAG, "missing")],
    ),
    "a run is deleted": (
        lambda at: at.client.delete_run(at.step),
        [("run", "train", "deleted")],
    ),
    "a run is doubled": (Place.double_run, [("run", "train", "doubled")]),
    "a run is added": (
        lambda at: at.client.create_run(
            at.client.get_run(at.run).info.experiment_id, tags={"mlflow.parentRunId": at.run}, run_name="more"
        ),
        [("run", "more", "added")],
    ),
    "the journal's last line is edited": (
        lambda at: at.edit_line(-1, b'"time":', b'"time":1'),
        [("journal", naming.JOURNAL_HEAD_TAG, "changed")],
    ),
    "the journal is edited, with its chain mended": (
        lambda at: at.edit_line(at.line_with(b'"accuracy"'), b"0.75", b"0.85", mend=True),
        [("journal", naming.JOURNAL_HEAD_TAG, "changed"), ("metric", "accuracy at step 0", "changed")],
    ),
    "the journal's digest is removed": (
        lambda at: at.client.delete_tag(at.run, naming.JOURNAL_HEAD_TAG),
        [("journal", naming.JOURNAL_HEAD_TAG, "missing")],
    ),
}
SEEN_WITHOUT_JOURNAL = (
    "a parameter is changed",
    "a parameter is added",
    "a parameter is removed",
    "an artifact is swapped",
    "an artifact is added",
    "an artifact is removed",
    "the manifest is removed",
    "a model is swapped",
    "a model is removed",
    "a run is deleted",
)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_named_and_nothing_else_is(edit: str, place: Place) -> None:
    make, expected = EDITS[edit]
    make(place)
    assert found(audit_run(place.settings, place.key)) == expected


@pytest.mark.parametrize("edit", SEEN_WITHOUT_JOURNAL)
def test_mlflows_own_digests_show_an_edit_without_the_journal(edit: str, place: Place) -> None:
    make, expected = EDITS[edit]
    make(place)
    report = audit_run(place.settings, place.key, without_journal=True)
    listed = [item for item in found(report) if edit != "the manifest is removed" or item[1] == "manifest.json"]
    assert listed == expected


def test_an_edited_or_lost_staged_file_is_named(place: Place) -> None:
    staged = place.staged()
    _swap(staged)
    report = audit_run(place.settings, place.key)
    assert found(report) == [("staged file", staged.name, "changed")]
    assert report.differences[0].recorded.startswith(staged.name)
    staged.unlink()
    assert found(audit_run(place.settings, place.key)) == [("staged file", staged.name, "missing")]


def test_a_damaged_journal_is_named_and_mlflows_own_digests_are_checked_instead(place: Place) -> None:
    place.edit_line(place.line_with(b'"accuracy"'), b"0.75", b"0.85")
    _swap(place.artifact("notes/words.txt"))
    report = audit_run(place.settings, place.key)
    assert found(report) == [
        ("artifact", "notes/words.txt", "changed"),
        ("journal", place.key, "damaged"),
    ]
    assert "was edited" in report.differences[0].found


def test_a_journal_that_was_cut_short_is_damaged(place: Place) -> None:
    file = place.journal / "journal.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    assert ("journal", place.key, "damaged") in found(audit_run(place.settings, place.key))


def test_what_was_compared_is_counted_and_a_child_can_be_asked_for_by_any_of_its_names(place: Place) -> None:
    whole = audit_run(place.settings, place.run[:12])
    assert (whole.ok, whole.edits, whole.journal, whole.journals) == (True, (), place.journal, (place.journal,))
    assert {name: whole.checked[name] for name in ("run", "parameter", "dataset", "model version", "journal")} == {
        "run": 2,
        "parameter": 3,
        "dataset": 1,
        "model version": 13,
        "journal": 1,
    }
    place.client.set_tag(place.run, "note", "second")
    for name in (place.step, "train", f"{place.key}:train"):
        child = audit_run(place.settings, name)
        assert (child.ok, child.checked["run"]) == (True, 1)
    place.client.set_tag(place.step, "note", "second")
    assert found(audit_run(place.settings, "train")) == [("tag", "note", "added")]
    (difference,) = audit_run(place.settings, "train").differences
    assert (difference.run, difference.key, difference.found) == ("train", f"{place.key}:train", "second")


def test_a_note_lost_or_of_another_store_changes_nothing(place: Place) -> None:
    (place.journal / "shipping.json").unlink()
    assert audit_run(place.settings, place.key).differences == ()
    place.client.delete_tag(place.step, naming.RUN_KEY_TAG)
    # Without its key and the note the run is known by its name.
    assert found(audit_run(place.settings, place.key)) == [("tag", naming.RUN_KEY_TAG, "missing")]


def test_many_changed_points_are_counted_instead_of_listed(place: Place) -> None:
    for step in range(10, 40):
        place.sql("INSERT INTO metrics VALUES ('loss', 1.0, 5, ?, ?, 0)", place.step, step)
    report = audit_run(place.settings, place.key)
    names = [item.name for item in report.differences]
    assert names[:10] == [f"loss at step {step}" for step in range(10, 20)]
    assert names[10:] == ["loss: 20 more", "loss: last value"]


def test_what_people_may_do_in_mlflow_is_no_difference(place: Place) -> None:
    client = place.client
    client.set_registered_model_alias("words", "champion", "1")
    client.update_registered_model("words", description="ours")
    experiment = client.get_run(place.run).info.experiment_id
    client.set_experiment_tag(experiment, "mlflow.note.content", "about words")
    client.set_tag(place.run, "mlflow.note.content", "looks good")
    client.create_run(experiment, run_name="somebody else's")
    for without in (False, True):
        assert audit_run(place.settings, place.key, without_journal=without).differences == ()
    # An archived experiment takes its runs along.
    client.delete_experiment(experiment)
    for without in (False, True):
        assert audit_run(place.settings, place.key, without_journal=without).differences == ()


def test_the_run_the_store_and_the_journal_must_be_there(place: Place, tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError):
        audit_run(place.settings, "nobody")
    with pytest.raises(JournalError, match=r"no journal here, expected a folder with journal\.jsonl"):
        audit_run(place.settings, place.key, journal=tmp_path)
    with pytest.raises(TrackingError, match="no tracking store here"):
        audit_run(TrackingSettings(uri=f"sqlite:///{tmp_path / 'no.db'}"), place.key)
    assert list(tmp_path.iterdir()) == []
    elsewhere = TrackingSettings(uri=place.settings.uri, journal=tmp_path)
    assert found(audit_run(elsewhere, place.key)) == [("journal", "", "missing")]
    copy = shutil.copytree(place.journal, tmp_path / "a copy")
    assert audit_run(elsewhere, place.key, journal=copy).differences == ()


# --- what a real evaluation, and odd ones, look like -----------------------------------------------------------------


def test_an_evaluation_is_clean_in_a_file(mlflow_store: MlflowAddress, tmp_path: Path) -> None:
    _evaluate_and_audit(mlflow_store.uri, tmp_path / "journals")


@pytest.mark.slow
def test_an_evaluation_is_clean_on_a_server(mlflow_server: MockMlflowServer, tmp_path: Path) -> None:
    settings, key = _evaluate_and_audit(mlflow_server.uri, tmp_path / "journals")
    with closing(sqlite3.connect(mlflow_server.store_uri.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE model_versions SET storage_location = 'file:///elsewhere'")
        connection.execute("UPDATE model_versions SET source = 'models:/m-other'")
    named = [(kind, name.partition(": ")[2], reason) for kind, name, reason in found(audit_run(settings, key))]
    assert named == [("model version", "location", "changed"), ("model version", "source", "changed")]


def _evaluate_and_audit(uri: str, journals: Path) -> tuple[TrackingSettings, str]:
    settings = TrackingSettings(uri=uri, journal=journals)
    report = pipeline.run(penguins_config("dream", settings), shipping=DirectShipping(MlflowStore(uri)))
    key = report.identity.evaluation
    for without in (False, True):
        audited = audit_run(settings, key, without_journal=without)
        assert audited.differences == ()
        assert audited.checked["run"] == 6
    return settings, key


def test_everything_that_a_run_may_record_is_clean(
    mlflow_store: MlflowAddress, record_evaluation: Callable[..., Path]
) -> None:
    folder = record_evaluation(mlflow_store.uri)
    ship(folder, MlflowStore(mlflow_store.uri))
    settings = TrackingSettings(uri=mlflow_store.uri, journal=folder.parent)
    for without in (False, True):
        assert audit_run(settings, folder.name, without_journal=without).differences == ()


def test_odd_names_and_values_are_clean(mlflow_store: MlflowAddress, tmp_path: Path) -> None:
    settings = TrackingSettings(uri=mlflow_store.uri, journal=tmp_path / "journals")
    columns = (("caf\u00e9", "timestamp[us]"), ("x", "bool"))
    odd = DatasetVersion(
        name="caf\udce9", context="base", digest="ef" * 32, rows=0, columns=columns, source="\udce9.csv"
    )
    with hokusai.track("odd", settings=settings, shipping=DirectShipping(MlflowStore(settings.uri))) as run:
        run.log_parameters(
            {"a@b": "x" * 7000, "zero": -0.0, "list": [0.0] * 3000, "none": None, "text": "1.0", "big": 1e22}
        )
        run.log_parameters({"a..b//c": {"b": 1.0, "a": [True, "caf\u00e9"]}})
        run.log_metrics({"recall@10": 0.5, "a//b": math.nan, "../c": math.inf, "d": -math.inf, "e": -0.0})
        run.log_metrics({"d": 0.0}, step=1)
        run.log_series("a//b", [math.nan, 1.0, math.inf, math.nan], first_step=-2)
        run.log_metrics({"a//b": 1.0})
        run.set_tags({"long": "y" * 9000, "lone": "\udce9", "a,b": "c"})
        run.log_dataset(odd)
        run.log_text("caf\u00e9 +1.txt", "\udce9")
    for without in (False, True):
        assert audit_run(settings, run.key, without_journal=without).differences == ()
    long = next((tmp_path / "journals").parent.rglob("long_values/*.txt"))
    _swap(long)
    assert found(audit_run(settings, run.key)) == [("artifact", f"long_values/{long.name}", "changed")]


def test_a_run_that_goes_on_in_other_journals_is_clean_and_each_of_them_counts(
    mlflow_store: MlflowAddress, tmp_path: Path
) -> None:
    settings = TrackingSettings(uri=mlflow_store.uri, journal=tmp_path / "journals")
    shipping = DirectShipping(MlflowStore(settings.uri))
    with hokusai.track("words", settings=settings, shipping=shipping) as run:
        run.log_parameters({"first": 1.0})
        run.log_text("words.txt", "whale")
        link = run.link.to_text()
    for word in ("sea", "ship"):
        with hokusai.resume(link, settings=settings, shipping=shipping) as resumed:
            resumed.log_parameters({word: 1.0})
            resumed.log_text("words.txt", word)
            resumed.set_tags({"last": word})
            resumed.log_metrics({"score": math.inf, word: 1.0})
            with resumed.child("more") as child:
                child.log_text("more.txt", word)
    for without in (False, True):
        report = audit_run(settings, run.key, without_journal=without)
        assert (report.differences, report.checked["run"]) == ((), 3)
    run_id = next(iter(shipping.states.values())).run_ids[run.key]
    last = list(shipping.states)[-1]
    part = last.name.partition(".")[2]
    mlflow_store.client.set_tag(run_id, f"{naming.JOURNAL_HEAD_TAG}.{part}", "x")
    mlflow_store.client.set_tag(run_id, f"{naming.MANIFEST_DIGEST_TAG}.{part}", "x")
    expected = [
        ("journal", f"{naming.JOURNAL_HEAD_TAG}.{part}", "changed"),
        ("tag", f"{naming.MANIFEST_DIGEST_TAG}.{part}", "changed"),
    ]
    assert found(audit_run(settings, run.key)) == expected
    assert found(audit_run(settings, run.key, without_journal=True)) == [
        ("artifact", f"manifest.{part}.json", "changed")
    ]
    # One journal that is taken away leaves what it recorded unaccounted for.
    shutil.rmtree(last)
    names = {item.name for item in audit_run(settings, run.key).differences if item.reason == "added"}
    assert {"ship", "more", f"manifest.{part}.json", f"{naming.JOURNAL_HEAD_TAG}.{part}"} <= names


def test_what_is_not_shipped_yet_is_named_and_a_killed_run_is_clean_after_the_sync(
    mlflow_store: MlflowAddress, open_journal: Callable[[str], FileJournal]
) -> None:
    from hokusai.tracking.run import Tracker
    from hokusai.tracking.shipper import JournalShipper

    journal = open_journal(mlflow_store.uri)
    key = journal.folder.name
    settings = TrackingSettings(uri=mlflow_store.uri, journal=journal.folder.parent)
    store = MlflowStore(mlflow_store.uri)
    tracker = Tracker(journal, evaluation=key, run_name="killed")
    run = tracker.start().__enter__()
    run.log_metrics({"accuracy": 0.5})
    assert JournalShipper(journal.folder, store).advance()
    assert audit_run(settings, key).differences == ()
    run.log_metrics({"accuracy": 0.6}, step=1)
    run.set_tags({"note": "first"})
    with run.child("train") as child:
        child.log_text("words.txt", "whale")
    journal.abandon()
    report = audit_run(settings, key)
    assert found(report) == [
        ("journal", key, "not shipped"),
        ("metric", "accuracy", "not shipped"),
        ("run", "train", "not shipped"),
        ("tag", "note", "not shipped"),
    ]
    assert (report.ok, report.edits) == (False, ())
    state = ship(journal.folder, store)
    assert audit_run(settings, key).differences == ()
    assert audit_run(settings, key, without_journal=True).differences == ()
    assert mlflow_store.client.get_run(state.run_ids[key]).info.status == "KILLED"
