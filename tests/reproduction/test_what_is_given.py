"""What the store does not hold has to be given, and what may not run does not."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyarrow.csv import read_csv, write_csv
from sklearn.linear_model import LogisticRegression
from tests.reproduction.conftest import record_penguins

from hokusai.benchmark_reuse import split_benchmark
from hokusai.config import load_config
from hokusai.datasets.contract_file import write_contract
from hokusai.datasets.contract_inference import infer_contract
from hokusai.digests import file_sha256
from hokusai.errors import ConfigurationError, ReproductionError
from hokusai.records import MODEL_SHA256_TAG
from hokusai.reproduction.evaluation_facts import journal_facts
from hokusai.reproduction.plan import GivenFiles
from hokusai.testing.sample_data import penguins_folder
from hokusai.tracking.mlflow_ledger import BenchmarkLedger
from hokusai.tracking.sqlite_store import create_sqlite_store

with warnings.catch_warnings(action="ignore"):  # MLflow warns while it is imported
    from mlflow import MlflowClient

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reproduction.conftest import Store

    from hokusai.datasets.reader_process import TableReader


TRAINER = "from sklearn.linear_model import LogisticRegression\n\ndef make():\n    return LogisticRegression()\n"


@pytest.mark.slow
def test_code_of_ones_own_runs_only_when_it_is_trusted(tmp_path: Path, reader: TableReader) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "own_reproduced_trainer.py").write_text(TRAINER, encoding="utf-8")
    settings = {"training.estimator": "own_reproduced_trainer:make", "training.parameters": {}}
    store = record_penguins(project, tmp_path / "store", reader, **settings)
    shutil.rmtree(project)
    with pytest.raises(ReproductionError, match=r"code/own_reproduced_trainer\.py.*--trust-code"):
        store.reproduce()
    # As on another machine, where nobody has imported it.
    del sys.modules["own_reproduced_trainer"]
    file = store.file("own_reproduced_trainer.py")
    assert store.reproduce(given=GivenFiles(trust_code=True)).verdict == "identical"
    trace = tmp_path / "it-ran"
    file.write_text(f"{TRAINER}open({str(trace)!r}, 'w').close()\n", encoding="utf-8")
    del sys.modules["own_reproduced_trainer"]
    with pytest.raises(ReproductionError, match="was changed afterwards"):
        store.reproduce(given=GivenFiles(trust_code=True))
    assert not trace.exists()


@pytest.mark.slow
def test_tables_that_are_not_stored_are_asked_for(tmp_path: Path, reader: TableReader) -> None:
    project = tmp_path / "project"
    store = record_penguins(project, tmp_path / "store", reader, **{"data.snapshots": "never"})
    with pytest.raises(ReproductionError, match="--data base=FILE gives it") as refused:
        store.reproduce()
    assert refused.value.exit_code == 2
    names = ("base", "benchmark", "dream")
    tables = {name: penguins_folder() / f"{name}.csv" for name in names}
    assert store.reproduce(given=GivenFiles(tables=tables)).verdict == "identical"


@pytest.mark.slow
def test_columns_that_were_not_used_and_personal_data_that_were_hashed_are_not_needed(
    tmp_path: Path, reader: TableReader
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    key = project / "hash.key"
    key.write_text("k" * 64, encoding="ascii")
    tables = {name: read_csv(penguins_folder() / f"{name}.csv") for name in ("base", "benchmark", "dream")}
    shutil.copytree(penguins_folder(), project, dirs_exist_ok=True)
    for name, table in tables.items():
        mails = pa.array([f"{name}.{number}@example.org" for number in range(table.num_rows)])
        unused = pa.array(range(table.num_rows))
        write_csv(table.append_column("mail", mails).append_column("unused", unused), project / f"own_{name}.csv")
    settings = {
        "data.base": project / "own_base.csv",
        "data.benchmark": project / "own_benchmark.csv",
        "data.contributions": [{"path": str(project / "own_dream.csv")}],
        "data.exclude": ["unused"],
        "data.personal_data": {"email": "hash"},
        "data.hash_key_file": key,
    }
    store = record_penguins(project, tmp_path / "store", reader, **settings)
    shutil.rmtree(project)
    result = store.reproduce()
    assert (result.verdict, result.differences) == ("identical", ())
    assert result.left_out == ("data.personal_data.",)


@pytest.mark.slow
def test_a_sealed_decision_is_taken_again_with_the_key_and_spends_nothing(tmp_path: Path, reader: TableReader) -> None:
    project, folder = tmp_path / "project", tmp_path / "store"
    create_sqlite_store(folder / "mlflow.db")
    shutil.copytree(penguins_folder(), project)
    flags = {"tracking.uri": f"sqlite:///{folder / 'mlflow.db'}", "delta.minimum_positives": 5}
    flags |= {"delta.minimum_discordant_rows": 5}
    config = load_config(project / "evaluation.toml", flags=flags).config
    key = tmp_path / "benchmark.key"
    split_benchmark(config, key_file=key, decisions=10)
    store = record_penguins(project, folder, reader, **flags, **{"delta.benchmark_key_file": key})
    shutil.rmtree(project)
    benchmark = json.loads(store.file("decision_rule.json").read_bytes())["benchmark_sha256"]
    spent = BenchmarkLedger(store.settings.uri).read(benchmark)
    assert [each.evaluation for each in spent.spent] == [store.evaluation]

    with pytest.raises(ReproductionError, match="--benchmark-key FILE gives it"):
        store.reproduce()
    result = store.reproduce(given=GivenFiles(benchmark_key=key))
    assert (result.verdict, result.differences) == ("identical", ())
    assert BenchmarkLedger(store.settings.uri).read(benchmark) == spent

    # Other data get no answer by it: they are refused before anything is trained.
    other = tmp_path / "other.csv"
    lines = (penguins_folder() / "dream.csv").read_text(encoding="utf-8").splitlines()
    other.write_text("\n".join(lines[:-1]), encoding="utf-8")
    given = GivenFiles(benchmark_key=key, tables={"dream": other})
    refused = store.reproduce(given=given)
    assert refused.first_difference is not None
    assert (refused.verdict, refused.first_difference.stage) == ("different", "data")
    facts = journal_facts(store.settings.journal / refused.evaluation)
    assert facts.row_scores is None
    assert "train_new_model" not in facts.parameters
    assert BenchmarkLedger(store.settings.uri).read(benchmark) == spent


# --- a baseline model ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_champion_is_taken_by_the_version_that_it_was_then(store: Store, tmp_path: Path) -> None:
    client = MlflowClient(store.settings.uri)
    client.set_registered_model_alias("hokusai-penguins", "champion", "1")
    settings = {"baseline.source": "models:/hokusai-penguins@champion"}
    compared = record_penguins(tmp_path / "project", store.folder, store.reader, **settings)
    shutil.rmtree(tmp_path / "project")
    # The evaluation has registered a candidate of its own, which becomes the champion.
    client.set_registered_model_alias("hokusai-penguins", "champion", "2")
    result = compared.reproduce()
    assert (result.verdict, result.differences) == ("identical", ())
    assert result.sources["baseline"] == "models:/hokusai-penguins/1"


@pytest.mark.slow
def test_a_baseline_model_that_was_a_file_is_looked_for_by_its_digest_and_else_asked_for(
    store: Store, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    file = tmp_path / "mine.skops"
    shutil.copyfile(store.file("model.skops"), project / "baseline.skops")
    shutil.copyfile(store.file("model.skops"), file)
    settings = {"baseline.source": str(project / "baseline.skops")}
    compared = record_penguins(project, store.folder, store.reader, **settings)
    shutil.rmtree(project)
    found = compared.reproduce()
    assert (found.verdict, found.differences) == ("identical", ())
    # Its own candidate came out as the same file, so that any of the two will do.
    assert found.sources["baseline"] in {"models:/hokusai-penguins/1", "models:/hokusai-penguins/2"}

    # Where none is of that digest, it has to be given, and it has to be that one.
    assert store.execute("UPDATE model_version_tags SET value = '' WHERE key = ?", MODEL_SHA256_TAG)
    store.execute("UPDATE logged_model_tags SET tag_value = '' WHERE tag_key = ?", MODEL_SHA256_TAG)
    runs = len(list(store.folder.glob("mlartifacts/**/configuration.json")))
    with pytest.raises(ReproductionError, match=rf"{file_sha256(file)}; --data baseline=FILE gives it") as refused:
        compared.reproduce()
    assert refused.value.exit_code == 2
    assert len(list(store.folder.glob("mlartifacts/**/configuration.json"))) == runs
    given = compared.reproduce(given=GivenFiles(tables={"baseline": file}))
    assert (given.verdict, given.differences, given.limits) == ("identical", (), ())
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(ConfigurationError, match=r"--data baseline: .*mine\.skops: its SHA-256 is"):
        compared.reproduce(given=GivenFiles(tables={"baseline": file}))


@pytest.mark.slow
def test_a_baseline_model_that_runs_code_is_not_loaded_without_consent(tmp_path: Path, reader: TableReader) -> None:
    project = tmp_path / "project"
    project.mkdir()
    model = LogisticRegression().fit(np.array([[1.0] * 4, [2.0] * 4]), ["Adelie", "Gentoo"])
    model.feature_names_in_ = np.array(["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"])
    file = project / "baseline.pkl"
    file.write_bytes(pickle.dumps(model))
    settings = {"baseline.source": str(file), "baseline.trusted_sha256": file_sha256(file)}
    store = record_penguins(project, tmp_path / "store", reader, **settings)
    tables = {"baseline": file}
    with pytest.raises(ReproductionError, match=r"runs code when it is loaded.*--trust-code"):
        store.reproduce(given=GivenFiles(tables=tables))
    assert store.reproduce(given=GivenFiles(tables=tables, trust_code=True)).verdict == "identical"


# --- what is no table of the evaluation's own ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_decoy_is_left_out_or_given_and_another_one_is_a_difference(tmp_path: Path, reader: TableReader) -> None:
    project, decoy = tmp_path / "project", tmp_path / "kept_decoy.csv"
    project.mkdir()
    shutil.copyfile(penguins_folder() / "torgersen.csv", project / "decoy.csv")
    shutil.copyfile(project / "decoy.csv", decoy)
    store = record_penguins(project, tmp_path / "store", reader, **{"data.decoy": project / "decoy.csv"})
    shutil.rmtree(project)
    without = store.reproduce()
    assert (without.verdict, without.differences) == ("identical", ())
    assert "data.decoy" in without.left_out
    assert without.limits == ("the decoy test is not done again: a decoy is never stored; --data decoy=FILE gives it.",)
    result = store.reproduce(given=GivenFiles(tables={"decoy": decoy}))
    assert (result.verdict, result.differences, result.limits, result.left_out) == ("identical", (), (), ())
    decoy.write_bytes((penguins_folder() / "torgersen_mislabelled.csv").read_bytes())
    other = store.reproduce(given=GivenFiles(tables={"decoy": decoy}))
    assert other.first_difference is not None
    assert (other.verdict, other.first_difference.subject) == (
        "different",
        "integrate_contributed_data: data.decoy",
    )


@pytest.mark.slow
def test_a_data_contract_is_needed_for_tables_that_are_given_and_for_no_others(
    tmp_path: Path, reader: TableReader
) -> None:
    project, contract = tmp_path / "project", tmp_path / "kept.toml"
    project.mkdir()
    text = write_contract(infer_contract(read_csv(penguins_folder() / "base.csv"), label="species"))
    # The classes and ranges of the base would refuse what is offered.
    lines = [line for line in text.splitlines() if not line.startswith(("classes", "minimum", "maximum", "allowed"))]
    contract.write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copyfile(contract, project / "contract.toml")
    store = record_penguins(project, tmp_path / "store", reader, **{"data.contract": project / "contract.toml"})
    shutil.rmtree(project)
    stored = store.reproduce()
    assert (stored.verdict, stored.differences, stored.left_out) == ("identical", (), ("data.contract",))
    tables = {"dream": penguins_folder() / "dream.csv"}
    with pytest.raises(ReproductionError, match="--data contract=FILE gives it"):
        store.reproduce(given=GivenFiles(tables=tables))
    result = store.reproduce(given=GivenFiles(tables=tables | {"contract": contract}))
    assert (result.verdict, result.differences, result.left_out) == ("identical", (), ())
    contract.write_text(contract.read_text(encoding="utf-8") + "# more\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"--data contract: .*kept\.toml: its SHA-256 is"):
        store.reproduce(given=GivenFiles(tables=tables | {"contract": contract}))


# --- other evaluations -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_several_contributors_have_the_same_weights_again(tmp_path: Path, reader: TableReader) -> None:
    project = tmp_path / "project"
    project.mkdir()
    contributions = [
        {"path": str(project / "dream.csv"), "name": "north", "contributor": "0xabc", "licence": "CC0-1.0"},
        {"path": str(project / "torgersen.csv"), "contributor": "Ada", "sample_rows": 20},
        {"path": str(project / "torgersen_mislabelled.csv"), "name": "wrong", "contributor": "0xabc"},
    ]
    store = record_penguins(project, tmp_path / "store", reader, **{"data.contributions": contributions})
    shutil.rmtree(project)
    before = json.loads(store.file("statement.json").read_bytes())["predicate"]["claim"]["contributors"]
    result = store.reproduce()
    assert (result.verdict, result.differences) == ("identical", ())
    assert set(result.sources) == {"base", "benchmark", "north", "torgersen", "wrong"}
    again = store.settings.journal / result.evaluation / "statement.json"
    assert json.loads(again.read_bytes())["predicate"]["claim"]["contributors"] == before
    assert [item["contributor"] for item in before] == ["0xabc", "Ada", "0xabc"]


@pytest.mark.slow
def test_a_regression_with_weights_groups_and_slices_comes_out_the_same(tmp_path: Path, reader: TableReader) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("base", "benchmark", "dream"):
        table = read_csv(penguins_folder() / f"{name}.csv")
        table = table.append_column("weight", pa.array([1.0 + number % 3 for number in range(table.num_rows)]))
        if name == "benchmark":
            rows = range(table.num_rows)
            table = table.append_column("importance", pa.array([1.0 + number % 2 for number in rows]))
            table = table.append_column("colony", pa.array([f"colony {number // 4}" for number in rows]))
            table = table.append_column("season", pa.array([2007 + number % 3 for number in rows]))
        write_csv(table, project / f"own_{name}.csv")
    settings = {
        "data.base": project / "own_base.csv",
        "data.benchmark": project / "own_benchmark.csv",
        "data.contributions": [{"path": str(project / "own_dream.csv")}],
        "data.label": "body_mass_g",
        "data.sample_weight": "weight",
        "training.estimator": "HistGradientBoostingRegressor",
        "training.parameters": {"max_iter": 5},
        "training.seeds": 2,
        "delta.metric": "rmse",
        "evaluation.sample_weight": "importance",
        "evaluation.group": "colony",
        "evaluation.slices": ["season"],
    }
    store = record_penguins(project, tmp_path / "store", reader, **settings)
    shutil.rmtree(project)
    subsets = json.loads(store.file("delta.json").read_bytes())["subsets"]
    result = store.reproduce()
    assert (result.verdict, result.differences) == ("identical", ())
    assert {item["name"] for item in subsets} >= {"season=2007", "season=2008", "season=2009"}


@pytest.mark.slow
@pytest.mark.parametrize(("library", "estimator"), [("lightgbm", "LGBMClassifier"), ("xgboost", "XGBClassifier")])
def test_boosted_trees_of_other_libraries_come_out_the_same(
    library: str, estimator: str, tmp_path: Path, reader: TableReader
) -> None:
    pytest.importorskip(library)
    settings = {"training.estimator": estimator, "training.parameters": {"n_estimators": 5}, "training.seeds": 2}
    # XGBoost knows no class that only contributions bring.
    settings |= {"data.contributions": [{"path": str(tmp_path / "project" / "torgersen.csv")}]}
    store = record_penguins(tmp_path / "project", tmp_path / "store", reader, **settings)
    shutil.rmtree(tmp_path / "project")
    result = store.reproduce(workers=2)
    assert (result.verdict, result.differences) == ("identical", ())
