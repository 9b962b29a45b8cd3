"""What a step may record through its run, and how a run ends."""

from __future__ import annotations

import itertools
import json
import math
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai.digests import canonical_json, sha256
from hokusai.errors import InvalidFactError, JournalError
from hokusai.records import DatasetVersion
from hokusai.tracking import artifacts, metric_names, naming
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.operations import (
    EndRun,
    LogArtifact,
    LogDataset,
    LogMetrics,
    LogParameters,
    LogSeries,
    Operation,
    RegisterModel,
    ResumeRun,
    SetTags,
    StartRun,
)
from hokusai.tracking.parameters import parameter
from hokusai.tracking.run import Run, RunLink, Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "20300101-000000-abcdef01"
# Not a secret; only shaped like one.
TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
Kind = TypeVar("Kind", bound=Operation)


@dataclass(frozen=True, kw_only=True)
class CleaningParameters:
    """Parameters of a step of one's own."""

    minimum: int = parameter("clean.minimum_length", "Shorter rows are dropped.", unit="characters")
    columns: tuple[str, ...] = parameter("clean.columns", "Columns that are kept.", default=())


@pytest.fixture
def journal() -> MemoryJournal:
    """A journal in memory."""
    return MemoryJournal()


@pytest.fixture
def tracker(journal: MemoryJournal) -> Tracker:
    """A tracker that records there."""
    return Tracker(journal, evaluation=KEY, run_name="parent", experiment="trials", allowed_names=["session_token"])


@pytest.fixture
def run(tracker: Tracker) -> Iterator[Run]:
    """An open run."""
    with tracker.start() as run:
        yield run


def recorded(journal: MemoryJournal, kind: type[Kind]) -> list[Kind]:
    return [each for each in journal.operations if isinstance(each, kind)]


def tags_of(journal: MemoryJournal) -> dict[str, str]:
    tags: dict[str, str] = {}
    for each in recorded(journal, SetTags):
        tags |= each.tags
    return tags


def content(journal: MemoryJournal, path: str) -> bytes:
    (*_, last) = (each for each in recorded(journal, LogArtifact) if each.path == path)
    assert last.size == len(journal.staged[last.sha256])
    return journal.staged[last.sha256]


# --- parameters ------------------------------------------------------------------------------------------------------


def test_parameters_of_ones_own_are_recorded_by_their_names_and_kept_whole(journal: MemoryJournal, run: Run) -> None:
    run.log_parameters(CleaningParameters(minimum=3))
    run.log_parameters({"rate": 0.1, "seed": 2**63, "missing": math.nan, "path": None})
    texts = {name: text for each in recorded(journal, LogParameters) for name, text in each.parameters.items()}
    assert texts == {
        "clean.minimum_length": "3",
        "clean.columns": "[]",
        "rate": "0.1",
        "seed": str(2**63),
        "missing": "NaN",
        "path": "null",
    }
    document = content(journal, "parameters.json")
    assert json.loads(document)["clean.minimum_length"] == 3
    assert document == canonical_json(json.loads(document))
    assert tags_of(journal)[naming.PARAMETERS_DIGEST_TAG] == sha256(document)


def test_a_parameter_of_the_wrong_type_is_refused_by_name_before_anything_is_recorded(
    journal: MemoryJournal, run: Run
) -> None:
    before = list(journal.operations)
    with pytest.raises(InvalidFactError, match=rf"run {KEY}: parameter 'clean.minimum_length': got '3': .*integer"):
        run.log_parameters(CleaningParameters(minimum="3"))  # type: ignore[arg-type]
    with pytest.raises(InvalidFactError, match="parameter 'what': a value of type object cannot be recorded"):
        run.log_parameters({"fine": 1, "what": object()})
    with pytest.raises(InvalidFactError, match="got list, expected a mapping"):
        run.log_parameters([1])
    assert journal.operations == before


def test_a_parameter_may_be_repeated_but_not_changed(journal: MemoryJournal, run: Run) -> None:
    run.log_parameters({"a": 1})
    run.log_parameters({"a": 1, "b": 2})
    with pytest.raises(InvalidFactError, match="parameter 'a': was recorded as 1 and is now 3"):
        run.log_parameters({"a": 3, "c": 4})
    assert json.loads(content(journal, "parameters.json")) == {"a": 1, "b": 2}


