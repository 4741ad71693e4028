"""The time that a benchmark may take."""

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from benchmarks.gpu_clock import (
    MOST_IMPORT_SECONDS,
    Deadline,
    TimeUpError,
    kernel_seconds,
    seconds_since_start,
    wall_seconds,
)

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


def test_the_end_of_the_time_ends_what_runs() -> None:
    deadline = Deadline(0.05)
    with pytest.raises(TimeUpError), deadline.enforced():
        time.sleep(30)
    assert deadline.is_over()


def test_what_swallows_every_error_does_not_go_on() -> None:
    with pytest.raises(TimeUpError), Deadline(0.05).enforced(), contextlib.suppress(Exception):
        time.sleep(30)


def test_no_alarm_stays_set() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with Deadline(30).enforced():
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == before


def test_time_that_is_over_still_sets_an_alarm() -> None:
    with pytest.raises(TimeUpError), Deadline(-5.0).enforced():
        time.sleep(30)


def test_the_age_of_a_process_counts_its_imports() -> None:
    program = "import time; time.sleep(0.5); from benchmarks.gpu_clock import seconds_since_start as s; print(s())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0.5 < float(done.stdout) <= MOST_IMPORT_SECONDS


@pytest.mark.parametrize(("started", "age"), [(-1e9, MOST_IMPORT_SECONDS), (1e9, 0.0)])
def test_a_wrong_age_does_not_end_the_benchmark(monkeypatch: pytest.MonkeyPatch, started: float, age: float) -> None:
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: time.time() + started)
    assert seconds_since_start() == age


def test_calls_are_counted_and_warmed_up() -> None:
    calls: list[int] = []
    assert kernel_seconds(CPU, lambda: calls.append(1), 4) >= 0
    assert len(calls) == 3 + 4
    assert wall_seconds(CPU, lambda: calls.append(1)) >= 0
    assert len(calls) == 8
