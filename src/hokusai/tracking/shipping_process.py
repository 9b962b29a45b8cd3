"""The process that ships journals while evaluations work.

:class:`ShippingProcess` is the handle in the process that evaluates; :func:`main` is what runs on the other side. They
talk in JSON lines: ``{"follow": FOLDER}``, ``{"ask": QUESTION}`` and ``{"finish": true}`` one way, events the other.
The process has MLflow to itself: its import, its global settings and its hanging calls never touch the evaluation. It
ignores the signals that reach a whole group of processes (Ctrl-C, termination, a terminal that closes), because the
evaluation decides what they mean, and when the evaluation dies without a word it closes the dead runs, ships what there
is, and ends.
"""

from __future__ import annotations

import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hokusai.errors import HokusaiError, JournalError, TrackingServerError
from hokusai.records import BenchmarkAnswer, BenchmarkHistory, BenchmarkQuestion
from hokusai.tracking.journal import is_being_written
from hokusai.tracking.mlflow_config import TrackingSettings, shipper_environment
from hokusai.tracking.shipper import JournalShipper, ShippingState, read_shipping_state, ship

if TYPE_CHECKING:
    from collections.abc import Callable

    from filelock import FileLock

    from hokusai.tracking.mlflow_client import MlflowStore
    from hokusai.tracking.mlflow_ledger import BenchmarkLedger

__all__ = ["ShippingProcess"]

_MODULE = "hokusai.tracking.shipping_process"
_URI_VARIABLE = "HOKUSAI_SHIPPING_URI"
_REGISTRY_VARIABLE = "HOKUSAI_SHIPPING_REGISTRY_URI"
_START_SECONDS = 60.0
_GRACE_SECONDS = 0.2
_PULSE_SECONDS = 0.4
_POLL_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_DEATH_SECONDS = 10.0
_ADVICE = "What was recorded is safe in the journal. Run `hokusai sync` later."