def test_a_value_too_long_for_mlflow_is_kept_whole_and_named_by_its_digest(journal: MemoryJournal, run: Run) -> None:
    text = "é" * 6001
    run.log_parameters({"short": "é" * 6000, "long": text})
    run.set_tags({"short": "x" * 8000, "long": "y" * 8001})
    (parameters,) = recorded(journal, LogParameters)
    assert parameters.parameters == {"short": "é" * 6000, "long": f"sha256:{sha256(text.encode())}"}
    assert content(journal, f"long_values/{sha256(text.encode())}.txt").decode() == text
    tags = tags_of(journal)
    assert tags["short"] == "x" * 8000
    assert tags["long"] == f"sha256:{sha256(b'y' * 8001)}"
    assert content(journal, f"long_values/{sha256(b'y' * 8001)}.txt") == b"y" * 8001
    assert json.loads(content(journal, "parameters.json"))["long"] == text


def test_numpy_values_dates_and_paths_are_parameters(journal: MemoryJournal, run: Run, tmp_path: Path) -> None:
    run.log_parameters({"a": np.int64(3), "b": np.float32(0.5), "c": np.bool_(True), "d": tmp_path, "e": [np.int8(1)]})
    (parameters,) = recorded(journal, LogParameters)
    assert parameters.parameters == {"a": "3", "b": "0.5", "c": "true", "d": str(tmp_path), "e": "[1]"}


def test_a_name_of_a_file_that_is_no_text_is_a_parameter_as_its_escapes(journal: MemoryJournal, run: Run) -> None:
    run.log_parameters({"caf\udce9": "caf\udce9", "more": {"\udce9": ["\udce9"]}})
    (parameters,) = recorded(journal, LogParameters)
    escape = "\\udce9"
    assert parameters.parameters["caf" + escape] == "caf" + escape
    assert json.loads(content(journal, "parameters.json")) == {
        "caf" + escape: "caf" + escape,
        "more": {escape: [escape]},
    }


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_no_secret_reaches_the_journal(journal: MemoryJournal, tracker: Tracker) -> None:
    def work(run: Run) -> None:
        run.log_parameters({"db.password": "hunter2!", "uri": "https://me:hunter2!@host/x", "max_tokens": 512})
        run.set_tags({"api_key": TOKEN, "session_token": "kept, for it is allowed"})
        run.log_dataset(
            DatasetVersion(
                name="d", context="base", digest="0" * 64, source="https://me:hunter2!@host/d.csv", rows=1, columns=()
            )
        )
        run.register_model("m", registered_name="n", tags={"url": "https://me:hunter2!@host/"})
        msg = f"cannot log in with {TOKEN}"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError), tracker.start({"note": f"token {TOKEN}"}) as run:
        work(run)
    everything = repr(journal.operations) + "".join(map(repr, journal.staged.values()))
    assert "hunter2" not in everything
    assert TOKEN not in everything
    assert "[redacted]" in everything
    assert "kept, for it is allowed" in tags_of(journal).values()
    (parameters,) = recorded(journal, LogParameters)
    assert parameters.parameters["max_tokens"] == "512"
    assert recorded(journal, LogDataset)[0].source != "https://me:hunter2!@host/d.csv"
    assert len(recorded(journal, RegisterModel)) == 1


# --- metrics ---------------------------------------------------------------------------------------------------------


@given(value=st.floats() | st.integers(-(2**53), 2**53) | st.booleans())
def test_a_metric_value_is_recorded_exactly(value: float) -> None:
    journal = MemoryJournal()
    with Tracker(journal, evaluation=KEY, run_name="r").start() as run:
        run.log_metrics({"m": value}, step=7)
    (metrics, _) = recorded(journal, LogMetrics)
    assert (repr(metrics.metrics["m"]), metrics.step) == (repr(float(value)), 7)


@pytest.mark.parametrize("value", ["1", None, 2**53 + 1, 10**400, [1.0], 1j])
def test_what_is_no_64_bit_number_is_refused_as_a_metric(value: Any, journal: MemoryJournal, run: Run) -> None:
    before = list(journal.operations)
    with pytest.raises(InvalidFactError, match="metric 'm': got"):
        run.log_metrics({"fine": 1.0, "m": value})
    with pytest.raises(InvalidFactError, match="metric 'm': got"):
        run.log_series("m", [1.0, value])
    assert journal.operations == before


