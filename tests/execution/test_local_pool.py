"""Executors: one contract for every way to run jobs, and what the pool of processes promises beside it."""

# ruff: noqa: D102 - a test is named by its sentence

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from hokusai.errors import ExecutionError, HokusaiError, TrainingError
from hokusai.execution import adaptive
from hokusai.execution.adaptive import AdaptiveExecutor
from hokusai.execution.executor import JobFailure, JobResult, SequentialExecutor
from hokusai.execution.local_pool import LocalPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from hokusai.execution.executor import Executor
    from hokusai.execution.local_pool import StartMethod

needs_proc = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux about a process")
_FOLDER = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def jobs() -> Iterator[ModuleType]:
    """The module of the jobs, which the worker processes can import as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(_FOLDER)
        yield importlib.import_module("pool_jobs")


@pytest.fixture
def tables() -> dict[str, pa.Table]:
    table = pa.table({"a": [1, 2, 3], "b": [10, 20, 30]})
    return {"numbers": table, "again": table}


def outcomes(
    executor: Executor, jobs: Sequence[Any], tables: dict[str, pa.Table]
) -> tuple[dict[int, JobResult[Any] | JobFailure], dict[int, list[Any]]]:
    """Return how every job ended and what it said before; what it says afterwards is an error."""
    ended: dict[int, JobResult[Any] | JobFailure] = {}
    said: dict[int, list[Any]] = {number: [] for number in range(len(jobs))}

    def on_message(number: int, message: object) -> None:
        assert number not in ended
        said[number].append(message)

    for outcome in executor.run(jobs, tables=tables, on_message=on_message):
        assert outcome.job not in ended
        ended[outcome.job] = outcome
    return ended, said


def ignore(number: int, message: object) -> None:
    """Take no notice of a message."""


def has_ended(process: int) -> bool:
    """Whether no such process runs any more, waiting a while for it."""
    for _ in range(500):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{process}/stat").exists() and ") Z " in Path(f"/proc/{process}/stat").read_text("utf-8"):
            return True
        threading.Event().wait(0.02)
    return False


def descendants(process: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    found: list[int] = []
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in children.read_text("ascii").split():
            found += [int(child), *descendants(int(child))]
    return found


class ExecutorContract:
    """What every executor does. A subclass provides the fixture ``executor``."""

    def test_every_job_sees_the_tables_and_its_result_carries_its_number(
        self, executor: Executor, jobs: ModuleType, tables: dict[str, pa.Table]
    ) -> None:
        ended, said = outcomes(executor, [jobs.Sum("a"), jobs.Sum("b"), jobs.Sum("a")], tables)
        assert ended == {number: JobResult(job=number, value=value) for number, value in enumerate([6, 60, 6])}
        assert said == {0: ["summing a"], 1: ["summing b"], 2: ["summing a"]}

    def test_messages_of_a_job_arrive_in_order_and_all_of_them_before_its_result(
        self, executor: Executor, jobs: ModuleType, tables: dict[str, pa.Table]
    ) -> None:
        ended, said = outcomes(executor, [jobs.Count(5000), jobs.Count(0), jobs.Count(7)], tables)
        assert {number: len(messages) for number, messages in said.items()} == {0: 5000, 1: 0, 2: 7}
        assert said[0] == list(range(5000))
        assert len(ended) == 3

    def test_a_job_that_raises_our_error_fails_with_it_and_the_others_go_on(
        self, executor: Executor, jobs: ModuleType, tables: dict[str, pa.Table]
    ) -> None:
        ended, said = outcomes(executor, [jobs.Sum("a"), jobs.Fail(4), jobs.Sum("b")], tables)
        failure = ended.pop(1)
        assert isinstance(failure, JobFailure)
        assert isinstance(failure.error, TrainingError)
        assert (failure.error.seed, failure.error.reason) == (4, "it was told to.")
        assert failure.reason == str(failure.error)
        assert said[1] == ["about to fail"]
        assert ended == {0: JobResult(job=0, value=6), 2: JobResult(job=2, value=60)}

    def test_a_job_that_has_not_enough_memory_fails_and_the_others_go_on(
        self, executor: Executor, jobs: ModuleType, tables: dict[str, pa.Table]
    ) -> None:
        ended, _ = outcomes(executor, [jobs.Exhaust(), jobs.Sum("a")], tables)
        failure = ended[0]
        assert isinstance(failure, JobFailure)
        assert "memory" in failure.reason
        assert ended[1] == JobResult(job=1, value=6)

    def test_a_mistake_in_a_jobs_code_comes_out_of_the_iteration_as_it_is(
        self, executor: Executor, jobs: ModuleType, tables: dict[str, pa.Table]
    ) -> None:
        with pytest.raises(KeyError, match="no such table"):
            outcomes(executor, [jobs.Mistake()], tables)

    def test_an_executor_can_be_used_again_after_a_mistake_and_with_other_tables(
        self, executor: Executor, jobs: ModuleType, tables: dict[str, pa.Table]
    ) -> None:
        with pytest.raises(KeyError):
            outcomes(executor, [jobs.Sum("a"), jobs.Mistake(), jobs.Sum("a")], tables)
        ended, _ = outcomes(executor, [jobs.Sum("a")], {"numbers": pa.table({"a": [5]})})
        assert ended == {0: JobResult(job=0, value=5)}

    def test_no_jobs_give_no_results(self, executor: Executor, tables: dict[str, pa.Table]) -> None:
        assert outcomes(executor, [], tables) == ({}, {})

    def test_an_executor_can_be_closed_twice_and_used_again(
        self, executor: Executor, jobs: ModuleType, tables: dict[str, pa.Table]
    ) -> None:
        executor.close()
        executor.close()
        ended, _ = outcomes(executor, [jobs.Sum("a")], tables)
        assert ended == {0: JobResult(job=0, value=6)}


class TestSequentialExecutor(ExecutorContract):
    """The contract in this process."""

    @pytest.fixture
    def executor(self) -> Executor:
        return SequentialExecutor()


class TestLocalPool(ExecutorContract):
    """The contract in worker processes, forked and started anew."""

    @pytest.fixture
    def executor(self, pool: LocalPool) -> Executor:
        return pool


class TestAdaptiveExecutor(ExecutorContract):
    """The contract where the first job runs here and the others in a pool."""

    @pytest.fixture
    def executor(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Executor]:
        monkeypatch.setattr(adaptive, "usable_processors", lambda: 2)
        monkeypatch.setattr(adaptive, "_START_SECONDS", 0.0)
        with closing(AdaptiveExecutor(most=2)) as executor:
            yield executor


@pytest.mark.parametrize(
    ("processors", "start_seconds", "threads", "workers"),
    [(4, 0.0, 1, 3), (4, 0.0, 2, 2), (1, 0.0, 1, 1), (4, 60.0, 1, 1)],
)
def test_the_adaptive_executor_starts_processes_only_where_they_pay_off(
    jobs: ModuleType,
    tables: dict[str, pa.Table],
    monkeypatch: pytest.MonkeyPatch,
    processors: int,
    start_seconds: float,
    threads: int,
    workers: int,
) -> None:
    monkeypatch.setattr(adaptive, "usable_processors", lambda: processors)
    monkeypatch.setattr(adaptive, "_START_SECONDS", start_seconds)
    with closing(AdaptiveExecutor(threads=threads)) as executor:
        ended, _ = outcomes(executor, [jobs.Describe()] * 4, tables)
        assert executor.workers == workers
    processes = [outcome.value["pid"] for outcome in ended.values() if isinstance(outcome, JobResult)]
    assert len(processes) == 4
    here = [process == os.getpid() for _, process in sorted(zip(ended, processes, strict=True))]
    assert here == [True, *[workers == 1] * 3]


def test_the_adaptive_executor_keeps_here_what_cannot_be_sent(
    jobs: ModuleType, tables: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptive, "usable_processors", lambda: 2)
    monkeypatch.setattr(adaptive, "_START_SECONDS", 0.0)
    with closing(AdaptiveExecutor()) as executor:
        ended, _ = outcomes(executor, [jobs.Refuse()] * 3, tables)
        assert executor.workers == 1
    assert [str(outcome.error) for outcome in ended.values() if isinstance(outcome, JobFailure)] == [
        "nobody: gets here"
    ] * 3


def test_the_adaptive_executor_starts_no_more_workers_than_there_is_memory_for(
    jobs: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free = tmp_path / "meminfo"
    free.write_text("MemTotal: 100 kB\nMemAvailable: 1 kB\n")
    monkeypatch.setattr(adaptive, "_MEMINFO", free)
    monkeypatch.setattr(adaptive, "usable_processors", lambda: 8)
    monkeypatch.setattr(adaptive, "_START_SECONDS", 0.0)
    wide = pa.table({"a": list(range(100))})
    with closing(AdaptiveExecutor()) as executor:
        outcomes(executor, [jobs.Sum("a")] * 8, {"numbers": wide})
        assert executor.workers == 1


@pytest.fixture(scope="module", params=["fork", "spawn"])
def pool(request: pytest.FixtureRequest, jobs: ModuleType) -> Iterator[LocalPool]:
    """A pool of two workers."""
    assert jobs
    method: StartMethod = request.param
    if method == "fork" and sys.platform != "linux":
        pytest.skip("forks safely on Linux alone")
    with closing(LocalPool(workers=2, start_method=method)) as pool:
        yield pool


@needs_proc
def test_workers_map_one_file_print_nothing_ignore_ctrl_c_and_read_no_input(
    pool: LocalPool, jobs: ModuleType, tables: dict[str, pa.Table], capfd: pytest.CaptureFixture[str]
) -> None:
    ended, _ = outcomes(pool, [jobs.Describe()] * 4, tables)
    for outcome in ended.values():
        assert isinstance(outcome, JobResult)
        assert outcome.value["pid"] != os.getpid()
        assert outcome.value["stdin"] == b""
        assert outcome.value["ignores_interrupt"]
        assert outcome.value["is_mapped"]
        assert outcome.value["same_table"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="forks safely on Linux alone")
@needs_proc
def test_modules_are_imported_before_the_first_job_and_one_that_is_missing_is_left_out(
    jobs: ModuleType, tables: dict[str, pa.Table]
) -> None:
    with closing(LocalPool(workers=1, preload=["no_such_module", "statistics"], start_method="fork")) as pool:
        ended, _ = outcomes(pool, [jobs.Describe()], tables)
    outcome = ended[0]
    assert isinstance(outcome, JobResult)
    assert "statistics" in outcome.value["modules"]


@pytest.mark.parametrize(
    ("job", "reason"),
    [("Die(9)", "killed from outside"), ("Die(11)", "SIGSEGV"), ("Leave()", "ended with code 3")],
)
def test_a_worker_that_dies_fails_its_own_job_with_the_reason_and_the_others_finish(
    pool: LocalPool, jobs: ModuleType, tables: dict[str, pa.Table], job: str, reason: str
) -> None:
    dying = eval(job, vars(jobs))  # noqa: S307 - our own words
    ended, _ = outcomes(pool, [jobs.Sum("a"), dying, jobs.Sum("b"), dying, jobs.Sum("a"), jobs.Sum("b")], tables)
    for number in (1, 3):
        failure = ended.pop(number)
        assert isinstance(failure, JobFailure)
        assert reason in failure.reason
        assert failure.error is None
    assert {outcome.job: outcome.value for outcome in ended.values() if isinstance(outcome, JobResult)} == {
        0: 6,
        2: 60,
        4: 6,
        5: 60,
    }


def test_a_job_that_runs_beside_a_dying_one_is_not_disturbed(
    pool: LocalPool, jobs: ModuleType, tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    done = tmp_path / "done"
    seen: list[int] = []
    iteration = pool.run(
        [jobs.WaitFor(str(done)), jobs.Die(9)], tables=tables, on_message=lambda _, process: seen.append(process)
    )
    first = next(iteration)
    assert isinstance(first, JobFailure)
    assert first.job == 1
    done.touch()
    second = next(iteration)
    assert isinstance(second, JobResult)
    assert second.value == seen[0]


def test_messages_arrive_while_the_job_still_runs(
    pool: LocalPool, jobs: ModuleType, tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    done = tmp_path / "done"
    ended = list(
        # Without the message the job would wait for ever.
        pool.run([jobs.WaitFor(str(done))], tables=tables, on_message=lambda *_: done.touch())
    )
    assert [outcome.job for outcome in ended] == [0]


@needs_proc
def test_leaving_the_iteration_early_ends_the_jobs_that_run(
    pool: LocalPool, jobs: ModuleType, tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    seen: list[int] = []
    waits = jobs.WaitFor(str(tmp_path / "never"))

    def on_message(_: int, process: int) -> None:
        seen.append(process)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(pool.run([waits, waits], tables=tables, on_message=on_message))
    assert has_ended(seen[0])
    ended, _ = outcomes(pool, [jobs.Sum("a")], tables)
    assert ended == {0: JobResult(job=0, value=6)}


@needs_proc
def test_a_closed_pool_leaves_no_process_and_no_file(jobs: ModuleType, tables: dict[str, pa.Table]) -> None:
    before = set(descendants(os.getpid()))
    pool = LocalPool(workers=2)
    outcomes(pool, [jobs.Sum("a")] * 4, tables)
    assert pool._folder is not None
    folder = Path(pool._folder.name)
    started = set(descendants(os.getpid())) - before
    assert started
    assert folder.exists()
    pool.close()
    assert all(has_ended(process) for process in started)
    assert not folder.exists()


def test_a_worker_killed_while_it_has_nothing_to_do_is_replaced(
    pool: LocalPool, jobs: ModuleType, tables: dict[str, pa.Table]
) -> None:
    outcomes(pool, [jobs.Sum("a")] * 4, tables)
    assert pool._idle
    for worker in pool._idle:
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.connection.poll(60)  # its end of the connection is closed
    ended, _ = outcomes(pool, [jobs.Sum("a")] * 4, tables)
    assert all(isinstance(outcome, JobResult) for outcome in ended.values())


@needs_proc
@pytest.mark.skipif(sys.platform != "linux", reason="forks safely on Linux alone")
def test_a_killed_server_is_replaced_and_the_jobs_finish(
    jobs: ModuleType, tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    before = set(descendants(os.getpid()))
    with closing(LocalPool(workers=2, start_method="fork")) as pool:
        outcomes(pool, [jobs.Sum("a")], tables)
        [server] = [
            process
            for process in set(descendants(os.getpid())) - before
            if b"serve_forks" in Path(f"/proc/{process}/cmdline").read_bytes() and descendants(process)
        ]
        os.kill(server, signal.SIGKILL)
        assert has_ended(server)
        ended, _ = outcomes(pool, [jobs.Leave(), *[jobs.Sum("a")] * 5], tables)
    assert sum(isinstance(outcome, JobResult) for outcome in ended.values()) == 5
    assert isinstance(ended[0], JobFailure)
    assert tmp_path.exists()


def test_a_result_that_cannot_be_sent_fails_its_job_with_the_way_out(
    pool: LocalPool, jobs: ModuleType, tables: dict[str, pa.Table]
) -> None:
    ended, _ = outcomes(pool, [jobs.ReturnFunction(), jobs.Sum("a")], tables)
    failure = ended[0]
    assert isinstance(failure, JobFailure)
    assert "Use one worker" in failure.reason
    assert ended[1] == JobResult(job=1, value=6)


def test_a_job_that_cannot_be_sent_is_refused_before_a_process_starts(
    pool: LocalPool, jobs: ModuleType, tables: dict[str, pa.Table]
) -> None:
    with pytest.raises(ExecutionError, match="Use one worker"):
        outcomes(pool, [jobs.Refuse()], tables)


def test_a_job_whose_code_workers_cannot_import_fails_with_the_way_out(
    tables: dict[str, pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "soon_gone.py").write_text("class Job:\n    def __call__(self, tables, send): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    job = importlib.import_module("soon_gone").Job()
    (tmp_path / "soon_gone.py").unlink()
    assert pickle.dumps(job)
    with closing(LocalPool(workers=1)) as pool:
        ended, _ = outcomes(pool, [job], tables)
    failure = ended[0]
    assert isinstance(failure, JobFailure)
    assert "soon_gone" in failure.reason
    assert "Use one worker" in failure.reason


def test_an_exception_that_cannot_be_sent_comes_out_in_words(
    pool: LocalPool, jobs: ModuleType, tables: dict[str, pa.Table]
) -> None:
    with pytest.raises(HokusaiError, match="StrangeError: 1 and 2"):
        outcomes(pool, [jobs.StrangeMistake()], tables)


_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import pyarrow as pa
import pool_jobs
from hokusai.execution.local_pool import LocalPool

# No `if __name__ == "__main__"`: the workers do not run this script again.
print("begun", flush=True)
pool = LocalPool(workers=2, start_method=sys.argv[3])
seen = []
def on_message(number, process):
    if process and process not in seen:
        seen.append(process)
        if len(seen) == 2:
            print(pool._folder.name, *seen, flush=True)
list(pool.run([pool_jobs.WaitFor(sys.argv[2])] * 2, tables={}, on_message=on_message))
"""


@needs_proc
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_parent_that_is_ended_leaves_no_worker_and_no_table_behind(
    tmp_path: Path, end: signal.Signals, method: str
) -> None:
    if method == "fork" and sys.platform != "linux":
        pytest.skip("forks safely on Linux alone")
    command = [sys.executable, "-c", _SCRIPT, _FOLDER, str(tmp_path / "never"), method]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "begun\n"
        folder, *workers = parent.stdout.readline().split()
        started = descendants(parent.pid)
        assert {int(process) for process in workers} <= set(started)
        assert list(Path(folder).iterdir())
        parent.send_signal(end)
    assert all(has_ended(process) for process in started)
    for _ in range(500):
        if not Path(folder).exists():
            break
        threading.Event().wait(0.02)
    assert not Path(folder).exists()
    assert Path(tempfile.gettempdir()).exists()
