"""The journal: a chain that shows every change, one writer, and nothing half recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai.digests import sha256
from hokusai.errors import JournalError
from hokusai.tracking.journal import (
    JOURNAL_FILE,
    FileJournal,
    JournalReader,
    MemoryJournal,
    find_journals,
    is_being_written,
    recover,
    staged_path,
)
from hokusai.tracking.operations import CloseJournal, EndRun, LogMetrics, SetTags, StartRun
from hokusai.tracking.run import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINES = 6


def note(number: int) -> SetTags:
    """An operation that can be told from others."""
    return SetTags(run="r", tags={"number": str(number)})


def numbers(folder: Path) -> list[int]:
    """The numbers of the notes that stand in a journal."""
    operations = [entry.operation for entry in JournalReader(folder)]
    return [int(operation.tags["number"]) for operation in operations if isinstance(operation, SetTags)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A journal of six notes whose writer has let go."""
    journal = FileJournal(tmp_path / "journal")
    for number in range(1, LINES + 1):
        journal.append(note(number))
    journal.abandon()
    return tmp_path / "journal"


def rewrite(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Replace the lines of a journal."""
    path = folder / JOURNAL_FILE
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


@pytest.mark.parametrize("damaged", range(1, LINES))
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda lines, at: [*lines[: at - 1], *lines[at:]], id="missing"),
        pytest.param(lambda lines, at: [*lines[: at - 1], lines[at], lines[at - 1], *lines[at + 1 :]], id="swapped"),
        pytest.param(lambda lines, at: [*lines[:at], *lines[at - 1 :]], id="doubled"),
        pytest.param(lambda lines, at: [*lines[: at - 1], b"{}\n", *lines[at:]], id="emptied"),
        pytest.param(lambda lines, at: [*lines[: at - 1], b"\n", *lines[at - 1 :]], id="inserted"),
    ],
)
def test_a_changed_order_of_lines_is_refused_by_the_number_of_the_line(
    folder: Path, change: Callable[[list[bytes], int], list[bytes]], damaged: int
) -> None:
    rewrite(folder, lambda lines: change(lines, damaged))
    reader = JournalReader(folder)
    with pytest.raises(JournalError, match=rf"{JOURNAL_FILE}: line ({damaged}|{damaged + 1}) "):
        list(reader)
    assert reader.sequence in {damaged - 1, damaged}


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_an_edited_byte_is_refused_at_its_line_or_the_next(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("edited")
    journal = FileJournal(folder)
    for number in range(1, LINES + 1):
        journal.append(note(number))
    journal.abandon()
    content = bytearray((folder / JOURNAL_FILE).read_bytes())
    last_line = content.rindex(b"\n", 0, len(content) - 1) + 1
    position = data.draw(st.integers(0, last_line - 1))
    line = content.count(b"\n", 0, position) + 1
    content[position] ^= data.draw(st.integers(1, 255))
    (folder / JOURNAL_FILE).write_bytes(content)
    with pytest.raises(JournalError, match=f"line ({line}|{line + 1}) "):
        list(JournalReader(folder))


def test_a_last_line_with_another_number_is_refused(folder: Path) -> None:
    # Nothing follows it that would hold its digest.
    rewrite(folder, lambda lines: [*lines[:5], lines[5].replace(b'"sequence":6', b'"sequence":7')])
    with pytest.raises(JournalError, match="line 6 has sequence number 7"):
        list(JournalReader(folder))


def test_a_line_of_an_unknown_kind_is_refused_by_its_number_and_file(folder: Path) -> None:
    rewrite(folder, lambda lines: [*lines[:5], lines[5].replace(b"set_tags", b"set_bags")])
    with pytest.raises(JournalError, match=rf"{JOURNAL_FILE}: line 6 .*'set_bags'"):
        list(JournalReader(folder))


def test_each_line_holds_its_place_its_time_and_the_digest_of_the_line_before(folder: Path) -> None:
    lines = (folder / JOURNAL_FILE).read_bytes().splitlines()
    values = [json.loads(line) for line in lines]
    assert [value["sequence"] for value in values] == list(range(1, LINES + 1))
    assert [value["previous"] for value in values] == ["0" * 64, *(sha256(line) for line in lines[:-1])]
    assert all(earlier["time"] <= later["time"] for earlier, later in pairwise(values))


def test_a_journal_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert list(JournalReader(tmp_path)) == []


@pytest.mark.parametrize("kept", [0, 1, 40, -1])
def test_a_torn_last_line_is_left_out_and_cut_off_by_the_next_writer(folder: Path, kept: int) -> None:
    rewrite(folder, lambda lines: [*lines[:-1], lines[-1][:kept]])
    reader = JournalReader(folder)
    assert [entry.sequence for entry in reader.read_new()] == list(range(1, LINES))
    journal = FileJournal(folder)
    journal.append(note(60))
    journal.abandon()
    assert [entry.sequence for entry in reader.read_new()] == [LINES]
    assert numbers(folder) == [1, 2, 3, 4, 5, 60]


def test_recovery_cuts_off_a_torn_last_line(folder: Path) -> None:
    rewrite(folder, lambda lines: [*lines[:-1], lines[-1][:-1]])
    recover(folder)
    assert numbers(folder) == [1, 2, 3, 4, 5]
    assert isinstance(list(JournalReader(folder))[-1].operation, CloseJournal)


def test_a_reader_sees_what_came_since_it_looked_last(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    reader = JournalReader(tmp_path)
    seen = []
    for number in range(1, 4):
        journal.append(note(number))
        seen += [entry.operation for entry in reader.read_new()]
    journal.abandon()
    assert seen == [note(1), note(2), note(3)]
    assert reader.read_new() == []


def test_a_second_writer_is_refused_in_this_process_and_in_another(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.append(note(1))
    with pytest.raises(JournalError, match="another process is writing"):
        FileJournal(tmp_path)
    assert is_being_written(tmp_path)
    with pytest.raises(JournalError, match="another process is writing"):
        recover(tmp_path)
    script = "import sys, pathlib, hokusai.tracking.journal as j; j.FileJournal(pathlib.Path(sys.argv[1]))"
    other = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "another process is writing" in other.stderr
    journal.append(note(2))
    journal.abandon()
    assert not is_being_written(tmp_path)
    assert numbers(tmp_path) == [1, 2]


def test_a_damaged_journal_is_refused_to_a_writer_and_not_left_locked(folder: Path) -> None:
    rewrite(folder, lambda lines: lines[1:])
    before = (folder / JOURNAL_FILE).read_bytes()
    with pytest.raises(JournalError, match="line 1 ") as caught:
        FileJournal(folder)
    assert not is_being_written(folder), f"{caught.value} left the lock"
    assert (folder / JOURNAL_FILE).read_bytes() == before


def test_threads_that_record_at_once_make_one_valid_chain(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    start = threading.Barrier(8)

    def record(thread: int) -> None:
        start.wait()
        for position in range(50):
            journal.append(note(100 * thread + position))

    threads = [threading.Thread(target=record, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.abandon()
    found = numbers(tmp_path)
    assert sorted(found) == [100 * thread + position for thread in range(8) for position in range(50)]
    for owner in range(8):
        own = [number for number in found if number // 100 == owner]
        assert own == sorted(own), "the calls of one thread keep their order"


def test_a_closed_journal_takes_nothing_more(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.append(note(1))
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append(note(2))
    operations = [entry.operation for entry in JournalReader(tmp_path)]
    assert operations == [note(1), CloseJournal()]


def test_a_run_that_could_not_record_its_end_is_ended_when_the_journal_closes(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.append(StartRun(run="parent", name="parent"))
    journal.append(StartRun(run="child", name="child", parent="parent"))
    journal.append(StartRun(run="done", name="done", parent="parent"))
    journal.append(EndRun(run="done", status="FINISHED"))
    journal.close()
    entries = list(JournalReader(tmp_path))
    assert [entry.operation for entry in entries[4:]] == [
        EndRun(run="child", status="KILLED", ended_at=entries[3].time),
        EndRun(run="parent", status="KILLED", ended_at=entries[3].time),
        CloseJournal(),
    ]


def test_recovery_ends_open_runs_as_killed_at_the_time_of_the_last_entry(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.append(StartRun(run="parent", name="parent"))
    journal.append(StartRun(run="done", name="done", parent="parent"))
    journal.append(EndRun(run="done", status="FAILED"))
    journal.append(StartRun(run="child", name="child", parent="parent"))
    journal.append(LogMetrics(run="child", metrics={"m": 1.0}))
    journal.abandon()
    # The last thing that was recorded is long ago.
    path = tmp_path / JOURNAL_FILE
    last = json.loads(path.read_bytes().splitlines()[-1])
    rewrite(
        tmp_path,
        lambda lines: [*lines[:-1], json.dumps({**last, "time": 1_000}, separators=(",", ":")).encode() + b"\n"],
    )

    assert recover(tmp_path) == ("parent", "child")

    operations = [entry.operation for entry in JournalReader(tmp_path)]
    assert operations[5:] == [
        EndRun(run="child", status="KILLED", ended_at=1_000),
        EndRun(run="parent", status="KILLED", ended_at=1_000),
        CloseJournal(),
    ]
    assert not is_being_written(tmp_path)


def test_recovery_leaves_a_closed_journal_as_it_is(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    with Tracker(journal, evaluation="e", run_name="n").start() as run:
        run.log_metrics({"m": 1.0})
    journal.close()
    before = (tmp_path / JOURNAL_FILE).read_bytes()
    assert recover(tmp_path) == ()
    assert (tmp_path / JOURNAL_FILE).read_bytes() == before


def test_staged_bytes_and_files_lie_under_their_digest_once(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal")
    source = tmp_path / "source.bin"
    content = os.urandom(3 << 20)
    source.write_bytes(content)
    staged = [journal.stage(source), journal.stage(content), journal.stage(b"")]
    source.write_bytes(b"changed later")
    journal.abandon()
    assert [(item.sha256, item.size) for item in staged] == [
        (sha256(content), len(content)),
        (sha256(content), len(content)),
        (sha256(b""), 0),
    ]
    assert staged_path(journal.folder, sha256(content)).read_bytes() == content
    assert {path.name for path in (journal.folder / "artifacts").iterdir()} == {sha256(content), sha256(b"")}


def test_a_file_that_cannot_be_read_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    with pytest.raises(JournalError, match=r"nowhere\.bin: the file cannot be read"):
        journal.stage(tmp_path / "nowhere.bin")
    journal.abandon()
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_journals_are_found_by_their_folders_oldest_first(tmp_path: Path) -> None:
    for name in ("20300102-000000-b", "20290102-000000-a", "20300101-000000-c"):
        FileJournal(tmp_path / name).abandon()
    (tmp_path / "not-a-journal").mkdir()
    found = [path.name for path in find_journals(tmp_path)]
    assert found == ["20290102-000000-a", "20300101-000000-c", "20300102-000000-b"]


@pytest.mark.parametrize("make", [lambda _: MemoryJournal(), FileJournal])
def test_both_journals_keep_the_same_operations_and_bytes(
    make: Callable[[Path], MemoryJournal | FileJournal], tmp_path: Path
) -> None:
    journal = make(tmp_path / "journal")
    (tmp_path / "file").write_bytes(b"content")
    journal.append(note(1))
    staged = journal.stage(tmp_path / "file")
    journal.sync()
    journal.close()
    kept = (
        journal.operations
        if isinstance(journal, MemoryJournal)
        else [entry.operation for entry in JournalReader(journal.folder)]
    )
    assert kept == [note(1), CloseJournal()]
    assert (staged.sha256, staged.size) == (sha256(b"content"), 7)