def test_a_series_is_recorded_in_lines_of_a_thousand_values(journal: MemoryJournal, run: Run) -> None:
    run.log_series("loss", np.arange(2500) / 4, first_step=10)
    parts = recorded(journal, LogSeries)
    assert [(part.first_step, len(part.values)) for part in parts] == [(10, 1000), (1010, 1000), (2010, 500)]
    numbers = list(itertools.chain.from_iterable(part.values for part in parts))  # noqa: PD011  (no pandas here)
    assert numbers == [number / 4 for number in range(2500)]
    run.log_series("nothing", [])
    assert len(recorded(journal, LogSeries)) == 3


@pytest.mark.parametrize("name", ["", "x" * 251, "@" * 40])
def test_a_name_that_mlflow_cannot_keep_is_refused(name: str, journal: MemoryJournal, run: Run) -> None:
    before = list(journal.operations)
    with pytest.raises(InvalidFactError, match="expected a name"):
        run.log_metrics({name: 1.0})
    with pytest.raises(InvalidFactError, match="expected a name"):
        run.log_series(name, [1.0])
    with pytest.raises(InvalidFactError, match="expected a name"):
        run.log_parameters({name: 1})
    with pytest.raises(InvalidFactError, match="expected a name"):
        run.set_tags({name: "x"})
    assert journal.operations == before


def test_a_run_records_what_it_cost(journal: MemoryJournal, tracker: Tracker) -> None:
    with tracker.start() as run, run.child("step") as step:
        step.meter.add_rows(500)
    step_costs, parent_costs = (each.metrics for each in recorded(journal, LogMetrics))
    assert step_costs[metric_names.ROWS] == 500
    assert step_costs[metric_names.ROWS_PER_SECOND] == pytest.approx(500 / step_costs[metric_names.WALL_SECONDS])
    assert parent_costs[metric_names.WALL_SECONDS] >= step_costs[metric_names.WALL_SECONDS] > 0
    assert parent_costs[metric_names.PEAK_MEMORY] > 1e6
    assert metric_names.ROWS not in parent_costs
    assert all(metric_names.metric_name(name) for name in {*step_costs, *parent_costs})


# --- artifacts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "./a", "a\nb", "a%20b", "a\\b", "manifest.json", "what?"]
)
def test_a_path_that_no_artifact_can_have_is_refused(path: str, journal: MemoryJournal, run: Run) -> None:
    before = (list(journal.operations), dict(journal.staged))
    with pytest.raises(InvalidFactError, match=r"artifact .* (expected|Hokusai keeps)"):
        run.log_text(path, "x")
    assert (journal.operations, journal.staged) == before


def test_texts_json_and_folders_become_files(journal: MemoryJournal, run: Run, tmp_path: Path) -> None:
    run.log_text("notes/a.txt", "grüße\udce9")
    run.log_json("b.json", {"b": [1, None], "a": "ü"})
    for name in ("one.txt", "deeper/two.txt", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    run.log_folder("folder", tmp_path)
    assert content(journal, "notes/a.txt").decode() == "grüße\\udce9"
    assert content(journal, "b.json").decode() == '{\n  "b": [\n    1,\n    null\n  ],\n  "a": "ü"\n}\n'
    paths = [each.path for each in recorded(journal, LogArtifact)]
    assert paths[2:] == ["folder/.hidden", "folder/deeper/two.txt", "folder/one.txt"]
    assert content(journal, "folder/deeper/two.txt") == b"deeper/two.txt"
    with pytest.raises(InvalidFactError, match="has no JSON form"):
        run.log_json("c.json", {"x": math.nan})
    with pytest.raises(InvalidFactError, match="there is no folder"):
        run.log_folder("d", tmp_path / "nothing")


@pytest.mark.parametrize(
    "table",
    [
        {"x": [1, 2], "y": ["a", None]},
        pa.table({"x": [1, 2], "y": ["a", None]}),
        pd.DataFrame({"x": [1, 2], "y": ["a", None]}),
    ],
    ids=["mapping", "arrow", "pandas"],
)
def test_a_table_is_kept_as_its_suffix_says(table: object, journal: MemoryJournal, run: Run) -> None:
    for suffix in ("parquet", "csv", "json"):
        run.log_table(f"t.{suffix}", table)
    rows = [{"x": 1, "y": "a"}, {"x": 2, "y": None}]
    assert pq.read_table(pa.BufferReader(content(journal, "t.parquet"))).to_pylist() == rows
    read = pa_csv.read_csv(
        pa.BufferReader(content(journal, "t.csv")), convert_options=pa_csv.ConvertOptions(strings_can_be_null=True)
    )
    assert read.to_pylist() == rows
    assert json.loads(content(journal, "t.json")) == {"columns": ["x", "y"], "data": [[1, "a"], [2, None]]}
    assert json.loads(tags_of(journal)["mlflow.loggedArtifacts"]) == [{"path": "t.json", "type": "table"}]


def test_a_table_with_two_columns_of_one_name_keeps_both(journal: MemoryJournal, run: Run) -> None:
    run.log_table("t.json", pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]))
    assert json.loads(content(journal, "t.json")) == {"columns": ["x", "x"], "data": [[1, 2]]}