class ShippingProcess:
    """Ships journals from a process of its own, from the moment it is made.

    Args:
        uri: Tracking URI, with credentials if it has any.
        settings: Time-outs.
    """

    def __init__(self, uri: str, settings: TrackingSettings) -> None:
        """Start the process; it imports MLflow while the caller works."""
        self._owner = os.getpid()
        self._changed = threading.Condition()
        self._ready = False
        self._patience = _Patience(settings)
        self._complete: set[str] = set()
        self._refused: set[str] = set()
        self._problems: dict[str, str] = {}
        self._answers: dict[str, BenchmarkAnswer | None] = {}
        self._has_given_up = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self._process = subprocess.Popen(  # noqa: S603  (our own module, by our own interpreter)
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={
                **os.environ,
                **shipper_environment(settings),
                _URI_VARIABLE: uri,
                _REGISTRY_VARIABLE: settings.registry_uri,
                # Nothing is imported from the working directory, where contributed files may lie.
                "PYTHONSAFEPATH": "1",
            },
            # Ctrl-C must not reach it while Python starts, before it can ignore signals.
            process_group=0,
        )
        self._listener = threading.Thread(target=self._listen, name="hokusai-shipping-news", daemon=True)
        self._listener.start()

    def follow(self, folder: Path) -> None:
        """Ship the journal in ``folder``, and what will be added to it."""
        with self._changed:
            self._refused.discard(str(folder))
        self._tell({"follow": str(folder)})

    def wait(self, folder: Path) -> tuple[ShippingState | None, str]:
        """Wait until a closed journal has been shipped whole.

        Give up at once when the journal was refused for good; when waiting for a store that fails or keeps silent has
        cost ``outage_seconds`` since the call; and when a store that is there has made no progress for
        ``wait_seconds``.

        Returns:
            How far the journal has come, and why it has not come further: empty when it is complete.
        """
        key = str(folder)
        if os.getpid() != self._owner:
            return read_shipping_state(folder), "a forked process cannot wait for the record of the one that made it."
        # It may be pausing after a failure; there is nothing left to wait for.
        self._tell({"wake": True})
        with self._changed:
            self._patience.begin()
            while key not in self._complete | self._refused and self._process_is_alive():
                left = self._patience.left() if self._ready else _START_SECONDS - self._patience.waited()
                if left <= 0:
                    self._has_given_up = True
                    break
                self._changed.wait(min(left, _LONGEST_PAUSE_SECONDS))
            if key in self._complete:
                return read_shipping_state(folder), ""
            problem = self._problems.get(key) or self._problems.get("") or self._silence()
        return read_shipping_state(folder), problem

    def ask(self, question: BenchmarkQuestion) -> None:
        """Ask the store about a benchmark; the answer comes while the caller works."""
        self._tell({"ask": dataclasses.asdict(question)})

    def answer(self, question: BenchmarkQuestion) -> BenchmarkAnswer | None:
        """Return what the store said, or None when it failed, or did not say it within ``outage_seconds`` of waiting.

        The seconds in vain count for :meth:`wait`: a store that keeps silent costs no more for being asked.
        """
        key = _question_key(dataclasses.asdict(question))
        if os.getpid() != self._owner:
            return None
        with self._changed:
            self._patience.begin()
            while key not in self._answers and not self._has_given_up and self._process_is_alive():
                left = self._patience.left() if self._ready else _START_SECONDS - self._patience.waited()
                if left <= 0 or self._patience.is_failing:
                    self._patience.keep_count()
                    break
                self._changed.wait(min(left, _LONGEST_PAUSE_SECONDS))
            return self._answers.get(key)

    def close(self) -> None:
        """End the process. What it has not shipped stays in the journals."""
        if os.getpid() != self._owner:
            # Forked: the process belongs to the one that started it.
            return
        self._tell({"finish": True})
        # It ends with the stream of its news; waiting for the process with a time-out would poll.
        self._listener.join(_GRACE_SECONDS if self._has_given_up else _LONGEST_PAUSE_SECONDS)
        if self._listener.is_alive():
            # One that hangs in a request loses nothing when it is killed: everything is sent again.
            self._process.kill()
            self._listener.join()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                stream.close()

    def _tell(self, message: dict[str, str | bool | dict[str, Any]]) -> None:
        stdin = self._process.stdin
        if stdin is None or self._process.poll() is not None:
            return
        try:
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
        except BrokenPipeError:
            # It has ended in this moment; wait() finds out and says so.
            pass

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            news = json.loads(line)
            with self._changed:
                folder = news.get("folder", "")
                self._ready = True
                if "asked" in news:
                    self._answers[news["asked"]] = _answer_from(news["answer"])
                elif "problem" in news:
                    self._problems[folder] = news["problem"]
                    self._patience.note_problem()
                    if news.get("final"):
                        self._refused.add(folder)
                elif "waiting" in news:
                    self._patience.note_waiting()
                elif "pulse" in news:
                    self._patience.note_pulse()
                else:
                    self._patience.note_progress(after=news.get("took", 0.0))
                    self._problems.pop(folder, None)
                if news.get("complete"):
                    self._complete.add(folder)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _process_is_alive(self) -> bool:
        return self._listener.is_alive()

    def _silence(self) -> str:
        if self._process_is_alive():
            return f"the tracking store gave no answer for {self._patience.silence():.1f} seconds. {_ADVICE}"
        self._errors.seek(0)
        last_words = self._errors.read().decode(errors="replace").strip().splitlines()
        words = last_words[-1] if last_words else "no message"
        return f"the shipping process ended unexpectedly ({words}). {_ADVICE}"


