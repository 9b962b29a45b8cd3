"""The check before a hand-over: everything that an evaluation would refuse or remove is found, and told at once."""

from __future__ import annotations

import dataclasses
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from hokusai.contribution_check import ROW_CHECKS, check_contribution
from hokusai.errors import DataError
from hokusai.testing.sample_data import penguins_config, penguins_folder
from hokusai.tracking.mlflow_config import TrackingSettings

if TYPE_CHECKING:
    from pathlib import Path

    from hokusai.config import PipelineConfig
    from hokusai.records import CheckReport, Finding


def config(**data: Any) -> PipelineConfig:
    made = penguins_config("dream", TrackingSettings(uri="sqlite:////nowhere/mlflow.db"))
    return dataclasses.replace(made, data=dataclasses.replace(made.data, **data))


def lines(name: str) -> list[str]:
    return (penguins_folder() / f"{name}.csv").read_text(encoding="utf-8").splitlines()


def check(folder: Path, rows: list[str], *, header: str | None = None, **data: Any) -> CheckReport:
    file = folder / "offered.csv"
    file.write_text("\n".join([header or lines("dream")[0], *rows]) + "\n", encoding="utf-8")
    return check_contribution(file, config(**data))


def found(report: CheckReport) -> dict[str, Finding]:
    return {finding.check: finding for finding in report.findings}


def test_an_honest_contribution_has_no_error_and_no_warning(tmp_path: Path) -> None:
    report = check(tmp_path, lines("dream")[1:])
    assert report.worst == "note"
    assert (report.rows, report.counts["offered"], report.counts["kept"]) == (80, 80, 80)
    assert found(report)["new_class"].severity == "note"


def test_rows_met_elsewhere_are_counted_with_their_places(tmp_path: Path) -> None:
    dream = lines("dream")[1:]
    benchmark, base = lines("benchmark")[1:], lines("base")[1:]
    flipped = (
        benchmark[4].replace("Gentoo", "Adelie")
        if "Gentoo" in benchmark[4]
        else benchmark[4].replace("Adelie", "Gentoo")
    )
    report = check(tmp_path, [*dream, *benchmark[:3], flipped, *base[:2], dream[0]])
    findings = found(report)
    places = {name: findings[name].first_rows for name in ROW_CHECKS if name in findings and name != "undecided"}
    assert places == {
        "benchmark_exact": (81, 82, 83),
        "benchmark_flipped": (84,),
        "duplicates_base": (85, 86),
        "duplicates_own": (87,),
    }
    assert {findings[name].severity for name in places} == {"warning"}
    assert report.counts["kept"] == 80


@pytest.mark.parametrize(
    ("policy", "check_name"),
    [({"benchmark_overlap": "refuse"}, "benchmark_exact"), ({"duplicates": "refuse"}, "duplicates_base")],
)
def test_what_an_evaluation_would_refuse_is_an_error(policy: dict[str, str], check_name: str, tmp_path: Path) -> None:
    rows = [*lines("dream")[1:], lines("benchmark")[1], lines("base")[1]]
    severities = {name: finding.severity for name, finding in found(check(tmp_path, rows, **policy)).items()}
    assert severities[check_name] == "error"
    others = {"benchmark_exact", "duplicates_base"} - {check_name}
    assert {severities[name] for name in others} == {"warning"}


def test_a_value_of_another_type_is_a_finding_beside_all_the_others(tmp_path: Path) -> None:
    rows = [*lines("dream")[1:4], "thirty,18.0,190,3500,Adelie"]
    findings = found(check(tmp_path, rows))
    assert findings["wrong_type"].severity == "error"
    assert (findings["wrong_type"].column, findings["wrong_type"].first_rows) == ("bill_length_mm", (4,))
    assert "few_rows" in findings


def test_a_missing_column_and_personal_data_in_another_one_are_found(tmp_path: Path) -> None:
    header = lines("dream")[0].replace("body_mass_g", "observer")
    rows = [f"39.5,17.4,186,anna.berg{number}@example.org,Adelie" for number in range(40)]
    report = check(tmp_path, rows, header=header)
    findings = found(report)
    assert findings["missing_column"].column == "body_mass_g"
    assert report.personal_data == (("observer", "email", "certain", 40),)
    assert report.worst == "error"
    assert "anna" not in repr(report)


def test_rows_without_a_label_are_found_and_the_others_compared(tmp_path: Path) -> None:
    rows = [*lines("dream")[1:3], "39.5,17.4,186,3800,", lines("benchmark")[1]]
    report = check(tmp_path, rows)
    findings = found(report)
    assert findings["missing_label"].rows == 1
    assert findings["benchmark_exact"].first_rows == (4,)


def test_rows_without_a_weight_are_found_and_the_others_compared(tmp_path: Path) -> None:
    dream = lines("dream")[1:]
    dream[2] = re.sub(r"\b(\d{4})\b", "-1", dream[2], count=1)
    report = check(tmp_path, dream, sample_weight="body_mass_g")
    finding = found(report)["wrong_weight"]
    assert (finding.severity, finding.column, finding.rows, finding.first_rows) == ("error", "body_mass_g", 1, (3,))
    assert report.counts["kept"] == 79


def test_bytes_that_are_no_table_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "offered.parquet"
    shutil.copy(penguins_folder() / "dream.csv", file)
    with pytest.raises(DataError, match=r"offered\.parquet"):
        check_contribution(file, config())


def test_the_contract_is_checked_for_every_column(tmp_path: Path) -> None:
    contract = tmp_path / "contract.toml"
    text = 'format = "hokusai-contract/1"\nlabel = "species"\n'
    for name in lines("dream")[0].split(","):
        is_label = name == "species"
        text += f'[columns.{name}]\ntype = "{"string" if is_label else "float"}"\nnullable = false\n'
        text += "" if is_label else "maximum = 250\n"
    contract.write_text(text, encoding="utf-8")
    report = check(tmp_path, lines("dream")[1:], contract=contract)
    finding = found(report)["above_maximum"]
    assert (finding.severity, finding.column, finding.rows) == ("error", "body_mass_g", 80)