def test_all_tables_of_a_run_are_shown(journal: MemoryJournal, run: Run) -> None:
    run.log_table("a.json", {"x": [1]})
    run.log_table("b.json", {"x": [1]})
    shown = json.loads(tags_of(journal)["mlflow.loggedArtifacts"])
    assert [each["path"] for each in shown] == ["a.json", "b.json"]


def test_what_is_no_table_or_figure_is_refused(run: Run) -> None:
    with pytest.raises(InvalidFactError, match="a list cannot be kept so"):
        run.log_table("t.csv", [[1]])
    with pytest.raises(InvalidFactError, match=r"expected a table, and \.parquet"):
        run.log_table("t.xlsx", {"x": [1]})
    with pytest.raises(InvalidFactError, match="a object cannot be written so"):
        run.log_figure("f.png", object())


def test_a_figure_is_kept_as_its_suffix_says(journal: MemoryJournal, run: Run) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([1, 2, 3])
    for suffix in ("png", "svg", "pdf"):
        run.log_figure(f"f.{suffix}", figure)
    assert content(journal, "f.png").startswith(b"\x89PNG")
    assert b"<svg" in content(journal, "f.svg")
    assert content(journal, "f.pdf").startswith(b"%PDF")

    class Chart:
        def to_html(self) -> str:
            return "<p>chart</p>"

    run.log_figure("f.html", Chart())
    assert content(journal, "f.html") == b"<p>chart</p>"


def test_the_manifest_lists_everything_in_one_order() -> None:
    one = artifacts.manifest("r", artifacts={"b": ("1" * 64, 2), "a": ("0" * 64, 1)}, models=[("m", "f", "2" * 64, 3)])
    other = artifacts.manifest(
        "r", artifacts={"a": ("0" * 64, 1), "b": ("1" * 64, 2)}, models=[("m", "f", "2" * 64, 3)]
    )
    assert one == other
    document = json.loads(one)
    assert (document["format"], document["run_key"]) == ("hokusai-manifest/1", "r")
    assert [file["path"] for file in document["artifacts"]] == ["a", "b"]
    assert document["models"] == [{"name": "m", "file": "f", "sha256": "2" * 64, "size": 3}]


# --- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(), "FINISHED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(3), "FAILED"),
        (SystemExit("out of patience"), "FAILED"),
        (SystemExit(143), "KILLED"),
        (GeneratorExit(), "KILLED"),
    ],
    ids=repr,
)
def test_every_open_run_ends_as_what_left_it_says_and_that_comes_out_unchanged(
    error: BaseException, status: str, journal: MemoryJournal, tracker: Tracker
) -> None:
    with pytest.raises(type(error)) as caught, tracker.start() as run, run.child("step"):
        raise error
    assert caught.value is error
    assert [(each.run, each.status) for each in recorded(journal, EndRun)] == [(f"{KEY}:step", status), (KEY, status)]


def test_a_failed_run_keeps_its_traceback_and_the_type_of_its_exception(
    journal: MemoryJournal, tracker: Tracker
) -> None:
    with pytest.raises(ZeroDivisionError), tracker.start() as run, run.child("step"):
        _ = 1 / int("0")
    assert tags_of(journal)[naming.ERROR_TAG] == "ZeroDivisionError"
    runs = [each.run for each in recorded(journal, LogArtifact) if each.path == "traceback.txt"]
    assert runs == [f"{KEY}:step", KEY]
    trace = content(journal, "traceback.txt").decode()
    assert trace.startswith("Traceback")
    assert trace.rstrip().endswith("ZeroDivisionError: division by zero")
    assert '_ = 1 / int("0")' in trace


class FullJournal(MemoryJournal):
    """A journal whose disk is full from some moment on."""

    is_full = False

    def append(self, operation: Operation) -> None:
        """Record, or refuse."""
        if self.is_full:
            msg = "no space left"
            raise JournalError(msg)
        super().append(operation)


