"""Experiments are listed, archived and restored: what is refused, and that nothing is lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hokusai.errors import TrackingError, TrackingServerError
from hokusai.tracking.experiments import archive_experiment, list_experiments, restore_experiment
from hokusai.tracking.journal import JOURNAL_FORMAT, FileJournal
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.naming import EVALUATION_TAG, RUN_KEY_TAG
from hokusai.tracking.operations import EndRun, LogMetrics, OpenJournal, StartRun
from hokusai.tracking.shipper import JournalShipper, ship

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient

    from hokusai.testing.mlflow_server import MockMlflowServer
    from hokusai.testing.plugin import MlflowAddress

NAME = "trials of penguins"


@pytest.fixture
def settings(tmp_path: Path, mlflow_store: MlflowAddress) -> TrackingSettings:
    return TrackingSettings(uri=mlflow_store.uri, journal=tmp_path / "journals")


def open_journal(settings: TrackingSettings, key: str, experiment: str = NAME) -> FileJournal:
    """Open a journal and record the start of an evaluation of two runs."""
    journal = FileJournal(settings.journal / key)
    uri = settings.uri
    journal.append(OpenJournal(format=JOURNAL_FORMAT, evaluation=key, experiment=experiment, tracking_uri=uri))
    for run, parent in ((key, None), (f"{key}:step", key)):
        tags = {RUN_KEY_TAG: run, EVALUATION_TAG: key}
        journal.append(StartRun(run=run, name=run, parent=parent, tags=tags))
    return journal


def evaluate(settings: TrackingSettings, key: str, experiment: str = NAME) -> None:
    """Record an evaluation and ship it."""
    journal = open_journal(settings, key, experiment)
    journal.append(LogMetrics(run=key, metrics={"accuracy": 0.5}))
    for run in (f"{key}:step", key):
        journal.append(EndRun(run=run, status="FINISHED"))
    journal.close()
    ship(journal.folder, MlflowStore(settings.uri))


def run_names(client: MlflowClient, experiment: str = NAME) -> set[str]:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return {run.info.run_name for run in client.search_runs([found.experiment_id])}


# --- list ------------------------------------------------------------------------------------------------------------


def test_an_experiment_is_listed_with_its_tags_and_its_evaluations_are_counted(
    settings: TrackingSettings, mlflow_store: MlflowAddress
) -> None:
    tags = {"purpose": "trial", "owner": "ada", "label": "species", "metric": "accuracy"}
    store = MlflowStore(settings.uri)
    store.ensure_experiment(NAME, tags={f"hokusai.{name}": value for name, value in tags.items()})
    evaluate(settings, "20300102-1")
    evaluate(settings, "20300102-2")
    client = mlflow_store.client
    made = client.get_experiment_by_name(NAME)
    assert made is not None
    client.create_run(made.experiment_id, run_name="somebody else's")
    found, default = list_experiments(settings)
    assert (found.name, found.experiment_id, found.lifecycle) == (NAME, made.experiment_id, "active")
    assert (found.purpose, found.owner, found.label, found.metric) == ("trial", "ada", "species", "accuracy")
    assert found.evaluations == 2
    last_end = max(run.info.end_time or 0 for run in client.search_runs([made.experiment_id]))
    assert (found.created, found.updated) == (made.creation_time, max(last_end, made.last_update_time or 0))
    assert found.updated > found.created
    assert (default.name, default.evaluations, default.owner) == ("Default", 0, "")


def test_more_experiments_than_a_page_of_mlflow_are_all_listed_with_their_counts(
    settings: TrackingSettings, mlflow_server: MockMlflowServer
) -> None:
    server = TrackingSettings(uri=mlflow_server.uri, journal=settings.journal)
    store = MlflowStore(server.uri)
    ids = [store.ensure_experiment(f"experiment {number}", tags={}) for number in range(30)]
    for number, experiment_id in enumerate(ids[:3]):
        for evaluation in range(number):
            tags = {RUN_KEY_TAG: f"{evaluation}", EVALUATION_TAG: f"{evaluation}"}
            store.create_run(experiment_id, name="e", started_at=1, parent_id=None, tags=tags)
    before = len(mlflow_server.requests)
    found = {experiment.name: experiment.evaluations for experiment in list_experiments(server)}
    assert len(found) == 31
    assert [found[f"experiment {number}"] for number in range(4)] == [0, 1, 2, 0]
    # Two, however many experiments there are.
    assert len(mlflow_server.requests) - before == 2


def test_listing_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mlflow.db"
    with pytest.raises(TrackingError, match="no tracking store here"):
        list_experiments(TrackingSettings(uri=f"sqlite:///{path}"))
    assert not path.exists()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackingError, match=r"mlflow\.db: no tracking store here"):
        list_experiments(TrackingSettings())
    assert list(tmp_path.iterdir()) == []


# --- archive and restore ---------------------------------------------------------------------------------------------


def test_an_archived_experiment_is_hidden_with_its_runs_and_comes_back_whole(
    settings: TrackingSettings, mlflow_store: MlflowAddress
) -> None:
    evaluate(settings, "20300102-1")
    client = mlflow_store.client
    runs = run_names(client)
    assert len(runs) == 2

    archived = archive_experiment(settings, NAME)
    assert (archived.lifecycle, archived.evaluations) == ("archived", 1)
    assert [experiment.name for experiment in list_experiments(settings)] == ["Default"]
    assert list_experiments(settings, archived=True) == (archived,)
    assert run_names(client) == set()
    assert MlflowStore(settings.uri).list_evaluations() == ()

    restored = restore_experiment(settings, NAME)
    assert (restored.lifecycle, restored.evaluations) == ("active", 1)
    assert restored.experiment_id == archived.experiment_id
    assert list_experiments(settings, archived=True) == ()
    assert run_names(client) == runs


def test_runs_that_were_deleted_one_by_one_stay_deleted(
    settings: TrackingSettings, mlflow_store: MlflowAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hokusai.tracking.mlflow_client._RUNS_PER_TAG", 2)
    for key in ("1", "2", "3"):
        evaluate(settings, key)
    client = mlflow_store.client
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    for run in client.search_runs([experiment.experiment_id]):
        if run.info.run_name not in {"2", "2:step"}:
            client.delete_run(run.info.run_id)
    archived = archive_experiment(settings, NAME)
    assert archived.evaluations == 1
    assert list_experiments(settings, archived=True)[0].evaluations == 1
    assert restore_experiment(settings, NAME).evaluations == 1
    assert run_names(client) == {"2", "2:step"}
    after = client.get_experiment_by_name(NAME)
    assert after is not None
    assert [tag for tag in after.tags if "deleted" in tag] == []


def test_an_archived_name_stays_taken_and_the_shipper_says_what_to_do_about_it(settings: TrackingSettings) -> None:
    evaluate(settings, "20300102-1")
    archive_experiment(settings, NAME)
    with pytest.raises(TrackingServerError, match=r"is archived there.*`hokusai experiments restore`") as caught:
        evaluate(settings, "20300102-2")
    assert not caught.value.is_outage
    restore_experiment(settings, NAME)
    assert ship(settings.journal / "20300102-2", MlflowStore(settings.uri)).complete
    assert list_experiments(settings)[0].evaluations == 2


def test_a_journal_whose_experiment_is_archived_while_it_ships_is_healed_by_restoring(
    settings: TrackingSettings, mlflow_store: MlflowAddress
) -> None:
    journal = open_journal(settings, "20300102-1")
    journal.abandon()
    store = MlflowStore(settings.uri)
    JournalShipper(journal.folder, store).advance()
    archive_experiment(settings, NAME, force=True)
    with pytest.raises(TrackingServerError, match="active"):
        ship(journal.folder, store)
    restore_experiment(settings, NAME)
    assert ship(journal.folder, store).complete
    experiment = mlflow_store.client.get_experiment_by_name(NAME)
    assert experiment is not None
    runs = mlflow_store.client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["KILLED", "KILLED"]


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [archive_experiment, restore_experiment])
def test_an_experiment_that_is_not_there_is_refused_with_names_like_it(
    change: object, settings: TrackingSettings
) -> None:
    store = MlflowStore(settings.uri)
    store.ensure_experiment(NAME, tags={})
    assert callable(change)
    with pytest.raises(TrackingError, match=r"no experiment 'trials of penguin' .*Did you mean 'trials of penguins'"):
        change(settings, "trials of penguin")
    with pytest.raises(TrackingError, match=r"no experiment 'zzz' in [^?]*experiments list") as caught:
        change(settings, "zzz")
    assert "Did you mean" not in str(caught.value)


def test_what_is_so_already_is_refused(settings: TrackingSettings) -> None:
    evaluate(settings, "20300102-1")
    with pytest.raises(TrackingError, match="is not archived"):
        restore_experiment(settings, NAME)
    archive_experiment(settings, NAME)
    with pytest.raises(TrackingError, match="is archived already"):
        archive_experiment(settings, NAME)


@pytest.mark.parametrize("force", [False, True])
def test_the_default_experiment_is_never_archived(settings: TrackingSettings, *, force: bool) -> None:
    with pytest.raises(TrackingError, match="default one"):
        archive_experiment(settings, "Default", force=force)
    assert [experiment.name for experiment in list_experiments(settings)] == ["Default"]


def test_an_experiment_with_a_journal_at_work_is_archived_by_force_only(settings: TrackingSettings) -> None:
    MlflowStore(settings.uri).ensure_experiment(NAME, tags={})
    journal = open_journal(settings, "20300102-1")
    with pytest.raises(TrackingError, match=r"20300102-1 is being written\. .*--force") as caught:
        archive_experiment(settings, NAME)
    assert "RUNNING" not in str(caught.value)
    assert archive_experiment(settings, NAME, force=True).is_archived
    journal.close()


def test_a_journal_at_work_for_another_experiment_or_store_does_not_matter(settings: TrackingSettings) -> None:
    MlflowStore(settings.uri).ensure_experiment(NAME, tags={})
    other = open_journal(settings, "20300102-1", "another")
    elsewhere = FileJournal(settings.journal / "20300102-2")
    header = OpenJournal(format=JOURNAL_FORMAT, evaluation="2", experiment=NAME, tracking_uri="http://127.0.0.1:1")
    elsewhere.append(header)
    (settings.journal / "20300102-3").mkdir()
    (settings.journal / "20300102-3" / "journal.jsonl").write_bytes(b"damaged\n")
    assert archive_experiment(settings, NAME).is_archived
    other.close()
    elsewhere.close()


def test_an_experiment_with_running_runs_is_archived_by_force_only(
    settings: TrackingSettings, mlflow_store: MlflowAddress
) -> None:
    experiment = MlflowStore(settings.uri).ensure_experiment(NAME, tags={})
    for number in range(4):
        mlflow_store.client.create_run(experiment, run_name=f"run {number}")
    with pytest.raises(TrackingError, match=r"4 of its runs are RUNNING: 'run \d', 'run \d', 'run \d' and others"):
        archive_experiment(settings, NAME)
    assert archive_experiment(settings, NAME, force=True).is_archived
