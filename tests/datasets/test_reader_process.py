"""Reading tables in a process of its own: the same tables and errors, and nothing a file does reaches the parent."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hokusai import errors
from hokusai.datasets import reader_handle
from hokusai.datasets.read_settings import ReadLimits, ReadSettings
from hokusai.datasets.reader_frames import decode_error, encode_error
from hokusai.datasets.reader_process import ReceivedTable, TableReader
from hokusai.datasets.tables import read_table
from hokusai.errors import DataError, SchemaMismatchError, TableLimitError, UnreadableTableError, ValueMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SMALL = "word,number\nlow,1\nhigh,2\n"
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux about a process")


@pytest.fixture(scope="module")
def reader() -> Iterator[TableReader]:
    with TableReader() as reader:
        yield reader


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def small(folder: Path) -> Path:
    path = folder / "small.csv"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def large(folder: Path) -> Path:
    """A table of several batches, too large for a pipe."""
    path = folder / "large.parquet"
    numbers = np.random.default_rng(0).integers(0, 1 << 60, size=(4, 400_000))
    pq.write_table(pa.table({f"n{position}": column for position, column in enumerate(numbers)}), path)
    return path


def idle_processes(reader: TableReader) -> list[int]:
    return [child._process.pid for child in reader._idle]


def process_of(table: ReceivedTable) -> int:
    return table._child._process.pid


def has_ended(process: int) -> bool:
    """Whether no such process runs any more, waiting a while for it."""
    for _ in range(500):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        with contextlib.suppress(OSError):  # an orphan whose new parent does not ask how it ended
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        threading.Event().wait(0.02)
    return False


def raised(read: Callable[[], object]) -> DataError:
    with pytest.raises(DataError) as caught:
        read()
    return caught.value


# --- the same as without a process -----------------------------------------------------------------------------------


def test_a_table_read_in_a_process_is_the_table_read_here(reader: TableReader, small: Path, large: Path) -> None:
    for path in (small, large):
        here, there = read_table(path), reader.read(path)
        assert there.table.equals(here.table)
        assert there.files == here.files


def test_settings_expected_types_and_columns_reach_the_process(reader: TableReader, folder: Path) -> None:
    path = folder / "typed.csv"
    path.write_text("a;b;c\n1;2;NA\n3;4;x\n")
    settings = ReadSettings(delimiter=";", types={"a": "string"}, missing_values=("NA",))
    table = reader.read(
        path, settings=settings, expected=pa.schema([("b", pa.float64())]), columns=["c", "b", "a"]
    ).table
    assert table.to_pydict() == {"c": [None, "x"], "b": [2.0, 4.0], "a": ["1", "3"]}


def test_a_table_without_rows_has_its_columns(reader: TableReader, folder: Path) -> None:
    path = folder / "no-rows.csv"
    path.write_text("a,b\n")
    assert reader.read(path).table.column_names == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("ragged.csv", b"a,b\n1,2,3\n", UnreadableTableError),
        ("misfit.csv", b"a\n1\n" * 1 + b"x\n" + b"1\n" * 20, ValueMismatchError),
        ("empty.json", b"", UnreadableTableError),
        ("cut.parquet", b"PAR1", UnreadableTableError),
        ("surrogate.jsonl", b'{"\\ud800": 1}\n', UnreadableTableError),
    ],
)
def test_a_refusal_has_the_class_message_attributes_and_exit_code_that_it_has_here(
    reader: TableReader, folder: Path, name: str, content: bytes, kind: type[DataError]
) -> None:
    path = folder / name
    path.write_bytes(content)
    here, there = raised(lambda: read_table(path)), raised(lambda: reader.read(path))
    assert type(there) is type(here) is kind
    assert (str(there), vars(there), there.exit_code) == (str(here), vars(here), here.exit_code)


def test_a_missing_column_is_reported_with_its_attributes(reader: TableReader, small: Path) -> None:
    error = raised(lambda: reader.read(small, columns=["word", "label"]))
    assert isinstance(error, SchemaMismatchError)
    assert (error.missing, error.found) == (("label",), ("word", "number"))


EXAMPLES = [
    errors.DataError("a.csv", "broken"),
    errors.UnreadableTableError("a\udcff.csv", "broken"),
    errors.TableLimitError("a.csv", limit="data.limits.max_rows", got="3 rows", allowed=2, unit="rows"),
    errors.SchemaMismatchError("a.csv", missing=["x"], found=["y", "z"]),
    errors.ValueMismatchError("a.csv", column="x", row=3, value="1,5", expected="float"),
    errors.ContractViolationError("a.csv", contract="c.toml", violations=["one", "two"]),
    errors.PersonalDataError("a.csv", found=[("x", "email"), ("y", "iban")]),
    errors.DuplicateRowsError("a.csv", rows=3, where="the base"),
    errors.BenchmarkLeakError("a.csv", rows=3),
    errors.ConfigurationError("unknown", key="data.types.x", line=3),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_way_between_processes(error: errors.HokusaiError) -> None:
    told = decode_error(encode_error(error))
    assert type(told) is type(error)
    assert (str(told), vars(told), told.exit_code) == (str(error), vars(error), error.exit_code)


def test_every_class_of_data_error_is_among_the_examples() -> None:
    classes = {getattr(errors, name) for name in errors.__all__}
    assert {kind for kind in classes if issubclass(kind, DataError)} <= {type(error) for error in EXAMPLES}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"class": "DataError"}',
        b'{"class": "SystemExit", "message": "", "attributes": {}}',
        b'{"class": "__doc__", "message": "", "attributes": {}}',
        b'{"class": "DataError", "message": 3, "attributes": {}}',
    ],
)
def test_what_is_no_error_of_ours_is_not_made_into_one(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_error(content)


# --- one process, many tables ----------------------------------------------------------------------------------------


def test_no_process_is_started_before_a_table_is_opened() -> None:
    with TableReader() as reader:
        assert idle_processes(reader) == []


def test_twenty_tables_and_the_refusals_between_them_take_one_process(folder: Path, small: Path) -> None:
    broken = folder / "broken.csv"
    broken.write_text("a,b\n1\n")
    with TableReader() as reader:
        reader.read(small)
        processes = idle_processes(reader)
        for number in range(20):
            path = folder / f"{number}.csv"
            path.write_text(f"a\n{number}\n")
            assert reader.read(path).table.to_pydict() == {"a": [number]}
            raised(lambda: reader.read(broken))
        assert idle_processes(reader) == processes
    assert has_ended(processes[0])


def test_two_tables_that_are_open_at_once_do_not_mix(reader: TableReader, large: Path, small: Path) -> None:
    with reader.open(large) as first, reader.open(large) as second, reader.open(small) as third:
        pairs = list(zip(first, second, strict=True))
        assert all(one.equals(other) for one, other in pairs)
        assert sum(one.num_rows for one, _ in pairs) == 400_000
        assert next(iter(third)).to_pydict() == {"word": ["low", "high"], "number": [1, 2]}


def test_two_readers_and_several_threads_read_at_once(large: Path) -> None:
    expected = read_table(large).table
    right: list[bool] = []

    def read(reader: TableReader) -> None:
        right.append(reader.read(large).table.equals(expected))

    with TableReader() as one, TableReader() as other:
        threads = [threading.Thread(target=read, args=(reader,)) for reader in (one, other, one)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert right == [True] * 3


def test_a_relative_path_follows_the_working_directory(
    reader: TableReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv").write_text(f"a\n{name}\n")
        monkeypatch.chdir(tmp_path / name)
        got = reader.read(Path("t.csv"))
        assert got.table.to_pydict() == {"a": [name]}
        assert got.files[0].path == "t.csv"


def test_a_table_left_before_its_end_does_not_pretend_to_be_whole(large: Path, small: Path) -> None:
    with TableReader() as reader:
        with reader.open(large) as table:
            next(iter(table))
            process = process_of(table)
        assert table.files == ()
        with pytest.raises(DataError, match="closed before its last row"):
            list(table)
        assert has_ended(process)
        assert reader.read(small).rows == 2


def test_an_exception_of_the_caller_passes_as_it_is(reader: TableReader, small: Path) -> None:
    with pytest.raises(OSError, match="mine"), reader.open(small):
        raise OSError("mine")


# --- limits and deaths -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parquet_bomb(folder: Path) -> Path:
    """One text of 200 MB in a file of kilobytes."""
    path = folder / "bomb.parquet"
    pq.write_table(pa.table({"a": ["x" * 200_000_000]}), path, compression="zstd", use_dictionary=False)
    return path


def limited(**limits: int) -> ReadSettings:
    return ReadSettings(limits=ReadLimits(**limits))


def test_a_parquet_bomb_meets_the_limit_of_memory_and_the_process_lives_on(parquet_bomb: Path, small: Path) -> None:
    with TableReader() as reader:
        reader.read(small)
        error = raised(lambda: reader.read(parquet_bomb, settings=limited(max_memory_bytes=100_000_000)))
        assert isinstance(error, TableLimitError)
        assert (error.limit, error.allowed) == ("data.limits.max_memory_bytes", 100_000_000)
        assert str(parquet_bomb) in str(error)
        assert reader.read(small).rows == 2
        assert len(idle_processes(reader)) == 1


def test_a_gzip_bomb_meets_a_limit(reader: TableReader, folder: Path, small: Path) -> None:
    path = folder / "bomb.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"a,b\n")
        for _ in range(100):
            file.write(b"1,2\n" * 1_000_000)
    error = raised(lambda: reader.read(path, settings=limited(max_decoded_bytes=100_000_000)))
    assert isinstance(error, TableLimitError)
    assert error.limit == "data.limits.max_decoded_bytes"
    assert reader.read(small).rows == 2


def test_memory_taken_by_one_table_is_not_charged_to_the_next(reader: TableReader, folder: Path, large: Path) -> None:
    words = pa.table({f"c{number}": [f"{number}-{row}" for row in range(30_000)] for number in range(60)})
    pq.write_table(words, folder / "wide.parquet")
    reader.read(folder / "wide.parquet")
    for _ in range(4):
        assert reader.read(large, settings=limited(max_memory_bytes=100_000_000)).rows == 400_000


@needs_proc
def test_the_process_has_limits_of_its_own(reader: TableReader, small: Path) -> None:
    with reader.open(small, settings=limited(max_seconds=7)) as table:
        limits = resource.prlimit(process_of(table), resource.RLIMIT_CORE)
        seconds, hard = resource.prlimit(process_of(table), resource.RLIMIT_CPU)
        list(table)
    assert limits == (0, 0)
    assert 7 <= seconds < 10_000
    assert hard in {resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_CPU)[1]}


@needs_proc
def test_what_is_secret_in_the_environment_stays_here(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with TableReader() as reader, reader.open(small) as table:
        environment = Path(f"/proc/{process_of(table)}/environ").read_bytes()
        list(table)
    assert b"hunter2" not in environment
    assert b"PATH=" in environment


def test_a_process_that_hangs_is_ended_after_the_allowed_time(large: Path, small: Path) -> None:
    with TableReader() as reader:
        with reader.open(large, settings=limited(max_seconds=1)) as table:
            os.kill(process_of(table), signal.SIGSTOP)
            error = raised(lambda: list(table))
            process = process_of(table)
        assert isinstance(error, TableLimitError)
        assert (error.limit, error.allowed) == ("data.limits.max_seconds", 1)
        assert has_ended(process)
        assert reader.read(small).rows == 2


def test_a_caller_that_takes_its_time_does_not_use_up_the_time_of_the_file(reader: TableReader, large: Path) -> None:
    with reader.open(large, settings=limited(max_seconds=1)) as table:
        batches = iter(table)
        rows = next(batches).num_rows
        threading.Event().wait(1.2)
        assert rows + sum(batch.num_rows for batch in batches) == 400_000


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (signal.SIGSEGV, "died of SIGSEGV"),
        (signal.SIGABRT, "died of SIGABRT"),
        (signal.SIGBUS, "died of SIGBUS"),
        (signal.SIGKILL, "out of memory"),
        (signal.SIGXCPU, "data.limits.max_seconds"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_process_that_dies_in_the_middle_is_a_message_and_the_next_table_gets_a_new_one(
    large: Path, small: Path, sent: signal.Signals, said: str
) -> None:
    with TableReader() as reader:
        with reader.open(large) as table:
            os.kill(process_of(table), sent)
            for _ in range(2):  # it does not become whole by asking again
                with pytest.raises(UnreadableTableError, match=said) as caught:
                    list(table)
        assert caught.value.source == str(large)
        assert reader.read(small).rows == 2


def test_a_process_that_dies_while_it_waits_is_replaced(small: Path) -> None:
    with TableReader() as reader:
        reader.read(small)
        (process,) = idle_processes(reader)
        os.kill(process, signal.SIGKILL)
        reader._idle[0]._process.wait()
        assert reader.read(small).rows == 2
        assert idle_processes(reader) != [process]


def test_ctrl_c_does_not_end_the_process_on_its_own(small: Path) -> None:
    with TableReader() as reader:
        reader.read(small)
        (process,) = idle_processes(reader)
        os.kill(process, signal.SIGINT)
        assert reader.read(small).rows == 2
        assert idle_processes(reader) == [process]


def test_a_process_that_cannot_start_says_why(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TableReader() as reader, monkeypatch.context() as patch:
        patch.setattr(sys, "path", [])
        with pytest.raises(DataError, match=r"before it began .*No module named"):
            reader.read(small)
        patch.setattr(sys, "executable", str(small.parent / "no-python"))
        with pytest.raises(DataError, match="no process could be started"):
            reader.read(small)


READY, SCHEMA, BATCH, FILES, ERROR = range(1, 6)


def frame(kind: int, content: bytes, *, size: int | None = None) -> bytes:
    return bytes([kind]) + (len(content) if size is None else size).to_bytes(8, "little") + content


def spoiled_batch() -> bytes:
    """A batch whose text is no UTF-8."""
    texts = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], "i4")), pa.py_buffer(b"\xff")])
    return bytes(pa.record_batch([texts], names=["a"]).serialize())


TEXTS = bytes(pa.schema([("a", pa.string())]).serialize())


@pytest.mark.parametrize(
    "sent",
    [
        frame(9, b""),
        frame(SCHEMA, b"", size=1 << 62),
        frame(SCHEMA, b"nonsense"),
        frame(BATCH, b""),
        frame(ERROR, b"{}"),
        frame(ERROR, b"\xff"),
        frame(SCHEMA, TEXTS) + frame(BATCH, b"nonsense"),
        frame(SCHEMA, TEXTS) + frame(BATCH, spoiled_batch()),
        frame(SCHEMA, TEXTS) + frame(SCHEMA, TEXTS),
        frame(SCHEMA, TEXTS) + frame(FILES, b"[{}]"),
        frame(SCHEMA, TEXTS) + frame(FILES, b"3"),
    ],
)
def test_a_process_that_a_file_has_taken_over_cannot_make_its_parent_believe_nonsense(
    small: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    script = f"import sys; o = sys.stdout.buffer; o.write({frame(READY, b'') + sent!r}); o.flush(); sys.stdin.read()"
    monkeypatch.setattr(reader_handle, "_BOOT", script)
    with TableReader() as reader, pytest.raises(UnreadableTableError, match="sent no table"):
        reader.read(small)


# --- files that change, files without end ----------------------------------------------------------------------------


def test_a_pipe_and_a_device_are_refused_at_once(reader: TableReader, folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(DataError, match="pipe"):
        reader.read(folder / "pipe.csv")
    (folder / "zero.csv").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="device"):
        reader.read(folder / "zero.csv")


def test_a_file_that_grows_while_it_is_read_is_read_as_it_was_or_refused(reader: TableReader, tmp_path: Path) -> None:
    path = tmp_path / "growing.csv"
    path.write_text("a,b\n" + "1,2\n" * 50_000)
    done = threading.Event()

    def grow() -> None:
        with path.open("a") as file:
            while not done.is_set():
                file.write("3,4\n")
                file.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    outcomes: set[bool] = set()
    try:
        for _ in range(12):
            try:
                got = reader.read(path)
            except DataError as error:
                outcomes.add("changed" in str(error))
                continue
            content = path.read_bytes()[: got.size]
            outcomes.add(got.file_sha256 == hashlib.sha256(content).hexdigest())
            outcomes.add(got.rows == content.count(b"\n") - 1)
    finally:
        done.set()
        writer.join()
    assert outcomes == {True}


# --- parents of every kind -------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from pathlib import Path
from hokusai.datasets.reader_process import TableReader
with TableReader() as reader:
    print(reader.read(Path(sys.argv[-1])).table.to_pydict())
"""


