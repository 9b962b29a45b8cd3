"""Whatever was changed in a store since is found, named, and never run."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.reproduction.conftest import COLUMN, ROW, Store, rewrite_cell

from hokusai.errors import ConfigurationError, ReproductionError, RunNotFoundError
from hokusai.reproduction.again import reproduce
from hokusai.reproduction.evaluation_facts import journal_facts
from hokusai.reproduction.plan import GivenFiles
from hokusai.testing.sample_data import penguins_folder


def test_a_parameter_and_a_metric_that_were_edited_in_mlflow_are_found_the_parameter_first(store: Store) -> None:
    edited = "UPDATE params SET value = '7' WHERE key = 'training.threads'"
    assert store.execute(edited) == 1
    edited = "UPDATE latest_metrics SET value = 0.5 WHERE key = 'candidate.accuracy' AND value != 0.5"
    assert store.execute(edited) == 2
    result = store.reproduce()
    first = result.first_difference
    assert first is not None
    assert (result.verdict, first.stage) == ("different", "parameters")
    assert (first.subject, first.recorded, first.found) == ("train_new_model: parameter training.threads", "1", "7")
    assert "changed in the store" in first.note
    # The reproduction itself goes by the settings that were recorded.
    others = ["evaluate_on_benchmark: candidate.accuracy", "evaluation: candidate.accuracy"]
    assert [item.subject for item in result.differences] == [first.subject, *others]
    assert [(item.stage, item.recorded) for item in result.differences[1:]] == [("metrics", "0.5")] * 2


def test_row_scores_that_were_swapped_are_found_with_the_rows_that_differ(store: Store) -> None:
    file = store.file("row_scores.parquet")
    table = pq.read_table(file)
    name = next(each for each in table.column_names if each.startswith("candidate.") and "probability" in each)
    values = table[name].to_numpy().copy()
    values[ROW - 1] += 0.25
    swapped = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(swapped.replace_schema_metadata(table.schema.metadata), file)
    result = store.reproduce()
    first = result.first_difference
    assert first is not None
    assert (result.verdict, first.stage) == ("different", "row scores")
    assert {item.stage for item in result.differences} == {"row scores"}
    notes = [item.note for item in result.differences]
    assert any("changed in the store" in note for note in notes)
    assert any(f"is 0.25, in row {ROW}" in note for note in notes)


def test_a_changed_row_of_a_stored_table_is_named_and_nothing_is_run(store: Store) -> None:
    before = rewrite_cell(store.snapshot("base"))
    runs = len(list(store.folder.glob("mlartifacts/**/configuration.json")))
    result = store.reproduce()
    first = result.first_difference
    assert first is not None
    assert (result.verdict, first.stage, first.subject) == ("different", "data", "base")
    assert f"row {ROW}, {COLUMN!r}: {before:g} has become {before + 100:g}" in first.note.replace(".0", "")
    assert (result.evaluation, result.run_id) == ("", "")
    assert len(list(store.folder.glob("mlartifacts/**/configuration.json"))) == runs


@pytest.mark.slow
def test_a_given_file_takes_the_place_of_a_damaged_table(store: Store) -> None:
    rewrite_cell(store.snapshot("dream"))
    result = store.reproduce(given=GivenFiles(tables={"dream": penguins_folder() / "dream.csv"}))
    # The store's own copy is not what it was, and the evaluation is.
    assert result.verdict == "different"
    assert [(item.stage, item.subject) for item in result.differences] == [("data", "contribution dream")]
    assert "changed in the store" in result.differences[0].note


def test_a_given_file_with_another_row_trains_nothing_and_the_row_is_named(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    lines = (penguins_folder() / "dream.csv").read_text(encoding="utf-8").splitlines()
    lines[ROW] = lines[ROW].replace(lines[ROW].split(",")[1], "11.5")
    file.write_text("\n".join(lines), encoding="utf-8")
    result = store.reproduce(given=GivenFiles(tables={"dream": file}))
    first = result.first_difference
    assert first is not None
    assert (result.verdict, first.stage, first.subject) == ("different", "data", "contribution dream")
    assert first.note.startswith(f"row {ROW}, ")
    assert first.note.endswith("has become 11.5")
    parameters = journal_facts(store.settings.journal / result.evaluation).parameters
    assert "train_new_model" not in parameters


def test_settings_that_were_edited_are_not_run(store: Store) -> None:
    file = store.file("configuration.json")
    file.write_bytes(file.read_bytes().replace(b'"seeds":5', b'"seeds":6'))
    with pytest.raises(ReproductionError, match=r"configuration\.json is not what was recorded") as refused:
        store.reproduce()
    assert refused.value.exit_code == 1


def test_what_is_not_there_is_said(store: Store) -> None:
    with pytest.raises(RunNotFoundError):
        reproduce("nothing", settings=store.settings, reader=store.reader)
    # It had a contract and a baseline model as little as it had a bass.
    for name in ("bass", "contract", "baseline"):
        with pytest.raises(ConfigurationError, match=f"nothing that is called '{name}'; expected one of base, bench"):
            store.reproduce(given=GivenFiles(tables={name: Path("bass.csv")}))
    store.snapshot("benchmark").unlink()
    result = store.reproduce()
    assert result.first_difference is not None
    assert (result.first_difference.stage, result.first_difference.subject) == ("data", "benchmark")
    assert "gone" in result.first_difference.note
