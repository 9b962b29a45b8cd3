"""How much later an evaluation ends when its tracking server fails: down, killed, hanging, answering with errors.

Two kinds of work, each from its start to its return with a shipping process of its own: the demo's evaluation, whose
work is done before MLflow has been imported, and steps of one's own that take some seconds, whose record is in MLflow
while they work. Every run against a failing server is shipped afterwards, and must then be whole.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import hokusai
from hokusai.testing import DropAnswer, FaultyProxy, Hang, MlflowServerProcess, Refuse, Status
from hokusai.testing.sample_data import penguins_config
from hokusai.tracking.journal import find_journals
from hokusai.tracking.mlflow_client import MlflowStore
from hokusai.tracking.mlflow_config import TrackingSettings
from hokusai.tracking.shipper import read_shipping_state, ship

if TYPE_CHECKING:
    from collections.abc import Callable

    from hokusai.testing import Fault

_RUNS = 3
_STEPS, _STEP_SECONDS = 5, 1.0
_POINTS = 20


def _nothing() -> None:
    """Leave the server as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scenario:
    """One way for a server to fail.

    Attributes:
        faults: What the proxy before the server does from the start.
        strike: Called in the middle of the steps.
        heal: Called when the work has returned.
        is_for_demo: Whether the demo is measured as well; it is too short to have a middle.
    """

    name: str
    faults: tuple[Fault, ...] = ()
    strike: Callable[[], object] = _nothing
    heal: Callable[[], object] = _nothing
    is_for_demo: bool = True


def main() -> None:
    """Print the seconds of both kinds of work for every scenario."""
    with (
        tempfile.TemporaryDirectory(prefix="hokusai-bench-") as name,
        chdir(name),
        MlflowServerProcess(Path(name) / "server") as server,
        FaultyProxy(server.uri) as proxy,
    ):
        scenarios = _scenarios(server, proxy)
        settings = TrackingSettings(uri=proxy.uri)
        demo: dict[str, list[float]] = {scenario.name: [] for scenario in scenarios if scenario.is_for_demo}
        steps: dict[str, list[float]] = {scenario.name: [] for scenario in scenarios}
        _evaluate(scenarios[0], settings)
        for _ in range(_RUNS):
            for scenario in scenarios:
                if scenario.is_for_demo:
                    demo[scenario.name].append(_measure(scenario, _evaluate, proxy))
                steps[scenario.name].append(_measure(scenario, _own_steps, proxy))
    _print_table("the demo's evaluation", demo)
    _print_table(f"{_STEPS} steps of {_STEP_SECONDS:g} s each", steps)


def _scenarios(server: MlflowServerProcess, proxy: FaultyProxy) -> list[_Scenario]:
    def fail(*faults: Fault) -> Callable[[], None]:
        return lambda: setattr(proxy, "faults", faults)

    return [
        _Scenario(name="healthy"),
        _Scenario(name="down from the start", faults=(Refuse(),)),
        _Scenario(name="down after 15 requests", faults=(Refuse(skip=15),)),
        _Scenario(name="down from the middle", strike=fail(Refuse()), is_for_demo=False),
        _Scenario(name="killed with -9 in the middle", strike=server.kill, heal=server.start, is_for_demo=False),
        _Scenario(name="hanging from the start", faults=(Hang(),)),
        _Scenario(name="hanging after 15 requests", faults=(Hang(skip=15),)),
        _Scenario(name="stopped (SIGSTOP) in the middle", strike=server.hang, heal=server.resume, is_for_demo=False),
        _Scenario(name="500 always", faults=(Status(500),)),
        *(
            _Scenario(name=f"{code} at random, {probability:.0%}", faults=(Status(code, probability=probability),))
            for code in (429, 500, 503)
            for probability in (0.3, 0.7)
        ),
        _Scenario(name="answers dropped at random, 30%", faults=(DropAnswer(probability=0.3),)),
        _Scenario(name="answers dropped, all", faults=(DropAnswer(),)),
    ]


def _measure(scenario: _Scenario, work: Callable[[_Scenario, TrackingSettings], object], proxy: FaultyProxy) -> float:
    """Return the seconds that the work took, and ship what it left behind."""
    proxy.faults = tuple(replace(fault) for fault in scenario.faults)
    began = time.perf_counter()
    work(scenario, TrackingSettings(uri=proxy.uri))
    seconds = time.perf_counter() - began
    proxy.faults = ()
    scenario.heal()
    for folder in find_journals(Path(".hokusai")):
        state = read_shipping_state(folder)
        if (state is None or not state.complete) and not ship(folder, MlflowStore(proxy.uri)).complete:
            raise SystemExit(f"{folder.name} did not arrive after: {scenario.name}")
    return seconds


def _evaluate(_scenario: _Scenario, settings: TrackingSettings) -> None:
    hokusai.run(penguins_config("dream", settings))


def _own_steps(scenario: _Scenario, settings: TrackingSettings) -> None:
    with hokusai.track("outages", settings=settings) as run:
        for number in range(_STEPS):
            if number == _STEPS // 2:
                scenario.strike()
            with run.child(f"step-{number}") as step:
                step.log_series("loss", [1 / (point + 1) for point in range(_POINTS)])
                Event().wait(_STEP_SECONDS)


def _print_table(title: str, seconds: dict[str, list[float]]) -> None:
    healthy = statistics.median(seconds["healthy"])
    print(f"\n{title}: seconds until it returned, {_RUNS} runs each")
    print(f"{'server':<36}{'median':>8}{'min':>8}{'max':>8}{'later':>8}")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        cells = (median, min(taken), max(taken), median - healthy)
        print(f"{name:<36}" + "".join(f"{cell:>8.2f}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
