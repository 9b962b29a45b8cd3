"""``hokusai check`` and ``hokusai contract infer``: what they print, write, refuse and return."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hokusai.config import load_config
from hokusai.datasets.contract_file import load_contract

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Outcome


@pytest.fixture
def project(tmp_path: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that ``hokusai init`` writes, to stand in."""
    shutil.copytree(demo_data, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- check -----------------------------------------------------------------------------------------------------------


def broken(project: Path) -> str:
    """A copy of Dream's rows, of which a column holds nothing."""
    lines = (project / "dream.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split(",") for line in lines[1:]]
    text = "\n".join([lines[0], *(",".join(["", *row[1:]]) for row in rows)]) + "\n"
    (project / "broken.csv").write_text(text, encoding="utf-8")
    return "broken.csv"


def test_an_honest_file_passes_with_what_is_good_to_know(project: Path, call: Callable[..., Outcome]) -> None:
    assert project.is_dir()
    done = call("check", "dream.csv")
    assert (done.code, done.err) == (0, "")
    assert "dream.csv: 80 rows, 5 columns" in done.out
    assert "note" in done.out
    assert "the base data have no row with the label 'Chinstrap'." in done.out
    assert "Found: 0 errors, 0 warnings, " in done.out


@pytest.mark.parametrize(("fail_on", "code"), [("error", 1), ("warning", 1), ("never", 0)])
def test_the_exit_code_is_what_was_asked_for(
    project: Path, call: Callable[..., Outcome], fail_on: str, code: int
) -> None:
    done = call("check", broken(project), "--fail-on", fail_on)
    assert done.code == code
    assert "has no value in any row" in done.out
    assert done.out.index("error") < done.out.index("note")


def test_the_report_is_printed_as_json_and_written_as_a_page(project: Path, call: Callable[..., Outcome]) -> None:
    done = call("check", broken(project), "--json", "--html", "check.html")
    document = json.loads(done.out)
    assert (document["format"], document["worst"], done.code) == ("hokusai-check/1", "error", 1)
    assert "empty_column" in {finding["check"] for finding in document["findings"]}
    assert "has no value in any row" in (project / "check.html").read_text(encoding="utf-8")
    assert not list(project.glob("*.partial"))


@pytest.mark.parametrize("page", [".", "nowhere/check.html"])
def test_a_page_that_cannot_be_written_is_refused_first(project: Path, call: Callable[..., Outcome], page: str) -> None:
    assert project.is_dir()
    done = call("check", "dream.csv", "--html", page)
    assert (done.code, done.out) == (2, "")
    assert "expected the name of a file to write" in done.err


def test_what_is_no_table_and_no_configuration_is_bad_input(project: Path, call: Callable[..., Outcome]) -> None:
    assert project.is_dir()
    for arguments in (("check", "nothing.csv"), ("check", "dream.csv", "--config", "nothing.toml")):
        done = call(*arguments)
        assert done.code == 2
        assert "no such file" in done.err


# --- contract infer --------------------------------------------------------------------------------------------------


def test_a_contract_is_printed_for_the_base_of_the_configuration(project: Path, call: Callable[..., Outcome]) -> None:
    done = call("contract", "infer")
    assert (done.code, done.err) == (0, "")
    (project / "contract.toml").write_text(done.out, encoding="utf-8")
    contract = load_contract(project / "contract.toml")
    assert contract.label == "species"
    assert dict(contract.types)["bill_length_mm"] == "float"
    assert done.out.startswith("# What a contribution must keep.")


def test_a_contract_of_a_file_is_that_of_the_configuration(project: Path, call: Callable[..., Outcome]) -> None:
    configured = call("contract", "infer", "--output", "configured.toml")
    assert configured.code == 0
    named = call("contract", "infer", "base.csv", "--output", "named.toml")
    assert named.code == 0
    assert load_contract(project / "named.toml") == load_contract(project / "configured.toml")


def test_the_line_that_names_the_contract_can_be_pasted(project: Path, call: Callable[..., Outcome]) -> None:
    (project / "below").mkdir()
    done = call("contract", "infer", "--output", "below/contract.toml")
    (section, line) = re.findall(r"Write into evaluation\.toml, under (\[\w+\]):\n\n(.+)\n", done.out)[0]
    file = project / "evaluation.toml"
    file.write_text(file.read_text(encoding="utf-8").replace(section, f"{section}\n{line}", 1), encoding="utf-8")
    assert load_config(file).config.data.contract == project / "below" / "contract.toml"


def test_the_key_is_kept_and_must_tell_rows_apart(project: Path, call: Callable[..., Outcome]) -> None:
    (project / "data.csv").write_text("site,day,x\na,1,2.5\na,2,3.5\nb,1,4.5\n", encoding="utf-8")
    done = call("contract", "infer", "data.csv", "--label", "x", "--key", "site", "--key", "day", "--output", "c.toml")
    assert done.code == 0
    contract = load_contract(project / "c.toml")
    assert contract.key == ("site", "day")
    assert replace(contract, key=()).columns == contract.columns
    done = call("contract", "infer", "data.csv", "--label", "x", "--key", "site")
    assert (done.code, done.out) == (2, "")
    assert "the key 'site' of an earlier row" in done.err


def test_a_file_that_is_there_is_replaced_by_force_alone(project: Path, call: Callable[..., Outcome]) -> None:
    path = project / "contract.toml"
    path.write_text("edited", encoding="utf-8")
    done = call("contract", "infer", "--output", "contract.toml")
    assert done.code == 2
    assert "may have been edited" in done.err
    assert path.read_text(encoding="utf-8") == "edited"
    assert call("contract", "infer", "--output", "contract.toml", "--force").code == 0
    assert load_contract(path).label == "species"


def test_what_is_not_known_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Outcome]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("contract", "infer")
    assert done.code == 2
    assert "Name a file, or a --config." in done.err
    (tmp_path / "data.csv").write_text("x\n1\n", encoding="utf-8")
    done = call("contract", "infer", "data.csv")
    assert done.code == 2
    assert "--label" in done.err
    done = call("contract", "infer", "nothere.csv")
    assert done.code == 2
    assert "nothere.csv: no such file" in done.err
