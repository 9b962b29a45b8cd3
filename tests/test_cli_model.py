"""``hokusai model``: what each command prints, and what it returns to a script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from hokusai.testing.example_runs import ExampleRuns

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome

    from hokusai.records import DeltaReport

NAME = "hokusai-penguins"


@dataclass(frozen=True)
class Evaluated:
    """A store with two evaluations, and what they said."""

    uri: str
    reports: tuple[DeltaReport, ...]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("evaluated")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with ExampleRuns(uri, folder / "journals") as runs, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        reports = runs.history(2)
        runs.client.set_registered_model_alias(NAME, "champion", "1")
    return Evaluated(uri, reports)


@pytest.fixture
def model(
    evaluated: Evaluated, call: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Call a subcommand on the evaluated store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(command: str, *arguments: str, uri: str = evaluated.uri) -> Outcome:
        return call("model", command, *arguments, "--tracking-uri", uri)

    return run


def words(line: str) -> list[str]:
    return line.split()


def test_list_prints_models_and_versions_with_what_people_choose_by(model: Callable[..., Outcome]) -> None:
    models = model("list")
    assert (models.code, models.err) == (0, "")
    line = next(line for line in models.out.splitlines() if NAME in line)
    assert words(line)[:2] == [NAME, "2"]
    assert "champion: 1" in line
    rows = [words(line) for line in model("list", NAME).out.splitlines() if line.strip()[:1].isdigit()]
    assert [row[0] for row in rows] == ["1", "2"]
    assert {"champion", "accept", "+0.2017", "LogisticRegression", "dream"} <= set(rows[0])
    first, second = model("list", NAME, "--json").value
    assert (first["version"], first["decision"], first["gain"]) == ("1", "accept", "+0.2017 accuracy")
    assert (second["contributors"], "champion" in second["aliases"]) == (["torgersen"], False)
    assert len(first["digest"]) == 64
    assert model("list", "--json").value[0]["aliases"]["champion"] == "1"


def test_show_prints_everything_of_a_model(evaluated: Evaluated, model: Callable[..., Outcome]) -> None:
    done = model("show", f"{NAME}@champion")
    assert (done.code, done.err) == (0, "")
    run_id = evaluated.reports[0].tracking.runs[0].run_id if evaluated.reports[0].tracking else None
    digests = [version.digest for version in evaluated.reports[0].datasets]
    for expected in (f"models:/{NAME}/1", str(run_id), *digests, "model.skops", "bill_length_mm", "scikit-learn=="):
        assert expected in done.out
    value = model("show", f"{NAME}/1", "--json").value
    assert set(value["digests"]) == set(value["files"]) - {"hokusai-manifest.json"}
    assert value["size"] == sum(value["files"].values())


def test_pull_verify_and_a_file_that_was_edited(model: Callable[..., Outcome], tmp_path: Path) -> None:
    done = model("pull", f"{NAME}/1", "--to", "mine")
    assert (done.code, done.err) == (0, "")
    assert "every file has the recorded digest" in done.out
    assert str(tmp_path / "mine") in done.out
    assert model("pull", f"{NAME}/1", "--to", "mine", "--json").value["is_new"] is False
    for source in ("mine", f"{NAME}/1"):
        check = model("verify", source)
        assert (check.code, check.err) == (0, "")
        assert "every file has the recorded digest" in check.out
    assert model("verify", "mine", f"{NAME}/2").code == 1
    (tmp_path / "mine" / "model.skops").write_bytes(b"swapped")
    edited = model("verify", "mine")
    assert edited.code == 1
    assert "model.skops" in edited.out
    value = model("verify", "mine", "--json").value
    assert (value["ok"], [item["path"] for item in value["differences"]]) == (False, ["model.skops"])
    refused = model("pull", f"{NAME}/2", "--to", "mine")
    assert refused.code == 2
    assert "something else" in refused.err


def test_a_swapped_file_in_the_store_is_refused_with_its_name(model: Callable[..., Outcome]) -> None:
    location = model("show", f"{NAME}/2", "--json").value["version"]["location"]
    file = Path(urlsplit(location).path) / "model.skops"
    content = file.read_bytes()
    file.write_bytes(b"swapped")
    try:
        refused = model("pull", f"{NAME}/2", "--to", "mine")
        check = model("verify", f"{NAME}/2")
    finally:
        file.write_bytes(content)
    assert refused.code == 2
    assert "model.skops is not what was recorded" in refused.err
    assert (check.code, "model.skops" in check.out) == (1, True)
    assert not Path("mine").exists()


def test_diff_tells_what_differs(model: Callable[..., Outcome]) -> None:
    done = model("diff", f"{NAME}/1", f"{NAME}/2")
    assert (done.code, done.err) == (0, "")
    value = model("diff", f"{NAME}/1", f"{NAME}/2", "--json").value["differences"]
    found = {(item["part"], item["name"]): (item["first"], item["second"]) for item in value}
    assert found["tag", "hokusai.decision"] == ("accept", "not enough evidence")
    assert found["parameter", "data.contributions"] == ('["dream"]', '["torgersen"]')
    assert found["dataset", "contribution dream"][1] is None
    assert ("file", "model.skops") in found
    assert ("dataset", "base base") not in found
    for part, name in found:
        assert part in done.out
        assert name[:12] in done.out
    assert "do not differ" in model("diff", f"{NAME}/1", f"{NAME}@champion").out


def test_lineage_answers_both_ways(evaluated: Evaluated, model: Callable[..., Outcome]) -> None:
    datasets = {version.name: version.digest for version in evaluated.reports[0].datasets}
    origin = model("lineage", f"{NAME}/1")
    assert (origin.code, origin.err) == (0, "")
    made_from, measured_on = origin.out.split("measured on")
    assert {word for word in words(made_from) if word == datasets["dream"][:12]}
    assert datasets["benchmark"][:12] in measured_on
    for asked, expected in (
        (datasets["dream"], [1]),
        (datasets["dream"][:8], [1]),
        ("dream", [1]),
        (datasets["base"], [1, 2]),
    ):
        found = model("lineage", "--dataset", asked)
        assert [number for number in (1, 2) if f"models:/{NAME}/{number}" in found.out] == expected
        assert found.code == 0
    nothing = model("lineage", "--dataset", "nobody")
    assert (nothing.code, "no registered model" in nothing.out) == (1, True)
    assert model("lineage", "--dataset", "dream", "--json").value[0]["version"]["version"] == "1"


def test_an_unknown_model_is_refused_with_what_comes_near(model: Callable[..., Outcome]) -> None:
    unknown = model("show", "hokusai-pinguins/1")
    assert unknown.code == 2
    assert f"Did you mean {NAME}?" in unknown.err
    assert "1." not in model("pull", f"{NAME}/9").out
    assert f"{NAME}@champion, {NAME}/2, {NAME}/1?" in model("pull", f"{NAME}/9").err


def test_a_store_without_models_and_no_store_at_all_are_told_apart(
    model: Callable[..., Outcome], tmp_path: Path
) -> None:
    from hokusai.tracking.sqlite_store import create_sqlite_store

    create_sqlite_store(tmp_path / "empty.db")
    empty = model("list", uri=f"sqlite:///{tmp_path / 'empty.db'}")
    assert (empty.code, "No registered models" in empty.out) == (0, True)
    assert model("list", "--json", uri=f"sqlite:///{tmp_path / 'empty.db'}").value == []
    missing = model("list", uri=f"sqlite:///{tmp_path / 'missing.db'}")
    assert (missing.code, "no tracking store here" in missing.err) == (2, True)
    assert not (tmp_path / "missing.db").exists()
