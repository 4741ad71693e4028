"""Signals that ask to stop are counted, and end a wait; so does the end of a child."""

import os
import signal
import subprocess
import time

import pytest

from orchestrator.supervisor.stop_requests import StopRequests


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_each_signal_counts_and_ends_the_wait(number: signal.Signals) -> None:
    begun = time.monotonic()
    with StopRequests() as requests:
        for count in (1, 2):
            os.kill(os.getpid(), number)
            requests.wait(30)
            assert requests.count == count
    assert time.monotonic() - begun < 20


def test_the_end_of_a_child_ends_the_wait() -> None:
    begun = time.monotonic()
    with StopRequests() as requests, subprocess.Popen(["sleep", "0.1"]):
        requests.wait(30)
        assert requests.count == 0
    assert time.monotonic() - begun < 20


def test_without_either_it_waits_its_time() -> None:
    begun = time.monotonic()
    with StopRequests() as requests:
        requests.wait(0.05)
    assert time.monotonic() - begun >= 0.05


def test_afterwards_signals_are_heard_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)]
    with StopRequests():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)] == before
