"""When a loop does what."""

import signal

import pytest

from orchestrator.launch.loop import Interrupts, Pacer


def test_a_pacer_is_due_at_once_and_then_after_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("orchestrator.launch.loop.time.monotonic", lambda: now[0])
    pacer = Pacer(5.0)
    assert [pacer.is_due(), pacer.is_due()] == [True, False]
    now[0] = 104.9
    assert not pacer.is_due()
    now[0] = 105.0
    assert [pacer.is_due(), pacer.is_due()] == [True, False]
    pacer.hasten()
    assert pacer.is_due()


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