class _Patience:
    """How much longer the end of an evaluation waits for its store.

    Time is lost while the store fails, from its last sign of life on, and while it keeps silent for longer than it ever
    did while it worked; a store that is slow, and answers, has ``wait_seconds`` without progress. It is the store that
    keeps silent only if the shipping process says that it waits for an answer: on a busy machine, or while it imports
    something, that process may be silent itself.
    """

    def __init__(self, settings: TrackingSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._outage_seconds = settings.outage_seconds
        self._wait_seconds = settings.wait_seconds
        self._clock = clock
        self._began = self._progress = self._sign = clock()
        self._failing_since: float | None = None
        self._is_waiting = False
        self._lost = self._lost_before = 0.0
        self._longest_answer = 0.0

    @property
    def is_failing(self) -> bool:
        """Whether the store's last sign was a failure."""
        return self._failing_since is not None

    def keep_count(self) -> None:
        """Let the seconds that were lost so far count after the next beginning as well."""
        self._lost_before = min(self._outage_seconds, self._lost + self._clock() - self._sign)

    def begin(self) -> None:
        """Start to count."""
        self._began = self._progress = self._sign = self._clock()
        self._is_waiting = False
        self._lost = self._lost_before
        self._lost_before = 0.0
        if self._failing_since is not None:
            self._failing_since = self._began

    def note_progress(self, *, after: float = 0.0) -> None:
        """The store has taken something, and had been silent over it for some seconds."""
        now = self._clock()
        if self._failing_since is None:
            self._longest_answer = max(self._longest_answer, after)
        else:
            self._lost += now - self._failing_since
            self._failing_since = None
        self._progress = self._sign = now
        self._is_waiting = False

    def note_pulse(self) -> None:
        """The store answers, though it has not taken anything."""
        self._sign = self._clock()
        self._is_waiting = False

    def note_waiting(self) -> None:
        """A request is under way, and has not been answered."""
        self._is_waiting = True

    def note_problem(self) -> None:
        """The store has failed."""
        if self._failing_since is None:
            self._failing_since = self._sign
        self._sign = self._clock()
        self._is_waiting = False

    def waited(self) -> float:
        """Return the seconds since the count began."""
        return self._clock() - self._began

    def silence(self) -> float:
        """Return the seconds since the last sign of life."""
        return self._clock() - self._sign

    def left(self) -> float:
        """Return the seconds that may still pass without good news."""
        now = self._clock()
        if self._failing_since is not None:
            return self._outage_seconds - self._lost - (now - self._failing_since)
        # As TCP does it: what is silent is late only by the measure of how long its answers usually take.
        patience = max(self._outage_seconds - self._lost, 3 * self._longest_answer)
        limit = self._progress + self._wait_seconds
        return (min(self._sign + patience, limit) if self._is_waiting else limit) - now


class _Follower:
    """The other side: follows journals until it is told to finish or its parent has died."""

    def __init__(self, news: TextIO, *, open_ledger: Callable[[], BenchmarkLedger]) -> None:
        self._news = news
        self._open_ledger = open_ledger
        self._shippers: dict[str, tuple[JournalShipper, FileLock]] = {}
        self._questions: list[dict[str, Any]] = []
        self._commands = b""
        self._is_outage = False
        self._has_progressed = False
        self._mutex = threading.Lock()
        self._busy_since: float | None = None

    def run(self, store: MlflowStore) -> bool:
        """Ship until told to finish; return whether the parent went away without saying so."""
        pause, is_warm = _POLL_SECONDS, False
        while True:
            readable, _, _ = select.select([sys.stdin.fileno()], [], [], pause)
            if readable:
                data = os.read(sys.stdin.fileno(), 1 << 16)
                if not data:
                    return True
                if self._obey(data, store):
                    return False
                pause = _POLL_SECONDS
            self._is_outage = self._has_progressed = False
            while self._questions:
                self._answer(self._questions.pop(0))
            for folder in list(self._shippers):
                self._advance(folder)
            is_stuck = self._is_outage and not self._has_progressed
            if not (is_warm or readable or self._is_outage):
                # There is nothing to do: the evaluation works.
                with suppress(TrackingServerError):
                    store.warm_up()
                is_warm = True
            self._busy_since = None
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS) if is_stuck else _POLL_SECONDS

    def last_attempt(self, store: MlflowStore) -> None:
        """Close and ship the journals of a dead parent; what fails is left for ``hokusai sync``."""
        for folder, (_, lock) in self._shippers.items():
            lock.release()
            try:
                _wait_for_death(Path(folder))
                ship(Path(folder), store)
            except HokusaiError as error:
                self.report(folder=folder, problem=str(error))

    def report(self, **news: str | float | bool | dict[str, Any] | None) -> None:
        """Tell the parent; a parent that has gone does not hear it."""
        with self._mutex:
            if self._busy_since is not None and "waiting" not in news:
                # The parent cannot tell a slow answer from a time in which there was nothing to send.
                now = time.monotonic()
                news["took"] = now - self._busy_since
                self._busy_since = now
            try:
                self._news.write(json.dumps(news) + "\n")
                self._news.flush()
            except BrokenPipeError:
                pass

    def feel_pulse(self, is_alive: Callable[[], bool]) -> None:
        """Report, for ever, that the store answers while a request to it takes long; for a thread of its own."""
        while True:
            threading.Event().wait(_PULSE_SECONDS)
            busy_since = self._busy_since
            if busy_since and time.monotonic() - busy_since > _PULSE_SECONDS:
                self.report(waiting=True)
                if is_alive():
                    self.report(pulse=True)

    def _obey(self, data: bytes, store: MlflowStore) -> bool:
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if command.get("finish"):
                return True
            if "follow" in command:
                self._follow(command["follow"], store)
            if "ask" in command:
                self._questions.append(command["ask"])
        return False

    def _answer(self, question: dict[str, Any]) -> None:
        from hokusai.tracking.benchmark_questions import answer_question

        self._busy_since = time.monotonic()
        try:
            answer = dataclasses.asdict(answer_question(self._open_ledger(), BenchmarkQuestion(**question)))
        except HokusaiError:
            # The journal tells what the matter is; whoever asked goes on without an answer.
            answer = None
        self.report(asked=_question_key(question), answer=answer)

    def _follow(self, folder: str, store: MlflowStore) -> None:
        from filelock import FileLock, Timeout

        lock = FileLock(Path(folder) / "shipping.lock", timeout=0)
        try:
            lock.acquire()
        except (Timeout, OSError) as error:
            # The other journals that this process follows must not suffer from this one.
            problem = f"{folder}: the journal cannot be taken for shipping ({error})."
            self.report(folder=folder, problem=problem, final=True)
            return
        shipper = JournalShipper(Path(folder), store, on_progress=lambda: self._note_progress(folder))
        self._shippers[folder] = (shipper, lock)

    def _note_progress(self, folder: str) -> None:
        self._has_progressed = True
        self.report(folder=folder)

    def _advance(self, folder: str) -> None:
        shipper, lock = self._shippers[folder]
        self._busy_since = time.monotonic()
        try:
            while shipper.advance():
                self.report(folder=folder, confirmed=shipper.state.confirmed, complete=shipper.state.complete)
            ended = shipper.state.complete
        except TrackingServerError as error:
            self._is_outage = True
            ended = not error.is_outage
            self.report(folder=folder, problem=str(error), final=ended)
        except JournalError as error:
            ended = True
            self.report(folder=folder, problem=str(error), final=True)
        if ended:
            lock.release()
            del self._shippers[folder]