def fail(journal: FullJournal, error: Exception) -> None:
    journal.is_full = True
    raise error


def test_a_journal_that_fails_does_not_replace_the_callers_exception() -> None:
    journal = FullJournal()
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught, Tracker(journal, evaluation=KEY, run_name="r").start():
        fail(journal, error)
    assert caught.value is error
    assert caught.value.__notes__ == ["hokusai: the end of this run could not be recorded: no space left"]


def test_a_journal_that_fails_at_the_end_of_good_work_is_said() -> None:
    journal = FullJournal()
    with pytest.raises(JournalError, match="no space left"), Tracker(journal, evaluation=KEY, run_name="r").start():
        journal.is_full = True


def test_runs_have_keys_of_their_own_even_when_they_share_a_name_and_start_in_threads(
    journal: MemoryJournal, tracker: Tracker
) -> None:
    def work(parent: Run, name: str) -> None:
        with parent.child(name) as step:
            step.log_metrics({"m": 1.0})

    with tracker.start() as run:
        threads = [threading.Thread(target=work, args=(run, f"step {number % 2}")) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    starts = recorded(journal, StartRun)[1:]
    assert len({start.run for start in starts}) == 20
    assert {start.parent for start in starts} == {KEY}
    assert {each.run for each in recorded(journal, EndRun)} == {KEY, *(start.run for start in starts)}


def test_a_name_that_looks_like_the_number_of_another_runs_key_has_a_key_of_its_own(
    journal: MemoryJournal, run: Run
) -> None:
    for name in ("step", "step#2", "step", "step#2", "step##2"):
        with run.child(name):
            pass
    keys = [start.run for start in recorded(journal, StartRun)[1:]]
    assert keys[0] == f"{KEY}:step"
    assert keys[2] == f"{KEY}:step#2"
    assert len(set(keys)) == 5


def test_a_run_that_another_process_began_goes_on_by_its_link(run: Run) -> None:
    link = RunLink.from_text(run.link.to_text())
    assert link == run.link == RunLink(key=KEY, name="parent", evaluation=KEY, experiment="trials")
    elsewhere = MemoryJournal()
    tracker = Tracker(elsewhere, evaluation=link.evaluation, run_name=link.name, part="beef")
    with tracker.resume(link) as resumed, resumed.child("step"):
        pass
    assert elsewhere.operations[0] == ResumeRun(run=KEY, part="beef")
    (start,) = recorded(elsewhere, StartRun)
    assert (start.run, start.parent) == (f"{KEY}:step@beef", KEY)
    assert [each.run for each in recorded(elsewhere, EndRun)] == [start.run, KEY]
    for text in ("", "{}", "[]", '"x"', '{"key": "a"}'):
        with pytest.raises(InvalidFactError, match="expected what RunLink"):
            RunLink.from_text(text)


def test_tags_that_took_time_to_find_are_recorded_at_the_end(journal: MemoryJournal) -> None:
    tracker = Tracker(
        journal, evaluation=KEY, run_name="r", tags={"from": "settings"}, closing_tags=lambda: {"commit": "abc"}
    )
    with tracker.start({"mine": "yes"}):
        assert tags_of(journal) == {"from": "settings", "mine": "yes"}
    assert tags_of(journal)["commit"] == "abc"
    assert isinstance(journal.operations[-1], EndRun)


def test_what_took_time_to_find_is_recorded_through_the_parent_run_before_it_ends(journal: MemoryJournal) -> None:
    tracker = Tracker(
        journal, evaluation=KEY, run_name="r", closing_record=lambda run: run.log_artifact("late.txt", b"late")
    )
    with pytest.raises(ZeroDivisionError), tracker.start() as parent, parent.child("step"):
        _ = 1 / 0
    (late,) = [each for each in journal.operations if isinstance(each, LogArtifact) and each.path == "late.txt"]
    assert late.run == KEY
    end = journal.operations[-1]
    assert isinstance(end, EndRun)
    assert (end.run, end.status) == (KEY, "FAILED")


def test_recording_loads_no_heavy_library() -> None:
    import subprocess

    code = """
import sys
from hokusai.tracking.journal import MemoryJournal
from hokusai.tracking.run import Tracker
with Tracker(MemoryJournal(), evaluation="e", run_name="r").start() as run:
    run.log_metrics({"m": 1.0})
    run.set_tags({"a": "b"})
print(sorted({"mlflow", "pandas", "pyarrow", "sklearn", "numpy"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
