"""``hokusai doctor``: what it prints, and what scripts learn from its exit code."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hokusai.cli.arguments import make_parser
from hokusai.tracking.connection import LOST_AFTER_HOURS
from hokusai.tracking.sqlite_store import create_sqlite_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Outcome


@pytest.fixture
def doctor(call: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Call the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: call("doctor", *arguments)


def unused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_a_laptop_with_nothing_set_is_well_and_stays_empty(
    tmp_path: Path, subprocess_environment: dict[str, str]
) -> None:
    command = Path(sys.executable).with_name("hokusai")
    done = subprocess.run(
        [command, "doctor"], cwd=tmp_path, env=subprocess_environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "there is no file yet; the first evaluation makes it" in done.stdout
    assert done.stdout.endswith("Tracking works from here: 2 ok, 6 skipped.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_works_is_exit_0(doctor: Callable[..., Outcome], tmp_path: Path) -> None:
    create_sqlite_store(tmp_path / "mlflow.db")
    code, out, err = doctor()
    assert (code, err) == (0, "")
    assert out.startswith(f"Tracking store: sqlite:///{tmp_path / 'mlflow.db'}\n")
    assert "to do:" not in out
    assert out.endswith("Tracking works from here: 7 ok, 1 skipped.\n")


def test_a_failed_check_is_exit_1_with_what_was_tried_and_what_to_do(
    doctor: Callable[..., Outcome],
) -> None:
    address = unused_address()
    code, out, _ = doctor("--tracking-uri", f"http://me:hidden@{address}")
    assert code == 1
    assert "failed   store        the machine answers, but refuses the port" in out
    assert f"tried: ask http://{address} for" in out
    assert "to do: Start the server" in out
    assert "hidden" not in out
    assert out.endswith("Tracking does not work from here: 1 ok, 1 failed, 6 skipped.\n")


def test_warnings_alone_are_exit_0(doctor: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / ".hokusai" / "left").mkdir(parents=True)
    (tmp_path / ".hokusai" / "left" / "journal.jsonl").write_bytes(b"")
    code, out, _ = doctor()
    assert code == 0
    assert "warning  journals     1 journal; 1 without an entry: left" in out


def test_json_has_every_check(doctor: Callable[..., Outcome]) -> None:
    code, out, _ = doctor("--json", "--tracking-uri", f"http://{unused_address()}")
    value = json.loads(out)
    assert (code, value["ok"]) == (1, False)
    assert [check["name"] for check in value["checks"]][:3] == ["store", "version", "clock"]
    assert set(value["checks"][0]) == {"name", "tried", "found", "advice", "status", "seconds"}
    assert value["checks"][0]["status"] == "failed"


@pytest.mark.parametrize(
    "arguments", [("--lost-after", "soon"), ("--lost-after", "0"), ("--lost-after", "nan"), ("x",)]
)
def test_bad_usage_is_exit_2(doctor: Callable[..., Outcome], arguments: tuple[str, ...]) -> None:
    code, out, err = doctor(*arguments)
    assert (code, out) == (2, "")
    assert err


def test_the_store_of_a_configuration_file_is_the_one_that_is_checked(
    doctor: Callable[..., Outcome], call: Callable[..., Outcome], tmp_path: Path
) -> None:
    assert call("init", "project").code == 0
    address = unused_address()
    file = tmp_path / "project" / "evaluation.toml"
    text = file.read_text("utf-8").replace("[tracking]\n", f'[tracking]\nuri = "http://{address}"\n')
    file.write_text(text, encoding="utf-8")
    code, out, err = doctor("--config", str(file))
    assert code == 1, err
    assert f"Tracking store: http://{address}" in out


def test_the_default_of_lost_after_is_that_of_the_check() -> None:
    assert make_parser().parse_args(["doctor"]).lost_after == LOST_AFTER_HOURS