@pytest.mark.parametrize("way", ["command", "standard input", "script without a guard"])
def test_the_parent_may_be_any_kind_of_program(
    small: Path, tmp_path: Path, way: str, subprocess_environment: dict[str, str]
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    arguments = {
        "command": ["-c", SCRIPT, str(small)],
        "standard input": ["-", str(small)],
        "script without a guard": ["script.py", str(small)],
    }[way]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=SCRIPT if way == "standard input" else "",
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=subprocess_environment,
    )
    assert (done.stdout, done.stderr) == ("{'word': ['low', 'high'], 'number': [1, 2]}\n", "")


def test_a_module_planted_beside_the_data_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "pyarrow", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\n")
    (tmp_path / "t.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with TableReader() as reader:
        assert reader.read(Path("t.csv")).rows == 1
    assert not (tmp_path / "ran").exists()


def test_the_process_imports_what_reading_needs_and_no_more(subprocess_environment: dict[str, str]) -> None:
    script = (
        "import sys, json, hokusai.datasets.reader_child, hokusai.datasets.tables; "
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True, env=subprocess_environment
    )
    assert not {"pandas", "mlflow", "sklearn", "scipy", "pydantic", "requests", "skops"} & set(json.loads(done.stdout))


ORPHAN = """
import sys, threading
from pathlib import Path
from hokusai.datasets.reader_process import TableReader
reader = TableReader()
with reader.open(Path(sys.argv[1])) as table:
    batches = iter(table)
    if sys.argv[2] == "waiting":
        list(batches)
    print(table._child._process.pid, flush=True)
    threading.Event().wait()
"""


@pytest.mark.parametrize("state", ["waiting", "writing"])
def test_a_parent_killed_outright_leaves_no_process_behind(
    large: Path, state: str, subprocess_environment: dict[str, str]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(large), state], stdout=subprocess.PIPE, text=True, env=subprocess_environment
    ) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        parent.kill()
    assert has_ended(process)


def test_a_parent_killed_while_its_process_works_leaves_it_no_time(
    folder: Path, subprocess_environment: dict[str, str]
) -> None:
    path = folder / "slow.json"
    path.write_text("[" + ",".join(['{"a": 1, "b": "x"}'] * 2_000_000) + "]")
    script = """
import sys, threading
from pathlib import Path
from hokusai.datasets.reader_process import TableReader
reader = TableReader()
reader.read(Path(sys.argv[1]))
print(reader._idle[0]._process.pid, flush=True)
reader.read(Path(sys.argv[2]))
"""
    small = folder / "first.csv"
    small.write_text(SMALL)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(small), str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=subprocess_environment,
    ) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        threading.Event().wait(0.3)
        parent.kill()
        killed = time.monotonic()
    assert has_ended(process)
    # It is at work for seconds; the watch on its standard input ends it in the middle.
    assert time.monotonic() - killed < 30
