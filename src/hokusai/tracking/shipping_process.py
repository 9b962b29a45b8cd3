"""The process that ships journals while evaluations work.

:class:`ShippingProcess` is the handle in the process that evaluates; :func:`main` is what runs on the other side. They
talk in JSON lines: ``{"follow": FOLDER}`` and ``{"finish": true}`` one way, events the other. The process has MLflow
to itself: its import, its global settings and its hanging calls never touch the evaluation. It ignores the signals that
reach a whole group of processes (Ctrl-C, termination, a terminal that closes), because the evaluation decides what they
mean, and when the evaluation dies without a word it closes the dead runs, ships what there is, and ends.
"""

from __future__ import annotations

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
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from hokusai.errors import HokusaiError, JournalError, TrackingServerError
from hokusai.tracking.journal import is_being_written
from hokusai.tracking.mlflow_config import TrackingSettings, shipper_environment
from hokusai.tracking.shipper import JournalShipper, ShippingState, read_shipping_state, ship

if TYPE_CHECKING:
    from filelock import FileLock

    from hokusai.tracking.mlflow_client import MlflowStore

__all__ = ["ShippingProcess"]

_MODULE = "hokusai.tracking.shipping_process"
_URI_VARIABLE = "HOKUSAI_SHIPPING_URI"
_START_SECONDS = 60.0
_ATTEMPTS_AT_THE_END = 2
_POLL_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_DEATH_SECONDS = 10.0


class ShippingProcess:
    """Ships journals from a process of its own, from the moment it is made.

    Args:
        uri: Tracking URI, with credentials if it has any.
        settings: Time-outs.
    """

    def __init__(self, uri: str, settings: TrackingSettings) -> None:
        """Start the process; it imports MLflow while the caller works."""
        self._wait_seconds = settings.wait_seconds
        self._changed = threading.Condition()
        self._ready = False
        self._last_news = time.monotonic()
        self._complete: set[str] = set()
        self._problems: dict[str, str] = {}
        self._failures: Counter[str] = Counter()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        self._process = subprocess.Popen(  # noqa: S603  (our own module, by our own interpreter)
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **shipper_environment(settings), _URI_VARIABLE: uri},
            # Ctrl-C must not reach it while Python starts, before it can ignore signals.
            process_group=0,
        )
        self._listener = threading.Thread(target=self._listen, name="hokusai-shipping-news", daemon=True)
        self._listener.start()

    def follow(self, folder: Path) -> None:
        """Ship the journal in ``folder``, and what will be added to it."""
        self._tell({"follow": str(folder)})

    def wait(self, folder: Path) -> tuple[ShippingState | None, str]:
        """Wait until a closed journal has been shipped whole.

        Give up when the store has failed twice since the call, or has made no progress for ``wait_seconds``.

        Returns:
            How far the journal has come, and why it has not come further: empty when it is complete.
        """
        key = str(folder)
        with self._changed:
            began = time.monotonic()
            given_up = self._failures[key] + _ATTEMPTS_AT_THE_END
            while key not in self._complete and self._process_is_alive() and self._failures[key] < given_up:
                patience = self._wait_seconds if self._ready else _START_SECONDS
                left = max(self._last_news, began) + patience - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, _LONGEST_PAUSE_SECONDS))
            if key in self._complete:
                return read_shipping_state(folder), ""
            problem = self._problems.get(key) or self._problems.get("") or self._silence()
        return read_shipping_state(folder), problem

    def close(self) -> None:
        """End the process. What it has not shipped stays in the journals."""
        self._tell({"finish": True})
        try:
            self._process.wait(timeout=_LONGEST_PAUSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                stream.close()

    def _tell(self, message: dict[str, str | bool]) -> None:
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
                if "problem" in news:
                    self._problems[folder] = news["problem"]
                    self._failures[folder] += 1
                else:
                    self._last_news = time.monotonic()
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
            return f"the tracking store gave no answer for {self._wait_seconds:g} seconds."
        self._errors.seek(0)
        last_words = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"the shipping process ended unexpectedly ({last_words[-1] if last_words else 'no message'})."


class _Follower:
    """The other side: follows journals until it is told to finish or its parent has died."""

    def __init__(self, news: TextIO) -> None:
        self._news = news
        self._shippers: dict[str, tuple[JournalShipper, FileLock]] = {}
        self._commands = b""
        self._is_outage = False

    def run(self, store: MlflowStore) -> bool:
        """Ship until told to finish; return whether the parent went away without saying so."""
        pause = _POLL_SECONDS
        while True:
            readable, _, _ = select.select([sys.stdin.fileno()], [], [], pause)
            if readable:
                data = os.read(sys.stdin.fileno(), 1 << 16)
                if not data:
                    return True
                if self._obey(data, store):
                    return False
            self._is_outage = False
            for folder in list(self._shippers):
                self._advance(folder)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS) if self._is_outage else _POLL_SECONDS

    def last_attempt(self, store: MlflowStore) -> None:
        """Close and ship the journals of a dead parent; what fails is left for ``hokusai sync``."""
        for folder, (_, lock) in self._shippers.items():
            lock.release()
            try:
                _wait_for_death(Path(folder))
                ship(Path(folder), store)
            except HokusaiError as error:
                self.report(folder=folder, problem=str(error))

    def report(self, **news: str | int | bool) -> None:
        """Tell the parent; a parent that has gone does not hear it."""
        try:
            self._news.write(json.dumps(news) + "\n")
            self._news.flush()
        except BrokenPipeError:
            pass

    def _obey(self, data: bytes, store: MlflowStore) -> bool:
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if command.get("finish"):
                return True
            self._follow(command["follow"], store)
        return False

    def _follow(self, folder: str, store: MlflowStore) -> None:
        from filelock import FileLock, Timeout

        lock = FileLock(Path(folder) / "shipping.lock", timeout=0)
        try:
            lock.acquire()
        except (Timeout, OSError) as error:
            # The other journals that this process follows must not suffer from this one.
            self.report(folder=folder, problem=f"{folder}: the journal cannot be taken for shipping ({error}).")
            return
        shipper = JournalShipper(Path(folder), store, on_progress=lambda: self.report(folder=folder))
        self._shippers[folder] = (shipper, lock)

    def _advance(self, folder: str) -> None:
        shipper, lock = self._shippers[folder]
        try:
            while shipper.advance():
                self.report(folder=folder, confirmed=shipper.state.confirmed, complete=shipper.state.complete)
            ended = shipper.state.complete
        except TrackingServerError as error:
            self._is_outage = True
            self.report(folder=folder, problem=str(error))
            ended = not error.is_outage
        except JournalError as error:
            self.report(folder=folder, problem=str(error))
            ended = True
        if ended:
            lock.release()
            del self._shippers[folder]


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
    follower = _Follower(news)
    try:
        from hokusai.tracking.mlflow_client import MlflowStore

        store = MlflowStore(os.environ.pop(_URI_VARIABLE))
        follower.report(ready=True)
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
