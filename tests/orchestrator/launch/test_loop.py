"""What drives a worker: feeds, timers and signals."""

import signal
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.launch.loop import Every, EveryRun, GivenRuns, Interrupts
from orchestrator.launch.start import Jobs
from orchestrator.runs.states import OPEN, RunState


def test_a_timer_is_due_at_once_and_then_after_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("orchestrator.launch.loop.time.monotonic", lambda: now[0])
    every = Every(5.0)
    assert [every.is_due(), every.is_due()] == [True, False]
    now[0] = 104.9
    assert not every.is_due()
    now[0] = 105.0
    assert [every.is_due(), every.is_due()] == [True, False]
    every.now()
    assert every.is_due()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_counted_and_handled_as_before_afterwards(number: signal.Signals, heeded: None) -> None:
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        for _ in range(2):
            signal.raise_signal(number)
        assert interrupts.count == 2
    assert signal.getsignal(number) is before


def test_a_signal_that_is_ignored_stays_ignored(heeded: None) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGHUP)
    assert interrupts.count == 0
    assert signal.signal(signal.SIGHUP, before) is signal.SIG_IGN


class FakeStore:
    """A queue with the states of some runs."""

    def __init__(self, **states: RunState) -> None:
        self.states = states

    def runs(self, ids: Sequence[str], states: Sequence[RunState]) -> list[str]:
        return [run for run in ids if self.states[run] in states]


@pytest.fixture
def jobs() -> Jobs:
    none: Any = None
    return Jobs([], none)


def test_given_runs_are_unfinished_while_one_of_them_waits_or_trains() -> None:
    assert OPEN == (RunState.QUEUED, RunState.RUNNING)
    store: Any = FakeStore(a=RunState.DONE, b=RunState.RUNNING, c=RunState.QUEUED)
    feed = GivenRuns(store, ("a", "b"))
    assert (feed.ids(), feed.is_unfinished()) == (("a", "b"), True)
    assert not GivenRuns(store, ("a",)).is_unfinished()


def test_given_runs_stop_the_jobs_once_the_time_is_up(jobs: Jobs) -> None:
    store: Any = FakeStore()
    times = iter([False, True])
    feed = GivenRuns(store, (), lambda: next(times))
    feed.refill(jobs)
    assert not jobs.is_stopping
    feed.refill(jobs)
    assert jobs.is_stopping


@pytest.mark.parametrize("stays", [False, True])
def test_every_run_is_taken_and_only_one_that_stays_waits_for_more(stays: bool, jobs: Jobs) -> None:
    feed = EveryRun(stays)
    feed.refill(jobs)
    assert (feed.ids(), feed.is_unfinished(), jobs.is_stopping) == (None, stays, False)
