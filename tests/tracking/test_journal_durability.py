"""What the journal promises when its process is killed, interrupted, or runs out of disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from hokusai.errors import JournalError
from hokusai.tracking.journal import FileJournal, JournalReader, is_being_written, recover
from hokusai.tracking.operations import CloseJournal, EndRun, SetTags, StartRun

if TYPE_CHECKING:
    from pathlib import Path

HEADER = """
import os, pathlib, resource, signal, sys
from hokusai.errors import JournalError
from hokusai.tracking.journal import FileJournal, JournalReader
from hokusai.tracking.operations import SetTags, StartRun
folder = pathlib.Path(sys.argv[1])
journal = FileJournal(folder)
def note(number):
    return SetTags(run="r", tags={"number": str(number), "padding": "x" * (number * 37 % 5000)})
"""


def numbers(folder: Path) -> list[int]:
    """The numbers of the notes that stand in a journal."""
    operations = [entry.operation for entry in JournalReader(folder)]
    return [int(operation.tags["number"]) for operation in operations if isinstance(operation, SetTags)]


def run_script(script: str, folder: Path) -> str:
    """Run a script that writes a journal, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", HEADER + script, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kill", range(5))
def test_everything_that_was_recorded_survives_a_kill(tmp_path: Path, kill: int) -> None:
    script = """
journal.append(StartRun(run="r", name="r"))
for number in range(10**9):
    journal.append(note(number))
    os.write(1, b"%d\\n" % number)
"""
    writer = subprocess.Popen([sys.executable, "-c", HEADER + script, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    first = writer.stdout.readline()
    # How far it comes does not matter; that it is killed at any point of its loop does.
    with suppress(subprocess.TimeoutExpired):
        writer.wait(0.02 * kill)
    writer.kill()
    promised = [int(line) for line in (first + writer.stdout.read()).splitlines(keepends=True) if line.endswith(b"\n")]
    writer.wait()
    writer.stdout.close()

    found = numbers(tmp_path)
    assert found == list(range(len(found)))
    assert len(found) >= len(promised) > 0
    assert recover(tmp_path) == ("r",)
    assert numbers(tmp_path) == found
    *_, end, close = (entry.operation for entry in JournalReader(tmp_path))
    assert (type(end), type(close)) == (EndRun, CloseJournal)


def test_an_interrupt_in_the_middle_of_recording_leaves_a_valid_chain(tmp_path: Path) -> None:
    script = """
class Interrupt(BaseException): pass
def interrupt(*_):
    global is_recording
    if is_recording:
        is_recording = False
        raise Interrupt
signal.signal(signal.SIGALRM, interrupt)
recorded, number, interrupts, is_recording = [], 0, 0, False
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
while interrupts < 400:
    number += 1
    try:
        is_recording = True
        journal.append(note(number % 100))
        is_recording = False
        recorded.append(number % 100)
    except Interrupt:
        interrupts += 1
signal.setitimer(signal.ITIMER_REAL, 0)
journal.close()
read = [int(entry.operation.tags["number"]) for entry in list(JournalReader(folder))[:-1]]
# Each recorded one is there; an interrupted one is there or not, but never torn and never twice.
assert len(recorded) <= len(read) <= number
remaining = iter(read)
assert all(one in remaining for one in recorded)
print(len(recorded))
"""
    assert int(run_script(script, tmp_path)) > 100


def test_a_full_disk_is_one_error_and_leaves_the_earlier_lines_unharmed(tmp_path: Path) -> None:
    script = """
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 50_000))
recorded = 0
try:
    while True:
        journal.append(note(recorded))
        recorded += 1
except JournalError as error:
    print(error)
assert len(list(JournalReader(folder))) == recorded > 5
size = (folder / "journal.jsonl").stat().st_size
for _ in range(3):
    try:
        journal.append(note(999))
        raise SystemExit("recorded on a full disk")
    except JournalError:
        pass
# Somebody made room: it goes on after the last whole line.
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
journal.append(note(recorded))
journal.close()
assert len(list(JournalReader(folder))) == recorded + 2
"""
    message = run_script(script, tmp_path)
    assert "cannot be written" in message
    assert "File too large" in message
    found = numbers(tmp_path)
    assert found == list(range(len(found)))


def test_closing_on_a_full_disk_lets_go_of_the_journal_and_recovery_ends_its_runs(tmp_path: Path) -> None:
    script = """
journal.append(StartRun(run="r", name="r"))
resource.setrlimit(resource.RLIMIT_FSIZE, (journal._end.size, 50_000))
try:
    journal.append(StartRun(run="never", name="never"))
    raise SystemExit("recorded on a full disk")
except JournalError:
    pass
try:
    journal.close()
    raise SystemExit("closed on a full disk")
except JournalError:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
FileJournal(folder).abandon()
"""
    run_script(script, tmp_path)
    assert recover(tmp_path) == ("r",)
    kinds = [type(entry.operation) for entry in JournalReader(tmp_path)]
    assert kinds == [StartRun, EndRun, CloseJournal]


def test_a_staged_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    script = """
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 200_000))
source = folder / "source"
journal.stage(bytes(100_000))
for content in (bytes(100_001), source):
    if content is source:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        source.write_bytes(bytes(150_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 200_000))
    try:
        journal.stage(content)
        raise SystemExit("staged on a full disk")
    except JournalError as error:
        print(error)
"""
    assert run_script(script, tmp_path).count("File too large") == 2
    assert [path.stat().st_size for path in (tmp_path / "artifacts").iterdir()] == [100_000]


def test_a_failed_flush_is_not_forgotten(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    read_end, write_end = os.pipe()
    journal.append(SetTags(run="r", tags={}))
    # A pipe cannot be flushed: the one such failure that needs no broken disk.
    os.dup2(write_end, journal._file)
    for _ in range(2):
        with pytest.raises(JournalError, match="cannot be written"):
            journal.sync()
    with pytest.raises(JournalError, match="cannot be written"):
        journal.abandon()
    assert not is_being_written(tmp_path)
    os.close(read_end)
    os.close(write_end)


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_folder_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path, place: str) -> None:
    # A file where a folder should be is refused to everybody, also to root.
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"")
    with pytest.raises(JournalError, match=r"tracking\.journal"):
        FileJournal(blocked if place == "file" else blocked / "journal")
    assert blocked.read_bytes() == b""


def test_a_read_only_folder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only to root")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(JournalError, match="cannot be written"):
            FileJournal(tmp_path / "journal")
    finally:
        tmp_path.chmod(0o700)


def test_a_writer_that_is_stopped_keeps_its_lock_until_it_dies(tmp_path: Path) -> None:
    script = "print('ready', flush=True)\nsignal.pause()\n"
    writer = subprocess.Popen([sys.executable, "-c", HEADER + script, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    writer.send_signal(signal.SIGSTOP)
    assert is_being_written(tmp_path)
    writer.kill()
    writer.wait()
    writer.stdout.close()
    assert not is_being_written(tmp_path)