def _question_key(question: dict[str, Any]) -> str:
    return json.dumps(question, sort_keys=True)


def _answer_from(answer: dict[str, Any] | None) -> BenchmarkAnswer | None:
    if answer is None:
        return None
    return BenchmarkAnswer(is_split=answer["is_split"], history=BenchmarkHistory(**answer["history"]))


@cache
def _open_ledger(uri: str, registry_uri: str) -> BenchmarkLedger:
    from hokusai.tracking.mlflow_ledger import BenchmarkLedger

    return BenchmarkLedger(uri, registry_uri=registry_uri)


def _wait_for_death(folder: Path) -> None:
    """Wait until a dying writer has let go of its journal: the system closes its pipes before its locks."""
    deadline = time.monotonic() + _DEATH_SECONDS
    while is_being_written(folder) and time.monotonic() < deadline:
        threading.Event().wait(_POLL_SECONDS)


def main() -> None:
    """Ship for the parent process until it says to finish, or until it has died."""
    # A signal to the whole group is the parent's affair; this process sees its parent end, and ends after it.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    # Whatever a library prints must not get among the news.
    news = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    uri, registry_uri = os.environ.pop(_URI_VARIABLE), os.environ.pop(_REGISTRY_VARIABLE, "")
    follower = _Follower(news, open_ledger=partial(_open_ledger, uri, registry_uri))
    try:
        from hokusai.tracking.mlflow_client import MlflowStore

        store = MlflowStore(uri, registry_uri=registry_uri)
        follower.report(ready=True)
        threading.Thread(target=follower.feel_pulse, args=(store.is_alive,), daemon=True).start()
        if follower.run(store):
            follower.last_attempt(store)
        # Everything is confirmed or left to the journal; tearing MLflow down in order would only cost time.
        os._exit(0)
    except HokusaiError as error:
        follower.report(problem=str(error))
        sys.exit(error.exit_code)
    except Exception:
        follower.report(problem=f"the shipping process failed: {traceback.format_exc(limit=-1)}")
        raise


if __name__ == "__main__":
    main()
